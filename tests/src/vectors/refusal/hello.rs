//! The hellos in M1 and M2: what each side says of itself, and its signature.

use super::introduction::{cut, flip, with_kind, with_version};
use super::keys::{
    last_coefficient, low_order, modulus, no_point, second_encoding, signature_of_small_order, small_order, top_bit,
    with_x25519,
};
use super::{End, List, MISBEHAVED, MISBEHAVED_SILENTLY, Place, Role, Row};
use crate::vectors::derivation::{Run, bytes16, cat, extensions, items_request, sha256};
use crate::vectors::format::Named;

/// N's hello in M1.
const NEW_IN_ACCEPT: Place = Place { base: "code-enroll", to: Role::Trusted, after: 1 };
/// N's hello in M2.
const NEW_IN_REPLY: Place = Place { base: "qr-new-enroll", to: Role::Trusted, after: 2 };
const UNLOCK_IN_REPLY: Place = Place { base: "qr-new-unlock", to: Role::Trusted, after: 2 };
/// T's hello in M1.
const TRUSTED_IN_ACCEPT: Place = Place { base: "qr-new-enroll", to: Role::New, after: 1 };
/// T's hello in M2.
const TRUSTED_IN_REPLY: Place = Place { base: "code-enroll", to: Role::New, after: 2 };

pub(super) fn add(list: &mut List) {
    new_hello(list);
    signatures(list);
    unlock(list);
    trusted_hello(list);
    replies(list);
}

fn accept(run: Run) -> Run {
    run.offer().accept()
}

fn reply(run: Run) -> Run {
    run.offer().accept().reply()
}

