//! Pairings through two nodes that share a store, also while nodes and stores are killed: with real processes.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use handfast_tests::e2e::balancer::{Balancer, Behind};
use handfast_tests::e2e::http;
use handfast_tests::e2e::pairing::{LONGEST, Mode, SHORT, Scene, Side, ending};
use handfast_tests::e2e::process::{FOR_ONE_SOURCE, RelayProcess, kill};
use handfast_tests::e2e::proxy::{Action, DIRECTIONS, Direction, Plan, Proxy};
use handfast_tests::e2e::redis_server::RedisServer;
use handfast_tests::e2e::{report, side_by_side};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Instant;

/// After which frame on which way something is killed.
#[derive(Clone, Copy, Debug)]
struct Moment {
    mode: Mode,
    link: Side,
    direction: Direction,
    frame: usize,
}

/// What is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Victim {
    /// The node that the trusted device is at.
    NodeOfTrusted,
    /// The node that the new device is at.
    NodeOfNew,
    /// A store that keeps everything in memory. It is started again.
    Store,
    /// A store that writes everything down. It is started again.
    DurableStore,
}

/// Sends a device's later connections to another node.
type Redirect = Arc<dyn Fn(SocketAddr) + Send + Sync>;

/// How many of the outcomes of a table are good.
struct Tally {
    rows: Vec<Vec<String>>,
    paired: usize,
}

/// Two nodes, and each device's way to one of them, as a load balancer would choose it.
struct Cluster {
    nodes: [Mutex<Option<RelayProcess>>; 2],
    store: Mutex<RedisServer>,
}

