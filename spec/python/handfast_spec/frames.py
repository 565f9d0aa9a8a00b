"""The frames between a device and a relay (relay.md, section 3).

Strict both ways: what does not decode is malformed, what decodes encodes to the same bytes.
"""

from __future__ import annotations

from dataclasses import fields
from enum import IntEnum
from typing import Any

from .frame_types import (
    Ack,
    Allocate,
    Allocated,
    Claim,
    Close,
    Data,
    Ended,
    EndReason,
    Error,
    ErrorCode,
    Frame,
    Joined,
    Lifetime,
    Network,
    Open,
    Peer,
    PeerClosed,
    PeerFreed,
    PeerJoined,
    PeerLeft,
    Reason,
    Resume,
    Resumed,
    Slot,
    ThirdClaim,
)
from .report import Record

MAX_FRAME = 16384
DATA_HEADER = 10
MAX_PAYLOAD = MAX_FRAME - DATA_HEADER


class Malformed(ValueError):
    """A message that is exactly no frame of its direction. The words are those of the vectors."""

    def __init__(self, error: str, field: str | None = None) -> None:
        super().__init__(error if field is None else f"{error}: {field}")
        self.error = error
        self.field = field


DEVICE_FRAMES: dict[int, type[Frame]] = {
    frame.TYPE: frame for frame in (Allocate, Open, Claim, Resume, Data, Ack, Close)
}
RELAY_FRAMES: dict[int, type[Frame]] = {
    frame.TYPE: frame
    for frame in (
        *(Allocated, Joined, Resumed, PeerJoined, PeerLeft, PeerFreed, PeerClosed),
        *(ThirdClaim, Ended, Error, Data, Ack),
    )
}

# How each field is written: a number of octets, and what its value is made of. The names of
# the choices are those that vectors/frames.json gives for a value out of range.
_NUMBERS = ("received", "seq", "ack", "retry_after", "remaining", "linger", "max")
_STRINGS = ("mailbox_id", "token")
_CHOICES: dict[str, tuple[type[IntEnum], str]] = {
    "slot": (Slot, "slot"),
    "peer": (Peer, "peer state"),
    "network": (Network, "network hint"),
    "code": (ErrorCode, "error code"),
}
_REASONS: dict[int, tuple[type[IntEnum], str]] = {
    Close.TYPE: (Reason, "close reason"),
    PeerClosed.TYPE: (Reason, "close reason"),
    Ended.TYPE: (EndReason, "end reason"),
}


def encode(frame: Frame) -> bytes:
    """The bytes of a frame; ValueError if a value does not fit its field."""
    data = bytes([frame.TYPE])
    for field in fields(frame):
        data += _encode_field(field.name, getattr(frame, field.name))
    directions = [kinds for kinds in (DEVICE_FRAMES, RELAY_FRAMES) if frame.TYPE in kinds]
    if _decode(data, directions[0]) != frame:
        raise ValueError(f"{frame.NAME}: a value does not fit its field")
    return data


def _encode_field(name: str, value: Any) -> bytes:
    if isinstance(value, Lifetime):
        numbers = (value.remaining, value.linger, value.max)
        return b"".join(number.to_bytes(4, "big") for number in numbers)
    if isinstance(value, bytes):
        return value
    octets = 4 if name in _NUMBERS or name == "nameplate" else 1
    return int(value).to_bytes(octets, "big")


def decode_relay(data: bytes) -> Frame:
    """A frame that a relay sent."""
    return _decode(data, RELAY_FRAMES)


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, length: int) -> bytes:
        part = self._data[self._at : self._at + length]
        if len(part) < length:
            raise Malformed("truncated")
        self._at += length
        return part

    def rest(self) -> bytes:
        return self.take(len(self._data) - self._at)

    def number(self, octets: int) -> int:
        return int.from_bytes(self.take(octets), "big")


