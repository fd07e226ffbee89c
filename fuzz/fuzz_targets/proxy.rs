#![no_main]

#[path = "../../tests/support/heap.rs"]
mod heap;

use relay::fuzzing::{self, memory};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    fuzzing::proxy_header(bytes);
    memory::proxy_header(bytes, heap::HEAP);
});
