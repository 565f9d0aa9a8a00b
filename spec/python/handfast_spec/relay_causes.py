"""What ends a run at the relay (relay.md, sections 8.1 and 9)."""

from __future__ import annotations

from dataclasses import dataclass

from .frame_types import Ended, EndReason, Error, ErrorCode, PeerClosed, Reason


@dataclass(frozen=True)
class Cause:
    """Why a run ended (section 8.1). `outcome` is "peer_closed" where role, mode and channel
    decide what it means; `reason` is the peer's then."""

    outcome: str
    detail: str = ""
    reason: Reason | None = None
    error: Error | None = None


_ERRORS = {
    ErrorCode.NO_SUCH_NAMEPLATE: "no_such_offer",
    ErrorCode.NO_SUCH_MAILBOX: "relay_forgot",
    ErrorCode.MAILBOX_FULL: "offer_in_use",
}
_ENDS = {
    EndReason.EXPIRED: "expired",
    EndReason.CROWDED: "crowded",
    EndReason.CLAIM_TIMED_OUT: "claim_timed_out",
    EndReason.SHUTTING_DOWN: "relay_shut_down",
    EndReason.REPLACED: "relay_misbehaved",
}
LIMITS = (
    "connections", "mailboxes", "mailbox frames", "window", "queued bytes", "frame bytes", "mailbox bytes",
    "source connections", "source mailboxes", "source claims", "source misses", "store",
)


def limit_name(limit: int) -> str:
    """Section 9: numbers from 12 on are limits without a name."""
    return LIMITS[limit] if limit < len(LIMITS) else "a limit that I cannot name"


def cause_of_error(error: Error, displayer: bool) -> Cause:
    """The rows of 8.1 for Error."""
    words = error.code.name.lower().replace("_", " ")
    if error.code == ErrorCode.LIMIT:
        words += f", {limit_name(error.limit)}"
    if error.retry_after:
        words += f", try again in {error.retry_after} ms"
    outcome = _ERRORS.get(error.code, "relay_refused")
    if error.code == ErrorCode.BAD_TOKEN and not displayer:
        outcome = "claim_timed_out"  # the slot was freed while this reader was away
    return Cause(outcome, f"the relay says: {words}", error=error)


def cause_of_end(ended: Ended) -> Cause:
    """The rows of 8.1 for Ended."""
    words = ended.reason.name.lower().replace("_", " ")
    return Cause(_ENDS[ended.reason], f"the relay says: {words}")


def cause_of_close(closed: PeerClosed) -> Cause:
    """The rows of 8.1 for PeerClosed."""
    words = f"the relay says: the peer closed ({closed.reason.name.lower()})"
    return Cause("peer_closed", words, reason=closed.reason)
