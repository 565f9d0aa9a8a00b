//! One mailbox: two slots, numbered frames in each direction, timers.
//!
//! A pure state machine: it is given the time, does no I/O, and is polled for what each slot's socket has to send.
//! What a slot still has to be told is kept as flags and counters, not as a queue, so a device that never reads costs
//! no more than the frames its peer may have unacknowledged.

use crate::Config;
use crate::network::{self, NetworkPrefix};
use crate::time::Time;
use handfast_wire::{
    Ack, CloseReason, DataHeader, EndReason, ErrorCode, Flags, Joined, Lifetime, LimitKind, MailboxId, RelayFrame,
    ResumeToken, Slot,
};
use sha2::{Digest, Sha256};
use side::{Notices, Presence, Side, TokenHash};
#[cfg(feature = "redis")]
use std::collections::VecDeque;
use std::time::Duration;
use tokio_tungstenite::tungstenite::Bytes;

pub(crate) mod progress;
mod side;
#[cfg(feature = "redis")]
pub(crate) mod snapshot;

/// Tells one socket from another, also from an earlier one in the same slot, and says which node it is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ConnectionId {
    pub(crate) node: u64,
    pub(crate) number: u64,
}

/// A data frame as a store keeps it: the bytes, or what stands for them.
pub(crate) trait Frame: Clone {
    /// How many bytes it counts for.
    fn len(&self) -> usize;
}

/// A device that asks for a slot.
#[derive(Clone)]
pub(crate) struct Arrival {
    token: TokenHash,
    connection: ConnectionId,
    network: Option<NetworkPrefix>,
}

/// How a mailbox answers an arrival.
pub(crate) enum Entry {
    /// It has this slot; the frame answers it.
    Seated(Slot, RelayFrame),
    /// Both slots belong to other devices. The frame says so.
    Refused(RelayFrame),
}

/// What a slot's socket has to do next.
#[derive(Debug, PartialEq)]
pub(crate) enum Output<F = Bytes> {
    /// Send this.
    Frame(RelayFrame),
    /// Send this whole data frame of the peer.
    Data(F),
    /// Say why, if there is something to say, and close the socket.
    End(Option<EndReason>),
}

pub(crate) struct Mailbox<F> {
    born: Time,
    last_data: Option<Time>,
    /// When the second slot was claimed.
    claimed_at: Option<Time>,
    frames: u32,
    /// Of all frames that were accepted.
    bytes: u32,
    ending: Option<Ending>,
    /// The socket that had the second slot when the slot was last freed.
    freed: Option<ConnectionId>,
    first: Side<F>,
    second: Side<F>,
}

#[derive(Clone, Copy)]
enum Ending {
    Closed,
    Because(EndReason),
}

impl Arrival {
    pub(crate) fn new(token: &ResumeToken, connection: ConnectionId, network: Option<NetworkPrefix>) -> Self {
        Self { token: TokenHash(Sha256::digest(token.0).into()), connection, network }
    }

    #[cfg(feature = "redis")]
    pub(crate) fn connection(&self) -> ConnectionId {
        self.connection
    }
}

impl<F: Frame> Mailbox<F> {
    pub(crate) fn new(now: Time) -> Self {
        Self {
            born: now,
            last_data: None,
            claimed_at: None,
            frames: 0,
            bytes: 0,
            ending: None,
            freed: None,
            first: Side::default(),
            second: Side::default(),
        }
    }

    /// A device opens or claims: its own slot again if its token is known, else the free one. `id` goes into the answer.
    pub(crate) fn join(&mut self, now: Time, config: &Config, id: MailboxId, arrival: Arrival) -> Entry {
        let slot = if let Some(slot) = self.slot_of(&arrival.token) {
            slot
        } else if self.first.token.is_none() {
            Slot::First
        } else if self.second.token.is_none() {
            self.claimed_at = Some(now);
            Slot::Second
        } else {
            return Entry::Refused(self.third_claim());
        };
        // The device may be a repeat of itself that lost everything after its last acknowledgement.
        let received = self.side(other(slot)).sent.acked;
        self.attach(slot, arrival, received);
        let (side, peer) = (self.side(slot), self.side(other(slot)));
        let joined = Joined {
            mailbox: id,
            slot,
            received: side.sent.count,
            peer: peer.state(),
            network: network::hint(side.network, peer.network),
            lifetime: self.lifetime(now, config),
        };
        Entry::Seated(slot, RelayFrame::Joined(joined))
    }

