//! CPace with the suite CPACE-RISTR255-SHA512 (draft-irtf-cfrg-cpace-21), initiator-responder.
//!
//! Two people who share a short code get a shared key; whoever does not know the code gets one guess per exchange. The
//! draft's names are kept: PRS is the code, CI the channel identifier, sid the session id, Y a share, AD its sender's
//! associated data, ISK the key.

use super::CryptoError;
use crate::secret::Secret;
use alloc::vec::Vec;
use curve25519_dalek::ristretto::{CompressedRistretto, RistrettoPoint};
use curve25519_dalek::scalar::Scalar;
use curve25519_dalek::traits::IsIdentity;
use rand_core::CryptoRng;
use sha2::{Digest, Sha512};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

const DSI: &[u8] = b"CPaceRistretto255";
const DSI_ISK: &[u8] = b"CPaceRistretto255_ISK";
const SHA512_BLOCK_BYTES: usize = 128;

/// One side's part of an exchange, waiting for the peer's share. It wipes itself.
#[derive(ZeroizeOnDrop)]
pub(crate) struct Exchange {
    scalar: Scalar,
    #[zeroize(skip)]
    share: [u8; 32],
    #[zeroize(skip)]
    sid: Vec<u8>,
}

impl Exchange {
    /// Starts an exchange over `prs`; returns the share to send.
    pub(crate) fn start(prs: &[u8], ci: &[u8], sid: &[u8], rng: &mut (impl CryptoRng + ?Sized)) -> (Self, [u8; 32]) {
        let scalar = sample_scalar(rng);
        let mut generator = calculate_generator(prs, ci, sid);
        let share = (generator * scalar).compress().to_bytes();
        generator.zeroize();
        (Self { scalar, share, sid: sid.to_vec() }, share)
    }

    /// The key of the side whose share goes first.
    ///
    /// An error if the peer's share is no group element, the identity, or our own sent back.
    pub(crate) fn initiator_isk(
        self,
        own_ad: &[u8],
        peer_share: &[u8; 32],
        peer_ad: &[u8],
    ) -> Result<Secret<64>, CryptoError> {
        let k = self.shared_element(peer_share)?;
        Ok(session_key(&self.sid, &k, |sink| transcript_ir(&self.share, own_ad, peer_share, peer_ad, sink)))
    }

    /// The key of the side whose share goes second. Errors as for [`Exchange::initiator_isk`].
    pub(crate) fn responder_isk(
        self,
        own_ad: &[u8],
        peer_share: &[u8; 32],
        peer_ad: &[u8],
    ) -> Result<Secret<64>, CryptoError> {
        let k = self.shared_element(peer_share)?;
        Ok(session_key(&self.sid, &k, |sink| transcript_ir(peer_share, peer_ad, &self.share, own_ad, sink)))
    }

    /// K. A peer that returns our own share would know nothing and still agree with us where both sides have the same
    /// associated data, so that is refused too.
    fn shared_element(&self, peer_share: &[u8; 32]) -> Result<Zeroizing<[u8; 32]>, CryptoError> {
        if *peer_share == self.share {
            return Err(CryptoError);
        }
        scalar_mult_vfy(&self.scalar, peer_share)
    }
}

/// Where a string goes piece by piece: into a hash, so that nothing secret is copied to a buffer on the way.
type Sink<'a> = &'a mut dyn FnMut(&[u8]);

/// 32 random bytes with the bits from 252 on cleared, which is below the group's order.
fn sample_scalar(rng: &mut (impl CryptoRng + ?Sized)) -> Scalar {
    let bytes: &mut [u8; 32] = &mut Zeroizing::new([0; 32]);
    rng.fill_bytes(bytes);
    bytes[31] &= 0x0f;
    Scalar::from_bytes_mod_order(*bytes)
}

fn calculate_generator(prs: &[u8], ci: &[u8], sid: &[u8]) -> RistrettoPoint {
    let mut hash = Sha512::new();
    generator_string(prs, ci, sid, &mut |piece| hash.update(piece));
    let uniform = Zeroizing::new(hash.finalize().into());
    RistrettoPoint::from_uniform_bytes(&uniform)
}

/// The zeros fill the hash's first block, so that nothing a peer can vary is hashed in one block with PRS.
fn generator_string(prs: &[u8], ci: &[u8], sid: &[u8], sink: Sink<'_>) {
    let mut before_padding = 0;
    for field in [DSI, prs] {
        prepend_len(field, &mut |piece| {
            before_padding += piece.len();
            sink(piece);
        });
    }
    let len_zpad = SHA512_BLOCK_BYTES.saturating_sub(1 + before_padding);
    #[expect(clippy::indexing_slicing, reason = "len_zpad is less than a block")]
    prepend_len(&[0; SHA512_BLOCK_BYTES][..len_zpad], sink);
    prepend_len(ci, sink);
    prepend_len(sid, sink);
}

/// Multiplies the peer's share; an error where the draft's function returns the identity.
fn scalar_mult_vfy(scalar: &Scalar, share: &[u8; 32]) -> Result<Zeroizing<[u8; 32]>, CryptoError> {
    let mut point = CompressedRistretto(*share).decompress().ok_or(CryptoError)?;
    point *= scalar;
    let (identity, k) = (point.is_identity(), Zeroizing::new(point.compress().to_bytes()));
    point.zeroize();
    if identity { Err(CryptoError) } else { Ok(k) }
}

fn session_key(sid: &[u8], k: &[u8; 32], transcript: impl FnOnce(Sink<'_>)) -> Secret<64> {
    let mut hash = Sha512::new();
    let sink: Sink<'_> = &mut |piece| hash.update(piece);
    prepend_len(DSI_ISK, sink);
    prepend_len(sid, sink);
    prepend_len(k, sink);
    transcript(sink);
    Secret::filled(|isk| hash.finalize_into(isk.into()))
}

fn transcript_ir(ya: &[u8], ada: &[u8], yb: &[u8], adb: &[u8], sink: Sink<'_>) {
    for field in [ya, ada, yb, adb] {
        prepend_len(field, sink);
    }
}

/// The field behind its length in LEB128.
fn prepend_len(field: &[u8], sink: Sink<'_>) {
    let mut rest = field.len();
    while rest >= 0x80 {
        sink(&[(rest & 0x7f) as u8 | 0x80]);
        rest >>= 7;
    }
    sink(&[rest as u8]);
    sink(field);
}

#[cfg(test)]
#[path = "cpace_tests.rs"]
mod tests;
