//! One server connection's requests and replies in their order: keep-alive, pipelining, bodies, deadlines.
//!
//! The owner reads bytes and calls [`Exchange::poll_request`] until it has nothing more; each request is answered with
//! [`Exchange::reply`] before the next is asked for. A request that came whole in one read is never copied; what is
//! unfinished is kept, and nothing else. Output gathers in one buffer and is written once a turn.

use core::{net::IpAddr, time::Duration};
use std::io::{self, ErrorKind, Write};

use super::{Error, Framing, Head, Reply, Request, chunked::Chunked, reply::Connection};
use crate::{
    clock::{Now, Time},
    key::ClientKey,
    limits::Limits,
    outbox::Flushed,
};

/// The state of one connection that speaks HTTP.
#[derive(Debug)]
pub struct Exchange {
    /// The address at the other end, for who answers; none if there is none.
    pub peer: Option<IpAddr>,
    /// What has come of a request that was not whole, from `start` on.
    input: Vec<u8>,
    start: usize,
    framer: Framer,
    output: Vec<u8>,
    written: usize,
    phase: Phase,
    deadline: Time,
    /// When the body that is arriving must be whole, whatever its pace.
    body_deadline: Time,
    /// How the request that waits for its reply wants it.
    connection: Connection,
    head_only: bool,
    parked: Option<Parked>,
}

/// A request whose reply is not there yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parked {
    /// A poll, which waits for packets as long as it takes.
    Poll {
        /// For whom it waits.
        client: ClientKey,
        /// The page that may read the answer; nothing if no page asked.
        origin: Box<str>,
    },
    /// A page of the message log, which waits for a disk.
    Page,
    /// A login, which waits for the business backend.
    Login {
        /// Whose.
        client: ClientKey,
        /// The response if it is let in.
        response: Vec<u8>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Connected, no byte yet.
    Fresh,
    /// Between two requests.
    Idle,
    /// A head has begun.
    Head,
    /// A body has begun.
    Body,
    /// The last reply is queued; input is read and forgotten.
    Closing,
}

/// What an expired deadline means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timeout {
    /// Not yet: look again at [`Exchange::poll_timeout`].
    Early,
    /// The peer was too slow and is told so: flush and close.
    Replied,
    /// There is nothing to say: close.
    Close,
}

impl Exchange {
    /// A connection that was just accepted.
    pub fn new(now: Now, limits: &Limits) -> Exchange {
        Exchange {
            peer: None,
            input: Vec::new(),
            start: 0,
            framer: Framer::default(),
            output: Vec::new(),
            written: 0,
            phase: Phase::Fresh,
            deadline: now.time.after(limits.request_timeout()),
            body_deadline: Time::NEVER,
            connection: Connection::Ends,
            head_only: false,
            parked: None,
        }
    }

