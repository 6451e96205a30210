//! The committed-log ring: the last transactions applied, as bytes, from which learners that are
//! only a little behind are synchronised. Java: `ZKDatabase.committedLog`.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::wire::{counter_of, epoch_of};

/// One transaction of the ring: its zxid and its bytes as logged (D-16).
#[derive(Debug, Clone)]
pub struct CommittedTxn {
    pub zxid: i64,
    pub bytes: Arc<[u8]>,
}

/// The last `capacity` transactions, without a hole.
#[derive(Debug)]
pub struct CommittedLog {
    txns: VecDeque<CommittedTxn>,
    capacity: usize,
}

impl CommittedLog {
    /// Java's `commitLogCount`, at least 1.
    pub fn new(capacity: usize) -> Self {
        Self { txns: VecDeque::new(), capacity: capacity.max(1) }
    }

    /// Whether `zxid` follows the last transaction without a hole.
    pub fn continues_with(&self, zxid: i64) -> bool {
        let Some(last) = self.txns.back().map(|last| last.zxid) else { return true };
        zxid == last + 1 || (epoch_of(zxid) > epoch_of(last) && counter_of(zxid) == 1)
    }

    /// Adds the transaction applied just now. A hole here would become a hole in every learner
    /// (ZOOKEEPER-4925), so there must be none.
    pub fn push(&mut self, txn: CommittedTxn) {
        let last = self.txns.back().map(|last| last.zxid);
        assert!(self.continues_with(txn.zxid), "{:#x} applied after {last:#x?}", txn.zxid);
        if self.txns.len() == self.capacity {
            self.txns.pop_front();
        }
        self.txns.push_back(txn);
    }

    pub fn len(&self) -> usize {
        self.txns.len()
    }

    pub fn is_empty(&self) -> bool {
        self.txns.is_empty()
    }

    pub fn zxid_at(&self, position: usize) -> i64 {
        self.txns[position].zxid
    }

    pub fn from(&self, position: usize) -> impl Iterator<Item = &CommittedTxn> {
        self.txns.range(position..)
    }

    /// Forgets everything: the tree was replaced by a snapshot.
    pub fn clear(&mut self) {
        self.txns.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn txn(zxid: i64) -> CommittedTxn {
        CommittedTxn { zxid, bytes: Arc::from(&b"x"[..]) }
    }

    #[test]
    fn keeps_the_newest() {
        let mut log = CommittedLog::new(2);
        [1, 2, 3, 1 << 32 | 1].into_iter().for_each(|z| log.push(txn(z)));
        assert_eq!((log.len(), log.zxid_at(0), log.zxid_at(1)), (2, 3, 1 << 32 | 1));
        assert_eq!(log.from(1).count(), 1);
    }

    #[test]
    #[should_panic(expected = "applied after")]
    fn zookeeper_4925_a_hole_is_a_bug() {
        let mut log = CommittedLog::new(9);
        log.push(txn(1));
        log.push(txn(3));
    }
}
