//! Reading transaction logs: one file record by record, and a run of files as one history.
//! Knows nothing of what a transaction means but where its zxid stands.
//! Java: `FileTxnLog.FileTxnIterator`. The format and the rules for its end: `FORMATS.md`.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use byteorder::{BigEndian, ByteOrder};

use super::adler::adler32;
use super::disk::{Disk, DiskFile, SECTOR};
use super::error::{Result, StorageError};
use super::layout;
use crate::wire::{counter_of, epoch_of};

/// "ZKLG", version 2, database id 0 (D-11).
pub const HEADER: [u8; 16] = *b"ZKLG\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00\x00";
/// What closes every record.
pub const END_OF_RECORD: u8 = b'B';
/// Checksum and length, before the transaction's bytes.
pub const RECORD_HEAD: u64 = 12;
/// Session, cxid, zxid, time and type: no transaction is shorter.
const TXN_HEADER: usize = 32;
/// The most one commit writes beyond its last record. A tear that has more than this behind it is
/// not the unfinished last write.
pub const BATCH_LIMIT: u64 = 4 << 20;
/// An incomplete record that claims to be longer is not believed.
const RECORD_LIMIT: u64 = 16 << 20;
const CHUNK: usize = 256 << 10;

/// Whether a transaction with zxid `next` can come right after one with zxid `last`: the next
/// number, or the first of a later epoch.
pub fn follows(last: i64, next: i64) -> bool {
    next == last + 1 || (epoch_of(next) > epoch_of(last) && counter_of(next) == 1)
}

/// How the records of a file end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// With the file, or with the padding.
    Clean,
    /// With a write that the medium did not finish, hence never acknowledged.
    Torn(&'static str),
    /// Before they began: not even the header arrived (ZOOKEEPER-1621, 2332).
    NoHeader,
}

/// One transaction as it stands in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RawTxn<'a> {
    pub zxid: i64,
    pub bytes: &'a [u8],
}

/// The records of one file.
pub struct LogFile {
    path: PathBuf,
    file: Box<dyn DiskFile>,
    size: u64,
    /// A window of the file, and the offset at which it begins.
    window: Vec<u8>,
    window_at: u64,
    /// The record that `advance` found, and where its bytes end.
    start: u64,
    next: u64,
    end: Option<End>,
}

impl LogFile {
    pub fn open(disk: &dyn Disk, path: &Path) -> Result<Self> {
        let file = disk.open(path).map_err(StorageError::io("opening", path))?;
        let size = file.size().map_err(StorageError::io("reading", path))?;
        let (window, path) = (Vec::new(), path.to_path_buf());
        let mut this =
            Self { path, file, size, window, window_at: 0, start: 0, next: 0, end: None };
        this.read_header()?;
        Ok(this)
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes in the file, padding included.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Where the next record would begin: after `advance` said `false`, where good records end.
    pub fn position(&self) -> u64 {
        self.next
    }

    /// Where the current record begins.
    pub fn record_start(&self) -> u64 {
        self.start
    }

    /// How the records ended; `None` while there may be more.
    #[cfg(test)]
    pub fn end(&self) -> Option<&End> {
        self.end.as_ref()
    }

    /// The record that `advance` has found.
    pub fn record(&self) -> RawTxn<'_> {
        let from = (self.start + RECORD_HEAD - self.window_at) as usize;
        let to = (self.next - 1 - self.window_at) as usize;
        let bytes = &self.window[from..to];
        RawTxn { zxid: zxid_in(bytes), bytes }
    }

    /// Goes to the next record; `false` at the end.
    pub fn advance(&mut self) -> Result<bool> {
        if self.end.is_some() {
            return Ok(false);
        }
        self.start = self.next;
        let head = self.view(self.start, RECORD_HEAD)?;
        if head.iter().all(|b| *b == 0) {
            self.check_nothing_synced_follows(0)?;
            return self.finish(End::Clean);
        }
        if head.len() < RECORD_HEAD as usize {
            return self.torn(RECORD_HEAD, "the file ends inside a record's checksum or length");
        }
        let (checksum, len) = (BigEndian::read_i64(head), BigEndian::read_i32(&head[8..]));
        if len == 0 {
            return self.torn(RECORD_HEAD, "a checksum without a length");
        }
        if len < 0 {
            return Err(self.corrupt(format!("a record's length is {len}")));
        }
        let whole = RECORD_HEAD + len as u64 + 1;
        if self.start + whole > self.size {
            return self.torn(whole, "the file ends inside a record");
        }
        let record = self.view(self.start, whole)?;
        if (record.len() as u64) < whole {
            return self.torn(whole, "the file has become shorter");
        }
        let (&mark, rest) = record.split_last().unwrap_or((&0, &[]));
        let body = &rest[RECORD_HEAD as usize..];
        let good = mark == END_OF_RECORD && i64::from(adler32(body)) == checksum;
        if !good {
            return self.bad_record(whole, mark);
        }
        if body.len() < TXN_HEADER {
            return Err(self.corrupt(format!("a record of {len} bytes cannot be a transaction")));
        }
        self.next = self.start + whole;
        Ok(true)
    }

