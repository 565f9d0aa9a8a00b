//! The handshake between two honest sides, and with what a relay or a stranger can put in between.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use super::*;
use crate::crypto::test_support::{hex_array, seeded_rng};
use crate::message::HELLO_BYTES;
use crate::pairing::{Mode, Purpose};
use alloc::vec;
use handfast_wire::Nameplate;

const KINDS: [Kind; 4] = [
    Kind { mode: Mode::Code, purpose: Purpose::Enroll },
    Kind { mode: Mode::QrNew, purpose: Purpose::Enroll },
    Kind { mode: Mode::QrNew, purpose: Purpose::Unlock },
    Kind { mode: Mode::QrTrusted, purpose: Purpose::Enroll },
];

fn code(nameplate: u32, seed: u64) -> Introduction {
    Introduction::Code(VerificationCode::generate(Nameplate::new(nameplate).unwrap(), &mut seeded_rng(seed)))
}

fn introduction(kind: Kind, seed: u64) -> Introduction {
    if kind.mode == Mode::Code { code(77, seed) } else { Introduction::Qr(Secret::random(&mut seeded_rng(seed))) }
}

fn hello(byte: u8) -> SecretBytes {
    SecretBytes::new(vec![byte; HELLO_BYTES])
}

fn read(kind: Kind, introduction: &Introduction, shown: &Displayed) -> Result<AcceptDue, HandshakeError> {
    let commitment = (kind.mode != Mode::Code).then_some(&shown.offer_hash);
    read_offer(kind, introduction.clone(), commitment, &shown.payload)
}

fn error<T>(result: Result<T, HandshakeError>) -> HandshakeError {
    result.err().unwrap()
}

/// The channels of displayer and reader after an undisturbed handshake.
pub(crate) fn channels(kind: Kind, seed: u64) -> (Channel, Channel) {
    let rng = &mut seeded_rng(seed);
    let introduction = introduction(kind, seed);
    let shown = display(kind, introduction.clone(), rng).unwrap();
    let accept_due = read(kind, &introduction, &shown).unwrap();
    assert_eq!(accept_due.transcript(), shown.next.transcript());
    let (m1, await_reply) = accept_due.accept(&hello(1), rng).unwrap();
    let (opened, reply_due) = shown.next.accept(&m1).unwrap();
    assert!(opened == hello(1));
    assert_eq!(reply_due.transcript(), await_reply.transcript());
    let (m2, displayer) = reply_due.reply(&hello(2)).unwrap();
    let (opened, reader) = await_reply.open(&m2).unwrap();
    assert!(opened == hello(2));
    assert_eq!(displayer.session(), reader.session());
    (displayer, reader)
}

#[test]
fn both_sides_of_every_kind_reach_the_same_channel() {
    for kind in KINDS {
        let (displayer, reader) = channels(kind, 1);
        let exported: [Secret<32>; 2] = [displayer.export(b"x").unwrap(), reader.export(b"x").unwrap()];
        assert!(exported[0] == exported[1], "{kind:?}");
        assert!(channels(kind, 2).0.session() != displayer.session(), "{kind:?}");
    }
}

/// The relay has a photograph of the QR code, so it can seal an offer of its own. The code's hash gives it away.
#[test]
fn an_offer_sealed_by_somebody_who_saw_the_qr_code_is_not_the_one_in_it() {
    for kind in KINDS.into_iter().filter(|kind| kind.mode != Mode::Code) {
        let rng = &mut seeded_rng(3);
        let introduction = introduction(kind, 3);
        let honest = display(kind, introduction.clone(), rng).unwrap();
        let forged = display(kind, introduction.clone(), rng).unwrap();
        let result = read_offer(kind, introduction, Some(&honest.offer_hash), &forged.payload);
        assert_eq!(error(result), HandshakeError::WrongOffer, "{kind:?}");
    }
}

#[test]
fn an_offer_of_another_kind_is_not_read() {
    let [_, enroll, unlock, trusted] = KINDS;
    for shown_as in [enroll, unlock, trusted] {
        for read_as in [enroll, unlock, trusted].into_iter().filter(|kind| *kind != shown_as) {
            let introduction = introduction(enroll, 4);
            let shown = display(shown_as, introduction.clone(), &mut seeded_rng(4)).unwrap();
            assert_eq!(error(read(read_as, &introduction, &shown)), HandshakeError::DoesNotOpen);
        }
    }
    // In code mode the offer is not sealed, so the kind in it is checked.
    let shown = display(enroll, introduction(enroll, 4), &mut seeded_rng(4)).unwrap();
    let psk = introduction(enroll, 4);
    let Introduction::Qr(psk) = psk else { return };
    let opened = aead::open(&offer_key(enroll, &psk), &[0; 12], &offer_aad(enroll), &shown.payload[2..]).unwrap();
    let payload = envelope(MessageKind::Offer, opened.expose());
    assert_eq!(error(read_offer(KINDS[0], code(77, 4), None, &payload)), HandshakeError::WrongOffer);
}

