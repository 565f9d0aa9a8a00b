//! The command: what it prints, what it logs, how it ends, and that it outlives a lack of file descriptors.

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod common;

use common::process::{BINARY, Process, command, output};
use common::tls::Certificate;
use common::{A, B, C, Device};
use handfast_wire::{ClientFrame, CloseReason, EndReason, ErrorCode, Nameplate, RelayFrame};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

#[tokio::test]
async fn a_terminated_relay_without_mailboxes_ends_at_once() {
    for signal in ["TERM", "INT"] {
        let mut process = Process::start(&["--drain-seconds", "60"]);
        process.signal(signal);
        assert_eq!(process.exit().await.code(), Some(0));
        assert_eq!(process.rest().0, "", "one line on stdout, no more");
    }
}

#[tokio::test]
async fn a_terminated_relay_lets_a_pair_finish() {
    let mut process = Process::start(&["--drain-seconds", "60"]);
    let (mut first, mut second, _) = Device::pair(process.addr).await;
    process.signal("TERM");
    until_draining(process.addr).await;
    first.data(0, 0, b"still").await;
    second.expect_data(0, b"still").await;
    first.close(CloseReason::Done).await;
    second.close(CloseReason::Done).await;
    assert_eq!(process.exit().await.code(), Some(0));
}

