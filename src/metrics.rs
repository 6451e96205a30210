//! Counters and summaries with the Java server's names (A-33 … A-36). Every thread that counts has
//! its own [`ServerMetrics`] shard, so counting is a plain store; a scrape adds the shards up.
//! Java: `server.ServerMetrics`.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard};

/// Counts up. One writer a shard: a load and a store, no locked instruction.
#[derive(Debug, Default)]
pub struct Counter(AtomicI64);

impl Counter {
    pub fn add(&self, n: i64) {
        self.0.store(self.0.load(Relaxed) + n, Relaxed);
    }

    pub fn get(&self) -> i64 {
        self.0.load(Relaxed)
    }

    pub fn reset(&self) {
        self.0.store(0, Relaxed);
    }
}

/// Buckets of a summary's histogram: powers of two, each split in four.
const BUCKETS: usize = 128;

/// Count, sum, minimum, maximum and a histogram of what was observed.
#[derive(Debug)]
pub struct Summary {
    count: Counter,
    sum: Counter,
    min: AtomicI64,
    max: AtomicI64,
    buckets: [Counter; BUCKETS],
}

impl Default for Summary {
    fn default() -> Self {
        Self {
            count: Counter::default(),
            sum: Counter::default(),
            min: AtomicI64::new(i64::MAX),
            max: AtomicI64::new(i64::MIN),
            buckets: std::array::from_fn(|_| Counter::default()),
        }
    }
}

impl Summary {
    pub fn add(&self, value: i64) {
        self.add_many(value, 1);
    }

    /// The same value observed `n` times.
    pub fn add_many(&self, value: i64, n: i64) {
        self.count.add(n);
        self.sum.add(value * n);
        if value < self.min.load(Relaxed) {
            self.min.store(value, Relaxed);
        }
        if value > self.max.load(Relaxed) {
            self.max.store(value, Relaxed);
        }
        self.buckets[bucket_of(value)].add(n);
    }

    pub fn reset(&self) {
        self.count.reset();
        self.sum.reset();
        self.min.store(i64::MAX, Relaxed);
        self.max.store(i64::MIN, Relaxed);
        self.buckets.iter().for_each(Counter::reset);
    }

    fn add_to(&self, total: &mut SummaryTotal) {
        total.basics.add_all(&Basics {
            count: self.count.get(),
            sum: self.sum.get(),
            min: self.min.load(Relaxed),
            max: self.max.load(Relaxed),
        });
        for (sum, bucket) in total.buckets.iter_mut().zip(&self.buckets) {
            *sum += bucket.get();
        }
    }
}

fn bucket_of(value: i64) -> usize {
    let v = value.max(0) as u64;
    if v < 4 {
        return v as usize;
    }
    let log = 63 - v.leading_zeros() as usize;
    let quarter = (v >> (log - 2)) as usize & 3;
    ((log - 1) * 4 + quarter).min(BUCKETS - 1)
}

/// The largest value that falls into a bucket.
fn bucket_top(bucket: usize) -> i64 {
    if bucket < 4 {
        return bucket as i64;
    }
    let (log, quarter) = (bucket / 4 + 1, bucket % 4);
    ((5 + quarter as i64) << (log - 2)) - 1
}

/// A summary added up over all shards.
#[derive(Debug, Clone)]
pub struct SummaryTotal {
    pub basics: Basics,
    buckets: [i64; BUCKETS],
}

impl Default for SummaryTotal {
    fn default() -> Self {
        Self { basics: Basics::default(), buckets: [0; BUCKETS] }
    }
}

impl SummaryTotal {
    /// The value below which a fraction `q` of the observations lie, within a quarter of a power
    /// of two.
    pub fn quantile(&self, q: f64) -> i64 {
        let rank = (q * self.basics.count as f64).ceil().max(1.0) as i64;
        let mut seen = 0;
        for (i, n) in self.buckets.iter().enumerate() {
            seen += n;
            if seen >= rank {
                return bucket_top(i).clamp(self.basics.min(), self.basics.max());
            }
        }
        self.basics.max()
    }
}

/// Count, sum, minimum and maximum of what was observed, by one thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Basics {
    pub count: i64,
    pub sum: i64,
    min: i64,
    max: i64,
}

impl Default for Basics {
    fn default() -> Self {
        Self { count: 0, sum: 0, min: i64::MAX, max: i64::MIN }
    }
}

