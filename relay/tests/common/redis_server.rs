//! A store for tests.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

/// A `redis-server` of its own, killed with its value.
pub struct RedisServer {
    process: Child,
    port: u16,
    /// The certificate that it shows, if it speaks TLS.
    certificate: Option<String>,
    arguments: Vec<String>,
    _folder: TempDir,
}

impl RedisServer {
    /// With nothing but memory.
    pub fn start() -> Self {
        Self::with(&[])
    }

    /// One server that is a whole cluster.
    pub fn start_cluster() -> Self {
        let server = Self::with(&["--cluster-enabled", "yes", "--cluster-port", &free_port().to_string()]);
        server.ask(&["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]);
        while !server.ask(&["CLUSTER", "INFO"]).contains("cluster_state:ok") {
            std::thread::sleep(Duration::from_millis(10));
        }
        server
    }

    /// That speaks TLS only, as `localhost`, with this certificate and key.
    pub fn with_tls(certificate: &str, key: &str) -> Self {
        let files = ["--tls-cert-file", certificate, "--tls-key-file", key, "--tls-ca-cert-file", certificate];
        let options = [files.as_slice(), &["--tls-auth-clients", "no"]].concat();
        Self::start_with(&options, Some(certificate))
    }

    /// With these options of `redis-server`.
    pub fn with(options: &[&str]) -> Self {
        Self::start_with(options, None)
    }

    fn start_with(options: &[&str], certificate: Option<&str>) -> Self {
        loop {
            let port = free_port();
            let folder = tempfile::tempdir().unwrap();
            let kind = if certificate.is_some() { ["--port", "0", "--tls-port"].as_slice() } else { &["--port"] };
            let mut arguments = vec!["--bind".to_owned(), "127.0.0.1".to_owned()];
            arguments.extend(kind.iter().map(|part| (*part).to_owned()));
            arguments.push(port.to_string());
            arguments.extend(["--save".to_owned(), String::new()]);
            arguments.extend(["--dir".to_owned(), folder.path().to_str().unwrap().to_owned()]);
            arguments.extend(options.iter().map(|option| (*option).to_owned()));
            let mut server = Self {
                process: Self::spawn(&arguments),
                port,
                certificate: certificate.map(str::to_owned),
                arguments,
                _folder: folder,
            };
            // Somebody else may have taken the port in the meantime.
            if server.answers_soon() {
                return server;
            }
        }
    }

    /// As nodes are told.
    pub fn url(&self) -> String {
        match self.certificate {
            None => format!("redis://127.0.0.1:{}", self.port),
            Some(_) => format!("rediss://localhost:{}", self.port),
        }
    }

    /// Ends it at once.
    pub fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Starts it again, with the same options, port and folder.
    pub fn start_again(&mut self) {
        self.process = Self::spawn(&self.arguments);
        assert!(self.answers_soon(), "the store does not start again");
    }

    /// What it answers to a command.
    pub fn ask(&self, command: &[&str]) -> String {
        let mut client = Command::new("redis-cli");
        client.args(["-p", &self.port.to_string()]);
        if let Some(certificate) = &self.certificate {
            client.args(["--tls", "--cacert", certificate, "-h", "localhost"]);
        }
        let output = client.args(command).output().unwrap();
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

    /// Waits until it answers; `false` if it has ended.
    fn answers_soon(&mut self) -> bool {
        while self.process.try_wait().unwrap().is_none() {
            if self.ask(&["PING"]) == "PONG" {
                return true;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        false
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
