//! What must hold. Some of it is looked at whenever it could break, the rest at the end, when the
//! history that was committed is known.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ironkeeper::config::QuorumConfig;
use ironkeeper::storage::LogCommand;
use ironkeeper::tree::{DataTree, TreeOptions};
use ironkeeper::wire::{Reader, Record, Stat, Txn, TxnRecord, code, epoch_of};

use super::world::{MS, Time};

/// A transaction that some server has logged.
struct Proposal {
    bytes: Arc<[u8]>,
    /// Zxid of the one before it in every log.
    parent: i64,
}

/// A write that a client was told the result of.
struct Acked {
    session: i64,
    xid: i32,
    op: i32,
    zxid: i64,
    err: i32,
    asked_at: Time,
}

/// A getData's answer.
pub struct SeenRead {
    pub zxid: i64,
    pub path: String,
    pub found: Option<(Option<Box<[u8]>>, Stat)>,
}

/// What one connection was told, in order.
pub enum Seen {
    /// A read with a watch found the node.
    Watch {
        path: String,
        zxid: i64,
    },
    Event {
        path: String,
        zxid: i64,
    },
    Reply {
        zxid: i64,
    },
}

#[derive(Default)]
pub struct Checks {
    proposals: BTreeMap<i64, Proposal>,
    /// The server, and its incarnation, that made an epoch's transactions.
    leaders: BTreeMap<i64, (usize, u64)>,
    /// Digest of the tree at each zxid that somebody had applied.
    digests: BTreeMap<i64, i64>,
    /// Last zxid in each server's log.
    logged: BTreeMap<usize, i64>,
    acked: Vec<Acked>,
    reads: Vec<SeenRead>,
    connections: BTreeMap<u64, Vec<Seen>>,
    ended: Vec<Vec<Seen>>,
    sessions: BTreeSet<i64>,
    session_born: BTreeMap<i64, (Time, i32)>,
    /// Text of each configuration that was in force, by version.
    configs: BTreeMap<i64, String>,
}

impl Checks {
    // ---- at once ---------------------------------------------------------------------------

    /// A server has started from its disk.
    pub fn recovered(&mut self, s: usize, last: i64, tree: &DataTree) {
        self.logged.insert(s, last);
        self.applied(s, tree);
    }

    /// Every server that is at a zxid has the same tree there.
    pub fn applied(&mut self, s: usize, tree: &DataTree) {
        let (zxid, digest) = (tree.last_zxid(), tree.digest());
        let known = *self.digests.entry(zxid).or_insert(digest);
        assert_eq!(digest, known, "server {} has another tree at {zxid:#x}", s + 1);
        assert_eq!(tree.digest_mismatches(), 0, "server {} at {zxid:#x}", s + 1);
    }

    /// One history: a zxid means the same transaction, after the same one, everywhere; and an
    /// epoch has one leader.
    pub fn ordered(
        &mut self,
        s: usize,
        inc: u64,
        command: &LogCommand,
        now: Time,
        leads: Option<Time>,
    ) {
        let last = self.logged.entry(s).or_default();
        match command {
            LogCommand::Append { zxid, txn } => {
                let parent = std::mem::replace(last, *zxid);
                if let Some(known) = self.proposals.get(zxid) {
                    assert_eq!(known.bytes, *txn, "another {zxid:#x} in server {}'s log", s + 1);
                    assert_eq!(
                        parent,
                        known.parent,
                        "{zxid:#x} follows {parent:#x} in server {}'s log, elsewhere {:#x}",
                        s + 1,
                        known.parent
                    );
                    return;
                }
                let epoch = epoch_of(*zxid);
                let leader = *self.leaders.entry(epoch).or_insert((s, inc));
                assert_eq!(leader, (s, inc), "epoch {epoch:#x} has two leaders: {zxid:#x}");
                let since = leads.unwrap_or_else(|| panic!("{zxid:#x} made by no leader"));
                self.proposals.insert(*zxid, Proposal { bytes: Arc::clone(txn), parent });
                self.session_txn(txn, now, since);
            }
            LogCommand::Truncate { zxid, .. } => {
                assert!(*zxid <= *last, "server {} cut to {zxid:#x} at {last:#x}", s + 1);
                *last = *zxid;
            }
            LogCommand::InstallSnapshot { tree, .. } => *last = tree.last_zxid(),
            _ => {}
        }
    }

    /// Sessions begin once, and are not expired before their time.
    fn session_txn(&mut self, bytes: &[u8], now: Time, leads_since: Time) {
        let record = record(bytes);
        let session = record.header.client_id;
        match record.txn {
            Txn::CreateSession(txn) => {
                let old = self.session_born.insert(session, (now, txn.timeout));
                assert!(old.is_none(), "session {session:#x} is created twice");
            }
            Txn::CloseSession(_) if record.header.cxid == 0 => {
                let Some((born, timeout)) = self.session_born.get(&session) else { return };
                let lived = now - leads_since.max(*born);
                // Clocks may be fast by 2 %.
                let due = *timeout as u64 * MS * 97 / 100;
                assert!(lived >= due, "session {session:#x} expires after {} ms", lived / MS);
            }
            _ => {}
        }
    }

    /// A configuration is in force on a server: it is the same for all.
    pub fn activated(&mut self, s: usize, config: &QuorumConfig) {
        let text = config.to_string();
        let known = self.configs.entry(config.version).or_insert_with(|| text.clone());
        assert_eq!(text, *known, "server {} has another configuration of this version", s + 1);
    }

