//! Accepts on the election addresses and learns who dialled. Whatever a stranger sends or leaves
//! out costs its own connection and, for a bounded time, one of a bounded number of threads.
//! Java: `QuorumCnxManager.Listener`, `receiveConnection`, `handleConnection`.

use std::collections::BTreeSet;
use std::io::{self, Read};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use log::{debug, error, info, warn};
use mio::{Events, Interest, Poll, Token, Waker};

use super::{MeshEvent, Shared, dial, lock, spawn};
use crate::config::{Address, WILDCARD};
use crate::server::sockets;
use crate::wire::election::{ANONYMOUS_OBSERVER, Handshake};

/// Connections that may be in their handshake at a time.
const MAX_HANDSHAKES: usize = 64;
const WAKER: Token = Token(usize::MAX);
/// Between two attempts to bind.
const BIND_PAUSE: Duration = Duration::from_secs(1);

pub(super) struct Listener {
    thread: JoinHandle<()>,
    waker: Arc<Waker>,
    /// Addresses to bind instead of those bound so far.
    wanted: Arc<Mutex<Option<Vec<Address>>>>,
}

impl Listener {
    pub(super) fn start(shared: Arc<Shared>) -> io::Result<Listener> {
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKER)?);
        let wanted = Arc::new(Mutex::new(None));
        let handshakes = Arc::new(AtomicUsize::new(0));
        let mut acceptor = Acceptor { shared, poll, wanted: wanted.clone(), handshakes };
        let builder = std::thread::Builder::new().name("election-listener".into());
        let thread = builder.spawn(move || acceptor.run())?;
        Ok(Listener { thread, waker, wanted })
    }

    pub(super) fn listen_on(&self, addresses: Vec<Address>) -> io::Result<()> {
        *lock(&self.wanted) = Some(addresses);
        self.waker.wake()
    }

    /// Ends the thread; the mesh must be marked closed.
    pub(super) fn stop(self) {
        if let Err(error) = self.waker.wake() {
            return warn!("cannot wake the election listener: {error}");
        }
        // A panic of that thread has been printed by its own hook.
        let _ = self.thread.join();
    }
}

/// A bound socket: one handle to accept from, one registered with the poll.
struct Bound {
    std: TcpListener,
    _mio: mio::net::TcpListener,
}

struct Acceptor {
    shared: Arc<Shared>,
    poll: Poll,
    wanted: Arc<Mutex<Option<Vec<Address>>>>,
    handshakes: Arc<AtomicUsize>,
}

impl Acceptor {
    fn run(&mut self) {
        let mut events = Events::with_capacity(64);
        let mut bound = Vec::new();
        while !self.shared.is_closed() {
            let wanted = lock(&self.wanted).take();
            if let Some(addresses) = wanted {
                // The old ones first: the new may be among them.
                bound.clear();
                match self.bind(&addresses) {
                    Ok(sockets) => bound = sockets,
                    Err(error) => self
                        .shared
                        .emit(MeshEvent::ListenerFailed { error: error.to_string() }, || {
                            self.shared.is_closed()
                        }),
                }
                continue;
            }
            if let Err(error) = self.poll.poll(&mut events, None) {
                if error.kind() != io::ErrorKind::Interrupted {
                    error!("the election listener cannot wait for connections: {error}");
                    std::thread::sleep(BIND_PAUSE);
                }
                continue;
            }
            for event in events.iter() {
                if let Some(socket) = bound.get(event.token().0) {
                    self.accept_all(&socket.std);
                }
            }
        }
    }

    /// Binds every address, trying again each second. Ends early, and empty, when other
    /// addresses are wanted or the mesh closes.
    fn bind(&mut self, addresses: &[Address]) -> io::Result<Vec<Bound>> {
        let attempts = self.shared.config.bind_attempts;
        let mut failed = 0;
        loop {
            match self.try_bind(addresses) {
                Ok(sockets) => return Ok(sockets),
                Err(error) => {
                    failed += 1;
                    error!("cannot listen for elections, attempt {failed}: {error}");
                    if attempts != 0 && failed >= attempts {
                        return Err(error);
                    }
                }
            }
            // The waker interrupts this pause.
            let mut events = Events::with_capacity(1);
            self.poll.poll(&mut events, Some(BIND_PAUSE)).ok();
            if self.shared.is_closed() || lock(&self.wanted).is_some() {
                return Ok(Vec::new());
            }
        }
    }

