//! M0, M1 and M2. `spec/protocol.md`, "Handshake".

use super::encoding::*;
use super::primitives::*;
use super::{Direction, Run, account_id, identity_seed};
use crate::vectors::pairing::{Mode, Pairing, Purpose, Request, Role};
use std::rc::Rc;

impl Run {
    /// M0. Sections "Accounts and device keys", "Code", "QR code", "M0, displayer".
    pub fn offer(mut self) -> Self {
        let pairing = Rc::clone(&self.pairing);
        let (trusted_key, new_key) = (&pairing.trusted.device_key.0, &pairing.new.device_key.0);
        let trusted_identity_seed = self.note("trusted_identity_seed", identity_seed(trusted_key));
        self.note("trusted_identity", public_identity(&trusted_identity_seed));
        let new_identity_seed = self.note("new_identity_seed", identity_seed(new_key));
        self.note("new_identity", public_identity(&new_identity_seed));
        let wrapping_seed = kdf(b"", new_key, &[b"handfast/1 device wrapping seed"], 32);
        let wrapping_seed = self.note("new_wrapping_seed", wrapping_seed);
        self.note("new_wrapping_key", kem_public_key(&wrapping_seed));
        self.note("account_id", account_id(&pairing.trusted.genesis.0));
        let suite = self.note("suite", suite(pairing.mode, pairing.purpose).into());

        let nonce = self.random("offer_nonce");
        let kem_key = self.note("offer_kem_key", kem_public_key(&self.random("displayer_kem_seed")));
        let mode = self.vary("offer mode", vec![pairing.mode as u8]);
        let purpose = self.vary("offer purpose", vec![pairing.purpose as u8]);
        let extensions = self.vary("offer extensions", extensions(&[]));
        let head = cat(&[&mode, &purpose, &nonce, &kem_key]);

        let share = if pairing.mode == Mode::Code {
            let offer_without_share = self.note("offer_without_share", cat(&[&head, &extensions]));
            let nameplate = self.note("nameplate_symbols", nameplate_symbols(pairing.nameplate.unwrap()));
            let secret = self.note("secret_symbols", secret_symbols(&self.random("code_secret")));
            self.note("code_text", code_text(&nameplate, &secret).into());
            let ci = self.note("cpace_ci", cat(&[&bytes16(&suite), &bytes16(&nameplate)]));
            let string = self.note("cpace_generator_string", cpace_generator_string(&secret, &ci, &nonce));
            let generator = cpace_generator(&string);
            self.note("cpace_generator", share(&generator));
            let without_share = sha256(&[b"handfast/1 offer without share", &offer_without_share]);
            self.note("cpace_ada", cat(&[&bytes16(b"handfast/1 cpace displayer"), &without_share]));
            let scalar = cpace_scalar(&self.random("displayer_scalar"));
            self.note("displayer_share", share(&(generator * scalar)))
        } else {
            Vec::new()
        };
        let share = self.vary("offer share", share);
        let offer = self.note("offer", cat(&[&head, &share, &extensions]));
        let offer_hash = self.note("offer_hash", sha256(&[b"handfast/1 offer hash", &offer]));

        let (kind, body) = if pairing.mode == Mode::Code {
            (0, offer.clone())
        } else {
            let secret = self.random("qr_secret");
            let qr_bytes = self.note("qr_bytes", qr_bytes(&pairing, &secret, &offer_hash));
            self.note("qr_text", qr_text(&qr_bytes).into());
            self.note("mailbox_id", kdf(b"", &secret, &[b"handfast/1 qr mailbox"], 16));
            let offer_key = self.note("offer_key", kdf(&suite, &secret, &[b"handfast/1 qr offer key"], 32));
            (1, seal(&offer_key, &[0; 12], &cat(&[&suite, &[1]]), &offer))
        };
        self.note("th_start", sha256(&[b"handfast/1 transcript", &suite]));
        self.th = self.values.get("th_start").to_vec();
        self.absorb("m0", 0, &offer);
        self.push("M0", pairing.displayer(), kind, body);
        self
    }

