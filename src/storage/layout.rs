//! Where files lie and what they are called (D-1 … D-3, D-10, D-30, D-51).
//! Java: `FileTxnSnapLog`'s constructor and `persistence.Util`.

use std::path::{Path, PathBuf};

use super::disk::{Disk, Entry};
use super::error::{Result, StorageError};

/// Sub-directory of `dataDir` and `dataLogDir` that holds everything but `myid` and `initialize`.
pub const VERSION_DIR: &str = "version-2";
const LOG: &str = "log";
const SNAPSHOT: &str = "snapshot";

/// The directories of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// `dataDir` as configured.
    pub data_dir: PathBuf,
    /// `dataLogDir` as configured; `dataDir` when it is not.
    pub data_log_dir: PathBuf,
}

impl Layout {
    pub fn new(data_dir: impl Into<PathBuf>, data_log_dir: Option<PathBuf>) -> Self {
        let data_dir = data_dir.into();
        let data_log_dir = data_log_dir.unwrap_or_else(|| data_dir.clone());
        Self { data_dir, data_log_dir }
    }

    /// Snapshots and epoch files.
    pub fn snap_dir(&self) -> PathBuf {
        self.data_dir.join(VERSION_DIR)
    }

    /// Transaction logs.
    pub fn log_dir(&self) -> PathBuf {
        self.data_log_dir.join(VERSION_DIR)
    }

    pub fn myid(&self) -> PathBuf {
        self.data_dir.join("myid")
    }

    /// The marker that an empty database is meant to be (D-4).
    pub fn initialize(&self) -> PathBuf {
        self.data_log_dir.join("initialize")
    }

    /// Creates the directories or, with `autocreate` off, demands them (D-2), and checks that they
    /// are not mixed up.
    pub fn prepare(&self, disk: &dyn Disk, autocreate: bool) -> Result<()> {
        prepare_dir(disk, &self.log_dir(), "data", autocreate)?;
        prepare_dir(disk, &self.snap_dir(), "snap", autocreate)?;
        self.check_contents(disk)
    }

    /// Refuses two directories that hold each other's files (D-1, ZOOKEEPER-2967).
    pub fn check_contents(&self, disk: &dyn Disk) -> Result<()> {
        if self.data_dir == self.data_log_dir {
            return Ok(());
        }
        let holds = |dir: &Path, prefix: &str| -> Result<bool> {
            Ok(list(disk, dir)?.iter().any(|e| e.name.starts_with(&format!("{prefix}."))))
        };
        if holds(&self.log_dir(), SNAPSHOT)? {
            return Err(StorageError::Datadir(
                "Log directory has snapshot files. Check if dataLogDir and dataDir \
                 configuration is correct."
                    .into(),
            ));
        }
        if holds(&self.snap_dir(), LOG)? {
            return Err(StorageError::Datadir(
                "Snapshot directory has log files. Check if dataLogDir and dataDir \
                 configuration is correct."
                    .into(),
            ));
        }
        Ok(())
    }
}

fn prepare_dir(disk: &dyn Disk, dir: &Path, kind: &str, autocreate: bool) -> Result<()> {
    let fail = |text: String| Err(StorageError::Datadir(text));
    if !disk.is_dir(dir) {
        if !autocreate {
            return fail(format!(
                "Missing {kind} directory {}, automatic data directory creation is disabled \
                 (zookeeper.datadir.autocreate is false). Please create this directory manually.",
                dir.display()
            ));
        }
        if let Err(e) = disk.create_dir_all(dir) {
            return fail(format!("Unable to create {kind} directory {}: {e}", dir.display()));
        }
    }
    match disk.check_writable(dir) {
        Err(e) => fail(format!("Cannot write to {kind} directory {}: {e}", dir.display())),
        Ok(()) => Ok(()),
    }
}

/// The files of a directory.
pub fn list(disk: &dyn Disk, dir: &Path) -> Result<Vec<Entry>> {
    disk.list(dir).map_err(StorageError::io("listing", dir))
}

pub fn log_name(first_zxid: i64) -> String {
    format!("{LOG}.{first_zxid:x}")
}

pub fn log_zxid(name: &str) -> Option<i64> {
    zxid_of(name, LOG)
}

pub fn snapshot_zxid(name: &str) -> Option<i64> {
    zxid_of(name, SNAPSHOT)
}

