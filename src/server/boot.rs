//! From a configuration to what a server starts with: the database off the disk, and the settings
//! of its parts. Java: `QuorumPeerMain.runFromConfig`, `QuorumPeer.loadDataBase`.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use crate::auth::{AuthConfig, Registry};
use crate::config::Config;
use crate::pipeline::history::{CommittedLog, CommittedTxn};
use crate::pipeline::node::{Boot, NodeSettings, ObserverSettings, QuorumSettings};
use crate::pipeline::prep::PrepOptions;
use crate::quorum::election;
use crate::quorum::leader::{LAST_COUNTER, SyncLimits};
use crate::storage::{
    self, Compression, Layout, LogOptions, MemberFiles, RecoveryOptions, SharedDisk,
    SnapshotOptions, SnapshotPolicy, StorageError, epoch,
};
use crate::tree::{DataTree, OwnerRules, Seed, TreeOptions};

/// Where the files are and how they are written.
#[derive(Clone)]
pub struct StorageSettings {
    pub disk: SharedDisk,
    pub layout: Layout,
    pub log: LogOptions,
    pub snapshot: SnapshotOptions,
    pub recovery: RecoveryOptions,
}

pub fn storage_settings(config: &Config) -> StorageSettings {
    let snapshot = SnapshotOptions {
        compression: Compression::from_name(&config.snapshot_compression),
        last_zxid: config.serialize_last_zxid,
    };
    let owner_rules = OwnerRules {
        extended_types: config.extended_types_enabled,
        emulate_353: config.emulate_353_ttl_nodes,
    };
    let seed = Seed(random(), random());
    let tree = TreeOptions { digest_enabled: config.digest_enabled, owner_rules, seed };
    let log_dir = Some(config.data_log_dir.clone()).filter(|dir| !dir.as_os_str().is_empty());
    StorageSettings {
        disk: storage::RealDisk::shared(),
        layout: Layout::new(config.data_dir.clone(), log_dir),
        log: LogOptions {
            preallocate: (config.pre_alloc_size_kb.max(0) as u64) << 10,
            force_sync: config.force_sync,
            size_limit: (config.txn_log_size_limit_kb.max(0) as u64) << 10,
        },
        snapshot,
        recovery: RecoveryOptions {
            tree,
            snapshot,
            create_dirs: config.datadir_autocreate,
            create_db: config.db_autocreate,
            trust_empty: config.snapshot_trust_empty,
            committed_log: config.commit_log_count as usize,
        },
    }
}

/// A server that is no member cannot be found by the others. Java: `QuorumPeer.start`.
pub fn check_own_id(config: &Config) -> Result<(), String> {
    match config.server_id {
        Some(id) if config.distributed && !config.quorum.servers.contains_key(&id) => Err(format!(
            "My id {id} not in the peer list: give this server a line server.{id}= in {}, as \
             an observer if it is to join an ensemble",
            config.dynamic_config_file.as_ref().unwrap_or(&config.config_path)
        )),
        _ => Ok(()),
    }
}

/// The files that hold the ensemble's configurations. A configuration file that has the membership
/// in itself is kept as it is before anything is taken out of it (K-4).
pub fn member_files(config: &Config) -> Result<MemberFiles, String> {
    let path = Path::new(&config.config_path);
    let absolute = std::fs::canonicalize(storage::disk::parent(path));
    let dir = absolute.map_err(|e| format!("{}: {e}", path.display()))?;
    let path = dir.join(path.file_name().unwrap_or_default());
    member_files_on(storage::RealDisk::shared(), &path, config)
}

/// As [`member_files`], on any disk; `path`: the configuration file, from the root on.
pub fn member_files_on(
    disk: SharedDisk,
    path: &Path,
    config: &Config,
) -> Result<MemberFiles, String> {
    let files = MemberFiles::new(disk, path);
    if config.wants_backup() {
        files.back_up().map_err(|e| format!("Error processing {}: {e}", path.display()))?;
    }
    Ok(files)
}

/// Reads the database, repairing what a crash may have left.
pub fn recover(
    settings: &StorageSettings,
    distributed: bool,
) -> Result<(DataTree, Boot, storage::recovery::RecoveryStats), StorageError> {
    let started = Instant::now();
    let clock = || started.elapsed().as_millis() as i64;
    let StorageSettings { disk, layout, recovery, .. } = settings;
    let recovered = storage::recover(&**disk, layout, recovery, &clock)?;
    let epochs = match distributed {
        true => epoch::load(&**disk, &layout.snap_dir(), recovered.last_zxid)?,
        false => epoch::Epochs::default(),
    };
    log::info!(
        "database at zxid {:#x}: {} nodes, {} sessions, {} txns replayed, in {} ms",
        recovered.last_zxid,
        recovered.tree.node_count(),
        recovered.tree.sessions().len(),
        recovered.stats.txns,
        clock()
    );
    let boot = Boot {
        accepted_epoch: epochs.accepted,
        current_epoch: epochs.current,
        last_logged: recovered.last_zxid,
        newest_snapshot: recovered.snapshot.as_ref().map_or(0, |file| file.zxid),
        recent: ring(&recovered.committed, recovery.committed_log),
    };
    Ok((recovered.tree, boot, recovered.stats))
}

