//! A stretch of the logs for a learner that lacks more than the transactions in memory:
//! whether it is there whole, and reading it. One who was promised it gets every transaction of
//! it, or an error. Java: `ZKDatabase.getProposalsFromTxnLog`, `TxnLogProposalIterator`.
//!
//! Numbers show a hole within an epoch, not one at its end: when a leader's snapshot brought the
//! last transactions of an epoch, the log goes on with the next epoch's first as if there had been
//! none. But that snapshot is still there – a purge takes the logs before it first –, and its zxid
//! lies in the hole.

use super::disk::Disk;
use super::error::{Result, StorageError};
use super::layout::Layout;
use super::log_reader::{LogCursor, RawTxn, files_after, follows, log_files};
use super::snap_store;

/// Progress is told after so many bytes.
const PACE: usize = 1 << 20;

/// The transactions after what a learner has and up to another one, without a hole.
pub struct LogRange {
    cursor: LogCursor,
    /// The cursor is on a transaction that [`Self::advance`] has not given yet.
    found: bool,
    /// Zxids of the snapshots there are.
    snapshots: Vec<i64>,
    floor: i64,
    last: i64,
    upto: i64,
}

impl LogRange {
    /// What is behind `peer`, a learner's last zxid. Everything up to `upto` must be durable:
    /// behind that a write may be under way. `None` if nothing shows which transactions the
    /// learner shares with this log.
    pub fn seek(
        disk: &dyn Disk,
        layout: &Layout,
        (peer, upto): (i64, i64),
        progress: &mut dyn FnMut(),
    ) -> Result<Option<Self>> {
        let files = log_files(disk, &layout.log_dir())?;
        let mut cursor = LogCursor::over(files_after(&files, peer), None);
        let (mut floor, mut found, mut unreported) = (None, false, 0);
        while floor < Some(upto) && cursor.advance(disk)? {
            let RawTxn { zxid, bytes } = cursor.record();
            if zxid > peer {
                found = true;
                if zxid == peer + 1 {
                    // Who has the number before this one has all that was before it.
                    floor = Some(peer);
                }
                break;
            }
            floor = Some(zxid);
            pace(&mut unreported, bytes, progress);
        }
        let snapshots = snap_store::snapshots(disk, &layout.snap_dir())?;
        let snapshots = snapshots.into_iter().map(|snapshot| snapshot.zxid).collect();
        Ok(floor.map(|floor| Self { cursor, found, snapshots, floor, last: floor, upto }))
    }

    /// The last transaction that is the learner's, too, by all that the log shows.
    pub fn floor(&self) -> i64 {
        self.floor
    }

    /// The transaction that [`Self::advance`] has found.
    pub fn record(&self) -> RawTxn<'_> {
        self.cursor.record()
    }

    /// Goes to the next transaction; `false` when all of them have been read.
    pub fn advance(&mut self, disk: &dyn Disk) -> Result<bool> {
        if self.last >= self.upto {
            return Ok(false);
        }
        let found = std::mem::take(&mut self.found) || self.cursor.advance(disk)?;
        let next = if found { self.cursor.record().zxid } else { self.upto + 1 };
        if !self.joins(next.min(self.upto + 1)) {
            let path = self.cursor.file().map(|file| file.path().to_path_buf());
            return Err(StorageError::Gap {
                path: path.unwrap_or_default(),
                last: self.last,
                next,
            });
        }
        self.last = next.min(self.upto);
        Ok(next <= self.upto)
    }

    /// Whether `next` comes right after the last transaction read.
    fn joins(&self, next: i64) -> bool {
        let between = |snapshot: &i64| self.last < *snapshot && *snapshot < next;
        follows(self.last, next) && !self.snapshots.iter().any(between)
    }
}

/// What a learner lacks, as [`find`] is asked for it.
#[derive(Debug, Clone, Copy)]
pub struct Wanted {
    /// The learner's last zxid.
    pub peer: i64,
    /// The last transaction wanted, or a later one; durable.
    pub upto: i64,
    /// How much may be read, in sizes of the newest snapshot (`zookeeper.snapshotSizeFactor`).
    pub size_factor: f64,
}

