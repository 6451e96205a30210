//! The client front end: an acceptor thread, and I/O threads that each own a share of the
//! connections, answer reads themselves and hand writes to the commit thread. Knows nothing of what
//! a write does. Java: `NIOServerCnxnFactory`, `NIOServerCnxn`, and of `ZooKeeperServer` what
//! concerns connections.

mod acceptor;
mod connection;
mod desk;
mod fleet;
mod io_thread;
mod mail;
mod options;
mod round;
mod stats;
mod transport;
mod view;

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use mio::{Poll, Waker};

pub use acceptor::{Door, bind};
pub use options::{ListenAddress, Options};
pub use round::Word;
pub use stats::{ConnInfo, NetTotals};
pub use view::{ServerView, Serving};

use crate::auth::{EnforceAuth, Registry};
use crate::mailbox::{self, UNBOUNDED, mailbox};
use crate::metrics::{self, ServerMetrics};
use crate::pipeline::throttle::{BlueThrottle, SessionKind};
use crate::pipeline::{IoEvent, ToIo};
use crate::tree::Db;
use acceptor::{Acceptor, Counts};
use desk::Desk;
use io_thread::SharedDesk;
use mail::Mail;
use stats::NetStats;

/// Four-letter words that may wait for the admin thread; more are refused.
const MAX_WAITING_WORDS: usize = 256;

/// Where I/O threads put what the commit thread must order. May block while its queue is full.
pub trait Submit: Send + Sync {
    fn submit(&self, batch: Vec<IoEvent>);
}

/// Answers four-letter words (A-1 …), on a thread of its own.
pub trait FourLetter: Send {
    /// The text for a word, or nothing to close at once.
    fn answer(&mut self, asked: &Word, clients: &Clients) -> Vec<u8>;
}

/// What the front end needs of the rest of the server.
pub struct Backend {
    pub db: Arc<Db>,
    pub auth: Arc<Registry>,
    pub enforce: Option<EnforceAuth>,
    pub view: Arc<ServerView>,
    pub submit: Arc<dyn Submit>,
    pub four_letter: Box<dyn FourLetter>,
    pub metrics: Arc<metrics::Registry>,
}

/// What all threads of the front end share.
struct Shared {
    options: Options,
    db: Arc<Db>,
    auth: Arc<Registry>,
    enforce: Option<EnforceAuth>,
    view: Arc<ServerView>,
    /// One for each I/O thread.
    mailboxes: Vec<mailbox::Sender<Mail>>,
    /// One for each I/O thread.
    stats: Vec<NetStats>,
    counts: Counts,
    throttle: Throttle,
    started: Instant,
}

impl Shared {
    /// Milliseconds since the front end started.
    fn now(&self) -> i64 {
        self.started.elapsed().as_millis() as i64
    }

    /// Requests read and not answered yet.
    fn in_process(&self) -> i64 {
        self.stats.iter().map(|stats| stats.outstanding.load(Relaxed)).sum()
    }

    fn large_bytes(&self) -> i64 {
        self.stats.iter().map(|stats| stats.large_bytes.load(Relaxed)).sum()
    }
}

/// Milliseconds since 1970.
fn wall_clock() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as i64)
}

/// The connection throttle with its source of chance.
struct Throttle {
    enabled: bool,
    blue: Mutex<(BlueThrottle, RandomState)>,
}

impl Throttle {
    fn new(options: &Options) -> Self {
        let blue = options.connection_throttle.clone();
        Self {
            enabled: blue.tokens > 0,
            blue: Mutex::new((BlueThrottle::new(blue, 0), RandomState::new())),
        }
    }

    fn lock(&self) -> MutexGuard<'_, (BlueThrottle, RandomState)> {
        self.blue.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn admit(&self, kind: SessionKind, now: i64, metrics: &ServerMetrics) -> bool {
        let mut deficit = 0;
        if self.enabled {
            let (blue, random) = &mut *self.lock();
            // 53 random bits make a fraction below 1; the state is not used twice.
            let chance = (random.hash_one(now) >> 11) as f64 / (1u64 << 53) as f64;
            *random = RandomState::new();
            if !blue.admit(kind, now, chance) {
                return false;
            }
            deficit = blue.deficit();
        }
        metrics.connection_token_deficit.add(deficit);
        true
    }
}

/// The way to the connections. Cheap to clone; outlives the threads.
#[derive(Clone)]
pub struct Clients {
    shared: Arc<Shared>,
    /// One for each I/O thread.
    desks: Arc<[SharedDesk]>,
}

impl Clients {
    pub fn io_threads(&self) -> usize {
        self.shared.mailboxes.len()
    }

    /// Leaves a message for an I/O thread; [`Clients::wake`] is to follow. So that can be done
    /// after letting go of the lock that the thread will want.
    pub fn send(&self, io_thread: usize, message: ToIo) {
        self.shared.mailboxes[io_thread].leave(Mail::Commit(message));
    }

    /// Wakes the I/O threads that something has been sent to. A lone reply is written here and now.
    pub fn wake(&self) {
        for (mailbox, desk) in self.shared.mailboxes.iter().zip(&*self.desks) {
            if mailbox.sleeps_on(Mail::is_lone_reply)
                && let Ok(mut desk) = desk.try_lock()
                && let Some(desk) = &mut *desk
            {
                desk.answer();
            }
            mailbox.wake();
        }
    }

