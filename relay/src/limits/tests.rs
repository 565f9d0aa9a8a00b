//! Sources in simulated time.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use super::*;
use std::net::{IpAddr, Ipv4Addr};
use tokio::time::advance;

const SECOND: Duration = Duration::from_secs(1);

fn prefix(number: u32) -> NetworkPrefix {
    NetworkPrefix::of(IpAddr::V4(Ipv4Addr::from_bits(number)))
}

/// One miss a source, so that it shows whether two sources are one.
fn one_miss() -> Config {
    Config { source_misses: Rate::new(1, 1), all_misses: Rate::OFF, mailbox_max_lifetime: SECOND, ..Config::default() }
}

fn has_missed(source: &Source) -> bool {
    match source.claim() {
        Ok(_) => false,
        Err(Refusal { kind: LimitKind::SourceMisses, .. }) => true,
        Err(other) => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_source_that_comes_back_within_a_period_is_the_same_whatever_the_key() {
    let config = Config { max_source_mailboxes: 1, ..one_miss() };
    let sources = Sources::new(&config);
    let source = sources.source(prefix(1));
    let _mailbox = source.allocate().unwrap();
    for _ in 0..5 {
        advance(PERIOD - 2 * SECOND).await;
        let source = sources.source(prefix(1));
        source.missed();
        advance(4 * SECOND).await;
        let again = sources.source(prefix(1));
        assert!(has_missed(&again), "its bucket is as empty as it was before the rotation");
        assert_eq!(again.allocate().err().unwrap().kind, LimitKind::SourceMailboxes, "its mailbox still counts");
    }
}

#[tokio::test(start_paused = true)]
async fn a_source_is_forgotten_between_one_and_two_periods_after_it_was_last_seen() {
    let sources = Sources::new(&one_miss());
    let known = |number| Arc::downgrade(&sources.source(prefix(number)));
    let old = known(1);
    advance(PERIOD - SECOND).await;
    let young = known(2);
    advance(2 * SECOND).await;
    known(3);
    assert_eq!((old.strong_count(), young.strong_count()), (1, 1), "after one rotation");
    advance(PERIOD).await;
    known(3);
    assert_eq!((old.strong_count(), young.strong_count()), (0, 0), "after two");
}

#[tokio::test(start_paused = true)]
async fn a_source_is_forgotten_also_when_nobody_comes() {
    let sources = Sources::new(&one_miss());
    let source = Arc::downgrade(&sources.source(prefix(1)));
    tokio::select! {
        () = sources.run() => {}
        () = sleep(2 * PERIOD - SECOND) => assert_eq!(source.strong_count(), 1),
    }
    tokio::select! {
        () = sources.run() => {}
        () = sleep(2 * PERIOD + SECOND) => {}
    }
    assert_eq!(source.strong_count(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_key_is_new_every_period() {
    let sources = Sources::new(&one_miss());
    let tags = || {
        let table = sources.table.lock().unwrap();
        table.current.sources.keys().copied().collect::<Vec<_>>()
    };
    sources.source(prefix(1));
    let before = tags();
    advance(PERIOD).await;
    sources.source(prefix(1));
    let after = tags();
    assert_eq!((before.len(), after.len()), (1, 1));
    assert_ne!(before, after);
}

#[tokio::test(start_paused = true)]
async fn no_source_is_forgotten_while_a_mailbox_of_it_may_live() {
    let long = Config { mailbox_max_lifetime: 5 * PERIOD, max_source_mailboxes: 1, ..one_miss() };
    let sources = Sources::new(&long);
    let _mailbox = sources.source(prefix(1)).allocate().unwrap();
    for _ in 0..4 {
        advance(PERIOD).await;
        sources.source(prefix(2));
    }
    assert!(sources.source(prefix(1)).allocate().is_err());
}

#[test]
fn a_tag_depends_on_the_key_and_on_the_whole_prefix() {
    let (one, other) = (Period::new().key, Period::new().key);
    let same = NetworkPrefix::of("2001:db8:1:2::1".parse().unwrap());
    let neighbour = NetworkPrefix::of("2001:db8:1:2:ffff::9".parse().unwrap());
    assert!(one.tag(same) == one.tag(neighbour), "one /64 is one source");
    assert!(one.tag(same) != other.tag(same));
    let next = NetworkPrefix::of("2001:db8:1:3::1".parse().unwrap());
    assert!(one.tag(same) != one.tag(next) && one.tag(prefix(1)) != one.tag(prefix(2)));
}

#[tokio::test(start_paused = true)]
async fn a_full_table_evicts_nobody_and_newcomers_share_what_is_left() {
    let sources = Sources::with_room(&one_miss(), 3);
    for number in 0..3 {
        sources.source(prefix(number)).missed();
    }
    // Ten times as many newcomers as places that they share: all places are used, none holds one of the three.
    let newcomers: Vec<_> = (1000..1000 + 10 * OVERFLOW_SOURCES).map(|number| sources.source(prefix(number))).collect();
    let places: std::collections::HashSet<_> = newcomers.iter().map(Arc::as_ptr).collect();
    assert!(places.len() <= OVERFLOW_SOURCES as usize && places.len() > 1000, "{}", places.len());
    assert_eq!(sources.table.lock().unwrap().current.sources.len(), 3);
    for number in 0..3 {
        assert!(has_missed(&sources.source(prefix(number))), "source {number} was evicted");
    }

    newcomers[0].missed();
    let sharing = newcomers.iter().filter(|newcomer| has_missed(newcomer)).count();
    assert!((2..100).contains(&sharing), "{sharing} share one place");
    assert!(Arc::ptr_eq(&newcomers[0], &sources.source(prefix(1000))), "the same place every time");

    // Room again, two periods later.
    advance(2 * PERIOD).await;
    let later = sources.source(prefix(1000));
    assert!(!newcomers.iter().any(|newcomer| Arc::ptr_eq(newcomer, &later)));
}

/// All misses used up, by sources that are not those below.
fn flooded(config: Config) -> Sources {
    let sources = Sources::new(&Config { all_misses: Rate::new(50, 1), source_misses: Rate::new(10, 1), ..config });
    for number in 0..5 {
        let attacker = sources.source(prefix(number));
        for _ in 0..10 {
            assert_eq!(attacker.claim(), Ok(Duration::ZERO), "nobody is slowed within the budget");
            attacker.missed();
        }
    }
    sources
}

#[tokio::test(start_paused = true)]
async fn past_the_budget_of_misses_only_who_has_not_paired_lately_is_slowed() {
    let config = Config::default();
    let slow = config.slow_claims;
    let sources = flooded(config);
    let paired = sources.source(prefix(100));
    paired.hit();
    let newcomer = sources.source(prefix(101));
    assert_eq!(newcomer.claim(), Ok(slow), "served, but later");
    for _ in 0..20 {
        assert_eq!(paired.claim(), Ok(Duration::ZERO));
    }
    // A hit counts for an hour. The source shows itself, so it is not forgotten.
    advance(HIT - SECOND).await;
    empty_budget(&sources);
    assert_eq!(paired.claim(), Ok(Duration::ZERO));
    advance(SECOND).await;
    empty_budget(&sources);
    assert_eq!(paired.claim(), Ok(slow));
}

#[tokio::test(start_paused = true)]
async fn slowed_claims_of_one_source_wait_one_after_the_other() {
    let sources = flooded(Config::default());
    let attacker = sources.source(prefix(200));
    for wait in [5, 10, 15] {
        assert_eq!(attacker.claim(), Ok(wait * SECOND));
    }
    let refused = |seconds| Err(Refusal { kind: LimitKind::SourceClaims, retry_after: seconds * SECOND });
    assert_eq!(attacker.claim(), refused(5));
    advance(2 * SECOND).await;
    assert_eq!(attacker.claim(), refused(3));
    advance(3 * SECOND).await;
    assert_eq!(attacker.claim(), Ok(15 * SECOND), "when it was told to come back");
    // Others do not stand in its queue.
    assert_eq!(sources.source(prefix(201)).claim(), Ok(5 * SECOND));
}

#[tokio::test(start_paused = true)]
async fn the_budget_of_all_misses_fills_again() {
    let sources = flooded(Config::default());
    let newcomer = sources.source(prefix(300));
    assert_eq!(newcomer.claim(), Ok(5 * SECOND));
    advance(60 * SECOND).await;
    assert_eq!(newcomer.claim(), Ok(Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn a_refusal_says_which_limit_and_when_in_whole_milliseconds() {
    let frame = |nanoseconds| {
        RelayFrame::from(Refusal { kind: LimitKind::SourceMisses, retry_after: Duration::from_nanos(nanoseconds) })
    };
    let expected =
        |retry_after_ms| RelayFrame::Error { code: ErrorCode::Limit(LimitKind::SourceMisses), retry_after_ms };
    assert_eq!(frame(0), expected(1));
    assert_eq!(frame(2_000_000), expected(2));
    assert_eq!(frame(2_000_001), expected(3));
    assert_eq!(frame(u64::MAX), expected(u32::MAX));
}

/// How long a hit counts.
const HIT: Duration = Duration::from_secs(3600);

fn empty_budget(sources: &Sources) {
    while sources.rules.all_misses.take().is_ok() {}
}
