//! One simulated server: the very `Node`, `LogWorker` and recovery of production, in a shell that
//! does what the threads of `src/server` do.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use ironkeeper::auth::{AuthConfig, Registry};
use ironkeeper::metrics::ServerMetrics;
use ironkeeper::pipeline::ToIo;
use ironkeeper::pipeline::node::{
    Command, Cx, Event, LearnerPort, LinkCommand, LogOrder, Node, NodeSettings, Now,
    ObserverSettings, Outputs, QuorumSettings,
};
use ironkeeper::pipeline::prep::PrepOptions;
use ironkeeper::quorum::election;
use ironkeeper::quorum::leader::{LinkId, SyncLimits};
use ironkeeper::server::boot::{self, StorageSettings};
use ironkeeper::server::mesh::Members;
use ironkeeper::storage::mem_disk::{Fault as DiskFault, MemDisk, Unsynced};
use ironkeeper::storage::{
    Layout, LogCommand, LogEvent, LogOptions, LogWorker, RecoveryOptions, SnapshotOptions,
    SnapshotPolicy, StorageError, purge, snap_store,
};
use ironkeeper::tree::{Db, FrozenTree, OwnerRules, Seed, TreeOptions, Watches};

use super::knobs::{Fault, Knobs};
use super::reconfig::{self, Start};
use super::rng::Rng;
use super::trace::{self, trace};
use super::world::{Action, MS, SECOND, TICK_MS, Time, World};

/// 1970 was that long before the history began, ms.
const WALL_START: i64 = 1_700_000_000_000;

/// Where followers serve observers, if they do.
pub const OBSERVER_MASTER_PORT: u16 = 4_000;

pub struct Server {
    pub id: i64,
    pub disk: MemDisk,
    storage: StorageSettings,
    settings: NodeSettings,
    snap_count: i64,
    /// Counts starts.
    pub inc: u64,
    pub process: Option<Process>,
    /// A stopped process goes on at this time.
    pub paused_until: Time,
    /// Rate of its clock, in thousandths, and how far its wall clock is off.
    clock_rate: u64,
    wall_offset: i64,
    /// The power is off: nobody answers for it.
    pub silent: bool,
}

/// What a crash ends.
pub struct Process {
    pub inc: u64,
    started: Time,
    node: Node,
    pub db: Arc<Db>,
    out: Outputs,
    inbox: VecDeque<Event>,
    wake_at: Time,
    wake_token: u64,
    worker: LogWorker,
    orders: VecDeque<LogOrder>,
    log_busy: bool,
    snapshot: Option<FrozenTree>,
    pub serving: bool,
    /// Where it accepts learners, and where it does if it leads.
    pub listening: Option<u16>,
    pub quorum_port: u16,
    /// With whom it keeps election links.
    pub peers: BTreeSet<i64>,
    /// Version of a configuration that is proposed and not known to be decided.
    pub proposed: Option<i64>,
    pub links: BTreeMap<LinkId, (u64, usize)>,
    pub next_learner_link: LinkId,
    /// Since when it leads, if it does.
    pub leads_since: Option<Time>,
}

impl Process {
    /// What was ordered of the log is done.
    pub fn log_is_idle(&self) -> bool {
        self.orders.is_empty() && !self.log_busy
    }
}

/// One output, in the order in which the commit thread delivers them.
enum Effect {
    Log(LogOrder),
    Link(LinkId, LinkCommand),
    Io(ToIo),
    Do(Command),
}

impl Server {
    pub fn new(s: usize, knobs: &Knobs, rng: &mut Rng) -> Self {
        let id = s as i64 + 1;
        let disk = MemDisk::new();
        let tree = TreeOptions {
            digest_enabled: true,
            owner_rules: OwnerRules::default(),
            seed: Seed(rng.next(), rng.next()),
        };
        let snapshot = SnapshotOptions::default();
        let storage = StorageSettings {
            disk: disk.shared(),
            layout: Layout::new("/data", None),
            log: LogOptions {
                preallocate: knobs.preallocate,
                force_sync: true,
                size_limit: knobs.log_limit,
            },
            snapshot,
            recovery: RecoveryOptions {
                tree,
                snapshot,
                committed_log: knobs.ring,
                ..RecoveryOptions::default()
            },
        };
        Self {
            id,
            disk,
            storage,
            settings: node_settings(id, knobs, rng),
            snap_count: knobs.snap_count,
            inc: 0,
            process: None,
            paused_until: 0,
            clock_rate: 1_000 - knobs.skew + rng.below(2 * knobs.skew + 1),
            wall_offset: rng.below(20 * knobs.skew + 1) as i64,
            silent: false,
        }
    }

