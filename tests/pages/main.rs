//! README.md, docs/ and etc/ are held to the program: examples, links, tables, dashboards.
#![allow(missing_docs)]

#[path = "../support/mod.rs"]
mod support;

mod examples;
mod monitoring;
mod reference;
