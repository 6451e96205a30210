//! One client connection: bytes in, requests and replies, bytes out. Pure: the socket, the clock
//! and the locks are the I/O thread's, who passes them in as a [`Round`].
//! Java: `NIOServerCnxn`, `ServerCnxn`, and of `ZooKeeperServer` `processConnectRequest`,
//! `processPacket`, `finishSessionInit`.
//!
//! Replies leave in the order of their requests (C-100). Every request that cannot be answered at
//! once takes a *slot* in a queue; a read behind an unanswered write goes the write's way.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;

use byteorder::{BigEndian, ByteOrder};
use log::Level;

use super::options::Options;
use super::round::{Round, Tally, Word, is_four_letter_word};
use super::stats::ConnInfo;
use super::view::Serving;
use crate::auth::{AuthError, ip};
use crate::pipeline::read::{Viewer, is_read, put_bare_reply};
use crate::pipeline::throttle::SessionKind;
use crate::pipeline::{ClientRequest, CloseReason, ConnId, IoEvent, ReplyEntry, log_undecodable};
use crate::wire::proto::{AuthPacket, ConnectRequest, ConnectResponse, SaslToken};
use crate::wire::{ErrorCode, Id, Put, Reader, Record, code, op};

/// Unsent bytes above which no more requests are taken from a connection.
const OUTPUT_PAUSE: usize = 1 << 20;
/// Unsent bytes that nobody may have: a client that watches much and reads nothing is closed.
const OUTPUT_MAX: usize = 64 << 20;
/// Unanswered requests, and bytes of them, above which no more are taken from a connection.
const SLOTS_PAUSE: usize = 4096;
const QUEUED_BYTES_PAUSE: usize = 8 << 20;
/// What a read behind a write counts for at least, since its answer has to wait, too.
const WAITING_READ: usize = QUEUED_BYTES_PAUSE / 64;

/// Bytes of identities that a connection may gather, for they are gone through with every request.
const IDS_MAX: usize = 64 << 10;

/// How far a connection has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Nothing but a four-letter word or a ConnectRequest will do.
    New,
    /// A four-letter word was read; what follows it is ignored.
    Word,
    /// The commit thread is asked for a session; nothing more is read until it answers.
    Connecting,
    Open,
}

/// Whether and how a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    Alive,
    /// Closed when the output is written; input is ignored.
    Flushing,
    /// To be closed now.
    Dead,
}

/// A request that waits for its turn or for its answer.
#[derive(Debug)]
struct Slot {
    xid: i32,
    op: i32,
    received: i64,
    work: Work,
}

#[derive(Debug)]
enum Work {
    /// The commit thread has it. Length of its body.
    Ordered(usize),
    /// Answered, but others come first: the whole frame.
    Answered { frame: Box<[u8]>, zxid: i64, then_close: bool },
}

impl Work {
    fn ordered(&self) -> Option<usize> {
        if let Self::Ordered(bytes) = self { Some(*bytes) } else { None }
    }
}

/// What `cons` shows of a connection. Milliseconds.
#[derive(Debug)]
struct Stats {
    received: u64,
    sent: u64,
    last_op: i32,
    last_cxid: i64,
    last_zxid: i64,
    last_response: i64,
    last_latency: i64,
    min_latency: i64,
    max_latency: i64,
    total_latency: i64,
    count: i64,
}

/// No operation yet; prints as "NA".
const NO_OP: i32 = i32::MIN;

impl Default for Stats {
    fn default() -> Self {
        Self {
            received: 0,
            sent: 0,
            last_op: NO_OP,
            last_cxid: -1,
            last_zxid: -1,
            last_response: 0,
            last_latency: 0,
            min_latency: i64::MAX,
            max_latency: 0,
            total_latency: 0,
            count: 0,
        }
    }
}

