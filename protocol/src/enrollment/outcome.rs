//! How a run ends, sorted by who is at fault.

use crate::device::IdentityPublicKey;
use crate::message::AbortReason;
use crate::pairing::Mode;
use alloc::boxed::Box;
use alloc::string::String;
use core::fmt;
use handfast_wire::{CloseReason, ErrorCode, LimitKind};

/// A run that reached its goal.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Success {
    /// On the trusted device: the new device has stored the bundle and said so. On the new device: it is enrolled.
    Enrolled,
    /// On the trusted device: the items were delivered. On the new device: they were handed to the caller.
    Unlocked,
}

/// Why a run ended without reaching its goal. Nothing was stored and nobody is trusted, except as
/// [`Failure::Unknown`] says.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Failure {
    // The peer misbehaved.
    /// Trusted device: the first message did not open, so this offer is dead. New device: the other side says so.
    WrongCode,
    /// The check code that was entered is not the one that was shown.
    WrongCheckCode,
    /// The peer speaks this other version of the protocol.
    Version(u8),
    /// The offer is not the one in the QR code, or is of another kind.
    WrongOffer,
    /// The peer sent something that is not allowed: a message out of turn, a bad signature, a grant that does not fit.
    PeerMisbehaved,

    // The peer refused or gave up.
    /// The person on the trusted device refused.
    Refused,
    /// The person on the other device cancelled, or its program ended the run.
    PeerCancelled,
    /// The bundle has no entry of a name that was asked for.
    NoSuchEntry,
    /// The account unlock key was asked for by a device that the trusted device has not recorded.
    NotRecorded,
    /// An enrolled device asked for an unlock, and the device that answered belongs to another account.
    OtherAccount,
    /// The new device could not store the bundle.
    PeerDidNotStore,
    /// The other device failed on its own account.
    PeerFailed,
    /// The other device closed the mailbox without saying why through the channel.
    PeerLost,

    // The relay.
    /// No such code or QR code: mistyped, used up or expired.
    NoSuchOffer,
    /// Somebody else is already using this code.
    OfferInUse,
    /// A third device claimed the mailbox: perhaps an earlier try of your own.
    Crowded,
    /// The time for this code, QR code or mailbox is over.
    Expired,
    /// This device claimed the code but did not go on within 15 s.
    ClaimTimedOut,
    /// The relay no longer has the mailbox: it restarted.
    RelayForgot,
    /// The relay is shutting down.
    RelayShutDown,
    /// The relay refuses, for this reason; trying again makes sense after so many milliseconds (0: unknown).
    RelayRefused {
        /// What the relay says.
        code: ErrorCode,
        /// When to come back.
        retry_after_ms: u32,
    },
    /// The relay broke its own protocol, or does not answer.
    RelayMisbehaved,

    // The person here.
    /// Cancelled on this device.
    Cancelled,
    /// Refused on this device.
    RefusedHere,

    // Our caller, or the environment.
    /// What had to be stored on this device could not be stored, or the bundle could not be read.
    StoreFailed,
    /// The bundle handed in is another account's, or over its limit.
    WrongBundle,
    /// The random source, or a primitive that cannot fail, failed.
    Internal,

    /// Contact was lost after the grant was sent: the new device may hold what was sent.
    Unknown {
        /// What the device called itself.
        device: String,
        /// Its identity.
        identity: Box<IdentityPublicKey>,
        /// What went wrong.
        cause: Box<Failure>,
    },
}

/// Who is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// The peer broke the protocol, or is not who it should be.
    PeerMisbehaved,
    /// The peer said no, or gave up.
    PeerRefused,
    /// The relay.
    Relay,
    /// The person on this device.
    Person,
    /// The program that drives the engine.
    Caller,
    /// The machine: disk, random source.
    Environment,
    /// Nobody can say: the outcome itself is not known.
    Unknown,
}

impl Failure {
    /// Who is at fault.
    pub fn fault(&self) -> Fault {
        match self {
            Self::WrongCode | Self::WrongCheckCode | Self::Version(_) | Self::WrongOffer | Self::PeerMisbehaved => {
                Fault::PeerMisbehaved
            }
            Self::Refused
            | Self::PeerCancelled
            | Self::NoSuchEntry
            | Self::NotRecorded
            | Self::OtherAccount
            | Self::PeerDidNotStore
            | Self::PeerFailed
            | Self::PeerLost => Fault::PeerRefused,
            Self::NoSuchOffer
            | Self::OfferInUse
            | Self::Crowded
            | Self::Expired
            | Self::ClaimTimedOut
            | Self::RelayForgot
            | Self::RelayShutDown
            | Self::RelayRefused { .. }
            | Self::RelayMisbehaved => Fault::Relay,
            Self::Cancelled | Self::RefusedHere => Fault::Person,
            Self::WrongBundle => Fault::Caller,
            Self::StoreFailed | Self::Internal => Fault::Environment,
            Self::Unknown { .. } => Fault::Unknown,
        }
    }

