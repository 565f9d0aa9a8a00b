//! `handfast-relay serve`.

use super::Stop;
use crate::settings::{Effective, LogFilter, LogFormat, Settings};
use clap::Args;
use handfast_relay::{Certificates, Relay};
use std::io::{self, Write};
use std::path::PathBuf;
use tracing::{Subscriber, info};

/// Descriptors beside those of the devices' connections: listeners, the store, the admin listener's connections, refusals.
#[cfg(unix)]
const OTHER_DESCRIPTORS: u64 = 128;

#[derive(Args)]
pub(crate) struct Serve {
    /// TOML file with settings: the options below without their dashes, such as `max-mailboxes = 500`.
    #[arg(long, value_name = "FILE", env = "HANDFAST_RELAY_CONFIG")]
    config: Option<PathBuf>,

    /// Print the effective settings as such a file, and exit.
    #[arg(long)]
    print_config: bool,

    #[command(flatten)]
    settings: Settings,
}

pub(crate) fn run(options: Serve) -> Result<(), Stop> {
    let mut settings = match &options.config {
        Some(path) => options.settings.over_file(path).map_err(Stop::Usage)?,
        None => options.settings,
    };
    let effective = settings.resolve().map_err(Stop::Usage)?;
    if options.print_config {
        let text = settings.to_toml().map_err(Stop::Usage)?;
        effective.config.check()?;
        return Ok(io::stdout().write_all(text.as_bytes())?);
    }
    log_to_stderr(&effective.log, effective.log_format)?;
    warn_of_few_descriptors(effective.config.max_connections);
    tokio::runtime::Runtime::new()?.block_on(serve(effective))
}

async fn serve(effective: Effective) -> Result<(), Stop> {
    let relay = Relay::bind(effective.listen, effective.config).await?;
    let mut signals = Signals::new()?;
    reload_on_hangup(relay.certificates())?;
    let scheme = if relay.certificates().is_some() { "wss" } else { "ws" };
    say(&format!("handfast-relay listening on {scheme}://{}", relay.local_addr()))?;
    if let Some(admin) = relay.admin_addr() {
        say(&format!("handfast-relay admin on http://{admin}"))?;
    }
    info!(version = env!("CARGO_PKG_VERSION"), tls = relay.certificates().is_some(), "started");
    relay
        .run(async move {
            signals.next().await;
            tokio::spawn(async move {
                signals.next().await;
                std::process::exit(1);
            });
        })
        .await;
    info!("stopped");
    Ok(())
}

/// Prints a line for whoever started the relay, who need not read on: the relay is there for others.
fn say(line: &str) -> io::Result<()> {
    match writeln!(io::stdout(), "{line}") {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        said => said,
    }
}

/// At its limit of open files, the relay cannot even tell a device that there are too many.
#[cfg(unix)]
fn warn_of_few_descriptors(max_connections: usize) {
    let needed = u64::try_from(max_connections).unwrap_or(u64::MAX).saturating_add(OTHER_DESCRIPTORS);
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    if let Some(limit) = limit.filter(|limit| *limit < needed) {
        tracing::warn!(
            limit,
            needed,
            "the limit of open files is too low for max-connections: raise it (ulimit -n, LimitNOFILE= in a unit, \
             --ulimit nofile= of a container) or lower max-connections"
        );
    }
}

#[cfg(not(unix))]
fn warn_of_few_descriptors(_: usize) {}

/// Only `tracing` events, never records of the `log` crate: through it the websocket library writes out whole frames.
fn log_to_stderr(filter: &LogFilter, format: LogFormat) -> io::Result<()> {
    let log = tracing_subscriber::fmt().with_env_filter(filter.to_string()).with_writer(io::stderr);
    let subscriber: Box<dyn Subscriber + Send + Sync> = match format {
        LogFormat::Text => Box::new(log.finish()),
        LogFormat::Json => Box::new(log.json().flatten_event(true).finish()),
    };
    tracing::subscriber::set_global_default(subscriber).map_err(io::Error::other)
}

/// Reads the certificate again on SIGHUP. Without one, the signal changes nothing and ends nothing.
#[cfg(unix)]
fn reload_on_hangup(certificates: Option<Certificates>) -> io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut hangup = signal(SignalKind::hangup())?;
    tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            if let Some(certificates) = &certificates {
                certificates.reload();
            }
        }
    });
    Ok(())
}

#[cfg(not(unix))]
fn reload_on_hangup(_: Option<Certificates>) -> io::Result<()> {
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
