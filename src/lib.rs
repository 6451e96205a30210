//! IronKeeper: Apache ZooKeeper's server written anew in Rust. Start reading at `ARCHITECTURE.md`.

pub mod wire;
pub mod config;
pub mod tree;
pub mod storage;
pub mod session;
pub mod auth;
pub mod quorum;
pub mod pipeline;
pub mod net;
pub mod server;
pub mod admin;
pub mod client;
pub mod cli;
pub mod tools;
