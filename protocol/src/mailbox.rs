//! The device's half of a relay mailbox: naming it, numbering and acknowledging frames, resuming on a new socket.
//! It knows nothing of what the payloads mean. `spec/relay.md`.

use crate::time::Time;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use handfast_wire::limits::{
    MAILBOX_LIFETIME_MS, MAILBOX_LINGER_MS, MAILBOX_MAX_LIFETIME_MS, MAX_MAILBOX_FRAMES, WINDOW_FRAMES,
};
use handfast_wire::{
    Ack, ClientFrame, CloseReason, Data, EndReason, ErrorCode, Flags, Lifetime, MailboxId, Nameplate, Network,
    PeerState, RelayFrame, ResumeToken, Slot,
};
use rand_core::CryptoRng;

/// An acknowledgement without data is sent once this many frames wait for one: half a window.
const ACK_AFTER_FRAMES: u32 = WINDOW_FRAMES / 2;

/// How this device comes to its mailbox.
#[derive(Clone)]
pub(crate) enum Entry {
    Allocate,
    Open(MailboxId),
    Claim(Nameplate),
}

/// What a frame from the relay meant.
pub(crate) enum MailboxEvent {
    /// The mailbox exists; in `code` mode with a nameplate.
    Ready { nameplate: Option<Nameplate>, slot: Slot, network: Network },
    /// The peer is there.
    PeerHere(Network),
    /// The peer's connection is gone; it may come back.
    PeerAway,
    /// The claim on the other slot lapsed without a message.
    PeerFreed,
    /// The peer closed. Only a hint, like everything the relay says.
    PeerClosed(CloseReason),
    /// Somebody else knocked and was turned away.
    ThirdClaim,
    /// The next payload of the peer.
    Payload(Vec<u8>),
    /// The relay ended the mailbox.
    Ended(EndReason),
    /// The relay refuses.
    Refused { code: ErrorCode, retry_after_ms: u32 },
}

/// The relay broke the frame protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RelayFault;

pub(crate) struct Mailbox {
    entry: Entry,
    token: ResumeToken,
    /// Known once the relay has answered the first time.
    id: Option<MailboxId>,
    link: Link,
    /// Payloads from number `acknowledged` on: kept until the peer has them, since a relay may lose its copy.
    outgoing: VecDeque<Vec<u8>>,
    acknowledged: u32,
    /// The first number that was not yet sent on this socket.
    next_to_send: u32,
    /// The first number that was never sent on any socket.
    never_sent: u32,
    received: u32,
    ack_sent: u32,
    settled: bool,
    settled_sent: bool,
    /// What has arrived is to be acknowledged without waiting for more.
    ack_due: bool,
    close: Option<CloseReason>,
    close_sent: bool,
    frames: VecDeque<Vec<u8>>,
    deadline: Option<Deadline>,
}

#[derive(PartialEq, Eq)]
enum Link {
    Down,
    /// The socket is open and the mailbox was named on it; the answer is awaited.
    Naming,
    Up,
}

/// When the mailbox ends, by this device's clock.
struct Deadline {
    ends: Time,
    linger_ms: u32,
    cap: Time,
}

impl Mailbox {
    pub(crate) fn new(entry: Entry, rng: &mut dyn CryptoRng) -> Self {
        let mut token = [0; 16];
        rng.fill_bytes(&mut token);
        Self {
            entry,
            token: ResumeToken(token),
            id: None,
            link: Link::Down,
            outgoing: VecDeque::new(),
            acknowledged: 0,
            next_to_send: 0,
            never_sent: 0,
            received: 0,
            ack_sent: 0,
            settled: false,
            settled_sent: false,
            ack_due: false,
            close: None,
            close_sent: false,
            frames: VecDeque::new(),
            deadline: None,
        }
    }

    /// A socket to the relay is open.
    pub(crate) fn connected(&mut self) {
        let token = self.token.clone();
        let frame = match (self.id, &self.entry) {
            (Some(mailbox), _) => ClientFrame::Resume { mailbox, token, received: self.received },
            (None, Entry::Allocate) => ClientFrame::Allocate { token },
            (None, Entry::Open(mailbox)) => ClientFrame::Open { mailbox: *mailbox, token },
            (None, Entry::Claim(nameplate)) => ClientFrame::Claim { nameplate: *nameplate, token },
        };
        self.frames.clear();
        self.frames.push_back(frame.encode());
        self.link = Link::Naming;
    }

