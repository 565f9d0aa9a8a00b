//! The bytes that all mailboxes of all nodes share.

use super::Shared;
use super::client::{BUDGET, budget_request_key, hex};
use super::record::Lent;
use redis::RedisResult;
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How many requests whose fate is unknown are looked into later. What is beyond is forgotten with its minute.
const MAX_UNSETTLED: usize = 1024;

#[derive(Default)]
pub(super) struct Budget {
    /// What goes back to the store with the next request, by minute.
    owed: Mutex<HashMap<u64, u64>>,
    /// Requests that nobody waits for any more, and that the store may or may not have heard.
    unsettled: Mutex<Vec<Request>>,
    /// Bytes in use, as the store said last.
    used: AtomicUsize,
}

/// A request for bytes. The store answers it once, however often it is sent.
pub(super) struct Request {
    name: String,
    lent: Lent,
    owed: HashMap<u64, u64>,
}

impl Budget {
    /// A request for these bytes, which gives back what is owed. Zero bytes only give back.
    pub(super) fn request(&self, lent: Lent) -> Request {
        let owed = std::mem::take(&mut *lock(&self.owed));
        Request { name: budget_request_key(&hex(&rand::random::<[u8; 16]>())), lent, owed }
    }

    /// A change is written: the mailbox holds `change` bytes more than before, and was lent some for it.
    pub(super) fn give_back(&self, lent: Lent, change: i64) {
        let left = i64::try_from(lent.bytes).unwrap_or(i64::MAX).saturating_sub(change);
        if let Some(left) = u64::try_from(left).ok().filter(|left| *left > 0) {
            *lock(&self.owed).entry(lent.minute).or_default() += left;
        }
    }

    /// Nobody waits for the answer to this request any more.
    pub(super) fn leave(&self, request: Request) {
        let mut unsettled = lock(&self.unsettled);
        if unsettled.len() < MAX_UNSETTLED {
            unsettled.push(request);
        }
    }

    pub(super) fn used(&self) -> usize {
        let owed: u64 = lock(&self.owed).values().sum();
        self.used.load(Ordering::Relaxed).saturating_sub(owed.try_into().unwrap_or(usize::MAX))
    }
}

impl Shared {
    /// Whether the store lends what is asked for. An error may be answered by sending it again.
    pub(super) async fn lends(&self, request: &Request) -> RedisResult<bool> {
        let Request { name, lent, owed } = request;
        let kept = self.config.mailbox_max_lifetime + Duration::from_secs(3600);
        let mut call = self.scripts.budget.key(BUDGET);
        call.key(name).arg(self.now().0 / 60_000).arg(self.config.max_queued_bytes).arg(lent.minute).arg(lent.bytes);
        call.arg(kept.as_secs());
        for (minute, bytes) in owed {
            call.arg(minute).arg(bytes);
        }
        let (lends, used) = self.client.run::<(i64, i64)>(&call).await?;
        if let Ok(used) = usize::try_from(used) {
            self.budget.used.store(used, Ordering::Relaxed);
        }
        Ok(lends == 1)
    }

    /// Gives back what is owed, and finds out what became of requests that nobody waits for.
    pub(super) async fn settle_budget(&self) -> RedisResult<()> {
        loop {
            let Some(request) = lock(&self.budget.unsettled).pop() else { break };
            match self.lends(&request).await {
                Ok(true) => self.budget.give_back(request.lent, 0),
                Ok(false) => {}
                Err(error) => {
                    self.budget.leave(request);
                    return Err(error);
                }
            }
        }
        let request = self.budget.request(Lent::default());
        let settled = self.lends(&request).await;
        if settled.is_err() {
            self.budget.leave(request);
        }
        settled.map(drop)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
