//! The names of mailboxes and the token that resumes a slot. None of them prints its value.

use crate::DecodeError;
use crate::limits::NAMEPLATE_BITS;
use core::fmt;

/// The short public name of a mailbox: 20 bits, the first four symbols of a typed code.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Nameplate(u32);

impl Nameplate {
    /// The number of different nameplates.
    pub const COUNT: u32 = 1 << NAMEPLATE_BITS;

    /// The nameplate with this number; an error from 2^20 on.
    pub fn new(number: u32) -> Result<Self, DecodeError> {
        if number < Self::COUNT { Ok(Self(number)) } else { Err(DecodeError::BadValue("nameplate")) }
    }

    /// Its number, below 2^20.
    pub fn number(self) -> u32 {
        self.0
    }
}

/// A mailbox's 128-bit id: drawn by the relay on allocate, or derived from a QR code's secret. It enters no key.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct MailboxId(pub [u8; 16]);

/// Proves to the relay that a new socket belongs to the device that first claimed a slot. 16 random bytes chosen by
/// that device; the relay keeps only a hash. It protects the slot, never the content.
#[derive(Clone, PartialEq, Eq)]
pub struct ResumeToken(pub [u8; 16]);

macro_rules! redacted {
    ($($name:ident),*) => {$(
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(..)"))
            }
        }
    )*};
}

// A nameplate is a third of a live code, an id lets anybody claim a slot: neither belongs in a log.
redacted!(Nameplate, MailboxId, ResumeToken);
