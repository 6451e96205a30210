//! The thread that accepts connections, counts them, and deals them out to the I/O threads in turn.
//! Java: `NIOServerCnxnFactory.AcceptThread`.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token, Waker};

use super::Shared;
use super::mail::Mail;
use super::options::ListenAddress;
use crate::metrics::ServerMetrics;
use crate::sys;

const WAKE: Token = Token(usize::MAX);
/// How long to wait before trying again when the process has no file left for a connection.
const PAUSE: Duration = Duration::from_millis(10);
/// At most one line about refused connections in so many ms.
const LOG_INTERVAL: i64 = 1000;

/// Connections that may wait to be accepted when the configuration does not say; the system may
/// allow fewer.
const DEFAULT_BACKLOG: i32 = 4096;

/// Opens a listening socket. All interfaces (`[::]`) means IPv4, too; a system without IPv6 gets
/// `0.0.0.0` instead.
pub fn bind(listen: ListenAddress) -> io::Result<std::net::TcpListener> {
    let any_v4 = SocketAddr::from(([0, 0, 0, 0], listen.addr.port()));
    let listener = match std::net::TcpListener::bind(listen.addr) {
        Err(e) if listen.addr.is_ipv6() && listen.addr.ip().is_unspecified() => {
            // Another server on the port is not to be mistaken for a missing IPv6.
            if e.kind() == io::ErrorKind::AddrInUse {
                return Err(e);
            }
            std::net::TcpListener::bind(any_v4)?
        }
        other => other?,
    };
    sys::set_backlog(listener.as_fd(), listen.backlog.unwrap_or(DEFAULT_BACKLOG))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// How many connections there are, in all and by address.
#[derive(Debug, Default)]
pub struct Counts(Mutex<HashMap<IpAddr, usize>>);

impl Counts {
    /// Counts a connection unless there are too many (0: no limit); then says so.
    fn enter(&self, ip: IpAddr, max_per_ip: usize, max: usize) -> Result<(), String> {
        let mut by_ip = self.lock();
        if max > 0 && by_ip.values().sum::<usize>() >= max {
            return Err(format!("Too many connections max allowed is {max}"));
        }
        let here = by_ip.entry(ip).or_default();
        if max_per_ip > 0 && *here >= max_per_ip {
            return Err(format!("Too many connections from /{ip} - max is {max_per_ip}"));
        }
        *here += 1;
        Ok(())
    }

    pub fn leave(&self, ip: IpAddr) {
        let mut by_ip = self.lock();
        if let Some(here) = by_ip.get_mut(&ip) {
            *here -= 1;
            if *here == 0 {
                by_ip.remove(&ip);
            }
        }
    }

    pub fn total(&self) -> usize {
        self.lock().values().sum()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// The way to the acceptor: tells it to listen elsewhere, or to end.
#[derive(Debug)]
pub struct Door {
    stop: AtomicBool,
    elsewhere: Mutex<Option<ListenAddress>>,
    waker: Waker,
}

impl Door {
    pub fn stop(&self) {
        self.stop.store(true, Relaxed);
        self.wake();
    }

    /// New clients are to come to this address instead of the first one; those who are in stay.
    pub fn move_to(&self, address: ListenAddress) {
        *self.elsewhere() = Some(address);
        self.wake();
    }

    fn elsewhere(&self) -> MutexGuard<'_, Option<ListenAddress>> {
        self.elsewhere.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn wake(&self) {
        if let Err(e) = self.waker.wake() {
            log::error!("cannot wake the acceptor: {e}");
        }
    }
}

/// See the module.
pub struct Acceptor {
    shared: Arc<Shared>,
    metrics: Arc<ServerMetrics>,
    poll: Poll,
    door: Arc<Door>,
    listeners: Vec<TcpListener>,
    next_thread: usize,
    last_log: i64,
    unlogged: u64,
}

impl Acceptor {
    pub(super) fn new(
        shared: Arc<Shared>,
        metrics: Arc<ServerMetrics>,
        listeners: Vec<std::net::TcpListener>,
    ) -> io::Result<(Self, Arc<Door>)> {
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), WAKE)?;
        let elsewhere = Mutex::default();
        let door = Arc::new(Door { stop: AtomicBool::new(false), elsewhere, waker });
        let mut listeners: Vec<_> = listeners.into_iter().map(TcpListener::from_std).collect();
        for (i, listener) in listeners.iter_mut().enumerate() {
            poll.registry().register(listener, Token(i), Interest::READABLE)?;
        }
        let acceptor = Self {
            shared,
            metrics,
            poll,
            door: Arc::clone(&door),
            listeners,
            next_thread: 0,
            last_log: -LOG_INTERVAL,
            unlogged: 0,
        };
        Ok((acceptor, door))
    }

    pub fn run(mut self) {
        let mut events = Events::with_capacity(16);
        let mut pause = None;
        while !self.door.stop.load(Relaxed) {
            match self.poll.poll(&mut events, pause) {
                Ok(()) => {}
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => panic!("epoll fails on the acceptor: {e}"),
            }
            let elsewhere = self.door.elsewhere().take();
            if let Some(address) = elsewhere {
                self.move_to(address);
            }
            pause = None;
            for listener in 0..self.listeners.len() {
                if !self.accept(listener) {
                    pause = Some(PAUSE);
                }
            }
        }
    }

    /// The old port is closed first: the new one may be the same at another interface.
    fn move_to(&mut self, address: ListenAddress) {
        if !self.listeners.is_empty() {
            self.listeners.remove(0);
        }
        let moved = bind(address).and_then(|listener| {
            let mut listener = TcpListener::from_std(listener);
            self.poll.registry().register(&mut listener, Token(0), Interest::READABLE)?;
            self.listeners.insert(0, listener);
            Ok(())
        });
        match moved {
            Ok(()) => log::info!("binding to port {}", address.addr),
            Err(e) => log::error!("Error reconfiguring client port to {}: {e}", address.addr),
        }
    }

    /// Accepts all that wait at a listener; false if it could not and must be tried again.
    fn accept(&mut self, listener: usize) -> bool {
        loop {
            match self.listeners[listener].accept() {
                Ok((socket, peer)) => self.take(socket, peer),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return true,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                // The client gave up while it waited.
                Err(e) if e.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(e) => {
                    self.complain(&e.to_string());
                    return false;
                }
            }
        }
    }

    fn take(&mut self, socket: TcpStream, peer: SocketAddr) {
        let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
        let options = &self.shared.options;
        let limits = (options.max_client_cnxns, options.max_cnxns);
        if let Err(why) = self.shared.counts.enter(peer.ip(), limits.0, limits.1) {
            // Nobody is to wait for what this one may still send.
            if let Err(e) = sys::reset_on_close(socket.as_fd()) {
                log::warn!("{peer}: cannot set linger to 0: {e}");
            }
            return self.complain(&why);
        }
        log::debug!("Accepted socket connection from {peer}");
        let mailboxes = &self.shared.mailboxes;
        self.next_thread = (self.next_thread + 1) % mailboxes.len();
        // A thread that has ended closes the connection, as it would have done itself.
        let _ = mailboxes[self.next_thread].send(Mail::Accepted(socket, peer));
    }

    fn complain(&mut self, why: &str) {
        self.metrics.connection_rejected.add(1);
        self.unlogged += 1;
        let now = self.shared.now();
        if now - self.last_log >= LOG_INTERVAL {
            let more = match self.unlogged {
                1 => String::new(),
                n => format!(" ({n} since the last such line)"),
            };
            log::warn!("Error accepting new connection: {why}{more}");
            self.last_log = now;
            self.unlogged = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_counted_by_address_and_in_all() {
        let counts = Counts::default();
        let (a, b) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        assert_eq!(counts.enter(a, 2, 3), Ok(()));
        assert_eq!(counts.enter(a, 2, 3), Ok(()));
        let refused = counts.enter(a, 2, 3).unwrap_err();
        assert_eq!(refused, "Too many connections from /10.0.0.1 - max is 2");
        assert_eq!(counts.enter(b, 2, 3), Ok(()));
        let refused = counts.enter(b, 2, 3).unwrap_err();
        assert_eq!(refused, "Too many connections max allowed is 3");
        counts.leave(a);
        assert_eq!(counts.enter(b, 2, 3), Ok(()));
        assert_eq!(counts.total(), 3);
        assert_eq!(counts.enter(b, 0, 0), Ok(()));
    }
}
