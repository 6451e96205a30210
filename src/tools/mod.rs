//! Tools beside the server.

pub mod bench;
