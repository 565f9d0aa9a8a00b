//! The four things a program can start, and the handle on what it started.

use crate::driver::{Clock, Conversation, Store, drive};
use crate::profile::{NewProfile, Profile, this_platform};
use crate::{Approval, Error, ProfileError, RecordedDevice, RelayUrl};
use handfast_protocol::bundle::{CredentialBundle, ReleasedItems};
use handfast_protocol::device::{AccountId, DeviceInfo, DeviceKey, EnrolledDevice, IdentityPublicKey};
use handfast_protocol::pairing::check_code::CheckCode;
use handfast_protocol::pairing::code::VerificationCode;
use handfast_protocol::pairing::qr::{QrKind, QrPayload};
use handfast_protocol::text::{AccountLabel, DeviceName};
use handfast_protocol::{Decision, Engine, Failure, NewDevice, Request, ToStore, Way, WrongWay};
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// Events that wait for the program. When it does not take them, the run waits too.
const EVENT_QUEUE: usize = 64;
const COMMAND_QUEUE: usize = 16;

/// Where and how a run meets its peer.
#[derive(Clone, Debug)]
pub struct Options {
    /// The relay.
    pub relay: RelayUrl,
    /// Put the relay's address into QR codes that this device shows, if it is short enough.
    pub hint_relay: bool,
    /// A new device keeps this relay in its profile. Not for a relay that lives only as long as this run.
    pub remember_relay: bool,
}

impl Options {
    /// Options with this relay, hinted at in QR codes and remembered.
    pub fn new(relay: RelayUrl) -> Self {
        Self { relay, hint_relay: true, remember_relay: true }
    }

    fn way(&self) -> Way {
        Way::ShowQr(if self.hint_relay { self.relay.to_hint() } else { None })
    }
}

/// What a trusted device shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Show {
    /// A code to type.
    Code,
    /// A QR code to scan.
    Qr,
}

/// How a new device joins.
#[derive(Clone, Debug)]
pub enum Join {
    /// The person typed this code.
    Code(VerificationCode),
    /// Show a QR code to scan.
    ShowQr,
    /// This QR code of a trusted device was scanned.
    ReadQr(QrPayload),
}

/// Who asks for an unlock.
#[derive(Debug)]
pub enum Unlocker {
    /// A device of the account. One that knows the trusted device, and is known to it, needs no check code.
    Enrolled(Box<Profile>),
    /// A device without an account, by this name. It can get named entries only.
    Guest(DeviceName),
}

/// What the program should show or ask.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event {
    /// Connecting for the first time.
    Connecting {
        /// The relay.
        relay: RelayUrl,
    },
    /// The socket to the relay is open.
    Connected,
    /// The connection was lost; the next try comes after `wait`.
    Reconnecting {
        /// Number of this try, from 1.
        attempt: u32,
        /// How long until then.
        wait: Duration,
        /// What went wrong.
        why: String,
    },
    /// Show this code and count down.
    ShowCode {
        /// Secret until it is used.
        code: VerificationCode,
        /// When it expires unclaimed.
        until: Instant,
    },
    /// Show this QR code and count down.
    ShowQr {
        /// Secret until it is used.
        qr: QrPayload,
        /// When it expires unclaimed.
        until: Instant,
    },
    /// What was shown is dead. A new one comes by itself.
    OfferOver {
        /// Why.
        failure: Failure,
        /// When: at once, or later after too many burned offers.
        next_in: Duration,
    },
    /// Another device has answered: the countdown stops.
    PeerHere,
    /// The other device's connection is gone; it may come back.
    PeerAway {
        /// Until then.
        until: Option<Instant>,
    },
    /// The device that had answered never went on; the code can be claimed again.
    PeerFreed,
    /// Somebody else tried the same code and was turned away.
    ThirdClaim,
    /// New device: whose account this is. Nothing is stored yet.
    Account {
        /// What the account is called.
        label: AccountLabel,
        /// Its id.
        id: AccountId,
        /// What the trusted device calls itself. It proves nothing.
        trusted_name: String,
        /// The trusted device's identity.
        trusted_identity: IdentityPublicKey,
        /// This device's own identity. Show its fingerprint: it is what the trusted device's approval shows.
        own_identity: IdentityPublicKey,
    },
    /// Show these digits: they are to be typed on the other device.
    ShowCheckCode(CheckCode),
    /// Ask for the digits that the other device shows; answer with [`Run::enter_check_code`]. One try.
    AskCheckCode,
    /// Ask whether to release; answer with [`Run::approve`] or [`Run::refuse`]. The default is to refuse.
    AskApproval(Approval),
    /// The relay says that the devices are on different networks: ask once more, on a screen of its own that says why;
    /// answer with [`Run::approve_different_network`] or [`Run::refuse`]. The default is to refuse.
    AskDifferentNetwork,
    /// Trusted device: sent; the new device has not yet confirmed.
    GrantSent,
    /// New device: stored, or for an unlock handed over.
    Stored,
}

