//! What each side says of itself in M1 and M2, and the padding that makes all hellos one size.

use super::Extensions;
use crate::crypto::hpke::KemPublicKey;
use crate::crypto::identity::IdentityPublicKey;
use crate::device::AccountId;
use crate::secret::SecretBytes;
use crate::text::{AccountLabel, ClaimedText, DeviceName, EntryName, Platform};
use alloc::vec::Vec;
use handfast_wire::DecodeError;
use handfast_wire::codec::{Reader, Writer};

/// Every hello is padded to this size before it is sealed.
pub(crate) const HELLO_BYTES: usize = 4096;

/// Most entries that one unlock may ask for.
pub const MAX_REQUESTED_ENTRIES: usize = 16;

/// What a new device asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// The whole bundle: to enroll.
    Bundle,
    /// These parts, for one use: to unlock.
    Items {
        /// The account unlock key; released only to a device that the trusted device has recorded.
        unlock_key: bool,
        /// Named entries of the bundle, at most [`MAX_REQUESTED_ENTRIES`].
        entries: Vec<EntryName>,
    },
}

/// The new device's hello.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct NewHello {
    pub(crate) name: ClaimedText,
    pub(crate) platform: ClaimedText,
    pub(crate) request: Request,
    pub(crate) identity: IdentityPublicKey,
    /// Long-term, for wrapping keys to this device later.
    pub(crate) wrapping: KemPublicKey,
    /// Ephemeral: the grant is sealed to it.
    pub(crate) bundle_key: KemPublicKey,
    /// Set after the trusted device's hello showed an identity that this device has recorded.
    pub(crate) knows_peer: bool,
    pub(crate) extensions: Extensions,
    pub(crate) signature: [u8; 64],
}

impl NewHello {
    /// The part that the signature covers.
    pub(crate) fn signed_part(&self) -> Vec<u8> {
        let mut w = Writer::with_capacity(HELLO_BYTES);
        self.name.write(&mut w);
        self.platform.write(&mut w);
        self.request.write(&mut w);
        w.raw(self.identity.as_bytes()).raw(self.wrapping.as_bytes()).raw(self.bundle_key.as_bytes());
        w.u8(u8::from(self.knows_peer));
        self.extensions.write(&mut w);
        w.into_bytes()
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        with_signature(self.signed_part(), &self.signature)
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(bytes);
        let hello = Self {
            name: ClaimedText::read(&mut r, "device name", DeviceName::MAX_BYTES)?,
            platform: ClaimedText::read(&mut r, "platform", Platform::MAX_BYTES)?,
            request: Request::read(&mut r)?,
            identity: read_identity(&mut r)?,
            wrapping: read_public_key(&mut r, "wrapping key")?,
            bundle_key: read_public_key(&mut r, "bundle key")?,
            knows_peer: read_flag(&mut r, "knows-peer flag")?,
            extensions: Extensions::read(&mut r)?,
            signature: r.array()?,
        };
        r.finish()?;
        Ok(hello)
    }
}

/// The trusted device's hello.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct TrustedHello {
    pub(crate) account_id: AccountId,
    pub(crate) account_label: AccountLabel,
    pub(crate) name: ClaimedText,
    pub(crate) identity: IdentityPublicKey,
    /// `qr-new` only: commits to the number that the check code is made with.
    pub(crate) commitment: Option<[u8; 32]>,
    pub(crate) extensions: Extensions,
    pub(crate) signature: [u8; 64],
}

impl TrustedHello {
    /// The part that the signature covers.
    pub(crate) fn signed_part(&self) -> Vec<u8> {
        let mut w = Writer::default();
        w.raw(&self.account_id.0);
        self.account_label.write(&mut w);
        self.name.write(&mut w);
        w.raw(self.identity.as_bytes()).u8(u8::from(self.commitment.is_some()));
        if let Some(commitment) = &self.commitment {
            w.raw(commitment);
        }
        self.extensions.write(&mut w);
        w.into_bytes()
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        with_signature(self.signed_part(), &self.signature)
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(bytes);
        let hello = Self {
            account_id: AccountId(r.array()?),
            account_label: AccountLabel::read(&mut r)?,
            name: ClaimedText::read(&mut r, "device name", DeviceName::MAX_BYTES)?,
            identity: read_identity(&mut r)?,
            commitment: if read_flag(&mut r, "commitment flag")? { Some(r.array()?) } else { None },
            extensions: Extensions::read(&mut r)?,
            signature: r.array()?,
        };
        r.finish()?;
        Ok(hello)
    }
}

