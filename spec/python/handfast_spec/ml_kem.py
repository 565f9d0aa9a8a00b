"""ML-KEM-768 (FIPS 203, final version of August 2024).

Written for reading, not constant-time, not for use with real secrets.

A polynomial is a list of 256 integers modulo q, a vector is a list of k polynomials.
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple

from .errors import BadEncoding, need_length

# FIPS 203 section 8, parameter set ML-KEM-768.
N = 256
Q = 3329
K = 3
ETA = 2  # eta_1 = eta_2
DU = 10
DV = 4

EK_LENGTH = 384 * K + 32  # 1184
DK_LENGTH = 768 * K + 96  # 2400
CT_LENGTH = 32 * (DU * K + DV)  # 1088
SEED_LENGTH = 64  # d || z

Poly = list[int]
Vector = list[Poly]


class KeyPair(NamedTuple):
    """Encapsulation key and expanded decapsulation key."""

    ek: bytes
    dk: bytes


# --- hash functions (section 4.1) ---


def _prf(s: bytes, b: int) -> bytes:
    return hashlib.shake_256(s + bytes([b])).digest(64 * ETA)


def _h(s: bytes) -> bytes:
    return hashlib.sha3_256(s).digest()


def _j(s: bytes) -> bytes:
    return hashlib.shake_256(s).digest(32)


def _g(s: bytes) -> tuple[bytes, bytes]:
    digest = hashlib.sha3_512(s).digest()
    return digest[:32], digest[32:]


# --- encoding and compression (section 4.2.1) ---


def byte_encode(d: int, f: Poly) -> bytes:
    """Algorithm 5: 256 integers of d bits to 32*d bytes, lowest bits first."""
    number = 0
    for i, a in enumerate(f):
        number |= a << (d * i)
    return number.to_bytes(32 * d, "little")


def byte_decode(d: int, data: bytes) -> Poly:
    """Algorithm 6; for d = 12 the integers are reduced modulo q."""
    modulus = Q if d == 12 else 2**d
    number = int.from_bytes(data, "little")
    return [(number >> (d * i)) % 2**d % modulus for i in range(N)]


def compress(d: int, f: Poly) -> Poly:
    """Equation 4.7: round(2^d/q * x) mod 2^d, halves rounded up."""
    return [(2 ** (d + 1) * x + Q) // (2 * Q) % 2**d for x in f]


def decompress(d: int, f: Poly) -> Poly:
    """Equation 4.8: round(q/2^d * y), halves rounded up."""
    return [(Q * y + 2 ** (d - 1)) // 2**d for y in f]


# --- sampling (section 4.2.2) ---


def sample_ntt(seed: bytes) -> Poly:
    """Algorithm 7: rejection sampling from SHAKE128(rho || j || i)."""
    length = 3 * 168  # three blocks of SHAKE128; squeeze again when that is too little
    while True:
        stream = hashlib.shake_128(seed).digest(length)
        a = []
        for c0, c1, c2 in zip(stream[0::3], stream[1::3], stream[2::3]):
            for candidate in (c0 + 256 * (c1 % 16), c1 // 16 + 16 * c2):
                if candidate < Q:
                    a.append(candidate)
        if len(a) >= N:
            return a[:N]
        length *= 2


def sample_poly_cbd(data: bytes) -> Poly:
    """Algorithm 8 with eta = 2: (two bits) - (two bits) for each coefficient."""
    number = int.from_bytes(data, "little")
    f = []
    for i in range(N):
        bits = number >> (2 * ETA * i)
        x = sum(bits >> j & 1 for j in range(ETA))
        y = sum(bits >> (ETA + j) & 1 for j in range(ETA))
        f.append((x - y) % Q)
    return f


# --- number-theoretic transform (section 4.3) ---


def _bit_rev7(i: int) -> int:
    return int(f"{i:07b}"[::-1], 2)


ZETAS = [pow(17, _bit_rev7(i), Q) for i in range(128)]
GAMMAS = [pow(17, 2 * _bit_rev7(i) + 1, Q) for i in range(128)]
INVERSE_OF_128 = 3303


def ntt(f: Poly) -> Poly:
    """Algorithm 9."""
    f = f[:]
    i = 1
    length = 128
    while length >= 2:
        for start in range(0, N, 2 * length):
            zeta = ZETAS[i]
            i += 1
            for j in range(start, start + length):
                t = zeta * f[j + length] % Q
                f[j + length] = (f[j] - t) % Q
                f[j] = (f[j] + t) % Q
        length //= 2
    return f


def inverse_ntt(f: Poly) -> Poly:
    """Algorithm 10."""
    f = f[:]
    i = 127
    length = 2
    while length <= 128:
        for start in range(0, N, 2 * length):
            zeta = ZETAS[i]
            i -= 1
            for j in range(start, start + length):
                t = f[j]
                f[j] = (t + f[j + length]) % Q
                f[j + length] = zeta * (f[j + length] - t) % Q
        length *= 2
    return [x * INVERSE_OF_128 % Q for x in f]


def multiply_ntts(f: Poly, g: Poly) -> Poly:
    """Algorithms 11 and 12: products modulo X^2 - gamma, pair by pair."""
    h = []
    for i, gamma in enumerate(GAMMAS):
        a0, a1, b0, b1 = f[2 * i], f[2 * i + 1], g[2 * i], g[2 * i + 1]
        h.append((a0 * b0 + a1 * b1 * gamma) % Q)
        h.append((a0 * b1 + a1 * b0) % Q)
    return h


def _add(f: Poly, g: Poly) -> Poly:
    return [(x + y) % Q for x, y in zip(f, g)]


def _subtract(f: Poly, g: Poly) -> Poly:
    return [(x - y) % Q for x, y in zip(f, g)]


def _dot(u: Vector, v: Vector) -> Poly:
    """The inner product of two vectors in the NTT domain."""
    total = [0] * N
    for f, g in zip(u, v):
        total = _add(total, multiply_ntts(f, g))
    return total


def _matrix(rho: bytes) -> list[Vector]:
    """A[i][j] = SampleNTT(rho || j || i) (Algorithm 13 line 5)."""
    return [[sample_ntt(rho + bytes([j, i])) for j in range(K)] for i in range(K)]


def _noise(seed: bytes, first: int) -> Vector:
    """k polynomials from the centred binomial distribution, counters first .. first+k-1."""
    return [sample_poly_cbd(_prf(seed, first + i)) for i in range(K)]


# --- K-PKE (section 5) ---


def _pke_keygen(d: bytes) -> KeyPair:
    """Algorithm 13."""
    rho, sigma = _g(d + bytes([K]))
    a = _matrix(rho)
    s = [ntt(f) for f in _noise(sigma, 0)]
    e = [ntt(f) for f in _noise(sigma, K)]
    t = [_add(_dot(row, s), e_i) for row, e_i in zip(a, e)]
    ek = b"".join(byte_encode(12, f) for f in t) + rho
    dk = b"".join(byte_encode(12, f) for f in s)
    return KeyPair(ek, dk)


def _pke_encrypt(ek: bytes, m: bytes, r: bytes) -> bytes:
    """Algorithm 14."""
    t = _decode_vector(12, ek[: 384 * K])
    a = _matrix(ek[384 * K :])
    y = [ntt(f) for f in _noise(r, 0)]
    e1 = _noise(r, K)
    e2 = sample_poly_cbd(_prf(r, 2 * K))
    transposed = [[a[j][i] for j in range(K)] for i in range(K)]
    u = [_add(inverse_ntt(_dot(row, y)), e) for row, e in zip(transposed, e1)]
    mu = decompress(1, byte_decode(1, m))
    v = _add(_add(inverse_ntt(_dot(t, y)), e2), mu)
    c1 = b"".join(byte_encode(DU, compress(DU, f)) for f in u)
    c2 = byte_encode(DV, compress(DV, v))
    return c1 + c2


def _pke_decrypt(dk: bytes, c: bytes) -> bytes:
    """Algorithm 15."""
    c1, c2 = c[: 32 * DU * K], c[32 * DU * K :]
    u = [decompress(DU, f) for f in _decode_vector(DU, c1)]
    v = decompress(DV, byte_decode(DV, c2))
    s = _decode_vector(12, dk)
    w = _subtract(v, inverse_ntt(_dot(s, [ntt(f) for f in u])))
    return byte_encode(1, compress(1, w))


def _decode_vector(d: int, data: bytes) -> Vector:
    return [byte_decode(d, data[32 * d * i : 32 * d * (i + 1)]) for i in range(K)]


# --- ML-KEM (sections 6 and 7) ---


def keygen(seed: bytes) -> KeyPair:
    """Algorithm 16 (ML-KEM.KeyGen_internal) with seed = d || z."""
    need_length(seed, SEED_LENGTH, "the ML-KEM seed")
    d, z = seed[:32], seed[32:]
    ek, dk_pke = _pke_keygen(d)
    return KeyPair(ek, dk_pke + ek + _h(ek) + z)


def check_encapsulation_key(ek: bytes) -> None:
    """Section 7.2: length, and the modulus check (every coefficient below q)."""
    need_length(ek, EK_LENGTH, "the ML-KEM encapsulation key")
    t = ek[: 384 * K]
    again = b"".join(byte_encode(12, f) for f in _decode_vector(12, t))
    if again != t:
        raise BadEncoding("an ML-KEM encapsulation key coefficient is not below q")


def encapsulate(ek: bytes, m: bytes) -> tuple[bytes, bytes]:
    """Algorithms 20 and 17 with given m: (shared secret, ciphertext)."""
    check_encapsulation_key(ek)
    need_length(m, 32, "the ML-KEM message")
    shared_secret, r = _g(m + _h(ek))
    return shared_secret, _pke_encrypt(ek, m, r)


def check_decapsulation_key(dk: bytes) -> None:
    """Section 7.3: length, and the hash check."""
    need_length(dk, DK_LENGTH, "the ML-KEM decapsulation key")
    ek, h = dk[384 * K : 768 * K + 32], dk[768 * K + 32 : 768 * K + 64]
    if _h(ek) != h:
        raise BadEncoding("the hash in the ML-KEM decapsulation key is wrong")


def decapsulate(dk: bytes, c: bytes) -> bytes:
    """Algorithms 21 and 18; a wrong ciphertext gives a secret nobody else has."""
    check_decapsulation_key(dk)
    need_length(c, CT_LENGTH, "the ML-KEM ciphertext")
    dk_pke = dk[: 384 * K]
    ek = dk[384 * K : 768 * K + 32]
    h = dk[768 * K + 32 : 768 * K + 64]
    z = dk[768 * K + 64 :]
    m = _pke_decrypt(dk_pke, c)
    shared_secret, r = _g(m + h)
    rejection_secret = _j(z + c)
    return shared_secret if _pke_encrypt(ek, m, r) == c else rejection_secret
