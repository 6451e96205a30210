//! The last station: applies committed transactions in order, fires the watches they trigger, and
//! answers whoever waits. Pure. Java: `CommitProcessor` and the write half of
//! `FinalRequestProcessor`.

use std::borrow::Cow;
use std::sync::Arc;

use super::history::{CommittedLog, CommittedTxn};
use super::outbox::IoOutbox;
use super::read::{ReadView, Viewer};
use super::reply::{self, Answer};
use super::{CloseReason, ConnId, ToIo, log_undecodable};
use crate::auth::{Registry, ip};
use crate::config::QuorumConfig;
use crate::metrics::ServerMetrics;
use crate::tree::{Applied, DbState, Trigger, WatcherId, Watches};
use crate::wire::op::{EventType, STATE_SYNC_CONNECTED, xid};
use crate::wire::proto::{PathRequest, ReplyHeader};
use crate::wire::{Acl, ErrorCode, Id, Put, Record, Txn, TxnRecord, code};

/// Where a reply goes: a slot of a connection, and the request it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplyTo {
    pub conn: ConnId,
    pub slot: u32,
    pub xid: i32,
    pub op: i32,
}

/// Who waits for a transaction on this server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// Nobody: it came from another server, or from this server itself.
    Nobody,
    Client(ReplyTo),
    /// A connection that is to get the session that the transaction creates.
    NewSession {
        conn: ConnId,
        timeout_ms: i32,
    },
}

/// What has its place in the order of commits.
#[derive(Debug)]
pub enum Work {
    Txn {
        record: TxnRecord,
        bytes: Arc<[u8]>,
        origin: Origin,
    },
    /// The configuration in force, to be shown by its node.
    Config {
        config: Arc<QuorumConfig>,
        /// Wall clock, ms.
        time: i64,
    },
    /// A `sync` whose answer is due now.
    Sync {
        to: ReplyTo,
        path: Box<[u8]>,
    },
    /// A request refused without a transaction.
    Refuse {
        to: ReplyTo,
        err: ErrorCode,
    },
    /// A request refused by this server alone (C-111): the answer has no zxid.
    Dismiss {
        to: ReplyTo,
        err: ErrorCode,
    },
    /// A read behind an earlier write of its own connection: its place is after that write and
    /// before the connection's next one (C-100).
    Read(Box<Read>),
    /// The connection is gone, and its watches with it.
    Forget(ConnId),
}

/// A read that goes through the corridor.
#[derive(Debug)]
pub struct Read {
    pub to: ReplyTo,
    pub session: i64,
    pub body: Box<[u8]>,
    pub ids: Arc<[Id]>,
}

impl Work {
    /// Zxid and bytes, if it is a transaction.
    pub fn txn(&self) -> Option<(i64, Arc<[u8]>)> {
        match self {
            Work::Txn { record, bytes, .. } => Some((record.header.zxid, Arc::clone(bytes))),
            _ => None,
        }
    }
}

/// What a transaction meant for sessions; the node keeps its tables by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionChange {
    Created {
        session: i64,
        timeout_ms: i32,
        origin: Origin,
    },
    /// `by_client`: through its own connection here, which closes after the reply.
    Closed {
        session: i64,
        by_client: bool,
    },
}

/// The commit stage.
pub struct CommitStage {
    ring: CommittedLog,
    auth: Arc<Registry>,
    watchers: Vec<ConnId>,
}

impl CommitStage {
    pub fn new(ring: CommittedLog, auth: Arc<Registry>) -> Self {
        Self { ring, auth, watchers: Vec::new() }
    }

    pub fn ring(&self) -> &CommittedLog {
        &self.ring
    }

    /// Forgets the history: the tree was replaced.
    pub fn reset(&mut self, ring: CommittedLog) {
        self.ring = ring;
    }

