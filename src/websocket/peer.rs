//! Messages from a client. Tungstenite's context is lent the bytes of one read through memory; if they end where a
//! message ends, nothing of it stays.
//!
//! A kept context costs its 256 bytes and a buffer as large as its largest message, for ever; a fresh one per read costs
//! 33 ns. Walking the frames' headers to learn where the input ends costs 10 ns a frame. So an idle connection has no
//! WebSocket state at all.

use std::io::{self, Cursor, ErrorKind, Read, Write};

use tungstenite::{
    Bytes, Message, Utf8Bytes,
    protocol::{
        Role, WebSocketConfig, WebSocketContext,
        frame::{
            FrameHeader,
            coding::{Data, OpCode},
        },
    },
};

use super::Error;

/// What stays of a client's input between two reads: eight bytes, if it ended where a message ended.
#[derive(Default)]
pub struct Peer {
    partial: Option<Box<Partial>>,
}

const _: () = assert!(size_of::<Peer>() == 8);

struct Partial {
    context: WebSocketContext,
    border: Border,
}

/// What a client sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A text message.
    Text(Utf8Bytes),
    /// A binary message.
    Binary(Bytes),
    /// It closes, or answers our close: the answer, if one is due, is in [`Reading::poll_transmit`].
    Closed,
}

impl Peer {
    /// Takes what was read. Poll the events until there is none, then [finish](Reading::finish).
    pub fn handle_input<'a>(&mut self, input: &'a [u8], largest: u64) -> Reading<'a> {
        let kept = self.partial.take().map(|partial| *partial);
        let (kept, mut border) = kept.map_or_else(Default::default, |partial| (Some(partial.context), partial.border));
        border.handle_input(input);
        let context = kept.unwrap_or_else(|| {
            // One that will be kept must be good for whatever comes: a flood read through a small buffer costs 25 times.
            let expected = if border.is_reached() { input.len() } else { LARGEST_BUFFER };
            context(expected, largest)
        });
        Reading { context, border, adapter: Adapter { input, output: Vec::new() }, over: false }
    }

    /// Whether a message has begun and is not whole.
    pub fn is_partial(&self) -> bool {
        self.partial.is_some()
    }
}

/// One read being taken apart.
pub struct Reading<'a> {
    context: WebSocketContext,
    border: Border,
    adapter: Adapter<'a>,
    over: bool,
}

impl Reading<'_> {
    /// The next message; nothing when the input is used up. After an error or [`Event::Closed`] there is nothing more.
    pub fn poll_event(&mut self) -> Option<Result<Event, Error>> {
        if self.over {
            return None;
        }
        loop {
            let event = match self.context.read(&mut self.adapter) {
                Ok(Message::Text(text)) => Ok(Event::Text(text)),
                Ok(Message::Binary(bytes)) => Ok(Event::Binary(bytes)),
                Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => continue,
                Ok(Message::Close(_)) => {
                    // The answer was queued inside; this writes it to the adapter and says that it is over.
                    let _ = self.context.flush(&mut self.adapter);
                    Ok(Event::Closed)
                }
                Err(tungstenite::Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => return None,
                Err(tungstenite::Error::Capacity(_)) => Err(Error::TooBig),
                Err(tungstenite::Error::Utf8(_)) => Err(Error::Utf8),
                Err(_) => Err(Error::Protocol),
            };
            self.over = !matches!(event, Ok(Event::Text(_) | Event::Binary(_)));
            return Some(event);
        }
    }

    /// What the protocol itself answers: pongs, the other half of a close. Poll it after the events.
    pub fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        let output = core::mem::take(&mut self.adapter.output);
        (!output.is_empty()).then_some(output)
    }

    /// Keeps what is needed to go on, if anything.
    pub fn finish(self, peer: &mut Peer) {
        if !self.over && !self.border.is_reached() {
            peer.partial = Some(Box::new(Partial { context: self.context, border: self.border }));
        }
    }
}

/// Memory in, memory out.
struct Adapter<'a> {
    input: &'a [u8],
    output: Vec<u8>,
}

impl Read for Adapter<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.input.is_empty() {
            return Err(ErrorKind::WouldBlock.into());
        }
        self.input.read(buffer)
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

/// Walks frame headers to know whether the input so far ends where a message ends.
#[derive(Default)]
struct Border {
    /// Payload bytes of the current frame that are still to come.
    missing: u64,
    /// The start of a header that is not whole.
    header: [u8; LONGEST_HEADER],
    header_length: u8,
    /// A fragmented message is open.
    open: bool,
    /// The input makes no sense: the context will say so.
    broken: bool,
}

impl Border {
    fn handle_input(&mut self, mut input: &[u8]) {
        while !input.is_empty() && !self.broken {
            let skipped = self.missing.min(input.len() as u64);
            self.missing -= skipped;
            input = &input[skipped as usize..];
            if input.is_empty() {
                return;
            }
            let known = self.header_length as usize;
            let taken = input.len().min(LONGEST_HEADER - known);
            self.header[known..known + taken].copy_from_slice(&input[..taken]);
            let mut cursor = Cursor::new(&self.header[..known + taken]);
            match FrameHeader::parse(&mut cursor) {
                Ok(Some((header, length))) => {
                    input = &input[(cursor.position() as usize).saturating_sub(known)..];
                    self.header_length = 0;
                    self.missing = length;
                    if let OpCode::Data(Data::Text | Data::Binary | Data::Continue) = header.opcode {
                        self.open = !header.is_final;
                    }
                }
                Ok(None) => {
                    self.header_length = (known + taken) as u8;
                    input = &input[taken..];
                }
                Err(_) => self.broken = true,
            }
        }
    }

