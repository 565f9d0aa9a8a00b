//! Limits per source: an IPv4 address, or an IPv6 /64, and all of an IPv6 /48 together.
//!
//! A source is kept only as a hash under a key that is drawn anew every period and never written down. The number of
//! sources kept is bounded, and none is evicted: when the table is full, newcomers share what is left. IPv4 and IPv6
//! have a table each, so that who has many addresses of the one kind is in nobody's way at the other.

mod door;
mod rate;
mod source;
#[cfg(test)]
mod tests;
mod traffic;

use crate::Config;
use crate::network::NetworkPrefix;
pub(crate) use door::{Door, Guest, Visitor};
use handfast_wire::{ErrorCode, LimitKind, RelayFrame};
use rand::Rng;
use rate::Bucket;
pub use rate::{Rate, RateError};
use sha2::{Digest, Sha256};
#[cfg(not(feature = "redis"))]
use source::Place;
pub(crate) use source::{Claim, MailboxPermit, Source};
use source::{ConnectionPermit, RefusalPermit, Site};
#[cfg(feature = "redis")]
pub(crate) use source::{HIT_LASTS, Place};
use std::collections::HashMap;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, sleep};
pub(crate) use traffic::Traffic;

/// A source that was not seen for one to two periods is forgotten.
const PERIOD: Duration = Duration::from_secs(60 * 60);

/// From accepting a connection to its mailbox takes less than this.
const ENTRY: Duration = Duration::from_secs(60);

/// How many sources are told apart, of each family of addresses.
const MAX_SOURCES: usize = 65_536;

/// How many places all others share.
const OVERFLOW_SOURCES: u32 = 1_024;

/// How many /64 of one /48 are told apart.
const SITE_SOURCES: usize = 64;

/// How many sources a whole /48 counts for.
pub(crate) const SITE_FACTOR: u32 = 8;

/// How often the connections of one source are told that they cannot come in.
const REFUSALS: Rate = Rate::new(4, 4);

/// All sources of a relay.
pub(crate) struct Sources {
    rules: Arc<Rules>,
    period: Duration,
    max_sources: usize,
    v4: Mutex<Table>,
    v6: Mutex<Table>,
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
    refusals: Rate,
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
    /// Each /48 by itself.
    sites: HashMap<SourceTag, Arc<Site>>,
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
            // Who has switched that limit off has nobody to tell of it.
            refusals: if config.source_connections == Rate::OFF { Rate::OFF } else { REFUSALS },
            max_connections: config.max_source_connections,
            max_mailboxes: config.max_source_mailboxes,
        };
        let table = || Mutex::new(Table::new(period));
        Self { rules: Arc::new(rules), period, max_sources, v4: table(), v6: table() }
    }

    /// Forgets in time, also when nobody comes. Never returns.
    pub(crate) async fn run(&self) {
        loop {
            sleep(self.period).await;
            for table in [&self.v4, &self.v6] {
                let forgotten = lock(table).rotate(self.period);
                drop(forgotten);
            }
        }
    }

    /// The source with this prefix.
    pub(crate) fn source(&self, prefix: NetworkPrefix) -> Arc<Source> {
        let mut table = lock(match prefix {
            NetworkPrefix::V4(_) => &self.v4,
            NetworkPrefix::V6(_) => &self.v6,
        });
        let forgotten = table.rotate(self.period);
        let source = table.find(prefix, self.max_sources, &self.rules);
        drop(table);
        // Taking a large table apart takes a while: not with the lock held.
        drop(forgotten);
        source
    }
}

