//! The learner's side of Zab 1.0: a follower's or observer's way from FOLLOWERINFO to serving, and
//! the stream of proposals and commits after it. Pure: packets and durability reports go in,
//! [`LearnerOutput`]s come out in the order in which they must happen. Knows no socket, no file
//! and no tree. Java: `Learner`, `Follower`, `Observer` (Q-20 … Q-39).
//!
//! What earlier servers got wrong is kept right by construction: appended transactions, then
//! `currentEpoch`, then the ACK of NEWLEADER, each only when the one before is durable
//! (ZOOKEEPER-3911, 4643, 4646, 4785); proposals are acknowledged only after that ACK (4685); what
//! is proposed and uncommitted at NEWLEADER is kept (4394); the committed prefix is applied before
//! the ACK (3023); proposals must be contiguous (4925).

use std::collections::VecDeque;
use std::sync::Arc;

use crate::wire::quorum::{
    LearnerInfo, PROTOCOL_VERSION, QuorumPacket, Revalidated, packet, read_inform_and_activate,
};
use crate::wire::{Reader, Record, Txn, TxnRecord, code, counter_of, epoch_of, epoch_start};

/// What a learner is told once and for all.
#[derive(Debug, Clone)]
pub struct LearnerSettings {
    pub my_id: i64,
    pub observer: bool,
    pub tick_ms: i64,
    pub init_limit: i64,
    pub sync_limit: i64,
    /// Version of the configuration in force here.
    pub config_version: i64,
}

/// Where the log and the epoch files of this server stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogState {
    pub accepted_epoch: i64,
    pub current_epoch: i64,
    /// −1: nothing that could be built on; only SNAP will do.
    pub last_logged: i64,
}

/// What the driver has to do, in this order.
#[derive(Debug, PartialEq)]
pub enum LearnerOutput {
    Send(QuorumPacket),
    /// Answer the leader's PING with the sessions touched since the last one.
    Pong {
        zxid: i64,
    },
    /// Make durable, then call [`LearnerCore::accepted_epoch_durable`].
    SetAcceptedEpoch(i64),
    /// Make durable after everything appended so far, then call
    /// [`LearnerCore::current_epoch_durable`].
    SetCurrentEpoch(i64),
    /// Cut log (and snapshots) after this zxid and load the tree from disk anew; then call
    /// [`LearnerCore::tree_ready`].
    Truncate {
        zxid: i64,
    },
    /// The snapshot that the link has received is the tree at this zxid: install it, make it
    /// durable before anything that follows; then call [`LearnerCore::tree_ready`].
    InstallSnapshot {
        zxid: i64,
    },
    /// Append to the log; report through [`LearnerCore::logged`].
    Append {
        zxid: i64,
        bytes: Arc<[u8]>,
    },
    /// Apply this transaction: it is committed.
    Commit(Box<TxnRecord>, Arc<[u8]>),
    /// The transaction committed just now is a reconfiguration: its text is in force.
    Activate {
        config: String,
        designated_leader: i64,
    },
    /// A configuration is proposed; keep it durably before what follows.
    LastSeenConfig(String),
    /// Synchronised: the configuration that NEWLEADER brought is in force, if its version is not
    /// later than `upto`. A later one is that of a transaction which is not committed yet.
    ActivateUpTo {
        config: String,
        upto: i64,
    },
    /// Synchronised: serve clients.
    Serve {
        epoch: i64,
    },
    /// The leader's word on a session that a client brought here.
    Revalidated {
        session: i64,
        valid: bool,
    },
    /// The oldest `sync` forwarded is answered.
    SyncDone,
    StepDown {
        reason: String,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// FOLLOWERINFO is sent.
    AwaitsLeaderInfo,
    /// The new epoch is being made durable.
    AcceptingEpoch,
    /// ACKEPOCH is sent; DIFF, TRUNC or SNAP is awaited.
    AwaitsSync,
    /// Transactions come in, up to NEWLEADER.
    Syncing,
    /// NEWLEADER is here; its ACK waits for the disk.
    AcksNewLeader,
    /// The ACK is sent; UPTODATE is awaited.
    AwaitsUpToDate,
    Serving,
    Ended,
}

/// A proposal that is not committed yet.
#[derive(Debug)]
struct Pending {
    record: Box<TxnRecord>,
    bytes: Arc<[u8]>,
}

impl Pending {
    fn zxid(&self) -> i64 {
        self.record.header.zxid
    }
}

/// The text of the configuration that a transaction proposes.
fn proposed_config(record: &TxnRecord) -> Option<String> {
    match &record.txn {
        Txn::Reconfig(txn) => {
            Some(String::from_utf8_lossy(txn.data.as_deref().unwrap_or_default()).into_owned())
        }
        _ => None,
    }
}

/// The learner's state. See the module's documentation.
#[derive(Debug)]
pub struct LearnerCore {
    settings: LearnerSettings,
    log: LogState,
    phase: Phase,
    epoch: i64,
    /// Proposed and not committed, in zxid order.
    pending: VecDeque<Pending>,
    /// Zxid appended last.
    appended: i64,
    /// Commits received up to here; applied as soon as the tree is ready.
    committed: i64,
    /// Proposals behind this one want an ACK each.
    ack_from: i64,
    /// Everything up to this zxid is durable.
    durable: i64,
    /// What was appended when NEWLEADER came: durable as soon as the epoch is.
    before_newleader: i64,
    /// The configuration that came with NEWLEADER, until it is in force.
    newleader_config: Option<String>,
    /// The tree is in memory and at the sync point.
    tree_ready: bool,
    epoch_durable: bool,
    /// SNAP or TRUNC began and NEWLEADER is not acknowledged: memory must not be trusted if the
    /// link breaks now (ZOOKEEPER-3642, 5094).
    tree_in_doubt: bool,
    heard: i64,
}

impl LearnerCore {
    /// The link to the leader is up: introduces this server.
    pub fn new(
        settings: LearnerSettings,
        log: LogState,
        now: i64,
        out: &mut Vec<LearnerOutput>,
    ) -> Self {
        let info = LearnerInfo {
            sid: settings.my_id,
            protocol_version: PROTOCOL_VERSION,
            config_version: settings.config_version,
        };
        let kind = if settings.observer { packet::OBSERVERINFO } else { packet::FOLLOWERINFO };
        let zxid = epoch_start(log.accepted_epoch);
        out.push(LearnerOutput::Send(QuorumPacket::new(kind, zxid, info.to_bytes())));
        Self {
            settings,
            log,
            phase: Phase::AwaitsLeaderInfo,
            epoch: 0,
            pending: VecDeque::new(),
            appended: log.last_logged,
            committed: 0,
            ack_from: 0,
            durable: 0,
            before_newleader: 0,
            newleader_config: None,
            tree_ready: true,
            epoch_durable: false,
            tree_in_doubt: false,
            heard: now,
        }
    }

