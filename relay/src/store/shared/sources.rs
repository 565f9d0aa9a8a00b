//! Limits per source that hold across nodes: the buckets and counts are in the store, and so is the key that names
//! sources there. It is drawn anew every period, by whichever node needs it first.

use super::client::{MAILBOXES, hex, source_key, source_mailboxes_key, sources_key};
use super::record::{COUNTS_ON, millis};
use super::{RETRY_AFTER, Shared};
use crate::limits::{self, Guest, Place, SourceKey, SourceTag};
use crate::network::NetworkPrefix;
use crate::store::Refusal;
use crate::time::Time;
use handfast_wire::{LimitKind, MailboxId};
use rand::Rng;
use redis::RedisResult;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The bucket of the misses of all sources.
const ALL_MISSES: &str = "handfast:{sources}:misses";

/// Taken for a claim: a miss of all sources. It is 1 for one of its own.
const MISS_OF_ALL: u8 = 2;

/// A source as nodes name it to each other. Each node tells only so many apart.
#[derive(Clone, Copy)]
pub(super) struct SharedSource {
    prefix: NetworkPrefix,
    place: Place,
}

/// A claim that may be looked at, after a wait. Until it is said what it met, it counts as one that missed.
pub(super) struct Claim {
    source: SharedSource,
    pub(super) wait: Duration,
    /// What the store took for it.
    taken: u8,
}

/// The keys of this period and of the one before.
#[derive(Default)]
pub(super) struct SourceKeys(Mutex<Option<Keys>>);

#[derive(Clone)]
struct Keys {
    period: u64,
    current: Arc<SourceKey>,
    previous: Arc<SourceKey>,
}

/// What a source does.
#[derive(Clone, Copy)]
enum Step {
    Allocate(MailboxId),
    Join,
    Claim,
    /// What was taken for the claim that is decided.
    Met(u8),
    Own(u8),
    Missed,
    Hit,
}

/// What the store says to a step.
struct Taken {
    tag: SourceTag,
    limit: i64,
    wait: Duration,
    taken: u8,
}

impl SharedSource {
    pub(super) fn of(guest: &Guest) -> Self {
        Self { prefix: guest.origin.source, place: guest.source().place() }
    }

    fn tag(self, key: &SourceKey) -> SourceTag {
        match (self.place, self.prefix) {
            (Place::Own, NetworkPrefix::V4(_)) => key.tag(self.prefix),
            (Place::Own, NetworkPrefix::V6(_)) => within(key.site(self.prefix), key.tag(self.prefix)),
            (Place::RestOfSite, _) => within(key.site(self.prefix), key.rest_of_site(self.prefix)),
            // IPv4 and IPv6 have places of their own.
            (Place::Shared(place), NetworkPrefix::V4(_)) => SourceTag((u128::from(place) | 4 << 32).to_be_bytes()),
            (Place::Shared(place), NetworkPrefix::V6(_)) => SourceTag((u128::from(place) | 6 << 32).to_be_bytes()),
        }
    }

    /// The /48 that it is in.
    fn site(self, key: &SourceKey) -> Option<SourceTag> {
        let is_known = !matches!(self.place, Place::Shared(_));
        matches!(self.prefix, NetworkPrefix::V6(_)).then(|| site(self.tag(key))).filter(|_| is_known)
    }
}

/// The name of a source in a /48: half of it is the name of the /48, so that this can be told from that.
fn within(site: SourceTag, source: SourceTag) -> SourceTag {
    let (site, source) = (u128::from_be_bytes(site.0), u128::from_be_bytes(source.0));
    SourceTag(((site >> 64 << 64) | (source >> 64)).to_be_bytes())
}

/// The name of the /48 that the source with this name is in. Of an IPv4 source it is a name that nothing has.
fn site(source: SourceTag) -> SourceTag {
    SourceTag((u128::from_be_bytes(source.0) >> 64 << 64).to_be_bytes())
}

