//! Limits per source that hold across nodes: the buckets and counts are in the store, and so is the key that names
//! sources there. It is drawn anew every period, by whichever node needs it first.

use super::client::{hex, source_key, source_mailboxes_key, sources_key};
use super::record::millis;
use super::{RETRY_AFTER, Shared};
use crate::limits::{self, Guest, SourceKey, SourceTag};
use crate::network::NetworkPrefix;
use crate::store::Refusal;
use handfast_wire::{LimitKind, MailboxId};
use rand::Rng;
use redis::RedisResult;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The bucket of the misses of all sources.
const ALL_MISSES: &str = "handfast:{sources}:misses";

/// A source as nodes name it to each other. Each node tells only so many apart.
#[derive(Clone, Copy)]
pub(super) struct SharedSource {
    prefix: NetworkPrefix,
    place: Option<u32>,
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
    Missed,
    Hit,
}

impl SharedSource {
    pub(super) fn of(guest: &Guest) -> Self {
        Self { prefix: guest.origin.source, place: guest.source().place() }
    }

    fn tag(self, key: &SourceKey) -> SourceTag {
        match self.place {
            None => key.tag(self.prefix),
            Some(place) => SourceTag(u128::from(place).to_be_bytes()),
        }
    }
}

impl Shared {
    /// Counts a new mailbox, paid for before it is made. Returns for whom, to be told when it is over.
    pub(super) async fn allocation(&self, source: SharedSource, id: MailboxId) -> Result<SourceTag, Refusal> {
        self.may(source, Step::Allocate(id)).await.map(|(tag, _)| tag)
    }

    /// A mailbox whose id the device knows is joined: a claim that cannot miss.
    pub(super) async fn joining(&self, source: SharedSource) -> Result<(), Refusal> {
        self.may(source, Step::Join).await.map(|_| ())
    }

    /// A nameplate is claimed, before anybody looks whether it is in use. The answer has to wait for so long.
    pub(super) async fn claiming(&self, source: SharedSource) -> Result<Duration, Refusal> {
        self.may(source, Step::Claim).await.map(|(_, wait)| wait)
    }

    /// The nameplate was not in use.
    pub(super) async fn missed(&self, source: SharedSource) -> Result<(), Refusal> {
        self.may(source, Step::Missed).await.map(|_| ())
    }

    /// Two devices have accepted each other in a mailbox, and one of them is of this source.
    pub(super) async fn hit(&self, source: SharedSource) {
        // A store that does not answer forgets this one.
        let _ = self.take_step(source, Step::Hit).await;
    }

    /// A mailbox that was counted is over, or was not made.
    pub(super) async fn uncount(&self, source: SourceTag, id: MailboxId) {
        let mut removal = redis::cmd("ZREM");
        removal.arg(source_mailboxes_key(source)).arg(hex(&id.0));
        // What fails here is forgotten with its time.
        let _ = self.client.query::<i64>(&removal).await;
    }

    async fn may(&self, source: SharedSource, step: Step) -> Result<(SourceTag, Duration), Refusal> {
        let (tag, limit, wait) = self.patiently(|| self.take_step(source, step)).await?;
        let kind = match limit {
            8 => LimitKind::SourceMailboxes,
            9 => LimitKind::SourceClaims,
            10 => LimitKind::SourceMisses,
            _ => return Ok((tag, wait)),
        };
        // Nobody knows when one of its mailboxes is over.
        let retry_after = if wait.is_zero() { RETRY_AFTER } else { wait };
        Err(Refusal::Say(limits::Refusal { kind, retry_after }.into()))
    }

    async fn take_step(&self, source: SharedSource, step: Step) -> RedisResult<(SourceTag, i64, Duration)> {
        let config = &self.config;
        let period = limits::period(config);
        let keys = self.source_keys(period).await?;
        let (tag, earlier) = (source.tag(&keys.current), source.tag(&keys.previous));
        let (name, id) = match step {
            Step::Allocate(id) => ("allocate", hex(&id.0)),
            Step::Join => ("join", String::new()),
            Step::Claim => ("claim", String::new()),
            Step::Missed => ("missed", String::new()),
            Step::Hit => ("hit", String::new()),
        };
        let mut call = self.scripts.source.key(source_key(tag));
        call.key(source_key(earlier)).key(source_mailboxes_key(tag)).key(source_mailboxes_key(earlier)).key(ALL_MISSES);
        call.arg(name).arg(millis(period.saturating_mul(2)));
        for rate in [config.source_allocations, config.source_claims, config.source_misses, config.all_misses] {
            call.arg(rate.burst).arg(micros(rate.interval()));
        }
        call.arg(micros(config.slow_claims)).arg(micros(limits::longest_wait(config))).arg(micros(limits::HIT_LASTS));
        call.arg(config.max_source_mailboxes).arg(millis(config.mailbox_max_lifetime)).arg(id);
        let (limit, wait): (i64, u64) = self.client.run(&call).await?;
        Ok((tag, limit, Duration::from_micros(wait)))
    }

    async fn source_keys(&self, period: Duration) -> RedisResult<Keys> {
        let number = self.now().0 / millis(period);
        let known = self.source_keys.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(keys) = known.filter(|keys| keys.period == number) {
            return Ok(keys);
        }
        let mut fresh = [0; 32];
        rand::rng().fill_bytes(&mut fresh);
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
