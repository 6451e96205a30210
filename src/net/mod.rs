//! The client front end: an acceptor thread, and I/O threads that each own a share of the
//! connections, answer reads themselves and hand writes to the commit thread. Knows nothing of what
//! a write does. Java: `NIOServerCnxnFactory`, `NIOServerCnxn`, and of `ZooKeeperServer` what
//! concerns connections.

mod inbox;
mod options;
mod stats;
mod view;

use std::sync::Arc;

pub use inbox::{Inbox, Mail};
pub use options::{ListenAddress, Options};
pub use stats::{ConnInfo, NetStats, NetTotals};
pub use view::{ServerView, Serving};

use crate::pipeline::{ConnId, IoEvent, ToIo};

/// Where I/O threads put what the commit thread must order. May block while its queue is full.
pub trait Submit: Send + Sync {
    fn submit(&self, batch: Vec<IoEvent>);
}

/// Answers four-letter words (A-1 …), on a thread of its own.
pub trait FourLetter: Send {
    /// The text for a word, or nothing to close at once. `mask` is what follows `stmk`.
    fn answer(&self, word: [u8; 4], mask: Option<i64>, clients: &Clients) -> Vec<u8>;
}

/// The way to the connections. Cheap to clone; outlives the threads.
#[derive(Debug, Clone)]
pub struct Clients {
    inboxes: Arc<[Inbox]>,
}

impl Clients {
    pub fn io_threads(&self) -> usize {
        self.inboxes.len()
    }

    /// Never blocks.
    pub fn send(&self, io_thread: usize, message: ToIo) {
        self.inboxes[io_thread].post(Mail::Commit(message));
    }

    /// The answer of a four-letter word for a connection.
    pub fn send_text(&self, conn: ConnId, text: Vec<u8>) {
        self.inboxes[conn.io_thread()].post(Mail::Text(conn, text));
    }
}
