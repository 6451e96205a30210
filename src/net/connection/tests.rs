//! The state machine alone: what bytes do, whatever way they are cut.

use super::*;
use crate::auth::{AuthConfig, EnforceAuth, Registry};
use crate::net::view::ServerView;
use crate::pipeline::read::ReadView;
use crate::pipeline::throttle::RequestLimits;
use crate::tree::{DataTree, Db, Seed, TreeOptions, Watches};
use crate::wire::proto::{PathRequest, ReadRequest, ReplyHeader};

/// A connection and everything around it.
struct World {
    db: Db,
    auth: Registry,
    options: Options,
    server: ServerView,
    serving: Serving,
    enforce: Option<EnforceAuth>,
    admits: bool,
    in_process: i64,
    now: i64,
    submitted: Vec<IoEvent>,
    words: Vec<Word>,
    tally: Tally,
    conn: Connection,
}

impl World {
    fn new() -> Self {
        let tree = DataTree::new(TreeOptions::default());
        Self {
            db: Db::new(tree, Watches::new(Seed::default())),
            auth: Registry::new(&AuthConfig::default()).unwrap(),
            options: Options { max_request: 1000, ..Options::default() },
            server: ServerView::new(100, 1000),
            serving: Serving::Yes,
            enforce: None,
            admits: true,
            in_process: 0,
            now: 5,
            submitted: Vec::new(),
            words: Vec::new(),
            tally: Tally::default(),
            conn: Connection::new(ConnId(1), "10.1.2.3:4".parse().unwrap(), 0),
        }
    }

    /// With a session.
    fn open() -> Self {
        let mut world = Self::new();
        world.feed(&frame(&connect_request().to_bytes()));
        world.with(|conn, round| conn.session_ready(9, 500, [1; 16], round));
        assert_eq!(world.sent().len(), 1);
        world.submitted.clear();
        world
    }

