//! Hands the fuzzer's input to `walden_fuzz::json_documents`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| walden_fuzz::json_documents::run(data));
