//! Published vectors, a second implementation for PSK mode, and the traps of the crates below.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use super::*;
use crate::crypto::test_support::{FixedRng, constants, hex, hex_array, seeded_rng, vectors};
use hpke::aead::Aead;
use hpke::kdf::Kdf;
use hpke::kem::X25519HkdfSha256;
use hpke_rs::hpke_types::{AeadAlgorithm, KdfAlgorithm, KemAlgorithm};
use hpke_rs::libcrux::HpkeLibcrux;
use hpke_rs::{Hpke, HpkePrivateKey, HpkePublicKey, Mode};
use serde_json::{Value, json};
use x25519_dalek::{PublicKey as X25519Public, StaticSecret};

const INFO: &[u8] = b"info";
const PSK_ID: &[u8] = b"psk id";

fn psk() -> Secret<32> {
    Secret::new([0x51; 32])
}

fn secret_key(seed: u8) -> KemSecretKey {
    KemSecretKey::from_seed(&Secret::new([seed; 32]))
}

fn contexts() -> (SenderContext, ReceiverContext) {
    let sk = secret_key(1);
    let (enc, sender) = setup_sender(&sk.public(), INFO, &psk(), PSK_ID, &mut seeded_rng(0)).unwrap();
    (sender, setup_receiver(&sk, &enc, INFO, &psk(), PSK_ID).unwrap())
}

/// The secret that an X-Wing key gets from `enc`.
fn shared_secret(sk: &KemSecretKey, enc: &Enc) -> Vec<u8> {
    let enc = EncappedKey::from_bytes(enc.as_bytes()).unwrap();
    XWing::decap(&sk.0, None, &enc).unwrap_or_else(|_| unreachable!()).0.to_vec()
}

#[test]
fn the_table_of_constants_names_the_suite() {
    let suite = json!({
        "kem_id": XWing::KEM_ID,
        "kdf_id": <HkdfSha256 as Kdf>::KDF_ID,
        "aead_id": <ChaCha20Poly1305 as Aead>::AEAD_ID,
    });
    assert_eq!(constants()["hpke"], suite);
}

#[test]
fn xwing_matches_its_draft() {
    for vector in vectors!("xwing.json")["vectors"].as_array().unwrap() {
        let sk = KemSecretKey::from_seed(&Secret::new(hex_array(vector, "sk")));
        let pk = sk.public();
        assert_eq!(pk.as_bytes(), &hex_array(vector, "pk"));
        assert_eq!(KemPublicKey::parse(pk.as_bytes()).as_ref(), Ok(&pk));

        let mut rng = FixedRng::new(&hex(vector, "eseed"));
        let (enc, _) = setup_sender(&pk, INFO, &psk(), PSK_ID, &mut rng).unwrap();
        assert!(rng.is_used_up());
        assert_eq!(enc.as_bytes(), &hex_array(vector, "ct"));
        let enc = Enc::parse(&hex_array(vector, "ct")).unwrap();
        assert_eq!(shared_secret(&sk, &enc), hex(vector, "ss"));
    }
}

#[test]
fn generated_keys_take_their_seed_from_the_given_source() {
    let generated = KemSecretKey::generate(&mut FixedRng::new(&[9; 32]));
    assert_eq!(generated.public(), secret_key(9).public());
}

