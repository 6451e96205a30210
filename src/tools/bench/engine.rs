//! The load generator's event loop: one thread, mio, every connection pipelined.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use super::histogram::Histogram;
use super::link::{Link, Reply};
use super::request::Kind;
use crate::client::conn::{Connection, Hello, greet};

/// Sessions whose handshakes are under way at once: fewer than Java's listen backlog of 50.
const HANDSHAKES: usize = 40;
/// Bytes taken off a socket at once: the largest reply fits.
const SCRATCH: usize = 2 << 20;

/// Where requests come from.
pub trait Workload {
    /// Appends the next request of connection `link` under `xid`. `None`: that was all of them.
    fn next(&mut self, link: usize, xid: i32, out: &mut Vec<u8>) -> Option<Kind>;
}

/// Has nothing to ask: lets what is under way come to its end.
pub struct Silence;

impl Workload for Silence {
    fn next(&mut self, _: usize, _: i32, _: &mut Vec<u8>) -> Option<Kind> {
        None
    }
}

/// What came back.
#[derive(Debug, Default)]
pub struct Totals {
    /// By [`Kind`], successes and failures alike.
    pub latencies: [Histogram; 5],
    /// How many replies carried which error code.
    pub errors: BTreeMap<i32, u64>,
}

impl Totals {
    fn add(&mut self, reply: Reply, now: u64) {
        self.latencies[reply.kind as usize].record(now.saturating_sub(reply.sent_at));
        if reply.err != 0 {
            *self.errors.entry(reply.err).or_default() += 1;
        }
    }

    pub fn ops(&self) -> u64 {
        self.latencies.iter().map(Histogram::count).sum()
    }
}

/// Opens `count` sessions, spread over the servers in turn.
pub fn open_sessions(
    servers: &[SocketAddr],
    count: usize,
    timeout_ms: i32,
) -> io::Result<Vec<Connection>> {
    let (hello, patience) = (Hello::new(timeout_ms), Duration::from_secs(30));
    let mut sessions = Vec::with_capacity(count);
    while sessions.len() < count {
        let batch = HANDSHAKES.min(count - sessions.len());
        let greeted: Vec<_> = (sessions.len()..sessions.len() + batch)
            .map(|i| greet(servers[i % servers.len()], &hello, patience))
            .collect::<io::Result<_>>()?;
        for stream in greeted {
            sessions.push(Connection::welcomed(stream)?);
        }
    }
    Ok(sessions)
}

/// The connections and their loop.
pub struct Engine {
    poll: Poll,
    links: Vec<Link<TcpStream>>,
    outstanding: usize,
    scratch: Vec<u8>,
    epoch: Instant,
    pub totals: Totals,
}

impl Engine {
    pub fn new(sessions: Vec<Connection>, outstanding: usize) -> io::Result<Self> {
        let poll = Poll::new()?;
        let mut links = Vec::with_capacity(sessions.len());
        for (i, session) in sessions.into_iter().enumerate() {
            let stream = session.into_stream();
            stream.set_nonblocking(true)?;
            let mut stream = TcpStream::from_std(stream);
            let interest = Interest::READABLE | Interest::WRITABLE;
            poll.registry().register(&mut stream, Token(i), interest)?;
            links.push(Link::new(stream));
        }
        let (scratch, epoch, totals) = (vec![0; SCRATCH], Instant::now(), Totals::default());
        Ok(Self { poll, links, outstanding, scratch, epoch, totals })
    }

    pub fn links(&self) -> usize {
        self.links.len()
    }

    /// Keeps every connection busy until the deadline, or until all requests are answered and the
    /// workload has no more. Requests under way at the deadline stay so.
    pub fn run(
        &mut self,
        workload: &mut impl Workload,
        deadline: Option<Instant>,
    ) -> io::Result<()> {
        for i in 0..self.links.len() {
            self.top_up(i, workload)?;
        }
        let mut events = Events::with_capacity(1024);
        while self.links.iter().any(|l| l.in_flight() > 0) {
            let left = deadline.map(|d| d.saturating_duration_since(Instant::now()));
            if left.is_some_and(|d| d.is_zero()) {
                return Ok(());
            }
            match self.poll.poll(&mut events, left) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                result => result?,
            }
            for event in &events {
                self.serve(event.token().0, workload)?;
            }
        }
        Ok(())
    }

    fn now(&self) -> u64 {
        self.epoch.elapsed().as_nanos() as u64
    }

    /// Takes the replies off one connection and sends as many new requests.
    fn serve(&mut self, i: usize, workload: &mut impl Workload) -> io::Result<()> {
        loop {
            let now = self.epoch.elapsed().as_nanos() as u64;
            let totals = &mut self.totals;
            let more = self.links[i].read(&mut self.scratch, |reply| totals.add(reply, now))?;
            self.top_up(i, workload)?;
            if !more {
                return Ok(());
            }
        }
    }

    fn top_up(&mut self, i: usize, workload: &mut impl Workload) -> io::Result<()> {
        let now = self.now();
        let link = &mut self.links[i];
        while link.in_flight() < self.outstanding
            && link.push(now, |xid, out| workload.next(i, xid, out))
        {}
        link.flush()
    }
}