#[test]
fn another_code_nameplate_or_qr_secret_opens_nothing() {
    let rng = &mut seeded_rng(5);
    let kind = KINDS[0];
    let Introduction::Code(right) = code(77, 5) else { return };
    let mut other_route = right.reveal_bytes();
    other_route[..4].copy_from_slice(b"0001");
    // Other secret; other nameplate with its own secret; other nameplate with the same secret.
    for wrong in [code(77, 6), code(78, 5), code_of(&other_route)] {
        let shown = display(kind, code(77, 5), rng).unwrap();
        let (m1, await_reply) = read(kind, &wrong, &shown).unwrap().accept(&hello(1), rng).unwrap();
        assert_eq!(error(shown.next.accept(&m1)), HandshakeError::DoesNotOpen);
        // Nor does the reader take any answer of a displayer that does not know its code.
        let guess = display(kind, code(77, 5), rng).unwrap();
        let (m1, _) = read(kind, &code(77, 5), &guess).unwrap().accept(&hello(1), rng).unwrap();
        let (m2, _) = guess.next.accept(&m1).unwrap().1.reply(&hello(2)).unwrap();
        assert_eq!(error(await_reply.open(&m2)), HandshakeError::DoesNotOpen);
    }
    for kind in &KINDS[1..] {
        let shown = display(*kind, introduction(*kind, 5), rng).unwrap();
        assert_eq!(error(read(*kind, &introduction(*kind, 6), &shown)), HandshakeError::DoesNotOpen);
    }
}

fn code_of(symbols: &[u8; 12]) -> Introduction {
    // The check symbol that fits is one of 32.
    let typed = (0..32).find_map(|check| {
        let mut symbols = *symbols;
        symbols[11] = crate::crypto::identity::base32_symbol(check);
        core::str::from_utf8(&symbols).unwrap().parse().ok()
    });
    Introduction::Code(typed.unwrap())
}

impl VerificationCode {
    fn reveal_bytes(&self) -> [u8; 12] {
        let text = alloc::format!("{}", self.reveal()).replace('-', "");
        text.as_bytes().try_into().unwrap()
    }
}

#[test]
fn an_answer_to_an_earlier_offer_does_not_open() {
    for kind in KINDS {
        let rng = &mut seeded_rng(7);
        let introduction = introduction(kind, 7);
        let earlier = display(kind, introduction.clone(), rng).unwrap();
        let (m1, _) = read(kind, &introduction, &earlier).unwrap().accept(&hello(1), rng).unwrap();
        let fresh = display(kind, introduction, rng).unwrap();
        assert_eq!(error(fresh.next.accept(&m1)), HandshakeError::DoesNotOpen, "{kind:?}");
    }
}

/// Refused as it is parsed, before the secret key touches it.
#[test]
fn an_encapsulated_key_of_low_order_is_malformed() {
    for kind in KINDS {
        let rng = &mut seeded_rng(8);
        let introduction = introduction(kind, 8);
        let shown = display(kind, introduction.clone(), rng).unwrap();
        let (mut m1, _) = read(kind, &introduction, &shown).unwrap().accept(&hello(1), rng).unwrap();
        let enc_end = 2 + if kind.mode == Mode::Code { 32 } else { 0 } + crate::crypto::hpke::ENC_BYTES;
        m1[enc_end - 32..enc_end].fill(0);
        assert_eq!(error(shown.next.accept(&m1)), HandshakeError::Malformed, "{kind:?}");
    }
}

/// The displayer's own share, or a share that is no group element, in an otherwise honest answer.
#[test]
fn a_reflected_or_impossible_share_burns_the_offer() {
    for share in [None, Some([0; 32]), Some([0xff; 32])] {
        let rng = &mut seeded_rng(9);
        let (kind, introduction) = (KINDS[0], code(77, 9));
        let shown = display(kind, introduction.clone(), rng).unwrap();
        let own = Offer::decode(&shown.payload[2..]).unwrap().share.unwrap();
        let (mut m1, _) = read(kind, &introduction, &shown).unwrap().accept(&hello(1), rng).unwrap();
        m1[2..34].copy_from_slice(&share.unwrap_or(own));
        assert_eq!(error(shown.next.accept(&m1)), HandshakeError::DoesNotOpen);

        // The same towards the reader: an offer with a share that is none.
        if let Some(share) = share {
            let shown = display(kind, introduction.clone(), rng).unwrap();
            let mut offer = Offer::decode(&shown.payload[2..]).unwrap();
            offer.share = Some(share);
            let payload = envelope(MessageKind::Offer, &offer.encode());
            let accept_due = read_offer(kind, introduction, None, &payload).unwrap();
            assert_eq!(error(accept_due.accept(&hello(1), rng)), HandshakeError::DoesNotOpen);
        }
    }
}

