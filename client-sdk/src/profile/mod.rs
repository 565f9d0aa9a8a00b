//! A device on disk: one account, this device's key, the sealed bundle, and what it remembers of others.
//!
//! A profile is a directory (0700) of three files (0600), each replaced atomically: `device.key`, `bundle.sealed` and
//! `profile.json`. The last one is written last: a directory without it holds no account, and what a killed process left
//! there is removed the next time. Files that are not ours are never touched.

mod files;
mod format;

use files::{Directory, FileError, Lock};
use format::{DeviceEntry, ProfileFile};
use handfast_protocol::bundle::{BundleError, CredentialBundle};
use handfast_protocol::device::{Account, DeviceInfo, DeviceKey, EnrolledDevice, Enroller, Genesis, IdentityPublicKey};
use handfast_protocol::secret::{Secret, SecretBytes};
use handfast_protocol::text::{AccountLabel, DeviceName, Platform};
use handfast_protocol::{NewDevice, NewEnrollment, TrustedDevice};
use std::fmt;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use crate::{RecordedDevice, RelayUrl};

const KEY_FILE: &str = "device.key";
const BUNDLE_FILE: &str = "bundle.sealed";
const PROFILE_FILE: &str = "profile.json";
/// There while a device is being made: what lies beside it without a profile file is half of one.
const MAKING_FILE: &str = "handfast-making";
const FILES: [&str; 3] = [KEY_FILE, BUNDLE_FILE, PROFILE_FILE];

/// This many burned offers ...
const BURNS_ALLOWED: usize = 5;
/// ... within this time ...
const BURN_WINDOW: Duration = Duration::from_secs(15 * 60);
/// ... cost this wait.
const BURN_WAIT: Duration = Duration::from_secs(60);

/// One enrolled device on disk.
#[derive(Debug)]
pub struct Profile {
    dir: Directory,
    key: DeviceKey,
    file: ProfileFile,
    devices: Vec<DeviceRecord>,
}

/// A device that this one has let in, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceRecord {
    /// What is remembered of it.
    pub device: EnrolledDevice,
    /// When the grant was sent, or confirmed.
    pub at: SystemTime,
}

/// Where the device key lies.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyProtection {
    /// In this file.
    File {
        /// Its path.
        path: PathBuf,
        /// Whether only the owner can read it.
        private: bool,
    },
}

impl fmt::Display for KeyProtection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::File { path, private } = self;
        let who = if *private {
            "only your user account can read (mode 0600); nothing else protects it"
        } else {
            "OTHER USERS of this machine may read: take their permissions away"
        };
        write!(f, "in the file {}, which {who}", path.display())
    }
}

/// What is wrong with a profile.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProfileError {
    /// There is no account in this directory.
    #[error("there is no account in {0}: run `handfast init` for a first device, or `handfast join` for a new one")]
    NotFound(PathBuf),
    /// The directory holds an account already.
    #[error("{0} already holds an account: use another --profile, or `handfast forget` first")]
    AlreadyHasAccount(PathBuf),
    /// A file is not what this program wrote, or belongs elsewhere.
    #[error("{file} in the profile is damaged ({why}): restore it from a backup, or remove the profile and join again")]
    Damaged {
        /// Which file.
        file: &'static str,
        /// What does not fit.
        why: &'static str,
    },
    /// Reading or writing failed.
    #[error("cannot {action} {}: {source}; check the disk and the permissions", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which path.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// Another process is making a device here.
    #[error("another command is using {0}: wait until it is done, or use another --profile")]
    Busy(PathBuf),
    /// The bundle cannot be sealed or is over its limit.
    #[error(transparent)]
    Bundle(#[from] BundleError),
}

