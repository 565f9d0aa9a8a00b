//! What is counted of one source, and what it may do next.

use super::rate::Bucket;
use super::{Refusal, Rules, Wait};
use handfast_wire::LimitKind;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// When a source whose connections or mailboxes are all in use should come back: they end all the time.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// How long a source is known as one that pairs.
pub(crate) const HIT_LASTS: Duration = Duration::from_secs(60 * 60);

/// How many of its connections are told at the same time that they cannot come in.
const MAX_REFUSALS: usize = 4;

/// An IPv4 address or an IPv6 /64: what it holds, and its token buckets.
pub(crate) struct Source {
    rules: Arc<Rules>,
    place: Place,
    own: Counts,
    /// The IPv6 /48 that it is in.
    site: Option<Arc<Site>>,
    refusals: Bucket,
    refusing: Counter,
    pace: Mutex<Pace>,
}

/// An IPv6 /48: what all its sources hold and do together.
pub(super) struct Site {
    counts: Counts,
    /// Its sources that are told apart.
    members: AtomicUsize,
}

/// Whose counts a source has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Its own.
    Own,
    /// Those of all sources of its /48 that are not told apart.
    RestOfSite,
    /// One of the places that sources of anywhere share.
    Shared(u32),
}

/// Counts an open connection of a source until it is dropped.
pub(crate) struct ConnectionPermit(Arc<Source>);

/// Counts a live mailbox of a source until it is dropped.
pub(crate) struct MailboxPermit(Arc<Source>);

/// A connection that is being told that it cannot come in, until it is dropped.
pub(crate) struct RefusalPermit(Arc<Source>);

/// A claim that may be looked at. Until it is said what it met, it counts as one that missed.
pub(crate) struct Claim {
    source: Arc<Source>,
    wait: Duration,
    /// Which tokens of its source and of its /48 are promised to it.
    held: [Held; 2],
    /// Whether one of the misses of all sources is.
    holds_miss_of_all: bool,
    spent: Spent,
}

struct Counts {
    connecting: Bucket,
    allocations: Bucket,
    claims: Bucket,
    misses: Bucket,
    connections: Counter,
    mailboxes: Counter,
}

struct Counter {
    now: AtomicUsize,
    max: usize,
}

#[derive(Default)]
struct Held {
    claim: bool,
    miss: bool,
}

/// What a claim costs in the end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Spent {
    Nothing,
    Claim,
    ClaimAndMiss,
}

#[derive(Default)]
struct Pace {
    /// When a mailbox of this source was last used by two devices that accepted each other.
    hit: Option<Instant>,
    /// When the last of its claims that wait will be looked at.
    slowed_until: Option<Instant>,
}

impl Source {
    pub(super) fn new(rules: &Arc<Rules>, place: Place, site: Option<&Arc<Site>>) -> Arc<Self> {
        if place == Place::Own
            && let Some(site) = site
        {
            site.members.fetch_add(1, Ordering::Relaxed);
        }
        Arc::new(Self {
            place,
            own: Counts::new(rules, 1),
            site: site.cloned(),
            refusals: Bucket::new(rules.refusals),
            refusing: Counter::new(MAX_REFUSALS),
            rules: Arc::clone(rules),
            pace: Mutex::default(),
        })
    }

    #[cfg(feature = "redis")]
    pub(crate) fn place(&self) -> Place {
        self.place
    }

    /// A new connection.
    pub(crate) fn connect(self: &Arc<Self>) -> Result<ConnectionPermit, Refusal> {
        let refused = |retry_after| Refusal { kind: LimitKind::SourceConnections, retry_after };
        // A source that is refused takes nothing from its /48.
        self.levels().try_for_each(|counts| counts.connecting.take()).map_err(refused)?;
        if self.count(|counts| &counts.connections) {
            Ok(ConnectionPermit(Arc::clone(self)))
        } else {
            Err(refused(RETRY_AFTER))
        }
    }

    /// A connection that cannot come in may be told so: not too many, and not too often.
    pub(crate) fn refuse(self: &Arc<Self>) -> Option<RefusalPermit> {
        let told = self.refusing.add().then(|| RefusalPermit(Arc::clone(self)))?;
        self.refusals.take().ok().map(|()| told)
    }

    /// A new mailbox, paid for before it is made.
    pub(crate) fn allocate(self: &Arc<Self>) -> Result<MailboxPermit, Refusal> {
        let refused = |retry_after| Refusal { kind: LimitKind::SourceMailboxes, retry_after };
        self.levels().try_for_each(|counts| counts.allocations.take()).map_err(refused)?;
        if self.count(|counts| &counts.mailboxes) {
            Ok(MailboxPermit(Arc::clone(self)))
        } else {
            Err(refused(RETRY_AFTER))
        }
    }

    /// Joins a mailbox whose id the device knows: a claim that cannot miss.
    pub(crate) fn join(&self) -> Result<(), Refusal> {
        self.levels().try_for_each(|counts| counts.claims.take()).map_err(too_many_claims)
    }

