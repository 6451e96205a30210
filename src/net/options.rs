//! Settings of the client front end, with the Java property that each mirrors.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::config::Config;
use crate::pipeline::throttle::{BlueOptions, RequestLimits, Weights};

/// How clients are served.
#[derive(Debug, Clone)]
pub struct Options {
    /// Threads that read, answer and write.
    pub io_threads: usize,
    /// `maxClientCnxns`: connections of one address; 0 for no limit.
    pub max_client_cnxns: usize,
    /// `zookeeper.maxCnxns`: connections in all; 0 for no limit.
    pub max_cnxns: usize,
    /// `zookeeper.clientTcpKeepAlive`.
    pub tcp_keep_alive: bool,
    /// `zookeeper.nio.sessionlessCnxnTimeout`: milliseconds a connection may stay without session.
    pub sessionless_timeout_ms: i64,
    /// `jute.maxbuffer`: the longest request, in bytes.
    pub max_request: usize,
    /// `localSessionsEnabled`: what a new session costs in the connection throttle.
    pub local_sessions: bool,
    /// `zookeeper.connection_throttle_*`.
    pub connection_throttle: BlueOptions,
    pub limits: RequestLimits,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            io_threads: std::thread::available_parallelism().map_or(1, usize::from),
            max_client_cnxns: 60,
            max_cnxns: 0,
            tcp_keep_alive: false,
            sessionless_timeout_ms: 10_000,
            max_request: 0xf_ffff,
            local_sessions: false,
            connection_throttle: BlueOptions::default(),
            limits: RequestLimits::default(),
        }
    }
}

impl Options {
    pub fn from_config(c: &Config) -> Self {
        Self {
            max_client_cnxns: c.max_client_cnxns.max(0) as usize,
            max_cnxns: c.max_cnxns.max(0) as usize,
            tcp_keep_alive: c.client_tcp_keep_alive,
            sessionless_timeout_ms: i64::from(c.sessionless_cnxn_timeout_ms),
            max_request: c.jute_max_buffer as usize,
            local_sessions: c.local_sessions_enabled,
            connection_throttle: blue(c),
            limits: RequestLimits {
                global_outstanding: i64::from(c.global_outstanding_limit) / share_of_voters(c),
                throttle_max_requests: i64::from(c.request_throttle_max_requests),
                throttle_stall_time_ms: i64::from(c.request_throttle_stall_time_ms),
                throttled_op_wait_ms: i64::from(c.throttled_op_wait_time_ms),
                drop_late: c.request_throttle_drop_stale && c.request_stale_latency_check,
                large_threshold: usize::try_from(c.large_request_threshold).ok(),
                large_max_bytes: i64::from(c.large_request_max_bytes),
            },
            ..Self::default()
        }
    }
}

/// By what an ensemble's member divides limits that are meant for the leader's load (C-101).
fn share_of_voters(c: &Config) -> i64 {
    match c.quorum.participants().count() {
        voters if c.distributed && voters > 2 => voters as i64 - 1,
        _ => 1,
    }
}

fn blue(c: &Config) -> BlueOptions {
    // Java: renewing and creating cost at least what a local session costs.
    let local = c.connection_throttle_local_weight;
    let weights = Weights {
        global: c.connection_throttle_global_weight.max(local),
        local,
        renew: c.connection_throttle_renew_weight.max(local),
    };
    BlueOptions {
        tokens: c.connection_throttle_tokens,
        fill_time_ms: c.connection_throttle_fill_time_ms,
        fill_count: c.connection_throttle_fill_count,
        freeze_time_ms: c.connection_throttle_freeze_time_ms,
        drop_increase: c.connection_throttle_drop_increase,
        drop_decrease: c.connection_throttle_drop_decrease,
        decrease_ratio: c.connection_throttle_decrease_ratio,
        weights: c.connection_throttle_weight_enabled.then_some(weights),
    }
}

/// Where to listen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListenAddress {
    pub addr: SocketAddr,
    /// `clientPortListenBacklog`: connections that may wait to be accepted; `None`: ours to choose.
    pub backlog: Option<i32>,
}

impl ListenAddress {
    /// A port of the loopback interface that the system chooses; for tests.
    pub fn any_loopback() -> Self {
        Self { addr: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0), backlog: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Draft, Surroundings};

    fn options(lines: &str) -> Options {
        let text = format!("dataDir=/d\n{lines}");
        let draft = Draft::from_file("zoo.cfg", text.as_bytes(), &[]).unwrap();
        Options::from_config(&draft.finish(&Surroundings::default()).unwrap())
    }

    #[test]
    fn settings_reach_the_limits() {
        let o = options(
            "maxClientCnxns=7\nmaxCnxns=8\nnio.sessionlessCnxnTimeout=9\nclientTcpKeepAlive=true\n\
             globalOutstandingLimit=10\nrequest_throttle_max_requests=11\n\
             request_throttle_stall_time=12\nthrottled_op_wait_time=13\n\
             largeRequestThreshold=14\nlargeRequestMaxBytes=15\n\
             request_stale_latency_check=true\nlocalSessionsEnabled=true\n",
        );
        assert_eq!((o.max_client_cnxns, o.max_cnxns, o.sessionless_timeout_ms), (7, 8, 9));
        assert!(o.tcp_keep_alive && o.local_sessions);
        let limits = RequestLimits {
            global_outstanding: 10,
            throttle_max_requests: 11,
            throttle_stall_time_ms: 12,
            throttled_op_wait_ms: 13,
            drop_late: true,
            large_threshold: Some(14),
            large_max_bytes: 15,
        };
        assert_eq!(o.limits, limits);
        let unlimited = options("maxClientCnxns=0\nmaxCnxns=-1\nlargeRequestThreshold=-1");
        assert_eq!((unlimited.max_client_cnxns, unlimited.max_cnxns), (0, 0));
        assert_eq!(unlimited.limits, RequestLimits::default());
        assert!(
            !options("request_stale_latency_check=true\nrequest_throttle_drop_stale=false")
                .limits
                .drop_late
        );
    }

    #[test]
    fn settings_reach_the_connection_throttle() {
        let o = options(
            "connection_throttle_tokens=1\nconnection_throttle_fill_time=2\n\
             connection_throttle_fill_count=3\nconnection_throttle_freeze_time=4\n\
             connection_throttle_drop_increase=0.5\nconnection_throttle_drop_decrease=0.6\n\
             connection_throttle_decrease_ratio=0.7\nconnection_throttle_weight_enabled=true\n\
             connection_throttle_global_session_weight=1\n\
             connection_throttle_local_session_weight=8\n\
             connection_throttle_renew_session_weight=9\n",
        );
        let expected = BlueOptions {
            tokens: 1,
            fill_time_ms: 2,
            fill_count: 3,
            freeze_time_ms: 4,
            drop_increase: 0.5,
            drop_decrease: 0.6,
            decrease_ratio: 0.7,
            weights: Some(Weights { global: 8, local: 8, renew: 9 }),
        };
        assert_eq!(o.connection_throttle, expected);
        assert_eq!(options("").connection_throttle, BlueOptions::default());
    }
}
