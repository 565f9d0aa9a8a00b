//! The texts of QR codes: `spec/protocol.md`, "QR code".

use super::{RefusedText, bytes};
use crate::vectors::derivation::{cat, kdf, qr_text};
use crate::vectors::format::Hex;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QrCodes {
    pub kind: String,
    pub comment: String,
    /// The hosts whose app links count.
    pub app_hosts: Vec<String>,
    pub valid: Vec<QrCode>,
    pub invalid: Vec<RefusedText>,
}

/// A QR code, what is derived from it, and texts for it. The first text is the one that is made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QrCode {
    pub name: String,
    pub comment: String,
    pub qr_kind: String,
    pub qr_secret: Hex,
    pub offer_hash: Hex,
    pub relay_hint: Option<RelayHint>,
    pub bytes: Hex,
    pub mailbox_id: Hex,
    pub offer_key: Hex,
    pub channel_psk: Hex,
    pub texts: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RelayHint {
    pub scheme: String,
    pub authority: String,
}

const APP_HOSTS: [&str; 2] = ["app.example.org", "go.example.com"];
const KINDS: [&str; 3] = ["qr-new enroll", "qr-new unlock", "qr-trusted enroll"];
const SCHEMES: [&str; 2] = ["ws", "wss"];
const PREFIX: &str = "HANDFAST:/";
const BLOCK: usize = 17;

pub fn file() -> QrCodes {
    QrCodes {
        kind: "qr".into(),
        comment:
            "The texts of QR codes and links. `valid`: every text is read as the same QR code; the first is the one \
                  that is made. `invalid`: the text is refused with this error. App links count for `app_hosts`."
                .into(),
        app_hosts: APP_HOSTS.map(String::from).into(),
        valid: valid(),
        invalid: invalid(),
    }
}

fn valid() -> Vec<QrCode> {
    let forms = |digits: &str| {
        vec![
            format!("HANDFAST:/{digits}"),
            format!("handfast:/{digits}"),
            format!("HandFast:/{digits}"),
            format!("HTTPS://APP.EXAMPLE.ORG/#{digits}"),
            format!("https://app.example.org/#{digits}"),
            format!("Https://GO.Example.Com/#{digits}"),
            format!(" \t\u{a0}HANDFAST:/{digits}\r\n\u{3000}"),
        ]
    };
    let canonical = |digits: &str| vec![format!("HANDFAST:/{digits}")];
    let mut codes = vec![
        code("qr-new-enroll", "scheme and host in any case, white space around the text", 0, None, &forms),
        code("qr-new-unlock", "the same secret as above would lead to another offer key and PSK", 1, None, &canonical),
        code("qr-trusted-enroll", "the third kind", 2, None, &canonical),
        with_secret("zeros", "a secret and a hash of zeros: leading zeros are written", [0; 32]),
        with_secret("ones", "a secret and a hash of ff: the largest numbers of the groups", [0xff; 32]),
    ];
    for (name, scheme, authority) in [
        ("hint-ipv4-and-port", 0, "127.0.0.1:8474"),
        ("hint-name", 1, "relay.example.org"),
        ("hint-name-and-port", 1, "relay.example.org:443"),
        ("hint-one-letter", 0, "r"),
        ("hint-dashes-and-digits", 1, "4-a--b.9x.example"),
        ("hint-punycode", 1, "xn--bcher-kva.example"),
        ("hint-last-label-not-quite-a-number", 0, "a.0xg"),
        ("hint-ipv6", 1, "[2001:db8::8474]"),
        ("hint-ipv6-and-port", 0, "[::1]:8474"),
        ("hint-ipv6-with-ipv4", 0, "[::ffff:192.0.2.1]"),
        ("hint-lowest-port", 0, "relay:1"),
        ("hint-highest-port", 0, "relay:65535"),
        ("hint-longest", 1, "relay-number-1.example.org:80"),
    ] {
        codes.push(code(name, "a relay hint", 0, Some((scheme, authority)), &canonical));
    }
    codes
}

fn code(
    name: &str,
    comment: &str,
    kind: usize,
    hint: Option<(usize, &str)>,
    texts: &dyn Fn(&str) -> Vec<String>,
) -> QrCode {
    let secret = bytes("qr secret");
    finish(name, comment, kind, secret, bytes("qr offer hash"), hint, texts)
}

fn with_secret(name: &str, comment: &str, secret: [u8; 32]) -> QrCode {
    finish(name, comment, 0, secret, secret, None, &|digits| vec![format!("HANDFAST:/{digits}")])
}

