//! ChaCha20-Poly1305 (RFC 8439) for messages, XChaCha20-Poly1305 for what is kept on disk.

use super::CryptoError;
use crate::secret::{Secret, SecretBytes};
use alloc::vec::Vec;
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{ChaCha20Poly1305, XChaCha20Poly1305};
use rand_core::CryptoRng;

const AT_REST_NONCE_BYTES: usize = 24;

/// Ciphertext and tag of `plaintext`. A key and nonce seal one message, ever.
pub(crate) fn seal(key: &Secret<32>, nonce: &[u8; 12], aad: &[u8], plaintext: &[u8]) -> Result<Vec<u8>, CryptoError> {
    let cipher = ChaCha20Poly1305::new(key.expose().into());
    cipher.encrypt(nonce.into(), Payload { msg: plaintext, aad }).map_err(|_| CryptoError)
}

/// The plaintext that [`seal`] was given under the same key, nonce and `aad`; an error for any other bytes.
pub(crate) fn open(
    key: &Secret<32>,
    nonce: &[u8; 12],
    aad: &[u8],
    ciphertext: &[u8],
) -> Result<SecretBytes, CryptoError> {
    let cipher = ChaCha20Poly1305::new(key.expose().into());
    let plaintext = cipher.decrypt(nonce.into(), Payload { msg: ciphertext, aad }).map_err(|_| CryptoError)?;
    Ok(SecretBytes::new(plaintext))
}

/// Nonce, ciphertext and tag of `plaintext`, for one long-lived key and many plaintexts: the nonce is 24 random
/// bytes, too many to repeat.
pub(crate) fn seal_at_rest(
    key: &Secret<32>,
    aad: &[u8],
    plaintext: &[u8],
    rng: &mut (impl CryptoRng + ?Sized),
) -> Result<Vec<u8>, CryptoError> {
    let mut nonce = [0; AT_REST_NONCE_BYTES];
    rng.fill_bytes(&mut nonce);
    let cipher = XChaCha20Poly1305::new(key.expose().into());
    let ciphertext = cipher.encrypt(&nonce.into(), Payload { msg: plaintext, aad }).map_err(|_| CryptoError)?;
    Ok([nonce.as_slice(), &ciphertext].concat())
}

