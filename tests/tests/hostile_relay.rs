//! A relay that changes, drops, repeats, reorders, reflects, replays and invents: it can end a run, and nothing else.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use handfast_protocol::pairing::Mode;
use handfast_protocol::secret::SecretBytes;
use handfast_protocol::wire::{
    Ack, CloseReason, Data, EndReason, ErrorCode, Flags, Joined, Lifetime, LimitKind, MailboxId, Nameplate, Network,
    PeerState, RelayFrame, Slot,
};
use handfast_protocol::{Failure, Input, Success};
use handfast_tests::sim::{Ask, Fault, Pair, ROLES, Role, Scenario, Toward, Verdict, entry};
use proptest::prelude::*;
use rand::rngs::ChaCha12Rng;
use rand::{RngExt, SeedableRng};
use std::cell::RefCell;
use std::rc::Rc;

/// Changes payloads on their way to a device: given device, number and payload.
fn on_payload(mut change: impl FnMut(usize, u32, &[u8]) -> Option<Vec<u8>> + 'static) -> Fault {
    Box::new(move |passing| {
        let (Toward::Device, Ok(RelayFrame::Data(mut data))) = (passing.toward, RelayFrame::decode(passing.frame))
        else {
            return Verdict::Pass;
        };
        match change(passing.device, data.seq, &data.payload) {
            Some(payload) => {
                data.payload = payload;
                Verdict::Instead(vec![RelayFrame::Data(data).encode()])
            }
            None => Verdict::Pass,
        }
    })
}

/// Every payload that a device was given, as (device, number, payload).
fn payloads(pair: &Pair) -> Vec<(usize, u32, Vec<u8>)> {
    let mut all = Vec::new();
    for (device, state) in pair.sim.devices.iter().enumerate() {
        for frame in &state.received {
            if let Ok(RelayFrame::Data(data)) = RelayFrame::decode(frame) {
                all.push((device, data.seq, data.payload));
            }
        }
    }
    all
}

fn undisturbed(scenario: &Scenario, seed: u64) -> Pair {
    let mut pair = Pair::begun(scenario.clone(), seed);
    pair.finish();
    pair.assert_success();
    pair
}

/// A run in which one payload was not what its sender sent. Only the receipt comes after the store.
fn assert_refused(pair: &mut Pair, name: &str, receipt: bool) {
    pair.finish_in_time();
    pair.assert_consistent(name);
    if receipt {
        assert!(matches!(pair.failure(Role::Trusted), Failure::Unknown { .. }), "{name}");
        assert!(pair.device(Role::Trusted).stored.is_empty(), "{name}");
        assert!(matches!(pair.outcome(Role::New), Some(Ok(_))), "{name}");
    } else {
        assert!(pair.device(Role::New).stored.is_empty(), "{name}");
        assert!(matches!(pair.outcome(Role::Trusted), Some(Err(_))), "{name}");
        assert!(matches!(pair.outcome(Role::New), Some(Err(_))), "{name}");
    }
}

fn is_receipt(payload: &[u8]) -> bool {
    payload[1] == 7
}

fn flip_bytes(positions: impl Fn(usize) -> Vec<usize>) {
    for scenario in Scenario::all(1) {
        for (device, seq, payload) in payloads(&undisturbed(&scenario, 1)) {
            for position in positions(payload.len()) {
                let name = format!("{}: device {device}, message {seq}, byte {position}", scenario.name());
                let mut pair = Pair::begun(scenario.clone(), 1);
                pair.sim.fault = Some(on_payload(move |to, number, payload| {
                    (to == device && number == seq).then(|| {
                        let mut changed = payload.to_vec();
                        changed[position] ^= 1 << (position % 8);
                        changed
                    })
                }));
                assert_refused(&mut pair, &name, is_receipt(&payload));
            }
        }
    }
}

#[test]
fn a_changed_byte_in_any_field_of_any_message_is_refused() {
    // Both ends of each message byte by byte, which covers every short field, and strides through the long ones.
    flip_bytes(|len| (0..len).filter(|at| *at < 40 || len - at <= 18 || at % 211 == 0).collect());
}

