//! What can be wrong with the disk or with what is on it. Every text names the file, where in it,
//! and what to do. None of these is survivable: the process ends, or does not start.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

pub type Result<T> = std::result::Result<T, StorageError>;

#[derive(Debug)]
pub enum StorageError {
    /// The system refused an operation. After a failed write or fsync nobody knows what the
    /// medium holds, so it is never retried.
    Io { doing: &'static str, path: PathBuf, source: io::Error },
    /// The directories are not as configured (Java: `DatadirException` and its kin; exit code 3).
    Datadir(String),
    /// Bytes that were once written whole are now wrong.
    Corrupt { path: PathBuf, offset: u64, why: String },
    /// Transactions between these two are missing.
    Gap { path: PathBuf, last: i64, next: i64 },
    /// Logs without any snapshot (ZOOKEEPER-2325, 3056).
    NoSnapshot { dir: PathBuf, last_logged: i64 },
    /// Snapshots are there, but none can be read.
    NoValidSnapshot { dir: PathBuf, newest: i64 },
    /// The epoch files contradict the database or each other (D-50).
    Epoch(String),
    /// The log cannot be cut to this zxid.
    Truncate { dir: PathBuf, zxid: i64, why: String },
}

impl StorageError {
    /// For `map_err`: what was being done to which file.
    pub fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io { doing, path, source }
    }

    pub fn corrupt(path: &Path, offset: u64, why: impl Into<String>) -> Self {
        Self::Corrupt { path: path.into(), offset, why: why.into() }
    }
}

/// How a server whose data are lost or damaged gets well again.
const RESYNC: &str = "if this server belongs to an ensemble whose other members are healthy, move \
    its version-2 directories away and start it again: it will fetch everything from the leader; \
    otherwise restore dataDir and dataLogDir from a backup";

impl fmt::Display for StorageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { doing, path, source } => {
                write!(f, "disk error while {doing} {}: {source}", path.display())
            }
            Self::Datadir(text) => f.write_str(text),
            Self::Corrupt { path, offset, why } => write!(
                f,
                "{} is damaged at byte {offset}: {why}; refusing to go on without what it \
                 held. What to do: {RESYNC}",
                path.display()
            ),
            Self::Gap { path, last, next } => write!(
                f,
                "transactions are missing: 0x{last:x} is followed by 0x{next:x} in {}. \
                 What to do: put a removed log file back; {RESYNC}",
                path.display()
            ),
            Self::NoSnapshot { dir, last_logged } => write!(
                f,
                "No snapshot found, but there are log entries. Something is broken! There is no \
                 snapshot in {}, yet the logs go up to 0x{last_logged:x}. What to do: {RESYNC}. \
                 Only if this server has never written a snapshot (an upgrade from a version \
                 before 3.5.3) start it once with -Dzookeeper.snapshot.trust.empty=true",
                dir.display()
            ),
            Self::NoValidSnapshot { dir, newest } => write!(
                f,
                "Not able to find valid snapshots in {}: all up to 0x{newest:x} are damaged. \
                 What to do: {RESYNC}",
                dir.display()
            ),
            Self::Epoch(text) => write!(f, "{text}. What to do: {RESYNC}"),
            Self::Truncate { dir, zxid, why } => {
                write!(f, "cannot truncate the log in {} to 0x{zxid:x}: {why}", dir.display())
            }
        }
    }
}

impl std::error::Error for StorageError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}