fn finish(
    name: &str,
    comment: &str,
    kind: usize,
    secret: [u8; 32],
    offer_hash: [u8; 32],
    hint: Option<(usize, &str)>,
    texts: &dyn Fn(&str) -> Vec<String>,
) -> QrCode {
    let hint_bytes = hint.map(|(scheme, authority)| cat(&[&[scheme as u8 + 1], authority.as_bytes()]));
    let payload = payload(1, kind as u8 + 1, &secret, &offer_hash, &hint_bytes.unwrap_or_default());
    let suite = format!("handfast/1 {}", KINDS[kind]);
    QrCode {
        name: name.into(),
        comment: comment.into(),
        qr_kind: KINDS[kind].into(),
        qr_secret: Hex(secret.into()),
        offer_hash: Hex(offer_hash.into()),
        relay_hint: hint
            .map(|(scheme, authority)| RelayHint { scheme: SCHEMES[scheme].into(), authority: authority.into() }),
        mailbox_id: Hex(kdf(b"", &secret, &[b"handfast/1 qr mailbox"], 16)),
        offer_key: Hex(kdf(suite.as_bytes(), &secret, &[b"handfast/1 qr offer key"], 32)),
        channel_psk: Hex(kdf(suite.as_bytes(), &secret, &[b"handfast/1 qr psk"], 32)),
        texts: texts(&digits(&payload)),
        bytes: Hex(payload),
    }
}

fn payload(version: u8, kind: u8, secret: &[u8], offer_hash: &[u8], hint: &[u8]) -> Vec<u8> {
    cat(&[&[version, kind], secret, offer_hash, hint])
}

fn digits(payload: &[u8]) -> String {
    qr_text(payload).strip_prefix(PREFIX).unwrap().into()
}

fn invalid() -> Vec<RefusedText> {
    let mut refused = not_handfast();
    refused.extend(unknown());
    refused.extend(malformed());
    refused.extend(bad_hints());
    refused
}

/// A payload that is right but for what the arguments say.
fn plain(version: u8, kind: u8, hint: &[u8]) -> Vec<u8> {
    payload(version, kind, &bytes::<32>("qr secret"), &bytes::<32>("qr offer hash"), hint)
}

fn not_handfast() -> Vec<RefusedText> {
    let digits = digits(&plain(1, 1, b""));
    [
        ("nothing", String::new(), "no text"),
        ("only-digits", digits.clone(), "no scheme"),
        ("no-slash", format!("HANDFAST:{digits}"), "the slash belongs to it"),
        ("another-scheme", format!("HANDSHAKE:/{digits}"), "another program's"),
        ("in-the-middle", format!("see HANDFAST:/{digits}"), "text in front"),
        ("http-link", format!("HTTP://APP.EXAMPLE.ORG/#{digits}"), "app links are HTTPS"),
        ("another-host", format!("HTTPS://APP.EXAMPLE.COM/#{digits}"), "not a host of this app"),
        ("longer-host", format!("HTTPS://APP.EXAMPLE.ORG.EVIL.EXAMPLE/#{digits}"), "not a host of this app"),
        ("user-in-the-link", format!("HTTPS://APP.EXAMPLE.ORG@EVIL.EXAMPLE/#{digits}"), "not a host of this app"),
        ("port-in-the-link", format!("HTTPS://APP.EXAMPLE.ORG:443/#{digits}"), "a link has no port"),
        ("path-in-the-link", format!("HTTPS://APP.EXAMPLE.ORG/PAIR#{digits}"), "a link has no path"),
        ("query-in-the-link", format!("HTTPS://APP.EXAMPLE.ORG/?{digits}"), "the digits are in the fragment"),
    ]
    .map(|(name, text, comment)| RefusedText::new(name, "not_handfast", text, comment))
    .into()
}

fn unknown() -> Vec<RefusedText> {
    let mut refused = Vec::new();
    for version in [0, 2, 255] {
        let text = qr_text(&plain(version, 1, b""));
        refused.push(RefusedText::new(format!("version-{version}"), "unknown_version", text, "all else is right"));
    }
    let first_block = &qr_text(&plain(2, 1, b""))[..PREFIX.len() + BLOCK];
    for (name, tail) in [
        ("version-2-and-nothing-else", String::new()),
        ("version-2-and-letters", "ABC".into()),
        ("version-2-and-too-many-digits", "9".repeat(1000)),
    ] {
        let text = format!("{first_block}{tail}");
        refused.push(RefusedText::new(name, "unknown_version", text, "the version is judged before what follows"));
    }
    let text = qr_text(&plain(2, 9, b""));
    refused.push(RefusedText::new("version-2-and-kind-9", "unknown_version", text, "and before the kind"));
    for kind in [0, 4, 255] {
        let text = qr_text(&plain(1, kind, b""));
        refused.push(RefusedText::new(format!("kind-{kind}"), "unknown_kind", text, "all else is right"));
    }
    refused
}