/// Runs a published vector through the crate below, with the KDF and AEAD of this module.
fn check_vector<K: Kem>(vector: &Value, key_randomness: &[u8]) {
    let [info, psk, psk_id] = ["info", "psk", "psk_id"].map(|field| match vector.get(field) {
        Some(_) => hex(vector, field),
        None => Vec::new(),
    });
    let bundle = PskBundle::new(&psk, &psk_id).unwrap();
    let (sender_mode, receiver_mode) = match vector["mode"].as_u64().unwrap() {
        0 => (OpModeS::Base, OpModeR::Base),
        1 => (OpModeS::Psk(bundle), OpModeR::Psk(bundle)),
        _ => return, // The Auth modes, which this module does not have.
    };
    let pk = K::PublicKey::from_bytes(&hex(vector, "pkRm")).unwrap();
    let sk = K::PrivateKey::from_bytes(&hex(vector, "skRm")).unwrap();
    assert_eq!(K::sk_to_pk(&sk).to_bytes().as_slice(), hex(vector, "pkRm"));

    let mut rng = FixedRng::new(key_randomness);
    let (enc, mut sender) =
        hpke::setup_sender_with_rng::<ChaCha20Poly1305, HkdfSha256, K>(&sender_mode, &pk, &info, &mut rng).unwrap();
    assert_eq!(enc.to_bytes().as_slice(), hex(vector, "enc"));
    let mut receiver =
        hpke::setup_receiver::<ChaCha20Poly1305, HkdfSha256, K>(&receiver_mode, &sk, &enc, &info).unwrap();

    let mut seq = 0;
    for (position, message) in vector["encryptions"].as_array().unwrap().iter().enumerate() {
        // The vector leaves out some messages; they all seal the same plaintext.
        let wanted = message.get("seq").map_or(position as u64, |seq| seq.as_u64().unwrap());
        while seq < wanted {
            let skipped = sender.seal(b"", b"").unwrap();
            receiver.open(&skipped, b"").unwrap();
            seq += 1;
        }
        let [pt, aad, ct] = ["pt", "aad", "ct"].map(|field| hex(message, field));
        assert_eq!(sender.seal(&pt, &aad).unwrap(), ct, "seq {seq}");
        assert_eq!(receiver.open(&ct, &aad).unwrap(), pt, "seq {seq}");
        seq += 1;
    }
    for export in vector["exports"].as_array().unwrap() {
        let context = hex(export, "exporter_context");
        let (mut sent, mut received) = ([0; 32], [0; 32]);
        sender.export(&context, &mut sent).unwrap();
        receiver.export(&context, &mut received).unwrap();
        assert_eq!(sent.as_slice(), hex(export, "exported_value"));
        assert_eq!(received, sent);
    }
}

#[test]
fn key_schedule_matches_rfc_9180_with_x25519() {
    for vector in vectors!("hpke_x25519_sha256_chacha_small.json")["vectors"].as_array().unwrap() {
        check_vector::<X25519HkdfSha256>(vector, &hex(vector, "ikmE"));
    }
}

#[test]
fn base_mode_matches_the_hpke_pq_draft_with_xwing() {
    let file = vectors!("hpke_pq_xwing.json");
    let ours = |vector: &&Value| vector["kem_id"] == 0x647a && vector["kdf_id"] == 1 && vector["aead_id"] == 3;
    let vectors: Vec<&Value> = file["vectors"].as_array().unwrap().iter().filter(ours).collect();
    assert_eq!(vectors.len(), 1);
    check_vector::<XWing>(vectors[0], &hex(vectors[0], "ikmE"));
}

fn second_implementation() -> Hpke<HpkeLibcrux> {
    let (kem, kdf) = (KemAlgorithm::XWingDraft06, KdfAlgorithm::HkdfSha256);
    assert_eq!(kem as u16, 0x647a);
    Hpke::new(Mode::Psk, kem, kdf, AeadAlgorithm::ChaCha20Poly1305)
}

/// `hpke-rs` over libcrux: another HPKE, another X-Wing, another AEAD.
#[test]
fn a_second_implementation_opens_what_we_seal_in_psk_mode() {
    let seed = [3; 32];
    let pk = KemSecretKey::from_seed(&Secret::new(seed)).public();
    let (enc, mut sender) = setup_sender(&pk, INFO, &psk(), PSK_ID, &mut seeded_rng(1)).unwrap();
    let theirs = HpkePrivateKey::new(seed.to_vec());
    let mut receiver = second_implementation()
        .setup_receiver(enc.as_bytes(), &theirs, INFO, Some(psk().expose()), Some(PSK_ID), None)
        .unwrap();
    for message in [b"first".as_slice(), b"", b"third"] {
        let sealed = sender.seal(b"aad", message).unwrap();
        assert_eq!(receiver.open(b"aad", &sealed).unwrap(), message);
    }
    assert_eq!(sender.export::<64>(b"context").unwrap().expose().as_slice(), receiver.export(b"context", 64).unwrap());
}

