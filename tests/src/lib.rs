//! What the tests of the house share: devices, people and a relay, simulated in one thread and one clock, real
//! processes, and the load client.

// Nothing but tests uses this crate, and a test that meets the unexpected should stop.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

pub mod e2e;
pub mod load;
pub mod sim;
pub mod vectors;
