"""Every file of the vectors folder is read by exactly one checker."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from . import pairings, published, refusals, roles, schema, vectors_objects
from .report import Record, Tally

PROSE = {"README.md", "published/README.md"}
SCHEMA = "schema.json"


def _frames(root: Record) -> None:
    from .frames import check_frames  # of the relay client

    check_frames(root)


SINGLE: dict[str, Callable[[Record], None]] = {**vectors_objects.CHECKS, "frames": _frames}


def check_folder(folder: Path) -> list[Tally]:
    """All checks; what no check reads is a failure, and so is a file that is missing."""
    files = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*"))
             if path.is_file()}
    tallies = published.check_folder(folder / "published")
    rest = {name: path for name, path in files.items()
            if not name.startswith("published/") and name not in PROSE}
    rules = _load_schema(rest.pop(SCHEMA, None), tallies)
    contents = {name: _parse(name, path, rules, tallies) for name, path in rest.items()}
    for kind, check in SINGLE.items():
        name = f"{kind}.json"
        if name in contents:
            tallies.append(_one(name, contents.pop(name), check))
        else:
            tallies.append(_failed(name, "the file is missing"))
    bases: dict[str, pairings.Base] = {}
    for name in sorted(n for n in contents if n.startswith("pairings/")):
        tallies.append(_one(name, contents.pop(name), lambda root: _pairing(root, bases)))
    refused_rules = frozenset(
        (content or {}).get("rule") for name, content in contents.items()
        if name.startswith("refusals/")
    ) - {None}
    for name in sorted(n for n in contents if n.startswith("refusals/")):
        tallies.append(
            _one(name, contents.pop(name), lambda root: refusals.check_refusal(root, bases))
        )
    tallies.append(roles.check_roles(bases))
    if refused_rules != refusals.rules_of_the_text():
        missing = sorted(refusals.rules_of_the_text() - refused_rules)
        tallies.append(_failed("refusals/", f"rules without a vector: {', '.join(missing)}"))
    if not bases:
        tallies.append(_failed("pairings/", "there is none"))
    for name in contents:
        tallies.append(_failed(name, "no check reads this file"))
    return tallies


def _pairing(root: Record, bases: dict[str, pairings.Base]) -> None:
    base = pairings.check_pairing(root)
    bases[base.name] = base


def _load_schema(path: Path | None, tallies: list[Tally]) -> Any:
    if path is None:
        tallies.append(_failed(SCHEMA, "the file is missing"))
        return None
    try:
        rules = json.loads(path.read_text(encoding="utf-8"))
        schema.check_schema(rules)
        return rules
    except Exception as error:
        tallies.append(_failed(SCHEMA, f"{type(error).__name__}: {error}"))
        return None


def _parse(name: str, path: Path, rules: Any, tallies: list[Tally]) -> Any:
    """The content; it must be as the schema says, and name itself as its file does."""
    try:
        content = json.loads(
            path.read_text(encoding="utf-8"), object_pairs_hook=schema.no_doubles
        )
        if rules is not None:
            schema.validate(content, rules)
    except Exception as error:
        tallies.append(_failed(name, f"schema: {type(error).__name__}: {error}"))
        return None
    return content


def _one(name: str, content: Any, check: Callable[[Record], None]) -> Tally:
    """Run the check of one file; an error in it is a failure, not a crash."""
    tally = Tally(name)
    if content is None:
        tally.fail("not read")
        return tally
    try:
        root = Record(content, Path(name).stem, tally)
        if "/" in name:
            tally.equal("name", root.raw("name"), Path(name).stem)
        else:
            tally.equal("kind", root.raw("kind"), Path(name).stem)
            root.raw("comment")  # prose
        check(root)
        root.done()
    except Exception as error:
        tally.fail(f"stopped by {type(error).__name__}: {error}")
    if tally.vectors == 0:
        tally.fail("no vector was checked")
    return tally


def _failed(name: str, why: str) -> Tally:
    tally = Tally(name)
    tally.fail(why)
    return tally
