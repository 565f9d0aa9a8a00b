//! `spec/vectors` against what is private to this crate. The rest: `tests/tests/vectors_components.rs`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use crate::bundle::{CredentialBundle, ReleasedItems};
use crate::crypto::identity::{IdentityKey, IdentityPublicKey, verify};
use crate::crypto::test_support::{hex, hex_array};
use crate::device::DeviceKey;
use crate::secret::Secret;
use crate::text::ClaimedText;
use alloc::string::String;
use alloc::vec::Vec;
use handfast_wire::DecodeError;
use serde_json::Value;

macro_rules! vectors {
    ($file:literal) => {
        serde_json::from_str::<Value>(include_str!(concat!("../../spec/vectors/", $file))).unwrap()
    };
}

fn cases<'a>(file: &'a Value, list: &str) -> &'a [Value] {
    file[list].as_array().filter(|cases| !cases.is_empty()).expect(list)
}

#[test]
fn bundles_and_items_have_one_encoding() {
    let file = vectors!("objects.json");
    for case in cases(&file, "bundles") {
        let bytes = hex(case, "hex");
        let bundle = CredentialBundle::decode(&bytes).unwrap_or_else(|error| panic!("{}: {error}", case["name"]));
        assert_eq!(bundle.encode().unwrap().expose(), bytes, "{}", case["name"]);
    }
    for case in cases(&file, "items") {
        let bytes = hex(case, "hex");
        let items = ReleasedItems::decode(&bytes).unwrap_or_else(|error| panic!("{}: {error}", case["name"]));
        assert_eq!(items.encode().unwrap().expose(), bytes, "{}", case["name"]);
        let unlock_key = items.unlock_key.map(|key| key.expose().to_vec());
        assert_eq!(unlock_key, (!case["unlock_key"].is_null()).then(|| hex(case, "unlock_key")), "{}", case["name"]);
        let entries = items.entries.iter().map(|(name, value)| (name.as_str(), value.expose().to_vec()));
        let expected = case["entries"].as_array().unwrap().iter();
        let expected = expected.map(|entry| (entry["name"].as_str().unwrap(), hex(entry, "value")));
        assert!(entries.eq(expected), "{}", case["name"]);
    }
}

#[test]
fn bundles_and_items_are_refused_for_the_reason_given() {
    let file = vectors!("objects.json");
    for case in cases(&file, "bundles_refused") {
        let error = CredentialBundle::decode(&hex(case, "hex")).expect_err("refused");
        assert_eq!(reason(error), case["reason"], "{}", case["name"]);
    }
    for case in cases(&file, "items_refused") {
        let error = ReleasedItems::decode(&hex(case, "hex")).expect_err("refused");
        assert_eq!(reason(error), case["reason"], "{}", case["name"]);
    }
}

fn reason(error: DecodeError) -> Value {
    match error {
        DecodeError::Truncated => serde_json::json!({ "error": "truncated" }),
        DecodeError::TrailingBytes => serde_json::json!({ "error": "trailing_bytes" }),
        DecodeError::TooLong(field) => serde_json::json!({ "error": "too_long", "field": field }),
        DecodeError::BadValue(field) => serde_json::json!({ "error": "bad_value", "field": field }),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_a_peer_calls_itself_is_cleaned() {
    let file = vectors!("objects.json");
    for case in cases(&file, "claims") {
        let claim = ClaimedText::new(case["text"].as_str().unwrap());
        assert_eq!(claim.cleaned(), case["cleaned"], "{}", case["name"]);
    }
    // What may not stand in a name of ours is nowhere to be seen in a name of a peer, unless it is white space.
    for case in cases(&file, "texts") {
        let text = case["text"].as_str().unwrap();
        let cleaned = ClaimedText::new(text).cleaned();
        let expected = match case["error"].as_str() {
            Some("unprintable") => {
                let kept = text.chars().filter(|c| c.is_ascii_alphabetic() || c.is_whitespace()).collect::<String>();
                kept.split_whitespace().collect::<Vec<_>>().join(" ")
            }
            Some(_) => continue,
            None => text.replace('"', "'").split_whitespace().collect::<Vec<_>>().join(" "),
        };
        assert_eq!(cleaned, expected, "{}", case["name"]);
    }
}

#[test]
fn device_keys_make_the_keys_of_the_vectors() {
    let file = vectors!("device.json");
    for case in cases(&file, "devices") {
        let key = DeviceKey::from_secret(Secret::new(hex_array(case, "device_key")));
        assert_eq!(key.identity().as_bytes(), &hex_array(case, "identity"), "{}", case["name"]);
        assert_eq!(key.wrapping_public_key().as_bytes(), &hex_array(case, "wrapping_key"), "{}", case["name"]);
        assert_eq!(key.sealing_key().expose(), &hex_array(case, "sealing_key"), "{}", case["name"]);
    }
}

#[test]
fn signatures_verify_or_are_refused() {
    let file = vectors!("signatures.json");
    let verifies = |case: &Value| {
        let key = IdentityPublicKey::parse(&hex_array(case, "public_key"));
        let (label, parts) = signed(case);
        let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
        key.map(|key| verify(&key, label, &parts, &hex_array(case, "signature")).is_ok())
    };
    for case in cases(&file, "valid") {
        assert_eq!(verifies(case), Ok(true), "{}", case["name"]);
    }
    for case in cases(&file, "invalid") {
        let expected = if case["refused"] == "public_key" { None } else { Some(false) };
        assert_eq!(verifies(case).ok(), expected, "{}", case["name"]);
    }
}

/// The signer's side, where there is a private key.
#[test]
fn signatures_are_made_as_the_vectors_say() {
    let file = vectors!("signatures.json");
    let made = cases(&file, "valid").iter().filter(|case| !case["seed"].is_null());
    for case in made {
        let key = IdentityKey::from_seed(&Secret::new(hex_array(case, "seed")));
        let (label, parts) = signed(case);
        let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
        let signature = key.sign(label, &parts);
        assert_eq!(signature, hex_array(case, "signature"), "{}", case["name"]);
    }
}

/// Label and parts.
fn signed(case: &Value) -> (&[u8], Vec<Vec<u8>>) {
    let parts = case["parts"].as_array().unwrap().iter();
    let parts = parts.map(|part| hex::decode(part.as_str().unwrap()).unwrap());
    (case["label"].as_str().unwrap().as_bytes(), parts.collect())
}
