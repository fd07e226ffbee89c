//! TLS by rustls.

mod acceptor;
mod authority;
mod certificates;
mod client;
mod handshake;
mod identity;
mod pinned;
mod problem;
mod public;
mod records;
mod session;
mod stream;
#[cfg(any(test, feature = "fuzzing"))]
pub mod testing;

pub use rustls::ClientConnection;

pub use self::{
    acceptor::{Acceptor, Tickets},
    authority::{Authority, new_key},
    certificates::{authorities, certificates, private_key},
    client::{ClientTls, is_server_name},
    identity::Identity,
    public::PublicKey,
    session::{Sealed, Session},
    stream::Stream,
};

/// Whether this build has TLS.
pub const SUPPORTED: bool = true;
