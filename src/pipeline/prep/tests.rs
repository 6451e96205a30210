//! Prep, op by op: the order of its checks, rollback, what is pending, any history.

use std::collections::{BTreeMap, VecDeque};

use super::*;
use crate::auth::AuthConfig;
use crate::session::Kind;
use crate::tree::{OwnerRules, TreeOptions};
use crate::wire::election::MAX_CONFIG_TEXT;
use crate::wire::proto::*;
use crate::wire::txn::{CloseSessionTxn, CreateSessionTxn, SetDataTxn};
use crate::wire::{Acl, TxnRecord, perms};

const ME: i64 = 0x0100_0000_0000_0001;
const OTHER: i64 = 0x0100_0000_0000_0002;
const STRANGER: i64 = 0x0100_0000_0000_0099;

struct World {
    tree: DataTree,
    sessions: SessionTracker,
    auth: Registry,
    prep: Prep,
    time: i64,
    ids: Vec<Id>,
    owner: Owner,
    upgrade_error: Option<ErrorCode>,
    metrics: ServerMetrics,
}

impl World {
    fn new() -> Self {
        Self::with(Kind::Standalone, OwnerRules::default())
    }

    fn with(kind: Kind, owner_rules: OwnerRules) -> Self {
        let tree = DataTree::new(TreeOptions { owner_rules, ..TreeOptions::default() });
        let sessions = BTreeMap::from([(ME, 4000), (OTHER, 4000)]);
        let options = PrepOptions {
            enforce_quota: true,
            close_session_txn: true,
            reconfig: true,
            standalone: true,
            multi_address: false,
            max_txn: 2 << 20,
        };
        Self {
            prep: Prep::new(options, 0, &tree),
            tree,
            sessions: SessionTracker::new(kind, &sessions, 2000, 1 << 56, 0),
            auth: Registry::new(&AuthConfig::default()).unwrap(),
            time: 1000,
            ids: vec![id("ip", "10.0.0.1")],
            owner: Owner::ThisServer,
            upgrade_error: None,
            metrics: ServerMetrics::default(),
        }
    }

    fn ask(&mut self, session: i64, (op, body): (i32, Vec<u8>)) -> Outcome {
        self.ask_with(session, (op, body), None)
    }

    fn ask_with(
        &mut self,
        session: i64,
        (op, body): (i32, Vec<u8>),
        ensemble: Option<&dyn Ensemble>,
    ) -> Outcome {
        self.time += 1;
        let request = PrepRequest {
            session,
            cxid: 7,
            op,
            body: &body,
            ids: &self.ids,
            owner: Some(self.owner),
            upgrade_error: self.upgrade_error,
        };
        let mut context = Context {
            tree: &self.tree,
            sessions: &mut self.sessions,
            auth: &self.auth,
            ensemble,
            time: self.time,
            now: self.time,
            metrics: &self.metrics,
        };
        self.prep.prepare(&request, &mut context)
    }

    fn prepare(&mut self, session: i64, request: (i32, Vec<u8>)) -> Prepared {
        match self.ask(session, request) {
            Outcome::Txn(prepared) => prepared,
            Outcome::NoTxn(result) => panic!("no transaction, but {result:?}"),
        }
    }

    /// The error code of a request, which is not applied.
    fn err(&mut self, session: i64, request: (i32, Vec<u8>)) -> i32 {
        self.prepare(session, request).err
    }

    /// Applies a transaction; its digest and bytes must be right, and what prep let through works.
    fn apply(&mut self, prepared: &Prepared) {
        let Prepared { header, txn, digest, .. } = prepared.clone();
        let record = TxnRecord { header, txn, digest };
        assert_eq!(TxnRecord::read(&mut Reader::new(&prepared.bytes)).as_ref(), Ok(&record));
        let applied = self.tree.apply(&record.header, &record.txn, &mut |_| {});
        assert_eq!(applied.err, prepared.err, "{record:?}");
        if let Some(digest) = &record.digest {
            assert_eq!(self.tree.digest(), digest.digest, "{record:?}");
        }
        self.prep.applied(record.header.zxid);
    }

    fn run(&mut self, session: i64, request: (i32, Vec<u8>)) -> Prepared {
        let prepared = self.prepare(session, request);
        self.apply(&prepared);
        prepared
    }

    fn must(&mut self, session: i64, request: (i32, Vec<u8>)) -> Prepared {
        let prepared = self.run(session, request);
        assert_eq!(prepared.err, 0);
        prepared
    }
}

fn id(scheme: &str, id: &str) -> Id {
    Id::new(scheme, id)
}

fn create_by(op: i32, path: &str, flags: i32, acl: Vec<Acl>) -> (i32, Vec<u8>) {
    let data = Some(b"data".as_slice().into());
    (op, CreateRequest { path: path.into(), data, acl: Some(acl), flags }.to_bytes())
}

fn create(path: &str, flags: i32) -> (i32, Vec<u8>) {
    create_by(code::CREATE, path, flags, Acl::open_unsafe())
}

