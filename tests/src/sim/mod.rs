//! A world of simulated time in which engines exchange frames through a relay in memory.
//!
//! Everything that happens follows from one seed, which is printed when a test fails. A [`Fault`] sees each frame
//! before it is delivered and may drop, hold, change or multiply it.

mod device;
mod people;
mod relay;

pub use device::{Ask, Device};
pub use people::{Cast, Pair, ROLES, Role, Scenario, entry, info};
pub use relay::{ConnectionId, Relay, ToSocket};

use handfast_protocol::{Engine, Input, Time};
use rand::rngs::ChaCha12Rng;
use rand::{RngExt, SeedableRng};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// Where a frame goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Toward {
    /// From a device to the relay.
    Relay,
    /// From the relay to a device.
    Device,
}

/// A frame that is about to be delivered.
pub struct Passing<'a> {
    /// The device that sent it or gets it.
    pub device: usize,
    /// Where it goes.
    pub toward: Toward,
    /// How many frames went this way, to or from this device, before it.
    pub index: usize,
    /// The frame.
    pub frame: &'a [u8],
}

/// What becomes of a frame.
pub enum Verdict {
    /// It is delivered.
    Pass,
    /// It is lost.
    Drop,
    /// It waits for [`Sim::release`].
    Hold,
    /// These are delivered in its place, in order.
    Instead(Vec<Vec<u8>>),
}

