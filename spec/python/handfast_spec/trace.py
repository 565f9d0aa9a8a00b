"""Named intermediate values, so that a run can be compared with the vectors.

note(name, value) returns the value. It is kept only while a trace is being made; outside of
checks nothing remembers anything.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import TypeVar

from .hpke import Context

Value = TypeVar("Value", bytes, str)

_trace: ContextVar[dict[str, bytes | str] | None] = ContextVar("trace", default=None)


def start() -> dict[str, bytes | str]:
    """Begin a trace in this context (asyncio task); the dictionary fills as the run goes on."""
    values: dict[str, bytes | str] = {}
    _trace.set(values)
    return values


def note(name: str, value: Value) -> Value:
    """The value, under the name that the specification gives it."""
    values = _trace.get()
    if values is not None:
        if values.setdefault(name, value) != value:
            raise AssertionError(f"{name} has two values in one run")
    return value


def hpke_trace(name: str, context: Context) -> None:
    """What the key schedule of RFC 9180, section 5.1, computes: `channel_...` or `grant_...`."""
    schedule = context.schedule
    hashes = schedule.key_schedule_context[1:]  # behind the mode octet
    note(f"{name}_psk_id_hash", hashes[:32])
    note(f"{name}_info_hash", hashes[32:])
    note(f"{name}_key_schedule_context", schedule.key_schedule_context)
    note(f"{name}_secret", schedule.secret)
    note(f"{name}_key", schedule.key)
    note(f"{name}_base_nonce", schedule.base_nonce)
    note(f"{name}_exporter_secret", schedule.exporter_secret)
