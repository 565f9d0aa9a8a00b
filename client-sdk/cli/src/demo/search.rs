//! Looks for secrets in what a relay saw: as they are, as hexadecimal digits and as base64, whole or in part.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use std::collections::{BTreeSet, HashMap};
use zeroize::Zeroizing;

/// Any eight bytes in a row of a form of a secret count as a find. In random bytes that happens once in 2^64.
const WINDOW: usize = 8;

/// Secrets by what they are.
#[derive(Default)]
pub(crate) struct Secrets(Vec<(String, Zeroizing<Vec<u8>>)>);

impl Secrets {
    pub(crate) fn add(&mut self, what: &str, secret: &[u8]) {
        self.0.push((what.to_owned(), Zeroizing::new(secret.to_vec())));
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.0.iter().map(|(what, secret)| (what.as_str(), secret.as_slice()))
    }

    /// Everything to look for.
    pub(crate) fn index(&self) -> Index<'_> {
        let mut index = Index { windows: HashMap::new(), short: Vec::new() };
        for (what, secret) in self.iter() {
            for form in forms(secret) {
                if form.len() < WINDOW {
                    index.short.push((form, what));
                } else {
                    index.windows.extend(form.windows(WINDOW).map(|window| (window.to_vec(), what)));
                }
            }
        }
        index
    }
}

/// What to look for, ready for a fast search.
pub(crate) struct Index<'a> {
    windows: HashMap<Vec<u8>, &'a str>,
    short: Vec<(Vec<u8>, &'a str)>,
}

impl Index<'_> {
    /// Which of the secrets occur in the messages.
    pub(crate) fn found_in<'a>(&self, messages: impl Iterator<Item = &'a [u8]>) -> BTreeSet<&str> {
        let mut found = BTreeSet::new();
        for message in messages {
            found.extend(message.windows(WINDOW).filter_map(|window| self.windows.get(window)));
            found.extend(self.short.iter().filter(|(form, _)| occurs(form, message)).map(|(_, what)| *what));
        }
        found
    }
}

/// Whether `part` occurs in `whole`.
pub(crate) fn occurs(part: &[u8], whole: &[u8]) -> bool {
    !part.is_empty() && whole.windows(part.len()).any(|window| window == part)
}

/// How a secret might be written.
pub(crate) fn forms(secret: &[u8]) -> Vec<Vec<u8>> {
    let mut forms = vec![secret.to_vec(), hex::encode(secret).into_bytes(), hex::encode_upper(secret).into_bytes()];
    for engine in [STANDARD, URL_SAFE] {
        // In base64 the letters depend on what stands before: nothing, one byte or two.
        for before in 0..3 {
            let text = engine.encode([vec![0; before].as_slice(), secret].concat());
            let own = text.trim_end_matches('=');
            // The first letters, and after padding the last one, mix with neighbours.
            let start = (before * 8).div_ceil(6);
            let end = own.len() - usize::from(own.len() < text.len());
            forms.push(own.as_bytes().get(start..end).unwrap_or_default().to_vec());
        }
    }
    forms.retain(|form| form.len() >= 6);
    forms
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secrets() -> Secrets {
        let mut secrets = Secrets::default();
        secrets.add("key", b"correct horse battery staple");
        secrets.add("check code", b"493817");
        secrets
    }

    fn found(message: &[u8]) -> Vec<String> {
        secrets().index().found_in([message].into_iter()).into_iter().map(str::to_owned).collect()
    }

    #[test]
    fn a_secret_is_found_in_every_form_and_in_part() {
        for (message, what) in [
            (b"..correct horse battery staple..".to_vec(), "key"),
            (b"..horse ba..".to_vec(), "key"),
            (format!("x{}", hex::encode(b"horse b")).into_bytes(), "key"),
            (format!("x{}", hex::encode_upper(b"horse b")).into_bytes(), "key"),
            (b"number 493817!".to_vec(), "check code"),
        ] {
            assert_eq!(found(&message), [what], "{message:?}");
        }
        for before in 0..6 {
            let text = STANDARD.encode([&vec![b'#'; before][..], b"correct horse battery staple", b"!!"].concat());
            assert_eq!(found(text.as_bytes()), ["key"], "{before} bytes before");
        }
    }

    #[test]
    fn anything_else_is_not_found() {
        assert!(found(b"correct").is_empty());
        assert!(found(b"49381 7 and 7 bytes:horse b").is_empty());
        assert!(found(b"").is_empty());
    }
}
