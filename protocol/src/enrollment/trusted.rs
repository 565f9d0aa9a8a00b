//! The trusted device's side of a run. Its mirror is `new_device.rs`.

use super::meeting::{self, Meeting, Met};
use super::release::{GrantStatement, Release, ReleaseError, release, sign_statement};
use super::{Approval, Cx, Decision, Event, Failure, Output, Step, Stop, Success, ToStore, Way, WrongWay};
use super::{abort_or_misbehaviour, end};
use crate::bundle::CredentialBundle;
use crate::channel::Channel;
use crate::crypto::{CryptoError, identity, kdf};
use crate::device::{Account, DeviceInfo, DeviceKey, EnrolledDevice, IdentityPublicKey};
use crate::labels;
use crate::mailbox::Mailbox;
use crate::message::{
    AbortReason, Envelope, Extensions, MessageKind, NewHello, Request, TrustedHello, pad_hello, unpad_hello,
};
use crate::pairing::check_code::{CheckCode, CheckCodeError};
use crate::pairing::handshake::{AcceptDue, ReplyDue};
use crate::pairing::proof::{ApprovalQuestion, Approved, Authenticated, DifferentNetworkQuestion, Yes};
use crate::pairing::qr::QrKind;
use crate::pairing::{Kind, Mode, Purpose};
use crate::secret::{Secret, SecretBytes};
use crate::text::ClaimedText;
use alloc::boxed::Box;
use alloc::vec::Vec;
use rand_core::CryptoRng;

/// What a run on a trusted device starts from.
#[derive(Clone, Debug)]
pub struct TrustedDevice {
    /// This device's key.
    pub key: DeviceKey,
    /// What this device calls itself.
    pub info: DeviceInfo,
    /// The account.
    pub account: Account,
    /// The identities that this device has recorded: confirmed devices that it let in, and the one that let it in.
    pub known: Vec<IdentityPublicKey>,
}

pub(super) struct Trusted {
    device: TrustedDevice,
    kind: Kind,
    /// `qr-new`: the number behind the commitment in this device's hello.
    opening: Option<Secret<32>>,
    state: State,
}

/// What is awaited. Each state holds what the next one needs and nothing else.
enum State {
    Meeting(Meeting),
    /// `qr-trusted`: the digits that the person reads on the new device.
    AwaitTyped {
        peer: Box<Peer>,
        expected: CheckCode,
    },
    /// `qr-new`: M2c, the digits that the person typed on the new device.
    AwaitCheckCode {
        peer: Box<Peer>,
        expected: CheckCode,
    },
    /// The person's approval.
    AwaitApproval {
        peer: Box<Peer>,
        authenticated: Authenticated,
        question: ApprovalQuestion,
    },
    /// The person's second yes: the relay says that the networks differ.
    AwaitDifferentNetwork {
        peer: Box<Peer>,
        authenticated: Authenticated,
        question: DifferentNetworkQuestion,
    },
    /// The bundle, and the record of a device that may soon hold it.
    AwaitBundle {
        peer: Box<Peer>,
        authenticated: Authenticated,
        approved: Approved,
        statement: GrantStatement,
    },
    /// M4. From here on the new device may hold the bundle.
    AwaitReceipt {
        peer: Box<Peer>,
        statement: GrantStatement,
    },
    /// The record of the confirmed device.
    AwaitStored,
    Ended,
}

/// The new device behind a confirmed channel.
struct Peer {
    channel: Channel,
    hello: NewHello,
}

impl Trusted {
    pub(super) fn start(
        device: TrustedDevice,
        way: Way,
        rng: &mut dyn CryptoRng,
    ) -> Result<(Self, Mode, Mailbox), WrongWay> {
        match &way {
            Way::EnterCode(_) => return Err(WrongWay),
            Way::ReadQr(qr) if qr.kind == QrKind::TrustedEnroll => return Err(WrongWay),
            _ => {}
        }
        let (meeting, kind, mailbox) = meeting::start(way, Purpose::Enroll, QrKind::TrustedEnroll, rng)?;
        let opening = (kind.mode == Mode::QrNew).then(|| Secret::random(rng));
        Ok((Self { device, kind, opening, state: State::Meeting(meeting) }, kind.mode, mailbox))
    }

