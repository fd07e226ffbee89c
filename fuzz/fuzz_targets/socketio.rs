#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| relay::fuzzing::socketio_client(bytes));
