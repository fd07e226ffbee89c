//! The send queue of one client, with a limit on its bytes.
//!
//! Long because 150 lines of it are tests that stop the client at every byte.

use core::{fmt, mem::take};
use std::{
    collections::VecDeque,
    io::{self, ErrorKind, IoSlice, Write},
    rc::Rc,
};

use crate::frame::{Batch, Run, Turn};

/// The client is too slow: its unsent bytes exceed the limit (`limits.unsent`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overflow;

impl fmt::Display for Overflow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the client's unsent bytes exceed limits.unsent")
    }
}

impl std::error::Error for Overflow {}

/// Whether frames were queued before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Queued {
    /// The frame is the only one in the queue.
    Alone,
    /// The frame is queued after others.
    Behind,
}

/// The result of a flush.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flushed {
    /// Everything is sent.
    All,
    /// The socket accepts no more: flush again when it is writable.
    Blocked,
}

/// The socket cannot be written to any more. The cause is left out: no caller uses it, and returning it costs every write
/// a few instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken;

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the connection is broken")
    }
}

impl std::error::Error for Broken {}

/// The frames to send to one client: 24 bytes. It allocates only if the client does not read everything at once, or gets
/// frames from several batches before it is flushed.
///
/// Invariants: `bytes` is the length of `rest` and `run` together, and `rest` is older than `run`. Once the client is flushed,
/// `run` is empty, and `rest` has no `Segment::Run`.
#[derive(Default)]
pub struct Outbox {
    run: Run,
    bytes: u32,
    rest: Option<Box<Rest>>,
}

const _: () = assert!(size_of::<Outbox>() <= 24);

/// The segments that are queued before the run. Boxed, because most outboxes have none.
#[derive(Default)]
struct Rest {
    segments: VecDeque<Segment>,
    /// Unsent bytes at the end of the turn in which the client fell behind.
    begun: u32,
    /// Unsent bytes of earlier turns.
    kept: u32,
    /// Whether the first byte cannot be taken back, although it counts as unsent: see [`Outbox::mark_begun`].
    begun_front: bool,
}

impl Rest {
    /// Whether bytes of an earlier turn are unsent.
    fn is_kept(&self) -> bool {
        matches!(self.segments.front(), Some(Segment::Kept { .. }))
    }
}

enum Segment {
    /// Not written yet: part of a batch of the [`Turn`].
    Run(Run),
    /// Left over from a write.
    Kept { batch: Rc<Batch>, begin: u32, end: u32 },
}

impl Segment {
    fn slice<'a>(&'a self, turn: &'a Turn) -> &'a [u8] {
        match self {
            Segment::Run(run) => turn.slice(*run),
            Segment::Kept { batch, begin, end } => batch.slice(*begin, *end),
        }
    }

    /// Copies what is left of a batch that nobody else needs, if that is less than half of it.
    fn shrink(&mut self) {
        if let Segment::Kept { batch, begin, end } = self
            && Rc::strong_count(batch) == 1
            && ((*end - *begin) as usize) < batch.memory() / 2
        {
            *batch = Rc::new(batch.part(*begin, *end));
            (*begin, *end) = (0, *end - *begin);
        }
    }

    fn parts<'a>(&'a mut self, turn: &'a Turn) -> (&'a Batch, &'a mut u32, &'a mut u32) {
        match self {
            Segment::Run(run) => (turn.batch(*run), &mut run.begin, &mut run.end),
            Segment::Kept { batch, begin, end } => (batch, begin, end),
        }
    }
}

impl Outbox {
    /// Queues a frame. Fails if the client is too slow: its unsent bytes have grown by more than `cap` since it fell behind.
    /// Bytes that have not been written once do not count.
    #[inline]
    pub fn push(&mut self, frame: Run, cap: usize) -> Result<Queued, Overflow> {
        // The common case: the client has read everything.
        if self.bytes == 0 && frame.len() <= MAX_PER_TURN {
            self.bytes = frame.len() as u32;
            self.run = frame;
            return Ok(Queued::Alone);
        }
        self.push_behind(frame, cap).map(|()| Queued::Behind)
    }

    /// Queues a frame after others, with the limit of [`Outbox::push`].
    #[inline]
    fn push_behind(&mut self, frame: Run, cap: usize) -> Result<(), Overflow> {
        let slow = self.rest.as_ref().is_some_and(|rest| rest.kept as usize > cap + rest.begun as usize);
        if slow || self.bytes as usize + frame.len() > MAX_PER_TURN {
            return Err(Overflow);
        }
        self.push_over_limit(frame);
        Ok(())
    }

    /// Reports that the socket is writable again. Frames are accepted until the next flush has shown how much the
    /// client reads.
    pub fn mark_writable(&mut self) {
        if let Some(rest) = &mut self.rest {
            rest.kept = 0;
        }
    }

