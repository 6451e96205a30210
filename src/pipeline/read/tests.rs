//! Reads against a small tree: replies byte for byte, order of checks, watches.

use super::*;
use crate::auth::AuthConfig;
use crate::tree::{Db, Seed, TreeOptions, Watches};
use crate::wire::proto::{
    AclResponse, Children2Response, ChildrenResponse, ClientInfo, GetDataResponse, PathRequest,
    ReadRequest, ReplyHeader, WatchRequest,
};
use crate::wire::txn::{CreateTxn, Txn, TxnHeader};
use crate::wire::{Acl, Stat};

const BOB: &str = "digest";

fn digest_acl(perms: i32) -> Vec<Acl> {
    vec![Acl { perms, id: Id { scheme: BOB.into(), id: "bob:hash".into() } }]
}

/// /open "data" with children a and b, /bob (READ for bob only), /none (nobody may do anything),
/// /eph of session 5.
fn db() -> Db {
    let mut tree = DataTree::new(TreeOptions::default());
    let mut zxid = 0;
    let mut create = |path: &str, data: &[u8], acl: Vec<Acl>, session: i64| {
        zxid += 1;
        let header =
            TxnHeader { client_id: session, zxid, time: 1, op: code::CREATE, ..Default::default() };
        let txn = CreateTxn {
            path: path.into(),
            data: Some(data.into()),
            acl: acl.into(),
            ephemeral: session != 0,
            parent_cversion: -1,
        };
        assert_eq!(tree.apply(&header, &Txn::Create(txn), &mut |_| {}).err, 0);
    };
    create("/open", b"data", Acl::open_unsafe(), 0);
    create("/open/a", b"", Acl::open_unsafe(), 0);
    create("/open/b", b"", Acl::open_unsafe(), 0);
    create("/bob", b"secret", digest_acl(perms::READ), 0);
    create("/none", b"", digest_acl(0), 0);
    create("/eph", b"", Acl::open_unsafe(), 5);
    Db::new(tree, Watches::new(Seed::default()))
}

fn path_request(path: &str) -> Vec<u8> {
    PathRequest { path: path.into() }.to_bytes()
}

fn read_request(path: &str, watch: bool) -> Vec<u8> {
    ReadRequest { path: path.into(), watch }.to_bytes()
}

fn watch_request(path: &str, mode: i32) -> Vec<u8> {
    WatchRequest { path: path.into(), mode }.to_bytes()
}

/// The frames that a request brings: header and body of each.
fn frames(db: &Db, ids: &[Id], op: i32, body: &[u8]) -> Vec<(ReplyHeader, Vec<u8>)> {
    let auth = Registry::new(&AuthConfig::default()).unwrap();
    let state = db.read();
    let view = ReadView { state: &state, auth: &auth, reads: &Default::default() };
    let mut out = b"before".to_vec();
    let viewer = Viewer { conn: ConnId(1), session: 5, ids };
    let decoded = view.answer(&viewer, 77, op, body, &mut out);
    let mut r = Reader::new(&out[6..]);
    let mut frames: Vec<(ReplyHeader, Vec<u8>)> = Vec::new();
    while !r.is_empty() {
        let mut frame = Reader::new(r.buffer().unwrap().unwrap());
        frames.push((frame.record().unwrap(), frame.rest().to_vec()));
    }
    let err = frames.last().unwrap().0.err;
    assert!(decoded.is_ok() || err == ErrorCode::MarshallingError.code());
    frames
}

fn ask(db: &Db, ids: &[Id], op: i32, body: &[u8]) -> (i32, Vec<u8>) {
    let mut frames = frames(db, ids, op, body);
    assert_eq!(frames.len(), 1);
    let (header, body) = frames.remove(0);
    assert_eq!((header.xid, header.zxid), (77, 6));
    assert!(header.err == 0 || body.is_empty());
    (header.err, body)
}

fn decode<R: Record>((err, body): (i32, Vec<u8>)) -> R {
    assert_eq!(err, 0);
    let mut r = Reader::new(&body);
    let record = r.record().unwrap();
    assert!(r.is_empty());
    record
}

fn bob() -> [Id; 1] {
    [Id { scheme: BOB.into(), id: "bob:hash".into() }]
}