fn create_ttl(path: &str, flags: i32, ttl: i64) -> (i32, Vec<u8>) {
    let acl = Some(Acl::open_unsafe());
    let path = path.into();
    (code::CREATE_TTL, CreateTtlRequest { path, data: None, acl, flags, ttl }.to_bytes())
}

fn delete(path: &str, version: i32) -> (i32, Vec<u8>) {
    (code::DELETE, VersionRequest { path: path.into(), version }.to_bytes())
}

fn check(path: &str, version: i32) -> (i32, Vec<u8>) {
    (code::CHECK, VersionRequest { path: path.into(), version }.to_bytes())
}

fn set_data(path: &str, version: i32) -> (i32, Vec<u8>) {
    let data = Some(b"new".as_slice().into());
    (code::SET_DATA, SetDataRequest { path: path.into(), data, version }.to_bytes())
}

fn set_acl(path: &str, acl: Vec<Acl>, version: i32) -> (i32, Vec<u8>) {
    (code::SET_ACL, SetAclRequest { path: path.into(), acl: Some(acl), version }.to_bytes())
}

fn delete_container(path: &str) -> (i32, Vec<u8>) {
    (code::DELETE_CONTAINER, PathRequest { path: path.into() }.to_bytes())
}

fn close() -> (i32, Vec<u8>) {
    (code::CLOSE_SESSION, vec![])
}

fn multi(ops: Vec<(i32, Vec<u8>)>) -> (i32, Vec<u8>) {
    let mut body = Vec::new();
    for (op, part) in ops {
        MultiHeader { op, done: false, err: -1 }.write(&mut body);
        body.extend(part);
    }
    MultiHeader { op: -1, done: true, err: -1 }.write(&mut body);
    (code::MULTI, body)
}

fn children(world: &World, path: &str) -> Vec<String> {
    let id = world.tree.lookup(path).unwrap();
    world.tree.children(id).map(str::to_string).collect()
}

/// Nodes to fail on: /open/kid, /locked (nobody may anything) with a kid, /eph.
fn furnished(world: &mut World) {
    for path in ["/open", "/open/kid", "/locked", "/locked/kid"] {
        world.must(ME, create(path, 0));
    }
    world.must(ME, create("/eph", 1));
    world.must(ME, set_acl("/locked", Acl::world(0), -1));
    world.must(ME, set_acl("/locked/kid", Acl::world(0), -1));
}

#[test]
fn create_checks_in_java_s_order() {
    let mut plain = World::new();
    furnished(&mut plain);
    let none = Vec::new;
    let open = Acl::open_unsafe;
    let by = |path, flags, acl| create_by(code::CREATE, path, flags, acl);
    // Each request has the fault named and all those of the rows below it that it can have.
    let table = [
        ("flags", STRANGER, by("x\0", 9, none()), -8),
        ("ttl switched off", STRANGER, by("x\0", 5, none()), -6),
        ("session", STRANGER, by("x\0", 0, none()), -12),
        ("global session", STRANGER, by("x\0", 1, none()), -112),
        ("no slash", ME, by("x", 0, none()), -8),
        ("empty", ME, by("", 0, none()), -8),
        ("nul", ME, by("/missing/\0", 0, none()), -8),
        ("acl", ME, by("/missing/..", 0, none()), -114),
        ("no parent", ME, by("/missing/..", 0, open()), -101),
        ("parent with double slash", ME, by("/open//x", 0, open()), -101),
        ("not absolute", ME, by("open/x", 0, open()), -101),
        ("permission", ME, by("/locked/..", 0, open()), -102),
        ("path", ME, by("/open/..", 0, open()), -8),
        ("path ends in a slash", ME, by("/open/", 0, open()), -8),
        ("exists", ME, by("/open/kid", 0, open()), -110),
        ("the root exists", ME, by("/", 0, open()), -110),
        ("child of an ephemeral", ME, by("/eph/x", 0, open()), -108),
    ];
    for (what, session, request, want) in table {
        assert_eq!(plain.err(session, request), want, "{what}");
    }
    // A sequential node may have no name of its own (C-122).
    let prepared = plain.must(ME, by("/open/", 2, open()));
    let Txn::Create(txn) = prepared.txn else { panic!("{:?}", prepared.txn) };
    assert_eq!((txn.path.as_str(), txn.parent_cversion), ("/open/0000000001", 2));
}

