//! M0 to M2: from an introduction to a confirmed channel. The displayer and the reader each have one type per awaited
//! message; a transition consumes it. `spec/protocol.md`, "Handshake".

use super::Kind;
use super::code::VerificationCode;
use crate::channel::{Channel, Forward, Reverse, Transcript, aad};
use crate::crypto::cpace::Exchange;
use crate::crypto::hpke::{self, KemPublicKey, KemSecretKey, ReceiverContext};
use crate::crypto::{CryptoError, aead, kdf};
use crate::labels;
use crate::message::{Accept, Envelope, EnvelopeError, Extensions, MessageKind, Offer, Reply, envelope};
use crate::secret::{Secret, SecretBytes};
use alloc::vec::Vec;
use handfast_wire::codec::Writer;
use handfast_wire::{DecodeError, MailboxId};
use rand_core::CryptoRng;

/// What the two devices share before the first message.
#[derive(Clone)]
pub(crate) enum Introduction {
    Code(VerificationCode),
    Qr(Secret<32>),
}

/// Why a handshake message is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HandshakeError {
    /// The peer speaks this version.
    Version(u8),
    /// No valid encoding, or not the message that is due.
    Malformed,
    /// The offer is not the one in the QR code, or not of the expected mode and purpose.
    WrongOffer,
    /// It does not open: the peer does not know the introduction's secret.
    DoesNotOpen,
}

/// The mailbox that both devices derive from a QR code's secret. Bookkeeping: it enters no key.
pub(crate) fn qr_mailbox(psk: &Secret<32>) -> MailboxId {
    MailboxId(*kdf::hkdf::<16>(&[], psk.expose(), &[labels::QR_MAILBOX]).expose())
}

/// The displayer's side, waiting for M1.
pub(crate) struct AwaitAccept {
    kind: Kind,
    introduction: Introduction,
    secret_key: KemSecretKey,
    exchange: Option<Exchange>,
    nonce: [u8; 32],
    share_binding: Vec<u8>,
    transcript: Transcript,
}

/// The displayer's side with an M1 that opened: M2 is due.
pub(crate) struct ReplyDue {
    forward: Forward,
    reverse: Reverse,
    transcript: Transcript,
}

/// The reader's side with an offer: M1 is due.
pub(crate) struct AcceptDue {
    kind: Kind,
    introduction: Introduction,
    offer: Offer,
    transcript: Transcript,
}

/// The reader's side, waiting for M2.
pub(crate) struct AwaitReply {
    forward: Forward,
    reverse: Reverse,
    transcript: Transcript,
}

/// What a displayer starts with: M0, the offer's hash for the QR code, and the next state.
pub(crate) struct Displayed {
    pub(crate) payload: Vec<u8>,
    pub(crate) offer_hash: [u8; 32],
    pub(crate) next: AwaitAccept,
}

/// Makes an offer.
pub(crate) fn display(
    kind: Kind,
    introduction: Introduction,
    rng: &mut dyn CryptoRng,
) -> Result<Displayed, CryptoError> {
    let secret_key = KemSecretKey::generate(rng);
    let mut nonce = [0; 32];
    rng.fill_bytes(&mut nonce);
    let mut offer =
        Offer { kind, nonce, public_key: secret_key.public(), share: None, extensions: Extensions::default() };
    let share_binding = displayer_ad(&offer);
    let exchange = match &introduction {
        Introduction::Code(code) => {
            let (exchange, share) = Exchange::start(code.secret_symbols(), &channel_id(kind, code), &nonce, rng);
            offer.share = Some(share);
            Some(exchange)
        }
        Introduction::Qr(_) => None,
    };
    let encoded = offer.encode();
    let payload = match &introduction {
        Introduction::Code(_) => envelope(MessageKind::Offer, &encoded),
        Introduction::Qr(psk) => {
            let sealed = aead::seal(&offer_key(kind, psk), &[0; 12], &offer_aad(kind), &encoded)?;
            envelope(MessageKind::SealedOffer, &sealed)
        }
    };
    let mut transcript = Transcript::start(kind);
    transcript.absorb(MessageKind::Offer, &encoded);
    let next = AwaitAccept { kind, introduction, secret_key, exchange, nonce, share_binding, transcript };
    Ok(Displayed { payload, offer_hash: offer_hash(&encoded), next })
}

impl AwaitAccept {
    /// Whether a wrong code can be the reason for an M1 that does not open.
    pub(crate) fn is_code(&self) -> bool {
        matches!(self.introduction, Introduction::Code(_))
    }

    /// The transcript through M0: what the reader's hello is bound to.
    pub(crate) fn transcript(&self) -> [u8; 32] {
        *self.transcript.hash()
    }

