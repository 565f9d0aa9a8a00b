//! The engine: one run of the protocol on one device, without I/O.
//!
//! Feed one [`Input`] with the time and a random source, then take every [`Output`] from [`Engine::poll`] until it
//! returns `None`. Questions to the person are outputs, answers are inputs; there are no callbacks. One engine is one
//! offer and one mailbox: after a failure, make a new one.

mod meeting;
mod new_device;
mod outcome;
mod receive;
mod release;
mod trusted;

pub use new_device::NewDevice;
pub use outcome::{Failure, Fault, Success};
pub use trusted::TrustedDevice;

pub use crate::pairing::proof::AuthenticatedBy;

use crate::bundle::{CredentialBundle, ReleasedItems};
use crate::channel::Channel;
use crate::device::{Account, AccountId, EnrolledDevice, Enroller, IdentityPublicKey};
use crate::mailbox::{Mailbox, MailboxEvent};
use crate::message::{AbortReason, Envelope, MessageKind, Request};
use crate::pairing::check_code::CheckCode;
use crate::pairing::code::VerificationCode;
use crate::pairing::qr::QrPayload;
use crate::pairing::{Mode, Purpose};
use crate::text::AccountLabel;
use crate::time::Time;
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::vec::Vec;
use handfast_wire::{CloseReason, EndReason, Nameplate, Network, Slot};
use rand_core::CryptoRng;

/// How long a code can be claimed: 5 minutes.
pub const CODE_CLAIMABLE_MS: u32 = 5 * 60 * 1000;
/// How long a QR code can be claimed: 2 minutes.
pub const QR_CLAIMABLE_MS: u32 = 2 * 60 * 1000;
/// How long a relay may take to answer the first frame: 30 s.
pub const RELAY_ANSWER_MS: u32 = 30 * 1000;
/// How long a new device that has stored the bundle waits for word that its receipt arrived.
pub const RECEIPT_LINGER_MS: u32 = 10 * 1000;
/// How long a run that ended without a socket waits for one, to tell the peer.
const FAREWELL_MS: u32 = 3 * 1000;

/// Most events about the peer's presence in one run.
const MAX_NOTICES: u32 = 32;

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
    /// Call [`Engine::handle`] with [`Input::Tick`] at this time. Replaces the one before.
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
    ShowQr(Option<crate::pairing::qr::RelayHint>),
    /// This QR code was scanned.
    ReadQr(QrPayload),
}

/// The role, the purpose or the introduction does not fit: an unlock by code, a trusted device that reads a trusted
/// device's QR code. The caller chose wrongly, or the person scanned the wrong code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WrongWay;

impl core::fmt::Display for WrongWay {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("this code is not meant for this device or this command")
    }
}

impl core::error::Error for WrongWay {}

/// One run on one device.
pub struct Engine {
    role: Role,
    cx: Cx,
    told_wake: Option<Time>,
    done: bool,
}

enum Role {
    Trusted(Box<trusted::Trusted>),
    New(Box<new_device::New>),
}

/// What both roles work with.
struct Cx {
    mode: Mode,
    now: Time,
    mailbox: Mailbox,
    outputs: VecDeque<Output>,
    network: Network,
    /// When the relay must have made or found the mailbox. From then on the mailbox has a deadline of its own.
    answer_due: Option<Time>,
    /// Displayer: when the offer expires unclaimed.
    claimable_until: Option<Time>,
    claimed: bool,
    /// This device reads what the other one displays.
    reads: bool,
    /// How often the person was told what the relay says of the peer.
    notices: u32,
    /// New device: when it stops waiting for word about its receipt.
    linger_until: Option<Time>,
    /// The run is over: when it stops waiting for a socket to tell the peer.
    farewell_until: Option<Time>,
    result: Option<Result<Success, Failure>>,
}

/// One thing that happens to a role.
enum Step<'a> {
    Ready {
        nameplate: Option<Nameplate>,
        slot: Slot,
    },
    Payload(&'a [u8]),
    Decision(Decision),
    Prepared(Box<CredentialBundle>),
    Stored,
    StoreFailed,
    /// The peer has everything that this device sent.
    Acknowledged,
    /// The run cannot go on, for a reason outside the role.
    Lost(Failure),
}

