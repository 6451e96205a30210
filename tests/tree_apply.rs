//! What applying a transaction returns, which watches it triggers, and what it counts.

use ironkeeper::tree::*;
use ironkeeper::wire::txn::{
    CloseSessionTxn, CreateSessionTxn, CreateTtlTxn, CreateTxn, SetAclTxn, SetDataTxn,
};
use ironkeeper::wire::{Acl, EventType, Txn, TxnHeader, code, perms};

struct Server {
    tree: DataTree,
    /// Of the last transaction.
    triggers: Vec<Seen>,
}

/// A trigger: the permissions stand for the ACLs.
#[derive(Debug, PartialEq)]
struct Seen {
    kind: EventType,
    path: String,
    parent: String,
    zxid: i64,
    perms: i32,
    parent_perms: Option<i32>,
}

impl Seen {
    fn new(t: &Trigger<'_>) -> Self {
        Self {
            kind: t.kind,
            path: t.path.into(),
            parent: t.parent_path().into(),
            zxid: t.zxid,
            perms: t.acl[0].perms,
            parent_perms: t.parent_acl.map(|acl| acl[0].perms),
        }
    }
}

impl Server {
    fn new() -> Self {
        let owner_rules = OwnerRules { extended_types: true, emulate_353: false };
        let options = TreeOptions { owner_rules, ..TreeOptions::default() };
        Self { tree: DataTree::new(options), triggers: Vec::new() }
    }

    fn apply(&mut self, txn: &Txn) -> i32 {
        self.applied(txn).err
    }

    fn applied<'a>(&mut self, txn: &'a Txn) -> Applied<'a> {
        let zxid = self.tree.last_zxid() + 1;
        let header = TxnHeader { client_id: 7, cxid: 1, zxid, time: zxid * 10, op: txn.op() };
        self.triggers.clear();
        self.tree.apply(&header, txn, &mut |t| self.triggers.push(Seen::new(t)))
    }

    fn data(&self, path: &str) -> String {
        let node = self.tree.node(self.tree.lookup(path).unwrap());
        String::from_utf8(node.data().unwrap().to_vec()).unwrap()
    }
}

fn create(path: &str, data: &str) -> Txn {
    create_as(path, data, perms::ALL, false)
}

fn create_as(path: &str, data: &str, perms: i32, ephemeral: bool) -> Txn {
    let (data, acl) = (Some(data.as_bytes().into()), Acl::world(perms).into());
    Txn::Create(CreateTxn { path: path.into(), data, acl, ephemeral, parent_cversion: -1 })
}

fn set(path: &str, data: &str, version: i32) -> Txn {
    Txn::SetData(SetDataTxn { path: path.into(), data: Some(data.as_bytes().into()), version })
}

#[test]
fn a_multi_gives_a_result_for_each_part() {
    let mut s = Server::new();
    let parts = vec![create("/a", "x"), set("/a", "long", 1), Txn::Check("/a".into(), 1)];
    let multi = Txn::Multi(parts);
    let applied = s.applied(&multi);
    assert_eq!((applied.err, applied.op, applied.sub.len()), (0, code::MULTI, 3));
    let ops: Vec<i32> = applied.sub.iter().map(|part| part.op).collect();
    assert_eq!(ops, [code::CREATE, code::SET_DATA, code::CHECK]);
    assert!(applied.sub.iter().all(|part| part.err == 0 && part.path == Some("/a")));
    let lengths: Vec<_> = applied.sub.iter().map(|p| p.stat.map(|s| s.data_length)).collect();
    assert_eq!(lengths, [Some(1), Some(4), None], "each as of then");
    assert_eq!(s.tree.last_zxid(), 1, "ZOOKEEPER-3127: one zxid, when all is done");
}

