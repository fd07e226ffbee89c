//! The encoded frames of a turn, shared by all members of a room.
//!
//! A message is encoded once for each room and form, directly into the room's [`Batch`]: the frames of the turn, back
//! to back. Each member gets a [`Run`] of the batch, twelve bytes, usually the same for all members. So a member costs
//! one send from one block of memory that stays in the cache, however many messages it has. (The alternative, a queue
//! of shared frames for each member, takes 24 bytes a message and a copy into one buffer for each member. With 32
//! messages in a turn that cost half as much as the kernel's work for the sends.) Unsent bytes of slow clients stay in
//! the shared batch, so the messages of a room are in memory once.

use std::rc::Rc;

/// The type of a frame (RFC 6455 section 5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Opcode {
    /// UTF-8 text.
    Text = 1,
    /// Arbitrary bytes.
    Binary = 2,
    /// A close: status code and reason.
    Close = 8,
    /// A ping, which the client answers with a pong.
    Ping = 9,
}

/// Frames back to back: final and unmasked, as a server sends them. Bytes that were appended by [`Batch::push_raw`]
/// count as one frame.
#[derive(Debug, Default)]
pub struct Batch {
    bytes: Vec<u8>,
    /// The end of each frame.
    ends: Vec<u32>,
    /// Whether the batch begins in the middle of a frame, of which the first part is sent already.
    torn: bool,
}

/// The bytes of a frame with a payload of this length (RFC 6455 section 5.2).
pub fn frame_len(payload: usize) -> usize {
    match payload {
        0..126 => 2 + payload,
        126..65536 => 4 + payload,
        _ => 10 + payload,
    }
}

impl Batch {
    /// Appends a frame whose payload is what `fill` appends. Returns its begin and end.
    ///
    /// The header is assumed to have the four bytes of payloads from 126 to 65,535 bytes; other payloads are moved.
    ///
    /// # Panics
    ///
    /// If the batch reaches 4 GiB: clients are flushed, and large messages refused for want of memory, long before.
    pub fn push(&mut self, opcode: Opcode, fill: impl FnOnce(&mut Vec<u8>)) -> (u32, u32) {
        let begin = self.bytes.len();
        self.bytes.extend_from_slice(&[0; GUESSED_HEADER]);
        fill(&mut self.bytes);
        let length = self.bytes.len() - begin - GUESSED_HEADER;
        let first = 0x80 | opcode as u8;
        match length {
            0..126 => {
                self.bytes[begin..begin + 2].copy_from_slice(&[first, length as u8]);
                self.bytes.copy_within(begin + GUESSED_HEADER.., begin + 2);
                self.bytes.truncate(begin + 2 + length);
            }
            126..65536 => {
                let [high, low] = (length as u16).to_be_bytes();
                self.bytes[begin..begin + 4].copy_from_slice(&[first, 126, high, low]);
            }
            _ => {
                // Exactly: doubling a megabyte for six bytes would waste the other half.
                self.bytes.reserve_exact(6);
                self.bytes.extend_from_slice(&[0; 6]);
                self.bytes.copy_within(begin + GUESSED_HEADER..begin + GUESSED_HEADER + length, begin + 10);
                self.bytes[begin..begin + 2].copy_from_slice(&[first, 127]);
                self.bytes[begin + 2..begin + 10].copy_from_slice(&(length as u64).to_be_bytes());
            }
        }
        self.end(begin)
    }

    /// Appends what `fill` appends as one frame without a header, for clients that do not use WebSockets. Returns its begin
    /// and end.
    pub fn push_bare(&mut self, fill: impl FnOnce(&mut Vec<u8>)) -> (u32, u32) {
        let begin = self.bytes.len();
        fill(&mut self.bytes);
        self.end(begin)
    }

    /// Appends bytes as one frame, unchanged. Returns their begin and end.
    pub fn push_raw(&mut self, bytes: &[u8]) -> (u32, u32) {
        self.push_bare(|out| out.extend_from_slice(bytes))
    }

    /// The bytes from `begin` to `end`.
    #[inline]
    pub fn slice(&self, begin: u32, end: u32) -> &[u8] {
        &self.bytes[begin as usize..end as usize]
    }

    /// Whether a frame begins or ends at `position`.
    pub fn is_border(&self, position: u32) -> bool {
        (position == 0 && !self.torn) || self.ends.binary_search(&position).is_ok()
    }

    /// The end of the frame that contains the byte at `position`.
    pub fn end_after(&self, position: u32) -> u32 {
        let next = self.ends.partition_point(|end| *end <= position);
        self.ends.get(next).copied().unwrap_or(self.bytes.len() as u32)
    }

    fn end(&mut self, begin: usize) -> (u32, u32) {
        let end = u32::try_from(self.bytes.len()).expect("less than 4 GiB in a turn: reads are limited");
        self.ends.push(end);
        (begin as u32, end)
    }

    /// Bytes of memory for the frames.
    pub fn memory(&self) -> usize {
        self.bytes.capacity()
    }

