//! A new device against trusted devices that lie.

use super::*;
use crate::crypto::{hpke, identity, kdf};
use crate::labels;
use crate::message::{CHUNK_BYTES, Extensions, Grant, GrantChunk, GrantContent, NewHello, TrustedHello, envelope};
use crate::message::{pad_hello, unpad_hello};
use crate::pairing::handshake::read_offer;
use crate::text::ClaimedText;

use super::super::release::{chunk_aad, grant_info};

/// A trusted device that does what the test wants, behind a confirmed channel.
struct Liar {
    device: TrustedDevice,
    bundle: CredentialBundle,
    kind: Kind,
    channel: Channel,
    /// What the new device said of itself.
    hello: NewHello,
    opening: Secret<32>,
    rng: ChaCha12Rng,
}

/// Changes the liar's hello before it is signed, and its padded form after.
struct HelloLies {
    before: fn(&mut TrustedHello),
    after: fn(&mut TrustedHello),
    padded: fn(&mut Vec<u8>),
}

const HONEST_HELLO: HelloLies = HelloLies { before: |_| {}, after: |_| {}, padded: |_| {} };

fn padded_hello(
    device: &TrustedDevice,
    kind: Kind,
    opening: &Secret<32>,
    bound_to: &[u8; 32],
    lies: &HelloLies,
) -> SecretBytes {
    let commitment = kdf::sha256(&[labels::CHECK_COMMITMENT, opening.expose()]);
    let mut hello = TrustedHello {
        account_id: device.account.id,
        account_label: device.account.label.clone(),
        name: ClaimedText::new("phone"),
        identity: device.key.identity(),
        commitment: (kind.mode == Mode::QrNew).then_some(commitment),
        extensions: Extensions::default(),
        signature: [0; 64],
    };
    (lies.before)(&mut hello);
    hello.signature = device.key.signing_key().sign(labels::SIGN_HELLO_TRUSTED, &[bound_to, &hello.signed_part()]);
    (lies.after)(&mut hello);
    let mut padded = pad_hello(&hello.encode()).unwrap().expose().to_vec();
    (lies.padded)(&mut padded);
    SecretBytes::new(padded)
}

/// A new device that asks for `request`, and the liar in its channel. `None`: the liar's hello was not accepted.
fn meet(kind: Kind, request: Request, pinned: bool, lies: &HelloLies) -> (Subject, Option<Liar>) {
    let (device, bundle) = trusted_device(1);
    let mut rng = seeded_rng(2);
    let opening = Secret::random(&mut rng);
    let enrolled = pinned.then(|| (device.account.id, vec![device.key.identity()]));
    let new = NewDevice { key: DeviceKey::generate(&mut rng), info: info("laptop"), enrolled };
    let now = Time::from_origin(core::time::Duration::ZERO);
    let (subject, hello, channel) = if kind.mode == Mode::QrNew {
        let engine = Engine::new_device(new, request, Way::ShowQr(None), now, &mut rng).unwrap();
        let mut subject = Subject::start(engine, seeded_rng(3), true);
        let (introduction, commitment) = subject.shown();
        let offer = read_offer(kind, introduction, commitment.as_ref(), &subject.take()).unwrap();
        let hello = padded_hello(&device, kind, &opening, &offer.transcript(), lies);
        let (m1, await_reply) = offer.accept(&hello, &mut rng).unwrap();
        subject.give(m1);
        if subject.outcome.is_some() {
            return (subject, None);
        }
        let (hello, channel) = await_reply.open(&subject.take()).unwrap();
        (subject, hello, channel)
    } else {
        let (shown, way) = shown_to_subject(kind, &mut rng);
        let engine = Engine::new_device(new, request, way, now, &mut rng).unwrap();
        let mut subject = Subject::start(engine, seeded_rng(3), false);
        subject.give(shown.payload);
        let (hello, reply_due) = shown.next.accept(&subject.take()).unwrap();
        let own = padded_hello(&device, kind, &opening, &reply_due.transcript(), lies);
        let (m2, channel) = reply_due.reply(&own).unwrap();
        subject.give(m2);
        if subject.outcome.is_some() {
            return (subject, None);
        }
        (subject, hello, channel)
    };
    let hello = NewHello::decode(unpad_hello(hello.expose()).unwrap()).unwrap();
    (subject, Some(Liar { device, bundle, kind, channel, hello, opening, rng }))
}

