//! Connections that come, take a mailbox and go, with and without a word: nothing of them stays.

use super::device::Device;
use super::idle::connect;
use super::server::{Kind, Server};
use super::{Report, Result, median};
use clap::Args;
use futures_util::future::try_join_all;
use serde_json::json;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// How long descriptors may take to come back once the devices are gone.
const PATIENCE: Duration = Duration::from_secs(15);

/// Memory may be this much higher at the end than after the first rounds: a part, and KiB.
const FLAT: (f64, f64) = (0.05, 1024.0);

/// The first and the last rounds, whose medians are compared.
const ENDS: usize = 3;

/// How many come and go.
#[derive(Args, Clone, Copy, Debug)]
pub struct Churn {
    /// Connections of a round that close, and as many that break off.
    #[arg(long, value_name = "N", default_value_t = 5_000)]
    pub connections: usize,
    /// Rounds of both.
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub cycles: usize,
    /// Lifetime of the relay's mailboxes: what those who break off leave behind. Longer than it takes to make the
    /// connections.
    #[arg(long, value_name = "SECONDS", default_value_t = 8)]
    pub lifetime: u64,
}

impl Churn {
    /// Runs it. The relay takes exactly as many mailboxes as there are connections at a time: one that was left over
    /// would keep out a device of the next batch.
    pub async fn run(self) -> Result<Report> {
        let Self { connections, cycles, lifetime } = self;
        let (limit, seconds) = (connections.to_string(), lifetime.to_string());
        let flags = [
            ("--max-mailboxes", limit.as_str()),
            ("--mailbox-lifetime", &seconds),
            ("--mailbox-max", &seconds),
            ("--mailbox-linger", "0"),
        ];
        let server = Server::start(Kind::Relay, &flags).await?;
        let start = server.usage()?;
        let mut report = Report::new("churn", format!("{cycles} rounds of {connections} clean, {connections} abrupt"));
        let mut memory = Vec::new();
        let mut descriptors_back = true;
        for cycle in 0..cycles {
            let clean = connect(server.target, connections).await?;
            try_join_all(clean.into_iter().map(|(device, _)| device.close(Kind::Relay))).await?;
            let clean = server.descriptors_fall_to(start.descriptors, PATIENCE).await?;
            let abrupt = connect(server.target, connections).await?;
            let made = Instant::now();
            let full = Device::allocate(server.target.address).await.is_err();
            let seen = if full { "refused" } else { "taken" };
            report.invariant_once("the relay counts mailboxes: one more than it takes is refused", full, seen);
            for (index, (device, _)) in abrupt.into_iter().enumerate() {
                // Half of them without a word, half with a reset.
                if index % 2 == 0 { drop(device) } else { device.reset()? }
            }
            let abrupt = server.descriptors_fall_to(start.descriptors, PATIENCE).await?;
            descriptors_back &= clean.is_some() && abrupt.is_some();
            sleep_until(made + Duration::from_secs(lifetime) + Duration::from_millis(500)).await;
            let usage = server.usage()?;
            memory.push(usage.rss_kib);
            let ms = |time: Option<Duration>| time.map(|time| time.as_millis());
            report.rounds.push(json!({
                "round": cycle, "usage": usage, "clean_gone_ms": ms(clean), "abrupt_gone_ms": ms(abrupt),
            }));
        }
        // The last round's mailboxes are gone too.
        let last = connect(server.target, connections).await?;
        let end = server.usage()?;
        drop(last);
        report.invariant("mailboxes return to none: every batch found room for all of its own", true, "always");
        let seen = format!("{} at the start, {} with {connections} connections", start.descriptors, end.descriptors);
        report.invariant("descriptors return to the start after every batch", descriptors_back, seen);
        let ends = ENDS.min(memory.len());
        let (first, last) = (median(memory[..ends].to_vec()), median(memory[memory.len() - ends..].to_vec()));
        let seen = format!(
            "{:.0} KiB at the start, {first:.0} after the first rounds, {last:.0} after the last",
            start.rss_kib
        );
        report.invariant("memory is flat", last <= first * (1.0 + FLAT.0) + FLAT.1, seen);
        report.figure("memory at the start", "KiB", start.rss_kib);
        report.figure("memory after the first rounds", "KiB", first);
        report.figure("memory after the last rounds", "KiB", last);
        let cpu = (end.cpu_ms - start.cpu_ms) / (connections * (2 * cycles + 1)) as f64;
        report.figure("CPU for a connection that comes and goes", "ms", cpu);
        server.end().await?;
        Ok(report)
    }
}
