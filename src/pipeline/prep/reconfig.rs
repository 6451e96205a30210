//! reconfig: a new membership, out of the last one and what the client wants (C-132).
//! Java: `PrepRequestProcessor`, `QuorumPeerConfig.parseDynamicConfig`,
//! `QuorumServer.checkAddressDuplicate`.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::{AROUND_TXN, Failure, Step};
use crate::config::{Address, QuorumConfig, ServerSpec};
use crate::tree::CONFIG_NODE;
use crate::wire::proto::ReconfigRequest;
use crate::wire::txn::SetDataTxn;
use crate::wire::{ErrorCode, Reader, Txn, perms};

/// What a leader knows of its ensemble.
pub trait Ensemble {
    /// The newest membership proposed, committed or not.
    fn last_seen(&self) -> &QuorumConfig;

    /// Version of the membership in force.
    fn committed_version(&self) -> i64;

    /// Whether a quorum of that membership is connected and up to date.
    fn is_quorum_synced(&self, config: &QuorumConfig) -> bool;
}

/// Bytes of a reconfiguration's transaction beside the text, and of the leader's id that observers
/// get with it.
const AROUND_CONFIG: usize = AROUND_TXN + 4 + CONFIG_NODE.len() + 4 + 4 + 8;

impl Step<'_> {
    pub(super) fn reconfig(&mut self, body: &mut Reader<'_>) -> Result<Txn, Failure> {
        let request: ReconfigRequest = body.record()?;
        if !self.options.reconfig {
            log::error!("Reconfig operation requested but reconfig feature is disabled.");
            return Err(ErrorCode::ReconfigDisabled.into());
        }
        self.check_session()?;
        let ensemble = self.ensemble.ok_or(ErrorCode::Unimplemented)?;
        let last = ensemble.last_seen();
        if last.version != ensemble.committed_version() {
            return Err(ErrorCode::ReconfigInProgress.into());
        }
        if request.config_id != -1 && request.config_id != last.version {
            return Err(ErrorCode::BadVersion.into());
        }
        let mut config = match &request.new_members {
            Some(members) => whole_membership(members, self.options.multi_address)?,
            None => changed_membership(last, &request, self.options.multi_address)?,
        };
        config.version = self.zxid;
        config.check_size().map_err(bad_arguments)?;
        let text = config.to_string().into_bytes();
        if text.len() + AROUND_CONFIG > self.options.max_txn {
            return Err(
                bad_arguments("the configuration is larger than jute.maxbuffer allows").into()
            );
        }
        let least = if self.options.standalone { 2 } else { 1 };
        if config.participants().count() < least {
            log::warn!(
                "Reconfig failed - new configuration must include at least {least} followers"
            );
            return Err(ErrorCode::BadArguments.into());
        }
        if !ensemble.is_quorum_synced(&config) {
            log::warn!(
                "Reconfig failed - there must be a connected and synced quorum in new configuration"
            );
            return Err(ErrorCode::NewConfigNoQuorum.into());
        }
        let mut node = self.node(CONFIG_NODE)?;
        self.check_acl(&node.acl, perms::WRITE)?;
        node.stat.version = -1;
        node.stat.mtime = self.time;
        node.stat.mzxid = self.zxid;
        node.set_data(CONFIG_NODE, Some(&text));
        self.changes.put(self.tree, self.zxid, CONFIG_NODE, node);
        self.new_config = Some(Box::new(config));
        let data = Some(text.into_boxed_slice());
        Ok(Txn::Reconfig(SetDataTxn { path: CONFIG_NODE.into(), data, version: -1 }))
    }
}

fn bad_arguments(why: impl std::fmt::Display) -> ErrorCode {
    log::warn!("Reconfig failed - {why}");
    ErrorCode::BadArguments
}

/// The membership that a client wrote out in full, lines separated by commas or line ends.
fn whole_membership(members: &str, multi_address: bool) -> Result<QuorumConfig, ErrorCode> {
    QuorumConfig::parse_members(&members.replace(',', "\n"), multi_address).map_err(bad_arguments)
}

/// The last membership without those who leave and with those who join.
fn changed_membership(
    last: &QuorumConfig,
    request: &ReconfigRequest,
    multi_address: bool,
) -> Result<QuorumConfig, ErrorCode> {
    if last.hierarchy.is_some() {
        return Err(bad_arguments(
            "Incremental reconfiguration requested but last configuration seen has a non-majority \
             quorum system",
        ));
    }
    let mut servers = last.servers.clone();
    for id in items(request.leaving.as_deref()) {
        servers.remove(&server_id(id)?);
    }
    for line in items(request.joining.as_deref()) {
        join(&mut servers, line, multi_address)?;
    }
    Ok(QuorumConfig { version: last.version, servers, hierarchy: None })
}

/// Takes one `server.<id>=<spec>` in, or in place of the server with that id.
fn join(
    servers: &mut BTreeMap<i64, ServerSpec>,
    line: &str,
    multi_address: bool,
) -> Result<(), ErrorCode> {
    let parts: Vec<&str> = line.split('=').map(str::trim).filter(|p| !p.is_empty()).collect();
    let [key, spec] = parts[..] else {
        return Err(bad_arguments("Wrong format of server string"));
    };
    let id = server_id(key.rsplit_once('.').map_or(key, |(_, id)| id))?;
    let joiner = ServerSpec::parse(id, spec, multi_address).map_err(bad_arguments)?;
    if joiner.client.is_none() {
        return Err(bad_arguments(
            "Wrong format of server string - each server should have 3 ports specified",
        ));
    }
    let ours = unmistakable_addresses(&joiner);
    for other in servers.values().filter(|other| other.id != id) {
        let theirs = unmistakable_addresses(other);
        if let Some(address) = ours.iter().find(|address| theirs.contains(address)) {
            let other = other.id;
            return Err(bad_arguments(format_args!(
                "{address} of server.{id} conflicts with server.{other}"
            )));
        }
    }
    servers.insert(id, joiner);
    Ok(())
}

/// The addresses of a server that no other may have: all but wildcard and loopback ones.
fn unmistakable_addresses(server: &ServerSpec) -> Vec<Address> {
    let peers = server.addresses.iter().flat_map(|peer| [peer.quorum(), peer.election()]);
    let is_loopback = |address: &Address| {
        address.host == "localhost" || address.host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
    };
    peers
        .chain(server.client.clone())
        .filter(|address| !address.is_wildcard() && !is_loopback(address))
        .collect()
}

fn items(list: Option<&str>) -> impl Iterator<Item = &str> {
    list.unwrap_or_default().split(',').map(str::trim).filter(|item| !item.is_empty())
}

/// Java fails on the number, not on the argument: −5.
fn server_id(text: &str) -> Result<i64, ErrorCode> {
    text.parse().map_err(|_| {
        log::warn!("Reconfig failed - {text:?} is not a server id");
        ErrorCode::MarshallingError
    })
}
