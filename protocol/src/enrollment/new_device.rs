//! The new device's side of a run. Its mirror is `trusted.rs`.

use super::meeting::{self, Meeting, Met};
use super::receive::{BundleKey, GrantReceiver};
use super::release::{GrantStatement, verify_statement};
use super::{
    Cx, Decision, Event, Failure, NewEnrollment, Output, RECEIPT_LINGER_MS, Step, Stop, Success, ToStore, Way,
    WrongWay, abort_or_misbehaviour, end,
};
use crate::channel::Channel;
use crate::crypto::hpke::KemPublicKey;
use crate::crypto::{CryptoError, identity, kdf};
use crate::device::{AccountId, DeviceInfo, DeviceKey, Enroller, Genesis, IdentityPublicKey};
use crate::labels;
use crate::mailbox::Mailbox;
use crate::message::{
    AbortReason, Envelope, Extensions, Grant, GrantContent, MessageKind, NewHello, Request, TrustedHello, pad_hello,
    unpad_hello,
};
use crate::pairing::check_code::CheckCode;
use crate::pairing::handshake::{AcceptDue, ReplyDue};
use crate::pairing::qr::QrKind;
use crate::pairing::{Kind, Mode, Purpose};
use crate::secret::{Secret, SecretBytes};
use crate::text::ClaimedText;
use alloc::boxed::Box;
use alloc::vec::Vec;
use rand_core::CryptoRng;
use subtle::ConstantTimeEq;

/// What a run on a new device starts from.
#[derive(Clone, Debug)]
pub struct NewDevice {
    /// This device's key: freshly made to enroll, or for an unlock by a device that is not enrolled.
    pub key: DeviceKey,
    /// What this device calls itself.
    pub info: DeviceInfo,
    /// For an unlock by an enrolled device: its account and the identities that it has recorded.
    pub enrolled: Option<(AccountId, Vec<IdentityPublicKey>)>,
}

pub(super) struct New {
    device: NewDevice,
    kind: Kind,
    request: Request,
    /// Until the hello is made.
    bundle_key: Option<BundleKey>,
    wrapping: KemPublicKey,
    state: State,
}

/// What is awaited.
enum State {
    Meeting(Meeting),
    /// `qr-new`: the digits that the person reads on the trusted device.
    AwaitTyped(Box<Peer>),
    /// M3; in `qr-new` with what was typed, unless both sides know each other.
    AwaitGrant {
        peer: Box<Peer>,
        typed: Option<CheckCode>,
    },
    /// Durable storage of what was granted.
    AwaitStored(Box<Peer>),
    /// Word that the receipt arrived. Everything that matters is done.
    AwaitSeen,
    Ended,
}

/// The trusted device behind a confirmed channel.
struct Peer {
    channel: Channel,
    hello: TrustedHello,
    /// Both sides have recorded each other, as far as this one can tell.
    pinned: bool,
    grant: GrantReceiver,
}

