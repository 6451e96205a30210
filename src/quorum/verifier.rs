//! Which sets of servers are quorums: by majority, by groups and weights, and of two
//! configurations at once while the ensemble is reconfigured.
//! Pure; a set is a question (`|sid| …`), so that nobody has to build one. Java: `QuorumVerifier`,
//! `QuorumMaj`, `QuorumHierarchical`, `QuorumOracleMaj`, `SyncedLearnerTracker`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::config::{QuorumConfig, Role};

/// The quorums of one configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuorumVerifier {
    config: Arc<QuorumConfig>,
}

impl QuorumVerifier {
    pub fn new(config: Arc<QuorumConfig>) -> Self {
        Self { config }
    }

    pub fn config(&self) -> &Arc<QuorumConfig> {
        &self.config
    }

    pub fn version(&self) -> i64 {
        self.config.version
    }

    pub fn is_voter(&self, sid: i64) -> bool {
        self.config.servers.get(&sid).is_some_and(|server| server.role == Role::Participant)
    }

    /// In ascending order.
    pub fn voters(&self) -> impl Iterator<Item = i64> {
        self.config.participants().map(|server| server.id)
    }

    /// A server's weight; who has none can vote, but cannot lead.
    pub fn weight(&self, sid: i64) -> i64 {
        match &self.config.hierarchy {
            None => 1,
            Some(hierarchy) => hierarchy.weight_of.get(&sid).copied().unwrap_or(0),
        }
    }

    /// Whether the voters for which `has` is true are a quorum.
    pub fn is_quorum(&self, has: impl Fn(i64) -> bool) -> bool {
        match &self.config.hierarchy {
            None => {
                let (mut all, mut with) = (0, 0);
                for sid in self.voters() {
                    all += 1;
                    with += usize::from(has(sid));
                }
                with > all / 2
            }
            Some(_) => self.has_most_groups(has),
        }
    }

    /// Whether an oracle may stand in for a server that is gone.
    pub fn may_use_oracle(&self) -> bool {
        self.config.hierarchy.is_none() && self.voters().count() <= 2
    }

    /// More than half of the weight in more than half of the groups that have any weight.
    fn has_most_groups(&self, has: impl Fn(i64) -> bool) -> bool {
        let Some(hierarchy) = &self.config.hierarchy else { return false };
        // Group → its weight, and the weight of those who have it. Weights come from a text of
        // anybody's making: they must not overflow.
        let mut groups: BTreeMap<i64, (i128, i128)> = BTreeMap::new();
        for (&sid, &group) in &hierarchy.group_of {
            let weight = i128::from(self.weight(sid));
            let (all, with) = groups.entry(group).or_default();
            *all += weight;
            if self.is_voter(sid) && has(sid) {
                *with += weight;
            }
        }
        let weighty = groups.values().filter(|(all, _)| *all != 0);
        let (mut all, mut with) = (0, 0);
        for (total, got) in weighty {
            all += 1;
            with += usize::from(*got > *total / 2);
        }
        with > all / 2
    }
}

/// The quorums that count right now: those of the committed configuration and, while a later one
/// is proposed but not committed, those of both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JointVerifier {
    current: QuorumVerifier,
    next: Option<QuorumVerifier>,
    oracle: Option<bool>,
}

impl JointVerifier {
    /// `last_seen` counts only when it is later than the committed configuration.
    pub fn new(current: Arc<QuorumConfig>, last_seen: Option<Arc<QuorumConfig>>) -> Self {
        let next = last_seen.filter(|next| next.version > current.version);
        Self {
            current: QuorumVerifier::new(current),
            next: next.map(QuorumVerifier::new),
            oracle: None,
        }
    }

    /// Of the committed configuration.
    pub fn current(&self) -> &QuorumVerifier {
        &self.current
    }

    /// Of the configuration that is about to be.
    pub fn next(&self) -> Option<&QuorumVerifier> {
        self.next.as_ref()
    }

    /// What the oracle says (`oraclePath`, Q-73): yes and no matter to ensembles of two that have
    /// lost one; `None` without an oracle, or while a leader has a follower and need not ask.
    pub fn set_oracle(&mut self, answer: Option<bool>) {
        self.oracle = answer;
    }

    pub fn oracle(&self) -> Option<bool> {
        self.oracle
    }

    fn each(&self) -> impl Iterator<Item = &QuorumVerifier> {
        std::iter::once(&self.current).chain(&self.next)
    }

    /// Whether the server votes now or in the configuration that is about to be.
    pub fn is_voter(&self, sid: i64) -> bool {
        self.each().any(|verifier| verifier.is_voter(sid))
    }

    /// All of them, each once, in ascending order.
    pub fn voters(&self) -> BTreeSet<i64> {
        self.each().flat_map(QuorumVerifier::voters).collect()
    }

