//! What servers of an ensemble say to each other on the quorum port (Q-20 … Q-34): one record,
//! the quorum packet, and the payloads inside it. There is no length prefix on that wire, so a
//! packet is read field by field; a snapshot may follow one on the same stream.
//! Knows bytes only. Java: `QuorumPacket`, `LearnerInfo`, `Leader` (the packet types),
//! `LearnerHandler` and `Learner` (the payloads).

use std::io::{self, Read};
use std::sync::Arc;

use super::jute::{DecodeError, Put, Reader, Record, Result};
use super::proto::Id;

/// Packet types. Plain constants: a type off the wire may be anything.
pub mod packet {
    pub const REQUEST: i32 = 1;
    pub const PROPOSAL: i32 = 2;
    pub const ACK: i32 = 3;
    pub const COMMIT: i32 = 4;
    pub const PING: i32 = 5;
    pub const REVALIDATE: i32 = 6;
    pub const SYNC: i32 = 7;
    pub const INFORM: i32 = 8;
    pub const COMMIT_AND_ACTIVATE: i32 = 9;
    pub const NEWLEADER: i32 = 10;
    pub const FOLLOWERINFO: i32 = 11;
    pub const UPTODATE: i32 = 12;
    pub const DIFF: i32 = 13;
    pub const TRUNC: i32 = 14;
    pub const SNAP: i32 = 15;
    pub const OBSERVERINFO: i32 = 16;
    pub const LEADERINFO: i32 = 17;
    pub const ACKEPOCH: i32 = 18;
    pub const INFORM_AND_ACTIVATE: i32 = 19;

    /// The name that Java's logs use, for our logs and errors.
    pub fn name(kind: i32) -> &'static str {
        match kind {
            REQUEST => "REQUEST",
            PROPOSAL => "PROPOSAL",
            ACK => "ACK",
            COMMIT => "COMMIT",
            PING => "PING",
            REVALIDATE => "REVALIDATE",
            SYNC => "SYNC",
            INFORM => "INFORM",
            COMMIT_AND_ACTIVATE => "COMMITANDACTIVATE",
            NEWLEADER => "NEWLEADER",
            FOLLOWERINFO => "FOLLOWERINFO",
            UPTODATE => "UPTODATE",
            DIFF => "DIFF",
            TRUNC => "TRUNC",
            SNAP => "SNAP",
            OBSERVERINFO => "OBSERVERINFO",
            LEADERINFO => "LEADERINFO",
            ACKEPOCH => "ACKEPOCH",
            INFORM_AND_ACTIVATE => "INFORMANDACTIVATE",
            _ => "UNKNOWN",
        }
    }
}

/// The protocol of Zab 1.0, in LEADERINFO's data and in [`LearnerInfo`].
pub const PROTOCOL_VERSION: i32 = 0x10000;

/// The string that ends a snapshot on the quorum stream.
pub const SNAP_SIGNATURE: &str = "BenWasHere";

/// One message between learner and leader.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct QuorumPacket {
    /// One of [`packet`]'s constants, or anything a broken peer sent.
    pub kind: i32,
    pub zxid: i64,
    /// Shared, since one proposal goes to many learners and into the log.
    pub data: Option<Arc<[u8]>>,
    /// Who the client is, in REQUEST; null in all others.
    pub authinfo: Option<Vec<Id>>,
}

impl QuorumPacket {
    /// A packet without payload.
    pub fn bare(kind: i32, zxid: i64) -> Self {
        Self { kind, zxid, data: None, authinfo: None }
    }

    pub fn new(kind: i32, zxid: i64, data: impl Into<Arc<[u8]>>) -> Self {
        Self { kind, zxid, data: Some(data.into()), authinfo: None }
    }

    /// The payload; null reads as empty.
    pub fn payload(&self) -> &[u8] {
        self.data.as_deref().unwrap_or_default()
    }

    /// The payload as a record. Bytes after it are ignored, as Java does.
    pub fn decode<R: Record>(&self) -> Result<R> {
        R::read(&mut Reader::new(self.payload()))
    }

