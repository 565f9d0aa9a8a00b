//! M0, and M1 up to the hello: the offer, CPace, the keys of the channel.

use super::keys::{last_coefficient, low_order, modulus, top_bit, with_x25519};
use super::{Change, End, List, MISBEHAVED_SILENTLY, Place, Role, Row};
use crate::vectors::derivation::{Run, cat, cpace_generator_string, cpace_k, cpace_scalar, extensions, kdf};

/// The offer at the reader.
const OFFER: Place = Place { base: "code-enroll", to: Role::New, after: 0 };
const QR_NEW_OFFER: Place = Place { base: "qr-new-enroll", to: Role::Trusted, after: 0 };
const QR_TRUSTED_OFFER: Place = Place { base: "qr-trusted-enroll", to: Role::New, after: 0 };
/// The reader's answer at the displayer.
const ACCEPT: Place = Place { base: "code-enroll", to: Role::Trusted, after: 1 };
const QR_TRUSTED_ACCEPT: Place = Place { base: "qr-trusted-enroll", to: Role::Trusted, after: 1 };
const QR_NEW_ACCEPT: Place = Place { base: "qr-new-enroll", to: Role::New, after: 1 };

const WRONG_CODE: End = End::Silent("wrong_code");
const WRONG_OFFER: End = End::Silent("wrong_offer");
const VERSION: End = End::Silent("version");

pub(super) fn add(list: &mut List) {
    shares(list);
    keys(list);
    offers(list);
    qr_offers(list);
    accepts(list);
}

