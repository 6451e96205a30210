//! Transactions that a Java server 3.9.5 logged, with the digests it computed: applying them must
//! give its tree, node by node, and its digests, one by one.
//! How they were made: tests/golden/tree/Record.java.

use ironkeeper::tree::*;
use ironkeeper::wire::{Reader, Record, TxnRecord};

fn records() -> Vec<TxnRecord> {
    let parse = |line: &str| {
        let byte = |i| u8::from_str_radix(&line[i..i + 2], 16).unwrap();
        let bytes: Vec<u8> = (0..line.len()).step_by(2).map(byte).collect();
        TxnRecord::read(&mut Reader::new(&bytes)).unwrap()
    };
    include_str!("golden/tree/txns.hex").lines().map(parse).collect()
}

fn options() -> TreeOptions {
    let owner_rules = OwnerRules { extended_types: true, emulate_353: false };
    TreeOptions { digest_enabled: true, owner_rules, seed: Seed(1, 2) }
}

/// The tree in the words of Record.java.
fn dump(tree: &DataTree, id: NodeId, out: &mut String) {
    let (node, s) = (tree.node(id), tree.node(id).stat());
    let data = match node.data() {
        None => "null".into(),
        Some(b"") => "empty".into(),
        Some(data) => String::from_utf8_lossy(data),
    };
    *out += &format!(
        "{} {data} v={} cv={} av={} owner={:x} len={} n={} z={},{},{}\n",
        tree.path_of(id),
        s.version,
        s.cversion,
        s.aversion,
        s.ephemeral_owner,
        s.data_length,
        s.num_children,
        s.czxid,
        s.mzxid,
        s.pzxid
    );
    let mut children: Vec<NodeId> = tree.child_ids(id).collect();
    children.sort_unstable_by_key(|&child| tree.node(child).name());
    for child in children {
        dump(tree, child, out);
    }
}

#[test]
fn java_s_transactions_give_java_s_tree_and_digests() {
    let mut tree = DataTree::new(options());
    assert_eq!((tree.node_count(), tree.approximate_data_size()), (5, 44), "an empty server's");
    let mut digests = 0;
    for record in records() {
        tree.apply_record(&record, &mut |_| {});
        let zxid = record.header.zxid;
        assert_eq!(tree.last_zxid(), zxid);
        if let Some(expected) = &record.digest {
            assert_eq!(tree.digest(), expected.digest, "digest after zxid {zxid}: {record:?}");
            digests += 1;
        }
    }
    assert_eq!((digests, tree.digest_mismatches()), (34, 0), "all but the error have one");
    let mut text = String::new();
    dump(&tree, tree.root(), &mut text);
    assert_eq!(text, include_str!("golden/tree/tree.txt"));
    // What the server's mntr said of the same tree.
    assert_eq!((tree.node_count(), tree.ephemerals_count()), (20, 2));
    assert_eq!(tree.approximate_data_size(), 245);
    assert_eq!(tree.sessions().len(), 1);
}

#[test]
fn a_digest_that_differs_is_counted() {
    let mut tree = DataTree::new(options());
    let mut records = records();
    records[4].digest.as_mut().unwrap().digest += 1;
    records[5].digest.as_mut().unwrap().version = 1;
    records.iter().for_each(|r| _ = tree.apply_record(r, &mut |_| {}));
    assert_eq!(tree.digest_mismatches(), 1);
}
