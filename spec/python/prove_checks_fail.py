"""Shows that `check` can fail.

1. Each leaf of each published file is changed in turn; its check must fail.
2. Files are added, removed and emptied; the check of the folder must fail.
3. The code of the primitives is broken in many places; their checks must fail.

Run: python prove_checks_fail.py
"""

from __future__ import annotations

import copy
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from handfast_spec import published


HERE = Path(__file__).resolve().parent
FOLDER = HERE.parent / "vectors" / "published"
NOT_CHECKED = {"derived_not_in_draft"}  # computed by the project, not published

# The part of `check` that is about primitives (prove_protocol_checks_fail.py is about the rest).
PRIMITIVES = """
import sys
from pathlib import Path
from handfast_spec import published, selftest
tallies = selftest.run() + published.check_folder(Path(sys.argv[1]))
sys.exit(any(tally.failures for tally in tallies))
"""

# Inputs of which another value has the same outcome: one more string that does
# not decode, and comparisons whose answer (the only output) stays the same.
SAME_OUTCOME = {
    ("cpace_ristr255_sha512.json", ("scalar_mult_vfy_invalid", 0, "Y")),
    *(
        ("cpace_string_utils.json", ("lexicographically_larger", index, side))
        for index, side in ((0, "b"), (1, "b"), (2, "a"), (3, "a"), (4, "a"), (5, "a"), (5, "b"))
    ),
}

