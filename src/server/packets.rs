//! What comes in over a link between learner and leader. While the learner is being synchronised a
//! thread of the link's own reads: that may be a stream of any length, a snapshot among it. A
//! *steady* link brings nothing but small packets. From then on the commit thread takes them off
//! the socket itself when its poll tells of them: each would only be handed on to it, and to wake
//! it takes longer than to read. Java: the reading halves of `LearnerHandler` and `Learner`.

use std::io::{self, Read};
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::sync::{Mutex, MutexGuard, PoisonError};

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};

use super::background;
use super::link::{LinkSettings, Told};
use crate::pipeline::node::LinkEvent;
use crate::quorum::leader::LinkId;
use crate::storage::snapshot;
use crate::sys;
use crate::tree::DataTree;
use crate::wire::quorum::{QuorumPacket, packet};
use crate::wire::{DecodeError, Reader, Record};

/// Bytes asked of the socket at once.
const READ_BYTES: usize = 64 << 10;

/// Bytes of a learner's packet beside its data: a client's identities, of which our own servers
/// take 64 KiB.
pub const MAX_AUTHINFO: usize = 1 << 20;

/// Bytes of a long transfer after which there is progress to be reported.
const PROGRESS_BYTES: usize = 64 << 10;

/// What a read without waiting has given.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Taken {
    Nothing,
    /// All that was there; the poll tells of more.
    All,
    /// There may be more.
    Some,
}

/// Packets as they arrive: complete ones only, so that nobody waits for half of the next.
pub struct PacketReader {
    input: TcpStream,
    buf: Vec<u8>,
    /// The bytes of `buf` that have been read off the socket but not used yet.
    start: usize,
    end: usize,
    max_packet: usize,
}

impl PacketReader {
    pub fn new(input: TcpStream, max_packet: usize) -> Self {
        Self { input, buf: Vec::new(), start: 0, end: 0, max_packet }
    }

    /// The next packet if all of it is here.
    fn buffered(&mut self) -> io::Result<Option<QuorumPacket>> {
        let mut reader = Reader::new(&self.buf[self.start..self.end]);
        match QuorumPacket::read(&mut reader) {
            Ok(packet) => {
                self.start = self.end - reader.rest().len();
                Ok(Some(packet))
            }
            Err(DecodeError::Truncated { needed, left })
                if self.end - self.start - left + needed <= self.max_packet =>
            {
                Ok(None)
            }
            Err(e) => Err(io::Error::new(io::ErrorKind::InvalidData, e)),
        }
    }

    /// Waits for more bytes.
    fn fill(&mut self) -> io::Result<()> {
        self.make_room();
        let n = self.input.read(&mut self.buf[self.end..])?;
        self.end += n;
        if n == 0 { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
    }

    /// Takes what is here. Fails at the stream's end.
    fn fill_now(&mut self) -> io::Result<Taken> {
        self.make_room();
        let room = self.buf.len() - self.end;
        match sys::recv_now(&self.input, &mut self.buf[self.end..]) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => {
                self.end += n;
                Ok(if n < room { Taken::All } else { Taken::Some })
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(Taken::Nothing),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => Ok(Taken::Some),
            Err(e) => Err(e),
        }
    }

    /// Reports the packets that are here, and whether that was all.
    fn take_packets(&mut self, report: &mut impl FnMut(LinkEvent)) -> io::Result<Taken> {
        let taken = self.fill_now()?;
        let mut packets = Vec::new();
        let parsed = loop {
            match self.buffered() {
                Ok(Some(packet)) => packets.push(packet),
                Ok(None) => break Ok(taken),
                Err(e) => break Err(e),
            }
        };
        if !packets.is_empty() {
            report(LinkEvent::Packets(packets));
        }
        parsed
    }

    fn make_room(&mut self) {
        self.buf.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.end - self.start);
        if self.buf.len() - self.end < READ_BYTES {
            self.buf.resize(self.end + READ_BYTES, 0);
        }
    }
}

/// What is buffered first. A snapshot is asked for in pieces of a few bytes: what comes with them
/// is taken off the stream at once.
impl Read for PacketReader {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.start == self.end {
            self.fill()?;
        }
        let buffered = &self.buf[self.start..self.end];
        let n = buffered.len().min(out.len());
        out[..n].copy_from_slice(&buffered[..n]);
        self.start += n;
        Ok(n)
    }
}

/// Why nothing more can be read.
fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => "the peer closed it".into(),
        _ => error.to_string(),
    }
}

/// From such a packet on its link is steady: the learner has all that the leader had.
fn makes_steady(packet: &QuorumPacket) -> bool {
    matches!(packet.kind, packet::ACK | packet::UPTODATE)
}

/// Reads, and reports, until the link is steady; or until it ends, of which it returns the reason.
pub fn read_until_steady(
    id: LinkId,
    input: &mut PacketReader,
    settings: &LinkSettings,
    report: &(impl Fn(LinkId, LinkEvent) + Sync),
) -> Result<(), String> {
    loop {
        let batch = input.fill().and_then(|()| read_batch(id, input, settings, report));
        if batch.map_err(|e| reason(&e))? {
            return Ok(());
        }
    }
}