#[test]
#[ignore = "minutes: every byte of every message"]
fn a_changed_byte_anywhere_is_refused() {
    flip_bytes(|len| (0..len).collect());
}

#[test]
fn a_message_cut_short_or_made_longer_is_refused() {
    for scenario in Scenario::all(2) {
        for (device, seq, payload) in payloads(&undisturbed(&scenario, 2)) {
            for new_len in [1, 2, payload.len() / 2, payload.len() - 16, payload.len() - 1, payload.len() + 1] {
                let name = format!("{}: device {device}, message {seq}, {new_len} bytes", scenario.name());
                let mut pair = Pair::begun(scenario.clone(), 2);
                pair.sim.fault = Some(on_payload(move |to, number, payload| {
                    (to == device && number == seq).then(|| {
                        let mut changed = payload.to_vec();
                        changed.resize(new_len, 0);
                        changed
                    })
                }));
                assert_refused(&mut pair, &name, is_receipt(&payload));
            }
        }
    }
}

/// In place of each message: each message that a relay may have, of this run (of either direction, so reflections
/// are among them) and of an earlier run of the same devices.
#[test]
fn reflected_and_replayed_messages_are_refused() {
    for scenario in Scenario::all(3) {
        let earlier: Vec<_> = payloads(&undisturbed(&scenario, 33)).into_iter().map(|(.., payload)| payload).collect();
        let messages = payloads(&undisturbed(&scenario, 3));
        for (device, seq, original) in &messages {
            for which in 0..messages.len() + earlier.len() {
                let name = format!("{}: device {device}, message {seq}, replaced by {which}", scenario.name());
                let seen = Rc::new(RefCell::new(Vec::new()));
                let (replaced, earlier) = (Rc::new(RefCell::new(false)), earlier.clone());
                let mut pair = Pair::begun(scenario.clone(), 3);
                let (log, done, target) = (Rc::clone(&seen), Rc::clone(&replaced), (*device, *seq));
                pair.sim.fault = Some(on_payload(move |to, number, payload| {
                    if !log.borrow().contains(&payload.to_vec()) {
                        log.borrow_mut().push(payload.to_vec());
                    }
                    let log = log.borrow();
                    let other = earlier.get(which).or_else(|| log.get(which - earlier.len()))?;
                    let replace = (to, number) == target && other != payload;
                    *done.borrow_mut() |= replace;
                    replace.then(|| other.clone())
                }));
                pair.finish();
                if *replaced.borrow() {
                    assert_refused(&mut pair, &name, is_receipt(original));
                }
            }
        }
    }
}

/// The chunks that the new device gets, as a function of those that were sent, with the relay's numbers in order.
fn chunks_arrive(order: impl Fn(u32) -> u32 + Clone + 'static) -> Pair {
    let mut scenario = Scenario::enroll(Mode::Code, 4);
    scenario.cast.bundle.set(entry("token"), SecretBytes::new((0..100_000_u32).map(|i| i as u8).collect())).unwrap();
    let mut pair = Pair::begun(scenario, 4);
    let chunks = Rc::new(RefCell::new(std::collections::BTreeMap::<u32, Vec<u8>>::new()));
    let new = pair.index(Role::New);
    pair.sim.fault = Some(Box::new(move |passing| {
        let Ok(RelayFrame::Data(mut data)) = RelayFrame::decode(passing.frame) else { return Verdict::Pass };
        if data.payload[1] != 6 {
            return Verdict::Pass;
        }
        let index = u32::from(u16::from_be_bytes([data.payload[2], data.payload[3]]));
        if passing.toward == Toward::Relay {
            chunks.borrow_mut().insert(index, data.payload);
            return Verdict::Pass;
        }
        assert_eq!(passing.device, new);
        match chunks.borrow().get(&order(index)) {
            Some(payload) => data.payload = payload.clone(),
            None => return Verdict::Drop,
        }
        Verdict::Instead(vec![RelayFrame::Data(data).encode()])
    }));
    pair.finish_in_time();
    pair.assert_consistent("chunks");
    pair
}