#[tokio::test]
async fn a_drain_ends_after_its_time() {
    let mut process = Process::start(&["--drain-seconds", "0"]);
    let (mut first, ..) = Device::allocate(process.addr).await;
    process.signal("TERM");
    first.expect_ended(EndReason::ShuttingDown).await;
    drop(first);
    assert_eq!(process.exit().await.code(), Some(0));
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once() {
    let mut process = Process::start(&["--drain-seconds", "60"]);
    let (_first, ..) = Device::allocate(process.addr).await;
    process.signal("TERM");
    until_draining(process.addr).await;
    process.signal("INT");
    assert_eq!(process.exit().await.code(), Some(1));
}

#[test]
fn wrong_usage_is_2_and_a_taken_address_is_1() {
    let run = |options: &[&str]| {
        let (code, out, why) = output(&mut command(options));
        assert!(out.is_empty());
        (code, why)
    };
    assert_eq!(run(&["serve", "--no-such-option"]).0, Some(2));
    assert_eq!(run(&["serve", "--window", "0"]).0, Some(2));
    assert_eq!(run(&["serve", "--log", "not=a=filter"]).0, Some(2));
    let (code, why) = run(&["serve", "--mailbox-lifetime", "3600"]);
    assert_eq!(
        (code, why.as_str()),
        (Some(2), "handfast-relay: a mailbox's lifetime must not be longer than its maximum\n")
    );

    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    let (code, why) = run(&["serve", "--listen", &addr]);
    assert_eq!(code, Some(1));
    assert!(why.starts_with(&format!("handfast-relay: cannot listen on {addr}: ")), "{why}");
    assert_eq!(why.lines().count(), 1, "{why}");
}

#[tokio::test]
async fn options_and_environment_reach_the_relay() {
    let mut command = command(&["serve", "--listen", "127.0.0.1:0", "--max-mailboxes", "1", "--no-network-hint"]);
    command.env("HANDFAST_RELAY_MAILBOX_LIFETIME", "77");
    let process = Process::spawn(&mut command);
    let (_first, answer) = Device::ask(process.addr, ClientFrame::Allocate { token: A }).await;
    let RelayFrame::Allocated { lifetime, .. } = answer else { panic!("{answer:?}") };
    assert!((76_000..=77_000).contains(&lifetime.remaining_ms), "{lifetime:?}");
    let (_, answer) = Device::ask(process.addr, ClientFrame::Allocate { token: B }).await;
    assert!(matches!(answer, RelayFrame::Error { code: ErrorCode::Limit(_), .. }), "{answer:?}");
}

#[tokio::test]
async fn it_outlives_a_lack_of_file_descriptors() {
    let mut command = Command::new("sh");
    command.args(["-c", r#"ulimit -n 64; exec "$0" serve --listen 127.0.0.1:0"#, BINARY]);
    let mut process = Process::spawn(&mut command);
    let crowd: Vec<TcpStream> = (0..100).map(|_| TcpStream::connect(process.addr).unwrap()).collect();
    tokio::time::sleep(Duration::from_millis(300)).await;
    drop(crowd);
    let (mut first, mut second, _) = Device::pair(process.addr).await;
    first.data(0, 0, b"after the storm").await;
    second.expect_data(0, b"after the storm").await;
    process.signal("KILL");
    process.exit().await;
    assert!(process.rest().1.contains("cannot accept connections"), "the descriptors never ran out");
}

#[tokio::test]
async fn a_limit_of_open_files_below_the_limit_of_connections_is_warned_of() {
    for (files, connections, warned) in [(1024, "10000", true), (1024, "897", true), (1024, "896", false)] {
        let script =
            format!(r#"ulimit -n {files}; exec "$0" serve --listen 127.0.0.1:0 --max-connections {connections}"#);
        let mut command = Command::new("sh");
        let mut process = Process::spawn(command.args(["-c", &script, BINARY]));
        process.signal("TERM");
        process.exit().await;
        let log = process.rest().1;
        assert_eq!(log.contains("the limit of open files is too low"), warned, "{connections}: {log}");
        assert!(!warned || log.contains("limit=1024") && log.contains("ulimit -n"), "{log}");
    }
}

/// Such as a script that wanted the first line only.
#[tokio::test]
async fn it_does_not_die_of_whoever_does_not_read_its_lines() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let [listen, admin] = [(); 2].map(|()| std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap());
    let mut command = command(&["serve", "--listen", &listen.to_string(), "--admin-listen", &admin.to_string()]);
    let mut relay = command.stdout(writer).stderr(std::process::Stdio::null()).spawn().unwrap();
    common::within(async {
        while TcpStream::connect(listen).is_err() {
            assert!(relay.try_wait().unwrap().is_none(), "it has ended");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    let (mut first, mut second, _) = Device::pair(listen).await;
    first.data(0, 0, b"unheard").await;
    second.expect_data(0, b"unheard").await;
    assert!(relay.try_wait().unwrap().is_none(), "it has ended");
    relay.kill().unwrap();
    relay.wait().unwrap();
}

#[tokio::test]
async fn nothing_secret_is_logged_at_any_level() {
    let mut process = Process::start(&["--log", "trace", "--claim-timeout", "1"]);
    let addr = process.addr;
    let secrets = everything_happens(addr).await;
    let log = log_of(&mut process, addr).await;
    assert!(log.contains("started") && log.contains("seated") && log.contains("mailbox="), "it says something: {log}");
    expect_none(&secrets, &log);
}

#[tokio::test]
async fn nothing_secret_is_logged_as_json_or_with_tls_either() {
    let folder = tempfile::tempdir().unwrap();
    let certificate = Arc::new(Certificate::write(folder.path()));
    let options = ["--log", "trace", "--log-format", "json", "--claim-timeout", "1", "--admin-listen", "127.0.0.1:0"];
    let mut process = Process::start(&[&options[..], &certificate.options()].concat());
    let tunnel = certificate.tunnel(process.addr).await;
    let mut secrets = everything_happens(tunnel).await;
    // Neither a plain device nor noise, nor a request to the admin listener, gets a word into the log.
    let admin = process.admin();
    common::http::request(process.addr, "GET /SECRET HTTP/1.1\r\nHost: SECRET\r\n\r\n").await;
    common::http::request(admin, "GET /SECRET HTTP/1.1\r\nHost: SECRET\r\n\r\n").await;
    common::http::request(admin, "\u{16}SECRET").await;
    process.signal("HUP");
    let log = log_of(&mut process, tunnel).await;
    let seated = log.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    assert!(seated.filter(|line| line["message"] == "seated" && line["mailbox"].is_string()).count() > 3, "{log}");
    secrets.push("localhost".to_owned());
    expect_none(&secrets, &log);
}

/// Devices do at `addr` all that a log could be tempted to write down. These are the secrets in it, in every form that
/// a log might give them.
async fn everything_happens(addr: SocketAddr) -> Vec<String> {
    let payload = b"SECRET-PAYLOAD-SECRET";
    let (mut first, nameplate, mailbox) = Device::allocate(addr).await;
    let (mut second, _) = Device::claim(addr, nameplate, B).await;
    first.recv().await;
    first.data(0, 0, payload).await;
    second.expect_data(0, payload).await;
    drop(second);
    first.recv().await;
    let (mut second, _) = Device::resume(addr, mailbox, B, 1).await;
    Device::resume(addr, mailbox, C, 0).await;
    assert!(matches!(second.recv().await, RelayFrame::PeerJoined { .. }));
    second.data(7, 0, payload).await;
    second.expect_refusal(ErrorCode::UnexpectedFrame).await;
    let (mut silent, silent_nameplate, silent_mailbox) = Device::allocate(addr).await;
    let (mut squatter, _) = Device::claim(addr, silent_nameplate, B).await;
    squatter.expect_ended(EndReason::ClaimTimedOut).await;
    let mut text = Device::connect(addr).await;
    futures_util::SinkExt::send(&mut text.socket, "SECRET-PAYLOAD-SECRET".into()).await.unwrap();
    text.expect_refusal(ErrorCode::Malformed).await;
    Device::claim(addr, silent_nameplate, C).await;
    let crowded = Device::ask(addr, ClientFrame::Claim { nameplate: silent_nameplate, token: A }).await.1;
    assert!(matches!(crowded, RelayFrame::Joined(_)), "A has the first slot here: {crowded:?}");
    silent.recv().await;
    let mut secrets = vec!["127.0.0.1".to_owned(), "SECRET".to_owned(), hex(payload)];
    for bytes in [A.0, B.0, C.0, mailbox.0, silent_mailbox.0] {
        secrets.extend([hex(&bytes), list(&bytes), String::from_utf8_lossy(&bytes).into_owned()]);
    }
    secrets.push(list(payload));
    for nameplate in [nameplate, silent_nameplate] {
        secrets.extend([format!("={}", nameplate.number()), format!("({})", nameplate.number()), symbols(nameplate)]);
    }
    secrets
}

/// The whole log of a relay that is told to end, and then once more, while a mailbox is open at `addr`.
async fn log_of(process: &mut Process, addr: SocketAddr) -> String {
    let (_open, ..) = Device::allocate(addr).await;
    process.signal("TERM");
    until_draining(addr).await;
    process.signal("TERM");
    process.exit().await;
    process.rest().1
}

fn expect_none(secrets: &[String], log: &str) {
    for secret in secrets {
        assert!(!log.contains(secret), "{secret} is in the log:\n{log}");
    }
}

/// Returns once the relay refuses new mailboxes.
async fn until_draining(addr: SocketAddr) {
    loop {
        let (mut device, answer) = Device::ask(addr, ClientFrame::Allocate { token: A }).await;
        match answer {
            RelayFrame::Error { code: ErrorCode::Draining, .. } => return,
            _ => device.close(CloseReason::Cancelled).await,
        }
        device.expect_end().await;
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The beginning of what `Debug` prints for bytes.
fn list(bytes: &[u8]) -> String {
    format!("[{}, {}, {},", bytes[0], bytes[1], bytes[2])
}

/// The nameplate as a person sees it.
fn symbols(nameplate: Nameplate) -> String {
    let alphabet = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    let symbol = |shift: u32| char::from(alphabet[(nameplate.number() >> shift) as usize & 31]);
    [15, 10, 5, 0].map(symbol).iter().collect()
}
