//! The real engines, made to run a pairing of a file: through the public API, with real relay frames, and with the random
//! values that the file names.

use super::derivation::bundle_at_rest;
use super::pairing::{Mode, Pairing, Request, Role};
use handfast_protocol::bundle::CredentialBundle;
use handfast_protocol::device::{Account, DeviceInfo, DeviceKey, Genesis, IdentityPublicKey};
use handfast_protocol::pairing::qr::{QrPayload, RelayHint};
use handfast_protocol::secret::Secret;
use handfast_protocol::text::{DeviceName, EntryName, Platform};
use handfast_protocol::wire::{
    Ack, ClientFrame, CloseReason, Data, Flags, Joined, Lifetime, MailboxId, Nameplate, Network, PeerState, RelayFrame,
    Slot, limits,
};
use handfast_protocol::{
    Decision, Engine, Event, Failure, Input, NewDevice, Output, Success, Time, ToStore, TrustedDevice, Way,
};
use rand_core::{TryCryptoRng, TryRng};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

/// Gives out the named values in the order in which an engine draws them, and nothing else.
pub struct ScriptedRng(VecDeque<(&'static str, Vec<u8>)>);

impl ScriptedRng {
    /// What the engine of a role draws in a run.
    pub fn new(pairing: &Pairing, role: Role) -> Self {
        let names: &[&str] = match (pairing.mode, role) {
            (Mode::Code, Role::Trusted) => &[
                RELAY_TOKEN,
                "code_secret",
                "displayer_kem_seed",
                "offer_nonce",
                "displayer_scalar",
                "grant_encapsulation",
            ],
            (Mode::Code, Role::New) => &[RELAY_TOKEN, "bundle_key_seed", "reader_scalar", "channel_encapsulation"],
            (Mode::QrNew, Role::Trusted) => &[RELAY_TOKEN, "opening", "channel_encapsulation", "grant_encapsulation"],
            (Mode::QrNew, Role::New) => {
                &["qr_secret", RELAY_TOKEN, "bundle_key_seed", "displayer_kem_seed", "offer_nonce"]
            }
            (Mode::QrTrusted, Role::Trusted) => {
                &["qr_secret", RELAY_TOKEN, "displayer_kem_seed", "offer_nonce", "grant_encapsulation"]
            }
            (Mode::QrTrusted, Role::New) => &[RELAY_TOKEN, "bundle_key_seed", "channel_encapsulation"],
        };
        let value = |name: &'static str| match name {
            RELAY_TOKEN => (name, vec![0; 16]),
            name => (name, pairing.random.get(name).to_vec()),
        };
        Self(names.iter().map(|name| value(name)).collect())
    }

    /// The names of what was not drawn.
    pub fn left(&self) -> Vec<&'static str> {
        self.0.iter().map(|(name, _)| *name).collect()
    }
}

/// Bookkeeping between a device and the relay. It is in no message, so it is not in the file.
const RELAY_TOKEN: &str = "relay token";

impl TryRng for ScriptedRng {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        panic!("only whole byte strings are drawn")
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        panic!("only whole byte strings are drawn")
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        let (name, value) = self.0.pop_front().unwrap_or_else(|| panic!("{} bytes too many are drawn", bytes.len()));
        assert_eq!(value.len(), bytes.len(), "{name}");
        bytes.copy_from_slice(&value);
        Ok(())
    }
}

impl TryCryptoRng for ScriptedRng {}

/// One device with its person, its store and its side of the relay.
pub struct Seat<'a> {
    pairing: &'a Pairing,
    role: Role,
    engine: Engine,
    /// What it draws.
    pub rng: ScriptedRng,
    /// Every payload that it sent.
    pub sent: Vec<Vec<u8>>,
    /// The code or QR code that it shows, as text.
    pub introduction: Option<String>,
    /// The digits that it shows.
    pub digits: Option<String>,
    /// What it stored, or on the new device of an unlock handed out.
    pub stored: Vec<ToStore>,
    /// How its run ended.
    pub outcome: Option<Result<Success, Failure>>,
    /// What it told the relay at the end.
    pub closed: Option<CloseReason>,
    /// What its person types if asked.
    pub typed: Option<String>,
    asked: VecDeque<Ask>,
    received: u32,
}

enum Ask {
    CheckCode,
    Approval,
    Prepare,
    Store(ToStore),
}

