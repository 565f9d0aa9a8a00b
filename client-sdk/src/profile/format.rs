//! What stands in the files of a profile.

use super::{DeviceRecord, KEY_FILE, PROFILE_FILE, ProfileError};
use crate::RelayUrl;
use handfast_protocol::device::{Account, DeviceInfo, DeviceKey, EnrolledDevice, Enroller, Genesis, IdentityPublicKey};
use handfast_protocol::secret::Secret;
use handfast_protocol::text::{AccountLabel, DeviceName, Platform};
use serde::{Deserialize, Serialize};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use zeroize::Zeroizing;

const VERSION: u32 = 1;
const KEY_HEADER: &str = "handfast device key 1: ";

/// The key file: one line of text, so that a person who finds it knows what it is.
pub(super) fn encode_key(key: &DeviceKey) -> Zeroizing<Vec<u8>> {
    let secret = Zeroizing::new(hex::encode(key.secret_for_key_store().expose()));
    let mut bytes = Zeroizing::new(Vec::with_capacity(KEY_HEADER.len() + secret.len() + 1));
    bytes.extend_from_slice(KEY_HEADER.as_bytes());
    bytes.extend_from_slice(secret.as_bytes());
    bytes.push(b'\n');
    bytes
}

pub(super) fn decode_key(bytes: &[u8]) -> Result<DeviceKey, ProfileError> {
    let damaged = || ProfileError::Damaged { file: KEY_FILE, why: "it is not a device key" };
    let digits = bytes.strip_prefix(KEY_HEADER.as_bytes()).ok_or_else(damaged)?;
    let mut secret = Zeroizing::new([0; 32]);
    hex::decode_to_slice(digits.trim_ascii_end(), &mut *secret).map_err(|_| damaged())?;
    Ok(DeviceKey::from_secret(Secret::new(*secret)))
}

/// `profile.json`, with the parts that are used in parsed form.
#[derive(Debug)]
pub(super) struct ProfileFile {
    raw: Raw,
    account: Account,
    info: DeviceInfo,
    enroller: Option<Enroller>,
    relay: Option<RelayUrl>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    version: u32,
    account_label: String,
    #[serde(with = "hex::serde")]
    genesis: Vec<u8>,
    device_name: String,
    platform: String,
    #[serde(with = "hex::serde")]
    identity: [u8; 32],
    #[serde(default, skip_serializing_if = "Option::is_none")]
    relay: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    enroller: Option<RawEnroller>,
    #[serde(default)]
    devices: Vec<DeviceEntry>,
    /// When offers were burned, in Unix milliseconds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    burns: Vec<u64>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawEnroller {
    #[serde(with = "hex::serde")]
    identity: [u8; 32],
    name: String,
    #[serde(with = "hex::serde")]
    grant_signature: [u8; 64],
    #[serde(with = "hex::serde")]
    transcript: [u8; 32],
}

/// A device that this one has let in.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DeviceEntry {
    #[serde(with = "hex::serde")]
    identity: [u8; 32],
    #[serde(with = "hex::serde")]
    wrapping_key: Vec<u8>,
    name: String,
    platform: String,
    #[serde(with = "hex::serde")]
    grant_signature: [u8; 64],
    #[serde(with = "hex::serde")]
    transcript: [u8; 32],
    confirmed: bool,
    /// Unix seconds.
    at: u64,
}

impl ProfileFile {
    pub(super) fn new(account: &Account, info: &DeviceInfo, key: &DeviceKey, enroller: Option<&Enroller>) -> Self {
        let raw = Raw {
            version: VERSION,
            account_label: account.label.as_str().into(),
            genesis: account.genesis.clone(),
            device_name: info.name.as_str().into(),
            platform: info.platform.as_str().into(),
            identity: *key.identity().as_bytes(),
            relay: None,
            enroller: enroller.map(|enroller| RawEnroller {
                identity: *enroller.identity.as_bytes(),
                name: enroller.name.clone(),
                grant_signature: enroller.grant_signature,
                transcript: enroller.transcript,
            }),
            devices: Vec::new(),
            burns: Vec::new(),
        };
        Self { raw, account: account.clone(), info: info.clone(), enroller: enroller.cloned(), relay: None }
    }

