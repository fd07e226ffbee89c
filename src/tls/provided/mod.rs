//! TLS by rustls.

mod certificates;
mod client;
mod problem;
mod stream;

pub use rustls::ClientConnection;

pub use self::{
    certificates::{authorities, certificates, private_key},
    client::{ClientTls, is_server_name},
    stream::Stream,
};

/// Whether this build has TLS.
pub const SUPPORTED: bool = true;
