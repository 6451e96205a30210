//! The tree's fingerprint: a sum of CRCs, one a node, that changes with every transaction and that
//! leaders write into transactions (D-45 … D-48). Java: `DigestCalculator`, `AdHash`, `ZxidDigest`.

use std::collections::VecDeque;

use crate::wire::StatPersisted;

/// The way digests are computed; another version cannot be compared.
pub const DIGEST_VERSION: i32 = 2;
/// Every so many zxids the digest goes into the history.
const LOG_INTERVAL: i64 = 128;
const LOG_LIMIT: usize = 1024;

/// A node's share in the digest of the tree. 0 below /zookeeper, where quota statistics change
/// outside transactions. `stat.cversion` is the internal one.
pub fn node_digest(path: &str, data: Option<&[u8]>, stat: &StatPersisted) -> i64 {
    if is_exempt(path) {
        return 0;
    }
    let (path, data) = (hashed_path(path), data.unwrap_or_default());
    let parts = [path.as_bytes(), data, &stat_bytes(stat)];
    // One long run is hashed at a multiple of the speed of three short ones.
    let mut joined = [0; 512];
    let mut rest = joined.as_mut_slice();
    for part in parts {
        let Some((place, behind)) = rest.split_at_mut_checked(part.len()) else {
            return i64::from(crc(0, &parts));
        };
        place.copy_from_slice(part);
        rest = behind;
    }
    let unused = rest.len();
    i64::from(crc(0, &[&joined[..512 - unused]]))
}

/// CRC-32 of all parts, going on from that of what comes before them.
fn crc(before: u32, parts: &[&[u8]]) -> u32 {
    let mut crc = crc32fast::Hasher::new_with_initial(before);
    parts.iter().for_each(|part| crc.update(part));
    crc.finalize()
}

/// The root's path is empty here.
fn hashed_path(path: &str) -> &str {
    if path == "/" { "" } else { path }
}

/// The first half of [`node_digest`], the costly one: what does not change with the stat.
pub fn content_crc(path: &str, data: Option<&[u8]>) -> u32 {
    if is_exempt(path) {
        return 0;
    }
    crc(0, &[hashed_path(path).as_bytes(), data.unwrap_or_default()])
}

/// The second half of [`node_digest`]: goes on from the [`content_crc`] of the same path.
pub fn digest_with_stat(path: &str, content_crc: u32, stat: &StatPersisted) -> i64 {
    if is_exempt(path) {
        return 0;
    }
    i64::from(crc(content_crc, &[&stat_bytes(stat)]))
}

fn stat_bytes(stat: &StatPersisted) -> [u8; 60] {
    let mut bytes = [0; 60];
    let longs = [stat.czxid, stat.mzxid, stat.pzxid, stat.ctime, stat.mtime];
    for (field, v) in bytes.chunks_exact_mut(8).zip(longs) {
        field.copy_from_slice(&v.to_be_bytes());
    }
    let ints = [stat.version, stat.cversion, stat.aversion];
    for (field, v) in bytes[40..52].chunks_exact_mut(4).zip(ints) {
        field.copy_from_slice(&v.to_be_bytes());
    }
    bytes[52..].copy_from_slice(&stat.ephemeral_owner.to_be_bytes());
    bytes
}

fn is_exempt(path: &str) -> bool {
    path.starts_with("/zookeeper/")
}

/// The digest of the tree after a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ZxidDigest {
    pub zxid: i64,
    pub version: i32,
    pub digest: i64,
}

/// What is known about digests of the past.
#[derive(Debug, Default)]
pub(super) struct DigestHistory {
    /// Of a fuzzy snapshot that was loaded: nothing is compared until replay reaches its zxid.
    pub awaited: Option<ZxidDigest>,
    /// Replay has reached it, and the tree has another digest. Java takes it down while
    /// transactions go on, so the snapshot may hold a part of the next one: with that one the tree
    /// is right again.
    awaited_missed: bool,
    pub log: VecDeque<ZxidDigest>,
    pub mismatches: u64,
}

impl DigestHistory {
    /// A transaction has been applied, and this is the digest now.
    pub fn applied(&mut self, now: ZxidDigest) {
        self.awaited_missed = false;
        if self.awaited.is_some() {
            return self.compare_awaited(now);
        }
        if now.zxid % LOG_INTERVAL == 0 {
            self.log.push_back(now);
            if self.log.len() > LOG_LIMIT {
                self.log.pop_front();
            }
        }
    }

    /// Compares with the digest of the loaded snapshot if `now` is what it was taken of.
    pub fn compare_awaited(&mut self, now: ZxidDigest) {
        let Some(awaited) = self.awaited.take_if(|a| a.zxid == now.zxid) else { return };
        self.awaited_missed = differ(awaited, now);
    }

    /// Replay is at its end: no part of a next transaction explains a digest that was missed.
    pub fn replayed(&mut self) {
        self.mismatches += u64::from(std::mem::take(&mut self.awaited_missed));
    }

    /// Whether a digest that came with a transaction agrees with the tree's own.
    pub fn compare(&mut self, theirs: ZxidDigest, ours: ZxidDigest) -> bool {
        let exact = self.awaited.is_none() && !self.awaited_missed;
        let differ = exact && differ(theirs, ours);
        self.mismatches += u64::from(differ);
        !differ
    }
}

fn differ(a: ZxidDigest, b: ZxidDigest) -> bool {
    a.version == b.version && a.digest != b.digest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_history_keeps_every_128th_of_the_last_131072() {
        let mut history = DigestHistory::default();
        let at = |zxid| ZxidDigest { zxid, version: DIGEST_VERSION, digest: zxid + 1 };
        (1..=128 * 1030).for_each(|zxid| history.applied(at(zxid)));
        assert_eq!(history.log.len(), 1024);
        assert_eq!((history.log[0], history.log[1023]), (at(128 * 7), at(128 * 1030)));
    }

    /// Java's snapshot thread reads the digest after the tree, between a change of a node and that
    /// of the digest that belongs to it.
    #[test]
    fn a_fuzzy_snapshot_may_hold_part_of_the_transaction_behind_its_digest() {
        let at = |zxid, digest| ZxidDigest { zxid, version: DIGEST_VERSION, digest };
        let missed = || {
            let mut history = DigestHistory { awaited: Some(at(5, 50)), ..Default::default() };
            history.applied(at(4, 41));
            assert!(history.compare(at(4, 40), at(4, 41)), "still fuzzy");
            history.applied(at(5, 51));
            assert!(history.compare(at(5, 50), at(5, 51)), "part of 6 may be in it");
            history
        };
        let mut explained = missed();
        explained.applied(at(6, 60));
        assert!(explained.compare(at(6, 60), at(6, 60)));
        explained.replayed();
        assert_eq!(explained.mismatches, 0);
        let mut wrong = missed();
        wrong.applied(at(6, 61));
        assert!(!wrong.compare(at(6, 60), at(6, 61)));
        let mut last = missed();
        last.replayed();
        assert_eq!((wrong.mismatches, last.mismatches), (1, 1));
    }

    #[test]
    fn quota_and_config_have_no_share_in_the_digest() {
        let stat = StatPersisted::default();
        assert_eq!(node_digest("/zookeeper/quota", None, &stat), 0);
        assert_ne!(node_digest("/zookeeper", None, &stat), 0);
        assert_eq!(node_digest("/", None, &stat), node_digest("", None, &stat));
        assert_eq!(node_digest("/a", None, &stat), node_digest("/a", Some(b""), &stat));
    }
}
