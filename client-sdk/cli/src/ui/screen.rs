//! What a person reads during a run. Plain text in, plain text out: nothing here writes anywhere.

use crate::exit::Failed;
use crate::qr;
use handfast::{Approval, EntryName, Event, Network, Purpose, Request};
use std::time::Duration;

/// Cells that a terminal needs for a QR code and the lines below it.
pub(crate) const QR_ROWS: u16 = 29;
pub(crate) const QR_COLUMNS: u16 = 45;

/// What a run is about, as far as the words depend on it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scene {
    /// What to run on the other device once it has the code or the image.
    pub(crate) elsewhere: String,
    /// Whether that command is complete only with the code behind it.
    pub(crate) elsewhere_takes_code: bool,
    /// Trusted device: the names of the bundle's entries.
    pub(crate) entries: Vec<String>,
    /// New device, unlock: what is asked for.
    pub(crate) asks_for: Option<String>,
    /// Whether drawings may be coloured.
    pub(crate) colours: bool,
}

/// The text for an event; `None` if there is nothing to read.
pub(crate) fn shown(event: &Event, scene: &Scene) -> Result<Option<String>, Failed> {
    Ok(Some(match event {
        Event::ShowCode { code, .. } => {
            let code = code.reveal();
            let argument = if scene.elsewhere_takes_code { format!(" {code}") } else { String::new() };
            format!(
                "\nType this code on the new device:\n\n    {code}\n\nThere: {}{argument}\nThe code is good for one try.\n\n",
                scene.elsewhere
            )
        }
        Event::ShowQr { qr, .. } => {
            let drawing = qr::terminal(&qr.to_uri(), scene.colours)?;
            let purpose = match &scene.asks_for {
                Some(items) => format!("It asks for {items}, to use once.\n"),
                None => String::new(),
            };
            format!("\n{}\nScan this with the other device. There: {}\n{purpose}\n", *drawing, scene.elsewhere)
        }
        Event::OfferOver { failure, next_in } => format!("That one is over: {failure}.\n{}", next(*next_in)),
        Event::PeerHere => "Another device has answered.\n".into(),
        Event::PeerAway { .. } => "The other device lost its connection; it may come back.\n".into(),
        Event::PeerFreed => "The device that had answered went silent; the code is still good.\n".into(),
        Event::ThirdClaim => "A third device tried the same code and was turned away.\n".into(),
        Event::Reconnecting { wait, why, .. } => {
            format!("Lost the relay: {why}. Trying again in {:.1} s.\n", wait.as_secs_f64())
        }
        Event::Account { label, trusted_name, trusted_identity, .. } => format!(
            "\nAccount              {label}\nTrusted device       calls itself \"{trusted_name}\"\n\
             Its fingerprint      {}\n\n",
            trusted_identity.fingerprint()
        ),
        Event::ShowCheckCode(code) => {
            format!("\nCheck code: {}\nType these digits on the other device.\n\n", code.reveal())
        }
        Event::AskApproval(approval) => approval_text(approval, scene),
        Event::AskDifferentNetwork => {
            "The relay says that the two devices are on different networks. Is the other device not beside you, somebody \
             else may be asking.\n"
                .into()
        }
        Event::GrantSent => "Sent. Waiting until the other device confirms.\n".into(),
        _ => return Ok(None),
    }))
}

/// What a request is for, in words.
pub(crate) fn items(request: &Request) -> String {
    let Request::Items { unlock_key, entries } = request else { return "the whole bundle".into() };
    let names = entries.iter().map(|name| format!("\"{name}\""));
    let key = unlock_key.then(|| "the account unlock key".to_owned());
    key.into_iter().chain(names).collect::<Vec<_>>().join(", ")
}

/// What another device says of itself, marked as its own words.
pub(crate) fn calls_itself(name: &str, platform: &str) -> String {
    let platform = if platform.is_empty() { String::new() } else { format!(" ({platform})") };
    if name.is_empty() { format!("has no name{platform}") } else { format!("calls itself \"{name}\"{platform}") }
}

pub(crate) fn network(network: Network) -> &'static str {
    match network {
        Network::Same => "same network",
        Network::Different => "different network",
        Network::Unknown => "nothing about the networks",
    }
}

