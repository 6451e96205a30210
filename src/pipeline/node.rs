//! A server, but for its threads: the roles it plays one after the other, and what is common to
//! them. Everything that happens comes in as an [`Event`]; everything that is to be done goes out
//! as data in [`Outputs`]. Pure: the commit thread drives it in production, the simulator in tests.
//! Java: `QuorumPeer`, and `ZooKeeperServer` with its per-role subclasses.

mod authority;
mod clients;
mod following;
mod leading;
mod local;
mod looking;
mod membership;
mod observer_master;
mod observing;
mod outputs;
mod report;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::commit::{CommitStage, Origin, SessionChange, Work};
use super::history::CommittedLog;
use super::{CloseReason, ConnId, IoEvent, ToIo};
use crate::auth;
use crate::config::{Address, QuorumConfig};
use crate::hash::IdMap;
use crate::metrics::ServerMetrics;
use crate::quorum::Election;
use crate::quorum::election;
use crate::quorum::leader::{LinkId, SyncLimits};
use crate::quorum::sync_plan::OnDisk;
use crate::session::{LearnerSessionTracker, generate_password};
use crate::storage::{LogCommand, SnapshotPolicy, Token};
use crate::tree::{DataTree, DbState};
use crate::wire::election::Notification;
use crate::wire::quorum::QuorumPacket;
use crate::wire::time_of;
use membership::Membership;
use observing::MasterChoice;

pub use authority::Authority;
pub use following::Following;
pub use leading::Leading;
pub use observing::ObserverSettings;
pub use outputs::{Command, LearnerPort, LinkCommand, LogOrder, Outputs, RoleReport};
pub use report::{LearnerReport, NodeReport};
use report::{count_latency, count_writes};

/// The time, given with every event. Both in ms.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// Of a clock that never jumps: time-outs.
    pub mono: i64,
    /// Since 1970: what transactions are stamped with.
    pub wall: i64,
}

/// What every decision may look at: the database as it is, and the time.
#[derive(Clone, Copy)]
pub struct Cx<'a> {
    pub db: &'a DbState,
    pub now: Now,
}

/// What a node is configured with.
#[derive(Clone)]
pub struct NodeSettings {
    pub my_id: i64,
    pub tick_ms: i64,
    pub init_limit: i64,
    pub sync_limit: i64,
    pub commit_log_count: usize,
    pub io_threads: usize,
    /// `None`: a standalone server.
    pub quorum: Option<QuorumSettings>,
    pub auth: Arc<auth::Registry>,
    pub prep: super::prep::PrepOptions,
    /// `localSessionsEnabled`, `localSessionsUpgradingEnabled`.
    pub local_sessions: bool,
    pub local_sessions_upgrading: bool,
    /// `readonlymode.enabled`.
    pub read_only_mode: bool,
    pub container_check_ms: i64,
    pub container_max_per_minute: i64,
    pub container_max_never_used_ms: i64,
    /// `enableEagerACLCheck`, of an ensemble's member.
    pub eager_acl_check: bool,
    /// `leaderServes`.
    pub leader_serves: bool,
    pub observers: ObserverSettings,
    /// How much of the logs on disk may be sent rather than a snapshot, in sizes of the newest
    /// snapshot; negative: nothing.
    pub snapshot_size_factor: f64,
    /// `forceSnapshotSync`: learners get a snapshot whatever they have.
    pub force_snapshot_sync: bool,
    pub sync_limits: SyncLimits,
    /// How many transactions an epoch has.
    pub last_counter: u32,
}

/// What an ensemble's member is configured with besides.
#[derive(Debug, Clone)]
pub struct QuorumSettings {
    pub config: Arc<QuorumConfig>,
    /// Proposed and not known to be decided.
    pub last_seen: Option<Arc<QuorumConfig>>,
    /// Where clients connect.
    pub client_address: Option<Address>,
    pub election: election::Settings,
}

