//! Tasks, sessions and what happens to them.
//!
//! Architecture invariant: a pure state machine. Nothing here does I/O, reads a clock, starts a
//! thread or depends on an option, so that replaying the log gives the same state, byte for byte.

pub mod json;
