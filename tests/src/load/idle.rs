//! Connections that hold a mailbox and do nothing: what each costs in memory.

use super::device::Device;
use super::report::Sample;
use super::server::{Kind, Server, Target};
use super::usage::Usage;
use super::{Report, Result};
use clap::Args;
use futures_util::{StreamExt, TryStreamExt, stream};
use handfast_wire::Nameplate;
use serde_json::json;
use std::time::Duration;
use tokio::time::sleep;

/// The most that an idle connection with a mailbox may take, over an idle connection of the floor.
const BAR: f64 = 0.85;

/// Connections that are made at the same time.
const AT_ONCE: usize = 100;

/// Where memory is read while connections come.
const POINTS: usize = 5;

/// Of the connections that are held, how many show that their mailbox is there.
const CLAIMED: usize = 100;

/// A stretch between two points may cost this much more or less for a connection than all of them.
const BEND: f64 = 0.5;

/// How many connections.
#[derive(Args, Clone, Copy, Debug)]
pub struct Idle {
    /// Connections to each server, against each other.
    #[arg(long, value_name = "N", default_value_t = 5_000)]
    pub connections: usize,
    /// How long after the last connection memory is read.
    #[arg(long, value_name = "SECONDS", default_value_t = 5)]
    pub settle: u64,
}

/// How many connections one relay gets.
#[derive(Args, Clone, Copy, Debug)]
pub struct Growth {
    /// Connections at the end.
    #[arg(long, value_name = "N", default_value_t = 15_000)]
    pub connections: usize,
    /// How long after the last connection memory is read.
    #[arg(long, value_name = "SECONDS", default_value_t = 5)]
    pub settle: u64,
}

impl Idle {
    /// Measures floor and relay with the same number of connections. They hold them at the same time.
    pub async fn run(self, rounds: usize) -> Result<Report> {
        let mut samples = Vec::new();
        for _ in 0..rounds {
            let floor = Server::start(Kind::Floor, &[]).await?;
            let relay = Server::start(Kind::Relay, &[]).await?;
            let (floor_before, relay_before) = (floor.usage()?, relay.usage()?);
            let on_floor = connect(floor.target, self.connections).await?;
            let on_relay = connect(relay.target, self.connections).await?;
            sleep(Duration::from_secs(self.settle)).await;
            samples.push(self.sample(&floor, floor_before)?);
            samples.push(self.sample(&relay, relay_before)?);
            drop((on_floor, on_relay));
            floor.end().await?;
            relay.end().await?;
        }
        let mut report = Report::new("idle", format!("{} connections", self.connections));
        report.compare(&samples, "resident memory of a connection", "KiB", Some(BAR));
        report.compare(&samples, "proportional memory of a connection", "KiB", None);
        report.keep(&samples);
        Ok(report)
    }

    fn sample(&self, server: &Server, before: Usage) -> Result<Sample> {
        let after = server.usage()?;
        let each = |kib: f64| kib / self.connections as f64;
        let figures = vec![
            ("resident memory of a connection", each(after.rss_kib - before.rss_kib)),
            ("proportional memory of a connection", each(after.pss_kib - before.pss_kib)),
        ];
        Ok(Sample { server: server.target.kind, figures, before, after })
    }
}

impl Growth {
    /// Lets one relay's connections grow in steps.
    pub async fn run(self) -> Result<Report> {
        let relay = Server::start(Kind::Relay, &[]).await?;
        let before = relay.usage()?;
        let mut held = Vec::new();
        let mut points = vec![(0.0, before.rss_kib)];
        let mut report = Report::new("growth", format!("{} connections", self.connections));
        for point in 1..=POINTS {
            let goal = self.connections * point / POINTS;
            held.extend(connect(relay.target, goal - held.len()).await?);
            sleep(Duration::from_secs(self.settle)).await;
            let usage = relay.usage()?;
            points.push((goal as f64, usage.rss_kib));
            report.rounds.push(json!({ "connections": goal, "usage": usage }));
        }
        let slope = slope(&points);
        report.figure("growth of memory for a connection", "KiB", slope);
        let steps: Vec<f64> = points.windows(2).map(|step| (step[1].1 - step[0].1) / (step[1].0 - step[0].0)).collect();
        let bent = steps.iter().any(|step| (step / slope - 1.0).abs() > BEND);
        let seen: Vec<String> = steps.iter().map(|step| format!("{step:.2}")).collect();
        let seen = format!("{slope:.2} KiB a connection; from point to point {}", seen.join(", "));
        report.invariant("memory grows by the same amount for each connection", !bent, seen);
        let quiet = held.iter_mut().filter_map(|(device, _)| device.is_quiet().then_some(())).count();
        let seen = format!("{quiet} of {}", self.connections);
        report.invariant("every connection is still open", quiet == self.connections, seen);
        let named = held.iter().filter_map(|(_, nameplate)| *nameplate);
        let named: Vec<Nameplate> = named.step_by((self.connections / CLAIMED).max(1)).collect();
        let mut claimed = 0;
        for nameplate in &named {
            claimed += usize::from(Device::claim(relay.target.address, *nameplate).await.is_ok());
        }
        let seen = format!("{claimed} of {} tried", named.len());
        report.invariant("mailboxes across all of them can be claimed", claimed == named.len(), seen);
        drop(held);
        relay.end().await?;
        Ok(report)
    }
}

/// Idle connections: on the relay each holds a new mailbox.
pub async fn connect(target: Target, count: usize) -> Result<Vec<(Device, Option<Nameplate>)>> {
    let connect = |_| async move {
        match target.kind {
            Kind::Floor => Ok((Device::connect(target.address, "/").await?, None)),
            Kind::Relay => Device::allocate(target.address).await.map(|(device, nameplate)| (device, Some(nameplate))),
        }
    };
    stream::iter(0..count).map(connect).buffer_unordered(AT_ONCE).try_collect().await
}

/// Of the line that lies best (least squares).
fn slope(points: &[(f64, f64)]) -> f64 {
    let n = points.len() as f64;
    let (x, y) = points.iter().fold((0.0, 0.0), |(x, y), point| (x + point.0 / n, y + point.1 / n));
    let (above, below) = points.iter().fold((0.0, 0.0), |(above, below), point| {
        (above + (point.0 - x) * (point.1 - y), below + (point.0 - x) * (point.0 - x))
    });
    above / below
}

#[cfg(test)]
mod tests {
    use super::slope;

    #[test]
    fn the_slope_is_that_of_the_line() {
        assert_eq!(slope(&[(0.0, 1.0), (1.0, 3.0), (2.0, 5.0)]), 2.0);
        assert_eq!(slope(&[(0.0, 0.0), (1.0, 2.0), (2.0, 1.0), (3.0, 3.0)]), 0.8);
    }
}
