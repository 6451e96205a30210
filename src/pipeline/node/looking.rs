//! The node without a leader: stepping down from a role in good order, and the election of the
//! next one. Java: `QuorumPeer.run`.

use std::sync::Arc;

use super::observing::some_of;
use super::outputs::RoleReport;
use super::{Command, Cx, Event, LinkCommand, LogMark, Node, Outputs, Role};
use crate::config::{QuorumConfig, Role as PeerRole};
use crate::quorum::election::{self, Election};
use crate::wire::election::ServerState;

impl Node {
    /// Leaves the role: clients and peers are let go, what is in the log comes into memory, and
    /// when the log has nothing left to do, an election starts. Nothing of the old role can arrive
    /// late: links have new numbers, and the log is drained first (ZOOKEEPER-4712).
    pub(super) fn step_down(&mut self, reason: &str, out: &mut Outputs) {
        let role = std::mem::replace(&mut self.role, Role::Draining { reload: false });
        let mut reload = false;
        self.leaving = None;
        self.election_delay = 0;
        match role {
            Role::Leading(leading) => {
                log::warn!("Shutdown called. For the reason {reason}");
                self.accepted_by_others =
                    self.accepted_by_others.max(leading.core.highest_accepted());
                out.commands.push(Command::ListenForLearners(None));
                for link in leading.core.all_links() {
                    out.link(link, LinkCommand::Close);
                }
                let orphans = std::mem::take(&mut self.in_flight);
                self.ready.extend(orphans.into_iter().filter_map(Self::orphan));
            }
            Role::Following(mut following) => {
                log::warn!("no longer following {}: {reason}", following.leader);
                out.link(following.link, LinkCommand::Close);
                if let Some(core) = following.observers.take() {
                    out.commands.push(Command::ListenForLearners(None));
                    core.all_links()
                        .into_iter()
                        .for_each(|link| out.link(link, LinkCommand::Close));
                }
                if following.observer {
                    let most = self.settings.observers.election_delay_ms;
                    self.election_delay = some_of(most, out.random);
                }
                reload = following.core.as_ref().is_some_and(|core| core.tree_in_doubt())
                    || self.must_forget_unlogged(self.membership.committed());
                let uncommitted = Self::take_uncommitted(&mut following);
                if !reload {
                    self.ready.extend(uncommitted);
                }
            }
            Role::Standalone(_) | Role::Draining { .. } | Role::Looking => {}
        }
        self.drain(reload, out);
    }

    /// Whether a configuration makes a voter of an observer that kept no log: a voter has only what
    /// it has on disk, and gets the rest anew.
    fn must_forget_unlogged(&self, config: &QuorumConfig) -> bool {
        self.unlogged && config.role_of(self.settings.my_id) == PeerRole::Participant
    }

    fn drain(&mut self, reload: bool, out: &mut Outputs) {
        self.let_clients_go(out);
        self.report_role("", "election", out);
        self.role = Role::Draining { reload };
        if reload {
            self.replacement = None;
            self.ready.clear();
            self.order_reload(out);
        } else {
            self.mark_flushed(LogMark::Drained);
        }
    }

    /// An observer waits a little: many may have lost the same master at once.
    pub(super) fn look_soon(&mut self, cx: Cx<'_>, out: &mut Outputs) {
        match std::mem::take(&mut self.election_delay) {
            0 => self.start_looking(cx, out),
            delay => self.looks_at = Some(cx.now.mono + delay),
        }
    }

    pub(super) fn tick_draining(&mut self, cx: Cx<'_>, out: &mut Outputs) {
        if self.looks_at.take_if(|at| *at <= cx.now.mono).is_some() {
            self.start_looking(cx, out);
        }
    }

    /// Starts an election with what the log has.
    pub(super) fn start_looking(&mut self, cx: Cx<'_>, out: &mut Outputs) {
        self.role = Role::Looking;
        self.looking_since = cx.now.mono;
        self.unavailable_since.get_or_insert(cx.now.mono);
        self.metrics.looking_count.add(1);
        self.report_role("", "election", out);
        self.show_config(cx);
        let start = election::Event::Start {
            current_epoch: self.current_epoch,
            last_logged_zxid: self.appended,
        };
        self.step_election(start, cx, out);
    }

    fn new_election(&self) -> Option<Election> {
        let quorum = self.settings.quorum.as_ref()?;
        let role = self.membership.committed().role_of(self.settings.my_id);
        Some(Election::new(quorum.election.clone(), self.membership.verifier(), role))
    }

