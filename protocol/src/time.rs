//! Time as the caller tells it.

use core::time::Duration;

/// A point on the caller's monotonic clock, in milliseconds from an origin of the caller's choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(u64);

impl Time {
    /// `elapsed` after the origin.
    pub fn from_origin(elapsed: Duration) -> Self {
        Self(u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX))
    }

    /// How long from `earlier` to here; zero if it is not earlier.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    pub(crate) fn plus_ms(self, ms: u32) -> Self {
        Self(self.0.saturating_add(u64::from(ms)))
    }
}
