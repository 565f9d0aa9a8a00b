//! Two devices through the SDK over a real relay in this process: every mode and purpose, and every way to end.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use handfast::{
    Decisions, Error, Event, Failure, Outcome, Profile, ProfileError, Request, SecretBytes, Show, Unlocker,
};
use handfast_relay::Config;
use handfast_tests::e2e::devices::{
    CASES, Case, ENROLLMENTS, Home, Reaction, Shown, Side, Table, Watched, ended, entry, name, next_code, offer_over,
    options, pair, relay, start_new, start_trusted, url, watch, word,
};
use handfast_tests::e2e::process::another_code;
use handfast_tests::e2e::proxy::{Direction, Proxy};
use handfast_tests::e2e::{side_by_side, soon};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

#[tokio::test(flavor = "multi_thread")]
async fn every_mode_and_purpose_reaches_its_goal() {
    let relay = relay(Config::for_one_source()).await;
    for case in CASES {
        let home = home(case, &url(&relay)).await;
        let (trusted, new) = honest(case, &home, &url(&relay)).await;
        if case.enrolls() {
            assert_eq!((trusted.ended(), new.ended()), ("enrolled".into(), "joined".into()), "{case:?}");
            home.assert_joined();
        } else {
            assert_eq!((trusted.ended(), new.ended()), ("delivered".into(), "unlocked".into()), "{case:?}");
        }
        let digits_typed = trusted.saw("AskCheckCode") || new.saw("AskCheckCode");
        assert_eq!(digits_typed, !matches!(case, Case::Code | Case::UnlockKnown), "{case:?}");
        assert!(trusted.saw("AskApproval") && trusted.saw("GrantSent") && new.saw("Account") && new.saw("Stored"));
        let Ok(outcome) = new.outcome else { panic!("{case:?}") };
        match (case, outcome) {
            (Case::UnlockGuest, Outcome::Unlocked { items }) => {
                assert!(items.unlock_key.is_none());
                assert_eq!(items.entries.len(), 1);
                assert_eq!(items.entries[&entry()].expose(), home.secret);
                assert!(!home.new_device().exists(), "an unlock stores nothing");
            }
            (Case::UnlockKnown, Outcome::Unlocked { items }) => {
                let bundle = Profile::open(&home.trusted()).unwrap().bundle().unwrap();
                assert_eq!(items.unlock_key.unwrap().expose(), bundle.unlock_key.expose());
                assert!(items.entries.is_empty());
            }
            (_, Outcome::Joined { profile }) => assert_eq!(profile.relay().unwrap().to_string(), url(&relay)),
            (case, outcome) => panic!("{case:?}: {outcome:?}"),
        }
    }
    assert_eq!(relay.stats().mailboxes, 0, "finished runs leave nothing at the relay");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_joined_lets_in_the_next() {
    let relay = relay(Config::for_one_source()).await;
    let (first, second) = (Home::new(), Home::new());
    first.enroll(&url(&relay)).await;
    // The second device becomes the trusted one of another home.
    std::fs::remove_dir_all(second.trusted()).unwrap();
    std::fs::rename(first.new_device(), second.trusted()).unwrap();
    let (trusted, new) = honest(Case::QrNew, &second, &url(&relay)).await;
    assert_eq!((trusted.ended(), new.ended()), ("enrolled".into(), "joined".into()));
    second.assert_joined();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_largest_bundle_travels() {
    let relay = relay(Config::for_one_source()).await;
    let home = Home::new();
    let mut profile = Profile::open(&home.trusted()).unwrap();
    let largest = (1..=handfast::MAX_BUNDLE_BYTES).rev().find(|length| {
        let change = |bundle: &mut handfast::CredentialBundle| -> Result<(), ProfileError> {
            Ok(bundle.set(entry(), SecretBytes::new(vec![7; *length]))?)
        };
        profile.change_bundle(change).is_ok()
    });
    assert!(largest.unwrap() > handfast::MAX_BUNDLE_BYTES - 512, "{largest:?}");
    let proxy = Proxy::start(relay.addr(), None).await;
    let (trusted, new) = pair(Case::Code, &home, Side::honest(&proxy.url()), Side::honest(&url(&relay))).await;
    assert_eq!((trusted.ended(), new.ended()), ("enrolled".into(), "joined".into()));
    let bundle = |dir: &Path| Profile::open(dir).unwrap().bundle().unwrap();
    assert_eq!(bundle(&home.new_device()), bundle(&home.trusted()));
    assert!(proxy.frames(Direction::ToRelay) > 19, "in chunks of 14 KiB");
}

/// What a relay could record, and what a program could log with `{:?}` at any level.
#[tokio::test(flavor = "multi_thread")]
async fn neither_the_relay_nor_a_log_has_a_secret() {
    let relay = relay(Config::for_one_source()).await;
    for case in CASES {
        let home = home(case, &url(&relay)).await;
        let (one, two) = (Proxy::start(relay.addr(), None).await, Proxy::start(relay.addr(), None).await);
        let shown = Arc::new(Mutex::new(Vec::new()));
        let noting = |proxy: &Proxy| {
            let shown = Arc::clone(&shown);
            Side::with(&proxy.url(), move |event: &Event, _: &Decisions| {
                shown.lock().unwrap().extend(secrets_of(event));
                Reaction::Honest
            })
        };
        let (trusted, new) = pair(case, &home, noting(&one), noting(&two)).await;
        assert!(trusted.outcome.is_ok() && new.outcome.is_ok());

        let bundle = Profile::open(&home.trusted()).unwrap().bundle().unwrap();
        let mut secrets = shown.lock().unwrap().clone();
        assert!(!secrets.is_empty());
        // Of six digits, a recording of some ten thousand random bytes may have a few by chance.
        let strong: Vec<Vec<u8>> = vec![
            home.secret[..20].to_vec(),
            bundle.unlock_key.expose().to_vec(),
            bundle.sign_in_secret.expose().to_vec(),
            b"ada.private".to_vec(),
            b"adas-desktop".to_vec(),
            b"adas-laptop".to_vec(),
        ];
        let recording = [one.recording(), two.recording()].concat();
        for secret in strong.iter().chain(secrets.iter().filter(|secret| secret.len() > 6)) {
            assert!(!contains(&recording, secret), "{case:?}: the relay saw {:?}", String::from_utf8_lossy(secret));
        }
        secrets.extend(strong[..3].iter().cloned());
        for log in [&trusted.log, &new.log] {
            for secret in &secrets {
                let forms = [secret.clone(), hex(secret).into_bytes(), format!("{secret:?}").into_bytes()];
                let found = forms.iter().find(|form| contains(log.as_bytes(), form));
                assert!(found.is_none(), "{case:?}: {:?} is in the log\n{log}", String::from_utf8_lossy(secret));
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_code_is_burned_and_five_of_them_cost_a_minute() {
    let relay = relay(Config::for_one_source()).await;
    let home = Home::new();
    let table = Table::new();
    let mut inviting = start_trusted(Case::Code, &home, &url(&relay), None);
    for burned in 1..=5 {
        let right = next_code(&mut inviting).await;
        let wrong = another_code(&right);
        let joining =
            watch(start_new(Case::Code, &home, &url(&relay), Some(Shown::Code(wrong))), table.clone(), |_, _| {
                Reaction::Honest
            });
        assert_eq!(soon("the wrong code", joining).await.ended(), "WrongCode");
        home.assert_not_joined();
        let (failure, next_in) = offer_over(&mut inviting).await;
        assert_eq!(failure, Failure::WrongCode);
        if burned < 5 {
            assert_eq!(next_in, Duration::ZERO, "a new code comes at once");
        } else {
            assert!(next_in > Duration::from_secs(50) && next_in <= Duration::from_secs(60), "{next_in:?}");
        }
    }
    inviting.cancel();
    assert_eq!(ended(inviting).await, "Cancelled");

    // Not the process counts, but the profile.
    let profile = Profile::open(&home.trusted()).unwrap();
    assert!(profile.burn_wait(SystemTime::now()) > Duration::from_secs(45));
    assert_eq!(profile.burn_wait(SystemTime::now() + Duration::from_secs(61)), Duration::ZERO);
    let proxy = Proxy::start(relay.addr(), None).await;
    let again = handfast::invite(profile, Show::Code, options(&proxy.url()));
    again.cancel();
    assert_eq!(ended(again).await, "Cancelled");
    assert_eq!(proxy.connections(), 0, "no code is shown within that minute");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_wrong_code_the_new_one_works() {
    let relay = relay(Config::for_one_source()).await;
    let home = Home::new();
    let mut inviting = start_trusted(Case::Code, &home, &url(&relay), None);
    let first = next_code(&mut inviting).await;
    let join = |code| start_new(Case::Code, &home, &url(&relay), Some(Shown::Code(code)));
    assert_eq!(ended(join(another_code(&first))).await, "WrongCode");
    let second = next_code(&mut inviting).await;
    assert_ne!(first, second);
    // The burned one is worth nothing any more, even when typed rightly.
    assert_eq!(ended(join(first)).await, "NoSuchOffer");
    let (joined, trusted) = tokio::join!(ended(join(second)), watch(inviting, Table::new(), |_, _| Reaction::Honest));
    assert_eq!((joined.as_str(), trusted.ended().as_str()), ("joined", "enrolled"));
    home.assert_joined();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_check_code_ends_the_run_and_stores_nothing() {
    let relay = relay(Config::for_one_source()).await;
    for case in [Case::QrTrusted, Case::QrNew, Case::UnlockGuest] {
        let home = Home::new();
        let digits = Arc::new(Mutex::new(None));
        let typing_wrongly = || {
            let digits = Arc::clone(&digits);
            Side::with(&url(&relay), move |event: &Event, decisions: &Decisions| {
                match event {
                    Event::ShowCheckCode(code) => *digits.lock().unwrap() = Some(code.reveal()),
                    Event::AskCheckCode => {
                        let (digits, decisions) = (Arc::clone(&digits), decisions.clone());
                        tokio::spawn(async move {
                            while digits.lock().unwrap().is_none() {
                                tokio::task::yield_now().await;
                            }
                            let right = digits.lock().unwrap().clone().unwrap();
                            let last = if right.ends_with('7') { '8' } else { '7' };
                            let wrong = format!("{}{last}", &right[..right.len() - 1]);
                            decisions.enter_check_code(wrong.parse().unwrap());
                        });
                    }
                    // The one that invites would go on with a new QR code.
                    Event::OfferOver { .. } => decisions.cancel(),
                    _ => return Reaction::Honest,
                }
                Reaction::None
            })
        };
        let (trusted, new) = pair(case, &home, typing_wrongly(), typing_wrongly()).await;
        assert_eq!(new.ended(), "WrongCheckCode", "{case:?}");
        if case == Case::QrTrusted {
            assert_eq!(trusted.ended(), "Cancelled");
            assert!(trusted.log.contains("OfferOver { failure: WrongCheckCode"), "{}", trusted.log);
        } else {
            assert_eq!(trusted.ended(), "WrongCheckCode", "{case:?}");
        }
        assert!(!trusted.saw("AskApproval") && !trusted.saw("GrantSent"), "{case:?}");
        home.assert_not_joined();
        assert!(home.listed().is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_told_and_leaves_nothing() {
    let relay = relay(Config::for_one_source()).await;
    for case in CASES {
        let home = home(case, &url(&relay)).await;
        let before = home.listed();
        let refusing = Side::with(&url(&relay), at("AskApproval", Decisions::refuse));
        let (trusted, new) = pair(case, &home, refusing, Side::honest(&url(&relay))).await;
        assert_eq!((trusted.ended(), new.ended()), ("RefusedHere".into(), "Refused".into()), "{case:?}");
        assert!(!trusted.saw("GrantSent") && !new.saw("Stored"));
        assert_eq!(home.listed(), before);
        if case != Case::UnlockKnown {
            home.assert_not_joined();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn different_networks_are_asked_about_twice() {
    let relay = relay(Config::for_one_source()).await;
    for (second_answer, expected) in [(true, ("enrolled", "joined")), (false, ("RefusedHere", "Refused"))] {
        let home = Home::new();
        let elsewhere = Proxy::start_elsewhere(relay.addr()).await;
        let person = move |event: &Event, decisions: &Decisions| {
            match event {
                // The yes to the first question, said again, is no answer to this one.
                Event::AskDifferentNetwork if !second_answer => {
                    decisions.approve();
                    decisions.refuse();
                }
                _ => return Reaction::Honest,
            }
            Reaction::None
        };
        let new = Side::honest(&elsewhere.url());
        let (trusted, new) = pair(Case::Code, &home, Side::with(&url(&relay), person), new).await;
        assert!(trusted.saw("AskDifferentNetwork"));
        assert_eq!((trusted.ended().as_str(), new.ended().as_str()), expected);
    }
}

/// At every event of either device, its person cancels. The other device is told, and nothing is left half done.
#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_at_any_stage_is_told_and_leaves_nothing_half_done() {
    let relay = relay(Config::for_one_source()).await;
    let address = url(&relay);
    let mut cases = Vec::new();
    for case in CASES {
        let home = home(case, &address).await;
        let (trusted, new) = honest(case, &home, &address).await;
        let stages = |mut events: Vec<String>| {
            // Before it has met the other one, a device that gives up is missed by nobody.
            events.retain(|event| !["Connecting", "Connected", "PeerAway"].contains(&event.as_str()));
            events.dedup();
            events
        };
        cases.extend(stages(trusted.events).into_iter().map(|event| (case, true, event)));
        cases.extend(stages(new.events).into_iter().map(|event| (case, false, event)));
    }
    assert!(cases.len() > 30, "{cases:?}");
    side_by_side(8, cases, |(case, by_trusted, event)| cancelled_at(case, by_trusted, event, address.clone())).await;
}

async fn cancelled_at(case: Case, by_trusted: bool, stage: String, relay: String) {
    let home = home(case, &relay).await;
    let before = home.listed();
    let canceller = Side::with(&relay, at(&stage, Decisions::cancel));
    // One that invites goes on with a new code when the other device has gone.
    let other = Side::with(&relay, at("OfferOver", Decisions::cancel));
    let what = format!("{case:?}, cancelled by the {} device at {stage}", if by_trusted { "trusted" } else { "new" });
    let (trusted, new) =
        if by_trusted { pair(case, &home, canceller, other).await } else { pair(case, &home, other, canceller).await };
    let what =
        format!("{what}: trusted {} {:?}, new {} {:?}", trusted.ended(), trusted.events, new.ended(), new.events);

    let reached = |watched: &Watched| watched.outcome.is_ok();
    let expected: &[&str] = match (by_trusted, stage.as_str()) {
        // The receipt may be there already, or come no more.
        (true, "GrantSent") => &["Unknown(Cancelled)", "enrolled", "delivered"],
        (false, "Stored") => &["joined", "unlocked"],
        // It was storing already.
        (false, _) if trusted.saw("GrantSent") => &["Cancelled", "joined", "unlocked"],
        _ => &["Cancelled"],
    };
    let (by, told) = if by_trusted { (&trusted, &new) } else { (&new, &trusted) };
    assert!(expected.contains(&by.ended().as_str()), "{what}");
    if !reached(by) && !reached(told) {
        let heard = match told.ended().as_str() {
            "PeerCancelled" => true,
            // It had not even met the other one.
            "NoSuchOffer" | "PeerLost" => stage.starts_with("Show"),
            // Its person had approved already.
            "Unknown(PeerCancelled)" => trusted.saw("GrantSent"),
            "Cancelled" => told.log.contains("OfferOver { failure: PeerCancelled"),
            _ => false,
        };
        assert!(heard, "{what}");
    }
    assert!(!reached(&trusted) || reached(&new), "one-sided success: {what}");
    if case.enrolls() && reached(&new) {
        assert!(Profile::open(&home.new_device()).unwrap().bundle().is_ok());
    } else if case != Case::UnlockKnown {
        home.assert_not_joined();
    }
    let listed = home.listed();
    assert!(
        listed.iter().filter(|confirmed| **confirmed).count() <= usize::from(reached(&new)) + before.len(),
        "{what}"
    );
    if !trusted.saw("GrantSent") {
        assert_eq!(listed, before, "nothing was sent, so nobody is listed: {what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_profile_that_cannot_be_used_is_named_and_the_other_device_told() {
    let relay = relay(Config::for_one_source()).await;

    // The bundle is damaged when it is to be sent.
    let home = Home::new();
    let bundle = home.trusted().join("bundle.sealed");
    let damaging = Side::with(&url(&relay), move |event: &Event, _: &Decisions| {
        if matches!(event, Event::AskApproval(_)) {
            std::fs::write(&bundle, b"damaged").unwrap();
        }
        Reaction::Honest
    });
    let (trusted, new) = pair(Case::Code, &home, damaging, Side::honest(&url(&relay))).await;
    let damaged = trusted.outcome.unwrap_err();
    assert!(matches!(&damaged, Error::Profile(ProfileError::Damaged { file: "bundle.sealed", .. })), "{damaged:?}");
    assert_eq!(new.ended(), "PeerFailed");
    home.assert_not_joined();
    assert!(home.listed().is_empty());

    // The new device has no place for its profile.
    let home = Home::new();
    let place = home.new_device();
    let taking_the_place = Side::with(&url(&relay), move |event: &Event, _: &Decisions| {
        if matches!(event, Event::Account { .. }) {
            std::fs::remove_dir_all(&place).unwrap();
            std::fs::write(&place, b"a file where a directory should be").unwrap();
        }
        Reaction::Honest
    });
    let trusted_side = Side::with(&url(&relay), |event: &Event, decisions: &Decisions| {
        if matches!(event, Event::AskApproval(_)) {
            let decisions = decisions.clone();
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(100)).await;
                decisions.approve();
            });
        }
        Reaction::None
    });
    let (trusted, new) = pair(Case::Code, &home, trusted_side, taking_the_place).await;
    assert!(matches!(new.outcome, Err(Error::Profile(ProfileError::Io { .. }))), "{:?}", new.outcome);
    assert_eq!(trusted.ended(), "PeerDidNotStore");
    assert_eq!(home.listed(), [false], "a device that stored nothing is no trusted one");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_profile_that_another_program_writes_is_waited_for() {
    let relay = relay(Config::for_one_source()).await;
    let home = Home::new();
    let lock = std::fs::OpenOptions::new().write(true).open(home.trusted().join("lock")).unwrap();
    lock.lock().unwrap();
    let lock = Arc::new(Mutex::new(Some(lock)));
    let held = Arc::clone(&lock);
    // The grant needs a record on disk first; the other program lets go once the person has approved.
    let trusted = Side::with(&url(&relay), move |event: &Event, decisions: &Decisions| match event {
        Event::AskApproval(_) => {
            decisions.approve();
            let held = Arc::clone(&held);
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(200)).await;
                held.lock().unwrap().take();
            });
            Reaction::None
        }
        Event::GrantSent => {
            assert!(lock.lock().unwrap().is_none(), "nothing is sent before the record is on disk");
            Reaction::Honest
        }
        _ => Reaction::Honest,
    });
    let (trusted, new) = pair(Case::Code, &home, trusted, Side::honest(&url(&relay))).await;
    assert_eq!((trusted.ended(), new.ended()), ("enrolled".into(), "joined".into()));
    home.assert_joined();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_with_an_account_does_not_join_another() {
    let relay = relay(Config::for_one_source()).await;
    let proxy = Proxy::start(relay.addr(), None).await;
    let home = Home::new();
    let before = Profile::open(&home.trusted()).unwrap().account().clone();
    let way = handfast::Join::ShowQr;
    let run = handfast::join(home.trusted(), name("laptop"), way, options(&proxy.url())).unwrap();
    let error = run.finish().await.unwrap_err();
    assert!(matches!(error, Error::Profile(ProfileError::AlreadyHasAccount(_))), "{error:?}");
    assert_eq!(proxy.connections(), 0);
    assert_eq!(*Profile::open(&home.trusted()).unwrap().account(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_qr_code_or_request_of_the_wrong_kind_is_refused_before_anything_is_sent() {
    let relay = relay(Config::for_one_source()).await;
    for case in ENROLLMENTS.into_iter().filter(|case| *case != Case::Code) {
        let home = Home::new();
        let table = Table::new();
        let run = if case.trusted_displays() {
            start_trusted(case, &home, &url(&relay), None)
        } else {
            start_new(case, &home, &url(&relay), None)
        };
        let showing = tokio::spawn(watch(run, table.clone(), |_, _| Reaction::None));
        let Shown::Qr(qr) = table.shown().await else { panic!("no QR code") };
        let profile = Profile::open(&home.trusted()).unwrap();
        if case.trusted_displays() {
            assert!(handfast::approve(profile, qr, options(&url(&relay))).is_err());
        } else {
            let join = handfast::Join::ReadQr(qr);
            assert!(handfast::join(home.new_device(), name("laptop"), join, options(&url(&relay))).is_err());
        }
        showing.abort();
    }
    let unlocker = Unlocker::Guest(name("laptop"));
    assert!(handfast::unlock(unlocker, Request::Bundle, options(&url(&relay))).is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_device_no_longer_unlocks_without_digits_nor_gets_the_key() {
    let relay = relay(Config::for_one_source()).await;
    let home = home(Case::UnlockKnown, &url(&relay)).await;
    let identity = Profile::open(&home.new_device()).unwrap().identity();
    assert!(Profile::open(&home.trusted()).unwrap().remove_device(&identity).unwrap());
    let (trusted, new) = honest(Case::UnlockKnown, &home, &url(&relay)).await;
    assert_eq!((trusted.ended(), new.ended()), ("NotRecorded".into(), "NotRecorded".into()));
    assert!(new.saw("AskCheckCode"), "the trusted device asks for the digits after all");
    assert!(!trusted.saw("AskApproval"));
}

async fn home(case: Case, relay: &str) -> Home {
    let home = Home::new();
    if case == Case::UnlockKnown {
        home.enroll(relay).await;
    }
    home
}

async fn honest(case: Case, home: &Home, relay: &str) -> (Watched, Watched) {
    pair(case, home, Side::honest(relay), Side::honest(relay)).await
}

/// A person who does this at an event of this name, and otherwise what is asked.
fn at<A: Fn(&Decisions) + Send>(stage: &str, act: A) -> impl FnMut(&Event, &Decisions) -> Reaction + Send + use<A> {
    let stage = stage.to_owned();
    move |event, decisions| {
        if word(event) == stage {
            act(decisions);
            Reaction::None
        } else {
            Reaction::Honest
        }
    }
}

/// The secrets that an event puts on a screen, in the forms in which they might leak.
fn secrets_of(event: &Event) -> Vec<Vec<u8>> {
    let texts = match event {
        Event::ShowCode { code, .. } => {
            let code = code.reveal().to_string();
            let bare = code.replace('-', "");
            vec![bare[4..].to_owned(), code, bare]
        }
        Event::ShowQr { qr, .. } => {
            let uri = qr.to_uri().reveal().to_string();
            let digits = uri.split('/').next_back().unwrap().to_owned();
            // A third of it would be worth something too.
            vec![digits[10..60].to_owned(), digits]
        }
        Event::ShowCheckCode(code) => vec![code.reveal(), code.reveal().replace(' ', "")],
        _ => vec![],
    };
    texts.into_iter().map(String::into_bytes).collect()
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