    pub(super) fn on_election_event(&mut self, event: Event, cx: Cx<'_>, out: &mut Outputs) {
        let event = match event {
            Event::Vote { from, notification } => election::Event::Received { from, notification },
            Event::PeerConnected { sid } => election::Event::Connected { sid },
            Event::PeerDisconnected { sid } => {
                self.supporter_lost(sid);
                election::Event::Disconnected { sid }
            }
            _ => return,
        };
        self.step_election(event, cx, out);
    }

    pub(super) fn tick_election(&mut self, cx: Cx<'_>, out: &mut Outputs) {
        let due = self.election.as_ref().and_then(Election::next_deadline);
        if due.is_some_and(|at| at as i64 <= cx.now.mono) {
            self.step_election(election::Event::Tick, cx, out);
        }
    }

    /// Leader or follower of an established epoch, and about to serve: votes say so from now on
    /// (ZOOKEEPER-1732).
    pub(super) fn tell_election(&mut self, epoch: i64, cx: Cx<'_>, out: &mut Outputs) {
        if let Some(since) = self.unavailable_since.take() {
            let took = cx.now.mono - since;
            self.metrics.unavailable_time.add(took);
            if matches!(self.role, Role::Leading(_)) {
                self.metrics.leader_unavailable_time.add(took);
            }
        }
        self.step_election(election::Event::EpochEstablished { epoch }, cx, out);
    }

    pub(super) fn step_election(&mut self, event: election::Event, cx: Cx<'_>, out: &mut Outputs) {
        if self.election.is_none() {
            self.election = self.new_election();
        }
        let Some(election) = &mut self.election else { return };
        let mut outputs = Vec::new();
        election.step(event, cx.now.mono as u64, &mut outputs);
        for output in outputs {
            match output {
                election::Output::Send { to, notification } => {
                    out.commands.push(Command::SendVote { to, notification });
                }
                election::Output::Decided { state, vote, supporters } => {
                    self.on_decided(state, vote.leader, cx, out);
                    if let Role::Leading(leading) = &mut self.role {
                        leading.core.elected_by(supporters);
                    }
                }
                election::Output::NewerConfig { from, config } => {
                    log::info!("server {from} knows a later configuration than we");
                    self.on_newer_config(config, cx, out);
                }
                election::Output::PeerLooking { sid } => self.supporter_lost(sid),
            }
        }
    }

    /// Another server's vote shows a later configuration. If memory has to be forgotten first, the
    /// next vote brings it again.
    fn on_newer_config(&mut self, config: QuorumConfig, cx: Cx<'_>, out: &mut Outputs) {
        if !self.must_forget_unlogged(&config) {
            self.activate(Arc::new(config), None, cx, out);
        } else if matches!(self.role, Role::Looking) {
            self.stop_read_only(out);
            self.drain(true, out);
        }
    }

    fn supporter_lost(&mut self, sid: i64) {
        if let Role::Leading(leading) = &mut self.role
            && leading.core.supporter_lost(sid, &mut leading.out)
        {
            self.metrics.quit_leading_due_to_disloyal_voter.add(1);
        }
    }

    fn on_decided(&mut self, state: ServerState, leader: i64, cx: Cx<'_>, out: &mut Outputs) {
        if !matches!(self.role, Role::Looking) {
            return;
        }
        self.stop_read_only(out);
        let took = cx.now.mono - self.looking_since;
        self.metrics.election_time.add(took);
        log::info!("{state:?} - LEADER ELECTION TOOK - {took} MS, leader is {leader}");
        self.take_role(state, leader, cx, out);
    }

    pub(super) fn take_role(
        &mut self,
        state: ServerState,
        leader: i64,
        cx: Cx<'_>,
        out: &mut Outputs,
    ) {
        match state {
            ServerState::Leading => self.start_leading(cx, out),
            ServerState::Following => self.start_following(leader, false, cx, out),
            ServerState::Observing => self.start_following(leader, true, cx, out),
            ServerState::Looking => {}
        }
    }

    pub(super) fn report_role(
        &self,
        mode: &'static str,
        zab_state: &'static str,
        out: &mut Outputs,
    ) {
        let leader = match &self.role {
            Role::Leading(_) => Some(self.settings.my_id),
            Role::Following(f) => Some(f.master),
            _ => None,
        };
        out.commands.push(Command::Report(RoleReport { mode, zab_state, leader }));
    }
}
