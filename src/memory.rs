//! Counting memory: what the process has allocated, and how much of it is unfinished input.
//!
//! The allocator of the program ([`Counting`](crate::server::allocator::Counting)) counts every byte, so that
//! `limits.memory` can be kept. Nothing has to be counted by hand, except for what the server needs to tell apart:
//! requests and messages that have not arrived completely have a [`Charge`].

use core::{
    cell::Cell,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

static ALLOCATED: AtomicUsize = AtomicUsize::new(0);

/// Bytes that the process has allocated, with the allocator's own headers. 0 if its allocator does not count, as in unit
/// tests.
pub fn allocated() -> usize {
    ALLOCATED.load(Relaxed)
}

/// Counts an allocation of `size` bytes.
pub fn count_allocation(size: usize) {
    ALLOCATED.fetch_add(size + HEADER, Relaxed);
}

/// Counts the end of an allocation of `size` bytes.
pub fn count_release(size: usize) {
    ALLOCATED.fetch_sub(size + HEADER, Relaxed);
}

/// Counts that an allocation has grown or shrunk from `old` to `new` bytes.
pub fn count_change(old: usize, new: usize) {
    // Wraps around if it shrinks.
    ALLOCATED.fetch_add(new.wrapping_sub(old), Relaxed);
}

thread_local! {
    static UNFINISHED: Cell<usize> = const { Cell::new(0) };
}

/// Bytes of requests and messages that have not arrived completely, over all connections of this thread.
pub fn unfinished() -> usize {
    UNFINISHED.get()
}

/// Bytes that count as unfinished input until this is dropped.
#[derive(Debug, Default)]
pub struct Charge(usize);

impl Charge {
    /// Counts `bytes` in place of what was counted before.
    pub fn set(&mut self, bytes: usize) {
        UNFINISHED.set(UNFINISHED.get() + bytes - self.0);
        self.0 = bytes;
    }

    /// The bytes that are counted.
    pub fn bytes(&self) -> usize {
        self.0
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        // The thread may be ending.
        let _ = UNFINISHED.try_with(|total| total.set(total.get() - self.0));
    }
}

/// Bytes of an allocation's header and of its rounding to 16 bytes, on average (malloc of glibc and musl).
const HEADER: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn charges_add_up_and_end() {
        let before = unfinished();
        let (mut one, mut other) = (Charge::default(), Charge::default());
        one.set(10);
        other.set(5);
        one.set(7);
        assert_eq!((unfinished() - before, one.bytes()), (12, 7));
        drop(one);
        other.set(0);
        assert_eq!(unfinished(), before);
    }
}
