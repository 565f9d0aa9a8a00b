"""Shows that the checks of objects, pairings and refusals can fail.

The protocol's code is broken in one place at a time; some vector must fail. With --table the
result is printed as Markdown: what was broken, how many files fail, and one of them.

Run: python prove_protocol_checks_fail.py [--table] [text to select breakages]
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from protocol_breakages import BREAKAGES, Breakage

NARROW = 40  # a breakage that more files notice says little about any of them
HERE = Path(__file__).resolve().parent
RUN = """
import sys
from pathlib import Path
from functools import cache
from handfast_spec import cpace, ed25519_strict, ml_kem, published, ristretto, vectors, x_wing
for module, names in (  # the same inputs again and again: remember the results
    (ml_kem, ("keygen", "encapsulate", "decapsulate", "check_encapsulation_key")),
    (x_wing, ("expand", "x25519")), (ed25519_strict, ("check", "public_key")),
    (cpace, ("scalar_mult", "scalar_mult_vfy", "calculate_generator")),
):
    for name in names:
        setattr(module, name, cache(getattr(module, name)))
published.check_folder = lambda folder: []
for tally in vectors.check_folder(Path(sys.argv[1])):
    if tally.failures:
        print(tally.name)
print("end")
"""


def failing_files(breakage: Breakage, scratch: Path) -> list[str]:
    """The files whose check fails when the code is broken like this."""
    work = Path(tempfile.mkdtemp(dir=scratch))
    package = work / "python" / "handfast_spec"
    shutil.copytree(
        HERE / "handfast_spec", package, ignore=shutil.ignore_patterns("__pycache__")
    )
    shutil.copy(HERE.parent / "protocol.md", work / "protocol.md")
    source = (package / breakage.file).read_text(encoding="utf-8")
    if source.count(breakage.text) != breakage.times:
        raise SystemExit(f"{breakage.file} has {source.count(breakage.text)}x {breakage.text!r}")
    changed = source.replace(breakage.text, breakage.replacement)
    (package / breakage.file).write_text(changed, encoding="utf-8")
    command = [sys.executable, "-B", "-c", RUN, str(HERE.parent / "vectors")]
    try:
        result = subprocess.run(
            command, cwd=work / "python", capture_output=True, text=True, timeout=900
        )
    except subprocess.TimeoutExpired:
        return ["(no end)"]
    finally:
        shutil.rmtree(work, ignore_errors=True)
    lines = result.stdout.split("\n")
    return [line for line in lines if line and line != "end"] or (
        [] if "end" in lines else [f"(crash: {result.stderr.strip().splitlines()[-1]})"]
    )


def main() -> int:
    """1 if any breakage goes unnoticed."""
    words = [word for word in sys.argv[1:] if word != "--table"]
    chosen = [b for b in BREAKAGES if all(word in b.what for word in words)]
    unnoticed = 0
    seen: set[str] = set()
    with tempfile.TemporaryDirectory(dir=HERE, prefix=".proof-") as folder:
        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            results = pool.map(lambda b: failing_files(b, Path(folder)), chosen)
            for breakage, failing in zip(chosen, results):
                if len(failing) <= NARROW:
                    seen.update(failing)
                best = sorted(failing, key=lambda name: ("refusals" not in name, name))
                first = best[0] if best else "**none**"
                if "--table" in sys.argv:
                    print(f"| {breakage.what} | {len(failing)} | {first} |", flush=True)
                elif not failing:
                    print(f"unnoticed: {breakage.what}", flush=True)
                unnoticed += not failing and not breakage.known
    print(f"{len(chosen)} breakages, {unnoticed} unnoticed")
    if not words:  # a refusal that no narrow one makes fail may test something else than it says
        names = {f"refusals/{path.name}" for path in (HERE.parent / "vectors/refusals").iterdir()}
        for name in sorted(names - seen):
            print(f"no narrow breakage makes it fail: {name}")
    return 1 if unnoticed else 0


if __name__ == "__main__":
    sys.exit(main())
