//! Every limit of the messages, at it and over it, and every value that no encoder writes.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use super::tests::{accept, bundle, bytes, enc, encoded, enroll_grant, new_hello, offer, trusted_hello, unlock_grant};
use super::*;
use crate::bundle::{CredentialBundle, MAX_BUNDLE_BYTES, MAX_ENTRIES, MAX_SIGN_IN_SECRET_BYTES, ReleasedItems};
use crate::crypto::hpke::{ENC_BYTES, PUBLIC_KEY_BYTES};
use crate::crypto::test_support::seeded_rng;
use crate::device::MAX_GENESIS_BYTES;
use crate::pairing::{Kind, Mode, Purpose};
use crate::secret::SecretBytes;
use crate::text::{AccountLabel, ClaimedText, EntryName};
use alloc::format;
use alloc::vec;
use handfast_wire::limits::MAX_PAYLOAD_BYTES;

fn entry(number: usize) -> EntryName {
    EntryName::new(&format!("{number:04}")).unwrap()
}

fn read_extensions(inner: &[u8]) -> Result<Extensions, DecodeError> {
    let mut w = Writer::default();
    w.bytes16(inner);
    Extensions::read(&mut Reader::new(&w.into_bytes()))
}

/// A 32-bit length at `at`, far beyond what follows it.
fn with_huge_length(mut encoding: Vec<u8>, at: usize) -> Vec<u8> {
    encoding[at..at + 4].fill(0xff);
    encoding
}

#[test]
fn what_a_device_calls_itself_has_at_most_64_and_32_bytes() {
    let rng = &mut seeded_rng(1);
    for (name, platform, fits) in [(64, 32, true), (65, 32, false), (64, 33, false), (0, 0, true)] {
        let mut hello = new_hello(rng);
        hello.name = ClaimedText::new(&"n".repeat(name));
        hello.platform = ClaimedText::new(&"p".repeat(platform));
        assert_eq!(NewHello::decode(&hello.encode()).is_ok(), fits, "{name} {platform}");
    }
    for (name, fits) in [(64, true), (65, false)] {
        let mut hello = trusted_hello(rng);
        hello.name = ClaimedText::new(&"n".repeat(name));
        assert_eq!(TrustedHello::decode(&hello.encode()).is_ok(), fits, "{name}");
    }
}

/// A claimed name is cleaned when it is shown, an account's label is refused as a whole.
#[test]
fn characters_that_deceive_are_cleaned_or_refused() {
    assert_eq!(ClaimedText::new(" a\u{202e}b\u{200b}\u{7}c\u{feff} ").cleaned(), "abc");
    for (label, fits) in [("plain", true), ("", false), ("rtl \u{202e}", false), ("bell \u{7}", false)] {
        let mut w = Writer::default();
        w.bytes16(label.as_bytes());
        assert_eq!(AccountLabel::read(&mut Reader::new(&w.into_bytes())).is_ok(), fits, "{label:?}");
    }
    for (len, fits) in [(128, true), (129, false)] {
        let mut w = Writer::default();
        w.bytes16(&vec![b'a'; len]);
        assert_eq!(AccountLabel::read(&mut Reader::new(&w.into_bytes())).is_ok(), fits, "{len}");
    }
    for (len, fits) in [(64, true), (65, false)] {
        let mut w = Writer::default();
        w.bytes16(&vec![b'a'; len]);
        assert_eq!(EntryName::read(&mut Reader::new(&w.into_bytes())).is_ok(), fits, "{len}");
    }
}

#[test]
fn a_request_names_up_to_16_entries_sorted_and_once_or_the_key_or_the_bundle() {
    let read = |unlock_key: bool, entries: Vec<EntryName>| {
        let mut w = Writer::default();
        Request::Items { unlock_key, entries }.write(&mut w);
        Request::read(&mut Reader::new(&w.into_bytes()))
    };
    assert!(read(false, (0..16).map(entry).collect()).is_ok());
    assert_eq!(read(false, (0..17).map(entry).collect()), Err(DecodeError::TooLong("request")));
    assert!(read(true, vec![]).is_ok());
    assert_eq!(read(false, vec![]), Err(DecodeError::BadValue("request")));
    assert!(read(false, vec![entry(2), entry(1)]).is_err());
    assert!(read(false, vec![entry(1), entry(1)]).is_err());
    for bytes in [&[2][..], &[1, 2, 0], &[1, 0, 255]] {
        assert!(Request::read(&mut Reader::new(bytes)).is_err(), "{bytes:?}");
    }
}

