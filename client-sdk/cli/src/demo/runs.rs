//! The runs of the demonstration and what each has to come to.

use super::measure;
use super::person::{self, Mind, Moment, Screen, What, sit_before};
use super::search::{Secrets, forms, occurs};
use super::tap::{Capture, Device, Meddle, Seen, Tap, Way};
use crate::exit::Failed;
use crate::ui::screen::Scene as Words;
use handfast::wire::{ClientFrame, RelayFrame};
use handfast::{
    AccountLabel, DeviceName, EntryName, Error, Failure, Join, Mode, Options, Outcome, Profile, Purpose, RelayUrl,
    Request, Run, SecretBytes, Show, Unlocker, VerificationCode,
};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// One run.
#[derive(Clone, Copy)]
pub(super) struct Scene {
    pub(super) title: &'static str,
    pub(super) mode: Mode,
    pub(super) purpose: Purpose,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Enroll,
    GuestUnlock,
    PinnedUnlock,
    WrongCode,
    SwappedKey,
    Refused,
}

const fn scene(title: &'static str, mode: Mode, purpose: Purpose, kind: Kind) -> Scene {
    Scene { title, mode, purpose, kind }
}

pub(super) const ALL: [Scene; 8] = [
    scene("1. The trusted device shows a code, it is typed on the new one", Mode::Code, Purpose::Enroll, Kind::Enroll),
    scene("2. The new device shows a QR code, the trusted one scans it", Mode::QrNew, Purpose::Enroll, Kind::Enroll),
    scene(
        "3. The trusted device shows a QR code, the new one scans it",
        Mode::QrTrusted,
        Purpose::Enroll,
        Kind::Enroll,
    ),
    scene(
        "4. A device without an account asks for one entry, to use once",
        Mode::QrNew,
        Purpose::Unlock,
        Kind::GuestUnlock,
    ),
    scene(
        "5. The device of run 1 asks for the unlock key; the two know each other",
        Mode::QrNew,
        Purpose::Unlock,
        Kind::PinnedUnlock,
    ),
    scene("6. Must fail: a wrong code is typed", Mode::Code, Purpose::Enroll, Kind::WrongCode),
    scene(
        "7. Must fail: the relay swaps the key in the offer for another",
        Mode::Code,
        Purpose::Enroll,
        Kind::SwappedKey,
    ),
    scene("8. Must fail: the person at the trusted device refuses", Mode::Code, Purpose::Enroll, Kind::Refused),
];

impl Scene {
    pub(super) fn must_fail(&self) -> bool {
        matches!(self.kind, Kind::WrongCode | Kind::SwappedKey | Kind::Refused)
    }
}

/// Two devices' profiles, and what nobody else may learn.
pub(super) struct Stage {
    relay: SocketAddr,
    folder: TempDir,
    pub(super) secrets: Secrets,
    entry: EntryName,
    /// The first code's short name, and the offer's public key: the relay does see these.
    first_code: Option<VerificationCode>,
    first_offer_key: Option<Vec<u8>>,
}

/// How a run went.
pub(super) struct Report {
    pub(super) scene: Scene,
    pub(super) start: Instant,
    pub(super) seen: Vec<Seen>,
    pub(super) moments: Vec<Moment>,
    /// From the reader's start until the new device had what it came for.
    pub(super) took: Option<Duration>,
    trusted: Result<Outcome, Error>,
    new: Result<Outcome, Error>,
    /// What else is not as it should be.
    wrong: Vec<String>,
}

const ACCOUNT: &str = "Quixotic Marmalade Ltd";
const TRUSTED_NAME: &str = "Zebra Telephone";
const NEW_NAME: &str = "Walnut Notebook";
const ENTRY: &str = "vermilion-mailbox";

/// Where the X-Wing public key lies in the payload of an offer: after version, kind, mode, purpose and nonce.
const OFFER_KEY: std::ops::Range<usize> = 36..36 + 1216;

