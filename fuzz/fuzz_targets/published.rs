#![no_main]

#[path = "../../tests/support/heap.rs"]
mod heap;

use relay::fuzzing::{self, memory};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    fuzzing::redis_message(bytes);
    memory::redis_message(bytes, heap::HEAP);
});
