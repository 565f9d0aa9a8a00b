//! The one connection of a node to its store: names of keys, scripts, the store's clock.

use crate::StoreUrl;
use crate::limits::SourceTag;
use crate::metrics::Metrics;
use crate::time::Time;
use handfast_wire::{MailboxId, Nameplate};
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{
    Cmd, FromRedisValue, IntoConnectionInfo, ProtocolVersion, PushInfo, RedisResult, Script, ScriptInvocation,
};
use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;
use tokio::time::Instant;
use tracing::{info, warn};

/// How long the store may take to answer one request.
const ANSWER_TIME: Duration = Duration::from_secs(2);

/// How many requests may be under way at once; more wait.
const REQUESTS: usize = 1024;

pub(super) struct Client {
    metrics: Arc<Metrics>,
    manager: ConnectionManager,
    start: Instant,
    /// The store's clock minus this process's, in milliseconds.
    clock: AtomicI64,
    healthy: AtomicBool,
}

impl Client {
    /// `pushed` is called with each message that the store sends by itself. It must not block.
    pub(super) async fn connect(
        url: &StoreUrl,
        metrics: Arc<Metrics>,
        pushed: impl Fn(PushInfo) + Send + Sync + 'static,
    ) -> RedisResult<Self> {
        let info = url.reveal().into_connection_info()?;
        let settings = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
        let client = redis::Client::open(info.set_redis_settings(settings))?;
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(ANSWER_TIME))
            .set_response_timeout(Some(ANSWER_TIME))
            .set_number_of_retries(2)
            .set_min_delay(Duration::from_millis(50))
            .set_max_delay(Duration::from_millis(500))
            .set_pipeline_buffer_size(REQUESTS)
            .set_push_sender(move |push| {
                pushed(push);
                Ok::<(), redis::aio::SendError>(())
            })
            .set_automatic_resubscription();
        let manager = ConnectionManager::new_with_config(client, config).await?;
        let client =
            Self { metrics, manager, start: Instant::now(), clock: AtomicI64::new(0), healthy: AtomicBool::new(true) };
        client.read_clock().await?;
        Ok(client)
    }

    /// Messages to this channel are pushed from now on, also after a reconnect.
    pub(super) async fn subscribe(&self, channel: &str) -> RedisResult<()> {
        self.manager.clone().subscribe(channel).await
    }

    pub(super) async fn query<T: FromRedisValue>(&self, command: &Cmd) -> RedisResult<T> {
        let answer = command.query_async(&mut self.manager.clone()).await;
        self.noted(answer)
    }

    pub(super) async fn run<T: FromRedisValue>(&self, script: &ScriptInvocation<'_>) -> RedisResult<T> {
        let answer = script.invoke_async(&mut self.manager.clone()).await;
        self.noted(answer)
    }

    /// The store's time, by this process's clock and the difference of the two.
    pub(super) fn now(&self) -> Time {
        Time(u64::try_from(self.local_ms() + self.clock.load(Ordering::Relaxed)).unwrap_or(0))
    }

    /// Asks the store for its time.
    pub(super) async fn read_clock(&self) -> RedisResult<()> {
        let asked = self.local_ms();
        let (seconds, micros): (i64, i64) = self.query(&redis::cmd("TIME")).await?;
        let middle = asked + (self.local_ms() - asked) / 2;
        self.clock.store(seconds * 1000 + micros / 1000 - middle, Ordering::Relaxed);
        Ok(())
    }

    /// Whether the store answered the last time it was asked.
    pub(super) fn is_healthy(&self) -> bool {
        self.healthy.load(Ordering::Relaxed)
    }

    fn local_ms(&self) -> i64 {
        i64::try_from(self.start.elapsed().as_millis()).unwrap_or(i64::MAX)
    }

    fn noted<T>(&self, answer: RedisResult<T>) -> RedisResult<T> {
        let healthy = answer.is_ok();
        if !healthy {
            self.metrics.store_failed();
        }
        if self.healthy.swap(healthy, Ordering::Relaxed) != healthy {
            match &answer {
                Ok(_) => info!("the store answers again"),
                // Its kind only: a message could repeat a key.
                Err(error) => warn!(kind = %error.category(), "the store does not answer"),
            }
        }
        answer
    }
}

/// What the store runs for us. Each touches the keys of one hash tag only, so that a cluster can spread them.
pub(super) struct Scripts {
    pub(super) commit: Script,
    pub(super) budget: Script,
    pub(super) place: Script,
    pub(super) source: Script,
}

impl Scripts {
    pub(super) fn new() -> Self {
        Self {
            commit: Script::new(include_str!("commit.lua")),
            budget: Script::new(include_str!("budget.lua")),
            place: Script::new(include_str!("place.lua")),
            source: Script::new(include_str!("source.lua")),
        }
    }
}

/// Bytes in use, all mailboxes together.
pub(super) const BUDGET: &str = "handfast:budget";

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
