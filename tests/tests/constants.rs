//! `spec/constants.json`: its values are the code's, every constant of the code is in it, and the text says the same.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use handfast_protocol::bundle::{MAX_BUNDLE_BYTES, MAX_ENTRIES, MAX_SIGN_IN_SECRET_BYTES};
use handfast_protocol::device::{DeviceKey, Genesis};
use handfast_protocol::pairing::code::{CodeError, VerificationCode};
use handfast_protocol::pairing::qr::{QrPayload, RelayHint};
use handfast_protocol::secret::Secret;
use handfast_protocol::text::{AccountLabel, DeviceName, EntryName, Platform};
use handfast_protocol::wire::limits::{self, NAMEPLATE_BITS};
use handfast_protocol::wire::{Ack, ClientFrame, DecodeError, ErrorCode, Flags, LimitKind, Nameplate, RelayFrame};
use handfast_protocol::{
    CODE_CLAIMABLE_MS, MAX_REQUESTED_ENTRIES, QR_CLAIMABLE_MS, RECEIPT_LINGER_MS, RELAY_ANSWER_MS, Success, VERSION,
};
use handfast_tests::vectors::derivation::qr_text;
use rand::SeedableRng;
use rand::rngs::ChaCha12Rng;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::fmt::Debug;
use std::fs;
use std::path::{Path, PathBuf};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// Groups whose values are private to a crate, and the file whose tests compare them.
const ELSEWHERE: [(&str, &str); 16] = [
    ("labels", "protocol/src/labels.rs"),
    ("suites", "protocol/src/labels.rs"),
    ("hpke", "protocol/src/crypto/hpke_tests.rs"),
    ("modes", "protocol/src/constants_tests.rs"),
    ("purposes", "protocol/src/constants_tests.rs"),
    ("message_kinds", "protocol/src/constants_tests.rs"),
    ("abort_reasons", "protocol/src/constants_tests.rs"),
    ("abort_meanings", "protocol/src/constants_tests.rs"),
    ("extensions", "protocol/src/constants_tests.rs"),
    ("message_sizes", "protocol/src/constants_tests.rs"),
    ("bucket_bytes", "protocol/src/constants_tests.rs"),
    ("failures", "protocol/src/constants_tests.rs"),
    ("check_code", "protocol/src/pairing/check_code.rs"),
    ("attempts", "client-sdk/src/profile/mod.rs"),
    ("relay_defaults", "relay/src/config.rs"),
    ("exit_codes", "client-sdk/cli/src/exit.rs"),
];

