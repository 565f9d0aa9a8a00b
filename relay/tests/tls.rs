//! TLS: devices pair over it, certificates are read again, and whoever does not speak it does no harm.

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use common::http::{metric, until_metric};
use common::process::{Process, command, output};
use common::tls::Certificate;
use common::{A, Device, relay_with, within};
use handfast_relay::{Config, TlsFiles};
use handfast_wire::{CloseReason, EndReason, ErrorCode, RelayFrame};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::Duration;
use tempfile::{TempDir, tempdir};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

/// A relay process with a certificate, and the way to it for devices.
async fn started(options: &[&str]) -> (Process, Arc<Certificate>, TempDir) {
    let folder = tempdir().unwrap();
    let certificate = Arc::new(Certificate::write(folder.path()));
    let process = Process::start(&[options, &certificate.options()].concat());
    (process, certificate, folder)
}

#[tokio::test]
async fn two_devices_pair_over_tls_and_are_told_the_end() {
    let (process, certificate, _folder) = started(&["--claim-timeout", "1"]).await;
    let addr = certificate.tunnel(process.addr).await;
    let (mut first, mut second, mailbox) = Device::pair(addr).await;
    let long = [7; 16_000];
    first.data(0, 0, &long).await;
    second.expect_data(0, &long).await;
    second.data(0, 1, b"and back").await;
    first.expect_data(0, b"and back").await;
    drop(first);
    assert_eq!(second.recv().await, RelayFrame::PeerLeft);
    let (mut first, _) = Device::resume(addr, mailbox, A, 1).await;
    assert_eq!(second.recv().await, RelayFrame::PeerJoined { network: handfast_wire::Network::Same });
    first.data(9, 1, b"a gap").await;
    loop {
        match first.recv().await {
            RelayFrame::Error { code, .. } => break assert_eq!(code, ErrorCode::UnexpectedFrame),
            RelayFrame::PeerJoined { .. } | RelayFrame::Ack(_) => {}
            other => panic!("{other:?}"),
        }
    }
    first.expect_end().await;

    let (_first, nameplate, _) = Device::allocate(addr).await;
    let (mut silent, _) = Device::claim(addr, nameplate, common::B).await;
    silent.expect_ended(EndReason::ClaimTimedOut).await;
}

#[tokio::test]
async fn a_plain_device_noise_and_silence_do_no_harm() {
    let options = ["--first-frame-timeout", "1", "--admin-listen", "127.0.0.1:0", "--max-connections", "200"];
    let (mut process, certificate, _folder) = started(&options).await;
    let admin = process.admin();
    let noise =
        ["GET /v1 HTTP/1.1\r\nHost: relay\r\nUpgrade: websocket\r\n\r\n", "\0\0\0\0\0\0\0\0", "\u{16}\u{3}\u{1}zz"];
    for bytes in noise {
        let (_, answer) = request_bytes(process.addr, bytes).await;
        assert!(!answer.windows(4).any(|part| part == b"HTTP"), "{answer:?}");
    }
    let mut silent = Vec::new();
    for _ in 0..100 {
        silent.push(TcpStream::connect(process.addr).await.unwrap());
    }
    // They hold nobody up, and are gone when their time is over.
    let addr = certificate.tunnel(process.addr).await;
    let (mut first, _second, _) = Device::pair(addr).await;
    for mut stream in silent {
        assert_eq!(within(stream.read(&mut [0])).await.unwrap(), 0);
    }
    until_metric(admin, "tls_failures_total", 103.0).await;
    first.synced().await;
    until_metric(admin, "connections", 2.0).await;
    assert!(metric(admin, "accepted_connections_total").await >= 105.0);
}

