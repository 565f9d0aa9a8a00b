//! A relay that is not there, not a relay, restarts, stops, or ends the mailbox: each outcome is told apart.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use handfast::{Decisions, Error, Event, Failure, Profile};
use handfast_relay::{Config, RelayHandle};
use handfast_tests::e2e::devices::{
    Case, Home, Reaction, Shown, Side, Table, Watched, next_code, pair, relay, start_new, start_trusted, url, watch,
};
use handfast_tests::e2e::proxy::{Action, Direction, Plan, Proxy};
use handfast_tests::e2e::soon;
use handfast_tests::e2e::tls::TlsProxy;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

#[tokio::test(flavor = "multi_thread")]
async fn no_relay_at_the_address_is_said_at_once() {
    let home = Home::new();
    let nowhere = format!("ws://{}", nobody().await);
    for run in [start_trusted(Case::Code, &home, &nowhere, None), start_new(Case::QrNew, &home, &nowhere, None)] {
        let error = soon("the end", run.finish()).await.unwrap_err();
        assert!(matches!(error, Error::RelayUnreachable { .. }), "{error:?}");
        assert!(error.to_string().contains(&nowhere), "{error}");
    }
    home.assert_not_joined();
}

#[tokio::test(flavor = "multi_thread")]
async fn something_else_at_the_address_is_no_relay() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 1024];
            let _ = stream.read(&mut request).await;
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi").await;
        }
    });
    let home = Home::new();
    let run = start_trusted(Case::Code, &home, &format!("ws://{address}"), None);
    let error = soon("the end", run.finish()).await.unwrap_err();
    assert!(matches!(error, Error::NotARelay { .. }), "{error:?}");
    server.abort();
}

/// A load balancer answers, but its relays are away.
#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_is_not_available_at_the_moment_is_told_from_something_else() {
    for status in ["502 Bad Gateway", "503 Service Unavailable", "504 Gateway Timeout"] {
        let (address, server) = balancer_without_relays(status).await;
        let home = Home::new();
        let run = start_trusted(Case::Code, &home, &format!("ws://{address}"), None);
        let error = soon("the end", run.finish()).await.unwrap_err();
        assert!(matches!(error, Error::RelayUnreachable { .. }), "{error:?}");
        assert!(error.to_string().contains("the relay is not available at the moment"), "{error}");
        server.abort();
    }
}

/// The same while a run is under way: it waits for the relay.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_waits_for_a_relay_that_is_not_available_at_the_moment() {
    let relay = relay(Config::default()).await;
    let (balancer, cut, server) = balancer_that_loses_its_relay_once(relay.addr()).await;
    let home = Home::new();
    let whys: Arc<Mutex<Vec<String>>> = Arc::default();
    let heard = Arc::clone(&whys);
    let react = move |event: &Event, decisions: &Decisions| {
        match event {
            Event::AskApproval(_) => cut.notify_one(),
            Event::Reconnecting { why, .. } => {
                heard.lock().unwrap().push(why.clone());
                decisions.approve();
            }
            _ => return Reaction::Honest,
        }
        Reaction::None
    };
    let sides = (Side::with(&format!("ws://{balancer}"), react), Side::honest(&url(&relay)));
    let (trusted, new) = pair(Case::Code, &home, sides.0, sides.1).await;
    assert_eq!((trusted.ended().as_str(), new.ended().as_str()), ("enrolled", "joined"), "{:?}", trusted.events);
    assert_eq!(*whys.lock().unwrap(), ["the relay is not available at the moment"]);
    server.abort();
}

