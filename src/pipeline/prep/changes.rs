//! The state of nodes as transactions will leave it that are decided and not yet applied (C-135).
//! Java: `ZooKeeperServer.ChangeRecord`, `outstandingChanges`, `outstandingChangesForPath`.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use crate::tree::{DataTree, NodeId, Seed, content_crc, digest_with_stat};
use crate::wire::{Acl, StatPersisted};

/// What checks and digests need to know of a node.
#[derive(Debug, Clone)]
pub(super) struct NodeState {
    pub(super) stat: StatPersisted,
    pub(super) children: usize,
    pub(super) acl: Arc<[Acl]>,
    pub(super) data_len: usize,
    content: Content,
    /// The node's share in the tree's digest as of the last [`Changes::put`].
    digest: i64,
}

/// Path and data, as far as the digest needs them.
#[derive(Debug, Clone, Copy)]
enum Content {
    /// As in the tree. Never kept: the tree may change before the next look.
    InTree(NodeId),
    Crc(u32),
}

impl NodeState {
    /// A node that is to be created.
    pub(super) fn new(
        path: &str,
        data: Option<&[u8]>,
        acl: Arc<[Acl]>,
        stat: StatPersisted,
    ) -> Self {
        let mut state =
            Self { stat, children: 0, acl, data_len: 0, content: Content::Crc(0), digest: 0 };
        state.set_data(path, data);
        state
    }

    fn in_tree(tree: &DataTree, id: NodeId) -> Self {
        let node = tree.node(id);
        Self {
            stat: node.persisted(),
            children: node.num_children(),
            acl: tree.acl(node.acl_id()).clone(),
            data_len: node.data_len(),
            content: Content::InTree(id),
            digest: node.digest(),
        }
    }

    pub(super) fn set_data(&mut self, path: &str, data: Option<&[u8]>) {
        self.data_len = data.map_or(0, <[u8]>::len);
        self.content = Content::Crc(content_crc(path, data));
    }

    fn refresh_digest(&mut self, tree: &DataTree, path: &str) {
        if !tree.options().digest_enabled {
            self.content = Content::Crc(0);
            return;
        }
        let crc = match self.content {
            Content::InTree(id) => content_crc(path, tree.node(id).data()),
            Content::Crc(crc) => crc,
        };
        self.content = Content::Crc(crc);
        self.digest = digest_with_stat(path, crc, &self.stat);
    }
}

#[derive(Debug)]
struct Pending {
    zxid: i64,
    /// `None`: deleted.
    state: Option<NodeState>,
}

#[derive(Debug)]
struct Change {
    zxid: i64,
    path: Arc<str>,
    /// The session whose ephemeral was created; else 0.
    created_for: i64,
}

/// See the module. The root's path is "/" here.
#[derive(Debug)]
pub(super) struct Changes {
    by_path: HashMap<Arc<str>, Pending, Seed>,
    /// All changes in their order, several to a transaction.
    queue: VecDeque<Change>,
    /// Ephemerals created by changes in the queue, by session.
    ephemerals: BTreeMap<i64, Vec<Arc<str>>>,
    /// Of the tree after the whole queue; says nothing while that is empty.
    digest: i64,
    /// What [`Changes::begin`] has to put back, newest last.
    undo: Option<Vec<(Arc<str>, Option<Pending>)>>,
}

/// Where a multi began.
pub(super) struct Mark {
    changes: usize,
    digest: i64,
}

