//! Which seats this node has, and how news from the store reaches them.

use futures_util::task::AtomicWaker;
use handfast_wire::{MailboxId, Slot};
use redis::{PushInfo, PushKind, Value};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The seats of one node.
#[derive(Default)]
pub(super) struct Seats(Mutex<Here>);

type Here = HashMap<MailboxId, Vec<(Slot, Arc<Alarm>)>>;

/// Tells one seat to look at its mailbox.
#[derive(Default)]
pub(super) struct Alarm {
    news: AtomicBool,
    waker: AtomicWaker,
}

impl Seats {
    pub(super) fn add(&self, id: MailboxId, slot: Slot) -> Arc<Alarm> {
        let alarm = Arc::new(Alarm::default());
        self.lock().entry(id).or_default().push((slot, Arc::clone(&alarm)));
        alarm
    }

    pub(super) fn remove(&self, id: MailboxId, alarm: &Arc<Alarm>) {
        let mut seats = self.lock();
        if let Some(here) = seats.get_mut(&id) {
            here.retain(|(_, other)| !Arc::ptr_eq(other, alarm));
            if here.is_empty() {
                seats.remove(&id);
            }
        }
    }

    /// There is news for these slots of a mailbox.
    pub(super) fn tell(&self, id: MailboxId, slots: impl Iterator<Item = Slot>) {
        let seats = self.lock();
        let here = seats.get(&id);
        for slot in slots {
            here.into_iter().flatten().filter(|(other, _)| *other == slot).for_each(|(_, alarm)| alarm.ring());
        }
    }

    /// There may be news for everybody.
    pub(super) fn tell_all(&self) {
        self.lock().values().flatten().for_each(|(_, alarm)| alarm.ring());
    }

    /// Takes in what the store pushes: a wake-up names a mailbox and a slot. After a reconnect some may be lost.
    pub(super) fn pushed(&self, push: &PushInfo) {
        match (&push.kind, push.data.as_slice()) {
            (PushKind::Message, [_, Value::BulkString(message)]) => {
                if let Some((id, [slot])) = message.split_first_chunk::<16>()
                    && let Ok(slot) = Slot::from_code(*slot)
                {
                    self.tell(MailboxId(*id), [slot].into_iter());
                }
            }
            (PushKind::Subscribe, _) => self.tell_all(),
            _ => {}
        }
    }

    /// Mailboxes that have a seat here.
    pub(super) fn mailboxes(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, Here> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Alarm {
    pub(super) fn ring(&self) {
        self.news.store(true, Ordering::Release);
        self.waker.wake();
    }

    /// Whether it rang since the last time. If not, `waker` is woken when it does.
    pub(super) fn take(&self, waker: &std::task::Waker) -> bool {
        self.waker.register(waker);
        self.news.swap(false, Ordering::Acquire)
    }
}
