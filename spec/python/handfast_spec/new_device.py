"""The new device N: reads in `code` and `qr-trusted`, displays in `qr-new`.

For reading and checking, not constant-time, never with real secrets.
"""

from __future__ import annotations

from . import check_code, device, grant, objects, qr, signing, x_wing
from . import code as codes
from .channel import Channel
from .handshake import Displayer, Introduction, MakeHello, ReaderSide
from .interfaces import (
    BundleRequest, Enrolled, Enrollment, ItemsRequest, Mailbox, NewDevice, Person, Random,
    ScanQr, ShowQr, TypeCode, Unlocked,
)
from .messages import CHECK_CODE, CHECK_REQUEST, GRANT_CHUNK, RECEIPT
from .objects import NewHello, Request, TrustedHello
from .outcomes import Ended, refused_as
from .session import Session
from .text import DEVICE_NAME_LIMIT, PLATFORM_LIMIT, check_own_name, clean
from .trace import note
from .trusted import ask_until_digits, show_qr_text

Way = TypeCode | ScanQr | ShowQr
RECEIPT_LINGER_SECONDS = 10


async def run(
    mailbox: Mailbox, person: Person, random: Random, own: NewDevice, way: Way,
    request: BundleRequest | ItemsRequest = BundleRequest(),
) -> Enrolled | Unlocked:
    """One run; raises RunFailed, or code.CodeError or qr.QrError before anything is sent."""
    if own.account is not None and isinstance(request, BundleRequest):
        raise ValueError("an enrolled device does not enroll again")
    typed = codes.read(way.typed) if isinstance(way, TypeCode) else None
    scanned = qr.read(way.text, way.link_hosts) if isinstance(way, ScanQr) else None
    if scanned is not None and scanned.mode != "qr-trusted":
        raise qr.QrError("unknown_kind")  # that of a new device: not for N
    mode = "code" if typed else "qr-trusted" if scanned else "qr-new"
    session = Session(mailbox, person, mode, reader=mode != "qr-new")
    try:
        role = New(session, random, own, request)
        if typed is not None:
            result = await role.code(typed)
        elif scanned is not None:
            result = await role.qr_trusted(scanned)
        else:
            assert isinstance(way, ShowQr)
            result = await role.qr_new(way)
    except Exception as error:
        raise await session.fail(error) from error
    await session.close(result.outcome)
    return result