/// The groups of the table.
fn table() -> Map<String, Value> {
    let mut table: Map<String, Value> = serde_json::from_str(&read("spec/constants.json")).unwrap();
    table.remove("comment");
    table
}

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(ROOT).join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every group that can be compared from here, with the values of the code.
fn of_the_code() -> Vec<(&'static str, Value)> {
    vec![
        ("versions", versions()),
        ("qr_kinds", qr_kinds()),
        ("relay_hint_schemes", relay_hint_schemes()),
        ("qr_code", qr_code()),
        (
            "bundle_limits",
            json!({
                "max_bundle_bytes": MAX_BUNDLE_BYTES,
                "max_entries": MAX_ENTRIES,
                "max_sign_in_secret_bytes": MAX_SIGN_IN_SECRET_BYTES,
                "max_requested_entries": MAX_REQUESTED_ENTRIES,
            }),
        ),
        (
            "text_limits",
            json!({
                "account_label_bytes": AccountLabel::MAX_BYTES,
                "device_name_bytes": DeviceName::MAX_BYTES,
                "platform_bytes": Platform::MAX_BYTES,
                "entry_name_bytes": EntryName::MAX_BYTES,
            }),
        ),
        ("code", code()),
        (
            "timers",
            json!({
                "code_claimable_ms": CODE_CLAIMABLE_MS,
                "qr_claimable_ms": QR_CLAIMABLE_MS,
                "relay_answer_ms": RELAY_ANSWER_MS,
                "receipt_linger_ms": RECEIPT_LINGER_MS,
            }),
        ),
        (
            "relay_limits",
            json!({
                "max_frame_bytes": limits::MAX_FRAME_BYTES,
                "data_header_bytes": limits::DATA_HEADER_BYTES,
                "max_payload_bytes": limits::MAX_PAYLOAD_BYTES,
                "window_frames": limits::WINDOW_FRAMES,
                "max_mailbox_frames": limits::MAX_MAILBOX_FRAMES,
                "mailbox_lifetime_ms": limits::MAILBOX_LIFETIME_MS,
                "mailbox_linger_ms": limits::MAILBOX_LINGER_MS,
                "mailbox_max_lifetime_ms": limits::MAILBOX_MAX_LIFETIME_MS,
                "claim_without_data_ms": limits::CLAIM_WITHOUT_DATA_MS,
                "nameplate_bits": limits::NAMEPLATE_BITS,
                "websocket_path": limits::WEBSOCKET_PATH,
                "default_port": limits::DEFAULT_PORT,
                "ping_interval_ms": limits::PING_INTERVAL_MS,
                "silence_ms": limits::SILENCE_MS,
            }),
        ),
        ("client_frames", frame_types(|bytes| ClientFrame::decode(bytes).map(|frame| snake_case(&frame)))),
        ("relay_frames", frame_types(|bytes| RelayFrame::decode(bytes).map(|frame| snake_case(&frame)))),
        ("flags", flags()),
        ("close_reasons", codes(|code| field(&[0x87, code], "reason"))),
        ("end_reasons", codes(|code| field(&[0x89, code], "reason"))),
        ("error_codes", codes(|code| field(&[&[0x8a, code, 0][..], &[0; 4]].concat(), "code"))),
        ("limit_kinds", codes(limit)),
        ("slots", codes(|code| field(&joined(code, 0, 0), "slot"))),
        ("peer_states", codes(|code| field(&joined(0, code, 0), "peer"))),
        ("networks", codes(|code| field(&joined(0, 0, code), "network"))),
        ("successes", json!([Success::Enrolled, Success::Unlocked].map(|success| snake_case(&success)))),
    ]
}

#[test]
fn every_value_is_the_codes() {
    let table = table();
    for (group, value) in of_the_code() {
        assert_eq!(table.get(group), Some(&value), "{group}");
    }
}

/// A group that nobody compares could say anything.
#[test]
fn every_group_is_compared_with_the_code() {
    let here = of_the_code().into_iter().map(|(group, _)| group);
    let compared: BTreeSet<_> = here.chain(ELSEWHERE.map(|(group, _)| group)).map(String::from).collect();
    assert_eq!(table().into_iter().map(|(group, _)| group).collect::<BTreeSet<_>>(), compared);
    for (group, path) in ELSEWHERE {
        let source = read(path);
        assert!(source.contains(&format!("\"{group}\"")), "{path} does not compare {group}");
        assert!(source.contains("constants"), "{path} does not read the table");
    }
}

/// A constant that others see is part of the protocol, and so of the table.
#[test]
fn every_public_constant_is_in_the_table() {
    let table = table();
    let mut names: BTreeSet<String> =
        table.values().filter_map(Value::as_object).flat_map(Map::keys).cloned().collect();
    names.extend(
        [
            "version",   // versions.protocol
            "digits",    // check_code.digits
            "max_bytes", // text_limits
            "count",     // of nameplates: 2 to the power of relay_limits.nameplate_bits
            "none",      // flags: no bit
        ]
        .map(String::from),
    );
    let mut found = 0;
    for path in sources("protocol/src").into_iter().chain(sources("protocol/wire/src")) {
        for line in fs::read_to_string(&path).unwrap().lines() {
            let Some(constant) = line.trim_start().strip_prefix("pub const ") else { continue };
            if let Some((name, _)) = constant.split_once(':').filter(|(name, _)| !name.starts_with("fn ")) {
                assert!(names.contains(&name.to_ascii_lowercase()), "{name} of {} is not in the table", path.display());
                found += 1;
            }
        }
    }
    assert!(found > 20, "only {found} constants: they are no longer found");
}

