//! What the client front end costs, with a commit thread that only opens sessions. Run by hand:
//! `cargo test --release --test net_load -- --ignored --nocapture --test-threads 1`

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::unbounded;
use ironkeeper::auth::{AuthConfig, Registry};
use ironkeeper::net::{
    Backend, Clients, FourLetter, ListenAddress, NetHandle, Options, ServerView, Serving, Submit,
    Word, bind, start,
};
use ironkeeper::pipeline::read::put_event;
use ironkeeper::pipeline::{ConnId, IoEvent, ToIo};
use ironkeeper::tree::{DataTree, Db, Seed, TreeOptions, Watches};
use ironkeeper::wire::proto::{ConnectRequest, ReadRequest};
use ironkeeper::wire::txn::{CreateTxn, SetDataTxn, Txn, TxnHeader};
use ironkeeper::wire::{Acl, Put, Record, code};

struct Nothing;

impl FourLetter for Nothing {
    fn answer(&mut self, _: &Word, _: &Clients) -> Vec<u8> {
        Vec::new()
    }
}

struct Queue(crossbeam_channel::Sender<Vec<IoEvent>>);

impl Submit for Queue {
    fn submit(&self, batch: Vec<IoEvent>) {
        // The test may be over.
        let _ = self.0.send(batch);
    }
}

const NODES: usize = 1000;

fn server() -> (NetHandle, Arc<Db>) {
    let mut tree = DataTree::new(TreeOptions::default());
    for i in 0..NODES {
        let header = TxnHeader { zxid: i as i64 + 1, op: code::CREATE, ..Default::default() };
        let txn = CreateTxn {
            path: format!("/node{i:08}"),
            data: Some(vec![b'x'; 100].into()),
            acl: Acl::open_unsafe().into(),
            ephemeral: false,
            parent_cversion: -1,
        };
        tree.apply(&header, &Txn::Create(txn), &mut |_| {});
    }
    let db = Arc::new(Db::new(tree, Watches::new(Seed::default())));
    let view = Arc::new(ServerView::new(4000, 1_000_000_000));
    view.set_serving(Serving::Yes);
    let (sender, events) = unbounded();
    let backend = Backend {
        db: Arc::clone(&db),
        auth: Arc::new(Registry::new(&AuthConfig::default()).unwrap()),
        enforce: None,
        view,
        submit: Arc::new(Queue(sender)),
        four_letter: Box::new(Nothing),
        metrics: Arc::default(),
    };
    let options = Options { max_client_cnxns: 0, ..Options::default() };
    let net = start(options, vec![bind(ListenAddress::any_loopback()).unwrap()], backend).unwrap();
    let clients = net.clients().clone();
    thread::spawn(move || {
        let mut session = 0;
        for event in events.iter().flatten() {
            if let IoEvent::Connect { conn, request, .. } = event {
                session += 1;
                let timeout_ms = request.timeout;
                let answer = ToIo::Session { conn, session, timeout_ms, passwd: [0; 16] };
                clients.send(conn.io_thread(), answer);
                clients.wake();
            }
        }
    });
    (net, db)
}

fn frame(payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    frame.put_buffer(Some(payload));
    frame
}

fn read_frame(socket: &mut TcpStream) -> Vec<u8> {
    let mut len = [0; 4];
    socket.read_exact(&mut len).unwrap();
    let mut frame = vec![0; u32::from_be_bytes(len) as usize];
    socket.read_exact(&mut frame).unwrap();
    frame
}

fn connect(addr: SocketAddr) -> TcpStream {
    let mut socket = TcpStream::connect(addr).unwrap();
    socket.set_nodelay(true).unwrap();
    let request = ConnectRequest {
        protocol_version: 0,
        last_zxid_seen: 0,
        timeout: 1_000_000,
        session_id: 0,
        passwd: None,
        read_only: Some(false),
    };
    socket.write_all(&frame(&request.to_bytes())).unwrap();
    assert_eq!(read_frame(&mut socket).len(), 37);
    socket
}

fn get_data(xid: i32, node: usize, watch: bool) -> Vec<u8> {
    let mut payload = Vec::new();
    payload.put_i32(xid);
    payload.put_i32(code::GET_DATA);
    ReadRequest { path: format!("/node{node:08}"), watch }.write(&mut payload);
    frame(&payload)
}

/// CPU time of this process's threads with that prefix: user and system, seconds.
fn cpu_of_threads(prefix: &str) -> (f64, f64) {
    let mut sum = (0.0, 0.0);
    for task in std::fs::read_dir("/proc/self/task").unwrap().flatten() {
        let Ok(stat) = std::fs::read_to_string(task.path().join("stat")) else { continue };
        let (name, rest) = stat.split_once('(').unwrap().1.rsplit_once(')').unwrap();
        if name.starts_with(prefix) {
            let fields: Vec<&str> = rest.split_whitespace().collect();
            // utime and stime, in hundredths of a second.
            sum.0 += fields[11].parse::<f64>().unwrap() / 100.0;
            sum.1 += fields[12].parse::<f64>().unwrap() / 100.0;
        }
    }
    sum
}

