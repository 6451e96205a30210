//! How a server comes back: newest good snapshot, then the logs after it. Repairs what a crash may
//! have left at the end of the log, and refuses whatever a crash cannot explain.
//! Java: `FileTxnSnapLog.restore`, `ZKDatabase.loadDataBase`. Rules: `FORMATS.md`.

use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::disk::{self, Disk};
use super::error::{Result, StorageError};
use super::layout::Layout;
use super::log_reader::{End, FinishedFile, LogCursor, RawTxn};
use super::snap_store::{self, SnapshotFile, SnapshotOptions};
use super::txnlog;
use crate::tree::{DataTree, TreeOptions};
use crate::wire::{Reader, Record, TxnRecord};

#[derive(Debug, Clone)]
pub struct RecoveryOptions {
    pub tree: TreeOptions,
    pub snapshot: SnapshotOptions,
    /// `zookeeper.datadir.autocreate`.
    pub create_dirs: bool,
    /// `zookeeper.db.autocreate`: an empty directory is an empty database. Off, it is a lost one,
    /// unless the `initialize` marker says otherwise (D-4).
    pub create_db: bool,
    /// `zookeeper.snapshot.trust.empty`: logs without any snapshot are the whole history (D-5).
    pub trust_empty: bool,
    /// How many of the last transactions to keep for learners (`commitLogCount`).
    pub committed_log: usize,
}

impl Default for RecoveryOptions {
    fn default() -> Self {
        Self {
            tree: TreeOptions::default(),
            snapshot: SnapshotOptions::default(),
            create_dirs: true,
            create_db: true,
            trust_empty: false,
            committed_log: 500,
        }
    }
}

/// A transaction as logs and learners have it: zxid and bytes (D-16).
pub type LoggedTxn = (i64, Arc<[u8]>);

#[derive(Debug)]
pub struct Recovered {
    pub tree: DataTree,
    /// The last transaction of the database; −1 when it is empty and may be lost (D-4), so that
    /// nobody votes for this server.
    pub last_zxid: i64,
    /// The snapshot that was loaded. `None` with transactions in the database: it was built from
    /// logs alone, and the first sync must write one (D-5).
    pub snapshot: Option<SnapshotFile>,
    /// The last transactions replayed, oldest first.
    pub committed: VecDeque<LoggedTxn>,
    pub stats: RecoveryStats,
}

/// For log lines and metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RecoveryStats {
    pub log_files: usize,
    pub txns: u64,
    /// Bytes of the transactions replayed: what a snapshot now would save the next start.
    pub txn_bytes: u64,
    pub digest_mismatches: u64,
    pub snapshot_ms: i64,
    pub replay_ms: i64,
}

/// Brings the database back. `clock` tells milliseconds, for the statistics alone.
pub fn recover(
    disk: &dyn Disk,
    layout: &Layout,
    options: &RecoveryOptions,
    clock: &dyn Fn() -> i64,
) -> Result<Recovered> {
    layout.prepare(disk, options.create_dirs)?;
    let (snap_dir, log_dir) = (layout.snap_dir(), layout.log_dir());
    let start = clock();
    let loaded = snap_store::load_newest(disk, &snap_dir, options.tree)?;
    let mut stats = RecoveryStats { snapshot_ms: clock() - start, ..RecoveryStats::default() };
    let (snapshot, tree) = match loaded {
        Some((file, tree)) => (Some(file), tree),
        None => (None, DataTree::new(options.tree)),
    };
    let start = clock();
    let mut replay =
        Replay { tree, committed: VecDeque::new(), stats, keep: options.committed_log };
    let mut cursor = LogCursor::after(disk, &log_dir, snapshot.as_ref().map(|s| s.zxid))?;
    while cursor.advance(disk)? {
        if snapshot.is_none() && !options.trust_empty {
            let last_logged = last_of(cursor, disk)?;
            return Err(StorageError::NoSnapshot { dir: snap_dir, last_logged });
        }
        replay.apply(&cursor)?;
    }
    settle(disk, &log_dir, cursor.finished())?;
    let Replay { mut tree, committed, stats: replayed, .. } = replay;
    tree.end_replay();
    stats = RecoveryStats { log_files: cursor.finished().len(), ..replayed };
    stats.replay_ms = clock() - start;
    log::info!("{} txns loaded in {} ms", stats.txns, stats.replay_ms);
    let last_zxid = tree.last_zxid();
    let mut recovered = Recovered { tree, last_zxid, snapshot, committed, stats };
    trust_or_doubt(disk, layout, options, &mut recovered)?;
    recovered.stats.digest_mismatches = recovered.tree.digest_mismatches();
    Ok(recovered)
}

