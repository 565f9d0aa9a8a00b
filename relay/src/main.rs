//! The `handfast-relay` command.

use clap::builder::RangedU64ValueParser;
use clap::{Args, Parser, Subcommand};
use handfast_relay::{Config, Relay, StoreUrl};
use handfast_wire::limits;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;
use tracing_subscriber::EnvFilter;

const AFTER_HELP: &str = "\
Exit codes: 0 it was told to stop and has; 1 it could not start, or a second signal cut the drain short; 2 wrong usage.

The relay speaks plain ws:// and listens on loopback unless told otherwise: put a proxy that ends TLS before it.";

/// A blind relay for pairing devices: it passes on frames that it cannot read.
#[derive(Parser)]
#[command(version, after_help = AFTER_HELP)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the relay until SIGTERM or Ctrl-C, then let live mailboxes finish for a while. A second signal ends it at
    /// once. Prints one line on stdout when it is ready; logs go to stderr.
    #[command(after_help = AFTER_HELP)]
    Serve(Serve),
}

#[derive(Args)]
struct Serve {
    /// Address and port to listen on; port 0 takes any free one.
    #[arg(long, value_name = "ADDR", env = "HANDFAST_RELAY_LISTEN", default_value_t = default_listen())]
    listen: SocketAddr,

    /// What to log: a level (error, warn, info, debug, trace) or `target=level` pairs. No level shows content, codes,
    /// tokens, mailbox names or addresses.
    #[arg(long, value_name = "FILTER", env = "HANDFAST_RELAY_LOG", default_value = "info", value_parser = filter)]
    log: String,

    /// Open connections.
    #[arg(long, value_name = "N", env = "HANDFAST_RELAY_MAX_CONNECTIONS", default_value_t = Config::default().max_connections,
          value_parser = count::<usize>())]
    max_connections: usize,

    /// Live mailboxes.
    #[arg(long, value_name = "N", env = "HANDFAST_RELAY_MAX_MAILBOXES", default_value_t = Config::default().max_mailboxes,
          value_parser = count::<usize>())]
    max_mailboxes: usize,

    /// Bytes stored for delivery, all mailboxes together.
    #[arg(long, value_name = "BYTES", env = "HANDFAST_RELAY_MAX_QUEUED_BYTES", default_value_t = Config::default().max_queued_bytes,
          value_parser = count::<usize>())]
    max_queued_bytes: usize,

    /// Data frames one mailbox accepts in its life.
    #[arg(long, value_name = "N", env = "HANDFAST_RELAY_MAX_FRAMES", default_value_t = Config::default().max_mailbox_frames,
          value_parser = count::<u32>())]
    max_frames: u32,

    /// Unacknowledged data frames a direction. Devices rely on the default.
    #[arg(long, value_name = "N", env = "HANDFAST_RELAY_WINDOW", default_value_t = Config::default().window_frames,
          value_parser = count::<u32>())]
    window: u32,

    /// How long a mailbox lives.
    #[arg(long, value_name = "SECONDS", env = "HANDFAST_RELAY_MAILBOX_LIFETIME", default_value_t = Config::default().mailbox_lifetime.as_secs(),
          value_parser = count::<u64>())]
    mailbox_lifetime: u64,

    /// How long it lives at least after its last data frame.
    #[arg(long, value_name = "SECONDS", env = "HANDFAST_RELAY_MAILBOX_LINGER", default_value_t = Config::default().mailbox_linger.as_secs())]
    mailbox_linger: u64,

    /// How long it lives at most.
    #[arg(long, value_name = "SECONDS", env = "HANDFAST_RELAY_MAILBOX_MAX", default_value_t = Config::default().mailbox_max_lifetime.as_secs(),
          value_parser = count::<u64>())]
    mailbox_max: u64,

    /// When a second slot whose device sends nothing is freed.
    #[arg(long, value_name = "SECONDS", env = "HANDFAST_RELAY_CLAIM_TIMEOUT", default_value_t = Config::default().claim_timeout.as_secs(),
          value_parser = count::<u64>())]
    claim_timeout: u64,

    /// How long a new connection may take to send its first frame.
    #[arg(long, value_name = "SECONDS", env = "HANDFAST_RELAY_FIRST_FRAME_TIMEOUT", default_value_t = Config::default().first_frame_timeout.as_secs(),
          value_parser = count::<u64>())]
    first_frame_timeout: u64,

    /// How often connections are pinged.
    #[arg(long, value_name = "SECONDS", env = "HANDFAST_RELAY_PING_INTERVAL", default_value_t = Config::default().ping_interval.as_secs(),
          value_parser = count::<u64>())]
    ping_interval: u64,

    /// When a silent connection is dropped.
    #[arg(long, value_name = "SECONDS", env = "HANDFAST_RELAY_IDLE_TIMEOUT", default_value_t = Config::default().idle_timeout.as_secs(),
          value_parser = count::<u64>())]
    idle_timeout: u64,

    /// When a connection that takes no more bytes is dropped.
    #[arg(long, value_name = "SECONDS", env = "HANDFAST_RELAY_WRITE_TIMEOUT", default_value_t = Config::default().write_timeout.as_secs(),
          value_parser = count::<u64>())]
    write_timeout: u64,

    /// How long live mailboxes may still finish after the first signal.
    #[arg(long, value_name = "SECONDS", env = "HANDFAST_RELAY_DRAIN_SECONDS", default_value_t = Config::default().drain_time.as_secs())]
    drain_seconds: u64,

    /// Share mailboxes with other relays through this Valkey or Redis: redis://HOST:PORT or rediss://HOST:PORT.
    #[arg(long, value_name = "URL", env = "HANDFAST_RELAY_STORE")]
    store: Option<StoreUrl>,

    /// With a shared store, when another relay that is not heard of counts as dead.
    #[arg(long, value_name = "SECONDS", env = "HANDFAST_RELAY_NODE_TIMEOUT", default_value_t = Config::default().node_timeout.as_secs(),
          value_parser = count::<u64>())]
    node_timeout: u64,

    /// Never say whether two devices come from the same network. Needed behind a proxy, whose address all share.
    #[arg(long, env = "HANDFAST_RELAY_NO_NETWORK_HINT")]
    no_network_hint: bool,
}