#[test]
fn we_open_what_a_second_implementation_seals_in_psk_mode() {
    let sk = secret_key(4);
    let theirs = HpkePublicKey::new(sk.public().as_bytes().to_vec());
    let (enc, mut sender) =
        second_implementation().setup_sender(&theirs, INFO, Some(psk().expose()), Some(PSK_ID), None).unwrap();
    let enc = Enc::parse(&enc.try_into().unwrap()).unwrap();
    let mut receiver = setup_receiver(&sk, &enc, INFO, &psk(), PSK_ID).unwrap();
    for message in [b"first".as_slice(), b"", b"third"] {
        let sealed = sender.seal(b"aad", message).unwrap();
        assert_eq!(receiver.open(b"aad", &sealed).unwrap().expose(), message);
    }
    assert_eq!(receiver.export::<64>(b"context").unwrap().expose().as_slice(), sender.export(b"context", 64).unwrap());
}

#[test]
fn another_key_psk_info_psk_id_or_enc_opens_nothing() {
    let sk = secret_key(1);
    let (enc, mut sender) = setup_sender(&sk.public(), INFO, &psk(), PSK_ID, &mut seeded_rng(0)).unwrap();
    let sealed = sender.seal(b"aad", b"content").unwrap();
    let export: Secret<32> = sender.export(b"context").unwrap();
    let receive = |sk: &KemSecretKey, enc: &Enc, info: &[u8], psk: &Secret<32>, psk_id: &[u8]| {
        setup_receiver(sk, enc, info, psk, psk_id).unwrap()
    };

    let mut receiver = receive(&sk, &enc, INFO, &psk(), PSK_ID);
    assert_eq!(receiver.export(b"context"), Ok(export.clone()));
    assert_ne!(receiver.export(b"contexT"), Ok(export.clone()));
    assert_eq!(receiver.open(b"aad", &sealed).unwrap().expose(), b"content");

    let mut forged = *enc.as_bytes();
    forged[0] ^= 1;
    for mut receiver in [
        receive(&secret_key(2), &enc, INFO, &psk(), PSK_ID),
        receive(&sk, &enc, INFO, &Secret::new([0x52; 32]), PSK_ID),
        receive(&sk, &enc, b"infO", &psk(), PSK_ID),
        receive(&sk, &enc, INFO, &psk(), b"psk iD"),
        receive(&sk, &Enc::parse(&forged).unwrap(), INFO, &psk(), PSK_ID),
    ] {
        assert_eq!(receiver.open(b"aad", &sealed), Err(CryptoError));
        assert_ne!(receiver.export(b"context"), Ok(export.clone()));
    }
}

#[test]
fn messages_open_once_and_in_order() {
    let (mut sender, mut receiver) = contexts();
    let first = sender.seal(b"aad", b"first").unwrap();
    let second = sender.seal(b"aad", b"second").unwrap();
    assert_eq!(receiver.open(b"aad", &second), Err(CryptoError));
    assert_eq!(receiver.open(b"aaD", &first), Err(CryptoError));
    assert_eq!(receiver.open(b"aad", &first[..15]), Err(CryptoError));
    assert_eq!(receiver.open(b"aad", &first).unwrap().expose(), b"first");
    assert_eq!(receiver.open(b"aad", &first), Err(CryptoError));
    assert_eq!(receiver.open(b"aad", &second).unwrap().expose(), b"second");
}

#[test]
fn exports_are_no_longer_than_the_kdf_allows() {
    let (sender, receiver) = contexts();
    assert_eq!(sender.export::<8160>(b""), receiver.export::<8160>(b""));
    assert_eq!(sender.export::<8161>(b""), Err(CryptoError));
}

