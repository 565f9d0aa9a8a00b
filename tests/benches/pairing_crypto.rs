//! The cryptography of one pairing, both sides, next to the sum of its primitives in the same run.
//!
//! `cargo bench -p handfast-tests --bench pairing_crypto` first prints criterion's times, then a table whose medians are
//! taken call by call in turn, so that a noisy machine disturbs both alike.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stdout)]

#[path = "pairing_crypto/pairing.rs"]
mod pairing;
#[path = "pairing_crypto/primitives.rs"]
mod primitives;

use criterion::{Criterion, SamplingMode};
use handfast_protocol::pairing::{Mode, Purpose};
use pairing::Devices;
use primitives::{Counts, Primitives};
use std::time::{Duration, Instant};

const RUNS: [(&str, Mode, Purpose); 4] = [
    ("code", Mode::Code, Purpose::Enroll),
    ("qr-new", Mode::QrNew, Purpose::Enroll),
    ("qr-trusted", Mode::QrTrusted, Purpose::Enroll),
    ("qr-new unlock", Mode::QrNew, Purpose::Unlock),
];

const ROUNDS: usize = 5;
const PAIRINGS_PER_ROUND: usize = 200;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    for (name, mode, purpose) in RUNS {
        let mut devices = Devices::new();
        let mut primitives = Primitives::prepare(Counts::of(mode, purpose, &devices));
        let mut group = criterion.benchmark_group(name);
        group.sampling_mode(SamplingMode::Flat);
        group.bench_function("pairing", |bencher| bencher.iter(|| devices.pair(mode, purpose)));
        group.bench_function("primitives", |bencher| bencher.iter(|| primitives.run()));
        group.finish();
    }
    criterion.final_summary();
    if std::env::args().any(|argument| argument == "--bench") {
        report();
    }
}

fn report() {
    println!(
        "\n{ROUNDS} rounds of {PAIRINGS_PER_ROUND} pairings and their primitives in turn, medians in microseconds"
    );
    println!("mode            pairing primitives  ratio | X-Wing ristretto Ed25519 hashes AEAD | messages  bytes");
    for (name, mode, purpose) in RUNS {
        let mut devices = Devices::new();
        let mut primitives = Primitives::prepare(Counts::of(mode, purpose, &devices));
        let traffic = devices.pair(mode, purpose);
        let (mut whole, mut sum) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let (mut pairings, mut sums) = (Vec::new(), Vec::new());
            for _ in 0..PAIRINGS_PER_ROUND {
                pairings.push(timed(|| devices.pair(mode, purpose)));
                sums.push(timed(|| primitives.run()));
            }
            whole.push(median(pairings));
            sum.push(median(sums));
        }
        let ratio = median(whole.iter().zip(&sum).map(|(whole, sum)| whole / sum).collect());
        let mut part = |run: fn(&mut Primitives)| median((0..500).map(|_| timed(|| run(&mut primitives))).collect());
        println!(
            "{name:14} {:8.0} {:10.0} {ratio:6.2} | {:6.0} {:9.0} {:7.0} {:6.0} {:4.0} | {:8} {:6}",
            median(whole),
            median(sum),
            part(Primitives::kem),
            part(Primitives::ristretto),
            part(Primitives::signatures),
            part(Primitives::hashes),
            part(Primitives::ciphers),
            traffic.messages,
            traffic.bytes,
        );
    }
}

/// Microseconds.
fn timed<T>(run: impl FnOnce() -> T) -> f64 {
    let start = Instant::now();
    std::hint::black_box(run());
    let elapsed: Duration = start.elapsed();
    elapsed.as_secs_f64() * 1e6
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
