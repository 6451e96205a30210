//! The tree and its watches behind one lock made for many readers. I/O threads read, each at its
//! own shard; the commit thread writes, at all of them. Java: `ZKDatabase`.

use std::sync::{Mutex, MutexGuard};

use crossbeam_utils::sync::{ShardedLock, ShardedLockReadGuard, ShardedLockWriteGuard};

use super::{DataTree, Watches};

/// What the lock guards.
#[derive(Debug)]
pub struct DbState {
    pub tree: DataTree,
    watches: Mutex<Watches>,
}

impl DbState {
    /// For readers, who register watches while they hold the read guard, so that no change can slip
    /// between what they read and the watch.
    pub fn watches(&self) -> MutexGuard<'_, Watches> {
        // A thread that panicked here left the tables half changed: nobody may go on with them.
        self.watches.lock().expect("no thread panicked with the watches in its hands")
    }

    /// For the writer, who needs no lock. Tree and watches, both to be changed.
    pub fn split(&mut self) -> (&mut DataTree, &mut Watches) {
        let watches = self.watches.get_mut();
        // As above.
        (&mut self.tree, watches.expect("no thread panicked with the watches in its hands"))
    }
}

/// The database of a server.
#[derive(Debug)]
pub struct Db(ShardedLock<DbState>);

impl Db {
    pub fn new(tree: DataTree, watches: Watches) -> Self {
        Self(ShardedLock::new(DbState { tree, watches: Mutex::new(watches) }))
    }

    pub fn read(&self) -> ShardedLockReadGuard<'_, DbState> {
        // A writer that panicked left the tree half changed: nobody may read it.
        self.0.read().expect("no thread panicked while changing the tree")
    }

    pub fn write(&self) -> ShardedLockWriteGuard<'_, DbState> {
        // As above.
        self.0.write().expect("no thread panicked while changing the tree")
    }
}
