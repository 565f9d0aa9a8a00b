//! Whole exchanges: two connections, a mailbox, the five messages of a pairing, close.

use super::device::Device;
use super::report::Sample;
use super::server::{Server, Target, turns};
use super::{Report, Result, median, within};
use clap::Args;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::runtime;
use tokio::task::JoinSet;

/// Bytes of a message.
const MESSAGE_BYTES: usize = 1500;

/// The most that an exchange may cost on the relay, over what it costs on the floor.
const BAR: f64 = 1.5;

/// Exchanges before anything is measured.
const WARM_UP: usize = 50;

const PATIENCE: Duration = Duration::from_secs(30);

/// How many exchanges.
#[derive(Args, Clone, Copy, Debug)]
pub struct Exchange {
    /// Exchanges on each server in each round.
    #[arg(long, value_name = "N", default_value_t = 1000)]
    pub exchanges: usize,
    /// How many at the same time. With 1, the time is the median of the single exchanges; with more, all the time
    /// over their number.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub at_once: usize,
}

impl Exchange {
    /// Measures it.
    pub async fn run(self, rounds: usize) -> Result<Report> {
        let Self { exchanges, at_once } = self;
        let mut samples = Vec::new();
        for kind in turns(rounds) {
            let server = Server::start(kind, &[]).await?;
            let target = server.target;
            for room in 0..WARM_UP {
                exchange(target, room).await?;
            }
            let before = server.usage()?;
            let time = if at_once == 1 {
                one_by_one(target, exchanges).await?
            } else {
                tokio::task::spawn_blocking(move || side_by_side(target, exchanges, at_once)).await??
            };
            let after = server.usage()?;
            let figures = vec![
                ("time for an exchange", time.as_secs_f64() * 1000.0),
                ("CPU of the server for an exchange", (after.cpu_ms - before.cpu_ms) / exchanges as f64),
            ];
            samples.push(Sample { server: kind, figures, before, after });
            server.end().await?;
        }
        let mut report = Report::new("exchange", format!("{exchanges} exchanges, {at_once} at a time"));
        report.compare(&samples, "time for an exchange", "ms", Some(BAR));
        report.compare(&samples, "CPU of the server for an exchange", "ms", Some(BAR));
        report.keep(&samples);
        Ok(report)
    }
}

/// The five messages of a pairing by code, between two devices that come for them.
pub async fn exchange(target: Target, room: usize) -> Result<()> {
    let run = async {
        let message = [0x5a; MESSAGE_BYTES];
        let (mut first, mut second) = Device::pair(target, room).await?;
        first.send_data(0, 0, &message).await?;
        second.receive_data().await?;
        second.send_data(0, 1, &message).await?;
        first.receive_data().await?;
        first.send_data(1, 1, &message).await?;
        first.send_data(2, 1, &message).await?;
        second.receive_data().await?;
        second.receive_data().await?;
        second.send_data(1, 3, &message).await?;
        first.receive_data().await?;
        tokio::try_join!(first.close(target.kind), second.close(target.kind))?;
        Ok(())
    };
    within(PATIENCE, "an exchange", run).await
}

async fn one_by_one(target: Target, exchanges: usize) -> Result<Duration> {
    let mut times = Vec::with_capacity(exchanges);
    for room in 0..exchanges {
        let start = Instant::now();
        exchange(target, room).await?;
        times.push(start.elapsed().as_secs_f64());
    }
    Ok(Duration::from_secs_f64(median(times)))
}

/// On threads of their own: one thread alone cannot keep a server busy.
fn side_by_side(target: Target, exchanges: usize, at_once: usize) -> Result<Duration> {
    runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?.block_on(async move {
        let next = Arc::new(AtomicUsize::new(0));
        let start = Instant::now();
        let mut running: JoinSet<Result<()>> = JoinSet::new();
        for _ in 0..at_once {
            let next = Arc::clone(&next);
            running.spawn(async move {
                loop {
                    let room = next.fetch_add(1, Ordering::Relaxed);
                    if room >= exchanges {
                        return Ok(());
                    }
                    exchange(target, room).await?;
                }
            });
        }
        while let Some(ended) = running.join_next().await {
            ended??;
        }
        Ok(start.elapsed().div_f64(exchanges as f64))
    })
}
