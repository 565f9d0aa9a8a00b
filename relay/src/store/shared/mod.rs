//! Mailboxes that several relays share through Valkey or Redis. The two devices of a mailbox may be at different nodes,
//! and any node may go at any moment.
//!
//! A mailbox is one hash in the store: a tag, a state and its unacknowledged data frames. A node reads the state, lets
//! [`crate::mailbox`] decide, and writes it back by a script that refuses if the tag has changed. So every step is
//! atomic, and what a step does is the same as in memory. Timers are looked at by the nodes that have a seat; a
//! mailbox without any expires in the store. A node that has changed what another node's seat must tell its device
//! wakes that node by publish/subscribe; each node also looks again every few seconds, in case a wake-up was lost.

mod budget;
mod client;
mod record;
mod seat;
mod seats;
mod sources;

use super::{NAMEPLATE_DRAWS, RETRY_AFTER, Refusal, StoreUrl, draining, error, limit, random_nameplate};
use crate::Config;
use crate::limits::{Guest, SourceTag};
use crate::log_key::LogKey;
use crate::mailbox::progress::MailboxState;
use crate::mailbox::{Arrival, ConnectionId, Entry, Mailbox};
use crate::metrics::Metrics;
use crate::time::Time;
use budget::Budget;
use client::{Client, MAILBOXES, Scripts, hex, nameplate_key, node_channel, node_key};
use handfast_wire::{ClientFrame, ErrorCode, LimitKind, MailboxId, Nameplate, RelayFrame, Slot};
use rand::Rng;
use record::{Change, Lent, Patience, Record, Seen, Unavailable, millis};
use redis::{FromRedisValue, RedisResult};
pub(crate) use seat::Seat;
use seats::Seats;
use sources::{SharedSource, SourceKeys};
use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, timeout};
use tracing::debug;

/// How long a device that wants a new place waits for the store before it is refused.
const ENTER_PATIENCE: Duration = Duration::from_secs(3);

/// How long a device with a place waits for the store before its connection is closed; it comes back then.
const SEAT_PATIENCE: Duration = Duration::from_secs(8);

/// How long a device that has left is tried to be put down as gone.
const LEAVE_PATIENCE: Duration = Duration::from_secs(60);

/// How long all requests of a heartbeat may take.
const BEAT_TIME: Duration = Duration::from_secs(5);

/// A doubt about the store brings a heartbeat on, but no more often than this.
const BREATH: Duration = Duration::from_millis(100);

/// How soon a heartbeat that failed is tried again.
const RETRY: Duration = Duration::from_millis(500);

/// Once heartbeats have failed for so long, the connection itself may be what is wrong.
const RENEW_AFTER: Duration = Duration::from_secs(4);

/// How long a node that stops goes on writing that its devices have left.
const LAST_WRITES: Duration = Duration::from_secs(3);

/// One node of a relay, with its connection to the store.
pub(crate) struct Shared {
    config: Config,
    metrics: Arc<Metrics>,
    client: Client,
    scripts: Scripts,
    /// This node's name in the store: random, new with each process.
    node: u64,
    last_connection: AtomicU64,
    log_key: LogKey,
    seats: Arc<Seats>,
    budget: Budget,
    source_keys: SourceKeys,
    /// When this node will be gone, once it drains.
    gone_at: Mutex<Option<Instant>>,
    stopping: AtomicBool,
    /// When other nodes were last known to live.
    others: Mutex<HashMap<u64, Instant>>,
    /// A seat was given up.
    left: Notify,
    /// Closed once no seat has anything to write any more.
    writers: watch::Sender<()>,
}

