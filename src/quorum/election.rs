//! Fast leader election: servers that look for a leader tell each other whom they would have, move
//! to the best candidate they hear of, and stop when a quorum says the same. Safety does not hang
//! on it (a leader still has to win a quorum in Zab's discovery); how long clients wait does.
//!
//! Pure: `step(event, now)` → outputs; knows no socket, clock or file. Java: `FastLeaderElection`.
//!
//! Where it is quicker than Java's, and why that is sound, is told at [`Election::all_heard`],
//! [`Election::link_lost`], [`Election::answer_first_vote`] and [`QUORUM_IN_SIGHT_INTERVAL`].

use std::collections::{BTreeMap, BTreeSet};

use super::verifier::JointVerifier;
use super::vote::{Ballot, Vote};
use crate::config::{QuorumConfig, Role};
use crate::wire::election::{Notification, ServerState};

/// Upper bound in ms on the time between two repetitions of our vote while links to a quorum are
/// up. Java doubles up to a minute, even when everybody needed is there.
const QUORUM_IN_SIGHT_INTERVAL: u64 = 1_000;

/// The notification format we speak.
const VERSION: i32 = 2;

/// What an election is told once.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Our own id.
    pub sid: i64,
    /// `reconfigEnabled`: whether to take a later configuration from another server's vote.
    pub reconfig_enabled: bool,
    /// `multiAddress.enabled`: whether such a configuration may list several hosts a server.
    pub multi_address: bool,
    /// Ms to wait for a better candidate once a quorum agrees (Java's `finalizeWait`).
    pub finalize_wait: u64,
    /// Ms, `fastleader.minNotificationInterval`.
    pub min_interval: u64,
    /// Ms, `fastleader.maxNotificationInterval`.
    pub max_interval: u64,
}

impl Settings {
    /// Java's defaults.
    pub fn new(sid: i64) -> Self {
        Self {
            sid,
            reconfig_enabled: false,
            multi_address: false,
            finalize_wait: 200,
            min_interval: 200,
            max_interval: 60_000,
        }
    }
}

/// What happens to an election.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Look for a leader: at the start, and whenever leading or following has ended.
    Start {
        current_epoch: i64,
        /// The last zxid in our *log*; never one that is only in memory.
        last_logged_zxid: i64,
    },
    /// Another server's notification.
    Received { from: i64, notification: Notification },
    /// The link to a server is up.
    Connected { sid: i64 },
    /// The link to a server broke, and there is no other. (That one cannot be reached who never
    /// could says nothing: it may be about to start.)
    Disconnected { sid: i64 },
    /// A reconfiguration has appointed who is to lead: there is no election.
    Appointed { state: ServerState, leader: i64, current_epoch: i64, last_logged_zxid: i64 },
    /// The leadership we are in has established its epoch.
    EpochEstablished { epoch: i64 },
    /// The configuration or our role in it has changed. An election under way begins anew.
    Reconfigured { verifier: JointVerifier, role: Role },
    /// The oracle's answer.
    Oracle { answer: Option<bool> },
    /// Time has passed; due at [`Election::next_deadline`].
    Tick,
}

/// What an election wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    Send {
        to: i64,
        notification: Notification,
    },
    /// The election is over: we are `state` under `vote.leader`.
    Decided {
        state: ServerState,
        vote: Vote,
        /// The voters whose votes made it; a new leader counts on them (ZOOKEEPER-3109).
        supporters: BTreeSet<i64>,
    },
    /// A server has a later committed configuration than we. Take it over and come back with
    /// [`Event::Reconfigured`]; its notification is not counted meanwhile.
    NewerConfig {
        from: i64,
        config: QuorumConfig,
    },
    /// We are not looking, but this voter is, and not in the round that made us what we are: a
    /// leader that has not established its epoch yet has lost a supporter (ZOOKEEPER-3109).
    PeerLooking {
        sid: i64,
    },
}

