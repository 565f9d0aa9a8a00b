//! One mailbox in the store: read it, let [`crate::mailbox`] decide, write it back if nobody else has written since.

use super::Shared;
use super::client::{MAILBOXES, hex, mailbox_key, nameplate_key, node_channel};
use crate::limits::SourceTag;
use crate::mailbox::progress::Step;
use crate::mailbox::snapshot::Kept;
use crate::mailbox::{ConnectionId, Mailbox};
use crate::time::Time;
use handfast_wire::codec::{Reader, Writer};
use handfast_wire::{DecodeError, MailboxId, Nameplate, Slot};
use redis::{RedisResult, Value};
use std::ops::Range;
use std::time::Duration;
use tokio::time::{Instant, sleep};
use tokio_tungstenite::tungstenite::Bytes;
use tracing::warn;

/// How long a mailbox that is over is still there, so that sockets at other nodes hear why; and how much longer a live
/// one is there than it lives, so that the node that ends it finds it.
pub(super) const GRACE: Duration = Duration::from_secs(15);

/// Within this a seat that looks again has looked.
const LOOK_TIME: Duration = Duration::from_secs(2);

/// How much longer than it lives a mailbox counts if nobody ends it. Its end may move by less than a minute before that
/// is written.
pub(super) const COUNTS_ON: Duration = Duration::from_secs(15 + 60);

/// What the store holds of a mailbox.
pub(super) struct Record {
    /// Tells this mailbox from an earlier one with the same id.
    pub(super) incarnation: u64,
    pub(super) nameplate: Option<Nameplate>,
    /// Who made it.
    pub(super) source: SourceTag,
    pub(super) mailbox: Mailbox<Kept>,
}

/// A mailbox as it was read or written last. `None`: there is none.
pub(super) type Seen = Option<Version>;

/// One version of a record. The tag is random, so that no two versions ever have the same.
pub(super) struct Version {
    tag: Vec<u8>,
    state: Vec<u8>,
}

/// What a change came to.
pub(super) struct Change<R> {
    pub(super) result: R,
    /// Data frames that go out with the result: whose slot sent them, and their numbers.
    pub(super) frames: Vec<(Slot, u32)>,
    /// The result is lost if it is not delivered now: reading the mailbox again does not give it again.
    pub(super) only_now: bool,
}

/// The store did not answer in time, or answered something that makes no sense.
#[derive(Debug)]
pub(super) struct Unavailable;

/// Which bytes the budget has lent to the caller of a change, and until which minute it lends to this mailbox.
#[derive(Clone, Copy, Default)]
pub(super) struct Lent {
    pub(super) minute: u64,
    pub(super) bytes: usize,
}

