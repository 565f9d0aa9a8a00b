//! One whole pairing of two engines in memory: no socket, no disk, nobody to wait for.
//!
//! The simulator of the tests keeps a record of everything, which would be measured too. Here a frame is a vector that
//! changes queues.

use handfast_protocol::bundle::CredentialBundle;
use handfast_protocol::device::{Account, DeviceInfo, DeviceKey, Genesis, IdentityPublicKey};
use handfast_protocol::pairing::check_code::CheckCode;
use handfast_protocol::pairing::{Mode, Purpose};
use handfast_protocol::secret::{Secret, SecretBytes};
use handfast_protocol::text::{AccountLabel, DeviceName, EntryName, Platform};
use handfast_protocol::wire::{
    ClientFrame, Joined, Lifetime, MailboxId, Nameplate, Network, PeerState, RelayFrame, Slot, limits,
};
use handfast_protocol::{
    Decision, Engine, Event, Input, NewDevice, Output, Request, Success, Time, ToStore, TrustedDevice, Way,
};
use rand::SeedableRng;
use rand::rngs::StdRng;
use std::collections::VecDeque;
use std::time::Duration;

/// The bundle has one entry of this size.
pub(crate) const ENTRY_BYTES: usize = 300;

pub(crate) const ACCOUNT: &str = "ada@example.com";
pub(crate) const PLATFORM: &str = "linux x86_64";
pub(crate) const TRUSTED_NAME: &str = "desktop";
pub(crate) const NEW_NAME: &str = "laptop";
pub(crate) const ENTRY_NAME: &str = "age-key";

/// What the two devices have before they meet.
pub(crate) struct Devices {
    trusted: TrustedDevice,
    sealed_bundle: Vec<u8>,
    /// For an unlock: a device that the trusted one has recorded. To enroll, each run makes a new one.
    enrolled: NewDevice,
    rng: StdRng,
}

/// What one pairing sent, as the relay sees it.
#[derive(Clone, Copy, Default)]
pub(crate) struct Traffic {
    /// Websocket messages of both devices.
    pub(crate) messages: usize,
    /// Their bytes, without websocket headers.
    pub(crate) bytes: usize,
}

impl Devices {
    pub(crate) fn new() -> Self {
        let mut rng = StdRng::seed_from_u64(1);
        let key = DeviceKey::generate(&mut rng);
        let label = AccountLabel::new(ACCOUNT).unwrap();
        let account = Genesis::sign(label.clone(), &key, &mut rng).account();
        let sign_in_secret = SecretBytes::new(vec![7; 32]);
        let mut bundle = CredentialBundle::new(account.id, label, Secret::random(&mut rng), sign_in_secret);
        bundle.set(EntryName::new(ENTRY_NAME).unwrap(), SecretBytes::new(vec![8; ENTRY_BYTES])).unwrap();
        let sealed_bundle = bundle.seal(&key, &mut rng).unwrap();
        let mut enrolled = NewDevice { key: DeviceKey::generate(&mut rng), info: info(NEW_NAME), enrolled: None };
        enrolled.enrolled = Some((account.id, vec![key.identity()]));
        let known: Vec<IdentityPublicKey> = vec![enrolled.key.identity()];
        let trusted = TrustedDevice { key, info: info(TRUSTED_NAME), account, known };
        Self { trusted, sealed_bundle, enrolled, rng }
    }

    pub(crate) fn account(&self) -> &Account {
        &self.trusted.account
    }

    pub(crate) fn sealed_bundle_bytes(&self) -> usize {
        self.sealed_bundle.len()
    }