fn approval_text(approval: &Approval, scene: &Scene) -> String {
    let (purpose, leaves) = match (&approval.purpose, &approval.request) {
        (Purpose::Enroll, _) => (
            "to become a trusted device of this account",
            format!("everything: the account unlock key, the sign-in secret, {}", entry_names(&scene.entries)),
        ),
        (Purpose::Unlock, request) => {
            ("to use something once; it should store nothing", items(request) + &missing(request, &scene.entries))
        }
    };
    format!(
        "\nA device asks {purpose}.\n  The device           {}\n  Its fingerprint      {}\n  The relay says       {}\n  \
         What leaves          {leaves}\n\n",
        calls_itself(&approval.name, &approval.platform),
        approval.identity.fingerprint(),
        network(approval.network),
    )
}

/// The person should not approve what cannot be delivered.
fn missing(request: &Request, entries: &[String]) -> String {
    let Request::Items { entries: wanted, .. } = request else { return String::new() };
    let missing: Vec<&str> =
        wanted.iter().map(EntryName::as_str).filter(|name| !entries.iter().any(|entry| entry == name)).collect();
    if missing.is_empty() { String::new() } else { format!(" (not in the bundle here: {})", missing.join(", ")) }
}

fn entry_names(names: &[String]) -> String {
    match names {
        [] => "no entries".into(),
        [name] => format!("1 entry (\"{name}\")"),
        names => format!("{} entries (\"{}\")", names.len(), names.join("\", \"")),
    }
}

fn next(wait: Duration) -> String {
    if wait.is_zero() {
        "Here is a new one.\n".into()
    } else {
        format!("Too many failed in a row: a new one comes in {} s.\n", wait.as_millis().div_ceil(1000))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn scene(entries: &[&str]) -> Scene {
        Scene { entries: entries.iter().map(|name| (*name).to_owned()).collect(), ..Scene::default() }
    }

    fn identity() -> handfast::IdentityPublicKey {
        let folder = tempfile::tempdir().unwrap();
        let (label, name) = ("account".parse_label(), "device".parse_name());
        handfast::Profile::init(folder.path(), label, name).unwrap().identity()
    }

    trait Parse {
        fn parse_label(&self) -> handfast::AccountLabel;
        fn parse_name(&self) -> handfast::DeviceName;
    }

    impl Parse for str {
        fn parse_label(&self) -> handfast::AccountLabel {
            handfast::AccountLabel::new(self).unwrap()
        }
        fn parse_name(&self) -> handfast::DeviceName {
            handfast::DeviceName::new(self).unwrap()
        }
    }

    fn approval(purpose: Purpose, request: Request) -> Approval {
        let (name, platform) = ("laptop".into(), "linux x86_64".into());
        Approval { purpose, request, identity: identity(), name, platform, network: Network::Different }
    }

    #[test]
    fn an_approval_to_enroll_names_everything_that_leaves_and_who_asks() {
        let approval = approval(Purpose::Enroll, Request::Bundle);
        let text = approval_text(&approval, &scene(&["mail", "wifi"]));
        for part in [
            "to become a trusted device",
            "calls itself \"laptop\" (linux x86_64)",
            &approval.identity.fingerprint(),
            "different network",
            "everything: the account unlock key",
            "2 entries (\"mail\", \"wifi\")",
        ] {
            assert!(text.contains(part), "{part} is missing in {text}");
        }
    }

    #[test]
    fn an_approval_to_unlock_names_what_was_asked_for_and_nothing_else() {
        let request = Request::Items { unlock_key: true, entries: vec![EntryName::new("mail").unwrap()] };
        let text = approval_text(&approval(Purpose::Unlock, request), &scene(&["mail", "wifi"]));
        assert!(text.contains("the account unlock key, \"mail\"\n"), "{text}");
        assert!(text.contains("to use something once") && !text.contains("wifi"), "{text}");
        let request = Request::Items { unlock_key: false, entries: vec![EntryName::new("bank").unwrap()] };
        let text = approval_text(&approval(Purpose::Unlock, request), &scene(&["mail"]));
        assert!(text.contains("\"bank\" (not in the bundle here: bank)"), "{text}");
    }

    #[test]
    fn a_burned_code_says_when_the_next_one_comes() {
        let over =
            |seconds| Event::OfferOver { failure: handfast::Failure::WrongCode, next_in: Duration::from_secs(seconds) };
        assert!(shown(&over(0), &Scene::default()).unwrap().unwrap().ends_with("Here is a new one.\n"));
        assert!(shown(&over(60), &Scene::default()).unwrap().unwrap().contains("in 60 s"));
    }
}
