//! Why a run ended without its goal, seen from the program that drives it.

use crate::{ProfileError, RelayUrl};
use handfast_protocol::{Failure, Fault, WrongWay};

/// What ended a run. Each message says what happened and what to do next; none holds a secret.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The run itself failed. [`Failure`] says who is at fault.
    #[error(transparent)]
    Failed(#[from] Failure),
    /// No connection to the relay, or it was lost and did not come back in time.
    #[error(
        "cannot reach the relay at {relay} ({why}): check the address and the network, or start one with `handfast-relay serve`"
    )]
    RelayUnreachable {
        /// Its address.
        relay: RelayUrl,
        /// What the system says.
        why: String,
    },
    /// Something answers at the address, but it is no relay of this version.
    #[error("what answers at {relay} is not a Handfast relay of this version ({why}): check the address, or update")]
    NotARelay {
        /// Its address.
        relay: RelayUrl,
        /// What it answered.
        why: String,
    },
    /// TLS failed: no trusted root certificates, or the relay's certificate is not acceptable.
    #[error("no secure connection to {relay} ({why}): check the address, the clock and the certificate")]
    Tls {
        /// Its address.
        relay: RelayUrl,
        /// What TLS says.
        why: String,
    },
    /// Reading or writing the profile failed.
    #[error(transparent)]
    Profile(#[from] ProfileError),
    /// The new device has confirmed that it is enrolled, but its record here could not be updated.
    #[error(
        "the new device is enrolled and has confirmed it, but its record here could not be updated: {0}; `handfast devices` lists it as unconfirmed"
    )]
    NotRecorded(#[source] ProfileError),
    /// The code or QR code is not meant for this role.
    #[error(transparent)]
    WrongWay(#[from] WrongWay),
}

impl Error {
    /// What went wrong in a few words, without advice.
    pub(crate) fn cause(&self) -> String {
        match self {
            Self::RelayUnreachable { why, .. } | Self::NotARelay { why, .. } | Self::Tls { why, .. } => why.clone(),
            other => other.to_string(),
        }
    }

    /// Who is at fault.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Failed(failure) => failure.fault(),
            Self::RelayUnreachable { .. } | Self::NotARelay { .. } | Self::Tls { .. } => Fault::Relay,
            Self::Profile(_) | Self::NotRecorded(_) => Fault::Environment,
            Self::WrongWay(_) => Fault::Person,
        }
    }
}
