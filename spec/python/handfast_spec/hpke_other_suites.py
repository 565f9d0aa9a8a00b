"""HPKE parameters that Handfast does not use, for checking published vectors only.

Written for reading, not constant-time, not for use with real secrets.
"""

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from . import ml_kem
from .errors import OpenError
from .hpke import (
    CHACHA20_POLY1305,
    Aead,
    HkdfSha256,
    KeySchedule,
    Suite,
    XWingKem,
    i2osp2,
    labeled_expand,
    labeled_extract,
    shake256_labeled_derive,
)
from .x_wing import x25519, x25519_public


class DhKemX25519:
    """DHKEM(X25519, HKDF-SHA256), KEM id 0x0020 (RFC 9180 section 4.1)."""

    kem_id = 0x0020
    _suite_id = b"KEM" + i2osp2(kem_id)

    def derive_key_pair(self, ikm: bytes) -> tuple[bytes, bytes]:
        """RFC 9180 section 7.1.3."""
        prk = labeled_extract(self._suite_id, b"", b"dkp_prk", ikm)
        secret = labeled_expand(self._suite_id, prk, b"sk", b"", 32)
        return secret, x25519_public(secret)

    def _extract_and_expand(self, dh: bytes, kem_context: bytes) -> bytes:
        prk = labeled_extract(self._suite_id, b"", b"eae_prk", dh)
        return labeled_expand(self._suite_id, prk, b"shared_secret", kem_context, 32)

    def encap(self, public_key: bytes, randomness: bytes) -> tuple[bytes, bytes]:
        """Section 4.1, Encap; randomness is the ikm of the ephemeral key."""
        secret, enc = self.derive_key_pair(randomness)
        return self._extract_and_expand(x25519(secret, public_key), enc + public_key), enc

    def decap(self, enc: bytes, private_key: bytes) -> bytes:
        """Section 4.1, Decap."""
        dh = x25519(private_key, enc)
        return self._extract_and_expand(dh, enc + x25519_public(private_key))

    def auth_encap(
        self, public_key: bytes, sender_key: bytes, randomness: bytes
    ) -> tuple[bytes, bytes]:
        """Section 4.1, AuthEncap."""
        secret, enc = self.derive_key_pair(randomness)
        dh = x25519(secret, public_key) + x25519(sender_key, public_key)
        context = enc + public_key + x25519_public(sender_key)
        return self._extract_and_expand(dh, context), enc

    def auth_decap(self, enc: bytes, private_key: bytes, sender_public: bytes) -> bytes:
        """Section 4.1, AuthDecap."""
        dh = x25519(private_key, enc) + x25519(private_key, sender_public)
        context = enc + x25519_public(private_key) + sender_public
        return self._extract_and_expand(dh, context)


class MlKem768Kem:
    """ML-KEM-768 alone, KEM id 0x0041 (draft-ietf-hpke-pq-04 section 3)."""

    kem_id = 0x0041

    def derive_key_pair(self, ikm: bytes) -> tuple[bytes, bytes]:
        """The private key is the 64-byte seed d || z."""
        suite_id = b"KEM" + i2osp2(self.kem_id)
        seed = shake256_labeled_derive(
            suite_id, ikm, b"DeriveKeyPair", b"", ml_kem.SEED_LENGTH
        )
        return seed, ml_kem.keygen(seed).ek

    def encap(self, public_key: bytes, randomness: bytes) -> tuple[bytes, bytes]:
        """randomness is the 32-byte m."""
        return ml_kem.encapsulate(public_key, randomness)

    def decap(self, enc: bytes, private_key: bytes) -> bytes:
        """Expand the seed, then decapsulate."""
        return ml_kem.decapsulate(ml_kem.keygen(private_key).dk, enc)


class Shake256:
    """SHAKE256, KDF id 0x0011, a one-stage KDF (draft-ietf-hpke-pq-04 section 5)."""

    kdf_id = 0x0011
    hash_length = 64

    def combine_secrets(
        self, suite_id: bytes, mode: int, shared_secret: bytes, info: bytes,
        psk: bytes, psk_id: bytes, key_length: int, nonce_length: int,
    ) -> KeySchedule:
        """draft-ietf-hpke-hpke section 5.1, CombineSecrets_OneStage."""

        def prefixed(value: bytes) -> bytes:
            return i2osp2(len(value)) + value

        secrets = prefixed(psk) + prefixed(shared_secret)
        context = bytes([mode]) + prefixed(psk_id) + prefixed(info)
        total = key_length + nonce_length + self.hash_length
        secret = shake256_labeled_derive(suite_id, secrets, b"secret", context, total)
        nonce_end = key_length + nonce_length
        return KeySchedule(secret[:key_length], secret[key_length:nonce_end], secret[nonce_end:])

    def export(self, suite_id: bytes, exporter_secret: bytes, context: bytes, length: int) -> bytes:
        """draft-ietf-hpke-hpke section 5.3, Export_OneStage."""
        return shake256_labeled_derive(suite_id, exporter_secret, b"sec", context, length)


def _aes_seal(key: bytes, nonce: bytes, aad: bytes, plaintext: bytes) -> bytes:
    return AESGCM(key).encrypt(nonce, plaintext, aad)


def _aes_open(key: bytes, nonce: bytes, aad: bytes, ciphertext: bytes) -> bytes:
    try:
        return AESGCM(key).decrypt(nonce, ciphertext, aad)
    except InvalidTag:
        raise OpenError("authentication failed") from None


AES_128_GCM = Aead(0x0001, 16, _aes_seal, _aes_open)

_KEMS = {kem.kem_id: kem for kem in (XWingKem(), DhKemX25519(), MlKem768Kem())}
_KDFS = {kdf.kdf_id: kdf for kdf in (HkdfSha256(), Shake256())}
_AEADS = {aead.aead_id: aead for aead in (AES_128_GCM, CHACHA20_POLY1305)}


def suite_by_ids(kem_id: int, kdf_id: int, aead_id: int) -> Suite:
    """The suite with these registered numbers; KeyError if there is none."""
    return Suite(_KEMS[kem_id], _KDFS[kdf_id], _AEADS[aead_id])
