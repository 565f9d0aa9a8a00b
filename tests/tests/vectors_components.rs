//! `spec/vectors`: codes, QR codes, relay frames, objects, device keys and signatures, through what the crates offer to
//! everybody. What they keep to themselves: `protocol/src/vector_tests.rs`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use ed25519_dalek::Verifier;
use handfast_protocol::bundle::{CredentialBundle, OpenBundleError};
use handfast_protocol::device::{AccountId, DeviceInfo, DeviceKey, Genesis, IdentityPublicKey};
use handfast_protocol::pairing::code::VerificationCode;
use handfast_protocol::pairing::qr::QrPayload;
use handfast_protocol::pairing::{Mode, Purpose};
use handfast_protocol::secret::Secret;
use handfast_protocol::text::{AccountLabel, DeviceName, EntryName, Platform};
use handfast_protocol::wire::{ClientFrame, DataHeader, DecodeError, ErrorCode, LimitKind, RelayFrame};
use handfast_protocol::{Engine, Input, NewDevice, Output, Request, Time, TrustedDevice, Way, wire};
use handfast_tests::vectors::components::Reason;
use handfast_tests::vectors::components::codes::Codes;
use handfast_tests::vectors::components::device::{Devices, at_rest_form};
use handfast_tests::vectors::components::frames::{Frame, Frames, Lifetime, Sender};
use handfast_tests::vectors::components::objects::Objects;
use handfast_tests::vectors::components::qr::{QrCode, QrCodes};
use handfast_tests::vectors::components::signatures::{Part, Signatures};
use handfast_tests::vectors::components::texts::Field;
use handfast_tests::vectors::derivation::qr_text;
use handfast_tests::vectors::format::{self, Hex};
use rand::SeedableRng;
use rand::rngs::ChaCha12Rng;
use rand_core::{TryCryptoRng, TryRng};
use std::collections::BTreeSet;
use std::convert::Infallible;
use std::fmt::Debug;
use std::time::Duration;

#[test]
fn codes_are_read_as_the_vectors_say() {
    let file: Codes = format::read("codes.json");
    for case in file.valid {
        for text in &case.texts {
            let code: VerificationCode = text.parse().unwrap_or_else(|error| panic!("{} {text:?}: {error}", case.name));
            assert_eq!(code.reveal().to_string(), case.canonical, "{} {text:?}", case.name);
            assert_eq!(code.nameplate().number(), case.nameplate, "{} {text:?}", case.name);
        }
        let symbols = case.canonical.replace('-', "");
        let parts = (&symbols[..4], &symbols[4..11]);
        assert_eq!(parts, (case.nameplate_symbols.as_str(), case.secret_symbols.as_str()), "{}", case.name);
    }
    let mut errors = BTreeSet::new();
    for case in file.invalid {
        let error = case.text.parse::<VerificationCode>().expect_err(&case.name);
        assert_eq!(snake_case(&error), case.error, "{}", case.name);
        errors.insert(case.error);
    }
    assert!(errors.into_iter().eq(["bad_symbol", "check_failed", "empty", "wrong_length"]), "each error has a case");
}

#[test]
fn qr_codes_are_read_as_the_vectors_say() {
    let file: QrCodes = format::read("qr.json");
    let hosts: Vec<&str> = file.app_hosts.iter().map(String::as_str).collect();
    for case in file.valid {
        for text in &case.texts {
            let code = QrPayload::parse(text, &hosts).unwrap_or_else(|error| panic!("{} {text:?}: {error}", case.name));
            check_qr(&code, &case);
        }
    }
    let mut errors = BTreeSet::new();
    for case in file.invalid {
        let error = QrPayload::parse(&case.text, &hosts).expect_err(&case.name);
        assert_eq!(snake_case(&error), case.error, "{}", case.name);
        errors.insert(case.error);
    }
    let all = ["bad_relay_hint", "malformed", "not_handfast", "unknown_kind", "unknown_version"];
    assert!(errors.into_iter().eq(all), "each error has a case");
}

