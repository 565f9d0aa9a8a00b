//! The commands that meet another device: invite, join, approve, unlock.

use super::unlocked;
use super::{Context, device_name, entries, entry_names};
use crate::args;
use crate::args::{Answers, Approve, Invite, ReadQr, Serve, ServeAddr, Unlock};
use crate::exit::{Exit, Failed};
use crate::qr;
use crate::serve::{self, Served};
use crate::session::{Script, code_typo};
use crate::ui::screen::{self, Scene, calls_itself};
use crate::ui::{colours, json};
use handfast::wire::limits::DEFAULT_PORT;
use handfast::{
    CheckCode, Join, Options, Outcome, Profile, QrPayload, RelayUrl, Request, Run, Show, Unlocker, WrongWay,
};
use serde_json::json;
use std::io::IsTerminal;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::{Instant, SystemTime};

pub(super) async fn invite(mut cx: Context<'_>, args: Invite) -> Result<(), Failed> {
    let profile = cx.open_profile()?;
    let (show, there) = if args.qr { (Show::Qr, "join --scan IMAGE") } else { (Show::Code, "join") };
    let scene = Scene { entries: entry_names(&profile)?, colours: colours(), ..Scene::default() };
    let script = Script { scene, answers: args.answers, qr_png: args.show.qr_png };
    let wait = profile.burn_wait(SystemTime::now());
    if !wait.is_zero() {
        cx.session.ui.event(&json!({"event": "waiting", "wait_ms": json::milliseconds(wait)}))?;
        cx.session.ui.busy("Too many codes failed lately: the next one comes soon", Some(Instant::now() + wait));
    }
    let mut serve = args.serve.serve;
    loop {
        let served = cx.serve(serve).await?;
        let relay = served.as_ref().map_or_else(|| cx.relay(Some(&profile)), |served| served.url.clone());
        let mut script = script.clone();
        script.scene.elsewhere = elsewhere(&relay, served.as_ref(), there);
        script.scene.elsewhere_takes_code = served.is_some() && show == Show::Code;
        let run = handfast::invite(Profile::open(profile.dir())?, show, Options::new(relay));
        let outcome = cx.session.drive(run, script).await;
        cx.stop(served).await;
        match outcome {
            Ok(outcome) => return cx.outcome(outcome),
            Err(failed) if failed.exit == Exit::RelayUnreachable && serve.is_none() => {
                serve = Some(offer_to_serve(&mut cx, failed, there).await?);
            }
            Err(failed) => return Err(failed),
        }
    }
}

pub(super) async fn join(mut cx: Context<'_>, args: args::Join) -> Result<(), Failed> {
    let dir = cx.profile_dir()?;
    if Profile::holds_account(&dir)? {
        return Err(handfast::ProfileError::AlreadyHasAccount(dir).into());
    }
    let name = device_name(args.name)?;
    let configured = cx.relay(None);
    let mut relay = configured.clone();
    let served = if args.qr { cx.serve(args.serve.serve).await? } else { refuse_serve(args.serve)? };
    let way = if args.qr {
        if let Some(served) = &served {
            relay = served.url.clone();
        }
        Some(Join::ShowQr)
    } else if let Some(image) = &args.scan {
        let qr = cx.scan(image)?;
        relay = cx.relay_of(&qr, relay, &args.read).await?;
        Some(Join::ReadQr(qr))
    } else {
        args.code.as_ref().map(|code| code.parse().map(Join::Code).map_err(code_typo)).transpose()?
    };
    let script = Script {
        scene: Scene {
            elsewhere: elsewhere(&relay, served.as_ref(), "approve --scan IMAGE"),
            colours: colours(),
            ..Scene::default()
        },
        answers: only_check_code(args.check_code),
        qr_png: args.show.qr_png,
    };
    // One that was served here, or accepted once, is not a relay to come back to.
    let options = Options { remember_relay: relay == configured, ..Options::new(relay) };
    let start = |way| handfast::join(dir.clone(), name.clone(), way, options.clone()).map_err(wrong_way);
    let outcome = match way {
        Some(way) => cx.session.drive(start(way)?, script).await,
        None => join_by_typed_code(&mut cx, script, start).await,
    };
    cx.stop(served).await;
    match outcome {
        // It held none when the run began.
        Err(failed) if failed.exit == Exit::Cancelled && Profile::holds_account(&dir)? => Err(Failed::new(
            Exit::OutcomeUnknown,
            "cancelled, but this device may have been enrolled: look at `handfast status`",
        )),
        outcome => cx.outcome(outcome?),
    }
}

