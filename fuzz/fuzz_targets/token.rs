#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| relay::fuzzing::tokens::login_token(bytes));
