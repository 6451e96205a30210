//! Snapshot files: finding, writing and loading them (D-30, D-35, D-36, D-39).
//! Java: `FileSnap`, `SnapStream`, `FileTxnSnapLog.save`.

use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use super::compress::{
    Finish, GZIP_MAGIC, GzipReader, GzipWriter, SNAPPY_MAGIC, SnappyReader, SnappyWriter,
};
use super::disk::{self, Disk, DiskFile, Existing, FileReader};
use super::error::{Result, StorageError};
use super::layout::{self, Compression};
use super::snapshot::{self, TERMINATOR};
use crate::tree::{DataTree, FrozenTree, TreeOptions};

/// A snapshot that is not valid after so many were tried ends the search (D-36).
const TRIES: usize = 100;
/// Bytes handed to the medium at once.
const CHUNK: usize = 256 << 10;
/// Bytes by which a snapshot's file is given more length.
const ROOM: u64 = 16 << 20;
/// At most so many bytes of a snapshot wait in the system's memory, and a chunk.
const SLICE: u64 = 512 << 10;
/// Shorter files cannot be snapshots (D-35).
const MIN_SIZE: u64 = 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SnapshotOptions {
    /// `zookeeper.snapshot.compression.method`.
    pub compression: Compression,
    /// `zookeeper.serializeLastProcessedZxid.enabled`.
    pub last_zxid: bool,
}

impl Default for SnapshotOptions {
    fn default() -> Self {
        Self { compression: Compression::None, last_zxid: true }
    }
}

/// A file that is called a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotFile {
    pub zxid: i64,
    pub path: PathBuf,
    /// Bytes.
    pub size: u64,
}

/// All files that are called snapshots, newest first.
pub fn snapshots(disk: &dyn Disk, dir: &Path) -> Result<Vec<SnapshotFile>> {
    let mut found: Vec<_> = layout::list(disk, dir)?
        .into_iter()
        .filter_map(|e| {
            let zxid = layout::snapshot_zxid(&e.name)?;
            Some(SnapshotFile { zxid, path: dir.join(&e.name), size: e.len })
        })
        .collect();
    found.sort_by(|a, b| (b.zxid, &b.path).cmp(&(a.zxid, &a.path)));
    Ok(found)
}

/// The newest snapshots, at most `n`, that pass for whole.
pub fn valid_snapshots(disk: &dyn Disk, dir: &Path, n: usize) -> Result<Vec<SnapshotFile>> {
    let mut valid = Vec::new();
    for file in snapshots(disk, dir)? {
        if valid.len() == n {
            break;
        }
        if looks_whole(disk, &file).map_err(StorageError::io("reading", &file.path))? {
            valid.push(file);
        } else {
            log::info!("Invalid snapshot {}", file.path.display());
        }
    }
    Ok(valid)
}

/// A cheap look at a snapshot: its end if it is plain, else its beginning (D-35).
fn looks_whole(disk: &dyn Disk, snapshot: &SnapshotFile) -> io::Result<bool> {
    let file = disk.open(&snapshot.path)?;
    let has = |offset: u64, expected: &[u8]| -> io::Result<bool> {
        let mut bytes = vec![0; expected.len()];
        let n = file.read_at(offset, &mut bytes)?;
        Ok(n == expected.len() && bytes == expected)
    };
    match compression_of(&snapshot.path) {
        Compression::Gzip => has(0, &GZIP_MAGIC),
        Compression::Snappy => has(0, &SNAPPY_MAGIC),
        Compression::None => {
            let size = file.size()?;
            Ok(size >= MIN_SIZE && has(size - TERMINATOR.len() as u64, &TERMINATOR)?)
        }
    }
}

fn compression_of(path: &Path) -> Compression {
    path.file_name()
        .and_then(|name| name.to_str())
        .map_or_else(Default::default, Compression::of_file)
}

