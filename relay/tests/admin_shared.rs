//! What operators see of relays that share a store.

#![cfg(feature = "redis")]
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use common::http::{get, metric, until_metric};
use common::nodes::RedisServer;
use common::{B, C, Device, relay_with, within};
use handfast_relay::{Config, RelayHandle};
use handfast_wire::{ClientFrame, CloseReason, ErrorCode, LimitKind, RelayFrame};
use std::net::SocketAddr;
use std::time::Duration;

async fn node(store: &RedisServer) -> (RelayHandle, SocketAddr) {
    let admin_listen = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
    let config = Config { admin_listen, store: Some(store.url().parse().unwrap()), ..Config::default() };
    let relay = relay_with(config).await;
    let admin = relay.admin_addr().unwrap();
    (relay, admin)
}

#[tokio::test]
async fn a_mailbox_of_two_nodes_is_counted_once() {
    let store = RedisServer::start();
    let (one, one_admin) = node(&store).await;
    let (two, two_admin) = node(&store).await;
    let both = async |name: &str, wanted: f64| {
        let mut last = f64::NAN;
        for _ in 0..1000 {
            last = metric(one_admin, name).await + metric(two_admin, name).await;
            if (last - wanted).abs() < 1e-9 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("{name} is {last}, not {wanted}");
    };
    let (mut first, nameplate, _) = Device::allocate(one.addr()).await;
    both("mailboxes{state=\"waiting\"}", 1.0).await;
    let (mut second, joined) = Device::claim(two.addr(), nameplate, B).await;
    both("mailboxes{state=\"waiting\"}", 0.0).await;
    both("mailboxes{state=\"paired\"}", 1.0).await;
    first.recv().await;
    first.data(0, 0, b"hello").await;
    second.expect_data(0, b"hello").await;
    both("frames_total", 1.0).await;
    first.settle().await;
    second.settle().await;
    both("mailboxes{state=\"settled\"}", 1.0).await;
    let third = ClientFrame::Open { mailbox: joined.mailbox, token: C };
    let (_, answer) = Device::ask(two.addr(), third).await;
    assert!(matches!(answer, RelayFrame::Error { code: ErrorCode::MailboxFull, .. }), "{answer:?}");
    both("refusals_total{reason=\"mailbox_full\"}", 1.0).await;
    first.close(CloseReason::Done).await;
    second.close(CloseReason::Done).await;
    both("outcomes_total{outcome=\"done\"}", 1.0).await;
    both("pairing_seconds_count", 1.0).await;
    for state in ["waiting", "paired", "settled"] {
        both(&format!("mailboxes{{state=\"{state}\"}}"), 0.0).await;
    }
    both("lapsed_claims_total", 0.0).await;
}

#[tokio::test]
async fn a_relay_whose_store_is_away_is_healthy_and_not_ready() {
    let mut store = RedisServer::start();
    let (relay, admin) = node(&store).await;
    assert_eq!(get(admin, "/readyz").await.0, 200);
    assert!(metric(admin, "store_errors_total").await < 0.5);
    store.kill();
    let (_, answer) = Device::ask(relay.addr(), ClientFrame::Allocate { token: B }).await;
    let RelayFrame::Error { code: ErrorCode::Limit(LimitKind::Store), .. } = answer else { panic!("{answer:?}") };
    let (status, answer) = get(admin, "/readyz").await;
    assert_eq!((status, answer.ends_with("the store does not answer\n")), (503, true), "{answer}");
    assert_eq!(get(admin, "/healthz").await.0, 200);
    assert!(metric(admin, "store_errors_total").await >= 1.0);
    until_metric(admin, "refusals_total{reason=\"store\"}", 1.0).await;
    store.start_again();
    tokio::time::timeout(Duration::from_secs(20), async {
        while get(admin, "/readyz").await.0 != 200 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await
    .unwrap();
    within(Device::allocate(relay.addr())).await;
}
