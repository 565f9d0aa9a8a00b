//! Processes that are killed: after any frame, and at any write. What is on disk afterwards is whole, and nobody
//! believes more than is true.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use handfast_tests::e2e::process::{Device, Ended, RelayProcess, Session, kill};
use handfast_tests::e2e::proxy::{Action, DIRECTIONS, Direction, Plan, Proxy};
use handfast_tests::e2e::{report, side_by_side};
use rustix::process::Pid;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const SECRET: &[u8] = b"SECRET-OF-THE-BUNDLE";

/// Mailboxes of a few seconds, so that the one that is left need not wait for minutes.
const SHORT: [&str; 6] = ["--mailbox-lifetime", "3", "--mailbox-linger", "2", "--mailbox-max", "6"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Trusted,
    New,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Code,
    QrTrusted,
    QrNew,
}

#[derive(Clone, Copy, Debug)]
struct Kill {
    mode: Mode,
    /// Between which device and the relay frames are counted.
    link: Side,
    direction: Direction,
    frame: usize,
    victim: Side,
}

/// For every k: one of the two processes is killed once frame k has passed on the way between one of them and the relay.
#[tokio::test(flavor = "multi_thread")]
async fn a_process_killed_after_any_frame_leaves_whole_profiles_and_no_false_success() {
    let relay = Arc::new(RelayProcess::start(&SHORT).await);
    let mut kills = Vec::new();
    for mode in [Mode::Code, Mode::QrTrusted, Mode::QrNew] {
        let places = frames_of(mode, &relay).await;
        for (link, direction, frames) in places {
            for frame in 1..=frames {
                kills.extend([Side::Trusted, Side::New].map(|victim| Kill { mode, link, direction, frame, victim }));
            }
        }
    }
    assert!(kills.len() > 100, "the runs have become suspiciously short: {}", kills.len());
    let rows = side_by_side(12, kills, move |kill| killed(kill, Arc::clone(&relay))).await;
    let header = ["mode", "k", "direction", "link", "killed", "trusted ends", "new ends", "trusted lists", "new holds"];
    report("e2e-kill-table.md", &header, &rows);
    let said = |column: usize, text: &str| rows.iter().any(|row| row[column].contains(text));
    assert!(said(5, "outcome_unknown") && said(7, "unconfirmed"), "some kills fall between grant and receipt");
    assert!(said(5, "code_expired") && said(6, "code_expired"), "some fall before");
}

/// An undisturbed run: how many frames pass each link in each direction.
async fn frames_of(mode: Mode, relay: &RelayProcess) -> Vec<(Side, Direction, usize)> {
    let scene = Scene::new(&relay.url()).await;
    let (trusted, new) = (Proxy::start(relay.address(), None).await, Proxy::start(relay.address(), None).await);
    let (one, two) = scene.run(mode, &trusted.url(), &new.url(), |_, _| {}).await;
    assert_eq!((ending(&one).as_str(), ending(&two).as_str()), ("done", "done"), "{mode:?}: {one:?} {two:?}");
    let frames = |side, proxy: &Proxy| DIRECTIONS.map(|direction| (side, direction, proxy.frames(direction)));
    [frames(Side::Trusted, &trusted), frames(Side::New, &new)].concat()
}