#[test]
fn errors_of_reads() {
    use ErrorCode::*;
    let db = db();
    let r = |path| read_request(path, true);
    let p = path_request;
    let rows: &[(i32, Vec<u8>, &[Id], ErrorCode)] = &[
        (code::GET_DATA, r("/open"), &[], Ok),
        (code::GET_DATA, r("/gone"), &[], NoNode),
        (code::GET_DATA, r("no-slash"), &[], NoNode),
        (code::GET_DATA, r("/bob"), &[], NoAuth),
        (code::GET_DATA, r("/bob"), &bob(), Ok),
        (code::GET_DATA, vec![], &[], MarshallingError),
        (code::GET_DATA, p("/open"), &[], MarshallingError),
        (code::GET_DATA, vec![0xff; 5], &[], MarshallingError),
        (code::EXISTS, r("/a\0b"), &[], BadArguments),
        (code::EXISTS, r("/none"), &[], NoAuth),
        (code::EXISTS, r("/gone"), &[], NoNode),
        (code::GET_CHILDREN, r("/gone"), &[], NoNode),
        (code::GET_CHILDREN2, r("/none"), &[], NoAuth),
        (code::GET_ACL, p("/gone"), &[], NoNode),
        (code::GET_ACL, p("/bob"), &[], NoAuth),
        (code::GET_ACL, p("/none"), &bob(), NoAuth),
        (code::GET_ALL_CHILDREN_NUMBER, p("/none"), &bob(), NoAuth),
        (code::GET_ALL_CHILDREN_NUMBER, p("/gone"), &[], NoNode),
        (code::ADD_WATCH, watch_request("/open", 2), &[], MarshallingError),
        (code::ADD_WATCH, watch_request("/gone", 0), &[], Ok),
        (code::CHECK_WATCHES, watch_request("/x", 1), &[], NoWatcher),
        (code::CHECK_WATCHES, watch_request("/x", 9), &[], MarshallingError),
        (code::REMOVE_WATCHES, watch_request("/x", 3), &[], NoWatcher),
        (code::SET_WATCHES, vec![0; 7], &[], MarshallingError),
        (code::MULTI_READ, vec![], &[], MarshallingError),
        (code::PING, vec![], &[], Ok),
    ];
    for (op, body, ids, want) in rows {
        assert_eq!(ask(&db, ids, *op, body).0, want.code(), "{op} {body:?}");
    }
}

#[test]
fn data_children_acl_and_numbers() {
    let db = db();
    let got: GetDataResponse = decode(ask(&db, &[], code::GET_DATA, &read_request("/open", false)));
    assert_eq!(got.data.as_deref(), Some(&b"data"[..]));
    assert_eq!((got.stat.num_children, got.stat.czxid, got.stat.pzxid), (2, 1, 3));
    let stat: Stat = decode(ask(&db, &[], code::EXISTS, &read_request("/open", false)));
    assert_eq!(stat, got.stat);
    let body = read_request("/open", false);
    let list: ChildrenResponse = decode(ask(&db, &[], code::GET_CHILDREN, &body));
    assert_eq!(list.children, ["a", "b"]);
    let list: Children2Response = decode(ask(&db, &[], code::GET_CHILDREN2, &body));
    assert_eq!((list.children.len(), list.stat), (2, stat));
    let number =
        |path| -> i32 { decode(ask(&db, &[], code::GET_ALL_CHILDREN_NUMBER, &path_request(path))) };
    assert_eq!((number("/open"), number("/open/a"), number("/")), (2, 0, 9));
    let acl: AclResponse = decode(ask(&db, &bob(), code::GET_ACL, &path_request("/bob")));
    assert_eq!(acl.acl[0].id.id, "bob:x", "bob has no ADMIN, so digests are masked");
    let acl: AclResponse = decode(ask(&db, &[], code::GET_ACL, &path_request("/open")));
    assert_eq!(acl.acl, Acl::open_unsafe());
    let who: Vec<ClientInfo> = decode(ask(&db, &bob(), code::WHO_AM_I, &[]));
    assert_eq!((who[0].auth_scheme.as_str(), who[0].user.as_str()), ("digest", "bob"));
}

#[test]
fn ephemerals_of_the_session_by_prefix() {
    let db = db();
    let of = |prefix: &str| -> Vec<String> {
        decode(ask(&db, &[], code::GET_EPHEMERALS, &path_request(prefix)))
    };
    for all in ["", "/", "  ", "/e", "/eph"] {
        assert_eq!(of(all), ["/eph"], "{all:?}");
    }
    assert_eq!(of("/x"), [""; 0]);
    let null: Vec<String> = decode(ask(&db, &[], code::GET_EPHEMERALS, &(-1i32).to_be_bytes()));
    assert_eq!(null, ["/eph"]);
}

