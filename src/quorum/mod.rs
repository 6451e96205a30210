//! What an ensemble decides and how: votes and elections, which sets of servers are quorums, how
//! everybody comes to the leader's history.
//! Pure: knows no socket, file, thread or clock; time is an argument in milliseconds.

pub mod election;
pub mod leader;
pub mod learner;
mod learners;
pub mod observer_master;
pub mod sync_plan;
pub mod verifier;
pub mod vote;

pub use election::Election;
pub use verifier::{JointVerifier, QuorumVerifier};
pub use vote::{Ballot, Vote};
