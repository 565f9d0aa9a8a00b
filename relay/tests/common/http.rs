//! Requests to the admin listener.

use super::within;
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The status and the whole answer.
pub async fn get(addr: SocketAddr, path: &str) -> (u16, String) {
    request(addr, &format!("GET {path} HTTP/1.1\r\nHost: relay\r\n\r\n")).await
}

/// What comes back for these bytes; status 0 if nothing does.
pub async fn request(addr: SocketAddr, request: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // A reset after the answer is an end too.
    let _ = within(stream.read_to_end(&mut answer)).await;
    let answer = String::from_utf8(answer).unwrap();
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    (status, answer)
}

/// The value of a line of `/metrics`, such as `outcomes_total{outcome="done"}`, without the prefix that all have.
pub async fn metric(addr: SocketAddr, name: &str) -> f64 {
    let (status, text) = get(addr, "/metrics").await;
    assert_eq!(status, 200);
    let line =
        text.lines().find_map(|line| line.strip_prefix("handfast_relay_")?.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name} in {text}")).parse().unwrap()
}

/// Waits until that value is as wanted.
pub async fn until_metric(addr: SocketAddr, name: &str, wanted: f64) {
    let mut last = f64::NAN;
    for _ in 0..1000 {
        last = metric(addr, name).await;
        if (last - wanted).abs() < 1e-9 {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    panic!("{name} is {last}, not {wanted}");
}
