//! M3 and what ends a run: the grant, its chunks, typed aborts.

use super::Extensions;
use crate::bundle::{CredentialBundle, MAX_BUNDLE_BYTES, ReleasedItems};
use crate::crypto::hpke::{ENC_BYTES, Enc};
use crate::device::{AccountId, MAX_GENESIS_BYTES};
use crate::secret::SecretBytes;
use alloc::vec::Vec;
use handfast_wire::DecodeError;
use handfast_wire::codec::{Reader, Writer};

/// Most plaintext bytes of a grant in one chunk; with the encapsulated key in front of the first, a chunk still fits
/// a relay frame.
pub(crate) const CHUNK_BYTES: usize = 14 * 1024;

/// The sizes to which the encoded content of a grant is padded.
pub(crate) const BUCKETS: [usize; 5] = [1024, 4 * 1024, 16 * 1024, 64 * 1024, MAX_BUNDLE_BYTES];

/// Upper bound of an encoded grant: largest bucket, and everything in front of it.
pub(crate) const MAX_GRANT_BYTES: usize = MAX_BUNDLE_BYTES + MAX_GENESIS_BYTES + 1024;

/// What the trusted device hands over, with its signature over what that makes the new device.
pub(crate) struct Grant {
    pub(crate) account_id: AccountId,
    /// Signed by the trusted device; both sides keep it.
    pub(crate) signature: [u8; 64],
    /// `qr-new` only: opens the commitment of the trusted device's hello.
    pub(crate) opening: Option<[u8; 32]>,
    pub(crate) content: GrantContent,
    pub(crate) extensions: Extensions,
}

/// What leaves the trusted device.
pub(crate) enum GrantContent {
    /// To enroll: everything, and the statement that made the account.
    Enroll { genesis: Vec<u8>, bundle: CredentialBundle },
    /// To unlock: what was asked for.
    Unlock(ReleasedItems),
}

impl Grant {
    /// The padded encoding; `None` if the content or the genesis statement is over its limit.
    pub(crate) fn encode(&self) -> Option<SecretBytes> {
        let content = match &self.content {
            GrantContent::Enroll { bundle, .. } => bundle.encode().ok()?,
            GrantContent::Unlock(items) => items.encode().ok()?,
        };
        let bucket = BUCKETS.into_iter().find(|bucket| content.len() <= *bucket)?;
        let mut w = Writer::with_capacity(bucket + MAX_GENESIS_BYTES + 1024);
        w.raw(&self.account_id.0).raw(&self.signature).u8(u8::from(self.opening.is_some()));
        if let Some(opening) = &self.opening {
            w.raw(opening);
        }
        let (kind, genesis) = match &self.content {
            GrantContent::Enroll { genesis, .. } => (0, genesis.as_slice()),
            GrantContent::Unlock(_) => (1, [].as_slice()),
        };
        // Padded, and there in an unlock too: the size of a grant tells neither the account label's length nor the purpose.
        let padding = MAX_GENESIS_BYTES.checked_sub(genesis.len())?;
        w.u8(kind).bytes16(genesis).raw(&alloc::vec![0; padding]);
        self.extensions.write(&mut w);
        w.bytes32(content.expose()).raw(&alloc::vec![0; bucket - content.len()]);
        Some(SecretBytes::new(w.into_bytes()))
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(bytes);
        let account_id = AccountId(r.array()?);
        let signature = r.array()?;
        let opening = match r.u8()? {
            0 => None,
            1 => Some(r.array()?),
            _ => return Err(DecodeError::BadValue("opening flag")),
        };
        let kind = r.u8()?;
        let genesis = r.bytes16("genesis", MAX_GENESIS_BYTES)?.to_vec();
        if r.take(MAX_GENESIS_BYTES - genesis.len())?.iter().any(|byte| *byte != 0) {
            return Err(DecodeError::BadValue("padding"));
        }
        let genesis = match kind {
            0 => Some(genesis),
            1 if genesis.is_empty() => None,
            _ => return Err(DecodeError::BadValue("grant content")),
        };
        let extensions = Extensions::read(&mut r)?;
        let content = r.bytes32("bundle", MAX_BUNDLE_BYTES)?;
        let padding = r.rest();
        if padding.iter().any(|byte| *byte != 0) || !padded_to_a_bucket(content.len(), padding.len()) {
            return Err(DecodeError::BadValue("padding"));
        }
        let content = match genesis {
            Some(genesis) => GrantContent::Enroll { genesis, bundle: CredentialBundle::decode(content)? },
            None => GrantContent::Unlock(ReleasedItems::decode(content)?),
        };
        Ok(Self { account_id, signature, opening, content, extensions })
    }
}

fn padded_to_a_bucket(content: usize, padding: usize) -> bool {
    BUCKETS.into_iter().find(|bucket| content <= *bucket) == content.checked_add(padding)
}

/// One chunk of a sealed grant.
pub(crate) struct GrantChunk {
    pub(crate) index: u16,
    pub(crate) last: bool,
    /// In chunk 0 only.
    pub(crate) enc: Option<Enc>,
    pub(crate) sealed: Vec<u8>,
}

impl GrantChunk {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut w = Writer::with_capacity(3 + ENC_BYTES + self.sealed.len());
        w.u16(self.index).u8(u8::from(self.last));
        if let Some(enc) = &self.enc {
            w.raw(enc.as_bytes());
        }
        w.raw(&self.sealed);
        w.into_bytes()
    }

    pub(crate) fn decode(body: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(body);
        let index = r.u16()?;
        let last = match r.u8()? {
            0 => false,
            1 => true,
            _ => return Err(DecodeError::BadValue("final flag")),
        };
        let enc = if index == 0 {
            Some(Enc::parse(&r.array()?).map_err(|_| DecodeError::BadValue("encapsulated key"))?)
        } else {
            None
        };
        Ok(Self { index, last, enc, sealed: r.rest().to_vec() })
    }

    /// Index and final flag, as authenticated with each chunk.
    pub(crate) fn header(index: u16, last: bool) -> [u8; 3] {
        let [high, low] = index.to_be_bytes();
        [high, low, u8::from(last)]
    }
}

/// Why a side ended the run, told to the other through the channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AbortReason {
    /// The person on the trusted device said no.
    Refused,
    /// The person on the sending device ended the run, or its program did.
    Cancelled,
    /// The check code that was entered is not the right one.
    WrongCheckCode,
    /// The bundle has no entry of a requested name.
    NoSuchEntry,
    /// The account unlock key was asked for by a device that the trusted device has not recorded.
    NotRecorded,
    /// The bundle could not be stored on the new device.
    NotStored,
    /// A message that could not be accepted.
    Protocol,
    /// The sending device failed on its own account.
    Internal,
}

impl AbortReason {
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Refused => 0,
            Self::Cancelled => 1,
            Self::WrongCheckCode => 2,
            Self::NoSuchEntry => 3,
            Self::NotRecorded => 4,
            Self::NotStored => 5,
            Self::Protocol => 6,
            Self::Internal => 7,
        }
    }

    pub(crate) fn from_code(code: u8) -> Result<Self, DecodeError> {
        Ok(match code {
            0 => Self::Refused,
            1 => Self::Cancelled,
            2 => Self::WrongCheckCode,
            3 => Self::NoSuchEntry,
            4 => Self::NotRecorded,
            5 => Self::NotStored,
            6 => Self::Protocol,
            7 => Self::Internal,
            _ => return Err(DecodeError::BadValue("abort reason")),
        })
    }
}