    pub fn tree_options(&self) -> TreeOptions {
        self.storage.recovery.tree
    }

    pub fn quorum_settings(&self) -> QuorumSettings {
        self.settings.quorum.clone().expect("a member of an ensemble")
    }

    pub fn layout(&self) -> Layout {
        self.storage.layout.clone()
    }

    /// The process of this incarnation, if it still lives.
    pub fn process(&mut self, inc: u64) -> Option<&mut Process> {
        self.process.as_mut().filter(|p| p.inc == inc)
    }

    pub fn now(&self, now: Time) -> Now {
        let started = self.process.as_ref().map_or(now, |p| p.started);
        let mono = ((now - started) * self.clock_rate / 1_000 / MS) as i64;
        Now { mono, wall: WALL_START + (now / MS) as i64 + self.wall_offset }
    }
}

fn node_settings(id: i64, knobs: &Knobs, rng: &mut Rng) -> NodeSettings {
    let election = election::Settings {
        finalize_wait: 20 + rng.below(180),
        min_interval: 100,
        ..election::Settings::new(id)
    };
    let mut settings = NodeSettings {
        my_id: id,
        tick_ms: TICK_MS,
        init_limit: 10,
        sync_limit: 5,
        commit_log_count: knobs.ring,
        io_threads: 1,
        quorum: Some(QuorumSettings {
            config: Arc::new(reconfig::first_members(knobs)),
            last_seen: None,
            client_address: None,
            election,
        }),
        auth: Arc::new(Registry::new(&AuthConfig::default()).expect("default auth")),
        prep: PrepOptions {
            enforce_quota: false,
            close_session_txn: true,
            reconfig: false,
            standalone: true,
            multi_address: false,
            max_txn: 2 << 20,
        },
        local_sessions: false,
        local_sessions_upgrading: false,
        force_snapshot_sync: false,
        sync_limits: SyncLimits::default(),
        last_counter: knobs.last_counter,
        read_only_mode: false,
        container_check_ms: 1_000,
        container_max_per_minute: 10_000,
        container_max_never_used_ms: 0,
        eager_acl_check: false,
        leader_serves: true,
        observers: ObserverSettings {
            master_port: knobs.observer_masters.then_some(OBSERVER_MASTER_PORT),
            reconnect_delay_ms: rng.pick(&[0, 100]),
            election_delay_ms: rng.pick(&[0, 20, 200]),
            log: true,
        },
        snapshot_size_factor: knobs.size_factor,
    };
    if knobs.reconfig {
        reconfig::enable(&mut settings, knobs.standalone);
    }
    settings
}

impl World {
    // ---- start and end of a process --------------------------------------------------------

