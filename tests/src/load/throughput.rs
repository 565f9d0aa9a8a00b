//! Frames of 1 KiB through open pairs: what one frame costs the server.

use super::device::Device;
use super::report::Sample;
use super::server::{Server, Target, turns};
use super::{Report, Result, within};
use clap::{Args, value_parser};
use futures_util::future::try_join_all;
use handfast_wire::{DataHeader, RelayFrame, limits::DATA_HEADER_BYTES};
use std::time::{Duration, Instant};

/// Bytes of a whole data frame.
const FRAME_BYTES: usize = 1024;

/// The receiver acknowledges every eighth frame.
const ACK_EVERY: u32 = 8;

/// The most CPU that a frame may cost the relay, over what it costs the floor.
const BAR: f64 = 1.5;

const PATIENCE: Duration = Duration::from_secs(300);

/// How much goes through.
#[derive(Args, Clone, Copy, Debug)]
pub struct Throughput {
    /// Data frames through each server in each round, all pairs together.
    #[arg(long, value_name = "N", default_value_t = 200_000, value_parser = value_parser!(u32).range(1..))]
    pub frames: u32,
    /// Pairs of devices that send at the same time.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = value_parser!(u32).range(1..))]
    pub pairs: u32,
    /// Unacknowledged frames that a sender may have on the way.
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = value_parser!(u32).range(1..))]
    pub window: u32,
}

impl Throughput {
    /// Measures it.
    pub async fn run(self, rounds: usize) -> Result<Report> {
        let Self { frames, pairs, window } = self;
        let mut samples = Vec::new();
        for kind in turns(rounds) {
            let server = Server::start(kind, &[("--window", &window.to_string())]).await?;
            let mut open = Vec::new();
            for room in 0..pairs {
                open.push(Device::pair(server.target, room as usize).await?);
            }
            let (before, start) = (server.usage()?, Instant::now());
            let running = open.into_iter().map(|pair| carry(server.target, pair, frames / pairs, window));
            within(PATIENCE, "throughput", try_join_all(running)).await?;
            let (wall, after) = (start.elapsed(), server.usage()?);
            let carried = f64::from(frames / pairs * pairs);
            let figures = vec![
                ("CPU of the server for a frame", (after.cpu_ms - before.cpu_ms) * 1000.0 / carried),
                ("time for a frame", wall.as_secs_f64() * 1e6 / carried),
            ];
            samples.push(Sample { server: kind, figures, before, after });
            server.end().await?;
        }
        let mut report = Report::new("throughput", format!("{pairs} pairs, window {window}, {frames} frames"));
        report.compare(&samples, "CPU of the server for a frame", "µs", Some(BAR));
        report.compare(&samples, "time for a frame", "µs", None);
        report.keep(&samples);
        Ok(report)
    }
}

/// Frames from the second device to the first.
async fn carry(target: Target, (first, second): (Device, Device), frames: u32, window: u32) -> Result<()> {
    let (second, first) = tokio::try_join!(send(second, frames, window), receive(first, frames))?;
    tokio::try_join!(first.close(target.kind), second.close(target.kind))?;
    Ok(())
}

async fn send(mut device: Device, frames: u32, window: u32) -> Result<Device> {
    let payload = [0x5a; FRAME_BYTES - DATA_HEADER_BYTES];
    let mut acknowledged = 0;
    for seq in 0..frames {
        while seq - acknowledged >= window {
            acknowledged = next_ack(&mut device).await?;
        }
        device.send_data(seq, 0, &payload).await?;
    }
    while acknowledged < frames {
        acknowledged = next_ack(&mut device).await?;
    }
    Ok(device)
}

async fn next_ack(device: &mut Device) -> Result<u32> {
    match device.receive().await? {
        RelayFrame::Ack(ack) => Ok(ack.ack),
        other => Err(format!("{other:?} instead of an acknowledgement").into()),
    }
}

async fn receive(mut device: Device, frames: u32) -> Result<Device> {
    let mut received = 0;
    while received < frames {
        let bytes = device.receive_bytes().await?;
        // What is no data frame tells of the peer.
        let Some(header) = DataHeader::decode(&bytes)? else { continue };
        if header.seq != received || bytes.len() != FRAME_BYTES {
            return Err(format!("frame {} of {} bytes instead of {received}", header.seq, bytes.len()).into());
        }
        received += 1;
        if received % ACK_EVERY == 0 || received == frames {
            device.send_ack(received).await?;
        }
    }
    Ok(device)
}
