//! The tree against a model that keeps paths in a map and computes everything from scratch, over
//! random histories: the same nodes, sums and digests, frozen views that later changes do not
//! touch, and replay over any fuzzy snapshot that ends where the history does.

use std::collections::{BTreeMap, BTreeSet};

use ironkeeper::tree::*;
use ironkeeper::wire::txn::{
    CloseSessionTxn, CreateContainerTxn, CreateSessionTxn, CreateTtlTxn, CreateTxn, SetAclTxn,
    SetDataTxn,
};
use ironkeeper::wire::{Acl, StatPersisted, Txn, TxnDigest, TxnHeader, TxnRecord};

fn options() -> TreeOptions {
    let owner_rules = OwnerRules { extended_types: true, emulate_353: false };
    TreeOptions { digest_enabled: true, owner_rules, seed: Seed(1, 2) }
}

struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) as usize % n
    }

    fn one_of<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }
}

/// A node as snapshots have it: data, permissions that everybody has, stat.
type ModelNode = (Option<Vec<u8>>, i32, StatPersisted);
type Nodes = BTreeMap<String, ModelNode>;

const SESSIONS: [i64; 3] = [11, 12, 13];

/// Makes transactions as a leader would, and does to a map what they mean.
#[derive(Clone)]
struct Model {
    /// Whether sessions may end without saying what they delete. Over a fuzzy snapshot that lacks
    /// the node already, such a txn cannot raise the parent's pzxid (ZOOKEEPER-3145).
    legacy: bool,
    nodes: Nodes,
    sessions: BTreeSet<i64>,
}

impl Model {
    fn new(legacy: bool) -> Self {
        let node = |aversion, perms| {
            (Some(vec![]), perms, StatPersisted { aversion, ..StatPersisted::default() })
        };
        let boot = [
            ("", node(0, 31)),
            ("/zookeeper", node(0, 31)),
            ("/zookeeper/quota", node(0, 31)),
            ("/zookeeper/config", node(-1, 1)),
        ];
        let nodes = boot.into_iter().map(|(path, node)| (path.to_string(), node)).collect();
        Self { legacy, nodes, sessions: BTreeSet::new() }
    }

    fn digest(&self) -> i64 {
        let digest =
            |(path, node): (&String, &ModelNode)| node_digest(path, node.0.as_deref(), &node.2);
        self.nodes.iter().map(digest).fold(0, i64::wrapping_add)
    }

    fn has_children(&self, path: &str) -> bool {
        self.nodes.keys().any(|p| split_path(p).is_some_and(|(parent, _)| parent == path))
    }

    fn owned(&self, session: i64) -> Vec<String> {
        let owned = self.nodes.iter().filter(|(_, node)| node.2.ephemeral_owner == session);
        owned.map(|(path, _)| path.clone()).collect()
    }

    fn delete(&mut self, path: &str, zxid: i64) {
        self.nodes.remove(path).unwrap();
        let parent = self.nodes.get_mut(split_path(path).unwrap().0).unwrap();
        parent.2.pzxid = zxid;
    }

    /// A transaction that is valid now, already done.
    fn step(&mut self, zxid: i64, r: &mut Random) -> (i64, Txn) {
        let client = *r.one_of(&SESSIONS);
        let txn = match r.below(20) {
            _ if !self.sessions.contains(&client) => {
                self.sessions.insert(client);
                Txn::CreateSession(CreateSessionTxn { timeout: 1000 })
            }
            0 => {
                self.sessions.remove(&client);
                let paths = self.owned(client);
                paths.iter().for_each(|path| self.delete(path, zxid));
                let paths = Some(CloseSessionTxn { paths: Some(paths) });
                Txn::CloseSession(paths.filter(|_| !self.legacy || r.below(2) == 0))
            }
            1 => Txn::Error(-101),
            2 => Txn::Multi(vec![
                Txn::SetData(SetDataTxn { path: "/a".into(), data: None, version: 77 }),
                Txn::Error(-103),
                Txn::Error(-2),
            ]),
            3..6 => {
                let parts = 1 + r.below(4);
                Txn::Multi((0..parts).map(|_| self.step_on_node(client, zxid, 3, r)).collect())
            }
            _ => self.step_on_node(client, zxid, 4, r),
        };
        (client, txn)
    }

