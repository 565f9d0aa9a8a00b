//! The settings of `serve`: one list, read from flags, the environment and a TOML file.
//!
//! A new setting is a field of [`Settings`] and a line in [`Settings::apply`].

use clap::builder::BoolishValueParser;
use clap::{Args, Command, ValueEnum};
use handfast_relay::{Config, Rate, StoreUrl, TlsFiles};
use handfast_wire::limits;
use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroU64, NonZeroUsize};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;
use std::{fmt, fs};
use toml::{Table, Value};
use tracing_subscriber::EnvFilter;

/// Everything that can be set. `None`: not set here. The name of a field, with dashes, is the name of its flag and of its key in
/// the file; in the environment it is in capitals behind `HANDFAST_RELAY_`.
#[derive(Args, Clone, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Settings {
    /// Address and port to listen on; port 0 takes any free one.
    #[arg(long, value_name = "ADDR", env = "HANDFAST_RELAY_LISTEN")]
    pub(crate) listen: Option<SocketAddr>,

    /// Certificate chain (PEM), the relay's own first: with it the relay speaks wss:// and no ws://. Read again when it
    /// changes, and on SIGHUP.
    #[arg(long, value_name = "FILE", env = "HANDFAST_RELAY_TLS_CERTIFICATE")]
    tls_certificate: Option<PathBuf>,

    /// Private key of the certificate (PEM).
    #[arg(long, value_name = "FILE", env = "HANDFAST_RELAY_TLS_KEY")]
    tls_key: Option<PathBuf>,

    /// Where to serve /healthz, /readyz and /metrics over plain HTTP. Not for the public: who reads it learns how busy
    /// the relay is.
    #[arg(long, value_name = "ADDR", env = "HANDFAST_RELAY_ADMIN_LISTEN")]
    pub(crate) admin_listen: Option<SocketAddr>,

    /// What to log: a level (error, warn, info, debug, trace) or `target=level` pairs. No level shows content, codes,
    /// tokens, mailbox names or addresses.
    #[arg(long, value_name = "FILTER", env = "HANDFAST_RELAY_LOG")]
    log: Option<Text<LogFilter>>,

    /// How a log line looks: for people, or as one JSON object.
    #[arg(long, value_name = "FORMAT", env = "HANDFAST_RELAY_LOG_FORMAT")]
    log_format: Option<LogFormat>,

    /// Open connections.
    #[arg(long, value_name = "N", env = "HANDFAST_RELAY_MAX_CONNECTIONS")]
    max_connections: Option<NonZeroUsize>,

    /// Live mailboxes.
    #[arg(long, value_name = "N", env = "HANDFAST_RELAY_MAX_MAILBOXES")]
    max_mailboxes: Option<NonZeroUsize>,

    /// Bytes stored for delivery, all mailboxes together.
    #[arg(long, value_name = "BYTES", env = "HANDFAST_RELAY_MAX_QUEUED_BYTES")]
    max_queued_bytes: Option<NonZeroUsize>,

    /// Data frames one mailbox accepts in its life.
    #[arg(long, value_name = "N", env = "HANDFAST_RELAY_MAX_FRAMES")]
    max_frames: Option<NonZeroU32>,

    /// Bytes of the data frames that one mailbox accepts in its life.
    #[arg(long, value_name = "BYTES", env = "HANDFAST_RELAY_MAX_MAILBOX_BYTES")]
    max_mailbox_bytes: Option<NonZeroU32>,

    /// Connections of one source (an IPv4 address or an IPv6 /64): so many at once, and so many a minute; or `off`.
    #[arg(long, value_name = "RATE", env = "HANDFAST_RELAY_SOURCE_CONNECTIONS")]
    source_connections: Option<Text<Rate>>,

    /// Open connections of one source.
    #[arg(long, value_name = "N", env = "HANDFAST_RELAY_MAX_SOURCE_CONNECTIONS")]
    max_source_connections: Option<NonZeroUsize>,

    /// Mailboxes that one source makes.
    #[arg(long, value_name = "RATE", env = "HANDFAST_RELAY_SOURCE_ALLOCATIONS")]
    source_allocations: Option<Text<Rate>>,

    /// Live mailboxes that one source made.
    #[arg(long, value_name = "N", env = "HANDFAST_RELAY_MAX_SOURCE_MAILBOXES")]
    max_source_mailboxes: Option<NonZeroUsize>,

    /// Mailboxes that one source joins or tries to.
    #[arg(long, value_name = "RATE", env = "HANDFAST_RELAY_SOURCE_CLAIMS")]
    source_claims: Option<Text<Rate>>,

    /// Claims of one source that meet no mailbox. Without any left its claims are refused before anybody looks.
    #[arg(long, value_name = "RATE", env = "HANDFAST_RELAY_SOURCE_MISSES")]
    source_misses: Option<Text<Rate>>,

    /// The same of all sources together. Without any left, claims of sources that have not paired lately wait.
    #[arg(long, value_name = "RATE", env = "HANDFAST_RELAY_ALL_MISSES")]
    all_misses: Option<Text<Rate>>,

    /// How long such a claim waits. Those of one source wait one after the other.
    #[arg(long, value_name = "SECONDS", env = "HANDFAST_RELAY_SLOW_CLAIMS")]
    slow_claims: Option<u64>,

    /// Network of a proxy whose `X-Forwarded-For` says where a connection comes from. May be repeated; in the
    /// environment, separated by commas.
    #[arg(long, value_name = "CIDR", env = "HANDFAST_RELAY_TRUSTED_PROXY", value_delimiter = ',')]
    trusted_proxy: Option<Vec<IpNet>>,

    /// Unacknowledged data frames a direction. For measurements: devices rely on the window of the specification.
    #[arg(long, value_name = "N", env = "HANDFAST_RELAY_WINDOW", hide = true)]
    window: Option<NonZeroU32>,

    /// How long a mailbox lives.
    #[arg(long, value_name = "SECONDS", env = "HANDFAST_RELAY_MAILBOX_LIFETIME")]
    mailbox_lifetime: Option<NonZeroU64>,

    /// How long it lives at least after its last data frame.
    #[arg(long, value_name = "SECONDS", env = "HANDFAST_RELAY_MAILBOX_LINGER")]
    mailbox_linger: Option<u64>,

    /// How long it lives at most.
    #[arg(long, value_name = "SECONDS", env = "HANDFAST_RELAY_MAILBOX_MAX")]
    mailbox_max: Option<NonZeroU64>,

    /// When a second slot whose device sends nothing is freed.
    #[arg(long, value_name = "SECONDS", env = "HANDFAST_RELAY_CLAIM_TIMEOUT")]
    claim_timeout: Option<NonZeroU64>,

    /// How long a new connection may take to send its first frame.
    #[arg(long, value_name = "SECONDS", env = "HANDFAST_RELAY_FIRST_FRAME_TIMEOUT")]
    first_frame_timeout: Option<NonZeroU64>,

    /// How often connections are pinged.
    #[arg(long, value_name = "SECONDS", env = "HANDFAST_RELAY_PING_INTERVAL")]
    ping_interval: Option<NonZeroU64>,

    /// When a silent connection is dropped.
    #[arg(long, value_name = "SECONDS", env = "HANDFAST_RELAY_IDLE_TIMEOUT")]
    idle_timeout: Option<NonZeroU64>,

    /// When a connection that takes no more bytes is dropped.
    #[arg(long, value_name = "SECONDS", env = "HANDFAST_RELAY_WRITE_TIMEOUT")]
    write_timeout: Option<NonZeroU64>,

    /// How long live mailboxes may still finish after the first signal.
    #[arg(long, value_name = "SECONDS", env = "HANDFAST_RELAY_DRAIN_SECONDS")]
    drain_seconds: Option<u64>,

    /// Share mailboxes with other relays through this Valkey or Redis: redis://HOST:PORT or rediss://HOST:PORT.
    // Text to the parser, which repeats in its errors what it does not understand: there may be a password in it.
    #[arg(long, value_name = "URL", env = "HANDFAST_RELAY_STORE", hide_env_values = true)]
    store: Option<String>,

    /// With a shared store, when another relay that is not heard of counts as dead.
    #[arg(long, value_name = "SECONDS", env = "HANDFAST_RELAY_NODE_TIMEOUT")]
    node_timeout: Option<NonZeroU64>,

    /// Never say whether two devices come from the same network. Needed behind a proxy
    /// that is not trusted, whose address all share.
    #[arg(long, value_name = "BOOL", env = "HANDFAST_RELAY_NO_NETWORK_HINT", value_parser = BoolishValueParser::new(),
          num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    no_network_hint: Option<bool>,
}

