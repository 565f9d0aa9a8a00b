//! Every limit of the relay that a person can meet, and what `handfast` then says: which it was, and when to come back.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use futures_util::future::join_all;
use futures_util::{SinkExt, StreamExt};
use handfast::wire::{ClientFrame, Data, Flags, ResumeToken};
use handfast_tests::e2e::process::{Device, Ended, RelayProcess, Session};
use handfast_tests::e2e::side_by_side;
use std::process::Stdio;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio_tungstenite::client_async;
use tokio_tungstenite::tungstenite::Message;

/// Flags of the relay; the limit, why and when as they are told.
type Case = (&'static [&'static str], &'static str, &'static str, &'static [&'static str]);

const SOON: &[&str] = &["Try again in 5 seconds, or use another relay"];
const IN_A_MINUTE: &[&str] = &["Try again in ", " seconds, or use another relay"];
const LATER: &[&str] = &["Try again later, or use another relay"];

#[tokio::test(flavor = "multi_thread")]
async fn too_many_connections() {
    let flags: [Case; 3] = [
        (&["--max-connections", "1"], "connections", "it has too many connections", SOON),
        (&["--max-source-connections", "1"], "source_connections", "connections come from your network", SOON),
        (&["--source-connections", "1:1"], "source_connections", "connections come from your network", IN_A_MINUTE),
    ];
    side_by_side(3, flags.to_vec(), |(flags, limit, why, when)| async move {
        let scene = Scene::with_relay(flags).await;
        let (_invite, code) = scene.invite().await;
        assert_limit(&scene.laptop.run(&["join", &code]).await, limit, why, when);
        assert_limit(&scene.laptop.run(&["join", "--qr"]).await, limit, why, when);
        assert_limit(&scene.phone.run(&["invite"]).await, limit, why, when);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_mailboxes() {
    let made = "codes and QR codes were made from your network";
    let flags: [Case; 3] = [
        (&["--max-mailboxes", "1"], "mailboxes", "it has too many mailboxes", SOON),
        (&["--max-source-mailboxes", "1"], "source_mailboxes", made, SOON),
        (&["--source-allocations", "1:1"], "source_mailboxes", made, IN_A_MINUTE),
    ];
    side_by_side(3, flags.to_vec(), |(flags, limit, why, when)| async move {
        let scene = Scene::with_relay(flags).await;
        let (invite, code) = scene.invite().await;
        for arguments in [&["invite"][..], &["invite", "--qr"]] {
            assert_limit(&scene.phone.run(arguments).await, limit, why, when);
        }
        assert_limit(&scene.laptop.run(&["join", "--qr"]).await, limit, why, when);
        // What is there goes on.
        assert_eq!(scene.laptop.run(&["join", &code]).await.code(), Some(0));
        assert_eq!(invite.end().await.code(), Some(0));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_codes_entered() {
    let entered = "too many codes were entered from your network";
    let scene = Scene::with_relay(&["--source-claims", "1:1"]).await;
    let (_invite, code) = scene.invite().await;
    scene.laptop.run(&["join", &scene.dead_code().await]).await.assert_failed(10, "code_expired");
    assert_limit(&scene.laptop.run(&["join", &code]).await, "source_claims", entered, IN_A_MINUTE);

    let missed = "too many codes that do not exist were entered from your network";
    let scene = Scene::with_relay(&["--source-misses", "1:1"]).await;
    let (_invite, code) = scene.invite().await;
    let dead = scene.dead_code().await;
    scene.laptop.run(&["join", &dead]).await.assert_failed(10, "code_expired");
    for code in [&code, &dead] {
        assert_limit(&scene.laptop.run(&["join", code]).await, "source_misses", missed, IN_A_MINUTE);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn while_a_flood_slows_newcomers_a_good_code_takes_longer_and_works() {
    let scene = Scene::with_relay(&["--all-misses", "1:1", "--slow-claims", "1"]).await;
    let (invite, code) = scene.invite().await;
    let dead = scene.dead_code().await;
    scene.laptop.run(&["join", &dead]).await.assert_failed(10, "code_expired");
    let begun = Instant::now();
    assert_eq!(scene.laptop.run(&["join", &code]).await.code(), Some(0));
    assert!(begun.elapsed() >= Duration::from_secs(1), "{:?}", begun.elapsed());
    assert_eq!(invite.end().await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn more_codes_than_a_slowed_network_may_enter() {
    let scene = Scene::with_relay(&["--all-misses", "1:1", "--slow-claims", "2"]).await;
    let dead = scene.dead_code().await;
    scene.laptop.run(&["join", &dead]).await.assert_failed(10, "code_expired");
    let names = ["one", "two", "three", "four"].map(|name| Device::new(scene.home.path(), name, &scene.relay.url()));
    let mut tries = join_all(names.iter().map(async |device| device.run(&["join", &dead]).await)).await;
    tries.sort_by_key(Ended::code);
    let refused = tries.pop().unwrap();
    let when = &["Try again in ", " second"];
    assert_limit(&refused, "source_claims", "too many codes were entered from your network", when);
    for served in tries {
        served.assert_failed(10, "code_expired");
    }
}

/// On the reader, whose first message is the second frame of the mailbox.
#[tokio::test(flavor = "multi_thread")]
async fn too_many_messages_in_one_run() {
    let scene = Scene::with_relay(&["--max-frames", "1"]).await;
    let (_invite, code) = scene.invite().await;
    let ended = scene.laptop.run(&["join", &code]).await;
    assert_limit(&ended, "mailbox_frames", "this run sent too many messages", LATER);
}

/// On the trusted device, in the middle of the bundle: it says what that means, too.
#[tokio::test(flavor = "multi_thread")]
async fn too_much_in_one_run() {
    let short = ["--mailbox-lifetime", "3", "--mailbox-linger", "1", "--mailbox-max", "4"];
    let flags: [Case; 2] = [
        (&["--max-mailbox-bytes", "16384"], "mailbox_bytes", "this run sent too many bytes", LATER),
        (&["--window", "1"], "window", "too many messages wait for the other device", LATER),
    ];
    side_by_side(2, flags.to_vec(), |(flags, limit, why, when)| async move {
        let scene = Scene::with_relay(&[flags, &short].concat()).await;
        scene.desktop.set("large", &[7; 60_000]).await;
        let (invite, code) = scene.invite().await;
        let join = scene.laptop.start(&["join", &code]);
        let ended = invite.end().await;
        let message = ended.assert_failed(15, "outcome_unknown");
        assert_says(&ended, &message, limit, why, when);
        join.end().await.assert_failed(10, "code_expired");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_memory_of_the_relay_is_used_up() {
    let scene = Scene::with_relay(&["--max-queued-bytes", "16384"]).await;
    let (mut hoarder, _) =
        client_async(format!("{}/v1", scene.relay.url()), TcpStream::connect(scene.relay.address()).await.unwrap())
            .await
            .unwrap();
    hoarder.send(frame(&ClientFrame::Allocate { token: ResumeToken([1; 16]) })).await.unwrap();
    hoarder.next().await.unwrap().unwrap();
    let data = Data { seq: 0, ack: 0, flags: Flags::NONE, payload: vec![7; 16_000] };
    hoarder.send(frame(&ClientFrame::Data(data))).await.unwrap();
    hoarder.send(Message::Ping(Vec::new().into())).await.unwrap();
    hoarder.next().await.unwrap().unwrap();
    let ended = scene.desktop.run(&["invite"]).await;
    assert_limit(&ended, "queued_bytes", "its memory budget is used up", SOON);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_store_of_the_relay_does_not_answer() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut command = Command::new("redis-server");
    command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""]).stdout(Stdio::null());
    let mut store = command.kill_on_drop(true).spawn().expect("redis-server has to be installed: tests/run tools");
    while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let scene = Scene::with_relay(&["--store", &format!("redis://127.0.0.1:{port}")]).await;
    let code = scene.dead_code().await;
    store.kill().await.unwrap();
    for (device, arguments) in [(&scene.desktop, vec!["invite"]), (&scene.laptop, vec!["join", &code])] {
        assert_limit(&device.run(&arguments).await, "store", "the store behind it does not answer", SOON);
    }
}

fn frame(frame: &ClientFrame) -> Message {
    Message::Binary(frame.encode().into())
}

/// The command failed at this limit of the relay. Its message says why and when to come back, its last event which
/// limit and in how many milliseconds.
#[track_caller]
fn assert_limit(ended: &Ended, limit: &str, why: &str, when: &[&str]) {
    let message = ended.assert_failed(13, "relay_refused");
    assert_says(ended, &message, limit, why, when);
}

#[track_caller]
fn assert_says(ended: &Ended, message: &str, limit: &str, why: &str, when: &[&str]) {
    assert!(message.contains("the relay refuses: ") && message.contains(why), "{message}");
    assert!(when.iter().all(|part| message.contains(part)), "{when:?}: {message}");
    let last = ended.last();
    assert_eq!(last["limit"], limit, "{last}");
    match last["retry_after_ms"].as_u64() {
        None => assert!(last["retry_after_ms"].is_null() && when == LATER, "{last}"),
        Some(ms) => assert!((1..=60_000).contains(&ms) && when != LATER, "{last}"),
    }
}

/// A relay, two trusted devices of two accounts, and a new one.
struct Scene {
    relay: RelayProcess,
    home: TempDir,
    desktop: Device,
    phone: Device,
    laptop: Device,
}

impl Scene {
    async fn with_relay(flags: &[&str]) -> Self {
        let relay = RelayProcess::start(flags).await;
        let home = TempDir::new().unwrap();
        let device = |name| Device::new(home.path(), name, &relay.url());
        let [desktop, phone, laptop] = ["desktop", "phone", "laptop"].map(device);
        desktop.init().await;
        desktop.set("token", b"a secret").await;
        phone.init().await;
        Self { relay, home, desktop, phone, laptop }
    }

    /// An invitation that approves by itself, and its code.
    async fn invite(&self) -> (Session, String) {
        let mut invite = self.desktop.start(&["invite", "--yes"]);
        let code = invite.event("show_code").await["code"].as_str().unwrap().to_owned();
        (invite, code)
    }

    /// A code that is over.
    async fn dead_code(&self) -> String {
        let mut invite = self.phone.start(&["invite"]);
        let code = invite.event("show_code").await["code"].as_str().unwrap().to_owned();
        invite.interrupt();
        invite.end().await.assert_failed(130, "cancelled");
        code
    }
}
