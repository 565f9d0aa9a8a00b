//! A blind relay: mailboxes with two slots through which two devices exchange frames that it cannot read.
//!
//! The server behind the `handfast-relay` command, for programs and tests that run one inside themselves. What it
//! says on the wire is defined by [`handfast_wire`]. Mailboxes are in memory and end with the process, unless
//! [`Config::store`] names a Valkey or Redis (feature `redis`): then several relays share them, and they outlive each.
//!
//! ```
//! use handfast_relay::{Config, Relay};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> std::io::Result<()> {
//! let relay = Relay::bind("127.0.0.1:0".parse().expect("an address"), Config::default()).await?;
//! let handle = relay.spawn();
//! println!("devices connect to ws://{}{}", handle.addr(), handfast_wire::limits::WEBSOCKET_PATH);
//! handle.shutdown().await;
//! # Ok(())
//! # }
//! ```
//!
//! # Logs
//!
//! The relay logs through `tracing`, and never a payload, token, nameplate, mailbox id or address. The websocket
//! library below it does log frames, at level `trace` through the `log` crate: a program that embeds the relay keeps
//! the targets `tungstenite` and `tokio_tungstenite` out of its log.

mod admin;
mod config;
mod connection;
mod limits;
mod log_key;
mod mailbox;
mod metrics;
mod network;
mod proxy;
mod server;
mod store;
mod summary;
mod time;
mod tls;

pub use config::{Config, TlsFiles};
pub use limits::{Rate, RateError};
pub use server::{Relay, RelayHandle, Stats};
pub use store::StoreUrl;
pub use tls::Certificates;
