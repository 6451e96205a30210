//! What many sessions cost: held idle, or all watching one node.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::bounded;

use super::engine::open_sessions;
use super::histogram::Histogram;
use super::options::Options;
use super::process;
use super::report::Report;
use super::setup;
use crate::client::conn::{Connection, invalid, put_request};
use crate::wire::op::xid;
use crate::wire::proto::{ReadRequest, SetDataRequest};
use crate::wire::{Record, code};

/// How long an event or a reply may take before the run counts as failed.
const PATIENCE: Duration = Duration::from_secs(30);

/// Opens sessions and holds them with pings; reports what they added to the servers' memory.
pub fn idle(options: &Options) -> io::Result<Report> {
    let rss_before = process::rss_kb(&options.pids)? as f64;
    let start = Instant::now();
    let sessions = open_sessions(&options.servers, options.sessions, options.session_timeout)?;
    let seconds = start.elapsed().as_secs_f64();
    let cpu_before = process::cpu_us(&options.pids)?;
    let streams: Vec<_> = sessions.into_iter().map(Connection::into_stream).collect();
    hold(&streams, options.duration, Duration::from_millis(options.session_timeout as u64 / 3))?;
    let mut report = Report::default();
    report.figure("sessions", streams.len() as f64);
    report.figure("open_per_s", streams.len() as f64 / seconds);
    if !options.pids.is_empty() {
        let added = process::rss_kb(&options.pids)? as f64 - rss_before;
        report.figure("server_added_rss_mb", added / 1024.0);
        let cpu = (process::cpu_us(&options.pids)? - cpu_before) as f64;
        report.figure("server_cpu_percent", cpu / options.duration.as_micros() as f64 * 100.0);
    }
    Ok(report)
}

/// Pings every session once each `interval` and throws away what comes back.
fn hold(streams: &[TcpStream], duration: Duration, interval: Duration) -> io::Result<()> {
    let end = Instant::now() + duration;
    let mut ping = Vec::new();
    put_request(&mut ping, xid::PING, code::PING, |_| {});
    let mut buf = [0; 4096];
    for stream in streams {
        stream.set_nonblocking(true)?;
    }
    loop {
        for mut stream in streams {
            stream.write_all(&ping)?;
        }
        let left = end.saturating_duration_since(Instant::now());
        thread::sleep(left.min(interval));
        for mut stream in streams {
            match stream.read(&mut buf) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Err(e) if e.kind() != io::ErrorKind::WouldBlock => return Err(e),
                _ => {}
            }
        }
        if left <= interval {
            return Ok(());
        }
    }
}

/// Every session watches one node; a write fires them all. From sending it to the last event.
pub fn watch(options: &Options) -> io::Result<Report> {
    let mut writer = setup::session(options)?;
    let path = format!("{}/watched", options.root);
    setup::create_path_with(&mut writer, &path, b"v")?;
    let mut watchers = open_sessions(&options.servers, options.sessions, options.session_timeout)?;
    for watcher in &watchers {
        watcher.stream().set_read_timeout(Some(PATIENCE))?;
    }
    let (mut to_reply, mut to_last) = (Histogram::default(), Histogram::default());
    for round in 0..options.rounds {
        for watcher in &mut watchers {
            let request = ReadRequest { path: path.clone(), watch: true };
            let (header, _) = watcher.call(code::GET_DATA, |b| request.write(b))?;
            if header.err != 0 {
                return Err(invalid(format!("getData {path}: error {}", header.err)));
            }
        }
        let start = Instant::now();
        let data = Some(Box::from(round.to_be_bytes()));
        let request = SetDataRequest { path: path.clone(), data, version: -1 };
        writer.call(code::SET_DATA, |b| request.write(b))?;
        to_reply.record(start.elapsed().as_nanos() as u64);
        await_packets(watchers.iter().map(Connection::stream))?;
        to_last.record(start.elapsed().as_nanos() as u64);
    }
    let mut report = Report::default();
    report.figure("watchers", options.sessions as f64);
    report.latency("reply", to_reply);
    report.latency("last event", to_last);
    report.latency("bare packets", bare_packets(options.sessions, options.rounds)?);
    Ok(report)
}

/// Waits until a packet has come in on each socket: the only thing under way. One after the other:
/// who waits for all of them need not be woken by each.
fn await_packets<'a>(sockets: impl IntoIterator<Item = &'a TcpStream>) -> io::Result<()> {
    let mut buf = [0; 1024];
    for mut socket in sockets {
        if socket.read(&mut buf)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(())
}

/// What the kernel alone takes for it: packets as long as an event, each over a socket of its own,
/// sent by two threads. From the first to the last.
fn bare_packets(sockets: usize, rounds: usize) -> io::Result<Histogram> {
    const SENDERS: usize = 2;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let (mut from, mut to) = (Vec::new(), Vec::new());
    for _ in 0..sockets {
        let socket = TcpStream::connect(listener.local_addr()?)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        to.push(socket);
        from.push(listener.accept()?.0);
    }
    let mut taken = Histogram::default();
    thread::scope(|scope| {
        let mut senders = Vec::new();
        for share in from.chunks(sockets.div_ceil(SENDERS).max(1)) {
            let (start, started) = bounded::<()>(1);
            senders.push(start);
            scope.spawn(move || {
                for () in started {
                    // Who misses his packet loses patience.
                    share.iter().for_each(|mut socket| drop(socket.write(&[0; 60])));
                }
            });
        }
        for _ in 0..rounds {
            let begin = Instant::now();
            for start in &senders {
                // It ends only with this loop.
                let _ = start.send(());
            }
            await_packets(&to)?;
            taken.record(begin.elapsed().as_nanos() as u64);
        }
        Ok(taken)
    })
}
