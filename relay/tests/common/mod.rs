//! A device for tests: speaks frames over a real socket, and gives up after five seconds.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub mod http;
pub mod nodes;
pub mod process;
pub mod redis_server;
pub mod sources;
pub mod tls;

use futures_util::{SinkExt, StreamExt};
use handfast_relay::{Config, Relay, RelayHandle, Stats};
use handfast_wire::{
    Ack, ClientFrame, CloseReason, Data, EndReason, ErrorCode, Flags, Joined, MailboxId, Nameplate, RelayFrame,
    ResumeToken,
};
use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::{TcpSocket, TcpStream};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

pub const A: ResumeToken = ResumeToken(*b"token of device1");
pub const B: ResumeToken = ResumeToken(*b"token of device2");
pub const C: ResumeToken = ResumeToken(*b"token of device3");
pub const ID: MailboxId = MailboxId(*b"a mailbox's name");

pub async fn relay() -> RelayHandle {
    relay_with(Config::default()).await
}

pub async fn relay_with(config: Config) -> RelayHandle {
    Relay::bind("127.0.0.1:0".parse().unwrap(), config).await.unwrap().spawn()
}

pub struct Device {
    pub socket: WebSocketStream<TcpStream>,
}

impl Device {
    pub async fn connect(addr: SocketAddr) -> Self {
        let stream = TcpStream::connect(addr).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self { socket: upgrade(stream, addr, "/v1").await.unwrap() }
    }

    /// With a receive buffer as small as the system allows.
    pub async fn connect_narrow(addr: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(1).unwrap();
        Self { socket: upgrade(socket.connect(addr).await.unwrap(), addr, "/v1").await.unwrap() }
    }