impl Stats {
    fn answered(&mut self, xid: i32, op: i32, zxid: i64, latency: i64, now: i64) {
        self.last_op = op;
        if xid >= 0 {
            self.last_cxid = i64::from(xid);
        }
        self.last_zxid = zxid;
        self.last_response = now;
        self.last_latency = latency;
        self.min_latency = self.min_latency.min(latency);
        self.max_latency = self.max_latency.max(latency);
        self.total_latency += latency;
        self.count += 1;
    }
}

/// See the module.
#[derive(Debug)]
pub struct Connection {
    id: ConnId,
    peer: SocketAddr,
    phase: Phase,
    fate: Fate,
    session: i64,
    /// Negotiated; 0 before.
    timeout_ms: i32,
    /// Whether the ConnectRequest had its last byte, so that the response has it, too (C-86).
    knows_read_only: bool,
    ids: Arc<[Id]>,
    /// Bytes that are no whole frame yet, or that may not be taken yet.
    input: Vec<u8>,
    output: Vec<u8>,
    /// How much of `output` the socket has taken.
    sent: usize,
    slots: VecDeque<Slot>,
    /// Number of the first slot.
    first_slot: u32,
    /// Sum of the weights of the slots.
    queued_bytes: usize,
    /// Whether `input` may have whole frames.
    held_back: bool,
    /// Since when the request throttler holds this connection's requests back.
    stalled_since: Option<i64>,
    /// When a new session was asked for. One that comes back does not count as a request.
    session_asked: Option<i64>,
    stats: Stats,
    /// Wall clock, ms.
    established: i64,
}

impl Connection {
    pub fn new(id: ConnId, peer: SocketAddr, established: i64) -> Self {
        Self {
            id,
            peer,
            phase: Phase::New,
            fate: Fate::Alive,
            session: 0,
            timeout_ms: 0,
            knows_read_only: false,
            ids: Arc::new([ip::id_of(peer.ip())]),
            input: Vec::new(),
            output: Vec::new(),
            sent: 0,
            slots: VecDeque::new(),
            first_slot: 0,
            queued_bytes: 0,
            held_back: false,
            stalled_since: None,
            session_asked: None,
            stats: Stats::default(),
            established,
        }
    }

    pub fn id(&self) -> ConnId {
        self.id
    }

    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Whether the commit thread knows of this connection.
    pub fn is_known(&self) -> bool {
        matches!(self.phase, Phase::Connecting | Phase::Open)
    }

    /// 0 when there is none.
    pub fn session(&self) -> i64 {
        self.session
    }

    pub fn ids(&self) -> &[Id] {
        &self.ids
    }

    pub fn fate(&self) -> Fate {
        self.fate
    }

    /// Whether there are requests that were read but could not be taken at that time.
    pub fn holds_requests(&self) -> bool {
        self.held_back
    }

    /// Milliseconds of silence after which the connection is closed (C-105).
    pub fn idle_limit(&self, options: &Options) -> i64 {
        if self.timeout_ms == 0 {
            options.sessionless_timeout_ms
        } else {
            i64::from(self.timeout_ms)
        }
    }

    /// Whether more bytes may be taken, given how many requests the whole server has in process.
    pub fn takes_input(&self, options: &Options, in_process: i64) -> bool {
        let limits = &options.limits;
        match self.phase {
            _ if self.fate != Fate::Alive => false,
            Phase::New | Phase::Word => true,
            Phase::Connecting => false,
            Phase::Open => {
                self.unsent().len() < OUTPUT_PAUSE
                    && self.slots.len() < SLOTS_PAUSE
                    && self.queued_bytes < QUEUED_BYTES_PAUSE
                    && !limits.pauses(in_process, self.slots.len())
                    && !limits.stalls(in_process)
            }
        }
    }

    // ---- input

    /// Takes bytes from the peer, after those that still wait.
    pub fn feed(&mut self, bytes: &[u8], round: &mut Round<'_>) {
        if self.input.is_empty() {
            let used = self.take_frames(bytes, round);
            self.input.extend_from_slice(&bytes[used..]);
        } else {
            let mut input = std::mem::take(&mut self.input);
            input.extend_from_slice(bytes);
            let used = self.take_frames(&input, round);
            if used < input.len() {
                input.drain(..used);
                self.input = input;
            }
        }
    }

