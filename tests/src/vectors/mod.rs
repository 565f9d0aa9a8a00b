//! The vectors of `spec/vectors`: how they are written, made and replayed.

pub mod components;
pub mod derivation;
pub mod format;
pub mod pairing;
pub mod refusal;
pub mod replay;

/// Every generated file: its path in `spec/vectors`, and its content.
pub fn files() -> Vec<(String, String)> {
    [components::files(), pairing::files(), refusal::files()].concat()
}
