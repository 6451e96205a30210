//! One hash table for the whole tree: path → node. It holds no keys, only a 32-bit tag and the id
//! of the node, and asks the tree whether a node is the right one. Java: `NodeHashMap`.
//!
//! The table is cut into [`SEGMENTS`] small ones that grow on their own, so growing never holds up
//! a write for longer than it takes to move 1/1024 of the slots, and never touches a node.

use std::hash::{BuildHasher, Hasher};

use super::node::NodeId;
use crate::hash::Seed;

/// The hash of a path.
pub(super) fn hash_path(seed: Seed, path: &str) -> u64 {
    let mut hasher = seed.build_hasher();
    hasher.write(path.as_bytes());
    hasher.finish()
}

const SEGMENTS: usize = 1024;

#[derive(Debug, Clone, Copy)]
struct Slot {
    tag: u32,
    node: NodeId,
}

const EMPTY: Slot = Slot { tag: 0, node: NodeId::NONE };

/// Open addressing with linear probing, at most three quarters full.
#[derive(Debug, Default)]
struct Segment {
    slots: Box<[Slot]>,
    used: usize,
}

impl Segment {
    /// The slot in which a tag's probing starts.
    fn home(&self, tag: u32) -> usize {
        ((u64::from(tag) * self.slots.len() as u64) >> 32) as usize
    }

    fn after(&self, i: usize) -> usize {
        if i + 1 == self.slots.len() { 0 } else { i + 1 }
    }

    fn position(&self, tag: u32, mut is_it: impl FnMut(NodeId) -> bool) -> Option<usize> {
        if self.used == 0 {
            return None;
        }
        let mut i = self.home(tag);
        loop {
            let slot = self.slots[i];
            if slot.node == NodeId::NONE {
                return None;
            }
            if slot.tag == tag && is_it(slot.node) {
                return Some(i);
            }
            i = self.after(i);
        }
    }

    /// Adds a slot, unless there is one with its tag that `is_it`.
    fn insert(&mut self, slot: Slot, mut is_it: impl FnMut(NodeId) -> bool) -> bool {
        if (self.used + 1) * 4 > self.slots.len() * 3 {
            self.grow();
        }
        let mut i = self.home(slot.tag);
        while self.slots[i].node != NodeId::NONE {
            if self.slots[i].tag == slot.tag && is_it(self.slots[i].node) {
                return false;
            }
            i = self.after(i);
        }
        self.slots[i] = slot;
        self.used += 1;
        true
    }

    /// Adds slots, unless there are some of the `same` nodes; gives one of those.
    fn insert_all(
        &mut self,
        slots: &mut Vec<Slot>,
        mut same: impl FnMut(NodeId, NodeId) -> bool,
    ) -> Option<NodeId> {
        let mut twice = None;
        for slot in slots.drain(..) {
            if !self.insert(slot, |other| same(slot.node, other)) {
                twice = Some(slot.node);
            }
        }
        twice
    }

    fn grow(&mut self) {
        let len = (self.slots.len() + self.slots.len() / 2).max(4);
        let old = std::mem::replace(&mut self.slots, vec![EMPTY; len].into_boxed_slice());
        self.used = 0;
        for slot in old.into_iter().filter(|slot| slot.node != NodeId::NONE) {
            self.insert(slot, |_| false);
        }
    }

    /// Empties slot `hole` and moves back the slots behind it that probing would now miss.
    fn remove(&mut self, mut hole: usize) {
        let mut i = self.after(hole);
        while self.slots[i].node != NodeId::NONE {
            let home = self.home(self.slots[i].tag);
            let stays = if hole < i { hole < home && home <= i } else { hole < home || home <= i };
            if !stays {
                self.slots[hole] = self.slots[i];
                hole = i;
            }
            i = self.after(i);
        }
        self.slots[hole] = EMPTY;
        self.used -= 1;
    }
}

/// How many slots wait for a segment until they are added together: a segment fits into a
/// processor's cache, all of them do not.
const TOGETHER: usize = 64;

