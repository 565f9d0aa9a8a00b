//! Numbers, window, acknowledgements and deadlines, frame by frame.

#![allow(clippy::unwrap_used, clippy::panic)]

use super::*;
use crate::crypto::test_support::seeded_rng;
use alloc::vec;
use core::time::Duration;
use handfast_wire::LimitKind;

const LIFETIME: Lifetime =
    Lifetime { remaining_ms: MAILBOX_LIFETIME_MS, linger_ms: MAILBOX_LINGER_MS, max_ms: MAILBOX_MAX_LIFETIME_MS };

fn at(ms: u64) -> Time {
    Time::from_origin(Duration::from_millis(ms))
}

fn ready() -> Mailbox {
    let mut mailbox = Mailbox::new(Entry::Allocate, &mut seeded_rng(1));
    mailbox.connected();
    assert!(matches!(sent(&mut mailbox).as_slice(), [ClientFrame::Allocate { .. }]));
    let answer = RelayFrame::Allocated {
        nameplate: Nameplate::new(5).unwrap(),
        mailbox: MailboxId([7; 16]),
        lifetime: LIFETIME,
    };
    assert!(matches!(mailbox.frame(&answer.encode(), at(0)), Ok(Some(MailboxEvent::Ready { .. }))));
    mailbox
}

fn sent(mailbox: &mut Mailbox) -> Vec<ClientFrame> {
    core::iter::from_fn(|| mailbox.poll(at(0))).map(|frame| ClientFrame::decode(&frame).unwrap()).collect()
}

fn data(seq: u32, ack: u32) -> Vec<u8> {
    RelayFrame::Data(Data { seq, ack, flags: Flags::NONE, payload: vec![seq as u8] }).encode()
}

fn ack(ack: u32) -> Vec<u8> {
    RelayFrame::Ack(Ack { ack, flags: Flags::NONE }).encode()
}

fn numbers(frames: &[ClientFrame]) -> Vec<u32> {
    frames.iter().filter_map(|frame| if let ClientFrame::Data(data) = frame { Some(data.seq) } else { None }).collect()
}

#[test]
fn at_most_eight_frames_wait_for_an_acknowledgement() {
    let mut mailbox = ready();
    (0..20).for_each(|number| mailbox.send(vec![number]));
    assert_eq!(numbers(&sent(&mut mailbox)), [0, 1, 2, 3, 4, 5, 6, 7]);
    assert!(mailbox.frame(&ack(3), at(0)).is_ok());
    assert_eq!(numbers(&sent(&mut mailbox)), [8, 9, 10]);
    assert!(mailbox.frame(&ack(3), at(0)).is_ok(), "said again");
    assert!(sent(&mut mailbox).is_empty());
    assert!(mailbox.frame(&data(0, 11), at(0)).is_ok(), "with a frame of the peer");
    assert_eq!(numbers(&sent(&mut mailbox)), [11, 12, 13, 14, 15, 16, 17, 18]);
    assert!(mailbox.frame(&ack(20), at(0)).is_err(), "of a frame that was never sent");
}

#[test]
fn every_fourth_frame_is_acknowledged_and_data_carries_the_count() {
    let mut mailbox = ready();
    for number in 0..3 {
        assert!(matches!(mailbox.frame(&data(number, 0), at(0)), Ok(Some(MailboxEvent::Payload(_)))));
    }
    assert!(sent(&mut mailbox).is_empty());
    assert!(mailbox.frame(&data(3, 0), at(0)).is_ok());
    assert_eq!(sent(&mut mailbox), [ClientFrame::Ack(Ack { ack: 4, flags: Flags::NONE })]);
    assert!(mailbox.frame(&data(4, 0), at(0)).is_ok());
    mailbox.send(vec![1]);
    let frames = sent(&mut mailbox);
    assert!(matches!(frames.as_slice(), [ClientFrame::Data(Data { seq: 0, ack: 5, .. })]), "{frames:?}");
    assert!(sent(&mut mailbox).is_empty());
    assert!(mailbox.frame(&data(5, 0), at(0)).is_ok());
    mailbox.acknowledge_now();
    assert_eq!(sent(&mut mailbox), [ClientFrame::Ack(Ack { ack: 6, flags: Flags::NONE })]);
}

#[test]
fn settled_is_said_once_and_again_on_a_new_socket() {
    let mut mailbox = ready();
    mailbox.settle();
    let settled = ClientFrame::Ack(Ack { ack: 0, flags: Flags { settled: true } });
    assert_eq!(sent(&mut mailbox), core::slice::from_ref(&settled));
    assert!(sent(&mut mailbox).is_empty());
    resume(&mut mailbox, 0);
    assert_eq!(sent(&mut mailbox), [settled]);
}