/// How a run ended that reached its goal.
#[derive(Debug)]
#[non_exhaustive]
pub enum Outcome {
    /// Trusted device: this device has confirmed that it stored the bundle.
    Enrolled {
        /// What this device remembers of it.
        device: Box<EnrolledDevice>,
    },
    /// New device: enrolled.
    Joined {
        /// The new profile.
        profile: Box<Profile>,
    },
    /// Trusted device: the items were delivered.
    Delivered,
    /// New device: use these once.
    Unlocked {
        /// What was approved.
        items: Box<ReleasedItems>,
    },
}

/// What the program decided.
pub(crate) struct Command(pub(crate) Decision);

/// A run under way. Dropping it cancels the run.
#[derive(Debug)]
pub struct Run {
    events: mpsc::Receiver<Event>,
    decisions: Decisions,
    task: JoinHandle<Result<Outcome, Error>>,
}

/// Takes the person's decisions; can be cloned and given away.
#[derive(Clone, Debug)]
pub struct Decisions(mpsc::Sender<Command>);

/// A trusted device shows a code or a QR code to enroll a new device. A burned, crowded or expired one is replaced by
/// itself.
pub fn invite(profile: Profile, show: Show, options: Options) -> Run {
    Run::start(move |mut conversation| async move {
        let mut profile = profile;
        let mut pace = Pace::default();
        let mut next_in = profile.burn_wait(SystemTime::now());
        loop {
            wait(next_in, &mut conversation).await?;
            pace.offer_begins();
            let way = match show {
                Show::Code => Way::ShowCode,
                Show::Qr => options.way(),
            };
            let (result, back) = trusted_run(profile, way, &options, &mut conversation).await?;
            match result {
                Ok(outcome) => return Ok(outcome),
                Err(Error::Failed(failure)) if renews_invitation(&failure) => {
                    profile = back;
                    next_in = if burns(&failure) {
                        profile.record_burn(SystemTime::now())?;
                        profile.burn_wait(SystemTime::now())
                    } else {
                        pace.next_in()
                    };
                    conversation.tell(Event::OfferOver { failure, next_in }).await;
                }
                Err(error) => return Err(error),
            }
        }
    })
}

/// A trusted device answers the QR code that a new device shows, to enroll it or to unlock something for it.
///
/// [`WrongWay`] for the QR code of a trusted device.
pub fn approve(profile: Profile, qr: QrPayload, options: Options) -> Result<Run, WrongWay> {
    if qr.kind == QrKind::TrustedEnroll {
        return Err(WrongWay);
    }
    Ok(Run::start(move |mut conversation| async move {
        trusted_run(profile, Way::ReadQr(qr), &options, &mut conversation).await?.0
    }))
}

