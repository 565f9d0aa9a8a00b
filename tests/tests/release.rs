//! What leaves a trusted device, to whom, after which questions, and what is stored where.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use handfast_protocol::bundle::{BundleError, MAX_BUNDLE_BYTES};
use handfast_protocol::pairing::qr::{QrKind, QrPayload};
use handfast_protocol::pairing::{Mode, Purpose};
use handfast_protocol::secret::SecretBytes;
use handfast_protocol::wire::Network;
use handfast_protocol::{
    Approval, AuthenticatedBy, Decision, Engine, Event, Failure, Input, MAX_REQUESTED_ENTRIES, RECEIPT_LINGER_MS,
    Request, Success, ToStore, Way, WrongWay,
};
use handfast_tests::sim::{Ask, Cast, Pair, ROLES, Role, Scenario, entry, info};

fn token() -> Request {
    Request::items(false, vec![entry("token")]).unwrap()
}

/// Fills the bundle to its limit and gives how many bytes the value took.
fn fill(cast: &mut Cast) -> usize {
    let bundle = &mut cast.bundle;
    let Err(BundleError::TooLarge(bytes)) = bundle.set(entry("fill"), SecretBytes::new(vec![1; MAX_BUNDLE_BYTES]))
    else {
        panic!("too large by what else is in it")
    };
    let value = MAX_BUNDLE_BYTES - (bytes - MAX_BUNDLE_BYTES);
    bundle.set(entry("fill"), SecretBytes::new(vec![1; value])).unwrap();
    value
}

/// What the trusted device's person is asked, after everything before went well.
fn approval(pair: &mut Pair) -> Approval {
    pair.until_asked(Role::Trusted, Ask::Approval);
    let asked = pair.device(Role::Trusted).events.iter().find_map(|event| match event {
        Event::AskApproval(approval) => Some(approval.clone()),
        _ => None,
    });
    asked.unwrap()
}

#[test]
fn the_largest_bundle_passes_in_every_mode() {
    for mode in [Mode::Code, Mode::QrNew, Mode::QrTrusted] {
        let mut scenario = Scenario::enroll(mode, 1);
        fill(&mut scenario.cast);
        let mut pair = Pair::begun(scenario, 1);
        pair.finish();
        pair.assert_success();
    }
}

#[test]
fn one_byte_more_than_the_largest_bundle_is_refused() {
    let mut scenario = Scenario::enroll(Mode::Code, 2);
    let value = fill(&mut scenario.cast);
    let before = scenario.cast.bundle.clone();
    let over = scenario.cast.bundle.set(entry("fill"), SecretBytes::new(vec![1; value + 1]));
    assert_eq!(over, Err(BundleError::TooLarge(MAX_BUNDLE_BYTES + 1)));
    assert_eq!(scenario.cast.bundle, before);

    // The other way to make it too large: a field.
    let mut longer = scenario.cast.bundle.sign_in_secret.expose().to_vec();
    longer.push(0);
    scenario.cast.bundle.sign_in_secret = SecretBytes::new(longer);
    let mut pair = Pair::begun(scenario, 2);
    pair.finish();
    assert_eq!(pair.failure(Role::Trusted), &Failure::WrongBundle);
    assert_eq!(pair.failure(Role::New), &Failure::PeerFailed);
    assert!(!pair.device(Role::Trusted).saw("GrantSent"));
}

#[test]
fn a_bundle_of_another_account_never_leaves() {
    let mut scenario = Scenario::enroll(Mode::Code, 3);
    scenario.cast.bundle = Cast::new(33).bundle;
    let mut pair = Pair::begun(scenario, 3);
    pair.finish();
    assert_eq!(pair.failure(Role::Trusted), &Failure::WrongBundle);
    assert_eq!(pair.failure(Role::New), &Failure::PeerFailed);
    assert!(!pair.device(Role::Trusted).saw("GrantSent"));
}