impl Stage {
    pub(super) fn build(relay: SocketAddr) -> Result<Self, Failed> {
        let folder = tempfile::Builder::new().prefix("handfast-demo-").tempdir().map_err(Failed::internal)?;
        let (label, name) = (AccountLabel::new(ACCOUNT), DeviceName::new(TRUSTED_NAME));
        let mut profile = Profile::init(
            &folder.path().join("trusted"),
            label.map_err(Failed::internal)?,
            name.map_err(Failed::internal)?,
        )?;
        let entry = EntryName::new(ENTRY).map_err(Failed::internal)?;
        let password = format!("tangerine {} password", profile.identity().fingerprint());
        profile.change_bundle(|bundle| {
            bundle.set(entry.clone(), SecretBytes::new(password.into_bytes())).map_err(Failed::internal)
        })?;

        let mut secrets = Secrets::default();
        for (what, text) in [
            ("account label", ACCOUNT),
            ("device name", TRUSTED_NAME),
            ("device name", NEW_NAME),
            ("entry name", ENTRY),
        ] {
            secrets.add(what, text.as_bytes());
        }
        let bundle = profile.bundle()?;
        secrets.add("account unlock key", bundle.unlock_key.expose());
        secrets.add("sign-in secret", bundle.sign_in_secret.expose());
        secrets.add("account id", &bundle.account_id.0);
        secrets.add("identity key", profile.identity().as_bytes());
        for (_, value) in bundle.entries() {
            secrets.add("bundle entry", value.expose());
        }
        Ok(Self { relay, folder, secrets, entry, first_code: None, first_offer_key: None })
    }

    pub(super) async fn play(&mut self, scene: Scene) -> Result<Report, Failed> {
        let start = Instant::now();
        let capture = Capture::default();
        let meddle = match scene.kind {
            Kind::SwappedKey => Some(swap_key(self.first_offer_key.clone().unwrap_or_default())),
            _ => None,
        };
        let tap = |device, meddle| Tap::start(self.relay, device, capture.clone(), meddle);
        let trusted_tap = tap(Device::Trusted, None).await.map_err(Failed::internal)?;
        let new_tap = tap(Device::New, meddle).await.map_err(Failed::internal)?;

        let known_before = self.trusted()?.devices().len();
        let (screen_t, screen_n) = (Screen::new(), Screen::new());
        let mind = match scene.kind {
            Kind::Refused => Mind::Refuses,
            Kind::WrongCode | Kind::SwappedKey => Mind::GivesUpAtSecondCode,
            _ => Mind::Approves,
        };
        let words = Words { entries: vec![ENTRY.into()], ..Words::default() };
        let trusted = async {
            let (run, since) = self.start_trusted(scene, &trusted_tap.url, &screen_n).await?;
            Ok::<_, Failed>((sit_before(run, Device::Trusted, mind, &screen_t, &screen_n, &words).await?, since))
        };
        let new = async {
            let (run, since) = self.start_new(scene, &new_tap.url, &screen_t).await?;
            Ok::<_, Failed>((sit_before(run, Device::New, Mind::Approves, &screen_n, &screen_t, &words).await?, since))
        };
        let ((trusted, trusted_since), (new, new_since)) = tokio::try_join!(trusted, new)?;

        let stored = new.moments.iter().find(|moment| moment.what == What::Stored).map(|moment| moment.at);
        let reader_since = if reader(scene) == Device::New { new_since } else { trusted_since };
        let mut report = Report {
            scene,
            start,
            seen: capture.seen(),
            moments: Vec::new(),
            took: stored.map(|stored| stored.duration_since(reader_since)),
            trusted: Err(Failure::Internal.into()),
            new: Err(Failure::Internal.into()),
            wrong: Vec::new(),
        };
        for (what, text) in trusted.shown.iter().chain(&new.shown) {
            self.note_shown(what, text);
        }
        if scene.must_fail() {
            report.wrong.extend(self.check_nothing_changed(scene, known_before)?);
        }
        if scene.kind == Kind::Enroll && scene.mode == Mode::Code {
            self.first_offer_key = offer_key(&report.seen);
        }
        report.moments.extend(trusted.moments);
        report.moments.extend(new.moments);
        (report.trusted, report.new) = (trusted.outcome, new.outcome);
        if let Ok(Outcome::Joined { profile }) = &report.new {
            self.secrets.add("identity key", profile.identity().as_bytes());
        }
        if let Ok(outcome) = &report.new {
            report.wrong.extend(self.check_content(outcome)?);
        }
        Ok(report)
    }

