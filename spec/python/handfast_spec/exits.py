"""Exit codes of the command, by outcome (constants.json, "exit_codes" and "failures")."""

from __future__ import annotations

EXITS = {
    "success": 0,
    "internal": 1,
    "usage": 2,
    "no_profile": 3,
    "profile_unwritable": 4,
    "code_typo": 5,
    "wrong_code": 6,
    "wrong_check_code": 7,
    "refused": 8,
    "peer_cancelled": 9,
    "code_expired": 10,
    "code_in_use": 11,
    "relay_unreachable": 12,
    "relay_refused": 13,
    "peer_misbehaved": 14,
    "outcome_unknown": 15,
    "bad_qr": 16,
    "bad_bundle": 17,
    "already_enrolled": 18,
    "peer_lost": 19,
    "not_recorded": 20,
    "peer_failed": 21,
    "file": 22,
    "version": 23,
    "profile_damaged": 24,
    "cancelled": 130,
}

# Outcomes whose exit code has another name.
_OTHER_NAMES = {
    "enrolled": "success",
    "unlocked": "success",
    "wrong_offer": "peer_misbehaved",
    "no_such_entry": "bad_bundle",
    "other_account": "peer_misbehaved",
    "peer_did_not_store": "peer_failed",
    "no_such_offer": "code_expired",
    "offer_in_use": "code_in_use",
    "crowded": "code_in_use",
    "expired": "code_expired",
    "claim_timed_out": "code_expired",
    "relay_forgot": "relay_refused",
    "relay_shut_down": "relay_refused",
    "relay_misbehaved": "relay_refused",
    "refused_here": "refused",
    "store_failed": "profile_unwritable",
    "wrong_bundle": "bad_bundle",
    "unknown": "outcome_unknown",
}


def of_outcome(outcome: str) -> int:
    """The exit code of a run that ended so."""
    return EXITS[_OTHER_NAMES.get(outcome, outcome)]
