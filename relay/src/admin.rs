//! The listener for operators: health, readiness and metrics over plain HTTP.

use crate::metrics::CONTENT_TYPE;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{self, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

/// Connections at one time. More wait in the system's queue.
const MAX_CONNECTIONS: usize = 32;

/// From accepting a connection to the end of its answer.
const CONNECTION_TIME: Duration = Duration::from_secs(5);

/// The least that hyper takes. A longer request head is refused.
const BUFFER_BYTES: usize = 8 * 1024;

/// Pause after the system refused a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What the listener asks the relay.
pub(crate) trait Relay: Send + Sync + 'static {
    /// Whether new devices should be sent here, or why not.
    fn ready(&self) -> Result<(), &'static str>;

    /// All metrics as text.
    fn metrics(&self) -> String;
}

/// Never returns.
pub(crate) async fn serve(listener: &TcpListener, relay: &Arc<impl Relay>) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        // The semaphore is never closed.
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let relay = Arc::clone(relay);
                tokio::spawn(async move {
                    // Too late or broken: the connection is dropped all the same.
                    let _ = timeout(CONNECTION_TIME, answer(stream, &relay)).await;
                    drop(place);
                });
            }
            Err(_) => sleep(ACCEPT_PAUSE).await,
        }
    }
}

/// One request a connection.
async fn answer(stream: TcpStream, relay: &Arc<impl Relay>) -> hyper::Result<()> {
    let service = service_fn(|request| async move { Ok::<_, Infallible>(respond(&request, relay.as_ref())) });
    http1::Builder::new()
        .keep_alive(false)
        .max_buf_size(BUFFER_BYTES)
        .serve_connection(TokioIo::new(stream), service)
        .await
}

fn respond(request: &Request<Incoming>, relay: &impl Relay) -> Response<Full<Bytes>> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return text(StatusCode::METHOD_NOT_ALLOWED, "GET only\n");
    }
    match request.uri().path() {
        "/healthz" => text(StatusCode::OK, "ok\n"),
        "/readyz" => match relay.ready() {
            Ok(()) => text(StatusCode::OK, "ready\n"),
            Err(why) => text(StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
        },
        "/metrics" => {
            let mut response = text(StatusCode::OK, relay.metrics());
            response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE));
            response
        }
        _ => text(StatusCode::NOT_FOUND, "no such page\n"),
    }
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, plain);
    response
}
