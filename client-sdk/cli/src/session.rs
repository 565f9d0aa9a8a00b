//! One run in front of a person or a script: shows its events, asks its questions, and ends it when told to.

use crate::args::Answers;
use crate::exit::{Exit, Failed, LimitReached};
use crate::files::Fleeting;
use crate::qr;
use crate::signals::Signals;
use crate::ui::input::Input;
use crate::ui::json::Decision;
use crate::ui::{FRAME, Ui, json, screen};
use handfast::{Approval, CheckCode, Event, Failure, Outcome, ProfileError, Run, VerificationCode};
use serde_json::json;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};
use zeroize::Zeroizing;

/// After a cancel, how long the other device and the relay have to hear of it. A run without a connection takes 3 s.
const GOODBYE: Duration = Duration::from_secs(4);

/// The person's side of a command.
pub(crate) struct Session {
    pub(crate) ui: Ui,
    pub(crate) input: Input,
    /// Not before there is something to end politely: until then Ctrl-C simply ends the process.
    signals: Option<Signals>,
    /// A second signal came: nothing is worth waiting for any more.
    pub(crate) hurried: bool,
}

/// What [`Session::drive`] needs besides the run.
#[derive(Clone, Default)]
pub(crate) struct Script {
    pub(crate) scene: screen::Scene,
    pub(crate) answers: Answers,
    pub(crate) qr_png: Option<PathBuf>,
}

/// What the run waits for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Question {
    Approval,
    DifferentNetwork,
    CheckCode,
}

impl Session {
    pub(crate) fn new(json: bool) -> Self {
        Self { ui: Ui::new(json), input: Input::new(json), signals: None, hurried: false }
    }

    /// Completes when the person wants the command to end; from the first call on, signals do nothing else.
    pub(crate) async fn interrupted(&mut self) {
        self.signals.get_or_insert_with(Signals::new).next().await;
    }

    /// Drives a run to its end.
    pub(crate) async fn drive(&mut self, run: Run, script: Script) -> Result<Outcome, Failed> {
        let mut driving = Driving {
            session: self,
            script,
            run,
            question: None,
            png: None,
            goodbye: None,
            ours: None,
            asked_for: None,
            sent: None,
        };
        if let Err(failed) = driving.events().await {
            // What the person cannot see cannot go on.
            driving.cancel();
            driving.ours.get_or_insert(failed);
            driving.unseen().await;
        }
        let Driving { run, png, goodbye, ours, sent, script, .. } = driving;
        let sent = sent.map(|approval| screen::may_hold(&approval, &script.scene.entries));
        // The picture goes before anything can wait or fail.
        drop(png);
        self.ui.calm();
        let outcome = match goodbye {
            None => run.finish().await,
            Some(end) => match tokio::time::timeout_at(end, run.finish()).await {
                Ok(outcome) => outcome,
                Err(_) => return Err(cut_short(sent, ours)),
            },
        };
        outcome.map_err(|error| ended(error, sent, ours))
    }

    /// Asks for a code to join with, until what is typed can be one and is none of the dead ones: each try with the same
    /// code would give a hostile relay one more guess.
    pub(crate) async fn ask_code(&mut self, dead: &[VerificationCode]) -> Result<VerificationCode, Failed> {
        loop {
            self.ui.event(&json!({"event": "ask_code"}))?;
            let line = self.ask("Code that the trusted device shows: ").await?;
            let text = if self.ui.is_json() {
                match json::decision(&line)? {
                    Decision::Code(code) => Zeroizing::new(code),
                    Decision::Cancel => return Err(cancelled()),
                    _ => {
                        return Err(Failed::usage(
                            "the question is for a code: {\"decision\":\"code\",\"code\":\"...\"}",
                        ));
                    }
                }
            } else {
                line
            };
            match text.parse() {
                Ok(code) if dead.contains(&code) => {
                    self.ui
                        .say("That code is dead. Nothing was sent; type the new one that the trusted device shows.\n");
                }
                Ok(code) => return Ok(code),
                Err(error) if self.ui.is_json() => return Err(code_typo(error)),
                Err(error) => {
                    self.ui.say(&format!("{error}. Nothing was sent; look at the code and type it again.\n"));
                }
            }
        }
    }

