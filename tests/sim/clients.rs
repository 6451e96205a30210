//! Simulated clients: sessions that pipeline requests, lose connections, move from server to
//! server, and remember everything they were told. And the server's end of a connection, which
//! does what an I/O thread does: slots in order, reads behind unanswered writes.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr};

use ironkeeper::auth::{AuthConfig, Registry};
use ironkeeper::config::QuorumConfig;
use ironkeeper::pipeline::node::Event;
use ironkeeper::pipeline::read::{ReadView, Viewer, is_read};
use ironkeeper::pipeline::{ClientRequest, ConnId, IoEvent, ToIo};
use ironkeeper::tree::{CONFIG_NODE, WatcherId};
use ironkeeper::wire::proto::{
    ConnectRequest, CreateRequest, GetDataResponse, MultiHeader, ReadRequest, ReconfigRequest,
    ReplyHeader, SetDataRequest, VersionRequest, WatcherEvent,
};
use ironkeeper::wire::{Acl, ErrorCode, Id, Put, Reader, Record, Stat, code};

use super::checks::{Seen, SeenRead};
use super::trace::trace;
use super::world::{Action, MS, Time, World};

const PING: i32 = -2;

/// Why a server may refuse a reconfiguration.
const REFUSALS: [ErrorCode; 6] = [
    ErrorCode::BadArguments,
    ErrorCode::NewConfigNoQuorum,
    ErrorCode::ReconfigInProgress,
    ErrorCode::BadVersion,
    ErrorCode::SessionExpired,
    ErrorCode::SessionMoved,
];

/// What a client has asked and awaits.
struct Asked {
    xid: i32,
    op: i32,
    path: String,
    watch: bool,
    at: Time,
}

pub struct Client {
    conn: Option<u64>,
    session: i64,
    passwd: [u8; 16],
    /// Negotiated, ms.
    timeout: i32,
    last_zxid: i64,
    next_xid: i32,
    asked: VecDeque<Asked>,
    heard: Time,
    last_server: usize,
    /// Version of the configuration that it saw last.
    config_seen: i64,
}

/// From client to server.
enum Up {
    Connect(ConnectRequest),
    Request { xid: i32, op: i32, body: Vec<u8> },
}

/// From server to client.
enum Down {
    Frame(Vec<u8>),
    Session { session: i64, timeout: i32, passwd: [u8; 16] },
    Closed,
}

/// What stands in a connection's queue of answers.
enum Slot {
    Waiting(u32),
    Done(Vec<u8>),
    Read {
        xid: i32,
        op: i32,
        body: Vec<u8>,
    },
    /// A write behind reads: it must not be seen by them, so it is ordered only after them.
    Held(ClientRequest),
}

pub struct Conn {
    client: usize,
    pub s: usize,
    inc: u64,
    id: ConnId,
    session: i64,
    slots: VecDeque<Slot>,
    next_slot: u32,
    up: VecDeque<Up>,
    down: VecDeque<Down>,
    delay: Time,
    /// The server has closed its end.
    closed: bool,
}

impl Client {
    pub fn new() -> Self {
        Self {
            conn: None,
            session: 0,
            passwd: [0; 16],
            timeout: 0,
            last_zxid: 0,
            next_xid: 1,
            asked: VecDeque::new(),
            heard: 0,
            last_server: usize::MAX,
            config_seen: 0,
        }
    }

    pub fn is_idle(&self) -> bool {
        self.asked.is_empty()
    }
}

impl World {
    // ---- the client ------------------------------------------------------------------------

