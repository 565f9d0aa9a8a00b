//! Relay frames: `spec/relay.md`, "Frames".

use super::{Reason, bytes};
use crate::vectors::derivation::cat;
use crate::vectors::format::Hex;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Frames {
    pub kind: String,
    pub comment: String,
    pub valid: Vec<ValidFrame>,
    pub invalid: Vec<InvalidFrame>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ValidFrame {
    pub name: String,
    pub comment: String,
    pub sender: Sender,
    pub frame: Frame,
    pub hex: Hex,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InvalidFrame {
    pub name: String,
    pub comment: String,
    pub sender: Sender,
    pub hex: Hex,
    pub reason: Reason,
}

/// Who sends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sender {
    Device,
    Relay,
    Either,
}

/// A frame with its fields. Codes are given by the names of `spec/constants.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Frame {
    Allocate { token: Hex },
    Open { mailbox_id: Hex, token: Hex },
    Claim { nameplate: u32, token: Hex },
    Resume { mailbox_id: Hex, token: Hex, received: u32 },
    Data { seq: u32, ack: u32, settled: bool, payload: Hex },
    Ack { ack: u32, settled: bool },
    Close { reason: String },
    Allocated { nameplate: u32, mailbox_id: Hex, lifetime: Lifetime },
    Joined { mailbox_id: Hex, slot: String, received: u32, peer: String, network: String, lifetime: Lifetime },
    Resumed { received: u32, peer: String, lifetime: Lifetime },
    PeerJoined { network: String },
    PeerLeft,
    PeerFreed,
    PeerClosed { reason: String },
    ThirdClaim,
    Ended { reason: String },
    Error { code: String, limit: u8, retry_after: u32 },
}

/// Milliseconds from now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lifetime {
    pub remaining: u32,
    pub linger: u32,
    pub max: u32,
}

// Each list in the order of its codes.
const CLOSE_REASONS: [&str; 5] = ["done", "cancelled", "burned", "expired", "failed"];
const SLOTS: [&str; 2] = ["first", "second"];
const PEER_STATES: [&str; 4] = ["absent", "present", "away", "closed"];
const NETWORKS: [&str; 3] = ["unknown", "same", "different"];
const END_REASONS: [&str; 5] = ["expired", "crowded", "claim_timed_out", "shutting_down", "replaced"];
const ERROR_CODES: [&str; 8] = [
    "malformed",
    "unexpected_frame",
    "no_such_nameplate",
    "no_such_mailbox",
    "bad_token",
    "mailbox_full",
    "limit",
    "draining",
];
const LIMIT: usize = 6;

const MAX_PAYLOAD_BYTES: usize = 16374;
const NAMEPLATES: u32 = 1 << 20;

// The values of the examples in `spec/relay.md`.
const NAMEPLATE: u32 = 0xb3f7e;
const FIRST_LIFETIME: Lifetime = Lifetime { remaining: 600_000, linger: 120_000, max: 900_000 };
const LATER_LIFETIME: Lifetime = Lifetime { remaining: 540_000, linger: 120_000, max: 840_000 };

pub fn file() -> Frames {
    Frames {
        kind: "frames".into(),
        comment: "Relay frames, one binary websocket message each. `valid`: the bytes have these fields, and these \
                  fields have these bytes. `invalid`: no frame, if it comes from `sender` (spec/relay.md says what \
                  follows); `reason` says what is wrong with it. Frames of `either` look the same in both directions."
            .into(),
        valid: valid(),
        invalid: invalid(),
    }
}

fn id(first: u8) -> Hex {
    Hex((first..first + 16).collect())
}

