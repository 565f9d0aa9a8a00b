"""The examples in protocol.md are values of the vectors: no other octet, no other length."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from .report import Tally

BLOCK = re.compile(r"(?ms)^```vector (\S+)\n(.*?)^```$")
LINE = re.compile(r"(\S+)\s+= (.+)")
CUT = re.compile(r"([0-9a-f]+)…([0-9a-f]+) \((\d+) octets\)")


def check_examples(text: Path, vectors: Path) -> Tally:
    """Every line of every block ```vector FILE."""
    tally = Tally("examples in protocol.md")
    for name, lines in BLOCK.findall(text.read_text(encoding="utf-8")):
        content = json.loads((vectors / name).read_text(encoding="utf-8"))
        for line in lines.splitlines():
            if line.startswith(";"):
                continue
            tally.vectors += 1
            match = LINE.fullmatch(line)
            if match is None:
                tally.fail(f"{name}: cannot read {line!r}")
                continue
            path, shown = match.groups()
            tally.true(f"{name}: {line[:100]}", _is_shown(_find(content, path), shown))
    return tally


def _find(content: Any, path: str) -> Any:
    for step in path.split("."):
        content = content[int(step) if isinstance(content, list) else step]
    return content


def _is_shown(value: Any, shown: str) -> bool:
    """Hexadecimal, perhaps cut; a number; or text in quotes: the value, or its octets."""
    cut = CUT.fullmatch(shown)
    if cut:
        start, end, octets = cut.groups()
        return value.startswith(start) and value.endswith(end) and len(value) == 2 * int(octets)
    if shown.startswith('"'):
        text = shown.strip('"')
        return value in (text, text.encode("ascii").hex())
    return str(value) == shown
