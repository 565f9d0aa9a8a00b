"""The errors that the primitives raise. All are refusals of bad input."""


class Refused(ValueError):
    """Base class: an input was refused."""


class BadLength(Refused):
    """A byte string has the wrong length."""


class BadEncoding(Refused):
    """A byte string does not decode to a valid value."""


class EndsEarly(BadEncoding):
    """An object ends before it is complete."""


class OctetsAfterEnd(BadEncoding):
    """Octets follow a complete object."""


class OverLimit(BadEncoding):
    """A length or count is over its limit."""


class LowOrderPoint(Refused):
    """An X25519 share is one of the low-order points."""


class OpenError(Refused):
    """Authenticated decryption failed."""


class MessageLimitReached(Refused):
    """An HPKE context has used up its sequence numbers."""


class CPaceAbort(Refused):
    """CPace must stop: the peer's share is unusable."""


def need_length(value: bytes, length: int, name: str) -> None:
    """Raise BadLength unless value has exactly this length."""
    if len(value) != length:
        raise BadLength(f"{name} has {len(value)} bytes, not {length}")
