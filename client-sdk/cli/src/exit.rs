//! Exit codes: one for each kind of failure, so that scripts can tell them apart.

use handfast::Failure;
use handfast::wire::ErrorCode;
use std::fmt;

/// Why the command failed. Each kind is one exit code and one name in the `failed` event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    Internal,
    Usage,
    NoProfile,
    ProfileUnwritable,
    CodeTypo,
    WrongCode,
    WrongCheckCode,
    Refused,
    PeerCancelled,
    CodeExpired,
    CodeInUse,
    RelayUnreachable,
    RelayRefused,
    PeerMisbehaved,
    OutcomeUnknown,
    BadQr,
    BadBundle,
    AlreadyEnrolled,
    PeerLost,
    NotRecorded,
    PeerFailed,
    File,
    Version,
    ProfileDamaged,
    Cancelled,
}

/// A failed command: the kind, and one sentence that says what to do.
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) exit: Exit,
    pub(crate) message: String,
    pub(crate) limit: Option<LimitReached>,
}

/// The limit of the relay that ended a run, for scripts; people read it in the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LimitReached {
    pub(crate) name: &'static str,
    /// When to come back; `None` if the relay cannot say.
    pub(crate) retry_after_ms: Option<u32>,
}

/// Kind, exit code, name, meaning: the only place that lists them.
const TABLE: [(Exit, u8, &str, &str); 25] = [
    (Exit::Internal, 1, "internal", "an unexpected error"),
    (Exit::Usage, 2, "usage", "wrong arguments, or a decision that was not understood"),
    (Exit::NoProfile, 3, "no_profile", "this device holds no account"),
    (
        Exit::ProfileUnwritable,
        4,
        "profile_unwritable",
        "the profile cannot be read or written, or another command uses it",
    ),
    (Exit::CodeTypo, 5, "code_typo", "the code has a typing mistake; nothing was sent and the code is still good"),
    (Exit::WrongCode, 6, "wrong_code", "the code was wrong and is used up"),
    (Exit::WrongCheckCode, 7, "wrong_check_code", "the check code was wrong"),
    (Exit::Refused, 8, "refused", "the person at the trusted device refused"),
    (Exit::PeerCancelled, 9, "peer_cancelled", "the other device ended the run"),
    (Exit::CodeExpired, 10, "code_expired", "no such code or QR code: expired, used up, or another relay's"),
    (Exit::CodeInUse, 11, "code_in_use", "another device uses the code, or a third one tried it"),
    (Exit::RelayUnreachable, 12, "relay_unreachable", "no relay answers at the address"),
    (Exit::RelayRefused, 13, "relay_refused", "the relay refuses, shuts down, restarted or misbehaves"),
    (
        Exit::PeerMisbehaved,
        14,
        "peer_misbehaved",
        "something that is not allowed came from the other device: perhaps interference",
    ),
    (
        Exit::OutcomeUnknown,
        15,
        "outcome_unknown",
        "contact was lost after the bundle was sent: the other device may hold it",
    ),
    (Exit::BadQr, 16, "bad_qr", "no usable QR code in the image or text"),
    (Exit::BadBundle, 17, "bad_bundle", "the bundle is full or has no entry of that name"),
    (Exit::AlreadyEnrolled, 18, "already_enrolled", "this device holds an account already"),
    (Exit::PeerLost, 19, "peer_lost", "the other device went away"),
    (Exit::NotRecorded, 20, "not_recorded", "no record of that device, here or on the trusted device"),
    (Exit::PeerFailed, 21, "peer_failed", "the other device failed, or could not store the bundle"),
    (Exit::File, 22, "file", "a file named on the command line cannot be read or written"),
    (Exit::Version, 23, "version", "the devices speak different versions"),
    (Exit::ProfileDamaged, 24, "profile_damaged", "the profile is damaged"),
    (Exit::Cancelled, 130, "cancelled", "cancelled here: Ctrl-C, SIGTERM, SIGHUP, `cancel`, or the end of the input"),
];

impl Exit {
    pub(crate) fn code(self) -> u8 {
        self.row().1
    }

