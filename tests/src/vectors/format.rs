//! How the files are written: JSON with bytes in lower-case hexadecimal, named values in the order in which they arise.

use serde::de::{DeserializeOwned, Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::path::PathBuf;

/// `spec/vectors`.
pub fn folder() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../spec/vectors"))
}

/// The text of a file.
pub fn write(file: &impl Serialize) -> String {
    serde_json::to_string_pretty(file).unwrap() + "\n"
}

/// A file of `spec/vectors`. Unknown and missing keys are errors.
pub fn read<T: DeserializeOwned>(path: &str) -> T {
    let text = std::fs::read_to_string(folder().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Hex(pub Vec<u8>);

impl Hex {
    /// As an array.
    ///
    /// # Panics
    /// If the length is another.
    pub fn array<const N: usize>(&self) -> [u8; N] {
        self.0.as_slice().try_into().unwrap_or_else(|_| panic!("{} bytes, not {N}", self.0.len()))
    }
}

impl fmt::Debug for Hex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(&self.0))
    }
}

impl Serialize for Hex {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex::encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Hex {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(D::Error::custom("hexadecimal in upper case"));
        }
        hex::decode(&text).map(Self).map_err(D::Error::custom)
    }
}

/// Bytes by name, in the order in which they were put.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Named(Vec<(String, Hex)>);

impl Named {
    /// Adds a value; a name is used once.
    pub fn put(&mut self, name: &str, value: &[u8]) {
        assert!(self.find(name).is_none(), "{name} twice");
        self.0.push((name.to_owned(), Hex(value.to_vec())));
    }

    /// The value of this name.
    pub fn find(&self, name: &str) -> Option<&[u8]> {
        self.0.iter().find_map(|(other, value)| (other == name).then_some(value.0.as_slice()))
    }

    /// The value of this name.
    ///
    /// # Panics
    /// If there is none.
    pub fn get(&self, name: &str) -> &[u8] {
        self.find(name).unwrap_or_else(|| panic!("no {name}"))
    }

    /// Names and values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.0.as_slice()))
    }
}

impl Serialize for Named {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

impl<'de> Deserialize<'de> for Named {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;

        impl<'de> Visitor<'de> for InOrder {
            type Value = Named;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("named byte strings")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Named, A::Error> {
                let mut named = Named::default();
                while let Some((name, value)) = map.next_entry::<String, Hex>()? {
                    if named.find(&name).is_some() {
                        return Err(A::Error::custom(format!("{name} twice")));
                    }
                    named.0.push((name, value));
                }
                Ok(named)
            }
        }

        deserializer.deserialize_map(InOrder)
    }
}
