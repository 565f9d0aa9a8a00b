//! Every frame has one encoding, and nothing else decodes.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use handfast_wire::codec::{Reader, Writer};
use handfast_wire::limits::{DATA_HEADER_BYTES, MAX_FRAME_BYTES, MAX_PAYLOAD_BYTES};
use handfast_wire::{
    Ack, ClientFrame, CloseReason, Data, DataHeader, DecodeError, EndReason, ErrorCode, Flags, Joined, Lifetime,
    LimitKind, MailboxId, Nameplate, Network, PeerState, RelayFrame, ResumeToken, Slot,
};
use proptest::collection::vec;
use proptest::prelude::*;

const ID: MailboxId = MailboxId([0x11; 16]);
const TOKEN: ResumeToken = ResumeToken([0x22; 16]);
const LIFETIME: Lifetime = Lifetime { remaining_ms: 600_000, linger_ms: 120_000, max_ms: 900_000 };

fn nameplate() -> impl Strategy<Value = Nameplate> {
    (0..Nameplate::COUNT).prop_map(|number| Nameplate::new(number).unwrap())
}

fn id() -> impl Strategy<Value = MailboxId> {
    any::<[u8; 16]>().prop_map(MailboxId)
}

fn token() -> impl Strategy<Value = ResumeToken> {
    any::<[u8; 16]>().prop_map(ResumeToken)
}

fn flags() -> impl Strategy<Value = Flags> {
    any::<bool>().prop_map(|settled| Flags { settled })
}

fn data() -> impl Strategy<Value = Data> {
    let payload = prop_oneof![9 => vec(any::<u8>(), 1..64), 1 => vec(any::<u8>(), MAX_PAYLOAD_BYTES)];
    (any::<u32>(), any::<u32>(), flags(), payload).prop_map(|(seq, ack, flags, payload)| Data {
        seq,
        ack,
        flags,
        payload,
    })
}

fn ack() -> impl Strategy<Value = Ack> {
    (any::<u32>(), flags()).prop_map(|(ack, flags)| Ack { ack, flags })
}

fn close_reason() -> impl Strategy<Value = CloseReason> {
    use CloseReason::{Burned, Cancelled, Done, Expired, Failed};
    prop::sample::select(vec![Done, Cancelled, Burned, Expired, Failed])
}

fn lifetime() -> impl Strategy<Value = Lifetime> {
    any::<(u32, u32, u32)>().prop_map(|(remaining_ms, linger_ms, max_ms)| Lifetime { remaining_ms, linger_ms, max_ms })
}

fn peer_state() -> impl Strategy<Value = PeerState> {
    use PeerState::{Absent, Away, Closed, Present};
    prop::sample::select(vec![Absent, Present, Away, Closed])
}

fn network() -> impl Strategy<Value = Network> {
    prop::sample::select(vec![Network::Unknown, Network::Same, Network::Different])
}

fn joined() -> impl Strategy<Value = Joined> {
    let slot = prop::sample::select(vec![Slot::First, Slot::Second]);
    (id(), slot, any::<u32>(), peer_state(), network(), lifetime()).prop_map(
        |(mailbox, slot, received, peer, network, lifetime)| Joined {
            mailbox,
            slot,
            received,
            peer,
            network,
            lifetime,
        },
    )
}

fn end_reason() -> impl Strategy<Value = EndReason> {
    use EndReason::{ClaimTimedOut, Crowded, Expired, Replaced, ShuttingDown};
    prop::sample::select(vec![Expired, Crowded, ClaimTimedOut, ShuttingDown, Replaced])
}

fn limit_kind() -> impl Strategy<Value = LimitKind> {
    use LimitKind::{
        Connections, FrameBytes, MailboxBytes, MailboxFrames, Mailboxes, QueuedBytes, SourceClaims, SourceConnections,
        SourceMailboxes, SourceMisses, Store, Window,
    };
    let of_the_relay = vec![Connections, Mailboxes, QueuedBytes, Store];
    let of_a_run = vec![MailboxFrames, Window, FrameBytes, MailboxBytes];
    let of_a_source = vec![SourceConnections, SourceMailboxes, SourceClaims, SourceMisses];
    let named = [of_the_relay, of_a_run, of_a_source].concat();
    // Lower numbers have names: `Other` never holds one of them after decoding.
    prop_oneof![prop::sample::select(named), (12..=u8::MAX).prop_map(LimitKind::Other)]
}

