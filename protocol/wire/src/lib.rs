//! Relay frames: what a device and a relay say to each other, byte by byte.
//!
//! A relay is a blind mailbox with two slots. Everything here is about moving opaque payloads through
//! it: this crate has no cryptography, no I/O, no clock, and it is the only crate of the house that the relay
//! depends on. The written form is `spec/relay.md`.
//!
//! ```
//! use handfast_wire::{Ack, ClientFrame, Flags};
//!
//! let frame = ClientFrame::Ack(Ack { ack: 2, flags: Flags { settled: true } });
//! let mut bytes = frame.encode();
//! assert_eq!(ClientFrame::decode(&bytes), Ok(frame));
//! // One encoding per value: a byte too many is refused.
//! bytes.push(0);
//! assert!(ClientFrame::decode(&bytes).is_err());
//! ```
#![no_std]

extern crate alloc;

pub mod codec;
mod frame;
mod ids;
pub mod limits;
mod relay_frame;

pub use codec::DecodeError;
pub use frame::{Ack, ClientFrame, CloseReason, Data, DataHeader, Flags};
pub use ids::{MailboxId, Nameplate, ResumeToken};
pub use relay_frame::{EndReason, ErrorCode, Joined, Lifetime, LimitKind, Network, PeerState, RelayFrame, Slot};
