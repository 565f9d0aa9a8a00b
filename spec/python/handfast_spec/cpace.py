"""CPACE-RISTR255-SHA512 (draft-irtf-cfrg-cpace-21).

Written for reading, not constant-time, not for use with real secrets.
"""

import hashlib

from . import ristretto
from .edwards import Point
from .errors import BadEncoding, BadLength, CPaceAbort, need_length

DSI = b"CPaceRistretto255"
DSI_ISK = DSI + b"_ISK"
SID_OUTPUT_LABEL = b"CPaceSidOutput"
HASH_BLOCK_LENGTH = 128  # H.s_in_bytes of SHA-512
GROUP_SIZE_BITS = 252
SHARE_LENGTH = 32
IDENTITY_ENCODING = bytes(32)  # G.I


def _hash(data: bytes) -> bytes:
    return hashlib.sha512(data).digest()


# --- string utilities (appendix A) ---


def prepend_len(data: bytes) -> bytes:
    """data after its length as LEB128: 7 bits per byte, low bits first."""
    length = len(data)
    prefix = b""
    while length >= 128:
        prefix += bytes([length % 128 + 128])
        length //= 128
    return prefix + bytes([length]) + data


def lv_cat(*fields: bytes) -> bytes:
    """Each field after its length, joined."""
    return b"".join(prepend_len(field) for field in fields)


def lexicographically_larger(a: bytes, b: bytes) -> bool:
    """Byte by byte; a proper prefix is the smaller one."""
    return a > b


def o_cat(a: bytes, b: bytes) -> bytes:
    """Ordered concatenation: "oc", the larger string, the smaller string."""
    return b"oc" + (a + b if lexicographically_larger(a, b) else b + a)


def transcript_ir(share_a: bytes, ad_a: bytes, share_b: bytes, ad_b: bytes) -> bytes:
    """Initiator first, then responder."""
    return lv_cat(share_a, ad_a) + lv_cat(share_b, ad_b)


def transcript_oc(share_a: bytes, ad_a: bytes, share_b: bytes, ad_b: bytes) -> bytes:
    """Without roles; not used by Handfast."""
    return o_cat(lv_cat(share_a, ad_a), lv_cat(share_b, ad_b))


# --- the generator ---


def zero_padding_length(prs: bytes) -> int:
    """Zeros that fill the first hash block after DSI and PRS."""
    return max(0, HASH_BLOCK_LENGTH - 1 - len(prepend_len(prs)) - len(prepend_len(DSI)))


def generator_string(prs: bytes, ci: bytes, sid: bytes) -> bytes:
    """lv_cat(DSI, PRS, zeros, CI, sid)."""
    return lv_cat(DSI, prs, bytes(zero_padding_length(prs)), ci, sid)


def calculate_generator(prs: bytes, ci: bytes, sid: bytes) -> Point:
    """The password-dependent generator."""
    return ristretto.one_way_map(_hash(generator_string(prs, ci, sid)))


# --- the exchange ---


def sample_scalar(random: bytes) -> bytes:
    """32 random bytes with the bits from 252 up cleared, little-endian."""
    need_length(random, 32, "the randomness of a scalar")
    scalar = int.from_bytes(random, "little") % 2**GROUP_SIZE_BITS
    return scalar.to_bytes(32, "little")


def scalar_mult(scalar: bytes, generator: Point) -> bytes:
    """The encoding of [scalar] generator."""
    return ristretto.encode(ristretto.multiply(int.from_bytes(scalar, "little"), generator))


def scalar_mult_vfy(scalar: bytes, share: bytes) -> bytes:
    """The encoding of [scalar] share; the identity's if share does not decode."""
    try:
        point = ristretto.decode(share)
    except (BadEncoding, BadLength):
        return IDENTITY_ENCODING
    return scalar_mult(scalar, point)


def make_share(prs: bytes, ci: bytes, sid: bytes, random: bytes) -> tuple[bytes, bytes]:
    """A party's first step: (secret scalar, public share)."""
    scalar = sample_scalar(random)
    share = scalar_mult(scalar, calculate_generator(prs, ci, sid))
    if share == IDENTITY_ENCODING:
        raise CPaceAbort("the scalar gives the identity")
    return scalar, share


def shared_point(scalar: bytes, own_share: bytes, peer_share: bytes) -> bytes:
    """K; aborts on a reflected, undecodable or identity share."""
    need_length(own_share, SHARE_LENGTH, "the own share")
    if peer_share == own_share:
        raise CPaceAbort("the peer's share is the own share")
    k = scalar_mult_vfy(scalar, peer_share)
    if k == IDENTITY_ENCODING:
        raise CPaceAbort("the peer's share is invalid or gives the identity")
    return k


# --- the result ---


def isk(sid: bytes, k: bytes, transcript: bytes) -> bytes:
    """H(lv_cat(DSI_ISK, sid, K) || transcript), 64 bytes."""
    return _hash(lv_cat(DSI_ISK, sid, k) + transcript)


def isk_initiator_responder(
    sid: bytes, k: bytes, share_a: bytes, ad_a: bytes, share_b: bytes, ad_b: bytes
) -> bytes:
    """ISK where A is the initiator and B the responder."""
    return isk(sid, k, transcript_ir(share_a, ad_a, share_b, ad_b))


def sid_output(transcript: bytes) -> bytes:
    """The optional sid output (H("CPaceSidOutput" || transcript))."""
    return _hash(SID_OUTPUT_LABEL + transcript)
