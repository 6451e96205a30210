//! What operators ask a running server: the four-letter words (A-1 … A-16). Every text is a pure
//! function of facts that [`Words`] gathers on the admin thread; facts are typed so that other
//! ways to ask can show them differently. Decides nothing and changes nothing but statistics.
//! Java: package `server.command`.

mod conf;
mod connections;
mod environment;
mod java_text;
pub mod monitor;
mod refusals;
mod sessions;
mod words;

use crate::config::ZOOKEEPER_RELEASE;
use crate::net::FourLetter;
use crate::server::Insight;

pub use words::Words;

/// When this version was released. Not the moment of the build: the same source gives the same
/// program.
const RELEASED: &str = "2026-11-23 00:00 UTC";

/// The version as tools read it: the number ends at the dash, the revision at the comma.
pub fn full_version() -> String {
    let revision = concat!("ironkeeper.", env!("CARGO_PKG_VERSION"));
    format!("{ZOOKEEPER_RELEASE}-{revision}, built on {RELEASED}")
}

/// Makes the server's [`FourLetter`].
pub fn answerer(insight: Insight) -> Box<dyn FourLetter> {
    Box::new(Words::new(insight))
}

#[cfg(test)]
mod tests;