    /// Starts a server from what its disk has.
    pub fn start(&mut self, s: usize) {
        if self.servers[s].process.is_some() {
            return;
        }
        trace::turn(self.now, s + 1);
        trace!(self.now, "[{}] starts", s + 1);
        let random = self.rng.next();
        let now = self.now;
        let Some(Start { quorum, files }) = self.read_config(s) else {
            return self.after(300 * MS, Action::Restart { s });
        };
        let server = &mut self.servers[s];
        server.silent = false;
        let (tree, boot, stats) = boot::recover(&server.storage, true)
            .unwrap_or_else(|e| panic!("server {} cannot start again: {e}", server.id));
        let last = boot.last_logged;
        self.checks.recovered(s, last, &tree);
        self.coverage.restarts += u64::from(server.inc > 0);
        server.inc += 1;
        let mut policy = SnapshotPolicy::new(server.snap_count, 0, random);
        policy.logged(stats.txns, stats.txn_bytes);
        let StorageSettings { disk, layout, log, snapshot, .. } = server.storage.clone();
        let metrics = Arc::new(ServerMetrics::default());
        let zero = Now { mono: 0, wall: WALL_START };
        let own = &quorum.config.servers[&server.id];
        let quorum_port = own.addresses[0].quorum_port;
        let last_seen = quorum.last_seen.as_ref().unwrap_or(&quorum.config);
        let peers = Members::new(&quorum.config, last_seen, server.id).peers;
        let proposed = Some(last_seen.version).filter(|version| *version > quorum.config.version);
        let settings = NodeSettings { quorum: Some(quorum), ..server.settings.clone() };
        let node = Node::new(settings, metrics, policy, boot, zero);
        let mut worker = LogWorker::new(disk, layout, log, snapshot, last);
        files.into_iter().for_each(|files| worker.keep_members(files));
        let db = Arc::new(Db::new(tree, Watches::new(Seed(1, 2))));
        let out = Outputs::new(1, last);
        server.process = Some(Process {
            inc: server.inc,
            started: now,
            node,
            db,
            out,
            inbox: VecDeque::new(),
            wake_at: Time::MAX,
            wake_token: 0,
            worker,
            orders: VecDeque::new(),
            log_busy: false,
            snapshot: None,
            serving: false,
            listening: None,
            quorum_port,
            peers: peers.into_keys().collect(),
            proposed,
            links: BTreeMap::new(),
            next_learner_link: 1 << 32,
            leads_since: None,
        });
        self.reset_stale_wires(s);
        self.reset_stale_pairs(s);
        self.first_step(s);
    }

    fn first_step(&mut self, s: usize) {
        let now = self.servers[s].now(self.now);
        let Some(p) = &mut self.servers[s].process else { return };
        {
            let db = Arc::clone(&p.db);
            let db = db.read();
            p.node.start(Cx { db: &db, now }, &mut p.out);
        }
        if self.deliver(s) {
            self.plan_wake(s);
        }
    }

    /// Ends a server's process, or its whole machine.
    pub fn crash(&mut self, s: usize, unsynced: Unsynced) {
        let Some(process) = self.servers[s].process.take() else { return };
        trace!(self.now, "[{}] crashes: {unsynced:?}", s + 1);
        let power = unsynced != Unsynced::Kept;
        if process.leads_since.is_some() && process.proposed.is_some() {
            self.coverage.lost_in_reconfig += 1;
        }
        drop(process);
        self.coverage.kills += u64::from(!power);
        self.coverage.power_cuts += u64::from(power);
        self.servers[s].disk.crash(unsynced);
        // A machine without power says nothing; a process's sockets are closed by its kernel.
        self.servers[s].silent = power && self.rng.chance(500);
        self.servers[s].paused_until = 0;
        self.abandon_wires(s);
        self.abandon_pairs(s);
        self.abandon_conns(s);
        let down = match self.rng.below(4) {
            0 => self.rng.range(MS, 20 * MS),
            1 => self.rng.range(SECOND, 4 * SECOND),
            _ => self.rng.range(50 * MS, 800 * MS),
        };
        if self.chaos {
            self.after(down, Action::Restart { s });
        }
    }

    /// What is left of unsynced writes.
    pub fn some_unsynced(&mut self) -> Unsynced {
        match self.rng.below(3) {
            0 => Unsynced::Lost,
            _ => Unsynced::Some(self.rng.next()),
        }
    }

    // ---- the commit thread -----------------------------------------------------------------

    pub fn post(&mut self, s: usize, inc: u64, event: Event) {
        let at = self.now + self.rng.range(5, 200);
        let Some(process) = self.servers[s].process(inc) else { return };
        process.inbox.push_back(event);
        self.wake_before(s, at);
    }

    fn wake_before(&mut self, s: usize, at: Time) {
        let Some(p) = &mut self.servers[s].process else { return };
        if at < p.wake_at {
            p.wake_at = at;
            p.wake_token += 1;
            let token = p.inc << 32 | p.wake_token;
            self.at(at, Action::Wake { s, token });
        }
    }

