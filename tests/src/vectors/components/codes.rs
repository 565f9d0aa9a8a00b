//! Verification codes: `spec/protocol.md`, "Code".

use super::RefusedText;
use crate::vectors::derivation::{code_text, nameplate_symbols};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Codes {
    pub kind: String,
    pub comment: String,
    pub valid: Vec<Code>,
    pub invalid: Vec<RefusedText>,
}

/// A code, and texts that a person may type for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Code {
    pub name: String,
    pub comment: String,
    pub nameplate: u32,
    pub nameplate_symbols: String,
    pub secret_symbols: String,
    pub canonical: String,
    pub texts: Vec<String>,
}

const ALPHABET: &str = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// A code without two equal neighbours, used for what is refused.
const NAMEPLATE: u32 = 248_948;
const SECRET: &str = "Q2RX9TD";

pub fn file() -> Codes {
    Codes {
        kind: "codes".into(),
        comment: "Verification codes as they are typed. `valid`: every text is read as the same code. `invalid`: the \
                  text is refused with this error, nothing is sent and the code is still good."
            .into(),
        valid: valid(),
        invalid: invalid(),
    }
}

fn valid() -> Vec<Code> {
    let mut codes = vec![
        code("canonical", "with and without dashes, in any case", NAMEPLATE, SECRET, |text| {
            vec![text.into(), text.to_lowercase(), text.replace('-', ""), "7k3M-q2rX-9tDh".into()]
        }),
        code("white-space", "white space and dashes at any place", NAMEPLATE, SECRET, |text| {
            vec![
                format!(" {text}\r\n"),
                text.replace('-', " "),
                text.replace('-', "\t"),
                text.replace('-', "\u{a0}"),
                text.replace('-', "\u{2003}"),
                text.replace('-', "\u{3000}"),
                text.replace('-', "\u{2028}"),
                "--7 K3MQ- 2RX9-T DH--".into(),
            ]
        }),
        code("unicode-dashes", "what keyboards and chat programs make of a dash", NAMEPLATE, SECRET, |text| {
            let dashes = ["\u{ad}", "\u{2010}", "\u{2011}", "\u{2012}", "\u{2013}", "\u{2014}", "\u{2015}", "\u{2212}"];
            dashes.map(|dash| text.replace('-', dash)).into()
        }),
        code("look-alikes", "O is 0, I and L are 1", 1 << 15 | 1 << 5, "1010101", |text| {
            let (o, i, l) = (text.replace('0', "O"), text.replace('1', "I"), text.replace('1', "L"));
            vec![text.into(), o.clone(), o.to_lowercase(), i.clone(), i.to_lowercase(), l.clone(), l.to_lowercase()]
        }),
        code("all-zero", "the check symbol of zeros is zero", 0, "0000000", |text| {
            vec![text.into(), "OOOO-oooo-0000".into()]
        }),
        code("highest", "the highest nameplate, and the highest symbol seven times", 0xf_ffff, "ZZZZZZZ", |text| {
            vec![text.into()]
        }),
    ];
    // Every weight and every check symbol, so that a wrong table or order of symbols shows.
    for position in 0..11 {
        let mut symbols = [b'0'; 11];
        symbols[position] = b'1';
        let number = (0..4).fold(0, |number, i| number << 5 | u32::from(symbols[i] - b'0'));
        let secret = std::str::from_utf8(&symbols[4..]).unwrap();
        let comment = "a single 1: the check symbol is a power of alpha";
        codes.push(code(&format!("weight-of-symbol-{position}"), comment, number, secret, |text| vec![text.into()]));
    }
    for (value, symbol) in ALPHABET.char_indices() {
        let name = format!("value-of-symbol-{}", symbol.to_ascii_lowercase());
        let comment = "one symbol at each end of the secret";
        let (nameplate, secret) = (value as u32, format!("{symbol}00000{symbol}"));
        codes.push(code(&name, comment, nameplate, &secret, |text| vec![text.into()]));
    }
    codes.push(code(
        "unnoticed-mistake",
        "two symbols of `canonical` mistyped: 1 in 32 such mistakes makes another code, which fails at the other device",
        NAMEPLATE,
        &unnoticed(),
        |text| vec![text.into()],
    ));
    codes
}

