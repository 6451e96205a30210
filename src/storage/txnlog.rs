//! Writing the transaction log: one write and one fdatasync for everything that waited.
//! Java: `FileTxnLog`, `FilePadding`. The format: `FORMATS.md`.
//!
//! A file is only ever appended to by the process that created it: every start begins a new one.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::adler::adler32;
use super::disk::{Disk, DiskFile, Existing, SharedDisk};
use super::error::{Result, StorageError};
use super::layout;
use super::log_reader::{END_OF_RECORD, HEADER, LogFile, follows, log_files};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogOptions {
    /// Bytes by which a file is extended before it is needed; 0 turns that off (D-13).
    /// `zookeeper.preAllocSize`, there in KiB.
    pub preallocate: u64,
    /// `zookeeper.forceSync`: off, nothing is fsynced and a power cut loses what was acknowledged.
    pub force_sync: bool,
    /// Bytes after which a new file is begun; 0: only at snapshots.
    /// `zookeeper.txnLogSizeLimitInKb`.
    pub size_limit: u64,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self { preallocate: 64 << 20, force_sync: true, size_limit: 0 }
    }
}

/// What a commit did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Committed {
    /// Bytes written; 0 if nothing waited.
    pub bytes: u64,
    /// How long the fdatasync took.
    pub sync: Duration,
    /// Size of the file, padding included.
    pub file_size: u64,
}

pub struct TxnLog {
    disk: SharedDisk,
    dir: PathBuf,
    options: LogOptions,
    file: Option<OpenFile>,
    /// Records that wait for the next commit, and the zxid of the first.
    batch: Vec<u8>,
    batch_first: i64,
    last_zxid: i64,
    /// A write or fsync has failed: what the medium holds is unknown, nothing more is accepted.
    failed: bool,
}

struct OpenFile {
    path: PathBuf,
    file: Box<dyn DiskFile>,
    /// Where the next batch goes.
    position: u64,
    /// Size with padding.
    size: u64,
    /// So far zeros have been written, not only preallocated.
    zeroed: u64,
}

impl TxnLog {
    /// `last_zxid` is what recovery found to be the last transaction; the first append must follow.
    pub fn new(disk: SharedDisk, dir: PathBuf, options: LogOptions, last_zxid: i64) -> Self {
        Self {
            disk,
            dir,
            options,
            file: None,
            batch: Vec::new(),
            batch_first: 0,
            last_zxid,
            failed: false,
        }
    }

    /// The last transaction appended, durable or not.
    pub fn last_zxid(&self) -> i64 {
        self.last_zxid
    }

    /// Bytes that wait for the next commit.
    pub fn waiting(&self) -> u64 {
        self.batch.len() as u64
    }

    /// The database now ends at `zxid` though no such record was appended: it was fetched whole
    /// from a leader. What is appended next goes into a new file.
    pub fn reset_to(&mut self, zxid: i64) {
        assert!(self.batch.is_empty(), "{} bytes wait for a commit", self.batch.len());
        self.file = None;
        self.last_zxid = zxid;
    }

    /// Adds a transaction (D-16 bytes) to the batch.
    pub fn append(&mut self, zxid: i64, txn: &[u8]) {
        let last = self.last_zxid;
        assert!(follows(last, zxid), "0x{zxid:x} appended to a log that ends with 0x{last:x}");
        assert!(!txn.is_empty() && txn.len() < i32::MAX as usize, "a txn of {} bytes", txn.len());
        if self.batch.is_empty() {
            self.batch_first = zxid;
        }
        self.last_zxid = zxid;
        self.batch.extend_from_slice(&i64::from(adler32(txn)).to_be_bytes());
        self.batch.extend_from_slice(&(txn.len() as i32).to_be_bytes());
        self.batch.extend_from_slice(txn);
        self.batch.push(END_OF_RECORD);
    }

    /// Makes everything appended so far durable. After an error the log is dead, and the process
    /// must end: retrying an fsync would report success for pages that the kernel has dropped.
    pub fn commit(&mut self) -> Result<Committed> {
        let path = self.current_path();
        if self.failed {
            let dead = std::io::Error::other("an earlier write to the transaction log failed");
            return Err(StorageError::io("appending to", &path)(dead));
        }
        if self.batch.is_empty() {
            return Ok(Committed::default());
        }
        self.failed = true;
        let committed = self.write_batch().map_err(StorageError::io("appending to", &path))?;
        self.failed = false;
        if self.options.size_limit > 0 && committed.file_size > self.options.size_limit {
            self.file = None;
        }
        Ok(committed)
    }

    /// Commits; the next append begins a new file.
    pub fn roll(&mut self) -> Result<Committed> {
        let committed = self.commit()?;
        self.file = None;
        Ok(committed)
    }

    /// Cuts everything after `zxid` off the log; see [`truncate`].
    pub fn truncate(&mut self, zxid: i64) -> Result<()> {
        assert!(self.batch.is_empty(), "{} bytes wait for a commit", self.batch.len());
        self.file = None;
        self.failed = true;
        truncate(&*self.disk, &self.dir, zxid)?;
        self.failed = false;
        self.last_zxid = zxid;
        Ok(())
    }

