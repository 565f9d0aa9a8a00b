"""The QR code (protocol.md, "QR code")."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from .encoding import u8
from .errors import Refused
from .interfaces import RelayHint
from .text import is_white_space

VERSION = 1
KINDS = {1: ("qr-new", "enroll"), 2: ("qr-new", "unlock"), 3: ("qr-trusted", "enroll")}
SCHEMES = {1: "ws", 2: "wss"}
MAX_AUTHORITY = 29
FIXED_LENGTH = 2 + 32 + 32
MAX_DIGITS = 234
BLOCK_OCTETS = 7
BLOCK_DIGITS = 17
DIGITS_OF_OCTETS = {1: 3, 2: 5, 3: 8, 4: 10, 5: 13, 6: 15, 7: 17}
OCTETS_OF_DIGITS = {digits: octets for octets, digits in DIGITS_OF_OCTETS.items()}
SCHEME_PREFIX = "HANDFAST:/"


class QrError(Refused):
    """The text is no QR code of this protocol, or not one that can be used."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason  # malformed, not_handfast, unknown_version, unknown_kind, bad_relay_hint


@dataclass(frozen=True)
class QrCode:
    """What the displayer shows."""

    mode: str
    purpose: str
    secret: bytes
    offer_hash: bytes
    hint: RelayHint | None = None

    def encode(self) -> bytes:
        """The octets."""
        kind = next(k for k, pair in KINDS.items() if pair == (self.mode, self.purpose))
        octets = u8(VERSION) + u8(kind) + self.secret + self.offer_hash
        if self.hint is None:
            return octets
        check_authority(self.hint.authority)
        scheme = next(s for s, name in SCHEMES.items() if name == self.hint.scheme)
        return octets + u8(scheme) + self.hint.authority.encode("ascii")

    def text(self, link_host: str | None = None) -> str:
        """HANDFAST:/ or an app's link, then the digits."""
        prefix = SCHEME_PREFIX if link_host is None else f"HTTPS://{link_host.upper()}/#"
        return prefix + to_digits(self.encode())


# --- digits ---


def to_digits(octets: bytes) -> str:
    """17 digits for each 7 octets."""
    blocks = (octets[at : at + BLOCK_OCTETS] for at in range(0, len(octets), BLOCK_OCTETS))
    return "".join(
        str(int.from_bytes(block, "big")).zfill(DIGITS_OF_OCTETS[len(block)]) for block in blocks
    )


def block_from_digits(digits: str) -> bytes:
    """One block."""
    if len(digits) not in OCTETS_OF_DIGITS:
        raise QrError("malformed")
    length = OCTETS_OF_DIGITS[len(digits)]
    number = int(digits)
    if number >= 256**length:
        raise QrError("malformed")
    return number.to_bytes(length, "big")


def from_digits(digits: str) -> bytes:
    """All blocks."""
    return b"".join(
        block_from_digits(digits[at : at + BLOCK_DIGITS])
        for at in range(0, len(digits), BLOCK_DIGITS)
    )


# --- reading ---


def read(text: str, link_hosts: Iterable[str] = ()) -> QrCode:
    """A scanned text, or a link that was opened."""
    digits = _without_prefix(_strip(text), link_hosts)
    first = digits[:BLOCK_DIGITS]
    if len(first) < BLOCK_DIGITS or not _all_digits(first):
        raise QrError("malformed")
    if block_from_digits(first)[0] != VERSION:  # "Version first": whatever follows
        raise QrError("unknown_version")
    if len(digits) > MAX_DIGITS or not _all_digits(digits):
        raise QrError("malformed")
    return decode(from_digits(digits))


def decode(octets: bytes) -> QrCode:
    """The octets of version 1."""
    if octets[1] not in KINDS:
        raise QrError("unknown_kind")
    if len(octets) < FIXED_LENGTH:
        raise QrError("malformed")
    mode, purpose = KINDS[octets[1]]
    hint = _read_hint(octets[FIXED_LENGTH:]) if len(octets) > FIXED_LENGTH else None
    return QrCode(mode, purpose, octets[2:34], octets[34:66], hint)


def _all_digits(text: str) -> bool:
    return all("0" <= c <= "9" for c in text)


def _strip(text: str) -> str:
    while text and is_white_space(text[0]):
        text = text[1:]
    while text and is_white_space(text[-1]):
        text = text[:-1]
    return text


def _ascii_lower(text: str) -> str:
    return "".join(chr(ord(c) + 32) if "A" <= c <= "Z" else c for c in text)


def _without_prefix(text: str, link_hosts: Iterable[str]) -> str:
    """The part before the digits is compared without regard to ASCII case."""
    for prefix in [SCHEME_PREFIX, *(f"HTTPS://{host}/#" for host in link_hosts)]:
        if _ascii_lower(text[: len(prefix)]) == _ascii_lower(prefix):
            return text[len(prefix) :]
    raise QrError("not_handfast")


# --- the relay hint ---


def _read_hint(octets: bytes) -> RelayHint:
    if octets[0] not in SCHEMES or not 1 <= len(octets) - 1 <= MAX_AUTHORITY:
        raise QrError("bad_relay_hint")
    try:
        authority = octets[1:].decode("ascii")
    except UnicodeDecodeError:
        raise QrError("bad_relay_hint") from None
    check_authority(authority)
    return RelayHint(SCHEMES[octets[0]], authority)


def check_authority(authority: str) -> None:
    """host or host:port, lower case."""
    if not 1 <= len(authority) <= MAX_AUTHORITY:
        raise QrError("bad_relay_hint")
    match = re.fullmatch(r"(\[[^\[\]]*\]|[^:\[\]]*)(?::([0-9]+))?", authority, re.ASCII)
    if not match:
        raise QrError("bad_relay_hint")
    host, port = match.groups()
    if port is not None and (port.startswith("0") or int(port) > 65535):
        raise QrError("bad_relay_hint")
    if not (is_ipv6(host[1:-1]) if host.startswith("[") else is_ipv4_or_name(host)):
        raise QrError("bad_relay_hint")


def is_ipv4_or_name(host: str) -> bool:
    """A host whose last label looks like a number must be an IPv4 address."""
    labels = host.split(".")
    if re.fullmatch(r"[0-9]+|0x[0-9a-f]*", labels[-1]):
        return len(labels) == 4 and all(
            re.fullmatch(r"0|[1-9][0-9]{0,2}", label) and int(label) <= 255 for label in labels
        )
    return all(re.fullmatch(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?", label) for label in labels)


def is_ipv6(text: str) -> bool:
    """RFC 4291 section 2.2 in lower case, without a zone."""
    if not re.fullmatch(r"[0-9a-f:.]+", text):
        return False
    head, gap, tail = text.partition("::")
    if gap and "::" in tail:
        return False
    groups = _groups(head, not gap), _groups(tail, True)
    if groups[0] is None or groups[1] is None:
        return False
    total = groups[0] + groups[1]
    return total <= 7 if gap else total == 8


def _groups(text: str, last: bool) -> int | None:
    """How many 16-bit groups this half has; a dotted address at its end counts two."""
    if not text:
        return 0
    parts = text.split(":")
    count = 0
    for at, part in enumerate(parts):
        if re.fullmatch(r"[0-9a-f]{1,4}", part):
            count += 1
        elif last and at == len(parts) - 1 and part.count(".") == 3 and is_ipv4_or_name(part):
            count += 2
        else:
            return None
    return count
