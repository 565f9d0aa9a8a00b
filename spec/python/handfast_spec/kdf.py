"""SHA-256 and HKDF-SHA256 (RFC 5869)."""

import hashlib
import hmac

HASH_LENGTH = 32


def sha256(data: bytes) -> bytes:
    """SHA-256 of data."""
    return hashlib.sha256(data).digest()


def hmac_sha256(key: bytes, data: bytes) -> bytes:
    """HMAC-SHA256 (RFC 2104)."""
    return hmac.new(key, data, hashlib.sha256).digest()


def extract(salt: bytes, ikm: bytes) -> bytes:
    """RFC 5869 section 2.2; an empty salt stands for 32 zero bytes."""
    return hmac_sha256(salt or bytes(HASH_LENGTH), ikm)


def expand(prk: bytes, info: bytes, length: int) -> bytes:
    """RFC 5869 section 2.3."""
    if not 0 <= length <= 255 * HASH_LENGTH:
        raise ValueError(f"HKDF-SHA256 cannot give {length} bytes")
    output = b""
    block = b""
    counter = 1
    while len(output) < length:
        block = hmac_sha256(prk, block + info + bytes([counter]))
        output += block
        counter += 1
    return output[:length]


def hkdf(salt: bytes, ikm: bytes, info: bytes, length: int) -> bytes:
    """RFC 5869 section 2.1: extract, then expand."""
    return expand(extract(salt, ikm), info, length)
