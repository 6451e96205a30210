//! A follower's side towards observers that learn from it and not from the leader. It passes on
//! what it has seen committed, and puts the observers' requests into its own stream to the leader;
//! it decides nothing. Pure, like the leader's core; whoever drives it executes `Synchronize` and
//! reports commits and the leader's answers. Java: `ObserverMaster`, `LearnerHandler`.

use std::collections::VecDeque;
use std::sync::Arc;

use super::learners::{self, Learner, Learners, LinkId, Stage, SyncKind, SyncLimits, Word};
use super::sync_plan::OnDisk;
use crate::config::QuorumConfig;
use crate::wire::quorum::{
    QuorumPacket, Revalidated, SessionTouch, packet, write_inform_and_activate,
};
use crate::wire::{Record, code, counter_of, epoch_of};

/// What an observer master is told once and for all.
#[derive(Debug, Clone)]
pub struct ObserverMasterSettings {
    pub tick_ms: i64,
    /// Ticks in which observers must have synchronised.
    pub init_limit: i64,
    /// Ticks without a word after which an observer is given up.
    pub sync_limit: i64,
    pub sync_limits: SyncLimits,
}

/// What the driver has to do, in this order.
#[derive(Debug, PartialEq)]
pub enum ObserverMasterOutput {
    Send {
        link: LinkId,
        packet: QuorumPacket,
    },
    /// Close the link: the observer misbehaved, fell silent, or is none.
    Close {
        link: LinkId,
        reason: String,
    },
    /// See whether the disk is needed for an observer whose log ends at `peer`, and what it has;
    /// then call [`ObserverMasterCore::history_found`].
    FindHistory {
        link: LinkId,
        peer: i64,
    },
    /// Queue DIFF, TRUNC or SNAP and what goes with it, up to the transaction reported committed
    /// last, for an observer whose log ends at `peer`.
    Synchronize {
        link: LinkId,
        sid: i64,
        peer: i64,
        disk: Option<OnDisk>,
    },
    /// Give this to the leader.
    Forward(QuorumPacket),
    /// Give this `sync` to the leader; its answer is for the link.
    ForwardSync {
        link: LinkId,
        packet: QuorumPacket,
    },
    /// Sessions that an observer's clients kept alive: id, time-out in ms.
    Touch(Vec<(i64, i32)>),
}

/// An observer that has asked the leader for a session.
#[derive(Debug)]
struct Revalidation {
    link: LinkId,
    session: i64,
    timeout: i32,
}

/// A reconfiguration that is committed, until it is known whom it appoints to lead.
#[derive(Debug)]
struct Reconfig {
    zxid: i64,
    bytes: Arc<[u8]>,
}

/// The observer master's state. See the module's documentation.
#[derive(Debug)]
pub struct ObserverMasterCore {
    settings: ObserverMasterSettings,
    epoch: i64,
    /// In force.
    config: Arc<QuorumConfig>,
    learners: Learners,
    /// Passed on, or there to be synchronised with, is everything up to this zxid.
    committed: i64,
    reconfig: Option<Reconfig>,
    /// In the order in which the leader answers. Those of links that are gone stay, too.
    revalidations: VecDeque<Revalidation>,
    next_ping: i64,
}

impl ObserverMasterCore {
    /// This server follows a leader in `epoch` and has everything up to `committed`.
    pub fn new(
        settings: ObserverMasterSettings,
        epoch: i64,
        config: Arc<QuorumConfig>,
        committed: i64,
        now: i64,
    ) -> Self {
        Self {
            next_ping: now + settings.tick_ms / 2,
            settings,
            epoch,
            config,
            learners: Learners::new(),
            committed,
            reconfig: None,
            revalidations: VecDeque::new(),
        }
    }

    /// Another configuration is in force.
    pub fn set_config(&mut self, config: Arc<QuorumConfig>) {
        self.config = config;
    }

    pub fn all_links(&self) -> Vec<LinkId> {
        self.learners.keys().copied().collect()
    }

    /// Observers that got UPTODATE.
    pub fn synced_count(&self) -> usize {
        self.learners.values().filter(|l| l.stage == Stage::Active).count()
    }

    // ---- observers come, speak and go ------------------------------------------------------

    pub fn connected(&mut self, link: LinkId, now: i64) {
        self.learners.insert(link, Learner::connected(now));
    }

    pub fn disconnected(&mut self, link: LinkId) {
        self.learners.remove(&link);
    }

