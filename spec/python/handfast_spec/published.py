"""Checks against the published vectors: every vector, every field."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from . import cpace, hpke, ristretto, x_wing
from .errors import BadEncoding, CPaceAbort
from .hpke_other_suites import suite_by_ids
from .report import Record, Tally

# Numbers that the drafts and the RFC give; the files must not lose any.
X_WING_VECTORS = 3
HPKE_PQ_VECTORS = 3
HPKE_PQ_ENCRYPTIONS = 10
HPKE_PQ_EXPORTS = 5
HPKE_X25519_MODES = [0, 1, 2, 3]
HPKE_X25519_SEQS = [0, 1, 2, 4, 255, 256]
HPKE_X25519_EXPORTS = 3

CPACE_SOURCE = "draft-irtf-cfrg-cpace-21 (cfrg/draft-irtf-cfrg-cpace @ 8fb4056e"
X_WING_SOURCE = "draft-connolly-cfrg-xwing-kem-10 ("
HPKE_PQ_SOURCE = "draft-ietf-hpke-pq-04+ (hpkewg/hpke-pq @74dafaa6"
HPKE_X25519_SOURCE = "as hpke_x25519_sha256_chacha.json; encryptions reduced"


def _source(root: Record, start: str) -> None:
    """The file says where it comes from."""
    root.tally.true(f"source starts with {start!r}", root.raw("source").startswith(start))


# --- X-Wing ---


def check_xwing(root: Record) -> None:
    """xwing.json: key generation, encapsulation and decapsulation."""
    _source(root, X_WING_SOURCE)
    vectors = root.records("vectors")
    root.tally.equal("number of vectors", len(vectors), X_WING_VECTORS)
    for vector in vectors:
        root.tally.vectors += 1
        seed = vector.hex("seed")
        vector.equal("sk", seed)
        vector.equal("pk", x_wing.public_key(seed))
        shared_secret, ciphertext = x_wing.encapsulate(vector.hex("pk"), vector.hex("eseed"))
        vector.equal("ct", ciphertext)
        vector.equal("ss", shared_secret)
        vector.equal("ss", x_wing.decapsulate(seed, vector.hex("ct")))
        vector.done()


# --- HPKE ---


def check_hpke_pq(root: Record) -> None:
    """hpke_pq_xwing.json: base mode with X-Wing, and with ML-KEM-768 alone."""
    _source(root, HPKE_PQ_SOURCE)
    vectors = root.records("vectors")
    root.tally.equal("number of vectors", len(vectors), HPKE_PQ_VECTORS)
    for vector in vectors:
        suite = _suite(vector)
        vector.equal("suite_id", suite.suite_id)
        vector.equal("mode", hpke.MODE_BASE)
        secret, public = suite.kem.derive_key_pair(vector.hex("ikmR"))
        vector.equal("skRm", secret)
        vector.equal("pkRm", public)

        # "info" and "pt" are ASCII text that looks like hexadecimal; they are used as they are.
        info = vector.hex("info")
        enc, sender = hpke.setup_base_sender(vector.hex("pkRm"), info, vector.hex("ikmE"), suite)
        recipient = hpke.setup_base_recipient(vector.hex("enc"), vector.hex("skRm"), info, suite)
        vector.equal("enc", enc)
        vector.equal("shared_secret", suite.kem.encap(public, vector.hex("ikmE"))[0])
        _schedules(vector, sender, recipient, with_intermediates=False)

        encryptions = vector.records("encryptions")
        root.tally.equal(f"{vector.where}: encryptions", len(encryptions), HPKE_PQ_ENCRYPTIONS)
        for case in encryptions:  # in sequence, from number 0
            _encryption(case, sender, recipient)
        _exports(vector, sender, recipient, HPKE_PQ_EXPORTS)
        vector.done()


def check_hpke_x25519(root: Record) -> None:
    """hpke_x25519_sha256_chacha_small.json: RFC 9180 A.2, all four modes."""
    _source(root, HPKE_X25519_SOURCE)
    vectors = root.records("vectors")
    modes = [vector.raw("mode") for vector in vectors]
    root.tally.equal("modes", modes, HPKE_X25519_MODES)
    for vector in vectors:
        suite = _suite(vector)
        sender, recipient = _setup_x25519(vector, suite)
        _schedules(vector, sender, recipient, with_intermediates=True)

        encryptions = vector.records("encryptions")
        seqs = [case.raw("seq") for case in encryptions]
        root.tally.equal(f"{vector.where}: sequence numbers", seqs, HPKE_X25519_SEQS)
        for case, seq in zip(encryptions, seqs):
            sender.seq = recipient.seq = seq
            _encryption(case, sender, recipient)
        _exports(vector, sender, recipient, HPKE_X25519_EXPORTS)
        vector.done()


def _suite(vector: Record) -> hpke.Suite:
    return suite_by_ids(vector.raw("kem_id"), vector.raw("kdf_id"), vector.raw("aead_id"))


def _setup_x25519(
    vector: Record, suite: hpke.Suite
) -> tuple[hpke.SenderContext, hpke.RecipientContext]:
    """Derive all key pairs, then set up in the mode of the vector."""
    kem = suite.kem
    mode = vector.raw("mode")
    for party in ("R", "E", "S") if mode in (2, 3) else ("R", "E"):
        secret, public = kem.derive_key_pair(vector.hex(f"ikm{party}"))
        vector.equal(f"sk{party}m", secret)
        vector.equal(f"pk{party}m", public)
    public_r, secret_r = vector.hex("pkRm"), vector.hex("skRm")
    info, enc, ikm_e = vector.hex("info"), vector.hex("enc"), vector.hex("ikmE")
    psk = (vector.hex("psk"), vector.hex("psk_id")) if mode in (1, 3) else (b"", b"")

    if mode in (2, 3):  # these modes are not in hpke.py: only the KEM step differs
        secret, got_enc = kem.auth_encap(public_r, vector.hex("skSm"), ikm_e)
        opened = kem.auth_decap(enc, secret_r, vector.hex("pkSm"))
        vector.equal("shared_secret", opened)
        sender = hpke.SenderContext(suite, hpke.key_schedule(suite, mode, secret, info, *psk))
        recipient = hpke.RecipientContext(suite, hpke.key_schedule(suite, mode, opened, info, *psk))
    elif mode == hpke.MODE_PSK:
        got_enc, sender = hpke.setup_psk_sender(public_r, info, *psk, ikm_e, suite)
        recipient = hpke.setup_psk_recipient(enc, secret_r, info, *psk, suite)
        vector.equal("shared_secret", kem.decap(enc, secret_r))
    else:
        got_enc, sender = hpke.setup_base_sender(public_r, info, ikm_e, suite)
        recipient = hpke.setup_base_recipient(enc, secret_r, info, suite)
        vector.equal("shared_secret", kem.decap(enc, secret_r))
    vector.equal("enc", got_enc)
    return sender, recipient


def _schedules(
    vector: Record, sender: hpke.Context, recipient: hpke.Context, with_intermediates: bool
) -> None:
    """Both sides derive the published keys."""
    names = ["key", "base_nonce", "exporter_secret"]
    if with_intermediates:
        names += ["key_schedule_context", "secret"]
    for name in names:
        vector.equal(name, getattr(sender.schedule, name))
        vector.equal(name, getattr(recipient.schedule, name))


def _encryption(
    case: Record, sender: hpke.SenderContext, recipient: hpke.RecipientContext
) -> None:
    """Seal and open at the current sequence number."""
    case.tally.vectors += 1
    aad = case.hex("aad")
    case.equal("nonce", sender.compute_nonce())
    case.equal("nonce", recipient.compute_nonce())
    seq = sender.seq
    case.equal("ct", sender.seal(aad, case.hex("pt")))
    case.equal("pt", recipient.open(aad, case.hex("ct")))
    case.tally.equal(f"{case.where}: next number", (sender.seq, recipient.seq), (seq + 1, seq + 1))
    case.done()


def _exports(vector: Record, sender: hpke.Context, recipient: hpke.Context, count: int) -> None:
    exports = vector.records("exports")
    vector.tally.equal(f"{vector.where}: exports", len(exports), count)
    for case in exports:
        case.tally.vectors += 1
        context, length = case.hex("exporter_context"), case.raw("L")
        case.equal("exported_value", sender.export(context, length))
        case.equal("exported_value", recipient.export(context, length))
        case.done()


# --- CPace ---


def check_cpace(root: Record) -> None:
    """cpace_ristr255_sha512.json: a whole run, and scalar_mult_vfy."""
    root.tally.vectors += 1
    _source(root, CPACE_SOURCE)
    root.equal("suite", "CPACE-RISTR255-SHA512")
    root.equal("hash", "SHA-512")
    root.equal("encoding", "hex lowercase")
    root.equal("s_in_bytes", cpace.HASH_BLOCK_LENGTH)
    root.equal("DSI", cpace.DSI)
    root.equal("DSI_ascii", cpace.DSI.decode())
    root.skip("derived_not_in_draft", "computed, not published")

    prs, ci, sid = root.hex("PRS"), root.hex("CI"), root.hex("sid")
    root.equal("len_zpad", cpace.zero_padding_length(prs))
    generator_string = cpace.generator_string(prs, ci, sid)
    root.equal("generator_string", generator_string)
    root.equal("generator_string_hash", cpace._hash(generator_string))
    root.equal("g", ristretto.encode(cpace.calculate_generator(prs, ci, sid)))

    scalar_a, share_a = cpace.make_share(prs, ci, sid, root.hex("ya"))
    scalar_b, share_b = cpace.make_share(prs, ci, sid, root.hex("yb"))
    root.equal("ya", scalar_a)
    root.equal("yb", scalar_b)
    root.equal("Ya", share_a)
    root.equal("Yb", share_b)
    root.equal("K", cpace.shared_point(scalar_a, share_a, root.hex("Yb")))
    root.equal("K", cpace.shared_point(scalar_b, share_b, root.hex("Ya")))

    sides = (root.hex("Ya"), root.hex("ADa"), root.hex("Yb"), root.hex("ADb"))
    k = root.hex("K")
    transcript_ir, transcript_oc = cpace.transcript_ir(*sides), cpace.transcript_oc(*sides)
    root.equal("transcript_ir", transcript_ir)
    root.equal("transcript_oc", transcript_oc)
    root.equal("ISK_IR", cpace.isk_initiator_responder(sid, k, *sides))
    root.equal("ISK_SY", cpace.isk(sid, k, transcript_oc))
    root.equal("sid_output_ir", cpace.sid_output(transcript_ir))
    root.equal("sid_output_oc", cpace.sid_output(transcript_oc))
    _scalar_mult_vfy(root, scalar_a, share_a)


def _scalar_mult_vfy(root: Record, own_scalar: bytes, own_share: bytes) -> None:
    valid = root.record("scalar_mult_vfy_valid")
    root.tally.vectors += 1
    scalar, share = valid.hex("s"), valid.hex("X")
    valid.equal("scalar_mult", cpace.scalar_mult(scalar, ristretto.decode(share)))
    valid.equal("scalar_mult_vfy", cpace.scalar_mult_vfy(scalar, share))
    valid.done()

    kinds = []
    for case in root.records("scalar_mult_vfy_invalid"):
        root.tally.vectors += 1
        share = case.hex("Y")
        case.equal("kind", _kind_of_share(share))
        kinds.append(case.raw("kind"))
        case.equal("result", "identity: MUST abort")
        got = cpace.scalar_mult_vfy(scalar, share)
        root.tally.equal(f"{case.where}: gives G.I", got, cpace.IDENTITY_ENCODING)
        root.tally.refused(
            f"{case.where}: aborts",
            lambda share=share: cpace.shared_point(own_scalar, own_share, share),
            CPaceAbort,
        )
        case.done()
    root.tally.equal("kinds", kinds, ["does not decode", "identity encoding G.I"])


def _kind_of_share(share: bytes) -> str:
    try:
        point = ristretto.decode(share)
    except BadEncoding:
        return "does not decode"
    return "identity encoding G.I" if ristretto.equal(point, ristretto.IDENTITY) else "valid"


def check_cpace_strings(root: Record) -> None:
    """cpace_string_utils.json: lengths, concatenation, order, transcripts."""
    _source(root, CPACE_SOURCE)
    expected = {"prepend_len": 4, "lv_cat": 1, "o_cat": 2, "transcript_ir": 2,
                "transcript_oc": 2, "lexicographically_larger": 6}
    for name, count in expected.items():
        function = getattr(cpace, name)
        cases = root.records(name)
        root.tally.equal(f"{name}: number of cases", len(cases), count)
        for case in cases:
            root.tally.vectors += 1
            if name == "prepend_len":
                case.equal("out", function(case.hex("in")))
            elif name == "lv_cat":
                case.equal("out", function(*case.hex_list("in")))
            elif name == "o_cat":
                case.equal("out", function(case.hex("a"), case.hex("b")))
            elif name == "lexicographically_larger":
                case.equal("larger", function(case.hex("a"), case.hex("b")))
            else:
                case.equal("out", function(*(case.hex(x) for x in ("Ya", "ADa", "Yb", "ADb"))))
            case.done()


# --- all files ---

CHECKS: dict[str, Callable[[Record], None]] = {
    "cpace_ristr255_sha512.json": check_cpace,
    "cpace_string_utils.json": check_cpace_strings,
    "hpke_pq_xwing.json": check_hpke_pq,
    "hpke_x25519_sha256_chacha_small.json": check_hpke_x25519,
    "xwing.json": check_xwing,
}
NOT_VECTORS = {"README.md"}


def check_file(path: Path, name: str) -> Tally:
    """Run the check of one file; an error in it is a failure, not a crash."""
    tally = Tally(f"published/{name}")
    if name not in CHECKS:
        tally.fail("no check reads this file")
        return tally
    try:
        root = Record(json.loads(path.read_text(encoding="utf-8")), name, tally)
        CHECKS[name](root)
        root.done()
    except Exception as error:
        tally.fail(f"stopped by {type(error).__name__}: {error}")
    if tally.vectors == 0:
        tally.fail("no vector was checked")
    return tally


def check_folder(folder: Path) -> list[Tally]:
    """Check every file below the folder; all expected files must be there."""
    present = {
        path.relative_to(folder).as_posix(): path
        for path in folder.rglob("*")
        if path.is_file() and path.relative_to(folder).as_posix() not in NOT_VECTORS
    }
    tallies = []
    for name in sorted(set(CHECKS) | set(present)):
        if name in present:
            tallies.append(check_file(present[name], name))
        else:
            missing = Tally(f"published/{name}")
            missing.fail("the file is missing")
            tallies.append(missing)
    return tallies