/// What the settings come to.
pub(crate) struct Effective {
    pub(crate) config: Config,
    pub(crate) listen: SocketAddr,
    pub(crate) log: LogFilter,
    pub(crate) log_format: LogFormat,
}

/// A value that is text in a file, as it is on the command line.
#[derive(Clone)]
pub(crate) struct Text<T>(T);

/// A filter of log lines that has been understood.
#[derive(Clone)]
pub(crate) struct LogFilter(String);

#[derive(Clone, Copy, Default, Deserialize, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    #[default]
    Text,
    Json,
}

impl Settings {
    /// These settings, and where one is not set, the file's.
    pub(crate) fn over_file(self, path: &Path) -> Result<Self, String> {
        let mut table = read(path)?;
        table.extend(Table::try_from(self).map_err(|error| error.to_string())?);
        table.try_into().map_err(|error| without_value(&error))
    }

    /// What these settings come to. Those that were not set are set to their defaults.
    pub(crate) fn resolve(&mut self) -> Result<Effective, String> {
        let mut effective = Effective::default();
        self.apply(&mut effective);
        effective.config.store = self.store_url().map_err(|why| format!("store: {why}"))?;
        effective.config.tls = match (&self.tls_certificate, &self.tls_key) {
            (Some(certificate), Some(key)) => Some(TlsFiles { certificate: certificate.clone(), key: key.clone() }),
            (None, None) => None,
            _ => return Err("tls-certificate and tls-key go together".to_owned()),
        };
        Ok(effective)
    }

