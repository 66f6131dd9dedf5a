//! The log: records in, LSNs out, replay. It stands on its own, for those who need only a log.
//!
//! Architecture invariant: it knows bytes, not tasks; it makes no threads and takes no locks; a reader
//! never writes. DESIGN.md, "The log", has the format and the rules.
//!
//! To use it: [`scan`] the directory, [`Scan::replay`] what stands, [`Log::begin`] a new incarnation,
//! then [`Log::append`] and [`Log::sync`].

mod buffer;
mod chain;
pub mod format;
mod group;
mod listing;
mod log;
mod options;
pub mod reader;
mod record;
mod repair;
mod scan;
mod segment;
mod tail;
#[cfg(test)]
mod tests;
mod walk;
mod way;

pub use format::{Identity, SegmentNumber};
pub use listing::{
    DamageListing, GroupListing, PieceListing, SegmentListing, SegmentState, Worth, list,
};
pub use log::Log;
pub use options::{LogOptions, LogStats};
pub use record::{Origin, RECORD_BYTES_MAX, Record, RecordView};
pub use repair::{SetAside, clear_leftovers, clear_passed_over, clear_temporaries, set_aside};
pub(crate) use scan::Run;
pub use scan::{Finding, Hints, Join, Leftover, Replayed, Scan, Verdict, scan};
pub use segment::{Preparation, PreparedSegment, prepare_segment};
pub use tail::{Tail, Tailed};
