//! What one node counts of a source by itself: its connections. And who the source is, behind a proxy.

#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use common::http::{metric, until_metric};
use common::process::Process;
use common::sources::{ONE, OTHER, allocate, assert_in_a_minute, assert_refused, at_once, first, miss, nameplate};
use common::{A, B, Device, relay_with, until, upgrade, within};
use futures_util::StreamExt;
use handfast_relay::Config;
use handfast_wire::limits::MAX_PAYLOAD_BYTES;
use handfast_wire::{ClientFrame, ErrorCode, LimitKind, Network, RelayFrame};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::{TcpSocket, TcpStream};
use tokio_tungstenite::tungstenite::Message;

#[tokio::test]
async fn one_connection_too_many_a_minute_is_told_so() {
    let relay = relay_with(Config { source_connections: at_once(3), ..Config::default() }).await;
    for _ in 0..3 {
        allocate(relay.addr(), ONE).await;
    }
    let mut fourth = Device::connect_from(relay.addr(), ONE).await;
    assert_in_a_minute(fourth.expect_refusal(ErrorCode::Limit(LimitKind::SourceConnections)).await);
    nameplate(&allocate(relay.addr(), OTHER).await.1);
}

#[tokio::test]
async fn one_open_connection_too_many_is_told_so_and_places_are_given_back() {
    let relay = relay_with(Config { max_source_connections: 2, ..Config::default() }).await;
    let (first, _) = allocate(relay.addr(), ONE).await;
    let _second = Device::connect_from(relay.addr(), ONE).await;
    let mut third = Device::connect_from(relay.addr(), ONE).await;
    assert!(third.expect_refusal(ErrorCode::Limit(LimitKind::SourceConnections)).await > 0);
    nameplate(&allocate(relay.addr(), OTHER).await.1);
    drop(first);
    until(&relay, |stats| stats.connections == 1).await;
    nameplate(&allocate(relay.addr(), ONE).await.1);
}

fn behind_a_proxy(config: Config) -> Config {
    Config { trusted_proxies: vec!["127.0.0.0/8".parse().unwrap()], ..config }
}

#[tokio::test]
async fn behind_a_trusted_proxy_the_client_is_the_source() {
    let relay = relay_with(behind_a_proxy(Config { source_connections: at_once(2), ..Config::default() })).await;
    let allocate = async |forwarded: &[&str]| {
        let mut device = Device::connect_for(relay.addr(), forwarded).await;
        device.answer(ClientFrame::Allocate { token: A }).await
    };
    // A thousand clients through one proxy, each within its limit.
    for client in 0..1000 {
        nameplate(&allocate(&[&format!("198.18.{}.{}", client / 250, client % 250)]).await);
    }
    // One client, whatever it writes into the header itself and whichever way it goes.
    let client = ["203.0.113.7", "192.0.2.1, 203.0.113.7:4711, 127.0.0.8"];
    for forwarded in client {
        nameplate(&allocate(&[forwarded]).await);
    }
    let mut third = Device::connect_for(relay.addr(), &["192.0.2.99", "203.0.113.7"]).await;
    assert_in_a_minute(third.expect_refusal(ErrorCode::Limit(LimitKind::SourceConnections)).await);
    // One /64.
    for forwarded in ["2001:db8:1:2::1", "[2001:db8:1:2:3::4]:443"] {
        nameplate(&allocate(&[forwarded]).await);
    }
    assert_refused(&allocate_or_refusal(relay.addr(), "2001:db8:1:2::5").await, LimitKind::SourceConnections);
    nameplate(&allocate(&["2001:db8:1:3::1"]).await);
    // Without a client the proxy is the source.
    for forwarded in [&["unknown"][..], &[]] {
        nameplate(&allocate(forwarded).await);
    }
    assert_refused(&allocate_or_refusal(relay.addr(), "127.0.0.5").await, LimitKind::SourceConnections);
    until(&relay, |stats| stats.connections == 0).await;
}

