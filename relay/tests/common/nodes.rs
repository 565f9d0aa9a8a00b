//! Relays for tests: one in memory, or several that share a store.

#![allow(clippy::indexing_slicing)]

pub use super::redis_server::RedisServer;
use handfast_relay::{Config, Relay, RelayHandle};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Relays that are one to their devices.
pub struct Nodes {
    nodes: Vec<RelayHandle>,
    next: AtomicUsize,
    store: Option<RedisServer>,
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
