//! (to be written)

pub mod logging;
pub mod mesh;