    /// What the peer is told through the channel; `None` if it ended the run itself.
    pub(crate) fn abort_reason(&self) -> Option<AbortReason> {
        Some(match self {
            Self::WrongCheckCode => AbortReason::WrongCheckCode,
            Self::RefusedHere => AbortReason::Refused,
            Self::Cancelled => AbortReason::Cancelled,
            Self::NoSuchEntry => AbortReason::NoSuchEntry,
            Self::NotRecorded => AbortReason::NotRecorded,
            Self::StoreFailed => AbortReason::NotStored,
            Self::PeerMisbehaved => AbortReason::Protocol,
            Self::WrongBundle | Self::Internal => AbortReason::Internal,
            Self::Unknown { cause, .. } => return cause.abort_reason(),
            _ => return None,
        })
    }

    /// What an abort of the peer means here.
    pub(crate) fn from_peer(reason: AbortReason) -> Self {
        match reason {
            AbortReason::Refused => Self::Refused,
            AbortReason::Cancelled => Self::PeerCancelled,
            AbortReason::WrongCheckCode => Self::WrongCheckCode,
            AbortReason::NoSuchEntry => Self::NoSuchEntry,
            AbortReason::NotRecorded => Self::NotRecorded,
            AbortReason::NotStored => Self::PeerDidNotStore,
            AbortReason::Protocol | AbortReason::Internal => Self::PeerFailed,
        }
    }

    /// What the relay's word that the peer closed means before there is a channel. A hint: it ends the run, no more. That a
    /// code was wrong is news only to who typed it: on the other side it would count against the person.
    pub(crate) fn from_hint(reason: CloseReason, mode: Mode, reads: bool) -> Self {
        match reason {
            CloseReason::Burned if mode == Mode::Code && reads => Self::WrongCode,
            CloseReason::Cancelled => Self::PeerCancelled,
            CloseReason::Expired if reads => Self::Expired,
            _ => Self::PeerLost,
        }
    }

    /// What the relay is told when this device closes.
    pub(crate) fn close_reason(&self) -> CloseReason {
        match self {
            Self::WrongCode | Self::PeerMisbehaved => CloseReason::Burned,
            Self::Cancelled | Self::RefusedHere => CloseReason::Cancelled,
            Self::Expired => CloseReason::Expired,
            _ => CloseReason::Failed,
        }
    }

