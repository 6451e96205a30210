//! The log thread's work, without the thread: commands in order, one write and one fdatasync for
//! all appends that wait, reports by token. A real thread and the simulator drive the same object.
//! Java: `SyncRequestProcessor`, and what `Learner` and `QuorumPeer` write to disk themselves.
//!
//! Invariant: `Durable(token)` is reported only when everything commanded before it is durable. So
//! log → epoch file → acknowledgement is an order of commands, not of good intentions.

use std::sync::Arc;
use std::time::Duration;

use super::disk::SharedDisk;
use super::epoch;
use super::error::{Result, StorageError};
use super::layout::Layout;
use super::log_reader::{BATCH_LIMIT, LogCursor};
use super::member_files::{MemberFiles, MemberOrder};
use super::snap_store::{self, SnapshotFile, SnapshotOptions};
use super::txnlog::{Committed, LogOptions, TxnLog};
use crate::tree::FrozenTree;
use crate::wire::counter_of;

/// Names a point in the order of commands; whoever gave it knows what waits for it.
pub type Token = u64;

#[derive(Debug)]
pub enum LogCommand {
    /// Appends a transaction (D-16 bytes); durable with the next `Flush`.
    Append {
        zxid: i64,
        txn: Arc<[u8]>,
    },
    /// Reports when everything before is durable.
    Flush(Token),
    /// The next append begins a new file; given with every snapshot, so that logs can be purged.
    Roll,
    /// Forgets everything after `zxid`, on a leader's order.
    Truncate {
        zxid: i64,
        token: Token,
    },
    SetAcceptedEpoch {
        epoch: i64,
        token: Token,
    },
    SetCurrentEpoch {
        epoch: i64,
        token: Token,
    },
    /// Keeps what a leader has sent whole: it replaces all that is on disk.
    InstallSnapshot {
        tree: Box<FrozenTree>,
        token: Token,
    },
    /// Keeps or forgets a configuration of the ensemble; durable before what follows.
    Members(MemberOrder),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogEvent {
    Durable(Token),
    /// One commit was done, for metrics and warnings about slow disks (D-14).
    Committed(Committed),
    SnapshotInstalled(SnapshotFile),
}

pub struct LogWorker {
    disk: SharedDisk,
    layout: Layout,
    snapshot: SnapshotOptions,
    log: TxnLog,
    /// `None` on a server that has no ensemble.
    members: Option<MemberFiles>,
    /// Flushes asked for since the last commit.
    waiting: Vec<Token>,
}

impl LogWorker {
    /// `last_zxid` is that of [`super::recovery::Recovered`].
    pub fn new(
        disk: SharedDisk,
        layout: Layout,
        log: LogOptions,
        snapshot: SnapshotOptions,
        last_zxid: i64,
    ) -> Self {
        // −1 is "empty, and maybe lost"; what comes first then is a snapshot or zxid 1.
        let log = TxnLog::new(disk.clone(), layout.log_dir(), log, last_zxid.max(0));
        Self { disk, layout, snapshot, log, members: None, waiting: Vec::new() }
    }

    /// Says where the ensemble's configurations are kept.
    pub fn keep_members(&mut self, files: MemberFiles) {
        self.members = Some(files);
    }

    /// The last transaction appended.
    pub fn last_zxid(&self) -> i64 {
        self.log.last_zxid()
    }

    /// Executes commands in order. After an error nothing may be executed any more, and the process
    /// must end; what was reported durable is.
    pub fn execute(
        &mut self,
        batch: impl IntoIterator<Item = LogCommand>,
        out: &mut Vec<LogEvent>,
    ) -> Result<()> {
        for command in batch {
            match command {
                LogCommand::Append { zxid, txn } => {
                    if self.log.waiting() >= BATCH_LIMIT {
                        self.commit(out)?;
                    }
                    self.log.append(zxid, &txn);
                }
                LogCommand::Flush(token) => self.waiting.push(token),
                other => {
                    self.commit(out)?;
                    self.execute_alone(other, out)?;
                }
            }
        }
        if self.waiting.is_empty() { Ok(()) } else { self.commit(out) }
    }

    fn execute_alone(&mut self, command: LogCommand, out: &mut Vec<LogEvent>) -> Result<()> {
        let (disk, snap_dir) = (self.disk.clone(), self.layout.snap_dir());
        let token = match command {
            // Execute() keeps these for itself.
            LogCommand::Append { .. } | LogCommand::Flush(_) => return Ok(()),
            LogCommand::Roll => {
                self.log.roll()?;
                return Ok(());
            }
            LogCommand::Members(order) => {
                return self.members.as_ref().map_or(Ok(()), |files| files.carry_out(&order));
            }
            LogCommand::Truncate { zxid, token } => {
                self.truncate(zxid)?;
                token
            }
            LogCommand::SetAcceptedEpoch { epoch, token } => {
                epoch::write(&*disk, &snap_dir, epoch::ACCEPTED, epoch)?;
                token
            }
            LogCommand::SetCurrentEpoch { epoch, token } => {
                epoch::write(&*disk, &snap_dir, epoch::CURRENT, epoch)?;
                token
            }
            LogCommand::InstallSnapshot { tree, token } => {
                out.push(LogEvent::SnapshotInstalled(self.install(&tree)?));
                token
            }
        };
        out.push(LogEvent::Durable(token));
        Ok(())
    }

