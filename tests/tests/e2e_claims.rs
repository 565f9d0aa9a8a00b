//! Several devices at one code: the silent one, the third one.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use handfast::{Error, Event, Failure};
use handfast_relay::Config;
use handfast_tests::e2e::devices::{
    Case, Home, Reaction, Shown, Table, ended, next_code, offer_over, relay, start_new, start_trusted, url, watch,
};
use handfast_tests::e2e::proxy::{Action, Direction, Plan, Proxy};
use handfast_tests::e2e::soon;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_claimant_loses_the_code_to_the_next_device() {
    let config = Config { claim_timeout: Duration::from_millis(300), ..Config::default() };
    let relay = relay(config).await;
    let (home, others) = (Home::new(), Home::new());
    let mut inviting = start_trusted(Case::Code, &home, &url(&relay), None);
    let code = next_code(&mut inviting).await;
    let frozen = silent_claimant(&relay).await;
    let silent = start_new(Case::Code, &others, &frozen.url(), Some(Shown::Code(code.clone())));
    loop {
        if let Event::PeerFreed = soon("the end of the claim", inviting.next()).await.unwrap() {
            break;
        }
    }
    let join = start_new(Case::Code, &home, &url(&relay), Some(Shown::Code(code)));
    let (joined, trusted) = tokio::join!(ended(join), watch(inviting, Table::new(), |_, _| Reaction::Honest));
    assert_eq!((joined.as_str(), trusted.ended().as_str()), ("joined", "enrolled"));
    home.assert_joined();
    frozen.cut();
    let late = silent.finish().await.unwrap_err();
    assert!(matches!(late, Error::Failed(Failure::RelayForgot | Failure::ClaimTimedOut)), "{late:?}: {late}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_third_device_before_the_channel_gets_nobody_stuck() {
    let relay = relay(Config::default()).await;
    let (home, others) = (Home::new(), Home::new());
    let mut inviting = start_trusted(Case::Code, &home, &url(&relay), None);
    let code = next_code(&mut inviting).await;
    let frozen = silent_claimant(&relay).await;
    let _second = start_new(Case::Code, &others, &frozen.url(), Some(Shown::Code(code.clone())));
    loop {
        if let Event::PeerHere = soon("the claim", inviting.next()).await.unwrap() {
            break;
        }
    }
    let third = start_new(Case::Code, &home, &url(&relay), Some(Shown::Code(code)));
    assert_eq!(ended(third).await, "Crowded");
    let (failure, next_in) = offer_over(&mut inviting).await;
    assert_eq!((failure, next_in), (Failure::Crowded, Duration::ZERO));
    // A fresh code comes by itself, and it was no guess: nothing is held against this device.
    let fresh = next_code(&mut inviting).await;
    let join = start_new(Case::Code, &home, &url(&relay), Some(Shown::Code(fresh)));
    let (joined, trusted) = tokio::join!(ended(join), watch(inviting, Table::new(), |_, _| Reaction::Honest));
    assert_eq!((joined.as_str(), trusted.ended().as_str()), ("joined", "enrolled"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_third_device_after_the_channel_is_turned_away() {
    let relay = relay(Config::default()).await;
    let (home, others) = (Home::new(), Home::new());
    let mut inviting = start_trusted(Case::Code, &home, &url(&relay), None);
    let code = next_code(&mut inviting).await;
    let joining = start_new(Case::Code, &home, &url(&relay), Some(Shown::Code(code.clone())));
    let joining = tokio::spawn(watch(joining, Table::new(), |_, _| Reaction::Honest));
    let mut settled = false;
    loop {
        match soon("the third device", inviting.next()).await.unwrap() {
            Event::AskApproval(_) => settled = true,
            Event::ThirdClaim => break,
            _ => {}
        }
        if settled {
            // The new device says that it has settled a moment after this one has. Until then a third claim ends the run,
            // so wait for what it does next: nothing. An idle relay has no bytes queued.
            while relay.stats().queued_bytes > 0 {
                tokio::task::yield_now().await;
            }
            let third = start_new(Case::Code, &others, &url(&relay), Some(Shown::Code(code.clone())));
            assert_eq!(ended(third).await, "OfferInUse");
            settled = false;
        }
    }
    inviting.approve();
    assert_eq!(ended(inviting).await, "enrolled");
    let joined = joining.await.unwrap();
    assert_eq!(joined.ended(), "joined");
    assert!(joined.saw("ThirdClaim"));
    home.assert_joined();
}

/// A way to the relay on which a device claims a code, learns that it has it, and is not heard of again.
async fn silent_claimant(relay: &handfast_relay::RelayHandle) -> Proxy {
    let action = Action::Freeze(Duration::from_secs(3600));
    Proxy::start(relay.addr(), Some(Plan { direction: Direction::ToDevice, frame: 1, action })).await
}
