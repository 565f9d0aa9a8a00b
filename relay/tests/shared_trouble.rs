//! A store that is slow, away, forgetful or hidden behind a dead connection, and nodes that are taken for dead: devices
//! lose time, and neither their run nor a frame.

#![cfg(all(feature = "redis", unix))]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use common::nodes::{Nodes, RedisServer};
use common::process::Process;
use common::{A, B, Device, relay_with};
use handfast_relay::Config;
use handfast_wire::limits::{MAX_FRAME_BYTES, MAX_PAYLOAD_BYTES};
use handfast_wire::{ClientFrame, MailboxId, RelayFrame};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::{sleep, timeout};

/// A node soon takes another one for dead.
fn impatient() -> Config {
    Config { node_timeout: Duration::from_secs(1), ..Config::for_one_source() }
}

/// Both devices of a new mailbox, at different nodes if there are two.
async fn pair(relay: &Nodes) -> (Device, Device, MailboxId) {
    let (mut first, nameplate, mailbox) = Device::allocate(relay.addr()).await;
    let (second, _) = Device::claim(relay.addr(), nameplate, B).await;
    assert!(matches!(first.recv().await, RelayFrame::PeerJoined { .. }));
    (first, second, mailbox)
}

/// What a device hears in this time.
async fn hears(device: &mut Device, time: Duration) -> Vec<RelayFrame> {
    let mut all = Vec::new();
    let _ = timeout(time, async {
        while let Some(frame) = device.hear().await {
            all.push(frame);
        }
    })
    .await;
    all
}

fn ends(frames: &[RelayFrame]) -> bool {
    frames.iter().any(|frame| matches!(frame, RelayFrame::Ended { .. } | RelayFrame::Error { .. }))
}

/// While the store is away no node can say that it lives. Nobody holds that against it.
#[tokio::test]
async fn an_outage_longer_than_the_node_timeout_disturbs_nobody_who_is_silent() {
    let store = RedisServer::with(&["--appendonly", "yes", "--appendfsync", "always"]);
    let mut relay = Nodes::sharing(2, store, impatient()).await;
    let (mut first, mut second, _) = pair(&relay).await;
    second.data(0, 0, b"x").await;
    first.expect_data(0, b"x").await;
    // Each has looked once and knows where its peer is.
    sleep(Duration::from_millis(1200)).await;
    relay.store_mut().kill();
    sleep(Duration::from_secs(3)).await;
    relay.store_mut().start_again();
    let time = Duration::from_secs(5);
    let (one, two) = tokio::join!(hears(&mut first, time), hears(&mut second, time));
    assert_eq!((one, two), (vec![], vec![]));
    first.data(0, 1, b"still here").await;
    assert_eq!(second.next_data().await, (0, b"still here".to_vec()));
}

/// A node that did not run for a while was taken for dead: its device loses the socket, and comes back.
#[tokio::test]
async fn a_device_of_a_node_that_was_taken_for_dead_comes_back() {
    let relay = Nodes::sharing(1, RedisServer::start(), impatient()).await;
    let mut paused = Process::start(&["--store", &relay.store().url(), "--node-timeout", "1"]);
    let (mut first, nameplate, mailbox) = Device::allocate(paused.addr).await;
    let (mut second, _) = Device::claim(relay.addr(), nameplate, B).await;
    second.data(0, 0, b"x").await;
    paused.signal("STOP");
    let heard = hears(&mut second, Duration::from_secs(5)).await;
    assert_eq!(heard, [RelayFrame::PeerLeft]);
    paused.signal("CONT");
    let heard = hears(&mut first, Duration::from_secs(6)).await;
    assert!(!ends(&heard), "{heard:?}");
    let (mut first, answer) = Device::resume(paused.addr, mailbox, A, 0).await;
    assert!(matches!(answer, RelayFrame::Resumed { .. }), "{answer:?}");
    assert_eq!(first.next_data().await, (0, b"x".to_vec()));
    paused.signal("KILL");
    paused.exit().await;
}

/// An error that says nothing about the connection, met while reconnecting, is not for ever.
#[tokio::test]
async fn a_node_recovers_from_a_store_that_turned_it_away() {
    let relay = Nodes::sharing(1, RedisServer::start(), impatient()).await;
    Device::allocate(relay.addr()).await;
    let store = relay.store();
    store.ask(&["CONFIG", "SET", "requirepass", "x"]);
    for kind in ["normal", "pubsub"] {
        store.ask(&["-a", "x", "CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes"]);
    }
    sleep(Duration::from_secs(2)).await;
    store.ask(&["-a", "x", "CONFIG", "SET", "requirepass", ""]);
    until_it_allocates(relay.addr(), Duration::from_secs(20)).await;
}

/// Everything that the node sends to its store disappears, and nobody says so. A new connection would work.
#[tokio::test]
async fn a_node_recovers_from_a_dead_connection() {
    let store = RedisServer::start();
    let target: SocketAddr = store.url()["redis://".len()..].parse().unwrap();
    let frozen = Arc::new(AtomicBool::new(false));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let freeze = Arc::clone(&frozen);
    tokio::spawn(async move {
        loop {
            let (client, _) = listener.accept().await.unwrap();
            let server = TcpStream::connect(target).await.unwrap();
            // What was connected before the freeze is frozen by it.
            let frozen = (!freeze.load(Ordering::Relaxed)).then(|| Arc::clone(&freeze));
            let (from_client, to_client) = client.into_split();
            let (from_server, to_server) = server.into_split();
            tokio::spawn(pass(from_client, to_server, frozen.clone()));
            tokio::spawn(pass(from_server, to_client, frozen));
        }
    });
    let store_url = format!("redis://{address}").parse().unwrap();
    let relay = relay_with(Config { store: Some(store_url), ..impatient() }).await;
    Device::allocate(relay.addr()).await;
    frozen.store(true, Ordering::Relaxed);
    until_it_allocates(relay.addr(), Duration::from_secs(25)).await;
}

