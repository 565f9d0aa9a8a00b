//! What a QR code says: the introduction of the two QR modes, as bytes, as digits and as a link.
//!
//! ```text
//! version u8 = 1 | kind u8 | psk 32 | offer hash 32 | relay hint, the rest: nothing, or scheme u8 and authority
//! ```
//!
//! The bytes are written as decimal digits, 17 for each 7 bytes, which a QR code packs almost as tightly as bytes and a
//! link can carry: `HANDFAST:/<digits>`, or an app's own link `HTTPS://HOST/#<digits>`. Everything else about them is
//! strict: each payload has one text, up to the letter case of the link's scheme and host.

use super::{Mode, Purpose};
use crate::secret::Secret;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::net::{Ipv4Addr, Ipv6Addr};
use core::str::FromStr;
use handfast_wire::DecodeError;
use handfast_wire::codec::Reader;
use zeroize::Zeroizing;

const VERSION: u8 = 1;
const URI_PREFIX: &str = "HANDFAST:/";
const MAX_BYTES: usize = 96;
const MAX_DIGITS: usize = digits_for(MAX_BYTES);
const BLOCK_BYTES: usize = 7;
const BLOCK_DIGITS: usize = digits_for(BLOCK_BYTES);

/// Which device shows the QR code, and what for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum QrKind {
    /// A new device shows it to be enrolled.
    NewEnroll,
    /// A new device shows it to be unlocked once.
    NewUnlock,
    /// A trusted device shows it to enroll another.
    TrustedEnroll,
}

impl QrKind {
    /// The mode of the run that this QR code starts.
    pub fn mode(self) -> Mode {
        match self {
            Self::NewEnroll | Self::NewUnlock => Mode::QrNew,
            Self::TrustedEnroll => Mode::QrTrusted,
        }
    }

    /// The purpose of the run that this QR code starts.
    pub fn purpose(self) -> Purpose {
        match self {
            Self::NewEnroll | Self::TrustedEnroll => Purpose::Enroll,
            Self::NewUnlock => Purpose::Unlock,
        }
    }

    fn code(self) -> u8 {
        match self {
            Self::NewEnroll => 1,
            Self::NewUnlock => 2,
            Self::TrustedEnroll => 3,
        }
    }

    fn from_code(code: u8) -> Result<Self, QrError> {
        match code {
            1 => Ok(Self::NewEnroll),
            2 => Ok(Self::NewUnlock),
            3 => Ok(Self::TrustedEnroll),
            _ => Err(QrError::UnknownKind(code)),
        }
    }
}

/// The content of a QR code. Whoever sees it holds its PSK: it wipes itself and prints only through [`QrText::reveal`].
#[derive(Clone, PartialEq, Eq)]
pub struct QrPayload {
    /// Which device shows it, and what for.
    pub kind: QrKind,
    pub(crate) psk: Secret<32>,
    pub(crate) offer_hash: [u8; 32],
    /// Where the displayer's relay is. The reader decides whether to use it.
    pub relay_hint: Option<RelayHint>,
}

impl QrPayload {
    /// The link `HANDFAST:/<digits>`.
    pub fn to_uri(&self) -> QrText {
        QrText { prefix: URI_PREFIX.into(), digits: to_digits(&self.encode()) }
    }

    /// The link `HTTPS://HOST/#<digits>` of the app that registered `host`. The digits are behind `#`, which keeps them
    /// out of the request if a browser opens the link.
    pub fn to_app_link(&self, host: &str) -> QrText {
        QrText { prefix: app_prefix(host), digits: to_digits(&self.encode()) }
    }

    /// Reads a scanned QR code or an opened link. `app_hosts` are the hosts whose app links count; the letter case of
    /// scheme and host does not, nor does white space around the link.
    ///
    /// The version is read before everything behind it, so that [`QrError::UnknownVersion`] is reported whatever a
    /// later version puts there.
    pub fn parse(text: &str, app_hosts: &[&str]) -> Result<Self, QrError> {
        let text = text.trim();
        let digits = strip_prefix(text, URI_PREFIX)
            .or_else(|| app_hosts.iter().find_map(|host| strip_prefix(text, &app_prefix(host))))
            .ok_or(QrError::NotHandfast)?;

        let first_block = digits.as_bytes().get(..BLOCK_DIGITS).ok_or(QrError::Malformed)?;
        match (block_number(first_block, BLOCK_BYTES)? >> 48) as u8 {
            VERSION => Self::decode(&from_digits(digits)?),
            version => Err(QrError::UnknownVersion(version)),
        }
    }

