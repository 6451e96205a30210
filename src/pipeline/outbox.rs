//! What the commit thread has for the I/O threads, gathered over a batch: replies end to end in
//! one buffer a thread, watch events in their place between them. Pure.

use std::sync::Arc;

use super::{ConnId, ReplyEntry, ToIo};
use crate::wire::Acl;

/// Bytes after which a run of replies is closed: offsets in it have 32 bits, and its memory is to
/// be given back.
const RUN_BYTES: usize = 1 << 20;

/// The messages for one I/O thread.
#[derive(Debug, Default)]
struct Lane {
    messages: Vec<ToIo>,
    bytes: Vec<u8>,
    entries: Vec<ReplyEntry>,
}

impl Lane {
    /// Closes the run of replies, so that what follows it stays behind it.
    fn seal(&mut self) {
        if !self.entries.is_empty() {
            // The next run is probably as long.
            let bytes = Vec::with_capacity(self.bytes.len().min(RUN_BYTES));
            let entries = Vec::with_capacity(self.entries.len());
            self.messages.push(ToIo::Replies {
                bytes: std::mem::replace(&mut self.bytes, bytes),
                entries: std::mem::replace(&mut self.entries, entries),
            });
        }
    }
}

/// One lane an I/O thread.
#[derive(Debug)]
pub struct IoOutbox {
    lanes: Vec<Lane>,
}

impl IoOutbox {
    pub fn new(io_threads: usize) -> Self {
        Self { lanes: (0..io_threads).map(|_| Lane::default()).collect() }
    }

    pub fn push(&mut self, conn: ConnId, message: ToIo) {
        let lane = &mut self.lanes[conn.io_thread()];
        lane.seal();
        lane.messages.push(message);
    }

    /// A message for every I/O thread.
    pub fn push_all(&mut self, mut message: impl FnMut() -> ToIo) {
        for lane in &mut self.lanes {
            lane.seal();
            lane.messages.push(message());
        }
    }

    /// Adds a reply whose frame `write` appends; nothing appended is no reply.
    pub fn reply(
        &mut self,
        conn: ConnId,
        slot: u32,
        zxid: i64,
        then_close: bool,
        write: impl FnOnce(&mut Vec<u8>),
    ) {
        let lane = &mut self.lanes[conn.io_thread()];
        let start = lane.bytes.len() as u32;
        write(&mut lane.bytes);
        let end = lane.bytes.len() as u32;
        if end == start {
            return;
        }
        lane.entries.push(ReplyEntry { conn, slot, start, end, zxid, then_close });
        if lane.bytes.len() > RUN_BYTES {
            lane.seal();
        }
    }

    /// One event for several watchers, which may sit on several threads.
    pub fn event(&mut self, frame: &Arc<[u8]>, acl: &Arc<[Acl]>, watchers: &[ConnId]) {
        for (io_thread, lane) in self.lanes.iter_mut().enumerate() {
            let conns: Vec<ConnId> =
                watchers.iter().copied().filter(|c| c.io_thread() == io_thread).collect();
            if !conns.is_empty() {
                lane.seal();
                let (frame, acl) = (Arc::clone(frame), Arc::clone(acl));
                lane.messages.push(ToIo::Event { frame, acl, conns });
            }
        }
    }

    /// Hands over what has gathered, each thread's messages in order.
    pub fn drain(&mut self, mut deliver: impl FnMut(usize, ToIo)) {
        for (io_thread, lane) in self.lanes.iter_mut().enumerate() {
            lane.seal();
            lane.messages.drain(..).for_each(|message| deliver(io_thread, message));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::CloseReason;

    #[test]
    fn order_within_a_thread_is_kept() {
        let mut out = IoOutbox::new(2);
        let (a, b) = (ConnId::new(0, 1), ConnId::new(1, 2));
        out.reply(a, 0, 5, false, |bytes| bytes.extend_from_slice(b"one"));
        out.reply(a, 1, 6, false, |bytes| bytes.extend_from_slice(b"two"));
        out.event(&Arc::from(&b"ev"[..]), &Arc::from(vec![]), &[a, b]);
        out.reply(a, 2, 7, true, |bytes| bytes.extend_from_slice(b"three"));
        out.push(b, ToIo::Close { conn: b, reason: CloseReason::SessionExpired });
        let mut lanes = [Vec::new(), Vec::new()];
        out.drain(|io_thread, message| lanes[io_thread].push(message));
        let [first, second] = &lanes;
        let [ToIo::Replies { bytes, entries }, ToIo::Event { .. }, ToIo::Replies { .. }] =
            &first[..]
        else {
            panic!("{first:?}")
        };
        assert_eq!((bytes.as_slice(), entries.len()), (&b"onetwo"[..], 2));
        assert!(matches!(second[..], [ToIo::Event { .. }, ToIo::Close { .. }]));
    }

    #[test]
    fn a_run_of_replies_does_not_grow_without_end() {
        let mut out = IoOutbox::new(1);
        let conn = ConnId::new(0, 1);
        for slot in 0..5 {
            let reply = |bytes: &mut Vec<u8>| bytes.resize(bytes.len() + RUN_BYTES / 2, 0);
            out.reply(conn, slot, 5, false, reply);
        }
        let mut runs = Vec::new();
        out.drain(|_, message| match message {
            ToIo::Replies { entries, .. } => runs.push(entries.len()),
            other => panic!("{other:?}"),
        });
        assert_eq!(runs, [3, 2]);
    }
}
