//! Handlers of input: messages of plain WebSocket clients, packets of Socket.IO clients, the backend's answers to
//! hooks, and commands of other relays. They are functions of the [`Hub`](crate::hub::Hub), as the endpoints of
//! [`api`](crate::api) are.

pub mod acknowledge;
pub mod backend;
pub mod charge;
pub mod client;
pub mod cluster;
pub mod incoming;
pub mod pairing;
pub mod plain;
mod renewal;
pub mod requests;
pub mod rules;
pub mod socketio;
mod socketio_login;
pub mod timeout;
pub mod users;
pub mod violation;

pub use self::{client::handle_message, incoming::Incoming, timeout::handle_timeout};
