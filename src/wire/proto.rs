//! The records that clients and servers exchange (C-10 … C-29), field order being wire order.
//! Java: `zookeeper.jute`, packages `data` and `proto`.

use std::borrow::Cow;

use byteorder::{BigEndian, ByteOrder};

use super::jute::{Put, Reader, Record, Result, record};

/// Who somebody is: `digest`, `user:base64(sha1)`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Id {
    pub scheme: Cow<'static, str>,
    pub id: Cow<'static, str>,
}

impl Id {
    /// What stands in nearly every list takes no memory of its own.
    pub fn new(scheme: &str, id: &str) -> Self {
        let kept = |name: &str| {
            let known = ["world", "anyone", "digest", "ip", "auth"];
            let known = known.into_iter().find(|known| *known == name);
            known.map_or_else(|| name.to_owned().into(), Cow::Borrowed)
        };
        Self { scheme: kept(scheme), id: kept(id) }
    }
}

impl Record for Id {
    fn read(r: &mut Reader<'_>) -> Result<Self> {
        Ok(Self::new(&r.str()?, &r.str()?))
    }
    fn write(&self, out: &mut Vec<u8>) {
        out.put_str(&self.scheme);
        out.put_str(&self.id);
    }
}

record! {
    /// One entry of an access control list: permission bits and whom they are for.
    Acl { perms: i32, id: Id }
}

impl Acl {
    /// Everything for everybody: Java's `Ids.OPEN_ACL_UNSAFE`.
    pub fn open_unsafe() -> Vec<Acl> {
        Self::world(super::op::perms::ALL)
    }

    pub fn world(perms: i32) -> Vec<Acl> {
        vec![Acl { perms, id: Id::new("world", "anyone") }]
    }
}

/// A znode's stat as clients see it: 68 bytes (C-11).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Stat {
    pub czxid: i64,
    pub mzxid: i64,
    pub ctime: i64,
    pub mtime: i64,
    pub version: i32,
    /// 2 × internal cversion − number of children (C-181).
    pub cversion: i32,
    pub aversion: i32,
    pub ephemeral_owner: i64,
    pub data_length: i32,
    pub num_children: i32,
    pub pzxid: i64,
}

impl Record for Stat {
    fn read(r: &mut Reader<'_>) -> Result<Self> {
        Ok(Self {
            czxid: r.i64()?,
            mzxid: r.i64()?,
            ctime: r.i64()?,
            mtime: r.i64()?,
            version: r.i32()?,
            cversion: r.i32()?,
            aversion: r.i32()?,
            ephemeral_owner: r.i64()?,
            data_length: r.i32()?,
            num_children: r.i32()?,
            pzxid: r.i64()?,
        })
    }

    fn write(&self, out: &mut Vec<u8>) {
        let mut b = [0u8; 68];
        b[0..8].copy_from_slice(&self.czxid.to_be_bytes());
        b[8..16].copy_from_slice(&self.mzxid.to_be_bytes());
        b[16..24].copy_from_slice(&self.ctime.to_be_bytes());
        b[24..32].copy_from_slice(&self.mtime.to_be_bytes());
        b[32..36].copy_from_slice(&self.version.to_be_bytes());
        b[36..40].copy_from_slice(&self.cversion.to_be_bytes());
        b[40..44].copy_from_slice(&self.aversion.to_be_bytes());
        b[44..52].copy_from_slice(&self.ephemeral_owner.to_be_bytes());
        b[52..56].copy_from_slice(&self.data_length.to_be_bytes());
        b[56..60].copy_from_slice(&self.num_children.to_be_bytes());
        b[60..68].copy_from_slice(&self.pzxid.to_be_bytes());
        out.extend_from_slice(&b);
    }
}

/// A znode's stat as snapshots keep it and digests hash it (C-12): `cversion` is the internal one,
/// which counts creates only.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct StatPersisted {
    pub czxid: i64,
    pub mzxid: i64,
    pub ctime: i64,
    pub mtime: i64,
    pub version: i32,
    pub cversion: i32,
    pub aversion: i32,
    pub ephemeral_owner: i64,
    pub pzxid: i64,
}

impl Record for StatPersisted {
    fn read(r: &mut Reader<'_>) -> Result<Self> {
        // All at once: a start reads millions of these.
        let b: &[u8; 60] = r.array()?;
        let int = |at: usize| BigEndian::read_i32(&b[at..at + 4]);
        let long = |at: usize| BigEndian::read_i64(&b[at..at + 8]);
        Ok(Self {
            czxid: long(0),
            mzxid: long(8),
            ctime: long(16),
            mtime: long(24),
            version: int(32),
            cversion: int(36),
            aversion: int(40),
            ephemeral_owner: long(44),
            pzxid: long(52),
        })
    }

    fn write(&self, out: &mut Vec<u8>) {
        let mut b = [0; 60];
        for (at, v) in [
            (0, self.czxid),
            (8, self.mzxid),
            (16, self.ctime),
            (24, self.mtime),
            (44, self.ephemeral_owner),
            (52, self.pzxid),
        ] {
            BigEndian::write_i64(&mut b[at..at + 8], v);
        }
        for (at, v) in [(32, self.version), (36, self.cversion), (40, self.aversion)] {
            BigEndian::write_i32(&mut b[at..at + 4], v);
        }
        out.extend_from_slice(&b);
    }
}

