//! One blocking connection to a server: frames, the handshake that opens or resumes a session, and
//! a call that waits for its reply. Knows nothing of reconnecting, pings or watches.
//! Java: `ClientCnxnSocket`, without its selector.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

use crate::wire::proto::{ConnectRequest, ConnectResponse, ReplyHeader};
use crate::wire::{Put, Reader, Record};

/// Frames longer than this are not believed: a server's reply is at most its `jute.maxbuffer` plus
/// a stat, and Java's client stops at 1 MB unless told otherwise; an operator may have raised it.
const MAX_FRAME: usize = 64 << 20;

/// What opening a session asks for.
#[derive(Debug, Clone)]
pub struct Hello {
    pub last_zxid_seen: i64,
    pub timeout_ms: i32,
    /// 0 for a new session.
    pub session_id: i64,
    pub passwd: [u8; 16],
    pub read_only: bool,
}

impl Hello {
    /// Asks for a new session.
    pub fn new(timeout_ms: i32) -> Self {
        Self { last_zxid_seen: 0, timeout_ms, session_id: 0, passwd: [0; 16], read_only: false }
    }

    /// The frame that goes first over a new connection.
    pub fn frame(&self) -> Vec<u8> {
        let request = ConnectRequest {
            protocol_version: 0,
            last_zxid_seen: self.last_zxid_seen,
            timeout: self.timeout_ms,
            session_id: self.session_id,
            passwd: Some(Box::from(self.passwd)),
            read_only: Some(self.read_only),
        };
        let body = request.to_bytes();
        let mut out = Vec::with_capacity(body.len() + 4);
        out.put_buffer(Some(&body));
        out
    }
}

/// Appends a request frame: length, xid, op code, body.
pub fn put_request(out: &mut Vec<u8>, xid: i32, op: i32, body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.put_i32(0);
    out.put_i32(xid);
    out.put_i32(op);
    body(out);
    let len = (out.len() - start - 4) as i32;
    out[start..start + 4].copy_from_slice(&len.to_be_bytes());
}

/// Reads one frame's payload into `buf`, replacing what is there.
pub fn read_frame(stream: &mut impl Read, buf: &mut Vec<u8>) -> io::Result<()> {
    let mut len = [0; 4];
    stream.read_exact(&mut len)?;
    read_payload(stream, len, buf)
}

/// Reads the payload that follows the length `len`.
pub fn read_payload(stream: &mut impl Read, len: [u8; 4], buf: &mut Vec<u8>) -> io::Result<()> {
    let len = u32::from_be_bytes(len) as usize;
    if len > MAX_FRAME {
        return Err(invalid(format!("the server announces a packet of {len} bytes")));
    }
    buf.resize(len, 0);
    stream.read_exact(buf)
}

/// The addresses that `host:port` stands for.
pub fn resolve(server: &str) -> io::Result<Vec<SocketAddr>> {
    let addrs: Vec<_> = server.to_socket_addrs()?.collect();
    if addrs.is_empty() {
        return Err(io::Error::new(io::ErrorKind::NotFound, format!("{server}: no address")));
    }
    Ok(addrs)
}

/// An error for bytes that make no sense.
pub fn invalid(what: impl ToString) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_string())
}

/// Connects and sends the first frame, without waiting for its answer, so that many sessions can be
/// opened at once; [`Connection::welcomed`] completes it.
pub fn greet(addr: SocketAddr, hello: &Hello, patience: Duration) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect_timeout(&addr, patience)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(patience))?;
    stream.write_all(&hello.frame())?;
    Ok(stream)
}

/// An open session over one TCP connection, used by one thread, one request at a time.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    hello: ConnectResponse,
    xid: i32,
    buf: Vec<u8>,
}

impl Connection {
    /// Connects and shakes hands. `patience` bounds the connect and every later read.
    /// A time-out of 0 in [`Connection::hello`] means that the session asked for is gone.
    pub fn open(addr: SocketAddr, hello: &Hello, patience: Duration) -> io::Result<Self> {
        Self::welcomed(greet(addr, hello, patience)?)
    }

    /// Waits for the answer to what [`greet`] sent.
    pub fn welcomed(mut stream: TcpStream) -> io::Result<Self> {
        let mut buf = Vec::new();
        read_frame(&mut stream, &mut buf)?;
        let hello = ConnectResponse::read(&mut Reader::new(&buf)).map_err(invalid)?;
        Ok(Self { stream, hello, xid: 0, buf })
    }

    /// What the server granted.
    pub fn hello(&self) -> &ConnectResponse {
        &self.hello
    }

    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// The socket alone, with everything on it read so far.
    pub fn into_stream(self) -> TcpStream {
        self.stream
    }

    /// Sends one request and waits for its reply; notifications in between are dropped.
    /// The body's reader is empty when the header carries an error.
    pub fn call(
        &mut self,
        op: i32,
        body: impl FnOnce(&mut Vec<u8>),
    ) -> io::Result<(ReplyHeader, Reader<'_>)> {
        self.xid += 1;
        self.buf.clear();
        put_request(&mut self.buf, self.xid, op, body);
        self.stream.write_all(&self.buf)?;
        loop {
            read_frame(&mut self.stream, &mut self.buf)?;
            let header = ReplyHeader::read(&mut Reader::new(&self.buf)).map_err(invalid)?;
            if header.xid == self.xid {
                let mut reader = Reader::new(&self.buf);
                reader.take(16).map_err(invalid)?;
                return Ok((header, reader));
            }
            if header.xid >= 0 {
                let (got, want) = (header.xid, self.xid);
                return Err(invalid(format!("reply to request {got}, expected {want}")));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::code;

    #[test]
    fn a_request_is_framed() {
        let mut out = vec![9];
        put_request(&mut out, 7, code::SYNC, |b| b.put_str("/a"));
        assert_eq!(out, b"\x09\0\0\0\x0e\0\0\0\x07\0\0\0\x09\0\0\0\x02/a");
    }

    #[test]
    fn a_frame_of_absurd_length_is_refused() {
        let mut buf = Vec::new();
        let err = read_frame(&mut &b"\xff\xff\xff\xff"[..], &mut buf).unwrap_err();
        assert_eq!(err.kind(), io::ErrorKind::InvalidData);
        read_frame(&mut &b"\0\0\0\x02ab"[..], &mut buf).unwrap();
        assert_eq!(buf, b"ab");
    }

    #[test]
    fn the_first_frame_is_the_connect_request() {
        let frame = Hello::new(4000).frame();
        assert_eq!(frame.len(), 4 + 45);
        assert_eq!(frame[..4], [0, 0, 0, 45]);
        assert_eq!(frame[16..20], 4000i32.to_be_bytes());
    }
}
