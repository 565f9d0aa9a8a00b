//! One connection's place in a shared mailbox. It takes one step in the store at a time, and takes the device's next
//! frame only when the last one is in.

use super::record::{Change, Lent, Patience, Seen, Unavailable};
use super::seats::Alarm;
use super::sources::SharedSource;
use super::{LEAVE_PATIENCE, Place, SEAT_PATIENCE, Shared};
use crate::mailbox::progress::MailboxState;
use crate::mailbox::snapshot::Kept;
use crate::mailbox::{ConnectionId, Mailbox, Output, other};
use crate::store::{Refusal, error, limit};
use futures_util::future::BoxFuture;
use handfast_wire::{Ack, CloseReason, DataHeader, ErrorCode, LimitKind, MailboxId, Slot};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, Sleep, sleep};
use tokio_tungstenite::tungstenite::Bytes;

pub(crate) struct Seat {
    shared: Arc<Shared>,
    id: MailboxId,
    slot: Slot,
    connection: ConnectionId,
    source: SharedSource,
    place: Place,
    alarm: Arc<Alarm>,
    /// What was read from the mailbox and waits for the socket: at most what one step gives.
    outbox: VecDeque<Output>,
    /// The step that is being taken.
    work: Option<BoxFuture<'static, Taken>>,
    seen: Option<Seen>,
    look: Pin<Box<Sleep>>,
    /// The other slot's socket, if it is at another node.
    peer: Option<ConnectionId>,
    /// Why this seat is lost, until the connection has heard it.
    lost: Option<Refusal>,
    /// This slot is closed, or its mailbox is over: nothing is left to say.
    is_over: bool,
    /// Tells the node that this seat may still have to write.
    writer: watch::Receiver<()>,
}

/// What a device did.
#[derive(Clone)]
enum Act {
    /// Nothing: there may be news for it.
    Look,
    Data(DataHeader, Bytes),
    Ack(Ack),
    Close(CloseReason),
    /// Its socket is gone.
    Leave,
}

/// The end of a step.
struct Taken {
    seen: Option<Seen>,
    step: Result<Step, Refusal>,
}

struct Step {
    place: Place,
    outputs: Vec<Output>,
    peer: Option<ConnectionId>,
    refused: Option<ErrorCode>,
}

impl Seat {
    pub(super) fn new(
        shared: &Arc<Shared>,
        id: MailboxId,
        slot: Slot,
        connection: ConnectionId,
        source: SharedSource,
        place: Place,
        seen: Option<Seen>,
    ) -> Self {
        let alarm = shared.seats.add(id, slot);
        // What happened before the alarm was there.
        alarm.ring();
        let seat = Self {
            shared: Arc::clone(shared),
            id,
            slot,
            connection,
            source,
            place,
            alarm,
            outbox: VecDeque::new(),
            work: None,
            seen,
            look: Box::pin(sleep(shared.config.node_timeout)),
            peer: None,
            lost: None,
            is_over: false,
            writer: shared.writers.subscribe(),
        };
        seat.count_move(None, place.state);
        seat
    }

    /// Called when the socket takes something. Only then is anything fetched for it: what waits here is counted nowhere.
    pub(crate) fn poll_output(&mut self, cx: &mut Context<'_>) -> Poll<Result<Output, Refusal>> {
        while self.go_on(cx) && self.has_nothing() && !self.is_over && self.has_news(cx) {
            self.begin(Act::Look);
        }
        if let Some(lost) = self.lost.take() {
            return Poll::Ready(Err(lost));
        }
        if let Some(output) = self.outbox.pop_front() {
            return Poll::Ready(Ok(output));
        }
        if self.shared.is_stopping() {
            return Poll::Ready(Ok(Output::End(None)));
        }
        Poll::Pending
    }

    pub(crate) fn poll_ready(&mut self, cx: &mut Context<'_>) -> bool {
        let was_busy = self.work.is_some();
        let idle = self.go_on(cx);
        if was_busy && idle {
            // There may be something to send now, and what rang in the meantime is to be heard.
            cx.waker().wake_by_ref();
        }
        idle && self.lost.is_none()
    }

    /// Whether a step is being taken.
    pub(crate) fn is_busy(&self) -> bool {
        self.work.is_some()
    }

    /// Returns once no step is being taken.
    pub(crate) async fn finished(&mut self) {
        poll_fn(|cx| if self.go_on(cx) { Poll::Ready(()) } else { Poll::Pending }).await;
    }

    pub(crate) fn data(&mut self, header: DataHeader, frame: &Bytes) {
        // The copy lets go of the socket's read buffer.
        self.begin(Act::Data(header, Bytes::copy_from_slice(frame)));
    }