#[test]
fn ttl_nodes_and_containers() {
    let rules = OwnerRules { extended_types: true, emulate_353: false };
    let mut w = World::with(Kind::Standalone, rules);
    let table = [
        ("ttl 0", create_ttl("/t", 5, 0), -8),
        ("ttl too long", create_ttl("/t", 5, 0x100_0000_0000), -8),
        ("ttl for a mode without", create_ttl("/t", 0, 5000), -8),
        ("no ttl for a mode without (C-123)", create_ttl("/t", 0, -1), -8),
        ("a create cannot carry a ttl", create("/t", 5), -8),
        ("longest", create_ttl("/t", 5, 0xff_ffff_ffff), 0),
    ];
    for (what, request, want) in table {
        assert_eq!(w.run(ME, request).err, want, "{what}");
    }
    let owner = |w: &World, path: &str| {
        w.tree.node(w.tree.lookup(path).unwrap()).persisted().ephemeral_owner
    };
    assert_eq!(owner(&w, "/t") as u64, 0xff00_00ff_ffff_ffff);
    w.must(ME, create_by(code::CREATE_CONTAINER, "/box", 4, Acl::open_unsafe()));
    assert_eq!(owner(&w, "/box"), i64::MIN);
    // The op code decides, the digest follows (C-123).
    w.must(ME, create_by(code::CREATE_CONTAINER, "/box1", 1, Acl::open_unsafe()));
    assert_eq!(owner(&w, "/box1"), i64::MIN);
    w.must(ME, create("/plain", 4));
    assert_eq!(owner(&w, "/plain"), 0);
    // Inside a multi the flags decide.
    w.must(ME, multi(vec![create("/box2", 4), create_ttl("/plain2", 0, 9)]));
    assert_eq!((owner(&w, "/box2"), owner(&w, "/plain2")), (i64::MIN, 0));
    w.must(ME, create("/box/kid", 0));
    let table = [
        ("special", "/zookeeper", -8),
        ("missing", "/none", -101),
        ("children", "/box", -111),
        ("plain nodes can go, too", "/plain", 0),
        ("empty", "/box2", 0),
        ("ttl", "/t", 0),
    ];
    for (what, path, want) in table {
        assert_eq!(w.run(0, delete_container(path)).err, want, "{what}");
    }
    w.must(ME, create("/eph", 1));
    assert_eq!(w.err(0, delete_container("/eph")), -103);
    // Clients need the permission of a delete.
    assert_eq!(w.err(STRANGER, delete_container("/box1")), -12);
    w.must(ME, set_acl("/", Acl::world(perms::ALL - perms::DELETE), -1));
    assert_eq!(w.err(ME, delete_container("/box1")), -102);
    assert_eq!(w.run(0, delete_container("/box1")).err, 0);
}

#[test]
fn the_other_ops_check_in_java_s_order() {
    let mut w = World::new();
    furnished(&mut w);
    let no = Vec::new;
    let open = Acl::open_unsafe;
    let table = [
        ("delete: session", STRANGER, delete("/", 9), -12),
        ("delete: root", ME, delete("/", 9), -8),
        ("delete: special", ME, delete("/zookeeper/quota", 9), -8),
        ("delete: config", ME, delete("/zookeeper/config", 9), -8),
        ("delete: no slash", ME, delete("x", 9), -8),
        ("delete: parent", ME, delete("/none/x", 9), -101),
        ("delete: permission on the parent", ME, delete("/locked/none", 9), -102),
        ("delete: node", ME, delete("/open/none", 9), -101),
        ("delete: version", ME, delete("/open", 9), -103),
        ("delete: children", ME, delete("/open", 0), -111),
        ("setData: session", STRANGER, set_data("x", 9), -12),
        ("setData: path", ME, set_data("/open/", 9), -8),
        ("setData: node", ME, set_data("/none", 9), -101),
        ("setData: permission", ME, set_data("/locked/kid", 9), -102),
        ("setData: version", ME, set_data("/open", 9), -103),
        ("setACL: session", STRANGER, set_acl("x", no(), 9), -12),
        ("setACL: path", ME, set_acl("x", no(), 9), -8),
        ("setACL: acl", ME, set_acl("/none", no(), 9), -114),
        ("setACL: node", ME, set_acl("/none", open(), 9), -101),
        ("setACL: permission", ME, set_acl("/locked", open(), 9), -102),
        ("setACL: version", ME, set_acl("/open", open(), 9), -103),
        ("check: session", STRANGER, check("x", 9), -12),
        ("check: path", ME, check("x", 9), -8),
        ("check: node", ME, check("/none", 9), -101),
        ("check: permission", ME, check("/locked", 9), -102),
        ("check: version", ME, check("/open", 9), -103),
        ("reconfig: standalone", ME, reconfig(None, None, None), -6),
        ("reconfig: session", STRANGER, reconfig(None, None, None), -12),
    ];
    for (what, session, request, want) in table {
        assert_eq!(w.err(session, request.clone()), want, "{what}");
        if request.0 != code::RECONFIG && request.0 != code::SET_ACL {
            let prepared = w.prepare(session, multi(vec![request]));
            assert_eq!(prepared.txn, Txn::Multi(vec![Txn::Error(want)]), "{what}, in a multi");
        }
    }
    assert_eq!(w.prep.outstanding_changes(), 0, "failed requests change nothing");
}

