//! What a person reads during a run: `spec/threat-model.md`, "What screens must say". Plain text in, plain text out:
//! nothing here writes anywhere.

use crate::exit::Failed;
use crate::qr;
use handfast::{Approval, AuthenticatedBy, EntryName, Event, Mode, Network, Purpose, RecordedDevice, Request};
use std::time::Duration;

/// Cells that a terminal needs for a QR code and the lines below it.
pub(crate) const QR_ROWS: u16 = 30;
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
    /// New device: it holds the account already.
    pub(crate) own_account: bool,
    /// Whether drawings may be coloured.
    pub(crate) colours: bool,
}

/// Before a trusted device scans.
pub(crate) const BEFORE_SCANNING: &str =
    "Only add or unlock a device that you hold in your hands. Never scan a code from a web page or a message.\n";

/// The text for an event; `None` if there is nothing to read.
pub(crate) fn shown(event: &Event, scene: &Scene) -> Result<Option<String>, Failed> {
    Ok(Some(match event {
        Event::ShowCode { code, .. } => {
            let code = code.reveal();
            let argument = if scene.elsewhere_takes_code { format!(" {code}") } else { String::new() };
            format!(
                "\nType this code on the new device:\n\n    {code}\n\nThere: {}{argument}\n\
                 Only add a device that you hold in your hands. The code is good for one try.\n\
                 Never read it to anybody: nobody from support asks for it. Keep it off cameras and shared screens.\n\n",
                scene.elsewhere
            )
        }
        Event::ShowQr { qr, .. } => {
            let drawing = qr::terminal(&qr.to_uri(), scene.colours)?;
            let purpose = match &scene.asks_for {
                Some(items) => format!("It asks for {items}, to use once.\n"),
                None => String::new(),
            };
            let warning = match qr.kind.mode() {
                Mode::QrNew => {
                    "Let only your own trusted device scan it: keep it off other cameras and shared screens."
                }
                Mode::Code | Mode::QrTrusted => {
                    "Only add a device that you hold in your hands: keep this off other cameras and shared screens.\n\
                     Never send it to anybody: nobody from support asks for it."
                }
            };
            format!(
                "\n{}\nScan this with the other device. There: {}\n{purpose}{warning}\n\n",
                *drawing, scene.elsewhere
            )
        }
        Event::OfferOver { failure, next_in } => format!("That one is over: {failure}.\n{}", next(*next_in)),
        Event::PeerHere => "Another device has answered.\n".into(),
        Event::PeerAway { .. } => "The other device lost its connection; it may come back.\n".into(),
        Event::PeerFreed => "The device that had answered went silent; the code is still good.\n".into(),
        Event::ThirdClaim => "A third device tried the same code and was turned away.\n".into(),
        Event::Reconnecting { wait, why, .. } => {
            format!("Lost the relay: {why}. Trying again in {:.1} s.\n", wait.as_secs_f64())
        }
        Event::Account { label, trusted_name, trusted_identity, own_identity, .. } => format!(
            "\nAccount              {label}\nTrusted device       calls itself \"{trusted_name}\"\n\
             Its fingerprint      {}\nThis device's own    {}, as the trusted device must show it\n{}\n\n",
            trusted_identity.fingerprint(),
            own_identity.fingerprint(),
            whose(scene),
        ),
        Event::ShowCheckCode(code) => format!(
            "\nCheck code: {}\nType these digits only on the other device in your hands: never into a web page that you were \
             sent to.\nTell them to nobody.\n\n",
            code.reveal()
        ),
        Event::AskCheckCode => {
            "Take the digits only from the screen of your other device: never from a page, a message or a call.\n"
                .into()
        }
        Event::AskApproval(approval) => approval_text(approval, scene),
        Event::AskDifferentNetwork => {
            "\nThe relay says that the two devices are on different networks. If the other device is not beside you, \
             somebody else may be asking.\n"
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

/// After contact was lost: which device may hold what was sent, and what to change.
pub(crate) fn may_hold(approval: &Approval, entries: &[String]) -> String {
    let otherwise = match approval.purpose {
        Purpose::Enroll => "; `handfast devices` lists it. If it does not show the account, or is not yours",
        Purpose::Unlock => ". If it does not say that it is done, or is not yours",
    };
    format!(
        "The device that {} ({}) may hold what was sent{otherwise}, change {}",
        calls_itself(&approval.name, &approval.platform),
        approval.identity.fingerprint(),
        leaves(&approval.request, entries),
    )
}

/// What another device holds, or would, in words.
pub(crate) fn leaves(request: &Request, entries: &[String]) -> String {
    match request {
        Request::Bundle => format!("the account unlock key, the sign-in secret, {}", entry_names(entries)),
        request => items(request),
    }
}

fn approval_text(approval: &Approval, scene: &Scene) -> String {
    let (purpose, everything) = match approval.purpose {
        Purpose::Enroll => ("to become a trusted device of this account", "everything: "),
        Purpose::Unlock => ("to use something once; it should store nothing", ""),
    };
    let on_record = match &approval.recorded {
        Some(device) => format!("  On record here as    {}\n", recorded_as(device)),
        None => String::new(),
    };
    let nearness = match approval.authenticated_by {
        AuthenticatedBy::RecordedIdentities => {
            "No digits were asked for, since the two devices know each other. Is it in front of you?\n"
        }
        AuthenticatedBy::Code | AuthenticatedBy::CheckCode => "",
    };
    format!(
        "\nA device asks {purpose}.\n  The device           {}\n{on_record}  Its fingerprint      {}\n  \
         The relay says       {}\n  What leaves          {everything}{}{}\n\n{nearness}",
        calls_itself(&approval.name, &approval.platform),
        approval.identity.fingerprint(),
        network(approval.network),
        leaves(&approval.request, &scene.entries),
        missing(&approval.request, &scene.entries),
    )
}

/// By this device's own record, not by what the other one says now.
fn recorded_as(device: &RecordedDevice) -> String {
    let name = if device.name.is_empty() { "a device without a name".into() } else { format!("\"{}\"", device.name) };
    if device.let_this_device_in { format!("{name}, which let this device in") } else { name }
}

/// Whether a new device has any reason to expect that account.
fn whose(scene: &Scene) -> &'static str {
    match (scene.own_account, &scene.asks_for) {
        (true, _) => "This is the account that this device belongs to. Nothing is stored.",
        (false, Some(_)) => {
            "Nothing is stored. If this is not the account that you expect, what comes is a stranger's: press Ctrl-C."
        }
        (false, None) => {
            "Nothing is stored before the trusted device approves. If this is not the account that you expect, it may be a \
             stranger's: press Ctrl-C."
        }
    }
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
    use handfast::protocol::device::{AccountId, DeviceKey};
    use handfast::{AccountLabel, IdentityPublicKey, QrPayload, Secret};
    use std::time::Instant;

    fn scene(entries: &[&str]) -> Scene {
        Scene { entries: entries.iter().map(|name| (*name).to_owned()).collect(), ..Scene::default() }
    }

    fn identity(number: u8) -> IdentityPublicKey {
        DeviceKey::from_secret(Secret::new([number; 32])).identity()
    }

    fn approval(purpose: Purpose, request: Request) -> Approval {
        Approval {
            purpose,
            request,
            identity: identity(1),
            name: "laptop".into(),
            platform: "linux x86_64".into(),
            network: Network::Different,
            authenticated_by: AuthenticatedBy::CheckCode,
            recorded: None,
        }
    }

    fn text(event: &Event, scene: &Scene) -> String {
        shown(event, scene).unwrap().unwrap()
    }

    fn assert_says(text: &str, parts: &[&str]) {
        for part in parts {
            assert!(text.contains(part), "{part:?} is missing in {text}");
        }
    }

    #[test]
    fn an_approval_to_enroll_names_everything_that_leaves_and_who_asks() {
        let approval = approval(Purpose::Enroll, Request::Bundle);
        let text = approval_text(&approval, &scene(&["mail", "wifi"]));
        let fingerprint = approval.identity.fingerprint();
        assert_says(&text, &["to become a trusted device", "calls itself \"laptop\" (linux x86_64)", &fingerprint]);
        assert_says(&text, &["different network", "everything: the account unlock key"]);
        assert_says(&text, &["2 entries (\"mail\", \"wifi\")"]);
        assert!(!text.contains("On record") && !text.contains("in front of you"), "{text}");
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

    #[test]
    fn an_unlock_without_digits_names_the_device_on_record_and_asks_whether_it_is_near() {
        let request = Request::Items { unlock_key: true, entries: vec![] };
        let mut approval = approval(Purpose::Unlock, request);
        approval.name = "phone of your bank".into();
        approval.authenticated_by = AuthenticatedBy::RecordedIdentities;
        approval.recorded = Some(RecordedDevice { name: "adas-laptop".into(), let_this_device_in: false });
        let text = approval_text(&approval, &scene(&[]));
        assert_says(&text, &["calls itself \"phone of your bank\"", "On record here as    \"adas-laptop\"\n"]);
        assert_says(&text, &["No digits were asked for", "Is it in front of you?"]);
        approval.recorded = Some(RecordedDevice { name: String::new(), let_this_device_in: true });
        let text = approval_text(&approval, &scene(&[]));
        assert_says(&text, &["a device without a name, which let this device in"]);
    }

    #[test]
    fn whoever_shows_or_scans_a_code_reads_what_not_to_do_with_it() {
        let until = Instant::now();
        let code = Event::ShowCode { code: "0000-0000-0000".parse().unwrap(), until };
        assert_says(
            &text(&code, &Scene::default()),
            &[
                "Only add a device that you hold in your hands",
                "Never read it to anybody: nobody from support asks for it",
                "shared screens",
            ],
        );
        let shown_qr = |kind| {
            // Version, kind, secret and hash, 7 bytes in 17 digits each.
            let bytes = [&[1, kind][..], &[7; 64]].concat();
            let number = |block: &[u8]| block.iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
            let width = |block: &[u8]| if block.len() == 7 { 17 } else { 8 };
            let digits = bytes.chunks(7).map(|block| format!("{:0width$}", number(block), width = width(block)));
            let qr = QrPayload::parse(&format!("HANDFAST:/{}", digits.collect::<String>()), &[]).unwrap();
            text(&Event::ShowQr { qr, until }, &Scene::default())
        };
        assert_says(
            &shown_qr(3),
            &["Only add a device that you hold in your hands", "nobody from support asks for it", "shared screens"],
        );
        for kind in [1, 2] {
            assert_says(&shown_qr(kind), &["only your own trusted device", "shared screens"]);
        }
        assert_says(BEFORE_SCANNING, &["hold in your hands", "Never scan a code from a web page"]);
    }

    #[test]
    fn digits_belong_on_the_other_device_only() {
        let shown = Event::ShowCheckCode("123456".parse().unwrap());
        assert_says(
            &text(&shown, &Scene::default()),
            &["in your hands", "never into a web page", "Tell them to nobody"],
        );
        assert_says(&text(&Event::AskCheckCode, &Scene::default()), &["only from the screen", "never from a page"]);
    }

    #[test]
    fn a_new_device_shows_whose_account_it_is_and_its_own_fingerprint_before_anything_is_stored() {
        let event = Event::Account {
            label: AccountLabel::new("ada@example.com").unwrap(),
            id: AccountId([1; 32]),
            trusted_name: "desktop".into(),
            trusted_identity: identity(2),
            own_identity: identity(3),
        };
        let joins = text(&event, &Scene::default());
        assert_says(&joins, &["ada@example.com", "calls itself \"desktop\"", "before the trusted device approves"]);
        assert_says(&joins, &[&identity(2).fingerprint(), &identity(3).fingerprint(), "may be a stranger's"]);
        let unlocks = Scene { asks_for: Some("\"mail\"".into()), ..Scene::default() };
        assert_says(&text(&event, &unlocks), &["Nothing is stored.", "a stranger's"]);
        let own = text(&event, &Scene { own_account: true, ..unlocks });
        assert!(!own.contains("stranger"), "{own}");
    }

    #[test]
    fn the_second_question_says_why_it_is_asked() {
        let text = text(&Event::AskDifferentNetwork, &Scene::default());
        assert_says(&text, &["The relay says", "different networks", "somebody else may be asking"]);
    }

    #[test]
    fn an_unknown_outcome_names_the_device_and_what_to_change() {
        let enrolls = approval(Purpose::Enroll, Request::Bundle);
        let text = may_hold(&enrolls, &["mail".into()]);
        assert_says(&text, &["calls itself \"laptop\"", &enrolls.identity.fingerprint(), "handfast devices"]);
        assert_says(&text, &["change the account unlock key, the sign-in secret, 1 entry (\"mail\")"]);
        let entry = EntryName::new("mail").unwrap();
        let unlocks = approval(Purpose::Unlock, Request::Items { unlock_key: false, entries: vec![entry] });
        let text = may_hold(&unlocks, &["mail".into(), "wifi".into()]);
        assert_says(&text, &[&unlocks.identity.fingerprint(), "change \"mail\""]);
        assert!(!text.contains("wifi") && !text.contains("handfast devices"), "{text}");
    }

    #[test]
    fn a_wrong_code_is_dead_on_both_screens() {
        let message = handfast::Failure::WrongCode.to_string();
        assert_says(&message, &["is dead", "new one", "never type this one again"]);
    }
}
