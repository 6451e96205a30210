//! IronKeeper: Apache ZooKeeper's server written anew in Rust. Start reading at `ARCHITECTURE.md`.

pub mod admin;
pub mod auth;
pub mod cli;
pub mod client;
pub mod config;
pub mod hash;
pub mod mailbox;
pub mod metrics;
pub mod net;
pub mod pipeline;
pub mod quorum;
pub mod server;
pub mod session;
pub mod storage;
pub mod sys;
pub mod tools;
pub mod tree;
pub mod wire;
