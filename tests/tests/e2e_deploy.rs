//! What operators get, as it lies in `relay/deploy`: HAProxy's configuration before real relays, the systemd unit, the
//! settings file.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use handfast_tests::e2e::balancer::{Balancer, Behind, deploy_folder};
use handfast_tests::e2e::process::{Device, RelayProcess, binary};
use handfast_tests::e2e::proxy::Proxy;
use handfast_tests::e2e::redis_server::RedisServer;
use handfast_tests::e2e::{http, soon, tls};
use serde_json::Value;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::mpsc;

/// Both devices reach the relay through the balancer, one of them by TLS.
#[tokio::test(flavor = "multi_thread")]
async fn a_pairing_through_the_balancer() {
    let (relay, behind) = relay(&[]).await;
    let home = TempDir::new().unwrap();
    let (authority, pem) = (home.path().join("authority.pem"), home.path().join("balancer.pem"));
    tls::write_certificate(&authority, &pem);
    // One relay with its mailboxes in memory, twice: the two devices meet wherever they are sent.
    let balancer = Balancer::start_with_tls([behind, behind], &pem).await;
    let desktop = Device::new(home.path(), "desktop", &balancer.url());
    let laptop = Device::new(home.path(), "laptop", &balancer.tls_url());
    let laptop = laptop.environment("SSL_CERT_FILE", authority.to_str().unwrap());
    desktop.init().await;
    desktop.set("token", b"through the balancer").await;
    pair(&desktop, &laptop).await;
    assert_eq!(laptop.get("token").await, b"through the balancer");
    drop(relay);
}

/// What a device says about where it comes from does not reach the relay; what the balancer says does.
#[tokio::test(flavor = "multi_thread")]
async fn the_balancer_alone_says_where_a_device_comes_from() {
    let (behind, mut heads) = listener_behind().await;
    let balancer = Balancer::start([behind, behind]).await;
    for from in [Ipv4Addr::LOCALHOST, Ipv4Addr::new(127, 0, 0, 2)] {
        let request = "GET /v1 HTTP/1.1\r\nHost: relay.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
            Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
            X-Forwarded-For: 203.0.113.9\r\nx-forwarded-for: 198.51.100.1, 10.84.74.10\r\nForwarded: for=203.0.113.9\r\n\r\n";
        let answer = http::send_from(from, balancer.address(), request).await.unwrap();
        assert_eq!(answer.status, 404, "the stand-in's answer: {answer:?}");
        let head = soon("a request behind the balancer", heads.recv()).await.unwrap();
        let said: Vec<_> = head.lines().filter(|line| line.to_lowercase().contains("forwarded")).collect();
        assert_eq!(said, [format!("x-forwarded-for: {from}")], "{head}");
        assert!(head.to_lowercase().contains("upgrade: websocket"), "{head}");
    }

    // Whatever else a relay may answer is not for devices.
    for path in ["/metrics", "/readyz", "/", "/v1/", "/v2"] {
        let answer = http::get(balancer.address(), path).await.unwrap();
        assert_eq!((answer.status, answer.body.as_str()), (404, ""), "{path}");
    }
    assert!(heads.try_recv().is_err(), "none of them got through");
}

/// The relay believes the balancer: it tells devices apart by their own addresses, not by the one that they all come from.
#[tokio::test(flavor = "multi_thread")]
async fn the_relay_tells_devices_behind_the_balancer_apart() {
    let (_relay, behind) = relay(&["--trusted-proxy", "127.0.0.1/32"]).await;
    let balancer = Balancer::start([behind, behind]).await;
    let home = TempDir::new().unwrap();
    let from = async |last| Proxy::start_from(Ipv4Addr::new(127, 0, 0, last), balancer.address(), None).await;
    let (here, there) = (from(2).await, from(3).await);
    let desktop = Device::new(home.path(), "desktop", &here.url());
    let laptop = Device::new(home.path(), "laptop", &here.url());
    desktop.init().await;
    desktop.set("token", b"not sent").await;
    for (laptop, network) in [(laptop.clone(), "same"), (laptop.through(&there.url()), "different")] {
        let mut invite = desktop.start(&["invite"]);
        let code = text(&invite.event("show_code").await, "code");
        let join = laptop.start(&["join", &code]);
        assert_eq!(invite.event("ask_approval").await["relay_says_network"], network);
        invite.decide("refuse").await;
        let (invited, joined) = (invite.end().await, join.end().await);
        assert_eq!((invited.code(), joined.code()), (Some(8), Some(8)), "{invited:?} {joined:?}");
    }
}

