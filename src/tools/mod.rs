//! Tools beside the server.

pub mod bench;
pub mod four_letter_word;
pub mod purge;