/// This device becomes a trusted device of an account; its profile is made in `dir`.
///
/// [`WrongWay`] for a QR code that a new device shows.
pub fn join(dir: PathBuf, name: DeviceName, join: Join, options: Options) -> Result<Run, WrongWay> {
    if matches!(&join, Join::ReadQr(qr) if qr.kind != QrKind::TrustedEnroll) {
        return Err(WrongWay);
    }
    Ok(Run::start(move |mut conversation| async move {
        let info = DeviceInfo { name, platform: this_platform() };
        // Whether the place is free and writable is known before anything is sent. Writing goes on beside the pairing.
        let mut place = Some(blocking(move || NewProfile::prepare(&dir)).await??);
        let mut pace = Pace::default();
        loop {
            pace.offer_begins();
            let way = match &join {
                Join::Code(code) => Way::EnterCode(code.clone()),
                Join::ShowQr => options.way(),
                Join::ReadQr(qr) => Way::ReadQr(qr.clone()),
            };
            let Some(new) = place.take() else { return Err(Failure::Internal.into()) };
            let device = NewDevice { key: new.key().clone(), info: info.clone(), enrolled: None };
            let relay = options.remember_relay.then(|| options.relay.clone());
            let store = Joining { place: Some(new), info: info.clone(), relay, joined: None };
            let (result, store) = new_run(device, Request::Bundle, way, store, &options, &mut conversation).await?;
            let Some(store) = store else { return Err(Failure::Internal.into()) };
            match result {
                Ok(()) => {
                    let profile = store.joined.ok_or(Failure::Internal)?;
                    return Ok(Outcome::Joined { profile: Box::new(profile) });
                }
                Err(Error::Failed(failure)) if matches!(join, Join::ShowQr) && renews_qr(&failure) => {
                    place = store.place;
                    let next_in = pace.next_in();
                    conversation.tell(Event::OfferOver { failure, next_in }).await;
                    wait(next_in, &mut conversation).await?;
                }
                Err(error) => return Err(error),
            }
        }
    }))
}

/// This device shows a QR code and gets what it asks for, to use once. Nothing is stored.
///
/// `request` must be [`Request::items`]; a request for the whole bundle ends with [`WrongWay`].
pub fn unlock(unlocker: Unlocker, request: Request, options: Options) -> Result<Run, WrongWay> {
    if request == Request::Bundle {
        return Err(WrongWay);
    }
    Ok(Run::start(move |mut conversation| async move {
        let device = match unlocker {
            Unlocker::Enrolled(profile) => profile.unlocking_device(),
            Unlocker::Guest(name) => NewDevice {
                key: DeviceKey::generate(&mut rand::rng()),
                info: DeviceInfo { name, platform: this_platform() },
                enrolled: None,
            },
        };
        let mut pace = Pace::default();
        loop {
            pace.offer_begins();
            let store = Unlocking(None);
            let (result, store) =
                new_run(device.clone(), request.clone(), options.way(), store, &options, &mut conversation).await?;
            match result {
                Ok(()) => {
                    let items = store.and_then(|store| store.0).ok_or(Failure::Internal)?;
                    return Ok(Outcome::Unlocked { items });
                }
                Err(Error::Failed(failure)) if renews_qr(&failure) => {
                    let next_in = pace.next_in();
                    conversation.tell(Event::OfferOver { failure, next_in }).await;
                    wait(next_in, &mut conversation).await?;
                }
                Err(error) => return Err(error),
            }
        }
    }))
}

impl Run {
    /// The next event; `None` when the run is over and [`Run::finish`] knows how.
    pub async fn next(&mut self) -> Option<Event> {
        self.events.recv().await
    }

    /// The person says yes to [`Event::AskApproval`]. It answers nothing else: a second tap is ignored.
    pub fn approve(&self) {
        self.decisions.approve();
    }

    /// The person says yes to [`Event::AskDifferentNetwork`]. It answers nothing else.
    pub fn approve_different_network(&self) {
        self.decisions.approve_different_network();
    }

    /// The person says no to either.
    pub fn refuse(&self) {
        self.decisions.refuse();
    }

    /// The person typed these digits.
    pub fn enter_check_code(&self, code: CheckCode) {
        self.decisions.enter_check_code(code);
    }

    /// Ends the run and tells the other side. Without a connection, that takes up to 3 s or is given up.
    pub fn cancel(&self) {
        self.decisions.cancel();
    }