    fn encode(&self) -> Zeroizing<Vec<u8>> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_BYTES));
        bytes.extend_from_slice(&[VERSION, self.kind.code()]);
        bytes.extend_from_slice(self.psk.expose());
        bytes.extend_from_slice(&self.offer_hash);
        if let Some(hint) = &self.relay_hint {
            bytes.push(hint.scheme.code());
            bytes.extend_from_slice(hint.authority.as_bytes());
        }
        bytes
    }

    fn decode(bytes: &[u8]) -> Result<Self, QrError> {
        let mut r = Reader::new(bytes);
        r.u8()?; // The version, which was checked.
        let kind = QrKind::from_code(r.u8()?)?;
        let psk = Secret::new(r.array()?);
        let offer_hash = r.array()?;
        let relay_hint = if r.is_empty() { None } else { Some(RelayHint::decode(r.u8()?, r.rest())?) };
        Ok(Self { kind, psk, offer_hash, relay_hint })
    }
}

impl fmt::Debug for QrPayload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "QrPayload({:?}, ..)", self.kind)
    }
}

/// The text of a QR code or link. It is as secret as the payload, and wipes itself.
#[derive(Clone)]
pub struct QrText {
    prefix: String,
    digits: Zeroizing<String>,
}

impl QrText {
    /// The text, to show or to hand over as a link. Never log it.
    pub fn reveal(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity(self.prefix.len() + self.digits.len()));
        text.push_str(&self.prefix);
        text.push_str(&self.digits);
        text
    }

    /// The text in the two parts that a QR code encodes best: upper-case ASCII (alphanumeric, except for the `#` of an
    /// app link, which is a byte) and decimal digits (numeric). Never log them.
    pub fn reveal_segments(&self) -> (&str, &str) {
        (&self.prefix, &self.digits)
    }
}

impl fmt::Debug for QrText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "QrText({}..)", self.prefix)
    }
}

/// A relay's address as a QR code carries it: `ws` or `wss`, a host and perhaps a port. It comes from whoever made the
/// QR code and says nothing about who runs that relay.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RelayHint {
    scheme: Scheme,
    authority: String,
}

impl RelayHint {
    /// The longest `host` or `host:port`.
    pub const MAX_AUTHORITY_BYTES: usize = 29;

    /// `host` or `host:port`, in lower case.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// Whether the address is a `wss` one.
    pub fn is_tls(&self) -> bool {
        self.scheme == Scheme::Wss
    }

    fn new(scheme: Scheme, authority: &str) -> Result<Self, QrError> {
        if authority.len() <= Self::MAX_AUTHORITY_BYTES && is_authority(authority) {
            Ok(Self { scheme, authority: authority.into() })
        } else {
            Err(QrError::BadRelayHint)
        }
    }

    fn decode(scheme: u8, authority: &[u8]) -> Result<Self, QrError> {
        let scheme = match scheme {
            1 => Scheme::Ws,
            2 => Scheme::Wss,
            _ => return Err(QrError::BadRelayHint),
        };
        Self::new(scheme, core::str::from_utf8(authority).map_err(|_| QrError::BadRelayHint)?)
    }
}

/// Reads `ws://host`, `wss://host:port` and the like: lower case, no path. [`QrError::BadRelayHint`] for other
/// addresses: a relay that has one of those cannot be hinted at.
impl FromStr for RelayHint {
    type Err = QrError;

    fn from_str(url: &str) -> Result<Self, QrError> {
        match url.split_once("://") {
            Some(("ws", authority)) => Self::new(Scheme::Ws, authority),
            Some(("wss", authority)) => Self::new(Scheme::Wss, authority),
            _ => Err(QrError::BadRelayHint),
        }
    }
}

impl fmt::Display for RelayHint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_tls() { "wss" } else { "ws" };
        write!(f, "{scheme}://{}", self.authority)
    }
}

/// Why a scanned or opened text is no introduction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum QrError {
    /// Another kind of text: neither `HANDFAST:/` nor a link of this app.
    NotHandfast,
    /// The version of another release. A higher one than this release's: this device is the one to update.
    UnknownVersion(u8),
    /// A kind of run that this version does not have.
    UnknownKind(u8),
    /// The digits are damaged: some are missing, or there are too many, or they are no digits.
    Malformed,
    /// The relay's address is none.
    BadRelayHint,
}