fn sources(folder: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![Path::new(ROOT).join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    found
}

/// The version octets of what this crate makes. That of a bundle at rest is in associated data: `device.json`.
fn versions() -> Value {
    let key = DeviceKey::from_secret(Secret::new([1; 32]));
    let genesis = Genesis::sign(AccountLabel::new("a").unwrap(), &key, &mut ChaCha12Rng::seed_from_u64(1)).encode();
    let read = |version| QrPayload::parse(&qr_text(&qr_payload(version, 1, b"")), &[]).is_ok();
    let qr_code = (0..=u8::MAX).filter(|version| read(*version)).collect::<Vec<_>>();
    assert_eq!(qr_code.len(), 1);
    json!({ "protocol": VERSION, "qr_code": qr_code[0], "genesis": genesis[0], "bundle_at_rest": 1 })
}

fn qr_payload(version: u8, kind: u8, hint: &[u8]) -> Vec<u8> {
    [&[version, kind][..], &[7; 64], hint].concat()
}

fn qr_kinds() -> Value {
    codes(|code| {
        let kind = QrPayload::parse(&qr_text(&qr_payload(1, code, b"")), &[]).ok()?.kind;
        Some(format!("{} {}", snake_case(&kind.mode()).replace('_', "-"), snake_case(&kind.purpose())))
    })
}

fn relay_hint_schemes() -> Value {
    codes(|code| {
        let hint = QrPayload::parse(&qr_text(&qr_payload(1, 1, &[code, b'a'])), &[]).ok()?.relay_hint?;
        hint.to_string().strip_suffix("://a").map(String::from)
    })
}

/// Read off the shortest and the longest text.
fn qr_code() -> Value {
    let text = |hint: &[u8]| QrPayload::parse(&qr_text(&qr_payload(1, 1, hint)), &[]).map(|code| code.to_uri());
    let authority = vec![b'a'; RelayHint::MAX_AUTHORITY_BYTES];
    let longest = text(&[&[1], authority.as_slice()].concat()).unwrap();
    assert!(text(&[&[1, b'a'], authority.as_slice()].concat()).is_err(), "nothing is longer");
    let shortest = text(b"").unwrap();
    // 66 bytes are nine blocks of 7 bytes and 3 bytes more, which take 8 digits.
    let block_digits = (shortest.reveal_segments().1.len() - 8) / 9;
    json!({
        "uri_prefix": shortest.reveal_segments().0,
        "max_bytes": qr_payload(1, 1, &authority).len() + 1,
        "max_digits": longest.reveal_segments().1.len(),
        "block_bytes": 7,
        "block_digits": block_digits,
        "max_authority_bytes": RelayHint::MAX_AUTHORITY_BYTES,
    })
}

fn code() -> Value {
    let shown = VerificationCode::generate(Nameplate::new(0).unwrap(), &mut ChaCha12Rng::seed_from_u64(1));
    let symbols = shown.reveal().to_string().replace('-', "").len();
    let nameplate_symbols = NAMEPLATE_BITS as usize / 5;
    // A symbol stands for itself: as the first of a code, whose nameplate counts up with it.
    let mut alphabet = String::new();
    for number in 0..32 {
        let code =
            VerificationCode::generate(Nameplate::new(number << 15).unwrap(), &mut ChaCha12Rng::seed_from_u64(1));
        alphabet.extend(code.reveal().to_string().chars().next());
    }
    let read = |c: char| c.to_string().parse::<VerificationCode>().err();
    let known = ('0'..='z').filter(|c| read(*c) == Some(CodeError::WrongLength { symbols: 1 }));
    let canonical = known.filter(|c| !c.is_ascii_lowercase() && !"OIL".contains(*c));
    assert!(canonical.eq(alphabet.chars()), "nothing else is read");
    json!({
        "symbols": symbols,
        "nameplate_symbols": nameplate_symbols,
        "secret_symbols": symbols - nameplate_symbols - 1,
        "alphabet": alphabet,
    })
}

/// The names of all frame types that decode: with zeros behind them, or with a little payload.
fn frame_types(decode: impl Fn(&[u8]) -> Result<String, DecodeError>) -> Value {
    codes(|code| {
        let decoded = (0..64).find_map(|length| decode(&[&[code][..], &vec![0; length]].concat()).ok());
        let unknown = decode(&[code]) == Err(DecodeError::BadValue("frame type"));
        assert_eq!(decoded.is_none(), unknown, "{code:#x}");
        decoded
    })
}

fn flags() -> Value {
    let encoded = |settled| *ClientFrame::Ack(Ack { ack: 0, flags: Flags { settled } }).encode().last().unwrap();
    assert_eq!(encoded(false), 0);
    json!({ "settled": encoded(true) })
}

/// A `Joined` with these codes.
fn joined(slot: u8, peer: u8, network: u8) -> Vec<u8> {
    [&[0x82][..], &[0; 16], &[slot], &[0; 4], &[peer, network], &[0; 12]].concat()
}

/// The name of what a field of a relay frame holds; none if the frame does not decode.
fn field(bytes: &[u8], name: &str) -> Option<String> {
    let printed = format!("{:?}", RelayFrame::decode(bytes).ok()?);
    let (_, value) = printed.split_once(&format!("{name}: ")).unwrap();
    Some(snake_case_of(value))
}

fn limit(code: u8) -> Option<String> {
    match RelayFrame::decode(&[&[0x8a, 6, code][..], &[0; 4]].concat()) {
        Ok(RelayFrame::Error { code: ErrorCode::Limit(LimitKind::Other(number)), .. }) => {
            assert_eq!(number, code);
            None
        }
        Ok(RelayFrame::Error { code: ErrorCode::Limit(limit), .. }) => Some(snake_case(&limit)),
        other => panic!("every limit is tolerated: {other:?}"),
    }
}

/// Names and codes, of all codes that have a name.
fn codes(name: impl Fn(u8) -> Option<String>) -> Value {
    (0..=u8::MAX).filter_map(|code| Some((name(code)?, json!(code)))).collect::<Map<_, _>>().into()
}

/// The name of a variant: `PeerLeft` is `peer_left`.
fn snake_case(value: &impl Debug) -> String {
    snake_case_of(&format!("{value:?}"))
}

fn snake_case_of(printed: &str) -> String {
    let mut name = String::new();
    for c in printed.chars().take_while(char::is_ascii_alphanumeric) {
        if c.is_ascii_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(c.to_ascii_lowercase());
    }
    name
}

/// Both ways: the text derives nothing with a label that the code does not have.
#[test]
fn the_text_writes_out_every_label() {
    let table = table();
    let labels = ["labels", "suites"].map(|group| table[group].as_object().unwrap().values());
    let labels: BTreeSet<&str> = labels.into_iter().flatten().map(|label| label.as_str().unwrap()).collect();
    let text = unwrapped("spec/protocol.md");
    let quoted = text.split('`').skip(1).step_by(2).filter(|quoted| quoted.starts_with("handfast/"));
    let not_labels = [
        "handfast/1 …",
        "handfast/2 …",
        "handfast/1 MODE PURPOSE",
        // Reserved.
        "handfast/1 code unlock",
        "handfast/1 qr-trusted unlock",
    ];
    let written: BTreeSet<&str> = quoted.filter(|quoted| !not_labels.contains(quoted)).collect();
    assert_eq!(written, labels);
}

/// The text without its line breaks, which may be anywhere, and without the marks of code blocks.
fn unwrapped(path: &str) -> String {
    let text = read(path);
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with("```")).map(str::trim).collect();
    lines.join(" ")
}

