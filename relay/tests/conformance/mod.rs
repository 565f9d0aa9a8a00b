//! What two devices and a stranger see of a mailbox, over real sockets: the same whatever the store is and however many
//! nodes share it. Each `addr()` is the next node, so that devices meet and come back across nodes.

mod sources;

use crate::common::{A, B, C, Device, ID};
use crate::nodes;
use handfast_relay::Config;
use handfast_wire::{
    Ack, ClientFrame, CloseReason, EndReason, ErrorCode, Flags, Lifetime, LimitKind, MailboxId, Nameplate, Network,
    PeerState, RelayFrame, Slot, limits,
};
use std::time::Duration;

#[tokio::test]
async fn a_whole_exchange_by_nameplate() {
    let relay = nodes(Config::default()).await;
    let (mut first, nameplate, mailbox) = Device::allocate(relay.addr()).await;
    first.data(0, 0, b"offer").await;
    let (mut second, joined) = Device::claim(relay.addr(), nameplate, B).await;
    assert_eq!((joined.mailbox, joined.slot, joined.received), (mailbox, Slot::Second, 0));
    assert_eq!((joined.peer, joined.network), (PeerState::Present, Network::Same));
    assert_eq!(first.recv().await, RelayFrame::PeerJoined { network: Network::Same });
    second.expect_data(0, b"offer").await;
    second.data(0, 1, b"accept").await;
    match first.recv().await {
        RelayFrame::Data(data) => assert_eq!((data.seq, data.ack, data.payload), (0, 1, b"accept".to_vec())),
        other => panic!("{other:?}"),
    }
    first.ack(1).await;
    assert_eq!(second.recv().await, RelayFrame::Ack(Ack { ack: 1, flags: Flags::NONE }));
    relay.until_no_bytes_are_stored().await;

    first.data(1, 1, b"last").await;
    first.close(CloseReason::Done).await;
    first.expect_end().await;
    second.expect_data(1, b"last").await;
    assert_eq!(second.recv().await, RelayFrame::PeerClosed { reason: CloseReason::Done });
    second.close(CloseReason::Done).await;
    second.expect_end().await;
    relay.until_empty().await;
}

#[tokio::test]
async fn a_whole_exchange_by_id() {
    let relay = nodes(Config::default()).await;
    let (mut first, joined) = Device::open(relay.addr(), ID, A).await;
    assert_eq!((joined.mailbox, joined.slot), (ID, Slot::First));
    assert_eq!((joined.peer, joined.network), (PeerState::Absent, Network::Unknown));
    let (mut second, joined) = Device::open(relay.addr(), ID, B).await;
    assert_eq!((joined.slot, joined.peer), (Slot::Second, PeerState::Present));
    assert_eq!(first.recv().await, RelayFrame::PeerJoined { network: Network::Same });
    second.data(0, 0, &[7; limits::MAX_PAYLOAD_BYTES]).await;
    first.expect_data(0, &[7; limits::MAX_PAYLOAD_BYTES]).await;
}

#[tokio::test]
async fn devices_are_told_how_long_a_mailbox_lives() {
    let relay = nodes(Config::default()).await;
    let (_first, answer) = Device::ask(relay.addr(), ClientFrame::Allocate { token: A }).await;
    let RelayFrame::Allocated { mailbox, lifetime, .. } = answer else { panic!("{answer:?}") };
    let check = |lifetime: Lifetime| {
        assert!((590_000..=600_000).contains(&lifetime.remaining_ms), "{lifetime:?}");
        assert!((890_000..=900_000).contains(&lifetime.max_ms), "{lifetime:?}");
        assert_eq!(lifetime.linger_ms, 120_000);
    };
    check(lifetime);
    check(Device::open(relay.addr(), mailbox, B).await.1.lifetime);
    let (_, answer) = Device::resume(relay.addr(), mailbox, B, 0).await;
    let RelayFrame::Resumed { lifetime, .. } = answer else { panic!("{answer:?}") };
    check(lifetime);
}

