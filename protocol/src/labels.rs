//! Every domain-separation label of the protocol, in one place. Each is used for one thing.

use crate::pairing::{Mode, Purpose};

/// Names the suite, version, mode and purpose; the first thing in each transcript and in each derivation from an
/// introduction's secret, so that no byte of one kind of run means anything in another.
pub(crate) const fn suite(mode: Mode, purpose: Purpose) -> &'static [u8] {
    match (mode, purpose) {
        (Mode::Code, Purpose::Enroll) => b"handfast/1 code enroll",
        (Mode::Code, Purpose::Unlock) => b"handfast/1 code unlock",
        (Mode::QrNew, Purpose::Enroll) => b"handfast/1 qr-new enroll",
        (Mode::QrNew, Purpose::Unlock) => b"handfast/1 qr-new unlock",
        (Mode::QrTrusted, Purpose::Enroll) => b"handfast/1 qr-trusted enroll",
        (Mode::QrTrusted, Purpose::Unlock) => b"handfast/1 qr-trusted unlock",
    }
}

// Transcript and offer.
pub(crate) const TRANSCRIPT: &[u8] = b"handfast/1 transcript";
pub(crate) const OFFER_HASH: &[u8] = b"handfast/1 offer hash";
pub(crate) const OFFER_WITHOUT_SHARE: &[u8] = b"handfast/1 offer without share";

// Derived from a QR code's secret.
pub(crate) const QR_MAILBOX: &[u8] = b"handfast/1 qr mailbox";
pub(crate) const QR_OFFER_KEY: &[u8] = b"handfast/1 qr offer key";
pub(crate) const QR_PSK: &[u8] = b"handfast/1 qr psk";

// CPace: associated data of the two sides, and the step from its key to the channel's PSK.
pub(crate) const CPACE_DISPLAYER: &[u8] = b"handfast/1 cpace displayer";
pub(crate) const CPACE_READER: &[u8] = b"handfast/1 cpace reader";
pub(crate) const CODE_PSK: &[u8] = b"handfast/1 code psk";

// HPKE.
pub(crate) const CHANNEL_INFO: &[u8] = b"handfast/1 channel";
pub(crate) const CHANNEL_PSK_ID: &[u8] = b"handfast/1 channel psk";
pub(crate) const GRANT_INFO: &[u8] = b"handfast/1 grant";
pub(crate) const GRANT_PSK_ID: &[u8] = b"handfast/1 grant psk";

// Exporter contexts of the channel, and what is derived from them.
pub(crate) const EXPORT_REVERSE: &[u8] = b"handfast/1 export reverse";
pub(crate) const REVERSE_KEY: &[u8] = b"handfast/1 reverse key";
pub(crate) const REVERSE_NONCE: &[u8] = b"handfast/1 reverse nonce";
pub(crate) const EXPORT_GRANT_PSK: &[u8] = b"handfast/1 export grant psk";
pub(crate) const EXPORT_CHECK_CODE: &[u8] = b"handfast/1 export check code";
pub(crate) const CHECK_CODE: &[u8] = b"handfast/1 check code";
pub(crate) const CHECK_COMMITMENT: &[u8] = b"handfast/1 check commitment";

// Ed25519 signatures.
pub(crate) const SIGN_HELLO_NEW: &[u8] = b"handfast/1 hello of the new device";
pub(crate) const SIGN_HELLO_TRUSTED: &[u8] = b"handfast/1 hello of the trusted device";
pub(crate) const SIGN_GRANT: &[u8] = b"handfast/1 grant signature";
pub(crate) const SIGN_RECEIPT: &[u8] = b"handfast/1 receipt";
pub(crate) const SIGN_GENESIS: &[u8] = b"handfast/1 genesis";

// Hashes that name things.
pub(crate) const ACCOUNT_ID: &[u8] = b"handfast/1 account id";
pub(crate) const FINGERPRINT: &[u8] = b"handfast/1 fingerprint";

// Derived from a device key, and what a sealed bundle is bound to.
pub(crate) const DEVICE_SEALING: &[u8] = b"handfast/1 device sealing key";
pub(crate) const DEVICE_IDENTITY: &[u8] = b"handfast/1 device identity seed";
pub(crate) const DEVICE_WRAPPING: &[u8] = b"handfast/1 device wrapping seed";
pub(crate) const BUNDLE_AT_REST: &[u8] = b"handfast/1 bundle at rest";
