//! One znode in memory: 104 bytes and one heap block that holds name and data.
//! Knows neither its path nor the tree. Java: `DataNode`, `EphemeralType`.

use std::sync::Arc;

use crate::wire::{Stat, StatPersisted};

use super::acl::AclId;

/// A place in the slab. Valid while the read or write guard under which it was found is held:
/// places of deleted nodes are used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub(super) u32);

impl NodeId {
    /// "No such node" in links.
    pub(super) const NONE: Self = Self(u32::MAX);

    pub(super) fn some(self) -> Option<Self> {
        (self != Self::NONE).then_some(self)
    }
}

/// What `ephemeralOwner` says about a node (C-182).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum EphemeralKind {
    /// Persistent.
    Void = 0,
    /// Deleted when its session closes.
    Normal = 1,
    /// Deleted some time after its last child.
    Container = 2,
    /// Deleted when childless and unchanged for its time to live.
    Ttl = 3,
}

/// The owner of every container node.
pub const CONTAINER_OWNER: i64 = i64::MIN;
/// The longest time to live of a node, milliseconds.
pub const MAX_TTL: i64 = 0xff_ffff_ffff;
const EXTENDED_MASK: i64 = 0xff00_0000_0000_0000_u64 as i64;
const FEATURE_MASK: i64 = 0x00ff_ff00_0000_0000;

/// How to read `ephemeralOwner`: the properties `zookeeper.extendedTypesEnabled` and
/// `zookeeper.emulate353TTLNodes`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OwnerRules {
    pub extended_types: bool,
    pub emulate_353: bool,
}

impl OwnerRules {
    /// An owner that Java would refuse – the prefix of extended types, but none that is known –
    /// is taken for a session's.
    pub fn kind(self, owner: i64) -> EphemeralKind {
        let ttl = |o: i64| o & EXTENDED_MASK == EXTENDED_MASK && o & FEATURE_MASK == 0;
        match owner {
            0 => EphemeralKind::Void,
            CONTAINER_OWNER => EphemeralKind::Container,
            o if self.extended_types && (ttl(o) || self.emulate_353 && o < 0) => EphemeralKind::Ttl,
            _ => EphemeralKind::Normal,
        }
    }
}

/// The owner of a node that lives `ttl` milliseconds; `None` when out of range.
pub fn ttl_owner(ttl: i64) -> Option<i64> {
    (1..=MAX_TTL).contains(&ttl).then_some(EXTENDED_MASK | ttl)
}

/// The time to live, milliseconds, in the owner of a TTL node.
pub fn ttl_of(owner: i64) -> i64 {
    owner & MAX_TTL
}

/// A block up to this size is copied when its chunk is; a bigger one is shared with frozen views.
const SHARED_FROM: usize = 1024;

/// Heading, name and data of a node, end to end. The heading is one number, seven bits a byte, low
/// bits first: length of the name << 3 | kind << 1 | whether data is not null (C-125).
#[derive(Debug, Clone)]
enum Blob {
    Own(Box<[u8]>),
    Shared(Arc<Box<[u8]>>),
}

impl Blob {
    fn new(name: &[u8], kind: EphemeralKind, data: Option<&[u8]>) -> Self {
        let payload = data.unwrap_or_default();
        let mut heading = name.len() << 3 | (kind as usize) << 1 | usize::from(data.is_some());
        let heading_len = (usize::BITS - heading.leading_zeros()).div_ceil(7).max(1) as usize;
        let mut bytes = Vec::with_capacity(heading_len + name.len() + payload.len());
        while heading >= 0x80 {
            bytes.push(heading as u8 | 0x80);
            heading >>= 7;
        }
        bytes.push(heading as u8);
        bytes.extend_from_slice(name);
        bytes.extend_from_slice(payload);
        let bytes = bytes.into_boxed_slice();
        if bytes.len() < SHARED_FROM { Self::Own(bytes) } else { Self::Shared(Arc::new(bytes)) }
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Self::Own(b) => b,
            Self::Shared(b) => b,
        }
    }

    /// The heading, and what follows it.
    fn split(&self) -> (usize, &[u8]) {
        let bytes = self.bytes();
        let (mut heading, mut shift) = (0, 0);
        for (i, b) in bytes.iter().enumerate() {
            heading |= usize::from(b & 0x7f) << shift;
            shift += 7;
            if b & 0x80 == 0 {
                return (heading, &bytes[i + 1..]);
            }
        }
        (0, &[])
    }
}

