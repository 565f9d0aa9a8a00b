//! Every limit per source fires, says which one it is and when to come back, and touches no other source.

#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use common::{A, B, C, Device, ID, crowd, relay_with, until, until_empty};
use handfast_relay::{Config, Rate};
use handfast_wire::{
    ClientFrame, CloseReason, EndReason, ErrorCode, LimitKind, MailboxId, Nameplate, Network, RelayFrame, ResumeToken,
};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

const ONE: &str = "127.0.0.2";
const OTHER: &str = "127.0.0.3";
const THIRD: &str = "127.0.0.4";

/// So many at once; the next one a minute later.
fn at_once(burst: u32) -> Rate {
    Rate { burst, per_minute: 1 }
}

async fn allocate(addr: SocketAddr, source: &str) -> (Device, RelayFrame) {
    first(addr, source, ClientFrame::Allocate { token: A }).await
}

async fn first(addr: SocketAddr, source: &str, frame: ClientFrame) -> (Device, RelayFrame) {
    let mut device = Device::connect_from(addr, source).await;
    let answer = device.answer(frame).await;
    (device, answer)
}

fn nameplate(answer: &RelayFrame) -> Nameplate {
    match answer {
        RelayFrame::Allocated { nameplate, .. } => *nameplate,
        other => panic!("{other:?}"),
    }
}

/// A claim that misses: of a nameplate next to this one, which nobody has.
fn miss(used: Nameplate) -> ClientFrame {
    ClientFrame::Claim { nameplate: Nameplate::new(used.number() ^ 1).unwrap(), token: B }
}

/// Within a minute, and later than now.
#[track_caller]
fn assert_in_a_minute(retry_after_ms: u32) {
    assert!((1..=60_000).contains(&retry_after_ms), "{retry_after_ms}");
}

#[track_caller]
fn assert_refused(answer: &RelayFrame, kind: LimitKind) {
    match answer {
        RelayFrame::Error { code: ErrorCode::Limit(limit), retry_after_ms } if *limit == kind => {
            assert_in_a_minute(*retry_after_ms);
        }
        other => panic!("{other:?} instead of {kind:?}"),
    }
}

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

#[tokio::test]
async fn one_new_mailbox_too_many_a_minute_is_refused() {
    let relay = relay_with(Config { source_allocations: at_once(2), ..Config::default() }).await;
    let open = |mailbox| ClientFrame::Open { mailbox, token: A };
    nameplate(&allocate(relay.addr(), ONE).await.1);
    let (_device, answer) = first(relay.addr(), ONE, open(ID)).await;
    assert!(matches!(answer, RelayFrame::Joined(_)), "{answer:?}");
    for frame in [ClientFrame::Allocate { token: A }, open(MailboxId([7; 16]))] {
        assert_refused(&first(relay.addr(), ONE, frame).await.1, LimitKind::SourceMailboxes);
    }
    // What is there may still be joined and resumed.
    let (_device, answer) = first(relay.addr(), ONE, ClientFrame::Open { mailbox: ID, token: B }).await;
    assert!(matches!(answer, RelayFrame::Joined(_)), "{answer:?}");
    let (_device, answer) = first(relay.addr(), ONE, ClientFrame::Resume { mailbox: ID, token: A, received: 0 }).await;
    assert!(matches!(answer, RelayFrame::Resumed { .. }), "{answer:?}");
    nameplate(&allocate(relay.addr(), OTHER).await.1);
}

#[tokio::test]
async fn one_live_mailbox_too_many_is_refused_and_counted_until_it_ends() {
    let config = Config { max_source_mailboxes: 1, mailbox_lifetime: Duration::from_millis(300), ..Config::default() };
    let relay = relay_with(config).await;
    let (mut held, _) = allocate(relay.addr(), ONE).await;
    for frame in [ClientFrame::Allocate { token: A }, ClientFrame::Open { mailbox: ID, token: A }] {
        assert_refused(&first(relay.addr(), ONE, frame).await.1, LimitKind::SourceMailboxes);
    }
    nameplate(&allocate(relay.addr(), OTHER).await.1);
    // Leaving it does not end it.
    drop(Device::connect_from(relay.addr(), ONE).await);
    held.expect_ended(EndReason::Expired).await;
    let (mut next, answer) = allocate(relay.addr(), ONE).await;
    nameplate(&answer);
    next.close(CloseReason::Done).await;
    next.expect_end().await;
    nameplate(&allocate(relay.addr(), ONE).await.1);
}