/// Asks for the code, and after a wrong one for the new one. A script that is asked runs the command again.
async fn join_by_typed_code(
    cx: &mut Context<'_>,
    script: Script,
    start: impl Fn(Join) -> Result<Run, Failed>,
) -> Result<Outcome, Failed> {
    let mut dead = Vec::new();
    let mut code = cx.session.ask_code(&dead).await?;
    loop {
        let wrong = match cx.session.drive(start(Join::Code(code.clone()))?, script.clone()).await {
            Err(failed) if failed.exit == Exit::WrongCode && !cx.session.ui.is_json() => failed,
            outcome => return outcome,
        };
        cx.session.ui.say(&format!("{}.\n", wrong.message));
        dead.push(code);
        code = match cx.session.ask_code(&dead).await {
            Err(_) if cx.session.input.is_over() => return Err(wrong),
            code => code?,
        };
    }
}

pub(super) async fn approve(mut cx: Context<'_>, args: Approve) -> Result<(), Failed> {
    let profile = cx.open_profile()?;
    cx.session.ui.say_to_person(screen::BEFORE_SCANNING);
    let qr = match (&args.scan, &args.uri) {
        (Some(image), _) => cx.scan(image)?,
        (None, Some(uri)) => {
            cx.session.ui.say("Warning: a QR code's text in an argument is visible to other programs and stays in the shell's history; use --scan.\n");
            qr::from_argument(uri)?
        }
        (None, None) => return Err(Failed::usage("say which QR code: --scan IMAGE, or --scan - for stdin")),
    };
    let relay = cx.relay(Some(&profile));
    let relay = cx.relay_of(&qr, relay, &args.read).await?;
    let script = Script {
        scene: Scene { entries: entry_names(&profile)?, ..Scene::default() },
        answers: args.answers,
        qr_png: None,
    };
    let run = handfast::approve(profile, qr, Options::new(relay)).map_err(wrong_way)?;
    cx.finish(run, script, None).await
}

pub(super) async fn unlock(mut cx: Context<'_>, args: Unlock) -> Result<(), Failed> {
    let dir = cx.profile_dir()?;
    let profile = if Profile::holds_account(&dir)? { Some(Profile::open(&dir)?) } else { None };
    if profile.is_none() && (args.key || args.entries.is_empty()) {
        return Err(Failed::usage(
            "this device holds no account, so it can ask for named entries only: handfast unlock ENTRY",
        ));
    }
    let key = args.key || args.entries.is_empty();
    let request = Request::items(key, args.entries).map_err(|_| {
        Failed::usage(format!("at most {} entries can be asked for at once", handfast::MAX_REQUESTED_ENTRIES))
    })?;
    let served = cx.serve(args.serve.serve).await?;
    let relay = match &served {
        Some(served) => served.url.clone(),
        None => cx.relay(profile.as_ref()),
    };
    let script = Script {
        scene: Scene {
            elsewhere: elsewhere(&relay, served.as_ref(), "approve --scan IMAGE"),
            asks_for: Some(screen::items(&request)),
            own_account: profile.is_some(),
            colours: colours(),
            ..Scene::default()
        },
        answers: only_check_code(args.check_code),
        qr_png: args.show.qr_png,
    };
    let unlocker = match profile {
        Some(profile) => Unlocker::Enrolled(Box::new(profile)),
        None => Unlocker::Guest(device_name(args.name)?),
    };
    let run = handfast::unlock(unlocker, request, Options::new(relay)).map_err(wrong_way)?;
    cx.finish(run, script, served).await
}

