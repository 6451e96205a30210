//! The leader's side of Zab 1.0: discovery, synchronisation, broadcast. Pure: packets, durability
//! reports and ticks go in, [`LeaderOutput`]s come out, in the order in which they must happen.
//! Knows no socket, no file and no tree: whoever drives it executes `Synchronize` (it owns the
//! history) and reports what the log has made durable.
//! Java: `Leader`, `LearnerHandler` (Q-20 … Q-39).

mod limits;

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use super::learners::{self, Learner, Learners, Stage, Word};
use super::sync_plan::OnDisk;
use super::verifier::QuorumVerifier;
use crate::config::{PeerAddress, QuorumConfig};
use crate::wire::quorum::{
    QuorumPacket, Revalidated, SessionTouch, packet, write_inform_and_activate,
};
use crate::wire::{Id, epoch_of, epoch_start};

pub use super::learners::{LinkId, SyncKind, SyncLimits};
pub use limits::LAST_COUNTER;

/// What a leader is told once and for all.
#[derive(Debug, Clone)]
pub struct LeaderSettings {
    pub my_id: i64,
    pub tick_ms: i64,
    /// Ticks in which followers must have connected and synchronised.
    pub init_limit: i64,
    /// Ticks without a word after which a learner is given up.
    pub sync_limit: i64,
    /// `reconfigEnabled`.
    pub reconfig_enabled: bool,
    pub sync_limits: SyncLimits,
    /// The last transaction of an epoch: [`LAST_COUNTER`], but for tests.
    pub last_counter: u32,
}

/// The configurations that a server knows when it begins to lead.
#[derive(Debug, Clone)]
pub struct Configs {
    /// In force.
    pub committed: Arc<QuorumConfig>,
    /// Proposed last. If it is later, this leader completes what another began.
    pub last_seen: Arc<QuorumConfig>,
}

/// Epoch and log of a server, as compared when a learner acknowledges an epoch.
/// Java: `StateSummary`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct StateSummary {
    pub current_epoch: i64,
    pub last_zxid: i64,
}

