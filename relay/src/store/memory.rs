//! The store of one process: everything in memory.
//!
//! Locks: the registry first, then one mailbox; neither is held across an await or a system call.

use super::{NAMEPLATE_DRAWS, draining, error, limit, random_nameplate};
use crate::Config;
use crate::limits::{Claim, Guest, MailboxPermit, Source};
use crate::log_key::LogKey;
use crate::mailbox::progress::{MailboxState, Step};
use crate::mailbox::{Arrival, ConnectionId, Entry, Mailbox, Output};
use crate::metrics::Metrics;
use crate::time::Time;
use handfast_wire::{
    Ack, ClientFrame, CloseReason, DataHeader, EndReason, ErrorCode, LimitKind, MailboxId, Nameplate, RelayFrame,
    ResumeToken, Slot,
};
use rand::Rng;
use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_tungstenite::tungstenite::Bytes;
use tracing::debug;

pub(crate) struct Memory {
    config: Config,
    metrics: Arc<Metrics>,
    /// When its clock began.
    start: Instant,
    registry: Mutex<Registry>,
    queued_bytes: AtomicUsize,
    last_connection: AtomicU64,
    log_key: LogKey,
    /// The last mailbox ended.
    emptied: Notify,
}

/// One connection's place in one mailbox. Dropping it tells the peer that the device has left.
pub(crate) struct Seat {
    store: Arc<Memory>,
    source: Arc<Source>,
    mailbox: Arc<SharedMailbox>,
    id: MailboxId,
    slot: Slot,
    connection: ConnectionId,
}

#[derive(Default)]
struct Registry {
    mailboxes: HashMap<MailboxId, Entered>,
    nameplates: HashMap<Nameplate, MailboxId>,
    /// Every mailbox once, by when it has to be looked at.
    deadlines: BTreeSet<(Time, [u8; 16])>,
    /// Set while draining: when the relay will be gone.
    draining: Option<Time>,
}

struct Entered {
    mailbox: Arc<SharedMailbox>,
    nameplate: Option<Nameplate>,
    deadline: Time,
    /// Counts the mailbox for the source that made it.
    _permit: MailboxPermit,
}

struct SharedMailbox(Mutex<Locked>);

struct Locked {
    mailbox: Mailbox<Bytes>,
    first: Option<Waker>,
    second: Option<Waker>,
}