class New:
    """N in one run."""

    def __init__(
        self, session: Session, random: Random, own: NewDevice,
        request: BundleRequest | ItemsRequest,
    ) -> None:
        self.session = session
        self.mailbox = session.mailbox
        self.person = session.person
        self.random = random
        self.own = own
        self.purpose = "enroll" if isinstance(request, BundleRequest) else "unlock"
        self.request = Request(bundle=True)
        if isinstance(request, ItemsRequest):
            names = sorted(set(request.entries), key=lambda name: name.encode("utf-8"))
            self.request = Request(False, request.unlock_key, tuple(names))
        self.keys = device.DeviceKeys.derive(own.device_key)
        note("new_identity_seed", self.keys.identity_seed)
        note("new_wrapping_seed", self.keys.wrapping_seed)
        self.bundle_seed = random.draw("bundle_key_seed")
        self.unsigned = NewHello(
            check_own_name(own.name, DEVICE_NAME_LIMIT),
            check_own_name(own.platform, PLATFORM_LIMIT), self.request,
            note("new_identity", self.keys.identity),
            note("new_wrapping_key", self.keys.wrapping_key),
            note("bundle_key", x_wing.public_key(self.bundle_seed)),
            knows_peer=False,
        )

    # --- the three modes, as in the diagrams of "Modes and purposes" ---

    async def code(self, code: codes.Code) -> Enrolled | Unlocked:
        """code, enroll."""
        intro = Introduction("code", "enroll", code=code)
        await self.mailbox.claim(code.nameplate)
        trusted, channel = await self.answer_offer(ReaderSide(intro))
        self.show_account(trusted)
        return await self.accept_grant(channel, intro, trusted, typed=None)

    async def qr_trusted(self, scanned: qr.QrCode) -> Enrolled | Unlocked:
        """qr-trusted, enroll."""
        intro = Introduction(scanned.mode, scanned.purpose, secret=scanned.secret)
        await self.mailbox.open(intro.mailbox_id, displayer=False)
        trusted, channel = await self.answer_offer(ReaderSide(intro, scanned.offer_hash))
        self.show_account(trusted)
        self.person.show_check_code(check_code.digits(channel))
        return await self.accept_grant(channel, intro, trusted, typed=None)

    async def qr_new(self, way: ShowQr) -> Enrolled | Unlocked:
        """qr-new, enroll or unlock."""
        intro = Introduction("qr-new", self.purpose, secret=self.random.draw("qr_secret"))
        await self.mailbox.open(intro.mailbox_id, displayer=True)
        displayer = Displayer(intro, self.random)
        await self.mailbox.send(displayer.m0())
        self.person.show_qr(show_qr_text(displayer, way))
        padded = displayer.open_m1(await self.session.receive_payload())
        trusted = self.read_hello(padded, intro, displayer.th_m0)
        self.need_own_account(trusted)
        knows_peer = self.knows(trusted)
        m2, channel = displayer.m2(self.make_hello(knows_peer))
        self.mailbox.settle()
        await self.mailbox.send(m2)
        self.session.channel = channel
        self.show_account(trusted)
        if not knows_peer:
            typed = await self.send_check_code(channel)
            return await self.accept_grant(channel, intro, trusted, typed)
        return await self.accept_grant(channel, intro, trusted, None, may_be_asked=True)

    # --- handshake ---

    async def answer_offer(self, reader: ReaderSide) -> tuple[TrustedHello, Channel]:
        """M0 to M2 where N reads."""
        reader.open_m0(await self.session.receive_payload())
        await self.mailbox.send(reader.m1(self.make_hello(knows_peer=False), self.random))
        padded, channel = reader.open_m2(await self.session.receive_payload())
        self.session.channel = channel
        trusted = self.read_hello(padded, reader.intro, reader.th_m1)
        self.mailbox.settle()
        return trusted, channel

    def make_hello(self, knows_peer: bool) -> MakeHello:
        """N's hello."""
        self.hello = NewHello(**{**vars(self.unsigned), "knows_peer": knows_peer})

        unsigned = note("new_hello_unsigned", self.hello.unsigned())

        def signed(th: bytes) -> bytes:
            parts = b"handfast/1 hello of the new device", th, unsigned
            note("new_hello_signed_bytes", signing.signed_bytes(*parts))
            signature = signing.sign(self.keys.identity_seed, *parts)
            note("new_hello_signature", signature)
            return note("new_hello", unsigned + signature)

        return signed

    def read_hello(self, padded: bytes, intro: Introduction, th: bytes) -> TrustedHello:
        """T's hello: decodes, is signed, fits the run."""
        with refused_as("peer_misbehaved"):
            octets = note("trusted_hello", objects.unpad_hello(padded))
            trusted = objects.read_trusted_hello(octets)
            signing.verify(
                trusted.identity, trusted.signature, b"handfast/1 hello of the trusted device",
                th, octets[: -signing.SIGNATURE_LENGTH],
            )
            if (trusted.commitment is not None) != (intro.mode == "qr-new"):
                raise Ended("peer_misbehaved", "a commitment missing, or in another mode")
        note("account_id", trusted.account_id)
        note("trusted_identity", trusted.identity)
        return trusted

    def need_own_account(self, trusted: TrustedHello) -> None:
        """unlock, N enrolled: T's account MUST be N's own."""
        if self.own.account is not None and trusted.account_id != self.own.account.account_id:
            raise Ended("other_account")

    def knows(self, trusted: TrustedHello) -> bool:
        """knows-peer: N has recorded T's identity, for the account that T's hello names."""
        return (
            self.purpose == "unlock"
            and self.own.account is not None
            and trusted.account_id == self.own.account.account_id
            and trusted.identity in self.own.account.recorded
        )

    def show_account(self, trusted: TrustedHello) -> None:
        """After M2, before N stores anything."""
        self.person.show_account(trusted.account_label, device.fingerprint(trusted.identity))

    # --- check code ---

    async def send_check_code(self, channel: Channel) -> str:
        """The digits that T shows, typed on N: sent without knowing whether they are right."""
        typed = await self.session.ask(ask_until_digits(self.person))
        await self.mailbox.send(channel.seal(CHECK_CODE, typed.encode("ascii")))
        return typed

    # --- grant and receipt ---

    async def accept_grant(
        self, channel: Channel, intro: Introduction, trusted: TrustedHello, typed: str | None,
        may_be_asked: bool = False,
    ) -> Enrolled | Unlocked:
        """Grant and Receipt. T may ask for digits once, before the first chunk."""
        due = (GRANT_CHUNK, CHECK_REQUEST) if may_be_asked else (GRANT_CHUNK,)
        kind, body = await self.session.receive(*due)
        if kind == CHECK_REQUEST:
            with refused_as("peer_misbehaved"):
                channel.open(CHECK_REQUEST, body)
            typed = await self.send_check_code(channel)
            _, body = await self.session.receive(GRANT_CHUNK)
        receiver = grant.GrantReceiver(channel, intro.suite, self.bundle_seed)
        with refused_as("peer_misbehaved"):
            while not receiver.take(body):
                _, body = await self.session.receive(GRANT_CHUNK)
            plain = grant.read_grant(note("grant_plaintext", receiver.plaintext))
            grant.check_grant(
                plain, intro.mode, intro.purpose, trusted, self.hello, receiver.th
            )
            grant.check_typed(plain, channel, typed)
            if intro.purpose == "enroll":
                grant.check_bundle(plain)
            else:
                items = grant.check_items(plain, self.request)
        if intro.purpose == "enroll":
            enrollment = Enrollment(
                plain.account_id, trusted.account_label, plain.genesis, plain.content,
                trusted.identity, clean(trusted.name), plain.statement, receiver.th,
            )
            await self.person.store_enrollment(enrollment)
            result: Enrolled | Unlocked = Enrolled(enrollment)
        else:
            await self.person.use_items(items)
            result = Unlocked(items)
        await self.send_receipt(channel, trusted)
        return result

    async def send_receipt(self, channel: Channel, trusted: TrustedHello) -> None:
        """After the bundle is stored durably; N is done whatever comes back."""
        parts = b"handfast/1 receipt", trusted.account_id, channel.th
        note("receipt_signed_bytes", signing.signed_bytes(*parts))
        signature = note("receipt_signature", signing.sign(self.keys.identity_seed, *parts))
        await self.mailbox.send(channel.seal(RECEIPT, signature))
        await self.mailbox.delivered(RECEIPT_LINGER_SECONDS)
