//! Handfast's pairing protocol, version 1, as state machines without I/O.
//!
//! A trusted device hands a credential bundle to a new device through a relay that can read nothing. This crate is the
//! protocol itself: no clock, no sockets, no ambient randomness, `no_std` with `alloc`. A driver (the `handfast`
//! crate, or your own) moves frames between an [`Engine`] and a relay. The written form is `spec/protocol.md`.
#![no_std]

extern crate alloc;

pub mod bundle;
mod channel;
mod crypto;
pub mod device;
mod enrollment;
mod labels;
mod mailbox;
mod message;
pub mod pairing;
pub mod secret;
pub mod text;
mod time;

pub use enrollment::{
    Approval, CODE_CLAIMABLE_MS, Decision, Engine, Event, Failure, Fault, Input, NewDevice, NewEnrollment, Output,
    QR_CLAIMABLE_MS, RECEIPT_LINGER_MS, RELAY_ANSWER_MS, Success, ToStore, TrustedDevice, Way, WrongWay,
};
pub use handfast_wire as wire;
pub use message::{MAX_REQUESTED_ENTRIES, Request, VERSION};
pub use time::Time;
