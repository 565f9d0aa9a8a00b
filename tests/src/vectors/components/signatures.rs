//! Strict Ed25519: `spec/protocol.md`, "Primitives".

use super::bytes;
use crate::vectors::derivation::{cat, public_identity, sign, signed_bytes};
use crate::vectors::format::Hex;
use curve25519_dalek::EdwardsPoint;
use curve25519_dalek::constants::{ED25519_BASEPOINT_POINT, EIGHT_TORSION};
use curve25519_dalek::edwards::CompressedEdwardsY;
use curve25519_dalek::scalar::Scalar;
use curve25519_dalek::traits::IsIdentity;
use ed25519_dalek::SigningKey;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha512};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signatures {
    pub kind: String,
    pub comment: String,
    pub valid: Vec<Signature>,
    pub invalid: Vec<RefusedSignature>,
}

/// `message` is what is signed: label and parts, each behind its length.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signature {
    pub name: String,
    pub comment: String,
    /// The private key; none where the signature was not made by RFC 8032.
    pub seed: Option<Hex>,
    pub public_key: Hex,
    pub label: String,
    pub parts: Vec<Hex>,
    pub message: Hex,
    pub signature: Hex,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RefusedSignature {
    pub name: String,
    pub comment: String,
    pub public_key: Hex,
    pub label: String,
    pub parts: Vec<Hex>,
    pub signature: Hex,
    /// What is refused.
    pub refused: Part,
    /// Whether a verifier that checks no more than `[S]B = R + [k]A` over decoded points accepts it.
    pub holds_plainly: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    PublicKey,
    Signature,
}

const LABEL: &str = "handfast/1 receipt";

pub fn file() -> Signatures {
    Signatures {
        kind: "signatures".into(),
        comment:
            "Strict Ed25519 over a label and parts. `valid`: the signature verifies, and RFC 8032 makes it of the \
                  seed, if there is one. `invalid`: the public key or the signature is refused. `holds_plainly`: the \
                  equation [S]B = R + [k]A itself holds, so that only a strict verifier refuses."
                .into(),
        valid: valid(),
        invalid: refused_keys().into_iter().chain(refused_signatures()).collect(),
    }
}

fn seed() -> [u8; 32] {
    bytes("signature seed")
}

/// The private scalar and the public point of [`seed`].
fn key() -> (Scalar, EdwardsPoint) {
    let scalar = SigningKey::from_bytes(&seed()).to_scalar();
    (scalar, ED25519_BASEPOINT_POINT * scalar)
}

fn parts() -> Vec<Vec<u8>> {
    vec![bytes::<32>("first part").into(), b"two".to_vec()]
}

fn framed(label: &str, parts: &[Vec<u8>]) -> Vec<u8> {
    signed_bytes(label.as_bytes(), &parts.iter().map(Vec::as_slice).collect::<Vec<_>>())
}

/// k of RFC 8032.
fn challenge(r: &[u8; 32], public_key: &[u8; 32], message: &[u8]) -> Scalar {
    Scalar::from_bytes_mod_order_wide(&Sha512::digest(cat(&[r, public_key, message])).into())
}

fn signature(r: &[u8; 32], s: &Scalar) -> Vec<u8> {
    cat(&[r, s.as_bytes()])
}

/// Scalars that stand in for a signer's nonce.
fn nonces() -> impl Iterator<Item = Scalar> {
    (0_u32..).map(|i| Scalar::from_bytes_mod_order(bytes(&format!("signature nonce {i}"))))
}

/// Whether `[S]B = R + [k]A` over the decoded points.
fn holds_plainly(public_key: &[u8; 32], message: &[u8], signature: &[u8]) -> bool {
    let (r, s): ([u8; 32], [u8; 32]) = (signature[..32].try_into().unwrap(), signature[32..].try_into().unwrap());
    let (Some(a), Some(point)) = (CompressedEdwardsY(*public_key).decompress(), CompressedEdwardsY(r).decompress())
    else {
        return false;
    };
    ED25519_BASEPOINT_POINT * Scalar::from_bytes_mod_order(s) == point + a * challenge(&r, public_key, message)
}

