//! The nodes' places, in chunks that frozen views share and writers copy when they touch them.
//! Knows links and names, nothing of what a transaction means.

use std::sync::Arc;

use super::node::{Node, NodeId};

/// Nodes that are shared and copied together.
pub(super) const CHUNK: usize = 64;

/// Cloning is cheap: a pointer a chunk. The clone does not see later changes.
#[derive(Debug, Clone)]
pub(super) struct Slab {
    chunks: Vec<Arc<[Node; CHUNK]>>,
    /// Head of the list of free places, linked by `next_sibling`.
    free: NodeId,
    used: usize,
}

impl Slab {
    pub fn new() -> Self {
        Self { chunks: Vec::new(), free: NodeId::NONE, used: 0 }
    }

    /// Nodes that exist.
    pub fn len(&self) -> usize {
        self.used
    }

    pub fn get(&self, id: NodeId) -> &Node {
        &self.chunks[id.0 as usize / CHUNK][id.0 as usize % CHUNK]
    }

    /// Whether a node's path is this one, which is not the root's.
    pub fn is_at(&self, id: NodeId, path: &str) -> bool {
        let mut rest = path.as_bytes();
        let mut node = self.get(id);
        while let Some(parent) = node.parent.some() {
            let above = rest.strip_suffix(node.name_bytes());
            match above.and_then(|above| above.strip_suffix(b"/")) {
                Some(above) => rest = above,
                None => return false,
            }
            node = self.get(parent);
        }
        rest.is_empty()
    }

    pub fn get_mut(&mut self, id: NodeId) -> &mut Node {
        let chunk = Arc::make_mut(&mut self.chunks[id.0 as usize / CHUNK]);
        &mut chunk[id.0 as usize % CHUNK]
    }

    /// Puts a node into a free place.
    pub fn add(&mut self, node: Node) -> NodeId {
        if self.free == NodeId::NONE {
            self.add_chunk(Vec::with_capacity(CHUNK));
        }
        let id = self.free;
        let place = self.get_mut(id);
        let next = place.next_sibling;
        *place = node;
        self.free = next;
        self.used += 1;
        id
    }

    /// Places, used or not: the id of the next one to be added.
    pub fn places(&self) -> usize {
        self.chunks.len() * CHUNK
    }

    /// Adds a chunk with these nodes, and the rest of its places free.
    pub fn add_chunk(&mut self, mut nodes: Vec<Node>) {
        let (start, len) = (self.places(), nodes.len());
        assert!(start + CHUNK < u32::MAX as usize, "no more than 2^32 nodes, {start} in use");
        assert!(len <= CHUNK, "{len} nodes do not fit into a chunk");
        for place in start + len..start + CHUNK {
            let mut node = Node::vacant();
            let last = place + 1 == start + CHUNK;
            node.next_sibling = if last { self.free } else { NodeId(place as u32 + 1) };
            nodes.push(node);
        }
        // There are as many as fit, by the loop.
        let chunk = Arc::try_from(Arc::<[Node]>::from(nodes)).expect("a chunk is full");
        self.chunks.push(chunk);
        self.used += len;
        if len < CHUNK {
            self.free = NodeId((start + len) as u32);
        }
    }

    /// Frees a place; the node must be unlinked and without children.
    pub fn free(&mut self, id: NodeId) {
        let next = std::mem::replace(&mut self.free, id);
        let place = self.get_mut(id);
        assert!(!place.is_vacant() && place.child_count == 0, "node {} cannot be freed", id.0);
        *place = Node::vacant();
        place.next_sibling = next;
        self.used -= 1;
    }

    /// Makes `child` the last child of `parent`.
    pub fn link(&mut self, parent: NodeId, child: NodeId) {
        let first = self.get(parent).first_child;
        let last = match first.some() {
            None => child,
            Some(first) => std::mem::replace(&mut self.get_mut(first).prev_sibling, child),
        };
        if last != child {
            self.get_mut(last).next_sibling = child;
        }
        let node = self.get_mut(child);
        node.parent = parent;
        node.prev_sibling = last;
        node.next_sibling = NodeId::NONE;
        let node = self.get_mut(parent);
        node.child_count += 1;
        if first == NodeId::NONE {
            node.first_child = child;
        }
    }

    /// Takes `child` out of its parent's children.
    pub fn unlink(&mut self, child: NodeId) {
        let Node { parent, prev_sibling: prev, next_sibling: next, .. } = *self.get(child);
        let first = self.get(parent).first_child;
        // Whoever comes after – or the first child, who knows the last – gets a new predecessor.
        match next.some() {
            Some(next) => self.get_mut(next).prev_sibling = prev,
            None if first != child => self.get_mut(first).prev_sibling = prev,
            None => {}
        }
        if first != child {
            self.get_mut(prev).next_sibling = next;
        }
        let node = self.get_mut(parent);
        node.child_count -= 1;
        if first == child {
            node.first_child = next;
        }
    }

    pub fn children(&self, id: NodeId) -> impl Iterator<Item = NodeId> {
        let first = self.get(id).first_child.some();
        std::iter::successors(first, |&id| self.get(id).next_sibling.some())
    }

    /// The node after `id` when the subtree under `top` is walked parents first.
    pub fn pre_order_next(&self, top: NodeId, id: NodeId) -> Option<NodeId> {
        if let Some(child) = self.get(id).first_child.some() {
            return Some(child);
        }
        let mut at = id;
        while at != top {
            let node = self.get(at);
            if let Some(next) = node.next_sibling.some() {
                return Some(next);
            }
            at = node.parent;
        }
        None
    }

    /// `top` and everything below it, parents first.
    pub fn subtree(&self, top: NodeId) -> impl Iterator<Item = NodeId> {
        std::iter::successors(Some(top), move |&id| self.pre_order_next(top, id))
    }

    /// The path of a node; "" for the root.
    pub fn path_of(&self, id: NodeId) -> String {
        let mut names = Vec::new();
        let mut node = self.get(id);
        while let Some(parent) = node.parent.some() {
            names.push(node.name());
            node = self.get(parent);
        }
        let mut path = String::with_capacity(names.iter().map(|n| n.len() + 1).sum());
        for name in names.iter().rev() {
            path.push('/');
            path.push_str(name);
        }
        path
    }
}
