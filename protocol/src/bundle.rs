//! The credential bundle: what travels to a new device, and how it lies sealed on a device.

use crate::crypto::aead;
use crate::device::{AccountId, DeviceKey};
use crate::labels;
use crate::message::{Extensions, Request};
use crate::secret::{Secret, SecretBytes};
use crate::text::{AccountLabel, EntryName};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::fmt;
use handfast_wire::DecodeError;
use handfast_wire::codec::{Reader, Writer};
use rand_core::CryptoRng;

/// Largest encoded bundle: 256 KiB.
pub const MAX_BUNDLE_BYTES: usize = 256 * 1024;

/// Most entries in a bundle.
pub const MAX_ENTRIES: usize = 1024;

/// Largest sign-in secret in bytes.
pub const MAX_SIGN_IN_SECRET_BYTES: usize = 1024;

/// Version of the sealed form, in its associated data.
const AT_REST_VERSION: u8 = 1;

/// What a device needs to act for an account: the account unlock key, the secret it signs in with, and named entries
/// of any bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct CredentialBundle {
    /// The account it belongs to.
    pub account_id: AccountId,
    /// What the person calls the account.
    pub account_label: AccountLabel,
    /// Opens the account's data.
    pub unlock_key: Secret<32>,
    /// What the device signs in with; at most [`MAX_SIGN_IN_SECRET_BYTES`].
    pub sign_in_secret: SecretBytes,
    entries: BTreeMap<EntryName, SecretBytes>,
    extensions: Extensions,
}

/// A bundle cannot take what it was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BundleError {
    /// The encoded bundle would have this many bytes, more than [`MAX_BUNDLE_BYTES`].
    TooLarge(usize),
    /// More than [`MAX_ENTRIES`] entries.
    TooManyEntries,
    /// The sign-in secret is over [`MAX_SIGN_IN_SECRET_BYTES`].
    SignInSecretTooLarge,
    /// The random source or the cipher failed.
    Cipher,
}

impl fmt::Display for BundleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge(bytes) => write!(
                f,
                "the bundle would be {bytes} bytes, {MAX_BUNDLE_BYTES} are allowed: remove an entry or store a smaller one"
            ),
            Self::TooManyEntries => write!(f, "the bundle has {MAX_ENTRIES} entries already: remove one first"),
            Self::SignInSecretTooLarge => {
                write!(f, "the sign-in secret is too long: at most {MAX_SIGN_IN_SECRET_BYTES} bytes")
            }
            Self::Cipher => f.write_str("the bundle could not be sealed"),
        }
    }
}

impl core::error::Error for BundleError {}

/// A sealed bundle did not open: another device's key, another account, changed bytes, or an unknown version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenBundleError;

impl fmt::Display for OpenBundleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the sealed bundle does not open with this device's key: the file was changed or belongs elsewhere")
    }
}

impl core::error::Error for OpenBundleError {}

impl CredentialBundle {
    /// A bundle without entries.
    pub fn new(
        account_id: AccountId,
        account_label: AccountLabel,
        unlock_key: Secret<32>,
        sign_in_secret: SecretBytes,
    ) -> Self {
        Self {
            account_id,
            account_label,
            unlock_key,
            sign_in_secret,
            entries: BTreeMap::new(),
            extensions: Extensions::default(),
        }
    }

    /// Adds or replaces an entry. On an error the bundle is as it was.
    pub fn set(&mut self, name: EntryName, value: SecretBytes) -> Result<(), BundleError> {
        let old = self.entries.insert(name.clone(), value);
        self.encode().map(drop).inspect_err(|_| {
            match old {
                Some(old) => self.entries.insert(name.clone(), old),
                None => self.entries.remove(&name),
            };
        })
    }

    /// The entry of this name.
    pub fn get(&self, name: &EntryName) -> Option<&SecretBytes> {
        self.entries.get(name)
    }

    /// Takes an entry out; `false` if there was none.
    pub fn remove(&mut self, name: &EntryName) -> bool {
        self.entries.remove(name).is_some()
    }

    /// Names and values, sorted by name.
    pub fn entries(&self) -> impl Iterator<Item = (&EntryName, &SecretBytes)> {
        self.entries.iter()
    }

    /// What `request` asks for and nothing else; `None` if an entry does not exist or the request is for the bundle.
    pub(crate) fn release(&self, request: &Request) -> Option<ReleasedItems> {
        let Request::Items { unlock_key, entries } = request else { return None };
        Some(ReleasedItems {
            unlock_key: unlock_key.then(|| self.unlock_key.clone()),
            entries: entries
                .iter()
                .map(|name| self.entries.get(name).map(|value| (name.clone(), value.clone())))
                .collect::<Option<_>>()?,
        })
    }

