//! Opening the grant on the new device, chunk by chunk.

use super::release::{chunk_aad, grant_info};
use crate::channel::Channel;
use crate::crypto::CryptoError;
use crate::crypto::hpke::{self, KemPublicKey, KemSecretKey, ReceiverContext};
use crate::labels;
use crate::message::{CHUNK_BYTES, Grant, GrantChunk, MAX_GRANT_BYTES, MessageKind};
use crate::pairing::Kind;
use crate::secret::SecretBytes;
use alloc::vec::Vec;
use rand_core::CryptoRng;

/// The ephemeral key that a grant is sealed to; made with the hello.
pub(super) struct BundleKey(KemSecretKey);

/// A grant of which chunks are still to come.
pub(super) struct GrantReceiver {
    key: BundleKey,
    /// Set by the first chunk, together with the transcript before it.
    opening: Option<(ReceiverContext, [u8; 32])>,
    next_index: u16,
    chunks: Vec<SecretBytes>,
    received: usize,
}

/// A chunk or grant that is not acceptable.
pub(super) struct BadGrant;

impl BundleKey {
    pub(super) fn generate(rng: &mut dyn CryptoRng) -> Self {
        Self(KemSecretKey::generate(rng))
    }

    pub(super) fn public(&self) -> KemPublicKey {
        self.0.public()
    }
}

impl GrantReceiver {
    pub(super) fn new(key: BundleKey) -> Self {
        Self { key, opening: None, next_index: 0, chunks: Vec::new(), received: 0 }
    }

    /// Whether a chunk has arrived.
    pub(super) fn has_begun(&self) -> bool {
        self.opening.is_some()
    }

    /// Takes the next chunk; after the last one, the grant and the transcript before it.
    pub(super) fn chunk(
        &mut self,
        body: &[u8],
        kind: Kind,
        channel: &mut Channel,
    ) -> Result<Option<(Grant, [u8; 32])>, BadGrant> {
        let chunk = GrantChunk::decode(body).map_err(|_| BadGrant)?;
        if chunk.index != self.next_index {
            return Err(BadGrant);
        }
        if let Some(enc) = &chunk.enc {
            let transcript = *channel.transcript();
            let psk = channel.export(labels::EXPORT_GRANT_PSK)?;
            let info = grant_info(kind, &transcript);
            let context = hpke::setup_receiver(&self.key.0, enc, &info, &psk, labels::GRANT_PSK_ID)?;
            self.opening = Some((context, transcript));
        }
        let (context, transcript) = self.opening.as_mut().ok_or(BadGrant)?;
        let plaintext = context.open(&chunk_aad(transcript, chunk.index, chunk.last), &chunk.sealed)?;
        let transcript = *transcript;
        // Chunks are full but for the last, which is not empty: one grant has one division.
        let full = plaintext.len() == CHUNK_BYTES;
        if plaintext.is_empty() || plaintext.len() > CHUNK_BYTES || !(full || chunk.last) {
            return Err(BadGrant);
        }
        self.received += plaintext.len();
        if self.received > MAX_GRANT_BYTES {
            return Err(BadGrant);
        }
        channel.absorb(MessageKind::GrantChunk, body);
        self.chunks.push(plaintext);
        self.next_index = self.next_index.checked_add(1).ok_or(BadGrant)?;
        if !chunk.last {
            return Ok(None);
        }
        let mut whole = Vec::with_capacity(self.received);
        for chunk in self.chunks.drain(..) {
            whole.extend_from_slice(chunk.expose());
        }
        let whole = SecretBytes::new(whole);
        let grant = Grant::decode(whole.expose()).map_err(|_| BadGrant)?;
        Ok(Some((grant, transcript)))
    }
}

impl From<CryptoError> for BadGrant {
    fn from(_: CryptoError) -> Self {
        Self
    }
}
