//! A blind relay in memory: what `spec/relay.md` says about mailboxes, without sockets and with the caller's clock.

use handfast_protocol::wire::limits::{
    CLAIM_WITHOUT_DATA_MS, MAILBOX_LIFETIME_MS, MAILBOX_LINGER_MS, MAILBOX_MAX_LIFETIME_MS, MAX_MAILBOX_FRAMES,
    WINDOW_FRAMES,
};
use handfast_protocol::wire::{
    Ack, ClientFrame, CloseReason, EndReason, ErrorCode, Flags, Joined, Lifetime, LimitKind, MailboxId, Nameplate,
    Network, PeerState, RelayFrame, ResumeToken, Slot,
};
use rand::rngs::ChaCha12Rng;
use rand::{Rng, RngExt, SeedableRng};
use std::collections::BTreeMap;

/// Tells one socket from another.
pub type ConnectionId = u64;

/// What goes over a socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToSocket {
    /// A frame.
    Frame(Vec<u8>),
    /// The end.
    Close,
}

/// The relay.
pub struct Relay {
    rng: ChaCha12Rng,
    connections: BTreeMap<ConnectionId, Connection>,
    mailboxes: BTreeMap<[u8; 16], Mailbox>,
    output: Vec<(ConnectionId, ToSocket)>,
}

struct Connection {
    network: u8,
    seat: Option<([u8; 16], usize)>,
}

struct Mailbox {
    nameplate: Option<Nameplate>,
    born: u64,
    last_data: Option<u64>,
    claimed_at: Option<u64>,
    frames: u32,
    sides: [Side; 2],
}

#[derive(Default)]
struct Side {
    token: Option<ResumeToken>,
    connection: Option<ConnectionId>,
    network: u8,
    settled: bool,
    closed: Option<CloseReason>,
    /// Every data frame that its device sent.
    sent: Vec<Vec<u8>>,
    /// How many of them the peer has acknowledged.
    credited: u32,
    /// How many of the peer's frames went to its socket.
    delivered: usize,
}

impl Relay {
    /// A relay without mailboxes.
    pub fn new(seed: u64) -> Self {
        Self {
            rng: ChaCha12Rng::seed_from_u64(seed ^ 0x7e1a),
            connections: BTreeMap::new(),
            mailboxes: BTreeMap::new(),
            output: Vec::new(),
        }
    }

    /// A socket opened from this network.
    pub fn connect(&mut self, connection: ConnectionId, network: u8) {
        self.connections.insert(connection, Connection { network, seat: None });
    }

    /// A socket is gone.
    pub fn hang_up(&mut self, connection: ConnectionId) {
        let Some(Connection { seat: Some((id, slot)), .. }) = self.connections.remove(&connection) else { return };
        let Some(mailbox) = self.mailboxes.get_mut(&id) else { return };
        let side = &mut mailbox.sides[slot];
        if side.connection != Some(connection) {
            return;
        }
        side.connection = None;
        if side.closed.is_none() {
            self.tell(id, 1 - slot, &RelayFrame::PeerLeft);
        }
    }

    /// How many mailboxes there are.
    pub fn mailboxes(&self) -> usize {
        self.mailboxes.len()
    }

    /// Forgets everything, as a restart does. Sockets stay, seatless.
    pub fn forget(&mut self) {
        self.mailboxes.clear();
        for connection in self.connections.values_mut() {
            connection.seat = None;
        }
    }

    /// What goes to the sockets.
    pub fn take_output(&mut self) -> Vec<(ConnectionId, ToSocket)> {
        std::mem::take(&mut self.output)
    }

    /// When [`Relay::on_time`] is due.
    pub fn next_deadline(&self) -> Option<u64> {
        self.mailboxes.values().flat_map(|mailbox| [Some(mailbox.ends_at()), mailbox.claim_ends_at()]).flatten().min()
    }

    /// Ends mailboxes and frees slots whose time has come.
    pub fn on_time(&mut self, now: u64) {
        let ids: Vec<_> = self.mailboxes.keys().copied().collect();
        for id in ids {
            let mailbox = self.mailboxes.get_mut(&id).unwrap();
            if mailbox.ends_at() <= now {
                self.end(id, Some(EndReason::Expired));
            } else if mailbox.claim_ends_at().is_some_and(|at| at <= now) {
                mailbox.claimed_at = None;
                let freed = std::mem::take(&mut mailbox.sides[1]);
                if let Some(connection) = freed.connection {
                    self.say(connection, &RelayFrame::Ended { reason: EndReason::ClaimTimedOut });
                    self.drop_socket(connection);
                }
                self.tell(id, 0, &RelayFrame::PeerFreed);
                self.end_if_nobody_is_left(id);
            }
        }
    }

