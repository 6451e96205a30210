//! The configurations of the ensemble as this server knows them: the one in force, the one
//! proposed last, and what follows for this server when they change – its role, its leader, where
//! it listens, whom it talks to. Java: the half of `QuorumPeer` around `processReconfig`.

use std::sync::Arc;

use super::{Command, Cx, LogOrder, Node, Outputs, QuorumSettings, Role};
use crate::config::{Address, PeerAddress, QuorumConfig, Role as PeerRole, ServerSpec};
use crate::pipeline::commit::Work;
use crate::quorum::leader::{Configs, LeaderCore};
use crate::quorum::{JointVerifier, QuorumVerifier, election};
use crate::storage::{LogCommand, MemberOrder};
use crate::wire::election::ServerState;

/// See the module.
#[derive(Debug, Clone, Default)]
pub(super) struct Membership {
    committed: Arc<QuorumConfig>,
    last_seen: Arc<QuorumConfig>,
    /// Whom the last reconfiguration appointed to lead, until this server has taken up its role.
    appointed: Option<i64>,
    /// What the oracle said last.
    oracle: Option<bool>,
    /// Where clients connect to this server.
    client_address: Option<Address>,
}

impl Membership {
    pub fn new(settings: &QuorumSettings) -> Self {
        let committed = Arc::clone(&settings.config);
        let last_seen = settings.last_seen.as_ref().unwrap_or(&committed);
        Self {
            last_seen: Arc::clone(last_seen),
            committed,
            appointed: None,
            oracle: None,
            client_address: settings.client_address.clone(),
        }
    }

    pub fn committed(&self) -> &Arc<QuorumConfig> {
        &self.committed
    }

    pub fn configs(&self) -> Configs {
        let (committed, last_seen) = (Arc::clone(&self.committed), Arc::clone(&self.last_seen));
        Configs { committed, last_seen }
    }

    pub fn verifier(&self) -> JointVerifier {
        let last_seen = Some(Arc::clone(&self.last_seen));
        let mut verifier = JointVerifier::new(Arc::clone(&self.committed), last_seen);
        verifier.set_oracle(self.oracle);
        verifier
    }

    pub fn oracle(&self) -> Option<bool> {
        self.oracle
    }

    /// A server of the configuration in force or, if it is only there, of the one proposed.
    pub fn server(&self, sid: i64) -> Option<&ServerSpec> {
        let proposed = self.last_seen.servers.get(&sid);
        self.committed.servers.get(&sid).or(proposed)
    }
}

/// What prep asks about the ensemble, when a client wants to change it.
pub(super) struct Ensemble<'a> {
    pub membership: &'a Membership,
    pub leader: &'a LeaderCore,
}

impl crate::pipeline::prep::Ensemble for Ensemble<'_> {
    fn last_seen(&self) -> &QuorumConfig {
        &self.membership.last_seen
    }

    fn committed_version(&self) -> i64 {
        self.membership.committed.version
    }

    fn is_quorum_synced(&self, config: &QuorumConfig) -> bool {
        self.leader.is_synced_quorum(&QuorumVerifier::new(Arc::new(config.clone())))
    }
}

impl Node {
    fn reconfig_enabled(&self) -> bool {
        self.settings.quorum.as_ref().is_some_and(|quorum| quorum.election.reconfig_enabled)
    }

    /// Reads the text of a configuration that a peer has sent.
    fn read_config(&self, text: &str) -> Result<Arc<QuorumConfig>, String> {
        let multi_address = self.settings.prep.multi_address;
        match QuorumConfig::parse(text, multi_address) {
            Ok(config) => Ok(Arc::new(config)),
            Err(e) => Err(format!("a configuration that makes no sense ({e}): {text:?}")),
        }
    }

    /// A configuration is proposed: kept on disk before anything is acknowledged that came after
    /// it. It may be older than the one seen last, if that was never committed.
    pub(super) fn see_config(&mut self, config: Arc<QuorumConfig>, cx: Cx<'_>, out: &mut Outputs) {
        let known = self.membership.last_seen.version;
        if !self.reconfig_enabled() || config.version == known {
            return;
        }
        log::info!("a configuration is proposed: {}", one_line(&config));
        let order = match config.version > self.membership.committed.version {
            true => MemberOrder::Propose(Arc::clone(&config)),
            false => MemberOrder::Withdraw,
        };
        self.membership.last_seen = config;
        self.keep(order, out);
        self.tell_members(cx, out);
    }