    /// The peer will send no more.
    pub fn end_of_input(&mut self, round: &mut Round<'_>) {
        if self.phase == Phase::Word || self.fate != Fate::Alive {
            return; // It may well be waiting for its answer still.
        }
        round.tally.dropped += 1;
        self.close(Level::Info, format_args!("the client closed the connection"));
    }

    /// Returns how many bytes were used up.
    fn take_frames(&mut self, bytes: &[u8], round: &mut Round<'_>) -> usize {
        let mut at = 0;
        while self.takes_input(round.options, round.in_process) {
            match self.take_frame(&bytes[at..], round) {
                0 => break,
                n => at += n,
            }
        }
        if self.fate != Fate::Alive {
            return bytes.len();
        }
        self.held_back = at < bytes.len() && !self.takes_input(round.options, round.in_process);
        if round.options.limits.stalls(round.in_process) {
            self.stalled_since.get_or_insert(round.received);
        } else {
            self.stalled_since = None;
        }
        at
    }

    /// Returns how many bytes were used up: 0 when there is no whole frame.
    fn take_frame(&mut self, bytes: &[u8], round: &mut Round<'_>) -> usize {
        if self.phase == Phase::Word {
            return bytes.len();
        }
        let Some((head, rest)) = bytes.split_first_chunk::<4>() else { return 0 };
        if self.phase == Phase::New && is_four_letter_word(head) {
            return self.word(*head, rest, round);
        }
        let len = i32::from_be_bytes(*head);
        let Some(len) = self.check_length(len, round) else { return bytes.len() };
        let Some(frame) = rest.get(..len) else { return 0 };
        self.count_received(4 + len, round);
        match self.phase {
            Phase::New => self.connect(frame, round),
            _ => self.request(frame, round),
        }
        4 + len
    }

    fn count_received(&mut self, bytes: usize, round: &mut Round<'_>) {
        self.stats.received += 1;
        round.tally.received += 1;
        round.tally.bytes_received += bytes as i64;
    }

    /// Closes the connection and returns `None` if a message of that length is not to be taken.
    fn check_length(&mut self, len: i32, round: &mut Round<'_>) -> Option<usize> {
        let max = round.options.max_request;
        let limits = &round.options.limits;
        let Some(len) = usize::try_from(len).ok().filter(|len| *len <= max) else {
            self.close(
                Level::Warn,
                format_args!(
                    "Len error. A message with advertised length of {len} is either a malformed \
                     message or too large to process (length is greater than jute.maxbuffer={max})"
                ),
            );
            return None;
        };
        if round.serving == Serving::No {
            round.tally.not_serving += 1;
            self.close(Level::Debug, format_args!("ZooKeeperServer not running"));
            return None;
        }
        if limits.is_large(len) && round.large_bytes + len as i64 > limits.large_max_bytes {
            round.tally.large_rejected += 1;
            self.close(Level::Warn, format_args!("Rejecting large request of {len} bytes"));
            return None;
        }
        Some(len)
    }

    /// A four-letter word. `stmk` is followed by 8 bytes.
    fn word(&mut self, word: [u8; 4], rest: &[u8], round: &mut Round<'_>) -> usize {
        let mask = rest.first_chunk::<8>().map(|mask| i64::from_be_bytes(*mask));
        let takes_mask = word == *b"stmk";
        if takes_mask && mask.is_none() {
            return 0;
        }
        self.count_received(4, round);
        self.phase = Phase::Word;
        let mask = mask.filter(|_| takes_mask);
        round.words.push(Word { conn: self.id, peer: self.peer, word, mask });
        4 + if takes_mask { 8 } else { 0 }
    }

