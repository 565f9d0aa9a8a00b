//! Who a connection is, and whether it may come in.

use super::{ConnectionPermit, Refusal, Source, Sources};
use crate::Config;
use crate::proxy::{self, Origin};
use ipnet::IpNet;
use std::net::IpAddr;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_tungstenite::tungstenite::http::HeaderMap;

/// How many connections are told at the same time that they cannot come in. Any more are dropped without a word.
const MAX_REFUSALS: usize = 64;

/// What every new connection passes.
pub(crate) struct Door {
    sources: Sources,
    trusted_proxies: Vec<IpNet>,
    network_hint: bool,
    refusals: Arc<Semaphore>,
}

/// A connection at the door.
pub(crate) enum Visitor {
    /// It is the client's own.
    Known(Guest),
    /// It is a trusted proxy's. The proxy says in its request for whom.
    Proxied(IpAddr),
}

/// A connection that is let in, and counted until this is dropped.
pub(crate) struct Guest {
    pub(crate) origin: Origin,
    permit: ConnectionPermit,
}

impl Door {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            sources: Sources::new(config),
            trusted_proxies: config.trusted_proxies.clone(),
            network_hint: config.network_hint,
            refusals: Arc::new(Semaphore::new(MAX_REFUSALS)),
        }
    }

    /// Does what has to be done while connections come. Never returns.
    pub(crate) async fn run(&self) {
        self.sources.run().await;
    }

    /// A connection from `peer` was accepted.
    pub(crate) fn meet(&self, peer: IpAddr) -> Result<Visitor, Refusal> {
        if proxy::is_trusted(peer, &self.trusted_proxies) {
            return Ok(Visitor::Proxied(peer));
        }
        self.let_in(proxy::direct(peer)).map(Visitor::Known)
    }

    /// A connection has sent its request, with these headers.
    pub(crate) fn identify(&self, visitor: Visitor, headers: &HeaderMap) -> Result<Guest, Refusal> {
        match visitor {
            Visitor::Known(guest) => Ok(guest),
            Visitor::Proxied(proxy) => self.let_in(proxy::forwarded(proxy, headers, &self.trusted_proxies)),
        }
    }

    /// A place for telling a connection that it cannot come in, if there is one.
    pub(crate) fn place_for_refusal(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.refusals).try_acquire_owned().ok()
    }

    fn let_in(&self, origin: Origin) -> Result<Guest, Refusal> {
        let permit = self.sources.source(origin.source).connect()?;
        let network = origin.network.filter(|_| self.network_hint);
        Ok(Guest { origin: Origin { network, ..origin }, permit })
    }
}

impl Guest {
    /// What this process counts of its source.
    pub(crate) fn source(&self) -> &Arc<Source> {
        self.permit.source()
    }
}