    pub(crate) fn ack(&mut self, ack: Ack) {
        self.begin(Act::Ack(ack));
    }

    pub(crate) fn close(&mut self, reason: CloseReason) {
        self.begin(Act::Close(reason));
    }

    /// Goes on with the step that is being taken. Whether none is.
    fn go_on(&mut self, cx: &mut Context<'_>) -> bool {
        if let Some(work) = &mut self.work {
            let Poll::Ready(taken) = work.as_mut().poll(cx) else { return false };
            self.work = None;
            self.finish(taken);
        }
        true
    }

    /// Whether to look at the mailbox. If not, the waker is called when there is reason to.
    fn has_news(&mut self, cx: &mut Context<'_>) -> bool {
        let rang = self.alarm.take(cx.waker());
        self.look.as_mut().poll(cx).is_ready() || rang
    }

    fn begin(&mut self, act: Act) {
        let Self { id, slot, connection, place, peer, .. } = *self;
        // Whoever looks knows that something has changed, or suspects it.
        let seen = if matches!(act, Act::Look) { None } else { self.seen.take() };
        let asker = Asker { shared: Arc::clone(&self.shared), id, slot, connection, place, peer };
        self.work = Some(Box::pin(asker.take(act, seen)));
    }

    fn finish(&mut self, Taken { seen, step }: Taken) {
        self.seen = seen;
        match step {
            Ok(Step { place, outputs, peer, refused }) => {
                self.count_move(self.place.state, place.state);
                self.place = place;
                self.peer = peer;
                self.is_over |= outputs.iter().any(|output| matches!(output, Output::End(_)));
                // A step fetches one data frame; there may be more.
                if outputs.iter().any(|output| matches!(output, Output::Data(_))) {
                    self.alarm.ring();
                }
                self.outbox.extend(outputs);
                self.lost = refused.map(|code| Refusal::Say(error(code)));
            }
            Err(refusal) => self.lost = Some(refusal),
        }
        let due = self.place.deadline.since(self.shared.now()) + Duration::from_millis(5);
        // In case a wake-up was lost, or the other device's node: now and then, and not all seats at once.
        let again = self.shared.config.node_timeout.mul_f64(rand::random_range(0.8..1.0));
        self.look.as_mut().reset(Instant::now() + due.min(again));
    }

    /// A shared mailbox counts where its first device is, so that no two nodes count it.
    fn count_move(&self, from: Option<MailboxState>, to: Option<MailboxState>) {
        if self.slot == Slot::First {
            self.shared.metrics.mailbox_moved(from, to);
        }
    }

    fn has_nothing(&self) -> bool {
        self.outbox.is_empty() && self.lost.is_none()
    }
}

/// A device that is gone is told to the mailbox, after what it did last.
impl Drop for Seat {
    fn drop(&mut self) {
        self.shared.seats.remove(self.id, &self.alarm);
        self.count_move(self.place.state, None);
        let Self { id, slot, connection, source, place, is_over, .. } = *self;
        let shared = Arc::clone(&self.shared);
        let asker = Asker { shared: Arc::clone(&shared), id, slot, connection, place, peer: None };
        let (work, writer) = (self.work.take(), self.writer.clone());
        self.shared.left.notify_one();
        let leaves = !is_over || work.is_some();
        if let Ok(runtime) = tokio::runtime::Handle::try_current()
            && (leaves || place.is_settled)
        {
            runtime.spawn(async move {
                let mut last = place;
                if let Some(work) = work
                    && let Ok(step) = work.await.step
                {
                    last = step.place;
                }
                if leaves {
                    asker.take(Act::Leave, None).await;
                }
                if last.is_settled {
                    shared.hit(source).await;
                }
                drop(writer);
            });
        }
    }
}

/// What a step needs of a seat, so that it can outlive the seat.
struct Asker {
    shared: Arc<Shared>,
    id: MailboxId,
    slot: Slot,
    connection: ConnectionId,
    place: Place,
    peer: Option<ConnectionId>,
}

impl Asker {
    async fn take(self, act: Act, mut seen: Option<Seen>) -> Taken {
        let step = self.step(act, &mut seen).await;
        Taken { seen, step }
    }

    async fn step(&self, mut act: Act, seen: &mut Option<Seen>) -> Result<Step, Refusal> {
        if let Act::Data(header, _) = act {
            self.shared.see(self.id, seen).await;
            // A frame that is there already says what its acknowledgement says, and needs no room.
            if Shared::has_frame(seen, self.slot, header.seq) {
                act = Act::Ack(Ack { ack: header.ack, flags: header.flags });
            }
        }
        let lent = match &act {
            Act::Data(header, frame) => self.borrow(header, frame.len(), seen).await?,
            _ => Lent::default(),
        };
        let dead = match (&act, self.peer) {
            (Act::Look, Some(peer)) if self.shared.is_dead(peer.node).await => Some(peer),
            _ => None,
        };
        self.change(act, dead, seen, lent).await
    }

