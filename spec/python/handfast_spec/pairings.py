"""Checks of pairings: both roles against each other in memory, with the vector's random values.

Every message must be the same octets, and every value under `values` must come about in the run.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from . import ml_kem, new_device, trace, trusted, x_wing
from .interfaces import (
    Account, BundleRequest, FixedRandom, ItemsRequest, NewDevice, RelayHint, RunFailed, ScanQr,
    ShowCode, ShowQr, TrustedDevice, TypeCode,
)
from .memory import MemoryMailbox, ScriptedPerson, connect
from .report import Record

RUN_SECONDS = 60  # no check of a run takes longer


@dataclass
class Base:
    """What a pairing vector says about the world before the first message."""

    name: str
    mode: str
    purpose: str
    trusted: TrustedDevice
    new: NewDevice
    request: BundleRequest | ItemsRequest
    nameplate: int | None
    hint: RelayHint | None
    random: dict[str, bytes]
    typed: str | None
    messages: list[tuple[str, bytes]] = field(default_factory=list)  # from, payload
    outcome: dict[str, str] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)

    @property
    def shown(self) -> str:
        """The code or QR code of the displayer."""
        name = "code_text" if self.mode == "code" else "qr_text"
        return bytes.fromhex(self.values[name]).decode("ascii")


def read_base(root: Record) -> Base:
    """Reads every field."""
    t, n, outcome = root.record("trusted"), root.record("new"), root.record("outcome")
    random = root.record("random")
    messages = []
    for message in root.records("messages"):
        payload = message.hex("payload")
        message.equal("kind", payload[1])
        message.raw("name")  # compared in _names
        messages.append((message.raw("from"), payload))
        message.done()
    t.raw("platform")  # a trusted device does not say it
    base = Base(
        name=root.raw("name"), mode=root.raw("mode"), purpose=root.raw("purpose"),
        trusted=TrustedDevice(
            t.hex("device_key"), t.raw("name"), t.hex("genesis"), t.hex("bundle"),
            frozenset(t.hex_list("known")),
        ),
        new=NewDevice(
            n.hex("device_key"), n.raw("name"), n.raw("platform"), _account(n),
        ),
        request=_request(n), nameplate=root.raw("nameplate"), hint=_hint(root),
        random={name: random.hex(name) for name in root.raw("random")},
        typed=root.raw("typed_check_code"), messages=messages,
        outcome={"trusted": outcome.raw("trusted"), "new": outcome.raw("new")},
        values=root.raw("values"),
    )
    for record in (t, n, random, outcome):
        record.done()
    return base


def _account(new: Record) -> Account | None:
    if new.raw("recorded") is None:
        return None
    recorded = new.record("recorded")
    account = Account(recorded.hex("account_id"), frozenset(recorded.hex_list("identities")))
    recorded.done()
    return account


def _request(new: Record) -> BundleRequest | ItemsRequest:
    if new.raw("request") == "bundle":
        return BundleRequest()
    request = new.record("request")
    items = ItemsRequest(request.raw("unlock_key"), tuple(request.raw("entries")))
    request.done()
    return items


def _hint(root: Record) -> RelayHint | None:
    if root.raw("relay_hint") is None:
        return None
    record = root.record("relay_hint")
    hint = RelayHint(record.raw("scheme"), record.raw("authority"))
    record.done()
    return hint


# --- one role ---


@dataclass
class Played:
    """How one role's run went."""

    outcome: str = ""
    cause: str | None = None
    why: str = ""
    trace: dict[str, Any] = field(default_factory=dict)
    undrawn: set[str] = field(default_factory=set)


async def play(
    base: Base, side: str, mailbox: MemoryMailbox, person: ScriptedPerson, shown: str | None
) -> Played:
    """One role with the base's random values; `shown` is what a reader scans or is told."""
    played = Played(trace=trace.start())
    random = FixedRandom(base.random)
    try:
        result = await _role(base, side, mailbox, person, random, shown)
        played.outcome = result.outcome
    except RunFailed as failure:
        played.outcome, played.cause, played.why = failure.outcome, failure.cause, failure.why
    played.undrawn = random.unused()
    return played


def _role(
    base: Base, side: str, mailbox: MemoryMailbox, person: ScriptedPerson, random: FixedRandom,
    shown: str | None,
) -> Awaitable[Any]:
    displays = (base.mode == "qr-new") == (side == "new")
    if side == "trusted":
        way = (
            ScanQr(shown or "") if not displays
            else ShowCode() if base.mode == "code" else ShowQr(base.hint)
        )
        return trusted.run(mailbox, person, random, base.trusted, way)
    way = (
        ShowQr(base.hint) if displays
        else TypeCode(shown or "") if base.mode == "code" else ScanQr(shown or "")
    )
    return new_device.run(mailbox, person, random, base.new, way, base.request)


