"""Checks of codes, qr, objects, device and signatures: every case, every field."""

from __future__ import annotations

from typing import Any

from . import code, device, ed25519_strict, objects, qr, signing, text
from .errors import BadEncoding, EndsEarly, OctetsAfterEnd, OverLimit, Refused
from .handshake import Introduction
from .interfaces import RelayHint
from .report import Record


def start_case(case: Record) -> str:
    """Counts the case; gives the name for messages."""
    case.tally.vectors += 1
    case.raw("comment")
    case.where = f"{case.where} {case.raw('name')}"
    return case.where


def refusal_of(action: Any, *arguments: Any) -> Refused | None:
    """The refusal, or None if it was accepted."""
    try:
        action(*arguments)
    except Refused as refusal:
        return refusal
    return None


# --- codes.json ---


def check_codes(root: Record) -> None:
    """Verification codes as they are typed."""
    for case in root.records("valid"):
        start_case(case)
        for typed in case.raw("texts"):
            read = code.read(typed)
            case.equal("nameplate", read.nameplate)
            case.equal("nameplate_symbols", read.nameplate_symbols)
            case.equal("secret_symbols", read.secret_symbols)
            case.equal("canonical", read.text)
        values = [code.ALPHABET.index(s) for s in case.raw("secret_symbols")]
        for high_bits in (0, 0xE0):  # only the low five bits count
            random = bytes(value | high_bits for value in values)
            case.equal("canonical", code.make(case.raw("nameplate"), random).text)
        case.done()
    for case in root.records("invalid"):
        where = start_case(case)
        refusal = refusal_of(code.read, case.raw("text"))
        root.tally.true(f"{where} refused", isinstance(refusal, code.CodeError))
        case.equal("error", getattr(refusal, "reason", None))
        case.done()


# --- qr.json ---


def check_qr(root: Record) -> None:
    """The texts of QR codes and links."""
    hosts = root.raw("app_hosts")
    for case in root.records("valid"):
        start_case(case)
        hint = case.raw("relay_hint")
        if hint is not None:
            hint = RelayHint(hint.pop("scheme"), hint.pop("authority"))
            root.tally.equal(f"{case.where} fields of the hint", case.raw("relay_hint"), {})
        for shown in case.raw("texts"):
            read = qr.read(shown, hosts)
            case.equal("qr_kind", f"{read.mode} {read.purpose}")
            case.equal("qr_secret", read.secret)
            case.equal("offer_hash", read.offer_hash)
            case.equal("bytes", read.encode())
            root.tally.equal(f"{case.where} hint", read.hint, hint)
        mode, purpose = case.raw("qr_kind").split()
        made = qr.QrCode(mode, purpose, case.hex("qr_secret"), case.hex("offer_hash"), hint)
        root.tally.equal(f"{case.where} text", made.text(), case.raw("texts")[0])
        for host in hosts:
            root.tally.equal(f"{case.where} {host}", qr.read(made.text(host), hosts), made)
        intro = Introduction(mode, purpose, secret=made.secret)
        case.equal("mailbox_id", intro.mailbox_id)
        case.equal("offer_key", intro.offer_key)
        case.equal("channel_psk", intro.qr_psk)
        case.done()
    for case in root.records("invalid"):
        where = start_case(case)
        refusal = refusal_of(qr.read, case.raw("text"), hosts)
        root.tally.true(f"{where} refused", isinstance(refusal, qr.QrError))
        case.equal("error", getattr(refusal, "reason", None))
        case.done()


# --- objects.json ---

REASONS = {
    EndsEarly: "truncated", OctetsAfterEnd: "trailing_bytes", OverLimit: "too_long",
}

# What is wrong in two ways: the text fixes no order of checks inside an object.
SEVERAL_REASONS = {"entries-missing"}


def check_objects(root: Record) -> None:
    """Objects by themselves, and rules for text."""
    for case in root.records("genesis"):
        _genesis(case)
    for case in root.records("bundles"):
        _bundle(case)
    for case in root.records("items"):
        _items(case)
    _refused(root, "genesis_refused", device.read_genesis)
    _refused(root, "bundles_refused", objects.read_bundle)
    _refused(root, "items_refused", objects.read_items)
    for case in root.records("texts"):
        _text(case)
    for case in root.records("claims"):
        start_case(case)
        case.equal("cleaned", text.clean(case.raw("text")))
        case.done()


def _genesis(case: Record) -> None:
    start_case(case)
    octets = case.hex("hex")
    read = device.read_genesis(octets)
    case.equal("label", read.account_label)
    case.equal("identity", read.identity)
    case.equal("nonce", read.nonce)
    case.equal("signature", read.signature)
    case.equal("account_id", device.account_id(octets))
    seed = case.hex("identity_seed")
    case.equal("hex", device.make_genesis(seed, case.raw("label"), case.hex("nonce")))
    case.done()


def _entries(case: Record, entries: objects.Entries) -> None:
    got = [{"name": name, "value": value.hex()} for name, value in entries]
    case.equal("entries", got)


def _bundle(case: Record) -> None:
    start_case(case)
    bundle = objects.read_bundle(case.hex("hex"))
    for name in ("account_id", "account_label", "unlock_key", "sign_in_secret"):
        case.equal(name, getattr(bundle, name))
    _entries(case, bundle.entries)
    extensions = objects.split_extensions(bundle.extensions)
    case.equal("extensions", [{"type": kind, "value": v.hex()} for kind, v in extensions])
    case.tally.equal(
        f"{case.where} extensions", objects.join_extensions(extensions), bundle.extensions
    )
    case.equal("hex", bundle.encode())
    case.done()