    pub(super) fn success(&self) -> Success {
        match self.kind.purpose {
            Purpose::Enroll => Success::Enrolled,
            Purpose::Unlock => Success::Unlocked,
        }
    }

    /// Whether the peer could say why it ends the run.
    pub(super) fn has_channel(&self) -> bool {
        !matches!(self.state, State::Meeting(_))
    }

    pub(super) fn step(&mut self, step: Step<'_>, cx: &mut Cx, rng: &mut dyn CryptoRng) -> Result<(), Stop> {
        let state = core::mem::replace(&mut self.state, State::Ended);
        self.state = match (state, step) {
            (state, Step::Lost(failure)) => return self.lost(state, failure),
            (state, Step::Decision(Decision::Cancel)) => return self.lost(state, Failure::Cancelled),
            (State::Meeting(meeting), Step::Ready { nameplate, slot }) => {
                State::Meeting(meeting.ready(nameplate, slot, cx, rng)?)
            }
            (State::Meeting(meeting), Step::Payload(payload)) => match meeting.payload(payload)? {
                Met::Offered(accept) => self.accept(accept, cx, rng)?,
                Met::Accepted { hello, bound_to, reply } => self.reply(&hello, &bound_to, reply, cx)?,
                Met::Replied { hello, bound_to, channel } => {
                    let hello = match self.verify(&hello, &bound_to) {
                        Some(hello) => hello,
                        None => return Err(Stop::telling(channel, AbortReason::Protocol, Failure::PeerMisbehaved)),
                    };
                    cx.mailbox.settle();
                    self.met(Box::new(Peer { channel, hello }), cx)?
                }
            },
            (State::AwaitTyped { peer, expected }, Step::Decision(Decision::CheckCode(typed))) => {
                self.checked(peer, &expected, &typed, cx)?
            }
            (State::AwaitCheckCode { mut peer, expected }, Step::Payload(payload)) => match peer.typed_code(payload) {
                Ok(typed) => self.checked(peer, &expected, &typed, cx)?,
                Err(failure) => return Err(peer.end(failure)),
            },
            (State::AwaitApproval { peer, authenticated, question }, Step::Decision(Decision::Approve)) => {
                match question.yes() {
                    Yes::AskDifferentNetwork(question) => {
                        cx.tell(Event::AskDifferentNetwork);
                        State::AwaitDifferentNetwork { peer, authenticated, question }
                    }
                    Yes::Approved(approved) => self.approved(peer, authenticated, approved, cx),
                }
            }
            (
                State::AwaitDifferentNetwork { peer, authenticated, question },
                Step::Decision(Decision::ApproveDifferentNetwork),
            ) => self.approved(peer, authenticated, question.yes(), cx),
            (
                State::AwaitApproval { peer, .. } | State::AwaitDifferentNetwork { peer, .. },
                Step::Decision(Decision::Refuse),
            ) => return Err(peer.end(Failure::RefusedHere)),
            (State::AwaitBundle { peer, authenticated, approved, statement }, Step::Prepared(bundle)) => {
                self.release(peer, authenticated, approved, statement, *bundle, cx, rng)?
            }
            (State::AwaitBundle { peer, .. }, Step::StoreFailed) => {
                return Err(Stop::telling(peer.channel, AbortReason::Internal, Failure::StoreFailed));
            }
            (State::AwaitReceipt { peer, statement }, Step::Payload(payload)) => {
                self.receipt(peer, statement, payload, cx)?
            }
            (State::AwaitStored, Step::Stored | Step::StoreFailed) => {
                return Err(Stop { result: Ok(self.success()), farewell: None });
            }
            // While the person is asked, the only thing the peer may say is that it gives up.
            (
                State::AwaitTyped { peer, .. }
                | State::AwaitApproval { peer, .. }
                | State::AwaitDifferentNetwork { peer, .. }
                | State::AwaitBundle { peer, .. },
                Step::Payload(payload),
            ) => return Err(peer.unexpected(payload)),
            (state, _) => state,
        };
        Ok(())
    }