fn error_code() -> impl Strategy<Value = ErrorCode> {
    use ErrorCode::{BadToken, Draining, MailboxFull, Malformed, NoSuchMailbox, NoSuchNameplate, UnexpectedFrame};
    let plain = vec![Malformed, UnexpectedFrame, NoSuchNameplate, NoSuchMailbox, BadToken, MailboxFull, Draining];
    prop_oneof![prop::sample::select(plain), limit_kind().prop_map(ErrorCode::Limit)]
}

fn client_frame() -> impl Strategy<Value = ClientFrame> {
    prop_oneof![
        token().prop_map(|token| ClientFrame::Allocate { token }),
        (id(), token()).prop_map(|(mailbox, token)| ClientFrame::Open { mailbox, token }),
        (nameplate(), token()).prop_map(|(nameplate, token)| ClientFrame::Claim { nameplate, token }),
        (id(), token(), any::<u32>()).prop_map(|(mailbox, token, received)| ClientFrame::Resume {
            mailbox,
            token,
            received
        }),
        data().prop_map(ClientFrame::Data),
        ack().prop_map(ClientFrame::Ack),
        close_reason().prop_map(|reason| ClientFrame::Close { reason }),
    ]
}

fn relay_frame() -> impl Strategy<Value = RelayFrame> {
    prop_oneof![
        (nameplate(), id(), lifetime()).prop_map(|(nameplate, mailbox, lifetime)| RelayFrame::Allocated {
            nameplate,
            mailbox,
            lifetime
        }),
        joined().prop_map(RelayFrame::Joined),
        (any::<u32>(), peer_state(), lifetime()).prop_map(|(received, peer, lifetime)| RelayFrame::Resumed {
            received,
            peer,
            lifetime
        }),
        network().prop_map(|network| RelayFrame::PeerJoined { network }),
        Just(RelayFrame::PeerLeft),
        Just(RelayFrame::PeerFreed),
        close_reason().prop_map(|reason| RelayFrame::PeerClosed { reason }),
        Just(RelayFrame::ThirdClaim),
        end_reason().prop_map(|reason| RelayFrame::Ended { reason }),
        (error_code(), any::<u32>()).prop_map(|(code, retry_after_ms)| RelayFrame::Error { code, retry_after_ms }),
        data().prop_map(RelayFrame::Data),
        ack().prop_map(RelayFrame::Ack),
    ]
}

/// Bytes near a valid encoding: some changed, some cut off, some added.
fn mutated(valid: impl Strategy<Value = Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let edits = vec((any::<prop::sample::Index>(), prop_oneof![0..8_u8, any::<u8>()]), 0..4);
    (valid, edits, 0..3_usize, vec(any::<u8>(), 0..3)).prop_map(|(mut bytes, edits, cut, tail)| {
        for (index, value) in edits {
            let index = index.index(bytes.len());
            bytes[index] = value;
        }
        bytes.truncate(bytes.len() - cut.min(bytes.len()));
        bytes.extend(tail);
        bytes
    })
}

fn reencodes(bytes: &[u8]) {
    if let Ok(frame) = ClientFrame::decode(bytes) {
        assert_eq!(frame.encode(), bytes);
    }
    if let Ok(frame) = RelayFrame::decode(bytes) {
        assert_eq!(frame.encode(), bytes);
    }
}

/// The relay's short way to read a data frame must agree with the long one.
fn header_agrees(bytes: &[u8]) {
    let long = ClientFrame::decode(bytes);
    match DataHeader::decode(bytes) {
        Ok(Some(DataHeader { seq, ack, flags })) => match long {
            Ok(ClientFrame::Data(data)) => assert_eq!((seq, ack, flags), (data.seq, data.ack, data.flags)),
            other => panic!("{other:?}"),
        },
        Ok(None) => assert!(!matches!(long, Ok(ClientFrame::Data(_)))),
        Err(error) => assert_eq!(long, Err(error)),
    }
}

