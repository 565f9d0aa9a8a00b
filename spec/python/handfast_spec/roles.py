"""Ends of runs that no vector shows: people, storage, and what the relay says (relay.md 8.1)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import NamedTuple

from .interfaces import (
    NETWORK_DIFFERENT, NETWORK_SAME, Cancelled, MailboxEnded, StoreFailed,
)
from .memory import MemoryMailbox, ScriptedPerson
from .outcomes import CLOSE_BURNED, CLOSE_CANCELLED, CLOSE_DONE, CLOSE_EXPIRED, CLOSE_FAILED
from .pairings import Base, pair
from .refusals import Replay
from .report import Tally

End = tuple[str, int]  # outcome and close reason


class Pair(NamedTuple):
    """Both roles with other people or storage than in the pairing."""

    what: str
    base: str
    side: str
    change: Callable[[ScriptedPerson], None]
    trusted: End
    new: End
    network: int = NETWORK_SAME


def _fails(event: str, error: Exception) -> Callable[[ScriptedPerson], None]:
    return lambda person: person.fails.update({event: error})


def _no(name: str) -> Callable[[ScriptedPerson], None]:
    return lambda person: setattr(person, name, False)


GOOD = ("enrolled", CLOSE_DONE)
CANCELLED = ("cancelled", CLOSE_CANCELLED)
PAIRS = [
    Pair("the person refuses", "code-enroll", "trusted", _no("approves"),
         ("refused_here", CLOSE_CANCELLED), ("refused", CLOSE_FAILED)),
    Pair("same network, nobody asks again", "code-enroll", "trusted",
         _no("approves_different_network"), GOOD, GOOD),
    Pair("different network, no", "code-enroll", "trusted", _no("approves_different_network"),
         ("refused_here", CLOSE_CANCELLED), ("refused", CLOSE_FAILED), NETWORK_DIFFERENT),
    Pair("different network, yes", "code-enroll", "trusted", lambda person: None, GOOD, GOOD,
         NETWORK_DIFFERENT),
    Pair("T cancels at the approval", "code-enroll", "trusted",
         _fails("ask approval", Cancelled()), CANCELLED, ("peer_cancelled", CLOSE_FAILED)),
    Pair("T cancels at the digits", "qr-trusted-enroll", "trusted",
         _fails("ask check code", Cancelled()), CANCELLED, ("peer_cancelled", CLOSE_FAILED)),
    Pair("N cancels at the digits", "qr-new-enroll", "new",
         _fails("ask check code", Cancelled()), ("peer_cancelled", CLOSE_FAILED), CANCELLED),
    Pair("N cannot store", "code-enroll", "new", _fails("store enrollment", StoreFailed()),
         ("peer_did_not_store", CLOSE_FAILED), ("store_failed", CLOSE_FAILED)),
    Pair("N cannot use the items", "qr-new-unlock", "new", _fails("use items", StoreFailed()),
         ("peer_did_not_store", CLOSE_FAILED), ("store_failed", CLOSE_FAILED)),
    Pair("T cannot write its record", "code-enroll", "trusted",
         _fails("store record", StoreFailed()),
         ("store_failed", CLOSE_FAILED), ("peer_failed", CLOSE_FAILED)),
    Pair("T cannot confirm its record", "code-enroll", "trusted",
         _fails("confirm record", StoreFailed()), GOOD, GOOD),
]


class Alone(NamedTuple):
    """One role, which hears from the relay after so many messages of the pairing."""

    base: str
    side: str
    after: int
    end: MailboxEnded
    outcome: str
    close: int
    cause: str | None = None


def _closed(reason: int) -> MailboxEnded:
    return MailboxEnded("peer_closed", reason)


ALONE = [
    # before the channel
    Alone("code-enroll", "new", 0, MailboxEnded("no_such_offer"), "no_such_offer", CLOSE_FAILED),
    Alone("code-enroll", "new", 2, _closed(CLOSE_BURNED), "wrong_code", CLOSE_BURNED),
    Alone("code-enroll", "new", 2, _closed(CLOSE_CANCELLED), "peer_cancelled", CLOSE_FAILED),
    Alone("code-enroll", "new", 2, _closed(CLOSE_EXPIRED), "expired", CLOSE_EXPIRED),
    Alone("code-enroll", "new", 2, _closed(CLOSE_FAILED), "peer_lost", CLOSE_FAILED),
    Alone("code-enroll", "new", 2, _closed(CLOSE_DONE), "peer_lost", CLOSE_FAILED),
    Alone("qr-trusted-enroll", "new", 2, _closed(CLOSE_BURNED), "peer_lost", CLOSE_FAILED),
    Alone("code-enroll", "trusted", 1, _closed(CLOSE_BURNED), "peer_lost", CLOSE_FAILED),
    Alone("code-enroll", "trusted", 1, _closed(CLOSE_EXPIRED), "peer_lost", CLOSE_FAILED),
    Alone("code-enroll", "trusted", 1, _closed(CLOSE_CANCELLED), "peer_cancelled", CLOSE_FAILED),
    Alone("code-enroll", "trusted", 1, MailboxEnded("crowded"), "crowded", CLOSE_FAILED),
    Alone("code-enroll", "trusted", 1, MailboxEnded("expired"), "expired", CLOSE_EXPIRED),
    # with the channel
    Alone("code-enroll", "new", 3, _closed(CLOSE_CANCELLED), "peer_lost", CLOSE_FAILED),
    Alone("code-enroll", "new", 3, _closed(CLOSE_BURNED), "peer_lost", CLOSE_FAILED),
    Alone("code-enroll", "trusted", 3, _closed(CLOSE_CANCELLED), "peer_lost", CLOSE_FAILED),
    Alone("qr-new-enroll", "new", 3, _closed(CLOSE_EXPIRED), "peer_lost", CLOSE_FAILED),
    Alone("qr-trusted-enroll", "trusted", 3, MailboxEnded("expired"), "expired", CLOSE_EXPIRED),
    # T after the grant
    Alone("code-enroll", "trusted", 4, _closed(CLOSE_DONE), "unknown", CLOSE_FAILED, "peer_lost"),
    Alone("code-enroll", "trusted", 4, MailboxEnded("expired"), "unknown", CLOSE_FAILED,
          "expired"),
    Alone("qr-new-unlock", "trusted", 5, MailboxEnded("relay_forgot"), "unknown", CLOSE_FAILED,
          "relay_forgot"),
]


def check_roles(bases: dict[str, Base]) -> Tally:
    """All of them."""
    tally = Tally("ends without a vector")
    try:
        for case in PAIRS:
            _pair(case, bases[case.base], tally)
        _while_writing(bases["code-enroll"], tally)
        _hint_changes(bases["code-enroll"], tally)
        for alone in ALONE:
            _alone(alone, bases[alone.base], tally)
    except Exception as error:
        tally.fail(f"stopped by {type(error).__name__}: {error}")
    return tally


def _pair(case: Pair, base: Base, tally: Tally) -> None:
    def prepare(
        people: dict[str, ScriptedPerson], mailboxes: dict[str, MemoryMailbox]
    ) -> None:
        mailboxes["trusted"].network = case.network
        case.change(people[case.side])

    tally.vectors += 1
    played, _, mailboxes = asyncio.run(pair(base, prepare))
    for side, want in (("trusted", case.trusted), ("new", case.new)):
        tally.equal(f"{case.what}: {side}", (played[side].outcome, mailboxes[side].closed), want)


def _hint_changes(base: Base, tally: Tally) -> None:
    """A relay cannot take the second question away while the first one is open."""

    def prepare(
        people: dict[str, ScriptedPerson], mailboxes: dict[str, MemoryMailbox]
    ) -> None:
        mailbox, person = mailboxes["trusted"], people["trusted"]
        mailbox.network = NETWORK_DIFFERENT
        person.during["ask approval"] = lambda: setattr(mailbox, "network", NETWORK_SAME)
        person.approves_different_network = False

    tally.vectors += 1
    played, _, _ = asyncio.run(pair(base, prepare))
    tally.equal("hint changes while the person is asked", played["trusted"].outcome, "refused_here")


def _while_writing(base: Base, tally: Tally) -> None:
    """What arrives while T writes its record is read before the first chunk leaves."""
    tally.vectors += 1
    mailbox = MemoryMailbox()
    replay = Replay(base, "trusted", mailbox)
    closed = _closed(CLOSE_FAILED)
    replay.person.during["store record"] = lambda: mailbox.deliver(closed)
    played, sends = asyncio.run(replay.run(3, [], base.shown, True))
    got = (played.outcome, sends)
    tally.equal("the end comes while T writes its record", got, ("peer_lost", []))


def _alone(case: Alone, base: Base, tally: Tally) -> None:
    tally.vectors += 1
    mailbox = MemoryMailbox()
    run = Replay(base, case.side, mailbox).run(case.after, [case.end], base.shown, False)
    played, sends = asyncio.run(run)
    what = f"{case.base} {case.side} after {case.after}: {case.end} {case.end.close_reason}"
    got = (played.outcome, mailbox.closed, played.cause, sends)
    tally.equal(what, got, (case.outcome, case.close, case.cause, []))
