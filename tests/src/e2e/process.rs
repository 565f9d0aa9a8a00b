//! `handfast` and `handfast-relay` as separate processes. Each ends with the value that stands for it.

use super::soon;
use handfast::VerificationCode;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use std::fmt;
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// A program of this workspace, built beside the test.
pub fn binary(name: &str) -> PathBuf {
    let path = super::profile_folder().join(name);
    assert!(
        path.is_file(),
        "{} is missing: run tests/run, or `cargo build -p handfast-cli -p handfast-relay` first",
        path.display()
    );
    path
}

/// Flags of a relay for tests in which very many devices come from one address.
pub const FOR_ONE_SOURCE: [&str; 7] = [
    "--source-connections=off",
    "--source-allocations=off",
    "--source-claims=off",
    "--source-misses=off",
    "--all-misses=off",
    "--max-source-connections=1000000",
    "--max-source-mailboxes=1000000",
];

/// `handfast-relay serve`, logging everything that it can log.
pub struct RelayProcess {
    child: Child,
    address: SocketAddr,
    stdout: Lines<BufReader<ChildStdout>>,
    log: Arc<Mutex<String>>,
}

impl RelayProcess {
    /// On any free port, with these flags.
    pub async fn start(flags: &[&str]) -> Self {
        Self::start_at("127.0.0.1:0", flags).await
    }

    /// On this address, with these flags.
    pub async fn start_at(listen: &str, flags: &[&str]) -> Self {
        let mut command = clean(&binary("handfast-relay"));
        command.args(["serve", "--log", "trace", "--listen", listen]).args(flags).stdin(Stdio::null());
        let mut child = command.spawn().unwrap();
        let log = Arc::new(Mutex::new(String::new()));
        collect(child.stderr.take().unwrap(), Arc::clone(&log));
        let mut stdout = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = soon("the relay", stdout.next_line()).await.unwrap();
        let address = line.as_deref().and_then(|line| line.strip_prefix("handfast-relay listening on ws://"));
        let Some(address) = address else { panic!("the relay did not start: {line:?} {}", log.lock().unwrap()) };
        Self { address: address.parse().unwrap(), child, stdout, log }
    }

    /// Where it serves its operator, of one that was started with `--admin-listen`.
    pub async fn admin(&mut self) -> SocketAddr {
        let line = soon("the relay's second line", self.stdout.next_line()).await.unwrap();
        let address = line.as_deref().and_then(|line| line.strip_prefix("handfast-relay admin on http://"));
        address.and_then(|address| address.parse().ok()).unwrap_or_else(|| panic!("no admin address: {line:?}"))
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its address as devices write it.
    pub fn url(&self) -> String {
        format!("ws://{}", self.address)
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Its process.
    pub fn pid(&self) -> Option<Pid> {
        pid(&self.child)
    }

    /// Asks it to stop, as an operator would.
    pub fn terminate(&self) {
        signal(&self.child, Signal::TERM);
    }

    /// Ends it at once and waits for its end.
    pub async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }
}

/// A device that is used through `handfast`.
#[derive(Clone)]
pub struct Device {
    profile: PathBuf,
    relay: String,
    environment: Vec<(String, String)>,
}

impl Device {
    /// With its profile in `home`, using this relay.
    pub fn new(home: &Path, name: &str, relay: &str) -> Self {
        Self { profile: home.join(name), relay: relay.to_owned(), environment: Vec::new() }
    }

    /// With this variable in its environment.
    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The same device with another relay, or with a proxy before it.
    pub fn through(&self, relay: &str) -> Self {
        Self { relay: relay.to_owned(), ..self.clone() }
    }

    /// Its profile.
    pub fn profile(&self) -> &Path {
        &self.profile
    }

    /// The command, with a fixed environment, this device's profile and relay, and `--json`.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = clean(&binary("handfast"));
        command.arg("--json").args(self.places()).args(arguments);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs a command to its end, without input.
    pub async fn run(&self, arguments: &[&str]) -> Ended {
        self.run_with(arguments, b"").await
    }

    /// Runs a command to its end, with this input.
    pub async fn run_with(&self, arguments: &[&str], input: &[u8]) -> Ended {
        finish(self.command(arguments), input).await
    }

    /// Runs a command under a shell in which no file can grow: as if the disk were full.
    pub async fn run_without_space(&self, arguments: &[&str], input: &[u8]) -> Ended {
        finish(self.without_space(arguments), input).await
    }

    /// Runs a command without `--json`.
    pub async fn run_plain(&self, arguments: &[&str], input: &[u8]) -> Ended {
        finish(self.plain_command(arguments), input).await
    }

    /// Runs a command that must succeed; its last event.
    pub async fn ok(&self, arguments: &[&str]) -> Value {
        let ended = self.run(arguments).await;
        assert_eq!(ended.code(), Some(0), "{arguments:?}: {ended:?}");
        ended.last().clone()
    }

    /// Makes an account.
    pub async fn init(&self) {
        self.ok(&["init", "--account", "ada.private@example.com", "--name", "adas-desktop"]).await;
    }