impl Profile {
    /// Makes an account on its first device. Errors: [`ProfileError::AlreadyHasAccount`], [`ProfileError::Io`].
    pub fn init(dir: &Path, label: AccountLabel, name: DeviceName) -> Result<Self, ProfileError> {
        let place = NewProfile::prepare(dir)?;
        let (mut rng, key) = (rand::rng(), place.key());
        let account = Genesis::sign(label.clone(), key, &mut rng).account();
        let sign_in_secret = Secret::<32>::random(&mut rng);
        let bundle = CredentialBundle::new(
            account.id,
            label,
            Secret::random(&mut rng),
            SecretBytes::new(sign_in_secret.expose().to_vec()),
        );
        let file = ProfileFile::new(&account, &DeviceInfo { name, platform: this_platform() }, key, None);
        place.finish(&bundle, file)
    }

    /// Opens the device in this directory. Errors: [`ProfileError::NotFound`], [`ProfileError::Damaged`],
    /// [`ProfileError::Io`].
    pub fn open(dir: &Path) -> Result<Self, ProfileError> {
        let dir = Directory::at(dir);
        let Some(bytes) = dir.read(PROFILE_FILE)? else {
            roll_back(&dir)?;
            return Err(without_profile_file(&dir));
        };
        let key = read_key(&dir)?;
        let file = ProfileFile::decode(&bytes, &key)?;
        Self::loaded(dir, key, file)
    }

    /// Whether this directory holds an account. What a killed process left there counts as nothing.
    pub fn holds_account(dir: &Path) -> Result<bool, ProfileError> {
        Ok(Directory::at(dir).read(PROFILE_FILE)?.is_some())
    }

    /// Where it lies.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The account.
    pub fn account(&self) -> &Account {
        self.file.account()
    }

    /// What this device is called.
    pub fn device_name(&self) -> &DeviceName {
        &self.file.info().name
    }

    /// What kind of machine this was when it was enrolled.
    pub fn platform(&self) -> &Platform {
        &self.file.info().platform
    }

    /// This device's identity.
    pub fn identity(&self) -> IdentityPublicKey {
        self.key.identity()
    }

    /// The device that let this one in; `None` on the account's first device.
    pub fn enroller(&self) -> Option<&Enroller> {
        self.file.enroller()
    }

    /// The devices that this one has let in.
    pub fn devices(&self) -> &[DeviceRecord] {
        &self.devices
    }

    /// The relay that this profile uses, if one was set.
    pub fn relay(&self) -> Option<&RelayUrl> {
        self.file.relay()
    }

    /// Where the device key lies and what protects it.
    pub fn key_protection(&self) -> KeyProtection {
        KeyProtection::File { path: self.dir.path().join(KEY_FILE), private: self.dir.is_private(KEY_FILE) }
    }

    /// The bundle. Errors: [`ProfileError::Damaged`] if it does not open with this device's key, [`ProfileError::Io`].
    pub fn bundle(&self) -> Result<CredentialBundle, ProfileError> {
        let missing = ProfileError::Damaged { file: BUNDLE_FILE, why: "it is missing" };
        let sealed = self.dir.read(BUNDLE_FILE)?.ok_or(missing)?;
        CredentialBundle::open(&sealed, &self.account().id, &self.key)
            .map_err(|_| ProfileError::Damaged { file: BUNDLE_FILE, why: "it does not open with this device's key" })
    }

    /// Changes the bundle: `change` gets the one on disk, and the result is sealed and written. Nobody else's change is
    /// lost. Errors: those of `change`, of [`Profile::bundle`] and of writing; the bundle on disk is then as it was.
    pub fn change_bundle<T, E: From<ProfileError>>(
        &mut self,
        change: impl FnOnce(&mut CredentialBundle) -> Result<T, E>,
    ) -> Result<T, E> {
        let _lock = self.dir.lock().map_err(ProfileError::from)?;
        self.dir.remove_temporaries(&FILES).map_err(ProfileError::from)?;
        let mut bundle = self.bundle()?;
        let result = change(&mut bundle)?;
        let sealed = bundle.seal(&self.key, &mut rand::rng()).map_err(ProfileError::from)?;
        self.dir.write(BUNDLE_FILE, &sealed).map_err(ProfileError::from)?;
        self.dir.sync().map_err(ProfileError::from)?;
        Ok(result)
    }

