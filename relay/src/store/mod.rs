//! All mailboxes of a relay: in the memory of one process, or shared by several nodes.
//!
//! Connections see only [`Store`] and [`Seat`]; what a mailbox does is decided in [`crate::mailbox`], once for all
//! stores.

mod memory;
#[cfg(feature = "redis")]
mod shared;
mod url;

use crate::Config;
use crate::limits::Guest;
use crate::mailbox::Output;
use crate::metrics::Metrics;
use handfast_wire::{
    Ack, ClientFrame, CloseReason, DataHeader, EndReason, ErrorCode, LimitKind, Nameplate, RelayFrame,
};
use memory::Memory;
use rand::RngExt;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio_tungstenite::tungstenite::Bytes;
pub use url::StoreUrl;

/// When a device that met a full relay should try again. Mailboxes end all the time, so soon.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// How often an unused nameplate is drawn before the relay says that it is full. With half of them in use, this fails
/// once in 2^32 times.
const NAMEPLATE_DRAWS: usize = 32;

/// Where the mailboxes are.
#[derive(Clone)]
pub(crate) enum Store {
    Memory(Arc<Memory>),
    #[cfg(feature = "redis")]
    Shared(Arc<shared::Shared>),
}

/// One connection's place in one mailbox. Dropping it tells the peer that the device has left.
pub(crate) enum Seat {
    Memory(memory::Seat),
    #[cfg(feature = "redis")]
    Shared(Box<shared::Seat>),
}

/// Why a connection gets no seat, or loses it.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// Its device is told.
    Say(RelayFrame),
    /// It is closed without a word: its device comes back, here or at another node.
    #[cfg(feature = "redis")]
    Drop,
}

impl Store {
    /// The store that `config` names. Fails if a shared store does not answer.
    pub(crate) async fn open(config: Config, metrics: Arc<Metrics>) -> std::io::Result<Self> {
        match &config.store {
            None => Ok(Self::Memory(Memory::new(config, metrics))),
            #[cfg(feature = "redis")]
            Some(url) => Ok(Self::Shared(shared::Shared::connect(url.clone(), config, metrics).await?)),
            #[cfg(not(feature = "redis"))]
            Some(_) => Err(std::io::Error::new(
                std::io::ErrorKind::InvalidInput,
                "this relay was built without the feature `redis`: it has no shared store",
            )),
        }
    }

    pub(crate) fn config(&self) -> &Config {
        match self {
            Self::Memory(memory) => memory.config(),
            #[cfg(feature = "redis")]
            Self::Shared(shared) => shared.config(),
        }
    }

    /// Mailboxes in memory, or with a device at this node.
    pub(crate) fn mailboxes(&self) -> usize {
        match self {
            Self::Memory(memory) => memory.mailboxes(),
            #[cfg(feature = "redis")]
            Self::Shared(shared) => shared.mailboxes(),
        }
    }

    /// Bytes of data frames stored for delivery, of all nodes together.
    pub(crate) fn queued_bytes(&self) -> usize {
        match self {
            Self::Memory(memory) => memory.queued_bytes(),
            #[cfg(feature = "redis")]
            Self::Shared(shared) => shared.queued_bytes(),
        }
    }

    /// Whether it answered the last time.
    pub(crate) fn is_healthy(&self) -> bool {
        match self {
            Self::Memory(_) => true,
            #[cfg(feature = "redis")]
            Self::Shared(shared) => shared.is_healthy(),
        }
    }

    /// Answers the first frame of a connection: a seat and the frame that says so.
    pub(crate) async fn enter(&self, first: &ClientFrame, guest: &Guest) -> Result<(Seat, RelayFrame), Refusal> {
        match self {
            Self::Memory(memory) => {
                let (seat, reply) = memory.enter(first, guest).await.map_err(Refusal::Say)?;
                Ok((Seat::Memory(seat), reply))
            }
            #[cfg(feature = "redis")]
            Self::Shared(shared) => {
                let (seat, reply) = shared.enter(first, guest).await?;
                Ok((Seat::Shared(Box::new(seat)), reply))
            }
        }
    }

    /// Does what has to be done while connections are served. Never returns.
    pub(crate) async fn run(&self) {
        match self {
            Self::Memory(memory) => memory.run_timers().await,
            #[cfg(feature = "redis")]
            Self::Shared(shared) => shared.run().await,
        }
    }

