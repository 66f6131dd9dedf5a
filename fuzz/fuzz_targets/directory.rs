//! Hands the fuzzer's input to `walden_fuzz::directory`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| walden_fuzz::directory::run(data));