    /// A copy of the bytes from `begin` to `end` as a batch of its own.
    pub fn part(&self, begin: u32, end: u32) -> Batch {
        let ends = self.ends.iter().filter(|at| (begin + 1..=end).contains(*at)).map(|at| at - begin);
        Batch { bytes: self.slice(begin, end).into(), ends: ends.collect(), torn: !self.is_border(begin) }
    }

    fn clear(&mut self) {
        if self.bytes.capacity() > KEPT_BYTES {
            *self = Batch::default();
        }
        self.bytes.clear();
        self.ends.clear();
    }
}

/// A part of one of the turn's batches. Only valid until the batch is freed, see [`Turn`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Run {
    /// The number of the batch in the turn.
    pub batch: u32,
    /// The position of its first byte in the batch.
    pub begin: u32,
    /// The position after its last byte in the batch.
    pub end: u32,
}

impl Run {
    /// The number of bytes.
    pub fn len(self) -> usize {
        (self.end - self.begin) as usize
    }

    /// Whether it has no bytes.
    pub fn is_empty(self) -> bool {
        self.begin == self.end
    }
}

/// The batches of a turn, or of several turns while clients wait to be flushed: one for frames to single clients, and one
/// for each room and form with a message.
///
/// If clients keep waiting, [`Turn::seal`] sets the batches aside, and later frames go into others. So batches are freed
/// even if there is always somebody who waits.
pub struct Turn {
    /// The batches by number. While frames are appended, only the turn owns them; they are shared once an outbox keeps a
    /// part.
    batches: Vec<Rc<Batch>>,
    /// Numbers of empty batches, which keep their memory.
    free: Vec<u32>,
    /// Numbers of the batches that frames may be appended to.
    open: Vec<u32>,
    /// Numbers of the batches that were set aside.
    sealed: Vec<u32>,
    /// The number of the batch for frames to single clients.
    single: u32,
    number: u32,
}

impl Turn {
    /// The first turn.
    pub fn new() -> Turn {
        let (free, open, sealed) = (Vec::new(), vec![0], Vec::new());
        Turn { batches: vec![Rc::default()], free, open, sealed, single: 0, number: 1 }
    }

    /// The number of the turn, never 0. Rooms remember the numbers of their batches only for a turn.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// Encodes a frame for a single client; `fill` appends the payload.
    pub fn single(&mut self, opcode: Opcode, fill: impl FnOnce(&mut Vec<u8>)) -> Run {
        let batch = self.single_batch();
        self.push(batch, opcode, fill)
    }

    /// Appends bytes for a single client, unchanged.
    pub fn single_raw(&mut self, bytes: &[u8]) -> Run {
        self.single_bare(|out| out.extend_from_slice(bytes))
    }

    /// Opens a batch for a room and a form that has none in this turn, and returns its number.
    pub fn open(&mut self) -> u32 {
        let number = self.free.pop().unwrap_or_else(|| {
            self.batches.push(Rc::default());
            self.batches.len() as u32 - 1
        });
        self.open.push(number);
        number
    }

    /// Whether frames may still be appended to a batch of this turn: not once an outbox keeps a part of it.
    pub fn is_open(&self, batch: u32) -> bool {
        Rc::strong_count(&self.batches[batch as usize]) == 1
    }

    /// Encodes a frame at the end of batch `batch`; `fill` appends the payload.
    pub fn push(&mut self, batch: u32, opcode: Opcode, fill: impl FnOnce(&mut Vec<u8>)) -> Run {
        let (begin, end) = self.batch_mut(batch).push(opcode, fill);
        Run { batch, begin, end }
    }

    /// Encodes a frame without a header at the end of batch `batch`; `fill` appends it.
    pub fn push_bare(&mut self, batch: u32, fill: impl FnOnce(&mut Vec<u8>)) -> Run {
        let (begin, end) = self.batch_mut(batch).push_bare(fill);
        Run { batch, begin, end }
    }

    /// Encodes a frame without a header for a single client; `fill` appends it.
    pub fn single_bare(&mut self, fill: impl FnOnce(&mut Vec<u8>)) -> Run {
        let batch = self.single_batch();
        self.push_bare(batch, fill)
    }

    /// The batch of a run.
    #[inline]
    pub fn batch(&self, run: Run) -> &Batch {
        &self.batches[run.batch as usize]
    }

    /// The bytes of a run.
    #[inline]
    pub fn slice(&self, run: Run) -> &[u8] {
        self.batch(run).slice(run.begin, run.end)
    }

    /// Keeps the bytes of a run beyond the turn. Returns a shared batch, and begin and end of the run in it. That is
    /// the turn's batch, or a copy of the run if the run is less than a quarter of the batch: a small part must not keep a
    /// large batch in memory, and thousands of slow clients must not have a copy each.
    pub fn keep(&self, run: Run) -> (Rc<Batch>, u32, u32) {
        let batch = &self.batches[run.batch as usize];
        if run.len() * 4 < batch.bytes.len() {
            return (Rc::new(batch.part(run.begin, run.end)), 0, run.len() as u32);
        }
        (batch.clone(), run.begin, run.end)
    }

