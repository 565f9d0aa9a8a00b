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

fn has_missed(source: &Arc<Source>) -> bool {
    match claim(source) {
        Ok(_) => false,
        Err(Refusal { kind: LimitKind::SourceMisses, .. }) => true,
        Err(other) => panic!("{other:?}"),
    }
}

/// What becomes of a claim that meets a mailbox.
fn claim(source: &Arc<Source>) -> Result<Duration, Refusal> {
    let claim = source.claim()?;
    let wait = claim.wait();
    claim.met();
    Ok(wait)
}

fn miss(source: &Arc<Source>) -> Result<Duration, Refusal> {
    source.claim().map(|claim| claim.wait())
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
        let _ = miss(&source);
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
        let table = sources.v4.lock().unwrap();
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
        miss(&sources.source(prefix(number))).unwrap();
    }
    // Ten times as many newcomers as places that they share: all places are used, none holds one of the three.
    let newcomers: Vec<_> = (1000..1000 + 10 * OVERFLOW_SOURCES).map(|number| sources.source(prefix(number))).collect();
    let places: std::collections::HashSet<_> = newcomers.iter().map(Arc::as_ptr).collect();
    assert!(places.len() <= OVERFLOW_SOURCES as usize && places.len() > 1000, "{}", places.len());
    assert_eq!(sources.v4.lock().unwrap().current.sources.len(), 3);
    for number in 0..3 {
        assert!(has_missed(&sources.source(prefix(number))), "source {number} was evicted");
    }

    let config = Config::default();
    assert_eq!(miss(&newcomers[0]), Ok(Duration::ZERO));
    // Who shares a place with somebody else's misses is slowed, not refused.
    let slowed = |newcomer: &&Arc<Source>| claim(newcomer).map_or(true, |wait| wait == config.slow_claims);
    let sharing = newcomers.iter().filter(slowed).count();
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
            assert_eq!(miss(&attacker), Ok(Duration::ZERO), "nobody is slowed within the budget");
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
    assert_eq!(claim(&newcomer), Ok(slow), "served, but later");
    for _ in 0..20 {
        assert_eq!(claim(&paired), Ok(Duration::ZERO));
    }
    // A hit counts for an hour. The source shows itself, so it is not forgotten.
    advance(HIT - SECOND).await;
    empty_budget(&sources);
    assert_eq!(claim(&paired), Ok(Duration::ZERO));
    advance(SECOND).await;
    empty_budget(&sources);
    assert_eq!(claim(&paired), Ok(slow));
}

#[tokio::test(start_paused = true)]
async fn slowed_claims_of_one_source_wait_one_after_the_other() {
    let sources = flooded(Config::default());
    let attacker = sources.source(prefix(200));
    for wait in [5, 10, 15] {
        assert_eq!(claim(&attacker), Ok(wait * SECOND));
    }
    let refused = |seconds| Err(Refusal { kind: LimitKind::SourceClaims, retry_after: seconds * SECOND });
    assert_eq!(claim(&attacker), refused(5));
    advance(2 * SECOND).await;
    assert_eq!(claim(&attacker), refused(3));
    advance(3 * SECOND).await;
    assert_eq!(claim(&attacker), Ok(15 * SECOND), "when it was told to come back");
    // Others do not stand in its queue.
    assert_eq!(claim(&sources.source(prefix(201))), Ok(5 * SECOND));
}