proptest! {
    #[test]
    fn client_frames_survive_the_codec(frame in client_frame()) {
        prop_assert_eq!(ClientFrame::decode(&frame.encode()), Ok(frame));
    }

    #[test]
    fn relay_frames_survive_the_codec(frame in relay_frame()) {
        prop_assert_eq!(RelayFrame::decode(&frame.encode()), Ok(frame));
    }

    #[test]
    fn what_decodes_reencodes_to_the_same_bytes(bytes in vec(any::<u8>(), 0..80)) {
        reencodes(&bytes);
        header_agrees(&bytes);
    }

    #[test]
    fn mutated_client_frames_reencode_to_the_same_bytes(
        bytes in mutated(client_frame().prop_map(|frame| frame.encode())),
    ) {
        reencodes(&bytes);
        header_agrees(&bytes);
    }

    #[test]
    fn mutated_relay_frames_reencode_to_the_same_bytes(
        bytes in mutated(relay_frame().prop_map(|frame| frame.encode())),
    ) {
        reencodes(&bytes);
        header_agrees(&bytes);
    }

    /// A relay forwards data frames as they are.
    #[test]
    fn data_frames_look_the_same_in_both_directions(data in data()) {
        prop_assert_eq!(ClientFrame::Data(data.clone()).encode(), RelayFrame::Data(data).encode());
    }
}

fn every_client_frame() -> Vec<ClientFrame> {
    let nameplate = Nameplate::new(0x1_2345).unwrap();
    vec![
        ClientFrame::Allocate { token: TOKEN },
        ClientFrame::Open { mailbox: ID, token: TOKEN },
        ClientFrame::Claim { nameplate, token: TOKEN },
        ClientFrame::Resume { mailbox: ID, token: TOKEN, received: 3 },
        ClientFrame::Data(Data { seq: 1, ack: 2, flags: Flags { settled: true }, payload: vec![9] }),
        ClientFrame::Ack(Ack { ack: 2, flags: Flags::NONE }),
        ClientFrame::Close { reason: CloseReason::Burned },
    ]
}

fn every_relay_frame() -> Vec<RelayFrame> {
    let nameplate = Nameplate::new(0x1_2345).unwrap();
    vec![
        RelayFrame::Allocated { nameplate, mailbox: ID, lifetime: LIFETIME },
        RelayFrame::Joined(Joined {
            mailbox: ID,
            slot: Slot::Second,
            received: 0,
            peer: PeerState::Present,
            network: Network::Same,
            lifetime: LIFETIME,
        }),
        RelayFrame::Resumed { received: 1, peer: PeerState::Away, lifetime: LIFETIME },
        RelayFrame::PeerJoined { network: Network::Different },
        RelayFrame::PeerLeft,
        RelayFrame::PeerFreed,
        RelayFrame::PeerClosed { reason: CloseReason::Done },
        RelayFrame::ThirdClaim,
        RelayFrame::Ended { reason: EndReason::Crowded },
        RelayFrame::Error { code: ErrorCode::Limit(LimitKind::Window), retry_after_ms: 0 },
        RelayFrame::Data(Data { seq: 1, ack: 2, flags: Flags::NONE, payload: vec![9] }),
        RelayFrame::Ack(Ack { ack: 2, flags: Flags::NONE }),
    ]
}

/// Written out by hand: changing one of these changes the protocol.
#[test]
fn known_encodings() {
    let hex = |bytes: Vec<u8>| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let (id, token) = ("11".repeat(16), "22".repeat(16));
    let lifetime = "000927c00001d4c0000dbba0";
    let client: Vec<String> = every_client_frame().iter().map(|frame| hex(frame.encode())).collect();
    let expected = [
        format!("01{token}"),
        format!("02{id}{token}"),
        format!("0300012345{token}"),
        format!("04{id}{token}00000003"),
        "0500000001000000020109".into(),
        "060000000200".into(),
        "0702".into(),
    ];
    assert_eq!(client, expected);
    let relay: Vec<String> = every_relay_frame().iter().map(|frame| hex(frame.encode())).collect();
    let expected = [
        format!("8100012345{id}{lifetime}"),
        format!("82{id}01000000000101{lifetime}"),
        format!("830000000102{lifetime}"),
        "8402".into(),
        "85".into(),
        "86".into(),
        "8700".into(),
        "88".into(),
        "8901".into(),
        "8a060300000000".into(),
        "0500000001000000020009".into(),
        "060000000200".into(),
    ];
    assert_eq!(relay, expected);
}