    /// The next whole request in what was kept and in `fresh`, from which it takes what it needs. Call it again after
    /// each reply until it returns nothing, then all of `fresh` is taken. After an error nothing more is read: the reply
    /// is queued, close when it is out.
    pub fn poll_request<'r, 'f: 'r>(
        &'r mut self,
        fresh: &mut &'f [u8],
        limits: &Limits,
        now: Now,
    ) -> Result<Option<Request<'r>>, Error> {
        self.release();
        if self.phase == Phase::Closing {
            *fresh = &[];
            return Ok(None);
        }
        let came = core::mem::take(fresh);
        if self.start < self.input.len() {
            self.input.extend_from_slice(came);
            let Some(Found { consumed, body, .. }) = self.framer.measure(&self.input[self.start..], limits)? else {
                self.wait(!came.is_empty(), limits, now);
                return Ok(None);
            };
            let begin = self.start;
            self.start += consumed;
            self.phase = Phase::Idle;
            self.deadline = now.time.after(limits.keep_alive());
            // Parsed once more, since what measured it could not keep a view of what it may still have to grow.
            let Some((head, _)) = Head::parse(&self.input[begin..], limits)? else {
                unreachable!("it was whole a moment ago");
            };
            self.connection = connection(&head);
            self.head_only = head.method == "HEAD";
            return Ok(Some(Request { head, body: self.framer.body(&self.input[begin..], body) }));
        }
        if came.is_empty() {
            return Ok(None);
        }
        let Some(Found { head, consumed, body }) = self.framer.measure(came, limits)? else {
            self.input.extend_from_slice(came);
            self.start = 0;
            self.wait(true, limits, now);
            return Ok(None);
        };
        *fresh = &came[consumed..];
        self.phase = Phase::Idle;
        self.deadline = now.time.after(limits.keep_alive());
        self.connection = connection(&head);
        self.head_only = head.method == "HEAD";
        Ok(Some(Request { head, body: self.framer.body(came, body) }))
    }

    /// Queues the answer to the request polled last.
    pub fn reply(&mut self, reply: &Reply, now: Now) {
        reply.write(&mut self.output, self.connection, self.head_only, now.unix);
        if self.connection == Connection::Ends {
            self.close(now);
        }
    }

    /// The request polled last waits for its reply; meanwhile no other is served.
    pub fn park(&mut self, parked: Parked, limits: &Limits, now: Now) {
        self.deadline = match parked {
            Parked::Poll { .. } | Parked::Login { .. } => Time::NEVER,
            Parked::Page => now.time.after(limits.request_timeout()),
        };
        self.parked = Some(parked);
    }

    /// What waits here.
    pub fn parked(&self) -> Option<&Parked> {
        self.parked.as_ref()
    }

    /// The reply to what waits here is to be queued now.
    pub fn unpark(&mut self, limits: &Limits, now: Now) -> Option<Parked> {
        let parked = self.parked.take()?;
        self.deadline = now.time.after(limits.keep_alive());
        Some(parked)
    }

    /// Whether a poll or a login waits here: it ends with the peer's side of the connection.
    pub fn is_polling(&self) -> bool {
        matches!(self.parked, Some(Parked::Poll { .. } | Parked::Login { .. }))
    }

    /// Whether there is input that was kept.
    pub fn has_input(&self) -> bool {
        self.start < self.input.len()
    }

    /// The answer to the request polled last says that it is the last one, and is.
    pub fn end_with_reply(&mut self) {
        self.connection = Connection::Ends;
    }

    /// Queues the answer to what was no request; the connection ends with it.
    pub fn refuse(&mut self, error: Error, now: Now) {
        Reply::from(error).write(&mut self.output, Connection::Ends, false, now.unix);
        self.close(now);
    }

    /// Serves no further request: what is queued goes out, then the connection ends.
    pub fn close(&mut self, now: Now) {
        self.phase = Phase::Closing;
        self.input = Vec::new();
        self.start = 0;
        self.framer = Framer::default();
        self.deadline = now.time.after(LINGER);
    }

    /// Whether nothing more is served here.
    pub fn is_closing(&self) -> bool {
        self.phase == Phase::Closing
    }

    /// Whether the connection waits for a request of which nothing has come, with nothing to send.
    pub fn is_idle(&self) -> bool {
        matches!(self.phase, Phase::Fresh | Phase::Idle) && self.is_flushed() && self.parked.is_none()
    }

    /// Whether everything queued was written.
    pub fn is_flushed(&self) -> bool {
        self.output.is_empty()
    }

    /// Whether to go on reading: not while the peer leaves its replies unread, or a request waits for its own.
    pub fn wants_input(&self) -> bool {
        self.parked.is_none() && self.output.len() - self.written < MOST_UNREAD
    }

    /// When to call [`Exchange::handle_timeout`].
    pub fn poll_timeout(&self) -> Time {
        self.deadline
    }

    /// The clock has moved.
    pub fn handle_timeout(&mut self, now: Now) -> Timeout {
        if now.time < self.deadline {
            return Timeout::Early;
        }
        if self.parked.take().is_some() {
            // What it waited for may still come, but must not be taken for the answer to another request.
            self.connection = Connection::Ends;
            self.reply(&Reply::refusal(503, "the disk does not answer"), now);
            return Timeout::Replied;
        }
        match self.phase {
            Phase::Fresh | Phase::Head | Phase::Body => {
                self.refuse(Error::Timeout, now);
                Timeout::Replied
            }
            Phase::Idle | Phase::Closing => Timeout::Close,
        }
    }

    /// Writes what is queued. A peer that reads, however slowly, has time; one that stops reading has `limits`'.
    pub fn write_to(&mut self, out: &mut impl Write, limits: &Limits, now: Now) -> io::Result<Flushed> {
        let before = self.written;
        let flushed = self.write(out)?;
        if self.phase == Phase::Closing {
            match flushed {
                Flushed::All => self.deadline = now.time.after(LINGER),
                Flushed::Blocked if self.written > before => self.deadline = now.time.after(limits.request_timeout()),
                Flushed::Blocked => {}
            }
        } else if self.phase == Phase::Idle && self.parked.is_none() && self.written != before {
            self.deadline = now.time.after(limits.keep_alive());
        }
        Ok(flushed)
    }

    fn write(&mut self, out: &mut impl Write) -> io::Result<Flushed> {
        while self.written < self.output.len() {
            match out.write(&self.output[self.written..]) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => self.written += written,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Flushed::Blocked),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.output = Vec::new();
        self.written = 0;
        Ok(Flushed::All)
    }

    /// Keeps bytes that cannot be looked at while the peer leaves its replies unread; poll again once it has read them.
    pub fn keep(&mut self, unread: &[u8]) {
        self.input.extend_from_slice(unread);
    }

    /// What is queued but not written, and what came behind the last request: for who takes the connection over.
    pub fn into_parts(mut self) -> (Vec<u8>, Vec<u8>) {
        self.output.drain(..self.written);
        self.input.drain(..self.start);
        (self.output, self.input)
    }

    /// Lets go of the request polled last.
    fn release(&mut self) {
        if self.phase == Phase::Idle {
            self.framer.chunked = None;
        }
        if self.start == self.input.len() && !self.input.is_empty() {
            self.input = Vec::new();
            self.start = 0;
        }
    }

    /// A request has begun and is not whole.
    fn wait(&mut self, progressed: bool, limits: &Limits, now: Now) {
        if self.start > 0 {
            self.input.drain(..self.start);
            self.start = 0;
        }
        if self.framer.head == 0 {
            if self.phase != Phase::Head {
                self.phase = Phase::Head;
                self.deadline = now.time.after(limits.request_timeout());
            }
            return;
        }
        if self.phase != Phase::Body {
            self.phase = Phase::Body;
            self.body_deadline = now.time.after(limits.request_timeout() * BODY_PATIENCE);
        }
        if progressed {
            self.deadline = self.body_deadline.min(now.time.after(limits.request_timeout()));
        }
        if self.framer.invites {
            self.framer.invites = false;
            self.output.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
        }
    }
}

