//! Two devices driven through the SDK, and the people in front of them.

use super::soon;
use handfast::{
    AccountLabel, CheckCode, Decisions, DeviceName, EntryName, Error, Event, Failure, Join, Options, Outcome, Profile,
    ProfileError, QrPayload, Request, Run, SecretBytes, Show, Unlocker,
};
use handfast_relay::{Config, Relay, RelayHandle};
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;
use tempfile::TempDir;
use tokio::sync::watch;

/// Mode and purpose of a run, and who unlocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Case {
    /// `code`, enroll.
    Code,
    /// `qr-trusted`, enroll.
    QrTrusted,
    /// `qr-new`, enroll.
    QrNew,
    /// `qr-new`, unlock by a device without an account.
    UnlockGuest,
    /// `qr-new`, unlock by a device that was enrolled before: no check code.
    UnlockKnown,
}

/// All of them.
pub const CASES: [Case; 5] = [Case::Code, Case::QrTrusted, Case::QrNew, Case::UnlockGuest, Case::UnlockKnown];

/// The three modes of enrollment.
pub const ENROLLMENTS: [Case; 3] = [Case::Code, Case::QrTrusted, Case::QrNew];

/// The entry that every bundle has here.
pub const ENTRY: &str = "token";

impl Case {
    /// Whether the trusted device shows the code or QR code.
    pub fn trusted_displays(self) -> bool {
        matches!(self, Self::Code | Self::QrTrusted)
    }

    /// Whether the new device becomes a trusted one.
    pub fn enrolls(self) -> bool {
        ENROLLMENTS.contains(&self)
    }
}

/// A trusted device with an account, and a place for a new one.
pub struct Home {
    folder: TempDir,
    /// The content of [`ENTRY`].
    pub secret: Vec<u8>,
}

impl Home {
    /// An account whose bundle has one entry of 300 bytes.
    pub fn new() -> Self {
        Self::with_secret(format!("{:x<300}", "SECRET-OF-THE-BUNDLE-").into_bytes())
    }

    /// An account whose bundle has this entry.
    pub fn with_secret(secret: Vec<u8>) -> Self {
        let home = Self { folder: TempDir::new().unwrap(), secret };
        let label = AccountLabel::new("ada.private@example.com").unwrap();
        let mut profile = Profile::init(&home.trusted(), label, name("adas-desktop")).unwrap();
        let value = SecretBytes::new(home.secret.clone());
        profile.change_bundle(|bundle| -> Result<(), ProfileError> { Ok(bundle.set(entry(), value)?) }).unwrap();
        home
    }

    /// The trusted device's profile.
    pub fn trusted(&self) -> PathBuf {
        self.folder.path().join("trusted")
    }

    /// Where the new device's profile is, or would be.
    pub fn new_device(&self) -> PathBuf {
        self.folder.path().join("new")
    }

    /// Enrolls the new device by code.
    pub async fn enroll(&self, relay: &str) {
        let (trusted, new) = pair(Case::Code, self, Side::honest(relay), Side::honest(relay)).await;
        assert_eq!((trusted.ended(), new.ended()), ("enrolled".into(), "joined".into()));
    }

    /// The new device's profile, which must hold what the trusted one's does.
    pub fn assert_joined(&self) {
        let (old, new) = (Profile::open(&self.trusted()).unwrap(), Profile::open(&self.new_device()).unwrap());
        let bundle = new.bundle().unwrap();
        assert_eq!(bundle, old.bundle().unwrap());
        assert_eq!(bundle.get(&entry()).unwrap().expose(), self.secret);
        assert_eq!(new.account(), old.account());
        assert_eq!(new.enroller().unwrap().identity, old.identity());
        assert_ne!(new.identity(), old.identity());
        let known: Vec<_> =
            old.devices().iter().map(|record| (record.device.identity, record.device.confirmed)).collect();
        assert_eq!(known, [(new.identity(), true)]);
    }

    /// That the new device holds nothing.
    pub fn assert_not_joined(&self) {
        assert!(!Profile::holds_account(&self.new_device()).unwrap());
        let left = std::fs::read_dir(self.new_device()).map(|files| files.count()).unwrap_or(0);
        assert_eq!(left, 0, "something is left of a profile that never was");
    }

    /// The devices that the trusted one lists, and whether each has confirmed.
    pub fn listed(&self) -> Vec<bool> {
        Profile::open(&self.trusted()).unwrap().devices().iter().map(|record| record.device.confirmed).collect()
    }
}

