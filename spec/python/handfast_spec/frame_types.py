"""The frames of relay.md, section 3, as types: names, fields and choices. See frames.py."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar

# --- values ---



class Reason(IntEnum):
    """Why a device closed its slot."""

    DONE = 0
    CANCELLED = 1
    BURNED = 2
    EXPIRED = 3
    FAILED = 4


class Slot(IntEnum):
    """Which of the two slots."""

    FIRST = 0
    SECOND = 1


class Peer(IntEnum):
    """State of the other slot."""

    ABSENT = 0
    PRESENT = 1
    AWAY = 2
    CLOSED = 3


class Network(IntEnum):
    """The hint of section 10."""

    UNKNOWN = 0
    SAME = 1
    DIFFERENT = 2


class EndReason(IntEnum):
    """Why the relay ended a mailbox, a claim or a socket."""

    EXPIRED = 0
    CROWDED = 1
    CLAIM_TIMED_OUT = 2
    SHUTTING_DOWN = 3
    REPLACED = 4


class ErrorCode(IntEnum):
    """Section 9."""

    MALFORMED = 0
    UNEXPECTED_FRAME = 1
    NO_SUCH_NAMEPLATE = 2
    NO_SUCH_MAILBOX = 3
    BAD_TOKEN = 4
    MAILBOX_FULL = 5
    LIMIT = 6
    DRAINING = 7


@dataclass(frozen=True)
class Lifetime:
    """remaining, linger and max, in milliseconds (section 5)."""

    remaining: int
    linger: int
    max: int


# --- frames ---


@dataclass(frozen=True)
class Frame:
    """Base of all frames; TYPE is the first byte."""

    TYPE: ClassVar[int]
    NAME: ClassVar[str]


@dataclass(frozen=True)
class Allocate(Frame):
    """Make a mailbox with a nameplate."""

    TYPE, NAME = 0x01, "allocate"
    token: bytes


@dataclass(frozen=True)
class Open(Frame):
    """Make or join the mailbox with this id."""

    TYPE, NAME = 0x02, "open"
    mailbox_id: bytes
    token: bytes


@dataclass(frozen=True)
class Claim(Frame):
    """Join the mailbox with this nameplate."""

    TYPE, NAME = 0x03, "claim"
    nameplate: int
    token: bytes


@dataclass(frozen=True)
class Resume(Frame):
    """Take the own slot again on a new socket."""

    TYPE, NAME = 0x04, "resume"
    mailbox_id: bytes
    token: bytes
    received: int


@dataclass(frozen=True)
class Data(Frame):
    """One payload; both directions."""

    TYPE, NAME = 0x05, "data"
    seq: int
    ack: int
    settled: bool
    payload: bytes


@dataclass(frozen=True)
class Ack(Frame):
    """An acknowledgement without data; both directions."""

    TYPE, NAME = 0x06, "ack"
    ack: int
    settled: bool


@dataclass(frozen=True)
class Close(Frame):
    """The device is done with its slot."""

    TYPE, NAME = 0x07, "close"
    reason: Reason


@dataclass(frozen=True)
class Allocated(Frame):
    """Answer to Allocate."""

    TYPE, NAME = 0x81, "allocated"
    nameplate: int
    mailbox_id: bytes
    lifetime: Lifetime


@dataclass(frozen=True)
class Joined(Frame):
    """Answer to Open and Claim."""

    TYPE, NAME = 0x82, "joined"
    mailbox_id: bytes
    slot: Slot
    received: int
    peer: Peer
    network: Network
    lifetime: Lifetime


@dataclass(frozen=True)
class Resumed(Frame):
    """Answer to Resume."""

    TYPE, NAME = 0x83, "resumed"
    received: int
    peer: Peer
    lifetime: Lifetime


@dataclass(frozen=True)
class PeerJoined(Frame):
    """The other slot has a socket."""

    TYPE, NAME = 0x84, "peer_joined"
    network: Network


@dataclass(frozen=True)
class PeerLeft(Frame):
    """The other slot lost its socket."""

    TYPE, NAME = 0x85, "peer_left"


@dataclass(frozen=True)
class PeerFreed(Frame):
    """The second slot is free again."""

    TYPE, NAME = 0x86, "peer_freed"


@dataclass(frozen=True)
class PeerClosed(Frame):
    """The peer sent Close, with this reason."""

    TYPE, NAME = 0x87, "peer_closed"
    reason: Reason


@dataclass(frozen=True)
class ThirdClaim(Frame):
    """A third device was turned away."""

    TYPE, NAME = 0x88, "third_claim"


@dataclass(frozen=True)
class Ended(Frame):
    """The mailbox, the claim or the socket is over."""

    TYPE, NAME = 0x89, "ended"
    reason: EndReason


@dataclass(frozen=True)
class Error(Frame):
    """The relay refuses, and closes the socket (section 9). Any limit is valid."""

    TYPE, NAME = 0x8A, "error"
    code: ErrorCode
    limit: int
    retry_after: int
