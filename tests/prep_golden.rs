//! Requests for what a Java server 3.9.5 logged: prep must write the same transactions, byte for
//! byte, digests included. The logs are in tests/golden.

use std::collections::{BTreeMap, VecDeque};

use ironkeeper::auth::{AuthConfig, Registry};
use ironkeeper::metrics::ServerMetrics;
use ironkeeper::pipeline::prep::{Context, Outcome, Prep, PrepOptions, PrepRequest};
use ironkeeper::session::{Kind, SessionTracker};
use ironkeeper::tree::{DataTree, OwnerRules, Seed, TreeOptions};
use ironkeeper::wire::proto::*;
use ironkeeper::wire::txn::CreateSessionTxn;
use ironkeeper::wire::{Id, Reader, Record, Txn, TxnRecord, code};

/// A request that must become that transaction: op code and body. Which one an error was cannot be
/// known; one that fails the same way stands in.
fn request_for(txn: &Txn) -> (i32, Vec<u8>) {
    let flags = |t: &ironkeeper::wire::txn::CreateTxn| i32::from(t.ephemeral);
    let create = |path: &str, data: &Option<Box<[u8]>>, acl: &[Acl], flags| {
        let acl = Some(acl.to_vec());
        CreateRequest { path: path.into(), data: data.clone(), acl, flags }.to_bytes()
    };
    let body = match txn {
        Txn::CreateSession(t) => CreateSessionTxn { timeout: t.timeout }.to_bytes(),
        Txn::CloseSession(_) => vec![],
        Txn::Create(t) | Txn::Create2(t) => create(&t.path, &t.data, &t.acl, flags(t)),
        Txn::CreateContainer(t) => create(&t.path, &t.data, &t.acl, 4),
        Txn::CreateTtl(t) => CreateTtlRequest {
            path: t.path.clone(),
            data: t.data.clone(),
            acl: Some(t.acl.to_vec()),
            flags: 5,
            ttl: t.ttl,
        }
        .to_bytes(),
        Txn::Delete(path) => VersionRequest { path: path.clone(), version: -1 }.to_bytes(),
        Txn::DeleteContainer(path) => PathRequest { path: path.clone() }.to_bytes(),
        Txn::SetData(t) => {
            SetDataRequest { path: t.path.clone(), data: t.data.clone(), version: t.version - 1 }
                .to_bytes()
        }
        Txn::SetAcl(t) => {
            let (path, acl) = (t.path.clone(), Some(t.acl.to_vec()));
            SetAclRequest { path, acl, version: t.version - 1 }.to_bytes()
        }
        Txn::Check(path, version) => {
            VersionRequest { path: path.clone(), version: version - 1 }.to_bytes()
        }
        Txn::Error(err) => return failing(*err),
        Txn::Multi(txns) => {
            let mut body = Vec::new();
            for txn in txns {
                let (op, part) = request_for(txn);
                MultiHeader { op, done: false, err: -1 }.write(&mut body);
                body.extend(part);
            }
            MultiHeader { op: -1, done: true, err: -1 }.write(&mut body);
            body
        }
        Txn::Reconfig(_) => panic!("no reconfig in these logs"),
    };
    (txn.op(), body)
}

fn failing(err: i32) -> (i32, Vec<u8>) {
    let delete = |path: &str, version| {
        (code::DELETE, VersionRequest { path: path.into(), version }.to_bytes())
    };
    match err {
        -101 | -2 => delete("/no/such/node", -1),
        -8 => delete("/", -1),
        -103 => (code::CHECK, VersionRequest { path: "/".into(), version: 99 }.to_bytes()),
        -110 => {
            let acl = Some(Acl::open_unsafe());
            let path = "/zookeeper".into();
            (code::CREATE, CreateRequest { path, data: None, acl, flags: 0 }.to_bytes())
        }
        -111 => (code::DELETE, VersionRequest { path: "/v".into(), version: -1 }.to_bytes()),
        -114 => {
            let (path, acl) = ("/x".into(), Some(vec![]));
            (code::CREATE, CreateRequest { path, data: None, acl, flags: 0 }.to_bytes())
        }
        _ => panic!("no request at hand that fails with {err}"),
    }
}

