//! Texts about connections and their watches: `cons`, the lines in `stat`, the last part of `dump`,
//! `wchs`, `wchc`, `wchp`. Java: `ServerCnxn.dumpConnectionInfo`,
//! `ExpiryQueue.dump`, `WatchManager.dumpWatches`.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;

use super::java_text::{address, date};
use crate::net::ConnInfo;
use crate::tree::{WatchSummary, WatcherId, Watches};

/// A line about each connection; in brief or all that is known.
pub fn lines(connections: &[ConnInfo], brief: bool) -> String {
    let mut out = String::new();
    for c in connections {
        let (peer, ops) = (address(c.peer), c.interest_ops);
        let counts = format!("queued={},recved={},sent={}", c.queued, c.received, c.sent);
        let session = if brief || c.session == 0 { String::new() } else { session_part(c) };
        out += &format!(" {peer}[{ops:x}]({counts}{session})\n");
    }
    out
}

fn session_part(c: &ConnInfo) -> String {
    // A ping has no cxid.
    let cxid = match c.last_cxid {
        0.. => format!(",lcxid=0x{:x}", c.last_cxid),
        _ => String::new(),
    };
    format!(
        ",sid=0x{:x},lop={},est={},to={}{cxid},lzxid=0x{:x},lresp={},llat={},minlat={},avglat={},\
         maxlat={}",
        c.session,
        c.last_op,
        c.established,
        c.timeout_ms,
        c.last_zxid,
        c.last_response,
        c.last_latency,
        c.min_latency,
        c.avg_latency,
        c.max_latency
    )
}

/// Connections by the moment at which they are given up.
pub fn expiries(connections: &[ConnInfo]) -> String {
    let mut sets = BTreeMap::<i64, Vec<&ConnInfo>>::new();
    for c in connections {
        sets.entry(c.expires).or_default().push(c);
    }
    let mut out = format!("Connections Sets ({})/({}):\n", sets.len(), connections.len());
    for (expires, set) in sets {
        out += &format!("{} expire at {}:\n", set.len(), date(expires));
        for c in set {
            out += &format!("\tip: {} sessionId: 0x{:x}\n", address(c.peer), c.session);
        }
    }
    out
}

pub fn watch_summary(summary: WatchSummary) -> String {
    let WatchSummary { connections, paths, watches } = summary;
    format!("{connections} connections watching {paths} paths\nTotal watches:{watches}\n")
}

/// The data watches of a server, copied so that the tables are not held for long: a watcher and
/// what it watches.
pub type WatchList = Vec<(WatcherId, Vec<String>)>;

pub fn watch_list(watches: &Watches) -> WatchList {
    watches.by_watcher().map(|(w, paths)| (w, paths.map(str::to_owned).collect())).collect()
}

/// Sessions and the paths they watch. A watcher whose connection has just gone is left out.
pub fn watches_by_session(list: WatchList, connections: &[ConnInfo]) -> String {
    let mut out = String::new();
    for (session, mut paths) in with_sessions(list, connections) {
        out += &format!("0x{session:x}\n");
        paths.sort_unstable();
        for path in paths {
            let _ = writeln!(out, "\t{path}");
        }
    }
    out + "\n"
}

/// Paths and the sessions that watch them.
pub fn watches_by_path(list: WatchList, connections: &[ConnInfo]) -> String {
    let mut by_path = BTreeMap::<String, Vec<i64>>::new();
    for (session, paths) in with_sessions(list, connections) {
        for path in paths {
            by_path.entry(path).or_default().push(session);
        }
    }
    let mut out = String::new();
    for (path, sessions) in by_path {
        let _ = writeln!(out, "{path}");
        for session in sessions {
            let _ = writeln!(out, "\t0x{session:x}");
        }
    }
    out + "\n"
}

/// The same by session, in order of the sessions.
fn with_sessions(list: WatchList, connections: &[ConnInfo]) -> Vec<(i64, Vec<String>)> {
    let sessions: HashMap<u64, i64> = connections.iter().map(|c| (c.id.0, c.session)).collect();
    let known = |(watcher, paths): (WatcherId, _)| Some((*sessions.get(&watcher.0)?, paths));
    let mut found: Vec<_> = list.into_iter().filter_map(known).collect();
    found.sort_unstable();
    found
}
