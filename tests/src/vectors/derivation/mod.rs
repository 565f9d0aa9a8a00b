//! A whole run computed in a straight line from its random values: `spec/protocol.md` section by section, with every
//! intermediate value in view, from primitives and nothing of `handfast_protocol`.
//!
//! Each value can be changed where it arises ([`Run::change`]): what follows is computed over the changed value, so that a
//! message is wrong in one respect and right in all others.

mod channel;
mod encoding;
mod handshake;
mod primitives;

pub use encoding::*;
pub use primitives::*;

use super::format::Named;
use super::pairing::{Message, Pairing, Role};
use std::cell::Cell;
use std::rc::Rc;

/// A run as far as it is computed.
pub struct Run {
    pairing: Rc<Pairing>,
    /// Values that belong into the file.
    pub values: Named,
    /// Every message so far.
    pub messages: Vec<Message>,
    /// Reader to displayer, and back.
    forward: Direction,
    reverse: Direction,
    /// The transcript hash so far.
    th: Vec<u8>,
    changes: Vec<Change>,
    recut: Option<Recut>,
}

/// Another division of a grant.
pub type Recut = fn(Vec<Chunk>) -> Vec<Chunk>;

/// A chunk of the grant before it is sealed.
#[derive(Clone)]
pub struct Chunk {
    /// As in its header.
    pub index: u16,
    /// As in its header.
    pub last: u8,
    /// Its part of the grant.
    pub plaintext: Vec<u8>,
}

type With = Box<dyn Fn(&Named, Vec<u8>) -> Vec<u8>>;

struct Change {
    what: String,
    with: With,
    applied: Cell<bool>,
}

/// Keys of one direction.
#[derive(Default)]
struct Direction {
    key: Vec<u8>,
    base_nonce: Vec<u8>,
    next: u64,
}

/// What HPKE's set-up gives.
struct Context {
    enc: Vec<u8>,
    key: Vec<u8>,
    base_nonce: Vec<u8>,
    exporter_secret: Vec<u8>,
}

/// A genesis statement and what follows from it.
pub struct Genesis {
    /// The statement.
    pub encoded: Vec<u8>,
    /// Its hash.
    pub account_id: Vec<u8>,
    /// The device that signed it.
    pub identity: Vec<u8>,
}

/// The identity of a device.
pub fn identity(device_key: &[u8]) -> Vec<u8> {
    public_identity(&identity_seed(device_key))
}

/// The account that a first device makes.
pub fn genesis(device_key: &[u8], label: &str, nonce: &[u8]) -> Genesis {
    let identity = identity(device_key);
    let signed = cat(&[&[1], &bytes16(label.as_bytes()), &identity, nonce]);
    let signature = sign(&identity_seed(device_key), &signed_bytes(b"handfast/1 genesis", &[&signed]));
    let encoded = cat(&[&signed, &signature]);
    Genesis { account_id: account_id(&encoded), encoded, identity }
}

/// The id of the account that this statement makes.
pub fn account_id(genesis: &[u8]) -> Vec<u8> {
    sha256(&[b"handfast/1 account id", genesis])
}

fn identity_seed(device_key: &[u8]) -> Vec<u8> {
    kdf(b"", device_key, &[b"handfast/1 device identity seed"], 32)
}

/// A bundle as a device keeps it.
pub fn bundle_at_rest(device_key: &[u8], account_id: &[u8], nonce: &[u8; 24], bundle: &[u8]) -> Vec<u8> {
    let key = kdf(b"", device_key, &[b"handfast/1 device sealing key"], 32);
    let aad = cat(&[&bytes16(b"handfast/1 bundle at rest"), &[1], account_id, &identity(device_key)]);
    cat(&[nonce, &seal_at_rest(&key, nonce, &aad, bundle)])
}

impl Run {
    /// Before the first message.
    pub fn of(pairing: &Pairing) -> Self {
        Self {
            pairing: Rc::new(pairing.clone()),
            values: Named::default(),
            messages: Vec::new(),
            forward: Direction::default(),
            reverse: Direction::default(),
            th: Vec::new(),
            changes: Vec::new(),
            recut: None,
        }
    }

    /// Puts another value in place of one.
    pub fn set(self, what: &str, value: &[u8]) -> Self {
        let value = value.to_vec();
        self.change(what, move |_, _| value.clone())
    }

    /// Changes the chunks of the grant.
    pub fn recut(mut self, recut: Recut) -> Self {
        self.recut = Some(recut);
        self
    }

    /// Changes a value where it arises.
    pub fn change(mut self, what: &str, with: impl Fn(&Named, Vec<u8>) -> Vec<u8> + 'static) -> Self {
        self.changes.push(Change { what: what.to_owned(), with: Box::new(with), applied: Cell::new(false) });
        self
    }

    /// Every message.
    pub fn whole(self) -> Self {
        self.offer().accept().reply().check().grant().receipt()
    }

    /// Everything that the file says.
    pub fn results(self) -> (Named, Vec<Message>) {
        (self.values, self.messages)
    }

