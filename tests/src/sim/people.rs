//! Two devices of one person, and the person: honest answers to what the engines ask.

use super::{Ask, Sim};
use handfast_protocol::bundle::CredentialBundle;
use handfast_protocol::device::{DeviceInfo, DeviceKey, Genesis, IdentityPublicKey};
use handfast_protocol::pairing::check_code::CheckCode;
use handfast_protocol::pairing::code::VerificationCode;
use handfast_protocol::pairing::qr::QrPayload;
use handfast_protocol::pairing::{Mode, Purpose};
use handfast_protocol::secret::{Secret, SecretBytes};
use handfast_protocol::text::{AccountLabel, DeviceName, EntryName, Platform};
use handfast_protocol::{
    Decision, Engine, Event, Failure, Input, NewDevice, Request, Success, ToStore, TrustedDevice, Way,
};
use rand::SeedableRng;
use rand::rngs::ChaCha12Rng;

/// Which device of a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The trusted device.
    Trusted,
    /// The new device.
    New,
}

/// Both roles.
pub const ROLES: [Role; 2] = [Role::Trusted, Role::New];

impl Role {
    /// The one at the other end.
    pub fn other(self) -> Self {
        match self {
            Self::Trusted => Self::New,
            Self::New => Self::Trusted,
        }
    }
}

/// Who takes part.
#[derive(Clone)]
pub struct Cast {
    /// The trusted device of an account that it made.
    pub trusted: TrustedDevice,
    /// A device of the same person.
    pub new: NewDevice,
    /// The account's bundle.
    pub bundle: CredentialBundle,
}

impl Cast {
    /// Devices that do not know each other, and a bundle with one entry `token` of 300 bytes.
    pub fn new(seed: u64) -> Self {
        Self::labelled("alex@example.org", seed)
    }

    /// The same with this account label.
    pub fn labelled(label: &str, seed: u64) -> Self {
        let rng = &mut ChaCha12Rng::seed_from_u64(seed ^ 0xca57);
        let key = DeviceKey::generate(rng);
        let label = AccountLabel::new(label).unwrap();
        let account = Genesis::sign(label.clone(), &key, rng).account();
        let sign_in = SecretBytes::new(b"sign-in secret of the account".to_vec());
        let mut bundle = CredentialBundle::new(account.id, label, Secret::random(rng), sign_in);
        bundle.set(entry("token"), SecretBytes::new(vec![b'v'; 300])).unwrap();
        Self {
            trusted: TrustedDevice { key, info: info("phone", "android"), account, known: Vec::new() },
            new: NewDevice { key: DeviceKey::generate(rng), info: info("laptop", "linux x86_64"), enrolled: None },
            bundle,
        }
    }

    /// The trusted device has recorded the new one.
    pub fn trusted_knows_new(mut self) -> Self {
        self.trusted.known.push(self.new.key.identity());
        self
    }

    /// The new device is enrolled and has recorded the trusted one.
    pub fn new_knows_trusted(mut self) -> Self {
        self.new.enrolled = Some((self.trusted.account.id, vec![self.trusted.key.identity()]));
        self
    }

    /// A device's identity.
    pub fn identity(&self, role: Role) -> IdentityPublicKey {
        match role {
            Role::Trusted => self.trusted.key.identity(),
            Role::New => self.new.key.identity(),
        }
    }
}

/// What a run is about.
#[derive(Clone)]
pub struct Scenario {
    /// Who shows what.
    pub mode: Mode,
    /// What the new device asks for.
    pub request: Request,
    /// Who takes part.
    pub cast: Cast,
    /// Where the relay sees the trusted and the new device; 0 is unknown.
    pub networks: [u8; 2],
}

impl Scenario {
    /// An enrollment by devices of the same network.
    pub fn enroll(mode: Mode, seed: u64) -> Self {
        Self { mode, request: Request::Bundle, cast: Cast::new(seed), networks: [1, 1] }
    }