impl Request {
    /// An error if it asks for nothing at all, for more than one run may carry, or for entries out of order.
    pub(crate) fn check(&self) -> Result<(), DecodeError> {
        match self {
            Self::Bundle => Ok(()),
            Self::Items { unlock_key: false, entries } if entries.is_empty() => Err(DecodeError::BadValue("request")),
            Self::Items { entries, .. } if entries.len() > MAX_REQUESTED_ENTRIES => {
                Err(DecodeError::TooLong("request"))
            }
            Self::Items { entries, .. } if !entries.is_sorted_by(|a, b| a < b) => {
                Err(DecodeError::BadValue("order of requested entries"))
            }
            Self::Items { .. } => Ok(()),
        }
    }

    /// A request for these parts: sorted, without doubles. An error if it asks for nothing or for more than
    /// [`MAX_REQUESTED_ENTRIES`] entries.
    pub fn items(unlock_key: bool, mut entries: Vec<EntryName>) -> Result<Self, DecodeError> {
        entries.sort();
        entries.dedup();
        let request = Self::Items { unlock_key, entries };
        request.check()?;
        Ok(request)
    }

    pub(crate) fn write(&self, w: &mut Writer) {
        match self {
            Self::Bundle => {
                w.u8(0);
            }
            Self::Items { unlock_key, entries } => {
                w.u8(1).u8(u8::from(*unlock_key)).u8(u8::try_from(entries.len()).unwrap_or(u8::MAX));
                for entry in entries {
                    entry.write(w);
                }
            }
        }
    }

    pub(crate) fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let request = match r.u8()? {
            0 => Self::Bundle,
            1 => {
                let unlock_key = read_flag(r, "unlock key flag")?;
                let count = usize::from(r.u8()?);
                if count > MAX_REQUESTED_ENTRIES {
                    return Err(DecodeError::TooLong("request"));
                }
                let entries = (0..count).map(|_| EntryName::read(r)).collect::<Result<_, _>>()?;
                Self::Items { unlock_key, entries }
            }
            _ => return Err(DecodeError::BadValue("request")),
        };
        request.check()?;
        Ok(request)
    }
}

/// Brings an encoded hello to [`HELLO_BYTES`]: its length, itself, zeros. `None` if it does not fit.
pub(crate) fn pad_hello(hello: &[u8]) -> Option<SecretBytes> {
    let mut w = Writer::with_capacity(HELLO_BYTES);
    w.bytes16(hello);
    let padding = HELLO_BYTES.checked_sub(w.len())?;
    w.raw(&alloc::vec![0; padding]);
    Some(SecretBytes::new(w.into_bytes()))
}

/// The hello inside its padding; an error if the size is another or the padding is not all zeros.
pub(crate) fn unpad_hello(padded: &[u8]) -> Result<&[u8], DecodeError> {
    if padded.len() != HELLO_BYTES {
        return Err(DecodeError::BadValue("size of the padded hello"));
    }
    let mut r = Reader::new(padded);
    let hello = r.bytes16("hello", HELLO_BYTES)?;
    if r.rest().iter().any(|byte| *byte != 0) {
        return Err(DecodeError::BadValue("padding"));
    }
    Ok(hello)
}

fn with_signature(mut part: Vec<u8>, signature: &[u8; 64]) -> Vec<u8> {
    part.extend_from_slice(signature);
    part
}

fn read_flag(r: &mut Reader<'_>, field: &'static str) -> Result<bool, DecodeError> {
    match r.u8()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(DecodeError::BadValue(field)),
    }
}

fn read_identity(r: &mut Reader<'_>) -> Result<IdentityPublicKey, DecodeError> {
    IdentityPublicKey::parse(&r.array()?).map_err(|_| DecodeError::BadValue("identity key"))
}

fn read_public_key(r: &mut Reader<'_>, field: &'static str) -> Result<KemPublicKey, DecodeError> {
    KemPublicKey::parse(&r.array()?).map_err(|_| DecodeError::BadValue(field))
}
