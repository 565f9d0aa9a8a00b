//! Byte strings that must not leak: they wipe themselves, never print, and compare in constant time.
//!
//! The bytes live on the heap, so that moving a secret moves a pointer and leaves no copy behind. Reading them is a
//! named act, [`Secret::expose`], that a reviewer can search for.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;
use rand_core::CryptoRng;
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// A secret of `N` bytes.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Secret<const N: usize>(Box<[u8; N]>);

impl<const N: usize> Secret<N> {
    /// Takes over `bytes`. The caller wipes its own copy, if it kept one.
    pub fn new(bytes: [u8; N]) -> Self {
        let bytes = Zeroizing::new(bytes);
        Self::filled(|secret| secret.copy_from_slice(&*bytes))
    }

    /// `N` bytes from `rng`.
    pub fn random(rng: &mut (impl CryptoRng + ?Sized)) -> Self {
        Self::filled(|secret| rng.fill_bytes(secret))
    }

    /// The bytes themselves. Whoever copies them wipes the copy.
    pub fn expose(&self) -> &[u8; N] {
        &self.0
    }

    /// A secret that `fill` writes in place.
    pub(crate) fn filled(fill: impl FnOnce(&mut [u8; N])) -> Self {
        let mut secret = Self(Box::new([0; N]));
        fill(&mut secret.0);
        secret
    }
}

impl<const N: usize> PartialEq for Secret<N> {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&*other.0).into()
    }
}

impl<const N: usize> Eq for Secret<N> {}

impl<const N: usize> fmt::Debug for Secret<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// A secret whose length is known only at run time. The length itself is not secret.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct SecretBytes(Vec<u8>);

impl SecretBytes {
    /// Takes over `bytes` without copying them. What `bytes` left behind each time it grew is not wiped.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// The bytes themselves. Whoever copies them wipes the copy.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// How many bytes there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl PartialEq for SecretBytes {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for SecretBytes {}

impl fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretBytes({} bytes)", self.len())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::crypto::test_support::FixedRng;
    use alloc::format;
    use alloc::vec;

    #[test]
    fn debug_shows_no_content() {
        assert_eq!(format!("{:?}", Secret::new([0x41; 32])), "Secret(..)");
        assert_eq!(format!("{:?}", SecretBytes::new(vec![0x41; 5])), "SecretBytes(5 bytes)");
    }

    #[test]
    fn equality_looks_at_every_byte_and_at_the_length() {
        for changed in 0..32 {
            let mut other = [7; 32];
            *other.get_mut(changed).unwrap() ^= 0x80;
            assert_ne!(Secret::new([7; 32]), Secret::new(other));
            assert_ne!(SecretBytes::new(vec![7; 32]), SecretBytes::new(other.to_vec()));
        }
        assert_eq!(Secret::new([7; 32]), Secret::new([7; 32]));
        assert_eq!(SecretBytes::new(vec![7; 32]), SecretBytes::new(vec![7; 32]));
        assert_ne!(SecretBytes::new(vec![7; 32]), SecretBytes::new(vec![7; 31]));
        assert!(SecretBytes::new(vec![]).is_empty());
    }

    /// Memory that was freed cannot be read back without `unsafe`, so this runs what drop runs.
    #[test]
    fn wiping_clears_every_byte() {
        fn wipes_on_drop<T: ZeroizeOnDrop + Zeroize>(mut secret: T) -> T {
            secret.zeroize();
            secret
        }
        assert_eq!(wipes_on_drop(Secret::new([7; 32])).expose(), &[0; 32]);
        assert!(wipes_on_drop(SecretBytes::new(vec![7; 32])).is_empty());
    }

    #[test]
    fn random_takes_its_bytes_from_the_given_source() {
        let rng: &mut dyn CryptoRng = &mut FixedRng::new(&[1, 2, 3, 4, 5, 6]);
        assert_eq!(Secret::random(rng).expose(), &[1, 2, 3, 4]);
        assert_eq!(Secret::random(rng).expose(), &[5, 6]);
    }
}
