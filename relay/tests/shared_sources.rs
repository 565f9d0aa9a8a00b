//! What nodes that share a store count of a source, and what is left in the store.

#![cfg(feature = "redis")]
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use common::nodes::{Nodes, RedisServer};
use common::sources::{ONE, OTHER, allocate, assert_refused, at_once, first, miss, nameplate};
use common::{A, B, Device, ID};
use futures_util::future::join_all;
use handfast_relay::Config;
use handfast_wire::{ClientFrame, LimitKind, MailboxId, RelayFrame};
use std::time::Duration;

/// How often the store was asked for a nameplate or a mailbox. Scripts use neither command for that.
fn looked(store: &RedisServer) -> u64 {
    let calls = |line: &str| line.split("calls=").nth(1)?.split(',').next()?.parse::<u64>().ok();
    let stats = store.ask(&["INFO", "commandstats"]);
    let of = |name: &str| stats.lines().find(|line| line.starts_with(name)).and_then(calls).unwrap_or(0);
    of("cmdstat_get:") + of("cmdstat_hmget:")
}

#[tokio::test]
async fn for_a_refused_source_nobody_looks_at_a_nameplate() {
    let config = Config { source_misses: at_once(1), ..Config::default() };
    let relay = Nodes::sharing(2, RedisServer::start(), config).await;
    let (_device, allocated) = allocate(relay.addr(), OTHER).await;
    let used = nameplate(&allocated);
    first(relay.addr(), ONE, miss(used)).await;
    // The displayer's seat has looked at its mailbox by now.
    tokio::time::sleep(Duration::from_millis(50)).await;
    let before = looked(relay.store());
    for frame in [ClientFrame::Claim { nameplate: used, token: B }, miss(used)] {
        assert_refused(&first(relay.addr(), ONE, frame).await.1, LimitKind::SourceMisses);
    }
    assert_eq!(looked(relay.store()), before);
}

fn behind_a_proxy(config: Config) -> Config {
    Config { trusted_proxies: vec!["127.0.0.0/8".parse().unwrap()], ..config }
}

async fn answer_for(relay: &Nodes, client: &str, frame: ClientFrame) -> (Device, RelayFrame) {
    let mut device = Device::connect_for(relay.addr(), &[client]).await;
    let answer = device.answer(frame).await;
    (device, answer)
}

