//! What the relay counts, and how it says so to Prometheus. Nothing here tells one device or mailbox from another.

use crate::Stats;
use crate::mailbox::progress::{MailboxState, OUTCOMES, Step};
use handfast_wire::{ErrorCode, LimitKind, RelayFrame};
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

/// What [`Metrics::render`] writes.
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Seconds. Short ones are machines, the rest are people who read, walk and type.
const PAIRING_BUCKETS: [f64; 12] = [0.01, 0.05, 0.25, 1.0, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 640.0];

/// What a relay counts. The methods are cheap: a frame costs two additions.
pub(crate) struct Metrics {
    registry: Registry,
    open_connections: Gauge,
    accepted: Counter,
    accept_errors: Counter,
    tls_failures: Counter,
    waiting: Gauge,
    paired: Gauge,
    settled: Gauge,
    frames: Counter,
    bytes: Counter,
    stored_bytes: Gauge,
    refusals: Labelled,
    outcomes: Labelled,
    lapsed_claims: Counter,
    pairing_seconds: Histogram,
    store_errors: Counter,
}

type Labelled = Family<[(&'static str, &'static str); 1], Counter>;

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut made = Self {
            registry: Registry::with_prefix("handfast_relay"),
            open_connections: Gauge::default(),
            accepted: Counter::default(),
            accept_errors: Counter::default(),
            tls_failures: Counter::default(),
            waiting: Gauge::default(),
            paired: Gauge::default(),
            settled: Gauge::default(),
            frames: Counter::default(),
            bytes: Counter::default(),
            stored_bytes: Gauge::default(),
            refusals: Labelled::default(),
            outcomes: Labelled::default(),
            lapsed_claims: Counter::default(),
            pairing_seconds: Histogram::new(PAIRING_BUCKETS),
            store_errors: Counter::default(),
        };
        made.register();
        made
    }

    /// A connection was accepted, if only to be refused.
    pub(crate) fn connection_accepted(&self) {
        self.accepted.inc();
    }

    /// The system did not hand out a connection.
    pub(crate) fn accept_failed(&self) {
        self.accept_errors.inc();
    }

    /// A connection did not complete its TLS handshake.
    pub(crate) fn tls_handshake_failed(&self) {
        self.tls_failures.inc();
    }

    /// A device's data frame of so many bytes was taken in.
    pub(crate) fn frame(&self, bytes: usize) {
        self.frames.inc();
        self.bytes.inc_by(u64::try_from(bytes).unwrap_or(u64::MAX));
    }

    /// A device, or a connection, was refused.
    fn refused(&self, code: ErrorCode) {
        self.refusals.get_or_create(&[("reason", reason(code))]).inc();
    }

    /// A connection is told this, or would be if there were a place for telling it.
    pub(crate) fn said(&self, frame: &RelayFrame) {
        if let RelayFrame::Error { code, .. } = frame {
            self.refused(*code);
        }
    }

    /// A mailbox is in another state than before. `None`: it is not there.
    pub(crate) fn mailbox_moved(&self, from: Option<MailboxState>, to: Option<MailboxState>) {
        if from != to {
            from.map(|state| self.in_state(state).dec());
            to.map(|state| self.in_state(state).inc());
        }
    }

    /// A mailbox took a step, if that changed its state.
    pub(crate) fn stepped(&self, step: Option<Step>) {
        let Some(Step { lapsed, outcome, pairing }) = step else { return };
        if lapsed {
            self.lapsed_claims.inc();
        }
        if let Some(outcome) = outcome {
            self.outcomes.get_or_create(&[("outcome", outcome.name())]).inc();
        }
        if let Some(pairing) = pairing {
            self.pairing_seconds.observe(pairing.as_secs_f64());
        }
    }

    /// The store failed to answer.
    #[cfg(feature = "redis")]
    pub(crate) fn store_failed(&self) {
        self.store_errors.inc();
    }

    /// Each kind of trouble that comes from outside, and how often it came so far.
    pub(crate) fn troubles(&self) -> Vec<(&'static str, u64)> {
        let refusals = REASONS.iter().map(|name| (*name, self.refusals.get_or_create(&[("reason", *name)]).get()));
        let others = [("tls_handshake", self.tls_failures.get()), ("store", self.store_errors.get())];
        refusals.chain(others).collect()
    }

    /// Everything as OpenMetrics text, see [`CONTENT_TYPE`].
    pub(crate) fn render(&self, stats: Stats) -> String {
        let gauge = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        self.open_connections.set(gauge(stats.connections));
        self.stored_bytes.set(gauge(stats.queued_bytes));
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = encode(&mut text, &self.registry);
        text
    }

    fn in_state(&self, state: MailboxState) -> &Gauge {
        match state {
            MailboxState::Waiting => &self.waiting,
            MailboxState::Paired => &self.paired,
            MailboxState::Settled => &self.settled,
        }
    }

    fn register(&mut self) {
        let registry = &mut self.registry;
        registry.register("build", "The program", Info::new([("version", env!("CARGO_PKG_VERSION"))]));
        registry.register(
            "connections",
            "Open connections but those that are being refused",
            self.open_connections.clone(),
        );
        registry.register("accepted_connections", "Connections accepted", self.accepted.clone());
        registry.register("accept_errors", "Connections that the system did not hand out", self.accept_errors.clone());
        registry.register("tls_failures", "TLS handshakes that were not completed", self.tls_failures.clone());
        let states = Family::<[(&str, &str); 1], Gauge>::default();
        for (name, gauge) in
            [("waiting", &mut self.waiting), ("paired", &mut self.paired), ("settled", &mut self.settled)]
        {
            *gauge = states.get_or_create(&[("state", name)]).clone();
        }
        registry.register("mailboxes", "Live mailboxes", states);
        registry.register("frames", "Data frames taken in", self.frames.clone());
        registry.register("bytes", "Bytes of these data frames", self.bytes.clone());
        registry.register("stored_bytes", "Bytes of data frames stored for delivery", self.stored_bytes.clone());
        // Every line is there from the start, so that a first refusal is a change.
        for name in REASONS {
            drop(self.refusals.get_or_create(&[("reason", name)]));
        }
        registry.register("refusals", "Refusals, by error or limit", self.refusals.clone());
        for name in OUTCOMES {
            drop(self.outcomes.get_or_create(&[("outcome", name)]));
        }
        registry.register("outcomes", "Ended mailboxes, by how they ended", self.outcomes.clone());
        registry.register("lapsed_claims", "Second slots freed because nothing came", self.lapsed_claims.clone());
        registry.register(
            "pairing_seconds",
            "From the first claim to the end of a mailbox that both devices closed as done",
            self.pairing_seconds.clone(),
        );
        registry.register("store_errors", "Requests that the store did not answer", self.store_errors.clone());
    }
}