/// The crate below takes an empty PSK, and one of a single byte. Ours are [`Secret<32>`]: no other length compiles.
#[test]
fn psks_always_have_32_bytes() {
    assert!(PskBundle::new(b"", b"").is_ok());
    assert!(PskBundle::new(b"1", b"id").is_ok());
    type SetUp = fn(&KemSecretKey, &Enc, &[u8], &Secret<32>, &[u8]) -> Result<ReceiverContext, CryptoError>;
    let _: SetUp = setup_receiver;
}

#[test]
fn an_empty_psk_id_is_refused() {
    let sk = secret_key(1);
    let rng = &mut seeded_rng(0);
    assert!(setup_sender(&sk.public(), INFO, &psk(), b"", rng).is_err());
    let (enc, _) = setup_sender(&sk.public(), INFO, &psk(), PSK_ID, rng).unwrap();
    assert!(setup_receiver(&sk, &enc, INFO, &psk(), b"").is_err());
}

/// Why nothing here offers an Auth mode.
#[test]
#[should_panic(expected = "authenticated")]
fn auth_mode_with_xwing_panics_in_the_crate_below() {
    let (ours, theirs) = (secret_key(1), secret_key(2));
    let mode = OpModeS::Auth((ours.0.clone(), ours.public().parsed));
    let pk = theirs.public().parsed;
    let _ = hpke::setup_sender_with_rng::<ChaCha20Poly1305, HkdfSha256, XWing>(&mode, &pk, b"", &mut seeded_rng(0));
}

#[test]
fn low_order_x25519_parts_are_refused_in_every_encoding() {
    let pk = secret_key(1).public();
    let (enc, _) = setup_sender(&pk, INFO, &psk(), PSK_ID, &mut seeded_rng(0)).unwrap();
    let parse_both = |point: &[u8; 32]| {
        let (mut pk, mut enc) = (*pk.as_bytes(), *enc.as_bytes());
        pk[PUBLIC_KEY_BYTES - 32..].copy_from_slice(point);
        enc[ENC_BYTES - 32..].copy_from_slice(point);
        (KemPublicKey::parse(&pk).map(drop), Enc::parse(&enc).map(drop))
    };
    let contributes = |point: [u8; 32]| {
        let scalars = [StaticSecret::from([0x77; 32]), StaticSecret::from([0x88; 32])];
        scalars.map(|scalar| scalar.diffie_hellman(&X25519Public::from(point)).was_contributory())
    };

    for point in LOW_ORDER {
        for high_bit in [0, 0x80] {
            let mut point = point;
            point[31] |= high_bit;
            assert_eq!(contributes(point), [false; 2], "{point:?}");
            assert_eq!(parse_both(&point), (Err(CryptoError), Err(CryptoError)), "{point:?}");
        }
    }
    // The base point, other small numbers, and the other numbers from p on.
    for point in (2..20).map(|n| little_endian(n, 0, 0)).chain((0xef..=0xff).map(|n| little_endian(n, 0xff, 0x7f))) {
        assert_eq!(contributes(point), [true; 2], "{point:?}");
        assert_eq!(parse_both(&point), (Ok(()), Ok(())), "{point:?}");
    }
}

#[test]
fn public_keys_with_a_coefficient_outside_the_field_are_refused() {
    let pk = *secret_key(1).public().as_bytes();
    assert!(KemPublicKey::parse(&pk).is_ok());
    // Two 12-bit coefficients in three bytes, 768 of them; the modulus is 3329.
    for coefficient in [0, 1, 255, 256, 511, 766, 767] {
        for value in [3329_u16, 3330, 4095] {
            let mut pk = pk;
            let at = coefficient / 2 * 3;
            let [low, high] = value.to_le_bytes();
            if coefficient % 2 == 0 {
                pk[at] = low;
                pk[at + 1] = pk[at + 1] & 0xf0 | high;
            } else {
                pk[at + 1] = pk[at + 1] & 0x0f | low << 4;
                pk[at + 2] = low >> 4 | high << 4;
            }
            assert_eq!(KemPublicKey::parse(&pk), Err(CryptoError), "{value} at {coefficient}");
        }
    }
}
