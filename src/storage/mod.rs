//! What outlives the process: transaction logs, snapshots, epoch files; how a server comes back
//! from them, and how old ones are purged. Everything goes through the [`disk::Disk`] trait.
//!
//! May not know what a transaction means (replay goes through the tree), nor threads, sockets or
//! the clock. Java: package `server.persistence`. The bytes, and what a crash can leave behind, are
//! drawn in `FORMATS.md`.

mod adler;
pub mod compress;
pub mod disk;
pub mod epoch;
pub mod error;
pub mod layout;
pub mod log_range;
pub mod log_reader;
pub mod log_worker;
pub mod mem_disk;
pub mod member_files;
pub mod purge;
pub mod recovery;
pub mod snap_store;
pub mod snapshot;
pub mod txnlog;

pub use disk::{Disk, RealDisk, SharedDisk};
pub use error::{Result, StorageError};
pub use layout::{Compression, Layout};
pub use log_worker::{LogCommand, LogEvent, LogWorker, SnapshotPolicy, Token};
pub use member_files::{MemberFiles, MemberOrder};
pub use recovery::{LoggedTxn, Recovered, RecoveryOptions, recover};
pub use snap_store::{SnapshotFile, SnapshotOptions};
pub use txnlog::{Committed, LogOptions, TxnLog};
