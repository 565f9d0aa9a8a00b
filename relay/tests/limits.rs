//! Every limit fires, says which one it is, and gives back what it counted.

#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use common::{A, B, Device, ID, relay, relay_with, until, until_empty, upgrade, within};
use futures_util::{SinkExt, StreamExt};
use handfast_relay::{Config, Rate, Relay};
use handfast_wire::limits::{MAX_FRAME_BYTES, MAX_PAYLOAD_BYTES};
use handfast_wire::{ClientFrame, CloseReason, EndReason, ErrorCode, LimitKind, RelayFrame};
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpSocket, TcpStream};
use tokio_tungstenite::tungstenite::{Error, Message};

#[tokio::test]
async fn another_path_is_not_found() {
    let relay = relay().await;
    for path in ["/", "/v2", "/v1/", "/v1x"] {
        let stream = TcpStream::connect(relay.addr()).await.unwrap();
        match upgrade(stream, relay.addr(), path).await {
            Err(Error::Http(response)) => assert_eq!(response.status(), 404, "{path}"),
            other => panic!("{path}: {other:?}"),
        }
    }
    until_empty(&relay).await;
}

#[tokio::test]
async fn the_first_frame_names_a_mailbox() {
    let relay = relay().await;
    let mut device = Device::connect(relay.addr()).await;
    device.data(0, 0, b"too early").await;
    device.expect_refusal(ErrorCode::UnexpectedFrame).await;
    let mut device = Device::connect(relay.addr()).await;
    device.close(CloseReason::Done).await;
    device.expect_refusal(ErrorCode::UnexpectedFrame).await;
}

#[tokio::test]
async fn only_the_first_frame_names_a_mailbox() {
    let relay = relay().await;
    let (mut device, ..) = Device::allocate(relay.addr()).await;
    device.send(ClientFrame::Open { mailbox: ID, token: A }).await;
    device.expect_refusal(ErrorCode::UnexpectedFrame).await;
}

#[tokio::test]
async fn nonsense_is_malformed() {
    let nonsense = [
        Message::text("allocate, please"),
        Message::Binary(Vec::new().into()),
        Message::Binary(vec![0x99].into()),
        Message::Binary(vec![5, 0, 0, 0, 0, 0, 0, 0, 0, 9, 1].into()),
    ];
    let relay = relay().await;
    for message in nonsense {
        let mut fresh = Device::connect(relay.addr()).await;
        fresh.socket.send(message.clone()).await.unwrap();
        fresh.expect_refusal(ErrorCode::Malformed).await;
        let (mut seated, ..) = Device::allocate(relay.addr()).await;
        seated.socket.send(message).await.unwrap();
        seated.expect_refusal(ErrorCode::Malformed).await;
    }
    until(&relay, |stats| stats.connections == 0).await;
}

#[tokio::test]
async fn a_frame_may_be_16_kib_and_not_a_byte_more() {
    let relay = relay().await;
    let code = ErrorCode::Limit(LimitKind::FrameBytes);
    // The largest of these is still on its way while the relay refuses it.
    for len in [MAX_FRAME_BYTES + 1, 100 * MAX_FRAME_BYTES] {
        let mut fresh = Device::connect(relay.addr()).await;
        fresh.socket.send(Message::Binary(vec![1; len].into())).await.unwrap();
        fresh.expect_refusal(code).await;
        let (mut first, mut second, _) = Device::pair(relay.addr()).await;
        first.data(0, 0, &[1; MAX_PAYLOAD_BYTES]).await;
        second.expect_data(0, &[1; MAX_PAYLOAD_BYTES]).await;
        first.socket.send(Message::Binary(vec![5; len].into())).await.unwrap();
        first.expect_refusal(code).await;
        assert_eq!(second.recv().await, RelayFrame::PeerLeft);
    }
}

