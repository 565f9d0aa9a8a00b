//! Devices that come from different addresses of the machine, and what they are told.

use super::{A, B, Device};
use handfast_relay::Rate;
use handfast_wire::{ClientFrame, ErrorCode, LimitKind, Nameplate, RelayFrame};
use std::net::SocketAddr;

pub const ONE: &str = "127.0.0.2";
pub const OTHER: &str = "127.0.0.3";
pub const THIRD: &str = "127.0.0.4";

/// So many at once; the next one a minute later.
pub fn at_once(burst: u32) -> Rate {
    Rate { burst, per_minute: 1 }
}

pub async fn allocate(addr: SocketAddr, source: &str) -> (Device, RelayFrame) {
    first(addr, source, ClientFrame::Allocate { token: A }).await
}

pub async fn first(addr: SocketAddr, source: &str, frame: ClientFrame) -> (Device, RelayFrame) {
    let mut device = Device::connect_from(addr, source).await;
    let answer = device.answer(frame).await;
    (device, answer)
}

pub fn nameplate(answer: &RelayFrame) -> Nameplate {
    match answer {
        RelayFrame::Allocated { nameplate, .. } => *nameplate,
        other => panic!("{other:?}"),
    }
}

/// Within a minute, and later than now.
#[track_caller]
pub fn assert_in_a_minute(retry_after_ms: u32) {
    assert!((1..=60_000).contains(&retry_after_ms), "{retry_after_ms}");
}

#[track_caller]
pub fn assert_refused(answer: &RelayFrame, kind: LimitKind) {
    match answer {
        RelayFrame::Error { code: ErrorCode::Limit(limit), retry_after_ms } if *limit == kind => {
            assert_in_a_minute(*retry_after_ms);
        }
        other => panic!("{other:?} instead of {kind:?}"),
    }
}

/// A claim that misses: of a nameplate next to this one, which nobody has.
pub fn miss(used: Nameplate) -> ClientFrame {
    ClientFrame::Claim { nameplate: Nameplate::new(used.number() ^ 1).unwrap(), token: B }
}
