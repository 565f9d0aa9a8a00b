//! Proof tokens. A bundle is sealed only by [`crate::enrollment`]'s release, which takes one of each; none can be made
//! without the check that it stands for.

use super::check_code::CheckCode;
use super::{Kind, Mode, Purpose};
use crate::channel::Channel;
use crate::crypto::identity::IdentityPublicKey;
use crate::message::Request;
use handfast_wire::Network;
use subtle::ConstantTimeEq;

/// The device at the other end is the one that the person means: by the typed code, by the check code, or because
/// each side had recorded the other's identity.
pub(crate) struct Authenticated(());

impl Authenticated {
    /// In `code` mode the channel itself shows that both sides know the code.
    pub(crate) fn by_code(kind: Kind, _confirmed: &Channel) -> Option<Self> {
        (kind.mode == Mode::Code).then_some(Self(()))
    }

    /// In QR modes the person carried the check code from one screen to the other.
    pub(crate) fn by_check_code(expected: &CheckCode, entered: &CheckCode) -> Option<Self> {
        bool::from(expected.ct_eq(entered)).then_some(Self(()))
    }

    /// For `unlock` between devices that know each other. `peer` has signed the transcript; `peer_knows_us` is its
    /// own word about what it has recorded.
    pub(crate) fn by_pins(
        kind: Kind,
        peer: &IdentityPublicKey,
        known: &[IdentityPublicKey],
        peer_knows_us: bool,
    ) -> Option<Self> {
        (kind.purpose == Purpose::Unlock && peer_knows_us && known.contains(peer)).then_some(Self(()))
    }
}

/// The question to the person on the trusted device, not yet answered.
pub(crate) struct ApprovalQuestion {
    request: Request,
    /// The relay says the devices are on different networks and the person has not yet confirmed that.
    asks_again: bool,
}

/// The person said yes to exactly this request.
pub(crate) struct Approved(Request);

/// What a yes leads to.
pub(crate) enum Yes {
    /// A second question: the relay says that the devices are on different networks.
    AskAgain(ApprovalQuestion),
    /// Nothing more to ask.
    Approved(Approved),
}

impl ApprovalQuestion {
    pub(crate) fn new(request: Request, network: Network) -> Self {
        Self { request, asks_again: network == Network::Different }
    }

    pub(crate) fn yes(self) -> Yes {
        if self.asks_again {
            Yes::AskAgain(Self { asks_again: false, ..self })
        } else {
            Yes::Approved(Approved(self.request))
        }
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
