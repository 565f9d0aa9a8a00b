//! What an operator can set. Every limit refuses new work; none evicts what is there.

use crate::limits::longest_wait;
use crate::{Rate, StoreUrl, proxy};
use handfast_wire::limits;
use ipnet::IpNet;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;
use tokio::sync::Semaphore;

/// Devices are told lifetimes as 32-bit counts of milliseconds: 49 days.
const MAX_TIME: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// How long a device waits for the answer to its claim.
const MAX_CLAIM_WAIT: Duration = Duration::from_secs(30);

/// Limits and times of a relay. The defaults suit a public relay on a small machine.
#[derive(Clone, Debug)]
pub struct Config {
    /// Open connections. One more is told `Limit(Connections)` and closed. The process needs a few more file
    /// descriptors than this.
    pub max_connections: usize,
    /// Live mailboxes. Creating one more is refused with `Limit(Mailboxes)`.
    pub max_mailboxes: usize,
    /// Bytes of data frames stored for delivery in all mailboxes together. One frame more is refused with
    /// `Limit(QueuedBytes)`.
    pub max_queued_bytes: usize,
    /// Data frames one mailbox accepts in its life, both directions together. One more is refused with
    /// `Limit(MailboxFrames)`.
    pub max_mailbox_frames: u32,
    /// Bytes of data frames one mailbox accepts in its life, both directions together. A frame over it is refused with
    /// `Limit(MailboxBytes)`.
    pub max_mailbox_bytes: u32,
    /// Data frames one side may have sent that its peer has not acknowledged. One more is refused with
    /// `Limit(Window)`. Devices expect [`limits::WINDOW_FRAMES`]: set less only in tests.
    pub window_frames: u32,
    /// Connections one source makes; a source is an IPv4 address or an IPv6 /64. One more is told
    /// `Limit(SourceConnections)` and closed.
    pub source_connections: Rate,
    /// Open connections of one source. The same for one more.
    pub max_source_connections: usize,
    /// Mailboxes one source makes. One more is refused with `Limit(SourceMailboxes)`.
    pub source_allocations: Rate,
    /// Live mailboxes that one source made. The same for one more.
    pub max_source_mailboxes: usize,
    /// Mailboxes of others that one source joins or tries to. One more is refused with `Limit(SourceClaims)`.
    pub source_claims: Rate,
    /// Claims of one source that meet no mailbox. At the limit every claim of the source is refused, before anybody
    /// looks for its mailbox, with `Limit(SourceMisses)`.
    pub source_misses: Rate,
    /// Claims of all sources together that meet no mailbox. Past it claims of sources that have not paired in the last
    /// hour wait for [`slow_claims`](Self::slow_claims).
    pub all_misses: Rate,
    /// How long each of them waits, one after the other for each source. One that would wait three times as long is
    /// refused with `Limit(SourceClaims)`.
    pub slow_claims: Duration,
    /// Networks of proxies whose `X-Forwarded-For` says who the client is. From anybody else it is ignored.
    pub trusted_proxies: Vec<IpNet>,
    /// A mailbox lives this long ...
    pub mailbox_lifetime: Duration,
    /// ... and at least this long after the last data frame it accepted ...
    pub mailbox_linger: Duration,
    /// ... and never longer than this.
    pub mailbox_max_lifetime: Duration,
    /// A second slot whose device has sent no data frame is freed this long after its claim.
    pub claim_timeout: Duration,
    /// From accepting a connection to its first frame, the websocket upgrade included.
    pub first_frame_timeout: Duration,
    /// A websocket ping goes to each connection this often.
    pub ping_interval: Duration,
    /// A connection that sends nothing at all for this long, not even a pong, is dropped.
    pub idle_timeout: Duration,
    /// A connection that does not take the next bytes for this long is dropped.
    pub write_timeout: Duration,
    /// On shutdown, how long live mailboxes may still finish.
    pub drain_time: Duration,
    /// Where mailboxes are kept: in memory, or in a Valkey or Redis that several relays share
    /// (`redis://HOST:PORT`, `rediss://` with TLS; needs the feature `redis`).
    pub store: Option<StoreUrl>,
    /// With a shared store: a node that has not been heard of for this long is dead, and its devices have left. A node
    /// says that it lives three times as often.
    pub node_timeout: Duration,
    /// Whether to say if two devices come from the same network. Turn it off behind a proxy that is not one of
    /// [`trusted_proxies`](Self::trusted_proxies): all addresses are the proxy's there, and the hint would say "same" to
    /// everybody.
    pub network_hint: bool,
    /// Certificate and key: with them the relay speaks `wss` and nothing else. `None`: plain `ws`.
    pub tls: Option<TlsFiles>,
    /// Where to serve `/healthz`, `/readyz` and `/metrics` over plain HTTP. `None`: nowhere.
    pub admin_listen: Option<SocketAddr>,
}