#[test]
fn chunks_of_a_grant_arrive_whole_and_in_order_or_not_at_all() {
    chunks_arrive(|index| index).assert_success();
    let disturbed = [
        chunks_arrive(|index| {
            if index == 2 {
                3
            } else if index == 3 {
                2
            } else {
                index
            }
        }),
        chunks_arrive(|index| if index > 2 { index - 1 } else { index }),
        chunks_arrive(|index| if index >= 2 { index + 1 } else { index }),
        chunks_arrive(|index| if index == 0 { 1 } else { index }),
        chunks_arrive(|index| if index == 1 { 0 } else { index }),
        chunks_arrive(|index| if index == 4 { 7 } else { index }),
    ];
    for (number, pair) in disturbed.iter().enumerate() {
        assert_eq!(pair.failure(Role::New), &Failure::PeerMisbehaved, "{number}");
        assert!(matches!(pair.failure(Role::Trusted), Failure::Unknown { .. }), "{number}");
    }
}

#[test]
fn an_offer_that_is_not_the_one_in_the_qr_code_is_refused_before_anything_is_sent() {
    for mode in [Mode::QrNew, Mode::QrTrusted] {
        let scenario = Scenario::enroll(mode, 5);
        let other = payloads(&undisturbed(&scenario, 55)).into_iter().find(|(.., payload)| payload[1] == 1).unwrap().2;
        let mut pair = Pair::begun(scenario, 5);
        pair.sim.fault = Some(on_payload(move |_, seq, payload| (seq == 0 && payload[1] == 1).then(|| other.clone())));
        pair.finish();
        let reader = pair.scenario.displayer().other();
        assert_eq!(pair.failure(reader), &Failure::WrongOffer, "{mode:?}");
    }
}

/// In `code` mode an offer is readable: the relay can put its own key beside the displayer's share.
#[test]
fn an_offer_with_another_key_does_not_survive_cpace() {
    let scenario = Scenario::enroll(Mode::Code, 6);
    let other = payloads(&undisturbed(&scenario, 66)).into_iter().find(|(.., payload)| payload[1] == 0).unwrap().2;
    // Version, kind, mode, purpose; nonce; key; share; extensions.
    for fields in [4..36, 36..1252, 1252..1284, 4..1284] {
        let (other, replaced) = (other.clone(), fields.clone());
        let mut pair = Pair::begun(scenario.clone(), 6);
        pair.sim.fault = Some(on_payload(move |_, _, payload| {
            (payload[1] == 0).then(|| {
                let mut changed = payload.to_vec();
                changed[replaced.clone()].copy_from_slice(&other[replaced.clone()]);
                changed
            })
        }));
        pair.finish();
        assert_eq!(pair.failure(Role::Trusted), &Failure::WrongCode, "{fields:?}");
        assert_eq!(pair.failure(Role::New), &Failure::WrongCode, "{fields:?}");
    }
}

#[test]
fn keys_of_low_order_in_an_offer_are_refused_before_anything_is_sealed_to_them() {
    for low_order in [[0; 32], {
        let mut one = [0; 32];
        one[0] = 1;
        one
    }] {
        let mut pair = Pair::begun(Scenario::enroll(Mode::Code, 7), 7);
        pair.sim.fault = Some(on_payload(move |_, _, payload| {
            (payload[1] == 0).then(|| {
                let mut changed = payload.to_vec();
                // The X25519 half is the end of the X-Wing key.
                changed[1252 - 32..1252].copy_from_slice(&low_order);
                changed
            })
        }));
        pair.finish();
        assert_eq!(pair.failure(Role::New), &Failure::PeerMisbehaved);
        let sent = payloads(&pair).into_iter().filter(|(device, ..)| *device == pair.index(Role::Trusted)).count();
        assert_eq!(sent, 0, "no M1");
    }
}

