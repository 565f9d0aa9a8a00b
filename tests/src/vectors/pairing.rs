//! Files of kind "pairing": one whole run each, with every random and every intermediate value.

use super::derivation::{Bundle, Run, genesis};
use super::format::{self, Hex, Named};
use serde::{Deserialize, Deserializer, Serialize};
use sha2::{Digest, Sha512};

/// A run from its inputs to its outcomes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pairing {
    /// Always the same.
    pub kind: PairingKind,
    /// Also the name of the file.
    pub name: String,
    /// What is special.
    pub comment: String,
    /// Who shows what.
    pub mode: Mode,
    /// What the run is for.
    pub purpose: Purpose,
    /// One device.
    pub trusted: Trusted,
    /// The other.
    pub new: New,
    /// What the relay assigns; `code` mode.
    #[serde(deserialize_with = "required")]
    pub nameplate: Option<u32>,
    /// QR modes, if the displayer puts its relay into the QR code.
    #[serde(deserialize_with = "required")]
    pub relay_hint: Option<RelayHint>,
    /// Every random value that the two devices draw.
    pub random: Named,
    /// What the person types, where there is a check code.
    #[serde(deserialize_with = "required")]
    pub typed_check_code: Option<String>,
    /// Everything that is computed on the way, in that order.
    pub values: Named,
    /// Every message of the two devices, in order.
    pub messages: Vec<Message>,
    /// How the run ends on both.
    pub outcome: Outcome,
}

/// Marks the kind of file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PairingKind {
    /// The only one.
    Pairing,
}

/// Who shows what. The values are those of an offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// The trusted device a code.
    Code = 0,
    /// The new device a QR code.
    QrNew = 1,
    /// The trusted device a QR code.
    QrTrusted = 2,
}

/// What a run is for. The values are those of an offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Purpose {
    /// The new device becomes a trusted one.
    Enroll = 0,
    /// The new device gets what it asked for, once.
    Unlock = 1,
}

/// Which device of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// The trusted device.
    Trusted,
    /// The new device.
    New,
}

/// The trusted device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trusted {
    /// From which everything long-term is derived.
    pub device_key: Hex,
    /// What it calls itself.
    pub name: String,
    /// What kind of machine it says it is.
    pub platform: String,
    /// The statement that made the account.
    pub genesis: Hex,
    /// The bundle of the account, encoded.
    pub bundle: Hex,
    /// The identities that it has recorded.
    pub known: Vec<Hex>,
}

/// The new device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct New {
    /// From which everything long-term is derived.
    pub device_key: Hex,
    /// What it calls itself.
    pub name: String,
    /// What kind of machine it says it is.
    pub platform: String,
    /// What it asks for.
    pub request: Request,
    /// What it has recorded: of an enrolled device that is unlocked.
    #[serde(deserialize_with = "required")]
    pub recorded: Option<Recorded>,
}

/// What a new device asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Request {
    /// To enroll.
    Bundle(BundleRequest),
    /// To unlock.
    Items(ItemsRequest),
}

/// The word `bundle`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BundleRequest {
    /// The whole bundle.
    Bundle,
}

/// Parts of a bundle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ItemsRequest {
    /// Whether the account unlock key is one of them.
    pub unlock_key: bool,
    /// Names in ascending order.
    pub entries: Vec<String>,
}

/// What an enrolled device knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recorded {
    /// Its account.
    pub account_id: Hex,
    /// The devices of that account.
    pub identities: Vec<Hex>,
}

/// Where a displayer's relay is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RelayHint {
    /// `ws` or `wss`.
    pub scheme: String,
    /// Host, perhaps with a port.
    pub authority: String,
}

/// A message as the relay's payload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Message {
    /// `M0`, `M1`, `M2`, `CheckRequest`, `M2c`, `M3.0`, `M3.1` ..., `M4`.
    pub name: String,
    /// Who sends it.
    pub from: Role,
    /// Its second byte.
    pub kind: u8,
    /// Version, kind and body.
    pub payload: Hex,
}