    /// What shows that the search would not have found anything.
    pub(super) fn search_is_blind(&self, seen: &[&Seen]) -> Option<String> {
        let index = self.secrets.index();
        let planted = self.secrets.iter().all(|(_, secret)| {
            forms(secret).iter().all(|form| {
                let message = [b"\0\xff??".as_slice(), form, b"?"].concat();
                !index.found_in([message.as_slice()].into_iter()).is_empty()
            })
        });
        // The relay is told the short name in the claim, and passes the offer's key on to the new device.
        let short_name = self.first_code.as_ref().map(|code| code.nameplate().number().to_be_bytes());
        let saw_name = short_name.is_some_and(|name| {
            let claims =
                seen.iter().filter(|seen| matches!(ClientFrame::decode(&seen.bytes), Ok(ClientFrame::Claim { .. })));
            claims.into_iter().any(|claim| occurs(&name, &claim.bytes))
        });
        let mut key = Secrets::default();
        key.add("offer's public key", self.first_offer_key.as_deref().unwrap_or_default());
        let to_new = seen.iter().filter(|seen| seen.device == Device::New && seen.way == Way::FromRelay);
        let saw_key = !key.index().found_in(to_new.map(|seen| seen.bytes.as_slice())).is_empty();
        match (planted, saw_name, saw_key) {
            (true, true, true) => None,
            (planted, name, key) => Some(format!(
                "the search is blind (finds planted secrets: {planted}, the short name: {name}, the offer's public key: {key})"
            )),
        }
    }

    async fn start_trusted(&self, scene: Scene, relay: &RelayUrl, other: &Screen) -> Result<(Run, Instant), Failed> {
        let (profile, options) = (self.trusted()?, Options::new(relay.clone()));
        let run = match scene.mode {
            Mode::Code => handfast::invite(profile, Show::Code, options),
            Mode::QrTrusted => handfast::invite(profile, Show::Qr, options),
            Mode::QrNew => {
                let qr = read(other, person::qr_on).await?;
                let since = Instant::now();
                return Ok((handfast::approve(profile, qr, options).map_err(Failed::internal)?, since));
            }
        };
        Ok((run, Instant::now()))
    }

    async fn start_new(&self, scene: Scene, relay: &RelayUrl, other: &Screen) -> Result<(Run, Instant), Failed> {
        let options = Options::new(relay.clone());
        let name = DeviceName::new(NEW_NAME).map_err(Failed::internal)?;
        let unlocker = match scene.kind {
            Kind::GuestUnlock => Some((Unlocker::Guest(name.clone()), Request::items(false, vec![self.entry.clone()]))),
            Kind::PinnedUnlock => {
                let profile = Profile::open(&self.new_dir(scene_of_run_1()))?;
                Some((Unlocker::Enrolled(Box::new(profile)), Request::items(true, Vec::new())))
            }
            _ => None,
        };
        if let Some((unlocker, request)) = unlocker {
            let run = handfast::unlock(unlocker, request.map_err(Failed::internal)?, options);
            return Ok((run.map_err(Failed::internal)?, Instant::now()));
        }
        let way = match scene.mode {
            Mode::QrNew => Join::ShowQr,
            Mode::QrTrusted => Join::ReadQr(read(other, person::qr_on).await?),
            Mode::Code => {
                let code = read(other, person::code_on).await?;
                Join::Code(if scene.kind == Kind::WrongCode { mistyped(&code).ok_or_else(no_such_slip)? } else { code })
            }
        };
        let since = Instant::now();
        Ok((handfast::join(self.new_dir(scene), name, way, options).map_err(Failed::internal)?, since))
    }