#[test]
fn unknown_extensions_are_kept_and_those_that_must_be_understood_refused() {
    let kept = read_extensions(&[0, 1, 0, 2, 7, 7, 0x7f, 0xff, 0, 0]).unwrap();
    assert_eq!(kept, Extensions::of(vec![(1, vec![7, 7]), (0x7fff, vec![])]));
    for critical in [[0x80, 0, 0, 0], [0xff, 0xff, 0, 0]] {
        let refused = Err(DecodeError::BadValue("extension that must be understood"));
        assert_eq!(read_extensions(&critical), refused);
        assert_eq!(read_extensions(&[&[0, 1, 0, 0], &critical[..]].concat()), refused);
    }
    for (kinds, fits) in [([1, 2], true), ([2, 1], false), ([1, 1], false)] {
        assert_eq!(read_extensions(&[0, kinds[0], 0, 0, 0, kinds[1], 0, 0]).is_ok(), fits, "{kinds:?}");
    }
}

#[test]
fn the_extensions_of_a_message_take_at_most_256_bytes() {
    for (value, fits) in [(252, true), (253, false)] {
        let extensions = Extensions::of(vec![(5, vec![1; value])]);
        let rng = &mut seeded_rng(2);
        let offer = Offer { extensions: extensions.clone(), ..offer(rng, Mode::Code) };
        assert_eq!(Offer::decode(&offer.encode()).is_ok(), fits);
        let hello = NewHello { extensions: extensions.clone(), ..new_hello(rng) };
        assert_eq!(NewHello::decode(&hello.encode()).is_ok(), fits);
        let hello = TrustedHello { extensions: extensions.clone(), ..trusted_hello(rng) };
        assert_eq!(TrustedHello::decode(&hello.encode()).is_ok(), fits);
        let grant = Grant { extensions, ..unlock_grant(rng) };
        assert_eq!(Grant::decode(&encoded(&grant)).is_ok(), fits);
    }
}

/// The largest hellos that a version 1 device sends or tolerates fit the padded size.
#[test]
fn the_largest_hellos_fit_their_padding() {
    let rng = &mut seeded_rng(3);
    let names = (0..MAX_REQUESTED_ENTRIES).map(|number| EntryName::new(&format!("{number:064}")).unwrap()).collect();
    let extensions = Extensions::of(vec![(5, vec![1; 252])]);
    let mut new = NewHello { request: Request::items(true, names).unwrap(), extensions, ..new_hello(rng) };
    new.name = ClaimedText::new(&"n".repeat(64));
    new.platform = ClaimedText::new(&"p".repeat(32));
    let padded = pad_hello(&new.encode()).unwrap();
    assert_eq!(padded.len(), HELLO_BYTES);
    assert!(NewHello::decode(unpad_hello(padded.expose()).unwrap()).unwrap() == new);
    assert!(pad_hello(&[0; HELLO_BYTES - 2]).is_some());
    assert!(pad_hello(&[0; HELLO_BYTES - 1]).is_none());
}

#[test]
fn the_padding_of_a_hello_is_zeros() {
    let hello = trusted_hello(&mut seeded_rng(4)).encode();
    let padded = pad_hello(&hello).unwrap();
    for at in [2 + hello.len(), HELLO_BYTES - 1] {
        let mut changed = padded.expose().to_vec();
        changed[at] = 1;
        assert_eq!(unpad_hello(&changed), Err(DecodeError::BadValue("padding")), "{at}");
    }
}

#[test]
fn hellos_of_another_size_are_not_opened() {
    let mut accept = accept(&mut seeded_rng(5), Mode::QrNew);
    for (len, fits) in [(HELLO_BYTES + 16, true), (HELLO_BYTES + 15, false), (HELLO_BYTES + 17, false)] {
        accept.sealed_hello = vec![1; len];
        assert_eq!(Accept::decode(Mode::QrNew, &accept.encode()).is_ok(), fits, "{len}");
        assert_eq!(Reply::decode(&accept.sealed_hello).is_ok(), fits, "{len}");
    }
}