    /// Does one piece of work. The caller holds the write lock until `io` is delivered.
    pub fn perform(
        &mut self,
        work: Work,
        db: &mut DbState,
        io: &mut IoOutbox,
        metrics: &ServerMetrics,
    ) -> Option<SessionChange> {
        match work {
            Work::Txn { record, bytes, origin } => {
                self.apply(record, bytes, origin, db, io, metrics)
            }
            Work::Config { config, time } => {
                self.show_config(&config, time, db, io, metrics);
                None
            }
            Work::Sync { to, path } => {
                let zxid = db.tree.last_zxid();
                io.reply(to.conn, to.slot, zxid, false, |out| {
                    match PathRequest::from_bytes(&path) {
                        Ok(request) => reply::sync(out, to.xid, zxid, &request.path),
                        Err(_) => {
                            reply::error(out, to.xid, zxid, ErrorCode::MarshallingError.code());
                        }
                    }
                });
                None
            }
            Work::Read(read) => {
                self.read(&read, db, io, metrics);
                None
            }
            Work::Forget(conn) => {
                db.split().1.remove_watcher(WatcherId(conn.0));
                None
            }
            Work::Dismiss { to, err } => {
                io.reply(to.conn, to.slot, 0, false, |out| {
                    reply::error(out, to.xid, 0, err.code());
                });
                None
            }
            Work::Refuse { to, err } => {
                let zxid = db.tree.last_zxid();
                io.reply(to.conn, to.slot, zxid, false, |out| {
                    if err != ErrorCode::SessionMoved {
                        reply::error(out, to.xid, zxid, err.code());
                    }
                });
                if err == ErrorCode::SessionMoved {
                    close_moved(to.conn, io);
                }
                None
            }
        }
    }

    fn show_config(
        &mut self,
        config: &QuorumConfig,
        time: i64,
        db: &mut DbState,
        io: &mut IoOutbox,
        metrics: &ServerMetrics,
    ) {
        let (tree, watches) = db.split();
        tree.init_config(&config.to_string(), config.version, time, &mut |trigger| {
            fire(trigger, watches, &mut self.watchers, io, metrics);
        });
    }

    fn read(&self, read: &Read, db: &DbState, io: &mut IoOutbox, metrics: &ServerMetrics) {
        let Read { to, session, body, ids } = read;
        let view = ReadView { state: db, auth: &self.auth, reads: &metrics.read_per_namespace };
        let viewer = Viewer { conn: to.conn, session: *session, ids };
        let xid = if to.op == code::PING { xid::PING } else { to.xid };
        io.reply(to.conn, to.slot, db.tree.last_zxid(), false, |out| {
            if let Err(e) = view.answer(&viewer, xid, to.op, body, out) {
                log_undecodable(ip::address_in(ids), *session, (to.op, body), &e);
            }
        });
    }

    /// Applies a transaction that nobody waits for, e.g. when memory is brought up to the log.
    pub fn apply(
        &mut self,
        record: TxnRecord,
        bytes: Arc<[u8]>,
        origin: Origin,
        db: &mut DbState,
        io: &mut IoOutbox,
        metrics: &ServerMetrics,
    ) -> Option<SessionChange> {
        let zxid = record.header.zxid;
        let (tree, watches) = db.split();
        let applied = tree.apply_record(&record, &mut |trigger| {
            fire(trigger, watches, &mut self.watchers, io, metrics);
        });
        self.ring.push(CommittedTxn { zxid, bytes });
        if let Origin::Client(to) = origin {
            answer(to, &record, &applied, io);
        }
        session_change(&record, applied.err, origin)
    }
}

fn answer(to: ReplyTo, record: &TxnRecord, applied: &Applied<'_>, io: &mut IoOutbox) {
    let config = match &record.txn {
        Txn::Reconfig(txn) => String::from_utf8_lossy(txn.data.as_deref().unwrap_or_default()),
        _ => Cow::Borrowed(""),
    };
    let request = reply::ReplyTo { xid: to.xid, op: to.op, config: &config };
    let mut verdict = Answer::Frame;
    let zxid = record.header.zxid;
    io.reply(to.conn, to.slot, zxid, to.op == code::CLOSE_SESSION, |out| {
        verdict = reply::write(out, &request, zxid, applied);
    });
    if verdict == Answer::Close {
        close_moved(to.conn, io);
    }
}

