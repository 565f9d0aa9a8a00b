//! Undisturbed runs: every mode and purpose succeeds, with the events, flights and bytes that are promised.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use handfast_protocol::pairing::Mode;
use handfast_protocol::wire::ClientFrame;
use handfast_protocol::{Request, ToStore};
use handfast_tests::sim::{Ask, Cast, Pair, ROLES, Role, Scenario, entry};

#[test]
fn every_mode_and_purpose_succeeds_on_both_sides() {
    for scenario in Scenario::all(1) {
        let mut pair = Pair::begun(scenario, 1);
        pair.finish();
        pair.assert_success();
    }
}

#[test]
fn any_order_of_frames_between_the_devices_gives_the_same_run() {
    for seed in 0..40 {
        for scenario in Scenario::all(seed) {
            let mut pair = Pair::begun(scenario, seed);
            pair.sim.shuffle = true;
            pair.finish();
            pair.assert_success();
        }
    }
}

#[test]
fn each_side_sees_the_events_of_its_role_in_order() {
    let expected: [(&[&str], &[&str]); 6] = [
        // code
        (&["ShowCode", "PeerHere", "AskApproval", "GrantSent"], &["Account", "Stored"]),
        // qr-new
        (&["ShowCheckCode", "AskApproval", "GrantSent"], &["ShowQr", "PeerHere", "Account", "AskCheckCode", "Stored"]),
        // qr-trusted
        (&["ShowQr", "PeerHere", "AskCheckCode", "AskApproval", "GrantSent"], &["Account", "ShowCheckCode", "Stored"]),
        // unlock, both pinned
        (&["AskApproval", "GrantSent"], &["ShowQr", "PeerHere", "Account", "Stored"]),
        // unlock by a guest
        (&["ShowCheckCode", "AskApproval", "GrantSent"], &["ShowQr", "PeerHere", "Account", "AskCheckCode", "Stored"]),
        // unlock, the trusted device does not know the new one
        (&["ShowCheckCode", "AskApproval", "GrantSent"], &["ShowQr", "PeerHere", "Account", "AskCheckCode", "Stored"]),
    ];
    for (scenario, (trusted, new)) in Scenario::all(2).into_iter().zip(expected) {
        let name = scenario.name();
        let mut pair = Pair::begun(scenario, 2);
        pair.finish();
        assert_eq!(pair.device(Role::Trusted).event_names(), trusted, "{name}");
        assert_eq!(pair.device(Role::New).event_names(), new, "{name}");
    }
}

/// Both sides keep the same signature over the same transcript.
#[test]
fn what_is_recorded_on_both_sides_matches() {
    for mode in [Mode::Code, Mode::QrNew, Mode::QrTrusted] {
        let mut pair = Pair::begun(Scenario::enroll(mode, 3), 3);
        pair.finish();
        let [ToStore::Confirmed(record)] = pair.device(Role::Trusted).stored.as_slice() else { panic!("{mode:?}") };
        let [ToStore::Enrollment(new)] = pair.device(Role::New).stored.as_slice() else { panic!("{mode:?}") };
        assert_eq!(record.grant_signature, new.enroller.grant_signature);
        assert_eq!(record.transcript, new.enroller.transcript);
        assert_eq!(record.platform, "linux x86_64");

        let [Some(prepared)] = pair.device(Role::Trusted).prepared.as_slice() else { panic!("{mode:?}") };
        assert!(!prepared.confirmed, "written before the grant, trusted only after the receipt");
        assert_eq!((prepared.identity, &prepared.transcript), (record.identity, &record.transcript));
    }
}

/// The claim, and what the relay had for the claimant; then each round is one flight.
#[test]
fn flights_to_the_first_prompt_are_three_with_a_code_and_four_with_a_qr_code() {
    let prompts = [
        (Mode::Code, "AskApproval", Role::Trusted, 3),
        (Mode::QrNew, "ShowCheckCode", Role::Trusted, 4),
        (Mode::QrNew, "AskCheckCode", Role::New, 3),
        (Mode::QrTrusted, "ShowCheckCode", Role::New, 4),
        (Mode::QrTrusted, "AskCheckCode", Role::Trusted, 3),
    ];
    for (mode, prompt, at, flights) in prompts {
        let mut pair = Pair::begun(Scenario::enroll(mode, 4), 4);
        let mut rounds = 0;
        while !pair.device(at).saw(prompt) {
            rounds += 1;
            assert!(rounds < 10, "{mode:?}: {prompt} never came");
            pair.sim.round();
        }
        assert_eq!(rounds + 1, flights, "{mode:?} {prompt}");
    }
}