/// Finds where a request ends, without doing work twice while it arrives in pieces.
#[derive(Debug, Default)]
struct Framer {
    /// The head's length, once it is whole.
    head: usize,
    /// How far the search for the head's end has come.
    scanned: usize,
    /// No need to look before there are so many bytes.
    need: usize,
    chunked: Option<Chunked>,
    /// The peer waits for a 100.
    invites: bool,
}

struct Found<'b> {
    head: Head<'b>,
    /// Bytes of head and coded body.
    consumed: usize,
    /// Where the body stands; nothing: in the chunk decoder.
    body: Option<(usize, usize)>,
}

impl Framer {
    /// Looks for a whole request at the start of `bytes`: all of it that came so far.
    fn measure<'b>(&mut self, bytes: &'b [u8], limits: &Limits) -> Result<Option<Found<'b>>, Error> {
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
                let chunked = self.chunked.get_or_insert_default();
                let whole = chunked.handle_input(&bytes[length..], limits.body)?;
                whole.then(|| (length + chunked.taken(), None))
            }
        };
        let Some((consumed, body)) = found else {
            self.invites = first && head.expect_continue && bytes.len() == length;
            return Ok(None);
        };
        let chunked = self.chunked.take();
        *self = Framer { chunked, ..Framer::default() };
        Ok(Some(Found { head, consumed, body }))
    }

    /// The body that was measured in `bytes`.
    fn body<'b>(&'b self, bytes: &'b [u8], place: Option<(usize, usize)>) -> &'b [u8] {
        match place {
            Some((begin, end)) => &bytes[begin..end],
            None => self.chunked.as_ref().map_or(&[], Chunked::body),
        }
    }
}

