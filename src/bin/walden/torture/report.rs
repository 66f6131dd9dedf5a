//! What a run of kills tells at its end, for people or as one object.

use std::path::{Path, PathBuf};
use std::time::Instant;

use serde_json::{Value, json};

use super::child::{Life, Moment};
use crate::args::{Format, Torture};
use crate::machine;
use crate::output::{self, thousands};

/// Most violations that are listed.
const VIOLATIONS_SHOWN: usize = 20;

/// Counts of what really happened.
pub(super) struct Report {
    disk: String,
    seed: u64,
    threads: u16,
    pub(super) began: Instant,
    pub(super) directories: u64,
    /// Kills by where they fell.
    broken: [u64; 3],
    acknowledged: u64,
    in_flight: u64,
    landed: u64,
    openings: u64,
    files: u64,
    pub(super) verified: u64,
    violations: Vec<String>,
    /// The directory of the first of them.
    kept: Option<PathBuf>,
}

impl Report {
    pub(super) fn new(dir: &Path, wanted: &Torture) -> Self {
        Report {
            disk: machine::disk_of(dir),
            seed: wanted.seed,
            threads: wanted.threads,
            began: Instant::now(),
            directories: 0,
            broken: [0; 3],
            acknowledged: 0,
            in_flight: 0,
            landed: 0,
            openings: 0,
            files: 0,
            verified: 0,
            violations: Vec::new(),
            kept: None,
        }
    }

    /// Takes one life in.
    pub(super) fn add(&mut self, life: &Life) {
        let [opening, work, shutdown] = &mut self.broken;
        match life.broken {
            Some(Moment::Opening) => *opening += 1,
            Some(Moment::Work) => *work += 1,
            Some(Moment::Shutdown) => *shutdown += 1,
            None => {}
        }
        if let Some(settled) = &life.settled {
            self.openings += 1;
            self.acknowledged += settled.acknowledged;
            self.in_flight += settled.checked.in_flight as u64;
            self.landed += settled.checked.landed.len() as u64;
        }
        self.files += life.seen.files;
    }

    /// Takes in what was found wrong in a directory.
    pub(super) fn violated(&mut self, dir: &Path, problems: &[String]) {
        if !problems.is_empty() {
            self.kept.get_or_insert_with(|| dir.to_owned());
        }
        let shown = dir.display();
        self.violations.extend(problems.iter().map(|problem| format!("{shown}: {problem}")));
    }

    pub(super) fn kills(&self) -> u64 {
        self.broken.iter().sum()
    }

    pub(super) fn is_whole(&self) -> bool {
        self.violations.is_empty()
    }

    fn seconds(&self) -> f64 {
        self.began.elapsed().as_secs_f64()
    }

    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    fn kills_per_second(&self) -> f64 {
        self.kills() as f64 / self.seconds().max(1e-3)
    }

    /// What stands beside the bar.
    pub(super) fn progress(&self) -> String {
        let (rate, acknowledged) = (self.kills_per_second(), thousands(self.acknowledged));
        format!("{rate:.1} kills/s, {acknowledged} acknowledged operations checked")
    }

    /// Why the run proves nothing, if it does not.
    pub(super) fn too_little(&self, kills: u32) -> Option<String> {
        let [opening, work, shutdown] = self.broken;
        let all = u64::from(kills);
        let why = if self.kills() == 0 {
            "there was no kill".to_owned()
        } else if work * 3 < self.kills() {
            format!("only {work} kills fell into the work")
        } else if all >= 50 && (opening == 0 || shutdown == 0) {
            format!("{opening} kills fell into an opening, {shutdown} into a shutdown")
        } else if self.acknowledged < self.kills() {
            format!("only {} operations were acknowledged", self.acknowledged)
        } else {
            return None;
        };
        Some(format!("too little happened to prove anything: {why}"))
    }

    /// What was broken, in one line.
    pub(super) fn verdict(&self) -> String {
        let first = self.violations.first().map_or("", String::as_str);
        let (kills, seed) = (self.kills(), self.seed);
        let kept = self
            .kept
            .as_deref()
            .map(|dir| format!("; {} is kept until the next run", dir.display()));
        let kept = kept.unwrap_or_default();
        format!("a promise was broken after {kills} kills of seed {seed}: {first}{kept}")
    }

    pub(super) fn print(&self, format: Format) -> std::io::Result<()> {
        match format {
            Format::Json => output::json_line(&self.as_json()),
            Format::Human => self.lines().iter().try_for_each(|line| output::line(line)),
        }
    }

    fn as_json(&self) -> Value {
        let [opening, work, shutdown] = self.broken;
        json!({
            "ok": self.is_whole(),
            "kills": self.kills(),
            "in_opening": opening,
            "in_work": work,
            "in_shutdown": shutdown,
            "openings_checked": self.openings,
            "acknowledged_checked": self.acknowledged,
            "in_flight": self.in_flight,
            "landed": self.landed,
            "json_files_parsed": self.files,
            "verifications": self.verified,
            "directories": self.directories,
            "threads": self.threads,
            "seed": self.seed,
            "seconds": self.seconds(),
            "kills_per_second": self.kills_per_second(),
            "disk": self.disk,
            "violations": self.violations,
        })
    }

    fn lines(&self) -> Vec<String> {
        let [opening, work, shutdown] = self.broken.map(thousands);
        let mut lines = vec![
            format!(
                "{} kills in {:.0} s ({:.1} a second): {opening} while it opened, {work} while {} \
                 threads wrote, {shutdown} while it shut down.",
                thousands(self.kills()),
                self.seconds(),
                self.kills_per_second(),
                self.threads,
            ),
            format!(
                "{} acknowledged operations checked in {} openings. Of {} transactions in flight {} \
                 landed, each whole.",
                thousands(self.acknowledged),
                thousands(self.openings),
                thousands(self.in_flight),
                thousands(self.landed),
            ),
            format!(
                "{} JSON files parsed, {} verifications of every byte, {} directories.",
                thousands(self.files),
                thousands(self.verified),
                thousands(self.directories),
            ),
            format!("Disk: {}. Seed: {}.", self.disk, self.seed),
            format!("Violations: {}.", self.violations.len()),
        ];
        let shown = self.violations.iter().take(VIOLATIONS_SHOWN);
        lines.extend(shown.map(|violation| format!("  VIOLATION: {violation}")));
        lines
    }
}

/// What is wrong in a directory that nobody has open, down to its last byte.
pub(super) fn verify(dir: &Path) -> Vec<String> {
    match walden::verify(dir) {
        Ok(verified) if verified.ok => Vec::new(),
        // It was killed before it made the directory.
        Err(walden::Error::NotFound { .. }) if !dir.exists() => Vec::new(),
        Ok(verified) => {
            let found = verified.problems.iter().filter(|found| !found.kind.is_harmless());
            found.map(|found| format!("verify: {found}")).collect()
        }
        Err(error) => vec![format!("verify: {error}")],
    }
}
