//! A relay that is not there, not a relay, restarts, stops, or ends the mailbox: each outcome is told apart.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use handfast::{Decisions, Error, Event, Failure, Profile};
use handfast_relay::{Config, RelayHandle};
use handfast_tests::e2e::devices::{
    Case, Home, Reaction, Shown, Side, Table, Watched, pair, relay, start_new, start_trusted, url, watch,
};
use handfast_tests::e2e::proxy::{Action, Direction, Plan, Proxy};
use handfast_tests::e2e::soon;
use handfast_tests::e2e::tls::TlsProxy;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

#[tokio::test(flavor = "multi_thread")]
async fn no_relay_at_the_address_is_said_at_once() {
    let home = Home::new();
    let nowhere = format!("ws://{}", nobody().await);
    for run in [
        start_trusted(Case::Code, &home, &nowhere, None),
        start_new(Case::QrNew, &home, &nowhere, None),
    ] {
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
    let run = start_trusted(Case::Code, &Home::new(), &format!("ws://{address}"), None);
    let error = soon("the end", run.finish()).await.unwrap_err();
    assert!(matches!(error, Error::NotARelay { .. }), "{error:?}");
    server.abort();
}

/// As behind a load balancer whose relays are all down: every connection opens and is closed at once.
#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_drops_every_connection_is_given_up() {
    let relay = relay(Config::default()).await;
    let proxy = Proxy::start(relay.addr(), None).await;
    let cut = proxy.cutter();
    let run = start_trusted(Case::Code, &Home::new(), &proxy.url(), None);
    let cutting = Side::with(&proxy.url(), move |event: &Event, _: &Decisions| {
        if matches!(event, Event::Connected) {
            cut();
        }
        Reaction::None
    });
    let watched = soon("the end", watch(run, Table::new(), cutting.react)).await;
    assert!(matches!(watched.outcome, Err(Error::RelayUnreachable { .. })), "{:?}", watched.outcome);
    assert!(proxy.connections() <= 20, "{} connections", proxy.connections());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_nobody_known_is_refused() {
    let relay = relay(Config::default()).await;
    let folder = tempfile::tempdir().unwrap();
    let tls = TlsProxy::start(relay.addr(), &folder.path().join("authority.pem")).await;
    let run = start_trusted(Case::Code, &Home::new(), &tls.url(), None);
    let error = soon("the end", run.finish()).await.unwrap_err();
    assert!(matches!(error, Error::Tls { .. }), "{error:?}");
    // Plain text to a TLS port.
    let run = start_trusted(Case::Code, &Home::new(), &tls.url().replace("wss", "ws"), None);
    let error = soon("the end", run.finish()).await.unwrap_err();
    assert!(matches!(error, Error::NotARelay { .. } | Error::RelayUnreachable { .. }), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_restarts_ends_the_run_for_both() {
    for (device, stage, expected) in [
        (Trusted, "AskApproval", ("RelayForgot", "RelayForgot")),
        (New, "Account", ("RelayForgot", "RelayForgot")),
    ] {
        let (old, new) = (relay(Config::default()).await, relay(Config::default()).await);
        let (home, watched) = disturbed(&old, device, stage, Some(new.addr())).await;
        assert_eq!(ended(&watched), expected, "{device:?} at {stage}");
        home.assert_not_joined();
        assert!(home.listed().is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_lost_between_grant_and_receipt_leaves_the_outcome_unknown() {
    // The receipt never gets through, and the relay that the devices come back to knows nothing of them.
    let (old, fresh) = (relay(Config::default()).await, relay(Config::default()).await);
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
    // The grant waits at the relay until the new device is back; by then the trusted one has lost the relay.
    let new = Proxy::start(old.addr(), None).await;
    let sides = (Side::with(&trusted.url(), react), Side::honest(&new.url()));
    let (trusted, new) = pair(Case::Code, &home, sides.0, sides.1).await;
    let stored = new.ended() == "joined";
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
    let waiting = Side::with(&url(&relay), |event: &Event, decisions: &Decisions| {
        if matches!(event, Event::OfferOver { .. }) {
            decisions.cancel();
        }
        Reaction::None
    });
    let (trusted, new) = pair(Case::Code, &home, waiting, Side::honest(&url(&relay))).await;
    assert!(trusted.log.contains("OfferOver { failure: Expired, next_in: 0ns }"), "{}", trusted.log);
    assert_eq!(new.ended(), "Expired");
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
    let disturb = move |event: &Event, _: &Decisions| {
        if handfast_tests::e2e::devices::word(event) == stage {
            for proxy in &proxies {
                proxy.redirect(then.unwrap());
                proxy.cut();
            }
        }
        // Nobody approves: what counts is what the devices make of the relay.
        if matches!(event, Event::AskApproval(_)) { Reaction::None } else { Reaction::Honest }
    };
    let calm = |event: &Event, _: &Decisions| {
        if matches!(event, Event::AskApproval(_)) { Reaction::None } else { Reaction::Honest }
    };
    let watched = match device {
        Trusted => pair(Case::Code, &home, Side::with(&trusted.url(), disturb), Side::with(&new.url(), calm)).await,
        New => pair(Case::Code, &home, Side::with(&trusted.url(), calm), Side::with(&new.url(), disturb)).await,
    };
    (home, watched)
}

fn ended(watched: &(Watched, Watched)) -> (&'static str, &'static str) {
    let name = |watched: &Watched| -> &'static str { watched.ended().leak() };
    (name(&watched.0), name(&watched.1))
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

/// An address at which nothing listens.
async fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

/// Frames after the channel are sealed: a relay that changes one is found out, and nothing is stored.
#[tokio::test(flavor = "multi_thread")]
async fn a_frame_that_is_lost_for_good_stores_nothing() {
    let relay = relay(short_lived()).await;
    let home = Home::new();
    // The trusted device never hears of the accept.
    let plan = Plan { direction: Direction::ToDevice, frame: 2, action: Action::Freeze(Duration::from_secs(3600)) };
    let frozen = Proxy::start(relay.addr(), Some(plan)).await;
    let giving_up = Side::with(&frozen.url(), |event: &Event, decisions: &Decisions| {
        if matches!(event, Event::OfferOver { .. }) {
            decisions.cancel();
        }
        Reaction::None
    });
    let (_, new) = pair(Case::Code, &home, giving_up, Side::honest(&url(&relay))).await;
    assert_eq!(new.ended(), "Expired");
    home.assert_not_joined();
}