    /// These settings as a file that [`Settings::over_file`] reads. The password of a store is left out of it.
    pub(crate) fn to_toml(&self) -> Result<String, String> {
        let mut table = Table::try_from(self).map_err(|error| error.to_string())?;
        if let Some(url) = self.store_url()? {
            table.insert("store".to_owned(), Value::String(url.to_string()));
        }
        Ok(table.to_string())
    }

    /// Where the store is. The error does not repeat what was set.
    fn store_url(&self) -> Result<Option<StoreUrl>, &'static str> {
        self.store.as_deref().map(str::parse).transpose()
    }

    /// Puts each setting into its place, and the default from there into each that is not set.
    fn apply(&mut self, effective: &mut Effective) {
        let Effective { config, listen, log, log_format } = effective;
        same(&mut self.listen, listen);
        link(&mut self.log, log);
        same(&mut self.log_format, log_format);
        optional(&mut self.admin_listen, &mut config.admin_listen);
        link(&mut self.max_connections, &mut config.max_connections);
        link(&mut self.max_mailboxes, &mut config.max_mailboxes);
        link(&mut self.max_queued_bytes, &mut config.max_queued_bytes);
        link(&mut self.max_frames, &mut config.max_mailbox_frames);
        link(&mut self.max_mailbox_bytes, &mut config.max_mailbox_bytes);
        link(&mut self.source_connections, &mut config.source_connections);
        link(&mut self.max_source_connections, &mut config.max_source_connections);
        link(&mut self.source_allocations, &mut config.source_allocations);
        link(&mut self.max_source_mailboxes, &mut config.max_source_mailboxes);
        link(&mut self.source_claims, &mut config.source_claims);
        link(&mut self.source_misses, &mut config.source_misses);
        link(&mut self.all_misses, &mut config.all_misses);
        link(&mut self.slow_claims, &mut config.slow_claims);
        same(&mut self.trusted_proxy, &mut config.trusted_proxies);
        link(&mut self.mailbox_lifetime, &mut config.mailbox_lifetime);
        link(&mut self.mailbox_linger, &mut config.mailbox_linger);
        link(&mut self.mailbox_max, &mut config.mailbox_max_lifetime);
        link(&mut self.claim_timeout, &mut config.claim_timeout);
        link(&mut self.first_frame_timeout, &mut config.first_frame_timeout);
        link(&mut self.ping_interval, &mut config.ping_interval);
        link(&mut self.idle_timeout, &mut config.idle_timeout);
        link(&mut self.write_timeout, &mut config.write_timeout);
        link(&mut self.drain_seconds, &mut config.drain_time);
        link(&mut self.node_timeout, &mut config.node_timeout);
        let mut no_hint = !config.network_hint;
        same(&mut self.no_network_hint, &mut no_hint);
        config.network_hint = !no_hint;
        if let Some(window) = self.window {
            config.window_frames = window.get();
        }
    }
}