    /// A question outside a run. The default is no.
    pub(crate) async fn confirm(&mut self, event: &str, question: &str) -> Result<bool, Failed> {
        self.ui.event(&json!({"event": event, "question": question}))?;
        let line = match self.ask(&format!("{question} [y/N] ")).await {
            Err(failed) if failed.exit == Exit::Cancelled && self.input.is_over() => return Ok(false),
            line => line?,
        };
        if self.ui.is_json() { Ok(matches!(json::decision(&line)?, Decision::Approve)) } else { Ok(is_yes(&line)) }
    }

    /// One line, unless the input ends or a signal comes.
    async fn ask(&mut self, prompt: &str) -> Result<Zeroizing<String>, Failed> {
        self.ui.calm();
        self.ui.say_to_person(prompt);
        if self.input.is_over() {
            return Err(cancelled());
        }
        self.input.ask();
        let signals = self.signals.get_or_insert_with(Signals::new);
        tokio::select! {
            line = self.input.line() => line.ok_or_else(|| Failed::new(Exit::Cancelled, "the input ended: cancelled")),
            () = signals.next() => {
                self.ui.say_to_person("\n");
                Err(cancelled())
            }
        }
    }
}

/// A run that is being driven.
struct Driving<'a> {
    session: &'a mut Session,
    script: Script,
    run: Run,
    question: Option<Question>,
    png: Option<Fleeting>,
    /// Set once the run was cancelled: when to stop waiting for its end.
    goodbye: Option<Instant>,
    /// Why the run was cancelled, if not because somebody said so.
    ours: Option<Failed>,
    /// What the person was asked to approve.
    asked_for: Option<Approval>,
    /// What the other device may hold, for want of its confirmation.
    sent: Option<Approval>,
}