#[test]
fn pairs_of_mode_and_purpose_that_do_not_exist_are_refused() {
    let encoded = offer(&mut seeded_rng(6), Mode::QrNew).encode();
    for (mode, purpose, exists) in
        [(0, 1, false), (1, 0, true), (1, 1, true), (2, 0, true), (2, 1, false), (3, 0, false), (1, 2, false)]
    {
        let mut changed = encoded.clone();
        (changed[0], changed[1]) = (mode, purpose);
        assert_eq!(Offer::decode(&changed).is_ok(), exists, "{mode} {purpose}");
    }
    assert!(Kind::new(Mode::Code, Purpose::Unlock).is_err());
    assert!(Kind::new(Mode::QrTrusted, Purpose::Unlock).is_err());
}

#[test]
fn keys_of_low_order_are_refused_wherever_they_come_from_a_peer() {
    let rng = &mut seeded_rng(7);
    let encoded = offer(rng, Mode::Code).encode();
    let mut changed = encoded.clone();
    changed[34 + PUBLIC_KEY_BYTES - 32..34 + PUBLIC_KEY_BYTES].fill(0);
    assert_eq!(Offer::decode(&changed).err(), Some(DecodeError::BadValue("X-Wing public key")));

    let mut changed = accept(rng, Mode::QrNew).encode();
    changed[ENC_BYTES - 32..ENC_BYTES].fill(0);
    assert_eq!(Accept::decode(Mode::QrNew, &changed).err(), Some(DecodeError::BadValue("encapsulated key")));

    let chunk = GrantChunk { index: 0, last: true, enc: Some(enc(rng)), sealed: vec![1; 20] };
    let mut changed = chunk.encode();
    changed[3 + ENC_BYTES - 32..3 + ENC_BYTES].fill(0);
    assert_eq!(GrantChunk::decode(&changed).err(), Some(DecodeError::BadValue("encapsulated key")));

    let mut hello = new_hello(rng);
    hello.name = ClaimedText::new("");
    hello.platform = ClaimedText::new("");
    hello.request = Request::Bundle;
    let identity = 2 + 2 + 1;
    let (wrapping, bundle_key) = (identity + 32, identity + 32 + PUBLIC_KEY_BYTES);
    for (key, field) in [(wrapping, "wrapping key"), (bundle_key, "bundle key")] {
        let mut changed = hello.encode();
        changed[key + PUBLIC_KEY_BYTES - 32..key + PUBLIC_KEY_BYTES].fill(0);
        assert_eq!(NewHello::decode(&changed).err(), Some(DecodeError::BadValue(field)));
    }
    // The identity point as an identity: one signature under it fits every message.
    let mut changed = hello.encode();
    changed[identity..identity + 32].fill(0);
    changed[identity] = 1;
    assert_eq!(NewHello::decode(&changed).err(), Some(DecodeError::BadValue("identity key")));
    let mut trusted = trusted_hello(rng);
    trusted.name = ClaimedText::new("");
    let identity = 32 + 2 + trusted.account_label.as_str().len() + 2;
    let mut changed = trusted.encode();
    changed[identity..identity + 32].fill(0);
    changed[identity] = 1;
    assert_eq!(TrustedHello::decode(&changed).err(), Some(DecodeError::BadValue("identity key")));
}

#[test]
fn the_content_of_a_grant_is_padded_to_the_smallest_bucket_with_zeros() {
    let rng = &mut seeded_rng(8);
    let grant = encoded(&unlock_grant(rng));
    let mut changed = grant.clone();
    *changed.last_mut().unwrap() = 1;
    assert_eq!(Grant::decode(&changed).err(), Some(DecodeError::BadValue("padding")));
    // A byte less, a byte more, and the next bucket.
    for len in [grant.len() - 1, grant.len() + 1, grant.len() + 3 * 1024] {
        let mut changed = grant.clone();
        changed.resize(len, 0);
        assert!(Grant::decode(&changed).is_err(), "{len}");
    }
    // Contents at the edges of the buckets.
    for (value, padded) in [(1, 1024), (5000, 16 * 1024), (16 * 1024, 64 * 1024), (65 * 1024, 256 * 1024)] {
        let mut bundle = bundle(rng);
        bundle.set(entry(1), SecretBytes::new(vec![1; value])).unwrap();
        let content = bundle.encode().unwrap().len();
        let grant = Grant {
            opening: None,
            extensions: Extensions::default(),
            content: GrantContent::Enroll { genesis: vec![], bundle },
            ..enroll_grant(rng)
        };
        let front = GENESIS_LENGTH + 2 + MAX_GENESIS_BYTES + 2 + 4;
        let bucket = encoded(&grant).len() - front;
        assert!(bucket >= content && [1024, 4096, 16384, 65536, 262_144].contains(&bucket), "{content} in {bucket}");
        assert!(bucket >= padded, "{content} in {bucket}");
        assert!(Grant::decode(&encoded(&grant)).is_ok());
    }
}