/// The command with the default of every setting in the help of subcommand `name`. The parser itself knows no defaults:
/// they come after the file.
pub(crate) fn with_defaults_in_help(command: Command, name: &str) -> Command {
    let mut defaults = Settings::default();
    defaults.apply(&mut Effective::default());
    let defaults = Table::try_from(defaults).unwrap_or_default();
    command.mut_subcommand(name, |command| {
        command.mut_args(|arg| {
            let Some(default) = arg.get_long().and_then(|key| defaults.get(key)) else { return arg };
            if default.as_array().is_some_and(Vec::is_empty) {
                return arg;
            }
            let default = default.as_str().map_or_else(|| default.to_string(), str::to_owned);
            let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
            arg.help(format!("{help} [default: {default}]"))
        })
    })
}

/// Every key of the file, checked one by one: an error names the file, the key and the reason, and never a value: it could
/// be the password of a store under the wrong key.
fn read(path: &Path) -> Result<Table, String> {
    let name = path.display();
    let text = fs::read_to_string(path).map_err(|error| format!("{name}: {error}"))?;
    let table: Table = text.parse().map_err(|error: toml::de::Error| {
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        format!("{name}: line {}: {}", before.matches('\n').count() + 1, error.message())
    })?;
    for (key, value) in &table {
        let alone = Table::from_iter([(key.clone(), value.clone())]);
        let understood = Value::Table(alone).try_into::<Settings>().map_err(|error| without_value(&error));
        understood.and_then(|settings| Ok(settings.store_url()?)).map_err(|why| format!("{name}: {key}: {why}"))?;
    }
    Ok(table)
}

/// What a value should have been instead, without the value.
fn without_value(error: &toml::de::Error) -> String {
    // `invalid type: string "...", expected a nonzero u32`, or the words of a parser of ours, which do not repeat it.
    match error.message().rsplit_once(", expected ") {
        // The key is named already, and the list of all keys there are helps nobody.
        Some((found, _)) if found.starts_with("unknown field") => "unknown setting".to_owned(),
        Some((_, expected)) => format!("expected {expected}"),
        None => error.message().to_owned(),
    }
}

/// A value as it is set and the same as the configuration holds it.
trait Setting<T> {
    fn to_value(&self) -> T;
    fn of(value: &T) -> Option<Self>
    where
        Self: Sized;
}

fn link<S: Setting<T>, T>(setting: &mut Option<S>, value: &mut T) {
    match setting {
        Some(set) => *value = set.to_value(),
        None => *setting = S::of(value),
    }
}

fn same<T: Clone>(setting: &mut Option<T>, value: &mut T) {
    match setting {
        Some(set) => *value = set.clone(),
        None => *setting = Some(value.clone()),
    }
}

fn optional<T: Clone>(setting: &mut Option<T>, value: &mut Option<T>) {
    match setting {
        Some(set) => *value = Some(set.clone()),
        None => setting.clone_from(value),
    }
}

impl Setting<usize> for NonZeroUsize {
    fn to_value(&self) -> usize {
        self.get()
    }

    fn of(value: &usize) -> Option<Self> {
        Self::new(*value)
    }
}

impl Setting<u32> for NonZeroU32 {
    fn to_value(&self) -> u32 {
        self.get()
    }

    fn of(value: &u32) -> Option<Self> {
        Self::new(*value)
    }
}

impl Setting<Duration> for u64 {
    fn to_value(&self) -> Duration {
        Duration::from_secs(*self)
    }

    fn of(value: &Duration) -> Option<Self> {
        Some(value.as_secs())
    }
}

impl Setting<Duration> for NonZeroU64 {
    fn to_value(&self) -> Duration {
        Duration::from_secs(self.get())
    }

    fn of(value: &Duration) -> Option<Self> {
        Self::new(value.as_secs())
    }
}

impl<T: Clone> Setting<T> for Text<T> {
    fn to_value(&self) -> T {
        self.0.clone()
    }

    fn of(value: &T) -> Option<Self> {
        Some(Self(value.clone()))
    }
}

impl<T: FromStr> FromStr for Text<T> {
    type Err = T::Err;

    fn from_str(text: &str) -> Result<Self, T::Err> {
        text.parse().map(Self)
    }
}

impl<T: fmt::Display> Serialize for Text<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de, T: FromStr<Err: fmt::Display>> Deserialize<'de> for Text<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl Default for Effective {
    fn default() -> Self {
        Self {
            config: Config::default(),
            listen: SocketAddr::from(([127, 0, 0, 1], limits::DEFAULT_PORT)),
            log: LogFilter("info".to_owned()),
            log_format: LogFormat::default(),
        }
    }
}

impl FromStr for LogFilter {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let understood = EnvFilter::try_new(text).map_err(|_| "neither a level nor `target=level` pairs")?;
        drop(understood);
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for LogFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
