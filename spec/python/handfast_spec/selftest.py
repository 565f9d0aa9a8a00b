"""Known answers from RFCs and drafts, and refusals that every primitive owes."""

from __future__ import annotations

import hashlib

from . import aead, answers_ed25519, answers_ristretto, cpace, ed25519_strict, edwards, field
from . import kdf, ristretto, selftest_kem
from .edwards import BASE, L
from .errors import BadEncoding, BadLength, CPaceAbort, OpenError
from .field import P
from .report import Tally


def _hex(text: str) -> bytes:
    return bytes.fromhex(text)


def check_ristretto(tally: Tally) -> None:
    """RFC 9496 section 4.1 (constants) and appendix A."""
    d = edwards.D
    tally.equal("D", -121665 * pow(121666, -1, P) % P, d)
    tally.equal("SQRT_M1", field.SQRT_M1**2 % P, P - 1)
    tally.equal("SQRT_AD_MINUS_ONE", ristretto.SQRT_AD_MINUS_ONE**2 % P, (-d - 1) % P)
    tally.equal("INVSQRT_A_MINUS_D", ristretto.INVSQRT_A_MINUS_D**2 * (-1 - d) % P, 1)
    tally.equal("ONE_MINUS_D_SQ", ristretto.ONE_MINUS_D_SQ, (1 - d * d) % P)
    tally.equal("D_MINUS_ONE_SQ", ristretto.D_MINUS_ONE_SQ, (d - 1) ** 2 % P)

    point = ristretto.IDENTITY
    for number, text in enumerate(answers_ristretto.MULTIPLES):  # A.1
        tally.vectors += 1
        multiple = ristretto.multiply(number, ristretto.GENERATOR)
        tally.equal(f"A.1 multiple {number}, encoded", ristretto.encode(multiple), _hex(text))
        tally.equal(f"A.1 multiple {number}, by adding", ristretto.encode(point), _hex(text))
        decoded = ristretto.decode(_hex(text))
        tally.true(f"A.1 multiple {number}, decoded", ristretto.equal(decoded, point))
        point = ristretto.add(point, ristretto.GENERATOR)
        tally.true(f"A.1 multiple {number} is not the next", not ristretto.equal(multiple, point))
    tally.equal("order", ristretto.encode(ristretto.multiply(L, BASE)), bytes(32))

    for kind, strings in answers_ristretto.INVALID.items():  # A.2
        for text in strings:
            tally.vectors += 1
            data = _hex(text)
            tally.refused(f"A.2 {kind}", lambda data=data: ristretto.decode(data), BadEncoding)
    for length in (31, 33):
        data = bytes(length)
        tally.refused(f"{length} bytes", lambda data=data: ristretto.decode(data), BadLength)

    for text, data, element in answers_ristretto.UNIFORM_BYTES_FROM_TEXT:  # A.3
        tally.vectors += 1
        tally.equal("A.3 input", hashlib.sha512(text.encode()).digest(), _hex(data))
        got = ristretto.encode(ristretto.one_way_map(_hex(data)))
        tally.equal("A.3 output", got, _hex(element))
    for data in answers_ristretto.UNIFORM_BYTES_SAME_INPUTS:
        tally.vectors += 1
        got = ristretto.encode(ristretto.one_way_map(_hex(data)))
        tally.equal("A.3 same output", got, _hex(answers_ristretto.UNIFORM_BYTES_SAME_OUTPUT))

    for u, v, was_square, root in answers_ristretto.SQRT_RATIOS:  # A.4
        tally.vectors += 1
        got = field.sqrt_ratio_m1(u, v)
        tally.equal(f"A.4 {u}/{v}", (got[0], field.to_bytes(got[1])), (was_square, _hex(root)))

    # Every point of the class P + 4-torsion has the same encoding (section 4).
    torsion = edwards.from_affine(field.SQRT_M1, 0)
    shifted = point
    for _ in range(4):
        shifted = edwards.add(shifted, torsion)
        tally.equal("encoding of the class", ristretto.encode(shifted), ristretto.encode(point))
        tally.true("equality in the class", ristretto.equal(shifted, point))


