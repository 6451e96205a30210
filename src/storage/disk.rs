//! The medium under the storage layer: a handful of operations on files and directories.
//! [`RealDisk`] is the only place of the storage layer that touches `std::fs`; tests and the
//! simulator use [`super::mem_disk::MemDisk`].
//!
//! What the layer above counts on, of any medium:
//! * `sync_data` returns only when what was written to the file (and its length) is durable;
//! * `sync_dir` returns only when creations, renames and removals in the directory are durable;
//! * a rename is atomic: afterwards a name stands for the old file or for the new one;
//! * a sector (512 bytes) is written whole or not at all. Nothing is assumed about the order in
//!   which unsynced sectors arrive.

use std::fmt;
use std::fs;
use std::io::{self, IoSlice, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use crate::sys;

/// Bytes that the medium writes whole or not at all.
pub const SECTOR: u64 = 512;

/// A medium, as the parts of the storage layer hold it.
pub type SharedDisk = Arc<dyn Disk>;

/// A file found in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub name: String,
    /// Bytes.
    pub len: u64,
    /// Milliseconds since 1970.
    pub modified: i64,
}

/// What to do when the file to be created exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// Fail: overwriting it would lose data.
    Refuse,
    /// Start over: it is a leftover temporary file.
    Replace,
}

/// Operations on names.
pub trait Disk: Send + Sync {
    fn is_dir(&self, dir: &Path) -> bool;
    /// Creates a directory and its missing parents, durably.
    fn create_dir_all(&self, dir: &Path) -> io::Result<()>;
    /// Fails if files cannot be created in the directory.
    fn check_writable(&self, dir: &Path) -> io::Result<()>;
    /// The files (not the directories) in a directory, sorted by name.
    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>>;
    fn create(&self, path: &Path, existing: Existing) -> io::Result<Box<dyn DiskFile>>;
    /// Creates a file that is written front to back, within the length that `set_len` has given it.
    fn create_direct(&self, path: &Path, existing: Existing) -> io::Result<Box<dyn DiskFile>> {
        self.create(path, existing)
    }
    /// Opens an existing file for reading.
    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;
    /// Opens an existing file for reading and writing.
    fn open_write(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    fn remove(&self, path: &Path) -> io::Result<()>;
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
}

/// Operations on an open file.
pub trait DiskFile: Send {
    /// Bytes in the file.
    fn size(&self) -> io::Result<u64>;
    /// Fills as much of `buf` as the file holds at `offset`; 0 is the end of the file.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize>;
    /// Where the first byte at or after `offset` is that may be other than 0: what was never
    /// written need not be read. `None` if there is none.
    fn data_from(&self, offset: u64) -> io::Result<Option<u64>>;
    /// Writes all of `bytes`, by one system call unless the medium is full.
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()>;
    /// Writes zeros where nothing was written before, from where the last write ended on.
    fn write_zeros(&mut self, from: u64, to: u64) -> io::Result<()> {
        let mut at = from;
        while at < to {
            let zeros = &ZEROS.0[..ZEROS.0.len().min((to - at) as usize)];
            self.write_at(at, zeros)?;
            at += zeros.len() as u64;
        }
        Ok(())
    }
    /// Cuts the file, or extends it by zeros.
    fn set_len(&mut self, len: u64) -> io::Result<()>;
    /// Hands `len` bytes to the medium and waits until it has taken them. Makes nothing durable,
    /// but leaves less to do for a `sync_data`, of this file or of another one.
    fn write_back(&mut self, offset: u64, len: u64) -> io::Result<()>;
    /// Makes the file's content durable; returns how long that took.
    fn sync_data(&mut self) -> io::Result<Duration>;
}

/// Of which a file's padding is written, piece by piece.
#[repr(align(4096))]
struct Zeros([u8; 64 << 10]);

static ZEROS: Zeros = Zeros([0; 64 << 10]);

/// Reads a small file whole.
pub fn read_all(disk: &dyn Disk, path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    FileReader::new(disk.open(path)?).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Writes a small file so that a crash leaves the old or the new one: `<name>.tmp`, fsync, rename,
/// fsync of the directory. Java: `AtomicFileOutputStream`, which leaves out the last step.
pub fn write_atomically(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let tmp = tmp_name(path);
    let mut file = disk.create(&tmp, Existing::Replace)?;
    file.write_at(0, bytes)?;
    file.sync_data()?;
    drop(file);
    disk.rename(&tmp, path)?;
    disk.sync_dir(parent(path))
}

/// `<path>.tmp`: where a file is written before it gets its name.
pub fn tmp_name(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".tmp");
    name.into()
}

/// The directory that holds a file.
pub fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    }
}