fn code(name: &str, comment: &str, nameplate: u32, secret: &str, texts: impl Fn(&str) -> Vec<String>) -> Code {
    let symbols = nameplate_symbols(nameplate);
    let canonical = code_text(&symbols, secret.as_bytes());
    Code {
        name: name.into(),
        comment: comment.into(),
        nameplate,
        nameplate_symbols: String::from_utf8(symbols).unwrap(),
        secret_symbols: secret.into(),
        texts: texts(&canonical),
        canonical,
    }
}

fn canonical() -> String {
    code_text(&nameplate_symbols(NAMEPLATE), SECRET.as_bytes())
}

/// A secret with other first and last symbols that has the same check symbol.
fn unnoticed() -> String {
    let check = canonical().pop();
    let candidates = ALPHABET.chars().flat_map(|first| ALPHABET.chars().map(move |last| format!("{first}2RX9T{last}")));
    let mut alike = candidates
        .filter(|secret| code_text(&nameplate_symbols(NAMEPLATE), secret.as_bytes()).ends_with(check.unwrap()));
    alike.find(|secret| secret != SECRET).unwrap()
}

fn invalid() -> Vec<RefusedText> {
    let good = canonical();
    let symbols: Vec<char> = good.chars().filter(|c| *c != '-').collect();
    let text = |symbols: &[char]| symbols.iter().collect::<String>();
    let mut refused = vec![
        RefusedText::new("nothing", "empty", "", "no text"),
        RefusedText::new("only-separators", "empty", " - \u{2013} ", "no symbols"),
        RefusedText::new("eleven-symbols", "wrong_length", text(&symbols[..11]), "the last one is missing"),
        RefusedText::new("thirteen-symbols", "wrong_length", text(&symbols) + "0", "one too many"),
        RefusedText::new("one-symbol", "wrong_length", "7", "far too few"),
        RefusedText::new("twice", "wrong_length", format!("{good} {good}"), "pasted twice"),
    ];
    for (name, character) in [
        ("letter-u", 'U'),
        ("small-letter-u", 'u'),
        ("exclamation-mark", '!'),
        ("underscore", '_'),
        ("full-stop", '.'),
        ("fullwidth-digit", '\u{ff17}'),
        ("arabic-digit", '\u{0667}'),
        ("cyrillic-letter", '\u{041c}'),
        ("letter-with-ring", '\u{00c5}'),
        ("zero-width-space", '\u{200b}'),
        ("fullwidth-dash", '\u{ff0d}'),
        ("control-character", '\u{0007}'),
    ] {
        let mut wrong = symbols.clone();
        wrong[5] = character;
        refused.push(RefusedText::new(name, "bad_symbol", text(&wrong), "a character that is in no code"));
    }
    refused.push(RefusedText::new("bad-symbol-first", "bad_symbol", "U", "a bad symbol is reported before the length"));
    let late = text(&symbols) + "00U";
    refused.push(RefusedText::new("bad-symbol-after-the-end", "bad_symbol", late, "also behind the twelfth symbol"));

    let wrong_check = |name: String, symbols: &[char]| {
        RefusedText::new(name, "check_failed", text(symbols), "every single wrong symbol and every swap is caught")
    };
    for position in 0..12 {
        let mut wrong = symbols.clone();
        let value = ALPHABET.find(wrong[position]).unwrap();
        wrong[position] = ALPHABET.chars().nth((value + 7) % 32).unwrap();
        refused.push(wrong_check(format!("wrong-symbol-{position}"), &wrong));
    }
    for position in 0..11 {
        let mut swapped = symbols.clone();
        swapped.swap(position, position + 1);
        refused.push(wrong_check(format!("swapped-{position}-and-{}", position + 1), &swapped));
    }
    refused
}
