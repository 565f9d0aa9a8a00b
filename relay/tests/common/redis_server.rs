//! A store for tests.

use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

/// A `redis-server` of its own, killed with its value.
pub struct RedisServer {
    process: Child,
    port: u16,
    arguments: Vec<String>,
    folder: TempDir,
}

impl RedisServer {
    /// With nothing but memory.
    pub fn start() -> Self {
        Self::with(&[])
    }

    /// One server that is a whole cluster.
    pub fn start_cluster() -> Self {
        let server = Self::with(&["--cluster-enabled", "yes"]);
        server.ask(&["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]);
        while !server.ask(&["CLUSTER", "INFO"]).contains("cluster_state:ok") {
            std::thread::sleep(Duration::from_millis(10));
        }
        server
    }

    /// With these options of `redis-server`.
    pub fn with(options: &[&str]) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let folder = tempfile::tempdir().unwrap();
        let mut arguments = vec!["--bind".to_owned(), "127.0.0.1".to_owned(), "--port".to_owned(), port.to_string()];
        arguments.extend(["--save".to_owned(), String::new()]);
        arguments.extend(["--dir".to_owned(), folder.path().to_str().unwrap().to_owned()]);
        // The port of a cluster's bus, if it is one, has to be free as well.
        arguments.extend(["--cluster-port".to_owned(), free_port().to_string()]);
        arguments.extend(options.iter().map(|option| (*option).to_owned()));
        let process = Self::spawn(&arguments);
        let server = Self { process, port, arguments, folder };
        server.until_it_answers();
        server
    }

    /// As nodes are told.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Ends it at once.
    pub fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Starts it again, with the same options, port and folder.
    pub fn start_again(&mut self) {
        self.process = Self::spawn(&self.arguments);
        self.until_it_answers();
    }

    /// What it answers to a command.
    pub fn ask(&self, command: &[&str]) -> String {
        let output = Command::new("redis-cli").args(["-p", &self.port.to_string()]).args(command).output().unwrap();
        assert!(output.status.success(), "{command:?}: {output:?}");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Sends it a signal.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").args(["-s", name, &self.process.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// How many data frames it holds.
    pub fn frames(&self) -> usize {
        let keys = self.ask(&["KEYS", "handfast:mailbox:*"]);
        let fields = keys.lines().filter(|key| !key.is_empty()).map(|key| self.ask(&["HKEYS", key]));
        fields.map(|fields| fields.lines().filter(|field| !matches!(*field, "e" | "s" | "")).count()).sum()
    }

    fn spawn(arguments: &[String]) -> Child {
        Command::new("redis-server")
            .args(arguments)
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server has to be installed: tests/run tools")
    }

    fn until_it_answers(&self) {
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() || self.ask(&["PING"]) != "PONG" {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        // It may have been killed by the test.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