async fn allocate_or_refusal(addr: SocketAddr, forwarded: &str) -> RelayFrame {
    Device::connect_for(addr, &[forwarded]).await.recv().await
}

#[tokio::test]
async fn only_64_clients_of_a_proxy_at_a_time_are_told_and_more_are_dropped() {
    let relay = relay_with(behind_a_proxy(Config { source_connections: at_once(1), ..Config::default() })).await;
    let connect = async |client: u32| {
        let client = format!("203.0.113.{client}");
        Device::connect_for(relay.addr(), &[&client]).await
    };
    let mut held = Vec::new();
    for client in 0..=16 {
        held.push(connect(client).await);
    }
    // These do not read what they are told, nor close.
    let mut slow = Vec::new();
    for number in 0..64 {
        slow.push(connect(number / 4).await);
    }
    let mut unheard = connect(16).await;
    assert!(!matches!(within(unheard.socket.next()).await, Some(Ok(Message::Binary(_) | Message::Close(_)))));
    slow.pop().unwrap().expect_refusal(ErrorCode::Limit(LimitKind::SourceConnections)).await;
}

#[tokio::test]
async fn a_forwarding_header_of_anybody_else_is_ignored() {
    let trusted = Config { trusted_proxies: vec!["127.0.0.9/32".parse().unwrap()], ..Config::default() };
    for config in [Config::default(), trusted] {
        let relay = relay_with(Config { source_connections: at_once(2), ..config }).await;
        for client in ["203.0.113.1", "203.0.113.2"] {
            let mut device = Device::connect_for(relay.addr(), &[client]).await;
            nameplate(&device.answer(ClientFrame::Allocate { token: A }).await);
        }
        assert_refused(&allocate_or_refusal(relay.addr(), "203.0.113.3").await, LimitKind::SourceConnections);
    }
}

#[tokio::test]
async fn the_network_hint_works_behind_a_trusted_proxy() {
    let relay = relay_with(behind_a_proxy(Config::default())).await;
    for (one, other, network) in [
        (&["203.0.113.1"][..], &["203.0.113.1, 127.0.0.7"][..], Network::Same),
        (&["2001:db8::1"], &["[2001:db8::2]:1"], Network::Same),
        (&["203.0.113.1"], &["203.0.113.2"], Network::Different),
        // The same proxy says nothing about the network.
        (&[], &[], Network::Unknown),
        (&["203.0.113.1"], &["unknown"], Network::Unknown),
        (&["127.0.0.5"], &["127.0.0.5"], Network::Unknown),
    ] {
        let mut displayer = Device::connect_for(relay.addr(), one).await;
        let allocated = displayer.answer(ClientFrame::Allocate { token: A }).await;
        let mut reader = Device::connect_for(relay.addr(), other).await;
        let claim = ClientFrame::Claim { nameplate: nameplate(&allocated), token: B };
        match reader.answer(claim).await {
            RelayFrame::Joined(joined) => assert_eq!(joined.network, network, "{one:?} {other:?}"),
            answer => panic!("{answer:?}"),
        }
        assert_eq!(displayer.recv().await, RelayFrame::PeerJoined { network });
    }
}

async fn silent(addr: SocketAddr, source: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::new(source.parse().unwrap(), 0)).unwrap();
    socket.connect(addr).await.unwrap()
}

#[tokio::test]
async fn one_source_does_not_hold_all_places_for_refusals() {
    let relay = relay_with(Config { source_connections: at_once(1), ..Config::default() }).await;
    let (one, other) = (allocate(relay.addr(), ONE).await, allocate(relay.addr(), OTHER).await);
    let mut crowd = Vec::new();
    for _ in 0..80 {
        crowd.push(silent(relay.addr(), ONE).await);
    }
    // Another source is still told.
    let mut late = Device::connect_from(relay.addr(), OTHER).await;
    late.expect_refusal(ErrorCode::Limit(LimitKind::SourceConnections)).await;
    drop((one, other));
}