    pub fn new_session(&mut self, session: i64) {
        assert!(self.sessions.insert(session), "session {session:#x} was given out twice");
    }

    pub fn acked(&mut self, session: i64, xid: i32, op: i32, zxid: i64, err: i32, asked_at: Time) {
        self.acked.push(Acked { session, xid, op, zxid, err, asked_at });
    }

    pub fn acked_since(&self, since: Time) -> bool {
        self.acked.iter().rev().take_while(|a| a.asked_at >= since).any(|a| a.err == 0)
    }

    pub fn read(&mut self, read: SeenRead) {
        self.reads.push(read);
    }

    pub fn seen(&mut self, conn: u64, seen: Seen) {
        self.connections.entry(conn).or_default().push(seen);
    }

    pub fn connection_ended(&mut self, conn: u64) {
        self.ended.extend(self.connections.remove(&conn));
    }

    // ---- at the end ------------------------------------------------------------------------

    /// Everything that clients were told is part of the history that ends at `last`; applied to an
    /// empty tree it gives what they read, and the tree that the servers have.
    pub fn finish(&mut self, last: i64, digest: i64) {
        let chain = self.chain(last);
        self.check_acks(&chain);
        let changes = self.replay(&chain, digest);
        self.ended.extend(std::mem::take(&mut self.connections).into_values());
        for seen in &self.ended {
            check_watches(seen, &changes);
        }
    }

    fn chain(&self, last: i64) -> BTreeMap<i64, TxnRecord> {
        let mut chain = BTreeMap::new();
        let mut zxid = last;
        while zxid != 0 {
            let proposal = self.proposals.get(&zxid);
            let proposal = proposal.unwrap_or_else(|| panic!("nobody ever logged {zxid:#x}"));
            chain.insert(zxid, record(&proposal.bytes));
            zxid = proposal.parent;
        }
        chain
    }

    fn check_acks(&self, chain: &BTreeMap<i64, TxnRecord>) {
        for a in &self.acked {
            let Some(record) = chain.get(&a.zxid) else {
                panic!(
                    "acknowledged and lost: {:#x}, xid {} of session {:#x}, asked at {} ms",
                    a.zxid,
                    a.xid,
                    a.session,
                    a.asked_at / MS
                );
            };
            let h = &record.header;
            assert_eq!((h.client_id, h.cxid), (a.session, a.xid), "{:#x} is another's", a.zxid);
            let err = match record.txn {
                Txn::Error(err) => err,
                _ => 0,
            };
            if a.op != code::MULTI {
                assert_eq!(err, a.err, "result of {:#x}", a.zxid);
            }
        }
    }

    /// Applies the history once more; gives the zxids that changed each path.
    fn replay(
        &mut self,
        chain: &BTreeMap<i64, TxnRecord>,
        digest: i64,
    ) -> BTreeMap<String, Vec<i64>> {
        let mut tree = DataTree::new(TreeOptions::default());
        let mut changes: BTreeMap<String, Vec<i64>> = BTreeMap::new();
        self.reads.sort_by_key(|read| read.zxid);
        let mut reads = self.reads.iter().peekable();
        let zxids = std::iter::once(0).chain(chain.keys().copied());
        for zxid in zxids {
            if let Some(record) = chain.get(&zxid) {
                tree.apply_record(record, &mut |trigger| {
                    let zxids = changes.entry(trigger.path.to_string()).or_default();
                    if zxids.last() != Some(&zxid) {
                        zxids.push(zxid);
                    }
                });
            }
            while let Some(read) = reads.next_if(|read| read.zxid <= zxid) {
                assert_eq!(read.zxid, zxid, "a read saw {:#x}, which was undone", read.zxid);
                check_read(&tree, read);
            }
        }
        if let Some(read) = reads.next() {
            panic!("a read saw {:#x}, which was undone", read.zxid);
        }
        assert_eq!(tree.digest(), digest, "the history gives another tree than the servers have");
        for owner in tree.ephemeral_owners() {
            let alive = tree.sessions().contains_key(&owner);
            assert!(alive, "ephemeral nodes of session {owner:#x}, which is closed");
        }
        changes
    }
}

fn record(bytes: &[u8]) -> TxnRecord {
    TxnRecord::read(&mut Reader::new(bytes)).expect("a whole transaction")
}

fn check_read(tree: &DataTree, read: &SeenRead) {
    let node = tree.lookup(&read.path).map(|id| tree.node(id));
    let expected = node.map(|node| (node.data().map(Box::from), node.stat()));
    assert_eq!(read.found, expected, "getData {} at {:#x}", read.path, read.zxid);
}

/// A watch fires once, for the first change after it was set, and before anything from then on is
/// seen.
fn check_watches(seen: &[Seen], changes: &BTreeMap<String, Vec<i64>>) {
    let mut due: BTreeMap<&str, i64> = BTreeMap::new();
    for seen in seen {
        match seen {
            Seen::Watch { path, zxid } => {
                let after = changes.get(path).and_then(|zs| zs.iter().find(|z| *z > zxid));
                due.entry(path).or_insert(after.copied().unwrap_or(i64::MAX));
            }
            Seen::Event { path, zxid } => {
                assert_eq!(due.remove(path.as_str()), Some(*zxid), "event of {path}");
            }
            Seen::Reply { zxid } => {
                let late = due.iter().find(|(_, at)| *at <= zxid);
                assert!(late.is_none(), "reply at {zxid:#x} before the event of {late:x?}");
            }
        }
    }
}
