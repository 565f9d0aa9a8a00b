//! The relay as a whole: it accepts connections, counts them, and drains.

use crate::connection::Stream;
use crate::limits::Door;
use crate::metrics::Metrics;
use crate::store::{Store, error};
use crate::summary::{self, Throttle};
use crate::{Certificates, Config, admin, connection};
use handfast_wire::{ErrorCode, LimitKind};
use std::fmt;
use std::future::{Future, pending, ready};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
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
    admin: Option<(TcpListener, SocketAddr)>,
    shared: Arc<Shared>,
}

/// A relay that runs in a task of its own. Dropping the handle shuts the relay down as
/// [`shutdown`](RelayHandle::shutdown) does, without waiting for it.
#[derive(Debug)]
pub struct RelayHandle {
    address: SocketAddr,
    admin_address: Option<SocketAddr>,
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
    metrics: Arc<Metrics>,
    certificates: Option<Certificates>,
    /// Set as soon as the relay has been told to stop.
    leaving: AtomicBool,
    /// One permit for each connection there may be.
    places: Arc<Semaphore>,
    door: Arc<Door>,
    /// Set when the relay is over. Every connection holds a receiver: closed means that none is left.
    over: watch::Sender<bool>,
}

impl Relay {
    /// Listens on `address`, and on [`Config::admin_listen`] if there is one; port 0 takes any free port.
    ///
    /// Fails if an address cannot be had, a certificate not be used or a store not be reached, and with `InvalidInput`
    /// if the configuration contradicts itself.
    pub async fn bind(address: SocketAddr, config: Config) -> io::Result<Self> {
        config.check()?;
        let certificates = config.tls.clone().map(Certificates::load).transpose()?;
        let (listener, address) = listen(address).await?;
        let admin = match config.admin_listen {
            Some(address) => Some(listen(address).await?),
            None => None,
        };
        let metrics = Arc::new(Metrics::new());
        let shared = Shared {
            places: Arc::new(Semaphore::new(config.max_connections)),
            door: Arc::new(Door::new(&config)),
            over: watch::Sender::new(false),
            store: Store::open(config, Arc::clone(&metrics)).await?,
            metrics,
            certificates,
            leaving: AtomicBool::new(false),
        };
        Ok(Self { listener, address, admin, shared: Arc::new(shared) })
    }

    /// Where the relay listens, with the real port.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Where it serves health, readiness and metrics, with the real port.
    pub fn admin_addr(&self) -> Option<SocketAddr> {
        self.admin.as_ref().map(|(_, address)| *address)
    }

    /// The certificate, if the relay speaks TLS.
    pub fn certificates(&self) -> Option<Certificates> {
        self.shared.certificates.clone()
    }

    /// Serves until `shutdown` completes, then drains: no new mailboxes, live ones may finish for
    /// [`Config::drain_time`], the rest are ended. Returns when the connections are closed.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        let Self { listener, admin, shared, .. } = self;
        let end = async {
            shutdown.await;
            // First of all, so that a load balancer sends no more devices here.
            shared.leaving.store(true, Ordering::Relaxed);
            drain(&shared.store).await;
        };
        let certificates = async {
            match &shared.certificates {
                Some(certificates) => certificates.watch().await,
                None => pending().await,
            }
        };
        let work = async {
            tokio::select! {
                () = accept(&listener, &shared) => {}
                () = shared.store.run() => {}
                () = shared.door.run() => {}
                () = certificates => {}
                () = summary::report(&shared.metrics) => {}
                () = end => {}
            }
            drop(listener);
            shared.over.send_replace(true);
            if timeout(LAST_WORDS, shared.over.closed()).await.is_err() {
                info!(connections = shared.stats().connections, "stopped with connections still open");
            }
            shared.store.settled().await;
        };
        match &admin {
            Some((listener, _)) => {
                tokio::select! {
                    () = work => {}
                    () = admin::serve(listener, &shared) => {}
                }
            }
            None => work.await,
        }
    }

    /// Runs the relay in a task of the current tokio runtime.
    pub fn spawn(self) -> RelayHandle {
        let (address, admin_address, shared) = (self.address, self.admin_addr(), Arc::clone(&self.shared));
        let (stop, stopped) = oneshot::channel();
        // A dropped handle is a shutdown too, so an error here means the same.
        let task = tokio::spawn(self.run(async { drop(stopped.await) }));
        RelayHandle { address, admin_address, shared, stop, task }
    }
}

impl RelayHandle {
    /// Where the relay listens.
    pub fn addr(&self) -> SocketAddr {
        self.address
    }

    /// Where it serves health, readiness and metrics.
    pub fn admin_addr(&self) -> Option<SocketAddr> {
        self.admin_address
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

/// A listener and its address. The error names the address that was asked for.
async fn listen(address: SocketAddr) -> io::Result<(TcpListener, SocketAddr)> {
    let bound = TcpListener::bind(address).await.and_then(|listener| Ok((listener.local_addr()?, listener)));
    match bound {
        Ok((address, listener)) => Ok((listener, address)),
        Err(error) => Err(io::Error::new(error.kind(), format!("cannot listen on {address}: {error}"))),
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
    let mut throttle = Throttle::default();
    loop {
        match listener.accept().await {
            Ok((stream, address)) => admit(stream, address, shared),
            Err(error) if is_about_one_connection(&error) => {}
            Err(error) => {
                shared.metrics.accept_failed();
                if let Some(unsaid) = throttle.pass() {
                    warn!(%error, unsaid, "cannot accept connections, pausing");
                }
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
    shared.metrics.connection_accepted();
    // A socket that refuses this is dead: its first read says so too.
    let _ = stream.set_nodelay(true);
    match &shared.certificates {
        None => admit_as(ready(Some(stream)), address, shared),
        Some(certificates) => {
            let (certificates, metrics) = (certificates.clone(), Arc::clone(&shared.metrics));
            // Boxed: its memory is the connection's only while it runs.
            let handshake = Box::pin(async move { certificates.accept(stream, &metrics).await });
            admit_as(handshake, address, shared);
        }
    }
}

/// `arriving` ends when there is a stream to talk over, or none to be had.
fn admit_as<S, A>(arriving: A, address: SocketAddr, shared: &Shared)
where
    S: Stream,
    A: Future<Output = Option<S>> + Send + 'static,
{
    let (store, door, metrics) = (shared.store.clone(), Arc::clone(&shared.door), Arc::clone(&shared.metrics));
    let over = shared.over.subscribe();
    let (why, place) = match door.meet(address.ip()) {
        Ok(visitor) => match Arc::clone(&shared.places).try_acquire_owned() {
            Ok(place) => {
                tokio::spawn(async move {
                    connection::serve(arriving, visitor, door, store, &metrics, over).await;
                    drop(place);
                });
                return;
            }
            Err(_) => (error(ErrorCode::Limit(LimitKind::Connections)), door.place_for_overflow(&visitor)),
        },
        Err(refused) => (refused.why.into(), door.place_for_refusal(&refused)),
    };
    match place {
        Some(place) => {
            tokio::spawn(async move {
                connection::refuse(arriving, why, store.config(), &metrics, over).await;
                drop(place);
            });
        }
        None => {
            metrics.said(&why);
            debug!("dropped a connection that cannot come in");
        }
    }
}

impl admin::Relay for Shared {
    fn ready(&self) -> Result<(), &'static str> {
        if self.leaving.load(Ordering::Relaxed) {
            Err("draining")
        } else if !self.store.is_healthy() {
            Err("the store does not answer")
        } else {
            Ok(())
        }
    }

    fn metrics(&self) -> String {
        self.metrics.render(self.stats())
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
