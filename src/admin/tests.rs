//! The texts held against what Java 3.9.5 answered; `tests/golden/README.md` says in which state.

use std::collections::BTreeMap;
use std::fs;

use super::monitor::{Facts, Quota, TreeFacts, mntr};
use super::{conf, connections, full_version, java_text, sessions, words};
use crate::config::{Config, load};
use crate::metrics::{Basics, Sizes, Totals};
use crate::net::{ConnInfo, NetTotals, Serving};
use crate::pipeline::ConnId;
use crate::pipeline::node::{LearnerReport, NodeReport, RoleReport};
use crate::session::{ExpiryDump, GlobalDump, SessionDump};
use crate::tree::{DataTree, Db, OwnerRules, Seed, TreeOptions, WatchKind, WatcherId, Watches};
use crate::wire::txn::CreateTxn;
use crate::wire::{Txn, TxnHeader};

macro_rules! golden {
    ($name:literal) => {
        include_str!(concat!("../../tests/golden/words/", $name))
    };
}

const JAVA_VERSION: &str =
    "3.9.5-293c895a8d966a3ecb92872be4a1daf87d725da2, built on 2026-02-11 20:18 UTC";

/// Java's answer with our version in it.
fn ours(java: &str) -> String {
    java.replace(JAVA_VERSION, &full_version())
}

/// Lines without the moments in them, sorted: within a set Java has the order of a hash table.
fn lines(text: &str) -> Vec<String> {
    let timeless = |line: &str| match line.split_once(" expire at ") {
        Some((count, _)) => format!("{count} expire at TIME:"),
        None => line.to_owned(),
    };
    let mut lines: Vec<String> = text.lines().map(timeless).collect();
    lines.sort_unstable();
    lines
}

const A: i64 = 0x100_0046_507f_0000;
const B: i64 = 0x100_0046_507f_0001;

fn connection(port: u16, session: i64) -> ConnInfo {
    ConnInfo {
        id: ConnId(u64::from(port)),
        peer: ([127, 0, 0, 1], port).into(),
        interest_ops: u8::from(session != 0),
        queued: 0,
        received: 1,
        sent: 0,
        session,
        last_op: "NA",
        established: 0,
        expires: if session == B { 20_000 } else { 10_000 },
        timeout_ms: 0,
        last_cxid: -1,
        last_zxid: -1,
        last_response: 0,
        last_latency: 0,
        min_latency: 0,
        avg_latency: 0,
        max_latency: 0,
    }
}

fn first() -> ConnInfo {
    ConnInfo {
        received: 15,
        sent: 15,
        last_op: "CREA",
        established: 1_795_398_536_578,
        timeout_ms: 10_000,
        last_cxid: 14,
        last_zxid: 10,
        last_response: 4_623_979,
        last_latency: 5,
        avg_latency: 20,
        max_latency: 219,
        ..connection(39_554, A)
    }
}

fn second() -> ConnInfo {
    ConnInfo {
        received: 4,
        sent: 4,
        last_op: "GETC",
        established: 1_795_398_536_861,
        timeout_ms: 20_000,
        last_cxid: 3,
        last_zxid: 7,
        last_response: 4_623_937,
        last_latency: 2,
        avg_latency: 11,
        max_latency: 43,
        ..connection(39_566, B)
    }
}

#[test]
fn connections_like_java_s() {
    let all = [first(), connection(39_594, 0), second()];
    assert_eq!(connections::lines(&all, false) + "\n", golden!("standalone.cons"));
    let brief = [first(), second(), connection(39_606, 0)];
    let clients = golden!("standalone.stat").split("Clients:\n").nth(1).unwrap();
    let clients = clients.split("\n\n").next().unwrap();
    assert_eq!(connections::lines(&brief, true).trim_end(), clients);
}

#[test]
fn a_connection_whose_statistics_were_reset() {
    let all = [ConnInfo { interest_ops: 5, queued: 3, timeout_ms: 7, ..connection(1, A) }];
    let line = " /127.0.0.1:1[5](queued=3,recved=1,sent=0,sid=0x1000046507f0000,lop=NA,est=0,to=7,\
        lzxid=0xffffffffffffffff,lresp=0,llat=0,minlat=0,avglat=0,maxlat=0)\n";
    assert_eq!(connections::lines(&all, false), line);
}

