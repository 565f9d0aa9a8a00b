//! The two implementations pair with each other, over a real relay, in both roles and all modes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use handfast_tests::e2e::process::{Device, RelayProcess, another_code};
use handfast_tests::e2e::python::{Either, PythonDevice};
use serde_json::json;
use std::fs;
use tempfile::TempDir;

const SECRET: &[u8] = b"\x00\xffSECRET-OF-THE-BUNDLE\n";

/// Which implementation is the trusted device. The other one is the new device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trusted {
    Rust,
    Python,
}

const BOTH: [Trusted; 2] = [Trusted::Rust, Trusted::Python];

/// One device of each implementation; the trusted one has an account and a bundle with one entry.
struct World {
    home: TempDir,
    relay: RelayProcess,
    trusted: Trusted,
    rust: Device,
    python: PythonDevice,
}

impl World {
    async fn new(trusted: Trusted) -> Self {
        let relay = RelayProcess::start(&[]).await;
        let home = TempDir::new().unwrap();
        let rust = Device::new(home.path(), "rust", &relay.url());
        let python = PythonDevice::new(home.path(), "python", &relay.url());
        match trusted {
            Trusted::Rust => {
                rust.init().await;
                rust.set("token", SECRET).await;
            }
            Trusted::Python => {
                let secret = home.path().join("secret");
                fs::write(&secret, SECRET).unwrap();
                python.ok(&["init", "--account", "ada.private@example.com", "--name", "adas-desktop"]).await;
                python.ok(&["bundle", "set", "token", secret.to_str().unwrap()]).await;
            }
        }
        Self { home, relay, trusted, rust, python }
    }

    /// Starts a command of the trusted device.
    fn on_trusted(&self, arguments: &[&str]) -> Either {
        self.start(self.trusted == Trusted::Rust, arguments)
    }

    /// Starts a command of the new device.
    fn on_new(&self, arguments: &[&str]) -> Either {
        self.start(self.trusted != Trusted::Rust, arguments)
    }

    fn start(&self, rust: bool, arguments: &[&str]) -> Either {
        if rust { Either::Rust(self.rust.start(arguments)) } else { Either::Python(self.python.start(arguments)) }
    }

    /// Starts the reader: `handfast` reads a QR code from a file or stdin, the other one takes its text.
    async fn scan(&self, rust: bool, command: &str, uri: &str, more: &[&str]) -> Either {
        if rust {
            let mut session = self.rust.start(&[&[command, "--scan", "-"], more].concat());
            session.write(uri).await;
            Either::Rust(session)
        } else {
            Either::Python(self.python.start(&[&[command, "--scan", uri], more].concat()))
        }
    }

    /// The entry on the new device, once it has joined.
    async fn entry(&self) -> Vec<u8> {
        match self.trusted {
            Trusted::Rust => self.python.ok(&["bundle", "get", "token"]).await,
            Trusted::Python => self.rust.get("token").await,
        }
    }

    /// Both ends of a run that enrolled, and what the new device then holds.
    async fn enrolled(self, trusted: Either, new: Either) {
        let (trusted, new) = (trusted.end().await, new.end().await);
        assert_eq!((trusted.code(), new.code()), (Some(0), Some(0)), "{:?}: {trusted:?} {new:?}", self.trusted);
        assert_eq!(trusted.last()["outcome"], "enrolled");
        assert_eq!(self.entry().await, SECRET);
        self.relay.kill().await;
        drop(self.home);
    }
}

/// What a device shows: this field of its next event of this name.
async fn shown(run: &mut Either, event: &str, field: &str) -> String {
    run.session().event(event).await[field].as_str().unwrap().to_owned()
}

/// The person reads the digits on one device and types them on the other.
async fn carry_digits(from: &mut Either, to: &mut Either) {
    let digits = shown(from, "show_check_code", "check_code").await;
    to.session().event("ask_check_code").await;
    to.enter(&digits).await;
}