impl Default for Home {
    fn default() -> Self {
        Self::new()
    }
}

/// A relay in this process.
pub async fn relay(config: Config) -> RelayHandle {
    Relay::bind("127.0.0.1:0".parse().unwrap(), config).await.unwrap().spawn()
}

/// Its address as devices write it.
pub fn url(relay: &RelayHandle) -> String {
    format!("ws://{}", relay.addr())
}

/// Options with this relay.
pub fn options(relay: &str) -> Options {
    Options::new(relay.parse().unwrap())
}

/// A device's name.
pub fn name(text: &str) -> DeviceName {
    DeviceName::new(text).unwrap()
}

/// The name of the entry.
pub fn entry() -> EntryName {
    EntryName::new(ENTRY).unwrap()
}

/// What a person does at an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reaction {
    /// What it asks for.
    Honest,
    /// Nothing, or what the test has done itself.
    None,
}

/// Somebody in front of a device.
pub type Person = Box<dyn FnMut(&Event, &Decisions) -> Reaction + Send>;

/// How one device takes part.
pub struct Side {
    /// The relay, or a proxy before it.
    pub relay: String,
    /// The person.
    pub react: Person,
}

impl Side {
    /// With a person who does what is asked.
    pub fn honest(relay: &str) -> Self {
        Self::with(relay, |_, _| Reaction::Honest)
    }

    /// With this person.
    pub fn with(relay: &str, react: impl FnMut(&Event, &Decisions) -> Reaction + Send + 'static) -> Self {
        Self { relay: relay.to_owned(), react: Box::new(react) }
    }
}

/// What lies between the two people: what one screen shows and the other device is told.
#[derive(Clone)]
pub struct Table {
    shown: watch::Sender<Option<Shown>>,
    digits: watch::Sender<Option<CheckCode>>,
}

/// A code or QR code on a screen.
#[derive(Clone)]
pub enum Shown {
    /// As a person reads it.
    Code(String),
    /// As a camera sees it.
    Qr(QrPayload),
}

impl Table {
    /// An empty one.
    pub fn new() -> Self {
        Self { shown: watch::Sender::new(None), digits: watch::Sender::new(None) }
    }

    /// What is shown last.
    pub async fn shown(&self) -> Shown {
        let mut shown = self.shown.subscribe();
        soon("a code or QR code", shown.wait_for(Option::is_some)).await.unwrap().clone().unwrap()
    }

    /// The digits that are shown.
    async fn digits(&self) -> CheckCode {
        let mut digits = self.digits.subscribe();
        soon("a check code", digits.wait_for(Option::is_some)).await.unwrap().clone().unwrap()
    }
}

impl Default for Table {
    fn default() -> Self {
        Self::new()
    }
}

/// A run, seen to its end.
pub struct Watched {
    /// How it ended.
    pub outcome: Result<Outcome, Error>,
    /// The names of its events.
    pub events: Vec<String>,
    /// Everything that a program would have logged of it with `{:?}` and `{}`.
    pub log: String,
}

impl Watched {
    /// In a word.
    pub fn ended(&self) -> String {
        let failure = match &self.outcome {
            Ok(outcome) => return word(outcome).to_lowercase(),
            Err(Error::Failed(failure)) => failure,
            Err(error) => return word(error),
        };
        match failure {
            Failure::Unknown { cause, .. } => format!("Unknown({})", word(cause)),
            failure => word(failure),
        }
    }

    /// Whether there was an event of this name.
    pub fn saw(&self, event: &str) -> bool {
        self.events.iter().any(|seen| seen == event)
    }
}

/// Starts the device that displays, shows the other one what it shows, and sees both runs to their end.
pub async fn pair(case: Case, home: &Home, trusted: Side, new: Side) -> (Watched, Watched) {
    let table = Table::new();
    if case.trusted_displays() {
        let trusted =
            tokio::spawn(watch(start_trusted(case, home, &trusted.relay, None), table.clone(), trusted.react));
        let new = tokio::spawn(watch(start_new(case, home, &new.relay, Some(table.shown().await)), table, new.react));
        (soon("the trusted device", trusted).await.unwrap(), soon("the new device", new).await.unwrap())
    } else {
        let new = tokio::spawn(watch(start_new(case, home, &new.relay, None), table.clone(), new.react));
        let shown = Some(table.shown().await);
        let trusted = tokio::spawn(watch(start_trusted(case, home, &trusted.relay, shown), table, trusted.react));
        (soon("the trusted device", trusted).await.unwrap(), soon("the new device", new).await.unwrap())
    }
}

