"""The command line: python -m handfast_spec ... For pairing by hand and in tests."""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import signal
import socket
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from . import attempts, device, exits, new_device, qr, trusted
from .code import CodeError
from .errors import Refused
from .interfaces import (
    BundleRequest,
    Cancelled,
    Enrolled,
    Granted,
    ItemsRequest,
    RelayHint,
    RunFailed,
    ScanQr,
    ShowCode,
    ShowQr,
    SystemRandom,
    TypeCode,
    Unlocked,
)
from .objects import Bundle
from .relay_address import BadAddress, RelayAddress
from .relay_mailbox import RelayMailbox
from .state import DamagedState, NoState, State, UnwritableState
from .terminal import Answers, TerminalPerson, event, say
from .text import DEVICE_NAME_LIMIT, check_own_name, clean

DEFAULT_RELAY = "ws://127.0.0.1:8474"
DEFAULT_STATE = "handfast-spec.json"
MAX_REQUESTED = 16
Result = Granted | Enrolled | Unlocked


class Stop(Exception):
    """End the command with this exit code."""

    def __init__(self, exit_name: str, words: str) -> None:
        super().__init__(words)
        self.exit_name = exit_name


class Command:
    """One call of the command."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.arguments = arguments
        self.path: Path = arguments.state
        self.answers = Answers()
        self.mailbox: RelayMailbox | None = None
        self.interrupted = False

    # --- without a relay ---

    def init(self) -> None:
        """The first device of a new account."""
        if self.path.exists():
            raise Stop("already_enrolled", f"{self.path} exists already")
        state = State.fresh(self._name())
        try:
            state.found(self.arguments.account)
        except Refused as error:
            raise Stop("usage", str(error)) from error
        state.save(self.path)
        self._print_status(state)

    def bundle_set(self) -> None:
        """Put a file's octets into the bundle."""
        state = State.load(self.path)
        try:
            value = self.arguments.file.read_bytes()
        except OSError as error:
            raise Stop("file", str(error)) from error
        old = state.bundle()
        entries = {**dict(old.entries), self.arguments.entry: value}
        ordered = tuple(sorted(entries.items(), key=lambda item: item[0].encode()))
        changed = (old.account_id, old.account_label, old.unlock_key, old.sign_in_secret, ordered)
        try:
            state.set_bundle(Bundle(*changed, old.extensions))
        except Refused as error:
            raise Stop("bad_bundle", str(error)) from error
        state.save(self.path)

    def bundle_get(self) -> None:
        """An entry's octets on stdout."""
        entries = dict(State.load(self.path).bundle().entries)
        if self.arguments.entry not in entries:
            raise Stop("bad_bundle", "no such entry")
        sys.stdout.buffer.write(entries[self.arguments.entry])
        sys.stdout.flush()

    def bundle_list(self) -> None:
        """Names, one on each line."""
        for name, _ in State.load(self.path).bundle().entries:
            print(name)

    def status(self) -> None:
        """What is in the state; no secrets."""
        self._print_status(State.load(self.path))

    # --- runs ---

    async def invite(self) -> None:
        """T displays; a dead offer is replaced ("Timers and attempts") unless --once."""
        while True:
            state = State.load(self.path)
            own = state.trusted_device()
            await self._wait_for_next_offer(state)
            relay = self._relay()
            way = ShowQr(relay.hint()) if self.arguments.qr else ShowCode()
            try:
                return self._done(await self._trusted(state, relay, own, way))
            except RunFailed as failed:
                if failed.outcome in attempts.BURNS:
                    state = State.load(self.path)
                    state.burned = attempts.recent(state.burned, time.time()) + [time.time()]
                    state.save(self.path)
                if failed.outcome not in attempts.REPLACED or self.arguments.once:
                    raise
                say(f"This offer is dead ({failed.outcome}): do not use it again. A new one:")
                event("offer_over", failure=failed.outcome)

    async def approve(self) -> None:
        """T scans the QR code of N."""
        state = State.load(self.path)
        own = state.trusted_device()
        way = ScanQr(self.arguments.scan)
        person = self._person(state)
        self._done(await self._trusted(state, await self._scanned_relay(person), own, way))

    async def join(self) -> None:
        """N: by code, by showing a QR code, or by scanning T's."""
        state = self._own_or_fresh()
        if state.enrolled:
            raise Stop("already_enrolled", "this device has an account already")
        relay = self._relay()
        if self.arguments.qr:
            way: TypeCode | ShowQr | ScanQr = ShowQr(relay.hint())
        elif self.arguments.scan is not None:
            way = ScanQr(self.arguments.scan)
            relay = await self._scanned_relay(self._person(state))
        else:
            way = TypeCode(self.arguments.code)
        self._done(await self._new(state, relay, way, BundleRequest()))

    async def unlock(self) -> None:
        """N asks for items: enrolled or not, it stores nothing."""
        state = self._own_or_fresh()
        entries = tuple(sorted(set(self.arguments.entries), key=lambda name: name.encode()))
        if not (entries or self.arguments.key) or len(entries) > MAX_REQUESTED:
            raise Stop("usage", "name 1 to 16 entries, or --key")
        relay = self._relay()
        request = ItemsRequest(self.arguments.key, entries)
        self._done(await self._new(state, relay, ShowQr(relay.hint()), request))

    async def _trusted(
        self, state: State, relay: RelayAddress, own: trusted.TrustedDevice, way: trusted.Way
    ) -> Granted:
        mailbox = self._open_mailbox(relay)
        return await trusted.run(mailbox, self._person(state), SystemRandom(), own, way)

    async def _new(
        self,
        state: State,
        relay: RelayAddress,
        way: TypeCode | ShowQr | ScanQr,
        request: BundleRequest | ItemsRequest,
    ) -> Enrolled | Unlocked:
        mailbox = self._open_mailbox(relay)
        own = state.new_device(f"{platform.system().lower()} {platform.machine()}")
        person = self._person(state)
        return await new_device.run(mailbox, person, SystemRandom(), own, way, request)

    # --- parts ---

    def _open_mailbox(self, relay: RelayAddress) -> RelayMailbox:
        self.mailbox = RelayMailbox(relay, lambda words: say(f"({words})"))
        if self.interrupted:
            self.mailbox.interrupt(Cancelled())
        return self.mailbox

    def interrupt(self) -> None:
        """Ctrl-C or SIGTERM: cancel politely; once more: at once."""
        if self.interrupted:
            os._exit(exits.EXITS["cancelled"])
        self.interrupted = True
        if self.mailbox is not None:
            self.mailbox.interrupt(Cancelled())

    def _person(self, state: State) -> TerminalPerson:
        different = self.arguments.allow_different_network
        return TerminalPerson(state, self.path, self.answers, self.arguments.yes, different)

    def _relay(self) -> RelayAddress:
        return RelayAddress.parse(self.arguments.relay or DEFAULT_RELAY)

    async def _scanned_relay(self, person: TerminalPerson) -> RelayAddress:
        """The relay of the QR code only if it is the own one, or the person accepts it."""
        own, hint = self._relay(), qr.read(self.arguments.scan).hint
        if hint is None:
            return own
        named = _address(hint)
        return named if named == own or await person.ask_relay(named.uri) else own

    async def _wait_for_next_offer(self, state: State) -> None:
        seconds = attempts.seconds_to_wait(state.burned, time.time())
        if seconds:
            say(f"Too many dead offers: the next one in {seconds:.0f} s.")
            event("wait", seconds=round(seconds))
        until = time.monotonic() + seconds
        while time.monotonic() < until and not self.interrupted:
            await asyncio.sleep(0.1)
        if self.interrupted:
            raise RunFailed("cancelled")

    def _own_or_fresh(self) -> State:
        try:
            return State.load(self.path)
        except NoState:
            return State.fresh(self._name())

    def _name(self) -> str:
        name = clean(self.arguments.name or socket.gethostname())
        try:
            return check_own_name(name, DEVICE_NAME_LIMIT)
        except Refused as error:
            raise Stop("usage", str(error)) from error

    def _print_status(self, state: State) -> None:
        event(
            "status",
            name=state.name,
            fingerprint=device.fingerprint(state.keys.identity),
            account=state.account_label or None,
            account_id=state.account_id.hex() if state.enrolled else None,
            entries=[name for name, _ in state.bundle().entries] if state.enrolled else [],
            let_in_by=None
            if state.let_in_by is None
            else device.fingerprint(bytes.fromhex(state.let_in_by.identity)),
            devices=[
                {
                    "name": record.name,
                    "platform": record.platform,
                    "fingerprint": device.fingerprint(bytes.fromhex(record.identity)),
                    "confirmed": record.confirmed,
                }
                for record in state.devices
            ],
            burned=len(attempts.recent(state.burned, time.time())),
        )

    def _done(self, result: Result) -> None:
        if isinstance(result, Granted):
            say(f'Done: "{result.name}" is {result.outcome}.')
            if not result.list_is_right:
                say("But it could not be marked as enrolled in the list of this device.")
            event(
                "done",
                outcome=result.outcome,
                device=result.name,
                fingerprint=device.fingerprint(result.identity),
                list_is_right=result.list_is_right,
            )
        elif isinstance(result, Enrolled):
            say(f'Done: this device belongs to "{result.enrollment.account_label}" now.')
            event("done", outcome=result.outcome, account=result.enrollment.account_label)
        else:
            say("Done: unlocked.")
            event("done", outcome=result.outcome)