/// Every value that [`reason`] has.
const REASONS: [&str; 20] = [
    "malformed",
    "unexpected_frame",
    "no_such_nameplate",
    "no_such_mailbox",
    "bad_token",
    "mailbox_full",
    "draining",
    "connections",
    "mailboxes",
    "mailbox_frames",
    "window",
    "queued_bytes",
    "frame_bytes",
    "mailbox_bytes",
    "source_connections",
    "source_mailboxes",
    "source_claims",
    "source_misses",
    "store",
    "other",
];

fn reason(code: ErrorCode) -> &'static str {
    match code {
        ErrorCode::Malformed => "malformed",
        ErrorCode::UnexpectedFrame => "unexpected_frame",
        ErrorCode::NoSuchNameplate => "no_such_nameplate",
        ErrorCode::NoSuchMailbox => "no_such_mailbox",
        ErrorCode::BadToken => "bad_token",
        ErrorCode::MailboxFull => "mailbox_full",
        ErrorCode::Draining => "draining",
        ErrorCode::Limit(LimitKind::Connections) => "connections",
        ErrorCode::Limit(LimitKind::Mailboxes) => "mailboxes",
        ErrorCode::Limit(LimitKind::MailboxFrames) => "mailbox_frames",
        ErrorCode::Limit(LimitKind::Window) => "window",
        ErrorCode::Limit(LimitKind::QueuedBytes) => "queued_bytes",
        ErrorCode::Limit(LimitKind::FrameBytes) => "frame_bytes",
        ErrorCode::Limit(LimitKind::MailboxBytes) => "mailbox_bytes",
        ErrorCode::Limit(LimitKind::SourceConnections) => "source_connections",
        ErrorCode::Limit(LimitKind::SourceMailboxes) => "source_mailboxes",
        ErrorCode::Limit(LimitKind::SourceClaims) => "source_claims",
        ErrorCode::Limit(LimitKind::SourceMisses) => "source_misses",
        ErrorCode::Limit(LimitKind::Store) => "store",
        _ => "other",
    }
}
