//! Everything that goes wrong at the command line: one clear sentence, an exit code of its own, and nothing lost.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use handfast_tests::e2e::process::{Device, RelayProcess, Session, another_code};
use handfast_tests::e2e::proxy::{Direction, Proxy};
use handfast_tests::e2e::side_by_side;
use serde_json::Value;
use std::path::Path;
use tempfile::TempDir;

#[tokio::test(flavor = "multi_thread")]
async fn a_typing_mistake_sends_nothing_and_costs_nothing() {
    let scene = Scene::new().await;
    let proxy = Proxy::start(scene.relay.address(), None).await;
    let mut invite = scene.desktop.start(&["invite", "--yes"]);
    let code = text(&invite.event("show_code").await, "code");
    let laptop = scene.laptop.through(&proxy.url());
    for typed in mistakes(&code) {
        laptop.run(&["join", &typed]).await.assert_failed(5, "code_typo");
    }
    // Asked for by the command, and mistyped there.
    let mut join = laptop.start(&["join"]);
    join.event("ask_code").await;
    join.write(&format!(r#"{{"decision":"code","code":"{}"}}"#, mistakes(&code)[0])).await;
    join.end().await.assert_failed(5, "code_typo");
    assert_eq!(proxy.connections(), 0, "nothing was sent");
    scene.assert_laptop_empty();
    // The code is still good.
    assert_eq!(laptop.run(&["join", &code]).await.code(), Some(0));
    assert_eq!(invite.end().await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_code_is_used_up_on_both_sides() {
    let scene = Scene::new().await;
    let mut invite = scene.desktop.start(&["invite", "--yes"]);
    let code = text(&invite.event("show_code").await, "code");
    let message = scene.laptop.run(&["join", &another_code(&code)]).await.assert_failed(6, "wrong_code");
    assert!(message.contains("new one"), "{message}");
    assert_eq!(invite.event("offer_over").await["failure"], "wrong_code");
    let next = text(&invite.event("show_code").await, "code");
    scene.laptop.run(&["join", &code]).await.assert_failed(10, "code_expired");
    assert_eq!(scene.laptop.run(&["join", &next]).await.code(), Some(0));
    assert_eq!(invite.end().await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_digits_end_the_run_on_both_sides() {
    let scene = Scene::new().await;
    // The new device shows its QR code.
    let (mut join, mut approve) = scene.scanned("join", &["join", "--qr"], &["approve", "--scan"]).await;
    let digits = text(&approve.event("show_check_code").await, "check_code");
    join.event("ask_check_code").await;
    // Not six digits: asked again, since it was not sent.
    join.enter("12345").await;
    join.event("ask_check_code").await;
    join.enter(&wrong(&digits)).await;
    join.end().await.assert_failed(7, "wrong_check_code");
    approve.end().await.assert_failed(7, "wrong_check_code");
    scene.assert_laptop_empty();
    assert!(scene.desktop.devices().await.is_empty());

    // The trusted device shows its QR code; it makes a new one by itself.
    let png = scene.png("invite");
    let mut invite = scene.desktop.start(&["invite", "--qr", "--qr-png", &png]);
    invite.event("show_qr").await;
    let mut join = scene.laptop.start(&["join", "--scan", &png]);
    let digits = text(&join.event("show_check_code").await, "check_code");
    invite.event("ask_check_code").await;
    invite.enter(&wrong(&digits)).await;
    join.end().await.assert_failed(7, "wrong_check_code");
    assert_eq!(invite.event("offer_over").await["failure"], "wrong_check_code");
    invite.event("show_qr").await;
    invite.decide("cancel").await;
    invite.end().await.assert_failed(130, "cancelled");
    scene.assert_laptop_empty();
    assert!(!Path::new(&png).exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_an_exit_code_on_both_sides() {
    let scene = Scene::new().await;
    let (mut invite, join) = scene.met().await;
    invite.decide("refuse").await;
    invite.end().await.assert_failed(8, "refused");
    join.end().await.assert_failed(8, "refused");
    scene.assert_laptop_empty();
    assert!(scene.desktop.devices().await.is_empty());
    // Nobody there to decide counts as no.
    let (mut invite, join) = scene.met().await;
    invite.close_input();
    invite.end().await.assert_failed(8, "refused");
    join.end().await.assert_failed(8, "refused");
    // What was not asked for decides nothing.
    let mut invite = scene.desktop.start(&["invite"]);
    let code = text(&invite.event("show_code").await, "code");
    invite.decide("approve").await;
    invite.event("ignored").await;
    let join = scene.laptop.start(&["join", &code]);
    invite.event("ask_approval").await;
    invite.write("yes please").await;
    invite.end().await.assert_failed(2, "usage");
    join.end().await.assert_failed(9, "peer_cancelled");
    scene.assert_laptop_empty();
}

/// Ctrl-C on either side at each stage: exit code 130, the other side is told, nothing is half written.
#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_at_any_stage_is_told() {
    let mut cases = Vec::new();
    for mode in ["code", "qr-trusted", "qr-new"] {
        let (displayer, reader) = if mode == "qr-new" { (NEW, TRUSTED) } else { (TRUSTED, NEW) };
        cases.push((mode, displayer, "shown"));
        for side in [displayer, reader] {
            cases.push((mode, side, "met"));
            cases.push((mode, side, "approval"));
        }
    }
    side_by_side(4, cases, |(mode, side, stage)| interrupted(mode, side, stage)).await;
}

const TRUSTED: usize = 0;
const NEW: usize = 1;

async fn interrupted(mode: &'static str, side: usize, stage: &'static str) {
    let what = format!("{mode}, Ctrl-C on {} at {stage}", ["the trusted device", "the new device"][side]);
    let scene = Scene::new().await;
    let png = scene.png("qr");
    let (displays, arguments): (_, &[&str]) = match mode {
        "code" => (TRUSTED, &["invite"]),
        "qr-trusted" => (TRUSTED, &["invite", "--qr", "--qr-png", &png]),
        _ => (NEW, &["join", "--qr", "--qr-png", &png]),
    };
    let devices = [&scene.desktop, &scene.laptop];
    let mut displayer = devices[displays].start(arguments);
    let shown = displayer.event(if mode == "code" { "show_code" } else { "show_qr" }).await;
    if stage == "shown" {
        displayer.interrupt();
        displayer.end().await.assert_failed(130, "cancelled");
        assert!(!Path::new(&png).exists(), "{what}");
        scene.assert_laptop_empty();
        return;
    }
    let code = shown["code"].as_str().unwrap_or_default().to_owned();
    let reader: Vec<&str> = match mode {
        "code" => vec!["join", &code],
        "qr-trusted" => vec!["join", "--scan", &png],
        _ => vec!["approve", "--scan", &png],
    };
    let reader = devices[1 - displays].start(&reader);
    let (mut trusted, mut new) = if displays == TRUSTED { (displayer, reader) } else { (reader, displayer) };
    new.event("account").await;
    match (mode, stage) {
        ("qr-trusted", "met") => drop((trusted.event("ask_check_code").await, new.event("show_check_code").await)),
        ("qr-new", "met") => drop((trusted.event("show_check_code").await, new.event("ask_check_code").await)),
        ("qr-trusted", _) => carry_digits(&mut new, &mut trusted).await,
        ("qr-new", _) => carry_digits(&mut trusted, &mut new).await,
        _ => {}
    }
    if stage == "approval" || mode == "code" {
        trusted.event("ask_approval").await;
    }
    let (gone, mut told) = if side == TRUSTED { (trusted, new) } else { (new, trusted) };
    gone.interrupt();
    let gone = gone.end().await;
    gone.assert_failed(130, "cancelled");
    if side == NEW && displays == TRUSTED {
        // It shows a new one by itself.
        let over = told.event("offer_over").await;
        assert_eq!(over["failure"], "peer_cancelled", "{what}");
        told.first_event(&["show_code", "show_qr"]).await.expect("a new offer");
        told.interrupt();
        told.end().await.assert_failed(130, "cancelled");
    } else {
        told.end().await.assert_failed(9, "peer_cancelled");
    }
    scene.assert_laptop_empty();
    assert!(scene.desktop.devices().await.is_empty(), "{what}");
    assert!(!Path::new(&png).exists(), "{what}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_third_claimant_is_turned_away_and_the_pair_goes_on() {
    let scene = Scene::new().await;
    let mut invite = scene.desktop.start(&["invite"]);
    let code = text(&invite.event("show_code").await, "code");
    let mut join = scene.laptop.start(&["join", &code]);
    invite.event("ask_approval").await;
    join.event("account").await;
    let third = Device::new(scene.home.path(), "third", &scene.relay.url());
    let ended = third.run(&["join", &code]).await;
    ended.assert_failed(11, "code_in_use");
    assert!(!third.profile().join("profile.json").exists());
    // Both had settled: only a notice.
    invite.event("third_claim").await;
    invite.decide("approve").await;
    assert_eq!((invite.end().await.code(), join.end().await.code()), (Some(0), Some(0)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_that_ran_out_is_renewed_and_the_old_one_dead() {
    let scene = Scene::with_relay(&["--mailbox-lifetime", "1", "--mailbox-linger", "1"]).await;
    let mut invite = scene.desktop.start(&["invite"]);
    let code = text(&invite.event("show_code").await, "code");
    assert_eq!(invite.event("offer_over").await["failure"], "code_expired");
    invite.event("show_code").await;
    scene.laptop.run(&["join", &code]).await.assert_failed(10, "code_expired");
    invite.interrupt();
    invite.end().await.assert_failed(130, "cancelled");
    scene.assert_laptop_empty();
}

#[tokio::test(flavor = "multi_thread")]
async fn images_and_texts_that_hold_no_usable_qr_code() {
    let scene = Scene::new().await;
    let png = scene.png("join");
    let mut join = scene.laptop.start(&["join", "--qr", "--qr-png", &png]);
    let uri = text(&join.event("show_qr").await, "uri");
    let whole = std::fs::read(&png).unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = scene.home.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let scan = async |image: &str| scene.desktop.run(&["approve", "--scan", image]).await;
    for image in [
        file("truncated.png", &whole[..whole.len() / 2]),
        file("empty.png", b""),
        file("text.png", b"this is no image"),
    ] {
        scan(&image).await.assert_failed(16, "bad_qr");
    }
    scan("/nonexistent/qr.png").await.assert_failed(22, "file");
    for (text, exit, failure) in [
        ("https://example.com/", 16, "bad_qr"),
        ("WIFI:T:WPA;S:home;P:secret;;", 16, "bad_qr"),
        (&uri[..uri.len() - 1], 16, "bad_qr"),
        (&uri.replace("HANDFAST:/0", "HANDFAST:/1"), 23, "version"),
        ("", 16, "bad_qr"),
    ] {
        let ended = scene.desktop.run_with(&["approve", "--scan", "-"], format!("{text}\n").as_bytes()).await;
        let message = ended.assert_failed(exit, failure);
        assert!(text.is_empty() || !message.contains(text), "{message}");
    }
    // For the other command.
    let other = Device::new(scene.home.path(), "other", &scene.relay.url());
    other.run(&["join", "--scan", &png]).await.assert_failed(16, "bad_qr");
    // All the while, the QR code was good.
    let mut approve = scene.desktop.start(&["approve", "--scan", &png, "--yes"]);
    carry_digits(&mut approve, &mut join).await;
    assert_eq!((approve.end().await.code(), join.end().await.code()), (Some(0), Some(0)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_is_not_there() {
    let scene = Scene::new().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nowhere = format!("ws://{}", listener.local_addr().unwrap());
    drop(listener);
    for (device, arguments) in [
        (&scene.desktop, vec!["invite"]),
        (&scene.laptop, vec!["join", "--qr"]),
        (&scene.laptop, vec!["unlock", "token"]),
    ] {
        let message = device.through(&nowhere).run(&arguments).await.assert_failed(12, "relay_unreachable");
        assert!(message.contains(&nowhere), "{message}");
    }
    let usage = scene.desktop.through("http://example.com").run(&["invite"]).await;
    assert_eq!((usage.code(), usage.failure().as_str()), (Some(2), "usage"));
    scene.assert_laptop_empty();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_profile_that_cannot_be_written() {
    let scene = Scene::new().await;
    // A place where nothing can be, found before anything is sent.
    let file = scene.home.path().join("file");
    std::fs::write(&file, b"").unwrap();
    let nowhere = Device::new(&file, "profile", &scene.relay.url());
    nowhere.run(&["init", "--account", "ada@example.com"]).await.assert_failed(4, "profile_unwritable");
    let mut invite = scene.desktop.start(&["invite", "--yes"]);
    let code = text(&invite.event("show_code").await, "code");
    nowhere.run(&["join", &code]).await.assert_failed(4, "profile_unwritable");
    // A full disk: the code is not spent on it either.
    scene.laptop.run_without_space(&["join", &code], b"").await.assert_failed(4, "profile_unwritable");
    scene.assert_laptop_empty();
    assert_eq!(scene.laptop.run(&["join", &code]).await.code(), Some(0), "the code is still good");
    assert_eq!(invite.end().await.code(), Some(0));

    // A change that finds no space changes nothing.
    let value = vec![b'x'; 100_000];
    let full = scene.desktop.run_without_space(&["bundle", "set", "large", "-"], &value).await;
    full.assert_failed(4, "profile_unwritable");
    assert_eq!(scene.desktop.get("token").await, SECRET);
    let listed = scene.desktop.ok(&["bundle", "list"]).await;
    assert_eq!(listed["entries"].as_array().unwrap().len(), 1);

    // A trusted device that cannot note the new one sends nothing.
    let other = Device::new(scene.home.path(), "other", &scene.relay.url());
    let mut invite = scene.desktop.start_without_space(&["invite", "--yes"]);
    let code = text(&invite.event("show_code").await, "code");
    let joined = other.run(&["join", &code]).await;
    invite.end().await.assert_failed(4, "profile_unwritable");
    joined.assert_failed(21, "peer_failed");
    assert_eq!(scene.desktop.devices().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn bundles_and_profiles_that_do_not_fit() {
    let scene = Scene::new().await;
    for size in [256 * 1024, 300 * 1024] {
        let large = vec![7; size];
        scene.desktop.run_with(&["bundle", "set", "large", "-"], &large).await.assert_failed(17, "bad_bundle");
    }
    assert_eq!(scene.desktop.get("token").await, SECRET);
    scene.desktop.run(&["bundle", "get", "nothing"]).await.assert_failed(17, "bad_bundle");
    scene.desktop.run(&["bundle", "rm", "nothing"]).await.assert_failed(17, "bad_bundle");
    scene.desktop.run(&["bundle", "set", "x", "/nonexistent/file"]).await.assert_failed(22, "file");
    scene.desktop.run(&["devices", "rm", "nobody"]).await.assert_failed(20, "not_recorded");
    scene.desktop.run(&["init", "--account", "eve@example.com"]).await.assert_failed(18, "already_enrolled");
    scene.desktop.run(&["join", "--qr"]).await.assert_failed(18, "already_enrolled");
    scene.laptop.run(&["invite"]).await.assert_failed(3, "no_profile");
    scene.laptop.run(&["bundle", "list"]).await.assert_failed(3, "no_profile");
    // An entry that the trusted device does not have.
    let (mut unlock, mut approve) =
        scene.scanned("unlock", &["unlock", "nothing"], &["approve", "--yes", "--scan"]).await;
    carry_digits(&mut approve, &mut unlock).await;
    approve.end().await.assert_failed(17, "bad_bundle");
    unlock.end().await.assert_failed(17, "bad_bundle");
    // The unlock key, for a device that nobody let in.
    scene.laptop.run(&["unlock", "--key"]).await.assert_failed(2, "usage");

    let bundle = scene.desktop.profile().join("bundle.sealed");
    let sealed = std::fs::read(&bundle).unwrap();
    std::fs::write(&bundle, b"damaged").unwrap();
    scene.desktop.run(&["status"]).await.assert_failed(24, "profile_damaged");
    scene.desktop.run(&["invite"]).await.assert_failed(24, "profile_damaged");
    std::fs::write(&bundle, sealed).unwrap();
    assert_eq!(scene.desktop.get("token").await, SECRET);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_hint_is_used_only_when_accepted() {
    let scene = Scene::new().await;
    let other = RelayProcess::start(&[]).await;
    let proxy = Proxy::start(other.address(), None).await;
    let png = scene.png("join");
    let mut join = scene.laptop.through(&proxy.url()).start(&["join", "--qr", "--qr-png", &png]);
    join.event("show_qr").await;
    let before = proxy.frames(Direction::ToRelay);
    // Nobody there to accept it: the configured relay is asked, which knows no such QR code.
    scene.desktop.run(&["approve", "--scan", &png]).await.assert_failed(10, "code_expired");
    assert_eq!((proxy.connections(), proxy.frames(Direction::ToRelay)), (1, before));
    let mut approve = scene.desktop.start(&["approve", "--yes", "--accept-relay-hint", "--scan", &png]);
    carry_digits(&mut approve, &mut join).await;
    assert_eq!((approve.end().await.code(), join.end().await.code()), (Some(0), Some(0)));
    assert_eq!(proxy.connections(), 2);
}

const SECRET: &[u8] = b"SECRET-OF-THE-BUNDLE";

/// A relay, a trusted device, and a new one.
struct Scene {
    relay: RelayProcess,
    home: TempDir,
    desktop: Device,
    laptop: Device,
}

impl Scene {
    async fn new() -> Self {
        Self::with_relay(&[]).await
    }

    async fn with_relay(flags: &[&str]) -> Self {
        let relay = RelayProcess::start(flags).await;
        let home = TempDir::new().unwrap();
        let [desktop, laptop] = ["desktop", "laptop"].map(|name| Device::new(home.path(), name, &relay.url()));
        desktop.init().await;
        desktop.set("token", SECRET).await;
        Self { relay, home, desktop, laptop }
    }

    fn png(&self, name: &str) -> String {
        self.home.path().join(format!("{name}.png")).to_str().unwrap().to_owned()
    }

    /// Both devices, by code, at the question on the trusted one.
    async fn met(&self) -> (Session, Session) {
        let mut invite = self.desktop.start(&["invite"]);
        let code = text(&invite.event("show_code").await, "code");
        let mut join = self.laptop.start(&["join", &code]);
        invite.event("ask_approval").await;
        join.event("account").await;
        (invite, join)
    }

    /// The laptop shows a QR code, the desktop scans it.
    async fn scanned(&self, name: &str, shows: &[&str], scans: &[&str]) -> (Session, Session) {
        let png = self.png(name);
        let mut shows = self.laptop.start(&[shows, &["--qr-png", &png]].concat());
        shows.event("show_qr").await;
        let scans = self.desktop.start(&[scans, &[png.as_str()]].concat());
        (shows, scans)
    }

    /// That nothing is left of a profile on the laptop.
    #[track_caller]
    fn assert_laptop_empty(&self) {
        let left: Vec<_> = match std::fs::read_dir(self.laptop.profile()) {
            Ok(files) => files.map(|file| file.unwrap().file_name()).filter(|name| name != "lock").collect(),
            Err(_) => vec![],
        };
        assert!(left.is_empty(), "left on the laptop: {left:?}");
    }
}

async fn carry_digits(from: &mut Session, to: &mut Session) {
    let digits = text(&from.event("show_check_code").await, "check_code");
    to.event("ask_check_code").await;
    to.enter(&digits).await;
}

/// Every wrong symbol at one place, every swap of two neighbours, and things that are no code at all.
fn mistakes(code: &str) -> Vec<String> {
    let symbols: Vec<char> = code.chars().filter(|symbol| *symbol != '-').collect();
    let mut typed = Vec::new();
    for place in [0, 5, 11] {
        let mut wrong = symbols.clone();
        wrong[place] = if wrong[place] == '7' { '8' } else { '7' };
        typed.push(wrong.into_iter().collect());
    }
    let swapped = (0..11).find(|place| symbols[*place] != symbols[place + 1]).map(|place| {
        let mut swapped = symbols.clone();
        swapped.swap(place, place + 1);
        swapped.into_iter().collect()
    });
    typed.extend(swapped);
    typed.extend([code[..10].to_owned(), format!("{code}0"), "U".repeat(12), "not a code".into()]);
    typed
}

fn wrong(digits: &str) -> String {
    let last = if digits.ends_with('7') { '8' } else { '7' };
    format!("{}{last}", &digits[..5])
}

fn text(event: &Value, field: &str) -> String {
    event[field].as_str().unwrap_or_else(|| panic!("no {field} in {event}")).to_owned()
}
