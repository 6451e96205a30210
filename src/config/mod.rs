//! The configuration: zoo.cfg, the dynamic file beside it and `-D` properties become one typed
//! [`Config`] that nothing changes afterwards. One table ([`table::TABLE`]) drives parsing,
//! defaults, checks and the printed reference.
//!
//! All of it is pure – text in, values out – except [`load`], which reads the files and the
//! environment. What deserves a line in the log is handed back as [`Note`]s.
//! Answers to Java's `QuorumPeerConfig`, `ServerConfig` and the system properties.

mod address;
mod draft;
mod error;
pub mod launch;
pub mod load;
pub mod membership;
pub mod properties;
mod protection;
mod reference;
mod rule;
mod static_file;
pub mod table;

pub use address::{Address, WILDCARD};
pub use draft::{Draft, Surroundings};
pub use error::{ConfigError, Note, Severity};
pub use membership::{Hierarchy, MembershipError, PeerAddress, QuorumConfig, Role, ServerSpec};
pub use protection::{refuse_unsupported, unsupported};
pub use reference::reference;
pub use rule::Place;
pub use static_file::{has_membership, point_to_dynamic_file};
pub use table::Config;

/// The release of Apache ZooKeeper whose behaviour this is. Tools read the number out of
/// `zkServer.sh version`, `srvr` and the like.
pub const ZOOKEEPER_RELEASE: &str = "3.9.5";

/// Bytes by which a record between servers may exceed `jute.maxbuffer` at least.
const MIN_EXTRA: u32 = 1_024;

impl Config {
    /// The port on which clients connect in plain text, if any.
    pub fn client_port(&self) -> Option<u16> {
        self.client_address.as_ref().map(|address| address.port)
    }

    /// Bytes of the largest record between servers: `jute.maxbuffer` and its extra size.
    pub fn jute_max_record(&self) -> u32 {
        let extra = self.jute_max_buffer_extra.unwrap_or(self.jute_max_buffer).max(MIN_EXTRA);
        self.jute_max_buffer.saturating_add(extra).min(i32::MAX as u32)
    }

    /// A property by its full name (`zookeeper.ssl.keyStore.location`), for the families of
    /// keys that have no row in the table.
    pub fn property(&self, name: &str) -> Option<&str> {
        self.properties.get(name).map(String::as_str)
    }

    /// Where the membership of a version is kept: `<configuration file>.dynamic.<hex version>`.
    pub fn dynamic_file(&self, version: i64) -> String {
        format!("{}.dynamic.{version:x}", self.config_path)
    }

    /// Where a proposed membership is kept until it is decided.
    pub fn next_dynamic_file(&self) -> String {
        next_dynamic_file(&self.config_path)
    }

    /// Whether the configuration file is to be kept as `<configuration file>.bak` at start: it
    /// holds the membership, which will move out of it.
    pub fn wants_backup(&self) -> bool {
        self.dynamic_config_file.is_none() && self.distributed && self.reconfig_enabled
    }

    /// Whether a four-letter word is answered: it is on the whitelist; or it is `srvr`, which the
    /// launch scripts need; or it is `isro`, which read-only clients need, in read-only mode.
    pub fn allows_four_letter_word(&self, word: &str) -> bool {
        let mut list = self.four_letter_whitelist.split(',').map(str::trim);
        list.any(|entry| entry == word || entry == "*")
            || word == "srvr"
            || (word == "isro" && self.read_only_mode_enabled)
    }
}

fn next_dynamic_file(config_path: &str) -> String {
    format!("{config_path}.dynamic.next")
}

#[cfg(test)]
mod tests;