#[test]
fn watches_like_java_s() {
    let mut watches = Watches::new(Seed(1, 2));
    let known = [first(), second()];
    let (a, b) = (WatcherId(known[0].id.0), WatcherId(known[1].id.0));
    for (path, watcher) in [("/app/x", a), ("/app/x", b), ("/nope", a), ("/gone", WatcherId(7))] {
        watches.add(path, watcher, WatchKind::Data);
    }
    watches.add("/app", b, WatchKind::Child);
    let list = || connections::watch_list(&watches);
    assert_eq!(connections::watches_by_session(list(), &known), golden!("standalone.wchc"));
    let by_path = connections::watches_by_path(list(), &known);
    assert_eq!(lines(&by_path), lines(golden!("standalone.wchp")));
    assert!(by_path.starts_with("/app/x\n\t0x1000046507f0000\n\t0x1000046507f0001\n/nope\n"));
    watches.remove_watcher(WatcherId(7));
    assert_eq!(connections::watch_summary(watches.summary()), golden!("standalone.wchs"));
}

fn tree() -> DataTree {
    let owner_rules = OwnerRules { extended_types: false, emulate_353: false };
    DataTree::new(TreeOptions { digest_enabled: true, owner_rules, seed: Seed(1, 2) })
}

fn create(tree: &mut DataTree, client_id: i64, path: &str, data: &str) {
    let txn = Txn::Create(CreateTxn {
        path: path.into(),
        data: Some(data.as_bytes().into()),
        acl: crate::wire::Acl::open_unsafe().into(),
        ephemeral: client_id != 0,
        parent_cversion: -1,
    });
    let zxid = tree.last_zxid() + 1;
    let header = TxnHeader { client_id, cxid: 0, zxid, time: 0, op: txn.op() };
    assert_eq!(tree.apply(&header, &txn, &mut |_| {}).err, 0);
}

fn tree_with_ephemerals(owners: [(i64, &[&str]); 2]) -> DataTree {
    let mut tree = tree();
    create(&mut tree, 0, "/app", "");
    for (owner, paths) in owners {
        paths.iter().for_each(|path| create(&mut tree, owner, path, ""));
    }
    tree
}

#[test]
fn quotas_may_lie_deep() {
    let mut tree = tree();
    let mut path = crate::tree::QUOTA_ROOT.to_owned();
    for _ in 0..2_000 {
        path += "/q";
        create(&mut tree, 0, &path, "");
    }
    create(&mut tree, 0, &(path + "/zookeeper_limits"), "count=3,bytes=5");
    let db = Db::new(tree, Watches::new(Seed(1, 2)));
    // A stack on which two thousand calls have no room.
    let small = std::thread::Builder::new().stack_size(64 << 10);
    let count = small.spawn(move || TreeFacts::of(&db.read()).quotas).unwrap();
    let quota = Quota { limits: Some((5, 3)), usage: None };
    assert_eq!(count.join().unwrap(), BTreeMap::from([("q".to_owned(), quota)]));
}

fn dump(dump: &SessionDump, tree: &DataTree, known: &[ConnInfo]) -> String {
    words::dump(&sessions::tracker(dump, 0), &sessions::ephemerals(tree), known)
}

#[test]
fn a_dump_of_who_decides_when_sessions_expire() {
    let sets = vec![(8_000, vec![A]), (18_000, vec![B])];
    let expiring = ExpiryDump { sets, tracked: 2 };
    let global = GlobalDump::Expiring(expiring.clone());
    let tree = tree_with_ephemerals([(B, &["/app/f"]), (A, &["/app/e2", "/app/e1"])]);
    let known = [first(), connection(39_600, 0), second()];
    let text = dump(&SessionDump { local: None, global: global.clone() }, &tree, &known);
    assert_eq!(lines(&text), lines(golden!("standalone.dump")));
    let first_lines = format!(
        "SessionTracker dump:\nSession Sets (2)/(2):\n1 expire at {}:\n\t0x1000046507f0000\n",
        java_text::date(8_000)
    );
    assert!(text.starts_with(&first_lines), "{text}");

    let both = SessionDump { local: Some(ExpiryDump::default()), global };
    let text = sessions::tracker(&both, 0);
    assert!(text.starts_with("Local Session Sets (0)/(0):\nGlobal Session Sets (2)/(2):\n"));
}

#[test]
fn a_dump_of_a_learner() {
    let (a, b) = (0x200_0046_f9b4_0000, 0x200_0046_f9b4_0001);
    let global = GlobalDump::Known(vec![(a, 10_000), (b, 20_000)]);
    let tree = tree_with_ephemerals([(a, &["/app/e1", "/app/e2"]), (b, &["/app/f"])]);
    let known = [
        connection(50_236, 0),
        connection(50_194, a),
        ConnInfo { expires: 20_000, ..connection(50_200, b) },
    ];
    let text = dump(&SessionDump { local: None, global }, &tree, &known);
    assert_eq!(lines(&text), lines(golden!("follower.dump")));
}

/// What Java measured, from its answer to `mntr`.
struct Measured(BTreeMap<&'static str, &'static str>);