    /// As [`Node::see_config`], with what a leader has sent.
    pub(super) fn see_config_text(&mut self, text: &str, cx: Cx<'_>, out: &mut Outputs) {
        match self.read_config(text) {
            Ok(config) => self.see_config(config, cx, out),
            Err(e) => log::error!("the leader proposes {e}"),
        }
    }

    /// The leader says that a configuration is in force, and whom it appoints to lead. A change
    /// of role or leader ends this server's role, when what is committed is applied.
    pub(super) fn activate_text(
        &mut self,
        text: &str,
        designated_leader: i64,
        cx: Cx<'_>,
        out: &mut Outputs,
    ) {
        match self.read_config(text) {
            Err(e) => self.step_down(&format!("the leader activates {e}"), out),
            Ok(config) => {
                if self.activate(config, Some(designated_leader), cx, out) {
                    self.leave("changes proposed in reconfig", out);
                }
            }
        }
    }

    /// A configuration is in force under this leader. If another is to lead, who follows leaves,
    /// and then this server, too. One that nobody can take the place of listens for learners at its
    /// new address when it begins to lead again. (Java's fails in its search for another.)
    pub(super) fn lead_under(
        &mut self,
        config: Arc<QuorumConfig>,
        designated_leader: i64,
        cx: Cx<'_>,
        out: &mut Outputs,
    ) {
        let my_id = self.settings.my_id;
        let moves = designated_leader == my_id
            && quorum_addresses(&config, my_id)
                != quorum_addresses(self.membership.committed(), my_id);
        self.activate(config, Some(designated_leader).filter(|_| !moves), cx, out);
        if moves {
            self.leave("changes proposed in reconfig", out);
        }
    }

    /// Synchronised: the configuration that came with NEWLEADER is in force, if it is of nothing
    /// later than `upto`. (A Java learner does not look: ours would spread, by its votes, what may
    /// never be committed.)
    pub(super) fn activate_upto(&mut self, text: &str, upto: i64, cx: Cx<'_>, out: &mut Outputs) {
        match self.read_config(text) {
            Err(e) => log::error!("the leader leads with {e}"),
            Ok(config) if config.version > upto => {}
            Ok(config) => {
                if self.activate(config, None, cx, out) {
                    self.step_down("changes proposed in reconfig", out);
                }
            }
        }
    }

    /// A configuration is in force. `appointed`: who is to lead by it. True if this server's role
    /// or leader changes. Java: `processReconfig`.
    pub(super) fn activate(
        &mut self,
        config: Arc<QuorumConfig>,
        appointed: Option<i64>,
        cx: Cx<'_>,
        out: &mut Outputs,
    ) -> bool {
        let my_id = self.settings.my_id;
        if !self.reconfig_enabled() || config.version <= self.membership.committed.version {
            return false;
        }
        log::info!("configuration in force: {}", one_line(&config));
        let old = std::mem::replace(&mut self.membership.committed, Arc::clone(&config));
        if config.version > self.membership.last_seen.version {
            self.membership.last_seen = Arc::clone(&config);
        }
        let own = config.servers.get(&my_id);
        let client = own.and_then(|spec| spec.client.clone().filter(|_| !spec.client_from_static));
        let erase_client_address = client.is_some();
        self.keep(MemberOrder::Activate { config: Arc::clone(&config), erase_client_address }, out);
        if config.version == self.membership.last_seen.version {
            self.keep(MemberOrder::Withdraw, out);
        }
        if let Some(core) = self.role.observers() {
            core.set_config(Arc::clone(&config));
        }
        self.show_config(cx);
        self.tell_members(cx, out);
        if config.has_members_of(&old) {
            return false;
        }
        if client.is_some() && client != self.membership.client_address {
            self.membership.client_address.clone_from(&client);
            out.commands.extend(client.map(Command::ListenForClients));
        }
        let role_changes = config.role_of(my_id) != self.peer_role();
        let changes = role_changes || self.leader_changes(&old, appointed);
        self.membership.appointed = appointed.filter(|_| changes);
        changes
    }