impl Shared {
    /// Changes a mailbox in one step that no other node can come between, and wakes whom it concerns. `change` gets
    /// what is there, also a mailbox that is over, and runs again if another node was faster. What it results in is
    /// returned with the bytes of its frames.
    ///
    /// `seen` is what the caller knows of the mailbox, and after that what is there now.
    pub(super) async fn change<R>(
        &self,
        id: MailboxId,
        seen: &mut Option<Seen>,
        lent: Lent,
        patience: Duration,
        mut change: impl FnMut(&mut Option<Record>, Time) -> Change<R>,
    ) -> Result<(R, Vec<Bytes>), Unavailable> {
        let mut patience = Patience::new(patience);
        // Writes whose answers were lost. Each may have been carried out, or may be yet.
        let mut doubtful: Vec<Doubtful<R>> = Vec::new();
        loop {
            let current = match seen.take() {
                Some(current) => current,
                None => match self.load(id).await {
                    Ok(current) => current,
                    Err(_) => {
                        if let Err(gone) = patience.wait().await {
                            // In doubt what was lent is kept: the frame may be there.
                            if doubtful.is_empty() {
                                self.budget.give_back(lent, 0);
                            }
                            return Err(gone);
                        }
                        continue;
                    }
                },
            };
            let tag = current.as_ref().map(|version| version.tag.clone()).unwrap_or_default();
            if let Some(at) = doubtful.iter().position(|write| write.after == tag) {
                let Doubtful { made, write, step, .. } = doubtful.swap_remove(at);
                self.done(id, write, step, lent).await;
                *seen = Some(current);
                return Ok((made.result, self.frames(id, &made.frames).await?));
            }
            // Somebody has written since: whether after a write of ours, nobody can tell.
            let in_doubt = doubtful.iter().any(|write| write.before != tag);
            if in_doubt && doubtful.iter().any(|write| write.made.only_now) {
                return Err(Unavailable);
            }
            let before = current.as_ref().and_then(|version| self.readable(id, version));
            let mut record = current.as_ref().and_then(|version| self.readable(id, version));
            let made = change(&mut record, self.now());
            let unchanged = |state: &[u8]| current.as_ref().is_some_and(|version| version.state == state);
            let had = before.as_ref().and_then(|record| record.mailbox.state());
            let written = record.map(|after| {
                let step = Step::of(had, &after.mailbox, || self.now());
                let (state, write) = self.difference(before.as_ref(), after);
                (state, write, step)
            });
            let Some((state, write, step)) = written.filter(|(state, ..)| before.is_none() || !unchanged(state)) else {
                if !in_doubt {
                    self.budget.give_back(lent, 0);
                }
                *seen = Some(current);
                return Ok((made.result, Vec::new()));
            };
            let version = Version { tag: rand::random::<[u8; 16]>().to_vec(), state };
            match self.commit(id, &tag, &version, &write, &made.frames).await {
                Ok(Committed::Done(frames)) => {
                    self.done(id, write, step, lent).await;
                    *seen = Some(Some(version));
                    return Ok((made.result, frames));
                }
                Ok(Committed::Overtaken(newer)) => {
                    *seen = Some(newer);
                    if let Err(gone) = patience.give_way().await {
                        if doubtful.is_empty() {
                            self.budget.give_back(lent, 0);
                        }
                        return Err(gone);
                    }
                }
                Err(_) => {
                    doubtful.push(Doubtful { before: tag, after: version.tag, made, write, step });
                    patience.wait().await?;
                }
            }
        }
    }

    /// What follows from a write that was carried out.
    async fn done(&self, id: MailboxId, write: Write, step: Option<Step>, lent: Lent) {
        self.metrics.stepped(step);
        self.seats.tell(id, write.wake.iter().filter(|(node, _)| *node == self.node).map(|(_, slot)| *slot));
        self.budget.give_back(Lent { minute: write.minute, ..lent }, write.stored_change);
        if let Some(gone) = write.gone {
            self.budget.give_back(gone, 0);
        }
        if let Some(end) = write.new_end {
            self.prolong(write.source, id, end).await;
        }
        if write.has_ended {
            self.forget(id, write.nameplate, write.source).await;
        }
    }

    /// Whether this version has a data frame of this number already, as far as the caller has seen.
    pub(super) fn has_frame(seen: &Option<Seen>, slot: Slot, number: u32) -> bool {
        let version = seen.as_ref().and_then(Option::as_ref);
        let record = version.and_then(|version| Record::decode(&version.state).ok());
        record.is_some_and(|record| number < record.mailbox.count(slot))
    }

    /// Looks up a mailbox that the caller has not seen yet.
    pub(super) async fn see(&self, id: MailboxId, seen: &mut Option<Seen>) {
        if seen.is_none() {
            *seen = self.load(id).await.ok();
        }
    }

    pub(super) async fn load(&self, id: MailboxId) -> RedisResult<Seen> {
        let read: (Option<Vec<u8>>, Option<Vec<u8>>) =
            self.client.query(redis::cmd("HMGET").arg(mailbox_key(id)).arg("e").arg("s")).await?;
        Ok(match read {
            (Some(tag), Some(state)) => Some(Version { tag, state }),
            _ => None,
        })
    }

    /// The live mailbox in this version. One that cannot be read is as good as gone.
    pub(super) fn readable(&self, id: MailboxId, version: &Version) -> Option<Record> {
        match Record::decode(&version.state) {
            Ok(record) => Some(record),
            Err(error) => {
                warn!(mailbox = %self.log_key.tag(id), %error, "the store holds something that is no mailbox");
                None
            }
        }
    }

