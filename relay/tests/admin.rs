//! What operators see: health, readiness, metrics and the log.

#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use common::http::{get, metric, request, until_metric};
use common::{A, B, C, Device, ID, relay_with, until_empty, within};
use futures_util::SinkExt;
use handfast_relay::{Config, RelayHandle};
use handfast_wire::limits::MAX_FRAME_BYTES;
use handfast_wire::{ClientFrame, CloseReason, EndReason, ErrorCode, MailboxId, Nameplate, RelayFrame};
use std::io::Write;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;

async fn observed(config: Config) -> (RelayHandle, SocketAddr) {
    let relay = relay_with(Config { admin_listen: Some(SocketAddr::from(([127, 0, 0, 1], 0))), ..config }).await;
    let admin = relay.admin_addr().unwrap();
    (relay, admin)
}

#[tokio::test]
async fn the_pages_are_there_and_no_others() {
    let (relay, admin) = observed(Config::default()).await;
    for (path, status, body) in
        [("/healthz", 200, "ok\n"), ("/readyz", 200, "ready\n"), ("/", 404, "no such page\n"), ("/v1", 404, "")]
    {
        let (got, answer) = get(admin, path).await;
        assert_eq!(got, status, "{path}: {answer}");
        assert!(answer.ends_with(body), "{path}: {answer}");
    }
    let (_, metrics) = get(admin, "/metrics").await;
    assert!(metrics.to_lowercase().contains("content-type: application/openmetrics-text; version=1.0.0"), "{metrics}");
    assert!(metrics.ends_with("# EOF\n"), "{metrics}");
    assert_eq!(request(admin, "POST /healthz HTTP/1.1\r\nHost: relay\r\nContent-Length: 3\r\n\r\nabc").await.0, 405);
    assert!(request(admin, "HEAD /healthz HTTP/1.1\r\nHost: relay\r\n\r\n").await.1.ends_with("\r\n\r\n"));
    // The devices' address has none of them.
    assert_ne!(get(relay.addr(), "/healthz").await.0, 200);
}