fn connection(head: &Head<'_>) -> Connection {
    match (head.keep_alive, head.http11) {
        (false, _) => Connection::Ends,
        (true, true) => Connection::Stays,
        (true, false) => Connection::StaysForOld,
    }
}

/// After the last reply: how long the peer gets to read it and to close.
const LINGER: Duration = Duration::from_secs(2);
/// Bytes of replies a peer may leave unread before its requests wait.
const MOST_UNREAD: usize = 64 * 1024;
/// A body may take so many times the request timeout in all.
const BODY_PATIENCE: u32 = 6;

#[cfg(test)]
mod tests {
    use super::*;

    fn now(millis: u64) -> Now {
        Now { time: Time::from_micros(millis * 1000), ..Now::default() }
    }

    /// Feeds `pieces` and answers each request with its method, path and body; returns all that was written.
    fn converse(pieces: &[&[u8]]) -> (Vec<String>, String) {
        let limits = Limits { body: 1000, ..Limits::default() };
        let mut exchange = Exchange::new(now(0), &limits);
        let mut seen = Vec::new();
        for piece in pieces {
            let mut fresh = *piece;
            loop {
                match exchange.poll_request(&mut fresh, &limits, now(0)) {
                    Ok(Some(request)) => {
                        let body = String::from_utf8_lossy(request.body).into_owned();
                        seen.push(format!("{} {} {body}", request.head.method, request.head.raw_path));
                        exchange.reply(&Reply::new(200, "text/plain", b"ok".to_vec()), now(0));
                    }
                    Ok(None) => break,
                    Err(error) => {
                        exchange.refuse(error, now(0));
                        break;
                    }
                }
            }
            assert!(fresh.is_empty() || exchange.is_closing());
        }
        let mut out = Vec::new();
        exchange.write_to(&mut out, &limits, now(0)).unwrap();
        (seen, String::from_utf8(out).unwrap())
    }

    const CONVERSATION: &[u8] = b"\r\nGET /a HTTP/1.1\r\nHost: x\r\n\r\nPOST /b HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello\
        POST /c HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n\
        HEAD /d HTTP/1.1\r\nHost: x\r\n\r\nPOST /e HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\nGET /never HTTP/1.1\r\n\r\n";

    #[test]
    fn every_cut() {
        let (seen, written) = converse(&[CONVERSATION]);
        assert_eq!(seen, ["GET /a ", "POST /b hello", "POST /c abcde", "HEAD /d ", "POST /e "]);
        assert_eq!(written.matches("HTTP/1.1 200 OK").count(), 5);
        assert_eq!(written.matches("\r\n\r\nok").count(), 4);
        for cut in 0..CONVERSATION.len() {
            let (one, other) = CONVERSATION.split_at(cut);
            assert_eq!(converse(&[one, other]), (seen.clone(), written.clone()), "cut at {cut}");
        }
        let bytes: Vec<&[u8]> = CONVERSATION.chunks(1).collect();
        assert_eq!(converse(&bytes), (seen.clone(), written.clone()));
        let sevens: Vec<&[u8]> = CONVERSATION.chunks(7).collect();
        assert_eq!(converse(&sevens), (seen, written));
    }