    pub fn is_serving(&self) -> bool {
        self.phase == Phase::Serving
    }

    pub fn epoch(&self) -> i64 {
        self.epoch
    }

    /// Everything up to this zxid is durable in this server's own log.
    pub fn logged_upto(&self) -> i64 {
        self.durable
    }

    /// Whether the tree in memory must be thrown away and loaded from disk when this ends.
    pub fn tree_in_doubt(&self) -> bool {
        self.tree_in_doubt
    }

    /// Ends this learner. What it appended and has not seen committed is handed back: it is in the
    /// log, so memory must have it too before this server votes (ZOOKEEPER-2845).
    pub fn into_uncommitted(self) -> impl Iterator<Item = (Box<TxnRecord>, Arc<[u8]>)> {
        self.pending.into_iter().map(|p| (p.record, p.bytes))
    }

    pub fn packet(&mut self, packet: QuorumPacket, now: i64, out: &mut Vec<LearnerOutput>) {
        self.heard = now;
        let result = match self.phase {
            Phase::Ended => return,
            Phase::AwaitsLeaderInfo => self.on_leader_info(&packet, out),
            Phase::AwaitsSync => self.on_sync_start(&packet, out),
            Phase::AcceptingEpoch => Err(format!("early {}", packet::name(packet.kind))),
            _ => self.on_stream(packet, out),
        };
        if let Err(reason) = result {
            self.step_down(reason, out);
        }
    }

    /// Bytes of a snapshot are coming in: the leader is alive.
    pub fn progress(&mut self, now: i64) {
        if !self.is_serving() {
            self.heard = now;
        }
    }

    pub fn tick(&mut self, now: i64, out: &mut Vec<LearnerOutput>) {
        let ticks = match self.phase {
            Phase::AwaitsUpToDate | Phase::Serving => self.settings.sync_limit,
            _ => self.settings.init_limit,
        };
        let limit = ticks * self.settings.tick_ms;
        if now - self.heard > limit {
            let reason = format!("no packet from the leader for {} ms", now - self.heard);
            self.step_down(reason, out);
        }
    }