impl Changes {
    pub(super) fn new(seed: Seed) -> Self {
        Self {
            by_path: HashMap::with_hasher(seed),
            queue: VecDeque::new(),
            ephemerals: BTreeMap::new(),
            digest: 0,
            undo: None,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    /// Whether nothing at all is kept.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.by_path.is_empty() && self.ephemerals.is_empty()
    }

    /// The digest of the tree once all changes are applied.
    pub(super) fn digest(&self, tree: &DataTree) -> i64 {
        if self.queue.is_empty() { tree.digest() } else { self.digest }
    }

    /// The node at `path` as it will be, if it will be.
    pub(super) fn get(&self, tree: &DataTree, path: &str) -> Option<NodeState> {
        match self.by_path.get(canonical(path)) {
            Some(pending) => pending.state.clone(),
            None => tree.lookup(path).map(|id| NodeState::in_tree(tree, id)),
        }
    }

    pub(super) fn exists(&self, tree: &DataTree, path: &str) -> bool {
        match self.by_path.get(canonical(path)) {
            Some(pending) => pending.state.is_some(),
            None => tree.lookup(path).is_some(),
        }
    }

    /// The transaction leaves the node at `path` like this.
    pub(super) fn put(&mut self, tree: &DataTree, zxid: i64, path: &str, mut state: NodeState) {
        let before = state.digest;
        state.refresh_digest(tree, path);
        let difference = state.digest.wrapping_sub(before);
        self.push(tree, zxid, path, difference, Some(state), 0);
    }

    /// As [`Changes::put`], for a new node that lives as long as `session`.
    pub(super) fn put_ephemeral(
        &mut self,
        tree: &DataTree,
        zxid: i64,
        path: &str,
        mut state: NodeState,
        session: i64,
    ) {
        state.refresh_digest(tree, path);
        let difference = state.digest;
        self.push(tree, zxid, path, difference, Some(state), session);
    }

    /// The transaction deletes the node at `path`, which was `state`.
    pub(super) fn remove(&mut self, tree: &DataTree, zxid: i64, path: &str, state: &NodeState) {
        self.push(tree, zxid, path, state.digest.wrapping_neg(), None, 0);
    }

    fn push(
        &mut self,
        tree: &DataTree,
        zxid: i64,
        path: &str,
        digest_difference: i64,
        state: Option<NodeState>,
        created_for: i64,
    ) {
        self.digest = self.digest(tree).wrapping_add(digest_difference);
        let path: Arc<str> = canonical(path).into();
        if created_for != 0 {
            self.ephemerals.entry(created_for).or_default().push(path.clone());
        }
        let before = self.by_path.insert(path.clone(), Pending { zxid, state });
        if let Some(undo) = &mut self.undo {
            undo.push((path.clone(), before));
        }
        self.queue.push_back(Change { zxid, path, created_for });
    }

    /// The paths of ephemerals that `session` will own.
    pub(super) fn ephemerals_of(&self, tree: &DataTree, session: i64) -> Vec<String> {
        let committed = tree.ephemerals(session).map(|id| tree.path_of(id));
        let created = self.ephemerals.get(&session).into_iter().flatten();
        let mut paths: Vec<String> = committed.chain(created.map(|p| p.to_string())).collect();
        paths.sort_unstable();
        paths.dedup();
        let owner = |state: &NodeState| state.stat.ephemeral_owner;
        paths.retain(|path| match self.by_path.get(path.as_str()) {
            Some(pending) => pending.state.as_ref().map(owner) == Some(session),
            None => true,
        });
        paths
    }

    /// Starts what may have to be undone.
    pub(super) fn begin(&mut self, tree: &DataTree) -> Mark {
        self.undo = Some(Vec::new());
        Mark { changes: self.queue.len(), digest: self.digest(tree) }
    }

    /// Everything since [`Changes::begin`] stays.
    pub(super) fn keep(&mut self) {
        self.undo = None;
    }

    /// Nothing since [`Changes::begin`] has happened.
    pub(super) fn roll_back(&mut self, mark: &Mark) {
        for change in self.queue.split_off(mark.changes) {
            self.forget_ephemeral(&change);
        }
        for (path, before) in self.undo.take().into_iter().flatten().rev() {
            match before {
                Some(pending) => self.by_path.insert(path, pending),
                None => self.by_path.remove(&path),
            };
        }
        self.digest = mark.digest;
    }

    /// The tree has all up to this zxid.
    pub(super) fn applied(&mut self, zxid: i64) {
        while self.queue.front().is_some_and(|change| change.zxid <= zxid) {
            let Some(change) = self.queue.pop_front() else { return };
            self.forget_ephemeral(&change);
            if let Entry::Occupied(last) = self.by_path.entry(change.path)
                && last.get().zxid <= zxid
            {
                last.remove();
            }
        }
    }

    fn forget_ephemeral(&mut self, change: &Change) {
        if let Some(paths) = self.ephemerals.get_mut(&change.created_for) {
            if let Some(i) = paths.iter().position(|path| *path == change.path) {
                paths.remove(i);
            }
            if paths.is_empty() {
                self.ephemerals.remove(&change.created_for);
            }
        }
    }
}

/// "" means the root where it is somebody's parent.
fn canonical(path: &str) -> &str {
    if path.is_empty() { "/" } else { path }
}
