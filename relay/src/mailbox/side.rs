//! What a mailbox knows of one slot, and of one direction.

use super::{ConnectionId, Frame};
use crate::network::NetworkPrefix;
use handfast_wire::{CloseReason, Network, PeerState};
use std::collections::VecDeque;
use subtle::ConstantTimeEq;

/// A slot, what its device sent, and what its device still has to be told.
pub(super) struct Side<F> {
    /// `None`: the slot is free.
    pub(super) token: Option<TokenHash>,
    pub(super) connection: Option<ConnectionId>,
    pub(super) network: Option<NetworkPrefix>,
    pub(super) settled: bool,
    pub(super) closed: Option<CloseReason>,
    pub(super) sent: Sent<F>,
    /// How many of the peer's frames were handed to this slot's socket.
    pub(super) delivered: u32,
    pub(super) notices: Notices,
    /// Something changed for this slot's socket since [`Mailbox::take_woken`].
    pub(super) woken: bool,
}

/// One direction.
pub(super) struct Sent<F> {
    /// Frames accepted: the number that the next one must have.
    pub(super) count: u32,
    /// The last of them: those that the peer may still need.
    pub(super) stored: VecDeque<F>,
    pub(super) bytes: usize,
    /// How many the device that now has the other slot acknowledged.
    pub(super) acked: u32,
    /// The most that any device in the other slot acknowledged: what the sender was told, and its window starts at.
    pub(super) credited: u32,
}

#[derive(Default)]
pub(super) struct Notices {
    pub(super) freed: bool,
    pub(super) presence: Option<Presence>,
    pub(super) third_claim: bool,
    pub(super) ack: bool,
    pub(super) closed: bool,
}

pub(super) enum Presence {
    Joined(Network),
    Left,
}

#[derive(Clone)]
pub(super) struct TokenHash(pub(super) [u8; 32]);

impl<F> Side<F> {
    pub(super) fn has(&self, token: &TokenHash) -> bool {
        self.token.as_ref().is_some_and(|own| own.0.ct_eq(&token.0).into())
    }

    pub(super) fn state(&self) -> PeerState {
        match (&self.token, self.closed, self.connection) {
            (None, ..) => PeerState::Absent,
            (_, Some(_), _) => PeerState::Closed,
            (.., Some(_)) => PeerState::Present,
            (.., None) => PeerState::Away,
        }
    }
}

impl<F: Frame> Sent<F> {
    /// The number of the oldest frame that is still here.
    pub(super) fn first_stored(&self) -> u32 {
        let stored = u32::try_from(self.stored.len()).unwrap_or(u32::MAX);
        self.count.saturating_sub(stored)
    }

    pub(super) fn get(&self, number: u32) -> Option<&F> {
        let index = number.checked_sub(self.first_stored())?;
        self.stored.get(usize::try_from(index).ok()?)
    }

    pub(super) fn forget_acked(&mut self) {
        while self.first_stored() < self.acked {
            let Some(frame) = self.stored.pop_front() else { return };
            self.bytes = self.bytes.saturating_sub(frame.len());
        }
    }

    pub(super) fn discard(&mut self) {
        self.stored = VecDeque::new();
        self.bytes = 0;
    }
}

impl<F> Default for Side<F> {
    fn default() -> Self {
        Self {
            token: None,
            connection: None,
            network: None,
            settled: false,
            closed: None,
            sent: Sent::default(),
            delivered: 0,
            notices: Notices::default(),
            woken: false,
        }
    }
}

impl<F> Default for Sent<F> {
    fn default() -> Self {
        Self { count: 0, stored: VecDeque::new(), bytes: 0, acked: 0, credited: 0 }
    }
}