    /// An observer that is being sent much data is making progress.
    pub fn progress(&mut self, link: LinkId, now: i64) {
        if let Some(learner) = self.learners.get_mut(&link).filter(|l| l.stage != Stage::Active) {
            learner.heard = now;
        }
    }

    fn close(&mut self, link: LinkId, reason: String, out: &mut Vec<ObserverMasterOutput>) {
        out.push(ObserverMasterOutput::Close { link, reason });
        self.disconnected(link);
    }

    pub fn packet(
        &mut self,
        link: LinkId,
        packet: QuorumPacket,
        now: i64,
        out: &mut Vec<ObserverMasterOutput>,
    ) {
        let Some(learner) = self.learners.get_mut(&link) else { return };
        learner.heard = now;
        let result = match (learner.stage, packet.kind) {
            (Stage::Connected, packet::OBSERVERINFO) => self.on_info(link, &packet, out),
            (Stage::AcksEpoch, packet::ACKEPOCH) => {
                // Its epoch matters to a leader only.
                learner.stage = Stage::AwaitsSync { peer: packet.zxid };
                self.find_history(link, out);
                Ok(())
            }
            (Stage::Syncing, packet::ACK) => {
                learner.stage = Stage::Active;
                out.push(ObserverMasterOutput::Send { link, packet: learners::uptodate() });
                Ok(())
            }
            (Stage::Active, _) => self.on_active(link, packet, out),
            (stage, kind) => Err(format!("unexpected {} while {stage:?}", packet::name(kind))),
        };
        if let Err(reason) = result {
            self.close(link, reason, out);
        }
    }

    fn on_info(
        &mut self,
        link: LinkId,
        info: &QuorumPacket,
        out: &mut Vec<ObserverMasterOutput>,
    ) -> Result<(), String> {
        let version = self.config.version;
        let older = learners::introduce(&mut self.learners, link, info, version)?;
        for old in older {
            self.close(old, "the observer has connected again".into(), out);
        }
        if let Some(learner) = self.learners.get_mut(&link) {
            learner.stage = Stage::AcksEpoch;
            let packet = learners::leader_info(self.epoch);
            out.push(ObserverMasterOutput::Send { link, packet });
        }
        Ok(())
    }

    // ---- synchronisation -------------------------------------------------------------------

    /// Whether an observer has seen more of this epoch than this server: it was told by a quicker
    /// master. What it has is committed or soon will be, so there is nothing to truncate.
    fn is_behind(&self, peer: i64) -> bool {
        epoch_of(peer) == self.epoch && counter_of(peer) != 0 && peer > self.committed
    }

    fn find_history(&mut self, link: LinkId, out: &mut Vec<ObserverMasterOutput>) {
        let stage = self.learners.get(&link).map(|l| l.stage);
        let Some(Stage::AwaitsSync { peer }) = stage else { return };
        if self.is_behind(peer) {
            return;
        }
        if let Some(learner) = self.learners.get_mut(&link) {
            learner.stage = Stage::AwaitsHistory { peer };
            out.push(ObserverMasterOutput::FindHistory { link, peer });
        }
    }

    /// Queues everything an observer lacks, and from here on forwards what happens. `disk`: what
    /// it has that memory has not, if it was searched.
    pub fn history_found(
        &mut self,
        link: LinkId,
        disk: Option<OnDisk>,
        out: &mut Vec<ObserverMasterOutput>,
    ) {
        let Some(learner) = self.learners.get_mut(&link) else { return };
        let Stage::AwaitsHistory { peer } = learner.stage else { return };
        learner.stage = Stage::Syncing;
        let sid = learner.sid;
        out.push(ObserverMasterOutput::Synchronize { link, sid, peer, disk });
        let config: Arc<[u8]> = self.config.to_string().into_bytes().into();
        let packet = learners::newleader(self.epoch, config);
        out.push(ObserverMasterOutput::Send { link, packet });
    }

    /// Whether an observer that is to be synchronised may be so now. If not, it is forgotten: close
    /// its link.
    pub fn begin_sync(&mut self, link: LinkId, kind: SyncKind) -> Result<(), String> {
        let limits = self.settings.sync_limits;
        let begun = learners::begin_sync(&mut self.learners, link, kind, limits);
        if begun.is_err() {
            self.disconnected(link);
        }
        begun
    }

    /// See [`learners::syncing`].
    pub fn syncing(&self, kind: SyncKind) -> usize {
        learners::syncing(&self.learners, kind)
    }