    fn with<R>(&mut self, f: impl FnOnce(&mut Connection, &mut Round<'_>) -> R) -> R {
        let state = self.db.read();
        let admits = self.admits;
        let mut round = Round {
            options: &self.options,
            server: &self.server,
            serving: self.serving,
            view: ReadView { state: &state, auth: &self.auth, reads: &Default::default() },
            enforce: self.enforce.as_ref(),
            admit: &mut |_| admits,
            received: self.now,
            now: self.now,
            in_process: self.in_process,
            large_bytes: 0,
            submit: &mut self.submitted,
            words: &mut self.words,
            tally: &mut self.tally,
        };
        let result = f(&mut self.conn, &mut round);
        self.in_process = round.in_process;
        result
    }

    fn feed(&mut self, bytes: &[u8]) {
        self.with(|conn, round| conn.feed(bytes, round));
    }

    fn request(&mut self, xid: i32, op: i32, body: &[u8]) {
        self.feed(&request(xid, op, body));
    }

    /// Answers the n-th request submitted.
    fn complete(&mut self, n: usize, then_close: bool) {
        let IoEvent::Request(request) = &self.submitted[n] else { panic!("no request") };
        let mut frame = Vec::new();
        put_bare_reply(&mut frame, request.xid, 70, 0);
        let (conn, slot) = (request.conn, request.slot);
        let entry = ReplyEntry { conn, slot, start: 0, end: 20, zxid: 70, then_close };
        self.with(|conn, round| conn.complete(&entry, &frame, round));
    }

    /// The frames sent since the last call, the socket taking everything.
    fn sent(&mut self) -> Vec<Vec<u8>> {
        let bytes = self.conn.unsent().to_vec();
        self.conn.took(bytes.len());
        let mut r = Reader::new(&bytes);
        let mut frames = Vec::new();
        while !r.is_empty() {
            frames.push(r.buffer().unwrap().unwrap().to_vec());
        }
        frames
    }

    fn replies(&mut self) -> Vec<(i32, i64, i32)> {
        let header = |frame: &Vec<u8>| Reader::new(frame).record::<ReplyHeader>().unwrap();
        self.sent().iter().map(header).map(|h| (h.xid, h.zxid, h.err)).collect()
    }
}

fn frame(payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    frame.put_buffer(Some(payload));
    frame
}

fn request(xid: i32, op: i32, body: &[u8]) -> Vec<u8> {
    let mut payload = Vec::new();
    payload.put_i32(xid);
    payload.put_i32(op);
    payload.extend_from_slice(body);
    frame(&payload)
}

fn connect_request() -> ConnectRequest {
    ConnectRequest {
        protocol_version: 0,
        last_zxid_seen: 0,
        timeout: 5000,
        session_id: 0,
        passwd: Some([0; 16].into()),
        read_only: Some(false),
    }
}

fn get(path: &str) -> Vec<u8> {
    ReadRequest { path: path.into(), watch: false }.to_bytes()
}

#[test]
fn first_bytes_of_a_connection() {
    let connect = frame(&connect_request().to_bytes());
    let rows: [(&[u8], Fate, &str); 12] = [
        (b"", Fate::Alive, ""),
        (b"\0\0\0", Fate::Alive, ""),
        (b"ruo", Fate::Alive, ""),
        (b"ruok\r\n", Fate::Alive, "word"),
        (b"\xff\xf4\xff\xfd", Fate::Alive, "word"),
        (b"stmk\0\0\0\0\0\0\x01", Fate::Alive, ""),
        (b"stmk\0\0\0\0\0\0\x01\x02", Fate::Alive, "word"),
        (b"GET / HTTP/1.1\r\n", Fate::Dead, ""),
        (b"\xff\xff\xff\xff", Fate::Dead, ""),
        (b"\x00\x00\x03\xe9", Fate::Dead, ""),
        (b"\x00\x00\x00\x00", Fate::Dead, ""),
        (&connect, Fate::Alive, "connect"),
    ];
    for (bytes, fate, what) in rows {
        for cut in 0..=bytes.len() {
            let mut world = World::new();
            world.feed(&bytes[..cut]);
            world.feed(&bytes[cut..]);
            let got = (world.conn.fate(), world.words.len(), world.submitted.len());
            let want = (fate, usize::from(what == "word"), usize::from(what == "connect"));
            assert_eq!(got, want, "{bytes:?} cut at {cut}");
        }
    }
}

#[test]
fn random_bytes_do_no_harm() {
    let mut seed = 1u64;
    let mut random = || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    };
    for _ in 0..3000 {
        let mut world = if random() % 4 == 0 { World::new() } else { World::open() };
        for _ in 0..random() % 8 {
            let junk: Vec<u8> = (0..random() % 60).map(|_| random() as u8).collect();
            match random() % 3 {
                0 => world.feed(&junk),
                1 => world.feed(&frame(&junk)),
                _ => world.request(1, random() as i32 % 110, &junk),
            }
            world.sent();
        }
    }
}

#[test]
fn checks_of_a_connect_request_in_order() {
    type Change = fn(&mut World, &mut ConnectRequest);
    let rows: [(&str, Change, bool); 7] = [
        ("fine", |_, _| {}, true),
        ("throttled", |w, _| w.admits = false, false),
        ("not serving", |w, _| w.serving = Serving::No, false),
        ("read-only server", |w, _| w.serving = Serving::ReadOnly, false),
        (
            "read-only both",
            |w, r| {
                w.serving = Serving::ReadOnly;
                r.read_only = Some(true);
            },
            true,
        ),
        ("from the future", |_, r| r.last_zxid_seen = 1, false),
        ("old client", |_, r| r.read_only = None, true),
    ];
    for (name, change, accepted) in rows {
        let (mut world, mut request) = (World::new(), connect_request());
        change(&mut world, &mut request);
        world.feed(&frame(&request.to_bytes()));
        assert_eq!(world.conn.fate() == Fate::Alive, accepted, "{name}");
        assert!(world.sent().is_empty(), "{name}: there is no reply yet");
        let [IoEvent::Connect { request: passed, .. }] = &world.submitted[..] else {
            assert!(!accepted, "{name}");
            continue;
        };
        assert_eq!(passed.timeout, 1000, "negotiated");
        world.with(|conn, round| conn.session_ready(9, 1000, [1; 16], round));
        let [response] = &world.sent()[..] else { panic!("one response") };
        let with_byte = request.read_only.is_some();
        assert_eq!(response.len(), 36 + usize::from(with_byte), "{name}");
        let last = response[response.len() - 1];
        assert_eq!(with_byte && last == 1, name == "read-only both");
    }
}

