//! Ed25519 device identities (RFC 8032), verified strictly.

use super::{CryptoError, kdf};
use crate::labels;
use crate::secret::Secret;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::hash::{Hash, Hasher};
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use handfast_wire::codec::Writer;

/// The public half of a device's identity: what peers pin.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct IdentityPublicKey(VerifyingKey);

impl IdentityPublicKey {
    /// Reads a key from a peer or from storage.
    ///
    /// An error if the bytes are no curve point, a second encoding of one, or a point of small order, under which
    /// one signature fits many messages.
    pub(crate) fn parse(bytes: &[u8; 32]) -> Result<Self, CryptoError> {
        let key = VerifyingKey::from_bytes(bytes).map_err(|_| CryptoError)?;
        let canonical = key.to_edwards().compress().as_bytes() == bytes;
        if canonical && !key.is_weak() { Ok(Self(key)) } else { Err(CryptoError) }
    }

    /// The 32 bytes that [`IdentityPublicKey::from_bytes`] reads.
    pub fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }

    /// A name for the key that two people can compare: 160 bits of a hash of it in Crockford's base32, as eight groups
    /// of four symbols.
    pub fn fingerprint(&self) -> String {
        let hash = kdf::sha256(&[labels::FINGERPRINT, self.as_bytes()]);
        let mut text = String::with_capacity(8 * 4 + 7);
        for forty_bits in hash.chunks_exact(5).take(4) {
            let bits = forty_bits.iter().fold(0, |bits, byte| bits << 8 | u64::from(*byte));
            for position in (0..8).rev() {
                if text.len() % 5 == 4 {
                    text.push('-');
                }
                text.push(char::from(base32_symbol((bits >> (5 * position)) as u8)));
            }
        }
        text
    }
}

impl Hash for IdentityPublicKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_bytes().hash(state);
    }
}

impl fmt::Debug for IdentityPublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IdentityPublicKey({})", self.fingerprint())
    }
}

/// The secret half of a device's identity. It wipes itself. On the heap, so that moving it leaves no copy behind.
#[derive(Clone)]
pub(crate) struct IdentityKey(Box<SigningKey>);

impl IdentityKey {
    /// The key with this RFC 8032 private key.
    pub(crate) fn from_seed(seed: &Secret<32>) -> Self {
        Self(Box::new(SigningKey::from_bytes(seed.expose())))
    }

    /// The public half.
    pub(crate) fn public(&self) -> IdentityPublicKey {
        IdentityPublicKey(self.0.verifying_key())
    }

    /// A signature over `label` and `parts`, each framed by its length.
    pub(crate) fn sign(&self, label: &[u8], parts: &[&[u8]]) -> [u8; 64] {
        self.0.sign(&framed(label, parts)).to_bytes()
    }
}

/// Checks a signature that [`IdentityKey::sign`] made over the same `label` and `parts`.
///
/// Strict (RFC 8032 without cofactor, canonical encodings, no small-order points): whoever knows one signature cannot
/// make a second that also verifies.
pub(crate) fn verify(
    key: &IdentityPublicKey,
    label: &[u8],
    parts: &[&[u8]],
    signature: &[u8; 64],
) -> Result<(), CryptoError> {
    key.0.verify_strict(&framed(label, parts), &Signature::from_bytes(signature)).map_err(|_| CryptoError)
}

/// What is signed: the label, then each part, each behind its length as a 32-bit big-endian integer.
fn framed(label: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    let mut message = Writer::default();
    message.bytes32(label);
    for part in parts {
        message.bytes32(part);
    }
    message.into_bytes()
}