#[tokio::test(start_paused = true)]
async fn the_budget_of_all_misses_fills_again() {
    let sources = flooded(Config::default());
    let newcomer = sources.source(prefix(300));
    assert_eq!(claim(&newcomer), Ok(5 * SECOND));
    advance(60 * SECOND).await;
    assert_eq!(claim(&newcomer), Ok(Duration::ZERO));
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

#[tokio::test(start_paused = true)]
async fn claims_that_are_not_decided_count_as_misses() {
    let sources = Sources::new(&Config { source_misses: Rate::new(3, 1), ..Config::default() });
    let source = sources.source(prefix(1));
    let mut undecided: Vec<_> = (0..30).filter_map(|_| source.claim().ok()).collect();
    assert_eq!(undecided.len(), 3);
    undecided.pop().unwrap().met();
    undecided.push(source.claim().unwrap());
    assert!(has_missed(&source));
    drop(undecided);
    assert!(has_missed(&source));
    advance(60 * SECOND).await;
    assert_eq!((miss(&source), has_missed(&source)), (Ok(Duration::ZERO), true));
}

#[tokio::test(start_paused = true)]
async fn a_slowed_claim_holds_its_miss_while_it_waits() {
    let sources = Sources::new(&Config { source_misses: Rate::new(2, 1), ..Config::default() });
    empty_budget(&sources);
    let attacker = sources.source(prefix(1));
    let waiting: Vec<_> = (0..30).filter_map(|_| attacker.claim().ok()).collect();
    assert_eq!(waiting.iter().map(Claim::wait).collect::<Vec<_>>(), [5 * SECOND, 10 * SECOND]);
    advance(15 * SECOND).await;
    assert!(has_missed(&attacker), "nobody has looked yet");
    drop(waiting);
    assert!(has_missed(&attacker));
}

#[tokio::test(start_paused = true)]
async fn a_device_that_repeats_its_claim_gets_everything_back() {
    let one = Rate::new(1, 1);
    let sources =
        Sources::new(&Config { source_misses: one, source_claims: one, all_misses: one, ..Config::default() });
    let source = sources.source(prefix(1));
    for _ in 0..20 {
        let claim = source.claim().unwrap();
        assert_eq!(claim.wait(), Duration::ZERO);
        claim.repeats();
    }
    assert_eq!(claim(&source), Ok(Duration::ZERO));
    assert_eq!(claim(&source).unwrap_err().kind, LimitKind::SourceClaims, "one that met has cost a claim");
    assert_eq!(claim(&sources.source(prefix(2))), Ok(Duration::ZERO), "and no miss of all");
}

fn v6(net: u64) -> NetworkPrefix {
    NetworkPrefix::V6(net.to_be_bytes())
}

/// Two /48 do what they can: connect from every /64, and miss with as many claims as they may.
#[tokio::test(start_paused = true)]
async fn two_48s_are_in_nobodys_way() {
    let config = Config::default();
    let sources = Sources::new(&config);
    let (one, other) = (0x2001_0db8_0001_0000, 0x2001_0db8_0002_0000);
    let connected = (0..65_536).filter(|net| sources.source(v6(one | net)).connect().is_ok()).count();
    assert_eq!(connected, 64 + 120, "each of the 64 once, and as often as one source may from all others");
    let mut misses = 0;
    for _ in 0..8 {
        for net in 0..8_192 {
            misses += (0..).take_while(|_| miss(&sources.source(v6(other | net))).is_ok()).count();
        }
        let newcomers = 0x0a00_0000..0x0a00_0000 + 10_000;
        for newcomer in newcomers.map(prefix).chain((0..10_000).map(|site| v6(0x2001_0db9_0000_0000 | site << 16))) {
            let newcomer = sources.source(newcomer);
            assert_eq!(claim(&newcomer), Ok(Duration::ZERO));
            drop(newcomer.connect().unwrap());
        }
        advance(30 * SECOND).await;
    }
    // 80 at once, and 8 a minute for 3.5 minutes.
    assert!((100..=8 * 10 + 4 * 8).contains(&misses), "{misses}");
    let table = sources.v6.lock().unwrap();
    let held = table.current.len() + table.previous.len();
    assert!(held <= 2 * (64 + 2) + 2 * 10_000, "{held}");
}

#[tokio::test(start_paused = true)]
async fn at_most_64_of_a_48_are_told_apart_and_the_others_share_its_place() {
    let sources = Sources::new(&one_miss());
    let of_site: Vec<_> = (0..100).map(|net| sources.source(v6(net))).collect();
    let apart: std::collections::HashSet<_> = of_site.iter().map(Arc::as_ptr).collect();
    assert_eq!(apart.len(), 64 + 1);
    assert!(Arc::ptr_eq(&of_site[64], &of_site[99]) && Arc::ptr_eq(&of_site[99], &sources.source(v6(5000))));
    assert!(!apart.contains(&Arc::as_ptr(&sources.source(v6(1 << 16)))), "another /48");
    // Eight misses of different sources, and the next is refused, because of all of them.
    for source in &of_site[..8] {
        miss(source).unwrap();
    }
    assert!(has_missed(&of_site[8]) && !has_missed(&sources.source(v6(1 << 16))));
    // A period later they are who they were; two later, others are.
    drop(of_site);
    advance(PERIOD).await;
    assert_eq!(Arc::as_ptr(&sources.source(v6(99))), Arc::as_ptr(&sources.source(v6(98))));
    advance(2 * PERIOD).await;
    assert_ne!(Arc::as_ptr(&sources.source(v6(99))), Arc::as_ptr(&sources.source(v6(98))));
}

#[tokio::test(start_paused = true)]
async fn who_fills_the_table_of_ipv6_is_in_the_way_of_no_ipv4_source() {
    let sources = Sources::with_room(&one_miss(), 100);
    for site in 0..2_000 {
        let _ = miss(&sources.source(v6(site << 16)));
    }
    assert!((0..100).all(|number| claim(&sources.source(prefix(number))) == Ok(Duration::ZERO)));
}

#[tokio::test(start_paused = true)]
async fn a_source_is_told_four_times_at_once_and_then_four_times_a_minute() {
    let sources = Sources::new(&Config::default());
    let source = sources.source(prefix(1));
    let told: Vec<_> = (0..10).filter_map(|_| source.refuse()).collect();
    assert_eq!(told.len(), 4);
    drop(told);
    assert!(source.refuse().is_none());
    assert!(sources.source(prefix(2)).refuse().is_some());
    advance(15 * SECOND).await;
    assert!(source.refuse().is_some() && source.refuse().is_none());
}
