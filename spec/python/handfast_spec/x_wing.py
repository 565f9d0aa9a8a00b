"""X-Wing: X25519 and ML-KEM-768 together (draft-connolly-cfrg-xwing-kem-10).

Written for reading, not constant-time, not for use with real secrets.
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from . import ml_kem
from .errors import LowOrderPoint, need_length

SEED_LENGTH = 32  # the decapsulation key
ESEED_LENGTH = 64  # ML-KEM m || X25519 ephemeral secret
PUBLIC_KEY_LENGTH = 1216  # ML-KEM 1184 || X25519 32
CIPHERTEXT_LENGTH = 1120  # ML-KEM 1088 || X25519 32

# Section 5.3: the ASCII drawing \.//^\ of an X-wing.
LABEL = bytes.fromhex("5c2e2f2f5e5c")

_P = 2**255 - 19

# The u coordinates of low-order points on Curve25519 and its twist, with the
# non-canonical forms that fit in 255 bits (RFC 7748 section 6.1 and 7).
LOW_ORDER_U = (
    0,
    1,
    325606250916557431795983626356110631294008115727848805560023387167927233504,  # order 8
    39382357235489614581723060781553021112529911719440698176882885853963445705823,  # order 8
    _P - 1,
    _P,
    _P + 1,
)
LOW_ORDER_ENCODINGS = frozenset(
    (u | top_bit << 255).to_bytes(32, "little") for u in LOW_ORDER_U for top_bit in (0, 1)
)


class ExpandedKey(NamedTuple):
    """Both key pairs of a seed."""

    ml_kem: ml_kem.KeyPair
    x25519_secret: bytes
    x25519_public: bytes


# --- X25519 (RFC 7748) ---


def x25519_public(secret: bytes) -> bytes:
    """X25519(secret, 9)."""
    return X25519PrivateKey.from_private_bytes(secret).public_key().public_bytes_raw()


def x25519(secret: bytes, public: bytes) -> bytes:
    """X25519(secret, public); refuses low-order points."""
    refuse_low_order_share(public)
    return X25519PrivateKey.from_private_bytes(secret).exchange(
        X25519PublicKey.from_public_bytes(public)
    )


def refuse_low_order_share(share: bytes) -> None:
    """Refuse all 14 encodings of a low-order X25519 point."""
    need_length(share, 32, "an X25519 share")
    if share in LOW_ORDER_ENCODINGS:
        raise LowOrderPoint("the X25519 share is a low-order point")


def refuse_low_order(value: bytes) -> None:
    """The same for the last 32 bytes of a public key or ciphertext."""
    if len(value) not in (PUBLIC_KEY_LENGTH, CIPHERTEXT_LENGTH):
        need_length(value, PUBLIC_KEY_LENGTH, "an X-Wing public key (or ciphertext)")
    refuse_low_order_share(value[-32:])


# --- X-Wing ---


def expand(seed: bytes) -> ExpandedKey:
    """Section 5.2, expandDecapsulationKey."""
    need_length(seed, SEED_LENGTH, "the X-Wing seed")
    expanded = hashlib.shake_256(seed).digest(96)
    x25519_secret = expanded[64:]
    return ExpandedKey(ml_kem.keygen(expanded[:64]), x25519_secret, x25519_public(x25519_secret))


def public_key(seed: bytes) -> bytes:
    """Section 5.2: the 1216-byte public key of a 32-byte seed."""
    key = expand(seed)
    return key.ml_kem.ek + key.x25519_public


def check_public_key(public_key: bytes) -> None:
    """Length, ML-KEM modulus check and low-order check."""
    need_length(public_key, PUBLIC_KEY_LENGTH, "the X-Wing public key")
    ml_kem.check_encapsulation_key(public_key[: ml_kem.EK_LENGTH])
    refuse_low_order(public_key)


def _combine(ss_m: bytes, ss_x: bytes, ct_x: bytes, pk_x: bytes) -> bytes:
    """Section 5.3, Combiner."""
    return hashlib.sha3_256(ss_m + ss_x + ct_x + pk_x + LABEL).digest()


def encapsulate(public_key: bytes, eseed: bytes) -> tuple[bytes, bytes]:
    """Section 5.4.1, EncapsulateDerand: (shared secret, ciphertext)."""
    check_public_key(public_key)
    need_length(eseed, ESEED_LENGTH, "the X-Wing encapsulation seed")
    pk_m, pk_x = public_key[: ml_kem.EK_LENGTH], public_key[ml_kem.EK_LENGTH :]
    m, ek_x = eseed[:32], eseed[32:]
    ct_x = x25519_public(ek_x)
    ss_x = x25519(ek_x, pk_x)
    ss_m, ct_m = ml_kem.encapsulate(pk_m, m)
    return _combine(ss_m, ss_x, ct_x, pk_x), ct_m + ct_x


def decapsulate(seed: bytes, ciphertext: bytes) -> bytes:
    """Section 5.5: the shared secret."""
    need_length(ciphertext, CIPHERTEXT_LENGTH, "the X-Wing ciphertext")
    refuse_low_order(ciphertext)
    ct_m, ct_x = ciphertext[: ml_kem.CT_LENGTH], ciphertext[ml_kem.CT_LENGTH :]
    key = expand(seed)
    ss_m = ml_kem.decapsulate(key.ml_kem.dk, ct_m)
    ss_x = x25519(key.x25519_secret, ct_x)
    return _combine(ss_m, ss_x, ct_x, key.x25519_public)
