"""The curve edwards25519: -x^2 + y^2 = 1 + d x^2 y^2 (RFC 8032 section 5.1).

Written for reading, not constant-time, not for use with real secrets.

Points are in extended coordinates: x = X/Z, y = Y/Z, x*y = T/Z.
"""

from __future__ import annotations

from typing import NamedTuple

from .errors import BadEncoding, need_length
from .field import P, from_bytes_canonical, invert, is_negative, sqrt_ratio_m1, to_bytes

D = -121665 * invert(121666) % P

# The order of the prime-order subgroup (RFC 8032 section 5.1, L).
L = 2**252 + 27742317777372353535851937790883648493


class Point(NamedTuple):
    """A curve point in extended coordinates (RFC 8032 section 5.1.4)."""

    X: int
    Y: int
    Z: int
    T: int


def from_affine(x: int, y: int) -> Point:
    """The point with affine coordinates (x, y)."""
    return Point(x, y, 1, x * y % P)


IDENTITY = from_affine(0, 1)


def add(p: Point, q: Point) -> Point:
    """p + q, for any two points (RFC 8032 section 5.1.4)."""
    a = (p.Y - p.X) * (q.Y - q.X) % P
    b = (p.Y + p.X) * (q.Y + q.X) % P
    c = p.T * 2 * D * q.T % P
    d = p.Z * 2 * q.Z % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return Point(e * f % P, g * h % P, f * g % P, e * h % P)


def double(p: Point) -> Point:
    """p + p (RFC 8032 section 5.1.4)."""
    a = p.X * p.X % P
    b = p.Y * p.Y % P
    c = 2 * p.Z * p.Z % P
    h = a + b
    e = h - (p.X + p.Y) ** 2 % P
    g = a - b
    f = c + g
    return Point(e * f % P, g * h % P, f * g % P, e * h % P)


def multiply(scalar: int, p: Point) -> Point:
    """[scalar] p, by doubling and adding from the top bit."""
    result = IDENTITY
    for bit in bin(scalar)[2:]:
        result = double(result)
        if bit == "1":
            result = add(result, p)
    return result


def equal(p: Point, q: Point) -> bool:
    """Whether p and q are the same curve point (cross-multiplied)."""
    same_x = (p.X * q.Z - q.X * p.Z) % P == 0
    same_y = (p.Y * q.Z - q.Y * p.Z) % P == 0
    return same_x and same_y


def is_small_order(p: Point) -> bool:
    """Whether [8] p is the identity, that is, p is one of eight torsion points."""
    return equal(double(double(double(p))), IDENTITY)


def encode(p: Point) -> bytes:
    """RFC 8032 section 5.1.2: y, with the low bit of x as the top bit."""
    z_inv = invert(p.Z)
    x, y = p.X * z_inv % P, p.Y * z_inv % P
    return (y | (x & 1) << 255).to_bytes(32, "little")


def decode(data: bytes) -> Point:
    """RFC 8032 section 5.1.3; refuses everything but the canonical encodings."""
    need_length(data, 32, "an edwards25519 point")
    number = int.from_bytes(data, "little")
    sign = number >> 255
    y = from_bytes_canonical((number & (2**255 - 1)).to_bytes(32, "little"))
    if y is None:
        raise BadEncoding("the y coordinate is not below p")
    is_square, x = sqrt_ratio_m1(y * y - 1, D * y * y + 1)
    if not is_square:
        raise BadEncoding("no point has this y coordinate")
    if x == 0 and sign == 1:
        raise BadEncoding("x is 0 and its sign bit is set")
    if is_negative(x) != bool(sign):
        x = P - x
    return from_affine(x, y)


# The base point: y = 4/5, x even (RFC 8032 section 5.1, B).
BASE = decode(to_bytes(4 * invert(5)))
