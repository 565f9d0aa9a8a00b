"""Hashes and signatures over labelled parts (protocol.md, "Primitives").

For reading and checking, not constant-time, never with real secrets.
"""

from __future__ import annotations

from . import ed25519_strict, kdf
from .encoding import bytes32

IDENTITY_LENGTH = 32
SIGNATURE_LENGTH = 64


def hash_of(*parts: bytes) -> bytes:
    """SHA256(a, b, ...)."""
    return kdf.sha256(b"".join(parts))


def derive(salt: bytes, secret: bytes, *info: bytes, length: int) -> bytes:
    """KDF(salt, secret, info...)[L]."""
    return kdf.hkdf(salt, secret, b"".join(info), length)


def signed_bytes(label: bytes, *parts: bytes) -> bytes:
    """What Sign signs: label and parts, each behind its u32 length."""
    return bytes32(label) + b"".join(bytes32(part) for part in parts)


def sign(seed: bytes, label: bytes, *parts: bytes) -> bytes:
    """Sign(key, label, part...)."""
    return ed25519_strict.sign(seed, signed_bytes(label, *parts))


def verify(identity: bytes, signature: bytes, label: bytes, *parts: bytes) -> None:
    """Strict verification; raises Refused."""
    ed25519_strict.check(identity, signed_bytes(label, *parts), signature)
