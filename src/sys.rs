//! The one place for `unsafe`: thin safe wrappers over libc calls that `std` lacks.
#![allow(unsafe_code)]
