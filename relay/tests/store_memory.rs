//! The conformance suite on one relay that keeps everything in memory.

#![allow(clippy::unwrap_used, clippy::panic)]

mod common;
mod conformance;

use common::nodes::Nodes;
use handfast_relay::Config;

async fn nodes(config: Config) -> Nodes {
    Nodes::in_memory(config).await
}