    /// Sets an entry of the bundle.
    pub async fn set(&self, entry: &str, value: &[u8]) {
        let ended = self.run_with(&["bundle", "set", entry, "-"], value).await;
        assert_eq!(ended.code(), Some(0), "{ended:?}");
    }

    /// The bytes of an entry.
    pub async fn get(&self, entry: &str) -> Vec<u8> {
        let ended = self.run_plain(&["bundle", "get", entry], b"").await;
        assert_eq!(ended.code(), Some(0), "{ended:?}");
        ended.stdout
    }

    /// The devices that it lists: name and whether it has confirmed.
    pub async fn devices(&self) -> Vec<(String, bool)> {
        let listed = self.ok(&["devices"]).await;
        let listed = listed["devices"].as_array().unwrap().iter();
        listed
            .map(|device| (device["name"].as_str().unwrap().to_owned(), device["confirmed"].as_bool().unwrap()))
            .collect()
    }

    /// Starts a command whose events and decisions the test handles.
    pub fn start(&self, arguments: &[&str]) -> Session {
        Session::start(self.command(arguments))
    }

    /// Starts a command without `--json`, for a person whose keyboard is a pipe.
    pub fn start_plain(&self, arguments: &[&str]) -> Session {
        Session::start(self.plain_command(arguments))
    }

    /// Starts a command under a shell in which no file can grow.
    pub fn start_without_space(&self, arguments: &[&str]) -> Session {
        Session::start(self.without_space(arguments))
    }

    fn plain_command(&self, arguments: &[&str]) -> Command {
        let mut command = clean(&binary("handfast"));
        command.args(self.places()).args(arguments);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    fn without_space(&self, arguments: &[&str]) -> Command {
        let mut command = clean(Path::new("/bin/sh"));
        command.args(["-c", "trap '' XFSZ; ulimit -f 0; exec \"$@\"", "sh"]).arg(binary("handfast"));
        command.arg("--json").args(self.places()).args(arguments);
        command
    }

    fn places(&self) -> [&std::ffi::OsStr; 4] {
        ["--profile".as_ref(), self.profile.as_ref(), "--relay".as_ref(), self.relay.as_ref()]
    }
}

/// A command under way.
pub struct Session {
    child: Child,
    input: Option<ChildStdin>,
    events: mpsc::UnboundedReceiver<Value>,
    seen: Vec<Value>,
    stdout: JoinHandle<Vec<u8>>,
    stderr: Arc<Mutex<String>>,
    stderr_end: JoinHandle<()>,
}

impl Session {
    pub(super) fn start(mut command: Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        let stderr = Arc::new(Mutex::new(String::new()));
        let stderr_end = collect(child.stderr.take().unwrap(), Arc::clone(&stderr));
        let (sender, events) = mpsc::unbounded_channel();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let stdout = tokio::spawn(async move {
            let mut all = Vec::new();
            loop {
                let start = all.len();
                if lines.read_until(b'\n', &mut all).await.unwrap_or(0) == 0 {
                    return all;
                }
                if let Ok(event) = serde_json::from_slice(&all[start..]) {
                    let _ = sender.send(event);
                }
            }
        });
        Self { input: child.stdin.take(), child, events, seen: Vec::new(), stdout, stderr, stderr_end }
    }

    /// The next event of this name. Fails if the command ends before.
    pub async fn event(&mut self, name: &str) -> Value {
        match self.event_or_end(name).await {
            Some(event) => event,
            None => panic!("no event {name:?} after {:?}; {}", self.seen, self.stderr.lock().unwrap()),
        }
    }

    /// The next event of this name; `None` if the command ends before.
    pub async fn event_or_end(&mut self, name: &str) -> Option<Value> {
        self.first_event(&[name]).await
    }

    /// The next event of one of these names; `None` if the command ends before.
    pub async fn first_event(&mut self, names: &[&str]) -> Option<Value> {
        loop {
            let event = soon(&format!("one of {names:?} after {:?}", self.seen), self.events.recv()).await?;
            self.seen.push(event.clone());
            if names.iter().any(|name| event["event"] == *name) {
                return Some(event);
            }
        }
    }

    /// Answers `approve`, `refuse` or `cancel`.
    pub async fn decide(&mut self, decision: &str) {
        self.write(&json!({ "decision": decision }).to_string()).await;
    }

    /// Answers with a check code.
    pub async fn enter(&mut self, check_code: &str) {
        self.write(&json!({"decision": "check_code", "code": check_code}).to_string()).await;
    }

    /// Writes a line to its input. One that has ended takes none.
    pub async fn write(&mut self, line: &str) {
        self.write_all(format!("{line}\n").as_bytes()).await;
    }

    /// Writes to its input.
    pub async fn write_all(&mut self, bytes: &[u8]) {
        if let Some(input) = &mut self.input {
            let _ = input.write_all(bytes).await;
        }
    }

    /// Ends its input.
    pub fn close_input(&mut self) {
        self.input = None;
    }

    /// Ctrl-C.
    pub fn interrupt(&self) {
        signal(&self.child, Signal::INT);
    }

    /// SIGKILL.
    pub fn kill(&self) {
        signal(&self.child, Signal::KILL);
    }