    pub(crate) fn from_relay(code: ErrorCode, retry_after_ms: u32, reads: bool) -> Self {
        match code {
            // A reader that comes back after its claim lapsed: the slot is free or somebody else's.
            ErrorCode::BadToken if reads => Self::ClaimTimedOut,
            ErrorCode::NoSuchNameplate => Self::NoSuchOffer,
            ErrorCode::NoSuchMailbox => Self::RelayForgot,
            ErrorCode::MailboxFull => Self::OfferInUse,
            code => Self::RelayRefused { code, retry_after_ms },
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::WrongCode => {
                "the code was wrong and is dead now: use the new one that the trusted device shows, and never type this one again"
            }
            Self::WrongCheckCode => "the check code was wrong: start again, and type the digits that the other device shows",
            Self::Version(version) if *version > crate::VERSION => {
                "the other device uses a newer version: update this device"
            }
            Self::Version(_) => "the other device uses an older version: update the other device",
            Self::WrongOffer => {
                "what came through the relay is not what the QR code says: somebody may be interfering; start again with a new QR code"
            }
            Self::PeerMisbehaved => {
                "the other device sent something that is not allowed: somebody may be interfering; start again"
            }
            Self::Refused => "the person at the trusted device refused",
            Self::PeerCancelled => "the other device ended the run: start again when both are ready",
            Self::NoSuchEntry => "the trusted device has no entry of that name: look at `handfast bundle list` there",
            Self::NotRecorded => {
                "the trusted device has not recorded this device, so it does not release the unlock key: enroll first, or ask for named entries"
            }
            Self::OtherAccount => {
                "the device that answered belongs to another account: scan with a trusted device of this one"
            }
            Self::PeerDidNotStore => {
                "the new device says that it could not store what it got: look at its message, then start again; if it is not yours, change the secrets in the bundle"
            }
            Self::PeerFailed => "the other device gave up: look at its message, then start again",
            Self::PeerLost => "the other device went away: start again when both are ready",
            Self::NoSuchOffer => {
                "the relay knows no such code: it was mistyped, used up or expired, or the devices use different relays; ask for a new one"
            }
            Self::OfferInUse => "another device is already using this code: ask for a new one",
            Self::Crowded => {
                "a third device tried this code, perhaps an earlier try of your own: end other tries, then use a new code"
            }
            Self::Expired => "the time is over: use a new code",
            Self::ClaimTimedOut => "this device did not go on in time: use a new code",
            Self::RelayForgot => "the relay no longer knows this run, perhaps it restarted: start again",
            Self::RelayShutDown => "the relay is shutting down: start again in a minute, or use another relay",
            Self::RelayRefused { code, retry_after_ms } => return relay_refused(f, *code, *retry_after_ms),
            Self::RelayMisbehaved => "the relay does not answer as a relay does: check its address and version",
            Self::Cancelled => "cancelled",
            Self::RefusedHere => "refused",
            Self::StoreFailed => "this device could not read or store what it needed: check disk and permissions, then start again",
            Self::WrongBundle => "the bundle is another account's, or too large",
            Self::Internal => "an internal step failed on this device: start again",
            Self::Unknown { device, identity, cause } => {
                return write!(
                    f,
                    "contact was lost after the bundle was sent ({cause}). The device that calls itself \"{device}\" ({}) may hold it. \
                     If that device does not show the account, or is not yours, change the secrets in the bundle",
                    identity.fingerprint()
                );
            }
        })
    }
}

impl core::error::Error for Failure {}

fn relay_refused(f: &mut fmt::Formatter<'_>, code: ErrorCode, retry_after_ms: u32) -> fmt::Result {
    match code {
        ErrorCode::Draining => f.write_str("the relay is shutting down: try again in a minute, or use another relay"),
        ErrorCode::Limit(limit) => {
            let what = match limit {
                LimitKind::Connections => "it has too many connections",
                LimitKind::Mailboxes => "it has too many mailboxes",
                LimitKind::MailboxFrames => "this run sent too many messages",
                LimitKind::Window => "too many messages wait for the other device",
                LimitKind::QueuedBytes => "its memory budget is used up",
                LimitKind::FrameBytes => "a message was too long for it",
                LimitKind::MailboxBytes => "this run sent too many bytes",
                LimitKind::SourceConnections => "too many connections come from your network",
                LimitKind::SourceMailboxes => "too many codes and QR codes were made from your network",
                LimitKind::SourceClaims => "too many codes were entered from your network",
                LimitKind::SourceMisses => "too many codes that do not exist were entered from your network",
                LimitKind::Store => "the store behind it does not answer",
                _ => "one of its limits was reached",
            };
            write!(f, "the relay refuses: {what}. Try again {}, or use another relay", When(retry_after_ms))
        }
        _ => f.write_str("the relay refuses what this device sent: check that both are of the same version"),
    }
}

/// When to come back, in words and never too early; 0 milliseconds: the relay cannot say.
struct When(u32);

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (count, unit) = match self.0.div_ceil(1000) {
            0 => return f.write_str("later"),
            seconds @ 1..=90 => (seconds, "second"),
            seconds @ 91..=5400 => (seconds.div_ceil(60), "minute"),
            seconds => (seconds.div_ceil(3600), "hour"),
        };
        write!(f, "in {count} {unit}{}", if count == 1 { "" } else { "s" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn a_refusal_says_when_to_come_back_and_never_too_early() {
        for (retry_after_ms, said) in [
            (0, "Try again later, "),
            (1, "Try again in 1 second, "),
            (1001, "Try again in 2 seconds, "),
            (40_000, "Try again in 40 seconds, "),
            (90_001, "Try again in 2 minutes, "),
            (3_600_000, "Try again in 60 minutes, "),
            (5_400_001, "Try again in 2 hours, "),
            (u32::MAX, "Try again in 1194 hours, "),
        ] {
            let code = ErrorCode::Limit(LimitKind::SourceMisses);
            let text = Failure::RelayRefused { code, retry_after_ms }.to_string();
            assert!(text.contains(said), "{retry_after_ms}: {text}");
        }
    }
}
