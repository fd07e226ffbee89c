//! The handshake of a server. rustls does it; this file gives it one record at a time, so that it has opened none behind the
//! last one of the handshake when [`Records`] takes over.

use std::sync::Arc;

use rustls::{
    Error, HandshakeKind, ServerConfig,
    server::UnbufferedServerConnection,
    unbuffered::{ConnectionState, EncodeError, UnbufferedStatus},
};

use super::{
    problem::refuses_certificate,
    records::{Records, record_length},
};
use crate::tls::error::{HandshakeError, HandshakeFailure, RecordError};

/// A handshake that is not complete.
pub struct Handshake {
    tls: UnbufferedServerConnection,
    /// What arrived and is not done with.
    input: Vec<u8>,
    /// The end of the last record in it that rustls has seen.
    seen: usize,
}

/// A handshake that is complete.
pub struct Established {
    /// The connection.
    pub records: Records,
    /// What arrived after the handshake.
    pub rest: Vec<u8>,
    /// Whether the client has continued an earlier session.
    pub resumed: bool,
}

/// The progress of a handshake.
pub enum Progress {
    /// More must arrive.
    Waiting(Box<Handshake>),
    /// It is complete.
    Done(Established),
}

impl From<Error> for HandshakeError {
    fn from(error: Error) -> HandshakeError {
        let failure = match &error {
            error if refuses_certificate(error) => HandshakeFailure::Certificate,
            Error::AlertReceived(_) => HandshakeFailure::Alert,
            Error::PeerIncompatible(_) | Error::NoApplicationProtocol => HandshakeFailure::Incompatible,
            _ => HandshakeFailure::Protocol,
        };
        HandshakeError::Refused(failure, error.to_string())
    }
}

/// What one call of rustls has led to.
enum Step {
    Again,
    Blocked,
    Complete,
    Closed,
}

impl Handshake {
    /// A handshake of which nothing has arrived.
    pub fn new(config: Arc<ServerConfig>) -> Result<Handshake, Error> {
        Ok(Handshake { tls: UnbufferedServerConnection::new(config)?, input: Vec::new(), seen: 0 })
    }

    /// Bytes of memory that incomplete messages take.
    pub fn memory(&self) -> usize {
        self.input.capacity()
    }

    /// Handles bytes, and appends to `output` what the peer must get: after an error its reason.
    pub fn handle_input(mut self: Box<Self>, bytes: &[u8], output: &mut Vec<u8>) -> Result<Progress, HandshakeError> {
        self.input.extend_from_slice(bytes);
        loop {
            let length = record_length(&self.input[self.seen..]).map_err(|_: RecordError| HandshakeError::TooLong)?;
            let Some(length) = length.filter(|length| self.seen + length <= self.input.len()) else { break };
            self.seen += length;
            if self.advance(output)? {
                let rest = self.input.split_off(self.seen);
                let resumed = self.tls.handshake_kind() == Some(HandshakeKind::Resumed);
                let (secrets, keys) = self.tls.dangerous_into_kernel_connection()?;
                return Ok(Progress::Done(Established { records: Records::new(secrets, keys), rest, resumed }));
            }
        }
        if self.input.len() > MAX_INPUT {
            return Err(HandshakeError::TooLong);
        }
        if self.input.capacity() > 2 * self.input.len() {
            self.input.shrink_to_fit();
        }
        Ok(Progress::Waiting(self))
    }

    /// Lets rustls handle the records that it has not seen. Returns whether the handshake is complete.
    fn advance(&mut self, output: &mut Vec<u8>) -> Result<bool, HandshakeError> {
        loop {
            match self.step(output) {
                Ok(Step::Again) => {}
                Ok(Step::Blocked) => return Ok(false),
                Ok(Step::Complete) => return Ok(true),
                Ok(Step::Closed) => return Err(HandshakeError::Closed),
                Err(error) => {
                    // The alert. rustls must not see the bad record a second time.
                    while self.tls.wants_write() && self.step(output).is_ok() {}
                    return Err(error.into());
                }
            }
        }
    }

    fn step(&mut self, output: &mut Vec<u8>) -> Result<Step, Error> {
        let UnbufferedStatus { discard, state, .. } = self.tls.process_tls_records(&mut self.input[..self.seen]);
        let step = match state? {
            ConnectionState::EncodeTlsData(mut data) => {
                let from = output.len();
                if let Err(EncodeError::InsufficientSize(size)) = data.encode(&mut []) {
                    output.resize(from + size.required_size, 0);
                    data.encode(&mut output[from..]).map_err(|_| Error::EncryptError)?;
                }
                Step::Again
            }
            ConnectionState::TransmitTlsData(data) => {
                data.done();
                Step::Again
            }
            ConnectionState::WriteTraffic(_) => Step::Complete,
            ConnectionState::PeerClosed | ConnectionState::Closed => Step::Closed,
            // Nothing else happens while the client may not send data: early data are not accepted.
            _ => Step::Blocked,
        };
        self.input.drain(..discard);
        self.seen -= discard;
        Ok(match step {
            Step::Complete if self.tls.is_handshaking() => Step::Blocked,
            step => step,
        })
    }
}

/// Bytes of incomplete messages: a client's first message can have several keys, tickets and padding.
const MAX_INPUT: usize = 32 * 1024;
