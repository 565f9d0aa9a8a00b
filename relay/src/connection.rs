//! One connection: upgrade, first frame, then frames both ways between its socket and its seat.

use crate::Config;
use crate::limits::{Door, Guest, Traffic, Visitor};
use crate::mailbox::Output;
use crate::metrics::Metrics;
use crate::store::{Refusal, Seat, Store, error};
use futures_util::{Sink, SinkExt, Stream as _, StreamExt};
use handfast_wire::{ClientFrame, DataHeader, ErrorCode, LimitKind, RelayFrame, limits};
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::watch;
use tokio::time::{Instant, Sleep, sleep_until, timeout};
use tokio_tungstenite::tungstenite::error::{CapacityError, ProtocolError};
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::http::{self, HeaderMap};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Bytes, Error, Message};
use tokio_tungstenite::{WebSocketStream, accept_hdr_async_with_config};

/// What an idle connection pays for. A larger one saves system calls only for frames longer than this.
const READ_BUFFER_BYTES: usize = 2048;

/// Frames that are ready together leave in one system call, up to about this many bytes.
const WRITE_BUFFER_BYTES: usize = 8 * 1024;

/// What one connection may have waiting to be written. Frames are only written when the last ones are out, so this is
/// never met by them; a device that sends pings and reads no pongs meets it, and is dropped.
const MAX_UNWRITTEN_BYTES: usize = WRITE_BUFFER_BYTES + 2 * limits::MAX_FRAME_BYTES;

/// How long a connection that is being closed may take to read the last frame and to answer.
const CLOSE_TIME: Duration = Duration::from_secs(2);

/// How long a connection that cannot come in may take to hear it, its handshakes included.
const REFUSAL_TIME: Duration = Duration::from_secs(3);

/// What a websocket runs over: TCP, or TLS over TCP.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin + 'static> Stream for S {}

type Socket<S> = WebSocketStream<S>;

/// Serves a connection to its end.
///
/// `arriving` is the connection once its TLS handshake is done. `over` says that the relay stops; connections with a
/// seat learn it from their mailbox.
pub(crate) async fn serve<S: Stream>(
    arriving: impl Future<Output = Option<S>>,
    visitor: Visitor,
    door: Arc<Door>,
    store: Store,
    metrics: &Metrics,
    mut over: watch::Receiver<bool>,
) {
    // The phases before and after the relaying are boxed: their memory is theirs only while they run.
    let opening = Box::pin(async {
        tokio::select! {
            opened = open(arriving, visitor, &door, &store, metrics) => opened,
            _ = over.wait_for(|over| *over) => None,
        }
    });
    let Some((mut socket, mut seat, guest, traffic)) = opening.await else { return };
    let end = relay(&mut socket, &mut seat, traffic, store.config(), metrics).await;
    if seat.is_busy() {
        // A device that sees its connection closed can rely on what it did last. If it takes long, it cannot.
        let _ = Box::pin(timeout(CLOSE_TIME, seat.finished())).await;
    }
    drop(seat);
    Box::pin(close(socket, end, metrics)).await;
    drop(guest);
}

/// Tells a connection that cannot come in why.
pub(crate) async fn refuse<S: Stream>(
    arriving: impl Future<Output = Option<S>>,
    why: RelayFrame,
    config: &Config,
    metrics: &Metrics,
    mut over: watch::Receiver<bool>,
) {
    let refusal = async {
        if let Some((socket, ())) = upgrade(arriving, |_| ()).await {
            close(socket, End::Say(why), metrics).await;
        }
    };
    tokio::select! {
        _ = timeout(config.first_frame_timeout.min(REFUSAL_TIME), refusal) => {}
        _ = over.wait_for(|over| *over) => {}
    }
}