    /// Sets or clears the relay that this profile uses.
    pub fn set_relay(&mut self, relay: Option<RelayUrl>) -> Result<(), ProfileError> {
        self.change(|file| file.set_relay(relay))
    }

    /// Forgets a device that this one has let in; `false` if there is none of this identity. Local only: that device
    /// keeps what it has.
    pub fn remove_device(&mut self, identity: &IdentityPublicKey) -> Result<bool, ProfileError> {
        self.change(|file| file.remove_device(identity))
    }

    /// How long a new offer has to wait because of burned ones.
    pub fn burn_wait(&self, now: SystemTime) -> Duration {
        let recent = recent_burns(&self.file, now);
        match recent.last() {
            Some(last) if recent.len() >= BURNS_ALLOWED => {
                BURN_WAIT.saturating_sub(now.duration_since(*last).unwrap_or_default())
            }
            _ => Duration::ZERO,
        }
    }

    /// Wipes this device: overwrites and removes key, bundle and profile. Other devices are not told. On disks that write
    /// elsewhere than where they are told to (most SSDs), the old blocks may survive a while.
    pub fn forget(self) -> Result<(), ProfileError> {
        Self::wipe(self.dir.path())
    }

    /// As [`Profile::forget`], for a profile that is damaged and does not open.
    pub fn wipe(dir: &Path) -> Result<(), ProfileError> {
        let dir = Directory::at(dir);
        let _lock = dir.lock()?;
        // The key first, without it nothing opens; then the file that says there is an account.
        for name in [KEY_FILE, PROFILE_FILE, BUNDLE_FILE, MAKING_FILE] {
            dir.wipe(name)?;
        }
        dir.remove_temporaries(&FILES)?;
        dir.sync()?;
        dir.remove_if_empty();
        Ok(())
    }

    pub(crate) fn trusted_device(&self) -> TrustedDevice {
        TrustedDevice {
            key: self.key.clone(),
            info: self.file.info().clone(),
            account: self.account().clone(),
            known: self.known(),
        }
    }

    pub(crate) fn unlocking_device(&self) -> NewDevice {
        NewDevice {
            key: self.key.clone(),
            info: self.file.info().clone(),
            enrolled: Some((self.account().id, self.known())),
        }
    }

    /// Notes a burned offer, beside those that other processes have noted.
    pub(crate) fn record_burn(&mut self, now: SystemTime) -> Result<(), ProfileError> {
        self.change(|file| {
            let mut burns = recent_burns(file, now);
            burns.push(now);
            let keep = burns.len().saturating_sub(BURNS_ALLOWED);
            file.set_burns(burns.get(keep..).unwrap_or_default());
        })
    }

    /// Writes the record of a device: one that may soon hold the bundle, or one that has confirmed.
    pub(crate) fn record_device(&mut self, device: &EnrolledDevice) -> Result<(), ProfileError> {
        self.change(|file| file.put_device(DeviceEntry::new(device, SystemTime::now())))
    }

    /// This device's record of another one, if it counts: confirmed, or of the device that let this one in.
    pub(crate) fn recorded(&self, identity: &IdentityPublicKey) -> Option<RecordedDevice> {
        let let_in = self.devices.iter().map(|record| &record.device);
        let let_in = let_in.filter(|device| device.confirmed && device.identity == *identity);
        let mut let_in = let_in.map(|device| RecordedDevice { name: device.name.clone(), let_this_device_in: false });
        let enroller = self.enroller().filter(|enroller| enroller.identity == *identity);
        let_in.next().or_else(|| {
            enroller.map(|enroller| RecordedDevice { name: enroller.name.clone(), let_this_device_in: true })
        })
    }

    fn loaded(dir: Directory, key: DeviceKey, file: ProfileFile) -> Result<Self, ProfileError> {
        let devices = file.devices()?;
        Ok(Self { dir, key, file, devices })
    }

