//! The relay as a process of its own.

use super::within;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::Duration;

pub const BINARY: &str = env!("CARGO_BIN_EXE_handfast-relay");

/// A running relay; killed when the test is over.
pub struct Process {
    child: Child,
    stdout: BufReader<ChildStdout>,
    pub addr: SocketAddr,
}

impl Process {
    /// On any free port, with these options.
    pub fn start(options: &[&str]) -> Self {
        Self::spawn(command(&["serve", "--listen", "127.0.0.1:0"]).args(options))
    }

    pub fn spawn(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let mut process = Self { child, stdout, addr: SocketAddr::from(([0; 4], 0)) };
        let line = process.line();
        let url = line.strip_prefix("handfast-relay listening on ").unwrap_or_else(|| panic!("{line:?}"));
        let tls = command.get_args().any(|arg| arg == "--tls-key");
        process.addr = url.strip_prefix(if tls { "wss://" } else { "ws://" }).unwrap().parse().unwrap();
        process
    }

    /// The address on the second line.
    pub fn admin(&mut self) -> SocketAddr {
        self.line().strip_prefix("handfast-relay admin on http://").unwrap().parse().unwrap()
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    pub async fn exit(&mut self) -> ExitStatus {
        within(async {
            loop {
                if let Some(status) = self.child.try_wait().unwrap() {
                    return status;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await
    }

    /// Everything that the process still writes, once it has ended.
    pub fn rest(&mut self) -> (String, String) {
        let (mut out, mut log) = (String::new(), String::new());
        self.stdout.read_to_string(&mut out).unwrap();
        self.child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
        (out, log)
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The program, with nothing from this test's environment.
pub fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(BINARY);
    command.args(arguments).env_clear();
    command
}

/// How the program ends that is to end at once: its exit code, stdout and stderr.
pub fn output(command: &mut Command) -> (Option<i32>, String, String) {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}
