//! Frames a device sends to the relay, and the two frames that travel in both directions.

use crate::codec::{DecodeError, Reader, Writer};
use crate::limits::{DATA_HEADER_BYTES, MAX_FRAME_BYTES};
use crate::{MailboxId, Nameplate, ResumeToken};
use alloc::vec::Vec;
use core::fmt;

/// What a device sends. The first frame of a socket must be one of the four that name a mailbox.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClientFrame {
    /// Give me a new mailbox with a nameplate; I take its first slot. Answer: `Allocated`.
    Allocate {
        /// Resumes this slot on a later socket.
        token: ResumeToken,
    },
    /// Open or create the mailbox with this id and take a free slot. Answer: `Joined`.
    /// Repeated with the token of a taken slot, it means that slot again.
    Open {
        /// Derived by both devices from the QR code.
        mailbox: MailboxId,
        /// Resumes this slot on a later socket.
        token: ResumeToken,
    },
    /// Take the second slot of the mailbox with this nameplate. Answer: `Joined`. Repeatable like `Open`.
    Claim {
        /// The first four symbols of the code.
        nameplate: Nameplate,
        /// Resumes this slot on a later socket.
        token: ResumeToken,
    },
    /// This socket continues a slot. Answer: `Resumed`, then every frame from `received` on.
    Resume {
        /// The mailbox.
        mailbox: MailboxId,
        /// The token that took the slot.
        token: ResumeToken,
        /// How many data frames of the peer this device already has.
        received: u32,
    },
    /// A payload for the peer.
    Data(Data),
    /// An acknowledgement that has no data frame to ride on.
    Ack(Ack),
    /// This device is finished with the mailbox. Closing again changes nothing.
    Close {
        /// Told to the peer. Nobody may rely on it: the relay could have made it up.
        reason: CloseReason,
    },
}

/// A payload, numbered per direction from 0, in either direction.
#[derive(Clone, PartialEq, Eq)]
pub struct Data {
    /// Number of this frame in its direction.
    pub seq: u32,
    /// How many data frames of the other direction have arrived (cumulative acknowledgement).
    pub ack: u32,
    /// See [`Flags`].
    pub flags: Flags,
    /// At most [`MAX_PAYLOAD_BYTES`](crate::limits::MAX_PAYLOAD_BYTES), at least one byte.
    pub payload: Vec<u8>,
}

/// Everything of a [`Data`] frame but its payload. It is the same in both directions, so a relay reads only this and
/// forwards the bytes it received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DataHeader {
    /// See [`Data::seq`].
    pub seq: u32,
    /// See [`Data::ack`].
    pub ack: u32,
    /// See [`Flags`].
    pub flags: Flags,
}

/// A cumulative acknowledgement, in either direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack {
    /// How many data frames of the other direction have arrived.
    pub ack: u32,
    /// See [`Flags`].
    pub flags: Flags,
}

/// Marks on data and acknowledgement frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags {
    /// The sender has accepted its peer: a displayer sets it from M2 on, a reader once it has accepted M2. When both
    /// slots have said so, a third claim no longer ends the run.
    pub settled: bool,
}

/// Why a device closes its side. A hint to the peer, and a counter for the operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CloseReason {
    /// The run is complete.
    Done,
    /// The person cancelled, or the program ended.
    Cancelled,
    /// The peer's first message did not open: this offer is dead.
    Burned,
    /// The claim or offer was not taken up in time.
    Expired,
    /// Anything else; if there was a channel, the reason was sent through it.
    Failed,
}

const ALLOCATE: u8 = 0x01;
const OPEN: u8 = 0x02;
const CLAIM: u8 = 0x03;
const RESUME: u8 = 0x04;
pub(crate) const DATA: u8 = 0x05;
pub(crate) const ACK: u8 = 0x06;
const CLOSE: u8 = 0x07;