/// First frame of a client (C-13). Clients before 3.4 leave out the last byte (C-86).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectRequest {
    pub protocol_version: i32,
    pub last_zxid_seen: i64,
    /// Milliseconds.
    pub timeout: i32,
    pub session_id: i64,
    pub passwd: Option<Box<[u8]>>,
    /// `None` when the byte was not sent; the response then leaves it out too.
    pub read_only: Option<bool>,
}

impl Record for ConnectRequest {
    fn read(r: &mut Reader<'_>) -> Result<Self> {
        Ok(Self {
            protocol_version: r.i32()?,
            last_zxid_seen: r.i64()?,
            timeout: r.i32()?,
            session_id: r.i64()?,
            passwd: Record::read(r)?,
            read_only: if r.is_empty() { None } else { Some(r.bool()?) },
        })
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.put_i32(self.protocol_version);
        out.put_i64(self.last_zxid_seen);
        out.put_i32(self.timeout);
        out.put_i64(self.session_id);
        self.passwd.write(out);
        if let Some(b) = self.read_only {
            out.put_bool(b);
        }
    }
}

/// The answer to [`ConnectRequest`] (C-14); time-out 0 means the session is not valid (C-88).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectResponse {
    pub protocol_version: i32,
    /// Milliseconds.
    pub timeout: i32,
    pub session_id: i64,
    pub passwd: [u8; 16],
    pub read_only: Option<bool>,
}

impl Record for ConnectResponse {
    fn read(r: &mut Reader<'_>) -> Result<Self> {
        let (protocol_version, timeout, session_id) = (r.i32()?, r.i32()?, r.i64()?);
        let mut passwd = [0; 16];
        if let Some(b) = r.buffer()? {
            let n = b.len().min(16);
            passwd[..n].copy_from_slice(&b[..n]);
        }
        let read_only = if r.is_empty() { None } else { Some(r.bool()?) };
        Ok(Self { protocol_version, timeout, session_id, passwd, read_only })
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.put_i32(self.protocol_version);
        out.put_i32(self.timeout);
        out.put_i64(self.session_id);
        out.put_buffer(Some(&self.passwd));
        if let Some(b) = self.read_only {
            out.put_bool(b);
        }
    }
}

record! { RequestHeader { xid: i32, op: i32 } }
record! { ReplyHeader { xid: i32, zxid: i64, err: i32 } }
record! { MultiHeader { op: i32, done: bool, err: i32 } }
record! { AuthPacket { kind: i32, scheme: String, auth: Option<Box<[u8]>> } }

record! {
    /// exists, getData, getChildren, getChildren2.
    ReadRequest { path: String, watch: bool }
}
record! {
    CreateRequest { path: String, data: Option<Box<[u8]>>, acl: Option<Vec<Acl>>, flags: i32 }
}
record! {
    CreateTtlRequest {
        path: String,
        data: Option<Box<[u8]>>,
        acl: Option<Vec<Acl>>,
        flags: i32,
        /// Milliseconds.
        ttl: i64,
    }
}
record! {
    /// delete and check.
    VersionRequest { path: String, version: i32 }
}
record! { SetDataRequest { path: String, data: Option<Box<[u8]>>, version: i32 } }
record! { SetAclRequest { path: String, acl: Option<Vec<Acl>>, version: i32 } }
record! {
    /// getACL, sync, getEphemerals, getAllChildrenNumber: a path and nothing else.
    PathRequest { path: String }
}
record! {
    ReconfigRequest {
        joining: Option<String>,
        leaving: Option<String>,
        new_members: Option<String>,
        config_id: i64,
    }
}
record! {
    SetWatches {
        relative_zxid: i64,
        data: Vec<String>,
        exist: Vec<String>,
        child: Vec<String>,
    }
}
record! {
    SetWatches2 {
        relative_zxid: i64,
        data: Vec<String>,
        exist: Vec<String>,
        child: Vec<String>,
        persistent: Vec<String>,
        persistent_recursive: Vec<String>,
    }
}
record! {
    /// addWatch (a mode), checkWatches and removeWatches (a watcher type).
    WatchRequest { path: String, mode: i32 }
}
record! { SaslToken { token: Option<Box<[u8]>> } }
record! { WatcherEvent { kind: i32, state: i32, path: String } }

record! { PathResponse { path: String } }
record! { GetDataResponse { data: Option<Box<[u8]>>, stat: Stat } }
record! { Create2Response { path: String, stat: Stat } }
record! { ChildrenResponse { children: Vec<String> } }
record! { Children2Response { children: Vec<String>, stat: Stat } }
record! { AclResponse { acl: Vec<Acl>, stat: Stat } }
record! { ErrorResponse { err: i32 } }
record! { ClientInfo { auth_scheme: String, user: String } }
