//! What an I/O thread lends its connections for one batch of readiness, and what it counts in it.

use std::net::SocketAddr;

use super::options::Options;
use super::stats::NetStats;
use super::view::{ServerView, Serving};
use crate::auth::EnforceAuth;
use crate::metrics::ServerMetrics;
use crate::pipeline::read::ReadView;
use crate::pipeline::throttle::SessionKind;
use crate::pipeline::{ConnId, IoEvent};

/// The words that a new connection may begin with instead of a length. The last is what telnet
/// sends when it hangs up. Java: `FourLetterCommands`.
const FOUR_LETTER_WORDS: [&[u8; 4]; 19] = [
    b"conf",
    b"cons",
    b"crst",
    b"dirs",
    b"dump",
    b"envi",
    b"gtmk",
    b"hash",
    b"isro",
    b"mntr",
    b"ruok",
    b"srst",
    b"srvr",
    b"stat",
    b"stmk",
    b"wchc",
    b"wchp",
    b"wchs",
    b"\xff\xf4\xff\xfd",
];

pub fn is_four_letter_word(word: &[u8; 4]) -> bool {
    FOUR_LETTER_WORDS.contains(&word)
}

/// A four-letter word to be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Word {
    pub conn: ConnId,
    pub peer: SocketAddr,
    pub word: [u8; 4],
    /// What follows `stmk`.
    pub mask: Option<i64>,
}

/// Everything a connection may need while the read lock is held.
pub struct Round<'a> {
    pub options: &'a Options,
    pub server: &'a ServerView,
    pub serving: Serving,
    pub view: ReadView<'a>,
    pub enforce: Option<&'a EnforceAuth>,
    /// Asks the connection throttle.
    pub admit: &'a mut dyn FnMut(SessionKind) -> bool,
    /// When the bytes of this batch were there to be read, ms.
    pub received: i64,
    /// Now, ms.
    pub now: i64,
    /// Requests in process in the whole server.
    pub in_process: i64,
    /// Bytes of the large ones among them.
    pub large_bytes: i64,
    /// For the commit thread.
    pub submit: &'a mut Vec<IoEvent>,
    /// For the admin thread.
    pub words: &'a mut Vec<Word>,
    pub tally: &'a mut Tally,
}

/// Counts of one batch, so that shared counters are touched once a batch.
#[derive(Debug, Default)]
pub struct Tally {
    pub received: i64,
    pub bytes_received: i64,
    pub sent: i64,
    pub watch_bytes: i64,
    pub outstanding: i64,
    pub large_bytes: i64,
    pub dropped: i64,
    pub not_serving: i64,
    pub large_rejected: i64,
    pub rejected: i64,
    pub connects: i64,
    pub revalidations: i64,
    pub throttled: i64,
    pub stale: i64,
    pub auth_failed: i64,
    pub stale_replies: i64,
    responses: i64,
    response_bytes: i64,
    last_response: i64,
    min_response: i64,
    max_response: i64,
    /// Replies of equal latency and kind in a row.
    run: Run,
}

#[derive(Debug, Default)]
struct Run {
    write: bool,
    latency: i64,
    count: i64,
    /// Runs that ended in this batch.
    ended: Vec<(bool, i64, i64)>,
}

impl Tally {
    /// Counts a reply: of a write or not, its latency in ms, its length in bytes.
    pub fn reply(&mut self, write: bool, latency: i64, len: i64) {
        self.sent += 1;
        self.response_bytes += len;
        self.last_response = len;
        self.min_response = if self.responses == 0 { len } else { self.min_response.min(len) };
        self.max_response = self.max_response.max(len);
        self.responses += 1;
        self.latency(write, latency);
    }

    /// Counts how long an answer took, ms.
    pub fn latency(&mut self, write: bool, latency: i64) {
        let run = &mut self.run;
        if (run.write, run.latency) != (write, latency) {
            if run.count > 0 {
                run.ended.push((run.write, run.latency, run.count));
            }
            (run.write, run.latency, run.count) = (write, latency, 0);
        }
        run.count += 1;
    }

    /// Adds everything to the shared counters and starts anew.
    pub fn settle(&mut self, stats: &NetStats, metrics: &ServerMetrics) {
        stats.add_packets(self.received, self.sent);
        stats.add_outstanding(self.outstanding, self.large_bytes);
        stats.add_auth_failed(self.auth_failed);
        if self.responses > 0 {
            stats.add_responses(self.last_response, self.min_response, self.max_response);
        }
        let run = &mut self.run;
        if run.count > 0 {
            run.ended.push((run.write, run.latency, run.count));
            run.count = 0;
        }
        for (write, latency, count) in run.ended.drain(..) {
            stats.latency.add(latency, count);
            let summary = if write { &metrics.updatelatency } else { &metrics.readlatency };
            summary.add_many(latency, count);
        }
        for (counter, n) in [
            (&metrics.bytes_received_count, self.bytes_received),
            (&metrics.response_bytes, self.response_bytes),
            (&metrics.watch_bytes, self.watch_bytes),
            (&metrics.connection_drop_count, self.dropped),
            (&metrics.cnxn_closed_without_zk_server_running, self.not_serving),
            (&metrics.large_requests_rejected, self.large_rejected),
            (&metrics.connection_rejected, self.rejected),
            (&metrics.connection_request_count, self.connects),
            (&metrics.connection_revalidate_count, self.revalidations),
            (&metrics.throttled_ops, self.throttled),
            (&metrics.stale_requests, self.stale),
            (&metrics.stale_requests_dropped, self.stale),
            (&metrics.stale_replies, self.stale_replies),
        ] {
            if n != 0 {
                counter.add(n);
            }
        }
        let ended = std::mem::take(&mut self.run.ended);
        *self = Self { run: Run { ended, ..Run::default() }, ..Self::default() };
    }
}