impl Basics {
    fn add(&mut self, value: i64) {
        let one = Self { count: 1, sum: value, min: value, max: value };
        self.add_all(&one);
    }

    fn add_all(&mut self, other: &Self) {
        self.count += other.count;
        self.sum += other.sum;
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
    }

    /// 0 when nothing was observed, as Java prints it.
    pub fn min(&self) -> i64 {
        if self.count == 0 { 0 } else { self.min }
    }

    pub fn max(&self) -> i64 {
        if self.count == 0 { 0 } else { self.max }
    }

    pub fn avg(&self) -> f64 {
        if self.count == 0 { 0.0 } else { self.sum as f64 / self.count as f64 }
    }
}

/// Keys of a [`SummarySet`]; values of further keys are not counted, for keys are never forgotten.
const MAX_KEYS: usize = 1_000;

/// Summaries by a key that turns up as the server runs. Java: `AvgMinMaxCounterSet`.
#[derive(Debug, Default)]
pub struct SummarySet(Mutex<BTreeMap<Box<str>, Basics>>);

impl SummarySet {
    pub fn add(&self, key: &str, value: i64) {
        let mut by_key = self.lock();
        if let Some(basics) = by_key.get_mut(key) {
            basics.add(value);
        } else if by_key.len() < MAX_KEYS {
            by_key.entry(key.into()).or_default().add(value);
        }
    }

    /// Adds to the namespace of a path, which is its first component; the root has none.
    pub fn add_to_namespace(&self, path: &str, value: usize) {
        let below_root = path.strip_prefix('/').unwrap_or_default();
        let end = below_root.bytes().position(|b| b == b'/').unwrap_or(below_root.len());
        let namespace = &below_root[..end];
        if !namespace.is_empty() {
            self.add(namespace, value as i64);
        }
    }

    /// Java keeps the keys, too.
    fn reset(&self) {
        self.lock().values_mut().for_each(|basics| *basics = Basics::default());
    }

