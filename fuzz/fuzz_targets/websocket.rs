#![no_main]

#[path = "../../tests/support/heap.rs"]
mod heap;

use relay::fuzzing::{self, memory};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    fuzzing::websocket_peer(bytes);
    memory::websocket_peer(bytes, heap::HEAP);
});
