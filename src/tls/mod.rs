//! TLS: certificates, the settings of a client and a stream for it, the settings of a server and a session for each of its
//! connections. Nothing here opens sockets, and only [`ClientTls::load_system_authorities`] opens files. rustls does the
//! protocol, ring the cryptography.
//!
//! Without the cargo feature `tls`, `absent.rs` takes the place of the folder `provided`: the same items, of which no value
//! can be made. So no other file depends on the feature.

pub mod error;
#[cfg_attr(not(feature = "tls"), path = "absent.rs")]
mod provided;
pub mod server;
pub mod version;

#[cfg(all(feature = "tls", any(test, feature = "fuzzing")))]
pub use self::provided::testing;
pub use self::{
    error::{CertificateError, HandshakeError, HandshakeFailure, RecordError},
    provided::{
        Acceptor, Authority, ClientConnection, ClientTls, Identity, PublicKey, SUPPORTED, Sealed, Session, Stream,
        Tickets, authorities, certificates, is_server_name, new_key, private_key,
    },
    server::ServerTls,
    version::Oldest,
};
