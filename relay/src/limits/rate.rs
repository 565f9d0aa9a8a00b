//! How often something may happen: the setting, and the token bucket that keeps to it.

use governor::clock::{Clock, Reference};
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{InMemoryState, NotKeyed, StateStore};
use governor::{Quota, RateLimiter};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::num::NonZeroU32;
use std::ops::Add;
use std::str::FromStr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

const MINUTE: Duration = Duration::from_secs(60);

/// A token bucket: `burst` at once, and `per_minute` in the long run. As text `"BURST:PER_MINUTE"` or `"off"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Rate {
    /// How many at once, after a pause.
    pub burst: u32,
    /// How many a minute from then on.
    pub per_minute: u32,
}

/// Not `BURST:PER_MINUTE` or `off`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateError;

/// One token bucket of its [`Rate`], full when it is made.
pub(super) struct Bucket {
    limiter: Option<RateLimiter<Step, State, TokioClock, NoOpMiddleware<Moment>>>,
    interval: Duration,
    /// Tokens that are promised to somebody and perhaps not used.
    promised: Mutex<u32>,
}

impl Rate {
    /// No limit.
    pub const OFF: Self = Self { burst: 0, per_minute: 0 };

    /// The most of either number. It keeps the time that a bucket needs to fill under two years.
    const MAX: u32 = 1_000_000;

    pub(crate) const fn new(burst: u32, per_minute: u32) -> Self {
        Self { burst, per_minute }
    }

    /// Whether it is off, or a rate that a bucket can keep.
    pub(crate) fn is_valid(self) -> bool {
        let valid = 1..=Self::MAX;
        self == Self::OFF || (valid.contains(&self.burst) && valid.contains(&self.per_minute))
    }

    /// From one token to the next; zero if it is off.
    pub(crate) fn interval(self) -> Duration {
        MINUTE.checked_div(self.per_minute).unwrap_or_default()
    }

    /// What so many sources may do together.
    pub(super) fn times(self, factor: u32) -> Self {
        let times = |number: u32| number.saturating_mul(factor).min(Self::MAX);
        Self { burst: times(self.burst), per_minute: times(self.per_minute) }
    }

    fn quota(self) -> Option<Quota> {
        let burst = NonZeroU32::new(self.burst.min(Self::MAX))?;
        Some(Quota::with_period(self.interval())?.allow_burst(burst))
    }
}

impl Bucket {
    pub(super) fn new(rate: Rate) -> Self {
        let limiter = rate.quota().map(|quota| RateLimiter::new(quota, State::default(), TokioClock));
        Self { limiter, interval: rate.interval(), promised: Mutex::default() }
    }

    /// Takes a token. The error says when there will be one.
    pub(super) fn take(&self) -> Result<(), Duration> {
        let promised = self.promised();
        self.look(*promised)?;
        self.step(&Step::Take, NonZeroU32::MIN)
    }

    /// Promises a token: nobody else gets it until it is [used](Self::use_promised) or [given
    /// back](Self::give_back). The error says when there will be one.
    pub(super) fn promise(&self) -> Result<(), Duration> {
        let mut promised = self.promised();
        self.look(*promised)?;
        *promised = promised.saturating_add(1);
        Ok(())
    }

    /// Takes a token that was promised.
    pub(super) fn use_promised(&self) {
        let mut promised = self.promised();
        *promised = promised.saturating_sub(1);
        // It is there: a bucket only fills, and whoever takes from it leaves what is promised.
        let _ = self.step(&Step::Take, NonZeroU32::MIN);
    }

    /// A token that was promised is not needed.
    pub(super) fn give_back(&self) {
        let mut promised = self.promised();
        *promised = promised.saturating_sub(1);
    }

    /// Whether there is one more token than are promised.
    fn look(&self, promised: u32) -> Result<(), Duration> {
        self.step(&Step::Look, NonZeroU32::MIN.saturating_add(promised))
    }

    fn step(&self, step: &Step, tokens: NonZeroU32) -> Result<(), Duration> {
        let Some(limiter) = &self.limiter else { return Ok(()) };
        match limiter.check_key_n(step, tokens) {
            Ok(decided) => decided.map_err(|until| until.wait_time_from(TokioClock.now())),
            // More than it ever holds: one of those promised may be given back.
            Err(_) => Err(self.interval),
        }
    }

    fn promised(&self) -> MutexGuard<'_, u32> {
        self.promised.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::OFF { f.write_str("off") } else { write!(f, "{}:{}", self.burst, self.per_minute) }
    }
}

impl FromStr for Rate {
    type Err = RateError;

    fn from_str(text: &str) -> Result<Self, RateError> {
        if text == "off" {
            return Ok(Self::OFF);
        }
        let (burst, per_minute) = text.split_once(':').ok_or(RateError)?;
        let number = |text: &str| text.parse::<u32>().ok().filter(|number| *number > 0).ok_or(RateError);
        let rate = Self { burst: number(burst)?, per_minute: number(per_minute)? };
        if rate.is_valid() { Ok(rate) } else { Err(RateError) }
    }
}

impl TryFrom<String> for Rate {
    type Error = RateError;