/// How both runs end, by the names of the specification.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outcome {
    /// On the trusted device.
    pub trusted: String,
    /// On the new device.
    pub new: String,
}

/// An optional field that is written as `null`, never left out.
pub(super) fn required<'de, D: Deserializer<'de>, T: Deserialize<'de>>(d: D) -> Result<Option<T>, D::Error> {
    Option::deserialize(d)
}

impl Role {
    /// The device at the other end.
    pub fn other(self) -> Self {
        match self {
            Self::Trusted => Self::New,
            Self::New => Self::Trusted,
        }
    }
}

impl Pairing {
    /// Who shows the code or QR code.
    pub fn displayer(&self) -> Role {
        if self.mode == Mode::QrNew { Role::New } else { Role::Trusted }
    }

    /// Who reads it.
    pub fn reader(&self) -> Role {
        self.displayer().other()
    }
}

/// The path of each pairing in `spec/vectors`, and its content.
pub fn files() -> Vec<(String, String)> {
    all().iter().map(|pairing| (path(&pairing.name), format::write(pairing))).collect()
}

/// Where a pairing is in `spec/vectors`.
pub fn path(name: &str) -> String {
    format!("pairings/{name}.json")
}

/// Every pairing, made anew.
pub fn all() -> Vec<Pairing> {
    let one_entry = || items(false, &["wifi"]);
    vec![
        Plan { comment: "A code typed on the new device.", ..Plan::enroll("code-enroll", Mode::Code) }.make(),
        Plan {
            comment: "The new device shows a QR code with a relay hint; the check code is typed on it.",
            relay_hint: Some(("wss", "relay.example.org")),
            ..Plan::enroll("qr-new-enroll", Mode::QrNew)
        }
        .make(),
        Plan {
            comment: "The trusted device shows a QR code; the check code is typed on it.",
            relay_hint: Some(("ws", "127.0.0.1:8474")),
            ..Plan::enroll("qr-trusted-enroll", Mode::QrTrusted)
        }
        .make(),
        Plan {
            comment: "Devices that have never met: one entry is asked for, not the unlock key. With a check code.",
            ..Plan::unlock("qr-new-unlock", one_entry())
        }
        .make(),
        Plan {
            comment: "Each device has recorded the other: no check code. The unlock key and two entries; two chunks.",
            big_entry: 6000,
            trusted_knows_new: true,
            new_knows_trusted: true,
            ..Plan::unlock("qr-new-unlock-pinned", items(true, &["token", "wifi"]))
        }
        .make(),
        Plan {
            comment: "The new device has recorded the trusted one but not the reverse: a check code after all.",
            new_knows_trusted: true,
            ..Plan::unlock("qr-new-unlock-asked", one_entry())
        }
        .make(),
        Plan {
            comment: "A bundle over 16 KiB, padded to 64 KiB: five chunks.",
            big_entry: 16_384,
            ..Plan::enroll("code-enroll-64k", Mode::Code)
        }
        .make(),
    ]
}

/// What makes one pairing different from the others.
struct Plan {
    name: &'static str,
    comment: &'static str,
    mode: Mode,
    request: Request,
    relay_hint: Option<(&'static str, &'static str)>,
    /// Size of the entry `token`.
    big_entry: usize,
    trusted_knows_new: bool,
    new_knows_trusted: bool,
}

impl Plan {
    fn enroll(name: &'static str, mode: Mode) -> Self {
        let request = Request::Bundle(BundleRequest::Bundle);
        Self {
            name,
            comment: "",
            mode,
            request,
            relay_hint: None,
            big_entry: 300,
            trusted_knows_new: false,
            new_knows_trusted: false,
        }
    }

    fn unlock(name: &'static str, request: Request) -> Self {
        Self { request, ..Self::enroll(name, Mode::QrNew) }
    }

