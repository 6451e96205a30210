//! Deadlines rounded up to buckets, so that keeping something alive is mostly one look-up.
//! Java: `server.ExpiryQueue`.

use std::collections::{BTreeMap, BTreeSet};

use crate::hash::IdMap;
use std::hash::Hash;

/// Things that expire unless they are touched in time. Deadlines are rounded up to a multiple of
/// the interval: real expiry is up to one interval late (C-93).
#[derive(Debug)]
pub struct ExpiryQueue<K> {
    interval: i64,
    deadlines: IdMap<K, i64>,
    buckets: BTreeMap<i64, BTreeSet<K>>,
}

impl<K: Copy + Ord + Hash> ExpiryQueue<K> {
    /// `interval` in ms; Java uses tickTime.
    pub fn new(interval: i64) -> Self {
        assert!(interval > 0, "an expiry interval of {interval} ms");
        Self { interval, deadlines: IdMap::default(), buckets: BTreeMap::new() }
    }

    /// `key` lives for `timeout` ms from `now`; it is added when it is not here.
    pub fn update(&mut self, key: K, timeout: i64, now: i64) {
        let deadline = ((now + timeout) / self.interval + 1) * self.interval;
        match self.deadlines.insert(key, deadline) {
            Some(old) if old == deadline => return,
            Some(old) => self.leave_bucket(old, key),
            None => {}
        }
        self.buckets.entry(deadline).or_default().insert(key);
    }

    pub fn remove(&mut self, key: K) {
        if let Some(deadline) = self.deadlines.remove(&key) {
            self.leave_bucket(deadline, key);
        }
    }

    fn leave_bucket(&mut self, deadline: i64, key: K) {
        if let Some(bucket) = self.buckets.get_mut(&deadline) {
            bucket.remove(&key);
            if bucket.is_empty() {
                self.buckets.remove(&deadline);
            }
        }
    }

    /// Takes out everything whose deadline has come, oldest first.
    pub fn expire(&mut self, now: i64) -> Vec<K> {
        let mut expired = Vec::new();
        while let Some(first) = self.buckets.first_entry().filter(|bucket| *bucket.key() <= now) {
            for key in first.remove() {
                self.deadlines.remove(&key);
                expired.push(key);
            }
        }
        expired
    }

    /// When [`Self::expire`] will next have something to give.
    pub fn next_deadline(&self) -> Option<i64> {
        self.buckets.first_key_value().map(|(deadline, _)| *deadline)
    }

    /// Buckets by deadline.
    pub fn buckets(&self) -> impl Iterator<Item = (i64, &BTreeSet<K>)> {
        self.buckets.iter().map(|(deadline, keys)| (*deadline, keys))
    }

    pub fn len(&self) -> usize {
        self.deadlines.len()
    }

    pub fn is_empty(&self) -> bool {
        self.deadlines.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_are_rounded_up_to_buckets() {
        let mut q = ExpiryQueue::new(2000);
        q.update(1, 4000, 0);
        q.update(2, 4000, 1999);
        q.update(3, 4000, 2000);
        let buckets: Vec<_> = q.buckets().map(|(at, keys)| (at, keys.len())).collect();
        assert_eq!(buckets, [(6000, 2), (8000, 1)]);
        assert_eq!(q.expire(5999), []);
        assert_eq!(q.next_deadline(), Some(6000));
        assert_eq!(q.expire(6000), [1, 2]);
        assert_eq!(q.expire(100_000), [3]);
        assert!(q.is_empty() && q.next_deadline().is_none());
    }

    #[test]
    fn a_touch_moves_the_deadline_and_removal_forgets_it() {
        let mut q = ExpiryQueue::new(10);
        q.update('a', 10, 0);
        q.update('b', 10, 0);
        q.update('a', 10, 15);
        q.remove('b');
        q.remove('c');
        assert_eq!(q.expire(29), []);
        assert_eq!(q.expire(30), ['a']);
    }
}
