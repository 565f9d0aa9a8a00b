"""The trusted device T: displays in `code` and `qr-trusted`, reads in `qr-new`.

For reading and checking, not constant-time, never with real secrets.
"""

from __future__ import annotations

import hmac

from . import check_code, device, grant, objects, qr, signing
from . import code as codes
from .channel import Channel
from .errors import Refused
from .handshake import Displayer, Introduction, MakeHello, ReaderSide
from .interfaces import (
    NETWORK_DIFFERENT, Approval, Granted, Mailbox, NewDeviceRecord, Person, Random, ScanQr,
    ShowCode, ShowQr, StoreFailed, TrustedDevice,
)
from .messages import CHECK_CODE, CHECK_REQUEST, RECEIPT
from .objects import NewHello, TrustedHello
from .outcomes import Ended, refused_as
from .session import Session
from .text import DEVICE_NAME_LIMIT, check_own_name, clean
from .trace import note

Way = ShowCode | ShowQr | ScanQr


async def run(
    mailbox: Mailbox, person: Person, random: Random, own: TrustedDevice, way: Way
) -> Granted:
    """One run; raises RunFailed, or qr.QrError before anything is sent."""
    if isinstance(way, ScanQr):
        scanned = qr.read(way.text, way.link_hosts)
        if scanned.mode != "qr-new":
            raise qr.QrError("unknown_kind")  # that of a trusted device: not for T
        session = Session(mailbox, person, scanned.mode, reader=True)
    else:
        scanned = None
        mode = "code" if isinstance(way, ShowCode) else "qr-trusted"
        session = Session(mailbox, person, mode, reader=False)
    try:
        role = Trusted(session, random, own)
        if scanned is not None:
            granted = await role.qr_new(scanned)
        elif isinstance(way, ShowCode):
            granted = await role.code()
        else:
            granted = await role.qr_trusted(way)
    except Exception as error:
        raise await session.fail(error) from error
    await session.close(granted.outcome)
    return granted