#[test]
fn a_message_in_the_place_of_another_is_malformed() {
    let rng = &mut seeded_rng(10);
    let (kind, introduction) = (KINDS[3], introduction(KINDS[3], 10));
    let shown = display(kind, introduction.clone(), rng).unwrap();
    let (m1, await_reply) = read(kind, &introduction, &shown).unwrap().accept(&hello(1), rng).unwrap();
    assert_eq!(error(read_offer(kind, introduction.clone(), None, &m1)), HandshakeError::Malformed);
    assert_eq!(error(await_reply.open(&m1)), HandshakeError::Malformed, "its own answer, sent back");
    assert_eq!(error(shown.next.accept(&shown.payload)), HandshakeError::Malformed, "its own offer, sent back");
    let mut newer = m1;
    newer[0] = 9;
    assert_eq!(error(read_offer(kind, introduction, None, &newer)), HandshakeError::Version(9));
}

#[test]
fn a_channel_opens_messages_of_the_peer_in_their_order_and_place_only() {
    for kind in KINDS {
        let (mut displayer, mut reader) = channels(kind, 11);
        let [one, two] =
            [b"one".as_slice(), b"two"].map(|text| reader.seal(MessageKind::CheckCode, text).unwrap().split_off(2));
        assert!(displayer.open(MessageKind::CheckCode, &two).is_err(), "out of order");
        assert!(displayer.open(MessageKind::Receipt, &one).is_err(), "of another kind");
        assert!(reader.open(MessageKind::CheckCode, &one).is_err(), "sent back");
        assert_eq!(displayer.open(MessageKind::CheckCode, &one).unwrap().expose(), b"one");
        assert!(displayer.open(MessageKind::CheckCode, &one).is_err(), "twice");
        assert_eq!(displayer.open(MessageKind::CheckCode, &two).unwrap().expose(), b"two");
        assert_eq!(displayer.transcript(), reader.transcript());

        // The other direction, which has other keys.
        let answer = displayer.seal(MessageKind::CheckRequest, b"").unwrap().split_off(2);
        assert!(displayer.open(MessageKind::CheckRequest, &answer).is_err(), "sent back");
        assert!(reader.open(MessageKind::CheckRequest, &answer).unwrap().is_empty());
    }
}

#[test]
fn a_message_is_bound_to_everything_before_it() {
    let (mut displayer, mut reader) = channels(KINDS[0], 12);
    displayer.absorb(MessageKind::GrantChunk, b"what only one side has seen");
    let receipt = reader.seal(MessageKind::Receipt, b"signature").unwrap().split_off(2);
    assert!(displayer.open(MessageKind::Receipt, &receipt).is_err());
    // But an abort, for the sides may be a message apart.
    let abort = displayer.seal_abort(&[1]).unwrap().split_off(2);
    assert!(reader.open_abort(&abort).is_ok());
}

#[test]
fn check_codes_differ_with_the_channel_and_with_the_number_behind_the_commitment() {
    use crate::pairing::check_code::CheckCode;
    let (displayer, reader) = channels(KINDS[1], 13);
    let digits =
        |channel: &Channel, opening: Option<&Secret<32>>| *CheckCode::derive(channel, opening).unwrap().digits();
    let [r, other] = [Secret::new([1; 32]), Secret::new([2; 32])];
    assert_eq!(digits(&displayer, Some(&r)), digits(&reader, Some(&r)));
    assert_ne!(digits(&displayer, Some(&r)), digits(&reader, Some(&other)));
    assert_ne!(digits(&displayer, Some(&r)), digits(&reader, None));
    assert_ne!(digits(&channels(KINDS[1], 14).0, Some(&r)), digits(&reader, Some(&r)));
}

#[test]
fn qr_secrets_make_the_keys_of_the_vectors() {
    let file: serde_json::Value = serde_json::from_str(include_str!("../../../spec/vectors/qr.json")).unwrap();
    let cases = file["valid"].as_array().unwrap();
    for case in cases {
        let kind = KINDS.into_iter().find(|kind| suite(*kind).ends_with(case["qr_kind"].as_str().unwrap().as_bytes()));
        let (kind, secret) = (kind.unwrap(), Secret::new(hex_array(case, "qr_secret")));
        assert_eq!(qr_mailbox(&secret).0, hex_array(case, "mailbox_id"), "{}", case["name"]);
        assert_eq!(offer_key(kind, &secret).expose(), &hex_array(case, "offer_key"), "{}", case["name"]);
        assert_eq!(qr_psk(kind, &secret).expose(), &hex_array(case, "channel_psk"), "{}", case["name"]);
    }
    let kinds = cases.iter().filter_map(|case| case["qr_kind"].as_str()).collect::<alloc::collections::BTreeSet<_>>();
    assert_eq!(kinds.len(), 3);
}
