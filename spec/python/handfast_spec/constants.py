"""Compares constants.json with the values that this implementation uses."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from . import (
    aead, check_code, code, device, grant, hpke, interfaces, messages, new_device, objects,
    outcomes, qr, text, x_wing,
)
from .report import Record

# Sections of the relay's side and of programs; frames.py has the numbers of the frames.
ELSEWHERE = {
    "relay_limits", "client_frames", "relay_frames", "flags", "end_reasons", "error_codes",
    "limit_kinds", "slots", "peer_states", "relay_defaults", "exit_codes", "attempts", "timers",
}


def values() -> dict[str, Any]:
    """The sections as constants.json has them."""
    snake = [name.replace(" ", "_") for name in outcomes.ABORTS]
    return {
        "versions": {
            "protocol": messages.VERSION, "qr_code": qr.VERSION,
            "genesis": device.GENESIS_VERSION, "bundle_at_rest": device.BUNDLE_AT_REST_VERSION,
        },
        "suites": {" ".join(pair): s.decode() for pair, s in objects.SUITES.items()},
        "hpke": {
            "kem_id": hpke.HANDFAST.kem.kem_id, "kdf_id": hpke.HANDFAST.kdf.kdf_id,
            "aead_id": hpke.HANDFAST.aead.aead_id,
        },
        "modes": {name: number for number, name in enumerate(objects.MODES)},
        "purposes": {name: number for number, name in enumerate(objects.PURPOSES)},
        "qr_kinds": {" ".join(pair): number for number, pair in qr.KINDS.items()},
        "relay_hint_schemes": {name: number for number, name in qr.SCHEMES.items()},
        "message_kinds": {
            name: getattr(messages, name.upper()) for name in (
                "offer", "sealed_offer", "accept", "reply", "check_code", "check_request",
                "grant_chunk", "receipt", "abort",
            )
        },
        "abort_reasons": {name: number for number, name in enumerate(snake)},
        "abort_meanings": dict(zip(snake, outcomes.ABORT_MEANS)),
        "extensions": {
            "must_understand": objects.MUST_UNDERSTAND, "max_bytes": objects.EXTENSIONS_LIMIT,
        },
        "message_sizes": {
            "kem_public_key_bytes": x_wing.PUBLIC_KEY_LENGTH,
            "kem_enc_bytes": x_wing.CIPHERTEXT_LENGTH, "aead_tag_bytes": aead.TAG_LENGTH,
            "at_rest_nonce_bytes": aead.XNONCE_LENGTH, "hello_bytes": objects.HELLO_LENGTH,
            "sealed_hello_bytes": objects.HELLO_LENGTH + aead.TAG_LENGTH,
            "chunk_bytes": grant.CHUNK, "max_grant_bytes": grant.TOTAL_LIMIT,
            "max_genesis_bytes": device.GENESIS_LIMIT,
        },
        "bucket_bytes": list(grant.BUCKETS),
        "bundle_limits": {
            "max_bundle_bytes": objects.BUNDLE_LIMIT, "max_entries": objects.ENTRIES_LIMIT,
            "max_sign_in_secret_bytes": objects.SIGN_IN_SECRET_LIMIT,
            "max_requested_entries": objects.REQUESTED_ENTRIES_LIMIT,
        },
        "text_limits": {
            "account_label_bytes": text.ACCOUNT_LABEL_LIMIT,
            "device_name_bytes": text.DEVICE_NAME_LIMIT, "platform_bytes": text.PLATFORM_LIMIT,
            "entry_name_bytes": text.ENTRY_NAME_LIMIT,
        },
        "code": {
            "symbols": code.SYMBOLS, "nameplate_symbols": code.NAMEPLATE_SYMBOLS,
            "secret_symbols": code.SECRET_SYMBOLS, "alphabet": code.ALPHABET,
        },
        "check_code": {
            "digits": check_code.DIGITS, "words": check_code.WORDS, "below": check_code.BELOW,
            "modulus": check_code.MODULUS,
        },
        "qr_code": {
            "uri_prefix": qr.SCHEME_PREFIX, "max_bytes": qr.FIXED_LENGTH + 1 + qr.MAX_AUTHORITY,
            "max_digits": qr.MAX_DIGITS, "block_bytes": qr.BLOCK_OCTETS,
            "block_digits": qr.BLOCK_DIGITS, "max_authority_bytes": qr.MAX_AUTHORITY,
        },
        "close_reasons": {
            "done": outcomes.CLOSE_DONE, "cancelled": outcomes.CLOSE_CANCELLED,
            "burned": outcomes.CLOSE_BURNED, "expired": outcomes.CLOSE_EXPIRED,
            "failed": outcomes.CLOSE_FAILED,
        },
        "networks": {
            "unknown": interfaces.NETWORK_UNKNOWN, "same": interfaces.NETWORK_SAME,
            "different": interfaces.NETWORK_DIFFERENT,
        },
        "successes": list(outcomes.SUCCESSES),
    }


def labels_in_the_code() -> list[str]:
    """Every ASCII string `handfast/1 ...` of the protocol's modules."""
    found: set[str] = set()
    for path in Path(__file__).parent.glob("*.py"):
        found.update(re.findall(r'b"(handfast/1 [^"]+)"', path.read_text(encoding="utf-8")))
    return sorted(found)


def check_constants(root: Record) -> None:
    """constants.json."""
    tally = root.tally
    root.raw("comment")
    for section, value in values().items():
        tally.vectors += 1
        root.equal(section, value)
    tally.vectors += 1
    named = [*root.raw("labels").values(), *root.raw("suites").values()]
    tally.equal("labels", labels_in_the_code(), sorted(named))
    timers = root.raw("timers")
    tally.equal(
        "receipt_linger_ms", new_device.RECEIPT_LINGER_SECONDS * 1000, timers["receipt_linger_ms"]
    )
    _failures(root)
    for section in sorted(ELSEWHERE):
        root.raw(section)


def _failures(root: Record) -> None:
    """Fault, close reason and abort of every outcome."""
    failures = root.raw("failures")
    tally = root.tally
    tally.equal("failures", sorted(outcomes.FAULT_OF), sorted(failures))
    closes = ("done", "cancelled", "burned", "expired", "failed")
    for name, row in failures.items():
        tally.vectors += 1
        ended = outcomes.Ended(name)
        reason = outcomes.abort_reason(ended)
        abort = None if reason is None else outcomes.ABORTS[reason].replace(" ", "_")
        fault = outcomes.FAULT_OF.get(name, "").replace(" ", "_")
        tally.equal(f"failures.{name}.fault", fault, row["fault"])
        tally.equal(f"failures.{name}.close", closes[outcomes.close_reason(name)], row["close"])
        if name not in NEVER_WITH_A_CHANNEL:
            tally.equal(f"failures.{name}.abort", abort, row["abort"])


# No abort of these is ever sent, whatever the table says: there is no channel yet (version,
# wrong_offer), or it has the reason of its cause (unknown).
NEVER_WITH_A_CHANNEL = {"version", "wrong_offer", "unknown"}
