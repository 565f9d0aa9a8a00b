//! How two devices meet: introductions (code, QR), the offer, the handshake that makes a channel, and the
//! proof tokens that a release needs.

pub mod check_code;
pub mod code;
pub(crate) mod handshake;
pub(crate) mod proof;
pub mod qr;

use handfast_wire::DecodeError;

/// Who shows what. `spec/protocol.md`, "Modes".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// The trusted device shows a code, the new device's user types it.
    Code,
    /// The new device shows a QR code, the trusted device scans it.
    QrNew,
    /// The trusted device shows a QR code, the new device scans it.
    QrTrusted,
}

/// What the run is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// The new device receives the whole bundle and becomes a trusted device.
    Enroll,
    /// The new device receives what it asked for, uses it once and stores nothing.
    Unlock,
}

impl Mode {
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Code => 0,
            Self::QrNew => 1,
            Self::QrTrusted => 2,
        }
    }

    pub(crate) fn from_code(code: u8) -> Result<Self, DecodeError> {
        match code {
            0 => Ok(Self::Code),
            1 => Ok(Self::QrNew),
            2 => Ok(Self::QrTrusted),
            _ => Err(DecodeError::BadValue("mode")),
        }
    }
}

impl Purpose {
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Enroll => 0,
            Self::Unlock => 1,
        }
    }

    pub(crate) fn from_code(code: u8) -> Result<Self, DecodeError> {
        match code {
            0 => Ok(Self::Enroll),
            1 => Ok(Self::Unlock),
            _ => Err(DecodeError::BadValue("purpose")),
        }
    }
}

/// A pair of mode and purpose that exists: every mode enrolls, only `qr-new` unlocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kind {
    pub(crate) mode: Mode,
    pub(crate) purpose: Purpose,
}

impl Kind {
    pub(crate) fn new(mode: Mode, purpose: Purpose) -> Result<Self, DecodeError> {
        match (mode, purpose) {
            (_, Purpose::Enroll) | (Mode::QrNew, Purpose::Unlock) => Ok(Self { mode, purpose }),
            _ => Err(DecodeError::BadValue("purpose for this mode")),
        }
    }
}
