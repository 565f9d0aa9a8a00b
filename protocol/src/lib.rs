//! Handfast's pairing protocol, version 1, as state machines without I/O.
//!
//! A trusted device hands a credential bundle to a new device through a relay that can read nothing. This crate is the
//! protocol itself: no clock, no sockets, no ambient randomness, `no_std` with `alloc`. A driver (the `handfast`
//! crate, or your own) moves frames between an [`Engine`] and a relay. The written form is `spec/protocol.md`.
//!
//! ```
//! use handfast_protocol::device::{DeviceInfo, DeviceKey, Genesis};
//! use handfast_protocol::text::{AccountLabel, DeviceName, Platform};
//! use handfast_protocol::{Engine, Input, Output, Time, TrustedDevice, Way};
//! use std::time::Duration;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut rng = rand::rng();
//! let key = DeviceKey::generate(&mut rng);
//! let device = TrustedDevice {
//!     info: DeviceInfo { name: DeviceName::new("desktop")?, platform: Platform::new("linux")? },
//!     account: Genesis::sign(AccountLabel::new("ada@example.com")?, &key, &mut rng).account(),
//!     known: Vec::new(),
//!     key,
//! };
//! // Time is an argument: the driver says what it is.
//! let now = |ms| Time::from_origin(Duration::from_millis(ms));
//! let mut engine = Engine::trusted(device, Way::ShowCode, now(0), &mut rng)?;
//!
//! // One input, then every output until there is none.
//! engine.handle(Input::Connected, now(1), &mut rng);
//! let mut frames_for_the_relay = Vec::new();
//! while let Some(output) = engine.poll() {
//!     match output {
//!         Output::Send(frame) => frames_for_the_relay.push(frame),
//!         Output::WakeAt(_) => {} // set a timer, then hand in `Input::Tick`
//!         other => println!("{other:?}"),
//!     }
//! }
//! // It asks for a mailbox. What the relay answers is the next input: `Input::Frame`.
//! assert_eq!(frames_for_the_relay.len(), 1);
//! # Ok(())
//! # }
//! ```
#![no_std]

extern crate alloc;

pub mod bundle;
mod channel;
#[cfg(test)]
mod constants_tests;
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
#[cfg(test)]
mod vector_tests;

pub use enrollment::{
    Approval, AuthenticatedBy, CODE_CLAIMABLE_MS, Decision, Engine, Event, Failure, Fault, Input, NewDevice,
    NewEnrollment, Output, QR_CLAIMABLE_MS, RECEIPT_LINGER_MS, RELAY_ANSWER_MS, Success, ToStore, TrustedDevice, Way,
    WrongWay,
};
pub use handfast_wire as wire;
pub use message::{MAX_REQUESTED_ENTRIES, Request, VERSION};
pub use time::Time;