#[test]
fn a_share_sent_back_burns_the_offer() {
    let mut pair = Pair::begun(Scenario::enroll(Mode::Code, 8), 8);
    let share = Rc::new(RefCell::new(Vec::new()));
    pair.sim.fault = Some(on_payload(move |_, _, payload| match payload[1] {
        0 => {
            *share.borrow_mut() = payload[1252..1284].to_vec();
            None
        }
        2 => Some([&payload[..2], &share.borrow(), &payload[34..]].concat()),
        _ => None,
    }));
    pair.finish();
    assert_eq!(pair.failure(Role::Trusted), &Failure::WrongCode);
    assert_eq!(pair.failure(Role::New), &Failure::WrongCode);
}

#[test]
fn another_version_is_named_and_never_answered_with_a_lower_one() {
    for scenario in Scenario::all(9) {
        let name = scenario.name();
        let mut pair = Pair::begun(scenario, 9);
        pair.sim.fault = Some(on_payload(|_, seq, payload| {
            (seq == 0).then(|| {
                let mut changed = payload.to_vec();
                changed[0] = 2;
                changed
            })
        }));
        pair.finish_in_time();
        let reader = pair.scenario.displayer().other();
        assert_eq!(pair.failure(reader), &Failure::Version(2), "{name}");
        assert!(pair.failure(reader).to_string().contains("update this device"), "{name}");
        assert!(matches!(pair.failure(reader.other()), Failure::PeerLost), "{name}");
    }
}

fn hints() -> Vec<RelayFrame> {
    use CloseReason::{Burned, Cancelled, Done, Expired, Failed};
    let mut hints: Vec<_> =
        [Done, Cancelled, Burned, Expired, Failed].map(|reason| RelayFrame::PeerClosed { reason }).into();
    hints.extend(
        [
            EndReason::Expired,
            EndReason::Crowded,
            EndReason::ClaimTimedOut,
            EndReason::ShuttingDown,
            EndReason::Replaced,
        ]
        .map(|reason| RelayFrame::Ended { reason }),
    );
    let codes = [
        ErrorCode::Malformed,
        ErrorCode::NoSuchNameplate,
        ErrorCode::NoSuchMailbox,
        ErrorCode::MailboxFull,
        ErrorCode::Limit(LimitKind::Other(77)),
        ErrorCode::Draining,
    ];
    hints.extend(codes.map(|code| RelayFrame::Error { code, retry_after_ms: 5 }));
    hints
}

/// At every point of a run, everything that the relay can say about its end.
#[test]
fn what_the_relay_says_of_the_end_may_end_a_run_and_never_completes_one() {
    for scenario in Scenario::all(10) {
        for role in ROLES {
            for hint in hints() {
                for steps in 0.. {
                    let name = format!("{}: {role:?} hears {hint:?} after {steps}", scenario.name());
                    let mut pair = Pair::begun(scenario.clone(), 10);
                    let over = (0..steps).any(|_| !pair.step());
                    let before = (pair.outcome(role).cloned(), pair.device(role).stored.len());
                    let granted = pair.device(role).saw("GrantSent");
                    let index = pair.index(role);
                    pair.sim.inject(index, &hint.encode());
                    match (role, pair.outcome(role)) {
                        _ if before.0.is_some() => assert_eq!(pair.outcome(role), before.0.as_ref(), "{name}"),
                        (Role::Trusted, Some(Ok(_))) => assert!(granted && before.1 == 1, "{name}"),
                        (Role::Trusted, Some(Err(Failure::Unknown { .. }))) => assert!(granted, "{name}"),
                        (Role::Trusted, Some(Err(_))) => assert!(!granted, "{name}"),
                        (Role::New, Some(Ok(_))) => assert!(pair.device(role).saw("Stored"), "{name}"),
                        (Role::New, Some(Err(_))) => assert_eq!(before.1, 0, "{name}"),
                        (Role::New, None) => assert_eq!(before.1, 1, "{name}: only a store in progress goes on"),
                        (Role::Trusted, None) => panic!("{name}: the run goes on"),
                    }
                    pair.finish_in_time();
                    pair.assert_consistent(&name);
                    if over {
                        break;
                    }
                }
            }
        }
    }
}

