//! Primitives called directly from their crates, and what no crate gives in the open: X-Wing's parts, HPKE's key schedule,
//! CPace. `spec/protocol.md`, "Primitives".

use super::encoding::{bytes32, cat};
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{ChaCha20Poly1305, XChaCha20Poly1305};
use curve25519_dalek::MontgomeryPoint;
use curve25519_dalek::ristretto::{CompressedRistretto, RistrettoPoint};
use curve25519_dalek::scalar::Scalar;
use ed25519_dalek::{Signer, SigningKey};
use hkdf::Hkdf;
use hkdf::hmac::{Hmac, Mac};
use ml_kem::{FromSeed, KeyExport, MlKem768, ml_kem_768};
use sha2::{Digest, Sha256, Sha512};
use sha3::Sha3_256;
use shake::{ExtendableOutput, Shake256, Update, XofReader};

/// SHA-256 of the concatenation.
pub fn sha256(parts: &[&[u8]]) -> Vec<u8> {
    Sha256::digest(cat(parts)).to_vec()
}

/// HKDF-SHA256, extract and expand.
pub fn kdf(salt: &[u8], secret: &[u8], info: &[&[u8]], length: usize) -> Vec<u8> {
    let mut output = vec![0; length];
    Hkdf::<Sha256>::new(Some(salt), secret).expand(&cat(info), &mut output).unwrap();
    output
}

/// ChaCha20-Poly1305.
pub fn seal(key: &[u8], nonce: &[u8], aad: &[u8], plaintext: &[u8]) -> Vec<u8> {
    let cipher = ChaCha20Poly1305::new(key.try_into().unwrap());
    cipher.encrypt(nonce.try_into().unwrap(), Payload { msg: plaintext, aad }).unwrap()
}

/// XChaCha20-Poly1305, without the nonce.
pub fn seal_at_rest(key: &[u8], nonce: &[u8], aad: &[u8], plaintext: &[u8]) -> Vec<u8> {
    let cipher = XChaCha20Poly1305::new(key.try_into().unwrap());
    cipher.encrypt(nonce.try_into().unwrap(), Payload { msg: plaintext, aad }).unwrap()
}

/// What a signature covers: label and parts, each behind its length.
pub fn signed_bytes(label: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    cat(&[&bytes32(label), &parts.iter().map(|part| bytes32(part)).collect::<Vec<_>>().concat()])
}

/// Ed25519.
pub fn sign(seed: &[u8], message: &[u8]) -> Vec<u8> {
    SigningKey::from_bytes(seed.try_into().unwrap()).sign(message).to_bytes().to_vec()
}

/// The Ed25519 public key.
pub fn public_identity(seed: &[u8]) -> Vec<u8> {
    SigningKey::from_bytes(seed.try_into().unwrap()).verifying_key().to_bytes().to_vec()
}

/// The parts of an X-Wing secret key: ML-KEM's d and z, X25519's scalar.
fn expand_kem_seed(seed: &[u8]) -> ([u8; 64], [u8; 32]) {
    let mut shake = Shake256::default();
    shake.update(seed);
    let mut reader = shake.finalize_xof();
    let (mut mlkem, mut x25519) = ([0; 64], [0; 32]);
    reader.read(&mut mlkem);
    reader.read(&mut x25519);
    (mlkem, x25519)
}

/// The X-Wing public key of a seed: ML-KEM-768, then X25519.
pub fn kem_public_key(seed: &[u8]) -> Vec<u8> {
    let (mlkem, x25519) = expand_kem_seed(seed);
    let (_, public) = MlKem768::from_seed(&mlkem.into());
    cat(&[&public.to_bytes(), MontgomeryPoint::mul_base_clamped(x25519).as_bytes()])
}

/// Encapsulates with ML-KEM: shared secret and ciphertext.
pub fn mlkem_encapsulate(public_key: &[u8], m: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let public = ml_kem_768::EncapsulationKey::new(public_key[..1184].try_into().unwrap()).unwrap();
    let (ciphertext, shared) = public.encapsulate_deterministic(m.try_into().unwrap());
    (shared.to_vec(), ciphertext.to_vec())
}

/// The X25519 public key of a secret.
pub fn x25519_public(secret: &[u8]) -> Vec<u8> {
    MontgomeryPoint::mul_base_clamped(secret.try_into().unwrap()).to_bytes().to_vec()
}