#[test]
fn a_failed_request_uses_up_a_zxid_and_has_no_digest() {
    let mut w = World::new();
    let prepared = w.run(ME, delete("/none", -1));
    assert_eq!((prepared.header.zxid, prepared.header.op), (1, code::ERROR));
    assert_eq!((prepared.txn, prepared.digest), (Txn::Error(-101), None));
    for op in [code::CREATE, code::SET_DATA, code::SET_ACL, code::RECONFIG] {
        let outcome = w.ask(ME, (op, vec![0, 0]));
        let Outcome::NoTxn(Err(ErrorCode::MarshallingError)) = outcome else { panic!("{op}") };
    }
    assert_eq!(w.run(ME, (code::MULTI, vec![1])).txn, Txn::Error(-5));
    w.owner = Owner::Learner(1);
    assert_eq!(w.run(ME, (code::CREATE, vec![0, 0])).txn, Txn::Error(-5), "a learner waits");
    w.owner = Owner::ThisServer;
    assert_eq!(w.prep.last_zxid(), 3);
    let prepared = w.run(ME, multi(vec![delete("/none", -1)]));
    assert_eq!(prepared.header.op, code::MULTI);
    assert!(prepared.digest.is_some(), "a failed multi has one (C-141)");
}

#[test]
fn what_makes_no_transaction() {
    let mut w = World::new();
    let none = |outcome| match outcome {
        Outcome::NoTxn(result) => result,
        Outcome::Txn(prepared) => panic!("{prepared:?}"),
    };
    let sync = || (code::SYNC, PathRequest { path: "/".into() }.to_bytes());
    assert_eq!(none(w.ask(ME, sync())), Ok(()));
    assert_eq!(none(w.ask(STRANGER, sync())), Err(ErrorCode::UnknownSession));
    assert_eq!(none(w.ask(ME, (9999, vec![]))), Err(ErrorCode::Unimplemented));
    assert_eq!(w.prep.last_zxid(), 0);
}

#[test]
fn sessions_move_and_upgrade() {
    let mut w = World::with(Kind::Leader { local_sessions: false }, OwnerRules::default());
    w.must(ME, create("/a", 0));
    w.owner = Owner::Learner(3);
    assert_eq!(w.err(ME, set_data("/a", -1)), -118);
    assert_eq!(w.err(ME, create("/e", 1)), -118);
    assert_eq!(w.err(STRANGER, set_data("/a", -1)), -112);
    // createSession from another server makes it the owner.
    let timeout = CreateSessionTxn { timeout: 6000 }.to_bytes();
    w.must(STRANGER, (code::CREATE_SESSION, timeout));
    w.must(STRANGER, create("/e", 1));
    w.owner = Owner::ThisServer;
    assert_eq!(w.err(STRANGER, set_data("/a", -1)), -118);
    // The reason why a session stayed local comes instead of the session check.
    w.upgrade_error = Some(ErrorCode::EphemeralOnLocalSession);
    assert_eq!(w.err(ME, create("/f", 1)), -120);
    assert_eq!(w.err(ME, create("/f", 0)), 0);
}

#[test]
fn requests_see_what_is_decided_and_not_yet_applied() {
    let mut w = World::new();
    let steps = [
        (create("/a", 0), 0),
        (create("/a/b", 0), 0),
        (create("/a/b", 0), -110),
        (delete("/a", -1), -111),
        (set_data("/a", 0), 0),
        (set_data("/a", 0), -103),
        (set_data("/a", 1), 0),
        (set_acl("/a/b", Acl::world(perms::READ), 0), 0),
        (set_data("/a/b", -1), -102),
        (delete("/a/b", 0), 0),
        (set_data("/a/b", -1), -101),
        (create("/a/b", 1), 0),
        (create("/a/b/c", 0), -108),
        (set_data("/", -1), 0),
        (create("/top-", 2), 0),
        (delete("/a/b", -1), 0),
        (delete("/a", -1), 0),
    ];
    let prepared: Vec<Prepared> =
        steps.iter().map(|(request, _)| w.prepare(ME, request.clone())).collect();
    for ((request, want), prepared) in steps.iter().zip(&prepared) {
        assert_eq!(prepared.err, *want, "{request:?}");
        w.apply(prepared);
    }
    assert_eq!(w.prep.outstanding_changes(), 0);
    assert_eq!(children(&w, "/"), ["zookeeper", "top-0000000001"]);
}

