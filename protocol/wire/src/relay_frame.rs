//! Frames the relay sends to a device. A device trusts none of them with a secret or a decision.

use crate::codec::{DecodeError, Reader, Writer};
use crate::frame::{ACK, Ack, CloseReason, DATA, Data, frame_reader};
use crate::{MailboxId, Nameplate};
use alloc::vec::Vec;

/// What the relay sends.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RelayFrame {
    /// Answers `Allocate`.
    Allocated {
        /// The first four symbols of the code to show; reserved until the mailbox ends.
        nameplate: Nameplate,
        /// For `Resume`.
        mailbox: MailboxId,
        /// How long the mailbox lives.
        lifetime: Lifetime,
    },
    /// Answers `Open` and `Claim`.
    Joined(Joined),
    /// Answers `Resume`.
    Resumed {
        /// How many data frames of this device the relay has: resend from this number on.
        received: u32,
        /// What the other slot is doing.
        peer: PeerState,
        /// How long the mailbox still lives.
        lifetime: Lifetime,
    },
    /// The other slot was claimed, or its device is back.
    PeerJoined {
        /// The relay's untrusted hint about the two addresses.
        network: Network,
    },
    /// The peer's socket is gone. It may come back while the mailbox lives.
    PeerLeft,
    /// The other slot was claimed but stayed silent for 15 s and is free again.
    PeerFreed,
    /// The peer closed its side; nothing more comes from it.
    PeerClosed {
        /// What the peer gave as its reason. The relay could have made it up.
        reason: CloseReason,
    },
    /// Somebody else tried to claim this mailbox after both sides had settled, and was refused.
    ThirdClaim,
    /// The mailbox, or this device's claim on it, is over.
    Ended {
        /// Why.
        reason: EndReason,
    },
    /// The relay refuses; the socket is closed after this frame.
    Error {
        /// What is wrong.
        code: ErrorCode,
        /// When trying again makes sense, in milliseconds; 0 if the relay cannot say.
        retry_after_ms: u32,
    },
    /// A payload from the peer.
    Data(Data),
    /// The peer's acknowledgement.
    Ack(Ack),
}

/// A slot was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Joined {
    /// For `Resume`.
    pub mailbox: MailboxId,
    /// Which slot this device has.
    pub slot: Slot,
    /// How many data frames of this device the relay already has (more than 0 only if the claim was repeated).
    pub received: u32,
    /// What the other slot is doing.
    pub peer: PeerState,
    /// The relay's untrusted hint about the two addresses.
    pub network: Network,
    /// How long the mailbox lives.
    pub lifetime: Lifetime,
}

/// The two places in a mailbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Slot {
    /// Taken by the device that made the mailbox: the displayer.
    First,
    /// Taken by the device that came to it: the reader.
    Second,
}

/// What is known of the other slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerState {
    /// Nobody has it.
    Absent,
    /// Its device is connected.
    Present,
    /// Its device was here and may come back.
    Away,
    /// Its device closed its side.
    Closed,
}

/// Whether the two devices reach the relay from the same network (equal IPv4 address or equal IPv6 /64).
/// Shown to the person as what the relay *says*.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// The relay cannot or will not say.
    Unknown,
    /// Equal.
    Same,
    /// Not equal.
    Different,
}

/// A mailbox's remaining life, in milliseconds from now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetime {
    /// It ends after this ...
    pub remaining_ms: u32,
    /// ... but not sooner than this after the last accepted data frame ...
    pub linger_ms: u32,
    /// ... and in any case after this.
    pub max_ms: u32,
}

/// Why a mailbox or a claim is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EndReason {
    /// Its lifetime is over.
    Expired,
    /// A third device claimed it before both sides had settled.
    Crowded,
    /// This device claimed the slot but sent no data frame for 15 s.
    ClaimTimedOut,
    /// The relay is shutting down.
    ShuttingDown,
    /// The same slot was resumed on another socket.
    Replaced,
}