impl Measured {
    fn of(text: &'static str) -> Self {
        let pairs = text.lines().map(|line| line.split_once('\t').unwrap());
        Self(pairs.map(|(key, value)| (key.strip_prefix("zk_").unwrap(), value)).collect())
    }

    fn real(&self, key: &str) -> f64 {
        self.0.get(key).map_or(0.0, |text| text.parse().unwrap())
    }

    fn whole(&self, key: &str) -> i64 {
        self.0.get(key).map_or(0, |text| text.parse().unwrap())
    }

    fn facts(&self, mode: &'static str) -> Facts {
        let count = |key| self.whole(key) as usize;
        let learners = (mode == "leader").then(|| LearnerReport {
            connected: count("learners"),
            synced_followers: count("synced_followers"),
            synced_non_voting_followers: count("synced_non_voting_followers"),
            pending_syncs: count("pending_syncs"),
            zxids_left: 7,
            leading_since: 1_000_000 - self.whole("leader_uptime"),
        });
        let quota = |what: &str| {
            let of = |kind: &str| self.whole(&format!("app_quota_{kind}_{what}_per_namespace"));
            Some((of("bytes"), of("count")))
        };
        Facts {
            serving: Serving::Yes,
            role: RoleReport { mode, zab_state: "broadcast", leader: Some(3) },
            node: Some(NodeReport {
                local_sessions: count("local_sessions"),
                quorum_size: (mode != "standalone").then(|| count("quorum_size")),
                synced_observers: (mode == "leader").then(|| count("synced_observers")),
                learners,
            }),
            uptime_ms: self.whole("uptime"),
            now: 1_000_000,
            net: self.net(),
            tree: TreeFacts {
                last_zxid: 0,
                nodes: count("znode_count"),
                watches: count("watch_count"),
                ephemerals: count("ephemerals_count"),
                data_size: self.whole("approximate_data_size"),
                sessions: count("global_sessions"),
                quotas: BTreeMap::from([(
                    "app".to_owned(),
                    Quota { limits: quota("limit"), usage: quota("usage") },
                )]),
            },
            open_files: self.whole("open_file_descriptor_count"),
            max_open_files: self.whole("max_file_descriptor_count"),
            totals: Totals {
                proposal_sizes: Sizes {
                    last: self.whole("last_proposal_size"),
                    min: self.whole("min_proposal_size"),
                    max: self.whole("max_proposal_size"),
                },
                ..Totals::default()
            },
        }
    }

    fn net(&self) -> NetTotals {
        NetTotals {
            connections: self.whole("num_alive_connections"),
            packets_received: self.whole("packets_received"),
            packets_sent: self.whole("packets_sent"),
            outstanding: self.whole("outstanding_requests"),
            min_latency: self.whole("min_latency"),
            avg_latency: self.real("avg_latency"),
            max_latency: self.whole("max_latency"),
            last_response: self.whole("last_client_response_size"),
            min_response: self.whole("min_client_response_size"),
            max_response: self.whole("max_client_response_size"),
            auth_failed: self.whole("auth_failed_count"),
            drop_probability: self.real("connection_drop_probability"),
        }
    }
}

#[test]
fn state_and_gauges_of_every_role() {
    let table = [
        ("standalone", golden!("standalone.mntr")),
        ("follower", golden!("follower.mntr")),
        ("observer", golden!("observer.mntr")),
        ("leader", golden!("leader.mntr").split_inclusive("zk_watch_bytes").next().unwrap()),
    ];
    for (mode, java) in table {
        let java = java.strip_suffix("zk_watch_bytes").unwrap_or(java);
        let text = mntr(&Measured::of(java).facts(mode));
        let gauges = text.split("zk_watch_bytes").next().unwrap();
        assert_eq!(gauges, ours(java), "{mode}");
    }
}

#[test]
fn every_metric_in_java_s_order_and_form() {
    let java = golden!("leader.mntr");
    let mut facts = Measured::of(java).facts("leader");
    let one = Basics::default();
    let both = BTreeMap::from([("zookeeper".into(), one), ("app".into(), one)]);
    facts.totals.read_per_namespace = both.clone();
    facts.totals.write_per_namespace = both;
    // Java counts queues of its learner handlers, which are not there.
    let java = java.lines().filter(|line| !line.contains("_learner_handler_"));
    let form = |line: &str| {
        let (key, value) = line.split_once('\t').unwrap();
        let value = if key == "zk_version" { "" } else { value };
        (key.to_owned(), value.contains('.'))
    };
    let text = mntr(&facts);
    let text = text.strip_suffix("zk_zxids_left\t7\n").unwrap();
    assert_eq!(text.lines().count(), java.clone().count());
    for (ours, java) in text.lines().zip(java) {
        assert_eq!(form(ours), form(java));
    }
    // collectd reads 4 KiB; everything it wants stands before that.
    let classic =
        ["num_alive_connections", "approximate_data_size", "max_latency", "pending_syncs"];
    for key in classic {
        assert!(text.find(&format!("zk_{key}\t")).unwrap() < 4_000, "{key}");
    }
}

