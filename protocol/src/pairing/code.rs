//! Verification codes: what a trusted device shows and a person types on a new one, `XXXX-XXXX-XXXX`.
//!
//! Twelve symbols of Crockford's base32: four are the mailbox's nameplate, seven the secret (35 bits), one a check
//! symbol. The check symbol catches every single wrong symbol and every swap of two neighbours, so that such a slip is
//! corrected at the keyboard instead of costing the code.
//!
//! The rest of the protocol takes two things from a code: where the mailbox is, and a byte string for CPace. A code
//! that is all secret (for a product whose own server brings the devices together) or made of words is therefore
//! another way to write and read [`VerificationCode`], and changes nothing else.

use crate::crypto::identity::{BASE32, base32_symbol};
use crate::secret::Secret;
use core::fmt::{self, Write as _};
use core::str::FromStr;
use handfast_wire::Nameplate;
use rand_core::CryptoRng;

const SYMBOLS: usize = 12;

/// A code as shown or typed. It is a live secret until its mailbox ends: it wipes itself, compares in constant time and
/// prints only through [`VerificationCode::reveal`].
#[derive(Clone, PartialEq, Eq)]
pub struct VerificationCode(Secret<SYMBOLS>); // Upper-case ASCII.

impl VerificationCode {
    /// A code for the mailbox that the relay named, with a fresh secret.
    pub fn generate(nameplate: Nameplate, rng: &mut (impl CryptoRng + ?Sized)) -> Self {
        let random: Secret<7> = Secret::random(rng);
        Self(Secret::filled(|symbols| {
            let (head, check) = symbols.split_at_mut(SYMBOLS - 1);
            let (route, secret) = head.split_at_mut(4);
            for (symbol, shift) in route.iter_mut().zip([15, 10, 5, 0]) {
                *symbol = base32_symbol((nameplate.number() >> shift) as u8);
            }
            for (symbol, byte) in secret.iter_mut().zip(random.expose()) {
                *symbol = base32_symbol(*byte);
            }
            check.fill(check_symbol(head));
        }))
    }

    /// The relay's name for the mailbox.
    pub fn nameplate(&self) -> Nameplate {
        let number = self.nameplate_symbols().iter().fold(0, |number, symbol| number << 5 | u32::from(value(*symbol)));
        let Ok(nameplate) = Nameplate::new(number) else {
            unreachable!("four symbols hold the 20 bits of a nameplate");
        };
        nameplate
    }

    /// The nameplate as typed: canonical upper-case ASCII.
    pub(crate) fn nameplate_symbols(&self) -> [u8; 4] {
        let [a, b, c, d, ..] = *self.0.expose();
        [a, b, c, d]
    }

    /// The secret as typed, without nameplate and check symbol: canonical upper-case ASCII. This is CPace's PRS.
    pub(crate) fn secret_symbols(&self) -> &[u8; 7] {
        let [_, _, _, _, secret @ .., _] = self.0.expose();
        secret
    }

    /// The code in the form to show to its owner, `XXXX-XXXX-XXXX`. Never log it.
    pub fn reveal(&self) -> impl fmt::Display + '_ {
        Revealed(self)
    }
}

/// Reads what a person typed: upper or lower case, with or without spaces and hyphens of any kind, O as 0, I and L
/// as 1.
impl FromStr for VerificationCode {
    type Err = CodeError;

    fn from_str(text: &str) -> Result<Self, CodeError> {
        let mut count = 0;
        let mut bad = None;
        let symbols = Secret::filled(|symbols: &mut [u8; SYMBOLS]| {
            for character in text.chars().filter(|character| !is_separator(*character)) {
                match (canonical(character), symbols.get_mut(count)) {
                    (Some(symbol), Some(place)) => *place = symbol,
                    (Some(_), None) => {}
                    (None, _) => bad = bad.or(Some(count)),
                }
                count += 1;
            }
        });
        match (bad, count) {
            (Some(position), _) => Err(CodeError::BadSymbol { position }),
            (None, 0) => Err(CodeError::Empty),
            (None, SYMBOLS) if weighted_sum(symbols.expose()) == 0 => Ok(Self(symbols)),
            (None, SYMBOLS) => Err(CodeError::CheckFailed),
            (None, _) => Err(CodeError::WrongLength { symbols: count }),
        }
    }
}

impl fmt::Debug for VerificationCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("VerificationCode(..)")
    }
}

/// Why typed text is no code. None of these costs the code: the person types again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CodeError {
    /// No symbols at all.
    Empty,
    /// Too few or too many symbols.
    WrongLength {
        /// How many there are; a code has 12.
        symbols: usize,
    },
    /// A character that no code contains, such as U.
    BadSymbol {
        /// Where it is among the symbols, counted from 0 and without separators.
        position: usize,
    },
    /// Twelve symbols that are no code: at least one was mistyped.
    CheckFailed,
}

