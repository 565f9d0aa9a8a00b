#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use super::*;
use handfast_wire::{ClientFrame, Data, Network, PeerState};

const A: ConnectionId = connection(1);
const B: ConnectionId = connection(2);
const C: ConnectionId = connection(3);
const FIRST: (Slot, ConnectionId) = (Slot::First, A);
const SECOND: (Slot, ConnectionId) = (Slot::Second, B);

/// A mailbox with a clock that only the test moves.
struct Bench {
    mailbox: Mailbox<Bytes>,
    config: Config,
    now: Time,
}

impl Bench {
    /// With the first slot taken by connection `A`, token 1.
    fn new() -> Self {
        Self::with(Config::default())
    }

    fn with(config: Config) -> Self {
        let now = Time(1_000_000);
        let mut bench = Self { mailbox: Mailbox::new(now), config, now };
        assert_eq!(bench.join(1, A).slot, Slot::First);
        bench
    }

    /// With both slots taken: `A` with token 1, `B` with token 2.
    fn paired() -> Self {
        let mut bench = Self::new();
        assert_eq!(bench.join(2, B).slot, Slot::Second);
        bench
    }

    fn try_join(&mut self, token: u8, connection: ConnectionId) -> Entry {
        self.mailbox.join(self.now, &self.config, MailboxId([9; 16]), arrival(token, connection))
    }

    fn join(&mut self, token: u8, connection: ConnectionId) -> Joined {
        match self.try_join(token, connection) {
            Entry::Seated(slot, RelayFrame::Joined(joined)) => {
                assert_eq!(slot, joined.slot);
                joined
            }
            _ => panic!("not seated"),
        }
    }

    fn refused(&mut self, token: u8) -> RelayFrame {
        match self.try_join(token, C) {
            Entry::Refused(why) => why,
            Entry::Seated(..) => panic!("seated"),
        }
    }

    fn resume(&mut self, token: u8, connection: ConnectionId, received: u32) -> Result<(u32, PeerState), ErrorCode> {
        let (_, reply) = self.mailbox.resume(self.now, &self.config, arrival(token, connection), received)?;
        match reply {
            RelayFrame::Resumed { received, peer, .. } => Ok((received, peer)),
            other => panic!("{other:?}"),
        }
    }

    fn data(&mut self, seat: (Slot, ConnectionId), seq: u32, ack: u32) -> Result<(), ErrorCode> {
        self.data_with(seat, seq, ack, Flags::NONE)
    }

    fn data_with(&mut self, seat: (Slot, ConnectionId), seq: u32, ack: u32, flags: Flags) -> Result<(), ErrorCode> {
        let header = DataHeader { seq, ack, flags };
        self.mailbox.data(self.now, &self.config, seat, header, frame(seq, ack, flags))
    }

    fn ack(&mut self, seat: (Slot, ConnectionId), ack: u32) -> Result<(), ErrorCode> {
        self.mailbox.ack(seat, Ack { ack, flags: Flags::NONE })
    }

    fn settle(&mut self, seat: (Slot, ConnectionId)) {
        self.mailbox.ack(seat, Ack { ack: 0, flags: Flags { settled: true } }).unwrap();
    }

    /// Everything this socket has to send now, up to its end.
    fn outputs(&mut self, seat: (Slot, ConnectionId)) -> Vec<Output> {
        let mut outputs = Vec::new();
        while let Some(output) = self.mailbox.poll_output(seat) {
            let end = matches!(output, Output::End(_));
            outputs.push(output);
            if end {
                break;
            }
        }
        outputs
    }

    /// The numbers of the data frames this socket has to send now; anything else is dropped.
    fn numbers(&mut self, seat: (Slot, ConnectionId)) -> Vec<u32> {
        let outputs = self.outputs(seat);
        outputs.iter().filter_map(data_number).collect()
    }

    fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
        while !self.mailbox.is_over() && self.mailbox.next_deadline(&self.config) <= self.now {
            self.mailbox.on_time(self.now, &self.config);
        }
    }
}

const fn connection(number: u64) -> ConnectionId {
    ConnectionId { node: 0, number }
}

fn arrival(token: u8, connection: ConnectionId) -> Arrival {
    let network = NetworkPrefix::of([192, 0, 2, token].into());
    Arrival::new(&ResumeToken([token; 16]), connection, Some(network))
}

