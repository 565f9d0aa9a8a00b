"""How a run can end (protocol.md, "Outcomes", "Aborts", "What must be refused").

Fault, close reason and abort follow from the outcome alone; what the peer, the relay and the
person do becomes an outcome here.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from .errors import Refused
from .interfaces import MailboxEnded

SUCCESSES = ("enrolled", "unlocked")

# Who is at fault.
FAULTS = {
    "peer misbehaved": (
        "wrong_code", "wrong_check_code", "version", "wrong_offer", "peer_misbehaved",
    ),
    "peer refused": (
        "refused", "peer_cancelled", "no_such_entry", "not_recorded", "other_account",
        "peer_did_not_store", "peer_failed", "peer_lost",
    ),
    "relay": (
        "no_such_offer", "offer_in_use", "crowded", "expired", "claim_timed_out",
        "relay_forgot", "relay_shut_down", "relay_refused", "relay_misbehaved",
    ),
    "person": ("cancelled", "refused_here"),
    "caller": ("wrong_bundle",),
    "environment": ("store_failed", "internal"),
    "unknown": ("unknown",),
}
FAULT_OF = {outcome: fault for fault, outcomes in FAULTS.items() for outcome in outcomes}

# The reason in a device's own Close.
CLOSE_DONE, CLOSE_CANCELLED, CLOSE_BURNED, CLOSE_EXPIRED, CLOSE_FAILED = range(5)
CLOSE_OF = {
    "enrolled": CLOSE_DONE,
    "unlocked": CLOSE_DONE,
    "cancelled": CLOSE_CANCELLED,
    "refused_here": CLOSE_CANCELLED,
    "wrong_code": CLOSE_BURNED,
    "peer_misbehaved": CLOSE_BURNED,
    "expired": CLOSE_EXPIRED,
}

# Reasons of an Abort, and what they mean to who receives it.
ABORTS = (
    "refused", "cancelled", "wrong check code", "no such entry", "not recorded", "not stored",
    "protocol", "internal",
)
ABORT_MEANS = (
    "refused", "peer_cancelled", "wrong_check_code", "no_such_entry", "not_recorded",
    "peer_did_not_store", "peer_failed", "peer_failed",
)
# What a device that has the channel tells its peer when it ends a run with this outcome.
ABORT_OF = {
    "refused_here": "refused",
    "cancelled": "cancelled",
    "wrong_check_code": "wrong check code",
    "no_such_entry": "no such entry",
    "not_recorded": "not recorded",
    "store_failed": "not stored",  # at N; T says *internal* ("Grant")
    "peer_misbehaved": "protocol",
    "internal": "internal",
    "wrong_bundle": "internal",
}


class Ended(Exception):
    """The run is over without success.

    The abort to the peer is the one of the outcome, if it has one, unless another is named here.
    Silent: the peer is not sent one.
    """

    def __init__(
        self, outcome: str, why: str = "", silent: bool = False, abort: str | None = None
    ) -> None:
        super().__init__(f"{outcome}: {why}")
        self.abort = abort or ABORT_OF.get(outcome)
        self.outcome = outcome
        self.why = why
        self.silent = silent


@contextmanager
def refused_as(outcome: str) -> Iterator[None]:
    """What is refused inside ends the run with this outcome."""
    try:
        yield
    except Refused as refusal:
        raise Ended(outcome, str(refusal)) from refusal


def close_reason(outcome: str) -> int:
    """The reason of the own Close."""
    return CLOSE_OF.get(outcome, CLOSE_FAILED)


def abort_reason(ended: Ended) -> int | None:
    """The reason of the abort that a device with the channel sends; None: it sends nothing."""
    if ended.silent or ended.abort is None:
        return None
    return ABORTS.index(ended.abort)


def of_abort(reason: int) -> Ended:
    """A device that receives an abort does not answer it."""
    return Ended(ABORT_MEANS[reason], f"abort: {ABORTS[reason]}", silent=True)


def of_mailbox_end(end: MailboxEnded, reader: bool, code_mode: bool, has_channel: bool) -> Ended:
    """relay.md 8.1: what the relay's word means for this role at this time."""
    if end.outcome != "peer_closed":
        return Ended(end.outcome, end.detail, silent=True)
    outcome = "peer_lost"
    if not has_channel:
        if end.close_reason == CLOSE_CANCELLED:
            outcome = "peer_cancelled"
        elif end.close_reason == CLOSE_BURNED and reader and code_mode:
            outcome = "wrong_code"
        elif end.close_reason == CLOSE_EXPIRED and reader:
            outcome = "expired"
    return Ended(outcome, f"the relay says that the peer closed ({end.close_reason})", silent=True)


def may_hold_bundle(cause: Ended) -> bool:
    """T, after the first chunk: every end but a receipt or *not stored* is `unknown`."""
    return cause.outcome != "peer_did_not_store"
