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
    /// What was found in the logs on disk for this learner, if they were searched.
    pub disk: Option<OnDisk>,
}

/// A stretch of the logs on disk that has no hole and may be sent rather than a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OnDisk {
    /// The last transaction up to the learner's zxid.
    pub floor: i64,
    /// The last transaction that was looked at.
    pub upto: i64,
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
    fn first(&self) -> Option<i64> {
        (self.len > 0).then(|| (self.zxid_at)(0))
    }

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
    /// Nothing to undo: send what is behind the learner's last transaction.
    Diff { from: Source },
    /// Cut the learner's log after `zxid`, then send what is behind that.
    Trunc { zxid: i64, from: Source },
    /// Send everything.
    Snap,
}

/// Where the transactions that a learner lacks are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// In the ring, from this position on.
    Ring(usize),
    /// In the logs on disk, after one zxid and up to another; then all of the ring.
    Disk { after: i64, upto: i64 },
}

/// Decides for a learner whose last *logged* zxid is `peer`.
pub fn sync_plan(peer: i64, history: History<'_>) -> SyncPlan {
    let History { ring, last, disk } = history;
    if ring.len > 0 {
        let (min, max) = ((ring.zxid_at)(0), (ring.zxid_at)(ring.len - 1));
        assert!(min <= max && max == last, "ring {min:#x}..{max:#x}, last applied {last:#x}");
    }
    if peer == last {
        return SyncPlan::Diff { from: Source::Ring(ring.len) };
    }
    if peer == 0 {
        return SyncPlan::Snap;
    }
    if peer > last {
        // An epoch's first zxid is no transaction: a Java leader that had nothing to propose.
        let same_epoch = epoch_of(peer) == epoch_of(last);
        return if same_epoch && counter_of(last) != 0 && counter_of(peer) != 0 {
            SyncPlan::Trunc { zxid: last, from: Source::Ring(ring.len) }
        } else {
            SyncPlan::Snap
        };
    }
    let upto = ring.upto(peer);
    if upto == 0 {
        return from_disk(peer, ring.first().unwrap_or(last + 1), disk);
    }
    let (floor, from) = ((ring.zxid_at)(upto - 1), Source::Ring(upto));
    if floor == peer || counter_of(peer) == 0 {
        SyncPlan::Diff { from }
    } else if epoch_of(floor) == epoch_of(peer) {
        SyncPlan::Trunc { zxid: floor, from }
    } else {
        SyncPlan::Snap
    }
}

/// Whether the logs on disk have to be searched for a learner at `peer`, when memory has the
/// history from `first` on and the disk up to `durable`.
pub fn needs_disk(peer: i64, first: i64, durable: i64) -> bool {
    peer > 0 && peer < first - 1 && first - 1 <= durable
}