fn frame(seq: u32, ack: u32, flags: Flags) -> Bytes {
    ClientFrame::Data(Data { seq, ack, flags, payload: vec![7; 100] }).encode().into()
}

fn data_number(output: &Output) -> Option<u32> {
    match output {
        Output::Data(bytes) => Some(DataHeader::decode(bytes).unwrap().unwrap().seq),
        _ => None,
    }
}

fn told(frame: RelayFrame) -> Output {
    Output::Frame(frame)
}

fn acked(ack: u32) -> Output {
    told(RelayFrame::Ack(Ack { ack, flags: Flags::NONE }))
}

fn ended(reason: EndReason) -> Vec<Output> {
    vec![Output::End(Some(reason))]
}

const SECOND_TIME: Duration = Duration::from_secs(1);

#[test]
fn what_first_sent_waits_for_second() {
    let mut bench = Bench::new();
    bench.data(FIRST, 0, 0).unwrap();
    let joined = bench.join(2, B);
    assert_eq!((joined.peer, joined.network, joined.received), (PeerState::Present, Network::Different, 0));
    assert_eq!(bench.outputs(SECOND), [Output::Data(frame(0, 0, Flags::NONE))]);
    assert_eq!(bench.outputs(FIRST), [told(RelayFrame::PeerJoined { network: Network::Different })]);
    assert_eq!(bench.outputs(FIRST), []);
}

#[test]
fn first_is_told_that_nobody_is_there_yet() {
    let mut bench = Bench::new();
    let joined = bench.join(1, C);
    assert_eq!((joined.peer, joined.network), (PeerState::Absent, Network::Unknown));
}

#[test]
fn a_frame_is_forwarded_as_it_came() {
    let mut bench = Bench::paired();
    bench.data(FIRST, 0, 0).unwrap();
    bench.outputs(SECOND);
    let settled = Flags { settled: true };
    bench.data_with(SECOND, 0, 1, settled).unwrap();
    assert_eq!(bench.outputs(FIRST)[1], Output::Data(frame(0, 1, settled)));
}

#[test]
fn a_repeated_frame_is_dropped_and_a_gap_is_refused() {
    let mut bench = Bench::paired();
    bench.data(FIRST, 0, 0).unwrap();
    bench.data(FIRST, 0, 0).unwrap();
    assert_eq!(bench.numbers(SECOND), [0]);
    assert_eq!(bench.data(FIRST, 2, 0), Err(ErrorCode::UnexpectedFrame));
    bench.data(FIRST, 1, 0).unwrap();
    assert_eq!(bench.numbers(SECOND), [1]);
}

#[test]
fn a_repeated_frame_still_acknowledges() {
    let mut bench = Bench::paired();
    bench.data(SECOND, 0, 0).unwrap();
    bench.data(FIRST, 0, 0).unwrap();
    bench.outputs(FIRST);
    bench.outputs(SECOND);
    bench.data(FIRST, 0, 1).unwrap();
    assert_eq!(bench.outputs(SECOND), [acked(1)]);
}

#[test]
fn acknowledging_what_was_never_sent_is_refused() {
    let mut bench = Bench::paired();
    bench.data(FIRST, 0, 0).unwrap();
    assert_eq!(bench.ack(SECOND, 1), Err(ErrorCode::UnexpectedFrame), "accepted, but not sent to this slot yet");
    bench.outputs(SECOND);
    bench.ack(SECOND, 1).unwrap();
    assert_eq!(bench.ack(SECOND, 2), Err(ErrorCode::UnexpectedFrame));
    assert_eq!(bench.data(SECOND, 0, 2), Err(ErrorCode::UnexpectedFrame));
}

#[test]
fn the_window_opens_by_acknowledgements_alone() {
    let mut bench = Bench::paired();
    for seq in 0..8 {
        bench.data(FIRST, seq, 0).unwrap();
    }
    assert_eq!(bench.numbers(SECOND).len(), 8);
    assert_eq!(bench.data(FIRST, 8, 0), Err(ErrorCode::Limit(LimitKind::Window)), "sent, but not acknowledged");
    bench.ack(SECOND, 1).unwrap();
    bench.data(FIRST, 8, 0).unwrap();
    assert_eq!(bench.data(FIRST, 9, 0), Err(ErrorCode::Limit(LimitKind::Window)));
}

