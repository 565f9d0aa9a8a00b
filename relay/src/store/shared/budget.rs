//! The bytes that all mailboxes of all nodes share.

use super::client::{BUDGET, Client, Scripts};
use super::record::Lent;
use redis::RedisResult;
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

#[derive(Default)]
pub(super) struct Budget {
    /// What goes back to the store with the next request, by minute.
    owed: Mutex<HashMap<u64, u64>>,
    /// Bytes in use, as the store said last.
    used: AtomicUsize,
}

impl Budget {
    /// Whether the store lends these bytes to a mailbox; zero bytes only settle what is owed. `max` is the budget.
    pub(super) async fn take(
        &self,
        client: &Client,
        scripts: &Scripts,
        max: usize,
        Lent { minute, bytes }: Lent,
    ) -> RedisResult<bool> {
        let owed = std::mem::take(&mut *self.owed());
        let mut call = scripts.budget.key(BUDGET);
        call.arg(client.now().0 / 60_000).arg(max).arg(minute).arg(bytes);
        for (minute, bytes) in &owed {
            call.arg(minute).arg(bytes);
        }
        match client.run::<(i64, usize)>(&call).await {
            Ok((lends, used)) => {
                self.used.store(used, Ordering::Relaxed);
                Ok(lends == 1)
            }
            Err(error) => {
                let mut kept = self.owed();
                owed.into_iter().for_each(|(minute, bytes)| *kept.entry(minute).or_default() += bytes);
                Err(error)
            }
        }
    }

    /// A change is written: the mailbox holds `change` bytes more than before, and was lent some for it.
    pub(super) fn give_back(&self, lent: Lent, change: i64) {
        let left = i64::try_from(lent.bytes).unwrap_or(i64::MAX).saturating_sub(change);
        if let Some(left) = u64::try_from(left).ok().filter(|left| *left > 0) {
            *self.owed().entry(lent.minute).or_default() += left;
        }
    }

    pub(super) fn used(&self) -> usize {
        let owed: u64 = self.owed().values().sum();
        self.used.load(Ordering::Relaxed).saturating_sub(owed.try_into().unwrap_or(usize::MAX))
    }

    fn owed(&self) -> std::sync::MutexGuard<'_, HashMap<u64, u64>> {
        self.owed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
