//! Engines against peers that know every secret they should and then do not follow the protocol.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod hostile_new;
mod hostile_trusted;

use super::*;
use crate::crypto::test_support::seeded_rng;
use crate::device::{AccountId, EnrolledDevice};
use crate::device::{DeviceInfo, DeviceKey, Genesis};
use crate::pairing::Kind;
use crate::pairing::Purpose;
use crate::pairing::check_code::CheckCode;
use crate::pairing::code::VerificationCode;
use crate::pairing::handshake::Introduction;
use crate::pairing::qr::QrPayload;
use crate::secret::{Secret, SecretBytes};
use crate::text::AccountLabel;
use crate::text::{DeviceName, EntryName, Platform};
use alloc::format;
use alloc::vec;
use alloc::vec::Vec;
use handfast_wire::{ClientFrame, Data, Flags, Joined, Lifetime, MailboxId, PeerState, RelayFrame};
use rand::rngs::ChaCha12Rng;

/// The engine under test, spoken to frame by frame.
struct Subject {
    engine: Engine,
    rng: ChaCha12Rng,
    /// How many payloads it was given.
    given: u32,
    payloads: VecDeque<Vec<u8>>,
    events: Vec<Event>,
    stored: Vec<ToStore>,
    prepared: Vec<Option<Box<EnrolledDevice>>>,
    outcome: Option<Result<Success, Failure>>,
}

impl Subject {
    /// Connected and in the mailbox, in the slot of its role.
    fn start(engine: Engine, rng: ChaCha12Rng, displays: bool) -> Self {
        let mut subject = Self {
            engine,
            rng,
            given: 0,
            payloads: VecDeque::new(),
            events: Vec::new(),
            stored: Vec::new(),
            prepared: Vec::new(),
            outcome: None,
        };
        let lifetime = Lifetime { remaining_ms: 600_000, linger_ms: 120_000, max_ms: 900_000 };
        let first = subject.input(Input::Connected).remove(0);
        let answer = match ClientFrame::decode(&first).unwrap() {
            ClientFrame::Allocate { .. } => {
                let nameplate = Nameplate::new(4711).unwrap();
                RelayFrame::Allocated { nameplate, mailbox: MailboxId([9; 16]), lifetime }
            }
            frame => {
                let mailbox = match frame {
                    ClientFrame::Open { mailbox, .. } => mailbox,
                    _ => MailboxId([9; 16]),
                };
                RelayFrame::Joined(Joined {
                    mailbox,
                    slot: if displays { Slot::First } else { Slot::Second },
                    received: 0,
                    peer: PeerState::Present,
                    network: Network::Same,
                    lifetime,
                })
            }
        };
        subject.input(Input::Frame(&answer.encode()));
        subject
    }

    /// Gives the frames that are not data.
    fn input(&mut self, input: Input<'_>) -> Vec<Vec<u8>> {
        let now = Time::from_origin(core::time::Duration::ZERO);
        self.engine.handle(input, now, &mut self.rng);
        let mut frames = Vec::new();
        while let Some(output) = self.engine.poll() {
            match output {
                Output::Send(frame) => match ClientFrame::decode(&frame).unwrap() {
                    ClientFrame::Data(data) => self.payloads.push_back(data.payload),
                    _ => frames.push(frame),
                },
                Output::Event(event) => self.events.push(event),
                Output::Store(what) => self.stored.push(what),
                Output::Prepare(record) => self.prepared.push(record),
                Output::WakeAt(_) => {}
                Output::Done(result) => self.outcome = Some(result),
            }
        }
        frames
    }

    /// The peer's next payload.
    fn give(&mut self, payload: Vec<u8>) {
        let data = Data { seq: self.given, ack: 0, flags: Flags::NONE, payload };
        self.given += 1;
        self.input(Input::Frame(&RelayFrame::Data(data).encode()));
    }

    fn decide(&mut self, decision: Decision) {
        self.input(Input::Decision(decision));
    }

    /// What it sent, oldest first.
    fn take(&mut self) -> Vec<u8> {
        self.payloads.pop_front().expect("it sent something")
    }

