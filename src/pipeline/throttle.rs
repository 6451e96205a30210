//! When to take no more: of connections (BlueThrottle, K-69), of requests (C-101, C-103), of large
//! ones (C-102). Pure: time and chance are arguments.
//! Java: `BlueThrottle`, `RequestThrottler`, `ZooKeeperServer.shouldThrottle`.

use crate::wire::code;

/// Settings of [`BlueThrottle`], Java's `zookeeper.connection_throttle_*`.
#[derive(Debug, Clone, PartialEq)]
pub struct BlueOptions {
    /// Tokens the bucket holds; 0 switches the throttle off.
    pub tokens: u32,
    /// The bucket gets `fill_count` tokens every `fill_time_ms`.
    pub fill_time_ms: u32,
    pub fill_count: u32,
    /// Milliseconds between two changes of the drop probability; negative: connections are never
    /// dropped by chance.
    pub freeze_time_ms: i32,
    pub drop_increase: f64,
    pub drop_decrease: f64,
    /// Fraction of the bucket that may be missing for the drop probability to sink.
    pub decrease_ratio: f64,
    /// What kinds of session cost; `None`: one token each.
    pub weights: Option<Weights>,
}

/// Tokens that a connection costs, by what it asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Weights {
    pub global: u32,
    pub local: u32,
    pub renew: u32,
}

impl Default for BlueOptions {
    fn default() -> Self {
        Self {
            tokens: 0,
            fill_time_ms: 1,
            fill_count: 1,
            freeze_time_ms: -1,
            drop_increase: 0.02,
            drop_decrease: 0.002,
            decrease_ratio: 0.0,
            weights: None,
        }
    }
}

/// What a connection asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionKind {
    Global,
    Local,
    Renew,
}

/// A token bucket for connections, with a probability of being dropped that rises while the bucket
/// is empty (the BLUE algorithm for active queue management).
#[derive(Debug)]
pub struct BlueThrottle {
    options: BlueOptions,
    max_tokens: i64,
    fill_count: i64,
    tokens: i64,
    last_fill: i64,
    drop: f64,
    last_freeze: i64,
}

impl BlueThrottle {
    pub fn new(options: BlueOptions, now: i64) -> Self {
        // Java: tokens in the configuration are meant for global sessions.
        let scale = options.weights.map_or(1, |w| i64::from(w.global));
        let max_tokens = i64::from(options.tokens) * scale;
        Self {
            max_tokens,
            fill_count: i64::from(options.fill_count) * scale,
            tokens: max_tokens,
            last_fill: now,
            drop: 0.0,
            last_freeze: now,
            options,
        }
    }

    /// Whether a connection may go on. `chance` is uniform in [0, 1).
    pub fn admit(&mut self, kind: SessionKind, now: i64, chance: f64) -> bool {
        if self.max_tokens == 0 {
            return true;
        }
        self.fill(now);
        if self.options.freeze_time_ms >= 0 && self.drops(now, chance) {
            return false;
        }
        let need = match (self.options.weights, kind) {
            (None, _) => 1,
            (Some(w), SessionKind::Global) => i64::from(w.global),
            (Some(w), SessionKind::Local) => i64::from(w.local),
            (Some(w), SessionKind::Renew) => i64::from(w.renew),
        };
        if self.tokens < need {
            return false;
        }
        self.tokens -= need;
        true
    }

    fn fill(&mut self, now: i64) {
        let elapsed = now - self.last_fill;
        let fill_time = i64::from(self.options.fill_time_ms);
        if elapsed > fill_time {
            let refill = elapsed.saturating_mul(self.fill_count) / fill_time.max(1);
            self.tokens = self.tokens.saturating_add(refill).min(self.max_tokens);
            self.last_fill = now;
        }
    }

    fn drops(&mut self, now: i64, chance: f64) -> bool {
        if now - self.last_freeze > i64::from(self.options.freeze_time_ms) {
            let threshold = (self.max_tokens as f64 * self.options.decrease_ratio).round();
            if self.tokens == 0 && self.drop < 1.0 {
                self.drop = (self.drop + self.options.drop_increase).min(1.0);
            } else if self.deficit() as f64 <= threshold && self.drop > 0.0 {
                self.drop = (self.drop - self.options.drop_decrease).max(0.0);
            }
            self.last_freeze = now;
        }
        chance < self.drop
    }

    /// Tokens that are missing from the bucket.
    pub fn deficit(&self) -> i64 {
        self.max_tokens - self.tokens
    }

    /// The gauge `connection_drop_probability`.
    pub fn drop_probability(&self) -> f64 {
        self.drop
    }
}

/// Limits on requests in process, i.e. read from a connection and not answered yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestLimits {
    /// `globalOutstandingLimit`: above it, connections that await an answer are not read (C-101).
    pub global_outstanding: i64,
    /// `request_throttle_max_requests`: from here on nothing new is taken; 0 for no limit (C-103).
    pub throttle_max_requests: i64,
    /// `request_throttle_stall_time`: milliseconds after which the limit is looked at again.
    pub throttle_stall_time_ms: i64,
    /// `throttled_op_wait_time`: a request that waited longer fails with −127; 0 for never.
    pub throttled_op_wait_ms: i64,
    /// `request_throttle_drop_stale` and `request_stale_latency_check`: a request that waited
    /// longer than its session's time-out is not executed any more (C-110).
    pub drop_late: bool,
    /// `largeRequestThreshold`: longer requests, in bytes, are large; `None`: none is (C-102).
    pub large_threshold: Option<usize>,
    /// `largeRequestMaxBytes`: bytes that all large requests in process may take.
    pub large_max_bytes: i64,
}