/// Writes a snapshot under a temporary name, fsyncs it and gives it its name, durably: a file that
/// is called a snapshot is one.
pub fn save(
    disk: &dyn Disk,
    dir: &Path,
    tree: &FrozenTree,
    options: SnapshotOptions,
) -> Result<SnapshotFile> {
    let zxid = tree.last_zxid();
    let path = dir.join(layout::snapshot_name(zxid, options.compression));
    log::info!("Snapshotting: 0x{zxid:x} to {}", path.display());
    let tmp = disk::tmp_name(&path);
    let write = || -> io::Result<u64> {
        let file = disk.create_direct(&tmp, Existing::Replace)?;
        let out = FileWriter { file, position: 0, room: 0, written_back: 0 };
        let mut out = BufWriter::with_capacity(CHUNK, out);
        write_to(&mut out, tree, options)?;
        let size = out.into_inner()?.close()?;
        disk.rename(&tmp, &path)?;
        disk.sync_dir(dir)?;
        Ok(size)
    };
    match write() {
        Ok(size) => Ok(SnapshotFile { zxid, path, size }),
        Err(e) => {
            // A full disk should not stay full of half a snapshot; if this fails, too, the next
            // snapshot of the same zxid or a purge removes it.
            let _ = disk.remove(&tmp);
            Err(StorageError::io("writing", &path)(e))
        }
    }
}

fn write_to(
    out: &mut BufWriter<FileWriter>,
    tree: &FrozenTree,
    options: SnapshotOptions,
) -> io::Result<()> {
    let last_zxid = options.last_zxid;
    match options.compression {
        Compression::None => snapshot::write_file(tree, last_zxid, out),
        Compression::Gzip => snapshot::write_file(tree, last_zxid, &mut GzipWriter::new(out)?),
        Compression::Snappy => snapshot::write_file(tree, last_zxid, &mut SnappyWriter::new(out)?),
    }
}

/// Writes past the system's cache: a snapshot is hardly ever read, and its pages would take the
/// place of others'. Where that does not work it writes back as it goes, lest an fsync of the
/// transaction log wait until the medium has taken hundreds of megabytes at once.
struct FileWriter {
    file: Box<dyn DiskFile>,
    position: u64,
    /// The length that the file was given in advance.
    room: u64,
    /// How much has been written back.
    written_back: u64,
}

impl FileWriter {
    /// Makes the file durable; returns its length.
    fn close(mut self) -> io::Result<u64> {
        self.file.set_len(self.position)?;
        self.file.sync_data()?;
        Ok(self.position)
    }
}

impl Write for FileWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let end = self.position + bytes.len() as u64;
        if end > self.room {
            self.room = end.next_multiple_of(ROOM);
            self.file.set_len(self.room)?;
        }
        self.file.write_at(self.position, bytes)?;
        self.position = end;
        let waiting = end - self.written_back;
        if waiting >= SLICE {
            self.file.write_back(self.written_back, waiting)?;
            self.written_back = end;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Finish for BufWriter<FileWriter> {
    fn finish(&mut self) -> io::Result<()> {
        self.flush()
    }
}

/// Loads one snapshot.
pub fn load(disk: &dyn Disk, file: &SnapshotFile, options: TreeOptions) -> io::Result<DataTree> {
    let input = FileReader::new(disk.open(&file.path)?);
    let input: Box<dyn Read> = match compression_of(&file.path) {
        Compression::None => Box::new(input),
        Compression::Gzip => Box::new(GzipReader::new(input)?),
        Compression::Snappy => Box::new(SnappyReader::new(input)?),
    };
    snapshot::read_file(input, file.zxid, options)
}

/// Loads the newest snapshot that can be loaded; damaged ones are skipped with a warning (D-36).
/// `None` if there never was one; an error if there are some and all are damaged.
pub fn load_newest(
    disk: &dyn Disk,
    dir: &Path,
    options: TreeOptions,
) -> Result<Option<(SnapshotFile, DataTree)>> {
    let candidates = valid_snapshots(disk, dir, TRIES)?;
    let tried = candidates.len();
    for file in candidates {
        log::info!("Reading snapshot {}", file.path.display());
        match load(disk, &file, options) {
            Ok(tree) => return Ok(Some((file, tree))),
            Err(e) => log::warn!("problem reading snap file {}: {e}", file.path.display()),
        }
    }
    // Java leaves half a `snapshot.0` when its first start is cut short; there was nothing before.
    match snapshots(disk, dir)?.first() {
        Some(newest) if tried > 0 || newest.zxid > 0 => {
            Err(StorageError::NoValidSnapshot { dir: dir.into(), newest: newest.zxid })
        }
        _ => Ok(None),
    }
}