#[tokio::test]
async fn slow_and_long_requests_do_not_keep_the_listener() {
    let (_relay, admin) = observed(Config::default()).await;
    let long = format!("GET /healthz HTTP/1.1\r\nHost: relay\r\nX: {}\r\n\r\n", "x".repeat(64 * 1024));
    assert_ne!(request(admin, &long).await.0, 200);
    let mut slow = Vec::new();
    for number in 0..100 {
        let mut stream = TcpStream::connect(admin).await.unwrap();
        if number % 2 == 0 {
            stream.write_all(b"GET /healthz HTTP/1.1\r\nHost:").await.unwrap();
        }
        slow.push(stream);
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    // There are 32 places, and each is free again after five seconds: the next one has to wait, twenty seconds at most.
    let waits = tokio::time::timeout(Duration::from_millis(200), get(admin, "/healthz")).await;
    assert!(waits.is_err(), "{waits:?}");
    for _ in 0..4 {
        pass(Duration::from_secs(6)).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(get(admin, "/healthz").await.0, 200);
    for mut stream in slow {
        let mut rest = Vec::new();
        // Closed or reset, but over.
        let _ = within(stream.read_to_end(&mut rest)).await;
    }
}

#[tokio::test]
async fn mailboxes_move_from_state_to_state_and_out() {
    let (relay, admin) = observed(Config::default()).await;
    let addr = relay.addr();
    assert_eq!(metric(admin, concat!("build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"}")).await as u32, 1);
    let (mut first, nameplate, _) = Device::allocate(addr).await;
    until_metric(admin, "mailboxes{state=\"waiting\"}", 1.0).await;
    until_metric(admin, "connections", 1.0).await;
    let (mut second, _) = Device::claim(addr, nameplate, B).await;
    until_metric(admin, "mailboxes{state=\"waiting\"}", 0.0).await;
    until_metric(admin, "mailboxes{state=\"paired\"}", 1.0).await;
    until_metric(admin, "connections", 2.0).await;
    first.recv().await;
    first.data(0, 0, &[0; 90]).await;
    first.data(1, 0, &[0; 90]).await;
    until_metric(admin, "frames_total", 2.0).await;
    until_metric(admin, "bytes_total", 200.0).await;
    until_metric(admin, "stored_bytes", 200.0).await;
    second.data(0, 0, b"reply").await;
    second.ack(2).await;
    until_metric(admin, "stored_bytes", 15.0).await;
    first.settle().await;
    second.settle().await;
    until_metric(admin, "mailboxes{state=\"settled\"}", 1.0).await;
    until_metric(admin, "mailboxes{state=\"paired\"}", 0.0).await;
    first.close(CloseReason::Done).await;
    second.close(CloseReason::Done).await;
    until_metric(admin, "mailboxes{state=\"settled\"}", 0.0).await;
    until_metric(admin, "outcomes_total{outcome=\"done\"}", 1.0).await;
    until_metric(admin, "pairing_seconds_count", 1.0).await;
    assert!(metric(admin, "pairing_seconds_sum").await < 5.0);
    assert_eq!(metric(admin, "accepted_connections_total").await as u32, 2);
    drop((first, second));
    until_metric(admin, "connections", 0.0).await;
    until_empty(&relay).await;
}

#[tokio::test]
async fn every_outcome_is_counted_once() {
    let (relay, admin) = observed(Config::default()).await;
    let addr = relay.addr();
    let closes = [
        (CloseReason::Cancelled, Some(CloseReason::Done), "cancelled"),
        (CloseReason::Done, Some(CloseReason::Failed), "failed"),
        (CloseReason::Burned, Some(CloseReason::Failed), "burned"),
        (CloseReason::Expired, None, "expired"),
    ];
    for (one, other, outcome) in closes {
        let (mut first, nameplate, _) = Device::allocate(addr).await;
        if let Some(other) = other {
            let (mut second, _) = Device::claim(addr, nameplate, B).await;
            second.close(other).await;
            second.expect_end().await;
        }
        first.close(one).await;
        until_metric(admin, &format!("outcomes_total{{outcome=\"{outcome}\"}}"), 1.0).await;
    }
    let (_first, _second, mailbox) = Device::pair(addr).await;
    let (_, answer) = Device::ask(addr, ClientFrame::Open { mailbox, token: C }).await;
    assert_eq!(answer, RelayFrame::Ended { reason: EndReason::Crowded });
    until_metric(admin, "outcomes_total{outcome=\"crowded\"}", 1.0).await;

    let (mut first, mut silent, _) = Device::pair(addr).await;
    pass(Duration::from_secs(16)).await;
    silent.expect_ended(EndReason::ClaimTimedOut).await;
    until_metric(admin, "lapsed_claims_total", 1.0).await;
    until_metric(admin, "mailboxes{state=\"waiting\"}", 1.0).await;
    assert_eq!(first.recv().await, RelayFrame::PeerFreed);
    pass(Duration::from_secs(600)).await;
    until_metric(admin, "outcomes_total{outcome=\"expired\"}", 2.0).await;
    for state in ["waiting", "paired", "settled"] {
        until_metric(admin, &format!("mailboxes{{state=\"{state}\"}}"), 0.0).await;
    }
    assert_eq!(metric(admin, "pairing_seconds_count").await as u32, 0, "none of them was a pairing");
}

#[tokio::test]
async fn every_refusal_is_counted_under_its_reason() {
    let config = Config { max_mailboxes: 3, max_mailbox_frames: 10, max_queued_bytes: 40_000, ..Config::default() };
    let (relay, admin) = observed(config).await;
    let addr = relay.addr();
    let unknown = MailboxId([9; 16]);
    let unused = Nameplate::new(77).unwrap();

    let mut device = Device::connect(addr).await;
    device.socket.send(Message::text("hello")).await.unwrap();
    device.expect_refusal(ErrorCode::Malformed).await;
    let mut device = Device::connect(addr).await;
    device.socket.send(Message::Binary(vec![5; MAX_FRAME_BYTES + 1].into())).await.unwrap();
    device.recv().await;
    let mut device = Device::connect(addr).await;
    device.data(0, 0, b"early").await;
    device.expect_refusal(ErrorCode::UnexpectedFrame).await;
    Device::resume(addr, unknown, A, 0).await;

    let (mut first, mut second, mailbox) = Device::pair(addr).await;
    // An unused nameplate, unless it happens to be that of the pair.
    let (_, answer) = Device::ask(addr, ClientFrame::Claim { nameplate: unused, token: C }).await;
    assert!(matches!(answer, RelayFrame::Error { code: ErrorCode::NoSuchNameplate, .. }), "{answer:?}");
    Device::resume(addr, mailbox, C, 0).await;
    first.settle().await;
    second.settle().await;
    until_metric(admin, "mailboxes{state=\"settled\"}", 1.0).await;
    Device::ask(addr, ClientFrame::Open { mailbox, token: C }).await;

    for seq in 0..9 {
        first.data(seq, 0, b"more").await;
    }
    until_metric(admin, "refusals_total{reason=\"window\"}", 1.0).await;
    for seq in 0..3 {
        second.data(seq, 0, b"more").await;
    }
    until_metric(admin, "refusals_total{reason=\"mailbox_frames\"}", 1.0).await;

    let (mut third, ..) = Device::open(addr, ID, A).await;
    for seq in 0..3 {
        third.data(seq, 0, &[0; 16_000]).await;
    }
    until_metric(admin, "refusals_total{reason=\"queued_bytes\"}", 1.0).await;
    let (_fourth, ..) = Device::allocate(addr).await;
    Device::ask(addr, ClientFrame::Allocate { token: A }).await;

    for reason in [
        "malformed",
        "frame_bytes",
        "unexpected_frame",
        "no_such_mailbox",
        "no_such_nameplate",
        "bad_token",
        "mailbox_full",
        "mailboxes",
    ] {
        until_metric(admin, &format!("refusals_total{{reason=\"{reason}\"}}"), 1.0).await;
    }
}

#[tokio::test]
async fn connections_over_the_limit_are_counted_told_or_not() {
    // Those that are told may take their time.
    let config = Config { max_connections: 1, first_frame_timeout: Duration::from_secs(600), ..Config::default() };
    let (relay, admin) = observed(config).await;
    let (_first, ..) = Device::allocate(relay.addr()).await;
    let mut device = Device::connect(relay.addr()).await;
    device.recv().await;
    until_metric(admin, "refusals_total{reason=\"connections\"}", 1.0).await;
    // More at one time than are told.
    let mut crowd = Vec::new();
    for _ in 0..100 {
        crowd.push(TcpStream::connect(relay.addr()).await.unwrap());
    }
    until_metric(admin, "accepted_connections_total", 102.0).await;
    assert!(metric(admin, "refusals_total{reason=\"connections\"}").await >= 37.0);
}

#[tokio::test]
async fn a_draining_relay_is_healthy_and_not_ready() {
    let (relay, admin) = observed(Config::default()).await;
    let addr = relay.addr();
    let (mut first, ..) = Device::allocate(addr).await;
    let draining = tokio::spawn(relay.shutdown());
    within(async {
        while get(admin, "/readyz").await.0 == 200 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    let (status, answer) = get(admin, "/readyz").await;
    assert_eq!((status, answer.ends_with("draining\n")), (503, true), "{answer}");
    assert_eq!(get(admin, "/healthz").await.0, 200);
    Device::ask(addr, ClientFrame::Allocate { token: B }).await;
    until_metric(admin, "refusals_total{reason=\"draining\"}", 1.0).await;
    first.close(CloseReason::Done).await;
    within(draining).await.unwrap();
    TcpStream::connect(admin).await.unwrap_err();
}

#[tokio::test]
async fn mailboxes_that_the_end_of_the_relay_ended_are_counted() {
    let (relay, admin) = observed(Config { drain_time: Duration::ZERO, ..Config::default() }).await;
    let (mut first, ..) = Device::allocate(relay.addr()).await;
    let ending = tokio::spawn(relay.shutdown());
    // The listener answers until the connections are gone.
    until_metric(admin, "outcomes_total{outcome=\"shutting_down\"}", 1.0).await;
    first.expect_ended(EndReason::ShuttingDown).await;
    drop(first);
    within(ending).await.unwrap();
}

#[tokio::test]
async fn no_label_says_who() {
    let (relay, admin) = observed(Config::default()).await;
    let (_first, _second, _) = Device::pair(relay.addr()).await;
    let (_, text) = get(admin, "/metrics").await;
    let labels = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once('{'));
    for (_, label) in labels {
        let name = label.split('=').next().unwrap();
        assert!(["state", "reason", "outcome", "version", "le"].contains(&name), "{label}");
    }
    assert!(!text.contains("127.0.0.1"), "{text}");
}

#[tokio::test]
async fn refusals_are_logged_as_one_line_in_ten_seconds() {
    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);
    impl Write for Log {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            Write::write(&mut *self.0.lock().unwrap(), bytes)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let relay = relay_with(Config::default()).await;
    let refused = async |number: u32| {
        for _ in 0..number {
            Device::resume(relay.addr(), ID, A, 0).await;
        }
        let mut device = Device::connect(relay.addr()).await;
        device.data(0, 0, b"early").await;
        device.expect_refusal(ErrorCode::UnexpectedFrame).await;
    };
    let lines = async || {
        pass(Duration::from_secs(11)).await;
        tokio::time::sleep(Duration::from_millis(10)).await;
        let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
        text.lines().filter(|line| line.contains("refused: ")).map(str::to_owned).collect::<Vec<_>>()
    };
    refused(30).await;
    let first = lines().await;
    assert_eq!(first.len(), 1, "{first:?}");
    assert!(first.iter().all(|line| line.contains("refused: unexpected_frame=1 no_such_mailbox=30")), "{first:?}");
    assert_eq!(lines().await.len(), 1, "nothing new is nothing to say");
    refused(2).await;
    let second = lines().await;
    assert_eq!(second.len(), 2, "{second:?}");
    assert!(second.iter().any(|line| line.contains("refused: unexpected_frame=1 no_such_mailbox=2 ")), "{second:?}");
}

/// Lets this much time pass at once.
async fn pass(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}
