//! A trusted device against new devices that lie.

use super::super::receive::{BundleKey, GrantReceiver};
use super::*;
use crate::labels;
use crate::message::{Extensions, Grant, GrantContent, NewHello, envelope, pad_hello};
use crate::pairing::handshake::read_offer;
use crate::text::ClaimedText;

/// A new device that does what the test wants, behind a confirmed channel.
struct Liar {
    key: DeviceKey,
    kind: Kind,
    channel: Channel,
    grant: GrantReceiver,
}

struct HelloLies {
    before: fn(&mut NewHello),
    after: fn(&mut NewHello),
    /// Changes the encoding. Its length does not change.
    encoded: fn(&mut Vec<u8>),
}

const HONEST_HELLO: HelloLies = HelloLies { before: |_| {}, after: |_| {}, encoded: |_| {} };

fn new_key() -> DeviceKey {
    DeviceKey::generate(&mut seeded_rng(11))
}

fn padded_hello(request: Request, bundle_key: &BundleKey, bound_to: &[u8; 32], lies: &HelloLies) -> SecretBytes {
    let key = new_key();
    let mut hello = NewHello {
        name: ClaimedText::new("lap\u{202e}top\u{200b}"),
        platform: ClaimedText::new("test"),
        request,
        identity: key.identity(),
        wrapping: key.wrapping_public_key(),
        bundle_key: bundle_key.public(),
        knows_peer: false,
        extensions: Extensions::default(),
        signature: [0; 64],
    };
    (lies.before)(&mut hello);
    hello.signature = key.signing_key().sign(labels::SIGN_HELLO_NEW, &[bound_to, &hello.signed_part()]);
    (lies.after)(&mut hello);
    let mut encoded = hello.encode();
    (lies.encoded)(&mut encoded);
    pad_hello(&encoded).unwrap()
}

/// A trusted device, and the liar that asks it for `request`. `recorded`: the trusted device knows the liar.
fn meet(kind: Kind, request: Request, recorded: bool, lies: &HelloLies) -> (Subject, Option<Liar>) {
    let (mut device, _) = trusted_device(12);
    if recorded {
        device.known.push(new_key().identity());
    }
    let mut rng = seeded_rng(13);
    let bundle_key = BundleKey::generate(&mut rng);
    let now = Time::from_origin(core::time::Duration::ZERO);
    let (subject, channel) = if kind.mode == Mode::QrNew {
        let (shown, way) = shown_to_subject(kind, &mut rng);
        let engine = Engine::trusted(device, way, now, &mut rng).unwrap();
        let mut subject = Subject::start(engine, seeded_rng(14), false);
        subject.give(shown.payload);
        let (_, reply_due) = shown.next.accept(&subject.take()).unwrap();
        let hello = padded_hello(request, &bundle_key, &reply_due.transcript(), lies);
        let (m2, channel) = reply_due.reply(&hello).unwrap();
        subject.give(m2);
        (subject, channel)
    } else {
        let way = if kind.mode == Mode::Code { Way::ShowCode } else { Way::ShowQr(None) };
        let engine = Engine::trusted(device, way, now, &mut rng).unwrap();
        let mut subject = Subject::start(engine, seeded_rng(14), true);
        let (introduction, commitment) = subject.shown();
        let offer = read_offer(kind, introduction, commitment.as_ref(), &subject.take()).unwrap();
        let hello = padded_hello(request, &bundle_key, &offer.transcript(), lies);
        let (m1, await_reply) = offer.accept(&hello, &mut rng).unwrap();
        subject.give(m1);
        if subject.outcome.is_some() {
            return (subject, None);
        }
        let (_, channel) = await_reply.open(&subject.take()).unwrap();
        (subject, channel)
    };
    let liar = Liar { key: new_key(), kind, channel, grant: GrantReceiver::new(bundle_key) };
    (subject, Some(liar))
}

fn met(kind: Kind, request: Request, recorded: bool, lies: &HelloLies) -> (Subject, Liar) {
    let (subject, liar) = meet(kind, request, recorded, lies);
    (subject, liar.unwrap())
}

impl Liar {
    fn type_digits(&mut self, subject: &mut Subject, digits: &[u8]) {
        let payload = self.channel.seal(MessageKind::CheckCode, digits).unwrap();
        subject.give(payload);
    }

    fn receive_grant(&mut self, subject: &mut Subject) -> Grant {
        while let Some(payload) = subject.payloads.pop_front() {
            if let Ok(Some((grant, _))) = self.grant.chunk(&payload[2..], self.kind, &mut self.channel) {
                return grant;
            }
        }
        panic!("no grant came")
    }

