#![no_main]

#[path = "../../tests/support/heap.rs"]
mod heap;

use relay::fuzzing::{self, memory};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    fuzzing::multipart_form(bytes);
    memory::multipart_form(bytes, heap::HEAP);
});