#[test]
fn acknowledgements_to_a_slow_reader_become_one() {
    let mut bench = Bench::paired();
    for seq in 0..3 {
        bench.data(FIRST, seq, 0).unwrap();
    }
    bench.outputs(FIRST);
    bench.outputs(SECOND);
    for ack in [1, 2, 3, 3, 2] {
        bench.ack(SECOND, ack).unwrap();
    }
    assert_eq!(bench.outputs(FIRST), [acked(3)]);
    bench.ack(SECOND, 3).unwrap();
    assert_eq!(bench.outputs(FIRST), [], "nothing new");
}

#[test]
fn a_mailbox_carries_so_many_frames_and_no_more() {
    let mut bench = Bench::with(Config { max_mailbox_frames: 3, ..Config::default() });
    bench.join(2, B);
    bench.data(FIRST, 0, 0).unwrap();
    bench.data(SECOND, 0, 0).unwrap();
    bench.data(FIRST, 1, 0).unwrap();
    bench.data(FIRST, 1, 0).expect("a repeated frame does not count");
    assert_eq!(bench.data(SECOND, 1, 0), Err(ErrorCode::Limit(LimitKind::MailboxFrames)));
}

#[test]
fn stored_bytes_go_when_the_peer_acknowledges() {
    let mut bench = Bench::paired();
    let len = frame(0, 0, Flags::NONE).len();
    bench.data(SECOND, 0, 0).unwrap();
    bench.data(SECOND, 1, 0).unwrap();
    bench.outputs(FIRST);
    assert_eq!(bench.mailbox.stored_bytes(), 2 * len);
    bench.ack(FIRST, 1).unwrap();
    assert_eq!(bench.mailbox.stored_bytes(), len);
    bench.ack(FIRST, 2).unwrap();
    assert_eq!(bench.mailbox.stored_bytes(), 0);
}

#[test]
fn resume_continues_from_every_point() {
    for received in 0..=4 {
        let mut bench = Bench::paired();
        bench.data(SECOND, 0, 0).unwrap();
        for seq in 0..4 {
            bench.data(FIRST, seq, 0).unwrap();
        }
        bench.outputs(SECOND);
        bench.mailbox.detach(SECOND);
        assert_eq!(bench.outputs(FIRST).last(), Some(&told(RelayFrame::PeerLeft)));
        assert_eq!(bench.resume(2, C, received), Ok((1, PeerState::Present)));
        let expected: Vec<u32> = (received..4).collect();
        assert_eq!(bench.numbers((Slot::Second, C)), expected);
        let mut told_first = vec![told(RelayFrame::PeerJoined { network: Network::Different })];
        told_first.extend((received > 0).then(|| acked(received)));
        assert_eq!(bench.outputs(FIRST), told_first);
    }
}

#[test]
fn resume_refuses_impossible_counts() {
    let mut bench = Bench::paired();
    for seq in 0..3 {
        bench.data(SECOND, seq, 0).unwrap();
    }
    bench.outputs(FIRST);
    bench.ack(FIRST, 2).unwrap();
    assert_eq!(bench.resume(1, C, 4), Err(ErrorCode::UnexpectedFrame), "more than was sent");
    assert_eq!(bench.resume(1, C, 1), Err(ErrorCode::UnexpectedFrame), "less than was acknowledged: it is gone");
    assert_eq!(bench.resume(1, C, 2), Ok((0, PeerState::Present)));
    assert_eq!(bench.numbers((Slot::First, C)), [2]);
}

#[test]
fn resume_needs_the_token_of_a_slot() {
    let mut bench = Bench::paired();
    assert_eq!(bench.resume(3, C, 0), Err(ErrorCode::BadToken));
    assert_eq!(bench.outputs(FIRST).len(), 1, "the old socket stays");
}

#[test]
fn resume_repeats_an_acknowledgement_that_may_be_lost() {
    let mut bench = Bench::paired();
    bench.data(FIRST, 0, 0).unwrap();
    bench.outputs(SECOND);
    bench.ack(SECOND, 1).unwrap();
    bench.outputs(FIRST);
    bench.mailbox.detach(FIRST);
    bench.resume(1, C, 0).unwrap();
    let here = Output::Frame(RelayFrame::PeerJoined { network: Network::Different });
    assert_eq!(bench.outputs((Slot::First, C)), [here, acked(1)]);
}

