//! Lost connections: a run goes on where it was, with the same bytes, and delivers nothing twice.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use handfast_protocol::pairing::Mode;
use handfast_protocol::secret::SecretBytes;
use handfast_protocol::wire::ClientFrame;
use handfast_protocol::{Decision, Event, Failure};
use handfast_tests::sim::{Ask, Pair, ROLES, Role, Scenario, entry};
use std::collections::BTreeMap;

/// Each number in a direction has one payload, however often it was sent.
fn assert_resent_bytes_are_the_same(pair: &Pair, name: &str) {
    for role in ROLES {
        let mut payloads = BTreeMap::new();
        for frame in &pair.device(role).sent {
            if let Ok(ClientFrame::Data(data)) = ClientFrame::decode(frame) {
                let first = payloads.entry(data.seq).or_insert_with(|| data.payload.clone());
                assert_eq!(*first, data.payload, "{name}: {role:?} sealed number {} again", data.seq);
            }
        }
    }
}

/// Events but those about connections.
fn story(pair: &Pair, role: Role) -> Vec<String> {
    let names = pair.device(role).event_names();
    names.into_iter().filter(|name| !matches!(name.as_str(), "PeerHere" | "PeerAway")).collect()
}

/// Runs the scenario and cuts `cut` after that many frames, to reconnect once `delay` more have been delivered.
fn run_with_a_cut(scenario: &Scenario, cut: &[Role], after: usize, delay: usize) -> (Pair, bool) {
    let mut pair = Pair::begun(scenario.clone(), 1);
    let mut steps = 0;
    let mut advance = |pair: &mut Pair, count: usize| {
        let before = steps;
        while steps < before + count && pair.step() {
            steps += 1;
        }
        steps == before + count
    };
    let reached = advance(&mut pair, after);
    let indices: Vec<_> = cut.iter().map(|role| pair.index(*role)).collect();
    for index in &indices {
        pair.sim.disconnect(*index);
    }
    advance(&mut pair, delay);
    for index in indices {
        if pair.sim.devices[index].outcome.is_none() {
            pair.sim.connect(index);
        }
    }
    // If the last word was lost with a socket that is no longer needed, the new device stops waiting for it.
    pair.finish_in_time();
    (pair, reached)
}

fn cut_everywhere(scenario: &Scenario, cut: &[Role], delay: usize) {
    let mut undisturbed = Pair::begun(scenario.clone(), 1);
    undisturbed.finish();
    for after in 0.. {
        let name = format!("{}: {cut:?} cut after {after}, {delay} later back", scenario.name());
        let (pair, reached) = run_with_a_cut(scenario, cut, after, delay);
        assert_resent_bytes_are_the_same(&pair, &name);
        pair.assert_consistent(&name);
        pair.assert_success();
        for role in ROLES {
            assert_eq!(story(&pair, role), story(&undisturbed, role), "{name}");
        }
        if !reached {
            break;
        }
    }
}

#[test]
fn either_side_may_lose_its_connection_after_any_frame() {
    for scenario in Scenario::all(1) {
        for role in ROLES {
            cut_everywhere(&scenario, &[role], 0);
        }
    }
}

#[test]
fn both_sides_may_lose_their_connections_after_any_frame() {
    for scenario in Scenario::all(1) {
        cut_everywhere(&scenario, &ROLES, 0);
    }
}

/// The other side goes on meanwhile, and people answer.
#[test]
fn a_side_may_come_back_later() {
    for delay in [1, 3, 8] {
        for role in ROLES {
            for mode in [Mode::Code, Mode::QrNew, Mode::QrTrusted] {
                cut_everywhere(&Scenario::enroll(mode, 1), &[role], delay);
            }
        }
    }
}

#[test]
fn a_large_bundle_survives_cuts_after_any_of_its_chunks() {
    let mut scenario = Scenario::enroll(Mode::Code, 1);
    scenario.cast.bundle.set(entry("token"), SecretBytes::new(vec![7; 200_000])).unwrap();
    for cut in [&[Role::Trusted][..], &[Role::New], &ROLES] {
        cut_everywhere(&scenario, cut, 0);
    }
}

#[test]
fn connections_that_break_all_the_time_only_cost_time() {
    for seed in 0..30 {
        for scenario in Scenario::all(seed) {
            let mut pair = Pair::begun(scenario, seed);
            pair.sim.shuffle = true;
            let mut count = seed;
            while pair.step() {
                count = count.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let index = pair.index(ROLES[(count >> 40) as usize % 2]);
                let runs = pair.sim.devices[index].outcome.is_none();
                if (count >> 33) % 4 == 0 && runs && pair.sim.devices[index].is_connected() {
                    pair.sim.disconnect(index);
                    pair.sim.advance(10);
                    if pair.sim.devices[index].outcome.is_none() {
                        pair.sim.connect(index);
                    }
                }
            }
            pair.finish_in_time();
            assert_resent_bytes_are_the_same(&pair, "cuts all the time");
            pair.assert_success();
        }
    }
}

