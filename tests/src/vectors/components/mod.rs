//! Files of single parts: one JSON file for each kind, with cases that decode and cases that are refused.
//!
//! They are made from the written rules: nothing here calls the crates that are tested with them.

#![allow(missing_docs, reason = "the fields are those of the files: `spec/vectors/README.md` says what they hold")]

pub mod codes;
pub mod device;
pub mod frames;
pub mod objects;
pub mod qr;
pub mod signatures;
pub mod texts;

use super::derivation::kdf;
use super::format;
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;

/// Every file of this kind: its path in `spec/vectors`, and its content.
pub fn files() -> Vec<(String, String)> {
    vec![
        ("codes.json".into(), write(&codes::file())),
        ("device.json".into(), write(&device::file())),
        ("frames.json".into(), write(&frames::file())),
        ("objects.json".into(), write(&objects::file())),
        ("qr.json".into(), write(&qr::file())),
        ("signatures.json".into(), write(&signatures::file())),
    ]
}

/// A text that is refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RefusedText {
    pub name: String,
    pub comment: String,
    pub text: String,
    pub error: String,
}

impl RefusedText {
    fn new(name: impl Into<String>, error: &str, text: impl Into<String>, comment: impl Into<String>) -> Self {
        Self { name: name.into(), comment: comment.into(), text: text.into(), error: error.into() }
    }
}

/// Why an encoding is refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reason {
    /// `truncated`, `trailing_bytes`, `too_long` or `bad_value`.
    pub error: String,
    /// Which field, for the last two.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
}

impl Reason {
    fn truncated() -> Self {
        Self { error: "truncated".into(), field: None }
    }

    fn trailing() -> Self {
        Self { error: "trailing_bytes".into(), field: None }
    }

    fn too_long(field: &str) -> Self {
        Self { error: "too_long".into(), field: Some(field.into()) }
    }

    fn bad_value(field: &str) -> Self {
        Self { error: "bad_value".into(), field: Some(field.into()) }
    }
}

/// Bytes that look random and belong to `name`.
fn bytes<const N: usize>(name: &str) -> [u8; N] {
    kdf(b"", name.as_bytes(), &[b"vectors"], N).try_into().unwrap()
}

/// JSON in which everything but printable ASCII is escaped: invisible characters are to be seen.
fn write(file: &impl Serialize) -> String {
    let mut json = String::new();
    for c in format::write(file).chars() {
        if c.is_ascii() && c != '\u{7f}' {
            json.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                write!(json, "\\u{unit:04x}").unwrap();
            }
        }
    }
    json
}
