//! Counters and summaries with the Java server's names (A-33 … A-36). Every thread that counts has
//! its own [`ServerMetrics`] shard, so counting is a plain store; a scrape adds the shards up.
//! Java: `server.ServerMetrics`.

use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

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
        total.count += self.count.get();
        total.sum += self.sum.get();
        total.min = total.min.min(self.min.load(Relaxed));
        total.max = total.max.max(self.max.load(Relaxed));
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
    pub count: i64,
    pub sum: i64,
    min: i64,
    max: i64,
    buckets: [i64; BUCKETS],
}

impl Default for SummaryTotal {
    fn default() -> Self {
        Self { count: 0, sum: 0, min: i64::MAX, max: i64::MIN, buckets: [0; BUCKETS] }
    }
}

impl SummaryTotal {
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

    /// The value below which a fraction `q` of the observations lie, within a quarter of a power
    /// of two.
    pub fn quantile(&self, q: f64) -> i64 {
        let rank = (q * self.count as f64).ceil().max(1.0) as i64;
        let mut seen = 0;
        for (i, n) in self.buckets.iter().enumerate() {
            seen += n;
            if seen >= rank {
                return bucket_top(i).clamp(self.min(), self.max());
            }
        }
        self.max()
    }
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
        }

        impl ServerMetrics {
            pub fn reset(&self) {
                $(self.$counter.reset();)*
                $(self.$basic.reset();)*
                $(self.$advanced.reset();)*
            }

            fn add_to(&self, totals: &mut Totals) {
                let mut n = 0;
                $(totals.counters[n].1 += self.$counter.get(); n += 1;)*
                n = 0;
                $(self.$basic.add_to(&mut totals.basic[n].1); n += 1;)*
                n = 0;
                $(self.$advanced.add_to(&mut totals.advanced[n].1); n += 1;)*
                let _ = n;
            }
        }

        impl Default for Totals {
            fn default() -> Self {
                Self {
                    counters: vec![$((stringify!($counter), 0)),*],
                    basic: vec![$((stringify!($basic), SummaryTotal::default())),*],
                    advanced: vec![$((stringify!($advanced), SummaryTotal::default())),*],
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
}

metrics! {
    counters:
        add_dead_watcher_stall_time bytes_received_count cnxn_closed_without_zk_server_running
        commit_count connection_drop_count connection_rejected connection_request_count
        connection_revalidate_count dead_watchers_cleared dead_watchers_queued diff_count
        digest_mismatches_count ensemble_auth_fail ensemble_auth_skip ensemble_auth_success
        insecure_admin_count large_requests_rejected learner_commit_received_count
        learner_proposal_received_count looking_count outstanding_changes_queued
        outstanding_changes_removed prep_processor_request_queued proposal_count
        quit_leading_due_to_disloyal_voter request_commit_queued request_throttle_wait_count
        requests_not_forwarded_to_commit_processor response_bytes response_packet_cache_hits
        response_packet_cache_misses response_packet_get_children_cache_hits
        response_packet_get_children_cache_misses restore_error_count restore_rate_limited_count
        revalidate_count sessionless_connections_expired
        skip_learner_request_to_next_processor_count snap_count snapshot_error_count
        snapshot_rate_limited_count stale_replies stale_requests stale_requests_dropped
        stale_sessions_expired sync_processor_request_queued throttled_ops tls_handshake_exceeded
        unrecoverable_error_count unsuccessful_handshake watch_bytes;
    basic:
        commit_commit_proc_req_queued commit_process_time
        concurrent_request_processing_in_commit_processor connection_token_deficit dbinittime
        election_time follower_sync_time fsynctime inflight_diff_count inflight_snap_count
        leader_unavailable_time learner_request_processor_queue_size
        netty_queued_buffer_capacity node_changed_watch_count node_children_watch_count
        node_created_watch_count node_deleted_watch_count observer_sync_time
        pending_session_queue_size prep_process_time prep_processor_queue_size
        proposal_process_time read_commit_proc_issued read_commit_proc_req_queued
        reads_after_write_in_session_queue reads_issued_from_session_queue
        requests_in_session_queue restore_time session_queues_drained snapshottime
        socket_closing_time startup_snap_load_time startup_txns_load_time startup_txns_loaded
        sync_process_time sync_processor_batch_size sync_processor_queue_size
        time_waiting_empty_pool_in_commit_processor_read_ms unavailable_time
        write_batch_time_in_commit_processor write_commit_proc_issued
        write_commit_proc_req_queued;
    advanced:
        close_session_prep_time commit_propagation_latency dead_watchers_cleaner_latency
        jvm_pause_time_ms local_write_committed_time_ms om_commit_process_time_ms
        om_proposal_process_time_ms prep_processor_queue_time_ms propagation_latency
        proposal_ack_creation_latency proposal_latency quorum_ack_latency
        read_commitproc_time_ms read_final_proc_time_ms readlatency
        request_throttle_queue_time_ms server_write_committed_time_ms
        sync_processor_queue_and_flush_time_ms sync_processor_queue_flush_time_ms
        sync_processor_queue_time_ms updatelatency write_commitproc_time_ms
        write_final_proc_time_ms;
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
        assert_eq!((reads.count, reads.min(), reads.max()), (100, 1, 100));
        assert!((45..=56).contains(&reads.quantile(0.5)), "{}", reads.quantile(0.5));
    }
}
