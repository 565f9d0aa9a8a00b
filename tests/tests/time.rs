//! Deadlines, at their exact milliseconds.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use handfast_protocol::pairing::Mode;
use handfast_protocol::wire::limits::{
    CLAIM_WITHOUT_DATA_MS, MAILBOX_LIFETIME_MS, MAILBOX_LINGER_MS, MAILBOX_MAX_LIFETIME_MS,
};
use handfast_protocol::{
    CODE_CLAIMABLE_MS, Decision, Event, Failure, QR_CLAIMABLE_MS, RECEIPT_LINGER_MS, RELAY_ANSWER_MS, Success,
};
use handfast_tests::sim::{Ask, Pair, Role, Scenario, Toward, Verdict};

const MODES: [(Mode, u32); 3] =
    [(Mode::Code, CODE_CLAIMABLE_MS), (Mode::QrNew, QR_CLAIMABLE_MS), (Mode::QrTrusted, QR_CLAIMABLE_MS)];

#[test]
fn an_unclaimed_offer_expires_at_its_time_and_not_before() {
    for (mode, claimable_ms) in MODES {
        let scenario = Scenario::enroll(mode, 1);
        let displayer = scenario.displayer();
        let mut pair = Pair::shown(scenario, 1);
        pair.sim.advance_to(u64::from(claimable_ms) - 1);
        assert_eq!(pair.outcome(displayer), None, "{mode:?}");
        pair.sim.advance(1);
        assert_eq!(pair.failure(displayer), &Failure::Expired, "{mode:?}");
        pair.sim.run();
        assert_eq!(pair.sim.relay.mailboxes(), 0, "{mode:?}");
    }
}

#[test]
fn an_offer_can_be_claimed_in_its_last_millisecond() {
    for (mode, claimable_ms) in MODES {
        let mut pair = Pair::shown(Scenario::enroll(mode, 2), 2);
        pair.sim.advance_to(u64::from(claimable_ms) - 1);
        pair.read();
        pair.sim.run();
        pair.sim.advance(1000);
        pair.finish();
        pair.assert_success();
    }
}

/// The machine slept: the claim is in its socket before its timer fires.
#[test]
fn a_claim_does_not_revive_an_offer_whose_time_is_over() {
    for (mode, claimable_ms) in MODES {
        let scenario = Scenario::enroll(mode, 3);
        let displayer = scenario.displayer();
        let mut pair = Pair::shown(scenario, 3);
        pair.sim.jump(u64::from(claimable_ms));
        pair.read();
        pair.sim.run();
        assert_eq!(pair.failure(displayer), &Failure::Expired, "{mode:?}");
        assert_eq!(pair.failure(displayer.other()), &Failure::Expired, "{mode:?}");
    }
}

/// The reader claims and then says nothing.
fn claimed_in_silence(mode: Mode, claim_at: u64) -> Pair {
    let scenario = Scenario::enroll(mode, 4);
    let reader = usize::from(true);
    let mut pair = Pair::shown(scenario, 4);
    pair.sim.advance_to(claim_at);
    pair.sim.fault = Some(Box::new(move |passing| {
        let first_message = passing.device == reader && passing.toward == Toward::Relay && passing.index == 1;
        if first_message { Verdict::Drop } else { Verdict::Pass }
    }));
    pair.read();
    pair.sim.run();
    pair
}

#[test]
fn a_claim_stops_the_countdown_until_its_slot_is_freed() {
    for (mode, claimable_ms) in MODES {
        let (claimable, silence) = (u64::from(claimable_ms), u64::from(CLAIM_WITHOUT_DATA_MS));
        let displayer = Scenario::enroll(mode, 4).displayer();
        let mut pair = claimed_in_silence(mode, claimable - 5000);
        pair.sim.advance_to(claimable - 5000 + silence - 1);
        assert_eq!(pair.outcome(displayer), None, "{mode:?}: claimed, so not expired");
        pair.sim.advance(1);
        assert_eq!(pair.failure(displayer.other()), &Failure::ClaimTimedOut, "{mode:?}");
        assert_eq!(pair.failure(displayer), &Failure::Expired, "{mode:?}: free again, and its time is over");
    }
}