fn valid() -> Vec<Signature> {
    let made = |name: &str, comment: &str, seed: [u8; 32], label: &str, parts: Vec<Vec<u8>>| {
        let message = framed(label, &parts);
        Signature {
            name: name.into(),
            comment: comment.into(),
            seed: Some(Hex(seed.into())),
            public_key: Hex(public_identity(&seed)),
            label: label.into(),
            signature: Hex(sign(&seed, &message)),
            message: Hex(message),
            parts: parts.into_iter().map(Hex).collect(),
        }
    };
    let other = "handfast/1 grant signature";
    let mut signatures = vec![
        made("two-parts", "the one that most of the refused ones were made from", seed(), LABEL, parts()),
        made("no-part", "only a label", seed(), LABEL, vec![]),
        made("empty-part", "an empty part has a length too", seed(), LABEL, vec![vec![]]),
        made("long-part", "a part of 1000 bytes", seed(), LABEL, vec![bytes::<1000>("long part").into()]),
        made("another-label", "the same parts under another label", seed(), other, parts()),
        made("another-key", "the same message by another key", bytes("another signature seed"), LABEL, parts()),
    ];

    // A key with a part of small order is no key of small order.
    let (scalar, point) = key();
    let mixed = (point + EIGHT_TORSION[1]).compress().to_bytes();
    let message = framed(LABEL, &parts());
    let exact = nonces().find_map(|nonce| {
        let r = (ED25519_BASEPOINT_POINT * nonce).compress().to_bytes();
        let k = challenge(&r, &mixed, &message);
        (EIGHT_TORSION[1] * k).is_identity().then(|| signature(&r, &(nonce + k * scalar)))
    });
    signatures.push(Signature {
        name: "mixed-order-key".into(),
        comment: "the key is a point of the large group plus one of order 8, and the equation holds exactly".into(),
        seed: None,
        public_key: Hex(mixed.into()),
        label: LABEL.into(),
        parts: parts().into_iter().map(Hex).collect(),
        message: Hex(message),
        signature: Hex(exact.unwrap()),
    });
    signatures
}

fn refused(
    name: impl Into<String>,
    comment: &str,
    part: Part,
    public_key: [u8; 32],
    (label, parts): (&str, Vec<Vec<u8>>),
    signature: Vec<u8>,
) -> RefusedSignature {
    RefusedSignature {
        name: name.into(),
        comment: comment.into(),
        holds_plainly: holds_plainly(&public_key, &framed(label, &parts), &signature),
        public_key: Hex(public_key.into()),
        label: label.into(),
        parts: parts.into_iter().map(Hex).collect(),
        signature: Hex(signature),
        refused: part,
    }
}

/// `y`, which is small, written as `y + p`, with the given sign bit.
fn not_reduced(y: u8, sign: bool) -> [u8; 32] {
    let mut bytes = [0xff; 32];
    bytes[0] = 0xed + y;
    bytes[31] = if sign { 0xff } else { 0x7f };
    bytes
}

fn refused_keys() -> Vec<RefusedSignature> {
    let message = framed(LABEL, &parts());
    // For a key of small order anybody can make a signature: R = [r]B, S = r, with k a multiple of the order.
    let forged = |public_key: &[u8; 32]| {
        let point = CompressedEdwardsY(*public_key).decompress()?;
        nonces().take(64).find_map(|nonce| {
            let r = (ED25519_BASEPOINT_POINT * nonce).compress().to_bytes();
            let k = challenge(&r, public_key, &message);
            (point * k).is_identity().then(|| signature(&r, &nonce))
        })
    };
    let any = sign(&seed(), &message);
    let key = |name: String, comment: &str, public_key: [u8; 32]| {
        let signature = forged(&public_key).unwrap_or_else(|| any.clone());
        refused(name, comment, Part::PublicKey, public_key, (LABEL, parts()), signature)
    };

    let mut keys = Vec::new();
    for (i, point) in EIGHT_TORSION.iter().enumerate() {
        let comment = "a point whose order divides 8, with a signature that anybody could make";
        keys.push(key(format!("key-small-order-{i}"), comment, point.compress().to_bytes()));
    }
    let mut sign_of_zero = [[0; 32], not_reduced(0, true)];
    sign_of_zero[0][0] = 1;
    sign_of_zero[0][31] = 0x80;
    sign_of_zero[1][0] = 0xec;
    for (name, public_key) in [("one", sign_of_zero[0]), ("minus-one", sign_of_zero[1])] {
        let comment = "x is zero and its sign bit is set: a second encoding";
        keys.push(key(format!("key-negative-zero-{name}"), comment, public_key));
    }
    for (y, sign) in [(0, false), (0, true), (1, false), (1, true)] {
        let name = format!("key-small-order-not-reduced-{y}{}", if sign { "-signed" } else { "" });
        keys.push(key(name, "y is not reduced modulo p", not_reduced(y, sign)));
    }
    let large_order =
        |bytes: &[u8; 32]| CompressedEdwardsY(*bytes).decompress().is_some_and(|point| !point.is_small_order());
    for y in (2..=18).filter(|y| large_order(&not_reduced(*y, false))).take(2) {
        let comment = "y is not reduced modulo p; a point of large order all the same";
        keys.push(key(format!("key-not-reduced-{y}"), comment, not_reduced(y, false)));
    }
    let no_point = (0..).map(|y| [y; 32]).find(|bytes| CompressedEdwardsY(*bytes).decompress().is_none());
    keys.push(key("key-no-point".into(), "no point has this y", no_point.unwrap()));
    keys
}

