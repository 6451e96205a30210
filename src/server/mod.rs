//! The server's threads and how they are wired; no decision is taken here. Read [`run`] top-down:
//! recover, open the front end, start the threads, wait for a signal, end in good order.
//! Java: `QuorumPeerMain`, `ZooKeeperServerMain`.

mod arrivals;
mod background;
pub mod boot;
mod commit_thread;
mod exit;
pub mod host;
pub mod link;
mod log_thread;
pub mod logging;
pub mod mesh;
mod oracle;
mod packets;
mod peers;
mod snapshots;
mod sockets;
pub mod status;
mod watchdog;

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crate::auth::EnforceAuth;
use crate::config::{Address, Config};
use crate::mailbox::Sender;
use crate::metrics::{self, ServerMetrics};
use crate::net::{self, Backend, FourLetter, ListenAddress, NetHandle, ServerView, Submit};
use crate::pipeline::IoEvent;
use crate::pipeline::node::{Event, Node};
use crate::storage::recovery::RecoveryStats;
use crate::sys;
use crate::tree::{Db, Seed, Watches};
use arrivals::Arrivals;
use boot::StorageSettings;
use commit_thread::CommitThread;
use link::LinkSettings;
use log_thread::Reports;
use peers::{Links, Peers};
use snapshots::{PurgePlan, Snapshots};
use status::Status;
use watchdog::Watchdog;

/// Why a server could not start, and with which code the process ends.
struct Failure {
    code: u8,
    reason: String,
}

impl Failure {
    fn new(code: u8, reason: impl ToString) -> Self {
        Self { code, reason: reason.to_string() }
    }
}

/// What those who answer questions about the server may look at.
pub struct Insight {
    pub config: Arc<Config>,
    pub db: Arc<Db>,
    pub metrics: Arc<metrics::Registry>,
    pub status: Arc<Status>,
    pub view: Arc<ServerView>,
}

/// Makes whoever answers four-letter words: the layer that knows their texts is above this one.
pub type Answerer = fn(Insight) -> Box<dyn FourLetter>;

/// Runs a server until it is told to end.
pub fn run(config: Config, answerer: Answerer) -> ExitCode {
    match start_and_wait(config, answerer) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure { code, reason }) => {
            log::error!("{reason}");
            eprintln!("{reason}");
            ExitCode::from(code)
        }
    }
}

fn start_and_wait(config: Config, answerer: Answerer) -> Result<(), Failure> {
    let started = Instant::now();
    let unexpected = |e: io::Error| Failure::new(exit::UNEXPECTED_ERROR, e);
    sys::ignore_hangup();
    sys::block_termination_signals().map_err(unexpected)?;
    if let Err(e) = sys::raise_file_limit() {
        log::warn!("cannot raise the limit of open files: {e}");
    }
    let server = Server::start(Arc::new(config), answerer, started)?;
    log::info!("started in {} ms", started.elapsed().as_millis());
    let signal = sys::wait_for_termination_signal().map_err(unexpected)?;
    log::info!("signal {signal}: shutting down");
    server.stop();
    Ok(())
}

/// A running server.
struct Server {
    db: Arc<Db>,
    net: NetHandle,
    events: Sender<Event>,
    commit: thread::JoinHandle<()>,
    log: thread::JoinHandle<()>,
    watchdog: Watchdog,
}

/// I/O threads hand their batches straight to the commit thread's queue.
struct ToCommitThread(Sender<Event>);

impl Submit for ToCommitThread {
    fn submit(&self, batch: Vec<IoEvent>) {
        // It is gone only when the process ends.
        let _ = self.0.send(Event::Io(batch));
    }
}