/// The plaintext that [`seal_at_rest`] was given under the same key and `aad`; an error for any other bytes.
pub(crate) fn open_at_rest(key: &Secret<32>, aad: &[u8], sealed: &[u8]) -> Result<SecretBytes, CryptoError> {
    let (nonce, ciphertext) = sealed.split_first_chunk::<AT_REST_NONCE_BYTES>().ok_or(CryptoError)?;
    let cipher = XChaCha20Poly1305::new(key.expose().into());
    let plaintext = cipher.decrypt(nonce.into(), Payload { msg: ciphertext, aad }).map_err(|_| CryptoError)?;
    Ok(SecretBytes::new(plaintext))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use crate::crypto::test_support::{FixedRng, seeded_rng};

    const PLAINTEXT: &[u8] = b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the \
        future, sunscreen would be it.";

    fn key() -> Secret<32> {
        Secret::new(core::array::from_fn(|i| 0x80 + i as u8))
    }

    fn bytes(hex: &str) -> Vec<u8> {
        hex::decode(hex).unwrap()
    }

    /// Section 2.8.2.
    #[test]
    fn seal_matches_rfc_8439() {
        let nonce = bytes("070000004041424344454647").try_into().unwrap();
        let aad = bytes("50515253c0c1c2c3c4c5c6c7");
        let sealed = seal(&key(), &nonce, &aad, PLAINTEXT).unwrap();
        assert_eq!(
            hex::encode(&sealed),
            "d31a8d34648e60db7b86afbc53ef7ec2a4aded51296e08fea9e2b5a736ee62d63dbea45e8ca9671282fafb69da92728b\
             1a71de0a9e060b2905d6a5b67ecd3b3692ddbd7f2d778b8c9803aee328091b58fab324e4fad675945585808b4831d7bc\
             3ff4def08e4b7a9de576d26586cec64b61161ae10b594f09e26a7e902ecbd0600691"
        );
        assert_eq!(open(&key(), &nonce, &aad, &sealed).unwrap().expose(), PLAINTEXT);
    }

    /// draft-irtf-cfrg-xchacha-03, appendix A.3.1, with the nonce in front.
    #[test]
    fn sealing_at_rest_matches_the_xchacha_draft() {
        let nonce = bytes("404142434445464748494a4b4c4d4e4f5051525354555657");
        let aad = bytes("50515253c0c1c2c3c4c5c6c7");
        let sealed = seal_at_rest(&key(), &aad, PLAINTEXT, &mut FixedRng::new(&nonce)).unwrap();
        assert_eq!(sealed[..24], nonce);
        assert_eq!(
            hex::encode(&sealed[24..]),
            "bd6d179d3e83d43b9576579493c0e939572a1700252bfaccbed2902c21396cbb731c7f1b0b4aa6440bf3a82f4eda7e39\
             ae64c6708c54c216cb96b72e1213b4522f8c9ba40db5d945b11b69b982c1bb9e3f3fac2bc369488f76b2383565d3fff9\
             21f9664c97637da9768812f615c68b13b52ec0875924c1c7987947deafd8780acf49"
        );
        assert_eq!(open_at_rest(&key(), &aad, &sealed).unwrap().expose(), PLAINTEXT);
    }

    #[test]
    fn every_changed_bit_and_every_cut_is_refused() {
        let nonce = [7; 12];
        let sealed = seal(&key(), &nonce, b"aad", b"content").unwrap();
        let at_rest = seal_at_rest(&key(), b"aad", b"content", &mut seeded_rng(0)).unwrap();
        for bit in 0..8 * sealed.len() {
            let mut changed = sealed.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(open(&key(), &nonce, b"aad", &changed), Err(CryptoError), "bit {bit}");
        }
        for bit in 0..8 * at_rest.len() {
            let mut changed = at_rest.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(open_at_rest(&key(), b"aad", &changed), Err(CryptoError), "bit {bit}");
        }
        for len in 0..sealed.len() {
            assert_eq!(open(&key(), &nonce, b"aad", &sealed[..len]), Err(CryptoError));
        }
        for len in 0..at_rest.len() {
            assert_eq!(open_at_rest(&key(), b"aad", &at_rest[..len]), Err(CryptoError));
        }
    }

    #[test]
    fn another_key_nonce_or_aad_opens_nothing() {
        let (nonce, other) = ([7; 12], Secret::new([1; 32]));
        let sealed = seal(&key(), &nonce, b"aad", b"").unwrap();
        assert!(open(&key(), &nonce, b"aad", &sealed).unwrap().is_empty());
        assert_eq!(open(&other, &nonce, b"aad", &sealed), Err(CryptoError));
        assert_eq!(open(&key(), &[8; 12], b"aad", &sealed), Err(CryptoError));
        assert_eq!(open(&key(), &nonce, b"aaD", &sealed), Err(CryptoError));
        let at_rest = seal_at_rest(&key(), b"aad", b"", &mut seeded_rng(0)).unwrap();
        assert!(open_at_rest(&key(), b"aad", &at_rest).unwrap().is_empty());
        assert_eq!(open_at_rest(&other, b"aad", &at_rest), Err(CryptoError));
        assert_eq!(open_at_rest(&key(), b"aaD", &at_rest), Err(CryptoError));
    }

    #[test]
    fn the_same_content_at_rest_is_sealed_differently_each_time() {
        let rng = &mut seeded_rng(0);
        let first = seal_at_rest(&key(), b"", b"content", rng).unwrap();
        assert_ne!(first[..24], seal_at_rest(&key(), b"", b"content", rng).unwrap()[..24]);
    }
}
