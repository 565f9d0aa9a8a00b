//! What a relay gets to see: a tap between each device and the relay, which can also change what passes.

use futures_util::{Sink, SinkExt, Stream, StreamExt};
use handfast::RelayUrl;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error as WsError, Message};
use tokio_tungstenite::{accept_hdr_async_with_config, client_async_with_config};

/// One of the two devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Device {
    Trusted,
    New,
}

/// What passed a tap.
#[derive(Clone)]
pub(crate) struct Seen {
    pub(crate) at: Instant,
    /// Whose connection it is.
    pub(crate) device: Device,
    pub(crate) way: Way,
    pub(crate) bytes: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// Path and headers of the websocket's upgrade.
    Upgrade,
    /// A message of the device.
    ToRelay,
    /// A message of the relay.
    FromRelay,
}

/// Everything that passed the taps of one run, in order.
#[derive(Clone, Default)]
pub(crate) struct Capture(Arc<Mutex<Vec<Seen>>>);

impl Capture {
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.lock().clone()
    }

    fn note(&self, device: Device, way: Way, bytes: &[u8]) {
        self.lock().push(Seen { at: Instant::now(), device, way, bytes: bytes.to_vec() });
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Seen>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Changes a message of the relay on its way to the device.
pub(crate) type Meddle = Arc<dyn Fn(&[u8]) -> Option<Vec<u8>> + Send + Sync>;

/// A listening tap. It ends with this value.
pub(crate) struct Tap {
    /// What the device takes for its relay.
    pub(crate) url: RelayUrl,
    task: JoinHandle<()>,
}

impl Tap {
    pub(crate) async fn start(
        relay: SocketAddr,
        device: Device,
        capture: Capture,
        meddle: Option<Meddle>,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let url = format!("ws://{}", listener.local_addr()?).parse().map_err(io::Error::other)?;
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (capture, meddle) = (capture.clone(), meddle.clone());
                // A connection that breaks shows in the run.
                tokio::spawn(async move { drop(pass(stream, relay, device, &capture, meddle).await) });
            }
        });
        Ok(Self { url, task })
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn pass(
    stream: TcpStream,
    relay: SocketAddr,
    device: Device,
    capture: &Capture,
    meddle: Option<Meddle>,
) -> Result<(), WsError> {
    stream.set_nodelay(true)?;
    let mut path = String::new();
    let config = Some(WebSocketConfig::default().read_buffer_size(4096));
    #[expect(clippy::result_large_err, reason = "the type is the library's")]
    let note_upgrade = |request: &Request, response: Response| {
        path = request.uri().to_string();
        let headers = request.headers().iter();
        let text: Vec<u8> = headers
            .flat_map(|(name, value)| [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\n"].concat())
            .collect();
        capture.note(device, Way::Upgrade, &[path.as_bytes(), b"\n", &text].concat());
        Ok(response)
    };
    let near = accept_hdr_async_with_config(stream, note_upgrade, config).await?;
    let far = TcpStream::connect(relay).await?;
    far.set_nodelay(true)?;
    let (far, _) = client_async_with_config(format!("ws://{relay}{path}"), far, config).await?;

    let (near_out, near_in) = near.split();
    let (far_out, far_in) = far.split();
    let up = forward(near_in, far_out, |message| {
        if let Message::Binary(bytes) = &message {
            capture.note(device, Way::ToRelay, bytes);
        }
        message
    });
    let down = forward(far_in, near_out, |message| {
        let Message::Binary(bytes) = &message else { return message };
        capture.note(device, Way::FromRelay, bytes);
        match meddle.as_ref().and_then(|meddle| meddle(bytes)) {
            Some(changed) => Message::binary(changed),
            None => message,
        }
    });
    let (up, down) = tokio::join!(up, down);
    up.and(down)
}

async fn forward(
    mut from: impl Stream<Item = Result<Message, WsError>> + Unpin,
    mut to: impl Sink<Message, Error = WsError> + Unpin,
    mut look: impl FnMut(Message) -> Message,
) -> Result<(), WsError> {
    while let Some(Ok(message)) = from.next().await {
        to.send(look(message)).await?;
    }
    to.close().await
}
