//! Recovery: every state a directory can be in, and a server that is cut off from power again and
//! again while it logs, snapshots, purges, truncates and fetches snapshots.

use std::path::PathBuf;

use super::*;
use crate::storage::error::StorageError;
use crate::storage::log_worker::{LogCommand, LogEvent, LogWorker};
use crate::storage::mem_disk::{Fault, MemDisk, Unsynced};
use crate::storage::{LogOptions, layout, purge};
use crate::wire::txn::CreateTxn;
use crate::wire::{Acl, Txn, TxnDigest, TxnHeader, code, epoch_start};

const LOG: LogOptions = LogOptions { preallocate: 8192, force_sync: true, size_limit: 0 };

fn dirs() -> Layout {
    Layout::new("/d", Some("/l".into()))
}

fn recovered(mem: &MemDisk) -> Result<Recovered> {
    recover(mem, &dirs(), &RecoveryOptions::default(), &|| 0)
}

fn worker(mem: &MemDisk, last_zxid: i64) -> LogWorker {
    LogWorker::new(mem.shared(), dirs(), LOG, SnapshotOptions::default(), last_zxid)
}

/// What a server logs and applies: it creates `/n<hex zxid>`.
fn create(tree: &mut DataTree, zxid: i64, data: &str) -> Arc<[u8]> {
    let header = TxnHeader { client_id: 1, cxid: 2, zxid, time: 3, op: code::CREATE };
    let txn = Txn::Create(CreateTxn {
        path: format!("/n{zxid:x}"),
        data: Some(data.as_bytes().into()),
        acl: Acl::open_unsafe().into(),
        ephemeral: false,
        parent_cversion: -1,
    });
    tree.apply(&header, &txn, &mut |_| {});
    let digest = Some(TxnDigest { version: 2, digest: tree.digest() });
    TxnRecord { header, txn, digest }.to_bytes().into()
}

/// The transactions whose nodes a tree has: zxid and data, by zxid.
fn history(tree: &DataTree) -> Vec<(i64, String)> {
    let mut found = Vec::new();
    for id in tree.child_ids(tree.root()) {
        let node = tree.node(id);
        if let Some(hex) = node.name().strip_prefix('n') {
            let data = String::from_utf8(node.data().unwrap().to_vec()).unwrap();
            found.push((i64::from_str_radix(hex, 16).unwrap(), data));
        }
    }
    found.sort();
    found
}

/// A disk on which 1..=n were logged and snapshots taken at the given zxids.
fn written(n: i64, snapshots: &[i64]) -> MemDisk {
    let mem = MemDisk::new();
    let mut tree = recovered(&mem).unwrap().tree;
    let mut worker = worker(&mem, 0);
    for zxid in 1..=n {
        let txn = create(&mut tree, zxid, "x");
        let mut commands = vec![LogCommand::Append { zxid, txn }, LogCommand::Flush(1)];
        if snapshots.contains(&zxid) {
            commands.push(LogCommand::Roll);
            let dir = dirs().snap_dir();
            let options = SnapshotOptions::default();
            snap_store::save(&mem, &dir, &tree.freeze(), options).unwrap();
        }
        worker.execute(commands, &mut Vec::new()).unwrap();
    }
    mem
}

fn names(mem: &MemDisk, dir: PathBuf) -> Vec<String> {
    layout::list(mem, &dir).unwrap().into_iter().map(|e| e.name).collect()
}

#[test]
fn a_first_start_writes_a_first_snapshot() {
    let mem = MemDisk::new();
    mem.poke(&dirs().initialize(), 0, b"");
    let first = recovered(&mem).unwrap();
    assert_eq!((first.last_zxid, first.stats.txns), (0, 0));
    mem.crash(Unsynced::Lost);
    assert_eq!(names(&mem, dirs().snap_dir()), ["snapshot.0"]);
    assert!(mem.peek(&dirs().initialize()).is_none(), "the marker counts once");
    assert_eq!(recovered(&mem).unwrap().snapshot.unwrap().zxid, 0);
}

#[test]
fn as_many_transactions_are_kept_as_wanted() {
    let mem = written(5, &[]);
    for (committed_log, kept) in [(0, 0..0), (2, 4..6), (9, 1..6)] {
        let options = RecoveryOptions { committed_log, ..RecoveryOptions::default() };
        let got = recover(&mem, &dirs(), &options, &|| 0).unwrap();
        assert!(got.committed.iter().map(|(zxid, _)| *zxid).eq(kept), "{:?}", got.committed);
    }
}

