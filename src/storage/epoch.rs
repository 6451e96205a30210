//! `acceptedEpoch` and `currentEpoch`: what this server has promised, one decimal number a file
//! (D-50). Java: `QuorumPeer.{read,write}LongToFile`, `loadDataBase`.

use std::io;
use std::path::{Path, PathBuf};

use super::disk::{self, Disk};
use super::error::{Result, StorageError};
use crate::wire::epoch_of;

/// The epoch this server has joined: its log is that of this epoch's leader.
pub const CURRENT: &str = "currentEpoch";
/// The newest epoch whose leader this server has promised to listen to.
pub const ACCEPTED: &str = "acceptedEpoch";

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Epochs {
    pub accepted: i64,
    pub current: i64,
}

/// Reads an epoch file; `None` if there is none.
pub fn read(disk: &dyn Disk, snap_dir: &Path, name: &str) -> Result<Option<i64>> {
    let path = snap_dir.join(name);
    let bytes = match disk::read_all(disk, &path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        bytes => bytes.map_err(StorageError::io("reading", &path))?,
    };
    let text = String::from_utf8_lossy(&bytes);
    let line = text.lines().next().unwrap_or_default();
    match line.parse() {
        Ok(epoch) => Ok(Some(epoch)),
        Err(_) => Err(StorageError::Epoch(format!("Found {line:?} in {}", path.display()))),
    }
}

/// Writes an epoch file; when this returns, the number is durable.
pub fn write(disk: &dyn Disk, snap_dir: &Path, name: &str, epoch: i64) -> Result<()> {
    let path = snap_dir.join(name);
    disk::write_atomically(disk, &path, epoch.to_string().as_bytes())
        .map_err(StorageError::io("writing", &path))
}

/// What a starting server knows of epochs: `last_zxid` is the last transaction of its database.
/// Writes what is missing, repairs what a crash left half done, refuses contradictions.
pub fn load(disk: &dyn Disk, snap_dir: &Path, last_zxid: i64) -> Result<Epochs> {
    let of_zxid = epoch_of(last_zxid).max(0);
    let mut current = read_or_create(disk, snap_dir, CURRENT, of_zxid)?;
    if of_zxid > current {
        current = explained_current(disk, snap_dir, current, last_zxid)?;
    }
    let accepted = read_or_create(disk, snap_dir, ACCEPTED, of_zxid.max(current))?;
    if accepted < current {
        return Err(StorageError::Epoch(format!(
            "The accepted epoch, {accepted:x} is less than the current epoch, {current:x}, in {}",
            snap_dir.display()
        )));
    }
    Ok(Epochs { accepted, current })
}

fn read_or_create(disk: &dyn Disk, snap_dir: &Path, name: &str, epoch: i64) -> Result<i64> {
    if let Some(epoch) = read(disk, snap_dir, name)? {
        return Ok(epoch);
    }
    log::info!(
        "{name} not found! Creating with a reasonable default of {epoch}. \
         This should only happen when you are upgrading your installation"
    );
    write(disk, snap_dir, name, epoch)?;
    Ok(epoch)
}

/// A learner crashed while it was synchronised: transactions come first, `currentEpoch` after the
/// last of them. If it was renaming that into place, the temporary file says what was meant
/// (ZOOKEEPER-2354). Before that the old epoch stands: this server has not joined the new one, and
/// must not pass for one that has its whole history (ZOOKEEPER-4643). But it can only have been
/// sent what a leader had whom it had accepted.
fn explained_current(disk: &dyn Disk, dir: &Path, current: i64, last_zxid: i64) -> Result<i64> {
    let tmp = disk::tmp_name(Path::new(CURRENT));
    let tmp: PathBuf = dir.join(tmp);
    let name = format!("{CURRENT}.tmp");
    // An empty or partial temporary file is one that was never synced: it says nothing.
    let meant = read(disk, dir, &name).unwrap_or(None);
    match meant {
        Some(epoch) if epoch >= epoch_of(last_zxid) => {
            log::info!("{} found. Setting current epoch to {epoch}.", tmp.display());
            write(disk, dir, CURRENT, epoch)?;
            Ok(epoch)
        }
        _ if read(disk, dir, ACCEPTED)?.is_some_and(|accepted| accepted >= epoch_of(last_zxid)) => {
            log::info!("0x{last_zxid:x} came with a synchronization that was not finished");
            Ok(current)
        }
        _ => Err(StorageError::Epoch(format!(
            "The current epoch, {current:x}, is older than the last zxid, 0x{last_zxid:x}, in {}",
            dir.display()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::mem_disk::{Fault, MemDisk, Unsynced};

    const DIR: &str = "/d/version-2";

    fn disk(files: &[(&str, &str)]) -> MemDisk {
        let mem = MemDisk::new();
        mem.create_dir_all(Path::new(DIR)).unwrap();
        for (name, text) in files {
            mem.poke(&Path::new(DIR).join(name), 0, text.as_bytes());
        }
        mem
    }

    #[test]
    fn what_files_say_and_what_comes_of_it() {
        const E2: i64 = 2 << 32;
        let ok = |accepted, current| Ok(Epochs { accepted, current });
        type Row<'a> = (&'a [(&'a str, &'a str)], i64, std::result::Result<Epochs, &'a str>);
        let rows: [Row; 10] = [
            (&[], 0, ok(0, 0)),
            (&[], E2 | 5, ok(2, 2)),
            (&[], -1, ok(0, 0)),
            (&[(CURRENT, "2\n"), (ACCEPTED, "3")], E2 | 5, ok(3, 2)),
            (&[(CURRENT, "1"), (ACCEPTED, "2"), ("currentEpoch.tmp", "2")], E2, ok(2, 2)),
            (&[(CURRENT, "1"), (ACCEPTED, "2")], E2 | 5, ok(2, 1)),
            (&[(CURRENT, "1"), (ACCEPTED, "1")], E2, Err("The current epoch, 1, is older")),
            (&[(CURRENT, "1")], E2, Err("The current epoch, 1, is older")),
            (&[(CURRENT, "2"), (ACCEPTED, "1")], 7, Err("The accepted epoch, 1 is less")),
            (&[(CURRENT, "two"), (ACCEPTED, "1")], 7, Err("Found \"two\" in")),
        ];
        for (files, last_zxid, expected) in rows {
            let mem = disk(files);
            let got = load(&mem, Path::new(DIR), last_zxid).map_err(|e| e.to_string());
            match (&got, &expected) {
                (Ok(got), Ok(expected)) => assert_eq!(got, expected, "{files:?}"),
                (Err(got), Err(start)) => assert!(got.starts_with(start), "{files:?}: {got}"),
                _ => panic!("{files:?}: {got:?}, not {expected:?}"),
            }
        }
    }

    #[test]
    fn a_crash_at_any_operation_leaves_the_old_or_the_new_epoch() {
        for seed in 0..200 {
            let mem = disk(&[(CURRENT, "6"), (ACCEPTED, "7")]);
            mem.fail(1 + seed % 6, Fault::PowerCut);
            let done = write(&mem, Path::new(DIR), CURRENT, 7).is_ok();
            mem.crash(Unsynced::Some(seed));
            let current = read(&mem, Path::new(DIR), CURRENT).unwrap();
            assert!(
                current == Some(7) || (!done && current == Some(6)),
                "seed {seed}: {current:?}"
            );
        }
    }
}