/// For a learner whose last zxid is before `first`, the first transaction in memory.
fn from_disk(peer: i64, first: i64, disk: Option<OnDisk>) -> SyncPlan {
    if peer == first - 1 {
        // Who has the number before has all that was before.
        return SyncPlan::Diff { from: Source::Ring(0) };
    }
    // The ring may have moved on since the disk was searched.
    let Some(OnDisk { floor, .. }) = disk.filter(|disk| first - 1 <= disk.upto) else {
        return SyncPlan::Snap;
    };
    let from = Source::Disk { after: floor, upto: first - 1 };
    if floor == peer {
        SyncPlan::Diff { from }
    } else if epoch_of(floor) == epoch_of(peer) {
        SyncPlan::Trunc { zxid: floor, from }
    } else {
        SyncPlan::Snap
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(peer: i64, ring: &[i64], last: i64, disk: Option<OnDisk>) -> SyncPlan {
        let zxid_at = |i: usize| ring[i];
        let ring = RingView { len: ring.len(), zxid_at: &zxid_at };
        sync_plan(peer, History { ring: &ring, last, disk })
    }

    const fn z(epoch: i64, counter: i64) -> i64 {
        epoch << 32 | counter
    }

    const fn diff(position: usize) -> SyncPlan {
        SyncPlan::Diff { from: Source::Ring(position) }
    }

    const fn trunc(zxid: i64, position: usize) -> SyncPlan {
        SyncPlan::Trunc { zxid, from: Source::Ring(position) }
    }

    #[test]
    fn the_table() {
        use SyncPlan::Snap;
        let ring = [z(1, 5), z(1, 6), z(1, 7), z(2, 1), z(2, 2)];
        let last = z(2, 2);
        for (peer, expected) in [
            (z(2, 2), diff(5)),
            (z(1, 6), diff(2)),
            (z(1, 5), diff(1)),
            // The peer logged proposals of epoch 1 that were never committed.
            (z(1, 9), trunc(z(1, 7), 3)),
            // Ahead of us in our own epoch.
            (z(2, 5), trunc(z(2, 2), 5)),
            // Ahead by an epoch: its log may lack our last record, so no TRUNC.
            (z(3, 1), Snap),
            (z(3, 0), Snap),
            // A Java leader of epoch 2 that logged nothing in it.
            (z(2, 0), diff(3)),
            // Older than the ring.
            (z(1, 4), diff(0)),
            (z(1, 2), Snap),
            // ZOOKEEPER-4352: no history at all.
            (0, Snap),
            (-1, Snap),
        ] {
            assert_eq!(plan(peer, &ring, last, None), expected, "peer {peer:#x}");
        }
    }

    #[test]
    fn an_empty_ring() {
        assert_eq!(plan(0, &[], 0, None), diff(0));
        assert_eq!(plan(z(1, 4), &[], z(1, 2), None), trunc(z(1, 2), 0));
        assert_eq!(plan(z(1, 1), &[], z(1, 3), None), SyncPlan::Snap);
        assert_eq!(plan(z(1, 1), &[], 0, None), SyncPlan::Snap);
    }

    #[test]
    fn from_disk_only_what_was_found() {
        let ring = [z(2, 3), z(2, 4)];
        let found = |floor, upto| Some(OnDisk { floor, upto });
        let disk = |after| Source::Disk { after, upto: z(2, 2) };
        for (peer, found, expected) in [
            (z(1, 2), None, SyncPlan::Snap),
            (z(1, 2), found(z(1, 2), z(2, 4)), SyncPlan::Diff { from: disk(z(1, 2)) }),
            (z(1, 2), found(z(1, 2), z(2, 2)), SyncPlan::Diff { from: disk(z(1, 2)) }),
            (z(1, 2), found(z(1, 2), z(2, 1)), SyncPlan::Snap),
            (
                z(1, 9),
                found(z(1, 7), z(2, 4)),
                SyncPlan::Trunc { zxid: z(1, 7), from: disk(z(1, 7)) },
            ),
            (z(2, 0), found(z(1, 7), z(2, 4)), SyncPlan::Snap),
            (z(2, 2), None, diff(0)),
        ] {
            assert_eq!(plan(peer, &ring, z(2, 4), found), expected, "{peer:#x} {found:x?}");
        }
    }

    #[test]
    fn the_disk_is_searched_only_for_who_is_behind_the_ring() {
        for (peer, first, durable, expected) in [
            (z(1, 2), z(1, 5), z(1, 9), true),
            (z(1, 4), z(1, 5), z(1, 9), false),
            (z(1, 5), z(1, 5), z(1, 9), false),
            (z(1, 2), z(1, 5), z(1, 4), true),
            // The disk does not reach the ring yet.
            (z(1, 2), z(1, 5), z(1, 3), false),
            (0, z(1, 5), z(1, 9), false),
            (-1, z(1, 5), z(1, 9), false),
        ] {
            assert_eq!(needs_disk(peer, first, durable), expected, "{peer:#x} {durable:#x}");
        }
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
        let mut from_disk = 0;
        for leader in &histories {
            for peer in &histories {
                for cut in 0..=leader.len() {
                    for purged in 0..=cut {
                        from_disk += usize::from(ends_equal(leader, peer, cut, purged));
                    }
                }
            }
        }
        assert!(from_disk > 100, "{from_disk} of them from disk");
    }

    /// Whether the disk was used. `cut`: where the leader's ring begins, `purged`: its logs.
    fn ends_equal(leader: &[i64], peer: &[i64], cut: usize, purged: usize) -> bool {
        let (ring, logs) = (&leader[cut..], &leader[purged..]);
        let last = leader.last().copied().unwrap_or(0);
        let peer_last = peer.last().copied().unwrap_or(0);
        let floor = logs.iter().rfind(|zxid| **zxid <= peer_last);
        let disk = floor.map(|floor| OnDisk { floor: *floor, upto: last });
        let (kept, from) = match plan(peer_last, ring, last, disk) {
            SyncPlan::Snap => return false,
            SyncPlan::Diff { from } => (peer_last, from),
            SyncPlan::Trunc { zxid, from } => (zxid, from),
        };
        let sent: Vec<i64> = match from {
            Source::Ring(from) => ring[from..].to_vec(),
            Source::Disk { after, upto } => {
                let stretch = logs.iter().filter(|zxid| after < **zxid && **zxid <= upto);
                stretch.chain(ring).copied().collect()
            }
        };
        let kept = peer.iter().copied().filter(|zxid| *zxid <= kept);
        let synced: Vec<i64> = kept.chain(sent).collect();
        // Zab: one leader an epoch, so equal zxids are equal transactions; a peer that
        // reached epoch 2 with the same last zxid has the same epoch-1 prefix.
        let first_epoch = |history: &[i64]| history.iter().filter(|z| epoch_of(**z) < 2).count();
        if peer_last < z(2, 0) || first_epoch(peer) == first_epoch(leader) {
            assert_eq!(synced, leader, "peer {peer:x?} cut {cut} purged {purged}");
        }
        matches!(from, Source::Disk { .. })
    }
}