    pub(crate) fn encode(&self) -> Result<SecretBytes, BundleError> {
        if self.entries.len() > MAX_ENTRIES {
            return Err(BundleError::TooManyEntries);
        }
        if self.sign_in_secret.len() > MAX_SIGN_IN_SECRET_BYTES {
            return Err(BundleError::SignInSecretTooLarge);
        }
        let mut w = Writer::with_capacity(self.size_hint());
        w.raw(&self.account_id.0);
        self.account_label.write(&mut w);
        w.raw(self.unlock_key.expose()).bytes16(self.sign_in_secret.expose());
        write_entries(&mut w, &self.entries);
        self.extensions.write(&mut w);
        let encoded = SecretBytes::new(w.into_bytes());
        if encoded.len() > MAX_BUNDLE_BYTES {
            return Err(BundleError::TooLarge(encoded.len()));
        }
        Ok(encoded)
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        if bytes.len() > MAX_BUNDLE_BYTES {
            return Err(DecodeError::TooLong("bundle"));
        }
        let mut r = Reader::new(bytes);
        let bundle = Self {
            account_id: AccountId(r.array()?),
            account_label: AccountLabel::read(&mut r)?,
            unlock_key: Secret::new(r.array()?),
            sign_in_secret: SecretBytes::new(r.bytes16("sign-in secret", MAX_SIGN_IN_SECRET_BYTES)?.to_vec()),
            entries: read_entries(&mut r)?,
            extensions: Extensions::read(&mut r)?,
        };
        r.finish()?;
        Ok(bundle)
    }

    /// Seals the bundle under this device's key, bound to account, device and version (XChaCha20-Poly1305).
    pub fn seal(&self, key: &DeviceKey, rng: &mut dyn CryptoRng) -> Result<Vec<u8>, BundleError> {
        let plaintext = self.encode()?;
        let aad = associated_data(&self.account_id, key);
        aead::seal_at_rest(&key.sealing_key(), &aad, plaintext.expose(), rng).map_err(|_| BundleError::Cipher)
    }

    /// Opens what [`CredentialBundle::seal`] sealed for the same account on the same device.
    pub fn open(sealed: &[u8], account_id: &AccountId, key: &DeviceKey) -> Result<Self, OpenBundleError> {
        let aad = associated_data(account_id, key);
        let plaintext = aead::open_at_rest(&key.sealing_key(), &aad, sealed).map_err(|_| OpenBundleError)?;
        let bundle = Self::decode(plaintext.expose()).map_err(|_| OpenBundleError)?;
        if bundle.account_id == *account_id { Ok(bundle) } else { Err(OpenBundleError) }
    }

    /// Room for the whole encoding, so that no half-written copy of it is left behind by a growing buffer.
    fn size_hint(&self) -> usize {
        let entries: usize = self.entries.values().map(|value| 6 + EntryName::MAX_BYTES + value.len()).sum();
        1024 + self.sign_in_secret.len() + entries
    }
}

// Content never prints.
impl fmt::Debug for CredentialBundle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CredentialBundle").field("entries", &self.entries.len()).finish_non_exhaustive()
    }
}

/// What an unlock hands over: used once, never stored.
#[derive(Clone, PartialEq, Eq)]
pub struct ReleasedItems {
    /// The account unlock key, if it was asked for.
    pub unlock_key: Option<Secret<32>>,
    /// The entries that were asked for.
    pub entries: BTreeMap<EntryName, SecretBytes>,
}

impl ReleasedItems {
    /// Whether this is exactly what `request` asks for.
    pub(crate) fn answers(&self, request: &Request) -> bool {
        match request {
            Request::Bundle => false,
            Request::Items { unlock_key, entries } => {
                self.unlock_key.is_some() == *unlock_key && self.entries.keys().eq(entries.iter())
            }
        }
    }

    pub(crate) fn encode(&self) -> Result<SecretBytes, BundleError> {
        let values: usize = self.entries.values().map(|value| 6 + EntryName::MAX_BYTES + value.len()).sum();
        let mut w = Writer::with_capacity(64 + values);
        w.u8(u8::from(self.unlock_key.is_some()));
        if let Some(key) = &self.unlock_key {
            w.raw(key.expose());
        }
        write_entries(&mut w, &self.entries);
        let encoded = SecretBytes::new(w.into_bytes());
        if encoded.len() > MAX_BUNDLE_BYTES { Err(BundleError::TooLarge(encoded.len())) } else { Ok(encoded) }
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(bytes);
        let unlock_key = match r.u8()? {
            0 => None,
            1 => Some(Secret::new(r.array()?)),
            _ => return Err(DecodeError::BadValue("unlock key flag")),
        };
        let entries = read_entries(&mut r)?;
        r.finish()?;
        Ok(Self { unlock_key, entries })
    }
}

impl fmt::Debug for ReleasedItems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReleasedItems").field("entries", &self.entries.len()).finish_non_exhaustive()
    }
}

fn write_entries(w: &mut Writer, entries: &BTreeMap<EntryName, SecretBytes>) {
    w.u16(u16::try_from(entries.len()).unwrap_or(u16::MAX));
    for (name, value) in entries {
        name.write(w);
        w.bytes32(value.expose());
    }
}

fn read_entries(r: &mut Reader<'_>) -> Result<BTreeMap<EntryName, SecretBytes>, DecodeError> {
    let count = usize::from(r.u16()?);
    if count > MAX_ENTRIES {
        return Err(DecodeError::TooLong("entries"));
    }
    let mut entries = BTreeMap::new();
    for _ in 0..count {
        let name = EntryName::read(r)?;
        if entries.last_key_value().is_some_and(|(last, _)| *last >= name) {
            return Err(DecodeError::BadValue("order of entries"));
        }
        let value = SecretBytes::new(r.bytes32("entry", MAX_BUNDLE_BYTES)?.to_vec());
        entries.insert(name, value);
    }
    Ok(entries)
}

fn associated_data(account_id: &AccountId, key: &DeviceKey) -> Vec<u8> {
    let mut w = Writer::default();
    w.bytes16(labels::BUNDLE_AT_REST).u8(AT_REST_VERSION).raw(&account_id.0).raw(key.identity().as_bytes());
    w.into_bytes()
}
