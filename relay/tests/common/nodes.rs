//! Relays for tests: one in memory, or several that share a store.

#![allow(clippy::indexing_slicing)]

use handfast_relay::{Config, Relay, RelayHandle};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tempfile::TempDir;

/// Relays that are one to their devices.
pub struct Nodes {
    nodes: Vec<RelayHandle>,
    next: AtomicUsize,
    store: Option<RedisServer>,
}

/// A `redis-server` of its own, killed with its value.
pub struct RedisServer {
    process: Child,
    port: u16,
    arguments: Vec<String>,
    folder: TempDir,
}

impl Nodes {
    pub async fn in_memory(config: Config) -> Self {
        Self { nodes: vec![super::relay_with(config).await], next: AtomicUsize::new(0), store: None }
    }

    pub async fn sharing(count: usize, store: RedisServer, config: Config) -> Self {
        let mut nodes = Vec::new();
        for _ in 0..count {
            let config = Config { store: Some(store.url().parse().unwrap()), ..config.clone() };
            nodes.push(Relay::bind("127.0.0.1:0".parse().unwrap(), config).await.unwrap().spawn());
        }
        Self { nodes, next: AtomicUsize::new(0), store: Some(store) }
    }

    /// Where the next node listens.
    pub fn addr(&self) -> SocketAddr {
        self.nodes[self.next.fetch_add(1, Ordering::Relaxed) % self.nodes.len()].addr()
    }

    pub fn store(&self) -> &RedisServer {
        self.store.as_ref().unwrap()
    }

    pub fn store_mut(&mut self) -> &mut RedisServer {
        self.store.as_mut().unwrap()
    }

    /// Waits until no connection is left.
    pub async fn until_unconnected(&self) {
        self.until(|| self.nodes.iter().all(|node| node.stats().connections == 0)).await;
    }

    /// Waits until no connection and no mailbox is left.
    pub async fn until_empty(&self) {
        self.until_unconnected().await;
        self.until_no_bytes_are_stored().await;
        self.until(|| match &self.store {
            None => self.nodes.iter().all(|node| node.stats().mailboxes == 0),
            Some(store) => store.ask(&["ZCARD", "handfast:mailboxes"]) == "0",
        })
        .await;
    }

    /// Waits until no frame is kept for anybody.
    pub async fn until_no_bytes_are_stored(&self) {
        self.until(|| match &self.store {
            None => self.nodes.iter().all(|node| node.stats().queued_bytes == 0),
            Some(store) => store.frames() == 0,
        })
        .await;
    }

    async fn until(&self, wanted: impl Fn() -> bool) {
        for _ in 0..1000 {
            if wanted() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let stats: Vec<_> = self.nodes.iter().map(RelayHandle::stats).collect();
        panic!("still {stats:?}");
    }
}

impl RedisServer {
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

    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").args(["-s", name, &self.process.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// How many data frames it holds.
    fn frames(&self) -> usize {
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