/// One frame of each type, as in the examples of `spec/relay.md`.
fn examples() -> Vec<(&'static str, Sender, Frame)> {
    let (mailbox_id, first, second) = (id(0xa0), id(0x10), id(0x20));
    let (nameplate, token) = (NAMEPLATE, first.clone());
    vec![
        ("allocate", Sender::Device, Frame::Allocate { token: first }),
        ("open", Sender::Device, Frame::Open { mailbox_id: mailbox_id.clone(), token }),
        ("claim", Sender::Device, Frame::Claim { nameplate, token: second.clone() }),
        ("resume", Sender::Device, Frame::Resume { mailbox_id: mailbox_id.clone(), token: second, received: 2 }),
        ("data", Sender::Either, Frame::Data { seq: 1, ack: 2, settled: true, payload: Hex(vec![1, 3, 0xaa, 0xbb]) }),
        ("ack", Sender::Either, Frame::Ack { ack: 4, settled: false }),
        ("close", Sender::Device, Frame::Close { reason: "burned".into() }),
        (
            "allocated",
            Sender::Relay,
            Frame::Allocated { nameplate, mailbox_id: mailbox_id.clone(), lifetime: FIRST_LIFETIME },
        ),
        (
            "joined",
            Sender::Relay,
            Frame::Joined {
                mailbox_id,
                slot: "second".into(),
                received: 0,
                peer: "present".into(),
                network: "same".into(),
                lifetime: LATER_LIFETIME,
            },
        ),
        ("resumed", Sender::Relay, Frame::Resumed { received: 3, peer: "away".into(), lifetime: LATER_LIFETIME }),
        ("peer-joined", Sender::Relay, Frame::PeerJoined { network: "different".into() }),
        ("peer-left", Sender::Relay, Frame::PeerLeft),
        ("peer-freed", Sender::Relay, Frame::PeerFreed),
        ("peer-closed", Sender::Relay, Frame::PeerClosed { reason: "done".into() }),
        ("third-claim", Sender::Relay, Frame::ThirdClaim),
        ("ended", Sender::Relay, Frame::Ended { reason: "crowded".into() }),
        ("error", Sender::Relay, Frame::Error { code: "limit".into(), limit: 1, retry_after: 5000 }),
    ]
}

fn valid() -> Vec<ValidFrame> {
    let mut frames = Vec::new();
    let mut add = |name: String, comment: &str, sender, frame: Frame| {
        let hex = Hex(encode(&frame));
        frames.push(ValidFrame { name, comment: comment.into(), sender, frame, hex });
    };
    for (name, sender, frame) in examples() {
        add(name.into(), "an example of spec/relay.md", sender, frame);
    }
    let (mailbox_id, token) = (Hex(bytes::<16>("mailbox id").into()), Hex(bytes::<16>("token").into()));
    for (name, nameplate) in [("lowest", 0), ("highest", NAMEPLATES - 1)] {
        let claim = Frame::Claim { nameplate, token: token.clone() };
        add(format!("claim-{name}-nameplate"), "", Sender::Device, claim);
        let allocated = Frame::Allocated { nameplate, mailbox_id: mailbox_id.clone(), lifetime: FIRST_LIFETIME };
        add(format!("allocated-{name}-nameplate"), "", Sender::Relay, allocated);
    }
    let highest = "every count at its highest";
    let resume = Frame::Resume { mailbox_id: mailbox_id.clone(), token, received: u32::MAX };
    add("resume-highest".into(), highest, Sender::Device, resume);
    let ack = Frame::Ack { ack: u32::MAX, settled: true };
    add("ack-highest".into(), highest, Sender::Either, ack);
    let lifetime = || Lifetime { remaining: u32::MAX, linger: u32::MAX, max: u32::MAX };
    let resumed = Frame::Resumed { received: u32::MAX, peer: "present".into(), lifetime: lifetime() };
    add("resumed-highest".into(), highest, Sender::Relay, resumed);
    let data = |payload| Frame::Data { seq: u32::MAX, ack: u32::MAX, settled: false, payload: Hex(payload) };
    add("data-shortest".into(), "a payload of one byte", Sender::Either, data(vec![0]));
    let longest = data(vec![0x5a; MAX_PAYLOAD_BYTES]);
    add("data-longest".into(), "a frame of 16384 bytes", Sender::Either, longest);

    for reason in CLOSE_REASONS {
        let name = reason.replace('_', "-");
        add(format!("close-{name}"), "", Sender::Device, Frame::Close { reason: reason.into() });
        add(format!("peer-closed-{name}"), "", Sender::Relay, Frame::PeerClosed { reason: reason.into() });
    }
    for network in NETWORKS {
        let frame = Frame::PeerJoined { network: network.into() };
        add(format!("peer-joined-{network}"), "", Sender::Relay, frame);
    }
    for (slot, peer, network) in
        [("first", "absent", "unknown"), ("first", "closed", "different"), ("second", "away", "unknown")]
    {
        let (mailbox_id, slot, received) = (mailbox_id.clone(), String::from(slot), u32::MAX);
        let name = format!("joined-{slot}-{peer}-{network}");
        let lifetime = Lifetime { remaining: 0, linger: 0, max: 0 };
        let (peer, network) = (peer.into(), network.into());
        let joined = Frame::Joined { mailbox_id, slot, received, peer, network, lifetime };
        add(name, "a lifetime of nothing", Sender::Relay, joined);
    }
    for peer in PEER_STATES {
        let resumed = Frame::Resumed { received: 0, peer: peer.into(), lifetime: lifetime() };
        add(format!("resumed-{peer}"), "", Sender::Relay, resumed);
    }
    for reason in END_REASONS {
        let name = format!("ended-{}", reason.replace('_', "-"));
        add(name, "", Sender::Relay, Frame::Ended { reason: reason.into() });
    }
    let error = |code: &str, limit, retry_after| Frame::Error { code: code.into(), limit, retry_after };
    for code in ERROR_CODES {
        add(format!("error-{}", code.replace('_', "-")), "", Sender::Relay, error(code, 0, u32::MAX));
    }
    for limit in 1..=11 {
        add(format!("error-limit-{limit}"), "", Sender::Relay, error("limit", limit, 0));
    }
    for limit in [12, 200, 255] {
        let comment = "a limit that version 1 does not name: tolerated";
        add(format!("error-limit-{limit}"), comment, Sender::Relay, error("limit", limit, 1));
    }
    frames
}