#[tokio::test]
async fn nameplates_and_ids_do_not_repeat() {
    let relay = nodes(Config::for_one_source()).await;
    let mut seen = std::collections::HashSet::new();
    let mut devices = Vec::new();
    for _ in 0..50 {
        let (device, nameplate, mailbox) = Device::allocate(relay.addr()).await;
        assert!(seen.insert(nameplate.number().to_be_bytes().to_vec()));
        assert!(seen.insert(mailbox.0.to_vec()));
        devices.push(device);
    }
}

#[tokio::test]
async fn an_unknown_nameplate_is_refused_and_a_used_one_is_unknown() {
    let relay = nodes(Config::default()).await;
    let claim = ClientFrame::Claim { nameplate: Nameplate::new(1).unwrap(), token: B };
    let mut stranger = Device::connect(relay.addr()).await;
    stranger.send(claim).await;
    stranger.expect_refusal(ErrorCode::NoSuchNameplate).await;

    let (mut first, nameplate, _) = Device::allocate(relay.addr()).await;
    first.close(CloseReason::Cancelled).await;
    first.expect_end().await;
    let mut late = Device::connect(relay.addr()).await;
    late.send(ClientFrame::Claim { nameplate, token: B }).await;
    late.expect_refusal(ErrorCode::NoSuchNameplate).await;
    relay.until_empty().await;
}

#[tokio::test]
async fn a_third_device_ends_an_unsettled_run_for_all_three() {
    let relay = nodes(Config::default()).await;
    let (mut first, nameplate, mailbox) = Device::allocate(relay.addr()).await;
    let (mut second, _) = Device::claim(relay.addr(), nameplate, B).await;
    first.recv().await;
    let mut third = Device::connect(relay.addr()).await;
    third.send(ClientFrame::Claim { nameplate, token: C }).await;
    for device in [&mut first, &mut second, &mut third] {
        device.expect_ended(EndReason::Crowded).await;
    }
    relay.until_empty().await;
    let mut late = Device::connect(relay.addr()).await;
    late.send(ClientFrame::Resume { mailbox, token: A, received: 0 }).await;
    late.expect_refusal(ErrorCode::NoSuchMailbox).await;
}

#[tokio::test]
async fn a_third_device_is_refused_once_both_have_settled() {
    let relay = nodes(Config::default()).await;
    let (mut first, mut second, mailbox) = Device::pair_across(&relay).await;
    first.settle().await;
    second.settle().await;
    let settled = RelayFrame::Ack(Ack { ack: 0, flags: Flags { settled: true } });
    assert_eq!((first.recv().await, second.recv().await), (settled.clone(), settled));
    let mut third = Device::connect(relay.addr()).await;
    third.send(ClientFrame::Open { mailbox, token: C }).await;
    third.expect_refusal(ErrorCode::MailboxFull).await;
    assert_eq!(first.recv().await, RelayFrame::ThirdClaim);
    assert_eq!(second.recv().await, RelayFrame::ThirdClaim);
    first.data(0, 0, b"go on").await;
    second.expect_data(0, b"go on").await;
}

#[tokio::test]
async fn a_dropped_device_resumes_where_it_was() {
    for received in 0..=3 {
        let relay = nodes(Config::default()).await;
        let (mut first, mut second, mailbox) = Device::pair_across(&relay).await;
        second.data(0, 0, b"from second").await;
        for seq in 0..3 {
            first.data(seq, 0, &[seq as u8]).await;
        }
        for seq in 0..3 {
            second.expect_data(seq, &[seq as u8]).await;
        }
        first.expect_data(0, b"from second").await;
        drop(second);
        assert_eq!(first.recv().await, RelayFrame::PeerLeft);
        first.data(3, 0, &[3]).await;

        let (mut second, answer) = Device::resume(relay.addr(), mailbox, B, received).await;
        match answer {
            RelayFrame::Resumed { received, peer, .. } => assert_eq!((received, peer), (1, PeerState::Present)),
            other => panic!("{other:?}"),
        }
        assert_eq!(second.recv().await, RelayFrame::PeerJoined { network: Network::Same });
        for seq in received..4 {
            second.expect_data(seq, &[seq as u8]).await;
        }
        assert_eq!(first.recv().await, RelayFrame::PeerJoined { network: Network::Same });
        if received > 0 {
            assert_eq!(first.recv().await, RelayFrame::Ack(Ack { ack: received, flags: Flags::NONE }));
        }
    }
}

