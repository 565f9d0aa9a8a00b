//! A connection that breaks after any frame, in either direction, at either device: the run goes on.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use handfast::{Decisions, Event};
use handfast_relay::Config;
use handfast_tests::e2e::devices::{CASES, Case, Home, Reaction, Side, pair, relay, word};
use handfast_tests::e2e::proxy::{Action, DIRECTIONS, Direction, Plan, Proxy};
use handfast_tests::e2e::{report, side_by_side};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// How long a frozen connection stays frozen.
const FROZEN: Duration = Duration::from_millis(100);

#[derive(Clone, Copy, Debug)]
enum Break {
    Cut,
    Lose,
    Freeze,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Device {
    Trusted,
    New,
}

#[derive(Clone, Copy, Debug)]
struct Broken {
    case: Case,
    device: Device,
    direction: Direction,
    frame: usize,
    how: Break,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_connection_after_any_frame_costs_nothing() {
    let relay = relay(Config::for_one_source()).await;
    let address = relay.addr();
    let mut places = Vec::new();
    for case in CASES {
        places.extend(frames_of(case, address).await);
    }
    let breaks = |(case, device, direction, frames): (Case, Device, Direction, usize)| {
        (1..=frames).flat_map(move |frame| {
            [Break::Cut, Break::Lose, Break::Freeze].map(|how| Broken { case, device, direction, frame, how })
        })
    };
    let broken: Vec<Broken> = places.into_iter().flat_map(breaks).collect();
    assert!(broken.len() > 200, "the runs have become suspiciously short: {}", broken.len());
    let rows = side_by_side(16, broken, move |broken| run(broken, address)).await;
    let header = ["case", "k", "direction", "device", "action", "happened", "took", "trusted device", "new device"];
    report("e2e-resume-table.md", &header, &rows);
    relay.shutdown().await;
}

/// How many frames each device sends and receives in an undisturbed run.
async fn frames_of(case: Case, relay: SocketAddr) -> Vec<(Case, Device, Direction, usize)> {
    let home = home(case, relay).await;
    let (trusted, new) = (Proxy::start(relay, None).await, Proxy::start(relay, None).await);
    pair(case, &home, Side::honest(&trusted.url()), Side::honest(&new.url())).await;
    let frames = |device, proxy: &Proxy| DIRECTIONS.map(|direction| (case, device, direction, proxy.frames(direction)));
    [frames(Device::Trusted, &trusted), frames(Device::New, &new)].concat()
}

async fn run(broken: Broken, relay: SocketAddr) -> Vec<String> {
    let Broken { case, device, direction, frame, how } = broken;
    let home = home(case, relay).await;
    let action = match how {
        Break::Cut => Action::Cut,
        Break::Lose => Action::Lose,
        Break::Freeze => Action::Freeze(FROZEN),
    };
    let plan = Some(Plan { direction, frame, action });
    let proxy = Proxy::start(relay, plan).await;
    let direct = format!("ws://{relay}");
    let (trusted, new) = match device {
        Device::Trusted => (proxy.url(), direct),
        Device::New => (direct, proxy.url()),
    };
    let start = Instant::now();
    let (trusted, new) = pair(case, &home, Side::honest(&trusted), Side::honest(&new)).await;
    let took = format!("{} ms", start.elapsed().as_millis());
    let ended = (trusted.ended(), new.ended());
    let expected = if case.enrolls() { ("enrolled", "joined") } else { ("delivered", "unlocked") };
    assert_eq!((ended.0.as_str(), ended.1.as_str()), expected, "{broken:?}: {} {}", trusted.log, new.log);
    if case.enrolls() {
        home.assert_joined();
    }
    // How many acknowledgements travel alone depends on the scheduler, so the last frames may not come.
    let happened = if proxy.is_done() { "yes" } else { "not reached" };
    let cells =
        [format!("{direction:?}"), format!("{device:?}"), format!("{how:?}"), happened.into(), took, ended.0, ended.1];
    [vec![format!("{case:?}"), frame.to_string()], cells.to_vec()].concat()
}

async fn home(case: Case, relay: SocketAddr) -> Home {
    let home = Home::new();
    if case == Case::UnlockKnown {
        home.enroll(&format!("ws://{relay}")).await;
    }
    home
}

/// The next connection is no better than the last, many times over, at both devices.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_keeps_breaking_is_enough() {
    let relay = relay(Config::default()).await;
    let home = Home::new();
    let (trusted, new) = (Proxy::start(relay.addr(), None).await, Proxy::start(relay.addr(), None).await);
    let cut_at_every_step = |proxy: &Proxy| {
        let cut = proxy.cutter();
        Side::with(&proxy.url(), move |event: &Event, _: &Decisions| {
            // At every step of the run, but not at news of connections: the two would cut each other for ever.
            let steps = ["ShowCode", "Account", "AskApproval", "GrantSent", "Stored"];
            if steps.contains(&word(event).as_str()) {
                cut();
            }
            Reaction::Honest
        })
    };
    let (one, two) = (cut_at_every_step(&trusted), cut_at_every_step(&new));
    let (trusted_ended, new_ended) = pair(Case::Code, &home, one, two).await;
    assert_eq!((trusted_ended.ended(), new_ended.ended()), ("enrolled".into(), "joined".into()));
    assert!(trusted.connections() > 2 && new.connections() > 1);
    home.assert_joined();
    relay.shutdown().await;
}