/// Once there is a channel, only the channel says that a code was wrong or a person cancelled; and that a code was wrong
/// is never news to the device that shows it.
#[test]
fn the_relay_cannot_put_words_into_the_peers_mouth() {
    for (reason, before) in [
        (CloseReason::Burned, [Failure::PeerLost, Failure::WrongCode]),
        (CloseReason::Cancelled, [Failure::PeerCancelled, Failure::PeerCancelled]),
        (CloseReason::Expired, [Failure::PeerLost, Failure::Expired]),
    ] {
        for (role, before) in ROLES.into_iter().zip(before) {
            let hint = RelayFrame::PeerClosed { reason }.encode();
            let mut pair = Pair::begun(Scenario::enroll(Mode::Code, 11), 11);
            let index = pair.index(role);
            if role == Role::New {
                // Its claim is answered, the rest is on its way.
                while !pair.device(role).received.iter().any(|frame| frame[0] == 0x82) {
                    assert!(pair.sim.deliver());
                }
            }
            pair.sim.inject(index, &hint);
            assert_eq!(pair.failure(role), &before);

            let mut pair = Pair::begun(Scenario::enroll(Mode::Code, 11), 11);
            pair.until_asked(Role::Trusted, Ask::Approval);
            pair.sim.inject(index, &hint);
            assert_eq!(pair.failure(role), &Failure::PeerLost);
        }
    }
}

#[test]
fn a_relay_that_repeats_itself_does_not_bury_the_question() {
    let mut pair = Pair::begun(Scenario::enroll(Mode::Code, 13), 13);
    pair.until_asked(Role::Trusted, Ask::Approval);
    let index = pair.index(Role::Trusted);
    let before = pair.device(Role::Trusted).event_names().len();
    for _ in 0..500 {
        for frame in [RelayFrame::PeerLeft, RelayFrame::PeerJoined { network: Network::Same }, RelayFrame::ThirdClaim] {
            pair.sim.inject(index, &frame.encode());
        }
    }
    let told = pair.device(Role::Trusted).event_names().len() - before;
    assert!((1..=32).contains(&told), "{told} notices");
    pair.finish();
    pair.assert_success();
}

#[test]
fn bytes_that_are_no_frame_are_the_relays_fault() {
    let garbage: [&[u8]; 6] = [&[], &[0], &[0xff; 40], &[0x05, 0, 0, 0, 0], &[0x8a, 99, 0, 0, 0, 0, 0], &[5; 17_000]];
    for scenario in Scenario::all(12) {
        for role in ROLES {
            for (number, bytes) in garbage.iter().enumerate() {
                for steps in 0.. {
                    let name = format!("{}: {role:?} gets {number} after {steps}", scenario.name());
                    let mut pair = Pair::begun(scenario.clone(), 12);
                    let over = (0..steps).any(|_| !pair.step());
                    let undecided = pair.outcome(role).is_none() && pair.device(role).stored.is_empty();
                    let index = pair.index(role);
                    pair.sim.inject(index, bytes);
                    if undecided {
                        match pair.failure(role) {
                            Failure::RelayMisbehaved => {}
                            Failure::Unknown { cause, .. } => assert_eq!(**cause, Failure::RelayMisbehaved, "{name}"),
                            other => panic!("{name}: {other:?}"),
                        }
                    }
                    pair.finish_in_time();
                    pair.assert_consistent(&name);
                    if over {
                        break;
                    }
                }
            }
        }
    }
}

