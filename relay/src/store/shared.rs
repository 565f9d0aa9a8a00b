//! Mailboxes that several nodes share.