    /// The checks of C-87, in order; then the commit thread decides.
    fn connect(&mut self, frame: &[u8], round: &mut Round<'_>) {
        let mut request: ConnectRequest = match Reader::new(frame).record() {
            Ok(request) => request,
            Err(e) => return self.close(Level::Warn, format_args!("bad ConnectRequest: {e}")),
        };
        let kind = match request.session_id {
            0 if round.options.local_sessions => SessionKind::Local,
            0 => SessionKind::Global,
            _ => SessionKind::Renew,
        };
        if !(round.admit)(kind) {
            round.tally.rejected += 1;
            return self.close(Level::Info, format_args!("too many connections at once"));
        }
        round.tally.connects += 1;
        if round.serving == Serving::ReadOnly && request.read_only != Some(true) {
            let what = "Refusing session request for not-read-only client";
            return self.close(Level::Info, format_args!("{what}"));
        }
        let last_zxid = round.view.state.tree.last_zxid();
        if request.last_zxid_seen > last_zxid {
            return self.close(
                Level::Info,
                format_args!(
                    "Refusing session request of a client that has seen zxid 0x{:x}; our last zxid \
                     is 0x{last_zxid:x}; the client must try another server",
                    request.last_zxid_seen
                ),
            );
        }
        request.timeout = round.server.negotiate_timeout(request.timeout);
        self.timeout_ms = request.timeout;
        self.knows_read_only = request.read_only.is_some();
        self.phase = Phase::Connecting;
        match request.session_id {
            0 => self.session_asked = Some(round.received),
            _ => round.tally.revalidations += 1,
        }
        round.submit.push(IoEvent::Connect { conn: self.id, addr: self.peer.ip(), request });
    }

    fn request(&mut self, frame: &[u8], round: &mut Round<'_>) {
        if frame.len() < 8 {
            let len = frame.len();
            return self.close(Level::Warn, format_args!("a request of {len} bytes has no header"));
        }
        let (xid, op) = (BigEndian::read_i32(frame), BigEndian::read_i32(&frame[4..]));
        let body = &frame[8..];
        match op {
            code::AUTH => return self.auth_packet(xid, body, round),
            code::SASL => return self.sasl_packet(xid, body, round),
            _ => {}
        }
        if round.enforce.is_some_and(|enforce| !enforce.allows(&self.ids)) {
            let why = "the client has none of the required authentication schemes, closing session";
            log::error!("{}: {why}", self.peer);
            let err = ErrorCode::SessionClosedRequireSaslAuth;
            return self.reply_in_turn(xid, op, (0, err, &[]), true, round);
        }
        let waited = self.stalled_since.map_or(0, |since| round.now - since);
        if round.options.limits.is_stale(waited, self.timeout_ms) {
            round.tally.stale += 1;
            return self.close(Level::Warn, format_args!("a request waited for {waited} ms"));
        }
        if round.options.limits.fails_as_throttled(op, waited) {
            round.tally.throttled += 1;
            let zxid = round.view.state.tree.last_zxid();
            return self.reply_in_turn(xid, op, (zxid, ErrorCode::ThrottledOp, &[]), false, round);
        }
        if is_read(op) {
            self.read(xid, op, body, round);
        } else if round.serving == Serving::ReadOnly && needs_leader(op) {
            let zxid = round.view.state.tree.last_zxid();
            self.reply_in_turn(xid, op, (zxid, ErrorCode::NotReadOnly, &[]), false, round);
        } else if is_ordered(op) {
            self.order(xid, op, body, round);
        } else {
            log::warn!("{}: Received packet at server of unknown type {op}", self.peer);
            self.reply_in_turn(xid, op, (-1, ErrorCode::Unimplemented, &[]), true, round);
        }
    }