    /// A message of the run as computed.
    pub fn payload(&self, name: &str) -> Vec<u8> {
        let message = self.messages.iter().find(|message| message.name == name);
        message.unwrap_or_else(|| panic!("no {name}")).payload.0.clone()
    }

    /// A change that changes nothing is a mistake.
    pub fn assert_changes_applied(&self) {
        for change in &self.changes {
            assert!(change.applied.get(), "{} was never computed", change.what);
        }
    }

    /// Whether the new device has recorded the trusted one.
    fn knows_peer(&self) -> bool {
        let recorded = self.pairing.new.recorded.as_ref();
        recorded.is_some_and(|recorded| {
            recorded.account_id.0 == self.value("account_id")
                && recorded.identities.iter().any(|known| known.0 == self.value("trusted_identity"))
        })
    }

    fn trusted_knows_new(&self) -> bool {
        self.pairing.trusted.known.iter().any(|known| known.0 == self.value("new_identity"))
    }

    /// HPKE SetupPSKS to the owner of `seed`: X-Wing, then RFC 9180, section 5.1.
    fn setup(
        &mut self,
        prefix: &str,
        seed: &[u8],
        public_key: &[u8],
        info: &[u8],
        psk: &[u8],
        psk_id: &[u8],
    ) -> Context {
        let random = self.random(&format!("{prefix}_encapsulation"));
        let (mlkem_shared, mlkem_ct) = mlkem_encapsulate(public_key, &random[..32]);
        let x25519_ct = self.vary(&format!("{prefix} x25519 ciphertext"), x25519_public(&random[32..]));
        let mlkem_shared = self.note(&format!("{prefix}_mlkem_shared_secret"), mlkem_shared);
        let x25519_shared = self.note(&format!("{prefix}_x25519_shared_secret"), x25519_shared(seed, &x25519_ct));
        let shared = xwing_combine(&mlkem_shared, &x25519_shared, &x25519_ct, &public_key[1184..]);
        let shared = self.note(&format!("{prefix}_shared_secret"), shared);
        let enc = self.note(&format!("{prefix}_enc"), cat(&[&mlkem_ct, &x25519_ct]));

        let info = self.note(&format!("{prefix}_info"), info.to_vec());
        let psk_id_hash = labeled_extract(b"", b"psk_id_hash", psk_id);
        let psk_id_hash = self.note(&format!("{prefix}_psk_id_hash"), psk_id_hash);
        let info_hash = self.note(&format!("{prefix}_info_hash"), labeled_extract(b"", b"info_hash", &info));
        let mode_psk = [1];
        let schedule =
            self.note(&format!("{prefix}_key_schedule_context"), cat(&[&mode_psk, &psk_id_hash, &info_hash]));
        let secret = self.note(&format!("{prefix}_secret"), labeled_extract(&shared, b"secret", psk));
        let key = self.note(&format!("{prefix}_key"), labeled_expand(&secret, b"key", &schedule, 32));
        let base_nonce =
            self.note(&format!("{prefix}_base_nonce"), labeled_expand(&secret, b"base_nonce", &schedule, 12));
        let exporter_secret =
            self.note(&format!("{prefix}_exporter_secret"), labeled_expand(&secret, b"exp", &schedule, 32));
        Context { enc, key, base_nonce, exporter_secret }
    }

    /// Seals as the next message of this device.
    fn seal(&mut self, from: Role, aad: &[u8], plaintext: &[u8]) -> Vec<u8> {
        let direction = if from == self.pairing.reader() { &mut self.forward } else { &mut self.reverse };
        let sealed = seal(&direction.key, &nonce(&direction.base_nonce, direction.next), aad, plaintext);
        direction.next += 1;
        sealed
    }

    /// Takes a message into the transcript. Section "Transcript".
    fn absorb(&mut self, message: &str, kind: u8, body: &[u8]) {
        let th = sha256(&[&self.th, &[kind], &(body.len() as u64).to_be_bytes(), body]);
        self.th = self.note(&format!("th_{message}"), th);
    }

    fn push(&mut self, name: &str, from: Role, kind: u8, body: Vec<u8>) {
        let payload = self.vary(&format!("{name} payload"), message(kind, &body));
        self.messages.push(Message { name: name.into(), from, kind, payload: super::format::Hex(payload) });
    }

    fn value(&self, name: &str) -> Vec<u8> {
        self.values.get(name).to_vec()
    }

    fn random(&self, name: &str) -> Vec<u8> {
        self.vary(name, self.pairing.random.get(name).to_vec())
    }

    /// A value of the file.
    fn note(&mut self, name: &str, value: Vec<u8>) -> Vec<u8> {
        let value = self.vary(name, value);
        self.values.put(name, &value);
        value
    }

    /// A value that may be changed.
    fn vary(&self, what: &str, mut value: Vec<u8>) -> Vec<u8> {
        for change in self.changes.iter().filter(|change| change.what == what) {
            let changed = (change.with)(&self.values, value.clone());
            change.applied.set(changed != value);
            value = changed;
        }
        value
    }
}
