//! Commands that look at or change this device only.

use super::{Context, device_name, entries, entry_names};
use crate::args::{Devices, DevicesCommand, Forget, Init};
use crate::exit::{Exit, Failed};
use crate::ui::screen::{calls_itself, leaves};
use handfast::{DeviceRecord, Profile, ProfileError, Request};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

pub(super) fn init(mut cx: Context<'_>, args: Init) -> Result<(), Failed> {
    let dir = cx.profile_dir()?;
    let mut profile = Profile::init(&dir, args.account, device_name(args.name)?)?;
    if let Some(relay) = cx.global.relay.clone() {
        profile.set_relay(Some(relay))?;
    }
    let text = format!(
        "This device is the first trusted device of {}.\n{}\nPut credentials into its bundle with `handfast bundle set`, let a device in with `handfast invite`.\n",
        profile.account().label,
        this_device(&profile)
    );
    cx.report(&text, &device_event(&profile, "initialized"))
}

pub(super) fn status(mut cx: Context<'_>) -> Result<(), Failed> {
    let profile = cx.open_profile()?;
    let (bundle, relay) = (profile.bundle()?, cx.relay(Some(&profile)));
    let count = bundle.entries().count();
    let let_in_by = match profile.enroller() {
        Some(enroller) => {
            format!("a device that {}, {}", calls_itself(&enroller.name, ""), enroller.identity.fingerprint())
        }
        None => "nobody: it made the account".into(),
    };
    let text = format!(
        "Account      {}\n{}\nLet in by    {let_in_by}\nLet in       {}\nBundle       {}, sealed under the device key\nRelay        {relay}\n",
        profile.account().label,
        this_device(&profile),
        devices_let_in(profile.devices()),
        entries(count),
    );
    let mut event = device_event(&profile, "status");
    if let Some(fields) = event.as_object_mut() {
        fields.insert("relay".into(), relay.to_string().into());
        fields.insert("bundle_entries".into(), count.into());
        let enroller = profile
            .enroller()
            .map(|enroller| json!({"name": enroller.name, "fingerprint": enroller.identity.fingerprint()}));
        fields.insert("let_in_by".into(), enroller.into());
    }
    cx.report(&text, &event)
}

pub(super) fn devices(cx: Context<'_>, args: Devices) -> Result<(), Failed> {
    let profile = cx.open_profile()?;
    match args.command {
        None => list_devices(cx, &profile),
        Some(DevicesCommand::Rm { device }) => remove_device(cx, profile, &device),
    }
}

pub(super) async fn forget(mut cx: Context<'_>, args: Forget) -> Result<(), Failed> {
    let dir = cx.profile_dir()?;
    let profile = match Profile::open(&dir) {
        Err(error @ ProfileError::Damaged { .. }) => return forget_damaged(cx, args, &dir, &error).await,
        profile => profile?,
    };
    let label = profile.account().label.clone();
    let others = profile.enroller().is_some() || profile.devices().iter().any(|record| record.device.confirmed);
    let after = if others {
        "Another trusted device can let it in again."
    } else {
        "This device knows of no other that holds the account: its bundle would be lost."
    };
    let question = format!(
        "Wipe the account {label} from this device? Its key and bundle in {} are gone for good. {after}",
        profile.dir().display()
    );
    if !args.yes && !cx.session.confirm("ask_forget", &question).await? {
        return Err(Failed::new(Exit::Cancelled, "cancelled; nothing was changed"));
    }
    profile.forget()?;
    let text = format!(
        "This device no longer holds {label}. Other devices were not told: run `handfast devices rm` on the one that let it in.\n"
    );
    cx.report(&text, &json!({"event": "done", "outcome": "forgotten", "account": label.as_str()}))
}

