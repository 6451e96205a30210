//! Fills an empty tree with nodes in the order of a snapshot: parents first, each followed by all
//! that is below it. Quicker than one after the other: chunks are made of whole nodes, relatives
//! are linked before their chunk is shared, and the index is filled a segment at a time.

use super::data_tree::DataTree;
use super::index::{Waiting, hash_path};
use super::node::{Node, NodeId};
use super::slab::{CHUNK, Slab};

/// The node added last, or one above it: more children may come.
#[derive(Debug)]
struct Open {
    id: NodeId,
    path_len: usize,
    children: u32,
    first: NodeId,
    last: NodeId,
}

impl Open {
    fn new(id: NodeId, path_len: usize) -> Self {
        Self { id, path_len, children: 0, first: NodeId::NONE, last: NodeId::NONE }
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Bulk {
    nodes: Nodes,
    /// From the root down to the node added last, whose path is `path`.
    line: Vec<Open>,
    path: String,
    waiting: Waiting,
    /// A node whose path another one had already.
    twice: Option<NodeId>,
}

/// The nodes of the chunk that is not full yet; all others are in the slab.
#[derive(Debug)]
struct Nodes(Vec<Node>);

impl Nodes {
    fn get<'a>(&'a self, slab: &'a Slab, id: NodeId) -> &'a Node {
        match (id.0 as usize).checked_sub(slab.places()) {
            Some(i) => &self.0[i],
            None => slab.get(id),
        }
    }

    fn get_mut<'a>(&'a mut self, slab: &'a mut Slab, id: NodeId) -> &'a mut Node {
        match (id.0 as usize).checked_sub(slab.places()) {
            Some(i) => &mut self.0[i],
            None => slab.get_mut(id),
        }
    }

    fn are_same(&self, slab: &Slab, a: NodeId, b: NodeId) -> bool {
        let (a, b) = (self.get(slab, a), self.get(slab, b));
        a.parent == b.parent && a.name_bytes() == b.name_bytes()
    }
}

impl Bulk {
    /// For a tree of nothing but this root.
    pub fn new(root: NodeId) -> Self {
        let nodes = Nodes(Vec::with_capacity(CHUNK));
        let (line, path) = (vec![Open::new(root, 0)], String::new());
        Self { nodes, line, path, waiting: Waiting::default(), twice: None }
    }

    /// Whether the next node can be a child of the node with this path: the one added last, or one
    /// above it. Closes what is below that.
    pub fn goes_on_below(&mut self, tree: &mut DataTree, path: &str) -> bool {
        while self.line.last().is_some_and(|last| last.path_len > path.len()) {
            self.leave(&mut tree.slab);
        }
        let last_len = self.line.last().map(|last| last.path_len);
        last_len == Some(path.len()) && self.path.as_bytes().starts_with(path.as_bytes())
    }

    /// Adds a child of the node that was asked for last. The caller counts it.
    pub fn add(&mut self, tree: &mut DataTree, path: &str, mut node: Node) -> NodeId {
        let DataTree { slab, index, options, .. } = tree;
        let id = NodeId((slab.places() + self.nodes.0.len()) as u32);
        if let Some(parent) = self.line.last_mut() {
            node.parent = parent.id;
            if parent.children == 0 {
                (parent.first, node.prev_sibling) = (id, id);
            } else {
                node.prev_sibling = parent.last;
                self.nodes.get_mut(slab, parent.last).next_sibling = id;
            }
            parent.children += 1;
            parent.last = id;
        }
        self.line.push(Open::new(id, path.len()));
        self.path.clear();
        self.path.push_str(path);
        self.nodes.0.push(node);
        if self.nodes.0.len() == CHUNK {
            let room = Vec::with_capacity(CHUNK);
            slab.add_chunk(std::mem::replace(&mut self.nodes.0, room));
        }
        let same = |a, b| self.nodes.are_same(slab, a, b);
        let twice = index.insert_soon(&mut self.waiting, hash_path(options.seed, path), id, same);
        self.twice = self.twice.or(twice);
        id
    }

    /// No more children.
    fn leave(&mut self, slab: &mut Slab) {
        let Some(Open { id, children, first, last, .. }) = self.line.pop() else { return };
        if children > 0 {
            self.nodes.get_mut(slab, first).prev_sibling = last;
            let node = self.nodes.get_mut(slab, id);
            (node.first_child, node.child_count) = (first, children);
        }
    }

    /// Puts everything into its place. Gives a node whose path another one had already.
    pub fn finish(mut self, tree: &mut DataTree) -> Option<NodeId> {
        let DataTree { slab, index, .. } = tree;
        while !self.line.is_empty() {
            self.leave(slab);
        }
        if !self.nodes.0.is_empty() {
            slab.add_chunk(std::mem::take(&mut self.nodes.0));
        }
        let twice = index.insert_now(&mut self.waiting, |a, b| self.nodes.are_same(slab, a, b));
        self.twice.or(twice)
    }
}