#[test]
fn an_empty_directory_is_doubted_without_autocreate() {
    let options = RecoveryOptions { create_db: false, ..RecoveryOptions::default() };
    for (marker, last_zxid) in [(false, -1), (true, 0)] {
        let mem = MemDisk::new();
        if marker {
            mem.poke(&dirs().initialize(), 0, b"");
        }
        let got = recover(&mem, &dirs(), &options, &|| 0).unwrap();
        assert_eq!((got.last_zxid, got.tree.last_zxid()), (last_zxid, last_zxid));
        assert_eq!(got.snapshot.is_some(), marker);
    }
}

#[test]
fn zookeeper_2325_3056_logs_without_a_snapshot() {
    let mem = written(3, &[]);
    mem.remove(&dirs().snap_dir().join("snapshot.0")).unwrap();
    let error = recovered(&mem).unwrap_err().to_string();
    assert!(error.contains("No snapshot found, but there are log entries."), "{error}");
    assert!(error.contains("the logs go up to 0x3"), "{error}");
    let options = RecoveryOptions { trust_empty: true, ..RecoveryOptions::default() };
    let got = recover(&mem, &dirs(), &options, &|| 0).unwrap();
    assert_eq!((got.last_zxid, got.snapshot), (3, None));
    assert_eq!(history(&got.tree).len(), 3);
}

#[test]
fn a_damaged_snapshot_is_skipped_if_the_logs_make_up_for_it() {
    let mem = written(9, &[3, 6]);
    mem.poke(&dirs().snap_dir().join("snapshot.6"), 300, b"rot");
    let got = recovered(&mem).unwrap();
    assert_eq!((got.snapshot.unwrap().zxid, got.last_zxid), (3, 9));
    assert_eq!((got.stats.txns, got.stats.log_files), (6, 2));
    // Without the log in between, what the snapshot held is lost.
    mem.remove(&dirs().log_dir().join("log.4")).unwrap();
    assert!(matches!(recovered(&mem), Err(StorageError::Gap { last: 3, next: 7, .. })));
}

#[test]
fn when_all_snapshots_are_damaged_nothing_starts() {
    let mem = written(3, &[3]);
    for name in ["snapshot.0", "snapshot.3"] {
        mem.poke(&dirs().snap_dir().join(name), 200, b"rot");
    }
    assert!(matches!(recovered(&mem), Err(StorageError::NoValidSnapshot { newest: 3, .. })));
    mem.remove(&dirs().snap_dir().join("snapshot.0")).unwrap();
    let mut file = mem.open_write(&dirs().snap_dir().join("snapshot.3")).unwrap();
    file.set_len(100).unwrap();
    for log in names(&mem, dirs().log_dir()) {
        mem.remove(&dirs().log_dir().join(log)).unwrap();
    }
    assert!(matches!(recovered(&mem), Err(StorageError::NoValidSnapshot { newest: 3, .. })));
}

#[test]
fn the_end_of_the_log_is_made_good() {
    // A file with a header only, one of zeros, an empty one: gone, so that their names are free.
    let header = b"ZKLG\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00\x00";
    for bytes in [&b""[..], &[0; 4096], header] {
        let mem = written(3, &[]);
        mem.poke(&dirs().log_dir().join("log.4"), 0, bytes);
        assert_eq!(recovered(&mem).unwrap().last_zxid, 3);
        assert_eq!(names(&mem, dirs().log_dir()), ["log.1"]);
    }
    // Half a record: cut off, whole records stay.
    let mem = written(3, &[]);
    let path = dirs().log_dir().join("log.1");
    let whole = mem.peek(&path).unwrap().iter().rposition(|b| *b != 0).unwrap() + 1;
    mem.open_write(&path).unwrap().set_len(whole as u64 - 7).unwrap();
    assert_eq!(recovered(&mem).unwrap().last_zxid, 2);
    let again = mem.peek(&path).unwrap();
    assert_eq!(recovered(&mem).unwrap().last_zxid, 2);
    assert_eq!(again.last(), Some(&b'B'));
}

