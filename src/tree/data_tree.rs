//! The tree of znodes: looking things up, and the few primitive changes that transactions and
//! loading are made of. What a transaction means is in [`super::apply`]. Java: `DataTree`.
//!
//! Invariants: every node but the root is linked to its parent and in the index; sums (digest,
//! sizes), ephemerals, containers and TTL nodes always agree with the nodes; ACL uses are exact.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::wire::{Acl, StatPersisted, path as paths, perms};

use super::acl::{AclId, AclTable};
use super::digest::{DIGEST_VERSION, DigestHistory, ZxidDigest, node_digest};
use super::frozen::FrozenTree;
use super::index::{Index, hash_path};
use super::node::{EphemeralKind, Node, NodeId, OwnerRules, ttl_of};
use super::quota::{self, QuotaBreach, QuotaPaths, StatsTrack};
use super::slab::Slab;
use crate::hash::Seed;

/// The node of the ensemble's membership.
pub const CONFIG_NODE: &str = "/zookeeper/config";

/// What a tree is told at birth.
#[derive(Debug, Clone, Copy)]
pub struct TreeOptions {
    /// `zookeeper.digest.enabled`.
    pub digest_enabled: bool,
    pub owner_rules: OwnerRules,
    /// Random in production.
    pub seed: Seed,
}

impl Default for TreeOptions {
    fn default() -> Self {
        Self { digest_enabled: true, owner_rules: OwnerRules::default(), seed: Seed::default() }
    }
}

/// Splits a path into its parent's ("" for the root) and the last name. `None` for the root and
/// for what is no path.
pub fn split_path(path: &str) -> Option<(&str, &str)> {
    let (parent, name) = paths::split(path)?;
    (!name.is_empty() && parent != "/").then_some((parent, name))
}

/// All state that transactions change: the nodes, and the sessions with their time-outs.
#[derive(Debug)]
pub struct DataTree {
    pub(super) options: TreeOptions,
    pub(super) slab: Slab,
    pub(super) root: NodeId,
    pub(super) index: Index,
    pub(super) acls: AclTable,
    ephemerals: BTreeMap<i64, BTreeSet<NodeId>>,
    ephemeral_count: usize,
    containers: BTreeSet<NodeId>,
    ttls: BTreeSet<NodeId>,
    pub(super) sessions: BTreeMap<i64, i32>,
    pub(super) quota_paths: QuotaPaths,
    pub(super) last_zxid: i64,
    digest: i64,
    pub(super) history: DigestHistory,
    data_size: i64,
}

impl DataTree {
    /// The tree of a server that has never seen a transaction (C-180).
    pub fn new(options: TreeOptions) -> Self {
        let mut tree = Self::bare(options);
        for path in ["/zookeeper", quota::QUOTA_ROOT] {
            tree.ensure_boot_node(path);
        }
        tree.ensure_config_node();
        tree
    }

    /// A tree of nothing but a root.
    pub(super) fn bare(options: TreeOptions) -> Self {
        let mut tree = Self {
            options,
            slab: Slab::new(),
            root: NodeId::NONE,
            index: Index::new(),
            acls: AclTable::new(options.seed),
            ephemerals: BTreeMap::new(),
            ephemeral_count: 0,
            containers: BTreeSet::new(),
            ttls: BTreeSet::new(),
            sessions: BTreeMap::new(),
            quota_paths: QuotaPaths::new(options.seed),
            last_zxid: 0,
            digest: 0,
            history: DigestHistory::default(),
            data_size: 1, // Java keeps the root under two keys, "" and "/".
        };
        let stat = StatPersisted::default();
        let root = Node::new("", EphemeralKind::Void, Some(b""), AclId::OPEN, &stat);
        tree.root = tree.slab.add(root);
        tree.refresh_digest(tree.root, "");
        tree
    }

    /// Makes the root of a bare tree the one of a snapshot.
    pub(super) fn set_root(&mut self, data: Option<&[u8]>, acl: AclId, stat: &StatPersisted) {
        let root = self.slab.get_mut(self.root);
        assert!(root.child_count == 0, "the root comes before its {} children", root.child_count);
        let old = std::mem::replace(root, Node::new("", EphemeralKind::Void, data, acl, stat));
        self.acls.release(old.acl);
        self.digest = self.digest.wrapping_sub(old.digest());
        self.data_size += data.map_or(0, <[u8]>::len) as i64 - old.data_len() as i64;
        self.refresh_digest(self.root, "");
    }