fn refused_signatures() -> Vec<RefusedSignature> {
    let (scalar, point) = key();
    let public_key = point.compress().to_bytes();
    let message = framed(LABEL, &parts());
    let good = sign(&seed(), &message);
    let with = |name: &str, comment: &str, signature: Vec<u8>| {
        refused(name, comment, Part::Signature, public_key, (LABEL, parts()), signature)
    };
    let over = |name: &str, comment: &str, label: &str, parts: Vec<Vec<u8>>| {
        refused(name, comment, Part::Signature, public_key, (label, parts), good.clone())
    };

    let [first, second] = [parts().remove(0), parts().remove(1)];
    let mut changed = first.clone();
    changed[31] ^= 1;
    let (shorter, longer) = (first[..31].to_vec(), cat(&[&first[31..], &second]));
    let mut list = vec![
        over("part-changed", "one bit of a part", LABEL, vec![changed, second.clone()]),
        over("parts-swapped", "in the other order", LABEL, vec![second.clone(), first.clone()]),
        over("boundary-moved", "the same bytes, cut elsewhere", LABEL, vec![shorter, longer]),
        over("parts-joined", "the same bytes in one part", LABEL, vec![cat(&[&first, &second])]),
        over("part-missing", "one part less", LABEL, vec![first.clone()]),
        over("part-added", "an empty part more", LABEL, vec![first.clone(), second.clone(), vec![]]),
        over("label-changed", "another use", "handfast/1 genesis", parts()),
        over("label-as-part", "an empty label, and the label as a part", "", vec![LABEL.into(), first, second]),
    ];
    let bare = cat(&[LABEL.as_bytes(), &parts().concat()]);
    list.push(with("without-lengths", "made over the same bytes without their lengths", sign(&seed(), &bare)));
    let other = sign(&bytes::<32>("another signature seed"), &message);
    list.push(with("by-another-key", "made by another key", other));
    for (name, at) in [("bit-of-r", 0), ("sign-of-r", 31), ("bit-of-s", 32)] {
        let mut flipped = good.clone();
        flipped[at] ^= if at == 31 { 0x80 } else { 1 };
        list.push(with(name, "one bit changed", flipped));
    }
    list.push(with("zeros", "all zeros", vec![0; 64]));
    for times in [1, 15] {
        let comment = "the group order added to S: the same scalar, not reduced";
        list.push(with(
            &format!("s-plus-{times}-times-the-order"),
            comment,
            cat(&[&good[..32], &plus_order(&good, times)]),
        ));
    }

    // R of small order. The signer can make those.
    let by_r = |r: [u8; 32]| signature(&r, &(challenge(&r, &public_key, &message) * scalar));
    let identity = EIGHT_TORSION[0].compress().to_bytes();
    list.push(with("r-identity", "R is the identity", by_r(identity)));
    list.push(with("r-identity-not-reduced", "R is the identity with y = p + 1", by_r(not_reduced(1, false))));
    let mut negative_zero = identity;
    negative_zero[31] = 0x80;
    list.push(with("r-identity-negative-zero", "R is the identity with a sign bit", by_r(negative_zero)));
    let no_point = (0..).map(|y| [y; 32]).find(|bytes| CompressedEdwardsY(*bytes).decompress().is_none());
    list.push(with("r-no-point", "no point has the y of R", by_r(no_point.unwrap())));

    // With a key of mixed order, R can have any small order.
    let small = EIGHT_TORSION.iter().skip(1);
    let pairs = small.clone().flat_map(|torsion| small.clone().map(move |r| (torsion, r)));
    let small_r = pairs.into_iter().find_map(|(torsion, r)| {
        let (mixed, encoded) = ((point + torsion).compress().to_bytes(), r.compress().to_bytes());
        let k = challenge(&encoded, &mixed, &message);
        (r + torsion * k).is_identity().then(|| (mixed, signature(&encoded, &(k * scalar))))
    });
    let (mixed, small_r) = small_r.unwrap();
    let comment = "R has small order and is not the identity; the key is of mixed order";
    list.push(refused("r-small-order", comment, Part::Signature, mixed, (LABEL, parts()), small_r));

    // What holds only after multiplication by 8.
    let torsion = EIGHT_TORSION[1];
    let mixed = (point + torsion).compress().to_bytes();
    let nonce = nonces().next().unwrap();
    let r = (ED25519_BASEPOINT_POINT * nonce + torsion).compress().to_bytes();
    let s = nonce + challenge(&r, &public_key, &message) * scalar;
    list.push(with("r-mixed-order", "holds only after multiplication by the cofactor", signature(&r, &s)));
    let cofactor_only = nonces().find_map(|nonce| {
        let r = (ED25519_BASEPOINT_POINT * nonce).compress().to_bytes();
        let k = challenge(&r, &mixed, &message);
        (!(torsion * k).is_identity()).then(|| signature(&r, &(nonce + k * scalar)))
    });
    let comment = "a key of mixed order; holds only after multiplication by the cofactor";
    let key = (LABEL, parts());
    list.push(refused("key-mixed-order", comment, Part::Signature, mixed, key, cofactor_only.unwrap()));
    list
}

/// S of a signature, plus so many times the order of the group.
fn plus_order(signature: &[u8], times: u16) -> Vec<u8> {
    const ORDER: [u8; 32] = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0, 0, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
    ];
    let mut carry = 0;
    let sum = signature[32..].iter().zip(ORDER).map(|(byte, order)| {
        let sum = u16::from(*byte) + u16::from(order) * times + carry;
        carry = sum >> 8;
        sum as u8
    });
    let sum = sum.collect();
    assert_eq!(carry, 0);
    sum
}