    /// The socket is gone.
    pub(crate) fn disconnected(&mut self) {
        self.link = Link::Down;
        self.frames.clear();
    }

    /// A frame from the relay. `None`: nothing that matters to the run.
    pub(crate) fn frame(&mut self, bytes: &[u8], now: Time) -> Result<Option<MailboxEvent>, RelayFault> {
        let frame = RelayFrame::decode(bytes).map_err(|_| RelayFault)?;
        match (&self.link, frame) {
            (Link::Naming, RelayFrame::Allocated { nameplate, mailbox, lifetime }) => {
                if self.id.is_some() || !matches!(self.entry, Entry::Allocate) {
                    return Err(RelayFault);
                }
                self.up(Some(mailbox), 0, lifetime, now)?;
                let network = Network::Unknown;
                Ok(Some(MailboxEvent::Ready { nameplate: Some(nameplate), slot: Slot::First, network }))
            }
            (Link::Naming, RelayFrame::Joined(joined)) => {
                if self.id.is_some() || matches!(self.entry, Entry::Allocate) {
                    return Err(RelayFault);
                }
                if matches!(self.entry, Entry::Open(asked) if asked != joined.mailbox) {
                    return Err(RelayFault);
                }
                self.up(Some(joined.mailbox), joined.received, joined.lifetime, now)?;
                Ok(Some(MailboxEvent::Ready { nameplate: None, slot: joined.slot, network: joined.network }))
            }
            (Link::Naming, RelayFrame::Resumed { received, peer, lifetime }) => {
                if self.id.is_none() {
                    return Err(RelayFault);
                }
                self.up(None, received, lifetime, now)?;
                Ok(match peer {
                    PeerState::Away => Some(MailboxEvent::PeerAway),
                    PeerState::Present => Some(MailboxEvent::PeerHere(Network::Unknown)),
                    // The claim may have lapsed while this device was away; the relay does not say so again.
                    PeerState::Absent => Some(MailboxEvent::PeerFreed),
                    PeerState::Closed => None,
                })
            }
            (Link::Up, RelayFrame::Data(data)) => self.data(data, now),
            (Link::Up, RelayFrame::Ack(ack)) => self.acknowledge(ack.ack).map(|()| None),
            (Link::Up, RelayFrame::PeerJoined { network }) => Ok(Some(MailboxEvent::PeerHere(network))),
            (Link::Up, RelayFrame::PeerLeft) => Ok(Some(MailboxEvent::PeerAway)),
            (Link::Up, RelayFrame::PeerFreed) => Ok(Some(MailboxEvent::PeerFreed)),
            (Link::Up, RelayFrame::PeerClosed { reason }) => Ok(Some(MailboxEvent::PeerClosed(reason))),
            (Link::Up, RelayFrame::ThirdClaim) => Ok(Some(MailboxEvent::ThirdClaim)),
            (_, RelayFrame::Ended { reason }) => Ok(Some(MailboxEvent::Ended(reason))),
            // A limit that passes, met on the way back: the relay closes this socket, and a later one may do.
            (Link::Naming, RelayFrame::Error { code: ErrorCode::Limit(_), retry_after_ms })
                if self.id.is_some() && retry_after_ms > 0 =>
            {
                self.disconnected();
                Ok(None)
            }
            (_, RelayFrame::Error { code, retry_after_ms }) => Ok(Some(MailboxEvent::Refused { code, retry_after_ms })),
            _ => Err(RelayFault),
        }
    }

    /// Queues a payload for the peer. The bytes are kept and resent as they are.
    pub(crate) fn send(&mut self, payload: Vec<u8>) {
        self.outgoing.push_back(payload);
    }

    /// Acknowledges at once what has arrived: the peer waits for it.
    pub(crate) fn acknowledge_now(&mut self) {
        self.ack_due = true;
    }

    /// This device has accepted its peer: said on the next frame.
    pub(crate) fn settle(&mut self) {
        self.settled = true;
    }

    /// Closes this side. Nothing is awaited any more, so only what the window has room for is still sent: `farewell`
    /// last, and nothing of a bundle that was not on its way before.
    pub(crate) fn close(&mut self, farewell: Option<Vec<u8>>, reason: CloseReason) {
        self.outgoing.truncate(WINDOW_FRAMES as usize);
        if self.outgoing.len() < WINDOW_FRAMES as usize {
            self.outgoing.extend(farewell);
        }
        self.close = Some(reason);
    }

    /// Whether the relay has not yet answered on any socket.
    pub(crate) fn is_new(&self) -> bool {
        self.id.is_none()
    }