    /// `kinds` is 3 inside a multi, which cannot hold setACL.
    fn step_on_node(&mut self, client: i64, zxid: i64, kinds: usize, r: &mut Random) -> Txn {
        loop {
            let mut path = String::new();
            for _ in 0..=r.below(3) {
                path += *r.one_of(&["/a", "/b", "/c", "/seven teen chars"]);
            }
            if !self.nodes.contains_key(&path) {
                let parent = self.nodes.get(split_path(&path).unwrap().0);
                if parent.is_some_and(|p| !SESSIONS.contains(&p.2.ephemeral_owner)) {
                    return self.create(path, client, zxid, r);
                }
                continue;
            }
            match r.below(kinds) {
                0 | 1 if !self.has_children(&path) => {
                    self.delete(&path, zxid);
                    return Txn::Delete(path);
                }
                2 => return self.set_data(path, zxid, r),
                3 => {
                    let perms = 1 + r.below(31) as i32;
                    let node = self.nodes.get_mut(&path).unwrap();
                    node.1 = perms;
                    node.2.aversion += 1;
                    let version = node.2.aversion;
                    return Txn::SetAcl(SetAclTxn { path, acl: Acl::world(perms).into(), version });
                }
                _ => {}
            }
        }
    }

    fn some_data(r: &mut Random) -> Option<Box<[u8]>> {
        let len = *r.one_of(&[0, 3, 100, 2000]);
        (r.below(4) > 0).then(|| vec![r.below(256) as u8; len].into())
    }

    fn set_data(&mut self, path: String, zxid: i64, r: &mut Random) -> Txn {
        let data = Self::some_data(r);
        let node = self.nodes.get_mut(&path).unwrap();
        node.0 = data.as_deref().map(<[u8]>::to_vec);
        (node.2.mzxid, node.2.mtime, node.2.version) = (zxid, zxid * 10, node.2.version + 1);
        Txn::SetData(SetDataTxn { path, data, version: node.2.version })
    }

    fn create(&mut self, path: String, client: i64, zxid: i64, r: &mut Random) -> Txn {
        let (data, perms) = (Self::some_data(r), 1 + r.below(31) as i32);
        let acl = Acl::world(perms).into();
        let parent = self.nodes.get_mut(split_path(&path).unwrap().0).unwrap();
        (parent.2.cversion, parent.2.pzxid) = (parent.2.cversion + 1, zxid);
        let parent_cversion = parent.2.cversion;
        let kind = r.below(5);
        let ephemeral = kind == 1;
        let ephemeral_owner = match kind {
            1 => client,
            3 => CONTAINER_OWNER,
            4 => ttl_owner(50).unwrap(),
            _ => 0,
        };
        let stat = StatPersisted {
            czxid: zxid,
            mzxid: zxid,
            pzxid: zxid,
            ctime: zxid * 10,
            mtime: zxid * 10,
            ephemeral_owner,
            ..StatPersisted::default()
        };
        let node = (data.as_deref().map(<[u8]>::to_vec), perms, stat);
        self.nodes.insert(path.clone(), node);
        match kind {
            3 => Txn::CreateContainer(CreateContainerTxn { path, data, acl, parent_cversion }),
            4 => Txn::CreateTtl(CreateTtlTxn { path, data, acl, parent_cversion, ttl: 50 }),
            2 => Txn::Create2(CreateTxn { path, data, acl, ephemeral, parent_cversion }),
            _ => Txn::Create(CreateTxn { path, data, acl, ephemeral, parent_cversion }),
        }
    }
}

