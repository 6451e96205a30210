//! The node as follower or observer: carries out what [`LearnerCore`] puts out, and passes its
//! clients' writes on to the leader.
//! Java: `FollowerZooKeeperServer`, `ObserverZooKeeperServer`, `LearnerZooKeeperServer`.

use std::collections::VecDeque;
use std::sync::Arc;

use super::observing::Master;
use super::report::count_latency;
use super::{
    Command, Cx, InFlight, LinkEvent, LogMark, LogOrder, Node, NodeSettings, Now, Outputs, Role,
};
use crate::config::PeerAddress;
use crate::hash::IdMap;
use crate::pipeline::ConnId;
use crate::pipeline::commit::{Origin, ReplyTo, Work};
use crate::pipeline::history::CommittedLog;
use crate::quorum::leader::LinkId;
use crate::quorum::learner::{LearnerCore, LearnerOutput, LearnerSettings, LogState};
use crate::quorum::observer_master::ObserverMasterCore;
use crate::session::{LearnerSessionTracker, first_session_id};
use crate::storage::LogCommand;
use crate::tree::DataTree;
use crate::wire::quorum::{QuorumPacket, SessionTouch, packet, write_touches};
use crate::wire::{Id, Put, Record, Txn, TxnRecord, code, time_of};

/// What a session of this server waits for, in the order of its requests.
enum Waiting {
    Write(ReplyTo),
    /// A `sync` with its path.
    Sync(ReplyTo, Box<[u8]>),
    /// A read, or a refusal: nothing that the leader is asked for.
    Here(Work),
}

/// Who sent a `sync`.
enum Syncing {
    /// The session of a client of this server.
    Client(i64),
    Observer(LinkId),
}

/// The learner's role.
pub struct Following {
    pub link: LinkId,
    pub leader: i64,
    /// Whom this server learns from: the leader, or an observer master.
    pub master: i64,
    pub observer: bool,
    /// Where to connect, and when, ms; until that is done.
    dial: Option<(i64, Vec<PeerAddress>)>,
    /// There once the link is up.
    pub core: Option<LearnerCore>,
    pub out: Vec<LearnerOutput>,
    /// There once this server serves.
    pub(super) sessions: Option<LearnerSessionTracker>,
    /// Requests sent to the leader and not answered, by session, in order.
    forwarded: IdMap<i64, VecDeque<Waiting>>,
    /// Who sent the `sync` requests that are at the leader, in order.
    syncs: VecDeque<Syncing>,
    /// Connections that wait for a new session: by its id.
    new_sessions: IdMap<i64, (ConnId, i32)>,
    /// Connections that brought a session, until the leader has judged it.
    revalidations: IdMap<i64, (ConnId, i32)>,
    /// A snapshot that has come off the link, until the core asks for it.
    snapshot: Option<Box<DataTree>>,
    /// There while this server is an observer master.
    pub(super) observers: Option<ObserverMasterCore>,
    started: i64,
    /// When the core wants to see the clock next, ms.
    next_tick: i64,
}

impl Following {
    fn new(link: LinkId, leader: i64, observer: bool, master: Master, now: i64) -> Self {
        Self {
            link,
            leader,
            master: master.sid,
            observer,
            dial: Some((now + master.delay, master.addresses)),
            core: None,
            out: Vec::new(),
            sessions: None,
            forwarded: IdMap::default(),
            syncs: VecDeque::new(),
            new_sessions: IdMap::default(),
            revalidations: IdMap::default(),
            snapshot: None,
            observers: None,
            started: now,
            next_tick: now,
        }
    }

    pub fn serves(&self) -> bool {
        self.sessions.is_some()
    }

    pub fn with_core(&mut self, f: impl FnOnce(&mut LearnerCore, &mut Vec<LearnerOutput>)) {
        if let Some(core) = &mut self.core {
            f(core, &mut self.out);
        }
    }

