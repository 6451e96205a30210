//! The front end over loopback, with a commit thread that orders nothing but answers.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

use crossbeam_channel::Sender;

use super::*;
use crate::auth::AuthConfig;
use crate::pipeline::read::{put_bare_reply, put_event};
use crate::pipeline::{ClientRequest, CloseReason, ConnId, ReplyEntry};
use crate::tree::{DataTree, Seed, TreeOptions, WatcherId, Watches};
use crate::wire::proto::{ConnectRequest, ConnectResponse, ReadRequest, ReplyHeader};
use crate::wire::txn::{SetDataTxn, Txn, TxnHeader};
use crate::wire::{Acl, EventType, Put, Reader, Record, code};

const PATIENCE: Duration = Duration::from_secs(20);

struct Queue(Sender<Vec<IoEvent>>);

impl Submit for Queue {
    fn submit(&self, batch: Vec<IoEvent>) {
        self.0.send(batch).expect("the test still takes events");
    }
}

struct Words;

impl FourLetter for Words {
    fn answer(&mut self, asked: &Word, clients: &Clients) -> Vec<u8> {
        match &asked.word {
            b"ruok" => b"imok".to_vec(),
            b"stmk" => format!("{}", asked.mask.expect("stmk has a mask")).into_bytes(),
            b"cons" => {
                let all = clients.inspect(PATIENCE);
                all.iter().map(|c| format!("{} {}\n", c.session, c.last_op)).collect::<String>()
            }
            .into_bytes(),
            _ => vec![b'x'; 3 << 20],
        }
    }
}

/// A front end, and what its commit thread would have got.
struct Server {
    net: Option<NetHandle>,
    events: Receiver<Vec<IoEvent>>,
    waiting: std::cell::RefCell<Vec<IoEvent>>,
    db: Arc<Db>,
    view: Arc<ServerView>,
}

fn server(options: Options) -> Server {
    let tree = DataTree::new(TreeOptions::default());
    let db = Arc::new(Db::new(tree, Watches::new(Seed::default())));
    let view = Arc::new(ServerView::new(4000, 40_000));
    view.set_serving(Serving::Yes);
    let (sender, events) = unbounded();
    let backend = Backend {
        db: Arc::clone(&db),
        auth: Arc::new(Registry::new(&AuthConfig::default()).unwrap()),
        enforce: None,
        view: Arc::clone(&view),
        submit: Arc::new(Queue(sender)),
        four_letter: Box::new(Words),
        metrics: Arc::default(),
    };
    let listener = bind(ListenAddress::any_loopback()).unwrap();
    let net = Some(start(options, vec![listener], backend).unwrap());
    Server { net, events, waiting: Default::default(), db, view }
}

impl Server {
    fn net(&self) -> &NetHandle {
        self.net.as_ref().unwrap()
    }

    fn dial(&self) -> Client {
        let socket = TcpStream::connect(self.net().local_addresses()[0]).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Client(socket)
    }

    /// The next event that is no touch.
    fn event(&self) -> IoEvent {
        loop {
            let mut waiting = self.waiting.borrow_mut();
            if waiting.is_empty() {
                *waiting = self.events.recv_timeout(PATIENCE).expect("an event in time");
            }
            match waiting.remove(0) {
                IoEvent::Touch(_) => {}
                event => return event,
            }
        }
    }

    fn request(&self) -> ClientRequest {
        match self.event() {
            IoEvent::Request(request) => request,
            other => panic!("{other:?}"),
        }
    }

    fn send(&self, conn: ConnId, message: ToIo) {
        self.net().clients().send(conn.io_thread(), message);
        self.net().clients().wake();
    }

    /// Answers requests with bare headers of that zxid.
    fn reply(&self, requests: &[&ClientRequest], zxid: i64) {
        requests.iter().for_each(|r| self.send(r.conn, reply_to(r, zxid)));
    }