def check_ed25519(tally: Tally) -> None:
    """RFC 8032 section 7.1, edge cases, and the strict refusals."""
    for name, seed, key, message, signature in answers_ed25519.RFC_8032:
        tally.vectors += 1
        seed, key, message, signature = map(_hex, (seed, key, message, signature))
        tally.equal(f"{name}: public key", ed25519_strict.public_key(seed), key)
        tally.equal(f"{name}: public key, own arithmetic", _own_public_key(seed), key)
        tally.equal(f"{name}: signature", ed25519_strict.sign(seed, message), signature)
        tally.true(f"{name}: verifies", ed25519_strict.verify(key, message, signature))
        for i in (0, 31, 32, 63):
            changed = bytes(b ^ (j == i) for j, b in enumerate(signature))
            accepted = ed25519_strict.verify(key, message, changed)
            tally.true(f"{name}: byte {i} changed", not accepted)
        accepted = ed25519_strict.verify(key, message + b"x", signature)
        tally.true(f"{name}: message changed", not accepted)
        s = int.from_bytes(signature[32:], "little") + L
        too_large = signature[:32] + s.to_bytes(32, "little")
        tally.true(f"{name}: S + L", not ed25519_strict.verify(key, message, too_large))
        for wrong in (signature[:63], signature + b"\0"):
            tally.true(f"{name}: length", not ed25519_strict.verify(key, message, wrong))

    for name, message, key, signature, accepted in answers_ed25519.EDGE_CASES:
        tally.vectors += 1
        got = ed25519_strict.verify(_hex(key), _hex(message), _hex(signature))
        tally.equal(f"edge case: {name}", got, accepted)

    for encoding in small_order_encodings():
        tally.vectors += 1
        tally.refused(f"public key {encoding.hex()}",
                      lambda key=encoding: ed25519_strict.decode_public_key(key), BadEncoding)
        _refuses_small_r(tally, encoding)
    for y in (1, P - 1):  # x is 0 here, so its sign bit must not be set
        encoding = (y | 1 << 255).to_bytes(32, "little")
        tally.refused("x = 0 with sign", lambda data=encoding: edwards.decode(data), BadEncoding)
    for y in range(P, 2**255):
        for sign in (0, 1):
            encoding = (y | sign << 255).to_bytes(32, "little")
            tally.refused("y not below p", lambda data=encoding: edwards.decode(data), BadEncoding)


def _secret_scalar(seed: bytes) -> int:
    """RFC 8032 section 5.1.5: the pruned hash."""
    number = int.from_bytes(hashlib.sha512(seed).digest()[:32], "little")
    return number % 2**254 // 8 * 8 + 2**254


def _own_public_key(seed: bytes) -> bytes:
    return edwards.encode(edwards.multiply(_secret_scalar(seed), BASE))


def _refuses_small_r(tally: Tally, r_bytes: bytes) -> None:
    """With R = identity and S = k*a the equation holds; R is to be refused all the same."""
    seed = bytes(range(32))
    key = ed25519_strict.public_key(seed)
    s = ed25519_strict.challenge(r_bytes, key, b"message") * _secret_scalar(seed) % L
    signature = r_bytes + s.to_bytes(32, "little")
    tally.refused(f"R {r_bytes.hex()}",
                  lambda: ed25519_strict.check(key, b"message", signature), BadEncoding)


def small_order_encodings() -> list[bytes]:
    """All encodings, canonical or not, of the eight points of small order."""
    # A point of order 8 is [L] of a point outside the prime-order subgroup.
    y = 2
    while True:
        y += 1
        try:
            point = edwards.multiply(L, edwards.decode(field.to_bytes(y)))
        except BadEncoding:
            continue
        if not edwards.equal(edwards.multiply(4, point), edwards.IDENTITY):
            break
    ys = {int.from_bytes(edwards.encode(edwards.multiply(i, point)), "little") % 2**255
          for i in range(8)}
    ys |= {y + P for y in ys if y + P < 2**255}
    return [(y | sign << 255).to_bytes(32, "little") for y in sorted(ys) for sign in (0, 1)]


def check_xchacha(tally: Tally) -> None:
    """draft-irtf-cfrg-xchacha-03 sections 2.2.1 and A.3.1."""
    tally.vectors += 1
    subkey = aead.hchacha20(bytes(range(32)), _hex("000000090000004a0000000031415927"))
    tally.equal("2.2.1 HChaCha20", subkey,
                _hex("82413b4227b27bfed30e42508a877d73a0f9e4d58a74a853c12ec41326d3ecdc"))

    tally.vectors += 1
    plaintext = (b"Ladies and Gentlemen of the class of '99: If I could offer you "
                 b"only one tip for the future, sunscreen would be it.")
    aad = _hex("50515253c0c1c2c3c4c5c6c7")
    key, nonce = bytes(range(0x80, 0xA0)), bytes(range(0x40, 0x58))
    sealed = _hex(
        "bd6d179d3e83d43b9576579493c0e939572a1700252bfaccbed2902c21396cbb"
        "731c7f1b0b4aa6440bf3a82f4eda7e39ae64c6708c54c216cb96b72e1213b452"
        "2f8c9ba40db5d945b11b69b982c1bb9e3f3fac2bc369488f76b2383565d3fff9"
        "21f9664c97637da9768812f615c68b13b52e"
        "c0875924c1c7987947deafd8780acf49"
    )
    tally.equal("A.3.1 seal", aead.xchacha_seal(key, nonce, aad, plaintext), sealed)
    tally.equal("A.3.1 open", aead.xchacha_open(key, nonce, aad, sealed), plaintext)
    for i in (0, len(sealed) - 1):
        changed = bytes(b ^ (j == i) for j, b in enumerate(sealed))
        tally.refused(f"byte {i} changed",
                      lambda data=changed: aead.xchacha_open(key, nonce, aad, data), OpenError)
    tally.refused("wrong aad", lambda: aead.xchacha_open(key, nonce, b"", sealed), OpenError)
    tally.refused("too short", lambda: aead.xchacha_open(key, nonce, aad, sealed[:15]), OpenError)
    for i in (0, 15, 16, 23):  # both parts of the nonce count
        other = bytes(b ^ (j == i) for j, b in enumerate(nonce))
        tally.refused(f"nonce byte {i} changed",
                      lambda other=other: aead.xchacha_open(key, other, aad, sealed), OpenError)
    tally.refused("short nonce", lambda: aead.xchacha_seal(key, nonce[:12], aad, b""), BadLength)


