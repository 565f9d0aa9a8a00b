//! Every size, count and lifetime that both a device and a relay rely on. Milliseconds unless named otherwise.
//!
//! A relay may be configured to be stricter about lifetimes and counts; it then says so in [`crate::Lifetime`] or
//! refuses with [`crate::ErrorCode::Limit`]. Frame size and window are part of the protocol.

/// Largest relay frame (one binary websocket message), header included: 16 KiB.
pub const MAX_FRAME_BYTES: usize = 16 * 1024;

/// Header of a data frame: type, sequence number, acknowledgement, flags.
pub const DATA_HEADER_BYTES: usize = 1 + 4 + 4 + 1;

/// Largest payload of one data frame.
pub const MAX_PAYLOAD_BYTES: usize = MAX_FRAME_BYTES - DATA_HEADER_BYTES;

/// How many frames a side may have sent that its peer has not acknowledged. The sender waits.
pub const WINDOW_FRAMES: u32 = 8;

/// How many data frames one mailbox carries in its life, both directions together.
pub const MAX_MAILBOX_FRAMES: u32 = 64;

/// A mailbox lives this long from its first frame ...
pub const MAILBOX_LIFETIME_MS: u32 = 10 * 60 * 1000;
/// ... and at least this long after the last accepted data frame ...
pub const MAILBOX_LINGER_MS: u32 = 2 * 60 * 1000;
/// ... and never longer than this.
pub const MAILBOX_MAX_LIFETIME_MS: u32 = 15 * 60 * 1000;

/// A slot that was claimed second and has sent no data frame is freed after this.
pub const CLAIM_WITHOUT_DATA_MS: u32 = 15 * 1000;

/// Nameplates are 20-bit numbers: four base32 symbols of a typed code.
pub const NAMEPLATE_BITS: u32 = 20;

/// The path of the websocket. A relay of another protocol version answers 404 here.
pub const WEBSOCKET_PATH: &str = "/v1";

/// The port a relay listens on unless told otherwise.
pub const DEFAULT_PORT: u16 = 8474;

/// A relay pings each socket this often ...
pub const PING_INTERVAL_MS: u32 = 30 * 1000;
/// ... and either side gives up a socket that was silent for this long.
pub const SILENCE_MS: u32 = 75 * 1000;