fn resume(mailbox: &mut Mailbox, received: u32) {
    mailbox.disconnected();
    assert!(mailbox.poll(at(0)).is_none(), "nothing is sent without a socket");
    mailbox.connected();
    assert!(matches!(sent(mailbox).as_slice(), [ClientFrame::Resume { .. }]));
    let answer = RelayFrame::Resumed { received, peer: PeerState::Present, lifetime: LIFETIME };
    assert!(mailbox.frame(&answer.encode(), at(0)).is_ok());
}

#[test]
fn a_limit_that_passes_does_not_end_a_run_that_comes_back() {
    let refused = |limit, retry_after_ms| RelayFrame::Error { code: ErrorCode::Limit(limit), retry_after_ms }.encode();
    let mut mailbox = ready();
    mailbox.send(vec![1]);
    mailbox.disconnected();
    mailbox.connected();
    sent(&mut mailbox);
    assert!(matches!(mailbox.frame(&refused(LimitKind::Connections, 5000), at(0)), Ok(None)));
    assert!(sent(&mut mailbox).is_empty(), "nothing more on this socket");
    mailbox.disconnected();
    resume(&mut mailbox, 0);
    assert_eq!(numbers(&sent(&mut mailbox)), [0]);

    mailbox.connected();
    let lasting = mailbox.frame(&refused(LimitKind::MailboxFrames, 0), at(0));
    assert!(matches!(lasting, Ok(Some(MailboxEvent::Refused { .. }))), "this one does not pass");
    let mut newcomer = Mailbox::new(Entry::Allocate, &mut seeded_rng(1));
    newcomer.connected();
    let told = newcomer.frame(&refused(LimitKind::Connections, 5000), at(0));
    assert!(matches!(told, Ok(Some(MailboxEvent::Refused { .. }))), "the person decides when to try again");
}

#[test]
fn a_new_socket_resends_from_what_the_relay_has() {
    let mut mailbox = ready();
    (0..5).for_each(|number| mailbox.send(vec![number]));
    assert_eq!(numbers(&sent(&mut mailbox)), [0, 1, 2, 3, 4]);
    assert!(mailbox.frame(&ack(2), at(0)).is_ok());
    resume(&mut mailbox, 3);
    assert_eq!(numbers(&sent(&mut mailbox)), [3, 4]);
    resume(&mut mailbox, 2);
    assert_eq!(numbers(&sent(&mut mailbox)), [2, 3, 4], "a relay may have lost what the peer does not have");
    resume(&mut mailbox, 5);
    assert!(numbers(&sent(&mut mailbox)).is_empty());
    assert!(mailbox.frame(&ack(5), at(0)).is_ok());
    assert!(mailbox.all_acknowledged());

    for received in [4, 6] {
        mailbox.disconnected();
        mailbox.connected();
        let answer = RelayFrame::Resumed { received, peer: PeerState::Present, lifetime: LIFETIME };
        assert!(mailbox.frame(&answer.encode(), at(0)).is_err(), "{received}: what the peer has is not lost");
    }
}

#[test]
fn a_relay_cannot_have_what_was_never_sent() {
    for (claimed, possible) in [(8, true), (9, false), (20, false)] {
        let mut mailbox = ready();
        (0..20).for_each(|number| mailbox.send(vec![number]));
        assert_eq!(numbers(&sent(&mut mailbox)).len(), 8);
        mailbox.disconnected();
        mailbox.connected();
        let answer = RelayFrame::Resumed { received: claimed, peer: PeerState::Present, lifetime: LIFETIME };
        assert_eq!(mailbox.frame(&answer.encode(), at(0)).is_ok(), possible, "{claimed}");
    }
}

#[test]
fn a_repeated_frame_is_dropped_and_a_gap_is_a_fault() {
    let mut mailbox = ready();
    assert!(matches!(mailbox.frame(&data(0, 0), at(0)), Ok(Some(MailboxEvent::Payload(_)))));
    assert!(matches!(mailbox.frame(&data(0, 0), at(0)), Ok(None)));
    assert!(mailbox.frame(&data(2, 0), at(0)).is_err());
}

#[test]
fn no_more_frames_are_taken_than_a_mailbox_carries() {
    let mut mailbox = ready();
    for number in 0..MAX_MAILBOX_FRAMES {
        assert!(mailbox.frame(&data(number, 0), at(0)).is_ok(), "{number}");
    }
    assert!(mailbox.frame(&data(MAX_MAILBOX_FRAMES, 0), at(0)).is_err());
}