#[test]
fn a_failed_multi_rolls_back_and_keeps_its_stored_form() {
    let mut w = World::new();
    w.must(ME, create("/a", 0));
    let pending = w.prepare(ME, set_data("/a", -1));
    let before = w.prep.changes.digest(&w.tree);
    let failed = w.prepare(
        ME,
        multi(vec![set_data("/a", 1), create("/a/b", 1), delete("/none", -1), create("/c", 0)]),
    );
    assert_eq!(failed.err, -101);
    assert_eq!(failed.digest.as_ref().unwrap().digest, before);
    let Txn::Multi(parts) = &failed.txn else { panic!("{:?}", failed.txn) };
    let stored: Vec<i32> = parts.iter().map(Txn::op).collect();
    assert_eq!(stored, [code::SET_DATA, code::CREATE, code::ERROR, code::ERROR]);
    assert_eq!(parts[2..], [Txn::Error(-101), Txn::Error(-2)]);
    // The pending change before it is still there, those of the multi are not.
    let next = w.prepare(ME, set_data("/a", 1));
    let data = Some(b"new".as_slice().into());
    assert_eq!(next.txn, Txn::SetData(SetDataTxn { path: "/a".into(), data, version: 2 }));
    let closed = w.prepare(ME, close());
    assert_eq!(closed.txn, Txn::CloseSession(Some(CloseSessionTxn { paths: Some(vec![]) })));
    for prepared in [&pending, &failed, &next, &closed] {
        w.apply(prepared);
    }
    assert!(children(&w, "/a").is_empty());
}

#[test]
fn a_failed_multi_gives_sequence_numbers_back_zookeeper_1624() {
    let mut w = World::new();
    w.must(ME, create("/q", 0));
    let name = |prepared: &Prepared| match &prepared.txn {
        Txn::Create(txn) => txn.path.clone(),
        other => panic!("{other:?}"),
    };
    let first = w.prepare(ME, create("/q/n-", 2));
    let failed = w.prepare(ME, multi(vec![create("/q/n-", 2), check("/none", -1)]));
    let second = w.prepare(ME, create("/q/n-", 2));
    assert_eq!((name(&first), name(&second)), ("/q/n-0000000000".into(), "/q/n-0000000001".into()));
    for prepared in [&first, &failed, &second] {
        w.apply(prepared);
    }
}

#[test]
fn ops_of_a_multi_see_each_other() {
    let mut w = World::new();
    let ops = vec![
        create("/a", 0),
        create("/a/s-", 3),
        set_data("/a", 0),
        check("/a", 1),
        delete("/a/s-0000000000", 0),
        delete("/a", 1),
        create("/a", 0),
    ];
    w.must(ME, multi(ops));
    assert_eq!(w.must(ME, multi(vec![])).txn, Txn::Multi(vec![]));
    assert_eq!(children(&w, "/"), ["zookeeper", "a"]);
}

#[test]
fn a_multi_of_other_ops_cannot_be_decoded() {
    let mut w = World::new();
    let read = (code::GET_DATA, ReadRequest { path: "/".into(), watch: false }.to_bytes());
    let others = [
        set_acl("/", Acl::open_unsafe(), -1),
        read,
        delete_container("/a"),
        close(),
        multi(vec![]),
        create("/a", 7),
    ];
    for other in others {
        let op = other.0;
        let prepared = w.run(ME, multi(vec![create("/x", 0), other]));
        assert_eq!(prepared.txn, Txn::Error(-5), "op {op}");
    }
    // A createTTL with senseless flags is decoded, and then refused.
    let prepared = w.run(ME, multi(vec![create_ttl("/x", 7, 1)]));
    assert_eq!(prepared.txn, Txn::Multi(vec![Txn::Error(-8)]));
}

#[test]
fn closing_a_session_takes_pending_ephemerals_along() {
    let mut w = World::new();
    w.must(ME, create("/dir", 0));
    w.must(ME, create("/dir/applied", 1));
    w.must(ME, create("/dir/gone", 1));
    w.must(OTHER, create("/dir/other", 1));
    let steps = [
        w.prepare(ME, create("/dir/pending", 1)),
        w.prepare(ME, create("/dir/brief", 1)),
        w.prepare(ME, delete("/dir/brief", -1)),
        w.prepare(ME, delete("/dir/gone", -1)),
        w.prepare(OTHER, create("/dir/gone", 1)),
        w.prepare(ME, close()),
        w.prepare(ME, create("/dir/late", 1)),
    ];
    let paths = vec!["/dir/applied".to_string(), "/dir/pending".to_string()];
    assert_eq!(steps[5].txn, Txn::CloseSession(Some(CloseSessionTxn { paths: Some(paths) })));
    assert_eq!(steps[6].err, -112, "a closing session takes nothing more");
    steps.iter().for_each(|prepared| w.apply(prepared));
    assert_eq!(children(&w, "/dir"), ["other", "gone"]);
    // Ordered behind the close of the last owner, the delete finds the node empty.
    let steps = [w.prepare(OTHER, close()), w.prepare(0, delete_container("/dir"))];
    assert_eq!(steps[1].err, 0);
    steps.iter().for_each(|prepared| w.apply(prepared));
    w.prep.options.close_session_txn = false;
    let bare = w.must(STRANGER, close());
    assert_eq!(bare.txn, Txn::CloseSession(None));
}

