//! What servers say to each other on the election port (Q-1 … Q-6): a handshake by the one who
//! dialled, then framed notifications both ways. Knows bytes only, and is total over them:
//! whatever a peer sends is a value or an error. Java: `QuorumCnxManager` (handshake, frames),
//! `FastLeaderElection.Notification`, `QuorumPeer.ServerState`.

use std::io::{self, Read};
use std::net::Ipv6Addr;

use super::epoch_of;
use super::jute::{DecodeError, Put, Reader, Result};

/// Largest frame, without its length (Java: `PACKETMAXSIZE`).
pub const MAX_FRAME: usize = 512 * 1024;
/// Longest text of a configuration: a notification has room for it, whatever its version becomes.
pub const MAX_CONFIG_TEXT: usize = MAX_FRAME - 64;
/// Longest address text of a handshake (Java: `maxBuffer`).
pub const MAX_ADDRESS_TEXT: usize = 2048;
/// What an observer without an id of its own calls itself.
pub const ANONYMOUS_OBSERVER: i64 = i64::MAX;

/// First word of a handshake with one address. Negative: an id says "before 3.5".
const PROTOCOL_V1: i64 = -65536;
/// First word of a handshake with a list of addresses (multiAddress.enabled).
const PROTOCOL_V2: i64 = -65535;

/// The notification format that we send, the newest there is: it carries the sender's config.
const NOTIFICATION_VERSION: i32 = 2;

/// Who dials, and where its election port is reachable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handshake {
    pub sid: i64,
    /// Host (or IP literal without brackets) and port. Wildcard addresses are left out; empty
    /// means: use the address in the configuration.
    pub addresses: Vec<(String, u16)>,
}

impl Handshake {
    /// The bytes to send in a single write: Java reads the text with a single read.
    /// One address goes out as V1, which every version knows, unless `multi_address`.
    pub fn to_bytes(&self, multi_address: bool) -> Vec<u8> {
        let sent = if multi_address {
            &self.addresses[..]
        } else {
            self.addresses.get(..1).unwrap_or_default()
        };
        let text: Vec<String> = sent.iter().map(|(host, port)| host_port(host, *port)).collect();
        let mut out = Vec::new();
        out.put_i64(if multi_address { PROTOCOL_V2 } else { PROTOCOL_V1 });
        out.put_i64(self.sid);
        out.put_str(&text.join("|"));
        out
    }

    /// Reads exactly one handshake off a stream, in as many pieces as it comes. Malformed ones are
    /// errors of kind `InvalidData`.
    pub fn read_from(stream: &mut impl Read) -> io::Result<Self> {
        let first = read_i64(stream)?;
        if first >= 0 {
            return Ok(Self { sid: first, addresses: Vec::new() });
        }
        if first != PROTOCOL_V1 && first != PROTOCOL_V2 {
            return Err(invalid(DecodeError::BadValue { what: "handshake version", value: first }));
        }
        let sid = read_i64(stream)?;
        let length = read_i32(stream)?;
        if length <= 0 || length as usize > MAX_ADDRESS_TEXT {
            return Err(invalid(DecodeError::UnreasonableLength(length)));
        }
        let mut text = vec![0; length as usize];
        stream.read_exact(&mut text)?;
        let text = String::from_utf8_lossy(&text);
        let mut addresses = Vec::new();
        for part in text.split('|') {
            let Some((host, port)) = split_host_port(part) else {
                let message = format!("badly formed election address {part:?} of server {sid}");
                return Err(io::Error::new(io::ErrorKind::InvalidData, message));
            };
            if !host.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_unspecified()) {
                addresses.push((host.to_string(), port));
            }
        }
        Ok(Self { sid, addresses })
    }
}

/// `host:port`, an IPv6 address in brackets.
fn host_port(host: &str, port: u16) -> String {
    match host.parse::<Ipv6Addr>() {
        Ok(_) => format!("[{host}]:{port}"),
        Err(_) => format!("{host}:{port}"),
    }
}

fn split_host_port(text: &str) -> Option<(&str, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    let host = match host.strip_prefix('[') {
        Some(bracketed) => bracketed.strip_suffix(']')?,
        None if host.contains(':') => return None,
        None => host,
    };
    if host.is_empty() { None } else { Some((host, port.parse().ok()?)) }
}

/// Appends a frame: length, then bytes.
pub fn write_frame(bytes: &[u8], out: &mut Vec<u8>) {
    assert!(!bytes.is_empty() && bytes.len() <= MAX_FRAME, "frame of {} bytes", bytes.len());
    out.put_buffer(Some(bytes));
}