/// Decides about each frame.
pub type Fault = Box<dyn FnMut(&Passing<'_>) -> Verdict>;

/// The world.
pub struct Sim {
    seed: u64,
    now_ms: u64,
    rng: ChaCha12Rng,
    /// The relay between the devices.
    pub relay: Relay,
    /// The devices, in the order in which they were added.
    pub devices: Vec<Device>,
    /// Sees each frame before it is delivered.
    pub fault: Option<Fault>,
    /// Deliver frames of different connections in random order, not in the order in which they were sent.
    pub shuffle: bool,
    in_flight: VecDeque<InFlight>,
    held: Vec<InFlight>,
    passed: BTreeMap<(usize, Toward), usize>,
    next_connection: ConnectionId,
}

struct InFlight {
    device: usize,
    connection: ConnectionId,
    toward: Toward,
    what: ToSocket,
}

impl Sim {
    /// A world without devices.
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            now_ms: 0,
            rng: ChaCha12Rng::seed_from_u64(seed ^ 0x5eed),
            relay: Relay::new(seed),
            devices: Vec::new(),
            fault: None,
            shuffle: false,
            in_flight: VecDeque::new(),
            held: Vec::new(),
            passed: BTreeMap::new(),
            next_connection: 0,
        }
    }

    /// Milliseconds since the beginning.
    pub fn now_ms(&self) -> u64 {
        self.now_ms
    }

    /// The time as engines are told it.
    pub fn now(&self) -> Time {
        Time::from_origin(Duration::from_millis(self.now_ms))
    }

    /// A random source for one device.
    pub fn device_rng(&self) -> ChaCha12Rng {
        ChaCha12Rng::seed_from_u64(self.seed ^ ((self.devices.len() as u64 + 1) << 32))
    }

    /// Adds a device, not yet connected. `network` is where the relay sees it; equal numbers are equal networks.
    pub fn add(&mut self, engine: Engine, rng: ChaCha12Rng, network: u8) -> usize {
        self.devices.push(Device::new(engine, rng, network));
        self.devices.len() - 1
    }

    /// The device opens a socket to the relay.
    pub fn connect(&mut self, device: usize) {
        assert!(self.devices[device].connection.is_none(), "one socket at a time");
        self.next_connection += 1;
        self.relay.connect(self.next_connection, self.devices[device].network);
        self.devices[device].connection = Some(self.next_connection);
        self.input(device, Input::Connected);
    }

    /// The device's socket breaks, with everything in flight on it.
    pub fn disconnect(&mut self, device: usize) {
        let Some(connection) = self.devices[device].connection.take() else { return };
        self.in_flight.retain(|frame| frame.connection != connection);
        self.held.retain(|frame| frame.connection != connection);
        self.relay.hang_up(connection);
        self.collect();
        self.input(device, Input::Disconnected);
    }

    /// Gives an engine an input and takes its outputs.
    pub fn input(&mut self, device: usize, input: Input<'_>) {
        let now = self.now();
        let target = &mut self.devices[device];
        let to_send = target.handle(input, now);
        if let Some(connection) = target.connection {
            let frames = to_send.into_iter().map(ToSocket::Frame);
            // A driver closes its socket once the run is over and everything is sent.
            let end = (target.outcome.is_some() && !target.hung_up).then_some(ToSocket::Close);
            target.hung_up |= end.is_some();
            let what = frames.chain(end);
            self.in_flight.extend(what.map(|what| InFlight { device, connection, toward: Toward::Relay, what }));
        } else {
            assert!(to_send.is_empty(), "an engine without a socket sends nothing");
        }
    }

    /// Delivers this frame to a device as if the relay had sent it.
    pub fn inject(&mut self, device: usize, frame: &[u8]) {
        self.input(device, Input::Frame(frame));
    }

    /// Frames that are not yet delivered.
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Delivers the next frame; `false` if there is none.
    pub fn deliver(&mut self) -> bool {
        let next = if self.shuffle { self.random_lane() } else { 0 };
        let Some(frame) = self.in_flight.remove(next) else { return false };
        self.pass(frame);
        true
    }

    /// Delivers frames until there are none. No time passes.
    pub fn run(&mut self) {
        let mut budget = 100_000;
        while self.deliver() {
            budget -= 1;
            assert!(budget > 0, "the devices never come to rest");
        }
    }

    /// What is in flight to the relay reaches it, and everything that the relay has reaches the devices. What the
    /// devices answer stays in flight.
    pub fn round(&mut self) {
        let (up, down): (VecDeque<_>, VecDeque<_>) =
            self.in_flight.drain(..).partition(|frame| frame.toward == Toward::Relay);
        self.in_flight = down;
        for frame in up {
            self.pass(frame);
        }
        let (up, down): (VecDeque<_>, VecDeque<_>) =
            self.in_flight.drain(..).partition(|frame| frame.toward == Toward::Relay);
        self.in_flight = up;
        for frame in down {
            self.pass(frame);
        }
    }

    /// Lets time pass, with everything that is due on the way at its exact time.
    pub fn advance_to(&mut self, ms: u64) {
        assert!(ms >= self.now_ms, "time does not go back");
        loop {
            self.run();
            let wakes = self.devices.iter().filter(|device| device.outcome.is_none()).filter_map(|device| device.wake);
            let next = wakes.chain(self.relay.next_deadline()).min().filter(|next| *next <= ms);
            let Some(next) = next else { break };
            self.now_ms = self.now_ms.max(next);
            self.relay.on_time(self.now_ms);
            self.collect();
            self.tick();
        }
        self.now_ms = ms;
    }

    /// [`Sim::advance_to`] so many milliseconds from now.
    pub fn advance(&mut self, ms: u64) {
        self.advance_to(self.now_ms + ms);
    }

    /// Moves the clock without telling anybody: a machine that slept.
    pub fn jump(&mut self, ms: u64) {
        self.now_ms += ms;
    }

    /// What a fault held is delivered next, without asking it again.
    pub fn release(&mut self) {
        for frame in std::mem::take(&mut self.held) {
            self.arrive(frame);
        }
    }

    fn tick(&mut self) {
        for device in 0..self.devices.len() {
            if self.devices[device].wake.is_some_and(|wake| wake <= self.now_ms) {
                self.devices[device].wake = None;
                self.input(device, Input::Tick);
            }
        }
    }

    fn pass(&mut self, frame: InFlight) {
        let Some(mut fault) = self.fault.take() else { return self.arrive(frame) };
        let verdict = match &frame.what {
            ToSocket::Frame(bytes) => {
                let index = self.passed.entry((frame.device, frame.toward)).or_default();
                let passing = Passing { device: frame.device, toward: frame.toward, index: *index, frame: bytes };
                *index += 1;
                fault(&passing)
            }
            ToSocket::Close => Verdict::Pass,
        };
        self.fault = Some(fault);
        match verdict {
            Verdict::Pass => self.arrive(frame),
            Verdict::Drop => {}
            Verdict::Hold => self.held.push(frame),
            Verdict::Instead(frames) => {
                let InFlight { device, connection, toward, .. } = frame;
                for bytes in frames {
                    self.arrive(InFlight { device, connection, toward, what: ToSocket::Frame(bytes) });
                }
            }
        }
    }

    fn arrive(&mut self, frame: InFlight) {
        let InFlight { device, connection, toward, what } = frame;
        match (toward, what) {
            (Toward::Relay, ToSocket::Frame(bytes)) => self.relay.frame(connection, &bytes, self.now_ms),
            (Toward::Relay, ToSocket::Close) => {
                self.devices[device].connection.take_if(|own| *own == connection);
                self.relay.hang_up(connection);
            }
            (Toward::Device, what) => {
                if self.devices[device].connection != Some(connection) {
                    return;
                }
                match what {
                    ToSocket::Frame(bytes) => {
                        self.devices[device].received.push(bytes.clone());
                        self.input(device, Input::Frame(&bytes));
                    }
                    ToSocket::Close => {
                        self.devices[device].connection = None;
                        self.in_flight.retain(|frame| frame.connection != connection);
                        self.input(device, Input::Disconnected);
                    }
                }
            }
        }
        self.collect();
    }

    /// What the relay has to say goes on its way.
    fn collect(&mut self) {
        for (connection, what) in self.relay.take_output() {
            let device = self.devices.iter().position(|device| device.connection == Some(connection));
            if let Some(device) = device {
                self.in_flight.push_back(InFlight { device, connection, toward: Toward::Device, what });
            }
        }
    }

    /// The first frame of a random connection and direction.
    fn random_lane(&mut self) -> usize {
        let mut first = BTreeMap::new();
        for (position, frame) in self.in_flight.iter().enumerate() {
            first.entry((frame.connection, frame.toward)).or_insert(position);
        }
        let positions: Vec<usize> = first.into_values().collect();
        if positions.is_empty() { 0 } else { positions[self.rng.random_range(0..positions.len())] }
    }
}

impl Drop for Sim {
    #[expect(clippy::print_stderr, reason = "the harness shows it for a failed test only")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("simulated with seed {} until {} ms", self.seed, self.now_ms);
        }
    }
}
