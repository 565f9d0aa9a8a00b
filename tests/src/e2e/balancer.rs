//! HAProxy before two relays, with the file that operators get.

use super::process::clean;
use super::{http, soon};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use tokio::process::Child;

/// A relay as the balancer sees it.
#[derive(Clone, Copy)]
pub struct Behind {
    /// Where it serves devices.
    pub relay: SocketAddr,
    /// Where it says whether it is ready.
    pub admin: SocketAddr,
}

/// HAProxy under way. It ends with the value that stands for it.
pub struct Balancer {
    address: SocketAddr,
    tls: Option<SocketAddr>,
    _child: Child,
}

impl Balancer {
    /// Starts one and waits until a relay is ready. It takes any number of connections from this machine.
    pub async fn start(relays: [Behind; 2]) -> Self {
        Self::start_with(relays, None, &[("SOURCE_OPEN", "1000000"), ("SOURCE_A_MINUTE", "1000000")]).await
    }

    /// The same, which speaks TLS too, with this file of certificate and key.
    pub async fn start_with_tls(relays: [Behind; 2], pem: &Path) -> Self {
        Self::start_with(relays, Some(pem), &[]).await
    }

    /// The same without TLS, with these settings and its own defaults.
    pub async fn start_with_settings(relays: [Behind; 2], settings: &[(&str, &str)]) -> Self {
        Self::start_with(relays, None, settings).await
    }

    async fn start_with([one, two]: [Behind; 2], pem: Option<&Path>, settings: &[(&str, &str)]) -> Self {
        let (address, tls) = (free_address(), pem.map(|_| free_address()));
        let mut command = clean(Path::new("haproxy"));
        command.arg("-db").arg("-f").arg(deploy_folder().join("haproxy.cfg"));
        command.env("LISTEN", address.to_string());
        command.env("RELAY_1", one.relay.to_string()).env("RELAY_1_ADMIN", one.admin.port().to_string());
        command.env("RELAY_2", two.relay.to_string()).env("RELAY_2_ADMIN", two.admin.port().to_string());
        command.envs(settings.iter().copied());
        if let (Some(pem), Some(tls)) = (pem, tls) {
            command.env("TLS_CERTIFICATE", pem).env("LISTEN_TLS", tls.to_string());
        }
        let mut child = command.spawn().unwrap_or_else(|error| {
            panic!("cannot run haproxy ({error}): run tests/run, or install the package haproxy first")
        });
        tokio::select! {
            () = http::answers(address, "/healthz", 200) => {}
            _ = child.wait() => {
                let output = soon("haproxy's output", child.wait_with_output()).await.unwrap();
                panic!("haproxy ended: {}", String::from_utf8_lossy(&output.stderr));
            }
        }
        Self { address, tls, _child: child }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its address as devices write it.
    pub fn url(&self) -> String {
        format!("ws://{}", self.address)
    }

    /// The same with TLS, for `localhost`.
    pub fn tls_url(&self) -> String {
        format!("wss://localhost:{}", self.tls.unwrap().port())
    }
}

/// What operators get.
pub fn deploy_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../relay/deploy")
}

/// An address on loopback that nobody listens on: HAProxy cannot say which one it took.
fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}