    /// Reads exactly one packet off a stream, so that what follows it stays there: give it a
    /// buffered stream. `max_buffer` bounds every length inside (C-2, `jute.maxbuffer` plus extra).
    /// A malformed packet is an error of kind `InvalidData`; the link cannot be used after it.
    pub fn read_from(stream: &mut impl Read, max_buffer: usize) -> io::Result<Self> {
        let kind = i32::from_be_bytes(read_array(stream)?);
        let zxid = i64::from_be_bytes(read_array(stream)?);
        let data = read_buffer(stream, max_buffer)?.map(Arc::from);
        let authinfo = match read_length(stream, max_buffer)? {
            None => None,
            // No reservation by the announced count: it is the peer's word only.
            Some(n) => {
                Some((0..n).map(|_| read_id(stream, max_buffer)).collect::<io::Result<_>>()?)
            }
        };
        Ok(Self { kind, zxid, data, authinfo })
    }
}

impl Record for QuorumPacket {
    fn read(r: &mut Reader<'_>) -> Result<Self> {
        Ok(Self {
            kind: r.i32()?,
            zxid: r.i64()?,
            data: r.buffer()?.map(Arc::from),
            authinfo: Record::read(r)?,
        })
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.put_i32(self.kind);
        out.put_i64(self.zxid);
        out.put_buffer(self.data.as_deref());
        self.authinfo.write(out);
    }
}

fn read_array<const N: usize>(stream: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn read_length(stream: &mut impl Read, max: usize) -> io::Result<Option<usize>> {
    match i32::from_be_bytes(read_array(stream)?) {
        -1 => Ok(None),
        n if n < 0 || n as usize > max => {
            Err(io::Error::new(io::ErrorKind::InvalidData, DecodeError::UnreasonableLength(n)))
        }
        n => Ok(Some(n as usize)),
    }
}

fn read_buffer(stream: &mut impl Read, max: usize) -> io::Result<Option<Vec<u8>>> {
    let Some(n) = read_length(stream, max)? else { return Ok(None) };
    // Grows with what really arrives: a lying length costs its sender, not us.
    let mut bytes = Vec::with_capacity(n.min(64 * 1024));
    stream.take(n as u64).read_to_end(&mut bytes)?;
    if bytes.len() < n {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(Some(bytes))
}

fn read_id(stream: &mut impl Read, max: usize) -> io::Result<Id> {
    let mut text = || -> io::Result<String> {
        let bytes = read_buffer(stream, max)?.unwrap_or_default();
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    Ok(Id::new(&text()?, &text()?))
}

/// Who a learner is: the data of FOLLOWERINFO and OBSERVERINFO. Servers before 3.5 leave out the
/// config version, those before 3.4 the protocol version too; what is missing reads as 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LearnerInfo {
    pub sid: i64,
    pub protocol_version: i32,
    pub config_version: i64,
}

impl Record for LearnerInfo {
    fn read(r: &mut Reader<'_>) -> Result<Self> {
        let sid = r.i64()?;
        let protocol_version = if r.rest().len() >= 4 { r.i32()? } else { 0 };
        let config_version = if r.rest().len() >= 8 { r.i64()? } else { 0 };
        Ok(Self { sid, protocol_version, config_version })
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.put_i64(self.sid);
        out.put_i32(self.protocol_version);
        out.put_i64(self.config_version);
    }
}

/// The data of REQUEST: a client's request that a learner forwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ForwardedRequest<'a> {
    pub session_id: i64,
    pub cxid: i32,
    /// An op code ([`super::op::code`]).
    pub op: i32,
    /// The request record, as the client sent it.
    pub body: &'a [u8],
}

impl<'a> ForwardedRequest<'a> {
    pub fn read(data: &'a [u8]) -> Result<Self> {
        let mut r = Reader::new(data);
        Ok(Self { session_id: r.i64()?, cxid: r.i32()?, op: r.i32()?, body: r.rest() })
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(16 + self.body.len());
        out.put_i64(self.session_id);
        out.put_i32(self.cxid);
        out.put_i32(self.op);
        out.extend_from_slice(self.body);
        out
    }
}

/// A session that a learner has heard from since the last PING, and the data of the
/// REVALIDATE that a learner sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionTouch {
    pub session_id: i64,
    /// Milliseconds.
    pub timeout: i32,
}