    pub fn wake(&mut self, s: usize, token: u64) {
        let server = &mut self.servers[s];
        let Some(p) = &mut server.process else { return };
        if token != (p.inc << 32 | p.wake_token) {
            return;
        }
        p.wake_at = Time::MAX;
        if server.paused_until > self.now {
            let at = server.paused_until;
            return self.wake_before(s, at);
        }
        self.take_batch(s);
        if self.deliver(s) {
            self.plan_wake(s);
        }
    }

    fn plan_wake(&mut self, s: usize) {
        let now = self.servers[s].now(self.now);
        let rate = self.servers[s].clock_rate;
        let Some(p) = &mut self.servers[s].process else { return };
        let sleep = match p.inbox.is_empty() {
            false => 20,
            true => {
                let ms = (p.node.next_deadline() - now.mono).clamp(0, 1_000) as u64;
                ms * MS * 1_000 / rate + MS
            }
        };
        self.wake_before(s, self.now + sleep);
    }

    fn take_batch(&mut self, s: usize) {
        trace::turn(self.now, s + 1);
        let now = self.servers[s].now(self.now);
        let most = self.rng.range(1, self.knobs.batch) as usize;
        let random = self.rng.next();
        let Some(p) = &mut self.servers[s].process else { return };
        p.out.random = random;
        let db = Arc::clone(&p.db);
        let db = db.read();
        let cx = Cx { db: &db, now };
        for _ in 0..most {
            let Some(event) = p.inbox.pop_front() else { break };
            trace!(self.now, "[{}] < {}", s + 1, brief(&event));
            p.node.step(event, cx, &mut p.out);
        }
        if p.node.next_deadline() <= now.mono {
            p.node.step(Event::Tick, cx, &mut p.out);
        }
        p.node.end_batch(&mut p.out);
    }

    /// Delivers a batch's outputs; false if the server dies meanwhile.
    fn deliver(&mut self, s: usize) -> bool {
        let dies = self.chaos && self.knobs.faults.contains(&Fault::CrashPoint);
        let mut fuse = match dies && self.rng.below(500) == 0 {
            true => Some(self.rng.below(8)),
            false => None,
        };
        let orders = self.take_orders(s);
        if !self.carry_out_all(s, orders, &mut fuse) {
            return false;
        }
        let now = self.servers[s].now(self.now);
        let Some(p) = &mut self.servers[s].process else { return false };
        let mut effects = Vec::new();
        if p.node.has_ready() {
            let db = Arc::clone(&p.db);
            let mut db = db.write();
            p.node.commit(&mut db, now, &mut p.out);
            self.checks.applied(s, &db.tree);
            p.out.io.drain(|_, message| effects.push(Effect::Io(message)));
            drop(db);
            p.node.end_batch(&mut p.out);
            effects.extend(self.take_orders(s));
        }
        let Some(p) = &mut self.servers[s].process else { return false };
        p.out.io.drain(|_, message| effects.push(Effect::Io(message)));
        effects.extend(p.out.commands.drain(..).map(Effect::Do));
        self.carry_out_all(s, effects, &mut fuse)
    }

    fn take_orders(&mut self, s: usize) -> Vec<Effect> {
        let Some(p) = &mut self.servers[s].process else { return Vec::new() };
        let log = std::mem::take(&mut p.out.log).into_iter().map(Effect::Log);
        let links = std::mem::take(&mut p.out.links).into_iter();
        let links = links.flat_map(|(link, commands)| {
            commands.into_iter().map(move |command| Effect::Link(link, command))
        });
        log.chain(links).collect()
    }

    fn carry_out_all(&mut self, s: usize, effects: Vec<Effect>, fuse: &mut Option<u64>) -> bool {
        for effect in effects {
            if *fuse == Some(0) {
                self.coverage.crashes_between_outputs += 1;
                let unsynced =
                    if self.rng.chance(500) { Unsynced::Kept } else { self.some_unsynced() };
                self.crash(s, unsynced);
                return false;
            }
            *fuse = fuse.map(|left| left - 1);
            match effect {
                Effect::Log(order) => self.order(s, order),
                Effect::Link(link, command) => self.link_command(s, link, command),
                Effect::Io(message) => self.deliver_to_client(s, message),
                Effect::Do(command) => self.command(s, command),
            }
        }
        self.make_reads();
        true
    }

