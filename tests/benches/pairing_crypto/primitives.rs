//! The primitives of one pairing, called directly from their crates with prepared inputs, as often and over as many bytes
//! as the pairing needs them. Counted by hand from `spec/protocol.md`.
//!
//! Left out, so that the ratio counts them against the pairing: everything that HPKE does around the KEM and the AEAD
//! (key schedule, exporter), reading and writing keys and points, encoding, padding, allocation, random numbers.

use super::pairing::{ACCOUNT, Devices, ENTRY_NAME, NEW_NAME, PLATFORM, TRUSTED_NAME};
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{ChaCha20Poly1305, XChaCha20Poly1305};
use curve25519_dalek::ristretto::RistrettoPoint;
use curve25519_dalek::scalar::Scalar;
use ed25519_dalek::{Signature, Signer, SigningKey};
use handfast_protocol::pairing::{Mode, Purpose};
use hkdf::Hkdf;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use sha2::{Digest, Sha256, Sha512};
use std::hint::black_box;
use x_wing::{Decapsulate, DecapsulationKey, Decapsulator, Encapsulate, EncapsulationKey};

/// How often and over how many bytes.
#[derive(Default)]
pub(crate) struct Counts {
    /// X-Wing: key pairs from a seed, encapsulations, decapsulations.
    kem: [usize; 3],
    /// Ristretto: maps of 64 bytes to a point, multiplications.
    ristretto: [usize; 2],
    /// Ed25519 key pairs from a seed.
    identities: usize,
    /// Lengths of the messages that are signed.
    signed: Vec<usize>,
    /// Lengths of the messages whose signature is verified.
    verified: Vec<usize>,
    /// Lengths of what is hashed.
    sha256: Vec<usize>,
    sha512: Vec<usize>,
    /// Lengths of salt, key, info and output.
    hkdf: Vec<[usize; 4]>,
    /// Lengths of associated data and plaintext; each is sealed once and opened once.
    sealed: Vec<[usize; 2]>,
    /// The bundle on disk, with XChaCha20-Poly1305: lengths for opening it, and again for sealing it.
    opened_at_rest: Vec<[usize; 2]>,
    sealed_at_rest: Vec<[usize; 2]>,
}

impl Counts {
    /// What one pairing needs, both sides together.
    pub(crate) fn of(mode: Mode, purpose: Purpose, devices: &Devices) -> Self {
        let code = mode == Mode::Code;
        let enroll = purpose == Purpose::Enroll;
        let check_code = !code && enroll; // The unlock is between devices that know each other.
        let suite = match (mode, purpose) {
            (Mode::Code, _) => 22,
            (Mode::QrNew, _) => 24,
            (Mode::QrTrusted, _) => 28,
        };
        let genesis = devices.account().genesis.len();
        let bundle = devices.sealed_bundle_bytes() - 24 - 16;

        // The messages.
        let offer = 2 + 32 + 1216 + 2 + if code { 32 } else { 0 };
        let accept = if code { 32 } else { 0 } + 1120 + 4096 + 16;
        let reply = 4096 + 16;
        let opening = if mode == Mode::QrNew { 32 } else { 0 };
        let grant = 32 + 64 + 1 + opening + 1 + if enroll { 2 + genesis } else { 0 } + 2 + 4 + 1024;
        let mut transcript = vec![offer, accept, reply, 3 + 1120 + grant + 16, 64 + 16];
        if mode == Mode::QrNew && check_code {
            transcript.push(6 + 16);
        }

        let mut counts = Self {
            // The offer's key pair, the bundle key and the wrapping key; the channel and the grant.
            kem: [3, 2, 2],
            // One map and two multiplications a side.
            ristretto: if code { [2, 4] } else { [0, 0] },
            // The new device's, to enroll.
            identities: usize::from(enroll),
            ..Self::default()
        };

        let framed = |label: usize, parts: &[usize]| parts.iter().fold(4 + label, |sum, part| sum + 4 + part);
        let request = if enroll { 1 } else { 3 + 2 + ENTRY_NAME.len() };
        let new_hello = 2 + NEW_NAME.len() + 2 + PLATFORM.len() + request + 32 + 2 * 1216 + 1 + 2;
        let trusted_hello = 32 + 2 + ACCOUNT.len() + 2 + TRUSTED_NAME.len() + 32 + 1 + opening + 2;
        counts.signed = vec![
            framed(34, &[32, new_hello]),
            framed(38, &[32, trusted_hello]),
            framed(26, &[32, 32, 1216, 1, 32]),
            framed(18, &[32, 32]),
        ];
        counts.verified = counts.signed.clone();
        if enroll {
            counts.verified.push(framed(18, &[genesis - 64]));
        }

        for _side in 0..2 {
            counts.sha256.push(21 + suite);
            counts.sha256.extend(transcript.iter().map(|length| 32 + 1 + 8 + length));
            // Key and nonce of the reverse direction.
            counts.hkdf.extend([[1120 + 32, 32, 22, 32], [1120 + 32, 32, 24, 12]]);
            if code {
                counts.sha256.push(30 + offer - 32);
                counts.hkdf.push([32, 64, 19 + suite, 32]);
                // The generator, and the key: two shares, two associated data, sid, K.
                counts.sha512.extend([128 + 1 + suite + 8 + 1 + 32, 241]);
            } else {
                counts.sha256.push(21 + offer);
                // The mailbox, the key of the offer, the channel's PSK.
                counts.hkdf.extend([[0, 32, 21, 16], [suite, 32, 23, 32], [suite, 32, 17, 32]]);
            }
            if check_code {
                counts.hkdf.push([32, 32, 21 + opening, 64]);
            }
            if opening > 0 {
                counts.sha256.push(27 + opening);
            }
        }
        if enroll {
            counts.sha256.push(21 + genesis);
            counts.hkdf.push([0, 32, 31, 32]);
        }
        counts.hkdf.push([0, 32, 31, 32]); // The wrapping key.

        counts.sealed = vec![[33, 4096], [33, 4096], [36, grant], [33, 64]];
        if !code {
            counts.sealed.push([suite + 1, offer]);
        }
        if mode == Mode::QrNew && check_code {
            counts.sealed.push([33, 6]);
        }
        // The trusted device's copy; the new device stores one only if it enrolls.
        counts.opened_at_rest = vec![[92, bundle]];
        counts.sealed_at_rest = vec![[92, bundle]; usize::from(enroll)];
        counts.hkdf.extend(vec![[0, 32, 29, 32]; 1 + usize::from(enroll)]);
        counts
    }
}