    /// A frame from a socket.
    pub fn frame(&mut self, connection: ConnectionId, bytes: &[u8], now: u64) {
        let Some(seat) = self.connections.get(&connection).map(|connection| connection.seat) else { return };
        let result = match (ClientFrame::decode(bytes), seat) {
            (Err(_), _) => Err(ErrorCode::Malformed),
            (Ok(ClientFrame::Data(data)), Some((id, slot))) => {
                self.data(id, slot, data.seq, data.ack, data.flags, bytes, now)
            }
            (Ok(ClientFrame::Ack(ack)), Some((id, slot))) => self.ack(id, slot, ack.ack, ack.flags),
            (Ok(ClientFrame::Close { reason }), Some((id, slot))) => {
                self.close(id, slot, reason, connection);
                Ok(())
            }
            (Ok(frame), None) => self.name(connection, frame, now),
            _ => Err(ErrorCode::UnexpectedFrame),
        };
        if let Err(code) = result {
            self.say(connection, &RelayFrame::Error { code, retry_after_ms: 0 });
            self.drop_socket(connection);
        }
    }

    fn name(&mut self, connection: ConnectionId, frame: ClientFrame, now: u64) -> Result<(), ErrorCode> {
        match frame {
            ClientFrame::Allocate { token } => {
                let nameplate = Nameplate::new(self.rng.random_range(0..Nameplate::COUNT)).unwrap();
                let mut id = [0; 16];
                self.rng.fill_bytes(&mut id);
                self.mailboxes.insert(id, Mailbox::new(now, Some(nameplate)));
                self.attach(id, 0, token, connection, 0);
                let lifetime = self.mailboxes[&id].lifetime(now);
                self.say(connection, &RelayFrame::Allocated { nameplate, mailbox: MailboxId(id), lifetime });
                Ok(())
            }
            ClientFrame::Open { mailbox, token } => {
                self.mailboxes.entry(mailbox.0).or_insert_with(|| Mailbox::new(now, None));
                self.join(connection, mailbox.0, token, now)
            }
            ClientFrame::Claim { nameplate, token } => {
                let id = self.mailboxes.iter().find(|(_, mailbox)| mailbox.nameplate == Some(nameplate));
                let id = *id.ok_or(ErrorCode::NoSuchNameplate)?.0;
                self.join(connection, id, token, now)
            }
            ClientFrame::Resume { mailbox, token, received } => {
                let found = self.mailboxes.get(&mailbox.0).ok_or(ErrorCode::NoSuchMailbox)?;
                let slot = found.slot_of(&token).ok_or(ErrorCode::BadToken)?;
                if received as usize > found.sides[slot].delivered {
                    return Err(ErrorCode::UnexpectedFrame);
                }
                let news = self.credit(mailbox.0, slot, received, Flags::NONE)?;
                self.attach(mailbox.0, slot, token, connection, received as usize);
                let found = &self.mailboxes[&mailbox.0];
                let (side, peer) = (&found.sides[slot], &found.sides[1 - slot]);
                let received = u32::try_from(side.sent.len()).unwrap();
                let (credited, settled, closed) = (side.credited, peer.settled, peer.closed);
                let answer = RelayFrame::Resumed { received, peer: peer.state(), lifetime: found.lifetime(now) };
                self.say(connection, &answer);
                self.announce(mailbox.0, slot);
                self.pump(mailbox.0, slot);
                if credited > 0 {
                    self.say(connection, &RelayFrame::Ack(Ack { ack: credited, flags: Flags { settled } }));
                }
                if let Some(reason) = closed {
                    self.say(connection, &RelayFrame::PeerClosed { reason });
                }
                if news {
                    self.tell_ack(mailbox.0, slot);
                }
                Ok(())
            }
            _ => Err(ErrorCode::UnexpectedFrame),
        }
    }

