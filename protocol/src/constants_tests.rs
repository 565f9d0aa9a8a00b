//! `spec/constants.json` against what is private to this crate. The other groups: `tests/tests/constants.rs`.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use crate::crypto::hpke::{ENC_BYTES, PUBLIC_KEY_BYTES};
use crate::crypto::test_support::{constants, seeded_rng};
use crate::crypto::{TAG_BYTES, aead};
use crate::device::{DeviceKey, MAX_GENESIS_BYTES};
use crate::enrollment::Failure;
use crate::message::{AbortReason, BUCKETS, CHUNK_BYTES, Envelope, Extensions, HELLO_BYTES, MAX_GRANT_BYTES, Reply};
use crate::pairing::{Mode, Purpose};
use crate::secret::Secret;
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt::Debug;
use handfast_wire::codec::{Reader, Writer};
use handfast_wire::{CloseReason, DecodeError, ErrorCode};
use serde_json::{Value, json};

/// `QrNew` with `-` becomes `qr-new`. What follows the variant's name is left out.
fn name(value: &impl Debug, separator: char) -> String {
    let printed = format!("{value:?}");
    let mut name = String::new();
    for c in printed.chars().take_while(char::is_ascii_alphanumeric) {
        if c.is_ascii_uppercase() && !name.is_empty() {
            name.push(separator);
        }
        name.push(c.to_ascii_lowercase());
    }
    name
}

/// The names and codes of all values that decode.
fn codes<T: Debug>(separator: char, decode: impl Fn(u8) -> Option<T>) -> Value {
    let known = (0..=u8::MAX).filter_map(|code| decode(code).map(|value| (name(&value, separator), code)));
    json!(known.collect::<BTreeMap<_, _>>())
}

#[test]
fn the_table_holds_every_code_of_a_message() {
    let table = constants();
    assert_eq!(table["modes"], codes('-', |code| Mode::from_code(code).ok()));
    assert_eq!(table["purposes"], codes('-', |code| Purpose::from_code(code).ok()));
    assert_eq!(
        table["message_kinds"],
        codes('_', |code| Envelope::decode(&[1, code]).ok().map(|message| message.kind))
    );
    assert_eq!(table["abort_reasons"], codes('_', |code| AbortReason::from_code(code).ok()));
}

#[test]
fn the_table_says_what_an_abort_means() {
    let reasons = (0..=u8::MAX).filter_map(|code| AbortReason::from_code(code).ok());
    let meanings = reasons.map(|reason| (name(&reason, '_'), name(&Failure::from_peer(reason), '_')));
    assert_eq!(constants()["abort_meanings"], json!(meanings.collect::<BTreeMap<_, _>>()));
}

#[test]
fn the_table_holds_the_sizes_of_messages() {
    let sealed_hello = (0..=2 * HELLO_BYTES).find(|len| Reply::decode(&vec![0; *len]).is_ok());
    let at_rest = aead::seal_at_rest(&Secret::new([1; 32]), b"", b"", &mut seeded_rng(1)).unwrap();
    let sizes = json!({
        "kem_public_key_bytes": PUBLIC_KEY_BYTES,
        "kem_enc_bytes": ENC_BYTES,
        "aead_tag_bytes": TAG_BYTES,
        "at_rest_nonce_bytes": at_rest.len() - TAG_BYTES,
        "hello_bytes": HELLO_BYTES,
        "sealed_hello_bytes": sealed_hello,
        "chunk_bytes": CHUNK_BYTES,
        "max_grant_bytes": MAX_GRANT_BYTES,
        "max_genesis_bytes": MAX_GENESIS_BYTES,
    });
    assert_eq!(constants()["message_sizes"], sizes);
    assert_eq!(constants()["bucket_bytes"], json!(BUCKETS));
}

#[test]
fn the_table_says_which_extensions_are_tolerated() {
    let reads = |kind: u16, value: usize| {
        let mut inner = Writer::default();
        inner.u16(kind).bytes16(&vec![0; value]);
        let mut w = Writer::default();
        w.bytes16(&inner.into_bytes());
        Extensions::read(&mut Reader::new(&w.into_bytes())).map(drop)
    };
    let must_understand = Err(DecodeError::BadValue("extension that must be understood"));
    let tolerated = (0..=u16::MAX).find(|kind| reads(*kind, 0) == must_understand);
    let largest = (0..1024).take_while(|value| reads(1, *value).is_ok()).last().unwrap();
    let extensions = json!({ "must_understand": tolerated, "max_bytes": 4 + largest });
    assert_eq!(constants()["extensions"], extensions);
}

/// One of each, and a match that stops compiling when one is missing.
macro_rules! failures {
    ($($plain:ident)+; $($pattern:pat => $value:expr),+) => {{
        let _: fn(&Failure) = |failure| match failure {
            $(Failure::$plain)|+ | $($pattern)|+ => {}
        };
        vec![$(Failure::$plain),+, $($value),+]
    }};
}

#[test]
fn the_table_holds_every_failure() {
    let identity = Box::new(DeviceKey::from_secret(Secret::new([1; 32])).identity());
    let unknown =
        |cause| Failure::Unknown { device: String::new(), identity: identity.clone(), cause: Box::new(cause) };
    let all: Vec<Failure> = failures!(
        WrongCode WrongCheckCode WrongOffer PeerMisbehaved Refused PeerCancelled NoSuchEntry NotRecorded OtherAccount
        PeerDidNotStore PeerFailed PeerLost NoSuchOffer OfferInUse Crowded Expired ClaimTimedOut RelayForgot
        RelayShutDown RelayMisbehaved Cancelled RefusedHere StoreFailed WrongBundle Internal;
        Failure::Version(_) => Failure::Version(2),
        Failure::RelayRefused { .. } => Failure::RelayRefused { code: ErrorCode::Draining, retry_after_ms: 0 },
        Failure::Unknown { .. } => unknown(Failure::Internal)
    );
    let table = constants();
    let table = table["failures"].as_object().unwrap();
    assert_eq!(table.len(), all.len());
    for failure in all {
        let row = &table[&name(&failure, '_')];
        assert_eq!(row["fault"], name(&failure.fault(), '_'), "{failure:?}");
        assert_eq!(row["close"], name(&failure.close_reason(), '_'), "{failure:?}");
        let abort = match failure {
            Failure::Unknown { .. } => Some(String::from("as_its_cause")),
            _ => failure.abort_reason().map(|reason| name(&reason, '_')),
        };
        assert_eq!(row["abort"], json!(abort), "{failure:?}");
    }
    assert_eq!(unknown(Failure::Cancelled).abort_reason(), Some(AbortReason::Cancelled));
    assert_eq!(unknown(Failure::PeerLost).abort_reason(), None);
    assert_eq!(unknown(Failure::Expired).close_reason(), CloseReason::Failed);
}
