//! TLS: certificates, the settings of a client, and a stream over a socket that does not block. Nothing here opens sockets, and
//! only [`ClientTls::load_system_authorities`] opens files. rustls does the protocol, ring the cryptography.
//!
//! Without the cargo feature `tls`, `absent.rs` takes the place of the folder `provided`: the same items, of which no value
//! can be made. So no other file depends on the feature.

pub mod error;
#[cfg_attr(not(feature = "tls"), path = "absent.rs")]
mod provided;

pub use self::{
    error::CertificateError,
    provided::{
        ClientConnection, ClientTls, SUPPORTED, Stream, authorities, certificates, is_server_name, private_key,
    },
};