    fn auth_packet(&mut self, xid: i32, body: &[u8], round: &mut Round<'_>) {
        let packet: AuthPacket = match Reader::new(body).record() {
            Ok(packet) => packet,
            Err(e) => return self.close(Level::Warn, format_args!("bad auth packet: {e}")),
        };
        let data = packet.auth.unwrap_or_default();
        let answer = round.view.auth.authenticate(&packet.scheme, self.peer.ip(), &data);
        match answer.and_then(|ids| self.with_ids(ids).ok_or(AuthError::Failed)) {
            Ok(ids) => {
                let (session, peer) = (self.session, self.peer);
                log::debug!("Session 0x{session:x}: {} auth success for {peer}", packet.scheme);
                self.ids = ids;
                self.reply_in_turn(xid, code::AUTH, (0, ErrorCode::Ok, &[]), false, round);
            }
            Err(AuthError::Failed) => {
                round.tally.auth_failed += 1;
                let scheme = &packet.scheme;
                log::warn!("{}: Authentication failed for scheme: {scheme}", self.peer);
                self.reply_in_turn(xid, code::AUTH, (0, ErrorCode::AuthFailed, &[]), true, round);
            }
            Err(AuthError::Close) => {
                self.close(Level::Warn, format_args!("the client belongs to another ensemble"));
            }
        }
    }

    /// Its identities and these; `None` if that is too much.
    fn with_ids(&self, more: Vec<Id>) -> Option<Arc<[Id]>> {
        let new = more.into_iter().filter(|id| !self.ids.contains(id));
        let all: Arc<[Id]> = self.ids.iter().cloned().chain(new).collect();
        let bytes: usize = all.iter().map(|id| id.scheme.len() + id.id.len()).sum();
        (bytes <= IDS_MAX).then_some(all)
    }

    /// There is no SASL server: Java then answers with a null token (C-107).
    fn sasl_packet(&mut self, xid: i32, body: &[u8], round: &mut Round<'_>) {
        if let Err(e) = Reader::new(body).record::<SaslToken>() {
            return self.close(Level::Warn, format_args!("bad SASL packet: {e}"));
        }
        let token = SaslToken { token: None }.to_bytes();
        self.reply_in_turn(xid, code::SASL, (0, ErrorCode::Ok, &token), false, round);
    }

    fn read(&mut self, xid: i32, op: i32, body: &[u8], round: &mut Round<'_>) {
        if self.slots.is_empty() {
            // The ids are borrowed from the connection while it is changed.
            let ids = Arc::clone(&self.ids);
            return self.answer(xid, op, body, &ids, round.received, round);
        }
        // It must see the write before it and not the one behind it: it goes the same way.
        self.order(xid, op, body, round);
    }

    fn order(&mut self, xid: i32, op: i32, body: &[u8], round: &mut Round<'_>) {
        let slot = self.first_slot.wrapping_add(self.slots.len() as u32);
        self.push_slot(xid, op, weight(op, body.len()), Work::Ordered(body.len()), round);
        if round.options.limits.is_large(body.len()) {
            round.large_bytes += body.len() as i64;
            round.tally.large_bytes += body.len() as i64;
        }
        round.submit.push(IoEvent::Request(ClientRequest {
            conn: self.id,
            slot,
            session: self.session,
            xid,
            op,
            body: body.into(),
            ids: Arc::clone(&self.ids),
        }));
    }

    fn push_slot(&mut self, xid: i32, op: i32, weight: usize, work: Work, round: &mut Round<'_>) {
        self.slots.push_back(Slot { xid, op, received: round.received, work });
        self.queued_bytes += weight;
        round.in_process += 1;
        round.tally.outstanding += 1;
    }

    // ---- replies

    /// Executes a read whose turn it is.
    fn answer(
        &mut self,
        xid: i32,
        op: i32,
        body: &[u8],
        ids: &[Id],
        received: i64,
        round: &mut Round<'_>,
    ) {
        let start = self.output.len();
        let xid = if op == code::PING { op::xid::PING } else { xid };
        let viewer = Viewer { conn: self.id, session: self.session, ids };
        if let Err(e) = round.view.answer(&viewer, xid, op, body, &mut self.output) {
            log_undecodable(self.peer, self.session, (op, body), &e);
        }
        let zxid = round.view.state.tree.last_zxid();
        self.replied(xid, op, zxid, received, self.output.len() - start, round);
    }