    fn read_header(&mut self) -> Result<()> {
        let head = self.view(0, HEADER.len() as u64)?;
        if head.len() == HEADER.len() && head[..4] == HEADER[..4] {
            self.next = HEADER.len() as u64;
            return Ok(());
        }
        let unwritten = head.iter().all(|b| *b == 0);
        let partial = head.len() < HEADER.len() && HEADER.starts_with(head);
        if !(unwritten || partial) {
            let why = format!("this is no transaction log: it begins with {head:02x?}");
            return Err(self.corrupt(why));
        }
        self.check_nothing_synced_follows(0)?;
        self.finish(End::NoHeader).map(drop)
    }

    /// A record that is whole but wrong. Where a sector inside it is still as preallocated, the
    /// write that was to fill it never finished (ZOOKEEPER-2560, 2561). Otherwise the medium
    /// returned something other than what it was given.
    fn bad_record(&mut self, whole: u64, mark: u8) -> Result<bool> {
        if self.has_untouched_sector(self.start, self.start + whole)? {
            return self.torn(whole, "sectors of a record were never written");
        }
        Err(self.corrupt(match mark {
            END_OF_RECORD => "a record's checksum is wrong".to_string(),
            _ => format!("a record of {whole} bytes ends with 0x{mark:02x}, not 0x42"),
        }))
    }

    /// Is there a sector of zeros that begins after `from` and before `to`? The sector that `from`
    /// is in was written before: it is untouched if all behind `from` in it is zeros. That says
    /// nothing of the first four bytes of a record: they always are.
    fn has_untouched_sector(&mut self, from: u64, to: u64) -> Result<bool> {
        let mut sector = (from / SECTOR + 1) * SECTOR;
        let head = sector.min(to) - from;
        if head > 4 && self.view(from, head)?.iter().all(|b| *b == 0) {
            return Ok(true);
        }
        while sector < to {
            if self.view(sector, SECTOR)?.iter().all(|b| *b == 0) {
                return Ok(true);
            }
            sector += SECTOR;
        }
        Ok(false)
    }

    fn torn(&mut self, whole: u64, why: &'static str) -> Result<bool> {
        self.check_nothing_synced_follows(whole)?;
        self.finish(End::Torn(why))
    }

    /// An unfinished write is the last one, and its size is bounded: so is what may follow the
    /// last good record. `record` is the size that an incomplete record claims.
    fn check_nothing_synced_follows(&mut self, record: u64) -> Result<()> {
        let mut at = self.next + record.min(RECORD_LIMIT) + BATCH_LIMIT;
        while at < self.size {
            // Padding is tens of megabytes, most of which was never written.
            match self.file.data_from(at).map_err(StorageError::io("reading", &self.path))? {
                Some(data) if data < self.size => at = data,
                _ => break,
            }
            let chunk = self.view(at, CHUNK as u64)?;
            // Folding looks at many bytes at once.
            if chunk.iter().fold(0, |any, b| any | b) != 0 {
                let why = "a record is incomplete, but too much follows it for the last write";
                return Err(self.corrupt(why.into()));
            }
            at += CHUNK as u64;
        }
        Ok(())
    }

    fn finish(&mut self, end: End) -> Result<bool> {
        self.end = Some(end);
        Ok(false)
    }

    fn corrupt(&self, why: String) -> StorageError {
        StorageError::corrupt(&self.path, self.next, why)
    }

    /// The file's bytes from `at`: `n` of them, or fewer where the file ends.
    fn view(&mut self, at: u64, n: u64) -> Result<&[u8]> {
        let n = n.min(self.size.saturating_sub(at)) as usize;
        let in_window =
            at >= self.window_at && at + n as u64 <= self.window_at + self.window.len() as u64;
        if !in_window {
            let wanted = n.max(CHUNK).min((self.size - at) as usize);
            self.window.resize(wanted, 0);
            self.window_at = at;
            let mut filled = 0;
            while filled < wanted {
                let rest = &mut self.window[filled..];
                match self.file.read_at(at + filled as u64, rest) {
                    Err(e) => return Err(StorageError::io("reading", &self.path)(e)),
                    Ok(0) => break,
                    Ok(got) => filled += got,
                }
            }
            self.window.truncate(filled);
        }
        let from = (at - self.window_at) as usize;
        let to = (from + n).min(self.window.len());
        Ok(&self.window[from..to])
    }
}

/// Where a transaction's zxid stands (D-16).
fn zxid_in(bytes: &[u8]) -> i64 {
    BigEndian::read_i64(&bytes[12..20])
}

