//! What happens to devices when nodes and their store come and go.

#![cfg(all(feature = "redis", unix))]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use common::nodes::{Nodes, RedisServer};
use common::process::{Process, command};
use common::sources;
use common::tls::Certificate;
use common::{A, B, C, Device, ID, relay_with, within};
use futures_util::future::join_all;
use handfast_relay::{Config, Relay};
use handfast_wire::limits::{MAX_FRAME_BYTES, MAX_PAYLOAD_BYTES};
use handfast_wire::{
    ClientFrame, CloseReason, EndReason, ErrorCode, LimitKind, MailboxId, PeerState, RelayFrame, ResumeToken, Slot,
};
use sha2::{Digest, Sha256};
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

#[tokio::test]
async fn a_relay_without_its_store_does_not_start() {
    let mut store = RedisServer::start();
    store.kill();
    let url = store.url().replace("redis://", "redis://ada:secret@");
    let config = Config { store: Some(url.parse().unwrap()), ..Config::default() };
    let error = Relay::bind("127.0.0.1:0".parse().unwrap(), config).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotConnected);
    assert!(error.to_string().contains(&store.url()[8..]) && !error.to_string().contains("secret"), "{error}");
}

/// The store speaks nothing but TLS, and has a certificate that the relay trusts only where it is told to.
#[tokio::test]
async fn a_store_over_tls_is_used_if_its_certificate_is_trusted() {
    let folder = tempfile::tempdir().unwrap();
    let Certificate { certificate, key, .. } = Certificate::write(folder.path());
    let (certificate, key) = (certificate.to_str().unwrap(), key.to_str().unwrap());
    let store = RedisServer::with_tls(certificate, key);
    let serve = || {
        let mut command = command(&["serve", "--listen", "127.0.0.1:0", "--store", &store.url()]);
        command.env("SSL_CERT_FILE", certificate);
        command
    };
    let relay = Process::spawn(&mut serve());
    let (mut first, mut second, _) = Device::pair(relay.addr).await;
    first.data(0, 0, b"through TLS").await;
    second.expect_data(0, b"through TLS").await;

    let elsewhere = tempfile::tempdir().unwrap();
    let stranger = Certificate::write(elsewhere.path()).certificate;
    let refused = serve().env("SSL_CERT_FILE", &stranger).output().unwrap();
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("the store at rediss://localhost"), "{refused:?}");
}

#[tokio::test]
async fn everything_in_the_store_has_an_end() {
    let relay = Nodes::sharing(2, RedisServer::start(), Config::default()).await;
    let (mut first, _second, _) = Device::pair_across(&relay).await;
    first.data(0, 0, b"kept").await;
    first.synced().await;
    Device::open(relay.addr(), ID, A).await;
    let keys = relay.store().ask(&["KEYS", "*"]);
    assert!(keys.lines().count() >= 7, "{keys}");
    for key in keys.lines() {
        let seconds: i64 = relay.store().ask(&["TTL", key]).parse().unwrap();
        assert!((0..=7200).contains(&seconds), "{key} lives for {seconds} s");
    }
}

#[tokio::test]
async fn the_limit_of_mailboxes_holds_across_nodes() {
    let relay = Nodes::sharing(2, RedisServer::start(), Config { max_mailboxes: 2, ..Config::default() }).await;
    let (mut one, ..) = Device::allocate(relay.addr()).await;
    let (_two, ..) = Device::open(relay.addr(), ID, A).await;
    for _ in 0..2 {
        let (_, answer) = Device::ask(relay.addr(), ClientFrame::Allocate { token: A }).await;
        assert!(is_limit(&answer, LimitKind::Mailboxes), "{answer:?}");
    }
    Device::open(relay.addr(), ID, B).await;
    one.close(CloseReason::Cancelled).await;
    one.expect_end().await;
    let mut late = Device::allocate_soon(relay.addr()).await;
    late.close(CloseReason::Cancelled).await;
}

