//! Counting memory: what the process has allocated, and how much of it is unfinished input.
//!
//! [`Counting`] is the allocator of the program, and counts every byte, so that `limits.memory` can be kept. Nothing has to
//! be counted by hand, except for what the server needs to tell apart: requests and messages that have not arrived
//! completely have a [`Charge`].

use core::{
    cell::Cell,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};
use std::alloc::{GlobalAlloc, Layout, System};

/// The system's allocator, which counts.
pub struct Counting;

static ALLOCATED: AtomicUsize = AtomicUsize::new(0);

/// Bytes that the process has allocated, with the allocator's own headers. 0 if [`Counting`] is not its allocator, as in
/// unit tests.
pub fn allocated() -> usize {
    ALLOCATED.load(Relaxed)
}

/// Bytes that an allocation of `size` bytes takes (malloc of glibc and musl: a header, and 16 bytes of alignment).
fn taken(size: usize) -> usize {
    size + HEADER
}

// SAFETY: every call is passed on to `System` unchanged; counting allocates nothing.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATED.fetch_add(taken(layout.size()), Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        ALLOCATED.fetch_add(taken(layout.size()), Relaxed);
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        ALLOCATED.fetch_sub(taken(layout.size()), Relaxed);
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // Wraps around if the block shrinks.
        ALLOCATED.fetch_add(size.wrapping_sub(layout.size()), Relaxed);
        unsafe { System.realloc(block, layout, size) }
    }
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

/// Bytes of an allocation's header and of its rounding, on average.
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
