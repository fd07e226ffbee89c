//! TLS: certificates, the settings of a client, and a stream over a socket that does not block. Nothing here opens files or
//! sockets. rustls does the protocol, ring the cryptography.

pub mod certificates;
pub mod client;
pub mod problem;
pub mod stream;

pub use self::{certificates::CertificateError, client::ClientTls, problem::explain, stream::Stream};
