"""The grant (protocol.md, "Grant"): statement, plaintext, chunks, and what N must check.

For reading and checking, not constant-time, never with real secrets.
"""

from __future__ import annotations

from dataclasses import dataclass

from . import aead, check_code, device, hpke, objects, signing, x_wing
from .channel import Channel
from .encoding import Reader, bytes16, bytes32, flag, optional, u8, u16
from .errors import BadEncoding, BadLength
from .interfaces import Random
from .messages import GRANT_CHUNK, message
from .objects import PURPOSES, Bundle, Items, NewHello, Request, TrustedHello
from .trace import hpke_trace, note

BUCKETS = (1024, 4096, 16384, 65536, 262144)
CONTENT_LIMIT = BUCKETS[-1]
CHUNK = 14336
FOUNDING = 2 + device.GENESIS_LIMIT
TOTAL_LIMIT = CONTENT_LIMIT + device.GENESIS_LIMIT + 1024
PSK_ID = b"handfast/1 grant psk"


# --- statement ---


def statement_parts(
    account_id: bytes, identity: bytes, wrapping_key: bytes, purpose: str, th: bytes
) -> tuple[bytes, ...]:
    """What T signs about N; th is th before M3."""
    return account_id, identity, wrapping_key, u8(PURPOSES.index(purpose)), th


def make_statement(seed: bytes, *parts: bytes) -> bytes:
    """Sign(T's identity, `handfast/1 grant signature`, parts...)."""
    note("statement_signed_bytes", signing.signed_bytes(b"handfast/1 grant signature", *parts))
    return note("statement", signing.sign(seed, b"handfast/1 grant signature", *parts))


# --- plaintext ---


def bucket(length: int) -> int:
    """The smallest bucket that holds the content."""
    return next(size for size in BUCKETS if length <= size)


@dataclass(frozen=True)
class Grant:
    """The plaintext of M3."""

    account_id: bytes
    statement: bytes
    opening: bytes | None
    purpose: str  # content-kind
    genesis: bytes  # empty in unlock
    content: bytes
    extensions: bytes = b""

    def encode(self) -> bytes:
        """Padded to its bucket."""
        founding = bytes16(self.genesis).ljust(FOUNDING, b"\x00")
        padding = bytes(bucket(len(self.content)) - len(self.content))
        return (
            self.account_id + self.statement + optional(self.opening)
            + u8(PURPOSES.index(self.purpose)) + founding + bytes16(self.extensions)
            + bytes32(self.content) + padding
        )


def read_grant(octets: bytes) -> Grant:
    """Decode the plaintext."""
    reader = Reader(octets, "grant")
    account_id = reader.take(32)
    statement = reader.take(signing.SIGNATURE_LENGTH)
    opening = reader.optional(32)
    purpose = PURPOSES[reader.choice((0, 1), "content kind")]
    founding = Reader(reader.take(FOUNDING), "founding field")
    genesis = founding.bytes16(device.GENESIS_LIMIT)
    founding.zeros(FOUNDING - founding.at)
    extensions = objects.read_extensions(reader)
    content = reader.bytes32(CONTENT_LIMIT)
    padding = len(octets) - reader.at
    if len(content) + padding != bucket(len(content)):
        raise reader.refuse("not padded to the smallest bucket")
    reader.zeros(padding)
    return Grant(account_id, statement, opening, purpose, genesis, content, extensions)


# --- sealing and opening ---


def grant_psk(channel: Channel) -> bytes:
    """From the handshake's context."""
    return note("grant_psk", channel.export(b"handfast/1 export grant psk"))


def grant_info(suite: bytes, th: bytes) -> bytes:
    """th is th before M3."""
    return note("grant_info", bytes16(b"handfast/1 grant") + bytes16(suite) + th)


def chunk_aad(th: bytes, index: int, last: bool) -> bytes:
    """th is th before M3."""
    return th + u8(GRANT_CHUNK) + u16(index) + flag(last)


