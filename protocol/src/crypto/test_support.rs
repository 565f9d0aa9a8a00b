//! What the tests of this module share: known-answer files, and random sources without surprises.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use alloc::vec::Vec;
use core::convert::Infallible;
use rand::SeedableRng;
use rand::rngs::ChaCha12Rng;
use rand_core::{TryCryptoRng, TryRng};
use serde_json::Value;

/// A file of `spec/vectors/published`.
macro_rules! vectors {
    ($file:literal) => {
        serde_json::from_str::<serde_json::Value>(include_str!(concat!("../../../spec/vectors/published/", $file)))
            .unwrap()
    };
}
pub(crate) use vectors;

/// The table of constants that text, code and vectors share.
pub(crate) fn constants() -> Value {
    serde_json::from_str(include_str!("../../../spec/constants.json")).unwrap()
}

/// The bytes that a field holds in hexadecimal.
pub(crate) fn hex(vector: &Value, field: &str) -> Vec<u8> {
    hex::decode(vector[field].as_str().expect(field)).expect(field)
}

/// [`hex`] for a field of known length.
pub(crate) fn hex_array<const N: usize>(vector: &Value, field: &str) -> [u8; N] {
    hex(vector, field).try_into().expect(field)
}

/// The same unpredictable bytes in every run of a test.
pub(crate) fn seeded_rng(seed: u64) -> ChaCha12Rng {
    ChaCha12Rng::seed_from_u64(seed)
}

/// Returns the given bytes in their order, and no more.
pub(crate) struct FixedRng(Vec<u8>);

impl FixedRng {
    pub(crate) fn new(bytes: &[u8]) -> Self {
        Self(bytes.to_vec())
    }

    /// Whether every byte was drawn.
    pub(crate) fn is_used_up(&self) -> bool {
        self.0.is_empty()
    }
}

impl TryRng for FixedRng {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        unreachable!("only whole byte strings are drawn")
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        unreachable!("only whole byte strings are drawn")
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        let rest = self.0.split_off(bytes.len());
        bytes.copy_from_slice(&core::mem::replace(&mut self.0, rest));
        Ok(())
    }
}

impl TryCryptoRng for FixedRng {}