    fn sign_receipt(&self, account: &AccountId) -> [u8; 64] {
        self.key.signing_key().sign(labels::SIGN_RECEIPT, &[&account.0, self.channel.transcript()])
    }

    fn give_receipt(&mut self, subject: &mut Subject, signature: &[u8]) {
        let payload = self.channel.seal(MessageKind::Receipt, signature).unwrap();
        subject.give(payload);
    }
}

/// In `code` mode, up to the grant.
fn granted() -> (Subject, Liar, Grant) {
    let (mut subject, mut liar) = met(CODE, Request::Bundle, false, &HONEST_HELLO);
    subject.decide(Decision::Approve);
    subject.input(Input::Prepared(Box::new(trusted_device(12).1)));
    let grant = liar.receive_grant(&mut subject);
    (subject, liar, grant)
}

#[test]
fn hellos_that_lie_are_refused_before_anybody_is_asked() {
    fn other_key() -> DeviceKey {
        DeviceKey::generate(&mut seeded_rng(99))
    }
    let lies = [
        ("bad signature", HelloLies { after: |hello| hello.signature[9] ^= 1, ..HONEST_HELLO }),
        ("another identity", HelloLies { before: |hello| hello.identity = other_key().identity(), ..HONEST_HELLO }),
        ("another name", HelloLies { after: |hello| hello.name = ClaimedText::new("phone"), ..HONEST_HELLO }),
        (
            "another wrapping key",
            HelloLies { after: |hello| hello.wrapping = other_key().wrapping_public_key(), ..HONEST_HELLO },
        ),
        (
            "another bundle key",
            HelloLies { after: |hello| hello.bundle_key = other_key().wrapping_public_key(), ..HONEST_HELLO },
        ),
        ("other items", HelloLies { after: |hello| hello.knows_peer = !hello.knows_peer, ..HONEST_HELLO }),
        (
            "signed as a trusted device",
            HelloLies {
                after: |hello| {
                    let key = new_key();
                    hello.signature =
                        key.signing_key().sign(labels::SIGN_HELLO_TRUSTED, &[&[0; 32], &hello.signed_part()]);
                },
                ..HONEST_HELLO
            },
        ),
        ("a flag of two", HelloLies { encoded: |bytes| *bytes.iter_mut().rev().nth(66).unwrap() = 2, ..HONEST_HELLO }),
        (
            "a bundle key of low order",
            HelloLies {
                encoded: |bytes| {
                    let end = bytes.len() - 64 - 2 - 1;
                    bytes[end - 32..end].fill(0);
                },
                ..HONEST_HELLO
            },
        ),
        (
            "an extension that must be understood",
            HelloLies { before: |hello| hello.extensions = Extensions::of(vec![(0x8001, vec![])]), ..HONEST_HELLO },
        ),
    ];
    let unlock = items(false, &["a"]);
    for (kind, request) in [(CODE, &Request::Bundle), (QR_NEW, &Request::Bundle), (QR_UNLOCK, &unlock)] {
        for (name, lies) in &lies {
            let (subject, _) = meet(kind, request.clone(), true, lies);
            assert_eq!(subject.failure(), &Failure::PeerMisbehaved, "{kind:?}: {name}");
            assert!(!subject.saw("AskApproval") && !subject.saw("ShowCheckCode"), "{kind:?}: {name}");
        }
    }
}

#[test]
fn a_request_that_does_not_fit_the_purpose_is_refused() {
    for (kind, request) in [
        (CODE, items(true, &["a"])),
        (QR_NEW, items(false, &["a"])),
        (QR_TRUSTED, items(false, &["a"])),
        (QR_UNLOCK, Request::Bundle),
    ] {
        let (subject, _) = meet(kind, request, true, &HONEST_HELLO);
        assert_eq!(subject.failure(), &Failure::PeerMisbehaved, "{kind:?}");
        assert!(!subject.saw("AskApproval"), "{kind:?}");
    }
    // Nor may a device that enrolls say that it knows the other.
    let knows = HelloLies { before: |hello| hello.knows_peer = true, ..HONEST_HELLO };
    for kind in [CODE, QR_NEW, QR_TRUSTED] {
        let (subject, _) = meet(kind, Request::Bundle, true, &knows);
        assert_eq!(subject.failure(), &Failure::PeerMisbehaved, "{kind:?}");
    }
}