/// The log files of a directory, by first zxid.
pub fn log_files(disk: &dyn Disk, dir: &Path) -> Result<Vec<(i64, PathBuf)>> {
    let mut files: Vec<_> = layout::list(disk, dir)?
        .into_iter()
        .filter_map(|e| Some((layout::log_zxid(&e.name)?, dir.join(&e.name))))
        .collect();
    files.sort();
    Ok(files)
}

/// Those of sorted `files` that can hold transactions after `zxid`.
pub fn files_after(files: &[(i64, PathBuf)], zxid: i64) -> &[(i64, PathBuf)] {
    let older = files.partition_point(|(first, _)| *first <= zxid.saturating_add(1));
    &files[older.saturating_sub(1)..]
}

/// The transactions after a zxid, across files. A file may end torn; what follows it must then
/// continue where it ended, for a restart after a crash begins a new file. Transactions that are
/// missing in the middle are an error.
pub struct LogCursor {
    files: VecDeque<PathBuf>,
    current: Option<LogFile>,
    /// Records of the current file.
    records: u64,
    /// The files that have been read to their end.
    finished: Vec<FinishedFile>,
    /// Everything up to here is known from elsewhere; `None`: nothing is.
    after: Option<i64>,
    last: Option<i64>,
}

/// What reading a file to its end has shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FinishedFile {
    pub path: PathBuf,
    pub records: u64,
    /// Where good records end.
    pub position: u64,
    pub end: End,
}

impl LogCursor {
    /// Begins before the first transaction after `after`, in all files of `dir` that matter.
    pub fn after(disk: &dyn Disk, dir: &Path, after: Option<i64>) -> Result<Self> {
        let files = log_files(disk, dir)?;
        Ok(Self::over(files_after(&files, after.unwrap_or(-1)), after))
    }

    /// On the transaction `zxid` itself; `None` if the logs do not hold it.
    pub fn at(disk: &dyn Disk, dir: &Path, zxid: i64) -> Result<Option<Self>> {
        let mut cursor = Self::after(disk, dir, Some(zxid - 1))?;
        let found = cursor.advance(disk)? && cursor.record().zxid == zxid;
        Ok(found.then_some(cursor))
    }

    pub(super) fn over(files: &[(i64, PathBuf)], after: Option<i64>) -> Self {
        let files = files.iter().map(|(_, path)| path.clone()).collect();
        Self { files, current: None, records: 0, finished: Vec::new(), after, last: None }
    }

    /// The zxid of the last transaction seen, skipped ones included.
    pub fn last_zxid(&self) -> Option<i64> {
        self.last
    }

    /// The file being read.
    pub fn file(&self) -> Option<&LogFile> {
        self.current.as_ref()
    }

    /// The files that have been read to their end.
    pub fn finished(&self) -> &[FinishedFile] {
        &self.finished
    }

    /// The transaction that `advance` has found.
    pub fn record(&self) -> RawTxn<'_> {
        // `advance` returned true, so there is a file and it is on a record.
        self.current.as_ref().expect("advance() found a record").record()
    }

    /// Goes to the next transaction; `false` at the end.
    pub fn advance(&mut self, disk: &dyn Disk) -> Result<bool> {
        loop {
            let found = match &mut self.current {
                Some(file) => file.advance()?,
                None => false,
            };
            if found {
                self.records += 1;
                if self.accept()? {
                    return Ok(true);
                }
                continue;
            }
            if let Some(file) = self.current.take() {
                self.finish(file);
            }
            let Some(path) = self.files.pop_front() else { return Ok(false) };
            self.current = Some(LogFile::open(disk, &path)?);
        }
    }

    fn finish(&mut self, file: LogFile) {
        let LogFile { path, next: position, end, .. } = file;
        let end = end.unwrap_or(End::Clean);
        if let End::Torn(why) = &end {
            let path = path.display();
            log::warn!("Last transaction was partial: {why}, at byte {position} of {path}");
        }
        let records = std::mem::take(&mut self.records);
        self.finished.push(FinishedFile { path, records, position, end });
    }

    /// Is the record at hand wanted? It must continue what is known.
    fn accept(&mut self) -> Result<bool> {
        let Some(file) = &self.current else { return Ok(false) };
        let zxid = file.record().zxid;
        let last = self.last.replace(zxid);
        if let Some(last) = last.filter(|last| zxid <= *last) {
            log::warn!("0x{last:x} is followed by 0x{zxid:x} in {}", file.path().display());
            self.last = Some(last);
            return Ok(false);
        }
        if self.after.is_some_and(|after| zxid <= after) {
            return Ok(false);
        }
        match last.max(self.after) {
            Some(known) if !follows(known, zxid) => {
                Err(StorageError::Gap { path: file.path().into(), last: known, next: zxid })
            }
            _ => Ok(true),
        }
    }
}

#[cfg(test)]
#[path = "log_tests.rs"]
mod tests;