impl Shared {
    pub(crate) async fn connect(url: StoreUrl, config: Config, metrics: Arc<Metrics>) -> io::Result<Arc<Self>> {
        let seats = Arc::new(Seats::default());
        let pushed = Arc::clone(&seats);
        let failed = |error: redis::RedisError| {
            let kind = error.category().to_owned();
            io::Error::new(io::ErrorKind::NotConnected, format!("the store at {url} does not answer: {kind}"))
        };
        let node = rand::random();
        let (channel, in_time) = (node_channel(node), config.node_timeout / 3);
        let client = Client::connect(&url, channel, in_time, Arc::clone(&metrics), move |push| pushed.pushed(&push));
        let client = client.await.map_err(failed)?;
        let shared = Arc::new(Self {
            config,
            metrics,
            client,
            scripts: Scripts::new(),
            node,
            last_connection: AtomicU64::new(0),
            log_key: LogKey::random(),
            seats,
            budget: Budget::default(),
            source_keys: SourceKeys::default(),
            gone_at: Mutex::default(),
            stopping: AtomicBool::new(false),
            others: Mutex::default(),
            left: Notify::new(),
            writers: watch::Sender::new(()),
        });
        shared.heartbeat().await.map_err(failed)?;
        Ok(shared)
    }

    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    pub(crate) fn mailboxes(&self) -> usize {
        self.seats.mailboxes()
    }

    pub(crate) fn queued_bytes(&self) -> usize {
        self.budget.used()
    }

    /// Whether the store answered the last time.
    pub(crate) fn is_healthy(&self) -> bool {
        self.client.is_healthy()
    }

    /// Answers the first frame of a connection.
    pub(crate) async fn enter(
        self: &Arc<Self>,
        first: &ClientFrame,
        guest: &Guest,
    ) -> Result<(Seat, RelayFrame), Refusal> {
        let number = self.last_connection.fetch_add(1, Ordering::Relaxed) + 1;
        let connection = ConnectionId { node: self.node, number };
        let source = SharedSource::of(guest);
        let arrival = |token| Caller { arrival: Arrival::new(token, connection, guest.origin.network), source };
        match first {
            ClientFrame::Allocate { token } => self.allocate(arrival(token)).await,
            ClientFrame::Open { mailbox, token } => self.open(*mailbox, arrival(token)).await,
            ClientFrame::Claim { nameplate, token } => self.claim(*nameplate, arrival(token)).await,
            ClientFrame::Resume { mailbox, token, received } => self.resume(*mailbox, arrival(token), *received).await,
            _ => Err(Refusal::Say(error(ErrorCode::UnexpectedFrame))),
        }
    }

    /// Says that this node lives, and keeps up with the store. Never returns.
    pub(crate) async fn run(&self) {
        let mut failing: Option<Instant> = None;
        loop {
            let pause = if failing.is_some() { RETRY } else { self.beat() };
            tokio::select! {
                () = sleep(pause) => {}
                // At once after a reconnect: the others may have taken this node for dead.
                () = self.client.doubted(), if failing.is_none() => sleep(BREATH).await,
            }
            let beaten = timeout(BEAT_TIME, self.heartbeat()).await.unwrap_or_else(|_| Err(late()));
            self.client.found(&beaten);
            let since = match beaten {
                Ok(()) => {
                    failing = None;
                    continue;
                }
                Err(_) => *failing.get_or_insert_with(Instant::now),
            };
            if since.elapsed() >= RENEW_AFTER {
                // What does not come of it is tried again after the next beat that fails.
                let _ = timeout(BEAT_TIME, self.client.renew()).await;
            }
        }
    }