class Trusted:
    """T in one run."""

    def __init__(self, session: Session, random: Random, own: TrustedDevice) -> None:
        self.session = session
        self.mailbox = session.mailbox
        self.person = session.person
        self.random = random
        self.own = own
        self.keys = device.DeviceKeys.derive(own.device_key)
        self.account_id = note("account_id", device.account_id(own.genesis))
        note("trusted_identity_seed", self.keys.identity_seed)
        note("trusted_identity", self.keys.identity)

    # --- the three modes, as in the diagrams of "Modes and purposes" ---

    async def code(self) -> Granted:
        """code, enroll."""
        await self.mailbox.allocate()
        assert self.mailbox.nameplate is not None
        code = codes.make(self.mailbox.nameplate, self.random.draw("code_secret"))
        intro = Introduction("code", "enroll", code=code)
        displayer = Displayer(intro, self.random)
        await self.mailbox.send(displayer.m0())
        self.person.show_code(note("code_text", code.text))
        new, channel = await self.accept_m1(displayer)
        await self.approve(new, recorded=False)
        return await self.grant(channel, intro, new, opening=None)

    async def qr_trusted(self, way: ShowQr) -> Granted:
        """qr-trusted, enroll."""
        intro = Introduction("qr-trusted", "enroll", secret=self.random.draw("qr_secret"))
        await self.mailbox.open(intro.mailbox_id, displayer=True)
        displayer = Displayer(intro, self.random)
        await self.mailbox.send(displayer.m0())
        self.person.show_qr(show_qr_text(displayer, way))
        new, channel = await self.accept_m1(displayer)
        await self.ask_check_code(channel)
        await self.approve(new, recorded=False)
        return await self.grant(channel, intro, new, opening=None)

    async def qr_new(self, scanned: qr.QrCode) -> Granted:
        """qr-new, enroll or unlock."""
        intro = Introduction(scanned.mode, scanned.purpose, secret=scanned.secret)
        await self.mailbox.open(intro.mailbox_id, displayer=False)
        reader = ReaderSide(intro, scanned.offer_hash)
        reader.open_m0(await self.session.receive_payload())
        opening = self.random.draw("opening")
        await self.mailbox.send(reader.m1(self.make_hello(opening), self.random))
        padded, channel = reader.open_m2(await self.session.receive_payload())
        self.session.channel = channel
        new = self.read_hello(padded, intro, reader.th_m1)
        self.mailbox.settle()
        recorded = new.identity in self.own.recorded
        if not (new.knows_peer and recorded):
            if new.knows_peer:
                await self.mailbox.send(channel.seal(CHECK_REQUEST, b""))
            await self.compare_check_code(channel, opening)
        await self.approve(new, recorded and new.knows_peer)
        return await self.grant(channel, intro, new, opening)

    # --- handshake ---

    async def accept_m1(self, displayer: Displayer) -> tuple[NewHello, Channel]:
        """M1 and M2 where T displays."""
        padded = displayer.open_m1(await self.session.receive_payload())
        new = self.read_hello(padded, displayer.intro, displayer.th_m0)
        m2, channel = displayer.m2(self.make_hello(opening=None))
        self.mailbox.settle()
        await self.mailbox.send(m2)
        self.session.channel = channel
        return new, channel

    def make_hello(self, opening: bytes | None) -> MakeHello:
        """T's hello; r is committed to in qr-new."""
        commitment = None
        if opening is not None:
            commitment = note("check_commitment", check_code.commitment(opening))
        label = self.own.account_label
        if label is None:
            label = device.read_genesis(self.own.genesis).account_label
        hello = TrustedHello(
            self.account_id, label, check_own_name(self.own.name, DEVICE_NAME_LIMIT),
            self.keys.identity, commitment,
        )

        unsigned = note("trusted_hello_unsigned", hello.unsigned())

        def signed(th: bytes) -> bytes:
            parts = b"handfast/1 hello of the trusted device", th, unsigned
            note("trusted_hello_signed_bytes", signing.signed_bytes(*parts))
            signature = signing.sign(self.keys.identity_seed, *parts)
            note("trusted_hello_signature", signature)
            return note("trusted_hello", unsigned + signature)

        return signed

    def read_hello(self, padded: bytes, intro: Introduction, th: bytes) -> NewHello:
        """N's hello: decodes, is signed, fits the run."""
        with refused_as("peer_misbehaved"):
            octets = note("new_hello", objects.unpad_hello(padded))
            new = objects.read_new_hello(octets)
            signing.verify(
                new.identity, new.signature, b"handfast/1 hello of the new device", th,
                octets[: -signing.SIGNATURE_LENGTH],
            )
            if new.request.bundle != (intro.purpose == "enroll"):
                raise Ended("peer_misbehaved", "the request does not fit the purpose")
            if new.knows_peer and intro.purpose == "enroll":
                raise Ended("peer_misbehaved", "knows-peer in enroll")
        return new

    # --- check code ---

    async def ask_check_code(self, channel: Channel) -> None:
        """qr-trusted: N shows the digits, T's user types them, T compares."""
        right = check_code.digits(channel)
        typed = await self.session.ask(ask_until_digits(self.person))
        self.compare(typed, right)

    async def compare_check_code(self, channel: Channel, opening: bytes) -> None:
        """qr-new: T shows the digits; what was typed on N comes as CheckCode."""
        right = check_code.digits(channel, opening)
        self.person.show_check_code(right)
        _, body = await self.session.receive(CHECK_CODE)
        with refused_as("peer_misbehaved"):
            typed = check_code.need_digits(channel.open(CHECK_CODE, body))
        self.compare(typed, right)

    def compare(self, typed: str, right: str) -> None:
        """One try, in constant time."""
        if not hmac.compare_digest(typed, right):
            raise Ended("wrong_check_code")

    # --- approval ---

    async def approve(self, new: NewHello, recorded: bool) -> None:
        """Approval."""
        if new.request.unlock_key and new.identity not in self.own.recorded:
            raise Ended("not_recorded")
        approval = Approval(
            purpose="enroll" if new.request.bundle else "unlock",
            unlock_key=new.request.unlock_key,
            entries=new.request.entries,
            fingerprint=device.fingerprint(new.identity),
            claimed_name=clean(new.name),
            claimed_platform=clean(new.platform),
            network=self.mailbox.network,
            recorded=recorded,
        )
        if not await self.session.ask(self.person.ask_approval(approval)):
            raise Ended("refused_here")
        if approval.network == NETWORK_DIFFERENT:
            if not await self.session.ask(self.person.ask_different_network(approval)):
                raise Ended("refused_here")

    # --- grant and receipt ---

    async def grant(
        self, channel: Channel, intro: Introduction, new: NewHello, opening: bytes | None
    ) -> Granted:
        """Grant and Receipt."""
        content = self.content(new)
        enroll = intro.purpose == "enroll"
        th = channel.th
        statement = grant.make_statement(self.keys.identity_seed, *grant.statement_parts(
            self.account_id, new.identity, new.wrapping_key, intro.purpose, th
        ))
        record = NewDeviceRecord(
            new.identity, new.wrapping_key, clean(new.name), clean(new.platform), statement, th
        )
        if enroll:
            try:
                await self.person.store_record(record)
            except StoreFailed as failure:
                raise Ended("store_failed", str(failure), abort="internal") from failure
        plain = grant.Grant(
            self.account_id, statement, opening, intro.purpose,
            self.own.genesis if enroll else b"", content,
        )
        chunks = grant.seal_grant(channel, intro.suite, new.bundle_key, plain, self.random)
        await self.session.read_what_is_there()
        self.session.suspect = record.name, device.fingerprint(new.identity)
        for chunk in chunks:
            await self.mailbox.send(chunk)
        await self.accept_receipt(channel, new)
        list_is_right = True
        if enroll:
            try:
                await self.person.confirm_record(record)
            except StoreFailed:
                list_is_right = False  # enrolled all the same
        outcome = "enrolled" if enroll else "unlocked"
        return Granted(outcome, new.identity, record.name, list_is_right)

    def content(self, new: NewHello) -> bytes:
        """The bundle, or exactly the items that were asked for."""
        if len(self.own.bundle) > objects.BUNDLE_LIMIT:
            raise Ended("wrong_bundle", "the bundle is over its limit")
        try:
            bundle = objects.read_bundle(self.own.bundle)
        except Refused as refusal:
            raise Ended("store_failed", str(refusal), abort="internal") from refusal
        if bundle.account_id != self.account_id:
            raise Ended("wrong_bundle", "the bundle is another account's")
        if new.request.bundle:
            return self.own.bundle
        try:
            return objects.pick_items(bundle, new.request).encode()
        except objects.NoSuchEntry as missing:
            raise Ended("no_such_entry", str(missing)) from missing

    async def accept_receipt(self, channel: Channel, new: NewHello) -> None:
        """Only when it verifies does T count N as trusted."""
        th = channel.th  # through M3
        _, body = await self.session.receive(RECEIPT)
        with refused_as("peer_misbehaved"):
            signature = note("receipt_signature", channel.open(RECEIPT, body))
            signing.verify(
                new.identity, signature, b"handfast/1 receipt", self.account_id, th
            )
        self.session.suspect = None
        self.mailbox.acknowledge()


async def ask_until_digits(person: Person) -> str:
    """Anything but six ASCII digits is not a try."""
    while True:
        typed = check_code.read_typed(await person.ask_check_code())
        if typed is not None:
            return typed


def show_qr_text(displayer: Displayer, way: ShowQr) -> str:
    """The text of a displayer's QR code."""
    intro = displayer.intro
    assert intro.secret is not None
    shown = qr.QrCode(intro.mode, intro.purpose, intro.secret, displayer.offer_hash, way.hint)
    note("qr_bytes", shown.encode())
    return note("qr_text", shown.text(way.link_host))
