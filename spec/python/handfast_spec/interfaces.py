"""What a role (trusted.py, new_device.py) needs from the world around it.

For reading and checking, not constant-time, never with real secrets.

    await trusted.run(mailbox, person, random, device, way)     -> Granted, or raises RunFailed
    await new_device.run(mailbox, person, random, device, way)  -> Enrolled or Unlocked, or RunFailed

The mailbox is the device's part of relay.md, the person is the program around the run with
whoever sits in front of it, random is named randomness.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import Protocol

from .objects import Items

# --- randomness (protocol.md, "Random values") ---

RANDOM_LENGTHS = {
    "code_secret": 7,  # the symbol is the low five bits of each octet
    "qr_secret": 32,
    "displayer_kem_seed": 32,  # X-Wing seed of the offer's key
    "offer_nonce": 32,
    "displayer_scalar": 32,
    "reader_scalar": 32,
    "bundle_key_seed": 32,  # X-Wing seed of N's key for this run
    "opening": 32,  # r
    "channel_encapsulation": 64,
    "grant_encapsulation": 64,
}


class Random(Protocol):
    """Named draws: each name of RANDOM_LENGTHS at most once in a run."""

    def draw(self, name: str) -> bytes:
        """RANDOM_LENGTHS[name] random octets."""


class SystemRandom:
    """The operating system's random source."""

    def draw(self, name: str) -> bytes:
        """Fresh octets."""
        return secrets.token_bytes(RANDOM_LENGTHS[name])


class FixedRandom:
    """The `random` object of a vector; each value may be drawn once."""

    def __init__(self, values: dict[str, bytes]) -> None:
        self._values = dict(values)

    def draw(self, name: str) -> bytes:
        """The vector's value of this name."""
        value = self._values.pop(name)
        if len(value) != RANDOM_LENGTHS[name]:
            raise ValueError(f"random.{name} has {len(value)} octets")
        return value

    def unused(self) -> set[str]:
        """Names that nobody drew."""
        return set(self._values)


# --- the relay's mailbox (relay.md) ---


class MailboxEnded(Exception):
    """The relay, the peer's Close, or the mailbox's lifetime ended the run (relay.md 8.1).

    `outcome` is what the table of relay.md 8.1 says, where it does not depend on the channel:
    no_such_offer, relay_forgot, offer_in_use, relay_refused, expired, crowded, claim_timed_out,
    relay_shut_down, relay_misbehaved. For PeerClosed it is "peer_closed", and `close_reason` is
    the reason in it (0 to 4): what it means depends on role, mode and channel, so the role
    decides (outcomes.of_mailbox_end).
    """

    def __init__(self, outcome: str, close_reason: int | None = None, detail: str = "") -> None:
        super().__init__(detail or outcome)
        self.outcome = outcome
        self.close_reason = close_reason
        self.detail = detail  # for a person, e.g. "relay_refused: limit, mailboxes, 5000 ms"


NETWORK_UNKNOWN, NETWORK_SAME, NETWORK_DIFFERENT = 0, 1, 2


class Mailbox(Protocol):
    """One run's slot in a mailbox. Exactly one of allocate, open and claim is called, once.

    The mailbox keeps the timers of the relay and of the unclaimed offer ("Timers and attempts"):
    300 s after allocate, 120 s after open as displayer, they stop while the offer is claimed.
    """

    nameplate: int | None  # after allocate (and claim); None in QR modes
    network: int  # the last hint of the relay: NETWORK_...

    async def allocate(self) -> None:
        """Displayer in code mode: Allocate; sets nameplate."""

    async def open(self, mailbox_id: bytes, displayer: bool) -> None:
        """QR modes: Open. The wrong slot ends the run: relay_misbehaved for a displayer,
        no_such_offer for a reader."""

    async def claim(self, nameplate: int) -> None:
        """Reader in code mode: Claim."""

    async def send(self, payload: bytes) -> None:
        """Queue a payload; returns at once, whatever the window says. Octets that were handed
        over are kept and resent by the mailbox until they are acknowledged."""

    async def receive(self) -> bytes:
        """The next payload of the peer, in order and each once. Raises MailboxEnded when there
        is none left and the run is over, and again on each later call. May be cancelled (it is
        raced against questions to the person) without losing a payload."""

    def settle(self) -> None:
        """From now on every frame carries the settled flag (relay.md 4.2): a displayer calls it
        before it sends M2, a reader when it has accepted M2. Not a coroutine: the flag of a
        reader goes out with the next frame, or an Ack soon after."""

    def acknowledge(self) -> None:
        """Send an Ack at once (relay.md 6.1): T, when it has accepted the receipt."""

    async def delivered(self, seconds: float) -> bool:
        """Wait until the relay says that the peer has everything that was sent, but at most so
        many seconds; True if it said so. Never raises MailboxEnded."""

    async def close(self, reason: int, farewell: bytes | None = None) -> None:
        """What the window has room for, the farewell payload (an Abort) last if it fits, Close.
        Called exactly once, at the end of every run, also after MailboxEnded. Never raises."""


# --- the person, and the program around the run ---


class Cancelled(Exception):
    """The person, or the program, ends the run: raised out of any question of Person, and out
    of Mailbox.receive, allocate, open or claim while the role waits there."""


class StoreFailed(Exception):
    """Raised out of a storing method of Person: this device could not store."""


