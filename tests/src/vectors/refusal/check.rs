//! The check code: what is typed, when it is asked for, and the number in the grant that proves it.

use super::introduction::{flip, with_version};
use super::{Change, End, List, MISBEHAVED, Place, Role, Row};
use crate::vectors::derivation::{Run, cat};

/// M2c at T.
const TYPED: Place = Place { base: "qr-new-enroll", to: Role::Trusted, after: 3 };
/// The grant at N, which has typed.
const GRANT: Place = Place { base: "qr-new-enroll", to: Role::New, after: 4 };
/// The grant at N, which has typed nothing.
const PINNED_GRANT: Place = Place { base: "qr-new-unlock-pinned", to: Role::New, after: 3 };

const WRONG_CHECK_CODE: End = End::Abort("wrong_check_code", 2);

pub(super) fn add(list: &mut List) {
    typed(list);
    requests(list);
    openings(list);
}

fn handshake(run: Run) -> Run {
    run.offer().accept().reply()
}

fn check(run: Run) -> Run {
    handshake(run).check()
}

fn grant(run: Run) -> Run {
    check(run).grant()
}

/// Six other digits.
fn other_digits(mut digits: Vec<u8>) -> Vec<u8> {
    digits[5] = if digits[5] == b'9' { b'0' } else { digits[5] + 1 };
    digits
}

fn typed(list: &mut List) {
    let place = Place { base: "qr-trusted-enroll", to: Role::Trusted, after: 3 };
    let wrong = list.base(place.base).values.get("check_code").to_vec();
    let wrong = String::from_utf8(other_digits(wrong)).unwrap();
    let words =
        ["R-check-code", "qr-trusted-wrong-digits", "The person types another last digit on the trusted device."];
    list.inject(place, words, Vec::new(), WRONG_CHECK_CODE, handshake);
    list.last().change = Some(Change::TypedCheckCode(wrong));

    list.rows(
        TYPED,
        check,
        WRONG_CHECK_CODE,
        &[(
            ["R-check-code", "qr-new-wrong-digits", "The new device sends another last digit."],
            "M2c plaintext",
            |_, digits| other_digits(digits),
        )],
    );
    let rows: &[Row<'_>] = &[
        (["R-check-code-format", "check-code-five-digits", "Five digits."], "M2c plaintext", |_, digits| {
            digits[..5].to_vec()
        }),
        (["R-check-code-format", "check-code-seven-digits", "Seven digits."], "M2c plaintext", |_, digits| {
            cat(&[&digits, b"0"])
        }),
        (["R-check-code-format", "check-code-letter", "A letter among the digits."], "M2c plaintext", |_, digits| {
            cat(&[&digits[..5], b"O"])
        }),
        (["R-check-code-format", "check-code-empty", "Nothing was typed."], "M2c plaintext", |_, _| Vec::new()),
        (["R-length", "check-code-trailing", "A byte after the end."], "M2c body", |_, bytes| cat(&[&bytes, &[0]])),
        (["R-length", "check-code-without-tag", "Shorter than a tag."], "M2c body", |_, bytes| bytes[..6].to_vec()),
        (
            ["R-later-version", "check-code-version-2", "A newer version, after the handshake."],
            "M2c payload",
            |_, bytes| with_version(bytes, 2),
        ),
    ];
    list.rows(TYPED, check, MISBEHAVED, rows);

    let place = Place { after: 4, ..TYPED };
    let words = ["R-replay", "check-code-again", "The check code comes again while the person is asked for approval."];
    list.inject(place, words, vec![list.payload(place.base, "M2c")], MISBEHAVED, check);
    let words = ["R-turn", "receipt-instead-of-check-code", "A receipt, well sealed, where the check code is due."];
    let receipt = handshake(list.run(TYPED)).receipt().payload("M4");
    list.inject(TYPED, words, vec![receipt], MISBEHAVED, handshake);
}