/// One server's part in leader elections, for the life of the process.
#[derive(Debug)]
pub struct Election {
    settings: Settings,
    verifier: JointVerifier,
    role: Role,
    /// The text of the committed configuration, which every notification carries.
    config_text: String,
    /// What we would bring along as leader, of the last [`Event::Start`].
    current_epoch: i64,
    last_logged_zxid: i64,
    /// Links whose state is known: up (true) or lost.
    links: BTreeMap<i64, bool>,
    /// `None` until the first start.
    state: Option<ServerState>,
    /// Whom we vote for while we look, what was decided afterwards. Its round is Java's logical
    /// clock.
    vote: Vote,
    /// The votes of this round, ours among them; also of those who have settled in this round.
    received: BTreeMap<i64, Ballot>,
    /// What servers say that have settled, in any round: how a joiner finds a standing ensemble.
    settled: BTreeMap<i64, Ballot>,
    /// Ms between repetitions of our vote, doubling.
    interval: u64,
    repeat_at: u64,
    /// Since a quorum agrees: when the wait for a better candidate ends.
    finalize_at: Option<u64>,
}

impl Election {
    pub fn new(settings: Settings, verifier: JointVerifier, role: Role) -> Self {
        Self {
            config_text: verifier.current().config().to_string(),
            verifier,
            role,
            current_epoch: 0,
            last_logged_zxid: 0,
            links: BTreeMap::new(),
            state: None,
            vote: Vote { leader: i64::MIN, zxid: 0, round: 0, peer_epoch: 0 },
            received: BTreeMap::new(),
            settled: BTreeMap::new(),
            interval: settings.min_interval,
            repeat_at: 0,
            finalize_at: None,
            settings,
        }
    }

    /// What we are doing; before the first start, looking.
    pub fn state(&self) -> ServerState {
        self.state.unwrap_or(ServerState::Looking)
    }

    /// Whom we would have as leader; when we do not look, what was decided.
    pub fn vote(&self) -> Vote {
        self.vote
    }

    /// When to send [`Event::Tick`], in ms; `None`: no need.
    pub fn next_deadline(&self) -> Option<u64> {
        let finalize_at = self.finalize_at.unwrap_or(u64::MAX);
        self.is_looking().then_some(finalize_at.min(self.repeat_at))
    }

    /// Takes one event at `now` (ms, monotone) and appends what is to be done, in order.
    pub fn step(&mut self, event: Event, now: u64, out: &mut Vec<Output>) {
        match event {
            Event::Start { current_epoch, last_logged_zxid } => {
                self.current_epoch = current_epoch;
                self.last_logged_zxid = last_logged_zxid;
                self.begin_round(now, out);
            }
            Event::Received { from, notification } => self.receive(from, &notification, now, out),
            Event::Connected { sid } => self.link_up(sid, now, out),
            Event::Disconnected { sid } => self.link_lost(sid, now, out),
            Event::Appointed { state, leader, current_epoch, last_logged_zxid } => {
                self.state = Some(state);
                let round = self.vote.round;
                self.vote =
                    Vote { leader, zxid: last_logged_zxid, round, peer_epoch: current_epoch };
                self.finalize_at = None;
            }
            Event::EpochEstablished { epoch } => {
                if !self.is_looking() {
                    self.vote.peer_epoch = epoch;
                }
            }
            Event::Reconfigured { verifier, role } => {
                self.config_text = verifier.current().config().to_string();
                (self.verifier, self.role) = (verifier, role);
                if self.is_looking() {
                    self.begin_round(now, out);
                }
            }
            Event::Oracle { answer } => self.verifier.set_oracle(answer),
            Event::Tick => self.repeat_if_due(now, out),
        }
        self.conclude(now, out);
    }

    fn is_looking(&self) -> bool {
        self.state == Some(ServerState::Looking)
    }

    /// A voter whose log is gone (`db.autocreate=false`) elects nobody: it may have been needed for
    /// what others are not sure to have. It waits for a leader that the others elect.
    fn has_no_data(&self) -> bool {
        self.role == Role::Participant && self.last_logged_zxid == -1
    }