#[test]
fn a_slot_freed_in_time_can_be_claimed_again() {
    for (mode, claimable_ms) in MODES {
        let displayer = Scenario::enroll(mode, 4).displayer();
        let mut pair = claimed_in_silence(mode, 1000);
        pair.sim.advance(u64::from(CLAIM_WITHOUT_DATA_MS));
        assert!(pair.device(displayer).saw("PeerFreed"), "{mode:?}");
        pair.sim.fault = None;
        pair.read();
        pair.finish();
        pair.assert_success();

        let mut pair = claimed_in_silence(mode, 1000);
        pair.sim.advance_to(u64::from(claimable_ms) - 1);
        assert_eq!(pair.outcome(displayer), None, "{mode:?}");
        pair.sim.advance(1);
        assert_eq!(pair.failure(displayer), &Failure::Expired, "{mode:?}");
    }
}

/// The relay tells this only to a connected device, so the answer to a resume has to do.
#[test]
fn a_displayer_that_was_away_when_the_slot_was_freed_counts_down_again() {
    for (mode, claimable_ms) in MODES {
        let displayer = Scenario::enroll(mode, 4).displayer();
        let mut pair = claimed_in_silence(mode, 1000);
        let index = pair.index(displayer);
        pair.sim.disconnect(index);
        pair.sim.advance(u64::from(CLAIM_WITHOUT_DATA_MS) + 1000);
        pair.sim.connect(index);
        pair.sim.advance_to(u64::from(claimable_ms));
        assert!(pair.device(displayer).saw("PeerFreed"), "{mode:?}");
        assert_eq!(pair.failure(displayer), &Failure::Expired, "{mode:?}");
    }
}

#[test]
fn a_reader_that_was_away_when_its_claim_lapsed_is_told_so() {
    for (mode, _) in MODES {
        let reader = Scenario::enroll(mode, 4).displayer().other();
        let mut pair = claimed_in_silence(mode, 1000);
        let index = pair.index(reader);
        pair.sim.disconnect(index);
        pair.sim.advance(u64::from(CLAIM_WITHOUT_DATA_MS) + 1000);
        pair.sim.fault = None;
        pair.sim.connect(index);
        pair.sim.run();
        assert_eq!(pair.failure(reader), &Failure::ClaimTimedOut, "{mode:?}");
    }
}

/// Somebody who takes the slot back from a pair that has met is a relay that lies.
#[test]
fn nothing_frees_the_slot_of_a_reader_that_was_accepted() {
    let mut pair = Pair::begun(Scenario::enroll(Mode::Code, 5), 5);
    pair.until_asked(Role::Trusted, Ask::Approval);
    let index = pair.index(Role::Trusted);
    pair.sim.inject(index, &handfast_protocol::wire::RelayFrame::PeerFreed.encode());
    assert!(!pair.device(Role::Trusted).saw("PeerFreed"));
    pair.sim.advance_to(u64::from(CODE_CLAIMABLE_MS) + 1000);
    pair.finish();
    pair.assert_success();
}

#[test]
fn an_unanswered_question_ends_with_the_mailbox_after_ten_minutes() {
    for scenario in Scenario::all(6) {
        let name = scenario.name();
        let mut pair = Pair::begun(scenario, 6);
        pair.until_asked(Role::Trusted, Ask::Approval);
        pair.sim.advance_to(u64::from(MAILBOX_LIFETIME_MS) - 1);
        assert_eq!((pair.outcome(Role::Trusted), pair.outcome(Role::New)), (None, None), "{name}");
        pair.sim.advance(1);
        assert_eq!(pair.failure(Role::Trusted), &Failure::Expired, "{name}");
        assert_eq!(pair.failure(Role::New), &Failure::Expired, "{name}");
    }
}