fn met(kind: Kind, request: Request, pinned: bool) -> (Subject, Liar) {
    let (subject, liar) = meet(kind, request, pinned, &HONEST_HELLO);
    (subject, liar.unwrap())
}

/// Index, final flag, plaintext.
type Chunk<'a> = (u16, bool, &'a [u8]);

impl Liar {
    /// The digits that an honest device in the liar's place would show.
    fn digits(&self) -> CheckCode {
        CheckCode::derive(&self.channel, Some(&self.opening)).unwrap()
    }

    /// Takes the digits that were typed on the new device, right or wrong.
    fn take_digits(&mut self, subject: &mut Subject) {
        self.channel.open(MessageKind::CheckCode, &subject.take()[2..]).unwrap();
    }

    fn sign_statement(&self) -> [u8; 64] {
        self.device.key.signing_key().sign(
            labels::SIGN_GRANT,
            &[
                &self.device.account.id.0,
                self.hello.identity.as_bytes(),
                self.hello.wrapping.as_bytes(),
                &[self.kind.purpose.code()],
                self.channel.transcript(),
            ],
        )
    }

    fn honest_grant(&self) -> Grant {
        let content = match &self.hello.request {
            Request::Bundle => {
                GrantContent::Enroll { genesis: self.device.account.genesis.clone(), bundle: self.bundle.clone() }
            }
            items => GrantContent::Unlock(self.bundle.release(items).unwrap()),
        };
        Grant {
            account_id: self.device.account.id,
            signature: self.sign_statement(),
            opening: (self.kind.mode == Mode::QrNew).then(|| *self.opening.expose()),
            content,
            extensions: Extensions::default(),
        }
    }

    /// Seals chunks as given.
    fn seal_chunks(&mut self, chunks: &[Chunk<'_>]) -> Vec<Vec<u8>> {
        let transcript = *self.channel.transcript();
        let psk = self.channel.export(labels::EXPORT_GRANT_PSK).unwrap();
        let info = grant_info(self.kind, &transcript);
        let key = &self.hello.bundle_key;
        let (enc, mut context) = hpke::setup_sender(key, &info, &psk, labels::GRANT_PSK_ID, &mut self.rng).unwrap();
        let seal = |(index, last, plaintext): &Chunk<'_>| {
            let sealed = context.seal(&chunk_aad(&transcript, *index, *last), plaintext).unwrap();
            let enc = (*index == 0).then(|| enc.clone());
            envelope(MessageKind::GrantChunk, &GrantChunk { index: *index, last: *last, enc, sealed }.encode())
        };
        chunks.iter().map(seal).collect()
    }

    fn give_grant(&mut self, subject: &mut Subject, grant: &Grant) {
        let plaintext = grant.encode().unwrap();
        let pieces: Vec<&[u8]> = plaintext.expose().chunks(CHUNK_BYTES).collect();
        let chunks: Vec<_> =
            pieces.iter().enumerate().map(|(i, piece)| (i as u16, i + 1 == pieces.len(), *piece)).collect();
        for payload in self.seal_chunks(&chunks) {
            subject.give(payload);
        }
    }
}

/// Changes an honest grant.
type Lie<'a> = dyn Fn(&mut Liar, &mut Grant) + 'a;