#[test]
fn closing_sends_what_the_window_takes_the_farewell_and_the_close() {
    let mut mailbox = ready();
    mailbox.send(vec![1]);
    assert!(mailbox.frame(&data(0, 0), at(0)).is_ok());
    mailbox.close(Some(vec![2]), CloseReason::Failed);
    let frames = sent(&mut mailbox);
    assert_eq!(numbers(&frames), [0, 1]);
    assert_eq!(frames.last(), Some(&ClientFrame::Close { reason: CloseReason::Failed }));
    assert!(sent(&mut mailbox).is_empty());

    // A full window: nothing can be awaited any more, so what is behind it never leaves.
    let mut mailbox = ready();
    (0..20).for_each(|number| mailbox.send(vec![number]));
    assert_eq!(numbers(&sent(&mut mailbox)).len(), 8);
    mailbox.close(Some(vec![2]), CloseReason::Cancelled);
    assert_eq!(sent(&mut mailbox), [ClientFrame::Close { reason: CloseReason::Cancelled }]);

    // What has arrived is acknowledged before the close.
    let mut mailbox = ready();
    assert!(mailbox.frame(&data(0, 0), at(0)).is_ok());
    mailbox.close(None, CloseReason::Done);
    let expected =
        [ClientFrame::Ack(Ack { ack: 1, flags: Flags::NONE }), ClientFrame::Close { reason: CloseReason::Done }];
    assert_eq!(sent(&mut mailbox), expected);
}

#[test]
fn only_the_answer_to_the_question_on_this_socket_is_taken() {
    let joined = |mailbox, slot| {
        RelayFrame::Joined(handfast_wire::Joined {
            mailbox,
            slot,
            received: 0,
            peer: PeerState::Absent,
            network: Network::Same,
            lifetime: LIFETIME,
        })
        .encode()
    };
    let resumed = RelayFrame::Resumed { received: 0, peer: PeerState::Absent, lifetime: LIFETIME }.encode();
    let (asked, other) = (MailboxId([1; 16]), MailboxId([2; 16]));
    for (entry, frame, taken) in [
        (Entry::Open(asked), joined(asked, Slot::First), true),
        (Entry::Open(asked), joined(other, Slot::First), false),
        (Entry::Claim(Nameplate::new(1).unwrap()), joined(other, Slot::Second), true),
        (Entry::Allocate, joined(asked, Slot::First), false),
        (Entry::Open(asked), resumed, false),
        (Entry::Allocate, data(0, 0), false),
        (Entry::Allocate, ack(0), false),
    ] {
        let mut mailbox = Mailbox::new(entry, &mut seeded_rng(2));
        assert!(mailbox.frame(&frame, at(0)).is_err(), "before there is a socket");
        mailbox.connected();
        assert_eq!(mailbox.frame(&frame, at(0)).is_ok(), taken);
    }
}

#[test]
fn the_mailbox_ends_as_the_relay_says_but_never_later_than_the_protocol_does() {
    let minutes = |count: u64| at(count * 60_000);
    let mut mailbox = ready();
    assert_eq!(mailbox.deadline(), Some(minutes(10)));
    assert!(mailbox.frame(&data(0, 0), minutes(7)).is_ok());
    assert_eq!(mailbox.deadline(), Some(minutes(10)));
    assert!(mailbox.frame(&data(1, 0), minutes(9)).is_ok());
    assert_eq!(mailbox.deadline(), Some(minutes(11)));
    assert!(mailbox.frame(&data(2, 0), minutes(14)).is_ok());
    assert_eq!(mailbox.deadline(), Some(minutes(15)));
    // A resume does not start it anew.
    resume(&mut mailbox, 0);
    assert_eq!(mailbox.deadline(), Some(minutes(15)));

    for (lifetime, ends) in [
        (Lifetime { remaining_ms: u32::MAX, linger_ms: u32::MAX, max_ms: u32::MAX }, minutes(10)),
        (Lifetime { remaining_ms: 60_000, ..LIFETIME }, minutes(1)),
        (Lifetime { max_ms: 120_000, ..LIFETIME }, minutes(2)),
        (Lifetime { remaining_ms: 0, linger_ms: 0, max_ms: 0 }, at(0)),
    ] {
        let mut mailbox = Mailbox::new(Entry::Allocate, &mut seeded_rng(3));
        mailbox.connected();
        let answer =
            RelayFrame::Allocated { nameplate: Nameplate::new(5).unwrap(), mailbox: MailboxId([7; 16]), lifetime };
        assert!(mailbox.frame(&answer.encode(), at(0)).is_ok());
        assert_eq!(mailbox.deadline(), Some(ends));
    }
}