/// The session goes on through another server (C-94).
fn close_moved(conn: ConnId, io: &mut IoOutbox) {
    io.push(conn, ToIo::Close { conn, reason: CloseReason::SessionMoved });
}

fn session_change(record: &TxnRecord, err: i32, origin: Origin) -> Option<SessionChange> {
    let session = record.header.client_id;
    match &record.txn {
        Txn::CreateSession(txn) if err == 0 => {
            Some(SessionChange::Created { session, timeout_ms: txn.timeout, origin })
        }
        Txn::CloseSession(_) => {
            let by_client = matches!(origin, Origin::Client(_));
            Some(SessionChange::Closed { session, by_client })
        }
        _ => None,
    }
}

/// Tells watchers of what has changed.
fn fire(
    trigger: &Trigger<'_>,
    watches: &mut Watches,
    conns: &mut Vec<ConnId>,
    io: &mut IoOutbox,
    metrics: &ServerMetrics,
) {
    let mut run = EventRun { zxid: trigger.zxid, conns, metrics, last: None };
    watches.fire(trigger, |watcher, kind, path, acl| run.add(watcher, kind, path, acl, io));
    run.flush(io);
}

/// Watchers of one and the same event, gathered so that it is encoded once.
struct EventRun<'a> {
    zxid: i64,
    conns: &'a mut Vec<ConnId>,
    metrics: &'a ServerMetrics,
    last: Option<(EventType, String, Arc<[Acl]>)>,
}

impl EventRun<'_> {
    fn add(
        &mut self,
        watcher: WatcherId,
        kind: EventType,
        path: &str,
        acl: &Arc<[Acl]>,
        io: &mut IoOutbox,
    ) {
        let same = self.last.as_ref().is_some_and(|(k, p, _)| *k == kind && p == path);
        if !same {
            self.flush(io);
            self.last = Some((kind, path.to_owned(), Arc::clone(acl)));
        }
        self.conns.push(ConnId(watcher.0));
    }

    fn flush(&mut self, io: &mut IoOutbox) {
        if let Some((kind, path, acl)) = self.last.take() {
            let watchers = match kind {
                EventType::NodeCreated => &self.metrics.node_created_watch_count,
                EventType::NodeDeleted => &self.metrics.node_deleted_watch_count,
                EventType::NodeDataChanged => &self.metrics.node_changed_watch_count,
                _ => &self.metrics.node_children_watch_count,
            };
            watchers.add(self.conns.len() as i64);
            io.event(&event_frame(self.zxid, kind, path), &acl, self.conns);
            self.conns.clear();
        }
    }
}

/// A whole notification frame: header zxid is that of the change (C-99).
fn event_frame(zxid: i64, kind: EventType, path: String) -> Arc<[u8]> {
    let mut frame = vec![0; 4];
    ReplyHeader { xid: xid::NOTIFICATION, zxid, err: 0 }.write(&mut frame);
    frame.put_i32(kind as i32);
    frame.put_i32(STATE_SYNC_CONNECTED);
    frame.put_str(&path);
    let length = (frame.len() - 4) as u32;
    frame[..4].copy_from_slice(&length.to_be_bytes());
    frame.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Reader;
    use crate::wire::proto::WatcherEvent;

    #[test]
    fn an_event_is_a_whole_frame() {
        let frame = event_frame(9, EventType::NodeCreated, "/a".into());
        let mut r = Reader::new(&frame);
        assert_eq!(r.i32().unwrap() as usize, frame.len() - 4);
        let header: ReplyHeader = r.record().unwrap();
        assert_eq!((header.xid, header.zxid), (-1, 9));
        let event: WatcherEvent = r.record().unwrap();
        assert_eq!((event.kind, event.state, event.path.as_str()), (1, 3, "/a"));
    }
}