/// What a relay refuses, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorCode {
    /// The frame has no valid encoding.
    Malformed,
    /// The frame is not allowed now (data before a mailbox was named, a gap in the sequence).
    UnexpectedFrame,
    /// No mailbox has this nameplate: mistyped, used up or expired.
    NoSuchNameplate,
    /// No mailbox has this id: expired, or the relay restarted.
    NoSuchMailbox,
    /// The token is not that of any slot of this mailbox.
    BadToken,
    /// Both slots are taken and settled.
    MailboxFull,
    /// A limit of the relay. Names which.
    Limit(LimitKind),
    /// The relay is draining: no new mailboxes.
    Draining,
}

/// Which limit of the relay was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LimitKind {
    /// Open connections.
    Connections,
    /// Live mailboxes.
    Mailboxes,
    /// Data frames in one mailbox.
    MailboxFrames,
    /// Unacknowledged frames in one direction.
    Window,
    /// Bytes queued in the whole relay.
    QueuedBytes,
    /// Frame size.
    FrameBytes,
    /// Bytes of data frames that one mailbox accepts in its life.
    MailboxBytes,
    /// Connections from one source: open at the same time, or a minute.
    SourceConnections,
    /// Mailboxes of one source: alive at the same time, or made a minute.
    SourceMailboxes,
    /// Claims from one source a minute.
    SourceClaims,
    /// Claims from one source that met no mailbox.
    SourceMisses,
    /// No limit of the relay itself: the store that it shares with other relays does not answer.
    Store,
    /// A limit that this version does not know by name.
    Other(u8),
}

const ALLOCATED: u8 = 0x81;
const JOINED: u8 = 0x82;
const RESUMED: u8 = 0x83;
const PEER_JOINED: u8 = 0x84;
const PEER_LEFT: u8 = 0x85;
const PEER_FREED: u8 = 0x86;
const PEER_CLOSED: u8 = 0x87;
const THIRD_CLAIM: u8 = 0x88;
const ENDED: u8 = 0x89;
const ERROR: u8 = 0x8a;

impl RelayFrame {
    /// The one encoding of this frame.
    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer::default();
        match self {
            Self::Allocated { nameplate, mailbox, lifetime } => {
                lifetime.write(w.u8(ALLOCATED).u32(nameplate.number()).raw(&mailbox.0))
            }
            Self::Joined(joined) => joined.lifetime.write(
                w.u8(JOINED)
                    .raw(&joined.mailbox.0)
                    .u8(joined.slot.code())
                    .u32(joined.received)
                    .u8(joined.peer.code())
                    .u8(joined.network.code()),
            ),
            Self::Resumed { received, peer, lifetime } => lifetime.write(w.u8(RESUMED).u32(*received).u8(peer.code())),
            Self::PeerJoined { network } => w.u8(PEER_JOINED).u8(network.code()),
            Self::PeerLeft => w.u8(PEER_LEFT),
            Self::PeerFreed => w.u8(PEER_FREED),
            Self::PeerClosed { reason } => w.u8(PEER_CLOSED).u8(reason.code()),
            Self::ThirdClaim => w.u8(THIRD_CLAIM),
            Self::Ended { reason } => w.u8(ENDED).u8(reason.code()),
            Self::Error { code, retry_after_ms } => w.u8(ERROR).raw(&code.code()).u32(*retry_after_ms),
            Self::Data(data) => return data.encode(),
            Self::Ack(ack) => return ack.encode(),
        };
        w.into_bytes()
    }

    /// The frame that `bytes` encode; an error if no frame has this encoding.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut r = frame_reader(bytes)?;
        let frame = match r.u8()? {
            ALLOCATED => Self::Allocated {
                nameplate: Nameplate::new(r.u32()?)?,
                mailbox: MailboxId(r.array()?),
                lifetime: Lifetime::read(&mut r)?,
            },
            JOINED => Self::Joined(Joined {
                mailbox: MailboxId(r.array()?),
                slot: Slot::from_code(r.u8()?)?,
                received: r.u32()?,
                peer: PeerState::from_code(r.u8()?)?,
                network: Network::from_code(r.u8()?)?,
                lifetime: Lifetime::read(&mut r)?,
            }),
            RESUMED => Self::Resumed {
                received: r.u32()?,
                peer: PeerState::from_code(r.u8()?)?,
                lifetime: Lifetime::read(&mut r)?,
            },
            PEER_JOINED => Self::PeerJoined { network: Network::from_code(r.u8()?)? },
            PEER_LEFT => Self::PeerLeft,
            PEER_FREED => Self::PeerFreed,
            PEER_CLOSED => Self::PeerClosed { reason: CloseReason::from_code(r.u8()?)? },
            THIRD_CLAIM => Self::ThirdClaim,
            ENDED => Self::Ended { reason: EndReason::from_code(r.u8()?)? },
            ERROR => Self::Error { code: ErrorCode::from_code(r.array()?)?, retry_after_ms: r.u32()? },
            DATA => Self::Data(Data::read(&mut r)?),
            ACK => Self::Ack(Ack::read(&mut r)?),
            _ => return Err(DecodeError::BadValue("frame type")),
        };
        r.finish()?;
        Ok(frame)
    }
}

