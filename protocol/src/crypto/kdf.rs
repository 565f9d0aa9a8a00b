//! SHA-256 and HKDF-SHA256 (RFC 5869).

use crate::secret::Secret;
use hkdf::Hkdf;
use sha2::{Digest, Sha256};

/// SHA-256 of the concatenated `parts`. Callers frame them, so that no two lists share a concatenation.
pub(crate) fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part);
    }
    hash.finalize().into()
}

/// HKDF-SHA256, extract then expand. `info` is the concatenation of its parts; callers frame them.
pub(crate) fn hkdf<const N: usize>(salt: &[u8], ikm: &[u8], info: &[&[u8]]) -> Secret<N> {
    const { assert!(N <= 255 * 32, "HKDF-SHA256 yields at most 255 blocks") };
    Secret::filled(|okm| {
        if Hkdf::<Sha256>::new(Some(salt), ikm).expand_multi_info(info, okm).is_err() {
            unreachable!("the only error is a longer output than the line above allows");
        }
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn sha256_hashes_the_concatenation() {
        let abc = hex::decode("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad").unwrap();
        assert_eq!(sha256(&[b"abc"]).as_slice(), abc);
        assert_eq!(sha256(&[b"a", b"", b"bc"]).as_slice(), abc);
    }

    /// RFC 5869, appendix A.1 and A.3.
    #[test]
    fn hkdf_matches_rfc_5869() {
        let salt = hex::decode("000102030405060708090a0b0c").unwrap();
        let info = hex::decode("f0f1f2f3f4f5f6f7f8f9").unwrap();
        let (head, tail) = info.split_at(3);
        let okm: Secret<42> = hkdf(&salt, &[0x0b; 22], &[head, tail]);
        assert_eq!(
            hex::encode(okm.expose()),
            "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865"
        );
        let okm: Secret<42> = hkdf(b"", &[0x0b; 22], &[]);
        assert_eq!(
            hex::encode(okm.expose()),
            "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8"
        );
    }

    #[test]
    fn hkdf_reaches_its_longest_output() {
        let longest: Secret<8160> = hkdf(b"salt", b"key", &[b"info"]);
        let short: Secret<32> = hkdf(b"salt", b"key", &[b"info"]);
        assert_eq!(longest.expose().first_chunk(), Some(short.expose()));
    }
}