impl Memory {
    pub(crate) fn new(config: Config, metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self {
            config,
            metrics,
            start: Instant::now(),
            registry: Mutex::default(),
            queued_bytes: AtomicUsize::new(0),
            last_connection: AtomicU64::new(0),
            log_key: LogKey::random(),
            emptied: Notify::new(),
        })
    }

    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    pub(crate) fn mailboxes(&self) -> usize {
        self.registry().mailboxes.len()
    }

    pub(crate) fn queued_bytes(&self) -> usize {
        self.queued_bytes.load(Ordering::Relaxed)
    }

    /// Answers the first frame of a connection: a seat and the frame that says so, or the frame that refuses.
    pub(crate) async fn enter(self: &Arc<Self>, first: &ClientFrame, guest: &Guest) -> Answer {
        let number = self.last_connection.fetch_add(1, Ordering::Relaxed) + 1;
        let connection = ConnectionId { node: 0, number };
        let caller = Caller { connection, source: guest.source() };
        // Hashes the token before it takes the lock.
        let arrival = |token: &ResumeToken| Arrival::new(token, connection, guest.origin.network);
        match first {
            ClientFrame::Allocate { token } => self.allocate(caller, arrival(token)),
            ClientFrame::Open { mailbox, token } => self.open(caller, *mailbox, arrival(token)),
            ClientFrame::Claim { nameplate, token } => {
                // Paid before anybody looks, so that who is refused learns nothing, not even by how long it takes.
                let claim = caller.source.claim()?;
                if !claim.wait().is_zero() {
                    sleep(claim.wait()).await;
                }
                self.claim(caller, claim, *nameplate, arrival(token))
            }
            ClientFrame::Resume { mailbox, token, received } => {
                self.resume(caller, *mailbox, arrival(token), *received)
            }
            _ => Err(error(ErrorCode::UnexpectedFrame)),
        }
    }

    /// From now on no mailbox is created. `left` is how long the relay still works.
    pub(crate) fn drain(&self, left: Duration) {
        let mut registry = self.registry();
        registry.draining = Some(self.now() + left);
        if registry.mailboxes.is_empty() {
            self.emptied.notify_one();
        }
    }

    /// After [`Memory::drain`]: returns once there is no mailbox left.
    pub(crate) async fn drained(&self) {
        self.emptied.notified().await;
    }

    /// Ends every mailbox.
    pub(crate) fn end_all(&self, reason: EndReason) {
        let mut registry = self.registry();
        let ids: Vec<MailboxId> = registry.mailboxes.keys().copied().collect();
        for id in ids {
            if let Some(entered) = registry.mailboxes.get(&id) {
                let mailbox = Arc::clone(&entered.mailbox);
                self.step(&mailbox, 0, |mailbox| mailbox.end(reason));
                self.remove(&mut registry, id, &mailbox);
            }
        }
    }

    /// Ends mailboxes and frees slots when their time comes. Never returns.
    ///
    /// Nobody wakes it for a new deadline: none comes sooner than it looks again.
    pub(crate) async fn run_timers(&self) {
        let soonest = self.config.claim_timeout.min(self.config.mailbox_lifetime);
        loop {
            let next = self.registry().deadlines.first().map(|(at, _)| *at);
            let again = self.now() + soonest;
            let at = next.map_or(again, |next| next.min(again));
            sleep_until(self.start + at.since(Time(0))).await;
            self.on_time(self.now());
        }
    }

    fn on_time(&self, now: Time) {
        let mut registry = self.registry();
        while registry.deadlines.first().is_some_and(|(at, _)| *at <= now) {
            let Some((_, id)) = registry.deadlines.pop_first() else { return };
            let id = MailboxId(id);
            let Some(mailbox) = registry.mailboxes.get(&id).map(|entered| Arc::clone(&entered.mailbox)) else {
                continue;
            };
            let (over, deadline) = self.step(&mailbox, 0, |mailbox| {
                mailbox.on_time(now, &self.config);
                (mailbox.is_over(), mailbox.next_deadline(&self.config))
            });
            if over {
                self.remove(&mut registry, id, &mailbox);
            } else {
                registry.set_deadline(id, deadline);
            }
        }
    }

    fn allocate(self: &Arc<Self>, caller: Caller<'_>, arrival: Arrival) -> Answer {
        let permit = caller.source.allocate()?;
        let now = self.now();
        let mut registry = self.registry();
        let nameplate = registry.unused_nameplate().ok_or_else(|| limit(LimitKind::Mailboxes))?;
        let mut id = MailboxId([0; 16]);
        rand::rng().fill_bytes(&mut id.0);
        let mailbox = self.create(&mut registry, now, id, Some(nameplate), permit)?;
        let (seat, _) = self.join(&mut registry, now, caller, id, &mailbox, arrival)?;
        let lifetime = mailbox.lock().mailbox.lifetime(now, &self.config);
        Ok((seat, RelayFrame::Allocated { nameplate, mailbox: id, lifetime }))
    }

    fn open(self: &Arc<Self>, caller: Caller<'_>, id: MailboxId, arrival: Arrival) -> Answer {
        let now = self.now();
        let mut registry = self.registry();
        let mailbox = match self.find(&mut registry, id) {
            Some(mailbox) => {
                if !mailbox.lock().mailbox.knows(&arrival) {
                    caller.source.join()?;
                }
                mailbox
            }
            None => self.create(&mut registry, now, id, None, caller.source.allocate()?)?,
        };
        self.join(&mut registry, now, caller, id, &mailbox, arrival)
    }

    fn claim(self: &Arc<Self>, caller: Caller<'_>, claim: Claim, nameplate: Nameplate, arrival: Arrival) -> Answer {
        let now = self.now();
        let mut registry = self.registry();
        let (id, mailbox) = self.named(&mut registry, nameplate).ok_or_else(|| error(ErrorCode::NoSuchNameplate))?;
        // A device that repeats its own claim pays nothing.
        let knows = mailbox.lock().mailbox.knows(&arrival);
        if knows {
            claim.repeats()
        } else {
            claim.met()
        }
        self.join(&mut registry, now, caller, id, &mailbox, arrival)
    }

    fn resume(self: &Arc<Self>, caller: Caller<'_>, id: MailboxId, arrival: Arrival, received: u32) -> Answer {
        let now = self.now();
        let mailbox = self.find(&mut self.registry(), id).ok_or_else(|| error(ErrorCode::NoSuchMailbox))?;
        let answer = self.step(&mailbox, 0, |mailbox| mailbox.resume(now, &self.config, arrival, received));
        let (slot, reply) = answer.map_err(error)?;
        Ok((self.seat(&mailbox, id, slot, caller), reply))
    }

    fn join(
        self: &Arc<Self>,
        registry: &mut Registry,
        now: Time,
        caller: Caller<'_>,
        id: MailboxId,
        mailbox: &Arc<SharedMailbox>,
        arrival: Arrival,
    ) -> Answer {
        let (entry, over, deadline) = self.step(mailbox, 0, |mailbox| {
            let entry = mailbox.join(now, &self.config, id, arrival);
            (entry, mailbox.is_over(), mailbox.next_deadline(&self.config))
        });
        if over {
            self.remove(registry, id, mailbox);
        } else {
            registry.set_deadline(id, deadline);
        }
        match entry {
            Entry::Seated(slot, reply) => Ok((self.seat(mailbox, id, slot, caller), reply)),
            Entry::Refused(why) => Err(why),
        }
    }

    fn seat(self: &Arc<Self>, mailbox: &Arc<SharedMailbox>, id: MailboxId, slot: Slot, caller: Caller<'_>) -> Seat {
        let Caller { connection, source } = caller;
        debug!(mailbox = %self.log_key.tag(id), ?slot, connection = connection.number, "seated");
        let (store, source, mailbox) = (Arc::clone(self), Arc::clone(source), Arc::clone(mailbox));
        Seat { store, source, mailbox, id, slot, connection }
    }

    fn named(&self, registry: &mut Registry, nameplate: Nameplate) -> Option<(MailboxId, Arc<SharedMailbox>)> {
        let id = registry.nameplates.get(&nameplate).copied()?;
        Some((id, self.find(registry, id)?))
    }

    /// The live mailbox with this id. One that is over but still listed is as good as gone.
    fn find(&self, registry: &mut Registry, id: MailboxId) -> Option<Arc<SharedMailbox>> {
        let mailbox = Arc::clone(&registry.mailboxes.get(&id)?.mailbox);
        if mailbox.lock().mailbox.is_over() {
            self.remove(registry, id, &mailbox);
            return None;
        }
        Some(mailbox)
    }

    fn create(
        &self,
        registry: &mut Registry,
        now: Time,
        id: MailboxId,
        nameplate: Option<Nameplate>,
        permit: MailboxPermit,
    ) -> Result<Arc<SharedMailbox>, RelayFrame> {
        if let Some(gone_at) = registry.draining {
            return Err(draining(gone_at.since(now)));
        }
        if registry.mailboxes.len() >= self.config.max_mailboxes {
            return Err(limit(LimitKind::Mailboxes));
        }
        let mailbox = Mailbox::new(now);
        let deadline = mailbox.next_deadline(&self.config);
        let mailbox = Arc::new(SharedMailbox(Mutex::new(Locked { mailbox, first: None, second: None })));
        registry.deadlines.insert((deadline, id.0));
        registry.nameplates.extend(nameplate.map(|nameplate| (nameplate, id)));
        self.metrics.mailbox_moved(None, Some(MailboxState::Waiting));
        registry.mailboxes.insert(id, Entered { mailbox: Arc::clone(&mailbox), nameplate, deadline, _permit: permit });
        Ok(mailbox)
    }

    /// Forgets a mailbox that is over, unless a new one has taken its id.
    fn remove(&self, registry: &mut Registry, id: MailboxId, mailbox: &Arc<SharedMailbox>) {
        let same = |entered: &Entered| Arc::ptr_eq(&entered.mailbox, mailbox);
        if !registry.mailboxes.get(&id).is_some_and(same) {
            return;
        }
        if let Some(entered) = registry.mailboxes.remove(&id) {
            registry.deadlines.remove(&(entered.deadline, id.0));
            entered.nameplate.map(|nameplate| registry.nameplates.remove(&nameplate));
        }
        debug!(mailbox = %self.log_key.tag(id), "ended");
        if registry.draining.is_some() && registry.mailboxes.is_empty() {
            self.emptied.notify_one();
        }
    }

    /// Runs one step of a mailbox, settles the byte budget, of which the caller has already taken `reserved`, and
    /// wakes the sockets that have something to send.
    fn step<R>(&self, mailbox: &SharedMailbox, reserved: usize, step: impl FnOnce(&mut Mailbox<Bytes>) -> R) -> R {
        let mut wakers = [None, None];
        let mut locked = mailbox.lock();
        let (before, state) = (locked.mailbox.stored_bytes() + reserved, locked.mailbox.state());
        let result = step(&mut locked.mailbox);
        self.metrics.stepped(Step::of(state, &locked.mailbox, || self.now()));
        self.metrics.mailbox_moved(state, locked.mailbox.state());
        self.queued_bytes.fetch_sub(before.saturating_sub(locked.mailbox.stored_bytes()), Ordering::Relaxed);
        for (slot, waker) in locked.mailbox.take_woken().zip(&mut wakers) {
            *waker = locked.waker(slot).take();
        }
        drop(locked);
        wakers.into_iter().flatten().for_each(Waker::wake);
        result
    }

    fn reserve(&self, bytes: usize) -> bool {
        let fits = |queued: usize| queued.checked_add(bytes).filter(|sum| *sum <= self.config.max_queued_bytes);
        self.queued_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).is_ok()
    }

    /// Tokio's clock, which tests can stop.
    fn now(&self) -> Time {
        Time(0) + self.start.elapsed()
    }

    fn registry(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat {
    /// Takes a data frame from this connection's device. The error is for the device; its connection ends with it.
    pub(crate) fn data(&self, header: DataHeader, frame: &Bytes) -> Result<(), RelayFrame> {
        if header.seq < self.mailbox.lock().mailbox.count(self.slot) {
            // Nothing of it is kept but what it acknowledges.
            let (now, config) = (self.store.now(), &self.store.config);
            let step = |mailbox: &mut Mailbox<Bytes>| mailbox.data(now, config, self.key(), header, Bytes::new());
            return self.store.step(&self.mailbox, 0, step).map_err(error);
        }
        if !self.store.reserve(frame.len()) {
            // The acknowledgement on this frame may make the room that it needs.
            self.ack(Ack { ack: header.ack, flags: header.flags })?;
            if !self.store.reserve(frame.len()) {
                return Err(limit(LimitKind::QueuedBytes));
            }
        }
        // The copy lets go of the socket's read buffer, so that what is stored is what was counted.
        let (len, frame) = (frame.len(), Bytes::copy_from_slice(frame));
        self.store
            .step(&self.mailbox, len, |mailbox| {
                mailbox.data(self.store.now(), &self.store.config, self.key(), header, frame)
            })
            .map_err(error)
    }

    /// Takes an acknowledgement from this connection's device.
    pub(crate) fn ack(&self, ack: Ack) -> Result<(), RelayFrame> {
        self.store.step(&self.mailbox, 0, |mailbox| mailbox.ack(self.key(), ack)).map_err(error)
    }

    /// This connection's device is finished with the mailbox.
    pub(crate) fn close(&self, reason: CloseReason) {
        let over = self.store.step(&self.mailbox, 0, |mailbox| {
            mailbox.close(self.key(), reason);
            mailbox.is_over()
        });
        if over {
            self.store.remove(&mut self.store.registry(), self.id, &self.mailbox);
        }
    }

    /// What this connection has to send next.
    pub(crate) fn poll_output(&self, cx: &Context<'_>) -> Poll<Output> {
        let mut locked = self.mailbox.lock();
        if let Some(output) = locked.mailbox.poll_output(self.key()) {
            return Poll::Ready(output);
        }
        let waker = locked.waker(self.slot);
        if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }

    fn key(&self) -> (Slot, ConnectionId) {
        (self.slot, self.connection)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let settled = self.store.step(&self.mailbox, 0, |mailbox| {
            mailbox.detach(self.key());
            mailbox.is_settled()
        });
        if settled {
            self.source.hit();
        }
    }
}

impl Registry {
    fn unused_nameplate(&self) -> Option<Nameplate> {
        (0..NAMEPLATE_DRAWS)
            .filter_map(|_| random_nameplate())
            .find(|nameplate| !self.nameplates.contains_key(nameplate))
    }

    fn set_deadline(&mut self, id: MailboxId, deadline: Time) {
        let Some(entered) = self.mailboxes.get_mut(&id) else { return };
        self.deadlines.remove(&(entered.deadline, id.0));
        entered.deadline = deadline;
        self.deadlines.insert((deadline, id.0));
    }
}

impl SharedMailbox {
    fn lock(&self) -> MutexGuard<'_, Locked> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Locked {
    fn waker(&mut self, slot: Slot) -> &mut Option<Waker> {
        match slot {
            Slot::First => &mut self.first,
            Slot::Second => &mut self.second,
        }
    }
}

/// Who sends a first frame.
#[derive(Clone, Copy)]
struct Caller<'a> {
    connection: ConnectionId,
    source: &'a Arc<Source>,
}

type Answer = Result<(Seat, RelayFrame), RelayFrame>;
