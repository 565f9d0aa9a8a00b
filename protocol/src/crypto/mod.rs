//! The only importer of cryptographic primitives.
//!
//! What the rest of the crate gets are a few operations on fixed suites, with every failure folded into
//! [`CryptoError`]: which check refused is nobody's business but the attacker's.

pub(crate) mod aead;
pub(crate) mod cpace;
pub(crate) mod hpke;
pub(crate) mod identity;
pub(crate) mod kdf;

#[cfg(test)]
pub(crate) mod test_support;

use core::fmt;

/// What ChaCha20-Poly1305 adds to a plaintext.
pub(crate) const TAG_BYTES: usize = 16;

/// A key, share, signature or ciphertext was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CryptoError;

impl fmt::Display for CryptoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("cryptographic check failed")
    }
}

impl core::error::Error for CryptoError {}