/// The secrets of a payload are not to be had, but they are all that its text is made of.
fn check_qr(code: &QrPayload, case: &QrCode) {
    let name = &case.name;
    let (mode, purpose) = case.qr_kind.split_once(' ').unwrap();
    assert_eq!((kebab_case(&code.kind.mode()), kebab_case(&code.kind.purpose())), (mode.into(), purpose.into()));
    let hint = code.relay_hint.as_ref().map(ToString::to_string);
    let expected = case.relay_hint.as_ref().map(|hint| format!("{}://{}", hint.scheme, hint.authority));
    assert_eq!(hint, expected, "{name}");

    assert_eq!(*code.to_uri().reveal(), case.texts[0], "{name}");
    assert_eq!(qr_text(&case.bytes.0), case.texts[0], "{name}");
    let digits = case.texts[0].strip_prefix("HANDFAST:/").unwrap();
    assert_eq!(*code.to_app_link("app.example.org").reveal(), format!("HTTPS://APP.EXAMPLE.ORG/#{digits}"), "{name}");
    assert_eq!(case.bytes.0[2..34], case.qr_secret.0, "{name}");
    assert_eq!(case.bytes.0[34..66], case.offer_hash.0, "{name}");
    assert_eq!(opened_mailbox(code.clone()), case.mailbox_id.0, "{name}");
}

/// The mailbox that the reader of this QR code asks a relay for.
fn opened_mailbox(code: QrPayload) -> Vec<u8> {
    let rng = &mut ChaCha12Rng::seed_from_u64(1);
    let key = DeviceKey::generate(rng);
    let info = DeviceInfo { name: DeviceName::new("device").unwrap(), platform: Platform::new("test").unwrap() };
    let now = Time::from_origin(Duration::ZERO);
    let mut engine = match (code.kind.mode(), code.kind.purpose()) {
        (Mode::QrNew, _) => {
            let account = Genesis::sign(AccountLabel::new("ada").unwrap(), &key, rng).account();
            let device = TrustedDevice { key, info, account, known: vec![] };
            Engine::trusted(device, Way::ReadQr(code), now, rng).unwrap()
        }
        (_, Purpose::Enroll) => {
            let device = NewDevice { key, info, enrolled: None };
            Engine::new_device(device, Request::Bundle, Way::ReadQr(code), now, rng).unwrap()
        }
        other => panic!("{other:?}"),
    };
    engine.handle(Input::Connected, now, rng);
    let Some(Output::Send(frame)) = engine.poll() else { panic!("a reader opens its mailbox first") };
    let Ok(ClientFrame::Open { mailbox, .. }) = ClientFrame::decode(&frame) else { panic!("{frame:?}") };
    mailbox.0.into()
}

#[test]
fn valid_frames_decode_to_their_fields_and_back() {
    let file: Frames = format::read("frames.json");
    for case in file.valid {
        let name = &case.name;
        if case.sender != Sender::Relay {
            let frame = ClientFrame::decode(&case.hex.0).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(Hex(frame.encode()), case.hex, "{name}");
            assert_eq!(of_device(frame), case.frame, "{name}");
        }
        if case.sender != Sender::Device {
            let frame = RelayFrame::decode(&case.hex.0).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(Hex(frame.encode()), case.hex, "{name}");
            assert_eq!(of_relay(frame), case.frame, "{name}");
        }
        // What a relay reads of a data frame.
        let header = DataHeader::decode(&case.hex.0).unwrap();
        let expected = match case.frame {
            Frame::Data { seq, ack, settled, .. } => Some((seq, ack, settled)),
            _ => None,
        };
        assert_eq!(header.map(|header| (header.seq, header.ack, header.flags.settled)), expected, "{name}");
    }
}

#[test]
fn invalid_frames_are_refused_for_the_reason_given() {
    let file: Frames = format::read("frames.json");
    for case in file.invalid {
        let (name, bytes) = (&case.name, &case.hex.0);
        if case.sender != Sender::Relay {
            assert_eq!(reason(ClientFrame::decode(bytes).expect_err(name)), case.reason, "{name}");
        }
        if case.sender != Sender::Device {
            assert_eq!(reason(RelayFrame::decode(bytes).expect_err(name)), case.reason, "{name}");
        }
        if bytes.first() == Some(&0x05) {
            assert_eq!(reason(DataHeader::decode(bytes).expect_err(name)), case.reason, "{name}");
        }
    }
}

