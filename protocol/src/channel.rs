//! The confirmed channel between two devices: HPKE in one direction, exporter-derived keys in the other, and the
//! transcript that every later step is bound to. `spec/protocol.md`, "Channel".

use crate::crypto::hpke::{Enc, ReceiverContext, SenderContext};
use crate::crypto::{CryptoError, aead, kdf};
use crate::labels;
use crate::message::{MessageKind, envelope};
use crate::pairing::Kind;
use crate::secret::{Secret, SecretBytes};
use alloc::vec::Vec;

/// Running hash over the messages of a run, each with its kind and length.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Transcript([u8; 32]);

impl Transcript {
    pub(crate) fn start(kind: Kind) -> Self {
        Self(kdf::sha256(&[labels::TRANSCRIPT, labels::suite(kind.mode, kind.purpose)]))
    }

    pub(crate) fn absorb(&mut self, kind: MessageKind, body: &[u8]) {
        let length = (body.len() as u64).to_be_bytes();
        self.0 = kdf::sha256(&[&self.0, &[kind.code()], &length, body]);
    }

    pub(crate) fn hash(&self) -> &[u8; 32] {
        &self.0
    }
}

/// A channel that both introductions confirmed. It exists only behind an M1 (displayer) or M2 (reader) that opened.
pub(crate) struct Channel {
    forward: Forward,
    reverse: Reverse,
    transcript: Transcript,
    /// The transcript through M2: what aborts are bound to, since the two sides may be a message apart when one ends.
    session: [u8; 32],
    ended_by_peer: bool,
}

/// Reader to displayer: the HPKE context itself.
pub(crate) enum Forward {
    Send(SenderContext),
    Receive(ReceiverContext),
}

/// Displayer to reader: keys from the exporter, as RFC 9458 derives those of its responses.
pub(crate) struct Reverse {
    key: Secret<32>,
    base_nonce: Secret<12>,
    next: u64,
}

impl Forward {
    pub(crate) fn export<const N: usize>(&self, context: &[u8]) -> Result<Secret<N>, CryptoError> {
        match self {
            Self::Send(context_s) => context_s.export(context),
            Self::Receive(context_r) => context_r.export(context),
        }
    }
}

impl Reverse {
    /// `transcript` is through M1.
    pub(crate) fn derive(forward: &Forward, enc: &Enc, transcript: &Transcript) -> Result<Self, CryptoError> {
        let secret: Secret<32> = forward.export(labels::EXPORT_REVERSE)?;
        let mut salt = Vec::from(enc.as_bytes().as_slice());
        salt.extend_from_slice(transcript.hash());
        Ok(Self {
            key: kdf::hkdf(&salt, secret.expose(), &[labels::REVERSE_KEY]),
            base_nonce: kdf::hkdf(&salt, secret.expose(), &[labels::REVERSE_NONCE]),
            next: 0,
        })
    }

    pub(crate) fn seal(&mut self, aad: &[u8], plaintext: &[u8]) -> Result<Vec<u8>, CryptoError> {
        let nonce = self.nonce();
        let sealed = aead::seal(&self.key, &nonce, aad, plaintext)?;
        self.advance()?;
        Ok(sealed)
    }

    pub(crate) fn open(&mut self, aad: &[u8], sealed: &[u8]) -> Result<SecretBytes, CryptoError> {
        let opened = aead::open(&self.key, &self.nonce(), aad, sealed)?;
        self.advance()?;
        Ok(opened)
    }

    /// Base nonce xor counter, as in RFC 9180, section 5.2.
    fn nonce(&self) -> [u8; 12] {
        let mut nonce = *self.base_nonce.expose();
        for (byte, counter) in nonce.iter_mut().rev().zip(self.next.to_le_bytes()) {
            *byte ^= counter;
        }
        nonce
    }

    fn advance(&mut self) -> Result<(), CryptoError> {
        self.next = self.next.checked_add(1).ok_or(CryptoError)?;
        Ok(())
    }
}

impl Channel {
    /// Only the handshake makes channels, after it opened the peer's hello. `transcript` is through M2.
    pub(crate) fn confirmed(forward: Forward, reverse: Reverse, transcript: Transcript) -> Self {
        Self { forward, reverse, transcript, session: *transcript.hash(), ended_by_peer: false }
    }

    pub(crate) fn transcript(&self) -> &[u8; 32] {
        self.transcript.hash()
    }

    /// The transcript through M2, which no later message changes.
    pub(crate) fn session(&self) -> &[u8; 32] {
        &self.session
    }

    /// Seals a message to the peer, binds it to the transcript, and takes it into the transcript.
    pub(crate) fn seal(&mut self, kind: MessageKind, plaintext: &[u8]) -> Result<Vec<u8>, CryptoError> {
        let sealed = self.seal_bound_to(*self.transcript.hash(), kind, plaintext)?;
        self.transcript.absorb(kind, &sealed);
        Ok(envelope(kind, &sealed))
    }

    /// Opens a message from the peer; the counterpart of [`Channel::seal`].
    pub(crate) fn open(&mut self, kind: MessageKind, body: &[u8]) -> Result<SecretBytes, CryptoError> {
        let opened = self.open_bound_to(*self.transcript.hash(), kind, body)?;
        self.transcript.absorb(kind, body);
        Ok(opened)
    }

    /// Seals an abort. The transcript stays as it is: nothing follows.
    pub(crate) fn seal_abort(&mut self, plaintext: &[u8]) -> Result<Vec<u8>, CryptoError> {
        let sealed = self.seal_bound_to(self.session, MessageKind::Abort, plaintext)?;
        Ok(envelope(MessageKind::Abort, &sealed))
    }

    pub(crate) fn open_abort(&mut self, body: &[u8]) -> Result<SecretBytes, CryptoError> {
        self.open_bound_to(self.session, MessageKind::Abort, body)
    }

    /// The peer's abort was good: an answer would go to nobody.
    pub(crate) fn ended_by_peer(&mut self) {
        self.ended_by_peer = true;
    }

    pub(crate) fn is_ended_by_peer(&self) -> bool {
        self.ended_by_peer
    }

    /// Takes a message that is sealed by other means (a grant chunk) into the transcript.
    pub(crate) fn absorb(&mut self, kind: MessageKind, body: &[u8]) {
        self.transcript.absorb(kind, body);
    }

    pub(crate) fn export<const N: usize>(&self, context: &[u8]) -> Result<Secret<N>, CryptoError> {
        self.forward.export(context)
    }

    fn seal_bound_to(&mut self, bound: [u8; 32], kind: MessageKind, plaintext: &[u8]) -> Result<Vec<u8>, CryptoError> {
        let aad = aad(&bound, kind);
        match &mut self.forward {
            Forward::Send(context) => context.seal(&aad, plaintext),
            Forward::Receive(_) => self.reverse.seal(&aad, plaintext),
        }
    }

    fn open_bound_to(&mut self, bound: [u8; 32], kind: MessageKind, body: &[u8]) -> Result<SecretBytes, CryptoError> {
        let aad = aad(&bound, kind);
        match &mut self.forward {
            Forward::Receive(context) => context.open(&aad, body),
            Forward::Send(_) => self.reverse.open(&aad, body),
        }
    }
}

/// Associated data of every message in the channel: what it is bound to, and what it is.
pub(crate) fn aad(bound: &[u8; 32], kind: MessageKind) -> Vec<u8> {
    let mut aad = Vec::from(bound.as_slice());
    aad.push(kind.code());
    aad
}