/// Time on a processor of this process's threads with that prefix.
fn run_time_of_threads(prefix: &str) -> Duration {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().flatten().map(|task| task.path());
    let ours = tasks.filter(|task| {
        std::fs::read_to_string(task.join("comm")).is_ok_and(|name| name.starts_with(prefix))
    });
    let nanos = ours.filter_map(|task| {
        let stat = std::fs::read_to_string(task.join("schedstat")).ok()?;
        stat.split_whitespace().next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(nanos.sum())
}

fn rss_kb(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
#[ignore = "a measurement"]
fn cpu_per_read() {
    let (net, _db) = server();
    let addr = net.local_addresses()[0];
    let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    const OUTSTANDING: usize = 16;
    let reader = |c: usize| {
        let (stop, done) = (Arc::clone(&stop), Arc::clone(&done));
        thread::spawn(move || {
            let mut socket = connect(addr);
            let mut batch = Vec::new();
            (0..OUTSTANDING).for_each(|i| {
                batch.extend(get_data(1, (c * 61 + i * 7) % NODES, false));
            });
            let mut replies = vec![0; OUTSTANDING * (20 + 4 + 100 + 68)];
            while !stop.load(Relaxed) {
                socket.write_all(&batch).unwrap();
                socket.read_exact(&mut replies).unwrap();
                done.fetch_add(OUTSTANDING as u64, Relaxed);
            }
        })
    };
    let readers: Vec<_> = (0..16).map(reader).collect();
    thread::sleep(Duration::from_millis(500));
    let (before, cpu, begin) = (done.load(Relaxed), cpu_of_threads("io-"), Instant::now());
    thread::sleep(Duration::from_secs(5));
    let (after, cpu_after, took) = (done.load(Relaxed), cpu_of_threads("io-"), begin.elapsed());
    stop.store(true, Relaxed);
    readers.into_iter().for_each(|r| r.join().unwrap());
    let n = (after - before) as f64;
    let (user, system) = ((cpu_after.0 - cpu.0) / n * 1e6, (cpu_after.1 - cpu.1) / n * 1e6);
    println!("{:.0} reads/s", n / took.as_secs_f64());
    println!("CPU per read: {user:.3} µs user + {system:.3} µs system = {:.3} µs", user + system);
    net.shutdown();
}

/// A process of this test that holds connections open until its input ends.
struct Holder(Child);

impl Holder {
    fn start(addr: SocketAddr, connections: usize) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "hold_connections", "--nocapture"])
            .env("HOLD", format!("{addr} {connections}"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = [0; 4096];
        let output = child.stdout.as_mut().unwrap();
        let mut seen = String::new();
        while !seen.contains("holding") {
            let n = output.read(&mut line).unwrap();
            assert!(n > 0, "the holder ended: {seen}");
            seen.push_str(&String::from_utf8_lossy(&line[..n]));
        }
        Self(child)
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

#[test]
#[ignore = "the other half of idle_connections"]
fn hold_connections() {
    let Ok(hold) = std::env::var("HOLD") else { return };
    let (addr, n) = hold.split_once(' ').unwrap();
    let addr = addr.parse().unwrap();
    let held: Vec<_> = (0..n.parse().unwrap()).map(|_| connect(addr)).collect();
    println!("holding");
    let _ = std::io::stdin().read(&mut [0]);
    drop(held);
}

#[test]
#[ignore = "a measurement"]
fn idle_connections() {
    let (net, _db) = server();
    let _one = connect(net.local_addresses()[0]);
    let before = rss_kb(std::process::id());
    const N: usize = 15_000;
    let holder = Holder::start(net.local_addresses()[0], N);
    let after = rss_kb(std::process::id());
    println!("{N} idle connections: {before} kB -> {after} kB");
    println!("{} bytes per connection", (after - before) * 1024 / N as u64);
    drop(holder);
    net.shutdown();
}

#[test]
#[ignore = "a measurement"]
fn watchers_of_one_node() {
    let (net, db) = server();
    const N: usize = 2000;
    let mut sockets: Vec<_> = (0..N).map(|_| connect(net.local_addresses()[0])).collect();
    for round in 0..5 {
        for socket in &mut sockets {
            socket.write_all(&get_data(1, 0, true)).unwrap();
        }
        for socket in &mut sockets {
            read_frame(socket);
        }
        let (begin, cpu) = (Instant::now(), run_time_of_threads("io-"));
        change(&net, &db, NODES as i64 + 1 + round);
        let locked = begin.elapsed();
        for socket in &mut sockets {
            assert_eq!(read_frame(socket)[..4], (-1i32).to_be_bytes());
        }
        let (all, cpu) = (begin.elapsed(), run_time_of_threads("io-") - cpu);
        println!("{N} watchers: {all:?}, write lock {locked:?}, CPU of I/O threads {cpu:?}");
    }
    net.shutdown();
}

/// What the commit thread does for a setData.
fn change(net: &NetHandle, db: &Db, zxid: i64) {
    let mut state = db.write();
    let (tree, watches) = state.split();
    let header = TxnHeader { zxid, op: code::SET_DATA, ..TxnHeader::default() };
    let txn = SetDataTxn { path: "/node00000000".into(), data: None, version: 0 };
    tree.apply(&header, &Txn::SetData(txn), &mut |trigger| {
        let mut conns = vec![Vec::new(); net.clients().io_threads()];
        watches.fire(trigger, |watcher, _, _, _| {
            let conn = ConnId(watcher.0);
            conns[conn.io_thread()].push(conn);
        });
        let mut frame = Vec::new();
        put_event(&mut frame, trigger.kind, trigger.path, zxid);
        let frame: Arc<[u8]> = frame.into();
        for (thread, conns) in conns.into_iter().enumerate() {
            let (frame, acl) = (Arc::clone(&frame), Arc::clone(trigger.acl));
            net.clients().send(thread, ToIo::Event { frame, acl, conns });
        }
        net.clients().wake();
    });
}
