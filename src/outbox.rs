//! What waits for one peer, with its bytes counted.

use core::mem::take;
use std::{
    collections::VecDeque,
    io::{self, ErrorKind, IoSlice, Write},
    rc::Rc,
};

use crate::frame::{Batch, Run, Turn};

/// The peer's unsent bytes would grow beyond what it may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overflow;

/// Whether something waited already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Queued {
    /// The frame is all that waits.
    Alone,
    /// It stands behind others.
    Behind,
}

/// How far a flush came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flushed {
    /// Nothing is left.
    All,
    /// The peer takes no more for now: wait for the socket to become writable.
    Blocked,
}

/// The peer cannot be written to any more. (Why would be known, but nobody asks, and saying it costs each write some
/// instructions.)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken;

/// A queue of frames for one peer: 24 bytes, and nothing else while the peer keeps up and gets its messages of a turn
/// from one room.
///
/// Invariant: `bytes` is the length of all of `rest` and of `run`, and `rest` is older than `run`.
/// Invariant: between two turns `run` is empty, and `rest` holds no run.
#[derive(Default)]
pub struct Outbox {
    run: Run,
    bytes: u32,
    rest: Option<Box<Rest>>,
}

const _: () = assert!(size_of::<Outbox>() == 24);

/// Boxed, so that who has none pays a pointer.
#[derive(Default)]
struct Rest {
    segments: VecDeque<Segment>,
    /// What was left of the turn in which the peer fell behind.
    begun: u32,
    /// What is left of earlier turns than this one.
    kept: u32,
}

impl Rest {
    /// Whether something waits that the peer did not take in an earlier turn.
    fn is_kept(&self) -> bool {
        matches!(self.segments.front(), Some(Segment::Kept { .. }))
    }
}

enum Segment {
    /// Of this turn.
    Run(Run),
    /// Of an older one.
    Kept { batch: Rc<Batch>, begin: u32, end: u32 },
}

