//! Quotas: what the nodes under /zookeeper/quota say, and for which paths (C-184, C-185).
//! Knows text and paths, not the tree. Java: `StatsTrack`, `Quotas`, `PathTrie`.

use std::collections::{BTreeMap, HashSet};
use std::fmt;

use crate::hash::Seed;

pub const QUOTA_ROOT: &str = "/zookeeper/quota";
pub const LIMITS: &str = "zookeeper_limits";
pub const STATS: &str = "zookeeper_stats";

/// The node that holds the limits of a path.
pub fn limits_path(path: &str) -> String {
    format!("{QUOTA_ROOT}{path}/{LIMITS}")
}

/// The node that holds the usage of a path.
pub fn stats_path(path: &str) -> String {
    format!("{QUOTA_ROOT}{path}/{STATS}")
}

/// The path that a node `name` below `parent` holds limits or usage of, if any.
pub(super) fn quota_target<'a>(parent: &'a str, name: &str, kind: &str) -> Option<&'a str> {
    let target = parent.strip_prefix(QUOTA_ROOT)?;
    (name == kind && target.starts_with('/')).then_some(target)
}

/// The text in a limits or stats node: `count=2,bytes=100`, and after a stray `=` that makes old
/// readers stop, `;byteHardLimit=200;countHardLimit=4`. −1 is "not set".
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StatsTrack {
    values: BTreeMap<String, i64>,
}

impl StatsTrack {
    /// Reads leniently: the node is an ordinary one that anybody may have written. What makes no
    /// sense is not set.
    pub fn parse(text: &[u8]) -> Self {
        let text = String::from_utf8_lossy(text);
        let mut values = BTreeMap::new();
        for pair in text.split([',', ';']).filter(|p| !p.is_empty()) {
            let mut parts = pair.split('=');
            let key = parts.next().unwrap_or_default();
            if let Some(value) = parts.next() {
                values.insert(key.to_string(), value.parse().unwrap_or(-1));
            }
        }
        Self { values }
    }

    pub fn new(count: i64, bytes: i64) -> Self {
        let mut track = Self::default();
        track.add(count + 1, bytes + 1);
        track
    }

    /// Sets `count`, `bytes`, `countHardLimit` or `byteHardLimit`.
    pub fn set(&mut self, key: &str, value: i64) {
        self.values.insert(key.into(), value);
    }

    fn get(&self, key: &str) -> i64 {
        self.values.get(key).copied().unwrap_or(-1)
    }

    pub fn count(&self) -> i64 {
        self.get("count")
    }

    pub fn bytes(&self) -> i64 {
        self.get("bytes")
    }

    pub fn count_hard_limit(&self) -> i64 {
        self.get("countHardLimit")
    }

    pub fn byte_hard_limit(&self) -> i64 {
        self.get("byteHardLimit")
    }

    pub(super) fn add(&mut self, count: i64, bytes: i64) {
        self.values.insert("count".into(), self.count().wrapping_add(count));
        self.values.insert("bytes".into(), self.bytes().wrapping_add(bytes));
    }
}

impl fmt::Display for StatsTrack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "count={},bytes={}", self.count(), self.bytes())?;
        let mut first = true;
        for (key, value) in self.values.iter().filter(|(k, _)| *k != "count" && *k != "bytes") {
            let mark = if std::mem::take(&mut first) { "=" } else { "" };
            write!(f, "{mark};{key}={value}")?;
        }
        Ok(())
    }
}

/// A limit that a write would go over. Prints as Java logs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuotaBreach {
    /// The path with the quota.
    pub prefix: String,
    /// "count" or "bytes".
    pub what: &'static str,
    /// What the usage would be.
    pub usage: i64,
    pub limit: i64,
    /// A hard limit refuses the write; a soft one only warns.
    pub hard: bool,
}

impl fmt::Display for QuotaBreach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { prefix, what, usage, limit, hard } = self;
        let limit_name = if *what == "count" { "CountLimit" } else { "ByteLimit" };
        let hard = if *hard { "hard" } else { "soft" };
        write!(f, "Quota exceeded: {prefix} [current {what}={usage}, {hard}{limit_name}={limit}]")
    }
}

