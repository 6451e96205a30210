//! `mntr`: state, gauges, counters and summaries, with Java's keys in the order of Java's hash
//! tables (A-14, A-30 … A-37). Java: `MonitorCommand`, `DefaultMetricsProvider.dump`, the
//! `registerMetrics` of the servers.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::full_version;
use super::java_text::{average, double};
use crate::metrics::{Basics, Sizes, Totals};
use crate::net::{NetTotals, Serving};
use crate::pipeline::node::{LearnerReport, NodeReport, RoleReport};
use crate::tree::{DataTree, DbState, LIMITS, NodeId, QUOTA_ROOT, STATS, StatsTrack};

/// A value of a metric or of the state.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Whole(i64),
    Real(f64),
    Text(String),
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Whole(value)
    }
}

/// Keys, without `zk_`, and values.
pub type Values = Vec<(String, Value)>;

/// Everything that is looked at, at about the same moment.
#[derive(Debug)]
pub struct Facts {
    pub serving: Serving,
    pub role: RoleReport,
    /// `None` when the commit thread does not answer: what only it knows is left out.
    pub node: Option<NodeReport>,
    pub uptime_ms: i64,
    /// On the node's clock, ms.
    pub now: i64,
    pub net: NetTotals,
    pub tree: TreeFacts,
    pub open_files: i64,
    pub max_open_files: i64,
    pub totals: Totals,
}

/// What is counted in the tree.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TreeFacts {
    pub last_zxid: i64,
    pub nodes: usize,
    pub watches: usize,
    pub ephemerals: usize,
    pub data_size: i64,
    pub sessions: usize,
    pub quotas: BTreeMap<String, Quota>,
}

impl TreeFacts {
    pub fn of(db: &DbState) -> Self {
        let tree = &db.tree;
        Self {
            last_zxid: tree.last_zxid(),
            nodes: tree.node_count(),
            watches: db.watches().count(),
            ephemerals: tree.ephemerals_count(),
            data_size: tree.approximate_data_size(),
            sessions: tree.sessions().len(),
            quotas: quotas(tree),
        }
    }
}

/// Limits and usage below one child of the root, added up. Java: `QuotaMetricsUtils`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Quota {
    /// Bytes and count; `None` where there is no such node.
    pub limits: Option<(i64, i64)>,
    pub usage: Option<(i64, i64)>,
}

fn quotas(tree: &DataTree) -> BTreeMap<String, Quota> {
    let mut found = BTreeMap::new();
    let Some(top) = tree.lookup(QUOTA_ROOT) else { return found };
    for id in tree.child_ids(top) {
        let mut quota = Quota::default();
        add_quotas(tree, id, &mut quota);
        if quota != Quota::default() {
            found.insert(tree.node(id).name().to_owned(), quota);
        }
    }
    found
}

/// Without recursion: clients decide how deep the tree is.
fn add_quotas(tree: &DataTree, top: NodeId, quota: &mut Quota) {
    let mut waiting: Vec<NodeId> = tree.child_ids(top).collect();
    while let Some(id) = waiting.pop() {
        let node = tree.node(id);
        if node.num_children() > 0 {
            waiting.extend(tree.child_ids(id));
            continue;
        }
        let track = StatsTrack::parse(node.data().unwrap_or_default());
        let hard_or = |hard: i64, soft: i64| if hard > -1 { hard } else { soft };
        let (sums, bytes, count) = match node.name() {
            LIMITS => (
                &mut quota.limits,
                hard_or(track.byte_hard_limit(), track.bytes()),
                hard_or(track.count_hard_limit(), track.count()),
            ),
            STATS => (&mut quota.usage, track.bytes(), track.count()),
            _ => continue,
        };
        let sums = sums.get_or_insert_default();
        *sums = (sums.0.saturating_add(bytes), sums.1.saturating_add(count));
    }
}

/// What `mntr` and the command `monitor` print, in order.
pub fn monitor(facts: &Facts) -> Values {
    let mut values = state(facts);
    let gauges = gauges(facts).into_iter();
    values.extend(gauges.filter_map(|(key, value)| Some((key.to_owned(), value?))));
    values.extend(quota_gauges(&facts.tree.quotas));
    let Totals { counters, basic, advanced, quota_exceeded, .. } = &facts.totals;
    let namespaces = [
        ("read_per_namespace", &facts.totals.read_per_namespace),
        ("write_per_namespace", &facts.totals.write_per_namespace),
    ];
    values.extend(counters.iter().map(|(key, value)| ((*key).to_owned(), (*value).into())));
    let exceeded = |ns: &str| format!("{ns}_quota_exceeded_error_per_namespace");
    values.extend(quota_exceeded.iter().map(|(ns, count)| (exceeded(ns), count.sum.into())));
    for (name, summary) in basic {
        values.extend(basics(name, &summary.basics));
    }
    for (name, summary) in advanced {
        values.extend(basics(name, &summary.basics));
        let quantiles = [("p50", 0.5), ("p95", 0.95), ("p99", 0.99), ("p999", 0.999)];
        values.extend(quantiles.map(|(p, q)| (format!("{p}_{name}"), summary.quantile(q).into())));
    }
    for (name, set) in namespaces {
        values.extend(
            set.iter().flat_map(|(key, summary)| basics(&format!("{key}_{name}"), summary)),
        );
    }
    // Not one of Java's: an epoch that has none left ends with an election.
    let learners = facts.node.as_ref().and_then(|node| node.learners);
    values.extend(learners.map(|l| ("zxids_left".to_owned(), i64::from(l.zxids_left).into())));
    values
}