impl Segment {
    fn slice<'a>(&'a self, turn: &'a Turn) -> &'a [u8] {
        match self {
            Segment::Run(run) => turn.slice(*run),
            Segment::Kept { batch, begin, end } => batch.slice(*begin, *end),
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
    /// Queues a frame unless the peer is slow: since it fell behind, what it has not taken has grown by more than `cap`
    /// bytes. What this turn brought does not count, for nobody can have read it yet.
    #[inline]
    pub fn push(&mut self, frame: Run, cap: usize) -> Result<Queued, Overflow> {
        // Who keeps up has nothing waiting: nearly everybody, nearly always.
        if self.bytes == 0 && frame.len() <= MOST_AT_ONCE {
            self.bytes = frame.len() as u32;
            self.run = frame;
            return Ok(Queued::Alone);
        }
        self.push_behind(frame, cap).map(|()| Queued::Behind)
    }

    /// The same behind what waits already.
    #[inline]
    fn push_behind(&mut self, frame: Run, cap: usize) -> Result<(), Overflow> {
        let slow = self.rest.as_ref().is_some_and(|rest| rest.kept as usize > cap + rest.begun as usize);
        if slow || self.bytes as usize + frame.len() > MOST_AT_ONCE {
            return Err(Overflow);
        }
        self.force(frame);
        Ok(())
    }

    /// The peer can be written to again, before the turn ends: whether it is slow will be seen then.
    pub fn reprieve(&mut self) {
        if let Some(rest) = &mut self.rest {
            rest.kept = 0;
        }
    }

    /// Queues a frame that must go out whatever waits already: the last one.
    #[inline]
    pub fn force(&mut self, frame: Run) {
        self.bytes += frame.len() as u32;
        if self.run.batch == frame.batch && self.run.end == frame.begin && !self.run.is_empty() {
            self.run.end = frame.end;
            return;
        }
        self.seal();
        self.run = frame;
    }

    /// Unsent bytes.
    pub fn bytes(&self) -> usize {
        self.bytes as usize
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Whether something waits that the peer did not take in an earlier turn.
    pub fn is_behind(&self) -> bool {
        let front = self.rest.as_ref().and_then(|rest| rest.segments.front());
        matches!(front, Some(Segment::Kept { .. }))
    }

    /// Forgets what was not begun: only the rest of a frame that is half out stays.
    pub fn abandon(&mut self, turn: &Turn) {
        self.seal();
        let front = self.rest.take().and_then(|mut rest| rest.segments.pop_front());
        *self = Outbox::default();
        let Some(mut front) = front else { return };
        let (batch, begin, end) = front.parts(turn);
        if batch.is_border(*begin) {
            return;
        }
        *end = batch.end_after(*begin);
        self.bytes = *end - *begin;
        self.rest.get_or_insert_default().segments.push_back(front);
    }

    /// Writes until nothing is left or the peer takes no more; what is left is kept beyond the turn. A peer that takes
    /// all costs one call of `out`: the run's bytes from the room's batch, or several segments copied into `scratch` (up
    /// to [`COALESCED`] bytes, a few per cent cheaper than a vectored write), or a vectored write of many.
    #[inline]
    pub fn write_to(&mut self, out: &mut impl Write, turn: &Turn, scratch: &mut Vec<u8>) -> Result<Flushed, Broken> {
        if self.bytes == 0 || self.rest.is_some() {
            return self.write_rest(None, out, turn, scratch);
        }
        // Nearly everybody, nearly always: one run, and it is taken.
        match out.write(turn.slice(self.run)) {
            Ok(written) if written == self.bytes as usize => {
                (self.run, self.bytes) = (Run::default(), 0);
                Ok(Flushed::All)
            }
            other => self.write_rest(Some(other), out, turn, scratch),
        }
    }

    /// Goes on behind a write, if there was one.
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
                _ if let Some(written) = begun.take() => written,
                None => out.write(turn.slice(self.run)),
                Some(rest) => {
                    let last = [turn.slice(self.run)];
                    let slices = rest.segments.iter().map(|segment| segment.slice(turn)).chain(last);
                    if self.bytes() <= COALESCED {
                        scratch.clear();
                        slices.for_each(|slice| scratch.extend_from_slice(slice));
                        out.write(scratch)
                    } else {
                        let slices: Vec<_> = slices.take(MOST_SLICES).map(IoSlice::new).collect();
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
                return;
            }
            written -= length;
            self.rest.as_mut().map(|rest| rest.segments.pop_front());
        }
        self.rest = None;
        self.run.begin += written as u32;
    }

    /// Puts bytes before everything that waits: what the peer must get before it can understand the rest. Nothing may be
    /// half out.
    pub fn put_first(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let mut batch = Batch::default();
        let (begin, end) = batch.push_raw(bytes);
        self.seal();
        let segments = &mut self.rest.get_or_insert_default().segments;
        segments.push_front(Segment::Kept { batch: Rc::new(batch), begin, end });
        self.bytes += bytes.len() as u32;
    }

    /// Makes what is left outlive the turn.
    pub fn keep(&mut self, turn: &Turn) {
        self.seal();
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

    /// Puts the run behind the rest.
    fn seal(&mut self) {
        let run = take(&mut self.run);
        if !run.is_empty() {
            self.rest.get_or_insert_default().segments.push_back(Segment::Run(run));
        }
    }
}

/// Bytes that one turn may bring who is not behind: more than honest senders' messages come to, and less than memory.
const MOST_AT_ONCE: usize = 256 * 1024 * 1024;
/// Bytes: below this, several segments are written by one copy and one send.
pub const COALESCED: usize = 64 * 1024;
/// `IOV_MAX` on Linux.
const MOST_SLICES: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::Opcode;

    /// Takes `room` bytes, then blocks.
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

    /// Frames of a turn in two rooms and for the client alone, in the order in which they were queued.
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
    fn every_stop_of_the_peer_keeps_every_byte() {
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
    fn one_call_takes_all_messages_of_a_turn() {
        let (mut turn, mut outbox) = (Turn::new(), Outbox::default());
        let room = turn.open();
        for _ in 0..30 {
            outbox.push(turn.push(room, Opcode::Binary, |out| out.extend([7; 40_000])), usize::MAX).unwrap();
        }
        assert!(outbox.rest.is_none(), "messages of one room are one run");
        let mut peer = Peer { room: usize::MAX, ..Peer::default() };
        outbox.write_to(&mut peer, &turn, &mut Vec::new()).unwrap();
        assert_eq!((peer.calls, peer.got.len()), (1, 30 * 40_004));
        turn.end();
        queue(&mut turn, &mut outbox);
        outbox.write_to(&mut peer, &turn, &mut Vec::new()).unwrap();
        assert_eq!(peer.calls, 2);
    }

    #[test]
    fn the_cap_is_on_what_waits() {
        let (mut turn, mut outbox) = (Turn::new(), Outbox::default());
        for _ in 0..10 {
            assert!(outbox.push(turn.single_raw(&[0; 50]), 10).is_ok(), "who has read everything is not slow");
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
            assert!(outbox.push(turn.single_raw(&[0; 10]), 10).is_ok(), "one turn counts when it is over");
        }
        turns(&mut outbox, &mut turn, 0);
        assert_eq!(outbox.push(turn.single_raw(&[0; 1]), 10), Err(Overflow), "400 it fell behind by, 30 more came");
        turns(&mut outbox, &mut turn, 20);
        assert!(outbox.push(turn.single_raw(&[0; 20]), 10).is_ok(), "it reads");
        turns(&mut outbox, &mut turn, 0);
        assert_eq!(outbox.push(turn.single_raw(&[0; 1]), 10), Err(Overflow));
        turns(&mut outbox, &mut turn, 1000);
        assert!(outbox.push(turn.single_raw(&[0; 500]), 10).is_ok(), "it has caught up");
        assert_eq!(outbox.bytes(), 500);
    }

    #[test]
    fn abandoning_keeps_the_border_of_frames() {
        let mut turn = Turn::new();
        let length = queue(&mut turn, &mut Outbox::default()).len();
        for stop in 0..length {
            for turns in [false, true] {
                turn.end();
                let mut outbox = Outbox::default();
                let whole = queue(&mut turn, &mut outbox);
                let mut peer = Peer { room: stop, ..Peer::default() };
                outbox.write_to(&mut peer, &turn, &mut Vec::new()).unwrap();
                turn.end();
                if turns {
                    outbox.force(turn.single(Opcode::Text, |out| out.extend(b"never")));
                }
                outbox.abandon(&turn);
                outbox.force(turn.single_raw(b"!"));
                peer.room = 1000;
                outbox.write_to(&mut peer, &turn, &mut Vec::new()).unwrap();
                let mut border = 0;
                while border < stop {
                    border += 2 + whole[border + 1] as usize;
                }
                assert_eq!(peer.got, [&whole[..border], b"!"].concat(), "stopped at {stop}");
            }
        }
    }
}
