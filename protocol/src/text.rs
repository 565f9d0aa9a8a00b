//! Bounded text that travels: what people call accounts, devices and bundle entries.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use handfast_wire::DecodeError;
use handfast_wire::codec::{Reader, Writer};

/// Text is empty, too long, or holds a character that could deceive the person who reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TextError {
    /// Nothing in it.
    Empty,
    /// More than this many bytes of UTF-8.
    TooLong(usize),
    /// A control, bidirectional or zero-width character.
    Unprintable,
}

impl fmt::Display for TextError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("it is empty: give it at least one character"),
            Self::TooLong(max) => write!(f, "it is too long: at most {max} bytes"),
            Self::Unprintable => f.write_str("it holds a control or invisible character: leave that out"),
        }
    }
}

impl core::error::Error for TextError {}

macro_rules! bounded_text {
    ($(#[$doc:meta])* $name:ident, $max:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// Its limit in bytes of UTF-8.
            pub const MAX_BYTES: usize = $max;

            /// Checks `text`: not empty, within the limit, every character printable.
            pub fn new(text: &str) -> Result<Self, TextError> {
                if text.trim().is_empty() {
                    return Err(TextError::Empty);
                }
                if text.len() > Self::MAX_BYTES {
                    return Err(TextError::TooLong(Self::MAX_BYTES));
                }
                if text.chars().any(is_unprintable) {
                    return Err(TextError::Unprintable);
                }
                Ok(Self(text.into()))
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

bounded_text!(
    /// What a person calls an account, such as a mail address. At most 128 bytes.
    AccountLabel, 128
);
bounded_text!(
    /// What a device calls itself. At most 64 bytes. Chosen by that device: it proves nothing.
    DeviceName, 64
);
bounded_text!(
    /// What kind of machine a device says it is, such as `linux x86_64`. At most 32 bytes. It proves nothing.
    Platform, 32
);
bounded_text!(
    /// The name of an entry in a bundle. At most 64 bytes.
    EntryName, 64
);

macro_rules! text_codec {
    ($name:ident, $field:literal) => {
        impl $name {
            pub(crate) fn write(&self, w: &mut Writer) {
                w.bytes16(self.0.as_bytes());
            }

            pub(crate) fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
                let text = r.text16($field, Self::MAX_BYTES)?;
                Self::new(text).map_err(|_| DecodeError::BadValue($field))
            }
        }
    };
}

text_codec!(AccountLabel, "account label");
text_codec!(EntryName, "entry name");

/// Characters that a name may not hold: they could hide text, reorder it or drive a terminal.
fn is_unprintable(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{00ad}' | '\u{034f}' | '\u{061c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{2800}' | '\u{3164}' | '\u{feff}' | '\u{ffa0}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{fff0}'..='\u{fffb}'
            | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}')
}

/// A device name as a peer sent it: any UTF-8 of at most 64 bytes. Only its cleaned form is shown to a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ClaimedText(String);

impl ClaimedText {
    pub(crate) fn new(text: &str) -> Self {
        Self(text.into())
    }

    pub(crate) fn write(&self, w: &mut Writer) {
        w.bytes16(self.0.as_bytes());
    }

    pub(crate) fn read(r: &mut Reader<'_>, field: &'static str, max: usize) -> Result<Self, DecodeError> {
        r.text16(field, max).map(Self::new)
    }

    /// The text without control, bidirectional and zero-width characters, with single spaces, and without the quotes
    /// that screens put around it: it cannot pretend to be more than a name.
    pub(crate) fn cleaned(&self) -> String {
        let kept = self.0.chars().filter(|c| !is_unprintable(*c) || c.is_whitespace());
        let kept: String = kept.map(|c| if c == '"' { '\'' } else { c }).collect();
        kept.split_whitespace().collect::<Vec<_>>().join(" ")
    }
}
