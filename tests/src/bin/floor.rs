//! The floor: the least that a websocket server can do, in the library that the relay uses. The load client measures
//! the relay against it.
//!
//! `/pair/ROOM` bridges the first two sockets of a room through bounded channels; any other path echoes. There is no
//! limit and no protocol. It listens on `BIND_ADDR` (default 127.0.0.1:9100; port 0 takes any free one) and prints one
//! line when it does.

use futures_util::{SinkExt, StreamExt};
use std::collections::HashMap;
use std::env;
use std::error::Error;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, mpsc};
use tokio_tungstenite::accept_hdr_async_with_config;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

/// Messages on their way from one socket of a room to the other.
const CHANNEL_MESSAGES: usize = 64;

/// What the first socket of a room leaves for the second: where to send, where to receive.
type Waiting = Arc<Mutex<HashMap<String, (mpsc::Sender<Message>, mpsc::Receiver<Message>)>>>;

#[tokio::main]
async fn main() -> io::Result<()> {
    let address = env::var("BIND_ADDR").unwrap_or_else(|_| "127.0.0.1:9100".to_owned());
    let listener = TcpListener::bind(&address).await?;
    writeln!(io::stdout(), "floor listening on ws://{}", listener.local_addr()?)?;
    let waiting = Waiting::default();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let waiting = Arc::clone(&waiting);
                tokio::spawn(async move { serve(stream, waiting).await.is_ok() });
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

async fn serve(stream: TcpStream, waiting: Waiting) -> Result<(), Box<dyn Error + Send + Sync>> {
    stream.set_nodelay(true)?;
    let mut path = String::new();
    let config = WebSocketConfig::default()
        .read_buffer_size(4096)
        .write_buffer_size(0)
        .max_message_size(Some(65536))
        .max_frame_size(Some(65536));
    #[expect(clippy::result_large_err, reason = "the signature is tungstenite's")]
    let read_path = |request: &Request, response: Response| -> Result<Response, ErrorResponse> {
        path = request.uri().path().to_owned();
        Ok(response)
    };
    let socket = accept_hdr_async_with_config(stream, read_path, Some(config)).await?;
    let (mut sink, mut stream) = socket.split();
    let Some(room) = path.strip_prefix("/pair/") else {
        while let Some(message) = stream.next().await {
            match message? {
                message @ (Message::Text(_) | Message::Binary(_)) => sink.send(message).await?,
                Message::Close(_) => break,
                _ => {}
            }
        }
        return Ok(());
    };
    let (to_peer, mut from_peer) = enter(room, &waiting).await;
    loop {
        tokio::select! {
            message = stream.next() => match message {
                Some(Ok(message @ (Message::Text(_) | Message::Binary(_)))) => {
                    if to_peer.send(message).await.is_err() {
                        break;
                    }
                }
                Some(Ok(Message::Close(_)) | Err(_)) | None => break,
                Some(Ok(_)) => {}
            },
            message = from_peer.recv() => match message {
                Some(message) => sink.send(message).await?,
                None => break,
            },
        }
    }
    Ok(())
}

async fn enter(room: &str, waiting: &Waiting) -> (mpsc::Sender<Message>, mpsc::Receiver<Message>) {
    let mut waiting = waiting.lock().await;
    if let Some(second) = waiting.remove(room) {
        return second;
    }
    let (to_second, from_first) = mpsc::channel(CHANNEL_MESSAGES);
    let (to_first, from_second) = mpsc::channel(CHANNEL_MESSAGES);
    waiting.insert(room.to_owned(), (to_first, from_first));
    (to_second, from_second)
}