#[test]
fn a_refused_session_ends_the_connection() {
    let mut world = World::new();
    world.feed(&frame(&connect_request().to_bytes()));
    world.with(|conn, round| conn.session_ready(0, 1000, [1; 16], round));
    assert_eq!(world.conn.fate(), Fate::Flushing);
    let mut expected = vec![0; 37];
    expected[19] = 16;
    assert_eq!(world.sent(), [expected]);
    assert_eq!(world.conn.fate(), Fate::Dead);
}

#[test]
fn nothing_is_taken_before_the_session_is_there() {
    let mut world = World::new();
    let mut bytes = frame(&connect_request().to_bytes());
    bytes.extend(request(1, code::GET_DATA, &get("/")));
    bytes.extend(request(2, code::GET_DATA, &get("/")));
    world.feed(&bytes);
    assert!(world.conn.holds_requests());
    assert!(!world.conn.takes_input(&world.options, 0));
    world.with(|conn, round| conn.session_ready(9, 500, [1; 16], round));
    world.feed(&[]);
    assert_eq!(world.sent().len(), 3);
    assert!(!world.conn.holds_requests());
}

#[test]
fn requests_are_answered_in_order() {
    let mut world = World::open();
    let ops = [code::GET_DATA, code::CREATE, code::EXISTS, code::SYNC, code::PING, code::AUTH];
    let auth =
        AuthPacket { kind: 0, scheme: "digest".into(), auth: Some(b"a:b".as_slice().into()) };
    for (xid, op) in (1..).zip(ops) {
        let body = if op == code::AUTH { auth.to_bytes() } else { get("/zookeeper") };
        world.request(xid, op, &body);
    }
    assert_eq!(world.conn.ids().len(), 2, "the auth packet counts at once");
    assert_eq!(world.replies(), [(1, 0, 0)]);
    assert_eq!(world.in_process, 5);
    // Reads behind an unanswered write have gone the same way.
    [3, 1, 2].into_iter().for_each(|i| world.complete(i, false));
    assert_eq!(world.replies(), []);
    world.complete(0, false);
    assert_eq!(world.replies(), [(2, 70, 0), (3, 70, 0), (4, 70, 0), (5, 70, 0), (6, 0, 0)]);
    assert_eq!((world.in_process, world.tally.outstanding), (0, 0));
    let IoEvent::Request(request) = &world.submitted[2] else { panic!("the sync") };
    assert_eq!((request.slot, request.ids.len()), (2, 1), "ids as of when it was read");
}