    /// An unlock by devices that know each other.
    pub fn unlock(request: Request, seed: u64) -> Self {
        let cast = Cast::new(seed).trusted_knows_new().new_knows_trusted();
        Self { mode: Mode::QrNew, request, cast, networks: [1, 1] }
    }

    /// An unlock by devices that have never met.
    pub fn unlock_by_guest(request: Request, seed: u64) -> Self {
        Self { mode: Mode::QrNew, request, cast: Cast::new(seed), networks: [1, 1] }
    }

    /// Every kind of run, with the seed in each.
    pub fn all(seed: u64) -> Vec<Self> {
        let token = || Request::items(false, vec![entry("token")]).unwrap();
        let key = || Request::items(true, vec![entry("token")]).unwrap();
        let mut half_known = Self::unlock(token(), seed);
        half_known.cast.trusted.known.clear();
        vec![
            Self::enroll(Mode::Code, seed),
            Self::enroll(Mode::QrNew, seed),
            Self::enroll(Mode::QrTrusted, seed),
            Self::unlock(key(), seed),
            Self::unlock_by_guest(token(), seed),
            half_known,
        ]
    }

    /// What the run is for.
    pub fn purpose(&self) -> Purpose {
        if self.request == Request::Bundle { Purpose::Enroll } else { Purpose::Unlock }
    }

    /// Who shows the code or QR code.
    pub fn displayer(&self) -> Role {
        if self.mode == Mode::QrNew { Role::New } else { Role::Trusted }
    }

    /// A short name for messages of failed tests.
    pub fn name(&self) -> String {
        let known = (self.cast.trusted.known.len(), self.cast.new.enrolled.is_some());
        format!("{:?} {:?} {known:?}", self.mode, self.purpose())
    }
}

/// A run between two devices.
pub struct Pair {
    /// The world.
    pub sim: Sim,
    /// What it is about.
    pub scenario: Scenario,
    displayer: usize,
    reader: Option<usize>,
}

impl Pair {
    /// The displayer is connected and shows its introduction; the reader has not read it.
    pub fn shown(scenario: Scenario, seed: u64) -> Self {
        let mut sim = Sim::new(seed);
        let displayer = add(&mut sim, &scenario, scenario.displayer(), None);
        sim.connect(displayer);
        sim.run();
        Self { sim, scenario, displayer, reader: None }
    }

    /// The reader has read the introduction and connected; nothing is delivered yet.
    pub fn begun(scenario: Scenario, seed: u64) -> Self {
        let mut pair = Self::shown(scenario, seed);
        pair.read();
        pair
    }

    /// The reader reads the introduction and connects.
    pub fn read(&mut self) {
        let way = self.introduction();
        let reader = add(&mut self.sim, &self.scenario, self.scenario.displayer().other(), Some(way));
        self.reader = Some(reader);
        self.sim.connect(reader);
    }

    /// What the displayer shows, as a reader takes it in: through its text.
    pub fn introduction(&self) -> Way {
        read(&self.sim, self.displayer)
    }

    /// The index of a device in [`Sim::devices`].
    pub fn index(&self, role: Role) -> usize {
        if role == self.scenario.displayer() { self.displayer } else { self.reader.expect("the reader is here") }
    }

    /// A device.
    pub fn device(&self, role: Role) -> &super::Device {
        &self.sim.devices[self.index(role)]
    }

    /// How a device's run ended.
    pub fn outcome(&self, role: Role) -> Option<&Result<Success, Failure>> {
        self.device(role).outcome.as_ref()
    }

    /// A failure, which the device must have.
    pub fn failure(&self, role: Role) -> &Failure {
        match self.outcome(role) {
            Some(Err(failure)) => failure,
            other => panic!("{role:?}: {other:?} is no failure"),
        }
    }

    /// A person or a store at this device does something.
    pub fn input(&mut self, role: Role, input: Input<'_>) {
        let device = self.index(role);
        self.sim.input(device, input);
    }

    /// A person at this device decides.
    pub fn decide(&mut self, role: Role, decision: Decision) {
        self.input(role, Input::Decision(decision));
    }

