//! The first part of a run, the same for both roles: from the mailbox to the two hellos.

use super::{CODE_CLAIMABLE_MS, Cx, Event, Failure, QR_CLAIMABLE_MS, Stop, Way, WrongWay};
use crate::channel::Channel;
use crate::crypto::CryptoError;
use crate::mailbox::{Entry, Mailbox};
use crate::pairing::code::VerificationCode;
use crate::pairing::handshake::{
    AcceptDue, AwaitAccept, AwaitReply, HandshakeError, Introduction, ReplyDue, display, qr_mailbox, read_offer,
};
use crate::pairing::qr::{QrKind, QrPayload, RelayHint};
use crate::pairing::{Kind, Mode, Purpose};
use crate::secret::{Secret, SecretBytes};
use alloc::boxed::Box;
use handfast_wire::{Nameplate, Slot};
use rand_core::CryptoRng;

/// Which message of the handshake is awaited.
pub(super) enum Meeting {
    /// The mailbox; then a code is made and shown.
    ShowCode(Kind),
    /// The mailbox; then this offer is sent and the QR code shown.
    ShowQr(Box<ShowQr>),
    /// The mailbox and M0.
    Read { kind: Kind, introduction: Introduction, commitment: Option<[u8; 32]> },
    /// M1.
    AwaitAccept(Box<AwaitAccept>),
    /// M2.
    AwaitReply(Box<AwaitReply>),
}

pub(super) struct ShowQr {
    kind: QrKind,
    psk: Secret<32>,
    hint: Option<RelayHint>,
}

/// What a payload brought.
pub(super) enum Met {
    /// Reader: the offer is good; the own hello is due.
    Offered(Box<AcceptDue>),
    /// Displayer: the reader's padded hello, the transcript it is bound to, and the reply that is due.
    Accepted { hello: SecretBytes, bound_to: [u8; 32], reply: ReplyDue },
    /// Reader: the displayer's padded hello, the transcript it is bound to, and the channel.
    Replied { hello: SecretBytes, bound_to: [u8; 32], channel: Channel },
}

/// Which side a role takes in a mode, and what the run is for.
pub(super) fn start(
    way: Way,
    purpose: Purpose,
    shown_qr: QrKind,
    rng: &mut dyn CryptoRng,
) -> Result<(Meeting, Kind, Mailbox), WrongWay> {
    let (meeting, kind, entry) = match way {
        Way::ShowCode => {
            let kind = Kind::new(Mode::Code, purpose).map_err(|_| WrongWay)?;
            (Meeting::ShowCode(kind), kind, Entry::Allocate)
        }
        Way::EnterCode(code) => {
            let kind = Kind::new(Mode::Code, purpose).map_err(|_| WrongWay)?;
            let entry = Entry::Claim(code.nameplate());
            (Meeting::Read { kind, introduction: Introduction::Code(code), commitment: None }, kind, entry)
        }
        Way::ShowQr(hint) => {
            let kind = kind_of(shown_qr);
            let psk = Secret::random(rng);
            let entry = Entry::Open(qr_mailbox(&psk));
            (Meeting::ShowQr(Box::new(ShowQr { kind: shown_qr, psk, hint })), kind, entry)
        }
        Way::ReadQr(qr) => {
            let kind = kind_of(qr.kind);
            let entry = Entry::Open(qr_mailbox(&qr.psk));
            let commitment = Some(qr.offer_hash);
            (Meeting::Read { kind, introduction: Introduction::Qr(qr.psk), commitment }, kind, entry)
        }
    };
    Ok((meeting, kind, Mailbox::new(entry, rng)))
}

impl Meeting {
    /// The mailbox exists.
    pub(super) fn ready(
        self,
        nameplate: Option<Nameplate>,
        slot: Slot,
        cx: &mut Cx,
        rng: &mut dyn CryptoRng,
    ) -> Result<Self, Stop> {
        match (self, nameplate, slot) {
            (Self::ShowCode(kind), Some(nameplate), Slot::First) => {
                let code = VerificationCode::generate(nameplate, rng);
                let displayed = display(kind, Introduction::Code(code.clone()), rng)?;
                cx.mailbox.send(displayed.payload);
                let until = cx.now.plus_ms(CODE_CLAIMABLE_MS);
                cx.claimable_until = Some(until);
                cx.tell(Event::ShowCode { code, until });
                Ok(Self::AwaitAccept(Box::new(displayed.next)))
            }
            (Self::ShowQr(show), None, Slot::First) => {
                let ShowQr { kind, psk, hint } = *show;
                let displayed = display(kind_of(kind), Introduction::Qr(psk.clone()), rng)?;
                cx.mailbox.send(displayed.payload);
                let until = cx.now.plus_ms(QR_CLAIMABLE_MS);
                cx.claimable_until = Some(until);
                let qr = QrPayload { kind, psk, offer_hash: displayed.offer_hash, relay_hint: hint };
                cx.tell(Event::ShowQr { qr, until });
                Ok(Self::AwaitAccept(Box::new(displayed.next)))
            }
            (waiting @ Self::Read { .. }, None, Slot::Second) => Ok(waiting),
            // Nobody shows this code (any more): this device would only be talking to itself.
            (Self::Read { .. }, None, Slot::First) => Err(Stop::silently(Failure::NoSuchOffer)),
            // Somebody was in the mailbox before its id was shown to anyone, or the relay is confused.
            _ => Err(Stop::silently(Failure::RelayMisbehaved)),
        }
    }

    /// The next payload of the peer.
    pub(super) fn payload(self, payload: &[u8]) -> Result<Met, Stop> {
        match self {
            Self::Read { kind, introduction, commitment } => {
                let accept = read_offer(kind, introduction, commitment.as_ref(), payload).map_err(unreadable_offer)?;
                Ok(Met::Offered(Box::new(accept)))
            }
            Self::AwaitAccept(state) => {
                let bound_to = state.transcript();
                let in_code_mode = state.is_code();
                let (hello, reply) = state.accept(payload).map_err(|error| burned(error, in_code_mode))?;
                Ok(Met::Accepted { hello, bound_to, reply })
            }
            Self::AwaitReply(state) => {
                let bound_to = state.transcript();
                let (hello, channel) = state.open(payload).map_err(bad_reply)?;
                Ok(Met::Replied { hello, bound_to, channel })
            }
            Self::ShowCode(_) | Self::ShowQr(_) => Err(Stop::silently(Failure::RelayMisbehaved)),
        }
    }
}

fn kind_of(qr: QrKind) -> Kind {
    Kind { mode: qr.mode(), purpose: qr.purpose() }
}

fn unreadable_offer(error: HandshakeError) -> Stop {
    Stop::silently(match error {
        HandshakeError::Version(version) => Failure::Version(version),
        HandshakeError::WrongOffer | HandshakeError::DoesNotOpen => Failure::WrongOffer,
        HandshakeError::Malformed => Failure::PeerMisbehaved,
    })
}

/// The displayer's offer is used up by any first message that it does not accept.
fn burned(error: HandshakeError, in_code_mode: bool) -> Stop {
    Stop::silently(match error {
        HandshakeError::Version(version) => Failure::Version(version),
        _ if in_code_mode => Failure::WrongCode,
        _ => Failure::PeerMisbehaved,
    })
}

fn bad_reply(error: HandshakeError) -> Stop {
    Stop::silently(match error {
        HandshakeError::Version(version) => Failure::Version(version),
        _ => Failure::PeerMisbehaved,
    })
}

impl From<CryptoError> for Stop {
    fn from(_: CryptoError) -> Self {
        Self::silently(Failure::Internal)
    }
}
