//! Finds where a request ends and the next one begins (RFC 9112 section 6).

use super::{
    chunked::{Chunked, Decoded},
    error::Error,
    request::{Framing, Head},
};
use crate::limits::Limits;

/// Finds the end of a request that arrives in pieces, without repeating work for each piece.
#[derive(Debug, Default)]
pub struct Framer {
    /// Bytes of the head, once it is complete; before that 0.
    pub head: usize,
    /// The number of bytes that were searched for the end of the head.
    scanned: usize,
    /// The length of the request, or 0 while it is unknown.
    need: usize,
    /// The decoder of the current body, and of the last one until the next request.
    pub chunked: Option<Chunked>,
    /// Bytes after the head that the chunk decoder has taken: they are to be removed from the input.
    pub decoded: usize,
    /// Whether the client waits for `100 Continue`.
    pub wants_continue: bool,
}

/// A complete request.
pub struct Found<'b> {
    /// Its head.
    pub head: Head<'b>,
    /// Bytes of the head and the encoded body.
    pub consumed: usize,
    /// Begin and end of the body in the input; `None` if it is in the chunk decoder.
    pub body: Option<(usize, usize)>,
}

impl Framer {
    /// Looks for a complete request at the start of `bytes`, which holds everything that has arrived of it, except for the
    /// bytes that were [decoded](Framer::decoded) before. Fails as
    /// [`Head::parse`] and [`Chunked::handle_input`] do, and if the body is larger than `limits.body`.
    pub fn measure<'b>(&mut self, bytes: &'b [u8], limits: &Limits) -> Result<Option<Found<'b>>, Error> {
        if bytes.len() < self.need {
            return Ok(None);
        }
        if self.head == 0 && self.scanned > 0 {
            let from = self.scanned.saturating_sub(3);
            self.scanned = bytes.len();
            let ends = |part: &[u8]| part.starts_with(b"\n\r\n") || part.starts_with(b"\n\n");
            let ended = (from..bytes.len()).any(|at| ends(&bytes[at..]));
            if !ended && bytes.len() as u64 <= limits.request_head {
                return Ok(None);
            }
        }
        // The head is parsed again only once the body is complete.
        let mut known = None;
        if self.head > 0
            && let Some(chunked) = &mut self.chunked
        {
            let decoded = chunked.handle_input(&bytes[self.head..], limits.body)?;
            self.decoded = decoded.taken;
            if !decoded.complete {
                return Ok(None);
            }
            known = Some(decoded);
        }
        let Some((head, length)) = Head::parse(bytes, limits)? else {
            self.scanned = bytes.len();
            return Ok(None);
        };
        let first = self.head == 0;
        self.head = length;
        let found = match head.framing {
            Framing::Absent => Some((length, Some((length, length)))),
            Framing::Length(body) if body > limits.body => return Err(Error::BodyTooLarge),
            Framing::Length(body) => {
                let end = length + body as usize;
                self.need = end;
                (bytes.len() >= end).then_some((end, Some((length, end))))
            }
            Framing::Chunked => {
                let Decoded { taken, complete } = match known {
                    Some(decoded) => decoded,
                    None => self.chunked.get_or_insert_default().handle_input(&bytes[length..], limits.body)?,
                };
                self.decoded = taken;
                complete.then_some((length + taken, None))
            }
        };
        let Some((consumed, body)) = found else {
            self.wants_continue = first && head.expect_continue && bytes.len() == length;
            return Ok(None);
        };
        let chunked = self.chunked.take();
        *self = Framer { chunked, ..Framer::default() };
        Ok(Some(Found { head, consumed, body }))
    }

    /// The body of the request that [`Framer::measure`] found in `bytes` at `place`.
    pub fn body<'b>(&'b self, bytes: &'b [u8], place: Option<(usize, usize)>) -> &'b [u8] {
        match place {
            Some((begin, end)) => &bytes[begin..end],
            None => self.chunked.as_ref().map_or(&[], Chunked::body),
        }
    }
}