    /// Binds what can be bound: one address of several that is out of order must not keep the
    /// server out. An error if none can.
    fn try_bind(&self, addresses: &[Address]) -> io::Result<Vec<Bound>> {
        let mut sockets: Vec<Bound> = Vec::new();
        let mut last = io::Error::new(io::ErrorKind::NotFound, "we have no election address");
        for address in self.to_bind(addresses) {
            match self.bind_one(&address, sockets.len()) {
                Ok(bound) => sockets.push(bound),
                Err(error) => {
                    let message = format!("election address {address}: {error}");
                    warn!("{message}");
                    last = io::Error::new(error.kind(), message);
                }
            }
        }
        if sockets.is_empty() { Err(last) } else { Ok(sockets) }
    }

    /// With quorumListenOnAllIPs, the ports on all interfaces; names are not resolved then.
    fn to_bind(&self, addresses: &[Address]) -> Vec<Address> {
        if !self.shared.config.listen_on_all_ips {
            return addresses.to_vec();
        }
        let ports: BTreeSet<u16> = addresses.iter().map(|address| address.port).collect();
        ports.into_iter().map(|port| Address { host: WILDCARD.into(), port }).collect()
    }

    fn bind_one(&self, address: &Address, token: usize) -> io::Result<Bound> {
        let std = sockets::bind(address)?;
        std.set_nonblocking(true)?;
        let mut mio = mio::net::TcpListener::from_std(std.try_clone()?);
        self.poll.registry().register(&mut mio, Token(token), Interest::READABLE)?;
        info!("listening for elections on {}", std.local_addr()?);
        Ok(Bound { std, _mio: mio })
    }

    fn accept_all(&self, socket: &TcpListener) {
        loop {
            let (stream, from) = match socket.accept() {
                Ok(accepted) => accepted,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    // Too many open files, mostly: give the process time to close some.
                    warn!("cannot accept an election connection: {error}");
                    std::thread::sleep(Duration::from_millis(100));
                    if self.shared.is_closed() {
                        return;
                    }
                    continue;
                }
            };
            debug!("election connection from {from}");
            if self.handshakes.fetch_add(1, Ordering::Relaxed) >= MAX_HANDSHAKES {
                self.handshakes.fetch_sub(1, Ordering::Relaxed);
                warn!("{from} refused: {MAX_HANDSHAKES} connections are in their handshake");
                continue;
            }
            let (shared, handshakes) = (self.shared.clone(), self.handshakes.clone());
            let started = spawn(format!("election-from-{from}"), move || {
                if let Err(error) = receive(&shared, stream) {
                    warn!("election connection from {from} closed: {error}");
                }
                handshakes.fetch_sub(1, Ordering::Relaxed);
            });
            if started.is_none() {
                self.handshakes.fetch_sub(1, Ordering::Relaxed);
            }
        }
    }
}

/// A stream whose reads must all be over by a certain time.
struct UntilDeadline<'a> {
    stream: &'a TcpStream,
    deadline: Instant,
}

impl Read for UntilDeadline<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.stream.set_read_timeout(Some(left))?;
        let mut stream = self.stream;
        stream.read(buf)
    }
}

/// Reads who dialled and applies the tie rule: a greater id's connection is the link; to a
/// smaller one we dial back.
fn receive(shared: &Arc<Shared>, stream: TcpStream) -> io::Result<()> {
    dial::set_options(&shared.config, &stream)?;
    let deadline = Instant::now() + shared.config.silence_timeout;
    let handshake = Handshake::read_from(&mut UntilDeadline { stream: &stream, deadline })?;
    stream.set_read_timeout(None)?;
    let sid = match handshake.sid {
        ANONYMOUS_OBSERVER => shared.next_anonymous.fetch_sub(1, Ordering::Relaxed),
        sid => sid,
    };
    if sid == shared.config.sid {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("it claims our own id {sid}: two servers have the same myid"),
        ));
    }
    let peer = shared.peer_or_stranger(sid)?;
    if sid > shared.config.sid {
        peer.offer(stream);
    } else {
        // Nothing more will be read, and nothing of it was meant to be answered.
        let _ = stream.shutdown(Shutdown::Both);
        let addresses =
            handshake.addresses.into_iter().map(|(host, port)| Address { host, port }).collect();
        peer.dial_back(addresses);
    }
    Ok(())
}
