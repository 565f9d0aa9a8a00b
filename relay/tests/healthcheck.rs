//! `handfast-relay healthcheck`, and what a process says to its operator as it ends.

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use common::http::{get, metric};
use common::process::{BINARY, Process, command, output};
use common::{Device, within};
use handfast_wire::CloseReason;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

/// How a health check with these options and variables ends: its exit code and what it says.
fn check(options: &[&str], environment: &[(&str, &str)]) -> (Option<i32>, String) {
    let mut command = command(&["healthcheck"]);
    let (code, out, why) = output(command.args(options).envs(environment.iter().copied()));
    assert_eq!(out, "");
    assert!(why.lines().count() <= 1, "{why}");
    (code, why)
}

#[test]
fn a_relay_that_serves_is_healthy_however_it_is_named() {
    let mut process = Process::start(&["--admin-listen", "0.0.0.0:0"]);
    let port = process.admin().port();
    let healthy = (Some(0), String::new());
    assert_eq!(check(&["--url", &format!("http://127.0.0.1:{port}/healthz")], &[]), healthy);
    assert_eq!(check(&["--url", &format!("http://localhost:{port}/readyz")], &[]), healthy);
    assert_eq!(check(&["--admin-listen", &format!("127.0.0.1:{port}")], &[]), healthy);
    let everywhere = format!("0.0.0.0:{port}");
    assert_eq!(check(&[], &[("HANDFAST_RELAY_ADMIN_LISTEN", &everywhere)]), healthy);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("relay.toml");
    std::fs::write(&path, format!("max-frames = 9\nadmin-listen = '{everywhere}'")).unwrap();
    assert_eq!(check(&[], &[("HANDFAST_RELAY_CONFIG", path.to_str().unwrap())]), healthy);
}

#[test]
fn what_is_not_healthy_is_1_and_one_line_why() {
    let fails = |options: &[&str], reason: &str| {
        let (code, why) = check(options, &[]);
        assert_eq!(code, Some(1), "{why}");
        assert!(why.starts_with("handfast-relay: ") && why.contains(reason), "{why}");
    };
    fails(&[], "no admin address");
    let unused = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    fails(&["--admin-listen", &unused.to_string()], "refused");
    fails(&["--url", "https://127.0.0.1/healthz"], "not an http:// address");
    fails(&["--url", "/healthz"], "not an http:// address");
    let mut process = Process::start(&["--admin-listen", "127.0.0.1:0"]);
    fails(&["--url", &format!("http://{}/nothing", process.admin())], "404");
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let start = Instant::now();
    fails(&["--admin-listen", &silent.local_addr().unwrap().to_string()], "no answer in 3 s");
    assert!(start.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn a_draining_process_is_not_ready_and_lets_a_pair_finish() {
    let mut process = Process::start(&["--admin-listen", "127.0.0.1:0", "--drain-seconds", "60"]);
    let admin = process.admin();
    let ready = format!("http://{admin}/readyz");
    let (mut first, mut second, _) = Device::pair(process.addr).await;
    assert_eq!(check(&["--url", &ready], &[]).0, Some(0));
    process.signal("TERM");
    within(async { while get(admin, "/readyz").await.0 == 200 {} }).await;
    let (code, why) = check(&["--url", &ready], &[]);
    assert_eq!(code, Some(1));
    assert!(why.contains("503"), "{why}");
    assert_eq!(check(&["--admin-listen", &admin.to_string()], &[]).0, Some(0));
    first.close(CloseReason::Done).await;
    second.close(CloseReason::Done).await;
    assert_eq!(process.exit().await.code(), Some(0));
    let (_, log) = process.rest();
    assert!(log.contains("started") && log.contains("draining") && log.contains("stopped"), "{log}");
}

#[tokio::test]
async fn a_lack_of_file_descriptors_is_counted_and_logged_once() {
    let mut shell = Command::new("sh");
    shell.args(["-c", r#"ulimit -n 64; exec "$0" serve --listen 127.0.0.1:0 --admin-listen 127.0.0.1:0"#, BINARY]);
    let mut process = Process::spawn(&mut shell);
    let admin: SocketAddr = process.admin();
    let crowd: Vec<TcpStream> = (0..100).map(|_| TcpStream::connect(process.addr).unwrap()).collect();
    tokio::time::sleep(Duration::from_millis(500)).await;
    drop(crowd);
    assert!(metric(admin, "accept_errors_total").await > 1.0);
    process.signal("KILL");
    process.exit().await;
    assert_eq!(process.rest().1.matches("cannot accept connections").count(), 1);
}