    /// Reader (`qr-new`): sends M1 with this device's hello.
    fn accept(&mut self, accept: Box<AcceptDue>, cx: &mut Cx, rng: &mut dyn CryptoRng) -> Result<State, Stop> {
        let hello = self.hello(&accept.transcript())?;
        let (payload, next) = accept.accept(&hello, rng).map_err(|_| Stop::silently(Failure::PeerMisbehaved))?;
        cx.mailbox.send(payload);
        Ok(State::Meeting(Meeting::AwaitReply(Box::new(next))))
    }

    /// Displayer (`code`, `qr-trusted`): M1 opened; sends M2 with this device's hello.
    fn reply(&mut self, hello: &SecretBytes, bound_to: &[u8; 32], reply: ReplyDue, cx: &mut Cx) -> Result<State, Stop> {
        let Some(peer_hello) = self.verify(hello, bound_to) else {
            return Err(Stop::silently(Failure::PeerMisbehaved));
        };
        let own_hello = self.hello(&reply.transcript())?;
        let (payload, channel) = reply.reply(&own_hello)?;
        cx.mailbox.settle();
        cx.mailbox.send(payload);
        self.met(Box::new(Peer { channel, hello: peer_hello }), cx)
    }

    /// The channel is confirmed: on to the check code, or straight to the approval.
    fn met(&self, mut peer: Box<Peer>, cx: &mut Cx) -> Result<State, Stop> {
        if let Some(authenticated) = Authenticated::by_code(self.kind, &peer.channel) {
            return self.ask_approval(peer, authenticated, cx);
        }
        if let Some(authenticated) =
            Authenticated::by_pins(self.kind, &peer.hello.identity, &self.device.known, peer.hello.knows_peer)
        {
            return self.ask_approval(peer, authenticated, cx);
        }
        let expected = match CheckCode::derive(&peer.channel, self.opening.as_ref()) {
            Ok(expected) => expected,
            Err(CryptoError) => return Err(peer.end(Failure::Internal)),
        };
        if self.kind.mode == Mode::QrTrusted {
            cx.tell(Event::AskCheckCode);
            return Ok(State::AwaitTyped { peer, expected });
        }
        if peer.hello.knows_peer {
            // The new device would skip the check code, but this one does not know it.
            match peer.channel.seal(MessageKind::CheckRequest, &[]) {
                Ok(payload) => cx.mailbox.send(payload),
                Err(CryptoError) => return Err(peer.end(Failure::Internal)),
            }
        }
        cx.tell(Event::ShowCheckCode(expected.clone()));
        Ok(State::AwaitCheckCode { peer, expected })
    }

    fn checked(&self, peer: Box<Peer>, expected: &CheckCode, typed: &CheckCode, cx: &mut Cx) -> Result<State, Stop> {
        match Authenticated::by_check_code(expected, typed) {
            Some(authenticated) => self.ask_approval(peer, authenticated, cx),
            None => Err(peer.end(Failure::WrongCheckCode)),
        }
    }

    fn ask_approval(&self, peer: Box<Peer>, authenticated: Authenticated, cx: &mut Cx) -> Result<State, Stop> {
        let request = peer.hello.request.clone();
        let recorded = self.device.known.contains(&peer.hello.identity);
        let wants_unlock_key = matches!(request, Request::Items { unlock_key: true, .. });
        if wants_unlock_key && !recorded {
            return Err(peer.end(Failure::NotRecorded));
        }
        cx.tell(Event::AskApproval(Approval {
            purpose: self.kind.purpose,
            request: request.clone(),
            identity: peer.hello.identity,
            name: peer.hello.name.cleaned(),
            platform: peer.hello.platform.cleaned(),
            network: cx.network,
            authenticated_by: authenticated.by(),
            recorded,
        }));
        let question = ApprovalQuestion::new(request, cx.network);
        Ok(State::AwaitApproval { peer, authenticated, question })
    }