#[test]
fn a_message_keeps_the_mailbox_for_two_more_minutes() {
    let mut pair = Pair::begun(Scenario::enroll(Mode::Code, 7), 7);
    pair.until_asked(Role::Trusted, Ask::Approval);
    let granted = u64::from(MAILBOX_LIFETIME_MS) - 1000;
    pair.sim.advance_to(granted);
    assert!(pair.answer(Role::Trusted) && pair.answer(Role::Trusted));
    pair.sim.run();
    assert_eq!(pair.asked(Role::New), Some(Ask::Store));
    pair.sim.advance_to(granted + u64::from(MAILBOX_LINGER_MS) - 1);
    assert_eq!(pair.outcome(Role::Trusted), None);
    pair.sim.advance(1);
    let Failure::Unknown { cause, .. } = pair.failure(Role::Trusted) else { panic!("a grant is out") };
    assert_eq!(**cause, Failure::Expired);
    // The new device has the grant, so it finishes.
    assert!(pair.answer(Role::New));
    pair.sim.advance(u64::from(RECEIPT_LINGER_MS));
    assert_eq!(pair.outcome(Role::New), Some(&Ok(Success::Enrolled)));
}

#[test]
fn no_message_keeps_the_mailbox_beyond_fifteen_minutes() {
    let mut pair = Pair::begun(Scenario::enroll(Mode::QrNew, 8), 8);
    pair.until_asked(Role::New, Ask::CheckCode);
    pair.sim.advance_to(590_000);
    pair.until_asked(Role::Trusted, Ask::Approval);
    pair.sim.advance_to(700_000);
    assert!(pair.answer(Role::Trusted) && pair.answer(Role::Trusted));
    pair.sim.run();
    pair.sim.advance_to(810_000);
    assert!(pair.answer(Role::New));
    pair.sim.run();
    assert_eq!(pair.asked(Role::Trusted), Some(Ask::Store), "the receipt is here, its record is not yet written");
    assert_eq!(pair.device(Role::Trusted).wake, Some(u64::from(MAILBOX_MAX_LIFETIME_MS)));
    pair.sim.advance_to(u64::from(MAILBOX_MAX_LIFETIME_MS));
    assert_eq!(pair.outcome(Role::Trusted), Some(&Ok(Success::Enrolled)));
}

#[test]
fn a_device_that_has_stored_waits_ten_seconds_for_word_that_its_receipt_arrived() {
    let mut pair = Pair::begun(Scenario::enroll(Mode::Code, 9), 9);
    pair.until_asked(Role::New, Ask::Store);
    let trusted = pair.index(Role::Trusted);
    pair.sim.disconnect(trusted);
    pair.sim.advance(5000);
    assert!(pair.answer(Role::New));
    pair.sim.advance(u64::from(RECEIPT_LINGER_MS) - 1);
    assert_eq!(pair.outcome(Role::New), None);
    pair.sim.advance(1);
    assert_eq!(pair.outcome(Role::New), Some(&Ok(Success::Enrolled)));

    // The receipt lies in the mailbox for the trusted device.
    pair.sim.advance(60_000);
    pair.sim.connect(trusted);
    pair.finish();
    assert_eq!(pair.outcome(Role::Trusted), Some(&Ok(Success::Enrolled)));
}

#[test]
fn a_peer_that_stays_away_costs_the_rest_of_the_mailbox_and_no_more() {
    let mut pair = Pair::begun(Scenario::enroll(Mode::Code, 10), 10);
    pair.until_asked(Role::Trusted, Ask::Approval);
    let new = pair.index(Role::New);
    pair.sim.disconnect(new);
    pair.sim.run();
    let Some(Event::PeerAway { until: Some(until) }) = pair.device(Role::Trusted).events.last() else {
        panic!("{:?}", pair.device(Role::Trusted).events)
    };
    let left = until.since(pair.sim.now());
    pair.sim.advance(u64::try_from(left.as_millis()).unwrap() - 1);
    assert_eq!(pair.outcome(Role::Trusted), None);
    pair.sim.advance(1);
    assert_eq!(pair.failure(Role::Trusted), &Failure::Expired);
    // So does a device that never gets its connection back.
    assert_eq!(pair.failure(Role::New), &Failure::Expired);
}