/// Something that happened.
#[derive(Debug)]
pub enum Event {
    Io(Vec<IoEvent>),
    /// Every command to the log up to the one with this token is done and durable.
    LogDone {
        token: Token,
    },
    /// The tree as the disk has it, asked for by [`LogOrder::Reload`] or a truncation.
    Reloaded {
        tree: Box<DataTree>,
        recent: CommittedLog,
    },
    /// A snapshot is written, or could not be.
    SnapshotDone {
        zxid: i64,
    },
    /// A learner has connected to the port that [`Command::ListenForLearners`] named.
    LearnerConnected {
        link: LinkId,
    },
    /// The link to the leader, asked for by [`Command::ConnectLeader`], is up – or not.
    LeaderConnected {
        link: LinkId,
    },
    LeaderUnreachable {
        link: LinkId,
        reason: String,
    },
    Link {
        link: LinkId,
        event: LinkEvent,
    },
    Vote {
        from: i64,
        notification: Notification,
    },
    PeerConnected {
        sid: i64,
    },
    PeerDisconnected {
        sid: i64,
    },
    /// What the oracle says (`oraclePath`).
    Oracle {
        answer: bool,
    },
    /// Time has passed.
    Tick,
    /// Somebody wants to know something of the node.
    Inspect(Inspection),
    /// Somebody wants to know whether the log does its work: answered when a no-op has been there,
    /// or at once while it is at something that takes as long as there is data.
    ProbeLog(Inspection),
    /// The server ends; for the thread that drives the node.
    Stop,
}

/// A question to the node, answered on the commit thread.
pub struct Inspection(pub Box<dyn FnOnce(&Node) + Send>);

impl std::fmt::Debug for Inspection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Inspection")
    }
}

/// What a link to a learner or leader tells.
#[derive(Debug)]
pub enum LinkEvent {
    Packets(Vec<QuorumPacket>),
    /// A whole snapshot, as announced by a SNAP packet with this zxid.
    Snapshot {
        zxid: i64,
        tree: Box<DataTree>,
    },
    /// What [`LinkCommand::SearchLog`] has found.
    LogSearched(Option<OnDisk>),
    /// Part of a long transfer was read or written.
    Progress,
    /// The link is of no use any more. Nothing follows.
    Closed {
        reason: String,
    },
}

/// What the server is to its ensemble at this moment.
enum Role {
    /// Alone: decides everything itself.
    Standalone(Box<Authority>),
    /// Between two roles: the log finishes what it was told, then an election starts.
    Draining {
        reload: bool,
    },
    Looking,
    Leading(Box<Leading>),
    Following(Box<Following>),
}

/// A client's connection that has a session.
#[derive(Debug, Clone, Copy)]
struct LocalSession {
    conn: ConnId,
    timeout_ms: i32,
}

/// What an order to the log was for, once it is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LogMark {
    Appended {
        zxid: i64,
        /// When the transaction was made, wall clock of the leader, ms.
        time: i64,
    },
    AcceptedEpoch(i64),
    CurrentEpoch(i64),
    /// The log was cut, or replaced by the leader's snapshot.
    Cut,
    Drained,
    Probe,
}

/// What recovery found, to start from.
pub struct Boot {
    pub accepted_epoch: i64,
    pub current_epoch: i64,
    pub last_logged: i64,
    /// Zxid of the newest snapshot; 0 without one.
    pub newest_snapshot: i64,
    /// The last transactions replayed.
    pub recent: CommittedLog,
}

/// A transaction or `sync` that has its place in the order and is not committed yet.
struct InFlight {
    zxid: i64,
    work: Work,
}

/// See the module.
pub struct Node {
    settings: NodeSettings,
    metrics: Arc<ServerMetrics>,
    role: Role,
    election: Option<Election>,
    membership: Membership,
    /// Why the role ends when what is committed is applied.
    leaving: Option<&'static str>,
    accepted_epoch: i64,
    current_epoch: i64,
    /// The highest epoch that a learner of ours has accepted, from whomever.
    accepted_by_others: i64,
    /// Zxid given to the log last; of an observer that keeps none (`syncEnabled=false`), what it
    /// has in memory.
    appended: i64,
    /// Memory has transactions that the log has not.
    unlogged: bool,
    /// The log is known to be whole from here on. Before it, a leader's snapshot may have left a
    /// hole.
    newest_snapshot: i64,
    /// The leader's TRUNC cannot be done: the next one is asked for everything.
    wants_snapshot: bool,
    /// Orders to the log that are not reported done, oldest first.
    marks: VecDeque<(Token, LogMark)>,
    next_token: Token,
    /// Something waits for the flush at the end of this batch.
    flush_wanted: bool,
    /// Whom to answer when the log has reached [`LogMark::Probe`].
    probe: Option<Inspection>,
    in_flight: VecDeque<InFlight>,
    /// Committed, to be applied by [`Node::commit`].
    ready: VecDeque<Work>,
    /// Orders to load the tree from disk that are not carried out yet.
    reloads: u32,
    /// A tree that is to replace the one in memory first.
    replacement: Option<(Box<DataTree>, CommittedLog)>,
    stage: CommitStage,
    /// Sessions with a connection here.
    local: IdMap<i64, LocalSession>,
    next_link: LinkId,
    snapshots: SnapshotPolicy,
    snapshot_running: bool,
    next_container_check: i64,
    looking_since: i64,
    /// Since when nobody is served, in an ensemble; monotonic ms.
    unavailable_since: Option<i64>,
    /// How long an observer waits before it looks for a leader, ms; and until when it waits.
    election_delay: i64,
    looks_at: Option<i64>,
    masters: MasterChoice,
    /// The sessions of a server that serves read-only while it looks for a leader.
    read_only: Option<LearnerSessionTracker>,
}