/// From a new TCP connection to a seat in a mailbox, answered. `None` if the connection is over already.
async fn open<S: Stream>(
    arriving: impl Future<Output = Option<S>>,
    visitor: Visitor,
    door: &Door,
    store: &Store,
    metrics: &Metrics,
) -> Option<(Socket<S>, Seat, Guest, Traffic)> {
    let config = store.config();
    let asking = timeout(config.first_frame_timeout, ask(arriving, visitor, door, config, metrics));
    let (mut socket, guest, traffic, first) = asking.await.ok().flatten()?;
    let entered = match first {
        Ok(frame) => store.enter(&frame, &guest).await.map_err(End::from),
        Err(end) => Err(end),
    };
    match entered {
        Ok((seat, reply)) => {
            socket.feed(message(&reply)).await.ok()?;
            Some((socket, seat, guest, traffic))
        }
        Err(end) => {
            close(socket, end, metrics).await;
            None
        }
    }
}

/// From a new TCP connection to its first frame, or what to do instead. `None` if the connection is over already.
async fn ask<S: Stream>(
    arriving: impl Future<Output = Option<S>>,
    visitor: Visitor,
    door: &Door,
    config: &Config,
    metrics: &Metrics,
) -> Option<(Socket<S>, Guest, Traffic, Result<ClientFrame, End>)> {
    let (mut socket, identified) = upgrade(arriving, |headers| door.identify(visitor, headers)).await?;
    let guest = match identified {
        Ok(guest) => guest,
        Err(refused) => {
            let why = RelayFrame::from(refused.why);
            match door.place_for_refusal(&refused) {
                Some(_place) => close(socket, End::Say(why), metrics).await,
                None => metrics.said(&why),
            }
            return None;
        }
    };
    let mut traffic = Traffic::new(config);
    let first = loop {
        let received = socket.next().await?;
        if let Some(end) = excess(&received, &mut traffic, config) {
            break Err(end);
        }
        match received {
            Ok(Message::Ping(_) | Message::Pong(_)) => {}
            Ok(Message::Binary(bytes)) => {
                break ClientFrame::decode(&bytes).map_err(|_| End::Say(error(ErrorCode::Malformed)));
            }
            Ok(Message::Close(_)) => break Err(End::Answer),
            Ok(_) => break Err(End::Say(error(ErrorCode::Malformed))),
            Err(broken) => break Err(complaint(&broken)),
        }
    };
    Some((socket, guest, traffic, first))
}

/// Also what `read` makes of the request's headers.
async fn upgrade<S, R>(
    arriving: impl Future<Output = Option<S>>,
    read: impl FnOnce(&HeaderMap) -> R + Unpin,
) -> Option<(Socket<S>, R)>
where
    S: Stream,
    R: Unpin,
{
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(WRITE_BUFFER_BYTES)
        .max_write_buffer_size(MAX_UNWRITTEN_BYTES)
        .max_message_size(Some(limits::MAX_FRAME_BYTES))
        .max_frame_size(Some(limits::MAX_FRAME_BYTES));
    let mut made = None;
    #[expect(clippy::result_large_err, reason = "the signature is tungstenite's")]
    let check = |request: &Request, response| {
        let response = check_path(request, response)?;
        made = Some(read(request.headers()));
        Ok(response)
    };
    let socket = accept_hdr_async_with_config(arriving.await?, check, Some(config)).await.ok()?;
    Some((socket, made?))
}

#[expect(clippy::result_large_err, reason = "the signature is tungstenite's")]
fn check_path(request: &Request, response: Response) -> Result<Response, ErrorResponse> {
    if request.uri().path() == limits::WEBSOCKET_PATH {
        return Ok(response);
    }
    let mut refusal = ErrorResponse::new(None);
    *refusal.status_mut() = http::StatusCode::NOT_FOUND;
    refusal.headers_mut().insert(http::header::CONTENT_LENGTH, http::HeaderValue::from_static("0"));
    refusal.headers_mut().insert(http::header::CONNECTION, http::HeaderValue::from_static("close"));
    Err(refusal)
}

/// How a connection ends.
enum End {
    /// The socket is dead.
    Dead,
    /// The device has closed the websocket: answer that.
    Answer,
    /// Close the websocket.
    Close,
    /// Close the websocket after this frame.
    Say(RelayFrame),
}

