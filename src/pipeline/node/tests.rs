//! A node whose disk, peers and clients are this test.

use super::*;
use crate::quorum::leader::LAST_COUNTER;
use crate::tree::{Db, Seed, TreeOptions, Watches};
use crate::wire::election::ServerState;
use crate::wire::proto::ConnectRequest;
use crate::wire::quorum::{PROTOCOL_VERSION, packet, write_inform_and_activate};
use crate::wire::txn::{SetDataTxn, TxnHeader};
use crate::wire::{Reader, Record, Txn, TxnRecord, epoch_start};

const CONN: ConnId = ConnId(7);
const EPOCH: i64 = 1;
const FIRST: i64 = EPOCH << 32 | 1;

/// Server 1 votes; server 2 is what `role` says.
fn config(role: &str, version: i64) -> String {
    format!("server.1=h1:1:2:participant\nserver.2=h2:1:2:{role}\nversion={version:x}")
}

struct Bench {
    node: Node,
    db: Db,
    out: Outputs,
}

impl Bench {
    fn new(my_id: i64, members: &str) -> Self {
        let members = Arc::new(QuorumConfig::parse(members, false).unwrap());
        let metrics = Arc::new(ServerMetrics::default());
        let policy = SnapshotPolicy::new(100_000, 0, 0);
        let (accepted_epoch, current_epoch, last_logged, newest_snapshot) = (0, 0, 0, 0);
        let recent = CommittedLog::new(500);
        let boot = Boot { accepted_epoch, current_epoch, last_logged, newest_snapshot, recent };
        let node = Node::new(settings(my_id, members), metrics, policy, boot, NOW);
        let db = Db::new(DataTree::new(TreeOptions::default()), Watches::new(Seed(1, 2)));
        let mut bench = Self { node, db, out: Outputs::new(1, 0) };
        bench.node.start(Cx { db: &bench.db.read(), now: NOW }, &mut bench.out);
        bench
    }

    fn step(&mut self, event: Event) {
        self.node.step(event, Cx { db: &self.db.read(), now: NOW }, &mut self.out);
        if self.node.has_ready() {
            self.node.commit(&mut self.db.write(), NOW, &mut self.out);
        }
        self.node.end_batch(&mut self.out);
    }

    /// The log has done all it was told.
    fn log_done(&mut self) {
        self.step(Event::LogDone { token: self.node.next_token - 1 });
    }

    fn reload_ordered(&mut self) -> bool {
        std::mem::take(&mut self.out.log).iter().any(|order| matches!(order, LogOrder::Reload))
    }

    fn reloaded(&mut self) {
        let tree = Box::new(DataTree::new(TreeOptions::default()));
        self.step(Event::Reloaded { tree, recent: CommittedLog::new(500) });
    }

    fn vote(&mut self, from: i64, state: ServerState, config: Option<String>) {
        let notification = Notification {
            state,
            leader: from,
            zxid: 0,
            election_epoch: 1,
            peer_epoch: 0,
            version: 2,
            config,
        };
        self.step(Event::Vote { from, notification });
    }

    /// The zxid of the last vote sent.
    fn voted_for(&self) -> i64 {
        let zxid = |command: &Command| match command {
            Command::SendVote { notification, .. } => Some(notification.zxid),
            _ => None,
        };
        self.out.commands.iter().rev().find_map(zxid).expect("a vote")
    }

    /// Connects to the leader that it has found.
    fn connect(&mut self) -> LinkId {
        let link = |command: Command| match command {
            Command::ConnectLeader { link, .. } => Some(link),
            _ => None,
        };
        let link = self.out.commands.drain(..).filter_map(link).last().expect("it has a leader");
        self.step(Event::LeaderConnected { link });
        let version = PROTOCOL_VERSION.to_be_bytes();
        self.hear(link, QuorumPacket::new(packet::LEADERINFO, epoch_start(EPOCH), version));
        self.log_done();
        link
    }

    fn hear(&mut self, link: LinkId, packet: QuorumPacket) {
        self.step(Event::Link { link, event: LinkEvent::Packets(vec![packet]) });
    }

    /// What was sent to the leader since the last time.
    fn sent(&mut self, link: LinkId) -> Vec<(i32, i64)> {
        let commands = self.out.links.remove(&link).unwrap_or_default();
        let bytes = commands.into_iter().flat_map(|command| match command {
            LinkCommand::Bytes(bytes) => bytes,
            other => panic!("{other:?}"),
        });
        let bytes: Vec<u8> = bytes.collect();
        let mut reader = Reader::new(&bytes);
        let mut packets = Vec::new();
        while !reader.is_empty() {
            let packet = QuorumPacket::read(&mut reader).expect("a packet");
            packets.push((packet.kind, packet.zxid));
        }
        packets
    }

    /// A client brings its session.
    fn reopen(&mut self) -> Vec<ToIo> {
        let session_id = 0x1_0000_0000_0005;
        let request = ConnectRequest {
            protocol_version: 0,
            last_zxid_seen: 0,
            timeout: 10_000,
            session_id,
            passwd: Some(generate_password(session_id).into()),
            read_only: None,
        };
        let addr = std::net::IpAddr::from([127, 0, 0, 1]);
        self.step(Event::Io(vec![IoEvent::Connect { conn: CONN, addr, request }]));
        let mut told = Vec::new();
        self.out.io.drain(|_, message| told.push(message));
        told
    }
}