#[tokio::test]
async fn the_window_is_eight_frames() {
    let relay = relay().await;
    let (mut first, mut second, _) = Device::pair(relay.addr()).await;
    for seq in 0..8 {
        first.data(seq, 0, b"x").await;
        second.expect_data(seq, b"x").await;
    }
    second.ack(1).await;
    first.recv().await;
    first.data(8, 0, b"x").await;
    first.data(9, 0, b"x").await;
    first.expect_refusal(ErrorCode::Limit(LimitKind::Window)).await;
    second.expect_data(8, b"x").await;
}

#[tokio::test]
async fn a_mailbox_carries_64_frames() {
    let relay = relay().await;
    let (mut first, mut second, _) = Device::pair(relay.addr()).await;
    for seq in 0..32 {
        first.data(seq, seq, b"x").await;
        second.expect_data(seq, b"x").await;
        second.data(seq, seq + 1, b"y").await;
        first.expect_data(seq, b"y").await;
    }
    first.data(32, 32, b"x").await;
    first.expect_refusal(ErrorCode::Limit(LimitKind::MailboxFrames)).await;
}

#[tokio::test]
async fn a_mailbox_carries_512_kib() {
    let relay = relay().await;
    let (mut first, mut second, _) = Device::pair(relay.addr()).await;
    let full = [1; MAX_PAYLOAD_BYTES];
    // 32 whole frames are 512 KiB, whichever way they go.
    for seq in 0..16 {
        first.data(seq, seq, &full).await;
        second.expect_data(seq, &full).await;
        second.data(seq, seq + 1, &full).await;
        first.expect_data(seq, &full).await;
    }
    // A repeated frame takes nothing.
    first.data(15, 16, &full).await;
    first.synced().await;
    first.data(16, 16, b"x").await;
    assert_eq!(first.expect_refusal(ErrorCode::Limit(LimitKind::MailboxBytes)).await, 0);
    assert!(matches!(second.recv().await, RelayFrame::Ack(_)));
    assert_eq!(second.recv().await, RelayFrame::PeerLeft);
}

#[tokio::test]
async fn a_repeated_frame_needs_no_room() {
    let relay = relay_with(Config { max_queued_bytes: MAX_FRAME_BYTES, ..Config::default() }).await;
    let (mut first, mut second, _) = Device::pair(relay.addr()).await;
    second.data(0, 0, b"here").await;
    first.expect_data(0, b"here").await;
    first.ack(1).await;
    second.recv().await;
    first.data(0, 1, &[1; MAX_PAYLOAD_BYTES]).await;
    second.expect_data(0, &[1; MAX_PAYLOAD_BYTES]).await;
    first.data(0, 1, &[1; MAX_PAYLOAD_BYTES]).await;
    first.synced().await;
    second.ack(1).await;
    assert!(matches!(first.recv().await, RelayFrame::Ack(_)));
    assert_eq!(relay.stats().queued_bytes, 0);
}

#[tokio::test]
async fn a_connection_that_says_too_much_is_told_so() {
    let relay = relay().await;
    let code = ErrorCode::Limit(LimitKind::MailboxFrames);
    let (mut first, mut second, _) = Device::pair(relay.addr()).await;
    for _ in 0..1100 {
        first.try_ack(0).await;
    }
    first.expect_refusal(code).await;
    assert_eq!(second.recv().await, RelayFrame::PeerLeft);
    let large = [1; MAX_PAYLOAD_BYTES];
    for _ in 0..520 {
        second.try_data(0, 0, &large).await;
    }
    second.expect_refusal(code).await;
    let (mut third, ..) = Device::allocate(relay.addr()).await;
    for _ in 0..1100 {
        let _ = third.socket.send(Message::Pong(Vec::new().into())).await;
    }
    third.expect_refusal(code).await;
    // Before its first frame it is the same.
    let mut fourth = Device::connect(relay.addr()).await;
    for _ in 0..1100 {
        let _ = fourth.socket.send(Message::Pong(Vec::new().into())).await;
    }
    fourth.expect_refusal(code).await;
}