    /// Changes the profile file as it is on disk now, so that nobody else's change is lost.
    fn change<T>(&mut self, change: impl FnOnce(&mut ProfileFile) -> T) -> Result<T, ProfileError> {
        let _lock = self.dir.lock()?;
        self.dir.remove_temporaries(&FILES)?;
        let bytes = self.dir.read(PROFILE_FILE)?.ok_or_else(|| ProfileError::NotFound(self.dir.path().to_owned()))?;
        let mut file = ProfileFile::decode(&bytes, &self.key)?;
        let result = change(&mut file);
        self.dir.write(PROFILE_FILE, &file.encode()?)?;
        self.dir.remove(MAKING_FILE);
        self.dir.sync()?;
        self.devices = file.devices()?;
        self.file = file;
        Ok(result)
    }

    /// The identities that this device has recorded: confirmed devices, and the one that let it in.
    fn known(&self) -> Vec<IdentityPublicKey> {
        let confirmed = self.devices.iter().filter(|record| record.device.confirmed);
        let let_in = confirmed.map(|record| record.device.identity);
        let_in.chain(self.enroller().map(|enroller| enroller.identity)).collect()
    }
}

fn recent_burns(file: &ProfileFile, now: SystemTime) -> Vec<SystemTime> {
    let recent = |burn: &SystemTime| now.duration_since(*burn).is_ok_and(|age| age < BURN_WINDOW);
    file.burns().filter(recent).collect()
}

/// A device in the making: its key is on its way to the disk, and nobody else can make one in the same directory. Dropped
/// unfinished, it leaves nothing behind.
#[derive(Debug)]
pub(crate) struct NewProfile {
    dir: Directory,
    key: DeviceKey,
    key_written: Option<JoinHandle<Result<(), FileError>>>,
    finished: bool,
    /// The directory was made for this device.
    own_directory: bool,
    _lock: Lock,
}

impl NewProfile {
    /// Errors: [`ProfileError::AlreadyHasAccount`], [`ProfileError::Busy`], [`ProfileError::Io`].
    pub(crate) fn prepare(path: &Path) -> Result<Self, ProfileError> {
        let own_directory = !path.exists();
        let dir = Directory::create(path)?;
        let lock = dir.try_lock()?.ok_or_else(|| ProfileError::Busy(path.to_owned()))?;
        if dir.read(PROFILE_FILE)?.is_some() {
            return Err(ProfileError::AlreadyHasAccount(path.to_owned()));
        }
        remove_half_made(&dir)?;
        if dir.exists(KEY_FILE) || dir.exists(BUNDLE_FILE) {
            return Err(ProfileError::Damaged {
                file: PROFILE_FILE,
                why: "it is missing beside other files of a device",
            });
        }
        let key = DeviceKey::generate(&mut rand::rng());
        // What fails from here on is cleared up when this is dropped.
        let mut place = Self { dir, key, key_written: None, finished: false, own_directory, _lock: lock };
        place.dir.touch(MAKING_FILE)?;
        // That this place can be written to is known now; waiting for the disk goes on beside the pairing.
        let file = place.dir.begin(KEY_FILE, &format::encode_key(&place.key))?;
        place.key_written = Some(std::thread::spawn(move || file.finish()));
        Ok(place)
    }

    pub(crate) fn key(&self) -> &DeviceKey {
        &self.key
    }

    /// Stores an enrollment, all of it or nothing.
    pub(crate) fn commit(
        self,
        info: &DeviceInfo,
        enrollment: &NewEnrollment,
        relay: Option<RelayUrl>,
    ) -> Result<Profile, ProfileError> {
        let mut file = ProfileFile::new(&enrollment.account, info, &self.key, Some(&enrollment.enroller));
        file.set_relay(relay);
        self.finish(&enrollment.bundle, file)
    }

