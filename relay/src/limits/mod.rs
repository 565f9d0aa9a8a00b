//! Limits per source: an IPv4 address, or an IPv6 /64.
//!
//! A source is kept only as a hash under a key that is drawn anew every period and never written down. The number of
//! sources kept is bounded, and none is evicted: when the table is full, newcomers share what is left.

mod door;
mod rate;
mod source;
#[cfg(test)]
mod tests;

use crate::Config;
use crate::network::NetworkPrefix;
pub(crate) use door::{Door, Guest, Visitor};
use handfast_wire::{ErrorCode, LimitKind, RelayFrame};
use rand::Rng;
use rate::Bucket;
pub use rate::{Rate, RateError};
use sha2::{Digest, Sha256};
use source::ConnectionPermit;
#[cfg(feature = "redis")]
pub(crate) use source::HIT_LASTS;
pub(crate) use source::{MailboxPermit, Source};
use std::collections::HashMap;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// A source that was not seen for one to two periods is forgotten.
const PERIOD: Duration = Duration::from_secs(60 * 60);

/// From accepting a connection to its mailbox takes less than this.
const ENTRY: Duration = Duration::from_secs(60);

/// How many sources are told apart.
const MAX_SOURCES: usize = 65_536;

/// How many places all others share.
const OVERFLOW_SOURCES: u32 = 1_024;

/// All sources of a relay.
pub(crate) struct Sources {
    rules: Arc<Rules>,
    period: Duration,
    max_sources: usize,
    table: Mutex<Table>,
}

/// Which limit a source has reached, and when to come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) kind: LimitKind,
    pub(crate) retry_after: Duration,
}

/// Names sources by hashes that nobody without this key can connect to an address.
pub(crate) struct SourceKey([u8; 32]);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct SourceTag(pub(crate) [u8; 16]);

/// How long a slowed claim waits by itself, and at most, behind others.
#[derive(Clone, Copy)]
struct Wait {
    each: Duration,
    longest: Duration,
}

/// What every source has to keep to, and the one bucket of all of them.
struct Rules {
    connections: Rate,
    allocations: Rate,
    claims: Rate,
    misses: Rate,
    all_misses: Bucket,
    slow_claims: Wait,
    max_connections: usize,
    max_mailboxes: usize,
}

struct Table {
    /// Seen since the last rotation.
    current: Period,
    /// Seen in the period before, and not since.
    previous: Period,
    rotates_at: Instant,
    overflow: HashMap<u32, Arc<Source>>,
}

struct Period {
    key: SourceKey,
    sources: HashMap<SourceTag, Arc<Source>>,
}

impl Sources {
    pub(crate) fn new(config: &Config) -> Self {
        Self::with_room(config, MAX_SOURCES)
    }

    fn with_room(config: &Config, max_sources: usize) -> Self {
        let period = period(config);
        let rules = Rules {
            connections: config.source_connections,
            allocations: config.source_allocations,
            claims: config.source_claims,
            misses: config.source_misses,
            all_misses: Bucket::new(config.all_misses),
            slow_claims: Wait { each: config.slow_claims, longest: longest_wait(config) },
            max_connections: config.max_source_connections,
            max_mailboxes: config.max_source_mailboxes,
        };
        Self { rules: Arc::new(rules), period, max_sources, table: Mutex::new(Table::new(period)) }
    }

    /// Forgets in time, also when nobody comes. Never returns.
    pub(crate) async fn run(&self) {
        loop {
            sleep(self.period).await;
            let forgotten = self.table().rotate(self.period);
            drop(forgotten);
        }
    }

    /// The source with this prefix.
    pub(crate) fn source(&self, prefix: NetworkPrefix) -> Arc<Source> {
        let mut table = self.table();
        let forgotten = table.rotate(self.period);
        let source = table.find(prefix, self.max_sources, &self.rules);
        drop(table);
        // Taking a large table apart takes a while: not with the lock held.
        drop(forgotten);
        source
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn new(period: Duration) -> Self {
        let rotates_at = Instant::now() + period;
        Self { current: Period::new(), previous: Period::new(), rotates_at, overflow: HashMap::new() }
    }

    /// Begins a new period if it is time to. Returns what is forgotten.
    fn rotate(&mut self, period: Duration) -> Vec<Period> {
        let now = Instant::now();
        if now < self.rotates_at {
            return Vec::new();
        }
        let idle = now >= self.rotates_at + period;
        self.rotates_at = now + period;
        let last = mem::replace(&mut self.current, Period::new());
        let mut forgotten = vec![mem::replace(&mut self.previous, last)];
        if idle {
            forgotten.push(mem::replace(&mut self.previous, Period::new()));
        }
        forgotten
    }

    fn find(&mut self, prefix: NetworkPrefix, max_sources: usize, rules: &Arc<Rules>) -> Arc<Source> {
        let tag = self.current.key.tag(prefix);
        if let Some(source) = self.current.sources.get(&tag) {
            return Arc::clone(source);
        }
        let earlier = self.previous.sources.remove(&self.previous.key.tag(prefix));
        if earlier.is_none() && self.current.sources.len() + self.previous.sources.len() >= max_sources {
            let place = tag.place(OVERFLOW_SOURCES);
            return Arc::clone(self.overflow.entry(place).or_insert_with(|| Source::new(rules, Some(place))));
        }
        let source = earlier.unwrap_or_else(|| Source::new(rules, None));
        self.current.sources.insert(tag, Arc::clone(&source));
        source
    }
}

impl Period {
    fn new() -> Self {
        let mut key = [0; 32];
        rand::rng().fill_bytes(&mut key);
        Self { key: SourceKey::new(key), sources: HashMap::new() }
    }
}

impl SourceKey {
    pub(crate) fn new(key: [u8; 32]) -> Self {
        Self(key)
    }

    pub(crate) fn tag(&self, prefix: NetworkPrefix) -> SourceTag {
        let hash = Sha256::new().chain_update(self.0);
        // The lengths differ, so no two prefixes are hashed from the same bytes.
        let hash = match prefix {
            NetworkPrefix::V4(address) => hash.chain_update(address),
            NetworkPrefix::V6(prefix) => hash.chain_update(prefix),
        };
        let hash: [u8; 32] = hash.finalize().into();
        let mut tag = [0; 16];
        tag.copy_from_slice(hash.split_at(16).0);
        SourceTag(tag)
    }
}

impl SourceTag {
    /// One of so many places.
    fn place(self, places: u32) -> u32 {
        let [a, b, c, d, ..] = self.0;
        u32::from_be_bytes([a, b, c, d]) % places
    }
}

/// How long one key is in use. No source is forgotten while it has a mailbox, or its count would begin anew.
pub(crate) fn period(config: &Config) -> Duration {
    PERIOD.max(config.mailbox_max_lifetime.saturating_add(ENTRY))
}

/// The most that a slowed claim waits: behind two others of its source.
pub(crate) fn longest_wait(config: &Config) -> Duration {
    config.slow_claims.saturating_mul(3)
}

impl From<Refusal> for RelayFrame {
    fn from(Refusal { kind, retry_after }: Refusal) -> Self {
        // Rounded up, so that who comes back then is not refused again, and never 0: that would mean "cannot say".
        let ms = retry_after.as_nanos().div_ceil(1_000_000).max(1);
        Self::Error { code: ErrorCode::Limit(kind), retry_after_ms: u32::try_from(ms).unwrap_or(u32::MAX) }
    }
}