    fn join(&mut self, connection: ConnectionId, id: [u8; 16], token: ResumeToken, now: u64) -> Result<(), ErrorCode> {
        let mailbox = self.mailboxes.get_mut(&id).unwrap();
        let slot = match mailbox.slot_of(&token) {
            Some(slot) => slot,
            None if mailbox.sides[0].token.is_none() => 0,
            None if mailbox.sides[1].token.is_none() => {
                mailbox.claimed_at = Some(now);
                1
            }
            None if mailbox.sides.iter().all(|side| side.settled) => {
                self.tell(id, 0, &RelayFrame::ThirdClaim);
                self.tell(id, 1, &RelayFrame::ThirdClaim);
                return Err(ErrorCode::MailboxFull);
            }
            None => {
                self.say(connection, &RelayFrame::Ended { reason: EndReason::Crowded });
                self.drop_socket(connection);
                self.end(id, Some(EndReason::Crowded));
                return Ok(());
            }
        };
        self.attach(id, slot, token, connection, 0);
        let mailbox = &self.mailboxes[&id];
        let (side, peer) = (&mailbox.sides[slot], &mailbox.sides[1 - slot]);
        let joined = Joined {
            mailbox: MailboxId(id),
            slot: if slot == 0 { Slot::First } else { Slot::Second },
            received: u32::try_from(side.sent.len()).unwrap(),
            peer: peer.state(),
            network: mailbox.network(),
            lifetime: mailbox.lifetime(now),
        };
        self.say(connection, &RelayFrame::Joined(joined));
        self.announce(id, slot);
        self.pump(id, slot);
        Ok(())
    }

    fn attach(&mut self, id: [u8; 16], slot: usize, token: ResumeToken, connection: ConnectionId, delivered: usize) {
        let network = self.connections[&connection].network;
        let side = &mut self.mailboxes.get_mut(&id).unwrap().sides[slot];
        let before = side.connection.replace(connection);
        side.token = Some(token);
        side.network = network;
        side.delivered = delivered;
        self.connections.get_mut(&connection).unwrap().seat = Some((id, slot));
        if let Some(before) = before {
            self.say(before, &RelayFrame::Ended { reason: EndReason::Replaced });
            self.drop_socket(before);
        }
    }

    /// Tells the peer that this slot's device is there.
    fn announce(&mut self, id: [u8; 16], slot: usize) {
        let network = self.mailboxes[&id].network();
        if self.mailboxes[&id].sides[slot].closed.is_none() {
            self.tell(id, 1 - slot, &RelayFrame::PeerJoined { network });
        }
    }

    #[expect(clippy::too_many_arguments, reason = "the fields of a frame")]
    fn data(
        &mut self,
        id: [u8; 16],
        slot: usize,
        seq: u32,
        ack: u32,
        flags: Flags,
        bytes: &[u8],
        now: u64,
    ) -> Result<(), ErrorCode> {
        let news = self.credit(id, slot, ack, flags)?;
        let mailbox = self.mailboxes.get_mut(&id).ok_or(ErrorCode::NoSuchMailbox)?;
        let side = &mut mailbox.sides[slot];
        let count = u32::try_from(side.sent.len()).unwrap();
        if seq < count {
            if news {
                self.tell_ack(id, slot);
            }
            return Ok(());
        }
        if seq > count || side.closed.is_some() {
            return Err(ErrorCode::UnexpectedFrame);
        }
        if count - side.credited >= WINDOW_FRAMES {
            return Err(ErrorCode::Limit(LimitKind::Window));
        }
        if mailbox.frames >= MAX_MAILBOX_FRAMES {
            return Err(ErrorCode::Limit(LimitKind::MailboxFrames));
        }
        mailbox.frames += 1;
        mailbox.last_data = Some(now);
        side.sent.push(bytes.to_vec());
        if slot == 1 {
            mailbox.claimed_at = None;
        }
        self.pump(id, 1 - slot);
        Ok(())
    }

    fn ack(&mut self, id: [u8; 16], slot: usize, ack: u32, flags: Flags) -> Result<(), ErrorCode> {
        if self.credit(id, slot, ack, flags)? {
            self.tell_ack(id, slot);
        }
        Ok(())
    }

    fn credit(&mut self, id: [u8; 16], slot: usize, ack: u32, flags: Flags) -> Result<bool, ErrorCode> {
        let mailbox = self.mailboxes.get_mut(&id).ok_or(ErrorCode::NoSuchMailbox)?;
        let side = &mut mailbox.sides[slot];
        if ack as usize > side.delivered {
            return Err(ErrorCode::UnexpectedFrame);
        }
        let settles = flags.settled && !side.settled;
        side.settled |= flags.settled;
        let peer = &mut mailbox.sides[1 - slot];
        let advances = ack > peer.credited;
        peer.credited = peer.credited.max(ack);
        Ok(advances || settles)
    }

    fn tell_ack(&mut self, id: [u8; 16], from: usize) {
        let mailbox = &self.mailboxes[&id];
        let ack = mailbox.sides[1 - from].credited;
        let flags = Flags { settled: mailbox.sides[from].settled };
        self.tell(id, 1 - from, &RelayFrame::Ack(Ack { ack, flags }));
    }

