//! Devices that never read: each costs the relay its bounded queue and no more, whatever it or its peer sends.

use super::device::{Device, socket};
use super::server::{Kind, Server};
use super::{Report, Result};
use clap::Args;
use handfast_wire::limits::{MAX_FRAME_BYTES, MAX_PAYLOAD_BYTES, WEBSOCKET_PATH, WINDOW_FRAMES};
use handfast_wire::{ErrorCode, LimitKind, RelayFrame};
use serde_json::json;
use std::time::Duration;
use tokio::time::{sleep, timeout};
use tokio_tungstenite::tungstenite::Bytes;

/// What a pair may cost beside its queue: two connections, with what the relay has begun to write to one of them.
const PAIR_KIB: f64 = 128.0;

/// What unread answers to pings may cost: what the relay keeps for a connection that takes no more, with room. Without a
/// bound, 20,000 pings cost more than 900 KiB.
const UNREAD_KIB: f64 = 128.0;

/// Until the relay has taken what was sent.
const SETTLE: Duration = Duration::from_secs(1);

/// The relay need not take pings for ever.
const PING_TIME: Duration = Duration::from_secs(5);

const PATIENCE: Duration = Duration::from_secs(15);

/// How many do not read.
#[derive(Args, Clone, Copy, Debug)]
pub struct SlowReader {
    /// Pairs of which one device never reads.
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub pairs: usize,
    /// Websocket pings that each of these devices sends, of which it never reads the answers.
    #[arg(long, value_name = "N", default_value_t = 20_000)]
    pub pings: usize,
}

impl SlowReader {
    /// Runs it.
    pub async fn run(self) -> Result<Report> {
        let server = Server::start(Kind::Relay, &[]).await?;
        let before = server.usage()?;
        let mut report = Report::new("slow-reader", format!("{} pairs", self.pairs));
        let (mut readers, mut senders, mut refused) = (Vec::new(), Vec::new(), 0);
        for _ in 0..self.pairs {
            let (reader, mut sender) = pair(&server).await?;
            for seq in 0..WINDOW_FRAMES {
                sender.send_data(seq, 0, &[0; MAX_PAYLOAD_BYTES]).await?;
            }
            readers.push(reader);
            senders.push(sender);
        }
        sleep(SETTLE).await;
        let filled = server.usage()?;
        let each = |kib: f64| (kib - before.rss_kib) / self.pairs as f64;
        let queue = (WINDOW_FRAMES as usize * MAX_FRAME_BYTES) as f64 / 1024.0;
        let cost = each(filled.rss_kib);
        report.figure("memory of a pair whose queue is full", "KiB", cost);
        let seen = format!("{cost:.0} KiB a pair, of which the queue is {queue:.0}");
        report.invariant("a reader that never reads costs its bounded queue", cost <= queue + PAIR_KIB, seen);

        let payload = Bytes::from_static(&[0; 125]);
        for reader in &mut readers {
            let _ = timeout(PING_TIME, reader.send_pings(self.pings, &payload)).await;
        }
        sleep(SETTLE).await;
        let pinged = server.usage()?;
        let grown = each(pinged.rss_kib) - cost;
        report.figure("what it costs more when it sends pings and does not read the answers", "KiB", grown);
        let seen = format!("{grown:.0} KiB more a pair after {} pings", self.pings);
        report.invariant("answers to pings that nobody reads are bounded", grown <= UNREAD_KIB, seen);

        for sender in &mut senders {
            sender.send_data(WINDOW_FRAMES, 0, &[0; MAX_PAYLOAD_BYTES]).await?;
            refused += usize::from(matches!(
                sender.receive().await?,
                RelayFrame::Error { code: ErrorCode::Limit(LimitKind::Window), .. }
            ));
        }
        let seen = format!("{refused} of {}", self.pairs);
        report.invariant("the ninth frame that nobody reads is refused", refused == self.pairs, seen);
        drop((readers, senders));
        let gone = server.descriptors_fall_to(before.descriptors, PATIENCE).await?;
        let after = server.usage()?;
        let seen = format!("{} before, {} after", before.descriptors, after.descriptors);
        report.invariant("descriptors return once they are gone", gone.is_some(), seen);
        report.rounds.push(json!({ "before": before, "filled": filled, "pinged": pinged, "after": after }));
        server.end().await?;
        Ok(report)
    }
}

/// A device with a small receive buffer, which will not read, and one that sends to it.
async fn pair(server: &Server) -> Result<(Device, Device)> {
    let address = server.target.address;
    let narrow = socket()?;
    narrow.set_recv_buffer_size(1)?;
    let reader = Device::upgrade(narrow.connect(address).await?, address, WEBSOCKET_PATH).await?;
    let (reader, nameplate) = reader.and_allocate().await?;
    Ok((reader, Device::claim(address, nameplate).await?))
}
