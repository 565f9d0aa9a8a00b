//! A flood of connections against a relay that may open 256 files: it refuses, recovers and lives.

use super::device::{Device, tcp};
use super::exchange::exchange;
use super::server::Server;
use super::{Report, Result};
use clap::Args;
use futures_util::future::join_all;
use handfast_wire::limits::WEBSOCKET_PATH;
use handfast_wire::{ClientFrame, ErrorCode, LimitKind, RelayFrame, ResumeToken};
use serde_json::json;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

/// Open files that the relay may have.
const DESCRIPTORS: u32 = 256;

/// A limit of the relay's own that is met before the files run out.
const BELOW: &str = "200";

/// How long a device of the flood waits for an answer.
const ANSWER: Duration = Duration::from_secs(5);

/// How long the relay may take to work again after the flood.
const RECOVERY: Duration = Duration::from_secs(20);

/// How many come at once.
#[derive(Args, Clone, Copy, Debug)]
pub struct Storm {
    /// Connections at once.
    #[arg(long, value_name = "N", default_value_t = 2_000)]
    pub connections: usize,
}

/// What became of a device of the flood.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It has a mailbox and holds it.
    Served,
    /// It was told which limit was met.
    Told,
    /// The connection was closed or reset without a word.
    Dropped,
    /// Nothing happened; it still waits.
    Waiting,
}

impl Storm {
    /// Runs it twice: with a limit of connections that the files suffice for, and with one that they do not.
    pub async fn run(self) -> Result<Report> {
        let mut report = Report::new("storm", format!("{} at once, {DESCRIPTORS} descriptors", self.connections));
        self.flood(&mut report, "a limit below the descriptors", BELOW).await?;
        self.flood(&mut report, "no limit before the descriptors", "1000000").await?;
        Ok(report)
    }

    async fn flood(self, report: &mut Report, case: &str, max_connections: &str) -> Result<()> {
        let mut server = Server::start_with_descriptors(DESCRIPTORS, &[("--max-connections", max_connections)]).await?;
        let target = server.target;
        let before = server.usage()?;
        let flood = join_all((0..self.connections).map(|_| join(target.address))).await;
        let during = server.usage()?;
        let count = |fate: Fate| flood.iter().filter(|(own, _)| *own == fate).count();
        let (served, told) = (count(Fate::Served), count(Fate::Told));
        let (dropped, waiting) = (count(Fate::Dropped), count(Fate::Waiting));
        let seen = format!("{served} served, {told} told of the limit, {dropped} dropped, {waiting} unanswered");
        let most = DESCRIPTORS as usize;
        report.invariant(
            &format!("{case}: some are served, never too many"),
            (1..most).contains(&served),
            seen.as_str(),
        );
        if max_connections == BELOW {
            report.invariant(&format!("{case}: devices are told which limit it is"), told > 0, format!("{told} told"));
        }
        let alive = server.is_alive()?;
        report.invariant(&format!("{case}: the relay lives"), alive, if alive { "yes" } else { "it has exited" });
        drop(flood);
        let start = Instant::now();
        let mut recovered = None;
        while recovered.is_none() && start.elapsed() < RECOVERY {
            match timeout(ANSWER, exchange(target, 0)).await {
                Ok(Ok(())) => recovered = Some(start.elapsed()),
                _ => sleep(Duration::from_millis(100)).await,
            }
        }
        let seen = recovered.map_or("never".to_owned(), |time| format!("after {:.1} s", time.as_secs_f64()));
        report.invariant(&format!("{case}: an exchange works afterwards"), recovered.is_some(), seen);
        let back = server.descriptors_fall_to(before.descriptors, RECOVERY).await?;
        let after = server.usage()?;
        let seen =
            format!("{} before, {} at most, {} after", before.descriptors, during.descriptors, after.descriptors);
        report.invariant(&format!("{case}: descriptors return"), back.is_some(), seen);
        report.rounds.push(json!({
            "case": case, "before": before, "during": during, "after": after,
            "served": served, "told": told, "dropped": dropped, "unanswered": waiting,
            "recovered_ms": recovered.map(|time| time.as_millis()),
        }));
        server.end().await
    }
}

/// A device of the flood, which stays connected if it was served.
async fn join(address: SocketAddr) -> (Fate, Option<Device>) {
    let joining = async {
        let mut device = Device::upgrade(tcp(address).await?, address, WEBSOCKET_PATH).await?;
        // The relay may close after it has said why: what it said counts, not whether it read this.
        let _ = device.send(&ClientFrame::Allocate { token: ResumeToken(rand::random()) }).await;
        let answer = device.receive().await?;
        Ok::<_, Box<dyn std::error::Error + Send + Sync>>((device, answer))
    };
    match timeout(ANSWER, joining).await {
        Ok(Ok((device, RelayFrame::Allocated { .. }))) => (Fate::Served, Some(device)),
        Ok(Ok((_, RelayFrame::Error { code: ErrorCode::Limit(LimitKind::Connections), .. }))) => (Fate::Told, None),
        Ok(_) => (Fate::Dropped, None),
        Err(_) => (Fate::Waiting, None),
    }
}
