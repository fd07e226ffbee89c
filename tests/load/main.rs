//! Limits, floods and memory: what each client may cost, and that others are not affected.
#![allow(missing_docs)]

#[path = "../support/mod.rs"]
mod support;

mod hostile;
mod limits;
mod memory;