/// What the driver has to do, in this order.
#[derive(Debug, PartialEq)]
pub enum LeaderOutput {
    Send {
        link: LinkId,
        packet: QuorumPacket,
    },
    /// Close the link: the learner misbehaved, fell silent, or is not wanted.
    Close {
        link: LinkId,
        reason: String,
    },
    /// The configuration gets its first version: keep it as the one seen last.
    LastSeenConfig(Arc<QuorumConfig>),
    /// Make the epoch durable, then call [`LeaderCore::accepted_epoch_durable`].
    SetAcceptedEpoch(i64),
    /// Make the epoch durable, then call [`LeaderCore::current_epoch_durable`].
    SetCurrentEpoch(i64),
    /// See whether the disk is needed for a learner whose log ends at `peer`, and what it has;
    /// then call [`LeaderCore::history_found`].
    FindHistory {
        link: LinkId,
        peer: i64,
    },
    /// Queue DIFF, TRUNC or SNAP and what goes with it, for a learner whose log ends at `peer`.
    Synchronize {
        link: LinkId,
        sid: i64,
        peer: i64,
        disk: Option<OnDisk>,
    },
    /// A quorum is synchronised: serve clients; the first transaction is `epoch_start + 1`.
    Established {
        epoch: i64,
    },
    /// Every transaction up to this zxid is committed.
    Commit {
        zxid: i64,
    },
    /// A configuration takes effect: with the commit of its transaction, which follows, or as this
    /// leader is established.
    Activate {
        config: Arc<QuorumConfig>,
        designated_leader: i64,
    },
    /// A learner forwards a request of one of its clients.
    Request {
        link: LinkId,
        session: i64,
        cxid: i32,
        op: i32,
        body: Box<[u8]>,
        ids: Vec<Id>,
    },
    /// Sessions that a learner's clients kept alive: id, time-out in ms.
    Touch {
        link: LinkId,
        sessions: Vec<(i64, i32)>,
    },
    /// A client brings a session to a learner: answer with [`LeaderCore::revalidated`].
    Revalidate {
        link: LinkId,
        session: i64,
        timeout: i32,
    },
    /// This server leads no more.
    StepDown {
        reason: String,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Waiting until a quorum has told which epochs it accepted.
    Discovery,
    /// The new epoch is chosen and being made durable here.
    AcceptingEpoch,
    /// Waiting until a quorum has acknowledged the epoch.
    EpochAcks,
    /// The current epoch is being made durable here; learners synchronise.
    Synchronization,
    /// Serving.
    Broadcast,
    /// Stepped down: nothing comes out any more.
    Ended,
}

#[derive(Debug)]
struct Outstanding {
    zxid: i64,
    proposal: QuorumPacket,
}

/// A configuration that is proposed and not committed: by the transaction with this zxid, or by
/// NEWLEADER.
#[derive(Debug)]
struct PendingConfig {
    zxid: i64,
    verifier: QuorumVerifier,
}

/// The leader's state. See the module's documentation.
#[derive(Debug)]
pub struct LeaderCore {
    settings: LeaderSettings,
    verifier: QuorumVerifier,
    pending: Option<PendingConfig>,
    /// Text sent with NEWLEADER: the last seen configuration.
    config_text: Arc<[u8]>,
    phase: Phase,
    epoch: i64,
    mine: StateSummary,
    learners: Learners,
    /// The highest epoch that a learner has told to have accepted.
    highest_accepted: i64,
    /// Whose votes made this server leader and who are not known to have changed their minds;
    /// `None`: a reconfiguration appointed it.
    supporters: Option<BTreeSet<i64>>,
    epoch_infos: BTreeSet<i64>,
    epoch_acks: BTreeSet<i64>,
    newleader_acks: BTreeSet<i64>,
    outstanding: VecDeque<Outstanding>,
    /// Everything up to this zxid is durable here.
    logged: i64,
    last_proposed: i64,
    last_committed: i64,
    /// sync requests that wait for a commit: zxid, learner.
    pending_syncs: VecDeque<(i64, LinkId)>,
    oracle: Option<bool>,
    /// After a reconfiguration took the leadership away: no more commits.
    may_commit: bool,
    deadline: i64,
    next_ping: i64,
    /// Pings go out twice a tick, the quorum is checked once.
    odd_half_tick: bool,
}

impl LeaderCore {
    /// Starts to lead. `accepted_epoch`: the epoch this server accepted last.
    pub fn new(
        settings: LeaderSettings,
        configs: Configs,
        accepted_epoch: i64,
        mine: StateSummary,
        now: i64,
        out: &mut Vec<LeaderOutput>,
    ) -> Self {
        let deadline = now + settings.tick_ms * settings.init_limit;
        let Configs { committed, last_seen } = configs;
        let is_later = last_seen.version > committed.version;
        let pending = is_later.then(|| QuorumVerifier::new(Arc::clone(&last_seen)));
        let mut core = Self {
            epoch: accepted_epoch + 1,
            verifier: QuorumVerifier::new(committed),
            // Proposed by NEWLEADER, whose zxid is not known yet.
            pending: pending.map(|verifier| PendingConfig { zxid: 0, verifier }),
            config_text: last_seen.to_string().into_bytes().into(),
            phase: Phase::Discovery,
            mine,
            learners: Learners::new(),
            highest_accepted: accepted_epoch,
            supporters: None,
            epoch_infos: BTreeSet::from([settings.my_id]),
            epoch_acks: BTreeSet::new(),
            newleader_acks: BTreeSet::new(),
            outstanding: VecDeque::new(),
            logged: mine.last_zxid,
            last_proposed: 0,
            last_committed: mine.last_zxid,
            pending_syncs: VecDeque::new(),
            oracle: None,
            may_commit: true,
            deadline,
            next_ping: now + settings.tick_ms / 2,
            odd_half_tick: true,
            settings,
        };
        core.try_choose_epoch(now, out);
        core
    }

    pub fn epoch(&self) -> i64 {
        self.epoch
    }

    /// What this server's next epoch, if it leads again, has to be later than.
    pub fn highest_accepted(&self) -> i64 {
        self.highest_accepted
    }

    pub fn is_established(&self) -> bool {
        self.phase == Phase::Broadcast
    }

    /// Everything up to this zxid is durable in this server's own log.
    pub fn logged_upto(&self) -> i64 {
        self.logged
    }

    pub fn last_proposed(&self) -> i64 {
        self.last_proposed
    }

    /// Number of proposals that are not committed.
    pub fn outstanding(&self) -> usize {
        self.outstanding.len()
    }

    /// Learners that got UPTODATE: (voting followers, other followers, observers).
    pub fn synced_counts(&self) -> (usize, usize, usize) {
        let mut counts = (0, 0, 0);
        for l in self.learners.values().filter(|l| l.stage == Stage::Active) {
            match (l.observer, self.verifier.is_voter(l.sid)) {
                (true, _) => counts.2 += 1,
                (false, true) => counts.0 += 1,
                (false, false) => counts.1 += 1,
            }
        }
        counts
    }