/// Hands over every packet that is here; true if the link is steady now.
fn read_batch(
    id: LinkId,
    input: &mut PacketReader,
    settings: &LinkSettings,
    report: &(impl Fn(LinkId, LinkEvent) + Sync),
) -> io::Result<bool> {
    let mut packets = Vec::new();
    let mut steady = false;
    while let Some(packet) = input.buffered()? {
        steady |= makes_steady(&packet);
        if packet.kind == packet::SNAP {
            report(id, LinkEvent::Packets(std::mem::take(&mut packets)));
            let tree = read_snapshot(id, packet.zxid, input, settings, report)?;
            report(id, LinkEvent::Snapshot { zxid: packet.zxid, tree });
        } else {
            packets.push(packet);
        }
    }
    if !packets.is_empty() {
        report(id, LinkEvent::Packets(packets));
    }
    Ok(steady)
}

fn read_snapshot(
    id: LinkId,
    zxid: i64,
    input: &mut (impl Read + Send),
    settings: &LinkSettings,
    report: &(impl Fn(LinkId, LinkEvent) + Sync),
) -> io::Result<Box<DataTree>> {
    let told = Told::new(id, "of the leader's snapshot are here");
    let mut input = ProgressReader { id, input, report, unreported: 0, told };
    let read = || snapshot::read_stream(&mut input, zxid, settings.tree_options);
    background::run("snapshot-link", read)?.map(Box::new)
}

/// Counts what is read off a long transfer and reports progress.
struct ProgressReader<'a, R, F> {
    id: LinkId,
    input: &'a mut R,
    report: &'a F,
    unreported: usize,
    told: Told,
}

impl<R: Read, F: Fn(LinkId, LinkEvent)> Read for ProgressReader<'_, R, F> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.input.read(buf)?;
        self.unreported += n;
        if self.unreported >= PROGRESS_BYTES {
            self.told.add(std::mem::take(&mut self.unreported));
            (self.report)(self.id, LinkEvent::Progress);
        }
        Ok(n)
    }
}

/// The reading end of a steady link, for the commit thread; empty before and afterwards.
#[derive(Default)]
pub struct Steady(Mutex<Option<PacketReader>>);

impl Steady {
    fn lock(&self) -> MutexGuard<'_, Option<PacketReader>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives it to the commit thread. Whatever has been reported of the link was reported before.
    pub fn begin(&self, id: LinkId, input: PacketReader, poll: &Registry) -> io::Result<()> {
        let fd = input.input.as_raw_fd();
        let mut slot = self.lock();
        poll.register(&mut SourceFd(&fd), Token(id as usize), Interest::READABLE)?;
        *slot = Some(input);
        Ok(())
    }

    /// What is here now, without waiting. Of a link that is `closing` everything up to its end, of
    /// which the poll tells but once. False when there may be more.
    pub fn read(&self, closing: bool, poll: &Registry, mut report: impl FnMut(LinkEvent)) -> bool {
        let mut slot = self.lock();
        let Some(input) = &mut *slot else { return true };
        loop {
            match input.take_packets(&mut report) {
                Ok(Taken::Nothing) => return true,
                Ok(_) if closing => {}
                Ok(taken) => return taken == Taken::All,
                Err(e) => {
                    report(LinkEvent::Closed { reason: reason(&e) });
                    end(&mut slot, poll);
                    return true;
                }
            }
        }
    }

    /// Nobody wants to read any more.
    pub fn close(&self, poll: &Registry) {
        end(&mut self.lock(), poll);
    }
}

fn end(slot: &mut Option<PacketReader>, poll: &Registry) {
    if let Some(reader) = slot.take() {
        // That fails only for what is not registered.
        let _ = poll.deregister(&mut SourceFd(&reader.input.as_raw_fd()));
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::TcpListener;
    use std::thread;

    use super::*;
    use crate::wire::{Id, Put};

    const MAX: usize = 1 << 20;

    /// Reads one packet of what another thread writes, until that is over.
    fn read(bytes: Vec<u8>, max_packet: usize) -> (io::Result<Option<QuorumPacket>>, usize) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let writer = thread::spawn(move || {
            // Fails when the reader has had enough.
            let _ = listener.accept().unwrap().0.write_all(&bytes);
        });
        let mut reader = PacketReader::new(TcpStream::connect(address).unwrap(), max_packet);
        let read = loop {
            match reader.buffered() {
                Ok(None) => {}
                done => break done,
            }
            if let Err(e) = reader.fill() {
                break Err(e);
            }
        };
        let buffered = reader.end;
        drop(reader);
        writer.join().unwrap();
        (read, buffered)
    }

    #[test]
    fn a_packet_has_a_bound_however_small_its_fields() {
        let ids = vec![Id::new("ip", "10.0.0.1"); MAX / 18 * 2];
        let packet = QuorumPacket { authinfo: Some(ids), ..QuorumPacket::new(1, -1, *b"x") };
        let (refused, buffered) = read(packet.to_bytes(), MAX);
        assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::InvalidData);
        assert!(buffered <= MAX + READ_BYTES, "{buffered} bytes");
        assert_eq!(read(packet.to_bytes(), 2 * MAX + 100).0.unwrap(), Some(packet));
    }

    #[test]
    fn a_length_over_the_bound_is_not_waited_for() {
        let mut bytes = vec![0; 12];
        bytes.put_i32(MAX as i32);
        let (refused, buffered) = read(bytes, MAX);
        assert_eq!((refused.unwrap_err().kind(), buffered), (io::ErrorKind::InvalidData, 16));
        // What fills the bound is taken.
        let packet = QuorumPacket::new(1, 1, vec![7; MAX - 20]);
        assert_eq!(read(packet.to_bytes(), MAX).0.unwrap(), Some(packet));
    }
}