    /// The new state, and all that has to be written besides.
    fn difference(&self, before: Option<&Record>, mut after: Record) -> (Vec<u8>, Write) {
        let woken: Vec<Slot> = after.mailbox.take_woken().collect();
        let mut write = Write {
            put: Vec::new(),
            delete: Vec::new(),
            wake: Vec::new(),
            stored_change: 0,
            minute: after.mailbox.last_minute(&self.config),
            has_ended: after.mailbox.is_over() && before.is_none_or(|record| !record.mailbox.is_over()),
            nameplate: after.nameplate,
            source: after.source,
            gone: None,
            time_to_live: GRACE.max(self.config.node_timeout + LOOK_TIME),
            new_end: None,
        };
        // What an earlier mailbox of this id kept goes with it.
        let (before, replaced) = match before {
            Some(before) if before.incarnation != after.incarnation => (None, Some(before)),
            before => (before, None),
        };
        if let Some(replaced) = replaced {
            let (minute, bytes) = (replaced.mailbox.last_minute(&self.config), replaced.mailbox.stored_bytes());
            write.gone = Some(Lent { minute, bytes });
            for slot in [Slot::First, Slot::Second] {
                write.delete.extend(kept(&replaced.mailbox, slot).map(|number| field(slot, number)));
            }
        }
        for slot in [Slot::First, Slot::Second] {
            let had = before.map(|record| kept(&record.mailbox, slot)).unwrap_or_default();
            let has = kept(&after.mailbox, slot);
            write.delete.extend(had.filter(|number| !has.contains(number)).map(|number| field(slot, number)));
            for frame in after.mailbox.kept_mut(slot) {
                write.put.extend(frame.bytes.take().map(|bytes| (field(slot, frame.number), bytes)));
            }
        }
        for slot in woken {
            let freed = after.mailbox.freed().filter(|_| slot == Slot::Second);
            let sockets =
                [before.and_then(|record| record.mailbox.connection(slot)), after.mailbox.connection(slot), freed];
            for ConnectionId { node, .. } in sockets.into_iter().flatten() {
                if !write.wake.contains(&(node, slot)) {
                    write.wake.push((node, slot));
                }
            }
        }
        let stored = |bytes: usize| i64::try_from(bytes).unwrap_or(i64::MAX);
        write.stored_change =
            stored(after.mailbox.stored_bytes()) - before.map_or(0, |record| stored(record.mailbox.stored_bytes()));
        if !after.mailbox.is_over() {
            let end = after.mailbox.next_end(&self.config);
            write.time_to_live += end.since(self.now());
            let minute = |end: Time| end.0 / 60_000;
            let moved = |before: &Record| minute(before.mailbox.next_end(&self.config)) != minute(end);
            write.new_end = before.is_some_and(moved).then_some(end);
        }
        (after.encode(), write)
    }

    async fn commit(
        &self,
        id: MailboxId,
        tag: &[u8],
        new: &Version,
        write: &Write,
        frames: &[(Slot, u32)],
    ) -> RedisResult<Committed> {
        let mut call = self.scripts.commit.key(mailbox_key(id));
        call.arg(tag).arg(&new.tag).arg(&new.state).arg(millis(write.time_to_live));
        call.arg(write.put.len());
        for (field, bytes) in &write.put {
            call.arg(field).arg(bytes.as_ref());
        }
        call.arg(write.delete.len());
        for field in &write.delete {
            call.arg(field);
        }
        call.arg(frames.len());
        for (slot, number) in frames {
            call.arg(field(*slot, *number));
        }
        for (node, slot) in write.wake.iter().filter(|(node, _)| *node != self.node) {
            call.arg(node_channel(*node)).arg([id.0.as_slice(), &[slot.code()]].concat());
        }
        let mut answer = self.client.run::<Vec<Value>>(&call).await?.into_iter();
        if answer.next() == Some(Value::Int(1)) {
            return Ok(Committed::Done(answer.map(bytes).collect::<RedisResult<_>>()?));
        }
        let newer = (answer.next().map(bytes).transpose()?, answer.next().map(bytes).transpose()?);
        Ok(Committed::Overtaken(match newer {
            (Some(tag), Some(state)) if !tag.is_empty() => Some(Version { tag: tag.into(), state: state.into() }),
            _ => None,
        }))
    }

    /// The bytes of data frames, when the write that would have returned them was in doubt.
    async fn frames(&self, id: MailboxId, wanted: &[(Slot, u32)]) -> Result<Vec<Bytes>, Unavailable> {
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        let mut read = redis::cmd("HMGET");
        read.arg(mailbox_key(id));
        for (slot, number) in wanted {
            read.arg(field(*slot, *number));
        }
        let frames = self.client.query::<Vec<Value>>(&read).await.map_err(|_| Unavailable)?;
        frames.into_iter().map(bytes).collect::<RedisResult<_>>().map_err(|_| Unavailable)
    }

