//! What a million nodes cost. Slow without optimisation, so run by hand:
//! `cargo test --release --test tree_memory -- --ignored --nocapture`

use std::time::{Duration, Instant};

use ironkeeper::tree::*;
use ironkeeper::wire::txn::{CreateTxn, SetDataTxn};
use ironkeeper::wire::{Acl, Txn, TxnHeader};

fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

struct Writer {
    tree: DataTree,
    slowest: Duration,
}

impl Writer {
    fn apply(&mut self, txn: &Txn) {
        let zxid = self.tree.last_zxid() + 1;
        let header = TxnHeader { client_id: 1, cxid: 1, zxid, time: zxid, op: txn.op() };
        let start = Instant::now();
        let applied = self.tree.apply(&header, txn, &mut |_| {});
        self.slowest = self.slowest.max(start.elapsed());
        assert_eq!(applied.err, 0, "{txn:?}");
    }
}

#[test]
#[ignore = "takes a while, and wants an optimised build"]
fn a_million_nodes_fit_into_250_megabytes() {
    let before = resident_bytes();
    let tree = DataTree::new(TreeOptions::default());
    let mut writer = Writer { tree, slowest: Duration::ZERO };
    let create = |path: String, data: &[u8]| {
        let (data, acl) = (Some(data.into()), Acl::open_unsafe().into());
        Txn::Create(CreateTxn { path, data, acl, ephemeral: false, parent_cversion: -1 })
    };
    let path = |i: usize| format!("/parent-{:03}/name-{i:08}", i % 1000);
    (0..1000).for_each(|i| writer.apply(&create(format!("/parent-{i:03}"), b"")));
    let start = Instant::now();
    (0..1_000_000).for_each(|i| writer.apply(&create(path(i), &[b'x'; 100])));
    println!("create: {:?} a node, slowest {:?}", start.elapsed() / 1_000_000, writer.slowest);
    let used = resident_bytes() - before;
    println!("memory: {} MB, {} bytes a node", used / 1_000_000, used / 1_001_000);

    let start = Instant::now();
    let found =
        (0..1_000_000).filter(|&i| writer.tree.lookup(&path(i * 7919 % 1_000_000)).is_some());
    assert_eq!(found.count(), 1_000_000);
    println!(
        "lookup: {:?} a path of two names, formatting it included",
        start.elapsed() / 1_000_000
    );

    let set = |i: usize| {
        let data = Some(vec![b'y'; 100].into());
        Txn::SetData(SetDataTxn { path: path(i), data, version: 1 })
    };
    let start = Instant::now();
    let frozen = writer.tree.freeze();
    println!("freeze: {:?}", start.elapsed());
    writer.slowest = Duration::ZERO;
    for (what, times) in [("first", 1000), ("next", 1000)] {
        let start = Instant::now();
        (0..times).for_each(|i| writer.apply(&set(i * 997)));
        println!(
            "set, {what} time after: {:?}, slowest {:?}",
            start.elapsed() / 1000,
            writer.slowest
        );
    }
    let start = Instant::now();
    let (mut walk, mut bytes) = (frozen.walk(), 0);
    while let Some(node) = walk.next_node() {
        bytes += node.path.len() + node.data.map_or(0, <[u8]>::len);
    }
    println!("walk: {:?} for {bytes} bytes of paths and data", start.elapsed());
    assert!(used <= 250_000_000, "{used} bytes for a million nodes");
}
