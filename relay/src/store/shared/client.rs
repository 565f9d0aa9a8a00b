//! The one connection of a node to its store: names of keys, scripts, the store's clock.

use crate::StoreUrl;
use crate::limits::SourceTag;
use crate::metrics::Metrics;
use crate::time::Time;
use handfast_wire::{MailboxId, Nameplate};
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{
    Cmd, FromRedisValue, IntoConnectionInfo, ProtocolVersion, PushInfo, PushKind, RedisResult, Script, ScriptInvocation,
};
use std::fmt::Write;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;
use tracing::{info, warn};

/// How long the store may take to answer one request.
const ANSWER_TIME: Duration = Duration::from_secs(2);

/// The store's time is believed if it took no longer than this to learn it.
const CLOCK_TIME: Duration = Duration::from_millis(250);

/// How many requests may be under way at once; more wait.
const REQUESTS: usize = 1024;

pub(super) struct Client {
    metrics: Arc<Metrics>,
    /// How connections are made.
    client: redis::Client,
    config: ConnectionManagerConfig,
    /// Whose messages are pushed.
    channel: String,
    manager: RwLock<ConnectionManager>,
    start: Instant,
    /// The store's clock minus this process's, in milliseconds.
    clock: AtomicI64,
    healthy: AtomicBool,
    steadiness: Arc<Steadiness>,
}

/// Whether the store can be relied on to have heard everybody.
struct Steadiness {
    /// Since when it has answered every request, in time and on one connection.
    since: Mutex<Instant>,
    /// An answer that takes longer is late.
    in_time: Duration,
    /// Rings when it has not.
    doubt: Notify,
}

impl Client {
    /// `channel`: messages to it are pushed, also after a reconnect. `pushed` is called with each message that the store
    /// sends by itself, and must not block. An answer that takes longer than `in_time` is late.
    pub(super) async fn connect(
        url: &StoreUrl,
        channel: String,
        in_time: Duration,
        metrics: Arc<Metrics>,
        pushed: impl Fn(PushInfo) + Send + Sync + 'static,
    ) -> RedisResult<Self> {
        let info = url.reveal().into_connection_info()?;
        let settings = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
        let tcp = info.tcp_settings().clone().set_nodelay(true);
        let client = redis::Client::open(info.set_redis_settings(settings).set_tcp_settings(tcp))?;
        let steadiness = Steadiness { since: Mutex::new(Instant::now()), in_time, doubt: Notify::new() };
        let steadiness = Arc::new(steadiness);
        let shaken = Arc::clone(&steadiness);
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(ANSWER_TIME))
            .set_response_timeout(Some(ANSWER_TIME))
            .set_number_of_retries(2)
            .set_min_delay(Duration::from_millis(50))
            .set_max_delay(Duration::from_millis(500))
            .set_pipeline_buffer_size(REQUESTS)
            .set_push_sender(move |push: PushInfo| {
                if matches!(push.kind, PushKind::Disconnection | PushKind::Subscribe) {
                    shaken.shake();
                }
                pushed(push);
                Ok::<(), redis::aio::SendError>(())
            })
            .set_automatic_resubscription();
        let manager = connection(&client, &config, &channel).await?;
        let client = Self {
            metrics,
            client,
            config,
            channel,
            manager: RwLock::new(manager),
            start: Instant::now(),
            clock: AtomicI64::new(0),
            healthy: AtomicBool::new(true),
            steadiness,
        };
        let (clock, _) = client.ask_clock().await?;
        client.clock.store(clock, Ordering::Relaxed);
        Ok(client)
    }

    /// Makes a new connection and gives the old one up: it may be dead without anybody having said so.
    pub(super) async fn renew(&self) -> RedisResult<()> {
        let manager = connection(&self.client, &self.config, &self.channel).await?;
        *self.manager.write().unwrap_or_else(PoisonError::into_inner) = manager;
        Ok(())
    }

    pub(super) async fn query<T: FromRedisValue>(&self, command: &Cmd) -> RedisResult<T> {
        let asked = Instant::now();
        let answer = command.query_async(&mut self.manager()).await;
        self.noted(asked, answer)
    }

    pub(super) async fn run<T: FromRedisValue>(&self, script: &ScriptInvocation<'_>) -> RedisResult<T> {
        let asked = Instant::now();
        let answer = script.invoke_async(&mut self.manager()).await;
        self.noted(asked, answer)
    }

    /// The store's time, by this process's clock and the difference of the two.
    pub(super) fn now(&self) -> Time {
        Time(u64::try_from(self.local_ms() + self.clock.load(Ordering::Relaxed)).unwrap_or(0))
    }

    /// Asks the store for its time. An answer that took long says little about it.
    pub(super) async fn read_clock(&self) -> RedisResult<()> {
        let (clock, took) = self.ask_clock().await?;
        if took < CLOCK_TIME {
            self.clock.store(clock, Ordering::Relaxed);
        }
        Ok(())
    }

    /// For how long the store has answered every request in time, on one connection.
    pub(super) fn steady_for(&self) -> Duration {
        self.steadiness.since.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }

    /// Returns when a request was not answered in time, or the connection was lost.
    pub(super) async fn doubted(&self) {
        self.steadiness.doubt.notified().await;
    }

    /// Whether the store answers, as the last heartbeat found.
    pub(super) fn is_healthy(&self) -> bool {
        self.healthy.load(Ordering::Relaxed)
    }

    /// A heartbeat has found this.
    pub(super) fn found<T>(&self, answer: &RedisResult<T>) {
        let healthy = answer.is_ok();
        if self.healthy.swap(healthy, Ordering::Relaxed) != healthy {
            match answer {
                Ok(_) => info!("the store answers again"),
                // Its kind only: a message could repeat a key.
                Err(error) => warn!(kind = %error.category(), "the store does not answer"),
            }
        }
    }

    async fn ask_clock(&self) -> RedisResult<(i64, Duration)> {
        let asked = self.local_ms();
        let (seconds, micros): (i64, i64) = self.query(&redis::cmd("TIME")).await?;
        let took = self.local_ms() - asked;
        let clock = seconds * 1000 + micros / 1000 - asked - took / 2;
        Ok((clock, Duration::from_millis(took.unsigned_abs())))
    }

    fn manager(&self) -> ConnectionManager {
        self.manager.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn local_ms(&self) -> i64 {
        i64::try_from(self.start.elapsed().as_millis()).unwrap_or(i64::MAX)
    }

    fn noted<T>(&self, asked: Instant, answer: RedisResult<T>) -> RedisResult<T> {
        if answer.is_err() {
            self.metrics.store_failed();
        }
        if answer.is_err() || asked.elapsed() > self.steadiness.in_time {
            self.steadiness.shake();
        }
        answer
    }
}

