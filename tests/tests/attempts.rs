//! Attempts that fail: wrong codes, wrong digits, strangers at the mailbox, refusals and second thoughts.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use handfast_protocol::pairing::Mode;
use handfast_protocol::pairing::check_code::CheckCode;
use handfast_protocol::pairing::code::{CodeError, VerificationCode};
use handfast_protocol::{Decision, Engine, Event, Failure, Input, Request, Way};
use handfast_tests::sim::{Ask, Cast, Pair, ROLES, Role, Scenario};
use rand::SeedableRng;
use rand::rngs::ChaCha12Rng;

/// Another new device reads the same introduction.
fn stranger(pair: &mut Pair, way: Way, seed: u64) -> usize {
    let (cast, mut rng, now) = (Cast::new(seed), pair.sim.device_rng(), pair.sim.now());
    let engine = match &way {
        Way::ReadQr(qr) if qr.kind.mode() == Mode::QrNew => Engine::trusted(cast.trusted, way, now, &mut rng),
        _ => Engine::new_device(cast.new, Request::Bundle, way, now, &mut rng),
    };
    let index = pair.sim.add(engine.unwrap(), rng, 9);
    pair.sim.connect(index);
    index
}

/// Types a code with the right nameplate and another secret.
fn wrong_code(pair: &Pair) -> Way {
    let Way::EnterCode(code) = pair.introduction() else { panic!("a code is shown") };
    let mut rng = ChaCha12Rng::seed_from_u64(99);
    Way::EnterCode(VerificationCode::generate(code.nameplate(), &mut rng))
}

#[test]
fn a_wrong_code_is_named_on_both_sides_and_the_offer_is_dead() {
    let mut pair = Pair::shown(Scenario::enroll(Mode::Code, 1), 1);
    let way = wrong_code(&pair);
    let guesser = stranger(&mut pair, way, 2);
    pair.sim.run();
    assert_eq!(pair.failure(Role::Trusted), &Failure::WrongCode);
    assert_eq!(pair.sim.devices[guesser].outcome, Some(Err(Failure::WrongCode)));
    assert!(!pair.device(Role::Trusted).saw("AskApproval"));

    pair.read();
    pair.sim.run();
    assert_eq!(pair.failure(Role::New), &Failure::NoSuchOffer, "the right code comes too late");
}

/// What cannot be parsed cannot be handed to an engine, so no claim is made and the offer lives on.
#[test]
fn a_mistyped_symbol_or_swap_is_caught_before_anything_is_sent() {
    let mut pair = Pair::shown(Scenario::enroll(Mode::Code, 3), 3);
    let Some(Event::ShowCode { code, .. }) = pair.sim.devices[0].events.first() else { panic!("a code is shown") };
    let shown = code.reveal().to_string();
    for position in (0..shown.len()).filter(|position| !matches!(position, 4 | 9)) {
        for symbol in "0123456789ABCDEFGHJKMNPQRSTVWXYZ".chars().filter(|c| !shown[position..].starts_with(*c)) {
            let mut typed = shown.clone();
            typed.replace_range(position..=position, &symbol.to_string());
            assert_eq!(typed.parse::<VerificationCode>(), Err(CodeError::CheckFailed), "{position} {symbol}");
        }
    }
    pair.read();
    pair.finish();
    pair.assert_success();
}

#[test]
fn a_third_claim_before_both_have_settled_ends_the_run_for_all_three() {
    for mode in [Mode::Code, Mode::QrNew, Mode::QrTrusted] {
        let mut pair = Pair::begun(Scenario::enroll(mode, 4), 4);
        // The claim is answered, M1 is on its way.
        pair.sim.round();
        let way = pair.introduction();
        let third = stranger(&mut pair, way, 5);
        pair.sim.round();
        pair.finish();
        for role in ROLES {
            assert_eq!(pair.failure(role), &Failure::Crowded, "{mode:?} {role:?}");
        }
        assert_eq!(pair.sim.devices[third].outcome, Some(Err(Failure::Crowded)), "{mode:?}");
    }
}

#[test]
fn a_third_claim_after_both_have_settled_is_turned_away_and_the_pair_is_only_told() {
    for mode in [Mode::Code, Mode::QrNew, Mode::QrTrusted] {
        let mut pair = Pair::begun(Scenario::enroll(mode, 6), 6);
        pair.sim.run();
        let way = pair.introduction();
        let third = stranger(&mut pair, way, 7);
        pair.sim.run();
        assert_eq!(pair.sim.devices[third].outcome, Some(Err(Failure::OfferInUse)), "{mode:?}");
        pair.finish();
        pair.assert_success();
        for role in ROLES {
            assert!(pair.device(role).saw("ThirdClaim"), "{mode:?} {role:?}");
        }
    }
}

#[test]
fn wrong_digits_end_the_run_on_both_sides_in_both_qr_modes() {
    for (mode, shows, types) in [(Mode::QrNew, Role::Trusted, Role::New), (Mode::QrTrusted, Role::New, Role::Trusted)] {
        let mut pair = Pair::begun(Scenario::enroll(mode, 8), 8);
        pair.until_asked(types, Ask::CheckCode);
        pair.take_ask(types);
        let right = pair.shown_check_code(shows).unwrap().reveal();
        let mut wrong = right.clone();
        wrong.replace_range(6.., if right.ends_with('9') { "0" } else { "9" });
        pair.decide(types, Decision::CheckCode(wrong.parse().unwrap()));
        pair.finish();
        for role in ROLES {
            assert_eq!(pair.failure(role), &Failure::WrongCheckCode, "{mode:?} {role:?}");
        }
        assert!(!pair.device(Role::Trusted).saw("AskApproval"), "{mode:?}");

        // There is no second try.
        pair.decide(types, Decision::CheckCode(right.parse().unwrap()));
        pair.finish();
        assert!(!pair.device(Role::Trusted).saw("AskApproval"), "{mode:?}");
    }
}

