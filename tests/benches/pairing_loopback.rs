//! One whole pairing on loopback: from `join(code)` to the event that says it is stored, with a relay in another process,
//! plain websockets, profiles on disk, and an approval that is given at once.
//!
//! `cargo bench -p handfast-tests --bench pairing_loopback`. The profiles lie in the system's temporary directory: set
//! `TMPDIR` to measure another disk.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, clippy::indexing_slicing)]

use handfast::{
    AccountLabel, DeviceName, EntryName, Event, Join, Options, Outcome, Profile, ProfileError, SecretBytes,
};
use handfast::{Show, VerificationCode};
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const PAIRINGS: usize = 200;
const ENTRY_BYTES: usize = 300;

/// This program is its own relay, if it is called with this in its environment.
const AS_RELAY: &str = "HANDFAST_BENCH_RELAY";

fn main() {
    if std::env::var_os(AS_RELAY).is_some() {
        serve();
    } else if std::env::args().any(|argument| argument == "--bench") {
        measure();
    }
}

fn measure() {
    let relay = RelayProcess::start();
    let home = tempfile::tempdir().unwrap();
    // As many threads as the command uses: one for each device.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let options = Options::new(format!("ws://{}", relay.address).parse().unwrap());
    let desktop = home.path().join("desktop");
    make_account(&desktop);
    let (mut pairings, mut syncs) = (Vec::new(), Vec::new());
    for number in 0..PAIRINGS + 10 {
        let laptop = home.path().join(format!("laptop {number}"));
        let pairing = runtime.block_on(pair(&desktop, &laptop, &options));
        std::fs::remove_dir_all(&laptop).unwrap();
        let sync = one_sync(home.path());
        if number >= 10 {
            pairings.push(pairing);
            syncs.push(sync);
        }
    }
    println!("{PAIRINGS} pairings on loopback, in milliseconds");
    println!("join to stored: median {:.2}, 95th percentile {:.2}", at(&mut pairings, 0.5), at(&mut pairings, 0.95));
    println!(
        "one fsync of a 3 KB file here: median {:.2}, 95th percentile {:.2}",
        at(&mut syncs, 0.5),
        at(&mut syncs, 0.95)
    );
}

/// From `join` to the event that the bundle is stored on the new device.
async fn pair(desktop: &Path, laptop: &Path, options: &Options) -> Duration {
    let mut inviting = handfast::invite(Profile::open(desktop).unwrap(), Show::Code, options.clone());
    let code: VerificationCode = loop {
        if let Event::ShowCode { code, .. } = inviting.next().await.unwrap() {
            break code.reveal().to_string().parse().unwrap();
        }
    };
    let trusted = tokio::spawn(async move {
        while let Some(event) = inviting.next().await {
            if matches!(event, Event::AskApproval(_)) {
                inviting.approve();
            }
        }
        inviting.finish().await.unwrap()
    });

    let start = Instant::now();
    let name = DeviceName::new("laptop").unwrap();
    let mut joining = handfast::join(laptop.to_owned(), name, Join::Code(code), options.clone()).unwrap();
    while !matches!(joining.next().await.expect("stored"), Event::Stored) {}
    let elapsed = start.elapsed();

    assert!(matches!(joining.finish().await, Ok(Outcome::Joined { .. })));
    let Outcome::Enrolled { device } = trusted.await.unwrap() else { panic!("not enrolled") };
    // Otherwise the list of devices grows with each pairing.
    assert!(Profile::open(desktop).unwrap().remove_device(&device.identity).unwrap());
    elapsed
}

fn make_account(desktop: &Path) {
    let label = AccountLabel::new("ada@example.com").unwrap();
    let mut profile = Profile::init(desktop, label, DeviceName::new("desktop").unwrap()).unwrap();
    let entry = SecretBytes::new(vec![8; ENTRY_BYTES]);
    profile
        .change_bundle(|bundle| -> Result<(), ProfileError> {
            Ok(bundle.set(EntryName::new("age-key").unwrap(), entry)?)
        })
        .unwrap();
}

/// What the disk itself takes.
fn one_sync(dir: &Path) -> Duration {
    let path = dir.join("synced");
    let mut file = OpenOptions::new().write(true).create_new(true).open(&path).unwrap();
    file.write_all(&[7; 3000]).unwrap();
    let start = Instant::now();
    file.sync_all().unwrap();
    let elapsed = start.elapsed();
    drop::<File>(file);
    std::fs::remove_file(path).unwrap();
    elapsed
}

struct RelayProcess {
    address: String,
    process: Child,
}

impl RelayProcess {
    fn start() -> Self {
        let program = std::env::current_exe().unwrap();
        let mut process =
            Command::new(program).env(AS_RELAY, "1").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut address = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut address).unwrap();
        Self { address: address.trim().to_owned(), process }
    }
}

impl Drop for RelayProcess {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        let _ = self.process.wait();
    }
}

/// Runs a relay until standard input ends.
fn serve() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let relay =
        runtime.block_on(handfast_relay::Relay::bind("127.0.0.1:0".parse().unwrap(), Default::default())).unwrap();
    println!("{}", relay.local_addr());
    runtime.spawn(relay.run(std::future::pending()));
    let _ = std::io::stdin().read(&mut [0]);
}

/// Milliseconds.
fn at(times: &mut [Duration], quantile: f64) -> f64 {
    times.sort();
    times[((times.len() - 1) as f64 * quantile) as usize].as_secs_f64() * 1e3
}