/// A transaction that no follower takes is the end of an ensemble: it comes again with every DIFF.
#[test]
fn zookeeper_4306_closing_a_session_of_many_ephemerals_names_none_of_them() {
    let mut w = World::new();
    // Header, digest and count, and as many paths as there is room for.
    w.prep.options.max_txn = 44 + 4 + 15 * (4 + 60);
    for (session, ephemerals, listed) in [(ME, 15, true), (OTHER, 16, false)] {
        (0..ephemerals).for_each(|i| {
            w.must(session, create(&format!("/{i:059}"), 1));
        });
        let pending = w.prepare(session, create(&format!("/later-{ephemerals}"), 0));
        let closed = w.prepare(session, close());
        let Txn::CloseSession(Some(txn)) = &closed.txn else { panic!("{:?}", closed.txn) };
        assert_eq!(txn.paths.as_ref().map(Vec::len), listed.then_some(ephemerals));
        assert!(closed.bytes.len() <= w.prep.options.max_txn, "{} bytes", closed.bytes.len());
        [pending, closed].iter().for_each(|prepared| w.apply(prepared));
    }
    assert_eq!(children(&w, "/"), ["zookeeper", "later-15", "later-16"]);
}

/// Two identities, and `auth` for an ACL.
fn of_two(w: &mut World) -> Vec<Acl> {
    w.ids = ["a", "b"].map(|name| id("digest", &format!("{name}:{}", "x".repeat(40)))).into();
    vec![Acl { perms: perms::ALL, id: id("auth", "") }]
}

#[test]
fn zookeeper_4306_a_multi_that_would_be_too_large_a_transaction_fails() {
    let mut w = World::new();
    let auth = of_two(&mut w);
    w.prep.options.max_txn = 4000;
    let creates = |n: usize| -> Vec<(i32, Vec<u8>)> {
        (0..n).map(|i| create_by(code::CREATE, &format!("/{i:02}"), 0, auth.clone())).collect()
    };
    let pending = w.prepare(ME, create("/before", 0));
    // The last one has its own error, or none: what is kept of it is too large all the same.
    let failing = [creates(26), vec![check("/before", 7)]].concat();
    let refused = [w.prepare(ME, multi(creates(27))), w.prepare(ME, multi(failing))];
    for refused in &refused {
        assert_eq!((refused.err, &refused.txn), (-5, &Txn::Error(-5)));
    }
    let fits = w.prepare(ME, multi(creates(26)));
    assert_eq!(fits.err, 0, "what was refused has left something");
    assert_eq!(fits.bytes.len(), w.prep.options.max_txn);
    [&pending, &refused[0], &refused[1], &fits].into_iter().for_each(|p| w.apply(p));
    assert!(w.prep.changes.is_empty());
}

#[test]
fn zookeeper_4306_an_acl_that_would_be_too_large_is_refused() {
    let mut w = World::new();
    let mut auth = of_two(&mut w);
    w.prep.options.max_txn = 4000;
    auth = (1..=20).map(|perms| Acl { perms, ..auth[0].clone() }).collect();
    assert_eq!(w.err(ME, create_by(code::CREATE, "/x", 0, auth.clone())), -5);
    assert_eq!(w.err(ME, set_acl("/", auth.clone(), -1)), -5);
    // Each byte that is no UTF-8 becomes three.
    let mended = Acl { perms: perms::ALL, id: id("digest", &format!("{}:y", "?".repeat(1500))) };
    let (op, mut body) = create_by(code::CREATE, "/x", 0, vec![mended]);
    body.iter_mut().filter(|byte| **byte == b'?').for_each(|byte| *byte = 0xff);
    let refused = w.prepare(ME, (op, body));
    assert_eq!((refused.err, &refused.txn), (-5, &Txn::Error(-5)));
    w.apply(&refused);
    auth.truncate(8);
    w.must(ME, create_by(code::CREATE, "/x", 0, auth));
    assert!(w.prep.changes.is_empty());
}

#[test]
fn hard_quotas_refuse() {
    let mut w = World::new();
    w.must(ME, create("/q", 0));
    w.must(ME, create("/zookeeper/quota/q", 0));
    let text = b"count=-1,bytes=-1=;byteHardLimit=10;countHardLimit=2";
    for (name, data) in [("limits", &text[..]), ("stats", b"")] {
        let path = format!("/zookeeper/quota/q/zookeeper_{name}");
        let request = CreateRequest {
            path,
            data: Some(data.into()),
            acl: Some(Acl::open_unsafe()),
            flags: 0,
        };
        w.must(ME, (code::CREATE, request.to_bytes()));
    }
    w.must(ME, create("/q/1", 0));
    assert_eq!(w.err(ME, create("/q/2", 0)), -125, "three nodes");
    let set = |data: &[u8], version| {
        let request = SetDataRequest { path: "/q/1".into(), data: Some(data.into()), version };
        (code::SET_DATA, request.to_bytes())
    };
    assert_eq!(w.err(ME, set(b"1234567", 9)), -125, "eleven bytes; comes before the version");
    w.must(ME, set(b"123456", 0));
    let counted = w.metrics.quota_exceeded_error_per_namespace.sums();
    assert_eq!(counted, [("q".into(), 2)]);
    w.prep.options.enforce_quota = false;
    w.must(ME, create("/q/2", 0));
}