    /// The links of all learners.
    pub fn all_links(&self) -> Vec<LinkId> {
        self.learners.keys().copied().collect()
    }

    pub fn learner_count(&self) -> usize {
        self.learners.len()
    }

    pub fn pending_syncs(&self) -> usize {
        self.pending_syncs.len()
    }

    /// Whether a quorum of `verifier` is synchronised with this leader (C-132: NewConfigNoQuorum).
    pub fn is_synced_quorum(&self, verifier: &QuorumVerifier) -> bool {
        let synced = self.synced_sids();
        verifier.is_quorum(|sid| synced.contains(&sid))
    }

    /// When [`Self::tick`] wants to be called next, ms.
    pub fn next_deadline(&self) -> i64 {
        if self.is_established() { self.next_ping } else { self.deadline.min(self.next_ping) }
    }

    // ---- supporters ------------------------------------------------------------------------

    /// Whose votes made this server leader: while it has no epoch it counts on them.
    pub fn elected_by(&mut self, supporters: BTreeSet<i64>) {
        self.supporters = Some(supporters);
    }

    /// A voter looks for a leader again, or is gone. If it was needed, is no learner here, and has
    /// not acknowledged NEWLEADER, which is all that is asked of it, then it will not come, since
    /// this server alone cannot convince it: all have to vote once more (ZOOKEEPER-3109: to wait
    /// for it until initLimit would be a long outage). Whether that is so.
    pub fn supporter_lost(&mut self, sid: i64, out: &mut Vec<LeaderOutput>) -> bool {
        let Some(supporters) = &mut self.supporters else { return false };
        let waits = !matches!(self.phase, Phase::Broadcast | Phase::Ended);
        if !waits || !supporters.remove(&sid) {
            return false;
        }
        let mut left = supporters.clone();
        left.extend(self.learners.values().map(|l| l.sid));
        left.extend(&self.newleader_acks);
        let lacks = !self.is_quorum(&self.verifier, |sid| left.contains(&sid));
        if lacks {
            self.step_down(format!("server {sid} supports us no more, left are {left:?}"), out);
        }
        lacks
    }

    // ---- learners come, speak and go -------------------------------------------------------

    pub fn connected(&mut self, link: LinkId, now: i64) {
        self.learners.insert(link, Learner::connected(now));
    }

    pub fn disconnected(&mut self, link: LinkId, out: &mut Vec<LeaderOutput>) {
        self.learners.remove(&link);
        self.pending_syncs.retain(|(_, l)| *l != link);
        if !self.may_commit && self.is_established() && !self.has_synced_quorum() {
            self.step_down("another is to lead under the new configuration".into(), out);
        }
    }

    /// A learner that is being sent much data is making progress (Q-35: no total time limit). One
    /// that is in step has to say something itself.
    pub fn progress(&mut self, link: LinkId, now: i64) {
        if let Some(learner) = self.learners.get_mut(&link).filter(|l| l.stage != Stage::Active) {
            learner.heard = now;
            self.extend_deadline(now);
        }
    }

    pub fn packet(
        &mut self,
        link: LinkId,
        packet: QuorumPacket,
        now: i64,
        out: &mut Vec<LeaderOutput>,
    ) {
        let Some(learner) = self.learners.get_mut(&link) else { return };
        learner.heard = now;
        let result = match (learner.stage, packet.kind) {
            (Stage::Connected, packet::FOLLOWERINFO | packet::OBSERVERINFO) => {
                self.on_info(link, &packet, now, out)
            }
            (Stage::AcksEpoch, packet::ACKEPOCH) => self.on_ack_epoch(link, &packet, now, out),
            (Stage::Syncing, packet::ACK) if packet.zxid != epoch_start(self.epoch) => {
                // ZOOKEEPER-4685: a proposal's ack may overtake that of NEWLEADER.
                self.on_ack(link, packet.zxid, now, out);
                Ok(())
            }
            (Stage::Syncing, packet::ACK) => self.on_newleader_ack(link, now, out),
            (Stage::Active | Stage::Synced, _) => self.on_active(link, packet, now, out),
            (stage, kind) => Err(format!("unexpected {} while {stage:?}", packet::name(kind))),
        };
        if let Err(reason) = result {
            self.close(link, reason, out);
        }
    }

    fn close(&mut self, link: LinkId, reason: String, out: &mut Vec<LeaderOutput>) {
        out.push(LeaderOutput::Close { link, reason });
        self.disconnected(link, out);
    }

    // ---- discovery -------------------------------------------------------------------------

