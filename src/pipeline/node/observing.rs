//! Whom an observer learns from, and when it asks. Where followers are observer masters, it tries
//! one after the other, in an order of its own, and the leader when none of them serves it;
//! elsewhere the leader. Java: `QuorumPeer.findLearnerMaster`, `Observer.waitForReconnectDelay`.

use super::Node;
use crate::config::PeerAddress;

/// What is configured for observers and those who serve them.
#[derive(Debug, Clone, Copy)]
pub struct ObserverSettings {
    /// `observerMasterPort`: followers serve observers there.
    pub master_port: Option<u16>,
    /// `observer.reconnectDelayMs`: longest wait before connecting to the leader, or before a new
    /// round of the observer masters.
    pub reconnect_delay_ms: i64,
    /// `observer.election.DelayMs`: longest wait before looking for a leader again.
    pub election_delay_ms: i64,
    /// `syncEnabled`: observers log what they apply.
    pub log: bool,
}

/// Whom to learn from.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Master {
    pub sid: i64,
    pub addresses: Vec<PeerAddress>,
    /// How long to wait before connecting, ms.
    pub delay: i64,
}

/// A follower serves observers only once it is synchronised itself, so a round may be in vain. The
/// leader, whose load the followers are to take, has its turn at the end of every third round only.
const ROUNDS_TO_LEADER: u32 = 3;

/// The servers that an observer tries one after the other, round by round.
#[derive(Debug, Default)]
pub(super) struct MasterChoice {
    /// Those of this round that are left, the next one last; `None` is the leader.
    untried: Vec<Option<i64>>,
    /// Rounds begun since this observer was served last.
    rounds: u32,
    /// Whom this observer learned from last.
    last: Option<i64>,
}

impl MasterChoice {
    /// The next one: one of these followers, or `None` for the leader.
    fn next(&mut self, followers: &[i64], random: u64) -> Option<i64> {
        loop {
            match self.untried.pop() {
                Some(Some(sid)) if !followers.contains(&sid) => {}
                Some(choice) => return choice,
                None => self.begin_round(followers, random),
            }
        }
    }

    fn begin_round(&mut self, followers: &[i64], random: u64) {
        self.rounds += 1;
        let mut round = followers.to_vec();
        shuffle(&mut round, random);
        // Whom it has lost just now it asks at last.
        round.sort_by_key(|sid| Some(*sid) != self.last);
        let leader = round.is_empty() || self.rounds % ROUNDS_TO_LEADER == 0;
        self.untried = leader.then_some(None).into_iter().collect();
        self.untried.extend(round.into_iter().map(Some));
    }

    /// Whether the next one begins a round after one in vain.
    fn begins_again(&self) -> bool {
        self.untried.is_empty() && self.rounds > 0
    }

    /// The server that was tried serves this observer.
    pub fn found(&mut self, master: i64) {
        *self = Self { last: Some(master), ..Self::default() };
    }
}

/// Orders anew by a random number: Fisher and Yates.
fn shuffle(list: &mut [i64], mut random: u64) {
    for n in (1..list.len()).rev() {
        let choices = n as u64 + 1;
        list.swap(n, (random % choices) as usize);
        random /= choices;
    }
}

/// A random part of a delay, ms.
pub(super) fn some_of(most_ms: i64, random: u64) -> i64 {
    if most_ms > 0 { (random % most_ms as u64) as i64 } else { 0 }
}

impl Node {
    /// Whom to learn from under this leader; `None` if the configuration does not have it.
    pub(super) fn find_master(
        &mut self,
        leader: i64,
        observer: bool,
        random: u64,
    ) -> Option<Master> {
        let settings = self.settings.observers;
        let port = settings.master_port.filter(|_| observer);
        let waits = observer && (port.is_none() || self.masters.begins_again());
        let delay = if waits { some_of(settings.reconnect_delay_ms, random) } else { 0 };
        if let Some(port) = port {
            let voters = self.membership.committed().participants().map(|spec| spec.id);
            let followers: Vec<i64> = voters.filter(|sid| *sid != leader).collect();
            if let Some(sid) = self.masters.next(&followers, random) {
                let spec = self.membership.server(sid)?;
                let at_port = |a: &PeerAddress| PeerAddress { quorum_port: port, ..a.clone() };
                let addresses = spec.addresses.iter().map(at_port).collect();
                return Some(Master { sid, addresses, delay });
            }
        }
        let addresses = self.membership.server(leader)?.addresses.clone();
        Some(Master { sid: leader, addresses, delay })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_followers_in_all_orders_and_the_leader_in_every_third_round() {
        let mut choice = MasterChoice::default();
        let mut orders = std::collections::BTreeSet::new();
        for random in 0..300 {
            assert_eq!(choice.begins_again(), random > 0, "a delay behind each round in vain");
            let mut order = [0; 3].map(|_| choice.next(&[1, 2, 3], random).unwrap());
            orders.insert(order);
            order.sort_unstable();
            assert_eq!(order, [1, 2, 3]);
            if random % 3 == 2 {
                assert_eq!(choice.next(&[1, 2, 3], random), None);
            }
        }
        assert_eq!(orders.len(), 6, "all orders occur: {orders:?}");
    }

    #[test]
    fn a_master_that_is_lost_comes_last() {
        let mut choice = MasterChoice::default();
        for random in 0..100 {
            choice.next(&[1, 2, 3], random);
            choice.found(2);
            assert!(!choice.begins_again());
            let order = [0; 3].map(|_| choice.next(&[1, 2, 3], random).unwrap());
            assert_eq!(order[2], 2);
        }
    }

    #[test]
    fn who_leads_or_votes_no_more_is_left_out() {
        let mut choice = MasterChoice::default();
        let first = choice.next(&[1, 2, 3], 7).unwrap();
        assert_eq!(choice.next(&[first], 7), Some(first), "of the next round");
        assert_eq!(choice.next(&[], 7), None, "there is nobody but the leader");
    }

    #[test]
    fn delays_stay_below_their_limit() {
        assert!((0..1_000).all(|random| (0..200).contains(&some_of(200, random))));
        assert_eq!((some_of(0, 7), some_of(-1, 7)), (0, 0));
    }
}
