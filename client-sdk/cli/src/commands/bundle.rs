//! `handfast bundle`: what travels to a new device.

use super::{Context, entries};
use crate::args::BundleCommand;
use crate::exit::{Exit, Failed};
use crate::files;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use handfast::{EntryName, MAX_BUNDLE_BYTES, SecretBytes};
use serde_json::json;
use std::io;
use std::path::Path;

pub(super) fn run(cx: Context<'_>, command: BundleCommand) -> Result<(), Failed> {
    match command {
        BundleCommand::Set { name, file } => set(cx, name, &file),
        BundleCommand::Get { name, output } => get(cx, &name, output.as_deref()),
        BundleCommand::List => list(cx),
        BundleCommand::Rm { name } => remove(cx, &name),
    }
}

fn set(mut cx: Context<'_>, name: EntryName, file: &Path) -> Result<(), Failed> {
    let mut profile = cx.open_profile()?;
    let value = SecretBytes::new(std::mem::take(&mut *read(file)?));
    let bytes = value.len();
    profile
        .change_bundle(|bundle| bundle.set(name.clone(), value).map_err(|error| Failed::new(Exit::BadBundle, error)))?;
    let text = format!(
        "Set {name} ({bytes} bytes). Devices that have joined before do not get it by themselves: see `handfast bundle --help`.\n"
    );
    cx.report(&text, &json!({"event": "done", "outcome": "entry_set", "name": name.as_str(), "bytes": bytes}))
}

fn get(mut cx: Context<'_>, name: &EntryName, output: Option<&Path>) -> Result<(), Failed> {
    let bundle = cx.open_profile()?.bundle()?;
    let value = bundle.get(name).ok_or_else(|| no_entry(name))?;
    match output {
        None if cx.session.ui.is_json() => {
            let base64 = zeroize::Zeroizing::new(STANDARD.encode(value.expose()));
            cx.session.ui.event(&json!({"event": "entry", "name": name.as_str(), "base64": *base64}))
        }
        None => cx.session.ui.result(value.expose()),
        Some(path) => {
            files::write_private(path, value.expose())?;
            let event =
                json!({"event": "done", "outcome": "entry_written", "name": name.as_str(), "bytes": value.len()});
            cx.report(&format!("Wrote {} bytes to {}, readable only by you.\n", value.len(), path.display()), &event)
        }
    }
}

fn list(mut cx: Context<'_>) -> Result<(), Failed> {
    let bundle = cx.open_profile()?.bundle()?;
    let mut text = String::new();
    let mut names = Vec::new();
    for (name, value) in bundle.entries() {
        text.push_str(&format!("{name}  ({} bytes)\n", value.len()));
        names.push(json!({"name": name.as_str(), "bytes": value.len()}));
    }
    text.push_str(&format!(
        "{}, and the account unlock key and sign-in secret, which every bundle has.\n",
        entries(names.len())
    ));
    cx.report(&text, &json!({"event": "bundle", "entries": names}))
}

fn remove(mut cx: Context<'_>, name: &EntryName) -> Result<(), Failed> {
    let mut profile = cx.open_profile()?;
    profile.change_bundle(|bundle| if bundle.remove(name) { Ok(()) } else { Err(no_entry(name)) })?;
    let text = format!("Removed {name} from this device's bundle; devices that have joined keep their copy.\n");
    cx.report(&text, &json!({"event": "done", "outcome": "entry_removed", "name": name.as_str()}))
}

/// The bytes of a file or of stdin, at most as many as a bundle can hold.
fn read(file: &Path) -> Result<zeroize::Zeroizing<Vec<u8>>, Failed> {
    let read = if file == Path::new("-") {
        files::read_bounded(io::stdin().lock(), MAX_BUNDLE_BYTES)
    } else {
        files::read_bounded(files::open(file)?, MAX_BUNDLE_BYTES)
    };
    read.map_err(|error| match error.kind() {
        io::ErrorKind::FileTooLarge => Failed::new(
            Exit::BadBundle,
            format!(
                "the entry is too large: a whole bundle holds at most {MAX_BUNDLE_BYTES} bytes; nothing was changed"
            ),
        ),
        _ => files::cannot("read", file, &error),
    })
}

fn no_entry(name: &EntryName) -> Failed {
    Failed::new(Exit::BadBundle, format!("the bundle has no entry \"{name}\": look at `handfast bundle list`"))
}