#[test]
fn every_cut_is_refused() {
    for frame in every_client_frame() {
        let bytes = frame.encode();
        for len in 0..bytes.len() {
            assert_eq!(ClientFrame::decode(&bytes[..len]), Err(DecodeError::Truncated), "{frame:?} cut to {len}");
        }
    }
    for frame in every_relay_frame() {
        let bytes = frame.encode();
        for len in 0..bytes.len() {
            assert_eq!(RelayFrame::decode(&bytes[..len]), Err(DecodeError::Truncated), "{frame:?} cut to {len}");
        }
    }
}

#[test]
fn a_trailing_byte_is_refused() {
    for frame in every_client_frame().into_iter().filter(|frame| !matches!(frame, ClientFrame::Data(_))) {
        let mut bytes = frame.encode();
        bytes.push(0);
        assert_eq!(ClientFrame::decode(&bytes), Err(DecodeError::TrailingBytes), "{frame:?}");
    }
    for frame in every_relay_frame().into_iter().filter(|frame| !matches!(frame, RelayFrame::Data(_))) {
        let mut bytes = frame.encode();
        bytes.push(0);
        assert_eq!(RelayFrame::decode(&bytes), Err(DecodeError::TrailingBytes), "{frame:?}");
    }
}

#[test]
fn unknown_frame_types_are_refused() {
    let long = [0; 64];
    for first in 0..=u8::MAX {
        let mut bytes = long;
        bytes[0] = first;
        let unknown = Err(DecodeError::BadValue("frame type"));
        if !(0x01..=0x07).contains(&first) {
            assert_eq!(ClientFrame::decode(&bytes), unknown, "{first:#x}");
        }
        if !matches!(first, 0x05 | 0x06 | 0x81..=0x8a) {
            assert_eq!(RelayFrame::decode(&bytes).map(drop), Err(DecodeError::BadValue("frame type")), "{first:#x}");
        }
    }
}

#[test]
fn unknown_codes_are_refused() {
    let client = |bytes: &[u8]| ClientFrame::decode(bytes).unwrap_err();
    let relay = |bytes: &[u8]| RelayFrame::decode(bytes).unwrap_err();
    assert_eq!(client(&[0x05, 0, 0, 0, 0, 0, 0, 0, 0, 2, 9]), DecodeError::BadValue("flags"));
    assert_eq!(client(&[0x06, 0, 0, 0, 0, 2]), DecodeError::BadValue("flags"));
    assert_eq!(client(&[0x07, 5]), DecodeError::BadValue("close reason"));
    assert_eq!(relay(&[0x87, 5]), DecodeError::BadValue("close reason"));
    assert_eq!(relay(&[0x84, 3]), DecodeError::BadValue("network hint"));
    assert_eq!(relay(&[0x89, 5]), DecodeError::BadValue("end reason"));
    assert_eq!(relay(&[0x8a, 8, 0, 0, 0, 0, 0]), DecodeError::BadValue("error code"));
    let joined = every_relay_frame()[1].encode();
    for (offset, value, field) in [(17, 2, "slot"), (22, 4, "peer state"), (23, 3, "network hint")] {
        let mut bytes = joined.clone();
        bytes[offset] = value;
        assert_eq!(relay(&bytes), DecodeError::BadValue(field));
    }
    let mut resumed = every_relay_frame()[2].encode();
    resumed[5] = 4;
    assert_eq!(relay(&resumed), DecodeError::BadValue("peer state"));
}

