//! HPKE (RFC 9180) in PSK mode, with one suite: X-Wing, HKDF-SHA256, ChaCha20-Poly1305.
//!
//! There is no base mode, and a PSK is always 32 bytes: the crate below would take an empty one. There is no Auth
//! mode: X-Wing has none.

use super::CryptoError;
use crate::secret::{Secret, SecretBytes};
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;
use hpke::aead::{AeadCtxR, AeadCtxS, ChaCha20Poly1305};
use hpke::kdf::HkdfSha256;
use hpke::kem::XWing;
use hpke::{Deserializable, HpkeError, Kem, OpModeR, OpModeS, PskBundle, Serializable};
use rand_core::CryptoRng;

/// The length of an encoded [`KemPublicKey`].
pub(crate) const PUBLIC_KEY_BYTES: usize = 1216;
/// The length of an encoded [`Enc`].
pub(crate) const ENC_BYTES: usize = 1120;

type PublicKey = <XWing as Kem>::PublicKey;
type PrivateKey = <XWing as Kem>::PrivateKey;
type EncappedKey = <XWing as Kem>::EncappedKey;

/// An X-Wing secret key. It wipes itself.
pub(crate) struct KemSecretKey(PrivateKey);

impl KemSecretKey {
    /// The key that X-Wing expands from this seed.
    pub(crate) fn from_seed(seed: &Secret<32>) -> Self {
        let Ok(key) = PrivateKey::from_bytes(seed.expose()) else {
            unreachable!("the only error is another length than 32 bytes");
        };
        Self(key)
    }

    /// A fresh key.
    pub(crate) fn generate(rng: &mut (impl CryptoRng + ?Sized)) -> Self {
        Self::from_seed(&Secret::random(rng))
    }

    /// The public half.
    pub(crate) fn public(&self) -> KemPublicKey {
        let parsed = XWing::sk_to_pk(&self.0);
        let mut bytes = Box::new([0; PUBLIC_KEY_BYTES]);
        parsed.write_exact(bytes.as_mut_slice());
        KemPublicKey { bytes, parsed }
    }
}

/// An X-Wing public key.
#[derive(Clone)]
pub(crate) struct KemPublicKey {
    bytes: Box<[u8; PUBLIC_KEY_BYTES]>,
    parsed: PublicKey,
}

impl KemPublicKey {
    /// Reads a key from a peer or from storage.
    ///
    /// An error if the ML-KEM part has a coefficient outside its field, or the X25519 part has low order, so that its
    /// shared secret would be known to everybody.
    pub(crate) fn parse(bytes: &[u8; PUBLIC_KEY_BYTES]) -> Result<Self, CryptoError> {
        refuse_low_order_tail(bytes)?;
        Ok(Self { parsed: PublicKey::from_bytes(bytes)?, bytes: Box::new(*bytes) })
    }

    /// The bytes that [`KemPublicKey::parse`] reads.
    pub(crate) fn as_bytes(&self) -> &[u8; PUBLIC_KEY_BYTES] {
        &self.bytes
    }
}

impl PartialEq for KemPublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for KemPublicKey {}

impl fmt::Debug for KemPublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KemPublicKey(..)")
    }
}

/// An encapsulated X-Wing secret: what the sender's set-up hands to the receiver's.
#[derive(Clone)]
pub(crate) struct Enc(Box<[u8; ENC_BYTES]>);

impl Enc {
    /// Reads what a peer sent.
    ///
    /// An error if the X25519 part has low order. The ML-KEM part has no wrong encoding: a forged one makes another
    /// key, under which nothing opens.
    pub(crate) fn parse(bytes: &[u8; ENC_BYTES]) -> Result<Self, CryptoError> {
        refuse_low_order_tail(bytes)?;
        Ok(Self(Box::new(*bytes)))
    }

    /// The bytes that [`Enc::parse`] reads.
    pub(crate) fn as_bytes(&self) -> &[u8; ENC_BYTES] {
        &self.0
    }
}

/// Encapsulates to `pk` and starts the sending context.
///
/// An error if `psk_id` is empty.
pub(crate) fn setup_sender(
    pk: &KemPublicKey,
    info: &[u8],
    psk: &Secret<32>,
    psk_id: &[u8],
    mut rng: &mut (impl CryptoRng + ?Sized),
) -> Result<(Enc, SenderContext), CryptoError> {
    let mode = OpModeS::Psk(PskBundle::new(psk.expose(), psk_id)?);
    let (enc, context) = hpke::setup_sender_with_rng::<_, _, XWing>(&mode, &pk.parsed, info, &mut rng)?;
    let mut bytes = Box::new([0; ENC_BYTES]);
    enc.write_exact(bytes.as_mut_slice());
    Ok((Enc(bytes), SenderContext(context)))
}

