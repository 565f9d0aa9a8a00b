"""The channel after M2 (protocol.md, "Channel", "The reverse direction", "Aborts").

For reading and checking, not constant-time, never with real secrets.
"""

from __future__ import annotations

from . import aead, hpke
from .encoding import u8
from .errors import BadEncoding, BadLength
from .messages import ABORT, CHECK_CODE, CHECK_REQUEST, RECEIPT, message
from .outcomes import ABORTS
from .signing import derive
from .trace import note
from .transcript import Transcript

# Plaintext octets, and what the trace calls the message.
SEALED_KINDS = {CHECK_CODE: (6, "m2c"), CHECK_REQUEST: (0, "check_request"), RECEIPT: (64, "m4")}


class Reverse:
    """The displayer's direction: AEAD under keys from the exporter."""

    def __init__(self, context: hpke.Context, enc: bytes, th_m1: bytes) -> None:
        secret = note("reverse_secret", context.export(b"handfast/1 export reverse", 32))
        salt = note("reverse_salt", enc + th_m1)
        self.key = note("reverse_key", derive(salt, secret, b"handfast/1 reverse key", length=32))
        self.base_nonce = note(
            "reverse_base_nonce", derive(salt, secret, b"handfast/1 reverse nonce", length=12)
        )
        self.n = 0

    def _nonce(self) -> bytes:
        return (int.from_bytes(self.base_nonce, "big") ^ self.n).to_bytes(12, "big")

    def seal(self, aad: bytes, plaintext: bytes) -> bytes:
        """The n-th message."""
        ciphertext = aead.chacha_seal(self.key, self._nonce(), aad, plaintext)
        self.n += 1
        return ciphertext

    def open(self, aad: bytes, ciphertext: bytes) -> bytes:
        """The n-th message; a failure does not advance n."""
        plaintext = aead.chacha_open(self.key, self._nonce(), aad, ciphertext)
        self.n += 1
        return plaintext


class Channel:
    """Both directions, the running transcript, and the exporter."""

    def __init__(
        self, context: hpke.SenderContext | hpke.RecipientContext, reverse: Reverse,
        transcript: Transcript,
    ) -> None:
        self.context = context
        self.reverse = reverse
        self.transcript = transcript
        self.session = transcript.th  # th through M2

    @property
    def th(self) -> bytes:
        """th before the next message."""
        return self.transcript.th

    def export(self, label: bytes) -> bytes:
        """Context.Export(label, 32) of the handshake's HPKE context."""
        return self.context.export(label, 32)

    def seal(self, kind: int, plaintext: bytes) -> bytes:
        """CheckCode, CheckRequest or Receipt: the whole message."""
        name = SEALED_KINDS[kind][1]
        body = self._seal(note(f"{name}_aad", self.th + u8(kind)), plaintext)
        self.transcript.take_in(kind, body, name)
        return message(kind, body)

    def open(self, kind: int, body: bytes) -> bytes:
        """The plaintext of a CheckCode, CheckRequest or Receipt."""
        length, name = SEALED_KINDS[kind]
        if len(body) != length + aead.TAG_LENGTH:
            raise BadLength(f"a body of {len(body)} octets")
        plaintext = self._open(note(f"{name}_aad", self.th + u8(kind)), body)
        self.transcript.take_in(kind, body, name)
        return plaintext

    def seal_abort(self, reason: int) -> bytes:
        """An abort does not count in the transcript."""
        return message(ABORT, self._seal(self.session + u8(ABORT), u8(reason)))

    def open_abort(self, body: bytes) -> int:
        """The reason; raises Refused."""
        plaintext = self._open(self.session + u8(ABORT), body)
        if len(plaintext) != 1 or plaintext[0] >= len(ABORTS):
            raise BadEncoding("an abort whose reason is unknown")
        return plaintext[0]

    def _seal(self, aad: bytes, plaintext: bytes) -> bytes:
        if isinstance(self.context, hpke.SenderContext):  # the reader
            return self.context.seal(aad, plaintext)
        return self.reverse.seal(aad, plaintext)

    def _open(self, aad: bytes, body: bytes) -> bytes:
        if len(body) < aead.TAG_LENGTH:
            raise BadLength("shorter than a tag")
        if isinstance(self.context, hpke.RecipientContext):  # the displayer
            return self.context.open(aad, body)
        return self.reverse.open(aad, body)