fn invalid() -> Vec<InvalidFrame> {
    let mut frames = Vec::new();
    let mut add = |name: String, comment: &str, sender, hex: Vec<u8>, reason| {
        frames.push(InvalidFrame { name, comment: comment.into(), sender, hex: Hex(hex), reason });
    };
    add("empty".into(), "a message without a byte", Sender::Either, vec![], Reason::truncated());
    let too_long = cat(&[&encode(&examples()[4].2), &[0; MAX_PAYLOAD_BYTES - 3]]);
    add("data-too-long".into(), "16385 bytes", Sender::Either, too_long, Reason::too_long("frame"));

    for (name, sender, frame) in examples() {
        let mut encoded = encode(&frame);
        let is_data = matches!(frame, Frame::Data { .. });
        if is_data {
            // Whatever follows the header is payload, but there must be some.
            encoded.truncate(10);
            add("data-empty".into(), "no payload", sender, encoded.clone(), Reason::truncated());
        } else {
            let longer = cat(&[&encoded, &[0]]);
            add(format!("{name}-trailing"), "a byte too many", sender, longer, Reason::trailing());
        }
        encoded.pop();
        if !encoded.is_empty() {
            add(format!("{name}-truncated"), "cut at the end", sender, encoded.clone(), Reason::truncated());
        }
        if encoded.len() > 1 {
            let only_type = encoded[..1].to_vec();
            add(format!("{name}-without-fields"), "only the type", sender, only_type, Reason::truncated());
        }
        // A frame of the other direction.
        let other = match sender {
            Sender::Device => Sender::Relay,
            Sender::Relay => Sender::Device,
            Sender::Either => continue,
        };
        let comment = "the wrong direction";
        add(format!("{name}-from-the-other-side"), comment, other, encode(&frame), Reason::bad_value("frame type"));
    }
    for code in [0x00, 0x08, 0x7f, 0x80, 0x8b, 0xff] {
        let name = format!("type-{code:02x}");
        add(name, "no frame has this type", Sender::Either, vec![code; 17], Reason::bad_value("frame type"));
    }

    // One field of an example set to what no encoder writes.
    let changes: [(&str, usize, u8, &str); 21] = [
        ("claim", 2, 0x10, "nameplate"),
        ("claim", 1, 0x01, "nameplate"),
        ("allocated", 2, 0x10, "nameplate"),
        ("allocated", 1, 0xff, "nameplate"),
        ("data", 9, 0x02, "flags"),
        ("data", 9, 0x03, "flags"),
        ("data", 9, 0x80, "flags"),
        ("ack", 5, 0x02, "flags"),
        ("ack", 5, 0x03, "flags"),
        ("ack", 5, 0xff, "flags"),
        ("close", 1, 5, "close reason"),
        ("close", 1, 0xff, "close reason"),
        ("joined", 17, 2, "slot"),
        ("joined", 22, 4, "peer state"),
        ("joined", 23, 3, "network hint"),
        ("resumed", 5, 4, "peer state"),
        ("peer-joined", 1, 3, "network hint"),
        ("peer-closed", 1, 5, "close reason"),
        ("ended", 1, 5, "end reason"),
        ("error", 1, 8, "error code"),
        ("error", 1, 5, "error code"),
    ];
    for (name, at, value, field) in changes {
        let (_, sender, frame) = examples().into_iter().find(|example| example.0 == name).unwrap();
        let mut encoded = encode(&frame);
        encoded[at] = value;
        let comment = if name == "error" && value == 5 { "a limit without the code for it" } else { "" };
        add(format!("{name}-byte-{at}-is-{value:02x}"), comment, sender, encoded, Reason::bad_value(field));
    }
    frames
}

