//! Messages from a client, read with tungstenite.
//!
//! Each read gets a context of its own, which is dropped unless a fragmented message is incomplete. So an idle connection
//! has no WebSocket state. Keeping a context for each connection would take 256 bytes and a buffer as large as its
//! largest message. Creating one for each read takes 33 ns, and `Border` takes 10 ns a frame to find out where the last
//! complete frame ends. An incomplete frame is kept as it arrived.

use core::{fmt, mem};
use std::{
    borrow::Cow,
    io::{self, Cursor, ErrorKind, Read, Write},
};

use tungstenite::{
    Bytes, Message, Utf8Bytes,
    protocol::{
        Role, WebSocketConfig, WebSocketContext,
        frame::{FrameHeader, coding::OpCode},
    },
};

use super::close::Close;
use crate::memory::Charge;

/// The state of a client's input between two reads: eight bytes, and an allocation only within a message.
#[derive(Default)]
pub struct Peer {
    partial: Option<Box<Partial>>,
}

const _: () = assert!(size_of::<Peer>() <= 8);

#[derive(Default)]
struct Partial {
    /// The context of a fragmented message.
    context: Option<WebSocketContext>,
    border: Border,
    /// The beginning of an incomplete frame.
    tail: Vec<u8>,
    charge: Charge,
}

/// An event in a client's input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A text message.
    Text(Utf8Bytes),
    /// A binary message.
    Binary(Bytes),
    /// A pong with its payload.
    Pong(Bytes),
    /// A close with its status code, if it has one, or the answer to ours. If it must be answered, [`Reading::poll_transmit`]
    /// has the answer.
    Closed(Option<u16>),
}

/// How a client violates the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// Malformed frames, or frames in an order that is not allowed.
    Protocol,
    /// A message has more bytes than allowed.
    TooBig,
    /// A text message is not UTF-8.
    Utf8,
}

impl Error {
    /// The close that the client gets.
    pub fn close(self) -> Close {
        match self {
            Error::Protocol => Close::PROTOCOL,
            Error::TooBig => Close::TOO_BIG,
            Error::Utf8 => Close::NOT_UTF8,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.close().reason)
    }
}

impl std::error::Error for Error {}

impl Peer {
    /// Starts to decode the bytes of one read. A message may have `max_message` bytes. Poll the events until there is
    /// none, then call [`Reading::finish`].
    pub fn handle_input<'a>(&mut self, input: &'a [u8], max_message: u64) -> Reading<'a> {
        let Partial { context, mut border, mut tail, charge } =
            self.partial.take().map_or_else(Partial::default, |partial| *partial);
        let (ready, rest) = input.split_at(border.handle_input(input, max_message));
        let ready: Cow<'a, [u8]> = if tail.is_empty() {
            tail = rest.to_vec();
            ready.into()
        } else if ready.is_empty() {
            tail.extend_from_slice(rest);
            ready.into()
        } else {
            tail.extend_from_slice(ready);
            mem::replace(&mut tail, rest.to_vec()).into()
        };
        let context = context.or_else(|| {
            // A context that will be kept needs the large buffer: with a small one, reading a flood takes 25 times as long.
            let expected = if border.open { MAX_BUFFER } else { ready.len() };
            (!ready.is_empty()).then(|| new_context(expected, max_message))
        });
        let adapter = Adapter { input: ready, read: 0, output: Vec::new() };
        Reading { context, border, tail, charge, adapter, over: false }
    }

    /// Whether a message is incomplete.
    pub fn is_partial(&self) -> bool {
        self.partial.is_some()
    }

    /// Bytes of memory that an incomplete message takes.
    pub fn memory(&self) -> usize {
        self.partial.as_ref().map_or(0, |partial| partial.charge.bytes())
    }
}

/// The bytes of one read while they are decoded.
pub struct Reading<'a> {
    context: Option<WebSocketContext>,
    border: Border,
    tail: Vec<u8>,
    charge: Charge,
    adapter: Adapter<'a>,
    over: bool,
}

impl Reading<'_> {
    /// Returns the next event, or `None` at the end of the input. [`Event::Closed`] or an error is the last event.
    pub fn poll_event(&mut self) -> Option<Result<Event, Error>> {
        let context = self.context.as_mut().filter(|_| !self.over)?;
        loop {
            let event = match context.read(&mut self.adapter) {
                Ok(Message::Text(text)) => Ok(Event::Text(text)),
                Ok(Message::Binary(bytes)) => Ok(Event::Binary(bytes)),
                Ok(Message::Pong(payload)) => Ok(Event::Pong(payload)),
                Ok(Message::Ping(_) | Message::Frame(_)) => continue,
                Ok(Message::Close(frame)) => {
                    // The context has queued the answer; this writes it to the adapter.
                    let _ = context.flush(&mut self.adapter);
                    Ok(Event::Closed(frame.map(|frame| frame.code.into())))
                }
                Err(tungstenite::Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => return None,
                Err(tungstenite::Error::Capacity(_)) => Err(Error::TooBig),
                Err(tungstenite::Error::Utf8(_)) => Err(Error::Utf8),
                Err(_) => Err(Error::Protocol),
            };
            self.over = !matches!(event, Ok(Event::Text(_) | Event::Binary(_) | Event::Pong(_)));
            return Some(event);
        }
    }

    /// Returns the frames that the protocol requires as an answer: pongs, and the answer to a close. Call it after each event and
    /// before you handle it, and after the last one: they answer what arrived before the event, or the event itself if it is
    /// [`Event::Closed`].
    pub fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        let output = &mut self.adapter.output;
        (!output.is_empty()).then(|| mem::take(output))
    }

    /// Keeps the state of an incomplete message in `peer`.
    pub fn finish(self, peer: &mut Peer) {
        let Reading { context, border, tail, mut charge, .. } = self;
        if self.over || (tail.is_empty() && !border.open) {
            return;
        }
        let context = context.filter(|_| border.open);
        let fragments = if border.open { MAX_BUFFER + border.fragments as usize } else { 0 };
        charge.set(size_of::<Partial>() + tail.capacity() + fragments);
        peer.partial = Some(Box::new(Partial { context, border, tail, charge }));
    }
}

