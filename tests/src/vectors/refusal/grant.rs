//! M3: the chunks, the grant in them, the bundle or the items in that.

use super::introduction::{cut, flip, with_version};
use super::keys::{low_order, signature_of_small_order, small_order, top_bit};
use super::{List, MISBEHAVED, Place, Role, Row};
use crate::vectors::derivation::{
    Bundle, Chunk, Genesis, Recut, Run, account_id, bytes16, cat, extensions, founding, genesis, items,
    public_identity, sign, signed_bytes,
};

/// The only chunk at N.
const GRANT: Place = Place { base: "code-enroll", to: Role::New, after: 3 };
/// The reply, which names the account, and then the only chunk.
const REPLY: Place = Place { base: "code-enroll", to: Role::New, after: 2 };
/// The first of five.
const FIRST_CHUNK: Place = Place { base: "code-enroll-64k", to: Role::New, after: 3 };
const SECOND_CHUNK: Place = Place { base: "code-enroll-64k", to: Role::New, after: 4 };
const LAST_CHUNK: Place = Place { base: "code-enroll-64k", to: Role::New, after: 7 };
/// Without and with the unlock key.
const ITEMS: Place = Place { base: "qr-new-unlock", to: Role::New, after: 4 };
const PINNED_ITEMS: Place = Place { base: "qr-new-unlock-pinned", to: Role::New, after: 3 };

pub(super) fn add(list: &mut List) {
    seal(list);
    chunks(list);
    statement(list);
    account(list);
    geneses(list);
    encoding(list);
    bundle(list);
    released(list);
}

fn through(run: Run) -> Run {
    run.offer().accept().reply().check().grant()
}

/// Through the message before the grant.
fn before(run: Run) -> Run {
    run.offer().accept().reply().check()
}

fn seal(list: &mut List) {
    let rows: &[Row<'_>] = &[
        (["R-grant-psk", "grant-other-psk", "The grant's PSK is not from the channel."], "grant_psk", |_, psk| {
            flip(psk)
        }),
        (["R-grant-psk", "grant-other-info", "The grant is bound to another transcript."], "grant_info", |_, info| {
            flip(info)
        }),
        (
            [
                "R-x25519-low-order",
                "grant-enc-low-order",
                "The X25519 part of the grant's enc has low order; the rest is made for it.",
            ],
            "grant x25519 ciphertext",
            |_, _| low_order()[1].1.to_vec(),
        ),
        (
            ["R-x25519-low-order", "grant-enc-low-order-top-bit", "The same kind of point with the top bit set."],
            "grant x25519 ciphertext",
            |_, _| top_bit(low_order()[3].1).to_vec(),
        ),
        (
            [
                "R-chunk-open",
                "chunk-aad-without-header",
                "The chunk is sealed without index and final flag in its associated data.",
            ],
            "chunk aad",
            |_, aad| cut(aad, 3),
        ),
        (["R-length", "chunk-truncated", "The last byte is missing."], "M3.0 body", |_, bytes| cut(bytes, 1)),
        (["R-length", "chunk-trailing", "A byte after the end."], "M3.0 body", |_, bytes| cat(&[&bytes, &[0]])),
        (
            ["R-length", "chunk-without-enc", "Index and final flag, then too few bytes for enc."],
            "M3.0 body",
            |_, bytes| bytes[..3 + 1119].to_vec(),
        ),
        (["R-length", "chunk-header-only", "Two bytes."], "M3.0 body", |_, bytes| bytes[..2].to_vec()),
        (
            ["R-later-version", "grant-version-2", "A newer version, after the handshake."],
            "M3.0 payload",
            |_, bytes| with_version(bytes, 2),
        ),
    ];
    list.rows(GRANT, through, MISBEHAVED, rows);
    let words = ["R-replay-other-run", "grant-of-another-run", "The first chunk of another run."];
    list.inject(GRANT, words, vec![list.payload("code-enroll-64k", "M3.0")], MISBEHAVED, before);
}

