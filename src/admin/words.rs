//! One four-letter word in, its text out; on the admin thread. Java: `CommandExecutor` and the
//! classes of `server.command`.

use std::time::{Duration, Instant};

use super::monitor::{Facts, TreeFacts, mntr, mode};
use super::refusals::Refusals;
use super::{conf, connections, environment, full_version, java_text, sessions};
use crate::net::{Clients, ConnInfo, FourLetter, Serving, Word};
use crate::pipeline::node::Node;
use crate::server::{Insight, host};

/// How long to wait for the I/O threads to tell of their connections.
const PATIENCE: Duration = Duration::from_secs(2);

const NOT_SERVING: &str = "This ZooKeeper instance is not currently serving requests";

/// Java's `ZooTrace` mask at start. Nothing here looks at it; tools may set and read it.
const DEFAULT_TRACE_MASK: i64 = 306;

/// See the module.
pub struct Words {
    insight: Insight,
    trace_mask: i64,
    refusals: Refusals,
    started: Instant,
}

impl FourLetter for Words {
    fn answer(&mut self, asked: &Word, clients: &Clients) -> Vec<u8> {
        // What telnet sends when it hangs up is no text.
        let Ok(name) = std::str::from_utf8(&asked.word) else { return Vec::new() };
        if !self.insight.config.allows_four_letter_word(name) {
            return self.refuse(name, asked).into_bytes();
        }
        log::debug!("Processing {name} command from {}", asked.peer);
        self.text(asked, clients).into_bytes()
    }
}

impl Words {
    pub fn new(insight: Insight) -> Self {
        Self {
            insight,
            trace_mask: DEFAULT_TRACE_MASK,
            refusals: Refusals::default(),
            started: Instant::now(),
        }
    }

    fn refuse(&mut self, name: &str, asked: &Word) -> String {
        let (peer, now) = (asked.peer.ip(), self.started.elapsed().as_millis() as i64);
        if self.refusals.is_news(peer, asked.word, now) {
            log::warn!(
                "refused {name} to {peer}: it is not in 4lw.commands.whitelist \
                 (said once a minute)"
            );
        }
        format!("{name} is not executed because it is not in the whitelist.\n")
    }

    fn text(&mut self, asked: &Word, clients: &Clients) -> String {
        let serving = self.insight.view.serving();
        match &asked.word {
            b"ruok" => "imok".to_owned(),
            b"envi" => environment::envi(),
            b"gtmk" => self.trace_mask.to_string(),
            b"stmk" => {
                self.trace_mask = asked.mask.unwrap_or(self.trace_mask);
                self.trace_mask.to_string()
            }
            b"isro" => match serving {
                Serving::No => "null".to_owned(),
                Serving::ReadOnly => "ro".to_owned(),
                Serving::Yes => "rw".to_owned(),
            },
            b"hash" if serving == Serving::No => NOT_SERVING.to_owned(),
            _ if serving == Serving::No => format!("{NOT_SERVING}\n"),
            word => self.text_of_serving(word, clients),
        }
    }

    fn text_of_serving(&self, word: &[u8; 4], clients: &Clients) -> String {
        let Insight { config, db, .. } = &self.insight;
        match word {
            b"conf" => self.conf(),
            b"cons" => connections::lines(&self.connections(clients), false) + "\n",
            b"crst" => {
                clients.reset_connection_stats();
                "Connection stats reset.\n".to_owned()
            }
            b"srst" => {
                clients.reset_totals();
                self.insight.metrics.reset();
                "Server stats reset.\n".to_owned()
            }
            b"dirs" => conf::dirs(config),
            b"dump" => self.dump(clients),
            b"hash" => {
                let state = db.read();
                let digests = state.tree.digest_log();
                digests.map(|d| format!("{:x}: {}\n", d.zxid, d.digest)).collect()
            }
            b"mntr" => mntr(&self.facts(clients)),
            b"srvr" => stat(&self.facts(clients), None),
            b"stat" => stat(&self.facts(clients), Some(&self.connections(clients))),
            b"wchs" => connections::watch_summary(db.read().watches().summary()),
            b"wchc" | b"wchp" => {
                let watches = connections::watch_list(&db.read().watches());
                let known = self.connections(clients);
                match word {
                    b"wchc" => connections::watches_by_session(watches, &known),
                    _ => connections::watches_by_path(watches, &known),
                }
            }
            _ => String::new(),
        }
    }

    fn connections(&self, clients: &Clients) -> Vec<ConnInfo> {
        clients.inspect(PATIENCE)
    }

    fn conf(&self) -> String {
        let config = &self.insight.config;
        let read_only = self.insight.view.serving() == Serving::ReadOnly;
        let in_force = match config.distributed && !read_only {
            true => self.insight.status.inspect(|node| node.membership()),
            false => None,
        };
        conf::conf(config, in_force.as_deref())
    }

    fn dump(&self, clients: &Clients) -> String {
        let status = &self.insight.status;
        let tracker = match status.inspect(Node::session_dump) {
            Some(Some(dump)) => sessions::tracker(&dump, status.epoch()),
            // The role is changing, or the commit thread does not answer.
            _ => String::new(),
        };
        let ephemerals = sessions::ephemerals(&self.insight.db.read().tree);
        dump(&tracker, &ephemerals, &self.connections(clients))
    }

    /// What `mntr` prints, and whoever else shows the server's state.
    pub fn facts(&self, clients: &Clients) -> Facts {
        let Insight { db, metrics, status, view, .. } = &self.insight;
        Facts {
            serving: view.serving(),
            role: status.role(),
            node: status.inspect(Node::report),
            uptime_ms: status.uptime_ms(),
            now: status.now(),
            net: clients.totals(),
            tree: TreeFacts::of(&db.read()),
            open_files: host::open_files(),
            max_open_files: host::max_open_files(),
            totals: metrics.totals(),
        }
    }
}

/// `dump`.
pub fn dump(tracker: &str, ephemerals: &str, connections: &[ConnInfo]) -> String {
    let connections = connections::expiries(connections);
    format!(
        "SessionTracker dump:\n{tracker}ephemeral nodes dump:\n{ephemerals}\
         Connections dump:\n{connections}"
    )
}

/// `srvr`; with connections, `stat`.
pub fn stat(facts: &Facts, connections: Option<&[ConnInfo]>) -> String {
    let Facts { net, tree, .. } = facts;
    let mode = mode(facts);
    let mut out = format!("Zookeeper version: {}\n", full_version());
    if facts.serving == Serving::ReadOnly {
        out += "READ-ONLY mode; serving only read-only clients\n";
    }
    if let Some(connections) = connections {
        out += &format!("Clients:\n{}\n", connections::lines(connections, true));
    }
    let average = java_text::double(java_text::average(net.avg_latency));
    out += &format!("Latency min/avg/max: {}/{average}/{}\n", net.min_latency, net.max_latency);
    out += &format!("Received: {}\nSent: {}\n", net.packets_received, net.packets_sent);
    out += &format!("Connections: {}\nOutstanding: {}\n", net.connections, net.outstanding);
    out += &format!("Zxid: 0x{:x}\nMode: {mode}\nNode count: {}\n", tree.last_zxid, tree.nodes);
    if mode == "leader" {
        let sizes = facts.totals.proposal_sizes;
        let (last, min, max) = (sizes.last, sizes.min, sizes.max);
        out += &format!("Proposal sizes last/min/max: {last}/{min}/{max}\n");
    }
    out
}