#[test]
fn a_device_that_only_claims_to_be_known_needs_the_digits() {
    let knows = HelloLies { before: |hello| hello.knows_peer = true, ..HONEST_HELLO };
    let (mut subject, mut liar) = met(QR_UNLOCK, items(false, &["a"]), false, &knows);
    assert!(!subject.saw("AskApproval"));
    assert!(subject.saw("ShowCheckCode"));
    let request = subject.take();
    assert!(liar.channel.open(MessageKind::CheckRequest, &request[2..]).unwrap().is_empty());
    let digits = subject.shown_digits();
    liar.type_digits(&mut subject, digits.digits());
    assert!(subject.saw("AskApproval"));

    // Known, and saying so: no digits.
    let (subject, _) = met(QR_UNLOCK, items(true, &["a"]), true, &knows);
    assert!(subject.saw("AskApproval") && !subject.saw("ShowCheckCode"));
    // Known, but it does not know this device: digits.
    let (subject, _) = met(QR_UNLOCK, items(true, &["a"]), true, &HONEST_HELLO);
    assert!(!subject.saw("AskApproval") && subject.saw("ShowCheckCode"));
}

#[test]
fn the_unlock_key_is_not_even_asked_about_for_a_device_that_is_not_recorded() {
    let (mut subject, mut liar) = met(QR_UNLOCK, items(true, &["a"]), false, &HONEST_HELLO);
    let digits = subject.shown_digits();
    liar.type_digits(&mut subject, digits.digits());
    assert_eq!(subject.failure(), &Failure::NotRecorded);
    assert!(!subject.saw("AskApproval"));
}

#[test]
fn typed_digits_have_one_form_and_one_try() {
    let right = |subject: &Subject| subject.shown_digits().digits().to_vec();
    let (mut subject, mut liar) = met(QR_NEW, Request::Bundle, false, &HONEST_HELLO);
    let digits = right(&subject);
    liar.type_digits(&mut subject, &digits);
    assert!(subject.saw("AskApproval"));
    // A second message, while the person is asked.
    liar.type_digits(&mut subject, &digits);
    assert_eq!(subject.failure(), &Failure::PeerMisbehaved);

    for change in [
        |digits: &mut Vec<u8>| digits.push(b'0'),
        |digits: &mut Vec<u8>| digits.truncate(5),
        |digits: &mut Vec<u8>| digits.insert(3, b' '),
        |digits: &mut Vec<u8>| digits.insert(3, b'-'),
        |digits: &mut Vec<u8>| digits.clear(),
        |digits: &mut Vec<u8>| digits[0] = 0xff,
    ] {
        let (mut subject, mut liar) = met(QR_NEW, Request::Bundle, false, &HONEST_HELLO);
        let mut digits = right(&subject);
        change(&mut digits);
        liar.type_digits(&mut subject, &digits);
        assert_eq!(subject.failure(), &Failure::PeerMisbehaved, "{digits:?}");
    }

    let (mut subject, mut liar) = met(QR_NEW, Request::Bundle, false, &HONEST_HELLO);
    let mut digits = right(&subject);
    digits[5] = if digits[5] == b'0' { b'1' } else { b'0' };
    liar.type_digits(&mut subject, &digits);
    assert_eq!(subject.failure(), &Failure::WrongCheckCode);
    assert!(!subject.saw("AskApproval"));
}

/// A new device that knows the channel but not the number behind the commitment cannot compute the digits.
#[test]
fn the_digits_of_a_scanned_device_are_not_computed_from_the_channel_alone() {
    let (subject, liar) = met(QR_NEW, Request::Bundle, false, &HONEST_HELLO);
    let from_channel = CheckCode::derive(&liar.channel, None).unwrap();
    assert_ne!(from_channel.digits(), subject.shown_digits().digits());
    // In `qr-trusted` they are: there the trusted device's person types what the new device shows.
    let (mut subject, liar) = met(QR_TRUSTED, Request::Bundle, false, &HONEST_HELLO);
    subject.decide(Decision::CheckCode(CheckCode::derive(&liar.channel, None).unwrap()));
    assert!(subject.saw("AskApproval"));
}

#[test]
fn the_name_on_the_approval_is_cleaned() {
    let (subject, _) = met(CODE, Request::Bundle, false, &HONEST_HELLO);
    let approval = subject.events.iter().find_map(|event| match event {
        Event::AskApproval(approval) => Some(approval.clone()),
        _ => None,
    });
    assert_eq!(approval.unwrap().name, "laptop");
}