    /// The `failure` of the `failed` event.
    pub(crate) fn name(self) -> &'static str {
        self.row().2
    }

    fn row(self) -> (Self, u8, &'static str, &'static str) {
        TABLE.into_iter().find(|row| row.0 == self).unwrap_or(TABLE[0])
    }
}

/// The table for `--help`.
pub(crate) fn help() -> String {
    let mut text = String::from("Exit codes:\n    0  success\n");
    for (_, code, name, meaning) in TABLE {
        text.push_str(&format!("  {code:>3}  {name}: {meaning}\n"));
    }
    text
}

impl Failed {
    pub(crate) fn new(exit: Exit, message: impl fmt::Display) -> Self {
        Self { exit, message: message.to_string(), limit: None }
    }

    pub(crate) fn usage(message: impl fmt::Display) -> Self {
        Self::new(Exit::Usage, message)
    }

    pub(crate) fn internal(message: impl fmt::Display) -> Self {
        Self::new(Exit::Internal, message)
    }
}

impl LimitReached {
    /// `None` if the run ended for another reason.
    pub(crate) fn of(failure: &Failure) -> Option<Self> {
        match failure {
            Failure::RelayRefused { code: ErrorCode::Limit(limit), retry_after_ms } => {
                Some(Self { name: limit.name(), retry_after_ms: Some(*retry_after_ms).filter(|ms| *ms > 0) })
            }
            Failure::Unknown { cause, .. } => Self::of(cause),
            _ => None,
        }
    }
}

