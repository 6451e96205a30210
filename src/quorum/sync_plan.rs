//! How a learner whose log ends at some zxid is brought up to date: one decision over a few
//! numbers. Pure. Java: `LearnerHandler.syncFollower` (Q-50 … Q-55).
//!
//! Where Java's choice can lose or keep a transaction that it must not, the safe one is taken:
//! no TRUNC across an epoch boundary (the learner's log may lack the very record to cut after:
//! ZOOKEEPER-1154's kin), and no DIFF to a learner with an empty history (ZOOKEEPER-4352).

use crate::wire::{counter_of, epoch_of};

/// What the leader can offer.
#[derive(Debug, Clone, Copy)]
pub struct History<'a> {
    /// Zxids of the committed-log ring, ascending; the last one is `last` unless empty.
    pub ring: &'a RingView<'a>,
    /// Last committed and applied zxid.
    pub last: i64,
    /// First zxid that the disk logs can replay contiguously up to `last`, if reading them is
    /// cheaper than a snapshot.
    pub disk_from: Option<i64>,
}

/// The zxids of a ring, by position.
pub struct RingView<'a> {
    pub len: usize,
    pub zxid_at: &'a dyn Fn(usize) -> i64,
}

impl std::fmt::Debug for RingView<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RingView({})", self.len)
    }
}

impl RingView<'_> {
    /// Number of entries with a zxid ≤ `zxid`.
    fn upto(&self, zxid: i64) -> usize {
        let (mut low, mut high) = (0, self.len);
        while low < high {
            let middle = (low + high) / 2;
            if (self.zxid_at)(middle) <= zxid {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }
}

/// The way a learner is synchronised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SyncPlan {
    /// Nothing to undo: send the ring's entries from this position on.
    Diff { ring_from: usize },
    /// Nothing to undo: send the disk log's transactions after this zxid, then all of the ring.
    DiffFromDisk { after: i64 },
    /// Cut the learner's log after `zxid`, then send the ring from this position on.
    Trunc { zxid: i64, ring_from: usize },
    /// Send everything.
    Snap,
}