    /// Whether the peer has acknowledged every payload.
    pub(crate) fn all_acknowledged(&self) -> bool {
        self.outgoing.is_empty()
    }

    /// Whether this side is closed and the relay, which has the mailbox, was not told.
    pub(crate) fn owes_close(&self) -> bool {
        self.id.is_some() && self.close.is_some() && !self.close_sent
    }

    /// When the mailbox ends; `None` before the relay has made it.
    pub(crate) fn deadline(&self) -> Option<Time> {
        self.deadline.as_ref().map(|deadline| deadline.ends)
    }

    /// The next frame for the socket.
    pub(crate) fn poll(&mut self, now: Time) -> Option<Vec<u8>> {
        if let Some(frame) = self.frames.pop_front() {
            return Some(frame);
        }
        if self.link != Link::Up || self.close_sent {
            return None;
        }
        let in_flight = self.next_to_send.wrapping_sub(self.acknowledged);
        if in_flight < WINDOW_FRAMES
            && let Some(payload) = self.outgoing.get(in_flight as usize)
        {
            let payload = payload.clone();
            let data = Data { seq: self.next_to_send, ack: self.received, flags: self.flags(), payload };
            self.next_to_send = self.next_to_send.wrapping_add(1);
            self.never_sent = self.never_sent.max(self.next_to_send);
            self.marked_as_said();
            self.lives_on(now);
            return Some(ClientFrame::Data(data).encode());
        }
        let unsaid = self.received.wrapping_sub(self.ack_sent);
        let closing = self.close.is_some() && in_flight as usize >= self.outgoing.len();
        if unsaid >= ACK_AFTER_FRAMES
            || (self.settled && !self.settled_sent)
            || ((closing || self.ack_due) && unsaid > 0)
        {
            let ack = Ack { ack: self.received, flags: self.flags() };
            self.marked_as_said();
            return Some(ClientFrame::Ack(ack).encode());
        }
        if closing && let Some(reason) = self.close {
            self.close_sent = true;
            return Some(ClientFrame::Close { reason }.encode());
        }
        None
    }

    fn up(&mut self, id: Option<MailboxId>, relay_has: u32, lifetime: Lifetime, now: Time) -> Result<(), RelayFault> {
        if relay_has < self.acknowledged || relay_has > self.never_sent {
            return Err(RelayFault);
        }
        self.id = id.or(self.id);
        self.next_to_send = relay_has;
        self.link = Link::Up;
        // The relay may have forgotten what was said on the old socket: say it again.
        self.ack_sent = 0;
        self.settled_sent = false;
        if self.deadline.is_none() {
            let cap = now.plus_ms(lifetime.max_ms.min(MAILBOX_MAX_LIFETIME_MS));
            self.deadline = Some(Deadline {
                ends: now.plus_ms(lifetime.remaining_ms.min(MAILBOX_LIFETIME_MS)).min(cap),
                linger_ms: lifetime.linger_ms.min(MAILBOX_LINGER_MS),
                cap,
            });
        }
        Ok(())
    }

    fn data(&mut self, data: Data, now: Time) -> Result<Option<MailboxEvent>, RelayFault> {
        self.acknowledge(data.ack)?;
        if data.seq < self.received {
            // A resend of what is already here.
            return Ok(None);
        }
        if data.seq > self.received || self.received >= MAX_MAILBOX_FRAMES {
            return Err(RelayFault);
        }
        self.received += 1;
        self.lives_on(now);
        Ok(Some(MailboxEvent::Payload(data.payload)))
    }

    fn acknowledge(&mut self, ack: u32) -> Result<(), RelayFault> {
        if ack > self.next_to_send {
            return Err(RelayFault);
        }
        while self.acknowledged < ack {
            self.outgoing.pop_front();
            self.acknowledged += 1;
        }
        Ok(())
    }

    /// A data frame passed: the mailbox stays for a while.
    fn lives_on(&mut self, now: Time) {
        if let Some(deadline) = &mut self.deadline {
            deadline.ends = deadline.ends.max(now.plus_ms(deadline.linger_ms)).min(deadline.cap);
        }
    }

    fn flags(&self) -> Flags {
        Flags { settled: self.settled }
    }

    fn marked_as_said(&mut self) {
        self.ack_sent = self.received;
        self.settled_sent = self.settled;
        self.ack_due = false;
    }
}

#[cfg(test)]
#[path = "mailbox_tests.rs"]
mod tests;