    fn try_from(text: String) -> Result<Self, RateError> {
        text.parse()
    }
}

impl From<Rate> for String {
    fn from(rate: Rate) -> Self {
        rate.to_string()
    }
}

impl fmt::Display for RateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a rate is BURST:PER_MINUTE, such as 30:10, each from 1 to {}, or off", Rate::MAX)
    }
}

impl std::error::Error for RateError {}

/// What to do with the state of a bucket. The limiter takes it for a key; there is one state only.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Step {
    Take,
    Look,
}

/// The state of a bucket, which can be looked at without taking from it.
#[derive(Default)]
struct State(InMemoryState);

impl StateStore for State {
    type Key = Step;

    fn measure_and_replace<T, F, E>(&self, step: &Step, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        match step {
            Step::Take => self.0.measure_and_replace(&NotKeyed::NonKey, decide),
            // What is an error to the state beneath changes nothing there.
            Step::Look => match self.0.measure_and_replace::<(), _, _>(&NotKeyed::NonKey, |state| Err(decide(state))) {
                Ok(()) => decide(None).map(|(looked, _)| looked),
                Err(decided) => decided.map(|(looked, _)| looked),
            },
        }
    }
}

/// Tokio's clock, which tests can stop.
#[derive(Clone, Copy)]
struct TokioClock;

impl Clock for TokioClock {
    type Instant = Moment;

    fn now(&self) -> Moment {
        Moment(Instant::now())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Moment(Instant);

impl Reference for Moment {
    fn duration_since(&self, earlier: Self) -> Nanos {
        self.0.saturating_duration_since(earlier.0).into()
    }

    fn saturating_sub(&self, duration: Nanos) -> Self {
        Self(self.0.checked_sub(duration.into()).unwrap_or(self.0))
    }
}

impl Add<Nanos> for Moment {
    type Output = Self;

    fn add(self, duration: Nanos) -> Self {
        Self(self.0.checked_add(duration.into()).unwrap_or(self.0))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use tokio::time::advance;

    #[test]
    fn a_rate_is_text() {
        for text in ["1:1", "120:60", "1000000:1000000", "off"] {
            assert_eq!(text.parse::<Rate>().unwrap().to_string(), text);
        }
        for text in ["", "1", "1:", ":1", "0:1", "1:0", "0:0", "-1:1", "1000001:1", "1:1000001", "1:1:1", "OFF", " 1:1"]
        {
            assert_eq!(text.parse::<Rate>(), Err(RateError), "{text}");
        }
        assert_eq!(serde_json::to_string(&Rate::new(10, 1)).unwrap(), "\"10:1\"");
        assert_eq!(serde_json::from_str::<Rate>("\"off\"").unwrap(), Rate::OFF);
        assert!(serde_json::from_str::<Rate>("\"10\"").is_err());
        assert!(!Rate::new(0, 1).is_valid() && !Rate::new(1, 0).is_valid() && !Rate::new(1, u32::MAX).is_valid());
    }

    #[tokio::test(start_paused = true)]
    async fn a_bucket_gives_its_burst_then_its_rate_and_says_when() {
        let bucket = Bucket::new(Rate::new(3, 2));
        for _ in 0..3 {
            assert_eq!(bucket.take(), Ok(()));
        }
        let half = Duration::from_secs(30);
        assert_eq!(bucket.take(), Err(half));
        advance(Duration::from_secs(20)).await;
        assert_eq!(bucket.take(), Err(Duration::from_secs(10)));
        advance(Duration::from_secs(10)).await;
        assert_eq!((bucket.take(), bucket.take()), (Ok(()), Err(half)));
        advance(Duration::from_secs(3600)).await;
        let given = (0..10).filter(|_| bucket.take().is_ok()).count();
        assert_eq!(given, 3, "never more than the burst");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_promised_is_nobody_elses_and_can_be_given_back() {
        let bucket = Bucket::new(Rate::new(2, 2));
        let half = Duration::from_secs(30);
        assert_eq!((bucket.promise(), bucket.promise()), (Ok(()), Ok(())));
        assert_eq!((bucket.promise(), bucket.take()), (Err(half), Err(half)));
        bucket.give_back();
        assert_eq!((bucket.take(), bucket.take()), (Ok(()), Err(half)), "one is still promised");
        bucket.use_promised();
        assert_eq!(bucket.take(), Err(half));
        advance(half).await;
        assert_eq!(bucket.promise(), Ok(()));
        bucket.give_back();
        assert_eq!((bucket.take(), bucket.take()), (Ok(()), Err(half)), "given back is not given");
    }

    #[tokio::test(start_paused = true)]
    async fn the_slowest_and_the_largest_bucket_can_be_kept() {
        let slow = Bucket::new(Rate::new(Rate::MAX, 1));
        assert!((0..1000).all(|_| slow.take().is_ok()));
        let fast = Bucket::new(Rate::new(1, Rate::MAX));
        assert_eq!((fast.take(), fast.take()), (Ok(()), Err(Duration::from_micros(60))));
        let off = Bucket::new(Rate::OFF);
        assert!((0..1000).all(|_| off.take().is_ok() && off.promise().is_ok()));
    }
}