impl Record for SessionTouch {
    fn read(r: &mut Reader<'_>) -> Result<Self> {
        Ok(Self { session_id: r.i64()?, timeout: r.i32()? })
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.put_i64(self.session_id);
        out.put_i32(self.timeout);
    }
}

/// The data of a learner's PING: touches without a count, up to the end.
pub fn read_touches(data: &[u8]) -> Result<Vec<SessionTouch>> {
    let mut r = Reader::new(data);
    let mut touches = Vec::with_capacity(data.len() / 12);
    while !r.is_empty() {
        touches.push(r.record()?);
    }
    Ok(touches)
}

/// The counterpart of [`read_touches`].
pub fn write_touches(touches: impl IntoIterator<Item = SessionTouch>) -> Vec<u8> {
    let mut out = Vec::new();
    touches.into_iter().for_each(|touch| touch.write(&mut out));
    out
}

/// The data of the REVALIDATE with which a leader answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Revalidated {
    pub session_id: i64,
    pub valid: bool,
}

impl Record for Revalidated {
    fn read(r: &mut Reader<'_>) -> Result<Self> {
        Ok(Self { session_id: r.i64()?, valid: r.bool()? })
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.put_i64(self.session_id);
        out.put_bool(self.valid);
    }
}

/// The data of INFORMANDACTIVATE: the designated leader, then the txn. COMMITANDACTIVATE
/// has the first half only.
pub fn read_inform_and_activate(data: &[u8]) -> Result<(i64, &[u8])> {
    let mut r = Reader::new(data);
    Ok((r.i64()?, r.rest()))
}