#[test]
fn ephemerals_that_need_a_global_session() {
    let table = [
        (create("/a", 1), true),
        (create("/a", 3), true),
        (create("/a", 0), false),
        (create("/a", 9), false),
        (create_by(code::CREATE2, "/a", 1, vec![]), true),
        (create_by(code::CREATE_CONTAINER, "/a", 1, vec![]), false),
        (create_ttl("/a", 1, -1), false),
        (multi(vec![create("/a", 0), create("/a", 1)]), true),
        (multi(vec![create("/a", 0), delete("/a", 1)]), false),
        ((code::CREATE, vec![1]), false),
        (set_data("/a", 1), false),
    ];
    for ((op, body), want) in table {
        assert_eq!(creates_ephemeral(op, &body), want, "{op} {body:?}");
    }
}

// ---- reconfig

struct Leader {
    last: QuorumConfig,
    committed: i64,
    synced: bool,
}

impl Ensemble for Leader {
    fn last_seen(&self) -> &QuorumConfig {
        &self.last
    }
    fn committed_version(&self) -> i64 {
        self.committed
    }
    fn is_quorum_synced(&self, _: &QuorumConfig) -> bool {
        self.synced
    }
}

fn reconfig(joining: Option<&str>, leaving: Option<&str>, members: Option<&str>) -> (i32, Vec<u8>) {
    reconfig_from(-1, joining, leaving, members)
}

fn reconfig_from(
    config_id: i64,
    joining: Option<&str>,
    leaving: Option<&str>,
    members: Option<&str>,
) -> (i32, Vec<u8>) {
    let [joining, leaving, new_members] = [joining, leaving, members].map(|s| s.map(Into::into));
    let request = ReconfigRequest { joining, leaving, new_members, config_id };
    (code::RECONFIG, request.to_bytes())
}

const THREE: &str = "server.1=10.0.0.1:2888:3888:participant;0.0.0.0:2181\n\
    server.2=10.0.0.2:2888:3888:participant;0.0.0.0:2181\n\
    server.3=10.0.0.3:2888:3888:participant;0.0.0.0:2181\nversion=100000000";

fn leader() -> Leader {
    let last = QuorumConfig::parse(THREE, false).unwrap();
    Leader { committed: last.version, last, synced: true }
}

#[test]
fn a_membership_that_no_vote_or_no_transaction_can_carry_is_refused() {
    let mut w = World::with(Kind::Leader { local_sessions: false }, OwnerRules::default());
    let mut leader = leader();
    leader.synced = false;
    let joining = |host: usize| {
        let spec = format!("server.4={}:1:2;3", "h".repeat(host));
        [reconfig(Some(&spec), None, None), reconfig(None, None, Some(&format!("{THREE}\n{spec}")))]
    };
    let refused = |w: &mut World, host, error| {
        for request in joining(host) {
            let Outcome::Txn(prepared) = w.ask_with(ME, request, Some(&leader)) else { panic!() };
            assert_eq!(prepared.err, error, "a host of {host} bytes");
        }
    };
    refused(&mut w, 500_000, -13);
    refused(&mut w, MAX_CONFIG_TEXT, -8);
    w.prep.options.max_txn = 2_000;
    refused(&mut w, 1_000, -13);
    refused(&mut w, 2_000, -8);
}

#[test]
fn reconfig_checks_in_java_s_order() {
    let kind = Kind::Leader { local_sessions: false };
    let mut w = World::with(kind, OwnerRules::default());
    let mut err = |leader: &Leader, request| match w.ask_with(ME, request, Some(leader)) {
        Outcome::Txn(prepared) => prepared.err,
        Outcome::NoTxn(result) => panic!("{result:?}"),
    };
    let busy = Leader { committed: 1, synced: false, ..leader() };
    assert_eq!(err(&busy, reconfig_from(5, None, Some("x"), None)), -14);
    let alone = Leader { synced: false, ..leader() };
    assert_eq!(err(&alone, reconfig_from(5, None, Some("x"), None)), -103);
    let joiner = "server.4=10.0.0.4:2888:3888;2181";
    let table = [
        ("leaving no number", reconfig(None, Some("x"), None), -5),
        ("joining no number", reconfig(Some("server.x=h:1:2;3"), None, None), -5),
        ("joining without =", reconfig(Some("server.4"), None, None), -8),
        ("joining without client port", reconfig(Some("server.4=10.0.0.4:1:2"), None, None), -8),
        ("ports alike", reconfig(Some("server.4=10.0.0.4:1:1;3"), None, None), -8),
        ("address taken", reconfig(Some("server.4=10.0.0.3:2888:4;5"), None, None), -8),
        ("too few voters", reconfig(None, Some("1, 2"), None), -8),
        ("unknown key", reconfig(None, None, Some("server.1=h:1:2;3,foo=1")), -8),
        ("one voter", reconfig(None, None, Some("server.1=h:1:2;3")), -8),
        ("not synced", reconfig(Some(joiner), None, None), -13),
        ("its own address", reconfig(Some("server.3=10.0.0.3:2888:3889;5"), None, None), -13),
        ("loopback", reconfig(Some("server.4=127.0.0.1:2888:3888;5"), None, None), -13),
    ];
    for (what, request, want) in table {
        assert_eq!(err(&alone, request), want, "{what}");
    }
    assert_eq!(err(&leader(), reconfig(Some(joiner), None, None)), -102);
    w.prep.options.reconfig = false;
    assert_eq!(w.err(STRANGER, reconfig(None, None, None)), -123);
}