# (file, text, replacement): each must make the command fail.
BREAKAGES = [
    ("field.py", "2**255 - 19", "2**255 - 31"),
    ("field.py", "29784752", "29784753"),
    ("field.py", "return correct_sign or flipped_sign,", "return correct_sign,"),
    ("field.py", "and x < P else None", "else None"),
    ("edwards.py", "121665", "121664"),
    ("edwards.py", "883648493", "883648491"),
    ("edwards.py", "if x == 0 and sign == 1:", "if False:"),
    ("edwards.py", "if y is None:", "if False:"),
    ("ristretto.py", "210482610430750235", "210482610430750234"),
    ("ristretto.py", "896311721017578", "896311721017579"),
    ("ristretto.py", "876111806838", "876111806839"),
    ("ristretto.py", "865137265952", "865137265953"),
    ("ristretto.py", "or is_negative(x * y) ", ""),
    ("ristretto.py", " or y == 0", ""),
    ("ristretto.py", "if not was_square or", "if"),
    ("ristretto.py", "    if is_negative(s):", "    if False:"),
    ("ristretto.py", "& (2**255 - 1)) % P", ") % P"),
    ("ristretto.py", "or (p.Y * q.Y - p.X * q.X) % P == 0", ""),
    ("ed25519_strict.py", "if s >= L:", "if False:"),
    ("ed25519_strict.py", "if edwards.is_small_order(r):", "if False:"),
    ("ed25519_strict.py", "if edwards.is_small_order(point):", "if False:"),
    ("ed25519_strict.py", "if not edwards.equal(edwards.multiply(s, BASE), "
     "edwards.add(r, edwards.multiply(k, a))):",
     "if not edwards.equal(edwards.multiply(8 * s, BASE), "
     "edwards.multiply(8, edwards.add(r, edwards.multiply(k, a)))):"),
    ("ed25519_strict.py", "r_bytes + public_key + message", "public_key + r_bytes + message"),
    ("ml_kem.py", "Q = 3329", "Q = 3331"),
    ("ml_kem.py", "3303", "3304"),
    ("ml_kem.py", "pow(17, _bit_rev7(i), Q)", "pow(17, _bit_rev7(i) + 1, Q)"),
    ("ml_kem.py", "+ bytes([K]))", ")"),
    ("ml_kem.py", "rho + bytes([j, i])", "rho + bytes([i, j])"),
    ("ml_kem.py", "            return a[:N]\n        length *= 2\n",
     "            return a[:N]\n        return (a + [0] * N)[:N]\n"),
    ("ml_kem.py", "== c else rejection_secret", "== c else shared_secret"),
    ("ml_kem.py", "_j(z + c)", "_j(c + z)"),
    ("ml_kem.py", "if again != t:", "if False:"),
    ("ml_kem.py", "if _h(ek) != h:", "if False:"),
    ("ml_kem.py", "+ Q) // (2 * Q)", ") // (2 * Q)"),
    ("ml_kem.py", "if candidate < Q:", "if candidate <= Q:"),
    ("x_wing.py", "5c2e2f2f5e5c", "5c2e2f2f5e5d"),
    ("x_wing.py", "ss_m + ss_x + ct_x + pk_x", "ss_x + ss_m + ct_x + pk_x"),
    ("x_wing.py", "    _P + 1,\n", ""),
    ("x_wing.py", "    _P - 1,\n", "    _P - 2,\n"),
    ("x_wing.py", "927233504,", "927233505,"),
    ("x_wing.py", "for top_bit in (0, 1)", "for top_bit in (0,)"),
    ("x_wing.py", "    if share in LOW_ORDER_ENCODINGS:", "    if False:"),
    ("x_wing.py", "return key.ml_kem.ek + key.x25519_public",
     "return key.x25519_public + key.ml_kem.ek"),
    ("hpke_other_suites.py", 'b"eae_prk"', 'b"eae-prk"'),
    ("hpke_other_suites.py", "enc + public_key + x25519_public(sender_key)", "enc + public_key"),
    ("hpke_other_suites.py", "prefixed(psk) + prefixed(shared_secret)", "prefixed(shared_secret)"),
    ("hpke.py", 'b"HPKE-v1"', 'b"HPKE-v2"'),
    ("hpke.py", '0x647A', '0x647B'),
    ("hpke.py", 'b"psk_id_hash"', 'b"pskid_hash"'),
    ("hpke.py", 'b"exp"', 'b"exq"'),
    ("hpke.py", 'b"sec", context', 'b"sed", context'),
    ("hpke.py", "^ self.seq", "^ 0"),
    ("hpke.py", "shared_secret, b\"secret\", psk)", "shared_secret, b\"secret\", b\"\")"),
    ("hpke.py", "if bool(psk) != mode_has_psk:", "if False:"),
    ("hpke.py", "if bool(psk) != bool(psk_id):", "if False:"),
    ("hpke.py", "PSK_LENGTH = 32", "PSK_LENGTH = 31"),
    ("hpke.py", "nonce_length) - 1:", "nonce_length):"),
    ("cpace.py", 'b"CPaceRistretto255"', 'b"CPaceRistretto256"'),
    ("cpace.py", '+ b"_ISK"', '+ b"-ISK"'),
    ("cpace.py", "HASH_BLOCK_LENGTH = 128", "HASH_BLOCK_LENGTH = 127"),
    ("cpace.py", "GROUP_SIZE_BITS = 252", "GROUP_SIZE_BITS = 253"),
    ("cpace.py", "while length >= 128:", "while length > 128:"),
    ("cpace.py", "max(0, HASH", "max(1, HASH"),
    ("cpace.py", "if peer_share == own_share:", "if False:"),
    ("cpace.py", "if k == IDENTITY_ENCODING:", "if False:"),
    ("cpace.py", "if share == IDENTITY_ENCODING:", "if False:"),
    ("cpace.py", "lv_cat(share_a, ad_a) + lv_cat(share_b, ad_b)",
     "lv_cat(share_b, ad_b) + lv_cat(share_a, ad_a)"),
    ("aead.py", "0x61707865", "0x61707866"),
    ("aead.py", "range(10)", "range(9)"),
    ("aead.py", "bytes(4) + nonce[16:]", "nonce[16:] + bytes(4)"),
    ("aead.py", "*state[0:4], *state[12:16]", "*state[0:8]"),
    ("kdf.py", "counter = 1", "counter = 0"),
    ("kdf.py", "block + info", "info + block"),
]


def leaves(value: Any, path: tuple = ()) -> Iterator[tuple]:
    """The paths of all leaves of a JSON value."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from leaves(item, path + (key,))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from leaves(item, path + (index,))
    else:
        yield path


def changed(value: Any) -> Any:
    """Another value of the same type."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if value == "":
        return "00"
    is_hex = all(c in "0123456789abcdef" for c in value)
    at = len(value) // 2 if is_hex else 0
    other = "0" if value[at] != "0" else "1"
    return value[:at] + other + value[at + 1 :]


