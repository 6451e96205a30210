//! The membership of an ensemble: who is in it, in which role, at which addresses, with which
//! weight, at which version. Its text is what `/zookeeper/config`, the dynamic configuration
//! files and the votes of an election carry, so that it is byte for byte Java's.
//!
//! Pure: knows no file, no name server and no quorum arithmetic (which is `quorum/`'s).
//! Answers to Java's `QuorumMaj`, `QuorumHierarchical` and `QuorumPeer.QuorumServer`.

use std::collections::BTreeMap;
use std::fmt;

use super::address::{Address, WILDCARD, bracketed, canonical_host, host_and_rest, split_java};
use super::properties;
use crate::wire::election::MAX_CONFIG_TEXT;

/// A membership line that makes no sense: the key, its value, and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MembershipError {
    pub key: String,
    pub value: String,
    /// In Java's words where Java has any.
    pub reason: String,
}

impl fmt::Display for MembershipError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.key.as_str() {
            "" => f.write_str(&self.reason),
            key => write!(f, "{key}={}: {}", self.value, self.reason),
        }
    }
}

impl std::error::Error for MembershipError {}

impl MembershipError {
    fn of_whole(reason: String) -> MembershipError {
        MembershipError { key: String::new(), value: String::new(), reason }
    }
}

/// What a server does in the ensemble.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Votes.
    Participant,
    /// Learns what was decided, and has no vote.
    Observer,
}

impl Role {
    /// Reads a role in any case; the error is Java's.
    pub fn parse(text: &str) -> Result<Role, String> {
        match text.trim().to_lowercase().as_str() {
            "participant" => Ok(Role::Participant),
            "observer" => Ok(Role::Observer),
            _ => Err(format!("Unrecognised peertype: {text}")),
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Role::Participant => "participant",
            Role::Observer => "observer",
        })
    }
}

/// One of the hosts at which a server's peers find it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerAddress {
    pub host: String,
    /// Learners connect to a leader here.
    pub quorum_port: u16,
    /// Votes are exchanged here.
    pub election_port: u16,
}

impl PeerAddress {
    pub fn quorum(&self) -> Address {
        Address { host: self.host.clone(), port: self.quorum_port }
    }

    pub fn election(&self) -> Address {
        Address { host: self.host.clone(), port: self.election_port }
    }
}

/// One `server.N` line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerSpec {
    pub id: i64,
    /// In order of their hosts; at least one.
    pub addresses: Vec<PeerAddress>,
    pub role: Role,
    pub client: Option<Address>,
    /// The client address was taken over from `clientPort` of the static file, and is therefore
    /// no part of the text that the ensemble agrees on.
    pub client_from_static: bool,
}

const WRONG_FORM: &str = " does not have the form server_config or server_config;client_config \
    where server_config is the pipe separated list of host:port:port or host:port:port:type \
    and client_config is port or host:port";

impl ServerSpec {
    /// Reads the value of `server.<id>`:
    /// `host:quorum:election[:role][|host:quorum:election[:role]…][;[host:]clientPort]`.
    /// More than one host needs `multi_address`. The errors are Java's words.
    pub fn parse(id: i64, text: &str, multi_address: bool) -> Result<ServerSpec, String> {
        let wrong_form = || format!("{text}{WRONG_FORM}");
        let parts = split_java(text, ';');
        if parts.is_empty() || parts.len() > 2 {
            return Err(wrong_form());
        }
        let client = match parts.get(1) {
            Some(client) => Some(client_address(client, text)?),
            None => None,
        };
        let peers = split_java(parts[0], '|');
        if peers.len() > 1 && !multi_address {
            return Err(format!(
                "Multiple address feature is disabled, but multiple addresses were specified \
                 for sid {id}"
            ));
        }
        let mut addresses = Vec::new();
        let mut role = None;
        for peer in peers {
            let fields = host_and_rest(peer)?;
            if !matches!(fields.len(), 3 | 4) {
                return Err(wrong_form());
            }
            addresses.push(peer_address(id, &fields)?);
            if let Some(word) = fields.get(3) {
                let word = Role::parse(word)?;
                if *role.get_or_insert(word) != word {
                    return Err(format!(
                        "Multiple addresses should have similar roles: {} vs {word}",
                        role.unwrap_or(word)
                    ));
                }
            }
        }
        if addresses.is_empty() {
            return Err(wrong_form());
        }
        addresses.sort_by(|a: &PeerAddress, b| a.host.cmp(&b.host));
        let role = role.unwrap_or(Role::Participant);
        Ok(ServerSpec { id, addresses, role, client, client_from_static: false })
    }
}

