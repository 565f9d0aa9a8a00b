//! A device with a person in front of it, who reads the other device's screen.

use super::tap::Device;
use crate::exit::Failed;
use crate::qr;
use crate::ui::screen::{self, Scene};
use handfast::{CheckCode, Error, Event, Outcome, QrPayload, Run, VerificationCode};
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::watch;

/// Everything a device has shown to its person.
#[derive(Clone)]
pub(crate) struct Screen(Arc<watch::Sender<String>>);

impl Screen {
    pub(crate) fn new() -> Self {
        Self(Arc::new(watch::Sender::new(String::new())))
    }

    /// Looks at the screen until `find` finds something.
    pub(crate) async fn read<T>(&self, find: impl Fn(&str) -> Option<T>) -> Option<T> {
        let mut screen = self.0.subscribe();
        loop {
            if let Some(found) = find(&screen.borrow_and_update()) {
                return Some(found);
            }
            screen.changed().await.ok()?;
        }
    }

    fn show(&self, text: &str) {
        self.0.send_modify(|screen| screen.push_str(text));
    }
}

/// What the person does.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mind {
    Approves,
    Refuses,
    /// Gives up when the first code is dead.
    GivesUpAtSecondCode,
}

/// What happened on one device.
pub(crate) struct Side {
    pub(crate) outcome: Result<Outcome, Error>,
    pub(crate) moments: Vec<Moment>,
    /// Codes, check codes and QR codes that were shown: secrets to look for.
    pub(crate) shown: Vec<(&'static str, String)>,
}

/// One thing that a person saw or was asked.
pub(crate) struct Moment {
    pub(crate) at: Instant,
    pub(crate) device: Device,
    pub(crate) what: What,
    pub(crate) text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    Other,
    /// Was shown, or asked for, a check code.
    CheckCode,
    Approval,
    Stored,
}

/// Drives one device as the command does, with `mind` in front of it and the other device's screen in view.
pub(crate) async fn sit_before(
    mut run: Run,
    device: Device,
    mind: Mind,
    own: &Screen,
    other: &Screen,
    scene: &Scene,
) -> Result<Side, Failed> {
    let (mut moments, mut shown) = (Vec::new(), Vec::new());
    let mut codes = 0;
    while let Some(event) = run.next().await {
        let at = Instant::now();
        if let Some(text) = screen::shown(&event, scene)? {
            own.show(&text);
        }
        if let Some((what, text)) = describe(&event) {
            moments.push(Moment { at, device, what, text });
        }
        match event {
            Event::ShowCode { code, .. } => {
                shown.push(("code", code.reveal().to_string()));
                codes += 1;
                if codes == 2 && mind == Mind::GivesUpAtSecondCode {
                    run.cancel();
                }
            }
            Event::ShowQr { qr, .. } => shown.push(("QR code", qr.to_uri().reveal().to_string())),
            Event::ShowCheckCode(code) => shown.push(("check code", code.reveal().replace(' ', ""))),
            Event::AskCheckCode => match other.read(check_code_on).await {
                Some(code) => run.enter_check_code(code),
                None => run.cancel(),
            },
            Event::AskApproval(_) | Event::AskDifferentNetwork if mind == Mind::Refuses => run.refuse(),
            Event::AskApproval(_) => run.approve(),
            Event::AskDifferentNetwork => run.approve_different_network(),
            _ => {}
        }
    }
    Ok(Side { outcome: run.finish().await, moments, shown })
}

/// The code on a screen.
pub(crate) fn code_on(screen: &str) -> Option<VerificationCode> {
    screen.split_whitespace().filter(|word| word.len() == 14).find_map(|word| word.parse().ok())
}

/// The QR code on a screen, photographed.
pub(crate) fn qr_on(screen: &str) -> Option<QrPayload> {
    qr::from_image(&qr::photograph(screen).ok()?).ok()
}

fn check_code_on(screen: &str) -> Option<CheckCode> {
    screen.lines().find_map(|line| line.strip_prefix("Check code: "))?.parse().ok()
}

fn describe(event: &Event) -> Option<(What, String)> {
    let (what, text) = match event {
        Event::ShowCode { .. } => (What::Other, "shows a code".into()),
        Event::ShowQr { .. } => (What::Other, "shows a QR code".into()),
        Event::OfferOver { failure, .. } => (What::Other, format!("says: that one is over, {failure}")),
        Event::Account { label, trusted_name, .. } => {
            (What::Other, format!("names the account \"{label}\" and the device that calls itself \"{trusted_name}\""))
        }
        Event::ShowCheckCode(_) => (What::CheckCode, "shows a check code".into()),
        Event::AskCheckCode => (What::CheckCode, "asks for the check code".into()),
        Event::AskApproval(approval) => {
            (What::Approval, format!("asks its person: release {}?", screen::items(&approval.request)))
        }
        Event::GrantSent => (What::Other, "has sent what was approved".into()),
        Event::Stored => (What::Stored, "has it".into()),
        _ => return None,
    };
    Some((what, text))
}
