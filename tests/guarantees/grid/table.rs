//! The table of what was measured: a row for each class of calls, a column for each phase, and in each
//! cell what came of each way of failing. It is printed as DESIGN.md shows it, and read back from there.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::faulty::{Class, Ill};
use super::phases::Phase;

/// What came of one way of failing, over the calls of a class.
pub(crate) type Outcomes = BTreeSet<String>;
type Cell = BTreeMap<Ill, Outcomes>;

/// The calls do not come in that phase.
const NEVER: &str = "—";

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Table(BTreeMap<Class, BTreeMap<Phase, Cell>>);

impl Table {
    pub(crate) fn note(&mut self, class: Class, phase: Phase, ill: Ill, outcome: String) {
        let cell = self.0.entry(class).or_default().entry(phase).or_default();
        cell.entry(ill).or_default().insert(outcome);
    }

    pub(crate) fn extend(&mut self, other: Table) {
        for (class, row) in other.0 {
            self.0.entry(class).or_default().extend(row);
        }
    }

    /// The table in Markdown; each cell has something.
    pub(crate) fn render(&self) -> String {
        let names = Phase::ALL.map(Phase::name).join(" | ");
        let mut text = format!("| call | {names} |\n|---|{}", "---|".repeat(Phase::ALL.len()));
        for (class, row) in &self.0 {
            write!(text, "\n| {} |", label(*class)).unwrap();
            for phase in Phase::ALL {
                let cell = row.get(&phase).map_or_else(|| NEVER.to_owned(), cell_text);
                write!(text, " {cell} |").unwrap();
            }
        }
        text.push('\n');
        text
    }

    /// Says where what was measured here is not in the table that is printed in `text`.
    pub(crate) fn missing_in(&self, text: &str) -> Vec<String> {
        let rows: BTreeMap<&str, Vec<&str>> = text
            .lines()
            .filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |")?.split_once(" | "))
            .map(|(label, cells)| (label, cells.split(" | ").collect()))
            .collect();
        let mut missing = Vec::new();
        for (class, row) in &self.0 {
            let label = label(*class);
            let Some(printed) = rows.get(label.as_str()) else {
                missing.push(format!("no row for {label}"));
                continue;
            };
            for (place, phase) in Phase::ALL.iter().enumerate() {
                let printed = printed.get(place).copied().unwrap_or_default();
                let Some(cell) = row.get(phase) else {
                    if printed != NEVER {
                        missing
                            .push(format!("{label}, {}: {printed:?}, not {NEVER}", phase.name()));
                    }
                    continue;
                };
                let known = outcomes_of(printed);
                for (ill, outcomes) in cell {
                    let known = known.get(ill.name()).or_else(|| known.get("")).cloned();
                    if !outcomes.is_subset(&known.unwrap_or_default()) {
                        let (phase, ill) = (phase.name(), ill.name());
                        missing.push(format!("{label}, {phase}, {ill}: {outcomes:?}"));
                    }
                }
            }
        }
        missing
    }
}

fn label(class: Class) -> String {
    format!("{} {}", class.verb, class.target)
}

/// Ways of failing with the same outcomes together, the first first.
fn cell_text(cell: &Cell) -> String {
    let mut groups: Vec<(Vec<&str>, &Outcomes)> = Vec::new();
    for (ill, outcomes) in cell {
        match groups.iter_mut().find(|(_, known)| *known == outcomes) {
            Some((ills, _)) => ills.push(ill.name()),
            None => groups.push((vec![ill.name()], outcomes)),
        }
    }
    let joined = |outcomes: &Outcomes| outcomes.iter().cloned().collect::<Vec<_>>().join(" / ");
    if let [(_, outcomes)] = groups.as_slice() {
        return joined(outcomes);
    }
    let text = groups.iter().map(|(ills, outcomes)| {
        let mut ills = ills.join(", ");
        for number in ["EIO", "ENOSPC"] {
            ills = ills.replace(&format!("{number} once, {number} kept"), number);
        }
        format!("{ills}: {}", joined(outcomes))
    });
    text.collect::<Vec<_>>().join("; ")
}

/// The outcomes in a cell by the name of the way of failing; `""` stands for all.
fn outcomes_of(cell: &str) -> BTreeMap<String, Outcomes> {
    let mut all = BTreeMap::new();
    for group in cell.split("; ") {
        let (ills, outcomes) = group.split_once(": ").unwrap_or(("", group));
        let outcomes: Outcomes = outcomes.split(" / ").map(str::to_owned).collect();
        for ill in ills.split(", ") {
            let once_and_kept = [format!("{ill} once"), format!("{ill} kept")];
            let names = once_and_kept.into_iter().chain([ill.to_owned()]);
            all.extend(names.map(|name| (name, outcomes.clone())));
        }
    }
    all
}

#[test]
fn a_table_that_is_printed_has_all_that_was_measured_and_misses_what_was_not() {
    let class = Class { target: "log segment", verb: "flush" };
    let mut table = Table::default();
    for (ill, outcome) in
        [(Ill::IoOnce, "Io"), (Ill::IoKept, "Io"), (Ill::FullOnce, "DiskFull"), (Ill::Quota, "ok")]
    {
        table.note(class, Phase::Commit, ill, outcome.to_owned());
    }
    let printed = table.render();
    assert!(printed.contains("| EIO: Io; ENOSPC once: DiskFull; EDQUOT: ok |"), "{printed}");
    assert_eq!(table.missing_in(&printed), [""; 0]);
    let mut more = table.clone();
    more.note(class, Phase::Commit, Ill::IoKept, "ok".to_owned());
    assert_eq!(more.missing_in(&printed).len(), 1);
    more = table.clone();
    more.note(class, Phase::Recovery, Ill::IoOnce, "ok".to_owned());
    assert_eq!(more.missing_in(&printed).len(), 1);
    assert_eq!(table.missing_in(&more.render()).len(), 1, "calls that do not come any more");
}
