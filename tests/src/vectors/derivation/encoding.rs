//! Encodings. `spec/protocol.md`, "Conventions" and "Grant".

use curve25519_dalek::ristretto::RistrettoPoint;

/// The concatenation.
pub fn cat(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

/// A u16 length, then the bytes.
pub fn bytes16(bytes: &[u8]) -> Vec<u8> {
    cat(&[&u16::try_from(bytes.len()).unwrap().to_be_bytes(), bytes])
}

/// A u32 length, then the bytes.
pub fn bytes32(bytes: &[u8]) -> Vec<u8> {
    cat(&[&u32::try_from(bytes.len()).unwrap().to_be_bytes(), bytes])
}

/// Extensions in the order given.
pub fn extensions(list: &[(u16, &[u8])]) -> Vec<u8> {
    let encoded = list.iter().map(|(kind, value)| cat(&[&kind.to_be_bytes(), &bytes16(value)]));
    bytes16(&encoded.collect::<Vec<_>>().concat())
}

/// A payload.
pub fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    cat(&[&[1, kind], body])
}

/// Names and values in the order given.
pub fn entries(list: &[(String, Vec<u8>)]) -> Vec<u8> {
    let encoded = list.iter().map(|(name, value)| cat(&[&bytes16(name.as_bytes()), &bytes32(value)]));
    cat(&[&u16::try_from(list.len()).unwrap().to_be_bytes(), &encoded.collect::<Vec<_>>().concat()])
}

/// Names in the order given.
pub fn items_request(unlock_key: bool, entries: &[&str]) -> Vec<u8> {
    let names = entries.iter().map(|name| bytes16(name.as_bytes()));
    cat(&[&[1, u8::from(unlock_key), u8::try_from(entries.len()).unwrap()], &names.collect::<Vec<_>>().concat()])
}

/// Items of an unlock.
pub fn items(unlock_key: Option<&[u8]>, list: &[(String, Vec<u8>)]) -> Vec<u8> {
    cat(&[&[u8::from(unlock_key.is_some())], unlock_key.unwrap_or_default(), &entries(list)])
}

/// A credential bundle; nothing in it is checked.
#[derive(Clone)]
pub struct Bundle {
    /// The account it belongs to.
    pub account_id: Vec<u8>,
    /// What the account is called.
    pub account_label: String,
    /// 32 bytes.
    pub unlock_key: Vec<u8>,
    /// What the device signs in with.
    pub sign_in_secret: Vec<u8>,
    /// Names and values in the order in which they are written.
    pub entries: Vec<(String, Vec<u8>)>,
    /// Types and values in the order in which they are written.
    pub extensions: Vec<(u16, Vec<u8>)>,
}

impl Bundle {
    /// The encoding.
    pub fn encode(&self) -> Vec<u8> {
        let list: Vec<_> = self.extensions.iter().map(|(kind, value)| (*kind, value.as_slice())).collect();
        cat(&[
            &self.account_id,
            &bytes16(self.account_label.as_bytes()),
            &self.unlock_key,
            &bytes16(&self.sign_in_secret),
            &entries(&self.entries),
            &extensions(&list),
        ])
    }

    /// A bundle without extensions.
    pub fn decode(mut rest: &[u8]) -> Self {
        let bundle = Self {
            account_id: take(&mut rest, 32),
            account_label: take_text16(&mut rest),
            unlock_key: take(&mut rest, 32),
            sign_in_secret: take_bytes16(&mut rest),
            entries: take_entries(&mut rest),
            extensions: Vec::new(),
        };
        assert_eq!(rest, [0, 0], "no extensions");
        bundle
    }
}

fn take(rest: &mut &[u8], length: usize) -> Vec<u8> {
    let (head, tail) = rest.split_at(length);
    *rest = tail;
    head.to_vec()
}

fn take_u16(rest: &mut &[u8]) -> usize {
    let bytes = take(rest, 2);
    usize::from(u16::from_be_bytes([bytes[0], bytes[1]]))
}

fn take_bytes16(rest: &mut &[u8]) -> Vec<u8> {
    let length = take_u16(rest);
    take(rest, length)
}

fn take_text16(rest: &mut &[u8]) -> String {
    String::from_utf8(take_bytes16(rest)).unwrap()
}

fn take_entries(rest: &mut &[u8]) -> Vec<(String, Vec<u8>)> {
    (0..take_u16(rest))
        .map(|_| {
            let name = take_text16(rest);
            let length = take(rest, 4).try_into().map(u32::from_be_bytes).unwrap();
            (name, take(rest, length as usize))
        })
        .collect()
}

/// The genesis statement as a grant holds it: 514 bytes, whatever its length.
pub fn founding(genesis: &[u8]) -> Vec<u8> {
    let mut field = bytes16(genesis);
    field.resize(2 + 512, 0);
    field
}

/// The account label of an encoded genesis statement.
pub fn genesis_label(genesis: &[u8]) -> String {
    take_text16(&mut &genesis[1..])
}

const CROCKFORD: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// The nameplate's four symbols. `spec/protocol.md`, "Code".
pub fn nameplate_symbols(nameplate: u32) -> Vec<u8> {
    [15, 10, 5, 0].map(|shift| CROCKFORD[(nameplate >> shift) as usize & 31]).to_vec()
}

/// The secret's symbols: the low five bits of each random byte.
pub fn secret_symbols(random: &[u8]) -> Vec<u8> {
    random.iter().map(|byte| CROCKFORD[usize::from(byte & 31)]).collect()
}

/// The code as it is shown: the check symbol makes the weighted sum zero.
pub fn code_text(nameplate: &[u8], secret: &[u8]) -> String {
    let head = cat(&[nameplate, secret]);
    let sum = |symbols: &[u8]| {
        symbols.iter().rev().fold(0, |sum, symbol| {
            let value = CROCKFORD.iter().position(|known| known == symbol).unwrap();
            let doubled = sum << 1;
            value ^ if doubled & 32 == 0 { doubled } else { doubled ^ 0b10_0101 }
        })
    };
    let with = |check: u8| cat(&[&head, &[check]]);
    let check = CROCKFORD.iter().find(|check| sum(&with(**check)) == 0).unwrap();
    let text = String::from_utf8(with(*check)).unwrap();
    [&text[..4], &text[4..8], &text[8..]].join("-")
}

/// The text of a QR code. `spec/protocol.md`, "QR code".
pub fn qr_text(bytes: &[u8]) -> String {
    let digits = bytes.chunks(7).map(|block| {
        let number = block.iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
        let width = [3, 5, 8, 10, 13, 15, 17][block.len() - 1];
        format!("{number:0width$}")
    });
    format!("HANDFAST:/{}", digits.collect::<String>())
}

/// A group element as it is sent.
pub fn share(point: &RistrettoPoint) -> Vec<u8> {
    point.compress().to_bytes().to_vec()
}
