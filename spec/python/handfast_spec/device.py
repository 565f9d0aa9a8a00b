"""Devices and accounts (protocol.md, "Accounts and device keys", "Primitives": fingerprint).

For reading and checking, not constant-time, never with real secrets.
"""

from __future__ import annotations

from dataclasses import dataclass

from . import aead, ed25519_strict, objects, x_wing
from .code import ALPHABET
from .encoding import Reader, bytes16, text16, u8
from .errors import BadEncoding, OpenError
from .signing import IDENTITY_LENGTH, SIGNATURE_LENGTH, derive, hash_of, sign, verify
from .text import read_account_label

GENESIS_VERSION = 1
GENESIS_LIMIT = 512
BUNDLE_AT_REST_VERSION = 1


@dataclass(frozen=True)
class DeviceKeys:
    """What follows from the 32 octets of a device key."""

    identity_seed: bytes
    wrapping_seed: bytes
    sealing_key: bytes

    @classmethod
    def derive(cls, device_key: bytes) -> DeviceKeys:
        """The table of the section."""
        return cls(
            derive(b"", device_key, b"handfast/1 device identity seed", length=32),
            derive(b"", device_key, b"handfast/1 device wrapping seed", length=32),
            derive(b"", device_key, b"handfast/1 device sealing key", length=32),
        )

    @property
    def identity(self) -> bytes:
        """The Ed25519 public key."""
        return ed25519_strict.public_key(self.identity_seed)

    @property
    def wrapping_key(self) -> bytes:
        """The X-Wing public key."""
        return x_wing.public_key(self.wrapping_seed)


def fingerprint(identity: bytes) -> str:
    """160 bits in base32, most significant first: eight groups of four."""
    bits = int.from_bytes(hash_of(b"handfast/1 fingerprint", identity)[:20], "big")
    symbols = "".join(ALPHABET[bits >> shift & 31] for shift in range(155, -1, -5))
    return "-".join(symbols[at : at + 4] for at in range(0, 32, 4))


# --- accounts ---


@dataclass(frozen=True)
class Genesis:
    """A decoded and verified genesis statement."""

    account_label: str
    identity: bytes
    nonce: bytes
    signature: bytes


def account_id(genesis: bytes) -> bytes:
    """It never changes and is no secret."""
    return hash_of(b"handfast/1 account id", genesis)


def make_genesis(identity_seed: bytes, account_label: str, nonce: bytes) -> bytes:
    """Made by the first device of an account."""
    identity = ed25519_strict.public_key(identity_seed)
    unsigned = u8(GENESIS_VERSION) + text16(account_label) + identity + nonce
    return unsigned + sign(identity_seed, b"handfast/1 genesis", unsigned)


def read_genesis(octets: bytes) -> Genesis:
    """Decode and verify; at most 512 octets."""
    reader = Reader(octets, "genesis")
    reader.limited(len(octets), GENESIS_LIMIT)
    reader.choice((GENESIS_VERSION,), "version")
    label = read_account_label(reader)
    identity = reader.take(IDENTITY_LENGTH)
    nonce = reader.take(32)
    unsigned = octets[: reader.at]
    signature = reader.take(SIGNATURE_LENGTH)
    reader.end()
    verify(identity, signature, b"handfast/1 genesis", unsigned)
    return Genesis(label, identity, nonce, signature)


# --- the bundle at rest ---


def bundle_aad(account: bytes, identity: bytes) -> bytes:
    """What a sealed bundle is bound to."""
    return (
        bytes16(b"handfast/1 bundle at rest") + u8(BUNDLE_AT_REST_VERSION) + account + identity
    )


def seal_bundle(keys: DeviceKeys, account: bytes, nonce: bytes, bundle: bytes) -> bytes:
    """24-octet nonce, then XChaCha20-Poly1305 under the sealing key."""
    aad = bundle_aad(account, keys.identity)
    return nonce + aead.xchacha_seal(keys.sealing_key, nonce, aad, bundle)


def open_bundle(keys: DeviceKeys, account: bytes, sealed: bytes) -> bytes:
    """The inverse: a bundle of this account; raises Refused."""
    if len(sealed) < aead.XNONCE_LENGTH + aead.TAG_LENGTH:
        raise OpenError("too short for a sealed bundle")
    nonce, ciphertext = sealed[: aead.XNONCE_LENGTH], sealed[aead.XNONCE_LENGTH :]
    aad = bundle_aad(account, keys.identity)
    bundle = aead.xchacha_open(keys.sealing_key, nonce, aad, ciphertext)
    if objects.read_bundle(bundle).account_id != account:
        raise BadEncoding("the bundle of another account")
    return bundle