impl<'a> Seat<'a> {
    /// A device that has connected to the relay. A reader has read `introduction`.
    pub fn new(pairing: &'a Pairing, role: Role, introduction: Option<&str>) -> Self {
        let mut rng = ScriptedRng::new(pairing, role);
        let way = match (pairing.mode, introduction) {
            (Mode::Code, None) => Way::ShowCode,
            (Mode::Code, Some(code)) => Way::EnterCode(code.parse().unwrap()),
            (Mode::QrNew | Mode::QrTrusted, None) => Way::ShowQr(pairing.relay_hint.as_ref().map(|hint| {
                let hint: RelayHint = format!("{}://{}", hint.scheme, hint.authority).parse().unwrap();
                hint
            })),
            (Mode::QrNew | Mode::QrTrusted, Some(text)) => Way::ReadQr(QrPayload::parse(text, &[]).unwrap()),
        };
        let engine = match role {
            Role::Trusted => Engine::trusted(trusted_device(pairing), way, now(), &mut rng).unwrap(),
            Role::New => {
                Engine::new_device(new_device(pairing), request(&pairing.new.request), way, now(), &mut rng).unwrap()
            }
        };
        let mut seat = Self {
            pairing,
            role,
            engine,
            rng,
            sent: Vec::new(),
            introduction: None,
            digits: None,
            stored: Vec::new(),
            outcome: None,
            closed: None,
            typed: pairing.typed_check_code.clone(),
            asked: VecDeque::new(),
            received: 0,
        };
        seat.input(Input::Connected);
        seat
    }

    /// The relay delivers a payload of the peer.
    pub fn deliver(&mut self, payload: &[u8]) {
        if self.received == 0 && self.role == self.pairing.displayer() {
            self.frame(&RelayFrame::PeerJoined { network: Network::Same });
        }
        let data = Data { seq: self.received, ack: self.acknowledged(), flags: Flags::NONE, payload: payload.to_vec() };
        self.received += 1;
        self.frame(&RelayFrame::Data(data));
    }

    /// The person or the store does one thing that the device asked for, as in the file; `false` if it asked for nothing.
    pub fn answer(&mut self) -> bool {
        let input = match self.asked.pop_front() {
            None => return false,
            Some(Ask::CheckCode) => {
                let typed = self.typed.as_ref().expect("a check code to type").parse().unwrap();
                Input::Decision(Decision::CheckCode(typed))
            }
            Some(Ask::Approval) => Input::Decision(Decision::Approve),
            Some(Ask::Prepare) => Input::Prepared(Box::new(bundle(self.pairing))),
            Some(Ask::Store(what)) => {
                self.stored.push(what);
                Input::Stored
            }
        };
        self.input(input);
        true
    }

    fn input(&mut self, input: Input<'_>) {
        self.engine.handle(input, now(), &mut self.rng);
        while let Some(output) = self.engine.poll() {
            match output {
                Output::Send(frame) => self.relay(ClientFrame::decode(&frame).unwrap()),
                Output::Event(Event::ShowCode { code, .. }) => self.introduction = Some(code.reveal().to_string()),
                Output::Event(Event::ShowQr { qr, .. }) => self.introduction = Some(qr.to_uri().reveal().to_string()),
                Output::Event(Event::ShowCheckCode(code)) => self.digits = Some(code.reveal().replace(' ', "")),
                Output::Event(Event::AskCheckCode) => self.asked.push_back(Ask::CheckCode),
                Output::Event(Event::AskApproval(_)) => self.asked.push_back(Ask::Approval),
                Output::Prepare(_) => self.asked.push_back(Ask::Prepare),
                Output::Store(what) => self.asked.push_back(Ask::Store(what)),
                Output::Done(result) => {
                    self.asked.clear();
                    self.outcome = Some(result);
                }
                _ => {}
            }
        }
    }