fn new_hello(list: &mut List) {
    let rows: &[Row<'_>] = &[
        (["R-limit", "new-hello-name-65", "A device name of 65 bytes."], "new hello name", |_, _| bytes16(&[b'n'; 65])),
        (["R-limit", "new-hello-platform-33", "A platform of 33 bytes."], "new hello platform", |_, _| {
            bytes16(&[b'p'; 33])
        }),
        (["R-text", "new-hello-name-not-utf8", "A device name that is not UTF-8."], "new hello name", |_, _| {
            bytes16(b"lap\xfftop")
        }),
        (
            ["R-hello-request", "new-hello-items-in-enroll", "Items are asked for in an enrollment."],
            "new hello request",
            |_, _| items_request(false, &["wifi"]),
        ),
        (["R-flag", "new-hello-request-2", "Request 2 does not exist."], "new hello request", |_, _| vec![2]),
        (
            [
                "R-x25519-low-order",
                "new-hello-wrapping-key-low-order",
                "The X25519 part of the wrapping key has low order.",
            ],
            "new hello wrapping key",
            |_, key| with_x25519(key, low_order()[3].1),
        ),
        (
            [
                "R-x25519-low-order",
                "new-hello-bundle-key-low-order",
                "The X25519 part of the bundle key has low order.",
            ],
            "bundle_key",
            |_, key| with_x25519(key, low_order()[0].1),
        ),
        (
            [
                "R-x25519-low-order",
                "new-hello-bundle-key-low-order-top-bit",
                "The X25519 part of the bundle key has low order, with the top bit set.",
            ],
            "bundle_key",
            |_, key| with_x25519(key, top_bit(low_order()[5].1)),
        ),
        (
            ["R-mlkem-modulus", "new-hello-wrapping-key-modulus", "A coefficient of the wrapping key is 3329."],
            "new hello wrapping key",
            |_, key| modulus(key),
        ),
        (
            [
                "R-mlkem-modulus",
                "new-hello-bundle-key-last-coefficient",
                "The last coefficient of the bundle key is 4095.",
            ],
            "bundle_key",
            |_, key| last_coefficient(key),
        ),
        (
            ["R-hello-knows-peer", "new-hello-knows-peer-in-enroll", "knows-peer is set in an enrollment."],
            "new hello knows-peer",
            |_, _| vec![1],
        ),
        (
            ["R-extension-critical", "new-hello-extension-critical", "An extension that must be understood."],
            "new hello extensions",
            |_, _| extensions(&[(0xf0f0, b"value")]),
        ),
        (
            ["R-order", "new-hello-extensions-unsorted", "Extensions in descending order."],
            "new hello extensions",
            |_, _| extensions(&[(2, b""), (1, b"")]),
        ),
        (["R-limit", "new-hello-extensions-257", "Extensions of 257 bytes."], "new hello extensions", |_, _| {
            extensions(&[(1, &[0; 253])])
        }),
        (["R-trailing", "new-hello-trailing", "A byte after the signature."], "new_hello", |_, hello| {
            cat(&[&hello, &[0]])
        }),
        (["R-length", "new-hello-truncated", "The signature's last byte is missing."], "new_hello", |_, hello| {
            cut(hello, 1)
        }),
        (["R-padding", "new-hello-padding", "The last byte of the padding is 1."], "new padded hello", |_, padded| {
            flip(padded)
        }),
        (
            ["R-length", "new-hello-longer-than-its-padding", "The hello's length says 4095."],
            "new padded hello",
            |_, padded| cat(&[&[0x0f, 0xff], &padded[2..]]),
        ),
        (
            ["R-identity-encoding", "new-hello-identity-no-point", "The identity is no point of the curve."],
            "new hello identity",
            |_, _| no_point(),
        ),
    ];
    list.rows(NEW_IN_ACCEPT, accept, MISBEHAVED_SILENTLY, rows);
    for (index, order) in [(0, "1"), (4, "2"), (1, "8")] {
        let file = format!("new-hello-identity-order-{order}");
        let words = [
            "R-identity-small-order",
            &file,
            "The identity has small order; plain verification accepts the signature.",
        ];
        list.add(NEW_IN_ACCEPT, words, MISBEHAVED_SILENTLY, |run| accept(small_order_identity(run, "new", index)));
    }
    let in_reply: &[Row<'_>] = &[
        (
            [
                "R-reflected",
                "qr-new-hello-is-the-trusted-one",
                "The trusted device's own hello comes back, sealed for this direction.",
            ],
            "new_hello",
            |values, _| values.get("trusted_hello").to_vec(),
        ),
        (["R-trailing", "qr-new-hello-trailing", "A byte after the signature."], "new_hello", |_, hello| {
            cat(&[&hello, &[0]])
        }),
        (
            ["R-padding", "qr-new-hello-padding", "The last byte of the padding is 1."],
            "new padded hello",
            |_, padded| flip(padded),
        ),
        (
            [
                "R-x25519-low-order",
                "qr-new-hello-bundle-key-low-order",
                "The X25519 part of the bundle key has low order.",
            ],
            "bundle_key",
            |_, key| with_x25519(key, low_order()[1].1),
        ),
        (
            ["R-hello-knows-peer", "qr-new-hello-knows-peer-in-enroll", "knows-peer is set in an enrollment."],
            "new hello knows-peer",
            |_, _| vec![1],
        ),
        (
            ["R-hello-request", "qr-new-hello-items-in-enroll", "Items are asked for in an enrollment."],
            "new hello request",
            |_, _| items_request(false, &["wifi"]),
        ),
        (
            ["R-extension-critical", "qr-new-hello-extension-critical", "An extension that must be understood."],
            "new hello extensions",
            |_, _| extensions(&[(0xffff, b"")]),
        ),
    ];
    list.rows(NEW_IN_REPLY, reply, MISBEHAVED, in_reply);
}

/// An identity of small order in a hello, and a signature under it.
fn small_order_identity(run: Run, prefix: &'static str, index: usize) -> Run {
    run.set(&format!("{prefix} hello identity"), &small_order(index))
        .change(&format!("{prefix}_hello_signature"), move |values, _| {
            signature_of_small_order(index, values.get(&format!("{prefix}_hello_signed_bytes")))
        })
}

