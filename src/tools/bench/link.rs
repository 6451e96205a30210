//! One pipelined connection of the load generator: as many requests as allowed are under way, each
//! readiness event costs one read and one write, however many replies it brings.

use std::collections::VecDeque;
use std::io::{self, Read, Write};

use super::request::Kind;
use crate::client::conn::invalid;

/// Length prefix and reply header: the part of a reply that the generator looks at.
const REPLY_HEAD: usize = 20;

/// A reply, as much as is read of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reply {
    pub kind: Kind,
    /// When its request was handed to the kernel: nanoseconds of the engine's clock.
    pub sent_at: u64,
    pub err: i32,
}

/// A connection, its unsent bytes and its unanswered requests.
#[derive(Debug)]
pub struct Link<S> {
    pub stream: S,
    out: Vec<u8>,
    /// The beginning of a reply whose rest has not come yet.
    partial: Vec<u8>,
    in_flight: VecDeque<(Kind, u64)>,
    first_xid: i32,
}

impl<S: Read + Write> Link<S> {
    pub fn new(stream: S) -> Self {
        let (out, partial, in_flight) = Default::default();
        Self { stream, out, partial, in_flight, first_xid: 1 }
    }

    /// Requests without an answer.
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Adds the request that `encode` appends under the xid given to it, unless it has none.
    pub fn push(
        &mut self,
        now: u64,
        encode: impl FnOnce(i32, &mut Vec<u8>) -> Option<Kind>,
    ) -> bool {
        let xid = self.first_xid.wrapping_add(self.in_flight.len() as i32) & i32::MAX;
        match encode(xid, &mut self.out) {
            Some(kind) => {
                self.in_flight.push_back((kind, now));
                true
            }
            None => false,
        }
    }

    /// Writes what the socket takes; the rest waits for the next call.
    pub fn flush(&mut self) -> io::Result<()> {
        let mut done = 0;
        while done < self.out.len() {
            match self.stream.write(&self.out[done..]) {
                Ok(n) => done += n,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        self.out.drain(..done);
        Ok(())
    }

    /// Reads once into `scratch` and hands every complete reply to `on_reply`.
    /// Says whether there may be more to read.
    pub fn read(
        &mut self,
        scratch: &mut [u8],
        mut on_reply: impl FnMut(Reply),
    ) -> io::Result<bool> {
        let kept = self.partial.len();
        assert!(kept < scratch.len(), "a reply of more than {} bytes", scratch.len());
        scratch[..kept].copy_from_slice(&self.partial);
        let got = match self.stream.read(&mut scratch[kept..]) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => n,
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => return Ok(true),
            Err(e) => return Err(e),
        };
        let mut rest = &scratch[..kept + got];
        while let Some((frame, tail)) = split_frame(rest) {
            rest = tail;
            if let Some(reply) = self.reply(frame)? {
                on_reply(reply);
            }
        }
        self.partial.clear();
        self.partial.extend_from_slice(rest);
        Ok(kept + got == scratch.len())
    }

    /// Matches a frame with the oldest request; notifications and pings match none.
    fn reply(&mut self, frame: &[u8]) -> io::Result<Option<Reply>> {
        let Some(head) = frame.first_chunk::<REPLY_HEAD>() else {
            return Err(invalid(format!("a reply of {} bytes", frame.len())));
        };
        let xid = i32::from_be_bytes([head[4], head[5], head[6], head[7]]);
        if xid < 0 {
            return Ok(None);
        }
        let Some((kind, sent_at)) = self.in_flight.pop_front() else {
            return Err(invalid(format!("reply {xid} to no request")));
        };
        if xid != self.first_xid {
            return Err(invalid(format!("reply {xid} came before reply {}", self.first_xid)));
        }
        self.first_xid = self.first_xid.wrapping_add(1) & i32::MAX;
        let err = i32::from_be_bytes([head[16], head[17], head[18], head[19]]);
        Ok(Some(Reply { kind, sent_at, err }))
    }
}

/// The first complete frame, with its length prefix, and what follows it.
fn split_frame(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let len = u32::from_be_bytes(*bytes.first_chunk::<4>()?) as usize;
    bytes.split_at_checked(4 + len)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is read comes from a list of pieces; what is written is kept, a few bytes a call.
    struct Pieces {
        pieces: VecDeque<Vec<u8>>,
        written: Vec<u8>,
        takes: usize,
    }

    impl Read for Pieces {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            let piece = self.pieces.pop_front().ok_or(io::ErrorKind::WouldBlock)?;
            buf[..piece.len()].copy_from_slice(&piece);
            Ok(piece.len())
        }
    }

    impl Write for Pieces {
        fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
            if self.takes == 0 {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let n = buf.len().min(self.takes);
            self.takes -= n;
            self.written.extend_from_slice(&buf[..n]);
            Ok(n)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn reply_bytes(xid: i32, err: i32, body: &[u8]) -> Vec<u8> {
        let mut out = ((16 + body.len()) as u32).to_be_bytes().to_vec();
        out.extend(xid.to_be_bytes());
        out.extend(9i64.to_be_bytes());
        out.extend(err.to_be_bytes());
        out.extend(body);
        out
    }

    fn link(pieces: &[&[u8]]) -> Link<Pieces> {
        let pieces = pieces.iter().map(|p| p.to_vec()).collect();
        Link::new(Pieces { pieces, written: vec![], takes: 3 })
    }

    #[test]
    fn replies_in_pieces_are_put_together() {
        let bytes = [reply_bytes(1, 0, b"abc"), reply_bytes(-1, 0, b""), reply_bytes(2, -101, b"")]
            .concat();
        for cut in 0..bytes.len() {
            let mut link = link(&[&bytes[..cut], &bytes[cut..]]);
            if cut == 0 {
                link.stream.pieces.pop_front();
            }
            link.push(5, |_, _| Some(Kind::Read));
            link.push(6, |_, _| Some(Kind::Set));
            let (mut scratch, mut got) = ([0; 99], vec![]);
            for _ in 0..2 {
                assert!(
                    !link.read(&mut scratch, |r| got.push((r.kind, r.sent_at, r.err))).unwrap()
                );
            }
            assert_eq!(got, [(Kind::Read, 5, 0), (Kind::Set, 6, -101)], "cut at {cut}");
            assert_eq!(link.in_flight(), 0);
        }
    }

    #[test]
    fn a_reply_out_of_order_is_an_error() {
        let mut link = link(&[&reply_bytes(2, 0, b"")]);
        link.push(0, |_, _| Some(Kind::Read));
        assert!(link.read(&mut [0; 99], |_| {}).is_err());
    }

    #[test]
    fn what_the_socket_does_not_take_waits() {
        let mut link = link(&[]);
        link.push(0, |xid, out| {
            out.extend_from_slice(b"hello");
            assert_eq!(xid, 1);
            Some(Kind::Read)
        });
        assert!(!link.push(0, |_, _| None));
        link.flush().unwrap();
        assert_eq!(link.stream.written, b"hel");
        link.stream.takes = 9;
        link.flush().unwrap();
        assert_eq!(link.stream.written, b"hello");
    }
}