/// What does not open can still hold secrets.
async fn forget_damaged(mut cx: Context<'_>, args: Forget, dir: &Path, error: &ProfileError) -> Result<(), Failed> {
    let question = format!(
        "{error}. Wipe it all the same? The key and bundle in {} are gone for good, and with them the account if no other \
         trusted device holds it.",
        dir.display()
    );
    if !args.yes && !cx.session.confirm("ask_forget", &question).await? {
        return Err(Failed::new(Exit::Cancelled, "cancelled; nothing was changed"));
    }
    Profile::wipe(dir)?;
    let text = "This device no longer holds the account. Other devices were not told: run `handfast devices rm` on the one that let it in.\n";
    cx.report(text, &json!({"event": "done", "outcome": "forgotten", "account": null}))
}

fn list_devices(mut cx: Context<'_>, profile: &Profile) -> Result<(), Failed> {
    let mut text = String::new();
    for record in profile.devices() {
        let device = &record.device;
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "{}  {}  {}",
            device.identity.fingerprint(),
            utc(record.at),
            calls_itself(&device.name, &device.platform)
        );
        if !device.confirmed {
            let _ = writeln!(text, "    may hold the bundle; never confirmed");
        }
    }
    if text.is_empty() {
        text.push_str("This device has let no other device in.\n");
    }
    let devices: Vec<Value> = profile.devices().iter().map(record_value).collect();
    cx.report(&text, &json!({"event": "devices", "devices": devices}))
}

fn remove_device(mut cx: Context<'_>, mut profile: Profile, wanted: &str) -> Result<(), Failed> {
    let device = match found(profile.devices(), wanted).as_slice() {
        [record] => record.device.clone(),
        [_, _, ..] => {
            return Err(Failed::usage(
                "several devices have this name: give the fingerprint that `handfast devices` shows",
            ));
        }
        [] => {
            return Err(Failed::new(
                Exit::NotRecorded,
                "this device has let in no device of this name or fingerprint: look at `handfast devices`",
            ));
        }
    };
    profile.remove_device(&device.identity)?;
    // Removing works without the bundle, too.
    let note = what_to_change(entry_names(&profile).ok());
    let fingerprint = device.identity.fingerprint();
    let text = format!(
        "Removed from this device's list: {fingerprint}, which {}.\n{note}\n",
        calls_itself(&device.name, &device.platform)
    );
    cx.report(&text, &json!({"event": "done", "outcome": "device_removed", "fingerprint": fingerprint, "note": note}))
}

/// `entries`: what is in the bundle now. The other copy is as old as its enrollment.
fn what_to_change(entries: Option<Vec<String>>) -> String {
    let knew = match entries {
        Some(entries) => leaves(&Request::Bundle, &entries) + ", and whatever was removed or changed here since",
        None => "the account unlock key, the sign-in secret, and every entry".into(),
    };
    format!(
        "It keeps its copy of the bundle. To lock it out, change everything that it knew: {knew}. Other devices are not \
         told: remove it there too."
    )
}

/// A device calls itself what it likes, even by another one's fingerprint: names count only if no fingerprint does.
fn found<'a>(devices: &'a [DeviceRecord], wanted: &str) -> Vec<&'a DeviceRecord> {
    let fingerprint = |record: &&DeviceRecord| record.device.identity.fingerprint().eq_ignore_ascii_case(wanted);
    let found: Vec<_> = devices.iter().filter(fingerprint).collect();
    if found.is_empty() { devices.iter().filter(|record| record.device.name == wanted).collect() } else { found }
}

fn this_device(profile: &Profile) -> String {
    format!(
        "This device  {} ({})\nFingerprint  {}\nDevice key   {}",
        profile.device_name(),
        profile.platform(),
        profile.identity().fingerprint(),
        profile.key_protection()
    )
}

fn device_event(profile: &Profile, event: &str) -> Value {
    json!({
        "event": event,
        "account": profile.account().label.as_str(),
        "account_id": hex::encode(profile.account().id.0),
        "device": profile.device_name().as_str(),
        "platform": profile.platform().as_str(),
        "fingerprint": profile.identity().fingerprint(),
        "key_protection": profile.key_protection().to_string(),
    })
}

