//! A proxy between one device and the relay that counts frames and can break the connection after any of them.

use futures_util::{SinkExt, StreamExt};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::{Bytes, Message};
use tokio_tungstenite::{accept_hdr_async, client_async};

/// Which way a frame goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the device to the relay.
    ToRelay,
    /// From the relay to the device.
    ToDevice,
}

/// Both.
pub const DIRECTIONS: [Direction; 2] = [Direction::ToRelay, Direction::ToDevice];

/// What happens at a frame.
#[derive(Clone)]
pub enum Action {
    /// Both sockets are dropped once the frame is through.
    Cut,
    /// Both sockets are dropped instead of the frame being passed on: its sender believes it sent.
    Lose,
    /// Once the frame is through, nothing is read any more; after this time both sockets are dropped.
    Freeze(Duration),
    /// This is called once the frame is through.
    Call(Arc<dyn Fn() + Send + Sync>),
}

/// After which frame what happens, once.
#[derive(Clone)]
pub struct Plan {
    /// Counted in this direction ...
    pub direction: Direction,
    /// ... from 1, over all connections.
    pub frame: usize,
    /// What happens.
    pub action: Action,
}

/// One device's way to the relay. Connections after the broken one work.
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

struct Shared {
    /// What the relay sees.
    from: Ipv4Addr,
    relay: Mutex<SocketAddr>,
    plan: Mutex<Option<Plan>>,
    connections: watch::Sender<usize>,
    frames: Mutex<Vec<(Direction, Bytes)>>,
    /// Every connection holds a receiver and ends when the value changes.
    cut: watch::Sender<usize>,
}

impl Proxy {
    /// A proxy for the relay at this address.
    pub async fn start(relay: SocketAddr, plan: Option<Plan>) -> Self {
        Self::start_from(Ipv4Addr::LOCALHOST, relay, plan).await
    }

    /// A proxy that the relay sees in another network than everybody else here.
    pub async fn start_elsewhere(relay: SocketAddr) -> Self {
        Self::start_from(Ipv4Addr::new(127, 0, 0, 2), relay, None).await
    }

    /// A proxy that the relay sees at this address of the machine's own.
    pub async fn start_from(from: Ipv4Addr, relay: SocketAddr, plan: Option<Plan>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            from,
            relay: Mutex::new(relay),
            plan: Mutex::new(plan),
            connections: watch::Sender::new(0),
            frames: Mutex::default(),
            cut: watch::Sender::new(0),
        });
        let task = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Self { address, shared, task }
    }

    /// What the device takes for the relay.
    pub fn url(&self) -> String {
        format!("ws://{}", self.address)
    }

    /// How many frames went this way, resent ones included.
    pub fn frames(&self, direction: Direction) -> usize {
        self.shared.frames.lock().unwrap().iter().filter(|(way, _)| *way == direction).count()
    }

    /// Everything that a relay could record of this device, in both directions.
    pub fn recording(&self) -> Vec<u8> {
        self.shared.frames.lock().unwrap().iter().flat_map(|(_, frame)| frame.to_vec()).collect()
    }

    /// How often the device connected.
    pub fn connections(&self) -> usize {
        *self.shared.connections.borrow()
    }

    /// Completes when the device has connected as often as this.
    pub async fn connected(&self, times: usize) {
        let mut connections = self.shared.connections.subscribe();
        super::soon("a connection", connections.wait_for(|count| *count >= times)).await.unwrap();
    }

    /// Sends later connections to another relay.
    pub fn redirect(&self, relay: SocketAddr) {
        self.redirector()(relay);
    }

    /// [`Proxy::redirect`], to call from elsewhere.
    pub fn redirector(&self) -> Arc<dyn Fn(SocketAddr) + Send + Sync> {
        let shared = Arc::clone(&self.shared);
        Arc::new(move |relay| *shared.relay.lock().unwrap() = relay)
    }

    /// Cuts every open connection now.
    pub fn cut(&self) {
        self.cutter()();
    }

    /// [`Proxy::cut`], to call from elsewhere.
    pub fn cutter(&self) -> Arc<dyn Fn() + Send + Sync> {
        let shared = Arc::clone(&self.shared);
        Arc::new(move || shared.cut.send_modify(|count| *count += 1))
    }

    /// Whether what was planned has happened.
    pub fn is_done(&self) -> bool {
        self.shared.plan.lock().unwrap().is_none()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    while let Ok((device, _)) = listener.accept().await {
        shared.connections.send_modify(|count| *count += 1);
        connections.spawn(bridge(device, Arc::clone(&shared)));
    }
}

/// Both sockets live in this future: whatever ends it drops them without a word.
async fn bridge(device: TcpStream, shared: Arc<Shared>) {
    let mut cut = shared.cut.subscribe();
    tokio::select! {
        _ = pass(device, &shared) => {}
        _ = cut.changed() => {}
    }
}

/// `None` when a socket is gone or the plan says so.
async fn pass(device: TcpStream, shared: &Shared) -> Option<()> {
    device.set_nodelay(true).ok()?;
    let mut path = String::new();
    #[expect(clippy::result_large_err, reason = "the signature is tungstenite's")]
    let note_path = |request: &Request, response: Response| -> Result<Response, ErrorResponse> {
        path = request.uri().path().to_owned();
        Ok(response)
    };
    let mut device = accept_hdr_async(device, note_path).await.ok()?;
    let address = *shared.relay.lock().unwrap();
    let socket = TcpSocket::new_v4().ok()?;
    socket.bind((shared.from, 0).into()).ok()?;
    let relay = socket.connect(address).await.ok()?;
    relay.set_nodelay(true).ok()?;
    let (mut relay, _) = client_async(format!("ws://{address}{path}"), relay).await.ok()?;
    loop {
        let (direction, message) = tokio::select! {
            message = device.next() => (Direction::ToRelay, message?.ok()?),
            message = relay.next() => (Direction::ToDevice, message?.ok()?),
        };
        let action = match &message {
            Message::Binary(frame) => shared.count(direction, frame),
            // Each side has its own pings.
            Message::Ping(_) | Message::Pong(_) => continue,
            _ => None,
        };
        if matches!(action, Some(Action::Lose)) {
            return None;
        }
        match direction {
            Direction::ToRelay => relay.send(message).await.ok()?,
            Direction::ToDevice => device.send(message).await.ok()?,
        }
        match action {
            None => {}
            Some(Action::Cut | Action::Lose) => return None,
            Some(Action::Freeze(time)) => {
                tokio::time::sleep(time).await;
                return None;
            }
            Some(Action::Call(call)) => call(),
        }
    }
}

impl Shared {
    /// Counts a frame; what is to happen at it.
    fn count(&self, direction: Direction, frame: &Bytes) -> Option<Action> {
        let mut frames = self.frames.lock().unwrap();
        frames.push((direction, frame.clone()));
        let number = frames.iter().filter(|(way, _)| *way == direction).count();
        let mut plan = self.plan.lock().unwrap();
        let due = plan.as_ref().is_some_and(|plan| plan.direction == direction && plan.frame == number);
        if due { plan.take().map(|plan| plan.action) } else { None }
    }
}