    /// M1. The offer is used up whatever comes of it; gives the reader's padded hello.
    pub(crate) fn accept(mut self, payload: &[u8]) -> Result<(SecretBytes, ReplyDue), HandshakeError> {
        let body = expect(payload, MessageKind::Accept)?;
        let accept = Accept::decode(self.kind.mode, body)?;
        let psk = match (&self.introduction, self.exchange.take(), &accept.share) {
            (Introduction::Code(_), Some(exchange), Some(share)) => {
                let isk = exchange.initiator_isk(&self.share_binding, share, &reader_ad())?;
                code_psk(self.kind, &isk, &self.nonce)
            }
            (Introduction::Qr(psk), _, _) => qr_psk(self.kind, psk),
            _ => return Err(HandshakeError::Malformed),
        };
        let info = channel_info(self.kind, &self.transcript);
        let mut context: ReceiverContext =
            hpke::setup_receiver(&self.secret_key, &accept.enc, &info, &psk, labels::CHANNEL_PSK_ID)?;
        let aad = accept_aad(&self.transcript, accept.share.as_ref());
        let hello = context.open(&aad, &accept.sealed_hello)?;
        self.transcript.absorb(MessageKind::Accept, body);
        let forward = Forward::Receive(context);
        let reverse = Reverse::derive(&forward, &accept.enc, &self.transcript)?;
        Ok((hello, ReplyDue { forward, reverse, transcript: self.transcript }))
    }
}

impl ReplyDue {
    /// The transcript through M1: what the displayer's hello is bound to.
    pub(crate) fn transcript(&self) -> [u8; 32] {
        *self.transcript.hash()
    }

    /// M2, and the channel.
    pub(crate) fn reply(mut self, hello: &SecretBytes) -> Result<(Vec<u8>, Channel), CryptoError> {
        let sealed = self.reverse.seal(&aad(self.transcript.hash(), MessageKind::Reply), hello.expose())?;
        self.transcript.absorb(MessageKind::Reply, &sealed);
        let channel = Channel::confirmed(self.forward, self.reverse, self.transcript);
        Ok((envelope(MessageKind::Reply, &sealed), channel))
    }
}

/// Reads M0. With a QR code the offer must be the one that the code commits to.
pub(crate) fn read_offer(
    kind: Kind,
    introduction: Introduction,
    commitment: Option<&[u8; 32]>,
    payload: &[u8],
) -> Result<AcceptDue, HandshakeError> {
    let opened;
    let encoded = match &introduction {
        Introduction::Code(_) => expect(payload, MessageKind::Offer)?,
        Introduction::Qr(psk) => {
            let body = expect(payload, MessageKind::SealedOffer)?;
            opened = aead::open(&offer_key(kind, psk), &[0; 12], &offer_aad(kind), body)?;
            opened.expose()
        }
    };
    // Before anything in the offer is interpreted.
    if commitment.is_some_and(|hash| *hash != offer_hash(encoded)) {
        return Err(HandshakeError::WrongOffer);
    }
    let offer = Offer::decode(encoded)?;
    if offer.kind != kind {
        return Err(HandshakeError::WrongOffer);
    }
    let mut transcript = Transcript::start(kind);
    transcript.absorb(MessageKind::Offer, encoded);
    Ok(AcceptDue { kind, introduction, offer, transcript })
}

impl AcceptDue {
    /// The transcript through M0: what the reader's hello is bound to.
    pub(crate) fn transcript(&self) -> [u8; 32] {
        *self.transcript.hash()
    }

    /// M1.
    pub(crate) fn accept(
        mut self,
        hello: &SecretBytes,
        rng: &mut dyn CryptoRng,
    ) -> Result<(Vec<u8>, AwaitReply), HandshakeError> {
        let (psk, share) = match (&self.introduction, &self.offer.share) {
            (Introduction::Code(code), Some(displayer_share)) => {
                let (exchange, share) =
                    Exchange::start(code.secret_symbols(), &channel_id(self.kind, code), &self.offer.nonce, rng);
                let isk = exchange.responder_isk(&reader_ad(), displayer_share, &displayer_ad(&self.offer))?;
                (code_psk(self.kind, &isk, &self.offer.nonce), Some(share))
            }
            (Introduction::Qr(psk), None) => (qr_psk(self.kind, psk), None),
            _ => return Err(HandshakeError::Malformed),
        };
        let info = channel_info(self.kind, &self.transcript);
        let public_key: &KemPublicKey = &self.offer.public_key;
        let (enc, mut context) = hpke::setup_sender(public_key, &info, &psk, labels::CHANNEL_PSK_ID, rng)?;
        let sealed_hello = context.seal(&accept_aad(&self.transcript, share.as_ref()), hello.expose())?;
        let accept = Accept { share, enc, sealed_hello };
        let body = accept.encode();
        self.transcript.absorb(MessageKind::Accept, &body);
        let forward = Forward::Send(context);
        let reverse = Reverse::derive(&forward, &accept.enc, &self.transcript)?;
        Ok((envelope(MessageKind::Accept, &body), AwaitReply { forward, reverse, transcript: self.transcript }))
    }
}