    fn is_reached(&self) -> bool {
        self.missing == 0 && self.header_length == 0 && !self.open
    }
}

fn context(expected: usize, largest: u64) -> WebSocketContext {
    let largest = Some(usize::try_from(largest).unwrap_or(usize::MAX));
    let config = WebSocketConfig::default()
        .read_buffer_size(expected.clamp(SMALLEST_BUFFER, LARGEST_BUFFER))
        .max_message_size(largest)
        .max_frame_size(largest);
    WebSocketContext::new(Role::Server, Some(config))
}

/// Two bytes, eight of length, four of mask (RFC 6455 section 5.2).
const LONGEST_HEADER: usize = 14;
/// Bytes of a context's read buffer: a small message fits, a large read is copied in few steps.
const SMALLEST_BUFFER: usize = 128;
const LARGEST_BUFFER: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    /// A masked frame with a mask of zeroes.
    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![first];
        match payload.len() {
            length @ 0..126 => bytes.push(0x80 | length as u8),
            length => {
                bytes.push(0x80 | 126);
                bytes.extend((length as u16).to_be_bytes());
            }
        }
        bytes.extend([0; 4]);
        bytes.extend(payload);
        bytes
    }

    /// All events of `pieces`, all that was sent back, and whether something stayed.
    fn receive(pieces: &[&[u8]]) -> (Vec<Result<Event, Error>>, Vec<u8>, bool) {
        let (mut peer, mut events, mut sent) = (Peer::default(), Vec::new(), Vec::new());
        for piece in pieces {
            let mut reading = peer.handle_input(piece, 1000);
            while let Some(event) = reading.poll_event() {
                let over = !matches!(event, Ok(Event::Text(_) | Event::Binary(_)));
                events.push(event);
                if over {
                    sent.extend(reading.poll_transmit().unwrap_or_default());
                    return (events, sent, false);
                }
            }
            sent.extend(reading.poll_transmit().unwrap_or_default());
            reading.finish(&mut peer);
        }
        (events, sent, peer.is_partial())
    }

    fn text(text: &str) -> Result<Event, Error> {
        Ok(Event::Text(text.to_owned().into()))
    }

    #[test]
    fn every_cut() {
        let long = "ä".repeat(150);
        let input = [
            frame(0x81, b"one"),
            frame(0x89, b"ping"),
            frame(0x82, &[0, 255]),
            frame(0x01, b"fr"),
            frame(0x80, b"").split_at(0).0.to_vec(),
            frame(0x00, b"ag"),
            frame(0x8a, b"pong"),
            frame(0x80, b"ment"),
            frame(0x81, long.as_bytes()),
            frame(0x81, b""),
        ]
        .concat();
        let expected =
            vec![text("one"), Ok(Event::Binary(vec![0, 255].into())), text("fragment"), text(&long), text("")];
        let pong = [&[0x8a, 4][..], b"ping"].concat();
        assert_eq!(receive(&[&input]), (expected.clone(), pong.clone(), false));
        for cut in 0..=input.len() {
            let (one, other) = input.split_at(cut);
            assert_eq!(receive(&[one, other]), (expected.clone(), pong.clone(), false), "cut at {cut}");
        }
        let bytes: Vec<&[u8]> = input.chunks(1).collect();
        assert_eq!(receive(&bytes), (expected, pong, false));
    }

    #[test]
    fn nothing_stays_at_a_border() {
        let whole = frame(0x81, b"hello");
        for cut in 0..=whole.len() {
            assert_eq!(receive(&[&whole[..cut]]).2, cut != 0 && cut != whole.len(), "{cut}");
        }
        assert!(receive(&[&frame(0x01, b"open")]).2);
        assert!(!receive(&[&frame(0x89, b"")]).2);
    }

    #[test]
    fn closing_is_answered() {
        let close = [&[0x03, 0xe8][..], b"bye"].concat();
        let (events, sent, _) = receive(&[&frame(0x88, &close), &frame(0x81, b"late")]);
        assert_eq!(events, [Ok(Event::Closed)]);
        assert_eq!(sent, [&[0x88, 5][..], &close].concat());
        assert_eq!(receive(&[&frame(0x88, b"")]).1, [0x88, 0]);
    }

    #[test]
    fn errors_know_their_code() {
        let code = |bytes: &[u8]| receive(&[bytes]).0.pop().unwrap().unwrap_err().close().code;
        assert_eq!(code(&[0x81, 0x01, b'x']), 1002, "not masked");
        assert_eq!(code(&frame(0xc1, b"x")), 1002, "reserved bit");
        assert_eq!(code(&frame(0x83, b"x")), 1002, "reserved opcode");
        assert_eq!(code(&frame(0x80, b"x")), 1002, "nothing to continue");
        assert_eq!(code(&[frame(0x01, b"x"), frame(0x81, b"y")].concat()), 1002, "not continued");
        assert_eq!(code(&frame(0x09, b"x")), 1002, "fragmented control");
        assert_eq!(code(&frame(0x89, &[b'x'; 126])), 1002, "long control");
        assert_eq!(code(&frame(0x88, b"x")), 1002, "half a code");
        assert_eq!(code(&frame(0x81, &[0xff])), 1007, "no UTF-8");
        assert_eq!(code(&frame(0x81, &[b'x'; 1001])), 1009, "too big");
        assert_eq!(code(&frame(0x81, &[b'x'; 1001])[..8]), 1009, "too big by what it announces");
        let fragments = [frame(0x01, &[b'x'; 600]), frame(0x80, &[b'x'; 600])].concat();
        assert_eq!(code(&fragments), 1009, "too big together");
    }
}