/// A source comes back in the hour after the one in which it was counted, under another key.
#[tokio::test]
async fn a_source_keeps_its_counts_when_the_key_changes() {
    let store = RedisServer::start();
    let now: u64 = store.ask(&["TIME"]).lines().next().unwrap().parse().unwrap();
    let (earlier, key) = (format!("handfast:{{sources}}:key:{}", now / 3600 - 1), "a key of exactly thirty-two bytes");
    let key = &key[..32];
    let hash = Sha256::digest([key.as_bytes(), &[127, 0, 0, 2]].concat());
    let source = format!("handfast:{{sources}}:{}", hex(&hash[..16]));
    store.ask(&["SET", &earlier, key]);
    // Its bucket of 30 is full again in an hour.
    store.ask(&["HSET", &source, "allocations", &((now + 3600) * 1_000_000).to_string()]);
    store.ask(&["ZADD", &format!("{source}:mailboxes"), &((now + 600) * 1000).to_string(), "its mailbox"]);
    let relay = Nodes::sharing(2, store, Config { max_source_mailboxes: 1, ..Config::default() }).await;
    let (_device, answer) = sources::allocate(relay.addr(), sources::ONE).await;
    match answer {
        RelayFrame::Error { code: ErrorCode::Limit(LimitKind::SourceMailboxes), retry_after_ms } => {
            assert!((3_530_000..3_550_000).contains(&retry_after_ms), "{retry_after_ms}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(relay.store().ask(&["EXISTS", &source]), "0", "it has moved");
    // The mailbox that it made then still counts, at either node.
    for key in relay.store().ask(&["KEYS", "handfast:{sources}:????????????????????????????????"]).lines() {
        relay.store().ask(&["HDEL", key, "allocations"]);
    }
    for _ in 0..2 {
        let (_device, answer) = sources::allocate(relay.addr(), sources::ONE).await;
        sources::assert_refused(&answer, LimitKind::SourceMailboxes);
    }
    let (_device, answer) = sources::allocate(relay.addr(), sources::OTHER).await;
    sources::nameplate(&answer);
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test]
async fn the_byte_budget_holds_across_nodes() {
    let config = Config { max_queued_bytes: 2 * MAX_FRAME_BYTES, ..Config::default() };
    let relay = Nodes::sharing(2, RedisServer::start(), config).await;
    let full = [1; MAX_PAYLOAD_BYTES];
    let (mut one, mut peer, _) = Device::pair_across(&relay).await;
    let (mut two, ..) = Device::allocate(relay.addr()).await;
    peer.data(0, 0, &full).await;
    two.data(0, 0, &full).await;
    one.expect_data(0, &full).await;
    two.synced().await;
    let (mut three, ..) = Device::allocate(relay.addr()).await;
    three.data(0, 0, b"x").await;
    assert!(three.expect_refusal(ErrorCode::Limit(LimitKind::QueuedBytes)).await > 0, "says when to come back");
    one.data(0, 1, b"its acknowledgement makes room for it").await;
    // The acknowledgement may be told by itself.
    assert_eq!(peer.next_data().await, (0, b"its acknowledgement makes room for it".to_vec()));
}

#[tokio::test]
async fn of_two_devices_that_open_at_the_same_time_one_is_first() {
    let relay = Nodes::sharing(2, RedisServer::start(), Config::for_one_source()).await;
    for round in 0..40 {
        let id = MailboxId([round; 16]);
        let (one, two) = (relay.addr(), relay.addr());
        let (one, two) = tokio::join!(Device::open(one, id, A), Device::open(two, id, B));
        let mut slots = [one.1.slot, two.1.slot];
        slots.sort_by_key(|slot| slot.code());
        assert_eq!(slots, [Slot::First, Slot::Second]);
    }
}

#[tokio::test]
async fn of_many_claims_at_the_same_time_two_are_never_seated_side_by_side() {
    let relay = Nodes::sharing(2, RedisServer::start(), Config::for_one_source()).await;
    for _ in 0..10 {
        let (mut first, nameplate, _) = Device::allocate(relay.addr()).await;
        let claims = (0..6)
            .map(|token| Device::ask(relay.addr(), ClientFrame::Claim { nameplate, token: ResumeToken([token; 16]) }));
        let answers: Vec<RelayFrame> = join_all(claims).await.into_iter().map(|(_, answer)| answer).collect();
        let seated = answers.iter().filter(|answer| matches!(answer, RelayFrame::Joined(_))).count();
        assert_eq!(seated, 1, "{answers:?}");
        let crowded = RelayFrame::Ended { reason: EndReason::Crowded };
        assert!(answers.contains(&crowded), "{answers:?}");
        while first.recv().await != crowded {}
    }
}

#[tokio::test]
async fn devices_of_a_store_that_forgot_everything_are_told() {
    let mut relay = Nodes::sharing(2, RedisServer::start(), Config::default()).await;
    let (mut first, mut second, mailbox) = Device::pair_across(&relay).await;
    relay.store_mut().kill();
    relay.store_mut().start_again();
    // One says something, the other only waits.
    first.data(0, 0, b"into the void").await;
    within_seconds(10, first.expect_refusal(ErrorCode::NoSuchMailbox)).await;
    within_seconds(10, second.expect_refusal(ErrorCode::NoSuchMailbox)).await;
    let (_, answer) = Device::resume(relay.addr(), mailbox, A, 0).await;
    assert!(is_error(&answer, ErrorCode::NoSuchMailbox), "{answer:?}");
    let (mut first, mut second, _) = Device::pair_across(&relay).await;
    first.data(0, 0, b"a new beginning").await;
    second.expect_data(0, b"a new beginning").await;
}

#[tokio::test]
async fn devices_of_a_store_that_remembers_go_on() {
    let store = RedisServer::with(&["--appendonly", "yes", "--appendfsync", "always"]);
    let mut relay = Nodes::sharing(2, store, Config::default()).await;
    let (mut first, mut second, _) = Device::pair_across(&relay).await;
    first.data(0, 0, b"before").await;
    second.expect_data(0, b"before").await;
    relay.store_mut().kill();
    first.data(1, 0, b"meanwhile").await;
    second.data(0, 1, b"answered meanwhile").await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    relay.store_mut().start_again();
    within_seconds(10, second.expect_data(1, b"meanwhile")).await;
    assert_eq!(within_seconds(10, first.next_data()).await, (0, b"answered meanwhile".to_vec()));
}

#[tokio::test]
async fn a_store_that_pauses_loses_nothing() {
    let relay = Nodes::sharing(2, RedisServer::start(), Config::default()).await;
    let (mut first, mut second, _) = Device::pair_across(&relay).await;
    relay.store().signal("STOP");
    first.data(0, 0, b"waits").await;
    second.data(0, 0, b"waits too").await;
    tokio::time::sleep(Duration::from_millis(2500)).await;
    relay.store().signal("CONT");
    assert_eq!(within_seconds(10, second.next_data()).await, (0, b"waits".to_vec()));
    assert_eq!(within_seconds(10, first.next_data()).await, (0, b"waits too".to_vec()));
}

#[tokio::test]
async fn while_the_store_is_away_newcomers_are_told_and_others_come_back_later() {
    let mut relay = Nodes::sharing(1, RedisServer::start(), Config::default()).await;
    let (_first, _second, mailbox) = Device::pair_across(&relay).await;
    relay.store_mut().kill();
    let newcomer = async {
        let mut device = Device::connect(relay.addr()).await;
        device.send(ClientFrame::Allocate { token: A }).await;
        device.expect_refusal(ErrorCode::Limit(LimitKind::Store)).await
    };
    assert!(within_seconds(10, newcomer).await > 0, "says when to come back");
    let mut device = Device::connect(relay.addr()).await;
    device.send(ClientFrame::Resume { mailbox, token: A, received: 0 }).await;
    within_seconds(15, device.expect_loss()).await;
}

/// Connections between nodes and store are cut again and again: wake-ups and answers are lost.
#[tokio::test]
async fn a_shaky_store_delivers_every_frame_once_and_in_order() {
    let config = Config { node_timeout: Duration::from_secs(1), max_mailbox_frames: 1000, ..Config::default() };
    let relay = Nodes::sharing(2, RedisServer::start(), config).await;
    let (first, second, mailbox) = Device::pair_across(&relay).await;
    let (one, two) = (relay.addr(), relay.addr());
    let talk = async {
        tokio::join!(converse(first, one, mailbox, A, true), converse(second, two, mailbox, B, false),);
    };
    let mut cut = 0;
    let cuts = async {
        loop {
            tokio::time::sleep(Duration::from_millis(20)).await;
            for kind in ["normal", "pubsub"] {
                let killed = relay.store().ask(&["CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes"]);
                cut += killed.parse::<u32>().unwrap();
            }
        }
    };
    tokio::select! {
        () = within_seconds(120, talk) => {}
        () = cuts => {}
    }
    assert!(cut >= 10, "only {cut} connections were cut");
}

#[tokio::test]
async fn a_node_that_stops_hands_its_devices_over() {
    let relay = Nodes::sharing(1, RedisServer::start(), Config::default()).await;
    let config = Config {
        store: Some(relay.store().url().parse().unwrap()),
        drain_time: Duration::from_millis(100),
        ..Config::default()
    };
    let leaving = relay_with(config).await;
    let (mut first, nameplate, mailbox) = Device::allocate(leaving.addr()).await;
    let (mut second, _) = Device::claim(relay.addr(), nameplate, B).await;
    first.recv().await;
    second.data(0, 0, b"under way").await;
    let gone = tokio::spawn(leaving.shutdown());
    first.expect_data(0, b"under way").await;
    first.expect_loss().await;
    within(gone).await.unwrap();
    assert_eq!(second.recv().await, RelayFrame::PeerLeft);
    let (mut first, answer) = Device::resume(relay.addr(), mailbox, A, 0).await;
    assert!(matches!(answer, RelayFrame::Resumed { peer: PeerState::Present, .. }), "{answer:?}");
    assert_eq!(first.next_data().await, (0, b"under way".to_vec()));
}

#[tokio::test]
async fn the_devices_of_a_killed_node_have_left_and_may_come_back() {
    let relay =
        Nodes::sharing(1, RedisServer::start(), Config { node_timeout: Duration::from_secs(1), ..Config::default() })
            .await;
    let mut doomed = Process::start(&["--store", &relay.store().url(), "--node-timeout", "1"]);
    let (mut first, nameplate, mailbox) = Device::allocate(doomed.addr).await;
    first.data(0, 0, b"offer").await;
    let (mut second, _) = Device::claim(relay.addr(), nameplate, B).await;
    second.expect_data(0, b"offer").await;
    doomed.signal("KILL");
    doomed.exit().await;
    let killed = Instant::now();
    assert_eq!(within_seconds(10, second.recv()).await, RelayFrame::PeerLeft);
    assert!(killed.elapsed() < Duration::from_secs(5), "{:?}", killed.elapsed());
    second.data(0, 1, b"kept").await;
    let (mut first, answer) = Device::resume(relay.addr(), mailbox, A, 0).await;
    assert!(matches!(answer, RelayFrame::Resumed { received: 1, peer: PeerState::Present, .. }), "{answer:?}");
    assert_eq!(first.next_data().await, (0, b"kept".to_vec()));
    let (_, answer) = Device::resume(relay.addr(), mailbox, C, 0).await;
    assert!(is_error(&answer, ErrorCode::BadToken), "{answer:?}");
}

/// A cluster refuses a script that touches keys of two hash tags.
#[tokio::test]
async fn a_cluster_takes_every_step() {
    let relay = Nodes::sharing(2, RedisServer::start_cluster(), Config::default()).await;
    let (mut first, nameplate, mailbox) = Device::allocate(relay.addr()).await;
    first.data(0, 0, b"offer").await;
    let (second, _) = Device::claim(relay.addr(), nameplate, B).await;
    drop(second);
    let (mut second, _) = Device::resume(relay.addr(), mailbox, B, 0).await;
    assert_eq!(second.next_data().await, (0, b"offer".to_vec()));
    second.data(0, 1, b"accept").await;
    assert_eq!(first.next_data().await, (0, b"accept".to_vec()));
    second.close(CloseReason::Done).await;
    first.close(CloseReason::Done).await;
    let (_, joined) = Device::open(relay.addr(), ID, A).await;
    assert_eq!(joined.slot, Slot::First);
    relay.until_no_bytes_are_stored().await;
}

/// Sends 400 frames and reads 400, and comes back whenever its socket is lost.
async fn converse(mut device: Device, addr: SocketAddr, mailbox: MailboxId, token: ResumeToken, speaks: bool) {
    const FRAMES: u32 = 400;
    let (mut sent, mut received) = (0, 0);
    // In turns, so that no window fills up: the one that speaks is a frame ahead.
    loop {
        if sent < FRAMES && (if speaks { sent == received } else { sent < received }) {
            device.try_data(sent, received, &sent.to_be_bytes()).await;
            sent += 1;
        }
        if sent == FRAMES && received == FRAMES {
            device.try_ack(received).await;
            return;
        }
        match device.hear().await {
            Some(RelayFrame::Data(data)) => {
                assert_eq!((data.seq, data.payload), (received, received.to_be_bytes().to_vec()));
                received += 1;
            }
            Some(RelayFrame::Error { code, .. }) => panic!("{code:?}"),
            Some(RelayFrame::Ended { reason }) => panic!("{reason:?}"),
            Some(_) => {}
            None => loop {
                match Device::try_resume(addr, mailbox, token.clone(), received).await {
                    Some((again, RelayFrame::Resumed { received: there, .. })) => {
                        device = again;
                        for seq in there..sent {
                            device.try_data(seq, received, &seq.to_be_bytes()).await;
                        }
                        break;
                    }
                    Some((_, other)) => panic!("{other:?}"),
                    None => tokio::time::sleep(Duration::from_millis(50)).await,
                }
            },
        }
    }
}

fn is_limit(answer: &RelayFrame, kind: LimitKind) -> bool {
    is_error(answer, ErrorCode::Limit(kind))
}

fn is_error(answer: &RelayFrame, wanted: ErrorCode) -> bool {
    matches!(answer, RelayFrame::Error { code, .. } if *code == wanted)
}

async fn within_seconds<F: Future>(seconds: u64, future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(seconds), future).await.unwrap()
}
