//! The tree as it was at one moment, for snapshots and for learners that need all of it. Made in
//! the time it takes to clone a pointer per 64 nodes; written out on another thread.

use std::sync::Arc;

use crate::wire::{Acl, StatPersisted};

use super::DataTree;
use super::digest::ZxidDigest;
use super::node::{Node, NodeId};
use super::slab::Slab;

/// An exact view of a [`DataTree`].
#[derive(Debug)]
pub struct FrozenTree {
    slab: Slab,
    root: NodeId,
    acls: Vec<(i64, Arc<[Acl]>)>,
    sessions: Vec<(i64, i32)>,
    digest: Option<ZxidDigest>,
    last_zxid: i64,
}

/// A node as snapshots write it (D-31).
#[derive(Debug, PartialEq, Eq)]
pub struct FrozenNode<'a> {
    /// UTF-8; "" for the root.
    pub path: &'a [u8],
    pub data: Option<&'a [u8]>,
    /// −1 is the open list; others are in [`FrozenTree::acls`].
    pub acl_index: i64,
    pub stat: StatPersisted,
}

impl FrozenTree {
    pub(super) fn new(tree: &DataTree) -> Self {
        Self {
            slab: tree.slab.clone(),
            root: tree.root,
            acls: tree.acls.iter().map(|(id, acl)| (id.snapshot_index(), acl.clone())).collect(),
            sessions: tree.sessions.iter().map(|(&id, &timeout)| (id, timeout)).collect(),
            digest: tree.options.digest_enabled.then(|| tree.zxid_digest()),
            last_zxid: tree.last_zxid,
        }
    }

    pub fn last_zxid(&self) -> i64 {
        self.last_zxid
    }

    /// The digest of the view; `None` when digests are off.
    pub fn digest(&self) -> Option<ZxidDigest> {
        self.digest
    }

    /// Sessions and their time-outs in ms, by id.
    pub fn sessions(&self) -> &[(i64, i32)] {
        &self.sessions
    }

    /// The ACLs that nodes refer to by index, but for the open one.
    pub fn acls(&self) -> impl ExactSizeIterator<Item = (i64, &Arc<[Acl]>)> {
        self.acls.iter().map(|(index, acl)| (*index, acl))
    }

    /// Nodes in the view, the root counted once.
    pub fn node_count(&self) -> usize {
        self.slab.len()
    }

    /// Walks all nodes, parents first.
    pub fn walk(&self) -> Walk<'_> {
        Walk { tree: self, at: None, path: Vec::new(), above: 0 }
    }
}

/// Walks a [`FrozenTree`]. Not an `Iterator`: each node borrows the path from the walk.
#[derive(Debug)]
pub struct Walk<'a> {
    tree: &'a FrozenTree,
    at: Option<&'a Node>,
    path: Vec<u8>,
    /// The length of the parent's path.
    above: usize,
}

impl<'a> Walk<'a> {
    /// The next node; `None` after the last one.
    pub fn next_node(&mut self) -> Option<FrozenNode<'_>> {
        let node = match self.at {
            None => self.tree.slab.get(self.tree.root),
            Some(last) => self.step(last)?,
        };
        self.at = Some(node);
        Some(FrozenNode {
            path: &self.path,
            data: node.data(),
            acl_index: node.acl.snapshot_index(),
            stat: node.persisted(),
        })
    }

    /// Goes from `last` to the node after it, and turns the path into that one's.
    fn step(&mut self, last: &'a Node) -> Option<&'a Node> {
        let slab = &self.tree.slab;
        let (mut next, mut above) = (last.first_child, self.path.len());
        if next == NodeId::NONE {
            (next, above) = (last.next_sibling, self.above);
            let mut at = last;
            while next == NodeId::NONE {
                at = slab.get(at.parent.some()?);
                above -= at.name_bytes().len() + usize::from(at.parent != NodeId::NONE);
                next = at.next_sibling;
            }
        }
        self.path.truncate(above);
        self.above = above;
        let node = slab.get(next);
        self.path.push(b'/');
        self.path.extend_from_slice(node.name_bytes());
        Some(node)
    }
}