#[tokio::test]
async fn all_mailboxes_share_one_byte_budget() {
    let relay = relay_with(Config { max_queued_bytes: 2 * MAX_FRAME_BYTES, ..Config::default() }).await;
    let (mut one, mut peer, _) = Device::pair(relay.addr()).await;
    let (mut two, ..) = Device::allocate(relay.addr()).await;
    peer.data(0, 0, &[1; MAX_PAYLOAD_BYTES]).await;
    two.data(0, 0, &[1; MAX_PAYLOAD_BYTES]).await;
    one.expect_data(0, &[1; MAX_PAYLOAD_BYTES]).await;
    until(&relay, |stats| stats.queued_bytes == 2 * MAX_FRAME_BYTES).await;
    two.data(1, 0, b"x").await;
    assert!(two.expect_refusal(ErrorCode::Limit(LimitKind::QueuedBytes)).await > 0, "says when to come back");

    one.data(0, 1, b"its acknowledgement makes room for it").await;
    peer.expect_data(0, b"its acknowledgement makes room for it").await;
}

#[tokio::test]
async fn the_byte_budget_is_given_back() {
    let relay = relay_with(Config { max_queued_bytes: MAX_FRAME_BYTES, ..Config::default() }).await;
    let (mut first, mut second, _) = Device::pair(relay.addr()).await;
    second.data(0, 0, b"here").await;
    first.expect_data(0, b"here").await;
    first.ack(1).await;
    second.recv().await;
    for seq in 0..10 {
        first.data(seq, 1, &[1; MAX_PAYLOAD_BYTES]).await;
        second.expect_data(seq, &[1; MAX_PAYLOAD_BYTES]).await;
        second.ack(seq + 1).await;
        first.recv().await;
    }
    first.data(9, 1, &[1; MAX_PAYLOAD_BYTES]).await;
    first.synced().await;
    assert_eq!(relay.stats().queued_bytes, 0, "a repeated frame takes nothing");
}

#[tokio::test]
async fn one_connection_too_many_is_told_so() {
    let relay = relay_with(Config { max_connections: 2, ..Config::default() }).await;
    let (_first, second, _) = Device::pair(relay.addr()).await;
    let mut third = Device::connect(relay.addr()).await;
    assert!(third.expect_refusal(ErrorCode::Limit(LimitKind::Connections)).await > 0);
    drop(second);
    until(&relay, |stats| stats.connections == 1).await;
    Device::allocate(relay.addr()).await;
}

#[tokio::test]
async fn only_64_at_a_time_are_told_and_more_are_dropped() {
    let relay = relay_with(Config { max_connections: 1, ..Config::default() }).await;
    let (_seated, ..) = Device::allocate(relay.addr()).await;
    let mut slow = Vec::new();
    for number in 0..64 {
        slow.push(connect_from(relay.addr(), number / 4).await);
    }
    let unheard = connect_from(relay.addr(), 16).await;
    assert!(upgrade(unheard, relay.addr(), "/v1").await.is_err());
    let last = slow.pop().unwrap();
    Device { socket: upgrade(last, relay.addr(), "/v1").await.unwrap() }
        .expect_refusal(ErrorCode::Limit(LimitKind::Connections))
        .await;
    // Its place is free again.
    let told = connect_from(relay.addr(), 17).await;
    Device { socket: upgrade(told, relay.addr(), "/v1").await.unwrap() }
        .expect_refusal(ErrorCode::Limit(LimitKind::Connections))
        .await;
}

/// From one of many addresses of the machine.
async fn connect_from(addr: SocketAddr, number: u8) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from(([127, 0, 1, number + 1], 0))).unwrap();
    socket.connect(addr).await.unwrap()
}