impl AwaitReply {
    /// The transcript through M1: what the displayer's hello is bound to.
    pub(crate) fn transcript(&self) -> [u8; 32] {
        *self.transcript.hash()
    }

    /// M2: gives the displayer's padded hello, and the channel.
    pub(crate) fn open(mut self, payload: &[u8]) -> Result<(SecretBytes, Channel), HandshakeError> {
        let body = expect(payload, MessageKind::Reply)?;
        let reply = Reply::decode(body)?;
        let hello = self.reverse.open(&aad(self.transcript.hash(), MessageKind::Reply), &reply.sealed_hello)?;
        self.transcript.absorb(MessageKind::Reply, body);
        Ok((hello, Channel::confirmed(self.forward, self.reverse, self.transcript)))
    }
}

fn expect(payload: &[u8], kind: MessageKind) -> Result<&[u8], HandshakeError> {
    let envelope = Envelope::decode(payload)?;
    if envelope.kind == kind { Ok(envelope.body) } else { Err(HandshakeError::Malformed) }
}

fn offer_hash(encoded: &[u8]) -> [u8; 32] {
    kdf::sha256(&[labels::OFFER_HASH, encoded])
}

/// The key that seals the offer of one QR code. Each code has a fresh secret, so a zero nonce is used once.
fn offer_key(kind: Kind, psk: &Secret<32>) -> Secret<32> {
    kdf::hkdf(suite(kind), psk.expose(), &[labels::QR_OFFER_KEY])
}

fn offer_aad(kind: Kind) -> Vec<u8> {
    let mut aad = Vec::from(suite(kind));
    aad.push(MessageKind::SealedOffer.code());
    aad
}

fn qr_psk(kind: Kind, psk: &Secret<32>) -> Secret<32> {
    kdf::hkdf(suite(kind), psk.expose(), &[labels::QR_PSK])
}

fn code_psk(kind: Kind, isk: &Secret<64>, nonce: &[u8; 32]) -> Secret<32> {
    kdf::hkdf(nonce, isk.expose(), &[labels::CODE_PSK, suite(kind)])
}

/// CPace's CI: suite (which names mode and purpose) and the nameplate as typed.
fn channel_id(kind: Kind, code: &VerificationCode) -> Vec<u8> {
    let mut w = Writer::default();
    w.bytes16(suite(kind)).bytes16(&code.nameplate_symbols());
    w.into_bytes()
}

/// CPace's ADa: role, and everything in the offer but the share itself.
fn displayer_ad(offer: &Offer) -> Vec<u8> {
    let mut w = Writer::default();
    w.bytes16(labels::CPACE_DISPLAYER);
    w.raw(&kdf::sha256(&[labels::OFFER_WITHOUT_SHARE, &offer.encode_without_share()]));
    w.into_bytes()
}

/// CPace's ADb.
fn reader_ad() -> Vec<u8> {
    let mut w = Writer::default();
    w.bytes16(labels::CPACE_READER);
    w.into_bytes()
}

fn channel_info(kind: Kind, through_m0: &Transcript) -> Vec<u8> {
    let mut w = Writer::default();
    w.bytes16(labels::CHANNEL_INFO).bytes16(suite(kind)).raw(through_m0.hash());
    w.into_bytes()
}

/// Associated data of the reader's hello: the transcript through M0, the message's kind, and the share in M1.
fn accept_aad(through_m0: &Transcript, share: Option<&[u8; 32]>) -> Vec<u8> {
    let mut aad = aad(through_m0.hash(), MessageKind::Accept);
    aad.extend_from_slice(share.map_or(&[], |share| share.as_slice()));
    aad
}

fn suite(kind: Kind) -> &'static [u8] {
    labels::suite(kind.mode, kind.purpose)
}

impl From<EnvelopeError> for HandshakeError {
    fn from(error: EnvelopeError) -> Self {
        match error {
            EnvelopeError::Version(version) => Self::Version(version),
            EnvelopeError::Malformed(_) => Self::Malformed,
        }
    }
}

impl From<DecodeError> for HandshakeError {
    fn from(_: DecodeError) -> Self {
        Self::Malformed
    }
}

impl From<CryptoError> for HandshakeError {
    fn from(_: CryptoError) -> Self {
        Self::DoesNotOpen
    }
}

#[cfg(test)]
#[path = "handshake_tests.rs"]
pub(crate) mod tests;