    /// Queues a frame regardless of the limit. For the last frame, which contains the reason of the close.
    #[inline]
    pub fn push_over_limit(&mut self, frame: Run) {
        self.bytes += frame.len() as u32;
        if self.run.batch == frame.batch && self.run.end == frame.begin && !self.run.is_empty() {
            self.run.end = frame.end;
            return;
        }
        self.queue_run();
        self.run = frame;
    }

    /// The number of unsent bytes.
    pub fn bytes(&self) -> usize {
        self.bytes as usize
    }

    /// The number of unsent bytes, counted from the queue.
    #[cfg(feature = "fuzzing")]
    pub fn recount(&self) -> usize {
        let length = |segment: &Segment| match segment {
            Segment::Run(run) => run.len(),
            Segment::Kept { begin, end, .. } => (end - begin) as usize,
        };
        self.rest.iter().flat_map(|rest| &rest.segments).map(length).sum::<usize>() + self.run.len()
    }

    /// Whether nothing is queued.
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Whether bytes of an earlier turn are unsent.
    pub fn is_behind(&self) -> bool {
        self.rest.as_ref().is_some_and(|rest| rest.is_kept())
    }

    /// Reports that the first byte that is left cannot be taken back: TLS has sealed it already. Call it after each
    /// [`Outbox::write_to`] for which this is so.
    pub fn mark_begun(&mut self) {
        if let Some(rest) = &mut self.rest {
            rest.begun_front = true;
        }
    }

    /// Discards the queue, except the remainder of a frame that is partly sent.
    pub fn discard(&mut self, turn: &Turn) {
        self.queue_run();
        let rest = self.rest.take();
        let begun = rest.as_ref().is_some_and(|rest| rest.begun_front);
        let front = rest.and_then(|mut rest| rest.segments.pop_front());
        *self = Outbox::default();
        let Some(mut front) = front else { return };
        let (batch, begin, end) = front.parts(turn);
        if batch.is_border(*begin) && !begun {
            return;
        }
        *end = batch.end_after(*begin);
        self.bytes = *end - *begin;
        self.rest.get_or_insert_default().segments.push_back(front);
    }

    /// Writes until the queue is empty or `out` would block; what is left is kept for later turns.
    ///
    /// A client that accepts everything costs one write: of the run, directly from the batch; of several segments that are
    /// copied to `scratch`, up to [`COALESCED`] bytes, which is a few per cent cheaper than a vectored write; or of more
    /// bytes, vectored.
    #[inline]
    pub fn write_to(&mut self, out: &mut impl Write, turn: &Turn, scratch: &mut Vec<u8>) -> Result<Flushed, Broken> {
        if self.bytes == 0 || self.rest.is_some() {
            return self.write_rest(None, out, turn, scratch);
        }
        // The common case: one run, accepted as a whole.
        match out.write(turn.slice(self.run)) {
            Ok(written) if written == self.bytes as usize => {
                (self.run, self.bytes) = (Run::default(), 0);
                Ok(Flushed::All)
            }
            other => self.write_rest(Some(other), out, turn, scratch),
        }
    }

    /// Continues [`Outbox::write_to`]; `begun` is the result of a write of the run, if there was one.
    #[cold]
    fn write_rest(
        &mut self,
        mut begun: Option<io::Result<usize>>,
        out: &mut impl Write,
        turn: &Turn,
        scratch: &mut Vec<u8>,
    ) -> Result<Flushed, Broken> {
        while self.bytes > 0 {
            let written = match &self.rest {
                None => begun.take().unwrap_or_else(|| out.write(turn.slice(self.run))),
                Some(rest) => {
                    let last = [turn.slice(self.run)];
                    let slices = rest.segments.iter().map(|segment| segment.slice(turn)).chain(last);
                    if self.bytes() <= COALESCED {
                        scratch.clear();
                        slices.for_each(|slice| scratch.extend_from_slice(slice));
                        out.write(scratch)
                    } else {
                        let slices: Vec<_> = slices.take(MAX_SLICES).map(IoSlice::new).collect();
                        out.write_vectored(&slices)
                    }
                }
            };
            match written {
                Ok(0) => return Err(Broken),
                Ok(written) => self.consume(written, turn),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.keep(turn);
                    return Ok(Flushed::Blocked);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Err(Broken),
            }
        }
        Ok(Flushed::All)
    }

    /// Removes `written` bytes from the front of the queue.
    fn consume(&mut self, mut written: usize, turn: &Turn) {
        if written == self.bytes() {
            *self = Outbox::default();
            return;
        }
        self.bytes -= written as u32;
        if let Some(rest) = &mut self.rest {
            rest.kept = rest.kept.saturating_sub(written as u32);
        }
        while let Some(front) = self.rest.as_mut().and_then(|rest| rest.segments.front_mut()) {
            let (_, begin, end) = front.parts(turn);
            let length = (*end - *begin) as usize;
            if written < length {
                *begin += written as u32;
                front.shrink();
                return;
            }
            written -= length;
            self.rest.as_mut().map(|rest| rest.segments.pop_front());
        }
        self.rest = None;
        self.run.begin += written as u32;
    }

