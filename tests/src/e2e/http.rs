//! As much HTTP as it takes to ask a relay or its balancer how it is.

use super::soon;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

/// Asks for a path.
pub async fn get(address: SocketAddr, path: &str) -> io::Result<Answer> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    send(TcpStream::connect(address).await?, &request).await
}

/// Sends a whole request from one of this machine's addresses.
pub async fn send_from(from: Ipv4Addr, address: SocketAddr, request: &str) -> io::Result<Answer> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((from, 0).into())?;
    send(socket.connect(address).await?, request).await
}

/// Completes when a path is answered with this status.
pub async fn answers(address: SocketAddr, path: &str, status: u16) {
    let asking = async {
        while !get(address, path).await.is_ok_and(|answer| answer.status == status) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    soon(&format!("status {status} of {path} at {address}"), asking).await;
}

/// What comes back.
#[derive(Debug)]
pub struct Answer {
    /// Such as 200.
    pub status: u16,
    /// What follows the head.
    pub body: String,
}

async fn send(mut stream: TcpStream, request: &str) -> io::Result<Answer> {
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    soon("the end of an answer", stream.read_to_string(&mut answer)).await?;
    let no_answer = || io::Error::new(io::ErrorKind::InvalidData, "no HTTP answer");
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(no_answer)?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(no_answer)?;
    Ok(Answer { status, body: body.to_owned() })
}