/// An upgrade as devices do not notice it: the balancer sends nobody new to a relay that drains, and cuts nobody off.
#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_drains_gets_no_new_devices_and_keeps_those_it_has() {
    let [(one, one_behind), (two, two_behind)] = [relay(&["--drain-seconds", "60"]).await, relay(&[]).await];
    let balancer = Balancer::start([one_behind, two_behind]).await;
    let home = TempDir::new().unwrap();
    let desktop = Device::new(home.path(), "desktop", &balancer.url());
    desktop.init().await;
    desktop.set("token", b"kept").await;

    // Requests go round: of two offers in a row, one is at the first relay, which alone can claim it from memory.
    let others = [init(home.path(), "other-1", &balancer).await, init(home.path(), "other-2", &balancer).await];
    let mut at_one = None;
    let mut offers = Vec::new();
    for device in &others {
        let mut invite = device.start(&["invite"]);
        let code = text(&invite.event("show_code").await, "code");
        offers.push((invite, code));
    }
    let laptop = Device::new(home.path(), "laptop", &one.url());
    for (mut invite, code) in offers {
        let mut join = laptop.start(&["join", &code]);
        if join.first_event(&["account", "failed"]).await.unwrap()["event"] == "account" {
            invite.event("ask_approval").await;
            at_one = Some((invite, join));
        } else {
            invite.interrupt();
            invite.end().await;
        }
    }
    let (mut invite, join) = at_one.expect("one of two offers is at the first relay");

    one.terminate();
    http::answers(one_behind.admin, "/readyz", 503).await;
    // The balancer asks every second and believes the second answer.
    tokio::time::sleep(Duration::from_secs(3)).await;
    for round in 0..4 {
        let mut later = desktop.start(&["invite"]);
        later.event("show_code").await;
        later.interrupt();
        let events = later.end().await.events();
        assert!(!events.iter().any(|event| event["event"] == "reconnecting"), "{round}: {events:?}");
    }
    invite.decide("approve").await;
    let (invited, joined) = (invite.end().await, join.end().await);
    assert_eq!((invited.code(), joined.code()), (Some(0), Some(0)), "{invited:?} {joined:?}");
    let events = invited.events();
    assert!(!events.iter().any(|event| event["event"] == "reconnecting"), "the connection stayed: {events:?}");

    // Without any relay, the balancer says so itself.
    drop(two);
    http::answers(balancer.address(), "/healthz", 503).await;
}

/// Both relays are there without their store: what they have to say about it reaches a device.
#[tokio::test(flavor = "multi_thread")]
async fn without_the_store_a_device_hears_so_from_a_relay() {
    let mut store = RedisServer::start();
    let url = store.url();
    let flags = ["--store", &url, "--node-timeout", "1", "--trusted-proxy", "127.0.0.1/32"];
    let [(_one, one_behind), (_two, two_behind)] = [relay(&flags).await, relay(&flags).await];
    let balancer = Balancer::start([one_behind, two_behind]).await;
    let home = TempDir::new().unwrap();
    let desktop = init(home.path(), "desktop", &balancer).await;
    store.kill();
    http::answers(one_behind.admin, "/readyz", 503).await;
    http::answers(two_behind.admin, "/readyz", 503).await;
    http::answers(balancer.address(), "/healthz", 503).await;
    let ended = desktop.run(&["invite"]).await;
    let message = ended.assert_failed(13, "relay_refused");
    assert_eq!(ended.last()["limit"], "store", "{ended:?}");
    assert!(message.contains("Try again in "), "{message}");

    store.start_again();
    http::answers(balancer.address(), "/healthz", 200).await;
    pair(&desktop, &Device::new(home.path(), "laptop", &balancer.url())).await;
}