    /// Everything up to this zxid is durable in this server's own log.
    pub fn logged_upto(&self) -> i64 {
        self.core.as_ref().map_or(0, LearnerCore::logged_upto)
    }

    pub fn next_deadline(&self) -> i64 {
        self.dial.as_ref().map_or(self.next_tick, |(at, _)| self.next_tick.min(*at))
    }

    pub fn session_created(&mut self, session: i64, timeout_ms: i32) {
        if let Some(sessions) = &mut self.sessions {
            sessions.commit_session(session, timeout_ms);
        }
    }

    pub fn session_closed(&mut self, session: i64) {
        if let Some(sessions) = &mut self.sessions {
            sessions.remove_session(session);
        }
        self.forwarded.remove(&session);
    }

    pub fn touch(&mut self, session: i64, timeout_ms: i32, now: i64) -> bool {
        let sessions = self.sessions.as_mut();
        sessions.is_some_and(|s| s.touch_session(session, timeout_ms, now))
    }

    /// An id for a new session; `None` while this server does not serve.
    pub fn create_session(&mut self, timeout_ms: i32, now: i64) -> Option<i64> {
        self.sessions.as_mut().map(|s| s.create_session(timeout_ms, now))
    }

    pub fn forward_create_session(
        &mut self,
        session: i64,
        conn: ConnId,
        timeout_ms: i32,
        body: &[u8],
    ) {
        self.new_sessions.insert(session, (conn, timeout_ms));
        self.with_core(|core, out| {
            core.forward(session, 0, code::CREATE_SESSION, body, &[], out);
        });
    }

    /// Asks the leader to make a local session global.
    pub fn upgrade(&mut self, session: i64) {
        let timeout_ms = self.sessions.as_mut().and_then(|s| s.upgrade_session(session));
        let mut body = Vec::new();
        body.put_i32(timeout_ms.unwrap_or_default());
        self.with_core(|core, out| {
            core.forward(session, 0, code::CREATE_SESSION, &body, &[], out);
        });
    }

    pub fn has_local(&self, session: i64) -> bool {
        self.sessions.as_ref().is_some_and(|s| s.is_local(session))
    }

    /// Asks the leader whether the session lives.
    pub fn revalidate(&mut self, session_id: i64, conn: ConnId, timeout: i32) {
        self.revalidations.insert(session_id, (conn, timeout));
        let data = write_touches([SessionTouch { session_id, timeout }]);
        self.send(QuorumPacket::new(packet::REVALIDATE, -1, data));
    }

    /// Passes a client's request on. It comes back as a transaction, or as SYNC.
    pub fn forward(&mut self, session: i64, to: ReplyTo, body: &[u8], ids: &[Id]) {
        let waiting = if to.op == code::SYNC {
            self.syncs.push_back(Syncing::Client(session));
            Waiting::Sync(to, body.into())
        } else {
            Waiting::Write(to)
        };
        self.forwarded.entry(session).or_default().push_back(waiting);
        self.with_core(|core, out| core.forward(session, to.xid, to.op, body, ids, out));
    }

    /// Lets the log acknowledge what the flush just ordered makes durable.
    pub fn acknowledge_when_logged(&mut self, out: &mut Outputs) {
        let mut bytes = Vec::new();
        if let Some(core) = &mut self.core {
            core.acknowledge_appended().for_each(|ack| ack.write(&mut bytes));
        }
        if !bytes.is_empty() {
            out.log.push(LogOrder::Send { link: self.link, bytes });
        }
    }

    /// Gives the leader a packet, behind those that are on their way.
    pub fn send(&mut self, packet: QuorumPacket) {
        self.out.push(LearnerOutput::Send(packet));
    }

    /// Passes an observer's `sync` on. It comes back as SYNC.
    pub fn forward_sync(&mut self, link: LinkId, packet: QuorumPacket) {
        self.syncs.push_back(Syncing::Observer(link));
        self.send(packet);
    }