/// As behind a load balancer whose relays are all down: every connection opens and is closed at once.
#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_drops_every_connection_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let opened = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&opened);
    let server = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            count.fetch_add(1, Ordering::Relaxed);
            drop(tokio_tungstenite::accept_async(stream).await);
        }
    });
    let home = Home::new();
    let run = start_trusted(Case::Code, &home, &format!("ws://{address}"), None);
    let watched = soon("the end", watch(run, Table::new(), |_, _| Reaction::None)).await;
    let error = watched.outcome.unwrap_err();
    assert!(matches!(error, Error::RelayUnreachable { .. }), "{error:?}");
    let opened = opened.load(Ordering::Relaxed);
    assert!((2..=10).contains(&opened), "{opened} connections");
    server.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_nobody_known_is_refused() {
    let relay = relay(Config::default()).await;
    let folder = tempfile::tempdir().unwrap();
    let tls = TlsProxy::start(relay.addr(), &folder.path().join("authority.pem")).await;
    let home = Home::new();
    let run = start_trusted(Case::Code, &home, &tls.url(), None);
    let error = soon("the end", run.finish()).await.unwrap_err();
    assert!(matches!(error, Error::Tls { .. }), "{error:?}");
    // Plain text to a TLS port.
    let run = start_trusted(Case::Code, &home, &tls.url().replace("wss", "ws"), None);
    let error = soon("the end", run.finish()).await.unwrap_err();
    assert!(matches!(error, Error::NotARelay { .. } | Error::RelayUnreachable { .. }), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_restarts_ends_the_run_for_both() {
    for (device, stage) in [(Trusted, "AskApproval"), (New, "Account")] {
        let (old, new) = (relay(Config::default()).await, relay(Config::default()).await);
        let (home, watched) = disturbed(&old, device, stage, Some(new.addr())).await;
        assert!(watched.0.log.contains("OfferOver { failure: RelayForgot"), "{device:?}: {}", watched.0.log);
        assert_eq!(watched.1.ended(), "RelayForgot", "{device:?} at {stage}");
        home.assert_not_joined();
        assert!(home.listed().is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_lost_between_grant_and_receipt_leaves_the_outcome_unknown() {
    // The trusted device comes back to a relay that knows nothing of it. The new device stays, and may have the grant.
    let (old, fresh) = (relay(short_lived()).await, relay(Config::default()).await);
    let home = Home::new();
    let trusted = Proxy::start(old.addr(), None).await;
    let (cut, redirect) = (trusted.cutter(), trusted.redirector());
    let address = fresh.addr();
    let react = move |event: &Event, _: &Decisions| {
        if matches!(event, Event::GrantSent) {
            redirect(address);
            cut();
        }
        Reaction::Honest
    };
    let sides = (Side::with(&trusted.url(), react), Side::honest(&url(&old)));
    let (trusted, new) = pair(Case::Code, &home, sides.0, sides.1).await;
    let stored = new.ended() == "joined";
    assert!(stored || new.ended() == "Expired", "{}", new.ended());
    assert!(["Unknown(RelayForgot)", "enrolled"].contains(&trusted.ended().as_str()), "{}", trusted.ended());
    assert!(stored || !home.listed().contains(&true));
    if let Err(error) = trusted.outcome {
        let said = error.to_string();
        let fingerprint = Profile::open(&home.trusted()).unwrap().devices()[0].device.identity.fingerprint();
        assert!(said.contains("adas-laptop") && said.contains(&fingerprint) && said.contains("change"), "{said}");
        assert_eq!(home.listed(), [false], "the device that may hold the bundle is listed as unconfirmed");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_shuts_down_says_so_to_both() {
    let config = Config { drain_time: Duration::ZERO, ..Config::default() };
    let relay = relay(config).await;
    let home = Home::new();
    let mut inviting = start_trusted(Case::Code, &home, &url(&relay), None);
    let code = loop {
        if let Some(Event::ShowCode { code, .. }) = soon("a code", inviting.next()).await {
            break code.reveal().to_string();
        }
    };
    let joining = start_new(Case::Code, &home, &url(&relay), Some(Shown::Code(code)));
    while !matches!(soon("the question", inviting.next()).await, Some(Event::AskApproval(_))) {}
    relay.shutdown().await;
    let ended = (inviting.finish().await.unwrap_err(), joining.finish().await.unwrap_err());
    for error in [ended.0, ended.1] {
        assert!(matches!(error, Error::Failed(Failure::RelayShutDown)), "{error:?}");
    }
    home.assert_not_joined();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_gone_for_good_is_waited_for_as_long_as_its_mailbox_would_have_lived() {
    let relay = relay(short_lived()).await;
    let (home, watched) = disturbed(&relay, Trusted, "AskApproval", Some(nobody().await)).await;
    for watched in [watched.0, watched.1] {
        assert!(watched.saw("Reconnecting"), "{:?}", watched.events);
        let error = watched.outcome.unwrap_err();
        assert!(matches!(error, Error::RelayUnreachable { .. }), "{error:?}");
    }
    home.assert_not_joined();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mailbox_that_ends_is_told_to_both_and_an_invitation_renewed() {
    let relay = relay(short_lived()).await;
    let home = Home::new();
    // Nobody decides. The trusted device offers a new code, which is when the test stops it.
    let (trusted, new) = pair(Case::Code, &home, Side::with(&url(&relay), undecided), Side::honest(&url(&relay))).await;
    // Whose clock is behind by a moment hears of the end from the other's Close: to it the peer was lost.
    let ends = ["Expired", "PeerLost"];
    let renewed = ends.map(|end| trusted.log.contains(&format!("OfferOver {{ failure: {end}, next_in: 0ns }}")));
    assert!(renewed.contains(&true), "{}", trusted.log);
    let ended = new.ended();
    assert!(ends.contains(&ended.as_str()), "{ended}");
    assert!(renewed[0] || ended == "Expired", "one of them was first");
    home.assert_not_joined();
    assert_eq!(Profile::open(&home.trusted()).unwrap().burn_wait(std::time::SystemTime::now()), Duration::ZERO);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_without_room_says_which_limit() {
    let config = Config { max_mailboxes: 1, ..Config::default() };
    let relay = relay(config).await;
    let (one, two) = (Home::new(), Home::new());
    let mut first = start_trusted(Case::Code, &one, &url(&relay), None);
    while !matches!(soon("a code", first.next()).await, Some(Event::ShowCode { .. })) {}
    let error = soon("the refusal", start_trusted(Case::Code, &two, &url(&relay), None).finish()).await.unwrap_err();
    assert!(matches!(&error, Error::Failed(Failure::RelayRefused { .. })), "{error:?}");
    assert!(error.to_string().contains("too many mailboxes"), "{error}");
    first.cancel();
    assert!(first.finish().await.is_err());
}

/// The connection is gone when the person decides, and comes back a moment later.
#[tokio::test(flavor = "multi_thread")]
async fn a_decision_made_without_a_connection_is_told_once_there_is_one() {
    let relay = relay(Config::default()).await;
    for (decide, told) in [(Decisions::refuse as fn(&Decisions), "Refused"), (Decisions::cancel, "PeerCancelled")] {
        let home = Home::new();
        let proxy = Proxy::start(relay.addr(), None).await;
        let (cut, redirect) = (proxy.cutter(), proxy.redirector());
        let (nobody, address) = (nobody().await, relay.addr());
        let react = move |event: &Event, decisions: &Decisions| {
            match event {
                Event::AskApproval(_) => {
                    redirect(nobody);
                    cut();
                }
                Event::Reconnecting { .. } => {
                    decide(decisions);
                    redirect(address);
                }
                _ => return Reaction::Honest,
            }
            Reaction::None
        };
        let sides = (Side::with(&proxy.url(), react), Side::honest(&url(&relay)));
        let (trusted, new) = pair(Case::Code, &home, sides.0, sides.1).await;
        assert_eq!(new.ended(), told, "{:?}", trusted.events);
        assert!(["RefusedHere", "Cancelled"].contains(&trusted.ended().as_str()), "{}", trusted.ended());
    }
}

/// It still tries to tell the other device, and no more often than it would have with a program behind it.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_was_let_go_without_a_connection_ends_in_peace() {
    let relay = relay(Config::default()).await;
    let home = Home::new();
    let proxy = Proxy::start(relay.addr(), None).await;
    let mut inviting = start_trusted(Case::Code, &home, &proxy.url(), None);
    let code = next_code(&mut inviting).await;
    let joining = start_new(Case::Code, &home, &url(&relay), Some(Shown::Code(code)));
    while !matches!(soon("the question", inviting.next()).await, Some(Event::AskApproval(_))) {}
    proxy.redirect(nobody().await);
    proxy.cut();
    while !matches!(soon("the loss", inviting.next()).await, Some(Event::Reconnecting { .. })) {}
    drop(inviting);
    tokio::time::sleep(Duration::from_millis(2500)).await;
    let connections = proxy.connections();
    assert!((3..=12).contains(&connections), "{connections} connections");
    proxy.redirect(relay.addr());
    joining.cancel();
    assert!(soon("the end", joining.finish()).await.is_err());
}

/// The relay does not come back, and the person gives up while the run still hopes for it.
#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_while_a_farewell_waits_for_a_connection_is_the_end() {
    let relay = relay(Config::default()).await;
    let home = Home::new();
    let proxy = Proxy::start(relay.addr(), None).await;
    let (cut, redirect) = (proxy.cutter(), proxy.redirector());
    let (nobody, address) = (nobody().await, relay.addr());
    let (mut shown, mut cancelled) = (0, false);
    let react = move |event: &Event, decisions: &Decisions| {
        match event {
            Event::ShowQr { .. } => {
                shown += 1;
                if shown == 2 {
                    decisions.cancel();
                }
            }
            Event::AskCheckCode => {
                redirect(nobody);
                cut();
            }
            Event::Reconnecting { .. } if !cancelled => {
                cancelled = true;
                // One in a million is right.
                decisions.enter_check_code("000000".parse().unwrap());
                decisions.cancel();
            }
            // A new offer would find the relay again.
            Event::OfferOver { .. } => redirect(address),
            _ => return Reaction::Honest,
        }
        Reaction::None
    };
    let new = Side::with(&url(&relay), |event: &Event, decisions: &Decisions| {
        if matches!(event, Event::PeerAway { .. }) {
            let decisions = decisions.clone();
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_secs(4)).await;
                decisions.cancel();
            });
        }
        Reaction::None
    });
    let (trusted, _) = pair(Case::QrTrusted, &home, Side::with(&proxy.url(), react), new).await;
    assert_eq!(trusted.ended(), "Cancelled", "{:?}", trusted.events);
    assert!(trusted.log.contains("OfferOver { failure: WrongCheckCode"), "{}", trusted.log);
    assert_eq!(trusted.events.iter().filter(|event| *event == "ShowQr").count(), 1, "{:?}", trusted.events);
}

#[derive(Clone, Copy, Debug)]
enum Device {
    Trusted,
    New,
}
use Device::{New, Trusted};

/// A run in `code` mode. At an event of one device, both lose their connection and find another relay, or none.
async fn disturbed(
    relay: &RelayHandle,
    device: Device,
    stage: &'static str,
    then: Option<SocketAddr>,
) -> (Home, (Watched, Watched)) {
    let home = Home::new();
    let trusted = Arc::new(Proxy::start(relay.addr(), None).await);
    let new = Arc::new(Proxy::start(relay.addr(), None).await);
    let proxies = [Arc::clone(&trusted), Arc::clone(&new)];
    let disturb = move |event: &Event, decisions: &Decisions| {
        if handfast_tests::e2e::devices::word(event) == stage {
            for proxy in &proxies {
                proxy.redirect(then.unwrap());
                proxy.cut();
            }
        }
        undecided(event, decisions)
    };
    let calm = undecided;
    let watched = match device {
        Trusted => pair(Case::Code, &home, Side::with(&trusted.url(), disturb), Side::with(&new.url(), calm)).await,
        New => pair(Case::Code, &home, Side::with(&trusted.url(), calm), Side::with(&new.url(), disturb)).await,
    };
    (home, watched)
}

/// Nobody approves: what counts is what the devices make of the relay. The next offer is not waited for.
fn undecided(event: &Event, decisions: &Decisions) -> Reaction {
    match event {
        Event::AskApproval(_) => return Reaction::None,
        Event::OfferOver { .. } => decisions.cancel(),
        _ => {}
    }
    Reaction::Honest
}

fn short_lived() -> Config {
    let time = Duration::from_millis;
    Config {
        mailbox_lifetime: time(1500),
        mailbox_linger: time(1500),
        mailbox_max_lifetime: time(3000),
        ..Config::default()
    }
}

/// What answers every request with this status.
async fn balancer_without_relays(status: &'static str) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let _ = turn_away(stream, status).await;
        }
    });
    (address, server)
}

/// What passes a first connection on until it is told to cut it, turns the second away, and passes on the others.
async fn balancer_that_loses_its_relay_once(relay: SocketAddr) -> (SocketAddr, Arc<Notify>, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let cut = Arc::new(Notify::new());
    let told = Arc::clone(&cut);
    let server = tokio::spawn(async move {
        tokio::select! {
            _ = pass_on(listener.accept().await.unwrap().0, relay) => {}
            () = told.notified() => {}
        }
        turn_away(listener.accept().await.unwrap().0, "503 Service Unavailable").await.unwrap();
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(pass_on(stream, relay));
        }
    });
    (address, cut, server)
}

async fn pass_on(mut stream: TcpStream, to: SocketAddr) -> io::Result<()> {
    copy_bidirectional(&mut stream, &mut TcpStream::connect(to).await?).await.map(drop)
}

async fn turn_away(mut stream: TcpStream, status: &str) -> io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    stream.write_all(answer.as_bytes()).await
}

/// An address at which nothing listens.
async fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frame_that_is_lost_for_good_stores_nothing() {
    let relay = relay(short_lived()).await;
    let home = Home::new();
    // The trusted device never hears of the accept.
    let plan = Plan { direction: Direction::ToDevice, frame: 2, action: Action::Freeze(Duration::from_secs(3600)) };
    let frozen = Proxy::start(relay.addr(), Some(plan)).await;
    let (_, new) = pair(Case::Code, &home, Side::with(&frozen.url(), undecided), Side::honest(&url(&relay))).await;
    assert_eq!(new.ended(), "Expired");
    home.assert_not_joined();
}