/// How many different keys and signatures take turns: with always the same one, the processor would learn its branches by
/// heart, as it never can in a pairing.
const VARIANTS: usize = 64;

/// Prepared inputs.
pub(crate) struct Primitives {
    counts: Counts,
    variants: Vec<Variant>,
    turn: usize,
    bytes: Vec<u8>,
    cipher: ChaCha20Poly1305,
    at_rest: XChaCha20Poly1305,
    ciphertexts: Vec<([usize; 2], Vec<u8>)>,
    at_rest_ciphertexts: Vec<([usize; 2], Vec<u8>)>,
    rng: StdRng,
}

struct Variant {
    seed: [u8; 32],
    kem_key: DecapsulationKey,
    kem_public: EncapsulationKey,
    kem_ciphertext: x_wing::Ciphertext,
    uniform: [u8; 64],
    point: RistrettoPoint,
    scalar: Scalar,
    identity: SigningKey,
    /// One for each length in `counts.verified`.
    signatures: Vec<Signature>,
}

impl Primitives {
    pub(crate) fn prepare(counts: Counts) -> Self {
        let mut rng = StdRng::seed_from_u64(3);
        let bytes: Vec<u8> = (0..16 * 1024).map(|_| rng.random()).collect();
        let cipher = ChaCha20Poly1305::new(&[1; 32].into());
        let at_rest = XChaCha20Poly1305::new(&[1; 32].into());
        let seal = |lengths: &[usize; 2]| {
            (*lengths, cipher.encrypt(&[0; 12].into(), payload(&bytes, &bytes[..lengths[1]], lengths[0])).unwrap())
        };
        let seal_at_rest = |lengths: &[usize; 2]| {
            (*lengths, at_rest.encrypt(&[0; 24].into(), payload(&bytes, &bytes[..lengths[1]], lengths[0])).unwrap())
        };
        Self {
            variants: (0..VARIANTS).map(|_| Variant::new(&counts, &bytes, &mut rng)).collect(),
            turn: 0,
            ciphertexts: counts.sealed.iter().map(seal).collect(),
            at_rest_ciphertexts: counts.opened_at_rest.iter().map(seal_at_rest).collect(),
            counts,
            bytes,
            cipher,
            at_rest,
            rng,
        }
    }

    /// All of them once, in the pairing's counts.
    pub(crate) fn run(&mut self) {
        self.kem();
        self.ristretto();
        self.signatures();
        self.hashes();
        self.ciphers();
    }

