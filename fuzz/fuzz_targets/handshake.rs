#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| relay::fuzzing::websocket_handshake(bytes));