    /// From now on no mailbox is made here. Returns when no device is left.
    pub(crate) async fn drain(&self, left: Duration) {
        *self.gone_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now() + left);
        while self.seats.mailboxes() > 0 {
            self.left.notified().await;
        }
    }

    /// Gives up every seat here. The mailboxes stay, and their devices come back to them at another node.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
        self.seats.tell_all();
    }

    /// After [`Shared::stop`]: what seats still had to write is written, or it is too late.
    pub(crate) async fn settled(&self) {
        let _ = timeout(LAST_WRITES, self.writers.closed()).await;
        let _ = timeout(LAST_WRITES, self.settle_budget()).await;
        let _ = timeout(LAST_WRITES, self.client.query::<i64>(redis::cmd("DEL").arg(node_key(self.node)))).await;
    }

    async fn allocate(self: &Arc<Self>, caller: Caller) -> Answer {
        let mut id = MailboxId([0; 16]);
        rand::rng().fill_bytes(&mut id.0);
        let counted = self.allocation(caller.source, id).await?;
        let mut named = None;
        let made = async {
            self.take_place(id).await?;
            let nameplate = *named.insert(self.name(id).await?);
            let (seat, reply) = self.make(id, Some(nameplate), counted, caller).await?;
            match reply {
                RelayFrame::Joined(joined) => {
                    Ok((seat, RelayFrame::Allocated { nameplate, mailbox: id, lifetime: joined.lifetime }))
                }
                other => Err(Refusal::Say(other)),
            }
        };
        let made = made.await;
        if made.is_err() {
            self.unmake(id, named, counted).await;
        }
        made
    }

    async fn open(self: &Arc<Self>, id: MailboxId, caller: Caller) -> Answer {
        let mut seen = None;
        let knows = self.knows(id, &caller, &mut seen).await?;
        if knows == Some(false) {
            self.joining(caller.source).await?;
        }
        if knows.is_some()
            && let Some(answer) = self.join(id, Absent::IsSaid, caller.clone(), seen).await?
        {
            return Ok(answer);
        }
        let counted = self.allocation(caller.source, id).await?;
        let made = async {
            self.take_place(id).await?;
            self.make(id, None, counted, caller).await
        };
        let made = made.await;
        // Somebody else may have made it at the same time.
        let is_made = matches!(&made, Ok((_, RelayFrame::Joined(joined))) if joined.slot == Slot::First);
        if !is_made {
            self.unmake(id, None, counted).await;
        }
        made
    }

    async fn claim(self: &Arc<Self>, nameplate: Nameplate, caller: Caller) -> Answer {
        // Paid before anybody looks, so that who is refused learns nothing, not even by how long it takes.
        let claim = self.claiming(caller.source).await?;
        if !claim.wait.is_zero() {
            sleep(claim.wait).await;
        }
        let mut seen = None;
        if let Some(id) = self.named(nameplate).await?
            && let Some(own) = self.knows(id, &caller, &mut seen).await?
        {
            let (joined, ()) = tokio::join!(self.join(id, Absent::IsSaid, caller, seen), self.met(claim, own));
            return joined?.ok_or_else(no_such_nameplate);
        }
        self.missed(claim).await;
        Err(no_such_nameplate())
    }

    async fn resume(self: &Arc<Self>, id: MailboxId, caller: Caller, received: u32) -> Answer {
        let Caller { arrival, source } = caller;
        let mut seen = None;
        let connection = arrival.connection();
        let resumed = self.change(id, &mut seen, Lent::default(), SEAT_PATIENCE, |record, now| {
            let Some(record) = alive(record, now, &self.config) else {
                return Change::plain(Err(ErrorCode::NoSuchMailbox));
            };
            let answer = record.mailbox.resume(now, &self.config, arrival.clone(), received);
            Change::plain(answer.map(|(slot, reply)| (slot, reply, Place::of(record, &self.config))))
        });
        match resumed.await {
            Ok((Ok((slot, reply, place)), _)) => Ok((self.seat(id, slot, connection, source, place, seen), reply)),
            Ok((Err(code), _)) => Err(Refusal::Say(error(code))),
            // Told that the store is away, the device would give up its run. It comes back instead.
            Err(Unavailable) => Err(Refusal::Drop),
        }
    }

    async fn make(
        self: &Arc<Self>,
        id: MailboxId,
        nameplate: Option<Nameplate>,
        counted: SourceTag,
        caller: Caller,
    ) -> Answer {
        let made = self.join(id, Absent::IsMade(nameplate, counted, rand::random()), caller, None).await?;
        made.ok_or_else(|| self.unavailable())
    }

    /// A mailbox that was counted was not made after all, or by somebody else: gives back what was taken for it. What
    /// fails here is forgotten with its time.
    async fn unmake(&self, id: MailboxId, nameplate: Option<Nameplate>, counted: SourceTag) {
        let Ok(found) = self.load(id).await else { return };
        match found.and_then(|version| self.readable(id, &version)) {
            Some(record) if !record.mailbox.is_over() => {
                if record.source != counted {
                    self.uncount(counted, id).await;
                }
            }
            _ => self.forget(id, nameplate, counted).await,
        }
    }

    /// The mailbox that has this nameplate.
    async fn named(&self, nameplate: Nameplate) -> Result<Option<MailboxId>, Refusal> {
        let found: Option<Vec<u8>> = self.ask(redis::cmd("GET").arg(nameplate_key(nameplate))).await?;
        Ok(found.and_then(|id| id.try_into().ok()).map(MailboxId))
    }

    /// Whether this device has a slot of this mailbox; `None` if there is no such mailbox.
    async fn knows(&self, id: MailboxId, caller: &Caller, seen: &mut Option<Seen>) -> Result<Option<bool>, Refusal> {
        let looked = self.change(id, seen, Lent::default(), ENTER_PATIENCE, |record, now| {
            // Only looked at: what time has done to it is written by who joins.
            let mut record = record.take();
            Change::plain(alive(&mut record, now, &self.config).map(|record| record.mailbox.knows(&caller.arrival)))
        });
        looked.await.map(|(knows, _)| knows).map_err(|Unavailable| self.unavailable())
    }

    /// Takes a slot of a mailbox, if there is such a mailbox.
    async fn join(
        self: &Arc<Self>,
        id: MailboxId,
        absent: Absent,
        caller: Caller,
        mut seen: Option<Seen>,
    ) -> Result<Option<(Seat, RelayFrame)>, Refusal> {
        let Caller { arrival, source } = caller;
        let connection = arrival.connection();
        let joined = self.change(id, &mut seen, Lent::default(), ENTER_PATIENCE, |record, now| {
            if alive(record, now, &self.config).is_none() {
                let Absent::IsMade(nameplate, source, incarnation) = absent else { return Change::plain(None) };
                *record = Some(Record { incarnation, nameplate, source, mailbox: Mailbox::new(now) });
            }
            let Some(record) = record else { return Change::plain(None) };
            Change::plain(Some(match record.mailbox.join(now, &self.config, id, arrival.clone()) {
                Entry::Seated(slot, reply) => Ok((slot, reply, Place::of(record, &self.config))),
                Entry::Refused(why) => Err(why),
            }))
        });
        match joined.await {
            Ok((None, _)) => Ok(None),
            Ok((Some(Ok((slot, reply, place))), _)) => {
                Ok(Some((self.seat(id, slot, connection, source, place, seen), reply)))
            }
            Ok((Some(Err(why)), _)) => Err(Refusal::Say(why)),
            Err(Unavailable) => Err(self.unavailable()),
        }
    }

    fn seat(
        self: &Arc<Self>,
        id: MailboxId,
        slot: Slot,
        socket: ConnectionId,
        source: SharedSource,
        place: Place,
        seen: Option<Seen>,
    ) -> Seat {
        debug!(mailbox = %self.log_key.tag(id), ?slot, connection = socket.number, "seated");
        Seat::new(self, id, slot, socket, source, place, seen)
    }

    /// A place among all mailboxes for one that is about to be made.
    async fn take_place(&self, id: MailboxId) -> Result<(), Refusal> {
        let gone_at = *self.gone_at.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(gone_at) = gone_at {
            return Err(Refusal::Say(draining(gone_at.saturating_duration_since(Instant::now()))));
        }
        let mut call = self.scripts.place.key(MAILBOXES);
        let config = &self.config;
        call.arg(hex(&id.0)).arg(millis(config.mailbox_lifetime + record::COUNTS_ON));
        call.arg(millis(config.mailbox_max_lifetime + record::COUNTS_ON)).arg(config.max_mailboxes);
        let has_place: i64 = self.patiently(|| self.client.run(&call)).await?;
        if has_place == 1 { Ok(()) } else { Err(Refusal::Say(limit(LimitKind::Mailboxes))) }
    }

    /// A nameplate that nobody has, for this mailbox until it is over.
    async fn name(&self, id: MailboxId) -> Result<Nameplate, Refusal> {
        let time = millis(self.config.mailbox_max_lifetime + record::GRACE);
        for nameplate in (0..NAMEPLATE_DRAWS).filter_map(|_| random_nameplate()) {
            let mut take = redis::cmd("SET");
            take.arg(nameplate_key(nameplate)).arg(id.0.as_slice()).arg("NX").arg("PX").arg(time);
            if self.ask::<Option<String>>(&take).await?.is_some() {
                return Ok(nameplate);
            }
        }
        Err(Refusal::Say(limit(LimitKind::Mailboxes)))
    }

    /// Asks the store for a device that has no place yet.
    async fn ask<T: FromRedisValue>(&self, command: &redis::Cmd) -> Result<T, Refusal> {
        self.patiently(|| self.client.query(command)).await
    }

    async fn patiently<T, F: Future<Output = RedisResult<T>>>(&self, ask: impl Fn() -> F) -> Result<T, Refusal> {
        let mut patience = Patience::new(ENTER_PATIENCE);
        loop {
            match ask().await {
                Ok(answer) => return Ok(answer),
                Err(_) => patience.wait().await.map_err(|Unavailable| self.unavailable())?,
            }
        }
    }

    async fn heartbeat(&self) -> RedisResult<()> {
        let mut alive = redis::cmd("SET");
        alive.arg(node_key(self.node)).arg(1).arg("PX").arg(millis(self.config.node_timeout));
        self.client.query::<()>(&alive).await?;
        self.client.read_clock().await?;
        self.keep_source_key().await?;
        self.settle_budget().await?;
        self.others.lock().unwrap_or_else(PoisonError::into_inner).retain(|_, seen| seen.elapsed() < self.beat());
        Ok(())
    }

    /// Whether another node has died. In doubt it lives: it is not heard either while the store is away, and it has to
    /// be given time to be heard again.
    async fn is_dead(&self, node: u64) -> bool {
        if self.client.steady_for() < self.config.node_timeout {
            return false;
        }
        let others = || self.others.lock().unwrap_or_else(PoisonError::into_inner);
        if others().get(&node).is_some_and(|seen| seen.elapsed() < self.beat()) {
            return false;
        }
        let Ok(lives) = self.client.query::<bool>(redis::cmd("EXISTS").arg(node_key(node))).await else { return false };
        if lives {
            others().insert(node, Instant::now());
        }
        !lives
    }

    /// How often this node says that it lives.
    fn beat(&self) -> Duration {
        self.config.node_timeout / 3
    }

    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    fn now(&self) -> Time {
        self.client.now()
    }

    fn unavailable(&self) -> Refusal {
        Refusal::Say(limit(LimitKind::Store))
    }
}

