//! How a log line names a mailbox: by a hash under a key that this process drew and forgets.

use handfast_wire::MailboxId;
use rand::Rng;
use sha2::{Digest, Sha256};
use std::fmt;

pub(crate) struct LogKey([u8; 32]);

/// Displays as 16 hexadecimal digits that only this process can connect to the id.
pub(crate) struct MailboxTag<'a> {
    key: &'a LogKey,
    id: MailboxId,
}

impl LogKey {
    pub(crate) fn random() -> Self {
        let mut key = [0; 32];
        rand::rng().fill_bytes(&mut key);
        Self(key)
    }

    pub(crate) fn tag(&self, id: MailboxId) -> MailboxTag<'_> {
        MailboxTag { key: self, id }
    }
}

impl fmt::Display for MailboxTag<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hash = Sha256::new().chain_update(self.key.0).chain_update(self.id.0).finalize();
        hash.iter().take(8).try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
