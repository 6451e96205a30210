//! The node as leader: carries out what [`LeaderCore`] puts out, with the history it owns.
//! Java: `LeaderZooKeeperServer`, and the server half of `Leader`.

use std::sync::Arc;

use super::{Authority, Command, Cx, LearnerPort, LinkCommand, LinkEvent, Node, Outputs, Role};
use crate::pipeline::commit::{Origin, Work};
use crate::pipeline::prep::PrepRequest;
use crate::quorum::leader::{
    LeaderCore, LeaderOutput, LeaderSettings, LinkId, StateSummary, SyncKind,
};
use crate::quorum::sync_plan::{
    History, OnDisk, RingView, Source, SyncPlan, needs_disk, sync_plan,
};
use crate::session::Owner;
use crate::storage::log_range::Wanted;
use crate::wire::quorum::{QuorumPacket, packet};
use crate::wire::{code, counter_of, epoch_of, epoch_start};

/// The leader's role.
pub struct Leading {
    pub core: LeaderCore,
    /// There once the leader is established.
    pub authority: Option<Authority>,
    pub out: Vec<LeaderOutput>,
    pub(super) started: i64,
}

impl Leading {
    pub fn next_deadline(&self) -> Option<i64> {
        let expiry = self.authority.as_ref().and_then(Authority::next_deadline);
        let core = Some(self.core.next_deadline());
        core.into_iter().chain(expiry).min()
    }

    pub fn session_created(&mut self, session: i64) {
        if let Some(authority) = &mut self.authority {
            authority.session_created(session);
        }
    }

    pub fn session_closed(&mut self, session: i64) {
        if let Some(authority) = &mut self.authority {
            authority.session_closed(session);
        }
    }

    pub fn touch(&mut self, session: i64, timeout_ms: i32, now: i64) -> bool {
        let authority = self.authority.as_mut();
        authority.is_some_and(|a| a.sessions.touch_session(session, timeout_ms, now))
    }

    /// A client brings its session to another server, or back to this one. A local session
    /// stays where it was made.
    pub fn take_over(&mut self, session: i64, timeout_ms: i32, owner: Owner, now: i64) -> bool {
        let Some(authority) = &mut self.authority else { return false };
        let may_move = owner == Owner::ThisServer || !authority.sessions.is_local(session);
        may_move
            && authority.sessions.touch_session(session, timeout_ms, now)
            && authority.sessions.set_owner(session, Some(owner)).is_ok()
    }
}

impl Node {
    pub(super) fn start_leading(&mut self, cx: Cx<'_>, out: &mut Outputs) {
        let settings = LeaderSettings {
            my_id: self.settings.my_id,
            tick_ms: self.settings.tick_ms,
            init_limit: self.settings.init_limit,
            sync_limit: self.settings.sync_limit,
            reconfig_enabled: self.settings.prep.reconfig,
            sync_limits: self.settings.sync_limits,
            last_counter: self.settings.last_counter,
        };
        let mine = StateSummary { current_epoch: self.current_epoch, last_zxid: self.appended };
        let mut cores_out = Vec::new();
        let mut core = LeaderCore::new(
            settings,
            self.membership.configs(),
            self.accepted_epoch.max(self.accepted_by_others),
            mine,
            cx.now.mono,
            &mut cores_out,
        );
        core.set_oracle(self.membership.oracle(), cx.now.mono, &mut cores_out);
        let leading = Leading { core, authority: None, out: cores_out, started: cx.now.mono };
        self.role = Role::Leading(Box::new(leading));
        self.metrics.proposal_sizes.reset();
        out.commands.push(Command::ListenForLearners(Some(LearnerPort::Quorum)));
        self.report_role("", "discovery", out);
    }

    pub(super) fn on_learner_connected(&mut self, link: LinkId, cx: Cx<'_>, out: &mut Outputs) {
        let now = cx.now.mono;
        if let Role::Leading(leading) = &mut self.role {
            leading.core.connected(link, now);
        } else if let Some(core) = self.role.observers() {
            core.connected(link, now);
        } else {
            out.link(link, LinkCommand::Close);
        }
    }

    pub(super) fn on_link(
        &mut self,
        link: LinkId,
        event: LinkEvent,
        cx: Cx<'_>,
        out: &mut Outputs,
    ) {
        match &mut self.role {
            Role::Leading(leading) => {
                let (core, core_out) = (&mut leading.core, &mut leading.out);
                match event {
                    LinkEvent::Packets(packets) => {
                        self.on_learner_packets(link, packets, cx, out);
                    }
                    LinkEvent::Progress => core.progress(link, cx.now.mono),
                    LinkEvent::LogSearched(found) => core.history_found(link, found, core_out),
                    LinkEvent::Closed { reason } => {
                        log::info!("learner's link {link} is closed: {reason}");
                        core.disconnected(link, core_out);
                        out.link(link, LinkCommand::Close);
                    }
                    LinkEvent::Snapshot { .. } => {
                        core_out.push(LeaderOutput::Close { link, reason: "sent a SNAP".into() });
                        core.disconnected(link, core_out);
                    }
                }
            }
            Role::Following(following) if following.link == link => {
                self.on_leader_event(event, cx, out);
            }
            Role::Following(_) => self.on_observer_event(link, event, cx, out),
            _ => out.link(link, LinkCommand::Close),
        }
    }

