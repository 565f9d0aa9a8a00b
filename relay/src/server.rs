//! The relay as a whole: it accepts connections, counts them, and drains.

use crate::limits::Door;
use crate::store::{Store, error};
use crate::{Config, connection};
use handfast_wire::{ErrorCode, LimitKind, RelayFrame};
use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tracing::{debug, info, warn};

/// Pause after the system refused a connection: most often the file descriptors have run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long connections may take to close after the drain.
const LAST_WORDS: Duration = Duration::from_secs(3);

/// A relay that listens and is ready to [`run`](Relay::run).
#[derive(Debug)]
pub struct Relay {
    listener: TcpListener,
    address: SocketAddr,
    shared: Arc<Shared>,
}

/// A relay that runs in a task of its own. Dropping the handle shuts the relay down as
/// [`shutdown`](RelayHandle::shutdown) does, without waiting for it.
#[derive(Debug)]
pub struct RelayHandle {
    address: SocketAddr,
    shared: Arc<Shared>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

/// What a relay holds at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stats {
    /// Open connections, those on their way in or out included.
    pub connections: usize,
    /// Live mailboxes.
    pub mailboxes: usize,
    /// Bytes of data frames stored for delivery.
    pub queued_bytes: usize,
}

struct Shared {
    store: Store,
    /// One permit for each connection there may be.
    places: Arc<Semaphore>,
    door: Arc<Door>,
    /// Set when the relay is over. Every connection holds a receiver: closed means that none is left.
    over: watch::Sender<bool>,
}

impl Relay {
    /// Listens on `address`; port 0 takes any free port.
    ///
    /// Fails if the address cannot be had or the shared store does not answer, and with `InvalidInput` if the
    /// configuration contradicts itself.
    pub async fn bind(address: SocketAddr, config: Config) -> io::Result<Self> {
        config.check()?;
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let places = config.max_connections;
        let door = Arc::new(Door::new(&config));
        let store = Store::open(config).await?;
        let shared = Shared { places: Arc::new(Semaphore::new(places)), door, over: watch::Sender::new(false), store };
        Ok(Self { listener, address, shared: Arc::new(shared) })
    }

    /// Where the relay listens, with the real port.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `shutdown` completes, then drains: no new mailboxes, live ones may finish for
    /// [`Config::drain_time`], the rest are ended. Returns when the connections are closed.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        let shared = &self.shared;
        let end = async {
            shutdown.await;
            drain(&shared.store).await;
        };
        tokio::select! {
            () = accept(&self.listener, shared) => {}
            () = shared.store.run() => {}
            () = shared.door.run() => {}
            () = end => {}
        }
        drop(self.listener);
        shared.over.send_replace(true);
        if timeout(LAST_WORDS, shared.over.closed()).await.is_err() {
            info!(connections = shared.stats().connections, "stopped with connections still open");
        }
        shared.store.settled().await;
    }

    /// Runs the relay in a task of the current tokio runtime.
    pub fn spawn(self) -> RelayHandle {
        let (address, shared) = (self.address, Arc::clone(&self.shared));
        let (stop, stopped) = oneshot::channel();
        // A dropped handle is a shutdown too, so an error here means the same.
        let task = tokio::spawn(self.run(async { drop(stopped.await) }));
        RelayHandle { address, shared, stop, task }
    }
}

impl RelayHandle {
    /// Where the relay listens.
    pub fn addr(&self) -> SocketAddr {
        self.address
    }

    /// What the relay holds now.
    pub fn stats(&self) -> Stats {
        self.shared.stats()
    }

    /// Drains the relay as described at [`Relay::run`] and waits for its end.
    pub async fn shutdown(self) {
        drop(self.stop);
        // An error means that the task panicked or its runtime is gone: it has ended either way.
        drop(self.task.await);
    }
}

async fn drain(store: &Store) {
    let drain_time = store.config().drain_time;
    info!(mailboxes = store.mailboxes(), seconds = drain_time.as_secs(), "draining");
    // Late or not, what follows is the same.
    let _ = timeout(drain_time, store.drain(drain_time)).await;
    store.stop();
}

/// Never returns: a connection that cannot be accepted must not take the relay down.
async fn accept(listener: &TcpListener, shared: &Shared) {
    loop {
        match listener.accept().await {
            Ok((stream, address)) => admit(stream, address, shared),
            Err(error) if is_about_one_connection(&error) => {}
            Err(error) => {
                warn!(%error, "cannot accept connections, pausing");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn is_about_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

fn admit(stream: TcpStream, address: SocketAddr, shared: &Shared) {
    let (store, door, over) = (shared.store.clone(), Arc::clone(&shared.door), shared.over.subscribe());
    let place = || -> Result<_, RelayFrame> {
        let visitor = door.meet(address.ip())?;
        let full = error(ErrorCode::Limit(LimitKind::Connections));
        Ok((visitor, Arc::clone(&shared.places).try_acquire_owned().map_err(|_| full)?))
    };
    match place() {
        Ok((visitor, place)) => {
            tokio::spawn(async move {
                connection::serve(stream, visitor, door, store, over).await;
                drop(place);
            });
        }
        Err(why) => match door.place_for_refusal() {
            Some(place) => {
                tokio::spawn(async move {
                    connection::refuse(stream, why, store.config(), over).await;
                    drop(place);
                });
            }
            None => debug!("too many connections, dropped one"),
        },
    }
}

impl Shared {
    fn stats(&self) -> Stats {
        let places = self.store.config().max_connections;
        Stats {
            connections: places.saturating_sub(self.places.available_permits()),
            mailboxes: self.store.mailboxes(),
            queued_bytes: self.store.queued_bytes(),
        }
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.stats().fmt(f)
    }
}