/// Where a relay's certificate is. Both files are read again when they change.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// PEM: the relay's certificate, then those that lead to a root.
    pub certificate: PathBuf,
    /// PEM: the private key of the first certificate.
    pub key: PathBuf,
}

impl Default for Config {
    fn default() -> Self {
        let ms = |ms: u32| Duration::from_millis(ms.into());
        Self {
            max_connections: 10_000,
            max_mailboxes: 20_000,
            max_queued_bytes: 256 * 1024 * 1024,
            max_mailbox_frames: limits::MAX_MAILBOX_FRAMES,
            max_mailbox_bytes: 512 * 1024,
            window_frames: limits::WINDOW_FRAMES,
            source_connections: Rate::new(120, 120),
            max_source_connections: 256,
            source_allocations: Rate::new(30, 30),
            max_source_mailboxes: 128,
            source_claims: Rate::new(30, 30),
            source_misses: Rate::new(10, 1),
            all_misses: Rate::new(600, 600),
            slow_claims: Duration::from_secs(5),
            trusted_proxies: Vec::new(),
            mailbox_lifetime: ms(limits::MAILBOX_LIFETIME_MS),
            mailbox_linger: ms(limits::MAILBOX_LINGER_MS),
            mailbox_max_lifetime: ms(limits::MAILBOX_MAX_LIFETIME_MS),
            claim_timeout: ms(limits::CLAIM_WITHOUT_DATA_MS),
            first_frame_timeout: Duration::from_secs(10),
            ping_interval: ms(limits::PING_INTERVAL_MS),
            idle_timeout: ms(limits::SILENCE_MS),
            write_timeout: Duration::from_secs(30),
            drain_time: Duration::from_secs(10),
            store: None,
            node_timeout: Duration::from_secs(15),
            network_hint: true,
            tls: None,
            admin_listen: None,
        }
    }
}

impl Config {
    /// The defaults without any limit per source: for tests and measurements in which all devices have one address.
    pub fn for_one_source() -> Self {
        Self {
            source_connections: Rate::OFF,
            max_source_connections: usize::MAX,
            source_allocations: Rate::OFF,
            max_source_mailboxes: usize::MAX,
            source_claims: Rate::OFF,
            source_misses: Rate::OFF,
            all_misses: Rate::OFF,
            ..Self::default()
        }
    }

