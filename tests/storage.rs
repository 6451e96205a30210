//! Data directories that Apache's Java server 3.9.5 has left behind (tests/golden/disk) are brought
//! back by our recovery, on real files.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use ironkeeper::storage::mem_disk::MemDisk;
use ironkeeper::storage::snap_store::{self, load_newest};
use ironkeeper::storage::{
    Compression, Disk, Layout, LogOptions, RealDisk, Recovered, RecoveryOptions, SnapshotOptions,
    StorageError, TxnLog, epoch, recover,
};
use ironkeeper::tree::{DataTree, NodeId, OwnerRules, TreeOptions};

/// A directory of its own, gone at the end.
struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Self {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let (pid, made) = (std::process::id(), MADE.fetch_add(1, Ordering::Relaxed));
        let dir = std::env::temp_dir().join(format!("ironkeeper-{name}-{pid}-{made}"));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).unwrap();
        Self(dir)
    }

    /// A copy of a golden data directory.
    fn golden(name: &str) -> Self {
        let dir = Self::new(name);
        let to = dir.0.join("version-2");
        fs::create_dir(&to).unwrap();
        for file in fs::read_dir(golden(name).join("version-2")).unwrap() {
            let file = file.unwrap();
            fs::copy(file.path(), to.join(file.file_name())).unwrap();
        }
        dir
    }

    fn layout(&self) -> Layout {
        Layout::new(&self.0, None)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/disk").join(name)
}

fn tree_options() -> TreeOptions {
    let owner_rules = OwnerRules { extended_types: true, ..OwnerRules::default() };
    TreeOptions { owner_rules, ..TreeOptions::default() }
}

fn recovered(dir: &Dir) -> Result<Recovered, StorageError> {
    let options = RecoveryOptions { tree: tree_options(), ..RecoveryOptions::default() };
    recover(&RealDisk, &dir.layout(), &options, &|| 0)
}

/// A tree as tests/interop/tree.py prints it.
fn dump(tree: &DataTree) -> Vec<String> {
    let mut lines = Vec::new();
    dump_below(tree, tree.root(), &mut lines);
    lines.sort();
    lines
}

fn dump_below(tree: &DataTree, id: NodeId, lines: &mut Vec<String>) {
    let node = tree.node(id);
    let s = node.stat();
    let acl: Vec<_> = tree
        .acl(node.acl_id())
        .iter()
        .map(|a| format!("{}:{}:{}", a.id.scheme, a.id.id, a.perms))
        .collect();
    let data = match node.data() {
        None => "null".to_string(),
        Some(data) => data.iter().fold("x".to_string(), |hex, b| format!("{hex}{b:02x}")),
    };
    let path = tree.path_of(id);
    lines.push(format!(
        "{path} {} czxid={} mzxid={} ctime={} mtime={} version={} cversion={} aversion={} \
         owner={} length={} children={} pzxid={} {data}",
        acl.join(","),
        s.czxid,
        s.mzxid,
        s.ctime,
        s.mtime,
        s.version,
        s.cversion,
        s.aversion,
        s.ephemeral_owner,
        s.data_length,
        s.num_children,
        s.pzxid,
    ));
    for child in tree.child_ids(id) {
        dump_below(tree, child, lines);
    }
}

/// What a client read from the Java server after its next start.
fn expected(name: &str) -> Vec<String> {
    fs::read_to_string(golden(name).join("tree.txt")).unwrap().lines().map(String::from).collect()
}

fn assert_same(ours: &[String], javas: &[String], what: &str) {
    for (ours, javas) in ours.iter().zip(javas) {
        assert_eq!(ours, javas, "{what}");
    }
    assert_eq!(ours.len(), javas.len(), "{what}");
}

#[test]
fn directories_of_the_java_server_come_back_whole() {
    for name in ["plain", "gz", "snappy", "no-digest"] {
        let dir = Dir::golden(name);
        let got = recovered(&dir).unwrap();
        assert_same(&dump(&got.tree), &expected(name), name);
        assert_eq!(got.stats.digest_mismatches, 0, "{name}");
        assert_eq!(got.snapshot.unwrap().zxid, 0x11d, "{name}");
        assert_eq!(got.last_zxid, 0x121, "{name}");
        let zxids: Vec<_> = got.committed.iter().map(|(zxid, _)| *zxid).collect();
        assert_eq!(zxids, [0x11e, 0x11f, 0x120, 0x121], "{name}");
    }
}

#[test]
fn without_its_newest_snapshot_the_logs_tell_the_same() {
    for name in ["plain", "gz", "snappy", "no-digest"] {
        let dir = Dir::golden(name);
        let newest = snap_store::snapshots(&RealDisk, &dir.layout().snap_dir()).unwrap().remove(0);
        fs::remove_file(newest.path).unwrap();
        let got = recovered(&dir).unwrap();
        assert_eq!(got.snapshot.unwrap().zxid, 0, "{name}");
        assert_same(&dump(&got.tree), &expected(name), name);
        assert_eq!(got.stats.digest_mismatches, 0, "{name}");
        assert_eq!(got.stats.txns, 0x121, "{name}");
        assert_eq!(got.committed.len(), 0x121, "{name}");
    }
}