#[test]
fn the_text_lists_every_code() {
    let table = table();
    let (protocol, relay) = (read("spec/protocol.md"), read("spec/relay.md"));
    let codes = |group: &str| {
        let mut codes: Vec<(String, u64)> = Vec::new();
        codes.extend(
            table[group].as_object().unwrap().iter().map(|(name, code)| (name.clone(), code.as_u64().unwrap())),
        );
        codes.sort_by_key(|(_, code)| *code);
        codes
    };
    for (name, code) in codes("modes").into_iter().chain(codes("purposes")) {
        assert!(has_row(&protocol, &[&name, &code.to_string()]), "{name}");
    }
    for (name, code) in codes("message_kinds") {
        assert!(has_row(&protocol, &[&code.to_string(), &camel_case(&name)]), "{name}");
    }
    for (name, code) in codes("abort_reasons") {
        let meaning = table["abort_meanings"][&name].as_str().unwrap();
        let row = row(&protocol, &[&code.to_string(), &name.replace('_', " ")]);
        assert!(row.is_some_and(|row| row.contains(&meaning)), "{name} means {meaning}");
    }
    for (name, code) in codes("client_frames").into_iter().chain(codes("relay_frames")) {
        let rule = format!("= %x{code:02X}");
        let mut rules = relay.lines().filter_map(|line| line.trim_start().strip_prefix(&camel_case(&name)));
        assert!(rules.any(|rest| rest.trim_start().starts_with(&rule)), "{name} {rule}");
    }
    for group in ["close_reasons", "slots", "peer_states", "networks", "end_reasons"] {
        let names: Vec<String> = codes(group).into_iter().map(|(name, _)| name.replace('_', " ")).collect();
        let rule = format!("= %x00-{:02X}", names.len() - 1);
        let listed =
            relay.lines().any(|line| line.contains(&rule) && line.ends_with(&format!("; {}", names.join(", "))));
        assert!(listed, "{group}: {names:?}");
    }
    for (name, code) in codes("error_codes") {
        assert!(has_row(&relay, &[&code.to_string(), &name.replace('_', " ")]), "{name}");
    }
    for (name, code) in codes("limit_kinds") {
        let cell = format!("{code} {}", name.replace('_', " "));
        assert!(rows(&relay).any(|row| row.contains(&cell.as_str())), "{cell}");
    }
}