#[test]
fn a_device_that_was_away_learns_who_came_and_from_where() {
    let mut bench = Bench::paired();
    bench.mailbox.detach(FIRST);
    assert_eq!(bench.resume(1, C, 0), Ok((0, PeerState::Present)));
    let here = Output::Frame(RelayFrame::PeerJoined { network: Network::Different });
    assert_eq!(bench.outputs((Slot::First, C)), [here]);
}

#[test]
fn a_newer_socket_replaces_the_older() {
    let mut bench = Bench::paired();
    bench.mailbox.take_woken().for_each(drop);
    bench.resume(1, C, 0).unwrap();
    assert!(bench.mailbox.take_woken().any(|slot| slot == Slot::First), "the older socket is woken");
    assert_eq!(bench.outputs(FIRST), ended(EndReason::Replaced));
    bench.data(FIRST, 0, 0).unwrap();
    bench.mailbox.close(FIRST, CloseReason::Done);
    bench.mailbox.detach(FIRST);
    assert_eq!(bench.numbers(SECOND), [] as [u32; 0], "and what it still says counts for nothing");
    assert_eq!(bench.mailbox.second.closed, None);
    assert_eq!(bench.mailbox.first.state(), PeerState::Present);
}

#[test]
fn a_repeated_claim_is_the_same_slot() {
    let mut bench = Bench::paired();
    for seq in 0..3 {
        bench.data(FIRST, seq, 0).unwrap();
    }
    bench.outputs(SECOND);
    bench.data(SECOND, 0, 1).unwrap();
    let joined = bench.join(2, C);
    assert_eq!((joined.slot, joined.received), (Slot::Second, 1));
    assert_eq!(bench.numbers((Slot::Second, C)), [1, 2]);
    assert_eq!(bench.join(1, connection(4)).slot, Slot::First);
}

#[test]
fn a_third_claim_before_both_have_settled_ends_it_for_all() {
    for settled in [None, Some(FIRST), Some(SECOND)] {
        let mut bench = Bench::paired();
        bench.data(FIRST, 0, 0).unwrap();
        settled.into_iter().for_each(|seat| bench.settle(seat));
        assert_eq!(bench.refused(3), RelayFrame::Ended { reason: EndReason::Crowded });
        assert_eq!(bench.outputs(FIRST), ended(EndReason::Crowded));
        assert_eq!(bench.outputs(SECOND), ended(EndReason::Crowded));
        assert!(bench.mailbox.is_over());
        assert_eq!(bench.mailbox.stored_bytes(), 0);
    }
}

#[test]
fn a_third_claim_after_both_have_settled_is_refused_and_told() {
    let mut bench = Bench::paired();
    bench.data_with(FIRST, 0, 0, Flags { settled: true }).unwrap();
    bench.settle(SECOND);
    bench.outputs(FIRST);
    bench.outputs(SECOND);
    assert_eq!(bench.refused(3), RelayFrame::Error { code: ErrorCode::MailboxFull, retry_after_ms: 0 });
    assert_eq!(bench.outputs(FIRST), [told(RelayFrame::ThirdClaim)]);
    assert_eq!(bench.outputs(SECOND), [told(RelayFrame::ThirdClaim)]);
    bench.data(SECOND, 0, 1).expect("the run goes on");
}

#[test]
fn being_settled_is_not_forgotten() {
    let mut bench = Bench::paired();
    bench.settle(FIRST);
    bench.settle(SECOND);
    bench.data(FIRST, 0, 0).unwrap();
    bench.data(SECOND, 0, 0).unwrap();
    assert!(matches!(bench.refused(3), RelayFrame::Error { code: ErrorCode::MailboxFull, .. }));
}

#[test]
fn a_silent_claim_is_freed_after_15_seconds() {
    let mut bench = Bench::new();
    bench.data(FIRST, 0, 0).unwrap();
    bench.pass(5 * SECOND_TIME);
    bench.join(2, B);
    assert_eq!(bench.numbers(SECOND), [0]);
    bench.ack(SECOND, 1).unwrap();
    bench.outputs(FIRST);

    bench.pass(Duration::from_millis(14_999));
    assert_eq!(bench.outputs(SECOND), []);
    bench.pass(Duration::from_millis(1));
    assert_eq!(bench.outputs(SECOND), ended(EndReason::ClaimTimedOut));
    assert_eq!(bench.outputs(FIRST), [told(RelayFrame::PeerFreed)]);

    let joined = bench.join(3, C);
    assert_eq!(joined.slot, Slot::Second);
    assert_eq!(bench.numbers((Slot::Second, C)), [0], "although the last claimant acknowledged it");
}

