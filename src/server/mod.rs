//! (to be written)

pub mod logging;
