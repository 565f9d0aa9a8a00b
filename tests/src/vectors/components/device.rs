//! What is derived from a device key, and the bundle at rest: `spec/protocol.md`, "Accounts and device keys".

use super::bytes;
use super::objects::small_bundle;
use crate::vectors::derivation::{Bundle, bytes16, cat, kdf, kem_public_key, public_identity, seal_at_rest, sha256};
use crate::vectors::format::Hex;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Devices {
    pub kind: String,
    pub comment: String,
    pub devices: Vec<Device>,
    pub at_rest: Vec<AtRest>,
    pub at_rest_refused: Vec<RefusedAtRest>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Device {
    pub name: String,
    pub comment: String,
    pub device_key: Hex,
    pub identity_seed: Hex,
    pub identity: Hex,
    pub fingerprint: String,
    pub wrapping_seed: Hex,
    pub wrapping_key: Hex,
    pub sealing_key: Hex,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AtRest {
    pub name: String,
    pub comment: String,
    pub device_key: Hex,
    pub account_id: Hex,
    pub nonce: Hex,
    pub aad: Hex,
    pub bundle: Hex,
    pub sealed: Hex,
}

/// What this device does not open for this account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RefusedAtRest {
    pub name: String,
    pub comment: String,
    pub device_key: Hex,
    pub account_id: Hex,
    pub sealed: Hex,
}

pub fn file() -> Devices {
    Devices {
        kind: "device".into(),
        comment:
            "Keys of a device, and the bundle at rest. `devices`: everything follows from `device_key`. `at_rest`: \
                  `sealed` is the nonce and the bundle sealed with `aad` under the sealing key. `at_rest_refused`: the \
                  device with this key does not open it as a bundle of this account."
                .into(),
        devices: vec![
            device("first", "", bytes("device key 1")),
            device("second", "", bytes("device key 2")),
            device("zeros", "a key store that returns zeros would be as predictable as this", [0; 32]),
        ],
        at_rest: at_rest(),
        at_rest_refused: at_rest_refused(),
    }
}

fn device(name: &str, comment: &str, device_key: [u8; 32]) -> Device {
    let identity_seed = identity_seed(&device_key);
    let identity = public_identity(&identity_seed);
    let wrapping_seed = kdf(b"", &device_key, &[b"handfast/1 device wrapping seed"], 32);
    Device {
        name: name.into(),
        comment: comment.into(),
        fingerprint: fingerprint(&identity),
        identity_seed: Hex(identity_seed),
        identity: Hex(identity),
        wrapping_key: Hex(kem_public_key(&wrapping_seed)),
        wrapping_seed: Hex(wrapping_seed),
        sealing_key: Hex(sealing_key(&device_key)),
        device_key: Hex(device_key.into()),
    }
}

fn identity_seed(device_key: &[u8]) -> Vec<u8> {
    kdf(b"", device_key, &[b"handfast/1 device identity seed"], 32)
}

fn sealing_key(device_key: &[u8]) -> Vec<u8> {
    kdf(b"", device_key, &[b"handfast/1 device sealing key"], 32)
}

/// 160 bits in base32, most significant first, in groups of four.
fn fingerprint(identity: &[u8]) -> String {
    let hash = sha256(&[b"handfast/1 fingerprint", identity]);
    let bit = |i: usize| hash[i / 8] >> (7 - i % 8) & 1;
    let symbol = |i: usize| {
        let value = (0..5).fold(0, |value, j| value << 1 | usize::from(bit(5 * i + j)));
        char::from(b"0123456789ABCDEFGHJKMNPQRSTVWXYZ"[value])
    };
    let groups = (0..8).map(|group| (4 * group..4 * group + 4).map(symbol).collect::<String>());
    groups.collect::<Vec<_>>().join("-")
}

fn associated_data(label: &[u8], version: u8, account_id: &[u8], device_key: &[u8]) -> Vec<u8> {
    cat(&[&bytes16(label), &[version], account_id, &public_identity(&identity_seed(device_key))])
}

const LABEL: &[u8] = b"handfast/1 bundle at rest";

/// `content` as it would lie on a device, whatever it is.
pub fn at_rest_form(device_key: &[u8], nonce: &[u8; 24], account_id: &[u8], content: &[u8]) -> Vec<u8> {
    sealed(device_key, nonce, &associated_data(LABEL, 1, account_id, device_key), content)
}

fn sealed(device_key: &[u8], nonce: &[u8; 24], aad: &[u8], bundle: &[u8]) -> Vec<u8> {
    cat(&[nonce, &seal_at_rest(&sealing_key(device_key), nonce, aad, bundle)])
}

fn at_rest() -> Vec<AtRest> {
    let device_key: [u8; 32] = bytes("device key 1");
    let plain = small_bundle();
    let mut extended = plain.clone();
    extended.extensions = vec![(0x70f0, b"kept".to_vec())];
    [("bundle", "", plain), ("bundle-with-extension", "an unknown extension stays where it is", extended)]
        .into_iter()
        .map(|(name, comment, bundle)| {
            let nonce: [u8; 24] = bytes(name);
            let aad = associated_data(LABEL, 1, &bundle.account_id, &device_key);
            let encoded = bundle.encode();
            AtRest {
                name: name.into(),
                comment: comment.into(),
                device_key: Hex(device_key.into()),
                account_id: Hex(bundle.account_id),
                nonce: Hex(nonce.into()),
                sealed: Hex(sealed(&device_key, &nonce, &aad, &encoded)),
                aad: Hex(aad),
                bundle: Hex(encoded),
            }
        })
        .collect()
}

fn at_rest_refused() -> Vec<RefusedAtRest> {
    let (device_key, other_key): ([u8; 32], [u8; 32]) = (bytes("device key 1"), bytes("device key 2"));
    let (bundle, nonce) = (small_bundle(), bytes("bundle"));
    let (account_id, encoded) = (bundle.account_id.clone(), bundle.encode());
    let other_account: [u8; 32] = bytes("another account");
    let aad = associated_data(LABEL, 1, &account_id, &device_key);
    let good = sealed(&device_key, &nonce, &aad, &encoded);

    let with = |name: &str, comment: &str, device_key: &[u8; 32], account_id: &[u8], sealed: Vec<u8>| RefusedAtRest {
        name: name.into(),
        comment: comment.into(),
        device_key: Hex(device_key.to_vec()),
        account_id: Hex(account_id.to_vec()),
        sealed: Hex(sealed),
    };
    let here = |name: &str, comment: &str, sealed: Vec<u8>| with(name, comment, &device_key, &account_id, sealed);
    let flipped = |at: usize| {
        let mut changed = good.clone();
        changed[at] ^= 1;
        changed
    };
    let bound_to = |aad: &[u8]| sealed(&device_key, &nonce, aad, &encoded);
    let holding = |content: &[u8]| sealed(&device_key, &nonce, &aad, content);
    let another = Bundle { account_id: other_account.into(), ..bundle.clone() };
    vec![
        with("another-device", "sealed by another device", &other_key, &account_id, good.clone()),
        with("another-account", "sealed for another account", &device_key, &other_account, good.clone()),
        here("changed-nonce", "one bit of the nonce", flipped(0)),
        here("changed-ciphertext", "one bit of the ciphertext", flipped(24)),
        here("changed-tag", "one bit of the tag", flipped(good.len() - 1)),
        here("cut-tag", "the last byte is missing", good[..good.len() - 1].to_vec()),
        here("longer", "a byte more", cat(&[&good, &[0]])),
        here("only-a-nonce", "nothing behind the nonce", good[..24].to_vec()),
        here("shorter-than-a-nonce", "23 bytes", good[..23].to_vec()),
        here("nothing", "no bytes", vec![]),
        here("version-2", "bound to another version", bound_to(&associated_data(LABEL, 2, &account_id, &device_key))),
        here(
            "another-label",
            "bound to another label",
            bound_to(&associated_data(b"handfast/1 bundle", 1, &account_id, &device_key)),
        ),
        here(
            "another-identity",
            "bound to another device's identity",
            bound_to(&associated_data(LABEL, 1, &account_id, &other_key)),
        ),
        here("no-associated-data", "bound to nothing", bound_to(b"")),
        here("no-bundle", "the content is a bundle with a byte behind it", holding(&cat(&[&encoded, &[0]]))),
        here("bundle-of-another-account", "the content names another account", holding(&another.encode())),
    ]
}