#[test]
fn flags_are_zero_or_one() {
    let rng = &mut seeded_rng(9);
    let grant = encoded(&Grant { opening: None, ..unlock_grant(rng) });
    for (at, field) in [(96, "opening flag"), (97, "grant content")] {
        let mut changed = grant.clone();
        changed[at] = 2;
        assert_eq!(Grant::decode(&changed).err(), Some(DecodeError::BadValue(field)));
    }
    assert_eq!(GrantChunk::decode(&[0, 1, 2]).err(), Some(DecodeError::BadValue("final flag")));
    assert_eq!(ReleasedItems::decode(&[2]).err(), Some(DecodeError::BadValue("unlock key flag")));
}

#[test]
fn bundles_have_at_most_1024_entries_sorted_and_once() {
    let empty = bundle(&mut seeded_rng(10));
    let front = {
        let mut w = Writer::default();
        w.raw(&empty.account_id.0).bytes16(empty.account_label.as_str().as_bytes());
        w.raw(empty.unlock_key.expose()).bytes16(empty.sign_in_secret.expose());
        w.into_bytes()
    };
    let with_entries = |numbers: &[usize]| {
        let mut w = Writer::default();
        w.raw(&front).u16(u16::try_from(numbers.len()).unwrap());
        for number in numbers {
            w.bytes16(entry(*number).as_str().as_bytes()).bytes32(&[1]);
        }
        w.u16(0);
        CredentialBundle::decode(&w.into_bytes())
    };
    assert!(with_entries(&(0..MAX_ENTRIES).collect::<Vec<_>>()).is_ok());
    assert_eq!(with_entries(&(0..=MAX_ENTRIES).collect::<Vec<_>>()).err(), Some(DecodeError::TooLong("entries")));
    assert_eq!(with_entries(&[2, 1]).err(), Some(DecodeError::BadValue("order of entries")));
    assert_eq!(with_entries(&[1, 1]).err(), Some(DecodeError::BadValue("order of entries")));
}

#[test]
fn sign_in_secrets_and_genesis_statements_have_their_limits() {
    let mut bundle = bundle(&mut seeded_rng(11));
    bundle.sign_in_secret = SecretBytes::new(vec![1; MAX_SIGN_IN_SECRET_BYTES]);
    assert!(bundle.encode().is_ok());
    bundle.sign_in_secret = SecretBytes::new(vec![1; MAX_SIGN_IN_SECRET_BYTES + 1]);
    assert!(bundle.encode().is_err());
    let mut grant = Grant { opening: None, ..enroll_grant(&mut seeded_rng(11)) };
    let GrantContent::Enroll { genesis, .. } = &mut grant.content else { panic!("a bundle") };
    genesis.resize(MAX_GENESIS_BYTES, 1);
    let mut longest = encoded(&grant);
    assert!(Grant::decode(&longest).is_ok());
    longest[GENESIS_LENGTH..GENESIS_LENGTH + 2].copy_from_slice(&(MAX_GENESIS_BYTES as u16 + 1).to_be_bytes());
    assert_eq!(Grant::decode(&longest).err(), Some(DecodeError::TooLong("genesis")));
    let GrantContent::Enroll { genesis, .. } = &mut grant.content else { panic!("a bundle") };
    genesis.push(1);
    assert!(grant.encode().is_none());
}

/// Where the length of the genesis statement lies in a grant without an opening: behind account id, statement, flag and
/// content kind.
const GENESIS_LENGTH: usize = 32 + 64 + 1 + 1;