/// Reads a file front to back.
pub struct FileReader {
    file: Box<dyn DiskFile>,
    position: u64,
}

impl FileReader {
    pub fn new(file: Box<dyn DiskFile>) -> Self {
        Self { file, position: 0 }
    }
}

impl Read for FileReader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.file.read_at(self.position, buf)?;
        self.position += n as u64;
        Ok(n)
    }
}

/// The machine's own file systems.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealDisk;

impl RealDisk {
    pub fn shared() -> SharedDisk {
        Arc::new(Self)
    }
}

impl Disk for RealDisk {
    fn is_dir(&self, dir: &Path) -> bool {
        dir.is_dir()
    }

    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        if dir.is_dir() {
            return Ok(());
        }
        let above = parent(dir);
        if above != dir {
            self.create_dir_all(above)?;
        }
        match fs::create_dir(dir) {
            Err(e) if !dir.is_dir() => return Err(e),
            _ => {}
        }
        self.sync_dir(above)
    }

    fn check_writable(&self, dir: &Path) -> io::Result<()> {
        let probe = dir.join(".writable");
        fs::File::create(&probe)?;
        fs::remove_file(&probe)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for item in fs::read_dir(dir)? {
            let item = item?;
            // A file may vanish between the listing and this look at it: a purge, a rename.
            let meta = match fs::metadata(item.path()) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                meta => meta?,
            };
            // No name of ours is anything but ASCII.
            if let (true, Ok(name)) = (meta.is_file(), item.file_name().into_string()) {
                entries.push(Entry { name, len: meta.len(), modified: millis(meta.modified()?) });
            }
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    fn create(&self, path: &Path, existing: Existing) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(create(path, existing)?))
    }

    fn create_direct(&self, path: &Path, existing: Existing) -> io::Result<Box<dyn DiskFile>> {
        let file = create(path, existing)?;
        match sys::open_direct(path) {
            Ok(direct) => Ok(Box::new(DirectFile::new(file, direct))),
            Err(e) => {
                log::debug!("no direct writes to {}: {e}", path.display());
                Ok(Box::new(file))
            }
        }
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(RealFile(fs::File::open(path)?)))
    }

    fn open_write(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(RealFile(fs::OpenOptions::new().read(true).write(true).open(path)?)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        fs::File::open(dir)?.sync_all()
    }
}

fn create(path: &Path, existing: Existing) -> io::Result<RealFile> {
    let mut options = fs::OpenOptions::new();
    options.read(true).write(true);
    match existing {
        Existing::Refuse => options.create_new(true),
        Existing::Replace => options.create(true).truncate(true),
    };
    Ok(RealFile(options.open(path)?))
}

fn millis(time: SystemTime) -> i64 {
    match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(after) => after.as_millis() as i64,
        Err(before) => -(before.duration().as_millis() as i64),
    }
}

struct RealFile(fs::File);