    /// A handle for another task.
    pub fn decisions(&self) -> Decisions {
        self.decisions.clone()
    }

    /// How the run ended. Events that were not taken are dropped.
    pub async fn finish(self) -> Result<Outcome, Error> {
        let Self { events, decisions, task } = self;
        drop(events);
        let result = task.await;
        drop(decisions);
        result.unwrap_or(Err(Error::Failed(Failure::Internal)))
    }

    fn start<F>(run: impl FnOnce(Conversation) -> F) -> Self
    where
        F: Future<Output = Result<Outcome, Error>> + Send + 'static,
    {
        let (event_sender, events) = mpsc::channel(EVENT_QUEUE);
        let (command_sender, commands) = mpsc::channel(COMMAND_QUEUE);
        let task = tokio::spawn(run(Conversation::new(event_sender, commands)));
        Self { events, decisions: Decisions(command_sender), task }
    }
}

impl Decisions {
    /// The person says yes to [`Event::AskApproval`]. It answers nothing else: a second tap is ignored.
    pub fn approve(&self) {
        self.send(Decision::Approve);
    }

    /// The person says yes to [`Event::AskDifferentNetwork`]. It answers nothing else.
    pub fn approve_different_network(&self) {
        self.send(Decision::ApproveDifferentNetwork);
    }

    /// The person says no to either.
    pub fn refuse(&self) {
        self.send(Decision::Refuse);
    }

    /// The person typed these digits.
    pub fn enter_check_code(&self, code: CheckCode) {
        self.send(Decision::CheckCode(code));
    }

    /// Ends the run and tells the other side. Without a connection, that takes up to 3 s or is given up.
    pub fn cancel(&self) {
        self.send(Decision::Cancel);
    }

    /// A full queue means that earlier decisions were not even looked at; one more would not be either.
    fn send(&self, decision: Decision) {
        let _ = self.0.try_send(Command(decision));
    }
}

/// One run on a trusted device; gives the profile back.
async fn trusted_run(
    profile: Profile,
    way: Way,
    options: &Options,
    conversation: &mut Conversation,
) -> Result<(Result<Outcome, Error>, Profile), Error> {
    let clock = Clock::start();
    let engine = Engine::trusted(profile.trusted_device(), way, clock.now(), &mut rand::rng())?;
    let store = Releasing { profile, confirmed: None };
    let (result, store) = drive(engine, store, clock, options, conversation).await;
    let Some(Releasing { profile, confirmed }) = store else { return Err(Failure::Internal.into()) };
    let result = result.map(|_| match confirmed {
        Some(device) => Outcome::Enrolled { device },
        None => Outcome::Delivered,
    });
    Ok((result, profile))
}

/// One run on a new device; gives the store back.
async fn new_run<S: Store>(
    device: NewDevice,
    request: Request,
    way: Way,
    store: S,
    options: &Options,
    conversation: &mut Conversation,
) -> Result<(Result<(), Error>, Option<S>), Error> {
    let clock = Clock::start();
    let engine = Engine::new_device(device, request, way, clock.now(), &mut rand::rng())?;
    let (result, store) = drive(engine, store, clock, options, conversation).await;
    Ok((result.map(drop), store))
}

/// Runs blocking work beside the async work.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.map_err(|_| Failure::Internal.into())
}

/// Slows down a run whose offers keep ending as soon as they are made: a relay could have a new one made, key and all,
/// thousands of times a second.
#[derive(Default)]
struct Pace {
    begun: Option<Instant>,
    /// Offers in a row that ended at once.
    short_lived: u32,
}

impl Pace {
    /// An offer that lived so long is a normal one.
    const LIVED: Duration = Duration::from_secs(3);
    /// So many may end at once: a real person can have a device crowd itself out.
    const FREE: u32 = 2;
    const LONGEST: Duration = Duration::from_secs(30);

    fn offer_begins(&mut self) {
        self.begun = Some(Instant::now());
    }