    /// A device comes back to its slot and says how many frames it has.
    ///
    /// `BadToken` if neither slot has this token; `UnexpectedFrame` if `received` is more than was ever sent to the
    /// slot, or less than the device acknowledged (those frames are gone).
    pub(crate) fn resume(
        &mut self,
        now: Time,
        config: &Config,
        arrival: Arrival,
        received: u32,
    ) -> Result<(Slot, RelayFrame), ErrorCode> {
        let slot = self.slot_of(&arrival.token).ok_or(ErrorCode::BadToken)?;
        // A closed slot has no frames left to get: its device only comes to close again.
        let gone = received < self.side(other(slot)).sent.first_stored();
        if gone && self.side(slot).closed.is_none() {
            return Err(ErrorCode::UnexpectedFrame);
        }
        let news = self.acknowledge(slot, received, Flags::NONE)?;
        self.attach(slot, arrival, received);
        if news {
            self.tell(other(slot), |notices| notices.ack = true);
        }
        // The peer may have come while this device was away, and the answer has no room for the hint.
        let (side, peer) = (self.side(slot), self.side(other(slot)));
        if peer.connection.is_some() && peer.closed.is_none() && side.closed.is_none() {
            let network = network::hint(side.network, peer.network);
            self.tell(slot, |notices| notices.presence = Some(Presence::Joined(network)));
        }
        let (side, peer) = (self.side(slot), self.side(other(slot)));
        let (received, peer) = (side.sent.count, peer.state());
        Ok((slot, RelayFrame::Resumed { received, peer, lifetime: self.lifetime(now, config) }))
    }

    /// A data frame from a slot's socket: its header, and all its bytes. A repeated frame is dropped without a word.
    ///
    /// `UnexpectedFrame` for a gap in the numbers, an acknowledgement of what was never sent, or a closed slot;
    /// `Limit` for more frames than the window or the mailbox takes, or more bytes.
    pub(crate) fn data(
        &mut self,
        now: Time,
        config: &Config,
        seat: (Slot, ConnectionId),
        header: DataHeader,
        frame: F,
    ) -> Result<(), ErrorCode> {
        let slot = seat.0;
        if !self.is_seated(seat) {
            return Ok(());
        }
        let news = self.acknowledge(slot, header.ack, header.flags)?;
        let peer_closed = self.side(other(slot)).closed.is_some();
        let side = self.side_mut(slot);
        if header.seq < side.sent.count {
            if news {
                self.tell(other(slot), |notices| notices.ack = true);
            }
            return Ok(());
        }
        if header.seq > side.sent.count || side.closed.is_some() {
            return Err(ErrorCode::UnexpectedFrame);
        }
        if side.sent.count.saturating_sub(side.sent.credited) >= config.window_frames {
            return Err(ErrorCode::Limit(LimitKind::Window));
        }
        if self.frames >= config.max_mailbox_frames {
            return Err(ErrorCode::Limit(LimitKind::MailboxFrames));
        }
        let bytes = self.bytes.saturating_add(u32::try_from(frame.len()).unwrap_or(u32::MAX));
        if bytes > config.max_mailbox_bytes {
            return Err(ErrorCode::Limit(LimitKind::MailboxBytes));
        }
        let was_silent = self.is_silent_claim();
        self.frames += 1;
        self.bytes = bytes;
        self.last_data = Some(now);
        let side = self.side_mut(slot);
        side.sent.count += 1;
        if !peer_closed {
            side.sent.bytes += frame.len();
            side.sent.stored.push_back(frame);
        }
        if was_silent && slot == Slot::Second {
            self.first.sent.forget_acked();
        }
        self.side_mut(other(slot)).woken = true;
        Ok(())
    }

