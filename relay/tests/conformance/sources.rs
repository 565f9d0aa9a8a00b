//! Limits per source that hold whichever node a device comes to.

use crate::common::nodes::Nodes;
use crate::common::sources::{ONE, OTHER, THIRD, allocate, assert_refused, at_once, first, miss, nameplate};
use crate::common::{A, B, C, Device, ID};
use crate::nodes;
use handfast_relay::Config;
use handfast_wire::{
    ClientFrame, CloseReason, EndReason, ErrorCode, LimitKind, MailboxId, Nameplate, RelayFrame, ResumeToken,
};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

#[tokio::test]
async fn one_new_mailbox_too_many_a_minute_is_refused() {
    let relay = nodes(Config { source_allocations: at_once(2), ..Config::default() }).await;
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
    let config = Config { max_source_mailboxes: 1, mailbox_lifetime: Duration::from_millis(500), ..Config::default() };
    let relay = nodes(config).await;
    let (mut held, answer) = allocate(relay.addr(), ONE).await;
    let RelayFrame::Allocated { mailbox, .. } = answer else { panic!("{answer:?}") };
    let refused = async || {
        for frame in [ClientFrame::Allocate { token: A }, ClientFrame::Open { mailbox: ID, token: A }] {
            assert_refused(&first(relay.addr(), ONE, frame).await.1, LimitKind::SourceMailboxes);
        }
    };
    refused().await;
    nameplate(&allocate(relay.addr(), OTHER).await.1);
    // Leaving it does not end it.
    drop(held);
    refused().await;
    let back = ClientFrame::Resume { mailbox, token: A, received: 0 };
    (held, _) = first(relay.addr(), ONE, back).await;
    held.expect_ended(EndReason::Expired).await;
    let (mut next, answer) = allocate(relay.addr(), ONE).await;
    nameplate(&answer);
    next.close(CloseReason::Done).await;
    next.expect_end().await;
    nameplate(&allocate(relay.addr(), ONE).await.1);
}

#[tokio::test]
async fn one_claim_too_many_a_minute_is_refused_whether_it_would_meet_or_not() {
    let relay = nodes(Config { source_claims: at_once(2), ..Config::default() }).await;
    let (_device, allocated) = allocate(relay.addr(), OTHER).await;
    let claim = |token| ClientFrame::Claim { nameplate: nameplate(&allocated), token };
    // A device that repeats its own claim pays only for the connection.
    let mut claimed = Vec::new();
    for _ in 0..4 {
        let (device, answer) = first(relay.addr(), ONE, claim(B)).await;
        assert!(matches!(answer, RelayFrame::Joined(_)), "{answer:?}");
        claimed.push(device);
    }
    assert_eq!(
        first(relay.addr(), ONE, miss(nameplate(&allocated))).await.1,
        RelayFrame::Error { code: ErrorCode::NoSuchNameplate, retry_after_ms: 0 }
    );
    let (_device, opened) = first(relay.addr(), OTHER, ClientFrame::Open { mailbox: ID, token: A }).await;
    assert!(matches!(opened, RelayFrame::Joined(_)), "{opened:?}");
    // From here on nobody looks who claims; a device that has its slot comes back to it by the mailbox's id.
    let frames = [claim(B), claim(C), miss(nameplate(&allocated)), ClientFrame::Open { mailbox: ID, token: B }];
    for frame in frames {
        assert_refused(&first(relay.addr(), ONE, frame).await.1, LimitKind::SourceClaims);
    }
    let RelayFrame::Allocated { mailbox, .. } = allocated else { panic!("{allocated:?}") };
    for frame in [ClientFrame::Resume { mailbox, token: B, received: 0 }, ClientFrame::Open { mailbox, token: B }] {
        let (_device, answer) = first(relay.addr(), ONE, frame).await;
        assert!(matches!(answer, RelayFrame::Joined(_) | RelayFrame::Resumed { .. }), "{answer:?}");
    }
    let (_device, answer) = first(relay.addr(), OTHER, ClientFrame::Open { mailbox: ID, token: B }).await;
    assert!(matches!(answer, RelayFrame::Joined(_)), "{answer:?}");
}

