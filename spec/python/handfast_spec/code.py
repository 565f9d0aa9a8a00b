"""The verification code (protocol.md, "Code")."""

from __future__ import annotations

from dataclasses import dataclass

from .errors import Refused
from .text import is_white_space

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
NAMEPLATE_SYMBOLS = 4
SECRET_SYMBOLS = 7
SYMBOLS = NAMEPLATE_SYMBOLS + SECRET_SYMBOLS + 1
SEPARATORS = frozenset([0x2D, 0xAD, *range(0x2010, 0x2016), 0x2212])
LOOK_ALIKES = {"O": "0", "I": "1", "L": "1"}


class CodeError(Refused):
    """What was typed is no code; nothing is sent and the code is still good."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason  # bad_symbol, empty, wrong_length, check_failed


@dataclass(frozen=True)
class Code:
    """A code whose check symbol fits."""

    nameplate_symbols: str
    secret_symbols: str

    @property
    def nameplate(self) -> int:
        """The number that the relay assigned."""
        number = 0
        for symbol in self.nameplate_symbols:
            number = number * 32 + ALPHABET.index(symbol)
        return number

    @property
    def text(self) -> str:
        """XXXX-XXXX-XXXX."""
        front = self.nameplate_symbols + self.secret_symbols
        symbols = front + ALPHABET[check_symbol([ALPHABET.index(s) for s in front])]
        return "-".join(symbols[at : at + 4] for at in range(0, SYMBOLS, 4))


# --- the check symbol: GF(32), polynomials modulo x^5 + x^2 + 1, alpha = x ---


def times_alpha(element: int) -> int:
    """Shift left; if bit 5 is set, exclusive-or with 100101."""
    shifted = element << 1
    return shifted ^ 0b100101 if shifted & 0b100000 else shifted


def weighted(element: int, i: int) -> int:
    """alpha^i times element."""
    for _ in range(i):
        element = times_alpha(element)
    return element


def weighted_sum(symbols: list[int]) -> int:
    """The sum of alpha^i s_i."""
    total = 0
    for i, symbol in enumerate(symbols):
        total ^= weighted(symbol, i)
    return total


def check_symbol(front: list[int]) -> int:
    """The s11 that makes the sum zero."""
    return next(s for s in range(32) if weighted_sum([*front, s]) == 0)


# --- making and reading ---


def make(nameplate: int, random: bytes) -> Code:
    """From the relay's nameplate, and seven random octets: the low five bits of each."""
    places = (ALPHABET[nameplate >> shift & 31] for shift in (15, 10, 5, 0))
    return Code("".join(places), "".join(ALPHABET[octet & 31] for octet in random))


def read(typed: str) -> Code:
    """What a person typed."""
    kept = (c for c in typed if not is_white_space(c) and ord(c) not in SEPARATORS)
    upper = (chr(ord(c) - 32) if "a" <= c <= "z" else c for c in kept)  # ASCII only
    symbols = "".join(LOOK_ALIKES.get(c, c) for c in upper)
    if any(c not in ALPHABET for c in symbols):
        raise CodeError("bad_symbol")
    if not symbols:
        raise CodeError("empty")
    if len(symbols) != SYMBOLS:
        raise CodeError("wrong_length")
    if weighted_sum([ALPHABET.index(c) for c in symbols]) != 0:
        raise CodeError("check_failed")
    return Code(symbols[:NAMEPLATE_SYMBOLS], symbols[NAMEPLATE_SYMBOLS:-1])