    /// Queues bytes in front of all others: an HTTP response that must precede the first frame. No frame may be partly sent.
    pub fn push_front(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let mut batch = Batch::default();
        let (begin, end) = batch.push_raw(bytes);
        self.queue_run();
        let segments = &mut self.rest.get_or_insert_default().segments;
        segments.push_front(Segment::Kept { batch: Rc::new(batch), begin, end });
        self.bytes += bytes.len() as u32;
    }

    /// Keeps the queue beyond the turn: runs become parts of shared batches.
    pub fn keep(&mut self, turn: &Turn) {
        self.queue_run();
        let bytes = self.bytes;
        if let Some(rest) = &mut self.rest {
            if !rest.is_kept() {
                rest.begun = bytes;
            }
            rest.kept = bytes;
        }
        for segment in self.rest.iter_mut().flat_map(|rest| rest.segments.iter_mut()) {
            if let Segment::Run(run) = segment {
                let (batch, begin, end) = turn.keep(*run);
                *segment = Segment::Kept { batch, begin, end };
            }
        }
    }

    /// Moves the run to the end of `rest`.
    fn queue_run(&mut self) {
        let run = take(&mut self.run);
        if !run.is_empty() {
            self.rest.get_or_insert_default().segments.push_back(Segment::Run(run));
        }
    }
}

