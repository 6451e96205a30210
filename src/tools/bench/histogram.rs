//! A histogram of durations with logarithmic buckets: 64 to each power of two, so that a percentile
//! is at most 1.6 % too high. Pure.

/// Buckets to a power of two: 2^6.
const SUB_BITS: u32 = 6;
const SUB: u64 = 1 << SUB_BITS;
/// Values of 2^40 ns (18 minutes) and more share the last bucket.
const MAX_BITS: u32 = 40;
const BUCKETS: usize = ((MAX_BITS - SUB_BITS + 1) as usize) << SUB_BITS;

/// Counts of nanoseconds.
#[derive(Debug, Clone)]
pub struct Histogram {
    counts: Vec<u64>,
    count: u64,
    sum: u64,
    max: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: vec![0; BUCKETS], count: 0, sum: 0, max: 0 }
    }
}

impl Histogram {
    pub fn record(&mut self, ns: u64) {
        self.counts[bucket_of(ns)] += 1;
        self.count += 1;
        self.sum += ns;
        self.max = self.max.max(ns);
    }

    pub fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.counts.iter_mut().zip(&other.counts) {
            *mine += theirs;
        }
        self.count += other.count;
        self.sum += other.sum;
        self.max = self.max.max(other.max);
    }

    pub fn count(&self) -> u64 {
        self.count
    }

    /// The largest value, exactly.
    pub fn max(&self) -> u64 {
        self.max
    }

    /// 0 when nothing was recorded.
    pub fn mean(&self) -> u64 {
        self.sum.checked_div(self.count).unwrap_or(0)
    }

    /// The value that `share` (0 … 1) of all values do not exceed: the top of its bucket, but never
    /// more than the maximum.
    pub fn percentile(&self, share: f64) -> u64 {
        let rank = ((self.count as f64 * share).ceil() as u64).max(1);
        let mut seen = 0;
        for (bucket, n) in self.counts.iter().enumerate() {
            seen += n;
            if seen >= rank {
                return top_of(bucket).min(self.max);
            }
        }
        self.max
    }
}

fn bucket_of(ns: u64) -> usize {
    let ns = ns.min((1 << MAX_BITS) - 1);
    if ns < SUB {
        return ns as usize;
    }
    let shift = 63 - ns.leading_zeros() - SUB_BITS;
    ((u64::from(shift + 1) << SUB_BITS) + ((ns >> shift) & (SUB - 1))) as usize
}

/// The largest value that falls into a bucket.
fn top_of(bucket: usize) -> u64 {
    let (power, sub) = ((bucket as u64) >> SUB_BITS, (bucket as u64) & (SUB - 1));
    if power == 0 {
        return sub;
    }
    ((SUB + sub + 1) << (power - 1)) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_contiguous_and_hold_what_they_say() {
        for bucket in 0..BUCKETS {
            assert_eq!(bucket_of(top_of(bucket)), bucket, "bucket {bucket}");
            if bucket + 1 < BUCKETS {
                assert_eq!(bucket_of(top_of(bucket) + 1), bucket + 1, "after bucket {bucket}");
            }
        }
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn percentiles_are_close_and_never_low() {
        let mut h = Histogram::default();
        (1..=100_000u64).for_each(|v| h.record(v));
        for share in [0.001, 0.5, 0.9, 0.99, 0.999, 1.0] {
            let (exact, got) = (100_000.0 * share, h.percentile(share) as f64);
            assert!(got >= exact && got <= exact * 1.016, "{share}: {got}, exactly {exact}");
        }
        assert_eq!((h.count(), h.max(), h.mean()), (100_000, 100_000, 50_000));
    }

    #[test]
    fn an_empty_histogram_is_all_zero_and_merging_adds() {
        let mut h = Histogram::default();
        assert_eq!((h.percentile(0.5), h.mean(), h.max()), (0, 0, 0));
        let mut other = Histogram::default();
        other.record(7);
        h.merge(&other);
        h.merge(&other);
        assert_eq!((h.percentile(0.99), h.count(), h.mean()), (7, 2, 7));
    }
}