    /// Gives back the names of a mailbox that is over. What fails here is forgotten with its time.
    pub(super) async fn forget(&self, id: MailboxId, nameplate: Option<Nameplate>, source: SourceTag) {
        let name = async {
            if let Some(nameplate) = nameplate {
                let mut release = self.scripts.release.key(nameplate_key(nameplate));
                let _ = self.client.run::<i64>(release.arg(id.0.as_slice())).await;
            }
        };
        let mut place = redis::cmd("ZREM");
        place.arg(MAILBOXES).arg(hex(&id.0));
        let (_, _, ()) = tokio::join!(name, self.client.query::<i64>(&place), self.uncount(source, id));
    }
}

impl Record {
    fn encode(&self) -> Vec<u8> {
        let mut w = Writer::with_capacity(256);
        w.raw(&self.incarnation.to_be_bytes()).u32(self.nameplate.map_or(u32::MAX, Nameplate::number));
        w.raw(&self.source.0);
        self.mailbox.write(&mut w);
        w.into_bytes()
    }

    fn decode(state: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(state);
        let incarnation = u64::from_be_bytes(r.array()?);
        let nameplate = match r.u32()? {
            u32::MAX => None,
            number => Some(Nameplate::new(number)?),
        };
        let source = SourceTag(r.array()?);
        let mailbox = Mailbox::read(&mut r)?;
        r.finish()?;
        Ok(Self { incarnation, nameplate, source, mailbox })
    }
}

impl<R> Change<R> {
    /// No frames, and the same again if it is asked again.
    pub(super) fn plain(result: R) -> Self {
        Self { result, frames: Vec::new(), only_now: false }
    }
}

/// A write whose answer was lost.
struct Doubtful<R> {
    /// The tags before and after it.
    before: Vec<u8>,
    after: Vec<u8>,
    made: Change<R>,
    write: Write,
    step: Option<Step>,
}

/// All that is written with a new state.
struct Write {
    put: Vec<(String, Bytes)>,
    delete: Vec<String>,
    /// Nodes that have news for one of their seats.
    wake: Vec<(u64, Slot)>,
    /// Stored bytes after minus before.
    stored_change: i64,
    minute: u64,
    /// It was not over before.
    has_ended: bool,
    nameplate: Option<Nameplate>,
    source: SourceTag,
    /// What an earlier mailbox of this id held, and until which minute.
    gone: Option<Lent>,
    time_to_live: Duration,
    /// When the mailbox is over now, if that has moved to another minute.
    new_end: Option<Time>,
}

enum Committed {
    Done(Vec<Bytes>),
    Overtaken(Seen),
}

/// How long a caller goes on trying.
pub(super) struct Patience {
    until: Instant,
    pause: Duration,
    overtaken: u32,
}

impl Patience {
    pub(super) fn new(time: Duration) -> Self {
        Self { until: Instant::now() + time, pause: Duration::from_millis(20), overtaken: 0 }
    }

    /// The store did not answer: a longer pause each time.
    pub(super) async fn wait(&mut self) -> Result<(), Unavailable> {
        if Instant::now() + self.pause >= self.until {
            return Err(Unavailable);
        }
        sleep(self.pause).await;
        self.pause = (self.pause * 2).min(Duration::from_millis(500));
        Ok(())
    }

    /// Another node was faster. At once again, then after short pauses of different lengths.
    async fn give_way(&mut self) -> Result<(), Unavailable> {
        self.overtaken += 1;
        if Instant::now() >= self.until {
            return Err(Unavailable);
        }
        if self.overtaken > 3 {
            sleep(Duration::from_millis(1 + rand::random::<u64>() % 8)).await;
        }
        Ok(())
    }
}

/// The numbers of the frames that a slot's peer may still need.
fn kept(mailbox: &Mailbox<Kept>, slot: Slot) -> Range<u32> {
    let frames = mailbox.kept(slot);
    frames.front().zip(frames.back()).map_or(0..0, |(oldest, newest)| oldest.number..newest.number + 1)
}

/// Where a frame is in the hash of its mailbox.
fn field(sender: Slot, number: u32) -> String {
    format!("{}{number}", if sender == Slot::First { 'a' } else { 'b' })
}

fn bytes(value: Value) -> RedisResult<Bytes> {
    match value {
        Value::BulkString(bytes) => Ok(bytes.into()),
        _ => Err((redis::ErrorKind::UnexpectedReturnType, "bytes were expected").into()),
    }
}

pub(super) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
