//! Each codec: what encodes decodes to the same value, and whatever decodes has no other encoding.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use super::grant::GrantChunk;
use super::*;
use crate::bundle::{CredentialBundle, ReleasedItems};
use crate::crypto::hpke::{ENC_BYTES, Enc, KemPublicKey, KemSecretKey};
use crate::crypto::test_support::seeded_rng;
use crate::device::{AccountId, DeviceKey, Genesis};
use crate::pairing::{Kind, Mode, Purpose};
use crate::secret::{Secret, SecretBytes};
use crate::text::{AccountLabel, ClaimedText, EntryName};
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec;
use proptest::prelude::*;
use rand::RngExt;
use rand::rngs::ChaCha12Rng;
use rand_core::Rng;

/// A valid encoding made from a random source, and the encoding of what some bytes decode to.
struct Codec {
    name: &'static str,
    valid: fn(&mut ChaCha12Rng) -> Vec<u8>,
    again: fn(&[u8]) -> Option<Vec<u8>>,
}

const CODECS: [Codec; 19] = [
    Codec {
        name: "envelope",
        valid: |rng| envelope(MessageKind::from_code(rng.random_range(0..9)).unwrap(), &bytes(rng, 0..50)),
        again: |bytes| Envelope::decode(bytes).ok().map(|read| envelope(read.kind, read.body)),
    },
    Codec { name: "extensions", valid: |rng| written(|w| extensions(rng).write(w)), again: extensions_again },
    Codec { name: "request", valid: |rng| written(|w| request(rng).write(w)), again: request_again },
    Codec { name: "offer with share", valid: |rng| offer(rng, Mode::Code).encode(), again: offer_again },
    Codec { name: "offer", valid: |rng| offer(rng, Mode::QrTrusted).encode(), again: offer_again },
    Codec {
        name: "accept with share",
        valid: |rng| accept(rng, Mode::Code).encode(),
        again: |bytes| Accept::decode(Mode::Code, bytes).ok().map(|read| read.encode()),
    },
    Codec {
        name: "accept",
        valid: |rng| accept(rng, Mode::QrNew).encode(),
        again: |bytes| Accept::decode(Mode::QrNew, bytes).ok().map(|read| read.encode()),
    },
    Codec {
        name: "reply",
        valid: |rng| bytes(rng, HELLO_BYTES + 16..HELLO_BYTES + 17),
        again: |bytes| Reply::decode(bytes).ok().map(|read| read.sealed_hello),
    },
    Codec {
        name: "hello of the new device",
        valid: |rng| new_hello(rng).encode(),
        again: |bytes| NewHello::decode(bytes).ok().map(|read| read.encode()),
    },
    Codec {
        name: "hello of the trusted device",
        valid: |rng| trusted_hello(rng).encode(),
        again: |bytes| TrustedHello::decode(bytes).ok().map(|read| read.encode()),
    },
    Codec {
        name: "padded hello",
        valid: |rng| pad_hello(&new_hello(rng).encode()).unwrap().expose().to_vec(),
        again: |bytes| pad_hello(unpad_hello(bytes).ok()?).map(|padded| padded.expose().to_vec()),
    },
    Codec { name: "grant to enroll", valid: |rng| encoded(&enroll_grant(rng)), again: grant_again },
    Codec { name: "grant to unlock", valid: |rng| encoded(&unlock_grant(rng)), again: grant_again },
    Codec { name: "first chunk", valid: |rng| chunk(rng, 0).encode(), again: chunk_again },
    Codec { name: "later chunk", valid: |rng| chunk(rng, 7).encode(), again: chunk_again },
    Codec {
        name: "bundle",
        valid: |rng| bundle(rng).encode().unwrap().expose().to_vec(),
        again: |bytes| CredentialBundle::decode(bytes).ok().map(|read| read.encode().unwrap().expose().to_vec()),
    },
    Codec {
        name: "released items",
        valid: |rng| items(rng).encode().unwrap().expose().to_vec(),
        again: |bytes| ReleasedItems::decode(bytes).ok().map(|read| read.encode().unwrap().expose().to_vec()),
    },
    Codec {
        name: "genesis",
        valid: |rng| Genesis::sign(label(rng), &DeviceKey::generate(rng), rng).encode(),
        again: |bytes| Genesis::decode(bytes).ok().map(|read| read.encode()),
    },
    Codec {
        name: "abort reason",
        valid: |rng| vec![rng.random_range(0..8)],
        again: |bytes| match bytes {
            [code] => AbortReason::from_code(*code).ok().map(|reason| vec![reason.code()]),
            _ => None,
        },
    },
];

/// One change to an encoding. Places are taken modulo its length.
#[derive(Clone, Debug)]
enum Change {
    Flip(usize, u8),
    Set(usize, u8),
    Cut(usize),
    Insert(usize, Vec<u8>),
    Remove(usize),
}