    /// Sends a reply as soon as all earlier requests are answered.
    fn reply_in_turn(
        &mut self,
        xid: i32,
        op: i32,
        (zxid, err, body): (i64, ErrorCode, &[u8]),
        then_close: bool,
        round: &mut Round<'_>,
    ) {
        let mut frame = Vec::with_capacity(20 + body.len());
        put_bare_reply(&mut frame, xid, zxid, err.code());
        frame.extend_from_slice(body);
        frame[..4].copy_from_slice(&(16 + body.len() as i32).to_be_bytes());
        let frame = frame.into_boxed_slice();
        self.push_slot(xid, op, 0, Work::Answered { frame, zxid, then_close }, round);
        self.advance(round);
    }

    /// The commit thread's answer to a slot.
    pub fn complete(&mut self, entry: &ReplyEntry, frame: &[u8], round: &mut Round<'_>) {
        if self.fate != Fate::Alive {
            return;
        }
        let place = entry.slot.wrapping_sub(self.first_slot) as usize;
        let slot = self.slots.get_mut(place);
        let Some((slot, bytes)) = slot.and_then(|slot| slot.work.ordered().map(|n| (slot, n)))
        else {
            panic!("{entry:?} is for no slot that waits; the first is {}", self.first_slot);
        };
        self.queued_bytes -= weight(slot.op, bytes);
        if round.options.limits.is_large(bytes) {
            round.tally.large_bytes -= bytes as i64;
        }
        if place > 0 {
            let (zxid, then_close) = (entry.zxid, entry.then_close);
            slot.work = Work::Answered { frame: frame.into(), zxid, then_close };
            return;
        }
        if let Some(slot) = self.pop_slot(round) {
            self.send_reply(&slot, frame, entry.zxid, entry.then_close, round);
        }
        self.advance(round);
    }

    fn pop_slot(&mut self, round: &mut Round<'_>) -> Option<Slot> {
        let slot = self.slots.pop_front()?;
        self.first_slot = self.first_slot.wrapping_add(1);
        round.in_process -= 1;
        round.tally.outstanding -= 1;
        Some(slot)
    }

    /// Answers the slots at the front whose turn has come.
    fn advance(&mut self, round: &mut Round<'_>) {
        while let Some(front) = self.slots.front() {
            if self.fate != Fate::Alive || matches!(front.work, Work::Ordered(_)) {
                return;
            }
            let Some(slot) = self.pop_slot(round) else { return };
            match &slot.work {
                Work::Answered { frame, zxid, then_close } => {
                    self.send_reply(&slot, frame, *zxid, *then_close, round);
                }
                Work::Ordered(_) => unreachable!("the loop stops at unanswered slots"),
            }
        }
    }

    fn send_reply(
        &mut self,
        slot: &Slot,
        frame: &[u8],
        zxid: i64,
        then_close: bool,
        round: &mut Round<'_>,
    ) {
        self.output.extend_from_slice(frame);
        self.replied(slot.xid, slot.op, zxid, slot.received, frame.len(), round);
        if then_close {
            self.flush_and_close();
        }
    }

    /// Counts a reply.
    fn replied(
        &mut self,
        xid: i32,
        op: i32,
        zxid: i64,
        received: i64,
        frame_len: usize,
        round: &mut Round<'_>,
    ) {
        let latency = round.now - received;
        self.stats.sent += 1;
        self.stats.answered(xid, op, zxid, latency, round.now);
        round.tally.reply(is_ordered(op) && op != code::SYNC, latency, frame_len as i64 - 4);
    }

    // ---- from the commit thread