    fn step_down(&mut self, reason: String, out: &mut Vec<LearnerOutput>) {
        if self.phase != Phase::Ended {
            self.phase = Phase::Ended;
            out.push(LearnerOutput::StepDown { reason });
        }
    }

    // ---- discovery -------------------------------------------------------------------------

    fn on_leader_info(
        &mut self,
        packet: &QuorumPacket,
        out: &mut Vec<LearnerOutput>,
    ) -> Result<(), String> {
        if packet.kind != packet::LEADERINFO {
            return Err(format!("expected LEADERINFO, got {}", packet::name(packet.kind)));
        }
        self.epoch = epoch_of(packet.zxid);
        let accepted = self.log.accepted_epoch;
        if self.epoch < accepted {
            return Err(format!(
                "Leaders epoch, {} is less than accepted epoch, {accepted}",
                self.epoch
            ));
        }
        if self.epoch == accepted {
            // Accepted before: −1 says that this is no second vote for the epoch.
            self.ack_epoch(-1, out);
        } else {
            self.phase = Phase::AcceptingEpoch;
            out.push(LearnerOutput::SetAcceptedEpoch(self.epoch));
        }
        Ok(())
    }

    pub fn accepted_epoch_durable(&mut self, out: &mut Vec<LearnerOutput>) {
        if self.phase == Phase::AcceptingEpoch {
            self.log.accepted_epoch = self.epoch;
            self.ack_epoch(self.log.current_epoch as i32, out);
        }
    }

    fn ack_epoch(&mut self, current_epoch: i32, out: &mut Vec<LearnerOutput>) {
        self.phase = Phase::AwaitsSync;
        let data = current_epoch.to_be_bytes().to_vec();
        let ack = QuorumPacket::new(packet::ACKEPOCH, self.log.last_logged, data);
        out.push(LearnerOutput::Send(ack));
    }

    // ---- synchronisation -------------------------------------------------------------------

    fn on_sync_start(
        &mut self,
        packet: &QuorumPacket,
        out: &mut Vec<LearnerOutput>,
    ) -> Result<(), String> {
        if self.log.last_logged == -1 && packet.kind != packet::SNAP {
            return Err(format!("asked for SNAP, got {}", packet::name(packet.kind)));
        }
        match packet.kind {
            packet::DIFF => self.committed = self.log.last_logged,
            packet::TRUNC => {
                self.start_over_at(packet.zxid);
                out.push(LearnerOutput::Truncate { zxid: packet.zxid });
            }
            packet::SNAP => {
                self.start_over_at(packet.zxid);
                out.push(LearnerOutput::InstallSnapshot { zxid: packet.zxid });
            }
            other => {
                return Err(format!("expected DIFF, TRUNC or SNAP, got {}", packet::name(other)));
            }
        }
        self.phase = Phase::Syncing;
        Ok(())
    }

    fn start_over_at(&mut self, zxid: i64) {
        self.tree_ready = false;
        self.tree_in_doubt = true;
        self.appended = zxid;
        self.committed = zxid;
    }

    /// The tree in memory is the one of the sync point: what is committed can be applied.
    pub fn tree_ready(&mut self, out: &mut Vec<LearnerOutput>) {
        self.tree_ready = true;
        self.apply_committed(out);
        self.try_ack_newleader(out);
    }

