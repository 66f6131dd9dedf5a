//! The walden binary.
fn main() {}