fn lock(table: &Mutex<Table>) -> MutexGuard<'_, Table> {
    table.lock().unwrap_or_else(PoisonError::into_inner)
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
        let site = match prefix {
            NetworkPrefix::V4(_) => None,
            NetworkPrefix::V6(_) => match self.find_site(prefix, max_sources, rules) {
                Some(site) => Some(site),
                None => return self.shared_place(prefix, rules),
            },
        };
        if let Some(source) = self.known(|key| key.tag(prefix)) {
            return source;
        }
        let (is_full, tag) = (self.is_full(max_sources), self.current.key.tag(prefix));
        let Some(site) = site else {
            if is_full {
                return self.shared_place(prefix, rules);
            }
            return self.add(tag, Source::new(rules, Place::Own, None));
        };
        if !is_full && site.members() < SITE_SOURCES {
            return self.add(tag, Source::new(rules, Place::Own, Some(&site)));
        }
        if let Some(rest) = self.known(|key| key.rest_of_site(prefix)) {
            return rest;
        }
        // One for each /48 that is known, so there is room for it.
        self.add(self.current.key.rest_of_site(prefix), Source::new(rules, Place::RestOfSite, Some(&site)))
    }

    /// The /48 of this prefix, unless it is unknown and there is no room for it.
    fn find_site(&mut self, prefix: NetworkPrefix, max_sources: usize, rules: &Rules) -> Option<Arc<Site>> {
        let tag = self.current.key.site(prefix);
        if let Some(site) = self.current.sites.get(&tag) {
            return Some(Arc::clone(site));
        }
        let earlier = self.previous.sites.remove(&self.previous.key.site(prefix));
        if earlier.is_none() && self.is_full(max_sources) {
            return None;
        }
        let site = earlier.unwrap_or_else(|| Site::new(rules));
        self.current.sites.insert(tag, Arc::clone(&site));
        Some(site)
    }

    /// The source that is known by this tag. One of the last period moves to this one.
    fn known(&mut self, tag: impl Fn(&SourceKey) -> SourceTag) -> Option<Arc<Source>> {
        let now = tag(&self.current.key);
        if let Some(source) = self.current.sources.get(&now) {
            return Some(Arc::clone(source));
        }
        let earlier = self.previous.sources.remove(&tag(&self.previous.key))?;
        Some(self.add(now, earlier))
    }

    fn add(&mut self, tag: SourceTag, source: Arc<Source>) -> Arc<Source> {
        self.current.sources.insert(tag, Arc::clone(&source));
        source
    }

    fn shared_place(&mut self, prefix: NetworkPrefix, rules: &Arc<Rules>) -> Arc<Source> {
        let place = self.current.key.tag(prefix).place(OVERFLOW_SOURCES);
        let source = self.overflow.entry(place).or_insert_with(|| Source::new(rules, Place::Shared(place), None));
        Arc::clone(source)
    }

    fn is_full(&self, max_sources: usize) -> bool {
        self.current.len() + self.previous.len() >= max_sources
    }
}

impl Period {
    fn new() -> Self {
        let mut key = [0; 32];
        rand::rng().fill_bytes(&mut key);
        Self { key: SourceKey::new(key), sources: HashMap::new(), sites: HashMap::new() }
    }

    fn len(&self) -> usize {
        self.sources.len() + self.sites.len()
    }
}

impl SourceKey {
    pub(crate) fn new(key: [u8; 32]) -> Self {
        Self(key)
    }

    #[cfg(feature = "redis")]
    pub(crate) fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    pub(crate) fn tag(&self, prefix: NetworkPrefix) -> SourceTag {
        // The lengths differ, so no two prefixes are hashed from the same bytes.
        match prefix {
            NetworkPrefix::V4(address) => self.hash(&address),
            NetworkPrefix::V6(prefix) => self.hash(&prefix),
        }
    }

    /// Names the whole /48 that this prefix is in; an IPv4 address is in none, and named by itself.
    pub(crate) fn site(&self, prefix: NetworkPrefix) -> SourceTag {
        match prefix {
            NetworkPrefix::V4(_) => self.tag(prefix),
            NetworkPrefix::V6([a, b, c, d, e, f, ..]) => self.hash(&[a, b, c, d, e, f]),
        }
    }

    /// Names what those of a /48 share that are not told apart.
    pub(crate) fn rest_of_site(&self, prefix: NetworkPrefix) -> SourceTag {
        match prefix {
            NetworkPrefix::V4(_) => self.tag(prefix),
            NetworkPrefix::V6([a, b, c, d, e, f, ..]) => self.hash(&[a, b, c, d, e, f, 0]),
        }
    }

    fn hash(&self, prefix: &[u8]) -> SourceTag {
        let hash: [u8; 32] = Sha256::new().chain_update(self.0).chain_update(prefix).finalize().into();
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