    /// From the new device's key to success on both sides. The bundle comes sealed from the trusted device's store and
    /// goes sealed into the new one's.
    pub(crate) fn pair(&mut self, mode: Mode, purpose: Purpose) -> Traffic {
        let rng = &mut self.rng;
        let (new_device, request) = match purpose {
            Purpose::Enroll => {
                let key = DeviceKey::generate(rng);
                (NewDevice { key, info: info(NEW_NAME), enrolled: None }, Request::Bundle)
            }
            Purpose::Unlock => {
                (self.enrolled.clone(), Request::items(true, vec![EntryName::new(ENTRY_NAME).unwrap()]).unwrap())
            }
        };
        let new_key = new_device.key.clone();
        let now = Time::from_origin(Duration::ZERO);
        let trusted = self.trusted.clone();
        let mut meeting = Meeting::new(mode);
        let (mut trusted, mut new) = match mode {
            Mode::Code | Mode::QrTrusted => {
                let way = if mode == Mode::Code { Way::ShowCode } else { Way::ShowQr(None) };
                let mut trusted = Engine::trusted(trusted, way, now, rng).unwrap();
                meeting.enter(Side::Trusted, &mut trusted, rng);
                let way = meeting.introduction.take().unwrap();
                (trusted, Engine::new_device(new_device, request, way, now, rng).unwrap())
            }
            Mode::QrNew => {
                let mut new = Engine::new_device(new_device, request, Way::ShowQr(None), now, rng).unwrap();
                meeting.enter(Side::New, &mut new, rng);
                let way = meeting.introduction.take().unwrap();
                (Engine::trusted(trusted, way, now, rng).unwrap(), new)
            }
        };
        match mode {
            Mode::Code | Mode::QrTrusted => meeting.enter(Side::New, &mut new, rng),
            Mode::QrNew => meeting.enter(Side::Trusted, &mut trusted, rng),
        }
        let store = |to_do| match to_do {
            ToDo::Open => {
                let bundle = CredentialBundle::open(&self.sealed_bundle, &self.trusted.account.id, &self.trusted.key);
                Input::Prepared(Box::new(bundle.unwrap()))
            }
            ToDo::Store(ToStore::Enrollment(enrollment)) => {
                std::hint::black_box(enrollment.bundle.seal(&new_key, &mut StdRng::seed_from_u64(2)).unwrap());
                Input::Stored
            }
            ToDo::Store(_) => Input::Stored,
        };
        meeting.run(&mut trusted, &mut new, store, rng)
    }
}

fn info(name: &str) -> DeviceInfo {
    DeviceInfo { name: DeviceName::new(name).unwrap(), platform: Platform::new(PLATFORM).unwrap() }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Trusted,
    New,
}

enum ToDo {
    Open,
    Store(ToStore),
}

/// The relay and the two persons.
struct Meeting {
    displayer: Side,
    /// Frames on their way to each side.
    to_trusted: VecDeque<Vec<u8>>,
    to_new: VecDeque<Vec<u8>>,
    /// What the displayer shows.
    introduction: Option<Way>,
    shown: Option<CheckCode>,
    asked: Option<Side>,
    approval_asked: bool,
    to_do: Option<(Side, ToDo)>,
    done: usize,
    traffic: Traffic,
}

impl Meeting {
    fn new(mode: Mode) -> Self {
        Self {
            displayer: if mode == Mode::QrNew { Side::New } else { Side::Trusted },
            to_trusted: VecDeque::new(),
            to_new: VecDeque::new(),
            introduction: None,
            shown: None,
            asked: None,
            approval_asked: false,
            to_do: None,
            done: 0,
            traffic: Traffic::default(),
        }
    }

    /// Connects a side and lets it name the mailbox.
    fn enter(&mut self, side: Side, engine: &mut Engine, rng: &mut StdRng) {
        self.handle(side, engine, Input::Connected, rng);
        while side == self.displayer && self.introduction.is_none() {
            let frame = self.inbox(side).pop_front().unwrap();
            self.handle(side, engine, Input::Frame(&frame), rng);
        }
    }

