//! What a workload found: tables of rows, a row being one contender with the figure of each round.
//!
//! The first row of a table is what the others are held against. A ratio is formed within its round, since
//! the pace of a machine changes from one to the next; of the ratios the median counts. Nothing here
//! measures, and a figure that could not be had is left out, never made up.

use serde::Serialize;

use crate::chart::short;
use crate::load::Spread;
use crate::machine::Machine;
use crate::session::Plan;

/// Everything that was measured.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) workload: &'static str,
    pub(crate) machine: Machine,
    pub(crate) seed: u64,
    pub(crate) rounds: usize,
    pub(crate) turn_ms: u128,
    pub(crate) value_bytes: usize,
    /// What has to be known to read the figures.
    pub(crate) notes: Vec<String>,
    pub(crate) tables: Vec<Table>,
}

impl Report {
    pub(crate) fn new(plan: &Plan, machine: Machine) -> Report {
        Report {
            workload: plan.workload,
            machine,
            seed: plan.seed,
            rounds: plan.rounds,
            turn_ms: plan.turn.as_millis(),
            value_bytes: plan.value_bytes,
            notes: Vec::new(),
            tables: Vec::new(),
        }
    }

    /// Each once.
    pub(crate) fn note(&mut self, note: impl Into<String>) {
        let note = note.into();
        if !self.notes.contains(&note) {
            println!("note: {note}");
            self.notes.push(note);
        }
    }

    /// Prints it too, since the next one may take minutes.
    pub(crate) fn add(&mut self, table: Table) {
        table.print();
        self.tables.push(table);
    }
}

/// What is compared with each other.
#[derive(Debug, Serialize)]
pub(crate) struct Table {
    pub(crate) title: String,
    pub(crate) unit: &'static str,
    /// How many threads, where tables differ in nothing else.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) threads: Option<usize>,
    pub(crate) rows: Vec<Row>,
}

/// One contender's figures.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) name: String,
    /// By round.
    pub(crate) values: Vec<f64>,
    pub(crate) found: Spread,
    /// To the first row's of the same round.
    pub(crate) ratio: Spread,
    /// What else was seen; medians of the rounds.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) also: Vec<(&'static str, f64)>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) target: Option<Verdict>,
}

/// What is aimed at.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Target {
    RatioAtLeast(f64),
    RatioAtMost(f64),
    AtMost(f64),
}

/// A target, and whether the median meets it.
#[derive(Debug, Serialize)]
pub(crate) struct Verdict {
    pub(crate) target: String,
    pub(crate) met: bool,
}

impl Table {
    pub(crate) fn new(title: impl Into<String>, unit: &'static str) -> Table {
        Table { title: title.into(), unit, threads: None, rows: Vec::new() }
    }

    /// A row; nothing if there is no figure for it.
    pub(crate) fn add(&mut self, name: impl Into<String>, values: Vec<f64>) -> Option<&mut Row> {
        if values.is_empty() {
            return None;
        }
        let first = self.rows.first().map_or(&values, |row| &row.values);
        let ratios = values.iter().zip(first).filter(|(_, first)| **first > 0.0);
        let ratio = Spread::of(ratios.map(|(value, first)| value / first));
        let found = Spread::of(values.iter().copied());
        let (also, target) = (Vec::new(), None);
        self.rows.push(Row { name: name.into(), values, found, ratio, also, target });
        self.rows.last_mut()
    }

    fn print(&self) {
        println!("\n{}", self.title);
        for row in &self.rows {
            let also = row.also.iter().map(|(name, value)| format!("  {name} {}", short(*value)));
            let target = row.target.as_ref().map_or_else(String::new, |verdict| {
                format!("  {}: {}", verdict.target, if verdict.met { "met" } else { "MISSED" })
            });
            println!(
                "  {:<28} {:>8} {}  {}{}{target}",
                row.name,
                short(row.found.median),
                self.unit,
                ratio(&row.ratio),
                also.collect::<String>(),
            );
        }
    }
}

impl Row {
    pub(crate) fn also(&mut self, name: &'static str, values: impl IntoIterator<Item = f64>) {
        self.also.push((name, Spread::of(values).median));
    }

    pub(crate) fn aim(&mut self, target: Target) {
        let (target, met) = match target {
            Target::RatioAtLeast(least) => {
                (format!("target: at least {least:.2} x"), self.ratio.median >= least)
            }
            Target::RatioAtMost(most) => {
                (format!("target: at most {most:.2} x"), self.ratio.median <= most)
            }
            Target::AtMost(most) => {
                (format!("target: at most {}", short(most)), self.found.median <= most)
            }
        };
        self.target = Some(Verdict { target, met });
    }
}

/// A ratio with its spread.
pub(crate) fn ratio(found: &Spread) -> String {
    let Spread { median, least, most } = found;
    format!("{median:.2} ({least:.2}-{most:.2}) x")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_is_formed_within_its_round() {
        let mut table = Table::new("", "s");
        table.add("limit", vec![1.0, 10.0, 100.0]);
        let row = table.add("store", vec![2.0, 20.0, 200.0]).unwrap();
        assert_eq!(row.ratio, Spread { median: 2.0, least: 2.0, most: 2.0 });
        assert_eq!(row.found, Spread { median: 20.0, least: 2.0, most: 200.0 });
        assert_eq!(table.rows[0].ratio, Spread { median: 1.0, least: 1.0, most: 1.0 });
    }

    #[test]
    fn a_round_in_which_the_limit_has_no_figure_has_no_ratio() {
        let mut table = Table::new("", "bytes");
        table.add("limit", vec![0.0, 2.0]);
        let row = table.add("store", vec![5.0, 5.0]).unwrap();
        assert_eq!(row.ratio, Spread { median: 2.5, least: 2.5, most: 2.5 });
        assert!(table.add("nobody knows", Vec::new()).is_none() && table.rows.len() == 2);
    }

    #[test]
    fn a_target_is_met_by_the_median_and_not_by_the_best_round() {
        let verdict = |target| {
            let mut table = Table::new("", "");
            table.add("limit", vec![1.0; 3]);
            let row = table.add("store", vec![1.0, 2.0, 3.0]).unwrap();
            row.aim(target);
            row.target.take().unwrap().met
        };
        assert!(verdict(Target::RatioAtMost(2.0)) && !verdict(Target::RatioAtMost(1.9)));
        assert!(verdict(Target::RatioAtLeast(2.0)) && !verdict(Target::RatioAtLeast(2.1)));
        assert!(verdict(Target::AtMost(2.0)) && !verdict(Target::AtMost(1.0)));
    }
}
