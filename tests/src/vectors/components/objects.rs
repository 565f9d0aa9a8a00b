//! Genesis statements, bundles and released items: `spec/protocol.md`, "Accounts and device keys" and "Grant".

use super::texts::{Claim, Text, claims, texts};
use super::{Reason, bytes};
use crate::vectors::derivation::{Bundle, bytes16, bytes32, cat, public_identity, sha256, sign, signed_bytes};
use crate::vectors::derivation::{entries, items};
use crate::vectors::format::Hex;
use curve25519_dalek::constants::EIGHT_TORSION;
use curve25519_dalek::edwards::CompressedEdwardsY;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Objects {
    pub kind: String,
    pub comment: String,
    pub genesis: Vec<Genesis>,
    pub genesis_refused: Vec<Refused>,
    pub bundles: Vec<ValidBundle>,
    pub bundles_refused: Vec<Refused>,
    pub items: Vec<ValidItems>,
    pub items_refused: Vec<Refused>,
    pub texts: Vec<Text>,
    pub claims: Vec<Claim>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Genesis {
    pub name: String,
    pub comment: String,
    pub label: String,
    /// The private key of `identity`.
    pub identity_seed: Hex,
    pub identity: Hex,
    pub nonce: Hex,
    pub signature: Hex,
    pub account_id: Hex,
    pub hex: Hex,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ValidBundle {
    pub name: String,
    pub comment: String,
    pub account_id: Hex,
    pub account_label: String,
    pub unlock_key: Hex,
    pub sign_in_secret: Hex,
    pub entries: Vec<Entry>,
    pub extensions: Vec<Extension>,
    pub hex: Hex,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ValidItems {
    pub name: String,
    pub comment: String,
    pub unlock_key: Option<Hex>,
    pub entries: Vec<Entry>,
    pub hex: Hex,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    pub name: String,
    pub value: Hex,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Extension {
    #[serde(rename = "type")]
    pub kind: u16,
    pub value: Hex,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Refused {
    pub name: String,
    pub comment: String,
    pub hex: Hex,
    pub reason: Reason,
}

impl Refused {
    fn new(name: &str, comment: &str, hex: Vec<u8>, reason: Reason) -> Self {
        Self { name: name.into(), comment: comment.into(), hex: Hex(hex), reason }
    }
}

/// A bundle as many cases need one.
pub(super) fn small_bundle() -> Bundle {
    Bundle {
        account_id: bytes::<32>("account id").into(),
        account_label: "ada@example.com".into(),
        unlock_key: bytes::<32>("unlock key").into(),
        sign_in_secret: b"sign-in".to_vec(),
        entries: vec![entry("age-key", b"AGE-SECRET-KEY-1"), entry("ssh", b"-----BEGIN")],
        extensions: Vec::new(),
    }
}

pub fn file() -> Objects {
    Objects {
        kind: "objects".into(),
        comment:
            "Objects by themselves, and rules for text. `genesis`, `bundles`, `items`: `hex` decodes to these fields, \
                  and they encode to `hex`. `..._refused`: `hex` does not decode; `reason` says why. `texts`: whether \
                  this text may stand in this field. `claims`: what is shown of what a peer calls itself."
                .into(),
        genesis: genesis(),
        genesis_refused: genesis_refused(),
        bundles: bundles(),
        bundles_refused: bundles_refused(),
        items: valid_items(),
        items_refused: items_refused(),
        texts: texts(),
        claims: claims(),
    }
}

fn entry(name: &str, value: &[u8]) -> (String, Vec<u8>) {
    (name.into(), value.to_vec())
}

fn seed() -> [u8; 32] {
    bytes("genesis identity seed")
}

/// A statement that is signed correctly, whatever it says.
fn statement(version: u8, label: &[u8], identity: &[u8]) -> Vec<u8> {
    let part = cat(&[&[version], &bytes16(label), identity, &bytes::<32>("genesis nonce")]);
    cat(&[&part, &sign(&seed(), &signed_bytes(b"handfast/1 genesis", &[&part]))])
}

fn genesis() -> Vec<Genesis> {
    let one = |name: &str, comment: &str, label: &str| {
        let identity = public_identity(&seed());
        let hex = statement(1, label.as_bytes(), &identity);
        Genesis {
            name: name.into(),
            comment: comment.into(),
            label: label.into(),
            identity_seed: Hex(seed().into()),
            identity: Hex(identity),
            nonce: Hex(bytes::<32>("genesis nonce").into()),
            signature: Hex(hex[hex.len() - 64..].to_vec()),
            account_id: Hex(sha256(&[b"handfast/1 account id", &hex])),
            hex: Hex(hex),
        }
    };
    vec![
        one("genesis", "", "ada@example.com"),
        one("shortest-label", "one character", "a"),
        one("longest-label", "128 bytes", &"a".repeat(128)),
        one("unicode-label", "UTF-8, not only ASCII", "Schl\u{fc}ssel \u{1f511}"),
    ]
}

fn genesis_refused() -> Vec<Refused> {
    let identity = public_identity(&seed());
    let label = b"ada@example.com";
    let good = statement(1, label, &identity);
    let flipped = |from_the_end: usize| {
        let mut changed = good.clone();
        let at = changed.len() - from_the_end;
        changed[at] ^= 1;
        changed
    };
    let signed_part = &good[..good.len() - 64];
    let signed_as = |seed: &[u8; 32], message: &[u8]| cat(&[signed_part, &sign(seed, message)]);
    let signature = || Reason::bad_value("genesis signature");
    let text = || Reason::bad_value("account label");
    let key = || Reason::bad_value("identity key");
    let no_point = (0..).map(|y| [y; 32]).find(|y| CompressedEdwardsY(*y).decompress().is_none()).unwrap();
    let mut not_reduced = [0xff; 32];
    (not_reduced[0], not_reduced[31]) = (0xee, 0x7f);
    let framed = |label: &[u8]| signed_bytes(label, &[signed_part]);
    vec![
        Refused::new("truncated", "the last byte is missing", good[..good.len() - 1].to_vec(), Reason::truncated()),
        Refused::new("nothing", "no bytes", vec![], Reason::truncated()),
        Refused::new("trailing", "a byte too many", cat(&[&good, &[0]]), Reason::trailing()),
        Refused::new("version-0", "signed", statement(0, label, &identity), Reason::bad_value("genesis version")),
        Refused::new("version-2", "signed", statement(2, label, &identity), Reason::bad_value("genesis version")),
        Refused::new("label-empty", "signed", statement(1, b"", &identity), text()),
        Refused::new("label-blank", "signed", statement(1, "\u{3000}".as_bytes(), &identity), text()),
        Refused::new("label-unprintable", "signed", statement(1, "a\u{202e}b".as_bytes(), &identity), text()),
        Refused::new("label-not-utf-8", "signed", statement(1, b"a\xff", &identity), text()),
        Refused::new("label-surrogate", "signed; CESU-8 is no UTF-8", statement(1, b"\xed\xa0\x80", &identity), text()),
        Refused::new("label-overlong", "signed; a slash in two bytes", statement(1, b"\xc0\xaf", &identity), text()),
        Refused::new(
            "label-too-long",
            "129 bytes, signed",
            statement(1, &[b'a'; 129], &identity),
            Reason::too_long("account label"),
        ),
        Refused::new(
            "identity-small-order",
            "the identity point",
            statement(1, label, EIGHT_TORSION[0].compress().as_bytes()),
            key(),
        ),
        Refused::new("identity-not-canonical", "a second encoding", statement(1, label, &not_reduced), key()),
        Refused::new("identity-no-point", "not on the curve", statement(1, label, &no_point), key()),
        Refused::new("nonce-changed", "one bit of the nonce", flipped(65), signature()),
        Refused::new("signature-changed", "one bit of S", flipped(32), signature()),
        Refused::new(
            "signed-by-another",
            "",
            signed_as(&bytes("another seed"), &framed(b"handfast/1 genesis")),
            signature(),
        ),
        Refused::new("another-label", "", signed_as(&seed(), &framed(b"handfast/1 receipt")), signature()),
        Refused::new("signed-without-lengths", "", signed_as(&seed(), signed_part), signature()),
    ]
}

fn bundles() -> Vec<ValidBundle> {
    let one = |name: &str, comment: &str, bundle: Bundle| ValidBundle {
        name: name.into(),
        comment: comment.into(),
        hex: Hex(bundle.encode()),
        account_id: Hex(bundle.account_id),
        account_label: bundle.account_label,
        unlock_key: Hex(bundle.unlock_key),
        sign_in_secret: Hex(bundle.sign_in_secret),
        entries: named(bundle.entries),
        extensions: bundle.extensions.into_iter().map(|(kind, value)| Extension { kind, value: Hex(value) }).collect(),
    };
    let small = small_bundle;
    let with_extensions = |extensions| Bundle { extensions, ..small() };
    let with_entries = |entries| Bundle { entries, ..small() };
    vec![
        one("bundle", "", small()),
        one(
            "smallest",
            "no sign-in secret, no entries",
            Bundle { account_label: "a".into(), sign_in_secret: vec![], entries: vec![], ..small() },
        ),
        one(
            "longest-fields",
            "label of 128 bytes, sign-in secret of 1024, entry name of 64",
            Bundle {
                account_label: "l".repeat(128),
                sign_in_secret: vec![7; 1024],
                entries: vec![entry(&"n".repeat(64), b"value")],
                ..small()
            },
        ),
        one("empty-value", "an entry may be empty", with_entries(vec![entry("empty", b"")])),
        one(
            "order-of-bytes",
            "names are ordered by their bytes: upper case first, a shorter one before its extension, ASCII before the rest",
            with_entries(["B", "a", "aa", "b", "\u{e9}", "\u{ffe6}", "\u{1f511}"].map(|name| entry(name, b"v")).into()),
        ),
        one(
            "most-entries",
            "1024 entries",
            with_entries((0..1024).map(|number| entry(&format!("{number:04}"), b"")).collect()),
        ),
        one("extension", "an unknown one is kept", with_extensions(vec![(0x70f0, b"for tests".to_vec())])),
        one(
            "extensions",
            "the lowest and the highest type that is tolerated, one without a value",
            with_extensions(vec![(0, vec![]), (0x7fff, vec![1, 2, 3])]),
        ),
        one("longest-extensions", "256 bytes", with_extensions(vec![(0x70f0, vec![9; 252])])),
    ]
}

fn named(list: Vec<(String, Vec<u8>)>) -> Vec<Entry> {
    list.into_iter().map(|(name, value)| Entry { name, value: Hex(value) }).collect()
}

fn bundles_refused() -> Vec<Refused> {
    let small = small_bundle;
    let good = small().encode();
    let one = |name: &str, comment: &str, bundle: Bundle, reason| Refused::new(name, comment, bundle.encode(), reason);
    let label = |name: &str, label: String, reason| one(name, "", Bundle { account_label: label, ..small() }, reason);
    let list = |name: &str, comment: &str, list: &[(String, Vec<u8>)], reason| {
        one(name, comment, Bundle { entries: list.to_vec(), ..small() }, reason)
    };
    let extensions = |name: &str, comment: &str, list: Vec<(u16, Vec<u8>)>, reason| {
        one(name, comment, Bundle { extensions: list, ..small() }, reason)
    };
    // Everything up to the entries, everything up to the extensions.
    let front = &good[..good.len() - 2 - entries(&small().entries).len()];
    let body = &good[..good.len() - 2];
    let raw_entries = |bytes: &[u8]| cat(&[front, bytes, &[0, 0]]);
    let raw_extensions = |inner: &[u8]| cat(&[body, &bytes16(inner)]);
    let label_start = &good[..32];
    let behind_label = &good[32 + 2 + 15..];
    let order = || Reason::bad_value("order of entries");
    let critical = || Reason::bad_value("extension that must be understood");
    let many = (0..1025).map(|number| entry(&format!("{number:04}"), b"")).collect::<Vec<_>>();
    vec![
        Refused::new("truncated", "the last byte is missing", good[..good.len() - 1].to_vec(), Reason::truncated()),
        Refused::new("nothing", "no bytes", vec![], Reason::truncated()),
        Refused::new("without-extensions", "their length is missing", body.to_vec(), Reason::truncated()),
        Refused::new("trailing", "a byte too many", cat(&[&good, &[0]]), Reason::trailing()),
        label("label-empty", String::new(), Reason::bad_value("account label")),
        label("label-blank", " ".into(), Reason::bad_value("account label")),
        label("label-unprintable", "a\u{200b}".into(), Reason::bad_value("account label")),
        label("label-too-long", "a".repeat(129), Reason::too_long("account label")),
        Refused::new(
            "label-not-utf-8",
            "",
            cat(&[label_start, &bytes16(b"\xff"), behind_label]),
            Reason::bad_value("account label"),
        ),
        one(
            "sign-in-secret-too-long",
            "1025 bytes",
            Bundle { sign_in_secret: vec![7; 1025], ..small() },
            Reason::too_long("sign-in secret"),
        ),
        list("too-many-entries", "1025", &many, Reason::too_long("entries")),
        list("entries-not-in-order", "", &[entry("b", b""), entry("a", b"")], order()),
        list("entries-doubled", "twice the same name", &[entry("a", b"1"), entry("a", b"2")], order()),
        list(
            "entries-in-order-of-utf-16",
            "U+1F511 before U+FFE6: that is the order of UTF-16, not of UTF-8",
            &[entry("\u{1f511}", b""), entry("\u{ffe6}", b"")],
            order(),
        ),
        list("entry-name-empty", "", &[entry("", b"")], Reason::bad_value("entry name")),
        list("entry-name-blank", "", &[entry("\t", b"")], Reason::bad_value("entry name")),
        list("entry-name-unprintable", "", &[entry("a\u{feff}", b"")], Reason::bad_value("entry name")),
        list("entry-name-too-long", "65 bytes", &[entry(&"n".repeat(65), b"")], Reason::too_long("entry name")),
        Refused::new(
            "entry-name-not-utf-8",
            "",
            raw_entries(&cat(&[&[0, 1], &bytes16(b"\xfe"), &bytes32(b"")])),
            Reason::bad_value("entry name"),
        ),
        Refused::new(
            "entry-value-too-long",
            "its length alone is over the limit of a bundle",
            raw_entries(&cat(&[&[0, 1], &bytes16(b"a"), &[0, 4, 0, 1]])),
            Reason::too_long("entry"),
        ),
        Refused::new(
            "entry-value-cut",
            "its length is larger than what follows",
            raw_entries(&cat(&[&[0, 1], &bytes16(b"a"), &[0, 0, 1, 0], b"short"])),
            Reason::truncated(),
        ),
        extensions("extension-critical", "the type for tests with the top bit", vec![(0xf0f0, vec![])], critical()),
        extensions("extension-critical-lowest", "8000", vec![(0x8000, vec![])], critical()),
        extensions(
            "extension-critical-second",
            "behind one that is tolerated",
            vec![(0x70f0, vec![]), (0xf0f0, vec![])],
            critical(),
        ),
        extensions(
            "extensions-not-in-order",
            "",
            vec![(0x70f0, vec![]), (0x70ef, vec![])],
            Reason::bad_value("order of extensions"),
        ),
        extensions(
            "extensions-doubled",
            "twice the same type",
            vec![(0x70f0, vec![]), (0x70f0, vec![])],
            Reason::bad_value("order of extensions"),
        ),
        extensions("extensions-too-long", "257 bytes", vec![(0x70f0, vec![9; 253])], Reason::too_long("extensions")),
        Refused::new(
            "extension-over-the-end",
            "its length runs over the end of the list",
            raw_extensions(&[0x70, 0xf0, 0, 5, 1, 2, 3, 4]),
            Reason::truncated(),
        ),
        Refused::new("extension-cut", "a type without a length", raw_extensions(&[0x70, 0xf0]), Reason::truncated()),
    ]
}

fn valid_items() -> Vec<ValidItems> {
    let key: [u8; 32] = bytes("unlock key");
    let one = |name: &str, comment: &str, unlock_key: Option<&[u8]>, list: Vec<(String, Vec<u8>)>| ValidItems {
        name: name.into(),
        comment: comment.into(),
        hex: Hex(items(unlock_key, &list)),
        unlock_key: unlock_key.map(|key| Hex(key.to_vec())),
        entries: named(list),
    };
    vec![
        one("key-and-entries", "", Some(&key), vec![entry("age-key", b"AGE"), entry("ssh", b"")]),
        one("only-the-key", "", Some(&key), vec![]),
        one("only-an-entry", "", None, vec![entry("ssh", b"-----BEGIN")]),
        one("nothing", "decodes; no request asks for it", None, vec![]),
    ]
}

fn items_refused() -> Vec<Refused> {
    let good = items(Some(&bytes::<32>("unlock key")), &[entry("a", b"1")]);
    let list = |name: &str, list: &[(String, Vec<u8>)], reason| Refused::new(name, "", items(None, list), reason);
    vec![
        Refused::new("truncated", "the last byte is missing", good[..good.len() - 1].to_vec(), Reason::truncated()),
        Refused::new("nothing", "no bytes", vec![], Reason::truncated()),
        Refused::new("trailing", "a byte too many", cat(&[&good, &[0]]), Reason::trailing()),
        Refused::new("flag", "neither 0 nor 1", cat(&[&[2], &good[1..]]), Reason::bad_value("unlock key flag")),
        list("entries-not-in-order", &[entry("b", b""), entry("a", b"")], Reason::bad_value("order of entries")),
        list("entries-doubled", &[entry("a", b""), entry("a", b"")], Reason::bad_value("order of entries")),
        list("entry-name-empty", &[entry("", b"")], Reason::bad_value("entry name")),
        Refused::new("too-many-entries", "their number alone", vec![0, 4, 1], Reason::too_long("entries")),
    ]
}