/// What is true of the signatures of both hellos.
fn signatures(list: &mut List) {
    for (place, through, end, prefix, file) in [
        (NEW_IN_ACCEPT, accept as fn(Run) -> Run, MISBEHAVED_SILENTLY, "new", "new-hello"),
        (NEW_IN_REPLY, reply, MISBEHAVED, "new", "qr-new-hello"),
        (TRUSTED_IN_REPLY, reply, MISBEHAVED, "trusted", "trusted-hello"),
        (TRUSTED_IN_ACCEPT, accept, MISBEHAVED_SILENTLY, "trusted", "qr-new-trusted-hello"),
    ] {
        let point = |what: &str| format!("{prefix} hello {what}");
        let other_label: &[u8] = match prefix {
            "new" => b"handfast/1 hello of the trusted device",
            _ => b"handfast/1 hello of the new device",
        };
        let name = |what: &str| format!("{file}-{what}");
        let words = ["R-hello-signature", &name("signed-for-another-run"), "The signature is over another transcript."];
        list.add(place, words, end, |run| {
            through(run.change(&point("transcript"), |values, _| values.get("th_start").to_vec()))
        });
        let words =
            ["R-hello-signature", &name("signed-as-the-other-role"), "The signature has the label of the other role."];
        list.add(place, words, end, |run| through(run.set(&format!("{prefix} signature label"), other_label)));
        let words =
            ["R-hello-signature", &name("signed-by-another"), "The signature is by another key than the identity."];
        list.add(place, words, end, |run| through(run.set(&point("seed"), &[7; 32])));
        let words =
            ["R-hello-signature", &name("changed-after-signing"), "One letter of the name is not what was signed."];
        let first_letter = if prefix == "new" { 2 } else { 32 + 2 + "ada@example.org".len() + 2 };
        let change = move |_: &Named, mut hello: Vec<u8>| {
            hello[first_letter] ^= 1;
            hello
        };
        list.add(place, words, end, |run| through(run.change(&format!("{prefix}_hello"), change)));
    }
}

fn unlock(list: &mut List) {
    const NAMES: [&str; 17] = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p", "q"];
    let rows: &[Row<'_>] = &[
        (
            ["R-hello-request", "unlock-hello-bundle", "The bundle is asked for in an unlock."],
            "new hello request",
            |_, _| vec![0],
        ),
        (
            ["R-request-empty", "unlock-hello-nothing", "Neither the unlock key nor an entry is asked for."],
            "new hello request",
            |_, _| items_request(false, &[]),
        ),
        (["R-limit", "unlock-hello-17-entries", "17 entries are asked for."], "new hello request", |_, _| {
            items_request(false, &NAMES)
        }),
        (["R-order", "unlock-hello-entries-unsorted", "Entries in descending order."], "new hello request", |_, _| {
            items_request(false, &["wifi", "token"])
        }),
        (["R-order", "unlock-hello-entry-twice", "The same entry twice."], "new hello request", |_, _| {
            items_request(false, &["wifi", "wifi"])
        }),
        (["R-text", "unlock-hello-entry-empty", "An entry name without a character."], "new hello request", |_, _| {
            items_request(false, &["", "wifi"])
        }),
        (["R-text", "unlock-hello-entry-blank", "An entry name of a no-break space."], "new hello request", |_, _| {
            items_request(false, &["wifi", "\u{a0}"])
        }),
        (
            ["R-text", "unlock-hello-entry-invisible", "An entry name with a zero-width space."],
            "new hello request",
            |_, _| items_request(false, &["wi\u{200b}fi"]),
        ),
        (["R-limit", "unlock-hello-entry-65", "An entry name of 65 bytes."], "new hello request", |_, _| {
            cat(&[&[1, 0, 1], &bytes16(&[b'e'; 65])])
        }),
        (
            ["R-flag", "unlock-hello-unlock-key-2", "The flag for the unlock key is 2."],
            "new hello request",
            |_, request| cat(&[&[1, 2], &request[2..]]),
        ),
    ];
    list.rows(UNLOCK_IN_REPLY, reply, MISBEHAVED, rows);
    let pinned = Place { base: "qr-new-unlock-pinned", to: Role::Trusted, after: 2 };
    let words = ["R-flag", "unlock-hello-knows-peer-2", "knows-peer is 2."];
    list.add(pinned, words, MISBEHAVED, |run| reply(run.set("new hello knows-peer", &[2])));
    let words = [
        "R-not-recorded",
        "unlock-key-for-the-unrecorded",
        "The unlock key is asked for by a device that the trusted one has not recorded; the check code is right.",
    ];
    list.add(UNLOCK_IN_REPLY, words, End::Abort("not_recorded", 4), |run| {
        reply(run.set("new hello request", &items_request(true, &["wifi"]))).check()
    });
    let words = [
        "R-no-such-entry",
        "unlock-no-such-entry",
        "An entry is asked for that the bundle does not have; the person approves.",
    ];
    list.add(UNLOCK_IN_REPLY, words, End::Abort("no_such_entry", 3), |run| {
        reply(run.set("new hello request", &items_request(false, &["router", "wifi"]))).check()
    });
    let place = Place { base: "qr-new-unlock-pinned", to: Role::New, after: 1 };
    let words = [
        "R-other-account",
        "unlock-by-another-account",
        "The trusted device names another account than the new device's own.",
    ];
    list.add(place, words, End::Silent("other_account"), |run| accept(run.set("trusted hello account", &[7; 32])));
}