#[test]
fn digits_are_asked_for_and_compared_before_anybody_is_asked_to_approve() {
    for mode in [Mode::QrNew, Mode::QrTrusted] {
        let mut pair = Pair::begun(Scenario::enroll(mode, 9), 9);
        pair.sim.run();
        assert!(!pair.device(Role::Trusted).saw("AskApproval"), "{mode:?}");
        // A yes that nobody asked for.
        pair.decide(Role::Trusted, Decision::Approve);
        pair.sim.run();
        assert!(pair.device(Role::Trusted).prepared.is_empty(), "{mode:?}");
        pair.finish();
        pair.assert_success();
    }
}

#[test]
fn a_refusal_is_told_to_the_other_side() {
    for scenario in Scenario::all(10) {
        let name = scenario.name();
        let mut pair = Pair::begun(scenario, 10);
        pair.until_asked(Role::Trusted, Ask::Approval);
        pair.take_ask(Role::Trusted);
        pair.decide(Role::Trusted, Decision::Refuse);
        pair.finish();
        assert_eq!(pair.failure(Role::Trusted), &Failure::RefusedHere, "{name}");
        assert_eq!(pair.failure(Role::New), &Failure::Refused, "{name}");
        assert!(pair.device(Role::Trusted).prepared.is_empty(), "{name}");
    }
}

/// Decisions and store answers that nobody asked for, at every point of a run.
#[test]
fn answers_that_nobody_asked_for_change_nothing() {
    let digits: CheckCode = "000000".parse().unwrap();
    for scenario in Scenario::all(11) {
        let mut pair = Pair::begun(scenario.clone(), 11);
        loop {
            for role in ROLES {
                let asked = pair.asked(role);
                if !matches!(asked, Some(Ask::Approval | Ask::DifferentNetwork)) {
                    pair.decide(role, Decision::Approve);
                    pair.decide(role, Decision::Refuse);
                }
                if asked != Some(Ask::CheckCode) {
                    pair.decide(role, Decision::CheckCode(digits.clone()));
                }
                if asked != Some(Ask::Prepare) {
                    pair.input(role, Input::Prepared(Box::new(scenario.cast.bundle.clone())));
                }
                if !matches!(asked, Some(Ask::Store | Ask::Prepare)) {
                    pair.input(role, Input::Stored);
                    pair.input(role, Input::StoreFailed);
                }
            }
            if !pair.step() {
                break;
            }
        }
        pair.assert_success();
    }
}

#[test]
fn a_cancel_at_any_point_ends_both_runs_and_nobody_believes_what_is_not_so() {
    for scenario in Scenario::all(12) {
        for role in ROLES {
            for steps in 0.. {
                let name = format!("{} {role:?} cancels after {steps} steps", scenario.name());
                let mut pair = Pair::begun(scenario.clone(), 12);
                let done = (0..steps).any(|_| !pair.step());
                let storing = role == Role::New && pair.asked(role) == Some(Ask::Store);
                let ended = pair.outcome(role).is_some() || storing || pair.device(role).saw("Stored");
                pair.decide(role, Decision::Cancel);
                let confirmed = role == Role::Trusted && !pair.device(role).stored.is_empty();
                if !ended && !confirmed {
                    match pair.failure(role) {
                        Failure::Cancelled => assert!(pair.device(Role::New).stored.is_empty(), "{name}"),
                        Failure::Unknown { cause, .. } => {
                            assert_eq!(**cause, Failure::Cancelled, "{name}");
                            assert!(pair.device(Role::Trusted).saw("GrantSent"), "{name}");
                        }
                        other => panic!("{name}: {other:?}"),
                    }
                }
                pair.finish_in_time();
                pair.assert_consistent(&name);
                if done {
                    break;
                }
            }
        }
    }
}

/// The other side hears of a cancel through the channel, not by a timeout.
#[test]
fn a_cancel_before_the_grant_is_told_at_once() {
    for scenario in Scenario::all(13) {
        for role in ROLES {
            let name = format!("{} {role:?}", scenario.name());
            let mut pair = Pair::begun(scenario.clone(), 13);
            pair.until_asked(Role::Trusted, Ask::Approval);
            pair.decide(role, Decision::Cancel);
            pair.sim.run();
            assert_eq!(pair.failure(role.other()), &Failure::PeerCancelled, "{name}");
        }
    }
}

/// A bundle of many chunks: what was not on its way when the person cancelled never leaves.
#[test]
fn a_cancel_during_the_grant_stops_the_rest_of_it() {
    let mut scenario = Scenario::enroll(Mode::Code, 14);
    let value = handfast_protocol::secret::SecretBytes::new(vec![1; 250_000]);
    scenario.cast.bundle.set(handfast_tests::sim::entry("token"), value).unwrap();
    let mut pair = Pair::begun(scenario, 14);
    pair.until_asked(Role::Trusted, Ask::Prepare);
    assert!(pair.answer(Role::Trusted));
    let before = pair.device(Role::Trusted).sent.len();
    pair.decide(Role::Trusted, Decision::Cancel);
    let after: Vec<usize> = pair.device(Role::Trusted).sent[before..].iter().map(Vec::len).collect();
    assert!(after.iter().all(|bytes| *bytes < 1024), "no chunk follows the cancel: {after:?}");
    pair.finish();
    let Failure::Unknown { cause, .. } = pair.failure(Role::Trusted) else { panic!("chunks had been sent") };
    assert_eq!(**cause, Failure::Cancelled);
    assert!(matches!(pair.failure(Role::New), Failure::PeerLost | Failure::PeerCancelled));
}