#[tokio::test]
async fn one_mailbox_too_many_is_refused() {
    let relay = relay_with(Config { max_mailboxes: 1, ..Config::default() }).await;
    let (mut first, nameplate, _) = Device::allocate(relay.addr()).await;
    for frame in [ClientFrame::Allocate { token: B }, ClientFrame::Open { mailbox: ID, token: B }] {
        let mut device = Device::connect(relay.addr()).await;
        device.send(frame).await;
        assert!(device.expect_refusal(ErrorCode::Limit(LimitKind::Mailboxes)).await > 0);
    }
    let (mut second, _) = Device::claim(relay.addr(), nameplate, B).await;
    first.close(CloseReason::Done).await;
    second.close(CloseReason::Done).await;
    tokio::join!(until_end(&mut first), until_end(&mut second));
    until_empty(&relay).await;
    Device::allocate(relay.addr()).await;
}

#[tokio::test]
async fn a_connection_that_asks_for_nothing_is_dropped() {
    let relay = relay_with(Config { first_frame_timeout: Duration::from_millis(100), ..Config::default() }).await;
    let mut silent = TcpStream::connect(relay.addr()).await.unwrap();
    assert_eq!(within(silent.read(&mut [0])).await.unwrap(), 0);
    let mut upgraded = Device::connect(relay.addr()).await;
    assert!(!matches!(within(upgraded.socket.next()).await, Some(Ok(Message::Binary(_)))));
    let (mut seated, ..) = Device::allocate(relay.addr()).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    seated.synced().await;
    until(&relay, |stats| stats.connections == 1).await;
}

#[tokio::test]
async fn a_silent_connection_is_dropped_and_a_quiet_one_is_not() {
    let config = Config {
        ping_interval: Duration::from_millis(50),
        idle_timeout: Duration::from_millis(200),
        ..Config::default()
    };
    let relay = relay_with(config).await;
    // The first device answers pings while it waits; the second does not even read.
    let (mut first, _second, _) = Device::pair(relay.addr()).await;
    assert_eq!(first.recv().await, RelayFrame::PeerLeft);
    let quiet = tokio::time::timeout(Duration::from_millis(400), first.try_recv()).await;
    assert!(quiet.is_err(), "{quiet:?}");
    assert_eq!(relay.stats().connections, 1);
}

#[tokio::test]
async fn a_device_that_never_reads_is_dropped_and_costs_a_bounded_queue() {
    let config = Config {
        window_frames: 100_000,
        max_mailbox_frames: 100_000,
        max_queued_bytes: 64 * 1024 * 1024,
        max_mailbox_bytes: 64 * 1024 * 1024,
        write_timeout: Duration::from_millis(200),
        ..Config::default()
    };
    let relay = relay_with(config).await;
    let (mut first, nameplate, _) = Device::allocate(relay.addr()).await;
    let mut narrow = Device::connect_narrow(relay.addr()).await;
    narrow.send(ClientFrame::Claim { nameplate, token: B }).await;
    assert!(matches!(first.recv().await, RelayFrame::PeerJoined { .. }));
    // More than the system's socket buffers take.
    for seq in 0..1000 {
        first.data(seq, 0, &[1; MAX_PAYLOAD_BYTES]).await;
    }
    assert_eq!(first.recv().await, RelayFrame::PeerLeft);
    assert_eq!(relay.stats().queued_bytes, 1000 * MAX_FRAME_BYTES, "each frame once");
    drop(first);
    until(&relay, |stats| stats.connections == 0).await;
}

#[tokio::test]
async fn comings_and_goings_leave_nothing_behind() {
    let relay = relay_with(Config {
        mailbox_lifetime: Duration::from_secs(2),
        mailbox_linger: Duration::ZERO,
        ..Config::for_one_source()
    })
    .await;
    for round in 0..300 {
        let (mut first, mut second, _) = Device::pair(relay.addr()).await;
        first.data(0, 0, b"unread").await;
        match round % 3 {
            0 => {
                first.close(CloseReason::Done).await;
                second.close(CloseReason::Done).await;
            }
            1 => second.socket.close(None).await.unwrap(),
            _ => {}
        }
    }
    until_empty(&relay).await;
}