/// Every mode, many at a time, each connection at whichever node the balancer takes next.
#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_pairings_through_a_balancer() {
    const PAIRINGS: usize = 200;
    let store = RedisServer::start();
    let url = store.url();
    let flags =
        [&FOR_ONE_SOURCE[..], &["--store", &url, "--admin-listen", "127.0.0.1:0", "--trusted-proxy", "127.0.0.0/8"]];
    let mut nodes = [RelayProcess::start(&flags.concat()).await, RelayProcess::start(&flags.concat()).await];
    let [one, two] = &mut nodes;
    let behind = [
        Behind { relay: one.address(), admin: one.admin().await },
        Behind { relay: two.address(), admin: two.admin().await },
    ];
    let balancer = Arc::new(Balancer::start(behind).await);
    let modes = [Mode::Code, Mode::QrTrusted, Mode::QrNew].into_iter().cycle().take(PAIRINGS).collect();
    let endings = side_by_side(6, modes, move |mode| {
        let balancer = Arc::clone(&balancer);
        async move {
            let scene = Scene::new(&balancer.url()).await;
            let (trusted, new) = scene.run(mode, &balancer.url(), &balancer.url(), |_, _| {}).await;
            let what = format!("{mode:?}: {trusted:?} {new:?}");
            assert_eq!((ending(&trusted).as_str(), ending(&new).as_str()), ("done", "done"), "{what}");
            scene.judge(&trusted, &new, &what).await
        }
    })
    .await;
    assert_eq!(endings, vec![("confirmed", "the bundle"); PAIRINGS]);
    let mut paired = 0.0;
    for node in behind {
        let served = metric(node, "handfast_relay_accepted_connections_total").await;
        assert!(served > PAIRINGS as f64 / 2.0, "both nodes have served: {served}");
        paired += metric(node, "handfast_relay_pairing_seconds_count").await;
    }
    assert!((paired - PAIRINGS as f64).abs() < 0.5, "{paired} pairings were counted");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_killed_after_any_frame_stops_no_pairing() {
    let tally = table("e2e-cluster-nodes.md", &[Victim::NodeOfTrusted, Victim::NodeOfNew]).await;
    assert_eq!(tally.paired, tally.rows.len(), "the other node has all that is needed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_durable_store_killed_after_any_frame_stops_no_pairing() {
    let tally = table("e2e-cluster-durable-store.md", &[Victim::DurableStore]).await;
    assert_eq!(tally.paired, tally.rows.len(), "the store has all that is needed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_killed_after_any_frame_leaves_clear_outcomes() {
    let tally = table("e2e-cluster-store.md", &[Victim::Store]).await;
    let said = |text: &str| tally.rows.iter().flatten().any(|cell| cell.contains(text));
    assert!(said("relay_refused"), "some runs were forgotten before the grant");
    assert!(said("outcome_unknown"), "some after it");
}

/// Kills at every moment of every mode. What is checked for each run: it ends in time, by one of the outcomes below, and
/// nobody believes more than is true.
async fn table(name: &str, victims: &[Victim]) -> Tally {
    let mut cases = Vec::new();
    for mode in [Mode::Code, Mode::QrTrusted, Mode::QrNew] {
        let moments = moments(mode).await;
        for victim in victims {
            cases.extend(moments.iter().map(|moment| (*moment, *victim)));
        }
    }
    let rows = side_by_side(6, cases, |(moment, victim)| killed(moment, victim)).await;
    report(
        name,
        &["mode", "k", "direction", "link", "killed", "trusted ends", "new ends", "trusted lists", "new holds"],
        &rows,
    );
    let spared = rows.iter().filter(|row| row[4] == "nothing").count();
    assert!(spared * 20 < rows.len(), "{spared} of {} runs were over before their moment", rows.len());
    let paired = rows.iter().filter(|row| row[5] == "done" && row[6] == "done").count();
    Tally { rows, paired }
}

/// The frames of an undisturbed run through two nodes.
async fn moments(mode: Mode) -> Vec<Moment> {
    let cluster = Cluster::start(RedisServer::start()).await;
    let scene = Scene::new("ws://127.0.0.1:1").await;
    let ways = [cluster.way(0, None).await, cluster.way(1, None).await];
    let (one, two) = scene.run(mode, &ways[0].url(), &ways[1].url(), |_, _| {}).await;
    assert_eq!((ending(&one).as_str(), ending(&two).as_str()), ("done", "done"), "{mode:?}: {one:?} {two:?}");
    let mut moments = Vec::new();
    for (way, link) in ways.iter().zip([Side::Trusted, Side::New]) {
        for direction in DIRECTIONS {
            moments.extend((1..=way.frames(direction)).map(|frame| Moment { mode, link, direction, frame }));
        }
    }
    assert!(moments.len() >= 20, "{mode:?} has become suspiciously short: {}", moments.len());
    moments
}

async fn killed(moment: Moment, victim: Victim) -> Vec<String> {
    let durable = ["--appendonly", "yes", "--appendfsync", "always"];
    let store = if victim == Victim::DurableStore { RedisServer::with(&durable) } else { RedisServer::start() };
    let cluster = Arc::new(Cluster::start(store).await);
    let scene = Scene::new("ws://127.0.0.1:1").await;
    let ways: Arc<Mutex<Vec<Redirect>>> = Arc::default();
    let (shared, all) = (Arc::clone(&cluster), Arc::clone(&ways));
    let action = Action::Call(Arc::new(move || {
        let dead = match victim {
            Victim::NodeOfTrusted => 0,
            Victim::NodeOfNew => 1,
            Victim::Store | Victim::DurableStore => return shared.restart_store(),
        };
        shared.kill(dead);
        // A load balancer sends nobody to a node that is dead.
        let other = shared.address(1 - dead);
        all.lock().unwrap().iter().for_each(|redirect| redirect(other));
    }));
    let plan = Plan { direction: moment.direction, frame: moment.frame, action };
    let planned = |side| (moment.link == side).then(|| plan.clone());
    let (trusted_way, new_way) =
        (cluster.way(0, planned(Side::Trusted)).await, cluster.way(1, planned(Side::New)).await);
    ways.lock().unwrap().extend([trusted_way.redirector(), new_way.redirector()]);

    let start = Instant::now();
    let (trusted, new) = scene.run(moment.mode, &trusted_way.url(), &new_way.url(), |_, _| {}).await;
    let what = format!("{moment:?} {victim:?}: {trusted:?} {new:?}");
    // A run may have a frame less than the one that was counted.
    let is_killed = trusted_way.is_done() && new_way.is_done();
    // The plan holds what it kills, and a way to both devices' ways: a circle.
    ways.lock().unwrap().clear();
    assert!(start.elapsed() < LONGEST, "{what} took {:?}", start.elapsed());
    let (lists, holds) = scene.judge(&trusted, &new, &what).await;
    let stated = [
        "done",
        "outcome_unknown",
        "relay_refused",
        "code_expired",
        "peer_lost",
        "not started",
        "cancelled after relay_refused",
        "cancelled after code_expired",
        "cancelled after peer_lost",
    ];
    for ended in [&trusted, &new] {
        assert!(stated.contains(&ending(ended).as_str()), "{what}");
    }
    let cells = [
        format!("{:?}", moment.mode),
        moment.frame.to_string(),
        format!("{:?}", moment.direction),
        format!("{:?}", moment.link),
        if is_killed { format!("{victim:?}") } else { "nothing".to_owned() },
        ending(&trusted),
        ending(&new),
        lists.to_owned(),
        holds.to_owned(),
    ];
    cells.to_vec()
}

async fn metric(node: Behind, name: &str) -> f64 {
    let metrics = http::get(node.admin, "/metrics").await.unwrap().body;
    let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name} in {metrics}")).parse().unwrap()
}

impl Cluster {
    async fn start(store: RedisServer) -> Self {
        let url = store.url();
        let flags = [SHORT.as_slice(), &["--store", &url, "--node-timeout", "1"]].concat();
        let nodes = [RelayProcess::start(&flags).await, RelayProcess::start(&flags).await];
        Self { nodes: nodes.map(|node| Mutex::new(Some(node))), store: Mutex::new(store) }
    }

    fn address(&self, node: usize) -> SocketAddr {
        self.nodes[node].lock().unwrap().as_ref().unwrap().address()
    }

    /// A device's way to this node.
    async fn way(&self, node: usize, plan: Option<Plan>) -> Proxy {
        Proxy::start(self.address(node), plan).await
    }

    fn kill(&self, node: usize) {
        kill(self.nodes[node].lock().unwrap().as_ref().and_then(RelayProcess::pid));
    }

    fn restart_store(&self) {
        let mut store = self.store.lock().unwrap();
        store.kill();
        store.start_again();
    }
}