/// Decapsulates `enc` and starts the receiving context.
///
/// A wrong key, PSK, `info` or `psk_id` is no error here: nothing opens in the context that results. An error if
/// `psk_id` is empty.
pub(crate) fn setup_receiver(
    sk: &KemSecretKey,
    enc: &Enc,
    info: &[u8],
    psk: &Secret<32>,
    psk_id: &[u8],
) -> Result<ReceiverContext, CryptoError> {
    let mode = OpModeR::Psk(PskBundle::new(psk.expose(), psk_id)?);
    let enc = EncappedKey::from_bytes(enc.as_bytes())?;
    Ok(ReceiverContext(hpke::setup_receiver(&mode, &sk.0, &enc, info)?))
}

/// The sender's half of a channel: seals messages in order. It wipes itself.
pub(crate) struct SenderContext(AeadCtxS<ChaCha20Poly1305, HkdfSha256, XWing>);

impl SenderContext {
    /// Ciphertext and tag of the next message.
    pub(crate) fn seal(&mut self, aad: &[u8], plaintext: &[u8]) -> Result<Vec<u8>, CryptoError> {
        Ok(self.0.seal(plaintext, aad)?)
    }

    /// A secret that only the two contexts can derive, one for each `exporter_context`.
    pub(crate) fn export<const N: usize>(&self, exporter_context: &[u8]) -> Result<Secret<N>, CryptoError> {
        exported(|secret| self.0.export(exporter_context, secret))
    }
}

/// The receiver's half of a channel: opens messages in the order in which they were sealed. It wipes itself.
pub(crate) struct ReceiverContext(AeadCtxR<ChaCha20Poly1305, HkdfSha256, XWing>);

impl ReceiverContext {
    /// The next message. A failure leaves the context at the same message.
    pub(crate) fn open(&mut self, aad: &[u8], ciphertext: &[u8]) -> Result<SecretBytes, CryptoError> {
        Ok(SecretBytes::new(self.0.open(ciphertext, aad)?))
    }

    /// The same secret as [`SenderContext::export`].
    pub(crate) fn export<const N: usize>(&self, exporter_context: &[u8]) -> Result<Secret<N>, CryptoError> {
        exported(|secret| self.0.export(exporter_context, secret))
    }
}

fn exported<const N: usize>(export: impl FnOnce(&mut [u8]) -> Result<(), HpkeError>) -> Result<Secret<N>, CryptoError> {
    let mut result = Ok(());
    let secret = Secret::filled(|secret| result = export(secret));
    result?;
    Ok(secret)
}

impl From<HpkeError> for CryptoError {
    fn from(_: HpkeError) -> Self {
        Self
    }
}

/// Both encodings end in 32 bytes of X25519.
fn refuse_low_order_tail(encoding: &[u8]) -> Result<(), CryptoError> {
    let mut point: [u8; 32] = *encoding.last_chunk().ok_or(CryptoError)?;
    point[31] &= 0x7f; // X25519 ignores the highest bit.
    if LOW_ORDER.contains(&point) { Err(CryptoError) } else { Ok(()) }
}

/// The points that X25519 maps to zero, whatever the scalar: all u-coordinates below 2^255 of the points of order 1, 2,
/// 4 and 8 on the curve and on its twist, reduced modulo p = 2^255 - 19 or not.
const LOW_ORDER: [[u8; 32]; 7] = [
    little_endian(0x00, 0x00, 0x00), // 0
    little_endian(0x01, 0x00, 0x00), // 1
    [
        0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3, 0xfa, 0xf1, 0x9f, 0xc4, 0x6a, 0xda, 0x09,
        0x8d, 0xeb, 0x9c, 0x32, 0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16, 0x5f, 0x49, 0xb8, 0x00,
    ], // order 8
    [
        0x5f, 0x9c, 0x95, 0xbc, 0xa3, 0x50, 0x8c, 0x24, 0xb1, 0xd0, 0xb1, 0x55, 0x9c, 0x83, 0xef, 0x5b, 0x04, 0x44,
        0x5c, 0xc4, 0x58, 0x1c, 0x8e, 0x86, 0xd8, 0x22, 0x4e, 0xdd, 0xd0, 0x9f, 0x11, 0x57,
    ], // order 8
    little_endian(0xec, 0xff, 0x7f), // p - 1
    little_endian(0xed, 0xff, 0x7f), // p, which is 0
    little_endian(0xee, 0xff, 0x7f), // p + 1, which is 1
];

const fn little_endian(first: u8, middle: u8, last: u8) -> [u8; 32] {
    let mut bytes = [middle; 32];
    bytes[0] = first;
    bytes[31] = last;
    bytes
}

#[cfg(test)]
#[path = "hpke_tests.rs"]
mod tests;