/// Frames that are well-formed but cannot be: their numbers or their moment are wrong.
#[test]
fn frames_out_of_turn_are_the_relays_fault() {
    let lifetime = Lifetime { remaining_ms: 1000, linger_ms: 1000, max_ms: 1000 };
    let data = |seq, ack| RelayFrame::Data(Data { seq, ack, flags: Flags::NONE, payload: vec![1] });
    let joined = RelayFrame::Joined(Joined {
        mailbox: MailboxId([1; 16]),
        slot: Slot::Second,
        received: 0,
        peer: PeerState::Present,
        network: Network::Same,
        lifetime,
    });
    let allocated =
        RelayFrame::Allocated { nameplate: Nameplate::new(1).unwrap(), mailbox: MailboxId([1; 16]), lifetime };
    let resumed = RelayFrame::Resumed { received: 1, peer: PeerState::Present, lifetime };
    for frame in [
        data(9, 0),
        data(1, 99),
        RelayFrame::Ack(Ack { ack: 99, flags: Flags::NONE }),
        joined.clone(),
        allocated.clone(),
        resumed.clone(),
    ] {
        for role in ROLES {
            let mut pair = Pair::begun(Scenario::enroll(Mode::Code, 13), 13);
            pair.until_asked(Role::Trusted, Ask::Approval);
            let index = pair.index(role);
            pair.sim.inject(index, &frame.encode());
            assert_eq!(pair.failure(role), &Failure::RelayMisbehaved, "{role:?} {frame:?}");
        }
    }
    // Answers to a resume that lose or invent messages.
    for received in [0, 99] {
        let mut pair = Pair::begun(Scenario::enroll(Mode::Code, 13), 13);
        pair.until_asked(Role::Trusted, Ask::Approval);
        let index = pair.index(Role::Trusted);
        pair.sim.disconnect(index);
        pair.sim.connect(index);
        let answer = RelayFrame::Resumed { received, peer: PeerState::Present, lifetime };
        pair.sim.inject(index, &answer.encode());
        assert_eq!(pair.failure(Role::Trusted), &Failure::RelayMisbehaved, "{received}");
    }
    // Answers to another question.
    for (mode, wrong) in [(Mode::Code, joined), (Mode::QrTrusted, allocated), (Mode::Code, resumed)] {
        let mut pair = Pair::begun(Scenario::enroll(mode, 13), 13);
        let (mut rng, now) = (pair.sim.device_rng(), pair.sim.now());
        let way = match mode {
            Mode::Code => handfast_protocol::Way::ShowCode,
            _ => handfast_protocol::Way::ShowQr(None),
        };
        let trusted = pair.scenario.cast.trusted.clone();
        let engine = handfast_protocol::Engine::trusted(trusted, way, now, &mut rng).unwrap();
        let index = pair.sim.add(engine, rng, 1);
        pair.sim.connect(index);
        pair.sim.input(index, Input::Frame(&wrong.encode()));
        assert_eq!(pair.sim.devices[index].outcome, Some(Err(Failure::RelayMisbehaved)), "{mode:?} {wrong:?}");
    }
}

/// Lifetimes are the relay's to shorten, not to prolong.
#[test]
fn a_relay_cannot_keep_a_run_alive_for_longer_than_the_protocol_allows() {
    let mut pair = Pair::begun(Scenario::enroll(Mode::Code, 14), 14);
    let (mut rng, now) = (pair.sim.device_rng(), pair.sim.now());
    let trusted = pair.scenario.cast.trusted.clone();
    let engine = handfast_protocol::Engine::trusted(trusted, handfast_protocol::Way::ShowCode, now, &mut rng).unwrap();
    let index = pair.sim.add(engine, rng, 1);
    pair.sim.connect(index);
    let lifetime = Lifetime { remaining_ms: u32::MAX, linger_ms: u32::MAX, max_ms: u32::MAX };
    let nameplate = Nameplate::new(1).unwrap();
    pair.sim.inject(index, &RelayFrame::Allocated { nameplate, mailbox: MailboxId([1; 16]), lifetime }.encode());
    pair.sim.inject(index, &RelayFrame::PeerJoined { network: Network::Same }.encode());
    assert_eq!(pair.sim.devices[index].wake, Some(10 * 60 * 1000));
}