fn chunks(list: &mut List) {
    let recuts: &[(Place, [&str; 3], Recut)] = &[
        (GRANT, ["R-chunk-index", "chunk-first-index-1", "The indexes begin with 1."], |mut chunks| {
            chunks[0].index = 1;
            chunks
        }),
        (
            GRANT,
            ["R-chunk-final", "chunk-last-not-final", "The only chunk is not marked as the last."],
            |mut chunks| {
                chunks[0].last = 0;
                chunks
            },
        ),
        (GRANT, ["R-chunk-size", "chunk-empty", "The first chunk is empty."], |mut chunks| {
            chunks[0] = Chunk { index: 0, last: 0, plaintext: Vec::new() };
            chunks
        }),
        (
            GRANT,
            ["R-chunk-size", "chunk-short", "The first chunk, not marked as the last, has 100 bytes."],
            |mut chunks| {
                chunks[0].last = 0;
                chunks[0].plaintext.truncate(100);
                chunks
            },
        ),
        (
            FIRST_CHUNK,
            ["R-chunk-final", "chunk-first-is-final", "The first of five chunks is marked as the last."],
            |mut chunks| {
                chunks[0].last = 1;
                chunks.truncate(1);
                chunks
            },
        ),
        (FIRST_CHUNK, ["R-chunk-size", "chunk-over-full", "A first chunk of 14337 bytes."], |mut chunks| {
            let next = chunks[1].plaintext[0];
            chunks[0].plaintext.push(next);
            chunks.truncate(1);
            chunks
        }),
        (
            SECOND_CHUNK,
            ["R-chunk-index", "chunk-second-index-2", "The second chunk is sealed as the second with index 2."],
            |mut chunks| {
                chunks[1].index = 2;
                chunks.truncate(2);
                chunks
            },
        ),
        (
            SECOND_CHUNK,
            [
                "R-chunk-index",
                "chunk-second-index-0",
                "The second chunk is sealed as the second with index 0, and with enc.",
            ],
            |mut chunks| {
                chunks[1].index = 0;
                chunks.truncate(2);
                chunks
            },
        ),
        (
            LAST_CHUNK,
            ["R-chunk-final", "chunk-last-of-five-not-final", "The last of five chunks is not marked as the last."],
            |mut chunks| {
                chunks[4].last = 0;
                chunks
            },
        ),
    ];
    for (place, words, recut) in recuts {
        list.add(*place, *words, MISBEHAVED, |run| through(run.recut(*recut)));
    }
    let words = ["R-flag", "chunk-final-flag-2", "The final flag is 2, sealed as 1."];
    list.add(GRANT, words, MISBEHAVED, |run| {
        through(run.change("M3.0 body", |_, mut body| {
            body[2] = 2;
            body
        }))
    });
    let chunk = |number: usize| list.payload(SECOND_CHUNK.base, &format!("M3.{number}"));
    let (first, second, third) = (chunk(0), chunk(1), chunk(2));
    let mut final_flag = second.clone();
    final_flag[4] = 1;
    let mut as_second = third.clone();
    as_second[3] = 1;
    for (words, payload) in [
        (["R-chunk-index", "chunk-repeated", "The first chunk again."], first),
        (["R-chunk-index", "chunk-dropped", "The third chunk after the first."], third),
        (
            ["R-chunk-open", "chunk-reordered", "The third chunk with the second one's index written over its own."],
            as_second,
        ),
        (
            ["R-chunk-open", "chunk-final-flag-flipped", "The second chunk, marked as the last after it was sealed."],
            final_flag,
        ),
    ] {
        list.inject(SECOND_CHUNK, words, vec![payload], MISBEHAVED, before);
    }
}