    /// Refuses settings with which a relay could not work, with `InvalidInput`.
    pub fn check(&self) -> io::Result<()> {
        let times = [
            self.mailbox_lifetime,
            self.mailbox_linger,
            self.mailbox_max_lifetime,
            self.claim_timeout,
            self.first_frame_timeout,
            self.ping_interval,
            self.idle_timeout,
            self.write_timeout,
            self.drain_time,
            self.node_timeout,
            self.slow_claims,
        ];
        let counts = [self.max_connections, self.max_mailboxes, self.max_source_connections, self.max_source_mailboxes];
        let rates =
            [self.source_connections, self.source_allocations, self.source_claims, self.source_misses, self.all_misses];
        let refused = if times.iter().any(|time| *time > MAX_TIME) {
            "no time may be longer than 30 days"
        } else if counts.contains(&0) || self.max_mailbox_frames == 0 {
            "every limit must be at least 1"
        } else if self.max_connections > Semaphore::MAX_PERMITS {
            "the limit of connections is absurdly high"
        } else if self.window_frames == 0 {
            "the window must be at least 1"
        } else if rates.iter().any(|rate| !rate.is_valid()) {
            "both numbers of a rate must be from 1 to 1000000"
        } else if self.max_queued_bytes < limits::MAX_FRAME_BYTES
            || u64::from(self.max_mailbox_bytes) < limits::MAX_FRAME_BYTES as u64
        {
            "the byte budgets must hold at least one frame of 16384 bytes"
        } else if self.mailbox_max_lifetime < self.mailbox_lifetime {
            "a mailbox's lifetime must not be longer than its maximum"
        } else if self.ping_interval.is_zero() || self.idle_timeout <= self.ping_interval {
            "the idle timeout must be longer than the ping interval, and that longer than zero"
        } else if MAX_CLAIM_WAIT <= longest_wait(self) {
            "three slowed claims must wait less than the 30 s after which devices give up"
        } else if self.trusted_proxies.iter().any(|net| proxy::canonical(*net).prefix_len() == 0) {
            "not everybody can be a trusted proxy"
        } else if self.node_timeout < Duration::from_millis(300) {
            "the node timeout must be at least 300 ms"
        } else {
            return Ok(());
        };
        Err(io::Error::new(io::ErrorKind::InvalidInput, refused))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_constants_holds_every_default() {
        let Config {
            max_connections,
            max_mailboxes,
            max_queued_bytes,
            max_mailbox_frames,
            max_mailbox_bytes,
            window_frames,
            source_connections,
            max_source_connections,
            source_allocations,
            max_source_mailboxes,
            source_claims,
            source_misses,
            all_misses,
            slow_claims,
            trusted_proxies,
            mailbox_lifetime,
            mailbox_linger,
            mailbox_max_lifetime,
            claim_timeout,
            first_frame_timeout,
            ping_interval,
            idle_timeout,
            write_timeout,
            drain_time,
            store: None,
            node_timeout,
            network_hint,
            tls: None,
            admin_listen: None,
        } = Config::default()
        else {
            panic!("nothing of this machine is a default");
        };
        let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap();
        let defaults = serde_json::json!({
            "max_connections": max_connections,
            "max_mailboxes": max_mailboxes,
            "max_queued_bytes": max_queued_bytes,
            "max_mailbox_frames": max_mailbox_frames,
            "max_mailbox_bytes": max_mailbox_bytes,
            "window_frames": window_frames,
            "source_connections": source_connections,
            "max_source_connections": max_source_connections,
            "source_allocations": source_allocations,
            "max_source_mailboxes": max_source_mailboxes,
            "source_claims": source_claims,
            "source_misses": source_misses,
            "all_misses": all_misses,
            "slow_claims_ms": ms(slow_claims),
            "trusted_proxies": trusted_proxies,
            "mailbox_lifetime_ms": ms(mailbox_lifetime),
            "mailbox_linger_ms": ms(mailbox_linger),
            "mailbox_max_lifetime_ms": ms(mailbox_max_lifetime),
            "claim_timeout_ms": ms(claim_timeout),
            "first_frame_timeout_ms": ms(first_frame_timeout),
            "ping_interval_ms": ms(ping_interval),
            "idle_timeout_ms": ms(idle_timeout),
            "write_timeout_ms": ms(write_timeout),
            "drain_time_ms": ms(drain_time),
            "node_timeout_ms": ms(node_timeout),
            "network_hint": network_hint,
        });
        let table: serde_json::Value = serde_json::from_str(include_str!("../../spec/constants.json")).unwrap();
        assert_eq!(table.get("relay_defaults"), Some(&defaults));
    }
}
