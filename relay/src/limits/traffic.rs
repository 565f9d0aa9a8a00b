//! How much one connection may say.

use crate::Config;
use handfast_wire::limits;
use std::time::Duration;
use tokio::time::Instant;

/// So many times as many messages as a mailbox carries frames, and as many bytes: for acknowledgements, pongs, pings and
/// what is sent again.
const FACTOR: u64 = 16;

/// A message costs this much more than its bytes.
const OVERHEAD_BYTES: u64 = 8;

const MINUTE: Duration = Duration::from_secs(60);

/// What one connection may still send. Everything that arrives counts, whatever becomes of it.
pub(crate) struct Traffic {
    messages: u64,
    bytes: u64,
    /// Since when nothing was added.
    since: Instant,
}

impl Traffic {
    pub(crate) fn new(config: &Config) -> Self {
        let (messages, bytes) = most(config);
        Self { messages, bytes, since: Instant::now() }
    }

    /// Takes in a message of so many bytes. `false`: it is one too many.
    pub(crate) fn take(&mut self, bytes: usize, config: &Config) -> bool {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX).saturating_add(OVERHEAD_BYTES);
        if self.messages < 1 || self.bytes < bytes {
            self.fill(config);
        }
        let (Some(messages), Some(bytes)) = (self.messages.checked_sub(1), self.bytes.checked_sub(bytes)) else {
            return false;
        };
        (self.messages, self.bytes) = (messages, bytes);
        true
    }

    /// The device was asked to say something.
    pub(crate) fn asked(&mut self) {
        self.messages = self.messages.saturating_add(1);
        self.bytes = self.bytes.saturating_add(OVERHEAD_BYTES);
    }

    /// A sixteenth of the most comes back every minute: what a whole mailbox carries.
    fn fill(&mut self, config: &Config) {
        let minutes = self.since.elapsed().as_secs() / MINUTE.as_secs();
        if minutes == 0 {
            return;
        }
        let (messages, bytes) = most(config);
        let more = |now: u64, most: u64| now.saturating_add((most / FACTOR).saturating_mul(minutes)).min(most);
        (self.messages, self.bytes) = (more(self.messages, messages), more(self.bytes, bytes));
        self.since = Instant::now();
    }
}

/// Never less than for a mailbox of the usual size, so that a small mailbox leaves room for pings and pongs.
fn most(config: &Config) -> (u64, u64) {
    let frames = u64::from(config.max_mailbox_frames.max(limits::MAX_MAILBOX_FRAMES)) * FACTOR;
    let bytes = u64::from(config.max_mailbox_bytes.max(MAILBOX_BYTES)) * FACTOR;
    (frames, bytes)
}

/// The usual size of a mailbox.
const MAILBOX_BYTES: u32 = 512 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::advance;

    #[tokio::test(start_paused = true)]
    async fn a_connection_says_sixteen_times_what_a_mailbox_carries_and_then_that_much_a_minute() {
        let config = Config::default();
        let said = |traffic: &mut Traffic, bytes| (0..).take_while(|_| traffic.take(bytes, &config)).count();
        let mut traffic = Traffic::new(&config);
        assert_eq!(said(&mut traffic, 0), 16 * 64);
        traffic.asked();
        assert_eq!(said(&mut traffic, 0), 1, "an answer to a ping");
        advance(MINUTE / 2).await;
        assert_eq!(said(&mut traffic, 0), 0);
        advance(MINUTE / 2).await;
        assert_eq!(said(&mut traffic, 0), 64);
        advance(100 * MINUTE).await;
        assert_eq!(said(&mut traffic, 0), 16 * 64);
        assert_eq!(said(&mut Traffic::new(&config), limits::MAX_FRAME_BYTES), 16 * 512 / 16 - 1);
        let large = Config { max_mailbox_frames: u32::MAX, max_mailbox_bytes: u32::MAX, ..config.clone() };
        let mut traffic = Traffic::new(&large);
        assert!((0..200_000).all(|_| traffic.take(limits::MAX_FRAME_BYTES, &large)), "as many as a mailbox carries");
    }
}