def check_kdf(tally: Tally) -> None:
    """RFC 5869 appendix A.1 to A.3."""
    cases = [
        (b"\x0b" * 22, bytes(range(13)), bytes(range(0xF0, 0xFA)), 42,
         "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865"),
        (bytes(range(0x50)), bytes(range(0x60, 0xB0)), bytes(range(0xB0, 0x100)), 82,
         "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c"
         "59045a99cac7827271cb41c65e590e09da3275600c2f09b8367793a9aca3db71"
         "cc30c58179ec3e87c14c01d5c1f3434f1d87"),
        (b"\x0b" * 22, b"", b"", 42,
         "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8"),
    ]
    for ikm, salt, info, length, okm in cases:
        tally.vectors += 1
        tally.equal("HKDF-SHA256", kdf.hkdf(salt, ikm, info, length), _hex(okm))
    tally.equal("SHA-256", kdf.sha256(b"abc"),
                _hex("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"))


def check_cpace(tally: Tally) -> None:
    """What must abort, and what must differ."""
    sid, ci = b"sid", b"channel"
    scalar_a, share_a = cpace.make_share(b"code", ci, sid, bytes(range(32)))
    scalar_b, share_b = cpace.make_share(b"code", ci, sid, bytes(range(32, 64)))
    k = cpace.shared_point(scalar_a, share_a, share_b)
    tally.equal("both sides", cpace.shared_point(scalar_b, share_b, share_a), k)
    for prs, ci_, sid_ in ((b"Code", ci, sid), (b"code", b"other", sid), (b"code", ci, b"other")):
        scalar_c, share_c = cpace.make_share(prs, ci_, sid_, bytes(range(32, 64)))
        theirs = cpace.shared_point(scalar_c, share_c, share_a)
        tally.true("other input, other K", theirs != cpace.shared_point(scalar_a, share_a, share_c))

    bad = {"identity": bytes(32), "reflected": share_a,
           "short": share_b[:31], "long": share_b + b"\0"}
    bad |= {kind: _hex(strings[0]) for kind, strings in answers_ristretto.INVALID.items()}
    for name, share in bad.items():
        tally.refused(name, lambda share=share: cpace.shared_point(scalar_a, share_a, share),
                      CPaceAbort)
    tally.refused("zero scalar", lambda: cpace.make_share(b"code", ci, sid, bytes(32)), CPaceAbort)
    tally.refused("zero after clearing",
                  lambda: cpace.make_share(b"code", ci, sid, bytes(31) + b"\xf0"), CPaceAbort)
    tally.equal("cleared bits", cpace.sample_scalar(b"\xff" * 32), b"\xff" * 31 + b"\x0f")
    tally.equal("long code, no padding", cpace.zero_padding_length(bytes(108)), 0)
    tally.equal("code that leaves one zero", cpace.zero_padding_length(bytes(107)), 1)
    tally.equal("three-byte length", cpace.prepend_len(bytes(16384))[:3], _hex("808001"))


TOPICS = {
    "RFC 9496 ristretto255": check_ristretto,
    "RFC 8032 Ed25519, strict": check_ed25519,
    "XChaCha20-Poly1305": check_xchacha,
    "RFC 5869 HKDF-SHA256": check_kdf,
    "CPace refusals": check_cpace,
    "ML-KEM-768": selftest_kem.check_ml_kem,
    "X-Wing refusals": selftest_kem.check_x_wing,
    "HPKE refusals": selftest_kem.check_hpke,
}


def run() -> list[Tally]:
    """Run every topic; an error in one is a failure, not a crash."""
    tallies = []
    for name, topic in TOPICS.items():
        tally = Tally(name)
        try:
            topic(tally)
        except Exception as error:
            tally.fail(f"stopped by {type(error).__name__}: {error}")
        tallies.append(tally)
    return tallies