/// Connections that say nothing hold places, and one source has only so many of them, and not for long.
#[tokio::test(flavor = "multi_thread")]
async fn one_source_does_not_lock_the_others_out() {
    const OPEN: usize = 20;
    let (_relay, behind) = relay(&["--trusted-proxy", "127.0.0.1/32"]).await;
    let settings = [("SOURCE_OPEN", "20"), ("SOURCE_A_MINUTE", "50")];
    let balancer = Balancer::start_with_settings([behind, behind], &settings).await;
    let (hostile, honest) = (Ipv4Addr::new(127, 0, 0, 2), Ipv4Addr::new(127, 0, 0, 3));
    let start = Instant::now();
    let mut silent = Vec::new();
    for _ in 0..OPEN + 5 {
        let connecting = connect_from(hostile, balancer.address());
        silent.push(tokio::spawn(async move {
            // Word of the timeout, or nothing but a reset.
            let listening = async { connecting.await?.read_u8().await };
            let is_told = soon("the end of silence", listening).await.is_ok();
            (is_told, start.elapsed())
        }));
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(ask_from(honest, &balancer).await, Some(404), "others are served");
    let (mut held, mut refused) = (Vec::new(), 0);
    for silence in silent {
        match silence.await.unwrap() {
            (true, lasted) => held.push(lasted),
            (false, lasted) => {
                assert!(lasted < Duration::from_secs(2), "{lasted:?}");
                refused += 1;
            }
        }
    }
    assert_eq!((held.len(), refused), (OPEN, 5));
    // Their places come back without their doing.
    let enough = Duration::from_secs(2)..Duration::from_secs(8);
    assert!(held.iter().all(|lasted| enough.contains(lasted)), "{held:?}");
    assert_eq!(ask_from(hostile, &balancer).await, Some(404), "it may come again");
    let mut answered = 0;
    for _ in 0..50 {
        answered += usize::from(ask_from(hostile, &balancer).await == Some(404));
    }
    assert!((1..50 - OPEN).contains(&answered), "{answered} of 50 more in the same minute");
    assert_eq!(ask_from(honest, &balancer).await, Some(404));
}

/// systemd understands the unit, with and without native TLS, and what it leaves open is what it was.
#[test]
fn the_unit_is_understood_and_closed() {
    let folder = TempDir::new().unwrap();
    let relay = binary("handfast-relay");
    let unit = std::fs::read_to_string(deploy_folder().join("handfast-relay.service")).unwrap();
    let installed = unit.replace("/usr/local/bin/handfast-relay", relay.to_str().unwrap());
    assert_ne!(installed, unit);
    let path = folder.path().join("handfast-relay.service");
    std::fs::write(&path, installed).unwrap();
    analyze(&["verify", "--man=no"], &path);
    analyze(&["security", "--offline=true", "--threshold=12", "--no-pager"], &path);

    let settings = folder.path().join("handfast-relay.service.d");
    std::fs::create_dir(&settings).unwrap();
    std::fs::copy(deploy_folder().join("handfast-relay.service.d/tls.conf"), settings.join("tls.conf")).unwrap();
    analyze(&["verify", "--man=no"], &path);
    analyze(&["security", "--offline=true", "--threshold=16", "--no-pager"], &path);
}

/// The relay understands the settings file, and what waits for its drain waits longer than the drain.
#[test]
fn the_settings_are_understood_and_every_stop_outlasts_the_drain() {
    let settings = Command::new(binary("handfast-relay"))
        .env_clear()
        .args(["serve", "--print-config", "--config"])
        .arg(deploy_folder().join("handfast-relay.toml"))
        .output()
        .unwrap();
    assert!(settings.status.success(), "{settings:?}");
    let settings = String::from_utf8(settings.stdout).unwrap();
    let read = |name: &str| std::fs::read_to_string(deploy_folder().join(name)).unwrap();
    let (unit, compose) = (read("handfast-relay.service"), read("compose.yaml"));
    let drain = number(&settings, "drain-seconds = ");
    assert_eq!(drain, number(&read("handfast-relay.toml"), "drain-seconds = "));
    assert!(number(&unit, "TimeoutStopSec=") >= drain + 5);
    let drain = number(&compose, "HANDFAST_RELAY_DRAIN_SECONDS: \"");
    for grace in compose.split("stop_grace_period: ").skip(1) {
        assert!(number(grace, "") >= drain + 5, "{grace}");
    }
    let connections = number(&settings, "max-connections = ");
    for files in [number(&unit, "LimitNOFILE="), number(&compose, "nofile: {soft: ")] {
        assert!(files >= connections + 128, "descriptors for all of them: {files}");
    }

    // Memory for hostile connections up to the limit and, without a store, for all frames that may be stored.
    let guide = read("README.md");
    let hostile = |what: &str| number(&guide, what) * connections / 1024;
    let (plain, tls) = (hostile("a hostile connection takes up to "), hostile("with native TLS up to "));
    let stored = number(&settings, "max-queued-bytes = ") >> 20;
    assert!(number(&unit, "MemoryMax=") > tls + stored + stored / 4, "{tls} MiB and {stored} MiB");
    assert!(number(&compose, "mem_limit: ") > plain + plain / 10, "{plain} MiB");
    assert!(number(&guide, "--memory ") > plain + stored + stored / 4, "{plain} MiB and {stored} MiB");

    // The balancer cuts off in silence what two relays together would refuse with a reason.
    let balancer = read("haproxy.cfg");
    let rate = settings.split("source-connections = \"").nth(1).unwrap();
    let (burst, per_minute) = (number(rate, ""), number(rate.split_once(':').unwrap().1, ""));
    assert!(number(&balancer, "${SOURCE_A_MINUTE-") > 2 * (burst + per_minute));
    assert!(number(&balancer, "${SOURCE_OPEN-") > 2 * number(&settings, "max-source-connections = "));
}

async fn connect_from(from: Ipv4Addr, to: SocketAddr) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((from, 0).into())?;
    socket.connect(to).await
}

