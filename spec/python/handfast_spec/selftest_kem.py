"""Known answers and refusals of ML-KEM-768, X-Wing and HPKE."""

from __future__ import annotations

import hashlib

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from . import hpke, ml_kem, x_wing
from .errors import BadEncoding, BadLength, LowOrderPoint, MessageLimitReached, OpenError
from .report import Tally

# 100 rounds of the accumulated test of the Go standard library (crypto/mlkem):
# SHAKE128 over ek, ciphertext, secret, and the secret of a random ciphertext.
ACCUMULATED_ROUNDS = 100
ACCUMULATED_HASH = "1114b1b6699ed191734fa339376afa7e285c9e6acf6ff0177d346696ce564415"

# C2SP/CCTV ML-KEM "unluckysample": a matrix element that needs more than the
# usual 575 bytes of SHAKE128 output. The ciphertext is given by its two ends.
UNLUCKY_SEED = (
    "82c4a361586b9715c2375a45fb85c32d04be7fe6e26acd820ec5d4080093afe1"
    "8476013560151d986dc7834dcb57c75f845f8d7ee71558d0955f3f4feb723cf2"
)
UNLUCKY_MESSAGE = "e48f74ad416e99631003ded1478aec62a02c245d88ed7f2fae92aedf13ca03b3"
UNLUCKY_SECRET = "4f7cc64c040fc4e335a539691f4638caf8b1bf5da6455754afe699e41813801b"
UNLUCKY_CIPHERTEXT_START = "696ef1699d5ac2aa9a012a64c60c6c214dcedec75ff87fb3a5850044202a790b"
UNLUCKY_CIPHERTEXT_END = "655b3294ee0371019b134559be391c29d990f82f8a1dd4a715"


def _flip(data: bytes, index: int) -> bytes:
    return bytes(b ^ (i == index) for i, b in enumerate(data))


def check_ml_kem(tally: Tally) -> None:
    """FIPS 203: published values, implicit rejection, input checks."""
    keys = ml_kem.keygen(bytes.fromhex(UNLUCKY_SEED))
    tally.vectors += 1
    secret, ciphertext = ml_kem.encapsulate(keys.ek, bytes.fromhex(UNLUCKY_MESSAGE))
    tally.equal("unlucky: secret", secret.hex(), UNLUCKY_SECRET)
    tally.true("unlucky: start", ciphertext.hex().startswith(UNLUCKY_CIPHERTEXT_START))
    tally.true("unlucky: end", ciphertext.hex().endswith(UNLUCKY_CIPHERTEXT_END))
    tally.equal("unlucky: decapsulated", ml_kem.decapsulate(keys.dk, ciphertext), secret)

    z = bytes.fromhex(UNLUCKY_SEED)[32:]
    for index in (0, 959, 960, 1087):  # in both parts of the ciphertext
        changed = _flip(ciphertext, index)
        rejected = hashlib.shake_256(z + changed).digest(32)
        got = ml_kem.decapsulate(keys.dk, changed)
        tally.equal(f"implicit rejection, byte {index}", got, rejected)

    for position in (0, 1, 767):
        for value, refused in ((ml_kem.Q - 1, False), (ml_kem.Q, True), (4095, True)):
            ek = _with_coefficient(keys.ek, position, value)
            name = f"coefficient {position} is {value}"
            if refused:
                tally.refused(name, lambda ek=ek: ml_kem.encapsulate(ek, bytes(32)), BadEncoding)
            else:
                tally.equal(name, len(ml_kem.encapsulate(ek, bytes(32))[1]), ml_kem.CT_LENGTH)
    tally.refused("ek length", lambda: ml_kem.encapsulate(keys.ek[:-1], bytes(32)), BadLength)
    tally.refused("m length", lambda: ml_kem.encapsulate(keys.ek, bytes(31)), BadLength)
    tally.refused("c length", lambda: ml_kem.decapsulate(keys.dk, ciphertext[:-1]), BadLength)
    tally.refused("dk length", lambda: ml_kem.decapsulate(keys.dk[:-1], ciphertext), BadLength)
    tally.refused("dk hash",
                  lambda: ml_kem.decapsulate(_flip(keys.dk, 1152), ciphertext), BadEncoding)
    tally.refused("seed length", lambda: ml_kem.keygen(bytes(63)), BadLength)
    _accumulated(tally)


