//! What an I/O thread may find in its mailbox.

use std::net::SocketAddr;

use crossbeam_channel::Sender;
use mio::net::TcpStream;

use super::stats::ConnInfo;
use crate::pipeline::{ConnId, ToIo};

/// See the module.
#[derive(Debug)]
pub enum Mail {
    /// From the commit thread.
    Commit(ToIo),
    /// From the acceptor.
    Accepted(TcpStream, SocketAddr),
    /// The answer to a four-letter word: write it, then close.
    Text(ConnId, Vec<u8>),
    /// Send what `cons` prints.
    Inspect(Sender<Vec<ConnInfo>>),
    /// Say that you are alive.
    Probe(Sender<()>),
    /// Reset every connection's statistics (`crst`).
    ResetConnections,
    /// Close every connection and end.
    Shutdown,
}

impl Mail {
    /// Whether it is for one request.
    pub fn is_lone_reply(&self) -> bool {
        matches!(self, Self::Commit(ToIo::Replies { entries, .. }) if entries.len() == 1)
    }
}