    pub(super) fn ensure_boot_node(&mut self, path: &str) -> NodeId {
        if let Some(id) = self.lookup(path) {
            return id;
        }
        let Some((parent, name)) = split_path(path) else { return self.root };
        let parent = self.ensure_boot_node(parent);
        let stat = StatPersisted::default();
        // It was just looked up.
        self.add_node(parent, path, name, Some(b""), AclId::OPEN, &stat).expect("it is missing")
    }

    /// Creates the node of the membership where it is missing: in a new tree, and in snapshots from
    /// before 3.5. Only reading it is free for all.
    pub(super) fn ensure_config_node(&mut self) {
        if self.lookup(CONFIG_NODE).is_none() {
            let id = self.ensure_boot_node(CONFIG_NODE);
            self.set_acl_of(id, CONFIG_NODE, &Acl::world(perms::READ), -1);
        }
    }

    /// Finds a node. "/" and "" are the root; no path syntax is checked, what is odd is missing.
    pub fn lookup(&self, path: &str) -> Option<NodeId> {
        if path.is_empty() || path == "/" {
            return Some(self.root);
        }
        let hash = hash_path(self.options.seed, path);
        self.index.find(hash, |id| self.slab.is_at(id, path))
    }

    pub fn root(&self) -> NodeId {
        self.root
    }

    pub fn node(&self, id: NodeId) -> &Node {
        self.slab.get(id)
    }

    pub fn acl(&self, id: AclId) -> &Arc<[Acl]> {
        self.acls.get(id)
    }

    /// The names of a node's children, oldest first.
    pub fn children(&self, id: NodeId) -> impl Iterator<Item = &str> {
        self.child_ids(id).map(|child| self.slab.get(child).name())
    }

    /// A node's children, oldest first.
    pub fn child_ids(&self, id: NodeId) -> impl Iterator<Item = NodeId> {
        self.slab.children(id)
    }

    /// How many nodes are below a node (C-153).
    pub fn descendant_count(&self, id: NodeId) -> usize {
        if id == self.root { self.slab.len() - 1 } else { self.slab.subtree(id).count() - 1 }
    }

    /// The path of a node, "/" for the root.
    pub fn path_of(&self, id: NodeId) -> String {
        if id == self.root { "/".into() } else { self.slab.path_of(id) }
    }

    /// The highest zxid applied.
    pub fn last_zxid(&self) -> i64 {
        self.last_zxid
    }

    /// For a zxid that no transaction has, like the first of an epoch.
    pub fn set_last_zxid(&mut self, zxid: i64) {
        self.last_zxid = zxid;
    }

    pub fn options(&self) -> &TreeOptions {
        &self.options
    }

    /// What an `ephemeralOwner` means under this tree's options.
    pub fn kind_of_owner(&self, owner: i64) -> EphemeralKind {
        self.options.owner_rules.kind(owner)
    }

    /// As Java counts: the root twice.
    pub fn node_count(&self) -> usize {
        self.slab.len() + 1
    }

    /// Sum of the lengths of paths (in UTF-16 units, like Java) and data.
    pub fn approximate_data_size(&self) -> i64 {
        self.data_size
    }

    /// About how many bytes a snapshot takes: besides path and data, a node has lengths, an index
    /// and a stat.
    pub fn snapshot_bytes(&self) -> u64 {
        self.data_size as u64 + 76 * self.slab.len() as u64
    }

    pub fn ephemerals_count(&self) -> usize {
        self.ephemeral_count
    }

    /// The ephemeral nodes of a session.
    pub fn ephemerals(&self, session: i64) -> impl Iterator<Item = NodeId> {
        self.ephemerals.get(&session).into_iter().flatten().copied()
    }

    /// The sessions that own ephemeral nodes.
    pub fn ephemeral_owners(&self) -> impl Iterator<Item = i64> {
        self.ephemerals.keys().copied()
    }

    /// The sessions that exist: id and negotiated time-out in ms.
    pub fn sessions(&self) -> &BTreeMap<i64, i32> {
        &self.sessions
    }

    /// The sum of all nodes' digests; 0 when digests are off.
    pub fn digest(&self) -> i64 {
        self.digest
    }

    /// The digest as of the last zxid applied.
    pub fn zxid_digest(&self) -> ZxidDigest {
        ZxidDigest { zxid: self.last_zxid, version: DIGEST_VERSION, digest: self.digest }
    }

    /// The digests of the past, one every 128 zxids, oldest first (D-48).
    pub fn digest_log(&self) -> impl Iterator<Item = &ZxidDigest> {
        self.history.log.iter()
    }

    /// How often a digest that came from elsewhere was not ours.
    pub fn digest_mismatches(&self) -> u64 {
        self.history.mismatches
    }