/// Bytes that may be queued in one turn for a client that is not behind: far more than normal traffic, but small enough
/// to fit into memory.
const MAX_PER_TURN: usize = 256 * 1024 * 1024;
/// Bytes up to which several segments are copied into one buffer and written at once.
pub const COALESCED: usize = 64 * 1024;
/// Slices of one vectored write: `IOV_MAX` on Linux.
const MAX_SLICES: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::Opcode;

    /// Accepts `room` bytes, then blocks.
    #[derive(Default)]
    struct Peer {
        got: Vec<u8>,
        room: usize,
        calls: usize,
    }

    impl Write for Peer {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.calls += 1;
            let taken = bytes.len().min(self.room);
            if taken == 0 {
                return Err(ErrorKind::WouldBlock.into());
            }
            self.room -= taken;
            self.got.extend_from_slice(&bytes[..taken]);
            Ok(taken)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Queues frames of two rooms and of the client alone; returns their bytes in order.
    fn queue(turn: &mut Turn, outbox: &mut Outbox) -> Vec<u8> {
        let rooms = [turn.open(), turn.open()];
        let texts = ["a", "bcd", "", "efghij", "klm", "n"];
        let mut whole = Vec::new();
        for (at, text) in texts.into_iter().enumerate() {
            let frame = match at {
                0 | 1 => turn.push(rooms[0], Opcode::Text, |out| out.extend(text.bytes())),
                2 | 5 => turn.single(Opcode::Text, |out| out.extend(text.bytes())),
                _ => turn.push(rooms[1], Opcode::Text, |out| out.extend(text.bytes())),
            };
            whole.extend_from_slice(turn.slice(frame));
            outbox.push(frame, 1000).unwrap();
        }
        whole
    }

    #[test]
    fn no_byte_is_lost_wherever_the_peer_blocks() {
        let (mut turn, mut scratch) = (Turn::new(), Vec::new());
        let length = queue(&mut turn, &mut Outbox::default()).len();
        for stop in 0..=length {
            for second in [0, 1, 7] {
                let mut outbox = Outbox::default();
                turn.end();
                let mut whole = queue(&mut turn, &mut outbox);
                let mut peer = Peer { room: stop, ..Peer::default() };
                let flushed = outbox.write_to(&mut peer, &turn, &mut scratch).unwrap();
                assert_eq!(flushed == Flushed::All, stop == length);
                assert_eq!(outbox.bytes(), length - stop);
                turn.end();
                whole.extend(queue(&mut turn, &mut outbox));
                peer.room = second;
                outbox.write_to(&mut peer, &turn, &mut scratch).unwrap();
                turn.end();
                peer.room = 1000;
                assert_eq!(outbox.write_to(&mut peer, &turn, &mut scratch).unwrap(), Flushed::All);
                assert_eq!(peer.got, whole);
                assert!(outbox.is_empty() && outbox.rest.is_none());
            }
        }
    }

    #[test]
    fn all_messages_of_a_turn_are_one_write() {
        let (mut turn, mut outbox) = (Turn::new(), Outbox::default());
        let room = turn.open();
        for _ in 0..30 {
            outbox.push(turn.push(room, Opcode::Binary, |out| out.extend([7; 40_000])), usize::MAX).unwrap();
        }
        assert!(outbox.rest.is_none(), "the messages of one room are one run");
        let mut peer = Peer { room: usize::MAX, ..Peer::default() };
        outbox.write_to(&mut peer, &turn, &mut Vec::new()).unwrap();
        assert_eq!((peer.calls, peer.got.len()), (1, 30 * 40_004));
        turn.end();
        queue(&mut turn, &mut outbox);
        outbox.write_to(&mut peer, &turn, &mut Vec::new()).unwrap();
        assert_eq!(peer.calls, 2);
    }

    #[test]
    fn the_limit_is_on_unsent_bytes() {
        let (mut turn, mut outbox) = (Turn::new(), Outbox::default());
        for _ in 0..10 {
            assert!(outbox.push(turn.single_raw(&[0; 50]), 10).is_ok(), "the client has read everything");
        }
        let mut peer = Peer { room: 100, ..Peer::default() };
        outbox.write_to(&mut peer, &turn, &mut Vec::new()).unwrap();
        turn.end();
        assert_eq!(outbox.bytes(), 400);
        let mut turns = |outbox: &mut Outbox, turn: &mut Turn, room| {
            peer.room = room;
            outbox.write_to(&mut peer, turn, &mut Vec::new()).unwrap();
            turn.end();
        };
        for _ in 0..3 {
            assert!(outbox.push(turn.single_raw(&[0; 10]), 10).is_ok(), "this turn does not count yet");
        }
        turns(&mut outbox, &mut turn, 0);
        assert_eq!(
            outbox.push(turn.single_raw(&[0; 1]), 10),
            Err(Overflow),
            "it fell behind by 400, and 30 more were queued"
        );
        turns(&mut outbox, &mut turn, 20);
        assert!(outbox.push(turn.single_raw(&[0; 20]), 10).is_ok(), "it has read 20");
        turns(&mut outbox, &mut turn, 0);
        assert_eq!(outbox.push(turn.single_raw(&[0; 1]), 10), Err(Overflow));
        turns(&mut outbox, &mut turn, 1000);
        assert!(outbox.push(turn.single_raw(&[0; 500]), 10).is_ok(), "it has caught up");
        assert_eq!(outbox.bytes(), 500);
    }

    #[test]
    fn a_batch_is_given_back_once_most_of_it_is_read() {
        let (mut turn, mut outbox) = (Turn::new(), Outbox::default());
        let room = turn.open();
        outbox.push(turn.push(room, Opcode::Binary, |out| out.extend([7; 40_000])), 1000).unwrap();
        let mut peer = Peer::default();
        let memory = |outbox: &Outbox| match outbox.rest.as_ref().unwrap().segments.front() {
            Some(Segment::Kept { batch, .. }) => batch.memory(),
            _ => panic!("nothing is kept"),
        };
        for (accepted, most) in [(10_000, 40_100), (25_000, 5_100), (4_000, 1_100)] {
            peer.room = accepted;
            outbox.write_to(&mut peer, &turn, &mut Vec::new()).unwrap();
            turn.end();
            assert!(memory(&outbox) <= most, "{}", memory(&outbox));
        }
        peer.room = usize::MAX;
        assert_eq!(outbox.write_to(&mut peer, &turn, &mut Vec::new()), Ok(Flushed::All));
        assert!(peer.got.len() == 40_004 && peer.got[4..].iter().all(|byte| *byte == 7));
    }

    #[test]
    fn discarding_finishes_the_frame() {
        let mut turn = Turn::new();
        let length = queue(&mut turn, &mut Outbox::default()).len();
        for stop in 0..length {
            // Whether a turn passes, and whether the next byte is sealed already.
            for (turns, sealed) in [(false, false), (true, false), (false, true), (true, true)] {
                turn.end();
                let mut outbox = Outbox::default();
                let whole = queue(&mut turn, &mut outbox);
                let mut peer = Peer { room: stop, ..Peer::default() };
                outbox.write_to(&mut peer, &turn, &mut Vec::new()).unwrap();
                if sealed {
                    outbox.mark_begun();
                }
                turn.end();
                if turns {
                    outbox.push_over_limit(turn.single(Opcode::Text, |out| out.extend(b"never")));
                }
                outbox.discard(&turn);
                outbox.push_over_limit(turn.single_raw(b"!"));
                peer.room = 1000;
                outbox.write_to(&mut peer, &turn, &mut Vec::new()).unwrap();
                let mut border = 0;
                while border < stop + usize::from(sealed) {
                    border += 2 + whole[border + 1] as usize;
                }
                assert_eq!(peer.got, [&whole[..border], b"!"].concat(), "stopped at {stop}");
            }
        }
    }
}