#[test]
fn what_was_read_at_a_start_is_durable_from_then_on() {
    let mem = written(3, &[]);
    let mut tree = recovered(&mem).unwrap().tree;
    let mut worker = worker(&mem, 3);
    let txn = create(&mut tree, 4, "x");
    // Create, extend, write, zeros ahead – and killed before the sync.
    mem.fail(5, Fault::Io);
    let flush = vec![LogCommand::Append { zxid: 4, txn }, LogCommand::Flush(1)];
    assert!(worker.execute(flush, &mut Vec::new()).is_err());
    assert_eq!(recovered(&mem).unwrap().last_zxid, 4);
    mem.crash(Unsynced::Lost);
    assert_eq!(recovered(&mem).unwrap().last_zxid, 4);
}

#[test]
fn a_record_that_makes_no_sense_is_refused() {
    let mem = written(1, &[]);
    let mut log = crate::storage::TxnLog::new(mem.shared(), dirs().log_dir(), LOG, 1);
    let mut bytes = vec![0; 40];
    bytes[19] = 2;
    log.append(2, &bytes);
    log.commit().unwrap();
    let error = recovered(&mem).unwrap_err().to_string();
    assert!(error.contains("/l/version-2/log.2 is damaged at byte 16: transaction 0x2"), "{error}");
}

#[test]
fn what_a_learner_lacks_is_read_from_what_it_has() {
    let mem = written(9, &[3, 6]);
    let behind = |zxid| -> Result<Option<Vec<i64>>> {
        let Some(mut cursor) = LogCursor::at(&mem, &dirs().log_dir(), zxid)? else {
            return Ok(None);
        };
        let mut zxids = Vec::new();
        while cursor.advance(&mem)? {
            zxids.push(cursor.record().zxid);
        }
        Ok(Some(zxids))
    };
    assert_eq!(behind(2).unwrap(), Some(vec![3, 4, 5, 6, 7, 8, 9]));
    assert_eq!(behind(9).unwrap(), Some(vec![]));
    for absent in [0, 10, epoch_start(1), epoch_start(1) | 1] {
        assert_eq!(behind(absent).unwrap(), None, "0x{absent:x}");
    }
    mem.remove(&dirs().log_dir().join("log.4")).unwrap();
    assert!(behind(2).is_err(), "ZOOKEEPER-2846: a hole");
    assert_eq!(behind(7).unwrap(), Some(vec![8, 9]));
}

#[test]
fn zookeeper_4837_truncating_takes_newer_snapshots_along() {
    let mem = written(9, &[3, 6]);
    let mut worker = worker(&mem, 9);
    let mut events = Vec::new();
    worker.execute([LogCommand::Truncate { zxid: 5, token: 7 }], &mut events).unwrap();
    assert_eq!(events, [LogEvent::Durable(7)]);
    mem.crash(Unsynced::Lost);
    assert_eq!(names(&mem, dirs().snap_dir()), ["snapshot.0", "snapshot.3"]);
    let got = recovered(&mem).unwrap();
    assert_eq!((got.last_zxid, history(&got.tree).len()), (5, 5));
}

#[test]
fn truncating_to_what_is_unknown_changes_nothing() {
    let mem = written(9, &[3, 6]);
    mem.remove(&dirs().snap_dir().join("snapshot.0")).unwrap();
    let before = mem.ops();
    for zxid in [2, epoch_start(1) | 7] {
        let truncate = LogCommand::Truncate { zxid, token: 1 };
        let error = worker(&mem, 9).execute([truncate], &mut Vec::new()).unwrap_err().to_string();
        assert!(
            error.starts_with(&format!("cannot truncate the log in /l/version-2 to 0x{zxid:x}"))
        );
    }
    assert_eq!(mem.ops(), before);
}

/// A leader may send all of its tree though this server's log goes further: what nobody committed.
#[test]
fn a_fetched_snapshot_takes_the_place_of_a_longer_log() {
    let mem = written(9, &[3, 6]);
    let mut tree = DataTree::new(TreeOptions::default());
    (1..=5).for_each(|zxid| drop(create(&mut tree, zxid, "leader's")));
    let (mut worker, mut events) = (worker(&mem, 9), Vec::new());
    let install = LogCommand::InstallSnapshot { tree: Box::new(tree.freeze()), token: 7 };
    let append = LogCommand::Append { zxid: 6, txn: create(&mut tree, 6, "leader's") };
    worker.execute([install, append, LogCommand::Flush(8)], &mut events).unwrap();
    assert!(matches!(&events[0], LogEvent::SnapshotInstalled(s) if s.zxid == 5), "{events:?}");
    assert_eq!(
        (&events[1], events.last().unwrap()),
        (&LogEvent::Durable(7), &LogEvent::Durable(8))
    );
    mem.crash(Unsynced::Lost);
    let got = recovered(&mem).unwrap();
    assert_eq!((got.snapshot.unwrap().zxid, got.last_zxid), (5, 6));
    assert!(history(&got.tree).iter().all(|(_, data)| data == "leader's"));
    assert_eq!(names(&mem, dirs().snap_dir()), ["snapshot.0", "snapshot.3", "snapshot.5"]);
}

