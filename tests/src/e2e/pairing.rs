//! A whole pairing between two processes and two honest people, and what is true afterwards.

use super::process::{Device, Ended, Session};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::sync::watch;

/// What is in the trusted device's bundle, as entry `token`.
pub const SECRET: &[u8] = b"SECRET-OF-THE-BUNDLE";

/// Mailboxes of a few seconds, so that a device that is left alone need not wait for minutes.
pub const SHORT: [&str; 6] = ["--mailbox-lifetime", "3", "--mailbox-linger", "2", "--mailbox-max", "6"];

/// The longest that a run with [`SHORT`] mailboxes may take: 6 s, and the rest for a slow machine.
pub const LONGEST: Duration = Duration::from_secs(25);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
/// One of the two devices.
pub enum Side {
    /// The trusted device.
    Trusted,
    /// The new device.
    New,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
/// How they meet.
pub enum Mode {
    /// By typed code.
    Code,
    /// By a QR code that the trusted device shows.
    QrTrusted,
    /// By a QR code that the new device shows.
    QrNew,
}

/// A trusted device with a bundle, and a new one with nothing.
pub struct Scene {
    home: TempDir,
    /// The trusted device.
    pub desktop: Device,
    /// The new device.
    pub laptop: Device,
}

impl Scene {
    /// Both use this relay.
    pub async fn new(relay: &str) -> Self {
        let home = TempDir::new().unwrap();
        let [desktop, laptop] = ["desktop", "laptop"].map(|name| Device::new(home.path(), name, relay));
        desktop.init().await;
        desktop.set("token", SECRET).await;
        Self { home, desktop, laptop }
    }

    /// Where both have their profiles.
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// A whole run with honest people. Either process may be killed while they look on.
    pub async fn run(
        &self,
        mode: Mode,
        trusted_url: &str,
        new_url: &str,
        started: impl Fn(Side, &Session),
    ) -> (Option<Ended>, Option<Ended>) {
        let (desktop, laptop) = (self.desktop.through(trusted_url), self.laptop.through(new_url));
        let png = self.home.path().join("qr.png");
        let png = png.to_str().unwrap();
        let displays = if mode == Mode::QrNew { Side::New } else { Side::Trusted };
        let mut displayer = match mode {
            Mode::Code => desktop.start(&["invite", "--yes"]),
            Mode::QrTrusted => desktop.start(&["invite", "--yes", "--qr", "--qr-png", png]),
            Mode::QrNew => laptop.start(&["join", "--qr", "--qr-png", png]),
        };
        started(displays, &displayer);
        let Some(shown) = displayer.first_event(&["show_code", "show_qr"]).await else {
            // Killed before it had shown anything: there is nothing to read, and nobody starts the other one.
            let displayer = Some(displayer.end().await);
            return if displays == Side::Trusted { (displayer, None) } else { (None, displayer) };
        };
        let code = shown["code"].as_str().unwrap_or_default();
        let mut reader = match mode {
            Mode::Code => laptop.start(&["join", code, "--name", "adas-laptop"]),
            Mode::QrTrusted => laptop.start(&["join", "--scan", png]),
            Mode::QrNew => desktop.start(&["approve", "--yes", "--scan", png]),
        };
        if mode != Mode::Code {
            // Not the relay that the QR code names: that is the other device's proxy.
            reader.decide("refuse").await;
        }
        let reads = if displays == Side::Trusted { Side::New } else { Side::Trusted };
        started(reads, &reader);
        let (from, to) = if mode == Mode::Code { (None, None) } else { (Some(reads), Some(displays)) };
        let digits: Arc<watch::Sender<Option<String>>> = Arc::default();
        let (displayer, reader) = tokio::join!(
            person(displayer, from == Some(displays), to == Some(displays), Arc::clone(&digits)),
            person(reader, from == Some(reads), to == Some(reads), digits),
        );
        let (displayer, reader) = (Some(displayer), Some(reader));
        if displays == Side::Trusted { (displayer, reader) } else { (reader, displayer) }
    }