    pub fn client_timer(&mut self, c: usize) {
        let think = self.rng.range(self.knobs.think / 10, 2 * self.knobs.think);
        self.after(think.max(100), Action::Client { c });
        let now = self.now;
        let client = &self.clients[c];
        let Some(conn) = client.conn else { return self.client_connect(c) };
        let patience = if client.session == 0 { 800 } else { client.timeout as u64 * 2 / 3 };
        if now - client.heard > patience * MS {
            return self.client_hangs_up(conn);
        }
        if self.conns[&conn].session == 0 {
            return;
        }
        let quiet = now - client.heard > client.timeout as u64 * MS / 3;
        if quiet && !client.asked.iter().any(|a| a.xid == PING) {
            return self.ask(c, PING, code::PING, String::new(), false, Vec::new());
        }
        if self.busy && client.asked.len() < self.knobs.depth {
            self.ask_something(c);
        }
    }

    fn client_connect(&mut self, c: usize) {
        let s = self.rng.below(self.servers.len() as u64) as usize;
        let delay = self.delay(20 * MS);
        let timeout = match self.clients[c].session {
            0 => self.rng.pick(&[600, 1_000, 3_000]),
            _ => self.clients[c].timeout,
        };
        let server = &self.servers[s];
        let Some(p) = server.process.as_ref().filter(|p| p.serving) else { return };
        let (inc, serial) = (p.inc, self.next_conn);
        self.next_conn += 1;
        let client = &mut self.clients[c];
        if client.session != 0 && client.last_server != s {
            self.coverage.sessions_moved += 1;
        }
        client.last_server = s;
        client.conn = Some(serial);
        client.heard = self.now;
        client.asked.clear();
        let request = ConnectRequest {
            protocol_version: 0,
            last_zxid_seen: client.last_zxid,
            timeout,
            session_id: client.session,
            passwd: Some(client.passwd.into()),
            read_only: Some(false),
        };
        let mut conn = Conn {
            client: c,
            s,
            inc,
            id: ConnId::new(0, serial),
            session: 0,
            slots: VecDeque::new(),
            next_slot: 0,
            up: VecDeque::new(),
            down: VecDeque::new(),
            delay,
            closed: false,
        };
        conn.up.push_back(Up::Connect(request));
        self.conns.insert(serial, conn);
        self.after(delay, Action::ToServer { conn: serial });
    }

    /// The client's end is closed: what was asked and not answered has an unknown fate.
    fn client_hangs_up(&mut self, serial: u64) {
        let Some(conn) = self.conns.remove(&serial) else { return };
        let client = &mut self.clients[conn.client];
        if client.conn == Some(serial) {
            client.conn = None;
            self.coverage.unknown_writes +=
                client.asked.iter().filter(|a| !is_read(a.op)).count() as u64;
            client.asked.clear();
        }
        self.checks.connection_ended(serial);
        if !conn.closed {
            self.forget_conn(&conn);
        }
    }

    fn ask_something(&mut self, c: usize) {
        let xid = self.clients[c].next_xid;
        let key = format!("/k{}", self.rng.below(4));
        let data = Some(format!("{c}.{xid}").into_bytes().into_boxed_slice());
        let acl = Some(Acl::open_unsafe());
        let create = |path: &str, flags| CreateRequest {
            path: path.into(),
            data: data.clone(),
            acl: acl.clone(),
            flags,
        };
        let set = |version| SetDataRequest { path: key.clone(), data: data.clone(), version };
        // What makes ever more nodes is asked for less often.
        let few = self.rng.chance(300);
        let (op, body, path, watch) = match self.rng.below(20) {
            0..=1 => (code::CREATE, create(&key, 0).to_bytes(), key, false),
            2 if few => (code::CREATE, create(&format!("{key}/s"), 2).to_bytes(), key, false),
            3 => (code::CREATE2, create(&format!("/e{c}"), 1).to_bytes(), key, false),
            4 if few => (code::CREATE2, create("/e", 3).to_bytes(), key, false),
            5..=8 => (code::SET_DATA, set(-1).to_bytes(), key, false),
            9 => {
                let version = self.rng.below(5) as i32;
                (code::SET_DATA, set(version).to_bytes(), key, false)
            }
            10 => {
                let request = VersionRequest { path: key.clone(), version: -1 };
                (code::DELETE, request.to_bytes(), key, false)
            }
            11 if few => {
                (code::MULTI, multi(&create(&format!("{key}/m"), 2), &set(-1)), key, false)
            }
            12..=13 => {
                let mut body = Vec::new();
                body.put_str(&key);
                (code::SYNC, body, key, false)
            }
            14 if self.rng.chance(100) => (code::CLOSE_SESSION, Vec::new(), key, false),
            _ => {
                let watch = self.rng.chance(300);
                let request = ReadRequest { path: key.clone(), watch };
                (code::GET_DATA, request.to_bytes(), key, watch)
            }
        };
        self.clients[c].next_xid += 1;
        self.ask(c, xid, op, path, watch, body);
    }

