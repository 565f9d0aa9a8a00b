//! What comes out of turn once there is a channel, the receipt, and aborts.

use super::introduction::{cut, flip, with_kind, with_version};
use super::{End, List, MISBEHAVED, PROTOCOL, Place, Role, Row};
use crate::vectors::derivation::{Run, cat};

/// N waits for the grant.
const NEW: Place = Place { base: "code-enroll", to: Role::New, after: 3 };
/// T's person is asked for approval.
const ASKED: Place = Place { base: "code-enroll", to: Role::Trusted, after: 3 };
/// T waits for the receipt.
const RECEIPT: Place = Place { base: "code-enroll", to: Role::Trusted, after: 4 };

/// The new device may hold the bundle.
const UNKNOWN: End = End::Abort("unknown", PROTOCOL);

pub(super) fn add(list: &mut List) {
    turns(list);
    receipts(list);
    aborts(list);
}

fn handshake(run: Run) -> Run {
    run.offer().accept().reply()
}

fn through_grant(run: Run) -> Run {
    handshake(run).check().grant()
}

fn turns(list: &mut List) {
    let early = handshake(list.run(ASKED)).receipt().payload("M4");
    let mut run = handshake(list.run(ASKED));
    run.sealed_message("typed", "typed", Role::New, 4, b"123456");
    let typed = run.payload("typed");
    let base = |message: &str| list.payload(ASKED.base, message);
    let (offer, accept, reply) = (base("M0"), base("M1"), base("M2"));
    let qr_accept = list.payload("qr-new-enroll", "M1");
    let qr_grant = list.payload("qr-new-enroll", "M3.0");
    let qr_trusted_accept = list.payload("qr-trusted-enroll", "M1");
    let new_awaits_digits = Place { base: "qr-new-enroll", to: Role::New, after: 3 };
    let trusted_asks_digits = Place { base: "qr-trusted-enroll", to: Role::Trusted, after: 3 };
    for (place, words, payload) in [
        (NEW, ["R-replay", "offer-again-later", "The offer again where the grant is due."], offer),
        (NEW, ["R-replay", "reply-again", "The reply again."], reply.clone()),
        (
            NEW,
            ["R-reflected", "accept-reflected-later", "The reader's own accept where the grant is due."],
            accept.clone(),
        ),
        (ASKED, ["R-replay", "accept-again", "The accept again while the person is asked."], accept),
        (ASKED, ["R-reflected", "reply-reflected", "The displayer's own reply while the person is asked."], reply),
        (ASKED, ["R-turn", "receipt-before-grant", "A receipt, well sealed, before the grant."], early),
        (ASKED, ["R-turn", "check-code-in-code", "A check code, well sealed, in code mode."], typed),
        (
            new_awaits_digits,
            ["R-replay", "qr-new-accept-again", "The accept again while the check code is asked for."],
            qr_accept,
        ),
        (
            new_awaits_digits,
            ["R-turn", "grant-before-check-code", "The grant before the check code was typed."],
            qr_grant,
        ),
        (
            trusted_asks_digits,
            ["R-replay", "qr-trusted-accept-again", "The accept again while the check code is asked for."],
            qr_trusted_accept,
        ),
    ] {
        list.inject(place, words, vec![payload], MISBEHAVED, handshake);
    }
    let words = ["R-kind", "unknown-kind-later", "Kind 9 where the grant is due."];
    let unknown = with_kind(list.payload(NEW.base, "M3.0"), 9);
    list.inject(NEW, words, vec![unknown], MISBEHAVED, handshake);
}

fn receipts(list: &mut List) {
    let rows: &[Row<'_>] = &[
        (["R-receipt", "receipt-by-another", "The receipt is signed by another key."], "receipt seed", |_, seed| {
            flip(seed)
        }),
        (
            ["R-receipt", "receipt-for-another-account", "The receipt names another account."],
            "receipt account",
            |_, id| flip(id),
        ),
        (
            ["R-receipt", "receipt-before-the-last-chunk", "The receipt is over the transcript without the grant."],
            "receipt transcript",
            |values, _| values.get("th_m2").to_vec(),
        ),
        (
            ["R-receipt", "receipt-with-another-label", "The receipt is signed as a statement is."],
            "receipt label",
            |_, _| b"handfast/1 grant signature".to_vec(),
        ),
        (["R-length", "receipt-63", "The signature's last byte is missing."], "M4 plaintext", |_, signature| {
            cut(signature, 1)
        }),
        (["R-length", "receipt-65", "A byte after the signature."], "M4 plaintext", |_, signature| {
            cat(&[&signature, &[0]])
        }),
        (
            ["R-length", "receipt-truncated", "The last byte of the sealed receipt is missing."],
            "M4 body",
            |_, bytes| cut(bytes, 1),
        ),
        (
            ["R-later-version", "receipt-version-2", "A newer version, after the handshake."],
            "M4 payload",
            |_, bytes| with_version(bytes, 2),
        ),
        (
            ["R-turn", "check-code-instead-of-receipt", "The receipt comes as a check code."],
            "M4 payload",
            |_, bytes| with_kind(bytes, 4),
        ),
    ];
    list.rows(RECEIPT, |run| through_grant(run).receipt(), UNKNOWN, rows);
    let of_chunks = Place { base: "code-enroll-64k", to: Role::Trusted, after: 8 };
    list.rows(
        of_chunks,
        |run| through_grant(run).receipt(),
        UNKNOWN,
        &[(
            [
                "R-receipt",
                "receipt-before-the-fifth-chunk",
                "The receipt is over the transcript without the last of five chunks.",
            ],
            "receipt transcript",
            |values, _| values.get("th_m3_3").to_vec(),
        )],
    );
    let words = ["R-replay-other-run", "receipt-of-another-run", "The receipt of another run."];
    list.inject(RECEIPT, words, vec![list.payload("code-enroll-64k", "M4")], UNKNOWN, through_grant);
    let words = ["R-replay", "accept-instead-of-receipt", "The accept again where the receipt is due."];
    list.inject(RECEIPT, words, vec![list.payload(RECEIPT.base, "M1")], UNKNOWN, through_grant);
}

