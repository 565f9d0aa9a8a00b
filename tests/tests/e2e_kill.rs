//! Processes that are killed: after any frame, and at any write. What is on disk afterwards is whole, and nobody
//! believes more than is true.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use handfast_tests::e2e::pairing::{LONGEST, Mode, SECRET, SHORT, Scene, Side, ending, files, private};
use handfast_tests::e2e::process::{Device, Ended, FOR_ONE_SOURCE, RelayProcess, Session, kill};
use handfast_tests::e2e::proxy::{Action, DIRECTIONS, Direction, Plan, Proxy};
use handfast_tests::e2e::{report, side_by_side};
use rustix::process::Pid;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

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
    let relay = Arc::new(RelayProcess::start(&[&SHORT[..], &FOR_ONE_SOURCE].concat()).await);
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
    assert!(start.elapsed() < LONGEST, "{case:?} took {:?}", start.elapsed());
    let what = format!("{case:?}: {trusted:?} {new:?}");

    let (lists, holds) = scene.judge(&trusted, &new, &what).await;
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

/// Killed at every moment of a change: the entry is the old one or the new one, and the next change cleans up.
#[tokio::test(flavor = "multi_thread")]
async fn a_process_killed_at_any_write_leaves_the_old_or_the_new() {
    let relay = "ws://127.0.0.1:1";
    let scene = Scene::new(relay).await;
    let whole = time_of(&scene, &["bundle", "set", "entry", "-"], b"0").await;
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
    let whole = time_of(&scene, &["init", "--account", "ada.private@example.com"], b"").await;
    let rounds = 120;
    let (mut made, mut none) = (0, 0);
    for round in 1..=rounds {
        let device = Device::new(scene.home(), &format!("device-{round}"), "ws://127.0.0.1:1");
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

/// How long a command takes when nobody kills it.
async fn time_of(scene: &Scene, arguments: &[&str], input: &[u8]) -> Duration {
    let device = Device::new(scene.home(), "timed", "ws://127.0.0.1:1");
    if arguments[0] != "init" {
        device.init().await;
    }
    let start = Instant::now();
    assert_eq!(device.run_with(arguments, input).await.code(), Some(0));
    start.elapsed()
}
