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

/// Defines the labels, and for the tests a list of all of them.
macro_rules! labels {
    ($($name:ident = $text:literal;)+) => {
        $(pub(crate) const $name: &[u8] = $text;)+

        #[cfg(test)]
        const ALL: &[(&str, &[u8])] = &[$((stringify!($name), $name)),+];
    };
}

labels! {
    // Transcript and offer.
    TRANSCRIPT = b"handfast/1 transcript";
    OFFER_HASH = b"handfast/1 offer hash";
    OFFER_WITHOUT_SHARE = b"handfast/1 offer without share";

    // Derived from a QR code's secret.
    QR_MAILBOX = b"handfast/1 qr mailbox";
    QR_OFFER_KEY = b"handfast/1 qr offer key";
    QR_PSK = b"handfast/1 qr psk";

    // CPace: associated data of the two sides, and the step from its key to the channel's PSK.
    CPACE_DISPLAYER = b"handfast/1 cpace displayer";
    CPACE_READER = b"handfast/1 cpace reader";
    CODE_PSK = b"handfast/1 code psk";

    // HPKE.
    CHANNEL_INFO = b"handfast/1 channel";
    CHANNEL_PSK_ID = b"handfast/1 channel psk";
    GRANT_INFO = b"handfast/1 grant";
    GRANT_PSK_ID = b"handfast/1 grant psk";

    // Exporter contexts of the channel, and what is derived from them.
    EXPORT_REVERSE = b"handfast/1 export reverse";
    REVERSE_KEY = b"handfast/1 reverse key";
    REVERSE_NONCE = b"handfast/1 reverse nonce";
    EXPORT_GRANT_PSK = b"handfast/1 export grant psk";
    EXPORT_CHECK_CODE = b"handfast/1 export check code";
    CHECK_CODE = b"handfast/1 check code";
    CHECK_COMMITMENT = b"handfast/1 check commitment";

    // Ed25519 signatures.
    SIGN_HELLO_NEW = b"handfast/1 hello of the new device";
    SIGN_HELLO_TRUSTED = b"handfast/1 hello of the trusted device";
    SIGN_GRANT = b"handfast/1 grant signature";
    SIGN_RECEIPT = b"handfast/1 receipt";
    SIGN_GENESIS = b"handfast/1 genesis";

    // Hashes that name things.
    ACCOUNT_ID = b"handfast/1 account id";
    FINGERPRINT = b"handfast/1 fingerprint";

    // Derived from a device key, and what a sealed bundle is bound to.
    DEVICE_SEALING = b"handfast/1 device sealing key";
    DEVICE_IDENTITY = b"handfast/1 device identity seed";
    DEVICE_WRAPPING = b"handfast/1 device wrapping seed";
    BUNDLE_AT_REST = b"handfast/1 bundle at rest";
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use crate::crypto::test_support::constants;
    use crate::pairing::Kind;
    use alloc::collections::{BTreeMap, BTreeSet};
    use alloc::format;
    use alloc::string::String;

    /// The labels under `group` of the table.
    fn table(group: &str) -> BTreeMap<String, String> {
        serde_json::from_value(constants()[group].clone()).unwrap()
    }

    fn text(label: &[u8]) -> String {
        String::from_utf8(label.to_vec()).unwrap()
    }

    #[test]
    fn the_table_holds_every_label() {
        let labels = ALL.iter().map(|(name, label)| (name.to_ascii_lowercase(), text(label)));
        assert_eq!(table("labels"), labels.collect());
    }

    #[test]
    fn the_table_holds_every_suite() {
        let mut suites = BTreeMap::new();
        for (mode_name, mode) in [("code", Mode::Code), ("qr-new", Mode::QrNew), ("qr-trusted", Mode::QrTrusted)] {
            for (purpose_name, purpose) in [("enroll", Purpose::Enroll), ("unlock", Purpose::Unlock)] {
                if Kind::new(mode, purpose).is_ok() {
                    suites.insert(format!("{mode_name} {purpose_name}"), text(suite(mode, purpose)));
                }
            }
        }
        assert_eq!(table("suites"), suites);
    }

    /// What is made for one use must mean nothing in another.
    #[test]
    fn no_two_labels_are_alike() {
        let suites = table("suites").into_values();
        let all: BTreeSet<String> = ALL.iter().map(|(_, label)| text(label)).chain(suites).collect();
        assert_eq!(all.len(), ALL.len() + table("suites").len());
    }

    /// A label that is not in the list above would escape the other tests.
    #[test]
    fn no_label_is_defined_elsewhere() {
        let source = include_str!("labels.rs");
        assert_eq!(source.matches(concat!("b\"", "handfast/1 ")).count(), ALL.len() + 6);
    }
}