impl Driving<'_> {
    /// Until the run is over, or the time for goodbye is.
    async fn events(&mut self) -> Result<(), Failed> {
        loop {
            let Session { ui, input, signals, .. } = &mut *self.session;
            let signals = signals.get_or_insert_with(Signals::new);
            let frame = Instant::now() + FRAME;
            tokio::select! {
                event = self.run.next() => match event {
                    Some(event) => self.show(&event)?,
                    None => return Ok(()),
                },
                line = input.line() => self.line(line)?,
                () = signals.next() => self.signal(),
                () = sleep_until(frame), if ui.is_busy() => ui.animate(),
                () = at(self.goodbye) => return Ok(()),
            }
        }
    }

    /// Until the run is over, or the time for goodbye is, with nobody to show anything to.
    async fn unseen(&mut self) {
        loop {
            tokio::select! {
                event = self.run.next() => match event {
                    Some(event) => self.note(&event),
                    None => return,
                },
                () = at(self.goodbye) => return,
            }
        }
    }

    /// Remembers what [`cut_short`] has to say.
    fn note(&mut self, event: &Event) {
        match event {
            Event::AskApproval(approval) => self.asked_for = Some(approval.clone()),
            Event::GrantSent => self.sent = self.asked_for.take(),
            _ => {}
        }
    }

    fn show(&mut self, event: &Event) -> Result<(), Failed> {
        self.note(event);
        let ui = &mut self.session.ui;
        // A script may read the picture as soon as it hears of the QR code.
        if let (Event::ShowQr { qr, .. }, Some(path)) = (event, &self.script.qr_png) {
            // The old picture goes first: `Fleeting` removes by name.
            self.png = None;
            self.png = Some(Fleeting::write(path, &qr::png(&qr.to_uri())?)?);
        }
        if let Some(value) = json::event(event, &self.script.scene.entries) {
            ui.event(&value)?;
        }
        if !matches!(event, Event::Connected) {
            ui.calm();
        }
        if !ui.is_json()
            && let Some(text) = screen::shown(event, &self.script.scene)?
        {
            ui.say(&Zeroizing::new(text));
        }
        match event {
            Event::Connecting { relay } if ui.is_terminal() => ui.busy(&format!("Connecting to {relay}"), None),
            Event::ShowCode { until, .. } => ui.busy("Waiting for the new device", Some(*until)),
            Event::ShowQr { until, .. } => {
                if let Some(path) = &self.script.qr_png {
                    let path = path.display();
                    ui.say_to_person(&format!("The QR code is also in {path} until this run ends.\n"));
                } else if ui.is_too_small_for(screen::QR_ROWS, screen::QR_COLUMNS) {
                    ui.say_to_person("The window is too small for the QR code: enlarge it, or write the code to a file with --qr-png.\n");
                }
                ui.busy("Waiting for the other device", Some(*until));
            }
            Event::OfferOver { next_in, .. } => {
                self.question = None;
                if !next_in.is_zero() && ui.is_terminal() {
                    ui.busy("Waiting for the next one", Some(std::time::Instant::now() + *next_in));
                }
            }
            Event::ShowCheckCode(_) | Event::GrantSent => self.wait_for_other(),
            // A check code may be asked for next.
            Event::Account { .. } => self.wait_for_other(),
            Event::AskApproval(_) if self.script.answers.yes => {
                ui.say_to_person("Approved by --yes.\n");
                self.run.approve();
            }
            Event::AskDifferentNetwork if self.script.answers.allow_different_network => {
                ui.say_to_person("Approved by --allow-different-network.\n");
                self.run.approve_different_network();
            }
            Event::AskCheckCode => match self.script.answers.check_code.take() {
                Some(code) => {
                    self.run.enter_check_code(code);
                    self.wait_for_other();
                }
                None => self.ask(Question::CheckCode),
            },
            Event::AskApproval(_) => self.ask(Question::Approval),
            Event::AskDifferentNetwork => self.ask(Question::DifferentNetwork),
            _ => {}
        }
        Ok(())
    }

    /// Only for terminals: without one, the lines around it say enough.
    fn wait_for_other(&mut self) {
        if self.session.ui.is_terminal() {
            self.session.ui.busy("Waiting for the other device", None);
        }
    }

    fn ask(&mut self, question: Question) {
        self.session.ui.say_to_person(match question {
            Question::Approval => "Approve? [y/N] ",
            Question::DifferentNetwork => "Type \"different\" to approve all the same; anything else refuses: ",
            Question::CheckCode => "Check code that the other device shows: ",
        });
        self.question = Some(question);
        if self.session.input.is_over() {
            self.answer_default(question);
        } else {
            self.session.input.ask();
        }
    }

    /// The input ended, so nobody will answer.
    fn answer_default(&mut self, question: Question) {
        self.session.ui.say_to_person("\nThe input ended: taken as no.\n");
        self.question = None;
        match question {
            Question::Approval | Question::DifferentNetwork => self.run.refuse(),
            Question::CheckCode => self.cancel(),
        }
    }

    fn line(&mut self, line: Option<Zeroizing<String>>) -> Result<(), Failed> {
        match (line, self.question) {
            (None, Some(question)) => self.answer_default(question),
            (None, None) => {}
            (Some(line), question) if self.session.ui.is_json() => return self.script_line(&line, question),
            (Some(_), None) => {}
            (Some(line), Some(Question::CheckCode)) => return self.check_code(&line),
            (Some(line), Some(Question::Approval)) => {
                self.answer(if is_yes(&line) { Run::approve } else { Run::refuse });
            }
            (Some(line), Some(Question::DifferentNetwork)) => {
                self.answer(if is_second_yes(&line) { Run::approve_different_network } else { Run::refuse });
            }
        }
        Ok(())
    }

    fn script_line(&mut self, line: &str, question: Option<Question>) -> Result<(), Failed> {
        let decision = match json::decision(line) {
            Ok(decision) => decision,
            Err(failed) => {
                // A misunderstood script must not go on by chance.
                self.cancel();
                self.ours.get_or_insert(failed);
                return Ok(());
            }
        };
        match (decision, question) {
            (Decision::Cancel, _) => self.cancel(),
            (Decision::Approve, Some(Question::Approval)) => self.answer(Run::approve),
            (Decision::ApproveDifferentNetwork, Some(Question::DifferentNetwork)) => {
                self.answer(Run::approve_different_network);
            }
            (Decision::Refuse, Some(Question::Approval | Question::DifferentNetwork)) => self.answer(Run::refuse),
            (Decision::CheckCode(code), Some(Question::CheckCode)) => return self.check_code(&Zeroizing::new(code)),
            (Decision::Approve, Some(Question::DifferentNetwork)) => {
                return self.ignored("this question takes \"approve_different_network\" or \"refuse\"");
            }
            _ => return self.ignored("nobody asked for this decision"),
        }
        Ok(())
    }

    fn ignored(&mut self, why: &str) -> Result<(), Failed> {
        self.session.ui.event(&json!({"event": "ignored", "why": why}))
    }

    fn answer(&mut self, decide: fn(&Run)) {
        self.question = None;
        decide(&self.run);
    }

    /// What cannot be a check code is asked for again: it was not sent, so it is no try.
    fn check_code(&mut self, text: &str) -> Result<(), Failed> {
        match CheckCode::from_str(text) {
            Ok(code) => {
                self.question = None;
                self.run.enter_check_code(code);
                self.wait_for_other();
            }
            Err(error) => {
                self.session.ui.event(&json!({"event": "ask_check_code", "why": error.to_string()}))?;
                self.session.ui.say_to_person(&format!("{error}. Nothing was sent.\n"));
                self.ask(Question::CheckCode);
            }
        }
        Ok(())
    }

    fn signal(&mut self) {
        if self.goodbye.is_some() {
            self.session.hurried = true;
            self.goodbye = Some(Instant::now());
            return;
        }
        self.session.ui.say_to_person("\nCancelling. Once more to stop at once.\n");
        self.cancel();
    }

    fn cancel(&mut self) {
        self.question = None;
        self.png = None;
        self.run.cancel();
        self.goodbye.get_or_insert(Instant::now() + GOODBYE);
    }
}