async fn killed(case: Kill, relay: Arc<RelayProcess>) -> Vec<String> {
    let scene = Scene::new(&relay.url()).await;
    // Known as soon as the process is started; a frame may pass before.
    let victim: Arc<Mutex<(Option<Pid>, bool)>> = Arc::default();
    let shared = Arc::clone(&victim);
    let action = Action::Call(Arc::new(move || {
        let mut victim = shared.lock().unwrap();
        victim.1 = true;
        kill(victim.0);
    }));
    let plan = Some(Plan { direction: case.direction, frame: case.frame, action });
    let proxy = Proxy::start(relay.address(), plan).await;
    let (trusted_url, new_url) = match case.link {
        Side::Trusted => (proxy.url(), relay.url()),
        Side::New => (relay.url(), proxy.url()),
    };
    let started = |side: Side, session: &Session| {
        if side == case.victim {
            let mut victim = victim.lock().unwrap();
            victim.0 = session.pid();
            if victim.1 {
                session.kill();
            }
        }
    };
    let start = Instant::now();
    let (trusted, new) = scene.run(case.mode, &trusted_url, &new_url, started).await;
    // Mailboxes live 6 seconds at most; the rest is for a slow machine.
    assert!(start.elapsed() < Duration::from_secs(25), "{case:?} took {:?}", start.elapsed());
    let what = format!("{case:?}: {trusted:?} {new:?}");

    // The trusted device's profile is whole, whatever happened.
    let status = scene.desktop.ok(&["status"]).await;
    assert_eq!(status["bundle_entries"], 1, "{what}");
    assert_eq!(scene.desktop.get("token").await, SECRET, "{what}");
    let listed = scene.desktop.devices().await;
    let lists = match listed.as_slice() {
        [] => "nobody",
        [(_, false)] => "unconfirmed",
        [(_, true)] => "confirmed",
        _ => panic!("{what}: {listed:?}"),
    };
    // The new device's is whole or not there; what was half made goes on the next start.
    let opened = scene.laptop.run(&["status"]).await;
    let holds = match opened.code() {
        Some(0) => {
            assert_eq!(scene.laptop.get("token").await, SECRET, "{what}");
            "the bundle"
        }
        _ => {
            opened.assert_failed(3, "no_profile");
            let left = files(scene.laptop.profile());
            assert!(left.iter().all(|name| name == "lock"), "{what}: {left:?}");
            "nothing"
        }
    };
    private(scene.desktop.profile());
    private(scene.laptop.profile());

    // Nobody believes more than is true.
    let stored = holds == "the bundle";
    assert!(lists != "confirmed" || stored, "{what}");
    assert!(ending(&trusted) != "done" || (stored && lists == "confirmed"), "{what}");
    assert!(ending(&new) != "done" || stored, "{what}");
    assert!(!stored || lists != "nobody", "a device that holds the bundle is listed: {what}");
    let events = trusted.as_ref().map(Ended::events).unwrap_or_default();
    let sent = events.iter().any(|event| event["event"] == "grant_sent");
    assert!(!sent || lists != "nobody", "{what}");
    if ending(&trusted) == "outcome_unknown" {
        assert_eq!(lists, "unconfirmed", "{what}");
    }
    // Who is left is told what happened, and by an exit code that says it.
    let allowed = |ended: &Option<Ended>, failures: &[&str]| {
        let ended = ending(ended);
        assert!(failures.contains(&ended.as_str()), "{ended}: {what}");
    };
    allowed(
        &trusted,
        &["killed", "done", "outcome_unknown", "code_expired", "not started", "cancelled after code_expired"],
    );
    allowed(&new, &["killed", "done", "code_expired", "not started", "cancelled after code_expired"]);

    let cells = [
        format!("{:?}", case.mode),
        case.frame.to_string(),
        format!("{:?}", case.direction),
        format!("{:?}", case.link),
        format!("{:?}", case.victim),
        ending(&trusted),
        ending(&new),
        lists.to_owned(),
        holds.to_owned(),
    ];
    cells.to_vec()
}

/// How a command ended. An invitation whose offer is over goes on with a new one, until the test stops it.
fn ending(ended: &Option<Ended>) -> String {
    let Some(ended) = ended else { return "not started".into() };
    let over = ended.events().into_iter().find(|event| event["event"] == "offer_over");
    match (ended.code(), over) {
        (None, _) => "killed".into(),
        (Some(0), _) => "done".into(),
        (Some(130), Some(over)) => format!("cancelled after {}", over["failure"].as_str().unwrap()),
        _ => ended.failure(),
    }
}