    /// The logs behind the snapshot are replayed; see [`DigestHistory::replayed`].
    pub fn end_replay(&mut self) {
        self.history.replayed();
    }

    /// A view of the tree as it is now, which later changes do not touch.
    pub fn freeze(&self) -> FrozenTree {
        FrozenTree::new(self)
    }

    /// Nodes that the container manager should try to delete (C-183): childless containers which
    /// had children, or never had any for longer than `max_never_used` ms (0: those stay), and
    /// childless TTL nodes whose time is over. `now` is wall clock in ms.
    pub fn expired_containers(&self, now: i64, max_never_used: i64) -> Vec<String> {
        let idle = |node: &Node| now.saturating_sub(node.mtime);
        let containers = self.containers.iter().filter(|&&id| {
            let node = self.slab.get(id);
            let unused = max_never_used != 0 && idle(node) > max_never_used;
            node.child_count == 0 && (node.cversion > 0 || unused)
        });
        let ttls = self.ttls.iter().filter(|&&id| {
            let node = self.slab.get(id);
            let ttl = ttl_of(node.persisted().ephemeral_owner);
            node.child_count == 0 && ttl != 0 && idle(node) > ttl
        });
        containers.chain(ttls).map(|&id| self.path_of(id)).collect()
    }

    /// The path with a quota that a node at `path` counts for.
    pub fn quota_prefix<'a>(&self, path: &'a str) -> Option<&'a str> {
        self.quota_paths.longest_prefix(path)
    }

    /// The limits that a write at `path` would go over, adding so many bytes and nodes. Java only
    /// looks when `enforceQuota` is on; then a hard breach refuses the write, a soft one warns.
    pub fn check_quota(&self, path: &str, bytes_diff: i64, count_diff: i64) -> Vec<QuotaBreach> {
        let Some(prefix) = self.quota_prefix(path) else { return Vec::new() };
        let read = |path: String| {
            let id = self.lookup(&path)?;
            Some(StatsTrack::parse(self.slab.get(id).data().unwrap_or_default()))
        };
        let limits = read(quota::limits_path(prefix));
        match (limits, read(quota::stats_path(prefix))) {
            (Some(limits), Some(usage)) => {
                quota::breaches(prefix, &limits, &usage, bytes_diff, count_diff)
            }
            _ => Vec::new(),
        }
    }
}

/// Primitive changes.
impl DataTree {
    /// Adds a node; `None` if there is one at that path. The caller has acquired the ACL for it.
    pub(super) fn add_node(
        &mut self,
        parent: NodeId,
        path: &str,
        name: &str,
        data: Option<&[u8]>,
        acl: AclId,
        stat: &StatPersisted,
    ) -> Option<NodeId> {
        let node = self.new_node(path, name, data, acl, stat);
        let digest = node.digest();
        let id = self.slab.add(node);
        let hash = hash_path(self.options.seed, path);
        if !self.index.insert(hash, id, |id| self.slab.is_at(id, path)) {
            self.slab.free(id);
            return None;
        }
        self.slab.link(parent, id);
        self.count_in(id, path, data, stat.ephemeral_owner, digest);
        Some(id)
    }

    /// A node that is not in the tree yet, with its digest.
    pub(super) fn new_node(
        &self,
        path: &str,
        name: &str,
        data: Option<&[u8]>,
        acl: AclId,
        stat: &StatPersisted,
    ) -> Node {
        let mut node = Node::new(name, self.kind_of_owner(stat.ephemeral_owner), data, acl, stat);
        if self.options.digest_enabled {
            node.digest = node_digest(path, data, stat) as u32; // a CRC32
        }
        node
    }

    /// Counts a new node in all sums and sets.
    pub(super) fn count_in(
        &mut self,
        id: NodeId,
        path: &str,
        data: Option<&[u8]>,
        owner: i64,
        digest: i64,
    ) {
        self.digest = self.digest.wrapping_add(digest);
        self.data_size += node_size(path, data);
        match self.kind_of_owner(owner) {
            EphemeralKind::Void => {}
            EphemeralKind::Container => _ = self.containers.insert(id),
            EphemeralKind::Ttl => _ = self.ttls.insert(id),
            EphemeralKind::Normal => {
                self.ephemerals.entry(owner).or_default().insert(id);
                self.ephemeral_count += 1;
            }
        }
    }