    fn on_stream(
        &mut self,
        packet: QuorumPacket,
        out: &mut Vec<LearnerOutput>,
    ) -> Result<(), String> {
        match packet.kind {
            packet::PROPOSAL => self.on_proposal(packet.data.unwrap_or_default(), out),
            packet::COMMIT => self.on_commit(packet.zxid, out),
            packet::COMMIT_AND_ACTIVATE => {
                let designated_leader: i64 =
                    packet.decode().map_err(|e| format!("bad COMMITANDACTIVATE: {e}"))?;
                self.on_commit_and_activate(packet.zxid, designated_leader, out)
            }
            packet::INFORM => self.on_inform(packet.data.unwrap_or_default(), out),
            packet::INFORM_AND_ACTIVATE => {
                let (designated_leader, txn) = read_inform_and_activate(packet.payload())
                    .map_err(|e| format!("bad INFORMANDACTIVATE: {e}"))?;
                self.on_proposal(txn.into(), out)?;
                self.on_commit_and_activate(packet.zxid, designated_leader, out)
            }
            packet::NEWLEADER => self.on_newleader(&packet, out),
            packet::UPTODATE => self.on_uptodate(out),
            packet::PING => {
                // Before, a Java leader takes nothing but the ACK of NEWLEADER.
                if self.phase == Phase::Serving {
                    out.push(LearnerOutput::Pong { zxid: packet.zxid });
                }
                Ok(())
            }
            packet::REVALIDATE => {
                let answer: Revalidated =
                    packet.decode().map_err(|e| format!("bad REVALIDATE: {e}"))?;
                let (session, valid) = (answer.session_id, answer.valid);
                out.push(LearnerOutput::Revalidated { session, valid });
                Ok(())
            }
            packet::SYNC => {
                out.push(LearnerOutput::SyncDone);
                Ok(())
            }
            other => Err(format!("unexpected {} from the leader", packet::name(other))),
        }
    }

    fn on_proposal(
        &mut self,
        bytes: Arc<[u8]>,
        out: &mut Vec<LearnerOutput>,
    ) -> Result<(), String> {
        let record = TxnRecord::read(&mut Reader::new(&bytes))
            .map_err(|e| format!("undecodable proposal: {e}"))?;
        let zxid = record.header.zxid;
        if zxid > self.appended {
            self.check_contiguous(zxid)?;
            self.appended = zxid;
            out.extend(proposed_config(&record).map(LearnerOutput::LastSeenConfig));
            out.push(LearnerOutput::Append { zxid, bytes: Arc::clone(&bytes) });
        }
        // A proposal that came with the history may come once more with what is outstanding.
        if zxid > self.pending.back().map_or(self.committed, Pending::zxid) {
            self.pending.push_back(Pending { record: Box::new(record), bytes });
        }
        Ok(())
    }

    /// A hole would be propagated by every later DIFF (ZOOKEEPER-4925).
    fn check_contiguous(&self, zxid: i64) -> Result<(), String> {
        let last = self.appended;
        let next = zxid == last + 1;
        let next_epoch = epoch_of(zxid) > epoch_of(last) && counter_of(zxid) == 1;
        if next || next_epoch || last == 0 {
            Ok(())
        } else {
            Err(format!("proposal {zxid:#x} does not follow {last:#x}"))
        }
    }

    fn on_commit(&mut self, zxid: i64, out: &mut Vec<LearnerOutput>) -> Result<(), String> {
        if zxid <= self.committed {
            return Ok(());
        }
        // Much that is committed may wait here for the tree.
        let next = self.pending.partition_point(|p| p.zxid() <= self.committed);
        let expected = self.pending.get(next).map(Pending::zxid);
        if expected != Some(zxid) {
            return Err(format!("Committing {zxid:#x}, but next proposal is {expected:#x?}"));
        }
        self.committed = zxid;
        self.apply_committed(out);
        Ok(())
    }

    /// What was committed before, with the history, is in force by NEWLEADER.
    fn on_commit_and_activate(
        &mut self,
        zxid: i64,
        designated_leader: i64,
        out: &mut Vec<LearnerOutput>,
    ) -> Result<(), String> {
        if zxid <= self.committed {
            return Ok(());
        }
        let proposed = self.pending.iter().find(|p| p.zxid() == zxid);
        let config = proposed
            .and_then(|p| proposed_config(&p.record))
            .ok_or_else(|| format!("{zxid:#x} is to be activated and no reconfiguration"))?;
        self.on_commit(zxid, out)?;
        out.push(LearnerOutput::Activate { config, designated_leader });
        Ok(())
    }

    fn apply_committed(&mut self, out: &mut Vec<LearnerOutput>) {
        while self.tree_ready && self.pending.front().is_some_and(|p| p.zxid() <= self.committed) {
            if let Some(p) = self.pending.pop_front() {
                out.push(LearnerOutput::Commit(p.record, p.bytes));
            }
        }
    }

    /// An observer's proposal and commit in one.
    fn on_inform(&mut self, bytes: Arc<[u8]>, out: &mut Vec<LearnerOutput>) -> Result<(), String> {
        self.on_proposal(bytes, out)?;
        match self.pending.back().map(Pending::zxid) {
            Some(zxid) => self.on_commit(zxid, out),
            None => Ok(()),
        }
    }

