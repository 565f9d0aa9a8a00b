//! Connections that stop half way: silent ones, half an upgrade, an upgrade without a first frame. All are dropped in
//! time, and a real exchange works beside them.

use super::device::{Device, tcp};
use super::exchange::exchange;
use super::server::{Kind, Server};
use super::{Report, Result};
use clap::Args;
use handfast_wire::limits::WEBSOCKET_PATH;
use serde_json::json;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::time::Instant;

/// How much later than its time a connection may be gone. A busy machine is late; a relay that forgets never comes.
const GRACE: Duration = Duration::from_secs(10);

/// How many stop where.
#[derive(Args, Clone, Copy, Debug)]
pub struct HalfOpen {
    /// Connections of each of the three kinds.
    #[arg(long, value_name = "N", default_value_t = 500)]
    pub connections: usize,
    /// How long the relay waits for a first frame.
    #[arg(long, value_name = "SECONDS", default_value_t = 3)]
    pub first_frame_timeout: u64,
}

impl HalfOpen {
    /// Runs it.
    pub async fn run(self) -> Result<Report> {
        let seconds = self.first_frame_timeout.to_string();
        let server = Server::start(Kind::Relay, &[("--first-frame-timeout", &seconds)]).await?;
        let address = server.target.address;
        let before = server.usage()?;
        let mut report = Report::new("half-open", format!("{} connections of each kind", self.connections));
        let half = format!("GET {WEBSOCKET_PATH} HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\n");
        for kind in ["never say anything", "send half an upgrade", "never send a first frame"] {
            let start = Instant::now();
            let (mut silent, mut upgraded) = (Vec::new(), Vec::new());
            for _ in 0..self.connections {
                let mut stream = tcp(address).await?;
                match kind {
                    "never say anything" => silent.push(stream),
                    "send half an upgrade" => {
                        stream.write_all(half.as_bytes()).await?;
                        silent.push(stream);
                    }
                    _ => upgraded.push(Device::upgrade(stream, address, WEBSOCKET_PATH).await?),
                }
            }
            exchange(server.target, 0).await?;
            let held = server.usage()?;
            let limit = Duration::from_secs(self.first_frame_timeout) + GRACE;
            let gone = server.descriptors_fall_to(before.descriptors, limit).await?;
            let took = start.elapsed();
            // They were held until now: only the relay can have let go.
            drop((silent, upgraded));
            let seen = gone.map_or("not".to_owned(), |_| format!("after {:.1} s", took.as_secs_f64()));
            report.invariant(&format!("connections that {kind} are dropped in {seconds} s"), gone.is_some(), seen);
            report.rounds.push(json!({ "kind": kind, "held": held, "gone_ms": gone.map(|_| took.as_millis()) }));
        }
        let after = server.usage()?;
        let seen = format!("{} before, {} after", before.descriptors, after.descriptors);
        report.invariant("descriptors return", after.descriptors <= before.descriptors, seen);
        report.figure("memory at the start", "KiB", before.rss_kib);
        report.figure("memory at the end", "KiB", after.rss_kib);
        server.end().await?;
        Ok(report)
    }
}