    #[test]
    fn continue_is_said_once_and_only_to_who_waits() {
        let head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n";
        let (seen, written) = converse(&[head, b"h", b"i"]);
        assert_eq!(seen, ["POST / hi"]);
        assert!(written.starts_with("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200"));
        assert_eq!(written.matches("100 Continue").count(), 1);
        let (_, written) = converse(&[&[&head[..], b"hi"].concat()]);
        assert!(!written.contains("100 Continue"));
        let large = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1001\r\nExpect: 100-continue\r\n\r\n";
        let (_, written) = converse(&[large]);
        assert!(written.starts_with("HTTP/1.1 413") && written.contains("Connection: close"));
    }

    #[test]
    fn after_an_error_nothing_is_served() {
        let (seen, written) = converse(&[b"GET / HTTP/1.1\r\nHost : x\r\n\r\n", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"]);
        assert!(seen.is_empty());
        assert_eq!(written.matches("HTTP/1.1").count(), 1);
        assert!(written.starts_with("HTTP/1.1 400"));
    }

    #[test]
    fn deadlines() {
        let limits = Limits::default();
        let poll = |exchange: &mut Exchange, mut bytes: &[u8], at| {
            let whole = exchange.poll_request(&mut bytes, &limits, now(at)).unwrap().is_some();
            if whole {
                exchange.reply(&Reply::new(204, "", &b""[..]), now(at));
            }
            whole
        };
        let silent = &mut Exchange::new(now(0), &limits);
        assert_eq!(silent.poll_timeout(), now(10_000).time);
        assert_eq!(silent.handle_timeout(now(9_999)), Timeout::Early);
        assert_eq!(silent.handle_timeout(now(10_000)), Timeout::Replied);

        let slow = &mut Exchange::new(now(0), &limits);
        assert!(!poll(slow, b"GET", 5_000) && !poll(slow, b" /", 9_000));
        assert_eq!(slow.poll_timeout(), now(15_000).time, "a head has one deadline, whatever its pace");

        let idle = &mut Exchange::new(now(0), &limits);
        assert!(poll(idle, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", 1_000));
        assert_eq!(idle.poll_timeout(), now(76_000).time);
        assert_eq!(idle.handle_timeout(now(76_000)), Timeout::Close);

        let body = &mut Exchange::new(now(0), &limits);
        assert!(!poll(body, b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\n", 1_000));
        assert_eq!(body.poll_timeout(), now(11_000).time);
        assert!(!poll(body, b"x", 10_000));
        assert_eq!(body.poll_timeout(), now(20_000).time, "a body may pause that long");
        (2..7).for_each(|ten| assert!(!poll(body, b"x", ten * 9_900)));
        assert_eq!(body.poll_timeout(), now(61_000).time, "but not for ever");
        assert_eq!(body.handle_timeout(now(61_000)), Timeout::Replied);
        assert_eq!(body.handle_timeout(now(63_000)), Timeout::Close);
    }

    #[test]
    fn a_peer_that_does_not_read_is_not_read() {
        let limits = Limits::default();
        let mut exchange = Exchange::new(now(0), &limits);
        let reply = Reply::new(200, "text/plain", vec![b'x'; 40_000]);
        for wants in [true, false] {
            let mut fresh = &b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..];
            assert!(exchange.poll_request(&mut fresh, &limits, now(0)).unwrap().is_some());
            exchange.reply(&reply, now(0));
            assert_eq!(exchange.wants_input(), wants);
        }
        exchange.write_to(&mut Vec::new(), &limits, now(0)).unwrap();
        assert!(exchange.wants_input() && exchange.is_idle());
    }
}
