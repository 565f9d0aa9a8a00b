"""Checks of refusals: one role, replayed through a pairing, is sent what it must refuse.

The role under test runs with the pairing's random values. It is given the other side's messages
and must send its own, octet for octet, until `after` messages have gone by. Its person answers
only what the replay needs. Then it gets the first message of `deliver`, and from then on its
person answers everything at once: yes to each question, the digits of the pairing (or those in
`change`) for each check code. The rest of `deliver` follows when the role waits for it. If
`change` has digits, the person types them before the first of `deliver`.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

from .interfaces import MailboxEnded
from .memory import MemoryMailbox, ScriptedPerson
from .pairings import RUN_SECONDS, Base, Played, play
from .report import Record

SETTLING_TURNS = 50  # turns of the event loop in which nothing more happens


class Replay:
    """The role under test, alone with its mailbox and its person."""

    def __init__(self, base: Base, side: str, mailbox: MemoryMailbox) -> None:
        self.base = base
        self.side = side
        self.mailbox = mailbox
        mailbox.assigned = base.nameplate
        self.person = ScriptedPerson(typed=base.typed)
        self.gone_by = 0  # messages of the base run
        self.may_answer_until = 0

    async def run(
        self, after: int, deliver: Sequence[bytes | MailboxEnded], shown: str, types_first: bool
    ) -> tuple[Played, list[bytes]]:
        """How it ended, and what it sent after the replay."""
        self.person.gate = lambda: self.gone_by < self.may_answer_until
        self.may_answer_until = after
        task = asyncio.ensure_future(
            play(self.base, self.side, self.mailbox, self.person, shown)
        )
        for index, (sender, payload) in enumerate(self.base.messages[:after]):
            if sender == self.side:
                await self._wait(task, lambda: len(self.mailbox.sent) > self._own(index))
                got = self.mailbox.sent[self._own(index)]
                if got != payload:
                    raise ValueError(f"message {index} of the replay differs: {got.hex()[:60]}")
            else:
                self.mailbox.deliver(payload)
            self.gone_by = index + 1
        await self._settle(task)
        before = len(self.mailbox.sent)
        if before != self._own(after):
            raise ValueError(f"sent {before} messages in a replay of {self._own(after)}")
        if types_first:
            self.may_answer_until = after + 1
            await self._settle(task)
        for payload in deliver:
            self.mailbox.deliver(payload)
            await self._settle(task)
            self.may_answer_until = after + 1  # only now, also if it was asked before
            await self._settle(task)
        self.may_answer_until = after + 1  # `deliver` may be empty
        await self._settle(task)
        if not task.done():
            task.cancel()
            raise ValueError(f"still runs; was sent {self.mailbox.received} messages")
        return task.result(), self.mailbox.sent[before:]

    def _own(self, index: int) -> int:
        """How many of the messages before this one are the role's own."""
        return sum(sender == self.side for sender, _ in self.base.messages[:index])

    async def _wait(self, task: asyncio.Future[Played], condition: Callable[[], bool]) -> None:
        for _ in range(10 * SETTLING_TURNS):
            if condition():
                return
            if task.done():
                raise ValueError(f"ended in the replay: {task.result()}")
            await asyncio.sleep(0)
        raise ValueError("does not send what the replay waits for")

    async def _settle(self, task: asyncio.Future[Played]) -> None:
        for _ in range(SETTLING_TURNS):
            if task.done():
                return
            await asyncio.sleep(0)


def check_refusal(root: Record, bases: dict[str, Base]) -> None:
    """One file of refusals/."""
    tally = root.tally
    tally.vectors += 1
    root.equal("kind", "refusal")
    root.raw("comment")
    tally.true("a rule of the text", root.raw("rule") in rules_of_the_text())
    base = bases[root.raw("base")]
    side = root.raw("to")
    base, shown = _changed(root, base)
    played, sends = asyncio.run(_replay(root, base, side, shown, mailbox := MemoryMailbox()))
    root.equal("outcome", played.outcome)
    root.equal("sends", [payload.hex() for payload in sends])
    root.equal("close", mailbox.closed)
    if tally.failures:
        tally.fail(f"it said: {played.outcome} {played.cause or ''} {played.why}")


async def _replay(
    root: Record, base: Base, side: str, shown: str, mailbox: MemoryMailbox
) -> tuple[Played, list[bytes]]:
    replay = Replay(base, side, mailbox)
    deliver, after = root.hex_list("deliver"), root.raw("after")
    types_first = "typed_check_code" in (root.raw("change") or {})
    return await asyncio.wait_for(
        replay.run(after, deliver, shown, types_first), RUN_SECONDS
    )


def _changed(root: Record, base: Base) -> tuple[Base, str]:
    """What this device's person does otherwise than in the pairing."""
    change, shown = root.raw("change"), base.shown
    if change is not None:
        record = root.record("change")
        if "typed_check_code" in record:
            base = replace(base, typed=record.raw("typed_check_code"))
        if "scanned" in record:
            shown = record.raw("scanned")
        record.done()
    return base, shown


@cache
def rules_of_the_text() -> frozenset[str]:
    """The names in the tables of protocol.md, "What must be refused"."""
    text = Path(__file__).resolve().parents[2] / "protocol.md"
    if not text.exists():
        raise ValueError("protocol.md is not beside the implementation")
    return frozenset(re.findall(r"(?m)^\| (R-[a-z0-9-]+) \|", text.read_text(encoding="utf-8")))
