//! The records of an established connection of a server: sealing what is sent, and opening what is received.
//!
//! rustls makes the keys, and its cipher suites seal and open each record; this file only counts records, which is all
//! that [`rustls::kernel`] leaves to its users. A connection takes a third of the memory of rustls' own
//! `ServerConnection`.

use rustls::{
    ConnectionTrafficSecrets, ContentType, Error, ExtractedSecrets, ProtocolVersion, SupportedCipherSuite,
    crypto::cipher::{InboundOpaqueMessage, MessageDecrypter, MessageEncrypter, OutboundChunks, OutboundPlainMessage},
    kernel::KernelConnection,
    server::ServerConnectionData,
};

use crate::tls::error::RecordError;

/// The keys of a connection in both directions.
pub struct Records {
    sealer: Box<dyn MessageEncrypter>,
    opener: Box<dyn MessageDecrypter>,
    /// The numbers of the next records.
    sealed: u64,
    opened: u64,
    /// How many records one key may seal.
    limit: u64,
    /// Makes the next keys. TLS 1.2 has no next keys.
    keys: Option<Box<KernelConnection<ServerConnectionData>>>,
    /// Records without data, one after the other.
    idle: u8,
    /// Whether the peer was told about new keys since [`Records::output_is_sent`].
    answered: bool,
    /// How many bytes of the peer's announcement of a new key have arrived, while it is incomplete.
    begun: u8,
}

/// What a record contains.
#[derive(Debug, PartialEq, Eq)]
pub enum Opened<'a> {
    /// Data of the protocol above.
    Data(&'a [u8]),
    /// Nothing for the protocol above.
    Nothing,
    /// The announcement that no more follows.
    End,
}

impl Records {
    /// Takes over a connection after its handshake.
    pub fn new(secrets: ExtractedSecrets, keys: KernelConnection<ServerConnectionData>) -> Records {
        let suite = keys.negotiated_cipher_suite();
        let is_current = keys.protocol_version() == ProtocolVersion::TLSv1_3;
        let limit = match suite {
            SupportedCipherSuite::Tls13(suite) => suite.common.confidentiality_limit,
            SupportedCipherSuite::Tls12(suite) => suite.common.confidentiality_limit,
        };
        let ((sealed, tx), (opened, rx)) = (secrets.tx, secrets.rx);
        Records {
            sealer: sealer(suite, tx),
            opener: opener(suite, rx),
            sealed,
            opened,
            limit: limit.min(MOST_RECORDS),
            keys: is_current.then(|| Box::new(keys)),
            idle: 0,
            answered: false,
            begun: 0,
        }
    }

    /// Whether this is TLS 1.3.
    pub fn is_current(&self) -> bool {
        self.keys.is_some()
    }

    /// Seals data, at most [`MAX_DATA`] bytes, into `output`. Before the key is used up, the peer gets a new one.
    pub fn seal(&mut self, data: OutboundChunks<'_>, output: &mut Vec<u8>) -> Result<(), RecordError> {
        if self.sealed + 1 >= self.limit {
            if self.keys.is_none() {
                return Err(RecordError::Exhausted);
            }
            self.change_key(output)?;
        }
        self.seal_as(ContentType::ApplicationData, data, output)
    }

    /// Seals an alert. After a fatal one or the announcement of the end nothing more may be sealed.
    pub fn seal_alert(&mut self, alert: u8, output: &mut Vec<u8>) {
        let level = if matches!(alert, CLOSE_NOTIFY | NO_RENEGOTIATION) { WARNING } else { FATAL };
        // This fails only if the key is used up: then the peer gets no alert.
        let _ = self.seal_as(ContentType::Alert, OutboundChunks::Single(&[level, alert]), output);
    }

    fn seal_as(&mut self, typ: ContentType, payload: OutboundChunks<'_>, out: &mut Vec<u8>) -> Result<(), RecordError> {
        if self.sealed >= self.limit {
            return Err(RecordError::Exhausted);
        }
        let plain = OutboundPlainMessage { typ, version: ProtocolVersion::TLSv1_2, payload };
        let record = self.sealer.encrypt(plain, self.sealed).map_err(|_| RecordError::Exhausted)?.encode();
        self.sealed += 1;
        match out.is_empty() {
            true => *out = record,
            false => out.extend_from_slice(&record),
        }
        Ok(())
    }