/// Killed at every moment of a change: the entry is the old one or the new one, and the next change cleans up.
#[tokio::test(flavor = "multi_thread")]
async fn a_process_killed_at_any_write_leaves_the_old_or_the_new() {
    let relay = "ws://127.0.0.1:1";
    let scene = Scene::new(relay).await;
    let whole = scene.time_of(&["bundle", "set", "entry", "-"], b"0").await;
    let rounds = 150;
    let mut kept = 0;
    scene.desktop.set("entry", b"0").await;
    let mut value = 0;
    for round in 1..=rounds {
        let next = round.to_string();
        let mut session = scene.desktop.start(&["bundle", "set", "entry", "-"]);
        session.write_all(next.as_bytes()).await;
        session.close_input();
        // From the start of the process to a little after its end, in even steps.
        tokio::time::sleep(whole.mul_f64(1.3 * f64::from(round) / f64::from(rounds))).await;
        session.kill();
        let ended = session.end().await;
        let now: i32 = String::from_utf8(scene.desktop.get("entry").await).unwrap().parse().unwrap();
        assert!(now == value || now == round, "round {round}: {now}, after {value}");
        if ended.code() == Some(0) {
            assert_eq!(now, round, "a change that was reported is on disk");
        }
        kept += i32::from(now == value);
        value = now;
        scene.desktop.ok(&["status"]).await;
        private(scene.desktop.profile());
    }
    assert!(kept > 0 && kept < rounds, "{kept} of {rounds} kills came too early: the steps miss the write");
    scene.desktop.set("entry", b"done").await;
    assert_eq!(files(scene.desktop.profile()), ["bundle.sealed", "device.key", "lock", "profile.json"]);
    assert_eq!(scene.desktop.get("token").await, SECRET);
}

/// Killed at every moment of the first write of a profile: there is an account, whole, or none.
#[tokio::test(flavor = "multi_thread")]
async fn a_process_killed_while_it_makes_a_profile_leaves_a_whole_one_or_none() {
    let scene = Scene::new("ws://127.0.0.1:1").await;
    let whole = scene.time_of(&["init", "--account", "ada.private@example.com"], b"").await;
    let rounds = 120;
    let (mut made, mut none) = (0, 0);
    for round in 1..=rounds {
        let device = Device::new(scene.home.path(), &format!("device-{round}"), "ws://127.0.0.1:1");
        let session = device.start(&["init", "--account", "ada.private@example.com", "--name", "it"]);
        tokio::time::sleep(whole.mul_f64(1.3 * f64::from(round) / f64::from(rounds))).await;
        session.kill();
        let ended = session.end().await;
        private(device.profile());
        let opened = device.run(&["status"]).await;
        if opened.code() == Some(0) {
            made += 1;
        } else {
            opened.assert_failed(3, "no_profile");
            assert_ne!(ended.code(), Some(0));
            assert!(files(device.profile()).iter().all(|name| name == "lock"), "{:?}", files(device.profile()));
            // Nothing stands in the way of the next try.
            device.ok(&["init", "--account", "ada.private@example.com", "--name", "it"]).await;
            none += 1;
        }
    }
    assert!(made > 0 && none > 0, "{made} made, {none} not: the steps miss the write");
}

struct Scene {
    home: TempDir,
    desktop: Device,
    laptop: Device,
}

impl Scene {
    async fn new(relay: &str) -> Self {
        let home = TempDir::new().unwrap();
        let [desktop, laptop] = ["desktop", "laptop"].map(|name| Device::new(home.path(), name, relay));
        desktop.init().await;
        desktop.set("token", SECRET).await;
        Self { home, desktop, laptop }
    }

    /// How long a command takes when nobody kills it.
    async fn time_of(&self, arguments: &[&str], input: &[u8]) -> Duration {
        let device = Device::new(self.home.path(), "timed", "ws://127.0.0.1:1");
        if arguments[0] != "init" {
            device.init().await;
        }
        let start = Instant::now();
        assert_eq!(device.run_with(arguments, input).await.code(), Some(0));
        start.elapsed()
    }