def _with_coefficient(ek: bytes, position: int, value: int) -> bytes:
    """The key with one of its 768 coefficients replaced (12 bits each)."""
    number = int.from_bytes(ek, "little")
    number &= ~(0xFFF << 12 * position)
    return (number | value << 12 * position).to_bytes(len(ek), "little")


def _accumulated(tally: Tally) -> None:
    """Key generation, encapsulation, decapsulation and rejection, many times."""
    per_round = 64 + 32 + ml_kem.CT_LENGTH
    stream = hashlib.shake_128(b"").digest(per_round * ACCUMULATED_ROUNDS)
    output = hashlib.shake_128()
    for i in range(ACCUMULATED_ROUNDS):
        tally.vectors += 1
        part = stream[per_round * i : per_round * (i + 1)]
        keys = ml_kem.keygen(part[:64])
        secret, ciphertext = ml_kem.encapsulate(keys.ek, part[64:96])
        tally.equal("decapsulated", ml_kem.decapsulate(keys.dk, ciphertext), secret)
        rejected = ml_kem.decapsulate(keys.dk, part[96:])
        for value in (keys.ek, ciphertext, secret, rejected):
            output.update(value)
    tally.equal("accumulated hash", output.digest(32).hex(), ACCUMULATED_HASH)


def check_x_wing(tally: Tally) -> None:
    """Low-order shares, lengths, and the ML-KEM check in the public key."""
    seed, eseed = bytes(range(32)), bytes(range(64))
    public = x_wing.public_key(seed)
    secret, ciphertext = x_wing.encapsulate(public, eseed)
    tally.equal("both sides", x_wing.decapsulate(seed, ciphertext), secret)

    tally.equal("low-order encodings", len(x_wing.LOW_ORDER_ENCODINGS), 14)
    for share in sorted(x_wing.LOW_ORDER_ENCODINGS):
        tally.vectors += 1
        name = f"low order {share.hex()}"
        tally.true(f"{name}: gives zero", _gives_zero(share))
        bad_key, bad_ciphertext = public[:-32] + share, ciphertext[:-32] + share
        tally.refused(f"{name} in a key",
                      lambda v=bad_key: x_wing.refuse_low_order(v), LowOrderPoint)
        tally.refused(f"{name} in a ciphertext",
                      lambda v=bad_ciphertext: x_wing.refuse_low_order(v), LowOrderPoint)
        tally.refused(f"{name}: encapsulate",
                      lambda v=bad_key: x_wing.encapsulate(v, eseed), LowOrderPoint)
        tally.refused(f"{name}: decapsulate",
                      lambda v=bad_ciphertext: x_wing.decapsulate(seed, v), LowOrderPoint)
    x_wing.refuse_low_order(public)
    x_wing.refuse_low_order(ciphertext)
    for u in range(2, 19):  # other forms that are not below p are no low-order points
        share = (2**255 - 19 + u).to_bytes(32, "little")
        tally.true(f"p + {u} is not refused", not _gives_zero(share))
        x_wing.refuse_low_order_share(share)

    modulus = _with_coefficient(public[: ml_kem.EK_LENGTH], 5, ml_kem.Q) + public[-32:]
    tally.refused("coefficient q", lambda: x_wing.encapsulate(modulus, eseed), BadEncoding)
    for name, action in {
        "short key": lambda: x_wing.encapsulate(public[:-1], eseed),
        "long key": lambda: x_wing.encapsulate(public + b"\0", eseed),
        "short eseed": lambda: x_wing.encapsulate(public, eseed[:-1]),
        "short ciphertext": lambda: x_wing.decapsulate(seed, ciphertext[:-1]),
        "long ciphertext": lambda: x_wing.decapsulate(seed, ciphertext + b"\0"),
        "short seed": lambda: x_wing.decapsulate(seed[:-1], ciphertext),
        "neither length": lambda: x_wing.refuse_low_order(bytes(1119)),
    }.items():
        tally.refused(name, action, BadLength)


