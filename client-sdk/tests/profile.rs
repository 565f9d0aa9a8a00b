//! What a profile promises: whole files, private files, nobody's change lost, and nothing left of what did not happen.

#![allow(clippy::unwrap_used)]

use handfast::{
    AccountLabel, BundleError, DeviceName, EntryName, MAX_BUNDLE_BYTES, Profile, ProfileError, SecretBytes,
};
use std::fs;
use std::path::Path;
use tempfile::TempDir;

#[test]
fn an_account_survives_reopening() {
    let home = TempDir::new().unwrap();
    let profile = init(home.path());
    let reopened = Profile::open(home.path()).unwrap();
    assert_eq!(reopened.account(), profile.account());
    assert_eq!(reopened.identity(), profile.identity());
    assert_eq!(reopened.bundle().unwrap(), profile.bundle().unwrap());
    assert_eq!(reopened.account().label.as_str(), "ada@example.com");
    assert!(reopened.enroller().is_none());
}

#[test]
fn two_accounts_share_nothing() {
    let (one, two) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let (one, two) = (init(one.path()), init(two.path()));
    assert_ne!(one.account().id, two.account().id);
    assert_ne!(one.identity(), two.identity());
    assert_ne!(one.bundle().unwrap().unlock_key, two.bundle().unwrap().unlock_key);
}

#[test]
fn a_second_account_is_refused_and_the_first_untouched() {
    let home = TempDir::new().unwrap();
    let first = init(home.path());
    let again = Profile::init(home.path(), label(), name());
    assert!(matches!(again, Err(ProfileError::AlreadyHasAccount(_))));
    assert_eq!(Profile::open(home.path()).unwrap().account(), first.account());
}

#[cfg(unix)]
#[test]
fn only_the_owner_can_read() {
    use std::os::unix::fs::PermissionsExt;
    let home = TempDir::new().unwrap();
    let dir = home.path().join("profile");
    let mut profile = init(&dir);
    set(&mut profile, "a", b"b").unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&dir), 0o700);
    let files: Vec<_> = fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(files.len() >= 3);
    assert!(profile.key_protection().to_string().contains("only your user account"));
    for file in files {
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
    fs::set_permissions(dir.join("device.key"), fs::Permissions::from_mode(0o644)).unwrap();
    assert!(profile.key_protection().to_string().contains("OTHER USERS"));
}

#[test]
fn no_secret_lies_in_the_open() {
    let home = TempDir::new().unwrap();
    let mut profile = init(home.path());
    set(&mut profile, "token", b"hunter2hunter2").unwrap();
    let bundle = profile.bundle().unwrap();
    for file in ["bundle.sealed", "profile.json"] {
        let bytes = fs::read(home.path().join(file)).unwrap();
        for secret in [b"hunter2hunter2".as_slice(), bundle.unlock_key.expose(), bundle.sign_in_secret.expose()] {
            assert!(!bytes.windows(secret.len()).any(|window| window == secret), "{file}");
        }
    }
}

#[test]
fn a_bundle_over_its_limit_is_refused_and_nothing_is_lost() {
    let home = TempDir::new().unwrap();
    let mut profile = init(home.path());
    set(&mut profile, "kept", b"kept").unwrap();
    let too_large = set(&mut profile, "large", &vec![7; MAX_BUNDLE_BYTES]);
    assert!(matches!(too_large, Err(ProfileError::Bundle(BundleError::TooLarge(_)))));
    let bundle = Profile::open(home.path()).unwrap().bundle().unwrap();
    assert_eq!(bundle.entries().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["kept"]);
}

#[test]
fn two_handles_lose_nobodys_change() {
    let home = TempDir::new().unwrap();
    let mut one = init(home.path());
    let mut two = Profile::open(home.path()).unwrap();
    set(&mut one, "one", b"1").unwrap();
    set(&mut two, "two", b"2").unwrap();
    one.set_relay(Some("wss://one.example".parse().unwrap())).unwrap();
    two.set_relay(None).unwrap();
    one.set_relay(Some("wss://two.example".parse().unwrap())).unwrap();
    let after = Profile::open(home.path()).unwrap();
    assert_eq!(after.bundle().unwrap().entries().count(), 2);
    assert_eq!(after.relay().unwrap().to_string(), "wss://two.example");
}

#[test]
fn what_a_killed_process_left_is_no_account_and_is_removed() {
    let home = TempDir::new().unwrap();
    init(home.path());
    // Killed before the last file was written.
    fs::remove_file(home.path().join("profile.json")).unwrap();
    fs::write(home.path().join("handfast-making"), b"").unwrap();
    fs::write(home.path().join("profile.json.0123456789abcdef.tmp"), b"half").unwrap();
    assert!(!Profile::holds_account(home.path()).unwrap());
    assert!(matches!(Profile::open(home.path()), Err(ProfileError::NotFound(_))));
    let left: Vec<_> = fs::read_dir(home.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["lock"]);
    init(home.path());
}

#[test]
fn a_temporary_file_of_a_killed_process_goes_with_the_next_change() {
    let home = TempDir::new().unwrap();
    let mut profile = init(home.path());
    let half = home.path().join("bundle.sealed.0123456789abcdef.tmp");
    fs::write(&half, b"half").unwrap();
    set(&mut profile, "a", b"b").unwrap();
    assert!(!half.exists());
}

