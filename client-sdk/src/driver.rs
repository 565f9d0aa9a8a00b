//! Moves frames between an engine and a relay, keeps the connection, and does what the engine asks for.

use crate::run::{Command, Event, Options};
use crate::socket::Socket;
use crate::{Approval, Error, ProfileError, RecordedDevice};
use handfast_protocol::bundle::CredentialBundle;
use handfast_protocol::device::{EnrolledDevice, IdentityPublicKey};
use handfast_protocol::{Decision, Engine, Event as EngineEvent, Failure, Input, Output, Success, Time, ToStore};
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio::time::{sleep_until, timeout};

/// Waits between tries to reconnect: doubled each time.
const FIRST_BACKOFF: Duration = Duration::from_millis(250);
const LONGEST_BACKOFF: Duration = Duration::from_secs(8);
/// A connection that lived this long worked: losing it is answered with a new one at once.
const STEADY: Duration = Duration::from_secs(1);
/// A relay that takes nothing for so long is as good as gone.
const WRITE_TIMEOUT: Duration = Duration::from_secs(20);
/// A relay that has never said a word is given up after so many connections.
const TRIES_WITHOUT_ANSWER: u32 = 5;

/// What the engine's storage requests mean on this device. Its methods block: they run beside the async work.
pub(crate) trait Store: Send + 'static {
    /// Only a trusted device's engine asks for this.
    fn prepare(&mut self, _record: Option<Box<EnrolledDevice>>) -> Result<CredentialBundle, ProfileError> {
        Err(ProfileError::NotFound(PathBuf::new()))
    }

    fn store(&mut self, what: ToStore) -> Result<(), ProfileError>;

    /// What this device has on record of another one. Only a trusted device is asked.
    fn recorded(&self, _identity: &IdentityPublicKey) -> Option<RecordedDevice> {
        None
    }
}

/// The engine's clock: milliseconds since a run began.
#[derive(Clone, Copy)]
pub(crate) struct Clock(Instant);

impl Clock {
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn now(self) -> Time {
        Time::from_origin(self.0.elapsed())
    }

    fn instant(self, time: Time) -> Instant {
        self.0 + time.since(Time::from_origin(Duration::ZERO))
    }
}

/// Both ends of a run's conversation with the program.
pub(crate) struct Conversation {
    events: mpsc::Sender<Event>,
    commands: mpsc::Receiver<Command>,
    /// The program wants no more of this run: it cancelled, or let go of its handle.
    cancelled: bool,
}

impl Conversation {
    pub(crate) fn new(events: mpsc::Sender<Event>, commands: mpsc::Receiver<Command>) -> Self {
        Self { events, commands, cancelled: false }
    }

    /// The program's next decision. Cancel-safe. After a cancel there is none.
    pub(crate) async fn decision(&mut self) -> Decision {
        if self.cancelled {
            return std::future::pending().await;
        }
        let command = self.commands.recv().await;
        self.noted(command.map_or(Decision::Cancel, |Command(decision)| decision))
    }

    /// A decision that was made already.
    fn waiting_decision(&mut self) -> Option<Decision> {
        let Command(decision) = self.commands.try_recv().ok()?;
        Some(self.noted(decision))
    }

    /// Whether the program has cancelled. What ends for another reason at the same time is not begun anew.
    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancelled
    }

    fn noted(&mut self, decision: Decision) -> Decision {
        self.cancelled |= matches!(decision, Decision::Cancel);
        decision
    }

    /// Tells the program. Nobody may be listening any more; the run goes on all the same.
    pub(crate) async fn tell(&self, event: Event) {
        let _ = self.events.send(event).await;
    }
}

/// Drives one engine to its end. Gives the store back, with what it holds.
pub(crate) async fn drive<S: Store>(
    engine: Engine,
    store: S,
    clock: Clock,
    options: &Options,
    conversation: &mut Conversation,
) -> (Result<Success, Error>, Option<S>) {
    let driver = Driver {
        engine,
        store: Some(store),
        store_error: None,
        clock,
        options,
        conversation,
        socket: None,
        connected_at: None,
        tries: 0,
        unsteady: false,
        was_answered: false,
        wake: None,
    };
    driver.run().await
}