/// A history, and the model as of every zxid.
fn history(len: usize, legacy: bool, r: &mut Random) -> (Vec<TxnRecord>, Vec<Model>) {
    let (mut records, mut times) = (Vec::new(), vec![Model::new(legacy)]);
    for zxid in 1..=len as i64 {
        let mut model = times[times.len() - 1].clone();
        let (client_id, txn) = model.step(zxid, r);
        let header = TxnHeader { client_id, cxid: 0, zxid, time: zxid * 10, op: txn.op() };
        let digest = Some(TxnDigest { version: 2, digest: model.digest() });
        records.push(TxnRecord { header, txn, digest });
        times.push(model);
    }
    (records, times)
}

fn nodes_of(tree: &DataTree, frozen: &FrozenTree) -> Nodes {
    let perms = |acl: &[Acl]| acl[0].perms;
    let acls: BTreeMap<i64, i32> = frozen.acls().map(|(i, acl)| (i, perms(acl))).collect();
    let mut all = Nodes::new();
    let mut walk = frozen.walk();
    while let Some(n) = walk.next_node() {
        let perms = if n.acl_index == -1 { 31 } else { acls[&n.acl_index] };
        let node = (n.data.map(<[u8]>::to_vec), perms, n.stat);
        let path = str::from_utf8(n.path).unwrap();
        if !path.is_empty() {
            let parent = split_path(path).unwrap().0;
            assert!(all.contains_key(parent), "{path} before its parent");
        }
        assert!(all.insert(path.to_string(), node).is_none(), "{path} twice");
    }
    assert_eq!(all.len(), frozen.node_count());
    assert!(acls.len() <= tree.node_count());
    all
}

/// Everything that can be asked of a tree, against the model.
fn check(tree: &DataTree, model: &Model) {
    assert_eq!(nodes_of(tree, &tree.freeze()), model.nodes);
    assert_eq!(tree.sessions().keys().copied().collect::<BTreeSet<_>>(), model.sessions);
    assert_eq!(tree.node_count(), model.nodes.len() + 1);
    let size =
        |(path, node): (&String, &ModelNode)| path.len() + node.0.as_ref().map_or(0, Vec::len);
    let size: usize = model.nodes.iter().map(size).sum();
    assert_eq!(tree.approximate_data_size(), size as i64 + 1);
    let mut ephemerals = 0;
    for session in SESSIONS {
        let mut owned: Vec<String> = tree.ephemerals(session).map(|id| tree.path_of(id)).collect();
        owned.sort();
        assert_eq!(owned, model.owned(session));
        ephemerals += owned.len();
    }
    assert_eq!(tree.ephemerals_count(), ephemerals);
    for path in model.nodes.keys() {
        let id = tree.lookup(path).unwrap();
        let is_child = |p: &&String| split_path(p).is_some_and(|(parent, _)| parent == path);
        let expected: Vec<&String> = model.nodes.keys().filter(is_child).collect();
        let mut children: Vec<String> = tree.children(id).map(|c| format!("{path}/{c}")).collect();
        children.sort();
        assert_eq!(children.iter().collect::<Vec<_>>(), expected);
        assert_eq!(tree.node(id).stat().num_children as usize, expected.len());
        let prefix = format!("{path}/");
        let below = model.nodes.keys().filter(|p| p.starts_with(&prefix)).count();
        assert_eq!(tree.descendant_count(id), below);
    }
    check_reaper(tree, model);
}

fn check_reaper(tree: &DataTree, model: &Model) {
    let now = tree.last_zxid() * 10;
    let mut found = tree.expired_containers(now, 200);
    found.sort();
    let due = |(path, node): &(&String, &ModelNode)| {
        let (stat, idle) = (node.2, now - node.2.mtime);
        !model.has_children(path)
            && match stat.ephemeral_owner {
                CONTAINER_OWNER => stat.cversion > 0 || idle > 200,
                owner => Some(owner) == ttl_owner(50) && idle > 50,
            }
    };
    let expected: Vec<&String> = model.nodes.iter().filter(due).map(|(path, _)| path).collect();
    assert_eq!(found.iter().collect::<Vec<_>>(), expected);
}