#[test]
fn the_text_names_every_outcome() {
    let table = table();
    let text = read("spec/protocol.md");
    let successes = table["successes"].as_array().unwrap().iter().filter_map(Value::as_str);
    for name in table["failures"].as_object().unwrap().keys().map(String::as_str).chain(successes) {
        assert!(text.contains(&format!("`{name}`")), "{name}");
    }
}

#[test]
fn the_text_gives_every_size_and_time() {
    let table = table();
    let (protocol, relay) = (unwrapped("spec/protocol.md"), unwrapped("spec/relay.md"));
    let protocol_groups = ["message_sizes", "bundle_limits", "text_limits", "timers"];
    let relay_groups = ["relay_limits", "relay_defaults"];
    let groups = protocol_groups.map(|group| (group, &protocol)).into_iter();
    for (group, text) in groups.chain(relay_groups.map(|group| (group, &relay))) {
        for (name, value) in table[group].as_object().unwrap() {
            // How the text says it: bits as a power of two, the header in the grammar of its frame.
            if ["nameplate_bits", "data_header_bytes"].contains(&name.as_str()) {
                continue;
            }
            let said = match value {
                Value::Number(number) if name.ends_with("_ms") => {
                    let seconds = number.as_u64().unwrap() / 1000;
                    // A list of times has its unit at the end.
                    has_word(text, &format!("{seconds} s")) || has_word(text, &format!("{seconds},"))
                }
                Value::Number(number) => has_word(text, &number.to_string()),
                Value::String(text_value) => text.contains(&format!("`{text_value}`")),
                _ => true,
            };
            assert!(said, "{group}.{name}: {value}");
        }
    }
    for bucket in table["bucket_bytes"].as_array().unwrap() {
        assert!(has_word(&protocol, &bucket.to_string()), "{bucket}");
    }
    for (group, name) in [("qr_code", "max_digits"), ("extensions", "max_bytes")] {
        assert!(has_word(&protocol, &table[group][name].to_string()), "{group}.{name}");
    }
    for name in ["below", "modulus"] {
        assert!(has_word(&protocol, &in_thousands(table["check_code"][name].as_u64().unwrap())), "{name}");
    }
}

