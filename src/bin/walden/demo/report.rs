//! What the demonstration tells at its end, for people or as one object.

use std::fmt;
use std::time::Duration;

use serde_json::{Value, json};

use super::live::whole;
use super::round::Figures;
use crate::args::Format;
use crate::ledger::check::Checked;
use crate::output::{self, thousands};

/// Most problems that are listed.
const PROBLEMS_SHOWN: usize = 20;

/// What one kill left.
#[derive(Debug)]
pub(super) struct Kill {
    /// From asking for the store to having it.
    pub(super) took: Duration,
    pub(super) replayed: u64,
    pub(super) torn: u64,
    pub(super) checked: Checked,
}

impl fmt::Display for Kill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Kill { took, replayed, torn, checked } = self;
        let verdict = match checked.problems.len() {
            0 => "all there".to_owned(),
            some => format!("{some} PROBLEMS"),
        };
        write!(
            f,
            "killed with {} transactions in flight ({} of them landed); open again after {:.1} ms \
             ({} records replayed, {torn} torn bytes); {} acknowledged writes checked: {verdict}",
            checked.in_flight,
            checked.landed.len(),
            took.as_secs_f64() * 1e3,
            thousands(*replayed),
            thousands(checked.writes),
        )
    }
}

/// What the check said of a copy without one of the writes.
#[derive(Debug)]
pub(super) struct Tampering {
    /// How the one problem must begin.
    pub(super) expected: String,
    pub(super) problems: Vec<String>,
}

impl Tampering {
    /// Whether it said exactly that.
    pub(super) fn was_noticed(&self) -> bool {
        matches!(self.problems.as_slice(), [only] if only.starts_with(&self.expected))
    }
}

pub(super) struct Report {
    agents: u16,
    pub(super) figures: Figures,
    pub(super) kills: Vec<Kill>,
    pub(super) tampering: Option<Tampering>,
    /// A task to look at.
    pub(super) example: Option<String>,
}

impl Report {
    pub(super) fn new(agents: u16) -> Self {
        Report {
            agents,
            figures: Figures::default(),
            kills: Vec::new(),
            tampering: None,
            example: None,
        }
    }

    /// Whether every check of the store itself found everything.
    pub(super) fn is_whole(&self) -> bool {
        self.kills.iter().all(|kill| kill.checked.problems.is_empty())
    }

    /// Why it is no success, in one line.
    pub(super) fn verdict(&self) -> String {
        if self.is_whole() {
            "the check did not report exactly the write that was taken away".to_owned()
        } else {
            "the store is not as it was acknowledged".to_owned()
        }
    }

    pub(super) fn print(&self, format: Format) -> std::io::Result<()> {
        match format {
            Format::Json => output::json_line(&self.as_json()),
            Format::Human => self.lines().iter().try_for_each(|line| output::line(line)),
        }
    }

    fn as_json(&self) -> Value {
        let kill = |kill: &Kill| {
            json!({
                "open_ms": kill.took.as_secs_f64() * 1e3,
                "records_replayed": kill.replayed,
                "torn_bytes": kill.torn,
                "in_flight": kill.checked.in_flight,
                "landed": kill.checked.landed.len(),
                "writes_checked": kill.checked.writes,
                "tasks_checked": kill.checked.tasks,
                "fields_checked": kill.checked.fields,
                "problems": kill.checked.problems,
            })
        };
        let tampering = self.tampering.as_ref().map(
            |tampering| json!({"noticed": tampering.was_noticed(), "problems": tampering.problems}),
        );
        let figures = &self.figures;
        json!({
            "ok": self.is_whole() && self.tampering.as_ref().is_some_and(Tampering::was_noticed),
            "agents": self.agents,
            "writes_per_second": figures.per_second(figures.records),
            "commits_per_second": figures.per_second(figures.commits),
            "flushes_per_second": figures.per_second(figures.flushes),
            "group_size": figures.group_size(),
            "kills": self.kills.iter().map(kill).collect::<Vec<_>>(),
            "tampering": tampering,
            "store": "walden-demo/store",
        })
    }

    fn lines(&self) -> Vec<String> {
        let figures = &self.figures;
        let rate = |count| thousands(whole(figures.per_second(count)));
        let mut lines = vec![
            String::new(),
            format!(
                "{} agents: {} durable writes a second, {} flushes a second, {:.1} writes a group.",
                self.agents,
                rate(figures.records),
                rate(figures.flushes),
                figures.group_size()
            ),
        ];
        if let Some(Kill { took, replayed, checked, .. }) = self.kills.last() {
            lines.push(format!(
                "Recovery after the last kill: {:.1} ms, {} records replayed.",
                took.as_secs_f64() * 1e3,
                thousands(*replayed)
            ));
            lines.push(format!(
                "Checked against the record outside the store: {} acknowledged writes, {} fields \
                 of {} tasks; {} of the writes were to tasks deleted since.",
                thousands(checked.writes),
                thousands(checked.fields),
                thousands(checked.tasks),
                thousands(checked.writes_of_deleted)
            ));
            let in_flight: usize = self.kills.iter().map(|kill| kill.checked.in_flight).sum();
            lines.push(format!(
                "In flight at the {} kills: {in_flight} transactions; each is there whole or not at all.",
                self.kills.len()
            ));
            let problems = checked.problems.iter().take(PROBLEMS_SHOWN);
            lines.extend(problems.map(|problem| format!("  PROBLEM: {problem}")));
        }
        if let Some(tampering) = &self.tampering {
            lines.push(
                "The check can fail. One acknowledged write was taken out of a copy, and it says:"
                    .to_owned(),
            );
            let problems = tampering.problems.iter().take(PROBLEMS_SHOWN);
            lines.extend(problems.map(|problem| format!("  {problem}")));
        }
        if let (true, Some(id)) = (self.is_whole(), &self.example) {
            // As it was called: it may not be on the PATH.
            let called = std::env::args().next().unwrap_or_else(|| "walden".to_owned());
            let fill = |line: &str| line.replace("{id}", id).replace("{walden}", &called);
            lines.extend(LOOK.lines().map(fill));
        }
        lines
    }
}

const LOOK: &str = "
Look around:
  ls walden-demo/store
  cat walden-demo/store/tasks/{id}.json
  jq .metrics walden-demo/store/state.json
  jq -r '.tasks[] | select(.status == \"failed\") | .error' walden-demo/store/state.json | sort | uniq -c
  {walden} --dir walden-demo/store list --status in_progress
  {walden} --dir walden-demo/store verify";
