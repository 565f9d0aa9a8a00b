"""A mailbox in memory and a scripted person: the two roles against each other, or one alone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from .interfaces import (
    NETWORK_UNKNOWN, Approval, Enrollment, Items, MailboxEnded, NewDeviceRecord,
)


class MemoryMailbox:
    """One slot. What is sent goes to `peer`, or only into `sent`."""

    def __init__(self, nameplate: int | None = None, network: int = NETWORK_UNKNOWN) -> None:
        self.assigned = nameplate
        self.nameplate: int | None = None
        self.network = network
        self.mailbox_id: bytes | None = None
        self.displayer: bool | None = None
        self.peer: MemoryMailbox | None = None
        self.sent: list[bytes] = []
        self.log: Callable[[bytes], None] = lambda payload: None
        self.settled_at: int | None = None  # how many payloads were sent before settle()
        self.received = 0
        self.closed: int | None = None
        self.farewell: bytes | None = None
        self._arrivals: list[bytes | MailboxEnded] = []
        self._news = asyncio.Event()
        self.idle = asyncio.Event()  # the role waits and there is nothing for it

    # --- the role's side: interfaces.Mailbox ---

    async def allocate(self) -> None:
        self.nameplate, self.displayer = self.assigned, True

    async def claim(self, nameplate: int) -> None:
        self.nameplate, self.displayer = nameplate, False

    async def open(self, mailbox_id: bytes, displayer: bool) -> None:
        self.mailbox_id, self.displayer = mailbox_id, displayer

    async def send(self, payload: bytes) -> None:
        self.sent.append(payload)
        self.log(payload)
        if self.peer is not None:
            self.peer.deliver(payload)

    async def receive(self) -> bytes:
        while not self._arrivals:
            self.idle.set()
            self._news.clear()
            await self._news.wait()
        first = self._arrivals[0]
        if isinstance(first, MailboxEnded):
            raise first
        self.received += 1
        return self._arrivals.pop(0)

    def settle(self) -> None:
        self.settled_at = len(self.sent)

    def acknowledge(self) -> None:
        pass

    async def delivered(self, seconds: float) -> bool:
        return True

    async def close(self, reason: int, farewell: bytes | None = None) -> None:
        assert self.closed is None, "closed twice"
        self.closed, self.farewell = reason, farewell
        if farewell is not None:
            await self.send(farewell)
        if self.peer is not None:
            self.peer.deliver(MailboxEnded("peer_closed", reason))
        self.idle.set()

    # --- the other side ---

    def deliver(self, arrival: bytes | MailboxEnded) -> None:
        """A payload, or the end."""
        self._arrivals.append(arrival)
        self.idle.clear()
        self._news.set()


def connect(first: MemoryMailbox, second: MemoryMailbox) -> None:
    """What one sends the other receives."""
    first.peer, second.peer = second, first


@dataclass
class ScriptedPerson:
    """Says yes, types what the other screen shows, and remembers what it was shown."""

    typed: str | None = None  # typed instead of what the other screen shows
    approves: bool = True
    approves_different_network: bool = True
    other: ScriptedPerson | None = None
    shown: dict[str, object] = field(default_factory=dict)
    stored: list[object] = field(default_factory=list)
    events: list[str] = field(default_factory=list)
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    fails: dict[str, Exception] = field(default_factory=dict)  # raised instead of an answer
    during: dict[str, Callable[[], None]] = field(default_factory=dict)
    gate: Callable[[], bool] = lambda: True  # questions wait until it opens

    def show_code(self, code: str) -> None:
        self._show("code", code)

    def show_qr(self, text: str) -> None:
        self._show("qr", text)

    def show_check_code(self, digits: str) -> None:
        self._show("check_code", digits)
        self.ready.set()

    def show_account(self, label: str, fingerprint: str) -> None:
        self._show("account", (label, fingerprint))

    def _show(self, what: str, value: object) -> None:
        self.events.append(f"show {what}")
        self.shown[what] = value

    async def ask_check_code(self) -> str:
        self._event("ask check code")
        await self._may_answer()
        if self.typed is not None:
            return self.typed
        assert self.other is not None
        await self.other.ready.wait()
        return str(self.other.shown["check_code"])

    async def ask_approval(self, approval: Approval) -> bool:
        self._show("approval", approval)
        self._event("ask approval")
        await self._may_answer()
        return self.approves

    async def ask_different_network(self, approval: Approval) -> bool:
        self._event("ask different network")
        await self._may_answer()
        return self.approves_different_network

    def _event(self, what: str) -> None:
        self.events.append(what)
        self.during.get(what, lambda: None)()
        if what in self.fails:
            raise self.fails[what]

    async def _may_answer(self) -> None:
        while not self.gate():
            await asyncio.sleep(0)

    async def store_record(self, record: NewDeviceRecord) -> None:
        self._event("store record")
        self.stored.append(record)

    async def confirm_record(self, record: NewDeviceRecord) -> None:
        self._event("confirm record")

    async def store_enrollment(self, enrollment: Enrollment) -> None:
        self._event("store enrollment")
        self.stored.append(enrollment)

    async def use_items(self, items: Items) -> None:
        self._event("use items")
        self.stored.append(items)
