//! A websocket to a relay, plain or TLS.

use crate::{Error, RelayUrl};
use futures_util::{SinkExt, StreamExt};
use handfast_protocol::wire::limits::{MAX_FRAME_BYTES, SILENCE_MS};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Bytes, Error as WsError, Message};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

/// How long name resolution, TCP, TLS and the upgrade may take together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the relay has to answer the close.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(500);
const SILENCE: Duration = Duration::from_millis(SILENCE_MS as u64);
const BUFFER_BYTES: usize = 4096;

trait Stream: AsyncRead + AsyncWrite + Unpin + Send + Sync {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send + Sync> Stream for S {}

/// An open websocket.
pub(crate) struct Socket(WebSocketStream<Box<dyn Stream>>);

impl Socket {
    pub(crate) async fn connect(relay: &RelayUrl) -> Result<Self, Error> {
        timeout(CONNECT_TIMEOUT, Self::connect_without_limit(relay))
            .await
            .unwrap_or_else(|_| Err(unreachable(relay, "no answer in 10 seconds")))
    }

    /// Queues a frame; [`Socket::flush`] sends it.
    pub(crate) async fn feed(&mut self, frame: Vec<u8>) -> Result<(), WsError> {
        self.0.feed(Message::Binary(Bytes::from(frame))).await
    }

    pub(crate) async fn flush(&mut self) -> Result<(), WsError> {
        self.0.flush().await
    }

    /// The next frame; `None` when the connection is gone or was silent for too long. Cancel-safe.
    pub(crate) async fn frame(&mut self) -> Option<Bytes> {
        loop {
            match timeout(SILENCE, self.0.next()).await {
                Ok(Some(Ok(Message::Binary(frame)))) => return Some(frame),
                Ok(Some(Ok(Message::Ping(_) | Message::Pong(_)))) => {}
                _ => return None,
            }
        }
    }

    /// Closes politely: what was sent is on its way, and the relay has seen the end.
    pub(crate) async fn close(mut self) {
        let _ = timeout(CLOSE_TIMEOUT, async {
            if self.0.close(None).await.is_ok() {
                while let Some(Ok(_)) = self.0.next().await {}
            }
        })
        .await;
    }

    async fn connect_without_limit(relay: &RelayUrl) -> Result<Self, Error> {
        let tcp = TcpStream::connect((relay.host(), relay.port())).await.map_err(|error| unreachable(relay, error))?;
        tcp.set_nodelay(true).map_err(|error| unreachable(relay, error))?;
        let stream: Box<dyn Stream> = if relay.is_tls() { Box::new(tls(relay, tcp).await?) } else { Box::new(tcp) };
        let config = WebSocketConfig::default()
            .read_buffer_size(BUFFER_BYTES)
            .max_message_size(Some(MAX_FRAME_BYTES))
            .max_frame_size(Some(MAX_FRAME_BYTES));
        match client_async_with_config(relay.request_uri(), stream, Some(config)).await {
            Ok((socket, _)) => Ok(Self(socket)),
            Err(WsError::Io(error)) => Err(unreachable(relay, error)),
            // A balancer speaks, whose relays are away for the moment: no reason to doubt the address.
            Err(WsError::Http(answer)) if matches!(answer.status().as_u16(), 502..=504) => {
                Err(unreachable(relay, "the relay is not available at the moment"))
            }
            Err(error) => Err(Error::NotARelay { relay: relay.clone(), why: error.to_string() }),
        }
    }
}

async fn tls(relay: &RelayUrl, tcp: TcpStream) -> Result<TlsStream<TcpStream>, Error> {
    let failed = |why: String| Error::Tls { relay: relay.clone(), why };
    let name = ServerName::try_from(relay.host().to_owned()).map_err(|error| failed(error.to_string()))?;
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        return Err(failed("this machine has no root certificates".into()));
    }
    let provider = Arc::new(tokio_rustls::rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| failed(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    TlsConnector::from(Arc::new(config)).connect(name, tcp).await.map_err(|error| failed(error.to_string()))
}

fn unreachable(relay: &RelayUrl, why: impl ToString) -> Error {
    Error::RelayUnreachable { relay: relay.clone(), why: why.to_string() }
}
