//! The messages of a run: their types and their strict codec. `spec/protocol.md`, "Messages".
//!
//! Each message travels as one relay payload: version, kind, body. A body has one encoding; decoding refuses
//! everything else.

mod extensions;
mod grant;
mod handshake;
mod hello;

pub(crate) use extensions::Extensions;
#[cfg(test)]
pub(crate) use grant::BUCKETS;
pub(crate) use grant::{AbortReason, CHUNK_BYTES, Grant, GrantChunk, GrantContent, MAX_GRANT_BYTES};
pub(crate) use handshake::{Accept, Offer, Reply};
pub(crate) use hello::{HELLO_BYTES, NewHello, TrustedHello, pad_hello, unpad_hello};
pub use hello::{MAX_REQUESTED_ENTRIES, Request};

use alloc::vec::Vec;
use handfast_wire::DecodeError;
use handfast_wire::codec::{Reader, Writer};

/// The protocol version of this crate.
pub const VERSION: u8 = 1;

/// What a payload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MessageKind {
    /// M0 in `code` mode.
    Offer,
    /// M0 in QR modes: the offer sealed under a key from the QR code.
    SealedOffer,
    /// M1.
    Accept,
    /// M2.
    Reply,
    /// M2c: the check code as typed on the new device (`qr-new`).
    CheckCode,
    /// The trusted device asks for the check code although the new device has it pinned.
    CheckRequest,
    /// M3, one chunk.
    GrantChunk,
    /// M4.
    Receipt,
    /// Either side ends the run and says why.
    Abort,
}

impl MessageKind {
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Offer => 0x00,
            Self::SealedOffer => 0x01,
            Self::Accept => 0x02,
            Self::Reply => 0x03,
            Self::CheckCode => 0x04,
            Self::CheckRequest => 0x05,
            Self::GrantChunk => 0x06,
            Self::Receipt => 0x07,
            Self::Abort => 0x08,
        }
    }

    fn from_code(code: u8) -> Result<Self, DecodeError> {
        Ok(match code {
            0x00 => Self::Offer,
            0x01 => Self::SealedOffer,
            0x02 => Self::Accept,
            0x03 => Self::Reply,
            0x04 => Self::CheckCode,
            0x05 => Self::CheckRequest,
            0x06 => Self::GrantChunk,
            0x07 => Self::Receipt,
            0x08 => Self::Abort,
            _ => return Err(DecodeError::BadValue("message kind")),
        })
    }
}

/// A received payload, split into kind and body.
#[derive(Clone, Copy)]
pub(crate) struct Envelope<'a> {
    pub(crate) kind: MessageKind,
    pub(crate) body: &'a [u8],
}

/// Why a payload is not a message of this version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EnvelopeError {
    /// A version that this crate does not speak. Nothing after the version byte was interpreted.
    Version(u8),
    /// No valid encoding.
    Malformed(DecodeError),
}

impl<'a> Envelope<'a> {
    pub(crate) fn decode(payload: &'a [u8]) -> Result<Self, EnvelopeError> {
        let mut r = Reader::new(payload);
        let version = r.u8().map_err(EnvelopeError::Malformed)?;
        if version != VERSION {
            return Err(EnvelopeError::Version(version));
        }
        let kind = r.u8().and_then(MessageKind::from_code).map_err(EnvelopeError::Malformed)?;
        Ok(Self { kind, body: r.rest() })
    }
}

/// The payload of a message.
pub(crate) fn envelope(kind: MessageKind, body: &[u8]) -> Vec<u8> {
    let mut w = Writer::with_capacity(2 + body.len());
    w.u8(VERSION).u8(kind.code()).raw(body);
    w.into_bytes()
}

#[cfg(test)]
mod limit_tests;
#[cfg(test)]
mod tests;