/// Reads once what a learner is to be sent, so that nothing is promised that is not there: says
/// where the learner's history joins, `None` if it does not or if it is too much. As in Java the
/// file in which it begins does not count, and a limit of 0 is none; Java counts the other files
/// with their padding.
pub fn find(
    disk: &dyn Disk,
    layout: &Layout,
    wanted: Wanted,
    progress: &mut dyn FnMut(),
) -> Result<Option<i64>> {
    let Wanted { peer, upto, size_factor } = wanted;
    let Some(mut range) = LogRange::seek(disk, layout, (peer, upto), progress)? else {
        return Ok(None);
    };
    let newest = snap_store::valid_snapshots(disk, &layout.snap_dir(), 1)?.pop();
    let limit = (newest.map_or(0, |file| file.size) as f64 * size_factor) as u64;
    let first_file = range.cursor.finished().len();
    let (mut counted, mut unreported) = (0, 0);
    while range.advance(disk)? {
        let bytes = range.record().bytes;
        if range.cursor.finished().len() > first_file {
            counted += bytes.len() as u64;
        }
        if limit > 0 && counted > limit {
            log::info!("the transactions after {peer:#x} are more than {limit} bytes: too many");
            return Ok(None);
        }
        pace(&mut unreported, bytes, progress);
    }
    Ok(Some(range.floor()))
}

