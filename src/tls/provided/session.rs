//! The TLS side of one connection of a server: the handshake, then data in both directions. It has no socket: bytes are passed
//! in, and written to an [`io::Write`] that behaves like a socket that does not block.

use core::mem::{replace, take};
use std::io::{self, ErrorKind, IoSlice, Write};

use rustls::crypto::cipher::OutboundChunks;

use super::{
    acceptor::Acceptor,
    handshake::{Established, Handshake, Progress},
    records::{CLOSE_NOTIFY, MAX_DATA, Opened, Records, record_length},
};
use crate::{
    memory::Charge,
    tls::error::{HandshakeError, RecordError},
};

/// The TLS side of one connection.
pub struct Session {
    stage: Stage,
    /// An incomplete record.
    input: Vec<u8>,
    /// Sealed bytes that the socket did not accept, from `written` on.
    output: Vec<u8>,
    written: usize,
    /// Whether the last byte of data in `output` was not reported as written.
    held: bool,
    /// Whether no more is to be sent: our side of the connection is closed when `output` is written.
    closed: bool,
    /// Whether the caller has been told to close it.
    finished: bool,
    /// Whether the peer has announced that no more follows.
    ended: bool,
    /// Whether [`Session::take_end`] has told it.
    end_taken: bool,
    /// Counts `input`, and the input of the handshake.
    charge: Charge,
}

enum Stage {
    /// Nothing has arrived.
    New(Acceptor),
    Handshake(Box<Handshake>),
    Open(Records),
    /// It has failed.
    Over,
}

impl Session {
    /// A connection on which nothing has arrived.
    pub fn new(acceptor: Acceptor) -> Session {
        Session {
            stage: Stage::New(acceptor),
            input: Vec::new(),
            output: Vec::new(),
            written: 0,
            held: false,
            closed: false,
            finished: false,
            ended: false,
            end_taken: false,
            charge: Charge::default(),
        }
    }

    /// Whether data can be exchanged.
    pub fn is_open(&self) -> bool {
        matches!(self.stage, Stage::Open(_))
    }

    /// Whether the handshake is not complete.
    pub fn is_handshaking(&self) -> bool {
        matches!(self.stage, Stage::New(_) | Stage::Handshake(_))
    }

    /// Whether the peer has announced that no more follows.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// Whether the peer has announced that no more follows, once.
    pub fn take_end(&mut self) -> bool {
        self.ended && !replace(&mut self.end_taken, true)
    }

    /// Whether our side of the connection is to be closed once [`Session::flush`] has written all.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// Bytes of memory that incomplete input takes.
    pub fn input_memory(&self) -> usize {
        self.charge.bytes()
    }

    /// Bytes of memory that sealed bytes take which the socket did not accept.
    pub fn output_memory(&self) -> usize {
        self.output.capacity()
    }

    /// Handles bytes of a handshake, and writes what the peer must get. Returns whether a session was continued, once the
    /// handshake is complete. After an error the connection must be closed; only after [`HandshakeError::NotTls`] nothing was
    /// written.
    pub fn handshake(&mut self, bytes: &[u8], out: &mut impl Write) -> Result<Option<bool>, HandshakeError> {
        let handshake = match replace(&mut self.stage, Stage::Over) {
            // The rest of a PROXY header's packet can be empty.
            stage if bytes.is_empty() => {
                self.stage = stage;
                return Ok(None);
            }
            Stage::New(_) if bytes.first().is_some_and(|first| *first != HANDSHAKE) => {
                return Err(HandshakeError::NotTls);
            }
            Stage::New(acceptor) => Box::new(Handshake::new(acceptor.0)?),
            Stage::Handshake(handshake) => handshake,
            stage => {
                self.stage = stage;
                return Ok(None);
            }
        };
        let mut output = Vec::new();
        let progress = handshake.handle_input(bytes, &mut output);
        self.output.append(&mut output);
        let done = match progress {
            Ok(Progress::Waiting(handshake)) => {
                self.charge.set(handshake.memory());
                self.stage = Stage::Handshake(handshake);
                None
            }
            Ok(Progress::Done(Established { records, rest, resumed })) => {
                self.stage = Stage::Open(records);
                self.keep(&rest);
                Some(resumed)
            }
            Err(error) => {
                // The peer need not get the reason.
                let _ = self.flush(out);
                return Err(error);
            }
        };
        self.flush(out).map_err(|_| HandshakeError::Closed)?;
        Ok(done)
    }

    /// Takes input of the handshake that was kept.
    pub fn take_input(&mut self) -> Vec<u8> {
        self.charge.set(0);
        take(&mut self.input)
    }

    /// Puts the incomplete record, or what came with the end of the handshake, at the start of `buffer`. New input must go
    /// behind it. Returns its length, which is below 32 KiB.
    pub fn restore(&mut self, buffer: &mut [u8]) -> usize {
        let input = take(&mut self.input);
        buffer[..input.len()].copy_from_slice(&input);
        self.charge.set(0);
        input.len()
    }