impl DiskFile for RealFile {
    fn size(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.0.read_at(buf, offset) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                done => return done,
            }
        }
    }

    fn data_from(&self, offset: u64) -> io::Result<Option<u64>> {
        sys::data_from(&self.0, offset)
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn set_len(&mut self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn write_back(&mut self, offset: u64, len: u64) -> io::Result<()> {
        sys::write_back(&self.0, offset, len)
    }

    fn sync_data(&mut self) -> io::Result<Duration> {
        let start = Instant::now();
        self.0.sync_data()?;
        Ok(start.elapsed())
    }
}

/// What direct writes are made of, in the file and in memory.
const BLOCK: usize = 4096;

/// A file that is written past the system's cache, which would only copy and manage what is handed
/// to the medium at once. Whoever reads it through the cache sees what was written all the same.
/// Whole blocks go out: the one that the last write ended in is kept, to be written again, and what
/// is left of the block that a write ends in is padding, hence zeros.
struct DirectFile {
    file: RealFile,
    /// The same file; `None` when its file system does not take direct writes after all.
    direct: Option<fs::File>,
    size: u64,
    /// Where the block begins that the last write ended in, and what of it was written.
    block: u64,
    tail: Vec<u8>,
    /// Room for aligned copies.
    buffer: Vec<u8>,
}

impl DirectFile {
    /// Of a file without content.
    fn new(file: RealFile, direct: fs::File) -> Self {
        let direct = Some(direct);
        Self { file, direct, size: 0, block: 0, tail: Vec::new(), buffer: Vec::new() }
    }

    /// Writes blocks that begin where the last write ended in one; `false` if that cannot be.
    fn append(&mut self, offset: u64, bytes: &[u8]) -> io::Result<bool> {
        let Some(direct) = &self.direct else { return Ok(false) };
        let end = offset + bytes.len() as u64;
        let whole = end.next_multiple_of(BLOCK as u64);
        if offset != self.block + self.tail.len() as u64 || whole > self.size {
            return Ok(false);
        }
        let len = (whole - self.block) as usize;
        if self.buffer.len() < len + BLOCK {
            self.buffer.resize((len + BLOCK).next_power_of_two(), 0);
        }
        let start = self.buffer.as_ptr().align_offset(BLOCK);
        let blocks = &mut self.buffer[start..start + len];
        let (old, rest) = blocks.split_at_mut(self.tail.len());
        let (new, padding) = rest.split_at_mut(bytes.len());
        old.copy_from_slice(&self.tail);
        new.copy_from_slice(bytes);
        padding.fill(0);
        let written = is_taken(direct.write_all_at(blocks, self.block))?;
        let kept = (end % BLOCK as u64) as usize;
        self.tail.clear();
        self.tail.extend_from_slice(&blocks[(end - self.block) as usize - kept..][..kept]);
        self.block = end - kept as u64;
        if self.buffer.len() > 1 << 20 {
            // One huge write must not hold on to its memory.
            self.buffer = Vec::new();
        }
        Ok(written)
    }

    /// Writes zeros over whole blocks; `false` if that cannot be.
    fn append_zeros(&self, from: u64, to: u64) -> io::Result<bool> {
        let Some(mut direct) = self.direct.as_ref() else { return Ok(false) };
        direct.seek(SeekFrom::Start(from))?;
        let mut left = (to - from) as usize;
        while left > 0 {
            let piece = |at| IoSlice::new(&ZEROS.0[..ZEROS.0.len().min(left - at)]);
            let pieces: Vec<_> = (0..left).step_by(ZEROS.0.len()).map(piece).collect();
            match direct.write_vectored(&pieces) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => left -= n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return is_taken(Err(e)),
            }
        }
        Ok(true)
    }

    /// Goes on by way of the cache, for good.
    fn give_up(&mut self) {
        if self.direct.take().is_some() {
            log::debug!("direct writes do not work here");
        }
    }
}

/// Whether the file system takes a direct write. One that does not fails it for how it is laid out.
fn is_taken(written: io::Result<()>) -> io::Result<bool> {
    match written {
        Ok(()) => Ok(true),
        Err(e) if matches!(e.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) => {
            Ok(false)
        }
        Err(e) => Err(e),
    }
}

impl DiskFile for DirectFile {
    fn size(&self) -> io::Result<u64> {
        self.file.size()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        self.file.read_at(offset, buf)
    }

    fn data_from(&self, offset: u64) -> io::Result<Option<u64>> {
        self.file.data_from(offset)
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        if self.append(offset, bytes)? {
            return Ok(());
        }
        self.give_up();
        self.file.write_at(offset, bytes)
    }

    fn write_zeros(&mut self, from: u64, to: u64) -> io::Result<()> {
        const PAGE: u64 = BLOCK as u64;
        // What is left of the last block written was padded with it.
        let (first, last) = (from.next_multiple_of(PAGE), to / PAGE * PAGE);
        if first >= last || self.append_zeros(first, last)? {
            return Ok(());
        }
        self.give_up();
        self.file.write_zeros(from, to)
    }

    fn set_len(&mut self, len: u64) -> io::Result<()> {
        self.file.set_len(len)?;
        self.size = len;
        Ok(())
    }

    fn write_back(&mut self, offset: u64, len: u64) -> io::Result<()> {
        self.file.write_back(offset, len)
    }

    fn sync_data(&mut self) -> io::Result<Duration> {
        self.file.sync_data()
    }
}

impl fmt::Debug for dyn Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Disk")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The kernel's answer to anything that is no number is that of a file system to a direct
    /// write that it does not take.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_file_that_takes_no_direct_writes_is_written_by_way_of_the_cache() {
        let path = std::env::temp_dir().join(format!("ironkeeper-direct-{}", std::process::id()));
        let open = || fs::OpenOptions::new().write(true).open("/proc/self/oom_score_adj").unwrap();
        for zeros_fail in [false, true] {
            let mut file = DirectFile::new(create(&path, Existing::Replace).unwrap(), open());
            file.set_len(10_000).unwrap();
            if zeros_fail {
                file.write_zeros(0, 8192).unwrap();
            }
            file.write_at(0, b"one").unwrap();
            assert!(file.direct.is_none());
            file.write_at(3, b"two").unwrap();
            let bytes = fs::read(&path).unwrap();
            assert_eq!((&bytes[..7], bytes.len()), (&b"onetwo\0"[..], 10_000));
            fs::remove_file(&path).unwrap();
        }
    }
}