/// The ring of recent transactions, from the last hole on: an old log of Java's may have some.
pub fn ring<'a>(
    txns: impl IntoIterator<Item = &'a storage::LoggedTxn>,
    capacity: usize,
) -> CommittedLog {
    let mut ring = CommittedLog::new(capacity);
    for (zxid, bytes) in txns {
        if !ring.continues_with(*zxid) {
            ring.clear();
        }
        ring.push(CommittedTxn { zxid: *zxid, bytes: Arc::clone(bytes) });
    }
    ring
}

/// The schemes of authentication. As with Java, a class that cannot be had is no reason not to
/// start: what its ACLs guard stays closed.
pub fn auth_registry(config: &Config) -> Result<Registry, String> {
    let settings = AuthConfig {
        skip_acl: config.skip_acl,
        digest_disabled: !config.digest_auth_enabled,
        digest_alg: Some(config.digest_auth_algorithm.as_str()),
        super_digest: config.super_digest.as_deref(),
        ensemble_names: config.ensemble_auth_name.as_deref(),
    };
    let mut registry = Registry::new(&settings)?;
    for (name, class) in &config.properties {
        if name.starts_with("zookeeper.authProvider.")
            && let Err(why) = registry.register_class(class.trim(), &settings)
        {
            log::warn!("{name}: {why}");
        }
    }
    Ok(registry)
}

pub fn snapshot_policy(config: &Config) -> SnapshotPolicy {
    let size_limit = config.snap_size_limit_kb.saturating_mul(1024);
    SnapshotPolicy::new(i64::from(config.snap_count), size_limit, random())
}

pub fn quorum_settings(config: &Config) -> QuorumSettings {
    QuorumSettings {
        config: Arc::new(config.quorum.clone()),
        last_seen: config.last_seen_quorum.clone().map(Arc::new),
        client_address: config.client_address.clone(),
        election: election::Settings {
            reconfig_enabled: config.reconfig_enabled,
            multi_address: config.multi_address_enabled,
            min_interval: u64::from(config.fastleader_min_notification_interval_ms),
            max_interval: u64::from(config.fastleader_max_notification_interval_ms),
            ..election::Settings::new(my_id(config))
        },
    }
}

fn my_id(config: &Config) -> i64 {
    config.server_id.unwrap_or(1)
}

pub fn node_settings(config: &Config, auth: Arc<Registry>, io_threads: usize) -> NodeSettings {
    NodeSettings {
        my_id: my_id(config),
        tick_ms: i64::from(config.tick_time_ms),
        init_limit: i64::from(config.init_limit),
        sync_limit: i64::from(config.sync_limit),
        commit_log_count: config.commit_log_count as usize,
        quorum: config.distributed.then(|| quorum_settings(config)),
        prep: prep_options(config),
        auth,
        io_threads,
        local_sessions: config.local_sessions_enabled,
        local_sessions_upgrading: config.local_sessions_upgrading_enabled,
        read_only_mode: config.read_only_mode_enabled,
        container_check_ms: i64::from(config.container_check_interval_ms),
        container_max_per_minute: i64::from(config.container_max_per_minute),
        container_max_never_used_ms: config.container_max_never_used_interval_ms,
        eager_acl_check: config.enable_eager_acl_check && config.distributed,
        leader_serves: config.leader_serves,
        observers: ObserverSettings {
            master_port: u16::try_from(config.observer_master_port).ok().filter(|port| *port > 0),
            reconnect_delay_ms: config.observer_reconnect_delay_ms,
            election_delay_ms: config.observer_election_delay_ms,
            log: config.observer_sync_enabled.unwrap_or(config.sync_enabled),
        },
        snapshot_size_factor: config.snapshot_size_factor,
        force_snapshot_sync: config.force_snapshot_sync,
        sync_limits: SyncLimits {
            snapshots: config.leader_max_concurrent_snap_syncs as usize,
            diffs: config.leader_max_concurrent_diff_syncs as usize,
        },
        last_counter: LAST_COUNTER,
    }
}

fn prep_options(config: &Config) -> PrepOptions {
    PrepOptions {
        enforce_quota: config.enforce_quota,
        close_session_txn: config.close_session_txn_enabled,
        reconfig: config.reconfig_enabled,
        standalone: config.standalone_enabled,
        multi_address: config.multi_address_enabled,
        max_txn: config.jute_max_record() as usize,
    }
}

/// A number that nobody can foretell.
pub fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}