    /// See [`learners::ends_sync`].
    pub fn ends_sync(&self, link: LinkId, packet: &QuorumPacket) -> Option<SyncKind> {
        learners::ends_sync(&self.learners, link, packet)
    }

    // ---- commits ---------------------------------------------------------------------------

    /// The next transaction is committed. `bytes`: as logged (D-16). Who it is that leads under a
    /// reconfiguration is told by [`Self::activated`], which must follow.
    pub fn committed(
        &mut self,
        zxid: i64,
        bytes: Arc<[u8]>,
        reconfig: bool,
        out: &mut Vec<ObserverMasterOutput>,
    ) {
        if reconfig {
            self.reconfig = Some(Reconfig { zxid, bytes });
        } else {
            self.pass_on(&QuorumPacket::new(packet::INFORM, zxid, bytes), out);
        }
    }

    /// The reconfiguration committed last takes effect.
    pub fn activated(&mut self, designated_leader: i64, out: &mut Vec<ObserverMasterOutput>) {
        if let Some(Reconfig { zxid, bytes }) = self.reconfig.take() {
            let data = write_inform_and_activate(designated_leader, &bytes);
            self.pass_on(&QuorumPacket::new(packet::INFORM_AND_ACTIVATE, zxid, data), out);
        }
    }

    fn pass_on(&mut self, inform: &QuorumPacket, out: &mut Vec<ObserverMasterOutput>) {
        self.committed = inform.zxid;
        self.send_all(inform, out);
        let waits = |l: &Learner| matches!(l.stage, Stage::AwaitsSync { .. });
        let waiting = self.learners.iter().filter(|(_, l)| waits(l));
        for link in waiting.map(|(link, _)| *link).collect::<Vec<_>>() {
            self.find_history(link, out);
        }
    }

    fn send_all(&self, packet: &QuorumPacket, out: &mut Vec<ObserverMasterOutput>) {
        for (link, _) in self.learners.iter().filter(|(_, l)| l.forwarding()) {
            out.push(ObserverMasterOutput::Send { link: *link, packet: packet.clone() });
        }
    }

    // ---- requests and their answers --------------------------------------------------------

    fn on_active(
        &mut self,
        link: LinkId,
        packet: QuorumPacket,
        out: &mut Vec<ObserverMasterOutput>,
    ) -> Result<(), String> {
        match Word::read(&packet)? {
            // Of UPTODATE.
            Word::Ack => {}
            Word::Touch(sessions) => out.push(ObserverMasterOutput::Touch(sessions)),
            Word::Revalidate(SessionTouch { session_id: session, timeout }) => {
                self.revalidations.push_back(Revalidation { link, session, timeout });
                out.push(ObserverMasterOutput::Forward(packet));
            }
            Word::Request(request) if request.op == code::SYNC => {
                out.push(ObserverMasterOutput::ForwardSync { link, packet });
            }
            Word::Request(_) => out.push(ObserverMasterOutput::Forward(packet)),
        }
        Ok(())
    }

    /// The leader's word on a session; false if no observer has asked for it.
    pub fn revalidated(
        &mut self,
        session: i64,
        valid: bool,
        out: &mut Vec<ObserverMasterOutput>,
    ) -> bool {
        let asked = self.revalidations.front().is_some_and(|first| first.session == session);
        if !asked {
            return false;
        }
        let Some(first) = self.revalidations.pop_front() else { return false };
        let answer = Revalidated { session_id: session, valid }.to_bytes();
        let packet = QuorumPacket::new(packet::REVALIDATE, 0, answer);
        out.push(ObserverMasterOutput::Send { link: first.link, packet });
        if valid {
            out.push(ObserverMasterOutput::Touch(vec![(session, first.timeout)]));
        }
        true
    }

    // ---- time ------------------------------------------------------------------------------

    /// Call several times a tick.
    pub fn tick(&mut self, now: i64, out: &mut Vec<ObserverMasterOutput>) {
        let ObserverMasterSettings { tick_ms, init_limit, sync_limit, .. } = self.settings;
        let (init, sync) = (tick_ms * init_limit, tick_ms * sync_limit);
        for (link, reason) in learners::silent(&self.learners, now, init, sync) {
            self.close(link, reason, out);
        }
        if now >= self.next_ping {
            self.next_ping = now + tick_ms / 2;
            self.send_all(&QuorumPacket::bare(packet::PING, self.committed), out);
        }
    }
}