    /// A bare acknowledgement from a slot's socket. `UnexpectedFrame` if it counts what was never sent.
    pub(crate) fn ack(&mut self, seat: (Slot, ConnectionId), ack: Ack) -> Result<(), ErrorCode> {
        if self.is_seated(seat) && self.acknowledge(seat.0, ack.ack, ack.flags)? {
            self.tell(other(seat.0), |notices| notices.ack = true);
        }
        Ok(())
    }

    /// A slot's device is finished. Its socket is no longer part of the mailbox. Closing again changes nothing.
    pub(crate) fn close(&mut self, seat: (Slot, ConnectionId), reason: CloseReason) {
        if !self.is_seated(seat) {
            return;
        }
        let side = self.side_mut(seat.0);
        side.connection = None;
        if side.closed.is_some() {
            return;
        }
        side.closed = Some(reason);
        let peer = self.side_mut(other(seat.0));
        peer.sent.discard();
        self.tell(other(seat.0), |notices| notices.closed = true);
        self.end_if_nobody_is_left();
    }

    /// A slot's socket is gone without a close frame: its device may come back.
    pub(crate) fn detach(&mut self, seat: (Slot, ConnectionId)) {
        if !self.is_seated(seat) {
            return;
        }
        let side = self.side_mut(seat.0);
        side.connection = None;
        if side.closed.is_none() {
            self.tell(other(seat.0), |notices| notices.presence = Some(Presence::Left));
        }
    }

    /// Ends the mailbox; connected devices are told why.
    pub(crate) fn end(&mut self, reason: EndReason) {
        self.finish(Ending::Because(reason));
    }

    /// Does what is due at this time. See [`Mailbox::next_deadline`].
    pub(crate) fn on_time(&mut self, now: Time, config: &Config) {
        if now >= self.ends_at(config) {
            self.end(EndReason::Expired);
        } else if self.claim_ends_at(config).is_some_and(|at| now >= at) {
            self.free_second();
        }
    }

    /// Does all that was due by now: nobody looked at this mailbox for a while.
    #[cfg(feature = "redis")]
    pub(crate) fn catch_up(&mut self, now: Time, config: &Config) {
        while !self.is_over() && self.next_deadline(config) <= now {
            self.on_time(now, config);
        }
    }

    /// When [`Mailbox::on_time`] has to be called next. It may move: later without notice, earlier only by a join.
    pub(crate) fn next_deadline(&self, config: &Config) -> Time {
        let end = self.ends_at(config);
        self.claim_ends_at(config).map_or(end, |claim| claim.min(end))
    }

    /// What the socket of this seat has to send next, if anything. Each is returned once.
    pub(crate) fn poll_output(&mut self, seat: (Slot, ConnectionId)) -> Option<Output<F>> {
        match self.ending {
            Some(Ending::Closed) => return Some(Output::End(None)),
            Some(Ending::Because(reason)) => return Some(Output::End(Some(reason))),
            None => {}
        }
        if !self.is_seated(seat) {
            let side = self.side(seat.0);
            return Some(Output::End(match () {
                () if self.freed == Some(seat.1) => Some(EndReason::ClaimTimedOut),
                // Another node took this one for dead: the slot waits for its device.
                () if side.connection.is_none() && side.token.is_some() => None,
                () => Some(EndReason::Replaced),
            }));
        }
        let (side, peer) = match seat.0 {
            Slot::First => (&mut self.first, &self.second),
            Slot::Second => (&mut self.second, &self.first),
        };
        if side.closed.is_some() {
            return None;
        }
        // Who is there comes before what it sent, that it has gone comes after.
        let notices = &mut side.notices;
        if take(&mut notices.freed) {
            return Some(Output::Frame(RelayFrame::PeerFreed));
        }
        if let Some(Presence::Joined(network)) = notices.presence {
            notices.presence = None;
            return Some(Output::Frame(RelayFrame::PeerJoined { network }));
        }
        if take(&mut notices.third_claim) {
            return Some(Output::Frame(RelayFrame::ThirdClaim));
        }
        if let Some(frame) = peer.sent.get(side.delivered) {
            side.delivered += 1;
            return Some(Output::Data(frame.clone()));
        }
        if take(&mut notices.ack) {
            let flags = Flags { settled: peer.settled };
            return Some(Output::Frame(RelayFrame::Ack(Ack { ack: side.sent.credited, flags })));
        }
        if notices.presence.take().is_some() {
            return Some(Output::Frame(RelayFrame::PeerLeft));
        }
        if take(&mut notices.closed) {
            return peer.closed.map(|reason| Output::Frame(RelayFrame::PeerClosed { reason }));
        }
        None
    }