#[test]
fn one_error_undoes_a_multi() {
    let mut s = Server::new();
    let parts = vec![create("/a", ""), Txn::Error(-103), Txn::Delete("/b".into())];
    let multi = Txn::Multi(parts);
    let applied = s.applied(&multi);
    let errs: Vec<(i32, i32)> = applied.sub.iter().map(|part| (part.op, part.err)).collect();
    assert_eq!(errs, [(code::ERROR, 0), (code::ERROR, -103), (code::ERROR, -2)]);
    assert_eq!(applied.err, -103);
    assert_eq!(s.tree.lookup("/a"), None);
    assert_eq!((s.triggers.len(), s.tree.last_zxid()), (0, 1));
}

#[test]
fn what_no_leader_sends_does_no_harm() {
    let mut s = Server::new();
    let digest = s.tree.digest();
    for path in ["", "/", "a", "a/b", "/a/", "//", "/a//b", "/no/parent"] {
        for txn in [create(path, ""), Txn::Delete(path.into())] {
            let err = s.apply(&txn);
            assert!(err == -8 || err == -101, "{path}: {err}");
        }
    }
    for ttl in [0, -1, MAX_TTL + 1] {
        let txn = CreateTtlTxn { path: "/t".into(), ttl, ..CreateTtlTxn::default() };
        assert_eq!(s.apply(&Txn::CreateTtl(txn)), -8);
    }
    let nested = Txn::Multi(vec![Txn::Multi(vec![create("/a", "")]), create("/b", "")]);
    assert_eq!(s.applied(&nested).sub, []);
    assert_eq!(s.apply(&set("/none", "", 1)), -101);
    assert_eq!(s.apply(&Txn::SetAcl(SetAclTxn::default())), 0, "\"\" is the root");
    assert_eq!(s.tree.node_count(), 5);
    let aversion = |s: &Server| s.tree.node(s.tree.root()).persisted().aversion;
    assert_eq!((s.tree.digest(), aversion(&s)), (digest, 0));
}

/// C-165, C-168: who is told what, and whose ACL decides about it.
#[test]
fn triggers() {
    let mut s = Server::new();
    let seen = |s: &Server| -> Vec<(EventType, String, i32, Option<i32>)> {
        s.triggers.iter().map(|t| (t.kind, t.path.clone(), t.perms, t.parent_perms)).collect()
    };
    use EventType::*;
    s.apply(&create_as("/a", "", 1, false));
    assert_eq!(seen(&s), [(NodeCreated, "/a".into(), 1, Some(31))]);
    s.apply(&create_as("/a/b", "", 2, false));
    assert_eq!(seen(&s), [(NodeCreated, "/a/b".into(), 2, Some(1))]);
    assert_eq!((s.triggers[0].parent.as_str(), s.triggers[0].zxid), ("/a", 2));
    s.apply(&set("/a", "x", 1));
    assert_eq!(seen(&s), [(NodeDataChanged, "/a".into(), 1, None)]);
    let (path, acl) = ("/a/b".into(), Acl::world(4));
    s.apply(&Txn::SetAcl(SetAclTxn { path, acl: acl.into(), version: 1 }));
    assert_eq!(seen(&s), [], "setACL is no event");
    s.apply(&Txn::Delete("/a/b".into()));
    assert_eq!(seen(&s), [(NodeDeleted, "/a/b".into(), 4, Some(1))], "the ACL it had at the end");
    s.apply(&Txn::Delete("/a".into()));
    assert_eq!(s.triggers[0].parent, "/");
    s.apply(&Txn::Delete("/a".into()));
    assert_eq!(seen(&s), [], "it was gone already");
}

#[test]
fn a_closed_session_takes_its_ephemerals_along() {
    for with_paths in [true, false] {
        let mut s = Server::new();
        s.apply(&Txn::CreateSession(CreateSessionTxn { timeout: 4000 }));
        assert_eq!(s.tree.sessions().get(&7), Some(&4000));
        for path in ["/e1", "/e2", "/e3"] {
            s.apply(&create_as(path, "", perms::ALL, true));
        }
        s.apply(&create("/stays", ""));
        assert_eq!((s.tree.ephemerals_count(), s.tree.ephemerals(7).count()), (3, 3));
        // The leader did not know of /e2 and believed in one that is not there.
        let paths = ["/e3", "/not-there", "/e1"].map(String::from).to_vec();
        s.apply(&Txn::CloseSession(Some(CloseSessionTxn { paths: with_paths.then_some(paths) })));
        let deleted: Vec<&str> = s.triggers.iter().map(|t| &*t.path).collect();
        let expected = if with_paths { ["/e3", "/e1", "/e2"] } else { ["/e1", "/e2", "/e3"] };
        assert_eq!(deleted, expected);
        assert_eq!((s.tree.ephemerals_count(), s.tree.sessions().len()), (0, 0));
        assert_eq!(s.tree.ephemeral_owners().count(), 0);
        assert_eq!(s.tree.node_count(), 6);
    }
}