impl From<&Failure> for Exit {
    fn from(failure: &Failure) -> Self {
        match failure {
            Failure::WrongCode => Self::WrongCode,
            Failure::WrongCheckCode => Self::WrongCheckCode,
            Failure::Version(_) => Self::Version,
            Failure::WrongOffer | Failure::OtherAccount | Failure::PeerMisbehaved => Self::PeerMisbehaved,
            Failure::Refused | Failure::RefusedHere => Self::Refused,
            Failure::PeerCancelled => Self::PeerCancelled,
            Failure::NoSuchEntry | Failure::WrongBundle => Self::BadBundle,
            Failure::NotRecorded => Self::NotRecorded,
            Failure::PeerDidNotStore | Failure::PeerFailed => Self::PeerFailed,
            Failure::PeerLost => Self::PeerLost,
            Failure::NoSuchOffer | Failure::Expired | Failure::ClaimTimedOut => Self::CodeExpired,
            Failure::OfferInUse | Failure::Crowded => Self::CodeInUse,
            Failure::RelayForgot | Failure::RelayShutDown | Failure::RelayRefused { .. } | Failure::RelayMisbehaved => {
                Self::RelayRefused
            }
            Failure::Cancelled => Self::Cancelled,
            Failure::StoreFailed => Self::ProfileUnwritable,
            Failure::Unknown { .. } => Self::OutcomeUnknown,
            // `Internal`, and what a later version adds.
            _ => Self::Internal,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use handfast::Secret;
    use handfast::protocol::device::DeviceKey;
    use handfast::wire::LimitKind;
    use std::collections::{HashMap, HashSet};

    #[test]
    fn every_kind_has_one_code_and_one_name_of_its_own() {
        let codes: HashSet<u8> = TABLE.iter().map(|row| row.1).collect();
        let names: HashSet<&str> = TABLE.iter().map(|row| row.2).collect();
        assert_eq!((codes.len(), names.len()), (TABLE.len(), TABLE.len()));
        assert!(!codes.contains(&0));
        for (exit, code, name, _) in TABLE {
            assert_eq!((exit.code(), exit.name()), (code, name));
        }
    }

    /// A kind that is missing from the table would fall back to its first row.
    #[test]
    fn the_table_is_complete() {
        assert_eq!(Exit::Cancelled as usize + 1, TABLE.len());
        assert!(TABLE.iter().enumerate().all(|(i, row)| row.0 as usize == i));
    }

    /// Scripts rely on these numbers.
    #[test]
    fn failures_that_people_meet_have_their_documented_codes() {
        for (failure, code) in [
            (Failure::WrongCode, 6),
            (Failure::WrongCheckCode, 7),
            (Failure::Refused, 8),
            (Failure::RefusedHere, 8),
            (Failure::PeerCancelled, 9),
            (Failure::NoSuchOffer, 10),
            (Failure::Expired, 10),
            (Failure::Crowded, 11),
            (Failure::RelayShutDown, 13),
            (Failure::WrongOffer, 14),
            (Failure::OtherAccount, 14),
            (Failure::PeerLost, 19),
            (Failure::NotRecorded, 20),
            (Failure::Version(2), 23),
            (Failure::Cancelled, 130),
        ] {
            assert_eq!(Exit::from(&failure).code(), code, "{failure:?}");
        }
    }

    #[test]
    fn a_limit_of_the_relay_has_its_name_and_time() {
        let refused = |code, retry_after_ms| LimitReached::of(&Failure::RelayRefused { code, retry_after_ms });
        let misses = LimitReached { name: "source_misses", retry_after_ms: Some(40_000) };
        assert_eq!(refused(ErrorCode::Limit(LimitKind::SourceMisses), 40_000), Some(misses));
        let window = LimitReached { name: "window", retry_after_ms: None };
        assert_eq!(refused(ErrorCode::Limit(LimitKind::Window), 0), Some(window));
        assert_eq!(refused(ErrorCode::Draining, 1_000), None);
    }

    fn constants() -> serde_json::Value {
        serde_json::from_str(include_str!("../../../spec/constants.json")).unwrap()
    }

    #[test]
    fn the_table_of_constants_holds_every_code() {
        let success = [("success".to_owned(), 0)];
        let codes = TABLE.iter().map(|(_, code, name, _)| ((*name).to_owned(), *code));
        let codes: HashMap<String, u8> = success.into_iter().chain(codes).collect();
        assert_eq!(constants()["exit_codes"], serde_json::json!(codes));
    }

    #[test]
    fn the_table_of_constants_says_which_code_each_failure_has() {
        let failures = [
            Failure::WrongCode,
            Failure::WrongCheckCode,
            Failure::Version(2),
            Failure::WrongOffer,
            Failure::PeerMisbehaved,
            Failure::Refused,
            Failure::PeerCancelled,
            Failure::NoSuchEntry,
            Failure::NotRecorded,
            Failure::OtherAccount,
            Failure::PeerDidNotStore,
            Failure::PeerFailed,
            Failure::PeerLost,
            Failure::NoSuchOffer,
            Failure::OfferInUse,
            Failure::Crowded,
            Failure::Expired,
            Failure::ClaimTimedOut,
            Failure::RelayForgot,
            Failure::RelayShutDown,
            Failure::RelayRefused { code: ErrorCode::Draining, retry_after_ms: 0 },
            Failure::RelayMisbehaved,
            Failure::Cancelled,
            Failure::RefusedHere,
            Failure::StoreFailed,
            Failure::WrongBundle,
            Failure::Internal,
            Failure::Unknown {
                device: String::new(),
                identity: Box::new(DeviceKey::from_secret(Secret::new([1; 32])).identity()),
                cause: Box::new(Failure::PeerLost),
            },
        ];
        let table = constants();
        assert_eq!(table["failures"].as_object().map(|rows| rows.len()), Some(failures.len()));
        for failure in failures {
            let row = &table["failures"][snake_case(&failure)];
            assert_eq!(row["exit"], Exit::from(&failure).name(), "{failure:?}");
        }
    }

    /// The name of the variant in the table of constants.
    fn snake_case(failure: &Failure) -> String {
        let mut name = String::new();
        for c in format!("{failure:?}").chars().take_while(char::is_ascii_alphanumeric) {
            if c.is_ascii_uppercase() && !name.is_empty() {
                name.push('_');
            }
            name.push(c.to_ascii_lowercase());
        }
        name
    }

    #[test]
    fn the_readme_documents_every_code() {
        let readme = include_str!("../README.md");
        for (_, code, name, meaning) in TABLE {
            assert!(readme.contains(&format!("| {code} | `{name}` | {meaning} |")), "{name}");
        }
    }
}
