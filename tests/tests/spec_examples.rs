//! The worked examples of the specification are values of the vectors: neither can change without the other.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use handfast_protocol::wire::{ClientFrame, RelayFrame};
use serde_json::Value;
use std::fs;
use std::path::Path;

const SPEC: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../spec");

/// In a block that opens with ```` ```vector FILE ````, each line is `path.in.the.file = value`: a number, text in quotes,
/// or hexadecimal, which may leave out its middle and then says how long it is. Lines with `;` are comments.
#[test]
fn worked_examples_are_values_of_the_vectors() {
    let text = fs::read_to_string(Path::new(SPEC).join("protocol.md")).unwrap();
    let mut file = None;
    let mut checked = 0;
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("```vector ") {
            let path = Path::new(SPEC).join("vectors").join(name);
            let content = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            file = Some(serde_json::from_str::<Value>(&content).unwrap());
        } else if line == "```" {
            file = None;
        } else if let Some(file) = file.as_ref().filter(|_| !line.starts_with(';')) {
            let (path, shown) = line.split_once('=').unwrap_or_else(|| panic!("no value: {line}"));
            let pointer = format!("/{}", path.trim().replace('.', "/"));
            let value = file.pointer(&pointer).unwrap_or_else(|| panic!("no such value: {line}"));
            assert!(shows(shown.trim(), value), "{line}\n  but the vector says {value}");
            checked += 1;
        }
    }
    assert!(checked > 50, "only {checked} examples: the blocks are no longer found");
}

/// Each row of the table: name, bytes in groups, fields.
#[test]
fn the_frames_in_the_relays_text_are_frames() {
    let text = fs::read_to_string(Path::new(SPEC).join("relay.md")).unwrap();
    let table = text.split("### 3.1 Examples").nth(1).unwrap().split("\nNot frames:").next().unwrap();
    let mut checked = 0;
    for row in table.lines().filter(|line| line.starts_with("| ")) {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let Some(bytes) = cells[2].strip_prefix('`').and_then(|bytes| bytes.strip_suffix('`')) else { continue };
        let bytes = hex::decode(bytes.replace(' ', "")).unwrap_or_else(|error| panic!("{row}: {error}"));
        let (printed, encoded) = match ClientFrame::decode(&bytes) {
            Ok(frame) => (format!("{frame:?}"), frame.encode()),
            Err(_) => RelayFrame::decode(&bytes).map(|frame| (format!("{frame:?}"), frame.encode())).unwrap(),
        };
        assert!(printed.starts_with(cells[1]), "{row}: {printed}");
        assert_eq!(encoded, bytes, "{row}");
        checked += 1;
    }
    assert_eq!(checked, 18);
}

fn shows(shown: &str, value: &Value) -> bool {
    match value {
        Value::Number(number) => number.to_string() == shown,
        Value::String(text) => match shown.strip_prefix('"').and_then(|quoted| quoted.strip_suffix('"')) {
            Some(quoted) => quoted == text || hex::decode(text).is_ok_and(|bytes| bytes == quoted.as_bytes()),
            None => shows_hex(shown, text),
        },
        _ => false,
    }
}

fn shows_hex(shown: &str, hex: &str) -> bool {
    let Some((head, rest)) = shown.split_once('…') else { return shown == hex };
    let Some((tail, length)) = rest.split_once(' ') else { return false };
    length == format!("({} octets)", hex.len() / 2)
        && head.len() + tail.len() < hex.len()
        && hex.starts_with(head)
        && hex.ends_with(tail)
}