#[test]
fn frames_a_freed_claimant_acknowledged_do_not_shut_the_window() {
    let mut bench = Bench::new();
    for seq in 0..8 {
        bench.data(FIRST, seq, 0).unwrap();
    }
    bench.join(2, B);
    bench.outputs(SECOND);
    bench.ack(SECOND, 8).unwrap();
    bench.data(FIRST, 8, 0).unwrap();
    bench.pass(15 * SECOND_TIME);
    bench.data(FIRST, 9, 0).unwrap();
    bench.join(3, C);
    let all: Vec<u32> = (0..10).collect();
    assert_eq!(bench.numbers((Slot::Second, C)), all);
}

#[test]
fn a_claimant_that_spoke_keeps_its_slot() {
    let mut bench = Bench::paired();
    bench.data(FIRST, 0, 0).unwrap();
    bench.outputs(SECOND);
    bench.ack(SECOND, 1).unwrap();
    assert!(bench.mailbox.stored_bytes() > 0, "kept for the next claimant");
    bench.data(SECOND, 0, 1).unwrap();
    assert_eq!(bench.mailbox.first.sent.bytes, 0, "no longer needed");
    bench.mailbox.detach(SECOND);
    bench.pass(60 * SECOND_TIME);
    assert_eq!(bench.resume(2, C, 1), Ok((1, PeerState::Present)));
}

#[test]
fn coming_back_does_not_restart_the_claim_timer() {
    let mut bench = Bench::paired();
    bench.pass(10 * SECOND_TIME);
    bench.mailbox.detach(SECOND);
    bench.resume(2, C, 0).unwrap();
    bench.pass(5 * SECOND_TIME);
    assert_eq!(bench.outputs((Slot::Second, C)), ended(EndReason::ClaimTimedOut));
    assert_eq!(bench.resume(2, connection(4), 0), Err(ErrorCode::BadToken));
}

#[test]
fn the_first_slot_is_never_freed() {
    let mut bench = Bench::new();
    bench.pass(60 * SECOND_TIME);
    assert_eq!(bench.outputs(FIRST), []);
    assert_eq!(bench.join(2, B).slot, Slot::Second);
}

#[test]
fn the_peer_learns_of_a_close_after_all_frames() {
    let mut bench = Bench::paired();
    bench.data(FIRST, 0, 0).unwrap();
    bench.data(FIRST, 1, 0).unwrap();
    bench.mailbox.close(FIRST, CloseReason::Done);
    let outputs = bench.outputs(SECOND);
    assert_eq!(outputs.iter().filter_map(data_number).collect::<Vec<_>>(), [0, 1]);
    assert_eq!(outputs[2..], [told(RelayFrame::PeerClosed { reason: CloseReason::Done })]);
    assert!(!bench.mailbox.is_over());
}

#[test]
fn a_peer_that_was_away_learns_of_a_close_when_it_returns() {
    let mut bench = Bench::paired();
    bench.mailbox.detach(FIRST);
    bench.data(SECOND, 0, 0).unwrap();
    bench.mailbox.close(SECOND, CloseReason::Cancelled);
    assert_eq!(bench.resume(1, C, 0), Ok((0, PeerState::Closed)));
    let outputs = bench.outputs((Slot::First, C));
    assert_eq!(data_number(&outputs[0]), Some(0));
    assert_eq!(outputs[1..], [told(RelayFrame::PeerClosed { reason: CloseReason::Cancelled })]);
}

#[test]
fn a_mailbox_is_over_when_both_have_closed() {
    let mut bench = Bench::paired();
    bench.mailbox.close(FIRST, CloseReason::Done);
    assert!(!bench.mailbox.is_over());
    bench.mailbox.close(SECOND, CloseReason::Done);
    assert!(bench.mailbox.is_over());
}

#[test]
fn a_mailbox_is_over_when_first_closes_and_nobody_came() {
    let mut bench = Bench::new();
    bench.data(FIRST, 0, 0).unwrap();
    bench.mailbox.close(FIRST, CloseReason::Expired);
    assert!(bench.mailbox.is_over());
    assert_eq!(bench.mailbox.stored_bytes(), 0);
}