#[test]
fn each_side_is_told_that_the_other_is_away_and_back() {
    let mut pair = Pair::begun(Scenario::enroll(Mode::Code, 2), 2);
    pair.until_asked(Role::Trusted, Ask::Approval);
    let new = pair.index(Role::New);
    pair.sim.disconnect(new);
    pair.sim.run();
    assert!(matches!(pair.device(Role::Trusted).events.last(), Some(Event::PeerAway { until: Some(_) })));
    pair.sim.connect(new);
    pair.sim.run();
    assert!(matches!(pair.device(Role::Trusted).events.last(), Some(Event::PeerHere)));
    pair.finish();
    pair.assert_success();
}

#[test]
fn a_relay_that_restarted_ends_the_run_and_leaves_it_unknown_after_the_grant() {
    for (ask, granted) in [(Ask::Approval, false), (Ask::Store, true)] {
        let mut pair = Pair::begun(Scenario::enroll(Mode::Code, 3), 3);
        pair.until_asked(if granted { Role::New } else { Role::Trusted }, ask);
        let trusted = pair.index(Role::Trusted);
        pair.sim.disconnect(trusted);
        pair.sim.relay.forget();
        pair.sim.connect(trusted);
        pair.sim.run();
        match pair.failure(Role::Trusted) {
            Failure::RelayForgot => assert!(!granted),
            Failure::Unknown { cause, .. } => assert!(granted && **cause == Failure::RelayForgot),
            other => panic!("{other:?}"),
        }
    }
}

/// The answer to the first frame was lost: the frame is repeated, not a second slot taken.
#[test]
fn a_claim_whose_answer_was_lost_is_the_same_claim_again() {
    for scenario in Scenario::all(4) {
        let mut pair = Pair::begun(scenario, 4);
        let reader = pair.index(pair.scenario.displayer().other());
        // The claim arrives, its answer does not.
        assert!(pair.sim.deliver());
        pair.sim.disconnect(reader);
        pair.sim.connect(reader);
        pair.finish();
        pair.assert_success();
    }
}

/// A device without a socket whose person gives up, at the question of the trusted device.
fn ended_offline(scenario: Scenario, role: Role, decision: Decision) -> Pair {
    let mut pair = Pair::begun(scenario, 5);
    pair.until_asked(Role::Trusted, Ask::Approval);
    let index = pair.index(role);
    pair.sim.disconnect(index);
    pair.sim.run();
    pair.decide(role, decision);
    pair
}

#[test]
fn a_refusal_or_cancellation_without_a_socket_is_told_after_the_reconnect() {
    for scenario in Scenario::all(5) {
        for (role, decision, failure, told) in [
            (Role::Trusted, Decision::Refuse, Failure::RefusedHere, Failure::Refused),
            (Role::Trusted, Decision::Cancel, Failure::Cancelled, Failure::PeerCancelled),
            (Role::New, Decision::Cancel, Failure::Cancelled, Failure::PeerCancelled),
        ] {
            let name = format!("{} {role:?} {decision:?}", scenario.name());
            let mut pair = ended_offline(scenario.clone(), role, decision);
            assert_eq!(pair.outcome(role), None, "{name}");
            // What was decided stays decided.
            pair.decide(role, Decision::Approve);
            pair.sim.advance(1000);
            let index = pair.index(role);
            pair.sim.connect(index);
            pair.sim.run();
            assert_eq!(pair.failure(role), &failure, "{name}");
            assert_eq!(pair.failure(role.other()), &told, "{name}");
            assert_eq!(pair.sim.relay.mailboxes(), 0, "{name}");
            assert!(pair.device(Role::Trusted).prepared.is_empty(), "{name}");
        }
    }
}

/// The socket comes back and is lost before the farewell has passed; the next one carries it.
#[test]
fn a_farewell_survives_another_lost_socket() {
    let mut pair = ended_offline(Scenario::enroll(Mode::Code, 5), Role::Trusted, Decision::Refuse);
    let trusted = pair.index(Role::Trusted);
    pair.sim.connect(trusted);
    pair.sim.disconnect(trusted);
    assert_eq!(pair.outcome(Role::Trusted), None);
    pair.sim.connect(trusted);
    pair.sim.run();
    assert_eq!(pair.failure(Role::Trusted), &Failure::RefusedHere);
    assert_eq!(pair.failure(Role::New), &Failure::Refused);
}

#[test]
fn a_relay_that_forgot_the_mailbox_is_not_waited_for_with_a_farewell() {
    let mut pair = ended_offline(Scenario::enroll(Mode::Code, 5), Role::Trusted, Decision::Refuse);
    pair.sim.relay.forget();
    let trusted = pair.index(Role::Trusted);
    pair.sim.connect(trusted);
    pair.sim.run();
    assert_eq!(pair.failure(Role::Trusted), &Failure::RefusedHere);
}

/// The bundle was released while there was no socket: a run that ends before there is one sends none of it.
#[test]
fn no_part_of_a_grant_leaves_after_its_run_was_cancelled_without_a_socket() {
    let mut pair = Pair::begun(Scenario::enroll(Mode::Code, 5), 5);
    pair.until_asked(Role::Trusted, Ask::Approval);
    let trusted = pair.index(Role::Trusted);
    pair.sim.disconnect(trusted);
    assert!(pair.answer(Role::Trusted) && pair.answer(Role::Trusted));
    assert!(pair.device(Role::Trusted).saw("GrantSent"));
    pair.decide(Role::Trusted, Decision::Cancel);
    assert!(matches!(pair.failure(Role::Trusted), Failure::Unknown { .. }), "at once");
}
