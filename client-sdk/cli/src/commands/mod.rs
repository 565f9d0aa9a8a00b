//! What each command does.

mod bundle;
mod local;
mod pair;
mod unlocked;

use crate::args::{Cli, Command, Global};
use crate::demo;
use crate::exit::{Exit, Failed};
use crate::session::Session;
use clap::CommandFactory;
use handfast::{DeviceName, Profile, RelayUrl};
use std::path::PathBuf;

/// Runs the command line that was given.
pub(crate) async fn run(cli: Cli, session: &mut Session) -> Result<(), Failed> {
    let cx = Context { global: cli.global, session };
    match cli.command {
        Command::Init(args) => local::init(cx, args),
        Command::Status => local::status(cx),
        Command::Devices(args) => local::devices(cx, args),
        Command::Forget(args) => local::forget(cx, args).await,
        Command::Bundle(args) => bundle::run(cx, args.command),
        Command::Invite(args) => pair::invite(cx, args).await,
        Command::Join(args) => pair::join(cx, args).await,
        Command::Approve(args) => pair::approve(cx, args).await,
        Command::Unlock(args) => pair::unlock(cx, args).await,
        Command::Demo => demo::run(cx.session).await,
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "handfast", &mut script);
            cx.session.ui.result(&script)
        }
    }
}

/// What every command works with.
struct Context<'a> {
    global: Global,
    session: &'a mut Session,
}

impl Context<'_> {
    /// Where the profile is, or would be.
    fn profile_dir(&self) -> Result<PathBuf, Failed> {
        self.global.profile.clone().or_else(default_profile).ok_or_else(|| {
            Failed::new(Exit::NoProfile, "this system names no folder for user data: say where with --profile DIR")
        })
    }

    fn open_profile(&self) -> Result<Profile, Failed> {
        Ok(Profile::open(&self.profile_dir()?)?)
    }

    /// The relay to use: named, or the profile's, or the default one.
    fn relay(&self, profile: Option<&Profile>) -> RelayUrl {
        let of_profile = || profile.and_then(Profile::relay).cloned();
        self.global.relay.clone().or_else(of_profile).unwrap_or_default()
    }

    /// A result: people's text, or one event.
    fn report(&mut self, text: &str, event: &serde_json::Value) -> Result<(), Failed> {
        if self.session.ui.is_json() { self.session.ui.event(event) } else { self.session.ui.result(text.as_bytes()) }
    }
}

/// The platform's folder for a user's data.
fn default_profile() -> Option<PathBuf> {
    let folder = |variable: &str| std::env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from);
    let data = if cfg!(windows) {
        folder("LOCALAPPDATA")
    } else if cfg!(target_os = "macos") {
        folder("HOME").map(|home| home.join("Library/Application Support"))
    } else {
        folder("XDG_DATA_HOME")
            .filter(|data| data.is_absolute())
            .or_else(|| folder("HOME").map(|home| home.join(".local/share")))
    };
    data.map(|data| data.join("handfast"))
}

/// What the person wants this device to be called, or what the machine is.
fn device_name(given: Option<DeviceName>) -> Result<DeviceName, Failed> {
    let usable = || {
        let name: String = host_name()?.chars().take(DeviceName::MAX_BYTES).collect();
        DeviceName::new(&name).ok()
    };
    given
        .or_else(usable)
        .ok_or_else(|| Failed::usage("this machine has no usable name: say what to call it with --name DEVICE"))
}

#[cfg(unix)]
fn host_name() -> Option<String> {
    rustix::system::uname().nodename().to_str().ok().map(str::to_owned)
}

#[cfg(not(unix))]
fn host_name() -> Option<String> {
    std::env::var("COMPUTERNAME").ok()
}

/// The names of the entries of the bundle.
fn entry_names(profile: &Profile) -> Result<Vec<String>, Failed> {
    Ok(profile.bundle()?.entries().map(|(name, _)| name.to_string()).collect())
}

/// `1 entry`, `2 entries`.
fn entries(count: usize) -> String {
    if count == 1 { "1 entry".into() } else { format!("{count} entries") }
}