    /// Claims a nameplate, before anybody looks whether it is in use. Claims that are not decided yet count as misses, so
    /// that many at once are no more than one after the other.
    pub(crate) fn claim(self: &Arc<Self>) -> Result<Claim, Refusal> {
        let mut claim = Claim {
            source: Arc::clone(self),
            wait: Duration::ZERO,
            held: Default::default(),
            holds_miss_of_all: false,
            spent: Spent::Nothing,
        };
        let is_shared = matches!(self.place, Place::Shared(_));
        let mut is_slowed = false;
        for (counts, held) in self.levels().zip(&mut claim.held) {
            match counts.misses.promise() {
                Ok(()) => held.miss = true,
                // Somebody else may have used them up.
                Err(_) if is_shared => is_slowed = true,
                Err(retry_after) => return Err(Refusal { kind: LimitKind::SourceMisses, retry_after }),
            }
            counts.claims.promise().map_err(too_many_claims)?;
            held.claim = true;
        }
        claim.holds_miss_of_all = self.rules.all_misses.promise().is_ok();
        if is_slowed || !(claim.holds_miss_of_all || self.has_hit()) {
            claim.wait = self.slow_down()?;
        }
        claim.spent = Spent::ClaimAndMiss;
        Ok(claim)
    }

    /// Two devices have accepted each other in a mailbox, and one of them is of this source.
    pub(crate) fn hit(&self) {
        // What one of those who share a place does says nothing about the others.
        if self.place == Place::Own {
            self.pace().hit = Some(Instant::now());
        }
    }

    fn has_hit(&self) -> bool {
        self.pace().hit.is_some_and(|hit| hit.elapsed() < HIT_LASTS)
    }

    /// Claims wait one after the other.
    fn slow_down(&self) -> Result<Duration, Refusal> {
        let (now, Wait { each, longest }) = (Instant::now(), self.rules.slow_claims);
        let mut pace = self.pace();
        let waiting = pace.slowed_until.map_or(Duration::ZERO, |until| until.saturating_duration_since(now));
        let wait = waiting.saturating_add(each);
        if wait > longest {
            return Err(too_many_claims(wait.saturating_sub(longest)));
        }
        pace.slowed_until = Some(now + wait);
        Ok(wait)
    }

    /// What counts for it: its own counts, then those of its /48.
    fn levels(&self) -> impl Iterator<Item = &Counts> {
        [&self.own].into_iter().chain(self.site.as_deref().map(|site| &site.counts))
    }

    /// One more everywhere, or nowhere.
    fn count(&self, which: impl Fn(&Counts) -> &Counter) -> bool {
        if !which(&self.own).add() {
            return false;
        }
        let fits = self.site.as_deref().is_none_or(|site| which(&site.counts).add());
        if !fits {
            which(&self.own).remove();
        }
        fits
    }

    fn uncount(&self, which: impl Fn(&Counts) -> &Counter) {
        self.levels().for_each(|counts| which(counts).remove());
    }

    fn pace(&self) -> MutexGuard<'_, Pace> {
        self.pace.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        if self.place == Place::Own
            && let Some(site) = &self.site
        {
            site.members.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Site {
    pub(super) fn new(rules: &Rules) -> Arc<Self> {
        Arc::new(Self { counts: Counts::new(rules, super::SITE_FACTOR), members: AtomicUsize::new(0) })
    }

    /// How many of its sources are told apart.
    pub(super) fn members(&self) -> usize {
        self.members.load(Ordering::Relaxed)
    }
}

impl Claim {
    /// How long the claim has to wait before it is looked at.
    pub(crate) fn wait(&self) -> Duration {
        self.wait
    }

    /// The nameplate was in use.
    pub(crate) fn met(mut self) {
        self.spent = Spent::Claim;
    }

    /// The device has its slot already.
    pub(crate) fn repeats(mut self) {
        self.spent = Spent::Nothing;
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let settle = |bucket: &Bucket, spent| if spent { bucket.use_promised() } else { bucket.give_back() };
        for (counts, held) in self.source.levels().zip(&self.held) {
            if held.miss {
                settle(&counts.misses, self.spent == Spent::ClaimAndMiss);
            }
            if held.claim {
                settle(&counts.claims, self.spent != Spent::Nothing);
            }
        }
        let all_misses = &self.source.rules.all_misses;
        if self.holds_miss_of_all {
            settle(all_misses, self.spent == Spent::ClaimAndMiss);
        } else if self.spent == Spent::ClaimAndMiss {
            // An empty bucket stays empty: that is what slowed the claim.
            let _ = all_misses.take();
        }
    }
}

impl Counts {
    fn new(rules: &Rules, factor: u32) -> Self {
        let times = |max: usize| max.saturating_mul(usize::try_from(factor).unwrap_or(usize::MAX));
        Self {
            connecting: Bucket::new(rules.connections.times(factor)),
            allocations: Bucket::new(rules.allocations.times(factor)),
            claims: Bucket::new(rules.claims.times(factor)),
            misses: Bucket::new(rules.misses.times(factor)),
            connections: Counter::new(times(rules.max_connections)),
            mailboxes: Counter::new(times(rules.max_mailboxes)),
        }
    }
}

impl Counter {
    fn new(max: usize) -> Self {
        Self { now: AtomicUsize::new(0), max }
    }

    /// One more, unless there are as many as there may be.
    fn add(&self) -> bool {
        let more = |count: usize| count.checked_add(1).filter(|more| *more <= self.max);
        self.now.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }

    fn remove(&self) {
        self.now.fetch_sub(1, Ordering::Relaxed);
    }
}

impl ConnectionPermit {
    pub(super) fn source(&self) -> &Arc<Source> {
        &self.0
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        self.0.uncount(|counts| &counts.connections);
    }
}

impl Drop for MailboxPermit {
    fn drop(&mut self) {
        self.0.uncount(|counts| &counts.mailboxes);
    }
}

impl Drop for RefusalPermit {
    fn drop(&mut self) {
        self.0.refusing.remove();
    }
}

fn too_many_claims(retry_after: Duration) -> Refusal {
    Refusal { kind: LimitKind::SourceClaims, retry_after }
}