/// The X25519 shared secret as the owner of an X-Wing key computes it: all zeros for a point of low order.
pub fn x25519_shared(kem_seed: &[u8], ephemeral: &[u8]) -> Vec<u8> {
    let (_, secret) = expand_kem_seed(kem_seed);
    MontgomeryPoint(ephemeral.try_into().unwrap()).mul_clamped(secret).to_bytes().to_vec()
}

/// X-Wing's combiner.
pub fn xwing_combine(mlkem_shared: &[u8], x25519_shared: &[u8], x25519_ct: &[u8], x25519_pk: &[u8]) -> Vec<u8> {
    Sha3_256::digest(cat(&[mlkem_shared, x25519_shared, x25519_ct, x25519_pk, br"\.//^\"])).to_vec()
}

/// "HPKE", KEM, KDF, AEAD. RFC 9180, section 5.1.
const SUITE_ID: &[u8] = b"HPKE\x64\x7a\x00\x01\x00\x03";

/// RFC 9180, section 4.
pub fn labeled_extract(salt: &[u8], label: &[u8], ikm: &[u8]) -> Vec<u8> {
    let mut mac = <Hmac<Sha256> as hkdf::hmac::KeyInit>::new_from_slice(salt).unwrap();
    Mac::update(&mut mac, &cat(&[b"HPKE-v1", SUITE_ID, label, ikm]));
    mac.finalize().into_bytes().to_vec()
}

/// RFC 9180, section 4.
pub fn labeled_expand(prk: &[u8], label: &[u8], info: &[u8], length: u16) -> Vec<u8> {
    let mut output = vec![0; length.into()];
    let labeled_info = cat(&[&length.to_be_bytes(), b"HPKE-v1", SUITE_ID, label, info]);
    Hkdf::<Sha256>::from_prk(prk).unwrap().expand(&labeled_info, &mut output).unwrap();
    output
}

/// RFC 9180, section 5.3.
pub fn export(exporter_secret: &[u8], context: &[u8]) -> Vec<u8> {
    labeled_expand(exporter_secret, b"sec", context, 32)
}

/// The nonce of message `n`: RFC 9180, section 5.2.
pub fn nonce(base: &[u8], n: u64) -> Vec<u8> {
    let counter = cat(&[&[0; 4], &n.to_be_bytes()]);
    base.iter().zip(counter).map(|(base, counter)| base ^ counter).collect()
}

/// A field behind its length in LEB128, for fields under 16 KiB.
fn lv(field: &[u8]) -> Vec<u8> {
    let length = field.len();
    if length < 128 {
        cat(&[&[length as u8], field])
    } else {
        cat(&[&[length as u8 | 128, (length >> 7) as u8], field])
    }
}

fn lv_cat(fields: &[&[u8]]) -> Vec<u8> {
    fields.iter().map(|field| lv(field)).collect::<Vec<_>>().concat()
}

/// CPace's generator string.
pub fn cpace_generator_string(prs: &[u8], ci: &[u8], sid: &[u8]) -> Vec<u8> {
    let dsi = b"CPaceRistretto255";
    let padding = 128 - 1 - lv(prs).len() - lv(dsi).len();
    lv_cat(&[dsi, prs, &vec![0; padding], ci, sid])
}

/// The group element that a generator string is mapped to.
pub fn cpace_generator(string: &[u8]) -> RistrettoPoint {
    RistrettoPoint::from_uniform_bytes(&Sha512::digest(string).into())
}

/// A scalar from 32 random bytes.
pub fn cpace_scalar(random: &[u8]) -> Scalar {
    let mut bytes: [u8; 32] = random.try_into().unwrap();
    bytes[31] &= 0x0f;
    Scalar::from_canonical_bytes(bytes).unwrap()
}

/// CPace's K as the owner of the scalar computes it. Zeros, which stand for the identity, if the share does not decode.
pub fn cpace_k(scalar: &Scalar, share: &[u8]) -> Vec<u8> {
    let point = CompressedRistretto(share.try_into().unwrap()).decompress().unwrap_or_default();
    (point * scalar).compress().to_bytes().to_vec()
}

/// CPace's key, initiator first.
pub fn cpace_isk(sid: &[u8], k: &[u8], ya: &[u8], ada: &[u8], yb: &[u8], adb: &[u8]) -> Vec<u8> {
    Sha512::digest(lv_cat(&[b"CPaceRistretto255_ISK", sid, k, ya, ada, yb, adb])).to_vec()
}