    fn run(
        &mut self,
        trusted: &mut Engine,
        new: &mut Engine,
        store: impl Fn(ToDo) -> Input<'static>,
        rng: &mut StdRng,
    ) -> Traffic {
        while self.done < 2 {
            if let Some(frame) = self.to_trusted.pop_front() {
                self.handle(Side::Trusted, trusted, Input::Frame(&frame), rng);
            } else if let Some(frame) = self.to_new.pop_front() {
                self.handle(Side::New, new, Input::Frame(&frame), rng);
            } else if let Some((side, to_do)) = self.to_do.take() {
                let engine = if side == Side::Trusted { &mut *trusted } else { &mut *new };
                self.handle(side, engine, store(to_do), rng);
            } else if let (Some(asked), Some(shown)) = (self.asked, self.shown.take()) {
                let engine = if asked == Side::Trusted { &mut *trusted } else { &mut *new };
                self.handle(asked, engine, Input::Decision(Decision::CheckCode(shown)), rng);
            } else {
                assert!(std::mem::take(&mut self.approval_asked), "nobody has anything to do");
                self.handle(Side::Trusted, trusted, Input::Decision(Decision::Approve), rng);
            }
        }
        self.traffic
    }

    fn handle(&mut self, side: Side, engine: &mut Engine, input: Input<'_>, rng: &mut StdRng) {
        engine.handle(input, Time::from_origin(Duration::ZERO), rng);
        while let Some(output) = engine.poll() {
            match output {
                Output::Send(frame) => self.relay(side, frame),
                Output::Event(Event::ShowCode { code, .. }) => self.introduction = Some(Way::EnterCode(code)),
                Output::Event(Event::ShowQr { qr, .. }) => self.introduction = Some(Way::ReadQr(qr)),
                Output::Event(Event::ShowCheckCode(code)) => self.shown = Some(code),
                Output::Event(Event::AskCheckCode) => self.asked = Some(side),
                Output::Event(Event::AskApproval(_)) => self.approval_asked = true,
                Output::Prepare(_) => self.to_do = Some((side, ToDo::Open)),
                Output::Store(what) => self.to_do = Some((side, ToDo::Store(what))),
                Output::Done(result) => {
                    assert!(matches!(result, Ok(Success::Enrolled | Success::Unlocked)), "{result:?}");
                    self.done += 1;
                }
                _ => {}
            }
        }
    }

    /// What the relay does with one frame.
    fn relay(&mut self, from: Side, frame: Vec<u8>) {
        self.traffic.messages += 1;
        self.traffic.bytes += frame.len();
        let lifetime = Lifetime {
            remaining_ms: limits::MAILBOX_LIFETIME_MS,
            linger_ms: limits::MAILBOX_LINGER_MS,
            max_ms: limits::MAILBOX_MAX_LIFETIME_MS,
        };
        let id = MailboxId([5; 16]);
        match ClientFrame::decode(&frame).unwrap() {
            // One encoding in both directions.
            ClientFrame::Data(_) | ClientFrame::Ack(_) => self.inbox(other(from)).push_back(frame),
            ClientFrame::Allocate { .. } => {
                let nameplate = Nameplate::new(0x12345).unwrap();
                self.inbox(from).push_back(RelayFrame::Allocated { nameplate, mailbox: id, lifetime }.encode());
            }
            ClientFrame::Open { mailbox, .. } => self.join(from, mailbox, lifetime),
            ClientFrame::Claim { .. } => self.join(from, id, lifetime),
            ClientFrame::Close { reason } => {
                self.inbox(other(from)).push_back(RelayFrame::PeerClosed { reason }.encode());
            }
            _ => unreachable!("no socket is lost here"),
        }
    }

    fn join(&mut self, side: Side, mailbox: MailboxId, lifetime: Lifetime) {
        let first = side == self.displayer;
        let slot = if first { Slot::First } else { Slot::Second };
        let peer = if first { PeerState::Absent } else { PeerState::Present };
        let joined = Joined { mailbox, slot, received: 0, peer, network: Network::Same, lifetime };
        self.inbox(side).push_front(RelayFrame::Joined(joined).encode());
        if !first {
            self.inbox(other(side)).push_back(RelayFrame::PeerJoined { network: Network::Same }.encode());
        }
    }

    fn inbox(&mut self, side: Side) -> &mut VecDeque<Vec<u8>> {
        match side {
            Side::Trusted => &mut self.to_trusted,
            Side::New => &mut self.to_new,
        }
    }
}

fn other(side: Side) -> Side {
    match side {
        Side::Trusted => Side::New,
        Side::New => Side::Trusted,
    }
}
