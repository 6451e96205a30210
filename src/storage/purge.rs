//! Which old files may go (D-54), and deleting them. Java: `PurgeTxnLog`, `DatadirCleanupManager`.

use std::path::{Path, PathBuf};

use super::disk::{Disk, Entry};
use super::error::{Result, StorageError};
use super::layout;
use super::snap_store;

/// A file that is not needed any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OldFile {
    pub path: PathBuf,
    /// Milliseconds since 1970.
    pub modified: i64,
}

/// The files that `keep` snapshots do not need: snapshots older than the oldest of the `keep`
/// newest valid ones, and logs that end before it. Nothing while there are none valid.
pub fn old_files(
    disk: &dyn Disk,
    log_dir: &Path,
    snap_dir: &Path,
    keep: usize,
) -> Result<Vec<OldFile>> {
    let Some(oldest) = snap_store::valid_snapshots(disk, snap_dir, keep)?.pop() else {
        return Ok(Vec::new());
    };
    let old = |dir: &Path, names: Vec<(Entry, i64)>, before: i64| -> Vec<OldFile> {
        let old = names.into_iter().filter(|(_, zxid)| *zxid < before);
        old.map(|(e, _)| OldFile { path: dir.join(e.name), modified: e.modified }).collect()
    };
    let logs = named(disk, log_dir, layout::log_zxid)?;
    let snapshots = named(disk, snap_dir, leftover_zxid)?;
    // The newest log that begins before the snapshot may go on behind it.
    let needed = logs.iter().map(|(_, zxid)| *zxid).filter(|zxid| *zxid <= oldest.zxid).max();
    let mut files = old(log_dir, logs, needed.unwrap_or(0));
    files.extend(old(snap_dir, snapshots, oldest.zxid));
    Ok(files)
}

/// Snapshots, and what a crash left of unfinished ones.
fn leftover_zxid(name: &str) -> Option<i64> {
    layout::snapshot_zxid(name.strip_suffix(".tmp").unwrap_or(name))
}

fn named(
    disk: &dyn Disk,
    dir: &Path,
    zxid: impl Fn(&str) -> Option<i64>,
) -> Result<Vec<(Entry, i64)>> {
    let entries = layout::list(disk, dir)?.into_iter();
    Ok(entries.filter_map(|e| zxid(&e.name).map(|zxid| (e, zxid))).collect())
}

/// Deletes one of [`old_files`].
pub fn remove(disk: &dyn Disk, file: &OldFile) -> Result<()> {
    disk.remove(&file.path).map_err(StorageError::io("removing", &file.path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::mem_disk::MemDisk;

    fn purged(logs: &[&str], snapshots: &[&str], keep: usize) -> Vec<String> {
        let mem = MemDisk::new();
        for name in logs {
            mem.poke(&Path::new("/l").join(name), 0, b"x");
        }
        for name in snapshots {
            let (name, content) = match name.strip_suffix('!') {
                Some(damaged) => (damaged, &b"cut off in the mid"[..]),
                None => (*name, &b"0123456789\x00\x00\x00\x01/"[..]),
            };
            mem.poke(&Path::new("/s").join(name), 0, content);
        }
        mem.create_dir_all(Path::new("/l")).unwrap();
        mem.create_dir_all(Path::new("/s")).unwrap();
        let old = old_files(&mem, Path::new("/l"), Path::new("/s"), keep).unwrap();
        for file in &old {
            remove(&mem, file).unwrap();
        }
        old.into_iter().map(|f| f.path.display().to_string()).collect()
    }

    #[test]
    fn the_oldest_kept_snapshot_decides() {
        type Row<'a> = (&'a [&'a str], &'a [&'a str], &'a [&'a str]);
        let rows: [Row; 6] = [
            (&["log.1"], &[], &[]),
            (&["log.1"], &["snapshot.0"], &[]),
            (
                &["log.1", "log.b", "log.15", "log.1f"],
                &["snapshot.0", "snapshot.a", "snapshot.14", "snapshot.1e"],
                // log.1 may hold transactions after snapshot.a only if log.b did not exist.
                &["/s/snapshot.0"],
            ),
            (
                &["log.1", "log.a", "log.15", "log.1f"],
                &["snapshot.0", "snapshot.a", "snapshot.14", "snapshot.1e"],
                &["/l/log.1", "/s/snapshot.0"],
            ),
            // Damaged ones do not count, but go when they are old.
            (
                &["log.1", "log.a", "log.15"],
                &["snapshot.5!", "snapshot.a", "snapshot.14!", "snapshot.1e", "snapshot.28"],
                &["/l/log.1", "/s/snapshot.5"],
            ),
            (
                &["log.a"],
                &["snapshot.5.tmp", "snapshot.a", "snapshot.b", "snapshot.c", "snapshot.x"],
                &["/s/snapshot.5.tmp"],
            ),
        ];
        for (logs, snapshots, expected) in rows {
            assert_eq!(purged(logs, snapshots, 3), expected, "{logs:?} {snapshots:?}");
        }
    }
}
