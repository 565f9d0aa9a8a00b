//! `spec/vectors` as a folder: every file is made by the generator, fits the schema, and is read by a test.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use handfast_protocol::text::EntryName;
use handfast_tests::vectors::{files, format};
use regex::Regex;
use serde_json::{Value, json};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::path::Path;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// Kind, the folder or file it lies in, and the tests that read it.
const READERS: [(&str, &str, &str); 8] = [
    ("codes", "codes.json", "tests/tests/vectors_components.rs"),
    ("qr", "qr.json", "tests/tests/vectors_components.rs"),
    ("frames", "frames.json", "tests/tests/vectors_components.rs"),
    ("objects", "objects.json", "tests/tests/vectors_components.rs"),
    ("device", "device.json", "tests/tests/vectors_components.rs"),
    ("signatures", "signatures.json", "tests/tests/vectors_components.rs"),
    ("pairing", "pairings", "tests/tests/vectors_pairings.rs"),
    ("refusal", "refusals", "tests/tests/vectors_refusals.rs"),
];

const LARGEST_FILE_BYTES: usize = 410_000;

/// Path and content of every file in `spec/vectors`.
fn folder() -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut folders = vec![String::new()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(format::folder().join(&folder)).unwrap() {
            let entry = entry.unwrap();
            let path = format!("{folder}{}", entry.file_name().into_string().unwrap());
            if entry.path().is_dir() {
                folders.push(path + "/");
            } else {
                found.insert(path, fs::read_to_string(entry.path()).unwrap());
            }
        }
    }
    found
}

/// The files under the schema.
fn vectors() -> BTreeMap<String, Value> {
    let others = |path: &str| path.starts_with("published/") || ["README.md", "schema.json"].contains(&path);
    let files = folder().into_iter().filter(|(path, _)| !others(path));
    files
        .map(|(path, text)| (path.clone(), serde_json::from_str(&text).unwrap_or_else(|e| panic!("{path}: {e}"))))
        .collect()
}

