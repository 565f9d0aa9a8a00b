//! The conformance suite on two nodes that share a store: the two devices of a mailbox are at different nodes.

#![cfg(feature = "redis")]
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;
mod conformance;

use common::nodes::{Nodes, RedisServer};
use handfast_relay::Config;

async fn nodes(config: Config) -> Nodes {
    Nodes::sharing(2, RedisServer::start(), config).await
}