/// Compares what usage would be with the limits; first the count's breach, then the bytes'.
pub(super) fn breaches(
    prefix: &str,
    limits: &StatsTrack,
    usage: &StatsTrack,
    bytes_diff: i64,
    count_diff: i64,
) -> Vec<QuotaBreach> {
    let rows = [
        ("count", count_diff, usage.count(), limits.count_hard_limit(), limits.count()),
        ("bytes", bytes_diff, usage.bytes(), limits.byte_hard_limit(), limits.bytes()),
    ];
    let mut found = Vec::new();
    for (what, diff, used, hard_limit, soft_limit) in rows {
        let hard = hard_limit > -1;
        let limit = if hard { hard_limit } else { soft_limit };
        let usage = used.saturating_add(diff);
        if diff != 0 && limit > -1 && usage > limit {
            found.push(QuotaBreach { prefix: prefix.to_string(), what, usage, limit, hard });
        }
    }
    found
}

/// The paths that have limits.
#[derive(Debug)]
pub(super) struct QuotaPaths(HashSet<Box<str>, Seed>);

impl QuotaPaths {
    pub fn new(seed: Seed) -> Self {
        Self(HashSet::with_hasher(seed))
    }

    pub fn insert(&mut self, path: &str) {
        self.0.insert(path.into());
    }

    pub fn remove(&mut self, path: &str) {
        self.0.remove(path);
    }

    /// The longest of these paths that is `path` or an ancestor of it.
    pub fn longest_prefix<'a>(&self, path: &'a str) -> Option<&'a str> {
        if self.0.is_empty() {
            return None;
        }
        let mut prefix = path;
        while !prefix.is_empty() && !self.0.contains(prefix) {
            prefix = &prefix[..prefix.rfind('/')?];
        }
        (!prefix.is_empty()).then_some(prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_of_limits_and_stats() {
        let text = "count=2,bytes=100=;byteHardLimit=200;countHardLimit=4";
        let track = StatsTrack::parse(text.as_bytes());
        assert_eq!((track.count(), track.bytes()), (2, 100));
        assert_eq!((track.count_hard_limit(), track.byte_hard_limit()), (4, 200));
        assert_eq!(track.to_string(), text);
        assert_eq!(StatsTrack::parse(b"").to_string(), "count=-1,bytes=-1");
        assert_eq!(StatsTrack::new(3, 0).to_string(), "count=3,bytes=0");
        assert_eq!(StatsTrack::parse(b"count=5").to_string(), "count=5,bytes=-1");
        let odd = StatsTrack::parse(b"\xff,=,;;count=,bytes=x,countHardLimit==7");
        assert_eq!((odd.count(), odd.bytes(), odd.count_hard_limit()), (-1, -1, -1));
    }

    #[test]
    fn the_deepest_quota_counts() {
        let mut paths = QuotaPaths::new(Seed::default());
        assert_eq!(paths.longest_prefix("/a/b"), None);
        paths.insert("/a");
        paths.insert("/a/b/c");
        let rows = [
            ("/a", Some("/a")),
            ("/a/b", Some("/a")),
            ("/a/b/c", Some("/a/b/c")),
            ("/a/b/c/d/e", Some("/a/b/c")),
            ("/ab", None),
            ("/", None),
        ];
        for (path, prefix) in rows {
            assert_eq!(paths.longest_prefix(path), prefix, "{path}");
        }
        paths.remove("/a/b/c");
        assert_eq!(paths.longest_prefix("/a/b/c/d"), Some("/a"));
    }

    #[test]
    fn targets_of_quota_nodes() {
        assert_eq!(quota_target("/zookeeper/quota/a/b", LIMITS, LIMITS), Some("/a/b"));
        assert_eq!(quota_target("/zookeeper/quota/a/b", STATS, LIMITS), None);
        assert_eq!(quota_target("/zookeeper/quota", LIMITS, LIMITS), None);
        assert_eq!(quota_target("/zookeeper/quotas/a", LIMITS, LIMITS), None);
        assert_eq!(limits_path("/a"), "/zookeeper/quota/a/zookeeper_limits");
    }

    #[test]
    fn hard_limits_come_before_soft_ones() {
        let usage = StatsTrack::new(3, 90);
        let soft = StatsTrack::parse(b"count=3,bytes=100");
        assert_eq!(breaches("/q", &soft, &usage, 10, 0), []);
        let found = breaches("/q", &soft, &usage, 11, 1);
        let text: Vec<String> = found.iter().map(QuotaBreach::to_string).collect();
        let expected = [
            "Quota exceeded: /q [current count=4, softCountLimit=3]",
            "Quota exceeded: /q [current bytes=101, softByteLimit=100]",
        ];
        assert_eq!(text, expected);
        let hard = StatsTrack::parse(b"count=1,bytes=1=;countHardLimit=4;byteHardLimit=95");
        let found = breaches("/q", &hard, &usage, 11, 1);
        assert_eq!(found.len(), 1);
        assert!(found[0].hard && found[0].what == "bytes");
    }
}