fn is_yes(line: &str) -> bool {
    matches!(line.trim().to_ascii_lowercase().as_str(), "y" | "yes")
}

/// The second question is not answered by the key that answered the first.
fn is_second_yes(line: &str) -> bool {
    line.trim().eq_ignore_ascii_case("different")
}

pub(crate) fn cancelled() -> Failed {
    Failed::new(Exit::Cancelled, "cancelled; nothing was changed")
}

/// The run did not end in the time for goodbye. `may_hold`: the other device may hold something, in words.
fn cut_short(may_hold: Option<String>, ours: Option<Failed>) -> Failed {
    match may_hold {
        Some(may_hold) => {
            Failed::new(Exit::OutcomeUnknown, format!("stopped before the other device confirmed. {may_hold}"))
        }
        None => {
            ours.unwrap_or_else(|| Failed::new(Exit::Cancelled, "cancelled; the other device may not have heard of it"))
        }
    }
}

/// What became of the account comes before what was wrong with a script or its pipe.
fn ended(error: handfast::Error, may_hold: Option<String>, ours: Option<Failed>) -> Failed {
    use handfast::Error;
    match (error, may_hold, ours) {
        (Error::Failed(Failure::Unknown { cause, .. }), Some(may_hold), _) => Failed {
            limit: LimitReached::of(&cause),
            ..Failed::new(
                Exit::OutcomeUnknown,
                format!("contact was lost before the other device confirmed ({cause}). {may_hold}"),
            )
        },
        (error @ (Error::Failed(Failure::Unknown { .. }) | Error::NotRecorded(_)), ..) | (error, _, None) => {
            failed(error)
        }
        (_, _, Some(ours)) => ours,
    }
}

/// A mistake in a code, found before anything was sent.
pub(crate) fn code_typo(error: handfast::CodeError) -> Failed {
    Failed::new(Exit::CodeTypo, format!("{error}; nothing was sent, so the code is still good: type it again"))
}

/// What a failed run means for the exit code.
pub(crate) fn failed(error: handfast::Error) -> Failed {
    use handfast::Error;
    let exit = match &error {
        Error::Failed(Failure::Cancelled) => return cancelled(),
        Error::Failed(Failure::RefusedHere) => {
            return Failed::new(Exit::Refused, "refused; nothing left this device");
        }
        Error::Failed(failure) => Exit::from(failure),
        Error::RelayUnreachable { .. } | Error::NotARelay { .. } | Error::Tls { .. } => Exit::RelayUnreachable,
        Error::Profile(error) => profile_exit(error),
        Error::NotRecorded(_) => Exit::ProfileUnwritable,
        Error::WrongWay(_) => Exit::BadQr,
        _ => Exit::Internal,
    };
    let limit = if let Error::Failed(failure) = &error { LimitReached::of(failure) } else { None };
    Failed { limit, ..Failed::new(exit, error) }
}

