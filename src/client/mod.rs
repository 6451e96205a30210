//! The client's side of the protocol, blocking: for the shell, the load generator and tests.

pub mod conn;