impl Node {
    /// A server that has just recovered what its disk has. [`Node::start`] sets it going.
    pub fn new(
        settings: NodeSettings,
        metrics: Arc<ServerMetrics>,
        snapshots: SnapshotPolicy,
        boot: Boot,
        now: Now,
    ) -> Self {
        let membership = settings.quorum.as_ref().map(Membership::new).unwrap_or_default();
        Self {
            role: Role::Draining { reload: false },
            election: None,
            membership,
            leaving: None,
            accepted_epoch: boot.accepted_epoch,
            current_epoch: boot.current_epoch,
            accepted_by_others: 0,
            appended: boot.last_logged,
            unlogged: false,
            newest_snapshot: boot.newest_snapshot,
            wants_snapshot: false,
            marks: VecDeque::new(),
            next_token: 1,
            flush_wanted: false,
            probe: None,
            in_flight: VecDeque::new(),
            ready: VecDeque::new(),
            reloads: 0,
            replacement: None,
            stage: CommitStage::new(boot.recent, Arc::clone(&settings.auth)),
            local: IdMap::default(),
            next_link: 1,
            snapshots,
            snapshot_running: false,
            next_container_check: now.mono + settings.container_check_ms,
            looking_since: now.mono,
            unavailable_since: None,
            election_delay: 0,
            looks_at: None,
            masters: MasterChoice::default(),
            read_only: None,
            settings,
            metrics,
        }
    }

    /// Takes up the first role.
    pub fn start(&mut self, cx: Cx<'_>, out: &mut Outputs) {
        match &self.settings.quorum {
            None => {
                let authority = Authority::standalone(&self.settings, &cx.db.tree, cx.now);
                self.role = Role::Standalone(Box::new(authority));
                self.report_role("standalone", "broadcast", out);
                out.commands.push(Command::Serve { read_only: false });
            }
            Some(_) => self.start_looking(cx, out),
        }
    }

    /// Takes one event. What has become ready by it is applied by [`Node::commit`].
    pub fn step(&mut self, event: Event, cx: Cx<'_>, out: &mut Outputs) {
        match event {
            Event::Io(events) => {
                for event in events {
                    self.on_io(event, cx, out);
                }
            }
            Event::LogDone { token } => self.on_log_done(token, cx, out),
            Event::Reloaded { tree, recent } => {
                self.reloads -= 1;
                // Only what was loaded last is what the disk has now.
                if self.reloads == 0 {
                    self.replacement = Some((tree, recent));
                }
            }
            Event::SnapshotDone { zxid } => {
                self.snapshot_running = false;
                log::debug!("snapshot {zxid:#x} is on disk");
            }
            Event::LearnerConnected { link } => self.on_learner_connected(link, cx, out),
            Event::LeaderConnected { link } => self.on_leader_connected(link, cx, out),
            Event::LeaderUnreachable { link, reason } => {
                self.on_leader_lost(link, &reason, out);
            }
            Event::Link { link, event } => self.on_link(link, event, cx, out),
            Event::Vote { .. } | Event::PeerConnected { .. } | Event::PeerDisconnected { .. } => {
                self.on_election_event(event, cx, out);
            }
            Event::Oracle { answer } => self.on_oracle(answer, cx, out),
            Event::Tick => self.on_tick(cx, out),
            Event::Inspect(question) => (question.0)(self),
            Event::ProbeLog(probe) => self.probe_log(probe),
            Event::Stop => {}
        }
        self.run_role(cx, out);
    }

