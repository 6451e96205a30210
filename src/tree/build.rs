//! Builds a tree from what a snapshot holds. Knows the order of a snapshot, not its bytes.
//! Java: `DataTree.deserialize`, `SerializeUtils.deserializeSnapshot`.

use std::collections::BTreeMap;
use std::fmt;

use crate::wire::{Acl, StatPersisted};

use super::acl::AclId;
use super::bulk::Bulk;
use super::data_tree::{DataTree, TreeOptions, split_path};
use super::digest::ZxidDigest;

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
    /// Until a node comes out of order.
    bulk: Option<Bulk>,
}

impl TreeBuilder {
    pub fn new(options: TreeOptions) -> Self {
        let tree = DataTree::bare(options);
        let acls = BTreeMap::from([(-1, AclId::OPEN)]);
        let bulk = Some(Bulk::new(tree.root()));
        Self { tree, rooted: false, acls, unknown_acls: 0, bulk }
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
        if let Some(bulk) = &mut self.bulk
            && bulk.goes_on_below(&mut self.tree, parent_path)
        {
            let node = self.tree.new_node(path, name, data, acl, stat);
            let digest = node.digest();
            let id = bulk.add(&mut self.tree, path, node);
            self.tree.acls.retain(acl);
            self.tree.count_in(id, path, data, stat.ephemeral_owner, digest);
            return Ok(());
        }
        // Neither Java nor this server writes nodes in such an order, but Java reads them.
        self.end_bulk()?;
        let parent = self.tree.lookup(parent_path);
        let parent = parent.ok_or_else(|| BuildError::NoParent(path.into()))?;
        self.tree.acls.retain(acl);
        self.tree.add_node(parent, path, name, data, acl, stat).map(|_| ()).ok_or_else(bad_path)
    }

    fn end_bulk(&mut self) -> Result<(), BuildError> {
        let twice = self.bulk.take().and_then(|bulk| bulk.finish(&mut self.tree));
        twice.map_or(Ok(()), |id| Err(BuildError::BadPath(self.tree.path_of(id))))
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
        self.end_bulk()?;
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Paths in a snapshot's order, more than a chunk of them.
    fn paths() -> Vec<String> {
        let mut paths = vec![String::new(), "/a".into(), "/a/b".into(), "/a/b/c".into()];
        paths.extend((0..200).map(|i| format!("/a/b/c/{i}")));
        paths.extend(
            ["/a/b/d", "/a/bb", "/a/bb/x", "/aa", "/aa/x", "/b", "/zookeeper"].map(String::from),
        );
        paths.extend(["/zookeeper/quota", "/zookeeper/config"].map(String::from));
        paths
    }

    fn built(paths: &[String]) -> Result<DataTree, BuildError> {
        let mut builder = TreeBuilder::new(TreeOptions::default());
        for path in paths {
            builder.add_node(path, Some(path.as_bytes()), -1, &StatPersisted::default())?;
        }
        builder.finish(1, None)
    }

    fn sums(tree: &DataTree) -> (usize, i64, i64) {
        (tree.node_count(), tree.digest(), tree.approximate_data_size())
    }

    #[test]
    fn any_order_with_parents_first_makes_the_same_tree() {
        let in_order = paths();
        let mut by_depth = paths();
        by_depth.sort_by_key(|path| path.split('/').count());
        let [a, b] = [&in_order, &by_depth].map(|paths| built(paths).unwrap());
        assert_eq!(sums(&a), sums(&b));
        for path in &in_order {
            for tree in [&a, &b] {
                let id = tree.lookup(path).unwrap();
                assert_eq!(
                    (tree.node(id).data(), tree.slab.path_of(id)),
                    (Some(path.as_bytes()), path.clone())
                );
            }
            let names = |tree: &DataTree| -> Vec<String> {
                tree.children(tree.lookup(path).unwrap()).map(String::from).collect()
            };
            assert_eq!(names(&a), names(&b), "{path}");
        }
    }

    #[test]
    fn a_built_tree_can_be_changed_everywhere() {
        let mut tree = built(&paths()).unwrap();
        let before = sums(&tree);
        let stat = StatPersisted::default();
        for path in paths().iter().filter(|path| !path.is_empty()) {
            let parent = tree.lookup(path).unwrap();
            let below = format!("{path}/new");
            let id = tree.add_node(parent, &below, "new", None, AclId::OPEN, &stat).unwrap();
            assert_eq!(tree.lookup(&below), Some(id));
            assert_eq!(tree.children(parent).last(), Some("new"));
            tree.remove_node(id, &below);
            assert_eq!(tree.lookup(&below), None);
        }
        assert_eq!(sums(&tree), before);
    }

    #[test]
    fn a_path_that_comes_twice_and_a_missing_parent_are_errors() {
        for (extra, at) in [("/a/b/c/7", 7), ("/a/b/c/7", 203), ("/b", 211), ("/aa/x", 213)] {
            let mut paths = paths();
            paths.insert(at, extra.into());
            assert_eq!(built(&paths).unwrap_err(), BuildError::BadPath(extra.into()), "{at}");
        }
        for orphan in ["/c/x", "/a/b/c/7/8/9", "/a/c/x", "x/y"] {
            let mut paths = paths();
            paths.push(orphan.into());
            assert_eq!(built(&paths).unwrap_err(), BuildError::NoParent(orphan.into()));
        }
    }
}