    /// Our own candidacy. Who may not lead names nobody; who only observes brings nothing.
    fn candidacy(&self, round: i64) -> Vote {
        let may_lead = self.verifier.current().is_voter(self.settings.sid);
        let leader = if may_lead { self.settings.sid } else { i64::MIN };
        let (zxid, peer_epoch) = match self.role {
            Role::Participant => (self.last_logged_zxid, self.current_epoch),
            Role::Observer => (i64::MIN, i64::MIN),
        };
        Vote { leader, zxid, round, peer_epoch }
    }

    fn begin_round(&mut self, now: u64, out: &mut Vec<Output>) {
        self.state = Some(ServerState::Looking);
        self.received.clear();
        self.settled.clear();
        self.interval = self.settings.min_interval;
        // A broken peer may have sent the greatest round there is; it must not break us.
        let own = self.candidacy(self.vote.round.saturating_add(1));
        self.propose(own, now, out);
    }

    /// Makes a vote ours and tells everybody.
    fn propose(&mut self, vote: Vote, now: u64, out: &mut Vec<Output>) {
        self.vote = vote;
        self.finalize_at = None;
        if self.verifier.is_voter(self.settings.sid) {
            self.received.insert(self.settings.sid, Ballot::looking(vote));
        }
        self.broadcast(now, out);
    }

    fn broadcast(&mut self, now: u64, out: &mut Vec<Output>) {
        self.repeat_at = now.saturating_add(self.interval);
        for to in self.verifier.voters() {
            if to != self.settings.sid {
                self.tell(to, out);
            }
        }
    }

    fn repeat_if_due(&mut self, now: u64, out: &mut Vec<Output>) {
        if self.is_looking() && now >= self.repeat_at {
            let in_sight = self
                .verifier
                .is_quorum(|sid| sid == self.settings.sid || self.links.get(&sid) == Some(&true));
            let most = if in_sight { QUORUM_IN_SIGHT_INTERVAL } else { u64::MAX };
            let most = self.settings.max_interval.min(most);
            self.interval = self.interval.saturating_mul(2).min(most);
            self.broadcast(now, out);
        }
    }

    /// Sends one server our vote and state.
    fn tell(&self, to: i64, out: &mut Vec<Output>) {
        let notification = Notification {
            state: self.state(),
            leader: self.vote.leader,
            zxid: self.vote.zxid,
            election_epoch: self.vote.round,
            peer_epoch: self.vote.peer_epoch,
            version: VERSION,
            config: Some(self.config_text.clone()),
        };
        out.push(Output::Send { to, notification });
    }

    /// Whoever has a new link with us is told what holds now: what we said last may have been lost
    /// with the old link. If it does not look for a leader, it does not mind. (Java's repeats its
    /// last message, however old.)
    fn link_up(&mut self, sid: i64, now: u64, out: &mut Vec<Output>) {
        self.links.insert(sid, true);
        if self.state.is_none() || !self.verifier.is_voter(sid) {
            return;
        }
        if self.is_looking() {
            self.interval = self.settings.min_interval;
            self.repeat_at = self.repeat_at.min(now.saturating_add(self.interval));
        }
        self.tell(sid, out);
    }

    /// Who is gone supports nobody and leads nobody: counting it would elect somebody whom too few
    /// follow, or a dead leader for whom everybody waits for initLimit. If it was the candidate, a
    /// new round makes everybody forget it – unless they can still reach it, then they bring it
    /// back into the new round. A server that lives and whose link only broke tells its vote
    /// again when the link is up ([`Election::link_up`]).
    fn link_lost(&mut self, sid: i64, now: u64, out: &mut Vec<Output>) {
        let known = self.links.insert(sid, false);
        if known == Some(false) || !self.is_looking() {
            return;
        }
        self.received.remove(&sid);
        self.settled.remove(&sid);
        if self.vote.leader == sid {
            self.begin_round(now, out);
        }
    }