def seal_grant(
    channel: Channel, suite: bytes, bundle_key: bytes, grant: Grant, random: Random
) -> list[bytes]:
    """The GrantChunk messages."""
    th = channel.th
    note("grant_content", grant.content)
    plaintext = note("grant_plaintext", grant.encode())
    enc, context = hpke.setup_psk_sender(
        bundle_key, grant_info(suite, th), grant_psk(channel), PSK_ID,
        random.draw("grant_encapsulation"),
    )
    note("grant_enc", enc)
    hpke_trace("grant", context)
    pieces = [plaintext[at : at + CHUNK] for at in range(0, len(plaintext), CHUNK)]
    messages = []
    for index, piece in enumerate(pieces):
        last = index == len(pieces) - 1
        sealed = context.seal(chunk_aad(th, index, last), piece)
        body = u16(index) + flag(last) + (enc if index == 0 else b"") + sealed
        channel.transcript.take_in(GRANT_CHUNK, body, f"m3_{index}")
        messages.append(message(GRANT_CHUNK, body))
    return messages


class GrantReceiver:
    """N: chunks 0, 1, 2 ... in order; each counts only once it is open."""

    def __init__(self, channel: Channel, suite: bytes, bundle_seed: bytes) -> None:
        self.channel = channel
        self.suite = suite
        self.bundle_seed = bundle_seed
        self.th = channel.th  # th before M3
        self.next = 0
        self.plaintext = b""
        self.context: hpke.RecipientContext | None = None

    def take(self, body: bytes) -> bool:
        """One chunk; True if it was the last. Raises Refused."""
        reader = Reader(body, "grant chunk")
        index = reader.u16()
        last = reader.flag()
        if index != self.next:
            raise reader.refuse(f"index {index} instead of {self.next}")
        if index == 0:
            self.context = hpke.setup_psk_recipient(
                note("grant_enc", reader.take(x_wing.CIPHERTEXT_LENGTH)), self.bundle_seed,
                grant_info(self.suite, self.th), grant_psk(self.channel), PSK_ID,
            )
            hpke_trace("grant", self.context)
        sealed = reader.rest()
        if len(sealed) <= aead.TAG_LENGTH or len(sealed) > CHUNK + aead.TAG_LENGTH:
            raise BadLength("a chunk that is empty or over-full")
        if not last and len(sealed) != CHUNK + aead.TAG_LENGTH:
            raise BadLength("a chunk that is not full and not the last")
        self.plaintext += self.context.open(chunk_aad(self.th, index, last), sealed)
        if len(self.plaintext) > TOTAL_LIMIT:
            raise BadLength("a grant over its limit")
        self.channel.transcript.take_in(GRANT_CHUNK, body, f"m3_{index}")
        self.next += 1
        return last


# --- what N must check before it stores or shows anything ---


def check_grant(
    grant: Grant, mode: str, purpose: str, peer: TrustedHello, own: NewHello, th: bytes
) -> None:
    """Account, statement and opening against the commitment; th is th before M3."""
    if grant.account_id != peer.account_id:
        raise BadEncoding("another account id than that of T's hello")
    parts = statement_parts(grant.account_id, own.identity, own.wrapping_key, purpose, th)
    signing.verify(peer.identity, grant.statement, b"handfast/1 grant signature", *parts)
    if (grant.opening is not None) != (mode == "qr-new"):
        raise BadEncoding("an opening that is missing, or there in another mode")
    if grant.opening is not None and check_code.commitment(grant.opening) != peer.commitment:
        raise BadEncoding("the opening does not open the commitment")
    if grant.purpose != purpose:
        raise BadEncoding("items in enroll, or a bundle in unlock")


def check_typed(grant: Grant, channel: Channel, typed: str | None) -> None:
    """r also reproduces the digits that were typed on N, if any were."""
    if typed is not None and check_code.digits(channel, grant.opening or b"") != typed:
        raise BadEncoding("the opening gives other digits than were typed")


def check_bundle(grant: Grant) -> Bundle:
    """Enroll: genesis statement and bundle are of the grant's account."""
    device.read_genesis(grant.genesis)
    if device.account_id(grant.genesis) != grant.account_id:
        raise BadEncoding("the genesis statement makes another account")
    bundle = objects.read_bundle(grant.content)
    if bundle.account_id != grant.account_id:
        raise BadEncoding("another account id in the bundle")
    return bundle


def check_items(grant: Grant, request: Request) -> Items:
    """Unlock: exactly what was asked for."""
    if grant.genesis:
        raise BadEncoding("a genesis statement in unlock")
    items = objects.read_items(grant.content)
    objects.need_exactly(items, request)
    return items