    fn close(&mut self, id: [u8; 16], slot: usize, reason: CloseReason, connection: ConnectionId) {
        if let Some(mailbox) = self.mailboxes.get_mut(&id) {
            let first = mailbox.sides[slot].closed.replace(reason).is_none();
            if first {
                self.tell(id, 1 - slot, &RelayFrame::PeerClosed { reason });
                self.end_if_nobody_is_left(id);
            }
        }
        self.drop_socket(connection);
    }

    fn end_if_nobody_is_left(&mut self, id: [u8; 16]) {
        let Some(mailbox) = self.mailboxes.get(&id) else { return };
        let [first, second] = &mailbox.sides;
        let first_left = first.closed.is_none();
        let second_left = second.token.is_some() && second.closed.is_none();
        if !first_left && !second_left {
            self.end(id, None);
        }
    }

    fn end(&mut self, id: [u8; 16], reason: Option<EndReason>) {
        let Some(mailbox) = self.mailboxes.remove(&id) else { return };
        for connection in mailbox.sides.iter().filter_map(|side| side.connection) {
            if let Some(reason) = reason {
                self.say(connection, &RelayFrame::Ended { reason });
            }
            self.drop_socket(connection);
        }
    }

    /// Sends a slot what its peer has sent.
    fn pump(&mut self, id: [u8; 16], slot: usize) {
        let Some(mailbox) = self.mailboxes.get_mut(&id) else { return };
        let [first, second] = &mut mailbox.sides;
        let (side, peer) = if slot == 0 { (first, second) } else { (second, first) };
        let Some(connection) = side.connection.filter(|_| side.closed.is_none()) else { return };
        for frame in &peer.sent[side.delivered..] {
            self.output.push((connection, ToSocket::Frame(frame.clone())));
        }
        side.delivered = peer.sent.len();
    }

    fn tell(&mut self, id: [u8; 16], slot: usize, frame: &RelayFrame) {
        let side = self.mailboxes.get(&id).map(|mailbox| &mailbox.sides[slot]);
        if let Some(Side { connection: Some(connection), closed: None, .. }) = side {
            self.say(*connection, frame);
        }
    }

    fn say(&mut self, connection: ConnectionId, frame: &RelayFrame) {
        self.output.push((connection, ToSocket::Frame(frame.encode())));
    }

    fn drop_socket(&mut self, connection: ConnectionId) {
        if let Some(Connection { seat: Some((id, slot)), .. }) = self.connections.remove(&connection)
            && let Some(mailbox) = self.mailboxes.get_mut(&id)
        {
            mailbox.sides[slot].connection.take_if(|own| *own == connection);
        }
        self.output.push((connection, ToSocket::Close));
    }
}

impl Mailbox {
    fn new(now: u64, nameplate: Option<Nameplate>) -> Self {
        Self { nameplate, born: now, last_data: None, claimed_at: None, frames: 0, sides: Default::default() }
    }

    fn slot_of(&self, token: &ResumeToken) -> Option<usize> {
        self.sides.iter().position(|side| side.token.as_ref() == Some(token))
    }

    fn ends_at(&self) -> u64 {
        let normal = self.born + u64::from(MAILBOX_LIFETIME_MS);
        let end = self.last_data.map_or(normal, |last| normal.max(last + u64::from(MAILBOX_LINGER_MS)));
        end.min(self.born + u64::from(MAILBOX_MAX_LIFETIME_MS))
    }

    fn claim_ends_at(&self) -> Option<u64> {
        self.claimed_at.filter(|_| self.sides[1].closed.is_none()).map(|at| at + u64::from(CLAIM_WITHOUT_DATA_MS))
    }

    fn lifetime(&self, now: u64) -> Lifetime {
        Lifetime {
            remaining_ms: u32::try_from(self.ends_at().saturating_sub(now)).unwrap(),
            linger_ms: MAILBOX_LINGER_MS,
            max_ms: u32::try_from((self.born + u64::from(MAILBOX_MAX_LIFETIME_MS)).saturating_sub(now)).unwrap(),
        }
    }

    fn network(&self) -> Network {
        match &self.sides {
            [first, second] if first.network == 0 || second.network == 0 => Network::Unknown,
            [first, second] if first.network == second.network => Network::Same,
            _ => Network::Different,
        }
    }
}

impl Side {
    fn state(&self) -> PeerState {
        match (&self.token, self.closed, self.connection) {
            (None, ..) => PeerState::Absent,
            (_, Some(_), _) => PeerState::Closed,
            (.., Some(_)) => PeerState::Present,
            (.., None) => PeerState::Away,
        }
    }
}