async fn request_bytes(addr: std::net::SocketAddr, bytes: &str) -> (usize, Vec<u8>) {
    use tokio::io::AsyncWriteExt;
    let mut stream = TcpStream::connect(addr).await.unwrap();
    stream.write_all(bytes.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // An alert and then a reset is an answer as well.
    let read = within(stream.read_to_end(&mut answer)).await.unwrap_or(0);
    (read, answer)
}

#[tokio::test]
async fn a_connection_over_the_limit_is_told_so_over_tls() {
    let (process, certificate, _folder) = started(&["--max-connections", "1"]).await;
    let addr = certificate.tunnel(process.addr).await;
    let (mut first, ..) = Device::allocate(addr).await;
    let mut second = Device::connect(addr).await;
    second.expect_refusal(ErrorCode::Limit(handfast_wire::LimitKind::Connections)).await;
    first.close(CloseReason::Cancelled).await;
    first.expect_end().await;
}

#[tokio::test]
async fn a_new_certificate_is_used_after_sighup_and_a_bad_one_is_not() {
    let (mut process, old, folder) = started(&[]).await;
    let addr = process.addr;
    let (mut first, ..) = Device::allocate(old.tunnel(addr).await).await;

    fs::write(&old.certificate, "-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n").unwrap();
    process.signal("HUP");
    tokio::time::sleep(Duration::from_millis(200)).await;
    old.connect(addr).await.unwrap();

    let new = Certificate::write(folder.path());
    old.connect(addr).await.unwrap();
    process.signal("HUP");
    within(async {
        while new.connect(addr).await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    old.connect(addr).await.unwrap_err();
    first.synced().await;

    process.signal("KILL");
    process.exit().await;
    let (_, log) = process.rest();
    let warning = format!("cannot use {}: ", old.certificate.display());
    assert_eq!(log.matches("WARN").count(), 1, "{log}");
    assert!(log.contains(&warning) && log.contains("going on with the certificate from before"), "{log}");
}

#[tokio::test]
async fn a_new_certificate_is_found_without_a_signal() {
    let folder = tempdir().unwrap();
    let old = Certificate::write(folder.path());
    let tls = Some(TlsFiles { certificate: old.certificate.clone(), key: old.key.clone() });
    let relay = relay_with(Config { tls, ..Config::default() }).await;
    old.connect(relay.addr()).await.unwrap();
    let new = Certificate::write(folder.path());
    old.connect(relay.addr()).await.unwrap();
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(61)).await;
    tokio::time::resume();
    new.connect(relay.addr()).await.unwrap();
    old.connect(relay.addr()).await.unwrap_err();
}

#[tokio::test]
async fn sighup_does_not_end_a_relay_without_a_certificate() {
    let process = Process::start(&[]);
    process.signal("HUP");
    Device::pair(process.addr).await;
}

#[tokio::test]
async fn a_key_that_others_may_read_is_warned_about() {
    let folder = tempdir().unwrap();
    let certificate = Certificate::write(folder.path());
    fs::set_permissions(&certificate.key, Permissions::from_mode(0o644)).unwrap();
    let mut process = Process::start(&certificate.options());
    process.signal("TERM");
    process.exit().await;
    let (_, log) = process.rest();
    assert!(log.contains("every user of this machine may use the private key"), "{log}");
}

#[test]
fn a_certificate_that_cannot_be_used_is_1_and_one_line() {
    let folder = tempdir().unwrap();
    let good = Certificate::write(folder.path());
    let other = tempdir().unwrap();
    let other = Certificate::write(other.path());
    let missing = folder.path().join("missing.pem");
    let empty = folder.path().join("empty.pem");
    fs::write(&empty, "").unwrap();
    for (certificate, key, named) in [
        (&missing, &good.key, &missing),
        (&good.certificate, &missing, &missing),
        (&empty, &good.key, &empty),
        (&good.certificate, &empty, &empty),
        (&good.certificate, &good.certificate, &good.certificate),
        (&good.certificate, &other.key, &good.certificate),
    ] {
        let mut command = command(&["serve", "--listen", "127.0.0.1:0", "--tls-certificate"]);
        let (code, out, why) = output(command.arg(certificate).arg("--tls-key").arg(key));
        assert_eq!((code, out.as_str()), (Some(1), ""), "{why}");
        let lines: Vec<_> = why.lines().filter(|line| line.starts_with("handfast-relay: ")).collect();
        assert_eq!(lines.len(), 1, "{why}");
        assert!(lines.iter().all(|line| line.contains(&format!("cannot use {}: ", named.display()))), "{why}");
    }
}
