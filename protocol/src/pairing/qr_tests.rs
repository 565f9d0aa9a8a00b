//! Tests of the QR payload.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use super::*;
use alloc::string::ToString;
use alloc::vec;
use proptest::prelude::*;
use qrcode::bits::Bits;
use qrcode::{EcLevel, Version};

const APP: &str = "app.example.org";

fn payload(kind: QrKind, hint: &str) -> QrPayload {
    let relay_hint = if hint.is_empty() { None } else { Some(hint.parse().unwrap()) };
    QrPayload { kind, psk: Secret::new([0xa5; 32]), offer_hash: [0xff; 32], relay_hint }
}

fn uri_of(bytes: &[u8]) -> String {
    format!("{URI_PREFIX}{}", *to_digits(bytes))
}

fn parse_bytes(bytes: &[u8]) -> Result<QrPayload, QrError> {
    QrPayload::parse(&uri_of(bytes), &[])
}

/// Fixes the byte order, the block sizes and the order of the fields.
#[test]
fn a_known_payload_has_the_known_uri() {
    let payload = QrPayload {
        kind: QrKind::NewUnlock,
        psk: Secret::new(core::array::from_fn(|i| i as u8)),
        offer_hash: core::array::from_fn(|i| 0xff - i as u8),
        relay_hint: Some("wss://relay.example:8474".parse().unwrap()),
    };
    let uri = "HANDFAST:/\
         0028367401687526801414002152901131033920537539422900537010535498344907348156956024831\
         7177390708562175269795855484580593678178038835394346583975228249827563861696966583660\
         2743631291877822131644379415852087052";
    assert_eq!(*payload.to_uri().reveal(), uri);
    assert_eq!(QrPayload::parse(uri, &[]), Ok(payload));
}

#[test]
fn links_are_read_in_any_case_and_with_white_space_around() {
    let payload = payload(QrKind::NewEnroll, "ws://127.0.0.1:8474");
    let (uri, link) = (payload.to_uri().reveal(), payload.to_app_link(APP).reveal());
    assert!(uri.starts_with("HANDFAST:/") && link.starts_with("HTTPS://APP.EXAMPLE.ORG/#"));
    for text in [uri.to_string(), link.to_string(), uri.to_lowercase(), link.to_lowercase(), format!(" \n{}\r\n", *uri)]
    {
        assert_eq!(QrPayload::parse(&text, &["other.example", "App.Example.Org"]), Ok(payload.clone()), "{text}");
    }
}

#[test]
fn other_texts_are_not_ours() {
    let payload = payload(QrKind::NewEnroll, "");
    let digits = payload.to_uri().reveal_segments().1.to_string();
    for text in [
        String::new(),
        "https://example.org/".into(),
        digits.clone(),
        format!("HANDFAST:{digits}"),
        format!("HANDFAST\u{e9}/{digits}"),
        format!("HTTP://APP.EXAMPLE.ORG/#{digits}"),
        format!("HTTPS://APP.EXAMPLE.ORG.EVIL.EXAMPLE/#{digits}"),
        format!("HTTPS://EVIL.EXAMPLE/APP.EXAMPLE.ORG/#{digits}"),
        format!("HTTPS://APP.EXAMPLE.ORG/{digits}"),
        format!("HTTPS://APP.EXAMPLE.ORG/?#{digits}"),
    ] {
        assert_eq!(QrPayload::parse(&text, &[APP]), Err(QrError::NotHandfast), "{text}");
    }
    let link = payload.to_app_link(APP).reveal();
    assert_eq!(QrPayload::parse(&link, &[]), Err(QrError::NotHandfast), "no app link without a registered host");
}

#[test]
fn another_version_is_told_whatever_follows() {
    let mut bytes = payload(QrKind::NewEnroll, "").encode();
    bytes[0] = 2;
    assert_eq!(parse_bytes(&bytes), Err(QrError::UnknownVersion(2)));
    bytes[1] = 200;
    assert_eq!(parse_bytes(&bytes), Err(QrError::UnknownVersion(2)));
    assert_eq!(parse_bytes(&[255; 300]), Err(QrError::UnknownVersion(255)));
    let text = format!("{}?and=more", uri_of(&[2; 7]));
    assert_eq!(QrPayload::parse(&text, &[]), Err(QrError::UnknownVersion(2)));
    bytes[0] = 0;
    assert_eq!(parse_bytes(&bytes), Err(QrError::UnknownVersion(0)));
}

#[test]
fn unknown_kinds_are_refused() {
    let mut bytes = payload(QrKind::NewEnroll, "").encode();
    for kind in (0..=255).filter(|kind| !(1..=3).contains(kind)) {
        bytes[1] = kind;
        assert_eq!(parse_bytes(&bytes), Err(QrError::UnknownKind(kind)));
    }
}