    /// A client with a session of that id.
    fn client(&self, session: i64) -> (Client, ConnId) {
        let mut client = self.dial();
        client.send(&connect_request(0));
        let conn = match self.event() {
            IoEvent::Connect { conn, request, .. } => {
                assert_eq!((request.session_id, request.timeout), (0, 4000));
                conn
            }
            other => panic!("{other:?}"),
        };
        self.send(conn, ToIo::Session { conn, session, timeout_ms: 4000, passwd: [7; 16] });
        let response: ConnectResponse = Reader::new(&client.frame().unwrap()).record().unwrap();
        assert_eq!((response.session_id, response.timeout), (session, 4000));
        (client, conn)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(net) = self.net.take() {
            net.shutdown();
        }
    }
}

fn reply_to(request: &ClientRequest, zxid: i64) -> ToIo {
    let mut bytes = Vec::new();
    put_bare_reply(&mut bytes, request.xid, zxid, 0);
    let entry = ReplyEntry {
        conn: request.conn,
        slot: request.slot,
        start: 0,
        end: bytes.len() as u32,
        zxid,
        then_close: request.op == code::CLOSE_SESSION,
    };
    ToIo::Replies { bytes, entries: vec![entry] }
}

fn connect_request(last_zxid_seen: i64) -> Vec<u8> {
    ConnectRequest {
        protocol_version: 0,
        last_zxid_seen,
        timeout: 10,
        session_id: 0,
        passwd: Some([0; 16].into()),
        read_only: Some(false),
    }
    .to_bytes()
}

struct Client(TcpStream);

impl Client {
    fn send(&mut self, payload: &[u8]) {
        let mut frame = Vec::new();
        frame.put_buffer(Some(payload));
        self.0.write_all(&frame).unwrap();
    }

    fn request(&mut self, xid: i32, op: i32, body: &[u8]) {
        let mut payload = Vec::new();
        payload.put_i32(xid);
        payload.put_i32(op);
        payload.extend_from_slice(body);
        self.send(&payload);
    }

    /// The next frame; `None` at the end.
    fn frame(&mut self) -> Option<Vec<u8>> {
        let mut len = [0; 4];
        match self.0.read_exact(&mut len) {
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return None,
            Err(e) if e.kind() == io::ErrorKind::ConnectionReset => return None,
            Err(e) => panic!("no frame: {e}"),
        }
        let mut frame = vec![0; u32::from_be_bytes(len) as usize];
        self.0.read_exact(&mut frame).unwrap();
        Some(frame)
    }

    fn header(&mut self) -> ReplyHeader {
        let frame = self.frame().expect("a reply");
        Reader::new(&frame).record().unwrap()
    }

    fn text(&mut self) -> Vec<u8> {
        let mut text = Vec::new();
        self.0.read_to_end(&mut text).unwrap();
        text
    }
}

fn get(path: &str, watch: bool) -> Vec<u8> {
    ReadRequest { path: path.into(), watch }.to_bytes()
}

