//! Text that people read: `spec/protocol.md`, "Text that people read".

use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// A text under the rule of one field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Text {
    pub name: String,
    pub comment: String,
    pub field: Field,
    pub text: String,
    /// `empty`, `too_long` or `unprintable`; none for a text that is taken.
    pub error: Option<String>,
}

/// Whose limit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Field {
    AccountLabel,
    EntryName,
    DeviceName,
    Platform,
}

/// What a peer calls itself, and what is shown of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claim {
    pub name: String,
    pub comment: String,
    pub text: String,
    pub cleaned: String,
}

const LIMITS: [(Field, &str, usize); 4] = [
    (Field::AccountLabel, "account-label", 128),
    (Field::EntryName, "entry-name", 64),
    (Field::DeviceName, "device-name", 64),
    (Field::Platform, "platform", 32),
];

/// First and last of each range of unprintable characters but the control characters.
const UNPRINTABLE: [(u32, u32); 20] = [
    (0xad, 0xad),
    (0x34f, 0x34f),
    (0x61c, 0x61c),
    (0x115f, 0x1160),
    (0x17b4, 0x17b5),
    (0x180b, 0x180f),
    (0x200b, 0x200f),
    (0x2028, 0x202e),
    (0x2060, 0x206f),
    (0x2800, 0x2800),
    (0x3164, 0x3164),
    (0xfe00, 0xfe0f),
    (0xfeff, 0xfeff),
    (0xffa0, 0xffa0),
    (0xfff0, 0xfffb),
    (0x1_bca0, 0x1_bca3),
    (0x1_d173, 0x1_d17a),
    (0xe_0000, 0xe_0fff),
    (0x00, 0x1f),
    (0x7f, 0x9f),
];

pub fn texts() -> Vec<Text> {
    let mut texts = Vec::new();
    let mut add = |name: String, comment: &str, field, text: String, error: Option<&str>| {
        texts.push(Text { name, comment: comment.into(), field, text, error: error.map(Into::into) });
    };
    for (field, name, max) in LIMITS {
        add(format!("{name}-shortest"), "one character", field, "a".into(), None);
        add(format!("{name}-longest"), "as many bytes as are allowed", field, "a".repeat(max), None);
        let accents = "\u{e9}".repeat(max / 2);
        add(format!("{name}-longest-in-bytes"), "half as many characters of two bytes", field, accents, None);
        add(format!("{name}-too-long"), "one byte more", field, "a".repeat(max + 1), Some("too_long"));
        let accents = "\u{e9}".repeat(max / 2 + 1);
        add(format!("{name}-too-long-in-bytes"), "bytes count, not characters", field, accents, Some("too_long"));
        add(format!("{name}-empty"), "no character", field, String::new(), Some("empty"));
        add(format!("{name}-space"), "white space only", field, " ".into(), Some("empty"));
        add(format!("{name}-bell"), "a control character", field, "bell\u{7}".into(), Some("unprintable"));
    }
    let field = Field::EntryName;
    for (name, text) in [
        ("inner-space", "my key"),
        ("outer-space", " my key "),
        ("ideographic-space-inside", "a\u{3000}b"),
        ("quotes", "\"key\" 'of' mine"),
        ("accents", "Schl\u{fc}ssel"),
        ("combining-accent", "e\u{301}"),
        ("cyrillic", "\u{43a}\u{43b}\u{44e}\u{447}"),
        ("right-to-left-script", "\u{5de}\u{5e4}\u{5ea}\u{5d7}"),
        ("emoji", "\u{1f511}"),
        ("highest-character", "\u{10ffff}"),
        ("private-use", "\u{e000}"),
    ] {
        add(name.into(), "printable", field, text.into(), None);
    }
    for (name, text) in [
        ("blank-ideographic", "\u{3000}"),
        ("blank-mixed", "\u{a0}\u{2003}\u{2029}\t"),
        ("blank-next-line", "\u{85}"),
        ("blank-longer-than-allowed", " ".repeat(65).as_str()),
    ] {
        add(name.into(), "white space of Unicode; judged before anything else", field, text.into(), Some("empty"));
    }
    let long = "\u{7}".repeat(65);
    add("long-and-unprintable".into(), "the length is judged first", field, long, Some("too_long"));

    for (first, last) in UNPRINTABLE {
        for code in BTreeSet::from([first, last]) {
            let c = char::from_u32(code).unwrap();
            add(name(code), "the end of a range that is not allowed", field, format!("a{c}b"), Some("unprintable"));
        }
        for code in [first.wrapping_sub(1), last + 1] {
            let printable = !UNPRINTABLE.iter().any(|(first, last)| (*first..=*last).contains(&code));
            if let (Some(c), true) = (char::from_u32(code), printable) {
                add(name(code), "a neighbour that is allowed", field, format!("a{c}b"), None);
            }
        }
    }
    texts
}

fn name(code: u32) -> String {
    format!("u+{code:04x}")
}

pub fn claims() -> Vec<Claim> {
    [
        ("plain", "stays as it is", "phone", "phone"),
        ("nothing", "a peer may have no name", "", ""),
        ("nothing-left", "a name of invisible characters", "\u{200b}\u{202e}\u{7}", ""),
        ("spaces", "runs of white space become one space, none at the ends", "  my \u{3000}\t phone\r\n", "my phone"),
        ("line-breaks", "a name has one line", "phone\nAPPROVED\u{2028}yes\u{85}no", "phone APPROVED yes no"),
        ("escape-sequence", "the escape character goes, the rest is harmless", "\u{1b}[31mphone", "[31mphone"),
        ("information-separators", "U+001C to U+001F are no white space", "a\u{1c}b\u{1d}c\u{1e}d\u{1f}e", "abcde"),
        (
            "bidirectional",
            "embeddings, overrides and isolates go",
            "\u{202e}enohp\u{202c} \u{2067}x\u{2069}",
            "enohp x",
        ),
        ("zero-width", "zero-width characters and the byte order mark go", "p\u{200b}h\u{200d}o\u{feff}ne", "phone"),
        ("variation-selectors", "they go", "\u{2764}\u{fe0f}\u{e0100}", "\u{2764}"),
        ("tags", "invisible copies of ASCII", "x\u{e0041}\u{e0042}", "x"),
        ("soft-hyphen", "goes", "pho\u{ad}ne", "phone"),
        ("hangul-fillers", "look like nothing", "a\u{3164}b\u{115f}c\u{ffa0}d", "abcd"),
        ("braille-blank", "looks like a space and is none", "a\u{2800}b", "ab"),
        ("quotes", "screens put quotes around a name", "\"phone\" (ok)", "'phone' (ok)"),
        ("space-between-dropped", "white space is found after the others are dropped", "a \u{200b} b", "a b"),
        (
            "letters-of-all-kinds",
            "everything printable stays",
            "Ger\u{e4}t \u{1f4f1} \u{5d0}",
            "Ger\u{e4}t \u{1f4f1} \u{5d0}",
        ),
    ]
    .map(|(name, comment, text, cleaned)| Claim {
        name: name.into(),
        comment: comment.into(),
        text: text.into(),
        cleaned: cleaned.into(),
    })
    .into()
}