    /// Room for a data frame in the byte budget of all mailboxes.
    async fn borrow(&self, header: &DataHeader, bytes: usize, seen: &mut Option<Seen>) -> Result<Lent, Refusal> {
        let lent = Lent { minute: self.place.minute, bytes };
        if self.lends(lent).await? {
            return Ok(lent);
        }
        // The acknowledgement on this frame may make the room that it needs.
        let ack = Ack { ack: header.ack, flags: header.flags };
        let step = self.change(Act::Ack(ack), None, seen, Lent::default()).await?;
        if let Some(code) = step.refused {
            return Err(Refusal::Say(error(code)));
        }
        if self.lends(lent).await? { Ok(lent) } else { Err(Refusal::Say(limit(LimitKind::QueuedBytes))) }
    }

    async fn lends(&self, lent: Lent) -> Result<bool, Refusal> {
        let request = self.shared.budget.request(lent);
        let mut patience = Patience::new(SEAT_PATIENCE);
        loop {
            match self.shared.lends(&request).await {
                Ok(lends) => return Ok(lends),
                Err(_) => {
                    if let Err(Unavailable) = patience.wait().await {
                        self.shared.budget.leave(request);
                        return Err(Refusal::Drop);
                    }
                }
            }
        }
    }

    async fn change(
        &self,
        act: Act,
        dead: Option<ConnectionId>,
        seen: &mut Option<Seen>,
        lent: Lent,
    ) -> Result<Step, Refusal> {
        let config = &self.shared.config;
        let patience = if matches!(act, Act::Leave) { LEAVE_PATIENCE } else { SEAT_PATIENCE };
        let changed = self.shared.change(self.id, seen, lent, patience, |record, now| {
            let Some(record) = record.as_mut().filter(|record| record.incarnation == self.place.incarnation) else {
                return Change::plain(None);
            };
            let mailbox = &mut record.mailbox;
            mailbox.catch_up(now, config);
            if let Some(dead) = dead {
                mailbox.detach((other(self.slot), dead));
            }
            let refused = self.act(mailbox, &act, now).err();
            let outputs = if matches!(act, Act::Look) { self.outputs(mailbox) } else { Vec::new() };
            let frames = outputs.iter().filter_map(|output| match output {
                Output::Data(frame) => Some((other(self.slot), frame.number)),
                _ => None,
            });
            let peer = mailbox.connection(other(self.slot)).filter(|peer| peer.node != self.connection.node);
            let (frames, only_now) = (frames.collect(), !outputs.is_empty());
            let place = Place::of(record, config);
            Change { result: Some((place, outputs, peer, refused)), frames, only_now }
        });
        let (changed, frames) = changed.await.map_err(|Unavailable| Refusal::Drop)?;
        let gone = || Refusal::Say(error(ErrorCode::NoSuchMailbox));
        let (place, outputs, peer, refused) = changed.ok_or_else(gone)?;
        let mut frames = frames.into_iter();
        let filled = outputs.into_iter().filter_map(|output| match output {
            Output::Frame(frame) => Some(Output::Frame(frame)),
            Output::Data(_) => frames.next().map(Output::Data),
            Output::End(reason) => Some(Output::End(reason)),
        });
        Ok(Step { place, outputs: filled.collect(), peer, refused })
    }

    fn act(&self, mailbox: &mut Mailbox<Kept>, act: &Act, now: crate::time::Time) -> Result<(), ErrorCode> {
        let seat = (self.slot, self.connection);
        match act {
            Act::Look => Ok(()),
            Act::Data(header, frame) => {
                let len = u32::try_from(frame.len()).unwrap_or(u32::MAX);
                let kept = Kept { number: header.seq, len, bytes: Some(frame.clone()) };
                mailbox.data(now, &self.shared.config, seat, *header, kept)
            }
            Act::Ack(ack) => mailbox.ack(seat, *ack),
            Act::Close(reason) => {
                mailbox.close(seat, *reason);
                Ok(())
            }
            Act::Leave => {
                mailbox.detach(seat);
                Ok(())
            }
        }
    }

    fn outputs(&self, mailbox: &mut Mailbox<Kept>) -> Vec<Output<Kept>> {
        let mut outputs = Vec::new();
        while let Some(output) = mailbox.poll_output((self.slot, self.connection)) {
            let last = matches!(output, Output::End(_) | Output::Data(_));
            outputs.push(output);
            if last {
                break;
            }
        }
        outputs
    }
}