/// What becomes of a mailbox that is not there.
#[derive(Clone, Copy)]
enum Absent {
    /// The caller learns that it is not.
    IsSaid,
    /// It is made, with this nameplate, for this source, and with this incarnation.
    IsMade(Option<Nameplate>, SourceTag, u64),
}

/// What a seat remembers of its mailbox.
#[derive(Clone, Copy)]
struct Place {
    incarnation: u64,
    /// In which minute the mailbox is over at the latest.
    minute: u64,
    /// When its timers have to be looked at.
    deadline: Time,
    state: Option<MailboxState>,
    /// Whether its devices have accepted each other.
    is_settled: bool,
}

impl Place {
    fn of(record: &Record, config: &Config) -> Self {
        let mailbox = &record.mailbox;
        Self {
            incarnation: record.incarnation,
            minute: mailbox.last_minute(config),
            deadline: mailbox.next_deadline(config),
            state: mailbox.state(),
            is_settled: mailbox.is_settled(),
        }
    }
}

fn no_such_nameplate() -> Refusal {
    Refusal::Say(error(ErrorCode::NoSuchNameplate))
}

/// The mailbox, if there is one that is not over by now.
fn alive<'r>(record: &'r mut Option<Record>, now: Time, config: &Config) -> Option<&'r mut Record> {
    let record = record.as_mut()?;
    record.mailbox.catch_up(now, config);
    (!record.mailbox.is_over()).then_some(record)
}

/// Who sends a first frame.
#[derive(Clone)]
struct Caller {
    arrival: Arrival,
    source: SharedSource,
}

type Answer = Result<(Seat, RelayFrame), Refusal>;

fn late() -> redis::RedisError {
    io::Error::from(io::ErrorKind::TimedOut).into()
}
