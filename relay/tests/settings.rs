//! Settings: where they come from, which wins, and what is said about wrong ones.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod common;

use common::process::{command, output};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

fn file(folder: &Path, text: &str) -> PathBuf {
    let path = folder.join("relay.toml");
    fs::write(&path, text).unwrap();
    path
}

/// What `serve --print-config` prints with these options and environment variables.
fn printed(options: &[&str], environment: &[(&str, &str)]) -> (String, toml::Table) {
    let mut command = command(&["serve", "--print-config"]);
    let (code, out, why) = output(command.args(options).envs(environment.iter().copied()));
    assert_eq!((code, why.as_str()), (Some(0), ""));
    (out.clone(), out.parse().unwrap())
}

#[test]
fn flags_win_over_the_environment_and_that_over_the_file_and_that_over_defaults() {
    let folder = tempfile::tempdir().unwrap();
    let text =
        "max-connections = 11\nmax-mailboxes = 12\nmax-frames = 13\nno-network-hint = true\nlog-format = 'json'\n";
    let path = file(folder.path(), text);
    let environment = [
        ("HANDFAST_RELAY_CONFIG", path.to_str().unwrap()),
        ("HANDFAST_RELAY_MAX_CONNECTIONS", "21"),
        ("HANDFAST_RELAY_MAX_MAILBOXES", "22"),
    ];
    let (_, table) = printed(&["--max-connections", "31", "--no-network-hint=false"], &environment);
    let number = |key: &str| table[key].as_integer().unwrap();
    let numbers = ["max-connections", "max-mailboxes", "max-frames", "claim-timeout"].map(number);
    assert_eq!(numbers, [31, 22, 13, 15]);
    assert_eq!(table["no-network-hint"].as_bool(), Some(false));
    assert_eq!(table["log-format"].as_str(), Some("json"));
    assert_eq!(table["listen"].as_str(), Some("127.0.0.1:8474"));
}

#[test]
fn what_is_printed_is_a_file_that_comes_to_the_same() {
    let folder = tempfile::tempdir().unwrap();
    for options in
        [&[][..], &["--tls-certificate", "c", "--tls-key", "k", "--admin-listen", "[::1]:9", "--window", "3"]]
    {
        let (text, table) = printed(options, &[]);
        assert_eq!(table.contains_key("admin-listen"), !options.is_empty());
        let path = file(folder.path(), &text);
        assert_eq!(printed(&["--config", path.to_str().unwrap()], &[]).0, text);
    }
}

#[test]
fn a_wrong_file_is_refused_in_one_line_that_names_file_key_and_reason() {
    let folder = tempfile::tempdir().unwrap();
    let refusals = [
        ("max-mailboxes = 'many'", "max-mailboxes: ", "nonzero"),
        ("max-mailboxes = 0", "max-mailboxes: ", "nonzero"),
        ("max-frames = 5000000000", "max-frames: ", "u32"),
        ("drain-seconds = -1", "drain-seconds: ", "u64"),
        ("max-mailbox = 5", "max-mailbox: ", "unknown setting"),
        ("max_mailboxes = 5", "max_mailboxes: ", "unknown setting"),
        ("listen = 'localhost'", "listen: ", "invalid socket address"),
        ("log = 'not=a=filter'", "log: ", "level"),
        ("log-format = 'xml'", "log-format: ", "`text` or `json`"),
        ("store = 'http://store'", "store: ", "redis://"),
        ("store = 'redis://127.0.0.1:99999'", "store: ", "[:PORT]"),
        ("\n\nmax-mailboxes = 5 5", "line 3: ", ""),
        ("max-frames = 5\nmax-frames = 6", "line 2: ", "duplicate"),
    ];
    for (text, key, reason) in refusals {
        let path = file(folder.path(), text);
        let (code, out, why) = output(command(&["serve", "--config"]).arg(&path));
        assert_eq!((code, out.as_str()), (Some(2), ""), "{text}");
        let start = format!("handfast-relay: {}: {key}", path.display());
        assert!(why.starts_with(&start) && why.contains(reason) && why.lines().count() == 1, "{text}: {why}");
    }
    let path = folder.path().join("none.toml");
    let (code, _, why) = output(command(&["serve", "--config"]).arg(&path));
    assert_eq!(code, Some(2));
    assert!(why.starts_with(&format!("handfast-relay: {}: ", path.display())) && why.lines().count() == 1, "{why}");
}