    fn receive(&mut self, from: i64, n: &Notification, now: u64, out: &mut Vec<Output>) {
        use ServerState::{Looking, Observing};
        let Some(state) = self.state else { return };
        if from == self.settings.sid {
            return;
        }
        if state == Looking
            && let Some(config) = self.newer_config(n)
        {
            return out.push(Output::NewerConfig { from, config });
        }
        if !self.verifier.is_voter(from) {
            return self.tell(from, out);
        }
        match (state, n.state) {
            (_, Observing) => {}
            // A server that has no data at all: the other one, or we.
            (Looking, Looking) if n.zxid == -1 || self.has_no_data() => {}
            (Looking, Looking) if n.leader == i64::MIN => self.meet_in(n.election_epoch, now, out),
            // Somebody outside the ensemble.
            (Looking, _) if !self.verifier.is_voter(n.leader) => {}
            (Looking, Looking) => self.hear_looking(from, n, now, out),
            (Looking, _) => self.hear_settled(from, n, out),
            (_, Looking) => {
                // One that says so in our own round has not counted the last vote yet.
                if n.election_epoch != self.vote.round {
                    out.push(Output::PeerLooking { sid: from });
                }
                self.tell(from, out);
            }
            _ => {}
        }
    }

    /// The configuration in a notification, when it is later than our committed one.
    fn newer_config(&self, n: &Notification) -> Option<QuorumConfig> {
        let text = n.config.as_ref().filter(|_| self.settings.reconfig_enabled)?;
        if *text == self.config_text {
            return None;
        }
        // What cannot be read is passed over, as Java does: the vote may still be good.
        let config = QuorumConfig::parse(text, self.settings.multi_address).ok()?;
        (config.version > self.verifier.current().version()).then_some(config)
    }

    /// A voter that names nobody: it votes under the next configuration only, and may not lead yet.
    /// It counts once it has our vote, for which we must be in the same round. (Java's servers do
    /// not listen, and never meet it if its round is the later one.)
    fn meet_in(&mut self, round: i64, now: u64, out: &mut Vec<Output>) {
        if round > self.vote.round {
            self.received.clear();
            let own = self.candidacy(round);
            self.propose(own, now, out);
        }
    }

    /// A vote of somebody who looks, too.
    fn hear_looking(&mut self, from: i64, n: &Notification, now: u64, out: &mut Vec<Output>) {
        let theirs = Vote::of(n);
        let may_lead = self.verifier.current().weight(theirs.leader) != 0;
        if theirs.round < self.vote.round {
            // Who is no voter is not listened to, but answered: there would be no end to it.
            if self.verifier.is_voter(self.settings.sid) {
                self.tell(from, out);
            }
            return;
        }
        if theirs.round > self.vote.round {
            self.received.clear();
            let own = self.candidacy(theirs.round);
            let best = if may_lead && theirs.beats(&own) { theirs } else { own };
            self.propose(best, now, out);
        } else if may_lead && theirs.beats(&self.vote) {
            self.propose(theirs, now, out);
        } else {
            self.answer_first_vote(from, &theirs, out);
        }
        self.received.insert(from, Ballot::of(n));
    }

    /// Who tells us a worse vote of our round for the first time may have begun to look just now,
    /// and have missed ours. Java lets it wait for the next repetition (200 ms and more). Telling
    /// it now repeats what was said already, so it changes nothing but the time; once a round, so
    /// that two servers that never agree do not chat for ever.
    fn answer_first_vote(&self, from: i64, theirs: &Vote, out: &mut Vec<Output>) {
        if *theirs != self.vote && !self.received.contains_key(&from) {
            self.tell(from, out);
        }
    }