#[test]
fn random_histories_agree_with_the_model() {
    let mut r = Random(1);
    for _ in 0..5 {
        let (records, times) = history(300, true, &mut r);
        let (mut tree, mut views) = (DataTree::new(options()), Vec::new());
        for (record, model) in records.iter().zip(&times[1..]) {
            let applied = tree.apply_record(record, &mut |_| {});
            assert!(matches!(applied.err, 0 | -101 | -103), "{record:?}: {applied:?}");
            assert_eq!(tree.digest_mismatches(), 0, "{record:?}");
            if r.below(4) == 0 {
                check(&tree, model);
            }
            if r.below(20) == 0 {
                views.push((tree.freeze(), model));
            }
        }
        for (view, model) in &views {
            assert_eq!(nodes_of(&tree, view), model.nodes, "a frozen view has changed");
        }
    }
}

/// Walks as Java does while transactions go on: before each node some more of them happen, and
/// children are those that the parent had when it was written.
fn fuzzy_walk(
    times: &[Model],
    now: &mut usize,
    path: &str,
    pause: &mut impl FnMut() -> usize,
    out: &mut Vec<(String, ModelNode)>,
) {
    *now = (*now + pause()).min(times.len() - 1);
    let Some(node) = times[*now].nodes.get(path) else { return };
    out.push((path.to_string(), node.clone()));
    let is_child = |p: &&String| split_path(p).is_some_and(|(parent, _)| parent == path);
    let children: Vec<String> = times[*now].nodes.keys().filter(is_child).cloned().collect();
    for child in children {
        fuzzy_walk(times, now, &child, pause, out);
    }
}

/// ZOOKEEPER-1269, ZOOKEEPER-2297, ZOOKEEPER-3056 and more: replay must not care when a snapshot
/// began and when it ended. Some ACLs that were new then are missing in it, too.
#[test]
fn replay_over_any_fuzzy_snapshot_gives_the_same_tree() {
    let mut r = Random(2);
    for _ in 0..10 {
        let (records, times) = history(80, false, &mut r);
        for _ in 0..100 {
            let start = r.below(times.len());
            let (mut now, mut taken, pace) = (start, Vec::new(), 1 + r.below(6));
            fuzzy_walk(&times, &mut now, "", &mut || r.below(pace), &mut taken);
            let mut builder = TreeBuilder::new(options());
            times[start].sessions.iter().for_each(|&id| builder.add_session(id, 1000));
            let known: BTreeSet<i32> = times[start].nodes.values().map(|node| node.1).collect();
            known.iter().for_each(|&p| builder.add_acl(i64::from(p), &Acl::world(p)));
            for (path, (data, perms, stat)) in &taken {
                builder.add_node(path, data.as_deref(), i64::from(*perms), stat).unwrap();
            }
            let mut tree = builder.finish(start as i64, None).unwrap();
            for record in &records[start..] {
                let zxid = record.header.zxid;
                tree.apply(&record.header, &record.txn, &mut |_| {});
                if zxid as usize >= now {
                    let agrees = tree.compare_digest(zxid, record.digest.as_ref().unwrap());
                    assert!(agrees, "fuzzy from {start} to {now}, digest after {record:?}");
                }
            }
            check(&tree, &times[times.len() - 1]);
        }
    }
}