#[test]
fn a_session_reads_writes_and_closes() {
    let server = server(Options { io_threads: 2, ..Options::default() });
    let (mut client, conn) = server.client(0x100);
    client.request(1, code::GET_DATA, &get("/zookeeper", false));
    assert_eq!(client.header(), ReplyHeader { xid: 1, zxid: 0, err: 0 });
    client.request(-2, code::PING, &[]);
    assert_eq!(client.header().xid, -2);
    client.request(2, code::SET_DATA, b"body");
    client.request(3, code::GET_DATA, &get("/gone", false));
    let write = server.request();
    assert_eq!((write.conn, write.session, write.xid), (conn, 0x100, 2));
    assert_eq!((&write.body[..], &*write.ids[0].scheme), (&b"body"[..], "ip"));
    let read = server.request();
    assert_eq!((read.xid, read.op), (3, code::GET_DATA), "behind a write that is not answered");
    server.reply(&[&write, &read], 9);
    assert_eq!(client.header(), ReplyHeader { xid: 2, zxid: 9, err: 0 });
    assert_eq!(client.header(), ReplyHeader { xid: 3, zxid: 9, err: 0 });
    client.request(3, code::GET_DATA, &get("/gone", false));
    assert_eq!(client.header(), ReplyHeader { xid: 3, zxid: 0, err: -101 });
    client.request(4, code::CLOSE_SESSION, &[]);
    server.reply(&[&server.request()], 10);
    assert_eq!(client.header().xid, 4);
    assert_eq!(client.frame(), None);
    match server.event() {
        IoEvent::Disconnected { conn: gone, session } => assert_eq!((gone, session), (conn, 0x100)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn replies_come_in_order_whatever_the_order_of_answers() {
    let server = server(Options::default());
    let (mut client, _) = server.client(1);
    let ops = [code::CREATE, code::GET_DATA, code::SYNC, code::PING, code::SET_DATA, code::EXISTS];
    for (xid, op) in (1..).zip(ops) {
        client.request(xid, op, &get("/zookeeper", false));
    }
    let requests: Vec<_> = (0..6).map(|_| server.request()).collect();
    assert_eq!(requests.iter().map(|r| r.op).collect::<Vec<_>>(), ops);
    server.reply(&requests.iter().rev().collect::<Vec<_>>(), 5);
    let xids: Vec<i32> = (0..6).map(|_| client.header().xid).collect();
    assert_eq!(xids, [1, 2, 3, 4, 5, 6]);
}

#[test]
fn who_brings_a_reply_writes_it_and_leaves_the_rest_to_the_thread() {
    let server = server(Options { io_threads: 1, ..Options::default() });
    let (mut client, _) = server.client(1);
    client.request(1, code::SET_DATA, b"body");
    let request = server.request();
    // Then the thread has no reason to wake up by itself, until the session's time-out.
    let told = || server.events.recv_timeout(PATIENCE).expect("an event in time");
    while !told().iter().any(|event| matches!(event, IoEvent::Touch(_))) {}
    let Clients { shared, desks } = server.net().clients();
    let (answer, answered) = bounded(1);
    {
        // From here on the thread cannot do anything.
        let mut desk = desks[0].lock().unwrap();
        shared.mailboxes[0].leave(Mail::Commit(reply_to(&request, 7)));
        shared.mailboxes[0].leave(Mail::Probe(answer));
        desk.as_mut().unwrap().answer();
        assert_eq!(client.header(), ReplyHeader { xid: 1, zxid: 7, err: 0 });
        assert!(answered.try_recv().is_err());
    }
    answered.recv_timeout(Duration::from_secs(3)).expect("the thread is told of what is left");
}

#[test]
fn four_letter_words_are_answered_and_the_connection_closed() {
    let server = server(Options { max_client_cnxns: 0, ..Options::default() });
    server.view.set_serving(Serving::No);
    let mask = [b"stmk".as_slice(), &514i64.to_be_bytes()].concat();
    let rows: [(&[u8], &[u8]); 4] =
        [(b"ruok", b"imok"), (b"ruok\r\n", b"imok"), (&mask, b"514"), (b"srvr", &[b'x'; 3 << 20])];
    for half_close in [false, true] {
        for (word, text) in rows {
            let mut client = server.dial();
            client.0.write_all(word).unwrap();
            if half_close {
                client.0.shutdown(Shutdown::Write).unwrap();
            }
            assert!(client.text() == text, "{word:?}");
        }
    }
}

#[test]
fn nobody_is_served_while_the_server_is_not_serving() {
    let server = server(Options::default());
    server.view.set_serving(Serving::No);
    let mut client = server.dial();
    client.send(&connect_request(0));
    assert_eq!(client.frame(), None);
    server.view.set_serving(Serving::ReadOnly);
    let mut client = server.dial();
    client.send(&connect_request(0));
    assert_eq!(client.frame(), None, "the client did not ask for a read-only server");
    server.view.set_serving(Serving::Yes);
    let mut client = server.dial();
    client.send(&connect_request(1));
    assert_eq!(client.frame(), None, "the client has seen more than this server");
    server.client(7);
}

#[test]
fn too_many_connections_of_one_address_are_refused() {
    let server = server(Options { max_client_cnxns: 2, ..Options::default() });
    let (first, _) = server.client(1);
    let _second = server.client(2);
    assert_eq!(server.dial().frame(), None);
    assert_eq!(server.net().clients().totals().connections, 2);
    drop(first);
    assert!(matches!(server.event(), IoEvent::Disconnected { session: 1, .. }));
    server.client(3);
}

#[test]
fn silent_connections_are_closed() {
    let server = server(Options { sessionless_timeout_ms: 100, ..Options::default() });
    assert_eq!(server.dial().frame(), None);
}

#[test]
fn a_message_that_is_too_long_closes_the_connection() {
    let server = server(Options { max_request: 1000, ..Options::default() });
    for len in [-1i32, i32::MIN, 1001, i32::MAX] {
        let (mut client, _) = server.client(1);
        client.0.write_all(&len.to_be_bytes()).unwrap();
        assert_eq!(client.frame(), None, "{len}");
        assert!(matches!(server.event(), IoEvent::Disconnected { .. }));
    }
    let (mut client, _) = server.client(1);
    client.request(1, code::SET_DATA, &[0; 992]);
    assert_eq!(server.request().body.len(), 992);
}

/// A reader that sees a change must have been told of it before.
#[test]
fn events_come_before_reads_that_see_the_change() {
    let server = server(Options::default());
    let (mut client, _) = server.client(1);
    for round in 1..200 {
        client.request(1, code::GET_DATA, &get("/zookeeper", true));
        assert_eq!(client.header().xid, 1);
        // A stream of reads while the change happens.
        for _ in 0..20 {
            client.request(2, code::GET_DATA, &get("/zookeeper", false));
        }
        change_and_notify(&server, round);
        client.request(3, code::PING, &[]);
        let mut told = false;
        loop {
            let frame = client.frame().unwrap();
            let mut r = Reader::new(&frame);
            let header: ReplyHeader = r.record().unwrap();
            match header.xid {
                -1 => told = true,
                2 => assert!(header.zxid < round || told, "read zxid {} untold", header.zxid),
                _ => break,
            }
        }
        assert!(told);
    }
}

/// What the commit thread does: apply and post events under the write lock.
fn change_and_notify(server: &Server, zxid: i64) {
    let mut state = server.db.write();
    let (tree, watches) = state.split();
    let header = TxnHeader { zxid, op: code::SET_DATA, ..TxnHeader::default() };
    let data = SetDataTxn { path: "/zookeeper".into(), data: None, version: 0 };
    tree.apply(&header, &Txn::SetData(data), &mut |trigger| {
        watches.fire(trigger, |watcher, kind, path, acl| {
            let conn = ConnId(watcher.0);
            let mut frame = Vec::new();
            put_event(&mut frame, kind, path, zxid);
            let acl = Arc::clone(acl);
            server.send(conn, ToIo::Event { frame: frame.into(), acl, conns: vec![conn] });
        });
    });
}

#[test]
fn events_are_not_for_those_who_may_not_read() {
    let server = server(Options::default());
    let (mut client, conn) = server.client(1);
    let event = |path: &str, acl: Vec<Acl>| {
        let mut frame = Vec::new();
        put_event(&mut frame, EventType::NodeCreated, path, 3);
        server.send(conn, ToIo::Event { frame: frame.into(), acl: acl.into(), conns: vec![conn] });
    };
    let mut bob = Acl::open_unsafe();
    bob[0].id.scheme = "digest".into();
    event("/secret", bob);
    event("/open", Acl::world(crate::wire::perms::WRITE));
    event("/seen", Acl::open_unsafe());
    let frame = client.frame().unwrap();
    assert!(frame.ends_with(b"/seen"), "{frame:?}");
}

#[test]
fn statistics_of_connections_and_totals() {
    let server = server(Options::default());
    let (mut client, _) = server.client(0x55);
    client.request(1, code::EXISTS, &get("/zookeeper", true));
    client.header();
    let mut cons = server.dial();
    cons.0.write_all(b"cons").unwrap();
    let text = String::from_utf8(cons.text()).unwrap();
    assert!(text.contains("85 EXIS\n") && text.contains("0 NA\n"), "{text}");
    let clients = server.net().clients();
    let info = clients.inspect(PATIENCE).into_iter().find(|c| c.session == 0x55).unwrap();
    assert_eq!((info.received, info.sent, info.last_cxid, info.queued), (2, 2, 1, 0));
    assert_eq!((info.interest_ops, info.timeout_ms), (1, 4000));
    let totals = clients.totals();
    assert_eq!((totals.packets_received, totals.packets_sent, totals.outstanding), (3, 3, 0));
    assert_eq!(totals.last_response, 16 + 68);
    clients.reset_connection_stats();
    clients.reset_totals();
    let info = clients.inspect(PATIENCE).into_iter().find(|c| c.session == 0x55).unwrap();
    assert_eq!((info.received, info.last_cxid, info.last_op), (0, -1, "NA"));
    assert_eq!(clients.totals().packets_sent, 0);
}

#[test]
fn watches_go_with_the_connection() {
    let server = server(Options::default());
    let (mut client, conn) = server.client(1);
    client.request(1, code::GET_DATA, &get("/zookeeper", true));
    client.header();
    let watcher = WatcherId(conn.0);
    let has = || server.db.read().watches().by_watcher().any(|(w, _)| w == watcher);
    assert!(has());
    drop(client);
    assert!(matches!(server.event(), IoEvent::Disconnected { .. }));
    let deadline = Instant::now() + PATIENCE;
    while has() {
        assert!(Instant::now() < deadline, "the watch is still there");
        thread::yield_now();
    }
}

/// Far more than sockets and server hold at a time goes through, in order.
#[test]
fn a_connection_is_read_no_faster_than_it_is_answered() {
    let server = server(Options::default());
    let (mut client, _) = server.client(1);
    let mut writer = Client(client.0.try_clone().unwrap());
    let (body, total) = (vec![0; 100_000], 500);
    let sender = thread::spawn(move || {
        for xid in 1..=total {
            writer.request(xid, code::SYNC, &body);
        }
    });
    let receiver = thread::spawn(move || {
        for xid in 1..=total {
            let frame = client.frame().unwrap();
            assert_eq!((frame.len(), Reader::new(&frame).i32().unwrap()), (100_004, xid));
        }
    });
    for _ in 0..total {
        let request = server.request();
        let outstanding = server.net().clients().totals().outstanding;
        assert!(outstanding <= 100, "{outstanding} requests of 100 kB were taken at once");
        let mut bytes = (request.body.len() as i32 + 4).to_be_bytes().to_vec();
        bytes.put_i32(request.xid);
        bytes.extend_from_slice(&request.body);
        let (conn, slot, end) = (request.conn, request.slot, bytes.len() as u32);
        let entry = ReplyEntry { conn, slot, start: 0, end, zxid: 1, then_close: false };
        server.send(conn, ToIo::Replies { bytes, entries: vec![entry] });
    }
    sender.join().unwrap();
    receiver.join().unwrap();
}

#[test]
fn the_server_closes_connections_that_the_commit_thread_names() {
    let server = server(Options::default());
    let (mut a, conn) = server.client(1);
    let (mut b, _) = server.client(2);
    server.send(conn, ToIo::Close { conn, reason: CloseReason::SessionExpired });
    assert_eq!(a.frame(), None);
    for thread in 0..server.net().clients().io_threads() {
        let reason = CloseReason::NotServing;
        server.net().clients().send(thread, ToIo::CloseAll { reason });
        server.net().clients().wake();
    }
    assert_eq!(b.frame(), None);
}