impl ClientFrame {
    /// The one encoding of this frame.
    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer::default();
        match self {
            Self::Allocate { token } => w.u8(ALLOCATE).raw(&token.0),
            Self::Open { mailbox, token } => w.u8(OPEN).raw(&mailbox.0).raw(&token.0),
            Self::Claim { nameplate, token } => w.u8(CLAIM).u32(nameplate.number()).raw(&token.0),
            Self::Resume { mailbox, token, received } => w.u8(RESUME).raw(&mailbox.0).raw(&token.0).u32(*received),
            Self::Data(data) => return data.encode(),
            Self::Ack(ack) => return ack.encode(),
            Self::Close { reason } => w.u8(CLOSE).u8(reason.code()),
        };
        w.into_bytes()
    }

    /// The frame that `bytes` encode; an error if no frame has this encoding.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut r = frame_reader(bytes)?;
        let frame = match r.u8()? {
            ALLOCATE => Self::Allocate { token: ResumeToken(r.array()?) },
            OPEN => Self::Open { mailbox: MailboxId(r.array()?), token: ResumeToken(r.array()?) },
            CLAIM => Self::Claim { nameplate: Nameplate::new(r.u32()?)?, token: ResumeToken(r.array()?) },
            RESUME => {
                Self::Resume { mailbox: MailboxId(r.array()?), token: ResumeToken(r.array()?), received: r.u32()? }
            }
            DATA => Self::Data(Data::read(&mut r)?),
            ACK => Self::Ack(Ack::read(&mut r)?),
            CLOSE => Self::Close { reason: CloseReason::from_code(r.u8()?)? },
            _ => return Err(DecodeError::BadValue("frame type")),
        };
        r.finish()?;
        Ok(frame)
    }
}

impl Data {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut w = Writer::with_capacity(DATA_HEADER_BYTES + self.payload.len());
        w.u8(DATA).u32(self.seq).u32(self.ack).u8(self.flags.code()).raw(&self.payload);
        w.into_bytes()
    }

    pub(crate) fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let DataHeader { seq, ack, flags } = DataHeader::read(r)?;
        Ok(Self { seq, ack, flags, payload: r.rest().to_vec() })
    }
}

impl DataHeader {
    /// The header of the data frame that `bytes` encode; `None` if they begin as another type of frame. Refuses the
    /// data frames that [`ClientFrame::decode`] refuses, and copies nothing.
    pub fn decode(bytes: &[u8]) -> Result<Option<Self>, DecodeError> {
        let mut r = frame_reader(bytes)?;
        if r.u8()? == DATA { Self::read(&mut r).map(Some) } else { Ok(None) }
    }

    /// Leaves `r` at the payload, of which there is at least one byte.
    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let header = Self { seq: r.u32()?, ack: r.u32()?, flags: Flags::from_code(r.u8()?)? };
        if r.is_empty() { Err(DecodeError::Truncated) } else { Ok(header) }
    }
}

impl Ack {
    pub(crate) fn encode(self) -> Vec<u8> {
        let mut w = Writer::with_capacity(6);
        w.u8(ACK).u32(self.ack).u8(self.flags.code());
        w.into_bytes()
    }

    pub(crate) fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { ack: r.u32()?, flags: Flags::from_code(r.u8()?)? })
    }
}

impl Flags {
    /// No mark.
    pub const NONE: Self = Self { settled: false };

    fn code(self) -> u8 {
        u8::from(self.settled)
    }

    fn from_code(code: u8) -> Result<Self, DecodeError> {
        match code {
            0 => Ok(Self { settled: false }),
            1 => Ok(Self { settled: true }),
            _ => Err(DecodeError::BadValue("flags")),
        }
    }
}

impl CloseReason {
    /// Its one byte in a frame.
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Cancelled => 1,
            Self::Burned => 2,
            Self::Expired => 3,
            Self::Failed => 4,
        }
    }

    /// The reason with this byte; an error for any other byte.
    pub fn from_code(code: u8) -> Result<Self, DecodeError> {
        Ok(match code {
            0 => Self::Done,
            1 => Self::Cancelled,
            2 => Self::Burned,
            3 => Self::Expired,
            4 => Self::Failed,
            _ => return Err(DecodeError::BadValue("close reason")),
        })
    }
}

// A payload is opaque, yet it is somebody's: only its length is printed.
impl fmt::Debug for Data {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Data")
            .field("seq", &self.seq)
            .field("ack", &self.ack)
            .field("flags", &self.flags)
            .field("payload_bytes", &self.payload.len())
            .finish()
    }
}

pub(crate) fn frame_reader(bytes: &[u8]) -> Result<Reader<'_>, DecodeError> {
    if bytes.len() > MAX_FRAME_BYTES {
        return Err(DecodeError::TooLong("frame"));
    }
    Ok(Reader::new(bytes))
}