    /// Whether the servers for which `has` is true are a quorum of every configuration that counts.
    pub fn is_quorum(&self, has: impl Fn(i64) -> bool) -> bool {
        self.each().all(|verifier| self.has_quorum(verifier, &has))
    }

    /// As [`Self::is_quorum`], of the committed configuration only.
    pub fn is_current_quorum(&self, has: impl Fn(i64) -> bool) -> bool {
        self.has_quorum(&self.current, has)
    }

    fn has_quorum(&self, verifier: &QuorumVerifier, has: impl Fn(i64) -> bool) -> bool {
        verifier.is_quorum(has) || (self.oracle == Some(true) && verifier.may_use_oracle())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Arc<QuorumConfig> {
        Arc::new(QuorumConfig::parse(text, false).unwrap())
    }

    fn servers(roles: &str) -> String {
        let line = |(i, role)| {
            let role = if role == 'o' { "observer" } else { "participant" };
            format!("server.{}=h:1:2:{role}\n", i + 1)
        };
        roles.chars().enumerate().map(line).collect()
    }

    /// Every subset of servers 1 to n, as a bit set with its predicate.
    fn subsets(n: u32) -> impl Iterator<Item = u32> {
        0..1 << n
    }

    fn holds(set: u32, sid: i64) -> bool {
        (1..=32).contains(&sid) && set & (1 << (sid - 1)) != 0
    }

    #[test]
    fn every_subset_of_up_to_seven_voters_and_two_observers() {
        for voters in 1..=7u32 {
            let roles = "p".repeat(voters as usize) + "oo";
            let verifier = QuorumVerifier::new(config(&servers(&roles)));
            assert_eq!(verifier.voters().count(), voters as usize);
            for set in subsets(voters + 2) {
                let of_voters = (set & ((1 << voters) - 1)).count_ones();
                let expected = 2 * of_voters > voters;
                assert_eq!(verifier.is_quorum(|sid| holds(set, sid)), expected, "{set:b}");
            }
        }
    }

    #[test]
    fn nobody_is_no_quorum_even_of_nobody() {
        assert!(!QuorumVerifier::new(config("version=0")).is_quorum(|_| true));
    }

    #[test]
    fn every_subset_of_three_groups_of_three() {
        let groups = "group.1=1:2:3\ngroup.2=4:5:6\ngroup.3=7:8:9\n";
        let verifier = QuorumVerifier::new(config(&(servers("ppppppppp") + groups)));
        for set in subsets(9) {
            let majority = |group: u32| (set >> (3 * group) & 7).count_ones() >= 2;
            let expected = (0..3).filter(|group| majority(*group)).count() >= 2;
            assert_eq!(verifier.is_quorum(|sid| holds(set, sid)), expected, "{set:09b}");
        }
    }

    #[test]
    fn weights_decide_and_groups_without_weight_do_not_count() {
        let text = servers("ppppp")
            + "group.1=1:2:3\ngroup.2=4:5\n\
            weight.1=3\nweight.2=1\nweight.3=1\nweight.4=0\nweight.5=0\n";
        let verifier = QuorumVerifier::new(config(&text));
        assert_eq!([1, 2, 4, 9].map(|sid| verifier.weight(sid)), [3, 1, 0, 0]);
        for set in subsets(5) {
            // Server 1 alone has 3 of 5; the others together have 2.
            let expected = holds(set, 1);
            assert_eq!(verifier.is_quorum(|sid| holds(set, sid)), expected, "{set:05b}");
        }
        let huge = servers("pp") + &format!("group.1=1:2\nweight.1={0}\nweight.2={0}\n", i64::MAX);
        assert!(QuorumVerifier::new(config(&huge)).is_quorum(|_| true));
    }

    #[test]
    fn a_reconfiguration_needs_quorums_of_both() {
        let next = servers("ppppo") + "version=5";
        let joint = JointVerifier::new(config(&servers("ppo")), Some(config(&next)));
        assert_eq!(joint.voters(), BTreeSet::from([1, 2, 3, 4]));
        assert!(joint.is_voter(3) && !joint.is_voter(5));
        for set in subsets(5) {
            let expected = (set & 0b11) == 0b11 && (set & 0b1111).count_ones() >= 3;
            assert_eq!(joint.is_quorum(|sid| holds(set, sid)), expected, "{set:05b}");
        }
        // What was seen last but is not later than what is committed does not count.
        let old = JointVerifier::new(config(&next), Some(config(&servers("pp"))));
        assert!(old.next().is_none());
    }

    #[test]
    fn the_oracle_counts_for_two_servers_only() {
        for (roles, answer, expected) in [
            ("pp", None, false),
            ("pp", Some(false), false),
            ("pp", Some(true), true),
            ("ppo", Some(true), true),
            ("ppp", Some(true), false),
        ] {
            let mut joint = JointVerifier::new(config(&servers(roles)), None);
            joint.set_oracle(answer);
            assert_eq!(joint.is_quorum(|sid| sid == 1), expected, "{roles} {answer:?}");
        }
    }
}