    /// How long the next offer waits, now that one is over.
    fn next_in(&mut self) -> Duration {
        let lived = self.begun.map_or(Self::LIVED, |begun| begun.elapsed());
        self.short_lived = if lived < Self::LIVED { self.short_lived.saturating_add(1) } else { 0 };
        match self.short_lived.checked_sub(Self::FREE + 1) {
            Some(over) => Duration::from_secs(1).saturating_mul(1 << over.min(5)).min(Self::LONGEST),
            None => Duration::ZERO,
        }
    }
}

/// Waits until a new offer may be shown; a cancel ends the run.
async fn wait(wait: Duration, conversation: &mut Conversation) -> Result<(), Error> {
    if conversation.is_cancelled() {
        return Err(Failure::Cancelled.into());
    }
    if wait.is_zero() {
        return Ok(());
    }
    let over = tokio::time::sleep(wait);
    tokio::pin!(over);
    loop {
        tokio::select! {
            () = &mut over => return Ok(()),
            decision = conversation.decision() => {
                if matches!(decision, Decision::Cancel) {
                    return Err(Failure::Cancelled.into());
                }
            }
        }
    }
}

/// Failures after which a trusted device shows a new code by itself.
fn renews_invitation(failure: &Failure) -> bool {
    burns(failure)
        || matches!(
            failure,
            Failure::Expired | Failure::Crowded | Failure::PeerLost | Failure::PeerCancelled | Failure::RelayForgot
        )
}

/// Failures that used up an offer with something like a guess.
fn burns(failure: &Failure) -> bool {
    matches!(failure, Failure::WrongCode | Failure::WrongCheckCode | Failure::PeerMisbehaved | Failure::Version(_))
}

/// Failures after which a new device shows a new QR code by itself.
fn renews_qr(failure: &Failure) -> bool {
    matches!(failure, Failure::Expired | Failure::Crowded)
}

struct Releasing {
    profile: Profile,
    confirmed: Option<Box<EnrolledDevice>>,
}

impl Store for Releasing {
    fn prepare(&mut self, record: Option<Box<EnrolledDevice>>) -> Result<CredentialBundle, ProfileError> {
        let bundle = self.profile.bundle()?;
        if let Some(record) = record {
            self.profile.record_device(&record)?;
        }
        Ok(bundle)
    }

    fn recorded(&self, identity: &IdentityPublicKey) -> Option<RecordedDevice> {
        self.profile.recorded(identity)
    }

    fn store(&mut self, what: ToStore) -> Result<(), ProfileError> {
        if let ToStore::Confirmed(device) = what {
            self.profile.record_device(&device)?;
            self.confirmed = Some(device);
        }
        Ok(())
    }
}

struct Joining {
    /// Until it is used.
    place: Option<NewProfile>,
    info: DeviceInfo,
    relay: Option<RelayUrl>,
    joined: Option<Profile>,
}

impl Store for Joining {
    fn store(&mut self, what: ToStore) -> Result<(), ProfileError> {
        if let (ToStore::Enrollment(enrollment), Some(place)) = (what, self.place.take()) {
            self.joined = Some(place.commit(&self.info, &enrollment, self.relay.clone())?);
        }
        Ok(())
    }
}

struct Unlocking(Option<Box<ReleasedItems>>);

impl Store for Unlocking {
    fn store(&mut self, what: ToStore) -> Result<(), ProfileError> {
        if let ToStore::Items(items) = what {
            self.0 = Some(items);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offers_that_end_at_once_slow_the_run_down() {
        let mut pace = Pace::default();
        let waits: Vec<u64> = (0..10)
            .map(|_| {
                pace.offer_begins();
                pace.next_in().as_secs()
            })
            .collect();
        assert_eq!(waits, [0, 0, 1, 2, 4, 8, 16, 30, 30, 30]);
    }

    #[test]
    fn an_offer_that_lived_is_followed_at_once() {
        let mut pace = Pace { begun: Instant::now().checked_sub(Pace::LIVED), short_lived: 7 };
        assert_eq!(pace.next_in(), Duration::ZERO);
    }
}