    fn make(self) -> Pairing {
        let trusted_key = seeded(self.name, "trusted_device_key", 32);
        let new_key = seeded(self.name, "new_device_key", 32);
        let genesis = genesis(&trusted_key, "ada@example.org", &seeded(self.name, "genesis_nonce", 32));
        let (account_id, trusted_identity) = (genesis.account_id, genesis.identity);
        let new_identity = super::derivation::identity(&new_key);
        let bundle = Bundle {
            account_id: account_id.to_vec(),
            account_label: "ada@example.org".into(),
            unlock_key: seeded(self.name, "unlock_key", 32),
            sign_in_secret: seeded(self.name, "sign_in_secret", 24),
            entries: vec![
                ("token".into(), (0..self.big_entry).map(|i| i as u8).collect()),
                ("wifi".into(), b"correct horse battery staple".to_vec()),
            ],
            extensions: Vec::new(),
        };
        let unlock = matches!(self.request, Request::Items(_));
        let asks_digits = self.mode != Mode::Code && !(self.trusted_knows_new && self.new_knows_trusted);
        let success = if unlock { "unlocked" } else { "enrolled" };
        let mut pairing = Pairing {
            kind: PairingKind::Pairing,
            name: self.name.into(),
            comment: self.comment.into(),
            mode: self.mode,
            purpose: if unlock { Purpose::Unlock } else { Purpose::Enroll },
            trusted: Trusted {
                device_key: Hex(trusted_key),
                name: "Ada’s phone".into(),
                platform: "android".into(),
                genesis: Hex(genesis.encoded),
                bundle: Hex(bundle.encode()),
                known: if self.trusted_knows_new { vec![Hex(new_identity.to_vec())] } else { Vec::new() },
            },
            new: New {
                device_key: Hex(new_key),
                name: "laptop".into(),
                platform: "linux x86_64".into(),
                request: self.request,
                recorded: self.new_knows_trusted.then(|| Recorded {
                    account_id: Hex(account_id.to_vec()),
                    identities: vec![Hex(trusted_identity.to_vec())],
                }),
            },
            nameplate: (self.mode == Mode::Code).then(|| {
                let random = seeded(self.name, "nameplate", 4);
                u32::from_be_bytes([0, random[1] & 0x0f, random[2], random[3]])
            }),
            relay_hint: self
                .relay_hint
                .map(|(scheme, authority)| RelayHint { scheme: scheme.into(), authority: authority.into() }),
            random: random_values(self.name, self.mode),
            typed_check_code: None,
            values: Named::default(),
            messages: Vec::new(),
            outcome: Outcome { trusted: success.into(), new: success.into() },
        };
        (pairing.values, pairing.messages) = Run::of(&pairing).whole().results();
        if asks_digits {
            let digits = pairing.values.get("check_code").to_vec();
            pairing.typed_check_code = Some(String::from_utf8(digits).unwrap());
        }
        pairing
    }
}

fn items(unlock_key: bool, entries: &[&str]) -> Request {
    Request::Items(ItemsRequest { unlock_key, entries: entries.iter().map(|name| (*name).into()).collect() })
}

fn random_values(pairing: &str, mode: Mode) -> Named {
    let introduction: &[(&str, usize)] = match mode {
        Mode::Code => &[("code_secret", 7), ("displayer_scalar", 32), ("reader_scalar", 32)],
        Mode::QrNew => &[("qr_secret", 32), ("opening", 32)],
        Mode::QrTrusted => &[("qr_secret", 32)],
    };
    let always = [
        ("displayer_kem_seed", 32),
        ("offer_nonce", 32),
        ("bundle_key_seed", 32),
        ("channel_encapsulation", 64),
        ("grant_encapsulation", 64),
    ];
    let mut random = Named::default();
    for (name, length) in introduction.iter().chain(&always) {
        random.put(name, &seeded(pairing, name, *length));
    }
    random
}

/// The first bytes of SHA-512("handfast vectors/PAIRING/FIELD").
pub(super) fn seeded(pairing: &str, field: &str, length: usize) -> Vec<u8> {
    Sha512::digest(format!("handfast vectors/{pairing}/{field}"))[..length].to_vec()
}