def prove_leaves(scratch: Path) -> tuple[int, list[str]]:
    """Change every leaf, one at a time."""
    survived, count = [], 0
    for name in published.CHECKS:
        content = json.loads((FOLDER / name).read_text(encoding="utf-8"))
        for path in leaves(content):
            if path[0] in NOT_CHECKED or (name, path) in SAME_OUTCOME:
                continue
            altered = copy.deepcopy(content)
            target = altered
            for step in path[:-1]:
                target = target[step]
            target[path[-1]] = changed(target[path[-1]])
            file = scratch / name
            file.write_text(json.dumps(altered), encoding="utf-8")
            count += 1
            if not published.check_file(file, name).failures:
                survived.append(f"{name}: {path}")
    return count, survived


def prove_structure(scratch: Path) -> tuple[int, list[str]]:
    """Add, remove and shorten things."""
    survived, count = [], 0

    def expect_failure(what: str) -> None:
        nonlocal count
        count += 1
        if not any(tally.failures for tally in published.check_folder(folder)):
            survived.append(what)

    for name in published.CHECKS:
        content = json.loads((FOLDER / name).read_text(encoding="utf-8"))
        for what in ["file removed", "file empty", "field added", *_lists(content)]:
            folder = _fresh_copy(scratch)
            file = folder / name
            if what == "file removed":
                file.unlink()
            elif what == "file empty":
                file.write_text("")
            else:
                altered = copy.deepcopy(content)
                if what == "field added":
                    altered["new"] = "00"
                else:
                    target = altered
                    for step in what:
                        target = target[step]
                    target.pop()
                file.write_text(json.dumps(altered), encoding="utf-8")
            expect_failure(f"{name}: {what}")
    for extra in ("more.json", "below/more.json", "notes.txt"):
        folder = _fresh_copy(scratch)
        (folder / extra).parent.mkdir(exist_ok=True)
        (folder / extra).write_text("{}")
        expect_failure(f"unread file {extra}")
    return count, survived


def _lists(value: Any, path: tuple = ()) -> Iterator[tuple]:
    """The paths of all lists of a JSON value."""
    if isinstance(value, list):
        yield path
        for index, item in enumerate(value):
            yield from _lists(item, path + (index,))
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _lists(item, path + (key,))


def _fresh_copy(scratch: Path) -> Path:
    folder = scratch / "published"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(FOLDER, folder)
    return folder


def prove_breakages(scratch: Path) -> tuple[int, list[str]]:
    """Break the code, one place at a time, and run the whole command."""
    survived = []
    for file, text, replacement in BREAKAGES:
        package = scratch / "handfast_spec"
        shutil.rmtree(package, ignore_errors=True)
        no_cache = shutil.ignore_patterns("__pycache__")
        shutil.copytree(HERE / "handfast_spec", package, ignore=no_cache)
        source = (package / file).read_text(encoding="utf-8")
        if text not in source:
            raise SystemExit(f"{file} does not contain {text!r}")
        (package / file).write_text(source.replace(text, replacement), encoding="utf-8")
        command = [sys.executable, "-B", "-c", PRIMITIVES, str(FOLDER)]
        try:
            result = subprocess.run(command, cwd=scratch, capture_output=True, timeout=300)
            failed = result.returncode != 0
        except subprocess.TimeoutExpired:
            failed = True
        if not failed:
            survived.append(f"{file}: {text!r} -> {replacement!r}")
    return len(BREAKAGES), survived


def main() -> int:
    """Run the three parts; 1 if any change goes unnoticed."""
    unnoticed = 0
    for prove in (prove_leaves, prove_structure, prove_breakages):
        with tempfile.TemporaryDirectory(dir=HERE, prefix=".proof-") as scratch:
            count, survived = prove(Path(scratch))
        print(f"{prove.__name__}: {count} changes, {len(survived)} unnoticed", flush=True)
        for line in survived:
            print(f"  {line}")
        unnoticed += len(survived)
    return 1 if unnoticed else 0


if __name__ == "__main__":
    sys.exit(main())
