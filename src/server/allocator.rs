//! The allocator of the program: the system's, which counts ([`memory`](crate::memory)).
//!
//! Counting costs an atomic addition for each allocation and each release. relay's own thread makes nearly all of them,
//! and the path of a message to its members makes none.

use std::alloc::{GlobalAlloc, Layout, System};

use crate::memory::{count_allocation, count_change, count_release};

/// The system's allocator, which counts.
pub struct Counting;

// SAFETY: every call is passed on to `System` unchanged; counting allocates nothing.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count_allocation(layout.size());
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count_allocation(layout.size());
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        count_release(layout.size());
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count_change(layout.size(), size);
        unsafe { System.realloc(block, layout, size) }
    }
}
