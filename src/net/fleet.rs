//! The connections of one I/O thread, found by [`ConnId`] and by poll token, and who of them waits
//! for what: to be read, to be written, for the request throttler, for their idle time-out.

use std::collections::{BTreeMap, VecDeque};
use std::io;

use mio::{Registry, Token};

use super::connection::{Connection, Fate};
use super::options::Options;
use super::transport::Transport;
use crate::pipeline::ConnId;

/// A serial number is a place in the table (low bits) and how often the place was used before.
const PLACE_BITS: u32 = 20;
const MAX_PLACES: usize = 1 << PLACE_BITS;
const MAX_USES: u32 = 1 << (48 - PLACE_BITS);
/// Output buffers that are kept for the next batch, and the largest one that is.
const SPARE_BUFFERS: usize = 64;
const SPARE_BUFFER_MAX: usize = 128 << 10;

/// A connection and its socket.
#[derive(Debug)]
pub struct Client {
    pub conn: Connection,
    pub transport: Transport,
    /// The socket may have something to read.
    pub readable: bool,
    /// The peer has said that it will send no more: read until the end shows up.
    pub ending: bool,
    /// On the list `ready` or `stalled`.
    queued: bool,
    /// On the list `dirty`.
    dirty: bool,
    /// On the list `touched`.
    touched: bool,
    /// When bytes came last, ms.
    pub heard: i64,
    /// The bucket of the expiry queue in which it is: when it expires, ms.
    pub bucket: i64,
}

#[derive(Debug, Default)]
struct Place {
    uses: u32,
    client: Option<Client>,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Fleet {
    io_thread: usize,
    places: Vec<Place>,
    /// Longest unused first, so that places wear evenly.
    free: VecDeque<usize>,
    /// To be read, or to be looked at because requests were held back.
    pub ready: Vec<ConnId>,
    /// Held back by the request throttler.
    pub stalled: Vec<ConnId>,
    /// Have output, or have come to their end.
    pub dirty: Vec<ConnId>,
    /// Have sent something since their sessions were last reported.
    pub touched: Vec<ConnId>,
    spare_buffers: Vec<Vec<u8>>,
    buckets: BTreeMap<i64, Vec<ConnId>>,
}

impl Fleet {
    pub fn new(io_thread: usize) -> Self {
        Self { io_thread, ..Self::default() }
    }

    fn place_of(id: ConnId) -> usize {
        id.0 as usize & (MAX_PLACES - 1)
    }

    pub fn get(&mut self, id: ConnId) -> Option<&mut Client> {
        let client = self.places.get_mut(Self::place_of(id))?.client.as_mut()?;
        (client.conn.id() == id).then_some(client)
    }

    pub fn by_token(&mut self, token: Token) -> Option<&mut Client> {
        self.places.get_mut(token.0)?.client.as_mut()
    }

    pub fn iter(&mut self) -> impl Iterator<Item = &mut Client> {
        self.places.iter_mut().filter_map(|place| place.client.as_mut())
    }

    pub fn ids(&self) -> Vec<ConnId> {
        self.places.iter().filter_map(|p| p.client.as_ref().map(|c| c.conn.id())).collect()
    }

    /// Takes a connection in. `make` builds its state, given its id.
    pub fn add(
        &mut self,
        mut transport: Transport,
        registry: &Registry,
        now: i64,
        options: &Options,
        make: impl FnOnce(ConnId) -> Connection,
    ) -> io::Result<()> {
        let place = match self.free.pop_front() {
            Some(place) => place,
            None if self.places.len() == MAX_PLACES => {
                return Err(io::Error::other("an I/O thread has no place for more connections"));
            }
            None => {
                self.places.push(Place::default());
                self.places.len() - 1
            }
        };
        if let Err(e) = transport.register(registry, Token(place)) {
            self.free.push_front(place);
            return Err(e);
        }
        let uses = self.places[place].uses;
        let id = ConnId::new(self.io_thread, u64::from(uses) << PLACE_BITS | place as u64);
        self.places[place].client = Some(Client {
            conn: make(id),
            transport,
            readable: false,
            ending: false,
            queued: false,
            dirty: false,
            touched: false,
            heard: now,
            bucket: 0,
        });
        self.file(id, options);
        Ok(())
    }

    /// Takes a connection out. A place that was used too often is never used again, so that ids
    /// are not, either.
    pub fn remove(&mut self, id: ConnId) -> Option<Client> {
        self.get(id)?;
        let place = &mut self.places[Self::place_of(id)];
        place.uses += 1;
        if place.uses < MAX_USES {
            self.free.push_back(Self::place_of(id));
        }
        place.client.take()
    }