#[test]
fn a_multi_read_has_a_result_for_every_part() {
    let db = db();
    let mut body = Vec::new();
    for (op, path) in [(code::GET_DATA, "/open"), (code::GET_CHILDREN, "/open"), (4, "/bob")] {
        MultiHeader { op, done: false, err: -1 }.write(&mut body);
        body.extend(read_request(path, true));
    }
    let unfinished = body.len();
    MultiHeader { op: -1, done: true, err: -1 }.write(&mut body);
    let (err, reply) = ask(&db, &[], code::MULTI_READ, &body);
    assert_eq!(err, 0);
    let mut r = Reader::new(&reply);
    let header = |op, err, done| MultiHeader { op, done, err };
    assert_eq!(r.record(), Ok(header(4, 0, false)));
    assert_eq!(r.record::<GetDataResponse>().unwrap().data.as_deref(), Some(&b"data"[..]));
    assert_eq!(r.record(), Ok(header(8, 0, false)));
    assert_eq!(r.record::<ChildrenResponse>().unwrap().children.len(), 2);
    assert_eq!(r.record(), Ok(header(-1, -102, false)));
    assert_eq!(r.i32(), Ok(-102));
    assert_eq!(r.record(), Ok(header(-1, -1, true)));
    assert!(r.is_empty());
    assert_eq!(db.read().watches().count(), 0, "watches are not set");
    let marshalling = ErrorCode::MarshallingError.code();
    assert_eq!(ask(&db, &[], code::MULTI_READ, &body[..unfinished]).0, marshalling);
    body[..4].copy_from_slice(&code::EXISTS.to_be_bytes());
    assert_eq!(ask(&db, &[], code::MULTI_READ, &body).0, marshalling);
}

#[test]
fn watches_are_set_even_on_what_exists_finds_missing() {
    let db = db();
    let has = |path: &str, kind| {
        db.read().watches().contains(path, WatcherId(1), WatcherType::from_int(kind).unwrap())
    };
    ask(&db, &[], code::EXISTS, &read_request("/gone", true));
    assert!(has("/gone", 2));
    ask(&db, &[], code::GET_DATA, &read_request("/gone2", true));
    ask(&db, &[], code::GET_DATA, &read_request("/bob", true));
    assert!(!has("/gone2", 3) && !has("/bob", 3), "no watch without an answer");
    ask(&db, &[], code::GET_CHILDREN, &read_request("/open", true));
    assert!(has("/open", 1) && !has("/open", 2));
    let (err, body) = ask(&db, &[], code::ADD_WATCH, &watch_request("/open", 1));
    assert_eq!((err, body), (0, vec![0; 4]), "an ErrorResponse of 0");
    assert!(has("/open", 5));
    assert_eq!(ask(&db, &[], code::CHECK_WATCHES, &watch_request("/open", 3)).0, 0);
    assert_eq!(ask(&db, &[], code::REMOVE_WATCHES, &watch_request("/open", 3)).0, 0);
    assert!(!has("/open", 3));
}

#[test]
fn set_watches_sends_what_was_missed_before_its_reply() {
    let db = db();
    let request = SetWatches {
        relative_zxid: 2,
        data: vec!["/open".into(), "/gone".into()],
        exist: vec!["/bob".into()],
        child: vec!["/open".into()],
    };
    let frames = frames(&db, &[], code::SET_WATCHES, &request.to_bytes());
    let events: Vec<_> = frames[..frames.len() - 1]
        .iter()
        .map(|(header, body)| {
            assert_eq!((header.xid, header.zxid, header.err), (-1, -1, 0));
            let event: WatcherEvent = Reader::new(body).record().unwrap();
            assert_eq!(event.state, 3);
            (event.kind, event.path)
        })
        .collect();
    let deleted = (EventType::NodeDeleted as i32, "/gone".to_owned());
    let created = (EventType::NodeCreated as i32, "/bob".to_owned());
    let children = (EventType::NodeChildrenChanged as i32, "/open".to_owned());
    assert_eq!(events, [deleted, created, children]);
    let (reply, body) = frames.last().unwrap();
    assert_eq!((reply.xid, reply.err, body.len()), (77, 0, 0));
    assert_eq!(db.read().watches().count(), 1, "/open for data");
}
