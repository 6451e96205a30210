//! Access control lists, each kept once. Java: `ReferenceCountedACLCache`.
//!
//! In snapshots a list has an index, −1 being `OPEN_ACL_UNSAFE` (D-32). In memory it has a place in
//! this table; indexes of snapshots are translated when they are read.

use std::collections::HashMap;
use std::sync::Arc;

use crate::wire::Acl;

use crate::hash::Seed;

/// A place in the tree's table of ACLs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AclId(u32);

impl AclId {
    /// `OPEN_ACL_UNSAFE`: always there, never counted.
    pub const OPEN: Self = Self(0);

    /// The index in snapshots that we write: −1 for the open list.
    pub fn snapshot_index(self) -> i64 {
        if self == Self::OPEN { -1 } else { i64::from(self.0) }
    }
}

#[derive(Debug)]
struct Entry {
    acl: Arc<[Acl]>,
    /// Nodes that have this list; an entry without any is a free place.
    uses: u32,
}

#[derive(Debug)]
pub(super) struct AclTable {
    entries: Vec<Entry>,
    by_list: HashMap<Arc<[Acl]>, AclId, Seed>,
    free: Vec<AclId>,
}

impl AclTable {
    pub fn new(seed: Seed) -> Self {
        let open: Arc<[Acl]> = Acl::open_unsafe().into();
        let mut by_list = HashMap::with_hasher(seed);
        by_list.insert(open.clone(), AclId::OPEN);
        Self { entries: vec![Entry { acl: open, uses: 1 }], by_list, free: Vec::new() }
    }

    pub fn get(&self, id: AclId) -> &Arc<[Acl]> {
        &self.entries[id.0 as usize].acl
    }

    /// Finds or adds a list and counts one more user. An empty list is the open one: Java lets
    /// everybody pass an empty list, and reads null as open.
    pub fn acquire(&mut self, acl: &[Acl]) -> AclId {
        if acl.is_empty() || *acl == *self.get(AclId::OPEN).as_ref() {
            return AclId::OPEN;
        }
        let id = match self.by_list.get(acl) {
            Some(&id) => id,
            None => self.add(acl.into()),
        };
        self.retain(id);
        id
    }

    fn add(&mut self, acl: Arc<[Acl]>) -> AclId {
        let entry = Entry { acl: acl.clone(), uses: 0 };
        let id = match self.free.pop() {
            Some(id) => {
                self.entries[id.0 as usize] = entry;
                id
            }
            None => {
                self.entries.push(entry);
                AclId(self.entries.len() as u32 - 1)
            }
        };
        self.by_list.insert(acl, id);
        id
    }

    /// Counts one more user of a list that is in use.
    pub fn retain(&mut self, id: AclId) {
        if id != AclId::OPEN {
            self.entries[id.0 as usize].uses += 1;
        }
    }

    /// Counts one user less; the last one takes the list with it.
    pub fn release(&mut self, id: AclId) {
        if id == AclId::OPEN {
            return;
        }
        let entry = &mut self.entries[id.0 as usize];
        assert!(entry.uses > 0, "ACL {} released more often than acquired", id.0);
        entry.uses -= 1;
        if entry.uses == 0 {
            let acl = std::mem::take(&mut entry.acl);
            self.by_list.remove(&acl);
            self.free.push(id);
        }
    }

    /// The lists in use, but for the open one.
    pub fn iter(&self) -> impl Iterator<Item = (AclId, &Arc<[Acl]>)> {
        let used = self.entries.iter().enumerate().skip(1).filter(|(_, e)| e.uses > 0);
        used.map(|(i, e)| (AclId(i as u32), &e.acl))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_kept_once_and_go_with_their_last_user() {
        let mut table = AclTable::new(Seed::default());
        let (read, write) = (Acl::world(1), Acl::world(2));
        let a = table.acquire(&read);
        assert_eq!(table.acquire(&read), a);
        let b = table.acquire(&write);
        assert_ne!(a, b);
        assert_eq!(table.iter().count(), 2);
        table.release(a);
        assert_eq!(**table.get(a), *read);
        table.release(a);
        assert_eq!(table.iter().map(|(id, _)| id).collect::<Vec<_>>(), [b]);
        assert_eq!(table.acquire(&Acl::world(4)), a, "the free place is used again");
    }

    #[test]
    fn the_open_list_is_always_there() {
        let mut table = AclTable::new(Seed::default());
        assert_eq!(table.acquire(&Acl::open_unsafe()), AclId::OPEN);
        assert_eq!(table.acquire(&[]), AclId::OPEN);
        table.release(AclId::OPEN);
        assert_eq!(**table.get(AclId::OPEN), *Acl::open_unsafe());
        assert_eq!(AclId::OPEN.snapshot_index(), -1);
    }
}
