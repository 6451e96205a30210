//! What goes over wires and onto disk, byte by byte: the jute codec and every record in it.
//! Pure: knows bytes and numbers, no socket, no file, no state.

pub mod election;
pub mod jute;
pub mod op;
pub mod path;
pub mod proto;
pub mod quorum;
pub mod txn;

pub use jute::{DecodeError, Put, Reader, Record};
pub use op::{CreateMode, ErrorCode, EventType, code, perms};
pub use proto::{Acl, Id, Stat, StatPersisted};
pub use quorum::QuorumPacket;
pub use txn::{Txn, TxnDigest, TxnHeader, TxnRecord, time_of};

/// The epoch half of a zxid (its high 32 bits).
pub fn epoch_of(zxid: i64) -> i64 {
    zxid >> 32
}

/// The counter half of a zxid (its low 32 bits).
pub fn counter_of(zxid: i64) -> u32 {
    zxid as u32
}

/// The zxid that starts an epoch: counter 0, never used by a transaction.
pub fn epoch_start(epoch: i64) -> i64 {
    epoch << 32
}