fn statement(list: &mut List) {
    let rows: &[Row<'_>] = &[
        (
            ["R-statement", "statement-by-another", "The statement is signed by another key."],
            "statement seed",
            |_, seed| flip(seed),
        ),
        (
            ["R-statement", "statement-by-the-new-device", "The statement is signed by the new device's key."],
            "statement seed",
            |values, _| values.get("new_identity_seed").to_vec(),
        ),
        (
            ["R-statement", "statement-for-another-account", "The statement names another account."],
            "statement account",
            |_, id| flip(id),
        ),
        (
            ["R-statement", "statement-for-another-device", "The statement names another device."],
            "statement identity",
            |_, _| public_identity(&[7; 32]),
        ),
        (
            ["R-statement", "statement-for-another-wrapping-key", "The statement names another wrapping key."],
            "statement wrapping key",
            |values, _| values.get("bundle_key").to_vec(),
        ),
        (["R-statement", "statement-for-unlock", "The statement is for an unlock."], "statement purpose", |_, _| {
            vec![1]
        }),
        (
            ["R-statement", "statement-for-another-run", "The statement is over the transcript through M1."],
            "statement transcript",
            |values, _| values.get("th_m1").to_vec(),
        ),
        (
            ["R-statement", "statement-with-another-label", "The statement is signed as a receipt is."],
            "statement label",
            |_, _| b"handfast/1 receipt".to_vec(),
        ),
    ];
    list.rows(GRANT, through, MISBEHAVED, rows);
}

/// Another account, with a good genesis statement of its own.
fn other_account() -> Genesis {
    genesis(&[7; 32], "ada@example.org", &[7; 32])
}

fn account(list: &mut List) {
    let rows: &[Row<'_>] = &[
        (
            ["R-grant-account", "grant-of-another-account", "The account id in the grant is not that of the hello."],
            "grant account",
            |_, id| flip(id),
        ),
        (
            ["R-genesis", "genesis-of-another-account", "A good genesis statement, of another account."],
            "grant genesis",
            |_, _| founding(&other_account().encoded),
        ),
        (
            ["R-genesis", "genesis-version-written-over", "Version 2 was written into a good genesis statement."],
            "grant genesis",
            |_, mut field| {
                field[2] = 2;
                field
            },
        ),
        (["R-limit", "genesis-513", "The length of the genesis statement is 513."], "grant genesis", |_, field| {
            cat(&[&513_u16.to_be_bytes(), &field[2..], &[0]])
        }),
        (
            ["R-padding", "genesis-padding", "The last byte after the genesis statement is 1."],
            "grant genesis",
            |_, field| flip(field),
        ),
    ];
    list.rows(GRANT, through, MISBEHAVED, rows);
    let in_bundle: &[Row<'_>] = &[(
        ["R-bundle-account", "bundle-of-another-account", "The account id in the bundle is not that of the grant."],
        "grant_content",
        |_, content| edit(&content, |bundle| bundle.account_id = other_account().account_id),
    )];
    list.rows(GRANT, through, MISBEHAVED, in_bundle);
}

/// Genesis statements whose hash is the account id that everything else names.
fn geneses(list: &mut List) {
    let base = list.base(REPLY.base);
    let (good, seed) = (base.trusted.genesis.0.clone(), base.values.get("trusted_identity_seed").to_vec());
    let signed = |part: &[u8]| cat(&[part, &sign(&seed, &signed_bytes(b"handfast/1 genesis", &[part]))]);
    let part = cut(good.clone(), 64);
    let (label_end, nonce) = (3 + "ada@example.org".len(), &part[part.len() - 32..]);
    let other_label = cat(&[&[1], &bytes16("ada\u{200b}@example.org".as_bytes()), &part[label_end..]]);
    let small = cat(&[&part[..label_end], &small_order(1), nonce]);
    let small_signature = signature_of_small_order(1, &signed_bytes(b"handfast/1 genesis", &[&small]));
    for (words, statement) in [
        (["R-genesis", "genesis-bad-signature", "The genesis statement's signature is wrong."], flip(good.clone())),
        (
            ["R-genesis", "genesis-unknown-version", "The genesis statement has version 2."],
            signed(&cat(&[&[2], &part[1..]])),
        ),
        (["R-genesis", "genesis-missing", "No genesis statement."], Vec::new()),
        (["R-trailing", "genesis-trailing", "A byte after the end of the genesis statement."], cat(&[&good, &[0]])),
        (
            ["R-text", "genesis-label-invisible", "The genesis statement's label has a zero-width space."],
            signed(&other_label),
        ),
        (
            [
                "R-identity-small-order",
                "genesis-identity-order-8",
                "The first device's identity has small order; plain verification accepts the signature.",
            ],
            cat(&[&small, &small_signature]),
        ),
    ] {
        let id = account_id(&statement);
        list.add(REPLY, words, MISBEHAVED, |run| {
            let run = run.set("account_id", &id).set("grant genesis", &founding(&statement));
            through(
                run.change("grant_content", move |_, content| {
                    edit(&content, |bundle| bundle.account_id.clone_from(&id))
                }),
            )
        });
    }
}