    /// What somebody says who follows or leads: a winner of our round, or an ensemble
    /// that stands and that we could join.
    fn hear_settled(&mut self, from: i64, n: &Notification, out: &mut Vec<Output>) {
        let ballot = Ballot::of(n);
        if ballot.vote.round == self.vote.round {
            // Kept without its version: within a round the leader alone tells leaderships apart.
            self.received.insert(from, Ballot { version: 0, ..ballot });
            if let Some(supporters) = self.standing(&self.received, &ballot) {
                return self.decide(ballot.vote, supporters, out);
            }
        }
        self.settled.insert(from, ballot);
        if let Some(supporters) = self.standing(&self.settled, &ballot) {
            return self.decide(ballot.vote, supporters, out);
        }
        // An ensemble of two whose leader goes on alone by the oracle's grace: the oracle's no to
        // us is its yes to the other.
        if n.state == ServerState::Leading && self.verifier.oracle() == Some(false) {
            self.decide(ballot.vote, BTreeSet::from([from]), out);
        }
    }

    /// Those who support a leadership, if it stands: a quorum supports it and its leader says so
    /// itself, in this very set of ballots (ZOOKEEPER-3537). If we are the leader, it must be of
    /// our round: not a memory of a time before we looked. What is proposed is the leader's
    /// business: we may have seen what was given up since, and would never get in. (Java's does
    /// not, until there is another election.)
    fn standing(&self, ballots: &BTreeMap<i64, Ballot>, claim: &Ballot) -> Option<BTreeSet<i64>> {
        let leader = claim.vote.leader;
        let confirmed = if leader == self.settings.sid {
            claim.vote.round == self.vote.round
        } else {
            ballots.get(&leader).is_some_and(|ballot| ballot.state == ServerState::Leading)
        };
        let supporters = self.supporters(ballots, claim);
        let stands = confirmed && self.verifier.is_current_quorum(|sid| supporters.contains(&sid));
        stands.then_some(supporters)
    }

    fn supporters(&self, ballots: &BTreeMap<i64, Ballot>, claim: &Ballot) -> BTreeSet<i64> {
        let agree = ballots.iter().filter(|(_, ballot)| claim.agrees_with(ballot));
        agree.map(|(&sid, _)| sid).collect()
    }

    fn supporting_quorum(
        &self,
        ballots: &BTreeMap<i64, Ballot>,
        claim: &Ballot,
    ) -> Option<BTreeSet<i64>> {
        let supporters = self.supporters(ballots, claim);
        self.verifier.is_quorum(|sid| supporters.contains(&sid)).then_some(supporters)
    }

    /// Ends the election if a quorum votes as we do, and nobody better can be expected.
    fn conclude(&mut self, now: u64, out: &mut Vec<Output>) {
        if !self.is_looking() || self.has_no_data() {
            return;
        }
        let Some(supporters) = self.supporting_quorum(&self.received, &Ballot::looking(self.vote))
        else {
            self.finalize_at = None;
            return;
        };
        let finalize_at =
            *self.finalize_at.get_or_insert(now.saturating_add(self.settings.finalize_wait));
        if now >= finalize_at || self.all_heard(&supporters) {
            self.decide(self.vote, supporters, out);
        }
    }

    /// Whether waiting for a better candidate is in vain. Every server begins a round with itself
    /// and only ever moves to better votes. So when all voters agree, none of them is better than
    /// the winner; and from one whose link is lost no vote can come. A server whose link is up, or
    /// that has not been heard of yet (all are about to start, perhaps), is waited for as in Java.
    /// Java servers need not know: they wait their own 200 ms, and who asks us meanwhile is told
    /// what was decided.
    fn all_heard(&self, supporters: &BTreeSet<i64>) -> bool {
        let gone = |sid| self.links.get(&sid) == Some(&false);
        self.verifier.voters().into_iter().all(|sid| supporters.contains(&sid) || gone(sid))
    }

    fn decide(&mut self, vote: Vote, supporters: BTreeSet<i64>, out: &mut Vec<Output>) {
        let state = match self.role {
            _ if vote.leader == self.settings.sid => ServerState::Leading,
            Role::Participant => ServerState::Following,
            Role::Observer => ServerState::Observing,
        };
        self.state = Some(state);
        self.vote = vote;
        self.finalize_at = None;
        out.push(Output::Decided { state, vote, supporters });
    }
}

#[cfg(test)]
mod tests;
