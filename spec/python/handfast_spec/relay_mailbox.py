"""A mailbox at a relay, over a websocket: drives relay_rules.Rules (relay.md, sections 2 and 8).

Implements interfaces.Mailbox. Reconnects by itself until the mailbox's end.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import secrets
from collections.abc import Awaitable, Callable
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, WebSocketException

from .frame_types import Allocate, Claim, Open, Reason
from .interfaces import MailboxEnded
from .relay_address import RelayAddress
from .relay_causes import Cause
from .relay_rules import Rules

MAX_MESSAGE = 16384
CONNECT_SECONDS = 10.0
SILENCE_SECONDS = 75.0
SHORT_CONNECTION = 1.0
FIRST_WAIT, LONGEST_WAIT = 0.25, 8.0
UNHEARD_CONNECTIONS = 5
CLOSE_SECONDS = 2.0


_Part = Callable[[Rules, Any], Awaitable[None]]


class _Connection(ClientConnection):
    """Remembers when anything was received last, pings and pongs included."""

    heard_at = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The TCP connection is there."""
        self.heard_at = asyncio.get_running_loop().time()
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """Any octets."""
        self.heard_at = asyncio.get_running_loop().time()
        super().data_received(data)


class _Connect(connect):
    """No redirect is followed (section 2)."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        """A redirect is an error like every status but 101."""
        return exc


async def _open_socket(address: RelayAddress) -> ClientConnection:
    """Section 2: no extension, no subprotocol, no proxy, no header beyond RFC 6455."""
    return await _Connect(
        address.uri,
        compression=None,
        user_agent_header=None,
        proxy=None,
        open_timeout=CONNECT_SECONDS,
        ping_interval=None,
        close_timeout=CLOSE_SECONDS,
        max_size=MAX_MESSAGE,
        create_connection=_Connection,
    )


class RelayMailbox:
    """One run's slot in a mailbox at this relay."""

    def __init__(
        self,
        address: RelayAddress,
        notice: Callable[[str], None] = lambda words: None,
    ) -> None:
        self._address = address
        self._notice = notice
        self._rules: Rules | None = None
        self._changed = asyncio.Event()
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._stop = False
        self._interrupted: BaseException | None = None

    # --- interfaces.Mailbox ---

    @property
    def nameplate(self) -> int | None:
        """What a code starts with."""
        return None if self._rules is None else self._rules.nameplate

    @property
    def network(self) -> int:
        """The relay's last hint."""
        return 0 if self._rules is None else int(self._rules.network)

    async def allocate(self) -> None:
        """Displayer in code mode."""
        await self._join(Rules(Allocate(_token()), True, self._notice))

    async def open(self, mailbox_id: bytes, displayer: bool) -> None:
        """QR modes."""
        await self._join(Rules(Open(mailbox_id, _token()), displayer, self._notice))

    async def claim(self, nameplate: int) -> None:
        """Reader in code mode."""
        await self._join(Rules(Claim(nameplate, _token()), False, self._notice))

    async def send(self, payload: bytes) -> None:
        """Queue a payload."""
        rules = self._need_rules()
        rules.queue(payload)
        self._wake.set()

    async def receive(self) -> bytes:
        """The next payload; MailboxEnded when there is none left and the run is over."""
        rules = self._need_rules()
        await self._until(lambda: bool(rules.payloads or rules.ended))
        if rules.payloads:
            return rules.payloads.popleft()
        raise _exception(rules)

    def settle(self) -> None:
        """Set the flag from now on."""
        self._need_rules().settle()
        self._wake.set()

    def acknowledge(self) -> None:
        """Ack at once."""
        self._need_rules().acknowledge()
        self._wake.set()

    async def delivered(self, seconds: float) -> bool:
        """Wait for the relay's word that the peer has everything."""
        rules = self._need_rules()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._until(
                    lambda: rules.delivered() or rules.ended is not None or self._interrupted
                )
        return rules.delivered()

    async def close(self, reason: int, farewell: bytes | None = None) -> None:
        """Say Close if there is a socket for it, then be done."""
        rules, task = self._rules, self._task
        if rules is not None and task is not None:
            rules.close(Reason(reason), farewell)
            self._stop = True
            self._wake.set()
            if rules.can_close():
                await asyncio.wait([task], timeout=2 * CLOSE_SECONDS)
            task.cancel()
            await asyncio.wait([task])

    def interrupt(self, error: BaseException) -> None:
        """Let every wait of the role raise this (Ctrl-C); close still works."""
        self._interrupted = error
        self._changed.set()

    # --- the run ---

    async def _join(self, rules: Rules) -> None:
        if self._rules is not None:
            raise RuntimeError("a mailbox is used for one run")
        self._rules = rules
        self._task = asyncio.create_task(self._keep_connected(rules))
        await self._until(lambda: rules.joined or rules.ended is not None)
        if rules.ended is not None:
            raise _exception(rules)

    def _need_rules(self) -> Rules:
        if self._rules is None:
            raise RuntimeError("not joined")
        return self._rules

    async def _until(self, condition: Callable[[], object]) -> None:
        while not condition():
            if self._interrupted is not None:
                raise self._interrupted
            self._changed.clear()
            await self._changed.wait()

    async def _keep_connected(self, rules: Rules) -> None:
        """Section 8: connect again at once, then with growing waits, until the end."""
        loop = asyncio.get_running_loop()
        wait, first, unheard, short_before = FIRST_WAIT, True, 0, False
        try:
            while rules.ended is None and not self._stop:
                made_at: float | None = None
                try:
                    socket = await _before(_open_socket(self._address), rules.end)
                    made_at = loop.time()
                    await self._serve(rules, socket)
                except (OSError, WebSocketException, TimeoutError) as error:
                    words = f"{type(error).__name__}: {error}"
                rules.socket_lost()
                if rules.ended is not None or self._stop:
                    return
                if made_at is None and first:
                    return self._unreachable(rules, words)
                if made_at is not None:
                    words = "the connection was lost"
                    unheard += 1
                    if not rules.joined and unheard >= UNHEARD_CONNECTIONS:
                        return self._unreachable(rules, "it says nothing")
                first = False
                self._notice(f"relay: {words}")
                if made_at is not None and loop.time() - made_at >= SHORT_CONNECTION:
                    wait, short_before = FIRST_WAIT, False
                elif made_at is not None and not short_before:
                    short_before = True
                else:
                    seconds, wait = wait * random.uniform(0.75, 1), min(2 * wait, LONGEST_WAIT)
                    if rules.end is not None and loop.time() + seconds >= rules.end:
                        await asyncio.sleep(max(0.0, rules.end - loop.time()))
                        return self._unreachable(rules, "until the mailbox's time was over")
                    await asyncio.sleep(seconds)
        finally:
            self._changed.set()

    def _unreachable(self, rules: Rules, words: str) -> None:
        rules.ended = Cause("relay_unreachable", f"the relay cannot be reached: {words}")

    async def _serve(self, rules: Rules, socket: ClientConnection) -> None:
        """One socket, until it is lost or the run is over and said so."""
        rules.socket_opened(asyncio.get_running_loop().time())
        self._wake.set()
        parts: tuple[_Part, ...] = (self._read, self._write, self._watch)
        tasks = [asyncio.ensure_future(part(rules, socket)) for part in parts]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            if rules.closed or rules.ended is not None:
                await socket.close()
            socket.transport.abort()

    async def _read(self, rules: Rules, socket: ClientConnection) -> None:
        """Until the socket is lost. A text message loses it (section 2)."""
        with contextlib.suppress(ConnectionClosed, OSError):
            while isinstance(message := await socket.recv(), bytes):
                rules.message(message, asyncio.get_running_loop().time())
                self._changed.set()
                self._wake.set()

    async def _write(self, rules: Rules, socket: ClientConnection) -> None:
        """Send what the rules want sent, until Close."""
        with contextlib.suppress(ConnectionClosed, OSError):
            while not rules.closed:
                await self._wake.wait()
                self._wake.clear()
                for frame in rules.outgoing(asyncio.get_running_loop().time()):
                    await socket.send(frame)

    async def _watch(self, rules: Rules, socket: _Connection) -> None:
        """The deadlines of the rules, and the silence of 75 s."""
        loop = asyncio.get_running_loop()
        while (silent_at := socket.heard_at + SILENCE_SECONDS) > loop.time():
            deadline = rules.next_deadline() if rules.ended is None else None
            until = min(silent_at, deadline if deadline is not None else silent_at)
            await asyncio.sleep(min(1.0, max(0.01, until - loop.time())))
            rules.tick(loop.time())
            if rules.ended is not None:
                self._changed.set()


def _token() -> bytes:
    return secrets.token_bytes(16)


def _exception(rules: Rules) -> MailboxEnded:
    cause = rules.ended
    assert cause is not None
    reason = None if cause.reason is None else int(cause.reason)
    return MailboxEnded(cause.outcome, reason, cause.detail)


async def _before(awaitable: Awaitable[ClientConnection], end: float | None) -> ClientConnection:
    """TimeoutError if it takes longer than until the end."""
    async with asyncio.timeout_at(end):
        return await awaitable
