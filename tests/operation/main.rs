//! What operators rely on: the JSON endpoints, logs, metrics, reloads, traces and `why`.
#![allow(missing_docs)]

#[path = "../support/mod.rs"]
mod support;

mod admin;
mod diagnosis;
mod live;
mod log;
mod metrics;
mod reload;
mod reload_settings;
mod systemd;
mod trace;
mod why;