    fn trusted(&self) -> Result<Profile, Failed> {
        Ok(Profile::open(&self.folder.path().join("trusted"))?)
    }

    fn new_dir(&self, scene: Scene) -> PathBuf {
        let number: String = scene.title.chars().take_while(char::is_ascii_digit).collect();
        self.folder.path().join(format!("new-{number}"))
    }

    fn note_shown(&mut self, what: &str, text: &str) {
        self.secrets.add(what, text.as_bytes());
        match what {
            "code" => {
                let bare = text.replace('-', "");
                self.secrets.add("code", bare.as_bytes());
                self.secrets.add("code", bare.to_lowercase().as_bytes());
                // The part that the relay did not choose.
                self.secrets.add("code", bare.as_bytes().get(4..).unwrap_or_default());
                if self.first_code.is_none() {
                    self.first_code = text.parse().ok();
                }
            }
            "QR code" => {
                let digits = text.rsplit('/').next().unwrap_or_default();
                let bytes: Vec<u8> = digits.as_bytes().chunks_exact(17).flat_map(seven_bytes).collect();
                // After version and kind.
                self.secrets.add("QR code", bytes.get(2..34).unwrap_or_default());
            }
            _ => {}
        }
    }

    /// After a refusal the new device must hold nothing, and the trusted one know nobody new.
    fn check_nothing_changed(&self, scene: Scene, known_before: usize) -> Result<Vec<String>, Failed> {
        let mut wrong = Vec::new();
        if Profile::holds_account(&self.new_dir(scene))? {
            wrong.push("the new device holds the account".into());
        }
        if self.trusted()?.devices().len() != known_before {
            wrong.push("the trusted device has recorded a device".into());
        }
        Ok(wrong)
    }

    /// What arrived must be what was sent.
    fn check_content(&self, outcome: &Outcome) -> Result<Option<String>, Failed> {
        let bundle = self.trusted()?.bundle()?;
        let same = match outcome {
            Outcome::Joined { profile } => profile.bundle()? == bundle,
            Outcome::Unlocked { items } => {
                items.unlock_key.as_ref().is_none_or(|key| *key == bundle.unlock_key)
                    && items.entries.iter().all(|(name, value)| bundle.get(name) == Some(value))
                    && (items.unlock_key.is_some() || items.entries.len() == 1)
            }
            _ => false,
        };
        Ok((!same).then(|| "what arrived is not what was sent".into()))
    }
}

impl Report {
    /// Empty if the run came to what it had to.
    pub(super) fn problems(&self) -> Vec<String> {
        use Failure::{Cancelled, Refused, RefusedHere, WrongCode};
        let mut problems = self.wrong.clone();
        let as_expected = matches!(
            (self.scene.kind, &self.trusted, &self.new),
            (Kind::Enroll, Ok(Outcome::Enrolled { .. }), Ok(Outcome::Joined { .. }))
                | (Kind::GuestUnlock | Kind::PinnedUnlock, Ok(Outcome::Delivered), Ok(Outcome::Unlocked { .. }))
                | (Kind::WrongCode | Kind::SwappedKey, Err(Error::Failed(Cancelled)), Err(Error::Failed(WrongCode)))
                | (Kind::Refused, Err(Error::Failed(RefusedHere)), Err(Error::Failed(Refused)))
        );
        if !as_expected {
            let end =
                |result: &Result<Outcome, Error>| result.as_ref().map_or_else(ToString::to_string, |_| "done".into());
            problems.push(format!(
                "the trusted device says \"{}\", the new one \"{}\"",
                end(&self.trusted),
                end(&self.new)
            ));
        }
        let burned =
            |moment: &&Moment| moment.device == Device::Trusted && moment.text.starts_with("says: that one is over");
        if matches!(self.scene.kind, Kind::WrongCode | Kind::SwappedKey)
            && self.moments.iter().filter(burned).count() != 1
        {
            problems.push("the trusted device did not replace the code once".into());
        }
        let checks = self.moments.iter().filter(|moment| moment.what == What::CheckCode).count();
        let checks_wanted = if self.scene.mode == Mode::Code || self.scene.kind == Kind::PinnedUnlock { 0 } else { 2 };
        if checks != checks_wanted {
            problems.push(format!("a check code was shown or asked for {checks} times, not {checks_wanted}"));
        }
        if let Some(flights) = self.flights()
            && flights > measure::flights_promised(self.scene.mode)
        {
            problems.push(format!("{flights} flights until the people were asked"));
        }
        problems
    }