impl New {
    pub(super) fn start(
        device: NewDevice,
        request: Request,
        way: Way,
        rng: &mut dyn CryptoRng,
    ) -> Result<(Self, Mode, Mailbox), WrongWay> {
        let (purpose, shown_qr) = match &request {
            Request::Bundle => (Purpose::Enroll, QrKind::NewEnroll),
            Request::Items { .. } => (Purpose::Unlock, QrKind::NewUnlock),
        };
        request.check().map_err(|_| WrongWay)?;
        match &way {
            Way::ShowCode => return Err(WrongWay),
            Way::ReadQr(qr) if qr.kind != QrKind::TrustedEnroll || purpose != Purpose::Enroll => return Err(WrongWay),
            _ => {}
        }
        let (meeting, kind, mailbox) = meeting::start(way, purpose, shown_qr, rng)?;
        let bundle_key = Some(BundleKey::generate(rng));
        let wrapping = device.key.wrapping_public_key();
        let new = Self { device, kind, request, bundle_key, wrapping, state: State::Meeting(meeting) };
        Ok((new, kind.mode, mailbox))
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
            (State::AwaitSeen, Step::Lost(_) | Step::Acknowledged | Step::Decision(Decision::Cancel)) => {
                return Err(Stop { result: Ok(self.success()), farewell: None });
            }
            // The bundle may be on this device already: only the store can say how this ends.
            (stored @ State::AwaitStored(_), Step::Lost(_) | Step::Decision(Decision::Cancel)) => stored,
            (state, Step::Lost(failure)) => return Err(lost(state, failure)),
            (state, Step::Decision(Decision::Cancel)) => return Err(lost(state, Failure::Cancelled)),
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
                    let key = self.bundle_key.take().ok_or(CryptoError)?;
                    self.met(Box::new(Peer { channel, hello, pinned: false, grant: GrantReceiver::new(key) }), cx)?
                }
            },
            (State::AwaitTyped(peer), Step::Decision(Decision::CheckCode(typed))) => send_typed(peer, typed, cx)?,
            (State::AwaitTyped(mut peer), Step::Payload(payload)) => {
                let failure = abort_or_misbehaviour(&mut peer.channel, payload);
                return Err(end(peer.channel, failure));
            }
            (State::AwaitGrant { peer, typed }, Step::Payload(payload)) => self.grant(peer, typed, payload, cx)?,
            (State::AwaitStored(peer), Step::Stored) => self.stored(peer, cx)?,
            (State::AwaitStored(peer), Step::StoreFailed) => return Err(end(peer.channel, Failure::StoreFailed)),
            (state, _) => state,
        };
        Ok(())
    }

    /// Reader (`code`, `qr-trusted`): sends M1 with this device's hello.
    fn accept(&mut self, accept: Box<AcceptDue>, cx: &mut Cx, rng: &mut dyn CryptoRng) -> Result<State, Stop> {
        let hello = self.hello(&accept.transcript(), false)?;
        let (payload, next) = accept.accept(&hello, rng).map_err(|_| Stop::silently(Failure::PeerMisbehaved))?;
        cx.mailbox.send(payload);
        Ok(State::Meeting(Meeting::AwaitReply(Box::new(next))))
    }

    /// Displayer (`qr-new`): M1 opened; sends M2 with this device's hello.
    fn reply(&mut self, hello: &SecretBytes, bound_to: &[u8; 32], reply: ReplyDue, cx: &mut Cx) -> Result<State, Stop> {
        let Some(peer_hello) = self.verify(hello, bound_to) else {
            return Err(Stop::silently(Failure::PeerMisbehaved));
        };
        if self.device.enrolled.as_ref().is_some_and(|(account, _)| *account != peer_hello.account_id) {
            return Err(Stop::silently(Failure::OtherAccount));
        }
        let pinned = self.kind.purpose == Purpose::Unlock && self.knows(&peer_hello);
        let own_hello = self.hello(&reply.transcript(), pinned)?;
        let (payload, channel) = reply.reply(&own_hello)?;
        cx.mailbox.settle();
        cx.mailbox.send(payload);
        let key = self.bundle_key.take().ok_or(CryptoError)?;
        self.met(Box::new(Peer { channel, hello: peer_hello, pinned, grant: GrantReceiver::new(key) }), cx)
    }

    /// The channel is confirmed: say whose account this is, and on to the check code or the grant.
    fn met(&self, peer: Box<Peer>, cx: &mut Cx) -> Result<State, Stop> {
        cx.tell(Event::Account {
            label: peer.hello.account_label.clone(),
            id: peer.hello.account_id,
            trusted_name: peer.hello.name.cleaned(),
            trusted_identity: peer.hello.identity,
            own_identity: self.device.key.identity(),
        });
        match self.kind.mode {
            Mode::Code => {}
            Mode::QrTrusted => match CheckCode::derive(&peer.channel, None) {
                Ok(code) => cx.tell(Event::ShowCheckCode(code)),
                Err(CryptoError) => return Err(end(peer.channel, Failure::Internal)),
            },
            Mode::QrNew if peer.pinned => {}
            Mode::QrNew => {
                cx.tell(Event::AskCheckCode);
                return Ok(State::AwaitTyped(peer));
            }
        }
        Ok(State::AwaitGrant { peer, typed: None })
    }

    fn grant(&self, mut peer: Box<Peer>, typed: Option<CheckCode>, payload: &[u8], cx: &mut Cx) -> Result<State, Stop> {
        match Envelope::decode(payload) {
            Ok(Envelope { kind: MessageKind::GrantChunk, body }) => {
                match peer.grant.chunk(body, self.kind, &mut peer.channel) {
                    Ok(None) => Ok(State::AwaitGrant { peer, typed }),
                    Ok(Some((grant, transcript))) => match self.check(&peer, typed.as_ref(), grant, transcript) {
                        Some(to_store) => {
                            cx.outputs.push_back(Output::Store(to_store));
                            Ok(State::AwaitStored(peer))
                        }
                        None => Err(end(peer.channel, Failure::PeerMisbehaved)),
                    },
                    Err(_) => Err(end(peer.channel, Failure::PeerMisbehaved)),
                }
            }
            // The trusted device does not know this one, so it wants the check code after all.
            Ok(Envelope { kind: MessageKind::CheckRequest, body })
                if peer.pinned && typed.is_none() && !peer.grant.has_begun() =>
            {
                match peer.channel.open(MessageKind::CheckRequest, body) {
                    Ok(empty) if empty.is_empty() => {
                        peer.pinned = false;
                        cx.tell(Event::AskCheckCode);
                        Ok(State::AwaitTyped(peer))
                    }
                    _ => Err(end(peer.channel, Failure::PeerMisbehaved)),
                }
            }
            _ => {
                let failure = abort_or_misbehaviour(&mut peer.channel, payload);
                Err(end(peer.channel, failure))
            }
        }
    }

    /// What to store, if the grant is exactly what this device asked this trusted device for.
    fn check(&self, peer: &Peer, typed: Option<&CheckCode>, grant: Grant, transcript: [u8; 32]) -> Option<ToStore> {
        let account_id = peer.hello.account_id;
        if grant.account_id != account_id {
            return None;
        }
        let trusted = &peer.hello.identity;
        let statement = GrantStatement { signature: grant.signature, transcript };
        verify_statement(trusted, self.kind, &account_id, &self.device.key.identity(), &self.wrapping, &statement)
            .ok()?;
        check_opening(peer, self.kind, typed, grant.opening)?;
        match grant.content {
            GrantContent::Enroll { genesis, bundle } if self.kind.purpose == Purpose::Enroll => {
                let mut account = Genesis::decode(&genesis).ok()?.account();
                if account.id != account_id || bundle.account_id != account_id {
                    return None;
                }
                account.label = peer.hello.account_label.clone();
                let enroller = Enroller {
                    identity: *trusted,
                    name: peer.hello.name.cleaned(),
                    grant_signature: statement.signature,
                    transcript: statement.transcript,
                };
                Some(ToStore::Enrollment(Box::new(NewEnrollment { account, bundle, enroller })))
            }
            GrantContent::Unlock(items) if items.answers(&self.request) => Some(ToStore::Items(Box::new(items))),
            _ => None,
        }
    }

    /// M4, now that everything is stored.
    fn stored(&self, mut peer: Box<Peer>, cx: &mut Cx) -> Result<State, Stop> {
        let signature = self
            .device
            .key
            .signing_key()
            .sign(labels::SIGN_RECEIPT, &[&peer.hello.account_id.0, peer.channel.transcript()]);
        if let Ok(payload) = peer.channel.seal(MessageKind::Receipt, &signature) {
            cx.mailbox.send(payload);
        }
        cx.tell(Event::Stored);
        cx.linger_until = Some(cx.now.plus_ms(RECEIPT_LINGER_MS));
        Ok(State::AwaitSeen)
    }

    fn knows(&self, peer: &TrustedHello) -> bool {
        self.device
            .enrolled
            .as_ref()
            .is_some_and(|(account, known)| *account == peer.account_id && known.contains(&peer.identity))
    }

    /// The peer's hello, if its signature holds and it fits this run.
    fn verify(&self, padded: &SecretBytes, bound_to: &[u8; 32]) -> Option<TrustedHello> {
        let hello = TrustedHello::decode(unpad_hello(padded.expose()).ok()?).ok()?;
        identity::verify(
            &hello.identity,
            labels::SIGN_HELLO_TRUSTED,
            &[bound_to, &hello.signed_part()],
            &hello.signature,
        )
        .ok()?;
        (hello.commitment.is_some() == (self.kind.mode == Mode::QrNew)).then_some(hello)
    }

    fn hello(&self, bound_to: &[u8; 32], knows_peer: bool) -> Result<SecretBytes, CryptoError> {
        let device = &self.device;
        let mut hello = NewHello {
            name: ClaimedText::new(device.info.name.as_str()),
            platform: ClaimedText::new(device.info.platform.as_str()),
            request: self.request.clone(),
            identity: device.key.identity(),
            wrapping: self.wrapping.clone(),
            bundle_key: self.bundle_key.as_ref().ok_or(CryptoError)?.public(),
            knows_peer,
            extensions: Extensions::default(),
            signature: [0; 64],
        };
        hello.signature = device.key.signing_key().sign(labels::SIGN_HELLO_NEW, &[bound_to, &hello.signed_part()]);
        pad_hello(&hello.encode()).ok_or(CryptoError)
    }
}