@dataclass(frozen=True)
class Approval:
    """What T shows, all at once, when it asks for approval (protocol.md, "Approval")."""

    purpose: str  # "enroll" or "unlock"
    unlock_key: bool  # unlock: would the account unlock key leave?
    entries: tuple[str, ...]  # unlock: names of the entries that would leave
    fingerprint: str  # of N's identity
    claimed_name: str  # cleaned; N's own word
    claimed_platform: str  # cleaned; N's own word
    network: int  # the relay's word: NETWORK_...
    recorded: bool  # unlock between recorded devices: no check code was asked for


@dataclass(frozen=True)
class NewDeviceRecord:
    """T's record of N ("Grant"): written before the grant leaves, confirmed by the receipt."""

    identity: bytes
    wrapping_key: bytes
    name: str  # cleaned
    platform: str  # cleaned
    statement: bytes
    th_before_grant: bytes


@dataclass(frozen=True)
class Enrollment:
    """What N stores durably ("Grant", last but one paragraph)."""

    account_id: bytes
    account_label: str  # the one in T's hello
    genesis: bytes
    bundle: bytes  # encoded; at rest it is sealed (device.seal_bundle)
    trusted_identity: bytes  # from now on recorded
    trusted_name: str  # cleaned
    statement: bytes
    th_before_grant: bytes


class Person(Protocol):
    """The person in front of the device, and the program's storage.

    Every coroutine may raise Cancelled; those that ask may also be cancelled by asyncio, when
    something arrives that ends the run: then the question is taken off the screen.
    """

    def show_code(self, code: str) -> None:
        """The displayer's code, XXXX-XXXX-XXXX."""

    def show_qr(self, text: str) -> None:
        """The text of the displayer's QR code."""

    def show_check_code(self, digits: str) -> None:
        """Six digits that the person carries to the other screen."""

    async def ask_check_code(self) -> str:
        """What the person typed; anything but six digits is not a try: it is asked again."""

    def show_account(self, label: str, fingerprint: str) -> None:
        """N, after M2: whose account this is, and T's fingerprint (U10)."""

    async def ask_approval(self, approval: Approval) -> bool:
        """T: may this leave? The default answer is to refuse."""

    async def ask_different_network(self, approval: Approval) -> bool:
        """T: the second question, if the relay's hint is *different network*."""

    async def store_record(self, record: NewDeviceRecord) -> None:
        """T, enroll: write the record of N, not confirmed. Raises StoreFailed."""

    async def confirm_record(self, record: NewDeviceRecord) -> None:
        """T, enroll: mark the record as confirmed. Raises StoreFailed."""

    async def store_enrollment(self, enrollment: Enrollment) -> None:
        """N, enroll: store durably. Raises StoreFailed."""

    async def use_items(self, items: Items) -> None:
        """N, unlock: hand the items to the program that asked. Raises StoreFailed."""


# --- devices ---


@dataclass(frozen=True)
class TrustedDevice:
    """T: an enrolled device."""

    device_key: bytes
    name: str
    genesis: bytes
    bundle: bytes  # encoded
    recorded: frozenset[bytes] = frozenset()  # identities
    account_label: str | None = None  # what T calls the account; None: as the genesis statement


@dataclass(frozen=True)
class Account:
    """What an N that is enrolled already knows."""

    account_id: bytes
    recorded: frozenset[bytes] = frozenset()  # identities


@dataclass(frozen=True)
class NewDevice:
    """N."""

    device_key: bytes
    name: str
    platform: str
    account: Account | None = None  # None: not enrolled


# --- ways: who displays, and what ---


@dataclass(frozen=True)
class ShowCode:
    """T displays a code."""


@dataclass(frozen=True)
class TypeCode:
    """N: its user typed a code (code.read has checked it already or refuses it)."""

    typed: str


@dataclass(frozen=True)
class RelayHint:
    """Where the displayer's relay is ("QR code")."""

    scheme: str  # "ws" or "wss"
    authority: str  # host or host:port, lower case


@dataclass(frozen=True)
class ShowQr:
    """T (qr-trusted) or N (qr-new) displays a QR code."""

    hint: RelayHint | None = None
    link_host: str | None = None  # HTTPS://HOST/# instead of HANDFAST:/


@dataclass(frozen=True)
class ScanQr:
    """N (qr-trusted) or T (qr-new) scanned a QR code."""

    text: str
    link_hosts: frozenset[str] = frozenset()


@dataclass(frozen=True)
class BundleRequest:
    """N asks for the whole bundle: enroll."""


@dataclass(frozen=True)
class ItemsRequest:
    """N asks for items: unlock."""

    unlock_key: bool = False
    entries: tuple[str, ...] = field(default=())


# --- results ---


@dataclass(frozen=True)
class Granted:
    """T: the receipt verified."""

    outcome: str  # "enrolled" or "unlocked"
    identity: bytes
    name: str  # cleaned
    list_is_right: bool = True  # False: the record could not be marked as confirmed


@dataclass(frozen=True)
class Enrolled:
    """N: stored, and the receipt sent."""

    enrollment: Enrollment
    outcome: str = "enrolled"


@dataclass(frozen=True)
class Unlocked:
    """N: handed to the program that asked, and the receipt sent."""

    items: Items
    outcome: str = "unlocked"


class RunFailed(Exception):
    """The run ended without success; the mailbox is closed already."""

    def __init__(self, outcome: str, cause: str | None = None, why: str = "",
                 suspect: tuple[str, str] | None = None) -> None:
        super().__init__(f"{outcome}{f' ({cause})' if cause else ''}{f': {why}' if why else ''}")
        self.outcome = outcome
        self.cause = cause  # of "unknown": the outcome it would have been
        self.why = why  # which rule was broken, for a developer
        self.suspect = suspect  # of "unknown": name and fingerprint of who may hold the bundle
