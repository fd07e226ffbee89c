#![no_main]

#[path = "../../tests/support/heap.rs"]
mod heap;

use relay::fuzzing::{self, memory};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    fuzzing::forwarded_list(bytes);
    memory::forwarded_list(bytes, heap::HEAP);
});
