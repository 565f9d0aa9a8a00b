"""Text that people read (protocol.md, "Text that people read")."""

from __future__ import annotations

import unicodedata

from .encoding import Reader
from .errors import BadEncoding

ACCOUNT_LABEL_LIMIT = 128
DEVICE_NAME_LIMIT = 64
PLATFORM_LIMIT = 32
ENTRY_NAME_LIMIT = 64


def _ranges(text: str) -> frozenset[int]:
    """Code points written as 00AD or 180B-180F."""
    points: set[int] = set()
    for item in text.split():
        first, _, last = item.partition("-")
        points.update(range(int(first, 16), int(last or first, 16) + 1))
    return frozenset(points)


# Unicode's property White_Space. (Python's str.isspace has four characters more: 1C to 1F.)
WHITE_SPACE = _ranges("0009-000D 0020 0085 00A0 1680 2000-200A 2028-2029 202F 205F 3000")

LISTED_UNPRINTABLE = _ranges(
    "00AD 034F 061C 115F 1160 17B4 17B5 180B-180F 200B-200F 2028-202E 2060-206F 2800 3164 "
    "FE00-FE0F FEFF FFA0 FFF0-FFFB 1BCA0-1BCA3 1D173-1D17A E0000-E0FFF"
)


def is_white_space(character: str) -> bool:
    """White_Space."""
    return ord(character) in WHITE_SPACE


def is_unprintable(character: str) -> bool:
    """General category Cc, or listed."""
    return unicodedata.category(character) == "Cc" or ord(character) in LISTED_UNPRINTABLE


def check_readable(text: str, what: str) -> str:
    """Account labels and entry names: not empty, not blank, nothing unprintable."""
    if all(is_white_space(c) for c in text):  # also if there is none
        raise BadEncoding(f"{what} is empty or blank")
    if any(is_unprintable(c) for c in text):
        raise BadEncoding(f"{what} holds an unprintable character")
    return text


def read_account_label(reader: Reader) -> str:
    """At most 128 octets."""
    return check_readable(reader.text16(ACCOUNT_LABEL_LIMIT), "an account label")


def read_entry_name(reader: Reader) -> str:
    """At most 64 octets."""
    return check_readable(reader.text16(ENTRY_NAME_LIMIT), "an entry name")


def check_own_name(text: str, limit: int) -> str:
    """A device's own name and platform are held to the same as labels by the device itself."""
    check_readable(text, "the own name or platform")
    if len(text.encode("utf-8")) > limit:
        raise BadEncoding("the own name or platform is too long")
    return text


def clean(text: str) -> str:
    """What is shown, stored or logged of a peer's claim."""
    kept = [c for c in text if is_white_space(c) or not is_unprintable(c)]
    quoted = ("'" if c == '"' else c for c in kept)
    spaced = "".join(" " if is_white_space(c) else c for c in quoted)
    return " ".join(part for part in spaced.split(" ") if part)
