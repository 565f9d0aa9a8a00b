//! Who a connection is, and whether it may come in.

use super::{ConnectionPermit, Refusal, RefusalPermit, Source, Sources};
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

/// A connection that cannot come in, and why.
pub(crate) struct Refused {
    pub(crate) why: Refusal,
    source: Arc<Source>,
}

/// A place for telling a connection that it cannot come in, until it is dropped.
pub(crate) struct RefusalPlace {
    _of_all: OwnedSemaphorePermit,
    _of_source: Option<RefusalPermit>,
}

impl Door {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            sources: Sources::new(config),
            trusted_proxies: config.trusted_proxies.iter().copied().map(proxy::canonical).collect(),
            network_hint: config.network_hint,
            refusals: Arc::new(Semaphore::new(MAX_REFUSALS)),
        }
    }

    /// Does what has to be done while connections come. Never returns.
    pub(crate) async fn run(&self) {
        self.sources.run().await;
    }

    /// A connection from `peer` was accepted.
    pub(crate) fn meet(&self, peer: IpAddr) -> Result<Visitor, Refused> {
        if proxy::is_trusted(peer, &self.trusted_proxies) {
            return Ok(Visitor::Proxied(peer));
        }
        self.let_in(proxy::direct(peer)).map(Visitor::Known)
    }

    /// A connection has sent its request, with these headers.
    pub(crate) fn identify(&self, visitor: Visitor, headers: &HeaderMap) -> Result<Guest, Refused> {
        match visitor {
            Visitor::Known(guest) => Ok(guest),
            Visitor::Proxied(proxy) => self.let_in(proxy::forwarded(proxy, headers, &self.trusted_proxies)),
        }
    }

    /// A place for telling a connection that it cannot come in, if there is one.
    pub(crate) fn place_for_refusal(&self, refused: &Refused) -> Option<RefusalPlace> {
        self.place_for(Some(&refused.source))
    }

    /// The same for a visitor for whom the relay has no room.
    pub(crate) fn place_for_overflow(&self, visitor: &Visitor) -> Option<RefusalPlace> {
        self.place_for(match visitor {
            Visitor::Known(guest) => Some(guest.source()),
            // Not the proxy's: it has many clients.
            Visitor::Proxied(_) => None,
        })
    }

    fn place_for(&self, source: Option<&Arc<Source>>) -> Option<RefusalPlace> {
        let of_all = Arc::clone(&self.refusals).try_acquire_owned().ok()?;
        let of_source = match source {
            Some(source) => Some(source.refuse()?),
            None => None,
        };
        Some(RefusalPlace { _of_all: of_all, _of_source: of_source })
    }

    fn let_in(&self, origin: Origin) -> Result<Guest, Refused> {
        let source = self.sources.source(origin.source);
        let permit = source.connect().map_err(|why| Refused { why, source })?;
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
