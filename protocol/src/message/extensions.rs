//! Room for what later minor revisions add. `spec/protocol.md`, "Extensions".

use alloc::vec::Vec;
use handfast_wire::DecodeError;
use handfast_wire::codec::{Reader, Writer};

/// An extension with this bit must be understood by who receives it; version 1 understands none.
const MUST_UNDERSTAND: u16 = 0x8000;

/// Most bytes that the extensions of one message take, types and lengths included.
const MAX_BYTES: usize = 256;

/// Typed values at the end of a message, in ascending order of type. Version 1 sends none; it keeps unknown ones as
/// they came, so that hashes and signatures over the message hold, and refuses those that must be understood.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Extensions(Vec<(u16, Vec<u8>)>);

impl Extensions {
    pub(crate) fn write(&self, w: &mut Writer) {
        let mut inner = Writer::default();
        for (kind, value) in &self.0 {
            inner.u16(*kind).bytes16(value);
        }
        w.bytes16(&inner.into_bytes());
    }

    pub(crate) fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let mut inner = Reader::new(r.bytes16("extensions", MAX_BYTES)?);
        let mut extensions: Vec<(u16, Vec<u8>)> = Vec::new();
        while !inner.is_empty() {
            let kind = inner.u16()?;
            if kind & MUST_UNDERSTAND != 0 {
                return Err(DecodeError::BadValue("extension that must be understood"));
            }
            if extensions.last().is_some_and(|(last, _)| *last >= kind) {
                return Err(DecodeError::BadValue("order of extensions"));
            }
            extensions.push((kind, inner.bytes16("extension", MAX_BYTES)?.to_vec()));
        }
        Ok(Self(extensions))
    }

    #[cfg(test)]
    pub(crate) fn of(extensions: Vec<(u16, Vec<u8>)>) -> Self {
        Self(extensions)
    }
}