/// Reads exactly one frame off a stream; a length out of bounds is of kind `InvalidData`.
pub fn read_frame(stream: &mut impl Read) -> io::Result<Vec<u8>> {
    let length = read_i32(stream)?;
    if length <= 0 || length as usize > MAX_FRAME {
        return Err(invalid(DecodeError::UnreasonableLength(length)));
    }
    let mut bytes = vec![0; length as usize];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn read_i64(stream: &mut impl Read) -> io::Result<i64> {
    let mut bytes = [0; 8];
    stream.read_exact(&mut bytes)?;
    Ok(i64::from_be_bytes(bytes))
}

fn read_i32(stream: &mut impl Read) -> io::Result<i32> {
    let mut bytes = [0; 4];
    stream.read_exact(&mut bytes)?;
    Ok(i32::from_be_bytes(bytes))
}

fn invalid(error: DecodeError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// What a server is doing. The numbers are the wire's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ServerState {
    Looking = 0,
    Following = 1,
    Leading = 2,
    Observing = 3,
}

impl ServerState {
    fn from_wire(value: i32) -> Result<Self> {
        Ok(match value {
            0 => Self::Looking,
            1 => Self::Following,
            2 => Self::Leading,
            3 => Self::Observing,
            _ => return Err(DecodeError::BadValue { what: "server state", value: value.into() }),
        })
    }
}

/// A server's vote and state, told to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notification {
    pub state: ServerState,
    /// The server voted for.
    pub leader: i64,
    /// Last zxid logged by the server voted for.
    pub zxid: i64,
    /// The round of voting, Java's logical clock.
    pub election_epoch: i64,
    /// `currentEpoch` of the server voted for.
    pub peer_epoch: i64,
    /// The sender's message format: 0 before 3.4.6, 1 before 3.5, now 2.
    pub version: i32,
    /// The sender's committed configuration, from version 2 on.
    pub config: Option<String>,
}