fn last_of(mut cursor: LogCursor, disk: &dyn Disk) -> Result<i64> {
    while cursor.advance(disk)? {}
    Ok(cursor.last_zxid().unwrap_or(-1))
}

struct Replay {
    tree: DataTree,
    committed: VecDeque<LoggedTxn>,
    stats: RecoveryStats,
    keep: usize,
}

impl Replay {
    fn apply(&mut self, cursor: &LogCursor) -> Result<()> {
        let RawTxn { zxid, bytes } = cursor.record();
        let record = TxnRecord::read(&mut Reader::new(bytes)).map_err(|e| {
            let (path, at) =
                cursor.file().map_or((Path::new(""), 0), |f| (f.path(), f.record_start()));
            StorageError::corrupt(path, at, format!("transaction 0x{zxid:x} makes no sense: {e}"))
        })?;
        // Errors are part of history, and of replay over a fuzzy snapshot (D-7); nobody watches.
        self.tree.apply(&record.header, &record.txn, &mut |_| {});
        if let Some(digest) = &record.digest
            && !self.tree.compare_digest(zxid, digest)
        {
            log::error!("Digests are not matching. Value is Zxid. Value:0x{zxid:x}");
        }
        self.stats.txns += 1;
        self.stats.txn_bytes += bytes.len() as u64;
        self.committed.push_back((zxid, bytes.into()));
        if self.committed.len() > self.keep {
            self.committed.pop_front();
        }
        Ok(())
    }
}

/// Makes the end of the log what it was just read as, durably. A file that never got a record goes:
/// its name may be needed, and Java does not start over a headerless one (ZOOKEEPER-1621). An
/// unfinished last write is cut off: once there are newer files, Java would take it for damage.
/// What was read may not have been synced before a kill, yet will be reported as logged: sync it.
fn settle(disk: &dyn Disk, log_dir: &Path, files: &[FinishedFile]) -> Result<()> {
    for file in files.iter().rev() {
        let path = &file.path;
        if file.records == 0 {
            log::warn!("Delete empty tail log file {}: {:?}", path.display(), file.end);
            disk.remove(path).map_err(StorageError::io("removing", path))?;
            continue;
        }
        if let End::Torn(why) = &file.end {
            log::warn!("cutting {} at byte {}: {why}", path.display(), file.position);
            txnlog::cut_file(disk, path, file.position)?;
        } else {
            let synced = disk.open_write(path).and_then(|mut file| file.sync_data());
            synced.map_err(StorageError::io("syncing", path))?;
        }
        break;
    }
    disk.sync_dir(log_dir).map_err(StorageError::io("syncing", log_dir))
}

/// Is a database without snapshot and transactions a new one, or one that has lost its files?
/// (D-4). A new one gets a first snapshot, for logs without snapshots are not believed.
fn trust_or_doubt(
    disk: &dyn Disk,
    layout: &Layout,
    options: &RecoveryOptions,
    recovered: &mut Recovered,
) -> Result<()> {
    let marker = layout.initialize();
    let marked = disk.open(&marker).is_ok();
    if recovered.snapshot.is_none() && recovered.stats.txns == 0 {
        if marked || options.create_db {
            let tree = recovered.tree.freeze();
            let dir = layout.snap_dir();
            let first = snap_store::save(disk, &dir, &tree, options.snapshot)?;
            recovered.snapshot = Some(first);
        } else {
            log::warn!("Unexpected empty data tree, setting zxid to -1");
            recovered.last_zxid = -1;
            recovered.tree.set_last_zxid(-1);
        }
    }
    // Last, so that a crash before this point finds it again.
    if marked {
        log::info!("Initialize file found, an empty database will not block voting participation");
        remove(disk, &marker)?;
    }
    Ok(())
}

fn remove(disk: &dyn Disk, path: &Path) -> Result<()> {
    let dir = disk::parent(path);
    match disk.remove(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done.and_then(|()| disk.sync_dir(dir)).map_err(StorageError::io("removing", path)),
    }
}

#[cfg(test)]
#[path = "recovery_tests.rs"]
mod tests;
