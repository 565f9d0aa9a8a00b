//! One whole pairing on loopback: from `join(code)` to the event that says it is stored, with a relay in another process,
//! plain websockets, profiles on disk, and an approval that is given at once. Then the same as a whole `handfast join`
//! process, from its start to its end, if the command was built: `cargo build --release -p handfast-cli`.
//!
//! The profiles lie in the system's temporary directory: set `TMPDIR` to measure another disk.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, clippy::indexing_slicing)]

use handfast::{
    AccountLabel, DeviceName, EntryName, Event, Join, Options, Outcome, Profile, ProfileError, SecretBytes, Show,
    VerificationCode,
};
use serde_json::Value;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const PAIRINGS: usize = 200;
const WARM_UP: usize = 10;
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
    let desktop = home.path().join("desktop");
    make_account(&desktop);

    // As many threads as there are devices.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let options = Options::new(relay.url.parse().unwrap());
    let mut syncs = Vec::new();
    let joins = timed_pairings(home.path(), |laptop| {
        syncs.push(one_sync(home.path()));
        runtime.block_on(pair(&desktop, laptop, &options))
    });
    report("join(code) to Event::Stored", joins);

    let command = std::env::current_exe().unwrap().ancestors().nth(2).unwrap().join("handfast");
    if command.is_file() {
        let processes = timed_pairings(home.path(), |laptop| pair_commands(&command, &desktop, laptop, &relay.url));
        report("process `handfast join CODE`", processes);
    }
    report("one fsync of a 3 KB file here", syncs);
}

fn timed_pairings(home: &Path, mut pair: impl FnMut(&Path) -> Duration) -> Vec<Duration> {
    let numbered = (0..WARM_UP + PAIRINGS).map(|number| {
        let laptop = home.join(format!("laptop {number}"));
        let elapsed = pair(&laptop);
        std::fs::remove_dir_all(&laptop).unwrap();
        elapsed
    });
    numbered.skip(WARM_UP).collect()
}

fn report(what: &str, mut times: Vec<Duration>) {
    times.sort();
    let ms = |percent: usize| times[(times.len() - 1) * percent / 100].as_secs_f64() * 1e3;
    println!("{what:30} median {:6.2} ms, 95th percentile {:6.2} ms, of {}", ms(50), ms(95), times.len());
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
    assert!(matches!(trusted.await.unwrap(), Outcome::Enrolled { .. }));
    forget_devices(desktop);
    elapsed
}

/// The whole process on the new device.
fn pair_commands(command: &Path, desktop: &Path, laptop: &Path, relay: &str) -> Duration {
    let handfast = |profile: &Path, arguments: &[&str]| {
        let mut process = Command::new(command);
        process.arg("--profile").arg(profile).args(["--relay", relay]).args(arguments);
        process.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        process
    };
    // Its input stays open: the end of it would cancel the run.
    let mut inviting = handfast(desktop, &["invite", "--yes", "--json"]).stdin(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(inviting.stdout.take().unwrap()).lines();
    let code = loop {
        let event: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        if event["event"] == "show_code" {
            break event["code"].as_str().unwrap().to_owned();
        }
    };

    let start = Instant::now();
    let joined = handfast(laptop, &["join", &code]).status().unwrap();
    let elapsed = start.elapsed();

    assert!(joined.success());
    lines.for_each(drop);
    assert!(inviting.wait().unwrap().success());
    forget_devices(desktop);
    elapsed
}

/// Otherwise the list grows with each pairing.
fn forget_devices(desktop: &Path) {
    let mut profile = Profile::open(desktop).unwrap();
    let identities: Vec<_> = profile.devices().iter().map(|record| record.device.identity).collect();
    for identity in identities {
        assert!(profile.remove_device(&identity).unwrap());
    }
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
    url: String,
    process: Child,
}

impl RelayProcess {
    fn start() -> Self {
        let program = std::env::current_exe().unwrap();
        let mut process =
            Command::new(program).env(AS_RELAY, "1").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut address = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut address).unwrap();
        Self { url: format!("ws://{}", address.trim()), process }
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
    let config = handfast_relay::Config::for_one_source();
    let relay = runtime.block_on(handfast_relay::Relay::bind("127.0.0.1:0".parse().unwrap(), config)).unwrap();
    println!("{}", relay.local_addr());
    runtime.spawn(relay.run(std::future::pending()));
    let _ = std::io::stdin().read(&mut [0]);
}