    /// Tells the peer about a new key, and seals with it from now on.
    fn change_key(&mut self, output: &mut Vec<u8>) -> Result<(), RecordError> {
        self.seal_as(ContentType::Handshake, OutboundChunks::Single(&KEY_UPDATE), output)?;
        let Some(keys) = &mut self.keys else { return Err(RecordError::Exhausted) };
        let (number, secrets) = keys.update_tx_secret().map_err(|_| RecordError::Exhausted)?;
        self.sealer = sealer(keys.negotiated_cipher_suite(), secrets);
        self.sealed = number;
        Ok(())
    }

    /// All of the output of [`Records::open`] was sent.
    pub fn output_is_sent(&mut self) {
        self.answered = false;
    }

    /// Opens a whole record, with its header. Appends to `output` what the peer must get because of it.
    pub fn open<'r>(&mut self, record: &'r mut [u8], output: &mut Vec<u8>) -> Result<Opened<'r>, RecordError> {
        let Some((header, payload)) = record.split_at_mut_checked(HEADER) else { return Err(RecordError::Malformed) };
        let (typ, version) = (ContentType::from(header[0]), u16::from_be_bytes([header[1], header[2]]));
        // TLS 1.3 hides the type.
        if self.is_current() && typ != ContentType::ApplicationData {
            return Err(RecordError::Unexpected);
        }
        let sealed = InboundOpaqueMessage::new(typ, ProtocolVersion::from(version), payload);
        let plain = self.opener.decrypt(sealed, self.opened).map_err(|error| match error {
            Error::PeerSentOversizedRecord => RecordError::TooLong,
            Error::PeerMisbehaved(_) => RecordError::Unexpected,
            _ => RecordError::Damaged,
        })?;
        self.opened = self.opened.checked_add(1).ok_or(RecordError::Exhausted)?;
        // Nothing may come between the parts of a message (RFC 8446 section 5.1).
        if self.begun > 0 && plain.typ != ContentType::Handshake {
            return Err(RecordError::Unexpected);
        }
        if plain.typ == ContentType::ApplicationData && !plain.payload.is_empty() {
            self.idle = 0;
            return Ok(Opened::Data(plain.payload));
        }
        self.idle += 1;
        if self.idle > MOST_IDLE {
            return Err(RecordError::Flood);
        }
        match plain.typ {
            ContentType::ApplicationData => Ok(Opened::Nothing),
            ContentType::Alert => alert(plain.payload, self.is_current()),
            ContentType::Handshake if self.is_current() => self.update(plain.payload, output),
            ContentType::Handshake => match plain.payload {
                // A renegotiation.
                [CLIENT_HELLO, ..] => {
                    // One answer is enough, as for new keys.
                    if !core::mem::replace(&mut self.answered, true) {
                        self.seal_alert(NO_RENEGOTIATION, output);
                    }
                    Ok(Opened::Nothing)
                }
                _ => Err(RecordError::Unexpected),
            },
            _ => Err(RecordError::Unexpected),
        }
    }

    /// Handles a part of a message of the handshake protocol after the handshake: only a new key of the peer is one (RFC 8446
    /// section 4.6.3). Nothing may follow it under the old key.
    fn update(&mut self, part: &[u8], output: &mut Vec<u8>) -> Result<Opened<'static>, RecordError> {
        let rest = &UPDATE[usize::from(self.begun)..];
        if !part.is_empty() && rest.starts_with(part) {
            self.begun += part.len() as u8;
            return Ok(Opened::Nothing);
        }
        let wants_answer = match part.strip_prefix(rest) {
            Some([0]) => false,
            Some([1]) => true,
            Some([_]) => return Err(RecordError::Malformed),
            _ => return Err(RecordError::Unexpected),
        };
        self.begun = 0;
        let Some(keys) = &mut self.keys else { return Err(RecordError::Unexpected) };
        let (number, secrets) = keys.update_rx_secret().map_err(|_| RecordError::Damaged)?;
        self.opener = opener(keys.negotiated_cipher_suite(), secrets);
        self.opened = number;
        // One answer is enough for all that the peer asks before it reads it.
        if wants_answer && !core::mem::replace(&mut self.answered, true) {
            self.change_key(output)?;
        }
        Ok(Opened::Nothing)
    }

    /// Makes the key seal at most `limit` records.
    #[cfg(test)]
    pub fn set_limit(&mut self, limit: u64) {
        self.limit = limit;
    }
}