/// Lines `zk_<key>`, tab, value.
pub fn mntr(facts: &Facts) -> String {
    let mut out = String::with_capacity(20 << 10);
    for (key, value) in monitor(facts) {
        let _ = match value {
            Value::Whole(value) => writeln!(out, "zk_{key}\t{value}"),
            Value::Real(value) => writeln!(out, "zk_{key}\t{}", double(value)),
            Value::Text(value) => writeln!(out, "zk_{key}\t{value}"),
        };
    }
    out
}

/// `srvr`'s Mode.
pub fn mode(facts: &Facts) -> &'static str {
    if facts.serving == Serving::ReadOnly { "read-only" } else { facts.role.mode }
}

fn state(facts: &Facts) -> Values {
    let RoleReport { zab_state, leader, .. } = facts.role;
    let text = |key: &str, text: String| (key.to_owned(), Value::Text(text));
    let mode = mode(facts);
    let mut values = vec![text("version", full_version()), text("server_state", mode.to_owned())];
    let doing = match mode {
        "leader" => "leading",
        "follower" => "following",
        "observer" => "observing",
        _ => return values,
    };
    values.push(text("peer_state", format!("{doing} - {zab_state}")));
    if mode == "observer" {
        values.push(("observer_master_id".to_owned(), leader.unwrap_or(-1).into()));
    }
    values
}

/// The gauges; those that this role does not have are `None`.
pub fn gauges(facts: &Facts) -> [(&'static str, Option<Value>); 34] {
    let Facts { net, tree, node, totals, .. } = facts;
    let whole = |value: i64| Some(Value::Whole(value));
    let count = |value: usize| whole(value as i64);
    let learners = node.as_ref().and_then(|node| node.learners);
    let of_leader = |f: fn(&LearnerReport) -> i64| learners.as_ref().and_then(|l| whole(f(l)));
    let leading = learners.map(|l| facts.now - l.leading_since);
    let Sizes { last, min, max } = totals.proposal_sizes;
    let proposal = |size: i64| learners.and_then(|_| whole(size));
    [
        ("ephemerals_count", count(tree.ephemerals)),
        ("num_alive_connections", whole(net.connections)),
        ("avg_latency", Some(Value::Real(average(net.avg_latency)))),
        ("min_proposal_size", proposal(min)),
        ("outstanding_requests", whole(net.outstanding)),
        ("znode_count", count(tree.nodes)),
        ("global_sessions", count(tree.sessions)),
        // Counted at ports that take TLS and plain text both, which there are none of.
        ("non_mtls_remote_conn_count", whole(0)),
        ("last_client_response_size", whole(net.last_response)),
        ("packets_sent", whole(net.packets_sent)),
        ("packets_received", whole(net.packets_received)),
        ("max_proposal_size", proposal(max)),
        ("max_client_response_size", whole(net.max_response)),
        ("synced_followers", of_leader(|l| l.synced_followers as i64)),
        ("connection_drop_probability", Some(Value::Real(net.drop_probability))),
        ("watch_count", count(tree.watches)),
        ("synced_non_voting_followers", of_leader(|l| l.synced_non_voting_followers as i64)),
        ("synced_observers", node.as_ref().and_then(|node| node.synced_observers).and_then(count)),
        ("auth_failed_count", whole(net.auth_failed)),
        ("min_latency", whole(net.min_latency)),
        ("max_file_descriptor_count", whole(facts.max_open_files)),
        ("approximate_data_size", whole(tree.data_size)),
        ("open_file_descriptor_count", whole(facts.open_files)),
        ("last_proposal_size", proposal(last)),
        ("pending_syncs", of_leader(|l| l.pending_syncs as i64)),
        ("leader_uptime", leading.and_then(whole)),
        ("local_sessions", node.as_ref().and_then(|node| count(node.local_sessions))),
        ("uptime", whole(facts.uptime_ms)),
        ("max_latency", whole(net.max_latency)),
        ("outstanding_tls_handshake", whole(0)),
        ("learners", of_leader(|l| l.connected as i64)),
        ("min_client_response_size", whole(net.min_response)),
        ("non_mtls_local_conn_count", whole(0)),
        ("quorum_size", node.as_ref().and_then(|node| node.quorum_size).and_then(count)),
    ]
}

fn quota_gauges(quotas: &BTreeMap<String, Quota>) -> Values {
    let mut values = Values::new();
    let mut all = |name: &str, value: fn(&Quota) -> Option<i64>| {
        let of_all = quotas.iter().filter_map(|(ns, q)| Some((ns, value(q)?)));
        values.extend(of_all.map(|(ns, v)| (format!("{ns}_quota_{name}_per_namespace"), v.into())));
    };
    all("bytes_limit", |q| q.limits.map(|(bytes, _)| bytes));
    all("count_usage", |q| q.usage.map(|(_, count)| count));
    all("count_limit", |q| q.limits.map(|(_, count)| count));
    all("bytes_usage", |q| q.usage.map(|(bytes, _)| bytes));
    values
}

fn basics(name: &str, summary: &Basics) -> [(String, Value); 5] {
    [
        (format!("avg_{name}"), Value::Real(average(summary.avg()))),
        (format!("min_{name}"), summary.min().into()),
        (format!("max_{name}"), summary.max().into()),
        (format!("cnt_{name}"), summary.count.into()),
        (format!("sum_{name}"), summary.sum.into()),
    ]
}