    /// Who waits for this transaction here.
    fn origin_of(&mut self, record: &TxnRecord) -> Origin {
        let (session, cxid) = (record.header.client_id, record.header.cxid);
        if record.header.op == code::CREATE_SESSION {
            return match self.new_sessions.remove(&session) {
                Some((conn, timeout_ms)) => Origin::NewSession { conn, timeout_ms },
                None => Origin::Nobody,
            };
        }
        match self.forwarded.get_mut(&session).and_then(|waiting| waiting.front()) {
            Some(Waiting::Write(to)) if to.xid == cxid => {
                let to = *to;
                self.pop_waiting(session);
                Origin::Client(to)
            }
            _ => Origin::Nobody,
        }
    }

    fn pop_waiting(&mut self, session: i64) -> Option<Waiting> {
        let waiting = self.forwarded.get_mut(&session)?;
        let first = waiting.pop_front();
        if waiting.is_empty() {
            self.forwarded.remove(&session);
        }
        first
    }

    /// Waits for the writes that the session has sent before; given back when there are none.
    pub fn behind_writes(&mut self, session: i64, work: Work) -> Option<Work> {
        match self.forwarded.get_mut(&session) {
            Some(waiting) => waiting.push_back(Waiting::Here(work)),
            None => return Some(work),
        }
        None
    }

    /// What needs no leader and whose turn has come, now that what was before it is answered.
    fn due_here(&mut self, session: i64, ready: &mut VecDeque<Work>) {
        while let Some(Waiting::Here(_)) = self.forwarded.get(&session).and_then(VecDeque::front) {
            if let Some(Waiting::Here(work)) = self.pop_waiting(session) {
                ready.push_back(work);
            }
        }
    }

    /// The oldest `sync` is answered by the leader. Gives the observer that waits for that.
    fn sync_done(&mut self, ready: &mut VecDeque<Work>) -> Option<LinkId> {
        let session = match self.syncs.pop_front()? {
            Syncing::Client(session) => session,
            Syncing::Observer(link) => return Some(link),
        };
        // Without it, the session was closed meanwhile.
        if let Some(Waiting::Sync(..)) = self.forwarded.get(&session).and_then(VecDeque::front)
            && let Some(Waiting::Sync(to, path)) = self.pop_waiting(session)
        {
            ready.push_back(Work::Sync { to, path });
            self.due_here(session, ready);
        }
        None
    }
}

impl Node {
    pub(super) fn start_following(
        &mut self,
        leader: i64,
        observer: bool,
        cx: Cx<'_>,
        out: &mut Outputs,
    ) {
        let Some(master) = self.find_master(leader, observer, out.random) else {
            // Its configuration is later than ours; the next notification brings it.
            log::error!("elected leader {leader} is not in the configuration");
            return self.start_looking(cx, out);
        };
        if master.sid != leader {
            log::info!("observing by way of server {}", master.sid);
        }
        let link = self.new_link();
        let following = Following::new(link, leader, observer, master, cx.now.mono);
        self.role = Role::Following(Box::new(following));
        self.dial(cx, out);
        self.report_role("", "discovery", out);
    }

    fn dial(&mut self, cx: Cx<'_>, out: &mut Outputs) {
        let Role::Following(following) = &mut self.role else { return };
        let link = following.link;
        if let Some((_, addresses)) = following.dial.take_if(|(at, _)| *at <= cx.now.mono) {
            out.commands.push(Command::ConnectLeader { link, addresses });
        }
    }

    pub(super) fn tick_following(&mut self, cx: Cx<'_>, out: &mut Outputs) {
        self.dial(cx, out);
        let Role::Following(following) = &mut self.role else { return };
        let now = cx.now.mono;
        if now >= following.next_tick {
            following.next_tick = now + self.settings.tick_ms / 4;
            following.with_core(|core, core_out| core.tick(now, core_out));
            self.as_observer_master(cx, out, |core, o| core.tick(now, o));
        }
    }