    /// The slots whose sockets have to poll again, each reported once.
    pub(crate) fn take_woken(&mut self) -> impl Iterator<Item = Slot> + use<F> {
        let (first, second) = (take(&mut self.first.woken), take(&mut self.second.woken));
        first.then_some(Slot::First).into_iter().chain(second.then_some(Slot::Second))
    }

    /// Whether this token has a slot of this mailbox.
    pub(crate) fn knows(&self, arrival: &Arrival) -> bool {
        self.slot_of(&arrival.token).is_some()
    }

    /// Whether the mailbox is over and only waits for its sockets to notice.
    pub(crate) fn is_over(&self) -> bool {
        self.ending.is_some()
    }

    /// The socket that has this slot.
    #[cfg(feature = "redis")]
    pub(crate) fn connection(&self, slot: Slot) -> Option<ConnectionId> {
        self.side(slot).connection
    }

    /// The socket that had the second slot when the slot was last freed.
    #[cfg(feature = "redis")]
    pub(crate) fn freed(&self) -> Option<ConnectionId> {
        self.freed
    }

    /// How many frames of this slot were accepted.
    pub(crate) fn count(&self, slot: Slot) -> u32 {
        self.side(slot).sent.count
    }

    /// Frames of this slot that the other may still need, oldest first.
    #[cfg(feature = "redis")]
    pub(crate) fn kept(&self, slot: Slot) -> &VecDeque<F> {
        &self.side(slot).sent.stored
    }

    /// The same, to take their bytes out.
    #[cfg(feature = "redis")]
    pub(crate) fn kept_mut(&mut self, slot: Slot) -> &mut VecDeque<F> {
        &mut self.side_mut(slot).sent.stored
    }

    /// Whether both devices have said that they are settled.
    pub(crate) fn is_settled(&self) -> bool {
        self.first.settled && self.second.settled
    }

    /// The minute of the store's clock in which the mailbox is over at the latest.
    #[cfg(feature = "redis")]
    pub(crate) fn last_minute(&self, config: &Config) -> u64 {
        (self.born + config.mailbox_max_lifetime).0 / 60_000
    }

    /// When the mailbox ends if nothing more happens.
    #[cfg(feature = "redis")]
    pub(crate) fn next_end(&self, config: &Config) -> Time {
        self.ends_at(config)
    }

    /// Bytes of all stored frames.
    pub(crate) fn stored_bytes(&self) -> usize {
        self.first.sent.bytes + self.second.sent.bytes
    }

    /// How long the mailbox still lives, as devices are told.
    pub(crate) fn lifetime(&self, now: Time, config: &Config) -> Lifetime {
        let ms = |duration: Duration| u32::try_from(duration.as_millis()).unwrap_or(u32::MAX);
        Lifetime {
            remaining_ms: ms(self.ends_at(config).since(now)),
            linger_ms: ms(config.mailbox_linger),
            max_ms: ms((self.born + config.mailbox_max_lifetime).since(now)),
        }
    }

    fn ends_at(&self, config: &Config) -> Time {
        let normal = self.born + config.mailbox_lifetime;
        let end = self.last_data.map_or(normal, |last| normal.max(last + config.mailbox_linger));
        end.min(self.born + config.mailbox_max_lifetime)
    }

    fn claim_ends_at(&self, config: &Config) -> Option<Time> {
        let claimed_at = self.claimed_at.filter(|_| self.second.closed.is_none() && self.is_silent_claim())?;
        Some(claimed_at + config.claim_timeout)
    }

    /// Whether the second slot is taken by a device that has sent no data frame.
    fn is_silent_claim(&self) -> bool {
        self.claimed_at.is_some() && self.second.sent.count == 0
    }

    /// Which slot was taken with this token. Looks at both, whatever the first says.
    fn slot_of(&self, token: &TokenHash) -> Option<Slot> {
        let (first, second) = (self.first.has(token), self.second.has(token));
        if first { Some(Slot::First) } else { second.then_some(Slot::Second) }
    }

