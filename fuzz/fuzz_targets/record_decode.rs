//! Hands the fuzzer's input to `walden_fuzz::record_decode`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| walden_fuzz::record_decode::run(data));
