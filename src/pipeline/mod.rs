//! The corridor that requests walk, one station a file, in order:
//! [`prep`] → (log thread, learners) → [`commit`], led by [`node`]; reads are answered by [`read`]
//! on the connection's own I/O thread. Pure: no socket, file, thread or clock; time is an argument.
//!
//! The values that move along it are defined here.

pub mod commit;
pub mod history;
pub mod node;
pub mod outbox;
pub mod prep;
pub mod read;
pub mod reply;
pub mod throttle;

use std::net::IpAddr;
use std::sync::Arc;

use crate::wire::proto::ConnectRequest;
use crate::wire::{Acl, DecodeError, Id};

/// Bytes of a request that the log shows.
const SHOWN: usize = 64;

/// The one line of the log about a request whose body makes no sense (C-71).
pub fn log_undecodable(
    from: impl std::fmt::Display,
    session: i64,
    (op, body): (i32, &[u8]),
    why: &DecodeError,
) {
    let shown = &body[..body.len().min(SHOWN)];
    log::warn!(
        "request {op} of session 0x{session:x} from {from} cannot be decoded: {why}; {shown:02x?}"
    );
}

/// A client connection: which I/O thread owns it (high 16 bits), and a serial number there that is
/// never used again while the process lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnId(pub u64);

impl ConnId {
    pub fn new(io_thread: usize, serial: u64) -> Self {
        Self((io_thread as u64) << 48 | serial & 0xffff_ffff_ffff)
    }

    /// Index of the I/O thread that owns the connection.
    pub fn io_thread(self) -> usize {
        (self.0 >> 48) as usize
    }
}

/// What I/O threads tell the commit thread.
#[derive(Debug)]
pub enum IoEvent {
    /// A client wants a new session or an old one back (the checks C-87 (1) to (4) are done by the
    /// I/O thread: `request.timeout` is negotiated already).
    Connect { conn: ConnId, addr: IpAddr, request: ConnectRequest },
    /// A request that has to be ordered: every write, `sync`, `closeSession`, and a read that came
    /// behind one of them which is not answered yet.
    Request(ClientRequest),
    /// Sessions heard of since the last touch, with the time-outs of their connections.
    Touch(Vec<i64>),
    /// The socket is gone. The session lives on until it expires.
    Disconnected { conn: ConnId, session: i64 },
}

/// A request as it left its connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientRequest {
    pub conn: ConnId,
    /// The connection's slot that waits for the reply.
    pub slot: u32,
    pub session: i64,
    pub xid: i32,
    pub op: i32,
    /// Jute bytes after the request header.
    pub body: Box<[u8]>,
    /// Who the connection has proved to be (always with its ip id).
    pub ids: Arc<[Id]>,
}

/// What the commit thread tells an I/O thread, through that thread's mailbox.
#[derive(Debug)]
pub enum ToIo {
    /// Replies to requests, whole frames (length prefix included) laid end to end in `bytes`.
    Replies { bytes: Vec<u8>, entries: Vec<ReplyEntry> },
    /// A watch event for these connections: one whole frame for all. A connection that lacks READ
    /// under `acl` does not get it (C-168).
    Event { frame: Arc<[u8]>, acl: Arc<[Acl]>, conns: Vec<ConnId> },
    /// The session of a connection is established, or (`session` 0) refused: send the
    /// ConnectResponse, and close if refused.
    Session { conn: ConnId, session: i64, timeout_ms: i32, passwd: [u8; 16] },
    /// Close once everything queued is written.
    Close { conn: ConnId, reason: CloseReason },
    /// Close every connection of this thread: the server stops serving, or its role changes.
    CloseAll { reason: CloseReason },
}

/// One reply inside [`ToIo::Replies`]: `bytes[start..end]` belongs to `conn`'s slot.
#[derive(Debug, Clone, Copy)]
pub struct ReplyEntry {
    pub conn: ConnId,
    pub slot: u32,
    pub start: u32,
    pub end: u32,
    /// What the request became: a txn's zxid, or the last one applied.
    pub zxid: i64,
    /// The connection is closed after this reply (closeSession; refused op codes).
    pub then_close: bool,
}

/// Why a server closes a connection. Java: `ServerCnxn.DisconnectReason`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseReason {
    SessionExpired,
    SessionMoved,
    ClientReconnected,
    ClosedByClient,
    ServerShutdown,
    NotServing,
}