    /// From this address of the machine. All of 127.0.0.0/8 is.
    pub async fn connect_from(addr: SocketAddr, source: &str) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::new(source.parse().unwrap(), 0)).unwrap();
        Self { socket: upgrade(socket.connect(addr).await.unwrap(), addr, "/v1").await.unwrap() }
    }

    /// As a proxy connects for a client: with these lines of `X-Forwarded-For`.
    pub async fn connect_for(addr: SocketAddr, forwarded: &[&str]) -> Self {
        let mut request = format!("ws://{addr}/v1").into_client_request().unwrap();
        for line in forwarded {
            request.headers_mut().append("X-Forwarded-For", line.parse().unwrap());
        }
        let stream = TcpStream::connect(addr).await.unwrap();
        let (socket, _) = within(client_async(request, stream)).await.unwrap();
        Self { socket }
    }

    /// A new mailbox.
    pub async fn allocate(addr: SocketAddr) -> (Self, Nameplate, MailboxId) {
        let mut device = Self::connect(addr).await;
        device.send(ClientFrame::Allocate { token: A }).await;
        match device.recv().await {
            RelayFrame::Allocated { nameplate, mailbox, .. } => (device, nameplate, mailbox),
            other => panic!("{other:?}"),
        }
    }

    /// The first answer to this first frame.
    pub async fn ask(addr: SocketAddr, first: ClientFrame) -> (Self, RelayFrame) {
        let mut device = Self::connect(addr).await;
        let answer = device.answer(first).await;
        (device, answer)
    }

    /// The first answer to this first frame.
    pub async fn answer(&mut self, first: ClientFrame) -> RelayFrame {
        self.send(first).await;
        self.recv().await
    }

    pub async fn claim(addr: SocketAddr, nameplate: Nameplate, token: ResumeToken) -> (Self, Joined) {
        Self::joined(addr, ClientFrame::Claim { nameplate, token }).await
    }

    pub async fn open(addr: SocketAddr, mailbox: MailboxId, token: ResumeToken) -> (Self, Joined) {
        Self::joined(addr, ClientFrame::Open { mailbox, token }).await
    }

    pub async fn resume(addr: SocketAddr, mailbox: MailboxId, token: ResumeToken, received: u32) -> (Self, RelayFrame) {
        Self::ask(addr, ClientFrame::Resume { mailbox, token, received }).await
    }

    /// Both devices in one new mailbox, the first one told of the second.
    pub async fn pair(addr: SocketAddr) -> (Self, Self, MailboxId) {
        let (mut first, nameplate, mailbox) = Self::allocate(addr).await;
        let (second, joined) = Self::claim(addr, nameplate, B).await;
        assert_eq!(joined.mailbox, mailbox);
        assert!(matches!(first.recv().await, RelayFrame::PeerJoined { .. }));
        (first, second, mailbox)
    }

    /// The same, each device at the next node.
    pub async fn pair_across(relay: &nodes::Nodes) -> (Self, Self, MailboxId) {
        let (mut first, nameplate, mailbox) = Self::allocate(relay.addr()).await;
        let (second, joined) = Self::claim(relay.addr(), nameplate, B).await;
        assert_eq!(joined.mailbox, mailbox);
        assert!(matches!(first.recv().await, RelayFrame::PeerJoined { .. }));
        (first, second, mailbox)
    }

    pub async fn send(&mut self, frame: ClientFrame) {
        self.socket.send(Message::Binary(frame.encode().into())).await.unwrap();
    }

    pub async fn data(&mut self, seq: u32, ack: u32, payload: &[u8]) {
        let data = Data { seq, ack, flags: Flags::NONE, payload: payload.to_vec() };
        self.send(ClientFrame::Data(data)).await;
    }

    pub async fn ack(&mut self, ack: u32) {
        self.send(ClientFrame::Ack(Ack { ack, flags: Flags::NONE })).await;
    }

    /// As [`Device::data`], whether or not the socket still works.
    pub async fn try_data(&mut self, seq: u32, ack: u32, payload: &[u8]) {
        let data = Data { seq, ack, flags: Flags::NONE, payload: payload.to_vec() };
        let _ = self.socket.send(Message::Binary(ClientFrame::Data(data).encode().into())).await;
    }

    /// As [`Device::ack`], whether or not the socket still works.
    pub async fn try_ack(&mut self, ack: u32) {
        let ack = ClientFrame::Ack(Ack { ack, flags: Flags::NONE });
        let _ = self.socket.send(Message::Binary(ack.encode().into())).await;
    }

    /// Comes back; `None` if the relay closes the connection without a word.
    pub async fn try_resume(
        addr: SocketAddr,
        mailbox: MailboxId,
        token: ResumeToken,
        received: u32,
    ) -> Option<(Self, RelayFrame)> {
        let mut device = Self::connect(addr).await;
        device.send(ClientFrame::Resume { mailbox, token, received }).await;
        device.hear().await.map(|answer| (device, answer))
    }

    /// A new mailbox as soon as there is room for one.
    pub async fn allocate_soon(addr: SocketAddr) -> Self {
        within(async {
            loop {
                let (device, answer) = Self::ask(addr, ClientFrame::Allocate { token: A }).await;
                if matches!(answer, RelayFrame::Allocated { .. }) {
                    return device;
                }
            }
        })
        .await
    }

    pub async fn settle(&mut self) {
        self.send(ClientFrame::Ack(Ack { ack: 0, flags: Flags { settled: true } })).await;
    }

    pub async fn close(&mut self, reason: CloseReason) {
        self.send(ClientFrame::Close { reason }).await;
    }

    pub async fn recv(&mut self) -> RelayFrame {
        self.try_recv().await.expect("the relay closed the socket")
    }

    /// `None` once the relay has closed the websocket, properly.
    pub async fn try_recv(&mut self) -> Option<RelayFrame> {
        loop {
            match within(self.socket.next()).await {
                Some(Ok(Message::Binary(bytes))) => return Some(RelayFrame::decode(&bytes).unwrap()),
                // Reading on after a close frame is what answers it.
                Some(Ok(Message::Ping(_) | Message::Close(_))) => {}
                None => return None,
                other => panic!("{other:?}"),
            }
        }
    }

    /// The next frame, however long it takes; `None` once the connection is lost, however that looks.
    pub async fn hear(&mut self) -> Option<RelayFrame> {
        loop {
            match self.socket.next().await {
                Some(Ok(Message::Binary(bytes))) => return Some(RelayFrame::decode(&bytes).unwrap()),
                Some(Ok(Message::Ping(_) | Message::Close(_))) => {}
                _ => return None,
            }
        }
    }

    /// The relay closes the connection without saying why.
    pub async fn expect_loss(&mut self) {
        while let Some(frame) = self.hear().await {
            assert!(!matches!(frame, RelayFrame::Error { .. } | RelayFrame::Ended { .. }), "{frame:?}");
        }
    }

    pub async fn expect_data(&mut self, seq: u32, payload: &[u8]) {
        match self.recv().await {
            RelayFrame::Data(data) => assert_eq!((data.seq, data.payload.as_slice()), (seq, payload)),
            other => panic!("{other:?}"),
        }
    }

    /// The next payload and its number, whatever else is said before.
    pub async fn next_data(&mut self) -> (u32, Vec<u8>) {
        loop {
            match self.recv().await {
                RelayFrame::Data(data) => return (data.seq, data.payload),
                RelayFrame::Ack(_) | RelayFrame::PeerJoined { .. } | RelayFrame::PeerLeft => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// Reads until its peer has acknowledged so many frames.
    pub async fn until_acked(&mut self, count: u32) {
        loop {
            match self.recv().await {
                RelayFrame::Ack(Ack { ack, .. }) if ack == count => return,
                RelayFrame::Ack(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// The relay refuses with this code and closes the socket.
    pub async fn expect_refusal(&mut self, code: ErrorCode) -> u32 {
        match self.recv().await {
            RelayFrame::Error { code: got, retry_after_ms } => {
                assert_eq!(got, code);
                self.expect_end().await;
                retry_after_ms
            }
            other => panic!("{other:?}"),
        }
    }

    /// The relay says why it is over and closes the socket.
    pub async fn expect_ended(&mut self, reason: EndReason) {
        assert_eq!(self.recv().await, RelayFrame::Ended { reason });
        self.expect_end().await;
    }

    pub async fn expect_end(&mut self) {
        assert_eq!(self.try_recv().await, None);
    }

    /// Everything this device sent has been taken in by the relay: it answers a websocket ping after that.
    pub async fn synced(&mut self) {
        self.socket.send(Message::Ping(Vec::new().into())).await.unwrap();
        loop {
            match within(self.socket.next()).await {
                Some(Ok(Message::Pong(_))) => return,
                Some(Ok(Message::Ping(_))) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    async fn joined(addr: SocketAddr, first: ClientFrame) -> (Self, Joined) {
        match Self::ask(addr, first).await {
            (device, RelayFrame::Joined(joined)) => (device, joined),
            (_, other) => panic!("{other:?}"),
        }
    }
}

pub async fn upgrade(stream: TcpStream, addr: SocketAddr, path: &str) -> Result<WebSocketStream<TcpStream>, Error> {
    within(client_async(format!("ws://{addr}{path}"), stream)).await.map(|(socket, _)| socket)
}

pub async fn within<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(5), future).await.expect("nothing happened for five seconds")
}

/// Waits until the relay's numbers are as wanted.
pub async fn until(relay: &RelayHandle, wanted: impl Fn(Stats) -> bool) {
    for _ in 0..1000 {
        if wanted(relay.stats()) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("still {:?}", relay.stats());
}

pub async fn until_empty(relay: &RelayHandle) {
    until(relay, |stats| stats == Stats { connections: 0, mailboxes: 0, queued_bytes: 0 }).await;
}
