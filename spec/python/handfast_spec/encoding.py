"""The encoding rules of protocol.md, "Conventions": one encoding for each object.

For reading and checking, not constant-time, never with real secrets.
"""

from __future__ import annotations

from .errors import BadEncoding, EndsEarly, OctetsAfterEnd, OverLimit

# --- writing ---


def u8(number: int) -> bytes:
    """One octet."""
    return number.to_bytes(1, "big")


def u16(number: int) -> bytes:
    """Two octets, big-endian."""
    return number.to_bytes(2, "big")


def u32(number: int) -> bytes:
    """Four octets, big-endian."""
    return number.to_bytes(4, "big")


def u64(number: int) -> bytes:
    """Eight octets, big-endian."""
    return number.to_bytes(8, "big")


def bytes16(data: bytes) -> bytes:
    """The u16 is the number of octets after it."""
    return u16(len(data)) + data


def bytes32(data: bytes) -> bytes:
    """The u32 is the number of octets after it."""
    return u32(len(data)) + data


def text16(text: str) -> bytes:
    """bytes16 whose octets are UTF-8."""
    return bytes16(text.encode("utf-8"))


def flag(yes: bool) -> bytes:
    """01 is yes."""
    return b"\x01" if yes else b"\x00"


def optional(value: bytes | None) -> bytes:
    """A flag, and the value if there is one."""
    return flag(False) if value is None else flag(True) + value


# --- reading ---


class Reader:
    """Reads one object from the front; refuses whatever is not its encoding."""

    def __init__(self, data: bytes, what: str) -> None:
        self.data = data
        self.at = 0
        self.what = what

    def refuse(self, why: str, error: type[BadEncoding] = BadEncoding) -> BadEncoding:
        """The refusal, to be raised."""
        return error(f"{self.what}: {why}")

    def take(self, length: int) -> bytes:
        """The next octets; they must be there."""
        if self.at + length > len(self.data):
            raise self.refuse("ends early", EndsEarly)
        start, self.at = self.at, self.at + length
        return self.data[start : self.at]

    def rest(self) -> bytes:
        """Everything that is left."""
        return self.take(len(self.data) - self.at)

    def u8(self) -> int:
        """One octet."""
        return self.take(1)[0]

    def u16(self) -> int:
        """Two octets, big-endian."""
        return int.from_bytes(self.take(2), "big")

    def u32(self) -> int:
        """Four octets, big-endian."""
        return int.from_bytes(self.take(4), "big")

    def bytes16(self, limit: int) -> bytes:
        """At most `limit` octets behind their u16 length."""
        return self.take(self.limited(self.u16(), limit))

    def bytes32(self, limit: int) -> bytes:
        """At most `limit` octets behind their u32 length."""
        return self.take(self.limited(self.u32(), limit))

    def text16(self, limit: int) -> str:
        """UTF-8 of at most `limit` octets behind their u16 length."""
        try:
            return self.bytes16(limit).decode("utf-8")
        except UnicodeDecodeError:
            raise self.refuse("text is not UTF-8") from None

    def flag(self) -> bool:
        """00 or 01 and nothing else."""
        return self.choice((0, 1), "flag") == 1

    def choice(self, listed: tuple[int, ...], name: str) -> int:
        """A u8 that must be one of the listed codes."""
        value = self.u8()
        if value not in listed:
            raise self.refuse(f"{name} {value} is not listed")
        return value

    def optional(self, length: int) -> bytes | None:
        """A flag, and so many octets if it says yes."""
        return self.take(length) if self.flag() else None

    def zeros(self, length: int) -> None:
        """Padding."""
        if any(self.take(length)):
            raise self.refuse("padding is not zero")

    def end(self) -> None:
        """Nothing may follow."""
        if self.at != len(self.data):
            raise self.refuse("octets after the end", OctetsAfterEnd)

    def limited(self, length: int, limit: int) -> int:
        """A length or count, if it is not over its limit."""
        if length > limit:
            raise self.refuse(f"a length of {length} is over the limit of {limit}", OverLimit)
        return length


def need_ascending(keys: list[bytes] | list[int], what: str) -> None:
    """Lists are in strictly ascending order of their keys; text compares as UTF-8."""
    if any(not first < second for first, second in zip(keys, keys[1:])):
        raise BadEncoding(f"{what} are not in strictly ascending order")
