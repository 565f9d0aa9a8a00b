//! One simulated device: an engine, and a record of everything it said.

use super::ConnectionId;
use handfast_protocol::device::EnrolledDevice;
use handfast_protocol::{Engine, Event, Failure, Input, Output, Success, Time, ToStore};
use rand::rngs::ChaCha12Rng;
use std::collections::VecDeque;
use std::time::Duration;

/// What the device's person or store has to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// The digits on the other screen.
    CheckCode,
    /// Whether to release.
    Approval,
    /// Whether to release although the networks differ.
    DifferentNetwork,
    /// Write the record and hand in the bundle.
    Prepare,
    /// Store.
    Store,
}

/// A device.
pub struct Device {
    /// Its engine.
    pub engine: Engine,
    /// Events so far.
    pub events: Vec<Event>,
    /// What was asked and is not yet answered.
    pub asked: VecDeque<Ask>,
    /// Records that were to be written before a bundle is handed in.
    pub prepared: Vec<Option<Box<EnrolledDevice>>>,
    /// What was to be stored.
    pub stored: Vec<ToStore>,
    /// How the run ended.
    pub outcome: Option<Result<Success, Failure>>,
    /// Every frame that it sent.
    pub sent: Vec<Vec<u8>>,
    /// Every frame that it was given by the relay.
    pub received: Vec<Vec<u8>>,
    /// Debug form of every output.
    pub trace: Vec<String>,
    /// When it wants to be woken, in milliseconds.
    pub wake: Option<u64>,
    pub(super) connection: Option<ConnectionId>,
    pub(super) network: u8,
    pub(super) hung_up: bool,
    rng: ChaCha12Rng,
}

impl Device {
    pub(super) fn new(engine: Engine, rng: ChaCha12Rng, network: u8) -> Self {
        Self {
            engine,
            events: Vec::new(),
            asked: VecDeque::new(),
            prepared: Vec::new(),
            stored: Vec::new(),
            outcome: None,
            sent: Vec::new(),
            received: Vec::new(),
            trace: Vec::new(),
            wake: None,
            connection: None,
            network,
            hung_up: false,
            rng,
        }
    }

    /// Whether it has a socket.
    pub fn is_connected(&self) -> bool {
        self.connection.is_some()
    }

    /// The names of its events, in order.
    pub fn event_names(&self) -> Vec<String> {
        let name = |event: &Event| {
            let text = format!("{event:?}");
            text.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default().to_owned()
        };
        self.events.iter().map(name).collect()
    }

    /// Whether an event of this name happened.
    pub fn saw(&self, name: &str) -> bool {
        self.event_names().iter().any(|event| event == name)
    }

    /// Takes one input and drains the engine; gives the frames to send.
    pub(super) fn handle(&mut self, input: Input<'_>, now: Time) -> Vec<Vec<u8>> {
        self.engine.handle(input, now, &mut self.rng);
        let mut to_send = Vec::new();
        while let Some(output) = self.engine.poll() {
            assert!(self.outcome.is_none(), "nothing follows Done");
            self.trace.push(format!("{output:?}"));
            match output {
                Output::Send(frame) => {
                    self.sent.push(frame.clone());
                    to_send.push(frame);
                }
                Output::Event(event) => {
                    self.asked.extend(match event {
                        Event::AskCheckCode => Some(Ask::CheckCode),
                        Event::AskApproval(_) => Some(Ask::Approval),
                        Event::AskDifferentNetwork => Some(Ask::DifferentNetwork),
                        _ => None,
                    });
                    self.events.push(event);
                }
                Output::Prepare(record) => {
                    self.prepared.push(record);
                    self.asked.push_back(Ask::Prepare);
                }
                Output::Store(what) => {
                    self.stored.push(what);
                    self.asked.push_back(Ask::Store);
                }
                Output::WakeAt(time) => {
                    self.wake = Some(millis(time));
                }
                Output::Done(result) => self.outcome = Some(result),
                _ => panic!("an output that the simulation does not know"),
            }
        }
        to_send
    }
}

/// Milliseconds since the simulation's beginning.
pub(super) fn millis(time: Time) -> u64 {
    u64::try_from(time.since(Time::from_origin(Duration::ZERO)).as_millis()).unwrap()
}
