//! What I/O threads must know about the server at once, without asking the commit thread.

use std::sync::atomic::{AtomicI32, AtomicU8, Ordering::Relaxed};

/// Whether clients are served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Serving {
    /// Four-letter words are answered; everything else is closed without a reply.
    No = 0,
    /// Only clients that asked for it: Java's `ReadOnlyZooKeeperServer`.
    ReadOnly = 1,
    Yes = 2,
}

/// Written by the commit thread, read by the I/O threads.
#[derive(Debug)]
pub struct ServerView {
    serving: AtomicU8,
    min_session_timeout_ms: AtomicI32,
    max_session_timeout_ms: AtomicI32,
}

impl ServerView {
    /// Not serving yet.
    pub fn new(min_session_timeout_ms: i32, max_session_timeout_ms: i32) -> Self {
        Self {
            serving: AtomicU8::new(Serving::No as u8),
            min_session_timeout_ms: AtomicI32::new(min_session_timeout_ms),
            max_session_timeout_ms: AtomicI32::new(max_session_timeout_ms),
        }
    }

    pub fn serving(&self) -> Serving {
        match self.serving.load(Relaxed) {
            0 => Serving::No,
            1 => Serving::ReadOnly,
            _ => Serving::Yes,
        }
    }

    /// Connections that exist are not touched: that takes a `ToIo::CloseAll`.
    pub fn set_serving(&self, serving: Serving) {
        self.serving.store(serving as u8, Relaxed);
    }

    /// The session time-out for a client that asked for `wanted` milliseconds (C-87 (4)).
    pub fn negotiate_timeout(&self, wanted: i32) -> i32 {
        let min = self.min_session_timeout_ms.load(Relaxed);
        let max = self.max_session_timeout_ms.load(Relaxed);
        wanted.max(min).min(max)
    }

    pub fn set_session_timeouts(&self, min_ms: i32, max_ms: i32) {
        self.min_session_timeout_ms.store(min_ms, Relaxed);
        self.max_session_timeout_ms.store(max_ms, Relaxed);
    }
}