    fn commit(&mut self, out: &mut Vec<LogEvent>) -> Result<()> {
        let committed = self.log.commit()?;
        if committed.bytes > 0 {
            out.push(LogEvent::Committed(committed));
        }
        out.extend(self.waiting.drain(..).map(LogEvent::Durable));
        Ok(())
    }

    /// Snapshot first: a crash before the old log is gone leaves a history that merely goes on.
    fn install(&mut self, tree: &FrozenTree) -> Result<SnapshotFile> {
        let (zxid, dir) = (tree.last_zxid(), self.layout.snap_dir());
        let saved = snap_store::save(&*self.disk, &dir, tree, self.snapshot)?;
        self.remove_snapshots_after(zxid)?;
        self.log.truncate(zxid)?;
        self.log.reset_to(zxid);
        Ok(saved)
    }

    /// All or error, checked before anything is changed: the target must be part of this server's
    /// history, and the database must be there without what is cut off.
    fn truncate(&mut self, zxid: i64) -> Result<()> {
        let (log_dir, snap_dir) = (self.layout.log_dir(), self.layout.snap_dir());
        let fail = |why: &str| {
            let (dir, why) = (log_dir.clone(), why.to_string());
            Err(StorageError::Truncate { dir, zxid, why })
        };
        let base = snap_store::valid_snapshots(&*self.disk, &snap_dir, usize::MAX)?
            .into_iter()
            .find(|snapshot| snapshot.zxid <= zxid);
        let Some(base) = base else {
            return fail("there is no snapshot from before it to go back to");
        };
        // No transaction has the number that an epoch starts with.
        let known = zxid == base.zxid
            || counter_of(zxid) == 0
            || LogCursor::at(&*self.disk, &log_dir, zxid)?.is_some();
        if !known {
            return fail("no such transaction is in the log");
        }
        self.remove_snapshots_after(zxid)?;
        self.log.truncate(zxid)
    }

    /// ZOOKEEPER-4837: a snapshot from beyond the cut would bring back what was cut off.
    fn remove_snapshots_after(&self, zxid: i64) -> Result<()> {
        let dir = self.layout.snap_dir();
        for snapshot in snap_store::snapshots(&*self.disk, &dir)? {
            if snapshot.zxid > zxid {
                log::info!("Removing {}: it is beyond 0x{zxid:x}", snapshot.path.display());
                let removed = self.disk.remove(&snapshot.path);
                removed.map_err(StorageError::io("removing", &snapshot.path))?;
            }
        }
        self.disk.sync_dir(&dir).map_err(StorageError::io("syncing", &dir))
    }
}

/// The log is to be this part of the snapshot that would replace it: replaying less takes no time
/// worth the trouble.
const LOG_TO_SNAPSHOT: u64 = 4;

/// When to take a snapshot (D-38): after so many transactions, if the log since the last one is
/// worth it, or after so many bytes of log. Both numbers are drawn anew each time, between half of
/// what is configured and all of it: so the members of an ensemble do not all do it at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotPolicy {
    /// Half of `zookeeper.snapCount`.
    half_count: u64,
    /// Half of `zookeeper.snapSizeLimitInKb`, in bytes; 0: no limit.
    half_size: u64,
    txns: u64,
    bytes: u64,
    max_txns: u64,
    max_bytes: u64,
}

impl SnapshotPolicy {
    /// `size_limit` in bytes, ≤ 0: none. `random` is any number.
    pub fn new(snap_count: i64, size_limit: i64, random: u64) -> Self {
        let half_count = snap_count.max(2) as u64 / 2;
        let half_size = size_limit.max(0) as u64 / 2;
        let mut policy =
            Self { half_count, half_size, txns: 0, bytes: 0, max_txns: 0, max_bytes: 0 };
        policy.snapshot_taken(random);
        policy
    }

    /// Counts transactions logged, or replayed by recovery: what a snapshot saves next time.
    pub fn logged(&mut self, txns: u64, bytes: u64) {
        self.txns += txns;
        self.bytes += bytes;
    }

    /// Whether to take a snapshot, which would have about so many bytes.
    pub fn is_due(&self, snapshot_bytes: u64) -> bool {
        let worth_it = self.bytes >= snapshot_bytes / LOG_TO_SNAPSHOT;
        self.txns > self.max_txns && worth_it || self.half_size > 0 && self.bytes > self.max_bytes
    }

    /// Starts counting anew, with another random share.
    pub fn snapshot_taken(&mut self, random: u64) {
        (self.txns, self.bytes) = (0, 0);
        self.max_txns = self.half_count + random % self.half_count;
        self.max_bytes = self.half_size + (random >> 16) % self.half_size.max(1);
    }
}

/// Whether a commit was so slow that operators should know (`fsync.warningthresholdms`, D-14).
pub fn is_slow(committed: &Committed, threshold: Duration) -> bool {
    committed.sync > threshold
}