    /// What this device asked first and nobody has answered.
    pub fn asked(&self, role: Role) -> Option<Ask> {
        self.device(role).asked.front().copied()
    }

    /// Takes back a question, to answer it by hand.
    pub fn take_ask(&mut self, role: Role) -> Option<Ask> {
        let device = self.index(role);
        self.sim.devices[device].asked.pop_front()
    }

    /// Answers one question of a device as an honest person or a working store does; `false` if it has none that can be
    /// answered now.
    pub fn answer(&mut self, role: Role) -> bool {
        let Some(ask) = self.asked(role) else { return false };
        let input = match ask {
            Ask::CheckCode => match self.shown_check_code(role.other()) {
                Some(code) => Input::Decision(Decision::CheckCode(code)),
                None => return false,
            },
            Ask::Approval => Input::Decision(Decision::Approve),
            Ask::DifferentNetwork => Input::Decision(Decision::ApproveDifferentNetwork),
            Ask::Prepare => Input::Prepared(Box::new(self.scenario.cast.bundle.clone())),
            Ask::Store => Input::Stored,
        };
        self.take_ask(role);
        self.input(role, input);
        true
    }

    /// The check code on a device's screen, as a person types it.
    pub fn shown_check_code(&self, role: Role) -> Option<CheckCode> {
        self.device(role).events.iter().rev().find_map(|event| match event {
            Event::ShowCheckCode(code) => Some(code.reveal().parse().unwrap()),
            _ => None,
        })
    }

    /// One thing happens: a frame arrives, or else somebody answers; `false` if there is nothing more to do.
    pub fn step(&mut self) -> bool {
        self.sim.deliver() || ROLES.into_iter().any(|role| self.answer(role))
    }

    /// Everything goes well until `device` asks this; the question is left open.
    pub fn until_asked(&mut self, role: Role, ask: Ask) {
        loop {
            self.sim.run();
            if self.asked(role) == Some(ask) {
                return;
            }
            assert!(ROLES.into_iter().any(|role| self.answer(role)), "{role:?} never asked {ask:?}");
        }
    }

    /// Like [`Pair::finish`]; then time passes until the last mailbox has ended.
    pub fn finish_in_time(&mut self) {
        self.finish();
        while self.sim.devices.iter().any(|device| device.outcome.is_none()) {
            assert!(self.sim.now_ms() < 60 * 60 * 1000, "a run goes on for an hour");
            self.sim.advance(60 * 1000);
            self.finish();
        }
    }

    /// Everything goes well to the end, or to where nobody knows how to go on.
    pub fn finish(&mut self) {
        while self.step() {}
    }

    /// The trusted device ended well with this record, the new one with exactly what it asked for.
    pub fn assert_success(&self) {
        let name = self.scenario.name();
        let (trusted, new) = (self.device(Role::Trusted), self.device(Role::New));
        let success = match self.scenario.purpose() {
            Purpose::Enroll => Success::Enrolled,
            Purpose::Unlock => Success::Unlocked,
        };
        assert_eq!(trusted.outcome, Some(Ok(success.clone())), "{name}");
        assert_eq!(new.outcome, Some(Ok(success)), "{name}");
        self.assert_stored_is_right(&name);
        assert_eq!(new.stored.len(), 1, "{name}");
        match self.scenario.purpose() {
            Purpose::Enroll => assert!(matches!(trusted.stored.as_slice(), [ToStore::Confirmed(_)]), "{name}"),
            Purpose::Unlock => assert!(trusted.stored.is_empty(), "{name}"),
        }
    }