fn encoding(list: &mut List) {
    let rows: &[Row<'_>] = &[
        (["R-flag", "grant-opening-flag-2", "The flag for the opening is 2."], "grant opening", |_, _| vec![2]),
        (["R-flag", "grant-content-2", "Content 2 does not exist."], "grant kind", |_, _| vec![2]),
        (
            ["R-extension-critical", "grant-extension-critical", "An extension that must be understood."],
            "grant extensions",
            |_, _| extensions(&[(0xf0f0, b"")]),
        ),
        (["R-order", "grant-extensions-unsorted", "Extensions in descending order."], "grant extensions", |_, _| {
            extensions(&[(2, b""), (1, b"")])
        }),
        (["R-limit", "grant-extensions-257", "Extensions of 257 bytes."], "grant extensions", |_, _| {
            extensions(&[(1, &[0; 253])])
        }),
        (["R-padding", "grant-padding", "The last byte of the padding is 1."], "grant padding", |_, padding| {
            flip(padding)
        }),
        (
            ["R-bucket", "grant-larger-bucket", "Padded to 4 KiB where 1 KiB is enough."],
            "grant padding",
            |_, padding| cat(&[&padding, &[0; 3 * 1024]]),
        ),
        (["R-bucket", "grant-no-bucket", "One byte of padding is missing."], "grant padding", |_, padding| {
            cut(padding, 1)
        }),
        (["R-bucket", "grant-unpadded", "No padding at all."], "grant padding", |_, _| Vec::new()),
        (["R-length", "grant-truncated", "The plaintext ends in the statement."], "grant_plaintext", |_, plaintext| {
            plaintext[..60].to_vec()
        }),
    ];
    list.rows(GRANT, through, MISBEHAVED, rows);
}

/// The content with something changed in the bundle.
fn edit(content: &[u8], change: impl FnOnce(&mut Bundle)) -> Vec<u8> {
    let mut bundle = Bundle::decode(content);
    change(&mut bundle);
    bundle.encode()
}

fn bundle(list: &mut List) {
    let rows: &[Row<'_>] = &[
        (["R-trailing", "bundle-trailing", "A byte after the end of the bundle."], "grant_content", |_, content| {
            cat(&[&content, &[0]])
        }),
        (["R-length", "bundle-truncated", "The last byte of the bundle is missing."], "grant_content", |_, content| {
            cut(content, 1)
        }),
        (["R-order", "bundle-entries-unsorted", "Entries in descending order."], "grant_content", |_, content| {
            edit(&content, |bundle| bundle.entries.reverse())
        }),
        (["R-order", "bundle-entry-twice", "The same entry name twice."], "grant_content", |_, content| {
            edit(&content, |bundle| bundle.entries[0].0 = "wifi".into())
        }),
        (["R-text", "bundle-entry-empty", "An entry name without a character."], "grant_content", |_, content| {
            edit(&content, |bundle| bundle.entries[0].0.clear())
        }),
        (
            ["R-text", "bundle-label-invisible", "An account label with a byte order mark."],
            "grant_content",
            |_, content| edit(&content, |bundle| bundle.account_label.push('\u{feff}')),
        ),
        (["R-limit", "bundle-entry-name-65", "An entry name of 65 bytes."], "grant_content", |_, content| {
            edit(&content, |bundle| bundle.entries[0].0 = "e".repeat(65))
        }),
        (
            ["R-limit", "bundle-sign-in-secret-1025", "A sign-in secret of 1025 bytes."],
            "grant_content",
            |_, content| edit(&content, |bundle| bundle.sign_in_secret = vec![7; 1025]),
        ),
        (["R-limit", "bundle-1025-entries", "1025 entries."], "grant_content", |_, content| {
            edit(&content, |bundle| {
                bundle.entries = (0..1025).map(|number| (format!("{number:04}"), Vec::new())).collect()
            })
        }),
        (
            ["R-extension-critical", "bundle-extension-critical", "An extension that must be understood."],
            "grant_content",
            |_, content| edit(&content, |bundle| bundle.extensions.push((0xf0f0, Vec::new()))),
        ),
        (
            ["R-order", "bundle-extensions-unsorted", "Extensions in descending order."],
            "grant_content",
            |_, content| edit(&content, |bundle| bundle.extensions = vec![(2, Vec::new()), (1, Vec::new())]),
        ),
    ];
    list.rows(GRANT, through, MISBEHAVED, rows);
}

