//! `spec/vectors/refusals`: the real engines refuse what they must, end as the files say, and tell the peer what they may.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use handfast_protocol::ToStore;
use handfast_protocol::wire::ClientFrame;
use handfast_tests::vectors::format::{self, folder};
use handfast_tests::vectors::pairing::{self, Mode, Pairing, Role};
use handfast_tests::vectors::refusal::{self, Change, Refusal};
use handfast_tests::vectors::replay::{Seat, outcome_name};
use std::collections::{BTreeMap, BTreeSet};

fn file_names() -> BTreeSet<String> {
    let folder = std::fs::read_dir(folder().join("refusals")).unwrap();
    folder.map(|file| file.unwrap().file_name().into_string().unwrap()).collect()
}

fn files() -> Vec<Refusal> {
    let read = |name: String| {
        let refusal: Refusal = format::read(&format!("refusals/{name}"));
        assert_eq!(name, format!("{}.json", refusal.name));
        refusal
    };
    file_names().into_iter().map(read).collect()
}

#[test]
fn engines_refuse_what_they_must() {
    let mut bases: BTreeMap<String, Pairing> = BTreeMap::new();
    let mut wrong = Vec::new();
    for refusal in files() {
        let base = bases.entry(refusal.base.clone()).or_insert_with(|| format::read(&pairing::path(&refusal.base)));
        let seen = run(base, &refusal);
        let expected = Seen {
            outcome: Some(refusal.outcome.clone()),
            sends: refusal.sends.iter().map(|payload| payload.0.clone()).collect(),
            close: Some(refusal.close),
        };
        if seen != expected {
            wrong.push(format!(
                "{}: {:?}, close {:?}, {} payloads ({}), expected {}, close {}, {} payloads",
                refusal.name,
                seen.outcome,
                seen.close,
                seen.sends.len(),
                if seen.sends == expected.sends { "as expected" } else { "not as expected" },
                refusal.outcome,
                refusal.close,
                refusal.sends.len()
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What one device did after the part that is as in the base.
#[derive(PartialEq)]
struct Seen {
    outcome: Option<String>,
    sends: Vec<Vec<u8>>,
    close: Option<u8>,
}

fn run(base: &Pairing, refusal: &Refusal) -> Seen {
    let introduction = if base.mode == Mode::Code { "code_text" } else { "qr_text" };
    let introduction = match &refusal.change {
        Some(Change::Scanned(text)) => text.clone(),
        _ => String::from_utf8(base.values.get(introduction).to_vec()).unwrap(),
    };
    let introduction = (refusal.to == base.reader()).then_some(introduction.as_str());
    let mut seat = Seat::new(base, refusal.to, introduction);
    let mut own = 0;
    for message in &base.messages[..refusal.after] {
        if message.from != refusal.to {
            seat.deliver(&message.payload.0);
            continue;
        }
        while seat.sent.len() == own {
            assert!(seat.answer(), "{}: {} is not sent", refusal.name, message.name);
        }
        assert_eq!(seat.sent[own], message.payload.0, "{}: {}", refusal.name, message.name);
        own += 1;
    }
    assert_eq!(seat.sent.len(), own, "{}: more is sent before", refusal.name);
    assert!(seat.outcome.is_none(), "{}: over before", refusal.name);
    if let Some(Change::TypedCheckCode(digits)) = &refusal.change {
        seat.typed = Some(digits.clone());
        while seat.answer() {}
    }
    for payload in &refusal.deliver {
        assert!(seat.outcome.is_none(), "{}: over before everything is delivered", refusal.name);
        seat.deliver(&payload.0);
        while seat.answer() {}
    }
    if refusal.to == Role::New && !matches!(seat.outcome, Some(Ok(_))) {
        let holds_something = seat.stored.iter().any(|what| !matches!(what, ToStore::Confirmed(_)));
        assert!(!holds_something, "{}: something is stored", refusal.name);
    }
    Seen {
        outcome: seat.outcome.as_ref().map(outcome_name),
        sends: seat.sent.split_off(own),
        // The second byte of the frame.
        close: seat.closed.map(|reason| ClientFrame::Close { reason }.encode()[1]),
    }
}

#[test]
fn unknown_and_missing_keys_are_errors() {
    let text = std::fs::read_to_string(folder().join(refusal::path("offer-trailing"))).unwrap();
    let file: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert!(serde_json::from_value::<Refusal>(file.clone()).is_ok());
    let mut more = file.clone();
    more["surplus"] = "00".into();
    assert!(serde_json::from_value::<Refusal>(more).is_err());
    for key in file.as_object().unwrap().keys() {
        let mut less = file.clone();
        less.as_object_mut().unwrap().remove(key);
        assert!(serde_json::from_value::<Refusal>(less).is_err(), "{key}");
    }
    let mut other = file;
    other["change"] = serde_json::json!({ "surplus": "00" });
    assert!(serde_json::from_value::<Refusal>(other).is_err());
}