    pub(super) fn encode(&self) -> Result<Vec<u8>, ProfileError> {
        let mut bytes = serde_json::to_vec_pretty(&self.raw).map_err(|_| damaged("it cannot be written as JSON"))?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// Everything is checked here: a field that does not parse, or that belongs to another device, damages the profile.
    pub(super) fn decode(bytes: &[u8], key: &DeviceKey) -> Result<Self, ProfileError> {
        let raw: Raw = serde_json::from_slice(bytes).map_err(|_| damaged("it is not the expected JSON"))?;
        if raw.version != VERSION {
            return Err(damaged("it was written by another version of this program"));
        }
        if raw.identity != *key.identity().as_bytes() {
            return Err(damaged("it belongs to another device key"));
        }
        let mut account =
            Genesis::decode(&raw.genesis).map_err(|_| damaged("the genesis statement is invalid"))?.account();
        account.label = AccountLabel::new(&raw.account_label).map_err(|_| damaged("the account label is invalid"))?;
        let info = DeviceInfo {
            name: DeviceName::new(&raw.device_name).map_err(|_| damaged("the device name is invalid"))?,
            platform: Platform::new(&raw.platform).map_err(|_| damaged("the platform is invalid"))?,
        };
        let enroller = raw.enroller.as_ref().map(RawEnroller::parse).transpose()?;
        let relay = raw.relay.as_ref().map(|relay| relay.parse()).transpose();
        let relay = relay.map_err(|_| damaged("the relay address is invalid"))?;
        let file = Self { raw, account, info, enroller, relay };
        file.devices()?;
        Ok(file)
    }

    pub(super) fn account(&self) -> &Account {
        &self.account
    }

    pub(super) fn info(&self) -> &DeviceInfo {
        &self.info
    }

    pub(super) fn enroller(&self) -> Option<&Enroller> {
        self.enroller.as_ref()
    }

    pub(super) fn relay(&self) -> Option<&RelayUrl> {
        self.relay.as_ref()
    }

    pub(super) fn devices(&self) -> Result<Vec<DeviceRecord>, ProfileError> {
        self.raw.devices.iter().map(DeviceEntry::parse).collect()
    }

    pub(super) fn burns(&self) -> impl Iterator<Item = SystemTime> + '_ {
        self.raw.burns.iter().filter_map(|ms| UNIX_EPOCH.checked_add(Duration::from_millis(*ms)))
    }

    pub(super) fn set_relay(&mut self, relay: Option<RelayUrl>) {
        self.raw.relay = relay.as_ref().map(RelayUrl::to_string);
        self.relay = relay;
    }

    pub(super) fn set_burns(&mut self, burns: &[SystemTime]) {
        self.raw.burns = burns.iter().map(|burn| u64::try_from(since_epoch(*burn).as_millis()).unwrap_or(0)).collect();
    }

    /// Adds a device, or replaces its record. A device that has confirmed stays confirmed.
    pub(super) fn put_device(&mut self, mut device: DeviceEntry) {
        device.confirmed |= self.raw.devices.iter().any(|known| known.confirmed && known.identity == device.identity);
        self.raw.devices.retain(|known| known.identity != device.identity);
        self.raw.devices.push(device);
    }

    pub(super) fn remove_device(&mut self, identity: &IdentityPublicKey) -> bool {
        let before = self.raw.devices.len();
        self.raw.devices.retain(|known| known.identity != *identity.as_bytes());
        self.raw.devices.len() < before
    }
}

impl RawEnroller {
    fn parse(&self) -> Result<Enroller, ProfileError> {
        Ok(Enroller {
            identity: parse_identity(&self.identity)?,
            name: self.name.clone(),
            grant_signature: self.grant_signature,
            transcript: self.transcript,
        })
    }
}

impl DeviceEntry {
    pub(super) fn new(device: &EnrolledDevice, at: SystemTime) -> Self {
        Self {
            identity: *device.identity.as_bytes(),
            wrapping_key: device.wrapping_key.clone(),
            name: device.name.clone(),
            platform: device.platform.clone(),
            grant_signature: device.grant_signature,
            transcript: device.transcript,
            confirmed: device.confirmed,
            at: since_epoch(at).as_secs(),
        }
    }

    fn parse(&self) -> Result<DeviceRecord, ProfileError> {
        let device = EnrolledDevice {
            identity: parse_identity(&self.identity)?,
            wrapping_key: self.wrapping_key.clone(),
            name: self.name.clone(),
            platform: self.platform.clone(),
            grant_signature: self.grant_signature,
            transcript: self.transcript,
            confirmed: self.confirmed,
        };
        let at = UNIX_EPOCH.checked_add(Duration::from_secs(self.at)).ok_or_else(|| damaged("a time is invalid"))?;
        Ok(DeviceRecord { device, at })
    }
}

fn parse_identity(bytes: &[u8; 32]) -> Result<IdentityPublicKey, ProfileError> {
    IdentityPublicKey::from_bytes(bytes).map_err(|_| damaged("an identity key is invalid"))
}

fn since_epoch(time: SystemTime) -> Duration {
    time.duration_since(UNIX_EPOCH).unwrap_or_default()
}

fn damaged(why: &'static str) -> ProfileError {
    ProfileError::Damaged { file: PROFILE_FILE, why }
}