/// Every type of frame, in each direction, and every code of its fields.
#[test]
fn every_frame_and_code_has_a_case() {
    let file: Frames = format::read("frames.json");
    let table: serde_json::Value = serde_json::from_str(include_str!("../../spec/constants.json")).unwrap();
    for (group, sender) in [("client_frames", Sender::Device), ("relay_frames", Sender::Relay)] {
        for (name, code) in table[group].as_object().unwrap() {
            let case = file.valid.iter().find(|case| {
                (case.sender == sender || case.sender == Sender::Either) && u64::from(case.hex.0[0]) == *code
            });
            let frame = serde_json::to_value(&case.unwrap_or_else(|| panic!("no {name}")).frame).unwrap();
            assert_eq!(frame["type"], *name);
        }
    }
    let frames: Vec<serde_json::Value> =
        file.valid.iter().map(|case| serde_json::to_value(&case.frame).unwrap()).collect();
    for (group, frame, field) in [
        ("close_reasons", "close", "reason"),
        ("close_reasons", "peer_closed", "reason"),
        ("end_reasons", "ended", "reason"),
        ("error_codes", "error", "code"),
        ("slots", "joined", "slot"),
        ("networks", "peer_joined", "network"),
        ("networks", "joined", "network"),
        ("peer_states", "joined", "peer"),
        ("peer_states", "resumed", "peer"),
    ] {
        for name in table[group].as_object().unwrap().keys() {
            let found = frames.iter().any(|case| case["type"] == frame && case[field] == *name);
            assert!(found, "no {frame} with {field} {name}");
        }
    }
}

fn of_device(frame: ClientFrame) -> Frame {
    match frame {
        ClientFrame::Allocate { token } => Frame::Allocate { token: hex(token.0) },
        ClientFrame::Open { mailbox, token } => Frame::Open { mailbox_id: hex(mailbox.0), token: hex(token.0) },
        ClientFrame::Claim { nameplate, token } => Frame::Claim { nameplate: nameplate.number(), token: hex(token.0) },
        ClientFrame::Resume { mailbox, token, received } => {
            Frame::Resume { mailbox_id: hex(mailbox.0), token: hex(token.0), received }
        }
        ClientFrame::Data(data) => of_data(data),
        ClientFrame::Ack(ack) => Frame::Ack { ack: ack.ack, settled: ack.flags.settled },
        ClientFrame::Close { reason } => Frame::Close { reason: snake_case(&reason) },
        other => panic!("{other:?}"),
    }
}

fn of_relay(frame: RelayFrame) -> Frame {
    match frame {
        RelayFrame::Allocated { nameplate, mailbox, lifetime } => Frame::Allocated {
            nameplate: nameplate.number(),
            mailbox_id: hex(mailbox.0),
            lifetime: of_lifetime(lifetime),
        },
        RelayFrame::Joined(joined) => Frame::Joined {
            mailbox_id: hex(joined.mailbox.0),
            slot: snake_case(&joined.slot),
            received: joined.received,
            peer: snake_case(&joined.peer),
            network: snake_case(&joined.network),
            lifetime: of_lifetime(joined.lifetime),
        },
        RelayFrame::Resumed { received, peer, lifetime } => {
            Frame::Resumed { received, peer: snake_case(&peer), lifetime: of_lifetime(lifetime) }
        }
        RelayFrame::PeerJoined { network } => Frame::PeerJoined { network: snake_case(&network) },
        RelayFrame::PeerLeft => Frame::PeerLeft,
        RelayFrame::PeerFreed => Frame::PeerFreed,
        RelayFrame::PeerClosed { reason } => Frame::PeerClosed { reason: snake_case(&reason) },
        RelayFrame::ThirdClaim => Frame::ThirdClaim,
        RelayFrame::Ended { reason } => Frame::Ended { reason: snake_case(&reason) },
        RelayFrame::Error { code, retry_after_ms } => {
            Frame::Error { code: snake_case(&code), limit: limit(code), retry_after: retry_after_ms }
        }
        RelayFrame::Data(data) => of_data(data),
        RelayFrame::Ack(ack) => Frame::Ack { ack: ack.ack, settled: ack.flags.settled },
        other => panic!("{other:?}"),
    }
}