    fn saw(&self, name: &str) -> bool {
        self.events.iter().any(|event| format!("{event:?}").starts_with(name))
    }

    fn failure(&self) -> &Failure {
        match &self.outcome {
            Some(Err(failure)) => failure,
            other => panic!("{other:?} is no failure"),
        }
    }

    /// The introduction that it shows, its hash in a QR code, and what comes of it for a peer.
    fn shown(&self) -> (Introduction, Option<[u8; 32]>) {
        let shown = self.events.iter().find_map(|event| match event {
            Event::ShowCode { code, .. } => Some((Introduction::Code(code.clone()), None)),
            Event::ShowQr { qr, .. } => Some((Introduction::Qr(qr.psk.clone()), Some(qr.offer_hash))),
            _ => None,
        });
        shown.expect("it shows something")
    }

    fn shown_digits(&self) -> CheckCode {
        let shown = self.events.iter().find_map(|event| match event {
            Event::ShowCheckCode(code) => Some(code.clone()),
            _ => None,
        });
        shown.expect("it shows a check code")
    }
}

const CODE: Kind = Kind { mode: Mode::Code, purpose: Purpose::Enroll };
const QR_NEW: Kind = Kind { mode: Mode::QrNew, purpose: Purpose::Enroll };
const QR_UNLOCK: Kind = Kind { mode: Mode::QrNew, purpose: Purpose::Unlock };
const QR_TRUSTED: Kind = Kind { mode: Mode::QrTrusted, purpose: Purpose::Enroll };

fn info(name: &str) -> DeviceInfo {
    DeviceInfo { name: DeviceName::new(name).unwrap(), platform: Platform::new("test").unwrap() }
}

fn entry(name: &str) -> EntryName {
    EntryName::new(name).unwrap()
}

/// A trusted device of an account that it made, and the account's bundle.
fn trusted_device(seed: u64) -> (TrustedDevice, CredentialBundle) {
    let rng = &mut seeded_rng(seed);
    let key = DeviceKey::generate(rng);
    let label = AccountLabel::new("someone").unwrap();
    let account = Genesis::sign(label.clone(), &key, rng).account();
    let sign_in = SecretBytes::new(b"sign-in".to_vec());
    let mut bundle = CredentialBundle::new(account.id, label, Secret::random(rng), sign_in);
    bundle.set(entry("a"), SecretBytes::new(b"value of a".to_vec())).unwrap();
    bundle.set(entry("b"), SecretBytes::new(b"value of b".to_vec())).unwrap();
    (TrustedDevice { key, info: info("phone"), account, known: Vec::new() }, bundle)
}

fn items(unlock_key: bool, names: &[&str]) -> Request {
    Request::items(unlock_key, names.iter().map(|name| entry(name)).collect()).unwrap()
}

/// An offer for the subject to read: a QR code's, or a code's.
fn shown_to_subject(kind: Kind, rng: &mut ChaCha12Rng) -> (crate::pairing::handshake::Displayed, Way) {
    use crate::pairing::handshake::display;
    use crate::pairing::qr::QrKind;
    let qr_kind = match (kind.mode, kind.purpose) {
        (Mode::Code, _) => {
            let code = VerificationCode::generate(Nameplate::new(4711).unwrap(), rng);
            let shown = display(kind, Introduction::Code(code.clone()), rng).unwrap();
            return (shown, Way::EnterCode(code));
        }
        (Mode::QrNew, Purpose::Enroll) => QrKind::NewEnroll,
        (Mode::QrNew, Purpose::Unlock) => QrKind::NewUnlock,
        (Mode::QrTrusted, _) => QrKind::TrustedEnroll,
    };
    let psk: Secret<32> = Secret::random(rng);
    let shown = display(kind, Introduction::Qr(psk.clone()), rng).unwrap();
    let qr = QrPayload { kind: qr_kind, psk, offer_hash: shown.offer_hash, relay_hint: None };
    (shown, Way::ReadQr(qr))
}
