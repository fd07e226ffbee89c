//! relay
#![allow(missing_docs)]
pub mod clock;
pub mod config;
pub mod frame;
pub mod key;
pub mod limits;
pub mod names;
pub mod sign;