#[tokio::test]
async fn both_devices_may_be_away_at_once() {
    let relay = nodes(Config::default()).await;
    let (mut first, second, mailbox) = Device::pair_across(&relay).await;
    drop(second);
    assert_eq!(first.recv().await, RelayFrame::PeerLeft);
    first.data(0, 0, b"kept").await;
    first.synced().await;
    drop(first);
    relay.until_unconnected().await;

    let (mut second, answer) = Device::resume(relay.addr(), mailbox, B, 0).await;
    assert!(matches!(answer, RelayFrame::Resumed { peer: PeerState::Away, .. }), "{answer:?}");
    second.expect_data(0, b"kept").await;
    let (_first, answer) = Device::resume(relay.addr(), mailbox, A, 0).await;
    assert!(matches!(answer, RelayFrame::Resumed { received: 1, peer: PeerState::Present, .. }), "{answer:?}");
}

#[tokio::test]
async fn resume_needs_a_live_mailbox_and_the_right_token() {
    let relay = nodes(Config::default()).await;
    let (_first, _second, mailbox) = Device::pair_across(&relay).await;
    for (mailbox, token, code) in [(mailbox, C, ErrorCode::BadToken), (MailboxId([0; 16]), A, ErrorCode::NoSuchMailbox)]
    {
        let mut stranger = Device::connect(relay.addr()).await;
        stranger.send(ClientFrame::Resume { mailbox, token, received: 0 }).await;
        stranger.expect_refusal(code).await;
    }
    let mut boaster = Device::connect(relay.addr()).await;
    boaster.send(ClientFrame::Resume { mailbox, token: A, received: 1 }).await;
    boaster.expect_refusal(ErrorCode::UnexpectedFrame).await;
}

#[tokio::test]
async fn a_resumed_slot_leaves_the_old_socket() {
    let relay = nodes(Config::default()).await;
    let (mut first, mut second, mailbox) = Device::pair_across(&relay).await;
    let (mut newer, _) = Device::resume(relay.addr(), mailbox, A, 0).await;
    first.expect_ended(EndReason::Replaced).await;
    assert_eq!(second.recv().await, RelayFrame::PeerJoined { network: Network::Same });
    assert_eq!(newer.recv().await, RelayFrame::PeerJoined { network: Network::Same });
    second.data(0, 0, b"hello").await;
    newer.expect_data(0, b"hello").await;
}

#[tokio::test]
async fn a_repeated_claim_or_open_is_the_same_slot() {
    let relay = nodes(Config::default()).await;
    let (mut first, nameplate, mailbox) = Device::allocate(relay.addr()).await;
    first.data(0, 0, b"offer").await;
    let (second, _) = Device::claim(relay.addr(), nameplate, B).await;
    drop(second);
    let (mut second, joined) = Device::claim(relay.addr(), nameplate, B).await;
    assert_eq!((joined.slot, joined.received), (Slot::Second, 0));
    second.expect_data(0, b"offer").await;
    second.data(0, 1, b"accept").await;
    second.synced().await;
    let (_second, joined) = Device::open(relay.addr(), mailbox, B).await;
    assert_eq!((joined.slot, joined.received), (Slot::Second, 1));
    second.expect_ended(EndReason::Replaced).await;
}

#[tokio::test]
async fn duplicates_are_dropped_and_gaps_refused() {
    let relay = nodes(Config::default()).await;
    let (mut first, mut second, _) = Device::pair_across(&relay).await;
    first.data(0, 0, b"one").await;
    first.data(0, 0, b"one").await;
    first.data(1, 0, b"two").await;
    second.expect_data(0, b"one").await;
    second.expect_data(1, b"two").await;
    first.data(3, 0, b"four").await;
    first.expect_refusal(ErrorCode::UnexpectedFrame).await;
    assert_eq!(second.recv().await, RelayFrame::PeerLeft);
}