fn profile_exit(error: &ProfileError) -> Exit {
    match error {
        ProfileError::NotFound(_) => Exit::NoProfile,
        ProfileError::AlreadyHasAccount(_) => Exit::AlreadyEnrolled,
        ProfileError::Damaged { .. } => Exit::ProfileDamaged,
        ProfileError::Io { .. } | ProfileError::Busy(_) => Exit::ProfileUnwritable,
        ProfileError::Bundle(_) => Exit::BadBundle,
        _ => Exit::Internal,
    }
}

impl From<ProfileError> for Failed {
    fn from(error: ProfileError) -> Self {
        Self::new(profile_exit(&error), error)
    }
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use handfast::Error;

    #[test]
    fn a_script_that_errs_still_learns_what_the_other_device_may_hold() {
        let folder = tempfile::tempdir().unwrap();
        let (label, name) = (handfast::AccountLabel::new("a").unwrap(), handfast::DeviceName::new("b").unwrap());
        let profile = handfast::Profile::init(folder.path(), label, name).unwrap();
        let unknown = Failure::Unknown {
            device: "phone".into(),
            identity: Box::new(profile.identity()),
            cause: Box::new(Failure::PeerLost),
        };
        let ours = || Some(Failed::usage("not a decision"));
        let may_hold = || Some("phone may hold it: change the key".to_owned());
        let io = ProfileError::Io { action: "write", path: "x".into(), source: std::io::ErrorKind::StorageFull.into() };
        let said = ended(Error::Failed(unknown.clone()), may_hold(), ours());
        assert_eq!(said.exit, Exit::OutcomeUnknown);
        assert!(said.message.contains(&Failure::PeerLost.to_string()), "{}", said.message);
        assert!(said.message.ends_with("phone may hold it: change the key"), "{}", said.message);
        assert_eq!(ended(Error::Failed(unknown), None, ours()).exit, Exit::OutcomeUnknown);
        assert_eq!(ended(Error::NotRecorded(io), may_hold(), ours()).exit, Exit::ProfileUnwritable);
        assert_eq!(ended(Error::Failed(Failure::Cancelled), None, ours()).exit, Exit::Usage);
        assert_eq!(ended(Error::Failed(Failure::Cancelled), None, None).exit, Exit::Cancelled);
    }

    #[test]
    fn a_run_that_is_cut_short_after_the_bundle_was_sent_is_not_just_cancelled() {
        for ours in [None, Some(Failed::usage("x"))] {
            let said = cut_short(Some("It may hold the key".into()), ours);
            assert_eq!(said.exit, Exit::OutcomeUnknown);
            assert!(said.message.ends_with("It may hold the key"), "{}", said.message);
        }
        assert_eq!(cut_short(None, Some(Failed::usage("x"))).exit, Exit::Usage);
        assert_eq!(cut_short(None, None).exit, Exit::Cancelled);
    }

    #[test]
    fn only_a_clear_yes_is_a_yes() {
        for yes in ["y", "Y\n", " yes \r\n"] {
            assert!(is_yes(yes), "{yes:?}");
        }
        for no in ["", "\n", "n", "ye", "yy", "j", "yes please"] {
            assert!(!is_yes(no), "{no:?}");
        }
    }

    #[test]
    fn what_answers_the_first_question_does_not_answer_the_second() {
        for no in ["", "\n", "y", "yes", "d", "diff", "not different"] {
            assert!(!is_second_yes(no), "{no:?}");
        }
        for yes in ["different", " Different\r\n"] {
            assert!(is_second_yes(yes) && !is_yes(yes), "{yes:?}");
        }
    }

    #[test]
    fn profile_errors_have_their_own_codes() {
        let dir = || std::path::PathBuf::from("x");
        let io = ProfileError::Io { action: "write", path: dir(), source: std::io::ErrorKind::PermissionDenied.into() };
        for (error, code) in [
            (ProfileError::NotFound(dir()), 3),
            (io, 4),
            (ProfileError::Bundle(handfast::BundleError::TooLarge(300_000)), 17),
            (ProfileError::AlreadyHasAccount(dir()), 18),
            (ProfileError::Damaged { file: "f", why: "w" }, 24),
        ] {
            assert_eq!(profile_exit(&error).code(), code, "{error}");
        }
    }
}
