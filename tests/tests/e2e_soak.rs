//! A long run: two nodes behind a balancer, one store, honest pairings, strangers who misbehave, and random kills.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::print_stdout)]

use futures_util::{SinkExt, StreamExt};
use handfast_tests::e2e::balancer::{Balancer, Behind};
use handfast_tests::e2e::pairing::{LONGEST, Mode, SHORT, Scene, ending};
use handfast_tests::e2e::process::{FOR_ONE_SOURCE, RelayProcess};
use handfast_tests::e2e::redis_server::RedisServer;
use handfast_tests::e2e::{http, report};
use rand::rngs::ChaCha12Rng;
use rand::{Rng, RngExt, SeedableRng};
use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_tungstenite::client_async;
use tokio_tungstenite::tungstenite::Message;

/// Pairings at the same time.
const PAIRS: usize = 3;

/// What happened so far.
#[derive(Default)]
struct Tally {
    outcomes: BTreeMap<(String, String), usize>,
    longest: Duration,
    kills: BTreeMap<&'static str, usize>,
    strangers: usize,
}

/// `HANDFAST_SOAK_SECONDS` says how long it takes: 30 minutes if it is not set. `HANDFAST_SOAK_SEED` repeats a run's
/// kills and strangers.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes half an hour: tests/run soak"]
async fn pairings_go_on_while_nodes_and_the_store_are_killed() {
    let seconds = std::env::var("HANDFAST_SOAK_SECONDS").map_or(1800, |text| text.parse().unwrap());
    let seed = std::env::var("HANDFAST_SOAK_SEED").map_or_else(|_| rand::random(), |text| text.parse().unwrap());
    println!("HANDFAST_SOAK_SECONDS={seconds} HANDFAST_SOAK_SEED={seed}");
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut store = RedisServer::with(&["--appendonly", "yes", "--appendfsync", "always"]);
    let mut nodes = [Node::start(&store).await, Node::start(&store).await];
    let balancer = Balancer::start([nodes[0].behind, nodes[1].behind]).await;
    let tally: Arc<Mutex<Tally>> = Arc::default();

    let pairs: Vec<_> =
        (0..PAIRS).map(|number| tokio::spawn(pair(number, balancer.url(), end, Arc::clone(&tally)))).collect();
    let strangers = tokio::spawn(strangers(balancer.address(), seed, end, Arc::clone(&tally)));
    let mut rng = ChaCha12Rng::seed_from_u64(seed);
    while Instant::now() < end {
        sleep(Duration::from_millis(rng.random_range(2000..8000))).await;
        let pause = Duration::from_millis(rng.random_range(100..2000));
        let victim = match rng.random_range(0..5) {
            0 => {
                store.kill();
                sleep(pause / 2).await;
                store.start_again();
                "store"
            }
            number => {
                let node = &mut nodes[number % 2];
                node.kill().await;
                sleep(pause).await;
                node.start_again(&store).await;
                "node"
            }
        };
        *tally.lock().unwrap().kills.entry(victim).or_default() += 1;
    }
    for pair in pairs {
        pair.await.unwrap();
    }
    strangers.await.unwrap();

    let tally = std::mem::take(&mut *tally.lock().unwrap());
    let rows: Vec<Vec<String>> = tally
        .outcomes
        .iter()
        .map(|((trusted, new), count)| vec![trusted.clone(), new.clone(), count.to_string()])
        .collect();
    report("e2e-soak.md", &["trusted ends", "new ends", "runs"], &rows);
    println!("kills: {:?}; strangers: {}; longest run: {:?}", tally.kills, tally.strangers, tally.longest);
    let paired = tally.outcomes.get(&("done".to_owned(), "done".to_owned())).copied().unwrap_or_default();
    let all: usize = tally.outcomes.values().sum();
    assert!(all > 0 && paired * 100 >= all * 95, "{paired} of {all} runs paired");
    for node in &nodes {
        let metrics = http::get(node.behind.admin, "/metrics").await.unwrap().body;
        println!("{}", metrics.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>().join("; "));
    }
}

/// Honest pairings, one after the other: each ends in time, by an outcome that says what happened.
async fn pair(number: usize, url: String, end: Instant, tally: Arc<Mutex<Tally>>) {
    let modes = [Mode::Code, Mode::QrTrusted, Mode::QrNew];
    let mut round = number;
    while Instant::now() < end {
        let mode = modes[round % modes.len()];
        round += 1;
        let scene = Scene::new(&url).await;
        let start = Instant::now();
        let (trusted, new) = scene.run(mode, &url, &url, |_, _| {}).await;
        let took = start.elapsed();
        let what = format!("{mode:?}: {trusted:?} {new:?}");
        assert!(took < LONGEST, "{what} took {took:?}");
        scene.judge(&trusted, &new, &what).await;
        let mut tally = tally.lock().unwrap();
        *tally.outcomes.entry((ending(&trusted), ending(&new))).or_default() += 1;
        tally.longest = tally.longest.max(took);
    }
}

/// Connections that ask for nothing, claim at random, send nonsense, or read nothing.
async fn strangers(relay: SocketAddr, seed: u64, end: Instant, tally: Arc<Mutex<Tally>>) {
    let mut rng = ChaCha12Rng::seed_from_u64(seed ^ 1);
    while Instant::now() < end {
        sleep(Duration::from_millis(rng.random_range(20..200))).await;
        let mut bytes = [0; 21];
        rng.fill_bytes(&mut bytes);
        let kind = rng.random_range(0..4);
        tokio::spawn(async move {
            // Whatever comes of it: nobody may be disturbed by it.
            let _ = timeout(Duration::from_secs(5), stranger(relay, kind, bytes)).await;
        });
        tally.lock().unwrap().strangers += 1;
    }
}

async fn stranger(relay: SocketAddr, kind: u32, mut bytes: [u8; 21]) -> Option<()> {
    let stream = TcpStream::connect(relay).await.ok()?;
    if kind == 0 {
        sleep(Duration::from_secs(3)).await;
        return None;
    }
    let (mut socket, _) = client_async(format!("ws://{relay}/v1"), stream).await.ok()?;
    if kind == 1 {
        // A claim of some nameplate.
        bytes[0] = 3;
        bytes[1] = 0;
        bytes[2] &= 0x0f;
    }
    socket.send(Message::Binary(bytes.to_vec().into())).await.ok()?;
    if kind == 2 {
        sleep(Duration::from_secs(3)).await;
        return None;
    }
    while socket.next().await.is_some_and(|answer| answer.is_ok()) {}
    None
}

/// A node that comes back at the same addresses.
struct Node {
    process: Option<RelayProcess>,
    behind: Behind,
}

impl Node {
    async fn start(store: &RedisServer) -> Self {
        let mut node = Self { process: None, behind: Behind { relay: free_address(), admin: free_address() } };
        node.start_again(store).await;
        node
    }

    async fn start_again(&mut self, store: &RedisServer) {
        let (admin, url) = (self.behind.admin.to_string(), store.url());
        let flags = [
            &SHORT[..],
            &FOR_ONE_SOURCE,
            &["--store", &url, "--node-timeout", "1", "--admin-listen", &admin, "--trusted-proxy", "127.0.0.0/8"],
        ];
        self.process = Some(RelayProcess::start_at(&self.behind.relay.to_string(), &flags.concat()).await);
    }

    async fn kill(&mut self) {
        if let Some(process) = self.process.take() {
            process.kill().await;
        }
    }
}

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}