    /// One packet after the other, each with all that comes of it: a SYNC must not be answered
    /// by what a later ACK has committed.
    fn on_learner_packets(
        &mut self,
        link: LinkId,
        packets: Vec<QuorumPacket>,
        cx: Cx<'_>,
        out: &mut Outputs,
    ) {
        let mut packets = packets.into_iter().peekable();
        while let Some(packet) = packets.next() {
            if packets.peek().is_some_and(|next| is_superseded(&packet, next)) {
                continue;
            }
            let Role::Leading(leading) = &mut self.role else { return };
            let ended = leading.core.ends_sync(link, &packet);
            leading.core.packet(link, packet, cx.now.mono, &mut leading.out);
            self.count_syncing(ended);
            self.run_leader(cx, out);
        }
    }

    /// Carries out what the core has put out, and what that makes it put out.
    pub(super) fn run_leader(&mut self, cx: Cx<'_>, out: &mut Outputs) {
        loop {
            let Role::Leading(leading) = &mut self.role else { return };
            if leading.out.is_empty() {
                return;
            }
            for output in std::mem::take(&mut leading.out) {
                self.on_leader_output(output, cx, out);
            }
        }
    }

    fn on_leader_output(&mut self, output: LeaderOutput, cx: Cx<'_>, out: &mut Outputs) {
        match output {
            LeaderOutput::Send { link, packet } => out.send(link, &packet),
            LeaderOutput::Close { link, reason } => close_learner(link, &reason, out),
            LeaderOutput::SetAcceptedEpoch(epoch) => {
                self.set_accepted_epoch(epoch, out);
            }
            LeaderOutput::SetCurrentEpoch(epoch) => {
                self.set_current_epoch(epoch, out);
                self.report_role("", "synchronization", out);
            }
            LeaderOutput::FindHistory { link, peer } => self.find_history(link, peer, cx, out),
            LeaderOutput::Synchronize { link, sid, peer, disk } => {
                self.synchronize(link, sid, (peer, disk), cx, out);
            }
            LeaderOutput::Established { epoch } => self.established(epoch, cx, out),
            LeaderOutput::Commit { zxid } => self.commit_upto(zxid, cx.now),
            LeaderOutput::LastSeenConfig(config) => self.see_config(config, cx, out),
            LeaderOutput::Activate { config, designated_leader } => {
                self.lead_under(config, designated_leader, cx, out);
            }
            LeaderOutput::Request { link, session, cxid, op, body, ids } => {
                if op == code::SYNC {
                    if let Role::Leading(l) = &mut self.role {
                        l.core.sync(link, &mut l.out);
                    }
                } else {
                    let owner = Some(Owner::Learner(link));
                    let request = PrepRequest {
                        session,
                        cxid,
                        op,
                        body: &body,
                        ids: &ids,
                        owner,
                        upgrade_error: None,
                    };
                    self.decide(request, Origin::Nobody, cx, out);
                }
            }
            LeaderOutput::Touch { sessions, .. } => {
                if let Role::Leading(leading) = &mut self.role {
                    for (session, timeout_ms) in sessions {
                        leading.touch(session, timeout_ms, cx.now.mono);
                    }
                }
            }
            LeaderOutput::Revalidate { link, session, timeout } => {
                self.metrics.revalidate_count.add(1);
                if let Role::Leading(l) = &mut self.role {
                    let valid = l.take_over(session, timeout, Owner::Learner(link), cx.now.mono);
                    l.core.revalidated(link, session, valid, &mut l.out);
                }
            }
            LeaderOutput::StepDown { reason } => self.step_down(&reason, out),
        }
    }

    /// A quorum stands behind this server: from here on it decides.
    fn established(&mut self, epoch: i64, cx: Cx<'_>, out: &mut Outputs) {
        assert!(
            self.ready.iter().all(|work| work.txn().is_none()),
            "established with commits that are not applied"
        );
        let Role::Leading(leading) = &mut self.role else { return };
        let tree = &cx.db.tree;
        let start = epoch_start(epoch);
        leading.authority = Some(Authority::leader(&self.settings, start, tree, cx.now));
        log::info!(
            "LEADING - established epoch {epoch:#x} after {} ms, {} sessions",
            cx.now.mono - leading.started,
            tree.sessions().len()
        );
        self.tell_election(epoch, cx, out);
        self.report_role("leader", "broadcast", out);
        if self.settings.leader_serves {
            out.commands.push(Command::Serve { read_only: false });
        }
    }

