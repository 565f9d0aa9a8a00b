"""The person at a terminal, or a script: prompts on stderr, one JSON object per line on stdout,
answers from stdin, a line each. No QR code is drawn: its text is printed.

The warnings are those of threat-model.md, "What screens must say".
"""

from __future__ import annotations

import asyncio
import json
import sys
import threading
from pathlib import Path
from typing import Any

from . import device
from .interfaces import (
    NETWORK_DIFFERENT,
    NETWORK_SAME,
    Approval,
    Cancelled,
    Enrollment,
    Items,
    NewDeviceRecord,
    StoreFailed,
)
from .state import State, UnwritableState

NETWORKS = {NETWORK_SAME: "same network", NETWORK_DIFFERENT: "different network"}


def say(words: str) -> None:
    """For the person."""
    print(words, file=sys.stderr, flush=True)


def event(name: str, /, **fields: Any) -> None:
    """For a script."""
    print(json.dumps({"event": name, **fields}, ensure_ascii=False), flush=True)


class Answers:
    """Lines of stdin, read by a thread so that a question can be taken back."""

    def __init__(self) -> None:
        self._lines: asyncio.Queue[str | None] = asyncio.Queue()
        self._started = False

    def _start(self) -> None:
        loop = asyncio.get_running_loop()

        def read() -> None:
            for line in sys.stdin:
                loop.call_soon_threadsafe(self._lines.put_nowait, line.strip())
            loop.call_soon_threadsafe(self._lines.put_nowait, None)

        threading.Thread(target=read, daemon=True).start()
        self._started = True

    async def line(self) -> str | None:
        """The next line; None at the end."""
        if not self._started:
            self._start()
        line = await self._lines.get()
        if line is None:
            self._lines.put_nowait(None)
        return line

    async def yes(self) -> bool:
        """y or yes; everything else, and the end of the input, is no (U7)."""
        return (await self.line() or "").lower() in ("y", "yes")

    async def word(self, word: str) -> bool:
        """Exactly this word."""
        return (await self.line() or "").lower() == word


class TerminalPerson:
    """interfaces.Person, over stderr, stdout, stdin and a state file."""

    def __init__(
        self, state: State, path: Path, answers: Answers, yes: bool, allow_different: bool
    ) -> None:
        self._state = state
        self._path = path
        self._answers = answers
        self._yes = yes
        self._allow_different = allow_different

    # --- showing ---

    def show_code(self, code: str) -> None:
        """U1, U3, U4."""
        say(f"Code: {code}")
        say("Type it on the new device. Only add a device that you hold in your hands.")
        say("Never read this code to anybody: nobody from support asks for it.")
        say("Do not show it to a camera or on a shared screen.")
        event("show_code", code=code)

    def show_qr(self, text: str) -> None:
        """U1, U4. The text instead of a drawing."""
        say("Scan this with your own other device (its text; no drawing here):")
        say(f"  {text}")
        say("Only add a device that you hold in your hands. Show it to no camera but its own.")
        event("show_qr", uri=text)

    def show_check_code(self, digits: str) -> None:
        """U9."""
        say(f"Check code: {digits[:3]} {digits[3:]}")
        say("Type it on your other device, and only on a device in your hands,")
        say("never into a web page that you were sent to.")
        event("show_check_code", check_code=digits)

    def show_account(self, label: str, fingerprint: str) -> None:
        """U10, U11: before anything is stored."""
        own = device.fingerprint(self._state.keys.identity)
        say(f'The account of the other device: "{label}". Is it yours?')
        say(f"The other device's fingerprint: {fingerprint}")
        say(f"This device's fingerprint:      {own}")
        event("show_account", account=label, fingerprint=fingerprint, own_fingerprint=own)

    # --- asking ---

    async def ask_check_code(self) -> str:
        """U9."""
        say("Type the six digits that your other device shows:")
        event("ask_check_code")
        line = await self._answers.line()
        if line is None:
            raise Cancelled
        return line

    async def ask_approval(self, approval: Approval) -> bool:
        """U6, U7, U12."""
        if approval.purpose == "enroll":
            what = ["the whole bundle; it becomes a trusted device"]
        else:
            what = ["the account unlock key"] if approval.unlock_key else []
            what += [f'the entry "{name}"' for name in approval.entries]
        network = NETWORKS.get(approval.network, "unknown network")
        say(f"A device asks ({approval.purpose}) for: {', '.join(what)}.")
        say(f'  it calls itself "{approval.claimed_name}" on "{approval.claimed_platform}"')
        say(f"  its fingerprint: {approval.fingerprint}")
        say(f"  the relay says: {network}")
        if approval.recorded:
            say("  This device has recorded it, so no digits were asked for.")
            say("  Is it in front of you?")
        event(
            "ask_approval",
            purpose=approval.purpose,
            unlock_key=approval.unlock_key,
            entries=list(approval.entries),
            fingerprint=approval.fingerprint,
            claimed_name=approval.claimed_name,
            claimed_platform=approval.claimed_platform,
            network=network.removesuffix(" network"),
            recorded=approval.recorded,
        )
        if self._yes:
            say("  Yes, by --yes.")
            return True
        say("  Let it have this? [y/N]")
        return await self._answers.yes()

    async def ask_different_network(self, approval: Approval) -> bool:
        """U8: a question of its own, which the answer to the first one does not answer."""
        say("The relay says that the other device is in another network than this one.")
        say("If you hold both in your hands, that is unusual.")
        event("ask_different_network", fingerprint=approval.fingerprint)
        if self._allow_different:
            say("  Allowed, by --allow-different-network.")
            return True
        say("  To go on all the same, type: different")
        return await self._answers.word("different")

    async def ask_relay(self, uri: str) -> bool:
        """U13."""
        say(f"The QR code names another relay: {uri}. Use it for this run? [y/N]")
        event("ask_relay_hint", relay=uri)
        return await self._answers.yes()

    # --- storing ---

    async def store_record(self, record: NewDeviceRecord) -> None:
        """T, before the grant leaves."""
        self._state.put_record(record, confirmed=False)
        self._save()

    async def confirm_record(self, record: NewDeviceRecord) -> None:
        """T, after the receipt."""
        self._state.put_record(record, confirmed=True)
        self._save()

    async def store_enrollment(self, enrollment: Enrollment) -> None:
        """N."""
        self._state.put_enrollment(enrollment)
        self._save()

    async def use_items(self, items: Items) -> None:
        """N in an unlock: they go to stdout, nothing is stored."""
        entries = {name: value.hex() for name, value in items.entries}
        key = None if items.unlock_key is None else items.unlock_key.hex()
        try:
            event("items", unlock_key=key, entries=entries)
        except OSError as error:
            raise StoreFailed(str(error)) from error

    def _save(self) -> None:
        try:
            self._state.save(self._path)
        except UnwritableState as error:
            raise StoreFailed(str(error)) from error