fn peer_address(id: i64, fields: &[&str]) -> Result<PeerAddress, String> {
    let host = canonical_host(fields[0]);
    let quorum_port = port(&host, fields[1])?;
    let election_port = port(&host, fields[2])?;
    if quorum_port == election_port {
        return Err(format!(
            "Client and election port must be different! Please update the configuration file \
             on server.{id}"
        ));
    }
    Ok(PeerAddress { host, quorum_port, election_port })
}

fn client_address(text: &str, whole: &str) -> Result<Address, String> {
    match host_and_rest(text)?.as_slice() {
        [number] => Ok(Address::new(WILDCARD, port(WILDCARD, number)?)),
        [host, number] => Ok(Address::new(host, port(host, number)?)),
        _ => Err(format!("{whole}{WRONG_FORM}")),
    }
}

fn port(host: &str, text: &str) -> Result<u16, String> {
    let number: i64 = text.parse().map_err(|_| format!("Address unresolved: {host}:{text}"))?;
    u16::try_from(number).map_err(|_| format!("port out of range:{number}"))
}

impl fmt::Display for ServerSpec {
    /// The value of the line, as every server of the ensemble prints it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, peer) in self.addresses.iter().enumerate() {
            let bar = if index == 0 { "" } else { "|" };
            let host = bracketed(&peer.host);
            write!(f, "{bar}{host}:{}:{}", peer.quorum_port, peer.election_port)?;
        }
        write!(f, ":{}", self.role)?;
        match &self.client {
            Some(client) if !self.client_from_static => write!(f, ";{client}"),
            _ => Ok(()),
        }
    }
}

/// Groups and weights of a hierarchical quorum. Every participant is in exactly one group.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Hierarchy {
    /// Server id → group id.
    pub group_of: BTreeMap<i64, i64>,
    /// Server id → weight; every server that is in a group has one.
    pub weight_of: BTreeMap<i64, i64>,
}

/// A whole membership. `Display` writes it as Java does: servers, groups, weights, version,
/// one a line, without a line end after the last.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct QuorumConfig {
    /// The zxid of the reconfiguration that made it; 0 when it came out of a static file.
    pub version: i64,
    pub servers: BTreeMap<i64, ServerSpec>,
    /// Present when there is a `group` or `weight` line: then quorums are hierarchical.
    pub hierarchy: Option<Hierarchy>,
}

/// Whether a key of a properties file belongs to the membership.
pub fn is_membership_key(key: &str) -> bool {
    key.starts_with("server.") || key.starts_with("group") || key.starts_with("weight")
}

impl QuorumConfig {
    /// Reads the text of a dynamic file, of `/zookeeper/config` or of a vote. Keys other than
    /// those of a membership and `version` are passed over, as Java does here.
    pub fn parse(text: &str, multi_address: bool) -> Result<QuorumConfig, MembershipError> {
        QuorumConfig::parse_lines(text, multi_address, |_| Ok(()))
    }

    /// Reads a membership that somebody wrote out for a reconfiguration: other keys are refused.
    pub fn parse_members(text: &str, multi_address: bool) -> Result<QuorumConfig, MembershipError> {
        QuorumConfig::parse_lines(text, multi_address, |key| {
            if key == "version" || is_membership_key(key) {
                return Ok(());
            }
            Err(MembershipError::of_whole(format!("Unrecognised parameter: {key}")))
        })
    }