#[test]
fn reconfig_writes_the_new_membership() {
    let kind = Kind::Leader { local_sessions: false };
    let mut w = World::with(kind, OwnerRules::default());
    w.ids.push(id("super", ""));
    let request = reconfig(Some("server.4=10.0.0.4:2888:3888:observer;2181"), Some("1"), None);
    let Outcome::Txn(prepared) = w.ask_with(ME, request, Some(&leader())) else { panic!() };
    assert_eq!(prepared.err, 0);
    let want = "server.2=10.0.0.2:2888:3888:participant;0.0.0.0:2181\n\
        server.3=10.0.0.3:2888:3888:participant;0.0.0.0:2181\n\
        server.4=10.0.0.4:2888:3888:observer;0.0.0.0:2181\nversion=1";
    assert_eq!(prepared.reconfig.as_ref().unwrap().to_string(), want);
    let data = Some(want.as_bytes().into());
    let path = "/zookeeper/config".into();
    assert_eq!(prepared.txn, Txn::Reconfig(SetDataTxn { path, data, version: -1 }));
    w.apply(&prepared);
    let members = "server.5=h5:1:2;3,server.6=h6:1:2;3\nserver.7=h7:1:2;3";
    let request = reconfig(None, None, Some(members));
    let Outcome::Txn(prepared) = w.ask_with(ME, request, Some(&leader())) else { panic!() };
    let config = prepared.reconfig.as_ref().unwrap();
    assert_eq!((config.servers.len(), config.version), (3, 2));
    w.apply(&prepared);
}

// ---- any history

/// A small generator of numbers that look random.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }

    fn path(&mut self) -> String {
        let names = ["a", "b", "c"];
        let depth = 1 + self.below(3);
        (0..depth).map(|_| format!("/{}", names[self.below(3) as usize])).collect()
    }

    fn version(&mut self) -> i32 {
        self.below(4) as i32 - 1
    }

    fn single(&mut self) -> (i32, Vec<u8>) {
        let path = self.path();
        match self.below(8) {
            0 | 1 => create(&path, self.below(4) as i32),
            2 => create_by(code::CREATE_CONTAINER, &path, 4, Acl::open_unsafe()),
            3 => create_ttl(&path, 5 + self.below(2) as i32, 1000),
            4 => delete(&path, self.version()),
            5 => check(&path, self.version()),
            _ => set_data(&path, self.version()),
        }
    }

    fn request(&mut self) -> (i32, Vec<u8>) {
        match self.below(20) {
            0 => close(),
            1 => (code::CREATE_SESSION, CreateSessionTxn { timeout: 4000 }.to_bytes()),
            2 => set_acl(&self.path(), Acl::world(perms::ALL - self.below(2) as i32), -1),
            3 => set_data("/", -1),
            4..8 => {
                let n = self.below(5);
                multi((0..n).map(|_| self.single()).collect())
            }
            _ => self.single(),
        }
    }
}

#[test]
fn whatever_is_decided_can_be_applied_and_gives_the_digest_that_was_said() {
    let rules = OwnerRules { extended_types: true, emulate_353: false };
    for seed in 0..40 {
        let mut random = Random(seed);
        let mut w = World::with(Kind::Standalone, rules);
        let mut waiting = VecDeque::new();
        let mut succeeded = 0;
        for _ in 0..400 {
            let session = if random.below(2) == 0 { ME } else { OTHER };
            let request = random.request();
            let prepared = w.prepare(session, request);
            succeeded += usize::from(prepared.err == 0);
            waiting.push_back(prepared);
            while waiting.len() as u64 > random.below(12) {
                let prepared = waiting.pop_front().unwrap();
                w.apply(&prepared);
                if matches!(prepared.txn, Txn::CloseSession(_)) {
                    w.sessions.remove_session(prepared.header.client_id);
                }
            }
        }
        assert!(succeeded > 50, "{succeeded} of 400 requests succeeded");
        waiting.iter().for_each(|prepared| w.apply(prepared));
        assert_eq!(w.prep.outstanding_changes(), 0);
        assert!(w.prep.changes.is_empty(), "nothing is left of what was pending");
    }
}
