//! `conf`: what the server runs with. Java: `ZooKeeperServer.dumpConf` and its overrides.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use crate::config::{Config, QuorumConfig, Role};
use crate::server::host;
use crate::storage::Layout;

/// The directories of snapshots and of logs.
pub fn directories(config: &Config) -> (PathBuf, PathBuf) {
    let log_dir = Some(config.data_log_dir.clone()).filter(|dir| !dir.as_os_str().is_empty());
    let layout = Layout::new(config.data_dir.clone(), log_dir);
    (layout.snap_dir(), layout.log_dir())
}

pub fn dirs(config: &Config) -> String {
    let (data, log) = directories(config);
    let (data, log) = (host::directory_size(&data), host::directory_size(&log));
    format!("datadir_size: {data}\nlogdir_size: {log}\n")
}

/// `membership` is the one in force; `None` while there is none to tell (read-only mode).
pub fn conf(config: &Config, membership: Option<&QuorumConfig>) -> String {
    let mut out = own(config);
    if !config.distributed {
        return out;
    }
    let (init, sync) = (config.init_limit, config.sync_limit);
    out += &format!("initLimit={init}\nsyncLimit={sync}\nelectionAlg=3\n");
    let me = config.server_id.and_then(|id| {
        let servers = &membership.unwrap_or(&config.quorum).servers;
        servers.get(&id).or_else(|| config.quorum.servers.get(&id))
    });
    let addresses = me.map_or(&[][..], |me| &me.addresses);
    let ports = |ports: Vec<u16>| {
        let mut texts: Vec<String> = ports.iter().map(u16::to_string).collect();
        texts.dedup();
        texts.join("|")
    };
    let election = ports(addresses.iter().map(|a| a.election_port).collect());
    let quorum = ports(addresses.iter().map(|a| a.quorum_port).collect());
    let role = me.map_or(config.peer_type, |me| me.role);
    let role = if role == Role::Observer { 1 } else { 0 };
    out += &format!("electionPort={election}\nquorumPort={quorum}\npeerType={role}\n");
    if let Some(membership) = membership {
        let _ = write!(out, "membership: \n{membership}");
    }
    out
}

/// What a standalone server tells, too.
fn own(config: &Config) -> String {
    let port = |port: Option<u16>| port.map_or(-1, i32::from);
    let client = port(config.client_port());
    let secure = port(config.secure_client_address.as_ref().map(|address| address.port));
    let (data, log) = directories(config);
    let mut out = format!("clientPort={client}\nsecureClientPort={secure}\n");
    out += &format!("dataDir={}\n", absolute(&data));
    out += &format!("dataDirSize={}\n", host::directory_size(&data));
    out += &format!("dataLogDir={}\n", absolute(&log));
    out += &format!("dataLogSize={}\n", host::directory_size(&log));
    let (min, max) = (config.min_session_timeout_ms, config.max_session_timeout_ms);
    out += &format!("tickTime={}\nmaxClientCnxns=", config.tick_time_ms);
    out += &format!("{}\n", config.max_client_cnxns);
    out += &format!("minSessionTimeout={min}\nmaxSessionTimeout={max}\n");
    out += &format!("clientPortListenBacklog={}\n", config.client_port_listen_backlog);
    let id = config.server_id.filter(|_| config.distributed).unwrap_or(0);
    out + &format!("serverId={id}\n")
}

fn absolute(path: &Path) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    here.join(path).display().to_string()
}
