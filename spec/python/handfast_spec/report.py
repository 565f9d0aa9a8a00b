"""Counting comparisons, and reading vector files so that no field is overlooked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .errors import Refused


class Tally:
    """Comparisons made for one file or topic, and those that failed."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.vectors = 0
        self.comparisons = 0
        self.failures: list[str] = []
        self.skipped: list[str] = []

    def equal(self, what: str, got: object, want: object) -> None:
        """Note whether got equals want."""
        self.comparisons += 1
        if got != want:
            self.failures.append(f"{what}: got {_show(got)}, want {_show(want)}")

    def true(self, what: str, condition: bool) -> None:
        """Note whether the condition holds."""
        self.equal(what, bool(condition), True)

    def refused(
        self, what: str, action: Callable[[], object], error: type[Refused] = Refused
    ) -> None:
        """Note whether the action raises this refusal."""
        self.comparisons += 1
        try:
            action()
        except error:
            return
        except Exception as other:  # a wrong kind of failure is a failure of the check
            self.failures.append(f"{what}: {type(other).__name__} instead of {error.__name__}")
            return
        self.failures.append(f"{what}: accepted")

    def fail(self, message: str) -> None:
        """Note a failure that is no comparison."""
        self.failures.append(message)

    def line(self) -> str:
        """The one-line summary."""
        verdict = "ok" if not self.failures else f"{len(self.failures)} FAILED"
        counts = f"{self.vectors} vectors, {self.comparisons} comparisons"
        skipped = f", not checked: {'; '.join(self.skipped)}" if self.skipped else ""
        return f"{self.name}: {counts}: {verdict}{skipped}"


def _show(value: object) -> str:
    text = value.hex() if isinstance(value, bytes) else repr(value)
    return text if len(text) <= 80 else f"{text[:76]}... ({len(text)} characters)"


class Record:
    """A JSON object that knows which of its fields were read."""

    def __init__(self, fields: dict[str, Any], where: str, tally: Tally) -> None:
        self._fields = fields
        self._unread = set(fields)
        self.where = where
        self.tally = tally

    def __contains__(self, name: str) -> bool:
        return name in self._fields

    def raw(self, name: str) -> Any:
        """The value as JSON gave it."""
        self._unread.discard(name)
        return self._fields[name]

    def hex(self, name: str) -> bytes:
        """A byte string in lowercase hexadecimal."""
        return _from_hex(self.raw(name), f"{self.where}.{name}")

    def hex_list(self, name: str) -> list[bytes]:
        """A list of byte strings."""
        return [_from_hex(text, f"{self.where}.{name}") for text in self.raw(name)]

    def records(self, name: str) -> list[Record]:
        """A list of objects, never an empty one."""
        items = self.raw(name)
        if not items:
            raise ValueError(f"{self.where}.{name} is empty")
        where = f"{self.where}.{name}"
        return [Record(item, f"{where}[{i}]", self.tally) for i, item in enumerate(items)]

    def record(self, name: str) -> Record:
        """A nested object."""
        return Record(self.raw(name), f"{self.where}.{name}", self.tally)

    def skip(self, name: str, reason: str) -> None:
        """Leave a field unchecked and say why."""
        self._unread.discard(name)
        self.tally.skipped.append(f"{name} ({reason})")

    def equal(self, name: str, got: object) -> None:
        """Compare a computed value with the field of this name."""
        want = self.hex(name) if isinstance(got, bytes) else self.raw(name)
        self.tally.equal(f"{self.where}.{name}", got, want)

    def done(self) -> None:
        """Fail if a field was never read."""
        for name in sorted(self._unread):
            self.tally.fail(f"{self.where}.{name}: no check reads this field")


def _from_hex(text: str, where: str) -> bytes:
    data = bytes.fromhex(text)
    if data.hex() != text:
        raise ValueError(f"{where} is not lowercase hexadecimal")
    return data