#[test]
fn snapshots_are_due_between_half_and_all_of_the_count() {
    use crate::storage::SnapshotPolicy;
    for random in [0, 7, 12_345_678_901] {
        let mut policy = SnapshotPolicy::new(100, 0, random);
        let logged = |policy: &mut SnapshotPolicy, txns, bytes| {
            policy.logged(txns, bytes);
            policy.is_due(4_000)
        };
        let due = 1 + (0..).take_while(|_| !logged(&mut policy, 1, 20)).count();
        assert_eq!(due as u64, 50 + random % 50 + 1);
        policy.snapshot_taken(0);
        assert!(!logged(&mut policy, 1, 1 << 40), "no limit in bytes");
        assert!(logged(&mut policy, 50, 0));
    }
    let mut policy = SnapshotPolicy::new(100_000, 1 << 20, 0);
    policy.logged(1, 1 << 19);
    assert!(!policy.is_due(0));
    policy.logged(1, 1);
    assert!(policy.is_due(1 << 40), "the limit in bytes holds whatever the snapshot costs");
    // The least that Java allows is 2.
    let mut policy = SnapshotPolicy::new(0, 0, 1);
    policy.logged(1, 1);
    assert!(!policy.is_due(0));
}

#[test]
fn a_big_tree_waits_for_a_log_that_is_worth_a_snapshot() {
    use crate::storage::SnapshotPolicy;
    let mut policy = SnapshotPolicy::new(100, 0, 0);
    policy.logged(1_000, 9_999);
    assert!(!policy.is_due(40_000));
    policy.logged(1, 1);
    assert!(policy.is_due(40_000));
}

#[test]
fn many_appends_are_one_write_and_one_sync() {
    let mem = written(1, &[]);
    let mut tree = recovered(&mem).unwrap().tree;
    let mut worker = worker(&mem, 1);
    let mut commands = Vec::new();
    for zxid in 2..=100 {
        commands.push(LogCommand::Append { zxid, txn: create(&mut tree, zxid, "x") });
        commands.push(LogCommand::Flush(zxid as u64));
    }
    let (before, mut events) = (mem.ops(), Vec::new());
    worker.execute(commands, &mut events).unwrap();
    assert_eq!(mem.ops() - before, 6, "create, extend, write, zeros, fdatasync, directory");
    assert!(matches!(events[0], LogEvent::Committed(c) if c.bytes > 99 * 100));
    assert_eq!(events[1..], (2..=100).map(LogEvent::Durable).collect::<Vec<_>>());
}

/// A server in the hands of a random generator.
struct Server {
    mem: MemDisk,
    tree: DataTree,
    worker: LogWorker,
    /// What was appended; of these, so many were reported durable.
    log: Vec<(i64, String)>,
    durable: usize,
    /// What a snapshot being installed would make of the log.
    installing: Option<Vec<(i64, String)>>,
    random: u64,
}

impl Server {
    fn start(mem: &MemDisk, random: u64) -> Result<Self> {
        let got = recovered(mem)?;
        assert_eq!(got.stats.digest_mismatches, 0);
        let worker = worker(mem, got.last_zxid);
        let log = history(&got.tree);
        let (mem, tree, durable) = (mem.clone(), got.tree, log.len());
        Ok(Self { mem, tree, worker, log, durable, installing: None, random })
    }