    /// Opens the records in `bytes` and moves their data to the start of it. Returns how many bytes of data there are. An
    /// incomplete record is kept for [`Session::restore`]; what follows the announcement of the end is ignored. After an error
    /// the connection must be closed, once the data that came before it are handled; the peer gets the reason.
    pub fn open(&mut self, bytes: &mut [u8]) -> (usize, Result<(), RecordError>) {
        let (mut at, mut filled) = (0, 0);
        while let Stage::Open(records) = &mut self.stage
            && !self.ended
        {
            let length = match record_length(&bytes[at..]) {
                Ok(length) => length.filter(|length| *length <= bytes.len() - at),
                Err(error) => return (filled, Err(self.fail(error))),
            };
            let Some(length) = length else {
                self.keep(&bytes[at..]);
                break;
            };
            let start = bytes.as_ptr().addr();
            let data = match records.open(&mut bytes[at..at + length], &mut self.output) {
                Ok(Opened::Data(data)) => {
                    let begin = data.as_ptr().addr() - start;
                    begin..begin + data.len()
                }
                Ok(Opened::Nothing) => 0..0,
                Ok(Opened::End) => {
                    self.ended = true;
                    0..0
                }
                Err(error) => return (filled, Err(self.fail(error))),
            };
            at += length;
            // Data are shorter than their record: they never move to the right.
            let count = data.len();
            bytes.copy_within(data, filled);
            filled += count;
        }
        (filled, Ok(()))
    }

    /// Ends the session because of an error: the peer gets the reason if the socket accepts it at once.
    fn fail(&mut self, error: RecordError) -> RecordError {
        if let (Stage::Open(mut records), Some(alert)) = (replace(&mut self.stage, Stage::Over), error.alert())
            && !self.closed
        {
            records.seal_alert(alert, &mut self.output);
        }
        error
    }

    /// Whether the last byte that was presented is sealed, but counts as not written until the socket has accepted it.
    pub fn holds_byte(&self) -> bool {
        self.held
    }

    /// Keeps an incomplete record, or input of the handshake that is to be handled later.
    pub fn keep(&mut self, rest: &[u8]) {
        self.input = rest.to_vec();
        self.charge.set(self.input.capacity());
    }

    /// Writes sealed bytes that wait. Returns whether all are written.
    pub fn flush(&mut self, out: &mut impl Write) -> io::Result<bool> {
        while self.written < self.output.len() {
            match out.write(&self.output[self.written..]) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => self.written += written,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        if !self.output.is_empty() {
            (self.output, self.written) = (Vec::new(), 0);
            if let Stage::Open(records) = &mut self.stage {
                records.output_is_sent();
            }
        }
        Ok(true)
    }

    /// Seals the first [`MAX_DATA`] bytes of `slices` and writes them. Fails with [`ErrorKind::WouldBlock`] while earlier
    /// bytes wait, and before the handshake is complete.
    ///
    /// Sealed bytes cannot be taken back. If the socket does not accept all of them, the rest is kept, and the last byte of data
    /// counts as not written until it is. So the caller knows that something waits, and presents this byte again, as the
    /// first one.
    fn write_record(&mut self, out: &mut impl Write, slices: &[&[u8]]) -> io::Result<usize> {
        let Stage::Open(_) = self.stage else { return Err(ErrorKind::WouldBlock.into()) };
        if self.closed {
            return Err(ErrorKind::BrokenPipe.into());
        }
        if !self.flush(out)? {
            return Err(ErrorKind::WouldBlock.into());
        }
        let skip = usize::from(take(&mut self.held));
        let (_, data) = OutboundChunks::new(slices).split_at(skip);
        let (data, _) = data.split_at(MAX_DATA);
        let length = data.len();
        if length == 0 {
            return Ok(skip);
        }
        let Stage::Open(records) = &mut self.stage else { return Err(ErrorKind::WouldBlock.into()) };
        if let Err(error) = records.seal(data, &mut self.output) {
            self.fail(error);
            let _ = self.flush(out);
            return Err(io::Error::other(error));
        }
        if self.flush(out)? {
            return Ok(skip + length);
        }
        self.held = true;
        match skip + length - 1 {
            0 => Err(ErrorKind::WouldBlock.into()),
            written => Ok(written),
        }
    }

    /// Announces to the peer that no more follows. Returns whether our side of the connection can be closed now; otherwise
    /// [`Session::flush`] must be called when the socket is writable.
    pub fn close(&mut self, out: &mut impl Write) -> bool {
        if let Stage::Open(records) = &mut self.stage
            && !replace(&mut self.closed, true)
        {
            records.seal_alert(CLOSE_NOTIFY, &mut self.output);
        }
        self.closed = true;
        self.finished = self.flush(out).unwrap_or(true);
        self.finished
    }

    /// Whether our side of the connection is to be closed now, once: [`Session::close`] could not write all, and
    /// [`Session::flush`] has.
    pub fn take_finish(&mut self) -> bool {
        self.closed && !replace(&mut self.finished, true)
    }
}

/// The first byte of a connection with TLS: the type of its first record.
const HANDSHAKE: u8 = 22;

/// A session with its socket. Data that are written to it are sealed.
pub struct Sealed<'a, W> {
    /// The session.
    pub session: &'a mut Session,
    /// The socket.
    pub out: &'a mut W,
}

impl<W: Write> Write for Sealed<'_, W> {
    fn write(&mut self, mut bytes: &[u8]) -> io::Result<usize> {
        let mut total = 0;
        while !bytes.is_empty() {
            match self.session.write_record(self.out, &[bytes]) {
                Ok(written) => {
                    (total, bytes) = (total + written, &bytes[written..]);
                    if self.session.held {
                        break;
                    }
                }
                Err(error) if total > 0 && error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(total)
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut chunks: Vec<&[u8]> = Vec::new();
        let mut length = 0;
        for slice in slices {
            if length > MAX_DATA {
                break;
            }
            length += slice.len();
            chunks.push(slice);
        }
        self.session.write_record(self.out, &chunks)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
