//! Log sequence numbers: a record's place in the one order of all mutations.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A record's place in the one order of mutations (log sequence number).
///
/// The first record of a store has LSN 1; [`Lsn::ZERO`] stands before it. LSNs are consecutive
/// within one opening of a store, always rise, and are never used twice, also not after a crash.
///
/// ```
/// use walden::Lsn;
/// assert!(Lsn::ZERO < Lsn(1));
/// assert_eq!(Lsn(7).next(), Lsn(8));
/// ```
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Lsn(pub u64);

impl Lsn {
    /// The place before the first record: the LSN of an empty store.
    pub const ZERO: Lsn = Lsn(0);
    /// Above every mutation.
    pub const MAX: Lsn = Lsn(u64::MAX);

    /// The place after this one.
    #[must_use]
    pub fn next(self) -> Lsn {
        self.plus(1)
    }

    /// The place `count` records later; saturates at the largest number, which is never reached.
    #[must_use]
    pub fn plus(self, count: u64) -> Lsn {
        Lsn(self.0.saturating_add(count))
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
