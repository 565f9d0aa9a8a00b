"""HPKE (RFC 9180), base and PSK mode, with the suite that Handfast uses.

Written for reading, not constant-time, not for use with real secrets.

KEM, KDF and AEAD are parameters of a Suite, so that published vectors of other
suites can be checked too (see hpke_other_suites.py). Handfast uses only HANDFAST.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from . import aead, kdf, x_wing
from .errors import MessageLimitReached, need_length

MODE_BASE = 0
MODE_PSK = 1
PSK_LENGTH = 32
VERSION_LABEL = b"HPKE-v1"


def i2osp2(number: int) -> bytes:
    """I2OSP(number, 2): two bytes, big-endian."""
    return number.to_bytes(2, "big")


# --- labeled functions ---


def labeled_extract(suite_id: bytes, salt: bytes, label: bytes, ikm: bytes) -> bytes:
    """RFC 9180 section 4, LabeledExtract."""
    return kdf.extract(salt, VERSION_LABEL + suite_id + label + ikm)


def labeled_expand(suite_id: bytes, prk: bytes, label: bytes, info: bytes, length: int) -> bytes:
    """RFC 9180 section 4, LabeledExpand."""
    return kdf.expand(prk, i2osp2(length) + VERSION_LABEL + suite_id + label + info, length)


def shake256_labeled_derive(
    suite_id: bytes, ikm: bytes, label: bytes, context: bytes, length: int
) -> bytes:
    """draft-ietf-hpke-hpke section 4, LabeledDerive, with SHAKE256 (draft-ietf-hpke-pq)."""
    labeled = (
        ikm + VERSION_LABEL + suite_id + i2osp2(len(label)) + label + i2osp2(length) + context
    )
    return hashlib.shake_256(labeled).digest(length)


# --- parameters of a suite ---


class Kem(Protocol):
    """A key encapsulation mechanism with deterministic encapsulation."""

    kem_id: int

    def derive_key_pair(self, ikm: bytes) -> tuple[bytes, bytes]:
        """(private key, public key) from keying material."""

    def encap(self, public_key: bytes, randomness: bytes) -> tuple[bytes, bytes]:
        """(shared secret, enc)."""

    def decap(self, enc: bytes, private_key: bytes) -> bytes:
        """The shared secret."""


@dataclass(frozen=True)
class KeySchedule:
    """What the key schedule gives; the last two are for checking only."""

    key: bytes
    base_nonce: bytes
    exporter_secret: bytes
    key_schedule_context: bytes = b""
    secret: bytes = b""


class Kdf(Protocol):
    """A key derivation function: how the key schedule and export use it."""

    kdf_id: int

    def combine_secrets(
        self, suite_id: bytes, mode: int, shared_secret: bytes, info: bytes,
        psk: bytes, psk_id: bytes, key_length: int, nonce_length: int,
    ) -> KeySchedule:
        """Section 5.1, KeySchedule."""

    def export(self, suite_id: bytes, exporter_secret: bytes, context: bytes, length: int) -> bytes:
        """Section 5.3, Export."""


@dataclass(frozen=True)
class Aead:
    """An AEAD with 12-byte nonces."""

    aead_id: int
    key_length: int
    seal: Callable[[bytes, bytes, bytes, bytes], bytes]  # key, nonce, aad, plaintext
    open: Callable[[bytes, bytes, bytes, bytes], bytes]  # key, nonce, aad, ciphertext
    nonce_length: int = 12


class XWingKem:
    """X-Wing, KEM id 0x647a (draft-ietf-hpke-pq-04 section 4, MLKEM768-X25519)."""

    kem_id = 0x647A

    def derive_key_pair(self, ikm: bytes) -> tuple[bytes, bytes]:
        """A 32-byte seed from keying material, and its public key."""
        suite_id = b"KEM" + i2osp2(self.kem_id)
        seed = shake256_labeled_derive(suite_id, ikm, b"DeriveKeyPair", b"", x_wing.SEED_LENGTH)
        return seed, x_wing.public_key(seed)

    def encap(self, public_key: bytes, randomness: bytes) -> tuple[bytes, bytes]:
        """Encapsulate with the 64-byte eseed as randomness."""
        return x_wing.encapsulate(public_key, randomness)

    def decap(self, enc: bytes, private_key: bytes) -> bytes:
        """Decapsulate with the 32-byte seed."""
        return x_wing.decapsulate(private_key, enc)


class HkdfSha256:
    """HKDF-SHA256, KDF id 0x0001, a two-stage KDF."""

    kdf_id = 0x0001

    def combine_secrets(
        self, suite_id: bytes, mode: int, shared_secret: bytes, info: bytes,
        psk: bytes, psk_id: bytes, key_length: int, nonce_length: int,
    ) -> KeySchedule:
        """RFC 9180 section 5.1."""
        psk_id_hash = labeled_extract(suite_id, b"", b"psk_id_hash", psk_id)
        info_hash = labeled_extract(suite_id, b"", b"info_hash", info)
        context = bytes([mode]) + psk_id_hash + info_hash
        secret = labeled_extract(suite_id, shared_secret, b"secret", psk)
        return KeySchedule(
            key=labeled_expand(suite_id, secret, b"key", context, key_length),
            base_nonce=labeled_expand(suite_id, secret, b"base_nonce", context, nonce_length),
            exporter_secret=labeled_expand(suite_id, secret, b"exp", context, kdf.HASH_LENGTH),
            key_schedule_context=context,
            secret=secret,
        )

    def export(self, suite_id: bytes, exporter_secret: bytes, context: bytes, length: int) -> bytes:
        """RFC 9180 section 5.3."""
        return labeled_expand(suite_id, exporter_secret, b"sec", context, length)


CHACHA20_POLY1305 = Aead(0x0003, aead.KEY_LENGTH, aead.chacha_seal, aead.chacha_open)


@dataclass(frozen=True)
class Suite:
    """A choice of KEM, KDF and AEAD."""

    kem: Kem
    kdf: Kdf
    aead: Aead

    @property
    def suite_id(self) -> bytes:
        """RFC 9180 section 5.1."""
        ids = (self.kem.kem_id, self.kdf.kdf_id, self.aead.aead_id)
        return b"HPKE" + b"".join(i2osp2(number) for number in ids)


HANDFAST = Suite(XWingKem(), HkdfSha256(), CHACHA20_POLY1305)


# --- contexts (section 5.2) ---


class Context:
    """What sender and recipient share: keys and a sequence number."""

    def __init__(self, suite: Suite, schedule: KeySchedule) -> None:
        self.suite = suite
        self.schedule = schedule
        self.seq = 0

    def compute_nonce(self) -> bytes:
        """base_nonce XOR sequence number."""
        base = self.schedule.base_nonce
        number = int.from_bytes(base, "big") ^ self.seq
        return number.to_bytes(len(base), "big")

    def _refuse_last_seq(self) -> None:
        if self.seq >= 2 ** (8 * self.suite.aead.nonce_length) - 1:
            raise MessageLimitReached("the sequence number would overflow")

    def export(self, exporter_context: bytes, length: int) -> bytes:
        """Section 5.3: a secret for another use."""
        secret = self.schedule.exporter_secret
        return self.suite.kdf.export(self.suite.suite_id, secret, exporter_context, length)


class SenderContext(Context):
    """Only seals."""

    def seal(self, aad: bytes, plaintext: bytes) -> bytes:
        """Section 5.2, ContextS.Seal."""
        self._refuse_last_seq()
        ciphertext = self.suite.aead.seal(
            self.schedule.key, self.compute_nonce(), aad, plaintext
        )
        self.seq += 1
        return ciphertext


class RecipientContext(Context):
    """Only opens."""

    def open(self, aad: bytes, ciphertext: bytes) -> bytes:
        """Section 5.2, ContextR.Open; a failure does not advance the number."""
        self._refuse_last_seq()
        plaintext = self.suite.aead.open(
            self.schedule.key, self.compute_nonce(), aad, ciphertext
        )
        self.seq += 1
        return plaintext


def key_schedule(
    suite: Suite, mode: int, shared_secret: bytes, info: bytes,
    psk: bytes = b"", psk_id: bytes = b"",
) -> KeySchedule:
    """Section 5.1, KeySchedule with VerifyPSKInputs."""
    if bool(psk) != bool(psk_id):
        raise ValueError("psk and psk_id come together or not at all")
    mode_has_psk = mode % 2 == 1
    if bool(psk) != mode_has_psk:
        raise ValueError("this mode needs a PSK" if mode_has_psk else "this mode takes no PSK")
    return suite.kdf.combine_secrets(
        suite.suite_id, mode, shared_secret, info, psk, psk_id,
        suite.aead.key_length, suite.aead.nonce_length,
    )


# --- setup (sections 5.1.1 and 5.1.2) ---


def setup_psk_sender(
    public_key: bytes, info: bytes, psk: bytes, psk_id: bytes, randomness: bytes,
    suite: Suite = HANDFAST,
) -> tuple[bytes, SenderContext]:
    """SetupPSKS with deterministic encapsulation: (enc, context)."""
    need_length(psk, PSK_LENGTH, "the PSK")
    shared_secret, enc = suite.kem.encap(public_key, randomness)
    schedule = key_schedule(suite, MODE_PSK, shared_secret, info, psk, psk_id)
    return enc, SenderContext(suite, schedule)


def setup_psk_recipient(
    enc: bytes, private_key: bytes, info: bytes, psk: bytes, psk_id: bytes,
    suite: Suite = HANDFAST,
) -> RecipientContext:
    """SetupPSKR."""
    need_length(psk, PSK_LENGTH, "the PSK")
    shared_secret = suite.kem.decap(enc, private_key)
    schedule = key_schedule(suite, MODE_PSK, shared_secret, info, psk, psk_id)
    return RecipientContext(suite, schedule)


def setup_base_sender(
    public_key: bytes, info: bytes, randomness: bytes, suite: Suite = HANDFAST
) -> tuple[bytes, SenderContext]:
    """SetupBaseS, for the published vectors only."""
    shared_secret, enc = suite.kem.encap(public_key, randomness)
    return enc, SenderContext(suite, key_schedule(suite, MODE_BASE, shared_secret, info))


def setup_base_recipient(
    enc: bytes, private_key: bytes, info: bytes, suite: Suite = HANDFAST
) -> RecipientContext:
    """SetupBaseR, for the published vectors only."""
    shared_secret = suite.kem.decap(enc, private_key)
    return RecipientContext(suite, key_schedule(suite, MODE_BASE, shared_secret, info))
