//! Ctrl-C, SIGTERM and SIGHUP: the first ends the run politely, the second at once.

#[cfg(unix)]
use std::{ops::BitOr, task::Poll};

/// Listens from its creation on.
pub(crate) struct Signals {
    #[cfg(unix)]
    streams: Vec<tokio::signal::unix::Signal>,
}

#[cfg(unix)]
impl Signals {
    /// Where signals cannot be had, they keep their default: the process ends.
    pub(crate) fn new() -> Self {
        use tokio::signal::unix::{SignalKind, signal};
        let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
        Self { streams: kinds.into_iter().filter_map(|kind| signal(kind).ok()).collect() }
    }

    /// The next signal. Cancel-safe.
    pub(crate) async fn next(&mut self) {
        std::future::poll_fn(|cx| {
            // Each is polled, so that each wakes this task.
            let come = self.streams.iter_mut().map(|stream| stream.poll_recv(cx).is_ready()).fold(false, BitOr::bitor);
            if come { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
}

#[cfg(not(unix))]
impl Signals {
    pub(crate) fn new() -> Self {
        Self {}
    }

    pub(crate) async fn next(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending().await
        }
    }
}