fn malformed() -> Vec<RefusedText> {
    let digits = digits(&plain(1, 1, b""));
    // Ten whole groups.
    let whole = self::digits(&plain(1, 1, b"\x01a.b"));
    let mut cases = vec![
        ("only-the-scheme".into(), String::new(), "no digits"),
        ("sixteen-digits".into(), digits[..16].into(), "less than the first group"),
        ("letter-in-the-first-group".into(), format!("A{}", &digits[1..]), "no digit"),
        ("letter-in-the-second-group".into(), format!("{}A{}", &digits[..20], &digits[21..]), "no digit"),
        ("sign".into(), format!("{}+{}", &digits[..17], &digits[18..]), "a sign is no digit"),
        ("space-inside".into(), format!("{} {}", &digits[..17], &digits[17..]), "white space counts inside"),
        ("arabic-digit".into(), format!("{}\u{0660}{}", &digits[..20], &digits[21..]), "not an ASCII digit"),
        ("slash-behind".into(), format!("{digits}/"), "nothing may follow"),
        ("first-group-too-large".into(), format!("{}{}", "9".repeat(17), &digits[17..]), "no number of 7 bytes"),
        (
            "second-group-too-large".into(),
            format!("{}72057594037927936{}", &digits[..17], &digits[34..]),
            "2^56, one more than 7 bytes hold",
        ),
        ("last-group-too-large".into(), format!("{}16777216", &digits[..153]), "2^24, one more than 3 bytes hold"),
        ("one-byte-short".into(), self::digits(&plain(1, 1, b"")[..65]), "the offer hash is cut"),
        ("first-group-alone".into(), digits[..17].into(), "secret and hash are missing"),
        ("too-long".into(), self::digits(&plain(1, 1, &[b'a'; 31])), "97 bytes, 236 digits"),
        ("far-too-long".into(), whole.repeat(10), "1700 digits"),
    ];
    for length in [1, 2, 4, 6, 7, 9, 11, 12, 14, 16] {
        let text = format!("{whole}{}", "0".repeat(length));
        cases.push((format!("last-group-of-{length}"), text, "no number of bytes is written with so many digits"));
    }
    let refused = |(name, digits, comment): (String, String, &str)| {
        RefusedText::new(name, "malformed", format!("{PREFIX}{digits}"), comment)
    };
    cases.into_iter().map(refused).collect()
}

fn bad_hints() -> Vec<RefusedText> {
    let mut refused = Vec::new();
    for scheme in [0, 3, b'w'] {
        let text = qr_text(&plain(1, 1, &cat(&[&[scheme], b"relay.example.org"])));
        refused.push(RefusedText::new(format!("hint-scheme-{scheme}"), "bad_relay_hint", text, "1 is ws, 2 is wss"));
    }
    for (name, authority) in [
        ("nothing", &b""[..]),
        ("not-ascii", b"\xff"),
        ("non-ascii-letter", "b\u{fc}cher.example".as_bytes()),
        ("upper-case", b"Relay.example.org"),
        ("white-space", b"relay.example.org "),
        ("zero-byte", b"relay\0"),
        ("user", b"user@relay.example.org"),
        ("path", b"relay.example.org/v1"),
        ("percent", b"%72elay.example.org"),
        ("underscore", b"my_relay.example.org"),
        ("empty-label", b"relay..org"),
        ("leading-dot", b".example.org"),
        ("trailing-dot", b"relay.example.org."),
        ("leading-dash", b"-relay.example.org"),
        ("trailing-dash", b"relay-.example.org"),
        ("port-zero", b"relay:0"),
        ("port-65536", b"relay:65536"),
        ("port-with-leading-zero", b"relay:0443"),
        ("port-empty", b"relay:"),
        ("port-with-sign", b"relay:+443"),
        ("port-no-number", b"relay:https"),
        ("two-ports", b"relay:1:2"),
        ("only-a-port", b":8474"),
        ("ipv4-with-three-parts", b"127.0.1"),
        ("ipv4-with-five-parts", b"127.0.0.0.1"),
        ("ipv4-as-a-number", b"2130706433"),
        ("ipv4-in-hexadecimal", b"0x7f000001"),
        ("ipv4-part-in-hexadecimal", b"127.0.0.0x1"),
        ("hexadecimal-without-digits", b"a.0x"),
        ("ipv4-part-too-large", b"256.0.0.1"),
        ("ipv4-with-leading-zero", b"127.0.0.01"),
        ("name-with-a-number-last", b"relay.example.1"),
        ("ipv6-without-brackets", b"::1"),
        ("ipv6-open-bracket", b"[::1"),
        ("ipv6-upper-case", b"[2001:DB8::1]"),
        ("ipv6-zone", b"[fe80::1%eth0]"),
        ("ipv6-too-many-groups", b"[1:2:3:4:5:6:7:8:9]"),
        ("ipv6-text-behind", b"[::1]relay"),
        ("ipv4-in-brackets", b"[127.0.0.1]"),
        ("brackets-empty", b"[]"),
    ] {
        let text = qr_text(&plain(1, 1, &cat(&[&[1], authority])));
        refused.push(RefusedText::new(format!("hint-{name}"), "bad_relay_hint", text, "all else is right"));
    }
    refused
}