#[test]
fn quota_usage_follows_the_nodes() {
    let mut s = Server::new();
    let stats = "/zookeeper/quota/q/zookeeper_stats";
    s.apply(&create("/q", "12"));
    s.apply(&create("/q/a", "345"));
    s.apply(&create("/zookeeper/quota/q", ""));
    let limits = "count=3,bytes=-1=;byteHardLimit=10";
    s.apply(&create("/zookeeper/quota/q/zookeeper_limits", limits));
    s.apply(&create(stats, ""));
    assert_eq!(s.data(stats), "count=2,bytes=5", "counted when the node was created");
    s.apply(&create("/q/a/b", "6789"));
    assert_eq!(s.data(stats), "count=3,bytes=9");
    s.apply(&set("/q/a", "3", 1));
    assert_eq!(s.data(stats), "count=3,bytes=7");
    s.apply(&create("/other", "not counted"));

    let text = |breaches: Vec<QuotaBreach>| -> Vec<String> {
        breaches.iter().map(QuotaBreach::to_string).collect()
    };
    assert_eq!(text(s.tree.check_quota("/q/new", 3, 0)), [""; 0]);
    let soft = "Quota exceeded: /q [current count=4, softCountLimit=3]";
    assert_eq!(text(s.tree.check_quota("/q/new", 3, 1)), [soft]);
    let hard = "Quota exceeded: /q [current bytes=11, hardByteLimit=10]";
    assert_eq!(text(s.tree.check_quota("/q/new", 4, 1)), [soft, hard]);
    assert_eq!(text(s.tree.check_quota("/other/new", 400, 1)), [""; 0]);

    s.apply(&Txn::Delete("/q/a/b".into()));
    assert_eq!(s.data(stats), "count=2,bytes=3");
    let frozen = s.tree.freeze();
    s.apply(&Txn::Delete("/zookeeper/quota/q/zookeeper_limits".into()));
    s.apply(&set("/q", "12345678901234", 1));
    assert_eq!(s.data(stats), "count=2,bytes=3", "no limits, no accounting");

    // Loading counts anew, whatever the snapshot says.
    let mut builder = TreeBuilder::new(TreeOptions::default());
    let mut walk = frozen.walk();
    while let Some(n) = walk.next_node() {
        let path = str::from_utf8(n.path).unwrap();
        let data = if path == stats { Some(&b"count=99,bytes=99"[..]) } else { n.data };
        builder.add_node(path, data, -1, &n.stat).unwrap();
    }
    s.tree = builder.finish(frozen.last_zxid(), None).unwrap();
    assert_eq!(s.data(stats), "count=2,bytes=3");
    s.apply(&create("/q/c", "x"));
    assert_eq!(s.data(stats), "count=3,bytes=4");
}

#[test]
fn the_membership_is_written_outside_transactions() {
    let mut s = Server::new();
    s.tree.init_config("server.1=…\nversion=100000000", 0x1_0000_0000, 5, &mut |t| {
        s.triggers.push(Seen::new(t))
    });
    let node = s.tree.node(s.tree.lookup(CONFIG_NODE).unwrap());
    let stat = node.stat();
    assert_eq!((stat.version, stat.mzxid, stat.mtime), (-1, 0x1_0000_0000, 5));
    assert_eq!(**s.tree.acl(node.acl_id()), *Acl::world(perms::READ));
    assert_eq!(s.tree.last_zxid(), 0);
    assert_eq!(s.triggers[0].path, CONFIG_NODE);
}
