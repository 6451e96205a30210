//! Builds a tree from what a snapshot holds. Knows the order of a snapshot, not its bytes.
//! Java: `DataTree.deserialize`, `SerializeUtils.deserializeSnapshot`.

use std::collections::BTreeMap;
use std::fmt;

use crate::wire::{Acl, StatPersisted};

use super::acl::AclId;
use super::data_tree::{DataTree, TreeOptions, split_path};
use super::digest::ZxidDigest;
use super::node::NodeId;

/// Why a snapshot makes no tree. The file is damaged, or it is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BuildError {
    /// The first node is not the root, or there is none.
    NoRoot,
    /// A node comes before its parent.
    NoParent(String),
    /// A path that is there already, or is no path.
    BadPath(String),
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRoot => write!(f, "the snapshot does not start with the root node"),
            Self::NoParent(path) => {
                write!(f, "Invalid Datatree, unable to find parent of path {path}")
            }
            Self::BadPath(path) => write!(f, "the snapshot has the path {path:?} twice or wrongly"),
        }
    }
}

impl std::error::Error for BuildError {}

/// Takes a snapshot's sessions, ACLs and nodes, in this order.
#[derive(Debug)]
pub struct TreeBuilder {
    tree: DataTree,
    rooted: bool,
    /// Indexes of the snapshot, each held with one use until the end.
    acls: BTreeMap<i64, AclId>,
    unknown_acls: usize,
    last_parent: (String, NodeId),
}

impl TreeBuilder {
    pub fn new(options: TreeOptions) -> Self {
        let tree = DataTree::bare(options);
        let last_parent = (String::new(), tree.root());
        let acls = BTreeMap::from([(-1, AclId::OPEN)]);
        Self { tree, rooted: false, acls, unknown_acls: 0, last_parent }
    }

    /// A session and its time-out in ms.
    pub fn add_session(&mut self, id: i64, timeout: i32) {
        self.tree.sessions.insert(id, timeout);
    }

    /// An ACL and the index by which nodes refer to it.
    pub fn add_acl(&mut self, index: i64, acl: &[Acl]) {
        let id = self.tree.acls.acquire(acl);
        if let Some(old) = self.acls.insert(index, id) {
            self.tree.acls.release(old);
        }
    }

    /// A node; its parent must have been added before. The root's path is "".
    pub fn add_node(
        &mut self,
        path: &str,
        data: Option<&[u8]>,
        acl_index: i64,
        stat: &StatPersisted,
    ) -> Result<(), BuildError> {
        let acl = self.acl(acl_index);
        if !self.rooted {
            return self.set_root(path, data, acl, stat);
        }
        let bad_path = || BuildError::BadPath(path.to_string());
        let (parent_path, name) = split_path(path).ok_or_else(bad_path)?;
        let parent = self.parent(parent_path).ok_or_else(|| BuildError::NoParent(path.into()))?;
        self.tree.acls.retain(acl);
        self.tree.add_node(parent, path, name, data, acl, stat).map(|_| ()).ok_or_else(bad_path)
    }

    fn set_root(
        &mut self,
        path: &str,
        data: Option<&[u8]>,
        acl: AclId,
        stat: &StatPersisted,
    ) -> Result<(), BuildError> {
        if !path.is_empty() {
            return Err(BuildError::NoRoot);
        }
        self.rooted = true;
        self.tree.acls.retain(acl);
        self.tree.set_root(data, acl, stat);
        Ok(())
    }

    /// Children mostly come one after the other.
    fn parent(&mut self, path: &str) -> Option<NodeId> {
        if self.last_parent.0 != path {
            let id = self.tree.lookup(path)?;
            self.last_parent.0.clear();
            self.last_parent.0.push_str(path);
            self.last_parent.1 = id;
        }
        Some(self.last_parent.1)
    }

    /// An index that the snapshot does not explain belongs to a node that was created while Java
    /// wrote the snapshot; replay brings its ACL. Until then – or for good, should the log be
    /// missing – nobody but the super user may do anything with it.
    fn acl(&mut self, index: i64) -> AclId {
        if let Some(&id) = self.acls.get(&index) {
            return id;
        }
        self.unknown_acls += 1;
        let id = self.tree.acls.acquire(&Acl::world(0));
        self.acls.insert(index, id);
        id
    }

    /// How many ACL indexes the snapshot did not explain.
    pub fn unknown_acls(&self) -> usize {
        self.unknown_acls
    }

    /// The tree: ACLs nobody uses are gone, quotas counted anew, digest and ephemerals in place.
    /// `zxid` is the snapshot's, by its name. `digest` is the one in the snapshot, if any: when it
    /// was taken at a later zxid, the snapshot is fuzzy, and the two are compared when replay gets
    /// there; no transaction's digest is compared before.
    pub fn finish(mut self, zxid: i64, digest: Option<ZxidDigest>) -> Result<DataTree, BuildError> {
        if !self.rooted {
            return Err(BuildError::NoRoot);
        }
        for id in self.acls.into_values() {
            self.tree.acls.release(id);
        }
        let tree = &mut self.tree;
        tree.ensure_boot_node("/zookeeper/quota");
        tree.ensure_config_node();
        tree.load_quotas();
        tree.last_zxid = zxid;
        if tree.options.digest_enabled {
            tree.history.awaited = digest.filter(|d| d.zxid > 0 && d.zxid >= zxid);
            tree.history.compare_awaited(tree.zxid_digest());
        }
        Ok(self.tree)
    }
}