    /// Checks that nobody believes more than is true: who the trusted device lists, and what the new one holds.
    pub async fn judge(
        &self,
        trusted: &Option<Ended>,
        new: &Option<Ended>,
        what: &str,
    ) -> (&'static str, &'static str) {
        // The trusted device's profile is whole, whatever happened.
        let status = self.desktop.ok(&["status"]).await;
        assert_eq!(status["bundle_entries"], 1, "{what}");
        assert_eq!(self.desktop.get("token").await, SECRET, "{what}");
        let listed = self.desktop.devices().await;
        let lists = match listed.as_slice() {
            [] => "nobody",
            [(_, false)] => "unconfirmed",
            [(_, true)] => "confirmed",
            _ => panic!("{what}: {listed:?}"),
        };
        // The new device's is whole or not there; what was half made goes on the next start.
        let opened = self.laptop.run(&["status"]).await;
        let holds = match opened.code() {
            Some(0) => {
                assert_eq!(self.laptop.get("token").await, SECRET, "{what}");
                "the bundle"
            }
            _ => {
                opened.assert_failed(3, "no_profile");
                let left = files(self.laptop.profile());
                assert!(left.iter().all(|name| name == "lock"), "{what}: {left:?}");
                "nothing"
            }
        };
        private(self.desktop.profile());
        private(self.laptop.profile());

        // Nobody believes more than is true.
        let stored = holds == "the bundle";
        assert!(lists != "confirmed" || stored, "{what}");
        assert!(ending(trusted) != "done" || (stored && lists == "confirmed"), "{what}");
        assert!(ending(new) != "done" || stored, "{what}");
        assert!(!stored || lists != "nobody", "a device that holds the bundle is listed: {what}");
        let events = trusted.as_ref().map(Ended::events).unwrap_or_default();
        let sent = events.iter().any(|event| event["event"] == "grant_sent");
        assert!(!sent || lists != "nobody", "{what}");
        if ending(trusted) == "outcome_unknown" {
            assert_eq!(lists, "unconfirmed", "{what}");
        }
        (lists, holds)
    }
}

/// How a command ended. An invitation whose offer is over goes on with a new one, until the test stops it.
pub fn ending(ended: &Option<Ended>) -> String {
    let Some(ended) = ended else { return "not started".into() };
    let over = ended.events().into_iter().find(|event| event["event"] == "offer_over");
    match (ended.code(), over) {
        (None, _) => "killed".into(),
        (Some(0), _) => "done".into(),
        (Some(130), Some(over)) => format!("cancelled after {}", over["failure"].as_str().unwrap()),
        _ => ended.failure(),
    }
}

/// Reads digits to the other person, types those that the other reads out, and gives up when the offer is over.
async fn person(
    mut session: Session,
    reads_out: bool,
    types: bool,
    digits: Arc<watch::Sender<Option<String>>>,
) -> Ended {
    let mut asked = false;
    loop {
        let event = tokio::select! {
            event = session.first_event(&["show_check_code", "ask_check_code", "offer_over"]) => event,
            // The other process may be killed before it shows any; then this one goes on waiting for its offer's end.
            typed = heard(&digits), if asked => {
                asked = false;
                session.enter(&typed).await;
                continue;
            }
        };
        let Some(event) = event else { return session.end().await };
        match event["event"].as_str().unwrap() {
            "show_check_code" if reads_out => {
                digits.send_replace(event["check_code"].as_str().map(str::to_owned));
            }
            "ask_check_code" if types => asked = true,
            "offer_over" => session.interrupt(),
            _ => {}
        }
    }
}

async fn heard(digits: &watch::Sender<Option<String>>) -> String {
    let mut digits = digits.subscribe();
    let heard = digits.wait_for(Option::is_some).await.unwrap();
    heard.clone().unwrap()
}

/// The files of a folder, in order.
pub fn files(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// Whatever is there can be read by its owner only.
#[track_caller]
pub fn private(folder: &Path) {
    let mode = |path: &Path| fs::metadata(path).map(|metadata| metadata.permissions().mode() & 0o777);
    // A process that was killed may not even have made the folder.
    if let Ok(mode) = mode(folder) {
        assert_eq!(mode, 0o700);
    }
    for name in files(folder) {
        assert_eq!(mode(&folder.join(&name)).unwrap(), 0o600, "{name}");
    }
}
