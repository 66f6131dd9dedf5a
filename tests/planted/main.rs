//! Detection power: bugs planted into the engine, each of which some test must catch.
//!
//! A bug is an exact edit of one source file: a flush left out, two steps swapped, a check weakened, or
//! a defect that another engine was found to have. By default it is only checked that each edit still
//! applies, and that no flush in the sources is without a bug that leaves it out. `WALDEN_PLANTED=1`
//! proves the rest: a copy of the package is built in which each edit is made switchable, every test
//! that is to catch something passes there while nothing is switched on, and fails for each bug alone.
//! `WALDEN_PLANTED=name,name` does that for these bugs only.
//!
//! A bug counts as caught only if its code was reached, so no unrelated failure passes for a catch.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test that meets the unexpected is to fail, and says what it exercised"
)]

mod flushes;
mod list;
mod run;
mod source;

use std::collections::BTreeSet;

/// One planted bug.
#[derive(Clone, Copy)]
pub(crate) struct Bug {
    /// Its name, unique.
    pub(crate) name: &'static str,
    /// The file, below `src/`.
    pub(crate) file: &'static str,
    /// The place, as text that occurs once; `«»` encloses what is replaced where that is only a part
    /// of it. What is replaced is a whole expression or whole statements.
    pub(crate) old: &'static str,
    /// What comes there instead.
    pub(crate) new: &'static str,
    /// What the bug is, in words.
    pub(crate) what: &'static str,
    /// Who must catch it.
    pub(crate) by: By,
}

/// Tests by the beginning of the command that runs them: those whose names contain one of the words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum By {
    /// `cargo test --lib`
    Lib(&'static str),
    /// `cargo test --test guarantees`
    Guarantees(&'static str),
    /// `cargo test --test schedules`, built with `--cfg walden_shuttle`
    Schedules(&'static str),
}

impl By {
    fn filter(self) -> &'static str {
        let (By::Lib(filter) | By::Guarantees(filter) | By::Schedules(filter)) = self;
        filter
    }
}

#[test]
fn every_planted_bug_applies_exactly_once_to_its_file_and_has_a_name_of_its_own() {
    let bugs = list::all();
    assert!(bugs.len() >= 100, "only {} bugs", bugs.len());
    let names: BTreeSet<&str> = bugs.iter().map(|bug| bug.name).collect();
    assert_eq!(names.len(), bugs.len(), "two bugs have one name");
    let wrong: Vec<String> = bugs.iter().filter_map(|bug| source::span(bug).err()).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    for bug in &bugs {
        assert!(bug.by.filter().split_whitespace().next().is_some(), "{}: all tests?", bug.name);
        assert!(!bug.what.is_empty(), "{}: what is it?", bug.name);
    }
}

#[test]
fn every_bug_is_caught() {
    let Ok(which) = std::env::var("WALDEN_PLANTED") else {
        println!("skipped: it takes minutes; WALDEN_PLANTED=1 runs it");
        return;
    };
    let mut bugs = list::all();
    if which != "1" {
        let names: Vec<&str> = which.split(',').map(str::trim).collect();
        for name in &names {
            assert!(bugs.iter().any(|bug| bug.name == *name), "there is no bug {name:?}");
        }
        bugs.retain(|bug| names.contains(&bug.name));
    }
    run::all(&bugs);
}