fn aborts(list: &mut List) {
    let meanings = [
        ("refused", "refused"),
        ("cancelled", "peer_cancelled"),
        ("wrong-check-code", "wrong_check_code"),
        ("no-such-entry", "no_such_entry"),
        ("not-recorded", "not_recorded"),
        ("not-stored", "peer_did_not_store"),
        ("protocol", "peer_failed"),
        ("internal", "peer_failed"),
    ];
    for (code, (reason, outcome)) in (0..).zip(meanings) {
        let comment = format!("The peer gives up with reason {code}.");
        let early = handshake(list.run(NEW)).abort(Role::Trusted, &[code]);
        let file = format!("aborted-{reason}");
        list.inject(NEW, ["R-aborted", &file, &comment], vec![early], End::Silent(outcome), handshake);
        let late = through_grant(list.run(RECEIPT)).abort(Role::New, &[code]);
        let file = format!("aborted-after-grant-{reason}");
        let outcome = if outcome == "peer_did_not_store" { outcome } else { "unknown" };
        list.inject(RECEIPT, ["R-aborted", &file, &comment], vec![late], End::Silent(outcome), through_grant);
    }
    let cancelled = handshake(list.run(ASKED)).abort(Role::New, &[1]);
    let words = ["R-aborted", "aborted-while-asked", "The new device gives up while the person is asked for approval."];
    list.inject(ASKED, words, vec![cancelled], End::Silent("peer_cancelled"), handshake);
    for (base, file) in
        [("qr-new-enroll", "aborted-before-check-code"), ("qr-trusted-enroll", "aborted-while-digits-are-asked")]
    {
        let place = Place { base, to: Role::Trusted, after: 3 };
        let cancelled = handshake(list.run(place)).abort(Role::New, &[1]);
        let words = ["R-aborted", file, "The new device gives up before the trusted one knows the check code."];
        list.inject(place, words, vec![cancelled], End::Silent("peer_cancelled"), handshake);
    }

    let reasons: [(&str, &str, &str, &[u8]); 3] = [
        ("R-abort-reason", "abort-reason-8", "Reason 8 does not exist.", &[8]),
        ("R-abort-reason", "abort-two-bytes", "A reason of two bytes.", &[1, 0]),
        ("R-abort-reason", "abort-empty", "No reason.", &[]),
    ];
    for (rule, name, comment, reason) in reasons {
        let abort = handshake(list.run(NEW)).abort(Role::Trusted, reason);
        list.inject(NEW, [rule, name, comment], vec![abort], MISBEHAVED, handshake);
    }
    let other = list.run(NEW).change("abort aad", |values, _| cat(&[values.get("th_m1"), &[8]]));
    let abort = handshake(other).abort(Role::Trusted, &[1]);
    let words = ["R-abort-open", "abort-for-another-transcript", "The abort is bound to the transcript through M1."];
    list.inject(NEW, words, vec![abort], MISBEHAVED, handshake);
    let words = ["R-abort-open", "abort-unsealed", "The reason is not sealed."];
    list.inject(NEW, words, vec![vec![1, 8, 1]], MISBEHAVED, handshake);
    let own = handshake(list.run(NEW)).abort(Role::New, &[1]);
    let words = ["R-reflected", "abort-reflected", "An abort that is sealed in the receiver's own direction."];
    list.inject(NEW, words, vec![own], MISBEHAVED, handshake);
    let mut late = through_grant(list.run(RECEIPT).change("abort aad", |_, aad| flip(aad)));
    let late = late.abort(Role::New, &[5]);
    let words =
        ["R-abort-open", "abort-after-grant-does-not-open", "An abort that does not open, where the receipt is due."];
    list.inject(RECEIPT, words, vec![late], UNKNOWN, through_grant);
}