impl Shared {
    /// Counts a new mailbox, paid for before it is made. Returns for whom, to be told when it is over.
    pub(super) async fn allocation(&self, source: SharedSource, id: MailboxId) -> Result<SourceTag, Refusal> {
        self.may(source, Step::Allocate(id)).await.map(|taken| taken.tag)
    }

    /// A mailbox whose id the device knows is joined: a claim that cannot miss.
    pub(super) async fn joining(&self, source: SharedSource) -> Result<(), Refusal> {
        self.may(source, Step::Join).await.map(|_| ())
    }

    /// A nameplate is claimed, before anybody looks whether it is in use.
    pub(super) async fn claiming(&self, source: SharedSource) -> Result<Claim, Refusal> {
        let Taken { wait, taken, .. } = self.may(source, Step::Claim).await?;
        Ok(Claim { source, wait, taken })
    }

    /// The nameplate was in use; `own`: by the device itself.
    pub(super) async fn met(&self, Claim { source, taken, .. }: Claim, own: bool) {
        // What fails here has cost a miss.
        let _ = self.take_step(source, if own { Step::Own(taken) } else { Step::Met(taken) }).await;
    }

    /// The nameplate was not in use.
    pub(super) async fn missed(&self, Claim { source, taken, .. }: Claim) {
        // All but this was paid with the claim.
        if taken & MISS_OF_ALL == 0 {
            let _ = self.take_step(source, Step::Missed).await;
        }
    }

    /// Two devices have accepted each other in a mailbox, and one of them is of this source.
    pub(super) async fn hit(&self, source: SharedSource) {
        // What one of those who share a place does says nothing about the others.
        if source.place == Place::Own {
            // A store that does not answer forgets this one.
            let _ = self.take_step(source, Step::Hit).await;
        }
    }

    /// A mailbox that was counted is over, or was not made.
    pub(super) async fn uncount(&self, source: SourceTag, id: MailboxId) {
        let removal = |source| {
            let mut removal = redis::cmd("ZREM");
            removal.arg(source_mailboxes_key(source)).arg(hex(&id.0));
            removal
        };
        let (own, of_site) = (removal(source), removal(site(source)));
        // What fails here is forgotten with its time.
        let _ = tokio::join!(self.client.query::<i64>(&own), self.client.query::<i64>(&of_site));
    }

    /// A mailbox lives until `end` now. What is not told here counts for a shorter time.
    pub(super) async fn prolong(&self, source: SourceTag, id: MailboxId, end: Time) {
        let over = (end + COUNTS_ON).0;
        let moved = |key: String| {
            let mut moved = redis::cmd("ZADD");
            moved.arg(key).arg("XX").arg(over).arg(hex(&id.0));
            moved
        };
        let place = moved(MAILBOXES.to_owned());
        let (own, of_site) = (moved(source_mailboxes_key(source)), moved(source_mailboxes_key(site(source))));
        let _ = tokio::join!(
            self.client.query::<i64>(&place),
            self.client.query::<i64>(&own),
            self.client.query::<i64>(&of_site)
        );
    }

    /// Keeps the key of this period in the store: one that has forgotten it would get another from the next node.
    pub(super) async fn keep_source_key(&self) -> RedisResult<()> {
        let period = limits::period(&self.config);
        let number = self.now().0 / millis(period);
        let known = self.source_keys.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        let current = known.filter(|keys| keys.period == number).map(|keys| *keys.current.bytes());
        self.read_source_keys(period, number, current).await.map(|_| ())
    }

    async fn may(&self, source: SharedSource, step: Step) -> Result<Taken, Refusal> {
        let taken = self.patiently(|| self.take_step(source, step)).await?;
        let kind = match taken.limit {
            8 => LimitKind::SourceMailboxes,
            9 => LimitKind::SourceClaims,
            10 => LimitKind::SourceMisses,
            _ => return Ok(taken),
        };
        // Nobody knows when one of its mailboxes is over.
        let retry_after = if taken.wait.is_zero() { RETRY_AFTER } else { taken.wait };
        Err(Refusal::Say(limits::Refusal { kind, retry_after }.into()))
    }