fn source(path: &str) -> String {
    fs::read_to_string(Path::new(ROOT).join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

#[test]
fn every_file_is_read_by_a_test() {
    for (path, file) in vectors() {
        let kind = file["kind"].as_str().unwrap_or_else(|| panic!("{path} is of no kind"));
        let reader = READERS.iter().find(|(known, ..)| *known == kind);
        let (_, place, reader) = reader.unwrap_or_else(|| panic!("nobody reads {path}, of kind {kind}"));
        let expected = if place.ends_with(".json") {
            (*place).to_owned()
        } else {
            format!("{place}/{}.json", file["name"].as_str().unwrap_or_default())
        };
        assert_eq!(path, expected, "of kind {kind}");
        assert!(source(reader).contains(&format!("\"{place}\"")), "{reader} does not read {path}");
    }
    for (kind, place, _) in READERS {
        assert!(vectors().keys().any(|path| path.starts_with(place)), "no file of kind {kind}");
    }
}

/// Those of others are known answers for the primitives.
#[test]
fn every_published_file_is_read_by_a_test() {
    let readers = ["cpace_tests.rs", "hpke_tests.rs"].map(|file| source(&format!("protocol/src/crypto/{file}")));
    for path in folder().into_keys() {
        let Some(file) = path.strip_prefix("published/").filter(|file| *file != "README.md") else { continue };
        let read = format!("vectors!(\"{file}\")");
        assert!(readers.iter().any(|source| source.contains(&read)), "nobody reads {path}");
    }
}

/// Both ways: a rule without a vector could be forgotten, a vector without a rule says nothing.
#[test]
fn every_rule_of_the_text_has_a_refusal() {
    let text = source("spec/protocol.md");
    let cells = text.lines().filter_map(|line| line.strip_prefix("| ")?.split(' ').next());
    let rules: BTreeSet<_> = cells.filter(|cell| cell.starts_with("R-")).map(String::from).collect();
    let refusals = vectors().into_values().filter(|file| file["kind"] == "refusal");
    let cited: BTreeSet<_> = refusals.map(|file| file["rule"].as_str().unwrap().to_owned()).collect();
    assert_eq!(cited, rules);
}

/// What the generator does not make would never change with the code.
#[test]
fn every_file_is_made_by_the_generator() {
    let made = files();
    let paths: BTreeSet<_> = made.iter().map(|(path, _)| path.clone()).collect();
    assert_eq!(paths.len(), made.len(), "a file is made twice");
    assert_eq!(paths, vectors().into_keys().collect());
    let folder = folder();
    for (path, content) in made {
        assert!(folder[&path] == content, "{path} is not what the generator writes");
        assert!(content.len() <= LARGEST_FILE_BYTES, "{path} has {} bytes", content.len());
        let visible =
            |c: char| (' '..='~').contains(&c) || (!c.is_ascii() && EntryName::new(c.encode_utf8(&mut [0; 4])).is_ok());
        let invisible = content.chars().find(|c| *c != '\n' && !visible(*c));
        assert_eq!(invisible, None, "{path}: to be written as an escape");
    }
}

#[test]
fn every_file_fits_the_schema() {
    let schema = Schema::read();
    let mut wrong = Vec::new();
    for (path, file) in vectors() {
        schema.check(&schema.of(&file), &file, &path, &mut wrong);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn an_unknown_kind_or_key_does_not_fit_the_schema() {
    let schema = Schema::read();
    let fits = |file: &Value| {
        let mut wrong = Vec::new();
        schema.check(&schema.root, file, "", &mut wrong);
        wrong.is_empty()
    };
    let mut kinds = BTreeSet::new();
    for (path, file) in vectors() {
        if !kinds.insert(file["kind"].to_string()) {
            continue;
        }
        assert!(fits(&file), "{path}");
        let mut changed = file.clone();
        changed["kind"] = json!("unknown");
        assert!(!fits(&changed), "{path}");
        let pointers = objects(&file, String::new());
        // Each object of a small file, some of a large one.
        for pointer in pointers.iter().step_by(pointers.len().div_ceil(20)) {
            let mut changed = file.clone();
            changed.pointer_mut(pointer).unwrap()["unknown"] = json!("");
            assert!(!fits(&changed), "{path}{pointer}");
        }
    }
}

/// Pointers to all objects in `value`.
fn objects(value: &Value, at: String) -> Vec<String> {
    match value {
        Value::Object(fields) => {
            let inner = fields.iter().flat_map(|(key, field)| objects(field, format!("{at}/{key}")));
            let inner = inner.collect::<Vec<_>>();
            [vec![at], inner].concat()
        }
        Value::Array(items) => {
            items.iter().enumerate().flat_map(|(i, item)| objects(item, format!("{at}/{i}"))).collect()
        }
        _ => Vec::new(),
    }
}

/// `additionalProperties` is false everywhere, or the schema would let unknown keys through.
#[test]
fn every_object_of_the_schema_is_closed() {
    fn walk(schema: &Value, at: &str) {
        if schema["type"] == "object" {
            assert_eq!(schema["additionalProperties"], false, "{at}");
            for required in schema["required"].as_array().unwrap_or(&Vec::new()) {
                assert!(schema["properties"].get(required.as_str().unwrap()).is_some(), "{at}: {required}");
            }
        }
        match schema {
            Value::Object(fields) => fields.iter().for_each(|(key, value)| walk(value, &format!("{at}/{key}"))),
            Value::Array(items) => items.iter().enumerate().for_each(|(i, value)| walk(value, &format!("{at}/{i}"))),
            _ => {}
        }
    }
    walk(&Schema::read().root, "");
}

/// Cases are cited by their names.
#[test]
fn names_are_unique_in_their_list() {
    fn walk(value: &Value, at: &str) {
        match value {
            Value::Object(fields) => fields.iter().for_each(|(key, value)| walk(value, &format!("{at}/{key}"))),
            Value::Array(items) => {
                let names: Vec<_> = items.iter().filter_map(|item| item.get("name")?.as_str()).collect();
                assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len(), "{at}: {names:?}");
                items.iter().enumerate().for_each(|(i, item)| walk(item, &format!("{at}/{i}")));
            }
            _ => {}
        }
    }
    for (path, file) in vectors() {
        walk(&file, &path);
    }
}

/// As much of JSON Schema as `schema.json` uses. A keyword that is not here is an error.
struct Schema {
    root: Value,
    patterns: RefCell<HashMap<String, Regex>>,
}

impl Schema {
    fn read() -> Self {
        let root = serde_json::from_str(&fs::read_to_string(format::folder().join("schema.json")).unwrap()).unwrap();
        Self { root, patterns: RefCell::default() }
    }

    /// The definition for a file of this kind, which says more than that none of all fits.
    fn of(&self, file: &Value) -> Value {
        json!({ "$ref": format!("#/$defs/{}", file["kind"].as_str().unwrap_or_default()) })
    }

    fn check(&self, schema: &Value, value: &Value, at: &str, wrong: &mut Vec<String>) {
        for (keyword, argument) in schema.as_object().unwrap() {
            let fits = match keyword.as_str() {
                "$schema" | "$defs" | "title" | "description" => true,
                "$ref" => match self.root.pointer(argument.as_str().unwrap().strip_prefix('#').unwrap()) {
                    Some(definition) => {
                        self.check(definition, value, at, wrong);
                        true
                    }
                    None => false,
                },
                "const" => value == argument,
                "enum" => argument.as_array().unwrap().contains(value),
                "type" => match argument.as_str().unwrap() {
                    "object" => value.is_object(),
                    "array" => value.is_array(),
                    "string" => value.is_string(),
                    "boolean" => value.is_boolean(),
                    "integer" => value.is_u64() || value.is_i64(),
                    "null" => value.is_null(),
                    other => panic!("type {other}"),
                },
                "pattern" => value.as_str().is_none_or(|text| self.matches(argument.as_str().unwrap(), text)),
                "minLength" => {
                    value.as_str().is_none_or(|text| text.chars().count() as u64 >= argument.as_u64().unwrap())
                }
                "maxLength" => {
                    value.as_str().is_none_or(|text| text.chars().count() as u64 <= argument.as_u64().unwrap())
                }
                "minimum" => value.as_i64().is_none_or(|number| number >= argument.as_i64().unwrap()),
                "maximum" => value.as_i64().is_none_or(|number| number <= argument.as_i64().unwrap()),
                "minItems" => value.as_array().is_none_or(|items| items.len() as u64 >= argument.as_u64().unwrap()),
                "items" => {
                    for (i, item) in value.as_array().into_iter().flatten().enumerate() {
                        self.check(argument, item, &format!("{at}/{i}"), wrong);
                    }
                    true
                }
                "properties" => {
                    for (key, property) in argument.as_object().unwrap() {
                        if let Some(field) = value.get(key) {
                            self.check(property, field, &format!("{at}/{key}"), wrong);
                        }
                    }
                    true
                }
                "required" => argument.as_array().unwrap().iter().all(|key| value.get(key.as_str().unwrap()).is_some()),
                "additionalProperties" => {
                    assert_eq!(*argument, false);
                    let known = schema["properties"].as_object().unwrap();
                    value.as_object().is_none_or(|fields| fields.keys().all(|key| known.contains_key(key)))
                }
                "oneOf" => {
                    let fitting = argument.as_array().unwrap().iter().filter(|alternative| {
                        let mut wrong = Vec::new();
                        self.check(alternative, value, at, &mut wrong);
                        wrong.is_empty()
                    });
                    fitting.count() == 1
                }
                other => panic!("{other}: a keyword that is not checked"),
            };
            if !fits {
                wrong.push(format!("{at}: {keyword}"));
            }
        }
    }

    fn matches(&self, pattern: &str, text: &str) -> bool {
        let mut patterns = self.patterns.borrow_mut();
        patterns.entry(pattern.to_owned()).or_insert_with(|| Regex::new(pattern).unwrap()).is_match(text)
    }
}