/// A role ends the run.
struct Stop {
    result: Result<Success, Failure>,
    /// To tell the peer.
    farewell: Option<(Box<Channel>, AbortReason)>,
}

impl Engine {
    /// A run on a trusted device: shows a code, shows a QR code, or reads one that a new device shows.
    pub fn trusted(device: TrustedDevice, way: Way, now: Time, rng: &mut dyn CryptoRng) -> Result<Self, WrongWay> {
        let (role, mode, mailbox) = trusted::Trusted::start(device, way, rng)?;
        Ok(Self::new(Role::Trusted(Box::new(role)), mode, mailbox, now))
    }

    /// A run on a new device: enters a code, shows a QR code, or reads one that a trusted device shows.
    /// `request` decides the purpose: the whole bundle enrolls, items unlock.
    pub fn new_device(
        device: NewDevice,
        request: Request,
        way: Way,
        now: Time,
        rng: &mut dyn CryptoRng,
    ) -> Result<Self, WrongWay> {
        let (role, mode, mailbox) = new_device::New::start(device, request, way, rng)?;
        Ok(Self::new(Role::New(Box::new(role)), mode, mailbox, now))
    }

    /// Takes one input. `now` never goes back: an earlier time counts as the last one.
    pub fn handle(&mut self, input: Input<'_>, now: Time, rng: &mut dyn CryptoRng) {
        self.cx.now = self.cx.now.max(now);
        if self.cx.result.is_some() {
            return self.cx.take_leave(input);
        }
        // A claim that arrives after the offer's time does not revive it, however late the tick is.
        let stopped = self
            .check_offer(rng)
            .and_then(|()| self.input(input, rng))
            .and_then(|()| self.check_offer(rng))
            .and_then(|()| self.check_mailbox(rng));
        if let Err(stop) = stopped {
            self.finish(stop);
        }
    }

    /// The next thing to do; `None` until there is another input.
    pub fn poll(&mut self) -> Option<Output> {
        if self.done {
            return None;
        }
        if let Some(frame) = self.cx.mailbox.poll(self.cx.now) {
            return Some(Output::Send(frame));
        }
        if let Some(output) = self.cx.outputs.pop_front() {
            return Some(output);
        }
        if !self.cx.is_leaving()
            && let Some(result) = self.cx.result.take()
        {
            self.done = true;
            return Some(Output::Done(result));
        }
        let wake = self.cx.next_deadline();
        if wake != self.told_wake {
            self.told_wake = wake;
            return wake.map(Output::WakeAt);
        }
        None
    }

    fn new(role: Role, mode: Mode, mailbox: Mailbox, now: Time) -> Self {
        let cx = Cx {
            mode,
            now,
            mailbox,
            outputs: VecDeque::new(),
            network: Network::Unknown,
            answer_due: None,
            claimable_until: None,
            claimed: false,
            reads: false,
            notices: 0,
            linger_until: None,
            farewell_until: None,
            result: None,
        };
        Self { role, cx, told_wake: None, done: false }
    }

    fn input(&mut self, input: Input<'_>, rng: &mut dyn CryptoRng) -> Result<(), Stop> {
        match input {
            Input::Connected => {
                self.cx.mailbox.connected();
                self.cx.answer_due = self.cx.mailbox.is_new().then(|| self.cx.now.plus_ms(RELAY_ANSWER_MS));
            }
            Input::Disconnected => {
                self.cx.mailbox.disconnected();
                self.cx.answer_due = None;
            }
            Input::Tick => {}
            Input::Frame(bytes) => return self.frame(bytes, rng),
            Input::Decision(decision) => return self.step(Step::Decision(decision), rng),
            Input::Prepared(bundle) => return self.step(Step::Prepared(bundle), rng),
            Input::Stored => return self.step(Step::Stored, rng),
            Input::StoreFailed => return self.step(Step::StoreFailed, rng),
        }
        Ok(())
    }

    fn step(&mut self, step: Step<'_>, rng: &mut dyn CryptoRng) -> Result<(), Stop> {
        match &mut self.role {
            Role::Trusted(role) => role.step(step, &mut self.cx, rng),
            Role::New(role) => role.step(step, &mut self.cx, rng),
        }
    }