fn shares(list: &mut List) {
    let bad: [(&str, &str, &str, &str); 5] = [
        ("R-share-identity", "identity", "the identity", "00"),
        (
            "R-share-undecodable",
            "modulus",
            "not canonical: the field's modulus",
            "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        ),
        (
            "R-share-undecodable",
            "negative",
            "a negative field element",
            "0100000000000000000000000000000000000000000000000000000000000000",
        ),
        (
            "R-share-undecodable",
            "no-square",
            "no square root exists",
            "26948d35ca62e643e26a83177332e6b6afeb9d08e4268b650f1f5bbd8d81d371",
        ),
        (
            "R-share-undecodable",
            "y-zero",
            "y is zero",
            "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        ),
    ];
    for (rule, name, comment, share) in bad {
        let mut share = hex::decode(share).unwrap();
        share.resize(32, 0);
        let offer = format!("offer-share-{name}");
        let words = [rule, &offer, &format!("The displayer's share: {comment}.")];
        list.add(OFFER, words, MISBEHAVED_SILENTLY, |run| run.set("offer share", &share).offer());
        let accept = format!("accept-share-{name}");
        let words = [rule, &accept, &format!("The reader's share: {comment}.")];
        list.add(ACCEPT, words, WRONG_CODE, |run| run.set("reader_share", &share).offer().accept());
    }
    let own = list.base(OFFER.base).values.get("reader_share").to_vec();
    let words =
        ["R-share-reflected", "offer-share-reflected", "The displayer's share is the one that the reader makes."];
    list.add(OFFER, words, MISBEHAVED_SILENTLY, |run| run.set("offer share", &own).offer());
    list.rows(
        ACCEPT,
        |run| run.offer().accept(),
        WRONG_CODE,
        &[(
            [
                "R-share-reflected",
                "accept-share-reflected",
                "The reader's share is the displayer's own, sealed under what that leads to.",
            ],
            "reader_share",
            |values, _| values.get("displayer_share").to_vec(),
        )],
    );
    let base = list.base(ACCEPT.base).clone();
    let words =
        ["R-wrong-code", "accept-wrong-code", "One secret symbol of the code is another; the reader does not know it."];
    list.add(ACCEPT, words, WRONG_CODE, |run| {
        let nonce = base.random.get("offer_nonce").to_vec();
        let scalar = cpace_scalar(base.random.get("reader_scalar"));
        run.change("reader generator string", move |values, _| {
            let mut prs = values.get("secret_symbols").to_vec();
            prs[6] = if prs[6] == b'7' { b'8' } else { b'7' };
            cpace_generator_string(&prs, values.get("cpace_ci"), &nonce)
        })
        .change("cpace_k", move |values, _| cpace_k(&scalar, values.get("displayer_share")))
        .offer()
        .accept()
    });
}

fn keys(list: &mut List) {
    for (name, point) in low_order() {
        let file = format!("offer-key-low-order-{name}");
        let words = ["R-x25519-low-order", &file, "The X25519 part of the offer's key has low order."];
        list.add(OFFER, words, MISBEHAVED_SILENTLY, |run| {
            run.change("offer_kem_key", move |_, key| with_x25519(key, point)).offer()
        });
        let file = format!("offer-key-low-order-{name}-top-bit");
        let words = ["R-x25519-low-order", &file, "The same point with the top bit set."];
        list.add(OFFER, words, MISBEHAVED_SILENTLY, |run| {
            run.change("offer_kem_key", move |_, key| with_x25519(key, top_bit(point))).offer()
        });
    }
    list.rows(
        OFFER,
        Run::offer,
        MISBEHAVED_SILENTLY,
        &[
            (
                ["R-mlkem-modulus", "offer-key-modulus", "The first coefficient of the offer's ML-KEM key is 3329."],
                "offer_kem_key",
                |_, key| modulus(key),
            ),
            (
                [
                    "R-mlkem-modulus",
                    "offer-key-last-coefficient",
                    "The last coefficient of the offer's ML-KEM key is 4095.",
                ],
                "offer_kem_key",
                |_, key| last_coefficient(key),
            ),
        ],
    );
    let points = low_order();
    let enc: [(&str, Place, End, [u8; 32]); 4] = [
        ("code-zero", ACCEPT, WRONG_CODE, points[0].1),
        ("code-order-8-top-bit", ACCEPT, WRONG_CODE, top_bit(points[2].1)),
        ("qr-trusted-p-minus-1", QR_TRUSTED_ACCEPT, MISBEHAVED_SILENTLY, points[4].1),
        ("qr-new-p-plus-1-top-bit", QR_NEW_ACCEPT, MISBEHAVED_SILENTLY, top_bit(points[6].1)),
    ];
    for (name, place, end, point) in enc {
        let file = format!("accept-enc-low-order-{name}");
        let words =
            ["R-x25519-low-order", &file, "The X25519 part of M1's enc has low order; the rest is made for it."];
        list.add(place, words, end, |run| {
            run.change("channel x25519 ciphertext", move |_, _| point.to_vec()).offer().accept()
        });
    }
}

/// Offers in `code` mode, where nothing but their own rules holds them.
fn offers(list: &mut List) {
    let malformed: &[Row<'_>] = &[
        (["R-length", "offer-truncated", "The last byte is missing."], "M0 payload", |_, bytes| cut(bytes, 1)),
        (["R-length", "offer-without-body", "Version and kind, and nothing else."], "M0 payload", |_, bytes| {
            bytes[..2].to_vec()
        }),
        (["R-length", "offer-without-kind", "A version, and nothing else."], "M0 payload", |_, bytes| {
            bytes[..1].to_vec()
        }),
        (["R-trailing", "offer-trailing", "A byte after the end."], "offer", |_, bytes| cat(&[&bytes, &[0]])),
        (["R-kind", "offer-unknown-kind", "Kind 9 does not exist."], "M0 payload", |_, bytes| with_kind(bytes, 9)),
        (["R-turn", "offer-of-another-kind", "The offer comes as a sealed offer."], "M0 payload", |_, bytes| {
            with_kind(bytes, 1)
        }),
        (["R-offer-kind", "offer-mode-unknown", "Mode 3 does not exist."], "offer mode", |_, _| vec![3]),
        (
            ["R-offer-kind", "offer-code-unlock", "Purpose unlock does not exist in code mode."],
            "offer purpose",
            |_, _| vec![1],
        ),
        (["R-offer-kind", "offer-purpose-unknown", "Purpose 2 does not exist."], "offer purpose", |_, _| vec![2]),
        (
            ["R-extension-critical", "offer-extension-critical", "An extension that must be understood."],
            "offer extensions",
            |_, _| extensions(&[(0xf0f0, b"")]),
        ),
        (["R-order", "offer-extensions-unsorted", "Extensions in descending order."], "offer extensions", |_, _| {
            extensions(&[(0x70f0, b"b"), (0x70ef, b"a")])
        }),
        (["R-order", "offer-extension-twice", "The same extension twice."], "offer extensions", |_, _| {
            extensions(&[(0x70f0, b"a"), (0x70f0, b"b")])
        }),
        (["R-limit", "offer-extensions-257", "Extensions of 257 bytes."], "offer extensions", |_, _| {
            extensions(&[(0x70f0, &[0; 253])])
        }),
        (
            ["R-extension-length", "offer-extension-overrun", "An extension that is longer than the list."],
            "offer extensions",
            |_, _| vec![0, 5, 0x70, 0xf0, 0, 2, 0],
        ),
        (
            ["R-extension-length", "offer-extension-truncated", "A list that ends within a length."],
            "offer extensions",
            |_, _| vec![0, 3, 0x70, 0xf0, 0],
        ),
    ];
    list.rows(OFFER, Run::offer, MISBEHAVED_SILENTLY, malformed);
    let versions: &[Row<'_>] = &[
        (["R-version", "offer-version-0", "An older version."], "M0 payload", |_, bytes| with_version(bytes, 0)),
        (["R-version", "offer-version-2", "A newer version."], "M0 payload", |_, bytes| with_version(bytes, 2)),
        (
            ["R-version", "offer-version-alone", "A newer version, of which nothing else is known."],
            "M0 payload",
            |_, _| vec![255],
        ),
    ];
    list.rows(OFFER, Run::offer, VERSION, versions);
    let words =
        ["R-offer-kind", "offer-of-qr-new", "In code mode, an offer of mode qr-new, without a share as those are."];
    list.add(OFFER, words, WRONG_OFFER, |run| run.set("offer mode", &[1]).set("offer share", b"").offer());
    let reply = list.payload(OFFER.base, "M2");
    let words = ["R-turn", "reply-instead-of-offer", "M2 where M0 is due."];
    list.inject(OFFER, words, vec![reply], MISBEHAVED_SILENTLY, |run| run);
    let words = ["R-turn", "abort-instead-of-offer", "An abort before there is a channel."];
    list.inject(OFFER, words, vec![[&[1, 8][..], &[0; 17]].concat()], MISBEHAVED_SILENTLY, |run| run);
}

fn qr_offers(list: &mut List) {
    for (place, mode) in [(QR_NEW_OFFER, "qr-new"), (QR_TRUSTED_OFFER, "qr-trusted")] {
        let file = format!("{mode}-offer-of-another");
        let words = ["R-commitment", &file, "Another good offer under the right key: its hash is not in the QR code."];
        list.add(place, words, WRONG_OFFER, |run| run.change("offer_nonce", |_, nonce| flip(nonce)).offer());
        let file = format!("{mode}-offer-wrong-key");
        let words = ["R-offer-key", &file, "The offer is sealed under another secret than the QR code's."];
        list.add(place, words, WRONG_OFFER, |run| {
            run.change("offer_key", |values, _| kdf(values.get("suite"), &[7; 32], &[b"handfast/1 qr offer key"], 32))
                .offer()
        });
    }
    list.rows(
        QR_NEW_OFFER,
        Run::offer,
        WRONG_OFFER,
        &[
            (
                [
                    "R-commitment",
                    "qr-new-offer-of-another-malformed",
                    "An offer that is neither the QR code's nor well formed: the hash is compared first.",
                ],
                "offer",
                |_, bytes| bytes[..40].to_vec(),
            ),
            (["R-offer-key", "qr-new-offer-truncated", "The last byte is missing."], "M0 payload", |_, bytes| {
                cut(bytes, 1)
            }),
            (["R-offer-key", "qr-new-offer-trailing", "A byte after the end."], "M0 payload", |_, bytes| {
                cat(&[&bytes, &[0]])
            }),
            (
                ["R-offer-key", "qr-new-offer-empty", "Nothing but the version and the kind."],
                "M0 payload",
                |_, bytes| bytes[..2].to_vec(),
            ),
        ],
    );
    list.rows(
        QR_NEW_OFFER,
        Run::offer,
        VERSION,
        &[(["R-version", "qr-new-offer-version-2", "A newer version."], "M0 payload", |_, bytes| {
            with_version(bytes, 2)
        })],
    );
    let words =
        ["R-replay-other-run", "qr-new-offer-of-another-run", "The offer of another run, with another QR code."];
    let other = list.payload("qr-new-unlock", "M0");
    list.inject(QR_NEW_OFFER, words, vec![other], WRONG_OFFER, |run| run);
    let words = ["R-turn", "qr-new-offer-unsealed", "The offer comes as it is."];
    let offer = list.base(QR_NEW_OFFER.base).values.get("offer").to_vec();
    list.inject(QR_NEW_OFFER, words, vec![cat(&[&[1, 0], &offer])], MISBEHAVED_SILENTLY, |run| run);

    // A displayer whose QR code commits to a bad offer.
    let committed: &[(Place, End, Row<'_>)] = &[
        (
            QR_NEW_OFFER,
            WRONG_OFFER,
            (
                [
                    "R-offer-kind",
                    "qr-new-offer-of-unlock",
                    "The QR code is for enroll, the offer to which it commits for unlock.",
                ],
                "offer purpose",
                |_, _| vec![1],
            ),
        ),
        (
            QR_NEW_OFFER,
            WRONG_OFFER,
            (
                ["R-offer-kind", "qr-new-offer-of-code", "The QR code commits to an offer of mode code, with a share."],
                "offer",
                |_, offer| cat(&[&[0], &offer[1..1250], &[2; 32], &offer[1250..]]),
            ),
        ),
        (
            QR_TRUSTED_OFFER,
            WRONG_OFFER,
            (
                [
                    "R-offer-kind",
                    "qr-trusted-offer-of-qr-new",
                    "The QR code is for qr-trusted, the offer to which it commits for qr-new.",
                ],
                "offer mode",
                |_, _| vec![1],
            ),
        ),
        (
            QR_TRUSTED_OFFER,
            MISBEHAVED_SILENTLY,
            (
                [
                    "R-trailing",
                    "qr-trusted-offer-trailing",
                    "The QR code commits to an offer with a byte after its end.",
                ],
                "offer",
                |_, bytes| cat(&[&bytes, &[0]]),
            ),
        ),
        (
            QR_TRUSTED_OFFER,
            MISBEHAVED_SILENTLY,
            (
                [
                    "R-x25519-low-order",
                    "qr-trusted-offer-key-low-order",
                    "The QR code commits to an offer whose key has low order.",
                ],
                "offer_kem_key",
                |_, key| with_x25519(key, [0; 32]),
            ),
        ),
    ];
    for (place, end, row) in committed {
        list.rows(*place, Run::offer, *end, &[*row]);
        let run = list.run(*place).change(row.1, row.2).offer();
        let text = String::from_utf8(run.values.get("qr_text").to_vec()).unwrap();
        list.last().change = Some(Change::Scanned(text));
    }
}

fn accepts(list: &mut List) {
    fn through(run: Run) -> Run {
        run.offer().accept()
    }
    let shape: &[Row<'_>] = &[
        (["R-length", "accept-truncated", "The last byte is missing."], "M1 body", |_, bytes| cut(bytes, 1)),
        (["R-length", "accept-trailing", "A byte after the end."], "M1 body", |_, bytes| cat(&[&bytes, &[0]])),
        (["R-length", "accept-without-share", "M1 as in a QR mode."], "M1 body", |_, bytes| bytes[32..].to_vec()),
        (["R-kind", "accept-unknown-kind", "Kind 9 does not exist."], "M1 payload", |_, bytes| with_kind(bytes, 9)),
        (["R-turn", "reply-instead-of-accept", "The accept comes as a reply."], "M1 payload", |_, bytes| {
            with_kind(bytes, 3)
        }),
        (
            [
                "R-accept-open",
                "accept-aad-without-share",
                "The hello is sealed without the share in its associated data.",
            ],
            "m1_aad",
            |_, aad| aad[..33].to_vec(),
        ),
        (
            ["R-accept-open", "accept-wrong-psk", "The channel's PSK is another, and no CPace led to it."],
            "channel_psk",
            |_, psk| flip(psk),
        ),
        (
            ["R-accept-open", "accept-other-transcript", "The channel is bound to another transcript."],
            "channel_info",
            |_, info| flip(info),
        ),
    ];
    list.rows(ACCEPT, through, WRONG_CODE, shape);
    let versions: &[Row<'_>] = &[
        (["R-version", "accept-version-0", "An older version."], "M1 payload", |_, bytes| with_version(bytes, 0)),
        (["R-version", "accept-version-2", "A newer version."], "M1 payload", |_, bytes| with_version(bytes, 2)),
    ];
    list.rows(ACCEPT, through, VERSION, versions);
    let qr: &[Row<'_>] = &[
        (
            ["R-accept-open", "qr-trusted-accept-wrong-psk", "Made with another secret than the QR code's."],
            "channel_psk",
            |values, _| kdf(values.get("suite"), &[7; 32], &[b"handfast/1 qr psk"], 32),
        ),
        (["R-length", "qr-trusted-accept-truncated", "The last byte is missing."], "M1 body", |_, bytes| cut(bytes, 1)),
        (["R-length", "qr-trusted-accept-trailing", "A byte after the end."], "M1 body", |_, bytes| {
            cat(&[&bytes, &[0]])
        }),
        (["R-length", "qr-trusted-accept-with-share", "M1 as in code mode."], "M1 body", |_, bytes| {
            cat(&[&[2; 32], &bytes])
        }),
    ];
    list.rows(QR_TRUSTED_ACCEPT, through, MISBEHAVED_SILENTLY, qr);
    list.rows(
        QR_NEW_ACCEPT,
        through,
        MISBEHAVED_SILENTLY,
        &[(
            ["R-accept-open", "qr-new-accept-wrong-psk", "Made with another secret than the QR code's."],
            "channel_psk",
            |values, _| kdf(values.get("suite"), &[7; 32], &[b"handfast/1 qr psk"], 32),
        )],
    );
    for (place, other, end, file) in [
        (ACCEPT, "code-enroll-64k", WRONG_CODE, "accept-of-another-run"),
        (QR_NEW_ACCEPT, "qr-new-unlock", MISBEHAVED_SILENTLY, "qr-new-accept-of-another-run"),
    ] {
        let words = ["R-replay-other-run", file, "The accept of another run."];
        list.inject(place, words, vec![list.payload(other, "M1")], end, |run| run);
    }
    for (place, end, file) in
        [(ACCEPT, WRONG_CODE, "offer-reflected"), (QR_NEW_ACCEPT, MISBEHAVED_SILENTLY, "qr-new-offer-reflected")]
    {
        let words = ["R-reflected", file, "The displayer's own offer comes back."];
        list.inject(place, words, vec![list.payload(place.base, "M0")], end, |run| run);
    }
}

/// Without the last bytes.
pub(super) fn cut(bytes: Vec<u8>, count: usize) -> Vec<u8> {
    bytes[..bytes.len() - count].to_vec()
}

/// With another last bit.
pub(super) fn flip(mut bytes: Vec<u8>) -> Vec<u8> {
    *bytes.last_mut().unwrap() ^= 1;
    bytes
}

/// A payload with another version.
pub(super) fn with_version(mut bytes: Vec<u8>, version: u8) -> Vec<u8> {
    bytes[0] = version;
    bytes
}

/// A payload with another kind.
pub(super) fn with_kind(mut bytes: Vec<u8>, kind: u8) -> Vec<u8> {
    bytes[1] = kind;
    bytes
}