    /// Lets the link look into the logs on disk for a learner who lacks more than memory has.
    pub(super) fn find_history(&mut self, link: LinkId, peer: i64, cx: Cx<'_>, out: &mut Outputs) {
        let ring = self.stage.ring();
        let mut waiting = self.ready.iter().filter_map(Work::txn).map(|(zxid, _)| zxid);
        let first = match ring.is_empty() {
            true => waiting.next().unwrap_or(cx.db.tree.last_zxid() + 1),
            false => ring.zxid_at(0),
        };
        let upto = match &self.role {
            Role::Leading(leading) => leading.core.logged_upto(),
            Role::Following(following) => following.logged_upto(),
            _ => return,
        };
        let size_factor = self.settings.snapshot_size_factor;
        let may = size_factor >= 0.0 && !self.settings.force_snapshot_sync;
        if may && needs_disk(peer, first, upto) {
            out.link(link, LinkCommand::SearchLog(Wanted { peer, upto, size_factor }));
        } else if let Role::Leading(leading) = &mut self.role {
            leading.core.history_found(link, None, &mut leading.out);
        } else {
            self.as_observer_master(cx, out, |core, o| core.history_found(link, None, o));
        }
    }

    /// Queues what a learner lacks whose log ends at `peer`. The history is the ring and, behind
    /// it, what is committed and waits for [`Node::commit`] (Java's `toBeApplied`); ahead of it,
    /// what was found on disk.
    pub(super) fn synchronize(
        &mut self,
        link: LinkId,
        sid: i64,
        (peer, disk): (i64, Option<OnDisk>),
        cx: Cx<'_>,
        out: &mut Outputs,
    ) {
        let ring = self.stage.ring();
        let unapplied: Vec<(i64, Arc<[u8]>)> = self.ready.iter().filter_map(Work::txn).collect();
        let zxid_at = |i: usize| {
            if i < ring.len() { ring.zxid_at(i) } else { unapplied[i - ring.len()].0 }
        };
        let view = RingView { len: ring.len() + unapplied.len(), zxid_at: &zxid_at };
        let applied = cx.db.tree.last_zxid();
        let last = unapplied.last().map_or(applied, |(zxid, _)| *zxid);
        let plan = match self.settings.force_snapshot_sync {
            true => SyncPlan::Snap,
            false => sync_plan(peer, History { ring: &view, last, disk }),
        };
        log::info!("server {sid} is at {peer:#x}, we are at {last:#x}: {plan:x?}");
        let kind = match plan {
            SyncPlan::Snap => SyncKind::Snapshot,
            _ => SyncKind::Transactions,
        };
        if !self.role.begin_sync(link, kind, out) {
            return;
        }
        self.count_syncing(Some(kind));
        let mut transactions = |kind, zxid, from| {
            self.metrics.diff_count.add(1);
            out.send(link, &QuorumPacket::bare(kind, zxid));
            match from {
                Source::Ring(from) => from,
                Source::Disk { after, upto } => {
                    out.link(link, LinkCommand::LogRange { after, upto });
                    0
                }
            }
        };
        let from = match plan {
            SyncPlan::Diff { from } => transactions(packet::DIFF, last, from),
            SyncPlan::Trunc { zxid, from } => transactions(packet::TRUNC, zxid, from),
            SyncPlan::Snap => {
                self.metrics.snap_count.add(1);
                out.link(link, LinkCommand::Snapshot(cx.db.tree.freeze()));
                ring.len()
            }
        };
        let in_ring = ring.from(from.min(ring.len())).map(|t| (t.zxid, Arc::clone(&t.bytes)));
        let behind = unapplied.iter().skip(from.saturating_sub(ring.len())).cloned();
        for (zxid, bytes) in in_ring.chain(behind) {
            out.send(link, &QuorumPacket::new(packet::PROPOSAL, zxid, bytes));
            out.send(link, &QuorumPacket::bare(packet::COMMIT, zxid));
        }
    }
}

impl Role {
    /// Whether a learner may be synchronised now; else its link is closed.
    fn begin_sync(&mut self, link: LinkId, kind: SyncKind, out: &mut Outputs) -> bool {
        if let Self::Leading(leading) = self {
            return leading.core.begin_sync(link, kind, &mut leading.out);
        }
        match self.observers().map(|core| core.begin_sync(link, kind)) {
            Some(Err(reason)) => {
                close_learner(link, &reason, out);
                false
            }
            begun => begun.is_some(),
        }
    }
}

/// Whether an acknowledgement of a proposal says nothing that the next one does not say, too: a
/// learner logs in order.
fn is_superseded(packet: &QuorumPacket, next: &QuorumPacket) -> bool {
    (packet.kind, next.kind) == (packet::ACK, packet::ACK)
        && counter_of(packet.zxid) != 0
        && epoch_of(packet.zxid) == epoch_of(next.zxid)
        && packet.zxid < next.zxid
}

/// Lets a learner go.
pub(super) fn close_learner(link: LinkId, reason: &str, out: &mut Outputs) {
    log::warn!("closing learner's link {link}: {reason}");
    out.link(link, LinkCommand::Close);
}