    fn on_newleader(
        &mut self,
        packet: &QuorumPacket,
        out: &mut Vec<LearnerOutput>,
    ) -> Result<(), String> {
        if self.phase != Phase::Syncing || epoch_of(packet.zxid) != self.epoch {
            return Err(format!("NEWLEADER {:#x} in {:?}", packet.zxid, self.phase));
        }
        if packet.payload().len() > 1 {
            let text = String::from_utf8_lossy(packet.payload()).into_owned();
            self.newleader_config = Some(text.clone());
            out.push(LearnerOutput::LastSeenConfig(text));
        }
        self.phase = Phase::AcksNewLeader;
        self.before_newleader = self.appended;
        out.push(LearnerOutput::SetCurrentEpoch(self.epoch));
        Ok(())
    }

    pub fn current_epoch_durable(&mut self, out: &mut Vec<LearnerOutput>) {
        self.epoch_durable = true;
        self.try_ack_newleader(out);
    }

    fn try_ack_newleader(&mut self, out: &mut Vec<LearnerOutput>) {
        if self.phase != Phase::AcksNewLeader || !self.epoch_durable || !self.tree_ready {
            return;
        }
        self.phase = Phase::AwaitsUpToDate;
        self.tree_in_doubt = false;
        self.log.current_epoch = self.epoch;
        let ack = QuorumPacket::bare(packet::ACK, epoch_start(self.epoch));
        out.push(LearnerOutput::Send(ack));
        // What of the history is not committed still wants an ACK of its own. What came behind
        // NEWLEADER is logged behind the epoch, and may not be durable yet (ZOOKEEPER-4646).
        self.ack_from = self.committed;
        self.logged(self.before_newleader, out);
    }

    fn on_uptodate(&mut self, out: &mut Vec<LearnerOutput>) -> Result<(), String> {
        if self.phase != Phase::AwaitsUpToDate {
            return Err(format!("UPTODATE in {:?}", self.phase));
        }
        self.phase = Phase::Serving;
        let ack = QuorumPacket::bare(packet::ACK, epoch_start(self.epoch));
        out.push(LearnerOutput::Send(ack));
        if let Some(config) = self.newleader_config.take() {
            let upto = self.committed.max(epoch_start(self.epoch));
            out.push(LearnerOutput::ActivateUpTo { config, upto });
        }
        out.push(LearnerOutput::Serve { epoch: self.epoch });
        Ok(())
    }

    // ---- broadcast -------------------------------------------------------------------------

    /// The log has made everything up to `zxid` durable.
    pub fn logged(&mut self, zxid: i64, out: &mut Vec<LearnerOutput>) {
        self.durable = self.durable.max(zxid);
        out.extend(self.acknowledge(self.durable).map(LearnerOutput::Send));
    }

    /// The ACKs of all that has been appended, for who sends them as soon as it is durable.
    pub fn acknowledge_appended(&mut self) -> impl Iterator<Item = QuorumPacket> + use<> {
        self.acknowledge(self.appended)
    }

    /// An ACK for each proposal of this epoch up to `upto` that has had none, as Java's leader
    /// wants it. They are contiguous by [`Self::check_contiguous`].
    fn acknowledge(&mut self, upto: i64) -> impl Iterator<Item = QuorumPacket> + use<> {
        let acknowledges = matches!(self.phase, Phase::AwaitsUpToDate | Phase::Serving);
        let first = (self.ack_from + 1).max(epoch_start(self.epoch) + 1);
        let last = if acknowledges && !self.settings.observer { upto } else { self.ack_from };
        self.ack_from = self.ack_from.max(last);
        (first..=last).map(|zxid| QuorumPacket::bare(packet::ACK, zxid))
    }

    /// Passes a client's request on to the leader.
    pub fn forward(
        &self,
        session_id: i64,
        cxid: i32,
        op: i32,
        body: &[u8],
        ids: &[crate::wire::Id],
        out: &mut Vec<LearnerOutput>,
    ) {
        debug_assert!(op != code::PING);
        let request = crate::wire::quorum::ForwardedRequest { session_id, cxid, op, body };
        out.push(LearnerOutput::Send(QuorumPacket {
            kind: packet::REQUEST,
            zxid: -1,
            data: Some(request.to_bytes().into()),
            authinfo: Some(ids.to_vec()),
        }));
    }
}

#[cfg(test)]
mod reconfig_tests;