fn released(list: &mut List) {
    let whole = Bundle::decode(&list.base(ITEMS.base).trusted.bundle.0);
    let (token, wifi) = (whole.entries[0].clone(), whole.entries[1].clone());
    let router = ("router".to_owned(), wifi.1.clone());
    let contents = [
        (
            "R-items",
            "items-with-another-entry",
            "An entry more than was asked for.",
            items(None, &[token.clone(), wifi.clone()]),
        ),
        ("R-items", "items-of-another-name", "Another entry than the one that was asked for.", items(None, &[router])),
        ("R-items", "items-without-the-entry", "The entry that was asked for is missing.", items(None, &[])),
        (
            "R-items",
            "items-with-the-unlock-key",
            "The unlock key, which was not asked for.",
            items(Some(&whole.unlock_key), std::slice::from_ref(&wifi)),
        ),
        (
            "R-flag",
            "items-unlock-key-2",
            "The flag for the unlock key is 2.",
            cat(&[&[2], &items(None, std::slice::from_ref(&wifi))[1..]]),
        ),
        ("R-order", "items-twice", "The same entry twice.", items(None, &[wifi.clone(), wifi.clone()])),
        ("R-trailing", "items-trailing", "A byte after the end.", cat(&[&items(None, &[wifi]), &[0]])),
    ];
    for (rule, name, comment, content) in contents {
        list.add(ITEMS, [rule, name, comment], MISBEHAVED, |run| through(run.set("grant_content", &content)));
    }
    let genesis = founding(&list.base(ITEMS.base).trusted.genesis.0);
    let words = ["R-grant-content", "bundle-in-unlock", "The whole bundle, with its genesis statement, in an unlock."];
    list.add(ITEMS, words, MISBEHAVED, |run| {
        through(run.set("grant kind", &[0]).set("grant genesis", &genesis).set("grant_content", &whole.encode()))
    });
    let words =
        ["R-grant-account", "items-of-another-account", "The account id in the grant is not that of the hello."];
    list.add(ITEMS, words, MISBEHAVED, |run| through(run.change("grant account", |_, id| flip(id))));
    let words = ["R-grant-content", "genesis-in-unlock", "Items with a genesis statement."];
    list.add(ITEMS, words, MISBEHAVED, |run| through(run.set("grant genesis", &genesis)));
    let bundle = Bundle::decode(&list.base(GRANT.base).trusted.bundle.0);
    let words = ["R-grant-content", "items-in-enroll", "Items in an enrollment, all that the bundle has."];
    list.add(GRANT, words, MISBEHAVED, |run| {
        let content = items(Some(&bundle.unlock_key), &bundle.entries);
        through(run.set("grant kind", &[1]).set("grant genesis", &founding(b"")).set("grant_content", &content))
    });
    let pinned = Bundle::decode(&list.base(PINNED_ITEMS.base).trusted.bundle.0);
    let words = ["R-items", "items-without-the-unlock-key", "The unlock key, which was asked for, is missing."];
    list.add(PINNED_ITEMS, words, MISBEHAVED, |run| through(run.set("grant_content", &items(None, &pinned.entries))));
}