    fn frame(&mut self, bytes: &[u8], rng: &mut dyn CryptoRng) -> Result<(), Stop> {
        let Ok(event) = self.cx.mailbox.frame(bytes, self.cx.now) else {
            return self.step(Step::Lost(Failure::RelayMisbehaved), rng);
        };
        if let Some(event) = event {
            self.mailbox_event(event, rng)?;
        }
        if self.cx.mailbox.all_acknowledged() { self.step(Step::Acknowledged, rng) } else { Ok(()) }
    }

    fn mailbox_event(&mut self, event: MailboxEvent, rng: &mut dyn CryptoRng) -> Result<(), Stop> {
        match event {
            MailboxEvent::Ready { nameplate, slot, network } => {
                self.cx.network = network;
                self.cx.answer_due = None;
                self.cx.reads = slot == Slot::Second;
                self.step(Step::Ready { nameplate, slot }, rng)
            }
            MailboxEvent::PeerHere(network) => {
                self.cx.claimed = true;
                if network != Network::Unknown {
                    self.cx.network = network;
                }
                self.cx.notice(Event::PeerHere);
                Ok(())
            }
            MailboxEvent::PeerAway => {
                let until = self.cx.mailbox.deadline();
                self.cx.notice(Event::PeerAway { until });
                Ok(())
            }
            MailboxEvent::PeerFreed => {
                // Only a claim on an open offer can lapse.
                if self.cx.claimed && self.cx.claimable_until.is_some() {
                    self.cx.claimed = false;
                    self.cx.network = Network::Unknown;
                    self.cx.notice(Event::PeerFreed);
                }
                Ok(())
            }
            MailboxEvent::ThirdClaim => {
                self.cx.notice(Event::ThirdClaim);
                Ok(())
            }
            MailboxEvent::PeerClosed(reason) => {
                // A peer that has a channel says there why it ends the run: a reason of the relay's counts for nothing.
                let failure = match self.has_channel() {
                    true => Failure::PeerLost,
                    false => Failure::from_hint(reason, self.cx.mode, self.cx.reads),
                };
                self.step(Step::Lost(failure), rng)
            }
            MailboxEvent::Payload(payload) => {
                // Whatever it is: from here on the offer is reserved or burned, never open again.
                self.cx.claimable_until = None;
                self.step(Step::Payload(&payload), rng)
            }
            MailboxEvent::Ended(reason) => {
                let failure = match reason {
                    EndReason::Expired => Failure::Expired,
                    EndReason::Crowded => Failure::Crowded,
                    EndReason::ClaimTimedOut => Failure::ClaimTimedOut,
                    EndReason::ShuttingDown => Failure::RelayShutDown,
                    // This engine resumes only after its own socket is gone, so nobody else can have.
                    _ => Failure::RelayMisbehaved,
                };
                self.step(Step::Lost(failure), rng)
            }
            MailboxEvent::Refused { code, retry_after_ms } => {
                self.step(Step::Lost(Failure::from_relay(code, retry_after_ms, self.cx.reads)), rng)
            }
        }
    }

    fn check_offer(&mut self, rng: &mut dyn CryptoRng) -> Result<(), Stop> {
        let expired = !self.cx.claimed && self.cx.has_passed(self.cx.claimable_until);
        if expired { self.step(Step::Lost(Failure::Expired), rng) } else { Ok(()) }
    }

    fn check_mailbox(&mut self, rng: &mut dyn CryptoRng) -> Result<(), Stop> {
        if self.cx.has_passed(self.cx.linger_until) {
            return Err(Stop { result: Ok(self.success()), farewell: None });
        }
        if self.cx.has_passed(self.cx.answer_due) {
            return self.step(Step::Lost(Failure::RelayMisbehaved), rng);
        }
        let ended = self.cx.has_passed(self.cx.mailbox.deadline());
        if ended { self.step(Step::Lost(Failure::Expired), rng) } else { Ok(()) }
    }

    fn has_channel(&self) -> bool {
        match &self.role {
            Role::Trusted(role) => role.has_channel(),
            Role::New(role) => role.has_channel(),
        }
    }