/// The bytes of a frame, written from the grammar.
fn encode(frame: &Frame) -> Vec<u8> {
    let u32 = |value: &u32| value.to_be_bytes();
    let code = |list: &[&str], name: &str| [list.iter().position(|known| *known == name).unwrap() as u8];
    let life = |lifetime: &Lifetime| cat(&[&u32(&lifetime.remaining), &u32(&lifetime.linger), &u32(&lifetime.max)]);
    match frame {
        Frame::Allocate { token } => cat(&[&[0x01], &token.0]),
        Frame::Open { mailbox_id, token } => cat(&[&[0x02], &mailbox_id.0, &token.0]),
        Frame::Claim { nameplate, token } => cat(&[&[0x03], &u32(nameplate), &token.0]),
        Frame::Resume { mailbox_id, token, received } => cat(&[&[0x04], &mailbox_id.0, &token.0, &u32(received)]),
        Frame::Data { seq, ack, settled, payload } => {
            cat(&[&[0x05], &u32(seq), &u32(ack), &[u8::from(*settled)], &payload.0])
        }
        Frame::Ack { ack, settled } => cat(&[&[0x06], &u32(ack), &[u8::from(*settled)]]),
        Frame::Close { reason } => cat(&[&[0x07], &code(&CLOSE_REASONS, reason)]),
        Frame::Allocated { nameplate, mailbox_id, lifetime } => {
            cat(&[&[0x81], &u32(nameplate), &mailbox_id.0, &life(lifetime)])
        }
        Frame::Joined { mailbox_id, slot, received, peer, network, lifetime } => cat(&[
            &[0x82],
            &mailbox_id.0,
            &code(&SLOTS, slot),
            &u32(received),
            &code(&PEER_STATES, peer),
            &code(&NETWORKS, network),
            &life(lifetime),
        ]),
        Frame::Resumed { received, peer, lifetime } => {
            cat(&[&[0x83], &u32(received), &code(&PEER_STATES, peer), &life(lifetime)])
        }
        Frame::PeerJoined { network } => cat(&[&[0x84], &code(&NETWORKS, network)]),
        Frame::PeerLeft => vec![0x85],
        Frame::PeerFreed => vec![0x86],
        Frame::PeerClosed { reason } => cat(&[&[0x87], &code(&CLOSE_REASONS, reason)]),
        Frame::ThirdClaim => vec![0x88],
        Frame::Ended { reason } => cat(&[&[0x89], &code(&END_REASONS, reason)]),
        Frame::Error { code: name, limit, retry_after } => {
            assert!(*limit == 0 || name == ERROR_CODES[LIMIT]);
            cat(&[&[0x8a], &code(&ERROR_CODES, name), &[*limit], &u32(retry_after)])
        }
    }
}
