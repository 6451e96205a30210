//! What a node tells about itself when somebody asks (`mntr`, `conf`, `dump`), and what it counts
//! for that.

use std::sync::Arc;

use super::{Node, Now, Role};
use crate::config::QuorumConfig;
use crate::metrics::{Summary, SummarySet};
use crate::quorum::leader::SyncKind;
use crate::session::SessionDump;
use crate::wire::Txn;

/// State that the metrics show.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NodeReport {
    pub local_sessions: usize,
    /// Voters of the ensemble; `None` for a standalone server.
    pub quorum_size: Option<usize>,
    /// Observers that are synchronised with this server, a leader or an observer master.
    pub synced_observers: Option<usize>,
    /// Of a leader that serves.
    pub learners: Option<LearnerReport>,
}

/// A leader's learners.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LearnerReport {
    pub connected: usize,
    /// Followers with and without a vote; Java counts both here.
    pub synced_followers: usize,
    pub synced_non_voting_followers: usize,
    pub pending_syncs: usize,
    /// Transactions that the epoch has left.
    pub zxids_left: u32,
    /// When this server began to lead, on the node's clock, ms.
    pub leading_since: i64,
}

impl Node {
    pub fn report(&self) -> NodeReport {
        let local_sessions = match &self.role {
            Role::Standalone(authority) => authority.sessions.local_count(),
            Role::Leading(l) => l.authority.as_ref().map_or(0, |a| a.sessions.local_count()),
            Role::Following(f) => f.sessions.as_ref().map_or(0, |s| s.local_count()),
            Role::Draining { .. } | Role::Looking => 0,
        };
        let quorum = self.settings.quorum.as_ref();
        NodeReport {
            local_sessions,
            quorum_size: quorum.map(|_| self.membership.committed().participants().count()),
            synced_observers: self.synced_observers(),
            learners: self.learner_report(),
        }
    }

    fn synced_observers(&self) -> Option<usize> {
        match &self.role {
            Role::Leading(l) if l.core.is_established() => Some(l.core.synced_counts().2),
            Role::Following(f) => f.observers.as_ref().map(|core| core.synced_count()),
            _ => None,
        }
    }

    fn learner_report(&self) -> Option<LearnerReport> {
        let Role::Leading(leading) = &self.role else { return None };
        let core = &leading.core;
        let (voters, others, _) = core.synced_counts();
        core.is_established().then(|| LearnerReport {
            connected: core.learner_count(),
            synced_followers: voters + others,
            synced_non_voting_followers: others,
            pending_syncs: core.pending_syncs(),
            zxids_left: core.zxids_left(),
            leading_since: leading.started,
        })
    }

    /// Counts, when one has begun or ended to be synchronised in some way, how many are being so.
    pub(super) fn count_syncing(&self, begun_or_ended: Option<SyncKind>) {
        let Some(kind) = begun_or_ended else { return };
        let running = match &self.role {
            Role::Leading(leading) => leading.core.syncing(kind),
            Role::Following(f) => f.observers.as_ref().map_or(0, |core| core.syncing(kind)),
            _ => return,
        };
        let counts = match kind {
            SyncKind::Snapshot => &self.metrics.inflight_snap_count,
            SyncKind::Transactions => &self.metrics.inflight_diff_count,
        };
        counts.add(running as i64);
    }

    /// The membership in force.
    pub fn membership(&self) -> Arc<QuorumConfig> {
        Arc::clone(self.membership.committed())
    }

    /// Sessions and when they expire; `None` between two roles.
    pub fn session_dump(&self) -> Option<SessionDump> {
        match &self.role {
            Role::Standalone(authority) => Some(authority.sessions.dump()),
            Role::Leading(l) => l.authority.as_ref().map(|a| a.sessions.dump()),
            Role::Following(f) => f.sessions.as_ref().map(|s| s.dump()),
            Role::Draining { .. } | Role::Looking => None,
        }
    }
}

/// Counts how long ago a transaction was made. The leader's clock may be ahead of ours: such a time
/// says nothing. Java: `Request.logLatency`.
pub(super) fn count_latency(latency: &Summary, made_at: i64, now: Now) {
    if now.wall >= made_at {
        latency.add(now.wall - made_at);
    }
}

/// Counts what a transaction writes, by namespace: the length of its path and its data.
pub(super) fn count_writes(txn: &Txn, writes: &SummarySet) {
    let count = |path: &str, data: Option<&[u8]>| {
        writes.add_to_namespace(path, path.len() + data.map_or(0, <[u8]>::len));
    };
    match txn {
        Txn::Create(t) | Txn::Create2(t) => count(&t.path, t.data.as_deref()),
        Txn::CreateContainer(t) => count(&t.path, t.data.as_deref()),
        Txn::CreateTtl(t) => count(&t.path, t.data.as_deref()),
        Txn::SetData(t) | Txn::Reconfig(t) => count(&t.path, t.data.as_deref()),
        Txn::Delete(path) | Txn::DeleteContainer(path) => count(path, None),
        Txn::CloseSession(Some(t)) => {
            t.paths.iter().flatten().for_each(|path| count(path, None));
        }
        Txn::Multi(txns) => txns.iter().for_each(|txn| count_writes(txn, writes)),
        Txn::CloseSession(None)
        | Txn::CreateSession(_)
        | Txn::SetAcl(_)
        | Txn::Check(..)
        | Txn::Error(_) => {}
    }
}