    fn finish(mut self, bundle: &CredentialBundle, file: ProfileFile) -> Result<Profile, ProfileError> {
        let sealed = bundle.seal(&self.key, &mut rand::rng())?;
        let bundle_file = self.dir.begin(BUNDLE_FILE, &sealed)?;
        let profile_file = self.dir.begin(PROFILE_FILE, &file.encode()?)?;
        // Three files, one wait.
        let profile_file = std::thread::scope(|scope| {
            let profile_synced = scope.spawn(|| profile_file.sync());
            bundle_file.finish()?;
            profile_synced.join().unwrap_or_else(|_| Err(FileError::interrupted(self.dir.path())))
        })?;
        self.wait_for_key()?;
        // Both names must be on disk before the one that says there is an account.
        self.dir.sync()?;
        profile_file.name()?;
        self.dir.sync()?;
        self.finished = true;
        self.dir.remove(MAKING_FILE);
        Profile::loaded(self.dir.clone(), self.key.clone(), file)
    }

    fn wait_for_key(&mut self) -> Result<(), FileError> {
        match self.key_written.take().map(JoinHandle::join) {
            Some(Ok(written)) => written,
            Some(Err(_)) => Err(FileError::interrupted(self.dir.path())),
            None => Ok(()),
        }
    }
}

impl Drop for NewProfile {
    fn drop(&mut self) {
        let _ = self.wait_for_key();
        if !self.finished {
            // The profile file first: without it, the rest is no account.
            let _ = self.dir.wipe(PROFILE_FILE);
            let _ = remove_half_made(&self.dir);
            if self.own_directory {
                self.dir.remove_if_empty();
            }
        }
    }
}

/// What this machine says of itself.
pub(crate) fn this_platform() -> Platform {
    let text = format!("{} {}", std::env::consts::OS, std::env::consts::ARCH);
    let fallback = || Platform::new("unknown");
    #[expect(clippy::expect_used, reason = "the fallback is a short printable constant")]
    Platform::new(&text).or_else(|_| fallback()).expect("a constant")
}

/// Removes what a process left that was killed before it had written the profile file.
fn roll_back(dir: &Directory) -> Result<(), ProfileError> {
    if !dir.exists(MAKING_FILE) {
        return Ok(());
    }
    // Whoever holds the lock is at work here: what looks left over is not.
    let Some(_lock) = dir.try_lock()? else { return Ok(()) };
    // Another process may have been about to finish.
    if dir.read(PROFILE_FILE)?.is_none() {
        remove_half_made(dir)?;
    }
    Ok(())
}

/// Removes half a device, if the directory holds one. Only under the lock.
fn remove_half_made(dir: &Directory) -> Result<(), FileError> {
    if dir.exists(MAKING_FILE) {
        dir.remove_temporaries(&FILES)?;
        for name in [KEY_FILE, BUNDLE_FILE, MAKING_FILE] {
            dir.wipe(name)?;
        }
    }
    Ok(())
}

/// What a directory is that has no profile file: empty, or a device that lost it.
fn without_profile_file(dir: &Directory) -> ProfileError {
    if dir.exists(BUNDLE_FILE) && !dir.exists(MAKING_FILE) {
        return ProfileError::Damaged { file: PROFILE_FILE, why: "it is missing" };
    }
    ProfileError::NotFound(dir.path().to_owned())
}

fn read_key(dir: &Directory) -> Result<DeviceKey, ProfileError> {
    let missing = ProfileError::Damaged { file: KEY_FILE, why: "it is missing" };
    let bytes = dir.read(KEY_FILE)?.ok_or(missing)?;
    format::decode_key(&bytes)
}

impl From<FileError> for ProfileError {
    fn from(error: FileError) -> Self {
        let FileError { action, path, source } = error;
        Self::Io { action, path, source }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_constants_says_what_burned_offers_cost() {
        let attempts = serde_json::json!({
            "burns_allowed": BURNS_ALLOWED,
            "burn_window_ms": u64::try_from(BURN_WINDOW.as_millis()).unwrap(),
            "burn_wait_ms": u64::try_from(BURN_WAIT.as_millis()).unwrap(),
        });
        let table: serde_json::Value = serde_json::from_str(include_str!("../../../spec/constants.json")).unwrap();
        assert_eq!(table.get("attempts"), Some(&attempts));
    }
}