/// Crockford's base32, which has no I, L, O or U.
pub(crate) const BASE32: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// The symbol for the low five bits of `value`.
#[expect(clippy::indexing_slicing, reason = "five bits index 32 symbols")]
pub(crate) fn base32_symbol(value: u8) -> u8 {
    BASE32[usize::from(value & 31)]
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use alloc::format;
    use curve25519_dalek::constants::EIGHT_TORSION;
    use curve25519_dalek::edwards::CompressedEdwardsY;
    use curve25519_dalek::scalar::Scalar;
    use ed25519_dalek::Verifier;
    use sha2::{Digest, Sha512};

    const LABEL: &[u8] = b"label";

    fn key() -> IdentityKey {
        IdentityKey::from_seed(&Secret::new([7; 32]))
    }

    /// Section 7.1, TEST 3: the key, and a message signed without our framing.
    #[test]
    fn keys_match_rfc_8032() {
        let seed = hex::decode("c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7").unwrap();
        let key = IdentityKey::from_seed(&Secret::new(seed.try_into().unwrap()));
        assert_eq!(
            hex::encode(key.public().as_bytes()),
            "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025"
        );
        assert_eq!(
            hex::encode(key.0.sign(&[0xaf, 0x82]).to_bytes()),
            "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac\
             18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a"
        );
    }

    #[test]
    fn what_is_signed_is_each_part_behind_its_length() {
        let signature = key().sign(b"ab", &[b"c", b""]);
        let message = b"\0\0\0\x02ab\0\0\0\x01c\0\0\0\0";
        assert_eq!(signature, key().0.sign(message).to_bytes());
    }

    #[test]
    fn a_signature_fits_only_its_key_label_and_parts() {
        let public = key().public();
        let signature = key().sign(LABEL, &[b"one", b"two"]);
        assert_eq!(verify(&public, LABEL, &[b"one", b"two"], &signature), Ok(()));
        let other = IdentityKey::from_seed(&Secret::new([8; 32])).public();
        for (key, label, parts) in [
            (&other, LABEL, &[b"one".as_slice(), b"two"][..]),
            (&public, b"labe1", &[b"one", b"two"]),
            (&public, LABEL, &[b"two", b"one"]),
            (&public, LABEL, &[b"onetwo"]),
            (&public, LABEL, &[b"on", b"etwo"]),
            (&public, LABEL, &[b"one", b"two", b""]),
            (&public, b"", &[LABEL, b"one", b"two"]),
        ] {
            assert_eq!(verify(key, label, parts, &signature), Err(CryptoError), "{parts:?}");
        }
        for bit in 0..8 * 64 {
            let mut changed = signature;
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(verify(&public, LABEL, &[b"one", b"two"], &changed), Err(CryptoError), "bit {bit}");
        }
    }

    /// Under the identity as key, one signature fits every message for whoever verifies plainly.
    #[test]
    fn small_order_keys_are_refused() {
        let identity = EIGHT_TORSION[0].compress();
        let mut anything = [0; 64];
        anything[..32].copy_from_slice(identity.as_bytes());
        let plain = VerifyingKey::from_bytes(identity.as_bytes()).unwrap();
        assert!(plain.verify(b"any message", &Signature::from_bytes(&anything)).is_ok());

        for point in EIGHT_TORSION {
            assert_eq!(IdentityPublicKey::parse(point.compress().as_bytes()), Err(CryptoError));
        }
        assert_eq!(IdentityPublicKey::parse(key().public().as_bytes()), Ok(key().public()));
    }

    #[test]
    fn keys_that_are_no_point_or_a_second_encoding_are_refused() {
        let mut seconds = 0;
        for least in 0..=0xff {
            // From p = 2^255 - 19 on, y is not reduced.
            let mut bytes = [0xff; 32];
            bytes[0] = least;
            bytes[31] = 0x7f;
            if least < 0xed {
                continue;
            }
            seconds += usize::from(CompressedEdwardsY(bytes).decompress().is_some_and(|point| !point.is_small_order()));
            assert_eq!(IdentityPublicKey::parse(&bytes), Err(CryptoError), "{least:#x}");
        }
        assert!(seconds > 0, "some of these are points of large order, and refused all the same");

        let no_point = (0..).map(|y| [y; 32]).find(|y| CompressedEdwardsY(*y).decompress().is_none()).unwrap();
        assert_eq!(IdentityPublicKey::parse(&no_point), Err(CryptoError));
    }

    /// The signer can make R the identity, and then change the key with it; plain verification does not mind.
    #[test]
    fn signatures_that_only_plain_verification_accepts_are_refused() {
        let (key, message) = (key(), framed(LABEL, &[b"part"]));
        let r = EIGHT_TORSION[0].compress();
        let hash =
            Sha512::new().chain_update(r.as_bytes()).chain_update(key.public().as_bytes()).chain_update(&message);
        let s = Scalar::from_bytes_mod_order_wide(&hash.finalize().into()) * key.0.to_scalar();
        let mut signature = [0; 64];
        signature[..32].copy_from_slice(r.as_bytes());
        signature[32..].copy_from_slice(s.as_bytes());

        assert!(key.public().0.verify(&message, &Signature::from_bytes(&signature)).is_ok());
        assert_eq!(verify(&key.public(), LABEL, &[b"part"], &signature), Err(CryptoError));
    }

    #[test]
    fn a_signature_has_no_second_form() {
        // s + l, which is the same scalar.
        let mut signature = key().sign(LABEL, &[]);
        let l_bytes = hex::decode("edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010").unwrap();
        let mut carry = 0;
        for (byte, l) in signature[32..].iter_mut().zip(l_bytes) {
            let sum = u16::from(*byte) + u16::from(l) + carry;
            *byte = sum as u8;
            carry = sum >> 8;
        }
        assert_eq!(verify(&key().public(), LABEL, &[], &signature), Err(CryptoError));
    }

    #[test]
    fn fingerprints_are_160_bits_in_eight_groups() {
        let public = key().public();
        assert_eq!(public.fingerprint(), "XSAW-D69F-Z48Q-JM0N-0RT6-F8KP-Q78K-YE37");
        assert_eq!(format!("{public:?}"), "IdentityPublicKey(XSAW-D69F-Z48Q-JM0N-0RT6-F8KP-Q78K-YE37)");
        let other = IdentityKey::from_seed(&Secret::new([8; 32])).public();
        assert_ne!(public.fingerprint(), other.fingerprint());
    }
}
