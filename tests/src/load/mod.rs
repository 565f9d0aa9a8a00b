//! The load client: drives a relay and the floor, each in a process of its own, and reports what that cost the server.
//!
//! A scenario measures floor and relay in the same run, in turns, each round with fresh processes, and yields
//! [`Report`]s. Figures are reported; only invariants (descriptors that come back, memory that stays bounded, a process
//! that lives) make it fail.

pub mod churn;
pub mod device;
pub mod exchange;
pub mod half_open;
pub mod idle;
pub mod report;
pub mod server;
pub mod slow_reader;
pub mod storm;
pub mod throughput;
pub mod usage;

pub use report::Report;

use std::error::Error;
use std::future::Future;
use std::time::Duration;
use tokio::time::timeout;

/// Anything that keeps a scenario from measuring.
pub type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// The future's value, unless it takes longer than this.
pub async fn within<T>(limit: Duration, what: &str, future: impl Future<Output = Result<T>>) -> Result<T> {
    timeout(limit, future).await.unwrap_or_else(|_| Err(format!("{what}: not done in {} s", limit.as_secs()).into()))
}

/// The middle one; of an even number, the mean of the two in the middle.
pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => values[middle],
        _ => (values[middle - 1] + values[middle]) / 2.0,
    }
}

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    fn the_median_is_the_middle_one() {
        assert_eq!(median([3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median([4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median([]).is_nan());
    }
}