    /// M1. Sections "CPace", "M1, reader", "Signatures of the hellos".
    pub fn accept(mut self) -> Self {
        let pairing = Rc::clone(&self.pairing);
        let suite = self.values.get("suite").to_vec();
        let through_m0 = self.th.clone();
        let (channel_psk, share) = if pairing.mode == Mode::Code {
            let generator =
                cpace_generator(&self.vary("reader generator string", self.value("cpace_generator_string")));
            let displayer = cpace_scalar(&self.random("displayer_scalar"));
            let reader = cpace_scalar(&self.random("reader_scalar"));
            let share = self.note("reader_share", share(&(generator * reader)));
            // What the displayer computes; what the reader computes is the same if nothing is changed.
            let k = cpace_k(&displayer, &share);
            let k = self.note("cpace_k", k);
            let adb = self.note("cpace_adb", bytes16(b"handfast/1 cpace reader"));
            let (nonce, displayer_share) = (self.random("offer_nonce"), self.value("displayer_share"));
            let isk = cpace_isk(&nonce, &k, &displayer_share, &self.value("cpace_ada"), &share, &adb);
            let isk = self.note("cpace_isk", isk);
            (kdf(&nonce, &isk, &[b"handfast/1 code psk", &suite], 32), share)
        } else {
            (kdf(&suite, &self.random("qr_secret"), &[b"handfast/1 qr psk"], 32), Vec::new())
        };
        let psk = self.note("channel_psk", channel_psk);
        let info = cat(&[&bytes16(b"handfast/1 channel"), &bytes16(&suite), &through_m0]);
        let kem_seed = self.random("displayer_kem_seed");
        let kem_key = self.value("offer_kem_key");
        let context = self.setup("channel", &kem_seed, &kem_key, &info, &psk, b"handfast/1 channel psk");
        self.forward = Direction { key: context.key, base_nonce: context.base_nonce, next: 0 };

        let padded = self.hello(pairing.reader());
        let aad = self.note("m1_aad", cat(&[&through_m0, &[2], &share]));
        let sealed = self.seal(pairing.reader(), &aad, &padded);
        let body = self.vary("M1 body", cat(&[&share, &context.enc, &sealed]));
        self.absorb("m1", 2, &body);
        self.push("M1", pairing.reader(), 2, body);

        // "The reverse direction".
        let secret = export(&context.exporter_secret, b"handfast/1 export reverse");
        let secret = self.note("reverse_secret", secret);
        let salt = self.note("reverse_salt", cat(&[&context.enc, &self.th]));
        let key = self.note("reverse_key", kdf(&salt, &secret, &[b"handfast/1 reverse key"], 32));
        let base_nonce = self.note("reverse_base_nonce", kdf(&salt, &secret, &[b"handfast/1 reverse nonce"], 12));
        self.reverse = Direction { key, base_nonce, next: 0 };
        self
    }

    /// M2. Section "M2, displayer".
    pub fn reply(mut self) -> Self {
        let displayer = self.pairing.displayer();
        let padded = self.hello(displayer);
        let aad = self.note("m2_aad", cat(&[&self.th, &[3]]));
        let sealed = self.seal(displayer, &aad, &padded);
        let body = self.vary("M2 body", sealed);
        self.absorb("m2", 3, &body);
        self.push("M2", displayer, 3, body);
        self
    }