impl fmt::Display for CodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("no code was typed"),
            Self::WrongLength { symbols } => write!(f, "a code has {SYMBOLS} letters and digits, this has {symbols}"),
            Self::BadSymbol { position } => {
                write!(f, "character {} of the code is not one that codes use", position + 1)
            }
            Self::CheckFailed => f.write_str("the code has a typing mistake"),
        }
    }
}

impl core::error::Error for CodeError {}

struct Revealed<'a>(&'a VerificationCode);

impl fmt::Display for Revealed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, symbol) in self.0.0.expose().iter().enumerate() {
            if position == 4 || position == 8 {
                f.write_char('-')?;
            }
            f.write_char(char::from(*symbol))?;
        }
        Ok(())
    }
}

/// Spaces and hyphens, with the variants that keyboards and chat programs put in their place.
fn is_separator(character: char) -> bool {
    character.is_whitespace() || matches!(character, '-' | '\u{ad}' | '\u{2010}'..='\u{2015}' | '\u{2212}')
}

/// The symbol that a typed character stands for.
fn canonical(character: char) -> Option<u8> {
    match u8::try_from(character).ok()?.to_ascii_uppercase() {
        b'O' => Some(b'0'),
        b'I' | b'L' => Some(b'1'),
        symbol => BASE32.contains(&symbol).then_some(symbol),
    }
}

/// The five bits of a canonical symbol.
fn value(symbol: u8) -> u8 {
    BASE32.iter().zip(0..).find_map(|(known, value)| (*known == symbol).then_some(value)).unwrap_or_default()
}

/// The symbol that makes a code of the eleven before it: the weighted sum of all twelve is zero.
fn check_symbol(head: &[u8]) -> u8 {
    // Divides by alpha^11, as alpha^31 = 1.
    base32_symbol((11..31).fold(weighted_sum(head), |sum, _| times_alpha(sum)))
}

/// The sum of alpha^i times the i-th symbol over GF(32). A wrong symbol changes it because no power of alpha is zero,
/// a swap of neighbours because no two powers in a row are equal.
fn weighted_sum(symbols: &[u8]) -> u8 {
    symbols.iter().rev().fold(0, |sum, symbol| times_alpha(sum) ^ value(*symbol))
}