#[test]
fn files_of_others_are_never_touched() {
    let home = TempDir::new().unwrap();
    let outside = TempDir::new().unwrap();
    let precious = outside.path().join("precious");
    fs::write(&precious, b"precious").unwrap();
    fs::write(home.path().join("device.key"), b"-----BEGIN PRIVATE KEY-----").unwrap();
    fs::write(home.path().join("notes.tmp"), b"notes").unwrap();
    fs::create_dir(home.path().join("folder.tmp")).unwrap();
    #[cfg(unix)]
    std::os::unix::fs::symlink(&precious, home.path().join("bundle.sealed.0123456789abcdef.tmp")).unwrap();
    assert!(matches!(Profile::open(home.path()), Err(ProfileError::NotFound(_))));
    assert!(matches!(Profile::init(home.path(), label(), name()), Err(ProfileError::Damaged { .. })));
    assert_eq!(fs::read(home.path().join("device.key")).unwrap(), b"-----BEGIN PRIVATE KEY-----");
    fs::remove_file(home.path().join("device.key")).unwrap();
    let mut profile = init(home.path());
    set(&mut profile, "a", b"b").unwrap();
    profile.forget().unwrap();
    assert_eq!(fs::read(home.path().join("notes.tmp")).unwrap(), b"notes");
    assert_eq!(fs::read(&precious).unwrap(), b"precious");
}

#[test]
fn a_lost_profile_file_costs_neither_key_nor_bundle() {
    let home = TempDir::new().unwrap();
    let account = init(home.path()).account().clone();
    let (file, aside) = (home.path().join("profile.json"), home.path().join("aside"));
    fs::rename(&file, &aside).unwrap();
    assert!(matches!(Profile::open(home.path()), Err(ProfileError::Damaged { file: "profile.json", .. })));
    assert!(matches!(Profile::init(home.path(), label(), name()), Err(ProfileError::Damaged { .. })));
    fs::rename(&aside, &file).unwrap();
    assert_eq!(Profile::open(home.path()).unwrap().account(), &account);
}

#[test]
fn a_damaged_profile_can_be_wiped() {
    let home = TempDir::new().unwrap();
    let dir = home.path().join("profile");
    init(&dir);
    fs::write(dir.join("profile.json"), "{}").unwrap();
    assert!(matches!(Profile::open(&dir), Err(ProfileError::Damaged { .. })));
    Profile::wipe(&dir).unwrap();
    assert!(!dir.exists());
}

#[test]
fn damage_is_named_by_its_file() {
    type Damage = fn(&Path);
    let cases: [(&str, Damage); 6] = [
        ("device.key", |dir| fs::remove_file(dir.join("device.key")).unwrap()),
        ("device.key", |dir| fs::write(dir.join("device.key"), "handfast device key 1: 00").unwrap()),
        // Another device's key.
        ("profile.json", |dir| {
            let other = TempDir::new().unwrap();
            init(other.path());
            fs::copy(other.path().join("device.key"), dir.join("device.key")).unwrap();
        }),
        ("profile.json", |dir| fs::write(dir.join("profile.json"), "{}").unwrap()),
        ("bundle.sealed", |dir| fs::remove_file(dir.join("bundle.sealed")).unwrap()),
        // Another account's bundle.
        ("bundle.sealed", |dir| {
            let other = TempDir::new().unwrap();
            init(other.path());
            fs::copy(other.path().join("bundle.sealed"), dir.join("bundle.sealed")).unwrap();
        }),
    ];
    for (number, (expected, damage)) in cases.into_iter().enumerate() {
        let home = TempDir::new().unwrap();
        init(home.path());
        damage(home.path());
        let opened = Profile::open(home.path()).and_then(|profile| profile.bundle().map(drop));
        assert!(
            matches!(&opened, Err(ProfileError::Damaged { file, .. }) if *file == expected),
            "case {number}: {opened:?}"
        );
    }
}

#[test]
fn forgetting_leaves_no_key_and_no_bundle() {
    let home = TempDir::new().unwrap();
    init(home.path()).forget().unwrap();
    for file in ["device.key", "bundle.sealed", "profile.json"] {
        assert!(!home.path().join(file).exists(), "{file}");
    }
    assert!(!home.path().exists());
    assert!(!Profile::holds_account(home.path()).unwrap());
}

#[test]
fn an_unwritable_place_is_an_error_that_names_it() {
    let home = TempDir::new().unwrap();
    let file = home.path().join("file");
    fs::write(&file, b"").unwrap();
    let inside = Profile::init(&file.join("profile"), label(), name());
    assert!(matches!(&inside, Err(ProfileError::Io { path, .. }) if path.starts_with(&file)), "{inside:?}");
}

fn init(dir: &Path) -> Profile {
    Profile::init(dir, label(), name()).unwrap()
}

fn label() -> AccountLabel {
    AccountLabel::new("ada@example.com").unwrap()
}

fn name() -> DeviceName {
    DeviceName::new("desktop").unwrap()
}

fn set(profile: &mut Profile, name: &str, value: &[u8]) -> Result<(), ProfileError> {
    let name = EntryName::new(name).unwrap();
    profile.change_bundle(|bundle| Ok(bundle.set(name, SecretBytes::new(value.to_vec()))?))
}