/// The answer to a step comes too late. Its consequences are not forgotten: the peer at the same node hears at once.
#[tokio::test]
async fn a_peer_at_the_same_node_hears_of_a_step_whose_answer_was_late() {
    let relay = Nodes::sharing(1, RedisServer::start(), Config::default()).await;
    let (mut first, mut second, _) = pair(&relay).await;
    first.data(0, 0, b"x").await;
    second.expect_data(0, b"x").await;
    first.synced().await;
    sleep(Duration::from_millis(200)).await;
    relay.store().signal("STOP");
    second.ack(1).await;
    sleep(Duration::from_millis(2500)).await;
    relay.store().signal("CONT");
    let begun = Instant::now();
    timeout(Duration::from_secs(20), first.until_acked(1)).await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
}

/// What the store lent while nobody heard its answer is given back.
#[tokio::test]
async fn the_budget_is_right_after_a_pause() {
    let relay = Nodes::sharing(2, RedisServer::start(), impatient()).await;
    let (mut first, mut second, _) = pair(&relay).await;
    second.data(0, 0, b"no silent claimant").await;
    first.expect_data(0, b"no silent claimant").await;
    first.ack(1).await;
    second.until_acked(1).await;
    sleep(Duration::from_millis(1000)).await;
    relay.store().signal("STOP");
    first.data(0, 1, &[1; MAX_PAYLOAD_BYTES]).await;
    sleep(Duration::from_millis(4500)).await;
    relay.store().signal("CONT");
    assert_eq!(timeout(Duration::from_secs(20), second.next_data()).await.unwrap().0, 0);
    let held = || {
        let minutes = relay.store().ask(&["HVALS", "handfast:{budget}"]);
        minutes.lines().filter_map(|bytes| bytes.parse::<i64>().ok()).sum::<i64>()
    };
    assert_eq!(held(), MAX_FRAME_BYTES as i64, "lent once, however often it was asked for");
    second.ack(1).await;
    first.until_acked(1).await;
    for _ in 0..100 {
        if held() == 0 {
            return;
        }
        sleep(Duration::from_millis(50)).await;
    }
    panic!("{} bytes are still lent", held());
}

/// A repeated frame is legal, ends no socket, and takes nothing from the budget.
#[tokio::test]
async fn repeated_frames_borrow_nothing() {
    let config = Config { max_queued_bytes: 2 * MAX_FRAME_BYTES, ..Config::for_one_source() };
    let relay = Nodes::sharing(2, RedisServer::start(), config).await;
    let (mut first, mut second, _) = pair(&relay).await;
    let full = [1; MAX_PAYLOAD_BYTES];
    first.data(0, 0, &full).await;
    second.expect_data(0, &full).await;
    for _ in 0..50 {
        first.data(0, 0, &full).await;
    }
    first.synced().await;
    second.data(0, 1, &full).await;
    assert_eq!(first.next_data().await, (0, full.to_vec()));
}

/// Sockets that take nothing hold no copies of what waits for them: the memory that counts is the store's.
#[tokio::test]
async fn sockets_that_do_not_read_cost_a_node_little() {
    let store = RedisServer::start();
    let relay = Process::start(&["--store", &store.url(), "--source-connections", "off"]);
    let (mut first, nameplate, mailbox) = Device::allocate(relay.addr).await;
    let (mut second, _) = Device::claim(relay.addr, nameplate, B).await;
    // Its acknowledgements open the window, but all is kept: it may be a silent claimant.
    for round in 0..4 {
        for seq in round * 8..round * 8 + 8 {
            first.data(seq, 0, &[7; MAX_PAYLOAD_BYTES - 100]).await;
        }
        for _ in 0..8 {
            second.next_data().await;
        }
        second.ack(round * 8 + 8).await;
        while !matches!(first.recv().await, RelayFrame::Ack(ack) if ack.ack == round * 8 + 8) {}
    }
    let before = resident(relay.id());
    let mut held = Vec::new();
    for _ in 0..100 {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(1).unwrap();
        let stream = socket.connect(relay.addr).await.unwrap();
        let mut device = Device { socket: common::upgrade(stream, relay.addr, "/v1").await.unwrap() };
        device.send(ClientFrame::Resume { mailbox, token: B, received: 0 }).await;
        held.push(device);
    }
    sleep(Duration::from_secs(3)).await;
    let grown = (resident(relay.id()) - before) / 1024;
    assert!(grown < 12, "100 sockets cost {grown} MiB; 32 frames for each would be 50");
    drop(held);
}

async fn until_it_allocates(relay: SocketAddr, time: Duration) {
    let allocates = async {
        loop {
            let mut device = Device::connect(relay).await;
            device.send(ClientFrame::Allocate { token: A }).await;
            if matches!(device.hear().await, Some(RelayFrame::Allocated { .. })) {
                return;
            }
        }
    };
    timeout(time, allocates).await.unwrap();
}

/// Passes bytes on; once it is frozen they disappear.
async fn pass(
    mut from: impl AsyncReadExt + Unpin,
    mut to: impl AsyncWriteExt + Unpin,
    frozen: Option<Arc<AtomicBool>>,
) {
    let mut buffer = vec![0; 65536];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        let lost = frozen.as_ref().is_some_and(|frozen| frozen.load(Ordering::Relaxed));
        if !lost && to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}

/// Resident memory of a process, in KiB.
fn resident(process: u32) -> i64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
