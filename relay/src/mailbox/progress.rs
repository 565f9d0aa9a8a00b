//! How far a mailbox has come and how it ended, for those who count.

use super::{Ending, Frame, Mailbox};
use crate::time::Time;
use handfast_wire::{CloseReason, EndReason};
use std::time::Duration;

/// How far a mailbox has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MailboxState {
    /// Its second slot is free.
    Waiting,
    /// Both slots are taken.
    Paired,
    /// Both devices have said that they are settled.
    Settled,
}

/// How a mailbox ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Its devices closed it. This is the reason of the two that says more: done only if both are.
    Closed(CloseReason),
    /// The relay ended it.
    Ended(EndReason),
}

/// A step that changed a mailbox's state.
#[derive(Clone, Copy)]
pub(crate) struct Step {
    /// Its second slot was freed.
    pub(crate) lapsed: bool,
    pub(crate) outcome: Option<Outcome>,
    /// How long two devices took that are done.
    pub(crate) pairing: Option<Duration>,
}

/// Every value that [`Outcome::name`] has.
pub(crate) const OUTCOMES: [&str; 7] = ["done", "cancelled", "burned", "expired", "failed", "crowded", "shutting_down"];

impl Outcome {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Closed(CloseReason::Done) => "done",
            Self::Closed(CloseReason::Cancelled) => "cancelled",
            Self::Closed(CloseReason::Burned) => "burned",
            Self::Closed(CloseReason::Expired) | Self::Ended(EndReason::Expired) => "expired",
            Self::Ended(EndReason::Crowded) => "crowded",
            Self::Ended(EndReason::ShuttingDown) => "shutting_down",
            _ => "failed",
        }
    }
}

impl Step {
    /// What a step came to that found `mailbox` in state `before`; nothing if that is its state still.
    pub(crate) fn of<F: Frame>(
        before: Option<MailboxState>,
        mailbox: &Mailbox<F>,
        now: impl FnOnce() -> Time,
    ) -> Option<Self> {
        let after = mailbox.state();
        if before == after {
            return None;
        }
        let outcome = mailbox.outcome();
        let done = outcome == Some(Outcome::Closed(CloseReason::Done));
        let pairing = mailbox.claimed_at.filter(|_| done).map(|claimed| now().since(claimed));
        Some(Self { lapsed: before.is_some() && after == Some(MailboxState::Waiting), outcome, pairing })
    }
}

impl<F: Frame> Mailbox<F> {
    /// `None` once it is over.
    pub(crate) fn state(&self) -> Option<MailboxState> {
        if self.is_over() {
            None
        } else if self.second.token.is_none() {
            Some(MailboxState::Waiting)
        } else if self.is_settled() {
            Some(MailboxState::Settled)
        } else {
            Some(MailboxState::Paired)
        }
    }

    fn outcome(&self) -> Option<Outcome> {
        Some(match self.ending? {
            Ending::Because(reason) => Outcome::Ended(reason),
            Ending::Closed => {
                let weight = |reason: &CloseReason| match reason {
                    CloseReason::Burned => 4,
                    CloseReason::Cancelled => 3,
                    CloseReason::Expired => 2,
                    CloseReason::Done => 0,
                    _ => 1,
                };
                let reasons = [self.first.closed, self.second.closed].into_iter().flatten();
                Outcome::Closed(reasons.max_by_key(weight)?)
            }
        })
    }
}