    pub(super) fn on_leader_connected(&mut self, link: LinkId, cx: Cx<'_>, out: &mut Outputs) {
        let settings = LearnerSettings {
            my_id: self.settings.my_id,
            observer: false,
            tick_ms: self.settings.tick_ms,
            init_limit: self.settings.init_limit,
            sync_limit: self.settings.sync_limit,
            config_version: self.membership.committed().version,
        };
        let log = LogState {
            accepted_epoch: self.accepted_epoch,
            current_epoch: self.current_epoch,
            // No leader answers −1 but with SNAP, and none counts it as an epoch's acknowledgement:
            // this server may have seen more than the leader.
            last_logged: if std::mem::take(&mut self.wants_snapshot) { -1 } else { self.appended },
        };
        match &mut self.role {
            Role::Following(f) if f.link == link => {
                let settings = LearnerSettings { observer: f.observer, ..settings };
                f.core = Some(LearnerCore::new(settings, log, cx.now.mono, &mut f.out));
            }
            _ => out.link(link, super::LinkCommand::Close),
        }
    }

    pub(super) fn on_leader_lost(&mut self, link: LinkId, reason: &str, out: &mut Outputs) {
        if matches!(&self.role, Role::Following(f) if f.link == link) {
            self.step_down(&format!("the leader is out of reach: {reason}"), out);
        }
    }

    pub(super) fn on_leader_event(&mut self, event: LinkEvent, cx: Cx<'_>, out: &mut Outputs) {
        let Role::Following(following) = &mut self.role else { return };
        match event {
            LinkEvent::Packets(packets) => self.on_leader_packets(packets, cx, out),
            LinkEvent::Snapshot { zxid, tree } => {
                following.snapshot = Some(tree);
                let snap = QuorumPacket::bare(packet::SNAP, zxid);
                following.with_core(|core, core_out| core.packet(snap, cx.now.mono, core_out));
            }
            // Nothing was asked.
            LinkEvent::LogSearched(_) => {}
            LinkEvent::Progress => following.with_core(|core, _| core.progress(cx.now.mono)),
            LinkEvent::Closed { reason } => {
                self.step_down(&format!("link to the leader: {reason}"), out);
            }
        }
    }

    /// One packet after the other, each with all that comes of it: one may end the role, and the
    /// core must not have taken what follows it.
    fn on_leader_packets(&mut self, packets: Vec<QuorumPacket>, cx: Cx<'_>, out: &mut Outputs) {
        for packet in packets {
            let Role::Following(following) = &mut self.role else { return };
            following.with_core(|core, core_out| core.packet(packet, cx.now.mono, core_out));
            self.run_learner(cx, out);
        }
    }

    /// Carries out what the core has put out, and what that makes it put out.
    pub(super) fn run_learner(&mut self, cx: Cx<'_>, out: &mut Outputs) {
        loop {
            let Role::Following(following) = &mut self.role else { return };
            if following.out.is_empty() {
                return;
            }
            for output in std::mem::take(&mut following.out) {
                self.on_learner_output(output, cx, out);
            }
        }
    }