    /// The answer to the ConnectRequest: a session, or (0) none, which ends the connection (C-88).
    pub fn session_ready(
        &mut self,
        session: i64,
        timeout_ms: i32,
        passwd: [u8; 16],
        round: &mut Round<'_>,
    ) {
        if self.phase != Phase::Connecting || self.fate != Fate::Alive {
            return;
        }
        let read_only = round.serving == Serving::ReadOnly;
        let response = ConnectResponse {
            protocol_version: 0,
            timeout: if session == 0 { 0 } else { timeout_ms },
            session_id: session,
            passwd: if session == 0 { [0; 16] } else { passwd },
            read_only: self.knows_read_only.then_some(read_only),
        };
        let bytes = response.to_bytes();
        self.output.put_buffer(Some(&bytes));
        self.stats.sent += 1;
        round.tally.sent += 1;
        if session == 0 {
            log::info!("{}: invalid session, probably expired", self.peer);
            return self.flush_and_close();
        }
        log::debug!("{}: established session 0x{session:x}, {timeout_ms} ms", self.peer);
        self.session = session;
        self.timeout_ms = timeout_ms;
        self.phase = Phase::Open;
        if let Some(received) = self.session_asked {
            let latency = round.now - received;
            let zxid = round.view.state.tree.last_zxid();
            self.stats.answered(0, code::CREATE_SESSION, zxid, latency, round.now);
            round.tally.latency(true, latency);
        }
    }

    /// Sends a watch event.
    pub fn notify(&mut self, frame: &[u8], round: &mut Round<'_>) {
        if self.fate != Fate::Alive {
            return;
        }
        self.output.extend_from_slice(frame);
        self.stats.sent += 1;
        round.tally.sent += 1;
        round.tally.watch_bytes += frame.len() as i64 - 4;
        if self.unsent().len() > OUTPUT_MAX {
            let what = "the client does not read what it is sent";
            self.close(Level::Warn, format_args!("{what}: {} bytes wait", self.unsent().len()));
        }
    }

    /// The answer to a four-letter word. Java counts the text as one packet.
    pub fn send_text(&mut self, text: &[u8], round: &mut Round<'_>) {
        self.output.extend_from_slice(text);
        self.stats.sent += 1;
        round.tally.sent += 1;
        self.flush_and_close();
    }

    pub fn close_for(&mut self, reason: CloseReason) {
        log::debug!("{}: closing session 0x{:x}: {reason:?}", self.peer, self.session);
        self.flush_and_close();
    }

    // ---- output

    /// What the socket has not taken yet.
    pub fn unsent(&self) -> &[u8] {
        &self.output[self.sent..]
    }

    pub fn has_unsent(&self) -> bool {
        !self.unsent().is_empty()
    }

    /// The socket took `n` bytes. When that was all, the buffer is given back, so that idle
    /// connections have none.
    pub fn took(&mut self, n: usize) -> Option<Vec<u8>> {
        self.sent += n;
        if self.sent < self.output.len() {
            return None;
        }
        self.sent = 0;
        let mut buffer = std::mem::take(&mut self.output);
        buffer.clear();
        if self.fate == Fate::Flushing {
            self.fate = Fate::Dead;
        }
        Some(buffer)
    }

    /// Whether a buffer for output would help.
    pub fn wants_buffer(&self) -> bool {
        self.output.capacity() == 0
    }

    pub fn give_buffer(&mut self, buffer: Vec<u8>) {
        debug_assert!(self.wants_buffer() && buffer.is_empty());
        self.output = buffer;
    }

    fn flush_and_close(&mut self) {
        if self.fate == Fate::Alive {
            self.fate = if self.unsent().is_empty() { Fate::Dead } else { Fate::Flushing };
            self.input = Vec::new();
        }
    }

    /// Ends the connection at once.
    pub fn close(&mut self, level: Level, why: std::fmt::Arguments<'_>) {
        if self.fate != Fate::Dead {
            log::log!(level, "Closing {} (session 0x{:x}): {why}", self.peer, self.session);
            self.fate = Fate::Dead;
        }
    }