fn requests(list: &mut List) {
    let sealed = |run: Run| {
        let mut run = run;
        run.sealed_message("request", "request", Role::Trusted, 5, b"");
        run.payload("request")
    };
    for (base, file, comment) in [
        ("code-enroll", "check-request-in-code", "A check code is asked for in code mode."),
        ("qr-trusted-enroll", "check-request-in-qr-trusted", "A check code is asked for of the device that shows it."),
        ("qr-new-enroll", "check-request-in-enroll", "The check code that is due anyway is asked for."),
        (
            "qr-new-unlock",
            "check-request-without-knows-peer",
            "The check code is asked for although knows-peer is not set.",
        ),
    ] {
        let place = Place { base, to: Role::New, after: 3 };
        let request = sealed(handshake(list.run(place)));
        list.inject(place, ["R-check-request", file, comment], vec![request], MISBEHAVED, handshake);
    }
    let asked = Place { base: "qr-new-unlock-asked", to: Role::New, after: 3 };
    let words = ["R-check-request", "check-request-twice", "The check code is asked for again before it is typed."];
    let mut run = handshake(list.run(asked));
    run.sealed_message("first", "first", Role::Trusted, 5, b"");
    let second = sealed(run);
    list.inject(Place { after: 4, ..asked }, words, vec![second.clone()], MISBEHAVED, handshake);
    let words =
        ["R-check-request", "check-request-after-typing", "The check code is asked for again after it was typed."];
    let again = sealed(check(list.run(asked)));
    list.inject(Place { after: 5, ..asked }, words, vec![again], MISBEHAVED, check);
    let words = ["R-replay", "check-request-again", "The request for the check code comes again."];
    let again = list.payload(asked.base, "CheckRequest");
    list.inject(Place { after: 4, ..asked }, words, vec![again], MISBEHAVED, handshake);
    let words = [
        "R-check-request",
        "check-request-after-the-first-chunk",
        "The check code is asked for after the first of two chunks.",
    ];
    let place = Place { after: 4, ..PINNED_GRANT };
    let request = sealed(handshake(list.run(place)).recut(|chunks| chunks[..1].to_vec()).grant());
    list.inject(place, words, vec![request], MISBEHAVED, handshake);
    let rows: &[Row<'_>] = &[
        (
            ["R-length", "check-request-with-content", "A request with one byte in it."],
            "CheckRequest plaintext",
            |_, _| vec![0],
        ),
        (["R-length", "check-request-truncated", "The last byte is missing."], "CheckRequest body", |_, bytes| {
            bytes[..15].to_vec()
        }),
    ];
    for row in rows {
        let run = check(list.run(asked).change(row.1, row.2));
        let request = run.payload("CheckRequest");
        list.inject(asked, row.0, vec![request], MISBEHAVED, handshake);
    }
}

fn openings(list: &mut List) {
    let rows: &[Row<'_>] = &[
        (
            ["R-opening", "opening-of-another-commitment", "The number in the grant does not open the commitment."],
            "grant opening",
            |_, opening| flip(opening),
        ),
        (["R-opening-presence", "opening-missing", "No opening in mode qr-new."], "grant opening", |_, _| vec![0]),
        (["R-flag", "opening-flag-2", "The flag for the opening is 2."], "grant opening", |_, opening| {
            cat(&[&[2], &opening[1..]])
        }),
    ];
    list.rows(GRANT, grant, MISBEHAVED, rows);
    list.rows(
        PINNED_GRANT,
        grant,
        MISBEHAVED,
        &[(
            [
                "R-opening",
                "opening-of-another-commitment-pinned",
                "No check code was typed; the number in the grant does not open the commitment.",
            ],
            "grant opening",
            |_, opening| flip(opening),
        )],
    );
    let place = Place { base: "code-enroll", to: Role::New, after: 3 };
    let words = ["R-opening-presence", "opening-missing-pinned", "No opening where no digits were typed either."];
    list.add(PINNED_GRANT, words, MISBEHAVED, |run| grant(run.set("grant opening", &[0])));
    let words = ["R-opening-presence", "opening-in-code", "An opening in code mode."];
    list.add(place, words, MISBEHAVED, |run| grant(run.set("grant opening", &[1; 33])));

    let place = Place { after: 3, ..GRANT };
    let wrong = list.base(place.base).values.get("check_code").to_vec();
    let wrong = other_digits(wrong);
    let words = [
        "R-opening-digits",
        "opening-of-other-digits",
        "Other digits were typed on the new device; the trusted one grants all the same.",
    ];
    list.add(place, words, MISBEHAVED, |run| grant(run.set("M2c plaintext", &wrong)));
    list.last().change = Some(Change::TypedCheckCode(String::from_utf8(wrong).unwrap()));
}
