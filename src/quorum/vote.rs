//! A vote, which of two is better, and when two say the same.
//! Pure data. Java: `Vote`, and `FastLeaderElection.totalOrderPredicate`.

use crate::wire::election::{Notification, ServerState};

/// Whom a server wants as leader, and how much that server knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vote {
    /// The server voted for. Who may not lead votes for `i64::MIN`, which is nobody.
    pub leader: i64,
    /// The last zxid that server has *logged*: what it has only in memory does not count.
    pub zxid: i64,
    /// The round of the election in which the vote was given (Java's logical clock).
    pub round: i64,
    /// The `currentEpoch` of that server; once it leads, the epoch it has established.
    pub peer_epoch: i64,
}

impl Vote {
    pub fn of(n: &Notification) -> Self {
        Self { leader: n.leader, zxid: n.zxid, round: n.election_epoch, peer_epoch: n.peer_epoch }
    }

    /// Whether this candidate is better: the later epoch, then the longer log, then the greater id
    /// . Whether it may win at all (its weight) is the verifier's to say.
    pub fn beats(&self, other: &Vote) -> bool {
        let rank = |vote: &Vote| (vote.peer_epoch, vote.zxid, vote.leader);
        rank(self) > rank(other)
    }
}

/// A vote with what its sender was doing when it told it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ballot {
    pub vote: Vote,
    pub state: ServerState,
    /// The sender's notification format; 0 tells nothing reliable about epochs.
    pub version: i32,
}

impl Ballot {
    pub fn of(n: &Notification) -> Self {
        Self { vote: Vote::of(n), state: n.state, version: n.version }
    }

    pub fn looking(vote: Vote) -> Self {
        Self { vote, state: ServerState::Looking, version: 0 }
    }

    /// Whether both are for the same leadership. Between servers that look, all of a vote
    /// must agree. A leadership that stands is its leader and epoch: members may disagree about
    /// its zxid and round, which are left from different elections (ZOOKEEPER-1732, 1818); of old
    /// formats (version 0) only the leader counts.
    pub fn agrees_with(&self, other: &Ballot) -> bool {
        if self.state == ServerState::Looking || other.state == ServerState::Looking {
            return self.vote == other.vote;
        }
        let same_format = (self.version > 0) == (other.version > 0);
        self.vote.leader == other.vote.leader
            && (!same_format || self.vote.peer_epoch == other.vote.peer_epoch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ServerState::{Following, Leading, Looking};

    fn vote(peer_epoch: i64, zxid: i64, leader: i64) -> Vote {
        Vote { leader, zxid, round: 1, peer_epoch }
    }

    #[test]
    fn epoch_then_zxid_then_id_in_every_combination() {
        let values = [i64::MIN, 0, 1, 2, i64::MAX];
        let mut votes = Vec::new();
        for epoch in values {
            for zxid in values {
                votes.extend(values.map(|leader| vote(epoch, zxid, leader)));
            }
        }
        // They were made in order, so that a better one is a later one.
        for (i, a) in votes.iter().enumerate() {
            for (j, b) in votes.iter().enumerate() {
                assert_eq!(a.beats(b), i > j, "{a:?} against {b:?}");
            }
        }
    }

    #[test]
    fn the_round_makes_no_candidate_better() {
        let late = Vote { round: 9, ..vote(1, 1, 1) };
        assert!(!late.beats(&vote(1, 1, 1)) && !vote(1, 1, 1).beats(&late));
    }

    /// ZOOKEEPER-1732, ZOOKEEPER-1818: members of one ensemble report different zxids and rounds.
    #[test]
    fn zookeeper_1818_agreement_of_every_pair_of_states() {
        let base = Ballot { vote: vote(5, 7, 3), state: Looking, version: 2 };
        let differing = |change: &dyn Fn(&mut Ballot)| {
            let mut other = base;
            change(&mut other);
            other
        };
        let same = base;
        let leader = differing(&|b| b.vote.leader = 2);
        let epoch = differing(&|b| b.vote.peer_epoch = 6);
        let zxid = differing(&|b| b.vote.zxid = 8);
        let round = differing(&|b| b.vote.round = 2);
        let old_epoch = differing(&|b| (b.vote.peer_epoch, b.version) = (6, 0));
        // (other, when one looks, when both have settled)
        let table = [
            (same, true, true),
            (leader, false, false),
            (epoch, false, false),
            (zxid, false, true),
            (round, false, true),
            (old_epoch, false, true),
        ];
        for (other, looking, settled) in table {
            for (mine, theirs) in [(Looking, Looking), (Looking, Leading), (Following, Looking)] {
                let (a, b) = (Ballot { state: mine, ..base }, Ballot { state: theirs, ..other });
                assert_eq!(a.agrees_with(&b), looking, "{a:?} {b:?}");
                assert_eq!(b.agrees_with(&a), looking, "{b:?} {a:?}");
            }
            for (mine, theirs) in [(Following, Leading), (Following, Following)] {
                let (a, b) = (Ballot { state: mine, ..base }, Ballot { state: theirs, ..other });
                assert_eq!(a.agrees_with(&b), settled, "{a:?} {b:?}");
                assert_eq!(b.agrees_with(&a), settled, "{b:?} {a:?}");
            }
        }
    }
}