impl fmt::Display for QrError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotHandfast => f.write_str("this is not a Handfast QR code"),
            Self::UnknownVersion(version) if *version > VERSION => {
                write!(f, "this QR code has version {version}: update Handfast on the device that scans it")
            }
            Self::UnknownVersion(version) => write!(f, "this QR code has version {version}, which does not exist"),
            Self::UnknownKind(kind) => write!(f, "this QR code is of an unknown kind ({kind})"),
            Self::Malformed => f.write_str("this QR code or link is damaged"),
            Self::BadRelayHint => f.write_str("the relay's address is not one that a QR code can carry"),
        }
    }
}

impl core::error::Error for QrError {}

impl From<DecodeError> for QrError {
    fn from(_: DecodeError) -> Self {
        Self::Malformed
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Scheme {
    Ws,
    Wss,
}

impl Scheme {
    fn code(self) -> u8 {
        match self {
            Self::Ws => 1,
            Self::Wss => 2,
        }
    }
}

fn app_prefix(host: &str) -> String {
    format!("HTTPS://{}/#", host.to_ascii_uppercase())
}

fn strip_prefix<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let (head, tail) = text.split_at_checked(prefix.len())?;
    head.eq_ignore_ascii_case(prefix).then_some(tail)
}

/// 17 for each block of 7 bytes; 3, 5, 8, 10, 13 or 15 for the 1 to 6 bytes of the last block.
const fn digits_for(bytes: usize) -> usize {
    (bytes * 17).div_ceil(7)
}

/// Each block as a big-endian number, with leading zeros.
fn to_digits(bytes: &[u8]) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(digits_for(bytes.len())));
    for block in bytes.chunks(BLOCK_BYTES) {
        let number = block.iter().fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
        for place in (0..digits_for(block.len()) as u32).rev() {
            text.push(char::from(b'0' + (number / 10_u64.pow(place) % 10) as u8));
        }
    }
    text
}

fn from_digits(digits: &str) -> Result<Zeroizing<Vec<u8>>, QrError> {
    if digits.len() > MAX_DIGITS {
        return Err(QrError::Malformed);
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_BYTES));
    for block in digits.as_bytes().chunks(BLOCK_DIGITS) {
        let len = block.len() * BLOCK_BYTES / BLOCK_DIGITS;
        if digits_for(len) != block.len() {
            return Err(QrError::Malformed);
        }
        bytes.extend(block_number(block, len)?.to_be_bytes().iter().skip(8 - len));
    }
    Ok(bytes)
}

/// The number that at most 17 digits write; an error if they are not digits or it does not fit in `len` bytes.
fn block_number(digits: &[u8], len: usize) -> Result<u64, QrError> {
    let number = digits.iter().try_fold(0_u64, |number, digit| {
        if digit.is_ascii_digit() { Ok(number * 10 + u64::from(digit - b'0')) } else { Err(QrError::Malformed) }
    })?;
    if number >> (8 * len) == 0 { Ok(number) } else { Err(QrError::Malformed) }
}

/// A DNS name, an IPv4 address or an IPv6 address in brackets; then perhaps a port.
fn is_authority(authority: &str) -> bool {
    let (is_host, port) = if let Some((address, port)) = authority.strip_prefix('[').and_then(|v6| v6.split_once(']')) {
        (is_ipv6(address), port)
    } else {
        let (host, port) = authority.split_at(authority.find(':').unwrap_or(authority.len()));
        (is_name_or_ipv4(host), port)
    };
    is_host && (port.is_empty() || port.strip_prefix(':').is_some_and(is_port))
}

fn is_ipv6(address: &str) -> bool {
    address.parse::<Ipv6Addr>().is_ok() && !address.contains(|c: char| c.is_ascii_uppercase())
}

fn is_name_or_ipv4(host: &str) -> bool {
    // Resolvers take a name whose last label is a number, such as 0x7f000001 or 127.1, for an address.
    let last = host.rsplit('.').next().unwrap_or_default();
    let is_number = last.bytes().all(|b| b.is_ascii_digit())
        || last.strip_prefix("0x").is_some_and(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()));
    if is_number { host.parse::<Ipv4Addr>().is_ok() } else { host.split('.').all(is_label) }
}

fn is_label(label: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    !label.is_empty() && label.bytes().all(allowed) && !label.starts_with('-') && !label.ends_with('-')
}

fn is_port(port: &str) -> bool {
    port.bytes().all(|b| b.is_ascii_digit()) && !port.starts_with('0') && port.parse::<u16>().is_ok()
}

#[cfg(test)]
#[path = "qr_tests.rs"]
mod tests;