#[test]
fn the_approval_names_purpose_request_identity_and_what_the_device_calls_itself() {
    for (request, purpose) in [(Request::Bundle, Purpose::Enroll), (token(), Purpose::Unlock)] {
        let mut scenario = Scenario::unlock_by_guest(request.clone(), 4);
        scenario.cast.new.info = info("my laptop", "linux");
        let mut pair = Pair::begun(scenario, 4);
        let approval = approval(&mut pair);
        assert_eq!((approval.purpose, approval.request), (purpose, request));
        assert_eq!(approval.identity, pair.scenario.cast.identity(Role::New));
        assert_eq!((approval.name.as_str(), approval.platform.as_str()), ("my laptop", "linux"));
        assert_eq!(approval.network, Network::Same);
    }
}

#[test]
fn the_new_device_names_account_and_trusted_device_before_it_stores() {
    for scenario in Scenario::all(5) {
        let mut pair = Pair::begun(scenario, 5);
        pair.until_asked(Role::Trusted, Ask::Approval);
        let named = pair.device(Role::New).events.iter().any(|event| match event {
            Event::Account { label, id, trusted_name, trusted_identity, .. } => {
                let cast = &pair.scenario.cast;
                label == &cast.trusted.account.label
                    && *id == cast.trusted.account.id
                    && trusted_name == "phone"
                    && *trusted_identity == cast.identity(Role::Trusted)
            }
            _ => false,
        });
        assert!(named, "{}", pair.scenario.name());
        assert!(pair.device(Role::New).stored.is_empty());
    }
}

/// There would be nothing to compare the trusted device's screen with.
#[test]
fn the_new_device_shows_the_fingerprint_that_the_approval_names_before_the_answer() {
    for scenario in Scenario::all(5) {
        let mut pair = Pair::begun(scenario, 5);
        let asked = approval(&mut pair);
        let shown = pair.device(Role::New).events.iter().find_map(|event| match event {
            Event::Account { own_identity, .. } => Some(*own_identity),
            _ => None,
        });
        assert_eq!(shown, Some(asked.identity), "{}", pair.scenario.name());
        assert_eq!(shown, Some(pair.scenario.cast.identity(Role::New)));
    }
}

#[test]
fn the_approval_says_how_the_device_was_authenticated_and_whether_it_is_on_record() {
    use AuthenticatedBy::{CheckCode, Code, RecordedIdentities};
    // In the order of `Scenario::all`.
    let expected = [Code, CheckCode, CheckCode, RecordedIdentities, CheckCode, CheckCode];
    for (scenario, by) in Scenario::all(22).into_iter().zip(expected) {
        let name = scenario.name();
        let recorded = !scenario.cast.trusted.known.is_empty();
        let asked = approval(&mut Pair::begun(scenario, 22));
        assert_eq!((asked.authenticated_by, asked.recorded), (by, recorded), "{name}");
    }
    // On record, and asked for digits all the same: the new device lost its own record.
    let mut scenario = Scenario::unlock_by_guest(token(), 22);
    scenario.cast = scenario.cast.trusted_knows_new();
    let asked = approval(&mut Pair::begun(scenario, 22));
    assert_eq!((asked.authenticated_by, asked.recorded), (CheckCode, true));
}

#[test]
fn a_double_tap_does_not_answer_the_question_about_different_networks() {
    for mut scenario in Scenario::all(6) {
        let name = scenario.name();
        scenario.networks = [1, 2];
        let mut pair = Pair::begun(scenario, 6);
        // The answer to the second question is none to the first, nor kept for later.
        pair.until_asked(Role::Trusted, Ask::Approval);
        pair.decide(Role::Trusted, Decision::ApproveDifferentNetwork);
        assert!(!pair.device(Role::Trusted).saw("AskDifferentNetwork"), "{name}");
        pair.take_ask(Role::Trusted);
        for _ in 0..5 {
            pair.decide(Role::Trusted, Decision::Approve);
        }
        pair.sim.run();
        assert_eq!(pair.take_ask(Role::Trusted), Some(Ask::DifferentNetwork), "{name}");
        assert!(pair.device(Role::Trusted).prepared.is_empty(), "{name}");
        assert_eq!(pair.outcome(Role::Trusted), None, "{name}");
        let asked = pair.device(Role::Trusted).event_names();
        assert_eq!(asked.iter().filter(|event| *event == "AskDifferentNetwork").count(), 1, "{name}");
        // Only its own answer does.
        pair.decide(Role::Trusted, Decision::ApproveDifferentNetwork);
        assert_eq!(pair.asked(Role::Trusted), Some(Ask::Prepare), "{name}");
        pair.finish();
        pair.assert_success();
    }
}