#[test]
fn settings_that_contradict_each_other_are_refused_wherever_they_come_from() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(folder.path(), "mailbox-lifetime = 3600\ntls-key = 'key.pem'");
    let path = path.to_str().unwrap();
    let (code, _, why) = output(&mut command(&["serve", "--config", path]));
    assert_eq!((code, why.as_str()), (Some(2), "handfast-relay: tls-certificate and tls-key go together\n"));
    let options = ["serve", "--config", path, "--tls-certificate", "certificate.pem", "--print-config"];
    let (code, out, why) = output(&mut command(&options));
    let expected = "handfast-relay: a mailbox's lifetime must not be longer than its maximum\n";
    assert_eq!((code, out.as_str(), why.as_str()), (Some(2), "", expected));
}

#[test]
fn the_password_of_a_store_is_neither_printed_nor_in_the_help() {
    let environment = [("HANDFAST_RELAY_STORE", "redis://ada:SECRET@store:6379")];
    let (text, table) = printed(&[], &environment);
    assert_eq!(table["store"].as_str(), Some("redis://***@store:6379"));
    let (_, help, _) = output(command(&["serve", "--help"]).envs(environment));
    assert!(!text.contains("SECRET") && !help.contains("SECRET"), "{text}{help}");
}

/// A person gets the address or its place wrong: the message reaches a terminal or a log.
#[test]
fn the_password_of_a_store_is_in_no_error() {
    let folder = tempfile::tempdir().unwrap();
    for url in ["valkey://ada:SECRET@store:6379", "redis://ada:SECRET@store:99999", "ada:SECRET@store"] {
        let refused = [
            output(command(&["serve"]).env("HANDFAST_RELAY_STORE", url)),
            output(&mut command(&["serve", "--store", url])),
            output(command(&["serve", "--print-config"]).env("HANDFAST_RELAY_STORE", url)),
        ];
        for (code, out, why) in refused {
            assert_eq!((code, out.as_str()), (Some(2), ""), "{why}");
            assert!(why.starts_with("handfast-relay: store: ") && !why.contains("SECRET"), "{why}");
        }
    }
    // Under every key there is, and some that there are not. (A filter of logs may have anything for its target.)
    let (_, settings) = printed(&["--admin-listen", "127.0.0.1:0", "--tls-certificate", "c", "--tls-key", "k"], &[]);
    let keys = settings.keys().map(String::as_str).filter(|key| *key != "log" && !key.starts_with("tls-"));
    for key in keys.chain(["stores", "window"]) {
        for value in ["'redis://ada:SECRET@s:1'", "['redis://ada:SECRET@s:1']", "{ url = 'SECRET, expected SECRET' }"] {
            let path = file(folder.path(), &format!("{key} = {value}"));
            let (code, _, why) = output(command(&["serve", "--print-config", "--config"]).arg(&path));
            assert_eq!(code, Some(2), "{key} = {value}");
            assert!(why.contains(&format!("{key}: ")) && !why.contains("SECRET"), "{why}");
        }
    }
    let path = file(folder.path(), "redis://ada:SECRET@store:6379");
    let (code, _, why) = output(command(&["serve", "--config"]).arg(&path));
    assert!(code == Some(2) && !why.contains("SECRET"), "{why}");
}

/// The options of `serve`, with their defaults where they have one, as the program tells them.
fn options_in_help() -> BTreeMap<String, String> {
    let (code, help, _) = output(&mut command(&["serve", "--help"]));
    assert_eq!(code, Some(0));
    let mut options = BTreeMap::new();
    let listed = help.split_once("\nOptions:\n").unwrap().1.split_once("\n\n").unwrap().0;
    for option in format!("\n{listed}").split("\n      --").skip(1) {
        let flag = option.split([' ', '[', '\n']).next().unwrap();
        let default = option.split_once("[default: ").map(|(_, rest)| rest.split(']').next().unwrap());
        options.insert(format!("--{flag}"), default.unwrap_or_default().to_owned());
    }
    options
}

#[test]
fn the_help_and_the_table_in_the_readme_name_the_same_options_and_defaults() {
    let readme = include_str!("../README.md");
    let rows = readme.lines().filter_map(|line| {
        let mut cells = line.strip_prefix("| `--")?.split('|');
        let (flag, default) = (cells.next()?.trim_matches([' ', '`']), cells.next()?.trim());
        let default = default.strip_suffix(" s").unwrap_or(default).trim_matches('`');
        Some((format!("--{flag}"), default.to_owned()))
    });
    let help = options_in_help();
    assert!(help.len() > 15 && help["--max-mailboxes"] == "20000" && help["--log"] == "info", "{help:?}");
    assert!(!help.contains_key("--window"), "it is for measurements");
    assert_eq!(rows.collect::<BTreeMap<_, _>>(), help);
}