/// Asks the balancer for a page that it does not have. `None`: it cut the connection off.
async fn ask_from(from: Ipv4Addr, balancer: &Balancer) -> Option<u16> {
    let request = "GET /none HTTP/1.1\r\nHost: relay.example\r\n\r\n";
    http::send_from(from, balancer.address(), request).await.ok().map(|answer| answer.status)
}

async fn relay(flags: &[&str]) -> (RelayProcess, Behind) {
    let mut relay = RelayProcess::start(&[&["--admin-listen", "127.0.0.1:0"], flags].concat()).await;
    let behind = Behind { relay: relay.address(), admin: relay.admin().await };
    (relay, behind)
}

/// Stands in for a relay to see what reaches it: it is ready, and refuses every other request.
async fn listener_behind() -> (Behind, mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, heads) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream, sender.clone()));
        }
    });
    (Behind { relay: address, admin: address }, heads)
}

async fn answer(mut stream: TcpStream, heads: mpsc::UnboundedSender<String>) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8(head).unwrap();
    let status = if head.starts_with("GET /readyz ") {
        "200 OK"
    } else {
        heads.send(head).unwrap();
        "404 Not Found"
    };
    stream.write_all(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").as_bytes()).await
}

async fn init(home: &Path, name: &str, balancer: &Balancer) -> Device {
    let device = Device::new(home, name, &balancer.url());
    device.init().await;
    device.set("token", b"kept").await;
    device
}

async fn pair(trusted: &Device, new: &Device) {
    let mut invite = trusted.start(&["invite"]);
    let code = text(&invite.event("show_code").await, "code");
    let join = new.start(&["join", &code]);
    invite.event("ask_approval").await;
    invite.decide("approve").await;
    let (invited, joined) = (invite.end().await, join.end().await);
    assert_eq!((invited.code(), joined.code()), (Some(0), Some(0)), "{invited:?} {joined:?}");
}

fn text(event: &Value, field: &str) -> String {
    event[field].as_str().unwrap().to_owned()
}

fn analyze(arguments: &[&str], unit: &Path) {
    let ended = Command::new("systemd-analyze").args(arguments).arg(unit).output().unwrap_or_else(|error| {
        panic!("cannot run systemd-analyze ({error}): run tests/run, or install the package systemd first")
    });
    let output = String::from_utf8_lossy(&[ended.stdout, ended.stderr].concat()).into_owned();
    assert!(ended.status.success(), "{arguments:?}: {output}");
    assert!(!output.contains("nknown"), "{output}");
}

/// The number behind the first of these words.
fn number(text: &str, before: &str) -> u64 {
    let at = text.find(before).unwrap_or_else(|| panic!("no {before:?} in {text}")) + before.len();
    let digits: String = text[at..].chars().take_while(char::is_ascii_digit).collect();
    digits.parse().unwrap()
}
