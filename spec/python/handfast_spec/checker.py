"""`check`: known answers, constants.json, and every file of the vectors folder."""

from __future__ import annotations

import json
import time
from pathlib import Path

from . import constants, examples, selftest, vectors
from .report import Record, Tally


def check(folder: Path) -> int:
    """Print one line per topic and file; 1 if anything does not match."""
    start = time.monotonic()
    tallies = selftest.run() + [check_constants(folder.parent / "constants.json")]
    tallies += vectors.check_folder(folder)
    if (folder.parent / "protocol.md").exists():
        tallies.append(examples.check_examples(folder.parent / "protocol.md", folder))
    for tally in tallies:
        print(tally.line())
        for failure in tally.failures:
            print(f"  {failure}")
    failed = sum(1 for tally in tallies if tally.failures)
    cases = sum(tally.vectors for tally in tallies)
    total = sum(tally.comparisons for tally in tallies)
    seconds = time.monotonic() - start
    counts = f"{len(tallies)} topics and files, {cases} vectors, {total} comparisons"
    print(f"{counts}, {seconds:.1f} s: {f'{failed} FAILED' if failed else 'all match'}")
    return 1 if failed else 0


def check_constants(path: Path) -> Tally:
    """The table of all values, if the vectors folder lies beside it."""
    tally = Tally("constants.json")
    if not path.exists():
        tally.skipped.append("there is none beside the vectors folder")
        return tally
    try:
        root = Record(json.loads(path.read_text(encoding="utf-8")), "constants", tally)
        constants.check_constants(root)
        root.done()
    except Exception as error:
        tally.fail(f"stopped by {type(error).__name__}: {error}")
    return tally