    async fn take_step(&self, source: SharedSource, step: Step) -> RedisResult<Taken> {
        let config = &self.config;
        let period = limits::period(config);
        let keys = self.source_keys(period).await?;
        let tag = source.tag(&keys.current);
        let (name, id, taken) = match step {
            Step::Allocate(id) => ("allocate", hex(&id.0), 0),
            Step::Join => ("join", String::new(), 0),
            Step::Claim => ("claim", String::new(), 0),
            Step::Met(taken) => ("met", String::new(), taken),
            Step::Own(taken) => ("own", String::new(), taken),
            Step::Missed => ("missed", String::new(), 0),
            Step::Hit => ("hit", String::new(), 0),
        };
        let mut call = self.scripts.source.prepare_invoke();
        let site = source.site(&keys.current).zip(source.site(&keys.previous));
        for (tag, earlier) in [(tag, source.tag(&keys.previous))].into_iter().chain(site) {
            call.key(source_key(tag)).key(source_key(earlier));
            call.key(source_mailboxes_key(tag)).key(source_mailboxes_key(earlier));
        }
        call.key(ALL_MISSES);
        call.arg(name).arg(millis(period.saturating_mul(2)));
        for rate in [config.source_allocations, config.source_claims, config.source_misses, config.all_misses] {
            call.arg(rate.burst).arg(micros(rate.interval()));
        }
        call.arg(micros(config.slow_claims)).arg(micros(limits::longest_wait(config))).arg(micros(limits::HIT_LASTS));
        call.arg(config.max_source_mailboxes);
        call.arg(millis(config.mailbox_lifetime + COUNTS_ON))
            .arg(millis(config.mailbox_max_lifetime + COUNTS_ON))
            .arg(id);
        call.arg(limits::SITE_FACTOR).arg(u8::from(matches!(source.place, Place::Shared(_)))).arg(taken);
        let (limit, wait, taken): (i64, u64, u8) = self.client.run(&call).await?;
        Ok(Taken { tag, limit, wait: Duration::from_micros(wait), taken })
    }

    async fn source_keys(&self, period: Duration) -> RedisResult<Keys> {
        let number = self.now().0 / millis(period);
        let known = self.source_keys.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match known.filter(|keys| keys.period == number) {
            Some(keys) => Ok(keys),
            None => self.read_source_keys(period, number, None).await,
        }
    }

    /// The keys that all nodes use. If the store has none for this period, it gets the one that this node knows.
    async fn read_source_keys(&self, period: Duration, number: u64, known: Option<[u8; 32]>) -> RedisResult<Keys> {
        let fresh = known.unwrap_or_else(|| {
            let mut fresh = [0; 32];
            rand::rng().fill_bytes(&mut fresh);
            fresh
        });
        let (current, previous) = (sources_key(number), sources_key(number.saturating_sub(1)));
        let mut make = redis::cmd("SET");
        make.arg(&current).arg(fresh.as_slice()).arg("NX").arg("PX").arg(millis(period.saturating_mul(2)));
        self.client.query::<Option<String>>(&make).await?;
        let read: (Vec<u8>, Option<Vec<u8>>) =
            self.client.query(redis::cmd("MGET").arg(&current).arg(&previous)).await?;
        let current = Arc::new(key(&read.0)?);
        let previous = read.1.map_or_else(|| Ok(Arc::clone(&current)), |previous| key(&previous).map(Arc::new))?;
        let keys = Keys { period: number, current, previous };
        *self.source_keys.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(keys.clone());
        Ok(keys)
    }
}

fn key(bytes: &[u8]) -> RedisResult<SourceKey> {
    let key = <[u8; 32]>::try_from(bytes);
    key.map(SourceKey::new)
        .map_err(|_| (redis::ErrorKind::UnexpectedReturnType, "a key of 32 bytes was expected").into())
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