impl Steadiness {
    fn shake(&self) {
        *self.since.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        self.doubt.notify_one();
    }
}

async fn connection(
    client: &redis::Client,
    config: &ConnectionManagerConfig,
    channel: &str,
) -> RedisResult<ConnectionManager> {
    let mut manager = ConnectionManager::new_with_config(client.clone(), config.clone()).await?;
    manager.subscribe(channel).await?;
    Ok(manager)
}

/// What the store runs for us. Each touches the keys of one hash tag only, so that a cluster can spread them.
pub(super) struct Scripts {
    pub(super) commit: Script,
    pub(super) budget: Script,
    pub(super) place: Script,
    pub(super) source: Script,
    pub(super) release: Script,
}

impl Scripts {
    pub(super) fn new() -> Self {
        Self {
            commit: Script::new(include_str!("commit.lua")),
            budget: Script::new(include_str!("budget.lua")),
            place: Script::new(include_str!("place.lua")),
            source: Script::new(include_str!("source.lua")),
            release: Script::new(include_str!("release.lua")),
        }
    }
}

/// Bytes in use, all mailboxes together.
pub(super) const BUDGET: &str = "handfast:{budget}";

/// The answer to one request for bytes.
pub(super) fn budget_request_key(name: &str) -> String {
    format!("{BUDGET}:{name}")
}

/// Every mailbox, by when it is over at the latest.
pub(super) const MAILBOXES: &str = "handfast:mailboxes";

/// A mailbox. All that belongs to it is under this one key.
pub(super) fn mailbox_key(id: MailboxId) -> String {
    format!("handfast:mailbox:{{{}}}", hex(&id.0))
}

/// Holds the id of the mailbox that has this nameplate.
pub(super) fn nameplate_key(nameplate: Nameplate) -> String {
    format!("handfast:nameplate:{{{:05x}}}", nameplate.number())
}

/// What is counted of a source. All sources are in one place of a cluster, because one script moves one from its old
/// name to its new one and counts the misses of all.
pub(super) fn source_key(tag: SourceTag) -> String {
    format!("handfast:{{sources}}:{}", hex(&tag.0))
}

/// The mailboxes that a source made.
pub(super) fn source_mailboxes_key(tag: SourceTag) -> String {
    format!("handfast:{{sources}}:{}:mailboxes", hex(&tag.0))
}

/// The key under which sources are named in a period.
pub(super) fn sources_key(period: u64) -> String {
    format!("handfast:{{sources}}:key:{period}")
}

/// Exists while a node lives.
pub(super) fn node_key(node: u64) -> String {
    format!("handfast:node:{node:016x}")
}

/// Where a node hears of news for its seats.
pub(super) fn node_channel(node: u64) -> String {
    format!("handfast:wake:{node:016x}")
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