    /// Begins the next turn: no client waits to be flushed. All runs become invalid.
    pub fn end(&mut self) {
        self.free_sealed();
        self.number = self.number.wrapping_add(1).max(1);
        while let Some(number) = self.open.pop() {
            self.clear(number);
            if number != self.single {
                self.free.push(number);
            }
        }
        self.open.push(self.single);
        if self.batches.len() > KEPT_BATCHES {
            self.batches.truncate(KEPT_BATCHES);
            self.free.clear();
            self.free.extend((0..KEPT_BATCHES as u32).rev().filter(|number| *number != self.single));
            if self.single as usize >= self.batches.len() {
                self.open.clear();
                self.single = self.open();
            }
        }
    }

    /// Sets the batches aside, so that later frames go into others. Runs stay valid until [`Turn::free_sealed`]. Nothing
    /// may be sealed already.
    pub fn seal(&mut self) {
        debug_assert!(self.sealed.is_empty(), "sealed batches are freed first");
        core::mem::swap(&mut self.open, &mut self.sealed);
        self.number = self.number.wrapping_add(1).max(1);
        self.single = self.open();
    }

    /// Frees the batches that were set aside. Their runs become invalid.
    pub fn free_sealed(&mut self) {
        while let Some(number) = self.sealed.pop() {
            self.clear(number);
            self.free.push(number);
        }
    }

    fn clear(&mut self, number: u32) {
        let batch = &mut self.batches[number as usize];
        match Rc::get_mut(batch) {
            Some(own) => own.clear(),
            None => *batch = Rc::default(),
        }
    }

    /// Whether batches are set aside.
    pub fn has_sealed(&self) -> bool {
        !self.sealed.is_empty()
    }

    /// Frees the memory of empty batches.
    pub fn drop_spare(&mut self) {
        self.free.iter().for_each(|number| self.batches[*number as usize] = Rc::default());
    }

    /// Bytes of the batches that are not set aside.
    pub fn open_bytes(&self) -> usize {
        self.open.iter().map(|number| self.batches[*number as usize].bytes.len()).sum()
    }

    /// The batch for frames to single clients.
    fn single_batch(&mut self) -> u32 {
        if !self.is_open(self.single) {
            self.single = self.open();
        }
        self.single
    }

    fn batch_mut(&mut self, batch: u32) -> &mut Batch {
        let batch = &mut self.batches[batch as usize];
        Rc::get_mut(batch).expect("a batch of which a part is kept is not open")
    }
}

impl Default for Turn {
    fn default() -> Self {
        Turn::new()
    }
}

/// Bytes of a header with a length of 16 bits (RFC 6455 section 5.2).
const GUESSED_HEADER: usize = 4;
/// Bytes of a batch above which its memory is freed at the end of the turn.
const KEPT_BYTES: usize = 128 * 1024;
/// Batches whose memory is kept for the next turn.
const KEPT_BATCHES: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;
    use tungstenite::protocol::frame::FrameHeader;

    #[test]
    fn headers_follow_rfc_6455() {
        let lengths = [0, 1, 125, 126, 127, 65535, 65536, 70000];
        let mut batch = Batch::default();
        for length in lengths {
            batch.push(Opcode::Text, |out| out.extend((0..length).map(|byte| byte as u8)));
        }
        let mut begin = 0;
        for length in lengths {
            assert!(batch.is_border(begin));
            let end = batch.end_after(begin);
            let frame = batch.slice(begin, end);
            let mut cursor = Cursor::new(frame);
            let (header, announced) = FrameHeader::parse(&mut cursor).unwrap().unwrap();
            assert_eq!(announced as usize, length);
            assert!(header.is_final && header.mask.is_none());
            let payload = &frame[cursor.position() as usize..];
            assert!(payload.iter().copied().eq((0..length).map(|byte| byte as u8)));
            begin = end;
        }
        assert_eq!(begin as usize, batch.bytes.len());
    }

    #[test]
    fn a_kept_run_is_shared_unless_it_is_small() {
        let mut turn = Turn::new();
        let room = turn.open();
        let first = turn.push(room, Opcode::Binary, |out| out.extend([1; 10]));
        let second = turn.push(room, Opcode::Binary, |out| out.extend([2; 90]));
        let (one, begin, end) = turn.keep(Run { begin: first.begin + 3, ..first });
        assert_eq!((one.slice(begin, end), one.is_border(0), one.end_after(0)), (&[1; 9][..], false, 9));
        let (two, begin, end) = turn.keep(second);
        let (three, ..) = turn.keep(second);
        assert!(Rc::ptr_eq(&two, &three) && two.is_border(begin) && two.end_after(begin) == end);
        assert_eq!(turn.slice(second), two.slice(begin, end));
        let number = turn.number();
        turn.end();
        assert_ne!(turn.number(), number);
        let next = turn.open();
        assert_eq!(turn.push(next, Opcode::Text, |_| {}).begin, 0);
    }
}