#[test]
fn time_that_goes_back_counts_as_the_last_one() {
    let mut pair = Pair::shown(Scenario::enroll(Mode::Code, 11), 11);
    pair.sim.advance_to(u64::from(CODE_CLAIMABLE_MS) - 1);
    let mut rng = pair.sim.device_rng();
    let engine = &mut pair.sim.devices[0].engine;
    let before = handfast_protocol::Time::from_origin(std::time::Duration::ZERO);
    engine.handle(handfast_protocol::Input::Tick, before, &mut rng);
    assert!(engine.poll().is_none());
    pair.sim.advance(1);
    assert_eq!(pair.failure(Role::Trusted), &Failure::Expired);
}

#[test]
fn a_relay_that_never_answers_is_given_up_after_thirty_seconds() {
    for scenario in Scenario::all(12) {
        let mut pair = Pair::shown(scenario, 12);
        pair.sim.fault = Some(Box::new(|passing| {
            let from_reader = passing.device == 1 && passing.toward == Toward::Relay;
            if from_reader { Verdict::Drop } else { Verdict::Pass }
        }));
        pair.read();
        let reader = pair.scenario.displayer().other();
        pair.sim.advance(u64::from(RELAY_ANSWER_MS) - 1);
        assert_eq!(pair.outcome(reader), None);
        pair.sim.advance(1);
        assert_eq!(pair.failure(reader), &Failure::RelayMisbehaved);
    }
}

#[test]
fn a_run_that_ended_without_a_socket_waits_three_seconds_for_one_to_say_so() {
    for scenario in Scenario::all(13) {
        let name = scenario.name();
        let mut pair = Pair::begun(scenario, 13);
        pair.until_asked(Role::Trusted, Ask::Approval);
        let trusted = pair.index(Role::Trusted);
        pair.sim.disconnect(trusted);
        pair.decide(Role::Trusted, Decision::Refuse);
        // A person who insists changes nothing.
        pair.sim.advance(1000);
        pair.decide(Role::Trusted, Decision::Cancel);
        pair.sim.advance(1999);
        assert_eq!(pair.outcome(Role::Trusted), None, "{name}");
        pair.sim.advance(1);
        assert_eq!(pair.failure(Role::Trusted), &Failure::RefusedHere, "{name}");
        // Nobody could tell the other device.
        assert_eq!(pair.outcome(Role::New), None, "{name}");
        pair.sim.advance(15 * 60 * 1000);
        assert_eq!(pair.failure(Role::New), &Failure::Expired, "{name}");
    }
}

#[test]
fn a_run_whose_peer_need_not_be_told_ends_at_once_without_a_socket() {
    // No mailbox yet.
    let mut pair = Pair::begun(Scenario::enroll(Mode::Code, 14), 14);
    let new = pair.index(Role::New);
    pair.sim.disconnect(new);
    pair.decide(Role::New, Decision::Cancel);
    assert_eq!(pair.failure(Role::New), &Failure::Cancelled);
    // The mailbox is over.
    let mut pair = Pair::begun(Scenario::enroll(Mode::Code, 14), 14);
    pair.until_asked(Role::Trusted, Ask::Approval);
    let trusted = pair.index(Role::Trusted);
    pair.sim.disconnect(trusted);
    pair.sim.advance(u64::from(MAILBOX_LIFETIME_MS));
    assert_eq!(pair.failure(Role::Trusted), &Failure::Expired);
}