/// A stream in memory.
struct Adapter<'a> {
    input: Cow<'a, [u8]>,
    /// Bytes of it that were read.
    read: usize,
    output: Vec<u8>,
}

impl Read for Adapter<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut rest = &self.input[self.read..];
        if rest.is_empty() {
            return Err(ErrorKind::WouldBlock.into());
        }
        let length = rest.read(buffer)?;
        self.read += length;
        Ok(length)
    }
}

impl Write for Adapter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.output.write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Follows the headers of frames to find out where the last complete frame ends, and whether a message is complete. So the
/// context gets whole frames only: it would reserve memory for a frame as soon as it has the header, and a client could
/// take a megabyte with fourteen bytes.
#[derive(Default)]
struct Border {
    /// Missing bytes of the payload of the current frame.
    missing: u64,
    /// An incomplete header.
    header: [u8; MAX_HEADER],
    header_length: u8,
    /// The current frame, until it is complete.
    frame: Option<Frame>,
    /// Whether a fragmented message is incomplete.
    open: bool,
    /// Bytes of the payloads of the complete frames of a fragmented message.
    fragments: u64,
    /// Whether a header is malformed or announces too much; the context reports it.
    broken: bool,
}

/// What the header of a frame says.
#[derive(Clone, Copy)]
struct Frame {
    length: u64,
    /// Whether it is part of a message, and not a ping, a pong or a close.
    is_data: bool,
    is_final: bool,
}

impl Border {
    /// Returns how many bytes of `input`, from its beginning, belong to complete frames, or must be read to find an error.
    fn handle_input(&mut self, input: &[u8], max_message: u64) -> usize {
        let (mut rest, mut whole) = (input, 0);
        while !self.broken {
            let skipped = self.missing.min(rest.len() as u64);
            self.missing -= skipped;
            rest = &rest[skipped as usize..];
            if self.missing > 0 {
                return whole;
            }
            if let Some(frame) = self.frame.take() {
                self.end_frame(frame);
                whole = input.len() - rest.len();
            }
            if rest.is_empty() {
                return whole;
            }
            let known = self.header_length as usize;
            let taken = rest.len().min(MAX_HEADER - known);
            self.header[known..known + taken].copy_from_slice(&rest[..taken]);
            let mut cursor = Cursor::new(&self.header[..known + taken]);
            match FrameHeader::parse(&mut cursor) {
                Ok(Some((header, length))) => {
                    rest = &rest[(cursor.position() as usize).saturating_sub(known)..];
                    self.header_length = 0;
                    self.missing = length;
                    let is_data = matches!(header.opcode, OpCode::Data(_));
                    self.frame = Some(Frame { length, is_data, is_final: header.is_final });
                    self.broken = length > max_message;
                }
                Ok(None) => {
                    self.header_length = (known + taken) as u8;
                    rest = &rest[taken..];
                }
                Err(_) => self.broken = true,
            }
        }
        input.len()
    }

    fn end_frame(&mut self, frame: Frame) {
        if frame.is_data {
            self.open = !frame.is_final;
            self.fragments = if self.open { self.fragments.saturating_add(frame.length) } else { 0 };
        }
    }
}

/// A context for an input of `expected` bytes.
fn new_context(expected: usize, max_message: u64) -> WebSocketContext {
    let max_size = Some(usize::try_from(max_message).unwrap_or(usize::MAX));
    let config = WebSocketConfig::default()
        .read_buffer_size(expected.clamp(MIN_BUFFER, MAX_BUFFER))
        .max_message_size(max_size)
        .max_frame_size(max_size);
    WebSocketContext::new(Role::Server, Some(config))
}

/// Bytes of the longest header: 2, 8 of length and 4 of mask (RFC 6455 section 5.2).
const MAX_HEADER: usize = 14;
/// Bytes of the smallest read buffer of a context: enough for a small message.
const MIN_BUFFER: usize = 128;
/// Bytes of the largest one: enough to copy a large read in a few steps.
const MAX_BUFFER: usize = 4096;

#[cfg(test)]
mod tests;