fn of_data(data: wire::Data) -> Frame {
    Frame::Data { seq: data.seq, ack: data.ack, settled: data.flags.settled, payload: Hex(data.payload) }
}

fn of_lifetime(lifetime: wire::Lifetime) -> Lifetime {
    Lifetime { remaining: lifetime.remaining_ms, linger: lifetime.linger_ms, max: lifetime.max_ms }
}

fn limit(code: ErrorCode) -> u8 {
    match code {
        ErrorCode::Limit(LimitKind::Other(number)) => number,
        ErrorCode::Limit(limit) => {
            let table: serde_json::Value = serde_json::from_str(include_str!("../../spec/constants.json")).unwrap();
            table["limit_kinds"][snake_case(&limit)].as_u64().unwrap().try_into().unwrap()
        }
        _ => 0,
    }
}

#[test]
fn genesis_statements_decode_or_are_refused_for_the_reason_given() {
    let file: Objects = format::read("objects.json");
    for case in file.genesis {
        let name = &case.name;
        let genesis = Genesis::decode(&case.hex.0).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(genesis.label.as_str(), case.label, "{name}");
        assert_eq!(hex(*genesis.identity.as_bytes()), case.identity, "{name}");
        assert_eq!(Hex(genesis.encode()), case.hex, "{name}");
        let account = genesis.account();
        assert_eq!((hex(account.id.0), Hex(account.genesis)), (case.account_id, case.hex.clone()), "{name}");
        let rest: Vec<u8> = [&case.nonce.0[..], &case.signature.0].concat();
        assert!(case.hex.0.ends_with(&rest), "{name}");
    }
    for case in file.genesis_refused {
        let error = Genesis::decode(&case.hex.0).expect_err(&case.name);
        assert_eq!(reason(error), case.reason, "{}", case.name);
    }
}

/// A bundle is to be had only from where it lies sealed.
#[test]
fn bundles_open_or_are_refused() {
    let file: Objects = format::read("objects.json");
    let (secret, nonce) = ([5; 32], [6; 24]);
    let key = DeviceKey::from_secret(Secret::new(secret));
    for case in file.bundles {
        let (name, account) = (&case.name, AccountId(case.account_id.array()));
        let sealed = at_rest_form(&secret, &nonce, &account.0, &case.hex.0);
        let bundle = CredentialBundle::open(&sealed, &account, &key).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(bundle.account_id, account, "{name}");
        assert_eq!(bundle.account_label.as_str(), case.account_label, "{name}");
        assert_eq!(hex(*bundle.unlock_key.expose()), case.unlock_key, "{name}");
        assert_eq!(bundle.sign_in_secret.expose(), case.sign_in_secret.0, "{name}");
        let entries = bundle.entries().map(|(name, value)| (name.as_str(), value.expose()));
        assert!(entries.eq(case.entries.iter().map(|entry| (entry.name.as_str(), entry.value.0.as_slice()))), "{name}");
        // Sealed again, with its extensions.
        assert_eq!(bundle.seal(&key, &mut Draws(nonce.into())).unwrap(), sealed, "{name}");
    }
    for case in file.bundles_refused {
        let account = case.hex.0.first_chunk().copied().unwrap_or_default();
        let sealed = at_rest_form(&secret, &nonce, &account, &case.hex.0);
        assert_eq!(CredentialBundle::open(&sealed, &AccountId(account), &key), Err(OpenBundleError), "{}", case.name);
    }
}

#[test]
fn texts_are_taken_or_refused_as_the_vectors_say() {
    let file: Objects = format::read("objects.json");
    for case in file.texts {
        let error = match case.field {
            Field::AccountLabel => AccountLabel::new(&case.text).err(),
            Field::EntryName => EntryName::new(&case.text).err(),
            Field::DeviceName => DeviceName::new(&case.text).err(),
            Field::Platform => Platform::new(&case.text).err(),
        };
        assert_eq!(error.map(|error| snake_case(&error)), case.error, "{}", case.name);
    }
}

#[test]
fn device_keys_make_the_identities_of_the_vectors() {
    let file: Devices = format::read("device.json");
    for case in file.devices {
        let key = DeviceKey::from_secret(Secret::new(case.device_key.array()));
        assert_eq!(hex(*key.identity().as_bytes()), case.identity, "{}", case.name);
        assert_eq!(key.identity().fingerprint(), case.fingerprint, "{}", case.name);
    }
}

