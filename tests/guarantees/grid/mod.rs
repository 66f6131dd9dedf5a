//! Every call, every error (G8): each class of calls to the disk fails in each way, in each phase of a
//! store's life. What the caller sees and what the store is afterwards is measured, and is the table in
//! DESIGN.md; what must never happen is asserted of every run:
//!
//! - no hang, no panic; every error has a type, and reads go on;
//! - what was acknowledged is there: at once, after a power cut, after healing, in the files;
//! - a log that failed accepts nothing before `reopen`, which heals it; any other failure needs none;
//! - every JSON file is whole at any time, and no half file is left behind by an orderly end.
//!
//! By default one call of each cell fails; `WALDEN_EXHAUSTIVE=1` makes each fail in its turn, and only
//! then the table can be written, with `WALDEN_BLESS=1`.

mod faulty;
mod full_disk;
mod phases;
mod table;
mod threads;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use walden::fs::sim::{CrashMode, SimFs};
use walden::testing::{Step, fill, put};
use walden::{Commit, Durability, Error, Problem, ProblemKind};

use crate::support::{at, documents, mix, open, within};
use faulty::{Class, Ill};
use phases::{BROKEN, Phase, Start, World};
use table::Table;

const BEGIN: &str = "<!-- the grid: written by its test -->\n";
const END: &str = "<!-- the end of the grid -->\n";
const COMMAND: &str = "WALDEN_EXHAUSTIVE=1 WALDEN_BLESS=1 cargo test --features testing \
                       --test guarantees grid::every_call";
/// Longer than all of it takes on a slow machine.
const PATIENCE: Duration = Duration::from_secs(3600);

fn is_set(variable: &str) -> bool {
    std::env::var_os(variable).is_some()
}

/// The type of an error, as its variant is called.
pub(crate) fn type_of(error: &Error) -> &'static str {
    match error {
        Error::Io { .. } => "Io",
        Error::DiskFull { .. } => "DiskFull",
        Error::Poisoned { .. } => "Poisoned",
        error => panic!("a failing disk is no reason for {error:?}"),
    }
}

/// What a run of a phase without a fault does.
struct Baseline {
    start: Start,
    calls: BTreeMap<Class, u64>,
    findings: Vec<(ProblemKind, String)>,
}

impl Baseline {
    fn new(phase: Phase) -> Baseline {
        let start = Start::new(phase);
        let mut world = start.prepared();
        world.faulty.arm(None);
        world.act(phase).unwrap();
        let (_, calls) = world.faulty.disarm();
        assert_eq!(world.failures.load(SeqCst), 0, "{phase:?}");
        let findings = world.findings.get();
        let left = world.ends_well("without a fault");
        assert!(left.is_empty(), "{left:#?}");
        Baseline { start, calls, findings }
    }

    /// Fails one call, and says what came of it.
    fn run(&self, phase: Phase, class: Class, nth: u64, ill: Ill) -> String {
        let what = format!("{phase:?}: {} {}, call {nth}: {ill:?}", class.verb, class.target);
        let mut world = self.start.prepared();
        world.faulty.arm(Some((class, nth, ill)));
        let acted = world.act(phase);
        let (fired, _) = world.faulty.disarm();
        assert!(fired > 0, "{what}: never came");
        let is_told = world.failures.load(SeqCst) > 0 || world.findings.get() != self.findings;
        let error = acted.as_ref().err().map(type_of);
        world.survives(&what);
        let is_poisoned = world.run.store.is_some() && world.probe(&what);
        let mut left = world.ends_well(&what);
        if phase == Phase::Mirror {
            // The person's edit, which an opening leaves where it is until its document changes.
            left.retain(|found| {
                (found.kind, &*found.file) != (ProblemKind::Edited, "tasks/b.json")
            });
        }
        // What recovery cannot read of the mirror it tells of and leaves, for a person's it may be.
        let may_stay = phase == Phase::Recovery
            && (class.target == "mirror file" || class.target == "`tasks/`, `sessions/`");
        assert!(left.is_empty() || (may_stay && is_told), "{what}: {left:#?}");
        let outcome = match error {
            Some(error) if error == ill.error() => "error",
            Some(error) => error,
            None if is_told => "told",
            None => "ok",
        };
        let stays = if left.is_empty() { "" } else { "‡" };
        format!("{outcome}{}{stays}", if is_poisoned { "†" } else { "" })
    }
}

impl World {
    /// What was acknowledged is there, for readers and after a power cut now, and no file is half.
    fn survives(&self, what: &str) {
        let oracle = self.run.oracle.get();
        if let Some(store) = &self.run.store {
            let seen = documents(&store.view());
            oracle.place(&seen, false).unwrap_or_else(|why| panic!("{what}: {why}"));
        }
        let disk = &self.faulty.disk;
        for (disk, is_cut) in
            [(disk.if_crashed(CrashMode::Nothing), true), (disk.if_killed(), false)]
        {
            check_files(&disk, what);
            let store = open(&disk, 90_000).unwrap_or_else(|error| panic!("{what}: {error}"));
            // A flush that failed may take with it what was only handed to the kernel.
            let is_cut = is_cut || self.run.store.is_none();
            let found = documents(&store.view());
            oracle.place(&found, is_cut).unwrap_or_else(|why| panic!("{what}: {why}"));
            self.check_outputs(&disk, what);
        }
    }

