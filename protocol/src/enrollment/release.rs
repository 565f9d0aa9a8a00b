//! Sealing the grant: the only place where a bundle leaves, and what it takes.

use crate::bundle::CredentialBundle;
use crate::channel::{Channel, aad};
use crate::crypto::hpke::{self, Enc, KemPublicKey};
use crate::crypto::{CryptoError, identity};
use crate::device::{Account, AccountId, DeviceKey, IdentityPublicKey};
use crate::labels;
use crate::message::{CHUNK_BYTES, Extensions, Grant, GrantChunk, GrantContent, MessageKind, NewHello, envelope};
use crate::pairing::Kind;
use crate::pairing::proof::{Approved, Authenticated};
use crate::secret::Secret;
use alloc::vec::Vec;
use handfast_wire::codec::Writer;
use rand_core::CryptoRng;

/// The trusted device's signature over what a grant makes of the new device. Both sides keep it.
pub(super) struct GrantStatement {
    pub(super) signature: [u8; 64],
    /// The transcript that it covers.
    pub(super) transcript: [u8; 32],
}

/// What a release is about; the proof tokens come beside it.
pub(super) struct Release<'a> {
    pub(super) kind: Kind,
    pub(super) account: &'a Account,
    pub(super) to: &'a NewHello,
    pub(super) statement: &'a GrantStatement,
    /// `qr-new`: the number behind the commitment.
    pub(super) opening: Option<&'a Secret<32>>,
    pub(super) bundle: CredentialBundle,
}

/// Why nothing was released.
pub(super) enum ReleaseError {
    /// The bundle is another account's or too large.
    WrongBundle,
    /// A requested entry does not exist.
    NoSuchEntry,
    Crypto,
}

pub(super) fn sign_statement(
    key: &DeviceKey,
    kind: Kind,
    account: &AccountId,
    to: &NewHello,
    channel: &Channel,
) -> GrantStatement {
    let transcript = *channel.transcript();
    let signature = key.signing_key().sign(
        labels::SIGN_GRANT,
        &[&account.0, to.identity.as_bytes(), to.wrapping.as_bytes(), &[kind.purpose.code()], &transcript],
    );
    GrantStatement { signature, transcript }
}

pub(super) fn verify_statement(
    trusted: &IdentityPublicKey,
    kind: Kind,
    account: &AccountId,
    new_identity: &IdentityPublicKey,
    new_wrapping: &KemPublicKey,
    statement: &GrantStatement,
) -> Result<(), CryptoError> {
    identity::verify(
        trusted,
        labels::SIGN_GRANT,
        &[&account.0, new_identity.as_bytes(), new_wrapping.as_bytes(), &[kind.purpose.code()], &statement.transcript],
        &statement.signature,
    )
}

/// HPKE info of the grant.
pub(super) fn grant_info(kind: Kind, transcript: &[u8; 32]) -> Vec<u8> {
    let mut w = Writer::default();
    w.bytes16(labels::GRANT_INFO).bytes16(labels::suite(kind.mode, kind.purpose)).raw(transcript);
    w.into_bytes()
}

/// Associated data of one chunk: the transcript before the grant, the message's kind, index and final flag.
pub(super) fn chunk_aad(transcript: &[u8; 32], index: u16, last: bool) -> Vec<u8> {
    let mut bytes = aad(transcript, MessageKind::GrantChunk);
    bytes.extend_from_slice(&GrantChunk::header(index, last));
    bytes
}

/// M3: the payloads to send, in order.
pub(super) fn release(
    release: Release<'_>,
    channel: &mut Channel,
    _authenticated: Authenticated,
    approved: Approved,
    rng: &mut dyn CryptoRng,
) -> Result<Vec<Vec<u8>>, ReleaseError> {
    let Release { kind, account, to, statement, opening, bundle } = release;
    if bundle.account_id != account.id {
        return Err(ReleaseError::WrongBundle);
    }
    let content = match approved.request() {
        crate::message::Request::Bundle => GrantContent::Enroll { genesis: account.genesis.clone(), bundle },
        items => GrantContent::Unlock(bundle.release(items).ok_or(ReleaseError::NoSuchEntry)?),
    };
    let grant = Grant {
        account_id: account.id,
        signature: statement.signature,
        opening: opening.map(|opening| *opening.expose()),
        content,
        extensions: Extensions::default(),
    };
    let plaintext = grant.encode().ok_or(ReleaseError::WrongBundle)?;
    let transcript = *channel.transcript();
    let psk = channel.export(labels::EXPORT_GRANT_PSK)?;
    let info = grant_info(kind, &transcript);
    let (enc, mut context) = hpke::setup_sender(&to.bundle_key, &info, &psk, labels::GRANT_PSK_ID, rng)?;
    let chunks = plaintext.expose().chunks(CHUNK_BYTES);
    let count = chunks.len();
    let mut enc: Option<Enc> = Some(enc);
    let mut payloads = Vec::with_capacity(count);
    for (number, chunk) in chunks.enumerate() {
        let index = u16::try_from(number).map_err(|_| ReleaseError::WrongBundle)?;
        let last = number + 1 == count;
        let sealed = context.seal(&chunk_aad(&transcript, index, last), chunk)?;
        let body = GrantChunk { index, last, enc: enc.take(), sealed }.encode();
        channel.absorb(MessageKind::GrantChunk, &body);
        payloads.push(envelope(MessageKind::GrantChunk, &body));
    }
    Ok(payloads)
}

impl From<CryptoError> for ReleaseError {
    fn from(_: CryptoError) -> Self {
        Self::Crypto
    }
}
