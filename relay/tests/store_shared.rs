//! The conformance suite on one node with a shared store.

#![cfg(feature = "redis")]
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;
mod conformance;

use common::nodes::{Nodes, RedisServer};
use handfast_relay::Config;

async fn nodes(config: Config) -> Nodes {
    Nodes::sharing(1, RedisServer::start(), config).await
}