/// Each frame may be lost, held, repeated or changed.
#[test]
fn whatever_happens_to_frames_nobody_believes_what_is_not_so() {
    for seed in 0..150 {
        for scenario in Scenario::all(seed) {
            let name = format!("{} seed {seed}", scenario.name());
            let mut pair = Pair::begun(scenario, seed);
            pair.sim.shuffle = true;
            let mut rng = ChaCha12Rng::seed_from_u64(seed);
            pair.sim.fault = Some(Box::new(move |passing| match rng.random_range(0..120) {
                0 => Verdict::Drop,
                1 => Verdict::Hold,
                2 => Verdict::Instead(vec![passing.frame.to_vec(), passing.frame.to_vec()]),
                3 => {
                    let mut changed = passing.frame.to_vec();
                    let at = rng.random_range(0..changed.len());
                    changed[at] ^= 1 << rng.random_range(0..8);
                    Verdict::Instead(vec![changed])
                }
                _ => Verdict::Pass,
            }));
            while pair.step() {
                if pair.sim.in_flight() == 0 {
                    pair.sim.release();
                }
            }
            pair.finish_in_time();
            pair.assert_consistent(&name);
        }
    }
}

fn any_frame() -> impl Strategy<Value = Vec<u8>> {
    let payload = prop::collection::vec(any::<u8>(), 1..40).prop_map(|mut bytes| {
        bytes[0] = 1;
        if let Some(kind) = bytes.get_mut(1) {
            *kind %= 10;
        }
        bytes
    });
    let data = (0..6_u32, 0..6_u32, any::<bool>(), payload).prop_map(|(seq, ack, settled, payload)| {
        RelayFrame::Data(Data { seq, ack, flags: Flags { settled }, payload }).encode()
    });
    let ack = (0..6_u32).prop_map(|ack| RelayFrame::Ack(Ack { ack, flags: Flags::NONE }).encode());
    let quiet = prop::sample::select(vec![
        RelayFrame::PeerLeft.encode(),
        RelayFrame::PeerFreed.encode(),
        RelayFrame::ThirdClaim.encode(),
        RelayFrame::PeerJoined { network: Network::Different }.encode(),
    ]);
    let end = prop::sample::select(hints()).prop_map(|frame| frame.encode());
    let bytes = prop::collection::vec(any::<u8>(), 0..60);
    let typed =
        (prop::sample::select(vec![5_u8, 6, 0x81, 0x82, 0x83, 0x8a]), prop::collection::vec(any::<u8>(), 0..60))
            .prop_map(|(kind, mut bytes)| {
                bytes.insert(0, kind);
                bytes
            });
    prop_oneof![3 => data, 3 => quiet, 1 => ack, 1 => end, 1 => bytes, 1 => typed]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn no_frame_at_any_point_panics_an_engine_or_makes_it_believe(
        which in 0..6_usize,
        frames in prop::collection::vec((0..60_usize, any::<bool>(), any_frame()), 1..6),
    ) {
        let mut pair = Pair::begun(Scenario::all(15).remove(which), 15);
        for (steps, trusted, frame) in frames {
            for _ in 0..steps % 20 {
                pair.step();
            }
            let index = pair.index(if trusted { Role::Trusted } else { Role::New });
            pair.sim.inject(index, &frame);
        }
        pair.finish_in_time();
        pair.assert_consistent("arbitrary frames");
    }
}

/// A forged acknowledgement makes a new device stop waiting; what it stored stays stored.
#[test]
fn a_forged_acknowledgement_of_the_receipt_changes_nothing_that_matters() {
    let mut pair = Pair::begun(Scenario::enroll(Mode::Code, 16), 16);
    pair.until_asked(Role::New, Ask::Store);
    assert!(pair.answer(Role::New));
    let new = pair.index(Role::New);
    pair.sim.inject(new, &RelayFrame::Ack(Ack { ack: 2, flags: Flags::NONE }).encode());
    assert_eq!(pair.outcome(Role::New), Some(&Ok(Success::Enrolled)));
    pair.finish_in_time();
    pair.assert_consistent("forged acknowledgement");
}
