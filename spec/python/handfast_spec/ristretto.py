"""The prime-order group ristretto255 (RFC 9496 section 4).

Written for reading, not constant-time, not for use with real secrets.

An element is represented by any point of its class on edwards25519; compare
elements with `equal` here, never with edwards.equal.
"""

from .edwards import BASE, D, IDENTITY, Point, add, from_affine, multiply
from .errors import BadEncoding, need_length
from .field import P, SQRT_M1, absolute, from_bytes_canonical, is_negative, sqrt_ratio_m1, to_bytes

# RFC 9496 section 4.1.
SQRT_AD_MINUS_ONE = 25063068953384623474111414158702152701244531502492656460079210482610430750235
INVSQRT_A_MINUS_D = 54469307008909316920995813868745141605393597292927456921205312896311721017578
ONE_MINUS_D_SQ = 1159843021668779879193775521855586647937357759715417654439879720876111806838
D_MINUS_ONE_SQ = 40440834346308536858101042469323190826248399146238708352240133220865137265952

GENERATOR = BASE

__all__ = ["GENERATOR", "IDENTITY", "add", "decode", "encode", "equal", "multiply", "one_way_map"]


def decode(data: bytes) -> Point:
    """RFC 9496 section 4.3.1; raises BadEncoding for every invalid string."""
    need_length(data, 32, "a ristretto255 element")
    s = from_bytes_canonical(data)
    if s is None:
        raise BadEncoding("the field element is not below p")
    if is_negative(s):
        raise BadEncoding("the field element is negative")

    ss = s * s % P
    u1 = (1 - ss) % P
    u2 = (1 + ss) % P
    u2_sqr = u2 * u2 % P
    v = (-(D * u1 * u1) - u2_sqr) % P
    was_square, invsqrt = sqrt_ratio_m1(1, v * u2_sqr)
    den_x = invsqrt * u2 % P
    den_y = invsqrt * den_x * v % P
    x = absolute(2 * s * den_x)
    y = u1 * den_y % P
    if not was_square or is_negative(x * y) or y == 0:
        raise BadEncoding("the field element encodes no group element")
    return from_affine(x, y)


def encode(p: Point) -> bytes:
    """RFC 9496 section 4.3.2: the one 32-byte encoding of the element."""
    x0, y0, z0, t0 = p
    u1 = (z0 + y0) * (z0 - y0) % P
    u2 = x0 * y0 % P
    _, invsqrt = sqrt_ratio_m1(1, u1 * u2 * u2)
    den1 = invsqrt * u1 % P
    den2 = invsqrt * u2 % P
    z_inv = den1 * den2 * t0 % P

    if is_negative(t0 * z_inv):
        x, y = y0 * SQRT_M1 % P, x0 * SQRT_M1 % P
        den_inv = den1 * INVSQRT_A_MINUS_D % P
    else:
        x, y = x0, y0
        den_inv = den2
    if is_negative(x * z_inv):
        y = -y % P
    return to_bytes(absolute(den_inv * (z0 - y)))


def equal(p: Point, q: Point) -> bool:
    """RFC 9496 section 4.3.3: whether p and q represent the same element."""
    return (p.X * q.Y - p.Y * q.X) % P == 0 or (p.Y * q.Y - p.X * q.X) % P == 0


def one_way_map(data: bytes) -> Point:
    """RFC 9496 section 4.3.4: 64 uniform bytes to an element."""
    need_length(data, 64, "the input of the one-way map")
    return add(_map(_low_255_bits(data[:32])), _map(_low_255_bits(data[32:])))


def _low_255_bits(data: bytes) -> int:
    """RFC 9496 section 4.3.4: clear the top bit, then reduce modulo p."""
    return (int.from_bytes(data, "little") & (2**255 - 1)) % P


def _map(t: int) -> Point:
    """RFC 9496 section 4.3.4, MAP: a field element to a point."""
    r = SQRT_M1 * t * t % P
    u = (r + 1) * ONE_MINUS_D_SQ % P
    v = (-1 - r * D) * (r + D) % P
    was_square, s = sqrt_ratio_m1(u, v)
    c = -1
    if not was_square:
        s = -absolute(s * t) % P
        c = r
    n = (c * (r - 1) * D_MINUS_ONE_SQ - v) % P
    w0 = 2 * s * v % P
    w1 = n * SQRT_AD_MINUS_ONE % P
    w2 = (1 - s * s) % P
    w3 = (1 + s * s) % P
    return Point(w0 * w3 % P, w2 * w1 % P, w1 * w3 % P, w0 * w2 % P)