    fn parse_lines(
        text: &str,
        multi_address: bool,
        check_key: impl Fn(&str) -> Result<(), MembershipError>,
    ) -> Result<QuorumConfig, MembershipError> {
        let entries =
            properties::parse(text).map_err(|e| MembershipError::of_whole(e.to_string()))?;
        let last = properties::last_of_each(&entries);
        last.keys().try_for_each(|key| check_key(key))?;
        let pairs = last.values().map(|entry| (entry.key.as_str(), entry.value.as_str()));
        QuorumConfig::from_pairs(pairs, multi_address)
    }

    /// Reads a membership out of key-value pairs (each key once).
    pub fn from_pairs<'a>(
        pairs: impl Iterator<Item = (&'a str, &'a str)>,
        multi_address: bool,
    ) -> Result<QuorumConfig, MembershipError> {
        let mut config = QuorumConfig::default();
        for (key, value) in pairs {
            config.take(key, value, multi_address).map_err(|reason| MembershipError {
                key: key.to_owned(),
                value: value.to_owned(),
                reason,
            })?;
        }
        config.complete_hierarchy().map_err(MembershipError::of_whole)?;
        config.check_size().map_err(MembershipError::of_whole)?;
        Ok(config)
    }

    fn take(&mut self, key: &str, value: &str, multi_address: bool) -> Result<(), String> {
        if key == "version" {
            self.version = i64::from_str_radix(value, 16)
                .map_err(|_| "not a hexadecimal number of 64 bits".to_owned())?;
        } else if key.starts_with("server.") {
            let id = number_after_dot(key)?;
            let spec = ServerSpec::parse(id, value, multi_address)?;
            self.servers.insert(id, spec);
        } else if key.starts_with("group") {
            let group = number_after_dot(key)?;
            let hierarchy = self.hierarchy.get_or_insert_default();
            for member in split_java(value, ':') {
                let id = whole_number(member)?;
                if hierarchy.group_of.insert(id, group).is_some() {
                    return Err(format!("Server {id}is in multiple groups"));
                }
            }
        } else if key.starts_with("weight") {
            let id = number_after_dot(key)?;
            let weight = whole_number(value)?;
            self.hierarchy.get_or_insert_default().weight_of.insert(id, weight);
        }
        Ok(())
    }

    /// Gives every participant its default weight, and checks that each has a group and each
    /// member of a group a weight (where Java fails with a NullPointerException).
    fn complete_hierarchy(&mut self) -> Result<(), String> {
        let Some(hierarchy) = &mut self.hierarchy else {
            return Ok(());
        };
        for server in self.servers.values().filter(|s| s.role == Role::Participant) {
            if !hierarchy.group_of.contains_key(&server.id) {
                return Err(format!("Server {}is not in a group", server.id));
            }
            hierarchy.weight_of.entry(server.id).or_insert(1);
        }
        for (id, group) in &hierarchy.group_of {
            if !hierarchy.weight_of.contains_key(id) {
                return Err(format!(
                    "group.{group} holds server {id}, which is no participant and has no weight"
                ));
            }
        }
        Ok(())
    }

    /// Whether the servers' votes have room for it: they all carry it.
    pub fn check_size(&self) -> Result<(), String> {
        match self.to_string().len() {
            0..=MAX_CONFIG_TEXT => Ok(()),
            n => Err(format!("a configuration of {n} bytes, of which a vote carries 512 KiB")),
        }
    }

    /// The servers that vote, in order of their ids.
    pub fn participants(&self) -> impl Iterator<Item = &ServerSpec> {
        self.servers.values().filter(|server| server.role == Role::Participant)
    }

    /// The servers that only learn, in order of their ids.
    pub fn observers(&self) -> impl Iterator<Item = &ServerSpec> {
        self.servers.values().filter(|server| server.role == Role::Observer)
    }

    /// Whether there are participants enough (Java's `parseDynamicConfig`); standalone: the
    /// setting `standaloneEnabled`.
    pub fn check_roles(&self, standalone: bool) -> Result<(), &'static str> {
        let has_observers = self.observers().next().is_some();
        match self.participants().count() {
            0 if !standalone => {
                Err("standaloneEnabled = false then number of participants should be >0")
            }
            0 if has_observers => Err("Observers w/o participants is an invalid configuration"),
            1 if standalone && has_observers => {
                Err("Observers w/o quorum is an invalid configuration")
            }
            _ => Ok(()),
        }
    }

    /// What this configuration makes of a server: who is not in it may follow without a vote.
    pub fn role_of(&self, id: i64) -> Role {
        self.servers.get(&id).map_or(Role::Participant, |server| server.role)
    }

    /// Whether the other has the same servers, groups and weights, whatever its version.
    pub fn has_members_of(&self, other: &QuorumConfig) -> bool {
        let unversioned = |config: &QuorumConfig| config.dynamic_file_text(false);
        unversioned(self) == unversioned(other)
    }

    /// The content of a dynamic file (Java's `writeDynamicConfig`): the lines in the order of
    /// their text, the version only in `.dynamic.next`, no line end after the last.
    pub fn dynamic_file_text(&self, keep_version: bool) -> String {
        let text = self.to_string();
        let mut lines: Vec<&str> =
            text.lines().filter(|line| keep_version || !line.starts_with("version=")).collect();
        lines.sort_unstable();
        lines.join("\n")
    }
}