    /// Its process.
    pub fn pid(&self) -> Option<Pid> {
        pid(&self.child)
    }

    /// Waits for its end.
    pub async fn end(mut self) -> Ended {
        let status =
            soon(&format!("the end after {:?}; {}", self.seen, self.stderr.lock().unwrap()), self.child.wait()).await;
        let stdout = self.stdout.await.unwrap();
        self.stderr_end.await.unwrap();
        let stderr = self.stderr.lock().unwrap().clone();
        Ended { status: status.unwrap(), stdout, stderr }
    }
}

/// How a command ended.
pub struct Ended {
    status: ExitStatus,
    /// What it wrote to stdout.
    pub stdout: Vec<u8>,
    /// What it wrote to stderr.
    pub stderr: String,
}

impl Ended {
    /// Its exit code; `None` if a signal ended it.
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// Whether SIGKILL ended it.
    pub fn was_killed(&self) -> bool {
        self.status.signal() == Some(Signal::KILL.as_raw())
    }

    /// Its events.
    pub fn events(&self) -> Vec<Value> {
        let lines = self.stdout.split(|byte| *byte == b'\n');
        lines.filter_map(|line| serde_json::from_slice(line).ok()).collect()
    }

    /// The last event.
    pub fn last(&self) -> Value {
        self.events().pop().unwrap_or(Value::Null)
    }

    /// The name of the failure.
    pub fn failure(&self) -> String {
        self.last()["failure"].as_str().unwrap_or("none").to_owned()
    }

    /// That it failed with this exit code and failure, in one clear sentence that is the same for people and scripts.
    #[track_caller]
    pub fn assert_failed(&self, code: i32, failure: &str) -> String {
        assert_eq!((self.code(), self.failure()), (Some(code), failure.to_owned()), "{self:?}");
        let last = self.last();
        assert_eq!((&last["event"], &last["exit_code"]), (&json!("failed"), &json!(code)));
        let message = last["message"].as_str().unwrap().to_owned();
        assert_eq!(self.stderr, format!("handfast: {message}\n"), "one sentence for people");
        assert!(message.len() > 20 && !message.contains('\n') && !message.contains("Error"), "{message}");
        message
    }
}

impl fmt::Debug for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stdout = String::from_utf8_lossy(&self.stdout);
        write!(f, "[{}; stdout: {stdout}; stderr: {}]", self.status, self.stderr)
    }
}

/// Runs a command to its end.
pub async fn finish(mut command: Command, input: &[u8]) -> Ended {
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    tokio::spawn(async move {
        // A command that fails early does not read all of it.
        let _ = stdin.write_all(&input).await;
    });
    let output = soon("the end of a command", child.wait_with_output()).await.unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    Ended { status: output.status, stdout: output.stdout, stderr }
}

/// The text of the QR code in an image, read by a program that is not ours.
pub async fn zbarimg(image: &Path) -> String {
    let mut command = Command::new("zbarimg");
    command.args(["--quiet", "--raw", "--nodbus", "-Sdisable", "-Sqrcode.enable"]).arg(image);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let ended = soon("zbarimg", command.output()).await.unwrap_or_else(|error| {
        panic!("cannot run zbarimg ({error}): run tests/run, or install the package zbar-tools first")
    });
    assert!(ended.status.success(), "zbarimg found no QR code in {}: {ended:?}", image.display());
    String::from_utf8(ended.stdout).unwrap().trim_end().to_owned()
}

/// A code that could have been shown in place of this one: the same nameplate, another secret, no typing mistake.
pub fn another_code(code: &str) -> String {
    let (start, end) = code.split_at(code.len() - 2);
    let symbols = || "0123456789ABCDEFGHJKMNPQRSTVWXYZ".chars();
    let mut candidates = symbols().flat_map(|one| symbols().map(move |two| format!("{one}{two}")));
    let other = candidates.find(|last| last != end && format!("{start}{last}").parse::<VerificationCode>().is_ok());
    format!("{start}{}", other.expect("one in 32 is a code"))
}

/// Sends SIGKILL, to a process that may have ended.
pub fn kill(pid: Option<Pid>) {
    if let Some(pid) = pid {
        let _ = kill_process(pid, Signal::KILL);
    }
}

/// A program whose environment does not depend on who runs the test. It is killed when the test lets go of it.
pub(super) fn clean(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.env_clear().envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
    command.env("RUST_LOG", "trace").env("HOME", "/nonexistent");
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

fn collect(mut source: impl AsyncReadExt + Unpin + Send + 'static, into: Arc<Mutex<String>>) -> JoinHandle<()> {
    tokio::spawn(async move {
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = source.read(&mut buffer).await {
            into.lock().unwrap().push_str(&String::from_utf8_lossy(&buffer[..count]));
        }
    })
}

/// A child that was waited for has no process any more, and its number may be somebody else's.
fn pid(child: &Child) -> Option<Pid> {
    child.id().and_then(|id| Pid::from_raw(i32::try_from(id).unwrap()))
}

fn signal(child: &Child, signal: Signal) {
    if let Some(pid) = pid(child) {
        let _ = kill_process(pid, signal);
    }
}