    /// What the relay does with a frame of this device.
    fn relay(&mut self, frame: ClientFrame) {
        assert!(self.closed.is_none(), "nothing follows the close");
        match frame {
            ClientFrame::Allocate { .. } => {
                let nameplate = Nameplate::new(self.pairing.nameplate.expect("a nameplate")).unwrap();
                self.frame(&RelayFrame::Allocated { nameplate, mailbox: MailboxId([1; 16]), lifetime: LIFETIME });
            }
            ClientFrame::Open { mailbox, .. } => {
                assert_eq!(mailbox.0, self.pairing.values.get("mailbox_id"), "the mailbox that the QR code names");
                self.joined(mailbox);
            }
            ClientFrame::Claim { nameplate, .. } => {
                assert_eq!(Some(nameplate.number()), self.pairing.nameplate, "the mailbox that the code names");
                self.joined(MailboxId([1; 16]));
            }
            ClientFrame::Data(data) => {
                self.sent.push(data.payload);
                let ack = self.acknowledged();
                self.frame(&RelayFrame::Ack(Ack { ack, flags: Flags::NONE }));
            }
            ClientFrame::Ack(_) => {}
            ClientFrame::Close { reason } => self.closed = Some(reason),
            _ => panic!("no socket is lost here"),
        }
    }

    fn joined(&mut self, mailbox: MailboxId) {
        let (slot, peer) = if self.role == self.pairing.displayer() {
            (Slot::First, PeerState::Absent)
        } else {
            (Slot::Second, PeerState::Present)
        };
        let joined = Joined { mailbox, slot, received: 0, peer, network: Network::Same, lifetime: LIFETIME };
        self.frame(&RelayFrame::Joined(joined));
    }

    fn frame(&mut self, frame: &RelayFrame) {
        self.input(Input::Frame(&frame.encode()));
    }

    fn acknowledged(&self) -> u32 {
        u32::try_from(self.sent.len()).unwrap()
    }
}

/// Nothing here depends on time.
fn now() -> Time {
    Time::from_origin(Duration::ZERO)
}

const LIFETIME: Lifetime = Lifetime {
    remaining_ms: limits::MAILBOX_LIFETIME_MS,
    linger_ms: limits::MAILBOX_LINGER_MS,
    max_ms: limits::MAILBOX_MAX_LIFETIME_MS,
};

/// The trusted device's bundle, as its store keeps and opens it.
pub fn bundle(pairing: &Pairing) -> CredentialBundle {
    let key = &pairing.trusted.device_key;
    let account = account(pairing);
    let sealed = bundle_at_rest(&key.0, &account.id.0, &[0; 24], &pairing.trusted.bundle.0);
    CredentialBundle::open(&sealed, &account.id, &DeviceKey::from_secret(Secret::new(key.array()))).unwrap()
}

/// How a run ended, by the name that the specification gives it.
pub fn outcome_name(outcome: &Result<Success, Failure>) -> String {
    let variant = match outcome {
        Ok(success) => format!("{success:?}"),
        Err(failure) => format!("{failure:?}"),
    };
    let name = variant.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default();
    let mut snake = String::new();
    for c in name.chars() {
        if c.is_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.push(c.to_ascii_lowercase());
    }
    snake
}

fn account(pairing: &Pairing) -> Account {
    Genesis::decode(&pairing.trusted.genesis.0).unwrap().account()
}

fn trusted_device(pairing: &Pairing) -> TrustedDevice {
    let trusted = &pairing.trusted;
    TrustedDevice {
        key: DeviceKey::from_secret(Secret::new(trusted.device_key.array())),
        info: info(&trusted.name, &trusted.platform),
        account: account(pairing),
        known: trusted.known.iter().map(|known| IdentityPublicKey::from_bytes(&known.array()).unwrap()).collect(),
    }
}

fn new_device(pairing: &Pairing) -> NewDevice {
    let new = &pairing.new;
    let enrolled = new.recorded.as_ref().map(|recorded| {
        let identities = recorded.identities.iter();
        let identities = identities.map(|known| IdentityPublicKey::from_bytes(&known.array()).unwrap());
        (handfast_protocol::device::AccountId(recorded.account_id.array()), identities.collect())
    });
    NewDevice {
        key: DeviceKey::from_secret(Secret::new(new.device_key.array())),
        info: info(&new.name, &new.platform),
        enrolled,
    }
}

fn request(request: &Request) -> handfast_protocol::Request {
    match request {
        Request::Bundle(_) => handfast_protocol::Request::Bundle,
        Request::Items(items) => {
            let entries = items.entries.iter().map(|name| EntryName::new(name).unwrap()).collect();
            handfast_protocol::Request::items(items.unlock_key, entries).unwrap()
        }
    }
}

fn info(name: &str, platform: &str) -> DeviceInfo {
    DeviceInfo { name: DeviceName::new(name).unwrap(), platform: Platform::new(platform).unwrap() }
}