    pub(crate) fn kem(&mut self) {
        let [pairs, encapsulations, decapsulations] = self.counts.kem;
        for _ in 0..pairs {
            black_box(DecapsulationKey::from(black_box(self.next().seed)));
        }
        for _ in 0..encapsulations {
            self.turn += 1;
            let public = &self.variants[self.turn % VARIANTS].kem_public;
            black_box(black_box(public).encapsulate_with_rng(&mut self.rng));
        }
        for _ in 0..decapsulations {
            let variant = self.next();
            black_box(black_box(&variant.kem_key).decapsulate(black_box(&variant.kem_ciphertext)));
        }
    }

    pub(crate) fn ristretto(&mut self) {
        let [maps, multiplications] = self.counts.ristretto;
        for _ in 0..maps {
            black_box(RistrettoPoint::from_uniform_bytes(black_box(&self.next().uniform)));
        }
        for _ in 0..multiplications {
            let variant = self.next();
            black_box(black_box(&variant.point) * black_box(&variant.scalar));
        }
    }

    pub(crate) fn signatures(&mut self) {
        for _ in 0..self.counts.identities {
            black_box(SigningKey::from_bytes(black_box(&self.next().seed)));
        }
        for length in &self.counts.signed {
            self.turn += 1;
            let key = &self.variants[self.turn % VARIANTS].identity;
            black_box(key.sign(black_box(&self.bytes[..*length])));
        }
        for (index, length) in self.counts.verified.iter().enumerate() {
            self.turn += 1;
            let variant = &self.variants[self.turn % VARIANTS];
            let key = variant.identity.verifying_key();
            key.verify_strict(black_box(&self.bytes[..*length]), &variant.signatures[index]).unwrap();
        }
    }

    pub(crate) fn hashes(&mut self) {
        for length in &self.counts.sha256 {
            black_box(Sha256::digest(black_box(&self.bytes[..*length])));
        }
        for length in &self.counts.sha512 {
            black_box(Sha512::digest(black_box(&self.bytes[..*length])));
        }
        for [salt, key, info, output] in &self.counts.hkdf {
            let mut okm = [0; 64];
            let hkdf = Hkdf::<Sha256>::new(Some(black_box(&self.bytes[..*salt])), &self.bytes[..*key]);
            hkdf.expand(&self.bytes[..*info], &mut okm[..*output]).unwrap();
            black_box(okm);
        }
    }

    pub(crate) fn ciphers(&mut self) {
        for (lengths, ciphertext) in &self.ciphertexts {
            let plaintext = payload(&self.bytes, black_box(&self.bytes[..lengths[1]]), lengths[0]);
            black_box(self.cipher.encrypt(&[0; 12].into(), plaintext).unwrap());
            let sealed = payload(&self.bytes, black_box(ciphertext), lengths[0]);
            black_box(self.cipher.decrypt(&[0; 12].into(), sealed).unwrap());
        }
        for (lengths, ciphertext) in &self.at_rest_ciphertexts {
            let sealed = payload(&self.bytes, black_box(ciphertext), lengths[0]);
            black_box(self.at_rest.decrypt(&[0; 24].into(), sealed).unwrap());
        }
        for lengths in &self.counts.sealed_at_rest {
            let plaintext = payload(&self.bytes, black_box(&self.bytes[..lengths[1]]), lengths[0]);
            black_box(self.at_rest.encrypt(&[0; 24].into(), plaintext).unwrap());
        }
    }

    fn next(&mut self) -> &Variant {
        self.turn += 1;
        &self.variants[self.turn % VARIANTS]
    }
}

impl Variant {
    fn new(counts: &Counts, bytes: &[u8], rng: &mut StdRng) -> Self {
        let seed = rng.random();
        let kem_key = DecapsulationKey::from(seed);
        let kem_public = kem_key.encapsulation_key().clone();
        let (kem_ciphertext, _) = kem_public.encapsulate_with_rng(rng);
        let mut uniform = [0; 64];
        rng.fill(&mut uniform);
        let identity = SigningKey::from_bytes(&seed);
        Self {
            seed,
            kem_key,
            kem_public,
            kem_ciphertext,
            uniform,
            point: RistrettoPoint::from_uniform_bytes(&uniform),
            scalar: Scalar::from_bytes_mod_order(rng.random()),
            signatures: counts.verified.iter().map(|length| identity.sign(&bytes[..*length])).collect(),
            identity,
        }
    }
}

fn payload<'a>(bytes: &'a [u8], msg: &'a [u8], aad: usize) -> Payload<'a, 'a> {
    Payload { msg, aad: &bytes[..aad] }
}