/// Starts the trusted device; `shown` is what the other one shows, if it does.
pub fn start_trusted(case: Case, home: &Home, relay: &str, shown: Option<Shown>) -> Run {
    let profile = Profile::open(&home.trusted()).unwrap();
    match (case, shown) {
        (Case::Code, None) => handfast::invite(profile, Show::Code, options(relay)),
        (Case::QrTrusted, None) => handfast::invite(profile, Show::Qr, options(relay)),
        (_, Some(Shown::Qr(qr))) => handfast::approve(profile, qr, options(relay)).unwrap(),
        _ => panic!("{case:?} does not go that way"),
    }
}

/// Starts the new device; `shown` is what the other one shows, if it does.
pub fn start_new(case: Case, home: &Home, relay: &str, shown: Option<Shown>) -> Run {
    let join = |way| handfast::join(home.new_device(), name("adas-laptop"), way, options(relay)).unwrap();
    match (case, shown) {
        (Case::Code, Some(Shown::Code(code))) => join(Join::Code(code.parse().unwrap())),
        (Case::QrTrusted, Some(Shown::Qr(qr))) => join(Join::ReadQr(qr)),
        (Case::QrNew, None) => join(Join::ShowQr),
        (Case::UnlockGuest, None) => {
            let request = Request::items(false, vec![entry()]).unwrap();
            handfast::unlock(Unlocker::Guest(name("adas-laptop")), request, options(relay)).unwrap()
        }
        (Case::UnlockKnown, None) => {
            let profile = Profile::open(&home.new_device()).unwrap();
            let request = Request::items(true, vec![]).unwrap();
            handfast::unlock(Unlocker::Enrolled(Box::new(profile)), request, options(relay)).unwrap()
        }
        _ => panic!("{case:?} does not go that way"),
    }
}

/// Sees a run to its end. What it shows lies on the table, what it asks for is taken from there.
pub async fn watch(mut run: Run, table: Table, mut react: impl FnMut(&Event, &Decisions) -> Reaction) -> Watched {
    let decisions = run.decisions();
    let (mut events, mut log) = (Vec::new(), format!("{run:?} {decisions:?}\n"));
    while let Some(event) = run.next().await {
        events.push(word(&event));
        log.push_str(&format!("{event:?}\n"));
        match &event {
            Event::ShowCode { code, .. } => {
                table.shown.send_replace(Some(Shown::Code(code.reveal().to_string())));
            }
            Event::ShowQr { qr, .. } => {
                table.shown.send_replace(Some(Shown::Qr(qr.clone())));
            }
            Event::ShowCheckCode(code) => {
                table.digits.send_replace(Some(code.clone()));
            }
            _ => {}
        }
        if react(&event, &decisions) == Reaction::Honest {
            answer(&event, &decisions, &table);
        }
    }
    let outcome = run.finish().await;
    log.push_str(&match &outcome {
        Ok(outcome) => format!("{outcome:?}\n"),
        Err(error) => format!("{error:?}\n{error}\n"),
    });
    Watched { outcome, events, log }
}

fn answer(event: &Event, decisions: &Decisions, table: &Table) {
    match event {
        Event::AskApproval(_) => decisions.approve(),
        Event::AskDifferentNetwork => decisions.approve_different_network(),
        Event::AskCheckCode => {
            let (decisions, table) = (decisions.clone(), table.clone());
            tokio::spawn(async move { decisions.enter_check_code(table.digits().await) });
        }
        _ => {}
    }
}

/// The next code that a run shows.
pub async fn next_code(run: &mut Run) -> String {
    loop {
        match soon("a code", run.next()).await {
            Some(Event::ShowCode { code, .. }) => return code.reveal().to_string(),
            Some(_) => {}
            None => panic!("the run ended without a code"),
        }
    }
}

/// The end of what a run shows: why, and when it shows something new.
pub async fn offer_over(run: &mut Run) -> (Failure, Duration) {
    loop {
        match soon("the end of the offer", run.next()).await {
            Some(Event::OfferOver { failure, next_in }) => return (failure, next_in),
            Some(_) => {}
            None => panic!("the run ended"),
        }
    }
}

/// How a run ends in front of which nobody does anything.
pub async fn ended(run: Run) -> String {
    soon("the end of a run", watch(run, Table::new(), |_, _| Reaction::None)).await.ended()
}

/// The name of a variant.
pub fn word(value: &impl fmt::Debug) -> String {
    format!("{value:?}").chars().take_while(char::is_ascii_alphanumeric).collect()
}