#[tokio::test]
async fn a_48_has_limits_of_its_own_at_all_nodes_together() {
    let config = Config { source_misses: at_once(1), max_source_mailboxes: 1, ..Config::default() };
    let relay = Nodes::sharing(2, RedisServer::start(), behind_a_proxy(config)).await;
    let (_device, allocated) = answer_for(&relay, "192.0.2.1", ClientFrame::Allocate { token: A }).await;
    let used = nameplate(&allocated);
    let client = |net| format!("2001:db8:1:{net:x}::1");
    let mut missed = 0;
    for net in 0..20 {
        let (_, answer) = answer_for(&relay, &client(net), miss(used)).await;
        missed += usize::from(!matches!(answer, RelayFrame::Error { code: handfast_wire::ErrorCode::Limit(_), .. }));
    }
    assert_eq!(missed, 8, "as many as eight sources have");
    let mut held = Vec::new();
    for net in 0..20 {
        let (device, answer) = answer_for(&relay, &client(net), ClientFrame::Allocate { token: A }).await;
        if matches!(answer, RelayFrame::Allocated { .. }) {
            held.push(device);
        }
    }
    assert_eq!(held.len(), 8, "as many as eight sources have");
    // One that ends makes room for one of another /64.
    let mut one = held.pop().unwrap();
    one.close(handfast_wire::CloseReason::Done).await;
    one.expect_end().await;
    let mut answer = RelayFrame::PeerLeft;
    for _ in 0..100 {
        let (device, next) = answer_for(&relay, &client(50), ClientFrame::Allocate { token: A }).await;
        (answer, one) = (next, device);
        if matches!(answer, RelayFrame::Allocated { .. }) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    nameplate(&answer);
    drop(one);
    let (_device, answer) = answer_for(&relay, "2001:db8:2::1", miss(used)).await;
    assert!(matches!(answer, RelayFrame::Error { code: handfast_wire::ErrorCode::NoSuchNameplate, .. }), "{answer:?}");
}

#[tokio::test]
async fn a_store_that_forgot_the_key_of_sources_gets_the_same_again() {
    let config =
        Config { node_timeout: Duration::from_millis(300), source_allocations: at_once(2), ..Config::default() };
    let relay = Nodes::sharing(2, RedisServer::start(), config).await;
    allocate(relay.addr(), ONE).await;
    let keys = relay.store().ask(&["KEYS", "handfast:{sources}:key:*"]);
    let key = keys.lines().next().unwrap();
    let before = relay.store().ask(&["GET", key]);
    relay.store().ask(&["FLUSHALL"]);
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert_eq!(relay.store().ask(&["GET", key]), before);
    // Whichever node it comes to, it is the same source.
    for _ in 0..2 {
        nameplate(&allocate(relay.addr(), ONE).await.1);
    }
    for _ in 0..2 {
        assert_refused(&allocate(relay.addr(), ONE).await.1, LimitKind::SourceMailboxes);
    }
}

/// When what is counted under `key` is over, in seconds from now.
fn counted_for(store: &RedisServer, key: &str) -> i64 {
    let now: i64 = store.ask(&["TIME"]).lines().next().unwrap().parse().unwrap();
    let scores = store.ask(&["ZRANGE", key, "0", "-1", "WITHSCORES"]);
    let score: f64 = scores.lines().nth(1).unwrap().parse().unwrap();
    score as i64 / 1000 - now
}

#[tokio::test]
async fn a_mailbox_counts_little_longer_than_it_lives() {
    let config = Config {
        mailbox_lifetime: Duration::from_secs(100),
        mailbox_linger: Duration::from_secs(400),
        mailbox_max_lifetime: Duration::from_secs(900),
        ..Config::default()
    };
    let relay = Nodes::sharing(2, RedisServer::start(), config).await;
    let (mut device, _) = allocate(relay.addr(), ONE).await;
    let source = relay.store().ask(&["KEYS", "handfast:{sources}:*:mailboxes"]);
    for key in ["handfast:mailboxes", &source] {
        let left = counted_for(relay.store(), key);
        assert!((100..=176).contains(&left), "{key}: {left} s");
    }
    // A data frame keeps it alive, and counted.
    device.data(0, 0, b"longer").await;
    device.synced().await;
    for key in ["handfast:mailboxes", &source] {
        let mut left = 0;
        for _ in 0..100 {
            left = counted_for(relay.store(), key);
            if left > 200 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!((400..=476).contains(&left), "{key}: {left} s");
    }
}

#[tokio::test]
async fn a_mailbox_that_could_not_be_made_leaves_nothing() {
    let relay = Nodes::sharing(1, RedisServer::start(), Config { max_mailboxes: 1, ..Config::default() }).await;
    let store = relay.store();
    let (mut held, _) = allocate(relay.addr(), OTHER).await;
    let before = store.ask(&["KEYS", "handfast:nameplate:*"]);
    assert_eq!(before.lines().count(), 1);
    for frame in [ClientFrame::Allocate { token: A }, ClientFrame::Open { mailbox: ID, token: A }] {
        first(relay.addr(), ONE, frame).await;
    }
    // The refused source has no mailbox that counts.
    let lists = store.ask(&["KEYS", "handfast:{sources}:*:mailboxes"]);
    let counted: usize = lists.lines().map(|key| store.ask(&["ZCARD", key]).parse::<usize>().unwrap()).sum();
    assert_eq!((counted, store.ask(&["KEYS", "handfast:nameplate:*"])), (1, before));
    held.close(handfast_wire::CloseReason::Done).await;
    held.expect_end().await;
    relay.until_empty().await;
}

/// The mailbox counts for who has its first slot, and for nobody else.
#[tokio::test]
async fn who_loses_the_race_to_open_keeps_no_count() {
    let relay = Nodes::sharing(2, RedisServer::start(), Config::default()).await;
    for round in 0..20 {
        let id = MailboxId([round; 16]);
        let (one, other) = (relay.addr(), relay.addr());
        let _devices = join_all([
            first(one, ONE, ClientFrame::Open { mailbox: id, token: A }),
            first(other, OTHER, ClientFrame::Open { mailbox: id, token: B }),
        ])
        .await;
        let store = relay.store();
        let lists = store.ask(&["KEYS", "handfast:{sources}:*:mailboxes"]);
        let counted: usize = lists.lines().map(|key| store.ask(&["ZCARD", key]).parse::<usize>().unwrap()).sum();
        assert_eq!(counted, usize::from(round) + 1);
        assert_eq!(store.ask(&["ZCARD", "handfast:mailboxes"]), counted.to_string());
    }
}