    /// The connection is over: its unanswered requests do not count any more.
    pub fn abandon(&mut self, options: &Options, tally: &mut Tally) {
        for slot in self.slots.drain(..) {
            tally.outstanding -= 1;
            if let Some(bytes) = slot.work.ordered()
                && options.limits.is_large(bytes)
            {
                tally.large_bytes -= bytes as i64;
            }
        }
    }

    /// Gives back memory that an idle connection does not need.
    pub fn release_memory(&mut self) {
        if self.slots.is_empty() {
            self.slots = VecDeque::new();
        }
    }

    // ---- statistics

    /// `crst`.
    pub fn reset_stats(&mut self) {
        self.stats = Stats::default();
    }

    /// `expires`: when it is given up unless something comes, ms since 1970.
    pub fn info(&self, takes_input: bool, expires: i64) -> ConnInfo {
        let s = &self.stats;
        // Java has taken a connection that asked a word off its selector.
        let reads = u8::from(takes_input && self.phase != Phase::Word);
        let writes = u8::from(!self.unsent().is_empty());
        ConnInfo {
            id: self.id,
            peer: self.peer,
            interest_ops: reads + 4 * writes,
            queued: self.slots.len(),
            received: s.received,
            sent: s.sent,
            session: self.session,
            last_op: op_name(s.last_op),
            established: self.established,
            expires,
            timeout_ms: self.timeout_ms,
            last_cxid: s.last_cxid,
            last_zxid: s.last_zxid,
            last_response: s.last_response,
            last_latency: s.last_latency,
            min_latency: if s.count == 0 { 0 } else { s.min_latency },
            avg_latency: if s.count == 0 { 0 } else { s.total_latency / s.count },
            max_latency: s.max_latency,
        }
    }
}

/// Whether a request goes to the commit thread. `check` lives in multis only; sessions are created
/// by connecting.
fn is_ordered(op: i32) -> bool {
    op == code::SYNC || op::is_write(op) && !matches!(op, code::CHECK | code::CREATE_SESSION)
}

/// What a request with the commit thread counts for in [`QUEUED_BYTES_PAUSE`]: its body; a read
/// also what it may bring, of which a multiRead may bring much.
fn weight(op: i32, body: usize) -> usize {
    match op {
        code::MULTI_READ => QUEUED_BYTES_PAUSE,
        _ if is_read(op) => WAITING_READ.max(body),
        _ => body,
    }
}

/// What a read-only server refuses (C-112). Its sessions end without anybody else.
fn needs_leader(op: i32) -> bool {
    op == code::SYNC
        || op::is_write(op)
            && !matches!(op, code::CHECK | code::CREATE_SESSION | code::CLOSE_SESSION)
}

/// The short names of operations in `cons` (C-30 …).
fn op_name(op: i32) -> &'static str {
    use code::*;
    match op {
        CREATE | CREATE2 | CREATE_TTL | CREATE_CONTAINER => "CREA",
        DELETE | DELETE_CONTAINER => "DELE",
        EXISTS => "EXIS",
        GET_DATA => "GETD",
        SET_DATA => "SETD",
        GET_ACL => "GETA",
        SET_ACL => "SETA",
        GET_CHILDREN | GET_CHILDREN2 => "GETC",
        SYNC => "SYNC",
        PING => "PING",
        CHECK => "CHEC",
        MULTI => "MULT",
        RECONFIG => "RECO",
        CHECK_WATCHES => "CHKW",
        REMOVE_WATCHES => "REMW",
        MULTI_READ => "MLTR",
        SET_WATCHES => "SETW",
        GET_EPHEMERALS => "GETE",
        GET_ALL_CHILDREN_NUMBER => "GETACN",
        SET_WATCHES2 => "STW2",
        ADD_WATCH => "ADDW",
        WHO_AM_I => "HOMI",
        CREATE_SESSION => "SESS",
        CLOSE_SESSION => "CLOS",
        _ => "NA",
    }
}

#[cfg(test)]
mod tests;