#[test]
fn each_kind_is_one_mode_and_purpose() {
    let kinds = [QrKind::NewEnroll, QrKind::NewUnlock, QrKind::TrustedEnroll];
    assert_eq!(
        kinds.map(|kind| (kind.code(), kind.mode(), kind.purpose())),
        [(1, Mode::QrNew, Purpose::Enroll), (2, Mode::QrNew, Purpose::Unlock), (3, Mode::QrTrusted, Purpose::Enroll)]
    );
}

#[test]
fn damaged_digits_are_refused() {
    let payload = payload(QrKind::TrustedEnroll, "wss://r.example");
    let uri = payload.to_uri().reveal();
    for len in URI_PREFIX.len()..uri.len() {
        let parsed = QrPayload::parse(&uri[..len], &[]);
        // A cut that ends with a block leaves a shorter hint, or a hint too short to be one.
        let expected = parsed == Err(QrError::Malformed) || len - URI_PREFIX.len() >= digits_for(66);
        assert!(expected && parsed.as_ref() != Ok(&payload), "{len}");
    }
    for place in URI_PREFIX.len()..uri.len() {
        for wrong in [" ", "-", "A", "\u{e9}", "\u{0661}", "+"] {
            let mut text = uri.to_string();
            text.replace_range(place..=place, wrong);
            assert!(QrPayload::parse(&text, &[]).is_err(), "{text}");
        }
    }
    assert_eq!(QrPayload::parse(&format!("{}0", *uri), &[]), Err(QrError::Malformed));
}

#[test]
fn a_block_holds_no_more_than_its_bytes() {
    for len in 1..=7 {
        let largest = to_digits(&vec![0xff; len]);
        assert_eq!(largest.len(), [3, 5, 8, 10, 13, 15, 17][len - 1]);
        assert_eq!(*from_digits(&largest).unwrap(), vec![0xff; len]);
        let overflow = format!("{:0width$}", 1_u64 << (8 * len), width = largest.len());
        assert_eq!(from_digits(&overflow), Err(QrError::Malformed), "{overflow}");
        assert_eq!(from_digits(&"9".repeat(largest.len())), Err(QrError::Malformed));
    }
    for len in [1, 2, 4, 6, 7, 9, 11, 12, 14, 16] {
        assert_eq!(from_digits(&"0".repeat(len)), Err(QrError::Malformed), "{len}");
    }
}

#[test]
fn a_payload_has_at_most_96_bytes() {
    let mut bytes = payload(QrKind::NewEnroll, "ws://a").encode().to_vec();
    bytes.resize(96, b'a');
    assert_eq!(parse_bytes(&bytes).unwrap().relay_hint.unwrap().authority().len(), RelayHint::MAX_AUTHORITY_BYTES);
    bytes.push(b'a');
    assert_eq!(parse_bytes(&bytes), Err(QrError::Malformed));
    assert_eq!(format!("ws://{}", "a".repeat(30)).parse::<RelayHint>(), Err(QrError::BadRelayHint));
}

#[test]
fn relay_hints_are_read_strictly() {
    for good in [
        "ws://a",
        "wss://relay.example.org",
        "ws://localhost:8474",
        "wss://xn--bcher-kva.example:1",
        "wss://3com.example:65535",
        "ws://127.0.0.1",
        "ws://192.168.100.200:65535",
        "ws://[::1]",
        "ws://[2001:db8::8a2e:370]:8474",
    ] {
        let hint: RelayHint = good.parse().unwrap();
        assert_eq!(hint.to_string(), good);
        assert_eq!(hint.is_tls(), good.starts_with("wss"));
        let payload = payload(QrKind::NewEnroll, good);
        assert_eq!(QrPayload::parse(&payload.to_uri().reveal(), &[]), Ok(payload));
    }
    for bad in [
        "relay.example",
        "http://relay.example",
        "WSS://relay.example",
        "wss://Relay.example",
        "wss://",
        "wss://relay.example/",
        "wss://relay.example/path",
        "wss://user@relay.example",
        "wss://relay.example?x",
        "wss://relay example",
        "wss://r\u{e9}lay.example",
        "wss://relay_1.example",
        "wss://.example",
        "wss://relay..example",
        "wss://relay.example.",
        "wss://-relay.example",
        "wss://relay-.example",
        "wss://relay.example:",
        "wss://relay.example:0",
        "wss://relay.example:080",
        "wss://relay.example:65536",
        "wss://relay.example:+80",
        "wss://relay.example:80:80",
        "ws://127.1",
        "ws://2130706433",
        "ws://0x7f000001",
        "ws://127.0.0.0x1",
        "ws://0177.0.0.1",
        "ws://256.0.0.1",
        "ws://1.2.3.4.5",
        "ws://::1",
        "ws://[::1",
        "ws://[::1]x",
        "ws://[::1]:",
        "ws://[::G]",
        "ws://[2001:DB8::1]",
        "ws://[fe80::1%1]",
        "ws://[127.0.0.1]",
        "ws://[]",
    ] {
        assert_eq!(bad.parse::<RelayHint>(), Err(QrError::BadRelayHint), "{bad}");
        let (scheme, authority) = bad.split_once("://").unwrap_or(("", bad));
        let mut bytes = payload(QrKind::NewEnroll, "").encode().to_vec();
        bytes.push(match scheme {
            "ws" => 1,
            "wss" => 2,
            _ => 3,
        });
        bytes.extend_from_slice(authority.as_bytes());
        assert_eq!(parse_bytes(&bytes), Err(QrError::BadRelayHint), "{bad}");
    }
    for scheme in (0..=255).filter(|scheme| ![1, 2].contains(scheme)) {
        assert_eq!(RelayHint::decode(scheme, b"relay.example"), Err(QrError::BadRelayHint));
    }
    assert_eq!(RelayHint::decode(1, b"relay\xff"), Err(QrError::BadRelayHint));
}