struct Driver<'a, S> {
    engine: Engine,
    store: Option<S>,
    /// What the store said, for a better answer than the engine's.
    store_error: Option<ProfileError>,
    clock: Clock,
    options: &'a Options,
    conversation: &'a mut Conversation,
    socket: Option<Socket>,
    /// When the last connection was made.
    connected_at: Option<Instant>,
    /// Connections tried since one was steady.
    tries: u32,
    /// The last connections were lost as soon as they were made.
    unsteady: bool,
    /// The relay has said something in this run.
    was_answered: bool,
    wake: Option<Time>,
}

impl<S: Store> Driver<'_, S> {
    async fn run(mut self) -> (Result<Success, Error>, Option<S>) {
        let mut unreachable = None;
        loop {
            if let Some(result) = self.drain().await {
                let offline = self.socket.is_none();
                if let Some(socket) = self.socket.take() {
                    socket.close().await;
                }
                let result = match (result, self.store_error.take(), unreachable) {
                    (Ok(success), None, _) => Ok(success),
                    // The peer has confirmed: that stands, whatever became of the record.
                    (Ok(_), Some(error), _) => Err(Error::NotRecorded(error)),
                    (Err(Failure::StoreFailed), Some(error), _) => Err(Error::Profile(error)),
                    (Err(Failure::Expired | Failure::PeerLost), _, Some(error)) if offline => Err(error),
                    (Err(failure), ..) => Err(Error::Failed(failure)),
                };
                return (result, self.store);
            }
            if self.socket.is_some() {
                self.wait().await;
            } else {
                match self.connect().await {
                    Ok(()) => {}
                    // The first connection: the person can mend the address now.
                    Err(error) if self.connected_at.is_none() => return (Err(error), self.store),
                    Err(error) if !self.was_answered && self.tries >= TRIES_WITHOUT_ANSWER => {
                        return (Err(error), self.store);
                    }
                    Err(error) => {
                        self.back_off(&error).await;
                        unreachable = Some(error);
                    }
                }
            }
        }
    }

    /// Does everything the engine has to do; the result when the run is over.
    async fn drain(&mut self) -> Option<Result<Success, Failure>> {
        let mut result = None;
        while let Some(output) = self.engine.poll() {
            match output {
                Output::Send(frame) => {
                    let fed = match &mut self.socket {
                        Some(socket) => timeout(WRITE_TIMEOUT, socket.feed(frame)).await.is_ok_and(|fed| fed.is_ok()),
                        None => true,
                    };
                    if !fed {
                        self.disconnected();
                    }
                }
                Output::Event(event) => {
                    // What was queued before goes out before the program gets to think.
                    self.flush().await;
                    self.tell(event).await;
                }
                Output::Prepare(record) => {
                    self.flush().await;
                    let prepared = self.with_store(move |store| store.prepare(record)).await;
                    // What the person decided in the meantime comes before the release.
                    while let Some(decision) = self.conversation.waiting_decision() {
                        self.handle(Input::Decision(decision));
                    }
                    match prepared {
                        Some(bundle) => self.handle(Input::Prepared(Box::new(bundle))),
                        None => self.handle(Input::StoreFailed),
                    }
                }
                Output::Store(what) => {
                    self.flush().await;
                    let stored = self.with_store(move |store| store.store(what)).await;
                    self.handle(if stored.is_some() { Input::Stored } else { Input::StoreFailed });
                }
                Output::WakeAt(time) => self.wake = Some(time),
                Output::Done(done) => result = Some(done),
                _ => {}
            }
        }
        self.flush().await;
        result
    }

    /// Waits for a frame, a command or the time that the engine named.
    async fn wait(&mut self) {
        let Some(socket) = &mut self.socket else { return };
        let wake = self.wake.map(|time| self.clock.instant(time));
        tokio::select! {
            frame = socket.frame() => match frame {
                Some(frame) => {
                    self.was_answered = true;
                    self.handle(Input::Frame(&frame));
                }
                None => self.disconnected(),
            },
            decision = self.conversation.decision() => self.handle(Input::Decision(decision)),
            () = at(wake) => self.tick(),
        }
    }

    async fn connect(&mut self) -> Result<(), Error> {
        let relay = self.options.relay.clone();
        if std::mem::take(&mut self.unsteady) {
            return Err(Error::RelayUnreachable { relay, why: "it closes the connection".into() });
        }
        self.tries += 1;
        if self.connected_at.is_none() {
            self.conversation.tell(Event::Connecting { relay: relay.clone() }).await;
        }
        let connecting = Socket::connect(&relay);
        tokio::pin!(connecting);
        let wake = self.wake.map(|time| self.clock.instant(time));
        tokio::select! {
            connected = &mut connecting => {
                self.socket = Some(connected?);
                self.connected_at = Some(Instant::now());
                self.handle(Input::Connected);
                self.conversation.tell(Event::Connected).await;
            }
            decision = self.conversation.decision() => self.handle(Input::Decision(decision)),
            () = at(wake) => self.tick(),
        }
        Ok(())
    }

    /// Waits before the next try, but not longer than the engine's time.
    async fn back_off(&mut self, error: &Error) {
        let wait = FIRST_BACKOFF.saturating_mul(1 << self.tries.saturating_sub(2).min(6)).min(LONGEST_BACKOFF);
        // Two devices that lost the same relay should not come back in step.
        let wait = wait.mul_f64(rand::random_range(0.75..1.0));
        self.conversation.tell(Event::Reconnecting { attempt: self.tries, wait, why: error.cause() }).await;
        let wake = self.wake.map(|time| self.clock.instant(time));
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            decision = self.conversation.decision() => self.handle(Input::Decision(decision)),
            () = at(wake) => self.tick(),
        }
    }

    /// The time that the engine named has come. It names another if there is one.
    fn tick(&mut self) {
        self.wake = None;
        self.handle(Input::Tick);
    }

    fn handle(&mut self, input: Input<'_>) {
        self.engine.handle(input, self.clock.now(), &mut rand::rng());
    }

    fn disconnected(&mut self) {
        self.socket = None;
        if self.was_answered && self.connected_at.is_some_and(|at| at.elapsed() >= STEADY) {
            self.tries = 0;
        }
        // One new connection is free, then a relay that takes connections only to drop them is treated like none.
        self.unsteady = self.tries > 1;
        self.handle(Input::Disconnected);
    }

    async fn flush(&mut self) {
        let flushed = match &mut self.socket {
            Some(socket) => timeout(WRITE_TIMEOUT, socket.flush()).await.is_ok_and(|flushed| flushed.is_ok()),
            None => true,
        };
        if !flushed {
            self.disconnected();
        }
    }

    /// Runs a blocking call on the store. `None` if it failed; the error is kept.
    async fn with_store<T: Send + 'static>(
        &mut self,
        call: impl FnOnce(&mut S) -> Result<T, ProfileError> + Send + 'static,
    ) -> Option<T> {
        let mut store = self.store.take()?;
        let called = tokio::task::spawn_blocking(move || {
            let result = call(&mut store);
            (store, result)
        });
        let (store, result) = called.await.ok()?;
        self.store = Some(store);
        result.map_err(|error| self.store_error = Some(error)).ok()
    }

    async fn tell(&self, event: EngineEvent) {
        let instant = |time| self.clock.instant(time);
        let event = match event {
            EngineEvent::ShowCode { code, until } => Event::ShowCode { code, until: instant(until) },
            EngineEvent::ShowQr { qr, until } => Event::ShowQr { qr, until: instant(until) },
            EngineEvent::PeerHere => Event::PeerHere,
            EngineEvent::PeerAway { until } => Event::PeerAway { until: until.map(instant) },
            EngineEvent::PeerFreed => Event::PeerFreed,
            EngineEvent::ThirdClaim => Event::ThirdClaim,
            EngineEvent::Account { label, id, trusted_name, trusted_identity, own_identity } => {
                Event::Account { label, id, trusted_name, trusted_identity, own_identity }
            }
            EngineEvent::ShowCheckCode(code) => Event::ShowCheckCode(code),
            EngineEvent::AskCheckCode => Event::AskCheckCode,
            EngineEvent::AskApproval(asked) => Event::AskApproval(Approval {
                recorded: self.store.as_ref().filter(|_| asked.recorded).and_then(|s| s.recorded(&asked.identity)),
                purpose: asked.purpose,
                request: asked.request,
                identity: asked.identity,
                name: asked.name,
                platform: asked.platform,
                network: asked.network,
                authenticated_by: asked.authenticated_by,
            }),
            EngineEvent::AskDifferentNetwork => Event::AskDifferentNetwork,
            EngineEvent::GrantSent => Event::GrantSent,
            EngineEvent::Stored => Event::Stored,
            // An engine event that this version of the SDK does not show.
            _ => return,
        };
        self.conversation.tell(event).await;
    }
}

/// Until then; for ever if there is no time.
async fn at(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant.into()).await,
        None => std::future::pending().await,
    }
}