    fn on_learner_output(&mut self, output: LearnerOutput, cx: Cx<'_>, out: &mut Outputs) {
        let Role::Following(following) = &mut self.role else { return };
        let link = following.link;
        let logs = !following.observer || self.settings.observers.log;
        match output {
            LearnerOutput::Send(packet) => out.send(link, &packet),
            LearnerOutput::Pong { zxid } => {
                let touched = following.sessions.as_mut().map(|s| s.take_touched());
                let touches = touched.unwrap_or_default().into_iter();
                let touches =
                    touches.map(|(session_id, timeout)| SessionTouch { session_id, timeout });
                out.send(link, &QuorumPacket::new(packet::PING, zxid, write_touches(touches)));
            }
            LearnerOutput::SetAcceptedEpoch(epoch) => {
                self.set_accepted_epoch(epoch, out);
            }
            LearnerOutput::SetCurrentEpoch(epoch) => {
                self.set_current_epoch(epoch, out);
            }
            LearnerOutput::Truncate { zxid } if zxid < self.newest_snapshot || !logs => {
                self.wants_snapshot = true;
                let reason = format!(
                    "TRUNC to {zxid:#x}, but the newest snapshot is at {:#x}, and logs are {}: a \
                     snapshot is needed",
                    self.newest_snapshot,
                    if logs { "kept" } else { "not kept" }
                );
                self.step_down(&reason, out);
            }
            LearnerOutput::Truncate { zxid } => {
                log::warn!("Truncating log to get in sync with the leader {zxid:#x}");
                self.appended = zxid;
                self.order(LogMark::Cut, |token| LogCommand::Truncate { zxid, token }, out);
                self.order_reload(out);
            }
            LearnerOutput::InstallSnapshot { zxid } => self.install_snapshot(zxid, out),
            LearnerOutput::Append { zxid, bytes } => {
                let observer = following.observer;
                self.count_proposal(observer, &bytes, cx.now);
                if logs {
                    self.append(zxid, bytes, out);
                } else {
                    self.appended = zxid;
                    self.unlogged = true;
                }
            }
            LearnerOutput::Commit(record, bytes) => self.on_committed(*record, bytes, cx, out),
            LearnerOutput::LastSeenConfig(text) => self.see_config_text(&text, cx, out),
            LearnerOutput::Activate { config, designated_leader } => {
                self.as_observer_master(cx, out, |core, o| core.activated(designated_leader, o));
                self.activate_text(&config, designated_leader, cx, out);
            }
            LearnerOutput::ActivateUpTo { config, upto } => {
                self.activate_upto(&config, upto, cx, out);
            }
            LearnerOutput::Serve { epoch } => self.serve_as_learner(epoch, cx, out),
            LearnerOutput::Revalidated { session, valid } => {
                self.on_revalidated(session, valid, cx, out);
            }
            LearnerOutput::SyncDone => {
                if let Some(observer) = following.sync_done(&mut self.ready) {
                    out.send(observer, &QuorumPacket::bare(packet::SYNC, 0));
                }
            }
            LearnerOutput::StepDown { reason } => self.step_down(&reason, out),
        }
    }

    fn count_proposal(&self, observer: bool, txn: &[u8], now: Now) {
        self.metrics.learner_proposal_received_count.add(1);
        if !observer {
            let time = time_of(txn).unwrap_or_default();
            count_latency(&self.metrics.proposal_latency, time, now);
        }
    }

    /// A transaction is committed: it is to be applied, and passed on to observers.
    fn on_committed(&mut self, record: TxnRecord, bytes: Arc<[u8]>, cx: Cx<'_>, out: &mut Outputs) {
        let Role::Following(following) = &mut self.role else { return };
        self.metrics.learner_commit_received_count.add(1);
        let latency = &self.metrics.commit_propagation_latency;
        count_latency(latency, record.header.time, cx.now);
        let origin = following.origin_of(&record);
        let (session, zxid) = (record.header.client_id, record.header.zxid);
        let reconfig = matches!(record.txn, Txn::Reconfig(_));
        let work = Work::Txn { record, bytes: Arc::clone(&bytes), origin };
        self.ready.push_back(work);
        following.due_here(session, &mut self.ready);
        self.as_observer_master(cx, out, |core, o| core.committed(zxid, bytes, reconfig, o));
    }