    fn on_info(
        &mut self,
        link: LinkId,
        info: &QuorumPacket,
        now: i64,
        out: &mut Vec<LeaderOutput>,
    ) -> Result<(), String> {
        let older = learners::introduce(&mut self.learners, link, info, self.verifier.version())?;
        let sid = self.learners[&link].sid;
        for old in older {
            self.close(old, format!("server {sid} has connected again"), out);
        }
        let accepted = epoch_of(info.zxid);
        self.highest_accepted = self.highest_accepted.max(accepted);
        if self.phase == Phase::Discovery {
            self.epoch = self.epoch.max(accepted + 1);
            if self.verifier.is_voter(sid) {
                self.epoch_infos.insert(sid);
                self.extend_deadline(now);
            }
            self.try_choose_epoch(now, out);
        } else if accepted > self.epoch && self.verifier.is_voter(sid) {
            // It has promised not to follow this epoch, and would stay away until the next
            // election. Java's leaders leave it outside.
            self.step_down(format!("server {sid} has accepted epoch {accepted:#x}"), out);
        } else if self.phase != Phase::AcceptingEpoch {
            self.send_leader_info(link, out);
        }
        Ok(())
    }

    /// the epoch is decided once a quorum has told which epochs it accepted.
    fn try_choose_epoch(&mut self, now: i64, out: &mut Vec<LeaderOutput>) {
        if self.phase == Phase::Discovery
            && self.is_quorum(&self.verifier, |sid| self.epoch_infos.contains(&sid))
        {
            self.phase = Phase::AcceptingEpoch;
            self.extend_deadline(now);
            self.version_config(out);
            out.push(LeaderOutput::SetAcceptedEpoch(self.epoch));
        }
    }

    /// A configuration out of a static file has no version. As soon as it is to be established it
    /// gets one, so that it is later than that of a server which has only part of the picture and
    /// wants to join (ZOOKEEPER-1783). Proposed by NEWLEADER, since all must agree on it.
    fn version_config(&mut self, out: &mut Vec<LeaderOutput>) {
        let zxid = epoch_start(self.epoch);
        if let Some(pending) = &mut self.pending {
            pending.zxid = zxid;
        } else if self.verifier.version() == 0 && self.settings.reconfig_enabled {
            let config = QuorumConfig { version: zxid, ..(**self.verifier.config()).clone() };
            let config = Arc::new(config);
            self.propose_config(zxid, Arc::clone(&config));
            out.push(LeaderOutput::LastSeenConfig(config));
        }
    }

    fn propose_config(&mut self, zxid: i64, config: Arc<QuorumConfig>) {
        self.config_text = config.to_string().into_bytes().into();
        self.pending = Some(PendingConfig { zxid, verifier: QuorumVerifier::new(config) });
    }

    /// The accepted epoch is on disk here: tell it to those who wait.
    pub fn accepted_epoch_durable(&mut self, now: i64, out: &mut Vec<LeaderOutput>) {
        if self.phase != Phase::AcceptingEpoch {
            return;
        }
        self.phase = Phase::EpochAcks;
        self.last_proposed = epoch_start(self.epoch);
        let waiting: Vec<LinkId> = self.links(|l| l.stage == Stage::AwaitsEpoch);
        for link in waiting {
            self.send_leader_info(link, out);
        }
        self.epoch_acks.insert(self.settings.my_id);
        self.try_finish_epoch(now, out);
    }

    fn send_leader_info(&mut self, link: LinkId, out: &mut Vec<LeaderOutput>) {
        if let Some(learner) = self.learners.get_mut(&link) {
            learner.stage = Stage::AcksEpoch;
            out.push(LeaderOutput::Send { link, packet: learners::leader_info(self.epoch) });
        }
    }

    fn on_ack_epoch(
        &mut self,
        link: LinkId,
        ack: &QuorumPacket,
        now: i64,
        out: &mut Vec<LeaderOutput>,
    ) -> Result<(), String> {
        let epoch: i32 = ack.decode().map_err(|e| format!("bad ACKEPOCH: {e}"))?;
        let theirs = StateSummary { current_epoch: i64::from(epoch), last_zxid: ack.zxid };
        // −1: it had accepted this very epoch before, so this is no vote for it.
        let counts = epoch != -1;
        if self.phase == Phase::EpochAcks && counts && theirs > self.mine {
            return Err(format!(
                "Follower is ahead of the leader: epoch {epoch}, zxid {:#x} against {:?}",
                ack.zxid, self.mine
            ));
        }
        let learner = self.learners.get_mut(&link).ok_or("link is gone")?;
        learner.stage = Stage::AwaitsSync { peer: ack.zxid };
        let sid = learner.sid;
        match self.phase {
            Phase::EpochAcks => {
                if counts && ack.zxid != -1 && self.verifier.is_voter(sid) {
                    self.epoch_acks.insert(sid);
                }
                self.try_finish_epoch(now, out);
            }
            _ => self.find_history(link, out),
        }
        Ok(())
    }

