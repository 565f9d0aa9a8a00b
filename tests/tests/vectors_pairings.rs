//! `spec/vectors/pairings`: the files, the plain derivation and the real engines say the same.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use handfast_protocol::ToStore;
use handfast_tests::vectors::derivation::{Bundle, Run};
use handfast_tests::vectors::format::{self, folder};
use handfast_tests::vectors::pairing::{self, Mode, Pairing, Request, Role};
use handfast_tests::vectors::replay::{Seat, bundle, outcome_name};
use std::collections::BTreeSet;

fn files() -> Vec<Pairing> {
    let folder = std::fs::read_dir(folder().join("pairings")).unwrap();
    let names: BTreeSet<_> = folder.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    let read = |name: &String| {
        let pairing: Pairing = format::read(&format!("pairings/{name}"));
        assert_eq!(*name, format!("{}.json", pairing.name));
        pairing
    };
    names.iter().map(read).collect()
}

#[test]
fn the_derivation_gives_every_value_and_message_of_a_file() {
    for pairing in files() {
        let (values, messages) = Run::of(&pairing).whole().results();
        assert_eq!(pairing.values, values, "{}", pairing.name);
        assert_eq!(pairing.messages, messages, "{}", pairing.name);
    }
}

#[test]
fn engines_exchange_the_messages_of_a_file_and_end_as_it_says() {
    for pairing in files() {
        let name = &pairing.name;
        let mut displayer = Seat::new(&pairing, pairing.displayer(), None);
        let shown = if pairing.mode == Mode::Code { "code_text" } else { "qr_text" };
        let shown = String::from_utf8(pairing.values.get(shown).to_vec()).unwrap();
        assert_eq!(displayer.introduction.as_ref(), Some(&shown), "{name}");
        let mut reader = Seat::new(&pairing, pairing.reader(), Some(&shown));

        let mut delivered = [0, 0];
        for message in &pairing.messages {
            let (from, to, count) = if message.from == pairing.displayer() {
                (&mut displayer, &mut reader, &mut delivered[0])
            } else {
                (&mut reader, &mut displayer, &mut delivered[1])
            };
            while from.sent.len() <= *count {
                assert!(from.answer(), "{name}: {} is not sent", message.name);
            }
            assert_eq!(from.sent[*count], message.payload.0, "{name}: {}", message.name);
            to.deliver(&message.payload.0);
            *count += 1;
        }
        for (seat, count) in [(&mut displayer, delivered[0]), (&mut reader, delivered[1])] {
            while seat.answer() {}
            assert_eq!(seat.sent.len(), count, "{name}: nothing else is sent");
            assert_eq!(seat.rng.left(), [""; 0], "{name}: every random value is drawn");
        }

        let (trusted, new) = match pairing.displayer() {
            Role::Trusted => (displayer, reader),
            Role::New => (reader, displayer),
        };
        assert_eq!(trusted.outcome.as_ref().map(outcome_name).as_ref(), Some(&pairing.outcome.trusted), "{name}");
        assert_eq!(new.outcome.as_ref().map(outcome_name).as_ref(), Some(&pairing.outcome.new), "{name}");
        let digits = if pairing.mode == Mode::QrTrusted { &new.digits } else { &trusted.digits };
        assert_eq!(*digits, pairing.typed_check_code, "{name}");
        check_stored(&pairing, &trusted, &new);
    }
}

/// Each side keeps what the file says, and nothing else.
fn check_stored(pairing: &Pairing, trusted: &Seat<'_>, new: &Seat<'_>) {
    let (name, values) = (&pairing.name, &pairing.values);
    let before_grant = pairing.messages.iter().position(|message| message.name == "M3.0").unwrap() - 1;
    let before_grant = match pairing.messages[before_grant].name.as_str() {
        "M2" => values.get("th_m2"),
        "M2c" => values.get("th_m2c"),
        other => panic!("{name}: {other} before the grant"),
    };
    match (&pairing.new.request, new.stored.as_slice(), trusted.stored.as_slice()) {
        (Request::Bundle(_), [ToStore::Enrollment(enrollment)], [ToStore::Confirmed(record)]) => {
            assert!(enrollment.bundle == bundle(pairing), "{name}: the bundle");
            assert_eq!(enrollment.account.id.0, values.get("account_id"), "{name}");
            assert_eq!(enrollment.account.genesis, pairing.trusted.genesis.0, "{name}");
            assert_eq!(enrollment.enroller.identity.as_bytes(), values.get("trusted_identity"), "{name}");
            assert_eq!(enrollment.enroller.name, pairing.trusted.name, "{name}");
            assert_eq!(enrollment.enroller.grant_signature, values.get("statement"), "{name}");
            assert_eq!(enrollment.enroller.transcript, before_grant, "{name}");
            assert!(record.confirmed, "{name}");
            assert_eq!(record.identity.as_bytes(), values.get("new_identity"), "{name}");
            assert_eq!(record.wrapping_key, values.get("new_wrapping_key"), "{name}");
            assert_eq!((&record.name, &record.platform), (&pairing.new.name, &pairing.new.platform), "{name}");
            assert_eq!(record.grant_signature, values.get("statement"), "{name}");
            assert_eq!(record.transcript, before_grant, "{name}");
        }
        (Request::Items(asked), [ToStore::Items(items)], []) => {
            let whole = Bundle::decode(&pairing.trusted.bundle.0);
            let key = items.unlock_key.as_ref().map(|key| key.expose().to_vec());
            assert_eq!(key, asked.unlock_key.then_some(whole.unlock_key), "{name}");
            let got = items.entries.iter().map(|(name, value)| (name.as_str(), value.expose()));
            let expected = whole.entries.iter().filter(|(entry, _)| asked.entries.contains(entry));
            assert!(got.eq(expected.map(|(name, value)| (name.as_str(), value.as_slice()))), "{name}: the entries");
        }
        (_, new, trusted) => panic!("{name}: {new:?} and {trusted:?} are stored"),
    }
}

/// A key that nobody reads would be a promise that nobody keeps.
#[test]
fn unknown_and_missing_keys_are_errors() {
    let text = std::fs::read_to_string(folder().join(pairing::path("code-enroll"))).unwrap();
    let file: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert!(serde_json::from_value::<Pairing>(file.clone()).is_ok());
    for place in ["", "/trusted", "/new", "/messages/0", "/outcome"] {
        let mut more = file.clone();
        more.pointer_mut(place).unwrap()["surplus"] = "00".into();
        assert!(serde_json::from_value::<Pairing>(more).is_err(), "{place}/surplus");
        let object = file.pointer(place).unwrap().as_object().unwrap();
        for key in object.keys() {
            let mut less = file.clone();
            less.pointer_mut(place).unwrap().as_object_mut().unwrap().remove(key);
            assert!(serde_json::from_value::<Pairing>(less).is_err(), "{place}/{key}");
        }
    }
}
