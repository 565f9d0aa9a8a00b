//! M0 to M2: offer, accept, reply.

use super::{Extensions, HELLO_BYTES};
use crate::crypto::TAG_BYTES;
use crate::crypto::hpke::{ENC_BYTES, Enc, KemPublicKey, PUBLIC_KEY_BYTES};
use crate::pairing::{Kind, Mode, Purpose};
use alloc::vec::Vec;
use handfast_wire::DecodeError;
use handfast_wire::codec::{Reader, Writer};

/// M0: what the displayer offers. One use.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Offer {
    pub(crate) kind: Kind,
    /// Fresh; the session id of CPace.
    pub(crate) nonce: [u8; 32],
    /// Ephemeral.
    pub(crate) public_key: KemPublicKey,
    /// The displayer's CPace share; in `code` mode only.
    pub(crate) share: Option<[u8; 32]>,
    pub(crate) extensions: Extensions,
}

impl Offer {
    pub(crate) fn encode(&self) -> Vec<u8> {
        self.write(self.share.as_ref())
    }

    /// The offer's bytes with the share left out: what the displayer's share is bound to.
    pub(crate) fn encode_without_share(&self) -> Vec<u8> {
        self.write(None)
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(bytes);
        let kind = Kind::new(Mode::from_code(r.u8()?)?, Purpose::from_code(r.u8()?)?)?;
        let nonce = r.array()?;
        let public_key = KemPublicKey::parse(&r.array()?).map_err(|_| DecodeError::BadValue("X-Wing public key"))?;
        let share = match kind.mode {
            Mode::Code => Some(r.array()?),
            Mode::QrNew | Mode::QrTrusted => None,
        };
        let extensions = Extensions::read(&mut r)?;
        r.finish()?;
        Ok(Self { kind, nonce, public_key, share, extensions })
    }

    fn write(&self, share: Option<&[u8; 32]>) -> Vec<u8> {
        let mut w = Writer::with_capacity(2 + 32 + PUBLIC_KEY_BYTES + 32 + 2);
        w.u8(self.kind.mode.code()).u8(self.kind.purpose.code());
        w.raw(&self.nonce).raw(self.public_key.as_bytes());
        if let Some(share) = share {
            w.raw(share);
        }
        self.extensions.write(&mut w);
        w.into_bytes()
    }
}

/// M1: the reader's answer.
pub(crate) struct Accept {
    /// The reader's CPace share; in `code` mode only.
    pub(crate) share: Option<[u8; 32]>,
    pub(crate) enc: Enc,
    pub(crate) sealed_hello: Vec<u8>,
}

impl Accept {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut w = Writer::with_capacity(32 + ENC_BYTES + SEALED_HELLO_BYTES);
        if let Some(share) = &self.share {
            w.raw(share);
        }
        w.raw(self.enc.as_bytes()).raw(&self.sealed_hello);
        w.into_bytes()
    }

    pub(crate) fn decode(mode: Mode, body: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(body);
        let share = match mode {
            Mode::Code => Some(r.array()?),
            Mode::QrNew | Mode::QrTrusted => None,
        };
        let enc = Enc::parse(&r.array()?).map_err(|_| DecodeError::BadValue("encapsulated key"))?;
        let sealed_hello = r.take(SEALED_HELLO_BYTES)?.to_vec();
        r.finish()?;
        Ok(Self { share, enc, sealed_hello })
    }
}

/// M2: the displayer's hello, sealed.
pub(crate) struct Reply {
    pub(crate) sealed_hello: Vec<u8>,
}

impl Reply {
    pub(crate) fn decode(body: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(body);
        let sealed_hello = r.take(SEALED_HELLO_BYTES)?.to_vec();
        r.finish()?;
        Ok(Self { sealed_hello })
    }
}

const SEALED_HELLO_BYTES: usize = HELLO_BYTES + TAG_BYTES;
