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
use std::io::{self, Read};
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
    /// Cuts the file, or extends it by zeros.
    fn set_len(&mut self, len: u64) -> io::Result<()>;
    /// Hands `len` bytes to the medium and waits until it has taken them. Makes nothing durable,
    /// but leaves less to do for a `sync_data`, of this file or of another one.
    fn write_back(&mut self, offset: u64, len: u64) -> io::Result<()>;
    /// Makes the file's content durable; returns how long that took.
    fn sync_data(&mut self) -> io::Result<Duration>;
}

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
        let mut options = fs::OpenOptions::new();
        options.read(true).write(true);
        match existing {
            Existing::Refuse => options.create_new(true),
            Existing::Replace => options.create(true).truncate(true),
        };
        Ok(Box::new(RealFile(options.open(path)?)))
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

impl fmt::Debug for dyn Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Disk")
    }
}