    /// Writes the configuration in force into its node, which it may have reached without a
    /// transaction. Java: `initConfigInZKDatabase`.
    pub(super) fn show_config(&mut self, cx: Cx<'_>) {
        let config = Arc::clone(&self.membership.committed);
        self.ready.push_back(Work::Config { config, time: cx.now.wall });
    }

    /// Whether the leader of the moment does not lead under the new configuration.
    fn leader_changes(&self, old: &QuorumConfig, appointed: Option<i64>) -> bool {
        let leader = match &self.role {
            Role::Leading(_) => self.settings.my_id,
            Role::Following(following) => following.leader,
            Role::Standalone(_) | Role::Draining { .. } | Role::Looking => return false,
        };
        match appointed {
            Some(appointed) => appointed != leader,
            None => {
                let new = quorum_addresses(&self.membership.committed, leader);
                new.is_none() || new != quorum_addresses(old, leader)
            }
        }
    }

    pub(super) fn on_oracle(&mut self, answer: bool, cx: Cx<'_>, out: &mut Outputs) {
        let answer = Some(answer);
        self.membership.oracle = answer;
        self.step_election(election::Event::Oracle { answer }, cx, out);
        if let Role::Leading(leading) = &mut self.role {
            leading.core.set_oracle(answer, cx.now.mono, &mut leading.out);
        }
    }

    /// What this server is at the moment.
    fn peer_role(&self) -> PeerRole {
        match &self.role {
            Role::Following(following) if following.observer => PeerRole::Observer,
            Role::Following(_) | Role::Leading(_) => PeerRole::Participant,
            _ => self.membership.committed.role_of(self.settings.my_id),
        }
    }

    /// Ends the role once what is committed is applied and answered.
    fn leave(&mut self, reason: &'static str, out: &mut Outputs) {
        if self.has_ready() {
            self.leaving = Some(reason);
        } else {
            self.step_down(reason, out);
        }
    }

    fn keep(&mut self, order: MemberOrder, out: &mut Outputs) {
        out.log.push(LogOrder::Do(LogCommand::Members(order)));
    }

    /// Election and links follow the configurations.
    fn tell_members(&mut self, cx: Cx<'_>, out: &mut Outputs) {
        let Membership { committed, last_seen, .. } = &self.membership;
        let (committed, last_seen) = (Arc::clone(committed), Arc::clone(last_seen));
        let role = committed.role_of(self.settings.my_id);
        out.commands.push(Command::SetMembers { committed, last_seen });
        let verifier = self.membership.verifier();
        self.step_election(election::Event::Reconfigured { verifier, role }, cx, out);
    }

    /// The next role after one has ended: the one that a reconfiguration appointed, or whatever an
    /// election gives.
    pub(super) fn take_next_role(&mut self, cx: Cx<'_>, out: &mut Outputs) {
        let Some(leader) = self.membership.appointed.take() else {
            return self.look_soon(cx, out);
        };
        let state = match self.membership.committed.role_of(self.settings.my_id) {
            _ if leader == self.settings.my_id => ServerState::Leading,
            PeerRole::Participant => ServerState::Following,
            PeerRole::Observer => ServerState::Observing,
        };
        log::info!("{state:?} - server {leader} is appointed to lead");
        self.show_config(cx);
        let event = election::Event::Appointed {
            state,
            leader,
            current_epoch: self.current_epoch,
            last_logged_zxid: self.appended,
        };
        self.step_election(event, cx, out);
        self.take_role(state, leader, cx, out);
    }
}

/// Where learners find a voter when it leads.
fn quorum_addresses(config: &QuorumConfig, id: i64) -> Option<Vec<Address>> {
    let spec = config.participants().find(|server| server.id == id)?;
    Some(spec.addresses.iter().map(PeerAddress::quorum).collect())
}

/// For the log.
fn one_line(config: &QuorumConfig) -> String {
    config.to_string().replace('\n', " ")
}