#[tokio::test]
async fn acknowledging_the_future_is_refused() {
    let relay = nodes(Config::default()).await;
    let (mut first, mut second, _) = Device::pair_across(&relay).await;
    first.ack(1).await;
    first.expect_refusal(ErrorCode::UnexpectedFrame).await;
    second.recv().await;
    second.data(0, 7, b"x").await;
    second.expect_refusal(ErrorCode::UnexpectedFrame).await;
}

#[tokio::test]
async fn closing_is_idempotent() {
    let relay = nodes(Config::default()).await;
    let (mut first, mut second, mailbox) = Device::pair_across(&relay).await;
    first.close(CloseReason::Done).await;
    first.close(CloseReason::Failed).await;
    first.expect_end().await;
    assert_eq!(second.recv().await, RelayFrame::PeerClosed { reason: CloseReason::Done });
    let (mut again, answer) = Device::resume(relay.addr(), mailbox, A, 0).await;
    assert!(matches!(answer, RelayFrame::Resumed { .. }), "{answer:?}");
    again.close(CloseReason::Failed).await;
    again.expect_end().await;
    second.data(0, 0, b"into the void").await;
    second.close(CloseReason::Done).await;
    second.expect_end().await;
    relay.until_empty().await;
}

#[tokio::test]
async fn a_device_that_was_away_learns_that_its_peer_closed() {
    let relay = nodes(Config::default()).await;
    let (first, mut second, mailbox) = Device::pair_across(&relay).await;
    drop(first);
    assert_eq!(second.recv().await, RelayFrame::PeerLeft);
    second.data(0, 0, b"last").await;
    second.close(CloseReason::Burned).await;
    second.expect_end().await;
    let (mut first, answer) = Device::resume(relay.addr(), mailbox, A, 0).await;
    assert!(matches!(answer, RelayFrame::Resumed { peer: PeerState::Closed, .. }), "{answer:?}");
    first.expect_data(0, b"last").await;
    assert_eq!(first.recv().await, RelayFrame::PeerClosed { reason: CloseReason::Burned });
}

#[tokio::test]
async fn a_silent_claimant_loses_the_slot_and_the_offer_survives() {
    let relay = nodes(Config { claim_timeout: Duration::from_millis(150), ..Config::default() }).await;
    let (mut first, nameplate, _) = Device::allocate(relay.addr()).await;
    first.data(0, 0, b"offer").await;
    let (mut squatter, _) = Device::claim(relay.addr(), nameplate, B).await;
    squatter.expect_data(0, b"offer").await;
    squatter.ack(1).await;
    squatter.expect_ended(EndReason::ClaimTimedOut).await;
    assert_eq!(first.recv().await, RelayFrame::PeerJoined { network: Network::Same });
    assert_eq!(first.recv().await, RelayFrame::Ack(Ack { ack: 1, flags: Flags::NONE }));
    assert_eq!(first.recv().await, RelayFrame::PeerFreed);

    let (mut second, joined) = Device::claim(relay.addr(), nameplate, C).await;
    assert_eq!(joined.slot, Slot::Second);
    second.expect_data(0, b"offer").await;
    second.data(0, 1, b"accept").await;
    assert_eq!(first.recv().await, RelayFrame::PeerJoined { network: Network::Same });
    first.expect_data(0, b"accept").await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    first.data(1, 1, b"still here").await;
    second.expect_data(1, b"still here").await;
}