/// Plays a history through prep, `lag` transactions behind applied.
fn replay(records: &[(TxnRecord, Vec<u8>)], digest_enabled: bool, lag: usize) {
    let owner_rules = OwnerRules { extended_types: true, emulate_353: false };
    let options = TreeOptions { digest_enabled, owner_rules, seed: Seed(1, 2) };
    let mut tree = DataTree::new(options);
    let mut sessions = SessionTracker::new(Kind::Standalone, &BTreeMap::new(), 2000, 1 << 56, 0);
    let auth = Registry::new(&AuthConfig { skip_acl: true, ..Default::default() }).unwrap();
    let options = PrepOptions {
        enforce_quota: false,
        close_session_txn: true,
        reconfig: false,
        standalone: true,
        multi_address: false,
        max_txn: 2 << 20,
    };
    let mut prep = Prep::new(options, records[0].0.header.zxid - 1, &tree);
    let ids = [Id::new("super", "")];
    let mut waiting = VecDeque::new();
    for (record, bytes) in records {
        let header = &record.header;
        let (op, body) = request_for(&record.txn);
        let request = PrepRequest {
            session: header.client_id,
            cxid: header.cxid,
            op,
            body: &body,
            ids: &ids,
            owner: None,
            upgrade_error: None,
        };
        let context = &mut Context {
            tree: &tree,
            sessions: &mut sessions,
            auth: &auth,
            ensemble: None,
            time: header.time,
            now: 0,
            metrics: &ServerMetrics::default(),
        };
        let Outcome::Txn(prepared) = prep.prepare(&request, context) else {
            panic!("{op} makes a transaction")
        };
        assert_eq!(&prepared.txn, &record.txn, "zxid {:x}", header.zxid);
        assert_eq!(prepared.digest, record.digest, "zxid {:x}: {record:?}", header.zxid);
        assert_eq!(*prepared.bytes, **bytes, "zxid {:x}", header.zxid);
        waiting.push_back(prepared);
        while waiting.len() > lag {
            let prepared = waiting.pop_front().unwrap();
            let applied = tree.apply(&prepared.header, &prepared.txn, &mut |_| {});
            assert_eq!(applied.err, prepared.err, "what prep decides can be applied");
            prep.applied(prepared.header.zxid);
        }
    }
    if lag == 0 {
        assert_eq!(prep.outstanding_changes(), 0);
    }
}

fn parse(bytes: &[u8]) -> (TxnRecord, Vec<u8>) {
    (TxnRecord::read(&mut Reader::new(bytes)).unwrap(), bytes.to_vec())
}

/// The records of a log file: a heading of 16 bytes, then checksum, length, bytes, and 'B'.
fn log(mut bytes: &[u8]) -> Vec<(TxnRecord, Vec<u8>)> {
    let mut records = Vec::new();
    bytes = &bytes[16..];
    while bytes.len() >= 12 {
        let len = u32::from_be_bytes(bytes[8..12].try_into().unwrap()) as usize;
        if len == 0 {
            break;
        }
        records.push(parse(&bytes[12..12 + len]));
        bytes = &bytes[12 + len + 1..];
    }
    records
}

#[test]
fn prep_writes_the_transactions_that_java_writes() {
    let hex = |line: &str| -> Vec<u8> {
        let byte = |i| u8::from_str_radix(&line[i..i + 2], 16).unwrap();
        (0..line.len()).step_by(2).map(byte).collect()
    };
    let txns = include_str!("golden/tree/txns.hex").lines();
    let records: Vec<_> = txns.map(|line| parse(&hex(line))).collect();
    for lag in [0, 1, 5, records.len()] {
        replay(&records, true, lag);
    }
}

#[test]
fn prep_writes_the_log_that_java_writes() {
    let plain = log(include_bytes!("golden/disk/plain/version-2/log.1"));
    assert!(plain.len() > 250, "{} records", plain.len());
    for lag in [0, 1, 17] {
        replay(&plain, true, lag);
    }
    let no_digest = log(include_bytes!("golden/disk/no-digest/version-2/log.1"));
    replay(&no_digest, false, 3);
}