    /// Call after the last event of a batch: tells the log where to report.
    pub fn end_batch(&mut self, out: &mut Outputs) {
        if std::mem::take(&mut self.flush_wanted) {
            let token = self.take_token();
            out.log.push(LogOrder::Do(LogCommand::Flush(token)));
            if let Role::Following(following) = &mut self.role {
                following.acknowledge_when_logged(out);
            }
        }
    }

    /// When the next [`Event::Tick`] is due, monotonic ms.
    pub fn next_deadline(&self) -> i64 {
        let role = match &self.role {
            Role::Standalone(authority) => authority.next_deadline(),
            Role::Leading(leading) => leading.next_deadline(),
            Role::Following(following) => Some(following.next_deadline()),
            Role::Looking => self.looking_deadline(),
            Role::Draining { .. } => self.looks_at,
        };
        let election = self.election.as_ref().and_then(Election::next_deadline);
        role.into_iter()
            .chain(election.map(|ms| ms as i64))
            .fold(self.next_container_check, i64::min)
    }

    // ---- the log ---------------------------------------------------------------------------

    fn take_token(&mut self) -> Token {
        self.next_token += 1;
        self.next_token - 1
    }

    /// Gives the log a command that reports by itself.
    fn order(
        &mut self,
        mark: LogMark,
        command: impl FnOnce(Token) -> LogCommand,
        out: &mut Outputs,
    ) {
        let token = self.take_token();
        self.marks.push_back((token, mark));
        out.log.push(LogOrder::Do(command(token)));
    }

    /// Reached when everything given to the log so far is durable: with the next token at the
    /// latest, and that of the batch's flush if no other comes before.
    fn mark_flushed(&mut self, mark: LogMark) {
        self.marks.push_back((self.next_token, mark));
        self.flush_wanted = true;
    }

    fn append(&mut self, zxid: i64, txn: Arc<[u8]>, out: &mut Outputs) {
        assert!(zxid > self.appended, "{zxid:#x} to be logged after {:#x}", self.appended);
        self.appended = zxid;
        self.snapshots.logged(1, txn.len() as u64);
        let time = time_of(&txn).unwrap_or_default();
        out.log.push(LogOrder::Do(LogCommand::Append { zxid, txn }));
        self.mark_flushed(LogMark::Appended { zxid, time });
    }

    fn set_accepted_epoch(&mut self, epoch: i64, out: &mut Outputs) {
        let command = |token| LogCommand::SetAcceptedEpoch { epoch, token };
        self.order(LogMark::AcceptedEpoch(epoch), command, out);
    }

    fn set_current_epoch(&mut self, epoch: i64, out: &mut Outputs) {
        let command = |token| LogCommand::SetCurrentEpoch { epoch, token };
        self.order(LogMark::CurrentEpoch(epoch), command, out);
    }

    fn on_log_done(&mut self, token: Token, cx: Cx<'_>, out: &mut Outputs) {
        let mut logged = None;
        while self.marks.front().is_some_and(|(t, _)| *t <= token) {
            let Some((_, mark)) = self.marks.pop_front() else { break };
            match mark {
                LogMark::Appended { zxid, time } => {
                    count_latency(&self.metrics.proposal_ack_creation_latency, time, cx.now);
                    logged = Some(zxid);
                }
                other => {
                    if let Some(zxid) = logged.take() {
                        self.on_logged(zxid, cx.now);
                    }
                    self.on_mark(other, cx, out);
                }
            }
        }
        if let Some(zxid) = logged {
            self.on_logged(zxid, cx.now);
        }
    }

    fn on_logged(&mut self, zxid: i64, now: Now) {
        match &mut self.role {
            Role::Standalone(_) => self.commit_upto(zxid, now),
            Role::Leading(leading) => leading.core.logged(zxid, &mut leading.out),
            Role::Following(f) => f.with_core(|core, out| core.logged(zxid, out)),
            Role::Draining { .. } | Role::Looking => {}
        }
    }

