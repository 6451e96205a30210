//! The first two parts of `dump`: sessions, and their ephemeral nodes.
//! Java: `SessionTracker.dumpSessions`, `DataTree.dumpEphemerals`.

use std::fmt::Write as _;

use super::java_text::date;
use crate::session::{ExpiryDump, GlobalDump, SessionDump};
use crate::tree::DataTree;

/// The tracker's part. `epoch`: what to add to a moment of its clock to get ms since 1970.
pub fn tracker(dump: &SessionDump, epoch: i64) -> String {
    let mut out = String::new();
    if let Some(local) = &dump.local {
        out += "Local ";
        expiring(local, epoch, &mut out);
    }
    match &dump.global {
        GlobalDump::Expiring(global) => {
            out += if dump.local.is_some() { "Global " } else { "" };
            expiring(global, epoch, &mut out);
        }
        GlobalDump::Known(sessions) => {
            out += &format!("Global Sessions({}):\n", sessions.len());
            for (session, timeout_ms) in sessions {
                let _ = writeln!(out, "0x{session:x}\t{timeout_ms}ms");
            }
        }
    }
    out
}

fn expiring(dump: &ExpiryDump, epoch: i64, out: &mut String) {
    *out += &format!("Session Sets ({})/({}):\n", dump.sets.len(), dump.tracked);
    for (moment, sessions) in &dump.sets {
        *out += &format!("{} expire at {}:\n", sessions.len(), date(moment + epoch));
        for session in sessions {
            let _ = writeln!(out, "\t0x{session:x}");
        }
    }
}

/// Ephemeral nodes by the sessions that own them.
pub fn ephemerals(tree: &DataTree) -> String {
    let mut owners: Vec<i64> = tree.ephemeral_owners().collect();
    owners.sort_unstable();
    let mut out = format!("Sessions with Ephemerals ({}):\n", owners.len());
    for session in owners {
        let mut paths: Vec<String> = tree.ephemerals(session).map(|id| tree.path_of(id)).collect();
        paths.sort_unstable();
        out += &format!("0x{session:x}:\n");
        for path in paths {
            let _ = writeln!(out, "\t{path}");
        }
    }
    out
}
