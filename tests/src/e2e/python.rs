//! The second implementation, `spec/python`, as a device.

use super::process::{Ended, Session, clean, finish};
use std::path::{Path, PathBuf};
use tokio::process::Command;

/// A device that is used through `python -m handfast_spec`.
pub struct PythonDevice {
    state: PathBuf,
    relay: String,
}

impl PythonDevice {
    /// With its state in `home`, using this relay.
    pub fn new(home: &Path, name: &str, relay: &str) -> Self {
        Self { state: home.join(name).with_extension("json"), relay: relay.to_owned() }
    }

    /// Runs a command that has to do with no other device, and must succeed. What it printed.
    pub async fn ok(&self, arguments: &[&str]) -> Vec<u8> {
        let ended = finish(self.command(arguments), b"").await;
        assert_eq!(ended.code(), Some(0), "{arguments:?}: {ended:?}");
        ended.stdout
    }

    /// Starts a run with another device.
    pub fn start(&self, arguments: &[&str]) -> Session {
        let mut command = self.command(arguments);
        command.args(["--relay", &self.relay]);
        Session::start(command)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let python = std::env::var_os("HANDFAST_SPEC_PYTHON").expect(
            "HANDFAST_SPEC_PYTHON names no Python with the packages of spec/python/requirements.txt: use tests/run",
        );
        let mut command = clean(Path::new(&python));
        command.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../spec/python"));
        command.env("PYTHONDONTWRITEBYTECODE", "1").args(["-m", "handfast_spec"]).args(arguments);
        command.arg("--state").arg(&self.state);
        command
    }
}

/// A run of either implementation, and how it is answered.
pub enum Either {
    /// The `handfast` command.
    Rust(Session),
    /// The second implementation.
    Python(Session),
}

impl Either {
    /// What it prints.
    pub fn session(&mut self) -> &mut Session {
        match self {
            Self::Rust(session) | Self::Python(session) => session,
        }
    }

    /// Answers the question for the approval with yes.
    pub async fn approve(&mut self) {
        match self {
            Self::Rust(session) => session.decide("approve").await,
            Self::Python(session) => session.write("y").await,
        }
    }

    /// Answers the question for the check code.
    pub async fn enter(&mut self, digits: &str) {
        match self {
            Self::Rust(session) => session.enter(digits).await,
            Self::Python(session) => session.write(digits).await,
        }
    }

    /// Waits for its end.
    pub async fn end(self) -> Ended {
        match self {
            Self::Rust(session) | Self::Python(session) => session.end().await,
        }
    }
}