#[tokio::test]
async fn draining_refuses_new_mailboxes_and_lets_old_ones_finish() {
    let relay = relay().await;
    let addr = relay.addr();
    let (mut first, mut second, mailbox) = Device::pair(addr).await;
    let draining = tokio::spawn(relay.shutdown());
    let retry_after = loop {
        let (mut device, answer) = Device::ask(addr, ClientFrame::Allocate { token: A }).await;
        match answer {
            RelayFrame::Error { code: ErrorCode::Draining, retry_after_ms } => break retry_after_ms,
            _ => device.close(CloseReason::Cancelled).await,
        }
    };
    assert!((1..=10_000).contains(&retry_after), "{retry_after}");
    drop(second);
    assert_eq!(first.recv().await, RelayFrame::PeerLeft);
    (second, _) = Device::resume(addr, mailbox, B, 0).await;
    first.close(CloseReason::Done).await;
    second.close(CloseReason::Done).await;
    tokio::join!(until_end(&mut first), until_end(&mut second));
    within(draining).await.unwrap();
    assert_eq!(TcpStream::connect(addr).await.unwrap_err().kind(), ErrorKind::ConnectionRefused);
}

#[tokio::test]
async fn a_drain_has_an_end() {
    let relay = relay_with(Config { drain_time: Duration::from_millis(100), ..Config::default() }).await;
    let (mut first, mut second, _) = Device::pair(relay.addr()).await;
    let unseated = Device::connect(relay.addr()).await;
    let ended = async {
        first.expect_ended(EndReason::ShuttingDown).await;
        second.expect_ended(EndReason::ShuttingDown).await;
        drop((first, second));
    };
    tokio::join!(within(relay.shutdown()), ended);
    drop(unseated);
}

#[tokio::test]
async fn a_contradictory_configuration_is_refused() {
    let refused = [
        Config { max_connections: 0, ..Config::default() },
        Config { max_connections: usize::MAX, ..Config::default() },
        Config { max_mailboxes: 0, ..Config::default() },
        Config { max_mailbox_frames: 0, ..Config::default() },
        Config { window_frames: 0, ..Config::default() },
        Config { max_mailbox_bytes: 100, ..Config::default() },
        Config { max_source_connections: 0, ..Config::default() },
        Config { max_source_mailboxes: 0, ..Config::default() },
        Config { source_connections: Rate { burst: 1, per_minute: 0 }, ..Config::default() },
        Config { source_allocations: Rate { burst: 0, per_minute: 1 }, ..Config::default() },
        Config { source_claims: Rate { burst: 1, per_minute: u32::MAX }, ..Config::default() },
        Config { source_misses: Rate { burst: u32::MAX, per_minute: 1 }, ..Config::default() },
        Config { all_misses: Rate { burst: 1, per_minute: 0 }, ..Config::default() },
        Config { slow_claims: Duration::MAX, ..Config::default() },
        Config { slow_claims: Duration::from_secs(10), ..Config::default() },
        Config { trusted_proxies: vec!["0.0.0.0/0".parse().unwrap()], ..Config::default() },
        Config { trusted_proxies: vec!["::/0".parse().unwrap()], ..Config::default() },
        Config { trusted_proxies: vec!["::ffff:0:0/96".parse().unwrap()], ..Config::default() },
        Config { max_queued_bytes: 100, ..Config::default() },
        Config { mailbox_lifetime: Duration::from_secs(3600), ..Config::default() },
        Config { idle_timeout: Duration::from_secs(30), ..Config::default() },
        Config { claim_timeout: Duration::MAX, ..Config::default() },
    ];
    for config in refused {
        let error = Relay::bind("127.0.0.1:0".parse().unwrap(), config.clone()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{config:?}");
    }
}

/// Reads until the relay has closed the socket.
async fn until_end(device: &mut Device) {
    while device.try_recv().await.is_some() {}
}