#[tokio::test]
async fn after_too_many_misses_a_source_is_refused_before_anybody_looks() {
    let relay = nodes(Config { source_misses: at_once(3), ..Config::default() }).await;
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
    let relay = nodes(Config { source_misses: at_once(1), ..Config::default() }).await;
    for _ in 0..5 {
        let (_device, allocated) = allocate(relay.addr(), OTHER).await;
        let claim = ClientFrame::Claim { nameplate: nameplate(&allocated), token: B };
        let (_device, answer) = first(relay.addr(), ONE, claim).await;
        assert!(matches!(answer, RelayFrame::Joined(_)), "{answer:?}");
    }
}

/// Thirty claims at the same time, of nameplates that nobody has; how many were looked at.
async fn claims_at_once(relay: &Nodes, used: Nameplate) -> usize {
    let nameplate = |step| Nameplate::new((used.number() + step) % Nameplate::COUNT).unwrap();
    let mut devices = Vec::new();
    for step in 1..=30 {
        let claim = ClientFrame::Claim { nameplate: nameplate(step), token: B };
        devices.push((Device::connect_from(relay.addr(), ONE).await, claim));
    }
    let answers = devices.into_iter().map(|(mut device, claim)| async move { device.answer(claim).await });
    let answers = futures_util::future::join_all(answers).await;
    let is_looked_at =
        |answer: &&RelayFrame| matches!(answer, RelayFrame::Error { code: ErrorCode::NoSuchNameplate, .. });
    answers.iter().filter(is_looked_at).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn many_claims_at_once_are_looked_at_no_more_often_than_one_after_the_other() {
    let relay = nodes(Config { source_misses: at_once(2), ..Config::default() }).await;
    let (_device, allocated) = allocate(relay.addr(), OTHER).await;
    assert_eq!(claims_at_once(&relay, nameplate(&allocated)).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn nor_are_they_while_they_are_slowed() {
    let slow_claims = Duration::from_millis(200);
    let relay =
        nodes(Config { source_misses: at_once(2), all_misses: at_once(1), slow_claims, ..Config::default() }).await;
    let (_device, allocated) = allocate(relay.addr(), OTHER).await;
    first(relay.addr(), THIRD, miss(nameplate(&allocated))).await;
    assert_eq!(claims_at_once(&relay, nameplate(&allocated)).await, 2);
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
    let relay = nodes(Config { all_misses: at_once(4), slow_claims, ..Config::default() }).await;
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
    let relay = nodes(config).await;
    let (_device, allocated) = allocate(relay.addr(), OTHER).await;
    first(relay.addr(), ONE, miss(nameplate(&allocated))).await;
    let claim = ClientFrame::Claim { nameplate: nameplate(&allocated), token: B };
    let (_device, answer) = first(relay.addr(), ONE, claim).await;
    assert!(matches!(answer, RelayFrame::Joined(_)), "{answer:?}");
}

#[tokio::test]
async fn limits_per_source_can_be_off() {
    let relay = nodes(Config { mailbox_lifetime: Duration::from_secs(2), ..Config::for_one_source() }).await;
    let (_device, allocated) = allocate(relay.addr(), ONE).await;
    for token in 0..150 {
        let token = ResumeToken([token; 16]);
        let (mut device, answer) = first(relay.addr(), ONE, ClientFrame::Allocate { token }).await;
        nameplate(&answer);
        device.close(CloseReason::Done).await;
        let (_device, answer) = first(relay.addr(), ONE, miss(nameplate(&allocated))).await;
        assert_eq!(answer, RelayFrame::Error { code: ErrorCode::NoSuchNameplate, retry_after_ms: 0 });
    }
    relay.until_empty().await;
}