    /// From now on no mailbox is made here, and the relay works for `left` more. Returns once nothing is left to wait
    /// for.
    pub(crate) async fn drain(&self, left: Duration) {
        match self {
            Self::Memory(memory) => {
                memory.drain(left);
                memory.drained().await;
            }
            #[cfg(feature = "redis")]
            Self::Shared(shared) => shared.drain(left).await,
        }
    }

    /// Gives up every seat. What is in memory ends with it; devices in a shared store go on at another node.
    pub(crate) fn stop(&self) {
        match self {
            Self::Memory(memory) => memory.end_all(EndReason::ShuttingDown),
            #[cfg(feature = "redis")]
            Self::Shared(shared) => shared.stop(),
        }
    }

    /// After [`Store::stop`], once the connections are gone: nothing more to write.
    pub(crate) async fn settled(&self) {
        match self {
            Self::Memory(_) => {}
            #[cfg(feature = "redis")]
            Self::Shared(shared) => shared.settled().await,
        }
    }
}

impl Seat {
    /// What this connection has to send next.
    pub(crate) fn poll_output(&mut self, cx: &mut Context<'_>) -> Poll<Result<Output, Refusal>> {
        match self {
            Self::Memory(seat) => seat.poll_output(cx).map(Ok),
            #[cfg(feature = "redis")]
            Self::Shared(seat) => seat.poll_output(cx),
        }
    }

    /// Whether this seat takes the next frame of its device. If not, the waker is called when it does.
    pub(crate) fn poll_ready(
        &mut self,
        #[cfg_attr(not(feature = "redis"), expect(unused_variables))] cx: &mut Context<'_>,
    ) -> bool {
        match self {
            Self::Memory(_) => true,
            #[cfg(feature = "redis")]
            Self::Shared(seat) => seat.poll_ready(cx),
        }
    }

    /// Takes a data frame from this connection's device. The error is for the device; its connection ends with it.
    pub(crate) fn data(&mut self, header: DataHeader, frame: &Bytes) -> Result<(), RelayFrame> {
        match self {
            Self::Memory(seat) => seat.data(header, frame),
            #[cfg(feature = "redis")]
            Self::Shared(seat) => {
                seat.data(header, frame);
                Ok(())
            }
        }
    }

    /// Takes an acknowledgement from this connection's device.
    pub(crate) fn ack(&mut self, ack: Ack) -> Result<(), RelayFrame> {
        match self {
            Self::Memory(seat) => seat.ack(ack),
            #[cfg(feature = "redis")]
            Self::Shared(seat) => {
                seat.ack(ack);
                Ok(())
            }
        }
    }

    /// Whether what this connection's device did last is not in yet.
    pub(crate) fn is_busy(&self) -> bool {
        match self {
            Self::Memory(_) => false,
            #[cfg(feature = "redis")]
            Self::Shared(seat) => seat.is_busy(),
        }
    }

    /// Returns once it is in.
    pub(crate) async fn finished(&mut self) {
        match self {
            Self::Memory(_) => {}
            #[cfg(feature = "redis")]
            Self::Shared(seat) => seat.finished().await,
        }
    }

    /// This connection's device is finished with the mailbox.
    pub(crate) fn close(&mut self, reason: CloseReason) {
        match self {
            Self::Memory(seat) => seat.close(reason),
            #[cfg(feature = "redis")]
            Self::Shared(seat) => seat.close(reason),
        }
    }
}

/// The refusal for `code`. For a limit of the whole relay it says when to come back.
pub(crate) fn error(code: ErrorCode) -> RelayFrame {
    use LimitKind::{Connections, Mailboxes, QueuedBytes, Store};
    let passes = matches!(code, ErrorCode::Limit(Connections | Mailboxes | QueuedBytes | Store));
    refusal(code, if passes { RETRY_AFTER } else { Duration::ZERO })
}

fn limit(kind: LimitKind) -> RelayFrame {
    error(ErrorCode::Limit(kind))
}

/// No new mailbox: the relay will be gone after `left`.
fn draining(left: Duration) -> RelayFrame {
    refusal(ErrorCode::Draining, left)
}

fn refusal(code: ErrorCode, retry_after: Duration) -> RelayFrame {
    RelayFrame::Error { code, retry_after_ms: u32::try_from(retry_after.as_millis()).unwrap_or(u32::MAX) }
}

fn random_nameplate() -> Option<Nameplate> {
    Nameplate::new(rand::rng().random_range(0..Nameplate::COUNT)).ok()
}