#[test]
fn different_networks_are_asked_about_twice_and_the_second_no_counts() {
    for scenario in Scenario::all(6) {
        for (networks, hint, twice) in
            [([1, 1], Network::Same, false), ([1, 2], Network::Different, true), ([1, 0], Network::Unknown, false)]
        {
            let name = format!("{} {networks:?}", scenario.name());
            let mut scenario = scenario.clone();
            scenario.networks = networks;
            let mut pair = Pair::begun(scenario.clone(), 6);
            pair.until_asked(Role::Trusted, Ask::Approval);
            let shown = pair.device(Role::Trusted).events.iter().find_map(|event| match event {
                Event::AskApproval(approval) => Some(approval.network),
                _ => None,
            });
            assert_eq!(shown, Some(hint), "{name}");
            pair.answer(Role::Trusted);
            assert_eq!(pair.asked(Role::Trusted) == Some(Ask::DifferentNetwork), twice, "{name}");
            assert_eq!(pair.device(Role::Trusted).prepared.is_empty(), twice, "one yes is not enough, {name}");
            pair.finish();
            pair.assert_success();

            if twice {
                let mut pair = Pair::begun(scenario, 6);
                pair.until_asked(Role::Trusted, Ask::DifferentNetwork);
                pair.take_ask(Role::Trusted);
                pair.decide(Role::Trusted, Decision::Refuse);
                pair.finish();
                assert_eq!(pair.failure(Role::Trusted), &Failure::RefusedHere, "{name}");
                assert_eq!(pair.failure(Role::New), &Failure::Refused, "{name}");
            }
        }
    }
}

#[test]
fn an_unlock_between_devices_that_know_each_other_needs_no_check_code() {
    let request = Request::items(true, vec![entry("token")]).unwrap();
    let mut pair = Pair::begun(Scenario::unlock(request, 7), 7);
    pair.finish();
    pair.assert_success();
    for role in ROLES {
        assert!(!pair.device(role).saw("ShowCheckCode") && !pair.device(role).saw("AskCheckCode"), "{role:?}");
    }
    assert_eq!(pair.device(Role::Trusted).prepared, [None], "an unlock makes no record");
}

/// Only one side knows the other, or neither.
#[test]
fn an_unlock_by_anyone_else_needs_the_check_code() {
    let guest = Scenario::unlock_by_guest(token(), 8);
    let mut trusted_knows = guest.clone();
    trusted_knows.cast = trusted_knows.cast.trusted_knows_new();
    let mut new_knows = guest.clone();
    new_knows.cast = new_knows.cast.new_knows_trusted();
    for scenario in [guest, trusted_knows, new_knows] {
        let mut pair = Pair::begun(scenario, 8);
        pair.sim.run();
        assert_eq!(pair.asked(Role::New), Some(Ask::CheckCode));
        assert!(pair.device(Role::Trusted).saw("ShowCheckCode"));
        assert!(!pair.device(Role::Trusted).saw("AskApproval"));
        pair.finish();
        pair.assert_success();
    }
}

/// Its identity is known, but from another account.
#[test]
fn an_enrolled_device_is_not_unlocked_from_another_account() {
    let mut scenario = Scenario::unlock(token(), 8);
    scenario.cast.new.enrolled.as_mut().unwrap().0 = Cast::new(88).trusted.account.id;
    let mut pair = Pair::begun(scenario, 8);
    pair.finish();
    assert_eq!(pair.failure(Role::New), &Failure::OtherAccount);
    assert_eq!(pair.failure(Role::Trusted), &Failure::PeerLost);
    assert!(!pair.device(Role::Trusted).saw("AskApproval"));
}