impl Default for RequestLimits {
    fn default() -> Self {
        Self {
            global_outstanding: 1000,
            throttle_max_requests: 0,
            throttle_stall_time_ms: 100,
            throttled_op_wait_ms: 0,
            drop_late: false,
            large_threshold: None,
            large_max_bytes: 100 * 1024 * 1024,
        }
    }
}

impl RequestLimits {
    /// Whether a connection with `outstanding` unanswered requests is left unread while the whole
    /// server has `in_process`.
    pub fn pauses(&self, in_process: i64, outstanding: usize) -> bool {
        in_process > self.global_outstanding && outstanding > 0
    }

    /// Whether no request at all may enter.
    pub fn stalls(&self, in_process: i64) -> bool {
        self.throttle_max_requests > 0 && in_process >= self.throttle_max_requests
    }

    /// Whether a request that waited so long to enter fails with −127.
    pub fn fails_as_throttled(&self, op: i32, waited_ms: i64) -> bool {
        self.throttled_op_wait_ms > 0
            && waited_ms > self.throttled_op_wait_ms
            && !matches!(op, code::PING | code::CLOSE_SESSION | code::CREATE_SESSION)
    }

    /// Whether a request that waited so long comes too late: its client has given up.
    pub fn is_stale(&self, waited_ms: i64, timeout_ms: i32) -> bool {
        self.drop_late && waited_ms > i64::from(timeout_ms)
    }

    pub fn is_large(&self, len: usize) -> bool {
        self.large_threshold.is_some_and(|threshold| len > threshold)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blue(options: BlueOptions) -> BlueThrottle {
        BlueThrottle::new(options, 0)
    }

    #[test]
    fn no_tokens_means_no_throttle() {
        let mut throttle = blue(BlueOptions::default());
        assert!((0..1000).all(|_| throttle.admit(SessionKind::Global, 0, 0.0)));
        assert_eq!(throttle.deficit(), 0);
    }

    #[test]
    fn the_bucket_empties_and_fills() {
        let mut throttle = blue(BlueOptions {
            tokens: 3,
            fill_time_ms: 100,
            fill_count: 2,
            ..BlueOptions::default()
        });
        let admitted = |throttle: &mut BlueThrottle, now| {
            (0..10).filter(|_| throttle.admit(SessionKind::Global, now, 0.0)).count()
        };
        assert_eq!(admitted(&mut throttle, 0), 3);
        assert_eq!(admitted(&mut throttle, 100), 0, "refill only after more than fill_time");
        assert_eq!(admitted(&mut throttle, 150), 3, "150 ms bring 3 tokens");
        assert_eq!(admitted(&mut throttle, i64::MAX), 3, "never more than the bucket holds");
    }

    #[test]
    fn sessions_have_weights() {
        let weights = Some(Weights { global: 3, local: 1, renew: 2 });
        let mut throttle = blue(BlueOptions { tokens: 2, weights, ..BlueOptions::default() });
        let kinds = [
            (SessionKind::Global, true),
            (SessionKind::Renew, true),
            (SessionKind::Renew, false),
            (SessionKind::Local, true),
            (SessionKind::Local, false),
        ];
        for (kind, admitted) in kinds {
            assert_eq!(throttle.admit(kind, 0, 0.0), admitted, "{kind:?}");
        }
        assert_eq!(throttle.deficit(), 6);
    }

    #[test]
    fn the_drop_probability_rises_while_the_bucket_is_empty() {
        let mut throttle = blue(BlueOptions {
            tokens: 1,
            fill_time_ms: 1000,
            freeze_time_ms: 10,
            drop_increase: 0.4,
            drop_decrease: 0.3,
            ..BlueOptions::default()
        });
        assert!(throttle.admit(SessionKind::Global, 0, 0.0));
        for (now, drop) in [(5, 0.0), (11, 0.4), (15, 0.4), (22, 0.8), (33, 1.0), (44, 1.0)] {
            throttle.admit(SessionKind::Global, now, 0.99);
            assert_eq!(throttle.drop_probability(), drop, "at {now}");
        }
        assert!(!throttle.admit(SessionKind::Global, 2000, 0.5), "full again, dropped by chance");
        assert!(throttle.admit(SessionKind::Global, 2011, 0.99));
        assert!(throttle.drop_probability() < 1.0);
    }

    #[test]
    fn limits_on_requests() {
        let limits = RequestLimits {
            global_outstanding: 10,
            throttle_max_requests: 20,
            throttled_op_wait_ms: 5,
            large_threshold: Some(100),
            ..RequestLimits::default()
        };
        assert!(limits.pauses(11, 1));
        assert!(!limits.pauses(11, 0) && !limits.pauses(10, 5));
        assert!(limits.stalls(20) && !limits.stalls(19));
        assert!(limits.fails_as_throttled(code::CREATE, 6));
        assert!(!limits.fails_as_throttled(code::CREATE, 5));
        assert!(!limits.fails_as_throttled(code::PING, 60));
        let late = RequestLimits { drop_late: true, ..limits.clone() };
        assert!(late.is_stale(4001, 4000) && !late.is_stale(4000, 4000));
        assert!(!limits.is_stale(4001, 4000));
        assert!(limits.is_large(101) && !limits.is_large(100));
        let none = RequestLimits::default();
        assert!(!none.stalls(1 << 40) && !none.is_large(1 << 30));
        assert!(!none.fails_as_throttled(code::CREATE, 1 << 40));
    }
}