impl Change {
    fn make(&self, bytes: &mut Vec<u8>) {
        let places = bytes.len() + 1;
        let place = |at: usize| at % places;
        match self {
            Self::Flip(at, bit) => {
                if let Some(byte) = bytes.get_mut(place(*at)) {
                    *byte ^= 1 << (bit % 8);
                }
            }
            Self::Set(at, value) => {
                if let Some(byte) = bytes.get_mut(place(*at)) {
                    *byte = *value;
                }
            }
            Self::Cut(at) => bytes.truncate(place(*at)),
            Self::Insert(at, new) => {
                let at = place(*at);
                bytes.splice(at..at, new.iter().copied());
            }
            Self::Remove(at) => {
                let at = place(*at);
                bytes.drain(at..(at + 1).min(bytes.len()));
            }
        }
    }
}

fn any_change() -> impl Strategy<Value = Change> {
    // Most fields that say how the rest is read are at the beginning.
    let place = prop_oneof![0..80_usize, any::<usize>()];
    prop_oneof![
        (place.clone(), any::<u8>()).prop_map(|(at, bit)| Change::Flip(at, bit)),
        (place.clone(), any::<u8>()).prop_map(|(at, value)| Change::Set(at, value)),
        place.clone().prop_map(Change::Cut),
        (place.clone(), prop::collection::vec(any::<u8>(), 1..5)).prop_map(|(at, new)| Change::Insert(at, new)),
        place.prop_map(Change::Remove),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn what_is_encoded_decodes_to_the_same(which in 0..CODECS.len(), seed in any::<u64>()) {
        let codec = &CODECS[which];
        let valid = (codec.valid)(&mut seeded_rng(seed));
        prop_assert!((codec.again)(&valid) == Some(valid), "{}", codec.name);
    }

    #[test]
    fn whatever_decodes_has_no_other_encoding(
        which in 0..CODECS.len(),
        seed in any::<u64>(),
        changes in prop::collection::vec(any_change(), 1..4),
    ) {
        let codec = &CODECS[which];
        let mut changed = (codec.valid)(&mut seeded_rng(seed));
        changes.iter().for_each(|change| change.make(&mut changed));
        if let Some(again) = (codec.again)(&changed) {
            prop_assert!(again == changed, "{}", codec.name);
        }
    }

    #[test]
    fn arbitrary_bytes_decode_to_nothing_or_to_themselves(
        which in 0..CODECS.len(),
        bytes in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let codec = &CODECS[which];
        if let Some(again) = (codec.again)(&bytes) {
            prop_assert!(again == bytes, "{}", codec.name);
        }
    }
}

/// Every shorter prefix of a valid encoding is refused, unless the message is by nature a prefix of another.
#[test]
fn no_prefix_of_a_value_is_a_value() {
    for codec in CODECS.iter().filter(|codec| !matches!(codec.name, "envelope" | "first chunk" | "later chunk")) {
        for seed in 0..4 {
            let valid = (codec.valid)(&mut seeded_rng(seed));
            for len in (0..valid.len()).filter(|len| *len < 200 || valid.len() - len < 70 || len % 31 == 0) {
                assert_eq!((codec.again)(&valid[..len]), None, "{} cut to {len}", codec.name);
            }
            let mut longer = valid.clone();
            longer.push(0);
            assert_eq!((codec.again)(&longer), None, "{} with a byte more", codec.name);
        }
    }
}

fn written(write: impl FnOnce(&mut Writer)) -> Vec<u8> {
    let mut w = Writer::default();
    write(&mut w);
    w.into_bytes()
}

fn extensions_again(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut r = Reader::new(bytes);
    let read = Extensions::read(&mut r).ok()?;
    r.finish().ok()?;
    Some(written(|w| read.write(w)))
}

fn request_again(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut r = Reader::new(bytes);
    let read = Request::read(&mut r).ok()?;
    r.finish().ok()?;
    Some(written(|w| read.write(w)))
}

fn offer_again(bytes: &[u8]) -> Option<Vec<u8>> {
    Offer::decode(bytes).ok().map(|read| read.encode())
}

fn grant_again(bytes: &[u8]) -> Option<Vec<u8>> {
    Grant::decode(bytes).ok().map(|read| encoded(&read))
}

fn chunk_again(bytes: &[u8]) -> Option<Vec<u8>> {
    GrantChunk::decode(bytes).ok().map(|read| read.encode())
}

pub(super) fn encoded(grant: &Grant) -> Vec<u8> {
    grant.encode().unwrap().expose().to_vec()
}

pub(super) fn bytes(rng: &mut ChaCha12Rng, len: core::ops::Range<usize>) -> Vec<u8> {
    let mut bytes = vec![0; rng.random_range(len)];
    rng.fill_bytes(&mut bytes);
    bytes
}

fn array<const N: usize>(rng: &mut ChaCha12Rng) -> [u8; N] {
    let mut bytes = [0; N];
    rng.fill_bytes(&mut bytes);
    bytes
}

pub(super) fn public_key(rng: &mut ChaCha12Rng) -> KemPublicKey {
    KemSecretKey::generate(rng).public()
}

pub(super) fn enc(rng: &mut ChaCha12Rng) -> Enc {
    Enc::parse(&array::<ENC_BYTES>(rng)).unwrap()
}

fn label(rng: &mut ChaCha12Rng) -> AccountLabel {
    AccountLabel::new(&format!("account {}", rng.random_range(0..10_u64.pow(12)))).unwrap()
}

/// Any text of few characters, printable or not.
fn claimed(rng: &mut ChaCha12Rng) -> ClaimedText {
    let text: String = (0..rng.random_range(0..8)).map(|_| rng.random::<char>()).collect();
    ClaimedText::new(&text)
}

fn entry_name(number: usize) -> EntryName {
    EntryName::new(&format!("entry {number:03}")).unwrap()
}

pub(super) fn extensions(rng: &mut ChaCha12Rng) -> Extensions {
    let kinds: BTreeMap<u16, Vec<u8>> =
        (0..rng.random_range(0..4)).map(|_| (rng.random_range(0..0x8000), bytes(rng, 0..40))).collect();
    Extensions::of(kinds.into_iter().collect())
}

fn request(rng: &mut ChaCha12Rng) -> Request {
    let count = rng.random_range(0..=MAX_REQUESTED_ENTRIES);
    let names = (0..count).map(|_| entry_name(rng.random_range(0..999))).collect();
    Request::items(rng.random(), names).unwrap_or(Request::Bundle)
}

pub(super) fn offer(rng: &mut ChaCha12Rng, mode: Mode) -> Offer {
    Offer {
        kind: Kind::new(mode, Purpose::Enroll).unwrap(),
        nonce: array(rng),
        public_key: public_key(rng),
        share: (mode == Mode::Code).then(|| array(rng)),
        extensions: extensions(rng),
    }
}

pub(super) fn accept(rng: &mut ChaCha12Rng, mode: Mode) -> Accept {
    Accept {
        share: (mode == Mode::Code).then(|| array(rng)),
        enc: enc(rng),
        sealed_hello: bytes(rng, HELLO_BYTES + 16..HELLO_BYTES + 17),
    }
}

pub(super) fn new_hello(rng: &mut ChaCha12Rng) -> NewHello {
    NewHello {
        name: claimed(rng),
        platform: claimed(rng),
        request: request(rng),
        identity: DeviceKey::generate(rng).identity(),
        wrapping: public_key(rng),
        bundle_key: public_key(rng),
        knows_peer: rng.random(),
        extensions: extensions(rng),
        signature: array(rng),
    }
}

pub(super) fn trusted_hello(rng: &mut ChaCha12Rng) -> TrustedHello {
    TrustedHello {
        account_id: AccountId(array(rng)),
        account_label: label(rng),
        name: claimed(rng),
        identity: DeviceKey::generate(rng).identity(),
        commitment: rng.random::<bool>().then(|| array(rng)),
        extensions: extensions(rng),
        signature: array(rng),
    }
}

pub(super) fn bundle(rng: &mut ChaCha12Rng) -> CredentialBundle {
    let sign_in = SecretBytes::new(bytes(rng, 0..60));
    let mut bundle = CredentialBundle::new(AccountId(array(rng)), label(rng), Secret::random(rng), sign_in);
    for _ in 0..rng.random_range(0..5) {
        bundle.set(entry_name(rng.random_range(0..999)), SecretBytes::new(bytes(rng, 0..600))).unwrap();
    }
    bundle
}

fn items(rng: &mut ChaCha12Rng) -> ReleasedItems {
    let bundle = bundle(rng);
    let entries = bundle.entries().map(|(name, value)| (name.clone(), value.clone())).collect();
    ReleasedItems { unlock_key: rng.random::<bool>().then(|| bundle.unlock_key.clone()), entries }
}

fn grant(rng: &mut ChaCha12Rng, content: GrantContent) -> Grant {
    Grant {
        account_id: AccountId(array(rng)),
        signature: array(rng),
        opening: rng.random::<bool>().then(|| array(rng)),
        content,
        extensions: extensions(rng),
    }
}

pub(super) fn enroll_grant(rng: &mut ChaCha12Rng) -> Grant {
    let content = GrantContent::Enroll { genesis: bytes(rng, 0..200), bundle: bundle(rng) };
    grant(rng, content)
}

pub(super) fn unlock_grant(rng: &mut ChaCha12Rng) -> Grant {
    let content = GrantContent::Unlock(items(rng));
    grant(rng, content)
}

fn chunk(rng: &mut ChaCha12Rng, index: u16) -> GrantChunk {
    let enc = (index == 0).then(|| enc(rng));
    GrantChunk { index, last: rng.random(), enc, sealed: bytes(rng, 0..100) }
}