fn whole_number(text: &str) -> Result<i64, String> {
    text.parse().map_err(|_| format!("{text:?} is not a whole number of 64 bits"))
}

fn number_after_dot(key: &str) -> Result<i64, String> {
    let (_, number) = key.split_once('.').unwrap_or(("", key));
    whole_number(number)
}

impl fmt::Display for QuorumConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for id in java_order(self.servers.keys()) {
            writeln!(f, "server.{id}={}", self.servers[&id])?;
        }
        if let Some(hierarchy) = &self.hierarchy {
            let mut groups: BTreeMap<i64, Vec<String>> = BTreeMap::new();
            for id in java_order(hierarchy.group_of.keys()) {
                groups.entry(hierarchy.group_of[&id]).or_default().push(id.to_string());
            }
            for group in java_order(groups.keys()) {
                writeln!(f, "group.{group}={}", groups[&group].join(":"))?;
            }
            for id in java_order(hierarchy.weight_of.keys()) {
                writeln!(f, "weight.{id}={}", hierarchy.weight_of[&id])?;
            }
        }
        write!(f, "version={:x}", self.version)
    }
}

/// The order in which Java's `HashMap<Long, …>` hands out its keys: by bucket of a table that
/// doubles when it is three quarters full. Two keys in one bucket come in the order in which
/// they were put there, which is chance; here the smaller is first.
fn java_order<'a>(ids: impl ExactSizeIterator<Item = &'a i64>) -> Vec<i64> {
    let mut buckets: u32 = 16;
    while ids.len() as u32 > buckets / 4 * 3 {
        buckets *= 2;
    }
    let mut ordered: Vec<i64> = ids.copied().collect();
    ordered.sort_by_key(|&id| {
        let hash = (id ^ ((id as u64) >> 32) as i64) as u32;
        ((hash ^ (hash >> 16)) & (buckets - 1), id)
    });
    ordered
}

/// The version that the name of a dynamic file carries: the hexadecimal number after its last
/// dot, `None` when that is none (Java's `getVersionFromFilename`).
pub fn version_from_file_name(name: &str) -> Option<i64> {
    let (_, suffix) = name.rsplit_once('.')?;
    i64::from_str_radix(suffix, 16).ok()
}