/// A znode. Links are kept by [`super::slab::Slab`].
#[derive(Debug, Clone)]
pub struct Node {
    czxid: i64,
    pub(super) mzxid: i64,
    ctime: i64,
    pub(super) mtime: i64,
    pub(super) pzxid: i64,
    owner: i64,
    pub(super) version: i32,
    pub(super) cversion: i32,
    pub(super) aversion: i32,
    pub(super) parent: NodeId,
    pub(super) first_child: NodeId,
    /// The next child of the same parent; in a free place, the next free place.
    pub(super) next_sibling: NodeId,
    /// The previous child of the same parent; the first child's points at the last.
    pub(super) prev_sibling: NodeId,
    pub(super) child_count: u32,
    pub(super) acl: AclId,
    /// This node's share in the tree's digest; 0 when it has none.
    pub(super) digest: u32,
    blob: Blob,
}

impl Node {
    pub(super) fn new(
        name: &str,
        kind: EphemeralKind,
        data: Option<&[u8]>,
        acl: AclId,
        stat: &StatPersisted,
    ) -> Self {
        Self::with_blob(Blob::new(name.as_bytes(), kind, data), acl, stat)
    }

    fn with_blob(blob: Blob, acl: AclId, stat: &StatPersisted) -> Self {
        Self {
            czxid: stat.czxid,
            mzxid: stat.mzxid,
            ctime: stat.ctime,
            mtime: stat.mtime,
            pzxid: stat.pzxid,
            owner: stat.ephemeral_owner,
            version: stat.version,
            cversion: stat.cversion,
            aversion: stat.aversion,
            parent: NodeId::NONE,
            first_child: NodeId::NONE,
            next_sibling: NodeId::NONE,
            prev_sibling: NodeId::NONE,
            child_count: 0,
            acl,
            digest: 0,
            blob,
        }
    }

    /// A free place.
    pub(super) fn vacant() -> Self {
        let blob = Blob::Own(Box::default());
        Self::with_blob(blob, AclId::OPEN, &StatPersisted::default())
    }

    pub(super) fn is_vacant(&self) -> bool {
        self.blob.bytes().is_empty()
    }

    /// The last part of the path; "" for the root.
    pub fn name(&self) -> &str {
        // A blob is only ever made of a `&str`.
        std::str::from_utf8(self.name_bytes()).expect("the name of a node is UTF-8")
    }

    /// [`Node::name`] as bytes, unchecked and so cheaper.
    pub fn name_bytes(&self) -> &[u8] {
        let (heading, rest) = self.blob.split();
        &rest[..heading >> 3]
    }

    /// Null and empty data differ.
    pub fn data(&self) -> Option<&[u8]> {
        let (heading, rest) = self.blob.split();
        (heading & 1 == 1).then(|| &rest[heading >> 3..])
    }

    /// Bytes of data; 0 for null.
    pub fn data_len(&self) -> usize {
        self.data().map_or(0, <[u8]>::len)
    }

    pub(super) fn set_data(&mut self, data: Option<&[u8]>) {
        let fits = self.data().map(<[u8]>::len) == data.map(<[u8]>::len);
        match (&mut self.blob, data) {
            (Blob::Own(bytes), Some(data)) if fits => {
                let at = bytes.len() - data.len();
                bytes[at..].copy_from_slice(data);
            }
            _ => self.blob = Blob::new(self.name_bytes(), self.kind(), data),
        }
    }

