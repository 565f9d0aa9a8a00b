//! What one node counts of a source by itself: its connections. And who the source is, behind a proxy.

#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use common::sources::{ONE, OTHER, allocate, assert_in_a_minute, assert_refused, at_once, nameplate};
use common::{A, B, Device, relay_with, until, within};
use futures_util::StreamExt;
use handfast_relay::Config;
use handfast_wire::{ClientFrame, ErrorCode, LimitKind, Network, RelayFrame};
use std::net::SocketAddr;
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
    let client = &["203.0.113.7"];
    let _first = Device::connect_for(relay.addr(), client).await;
    // These do not read what they are told, nor close.
    let mut slow = Vec::new();
    for _ in 0..64 {
        slow.push(Device::connect_for(relay.addr(), client).await);
    }
    let mut unheard = Device::connect_for(relay.addr(), client).await;
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