    fn approved(&self, peer: Box<Peer>, authenticated: Authenticated, approved: Approved, cx: &mut Cx) -> State {
        let statement =
            sign_statement(&self.device.key, self.kind, &self.device.account.id, &peer.hello, &peer.channel);
        let record = match self.kind.purpose {
            Purpose::Enroll => Some(Box::new(record(&peer, &statement, false))),
            Purpose::Unlock => None,
        };
        cx.outputs.push_back(Output::Prepare(record));
        State::AwaitBundle { peer, authenticated, approved, statement }
    }

    #[expect(clippy::too_many_arguments, reason = "the proof tokens stay visible one by one")]
    fn release(
        &self,
        mut peer: Box<Peer>,
        authenticated: Authenticated,
        approved: Approved,
        statement: GrantStatement,
        bundle: CredentialBundle,
        cx: &mut Cx,
        rng: &mut dyn CryptoRng,
    ) -> Result<State, Stop> {
        let what = Release {
            kind: self.kind,
            account: &self.device.account,
            to: &peer.hello,
            statement: &statement,
            opening: self.opening.as_ref(),
            bundle,
        };
        match release(what, &mut peer.channel, authenticated, approved, rng) {
            Ok(payloads) => {
                for payload in payloads {
                    cx.mailbox.send(payload);
                }
                cx.tell(Event::GrantSent);
                Ok(State::AwaitReceipt { peer, statement })
            }
            Err(ReleaseError::WrongBundle) => Err(peer.end(Failure::WrongBundle)),
            Err(ReleaseError::NoSuchEntry) => Err(peer.end(Failure::NoSuchEntry)),
            Err(ReleaseError::Crypto) => Err(peer.end(Failure::Internal)),
        }
    }

    fn receipt(
        &self,
        mut peer: Box<Peer>,
        statement: GrantStatement,
        payload: &[u8],
        cx: &mut Cx,
    ) -> Result<State, Stop> {
        match peer.open_receipt(payload, &self.device.account) {
            Ok(()) => {}
            // The one report that is better than not knowing: the device itself says that it has not stored.
            Err(Failure::PeerDidNotStore) => return Err(Stop::silently(Failure::PeerDidNotStore)),
            Err(cause) => return Err(peer.unknown(cause)),
        }
        if self.kind.purpose == Purpose::Unlock {
            return Err(Stop { result: Ok(Success::Unlocked), farewell: None });
        }
        // The new device waits for this, and has no use for waiting until the record is on disk.
        cx.mailbox.acknowledge_now();
        let record = record(&peer, &statement, true);
        cx.outputs.push_back(Output::Store(ToStore::Confirmed(Box::new(record))));
        Ok(State::AwaitStored)
    }

    fn lost(&self, state: State, failure: Failure) -> Result<(), Stop> {
        Err(match state {
            State::AwaitReceipt { peer, .. } => peer.unknown(failure),
            State::AwaitStored => Stop { result: Ok(self.success()), farewell: None },
            State::AwaitTyped { peer, .. }
            | State::AwaitCheckCode { peer, .. }
            | State::AwaitApproval { peer, .. }
            | State::AwaitDifferentNetwork { peer, .. }
            | State::AwaitBundle { peer, .. } => peer.end(failure),
            State::Meeting(_) | State::Ended => Stop::silently(failure),
        })
    }