#[test]
fn an_enrollment_needs_the_check_code_even_between_devices_that_know_each_other() {
    for mode in [Mode::QrNew, Mode::QrTrusted] {
        let mut scenario = Scenario::enroll(mode, 9);
        scenario.cast = scenario.cast.trusted_knows_new().new_knows_trusted();
        let mut pair = Pair::begun(scenario, 9);
        pair.sim.run();
        assert!(!pair.device(Role::Trusted).saw("AskApproval"), "{mode:?}");
        pair.finish();
        pair.assert_success();
    }
}

#[test]
fn the_unlock_key_goes_to_recorded_devices_only() {
    let request = Request::items(true, vec![entry("token")]).unwrap();
    let mut half = Scenario::unlock_by_guest(request.clone(), 10);
    half.cast = half.cast.new_knows_trusted();
    for scenario in [Scenario::unlock_by_guest(request.clone(), 10), half] {
        let mut pair = Pair::begun(scenario, 10);
        pair.finish();
        assert_eq!(pair.failure(Role::Trusted), &Failure::NotRecorded);
        assert_eq!(pair.failure(Role::New), &Failure::NotRecorded);
        assert!(!pair.device(Role::Trusted).saw("AskApproval"), "nobody is even asked");
    }
    // Recorded, with the check code because the new device lost its own record.
    let mut scenario = Scenario::unlock_by_guest(request, 10);
    scenario.cast = scenario.cast.trusted_knows_new();
    let mut pair = Pair::begun(scenario, 10);
    pair.finish();
    pair.assert_success();
}

#[test]
fn a_guest_gets_exactly_the_entries_that_it_named() {
    let request = Request::items(false, vec![entry("c"), entry("a")]).unwrap();
    let mut scenario = Scenario::unlock_by_guest(request, 11);
    for name in ["a", "b", "c", "d"] {
        scenario.cast.bundle.set(entry(name), SecretBytes::new(name.repeat(3).into_bytes())).unwrap();
    }
    let mut pair = Pair::begun(scenario, 11);
    pair.finish();
    pair.assert_success();
    let [ToStore::Items(items)] = pair.device(Role::New).stored.as_slice() else { panic!("items") };
    assert!(items.unlock_key.is_none());
    let got: Vec<_> = items.entries.iter().map(|(name, value)| (name.as_str(), value.expose())).collect();
    assert_eq!(got, [("a", b"aaa".as_slice()), ("c", b"ccc".as_slice())]);
}

#[test]
fn a_request_for_an_entry_that_does_not_exist_releases_nothing() {
    let request = Request::items(false, vec![entry("token"), entry("missing")]).unwrap();
    let mut pair = Pair::begun(Scenario::unlock_by_guest(request, 12), 12);
    pair.finish();
    assert_eq!(pair.failure(Role::Trusted), &Failure::NoSuchEntry);
    assert_eq!(pair.failure(Role::New), &Failure::NoSuchEntry);
    assert!(!pair.device(Role::Trusted).saw("GrantSent"));
}

#[test]
fn a_new_device_that_cannot_store_says_so() {
    for scenario in Scenario::all(13) {
        let name = scenario.name();
        let mut pair = Pair::begun(scenario, 13);
        pair.until_asked(Role::New, Ask::Store);
        pair.take_ask(Role::New);
        pair.input(Role::New, Input::StoreFailed);
        pair.finish();
        assert_eq!(pair.failure(Role::New), &Failure::StoreFailed, "{name}");
        assert_eq!(pair.failure(Role::Trusted), &Failure::PeerDidNotStore, "{name}");
        assert!(pair.device(Role::Trusted).stored.is_empty(), "{name}");
    }
}

