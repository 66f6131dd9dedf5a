//! What came of the cases, by type of file and damage: a table whose sums are the number of cases.

use std::collections::BTreeMap;
use std::fmt;

use walden::ProblemKind;

use super::cases::Kind;

/// What one case came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Class {
    /// Every document is at its acknowledged value, and the damage is told.
    Told(ProblemKind),
    /// Documents are at earlier versions, which is told.
    Lost,
    /// The last group before an unclean stop is damaged, and told as torn.
    Undecidable,
    /// The last group before an unclean stop has left no trace.
    Traceless,
    /// The damaged bytes say nothing.
    Harmless,
    /// The file is people's: its bytes are not the engine's to judge.
    Peoples,
    Refused,
}

/// A column: its title, and what belongs in it.
type Column = (&'static str, fn(Class) -> bool);

const COLUMNS: [Column; 11] = [
    ("corrupt", |class| class == Class::Told(ProblemKind::Corrupt)),
    ("torn", |class| class == Class::Told(ProblemKind::Torn)),
    ("missing", |class| class == Class::Told(ProblemKind::Missing)),
    ("foreign", |class| class == Class::Told(ProblemKind::Foreign)),
    ("edited", |class| matches!(class, Class::Told(ProblemKind::Edited | ProblemKind::Stale))),
    ("unreadable", |class| class == Class::Told(ProblemKind::Unreadable)),
    ("loss told", |class| class == Class::Lost),
    ("undecidable", |class| matches!(class, Class::Undecidable | Class::Traceless)),
    ("harmless", |class| class == Class::Harmless),
    ("people's", |class| class == Class::Peoples),
    ("refused", |class| class == Class::Refused),
];

/// Counts of cases, by type of file and damage, and the cases that were judged wrong.
#[derive(Debug, Default)]
pub(super) struct Tally {
    counts: BTreeMap<(&'static str, Kind), BTreeMap<Class, u64>>,
    pub(super) cases: u64,
    pub(super) wrong: Vec<String>,
}

impl Tally {
    pub(super) fn add(&mut self, of: &'static str, kind: Kind, class: Class) {
        self.cases += 1;
        *self.counts.entry((of, kind)).or_default().entry(class).or_default() += 1;
    }

    pub(super) fn merge(&mut self, other: Tally) {
        self.cases += other.cases;
        self.wrong.extend(other.wrong);
        for (row, counts) in other.counts {
            let into = self.counts.entry(row).or_default();
            for (class, count) in counts {
                *into.entry(class).or_default() += count;
            }
        }
    }

    /// How many cases came to what `is` says.
    pub(super) fn count(&self, is: impl Fn(Class) -> bool) -> u64 {
        let all = self.counts.values().flatten();
        all.filter(|(class, _)| is(**class)).map(|(_, count)| count).sum()
    }

    /// How many cases the columns of the table hold.
    pub(super) fn accounted_for(&self) -> u64 {
        COLUMNS.iter().map(|(_, is)| self.count(is)).sum()
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<16}{:<18}{:>9}", "file", "damage", "cases")?;
        for (title, _) in COLUMNS {
            write!(f, "{title:>12}")?;
        }
        let line = |f: &mut fmt::Formatter<'_>, counts: &BTreeMap<Class, u64>| {
            write!(f, "{:>9}", counts.values().sum::<u64>())?;
            for (_, is) in COLUMNS {
                let counts = counts.iter().filter(|(class, _)| is(**class));
                write!(f, "{:>12}", counts.map(|(_, count)| count).sum::<u64>())?;
            }
            writeln!(f)
        };
        writeln!(f)?;
        let mut sums: BTreeMap<Class, u64> = BTreeMap::new();
        for ((of, kind), counts) in &self.counts {
            write!(f, "{of:<16}{:<18}", format!("{kind:?}"))?;
            line(f, counts)?;
            for (class, count) in counts {
                *sums.entry(*class).or_default() += count;
            }
        }
        write!(f, "{:<34}", "all")?;
        line(f, &sums)
    }
}