impl From<Refusal> for End {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Say(frame) => Self::Say(frame),
            #[cfg(feature = "redis")]
            Refusal::Drop => Self::Dead,
        }
    }
}

/// Moves frames both ways until this connection ends.
async fn relay<S: Stream>(
    socket: &mut Socket<S>,
    seat: &mut Seat,
    mut traffic: Traffic,
    config: &Config,
    metrics: &Metrics,
) -> End {
    let mut times = Times::new();
    let mut timer = pin!(sleep_until(times.next(config)));
    loop {
        let sent = match poll_fn(|cx| next_event(socket, seat, &mut times, timer.as_mut(), config, cx)).await {
            Event::Output(Output::Data(frame)) => send(socket, Message::Binary(frame)),
            Event::Output(Output::Frame(frame)) => send(socket, message(&frame)),
            Event::Output(Output::End(None)) => Err(End::Close),
            Event::Output(Output::End(Some(reason))) => Err(End::Say(RelayFrame::Ended { reason })),
            Event::Lost(refusal) => Err(refusal.into()),
            Event::Input(None) => Err(End::Dead),
            Event::Input(Some(received)) => {
                times.heard = Instant::now();
                excess(&received, &mut traffic, config).map_or_else(|| receive(seat, received, metrics), Err)
            }
            Event::Timer => {
                let now = Instant::now();
                let sent = if times.is_over(now, config) {
                    Err(End::Dead)
                } else if now < times.pinged + config.ping_interval {
                    Ok(())
                } else {
                    times.pinged = now;
                    // A socket that takes no bytes takes no ping either; its write timeout runs.
                    if times.blocked.is_none() {
                        traffic.asked();
                        send(socket, Message::Ping(Bytes::new()))
                    } else {
                        Ok(())
                    }
                };
                timer.as_mut().reset(times.next(config));
                sent
            }
        };
        if let Err(end) = sent {
            return end;
        }
    }
}

enum Event {
    Output(Output),
    /// The seat is lost.
    Lost(Refusal),
    Input(Option<Result<Message, Error>>),
    Timer,
}

/// Output comes first, but only while the socket takes it: what it does not take stays in the mailbox, where it is
/// counted. Input is read in any case that the seat takes it, so two devices that both write first cannot block each
/// other.
fn next_event<S: Stream>(
    socket: &mut Socket<S>,
    seat: &mut Seat,
    times: &mut Times,
    mut timer: Pin<&mut Sleep>,
    config: &Config,
    cx: &mut Context<'_>,
) -> Poll<Event> {
    let mut sink = Pin::new(&mut *socket);
    let mut written = if times.blocked.is_some() { sink.as_mut().poll_flush(cx) } else { sink.as_mut().poll_ready(cx) };
    if let Poll::Ready(Ok(())) = written {
        times.blocked = None;
        if let Poll::Ready(output) = seat.poll_output(cx) {
            return Poll::Ready(output.map_or_else(Event::Lost, Event::Output));
        }
        written = sink.poll_flush(cx);
    }
    match written {
        Poll::Ready(Ok(())) => {}
        Poll::Ready(Err(broken)) => return Poll::Ready(Event::Input(Some(Err(broken)))),
        Poll::Pending => {
            if times.blocked.is_none() {
                times.blocked = Some(Instant::now());
                timer.as_mut().reset(times.next(config));
            }
        }
    }
    if seat.poll_ready(cx)
        && let Poll::Ready(received) = Pin::new(&mut *socket).poll_next(cx)
    {
        return Poll::Ready(Event::Input(received));
    }
    timer.poll(cx).map(|()| Event::Timer)
}

/// Hands a message to the socket, which was ready for it.
fn send<S: Stream>(socket: &mut Socket<S>, message: Message) -> Result<(), End> {
    Pin::new(socket).start_send(message).map_err(|_| End::Dead)
}