    /// The client, noted as having output or an end, with a buffer to write to.
    pub fn get_dirty(&mut self, id: ConnId) -> Option<&mut Client> {
        let client = self.places.get_mut(Self::place_of(id))?.client.as_mut()?;
        if client.conn.id() != id {
            return None;
        }
        if !client.dirty {
            client.dirty = true;
            self.dirty.push(id);
        }
        if client.conn.wants_buffer()
            && let Some(buffer) = self.spare_buffers.pop()
        {
            client.conn.give_buffer(buffer);
        }
        Some(client)
    }

    /// Notes that the client's session was heard of.
    pub fn touch(&mut self, id: ConnId) {
        if let Some(client) = self.get(id)
            && !client.touched
            && client.conn.session() != 0
        {
            client.touched = true;
            self.touched.push(id);
        }
    }

    /// The sessions heard of since the last time.
    pub fn take_touched(&mut self) -> Vec<i64> {
        let mut sessions = Vec::with_capacity(self.touched.len());
        for id in std::mem::take(&mut self.touched) {
            if let Some(client) = self.get(id) {
                client.touched = false;
                sessions.push(client.conn.session());
            }
        }
        sessions
    }

    /// Puts the client on the list where it belongs if there is something to take from it.
    pub fn queue(&mut self, id: ConnId, options: &Options, in_process: i64) {
        let Some(client) = self.get(id) else { return };
        if client.queued || !client.readable && !client.conn.holds_requests() {
            return;
        }
        if client.conn.takes_input(options, in_process) {
            client.queued = true;
            self.ready.push(id);
        } else if options.limits.stalls(in_process) {
            client.queued = true;
            self.stalled.push(id);
        }
        // Otherwise a reply will come to it, and with that a call of this function.
    }

    /// Clients that the request throttler held back are ready again.
    pub fn release_stalled(&mut self) {
        self.ready.append(&mut self.stalled);
    }

    pub fn take_ready(&mut self) -> Vec<ConnId> {
        let ready = std::mem::take(&mut self.ready);
        for id in &ready {
            if let Some(client) = self.get(*id) {
                client.queued = false;
            }
        }
        ready
    }

    pub fn take_dirty(&mut self) -> Vec<ConnId> {
        std::mem::take(&mut self.dirty)
    }

    /// Writes what the socket takes.
    pub fn flush(&mut self, id: ConnId) -> Fate {
        let Some(client) = self.get(id) else { return Fate::Dead };
        client.dirty = false;
        let mut spare = None;
        while spare.is_none() && !client.conn.unsent().is_empty() {
            match client.transport.write(client.conn.unsent()) {
                Ok(n) => spare = client.conn.took(n),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                Err(e) => {
                    client.conn.close(log::Level::Info, format_args!("cannot write: {e}"));
                    break;
                }
            }
        }
        if spare.is_none() && client.conn.unsent().is_empty() {
            spare = client.conn.took(0);
        }
        let fate = client.conn.fate();
        if let Some(buffer) = spare
            && (1..=SPARE_BUFFER_MAX).contains(&buffer.capacity())
            && self.spare_buffers.len() < SPARE_BUFFERS
        {
            self.spare_buffers.push(buffer);
        }
        fate
    }

    // ---- idle time-outs

    /// When a connection expires if nothing comes. Java: `ExpiryQueue.roundToNextInterval` with the
    /// sessionless time-out as interval.
    fn due(client: &Client, options: &Options) -> i64 {
        let interval = options.sessionless_timeout_ms.max(1);
        ((client.heard + client.conn.idle_limit(options)) / interval + 1) * interval
    }

    /// Puts the client into the bucket in which it expires.
    pub fn file(&mut self, id: ConnId, options: &Options) {
        let Some(client) = self.get(id) else { return };
        let due = Self::due(client, options);
        if client.bucket != due {
            client.bucket = due;
            self.buckets.entry(due).or_default().push(id);
        }
    }

    /// When [`Fleet::expired`] has something to do next.
    pub fn next_due(&self) -> Option<i64> {
        self.buckets.first_key_value().map(|(due, _)| *due)
    }

    /// Connections that have been silent too long. Those that were not are put into later buckets.
    pub fn expired(&mut self, now: i64, options: &Options) -> Vec<ConnId> {
        let mut expired = Vec::new();
        while let Some(first) = self.buckets.first_entry()
            && *first.key() <= now
        {
            let (bucket, ids) = first.remove_entry();
            for id in ids {
                let Some(client) = self.get(id).filter(|client| client.bucket == bucket) else {
                    continue;
                };
                client.conn.release_memory();
                if Self::due(client, options) <= now {
                    expired.push(id);
                } else {
                    self.file(id, options);
                }
            }
        }
        expired
    }
}
