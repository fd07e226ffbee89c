#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| relay::fuzzing::tls::tls_records(bytes));