/// The parent was written into the snapshot before its child went to another session, the child
/// after. Nothing in a log without the paths of closed sessions deletes it then, so the create
/// finds it, and must all the same count for the parent (for create2 Java forgets).
#[test]
fn a_create_that_finds_its_node_counts_for_the_parent() {
    let stat = |czxid, ephemeral_owner| StatPersisted {
        czxid,
        ephemeral_owner,
        cversion: 1,
        pzxid: 1,
        ..StatPersisted::default()
    };
    for kind in [Txn::Create, Txn::Create2] {
        let mut builder = TreeBuilder::new(options());
        for (path, stat) in [("", stat(0, 0)), ("/a", stat(3, 12))] {
            builder.add_node(path, None, -1, &stat).unwrap();
        }
        let mut tree = builder.finish(1, None).unwrap();
        let (path, acl) = ("/a".to_string(), Acl::world(9).into());
        let txn = CreateTxn { path, data: None, acl, ephemeral: true, parent_cversion: 2 };
        for (zxid, client_id, txn) in [(2, 11, Txn::CloseSession(None)), (3, 12, kind(txn))] {
            let header = TxnHeader { client_id, cxid: 0, zxid, time: 0, op: txn.op() };
            tree.apply(&header, &txn, &mut |_| {});
        }
        let root = tree.node(tree.root()).persisted();
        assert_eq!((root.cversion, root.pzxid), (2, 3));
        let node = tree.node(tree.lookup("/a").unwrap());
        assert_eq!(**tree.acl(node.acl_id()), *Acl::world(9), "the snapshot may lack its ACL");
    }
}

#[test]
fn a_snapshot_s_digest_is_awaited_when_it_is_fuzzy() {
    let (records, times) = history(30, false, &mut Random(3));
    let at = |zxid: usize, digest| ZxidDigest { zxid: zxid as i64, version: 2, digest };
    let build = |digest| {
        let mut builder = TreeBuilder::new(options());
        for (path, (data, _, stat)) in &times[10].nodes {
            builder.add_node(path, data.as_deref(), -1, stat).unwrap();
        }
        builder.finish(10, Some(digest)).unwrap()
    };
    let exact = times[10].digest();
    let replayed = |mut tree: DataTree| {
        tree.end_replay();
        tree.digest_mismatches()
    };
    assert_eq!(replayed(build(at(10, exact))), 0, "exact, compared at once");
    assert_eq!(replayed(build(at(10, exact + 1))), 1);
    assert_eq!(replayed(build(at(9, exact + 1))), 0, "of an earlier epoch: ignored");
    // A wrong digest is explained by a part of the next transaction, if there is one whose own
    // digest is right.
    for (wrong, last, mismatches) in [(0, 30, 0), (1, 30, 0), (1, 20, 1)] {
        let mut tree = build(at(20, times[20].digest() + wrong));
        for record in &records[10..last] {
            let mut record = record.clone();
            let fuzzy = record.header.zxid < 20;
            record.digest.iter_mut().filter(|_| fuzzy).for_each(|d| d.digest += 1);
            tree.apply_record(&record, &mut |_| {});
        }
        assert_eq!(replayed(tree), mismatches);
    }
}

#[test]
fn what_is_no_snapshot_is_refused() {
    let stat = StatPersisted::default();
    let mut builder = TreeBuilder::new(options());
    assert_eq!(builder.add_node("/a", None, -1, &stat), Err(BuildError::NoRoot));
    builder.add_node("", None, -1, &stat).unwrap();
    let no_parent = BuildError::NoParent("/a/b".into());
    assert_eq!(builder.add_node("/a/b", None, -1, &stat), Err(no_parent));
    builder.add_node("/a", None, 99, &stat).unwrap();
    let twice = BuildError::BadPath("/a".into());
    assert_eq!(builder.add_node("/a", None, -1, &stat), Err(twice));
    for path in ["", "a", "/a/"] {
        let bad = BuildError::BadPath(path.into());
        assert_eq!(builder.add_node(path, None, -1, &stat), Err(bad));
    }
    assert_eq!(builder.unknown_acls(), 1);
    let tree = builder.finish(5, None).unwrap();
    assert_eq!(tree.node_count(), 6, "an old snapshot gets quota and config nodes");
    let acl = tree.acl(tree.node(tree.lookup("/a").unwrap()).acl_id());
    assert_eq!(**acl, *Acl::world(0), "nobody may");
    assert!(TreeBuilder::new(options()).finish(0, None).is_err());
}