fn trusted_hello(list: &mut List) {
    let rows: &[Row<'_>] = &[
        (["R-limit", "trusted-hello-label-129", "An account label of 129 bytes."], "trusted hello label", |_, _| {
            bytes16(&[b'l'; 129])
        }),
        (
            ["R-text", "trusted-hello-label-empty", "An account label without a character."],
            "trusted hello label",
            |_, _| bytes16(b""),
        ),
        (["R-text", "trusted-hello-label-blank", "An account label of spaces."], "trusted hello label", |_, _| {
            bytes16(b"   ")
        }),
        (
            ["R-text", "trusted-hello-label-bidirectional", "An account label that reverses what follows."],
            "trusted hello label",
            |_, _| bytes16("ada\u{202e}gro.elpmaxe@".as_bytes()),
        ),
        (
            ["R-text", "trusted-hello-label-control", "An account label with an escape character."],
            "trusted hello label",
            |_, _| bytes16(b"ada\x1b[2J"),
        ),
        (
            ["R-text", "trusted-hello-label-not-utf8", "An account label that is not UTF-8."],
            "trusted hello label",
            |_, _| bytes16(b"\xc0\xafada"),
        ),
        (["R-limit", "trusted-hello-name-65", "A device name of 65 bytes."], "trusted hello name", |_, _| {
            bytes16(&[b'n'; 65])
        }),
        (
            ["R-hello-commitment", "trusted-hello-commitment-in-code", "A commitment in code mode."],
            "trusted hello commitment",
            |_, _| cat(&[&[1], &sha256(&[b"handfast/1 check commitment", &[7; 32]])]),
        ),
        (
            ["R-flag", "trusted-hello-commitment-flag-2", "The flag for the commitment is 2."],
            "trusted hello commitment",
            |_, _| vec![2],
        ),
        (
            ["R-extension-critical", "trusted-hello-extension-critical", "An extension that must be understood."],
            "trusted hello extensions",
            |_, _| extensions(&[(0x8000, b"")]),
        ),
        (
            ["R-order", "trusted-hello-extension-twice", "The same extension twice."],
            "trusted hello extensions",
            |_, _| extensions(&[(1, b""), (1, b"")]),
        ),
        (["R-trailing", "trusted-hello-trailing", "A byte after the signature."], "trusted_hello", |_, hello| {
            cat(&[&hello, &[0]])
        }),
        (
            ["R-length", "trusted-hello-truncated", "The signature's last byte is missing."],
            "trusted_hello",
            |_, hello| cut(hello, 1),
        ),
        (
            ["R-padding", "trusted-hello-padding", "The first byte of the padding is 1."],
            "trusted padded hello",
            |values, mut padded| {
                padded[2 + values.get("trusted_hello").len()] = 1;
                padded
            },
        ),
        (
            [
                "R-reflected",
                "trusted-hello-is-the-new-one",
                "The new device's own hello comes back, sealed for this direction.",
            ],
            "trusted_hello",
            |values, _| values.get("new_hello").to_vec(),
        ),
        (
            [
                "R-identity-encoding",
                "trusted-hello-identity-second-encoding",
                "The identity is not the canonical encoding of its point.",
            ],
            "trusted hello identity",
            |_, _| second_encoding(),
        ),
    ];
    list.rows(TRUSTED_IN_REPLY, reply, MISBEHAVED, rows);
    for (index, order) in [(2, "4"), (7, "8")] {
        let file = format!("trusted-hello-identity-order-{order}");
        let words = [
            "R-identity-small-order",
            &file,
            "The identity has small order; plain verification accepts the signature.",
        ];
        list.add(TRUSTED_IN_REPLY, words, MISBEHAVED, |run| reply(small_order_identity(run, "trusted", index)));
    }
    let in_accept: &[Row<'_>] = &[(
        ["R-hello-commitment", "qr-new-trusted-hello-without-commitment", "No commitment in mode qr-new."],
        "trusted hello commitment",
        |_, _| vec![0],
    )];
    list.rows(TRUSTED_IN_ACCEPT, accept, MISBEHAVED_SILENTLY, in_accept);
    let qr_trusted = Place { base: "qr-trusted-enroll", to: Role::New, after: 2 };
    let words = ["R-hello-commitment", "qr-trusted-hello-with-commitment", "A commitment in mode qr-trusted."];
    list.add(qr_trusted, words, MISBEHAVED, |run| {
        reply(run.set("trusted hello commitment", &cat(&[&[1], &sha256(&[b"handfast/1 check commitment", &[7; 32]])])))
    });
}