fn alert(payload: &[u8], is_current: bool) -> Result<Opened<'static>, RecordError> {
    match *payload {
        [_, CLOSE_NOTIFY] => Ok(Opened::End),
        [_, USER_CANCELED] if is_current => Ok(Opened::Nothing),
        [WARNING, _] if !is_current => Ok(Opened::Nothing),
        [_, alert] => Err(RecordError::Alert(alert)),
        _ => Err(RecordError::Malformed),
    }
}

pub(super) fn sealer(suite: SupportedCipherSuite, secrets: ConnectionTrafficSecrets) -> Box<dyn MessageEncrypter> {
    let (key, iv) = parts(secrets);
    match suite {
        SupportedCipherSuite::Tls13(suite) => suite.aead_alg.encrypter(key, iv),
        SupportedCipherSuite::Tls12(suite) => {
            let (fixed, explicit) = iv.as_ref().split_at(suite.aead_alg.key_block_shape().fixed_iv_len);
            suite.aead_alg.encrypter(key, fixed, explicit)
        }
    }
}

fn opener(suite: SupportedCipherSuite, secrets: ConnectionTrafficSecrets) -> Box<dyn MessageDecrypter> {
    let (key, iv) = parts(secrets);
    match suite {
        SupportedCipherSuite::Tls13(suite) => suite.aead_alg.decrypter(key, iv),
        SupportedCipherSuite::Tls12(suite) => {
            suite.aead_alg.decrypter(key, &iv.as_ref()[..suite.aead_alg.key_block_shape().fixed_iv_len])
        }
    }
}

fn parts(secrets: ConnectionTrafficSecrets) -> (rustls::crypto::cipher::AeadKey, rustls::crypto::cipher::Iv) {
    match secrets {
        ConnectionTrafficSecrets::Aes128Gcm { key, iv }
        | ConnectionTrafficSecrets::Aes256Gcm { key, iv }
        | ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => (key, iv),
        _ => unreachable!("ring has no other algorithm"),
    }
}

/// The length of a whole record at the start of `bytes`, once its header has arrived.
pub fn record_length(bytes: &[u8]) -> Result<Option<usize>, RecordError> {
    let Some(header) = bytes.first_chunk::<HEADER>() else { return Ok(None) };
    let length = usize::from(u16::from_be_bytes([header[3], header[4]]));
    if length > MAX_SEALED { Err(RecordError::TooLong) } else { Ok(Some(HEADER + length)) }
}

/// Bytes of data in one record.
pub const MAX_DATA: usize = 16 * 1024;
/// Bytes of a record behind its header: TLS 1.2 allows 2,048 above those of the data, TLS 1.3 only 256.
const MAX_SEALED: usize = MAX_DATA + 2048;
const HEADER: usize = 5;
/// How many records one key seals, also with a cipher suite that has no such limit: far fewer than numbers.
const MOST_RECORDS: u64 = 1 << 48;
/// Records without data that may follow each other.
pub(super) const MOST_IDLE: u8 = 32;

const CLIENT_HELLO: u8 = 1;
/// The announcement of a new key, with its last byte: 1 if the peer must change its key too, otherwise 0.
const KEY_UPDATE: [u8; 5] = [24, 0, 0, 1, 0];
const UPDATE: &[u8] = KEY_UPDATE.split_at(4).0;
/// The alert that announces the end.
pub const CLOSE_NOTIFY: u8 = 0;
const USER_CANCELED: u8 = 90;
const NO_RENEGOTIATION: u8 = 100;
const WARNING: u8 = 1;
const FATAL: u8 = 2;