#[test]
fn what_the_commit_thread_does_not_tell_is_left_out() {
    let mut facts = Measured::of(golden!("leader.mntr")).facts("leader");
    facts.node = None;
    let text = mntr(&facts);
    for key in ["learners", "quorum_size", "local_sessions", "leader_uptime", "min_proposal_size"] {
        assert!(!text.contains(&format!("zk_{key}\t")), "{key}");
    }
    assert!(text.contains("zk_znode_count\t13\n"));
}

#[test]
fn server_statistics_like_java_s() {
    let mut facts = Measured::of(golden!("leader.mntr")).facts("leader");
    facts.net.packets_received = 35;
    facts.net.packets_sent = 36;
    facts.tree.last_zxid = 0x1_0000_002e;
    let (brief_a, brief_b) = (first(), second());
    let known = [
        ConnInfo { peer: ([127, 0, 0, 1], 37_516).into(), ..brief_b },
        ConnInfo { peer: ([127, 0, 0, 1], 37_510).into(), received: 25, sent: 25, ..brief_a },
        connection(37_554, 0),
    ];
    assert_eq!(words::stat(&facts, Some(&known)), ours(golden!("leader.stat")));
    let srvr = words::stat(&facts, None);
    assert!(!srvr.contains("Clients:") && srvr.contains("\nMode: leader\n"), "{srvr}");

    let facts = Facts { serving: Serving::ReadOnly, ..facts };
    let srvr = words::stat(&facts, None);
    let second = srvr.lines().nth(1).unwrap();
    assert_eq!(second, "READ-ONLY mode; serving only read-only clients");
    assert!(srvr.contains("\nMode: read-only\n") && !srvr.contains("Proposal sizes"), "{srvr}");
    assert!(mntr(&facts).contains("zk_server_state\tread-only\nzk_ephemerals_count"));
}

/// A configuration read from a directory of its own, as Java had it; and `conf`'s text about it
/// with that directory and the sizes of files taken out.
fn conf_of(text: &str, my_id: &str) -> (Config, impl Fn(String) -> String + use<>) {
    let name = format!("ironkeeper-conf-{}-{my_id}", std::process::id());
    let dir = std::env::temp_dir().join(name);
    fs::create_dir_all(dir.join("data")).unwrap();
    if !my_id.is_empty() {
        fs::write(dir.join("data/myid"), my_id).unwrap();
    }
    let here = dir.display().to_string();
    fs::write(dir.join("zoo.cfg"), text.replace("DIR", &here)).unwrap();
    let config = load::config(&load::words(&[format!("{here}/zoo.cfg")])).unwrap();
    fs::remove_dir_all(&dir).unwrap();
    (config, move |text: String| sizeless(&text.replace(&here, "DIR")))
}

fn sizeless(text: &str) -> String {
    let line = |line: &str| match line.split_once("Size=") {
        Some((name, _)) => format!("{name}Size=N\n"),
        None => line.to_owned(),
    };
    text.split_inclusive('\n').map(line).collect()
}

#[test]
fn configuration_like_java_s() {
    let common = "tickTime=2000\ndataDir=DIR/data\nclientPort=";
    let (config, placeless) = conf_of(&format!("{common}28181\n"), "");
    let text = placeless(conf::conf(&config, None));
    assert_eq!(text, sizeless(golden!("standalone.conf")));

    let servers = "server.1=127.0.0.1:28101:28111\nserver.2=127.0.0.1:28102:28112\n\
        server.3=127.0.0.1:28103:28113\nserver.4=127.0.0.1:28104:28114:observer\n";
    let limits = "initLimit=10\nsyncLimit=5\npeerType=observer\n";
    let (config, placeless) = conf_of(&format!("{common}28124\n{limits}{servers}"), "4");
    let text = placeless(conf::conf(&config, Some(&config.quorum)));
    assert_eq!(text, sizeless(golden!("observer.conf")));
    let read_only = placeless(conf::conf(&config, None));
    assert_eq!(read_only, text.split("membership").next().unwrap());
}

#[test]
fn the_environment_fits_into_one_read() {
    let text = super::environment::envi();
    assert!(text.len() < 8 << 10);
    let keys: Vec<&str> = text.lines().map(|line| line.split('=').next().unwrap()).collect();
    assert_eq!(keys[..4], ["Environment:", "zookeeper.version", "host.name", "java.version"]);
    assert_eq!(keys[16..], ["os.memory.free", "os.memory.max", "os.memory.total"]);
    assert!(text.contains(&format!("zookeeper.version={}\n", full_version())));
}