async fn approve(trusted: &mut Either) {
    trusted.session().event("ask_approval").await;
    trusted.approve().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn by_code() {
    for trusted in BOTH {
        let world = World::new(trusted).await;
        let mut invite = world.on_trusted(&["invite"]);
        let code = shown(&mut invite, "show_code", "code").await;
        let join = world.on_new(&["join", &code, "--name", "laptop"]);
        approve(&mut invite).await;
        world.enrolled(invite, join).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn by_the_trusted_devices_qr_code() {
    for trusted in BOTH {
        let world = World::new(trusted).await;
        let mut invite = world.on_trusted(&["invite", "--qr"]);
        let uri = shown(&mut invite, "show_qr", "uri").await;
        let mut join = world.scan(trusted != Trusted::Rust, "join", &uri, &["--name", "laptop"]).await;
        carry_digits(&mut join, &mut invite).await;
        approve(&mut invite).await;
        world.enrolled(invite, join).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn by_the_new_devices_qr_code() {
    for trusted in BOTH {
        let world = World::new(trusted).await;
        let mut join = world.on_new(&["join", "--qr", "--name", "laptop"]);
        let uri = shown(&mut join, "show_qr", "uri").await;
        let mut answer = world.scan(trusted == Trusted::Rust, "approve", &uri, &[]).await;
        carry_digits(&mut answer, &mut join).await;
        approve(&mut answer).await;
        world.enrolled(answer, join).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn to_unlock() {
    for trusted in BOTH {
        let world = World::new(trusted).await;
        let name: &[&str] = if trusted == Trusted::Rust { &["--name", "kiosk"] } else { &[] };
        let mut unlock = world.on_new(&[&["unlock", "token"], name].concat());
        let uri = shown(&mut unlock, "show_qr", "uri").await;
        let mut answer = world.scan(trusted == Trusted::Rust, "approve", &uri, &[]).await;
        carry_digits(&mut answer, &mut unlock).await;
        approve(&mut answer).await;
        let (answered, unlocked) = (answer.end().await, unlock.end().await);
        assert_eq!((answered.code(), unlocked.code()), (Some(0), Some(0)), "{trusted:?}: {answered:?} {unlocked:?}");
        match trusted {
            Trusted::Rust => {
                let events = unlocked.events();
                let items = events.iter().find(|event| event["event"] == "items").unwrap();
                assert_eq!(items["entries"], json!({"token": hex::encode(SECRET)}));
            }
            Trusted::Python => {
                let expected = json!([{"name": "token", "base64": "AP9TRUNSRVQtT0YtVEhFLUJVTkRMRQo="}]);
                assert_eq!(unlocked.last()["entries"], expected);
            }
        }
    }
}

/// Devices that have recorded each other need no digits for an unlock; when the trusted one forgets the other, it asks for
/// them after all.
#[tokio::test(flavor = "multi_thread")]
async fn to_unlock_between_devices_that_know_each_other() {
    for trusted in BOTH {
        let world = World::new(trusted).await;
        let mut invite = world.on_trusted(&["invite"]);
        let code = shown(&mut invite, "show_code", "code").await;
        let join = world.on_new(&["join", &code, "--name", "laptop"]);
        approve(&mut invite).await;
        let enrolled = (invite.end().await, join.end().await);
        assert_eq!((enrolled.0.code(), enrolled.1.code()), (Some(0), Some(0)), "{trusted:?}: {enrolled:?}");

        // `handfast unlock` without an entry asks for the unlock key.
        let key: &[&str] = if trusted == Trusted::Rust { &["unlock", "--key"] } else { &["unlock"] };
        for known in [true, false] {
            let request: &[&str] = if known { key } else { &["unlock", "token"] };
            let mut unlock = world.on_new(request);
            let uri = shown(&mut unlock, "show_qr", "uri").await;
            let mut answer = world.scan(trusted == Trusted::Rust, "approve", &uri, &[]).await;
            if !known {
                carry_digits(&mut answer, &mut unlock).await;
            }
            approve(&mut answer).await;
            let (answered, unlocked) = (answer.end().await, unlock.end().await);
            assert_eq!(
                (answered.code(), unlocked.code()),
                (Some(0), Some(0)),
                "{trusted:?}: {answered:?} {unlocked:?}"
            );
            let asked =
                answered.events().iter().chain(&unlocked.events()).any(|event| event["event"] == "ask_check_code");
            assert_eq!(asked, !known, "{trusted:?}");
            match trusted {
                Trusted::Rust => {
                    let fingerprint = world.rust.ok(&["devices"]).await["devices"][0]["fingerprint"].clone();
                    if known {
                        world.rust.ok(&["devices", "rm", fingerprint.as_str().unwrap()]).await;
                    }
                }
                // The second implementation has no command to forget a device.
                Trusted::Python => break,
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn both_name_a_wrong_code_and_wrong_digits() {
    for trusted in BOTH {
        let world = World::new(trusted).await;
        let mut invite = world.on_trusted(&["invite"]);
        let code = shown(&mut invite, "show_code", "code").await;
        let join = world.on_new(&["join", &another_code(&code), "--name", "laptop"]);
        assert_eq!(invite.session().event("offer_over").await["failure"], "wrong_code", "{trusted:?}");
        assert_eq!(join.end().await.failure(), "wrong_code", "{trusted:?}");

        let mut join = world.on_new(&["join", "--qr", "--name", "laptop"]);
        let uri = shown(&mut join, "show_qr", "uri").await;
        let mut answer = world.scan(trusted == Trusted::Rust, "approve", &uri, &[]).await;
        let digits = shown(&mut answer, "show_check_code", "check_code").await;
        join.session().event("ask_check_code").await;
        join.enter(if digits == "000000" { "000001" } else { "000000" }).await;
        assert_eq!(answer.end().await.failure(), "wrong_check_code", "{trusted:?}");
        assert_eq!(join.end().await.failure(), "wrong_check_code", "{trusted:?}");
    }
}