#[test]
fn bundles_at_rest_open_on_their_device_only() {
    let file: Devices = format::read("device.json");
    for case in file.at_rest {
        let name = &case.name;
        let (key, account) = (Secret::new(case.device_key.array()), AccountId(case.account_id.array()));
        let key = DeviceKey::from_secret(key);
        let bundle =
            CredentialBundle::open(&case.sealed.0, &account, &key).unwrap_or_else(|error| panic!("{name}: {error}"));
        let sealed = bundle.seal(&key, &mut Draws(case.nonce.0.clone())).unwrap();
        assert_eq!(Hex(sealed), case.sealed, "{name}");
        let again = at_rest_form(&case.device_key.0, &case.nonce.array(), &account.0, &case.bundle.0);
        assert_eq!(Hex(again), case.sealed, "{name}");
    }
    for case in file.at_rest_refused {
        let (key, account) = (Secret::new(case.device_key.array()), AccountId(case.account_id.array()));
        let opened = CredentialBundle::open(&case.sealed.0, &account, &DeviceKey::from_secret(key));
        assert_eq!(opened, Err(OpenBundleError), "{}", case.name);
    }
}

/// Signatures themselves are checked in `protocol/src/vector_tests.rs`.
#[test]
fn identity_keys_are_taken_or_refused_as_the_vectors_say() {
    let file: Signatures = format::read("signatures.json");
    for case in file.valid {
        assert!(IdentityPublicKey::from_bytes(&case.public_key.array()).is_ok(), "{}", case.name);
    }
    for case in file.invalid {
        let taken = IdentityPublicKey::from_bytes(&case.public_key.array()).is_ok();
        assert_eq!(taken, case.refused == Part::Signature, "{}", case.name);
    }
}

/// The vectors are worth something only if there are signatures that an ordinary verifier accepts.
#[test]
fn an_ordinary_verifier_accepts_some_of_what_is_refused() {
    let file: Signatures = format::read("signatures.json");
    let mut accepted = BTreeSet::new();
    for case in file.invalid {
        let Ok(key) = ed25519_dalek::VerifyingKey::from_bytes(&case.public_key.array()) else { continue };
        let mut message = Vec::new();
        for part in [case.label.as_bytes()].into_iter().chain(case.parts.iter().map(|part| part.0.as_slice())) {
            message.extend(u32::try_from(part.len()).unwrap().to_be_bytes());
            message.extend(part);
        }
        let signature = ed25519_dalek::Signature::from_bytes(&case.signature.array());
        if key.verify(&message, &signature).is_ok() {
            assert!(case.holds_plainly, "{}", case.name);
            accepted.insert(case.name);
        }
    }
    for name in ["key-small-order-0", "key-small-order-1", "r-identity", "r-small-order"] {
        assert!(accepted.contains(name), "{name}");
    }
}

fn hex<const N: usize>(bytes: [u8; N]) -> Hex {
    Hex(bytes.into())
}

fn reason(error: DecodeError) -> Reason {
    let field = match error {
        DecodeError::TooLong(field) | DecodeError::BadValue(field) => Some(field.into()),
        _ => None,
    };
    Reason { error: snake_case(&error), field }
}

/// The name of a variant: `WrongLength { .. }` is `wrong_length`.
fn snake_case(value: &impl Debug) -> String {
    kebab_case(value).replace('-', "_")
}

fn kebab_case(value: &impl Debug) -> String {
    let mut name = String::new();
    for c in format!("{value:?}").chars().take_while(char::is_ascii_alphanumeric) {
        if c.is_ascii_uppercase() && !name.is_empty() {
            name.push('-');
        }
        name.push(c.to_ascii_lowercase());
    }
    name
}

/// Gives out these bytes, all at once.
struct Draws(Vec<u8>);

impl TryRng for Draws {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        panic!("only whole byte strings are drawn")
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        panic!("only whole byte strings are drawn")
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        bytes.copy_from_slice(&std::mem::take(&mut self.0));
        Ok(())
    }
}

impl TryCryptoRng for Draws {}
