"""A relay payload is one message (protocol.md, "Messages", "Versions and extensions")."""

from __future__ import annotations

from .encoding import u8
from .errors import BadEncoding
from .outcomes import Ended

VERSION = 1
OFFER, SEALED_OFFER, ACCEPT, REPLY = 0, 1, 2, 3
CHECK_CODE, CHECK_REQUEST, GRANT_CHUNK, RECEIPT, ABORT = 4, 5, 6, 7, 8
KINDS = range(9)


def message(kind: int, body: bytes) -> bytes:
    """Version, kind, body."""
    return u8(VERSION) + u8(kind) + body


def split(payload: bytes) -> tuple[int, bytes]:
    """Kind and body of a message; raises Refused."""
    if not payload or payload[0] != VERSION:
        raise BadEncoding("another version")
    if len(payload) < 2:
        raise BadEncoding("a message without a kind")
    if payload[1] not in KINDS:
        raise BadEncoding(f"unknown message kind {payload[1]}")
    return payload[1], payload[2:]


def handshake_body(payload: bytes, kind: int) -> bytes:
    """The body of M0, M1 or M2: another version ends the run before anything else is read."""
    if payload and payload[0] != VERSION:
        raise Ended("version", f"the peer has version {payload[0]}")
    got, body = split(payload)
    if got != kind:
        raise BadEncoding(f"message kind {got} instead of {kind}")
    return body