#[test]
fn messages_while_the_person_decides_end_the_run() {
    for kind in [CODE, QR_TRUSTED] {
        let (mut subject, mut liar) = met(kind, Request::Bundle, false, &HONEST_HELLO);
        let receipt = [0; 64];
        liar.give_receipt(&mut subject, &receipt);
        assert_eq!(subject.failure(), &Failure::PeerMisbehaved, "{kind:?}");
        subject.decide(Decision::Approve);
        assert!(subject.prepared.is_empty(), "{kind:?}");
    }
    // While the bundle is fetched.
    let (mut subject, mut liar) = met(CODE, Request::Bundle, false, &HONEST_HELLO);
    subject.decide(Decision::Approve);
    liar.give_receipt(&mut subject, &[0; 64]);
    assert_eq!(subject.failure(), &Failure::PeerMisbehaved);
    subject.input(Input::Prepared(Box::new(trusted_device(12).1)));
    assert!(!subject.saw("GrantSent"));
}

#[test]
fn a_grant_is_what_was_approved_and_nothing_else() {
    let (.., grant) = granted();
    let GrantContent::Enroll { genesis, bundle } = grant.content else { panic!("a bundle") };
    let (device, own) = trusted_device(12);
    assert_eq!(genesis, device.account.genesis);
    assert!(bundle == own);

    let (mut subject, mut liar) = met(QR_UNLOCK, items(false, &["b"]), true, &HONEST_HELLO);
    let digits = subject.shown_digits();
    liar.type_digits(&mut subject, digits.digits());
    subject.decide(Decision::Approve);
    subject.input(Input::Prepared(Box::new(trusted_device(12).1)));
    let GrantContent::Unlock(items) = liar.receive_grant(&mut subject).content else { panic!("items") };
    assert!(items.unlock_key.is_none());
    let names: Vec<_> = items.entries.keys().map(EntryName::as_str).collect();
    assert_eq!(names, ["b"]);
}

fn assert_unknown(subject: &Subject, cause: &Failure) {
    match subject.failure() {
        Failure::Unknown { device, identity, cause: told } => {
            assert_eq!((device.as_str(), **identity), ("laptop", new_key().identity()));
            assert_eq!(&**told, cause);
        }
        other => panic!("{other:?}"),
    }
    assert!(subject.stored.is_empty(), "nobody is trusted without a receipt");
}

#[test]
fn only_a_receipt_that_verifies_confirms() {
    let (mut subject, mut liar, grant) = granted();
    let signature = liar.sign_receipt(&grant.account_id);
    liar.give_receipt(&mut subject, &signature);
    assert!(matches!(subject.stored.as_slice(), [ToStore::Confirmed(_)]));

    type Forge = fn(&Liar, &AccountId) -> Vec<u8>;
    let forged: [Forge; 6] = [
        |_, _| vec![0; 64],
        |_, _| vec![],
        |liar, account| liar.sign_receipt(account)[..63].to_vec(),
        |liar, _| liar.sign_receipt(&AccountId([0; 32])).to_vec(),
        |liar, account| {
            let key = DeviceKey::generate(&mut seeded_rng(77));
            key.signing_key().sign(labels::SIGN_RECEIPT, &[&account.0, liar.channel.transcript()]).to_vec()
        },
        |liar, account| {
            liar.key.signing_key().sign(labels::SIGN_RECEIPT, &[&account.0, liar.channel.session()]).to_vec()
        },
    ];
    for forge in forged {
        let (mut subject, mut liar, grant) = granted();
        let signature = forge(&liar, &grant.account_id);
        liar.give_receipt(&mut subject, &signature);
        assert_unknown(&subject, &Failure::PeerMisbehaved);
    }
}

/// The receipt of a device that never opened the grant is bound to another transcript.
#[test]
fn a_receipt_that_has_not_seen_the_grant_does_not_open() {
    let (mut subject, mut liar) = met(CODE, Request::Bundle, false, &HONEST_HELLO);
    subject.decide(Decision::Approve);
    subject.input(Input::Prepared(Box::new(trusted_device(12).1)));
    let account = trusted_device(12).0.account.id;
    let signature = liar.sign_receipt(&account);
    liar.give_receipt(&mut subject, &signature);
    assert_unknown(&subject, &Failure::PeerMisbehaved);
}

#[test]
fn after_the_grant_everything_but_a_receipt_leaves_the_outcome_unknown() {
    let (mut subject, ..) = granted();
    subject.give(envelope(MessageKind::Receipt, &[0; 80]));
    assert_unknown(&subject, &Failure::PeerMisbehaved);
    for (reason, cause) in [
        (AbortReason::Cancelled, Failure::PeerCancelled),
        (AbortReason::Protocol, Failure::PeerFailed),
        (AbortReason::Refused, Failure::Refused),
    ] {
        let (mut subject, mut liar, _) = granted();
        let abort = liar.channel.seal_abort(&[reason.code()]).unwrap();
        subject.give(abort);
        assert_unknown(&subject, &cause);
    }
}