#[test]
fn a_trusted_device_that_cannot_read_its_bundle_or_write_its_record_sends_nothing() {
    for scenario in Scenario::all(14) {
        let name = scenario.name();
        let mut pair = Pair::begun(scenario, 14);
        pair.until_asked(Role::Trusted, Ask::Prepare);
        pair.take_ask(Role::Trusted);
        pair.input(Role::Trusted, Input::StoreFailed);
        pair.finish();
        assert_eq!(pair.failure(Role::Trusted), &Failure::StoreFailed, "{name}");
        assert_eq!(pair.failure(Role::New), &Failure::PeerFailed, "{name}");
        assert!(!pair.device(Role::Trusted).saw("GrantSent"), "{name}");
    }
}

/// The new device is enrolled by then, whatever the trusted one can still write.
#[test]
fn a_confirmation_that_cannot_be_written_does_not_undo_the_enrollment() {
    let mut pair = Pair::begun(Scenario::enroll(Mode::Code, 15), 15);
    pair.until_asked(Role::Trusted, Ask::Store);
    pair.take_ask(Role::Trusted);
    pair.input(Role::Trusted, Input::StoreFailed);
    pair.finish();
    assert_eq!(pair.outcome(Role::Trusted), Some(&Ok(Success::Enrolled)));
    assert_eq!(pair.outcome(Role::New), Some(&Ok(Success::Enrolled)));
}

fn unknown(pair: &Pair) -> &Failure {
    let Failure::Unknown { device, identity, cause } = pair.failure(Role::Trusted) else {
        panic!("{:?}", pair.outcome(Role::Trusted))
    };
    assert_eq!((device.as_str(), **identity), ("laptop", pair.scenario.cast.identity(Role::New)));
    let text = pair.failure(Role::Trusted).to_string();
    assert!(text.contains("laptop") && text.contains(&identity.fingerprint()), "{text}");
    cause
}

#[test]
fn a_device_that_falls_silent_after_the_grant_leaves_the_outcome_unknown() {
    for scenario in Scenario::all(16) {
        let name = scenario.name();
        // Killed before it stored.
        let mut pair = Pair::begun(scenario.clone(), 16);
        pair.until_asked(Role::New, Ask::Store);
        let new = pair.index(Role::New);
        pair.sim.disconnect(new);
        pair.take_ask(Role::New);
        pair.sim.advance(20 * 60 * 1000);
        assert_eq!(unknown(&pair), &Failure::Expired, "{name}");
        assert!(pair.device(Role::Trusted).stored.is_empty(), "{name}: nobody is trusted without a receipt");

        // Stored, and the receipt is lost.
        let mut pair = Pair::begun(scenario, 16);
        pair.until_asked(Role::New, Ask::Store);
        let new = pair.index(Role::New);
        pair.sim.disconnect(new);
        assert!(pair.answer(Role::New));
        pair.sim.advance(u64::from(RECEIPT_LINGER_MS));
        assert!(matches!(pair.outcome(Role::New), Some(Ok(_))), "{name}");
        pair.sim.advance(20 * 60 * 1000);
        assert_eq!(unknown(&pair), &Failure::Expired, "{name}");
    }
}

#[test]
fn a_device_that_cancels_after_the_grant_leaves_the_outcome_unknown() {
    let mut pair = Pair::begun(Scenario::enroll(Mode::Code, 17), 17);
    pair.until_asked(Role::Trusted, Ask::Prepare);
    assert!(pair.answer(Role::Trusted));
    pair.decide(Role::New, Decision::Cancel);
    pair.finish();
    assert_eq!(unknown(&pair), &Failure::PeerCancelled);
    assert_eq!(pair.failure(Role::New), &Failure::Cancelled);
    assert!(pair.device(Role::New).stored.is_empty());
}

