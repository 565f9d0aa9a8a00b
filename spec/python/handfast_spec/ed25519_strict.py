"""Strict Ed25519 verification (RFC 8032 section 5.1.7, without the cofactor).

Written for reading, not constant-time, not for use with real secrets.

Stricter than the RFC: public keys and R of small order are refused too.
Keys with a torsion part that are not of small order are not refused as such;
their signatures count only if the equation holds without the cofactor.
"""

import hashlib

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from . import edwards
from .edwards import BASE, L, Point
from .errors import BadEncoding, Refused


def decode_public_key(public_key: bytes) -> Point:
    """The key's point; refuses non-canonical encodings and small order."""
    point = edwards.decode(public_key)
    if edwards.is_small_order(point):
        raise BadEncoding("the public key is of small order")
    return point


def verify(public_key: bytes, message: bytes, signature: bytes) -> bool:
    """Whether [S]B = R + [k]A with strictly checked A, R and S."""
    try:
        check(public_key, message, signature)
    except Refused:
        return False
    return True


def check(public_key: bytes, message: bytes, signature: bytes) -> None:
    """As verify, but raises Refused with the reason."""
    a = decode_public_key(public_key)
    if len(signature) != 64:
        raise BadEncoding("the signature is not 64 bytes")
    r_bytes, s_bytes = signature[:32], signature[32:]
    r = edwards.decode(r_bytes)
    if edwards.is_small_order(r):
        raise BadEncoding("R is of small order")
    s = int.from_bytes(s_bytes, "little")
    if s >= L:
        raise BadEncoding("S is not below L")
    k = challenge(r_bytes, public_key, message)
    if not edwards.equal(edwards.multiply(s, BASE), edwards.add(r, edwards.multiply(k, a))):
        raise Refused("the signature does not fit")


def challenge(r_bytes: bytes, public_key: bytes, message: bytes) -> int:
    """RFC 8032 section 5.1.7 step 2: k = SHA-512(R || A || M) mod L."""
    digest = hashlib.sha512(r_bytes + public_key + message).digest()
    return int.from_bytes(digest, "little") % L


def public_key(seed: bytes) -> bytes:
    """The public key of a 32-byte private key (RFC 8032 section 5.1.5)."""
    return Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()


def sign(seed: bytes, message: bytes) -> bytes:
    """Sign with a 32-byte private key (RFC 8032 section 5.1.6)."""
    return Ed25519PrivateKey.from_private_bytes(seed).sign(message)