/// M2 as a whole.
fn replies(list: &mut List) {
    let silently: &[Row<'_>] = &[
        (["R-length", "reply-truncated", "The last byte is missing."], "M2 body", |_, bytes| cut(bytes, 1)),
        (["R-length", "reply-trailing", "A byte after the end."], "M2 body", |_, bytes| cat(&[&bytes, &[0]])),
        (["R-kind", "reply-unknown-kind", "Kind 9 does not exist."], "M2 payload", |_, bytes| with_kind(bytes, 9)),
        (["R-turn", "accept-instead-of-reply", "The reply comes as an accept."], "M2 payload", |_, bytes| {
            with_kind(bytes, 2)
        }),
        (["R-reply-open", "reply-other-key", "Sealed under another key."], "reverse_key", |_, key| flip(key)),
        (["R-reply-open", "reply-other-transcript", "Bound to the transcript without M1."], "m2_aad", |values, _| {
            cat(&[values.get("th_m0"), &[3]])
        }),
        (
            ["R-reply-open", "reply-second-nonce", "Sealed as if it were the second message."],
            "reverse_base_nonce",
            |_, nonce| flip(nonce),
        ),
    ];
    list.rows(TRUSTED_IN_REPLY, reply, MISBEHAVED_SILENTLY, silently);
    let versions: &[Row<'_>] = &[
        (["R-version", "reply-version-0", "An older version."], "M2 payload", |_, bytes| with_version(bytes, 0)),
        (["R-version", "reply-version-2", "A newer version."], "M2 payload", |_, bytes| with_version(bytes, 2)),
    ];
    list.rows(TRUSTED_IN_REPLY, reply, End::Silent("version"), versions);
    let own = list.payload(TRUSTED_IN_REPLY.base, "M1");
    let sealed = own[2 + 32 + 1120..].to_vec();
    let again = list.payload(TRUSTED_IN_REPLY.base, "M0");
    let other = list.payload("code-enroll-64k", "M2");
    for (words, payload) in [
        (["R-reflected", "accept-reflected", "The reader's own accept comes back."], own),
        (
            ["R-reflected", "own-hello-as-reply", "The reader's own sealed hello comes back as a reply."],
            cat(&[&[1, 3], &sealed]),
        ),
        (["R-replay", "offer-again", "The offer comes again where M2 is due."], again),
        (["R-replay-other-run", "reply-of-another-run", "The reply of another run."], other),
    ] {
        list.inject(TRUSTED_IN_REPLY, words, vec![payload], MISBEHAVED_SILENTLY, |run| run);
    }
}