#[test]
fn replies_that_end_the_connection() {
    let sasl = SaslToken { token: Some([1].into()) }.to_bytes();
    let unknown_scheme = AuthPacket { kind: 0, scheme: "x".into(), auth: None }.to_bytes();
    type Row<'a> = (i32, &'a [u8], (i32, i64, i32), Fate);
    let rows: [Row<'_>; 10] = [
        (code::SASL, &sasl, (5, 0, 0), Fate::Alive),
        (code::AUTH, &unknown_scheme, (5, 0, -115), Fate::Dead),
        (code::NOTIFICATION, &[], (5, -1, -6), Fate::Dead),
        (code::CHECK, &[], (5, -1, -6), Fate::Dead),
        (code::CREATE_SESSION, &[], (5, -1, -6), Fate::Dead),
        (10, &[], (5, -1, -6), Fate::Dead),
        (i32::MAX, &[], (5, -1, -6), Fate::Dead),
        (i32::MIN, &[], (5, -1, -6), Fate::Dead),
        (code::GET_DATA, &[], (5, 0, -5), Fate::Alive),
        (code::GET_DATA, &[0xff; 8], (5, 0, -5), Fate::Alive),
    ];
    for (op, body, reply, fate) in rows {
        let mut world = World::open();
        world.request(5, op, body);
        assert_eq!(world.replies(), [reply], "{op}");
        assert_eq!(world.conn.fate(), fate, "{op}");
    }
    for (op, body) in [(code::AUTH, vec![]), (code::SASL, vec![0, 0, 0, 9])] {
        let mut world = World::open();
        world.request(5, op, &body);
        assert_eq!((world.conn.fate(), world.replies()), (Fate::Dead, vec![]), "{op}");
    }
    let mut world = World::open();
    world.feed(&frame(&[0; 7]));
    assert_eq!(world.conn.fate(), Fate::Dead);
}

#[test]
fn close_session_is_the_last_reply() {
    let mut world = World::open();
    world.request(1, code::CLOSE_SESSION, &[]);
    world.request(2, code::GET_DATA, &get("/"));
    world.request(3, code::CREATE, &[]);
    world.complete(0, true);
    assert_eq!(world.replies(), [(1, 70, 0)]);
    assert_eq!(world.conn.fate(), Fate::Dead);
    world.complete(2, false);
    world.conn.abandon(&world.options, &mut world.tally);
    assert_eq!(world.tally.outstanding, 0);
}

#[test]
fn whoever_must_authenticate_is_told_and_closed() {
    let mut world = World::open();
    world.enforce = EnforceAuth::new(false, true, Some("digest"), &world.auth).unwrap();
    let auth =
        AuthPacket { kind: 0, scheme: "digest".into(), auth: Some(b"a:b".as_slice().into()) };
    world.request(-4, code::AUTH, &auth.to_bytes());
    world.request(1, code::GET_DATA, &get("/"));
    assert_eq!(world.replies(), [(-4, 0, 0), (1, 0, 0)]);
    let mut world = World::open();
    world.enforce = EnforceAuth::new(false, true, Some("digest"), &world.auth).unwrap();
    world.request(1, code::GET_DATA, &get("/"));
    assert_eq!((world.replies(), world.conn.fate()), (vec![(1, 0, -124)], Fate::Dead));
}

#[test]
fn nobody_is_everybody() {
    let mut world = World::open();
    let mut accepted = 0;
    while world.conn.fate() == Fate::Alive {
        let name = format!("{accepted:0500}:secret");
        let auth =
            AuthPacket { kind: 0, scheme: "digest".into(), auth: Some(name.into_bytes().into()) };
        world.request(-4, code::AUTH, &auth.to_bytes());
        accepted += 1;
    }
    assert!((100..200).contains(&accepted), "{accepted}");
    assert_eq!(world.replies().last(), Some(&(-4, 0, -115)));
}

#[test]
fn limits_hold_a_connection_back() {
    let limits = RequestLimits { global_outstanding: 2, ..RequestLimits::default() };
    let mut world = World::open();
    world.options.limits = limits;
    for xid in 1..=5 {
        world.request(xid, code::SYNC, &PathRequest { path: "/".into() }.to_bytes());
    }
    assert_eq!((world.submitted.len(), world.conn.holds_requests()), (3, true));
    world.complete(0, false);
    world.feed(&[]);
    assert_eq!(world.submitted.len(), 4);
    world.in_process = 100;
    for n in 1..4 {
        world.complete(n, false);
    }
    world.in_process = 100;
    world.feed(&[]);
    assert_eq!(world.submitted.len(), 5, "one request is always let in");
}

