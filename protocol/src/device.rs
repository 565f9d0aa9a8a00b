//! What makes a device: its key, what it is called, and the account it belongs to.

use crate::crypto::hpke::{KemPublicKey, KemSecretKey};
pub use crate::crypto::identity::IdentityPublicKey;
use crate::crypto::identity::{self, IdentityKey};
use crate::crypto::kdf;
use crate::labels;
use crate::secret::Secret;
use crate::text::{AccountLabel, DeviceName, Platform};
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use handfast_wire::DecodeError;
use handfast_wire::codec::{Reader, Writer};
use rand_core::CryptoRng;

/// Upper bound of an encoded [`Genesis`].
pub(crate) const MAX_GENESIS_BYTES: usize = 512;

/// The key that is unique to a device and never leaves it. It opens the device's copy of the bundle and is the
/// device's identity: everything long-term that a device signs or opens with is derived from it.
#[derive(Clone)]
pub struct DeviceKey {
    root: Secret<32>,
    signing: IdentityKey,
}

impl DeviceKey {
    /// A new random key.
    pub fn generate(rng: &mut dyn CryptoRng) -> Self {
        Self::from_secret(Secret::random(rng))
    }

    /// The key that a key store kept.
    pub fn from_secret(root: Secret<32>) -> Self {
        let signing = IdentityKey::from_seed(&kdf::hkdf(&[], root.expose(), &[labels::DEVICE_IDENTITY]));
        Self { root, signing }
    }

    /// The secret, for a key store to keep. Nobody else has a use for it.
    pub fn secret_for_key_store(&self) -> &Secret<32> {
        &self.root
    }

    /// This device's identity.
    pub fn identity(&self) -> IdentityPublicKey {
        self.signing.public()
    }

    pub(crate) fn signing_key(&self) -> &IdentityKey {
        &self.signing
    }

    /// The long-term public key to which others will be able to wrap keys for this device.
    pub(crate) fn wrapping_public_key(&self) -> KemPublicKey {
        KemSecretKey::from_seed(&kdf::hkdf(&[], self.root.expose(), &[labels::DEVICE_WRAPPING])).public()
    }

    pub(crate) fn sealing_key(&self) -> Secret<32> {
        kdf::hkdf(&[], self.root.expose(), &[labels::DEVICE_SEALING])
    }
}

impl fmt::Debug for DeviceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DeviceKey(..)")
    }
}

impl IdentityPublicKey {
    /// Reads a key that a store kept or a peer sent: an error if it is no point of the curve or has small order.
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self, DecodeError> {
        Self::parse(bytes).map_err(|_| DecodeError::BadValue("identity key"))
    }
}

/// What a device says of itself. It proves nothing: the key does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceInfo {
    /// What its owner calls it.
    pub name: DeviceName,
    /// What kind of machine it is.
    pub platform: Platform,
}

/// The hash of the statement that made the account. It never changes and is no secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccountId(pub [u8; 32]);

/// An account as a trusted device knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Hash of `genesis`.
    pub id: AccountId,
    /// What the person calls it.
    pub label: AccountLabel,
    /// The encoded statement of the first device.
    pub genesis: Vec<u8>,
}

/// The statement that makes an account, signed by its first device. `spec/protocol.md`, "Account".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Genesis {
    /// What the account was called when it was made.
    pub label: AccountLabel,
    /// The first device.
    pub identity: IdentityPublicKey,
    nonce: [u8; 32],
    signature: [u8; 64],
}

impl Genesis {
    /// Makes an account on its first device.
    pub fn sign(label: AccountLabel, key: &DeviceKey, rng: &mut dyn CryptoRng) -> Self {
        let mut nonce = [0; 32];
        rng.fill_bytes(&mut nonce);
        let mut genesis = Self { label, identity: key.identity(), nonce, signature: [0; 64] };
        genesis.signature = key.signing_key().sign(labels::SIGN_GENESIS, &[&genesis.signed_part()]);
        genesis
    }

    /// The one encoding, signature included.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = self.signed_part();
        bytes.extend_from_slice(&self.signature);
        bytes
    }

    /// A statement whose signature holds; an error for anything else.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(bytes);
        if r.u8()? != GENESIS_VERSION {
            return Err(DecodeError::BadValue("genesis version"));
        }
        let label = AccountLabel::read(&mut r)?;
        let identity = IdentityPublicKey::from_bytes(&r.array()?)?;
        let genesis = Self { label, identity, nonce: r.array()?, signature: r.array()? };
        r.finish()?;
        identity::verify(&identity, labels::SIGN_GENESIS, &[&genesis.signed_part()], &genesis.signature)
            .map_err(|_| DecodeError::BadValue("genesis signature"))?;
        Ok(genesis)
    }

    /// The account that this statement makes.
    pub fn account(&self) -> Account {
        let genesis = self.encode();
        let id = AccountId(kdf::sha256(&[labels::ACCOUNT_ID, &genesis]));
        Account { id, label: self.label.clone(), genesis }
    }

    fn signed_part(&self) -> Vec<u8> {
        let mut w = Writer::default();
        w.u8(GENESIS_VERSION);
        self.label.write(&mut w);
        w.raw(self.identity.as_bytes()).raw(&self.nonce);
        w.into_bytes()
    }
}

const GENESIS_VERSION: u8 = 1;

/// What a trusted device remembers of a device that it let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnrolledDevice {
    /// Its identity.
    pub identity: IdentityPublicKey,
    /// Its long-term public wrapping key, 1216 bytes.
    pub wrapping_key: Vec<u8>,
    /// What it called itself, cleaned for display.
    pub name: String,
    /// What kind of machine it said it is, cleaned for display.
    pub platform: String,
    /// This device's signature over account, keys, purpose and transcript.
    pub grant_signature: [u8; 64],
    /// The transcript that the signature covers.
    pub transcript: [u8; 32],
    /// Set once the device has confirmed that it stored the bundle. Until then it may hold the bundle, and is not
    /// trusted.
    pub confirmed: bool,
}

/// What a new device remembers of the device that let it in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enroller {
    /// Its identity, from now on pinned.
    pub identity: IdentityPublicKey,
    /// What it called itself, cleaned for display.
    pub name: String,
    /// Its signature over account, keys, purpose and transcript.
    pub grant_signature: [u8; 64],
    /// The transcript that the signature covers.
    pub transcript: [u8; 32],
}
