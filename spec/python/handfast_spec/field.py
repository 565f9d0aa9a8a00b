"""The field of integers modulo p = 2^255 - 19 (RFC 8032 section 5.1).

Written for reading, not constant-time, not for use with real secrets.

Field elements are plain integers in the range 0 .. p-1.
"""

P = 2**255 - 19

# A square root of -1 (RFC 9496 section 4.1, SQRT_M1).
SQRT_M1 = 19681161376707505956807079304988542015446066515923890162744021073123829784752


def invert(x: int) -> int:
    """1/x, with 1/0 = 0 (Fermat: x^(p-2))."""
    return pow(x, P - 2, P)


def is_negative(x: int) -> bool:
    """RFC 9496 section 3.1: an element is negative if its least value is odd."""
    return x % P % 2 == 1


def absolute(x: int) -> int:
    """RFC 9496 section 3.1, CT_ABS: the non-negative one of x and -x."""
    x %= P
    return P - x if is_negative(x) else x


def sqrt_ratio_m1(u: int, v: int) -> tuple[bool, int]:
    """RFC 9496 section 4.2: the non-negative square root of u/v.

    Returns (True, sqrt(u/v)) if u/v is a square (also for u = 0),
    (False, 0) if v = 0, and (False, sqrt(SQRT_M1 * u/v)) otherwise.
    """
    u, v = u % P, v % P
    v3 = pow(v, 3, P)
    v7 = pow(v, 7, P)
    r = u * v3 * pow(u * v7, (P - 5) // 8, P) % P
    check = v * r * r % P

    correct_sign = check == u
    flipped_sign = check == -u % P
    flipped_sign_i = check == -u * SQRT_M1 % P
    if flipped_sign or flipped_sign_i:
        r = SQRT_M1 * r % P
    return correct_sign or flipped_sign, absolute(r)


def to_bytes(x: int) -> bytes:
    """32 bytes, least significant byte first."""
    return (x % P).to_bytes(32, "little")


def from_bytes_canonical(data: bytes) -> int | None:
    """The element encoded by 32 bytes, or None if they are not the shortest form."""
    x = int.from_bytes(data, "little")
    return x if len(data) == 32 and x < P else None
