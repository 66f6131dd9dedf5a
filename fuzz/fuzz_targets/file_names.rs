//! Hands the fuzzer's input to `walden_fuzz::file_names`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| walden_fuzz::file_names::run(data));
