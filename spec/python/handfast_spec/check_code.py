"""The six digits that a person carries (protocol.md, "Check code")."""

from __future__ import annotations

from .channel import Channel
from .encoding import Reader
from .errors import BadEncoding
from .outcomes import Ended
from .signing import derive, hash_of
from .text import is_white_space
from .trace import note

DIGITS = 6
BELOW = 4_294_000_000
WORDS = 16
MODULUS = 1_000_000


def commitment(opening: bytes) -> bytes:
    """What T's hello says about r before anybody typed anything (qr-new)."""
    return hash_of(b"handfast/1 check commitment", opening)


def digits(channel: Channel, opening: bytes = b"") -> str:
    """r is empty in qr-trusted."""
    secret = note("check_code_secret", channel.export(b"handfast/1 export check code"))
    stream = note(
        "check_code_stream",
        derive(channel.session, secret, b"handfast/1 check code", opening, length=64),
    )
    words = Reader(stream, "check code stream")
    for _ in range(WORDS):
        word = words.u32()
        if word < BELOW:
            return note("check_code", f"{word % MODULUS:06}")
    raise Ended("internal", "no check code in the stream")


def is_digits(octets: bytes) -> bool:
    """Six ASCII digits."""
    return len(octets) == DIGITS and all(0x30 <= octet <= 0x39 for octet in octets)


def need_digits(octets: bytes) -> str:
    """The plaintext of a CheckCode."""
    if not is_digits(octets):
        raise BadEncoding("a CheckCode that is not six ASCII digits")
    return octets.decode("ascii")


def read_typed(typed: str) -> str | None:
    """Without white space and `-`; None: not a try."""
    kept = "".join(c for c in typed if not is_white_space(c) and c != "-")
    return kept if kept.isascii() and is_digits(kept.encode("ascii")) else None