def _decode(data: bytes, kinds: dict[int, type[Frame]]) -> Frame:
    if len(data) > MAX_FRAME:
        raise Malformed("too_long", "frame")
    reader = _Reader(data)
    kind = kinds.get(reader.number(1))
    if kind is None:
        raise Malformed("bad_value", "frame type")
    values = {field.name: _decode_field(reader, kind.TYPE, field.name) for field in fields(kind)}
    if reader.rest():
        raise Malformed("trailing_bytes")
    frame = kind(**values)
    if isinstance(frame, Error) and frame.limit and frame.code != ErrorCode.LIMIT:
        raise Malformed("bad_value", "error code")
    return frame


def _decode_field(reader: _Reader, kind: int, name: str) -> Any:
    """One field, by its name in section 3."""
    if name in _STRINGS:
        return reader.take(16)
    if name in _NUMBERS:
        return reader.number(4)
    if name == "lifetime":
        return Lifetime(reader.number(4), reader.number(4), reader.number(4))
    if name == "nameplate":
        return _below(reader.number(4), 2**20, "nameplate")
    if name == "settled":
        return _below(reader.number(1), 2, "flags") == 1
    if name == "limit":
        return reader.number(1)
    if name == "payload":
        payload = reader.rest()
        if not payload:
            raise Malformed("truncated")
        return payload
    choices, what = _REASONS[kind] if name == "reason" else _CHOICES[name]
    return choices(_below(reader.number(1), len(choices), what))


def _below(value: int, limit: int, field: str) -> int:
    if value >= limit:
        raise Malformed("bad_value", field)
    return value


# --- vectors/frames.json ---

def check_frames(root: Record) -> None:
    """Every case of frames.json in every direction that it is for; an unread field fails."""
    tally = root.tally
    tally.equal("kind", root.raw("kind"), "frames")
    root.raw("comment")
    for case in root.records("valid"):
        tally.vectors += 1
        name, _, data = case.raw("name"), case.raw("comment"), case.hex("hex")
        frame = _from_json(case.record("frame"))
        tally.equal(f"{name} encoded", encode(frame), data)
        for direction, kinds in _directions(case.raw("sender")):
            tally.equal(f"{name} from {direction}", _attempt(data, kinds), frame)
        case.done()
    for case in root.records("invalid"):
        tally.vectors += 1
        name, _, data = case.raw("name"), case.raw("comment"), case.hex("hex")
        reason = case.record("reason")
        want = (reason.raw("error"), reason.raw("field") if "field" in reason else None)
        reason.done()
        for direction, kinds in _directions(case.raw("sender")):
            tally.equal(f"{name} from {direction}", _attempt(data, kinds), want)
        case.done()


def _directions(sender: str) -> list[tuple[str, dict[int, type[Frame]]]]:
    both = {"device": DEVICE_FRAMES, "relay": RELAY_FRAMES}
    return list(both.items()) if sender == "either" else [(sender, both[sender])]


def _attempt(data: bytes, kinds: dict[int, type[Frame]]) -> Frame | tuple[str, str | None]:
    try:
        return _decode(data, kinds)
    except Malformed as refused:
        return refused.error, refused.field


def _from_json(record: Record) -> Frame:
    """The frame that the fields of a vector describe."""
    name = record.raw("type")
    kind = next(k for k in {**DEVICE_FRAMES, **RELAY_FRAMES}.values() if k.NAME == name)
    values = {field.name: _value(record, kind.TYPE, field.name) for field in fields(kind)}
    record.done()
    return kind(**values)


def _value(record: Record, kind: int, name: str) -> Any:
    if name in _STRINGS or name == "payload":
        return record.hex(name)
    if name == "lifetime":
        lifetime = record.record(name)
        value = Lifetime(lifetime.raw("remaining"), lifetime.raw("linger"), lifetime.raw("max"))
        lifetime.done()
        return value
    if name == "reason" or name in _CHOICES:
        choices, _ = _REASONS[kind] if name == "reason" else _CHOICES[name]
        return choices[record.raw(name).upper()]
    return record.raw(name)