fn main() -> ExitCode {
    let Command::Serve(options) = Cli::parse().command;
    let outcome = log_to_stderr(&options.log).and_then(|()| tokio::runtime::Runtime::new()?.block_on(serve(&options)));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // There is nowhere left to report a broken stderr to.
            let _ = writeln!(io::stderr(), "handfast-relay: {error}");
            ExitCode::from(if error.kind() == io::ErrorKind::InvalidInput { 2 } else { 1 })
        }
    }
}

/// Only `tracing` events, never records of the `log` crate: through it the websocket library writes out whole frames.
fn log_to_stderr(filter: &str) -> io::Result<()> {
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).finish();
    tracing::subscriber::set_global_default(subscriber).map_err(io::Error::other)
}

async fn serve(options: &Serve) -> io::Result<()> {
    let relay = Relay::bind(options.listen, options.config()).await.map_err(|error| match error.kind() {
        io::ErrorKind::InvalidInput => error,
        kind => io::Error::new(kind, format!("cannot listen on {}: {error}", options.listen)),
    })?;
    let mut signals = Signals::new()?;
    writeln!(io::stdout(), "handfast-relay listening on ws://{}", relay.local_addr())?;
    relay
        .run(async move {
            signals.next().await;
            tokio::spawn(async move {
                signals.next().await;
                std::process::exit(1);
            });
        })
        .await;
    Ok(())
}

/// SIGTERM and Ctrl-C.
struct Signals {
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn new() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

#[cfg(not(unix))]
impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {})
    }

    async fn next(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending().await
        }
    }
}

impl Serve {
    fn config(&self) -> Config {
        let seconds = Duration::from_secs;
        Config {
            max_connections: self.max_connections,
            max_mailboxes: self.max_mailboxes,
            max_queued_bytes: self.max_queued_bytes,
            max_mailbox_frames: self.max_frames,
            window_frames: self.window,
            mailbox_lifetime: seconds(self.mailbox_lifetime),
            mailbox_linger: seconds(self.mailbox_linger),
            mailbox_max_lifetime: seconds(self.mailbox_max),
            claim_timeout: seconds(self.claim_timeout),
            first_frame_timeout: seconds(self.first_frame_timeout),
            ping_interval: seconds(self.ping_interval),
            idle_timeout: seconds(self.idle_timeout),
            write_timeout: seconds(self.write_timeout),
            drain_time: seconds(self.drain_seconds),
            store: self.store.clone(),
            node_timeout: seconds(self.node_timeout),
            network_hint: !self.no_network_hint,
            ..Config::default()
        }
    }
}

fn default_listen() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], limits::DEFAULT_PORT))
}

fn count<T: TryFrom<u64> + Clone + Send + Sync>() -> RangedU64ValueParser<T>
where
    <T as TryFrom<u64>>::Error: Send + Sync + 'static + std::error::Error,
{
    RangedU64ValueParser::new().range(1..)
}

fn filter(text: &str) -> Result<String, String> {
    EnvFilter::try_new(text).map(|_| text.to_owned()).map_err(|error| error.to_string())
}
