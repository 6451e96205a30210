//! What a standalone server and a leader have in common: they decide what each request becomes.
//! Java: `PrepRequestProcessor` with `SessionTrackerImpl`.

use std::sync::Arc;

use super::membership::Ensemble;
use super::{Cx, InFlight, Leading, Node, NodeSettings, Now, Outputs, Role};
use crate::config::QuorumConfig;
use crate::pipeline::commit::{Origin, Work};
use crate::pipeline::prep::{self, Context, Outcome, Prep, PrepRequest, Prepared};
use crate::session::{Kind, SessionTracker, first_session_id};
use crate::tree::DataTree;
use crate::wire::{Put, TxnRecord, code};

/// Prep and the sessions it checks.
pub struct Authority {
    pub prep: Prep,
    pub sessions: SessionTracker,
}

impl Authority {
    pub fn standalone(settings: &NodeSettings, tree: &DataTree, now: Now) -> Self {
        Self::new(settings, Kind::Standalone, 1, tree.last_zxid(), tree, now)
    }

    /// A leader's, whose first transaction follows `epoch_start`.
    pub fn leader(settings: &NodeSettings, epoch_start: i64, tree: &DataTree, now: Now) -> Self {
        let kind = Kind::Leader { local_sessions: settings.local_sessions };
        Self::new(settings, kind, settings.my_id, epoch_start, tree, now)
    }

    fn new(
        settings: &NodeSettings,
        kind: Kind,
        server_id: i64,
        last_zxid: i64,
        tree: &DataTree,
        now: Now,
    ) -> Self {
        let first_id = first_session_id(now.wall, server_id);
        let sessions =
            SessionTracker::new(kind, tree.sessions(), settings.tick_ms, first_id, now.mono);
        let prep = Prep::new(settings.prep.clone(), last_zxid, tree);
        Self { prep, sessions }
    }

    pub fn next_deadline(&self) -> Option<i64> {
        self.sessions.next_expiry()
    }

    pub fn session_created(&mut self, session: i64) {
        self.sessions.commit_session(session);
    }

    pub fn session_closed(&mut self, session: i64) {
        self.sessions.remove_session(session);
    }
}

impl Node {
    fn authority(&mut self) -> Option<&mut Authority> {
        match &mut self.role {
            Role::Standalone(authority) => Some(authority),
            Role::Leading(leading) => leading.authority.as_mut(),
            _ => None,
        }
    }

    /// Makes a transaction of a request and sends it on its way to log and learners.
    pub(super) fn decide(
        &mut self,
        request: PrepRequest<'_>,
        origin: Origin,
        cx: Cx<'_>,
        out: &mut Outputs,
    ) {
        let (auth, metrics) = (Arc::clone(&self.settings.auth), Arc::clone(&self.metrics));
        let ensemble;
        let (authority, ensemble) = match &mut self.role {
            Role::Standalone(authority) => (&mut **authority, None),
            Role::Leading(leading) => {
                let Leading { core, authority, .. } = &mut **leading;
                let Some(authority) = authority else { return };
                if core.is_used_up() {
                    // Answered by nobody: there is an election in a moment.
                    return;
                }
                ensemble = Ensemble { membership: &self.membership, leader: core };
                (authority, Some(&ensemble as &dyn prep::Ensemble))
            }
            _ => return,
        };
        let mut context = Context {
            tree: &cx.db.tree,
            sessions: &mut authority.sessions,
            auth: &auth,
            ensemble,
            time: cx.now.wall,
            now: cx.now.mono,
            metrics: &metrics,
        };
        match (authority.prep.prepare(&request, &mut context), origin) {
            (Outcome::Txn(prepared), origin) => self.propose(prepared, origin, cx, out),
            (Outcome::NoTxn(Err(err)), Origin::Client(to)) => {
                self.in_order(Work::Refuse { to, err })
            }
            // `sync` on the server that orders the writes: due when all in flight is committed.
            (Outcome::NoTxn(Ok(())), Origin::Client(to)) => {
                self.in_order(Work::Sync { to, path: request.body.into() })
            }
            (Outcome::NoTxn(_), _) => {}
        }
    }

    fn propose(&mut self, prepared: Prepared, origin: Origin, cx: Cx<'_>, out: &mut Outputs) {
        let Prepared { header, txn, digest, bytes, reconfig, .. } = prepared;
        let reconfig: Option<Arc<QuorumConfig>> = reconfig.map(Arc::from);
        if let Some(config) = &reconfig {
            self.see_config(Arc::clone(config), cx, out);
        }
        let zxid = header.zxid;
        let record = TxnRecord { header, txn, digest };
        let work = Work::Txn { record, bytes: Arc::clone(&bytes), origin };
        self.in_flight.push_back(InFlight { zxid, work });
        self.append(zxid, Arc::clone(&bytes), out);
        if let Role::Leading(leading) = &mut self.role {
            self.metrics.proposal_count.add(1);
            self.metrics.proposal_sizes.set(bytes.len());
            leading.core.propose(zxid, bytes, &mut leading.out);
            if let Some(config) = reconfig {
                leading.core.reconfigure(config);
            }
        }
    }

    /// Gives work that is no transaction its place behind all that is in flight.
    pub(super) fn in_order(&mut self, work: Work) {
        match self.in_flight.back().map(|f| f.zxid) {
            Some(zxid) => self.in_flight.push_back(InFlight { zxid, work }),
            None => self.ready.push_back(work),
        }
    }

    /// Closes the sessions whose time is up.
    pub(super) fn expire_sessions(&mut self, cx: Cx<'_>, out: &mut Outputs) {
        let expired = match &mut self.role {
            Role::Following(f) => f.sessions.as_mut().map(|s| s.expire(cx.now.mono)),
            _ => self.authority().map(|a| a.sessions.expire(cx.now.mono)),
        };
        for session in expired.unwrap_or_default() {
            if self.is_local_session(session) {
                self.expire_local(session, out);
                continue;
            }
            log::info!("Expiring session {session:#x}, timeout exceeded");
            self.metrics.stale_sessions_expired.add(1);
            let close = PrepRequest::own(session, code::CLOSE_SESSION, &[]);
            self.decide(close, Origin::Nobody, cx, out);
        }
    }

    /// Deletes containers and TTL nodes that have served their time (C-183).
    pub(super) fn reap_containers(&mut self, cx: Cx<'_>, out: &mut Outputs) {
        if cx.now.mono < self.next_container_check {
            return;
        }
        self.next_container_check = cx.now.mono + self.settings.container_check_ms;
        if self.authority().is_none() {
            return;
        }
        let max_never_used = self.settings.container_max_never_used_ms;
        let per_minute = self.settings.container_max_per_minute.max(1);
        let most = (per_minute * self.settings.container_check_ms / 60_000).max(1) as usize;
        for path in
            cx.db.tree.expired_containers(cx.now.wall, max_never_used).into_iter().take(most)
        {
            log::info!("Attempting to delete candidate container: {path}");
            let mut body = Vec::new();
            body.put_str(&path);
            let delete = PrepRequest::own(0, code::DELETE_CONTAINER, &body);
            self.decide(delete, Origin::Nobody, cx, out);
        }
    }
}