    /// Some client that has room for a request asks for a reconfiguration, another for what the
    /// configuration is.
    pub fn ask_for_reconfig(&mut self, request: &ReconfigRequest) {
        let path = String::from(CONFIG_NODE);
        let read = ReadRequest { path: path.clone(), watch: false };
        for (op, body) in [(code::RECONFIG, request.to_bytes()), (code::GET_DATA, read.to_bytes())]
        {
            let c = self.rng.below(self.clients.len() as u64) as usize;
            let client = &mut self.clients[c];
            let has_session = client.conn.is_some_and(|conn| self.conns[&conn].session != 0);
            if has_session && client.asked.len() < self.knobs.depth {
                trace!(self.now, "client {c} wants {request:?}");
                let xid = client.next_xid;
                client.next_xid += 1;
                self.ask(c, xid, op, path.clone(), false, body);
            }
        }
    }

    fn ask(&mut self, c: usize, xid: i32, op: i32, path: String, watch: bool, body: Vec<u8>) {
        let at = self.now;
        let client = &mut self.clients[c];
        let Some(serial) = client.conn else { return };
        trace!(at, "client {c} asks {xid}: op {op} {path}");
        client.asked.push_back(Asked { xid, op, path, watch, at });
        let Some(conn) = self.conns.get_mut(&serial) else { return };
        conn.up.push_back(Up::Request { xid, op, body });
        let delay = conn.delay + self.rng.below(200);
        self.after(delay, Action::ToServer { conn: serial });
    }

    /// Something arrives at the client.
    pub fn client_receives(&mut self, serial: u64) {
        let Some(conn) = self.conns.get_mut(&serial) else { return };
        let c = conn.client;
        let Some(message) = conn.down.pop_front() else { return };
        self.clients[c].heard = self.now;
        match message {
            Down::Frame(frame) => self.client_frame(c, serial, &frame),
            Down::Closed => self.client_hangs_up(serial),
            Down::Session { session, timeout, passwd } => {
                self.client_session(c, serial, session, timeout, passwd);
            }
        }
    }

    fn client_session(&mut self, c: usize, conn: u64, id: i64, timeout: i32, passwd: [u8; 16]) {
        trace!(self.now, "client {c} has session {id:#x}");
        let client = &mut self.clients[c];
        if id == 0 {
            self.coverage.sessions_expired += 1;
            client.session = 0;
            client.passwd = [0; 16];
            return self.client_hangs_up(conn);
        }
        if client.session == 0 {
            self.coverage.sessions += 1;
            self.checks.new_session(id);
        } else {
            assert_eq!(client.session, id, "client {c} was given another session");
        }
        client.session = id;
        (client.timeout, client.passwd) = (timeout, passwd);
    }

