//! How unlocked items are printed.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use handfast::{ReleasedItems, SecretBytes};
use zeroize::Zeroizing;

/// One item alone: its bytes, for a pipe or a file; a line for a terminal. Several: a labelled line each.
pub(super) fn printed(items: &ReleasedItems, terminal: bool) -> Zeroizing<Vec<u8>> {
    let mut entries = items.entries.iter();
    let bytes = match (&items.unlock_key, entries.next(), entries.next()) {
        (None, Some((_, value)), None) if terminal => match printable(value.expose()) {
            Some(text) => format!("{text}\n").into_bytes(),
            None => labelled(items),
        },
        (None, Some((_, value)), None) => value.expose().to_vec(),
        (Some(key), None, _) if !terminal => key.expose().to_vec(),
        _ => labelled(items),
    };
    Zeroizing::new(bytes)
}

fn labelled(items: &ReleasedItems) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut line = |parts: [&str; 2]| parts.into_iter().chain(["\n"]).for_each(|part| bytes.extend(part.as_bytes()));
    if let Some(key) = &items.unlock_key {
        line(["account unlock key (hex): ", &Zeroizing::new(hex::encode(key.expose()))]);
    }
    for (name, value) in &items.entries {
        match printable(value.expose()) {
            Some(text) => line([&format!("{name}: "), text]),
            None => line([&format!("{name} (base64): "), &encoded(value)]),
        }
    }
    bytes
}

/// One line of text that cannot drive a terminal.
fn printable(bytes: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(bytes).ok()?;
    let text = text.strip_suffix('\n').unwrap_or(text);
    (!text.is_empty() && !text.chars().any(char::is_control)).then_some(text)
}

fn encoded(value: &SecretBytes) -> Zeroizing<String> {
    Zeroizing::new(STANDARD.encode(value.expose()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use handfast::{EntryName, Secret};

    fn items(key: bool, entries: &[(&str, &[u8])]) -> ReleasedItems {
        let entries =
            entries.iter().map(|(name, value)| (EntryName::new(name).unwrap(), SecretBytes::new(value.to_vec())));
        ReleasedItems { unlock_key: key.then(|| Secret::new([0xab; 32])), entries: entries.collect() }
    }

    fn text(items: &ReleasedItems, terminal: bool) -> String {
        String::from_utf8(printed(items, terminal).to_vec()).unwrap()
    }

    #[test]
    fn a_pipe_gets_the_bytes_of_one_item_and_nothing_else() {
        assert_eq!(*printed(&items(false, &[("a", b"\x00\xff")]), false), b"\x00\xff");
        assert_eq!(*printed(&items(true, &[]), false), [0xab; 32]);
    }

    #[test]
    fn a_terminal_gets_no_control_characters() {
        assert_eq!(text(&items(false, &[("a", b"pass word\n")]), true), "pass word\n");
        assert_eq!(text(&items(false, &[("a", b"\x1b[2J")]), true), "a (base64): G1sySg==\n");
        assert!(text(&items(true, &[]), true).starts_with("account unlock key (hex): abab"));
    }

    #[test]
    fn several_items_are_labelled_everywhere() {
        let items = items(true, &[("bin", b"\xff"), ("text", b"x")]);
        for terminal in [false, true] {
            let text = text(&items, terminal);
            assert!(text.ends_with("\nbin (base64): /w==\ntext: x\n"), "{text}");
        }
    }
}