    fn command(&mut self, s: usize, command: Command) {
        let now = self.now;
        let snap_delay = self.knobs.snap_delay;
        let Some(p) = &mut self.servers[s].process else { return };
        let inc = p.inc;
        match command {
            Command::Serve { .. } => p.serving = true,
            Command::StopServing => p.serving = false,
            Command::ListenForLearners(port) => {
                p.listening = port.map(|port| match port {
                    LearnerPort::Quorum => p.quorum_port,
                    LearnerPort::ObserverMaster(port) => port,
                });
            }
            Command::ConnectLeader { link, addresses } => {
                let host = addresses[0].host.rsplit('.').next();
                let to: usize = host.and_then(|n| n.parse().ok()).expect("a server's host");
                let port = addresses[0].quorum_port;
                let until = now + 500 * MS;
                self.after(100, Action::Connect { s, inc, link, to: to - 1, port, until });
            }
            Command::SendVote { to, notification } => {
                self.send_vote(s, to as usize - 1, notification);
            }
            Command::TakeSnapshot(tree) => {
                assert!(p.snapshot.is_none(), "two snapshots at once");
                p.snapshot = Some(tree);
                let delay = self.delay(snap_delay);
                self.after(delay, Action::Snapshot { s, inc });
            }
            Command::SetMembers { committed, last_seen } => {
                self.set_members(s, &committed, &last_seen);
            }
            // Clients find every server.
            Command::ListenForClients(_) => {}
            Command::Report(report) => {
                trace!(now, "[{}] is {report:?}", s + 1);
                let leads = report.mode == "leader";
                if leads && p.leads_since.is_none() {
                    self.coverage.leaders += 1;
                }
                if !leads && p.leads_since.is_some() && p.proposed.is_some() {
                    self.coverage.lost_in_reconfig += 1;
                }
                p.leads_since = leads.then(|| p.leads_since.unwrap_or(now));
            }
        }
    }

    // ---- the log thread and the snapshot thread --------------------------------------------

    fn order(&mut self, s: usize, order: LogOrder) {
        let server = &self.servers[s];
        let inc = server.inc;
        let leads = server.process.as_ref().and_then(|p| p.leads_since);
        trace!(self.now, "[{}] log {}", s + 1, brief_order(&order));
        if let LogOrder::Do(command) = &order {
            self.checks.ordered(s, inc, command, self.now, leads);
            if let LogCommand::Members(order) = command {
                self.members_ordered(s, order);
            }
        }
        let Some(p) = &mut self.servers[s].process else { return };
        p.orders.push_back(order);
        if !p.log_busy {
            p.log_busy = true;
            let delay = self.rng.range(5, 100);
            self.after(delay, Action::Log { s, inc });
        }
    }

