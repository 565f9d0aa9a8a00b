"""The encoded objects of protocol.md, "Messages" and "Grant": offer, hellos, bundle, items.

Encoders write what they are given; decoders refuse whatever the text says they must. Keys are
checked when they are read (X-Wing: "Primitives", KEM); signatures are verified in handshake.py.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from . import x_wing
from .encoding import Reader, bytes16, bytes32, flag, need_ascending, optional, text16, u8, u16
from .errors import BadEncoding
from .signing import IDENTITY_LENGTH, SIGNATURE_LENGTH
from .text import DEVICE_NAME_LIMIT, PLATFORM_LIMIT, read_account_label, read_entry_name

MODES = ("code", "qr-new", "qr-trusted")
PURPOSES = ("enroll", "unlock")
SUITES = {
    ("code", "enroll"): b"handfast/1 code enroll",
    ("qr-new", "enroll"): b"handfast/1 qr-new enroll",
    ("qr-new", "unlock"): b"handfast/1 qr-new unlock",
    ("qr-trusted", "enroll"): b"handfast/1 qr-trusted enroll",
}
EXTENSIONS_LIMIT = 256
MUST_UNDERSTAND = 0x8000
REQUESTED_ENTRIES_LIMIT = 16
BUNDLE_LIMIT = 262144
ENTRIES_LIMIT = 1024
SIGN_IN_SECRET_LIMIT = 1024
HELLO_LENGTH = 4096
SHARE_LENGTH = 32


# --- extensions ---


def read_extensions(reader: Reader) -> bytes:
    """The list as it is, kept in place. Version 1 knows none: tolerate, or refuse critical ones."""
    octets = reader.bytes16(EXTENSIONS_LIMIT)
    types = [kind for kind, _ in split_extensions(octets)]
    need_ascending(types, "extensions")
    if any(kind & MUST_UNDERSTAND for kind in types):
        raise reader.refuse("an extension that must be understood")
    return octets


def split_extensions(octets: bytes) -> list[tuple[int, bytes]]:
    """Types and values."""
    reader = Reader(octets, "extensions")
    extensions = []
    while reader.at < len(octets):
        kind = reader.u16()
        extensions.append((kind, reader.take(reader.u16())))
    return extensions


def join_extensions(extensions: list[tuple[int, bytes]]) -> bytes:
    """The inverse."""
    return b"".join(u16(kind) + bytes16(value) for kind, value in extensions)


def read_kem_key(reader: Reader) -> bytes:
    """An X-Wing public key: modulus check and low-order check."""
    key = reader.take(x_wing.PUBLIC_KEY_LENGTH)
    x_wing.check_public_key(key)
    return key


# --- offer ---


@dataclass(frozen=True)
class Offer:
    """M0, opened."""

    mode: str
    purpose: str
    nonce: bytes
    kem_key: bytes
    share: bytes | None  # code only
    extensions: bytes = b""

    def encode(self) -> bytes:
        """The octets."""
        return (
            u8(MODES.index(self.mode)) + u8(PURPOSES.index(self.purpose)) + self.nonce
            + self.kem_key + (self.share or b"") + bytes16(self.extensions)
        )

    def encode_without_share(self) -> bytes:
        """For ADa: the offer with its share left out."""
        return replace(self, share=None).encode()


def read_offer(octets: bytes) -> Offer:
    """Decode M0."""
    reader = Reader(octets, "offer")
    mode = MODES[reader.choice((0, 1, 2), "mode")]
    purpose = PURPOSES[reader.choice((0, 1), "purpose")]
    if (mode, purpose) not in SUITES:
        raise reader.refuse("a mode and purpose that do not go together")
    nonce = reader.take(32)
    key = read_kem_key(reader)
    share = reader.take(SHARE_LENGTH) if mode == "code" else None
    extensions = read_extensions(reader)
    reader.end()
    return Offer(mode, purpose, nonce, key, share, extensions)


# --- requests ---


@dataclass(frozen=True)
class Request:
    """What N asks for: the bundle, or items."""

    bundle: bool
    unlock_key: bool = False
    entries: tuple[str, ...] = ()

    def encode(self) -> bytes:
        """The octets."""
        if self.bundle:
            return u8(0)
        names = b"".join(text16(name) for name in self.entries)
        return u8(1) + flag(self.unlock_key) + u8(len(self.entries)) + names


def read_request(reader: Reader) -> Request:
    """The request inside the hello of N."""
    if reader.choice((0, 1), "request") == 0:
        return Request(bundle=True)
    unlock_key = reader.flag()
    count = reader.limited(reader.u8(), REQUESTED_ENTRIES_LIMIT)
    entries = tuple(read_entry_name(reader) for _ in range(count))
    need_ascending([name.encode("utf-8") for name in entries], "requested entries")
    if not unlock_key and not entries:
        raise reader.refuse("a request that asks for nothing")
    return Request(False, unlock_key, entries)


# --- hellos ---


@dataclass(frozen=True)
class NewHello:
    """The hello of N."""

    name: str
    platform: str
    request: Request
    identity: bytes
    wrapping_key: bytes
    bundle_key: bytes
    knows_peer: bool
    extensions: bytes = b""
    signature: bytes = b""

    def unsigned(self) -> bytes:
        """The hello without its signature."""
        return (
            text16(self.name) + text16(self.platform) + self.request.encode() + self.identity
            + self.wrapping_key + self.bundle_key + flag(self.knows_peer)
            + bytes16(self.extensions)
        )

    def encode(self) -> bytes:
        """The octets."""
        return self.unsigned() + self.signature


def read_new_hello(octets: bytes) -> NewHello:
    """Decode the hello of N."""
    reader = Reader(octets, "hello of the new device")
    hello = NewHello(
        name=reader.text16(DEVICE_NAME_LIMIT),
        platform=reader.text16(PLATFORM_LIMIT),
        request=read_request(reader),
        identity=reader.take(IDENTITY_LENGTH),
        wrapping_key=read_kem_key(reader),
        bundle_key=read_kem_key(reader),
        knows_peer=reader.flag(),
        extensions=read_extensions(reader),
        signature=reader.take(SIGNATURE_LENGTH),
    )
    reader.end()
    return hello


@dataclass(frozen=True)
class TrustedHello:
    """The hello of T."""

    account_id: bytes
    account_label: str
    name: str
    identity: bytes
    commitment: bytes | None  # qr-new only
    extensions: bytes = b""
    signature: bytes = b""

    def unsigned(self) -> bytes:
        """The hello without its signature."""
        return (
            self.account_id + text16(self.account_label) + text16(self.name) + self.identity
            + optional(self.commitment) + bytes16(self.extensions)
        )

    def encode(self) -> bytes:
        """The octets."""
        return self.unsigned() + self.signature


def read_trusted_hello(octets: bytes) -> TrustedHello:
    """Decode the hello of T."""
    reader = Reader(octets, "hello of the trusted device")
    hello = TrustedHello(
        account_id=reader.take(32),
        account_label=read_account_label(reader),
        name=reader.text16(DEVICE_NAME_LIMIT),
        identity=reader.take(IDENTITY_LENGTH),
        commitment=reader.optional(32),
        extensions=read_extensions(reader),
        signature=reader.take(SIGNATURE_LENGTH),
    )
    reader.end()
    return hello


def pad_hello(hello: bytes) -> bytes:
    """bytes16(hello), then zeros, 4096 octets in all."""
    return bytes16(hello).ljust(HELLO_LENGTH, b"\x00")


def unpad_hello(padded: bytes) -> bytes:
    """The inverse."""
    reader = Reader(padded, "padded hello")
    if len(padded) != HELLO_LENGTH:
        raise reader.refuse("not 4096 octets")
    hello = reader.bytes16(HELLO_LENGTH - 2)
    reader.zeros(len(padded) - reader.at)
    return hello


# --- bundle and items ---

Entries = tuple[tuple[str, bytes], ...]


def encode_entries(entries: Entries) -> bytes:
    """The number of entries, then name and value of each."""
    return u16(len(entries)) + b"".join(text16(name) + bytes32(value) for name, value in entries)


def read_entries(reader: Reader) -> Entries:
    """At most 1024, names ascending."""
    count = reader.limited(reader.u16(), ENTRIES_LIMIT)
    entries = tuple(
        (read_entry_name(reader), reader.bytes32(BUNDLE_LIMIT)) for _ in range(count)
    )
    need_ascending([name.encode("utf-8") for name, _ in entries], "entries")
    return entries


@dataclass(frozen=True)
class Bundle:
    """The credential bundle."""

    account_id: bytes
    account_label: str
    unlock_key: bytes
    sign_in_secret: bytes
    entries: Entries
    extensions: bytes = b""

    def encode(self) -> bytes:
        """The octets."""
        return (
            self.account_id + text16(self.account_label) + self.unlock_key
            + bytes16(self.sign_in_secret) + encode_entries(self.entries)
            + bytes16(self.extensions)
        )


def read_bundle(octets: bytes) -> Bundle:
    """Decode a bundle."""
    reader = Reader(octets, "bundle")
    reader.limited(len(octets), BUNDLE_LIMIT)
    bundle = Bundle(
        account_id=reader.take(32),
        account_label=read_account_label(reader),
        unlock_key=reader.take(32),
        sign_in_secret=reader.bytes16(SIGN_IN_SECRET_LIMIT),
        entries=read_entries(reader),
        extensions=read_extensions(reader),
    )
    reader.end()
    return bundle


@dataclass(frozen=True)
class Items:
    """What an unlock grants."""

    unlock_key: bytes | None
    entries: Entries

    def encode(self) -> bytes:
        """The octets."""
        return optional(self.unlock_key) + encode_entries(self.entries)


def read_items(octets: bytes) -> Items:
    """Decode items."""
    reader = Reader(octets, "items")
    items = Items(unlock_key=reader.optional(32), entries=read_entries(reader))
    reader.end()
    return items


class NoSuchEntry(Exception):
    """The bundle lacks an entry that was asked for."""


def pick_items(bundle: Bundle, request: Request) -> Items:
    """Exactly what N's signed request asked for."""
    values = dict(bundle.entries)
    missing = [name for name in request.entries if name not in values]
    if missing:
        raise NoSuchEntry(missing[0])
    return Items(
        bundle.unlock_key if request.unlock_key else None,
        tuple((name, values[name]) for name in request.entries),
    )


def need_exactly(items: Items, request: Request) -> None:
    """R-items: the unlock key exactly if asked for, and exactly the entries asked for."""
    if (items.unlock_key is not None) != request.unlock_key:
        raise BadEncoding("items: the unlock key is there unasked, or missing")
    if tuple(name for name, _ in items.entries) != request.entries:
        raise BadEncoding("items: not the entries that were asked for")
