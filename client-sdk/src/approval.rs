//! The question to the person on a trusted device, with what this device's own records say about who asks.

use handfast_protocol::device::IdentityPublicKey;
use handfast_protocol::pairing::Purpose;
use handfast_protocol::wire::Network;
use handfast_protocol::{AuthenticatedBy, Request};

/// Everything the person needs for the decision. Show all of it at once, and refuse by default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Approval {
    /// What the run is for.
    pub purpose: Purpose,
    /// What would leave this device.
    pub request: Request,
    /// The other device's identity. Its person sees the same fingerprint on it.
    pub identity: IdentityPublicKey,
    /// What it calls itself, cleaned for display; may be empty. It proves nothing.
    pub name: String,
    /// What kind of machine it says it is, cleaned for display; may be empty.
    pub platform: String,
    /// What the relay says about the two networks. The relay could be lying.
    pub network: Network,
    /// How this device knows that the other one is the one that the person means. If only by
    /// [`AuthenticatedBy::RecordedIdentities`], ask whether the device is in front of the person: nothing else shows it.
    pub authenticated_by: AuthenticatedBy,
    /// This device's own record of the other one, if it has recorded its identity.
    pub recorded: Option<RecordedDevice>,
}

/// A device that this one has let in, or was let in by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedDevice {
    /// What it was called when it was recorded, cleaned for display; may be empty.
    pub name: String,
    /// It let this device in. Otherwise this device let it in.
    pub let_this_device_in: bool,
}
