//! A device as the load client has it: one websocket and the frames of the wire.

use super::Result;
use super::server::{Kind, Target};
use futures_util::{FutureExt, SinkExt, StreamExt};
use handfast_wire::limits::WEBSOCKET_PATH;
use handfast_wire::{Ack, ClientFrame, CloseReason, Data, Flags, Nameplate, RelayFrame, ResumeToken};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Bytes, Message};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

/// An end that never comes would hang the run.
const CLOSE: Duration = Duration::from_secs(10);

/// How many addresses of 127.0.0.0/8 the connections come from, so that ports do not run out.
const SOURCES: u32 = 200;

/// A connected device. Dropped, it is gone without a word.
pub struct Device {
    socket: WebSocketStream<TcpStream>,
}

impl Device {
    /// A websocket to this path.
    pub async fn connect(address: SocketAddr, path: &str) -> Result<Self> {
        Self::upgrade(tcp(address).await?, address, path).await
    }

    /// A websocket on a connection that is there already.
    pub async fn upgrade(stream: TcpStream, address: SocketAddr, path: &str) -> Result<Self> {
        stream.set_nodelay(true)?;
        let config = WebSocketConfig::default().read_buffer_size(4096).write_buffer_size(0);
        let (socket, _) = client_async_with_config(format!("ws://{address}{path}"), stream, Some(config)).await?;
        Ok(Self { socket })
    }

    /// A connection to the relay that holds a new mailbox.
    pub async fn allocate(address: SocketAddr) -> Result<(Self, Nameplate)> {
        Self::connect(address, WEBSOCKET_PATH).await?.and_allocate().await
    }

    /// Asks for a new mailbox.
    pub async fn and_allocate(mut self) -> Result<(Self, Nameplate)> {
        self.send(&ClientFrame::Allocate { token: token() }).await?;
        match self.receive().await? {
            RelayFrame::Allocated { nameplate, .. } => Ok((self, nameplate)),
            other => Err(format!("{other:?} instead of a mailbox").into()),
        }
    }

    /// A connection to the relay in the second slot of the mailbox with this nameplate.
    pub async fn claim(address: SocketAddr, nameplate: Nameplate) -> Result<Self> {
        let mut device = Self::connect(address, WEBSOCKET_PATH).await?;
        device.send(&ClientFrame::Claim { nameplate, token: token() }).await?;
        match device.receive().await? {
            RelayFrame::Joined(_) => Ok(device),
            other => Err(format!("{other:?} instead of a slot").into()),
        }
    }

    /// Two devices that reach each other: through a new mailbox, or on the floor through this room.
    pub async fn pair(target: Target, room: usize) -> Result<(Self, Self)> {
        let address = target.address;
        match target.kind {
            Kind::Floor => {
                let path = format!("/pair/{room}");
                let first = Self::connect(address, &path).await?;
                Ok((first, Self::connect(address, &path).await?))
            }
            Kind::Relay => {
                let (first, nameplate) = Self::allocate(address).await?;
                Ok((first, Self::claim(address, nameplate).await?))
            }
        }
    }

    /// Sends a frame.
    pub async fn send(&mut self, frame: &ClientFrame) -> Result<()> {
        Ok(self.socket.send(Message::Binary(frame.encode().into())).await?)
    }

    /// Sends a data frame.
    pub async fn send_data(&mut self, seq: u32, ack: u32, payload: &[u8]) -> Result<()> {
        let data = Data { seq, ack, flags: Flags::NONE, payload: payload.to_vec() };
        self.send(&ClientFrame::Data(data)).await
    }

    /// Sends an acknowledgement.
    pub async fn send_ack(&mut self, ack: u32) -> Result<()> {
        self.send(&ClientFrame::Ack(Ack { ack, flags: Flags::NONE })).await
    }

    /// Sends websocket pings in one go.
    pub async fn send_pings(&mut self, count: usize, payload: &Bytes) -> Result<()> {
        for _ in 0..count {
            self.socket.feed(Message::Ping(payload.clone())).await?;
        }
        Ok(self.socket.flush().await?)
    }

    /// The next frame.
    pub async fn receive(&mut self) -> Result<RelayFrame> {
        Ok(RelayFrame::decode(&self.receive_bytes().await?)?)
    }

    /// The next data frame of the peer. What the relay says about the peer before it is passed over.
    pub async fn receive_data(&mut self) -> Result<Data> {
        loop {
            match self.receive().await? {
                RelayFrame::Data(data) => return Ok(data),
                RelayFrame::PeerJoined { .. } | RelayFrame::Ack(_) => {}
                other => return Err(format!("{other:?} instead of data").into()),
            }
        }
    }

    /// The bytes of the next frame.
    pub async fn receive_bytes(&mut self) -> Result<Bytes> {
        loop {
            match self.socket.next().await {
                Some(Ok(Message::Binary(bytes))) => return Ok(bytes),
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                Some(Ok(other)) => return Err(format!("unexpected {other:?}").into()),
                Some(Err(error)) => return Err(error.into()),
                None => return Err("the connection is closed".into()),
            }
        }
    }

    /// Whether the connection is open and nothing has arrived on it.
    pub fn is_quiet(&mut self) -> bool {
        self.socket.next().now_or_never().is_none()
    }

    /// Ends as a device does: on the relay it closes its slot first, then it closes the websocket and waits for the
    /// other end.
    pub async fn close(mut self, kind: Kind) -> Result<()> {
        let ending = async {
            if kind == Kind::Relay {
                let last = ClientFrame::Close { reason: CloseReason::Done };
                self.socket.feed(Message::Binary(last.encode().into())).await?;
            }
            self.socket.close(None).await?;
            while let Some(Ok(_)) = self.socket.next().await {}
            Ok::<_, tokio_tungstenite::tungstenite::Error>(())
        };
        // The server may have closed first: that is an end as well.
        let _ = timeout(CLOSE, ending).await?;
        // The server is done. What is left would fill the tables of the system (TIME_WAIT, connection tracking), which
        // then drops packets of what comes next.
        self.reset()
    }

    /// Ends with a TCP reset.
    pub fn reset(self) -> Result<()> {
        Ok(self.socket.get_ref().set_zero_linger()?)
    }
}

/// A TCP connection from one of many addresses.
pub async fn tcp(address: SocketAddr) -> Result<TcpStream> {
    Ok(socket()?.connect(address).await?)
}

/// A TCP socket bound to one of many addresses.
pub fn socket() -> Result<TcpSocket> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let source = Ipv4Addr::new(127, 0, 0, 2).to_bits() + NEXT.fetch_add(1, Ordering::Relaxed) % SOURCES;
    let socket = TcpSocket::new_v4()?;
    socket.bind((Ipv4Addr::from_bits(source), 0).into())?;
    Ok(socket)
}

fn token() -> ResumeToken {
    ResumeToken(rand::random())
}