#[test]
fn only_a_limit_has_a_second_code() {
    for code in [0, 1, 2, 3, 4, 5, 7] {
        let error = RelayFrame::decode(&[0x8a, code, 1, 0, 0, 0, 0]);
        assert_eq!(error, Err(DecodeError::BadValue("error code")), "{code}");
    }
    let new = RelayFrame::decode(&[0x8a, 6, 200, 0, 0, 0, 1]);
    assert_eq!(new, Ok(RelayFrame::Error { code: ErrorCode::Limit(LimitKind::Other(200)), retry_after_ms: 1 }));
}

#[test]
fn a_nameplate_has_20_bits() {
    assert_eq!(Nameplate::new((1 << 20) - 1).map(Nameplate::number), Ok((1 << 20) - 1));
    assert_eq!(Nameplate::new(1 << 20), Err(DecodeError::BadValue("nameplate")));
    let mut bytes = ClientFrame::Claim { nameplate: Nameplate::new(0xf_ffff).unwrap(), token: TOKEN }.encode();
    bytes[2] = 0x10;
    assert_eq!(ClientFrame::decode(&bytes), Err(DecodeError::BadValue("nameplate")));
}

#[test]
fn a_payload_has_at_least_one_byte() {
    let header = [0x05, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    assert_eq!(header.len(), DATA_HEADER_BYTES);
    assert_eq!(ClientFrame::decode(&header), Err(DecodeError::Truncated));
    assert_eq!(RelayFrame::decode(&header), Err(DecodeError::Truncated));
    assert_eq!(DataHeader::decode(&header), Err(DecodeError::Truncated));
}

#[test]
fn a_frame_has_at_most_16_kib() {
    let data = |len| Data { seq: 0, ack: 0, flags: Flags::NONE, payload: vec![0; len] };
    let largest = ClientFrame::Data(data(MAX_PAYLOAD_BYTES)).encode();
    assert_eq!(largest.len(), MAX_FRAME_BYTES);
    assert!(ClientFrame::decode(&largest).is_ok() && RelayFrame::decode(&largest).is_ok());
    let over = ClientFrame::Data(data(MAX_PAYLOAD_BYTES + 1)).encode();
    assert_eq!(ClientFrame::decode(&over), Err(DecodeError::TooLong("frame")));
    assert_eq!(RelayFrame::decode(&over), Err(DecodeError::TooLong("frame")));
    assert_eq!(DataHeader::decode(&over), Err(DecodeError::TooLong("frame")));
}

#[test]
fn length_prefixes_are_checked_before_they_are_believed() {
    let mut long = Writer::default();
    long.bytes16(&[7; 5]);
    let long = long.into_bytes();
    assert_eq!(Reader::new(&long).bytes16("name", 5), Ok(&[7; 5][..]));
    assert_eq!(Reader::new(&long).bytes16("name", 4), Err(DecodeError::TooLong("name")));
    assert_eq!(Reader::new(&long[..6]).bytes16("name", 5), Err(DecodeError::Truncated));

    let huge = [0xff; 8];
    assert_eq!(Reader::new(&huge).bytes32("blob", 1 << 20), Err(DecodeError::TooLong("blob")));
    assert_eq!(Reader::new(&huge).bytes32("blob", usize::MAX), Err(DecodeError::Truncated));
    let mut blob = Writer::default();
    blob.bytes32(&[7; 5]);
    assert_eq!(Reader::new(&blob.into_bytes()).bytes32("blob", 5), Ok(&[7; 5][..]));
}

#[test]
fn text_is_utf8() {
    let mut w = Writer::default();
    w.bytes16("né".as_bytes()).bytes16(&[0xff]);
    let bytes = w.into_bytes();
    let mut r = Reader::new(&bytes);
    assert_eq!(r.text16("name", 10), Ok("né"));
    assert_eq!(r.text16("name", 10), Err(DecodeError::BadValue("name")));
}

#[test]
fn nothing_secret_is_printed() {
    let bytes = vec![0xab; 24];
    let data = Data { seq: 1, ack: 2, flags: Flags::NONE, payload: bytes };
    let printed = format!("{data:?} {ID:?} {TOKEN:?} {:?}", Nameplate::new(777).unwrap());
    assert_eq!(
        printed,
        "Data { seq: 1, ack: 2, flags: Flags { settled: false }, payload_bytes: 24 } MailboxId(..) ResumeToken(..) \
         Nameplate(..)"
    );
}
