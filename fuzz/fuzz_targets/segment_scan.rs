//! Hands the fuzzer's input to `walden_fuzz::segment_scan`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| walden_fuzz::segment_scan::run(data));