    pub fn kind(&self) -> EphemeralKind {
        match self.blob.split().0 >> 1 & 3 {
            0 => EphemeralKind::Void,
            1 => EphemeralKind::Normal,
            2 => EphemeralKind::Container,
            _ => EphemeralKind::Ttl,
        }
    }

    pub fn num_children(&self) -> usize {
        self.child_count as usize
    }

    /// For [`super::DataTree::acl`].
    pub fn acl_id(&self) -> AclId {
        self.acl
    }

    /// This node's share in the tree's digest: what [`super::node_digest`] gives for it. 0 when
    /// digests are off.
    pub fn digest(&self) -> i64 {
        i64::from(self.digest)
    }

    pub fn parent(&self) -> Option<NodeId> {
        self.parent.some()
    }

    /// What clients see.
    pub fn stat(&self) -> Stat {
        let children = self.child_count as i32;
        Stat {
            czxid: self.czxid,
            mzxid: self.mzxid,
            ctime: self.ctime,
            mtime: self.mtime,
            version: self.version,
            cversion: self.cversion.wrapping_mul(2).wrapping_sub(children),
            aversion: self.aversion,
            ephemeral_owner: if self.kind() == EphemeralKind::Normal { self.owner } else { 0 },
            data_length: self.data_len() as i32,
            num_children: children,
            pzxid: self.pzxid,
        }
    }

    /// What snapshots keep and digests hash: the internal cversion, the raw owner.
    pub fn persisted(&self) -> StatPersisted {
        StatPersisted {
            czxid: self.czxid,
            mzxid: self.mzxid,
            ctime: self.ctime,
            mtime: self.mtime,
            version: self.version,
            cversion: self.cversion,
            aversion: self.aversion,
            ephemeral_owner: self.owner,
            pzxid: self.pzxid,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_104_bytes() {
        assert_eq!(size_of::<Blob>(), 16);
        assert_eq!(size_of::<Node>(), 104);
    }

    #[test]
    fn name_kind_and_data_come_back_out_of_the_blob() {
        use EphemeralKind::*;
        let names = ["", "a", "fifteen-letters", "sixteen-letters!", &"x".repeat(70_000)];
        let data: [Option<&[u8]>; 4] = [None, Some(b""), Some(b"data"), Some(&[7; 5000])];
        for name in names {
            for kind in [Void, Normal, Container, Ttl] {
                for data in data {
                    let stat = StatPersisted::default();
                    let node = Node::new(name, kind, data, AclId::OPEN, &stat);
                    assert_eq!((node.name(), node.kind(), node.data()), (name, kind, data));
                    assert!(!node.is_vacant());
                }
            }
        }
        assert!(Node::vacant().is_vacant());
    }

    #[test]
    fn owners() {
        use EphemeralKind::*;
        let plain = OwnerRules::default();
        let extended = OwnerRules { extended_types: true, emulate_353: false };
        let emulate = OwnerRules { extended_types: true, emulate_353: true };
        let ttl = 0xff00_0000_0000_1388_u64 as i64;
        let old_ttl = 0x8000_0000_0000_1388_u64 as i64;
        let rows = [
            (0, Void, Void, Void),
            (0x1000_0000_0000_0001, Normal, Normal, Normal),
            (CONTAINER_OWNER, Container, Container, Container),
            (ttl, Normal, Ttl, Ttl),
            (old_ttl, Normal, Normal, Ttl),
        ];
        for (owner, a, b, c) in rows {
            let kinds = [plain.kind(owner), extended.kind(owner), emulate.kind(owner)];
            assert_eq!(kinds, [a, b, c], "{owner:x}");
        }
        assert_eq!((ttl_owner(5000), ttl_of(ttl), ttl_of(old_ttl)), (Some(ttl), 5000, 5000));
        assert_eq!((ttl_owner(0), ttl_owner(-1), ttl_owner(MAX_TTL + 1)), (None, None, None));
    }
}