/// The tables of the text say which time is which, and what each outcome means for others.
#[test]
fn times_and_outcomes_have_their_rows_in_the_text() {
    let table = table();
    let (protocol, sentences) = (read("spec/protocol.md"), unwrapped("spec/protocol.md"));
    let seconds = |group: &str, name: &str| table[group][name].as_u64().unwrap() / 1000;
    let [lifetime, linger, longest] = ["mailbox_lifetime_ms", "mailbox_linger_ms", "mailbox_max_lifetime_ms"]
        .map(|name| seconds("relay_limits", name));
    let lifetime = format!("{lifetime} s, at least {linger} s after the last accepted data frame, at most {longest} s");
    for (what, time) in [
        ("displayer: a code can be claimed", format!("{} s", seconds("timers", "code_claimable_ms"))),
        ("displayer: a QR code can be claimed", format!("{} s", seconds("timers", "qr_claimable_ms"))),
        ("mailbox lifetime", lifetime),
        ("relay's answer to the first frame", format!("{} s", seconds("timers", "relay_answer_ms"))),
        ("N waits for word about its receipt", format!("{} s", seconds("timers", "receipt_linger_ms"))),
        ("claim without M1", format!("{} s", seconds("relay_limits", "claim_without_data_ms"))),
    ] {
        assert!(has_row(&protocol, &[what, &time]), "{what}: {time}");
    }
    let burned = ["zero", "one", "two", "three", "four", "five", "six"]
        [usize::try_from(table["attempts"]["burns_allowed"].as_u64().unwrap()).unwrap()];
    let window = seconds("attempts", "burn_window_ms") / 60;
    let wait = seconds("attempts", "burn_wait_ms");
    let attempts = format!("After {burned} burned offers within {window} minutes T MUST wait until {wait} seconds");
    assert!(sentences.contains(&attempts), "{attempts}");

    let mut checked = 0;
    for (name, failure) in table["failures"].as_object().unwrap() {
        // Outcomes of the relay share a row, which says no more than that.
        let Some(cells) = row(&protocol, &[name]).filter(|cells| cells.len() == 4) else { continue };
        assert_eq!(cells[1], failure["fault"], "{name}");
        let abort = failure["abort"].as_str().unwrap_or_default().replace('_', " ").replace("as its", "of the");
        assert!(cells[3].contains(&abort) && cells[3].is_empty() == abort.is_empty(), "{name}: {abort}");
        checked += 1;
    }
    assert!(checked > 15, "only {checked} outcomes have a row");
}

/// `4 294 000 000`.
fn in_thousands(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().map(|group| std::str::from_utf8(group).unwrap()).collect();
    groups.join(" ")
}

/// Whether `word`, which begins with a number, is in the text, not as a part of a longer one.
fn has_word(text: &str, word: &str) -> bool {
    text.match_indices(word).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = text[at + word.len()..].chars().next();
        let longer =
            |c: char| if word.ends_with(char::is_alphabetic) { c.is_alphanumeric() } else { c.is_ascii_digit() };
        !before.is_some_and(|c| c.is_ascii_digit()) && !after.is_some_and(longer)
    })
}

fn camel_case(name: &str) -> String {
    name.split('_').map(|word| word[..1].to_ascii_uppercase() + &word[1..]).collect()
}

/// The cells of every row of a table.
fn rows(text: &str) -> impl Iterator<Item = Vec<&str>> {
    text.lines()
        .filter_map(|line| line.strip_prefix('|')?.strip_suffix('|'))
        .map(|row| row.split('|').map(|cell| cell.trim().trim_matches('`')).collect())
}

/// The first row that begins with these cells.
fn row<'a>(text: &'a str, cells: &[&str]) -> Option<Vec<&'a str>> {
    rows(text).find(|row| row.starts_with(cells))
}

fn has_row(text: &str, cells: &[&str]) -> bool {
    row(text, cells).is_some()
}