def _gives_zero(share: bytes) -> bool:
    """Whether X25519 with this share gives zero, as the cryptography package sees it."""
    try:
        X25519PrivateKey.from_private_bytes(bytes(range(32))).exchange(
            X25519PublicKey.from_public_bytes(share)
        )
    except ValueError:
        return True
    return False


def check_hpke(tally: Tally) -> None:
    """PSK mode with X-Wing: what must work, what must fail."""
    seed, randomness, psk = bytes(range(32)), bytes(range(64)), bytes(range(100, 132))
    public = x_wing.public_key(seed)
    tally.equal("suite id", hpke.HANDFAST.suite_id, b"HPKE\x64\x7a\x00\x01\x00\x03")

    def sender(psk: bytes = psk, psk_id: bytes = b"id") -> tuple[bytes, hpke.SenderContext]:
        return hpke.setup_psk_sender(public, b"info", psk, psk_id, randomness)

    def recipient(
        info: bytes = b"info", psk: bytes = psk, psk_id: bytes = b"id"
    ) -> hpke.RecipientContext:
        return hpke.setup_psk_recipient(enc, seed, info, psk, psk_id)

    enc, ours = sender()
    first, second = ours.seal(b"aad", b"one"), ours.seal(b"aad", b"two")
    theirs = recipient()
    tally.refused("out of order", lambda: theirs.open(b"aad", second), OpenError)
    tally.equal("a failure does not advance", theirs.open(b"aad", first), b"one")
    tally.equal("second message", theirs.open(b"aad", second), b"two")
    tally.refused("repeated", lambda: theirs.open(b"aad", second), OpenError)
    tally.equal("export", theirs.export(b"use", 32), ours.export(b"use", 32))
    tally.true("other export", theirs.export(b"use", 32) != theirs.export(b"uses", 32))

    for name, context in {
        "other info": recipient(info=b"Info"),
        "other psk": recipient(psk=_flip(psk, 0)),
        "other psk id": recipient(psk_id=b"Id"),
        "base mode": hpke.setup_base_recipient(enc, seed, b"info"),
    }.items():
        tally.refused(name, lambda context=context: context.open(b"aad", first), OpenError)
    tally.refused("other aad", lambda: recipient().open(b"Aad", first), OpenError)

    for length in (0, 31, 33, 64):
        tally.refused(f"psk of {length}", lambda n=length: sender(psk=bytes(n)), BadLength)
        tally.refused(f"psk of {length}", lambda n=length: recipient(psk=bytes(n)), BadLength)
    for psk_, psk_id, mode in ((psk, b"", 1), (b"", b"id", 1), (b"", b"", 1), (psk, b"id", 0)):
        tally.true("inconsistent PSK inputs", _schedule_fails(mode, psk_, psk_id))

    last = 2**96 - 1
    ours.seq = theirs.seq = last - 1
    tally.equal("last but one number", theirs.open(b"", ours.seal(b"", b"end")), b"end")
    tally.equal("then the last", (ours.seq, theirs.seq), (last, last))
    tally.refused("no more seals", lambda: ours.seal(b"", b""), MessageLimitReached)
    tally.refused("no more opens", lambda: theirs.open(b"", bytes(16)), MessageLimitReached)


def _schedule_fails(mode: int, psk: bytes, psk_id: bytes) -> bool:
    try:
        hpke.key_schedule(hpke.HANDFAST, mode, bytes(32), b"", psk, psk_id)
    except ValueError:
        return True
    return False
