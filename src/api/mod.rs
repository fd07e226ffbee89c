//! HTTP endpoints, as functions of a request and the [`Context`] (docs/protocol.md, Connections and HTTP).
//!
//! [`route`] chooses the endpoint. It returns an [`Outcome`]: a reply, an upgrade, or the event that the request must
//! wait for.

pub mod access;
pub mod assets;
pub mod body;
pub mod connect;
pub mod context;
pub mod control;
pub mod cors;
mod echo;
pub mod emit;
pub mod engineio;
pub mod exposition;
pub mod front;
pub mod gate;
pub mod guesses;
mod history;
pub mod html;
pub mod inquiry;
pub mod live;
pub mod message_log;
pub mod metrics;
pub mod notify;
pub mod online;
pub mod outcome;
pub mod page;
mod path;
pub mod presence;
pub mod refused;
pub mod reload;
pub mod router;
pub mod sessions;
pub mod snapshot;
mod source;
pub mod status;
pub mod stream;
mod trace;
pub mod view;
pub mod why;

pub use self::{
    context::{Context, Site},
    outcome::Outcome,
    router::{max_body, route},
};