fn pace(unreported: &mut usize, read: &[u8], progress: &mut dyn FnMut()) {
    *unreported += read.len();
    if *unreported >= PACE {
        *unreported = 0;
        progress();
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::storage::mem_disk::MemDisk;
    use crate::storage::{LogOptions, TxnLog};

    const DIR: &str = "/d/version-2";

    const fn z(epoch: i64, counter: i64) -> i64 {
        epoch << 32 | counter
    }

    fn log(mem: &MemDisk, last: i64) -> TxnLog {
        let options = LogOptions { preallocate: 4096, ..LogOptions::default() };
        TxnLog::new(mem.shared(), DIR.into(), options, last)
    }

    fn append(log: &mut TxnLog, zxids: impl IntoIterator<Item = i64>) {
        for zxid in zxids {
            let mut bytes = vec![7u8; 100];
            bytes[12..20].copy_from_slice(&zxid.to_be_bytes());
            log.append(zxid, &bytes);
        }
        log.commit().unwrap();
    }

    fn snapshot(mem: &MemDisk, zxid: i64, size: usize) {
        let mut bytes = vec![0; size - 5];
        bytes.extend(b"\x00\x00\x00\x01/");
        mem.poke(&Path::new(DIR).join(format!("snapshot.{zxid:x}")), 0, &bytes);
    }

    /// Files from 1:1, 1:4 and 2:1 on, up to 2:3.
    fn three_files() -> MemDisk {
        let mem = MemDisk::new();
        mem.create_dir_all(Path::new(DIR)).unwrap();
        let mut log = log(&mem, z(1, 0));
        append(&mut log, (1..=3).map(|c| z(1, c)));
        log.roll().unwrap();
        append(&mut log, (4..=6).map(|c| z(1, c)));
        log.roll().unwrap();
        append(&mut log, (1..=3).map(|c| z(2, c)));
        mem
    }

    fn remove(mem: &MemDisk, name: &str) {
        mem.remove(&Path::new(DIR).join(name)).unwrap();
    }

    fn found(mem: &MemDisk, peer: i64, upto: i64) -> Option<i64> {
        let wanted = Wanted { peer, upto, size_factor: 0.0 };
        find(mem, &Layout::new("/d", None), wanted, &mut || {}).unwrap_or(None)
    }

    fn sent(mem: &MemDisk, after: i64, upto: i64) -> Result<Option<Vec<i64>>> {
        let range = LogRange::seek(mem, &Layout::new("/d", None), (after, upto), &mut || {})?;
        let Some(mut range) = range else { return Ok(None) };
        let mut zxids = Vec::new();
        while range.advance(mem)? {
            zxids.push(range.record().zxid);
        }
        Ok(Some(zxids))
    }

    #[test]
    fn where_a_learner_joins() {
        let mem = three_files();
        let all: Vec<i64> = (1..=6).map(|c| z(1, c)).chain((1..=3).map(|c| z(2, c))).collect();
        for (peer, floor) in [
            (z(1, 1), Some(z(1, 1))),
            (z(1, 3), Some(z(1, 3))),
            (z(1, 6), Some(z(1, 6))),
            (z(2, 2), Some(z(2, 2))),
            (z(2, 3), Some(z(2, 3))),
            // Logged there, and never committed.
            (z(1, 9), Some(z(1, 6))),
            // The number before the first one that there is.
            (z(1, 0), Some(z(1, 0))),
            (z(2, 0), Some(z(2, 0))),
            (z(3, 0), Some(z(2, 3))),
            (5, None),
        ] {
            assert_eq!(found(&mem, peer, z(2, 3)), floor, "{peer:#x}");
            let Some(floor) = floor else { continue };
            let behind: Vec<i64> = all.iter().copied().filter(|z| *z > floor).collect();
            assert_eq!(sent(&mem, floor, z(2, 3)).unwrap(), Some(behind), "{peer:#x}");
        }
        remove(&mem, "log.100000001");
        for (peer, floor) in
            [(z(1, 1), None), (z(1, 2), None), (z(1, 3), Some(z(1, 3))), (z(1, 5), Some(z(1, 5)))]
        {
            assert_eq!(found(&mem, peer, z(2, 3)), floor, "{peer:#x}");
        }
    }

    #[test]
    fn ends_where_memory_begins() {
        let mem = three_files();
        // What an epoch's first transaction has before it is the end of an earlier one.
        assert_eq!(sent(&mem, z(1, 4), z(2, 0)).unwrap(), Some(vec![z(1, 5), z(1, 6)]));
        assert_eq!(sent(&mem, z(1, 6), z(2, 0)).unwrap(), Some(vec![]));
        assert_eq!(sent(&mem, z(1, 4), z(1, 5)).unwrap(), Some(vec![z(1, 5)]));
        for missing in [z(1, 7), z(2, 4)] {
            assert!(sent(&mem, z(1, 4), missing).is_err(), "{missing:#x}");
            assert_eq!(found(&mem, z(1, 4), missing), None, "{missing:#x}");
        }
    }

    #[test]
    fn zookeeper_2846_a_hole_in_the_numbers_is_found() {
        let mem = three_files();
        append(&mut log(&mem, z(2, 4)), [z(2, 5)]);
        assert_eq!(found(&mem, z(1, 2), z(2, 5)), None);
        assert_eq!(found(&mem, z(2, 4), z(2, 5)), Some(z(2, 4)));
    }

    /// The leader's own leader had sent it a snapshot at 1:8, and 2:1 was what came next.
    #[test]
    fn a_hole_at_the_end_of_an_epoch_has_a_snapshot_in_it() {
        let mem = three_files();
        snapshot(&mem, z(1, 3), 100);
        snapshot(&mem, z(1, 6), 100);
        snapshot(&mem, z(2, 2), 100);
        assert_eq!(found(&mem, z(1, 2), z(2, 3)), Some(z(1, 2)));
        snapshot(&mem, z(1, 8), 100);
        for peer in [z(1, 2), z(1, 6), z(1, 8), z(1, 9)] {
            assert_eq!(found(&mem, peer, z(2, 3)), None, "{peer:#x}");
        }
        assert!(matches!(
            sent(&mem, z(1, 2), z(2, 3)),
            Err(StorageError::Gap { last, next, .. }) if (last, next) == (z(1, 6), z(2, 1))
        ));
        assert!(sent(&mem, z(1, 2), z(2, 0)).is_err());
        for peer in [z(2, 0), z(2, 1)] {
            assert_eq!(found(&mem, peer, z(2, 3)), Some(peer), "{peer:#x}");
        }
    }

    #[test]
    fn what_is_not_durable_is_not_looked_at() {
        let mem = three_files();
        let path = Path::new(DIR).join("log.200000001");
        // The record of 2:3 is being written.
        mem.poke(&path, 16 + 2 * 113 + 50, b"xyz");
        assert_eq!(found(&mem, z(1, 2), z(2, 3)), None);
        assert_eq!(found(&mem, z(1, 2), z(2, 2)), Some(z(1, 2)));
        assert_eq!(found(&mem, z(2, 2), z(2, 2)), Some(z(2, 2)));
    }

    #[test]
    fn a_file_that_is_purged_meanwhile_is_an_error() {
        let (mem, layout) = (three_files(), Layout::new("/d", None));
        let range = LogRange::seek(&mem, &layout, (z(1, 1), z(2, 3)), &mut || {}).unwrap();
        let mut range = range.unwrap();
        remove(&mem, "log.100000004");
        assert!(range.advance(&mem).unwrap() && range.advance(&mem).unwrap());
        assert!(range.advance(&mem).is_err());
    }

    #[test]
    fn the_size_of_the_snapshot_is_the_measure() {
        let mem = three_files();
        let layout = Layout::new("/d", None);
        let found = |peer, size_factor| {
            find(&mem, &layout, Wanted { peer, upto: z(2, 3), size_factor }, &mut || {}).unwrap()
        };
        assert_eq!(found(z(1, 1), 1.0), Some(z(1, 1)), "there is no snapshot");
        snapshot(&mem, z(1, 1), 1_000);
        // Behind the first file: six transactions of 100 bytes, then three, then none.
        assert_eq!(found(z(1, 1), 0.6), Some(z(1, 1)));
        assert_eq!(found(z(1, 1), 0.59), None);
        assert_eq!(found(z(1, 4), 0.3), Some(z(1, 4)));
        assert_eq!(found(z(1, 4), 0.29), None);
        assert_eq!(found(z(1, 6), 0.01), Some(z(1, 6)));
        assert_eq!(found(z(1, 1), 0.0), Some(z(1, 1)), "no limit");
    }
}