    /// A whole run with honest people. Either process may be killed while they look on.
    async fn run(
        &self,
        mode: Mode,
        trusted_url: &str,
        new_url: &str,
        started: impl Fn(Side, &Session),
    ) -> (Option<Ended>, Option<Ended>) {
        let (desktop, laptop) = (self.desktop.through(trusted_url), self.laptop.through(new_url));
        let png = self.home.path().join("qr.png");
        let png = png.to_str().unwrap();
        let displays = if mode == Mode::QrNew { Side::New } else { Side::Trusted };
        let mut displayer = match mode {
            Mode::Code => desktop.start(&["invite", "--yes"]),
            Mode::QrTrusted => desktop.start(&["invite", "--yes", "--qr", "--qr-png", png]),
            Mode::QrNew => laptop.start(&["join", "--qr", "--qr-png", png]),
        };
        started(displays, &displayer);
        let Some(shown) = displayer.first_event(&["show_code", "show_qr"]).await else {
            // Killed before it had shown anything: there is nothing to read, and nobody starts the other one.
            let displayer = Some(displayer.end().await);
            return if displays == Side::Trusted { (displayer, None) } else { (None, displayer) };
        };
        let code = shown["code"].as_str().unwrap_or_default();
        let mut reader = match mode {
            Mode::Code => laptop.start(&["join", code, "--name", "adas-laptop"]),
            Mode::QrTrusted => laptop.start(&["join", "--scan", png]),
            Mode::QrNew => desktop.start(&["approve", "--yes", "--scan", png]),
        };
        if mode != Mode::Code {
            // Not the relay that the QR code names: that is the other device's proxy.
            reader.decide("refuse").await;
        }
        let reads = if displays == Side::Trusted { Side::New } else { Side::Trusted };
        started(reads, &reader);
        let (from, to) = if mode == Mode::Code { (None, None) } else { (Some(reads), Some(displays)) };
        let digits: Arc<tokio::sync::watch::Sender<Option<String>>> = Arc::default();
        let (displayer, reader) = tokio::join!(
            person(displayer, from == Some(displays), to == Some(displays), Arc::clone(&digits)),
            person(reader, from == Some(reads), to == Some(reads), digits),
        );
        let (displayer, reader) = (Some(displayer), Some(reader));
        if displays == Side::Trusted { (displayer, reader) } else { (reader, displayer) }
    }
}

/// Reads digits to the other person, types those that the other reads out, and gives up when the offer is over.
async fn person(
    mut session: Session,
    reads_out: bool,
    types: bool,
    digits: Arc<tokio::sync::watch::Sender<Option<String>>>,
) -> Ended {
    let mut asked = false;
    loop {
        let event = tokio::select! {
            event = session.first_event(&["show_check_code", "ask_check_code", "offer_over"]) => event,
            // The other process may be killed before it shows any; then this one goes on waiting for its offer's end.
            typed = heard(&digits), if asked => {
                asked = false;
                session.enter(&typed).await;
                continue;
            }
        };
        let Some(event) = event else { return session.end().await };
        match event["event"].as_str().unwrap() {
            "show_check_code" if reads_out => {
                digits.send_replace(event["check_code"].as_str().map(str::to_owned));
            }
            "ask_check_code" if types => asked = true,
            "offer_over" => session.interrupt(),
            _ => {}
        }
    }
}

async fn heard(digits: &tokio::sync::watch::Sender<Option<String>>) -> String {
    let mut digits = digits.subscribe();
    let heard = digits.wait_for(Option::is_some).await.unwrap();
    heard.clone().unwrap()
}

fn files(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// Whatever is there can be read by its owner only.
#[track_caller]
fn private(folder: &Path) {
    let mode = |path: &Path| fs::metadata(path).map(|metadata| metadata.permissions().mode() & 0o777);
    // A process that was killed may not even have made the folder.
    if let Ok(mode) = mode(folder) {
        assert_eq!(mode, 0o700);
    }
    for name in files(folder) {
        assert_eq!(mode(&folder.join(&name)).unwrap(), 0o600, "{name}");
    }
}