impl Lifetime {
    fn write<'w>(&self, w: &'w mut Writer) -> &'w mut Writer {
        w.u32(self.remaining_ms).u32(self.linger_ms).u32(self.max_ms)
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { remaining_ms: r.u32()?, linger_ms: r.u32()?, max_ms: r.u32()? })
    }
}

/// A closed set of one-byte codes, written once for both directions.
macro_rules! codes {
    ($type:ident, $field:literal, $($variant:ident = $code:literal),+ $(,)?) => {
        impl $type {
            /// Its one byte in a frame.
            pub fn code(self) -> u8 {
                match self { $(Self::$variant => $code),+ }
            }

            /// The value with this byte; an error for any other byte.
            pub fn from_code(code: u8) -> Result<Self, DecodeError> {
                match code {
                    $($code => Ok(Self::$variant),)+
                    _ => Err(DecodeError::BadValue($field)),
                }
            }
        }
    };
}

codes!(Slot, "slot", First = 0, Second = 1);
codes!(PeerState, "peer state", Absent = 0, Present = 1, Away = 2, Closed = 3);
codes!(Network, "network hint", Unknown = 0, Same = 1, Different = 2);
codes!(EndReason, "end reason", Expired = 0, Crowded = 1, ClaimTimedOut = 2, ShuttingDown = 3, Replaced = 4);

impl ErrorCode {
    /// Two bytes: the code, and for a limit which one (0 otherwise).
    fn code(self) -> [u8; 2] {
        match self {
            Self::Malformed => [0, 0],
            Self::UnexpectedFrame => [1, 0],
            Self::NoSuchNameplate => [2, 0],
            Self::NoSuchMailbox => [3, 0],
            Self::BadToken => [4, 0],
            Self::MailboxFull => [5, 0],
            Self::Limit(limit) => [6, limit.code()],
            Self::Draining => [7, 0],
        }
    }

    fn from_code(code: [u8; 2]) -> Result<Self, DecodeError> {
        Ok(match code {
            [0, 0] => Self::Malformed,
            [1, 0] => Self::UnexpectedFrame,
            [2, 0] => Self::NoSuchNameplate,
            [3, 0] => Self::NoSuchMailbox,
            [4, 0] => Self::BadToken,
            [5, 0] => Self::MailboxFull,
            [6, limit] => Self::Limit(LimitKind::from_code(limit)),
            [7, 0] => Self::Draining,
            _ => return Err(DecodeError::BadValue("error code")),
        })
    }
}

/// The limits that have a name, written once: number, variant, name.
macro_rules! limits {
    ($($code:literal $variant:ident $name:literal,)+) => {
        impl LimitKind {
            /// The name that documents and programs use: `source_misses`. `other` for a number without a name.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                    Self::Other(_) => "other",
                }
            }

            fn code(self) -> u8 {
                match self {
                    $(Self::$variant => $code,)+
                    Self::Other(code) => code,
                }
            }

            fn from_code(code: u8) -> Self {
                match code {
                    $($code => Self::$variant,)+
                    other => Self::Other(other),
                }
            }
        }
    };
}

limits! {
    0 Connections "connections",
    1 Mailboxes "mailboxes",
    2 MailboxFrames "mailbox_frames",
    3 Window "window",
    4 QueuedBytes "queued_bytes",
    5 FrameBytes "frame_bytes",
    6 MailboxBytes "mailbox_bytes",
    7 SourceConnections "source_connections",
    8 SourceMailboxes "source_mailboxes",
    9 SourceClaims "source_claims",
    10 SourceMisses "source_misses",
    11 Store "store",
}