#[tokio::test]
async fn a_mailbox_expires_for_the_connected_and_the_absent() {
    let config = Config {
        mailbox_lifetime: Duration::from_millis(200),
        mailbox_linger: Duration::from_millis(100),
        ..Config::default()
    };
    let relay = nodes(config).await;
    let (mut first, mut second, mailbox) = Device::pair_across(&relay).await;
    let (abandoned, _, abandoned_mailbox) = Device::allocate(relay.addr()).await;
    drop(abandoned);
    first.data(0, 0, b"never acknowledged").await;
    second.expect_data(0, b"never acknowledged").await;
    first.expect_ended(EndReason::Expired).await;
    second.expect_ended(EndReason::Expired).await;
    for mailbox in [mailbox, abandoned_mailbox] {
        let mut late = Device::connect(relay.addr()).await;
        late.send(ClientFrame::Resume { mailbox, token: A, received: 0 }).await;
        late.expect_refusal(ErrorCode::NoSuchMailbox).await;
    }
}

#[tokio::test]
async fn a_silent_claim_that_left_is_freed_too() {
    let relay = nodes(Config { claim_timeout: Duration::from_millis(150), ..Config::default() }).await;
    let (mut first, nameplate, mailbox) = Device::allocate(relay.addr()).await;
    let (squatter, _) = Device::claim(relay.addr(), nameplate, B).await;
    assert_eq!(first.recv().await, RelayFrame::PeerJoined { network: Network::Same });
    drop(squatter);
    assert_eq!(first.recv().await, RelayFrame::PeerLeft);
    assert_eq!(first.recv().await, RelayFrame::PeerFreed);
    let (mut late, _) = Device::resume(relay.addr(), mailbox, C, 0).await;
    late.expect_end().await;
    Device::claim(relay.addr(), nameplate, C).await;
}

#[tokio::test]
async fn as_many_frames_as_a_mailbox_carries_arrive_once_and_in_order() {
    let relay = nodes(Config { max_mailbox_bytes: u32::MAX, ..Config::default() }).await;
    let (mut first, mut second, _) = Device::pair_across(&relay).await;
    let payload = |number: u32| vec![number as u8; limits::MAX_PAYLOAD_BYTES];
    for round in 0..4 {
        for seq in round * 8..round * 8 + 8 {
            first.data(seq, seq.min(round * 8), &payload(seq)).await;
            second.data(seq, seq.min(round * 8), &payload(100 + seq)).await;
        }
        for seq in round * 8..round * 8 + 8 {
            assert_eq!(first.next_data().await, (seq, payload(100 + seq)));
            assert_eq!(second.next_data().await, (seq, payload(seq)));
        }
        first.ack(round * 8 + 8).await;
        second.ack(round * 8 + 8).await;
        first.until_acked(round * 8 + 8).await;
        second.until_acked(round * 8 + 8).await;
    }
    relay.until_no_bytes_are_stored().await;
    first.data(32, 32, b"one too many").await;
    first.expect_refusal(ErrorCode::Limit(LimitKind::MailboxFrames)).await;
}

#[tokio::test]
async fn devices_that_change_sockets_all_the_time_miss_nothing() {
    let relay = nodes(Config::default()).await;
    let (mut first, mut second, mailbox) = Device::pair_across(&relay).await;
    for seq in 0..12 {
        first.data(seq, seq, &[seq as u8]).await;
        assert_eq!(second.next_data().await, (seq, vec![seq as u8]));
        second.data(seq, seq + 1, &[100 + seq as u8]).await;
        assert_eq!(first.next_data().await, (seq, vec![100 + seq as u8]));
        // One without a goodbye, the other before its old socket is gone.
        drop(first);
        (first, _) = Device::resume(relay.addr(), mailbox, A, seq + 1).await;
        (second, _) = Device::resume(relay.addr(), mailbox, B, seq + 1).await;
    }
}

#[tokio::test]
async fn without_the_hint_nothing_is_said_about_networks() {
    let relay = nodes(Config { network_hint: false, ..Config::default() }).await;
    let (mut first, nameplate, _) = Device::allocate(relay.addr()).await;
    let (_second, joined) = Device::claim(relay.addr(), nameplate, B).await;
    assert_eq!(joined.network, Network::Unknown);
    assert_eq!(first.recv().await, RelayFrame::PeerJoined { network: Network::Unknown });
}
