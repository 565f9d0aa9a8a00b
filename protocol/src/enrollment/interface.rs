//! What goes into an engine and what comes out of it.

use super::{Failure, Success};
use crate::bundle::{CredentialBundle, ReleasedItems};
use crate::device::{Account, AccountId, EnrolledDevice, Enroller, IdentityPublicKey};
use crate::message::Request;
use crate::pairing::Purpose;
use crate::pairing::check_code::CheckCode;
use crate::pairing::code::VerificationCode;
use crate::pairing::proof::AuthenticatedBy;
use crate::pairing::qr::{QrPayload, RelayHint};
use crate::text::AccountLabel;
use crate::time::Time;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use handfast_wire::Network;

/// What happened.
pub enum Input<'a> {
    /// A socket to the relay is open.
    Connected,
    /// The socket is gone.
    Disconnected,
    /// The relay sent this frame.
    Frame(&'a [u8]),
    /// Time has passed; due at the latest when [`Output::WakeAt`] says.
    Tick,
    /// The person decided. A decision that nobody asked for changes nothing, except [`Decision::Cancel`].
    Decision(Decision),
    /// [`Output::Prepare`] is done: this is the bundle.
    Prepared(Box<CredentialBundle>),
    /// [`Output::Store`] is done, durably.
    Stored,
    /// [`Output::Prepare`] or [`Output::Store`] failed.
    StoreFailed,
}

/// What the person decides.
#[derive(Clone, Debug)]
pub enum Decision {
    /// Yes to [`Event::AskApproval`], and to nothing else: said twice, it does not answer the second question.
    Approve,
    /// Yes to [`Event::AskDifferentNetwork`], and to nothing else.
    ApproveDifferentNetwork,
    /// No to either.
    Refuse,
    /// The digits that the other device shows.
    CheckCode(CheckCode),
    /// End the run. It comes too late once [`Output::Store`] is out: then the run ends by itself.
    Cancel,
}

/// What to do.
#[non_exhaustive]
#[expect(clippy::large_enum_variant, reason = "an output is handled and gone")]
pub enum Output {
    /// Send this frame to the relay.
    Send(Vec<u8>),
    /// Tell the person.
    Event(Event),
    /// Trusted device: durably write this record (not confirmed, so not trusted; none for `unlock`), then hand in the
    /// bundle with [`Input::Prepared`].
    Prepare(Option<Box<EnrolledDevice>>),
    /// Store durably, then say [`Input::Stored`].
    Store(ToStore),
    /// Call [`Engine::handle`](crate::Engine::handle) with [`Input::Tick`] at this time. Replaces the one before.
    WakeAt(Time),
    /// The run is over. Nothing follows. Without a socket it comes up to 3 s late, if the peer has yet to be told: a driver
    /// that reconnects meanwhile delivers the last word.
    Done(Result<Success, Failure>),
}

/// What to store.
#[derive(Debug)]
#[non_exhaustive]
pub enum ToStore {
    /// New device: everything that makes it a trusted device. All or nothing.
    Enrollment(Box<NewEnrollment>),
    /// New device: what the unlock gave, for one use. Nothing may be written to disk.
    Items(Box<ReleasedItems>),
    /// Trusted device: this device has confirmed, replace its record.
    Confirmed(Box<EnrolledDevice>),
}

/// What a new device keeps once it is enrolled.
#[derive(Debug)]
pub struct NewEnrollment {
    /// The account.
    pub account: Account,
    /// The bundle, to be sealed under this device's key.
    pub bundle: CredentialBundle,
    /// The device that let this one in, from now on pinned.
    pub enroller: Enroller,
}

/// What the person gets to see.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event {
    /// Show this code. It can be claimed until then.
    ShowCode {
        /// Secret until it is used.
        code: VerificationCode,
        /// When it expires unclaimed.
        until: Time,
    },
    /// Show this QR code. It can be claimed until then.
    ShowQr {
        /// Secret until it is used.
        qr: QrPayload,
        /// When it expires unclaimed.
        until: Time,
    },
    /// Another device has answered: the countdown stops.
    PeerHere,
    /// The other device's connection is gone. It may come back until then.
    PeerAway {
        /// When the mailbox ends.
        until: Option<Time>,
    },
    /// The device that had answered never went on; the code can be claimed again.
    PeerFreed,
    /// Somebody else tried the same code and was turned away.
    ThirdClaim,
    /// New device: whose account this is, before anything is stored.
    Account {
        /// What the account is called.
        label: AccountLabel,
        /// Its id.
        id: AccountId,
        /// What the trusted device calls itself, cleaned for display. It proves nothing.
        trusted_name: String,
        /// The trusted device's identity.
        trusted_identity: IdentityPublicKey,
        /// This device's own identity: its fingerprint is what the trusted device's approval shows, to be compared.
        own_identity: IdentityPublicKey,
    },
    /// Show these digits: they are to be typed on the other device.
    ShowCheckCode(CheckCode),
    /// Ask for the digits that the other device shows. One try.
    AskCheckCode,
    /// Ask whether to release. The default is to refuse.
    AskApproval(Approval),
    /// The relay says that the devices are on different networks: ask once more, in another place and by another key than
    /// before. The answer is [`Decision::ApproveDifferentNetwork`]; the default is to refuse.
    AskDifferentNetwork,
    /// Trusted device: the bundle was sent; the new device has not yet confirmed.
    GrantSent,
    /// New device: stored (or, for `unlock`, handed over); the trusted device is being told.
    Stored,
}

/// Everything the person needs for the decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Approval {
    /// What the run is for.
    pub purpose: Purpose,
    /// What would leave this device.
    pub request: Request,
    /// The new device's identity.
    pub identity: IdentityPublicKey,
    /// What it calls itself, cleaned for display; may be empty. It proves nothing.
    pub name: String,
    /// What kind of machine it says it is, cleaned for display; may be empty.
    pub platform: String,
    /// What the relay says about the two networks. The relay could be lying.
    pub network: Network,
    /// How this device knows that the other one is the one that the person means. If only by
    /// [`AuthenticatedBy::RecordedIdentities`], say which recorded device asks, and ask whether it is in front of the person.
    pub authenticated_by: AuthenticatedBy,
    /// Whether the identity is one that this device has recorded.
    pub recorded: bool,
}

/// How a device takes part: it shows an introduction or reads one.
#[derive(Clone, Debug)]
pub enum Way {
    /// Trusted device: show a code.
    ShowCode,
    /// New device: the person typed this code.
    EnterCode(VerificationCode),
    /// Show a QR code with this relay hint.
    ShowQr(Option<RelayHint>),
    /// This QR code was scanned.
    ReadQr(QrPayload),
}

/// The role, the purpose or the introduction does not fit: an unlock by code, a trusted device that reads a trusted
/// device's QR code. The caller chose wrongly, or the person scanned the wrong code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WrongWay;

impl fmt::Display for WrongWay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("this code is not meant for this device or this command")
    }
}

impl core::error::Error for WrongWay {}

// A frame may name a mailbox and hold the token that resumes it: only its length is printed.
impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Send(frame) => write!(f, "Send({} bytes)", frame.len()),
            Self::Event(event) => f.debug_tuple("Event").field(event).finish(),
            Self::Prepare(record) => f.debug_tuple("Prepare").field(record).finish(),
            Self::Store(what) => f.debug_tuple("Store").field(what).finish(),
            Self::WakeAt(time) => f.debug_tuple("WakeAt").field(time).finish(),
            Self::Done(result) => f.debug_tuple("Done").field(result).finish(),
        }
    }
}
