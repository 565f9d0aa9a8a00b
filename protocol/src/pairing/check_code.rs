//! The check code: six digits that a person carries from one screen to the other in QR modes.
//! `spec/protocol.md`, "Check code".

use crate::channel::Channel;
use crate::crypto::{CryptoError, kdf};
use crate::labels;
use crate::secret::Secret;
use alloc::format;
use alloc::string::String;
use core::fmt;
use core::str::FromStr;
use subtle::ConstantTimeEq;

/// Digits in a check code.
pub const DIGITS: usize = 6;

/// Six digits, compared in constant time, good for one try. Never a key.
#[derive(Clone)]
pub struct CheckCode(Secret<DIGITS>);

/// What was typed is not six digits. Nothing was sent and the one try is not used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckCodeError;

impl fmt::Display for CheckCodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a check code has six digits: type the ones that the other device shows")
    }
}

impl core::error::Error for CheckCodeError {}

impl FromStr for CheckCode {
    type Err = CheckCodeError;

    /// Takes six ASCII digits; spaces and dashes do not count.
    fn from_str(text: &str) -> Result<Self, CheckCodeError> {
        let mut digits = [0; DIGITS];
        let mut typed = text.chars().filter(|c| !c.is_whitespace() && *c != '-');
        for digit in &mut digits {
            let c = typed.next().filter(char::is_ascii_digit).ok_or(CheckCodeError)?;
            *digit = u8::try_from(c).map_err(|_| CheckCodeError)?;
        }
        if typed.next().is_some() { Err(CheckCodeError) } else { Ok(Self(Secret::new(digits))) }
    }
}

impl CheckCode {
    /// The digits as `123 456`, to show to the person who carries them.
    pub fn reveal(&self) -> String {
        let [a, b, c, d, e, f] = self.0.expose().map(char::from);
        format!("{a}{b}{c} {d}{e}{f}")
    }

    /// The check code of `qr-trusted` (no opening) and of `qr-new` (with the number that the commitment hides).
    pub(crate) fn derive(channel: &Channel, opening: Option<&Secret<32>>) -> Result<Self, CryptoError> {
        let secret: Secret<32> = channel.export(labels::EXPORT_CHECK_CODE)?;
        let opening: &[u8] = opening.map_or(&[], |opening| opening.expose());
        let stream: Secret<{ 4 * WORDS }> =
            kdf::hkdf(channel.session(), secret.expose(), &[labels::CHECK_CODE, opening]);
        let (words, _) = stream.expose().as_chunks::<4>();
        let number = unbiased(words.iter().map(|word| u32::from_be_bytes(*word))).ok_or(CryptoError)?;
        format!("{number:06}").parse().map_err(|_| CryptoError)
    }

    /// The code that [`CheckCode::digits`] gave; an error for anything but six ASCII digits.
    pub(crate) fn from_digits(digits: &[u8]) -> Result<Self, CheckCodeError> {
        let digits: &[u8; DIGITS] = digits.try_into().map_err(|_| CheckCodeError)?;
        let all = digits.iter().all(u8::is_ascii_digit);
        if all { Ok(Self(Secret::new(*digits))) } else { Err(CheckCodeError) }
    }

    /// As they are sent.
    pub(crate) fn digits(&self) -> &[u8; DIGITS] {
        self.0.expose()
    }
}

impl ConstantTimeEq for CheckCode {
    fn ct_eq(&self, other: &Self) -> subtle::Choice {
        self.0.expose().ct_eq(other.0.expose())
    }
}

impl fmt::Debug for CheckCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CheckCode(..)")
    }
}

const CODES: u32 = 1_000_000;

/// The largest multiple of [`CODES`] that 32 bits hold.
const BELOW: u32 = u32::MAX / CODES * CODES;

/// Words in one derivation. The chance that none of them can be used is below 2^-190.
const WORDS: usize = 16;

/// The first word below the largest multiple of a million, modulo a million: each code is equally likely.
fn unbiased(mut words: impl Iterator<Item = u32>) -> Option<u32> {
    words.find(|word| *word < BELOW).map(|word| word % CODES)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_constants_says_the_same() {
        let expected = serde_json::json!({ "digits": DIGITS, "words": WORDS, "below": BELOW, "modulus": CODES });
        assert_eq!(crate::crypto::test_support::constants()["check_code"], expected);
    }

    #[test]
    fn words_beyond_the_last_full_million_are_skipped() {
        assert_eq!(unbiased([u32::MAX, 4_294_000_000, 4_293_999_999].into_iter()), Some(999_999));
        assert_eq!(unbiased([7].into_iter()), Some(7));
        assert_eq!(unbiased([u32::MAX].into_iter()), None);
    }

    #[test]
    fn typed_digits_are_read_forgivingly_and_nothing_else_is() {
        let shown = CheckCode::from_str("012345").unwrap();
        for typed in ["012 345", " 0-1-2 345\n", "012-345"] {
            assert!(bool::from(CheckCode::from_str(typed).unwrap().ct_eq(&shown)), "{typed}");
        }
        assert!(!bool::from(CheckCode::from_str("012346").unwrap().ct_eq(&shown)));
        for typed in ["", "01234", "0123456", "01234a", "٠١٢٣٤٥"] {
            assert_eq!(CheckCode::from_str(typed).map(drop), Err(CheckCodeError), "{typed}");
        }
        assert_eq!(shown.reveal(), "012 345");
        assert_eq!(format!("{shown:?}"), "CheckCode(..)");
    }
}
