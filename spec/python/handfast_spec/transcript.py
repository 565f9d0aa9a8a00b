"""The running hash of a run (protocol.md, "Transcript")."""

from __future__ import annotations

from .encoding import u8, u64
from .signing import hash_of
from .trace import note


class Transcript:
    """th: takes in each message in the order of the run."""

    def __init__(self, suite: bytes) -> None:
        self.th = note("th_start", hash_of(b"handfast/1 transcript", suite))

    def take_in(self, kind: int, body: bytes, name: str) -> bytes:
        """th through this message; `name` is only for the trace."""
        self.th = note(f"th_{name}", hash_of(self.th, u8(kind), u64(len(body)), body))
        return self.th
