//! The draft's vectors with all their intermediate values, a second implementation, and what a hostile peer may send.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use super::*;
use crate::crypto::test_support::{FixedRng, hex, hex_array, seeded_rng, vectors};
use pakery_cpace::{CpaceInitiator, CpaceMode, CpaceResponder};
use pakery_crypto::CpaceRistretto255;
use proptest::prelude::*;
use serde_json::Value;

fn draft() -> Value {
    vectors!("cpace_ristr255_sha512.json")
}

fn collect(write: impl FnOnce(Sink<'_>)) -> Vec<u8> {
    let mut bytes = Vec::new();
    write(&mut |piece| bytes.extend_from_slice(piece));
    bytes
}

/// An exchange of the draft's parties with the draft's scalar.
fn draft_exchange(scalar: &str) -> (Exchange, [u8; 32]) {
    let d = draft();
    let mut rng = FixedRng::new(&hex(&d, scalar));
    Exchange::start(&hex(&d, "PRS"), &hex(&d, "CI"), &hex(&d, "sid"), &mut rng)
}

/// The draft's transcript for parties without roles, which this crate does not use.
fn transcript_oc(a: [&[u8]; 2], b: [&[u8]; 2], sink: Sink<'_>) {
    let lv_cat = |fields: [&[u8]; 2]| collect(|sink| fields.iter().for_each(|field| prepend_len(field, sink)));
    let (a, b) = (lv_cat(a), lv_cat(b));
    let (larger, smaller) = if a > b { (a, b) } else { (b, a) };
    sink(b"oc");
    sink(&larger);
    sink(&smaller);
}

#[test]
fn string_utilities_match_the_draft() {
    let utils = vectors!("cpace_string_utils.json");
    for vector in utils["prepend_len"].as_array().unwrap() {
        assert_eq!(collect(|sink| prepend_len(&hex(vector, "in"), sink)), hex(vector, "out"));
    }
    for vector in utils["lv_cat"].as_array().unwrap() {
        let fields = vector["in"].as_array().unwrap().iter().map(|field| hex::decode(field.as_str().unwrap()).unwrap());
        assert_eq!(collect(|sink| fields.for_each(|field| prepend_len(&field, sink))), hex(vector, "out"));
    }
    for vector in utils["transcript_ir"].as_array().unwrap() {
        let [ya, ada, yb, adb] = ["Ya", "ADa", "Yb", "ADb"].map(|field| hex(vector, field));
        assert_eq!(collect(|sink| transcript_ir(&ya, &ada, &yb, &adb, sink)), hex(vector, "out"));
    }
    for vector in utils["transcript_oc"].as_array().unwrap() {
        let [ya, ada, yb, adb] = ["Ya", "ADa", "Yb", "ADb"].map(|field| hex(vector, field));
        assert_eq!(collect(|sink| transcript_oc([&ya, &ada], [&yb, &adb], sink)), hex(vector, "out"));
    }
}

#[test]
fn lengths_are_leb128() {
    for (len, prefix) in [(0x7f, &[0x7f][..]), (0x80, &[0x80, 1]), (0x3fff, &[0xff, 0x7f]), (0x4000, &[0x80, 0x80, 1])]
    {
        let field = alloc::vec![0; len];
        assert_eq!(collect(|sink| prepend_len(&field, sink)), [prefix, &field].concat());
    }
}

#[test]
fn generator_matches_the_draft() {
    let d = draft();
    let [prs, ci, sid] = ["PRS", "CI", "sid"].map(|field| hex(&d, field));
    let string = collect(|sink| generator_string(&prs, &ci, &sid, sink));
    assert_eq!(string, hex(&d, "generator_string"));
    assert_eq!(Sha512::digest(string).as_slice(), hex(&d, "generator_string_hash"));
    assert_eq!(calculate_generator(&prs, &ci, &sid).compress().to_bytes(), hex_array(&d, "g"));
}

#[test]
fn shares_match_the_draft() {
    let d = draft();
    assert_eq!(draft_exchange("ya").1, hex_array(&d, "Ya"));
    assert_eq!(draft_exchange("yb").1, hex_array(&d, "Yb"));
}

#[test]
fn scalars_are_32_bytes_without_the_bits_from_252_on() {
    let d = draft();
    let mut bytes: [u8; 32] = hex_array(&d, "ya");
    let expected = sample_scalar(&mut FixedRng::new(&bytes));
    assert_eq!(expected.to_bytes(), bytes);
    bytes[31] |= 0xf0;
    assert_eq!(sample_scalar(&mut FixedRng::new(&bytes)), expected);
    let mut rng = FixedRng::new(&[0xff; 32]);
    let mut largest = [0xff; 32];
    largest[31] = 0x0f;
    assert_eq!(sample_scalar(&mut rng).to_bytes(), largest);
    assert!(rng.is_used_up());
}

#[test]
fn shared_element_matches_the_draft() {
    let d = draft();
    let (initiator, ya) = draft_exchange("ya");
    let (responder, yb) = draft_exchange("yb");
    assert_eq!(*initiator.shared_element(&yb).unwrap(), hex_array::<32>(&d, "K"));
    assert_eq!(*responder.shared_element(&ya).unwrap(), hex_array::<32>(&d, "K"));
}

#[test]
fn isk_and_transcripts_match_the_draft() {
    let d = draft();
    let [ya, ada, yb, adb, sid] = ["Ya", "ADa", "Yb", "ADb", "sid"].map(|field| hex(&d, field));
    let (initiator, share_a) = draft_exchange("ya");
    let (responder, share_b) = draft_exchange("yb");
    let isk = Secret::new(hex_array(&d, "ISK_IR"));
    assert_eq!(initiator.initiator_isk(&ada, &share_b, &adb).as_ref(), Ok(&isk));
    assert_eq!(responder.responder_isk(&adb, &share_a, &ada).as_ref(), Ok(&isk));

    let ir = collect(|sink| transcript_ir(&ya, &ada, &yb, &adb, sink));
    let oc = collect(|sink| transcript_oc([&ya, &ada], [&yb, &adb], sink));
    assert_eq!((&ir, &oc), (&hex(&d, "transcript_ir"), &hex(&d, "transcript_oc")));
    let symmetric = session_key(&sid, &hex_array(&d, "K"), |sink| sink(&oc));
    assert_eq!(symmetric, Secret::new(hex_array(&d, "ISK_SY")));
    for (transcript, sid_output) in [(ir, "sid_output_ir"), (oc, "sid_output_oc")] {
        let hash = Sha512::new().chain_update("CPaceSidOutput").chain_update(transcript).finalize();
        assert_eq!(hash.as_slice(), hex(&d, sid_output));
    }
}

#[test]
fn scalar_mult_vfy_matches_the_draft() {
    let d = draft();
    let valid = &d["scalar_mult_vfy_valid"];
    let scalar = Scalar::from_bytes_mod_order(hex_array(valid, "s"));
    let k = scalar_mult_vfy(&scalar, &hex_array(valid, "X"));
    assert_eq!(*k.unwrap(), hex_array::<32>(valid, "scalar_mult_vfy"));
    for invalid in d["scalar_mult_vfy_invalid"].as_array().unwrap() {
        assert_eq!(scalar_mult_vfy(&scalar, &hex_array(invalid, "Y")), Err(CryptoError), "{invalid}");
    }
}

#[test]
fn identity_and_undecodable_shares_end_the_exchange_on_both_sides() {
    let d = draft();
    let mut invalid: Vec<[u8; 32]> =
        d["scalar_mult_vfy_invalid"].as_array().unwrap().iter().map(|vector| hex_array(vector, "Y")).collect();
    // The field's modulus, a second encoding of 0; a valid share with its highest bit set; an odd one.
    let mut modulus = [0xff; 32];
    (modulus[0], modulus[31]) = (0xed, 0x7f);
    let mut high_bit: [u8; 32] = hex_array(&d, "Yb");
    high_bit[31] |= 0x80;
    let mut odd: [u8; 32] = hex_array(&d, "Yb");
    odd[0] |= 1;
    invalid.extend([modulus, high_bit, odd, [0xff; 32]]);
    for share in invalid {
        assert_eq!(draft_exchange("ya").0.initiator_isk(b"ADa", &share, b"ADb"), Err(CryptoError), "{share:?}");
        assert_eq!(draft_exchange("yb").0.responder_isk(b"ADb", &share, b"ADa"), Err(CryptoError), "{share:?}");
    }
}

#[test]
fn our_own_share_sent_back_ends_the_exchange() {
    let (exchange, share) = draft_exchange("ya");
    assert_eq!(exchange.initiator_isk(b"AD", &share, b"AD"), Err(CryptoError));
    let (exchange, share) = draft_exchange("yb");
    assert_eq!(exchange.responder_isk(b"AD", &share, b"AD"), Err(CryptoError));
}

#[test]
fn every_input_of_either_side_enters_the_key() {
    let isk = |prs: &[u8], ci: &[u8], sid: &[u8], ads: [&[u8]; 2]| {
        let (ours, _) = Exchange::start(prs, ci, sid, &mut seeded_rng(1));
        let (_, theirs) = Exchange::start(b"prs", b"ci", b"sid", &mut seeded_rng(2));
        ours.initiator_isk(ads[0], &theirs, ads[1]).unwrap()
    };
    let key = isk(b"prs", b"ci", b"sid", [b"a", b"b"]);
    assert_eq!(key, isk(b"prs", b"ci", b"sid", [b"a", b"b"]));
    for other in [
        isk(b"prS", b"ci", b"sid", [b"a", b"b"]),
        isk(b"prs", b"cI", b"sid", [b"a", b"b"]),
        isk(b"prs", b"ci", b"siD", [b"a", b"b"]),
        isk(b"prs", b"cisid", b"", [b"a", b"b"]),
        isk(b"prs", b"ci", b"sid", [b"b", b"b"]),
        isk(b"prs", b"ci", b"sid", [b"a", b"a"]),
        isk(b"prs", b"ci", b"sid", [b"b", b"a"]),
        isk(b"prs", b"ci", b"sid", [b"ab", b""]),
    ] {
        assert_ne!(key, other);
    }
}

#[test]
fn the_role_enters_the_key() {
    let start = |seed| Exchange::start(b"prs", b"ci", b"sid", &mut seeded_rng(seed));
    let ((a, share_a), (b, share_b)) = (start(1), start(2));
    let as_first = a.initiator_isk(b"AD", &share_b, b"AD").unwrap();
    assert_ne!(as_first, b.initiator_isk(b"AD", &share_a, b"AD").unwrap());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// `pakery-cpace` is an implementation that shares no code with this one above the curve.
    #[test]
    fn keys_match_a_second_implementation(
        prs in proptest::collection::vec(any::<u8>(), 0..300),
        ci in proptest::collection::vec(any::<u8>(), 0..200),
        sid in proptest::collection::vec(any::<u8>(), 0..40),
        ad_a in proptest::collection::vec(any::<u8>(), 0..200),
        ad_b in proptest::collection::vec(any::<u8>(), 0..200),
        seed: u64,
    ) {
        let mode = CpaceMode::InitiatorResponder;
        let rng = &mut seeded_rng(seed);

        let (ours, our_share) = Exchange::start(&prs, &ci, &sid, rng);
        let (their_share, theirs) =
            CpaceResponder::<CpaceRistretto255>::respond(&our_share, &prs, &ci, &sid, &ad_a, &ad_b, mode, rng).unwrap();
        let isk = ours.initiator_isk(&ad_a, &their_share.try_into().unwrap(), &ad_b).unwrap();
        prop_assert_eq!(isk.expose().as_slice(), theirs.isk.as_bytes());

        let (their_share, theirs) =
            CpaceInitiator::<CpaceRistretto255>::start(&prs, &ci, &sid, &ad_a, rng).unwrap();
        let (ours, our_share) = Exchange::start(&prs, &ci, &sid, rng);
        let isk = ours.responder_isk(&ad_b, &their_share.try_into().unwrap(), &ad_a).unwrap();
        let theirs = theirs.finish(&our_share, &ad_b, mode).unwrap();
        prop_assert_eq!(isk.expose().as_slice(), theirs.isk.as_bytes());
    }
}