    fn current_path(&self) -> PathBuf {
        match &self.file {
            Some(file) => file.path.clone(),
            None => self.dir.join(layout::log_name(self.batch_first)),
        }
    }

    fn write_batch(&mut self) -> std::io::Result<Committed> {
        let new = self.file.is_none();
        if new {
            let path = self.current_path();
            log::info!("Creating new log file: {}", layout::log_name(self.batch_first));
            let file = match self.options {
                LogOptions { force_sync: true, preallocate: 1.., .. } => {
                    self.disk.create_direct(&path, Existing::Refuse)?
                }
                _ => self.disk.create(&path, Existing::Refuse)?,
            };
            self.batch.splice(0..0, HEADER);
            self.file = Some(OpenFile { path, file, position: 0, size: 0, zeroed: 0 });
        }
        let Some(open) = &mut self.file else { return Ok(Committed::default()) };
        let end = open.position + self.batch.len() as u64;
        let padded = padded_size(end, open.size, self.options.preallocate);
        if padded != open.size {
            open.file.set_len(padded)?;
            open.size = padded;
        }
        open.file.write_at(open.position, &self.batch)?;
        let mut sync = Duration::ZERO;
        if self.options.force_sync {
            if end > open.zeroed && self.batch.len() <= SMALL_BATCH {
                open.zeroed = zeroed_size(end, open.size);
                open.file.write_zeros(end, open.zeroed)?;
            }
            sync = open.file.sync_data()?;
            if new {
                self.disk.sync_dir(&self.dir)?;
            }
        }
        let bytes = self.batch.len() as u64;
        open.position = end;
        open.size = open.size.max(end);
        let file_size = open.size;
        self.batch.clear();
        // One huge batch must not hold on to its memory.
        self.batch.shrink_to(1 << 20);
        Ok(Committed { bytes, sync, file_size })
    }
}

/// The size a file should have before it is written up to `end`: at least a page ahead (D-13).
pub(super) fn padded_size(end: u64, size: u64, preallocate: u64) -> u64 {
    const AHEAD: u64 = 4096;
    if preallocate == 0 || end + AHEAD < size {
        return size;
    }
    ((end + AHEAD) / preallocate + 1) * preallocate
}

/// Batches bigger than this do not pay for zeros behind them: writing everything twice takes longer
/// than waiting for the file system to note where they went.
const SMALL_BATCH: usize = 64 << 10;

/// How far a file is to be zeroed when what it holds, up to `end`, has passed the zeros written so
/// far. A sync of what lay in a hole also waits until the file system has noted, in its journal if
/// there is one, where it is now; one that overwrites zeros does not. As much again as the file
/// holds, so that the first write of a new file, which clients wait for after an election, pays for
/// little; but not so much that everybody waits long.
pub(super) fn zeroed_size(end: u64, size: u64) -> u64 {
    const LEAST: u64 = 64 << 10;
    const MOST: u64 = 512 << 10;
    const PAGE: u64 = 4096;
    ((end + end.clamp(LEAST, MOST)) / PAGE * PAGE).min(size)
}

/// Cuts everything after `zxid` off the log in `dir`, durably (D-19). Never keeps a transaction
/// beyond `zxid`. Newer files go first, newest first, so that a crash in between leaves a log that
/// merely ends later; if anything is wrong with the file to be cut nothing is changed at all.
/// Java: `FileTxnLog.truncate`, which keeps the next transaction when `zxid` itself is absent.
pub fn truncate(disk: &dyn Disk, dir: &Path, zxid: i64) -> Result<()> {
    let files = log_files(disk, dir)?;
    let newer = files.partition_point(|(first, _)| *first <= zxid);
    let cut = match files[..newer].last() {
        Some((_, path)) => Some((path, offset_after(disk, path, zxid)?)),
        None => None,
    };
    let remove = |path: &Path| disk.remove(path).map_err(StorageError::io("removing", path));
    for (_, path) in files[newer..].iter().rev() {
        log::info!("Truncating to 0x{zxid:x}: removing {}", path.display());
        remove(path)?;
    }
    disk.sync_dir(dir).map_err(StorageError::io("syncing", dir))?;
    if let Some((path, offset)) = cut {
        log::info!("Truncating to 0x{zxid:x}: cutting {} at {offset}", path.display());
        cut_file(disk, path, offset)?;
    }
    Ok(())
}

/// Cuts a log file, durably; one without records goes altogether.
pub fn cut_file(disk: &dyn Disk, path: &Path, offset: u64) -> Result<()> {
    if offset <= HEADER.len() as u64 {
        disk.remove(path).map_err(StorageError::io("removing", path))?;
        let dir = super::disk::parent(path);
        return disk.sync_dir(dir).map_err(StorageError::io("syncing", dir));
    }
    let cut = || -> std::io::Result<()> {
        let mut file = disk.open_write(path)?;
        file.set_len(offset)?;
        file.sync_data()?;
        Ok(())
    };
    cut().map_err(StorageError::io("cutting", path))
}

/// Where the first record after `zxid` begins in a file, or would.
fn offset_after(disk: &dyn Disk, path: &Path, zxid: i64) -> Result<u64> {
    let mut file = LogFile::open(disk, path)?;
    while file.advance()? {
        if file.record().zxid > zxid {
            return Ok(file.record_start());
        }
    }
    Ok(file.position())
}
