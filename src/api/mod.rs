//! What relay answers over HTTP: the table of routes, methods, CORS, and the gate before what only operators may see.

pub mod access;
pub mod assets;
pub mod connect;
pub mod context;
pub mod control;
pub mod emit;
pub mod engineio;
pub mod gate;
pub mod guesses;
pub mod html;
pub mod message_log;
pub mod notify;
pub mod online;
pub mod outcome;
pub mod page;
pub mod router;
pub mod snapshot;
pub mod status;
pub mod view;

pub use self::{
    context::{Context, Site},
    outcome::Outcome,
    router::route,
};
