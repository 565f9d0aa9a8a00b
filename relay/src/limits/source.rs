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

/// An IPv4 address or an IPv6 /64: what it holds, and its token buckets.
pub(crate) struct Source {
    rules: Arc<Rules>,
    /// Which of the places it is that many sources share.
    #[cfg_attr(not(feature = "redis"), expect(dead_code))]
    place: Option<u32>,
    connecting: Bucket,
    allocations: Bucket,
    claims: Bucket,
    misses: Bucket,
    connections: AtomicUsize,
    mailboxes: AtomicUsize,
    pace: Mutex<Pace>,
}

/// Counts an open connection of a source until it is dropped.
pub(crate) struct ConnectionPermit(Arc<Source>);

/// Counts a live mailbox of a source until it is dropped.
pub(crate) struct MailboxPermit(Arc<Source>);

#[derive(Default)]
struct Pace {
    /// When a mailbox of this source was last used by two devices that accepted each other.
    hit: Option<Instant>,
    /// When the last of its claims that wait will be looked at.
    slowed_until: Option<Instant>,
}

impl Source {
    pub(super) fn new(rules: &Arc<Rules>, place: Option<u32>) -> Arc<Self> {
        Arc::new(Self {
            place,
            connecting: Bucket::new(rules.connections),
            allocations: Bucket::new(rules.allocations),
            claims: Bucket::new(rules.claims),
            misses: Bucket::new(rules.misses),
            rules: Arc::clone(rules),
            connections: AtomicUsize::new(0),
            mailboxes: AtomicUsize::new(0),
            pace: Mutex::default(),
        })
    }

    /// Which of the places it is that many sources share; `None` if it has its own.
    #[cfg(feature = "redis")]
    pub(crate) fn place(&self) -> Option<u32> {
        self.place
    }

    /// A new connection.
    pub(crate) fn connect(self: &Arc<Self>) -> Result<ConnectionPermit, Refusal> {
        let refused = |retry_after| Refusal { kind: LimitKind::SourceConnections, retry_after };
        self.connecting.take().map_err(refused)?;
        if !count(&self.connections, self.rules.max_connections) {
            return Err(refused(RETRY_AFTER));
        }
        Ok(ConnectionPermit(Arc::clone(self)))
    }

    /// A new mailbox, paid for before it is made.
    pub(crate) fn allocate(self: &Arc<Self>) -> Result<MailboxPermit, Refusal> {
        let refused = |retry_after| Refusal { kind: LimitKind::SourceMailboxes, retry_after };
        self.allocations.take().map_err(refused)?;
        if !count(&self.mailboxes, self.rules.max_mailboxes) {
            return Err(refused(RETRY_AFTER));
        }
        Ok(MailboxPermit(Arc::clone(self)))
    }

    /// Joins a mailbox whose id the device knows: a claim that cannot miss.
    pub(crate) fn join(&self) -> Result<(), Refusal> {
        self.claims.take().map_err(|retry_after| Refusal { kind: LimitKind::SourceClaims, retry_after })
    }

    /// Claims a nameplate, before anybody looks whether it is in use. The answer has to wait for so long.
    pub(crate) fn claim(&self) -> Result<Duration, Refusal> {
        self.misses.look().map_err(|retry_after| Refusal { kind: LimitKind::SourceMisses, retry_after })?;
        self.join()?;
        if self.rules.all_misses.look().is_ok() { Ok(Duration::ZERO) } else { self.slow_down() }
    }

    /// The nameplate was not in use.
    pub(crate) fn missed(&self) {
        // An empty bucket stays empty: there is nobody to tell.
        let _ = (self.misses.take(), self.rules.all_misses.take());
    }

    /// Two devices have accepted each other in a mailbox, and one of them is of this source.
    pub(crate) fn hit(&self) {
        self.pace().hit = Some(Instant::now());
    }

    /// Too many claims of all sources miss. One that has paired lately goes on; any other waits, claim by claim.
    fn slow_down(&self) -> Result<Duration, Refusal> {
        let (now, Wait { each, longest }) = (Instant::now(), self.rules.slow_claims);
        let mut pace = self.pace();
        if pace.hit.is_some_and(|hit| now.saturating_duration_since(hit) < HIT_LASTS) {
            return Ok(Duration::ZERO);
        }
        let waiting = pace.slowed_until.map_or(Duration::ZERO, |until| until.saturating_duration_since(now));
        let wait = waiting.saturating_add(each);
        if wait > longest {
            return Err(Refusal { kind: LimitKind::SourceClaims, retry_after: wait.saturating_sub(longest) });
        }
        pace.slowed_until = Some(now + wait);
        Ok(wait)
    }

    fn pace(&self) -> MutexGuard<'_, Pace> {
        self.pace.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ConnectionPermit {
    pub(super) fn source(&self) -> &Arc<Source> {
        &self.0
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for MailboxPermit {
    fn drop(&mut self) {
        self.0.mailboxes.fetch_sub(1, Ordering::Relaxed);
    }
}

/// One more, unless there are as many as there may be.
fn count(counter: &AtomicUsize, max: usize) -> bool {
    let more = |count: usize| count.checked_add(1).filter(|more| *more <= max);
    counter.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
}