#[test]
fn a_bundle_with_one_entry_of_300_bytes_costs_less_than_16_kib_on_the_websocket() {
    for scenario in Scenario::all(5) {
        let name = scenario.name();
        let mut pair = Pair::begun(scenario, 5);
        pair.finish();
        pair.assert_success();
        let bytes: usize = ROLES.into_iter().flat_map(|role| pair.device(role).sent.iter().map(Vec::len)).sum();
        assert!(bytes < 16 * 1024, "{name}: {bytes}");
    }
}

/// All that a relay sees of a bundle's size is the bucket.
#[test]
fn bundles_in_one_bucket_look_alike() {
    let sizes = |entry_bytes: usize| {
        let mut scenario = Scenario::enroll(Mode::Code, 6);
        let value = handfast_protocol::secret::SecretBytes::new(vec![7; entry_bytes]);
        scenario.cast.bundle.set(entry("token"), value).unwrap();
        let mut pair = Pair::begun(scenario, 6);
        pair.finish();
        pair.assert_success();
        ROLES.map(|role| pair.device(role).sent.iter().map(Vec::len).collect::<Vec<_>>())
    };
    assert_eq!(sizes(1), sizes(700));
    assert_ne!(sizes(1), sizes(2000));
    assert_eq!(sizes(2000), sizes(3500));
}

/// The relay sees the mode, and nothing of what the account is called or what the run is for.
#[test]
fn neither_the_account_label_nor_the_purpose_shows_in_sizes() {
    let sizes = |mut scenario: Scenario, label: &str| {
        scenario.cast = Cast::labelled(label, 8);
        let mut pair = Pair::begun(scenario, 8);
        pair.finish();
        pair.assert_success();
        ROLES.map(|role| payload_sizes(&pair, role))
    };
    let enroll = |label: &str| sizes(Scenario::enroll(Mode::QrNew, 8), label);
    let token = Request::items(false, vec![entry("token")]).unwrap();
    let shortest = enroll("a");
    assert_eq!(shortest, enroll(&"a".repeat(128)));
    assert_eq!(shortest, sizes(Scenario::unlock_by_guest(token, 8), "a"));
}

#[test]
fn hellos_of_all_devices_have_one_size() {
    let hello_sizes = |mode| {
        let mut pair = Pair::begun(Scenario::enroll(mode, 7), 7);
        pair.until_asked(Role::Trusted, if mode == Mode::QrTrusted { Ask::CheckCode } else { Ask::Approval });
        ROLES.map(|role| payload_sizes(&pair, role))
    };
    let [trusted, new] = hello_sizes(Mode::Code);
    let [trusted_reads, new_shows] = hello_sizes(Mode::QrNew);
    // M2, whoever sends it.
    assert_eq!(trusted[1], new_shows[1]);
    // M1; in code mode with 32 bytes of CPace share.
    assert_eq!(new[0], trusted_reads[0] + 32);
}

fn payload_sizes(pair: &Pair, role: Role) -> Vec<usize> {
    let payload = |frame: &Vec<u8>| match ClientFrame::decode(frame) {
        Ok(ClientFrame::Data(data)) => Some(data.payload.len()),
        _ => None,
    };
    pair.device(role).sent.iter().filter_map(payload).collect()
}

#[test]
fn a_run_by_devices_that_know_each_other_still_asks_for_approval() {
    let request = Request::items(true, vec![]).unwrap();
    let mut pair = Pair::begun(Scenario::unlock(request, 8), 8);
    pair.until_asked(Role::Trusted, Ask::Approval);
    assert!(pair.device(Role::New).stored.is_empty());
    assert!(pair.device(Role::Trusted).prepared.is_empty());
}