    fn third_claim(&mut self) -> RelayFrame {
        if self.is_settled() {
            for slot in [Slot::First, Slot::Second] {
                self.tell(slot, |notices| notices.third_claim = true);
            }
            return RelayFrame::Error { code: ErrorCode::MailboxFull, retry_after_ms: 0 };
        }
        self.end(EndReason::Crowded);
        RelayFrame::Ended { reason: EndReason::Crowded }
    }

    fn attach(&mut self, slot: Slot, arrival: Arrival, received: u32) {
        let peer_closed = self.side(other(slot)).closed.is_some();
        let side = self.side_mut(slot);
        // Wakes the socket that had the slot until now: it learns that it was replaced.
        side.woken = true;
        side.token = Some(arrival.token);
        side.connection = Some(arrival.connection);
        side.network = arrival.network;
        side.delivered = received;
        // An acknowledgement may have been lost with the last socket, and the window would stay shut.
        side.notices = Notices {
            freed: false,
            presence: None,
            third_claim: side.notices.third_claim,
            ack: side.sent.credited > 0,
            closed: peer_closed,
        };
        if side.closed.is_none() {
            let network = network::hint(side.network, self.side(other(slot)).network);
            self.tell(other(slot), |notices| notices.presence = Some(Presence::Joined(network)));
        }
    }

    /// Records a cumulative acknowledgement and the flags that came with it. Whether the peer does not know it yet.
    fn acknowledge(&mut self, slot: Slot, ack: u32, flags: Flags) -> Result<bool, ErrorCode> {
        // What a silent claimant acknowledged is kept: its slot may be freed, and the next device needs it.
        let keep = slot == Slot::Second && self.is_silent_claim();
        let side = self.side_mut(slot);
        if ack > side.delivered {
            return Err(ErrorCode::UnexpectedFrame);
        }
        let settles = flags.settled && !side.settled;
        side.settled |= flags.settled;
        let sent = &mut self.side_mut(other(slot)).sent;
        let advances = ack > sent.credited;
        sent.credited = sent.credited.max(ack);
        sent.acked = sent.acked.max(ack);
        if !keep {
            sent.forget_acked();
        }
        Ok(advances || settles)
    }

    fn free_second(&mut self) {
        self.claimed_at = None;
        self.freed = self.second.connection;
        self.second = Side { woken: true, ..Side::default() };
        self.first.sent.acked = 0;
        self.tell(Slot::First, |notices| {
            notices.freed = true;
            notices.presence = None;
        });
        self.end_if_nobody_is_left();
    }

    fn end_if_nobody_is_left(&mut self) {
        let first_left = self.first.closed.is_none();
        let second_left = self.second.token.is_some() && self.second.closed.is_none();
        if !first_left && !second_left {
            self.finish(Ending::Closed);
        }
    }

    fn finish(&mut self, ending: Ending) {
        self.ending = Some(ending);
        for side in [&mut self.first, &mut self.second] {
            side.sent.discard();
            side.woken = true;
        }
    }

    fn tell(&mut self, slot: Slot, note: impl FnOnce(&mut Notices)) {
        let side = self.side_mut(slot);
        note(&mut side.notices);
        side.woken = true;
    }

    fn is_seated(&self, (slot, connection): (Slot, ConnectionId)) -> bool {
        self.side(slot).connection == Some(connection)
    }

    fn side(&self, slot: Slot) -> &Side<F> {
        match slot {
            Slot::First => &self.first,
            Slot::Second => &self.second,
        }
    }

    fn side_mut(&mut self, slot: Slot) -> &mut Side<F> {
        match slot {
            Slot::First => &mut self.first,
            Slot::Second => &mut self.second,
        }
    }
}

impl Frame for Bytes {
    fn len(&self) -> usize {
        Bytes::len(self)
    }
}

pub(crate) fn other(slot: Slot) -> Slot {
    match slot {
        Slot::First => Slot::Second,
        Slot::Second => Slot::First,
    }
}

fn take(flag: &mut bool) -> bool {
    std::mem::take(flag)
}

#[cfg(test)]
mod tests;