impl Notification {
    /// The frame's content, in the newest format (which older servers read too).
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(44 + self.config.as_ref().map_or(0, String::len));
        out.put_i32(self.state as i32);
        for v in [self.leader, self.zxid, self.election_epoch, self.peer_epoch] {
            out.put_i64(v);
        }
        out.put_i32(NOTIFICATION_VERSION);
        out.put_buffer(Some(self.config.as_deref().unwrap_or_default().as_bytes()));
        out
    }

    /// Reads a frame's content. Length alone tells the two oldest formats apart: 28 bytes have no
    /// peer epoch, and of 40 the last 4 do not count (3.4.6 wrote a version 1 there, and still
    /// reads its own as version 0).
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let mut r = Reader::new(bytes);
        let state = ServerState::from_wire(r.i32()?)?;
        let (leader, zxid, election_epoch) = (r.i64()?, r.i64()?, r.i64()?);
        let (peer_epoch, version) = match bytes.len() {
            28 => (epoch_of(zxid), 0),
            40 => (r.i64()?, 0),
            _ => (r.i64()?, r.i32()?),
        };
        let config = match version {
            i32::MIN..=1 => None,
            _ => match r.buffer()? {
                None => return Err(DecodeError::UnreasonableLength(-1)),
                Some(text) => Some(String::from_utf8_lossy(text).into_owned()),
            },
        };
        Ok(Self { state, leader, zxid, election_epoch, peer_epoch, version, config })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = "server.1=127.0.0.1:24201:24301:participant\n\
        server.2=127.0.0.1:24202:24302:participant\n\
        server.3=127.0.0.1:24203:24303:participant\nversion=0";

    fn handshake(mut bytes: &[u8]) -> io::Result<(Handshake, usize)> {
        let handshake = Handshake::read_from(&mut bytes)?;
        Ok((handshake, bytes.len()))
    }

    fn of(sid: i64, addresses: &[(&str, u16)]) -> Handshake {
        let addresses = addresses.iter().map(|(host, port)| (host.to_string(), *port)).collect();
        Handshake { sid, addresses }
    }

    /// What a Java 3.9.5 server (id 2) sent when it dialled.
    #[test]
    fn java_handshake_bytes() {
        let bytes = b"\xff\xff\xff\xff\xff\xff\0\0\0\0\0\0\0\0\0\x02\0\0\0\x0f127.0.0.1:24302";
        let expected = of(2, &[("127.0.0.1", 24302)]);
        assert_eq!(expected.to_bytes(false), bytes);
        assert_eq!(handshake(bytes).unwrap(), (expected, 0));
    }

    #[test]
    fn handshakes_of_all_versions() {
        let two = of(7, &[("zk1", 3888), ("fe80::1", 3889)]);
        let bytes = two.to_bytes(true);
        assert_eq!(&bytes[..8], (-65535i64).to_be_bytes());
        assert_eq!(&bytes[20..], b"zk1:3888|[fe80::1]:3889");
        assert_eq!(handshake(&bytes).unwrap().0, two);
        assert_eq!(handshake(&two.to_bytes(false)).unwrap().0, of(7, &[("zk1", 3888)]));

        let wildcards = of(7, &[("0.0.0.0", 3888), ("::", 3888), ("zk2", 3888)]);
        assert_eq!(handshake(&wildcards.to_bytes(true)).unwrap().0, of(7, &[("zk2", 3888)]));

        let mut legacy = 5i64.to_be_bytes().to_vec();
        legacy.extend_from_slice(b"frame");
        assert_eq!(handshake(&legacy).unwrap(), (of(5, &[]), 5));
    }

    #[test]
    fn bad_handshakes_are_errors() {
        let good = of(2, &[("127.0.0.1", 24302)]).to_bytes(false);
        for cut in 0..good.len() {
            let err = handshake(&good[..cut]).unwrap_err();
            assert_eq!(err.kind(), io::ErrorKind::UnexpectedEof, "{cut}");
        }
        let with_text = |text: &str| {
            let mut bytes = good[..16].to_vec();
            bytes.put_str(text);
            handshake(&bytes)
        };
        let texts = ["", "host", "host:", ":1", "host:port", "h:65536", "h:-1", "::1:2", "[::1:2"];
        for text in texts.into_iter().chain(["a:1||b:2", &"x".repeat(2049)]) {
            let err = with_text(text).unwrap_err();
            assert_eq!(err.kind(), io::ErrorKind::InvalidData, "{text}");
        }
        assert!(handshake(&(-65534i64).to_be_bytes()).is_err());
    }

    #[test]
    fn frames_have_bounds() {
        let mut out = Vec::new();
        write_frame(b"abc", &mut out);
        assert_eq!(out, b"\0\0\0\x03abc");
        assert_eq!(read_frame(&mut &out[..]).unwrap(), b"abc");
        for length in [0, -1, MAX_FRAME as i32 + 1, i32::MIN, i32::MAX] {
            let err = read_frame(&mut &length.to_be_bytes()[..]).unwrap_err();
            assert_eq!(err.kind(), io::ErrorKind::InvalidData, "{length}");
        }
    }

    fn notification() -> Notification {
        Notification {
            state: ServerState::Looking,
            leader: 3,
            zxid: 0,
            election_epoch: 1,
            peer_epoch: 0,
            version: 2,
            config: Some(CONFIG.to_string()),
        }
    }

    /// The first frame of a Java 3.9.5 server (id 3) that starts for the first time.
    #[test]
    fn java_notification_bytes() {
        let mut frame = b"\0\0\0\xb6\0\0\0\0\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\
            \0\0\0\0\0\0\0\0\0\0\0\x02\0\0\0\x8a"
            .to_vec();
        frame.extend_from_slice(CONFIG.as_bytes());
        let mut written = Vec::new();
        write_frame(&notification().to_bytes(), &mut written);
        assert_eq!(written, frame);
        let bytes = read_frame(&mut &frame[..]).unwrap();
        assert_eq!(Notification::from_bytes(&bytes), Ok(notification()));
    }

    #[test]
    fn a_frame_has_room_for_the_longest_configuration() {
        let version = format!("version={:x}", i64::MAX);
        let longest = "x".repeat(MAX_CONFIG_TEXT - "version=0".len()) + &version;
        let mut out = Vec::new();
        write_frame(&Notification { config: Some(longest), ..notification() }.to_bytes(), &mut out);
        assert!(read_frame(&mut &out[..]).is_ok());
    }

    #[test]
    fn notifications_of_all_versions() {
        let modern = Notification { zxid: 0x5_0000_0001, peer_epoch: 6, ..notification() };
        let mut bytes = modern.to_bytes();
        let old = |version, peer_epoch| Notification {
            version,
            peer_epoch,
            config: None,
            ..modern.clone()
        };
        assert_eq!(Notification::from_bytes(&bytes[..28]), Ok(old(0, 5)));
        assert_eq!(Notification::from_bytes(&bytes[..40]), Ok(old(0, 6)));
        bytes[39] = 1;
        assert_eq!(Notification::from_bytes(&bytes[..44]), Ok(old(1, 6)));
    }

    /// A malformed notification once killed the thread that receives for everybody.
    #[test]
    fn zookeeper_3769_every_malformed_notification_is_an_error() {
        let bytes = notification().to_bytes();
        for cut in (0..bytes.len()).filter(|n| ![28, 40].contains(n)) {
            assert!(Notification::from_bytes(&bytes[..cut]).is_err(), "{cut}");
        }
        for config_length in [-1, i32::MIN, 0x8b, i32::MAX] {
            let mut bad = bytes.clone();
            bad[40..44].copy_from_slice(&config_length.to_be_bytes());
            assert!(Notification::from_bytes(&bad).is_err(), "{config_length}");
        }
        for state in [-1, 4, i32::MAX] {
            let mut bad = bytes.clone();
            bad[..4].copy_from_slice(&state.to_be_bytes());
            assert!(Notification::from_bytes(&bad).is_err(), "{state}");
        }
    }
}