const NOW: Now = Now { mono: 1_000, wall: 1_700_000_000_000 };

/// An observer keeps no log.
fn settings(my_id: i64, members: Arc<QuorumConfig>) -> NodeSettings {
    NodeSettings {
        my_id,
        tick_ms: 2_000,
        init_limit: 10,
        sync_limit: 5,
        commit_log_count: 500,
        io_threads: 1,
        quorum: Some(QuorumSettings {
            config: members,
            last_seen: None,
            client_address: None,
            election: election::Settings {
                reconfig_enabled: true,
                ..election::Settings::new(my_id)
            },
        }),
        auth: Arc::new(auth::Registry::new(&auth::AuthConfig::default()).unwrap()),
        prep: super::super::prep::PrepOptions {
            enforce_quota: false,
            close_session_txn: true,
            reconfig: true,
            standalone: true,
            multi_address: false,
            max_txn: 2 << 20,
        },
        local_sessions: false,
        local_sessions_upgrading: false,
        read_only_mode: false,
        container_check_ms: 60_000,
        container_max_per_minute: 10_000,
        container_max_never_used_ms: 0,
        eager_acl_check: false,
        leader_serves: true,
        observers: ObserverSettings {
            master_port: None,
            reconnect_delay_ms: 0,
            election_delay_ms: 0,
            log: false,
        },
        snapshot_size_factor: 0.33,
        force_snapshot_sync: false,
        sync_limits: SyncLimits::default(),
        last_counter: LAST_COUNTER,
    }
}

fn txn(zxid: i64, txn: Txn) -> Vec<u8> {
    let header = TxnHeader { client_id: 1, cxid: 1, zxid, time: 0, op: txn.op() };
    TxnRecord { header, txn, digest: None }.to_bytes()
}

/// An observer that is in step and has one transaction, in memory.
fn observer() -> (Bench, LinkId) {
    let mut bench = Bench::new(2, &config("observer", 0));
    bench.vote(1, ServerState::Leading, None);
    let link = bench.connect();
    assert_eq!(bench.sent(link), [(packet::OBSERVERINFO, 0), (packet::ACKEPOCH, 0)]);
    bench.hear(link, QuorumPacket::bare(packet::DIFF, 0));
    bench.hear(link, QuorumPacket::bare(packet::NEWLEADER, epoch_start(EPOCH)));
    bench.log_done();
    bench.hear(link, QuorumPacket::bare(packet::UPTODATE, -1));
    let first = txn(FIRST, Txn::Error(-101));
    bench.hear(link, QuorumPacket::new(packet::INFORM, FIRST, first));
    assert_eq!(bench.node.appended, FIRST);
    bench.out.log.clear();
    (bench, link)
}

#[test]
fn an_observer_without_a_log_that_becomes_a_voter_has_what_its_disk_has() {
    let (mut bench, link) = observer();
    let (path, text) = ("/zookeeper/config".to_owned(), config("participant", FIRST + 1));
    let data = Some(text.into_bytes().into());
    let reconfig = txn(FIRST + 1, Txn::Reconfig(SetDataTxn { path, data, version: -1 }));
    let data = write_inform_and_activate(1, &reconfig);
    bench.hear(link, QuorumPacket::new(packet::INFORM_AND_ACTIVATE, FIRST + 1, data));
    assert!(bench.reload_ordered());
    bench.reloaded();
    let link = bench.connect();
    // Of an epoch that it had accepted as an observer.
    assert_eq!(
        bench.sent(link),
        [(packet::FOLLOWERINFO, epoch_start(EPOCH)), (packet::ACKEPOCH, 0)]
    );
}

#[test]
fn an_observer_without_a_log_learns_in_an_election_that_it_votes() {
    let (mut bench, link) = observer();
    let reason = String::new();
    bench.step(Event::Link { link, event: LinkEvent::Closed { reason } });
    assert!(!bench.reload_ordered(), "an observer goes on with what it has");
    bench.log_done();
    let newer = || Some(config("participant", FIRST + 1));
    bench.vote(1, ServerState::Looking, newer());
    assert!(bench.reload_ordered());
    bench.vote(1, ServerState::Looking, newer());
    assert!(!bench.reload_ordered(), "once is enough");
    bench.reloaded();
    bench.vote(1, ServerState::Looking, newer());
    assert_eq!(bench.voted_for(), 0);
}

#[test]
fn a_session_is_not_judged_before_there_is_somebody_to_judge_it() {
    let closed = |told: &[ToIo]| {
        matches!(told, [ToIo::Close { conn: CONN, reason: CloseReason::NotServing }])
    };
    // One voter: it leads, and has no epoch yet.
    let mut bench = Bench::new(1, &config("observer", 0));
    assert!(matches!(&bench.node.role, Role::Leading(l) if l.authority.is_none()));
    let told = bench.reopen();
    assert!(closed(&told), "{told:?}");

    let mut bench = Bench::new(2, &config("observer", 0));
    bench.vote(1, ServerState::Leading, None);
    let link = bench.connect();
    bench.sent(link);
    let told = bench.reopen();
    assert!(closed(&told), "{told:?}");
    assert_eq!(bench.sent(link), []);
}
