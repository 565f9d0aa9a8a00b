"""M0, M1 and M2 (protocol.md, "Handshake"), without the hellos' content.

A displayer makes the offer, a reader answers it. Hellos come in and go out as octets, padded
here; who makes and judges them are the roles (trusted.py, new_device.py).

For reading and checking, not constant-time, never with real secrets.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from . import aead, cpace, hpke, objects, ristretto, x_wing
from .channel import Channel, Reverse
from .code import Code
from .encoding import Reader, bytes16, u8
from .interfaces import Random
from .messages import ACCEPT, OFFER, REPLY, SEALED_OFFER, handshake_body, message
from .outcomes import Ended, refused_as
from .signing import derive, hash_of
from .trace import hpke_trace, note
from .transcript import Transcript

SEALED_HELLO = objects.HELLO_LENGTH + aead.TAG_LENGTH
MakeHello = Callable[[bytes], bytes]  # th before the message -> the signed hello


@dataclass(frozen=True)
class Introduction:
    """What both sides have before the first message: a code, or the secret of a QR code."""

    mode: str
    purpose: str
    code: Code | None = None
    secret: bytes | None = None  # QR modes

    @property
    def suite(self) -> bytes:
        """The label `handfast/1 MODE PURPOSE`."""
        return objects.SUITES[self.mode, self.purpose]

    # "QR code": derived from the secret

    @property
    def mailbox_id(self) -> bytes:
        """The mailbox at the relay."""
        return note("mailbox_id", derive(b"", self.secret, b"handfast/1 qr mailbox", length=16))

    @property
    def offer_key(self) -> bytes:
        """Seals M0."""
        key = derive(self.suite, self.secret, b"handfast/1 qr offer key", length=32)
        return note("offer_key", key)

    @property
    def qr_psk(self) -> bytes:
        """The channel PSK."""
        return derive(self.suite, self.secret, b"handfast/1 qr psk", length=32)

    # "CPace"

    @property
    def prs(self) -> bytes:
        """The seven secret symbols."""
        return note("secret_symbols", self.code.secret_symbols).encode("ascii")

    @property
    def ci(self) -> bytes:
        """The channel identifier."""
        symbols = note("nameplate_symbols", self.code.nameplate_symbols).encode("ascii")
        return note("cpace_ci", bytes16(self.suite) + bytes16(symbols))


def offer_hash(offer: bytes) -> bytes:
    """In the QR code."""
    return note("offer_hash", hash_of(b"handfast/1 offer hash", offer))


def make_share(intro: Introduction, sid: bytes, random: bytes) -> tuple[bytes, bytes]:
    """(scalar, share)."""
    prs, ci = intro.prs, intro.ci
    note("cpace_generator_string", cpace.generator_string(prs, ci, sid))
    note("cpace_generator", ristretto.encode(cpace.calculate_generator(prs, ci, sid)))
    return cpace.make_share(prs, ci, sid, random)


def code_psk(
    intro: Introduction, offer: objects.Offer, scalar: bytes, own_share: bytes,
    peer_share: bytes, reader_share: bytes,
) -> bytes:
    """K, ISK, and the channel PSK in code mode; refuses the peer's share."""
    sid = offer.nonce
    without_share = note("offer_without_share", offer.encode_without_share())
    ada = note("cpace_ada", bytes16(b"handfast/1 cpace displayer") + hash_of(
        b"handfast/1 offer without share", without_share
    ))
    adb = note("cpace_adb", bytes16(b"handfast/1 cpace reader"))
    note("displayer_share", offer.share)
    note("reader_share", reader_share)
    k = note("cpace_k", cpace.shared_point(scalar, own_share, peer_share))
    isk = note("cpace_isk", cpace.isk_initiator_responder(
        sid, k, offer.share, ada, reader_share, adb
    ))
    return derive(sid, isk, b"handfast/1 code psk", intro.suite, length=32)


def channel_info(intro: Introduction, th_m0: bytes) -> bytes:
    """info of SetupPSKS and SetupPSKR."""
    return note(
        "channel_info", bytes16(b"handfast/1 channel") + bytes16(intro.suite) + th_m0
    )


CHANNEL_PSK_ID = b"handfast/1 channel psk"


def m1_aad(th_m0: bytes, share: bytes) -> bytes:
    """Of the reader's hello."""
    return note("m1_aad", th_m0 + u8(ACCEPT) + share)


def m2_aad(th_m1: bytes) -> bytes:
    """Of the displayer's hello."""
    return note("m2_aad", th_m1 + u8(REPLY))


