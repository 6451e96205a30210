//! What the front end counts for `stat`, `cons` and `mntr`. An I/O thread writes its own shard with
//! plain stores; readers add the shards up. Java: `ServerStats`, `BufferStats`, the statistics in
//! `ServerCnxn`.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

use crate::pipeline::ConnId;

/// Minimum, maximum, sum and count.
#[derive(Debug)]
pub struct Latency {
    pub count: AtomicI64,
    pub total: AtomicI64,
    min: AtomicI64,
    max: AtomicI64,
}

impl Default for Latency {
    fn default() -> Self {
        let zero = || AtomicI64::new(0);
        Self { count: zero(), total: zero(), min: AtomicI64::new(i64::MAX), max: zero() }
    }
}

fn bump(value: &AtomicI64, by: i64) {
    value.store(value.load(Relaxed) + by, Relaxed);
}

impl Latency {
    /// The same latency observed `n` times.
    pub fn add(&self, ms: i64, n: i64) {
        bump(&self.count, n);
        bump(&self.total, ms * n);
        if ms < self.min.load(Relaxed) {
            self.min.store(ms, Relaxed);
        }
        if ms > self.max.load(Relaxed) {
            self.max.store(ms, Relaxed);
        }
    }

    fn reset(&self) {
        self.count.store(0, Relaxed);
        self.total.store(0, Relaxed);
        self.min.store(i64::MAX, Relaxed);
        self.max.store(0, Relaxed);
    }
}

/// One I/O thread's share.
#[derive(Debug, Default)]
pub struct NetStats {
    pub packets_received: AtomicI64,
    pub packets_sent: AtomicI64,
    pub latency: Latency,
    /// Requests read and not answered yet.
    pub outstanding: AtomicI64,
    /// Bytes of the large ones among them (C-102).
    pub large_bytes: AtomicI64,
    last_response: AtomicI64,
    min_response: AtomicI64,
    max_response: AtomicI64,
    auth_failed: AtomicI64,
}

impl NetStats {
    pub fn add_packets(&self, received: i64, sent: i64) {
        bump(&self.packets_received, received);
        bump(&self.packets_sent, sent);
    }

    pub fn add_outstanding(&self, n: i64, large_bytes: i64) {
        bump(&self.outstanding, n);
        if large_bytes != 0 {
            bump(&self.large_bytes, large_bytes);
        }
    }

    pub fn add_auth_failed(&self, n: i64) {
        bump(&self.auth_failed, n);
    }

    /// The sizes of responses since the last call, bytes without the length prefix.
    pub fn add_responses(&self, last: i64, min: i64, max: i64) {
        self.last_response.store(last, Relaxed);
        let known = self.min_response.load(Relaxed);
        if known == 0 || min < known {
            self.min_response.store(min, Relaxed);
        }
        if max > self.max_response.load(Relaxed) {
            self.max_response.store(max, Relaxed);
        }
    }

    /// What `srst` does here.
    pub fn reset(&self) {
        let counters = [&self.packets_received, &self.packets_sent];
        let sizes = [&self.last_response, &self.min_response, &self.max_response];
        counters.iter().chain(&sizes).for_each(|v| v.store(0, Relaxed));
        self.latency.reset();
    }
}

/// All shards added up.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct NetTotals {
    pub connections: i64,
    pub packets_received: i64,
    pub packets_sent: i64,
    pub outstanding: i64,
    /// Milliseconds.
    pub min_latency: i64,
    pub avg_latency: f64,
    pub max_latency: i64,
    /// Bytes; −1 when nothing was sent yet.
    pub last_response: i64,
    pub min_response: i64,
    pub max_response: i64,
    pub auth_failed: i64,
    /// The gauge `connection_drop_probability`.
    pub drop_probability: f64,
}

impl NetTotals {
    pub(super) fn of<'a>(shards: impl Iterator<Item = &'a NetStats>) -> Self {
        let mut total =
            Self { last_response: -1, min_response: -1, max_response: -1, ..Self::default() };
        let (mut count, mut sum, mut min) = (0, 0, i64::MAX);
        for shard in shards {
            total.packets_received += shard.packets_received.load(Relaxed);
            total.packets_sent += shard.packets_sent.load(Relaxed);
            total.outstanding += shard.outstanding.load(Relaxed);
            total.auth_failed += shard.auth_failed.load(Relaxed);
            count += shard.latency.count.load(Relaxed);
            sum += shard.latency.total.load(Relaxed);
            min = min.min(shard.latency.min.load(Relaxed));
            total.max_latency = total.max_latency.max(shard.latency.max.load(Relaxed));
            let smallest = shard.min_response.load(Relaxed);
            if smallest > 0 {
                total.last_response = shard.last_response.load(Relaxed);
                total.max_response = total.max_response.max(shard.max_response.load(Relaxed));
                let known = total.min_response;
                total.min_response = if known < 0 { smallest } else { known.min(smallest) };
            }
        }
        if count > 0 {
            total.min_latency = min;
            total.avg_latency = sum as f64 / count as f64;
        }
        total
    }
}

/// One connection as `cons`, `stat` and the admin server show it. Times in milliseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnInfo {
    pub id: ConnId,
    pub peer: SocketAddr,
    /// Java's selection key bits: 1 reads, 4 writes.
    pub interest_ops: u8,
    pub queued: usize,
    pub received: u64,
    pub sent: u64,
    /// 0 when it has none.
    pub session: i64,
    pub last_op: &'static str,
    /// Since 1970.
    pub established: i64,
    /// When the server gives the connection up unless something comes, since 1970.
    pub expires: i64,
    pub timeout_ms: i32,
    pub last_cxid: i64,
    pub last_zxid: i64,
    /// Since the server started.
    pub last_response: i64,
    pub last_latency: i64,
    pub min_latency: i64,
    pub avg_latency: i64,
    pub max_latency: i64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_add_shards_up_and_resets_clear_them() {
        let (a, b) = (NetStats::default(), NetStats::default());
        assert_eq!(NetTotals::of([&a, &b].into_iter()).last_response, -1);
        a.add_packets(3, 2);
        b.add_packets(1, 1);
        a.latency.add(0, 3);
        b.latency.add(4, 1);
        a.add_responses(100, 20, 200);
        let total = NetTotals::of([&a, &b].into_iter());
        assert_eq!((total.packets_received, total.packets_sent), (4, 3));
        assert_eq!((total.min_latency, total.avg_latency, total.max_latency), (0, 1.0, 4));
        let sizes = (total.last_response, total.min_response, total.max_response);
        assert_eq!(sizes, (100, 20, 200));
        a.reset();
        b.reset();
        let total = NetTotals::of([&a, &b].into_iter());
        assert_eq!((total.packets_received, total.max_latency, total.max_response), (0, 0, -1));
    }
}