#[test]
fn a_mailbox_is_over_when_first_closed_and_second_is_freed() {
    let mut bench = Bench::paired();
    bench.mailbox.close(FIRST, CloseReason::Expired);
    bench.pass(15 * SECOND_TIME);
    assert!(bench.mailbox.is_over());
}

#[test]
fn closing_again_changes_nothing() {
    let mut bench = Bench::paired();
    bench.data(SECOND, 0, 0).unwrap();
    bench.mailbox.close(FIRST, CloseReason::Done);
    assert_eq!(bench.resume(1, C, 0), Ok((0, PeerState::Present)));
    bench.outputs(SECOND);
    bench.mailbox.close((Slot::First, C), CloseReason::Failed);
    assert_eq!(bench.outputs(SECOND), []);
    assert_eq!(bench.mailbox.first.closed, Some(CloseReason::Done));
}

#[test]
fn a_closed_slot_gets_nothing_and_sends_nothing() {
    let mut bench = Bench::paired();
    bench.mailbox.close(FIRST, CloseReason::Done);
    bench.data(SECOND, 0, 0).unwrap();
    assert_eq!(bench.mailbox.stored_bytes(), 0, "nobody will read it");
    bench.resume(1, C, 0).unwrap();
    assert_eq!(bench.outputs((Slot::First, C)), []);
    assert_eq!(bench.data((Slot::First, C), 0, 0), Err(ErrorCode::UnexpectedFrame));
}

#[test]
fn leaving_is_told_last_and_coming_back_unsays_it() {
    let mut bench = Bench::paired();
    bench.outputs(FIRST);
    bench.data(SECOND, 0, 0).unwrap();
    bench.mailbox.detach(SECOND);
    let outputs = bench.outputs(FIRST);
    assert_eq!(data_number(&outputs[0]), Some(0));
    assert_eq!(outputs[1..], [told(RelayFrame::PeerLeft)]);

    for connection in (3..100).map(connection) {
        bench.resume(2, connection, 0).unwrap();
        bench.mailbox.detach((Slot::Second, connection));
    }
    assert_eq!(bench.outputs(FIRST), [told(RelayFrame::PeerLeft)], "however often it comes and goes");
}

#[test]
fn a_mailbox_expires() {
    let mut bench = Bench::paired();
    bench.data(FIRST, 0, 0).unwrap();
    bench.data(SECOND, 0, 0).unwrap();
    bench.pass(Duration::from_millis(599_999));
    assert!(!bench.mailbox.is_over());
    bench.pass(Duration::from_millis(1));
    assert_eq!(bench.outputs(FIRST), ended(EndReason::Expired));
    assert_eq!(bench.outputs(SECOND), ended(EndReason::Expired));
    assert_eq!(bench.mailbox.stored_bytes(), 0);
}

#[test]
fn data_keeps_a_mailbox_alive_for_the_linger_time() {
    let mut bench = Bench::paired();
    bench.data(SECOND, 0, 0).unwrap();
    bench.pass(590 * SECOND_TIME);
    bench.data(FIRST, 0, 0).unwrap();
    bench.data(FIRST, 0, 0).unwrap();
    bench.pass(119 * SECOND_TIME);
    assert!(!bench.mailbox.is_over());
    bench.data(FIRST, 0, 0).expect("a repeated frame keeps nothing alive");
    bench.ack(FIRST, 0).expect("nor does an acknowledgement");
    bench.pass(SECOND_TIME);
    assert!(bench.mailbox.is_over());
}

#[test]
fn data_does_not_keep_a_mailbox_alive_beyond_its_maximum() {
    let mut bench = Bench::paired();
    let mut seq = 0;
    while !bench.mailbox.is_over() {
        bench.data(SECOND, seq, 0).unwrap();
        bench.numbers(FIRST);
        bench.ack(FIRST, seq + 1).unwrap();
        seq += 1;
        bench.pass(60 * SECOND_TIME);
    }
    assert_eq!(seq, 15);
}

#[test]
fn devices_are_told_the_lifetime_that_is_left() {
    let mut bench = Bench::paired();
    bench.pass(100 * SECOND_TIME);
    let lifetime = bench.mailbox.lifetime(bench.now, &bench.config);
    assert_eq!(lifetime, Lifetime { remaining_ms: 500_000, linger_ms: 120_000, max_ms: 800_000 });
}
