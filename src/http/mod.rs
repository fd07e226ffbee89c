//! HTTP/1.1 (RFC 9110, RFC 9112): a server's requests and replies, and a client's responses.
//!
//! [`Exchange`] turns the bytes of one connection into requests and replies into bytes, in order. [`response::Reader`]
//! reads the answers to requests that relay itself sends. Neither touches a socket or a clock.

pub mod chunked;
pub mod error;
pub mod exchange;
pub mod fields;
pub mod forwarded;
mod framer;
pub mod multipart;
pub mod parameters;
pub mod parked;
mod partial;
pub mod proxy;
pub mod reply;
pub mod request;
pub mod response;
pub mod timeout;

pub use self::{
    error::{Error, Syntax},
    exchange::Exchange,
    fields::Fields,
    reply::Reply,
    request::{Framing, Head, Request},
};