    /// Carries out some orders that wait; what they report comes after the time the disk takes.
    pub fn log_thread(&mut self, s: usize, inc: u64) {
        trace::turn(self.now, s + 1);
        let paused = self.servers[s].paused_until;
        if paused > self.now {
            return self.at(paused, Action::Log { s, inc });
        }
        let most = self.rng.range(1, self.knobs.batch.max(4));
        let delay = self.delay(self.knobs.log_delay);
        let storage = self.servers[s].storage.clone();
        let Some(p) = self.servers[s].process(inc) else { return };
        if p.orders.is_empty() {
            p.log_busy = false;
            return;
        }
        let mut commands = Vec::new();
        let mut packets = Vec::new();
        let mut told = false;
        let mut reload = false;
        while commands.len() < most as usize && !reload {
            match p.orders.pop_front() {
                Some(LogOrder::Do(command)) => {
                    commands.push(command);
                    told = false;
                }
                Some(LogOrder::Send { link, bytes }) => {
                    packets.push((link, bytes));
                    told = true;
                }
                Some(LogOrder::Reload) => reload = true,
                None => break,
            }
        }
        let mut reports = Vec::new();
        if let Err(error) = p.worker.execute(commands, &mut reports) {
            return self.disk_failed(s, &error.to_string());
        }
        let done = reports.iter().rev().find_map(|report| match report {
            LogEvent::Durable(token) => Some(*token),
            _ => None,
        });
        for (link, bytes) in packets {
            self.after(delay, Action::Send { s, inc, link, bytes });
        }
        if let Some(token) = done {
            // What packets tell of the node hears with whatever comes next.
            let later = if told { self.rng.range(0, 50 * MS) } else { 0 };
            self.after(delay + later, Action::Post { s, inc, event: Event::LogDone { token } });
        }
        if reload {
            self.coverage.reloads += 1;
            match boot::recover(&storage, true) {
                Ok((tree, boot, _)) => {
                    let event = Event::Reloaded { tree: Box::new(tree), recent: boot.recent };
                    self.after(delay + 1, Action::Post { s, inc, event });
                }
                Err(error) => return self.disk_failed(s, &error.to_string()),
            }
        }
        self.after(delay + 2, Action::Log { s, inc });
    }

    pub fn send(&mut self, s: usize, inc: u64, link: LinkId, bytes: Vec<u8>) {
        if self.servers[s].process(inc).is_some() {
            self.link_command(s, link, LinkCommand::Bytes(bytes));
        }
    }

    pub fn snapshot_thread(&mut self, s: usize, inc: u64) {
        let paused = self.servers[s].paused_until;
        if paused > self.now {
            return self.at(paused, Action::Snapshot { s, inc });
        }
        let storage = self.servers[s].storage.clone();
        let Some(p) = self.servers[s].process(inc) else { return };
        let Some(tree) = p.snapshot.take() else { return };
        let zxid = tree.last_zxid();
        let dir = storage.layout.snap_dir();
        trace!(self.now, "[{}] snapshot {zxid:#x} is written", s + 1);
        match snap_store::save(&*storage.disk, &dir, &tree, storage.snapshot) {
            Ok(_) => {
                self.coverage.snapshots += 1;
                if self.knobs.purge
                    && let Err(error) = purge_old(&storage)
                {
                    return self.disk_failed(s, &error.to_string());
                }
                self.post(s, inc, Event::SnapshotDone { zxid });
            }
            Err(error) => self.disk_failed(s, &error.to_string()),
        }
    }

    /// The only disk error there is: the power goes in the midst of an operation.
    pub fn disk_failed(&mut self, s: usize, error: &str) {
        assert!(error.contains("power"), "server {}: {error}", s + 1);
        self.coverage.crashes_in_disk_op += 1;
        let unsynced = self.some_unsynced();
        self.crash(s, unsynced);
    }

    /// Lets the power go at one of the next disk operations.
    pub fn arm_disk(&mut self, s: usize) {
        let nth = self.rng.range(1, 12);
        self.servers[s].disk.fail(nth, DiskFault::PowerCut);
    }
}

fn purge_old(storage: &StorageSettings) -> Result<(), StorageError> {
    let (log_dir, snap_dir) = (storage.layout.log_dir(), storage.layout.snap_dir());
    for file in purge::old_files(&*storage.disk, &log_dir, &snap_dir, 3)? {
        purge::remove(&*storage.disk, &file)?;
    }
    Ok(())
}

fn brief(event: &Event) -> String {
    let mut text = format!("{event:?}");
    if text.len() > 300 {
        text = text.chars().take(300).collect();
    }
    text
}

fn brief_order(order: &LogOrder) -> String {
    match order {
        LogOrder::Reload => "reload".into(),
        LogOrder::Send { link, bytes } => format!("send link {link}: {} bytes", bytes.len()),
        LogOrder::Do(LogCommand::Append { zxid, .. }) => format!("append {zxid:#x}"),
        LogOrder::Do(LogCommand::InstallSnapshot { tree, token }) => {
            format!("install {:#x}, token {token}", tree.last_zxid())
        }
        LogOrder::Do(command) => format!("{command:?}"),
    }
}