    /// The signed and padded hello of a device.
    fn hello(&mut self, role: Role) -> Vec<u8> {
        let (prefix, unsigned, label): (_, _, &[u8]) = match role {
            Role::New => ("new", self.new_hello(), b"handfast/1 hello of the new device"),
            Role::Trusted => ("trusted", self.trusted_hello(), b"handfast/1 hello of the trusted device"),
        };
        let unsigned = self.note(&format!("{prefix}_hello_unsigned"), unsigned);
        let label = self.vary(&format!("{prefix} signature label"), label.to_vec());
        let bound_to = self.vary(&format!("{prefix} hello transcript"), self.th.clone());
        let signed = self.note(&format!("{prefix}_hello_signed_bytes"), signed_bytes(&label, &[&bound_to, &unsigned]));
        let seed = self.vary(&format!("{prefix} hello seed"), self.value(&format!("{prefix}_identity_seed")));
        let signature = self.note(&format!("{prefix}_hello_signature"), sign(&seed, &signed));
        let hello = self.note(&format!("{prefix}_hello"), cat(&[&unsigned, &signature]));
        let mut padded = bytes16(&hello);
        padded.resize(4096, 0);
        self.vary(&format!("{prefix} padded hello"), padded)
    }

    fn new_hello(&mut self) -> Vec<u8> {
        let pairing = Rc::clone(&self.pairing);
        let new = &pairing.new;
        let request = match &new.request {
            Request::Bundle(_) => vec![0],
            Request::Items(asked) => {
                let entries: Vec<_> = asked.entries.iter().map(String::as_str).collect();
                items_request(asked.unlock_key, &entries)
            }
        };
        let bundle_key = self.note("bundle_key", kem_public_key(&self.random("bundle_key_seed")));
        cat(&[
            &self.vary("new hello name", bytes16(new.name.as_bytes())),
            &self.vary("new hello platform", bytes16(new.platform.as_bytes())),
            &self.vary("new hello request", request),
            &self.vary("new hello identity", self.value("new_identity")),
            &self.vary("new hello wrapping key", self.value("new_wrapping_key")),
            &bundle_key,
            &self.vary("new hello knows-peer", vec![u8::from(self.knows_peer())]),
            &self.vary("new hello extensions", extensions(&[])),
        ])
    }

    fn trusted_hello(&mut self) -> Vec<u8> {
        let pairing = Rc::clone(&self.pairing);
        let trusted = &pairing.trusted;
        let commitment = if self.pairing.mode == Mode::QrNew {
            let opening = self.random("opening");
            let commitment = sha256(&[b"handfast/1 check commitment", &opening]);
            cat(&[&[1], &self.note("check_commitment", commitment)])
        } else {
            vec![0]
        };
        cat(&[
            &self.vary("trusted hello account", self.value("account_id")),
            &self.vary("trusted hello label", bytes16(genesis_label(&trusted.genesis.0).as_bytes())),
            &self.vary("trusted hello name", bytes16(trusted.name.as_bytes())),
            &self.vary("trusted hello identity", self.value("trusted_identity")),
            &self.vary("trusted hello commitment", commitment),
            &self.vary("trusted hello extensions", extensions(&[])),
        ])
    }
}

fn suite(mode: Mode, purpose: Purpose) -> &'static str {
    match (mode, purpose) {
        (Mode::Code, Purpose::Enroll) => "handfast/1 code enroll",
        (Mode::QrNew, Purpose::Enroll) => "handfast/1 qr-new enroll",
        (Mode::QrNew, Purpose::Unlock) => "handfast/1 qr-new unlock",
        (Mode::QrTrusted, Purpose::Enroll) => "handfast/1 qr-trusted enroll",
        _ => panic!("no such pair"),
    }
}

fn qr_bytes(pairing: &Pairing, secret: &[u8], offer_hash: &[u8]) -> Vec<u8> {
    let kind = match (pairing.mode, pairing.purpose) {
        (Mode::QrNew, Purpose::Enroll) => 1,
        (Mode::QrNew, Purpose::Unlock) => 2,
        _ => 3,
    };
    let hint = pairing.relay_hint.as_ref().map(|hint| {
        let scheme = if hint.scheme == "ws" { 1 } else { 2 };
        cat(&[&[scheme], hint.authority.as_bytes()])
    });
    cat(&[&[1, kind], secret, offer_hash, &hint.unwrap_or_default()])
}