    fn try_finish_epoch(&mut self, now: i64, out: &mut Vec<LeaderOutput>) {
        if self.phase != Phase::EpochAcks
            || !self.is_quorum(&self.verifier, |sid| self.epoch_acks.contains(&sid))
        {
            return;
        }
        self.phase = Phase::Synchronization;
        self.extend_deadline(now);
        out.push(LeaderOutput::SetCurrentEpoch(self.epoch));
        let waiting: Vec<LinkId> = self.links(|l| matches!(l.stage, Stage::AwaitsSync { .. }));
        for link in waiting {
            self.find_history(link, out);
        }
    }

    // ---- synchronisation -------------------------------------------------------------------

    fn find_history(&mut self, link: LinkId, out: &mut Vec<LeaderOutput>) {
        let Some(learner) = self.learners.get_mut(&link) else { return };
        let Stage::AwaitsSync { peer } = learner.stage else { return };
        learner.stage = Stage::AwaitsHistory { peer };
        out.push(LeaderOutput::FindHistory { link, peer });
    }

    /// Queues everything a learner lacks and from here on forwards what happens: sync packets,
    /// then (participants) what is proposed and not committed, then NEWLEADER (Q-53b).
    /// `disk`: what it has that memory has not, if it was searched.
    pub fn history_found(
        &mut self,
        link: LinkId,
        disk: Option<OnDisk>,
        out: &mut Vec<LeaderOutput>,
    ) {
        let Some(learner) = self.learners.get_mut(&link) else { return };
        let Stage::AwaitsHistory { peer } = learner.stage else { return };
        learner.stage = Stage::Syncing;
        let (sid, observer) = (learner.sid, learner.observer);
        out.push(LeaderOutput::Synchronize { link, sid, peer, disk });
        if !observer {
            for o in &self.outstanding {
                out.push(LeaderOutput::Send { link, packet: o.proposal.clone() });
            }
        }
        let newleader = learners::newleader(self.epoch, Arc::clone(&self.config_text));
        out.push(LeaderOutput::Send { link, packet: newleader });
    }

    fn on_newleader_ack(
        &mut self,
        link: LinkId,
        now: i64,
        out: &mut Vec<LeaderOutput>,
    ) -> Result<(), String> {
        let start = epoch_start(self.epoch);
        let learner = self.learners.get_mut(&link).ok_or("link is gone")?;
        learner.stage = Stage::Synced;
        learner.acked = learner.acked.max(start);
        let sid = learner.sid;
        if self.phase == Phase::Broadcast {
            self.activate(link, out);
            // Its ACKs of proposals may have come before (ZOOKEEPER-4685).
            self.try_commit(out);
        } else {
            self.newleader_acks.insert(sid);
            self.extend_deadline(now);
            self.try_establish(now, out);
        }
        Ok(())
    }

    /// This server's own currentEpoch is on disk: its own ACK of NEWLEADER.
    pub fn current_epoch_durable(&mut self, now: i64, out: &mut Vec<LeaderOutput>) {
        self.newleader_acks.insert(self.settings.my_id);
        self.try_establish(now, out);
    }

    fn try_establish(&mut self, now: i64, out: &mut Vec<LeaderOutput>) {
        let acked = |sid| self.newleader_acks.contains(&sid);
        if self.phase != Phase::Synchronization
            || !acked(self.settings.my_id)
            || !self.is_quorum_of_all(acked)
        {
            return;
        }
        self.phase = Phase::Broadcast;
        self.last_committed = epoch_start(self.epoch);
        self.next_ping = now + self.settings.tick_ms / 2;
        out.push(LeaderOutput::Established { epoch: self.epoch });
        self.activate_config(out);
        let synced: Vec<LinkId> = self.links(|l| l.stage == Stage::Synced);
        for link in synced {
            self.activate(link, out);
        }
    }

    fn activate(&mut self, link: LinkId, out: &mut Vec<LeaderOutput>) {
        if let Some(learner) = self.learners.get_mut(&link) {
            learner.stage = Stage::Active;
            out.push(LeaderOutput::Send { link, packet: learners::uptodate() });
        }
    }

    // ---- broadcast -------------------------------------------------------------------------

