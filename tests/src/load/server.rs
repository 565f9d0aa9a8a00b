//! The servers under load: the floor and the relay, each a process that this client starts and ends.

use super::{Result, usage::Usage};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::Serialize;
use std::env;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

/// Which program serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// The bridge that does the least.
    Floor,
    /// The relay.
    Relay,
}

/// The relay's limits that are in the way of a load from one machine, raised. A new limit of that kind goes here.
const RAISED: &[Flag<'static>] = &[
    ("--max-connections", "1000000"),
    ("--max-mailboxes", "1000000"),
    ("--max-queued-bytes", "8589934592"),
    ("--max-frames", "4294967295"),
    ("--max-mailbox-bytes", "4294967295"),
    ("--source-connections", "off"),
    ("--source-allocations", "off"),
    ("--source-claims", "off"),
    ("--source-misses", "off"),
    ("--all-misses", "off"),
    ("--max-source-connections", "1000000"),
    ("--max-source-mailboxes", "1000000"),
];

/// How long a server has to start, and to die.
const START: Duration = Duration::from_secs(10);

/// What a device needs to know of a server.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// What it is.
    pub kind: Kind,
    /// Where it listens.
    pub address: SocketAddr,
}

/// A flag of the relay and its value.
pub type Flag<'a> = (&'a str, &'a str);

/// A server process. It is killed when this is dropped.
pub struct Server {
    /// Where devices go.
    pub target: Target,
    child: Child,
    pid: u32,
}

impl Server {
    /// Starts one with raised limits; what these flags say comes before that. The floor has neither.
    pub async fn start(kind: Kind, flags: &[Flag<'_>]) -> Result<Self> {
        let mut command = Command::new(binary(kind)?);
        command.args(arguments(kind, flags));
        Self::spawn(kind, command).await
    }

    /// Starts a relay that may open no more than this many files.
    pub async fn start_with_descriptors(descriptors: u32, flags: &[Flag<'_>]) -> Result<Self> {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "ulimit -n \"$1\"; shift; exec \"$@\"", "sh", &descriptors.to_string()]);
        command.arg(binary(Kind::Relay)?).args(arguments(Kind::Relay, flags));
        Self::spawn(Kind::Relay, command).await
    }

    /// What it costs now.
    pub fn usage(&self) -> Result<Usage> {
        Usage::of(self.pid)
    }

    /// Whether it still runs.
    pub fn is_alive(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }

    /// Waits until it has no more than this many descriptors. The time that took, or `None` if it still has more.
    pub async fn descriptors_fall_to(&self, descriptors: usize, limit: Duration) -> Result<Option<Duration>> {
        let start = Instant::now();
        while self.usage()?.descriptors > descriptors {
            if start.elapsed() > limit {
                return Ok(None);
            }
            sleep(Duration::from_millis(20)).await;
        }
        Ok(Some(start.elapsed()))
    }

    /// Kills it.
    pub async fn end(mut self) -> Result<()> {
        Ok(timeout(START, self.child.kill()).await??)
    }

    async fn spawn(kind: Kind, mut command: Command) -> Result<Self> {
        command.env("BIND_ADDR", "127.0.0.1:0").stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn()?;
        let pid = child.id().ok_or("a server ended at once")?;
        let mut stdout = BufReader::new(child.stdout.take().ok_or("no stdout")?).lines();
        let line = timeout(START, stdout.next_line()).await??.ok_or("a server ended before it listened")?;
        let (_, address) = line.rsplit_once("ws://").ok_or_else(|| format!("no address in {line:?}"))?;
        Ok(Self { target: Target { kind, address: address.parse()? }, child, pid })
    }
}

/// Both servers in turns, this many rounds. Each round begins with the one that ended the round before.
pub fn turns(rounds: usize) -> impl Iterator<Item = Kind> {
    let pairs = [[Kind::Floor, Kind::Relay], [Kind::Relay, Kind::Floor]];
    pairs.into_iter().cycle().take(rounds).flatten()
}

/// Lets this process, and those that it starts, open as many files as the system allows.
pub fn raise_descriptors() -> Result<()> {
    let maximum = getrlimit(Resource::Nofile).maximum;
    Ok(setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?)
}

fn arguments(kind: Kind, flags: &[Flag<'_>]) -> Vec<String> {
    if kind == Kind::Floor {
        return Vec::new();
    }
    let raised = RAISED.iter().filter(|(name, _)| !flags.iter().any(|(own, _)| own == name));
    let fixed = ["serve", "--listen", "127.0.0.1:0", "--log", "off"].map(str::to_owned).into_iter();
    fixed.chain(raised.chain(flags).flat_map(|(name, value)| [(*name).to_owned(), (*value).to_owned()])).collect()
}

/// The release binaries lie beside this client; for a test, one folder above it.
fn binary(kind: Kind) -> Result<PathBuf> {
    let name = match kind {
        Kind::Floor => "floor",
        Kind::Relay => "handfast-relay",
    };
    let this = env::current_exe()?;
    let path = this.parent().ok_or("no folder")?.join(name);
    if path.is_file() {
        return Ok(path);
    }
    Err(format!("{} is missing: run tests/load, or build handfast-relay and handfast-tests first", path.display())
        .into())
}