/// M2c: what the person typed. Whether it is right, only the trusted device can tell.
fn send_typed(mut peer: Box<Peer>, typed: CheckCode, cx: &mut Cx) -> Result<State, Stop> {
    match peer.channel.seal(MessageKind::CheckCode, typed.digits()) {
        Ok(payload) => {
            cx.mailbox.send(payload);
            Ok(State::AwaitGrant { peer, typed: Some(typed) })
        }
        Err(CryptoError) => Err(end(peer.channel, Failure::Internal)),
    }
}

/// `qr-new`: the number in the grant must open the commitment and reproduce what the person typed. Otherwise whoever
/// answered the QR code is not the device whose screen the person read.
fn check_opening(peer: &Peer, kind: Kind, typed: Option<&CheckCode>, opening: Option<[u8; 32]>) -> Option<()> {
    if kind.mode != Mode::QrNew {
        return opening.is_none().then_some(());
    }
    let opening = Secret::new(opening?);
    let commitment = kdf::sha256(&[labels::CHECK_COMMITMENT, opening.expose()]);
    if peer.hello.commitment != Some(commitment) {
        return None;
    }
    match typed {
        Some(typed) => {
            let expected = CheckCode::derive(&peer.channel, Some(&opening)).ok()?;
            bool::from(expected.ct_eq(typed)).then_some(())
        }
        None => peer.pinned.then_some(()),
    }
}

fn lost(state: State, failure: Failure) -> Stop {
    match state {
        State::AwaitTyped(peer) | State::AwaitGrant { peer, .. } => end(peer.channel, failure),
        State::Meeting(_) | State::AwaitStored(_) | State::AwaitSeen | State::Ended => Stop::silently(failure),
    }
}