/// Slots that are yet to be added, by segment.
#[derive(Debug)]
pub(super) struct Waiting(Box<[Vec<Slot>]>);

impl Default for Waiting {
    fn default() -> Self {
        Self(vec![Vec::new(); SEGMENTS].into_boxed_slice())
    }
}

#[derive(Debug)]
pub(super) struct Index {
    segments: Box<[Segment]>,
}

impl Index {
    pub fn new() -> Self {
        Self { segments: (0..SEGMENTS).map(|_| Segment::default()).collect() }
    }

    fn segment(hash: u64) -> usize {
        (hash >> 32) as usize % SEGMENTS
    }

    /// The node under `hash` for which `is_it` holds.
    pub fn find(&self, hash: u64, is_it: impl FnMut(NodeId) -> bool) -> Option<NodeId> {
        let segment = &self.segments[Self::segment(hash)];
        segment.position(hash as u32, is_it).map(|i| segment.slots[i].node)
    }

    /// Adds a node; false if there is one under `hash` for which `is_it` holds.
    pub fn insert(&mut self, hash: u64, node: NodeId, is_it: impl FnMut(NodeId) -> bool) -> bool {
        self.segments[Self::segment(hash)].insert(Slot { tag: hash as u32, node }, is_it)
    }

    /// Adds a node, now or when [`Index::insert_now`] is called; gives one that came now if the
    /// index had the `same` one already.
    pub fn insert_soon(
        &mut self,
        waiting: &mut Waiting,
        hash: u64,
        node: NodeId,
        same: impl FnMut(NodeId, NodeId) -> bool,
    ) -> Option<NodeId> {
        let segment = Self::segment(hash);
        let slots = &mut waiting.0[segment];
        slots.push(Slot { tag: hash as u32, node });
        if slots.len() < TOGETHER { None } else { self.segments[segment].insert_all(slots, same) }
    }

    /// Adds all that wait; gives one that the index had already.
    pub fn insert_now(
        &mut self,
        waiting: &mut Waiting,
        mut same: impl FnMut(NodeId, NodeId) -> bool,
    ) -> Option<NodeId> {
        let mut twice = None;
        for (segment, slots) in self.segments.iter_mut().zip(&mut waiting.0) {
            twice = twice.or(segment.insert_all(slots, &mut same));
        }
        twice
    }

    pub fn remove(&mut self, hash: u64, node: NodeId) {
        let segment = &mut self.segments[Self::segment(hash)];
        match segment.position(hash as u32, |id| id == node) {
            Some(i) => segment.remove(i),
            None => panic!("node {} is not in the index", node.0), // linked nodes are indexed
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    /// Few different tags and one segment: long clusters that wrap around the end.
    #[test]
    fn behaves_like_a_map_when_tags_collide() {
        let (mut index, mut model) = (Index::new(), HashMap::new());
        let mut x = 1u64;
        for step in 0..20_000u32 {
            x = x.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let key = (x >> 33) as u32 % 200;
            let hash = (u64::from(key % 50) * 0x0500_0000 + 0xf000_0000) & 0xffff_ffff;
            let is_it = |id: NodeId| id.0 % 200 == key;
            assert_eq!(index.find(hash, is_it).map(|id| id.0), model.get(&key).copied());
            if let Some(id) = model.remove(&key) {
                index.remove(hash, NodeId(id));
            } else {
                let id = step * 200 + key;
                assert!(index.insert(hash, NodeId(id), is_it));
                assert!(!index.insert(hash, NodeId(id), is_it), "it is there");
                model.insert(key, id);
            }
        }
    }

    #[test]
    fn seeds_give_other_hashes() {
        let hash = |seed: Seed| hash_path(seed, "/a/path");
        assert_eq!(hash(Seed(1, 2)), hash(Seed(1, 2)));
        assert_ne!(hash(Seed(1, 2)), hash(Seed(1, 3)));
        assert_ne!(hash(Seed(1, 2)), hash(Seed(2, 2)));
    }
}