#[test]
fn reads_behind_a_write_are_few_because_their_answers_wait() {
    for (op, taken) in [(code::GET_DATA, 65), (code::MULTI_READ, 2), (code::SET_DATA, 101)] {
        let mut world = World::open();
        world.request(0, code::SET_DATA, &[]);
        (1..=100).for_each(|xid| world.request(xid, op, &[]));
        let held_back = taken < 101;
        assert_eq!(
            (world.submitted.len(), world.conn.holds_requests()),
            (taken, held_back),
            "{op}"
        );
        let mut n = 0;
        while n < world.submitted.len() {
            world.complete(n, false);
            world.feed(&[]);
            n += 1;
        }
        assert_eq!(world.replies().len(), 101, "{op}");
        assert_eq!(world.conn.queued_bytes, 0);
    }
}

#[test]
fn requests_that_waited_too_long_for_the_throttler_fail() {
    let mut world = World::open();
    world.options.limits =
        RequestLimits { throttle_max_requests: 10, throttled_op_wait_ms: 50, ..Default::default() };
    world.in_process = 10;
    world.request(1, code::CREATE, &[]);
    assert!(world.conn.holds_requests() && world.submitted.is_empty());
    world.now += 51;
    world.in_process = 9;
    world.feed(&request(2, code::PING, &[]));
    assert_eq!(world.replies(), [(1, 0, -127), (-2, 0, 0)]);
    world.request(3, code::CREATE, &[]);
    assert_eq!(world.submitted.len(), 1);
}

#[test]
fn large_requests_are_limited_together() {
    let mut world = World::open();
    world.options.limits = RequestLimits {
        large_threshold: Some(100),
        large_max_bytes: 500,
        ..RequestLimits::default()
    };
    world.request(1, code::CREATE, &[0; 400]);
    assert_eq!(world.tally.large_bytes, 400);
    world.complete(0, false);
    assert_eq!((world.tally.large_bytes, world.conn.fate()), (0, Fate::Alive));
    world.feed(&501i32.to_be_bytes());
    assert_eq!((world.conn.fate(), world.tally.large_rejected), (Fate::Dead, 1));
}

#[test]
fn unread_output_stops_the_input() {
    let mut world = World::open();
    let event = vec![0; OUTPUT_PAUSE];
    world.with(|conn, round| conn.notify(&event, round));
    world.request(1, code::GET_DATA, &get("/"));
    assert!(world.conn.holds_requests());
    world.conn.took(OUTPUT_PAUSE);
    world.feed(&[]);
    assert_eq!(world.replies(), [(1, 0, 0)]);
    while world.conn.unsent().len() <= OUTPUT_MAX {
        assert_eq!(world.conn.fate(), Fate::Alive);
        world.with(|conn, round| conn.notify(&event, round));
    }
    assert_eq!(world.conn.fate(), Fate::Dead);
}

#[test]
fn an_idle_connection_is_small() {
    let size = size_of::<Connection>();
    assert!(size <= 336, "{size} bytes");
    let mut world = World::open();
    world.request(1, code::SYNC, &[]);
    world.complete(0, false);
    world.sent();
    world.conn.release_memory();
    let conn = &world.conn;
    let heap = (conn.input.capacity(), conn.output.capacity(), conn.slots.capacity());
    assert_eq!(heap, (0, 0, 0));
}

#[test]
fn a_new_session_counts_as_a_request_and_one_that_comes_back_does_not() {
    for (session_id, last_op, last_cxid) in [(0, "SESS", 0), (9, "NA", -1)] {
        let mut world = World::new();
        world.feed(&frame(&ConnectRequest { session_id, ..connect_request() }.to_bytes()));
        world.with(|conn, round| conn.session_ready(9, 500, [1; 16], round));
        let info = world.conn.info(true, 77);
        assert_eq!((info.last_op, info.last_cxid), (last_op, last_cxid), "{session_id}");
        assert_eq!((info.sent, info.session, info.expires), (1, 9, 77));
    }
}