#[test]
fn a_genesis_statement_has_zeros_behind_it_and_an_unlock_has_only_them() {
    let rng = &mut seeded_rng(18);
    let genesis_end = GENESIS_LENGTH + 2 + MAX_GENESIS_BYTES;
    let enroll = encoded(&Grant { opening: None, ..enroll_grant(rng) });
    let unlock = encoded(&Grant { opening: None, ..unlock_grant(rng) });
    let of_an_unlock: Vec<usize> = (GENESIS_LENGTH..genesis_end).collect();
    for (grant, places) in [(&enroll, vec![genesis_end - 1]), (&unlock, of_an_unlock)] {
        assert!(Grant::decode(grant).is_ok());
        for place in places {
            let mut changed = grant.clone();
            changed[place] = 1;
            assert!(Grant::decode(&changed).is_err(), "{place}");
        }
    }
}

/// A length is checked against its limit and against what is there before anything is allocated for it.
#[test]
fn lengths_that_lie_are_refused() {
    let rng = &mut seeded_rng(12);
    let grant = Grant { opening: None, extensions: Extensions::default(), ..unlock_grant(rng) };
    let content_length = GENESIS_LENGTH + 2 + MAX_GENESIS_BYTES + 2;
    let huge = with_huge_length(encoded(&grant), content_length);
    assert_eq!(Grant::decode(&huge).err(), Some(DecodeError::TooLong("bundle")));
    let mut just_over = encoded(&grant);
    just_over[content_length..content_length + 4]
        .copy_from_slice(&u32::try_from(MAX_BUNDLE_BYTES + 1).unwrap().to_be_bytes());
    assert_eq!(Grant::decode(&just_over).err(), Some(DecodeError::TooLong("bundle")));

    let one_entry = [&[0, 0, 1, 0, 1, b'a'][..], &[0xff; 4], &[1]].concat();
    assert_eq!(ReleasedItems::decode(&one_entry).err(), Some(DecodeError::TooLong("entry")));
    let one_entry = [&[0, 0, 1, 0, 1, b'a'][..], &[0, 3, 0, 0], &[1]].concat();
    assert_eq!(ReleasedItems::decode(&one_entry).err(), Some(DecodeError::Truncated));
    assert_eq!(ReleasedItems::decode(&[0, 0xff, 0xff]).err(), Some(DecodeError::TooLong("entries")));
    assert_eq!(unpad_hello(&[0xff; HELLO_BYTES]), Err(DecodeError::TooLong("hello")));
    let too_large = vec![0; MAX_BUNDLE_BYTES + 1];
    assert_eq!(CredentialBundle::decode(&too_large).err(), Some(DecodeError::TooLong("bundle")));
}

#[test]
fn chunks_and_handshake_messages_fit_a_relay_frame() {
    let rng = &mut seeded_rng(13);
    let sealed = vec![1; CHUNK_BYTES + 16];
    let chunk = GrantChunk { index: 0, last: false, enc: Some(enc(rng)), sealed };
    assert!(envelope(MessageKind::GrantChunk, &chunk.encode()).len() <= MAX_PAYLOAD_BYTES);
    assert!(envelope(MessageKind::Accept, &accept(rng, Mode::Code).encode()).len() <= MAX_PAYLOAD_BYTES);
    let offer = Offer { extensions: Extensions::of(vec![(1, vec![0; 252])]), ..offer(rng, Mode::Code) };
    assert!(envelope(MessageKind::Offer, &offer.encode()).len() <= MAX_PAYLOAD_BYTES);
}

#[test]
fn an_unknown_version_is_named_before_anything_else_is_read() {
    assert_eq!(Envelope::decode(&[2]).err(), Some(EnvelopeError::Version(2)));
    assert_eq!(Envelope::decode(&[0, 0xff]).err(), Some(EnvelopeError::Version(0)));
    assert_eq!(Envelope::decode(&[]).err(), Some(EnvelopeError::Malformed(DecodeError::Truncated)));
    assert_eq!(Envelope::decode(&[1]).err(), Some(EnvelopeError::Malformed(DecodeError::Truncated)));
    let unknown = EnvelopeError::Malformed(DecodeError::BadValue("message kind"));
    assert_eq!(Envelope::decode(&[1, 9]).err(), Some(unknown));
    let body = bytes(&mut seeded_rng(14), 0..30);
    assert_eq!(Envelope::decode(&envelope(MessageKind::Offer, &body)).unwrap().body, body);
}
