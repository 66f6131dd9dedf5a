//! The bodies of the fuzz targets, so that the fuzzer and plain `cargo test` run the same code.
//!
//! Each module has one function `run` that takes the fuzzer's input and panics where a promise is
//! broken; any input at all is allowed. None may depend on an earlier input, on time, on threads or
//! on a real disk: one input is one run, whoever repeats it.

pub mod directory;
pub mod file_names;
mod input;
pub mod json_documents;
mod judge;
pub mod operations;
pub mod record_decode;
mod reseal;
pub mod segment_scan;

/// Runs one input.
pub type Run = fn(&[u8]);

/// Every target: its name, which its corpus bears too, and what it runs.
pub const TARGETS: [(&str, Run); 6] = [
    ("directory", directory::run),
    ("file_names", file_names::run),
    ("json_documents", json_documents::run),
    ("operations", operations::run),
    ("record_decode", record_decode::run),
    ("segment_scan", segment_scan::run),
];