    fn success(&self) -> Success {
        match &self.role {
            Role::Trusted(role) => role.success(),
            Role::New(role) => role.success(),
        }
    }

    fn finish(&mut self, stop: Stop) {
        let farewell = stop.farewell.and_then(|(mut channel, reason)| channel.seal_abort(&[reason.code()]).ok());
        let reason = match &stop.result {
            Ok(_) => CloseReason::Done,
            Err(failure) => failure.close_reason(),
        };
        self.cx.mailbox.close(farewell, reason);
        self.cx.farewell_until = match &stop.result {
            // What was left of the grant must not leave now, and the peer may be past caring.
            Err(Failure::Unknown { .. }) | Ok(_) => None,
            Err(failure) => failure.abort_reason().map(|_| self.cx.now.plus_ms(FAREWELL_MS)),
        };
        self.cx.result = Some(stop.result);
    }
}

impl Cx {
    fn tell(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }

    /// Tells the person what the relay says of the peer, but not for ever: a relay that repeats itself could push what
    /// matters off the screen.
    fn notice(&mut self, event: Event) {
        if self.notices < MAX_NOTICES {
            self.notices += 1;
            self.tell(event);
        }
    }

    /// The run is over, and this device waits for a socket to say so.
    fn is_leaving(&self) -> bool {
        self.mailbox.owes_close() && self.farewell_until.is_some_and(|until| until > self.now)
    }

    /// What happens while [`Cx::is_leaving`]. Nothing changes the result any more.
    fn take_leave(&mut self, input: Input<'_>) {
        match input {
            Input::Connected => self.mailbox.connected(),
            Input::Disconnected => self.mailbox.disconnected(),
            Input::Frame(bytes) => {
                if matches!(
                    self.mailbox.frame(bytes, self.now),
                    Err(_) | Ok(Some(MailboxEvent::Ended(_) | MailboxEvent::Refused { .. }))
                ) {
                    // This relay delivers nothing more.
                    self.farewell_until = None;
                }
            }
            _ => {}
        }
    }

    /// The next time at which something is due. One that has passed was dealt with when it did.
    fn next_deadline(&self) -> Option<Time> {
        if self.is_leaving() {
            return self.farewell_until;
        }
        let unclaimed = self.claimable_until.filter(|_| !self.claimed);
        let deadlines = [self.answer_due, unclaimed, self.linger_until, self.mailbox.deadline()];
        deadlines.into_iter().flatten().filter(|deadline| *deadline > self.now).min()
    }

    fn has_passed(&self, deadline: Option<Time>) -> bool {
        deadline.is_some_and(|deadline| deadline <= self.now)
    }
}

impl Stop {
    /// Before there is a channel: the peer learns nothing but that this side closed.
    fn silently(failure: Failure) -> Self {
        Self { result: Err(failure), farewell: None }
    }

    /// The peer is told through the channel.
    fn telling(channel: Channel, reason: AbortReason, failure: Failure) -> Self {
        Self { result: Err(failure), farewell: Some((Box::new(channel), reason)) }
    }
}

/// Ends the run and says why through the channel, unless the peer ended it.
fn end(channel: Channel, failure: Failure) -> Stop {
    match failure.abort_reason() {
        Some(reason) if !channel.is_ended_by_peer() => Stop::telling(channel, reason, failure),
        _ => Stop::silently(failure),
    }
}

/// What a message that is not due means: an abort of the peer, or misbehaviour.
fn abort_or_misbehaviour(channel: &mut Channel, payload: &[u8]) -> Failure {
    let Ok(Envelope { kind: MessageKind::Abort, body }) = Envelope::decode(payload) else {
        return Failure::PeerMisbehaved;
    };
    let reason = match channel.open_abort(body).as_ref().map(|reason| reason.expose()) {
        Ok([code]) => AbortReason::from_code(*code).ok(),
        _ => None,
    };
    let Some(reason) = reason else { return Failure::PeerMisbehaved };
    channel.ended_by_peer();
    Failure::from_peer(reason)
}

// A frame may name a mailbox and hold the token that resumes it: only its length is printed.
impl core::fmt::Debug for Output {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
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

impl core::fmt::Debug for Engine {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Engine").field("mode", &self.cx.mode).field("done", &self.done).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
