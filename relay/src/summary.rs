//! One log line for many refusals: whoever is refused must not be able to fill a disk with log lines.

use crate::metrics::Metrics;
use std::time::Duration;
use tokio::time::{Instant, sleep};
use tracing::warn;

/// At most one line of a kind in this time.
const INTERVAL: Duration = Duration::from_secs(10);

/// Says every ten seconds what was refused in them, if anything was. Never returns.
pub(crate) async fn report(metrics: &Metrics) {
    let mut before = metrics.troubles();
    loop {
        sleep(INTERVAL).await;
        let now = metrics.troubles();
        let news: Vec<_> = now
            .iter()
            .zip(&before)
            .filter(|((_, now), (_, before))| now != before)
            .map(|((name, now), (_, before))| format!("{name}={}", now.saturating_sub(*before)))
            .collect();
        if !news.is_empty() {
            warn!(seconds = INTERVAL.as_secs(), "refused: {}", news.join(" "));
        }
        before = now;
    }
}

/// Lets a first line pass, and one of the following in every ten seconds.
#[derive(Default)]
pub(crate) struct Throttle {
    last: Option<Instant>,
    unsaid: u64,
}

impl Throttle {
    /// Whether to say it now: then how often it went unsaid before.
    pub(crate) fn pass(&mut self) -> Option<u64> {
        let now = Instant::now();
        if self.last.is_some_and(|last| now < last + INTERVAL) {
            self.unsaid += 1;
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.unsaid))
    }
}