#[tokio::test]
async fn one_claim_too_many_a_minute_is_refused_whether_it_would_meet_or_not() {
    let relay = relay_with(Config { source_claims: at_once(2), ..Config::default() }).await;
    let (_device, allocated) = allocate(relay.addr(), OTHER).await;
    let claim = |token| ClientFrame::Claim { nameplate: nameplate(&allocated), token };
    let (claimed, answer) = first(relay.addr(), ONE, claim(B)).await;
    assert!(matches!(answer, RelayFrame::Joined(_)), "{answer:?}");
    assert_eq!(
        first(relay.addr(), ONE, miss(nameplate(&allocated))).await.1,
        RelayFrame::Error { code: ErrorCode::NoSuchNameplate, retry_after_ms: 0 }
    );
    let (_device, opened) = first(relay.addr(), OTHER, ClientFrame::Open { mailbox: ID, token: A }).await;
    assert!(matches!(opened, RelayFrame::Joined(_)), "{opened:?}");
    for frame in [claim(C), miss(nameplate(&allocated)), ClientFrame::Open { mailbox: ID, token: B }] {
        assert_refused(&first(relay.addr(), ONE, frame).await.1, LimitKind::SourceClaims);
    }
    // A device that repeats its own claim, or comes back to it, pays only for the connection.
    drop(claimed);
    let (_device, answer) = first(relay.addr(), ONE, claim(B)).await;
    assert!(matches!(answer, RelayFrame::Joined(_)), "{answer:?}");
    let (_device, answer) = first(relay.addr(), OTHER, ClientFrame::Open { mailbox: ID, token: B }).await;
    assert!(matches!(answer, RelayFrame::Joined(_)), "{answer:?}");
}

#[tokio::test]
async fn after_too_many_misses_a_source_is_refused_before_anybody_looks() {
    let relay = relay_with(Config { source_misses: at_once(3), ..Config::default() }).await;
    let (_device, allocated) = allocate(relay.addr(), OTHER).await;
    for _ in 0..3 {
        assert_eq!(
            first(relay.addr(), ONE, miss(nameplate(&allocated))).await.1,
            RelayFrame::Error { code: ErrorCode::NoSuchNameplate, retry_after_ms: 0 }
        );
    }
    // It learns no more whether a nameplate is in use.
    let hit = ClientFrame::Claim { nameplate: nameplate(&allocated), token: B };
    for frame in [miss(nameplate(&allocated)), hit.clone()] {
        assert_refused(&first(relay.addr(), ONE, frame).await.1, LimitKind::SourceMisses);
    }
    let (_device, answer) = first(relay.addr(), THIRD, hit).await;
    assert!(matches!(answer, RelayFrame::Joined(_)), "{answer:?}");
}

#[tokio::test]
async fn claims_that_meet_use_up_no_misses() {
    let relay = relay_with(Config { source_misses: at_once(1), ..Config::default() }).await;
    for _ in 0..5 {
        let (_device, allocated) = allocate(relay.addr(), OTHER).await;
        let claim = ClientFrame::Claim { nameplate: nameplate(&allocated), token: B };
        let (_device, answer) = first(relay.addr(), ONE, claim).await;
        assert!(matches!(answer, RelayFrame::Joined(_)), "{answer:?}");
    }
}