/// A store that takes its time, as in a browser: meanwhile the other side, the relay and the person all give up.
#[test]
fn once_a_new_device_was_told_to_store_only_the_store_says_how_it_ends() {
    for stored in [true, false] {
        let mut pair = Pair::begun(Scenario::enroll(Mode::Code, 18), 18);
        pair.until_asked(Role::New, Ask::Store);
        pair.decide(Role::Trusted, Decision::Cancel);
        pair.sim.run();
        assert_eq!(unknown(&pair), &Failure::Cancelled);
        pair.decide(Role::New, Decision::Cancel);
        pair.sim.advance(20 * 60 * 1000);
        assert_eq!(pair.outcome(Role::New), None);
        pair.take_ask(Role::New);
        pair.input(Role::New, if stored { Input::Stored } else { Input::StoreFailed });
        pair.sim.advance(u64::from(RECEIPT_LINGER_MS));
        let expected = if stored { Ok(Success::Enrolled) } else { Err(Failure::StoreFailed) };
        assert_eq!(pair.outcome(Role::New), Some(&expected));
    }
}

#[test]
fn requests_and_introductions_that_do_not_fit_are_refused_before_anything_is_sent() {
    let cast = Cast::new(19);
    let now = handfast_protocol::Time::from_origin(std::time::Duration::ZERO);
    let shown = |mode, request| {
        let scenario = Scenario { mode, request, cast: cast.clone(), networks: [1, 1] };
        Pair::shown(scenario, 19).introduction()
    };
    let rng = &mut handfast_tests::sim::Sim::new(19).device_rng();
    let code = shown(Mode::Code, Request::Bundle);
    let qr_new = shown(Mode::QrNew, Request::Bundle);
    let qr_unlock = shown(Mode::QrNew, token());
    let qr_trusted = shown(Mode::QrTrusted, Request::Bundle);

    for way in [code.clone(), qr_trusted.clone()] {
        assert!(matches!(Engine::trusted(cast.trusted.clone(), way, now, rng), Err(WrongWay)));
    }
    for (request, way) in [
        (Request::Bundle, Way::ShowCode),
        (Request::Bundle, qr_new),
        (Request::Bundle, qr_unlock),
        (token(), code),
        (token(), qr_trusted),
        // Requests that no honest trusted device would read.
        (Request::Items { unlock_key: false, entries: vec![] }, Way::ShowQr(None)),
        (Request::Items { unlock_key: false, entries: vec![entry("b"), entry("a")] }, Way::ShowQr(None)),
        (Request::Items { unlock_key: false, entries: vec![entry("a"), entry("a")] }, Way::ShowQr(None)),
    ] {
        let refused = Engine::new_device(cast.new.clone(), request.clone(), way, now, rng);
        assert!(matches!(refused, Err(WrongWay)), "{request:?}");
    }
}

#[test]
fn as_many_entries_as_a_request_may_name_with_names_as_long_as_they_may_be() {
    let name = |number: usize| entry(&format!("{number:064}"));
    let names = (0..MAX_REQUESTED_ENTRIES).map(name).collect();
    let mut scenario = Scenario::unlock_by_guest(Request::items(false, names).unwrap(), 20);
    scenario.cast.new.info = info(&"n".repeat(64), &"p".repeat(32));
    scenario.cast.trusted.info = info(&"t".repeat(64), &"p".repeat(32));
    for number in 0..=MAX_REQUESTED_ENTRIES {
        scenario.cast.bundle.set(name(number), SecretBytes::new(vec![1])).unwrap();
    }
    let mut pair = Pair::begun(scenario, 20);
    pair.finish();
    pair.assert_success();
    assert!(Request::items(false, (0..=MAX_REQUESTED_ENTRIES).map(name).collect()).is_err());
}

/// What a QR code is for is in the QR code, so a reader cannot be led from one purpose to the other.
#[test]
fn the_qr_code_decides_the_purpose_for_whoever_reads_it() {
    let kind_of = |request| {
        let pair = Pair::shown(Scenario { request, ..Scenario::enroll(Mode::QrNew, 21) }, 21);
        let Way::ReadQr(QrPayload { kind, .. }) = pair.introduction() else { panic!("a QR code is shown") };
        kind
    };
    assert_eq!(kind_of(Request::Bundle), QrKind::NewEnroll);
    assert_eq!(kind_of(token()), QrKind::NewUnlock);
}
