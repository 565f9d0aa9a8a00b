//! The primitives of every Handfast encoding: big-endian integers, fixed arrays, length-prefixed bytes.
//!
//! [`Reader`] checks each length before it believes it and never allocates more than it was given;
//! [`Reader::finish`] refuses trailing bytes, so each value has one encoding.

use alloc::vec::Vec;
use core::fmt;

/// Why bytes are not the encoding of any value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DecodeError {
    /// The bytes end before the value does.
    Truncated,
    /// Bytes remain after the value.
    TrailingBytes,
    /// A length is over its limit. Names the field.
    TooLong(&'static str),
    /// A field holds a value that no encoder writes. Names the field.
    BadValue(&'static str),
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated => f.write_str("the bytes end too early"),
            Self::TrailingBytes => f.write_str("bytes remain after the end"),
            Self::TooLong(field) => write!(f, "{field} is longer than its limit"),
            Self::BadValue(field) => write!(f, "{field} has a value that is not allowed"),
        }
    }
}

impl core::error::Error for DecodeError {}

/// Reads an encoding from the front of a byte slice.
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Starts at the first byte of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// One byte.
    pub fn u8(&mut self) -> Result<u8, DecodeError> {
        let [byte] = self.array()?;
        Ok(byte)
    }

    /// A 16-bit big-endian integer.
    pub fn u16(&mut self) -> Result<u16, DecodeError> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    /// A 32-bit big-endian integer.
    pub fn u32(&mut self) -> Result<u32, DecodeError> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    /// Exactly `N` bytes.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (head, rest) = self.rest.split_first_chunk::<N>().ok_or(DecodeError::Truncated)?;
        self.rest = rest;
        Ok(*head)
    }

    /// Exactly `len` bytes.
    pub fn take(&mut self, len: usize) -> Result<&'a [u8], DecodeError> {
        let (head, rest) = self.rest.split_at_checked(len).ok_or(DecodeError::Truncated)?;
        self.rest = rest;
        Ok(head)
    }

    /// Bytes behind a 16-bit length of at most `max`.
    pub fn bytes16(&mut self, field: &'static str, max: usize) -> Result<&'a [u8], DecodeError> {
        let len = usize::from(self.u16()?);
        self.checked(field, len, max)
    }

    /// Bytes behind a 32-bit length of at most `max`.
    pub fn bytes32(&mut self, field: &'static str, max: usize) -> Result<&'a [u8], DecodeError> {
        let len = usize::try_from(self.u32()?).map_err(|_| DecodeError::TooLong(field))?;
        self.checked(field, len, max)
    }

    /// UTF-8 text behind a 16-bit length of at most `max` bytes.
    pub fn text16(&mut self, field: &'static str, max: usize) -> Result<&'a str, DecodeError> {
        core::str::from_utf8(self.bytes16(field, max)?).map_err(|_| DecodeError::BadValue(field))
    }

    /// Everything that is left.
    pub fn rest(&mut self) -> &'a [u8] {
        core::mem::take(&mut self.rest)
    }

    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The value ends here: anything left is an error.
    pub fn finish(self) -> Result<(), DecodeError> {
        if self.rest.is_empty() { Ok(()) } else { Err(DecodeError::TrailingBytes) }
    }

    fn checked(&mut self, field: &'static str, len: usize, max: usize) -> Result<&'a [u8], DecodeError> {
        if len > max {
            return Err(DecodeError::TooLong(field));
        }
        self.take(len)
    }
}

/// Appends encodings to a growing buffer; the counterpart of [`Reader`].
#[derive(Default)]
pub struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    /// An empty buffer with room for `capacity` bytes.
    pub fn with_capacity(capacity: usize) -> Self {
        Self { bytes: Vec::with_capacity(capacity) }
    }

    /// One byte.
    pub fn u8(&mut self, value: u8) -> &mut Self {
        self.raw(&[value])
    }

    /// A 16-bit big-endian integer.
    pub fn u16(&mut self, value: u16) -> &mut Self {
        self.raw(&value.to_be_bytes())
    }

    /// A 32-bit big-endian integer.
    pub fn u32(&mut self, value: u32) -> &mut Self {
        self.raw(&value.to_be_bytes())
    }

    /// The bytes themselves, without a length.
    pub fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.bytes.extend_from_slice(bytes);
        self
    }

    /// Bytes behind a 16-bit length. Longer input is cut: callers hold types whose length was checked.
    pub fn bytes16(&mut self, bytes: &[u8]) -> &mut Self {
        let len = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
        self.u16(len).raw(bytes.get(..usize::from(len)).unwrap_or_default())
    }

    /// Bytes behind a 32-bit length. Longer input is cut: callers hold types whose length was checked.
    pub fn bytes32(&mut self, bytes: &[u8]) -> &mut Self {
        let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        self.u32(len).raw(bytes.get(..len as usize).unwrap_or_default())
    }

    /// How many bytes were written.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether nothing was written yet.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The finished encoding.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}
