//! Proof tokens. A bundle is sealed only by [`crate::enrollment`]'s release, which takes one of each; none can be made
//! without the check that it stands for.

use super::check_code::CheckCode;
use super::{Kind, Mode, Purpose};
use crate::channel::Channel;
use crate::crypto::identity::IdentityPublicKey;
use crate::message::Request;
use handfast_wire::Network;
use subtle::ConstantTimeEq;

/// How a trusted device knows that the device at the other end is the one that the person means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthenticatedBy {
    /// Both know the code that was typed.
    Code,
    /// The person carried the check code from one screen to the other.
    CheckCode,
    /// `unlock`: each had recorded the other's identity. No digits were asked for, and nothing shows that the device is
    /// near.
    RecordedIdentities,
}

/// The device at the other end is the one that the person means.
pub(crate) struct Authenticated(AuthenticatedBy);

impl Authenticated {
    /// In `code` mode the channel itself shows that both sides know the code.
    pub(crate) fn by_code(kind: Kind, _confirmed: &Channel) -> Option<Self> {
        (kind.mode == Mode::Code).then_some(Self(AuthenticatedBy::Code))
    }

    /// In QR modes the person carried the check code from one screen to the other.
    pub(crate) fn by_check_code(expected: &CheckCode, entered: &CheckCode) -> Option<Self> {
        bool::from(expected.ct_eq(entered)).then_some(Self(AuthenticatedBy::CheckCode))
    }

    /// For `unlock` between devices that know each other. `peer` has signed the transcript; `peer_knows_us` is its
    /// own word about what it has recorded.
    pub(crate) fn by_pins(
        kind: Kind,
        peer: &IdentityPublicKey,
        known: &[IdentityPublicKey],
        peer_knows_us: bool,
    ) -> Option<Self> {
        (kind.purpose == Purpose::Unlock && peer_knows_us && known.contains(peer))
            .then_some(Self(AuthenticatedBy::RecordedIdentities))
    }

    pub(crate) fn by(&self) -> AuthenticatedBy {
        self.0
    }
}

/// The first question to the person on the trusted device, not yet answered: release this?
pub(crate) struct ApprovalQuestion {
    request: Request,
    network: Network,
}

/// The second question, not yet answered: although the relay says that the devices are on different networks? It is of
/// a type of its own, so that no yes to the first one can answer it.
pub(crate) struct DifferentNetworkQuestion(Request);

/// The person said yes to exactly this request, to every question that there was.
pub(crate) struct Approved(Request);

/// What a yes to the first question leads to.
pub(crate) enum Yes {
    /// The second question.
    AskDifferentNetwork(DifferentNetworkQuestion),
    /// Nothing more to ask.
    Approved(Approved),
}

impl ApprovalQuestion {
    pub(crate) fn new(request: Request, network: Network) -> Self {
        Self { request, network }
    }

    pub(crate) fn yes(self) -> Yes {
        match self.network {
            Network::Different => Yes::AskDifferentNetwork(DifferentNetworkQuestion(self.request)),
            Network::Same | Network::Unknown => Yes::Approved(Approved(self.request)),
        }
    }
}

impl DifferentNetworkQuestion {
    pub(crate) fn yes(self) -> Approved {
        Approved(self.0)
    }
}

impl Approved {
    /// What the person said yes to.
    pub(crate) fn request(&self) -> &Request {
        &self.0
    }
}

#[cfg(test)]
#[path = "proof_tests.rs"]
mod tests;
