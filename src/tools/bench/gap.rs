//! Fail-over as a client feels it: one client writes without pause, goes to the next server when
//! its own is lost, and reports the longest time between two acknowledged writes.

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use super::histogram::Histogram;
use super::options::Options;
use super::report::Report;
use super::setup;
use crate::client::conn::{Connection, Hello};
use crate::wire::proto::SetDataRequest;
use crate::wire::{ErrorCode, Record, code};

/// Pause after every server of the list has refused.
const RETRY: Duration = Duration::from_millis(1);
/// How long a server may leave a request or a handshake unanswered before it counts as lost.
const PATIENCE: Duration = Duration::from_secs(5);

/// One client that keeps its session alive over whichever server answers.
struct Wanderer<'a> {
    options: &'a Options,
    hello: Hello,
    connection: Option<Connection>,
    /// Index of the server tried last.
    server: usize,
    reconnects: u32,
    sessions_lost: u32,
}

impl Wanderer<'_> {
    /// Writes once; an error means that the connection is lost.
    fn write(&mut self, path: &str) -> io::Result<bool> {
        let Some(connection) = &mut self.connection else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        let data = Some(vec![b'v'; self.options.value_size].into());
        let request = SetDataRequest { path: path.into(), data, version: -1 };
        let (header, _) = connection.call(code::SET_DATA, |b| request.write(b))?;
        self.hello.last_zxid_seen = self.hello.last_zxid_seen.max(header.zxid);
        Ok(header.err == ErrorCode::Ok.code())
    }

    /// Tries the next server of the list.
    fn connect(&mut self) {
        self.server += 1;
        if self.server.is_multiple_of(self.options.servers.len()) {
            thread::sleep(RETRY);
        }
        let addr = self.options.servers[self.server % self.options.servers.len()];
        let Ok(connection) = Connection::open(addr, &self.hello, PATIENCE) else { return };
        let granted = connection.hello();
        if granted.timeout == 0 {
            self.sessions_lost += 1;
            (self.hello.session_id, self.hello.passwd) = (0, [0; 16]);
            return;
        }
        (self.hello.session_id, self.hello.passwd) = (granted.session_id, granted.passwd);
        self.reconnects += 1;
        self.connection = Some(connection);
    }
}

/// Writes for `--duration` and reports the gaps.
pub fn gap(options: &Options) -> io::Result<Report> {
    let path = format!("{}/gap", options.root);
    setup::create_path(options, &path)?;
    let hello = Hello::new(options.session_timeout);
    let (server, reconnects, sessions_lost) = (options.servers.len() - 1, 0, 0);
    let mut client =
        Wanderer { options, hello, connection: None, server, reconnects, sessions_lost };
    client.connect();
    let (start, mut last) = (Instant::now(), Instant::now());
    let (mut gaps, mut refused) = (Histogram::default(), 0u32);
    while start.elapsed() < options.duration {
        match client.write(&path) {
            Ok(true) => {
                gaps.record(last.elapsed().as_nanos() as u64);
                last = Instant::now();
            }
            Ok(false) => refused += 1,
            Err(_) => client.connect(),
        }
    }
    // What was still missing at the end counts too.
    gaps.record(last.elapsed().as_nanos() as u64);
    let mut report = Report::default();
    report.figure("acknowledged", (gaps.count() - 1) as f64);
    report.figure("refused", f64::from(refused));
    report.figure("reconnects", f64::from(client.reconnects.saturating_sub(1)));
    report.figure("sessions_lost", f64::from(client.sessions_lost));
    report.figure("longest_gap_ms", gaps.max() as f64 / 1e6);
    report.latency("gap", gaps);
    Ok(report)
}