fn record_value(record: &DeviceRecord) -> Value {
    let device = &record.device;
    json!({
        "name": device.name,
        "platform": device.platform,
        "fingerprint": device.identity.fingerprint(),
        "confirmed": device.confirmed,
        "at": utc(record.at),
    })
}

fn devices_let_in(devices: &[DeviceRecord]) -> String {
    let unconfirmed = devices.iter().filter(|record| !record.device.confirmed).count();
    match (devices.len(), unconfirmed) {
        (0, _) => "no device".into(),
        (1, 0) => "1 device".into(),
        (count, 0) => format!("{count} devices"),
        (count, unconfirmed) => format!("{count} devices, of which {unconfirmed} never confirmed"),
    }
}

/// A profile may say anything.
const END_OF_YEAR_9999: u64 = 253_402_300_799;

/// `2026-11-20 11:22 UTC`.
fn utc(time: SystemTime) -> String {
    let seconds = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs().min(END_OF_YEAR_9999);
    let (days, minutes) = (seconds / 86_400, seconds % 86_400 / 60);
    let (year, month, day) = civil(days);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02} UTC", minutes / 60, minutes % 60)
}

/// The Gregorian date of a day since 1970-01-01.
fn civil(mut day: u64) -> (u64, u64, u64) {
    let leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let mut year = 1970;
    while day >= 365 + u64::from(leap(year)) {
        day -= 365 + u64::from(leap(year));
        year += 1;
    }
    let february = 28 + u64::from(leap(year));
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30] {
        if day < length {
            break;
        }
        day -= length;
        month += 1;
    }
    (year, month, day + 1)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use handfast::{AccountLabel, DeviceName, EnrolledDevice};
    use std::time::Duration;

    #[test]
    fn whoever_removes_a_device_reads_that_it_keeps_its_copy_and_what_to_change() {
        let text = what_to_change(Some(vec!["mail".into(), "wifi".into()]));
        for part in
            ["It keeps its copy", "account unlock key", "sign-in secret", "\"mail\", \"wifi\"", "remove it there"]
        {
            assert!(text.contains(part), "{part} is missing in {text}");
        }
        assert!(what_to_change(None).contains("and every entry"));
    }

    #[test]
    fn a_device_that_calls_itself_by_anothers_fingerprint_does_not_hide_it() {
        let record = |name: &str| {
            let folder = tempfile::tempdir().unwrap();
            let (label, own) = (AccountLabel::new("a").unwrap(), DeviceName::new("b").unwrap());
            let identity = Profile::init(folder.path(), label, own).unwrap().identity();
            let device = EnrolledDevice {
                identity,
                wrapping_key: Vec::new(),
                name: name.into(),
                platform: "linux".into(),
                grant_signature: [0; 64],
                transcript: [0; 32],
                confirmed: true,
            };
            DeviceRecord { device, at: UNIX_EPOCH }
        };
        let laptop = record("laptop");
        let fingerprint = laptop.device.identity.fingerprint();
        let devices = [record(&fingerprint), laptop, record("phone"), record("phone")];
        assert_eq!(found(&devices, &fingerprint), [&devices[1]]);
        assert_eq!(found(&devices, &fingerprint.to_lowercase()), [&devices[1]]);
        assert_eq!(found(&devices, "laptop"), [&devices[1]]);
        assert_eq!(found(&devices, "phone").len(), 2);
        assert!(found(&devices, "tablet").is_empty());
    }

    #[test]
    fn times_are_written_in_utc() {
        for (seconds, text) in [
            (0, "1970-01-01 00:00 UTC"),
            (951_782_399, "2000-02-28 23:59 UTC"),
            (951_782_400, "2000-02-29 00:00 UTC"),
            (1_795_174_936, "2026-11-20 11:42 UTC"),
            (1_798_761_599, "2026-12-31 23:59 UTC"),
        ] {
            assert_eq!(utc(UNIX_EPOCH + Duration::from_secs(seconds)), text);
        }
        assert_eq!(utc(UNIX_EPOCH + Duration::from_secs(1 << 62)), "9999-12-31 23:59 UTC");
    }
}