def _address(hint: RelayHint) -> RelayAddress:
    return RelayAddress.of_hint(hint)


def report_failure(failed: RunFailed) -> int:
    """Words for the person, a line for scripts, the exit code."""
    say(f"Failed: {failed.outcome}{f', because of {failed.cause}' if failed.cause else ''}.")
    if failed.why:
        say(f"  {failed.why}")
    if failed.outcome in ("wrong_code", "wrong_check_code"):
        say("  The code is dead on both sides. Ask for a new one; do not type this one again.")
    fields: dict[str, object] = {"failure": failed.outcome}
    if failed.cause is not None:
        fields["cause"] = failed.cause
    if failed.suspect is not None:
        name, fingerprint = failed.suspect
        say(f'  "{name}", {fingerprint}, may hold what was granted.')
        say("  If it does not show the account, or is not yours, change the secrets in the bundle.")
        fields.update(device=name, fingerprint=fingerprint)
    event("failed", **fields, why=failed.why)
    return exits.of_outcome(failed.outcome)


async def _with_signals(command: Command, run: Callable[[], Awaitable[None]]) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, command.interrupt)
    await run()


def execute(arguments: argparse.Namespace) -> int:
    """Run the subcommand; the exit code."""
    command = Command(arguments)
    action = getattr(command, arguments.action)
    try:
        if asyncio.iscoroutinefunction(action):
            asyncio.run(_with_signals(command, action))
        else:
            action()
        return exits.EXITS["success"]
    except RunFailed as failed:
        return report_failure(failed)
    except Stop as stop:
        name, words = stop.exit_name, str(stop)
    except CodeError as error:
        name, words = "code_typo", f"that is no code: {error.reason}"
    except qr.QrError as error:
        old = error.reason == "unknown_version"
        name, words = "version" if old else "bad_qr", f"that QR code is not usable: {error.reason}"
    except BadAddress as error:
        name, words = "usage", str(error)
    except NoState as error:
        name, words = "no_profile", str(error)
    except DamagedState as error:
        name, words = "profile_damaged", str(error)
    except UnwritableState as error:
        name, words = "profile_unwritable", str(error)
    say(words)
    event("failed", failure=name, why=words)
    return exits.EXITS[name]