    /// Proposes the next transaction. `bytes`: the txn as logged (D-16). The driver logs it here
    /// and calls [`Self::logged`] when it is durable.
    pub fn propose(&mut self, zxid: i64, bytes: Arc<[u8]>, out: &mut Vec<LeaderOutput>) {
        assert!(
            zxid == self.last_proposed + 1 && self.is_established(),
            "proposal {zxid:#x} after {:#x} in {:?}",
            self.last_proposed,
            self.phase
        );
        self.last_proposed = zxid;
        self.warn_of_end();
        let proposal = QuorumPacket::new(packet::PROPOSAL, zxid, bytes);
        for link in self.links(|l| l.forwarding() && !l.observer) {
            out.push(LeaderOutput::Send { link, packet: proposal.clone() });
        }
        self.outstanding.push_back(Outstanding { zxid, proposal });
    }

    /// The transaction proposed last is a reconfiguration: until it commits, it and everything
    /// after it needs a quorum of both configurations.
    pub fn reconfigure(&mut self, config: Arc<QuorumConfig>) {
        assert!(self.pending.is_none(), "two reconfigurations at once");
        self.propose_config(self.last_proposed, config);
    }

    /// Everything up to `zxid` is durable in this server's own log.
    pub fn logged(&mut self, zxid: i64, out: &mut Vec<LeaderOutput>) {
        self.logged = self.logged.max(zxid);
        self.try_commit(out);
    }

    fn on_active(
        &mut self,
        link: LinkId,
        packet: QuorumPacket,
        now: i64,
        out: &mut Vec<LeaderOutput>,
    ) -> Result<(), String> {
        match Word::read(&packet)? {
            Word::Ack => self.on_ack(link, packet.zxid, now, out),
            Word::Touch(sessions) => out.push(LeaderOutput::Touch { link, sessions }),
            Word::Revalidate(SessionTouch { session_id: session, timeout }) => {
                out.push(LeaderOutput::Revalidate { link, session, timeout });
            }
            Word::Request(request) => out.push(LeaderOutput::Request {
                link,
                session: request.session_id,
                cxid: request.cxid,
                op: request.op,
                body: request.body.into(),
                ids: packet.authinfo.clone().unwrap_or_default(),
            }),
        }
        Ok(())
    }

    /// Acks are cumulative: a learner logs in order, so `zxid` stands for all before it.
    fn on_ack(&mut self, link: LinkId, zxid: i64, now: i64, out: &mut Vec<LeaderOutput>) {
        // The answer to UPTODATE carries the epoch's first zxid: no proposal's ack.
        if zxid == epoch_start(self.epoch) || epoch_of(zxid) != self.epoch {
            return;
        }
        let last_proposed = self.last_proposed;
        if let Some(learner) = self.learners.get_mut(&link) {
            learner.acked = learner.acked.max(zxid.min(last_proposed));
            learner.unacked = (learner.acked < last_proposed).then_some((last_proposed, now));
        }
        self.try_commit(out);
    }

    /// The session check that a [`LeaderOutput::Revalidate`] asked for.
    pub fn revalidated(
        &mut self,
        link: LinkId,
        session_id: i64,
        valid: bool,
        out: &mut Vec<LeaderOutput>,
    ) {
        let answer = crate::wire::Record::to_bytes(&Revalidated { session_id, valid });
        out.push(LeaderOutput::Send {
            link,
            packet: QuorumPacket::new(packet::REVALIDATE, 0, answer),
        });
    }

    /// Answers a learner's `sync` once everything proposed so far is committed.
    pub fn sync(&mut self, link: LinkId, out: &mut Vec<LeaderOutput>) {
        if self.outstanding.is_empty() {
            out.push(LeaderOutput::Send { link, packet: QuorumPacket::bare(packet::SYNC, 0) });
        } else {
            self.pending_syncs.push_back((self.last_proposed, link));
        }
    }

    /// Commits, in order, whatever a quorum has logged.
    fn try_commit(&mut self, out: &mut Vec<LeaderOutput>) {
        while self.may_commit && self.is_established() {
            let Some(front) = self.outstanding.front().map(|o| o.zxid) else { return };
            let upto = self.acked_by_quorum();
            if upto < front {
                return;
            }
            let upto = match &self.pending {
                Some(p) if front < p.zxid => upto.min(p.zxid - 1),
                Some(p) if front == p.zxid => front,
                _ => upto,
            };
            self.commit_upto(upto, out);
        }
    }

