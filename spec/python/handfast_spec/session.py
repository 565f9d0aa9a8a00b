"""What both roles do alike: receive what is due, wait for the person, end the run.

For reading and checking, not constant-time, never with real secrets.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from .channel import Channel
from .errors import BadEncoding
from .interfaces import Cancelled, Mailbox, MailboxEnded, Person, RunFailed, StoreFailed
from .messages import ABORT, split
from .outcomes import (
    Ended, abort_reason, close_reason, may_hold_bundle, of_abort, of_mailbox_end, refused_as,
)

Answer = TypeVar("Answer")


class Session:
    """One run of one role."""

    def __init__(self, mailbox: Mailbox, person: Person, mode: str, reader: bool) -> None:
        self.mailbox = mailbox
        self.person = person
        self.mode = mode
        self.reader = reader
        self.channel: Channel | None = None
        self.suspect: tuple[str, str] | None = None  # T, from M3 on: N's name and fingerprint

    # --- messages ---

    async def receive_payload(self) -> bytes:
        """M0, M1 or M2 as it came."""
        return await self.mailbox.receive()

    async def receive(self, *due: int) -> tuple[int, bytes]:
        """Kind and body of the next message after M2, which must be one of those that are due."""
        payload = await self.mailbox.receive()
        with refused_as("peer_misbehaved"):
            return self.judge(payload, due)

    def judge(self, payload: bytes, due: tuple[int, ...]) -> tuple[int, bytes]:
        """An abort is valid at any time after M2; whatever else is not due is refused."""
        assert self.channel is not None
        kind, body = split(payload)
        if kind == ABORT:
            raise of_abort(self.channel.open_abort(body))
        if kind not in due:
            raise BadEncoding(f"message kind {kind} is not due")
        return kind, body

    async def ask(self, question: Coroutine[Any, Any, Answer]) -> Answer:
        """The person's answer. No message is due meanwhile: what arrives ends the run."""
        answer = asyncio.ensure_future(question)
        arrival = asyncio.ensure_future(self.receive())
        try:
            await asyncio.wait({answer, arrival}, return_when=asyncio.FIRST_COMPLETED)
            if arrival.done():
                await arrival  # raises: nothing was due
            return await answer
        finally:
            for task in (answer, arrival):
                task.cancel()
            await asyncio.gather(answer, arrival, return_exceptions=True)

    async def read_what_is_there(self) -> None:
        """T, before the first chunk leaves: what has arrived already ends the run."""
        arrival = asyncio.ensure_future(self.receive())
        await asyncio.sleep(0)  # let it look
        if not arrival.done():
            arrival.cancel()
        await asyncio.gather(arrival, return_exceptions=True)
        if not arrival.cancelled():
            arrival.result()  # raises: nothing was due

    # --- the end ---

    async def close(self, outcome: str) -> None:
        """The own side of the mailbox, after success."""
        await self.mailbox.close(close_reason(outcome))

    async def fail(self, error: Exception) -> RunFailed:
        """Tell the peer if there is a channel, close the mailbox, and give the outcome."""
        ended = self._ended(error)
        reason = abort_reason(ended)
        farewell = None
        if self.channel is not None and reason is not None:
            farewell = self.channel.seal_abort(reason)
        if self.suspect is not None and may_hold_bundle(ended):
            failed = RunFailed("unknown", ended.outcome, ended.why, self.suspect)
        else:
            failed = RunFailed(ended.outcome, None, ended.why)
        await self.mailbox.close(close_reason(failed.outcome), farewell)
        return failed

    def _ended(self, error: Exception) -> Ended:
        """Whatever went wrong, as the end of a run."""
        if isinstance(error, Ended):
            return error
        if isinstance(error, MailboxEnded):
            has_channel = self.channel is not None
            return of_mailbox_end(error, self.reader, self.mode == "code", has_channel)
        if isinstance(error, Cancelled):
            return Ended("cancelled")
        if isinstance(error, StoreFailed):
            return Ended("store_failed", str(error))
        return Ended("internal", f"{type(error).__name__}: {error}")