    /// Both runs are over and nobody believes what is not so, whatever happened on the way: a success of the trusted
    /// device means that the new one stored, and if the new one stored, the trusted one knows or says that it does not.
    pub fn assert_consistent(&self, name: &str) {
        self.assert_stored_is_right(name);
        let new_stored = match (self.outcome(Role::New), self.device(Role::New).stored.len()) {
            (Some(Ok(_)), 1) => true,
            (Some(Err(_)), 0) => false,
            // It was told to store, and could not.
            (Some(Err(Failure::StoreFailed)), 1) => false,
            (outcome, stored) => panic!("{name}: the new device ended with {outcome:?} and stored {stored} times"),
        };
        match self.outcome(Role::Trusted) {
            Some(Ok(_)) => assert!(new_stored, "{name}: success at the trusted device alone"),
            Some(Err(Failure::Unknown { device, identity, .. })) => {
                assert_eq!(device, self.scenario.cast.new.info.name.as_str(), "{name}");
                assert_eq!(**identity, self.scenario.cast.identity(Role::New), "{name}");
            }
            Some(Err(failure)) => assert!(!new_stored, "{name}: {failure:?}, yet the new device stored"),
            None => panic!("{name}: the trusted device never ends"),
        }
    }

    /// Whatever either device was told to store is what an undisturbed run stores.
    pub fn assert_stored_is_right(&self, name: &str) {
        let cast = &self.scenario.cast;
        for what in self.device(Role::New).stored.iter().chain(&self.device(Role::Trusted).stored) {
            match what {
                ToStore::Enrollment(enrollment) => {
                    assert_eq!(enrollment.account, cast.trusted.account, "{name}");
                    assert_eq!(enrollment.bundle, cast.bundle, "{name}");
                    assert_eq!(enrollment.enroller.identity, cast.identity(Role::Trusted), "{name}");
                    assert_eq!(enrollment.enroller.name, cast.trusted.info.name.as_str(), "{name}");
                }
                ToStore::Items(items) => {
                    let Request::Items { unlock_key, entries } = &self.scenario.request else {
                        panic!("{name}: items in an enrollment")
                    };
                    assert_eq!(items.unlock_key, unlock_key.then(|| cast.bundle.unlock_key.clone()), "{name}");
                    let expected = entries.iter().map(|entry| (entry, cast.bundle.get(entry).unwrap()));
                    assert!(items.entries.iter().eq(expected), "{name}");
                }
                ToStore::Confirmed(record) => {
                    assert_eq!(record.identity, cast.identity(Role::New), "{name}");
                    assert_eq!(record.name, cast.new.info.name.as_str(), "{name}");
                    assert!(record.confirmed, "{name}");
                }
                _ => panic!("{name}: something else to store"),
            }
        }
    }
}

/// Adds a device. A displayer makes its introduction itself; a reader is given one.
fn add(sim: &mut Sim, scenario: &Scenario, role: Role, read: Option<Way>) -> usize {
    let way = read.unwrap_or(if scenario.mode == Mode::Code { Way::ShowCode } else { Way::ShowQr(None) });
    let (mut rng, now) = (sim.device_rng(), sim.now());
    let engine = match role {
        Role::Trusted => Engine::trusted(scenario.cast.trusted.clone(), way, now, &mut rng),
        Role::New => Engine::new_device(scenario.cast.new.clone(), scenario.request.clone(), way, now, &mut rng),
    };
    sim.add(engine.unwrap(), rng, scenario.networks[role as usize])
}

/// Reads what a device shows.
fn read(sim: &Sim, displayer: usize) -> Way {
    let way = sim.devices[displayer].events.iter().find_map(|event| match event {
        Event::ShowCode { code, .. } => {
            Some(Way::EnterCode(code.reveal().to_string().parse::<VerificationCode>().unwrap()))
        }
        Event::ShowQr { qr, .. } => Some(Way::ReadQr(QrPayload::parse(&qr.to_uri().reveal(), &[]).unwrap())),
        _ => None,
    });
    way.expect("an introduction is shown")
}

/// A device that calls itself so.
pub fn info(name: &str, platform: &str) -> DeviceInfo {
    DeviceInfo { name: DeviceName::new(name).unwrap(), platform: Platform::new(platform).unwrap() }
}

/// The name of an entry.
pub fn entry(name: &str) -> EntryName {
    EntryName::new(name).unwrap()
}
