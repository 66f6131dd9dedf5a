//! The bugs, by what they are about.

mod checks_of_files;
mod checks_of_log;
mod edits;
mod flushes_of_files;
mod flushes_of_log;
mod openings;
mod orders;
mod reuse;
mod schedules;
mod table;

use crate::{Bug, By};

/// All bugs.
pub(crate) fn all() -> Vec<Bug> {
    [
        &flushes_of_log::BUGS[..],
        &flushes_of_files::BUGS[..],
        &orders::BUGS[..],
        &checks_of_log::BUGS[..],
        &checks_of_files::BUGS[..],
        &openings::BUGS[..],
        &reuse::BUGS[..],
        &edits::BUGS[..],
        &table::BUGS[..],
        &schedules::BUGS[..],
    ]
    .concat()
}

/// One bug; see [`Bug`] for the fields, in their order.
const fn bug(
    name: &'static str,
    file: &'static str,
    old: &'static str,
    new: &'static str,
    what: &'static str,
    by: By,
) -> Bug {
    Bug { name, file, old, new, what, by }
}