    fn on_mark(&mut self, mark: LogMark, cx: Cx<'_>, out: &mut Outputs) {
        match (mark, &mut self.role) {
            (LogMark::AcceptedEpoch(epoch), role) => {
                self.accepted_epoch = epoch;
                match role {
                    Role::Leading(l) => l.core.accepted_epoch_durable(cx.now.mono, &mut l.out),
                    Role::Following(f) => f.with_core(|core, out| core.accepted_epoch_durable(out)),
                    _ => {}
                }
            }
            (LogMark::CurrentEpoch(epoch), role) => {
                self.current_epoch = epoch;
                match role {
                    Role::Leading(l) => l.core.current_epoch_durable(cx.now.mono, &mut l.out),
                    Role::Following(f) => f.with_core(|core, out| core.current_epoch_durable(out)),
                    _ => {}
                }
            }
            (LogMark::Drained, Role::Draining { reload: false }) => self.take_next_role(cx, out),
            (LogMark::Probe, _) => {
                if let Some(probe) = self.probe.take() {
                    (probe.0)(self);
                }
            }
            (LogMark::Cut | LogMark::Appended { .. } | LogMark::Drained, _) => {}
        }
    }

    fn probe_log(&mut self, probe: Inspection) {
        if self.reloads > 0 || self.marks.iter().any(|(_, mark)| *mark == LogMark::Cut) {
            return (probe.0)(self);
        }
        self.probe = Some(probe);
        self.mark_flushed(LogMark::Probe);
    }

    /// Gives the log an order that [`Event::Reloaded`] answers. What was appended before is to be
    /// found: appends reach the disk only with the next flush.
    fn order_reload(&mut self, out: &mut Outputs) {
        self.reloads += 1;
        let token = self.take_token();
        out.log.push(LogOrder::Do(LogCommand::Flush(token)));
        out.log.push(LogOrder::Reload);
    }

    /// Carries out, in order, what the role's core has put out; never from within itself.
    fn run_role(&mut self, cx: Cx<'_>, out: &mut Outputs) {
        match &self.role {
            Role::Leading(_) => self.run_leader(cx, out),
            Role::Following(_) => self.run_learner(cx, out),
            _ => {}
        }
    }

    // ---- proposals and commits -------------------------------------------------------------

    /// Everything in flight up to `zxid` is committed.
    fn commit_upto(&mut self, zxid: i64, now: Now) {
        while self.in_flight.front().is_some_and(|f| f.zxid <= zxid) {
            let Some(InFlight { work, .. }) = self.in_flight.pop_front() else { break };
            if let (Work::Txn { record, .. }, Role::Leading(_)) = (&work, &self.role) {
                self.metrics.commit_count.add(1);
                count_latency(&self.metrics.quorum_ack_latency, record.header.time, now);
            }
            self.ready.push_back(work);
        }
    }

    /// Whether [`Node::commit`] has anything to do.
    pub fn has_ready(&self) -> bool {
        !self.ready.is_empty() || self.replacement.is_some()
    }

    /// Applies what is committed. The caller holds the write lock until it has delivered
    /// `out.io`, so that no read sees the new data before its watchers' events (C-100).
    pub fn commit(&mut self, db: &mut DbState, now: Now, out: &mut Outputs) {
        if let Some((tree, recent)) = self.replacement.take() {
            db.tree = *tree;
            self.stage.reset(recent);
            let cx = Cx { db, now };
            self.on_tree_replaced(cx, out);
            self.run_role(cx, out);
        }
        let mismatches = db.tree.digest_mismatches();
        while let Some(work) = self.ready.pop_front() {
            if matches!(&work, Work::Read(read) if !self.is_connected(read.session, read.to.conn)) {
                continue;
            }
            let zxid = match &work {
                Work::Txn { record, .. } => {
                    count_writes(&record.txn, &self.metrics.write_per_namespace);
                    count_latency(&self.metrics.propagation_latency, record.header.time, now);
                    Some(record.header.zxid)
                }
                _ => None,
            };
            let change = self.stage.perform(work, db, &mut out.io, &self.metrics);
            if let Some(zxid) = zxid {
                self.on_applied(zxid);
            }
            if let Some(change) = change {
                self.on_session_change(change, out);
            }
        }
        let mismatches = db.tree.digest_mismatches() - mismatches;
        self.metrics.digest_mismatches_count.add(mismatches as i64);
        if let Some(reason) = self.leaving.take() {
            self.step_down(reason, out);
        }
        out.applied = db.tree.last_zxid();
        self.maybe_snapshot(&db.tree, out);
    }

