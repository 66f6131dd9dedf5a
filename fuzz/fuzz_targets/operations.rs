//! Hands the fuzzer's input to `walden_fuzz::operations`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| walden_fuzz::operations::run(data));
