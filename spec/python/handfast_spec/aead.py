"""ChaCha20-Poly1305 (RFC 8439) and XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha-03).

HChaCha20 is written for reading, not constant-time, not for use with real secrets.
"""

import struct

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from .errors import OpenError, need_length

KEY_LENGTH = 32
NONCE_LENGTH = 12
XNONCE_LENGTH = 24
TAG_LENGTH = 16

# "expand 32-byte k" as four little-endian words (RFC 8439 section 2.3).
CHACHA_CONSTANTS = (0x61707865, 0x3320646E, 0x79622D32, 0x6B206574)


def chacha_seal(key: bytes, nonce: bytes, aad: bytes, plaintext: bytes) -> bytes:
    """RFC 8439 section 2.8: ciphertext, then 16-byte tag."""
    need_length(key, KEY_LENGTH, "the key")
    need_length(nonce, NONCE_LENGTH, "the nonce")
    return ChaCha20Poly1305(key).encrypt(nonce, plaintext, aad)


def chacha_open(key: bytes, nonce: bytes, aad: bytes, ciphertext: bytes) -> bytes:
    """RFC 8439 section 2.8; raises OpenError if the tag does not fit."""
    need_length(key, KEY_LENGTH, "the key")
    need_length(nonce, NONCE_LENGTH, "the nonce")
    try:
        return ChaCha20Poly1305(key).decrypt(nonce, ciphertext, aad)
    except InvalidTag:
        raise OpenError("authentication failed") from None


def xchacha_seal(key: bytes, nonce: bytes, aad: bytes, plaintext: bytes) -> bytes:
    """draft-irtf-cfrg-xchacha-03 section 2.3, with a 24-byte nonce."""
    subkey, short_nonce = _subkey_and_nonce(key, nonce)
    return chacha_seal(subkey, short_nonce, aad, plaintext)


def xchacha_open(key: bytes, nonce: bytes, aad: bytes, ciphertext: bytes) -> bytes:
    """The inverse of xchacha_seal; raises OpenError."""
    subkey, short_nonce = _subkey_and_nonce(key, nonce)
    return chacha_open(subkey, short_nonce, aad, ciphertext)


def _subkey_and_nonce(key: bytes, nonce: bytes) -> tuple[bytes, bytes]:
    """Section 2.3: HChaCha20 eats 16 nonce bytes, the other 8 follow 4 zeros."""
    need_length(nonce, XNONCE_LENGTH, "the nonce")
    return hchacha20(key, nonce[:16]), bytes(4) + nonce[16:]


def hchacha20(key: bytes, nonce: bytes) -> bytes:
    """draft-irtf-cfrg-xchacha-03 section 2.2: a subkey from a 16-byte nonce."""
    need_length(key, KEY_LENGTH, "the key")
    need_length(nonce, 16, "the HChaCha20 nonce")
    state = [*CHACHA_CONSTANTS, *struct.unpack("<8I", key), *struct.unpack("<4I", nonce)]
    for _ in range(10):
        for column in range(4):
            _quarter_round(state, column, column + 4, column + 8, column + 12)
        _quarter_round(state, 0, 5, 10, 15)
        _quarter_round(state, 1, 6, 11, 12)
        _quarter_round(state, 2, 7, 8, 13)
        _quarter_round(state, 3, 4, 9, 14)
    return struct.pack("<8I", *state[0:4], *state[12:16])


def _quarter_round(state: list[int], a: int, b: int, c: int, d: int) -> None:
    """RFC 8439 section 2.1."""
    for x, y, z, bits in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
        state[x] = (state[x] + state[y]) % 2**32
        word = state[z] ^ state[x]
        state[z] = (word << bits | word >> (32 - bits)) % 2**32