    fn post(&self, io_thread: usize, mail: Mail) {
        // A thread that has ended has nobody to tell.
        let _ = self.shared.mailboxes[io_thread].send(mail);
    }

    fn post_all(&self, mail: impl Fn() -> Mail) {
        (0..self.io_threads()).for_each(|i| self.post(i, mail()));
    }

    /// Every connection, as `cons` and `stat` print it. I/O threads that do not answer within
    /// `patience` are left out.
    pub fn inspect(&self, patience: Duration) -> Vec<ConnInfo> {
        let (sender, receiver) = unbounded();
        self.post_all(|| Mail::Inspect(sender.clone()));
        drop(sender);
        let deadline = Instant::now() + patience;
        let mut all = Vec::new();
        while let Ok(mut some) = receiver.recv_deadline(deadline) {
            all.append(&mut some);
        }
        all
    }

    /// Lets an I/O thread answer when it comes by.
    pub fn probe(&self, io_thread: usize, answer: Sender<()>) {
        self.post(io_thread, Mail::Probe(answer));
    }

    pub fn totals(&self) -> NetTotals {
        NetTotals {
            connections: self.shared.counts.total() as i64,
            drop_probability: self.shared.throttle.lock().0.drop_probability(),
            ..NetTotals::of(self.shared.stats.iter())
        }
    }

    /// What `crst` does.
    pub fn reset_connection_stats(&self) {
        self.post_all(|| Mail::ResetConnections);
    }

    /// What `srst` does to the totals; the metrics have a reset of their own.
    pub fn reset_totals(&self) {
        self.shared.stats.iter().for_each(NetStats::reset);
    }
}

/// A running front end.
pub struct NetHandle {
    clients: Clients,
    addresses: Vec<SocketAddr>,
    door: Arc<Door>,
    threads: Vec<JoinHandle<()>>,
}

/// Starts to serve clients at `listeners` (see [`bind`]).
pub fn start(
    options: Options,
    listeners: Vec<TcpListener>,
    backend: Backend,
) -> io::Result<NetHandle> {
    let Backend { db, auth, enforce, view, submit, four_letter, metrics } = backend;
    let addresses = listeners.iter().map(TcpListener::local_addr).collect::<io::Result<_>>()?;
    let polls: Vec<Poll> =
        (0..options.io_threads.max(1)).map(|_| Poll::new()).collect::<io::Result<_>>()?;
    let (mailboxes, letters): (Vec<_>, Vec<_>) = polls
        .iter()
        .map(|poll| Ok(mailbox(UNBOUNDED, Waker::new(poll.registry(), io_thread::WAKE)?)))
        .collect::<io::Result<Vec<_>>>()?
        .into_iter()
        .unzip();
    let shared = Arc::new(Shared {
        db,
        auth,
        enforce,
        view,
        stats: polls.iter().map(|_| NetStats::default()).collect(),
        mailboxes,
        counts: Counts::default(),
        throttle: Throttle::new(&options),
        started: Instant::now(),
        options,
    });
    let (acceptor, door) = Acceptor::new(Arc::clone(&shared), metrics.shard(), listeners)?;
    let (words, asked) = bounded(MAX_WAITING_WORDS);
    let (mut threads, mut desks) = (Vec::new(), Vec::new());
    for (i, (poll, letters)) in polls.into_iter().zip(letters).enumerate() {
        let (shared, submit, words) = (Arc::clone(&shared), Arc::clone(&submit), words.clone());
        let arrivals = (letters, poll.registry().try_clone()?);
        let desk = Desk::new(i, shared, submit, words, metrics.shard(), arrivals);
        let desk: SharedDesk = Arc::new(Mutex::new(Some(desk)));
        desks.push(Arc::clone(&desk));
        threads.push(spawn(format!("io-{i}"), move || io_thread::run(poll, &desk))?);
    }
    let clients = Clients { shared, desks: desks.into() };
    let answers = clients.clone();
    threads.push(spawn("admin".into(), move || answer_words(&asked, four_letter, &answers))?);
    threads.push(spawn("acceptor".into(), move || acceptor.run())?);
    Ok(NetHandle { clients, addresses, door, threads })
}

fn spawn(name: String, run: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    thread::Builder::new().name(name).spawn(run)
}

/// The admin thread: ends with the last I/O thread.
fn answer_words(asked: &Receiver<Word>, mut handler: Box<dyn FourLetter>, clients: &Clients) {
    for word in asked {
        let text = handler.answer(&word, clients);
        clients.post(word.conn.io_thread(), Mail::Text(word.conn, text));
    }
}

impl NetHandle {
    pub fn clients(&self) -> &Clients {
        &self.clients
    }

    pub fn door(&self) -> &Arc<Door> {
        &self.door
    }

    /// Where it listened at first, in the order of the listeners.
    pub fn local_addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Stops accepting, closes every connection and waits for the threads. The commit thread must
    /// still take what is submitted until this returns.
    pub fn shutdown(self) {
        self.door.stop();
        self.clients.post_all(|| Mail::Shutdown);
        for thread in self.threads {
            if thread.join().is_err() {
                log::error!("a thread of the client front end had panicked");
            }
        }
    }
}

#[cfg(test)]
mod tests;