/// Gives a grant that is honest but for one lie. `None`: no lie, for comparison.
fn assert_grant_refused(kind: Kind, request: &Request, pinned: bool, lie: Option<(&str, &Lie<'_>)>) {
    let (mut subject, mut liar) = met(kind, request.clone(), pinned);
    if subject.saw("AskCheckCode") {
        let digits = liar.digits();
        subject.decide(Decision::CheckCode(digits));
        liar.take_digits(&mut subject);
    }
    let mut grant = liar.honest_grant();
    if let Some((_, lie)) = &lie {
        lie(&mut liar, &mut grant);
    }
    liar.give_grant(&mut subject, &grant);
    match lie {
        None => assert_eq!(subject.stored.len(), 1, "{kind:?}: an honest grant"),
        Some((name, _)) => {
            assert!(subject.stored.is_empty(), "{kind:?}: {name}");
            assert_eq!(subject.failure(), &Failure::PeerMisbehaved, "{kind:?}: {name}");
        }
    }
}

fn other_device() -> (TrustedDevice, CredentialBundle) {
    trusted_device(66)
}

#[test]
fn a_grant_that_does_not_fit_the_account_the_device_or_the_run_is_refused() {
    let lies: [(&str, &Lie<'_>); 12] = [
        ("another account's id", &|_, grant| grant.account_id = other_device().0.account.id),
        ("signed by another device", &|liar, grant| {
            let own = core::mem::replace(&mut liar.device.key, other_device().0.key);
            grant.signature = liar.sign_statement();
            liar.device.key = own;
        }),
        ("signed for another new device", &|liar, grant| {
            let own = core::mem::replace(&mut liar.hello.identity, other_device().0.key.identity());
            grant.signature = liar.sign_statement();
            liar.hello.identity = own;
        }),
        ("signed for another wrapping key", &|liar, grant| {
            let own = core::mem::replace(&mut liar.hello.wrapping, other_device().0.key.wrapping_public_key());
            grant.signature = liar.sign_statement();
            liar.hello.wrapping = own;
        }),
        ("signed for the other purpose", &|liar, grant| {
            liar.kind.purpose = match liar.kind.purpose {
                Purpose::Enroll => Purpose::Unlock,
                Purpose::Unlock => Purpose::Enroll,
            };
            grant.signature = liar.sign_statement();
            liar.kind.purpose = if liar.hello.request == Request::Bundle { Purpose::Enroll } else { Purpose::Unlock };
        }),
        ("signed over another account", &|liar, grant| {
            let own = core::mem::replace(&mut liar.device.account.id, other_device().0.account.id);
            grant.signature = liar.sign_statement();
            liar.device.account.id = own;
        }),
        ("signed in another run", &|liar, grant| {
            let transcript = [9; 32];
            grant.signature = liar.device.key.signing_key().sign(
                labels::SIGN_GRANT,
                &[
                    &liar.device.account.id.0,
                    liar.hello.identity.as_bytes(),
                    liar.hello.wrapping.as_bytes(),
                    &[liar.kind.purpose.code()],
                    &transcript,
                ],
            );
        }),
        ("no signature", &|_, grant| grant.signature = [0; 64]),
        ("the other kind of content", &|liar, grant| {
            grant.content = match grant.content {
                GrantContent::Enroll { .. } => GrantContent::Unlock(liar.bundle.release(&items(true, &["a"])).unwrap()),
                GrantContent::Unlock(_) => {
                    GrantContent::Enroll { genesis: liar.device.account.genesis.clone(), bundle: liar.bundle.clone() }
                }
            };
        }),
        ("an opening where there is none, or none where there is one", &|_, grant| {
            grant.opening = if grant.opening.is_some() { None } else { Some([1; 32]) };
        }),
        ("another opening", &|_, grant| grant.opening = Some([1; 32])),
        ("a true opening of another commitment", &|liar, grant| {
            liar.opening = Secret::new([3; 32]);
            grant.opening = Some([3; 32]);
        }),
    ];
    let pinned_unlock = items(true, &["a"]);
    let guest_unlock = items(false, &["a"]);
    for (kind, request, pinned) in [
        (CODE, &Request::Bundle, false),
        (QR_NEW, &Request::Bundle, false),
        (QR_TRUSTED, &Request::Bundle, false),
        (QR_UNLOCK, &pinned_unlock, true),
        (QR_UNLOCK, &guest_unlock, false),
    ] {
        assert_grant_refused(kind, request, pinned, None);
        for (name, lie) in &lies {
            assert_grant_refused(kind, request, pinned, Some((name, *lie)));
        }
    }
}

#[test]
fn a_bundle_or_genesis_of_another_account_is_not_stored() {
    let lies: [(&str, &Lie<'_>); 4] = [
        ("another account's bundle", &|liar, grant| {
            let genesis = liar.device.account.genesis.clone();
            grant.content = GrantContent::Enroll { genesis, bundle: other_device().1 };
        }),
        ("another account's genesis", &|liar, grant| {
            let genesis = other_device().0.account.genesis;
            grant.content = GrantContent::Enroll { genesis, bundle: liar.bundle.clone() };
        }),
        ("no genesis", &|liar, grant| {
            grant.content = GrantContent::Enroll { genesis: vec![], bundle: liar.bundle.clone() };
        }),
        ("a genesis whose signature does not hold", &|liar, grant| {
            let mut genesis = liar.device.account.genesis.clone();
            *genesis.last_mut().unwrap() ^= 1;
            grant.content = GrantContent::Enroll { genesis, bundle: liar.bundle.clone() };
        }),
    ];
    for kind in [CODE, QR_NEW, QR_TRUSTED] {
        for (name, lie) in &lies {
            assert_grant_refused(kind, &Request::Bundle, false, Some((name, *lie)));
        }
    }
}

/// An account id is no secret, so somebody may claim one and bring a genesis of their own for it.
#[test]
fn a_claimed_account_id_does_not_fit_a_genesis_of_ones_own() {
    let lies = HelloLies { before: |hello| hello.account_id = other_device().0.account.id, ..HONEST_HELLO };
    let (mut subject, liar) = meet(CODE, Request::Bundle, false, &lies);
    let mut liar = liar.unwrap();
    liar.device.account.id = other_device().0.account.id;
    liar.bundle.account_id = liar.device.account.id;
    let grant = liar.honest_grant();
    liar.give_grant(&mut subject, &grant);
    assert_eq!(subject.failure(), &Failure::PeerMisbehaved);
    assert!(subject.stored.is_empty());
}

#[test]
fn an_unlock_takes_exactly_what_was_asked_for() {
    for (asked, pinned) in [(items(false, &["a"]), false), (items(true, &["a"]), true), (items(true, &[]), true)] {
        for other in [items(false, &["b"]), items(false, &["a", "b"]), items(true, &["a", "b"]), items(true, &["b"])] {
            let lie = |liar: &mut Liar, grant: &mut Grant| {
                grant.content = GrantContent::Unlock(liar.bundle.release(&other).unwrap());
            };
            let name = format!("asked for {asked:?}, got {other:?}");
            assert_grant_refused(QR_UNLOCK, &asked, pinned, Some((&name, &lie)));
        }
    }
}

/// The racing reader with the photographed QR code: it opens its own commitment, but the digits that the person typed
/// are those on the screen of the person's own device.
#[test]
fn digits_that_are_not_the_liars_keep_its_account_out() {
    for (kind, request) in [(QR_NEW, Request::Bundle), (QR_UNLOCK, items(false, &["a"]))] {
        let (mut subject, mut liar) = met(kind, request, false);
        let real = if liar.digits().reveal() == "271 828" { "314159" } else { "271828" };
        subject.decide(Decision::CheckCode(real.parse().unwrap()));
        liar.take_digits(&mut subject);
        let grant = liar.honest_grant();
        liar.give_grant(&mut subject, &grant);
        assert_eq!(subject.failure(), &Failure::PeerMisbehaved);
        assert!(subject.stored.is_empty());
    }
}

#[test]
fn a_grant_before_the_digits_were_typed_is_refused() {
    for (kind, request, pinned) in
        [(QR_NEW, Request::Bundle, false), (QR_NEW, Request::Bundle, true), (QR_UNLOCK, items(false, &["a"]), false)]
    {
        let (mut subject, mut liar) = met(kind, request, pinned);
        let grant = liar.honest_grant();
        liar.give_grant(&mut subject, &grant);
        assert_eq!(subject.failure(), &Failure::PeerMisbehaved);
        assert!(subject.stored.is_empty());
    }
}

#[test]
fn a_known_device_may_ask_for_the_digits_after_all_and_then_needs_them() {
    let (mut subject, mut liar) = met(QR_UNLOCK, items(false, &["a"]), true);
    assert!(!subject.saw("AskCheckCode"));
    let request = liar.channel.seal(MessageKind::CheckRequest, &[]).unwrap();
    subject.give(request);
    assert!(subject.saw("AskCheckCode"));
    subject.decide(Decision::CheckCode(liar.digits()));
    liar.take_digits(&mut subject);
    let grant = liar.honest_grant();
    liar.give_grant(&mut subject, &grant);
    assert_eq!(subject.stored.len(), 1);

    // Having asked, it cannot go on without.
    let (mut subject, mut liar) = met(QR_UNLOCK, items(false, &["a"]), true);
    let request = liar.channel.seal(MessageKind::CheckRequest, &[]).unwrap();
    subject.give(request);
    let grant = liar.honest_grant();
    liar.give_grant(&mut subject, &grant);
    assert_eq!(subject.failure(), &Failure::PeerMisbehaved);
}

#[test]
fn requests_for_digits_that_make_no_sense_are_refused() {
    // With content; twice; to a device that types them anyway; where there are no digits.
    let (mut subject, mut liar) = met(QR_UNLOCK, items(false, &["a"]), true);
    let request = liar.channel.seal(MessageKind::CheckRequest, &[0]).unwrap();
    subject.give(request);
    assert_eq!(subject.failure(), &Failure::PeerMisbehaved);

    let (mut subject, mut liar) = met(QR_UNLOCK, items(false, &["a"]), true);
    for _ in 0..2 {
        let request = liar.channel.seal(MessageKind::CheckRequest, &[]).unwrap();
        subject.give(request);
    }
    assert_eq!(subject.failure(), &Failure::PeerMisbehaved);

    for kind in [CODE, QR_NEW, QR_TRUSTED] {
        let (mut subject, mut liar) = met(kind, Request::Bundle, false);
        let request = liar.channel.seal(MessageKind::CheckRequest, &[]).unwrap();
        subject.give(request);
        assert_eq!(subject.failure(), &Failure::PeerMisbehaved, "{kind:?}");
    }

    // After the grant has begun.
    let (mut subject, mut liar) = met(QR_UNLOCK, items(false, &["a"]), true);
    let chunk = liar.seal_chunks(&[(0, false, &[0; CHUNK_BYTES])]).remove(0);
    liar.channel.absorb(MessageKind::GrantChunk, &chunk[2..]);
    subject.give(chunk);
    let request = liar.channel.seal(MessageKind::CheckRequest, &[]).unwrap();
    subject.give(request);
    assert_eq!(subject.failure(), &Failure::PeerMisbehaved);
}

#[test]
fn hellos_that_lie_are_refused() {
    let bad_signature = HelloLies { after: |hello| hello.signature[5] ^= 1, ..HONEST_HELLO };
    let other_identity = HelloLies { before: |hello| hello.identity = other_device().0.key.identity(), ..HONEST_HELLO };
    let changed_after = HelloLies { after: |hello| hello.account_id.0[0] ^= 1, ..HONEST_HELLO };
    let commitment = HelloLies {
        before: |hello| hello.commitment = if hello.commitment.is_some() { None } else { Some([1; 32]) },
        ..HONEST_HELLO
    };
    let padding = HelloLies { padded: |padded| *padded.last_mut().unwrap() = 1, ..HONEST_HELLO };
    let longer = HelloLies { padded: |padded| padded[1] = padded[1].wrapping_add(1), ..HONEST_HELLO };
    for kind in [CODE, QR_NEW, QR_TRUSTED] {
        for (number, lies) in
            [&bad_signature, &other_identity, &changed_after, &commitment, &padding, &longer].into_iter().enumerate()
        {
            let (subject, _) = meet(kind, Request::Bundle, false, lies);
            assert_eq!(subject.failure(), &Failure::PeerMisbehaved, "{kind:?} {number}");
            assert!(!subject.saw("Account"), "{kind:?} {number}");
        }
    }
}

/// The signature of the new device's label, or over another transcript.
#[test]
fn a_hello_signed_for_another_role_or_run_is_refused() {
    let lies = HelloLies {
        after: |hello| {
            let key = trusted_device(1).0.key;
            hello.signature = key.signing_key().sign(labels::SIGN_HELLO_NEW, &[&[0; 32], &hello.signed_part()]);
        },
        ..HONEST_HELLO
    };
    let (subject, _) = meet(QR_NEW, Request::Bundle, false, &lies);
    assert_eq!(subject.failure(), &Failure::PeerMisbehaved);
    let lies = HelloLies {
        after: |hello| {
            let key = trusted_device(1).0.key;
            hello.signature = key.signing_key().sign(labels::SIGN_HELLO_TRUSTED, &[&[0; 32], &hello.signed_part()]);
        },
        ..HONEST_HELLO
    };
    let (subject, _) = meet(QR_NEW, Request::Bundle, false, &lies);
    assert_eq!(subject.failure(), &Failure::PeerMisbehaved);
}

#[test]
fn extensions_of_a_later_revision_are_tolerated() {
    let lies =
        HelloLies { before: |hello| hello.extensions = Extensions::of(vec![(7, vec![1, 2, 3])]), ..HONEST_HELLO };
    let (mut subject, liar) = meet(CODE, Request::Bundle, false, &lies);
    let mut liar = liar.unwrap();
    let grant = Grant { extensions: Extensions::of(vec![(9, vec![4])]), ..liar.honest_grant() };
    liar.give_grant(&mut subject, &grant);
    assert_eq!(subject.stored.len(), 1);
}

#[test]
fn chunks_that_are_not_the_one_division_of_a_grant_are_refused() {
    let long = vec![1; CHUNK_BYTES + 1];
    let cases: [(&str, &[Chunk<'_>]); 7] = [
        ("starts at 1", &[(1, false, &long[..CHUNK_BYTES])]),
        ("skips one", &[(0, false, &long[..CHUNK_BYTES]), (2, true, &long[..5])]),
        ("starts again", &[(0, false, &long[..CHUNK_BYTES]), (0, true, &long[..5])]),
        ("a short one that is not the last", &[(0, false, &long[..CHUNK_BYTES - 1])]),
        ("an empty last one", &[(0, false, &long[..CHUNK_BYTES]), (1, true, &[])]),
        ("one that is too long", &[(0, true, &long)]),
        ("a whole that is no grant", &[(0, true, &long[..5])]),
    ];
    for (name, chunks) in cases {
        let (mut subject, mut liar) = met(CODE, Request::Bundle, false);
        for payload in liar.seal_chunks(chunks) {
            subject.give(payload);
        }
        assert_eq!(subject.failure(), &Failure::PeerMisbehaved, "{name}");
    }
}

/// An honest grant in two pieces, with numbers that are not 0 and 1.
#[test]
fn chunks_are_numbered_from_zero_without_a_gap() {
    for (numbers, fits) in [([0, 1], true), ([0, 2], false), ([0, 0], false), ([1, 2], false), ([1, 0], false)] {
        let (mut subject, mut liar) = met(CODE, Request::Bundle, false);
        liar.bundle.set(entry("long"), SecretBytes::new(vec![1; 10_000])).unwrap();
        let grant = liar.honest_grant().encode().unwrap();
        let (first, second) = grant.expose().split_at(CHUNK_BYTES);
        for payload in liar.seal_chunks(&[(numbers[0], false, first), (numbers[1], true, second)]) {
            subject.give(payload);
        }
        assert_eq!(subject.stored.len(), usize::from(fits), "{numbers:?}");
    }
}

/// Whatever it says of the size, no more than the largest grant is ever kept.
#[test]
fn an_endless_grant_is_cut_off() {
    let (mut subject, mut liar) = met(CODE, Request::Bundle, false);
    let full = vec![1; CHUNK_BYTES];
    let chunks: Vec<_> = (0..40).map(|index| (index, false, full.as_slice())).collect();
    let mut taken = 0;
    for payload in liar.seal_chunks(&chunks) {
        if subject.outcome.is_some() {
            break;
        }
        subject.give(payload);
        taken += 1;
    }
    assert_eq!(subject.failure(), &Failure::PeerMisbehaved);
    assert_eq!(taken, crate::message::MAX_GRANT_BYTES / CHUNK_BYTES + 1);
}

#[test]
fn the_flag_that_ends_a_grant_cannot_be_moved() {
    let (mut subject, mut liar) = met(CODE, Request::Bundle, false);
    let grant = liar.honest_grant().encode().unwrap();
    let mut payload = liar.seal_chunks(&[(0, false, grant.expose())]).remove(0);
    payload[4] = 1;
    subject.give(payload);
    assert_eq!(subject.failure(), &Failure::PeerMisbehaved);
}

/// A grant for the right key, but sealed by somebody who is not in the channel, or for another point in the run.
#[test]
fn a_grant_that_is_not_bound_to_the_channel_does_not_open() {
    let (mut subject, mut liar) = met(CODE, Request::Bundle, false);
    let grant = liar.honest_grant().encode().unwrap();
    let transcript = *liar.channel.transcript();
    let info = grant_info(CODE, &transcript);
    let (key, psk) = (&liar.hello.bundle_key, Secret::new([0; 32]));
    let (enc, mut context) = hpke::setup_sender(key, &info, &psk, labels::GRANT_PSK_ID, &mut liar.rng).unwrap();
    let sealed = context.seal(&chunk_aad(&transcript, 0, true), grant.expose()).unwrap();
    let chunk = GrantChunk { index: 0, last: true, enc: Some(enc), sealed };
    subject.give(envelope(MessageKind::GrantChunk, &chunk.encode()));
    assert_eq!(subject.failure(), &Failure::PeerMisbehaved);

    let (mut subject, mut liar) = met(CODE, Request::Bundle, false);
    liar.channel.absorb(MessageKind::GrantChunk, b"what the new device has not seen");
    let grant = liar.honest_grant();
    liar.give_grant(&mut subject, &grant);
    assert_eq!(subject.failure(), &Failure::PeerMisbehaved);
}

#[test]
fn a_receipt_is_signed_over_account_and_grant() {
    let (mut subject, mut liar) = met(CODE, Request::Bundle, false);
    let grant = liar.honest_grant();
    let chunk = liar.seal_chunks(&[(0, true, grant.encode().unwrap().expose())]).remove(0);
    liar.channel.absorb(MessageKind::GrantChunk, &chunk[2..]);
    subject.give(chunk);
    assert!(subject.payloads.is_empty(), "no receipt before the store");
    subject.input(Input::Stored);
    let through_grant = *liar.channel.transcript();
    let receipt = liar.channel.open(MessageKind::Receipt, &subject.take()[2..]).unwrap();
    let signature = receipt.expose().try_into().unwrap();
    let parts: [&[u8]; 2] = [&liar.device.account.id.0, &through_grant];
    assert!(identity::verify(&liar.hello.identity, labels::SIGN_RECEIPT, &parts, signature).is_ok());
}

#[test]
fn aborts_are_sealed_typed_and_known() {
    for (code, failure) in [
        (0, Failure::Refused),
        (1, Failure::PeerCancelled),
        (2, Failure::WrongCheckCode),
        (3, Failure::NoSuchEntry),
        (4, Failure::NotRecorded),
        (6, Failure::PeerFailed),
        (7, Failure::PeerFailed),
        (99, Failure::PeerMisbehaved),
    ] {
        let (mut subject, mut liar) = met(CODE, Request::Bundle, false);
        let abort = liar.channel.seal_abort(&[code]).unwrap();
        subject.give(abort);
        assert_eq!(subject.failure(), &failure, "{code}");
    }
    // Made up by the relay; sealed as another kind; with two reasons.
    let (mut subject, _) = met(CODE, Request::Bundle, false);
    subject.give(envelope(MessageKind::Abort, &[0; 17]));
    assert_eq!(subject.failure(), &Failure::PeerMisbehaved);
    let (mut subject, mut liar) = met(CODE, Request::Bundle, false);
    let abort = liar.channel.seal_abort(&[0, 1]).unwrap();
    subject.give(abort);
    assert_eq!(subject.failure(), &Failure::PeerMisbehaved);
}