    /// The highest zxid that every configuration in force has a quorum for. A learner counts only
    /// once it has acknowledged NEWLEADER: before that, its currentEpoch may be an older one, and
    /// an election could pass over what it logged.
    fn acked_by_quorum(&self) -> i64 {
        let front = self.outstanding.front().map_or(0, |o| o.zxid);
        let joint = self.pending.as_ref().filter(|p| front >= p.zxid);
        let mut acked: Vec<(i64, i64)> = self
            .learners
            .values()
            .filter(|l| !l.observer && matches!(l.stage, Stage::Synced | Stage::Active))
            .map(|l| (l.acked, l.sid))
            .chain([(self.logged, self.settings.my_id)])
            .collect();
        acked.sort_unstable_by(|a, b| b.cmp(a));
        for (i, &(zxid, _)) in acked.iter().enumerate() {
            let has = |voter| acked[..=i].iter().any(|(_, sid)| *sid == voter);
            if self.is_quorum(&self.verifier, has)
                && joint.is_none_or(|p| self.is_quorum(&p.verifier, has))
            {
                return zxid;
            }
        }
        0
    }

    fn commit_upto(&mut self, upto: i64, out: &mut Vec<LeaderOutput>) {
        let mut last = 0;
        while self.outstanding.front().is_some_and(|o| o.zxid <= upto) {
            let Some(done) = self.outstanding.pop_front() else { break };
            last = done.zxid;
            if self.pending.as_ref().is_some_and(|p| p.zxid == done.zxid) {
                self.commit_reconfig(&done, out);
            } else {
                self.announce_commit(&done, out);
            }
            self.last_committed = done.zxid;
            self.answer_syncs(done.zxid, out);
        }
        out.push(LeaderOutput::Commit { zxid: last });
        self.end_used_up_epoch(out);
    }

    /// A sync's answer goes between the commit it waited for and the next one: what the learner
    /// reads then must not be newer than writes that its client sent after the sync.
    fn answer_syncs(&mut self, committed: i64, out: &mut Vec<LeaderOutput>) {
        while self.pending_syncs.front().is_some_and(|(zxid, _)| *zxid <= committed) {
            let Some((_, link)) = self.pending_syncs.pop_front() else { break };
            out.push(LeaderOutput::Send { link, packet: QuorumPacket::bare(packet::SYNC, 0) });
        }
    }

    fn announce_commit(&self, done: &Outstanding, out: &mut Vec<LeaderOutput>) {
        for (link, learner) in self.learners.iter().filter(|(_, l)| l.forwarding()) {
            let packet = if learner.observer {
                QuorumPacket { kind: packet::INFORM, ..done.proposal.clone() }
            } else {
                QuorumPacket::bare(packet::COMMIT, done.zxid)
            };
            out.push(LeaderOutput::Send { link: *link, packet });
        }
    }

    fn commit_reconfig(&mut self, done: &Outstanding, out: &mut Vec<LeaderOutput>) {
        let Some(designated) = self.activate_config(out) else { return };
        for (link, learner) in self.learners.iter().filter(|(_, l)| l.forwarding()) {
            let packet = if learner.observer {
                let data = write_inform_and_activate(designated, done.proposal.payload());
                QuorumPacket::new(packet::INFORM_AND_ACTIVATE, done.zxid, data)
            } else {
                let data = designated.to_be_bytes().to_vec();
                QuorumPacket::new(packet::COMMIT_AND_ACTIVATE, done.zxid, data)
            };
            out.push(LeaderOutput::Send { link: *link, packet });
        }
    }

    /// The pending configuration is in force from here on. Says who shall lead under it: if that is
    /// another, this leader commits nothing any more, and followers leave it.
    fn activate_config(&mut self, out: &mut Vec<LeaderOutput>) -> Option<i64> {
        let pending = self.pending.take()?;
        let designated_leader = self.designated_leader(&pending);
        self.may_commit = designated_leader == self.settings.my_id;
        let config = Arc::clone(pending.verifier.config());
        self.verifier = pending.verifier;
        out.push(LeaderOutput::Activate { config, designated_leader });
        Some(designated_leader)
    }

    /// This server if it stays a voter under the same address, else the new voter that has logged
    /// most.
    fn designated_leader(&self, pending: &PendingConfig) -> i64 {
        let me = self.settings.my_id;
        let address = |verifier: &QuorumVerifier| {
            let server = verifier.config().servers.get(&me)?;
            Some(server.addresses.iter().map(PeerAddress::quorum).collect::<Vec<_>>())
        };
        if pending.verifier.is_voter(me) && address(&pending.verifier) == address(&self.verifier) {
            return me;
        }
        let is_candidate = |l: &&Learner| {
            l.sid != me && l.acked >= pending.zxid && pending.verifier.is_voter(l.sid)
        };
        let acked = self.learners.values().filter(|l| !l.observer).filter(is_candidate);
        acked.max_by_key(|l| (l.acked, l.sid)).map_or(me, |l| l.sid)
    }