class Displayer:
    """The side that makes the offer."""

    def __init__(self, intro: Introduction, random: Random) -> None:
        """M0, displayer."""
        self.intro = intro
        self.seed = random.draw("displayer_kem_seed")
        nonce = random.draw("offer_nonce")
        self.scalar, share = b"", None
        if intro.mode == "code":
            self.scalar, share = make_share(intro, nonce, random.draw("displayer_scalar"))
        self.offer = objects.Offer(
            intro.mode, intro.purpose, nonce, x_wing.public_key(self.seed), share
        )
        self.offer_octets = note("offer", self.offer.encode())
        self.offer_hash = offer_hash(self.offer_octets)
        self.transcript = Transcript(note("suite", intro.suite))
        self.th_m0 = self.transcript.take_in(OFFER, self.offer_octets, "m0")

    def m0(self) -> bytes:
        """The message."""
        if self.intro.mode == "code":
            return message(OFFER, self.offer_octets)
        aad = self.intro.suite + u8(SEALED_OFFER)
        sealed = aead.chacha_seal(self.intro.offer_key, bytes(12), aad, self.offer_octets)
        return message(SEALED_OFFER, sealed)

    def open_m1(self, payload: bytes) -> bytes:
        """The reader's padded hello; whatever is refused burns the offer."""
        code_mode = self.intro.mode == "code"
        with refused_as("wrong_code" if code_mode else "peer_misbehaved"):
            body = handshake_body(payload, ACCEPT)
            reader = Reader(body, "accept")
            share = reader.take(objects.SHARE_LENGTH) if code_mode else b""
            self.enc = note("channel_enc", reader.take(x_wing.CIPHERTEXT_LENGTH))
            sealed = reader.take(SEALED_HELLO)
            reader.end()
            if code_mode:
                psk = code_psk(
                    self.intro, self.offer, self.scalar, self.offer.share, share, share
                )
            else:
                psk = self.intro.qr_psk
            self.context = hpke.setup_psk_recipient(
                self.enc, self.seed, channel_info(self.intro, self.th_m0),
                note("channel_psk", psk), CHANNEL_PSK_ID,
            )
            hpke_trace("channel", self.context)
            padded = self.context.open(m1_aad(self.th_m0, share), sealed)
        self.th_m1 = self.transcript.take_in(ACCEPT, body, "m1")
        return padded

    def m2(self, make_hello: MakeHello) -> tuple[bytes, Channel]:
        """The message, and the channel: settle before it is sent."""
        reverse = Reverse(self.context, self.enc, self.th_m1)
        padded = objects.pad_hello(make_hello(self.th_m1))
        body = reverse.seal(m2_aad(self.th_m1), padded)
        self.transcript.take_in(REPLY, body, "m2")
        return message(REPLY, body), Channel(self.context, reverse, self.transcript)


class ReaderSide:
    """The side that answers an offer."""

    def __init__(self, intro: Introduction, qr_offer_hash: bytes | None = None) -> None:
        self.intro = intro
        self.qr_offer_hash = qr_offer_hash

    def open_m0(self, payload: bytes) -> None:
        """M1, reader, steps 1 and 2."""
        if self.intro.mode == "code":
            with refused_as("peer_misbehaved"):
                octets = handshake_body(payload, OFFER)
        else:
            with refused_as("peer_misbehaved"):
                sealed = handshake_body(payload, SEALED_OFFER)
            aad = self.intro.suite + u8(SEALED_OFFER)
            with refused_as("wrong_offer"):
                octets = aead.chacha_open(self.intro.offer_key, bytes(12), aad, sealed)
            if offer_hash(octets) != self.qr_offer_hash:
                raise Ended("wrong_offer", "the offer does not hash to the QR code's hash")
        with refused_as("peer_misbehaved"):
            self.offer = objects.read_offer(octets)
        if (self.offer.mode, self.offer.purpose) != (self.intro.mode, self.intro.purpose):
            raise Ended("wrong_offer", "another mode or purpose than the introduction's")
        note("offer", octets)
        self.transcript = Transcript(note("suite", self.intro.suite))
        self.th_m0 = self.transcript.take_in(OFFER, octets, "m0")

    def m1(self, make_hello: MakeHello, random: Random) -> bytes:
        """M1, reader, steps 3 to 5: the message."""
        share = b""
        with refused_as("peer_misbehaved"):
            if self.intro.mode == "code":
                scalar, share = make_share(
                    self.intro, self.offer.nonce, random.draw("reader_scalar")
                )
                psk = code_psk(self.intro, self.offer, scalar, share, self.offer.share, share)
            else:
                psk = self.intro.qr_psk
        self.enc, self.context = hpke.setup_psk_sender(
            self.offer.kem_key, channel_info(self.intro, self.th_m0), note("channel_psk", psk),
            CHANNEL_PSK_ID, random.draw("channel_encapsulation"),
        )
        note("channel_enc", self.enc)
        hpke_trace("channel", self.context)
        padded = objects.pad_hello(make_hello(self.th_m0))
        body = share + self.enc + self.context.seal(m1_aad(self.th_m0, share), padded)
        self.th_m1 = self.transcript.take_in(ACCEPT, body, "m1")
        return message(ACCEPT, body)

    def open_m2(self, payload: bytes) -> tuple[bytes, Channel]:
        """The displayer's padded hello. Once it is open an abort can be sealed."""
        with refused_as("peer_misbehaved"):
            body = handshake_body(payload, REPLY)
            reader = Reader(body, "reply")
            sealed = reader.take(SEALED_HELLO)
            reader.end()
            reverse = Reverse(self.context, self.enc, self.th_m1)
            padded = reverse.open(m2_aad(self.th_m1), sealed)
        self.transcript.take_in(REPLY, body, "m2")
        return padded, Channel(self.context, reverse, self.transcript)
