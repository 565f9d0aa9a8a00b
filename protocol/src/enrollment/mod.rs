//! The engine: one run of the protocol on one device, without I/O.
//!
//! Feed one [`Input`] with the time and a random source, then take every [`Output`] from [`Engine::poll`] until it
//! returns `None`. Questions to the person are outputs, answers are inputs; there are no callbacks. One engine is one
//! offer and one mailbox: after a failure, make a new one.

mod interface;
mod meeting;
mod new_device;
mod outcome;
mod receive;
mod release;
mod trusted;

pub use interface::{Approval, Decision, Event, Input, NewEnrollment, Output, ToStore, Way, WrongWay};
pub use new_device::NewDevice;
pub use outcome::{Failure, Fault, Success};
pub use trusted::TrustedDevice;

pub use crate::pairing::proof::AuthenticatedBy;

use crate::bundle::CredentialBundle;
use crate::channel::Channel;
use crate::mailbox::{Mailbox, MailboxEvent};
use crate::message::{AbortReason, Envelope, MessageKind, Request};
use crate::pairing::Mode;
use crate::time::Time;
use alloc::boxed::Box;
use alloc::collections::VecDeque;
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

impl core::fmt::Debug for Engine {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Engine").field("mode", &self.cx.mode).field("done", &self.done).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