/// `prefix.<hex zxid>`, and anything after another dot (`.gz`). A leftover `.tmp` is neither log
/// nor snapshot.
fn zxid_of(name: &str, prefix: &str) -> Option<i64> {
    let rest = name.strip_prefix(prefix)?.strip_prefix('.')?;
    if rest.ends_with(".tmp") {
        return None;
    }
    let hex = rest.split('.').next().unwrap_or_default();
    i64::from_str_radix(hex, 16).ok().filter(|zxid| *zxid >= 0)
}

/// How a snapshot's bytes are compressed (`zookeeper.snapshot.compression.method`); the file's
/// suffix says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compression {
    #[default]
    None,
    Gzip,
    Snappy,
}

impl Compression {
    /// Anything unknown is no compression, as in Java.
    pub fn from_name(name: &str) -> Self {
        match name {
            _ if name.eq_ignore_ascii_case("gz") => Self::Gzip,
            _ if name.eq_ignore_ascii_case("snappy") => Self::Snappy,
            _ => Self::None,
        }
    }

    /// By a file name's suffix.
    pub fn of_file(name: &str) -> Self {
        name.rsplit_once('.').map_or(Self::None, |(_, suffix)| Self::from_name(suffix))
    }

    fn suffix(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Gzip => ".gz",
            Self::Snappy => ".snappy",
        }
    }
}

pub fn snapshot_name(zxid: i64, compression: Compression) -> String {
    format!("{SNAPSHOT}.{zxid:x}{}", compression.suffix())
}

/// `<static config>.dynamic.<hex version>` (D-51).
pub fn dynamic_config(static_config: &Path, version: i64) -> PathBuf {
    with_suffix(static_config, &format!(".dynamic.{version:x}"))
}

/// `<static config>.dynamic.next`: the last configuration seen, not yet committed (D-51).
pub fn next_dynamic_config(static_config: &Path) -> PathBuf {
    with_suffix(static_config, ".dynamic.next")
}

/// `<static config>.bak`: the static file as it was before server lines were taken out (D-51).
pub fn static_config_backup(static_config: &Path) -> PathBuf {
    with_suffix(static_config, ".bak")
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::mem_disk::MemDisk;

    #[test]
    fn names_carry_zxids() {
        assert_eq!(log_name(0x1_0000_0001), "log.100000001");
        assert_eq!(snapshot_name(0, Compression::None), "snapshot.0");
        assert_eq!(snapshot_name(0xab, Compression::Gzip), "snapshot.ab.gz");
        for (name, log, snapshot) in [
            ("log.ab", Some(0xab), None),
            ("snapshot.ab", None, Some(0xab)),
            ("snapshot.ab.gz", None, Some(0xab)),
            ("snapshot.ab.tmp", None, None),
            ("snapshot.ab.gz.tmp", None, None),
            ("log.", None, None),
            ("log.xy", None, None),
            ("log.-1", None, None),
            ("logs.1", None, None),
            ("currentEpoch", None, None),
        ] {
            assert_eq!((log_zxid(name), snapshot_zxid(name)), (log, snapshot), "{name}");
        }
        assert_eq!(Compression::of_file("snapshot.ab.SNAPPY"), Compression::Snappy);
        assert_eq!(Compression::of_file("snapshot.ab"), Compression::None);
    }

    #[test]
    fn zookeeper_1161_directories_are_created_only_if_allowed() {
        let (mem, layout) = (MemDisk::new(), Layout::new("/d", None));
        let error = layout.prepare(&mem, false).unwrap_err().to_string();
        assert!(error.starts_with("Missing data directory /d/version-2, automatic"), "{error}");
        layout.prepare(&mem, true).unwrap();
        layout.prepare(&mem, false).unwrap();
    }

    #[test]
    fn zookeeper_2967_mixed_up_directories_are_refused() {
        let layout = Layout::new("/d", Some("/l".into()));
        for (stray, says) in [
            ("/l/version-2/snapshot.1", "Log directory has snapshot files."),
            ("/d/version-2/log.1", "Snapshot directory has log files."),
        ] {
            let mem = MemDisk::new();
            layout.prepare(&mem, true).unwrap();
            mem.poke(Path::new(stray), 0, b"x");
            let error = layout.prepare(&mem, true).unwrap_err().to_string();
            assert!(error.starts_with(says), "{error}");
        }
    }
}