#[test]
fn debug_shows_no_secret() {
    let payload = payload(QrKind::NewEnroll, "wss://relay.example");
    assert_eq!(format!("{payload:?}"), "QrPayload(NewEnroll, ..)");
    assert_eq!(format!("{:?}", payload.to_uri()), "QrText(HANDFAST:/..)");
}

/// The smallest QR version that holds the text in the segments that we hand out.
fn version(text: &QrText, level: EcLevel) -> i16 {
    let (prefix, digits) = text.reveal_segments();
    let fits = |version: &i16| {
        let mut bits = Bits::new(Version::Normal(*version));
        let prefix = prefix.as_bytes();
        let pushed = match prefix.strip_suffix(b"#") {
            Some(start) => bits.push_alphanumeric_data(start).and_then(|()| bits.push_byte_data(b"#")),
            None => bits.push_alphanumeric_data(prefix),
        };
        pushed.and_then(|()| bits.push_numeric_data(digits.as_bytes())).is_ok() && bits.push_terminator(level).is_ok()
    };
    (1..=40).find(fits).unwrap()
}

#[test]
fn qr_codes_stay_small() {
    let shortest = payload(QrKind::NewEnroll, "");
    let longest = payload(QrKind::NewEnroll, &format!("wss://{}", "a".repeat(RelayHint::MAX_AUTHORITY_BYTES)));
    assert_eq!(longest.encode().len(), 96);
    assert_eq!(version(&shortest.to_uri(), EcLevel::M), 5);
    assert_eq!(version(&longest.to_uri(), EcLevel::M), 6);
    assert_eq!(version(&shortest.to_app_link(APP), EcLevel::M), 6);

    // A terminal shows two rows of modules per line of text, with a border of four modules on each side.
    for text in [longest.to_uri(), longest.to_app_link(APP)] {
        let modules = Version::Normal(version(&text, EcLevel::L)).width() + 2 * 4;
        assert!((modules + 1) / 2 <= 25, "{modules}");
    }
}

fn any_payload() -> impl Strategy<Value = QrPayload> {
    let kind = prop_oneof![Just(QrKind::NewEnroll), Just(QrKind::NewUnlock), Just(QrKind::TrustedEnroll)];
    let hint = proptest::option::of("wss?://[a-z0-9]{1,8}(\\.[a-z]{2,8}){0,2}(:[1-9][0-9]{0,3})?");
    (kind, any::<[u8; 32]>(), any::<[u8; 32]>(), hint).prop_filter_map("a valid hint", |(kind, psk, hash, hint)| {
        let relay_hint = hint.map(|hint| hint.parse()).transpose().ok()?;
        Some(QrPayload { kind, psk: Secret::new(psk), offer_hash: hash, relay_hint })
    })
}

proptest! {
    #[test]
    fn bytes_survive_digits(bytes in proptest::collection::vec(any::<u8>(), 0..=MAX_BYTES)) {
        prop_assert_eq!(&*from_digits(&to_digits(&bytes)).unwrap(), &bytes);
    }

    #[test]
    fn digits_that_parse_are_the_only_ones_for_their_bytes(digits in "[0-7]{0,40}") {
        if let Ok(bytes) = from_digits(&digits) {
            prop_assert_eq!(&*to_digits(&bytes), &digits);
        }
    }

    #[test]
    fn payloads_survive_links(payload in any_payload()) {
        prop_assert_eq!(&QrPayload::parse(&payload.to_uri().reveal(), &[]).unwrap(), &payload);
        prop_assert_eq!(&QrPayload::parse(&payload.to_app_link(APP).reveal(), &[APP]).unwrap(), &payload);
    }

    #[test]
    fn what_parses_is_written_back_identically(payload in any_payload(), place in 0..96_usize, byte: u8) {
        let mut bytes = payload.encode().to_vec();
        let place = place % bytes.len();
        bytes[place] = byte;
        if let Ok(parsed) = parse_bytes(&bytes) {
            prop_assert_eq!(&*parsed.to_uri().reveal(), &uri_of(&bytes));
        }
    }

    #[test]
    fn any_text_is_read_or_refused(text in "(?i:handfast:/)?[0-9\\PC]{0,300}") {
        let _ = QrPayload::parse(&text, &[APP]);
    }
}