    fn client_frame(&mut self, c: usize, serial: u64, frame: &[u8]) {
        let mut r = Reader::new(&frame[4..]);
        let header: ReplyHeader = r.record().expect("a reply header");
        let client = &mut self.clients[c];
        if header.xid == -1 {
            let event: WatcherEvent = r.record().expect("a watch event");
            trace!(self.now, "client {c} sees {event:?} at {:#x}", header.zxid);
            self.coverage.watch_events += 1;
            return self.checks.seen(serial, Seen::Event { path: event.path, zxid: header.zxid });
        }
        let asked = client.asked.pop_front();
        let asked = asked.unwrap_or_else(|| panic!("client {c}: {header:?} to no request"));
        trace!(self.now, "client {c} is answered {header:?}");
        assert_eq!(header.xid, asked.xid, "client {c}: replies are not in order");
        assert!(
            header.zxid >= client.last_zxid,
            "client {c}: reply with zxid {:#x} after {:#x}",
            header.zxid,
            client.last_zxid
        );
        client.last_zxid = header.zxid;
        let session = client.session;
        self.checks.seen(serial, Seen::Reply { zxid: header.zxid });
        match asked.op {
            code::PING | code::SYNC => {}
            code::GET_DATA => self.client_read(serial, &header, &asked, &mut r),
            op => {
                if op == code::RECONFIG {
                    self.client_reconfigured(c, &header, &mut r);
                }
                self.coverage.acked_writes += u64::from(header.err == 0);
                self.coverage.failed_writes += u64::from(header.err != 0);
                self.checks.acked(session, asked.xid, op, header.zxid, header.err, asked.at);
                if op == code::CLOSE_SESSION {
                    let client = &mut self.clients[c];
                    (client.session, client.passwd) = (0, [0; 16]);
                    self.client_hangs_up(serial);
                }
            }
        }
    }

    fn client_reconfigured(&mut self, c: usize, header: &ReplyHeader, r: &mut Reader) {
        if header.err != 0 {
            let expected = REFUSALS.iter().any(|err| *err as i32 == header.err);
            return assert!(expected, "reconfig: {header:?}");
        }
        let answer: GetDataResponse = r.record().expect("data and stat");
        let version = self.client_config(c, answer.data.as_deref());
        assert_eq!(version, header.zxid, "version of the new configuration");
    }

    /// A client sees a configuration: none that is older than what it has seen.
    fn client_config(&mut self, c: usize, data: Option<&[u8]>) -> i64 {
        let text = String::from_utf8_lossy(data.unwrap_or_default());
        let version = QuorumConfig::parse(&text, false).expect("a configuration").version;
        let seen = std::mem::replace(&mut self.clients[c].config_seen, version);
        assert!(version >= seen, "client {c} sees configuration {version:#x} after {seen:#x}");
        version
    }

    fn client_read(&mut self, serial: u64, header: &ReplyHeader, asked: &Asked, r: &mut Reader) {
        self.coverage.reads += 1;
        if asked.path == CONFIG_NODE {
            // Servers write it without a transaction, too: the history does not say what it is.
            let found: GetDataResponse = r.record().expect("data and stat");
            let c = self.conns[&serial].client;
            self.client_config(c, found.data.as_deref());
            return;
        }
        let found = match header.err {
            0 => Some(r.record::<GetDataResponse>().expect("data and stat")),
            -101 => None,
            err => panic!("getData fails with {err}"),
        };
        if asked.watch && found.is_some() {
            let path = asked.path.clone();
            self.checks.seen(serial, Seen::Watch { path, zxid: header.zxid });
        }
        let found: Option<(Option<Box<[u8]>>, Stat)> = found.map(|f| (f.data, f.stat));
        self.checks.read(SeenRead { zxid: header.zxid, path: asked.path.clone(), found });
    }

    // ---- the server's end ------------------------------------------------------------------

    pub fn server_receives(&mut self, serial: u64) {
        let Some(conn) = self.conns.get_mut(&serial) else { return };
        let (s, inc) = (conn.s, conn.inc);
        let paused = self.servers[s].paused_until;
        if paused > self.now {
            return self.at(paused + 1, Action::ToServer { conn: serial });
        }
        if conn.closed || self.servers[s].process(inc).is_none() {
            return;
        }
        match conn.up.pop_front() {
            Some(Up::Connect(request)) => {
                let last_zxid = self.servers[s].process(inc).map(|p| p.db.read().tree.last_zxid());
                if last_zxid.is_none_or(|zxid| request.last_zxid_seen > zxid) {
                    return self.close_conn(serial);
                }
                let addr = IpAddr::V4(Ipv4Addr::LOCALHOST);
                let event = IoEvent::Connect { conn: conn.id, addr, request };
                self.post(s, inc, Event::Io(vec![event]));
            }
            Some(Up::Request { xid, op, body }) => self.serve(serial, xid, op, body),
            None => {}
        }
    }