    /// The peer's hello, if its signature holds and it fits this run.
    fn verify(&self, padded: &SecretBytes, bound_to: &[u8; 32]) -> Option<NewHello> {
        let hello = NewHello::decode(unpad_hello(padded.expose()).ok()?).ok()?;
        identity::verify(&hello.identity, labels::SIGN_HELLO_NEW, &[bound_to, &hello.signed_part()], &hello.signature)
            .ok()?;
        let fits = match self.kind.purpose {
            Purpose::Enroll => hello.request == Request::Bundle && !hello.knows_peer,
            Purpose::Unlock => hello.request != Request::Bundle,
        };
        fits.then_some(hello)
    }

    fn hello(&self, bound_to: &[u8; 32]) -> Result<SecretBytes, CryptoError> {
        let device = &self.device;
        let commitment =
            self.opening.as_ref().map(|opening| kdf::sha256(&[labels::CHECK_COMMITMENT, opening.expose()]));
        let mut hello = TrustedHello {
            account_id: device.account.id,
            account_label: device.account.label.clone(),
            name: ClaimedText::new(device.info.name.as_str()),
            identity: device.key.identity(),
            commitment,
            extensions: Extensions::default(),
            signature: [0; 64],
        };
        hello.signature = device.key.signing_key().sign(labels::SIGN_HELLO_TRUSTED, &[bound_to, &hello.signed_part()]);
        pad_hello(&hello.encode()).ok_or(CryptoError)
    }
}

impl Peer {
    fn end(self: Box<Self>, failure: Failure) -> Stop {
        end(self.channel, failure)
    }

    /// The grant was sent and no receipt will come.
    fn unknown(self: Box<Self>, cause: Failure) -> Stop {
        let failure = Failure::Unknown {
            device: self.hello.name.cleaned(),
            identity: Box::new(self.hello.identity),
            cause: Box::new(cause),
        };
        self.end(failure)
    }

    /// A message that is not due: an abort, or misbehaviour.
    fn unexpected(mut self: Box<Self>, payload: &[u8]) -> Stop {
        let failure = abort_or_misbehaviour(&mut self.channel, payload);
        self.end(failure)
    }

    /// M2c.
    fn typed_code(&mut self, payload: &[u8]) -> Result<CheckCode, Failure> {
        let Ok(Envelope { kind: MessageKind::CheckCode, body }) = Envelope::decode(payload) else {
            return Err(abort_or_misbehaviour(&mut self.channel, payload));
        };
        let digits = self.channel.open(MessageKind::CheckCode, body).map_err(|CryptoError| Failure::PeerMisbehaved)?;
        CheckCode::from_digits(digits.expose()).map_err(|CheckCodeError| Failure::PeerMisbehaved)
    }

    /// M4: the new device's signature over the account and the transcript through the grant.
    fn open_receipt(&mut self, payload: &[u8], account: &Account) -> Result<(), Failure> {
        let Ok(Envelope { kind: MessageKind::Receipt, body }) = Envelope::decode(payload) else {
            return Err(abort_or_misbehaviour(&mut self.channel, payload));
        };
        let through_grant = *self.channel.transcript();
        let receipt = self.channel.open(MessageKind::Receipt, body).map_err(|CryptoError| Failure::PeerMisbehaved)?;
        let signature: &[u8; 64] = receipt.expose().try_into().map_err(|_| Failure::PeerMisbehaved)?;
        identity::verify(&self.hello.identity, labels::SIGN_RECEIPT, &[&account.id.0, &through_grant], signature)
            .map_err(|CryptoError| Failure::PeerMisbehaved)
    }
}

fn record(peer: &Peer, statement: &GrantStatement, confirmed: bool) -> EnrolledDevice {
    EnrolledDevice {
        identity: peer.hello.identity,
        wrapping_key: peer.hello.wrapping.as_bytes().to_vec(),
        name: peer.hello.name.cleaned(),
        platform: peer.hello.platform.cleaned(),
        grant_signature: statement.signature,
        transcript: statement.transcript,
        confirmed,
    }
}
