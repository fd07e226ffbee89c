//! Encoded frames of one turn, which many share.
//!
//! A message is encoded once for a room and a form, straight into the room's [`Batch`]: the bytes of all its frames of
//! this turn, back to back. What a member is to get is then a [`Run`] of that batch, twelve bytes, and mostly the same run
//! for all members: one send from one piece of memory that stays in the cache, whatever number of messages it carries.
//! (A queue of shared frames in each member, 24 bytes a message, cost half as much again as the kernel's work with 32
//! messages in a turn, and a copy of them into one piece for each member.) What a slow peer leaves over is kept by
//! sharing the batch, so a room of slow peers holds its messages once.

use std::rc::Rc;

/// What a frame carries (RFC 6455 section 5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Opcode {
    /// UTF-8 text.
    Text = 1,
    /// Arbitrary bytes.
    Binary = 2,
    /// The closing handshake.
    Close = 8,
    /// "Are you there?"
    Ping = 9,
}

/// Frames back to back: unmasked and final, as a server sends them; or any bytes that must not be torn apart.
#[derive(Debug, Default)]
pub struct Batch {
    bytes: Vec<u8>,
    /// Where each frame ends.
    ends: Vec<u32>,
    /// Whether it begins within a frame, whose start went out before.
    torn: bool,
}

impl Batch {
    /// Appends a frame whose payload `fill` appends. The header's room is guessed at the size it has for 126 to 65,535
    /// bytes; other payloads are moved by a few bytes.
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
                self.bytes.extend_from_slice(&[0; 6]);
                self.bytes.copy_within(begin + GUESSED_HEADER..begin + GUESSED_HEADER + length, begin + 10);
                self.bytes[begin..begin + 2].copy_from_slice(&[first, 127]);
                self.bytes[begin + 2..begin + 10].copy_from_slice(&(length as u64).to_be_bytes());
            }
        }
        self.end(begin)
    }

    /// Appends bytes as they are.
    pub fn push_raw(&mut self, bytes: &[u8]) -> (u32, u32) {
        let begin = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        self.end(begin)
    }

    /// The bytes from `begin` to `end`.
    #[inline]
    pub fn slice(&self, begin: u32, end: u32) -> &[u8] {
        &self.bytes[begin as usize..end as usize]
    }

    /// Whether a frame begins or ends at `place`.
    pub fn is_border(&self, place: u32) -> bool {
        (place == 0 && !self.torn) || self.ends.binary_search(&place).is_ok()
    }

    /// Where the frame ends that `place` is in.
    pub fn end_after(&self, place: u32) -> u32 {
        let next = self.ends.partition_point(|end| *end <= place);
        self.ends.get(next).copied().unwrap_or(self.bytes.len() as u32)
    }

    fn end(&mut self, begin: usize) -> (u32, u32) {
        let end = u32::try_from(self.bytes.len()).expect("a turn brings far less than 4 GiB: reads are budgeted");
        self.ends.push(end);
        (begin as u32, end)
    }

    /// A part as a batch of its own.
    fn part(&self, begin: u32, end: u32) -> Batch {
        let ends = self.ends.iter().filter(|place| (begin + 1..=end).contains(*place)).map(|place| place - begin);
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

/// A part of one of this turn's batches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Run {
    /// Which batch of the turn.
    pub batch: u32,
    /// Where it begins.
    pub begin: u32,
    /// Where it ends.
    pub end: u32,
}

impl Run {
    /// How many bytes.
    pub fn len(self) -> usize {
        (self.end - self.begin) as usize
    }

    /// Whether it is nothing.
    pub fn is_empty(self) -> bool {
        self.begin == self.end
    }
}

/// The batches of the turn: one for frames to single clients, and one for each room and form with a message.
pub struct Turn {
    /// Each is the turn's own while it grows, and shared once somebody keeps a part of it.
    batches: Vec<Rc<Batch>>,
    used: usize,
    number: u32,
}

impl Turn {
    /// The first turn.
    pub fn new() -> Turn {
        Turn { batches: vec![Rc::default()], used: 1, number: 1 }
    }

    /// Which turn it is: what holds for a room's batches holds while this stays the same.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// A frame for a single client.
    pub fn single(&mut self, opcode: Opcode, fill: impl FnOnce(&mut Vec<u8>)) -> Run {
        self.push(SINGLE, opcode, fill)
    }

    /// Bytes for a single client.
    pub fn single_raw(&mut self, bytes: &[u8]) -> Run {
        let (begin, end) = self.growing(SINGLE).push_raw(bytes);
        Run { batch: SINGLE, begin, end }
    }

    /// A batch for a room and a form that has none in this turn.
    pub fn open(&mut self) -> u32 {
        if self.used == self.batches.len() {
            self.batches.push(Rc::default());
        }
        self.used += 1;
        self.used as u32 - 1
    }

    /// A frame at the end of an open batch.
    pub fn push(&mut self, batch: u32, opcode: Opcode, fill: impl FnOnce(&mut Vec<u8>)) -> Run {
        let (begin, end) = self.growing(batch).push(opcode, fill);
        Run { batch, begin, end }
    }

    /// A run's batch.
    #[inline]
    pub fn batch(&self, run: Run) -> &Batch {
        &self.batches[run.batch as usize]
    }

    /// A run's bytes.
    #[inline]
    pub fn slice(&self, run: Run) -> &[u8] {
        self.batch(run).slice(run.begin, run.end)
    }

    /// A run that outlives the turn, as part of a shared batch: the whole one, or one of its own if the run is so small
    /// a part that it would hold four times its bytes in memory.
    pub fn keep(&self, run: Run) -> (Rc<Batch>, u32, u32) {
        let batch = &self.batches[run.batch as usize];
        if run.len() * 4 < batch.bytes.len() {
            return (Rc::new(batch.part(run.begin, run.end)), 0, run.len() as u32);
        }
        (batch.clone(), run.begin, run.end)
    }

    /// The next turn begins: no run of this one may be left anywhere.
    pub fn end(&mut self) {
        self.number = self.number.wrapping_add(1).max(1);
        self.batches.truncate(KEPT_BATCHES);
        for batch in self.batches.iter_mut().take(self.used) {
            match Rc::get_mut(batch) {
                Some(own) => own.clear(),
                None => *batch = Rc::default(),
            }
        }
        self.used = 1;
    }

    fn growing(&mut self, batch: u32) -> &mut Batch {
        let batch = &mut self.batches[batch as usize];
        Rc::get_mut(batch).expect("parts are kept only while the turn is being flushed")
    }
}

impl Default for Turn {
    fn default() -> Self {
        Turn::new()
    }
}

/// The batch of frames to single clients.
const SINGLE: u32 = 0;
/// Two bytes, and two of length.
const GUESSED_HEADER: usize = 4;
/// Bytes and batches whose memory stays for the next turn.
const KEPT_BYTES: usize = 128 * 1024;
const KEPT_BATCHES: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;
    use tungstenite::protocol::frame::FrameHeader;

    #[test]
    fn headers_are_what_rfc_6455_says() {
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
    fn a_kept_part_is_shared_unless_it_is_small() {
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
        assert_eq!(turn.open(), room);
        assert_eq!(turn.push(room, Opcode::Text, |_| {}).begin, 0);
    }
}