    // ---- time ------------------------------------------------------------------------------

    pub fn tick(&mut self, now: i64, out: &mut Vec<LeaderOutput>) {
        self.drop_silent(now, out);
        if !self.is_established() && now >= self.deadline {
            return self.step_down(self.why_not_established(), out);
        }
        if now < self.next_ping {
            return;
        }
        self.next_ping = now + self.settings.tick_ms / 2;
        if !self.is_established() {
            return;
        }
        self.odd_half_tick = !self.odd_half_tick;
        if self.odd_half_tick && !self.has_synced_quorum() {
            let synced = self.synced_sids();
            return self.step_down(
                format!("Not sufficient followers synced, only synced with sids: {synced:?}"),
                out,
            );
        }
        let ping = QuorumPacket::bare(packet::PING, self.last_proposed);
        for link in self.links(Learner::forwarding) {
            out.push(LeaderOutput::Send { link, packet: ping.clone() });
        }
    }

    fn has_synced_quorum(&self) -> bool {
        let synced = self.synced_sids();
        self.is_quorum_of_all(|sid| synced.contains(&sid))
    }

    /// Whether those are a quorum of the configuration in force and of the one proposed.
    fn is_quorum_of_all(&self, has: impl Fn(i64) -> bool) -> bool {
        self.is_quorum(&self.verifier, &has)
            && self.pending.as_ref().is_none_or(|p| self.is_quorum(&p.verifier, &has))
    }

    /// A quorum, or by the oracle's grace the one of two servers that is left.
    fn is_quorum(&self, verifier: &QuorumVerifier, has: impl Fn(i64) -> bool) -> bool {
        let is_alone = || !self.learners.values().any(|l| l.forwarding() && !l.observer);
        verifier.is_quorum(has)
            || (self.oracle == Some(true) && verifier.may_use_oracle() && is_alone())
    }

    /// What the oracle says now; `None` without one.
    pub fn set_oracle(&mut self, answer: Option<bool>, now: i64, out: &mut Vec<LeaderOutput>) {
        self.oracle = answer;
        self.try_choose_epoch(now, out);
        self.try_finish_epoch(now, out);
        self.try_establish(now, out);
        self.try_commit(out);
    }

    fn synced_sids(&self) -> BTreeSet<i64> {
        let learners = self.learners.values().filter(|l| l.stage == Stage::Active && !l.observer);
        learners.map(|l| l.sid).chain([self.settings.my_id]).collect()
    }

    /// Gives up learners that are silent, or that get proposals and do not acknowledge them.
    fn drop_silent(&mut self, now: i64, out: &mut Vec<LeaderOutput>) {
        let init = self.settings.tick_ms * self.settings.init_limit;
        let sync = self.settings.tick_ms * self.settings.sync_limit;
        let mut given_up = learners::silent(&self.learners, now, init, sync);
        let last_proposed = self.last_proposed;
        for (link, l) in &mut self.learners {
            if l.stage == Stage::Active && !l.observer && l.acked < last_proposed {
                let (zxid, since) = *l.unacked.get_or_insert((last_proposed, now));
                if l.acked < zxid && now - since > sync {
                    given_up.push((*link, format!("server {} does not log {zxid:#x}", l.sid)));
                }
            }
        }
        for (link, reason) in given_up {
            if self.learners.contains_key(&link) {
                self.close(link, reason, out);
            }
        }
    }

    fn why_not_established(&self) -> String {
        match self.phase {
            Phase::Discovery => format!(
                "Timeout while waiting for epoch from quorum, heard of {:?}",
                self.epoch_infos
            ),
            Phase::EpochAcks => format!(
                "Timeout while waiting for epoch to be acked by quorum, acked by {:?}",
                self.epoch_acks
            ),
            _ => format!(
                "Timeout while waiting for NEWLEADER to be acked by quorum, acked by {:?}",
                self.newleader_acks
            ),
        }
    }

    pub fn step_down(&mut self, reason: String, out: &mut Vec<LeaderOutput>) {
        self.phase = Phase::Ended;
        out.push(LeaderOutput::StepDown { reason });
    }

    fn extend_deadline(&mut self, now: i64) {
        self.deadline = now + self.settings.tick_ms * self.settings.init_limit;
    }

    fn links(&self, wanted: impl Fn(&Learner) -> bool) -> Vec<LinkId> {
        self.learners.iter().filter(|(_, l)| wanted(l)).map(|(link, _)| *link).collect()
    }
}

#[cfg(test)]
mod reconfig_tests;