    fn serve(&mut self, serial: u64, xid: i32, op: i32, body: Vec<u8>) {
        let Some(conn) = self.conns.get_mut(&serial) else { return };
        let (s, inc) = (conn.s, conn.inc);
        if is_read(op) {
            conn.slots.push_back(Slot::Read { xid, op, body });
            let touch = IoEvent::Touch(vec![conn.session]);
            self.post(s, inc, Event::Io(vec![touch]));
            return self.flush(serial, true);
        }
        let slot = conn.next_slot;
        conn.next_slot += 1;
        let request = ClientRequest {
            conn: conn.id,
            slot,
            session: conn.session,
            xid,
            op,
            body: body.into(),
            ids: if op == code::RECONFIG { [Id::new("super", "")].into() } else { [].into() },
        };
        if conn.slots.iter().any(|slot| matches!(slot, Slot::Read { .. })) {
            return conn.slots.push_back(Slot::Held(request));
        }
        conn.slots.push_back(Slot::Waiting(slot));
        self.post(s, inc, Event::Io(vec![IoEvent::Request(request)]));
    }

    /// Orders the writes that waited for the reads before them.
    fn release(&mut self, serial: u64) {
        let Some(conn) = self.conns.get_mut(&serial) else { return };
        let (s, inc) = (conn.s, conn.inc);
        let mut released = Vec::new();
        for slot in &mut conn.slots {
            match slot {
                Slot::Held(request) => {
                    let waiting = Slot::Waiting(request.slot);
                    if let Slot::Held(request) = std::mem::replace(slot, waiting) {
                        released.push(IoEvent::Request(request));
                    }
                }
                Slot::Read { .. } => break,
                Slot::Waiting(_) | Slot::Done(_) => {}
            }
        }
        if !released.is_empty() {
            self.post(s, inc, Event::Io(released));
        }
    }

    /// Makes the reads whose turn has come. Not before all that a batch of commits has for the
    /// connections is queued: a watch's event must not come behind data that is newer.
    pub fn make_reads(&mut self) {
        for serial in std::mem::take(&mut self.answered) {
            self.flush(serial, true);
        }
    }

    /// Sends every answer whose turn it is, up to the first read unless `reads`.
    fn flush(&mut self, serial: u64, reads: bool) {
        loop {
            let Some(conn) = self.conns.get_mut(&serial) else { return };
            let frame = match conn.slots.front() {
                Some(Slot::Read { .. }) if !reads => return,
                None | Some(Slot::Waiting(_) | Slot::Held(_)) => return self.release(serial),
                Some(_) => match conn.slots.pop_front() {
                    Some(Slot::Done(frame)) => frame,
                    Some(Slot::Read { xid, op, body }) => {
                        let Some(p) = self.servers[conn.s].process(conn.inc) else { return };
                        let auth = Registry::new(&AuthConfig::default()).expect("default auth");
                        let state = p.db.read();
                        let view =
                            ReadView { state: &state, auth: &auth, reads: &Default::default() };
                        let viewer = Viewer { conn: conn.id, session: conn.session, ids: &[] };
                        let mut out = Vec::new();
                        view.answer(&viewer, xid, op, &body, &mut out).expect("a good request");
                        out
                    }
                    _ => return,
                },
            };
            self.push_down(serial, Down::Frame(frame));
        }
    }

    fn push_down(&mut self, serial: u64, message: Down) {
        let Some(conn) = self.conns.get_mut(&serial) else { return };
        conn.down.push_back(message);
        let delay = conn.delay;
        self.after(delay, Action::ToClient { conn: serial });
    }