impl Server {
    fn start(config: Arc<Config>, answerer: Answerer, started: Instant) -> Result<Self, Failure> {
        boot::check_own_id(&config).map_err(|e| Failure::new(exit::UNEXPECTED_ERROR, e))?;
        let storage = boot::storage_settings(&config);
        let (tree, boot, stats) = boot::recover(&storage, config.distributed)
            .map_err(|e| Failure::new(exit::UNABLE_TO_ACCESS_DATADIR, e))?;
        let last_logged = boot.last_logged;
        let mut policy = boot::snapshot_policy(&config);
        policy.logged(stats.txns, stats.txn_bytes);

        let unexpected = |e: io::Error| Failure::new(exit::UNEXPECTED_ERROR, e);
        let metrics = Arc::new(metrics::Registry::default());
        count_recovery(&stats, &metrics.shard());
        let watches = Watches::new(Seed(boot::random(), boot::random()));
        let db = Arc::new(Db::new(tree, watches));
        let (events, arrivals) = Arrivals::new().map_err(unexpected)?;
        let status = Arc::new(Status::new(events.clone(), started));
        let view =
            Arc::new(ServerView::new(config.min_session_timeout_ms, config.max_session_timeout_ms));
        let front = FrontEnd {
            config: &config,
            db: &db,
            view: &view,
            status: &status,
            events: &events,
            metrics: &metrics,
        };
        let (net, auth) = front.open(answerer)?;

        let members = config.distributed.then(|| boot::member_files(&config)).transpose();
        let members = members.map_err(|e| Failure::new(exit::INVALID_INVOCATION, e))?;
        let links = Links::default();
        let reports = Reports {
            events: events.clone(),
            links: links.clone(),
            metrics: metrics.shard(),
            slow: Duration::from_millis(config.fsync_warning_threshold_ms.max(0) as u64),
        };
        let (orders, log) = log_thread::start(storage.clone(), members, last_logged, reports)
            .map_err(unexpected)?;
        let purge = purge_plan(&config);
        let snapshots = Snapshots::start(storage.clone(), purge, events.clone(), metrics.shard())
            .map_err(unexpected)?;
        let settings = boot::node_settings(&config, auth, net.clients().io_threads());
        let node = Node::new(settings, metrics.shard(), policy, boot, commit_thread::now(started));
        let peers =
            config.distributed.then(|| start_peers(&config, &storage, links, &events, &arrivals));
        let peers = peers.transpose().map_err(unexpected)?;
        let commit = CommitThread {
            node,
            db: Arc::clone(&db),
            clients: net.clients().clone(),
            door: Arc::clone(net.door()),
            client_backlog: config.client_port_listen_backlog,
            view,
            log: orders,
            snapshots,
            peers,
            status,
            started,
        };
        let commit = spawn_commit_thread(commit, arrivals).map_err(unexpected)?;
        let watchdog =
            Watchdog::start(events.clone(), net.clients().clone()).map_err(unexpected)?;
        Ok(Self { db, net, events, commit, log, watchdog })
    }

    /// Clients first, then what they were promised, then the rest.
    fn stop(self) {
        drop(self.watchdog);
        self.net.shutdown();
        let _ = self.events.send(Event::Stop);
        let _ = self.commit.join();
        let _ = self.log.join();
        // The process ends: there is no need to take the tree to pieces, which takes its time.
        std::mem::forget(self.db);
    }
}

/// What the start took.
fn count_recovery(stats: &RecoveryStats, metrics: &ServerMetrics) {
    metrics.startup_snap_load_time.add(stats.snapshot_ms);
    metrics.startup_txns_load_time.add(stats.replay_ms);
    metrics.startup_txns_loaded.add(stats.txns as i64);
    metrics.dbinittime.add(stats.snapshot_ms + stats.replay_ms);
    metrics.digest_mismatches_count.add(stats.digest_mismatches as i64);
}

fn spawn_commit_thread(
    commit: CommitThread,
    arrivals: Arrivals,
) -> io::Result<thread::JoinHandle<()>> {
    thread::Builder::new().name("commit".into()).spawn(move || commit.run(arrivals))
}