    /// Removes a childless node.
    pub(super) fn remove_node(&mut self, id: NodeId, path: &str) {
        let node = self.slab.get(id);
        let (acl, kind) = (node.acl, node.kind());
        let owner = node.persisted().ephemeral_owner;
        self.digest = self.digest.wrapping_sub(node.digest());
        self.data_size -= node_size(path, node.data());
        match kind {
            EphemeralKind::Void => {}
            EphemeralKind::Container => _ = self.containers.remove(&id),
            EphemeralKind::Ttl => _ = self.ttls.remove(&id),
            EphemeralKind::Normal => self.forget_ephemeral(owner, id),
        }
        self.acls.release(acl);
        self.index.remove(hash_path(self.options.seed, path), id);
        self.slab.unlink(id);
        self.slab.free(id);
    }

    fn forget_ephemeral(&mut self, owner: i64, id: NodeId) {
        let Some(nodes) = self.ephemerals.get_mut(&owner) else { return };
        self.ephemeral_count -= usize::from(nodes.remove(&id));
        if nodes.is_empty() {
            self.ephemerals.remove(&owner);
        }
    }

    /// Changes a node's stat and keeps the digest right.
    pub(super) fn update(&mut self, id: NodeId, path: &str, change: impl FnOnce(&mut Node)) {
        change(self.slab.get_mut(id));
        self.refresh_digest(id, path);
    }

    /// Changes a node's data, and its stat with it.
    pub(super) fn replace_data(
        &mut self,
        id: NodeId,
        path: &str,
        data: Option<&[u8]>,
        change: impl FnOnce(&mut Node),
    ) {
        let node = self.slab.get_mut(id);
        self.data_size += data.map_or(0, |d| d.len() as i64) - node.data_len() as i64;
        node.set_data(data);
        change(node);
        self.refresh_digest(id, path);
    }

    pub(super) fn set_acl_of(&mut self, id: NodeId, path: &str, acl: &[Acl], aversion: i32) {
        let acl = self.acls.acquire(acl);
        let mut old = acl;
        self.update(id, path, |node| {
            old = std::mem::replace(&mut node.acl, acl);
            node.aversion = aversion;
        });
        self.acls.release(old);
    }

    /// Computes a node's digest anew. The one kept in the node is what the sum holds of it.
    fn refresh_digest(&mut self, id: NodeId, path: &str) {
        if !self.options.digest_enabled {
            return;
        }
        let node = self.slab.get_mut(id);
        let digest = node_digest(path, node.data(), &node.persisted());
        self.digest = self.digest.wrapping_add(digest - node.digest());
        node.digest = digest as u32; // a CRC32
    }
}

/// Quota accounting, which happens outside transactions and is not logged.
impl DataTree {
    /// Counts a change at `path` for the quota above it.
    pub(super) fn count_for_quota(&mut self, path: &str, bytes: i64, count: i64) {
        let Some(prefix) = self.quota_prefix(path) else { return };
        let stats_path = quota::stats_path(prefix);
        let Some(id) = self.lookup(&stats_path) else { return };
        let mut usage = StatsTrack::parse(self.slab.get(id).data().unwrap_or_default());
        usage.add(count, bytes);
        self.write_stats(id, &stats_path, &usage);
    }

    /// Counts the usage of `target` from scratch.
    pub(super) fn recount_quota(&mut self, target: &str) {
        let stats_path = quota::stats_path(target);
        let Some(stats) = self.lookup(&stats_path) else { return };
        let (mut count, mut bytes) = (0, 0);
        if let Some(top) = self.lookup(target) {
            for id in self.slab.subtree(top) {
                count += 1;
                bytes += self.slab.get(id).data_len() as i64;
            }
        }
        self.write_stats(stats, &stats_path, &StatsTrack::new(count, bytes));
    }

    fn write_stats(&mut self, id: NodeId, path: &str, usage: &StatsTrack) {
        self.replace_data(id, path, Some(usage.to_string().as_bytes()), |_| {});
    }

    /// Finds all limits in a loaded tree and counts usage anew.
    pub(super) fn load_quotas(&mut self) {
        let Some(top) = self.lookup(quota::QUOTA_ROOT) else { return };
        let is_limit = |id: &NodeId| self.slab.get(*id).name() == quota::LIMITS;
        let limits: Vec<NodeId> = self.slab.subtree(top).filter(is_limit).collect();
        for id in limits {
            let path = self.slab.path_of(id);
            let Some((parent, name)) = split_path(&path) else { continue };
            if let Some(target) = quota::quota_target(parent, name, quota::LIMITS) {
                self.recount_quota(target);
                self.quota_paths.insert(target);
            }
        }
    }
}

/// Java's `getNodeSize`.
fn node_size(path: &str, data: Option<&[u8]>) -> i64 {
    let path = if path.is_ascii() { path.len() } else { path.encode_utf16().count() };
    (path + data.map_or(0, <[u8]>::len)) as i64
}