/// Both devices have accepted each other, and have left.
async fn pair(addr: SocketAddr, source: &str) {
    let (mut displayer, allocated) = allocate(addr, source).await;
    let claim = ClientFrame::Claim { nameplate: nameplate(&allocated), token: B };
    let (mut reader, answer) = first(addr, source, claim).await;
    assert!(matches!(answer, RelayFrame::Joined(_)), "{answer:?}");
    for device in [&mut displayer, &mut reader] {
        device.settle().await;
        device.close(CloseReason::Done).await;
        while device.try_recv().await.is_some() {}
    }
}

#[tokio::test]
async fn past_the_budget_of_all_misses_a_source_that_paired_is_not_slowed_and_a_newcomer_is_served() {
    let slow_claims = Duration::from_millis(300);
    let relay = relay_with(Config { all_misses: at_once(4), slow_claims, ..Config::default() }).await;
    let addr = relay.addr();
    let (_device, allocated) = allocate(addr, "127.0.0.9").await;
    let used = nameplate(&allocated);
    pair(addr, ONE).await;
    for source in ["127.0.1.1", "127.0.1.2", "127.0.1.3", "127.0.1.4"] {
        first(addr, source, miss(used)).await;
    }
    let timed = async |source: &str, frame| {
        let begun = Instant::now();
        (first(addr, source, frame).await.1, begun.elapsed())
    };
    let missed = RelayFrame::Error { code: ErrorCode::NoSuchNameplate, retry_after_ms: 0 };
    // Who paired within the hour goes on as before.
    let (answer, took) = timed(ONE, miss(used)).await;
    assert!(answer == missed && took < slow_claims, "{answer:?} after {took:?}");
    // The attacker is slowed, one claim after the other, and then refused.
    let attacks = [0; 4].map(|_| timed("127.0.1.1", miss(used)));
    let mut attacks: Vec<_> = futures_util::future::join_all(attacks).await;
    attacks.sort_by_key(|(_, took)| *took);
    let (refused, _) = attacks.remove(0);
    match refused {
        RelayFrame::Error { code: ErrorCode::Limit(LimitKind::SourceClaims), retry_after_ms } => {
            assert!((1..=300).contains(&retry_after_ms), "{retry_after_ms}");
        }
        other => panic!("{other:?}"),
    }
    for ((answer, took), place) in attacks.into_iter().zip(1..) {
        assert!(answer == missed && took >= place * slow_claims, "{answer:?} after {took:?}");
    }
    // A newcomer with a good code waits, and gets in.
    let (answer, took) = timed(THIRD, ClientFrame::Claim { nameplate: used, token: B }).await;
    assert!(matches!(answer, RelayFrame::Joined(_)) && took >= slow_claims, "{answer:?} after {took:?}");
}

#[tokio::test]
async fn a_slowed_claim_may_wait_longer_than_a_first_frame() {
    let (slow_claims, first_frame_timeout) = (Duration::from_millis(400), Duration::from_millis(100));
    let config = Config { all_misses: at_once(1), slow_claims, first_frame_timeout, ..Config::default() };
    let relay = relay_with(config).await;
    let (_device, allocated) = allocate(relay.addr(), OTHER).await;
    first(relay.addr(), ONE, miss(nameplate(&allocated))).await;
    let claim = ClientFrame::Claim { nameplate: nameplate(&allocated), token: B };
    let (_device, answer) = first(relay.addr(), ONE, claim).await;
    assert!(matches!(answer, RelayFrame::Joined(_)), "{answer:?}");
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

#[tokio::test]
async fn limits_per_source_can_be_off() {
    let relay = relay_with(Config { mailbox_lifetime: Duration::from_secs(2), ..crowd() }).await;
    let (_device, allocated) = allocate(relay.addr(), ONE).await;
    for token in 0..150 {
        let token = ResumeToken([token; 16]);
        let (mut device, answer) = first(relay.addr(), ONE, ClientFrame::Allocate { token }).await;
        nameplate(&answer);
        device.close(CloseReason::Done).await;
        let (_device, answer) = first(relay.addr(), ONE, miss(nameplate(&allocated))).await;
        assert_eq!(answer, RelayFrame::Error { code: ErrorCode::NoSuchNameplate, retry_after_ms: 0 });
    }
    until_empty(&relay).await;
}