#[test]
fn an_ensemble_members_directory_with_epochs_and_a_reconfig() {
    let dir = Dir::golden("reconfig");
    let got = recovered(&dir).unwrap();
    // On its next start the Java server wrote its own configuration into this node.
    let others = |lines: Vec<String>| -> Vec<String> {
        lines.into_iter().filter(|l| !l.starts_with("/zookeeper/config ")).collect()
    };
    assert_same(&others(dump(&got.tree)), &others(expected("reconfig")), "reconfig");
    assert_eq!(got.stats.digest_mismatches, 0);
    let epochs = epoch::load(&RealDisk, &dir.layout().snap_dir(), got.last_zxid).unwrap();
    assert_eq!((epochs.accepted, epochs.current), (1, 1));
}

#[test]
fn our_snapshots_come_back_whole() {
    let golden = Dir::golden("plain");
    let tree = recovered(&golden).unwrap().tree;
    for compression in [Compression::None, Compression::Gzip, Compression::Snappy] {
        for last_zxid in [true, false] {
            let dir = Dir::new(&format!("ours-{compression:?}-{last_zxid}"));
            let options = SnapshotOptions { compression, last_zxid };
            let saved = snap_store::save(&RealDisk, &dir.0, &tree.freeze(), options).unwrap();
            assert_eq!((saved.zxid, fs::metadata(&saved.path).unwrap().len()), (0x121, saved.size));
            assert_eq!(fs::read_dir(&dir.0).unwrap().count(), 1, "no temporary file stays");
            let (file, again) = load_newest(&RealDisk, &dir.0, tree_options()).unwrap().unwrap();
            assert_eq!(file, saved);
            assert_eq!(dump(&again), dump(&tree));
            assert_eq!((again.digest(), again.last_zxid()), (tree.digest(), 0x121));
            assert_eq!((again.digest_mismatches(), again.sessions()), (0, tree.sessions()));
        }
    }
}

/// Padding is a hole in the file, which is skipped; what stands behind a hole is not.
#[test]
fn what_follows_the_log_far_behind_its_end_is_seen_through_a_hole() {
    let dir = Dir::golden("plain");
    let logs = fs::read_dir(dir.0.join("version-2")).unwrap().map(|file| file.unwrap().path());
    let logs = logs.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with("log."));
    let log = fs::OpenOptions::new().write(true).open(logs.max().unwrap()).unwrap();
    log.set_len(256 << 20).unwrap();
    let last = recovered(&dir).unwrap().last_zxid;
    log.write_at(&[0; 9000], 100 << 20).unwrap();
    assert_eq!(recovered(&dir).unwrap().last_zxid, last, "zeros that were written are padding");
    log.write_at(b"x", (200 << 20) + 5000).unwrap();
    let error = recovered(&dir).unwrap_err().to_string();
    assert!(error.contains("too much follows it for the last write"), "{error}");
}

/// Past the system's cache, where that can be; a learner reads it through the cache meanwhile.
#[test]
fn what_is_logged_is_seen_at_once_by_who_reads_the_file() {
    for (preallocate, force_sync) in
        [(1 << 20, true), (17 << 10, true), (1 << 20, false), (0, true)]
    {
        let (dir, mem) = (Dir::new("direct"), MemDisk::new());
        mem.create_dir_all(&dir.0).unwrap();
        let options = LogOptions { preallocate, force_sync, size_limit: 0 };
        let mut logs = [RealDisk::shared(), mem.shared()]
            .map(|disk| TxnLog::new(disk, dir.0.clone(), options, 0));
        let path = dir.0.join("log.1");
        let mut reader = None;
        // Ends of records within a block, at its end, far behind it.
        for (zxid, len) in
            (1..).zip([40, 4096 - 16 - 53 - 13, 3, 4083, 12_275, 9_000, 100_000, 90, 700_000, 5])
        {
            let mut txn = vec![zxid as u8; len.max(32)];
            txn[12..20].copy_from_slice(&i64::to_be_bytes(zxid));
            let committed = logs.each_mut().map(|log| {
                log.append(zxid, &txn);
                let done = log.commit().unwrap();
                (done.bytes, done.file_size)
            });
            assert_eq!(committed[0], committed[1]);
            let reader = reader.get_or_insert_with(|| fs::File::open(&path).unwrap());
            let mut seen = vec![0; reader.metadata().unwrap().len() as usize];
            reader.read_exact_at(&mut seen, 0).unwrap();
            assert!(Some(seen) == mem.peek(&path), "{preallocate} {force_sync} {zxid}");
        }
    }
}

/// D-34: Java cannot read its own snapshot once digests have been switched off or on.
#[test]
fn digests_can_be_switched_on_and_off() {
    for name in ["plain", "no-digest"] {
        for digest_enabled in [true, false] {
            let dir = Dir::golden(name);
            let tree = TreeOptions { digest_enabled, ..tree_options() };
            let options = RecoveryOptions { tree, ..RecoveryOptions::default() };
            let got = recover(&RealDisk, &dir.layout(), &options, &|| 0).unwrap();
            assert_eq!(got.snapshot.unwrap().zxid, 0x11d, "{name} {digest_enabled}");
            assert_same(&dump(&got.tree), &expected(name), name);
            assert_eq!(got.stats.digest_mismatches, 0, "{name} {digest_enabled}");
        }
    }
}