    pub fn deliver_to_client(&mut self, s: usize, message: ToIo) {
        match message {
            ToIo::Replies { bytes, entries } => {
                for e in entries {
                    let serial = e.conn.0;
                    let frame = &bytes[e.start as usize..e.end as usize];
                    self.reply(serial, e.slot, frame, e.then_close);
                }
            }
            ToIo::Event { frame, conns, .. } => {
                for conn in conns {
                    if self.conns.get(&conn.0).is_some_and(|c| !c.closed) {
                        self.push_down(conn.0, Down::Frame(frame.to_vec()));
                    }
                }
            }
            ToIo::Session { conn, session, timeout_ms, passwd } => {
                let Some(c) = self.conns.get_mut(&conn.0).filter(|c| !c.closed) else { return };
                c.session = session;
                let timeout = timeout_ms;
                self.push_down(conn.0, Down::Session { session, timeout, passwd });
                if session == 0 {
                    self.close_conn(conn.0);
                }
            }
            ToIo::Close { conn, .. } => self.close_conn(conn.0),
            ToIo::CloseAll { .. } => {
                let all: Vec<u64> =
                    self.conns.iter().filter(|(_, c)| c.s == s).map(|(id, _)| *id).collect();
                all.into_iter().for_each(|conn| self.close_conn(conn));
            }
        }
    }

    fn reply(&mut self, serial: u64, slot: u32, frame: &[u8], then_close: bool) {
        let Some(conn) = self.conns.get_mut(&serial).filter(|c| !c.closed) else { return };
        let place = conn.slots.iter_mut().find(|s| matches!(s, Slot::Waiting(w) if *w == slot));
        *place.unwrap_or_else(|| panic!("a reply for slot {slot} that nobody waits for")) =
            Slot::Done(frame.to_vec());
        self.flush(serial, false);
        self.answered.insert(serial);
        if then_close {
            self.close_conn(serial);
        }
    }

    /// The server closes its end.
    fn close_conn(&mut self, serial: u64) {
        let Some(conn) = self.conns.get_mut(&serial).filter(|c| !c.closed) else { return };
        conn.closed = true;
        conn.slots.clear();
        let gone = (conn.s, conn.inc, conn.id, conn.session);
        self.push_down(serial, Down::Closed);
        self.disconnected(gone);
    }

    fn forget_conn(&mut self, conn: &Conn) {
        self.disconnected((conn.s, conn.inc, conn.id, conn.session));
    }

    fn disconnected(&mut self, (s, inc, conn, session): (usize, u64, ConnId, i64)) {
        if let Some(p) = self.servers[s].process(inc) {
            p.db.read().watches().remove_watcher(WatcherId(conn.0));
            self.post(s, inc, Event::Io(vec![IoEvent::Disconnected { conn, session }]));
        }
    }

    /// The connections of a server that is gone: the clients notice at once or by silence.
    pub fn abandon_conns(&mut self, s: usize) {
        let silent = self.servers[s].silent;
        let all: Vec<u64> =
            self.conns.iter().filter(|(_, c)| c.s == s).map(|(id, _)| *id).collect();
        for serial in all {
            let Some(conn) = self.conns.get_mut(&serial) else { continue };
            conn.closed = true;
            if !silent {
                self.push_down(serial, Down::Closed);
            }
        }
    }

    /// A client's connection breaks.
    pub fn cut_conn(&mut self, serial: u64) {
        self.client_hangs_up(serial);
    }
}

fn multi(create: &CreateRequest, set: &SetDataRequest) -> Vec<u8> {
    let mut body = Vec::new();
    MultiHeader { op: code::CREATE, done: false, err: -1 }.write(&mut body);
    create.write(&mut body);
    MultiHeader { op: code::SET_DATA, done: false, err: -1 }.write(&mut body);
    set.write(&mut body);
    MultiHeader { op: -1, done: true, err: -1 }.write(&mut body);
    body
}