#[tokio::test]
async fn a_refused_source_is_told_so_only_a_few_times() {
    let relay = relay_with(Config { source_connections: at_once(1), ..Config::default() }).await;
    let _one = allocate(relay.addr(), ONE).await;
    let mut told = 0;
    for _ in 0..20 {
        let Ok(socket) = upgrade(silent(relay.addr(), ONE).await, relay.addr(), "/v1").await else { continue };
        let mut device = Device { socket };
        device.expect_refusal(ErrorCode::Limit(LimitKind::SourceConnections)).await;
        told += 1;
    }
    assert_eq!(told, 4, "the others are dropped before any handshake");
}

#[tokio::test]
async fn a_refused_connection_that_says_nothing_is_dropped_soon() {
    let relay = relay_with(Config { source_connections: at_once(1), ..Config::default() }).await;
    let _one = allocate(relay.addr(), ONE).await;
    let mut silent = silent(relay.addr(), ONE).await;
    let begun = std::time::Instant::now();
    let mut byte = [0];
    let read = tokio::io::AsyncReadExt::read(&mut silent, &mut byte);
    let _ = tokio::time::timeout(Duration::from_secs(5), read).await.unwrap();
    assert!(begun.elapsed() >= Duration::from_secs(2), "it has time for its handshake");
}

#[tokio::test]
async fn every_refusal_of_a_source_is_counted_under_its_reason() {
    let admin_listen = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
    let relay = relay_with(Config {
        admin_listen,
        source_connections: at_once(6),
        source_allocations: at_once(1),
        source_claims: at_once(2),
        source_misses: at_once(1),
        max_mailbox_bytes: 16_384,
        ..Config::default()
    })
    .await;
    let (addr, admin) = (relay.addr(), relay.admin_addr().unwrap());
    let counted = async |reason: &str, number| {
        until_metric(admin, &format!("refusals_total{{reason=\"{reason}\"}}"), number).await;
    };
    let (mut device, allocated) = allocate(addr, OTHER).await;
    let used = nameplate(&allocated);
    device.data(0, 0, &[1; MAX_PAYLOAD_BYTES]).await;
    device.data(1, 0, b"more").await;
    counted("mailbox_bytes", 1.0).await;

    allocate(addr, ONE).await;
    assert_refused(&allocate(addr, ONE).await.1, LimitKind::SourceMailboxes);
    counted("source_mailboxes", 1.0).await;
    first(addr, ONE, miss(used)).await;
    assert_refused(&first(addr, ONE, miss(used)).await.1, LimitKind::SourceMisses);
    counted("source_misses", 1.0).await;
    let RelayFrame::Allocated { mailbox, .. } = allocated else { panic!("{allocated:?}") };
    first(addr, ONE, ClientFrame::Open { mailbox, token: B }).await;
    let open = ClientFrame::Open { mailbox, token: handfast_wire::ResumeToken([9; 16]) };
    assert_refused(&first(addr, ONE, open).await.1, LimitKind::SourceClaims);
    counted("source_claims", 1.0).await;

    // Told or not, each counts.
    let mut crowd = Vec::new();
    for _ in 0..10 {
        crowd.push(silent(addr, ONE).await);
    }
    counted("source_connections", 6.0).await;
    drop(crowd);
    assert!(metric(admin, "refusals_total{reason=\"connections\"}").await < 0.5);
}

/// A handshake that nobody pays for would cost more than everything else.
#[tokio::test]
async fn a_refused_source_gets_no_tls_handshakes() {
    let folder = tempfile::tempdir().unwrap();
    let certificate = common::tls::Certificate::write(folder.path());
    let process = Process::start(&[&["--source-connections", "1:1"][..], &certificate.options()].concat());
    certificate.connect(process.addr).await.unwrap();
    let mut done = 0;
    for _ in 0..20 {
        done += usize::from(certificate.connect(process.addr).await.is_ok());
    }
    assert!(done <= 4, "{done} handshakes");
}