    /// The leader's word on a session that came to this server, or to an observer of it.
    fn on_revalidated(&mut self, session: i64, valid: bool, cx: Cx<'_>, out: &mut Outputs) {
        let by_observer =
            self.as_observer_master(cx, out, |core, o| core.revalidated(session, valid, o));
        if by_observer == Some(true) {
            return;
        }
        let Role::Following(following) = &mut self.role else { return };
        if let Some((conn, timeout_ms)) = following.revalidations.remove(&session) {
            self.finish_reopen(conn, session, timeout_ms, valid, out);
        }
    }

    fn install_snapshot(&mut self, zxid: i64, out: &mut Outputs) {
        let Role::Following(following) = &mut self.role else { return };
        let Some(mut tree) = following.snapshot.take() else { return };
        tree.set_last_zxid(zxid);
        log::info!("got a snapshot from the leader at {zxid:#x}, {} nodes", tree.node_count());
        self.appended = zxid;
        self.unlogged = false;
        self.newest_snapshot = zxid;
        let frozen = Box::new(tree.freeze());
        let install = |token| LogCommand::InstallSnapshot { tree: frozen, token };
        self.order(LogMark::Cut, install, out);
        self.snapshots.snapshot_taken(out.random);
        self.replacement = Some((tree, CommittedLog::new(self.settings.commit_log_count)));
    }

    /// The tree in memory has been replaced by what the core wanted.
    pub(super) fn on_tree_replaced(&mut self, cx: Cx<'_>, out: &mut Outputs) {
        match &mut self.role {
            Role::Following(following) => {
                following.with_core(|core, core_out| core.tree_ready(core_out));
                self.show_config(cx);
            }
            Role::Draining { reload } => {
                *reload = false;
                self.appended = cx.db.tree.last_zxid();
                self.unlogged = false;
                self.take_next_role(cx, out);
            }
            _ => {}
        }
    }

    fn serve_as_learner(&mut self, epoch: i64, cx: Cx<'_>, out: &mut Outputs) {
        let NodeSettings { tick_ms, my_id, local_sessions, .. } = self.settings;
        let Role::Following(following) = &mut self.role else { return };
        // What is committed and not applied yet will tell the tracker itself.
        let known = cx.db.tree.sessions().clone();
        let first_id = first_session_id(cx.now.wall, my_id);
        let sessions = LearnerSessionTracker::new(known, tick_ms, first_id, local_sessions);
        following.sessions = Some(sessions);
        let took = cx.now.mono - following.started;
        log::info!(
            "FOLLOWING - serving in epoch {epoch:#x} under leader {} after {} ms",
            following.leader,
            took
        );
        let mode = if following.observer {
            self.metrics.observer_sync_time.add(took);
            self.masters.found(following.master);
            "observer"
        } else {
            self.metrics.follower_sync_time.add(took);
            self.start_observer_master(epoch, cx, out);
            "follower"
        };
        self.tell_election(epoch, cx, out);
        self.report_role(mode, "broadcast", out);
        out.commands.push(Command::Serve { read_only: false });
    }

    /// What a learner has logged and not seen committed: it is in the log, so memory must have it
    /// too before this server votes (ZOOKEEPER-2845).
    pub(super) fn take_uncommitted(following: &mut Following) -> Vec<Work> {
        let Some(core) = following.core.take() else { return Vec::new() };
        core.into_uncommitted()
            .map(|(record, bytes): (Box<TxnRecord>, Arc<[u8]>)| Work::Txn {
                record: *record,
                bytes,
                origin: Origin::Nobody,
            })
            .collect()
    }

    /// In-flight work of a leader that leads no more.
    pub(super) fn orphan(in_flight: InFlight) -> Option<Work> {
        match in_flight.work {
            Work::Txn { record, bytes, .. } => {
                Some(Work::Txn { record, bytes, origin: Origin::Nobody })
            }
            Work::Forget(conn) => Some(Work::Forget(conn)),
            Work::Config { .. }
            | Work::Sync { .. }
            | Work::Refuse { .. }
            | Work::Dismiss { .. }
            | Work::Read(_) => None,
        }
    }
}