fn receive(seat: &mut Seat, received: Result<Message, Error>, metrics: &Metrics) -> Result<(), End> {
    let bytes = match received {
        Ok(Message::Binary(bytes)) => bytes,
        Ok(Message::Ping(_) | Message::Pong(_)) => return Ok(()),
        Ok(Message::Close(_)) => return Err(End::Answer),
        Ok(_) => return Err(End::Say(error(ErrorCode::Malformed))),
        Err(broken) => return Err(complaint(&broken)),
    };
    let malformed = |_| End::Say(error(ErrorCode::Malformed));
    let taken = match DataHeader::decode(&bytes).map_err(malformed)? {
        Some(header) => seat.data(header, &bytes).inspect(|()| metrics.frame(bytes.len())),
        None => match ClientFrame::decode(&bytes).map_err(malformed)? {
            ClientFrame::Ack(ack) => seat.ack(ack),
            ClientFrame::Close { reason } => {
                seat.close(reason);
                return Err(End::Close);
            }
            _ => Err(error(ErrorCode::UnexpectedFrame)),
        },
    };
    taken.map_err(End::Say)
}

/// What to do about a message that is more than this connection may say.
fn excess(received: &Result<Message, Error>, traffic: &mut Traffic, config: &Config) -> Option<End> {
    let fits = received.as_ref().map_or(true, |message| traffic.take(message.len(), config));
    (!fits).then(|| End::Say(error(ErrorCode::Limit(LimitKind::MailboxFrames))))
}

/// What to tell a device whose bytes are no websocket message of ours, unless the socket itself is gone.
fn complaint(broken: &Error) -> End {
    match broken {
        Error::Capacity(CapacityError::MessageTooLong { .. }) => {
            End::Say(error(ErrorCode::Limit(LimitKind::FrameBytes)))
        }
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => End::Dead,
        Error::Protocol(_) | Error::Utf8(_) => End::Say(error(ErrorCode::Malformed)),
        _ => End::Dead,
    }
}

/// Ends a connection in a way that lets the device read the last frame.
async fn close<S: Stream>(mut socket: Socket<S>, end: End, metrics: &Metrics) {
    let (last, mut answered) = match end {
        End::Dead => return,
        End::Answer => (None, true),
        End::Close => (None, false),
        End::Say(frame) => (Some(frame), false),
    };
    last.iter().for_each(|last| metrics.said(last));
    let closing = async {
        if let Some(last) = last {
            socket.feed(message(&last)).await?;
        }
        SinkExt::close(&mut socket).await?;
        while let Some(Ok(message)) = socket.next().await {
            answered |= message.is_close();
        }
        if answered {
            return Ok(());
        }
        // A broken websocket never answers. What still arrives is read and dropped: left unread, it would make the
        // system reset the connection, and the device could lose the frame that says why.
        let stream = socket.get_mut();
        stream.shutdown().await?;
        let mut unread = [0; 512];
        while stream.read(&mut unread).await? > 0 {}
        Ok::<_, Error>(())
    };
    // Too late or refused: the socket is dropped all the same.
    let _ = timeout(CLOSE_TIME, closing).await;
}

fn message(frame: &RelayFrame) -> Message {
    Message::Binary(frame.encode().into())
}

/// When things last happened on a connection.
struct Times {
    heard: Instant,
    pinged: Instant,
    /// Since when the socket takes no more bytes.
    blocked: Option<Instant>,
}

impl Times {
    fn new() -> Self {
        let now = Instant::now();
        Self { heard: now, pinged: now, blocked: None }
    }

    fn next(&self, config: &Config) -> Instant {
        let quiet = (self.heard + config.idle_timeout).min(self.pinged + config.ping_interval);
        self.blocked.map_or(quiet, |since| quiet.min(since + config.write_timeout))
    }

    fn is_over(&self, now: Instant, config: &Config) -> bool {
        now >= self.heard + config.idle_timeout || self.blocked.is_some_and(|since| now >= since + config.write_timeout)
    }
}
