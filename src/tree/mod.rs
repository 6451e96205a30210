//! The data tree: znodes, ACLs, quotas, digest, watches, ephemerals by session – all state that
//! transactions change, and the one function that changes it ([`DataTree::apply`]).
//! Pure: knows no files, no clock, no connections; who asks and whether they may is not its
//! business. Java: `DataTree`, `ZKDatabase`, `WatchManager`.

mod acl;
mod apply;
mod build;
mod bulk;
mod data_tree;
mod db;
mod digest;
mod frozen;
mod index;
mod node;
mod quota;
mod slab;
mod watches;

pub use crate::hash::Seed;
pub use acl::AclId;
pub use apply::{Applied, OnTrigger, Trigger};
pub use build::{BuildError, TreeBuilder};
pub use data_tree::{CONFIG_NODE, DataTree, TreeOptions, split_path};
pub use db::{Db, DbState};
pub use digest::{DIGEST_VERSION, ZxidDigest, content_crc, digest_with_stat, node_digest};
pub use frozen::{FrozenNode, FrozenTree, Walk};
pub use node::{
    CONTAINER_OWNER, EphemeralKind, MAX_TTL, Node, NodeId, OwnerRules, ttl_of, ttl_owner,
};
pub use quota::{LIMITS, QUOTA_ROOT, QuotaBreach, STATS, StatsTrack, limits_path, stats_path};
pub use watches::{WatchKind, WatchSummary, WatcherId, Watches, set_watches};