    fn add_to(&self, total: &mut BTreeMap<Box<str>, Basics>) {
        for (key, basics) in &*self.lock() {
            match total.get_mut(key) {
                Some(sum) => sum.add_all(basics),
                None => _ = total.insert(key.clone(), *basics),
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Box<str>, Basics>> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// The sizes of things sent: the last one, the smallest, the largest. One writer.
/// Java: `BufferStats`.
#[derive(Debug)]
pub struct SizeStats {
    last: AtomicI64,
    min: AtomicI64,
    max: AtomicI64,
}

impl Default for SizeStats {
    fn default() -> Self {
        let none = || AtomicI64::new(-1);
        Self { last: none(), min: none(), max: none() }
    }
}

impl SizeStats {
    pub fn set(&self, bytes: usize) {
        let (bytes, min) = (bytes as i64, self.min.load(Relaxed));
        self.last.store(bytes, Relaxed);
        if min < 0 || bytes < min {
            self.min.store(bytes, Relaxed);
        }
        if bytes > self.max.load(Relaxed) {
            self.max.store(bytes, Relaxed);
        }
    }

    pub fn reset(&self) {
        [&self.last, &self.min, &self.max].iter().for_each(|size| size.store(-1, Relaxed));
    }

    /// Sizes are kept by one thread at most: the others have none.
    fn add_to(&self, total: &mut Sizes) {
        let last = self.last.load(Relaxed);
        if last >= 0 {
            *total = Sizes { last, min: self.min.load(Relaxed), max: self.max.load(Relaxed) };
        }
    }
}

/// Bytes; −1 while there was nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    pub last: i64,
    pub min: i64,
    pub max: i64,
}

/// Declares the metrics: one field each, in the order in which they are printed.
macro_rules! metrics {
    (counters: $($counter:ident)*; basic: $($basic:ident)*; advanced: $($advanced:ident)*;) => {
        /// One thread's share of the server's metrics.
        #[derive(Debug, Default)]
        pub struct ServerMetrics {
            $(pub $counter: Counter,)*
            $(pub $basic: Summary,)*
            $(pub $advanced: Summary,)*
            /// Of the proposals of a leader.
            pub proposal_sizes: SizeStats,
            /// Bytes read and written, by the first component of their paths.
            pub read_per_namespace: SummarySet,
            pub write_per_namespace: SummarySet,
        }

        impl ServerMetrics {
            pub fn reset(&self) {
                $(self.$counter.reset();)*
                $(self.$basic.reset();)*
                $(self.$advanced.reset();)*
                self.proposal_sizes.reset();
                self.read_per_namespace.reset();
                self.write_per_namespace.reset();
            }

            fn add_to(&self, totals: &mut Totals) {
                let mut n = 0;
                $(totals.counters[n].1 += self.$counter.get(); n += 1;)*
                n = 0;
                $(self.$basic.add_to(&mut totals.basic[n].1); n += 1;)*
                n = 0;
                $(self.$advanced.add_to(&mut totals.advanced[n].1); n += 1;)*
                let _ = n;
                self.proposal_sizes.add_to(&mut totals.proposal_sizes);
                self.read_per_namespace.add_to(&mut totals.read_per_namespace);
                self.write_per_namespace.add_to(&mut totals.write_per_namespace);
            }
        }

        impl Default for Totals {
            fn default() -> Self {
                Self {
                    counters: vec![$((stringify!($counter), 0)),*],
                    basic: vec![$((stringify!($basic), SummaryTotal::default())),*],
                    advanced: vec![$((stringify!($advanced), SummaryTotal::default())),*],
                    proposal_sizes: Sizes { last: -1, min: -1, max: -1 },
                    read_per_namespace: BTreeMap::new(),
                    write_per_namespace: BTreeMap::new(),
                }
            }
        }
    };
}

/// All shards added up: names as Java prints them (without `zk_`) and values.
#[derive(Debug)]
pub struct Totals {
    pub counters: Vec<(&'static str, i64)>,
    pub basic: Vec<(&'static str, SummaryTotal)>,
    pub advanced: Vec<(&'static str, SummaryTotal)>,
    /// Of the proposals of a leader.
    pub proposal_sizes: Sizes,
    /// Bytes read and written, by namespace.
    pub read_per_namespace: BTreeMap<Box<str>, Basics>,
    pub write_per_namespace: BTreeMap<Box<str>, Basics>,
}

// Within each kind in the order of the Java server's hash tables, which `mntr` prints and
// operators' fixtures have.
metrics! {
    counters:
        watch_bytes stale_requests_dropped throttled_ops insecure_admin_count
        connection_rejected sessionless_connections_expired dead_watchers_queued
        stale_requests connection_drop_count response_packet_cache_hits bytes_received_count
        add_dead_watcher_stall_time request_throttle_wait_count
        requests_not_forwarded_to_commit_processor response_packet_cache_misses
        prep_processor_request_queued stale_replies response_bytes ensemble_auth_fail
        diff_count connection_revalidate_count quit_leading_due_to_disloyal_voter
        unrecoverable_error_count unsuccessful_handshake commit_count
        outstanding_changes_queued request_commit_queued ensemble_auth_skip
        skip_learner_request_to_next_processor_count proposal_count large_requests_rejected
        outstanding_changes_removed restore_error_count
        cnxn_closed_without_zk_server_running looking_count snapshot_rate_limited_count
        learner_proposal_received_count digest_mismatches_count dead_watchers_cleared
        ensemble_auth_success learner_commit_received_count snapshot_error_count
        connection_request_count response_packet_get_children_cache_misses snap_count
        stale_sessions_expired restore_rate_limited_count
        response_packet_get_children_cache_hits sync_processor_request_queued
        tls_handshake_exceeded revalidate_count;
    basic:
        socket_closing_time proposal_process_time leader_unavailable_time
        node_created_watch_count session_queues_drained write_commit_proc_req_queued
        connection_token_deficit read_commit_proc_req_queued node_deleted_watch_count
        startup_txns_load_time sync_processor_queue_size follower_sync_time
        prep_processor_queue_size fsynctime inflight_snap_count
        reads_issued_from_session_queue restore_time learner_request_processor_queue_size
        snapshottime unavailable_time startup_txns_loaded reads_after_write_in_session_queue
        requests_in_session_queue write_commit_proc_issued prep_process_time
        pending_session_queue_size time_waiting_empty_pool_in_commit_processor_read_ms
        commit_process_time dbinittime inflight_diff_count netty_queued_buffer_capacity
        election_time commit_commit_proc_req_queued sync_processor_batch_size
        node_children_watch_count write_batch_time_in_commit_processor
        read_commit_proc_issued concurrent_request_processing_in_commit_processor
        observer_sync_time node_changed_watch_count sync_process_time startup_snap_load_time;
    advanced:
        prep_processor_queue_time_ms jvm_pause_time_ms close_session_prep_time
        read_commitproc_time_ms updatelatency local_write_committed_time_ms
        request_throttle_queue_time_ms readlatency quorum_ack_latency
        om_commit_process_time_ms read_final_proc_time_ms commit_propagation_latency
        dead_watchers_cleaner_latency write_final_proc_time_ms proposal_ack_creation_latency
        proposal_latency om_proposal_process_time_ms sync_processor_queue_and_flush_time_ms
        propagation_latency server_write_committed_time_ms sync_processor_queue_time_ms
        sync_processor_queue_flush_time_ms write_commitproc_time_ms;
}

/// Every shard of the process.
#[derive(Debug, Default)]
pub struct Registry {
    shards: Mutex<Vec<Arc<ServerMetrics>>>,
}

impl Registry {
    /// A new shard, for one thread to count in.
    pub fn shard(&self) -> Arc<ServerMetrics> {
        let shard = Arc::new(ServerMetrics::default());
        self.lock().push(Arc::clone(&shard));
        shard
    }

    pub fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        self.lock().iter().for_each(|shard| shard.add_to(&mut totals));
        totals
    }

    /// What `srst` does. A count made by another thread at this very moment may survive.
    pub fn reset(&self) {
        self.lock().iter().for_each(|shard| shard.reset());
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Arc<ServerMetrics>>> {
        self.shards.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_cover_all_values_in_order() {
        let mut last = 0;
        for v in [0, 1, 2, 3, 4, 5, 7, 8, 15, 16, 100, 1000, 123_456, 1 << 31] {
            let b = bucket_of(v);
            assert!(b >= last && v <= bucket_top(b), "{v} in bucket {b}");
            last = b;
        }
        assert_eq!(bucket_of(i64::MAX), BUCKETS - 1);
    }

    #[test]
    fn shards_add_up() {
        let registry = Registry::default();
        let (a, b) = (registry.shard(), registry.shard());
        a.snap_count.add(1);
        b.snap_count.add(2);
        (1..=100).for_each(|v| a.readlatency.add(v));
        let totals = registry.totals();
        assert!(totals.counters.contains(&("snap_count", 3)));
        let (_, reads) = totals.advanced.iter().find(|(n, _)| *n == "readlatency").unwrap();
        let basics = reads.basics;
        assert_eq!((basics.count, basics.min(), basics.max()), (100, 1, 100));
        assert!((45..=56).contains(&reads.quantile(0.5)), "{}", reads.quantile(0.5));
    }

    #[test]
    fn namespaces_are_first_components() {
        let registry = Registry::default();
        let (a, b) = (registry.shard(), registry.shard());
        let reads = [("/", 1), ("/app", 2), ("/app/x", 4), ("/zookeeper/quota", 8), ("", 16)];
        reads.iter().for_each(|(path, n)| a.read_per_namespace.add_to_namespace(path, *n));
        b.read_per_namespace.add_to_namespace("/app", 6);
        let totals = registry.totals().read_per_namespace;
        let seen: Vec<_> = totals.iter().map(|(ns, t)| (&**ns, t.count, t.sum, t.max())).collect();
        assert_eq!(seen, [("app", 3, 12, 6), ("zookeeper", 1, 8, 8)]);
        registry.reset();
        let totals = registry.totals().read_per_namespace;
        assert_eq!(totals.get("app"), Some(&Basics::default()));
    }

    #[test]
    fn keys_have_a_limit() {
        let set = SummarySet::default();
        (0..2 * MAX_KEYS).for_each(|i| set.add(&i.to_string(), 1));
        set.add("0", 1);
        let mut all = BTreeMap::new();
        set.add_to(&mut all);
        assert_eq!((all.len(), all["0"].count), (MAX_KEYS, 2));
    }

    #[test]
    fn sizes_of_the_thread_that_has_some() {
        let registry = Registry::default();
        let (_, leader, _) = (registry.shard(), registry.shard(), registry.shard());
        let none = Sizes { last: -1, min: -1, max: -1 };
        assert_eq!(registry.totals().proposal_sizes, none);
        [36, 138, 58].iter().for_each(|size| leader.proposal_sizes.set(*size));
        assert_eq!(registry.totals().proposal_sizes, Sizes { last: 58, min: 36, max: 138 });
        registry.reset();
        assert_eq!(registry.totals().proposal_sizes, none);
    }
}