    fn random(&mut self, n: u64) -> u64 {
        self.random =
            self.random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.random >> 33) % n
    }

    fn execute(&mut self, commands: Vec<LogCommand>) -> Result<()> {
        let mut events = Vec::new();
        let done = self.worker.execute(commands, &mut events);
        if events.contains(&LogEvent::Durable(1)) {
            self.durable = self.log.len();
        }
        done
    }

    fn append(&mut self, round: u64) -> Result<()> {
        let mut commands = Vec::new();
        for _ in 0..1 + self.random(4) {
            let zxid = match self.random(20) {
                0 => epoch_start(crate::wire::epoch_of(self.tree.last_zxid()) + 1) + 1,
                _ => self.tree.last_zxid() + 1,
            };
            let data = format!("{round} {}", "-".repeat(self.random(1500) as usize));
            let txn = create(&mut self.tree, zxid, &data);
            commands.push(LogCommand::Append { zxid, txn });
            self.log.push((zxid, data));
        }
        if self.random(2) == 0 {
            commands.push(LogCommand::Flush(1));
        }
        self.execute(commands)
    }

    fn snapshot(&mut self) -> Result<()> {
        // Only what is committed may be in a snapshot; here that is what is durable.
        self.execute(vec![LogCommand::Flush(1), LogCommand::Roll])?;
        let (dir, options) = (dirs().snap_dir(), SnapshotOptions::default());
        snap_store::save(&self.mem, &dir, &self.tree.freeze(), options)?;
        if self.random(2) == 0 {
            for old in purge::old_files(&self.mem, &dirs().log_dir(), &dir, 3)? {
                purge::remove(&self.mem, &old)?;
            }
        }
        Ok(())
    }

    /// Fetches a leader's tree: other transactions, from a later epoch.
    fn install(&mut self, round: u64) -> Result<()> {
        let mut tree = DataTree::new(TreeOptions::default());
        let epoch = crate::wire::epoch_of(self.tree.last_zxid()) + 1;
        let mut log = Vec::new();
        for counter in 1..=3 {
            let (zxid, data) = (epoch_start(epoch) + counter, format!("{round} leader's"));
            create(&mut tree, zxid, &data);
            log.push((zxid, data));
        }
        self.installing = Some(log.clone());
        let fetched = Box::new(tree.freeze());
        self.execute(vec![LogCommand::InstallSnapshot { tree: fetched, token: 2 }])?;
        (self.tree, self.log, self.durable) = (tree, log, 3);
        self.installing = None;
        Ok(())
    }

    /// Forgets the end of the log, as a leader may order.
    fn truncate(&mut self) -> Result<()> {
        self.execute(vec![LogCommand::Flush(1)])?;
        let keep = self.log.len().saturating_sub(1 + self.random(3) as usize);
        let Some((zxid, _)) = self.log[..keep].last().cloned() else { return Ok(()) };
        self.durable = keep;
        match self.execute(vec![LogCommand::Truncate { zxid, token: 2 }]) {
            // The purge has left nothing to go back to.
            Err(StorageError::Truncate { .. }) => return Ok(()),
            done => done?,
        }
        let again = Self::start(&self.mem, self.random)?;
        assert_eq!(again.log, self.log[..keep]);
        *self = again;
        Ok(())
    }

    fn act(&mut self, round: u64) -> Result<()> {
        match self.random(12) {
            0..8 => self.append(round),
            8 | 9 => self.snapshot(),
            10 => self.truncate(),
            _ => self.install(round),
        }
    }
}

#[test]
fn a_server_that_loses_power_again_and_again_keeps_what_it_has_acknowledged() {
    let mut restarts = 0;
    for seed in 0..30u64 {
        let mem = MemDisk::new();
        let mut random = seed;
        for round in 0..12 {
            let mut server = Server::start(&mem, random)
                .unwrap_or_else(|e| panic!("seed {seed} round {round}: {e}"));
            let nth = 1 + server.random(60);
            mem.fail(nth, Fault::PowerCut);
            while server.act(round).is_ok() {}
            let how = match server.random(4) {
                0 => Unsynced::Lost,
                1 => Unsynced::Kept,
                _ => Unsynced::Some(seed * 100 + round),
            };
            mem.crash(how);
            let again = recovered(&mem)
                .unwrap_or_else(|e| panic!("seed {seed} round {round} op {nth} {how:?}: {e}"));
            let (got, Server { log, durable, installing, .. }) = (history(&again.tree), &server);
            let old = log.starts_with(&got) && got.len() >= *durable;
            assert!(
                old || installing.as_ref() == Some(&got),
                "seed {seed} round {round} op {nth} {how:?}: {durable} durable of {log:?}, {got:?}"
            );
            assert_eq!(again.last_zxid, got.last().map_or(0, |(zxid, _)| *zxid));
            random = server.random;
            restarts += 1;
        }
    }
    assert_eq!(restarts, 30 * 12);
}