/// The counterpart of [`read_inform_and_activate`].
pub fn write_inform_and_activate(designated_leader: i64, txn: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(8 + txn.len());
    out.put_i64(designated_leader);
    out.extend_from_slice(txn);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_stream(mut bytes: &[u8], max: usize) -> io::Result<(QuorumPacket, usize)> {
        let packet = QuorumPacket::read_from(&mut bytes, max)?;
        Ok((packet, bytes.len()))
    }

    fn request() -> QuorumPacket {
        let body =
            ForwardedRequest { session_id: 0x1_0000_0001, cxid: 7, op: 1, body: b"create body" };
        QuorumPacket {
            authinfo: Some(vec![Id { scheme: "ip".into(), id: "127.0.0.1".into() }]),
            ..QuorumPacket::new(packet::REQUEST, -1, body.to_bytes())
        }
    }

    #[test]
    fn a_packet_has_no_length_and_leaves_what_follows_it() {
        let packets = [
            QuorumPacket::bare(packet::COMMIT, 0x1_0000_0002),
            QuorumPacket::new(packet::PROPOSAL, 0x1_0000_0003, *b"txn"),
            QuorumPacket::new(packet::PING, 0, []),
            request(),
        ];
        for packet in packets {
            let mut bytes = packet.to_bytes();
            assert_eq!(QuorumPacket::read(&mut Reader::new(&bytes)), Ok(packet.clone()));
            bytes.extend_from_slice(b"snapshot");
            assert_eq!(read_stream(&bytes, 1000).unwrap(), (packet, 8));
        }
    }

    #[test]
    fn every_cut_and_every_bad_length_is_an_error_and_no_panic() {
        let bytes = request().to_bytes();
        for cut in 0..bytes.len() {
            assert!(QuorumPacket::read(&mut Reader::new(&bytes[..cut])).is_err(), "{cut}");
            let err = read_stream(&bytes[..cut], 1000).unwrap_err();
            assert_eq!(err.kind(), io::ErrorKind::UnexpectedEof, "{cut}");
        }
        for at in 0..bytes.len() {
            for value in [0x00, 0x7f, 0x80, 0xfe, 0xff] {
                let mut bad = bytes.clone();
                bad[at] = value;
                let _ = QuorumPacket::read(&mut Reader::new(&bad));
                let _ = read_stream(&bad, 1000);
            }
        }
        let err = read_stream(&bytes, 8).unwrap_err();
        assert_eq!(err.kind(), io::ErrorKind::InvalidData, "{err}");
    }

    /// What a Java 3.9.5 leader (id 3, first epoch) said to a new learner: LEADERINFO and SNAP;
    /// after the snapshot NEWLEADER, whose data is the config; then PINGs.
    #[test]
    fn java_leader_bytes() {
        let leader_info = b"\0\0\0\x11\0\0\0\x01\0\0\0\0\0\0\0\x04\0\x01\0\0\xff\xff\xff\xff";
        let packet = QuorumPacket::new(packet::LEADERINFO, 1 << 32, PROTOCOL_VERSION.to_be_bytes());
        assert_eq!(packet.to_bytes(), leader_info);
        assert_eq!(read_stream(leader_info, 1000).unwrap(), (packet, 0));

        let snap = b"\0\0\0\x0f\0\0\0\x01\0\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff";
        assert_eq!(QuorumPacket::bare(packet::SNAP, 1 << 32).to_bytes(), snap);

        let mut new_leader = b"\0\0\0\x0a\0\0\0\x01\0\0\0\0\0\0\0\x8a".to_vec();
        new_leader.extend_from_slice(CONFIG.as_bytes());
        new_leader.extend_from_slice(b"\xff\xff\xff\xff");
        let packet = QuorumPacket::new(packet::NEWLEADER, 1 << 32, CONFIG.as_bytes());
        assert_eq!(packet.to_bytes(), new_leader);
        assert_eq!(read_stream(&new_leader, 1000).unwrap(), (packet, 0));

        let ping = b"\0\0\0\x05\0\0\0\x01\0\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff";
        assert_eq!(QuorumPacket::bare(packet::PING, 1 << 32).to_bytes(), ping);
    }

    const CONFIG: &str = "server.1=127.0.0.1:24201:24301:participant\n\
        server.2=127.0.0.1:24202:24302:participant\n\
        server.3=127.0.0.1:24203:24303:participant\nversion=0";

    #[test]
    fn learner_info_of_all_ages() {
        let info = LearnerInfo { sid: 2, protocol_version: PROTOCOL_VERSION, config_version: 0x1f };
        let bytes = info.to_bytes();
        let read = |n: usize| LearnerInfo::read(&mut Reader::new(&bytes[..n]));
        assert_eq!(bytes.len(), 20);
        assert_eq!(read(20), Ok(info));
        assert_eq!(read(12), Ok(LearnerInfo { config_version: 0, ..info }));
        assert_eq!(read(8), Ok(LearnerInfo { protocol_version: 0, config_version: 0, ..info }));
        assert!(read(7).is_err());
    }

    #[test]
    fn payloads_round_trip() {
        let packet = request();
        let body = ForwardedRequest::read(packet.payload()).unwrap();
        assert_eq!((body.session_id, body.cxid, body.op), (0x1_0000_0001, 7, 1));
        assert_eq!(body.body, b"create body");
        assert!(ForwardedRequest::read(&packet.payload()[..15]).is_err());

        let touches = vec![
            SessionTouch { session_id: 1, timeout: 4000 },
            SessionTouch { session_id: -2, timeout: 30000 },
        ];
        let bytes = write_touches(touches.iter().copied());
        assert_eq!(bytes.len(), 24);
        assert_eq!(read_touches(&bytes), Ok(touches));
        assert!(read_touches(&bytes[..23]).is_err());

        let answer = Revalidated { session_id: 5, valid: true };
        let reply = QuorumPacket::new(packet::REVALIDATE, -1, answer.to_bytes());
        assert_eq!(reply.decode(), Ok(answer));
        assert_eq!(reply.payload().len(), 9);

        let bytes = write_inform_and_activate(3, b"txn");
        assert_eq!(read_inform_and_activate(&bytes), Ok((3, &b"txn"[..])));
    }
}