/// Decides for a learner whose last *logged* zxid is `peer`.
pub fn sync_plan(peer: i64, history: History<'_>) -> SyncPlan {
    let History { ring, last, disk_from } = history;
    if ring.len > 0 {
        let (min, max) = ((ring.zxid_at)(0), (ring.zxid_at)(ring.len - 1));
        assert!(min <= max && max == last, "ring {min:#x}..{max:#x}, last applied {last:#x}");
    }
    if peer == last {
        return SyncPlan::Diff { ring_from: ring.len };
    }
    if peer == 0 {
        return SyncPlan::Snap;
    }
    if peer > last {
        // An epoch's first zxid is no transaction: a Java leader that had nothing to propose.
        let same_epoch = epoch_of(peer) == epoch_of(last);
        return if same_epoch && counter_of(last) != 0 && counter_of(peer) != 0 {
            SyncPlan::Trunc { zxid: last, ring_from: ring.len }
        } else {
            SyncPlan::Snap
        };
    }
    let upto = ring.upto(peer);
    if upto == 0 {
        return match disk_from {
            Some(from) if from <= peer => SyncPlan::DiffFromDisk { after: peer },
            _ => SyncPlan::Snap,
        };
    }
    let floor = (ring.zxid_at)(upto - 1);
    if floor == peer || counter_of(peer) == 0 {
        return SyncPlan::Diff { ring_from: upto };
    }
    if epoch_of(floor) == epoch_of(peer) {
        SyncPlan::Trunc { zxid: floor, ring_from: upto }
    } else {
        SyncPlan::Snap
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(peer: i64, ring: &[i64], last: i64, disk_from: Option<i64>) -> SyncPlan {
        let zxid_at = |i: usize| ring[i];
        let ring = RingView { len: ring.len(), zxid_at: &zxid_at };
        sync_plan(peer, History { ring: &ring, last, disk_from })
    }

    const fn z(epoch: i64, counter: i64) -> i64 {
        epoch << 32 | counter
    }

    #[test]
    fn the_table() {
        use SyncPlan::*;
        let ring = [z(1, 5), z(1, 6), z(1, 7), z(2, 1), z(2, 2)];
        let last = z(2, 2);
        for (peer, disk_from, expected) in [
            (z(2, 2), None, Diff { ring_from: 5 }),
            (z(1, 6), None, Diff { ring_from: 2 }),
            (z(1, 5), None, Diff { ring_from: 1 }),
            // The peer logged proposals of epoch 1 that were never committed.
            (z(1, 9), None, Trunc { zxid: z(1, 7), ring_from: 3 }),
            // Ahead of us in our own epoch.
            (z(2, 5), None, Trunc { zxid: z(2, 2), ring_from: 5 }),
            // Ahead by an epoch: its log may lack our last record, so no TRUNC.
            (z(3, 1), None, Snap),
            (z(3, 0), None, Snap),
            // A Java leader of epoch 2 that logged nothing in it.
            (z(2, 0), None, Diff { ring_from: 3 }),
            // Older than the ring.
            (z(1, 2), None, Snap),
            (z(1, 2), Some(z(1, 2)), DiffFromDisk { after: z(1, 2) }),
            (z(1, 2), Some(z(1, 3)), Snap),
            // ZOOKEEPER-4352: no history at all.
            (0, Some(0), Snap),
        ] {
            assert_eq!(plan(peer, &ring, last, disk_from), expected, "peer {peer:#x}");
        }
    }

    #[test]
    fn an_empty_ring() {
        assert_eq!(plan(0, &[], 0, None), SyncPlan::Diff { ring_from: 0 });
        assert_eq!(
            plan(z(1, 4), &[], z(1, 2), None),
            SyncPlan::Trunc { zxid: z(1, 2), ring_from: 0 }
        );
        assert_eq!(plan(z(1, 1), &[], z(1, 2), None), SyncPlan::Snap);
        assert_eq!(plan(z(1, 1), &[], 0, None), SyncPlan::Snap);
    }

    /// Whatever the plan, the learner ends with exactly the leader's history.
    #[test]
    fn every_small_history_ends_equal() {
        // All histories of ≤ 4 transactions over two epochs, contiguous within each epoch.
        let mut histories: Vec<Vec<i64>> = vec![];
        for a in 0..4 {
            for b in 0..4 {
                histories.push((1..=a).map(|c| z(1, c)).chain((1..=b).map(|c| z(2, c))).collect());
            }
        }
        for leader in &histories {
            for peer in &histories {
                for cut in 0..=leader.len() {
                    let ring = &leader[cut..];
                    let last = leader.last().copied().unwrap_or(0);
                    let peer_last = peer.last().copied().unwrap_or(0);
                    let synced = match plan(peer_last, ring, last, None) {
                        SyncPlan::Snap => continue,
                        SyncPlan::DiffFromDisk { .. } => unreachable!("no disk offered"),
                        SyncPlan::Diff { ring_from } => {
                            [peer.as_slice(), &ring[ring_from..]].concat()
                        }
                        SyncPlan::Trunc { zxid, ring_from } => {
                            let kept: Vec<i64> =
                                peer.iter().copied().filter(|p| *p <= zxid).collect();
                            [kept.as_slice(), &ring[ring_from..]].concat()
                        }
                    };
                    // Zab: one leader an epoch, so equal zxids are equal transactions; a peer that
                    // reached epoch 2 with the same last zxid has the same epoch-1 prefix.
                    let legal = peer_last < z(2, 0)
                        || peer
                            .iter()
                            .filter(|p| **p < z(2, 0))
                            .eq(leader.iter().filter(|p| **p < z(2, 0)));
                    if legal {
                        assert_eq!(&synced, leader, "leader {leader:x?} peer {peer:x?} cut {cut}");
                    }
                }
            }
        }
    }
}