    /// `None` for runs that must fail.
    pub(super) fn flights(&self) -> Option<u32> {
        (!self.scene.must_fail()).then(|| measure::flights(&self.seen, &self.moments, reader(self.scene)))
    }

    /// What the new device says after a refusal.
    pub(super) fn refusal(&self) -> String {
        self.new.as_ref().map_or_else(ToString::to_string, |_| String::new())
    }
}

/// The device that comes second, by what the first shows.
fn reader(scene: Scene) -> Device {
    if scene.mode == Mode::QrNew { Device::Trusted } else { Device::New }
}

fn scene_of_run_1() -> Scene {
    let [first, ..] = ALL;
    first
}

async fn read<T>(screen: &Screen, find: impl Fn(&str) -> Option<T>) -> Result<T, Failed> {
    screen.read(find).await.ok_or_else(|| Failed::internal("the other device showed nothing"))
}

/// A code that the check symbol does not tell from the right one: two wrong symbols, one in 32 of which pass.
fn mistyped(code: &VerificationCode) -> Option<VerificationCode> {
    let right = code.reveal().to_string();
    let slips = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ".iter().flat_map(|a| b"2468".iter().map(move |b| (*a, *b)));
    slips
        .filter_map(|(a, b)| {
            let mut typed = right.clone().into_bytes();
            *typed.get_mut(6)? = a;
            *typed.get_mut(10)? = b;
            String::from_utf8(typed).ok()?.parse().ok()
        })
        .find(|typed: &VerificationCode| typed != code)
}

fn no_such_slip() -> Failed {
    Failed::internal("no slip passes the check symbol")
}

/// What a relay would do that wants to stand between the devices.
fn swap_key(other: Vec<u8>) -> Meddle {
    Arc::new(move |message| {
        let RelayFrame::Data(mut data) = RelayFrame::decode(message).ok()? else { return None };
        if data.seq != 0 {
            return None;
        }
        data.payload.get_mut(OFFER_KEY).filter(|key| key.len() == other.len())?.copy_from_slice(&other);
        Some(RelayFrame::Data(data).encode())
    })
}

/// The public key in the offer that the trusted device sent.
fn offer_key(seen: &[Seen]) -> Option<Vec<u8>> {
    let sent = seen.iter().filter(|seen| seen.device == Device::Trusted && seen.way == Way::ToRelay);
    sent.filter_map(|seen| ClientFrame::decode(&seen.bytes).ok()).find_map(|frame| match frame {
        ClientFrame::Data(data) if data.seq == 0 => data.payload.get(OFFER_KEY).map(<[u8]>::to_vec),
        _ => None,
    })
}

/// A block of a QR code's digits.
fn seven_bytes(digits: &[u8]) -> Vec<u8> {
    let number = digits
        .iter()
        .fold(0_u64, |number, digit| number.wrapping_mul(10).wrapping_add(u64::from(digit.wrapping_sub(b'0'))));
    number.to_be_bytes().iter().skip(1).copied().collect()
}
