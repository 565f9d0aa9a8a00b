//! What follows the handshake. `spec/protocol.md`, "Check code" to "Aborts".

use super::encoding::*;
use super::primitives::*;
use super::{Chunk, Run};
use crate::vectors::pairing::{Mode, Request, Role};
use std::rc::Rc;

impl Run {
    /// CheckRequest and M2c. Section "Check code".
    pub fn check(mut self) -> Self {
        let mode = self.pairing.mode;
        if mode == Mode::Code || (self.knows_peer() && self.trusted_knows_new()) {
            return self;
        }
        let secret = export(&self.value("channel_exporter_secret"), b"handfast/1 export check code");
        let secret = self.note("check_code_secret", secret);
        let opening = if mode == Mode::QrNew { self.random("opening") } else { Vec::new() };
        let session = self.value("th_m2");
        let stream = kdf(&session, &secret, &[b"handfast/1 check code", &opening], 64);
        let stream = self.note("check_code_stream", stream);
        let words = stream.chunks(4).map(|word| u32::from_be_bytes(word.try_into().unwrap()));
        let number = words.into_iter().find(|word| *word < 4_294_000_000).unwrap() % 1_000_000;
        let check_code = self.note("check_code", format!("{number:06}").into());
        if mode == Mode::QrNew {
            if self.knows_peer() {
                self.sealed_message("check_request", "CheckRequest", Role::Trusted, 5, &[]);
            }
            self.sealed_message("m2c", "M2c", Role::New, 4, &check_code);
        }
        self
    }

    /// M3. Section "Grant".
    pub fn grant(mut self) -> Self {
        let pairing = Rc::clone(&self.pairing);
        let before = self.th.clone();
        let purpose = self.vary("statement purpose", vec![pairing.purpose as u8]);
        let account = self.vary("statement account", self.value("account_id"));
        let new_identity = self.vary("statement identity", self.value("new_identity"));
        let wrapping_key = self.vary("statement wrapping key", self.value("new_wrapping_key"));
        let bound_to = self.vary("statement transcript", before.clone());
        let label = self.vary("statement label", b"handfast/1 grant signature".to_vec());
        let parts: [&[u8]; 5] = [&account, &new_identity, &wrapping_key, &purpose, &bound_to];
        let signed = self.note("statement_signed_bytes", signed_bytes(&label, &parts));
        let seed = self.vary("statement seed", self.value("trusted_identity_seed"));
        let statement = self.note("statement", sign(&seed, &signed));

        let bundle = Bundle::decode(&pairing.trusted.bundle.0);
        let (kind, genesis, content) = match &pairing.new.request {
            Request::Bundle(_) => (0, pairing.trusted.genesis.0.clone(), bundle.encode()),
            Request::Items(asked) => {
                let key = asked.unlock_key.then_some(bundle.unlock_key.as_slice());
                let asked = bundle.entries.iter().filter(|(name, _)| asked.entries.contains(name));
                (1, vec![], items(key, &asked.cloned().collect::<Vec<_>>()))
            }
        };
        let content = self.note("grant_content", content);
        let opening = match pairing.mode {
            Mode::QrNew => cat(&[&[1], &self.random("opening")]),
            Mode::Code | Mode::QrTrusted => vec![0],
        };
        let bucket = [1, 4, 16, 64, 256].map(|kib| kib * 1024).into_iter().find(|bucket| content.len() <= *bucket);
        let padding = vec![0; bucket.unwrap() - content.len()];
        let plaintext = cat(&[
            &self.vary("grant account", self.value("account_id")),
            &statement,
            &self.vary("grant opening", opening),
            &self.vary("grant kind", vec![kind]),
            &self.vary("grant genesis", founding(&genesis)),
            &self.vary("grant extensions", extensions(&[])),
            &bytes32(&content),
            &self.vary("grant padding", padding),
        ]);
        let plaintext = self.note("grant_plaintext", plaintext);

        let psk = export(&self.value("channel_exporter_secret"), b"handfast/1 export grant psk");
        let psk = self.note("grant_psk", psk);
        let suite = self.value("suite");
        let info = cat(&[&bytes16(b"handfast/1 grant"), &bytes16(&suite), &before]);
        let (bundle_seed, bundle_key) = (self.random("bundle_key_seed"), self.value("bundle_key"));
        let context = self.setup("grant", &bundle_seed, &bundle_key, &info, &psk, b"handfast/1 grant psk");
        for (number, chunk) in self.chunks(&plaintext).into_iter().enumerate() {
            let header = cat(&[&chunk.index.to_be_bytes(), &[chunk.last]]);
            let aad = self.vary("chunk aad", cat(&[&before, &[6], &header]));
            let sealed = seal(&context.key, &nonce(&context.base_nonce, number as u64), &aad, &chunk.plaintext);
            let enc: &[u8] = if chunk.index == 0 { &context.enc } else { &[] };
            let name = format!("M3.{number}");
            let body = self.vary(&format!("{name} body"), cat(&[&header, enc, &sealed]));
            self.absorb(&format!("m3_{number}"), 6, &body);
            self.push(&name, Role::Trusted, 6, body);
        }
        self
    }

    /// M4. Section "Receipt".
    pub fn receipt(mut self) -> Self {
        let account = self.vary("receipt account", self.value("account_id"));
        let through = self.vary("receipt transcript", self.th.clone());
        let label = self.vary("receipt label", b"handfast/1 receipt".to_vec());
        let signed = self.note("receipt_signed_bytes", signed_bytes(&label, &[&account, &through]));
        let seed = self.vary("receipt seed", self.value("new_identity_seed"));
        let signature = self.note("receipt_signature", sign(&seed, &signed));
        self.sealed_message("m4", "M4", Role::New, 7, &signature);
        self
    }

    /// An abort as the next message of this device. Section "Aborts".
    pub fn abort(&mut self, from: Role, reason: &[u8]) -> Vec<u8> {
        let aad = self.vary("abort aad", cat(&[&self.value("th_m2"), &[8]]));
        message(8, &self.seal(from, &aad, reason))
    }

    /// A message of the channel: sealed as the next one of this device, bound to the transcript. Section "Channel".
    pub fn sealed_message(&mut self, value: &str, name: &str, from: Role, kind: u8, plaintext: &[u8]) {
        let plaintext = self.vary(&format!("{name} plaintext"), plaintext.to_vec());
        let aad = self.note(&format!("{value}_aad"), cat(&[&self.th, &[kind]]));
        let sealed = self.seal(from, &aad, &plaintext);
        let body = self.vary(&format!("{name} body"), sealed);
        self.absorb(value, kind, &body);
        self.push(name, from, kind, body);
    }

    /// How the grant is cut: full chunks, then the rest.
    fn chunks(&self, plaintext: &[u8]) -> Vec<Chunk> {
        let mut chunks: Vec<_> = (0..)
            .zip(plaintext.chunks(14_336))
            .map(|(index, chunk)| Chunk { index, last: 0, plaintext: chunk.to_vec() })
            .collect();
        chunks.last_mut().unwrap().last = 1;
        match &self.recut {
            Some(recut) => recut(chunks),
            None => chunks,
        }
    }
}
