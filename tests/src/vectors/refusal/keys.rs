//! Keys that must be refused, and signatures under some of them that plain verification would accept.

use curve25519_dalek::constants::{ED25519_BASEPOINT_TABLE, EIGHT_TORSION};
use curve25519_dalek::edwards::CompressedEdwardsY;
use curve25519_dalek::scalar::Scalar;
use curve25519_dalek::traits::Identity;
use sha2::{Digest, Sha512};

/// The seven encodings of X25519 points of low order with a clear top bit, and what they are.
pub(super) fn low_order() -> [(&'static str, [u8; 32]); 7] {
    let from = |text: &str| hex::decode(text).unwrap().try_into().unwrap();
    [
        ("zero", from("0000000000000000000000000000000000000000000000000000000000000000")),
        ("one", from("0100000000000000000000000000000000000000000000000000000000000000")),
        ("order-8", from("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800")),
        ("order-8-other", from("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157")),
        ("p-minus-1", from("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f")),
        ("p", from("edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f")),
        ("p-plus-1", from("eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f")),
    ]
}

/// The key or `enc` with another X25519 part.
pub(super) fn with_x25519(mut bytes: Vec<u8>, point: [u8; 32]) -> Vec<u8> {
    let start = bytes.len() - 32;
    bytes[start..].copy_from_slice(&point);
    bytes
}

/// The same point: X25519 ignores the top bit.
pub(super) fn top_bit(mut point: [u8; 32]) -> [u8; 32] {
    point[31] |= 0x80;
    point
}

/// The X-Wing key with 3329 as the first coefficient of its ML-KEM part.
pub(super) fn modulus(mut key: Vec<u8>) -> Vec<u8> {
    key[0] = 0x01;
    key[1] = key[1] & 0xf0 | 0x0d;
    key
}

/// The X-Wing key with 4095 as the last coefficient of its ML-KEM part.
pub(super) fn last_coefficient(mut key: Vec<u8>) -> Vec<u8> {
    let end = 1184 - 32;
    key[end - 2] |= 0xf0;
    key[end - 1] = 0xff;
    key
}

/// An Ed25519 key of small order; the index is the multiple of a point of order 8.
pub(super) fn small_order(index: usize) -> Vec<u8> {
    EIGHT_TORSION[index].compress().to_bytes().to_vec()
}

/// A signature under that key which satisfies `[S]B = R + [k]A`, with an R of large order.
pub(super) fn signature_of_small_order(index: usize, message: &[u8]) -> Vec<u8> {
    let key = EIGHT_TORSION[index];
    for s in 1_u64.. {
        let s = Scalar::from(s);
        // [k]A has one of at most eight values: guess it, and see whether k agrees.
        for guess in EIGHT_TORSION {
            let r = &s * ED25519_BASEPOINT_TABLE - guess;
            let r = r.compress().to_bytes();
            let hash = Sha512::new().chain_update(r).chain_update(key.compress().to_bytes()).chain_update(message);
            let k = Scalar::from_bytes_mod_order_wide(&hash.finalize().into());
            if key * k == guess && r != CompressedEdwardsY::identity().to_bytes() {
                return [r, s.to_bytes()].concat();
            }
        }
    }
    unreachable!("one in eight guesses is right");
}

/// 32 bytes that are no point of Ed25519's curve.
pub(super) fn no_point() -> Vec<u8> {
    let candidates = (2..=255).map(|first| {
        let mut bytes = [0; 32];
        bytes[0] = first;
        bytes
    });
    candidates.into_iter().find(|bytes| CompressedEdwardsY(*bytes).decompress().is_none()).unwrap().to_vec()
}

/// A second encoding of the identity point: y is one more than the field's modulus.
pub(super) fn second_encoding() -> Vec<u8> {
    low_order()[6].1.to_vec()
}