impl Context<'_> {
    async fn finish(&mut self, run: Run, script: Script, served: Option<Served>) -> Result<(), Failed> {
        let outcome = self.session.drive(run, script).await;
        self.stop(served).await;
        self.outcome(outcome?)
    }

    fn outcome(&mut self, outcome: Outcome) -> Result<(), Failed> {
        match outcome {
            Outcome::Enrolled { device } => {
                let name = calls_itself(&device.name, &device.platform);
                let text = format!(
                    "Done: the device that {name} is now a trusted device of this account.\nIts fingerprint is {}.\n",
                    device.identity.fingerprint()
                );
                self.done(&text, &json::enrolled(&device))
            }
            Outcome::Joined { profile } => {
                let count = profile.bundle()?.entries().count();
                let text = format!(
                    "Done: this device is now a trusted device of {}, with {} in its bundle.\nIts fingerprint is {}.\n",
                    profile.account().label,
                    entries(count),
                    profile.identity().fingerprint()
                );
                let event = json!({
                    "event": "done",
                    "outcome": "joined",
                    "account": profile.account().label.as_str(),
                    "account_id": hex::encode(profile.account().id.0),
                    "fingerprint": profile.identity().fingerprint(),
                    "bundle_entries": count,
                });
                self.done(&text, &event)
            }
            Outcome::Delivered => {
                let text = "Done: the other device has what you approved, for one use.\n";
                self.done(text, &json!({"event": "done", "outcome": "delivered"}))
            }
            Outcome::Unlocked { items } if self.session.ui.is_json() => self.session.ui.event(&json::unlocked(&items)),
            Outcome::Unlocked { items } => {
                let bytes = unlocked::printed(&items, std::io::stdout().is_terminal());
                self.session.ui.result(&bytes)
            }
            _ => Err(Failed::internal("the run ended in a way that this command does not know")),
        }
    }

    /// What is done is done, even if nobody reads of it on stdout.
    fn done(&mut self, text: &str, event: &serde_json::Value) -> Result<(), Failed> {
        if let Err(failed) = self.report(text, event) {
            self.session.ui.say(&format!("{text}handfast: {}\n", failed.message));
        }
        Ok(())
    }

    async fn serve(&mut self, address: Option<ServeAddr>) -> Result<Option<Served>, Failed> {
        let Some(ServeAddr(address)) = address else { return Ok(None) };
        let served = Served::start(address).await?;
        let others = match served.others.as_slice() {
            [] => String::new(),
            others => format!(
                " (this machine also answers at {})",
                others.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
            ),
        };
        self.session.ui.say_to_person(&format!("A relay runs at {}{others} until this run ends.\n", served.url));
        self.session.ui.event(&json!({"event": "serving", "relay": served.url.to_string()}))?;
        Ok(Some(served))
    }

    async fn stop(&self, served: Option<Served>) {
        if let Some(served) = served
            && !self.session.hurried
        {
            served.stop().await;
        }
    }

    fn scan(&mut self, image: &Path) -> Result<QrPayload, Failed> {
        if image == Path::new("-") {
            self.session.input.after_stdin_was_read();
            qr::from_stdin()
        } else {
            qr::from_file(image)
        }
    }

    /// The relay for a QR code that was read: the one it names only if that is the configured one, or accepted now.
    async fn relay_of(&mut self, qr: &QrPayload, configured: RelayUrl, read: &ReadQr) -> Result<RelayUrl, Failed> {
        let Some(hinted) = qr.relay_hint.as_ref().and_then(|hint| RelayUrl::from_hint(hint).ok()) else {
            return Ok(configured);
        };
        let place = |url: &RelayUrl| (url.is_tls(), url.host().to_owned(), url.port());
        if place(&hinted) == place(&configured) {
            return Ok(configured);
        }
        let question =
            format!("The QR code names the relay {hinted}, this device uses {configured}. Use {hinted} this once?");
        if read.accept_relay_hint || self.session.confirm("ask_relay_hint", &question).await? {
            Ok(hinted)
        } else {
            Ok(configured)
        }
    }
}

/// Where there is no relay, a person may let this command be one; a script is told how.
async fn offer_to_serve(cx: &mut Context<'_>, failed: Failed, there: &str) -> Result<ServeAddr, Failed> {
    let address = SocketAddr::from((Ipv4Addr::UNSPECIFIED, DEFAULT_PORT));
    let url = serve::reachable_urls(address).first().map_or_else(String::new, ToString::to_string);
    if cx.session.ui.is_terminal() && !cx.session.ui.is_json() {
        let question = format!(
            "{}.\nRun a relay inside this command instead, for this run and on every network of this machine ({url})?",
            failed.message
        );
        if cx.session.confirm("ask_serve", &question).await? {
            return Ok(ServeAddr(address));
        }
    }
    let message = format!(
        "{}. Or run one inside this command with `handfast invite --serve {address}`; the new device then runs \
         `handfast --relay {url} {there}`",
        failed.message
    );
    Err(Failed { message, ..failed })
}

/// The whole command for the other device.
fn elsewhere(relay: &RelayUrl, served: Option<&Served>, command: &str) -> String {
    if served.is_none() && *relay == RelayUrl::default() {
        format!("handfast {command}")
    } else {
        format!("handfast --relay {relay} {command}")
    }
}

fn refuse_serve(serve: Serve) -> Result<Option<Served>, Failed> {
    match serve.serve {
        None => Ok(None),
        Some(_) => {
            Err(Failed::usage("`join` serves a relay only with --qr: otherwise the trusted device is there first"))
        }
    }
}

fn only_check_code(check_code: Option<CheckCode>) -> Answers {
    Answers { check_code, ..Answers::default() }
}

fn wrong_way(_: WrongWay) -> Failed {
    Failed::new(
        Exit::BadQr,
        "this QR code is for the other device: `approve` takes the one that a new device shows, `join --scan` the one that a \
         trusted device shows",
    )
}