def _items(case: Record) -> None:
    start_case(case)
    items = objects.read_items(case.hex("hex"))
    key = items.unlock_key
    case.tally.equal(f"{case.where} key", key.hex() if key else None, case.raw("unlock_key"))
    _entries(case, items.entries)
    case.equal("hex", items.encode())
    case.done()


def _refused(root: Record, name: str, read: Any) -> None:
    for case in root.records(name):
        where = start_case(case)
        refusal = refusal_of(read, case.hex("hex"))
        root.tally.true(f"{where} refused", refusal is not None)
        reason = case.record("reason")
        if where.split()[-1] in SEVERAL_REASONS:
            reason.raw("error")
        else:
            reason.equal("error", REASONS.get(type(refusal), "bad_value"))
        if "field" in reason:
            reason.raw("field")  # for a reader of the file; which check was first is not fixed
        reason.done()
        case.done()


TEXT_LIMITS = {
    "account_label": text.ACCOUNT_LABEL_LIMIT, "entry_name": text.ENTRY_NAME_LIMIT,
    "device_name": text.DEVICE_NAME_LIMIT, "platform": text.PLATFORM_LIMIT,
}


def text_error(field: str, value: str) -> str | None:
    """What is wrong with a text in this field, in the vectors' order."""
    if not value or all(text.is_white_space(c) for c in value):
        return "empty"
    if len(value.encode("utf-8")) > TEXT_LIMITS[field]:
        return "too_long"
    return "unprintable" if any(text.is_unprintable(c) for c in value) else None


def _text(case: Record) -> None:
    where = start_case(case)
    field, value = case.raw("field"), case.raw("text")
    case.equal("error", text_error(field, value))
    if field in ("account_label", "entry_name"):
        refused = refusal_of(text.check_readable, value, field) is not None
        wanted = case.raw("error") in ("empty", "unprintable")
        over = len(value.encode("utf-8")) > TEXT_LIMITS[field]
        case.tally.true(f"{where} by the decoder", (refused or over) == (wanted or over))
    case.done()


# --- device.json ---


def check_device(root: Record) -> None:
    """Keys of a device, and the bundle at rest."""
    for case in root.records("devices"):
        start_case(case)
        keys = device.DeviceKeys.derive(case.hex("device_key"))
        for name in ("identity_seed", "identity", "wrapping_seed", "wrapping_key", "sealing_key"):
            case.equal(name, getattr(keys, name))
        case.equal("fingerprint", device.fingerprint(keys.identity))
        case.done()
    for case in root.records("at_rest"):
        start_case(case)
        keys = device.DeviceKeys.derive(case.hex("device_key"))
        account = case.hex("account_id")
        case.equal("aad", device.bundle_aad(account, keys.identity))
        sealed = device.seal_bundle(keys, account, case.hex("nonce"), case.hex("bundle"))
        case.equal("sealed", sealed)
        case.equal("bundle", device.open_bundle(keys, account, case.hex("sealed")))
        case.done()
    for case in root.records("at_rest_refused"):
        where = start_case(case)
        keys = device.DeviceKeys.derive(case.hex("device_key"))
        refusal = refusal_of(
            device.open_bundle, keys, case.hex("account_id"), case.hex("sealed")
        )
        root.tally.true(f"{where} refused", refusal is not None)
        case.done()


# --- signatures.json ---


def check_signatures(root: Record) -> None:
    """Strict Ed25519 over a label and parts."""
    for case in root.records("valid"):
        where = start_case(case)
        label, parts = case.raw("label").encode("ascii"), case.hex_list("parts")
        case.equal("message", signing.signed_bytes(label, *parts))
        seed = case.raw("seed")
        if seed is not None:
            case.equal("public_key", ed25519_strict.public_key(bytes.fromhex(seed)))
            case.equal("signature", signing.sign(bytes.fromhex(seed), label, *parts))
        refusal = refusal_of(
            signing.verify, case.hex("public_key"), case.hex("signature"), label, *parts
        )
        root.tally.equal(f"{where} verifies", refusal, None)
        case.done()
    for case in root.records("invalid"):
        _refused_signature(case)


def _refused_signature(case: Record) -> None:
    where = start_case(case)
    label, parts = case.raw("label").encode("ascii"), case.hex_list("parts")
    key, signature = case.hex("public_key"), case.hex("signature")
    case.tally.true(
        f"{where} refused", refusal_of(signing.verify, key, signature, label, *parts) is not None
    )
    by_key = refusal_of(ed25519_strict.decode_public_key, key) is not None
    case.equal("refused", "public_key" if by_key else "signature")
    case.equal("holds_plainly", holds_plainly(key, signature, signing.signed_bytes(label, *parts)))
    case.done()


def holds_plainly(key: bytes, signature: bytes, message: bytes) -> bool:
    """Whether [S]B = R + [k]A with points that are decoded leniently and S of any size."""
    from . import edwards

    try:
        a, r = (_decode_leniently(octets) for octets in (key, signature[:32]))
    except BadEncoding:
        return False
    s = int.from_bytes(signature[32:], "little")
    k = ed25519_strict.challenge(signature[:32], key, message)
    left = edwards.multiply(s, edwards.BASE)
    return edwards.equal(left, edwards.add(r, edwards.multiply(k, a)))


def _decode_leniently(octets: bytes) -> Any:
    """y modulo p; the sign bit of x = 0 does not count."""
    from . import edwards, field

    number = int.from_bytes(octets, "little")
    sign, y = number >> 255, number % 2**255 % field.P
    for bit in (sign, 0):
        try:
            return edwards.decode((y | bit << 255).to_bytes(32, "little"))
        except BadEncoding as refusal:
            error = refusal
    raise error


CHECKS = {
    "codes": check_codes, "qr": check_qr, "objects": check_objects, "device": check_device,
    "signatures": check_signatures,
}
