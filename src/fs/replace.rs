//! Replacing a file atomically and durably.