/// What the client front end is opened with.
struct FrontEnd<'a> {
    config: &'a Arc<Config>,
    db: &'a Arc<Db>,
    view: &'a Arc<ServerView>,
    status: &'a Arc<Status>,
    events: &'a Sender<Event>,
    metrics: &'a Arc<metrics::Registry>,
}

impl FrontEnd<'_> {
    fn open(&self, answerer: Answerer) -> Result<(NetHandle, Arc<crate::auth::Registry>), Failure> {
        let invalid = |e: String| Failure::new(exit::INVALID_INVOCATION, e);
        let config = self.config;
        let auth = Arc::new(boot::auth_registry(config).map_err(invalid)?);
        let schemes = config.enforce_auth_schemes.as_deref();
        let enforce = EnforceAuth::new(
            config.session_require_client_sasl_auth,
            config.enforce_auth_enabled,
            schemes,
            &auth,
        )
        .map_err(invalid)?;
        let insight = Insight {
            config: Arc::clone(config),
            db: Arc::clone(self.db),
            metrics: Arc::clone(self.metrics),
            status: Arc::clone(self.status),
            view: Arc::clone(self.view),
        };
        let backend = Backend {
            db: Arc::clone(self.db),
            auth: Arc::clone(&auth),
            enforce,
            view: Arc::clone(self.view),
            submit: Arc::new(ToCommitThread(self.events.clone())),
            four_letter: answerer(insight),
            metrics: Arc::clone(self.metrics),
        };
        let listeners = client_listeners(config)?;
        let net = net::start(net::Options::from_config(config), listeners, backend)
            .map_err(|e| Failure::new(exit::UNEXPECTED_ERROR, format!("client front end: {e}")))?;
        for address in net.local_addresses() {
            log::info!("binding to port {address}");
        }
        Ok((net, auth))
    }
}

/// Binds the client port, if there is one.
fn client_listeners(config: &Config) -> Result<Vec<std::net::TcpListener>, Failure> {
    let Some(address) = &config.client_address else { return Ok(Vec::new()) };
    let failed =
        |code| move |e| Failure::new(code, format!("cannot listen for clients on {address}: {e}"));
    let listen = listen_address(address, config.client_port_listen_backlog)
        .map_err(failed(exit::INVALID_INVOCATION))?;
    Ok(vec![net::bind(listen).map_err(failed(exit::UNEXPECTED_ERROR))?])
}

fn listen_address(address: &Address, backlog: i32) -> io::Result<ListenAddress> {
    let addr = if address.is_wildcard() {
        SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), address.port)
    } else {
        let mut resolved = (address.host.as_str(), address.port).to_socket_addrs()?;
        resolved.next().ok_or_else(|| io::Error::other("the name has no address"))?
    };
    Ok(ListenAddress { addr, backlog: Some(backlog).filter(|n| *n > 0) })
}

fn purge_plan(config: &Config) -> Option<PurgePlan> {
    let hours = u64::try_from(config.purge_interval_hours).ok().filter(|hours| *hours > 0)?;
    Some(PurgePlan {
        retain: config.snap_retain_count.max(3) as usize,
        interval: Duration::from_secs(hours * 3600),
    })
}

fn start_peers(
    config: &Config,
    storage: &StorageSettings,
    links: Links,
    events: &Sender<Event>,
    arrivals: &Arrivals,
) -> io::Result<Peers> {
    if let Some(path) = &config.oracle_path {
        oracle::start(path.clone(), events.clone())?;
    }
    let sync_ms = u64::from(config.tick_time_ms) * u64::from(config.sync_limit.max(1));
    let settings = LinkSettings {
        max_packet: config.jute_max_record() as usize + packets::MAX_AUTHINFO,
        max_waiting: link::MAX_WAITING,
        write_timeout: Duration::from_millis(sync_ms),
        disk: Arc::clone(&storage.disk),
        layout: storage.layout.clone(),
        tree_options: storage.recovery.tree,
        poll: Arc::new(arrivals.registry()?),
    };
    Peers::start(config, settings, links, events.clone())
}