/// Multiplies by alpha = x in GF(2)[x] / (x^5 + x^2 + 1).
fn times_alpha(element: u8) -> u8 {
    let shifted = element << 1;
    if shifted & 0b10_0000 == 0 { shifted } else { shifted ^ 0b10_0101 }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use alloc::format;
    use alloc::string::{String, ToString};
    use alloc::vec::Vec;
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand::rngs::ChaCha12Rng;

    fn code(seed: u64) -> VerificationCode {
        let nameplate = Nameplate::new((seed * 7919) as u32 % Nameplate::COUNT).unwrap();
        VerificationCode::generate(nameplate, &mut ChaCha12Rng::seed_from_u64(seed))
    }

    fn symbols(code: &VerificationCode) -> [u8; 12] {
        *code.0.expose()
    }

    fn parse(symbols: &[u8]) -> Result<VerificationCode, CodeError> {
        core::str::from_utf8(symbols).unwrap().parse()
    }

    /// Fixes the field, the weights and the order of the symbols.
    #[test]
    fn a_known_code_has_the_known_parts() {
        let code: VerificationCode = "7K3M-Q2RX-9TDH".parse().unwrap();
        assert_eq!(code.nameplate().number(), 248_948);
        assert_eq!(&code.nameplate_symbols(), b"7K3M");
        assert_eq!(code.secret_symbols(), b"Q2RX9TD");
    }

    #[test]
    fn every_single_wrong_symbol_is_caught() {
        for seed in 0..20 {
            let good = symbols(&code(seed));
            for position in 0..12 {
                for symbol in BASE32.iter().filter(|symbol| **symbol != good[position]) {
                    let mut wrong = good;
                    wrong[position] = *symbol;
                    assert_eq!(parse(&wrong), Err(CodeError::CheckFailed));
                }
            }
        }
    }

    #[test]
    fn every_swap_of_neighbours_is_caught() {
        // Each pair of different symbols at each place, the check symbol's included.
        for position in 0..11 {
            for first in 0..32 {
                for second in (0..32).filter(|second| *second != first) {
                    let mut values = [0; 12];
                    (values[position], values[position + 1]) = (first, second);
                    let straight = weighted_sum(&values.map(base32_symbol));
                    values.swap(position, position + 1);
                    assert_ne!(weighted_sum(&values.map(base32_symbol)), straight);
                }
            }
        }
        for seed in 0..100 {
            let good = symbols(&code(seed));
            for position in 0..11 {
                let mut swapped = good;
                swapped.swap(position, position + 1);
                if swapped != good {
                    assert_eq!(parse(&swapped), Err(CodeError::CheckFailed));
                }
            }
        }
    }

    #[test]
    fn what_people_type_is_read() {
        let code = code(1);
        let shown = code.reveal().to_string();
        let bare = shown.replace('-', "");
        let typed = [
            shown.to_lowercase(),
            bare.clone(),
            format!("  {} \n", shown.replace('-', " ")),
            shown.replace('-', "\u{2011}"),
            shown.replace('-', "\u{2014}"),
            shown.replace('-', "\u{a0}"),
            shown.replace('-', "\u{202f}\u{ad}\u{2212}"),
            bare.chars().flat_map(|c| [c, '-']).collect(),
        ];
        for text in typed {
            assert_eq!(text.parse(), Ok(code.clone()), "{text:?}");
        }
    }

    #[test]
    fn look_alikes_are_read_as_digits() {
        // All-zero and all-one heads with their check symbols: every position can hold a look-alike.
        let zeros: VerificationCode = "0000-0000-0000".parse().unwrap();
        assert_eq!("OoO0-oO0o-OOOO".parse(), Ok(zeros));
        let mut head = [b'1'; 12];
        head[11] = check_symbol(&head[..11]);
        let ones = parse(&head).unwrap();
        for look_alike in ["I", "i", "L", "l"] {
            let typed = String::from_utf8(head.to_vec()).unwrap().replace('1', look_alike);
            assert_eq!(typed.parse(), Ok(ones.clone()));
        }
        assert_eq!(ones.secret_symbols(), b"1111111");
    }

    #[test]
    fn refusals_say_what_is_wrong() {
        let parse = |text: &str| text.parse::<VerificationCode>();
        assert_eq!(parse(""), Err(CodeError::Empty));
        assert_eq!(parse(" - \u{2013} "), Err(CodeError::Empty));
        assert_eq!(parse("0000-0000-000"), Err(CodeError::WrongLength { symbols: 11 }));
        assert_eq!(parse("0000-0000-0000-0"), Err(CodeError::WrongLength { symbols: 13 }));
        assert_eq!(parse(&"0".repeat(100_000)), Err(CodeError::WrongLength { symbols: 100_000 }));
        assert_eq!(parse("0000-U000-0000"), Err(CodeError::BadSymbol { position: 4 }));
        assert_eq!(parse("0000-0u00-00U0"), Err(CodeError::BadSymbol { position: 5 }));
        for bad in ["\u{0}", "!", "\u{e9}", "\u{ff10}", "\u{130}", "\u{1f600}"] {
            assert_eq!(parse(&format!("0000-0000-000{bad}")), Err(CodeError::BadSymbol { position: 11 }), "{bad:?}");
        }
        assert_eq!(parse("0000-0000-0001"), Err(CodeError::CheckFailed));
    }

    #[test]
    fn debug_and_errors_show_no_symbol() {
        assert_eq!(format!("{:?}", code(3)), "VerificationCode(..)");
        assert_eq!(
            CodeError::BadSymbol { position: 4 }.to_string(),
            "character 5 of the code is not one that codes use"
        );
    }

    #[test]
    fn the_secret_is_drawn_anew_and_reaches_every_symbol() {
        let nameplate = Nameplate::new(5).unwrap();
        let mut rng = ChaCha12Rng::seed_from_u64(0);
        let secrets: Vec<[u8; 7]> =
            (0..500).map(|_| *VerificationCode::generate(nameplate, &mut rng).secret_symbols()).collect();
        for place in 0..7 {
            for symbol in BASE32 {
                assert!(secrets.iter().any(|secret| secret[place] == *symbol));
            }
        }
    }

    proptest! {
        #[test]
        fn codes_survive_showing_and_typing(number in 0..Nameplate::COUNT, seed: u64) {
            let nameplate = Nameplate::new(number).unwrap();
            let code = VerificationCode::generate(nameplate, &mut ChaCha12Rng::seed_from_u64(seed));
            let shown = code.reveal().to_string();
            prop_assert_eq!(shown.len(), 14);
            let typed: VerificationCode = shown.parse().unwrap();
            prop_assert_eq!(typed.nameplate(), nameplate);
            prop_assert_eq!(typed.secret_symbols(), code.secret_symbols());
            prop_assert_eq!(typed, code);
        }

        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,40}") {
            if let Ok(code) = text.parse::<VerificationCode>() {
                prop_assert_eq!(code.reveal().to_string().parse(), Ok(code));
            }
        }

        #[test]
        fn any_twelve_symbols_that_parse_are_shown_as_typed(text in "[0-9A-HJKMNP-TV-Z]{11}") {
            let mut typed = text.into_bytes();
            typed.push(check_symbol(&typed));
            prop_assert_eq!(parse(&typed).unwrap().reveal().to_string().replace('-', "").into_bytes(), typed);
        }
    }
}