    fn check_outputs(&self, disk: &SimFs, what: &str) {
        let output = disk.read_now("logs/session_s.log").unwrap_or_default();
        let is_there = output.starts_with(self.outputs.concat().as_bytes());
        assert!(is_there, "{what}: an output is gone: {:?}", String::from_utf8_lossy(&output));
    }

    /// Whether the store refuses writes until it is reopened; it is healed afterwards.
    fn probe(&mut self, what: &str) -> bool {
        let before = documents(&self.run.store().view());
        let probe = [put("probe", 40, 90)];
        let probed = self.run.store().submit(Durability::Sync, |tx| fill(tx, &probe));
        let is_poisoned = match probed.and_then(Commit::wait) {
            Ok(_) => false,
            Err(Error::Poisoned { .. }) => true,
            Err(error) => panic!("{what}: the disk is well again, and {error}"),
        };
        let found = if is_poisoned {
            self.run.store().reopen().unwrap_or_else(|error| panic!("{what}: {error}"));
            documents(&self.run.store().view())
        } else {
            before
        };
        self.run.oracle.change(|oracle| {
            let place = oracle.place(&found, is_poisoned);
            oracle.found(place.unwrap_or_else(|why| panic!("{what}: healed: {why}")));
        });
        let step = Step::Commit(Durability::Sync, probe.to_vec());
        self.run.step(&step).unwrap_or_else(|error| panic!("{what}: healed: {error}"));
        is_poisoned
    }

    /// An orderly end, also where there was none, leaves everything in place and nothing half-done;
    /// gives what a verification finds.
    fn ends_well(mut self, what: &str) -> Vec<Problem> {
        if self.run.store.is_none() {
            self.open().unwrap_or_else(|error| panic!("{what}: again: {error}"));
        }
        let store = self.run.store.take().expect("it was just opened");
        let disk = &self.faulty.disk;
        // The person gives it up; it is written anew.
        if disk.read_now("tasks/b.json").as_deref() == Some(BROKEN) {
            disk.remove_now("tasks/b.json").unwrap();
        }
        let present = documents(&store.view());
        let oracle = self.run.oracle.get();
        oracle.place(&present, true).unwrap_or_else(|why| panic!("{what}: at the end: {why}"));
        store.shutdown().unwrap_or_else(|error| panic!("{what}: at the end: {error}"));
        check_files(disk, what);
        self.check_outputs(disk, what);
        let is_settled = |name: &String| name.ends_with(".wal") || name == "wal/state.index";
        let names = disk.names().into_iter().filter(|name| name.starts_with("wal/"));
        let left: Vec<String> = names.filter(|name| !is_settled(name)).collect();
        assert!(left.is_empty(), "{what}: left behind: {left:?}");
        let mut problems = at(disk, 90_001).verify().unwrap().problems;
        // A segment that a power cut tore before the phase stays until the log is cut there.
        problems.retain(|found| found.kind != ProblemKind::Torn || !found.file.ends_with(".wal"));
        problems
    }
}

/// Every file that people read as JSON is whole, but for a mirror file that a power cut took.
fn check_files(disk: &SimFs, what: &str) {
    for name in disk.names() {
        let is_snapshot = name.starts_with("state.") && name.ends_with(".json");
        if is_snapshot || name.starts_with("reports/") {
            let bytes = disk.read_now(&name).unwrap_or_default();
            let parsed = serde_json::from_slice::<serde_json::Value>(&bytes);
            assert!(parsed.is_ok(), "{what}: {name} is half");
        }
    }
}

fn measure(phase: Phase) -> (Table, u64) {
    let baseline = Baseline::new(phase);
    let mut table = Table::default();
    let mut runs = 0;
    for (class, calls) in &baseline.calls {
        for ill in Ill::ALL.into_iter().filter(|ill| ill.suits(*class)) {
            let sample = 1 + mix(u64::from(ill as u8) + 8 * class.verb.len() as u64) % calls;
            let all = is_set("WALDEN_EXHAUSTIVE");
            for nth in (1..=*calls).filter(|nth| all || *nth == sample) {
                runs += 1;
                table.note(*class, phase, ill, baseline.run(phase, *class, nth, ill));
            }
        }
    }
    (table, runs)
}

#[test]
fn every_call_that_fails_in_every_way_does_what_the_table_says() {
    let (table, runs) = within(PATIENCE, || {
        let threads = Phase::ALL.map(|phase| std::thread::spawn(move || measure(phase)));
        let (mut table, mut runs) = (Table::default(), 0);
        for thread in threads {
            let (measured, count) =
                thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            table.extend(measured);
            runs += count;
        }
        (table, runs)
    });
    println!("{runs} failing calls");
    assert!(runs > 900, "{runs}");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("DESIGN.md");
    let design = fs::read_to_string(&path).unwrap();
    let (before, rest) = design.split_once(BEGIN).expect("DESIGN.md marks where the grid begins");
    let (printed, after) = rest.split_once(END).expect("DESIGN.md marks where the grid ends");
    let measured = table.render();
    let is_whole = is_set("WALDEN_EXHAUSTIVE");
    if is_whole && is_set("WALDEN_BLESS") {
        fs::write(&path, format!("{before}{BEGIN}{measured}{END}{after}")).unwrap();
        return;
    }
    let missing = table.missing_in(printed);
    assert!(missing.is_empty(), "DESIGN.md says otherwise; rewrite it by {COMMAND}\n{missing:#?}");
    assert!(!is_whole || measured == printed, "DESIGN.md has too much; rewrite it by {COMMAND}");
}