    /// Whether a connection still has its session: one that is gone must not get a watch.
    fn is_connected(&self, session: i64, conn: ConnId) -> bool {
        self.local.get(&session).is_some_and(|local| local.conn == conn)
    }

    fn on_applied(&mut self, zxid: i64) {
        match &mut self.role {
            Role::Standalone(authority) => authority.prep.applied(zxid),
            Role::Leading(leading) => {
                if let Some(authority) = &mut leading.authority {
                    authority.prep.applied(zxid);
                }
            }
            _ => {}
        }
    }

    fn on_session_change(&mut self, change: SessionChange, out: &mut Outputs) {
        match change {
            SessionChange::Created { session, timeout_ms, origin } => {
                match &mut self.role {
                    Role::Standalone(a) => a.session_created(session),
                    Role::Leading(l) => l.session_created(session),
                    Role::Following(f) => f.session_created(session, timeout_ms),
                    _ => {}
                }
                if let Origin::NewSession { conn, timeout_ms } = origin {
                    self.establish(conn, session, timeout_ms, out);
                }
            }
            SessionChange::Closed { session, by_client } => {
                match &mut self.role {
                    Role::Standalone(a) => a.session_closed(session),
                    Role::Leading(l) => l.session_closed(session),
                    Role::Following(f) => f.session_closed(session),
                    _ => {}
                }
                let local = self.local.remove(&session);
                if let Some(LocalSession { conn, .. }) = local.filter(|_| !by_client) {
                    let reason = CloseReason::SessionExpired;
                    out.io.push(conn, ToIo::Close { conn, reason });
                }
            }
        }
    }

    /// Tells a connection that it has its session.
    fn establish(&mut self, conn: ConnId, session: i64, timeout_ms: i32, out: &mut Outputs) {
        self.local.insert(session, LocalSession { conn, timeout_ms });
        let passwd = generate_password(session);
        out.io.push(conn, ToIo::Session { conn, session, timeout_ms, passwd });
    }

    /// Starts a snapshot when enough has happened since the last one (D-38). Only while serving:
    /// then all that is applied is committed. A snapshot with more in it, written late, would bring
    /// back what the next leader has cut off meanwhile (ZOOKEEPER-4837). Nor by who keeps no log:
    /// there would be a hole before it.
    fn maybe_snapshot(&mut self, tree: &DataTree, out: &mut Outputs) {
        let serves = match &self.role {
            Role::Standalone(_) => true,
            Role::Leading(leading) => leading.authority.is_some(),
            Role::Following(following) => following.serves(),
            Role::Draining { .. } | Role::Looking => false,
        };
        if serves
            && !self.unlogged
            && !self.snapshot_running
            && self.snapshots.is_due(tree.snapshot_bytes())
        {
            self.snapshot_running = true;
            self.snapshots.snapshot_taken(out.random);
            self.newest_snapshot = self.newest_snapshot.max(tree.last_zxid());
            out.log.push(LogOrder::Do(LogCommand::Roll));
            out.commands.push(Command::TakeSnapshot(tree.freeze()));
        }
    }

    // ---- time ------------------------------------------------------------------------------

    fn on_tick(&mut self, cx: Cx<'_>, out: &mut Outputs) {
        self.tick_election(cx, out);
        match &mut self.role {
            Role::Leading(leading) => leading.core.tick(cx.now.mono, &mut leading.out),
            Role::Following(_) => self.tick_following(cx, out),
            Role::Draining { .. } => self.tick_draining(cx, out),
            _ => {}
        }
        // Who steps down now expires nobody any more.
        self.run_role(cx, out);
        self.expire_sessions(cx, out);
        self.tick_looking(cx, out);
        self.reap_containers(cx, out);
    }

    fn new_link(&mut self) -> LinkId {
        self.next_link += 1;
        self.next_link
    }

    /// Sessions of this server's clients, for reports.
    pub fn local_sessions(&self) -> BTreeMap<i64, ConnId> {
        self.local.iter().map(|(id, local)| (*id, local.conn)).collect()
    }
}

#[cfg(test)]
mod tests;