# --- both roles ---

Prepare = Callable[[dict[str, ScriptedPerson], dict[str, MemoryMailbox]], None]


async def pair(
    base: Base, prepare: Prepare = lambda people, mailboxes: None
) -> tuple[dict[str, Played], list[tuple[str, bytes]], dict[str, MemoryMailbox]]:
    """Both roles, what they sent in order, and the two mailboxes."""
    log: list[tuple[str, bytes]] = []
    mailboxes = {side: MemoryMailbox(base.nameplate) for side in ("trusted", "new")}
    people = {side: ScriptedPerson(typed=base.typed) for side in mailboxes}
    connect(mailboxes["trusted"], mailboxes["new"])
    for side, mailbox in mailboxes.items():
        mailbox.log = lambda payload, side=side: log.append((side, payload))
    people["trusted"].other, people["new"].other = people["new"], people["trusted"]
    prepare(people, mailboxes)
    displayer, reader = ("new", "trusted") if base.mode == "qr-new" else ("trusted", "new")

    async def read() -> Played:
        what = "code" if base.mode == "code" else "qr"
        while what not in people[displayer].shown:
            await asyncio.sleep(0)
        shown = str(people[displayer].shown[what])
        return await play(base, reader, mailboxes[reader], people[reader], shown)

    shows = play(base, displayer, mailboxes[displayer], people[displayer], None)
    both = await asyncio.wait_for(asyncio.gather(shows, read()), RUN_SECONDS)
    return dict(zip((displayer, reader), both)), log, mailboxes


def check_pairing(root: Record) -> Base:
    """One file of pairings/."""
    tally = root.tally
    tally.vectors += 1
    root.raw("kind"), root.raw("comment")
    base = read_base(root)
    played, log, mailboxes = asyncio.run(pair(base))
    for side, end in played.items():
        tally.equal(f"outcome.{side} ({end.why})", end.outcome, base.outcome[side])
        success = end.outcome in ("enrolled", "unlocked")
        tally.equal(f"{side} closes with done", mailboxes[side].closed == 0, success)
    unused = played["trusted"].undrawn & played["new"].undrawn
    tally.equal("random values that nobody drew", sorted(unused), [])
    tally.equal("number of messages", len(log), len(base.messages))
    for index, (got, want) in enumerate(zip(log, base.messages)):
        tally.equal(f"messages.{index}.from", got[0], want[0])
        tally.equal(f"messages.{index}.payload", got[1], want[1])
    _names(root, names_of_messages(base))
    _values(base, played, root)
    return base


def names_of_messages(base: Base) -> list[str]:
    """What the text calls the messages, and the number of a chunk."""
    by_kind = {0: "M0", 1: "M0", 2: "M1", 3: "M2", 4: "M2c", 5: "CheckRequest", 7: "M4"}
    return [
        by_kind.get(payload[1]) or f"M3.{int.from_bytes(payload[2:4], 'big')}"
        for _, payload in base.messages
    ]


def _names(root: Record, want: list[str]) -> None:
    got = [message["name"] for message in root.raw("messages")]
    root.tally.equal("names of messages", got, want)


def _values(base: Base, played: dict[str, Played], root: Record) -> None:
    """Every value must come about in one of the runs, and in both where both have it."""
    extra = inside_x_wing(base, played)
    for name, want in base.values.items():
        got = [p.trace[name] for p in played.values() if name in p.trace]
        got += [extra[name]] if name in extra else []
        if not got:
            root.tally.fail(f"{root.where} values.{name}: no run gives a value of this name")
        for value in got:
            shown = (value if isinstance(value, bytes) else value.encode("ascii")).hex()
            root.tally.equal(f"{root.where} values.{name}", shown, want)


def inside_x_wing(base: Base, played: dict[str, Played]) -> dict[str, bytes]:
    """What X-Wing and the key schedule of HPKE do not hand out, computed once more."""
    offer_key = x_wing.public_key(base.random["displayer_kem_seed"])
    bundle_key = x_wing.public_key(base.random["bundle_key_seed"])
    values = {"offer_kem_key": offer_key}
    for name, public in (("channel", offer_key), ("grant", bundle_key)):
        eseed = base.random[f"{name}_encapsulation"]
        values[f"{name}_mlkem_shared_secret"], _ = ml_kem.encapsulate(
            public[: ml_kem.EK_LENGTH], eseed[:32]
        )
        values[f"{name}_x25519_shared_secret"] = x_wing.x25519(eseed[32:], public[-32:])
        values[f"{name}_shared_secret"], _ = x_wing.encapsulate(public, eseed)
    return values
