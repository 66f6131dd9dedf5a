//! The explorer finds what a naive program does wrong, and nothing in a right one; a violation replays.

use super::*;
use crate::fs::sim::CrashMode;
use crate::fs::{Fs, Mode, read_file_if_any, write_all_at};

/// Writes a counter into a file, again and again.
#[derive(Clone, Copy, Debug)]
struct Counter {
    flushes: bool,
    replaces: bool,
    flushes_names: bool,
}

impl Counter {
    fn save(self, fs: &dyn Fs, value: u64) -> std::io::Result<()> {
        let new = if self.replaces { "new" } else { "counter" };
        let file = match fs.open(new, Mode::CreateNew) {
            Ok(file) => file,
            Err(_) => fs.open(new, Mode::Write)?,
        };
        write_all_at(&*file, format!("{value:01000}").as_bytes(), 0)?;
        if self.flushes {
            file.sync_data()?;
        }
        if self.replaces {
            fs.rename("new", "counter")?;
        }
        if self.flushes_names {
            fs.sync_dir("")?;
        }
        Ok(())
    }
}

impl Program for Counter {
    type Promise = u64;

    fn promise(&self) -> u64 {
        0
    }

    fn run(&self, world: &World, promise: &Shared<u64>) -> Verdict {
        for value in 1..4 {
            self.save(&*world.fs(), value)?;
            promise.change(|promise| *promise = value);
        }
        Ok(())
    }

    fn recover(&self, world: &World, _: Stop, promise: &Shared<u64>) -> Verdict {
        let found = read_file_if_any(&*world.fs(), "counter", 1 << 20)?;
        let found = String::from_utf8(found.unwrap_or_else(|| b"0".to_vec()))?;
        let found: u64 = found.parse()?;
        if found < promise.get() {
            return Err(format!("{found} after {}", promise.get()).into());
        }
        self.save(&*world.fs(), found + 1)?;
        promise.change(|promise| *promise = found + 1);
        Ok(())
    }
}

const RIGHT: Counter = Counter { flushes: true, replaces: true, flushes_names: true };

#[test]
fn a_right_program_passes_and_the_report_says_what_was_explored() {
    let explorer = Explorer { nested_every: 1, depth: 3, threads: 2, ..Explorer::default() };
    let report = explorer.explore(RIGHT).unwrap();
    assert_eq!(report.calls, 3 * 5, "{report}");
    assert!(report.places > report.calls && report.states > 40, "{report}");
    assert!(report.nested > 10 && report.power_cuts > 20, "{report}");
    let again = explorer.explore(RIGHT).unwrap();
    assert_eq!(again.calls, report.calls);
}

#[test]
fn each_step_left_out_is_a_violation_that_replays() {
    for program in [
        Counter { flushes: false, ..RIGHT },
        Counter { replaces: false, ..RIGHT },
        Counter { flushes_names: false, ..RIGHT },
    ] {
        let violation = Explorer::default().explore(program).unwrap_err();
        assert!(!violation.calls.is_empty(), "{violation}");
        let text = violation.path.to_string();
        let only = Explorer { only: Some(text.parse().unwrap()), ..Explorer::default() };
        let again = only.explore(program).unwrap_err();
        assert_eq!((&again.why, &again.path), (&violation.why, &violation.path));
        let report = only.explore(RIGHT);
        assert!(report.is_ok(), "the right program passes there: {report:?}");
    }
}

#[test]
fn a_lost_name_is_shrunk_to_the_simplest_crash() {
    let program = Counter { flushes_names: false, ..RIGHT };
    let violation = Explorer::default().explore(program).unwrap_err();
    let [crash] = violation.path.0.as_slice() else { panic!("{violation}") };
    assert_eq!(crash.outcome, Outcome::PowerCut(CrashMode::Nothing), "{violation}");
}

#[test]
fn a_panic_is_a_violation() {
    struct Panics;
    impl Program for Panics {
        type Promise = ();
        fn promise(&self) {}
        fn run(&self, world: &World, _: &Shared<()>) -> Verdict {
            world.fs().create_dir("d")?;
            Ok(())
        }
        fn recover(&self, world: &World, _: Stop, _: &Shared<()>) -> Verdict {
            assert!(world.disk().read_now("d/x").is_some(), "no file");
            Ok(())
        }
    }
    let violation = Explorer::default().explore(Panics).unwrap_err();
    assert!(violation.why.contains("no file"), "{violation}");
}

#[test]
fn a_limit_of_states_ends_it() {
    let explorer = Explorer { states_max: 7, ..Explorer::default() };
    assert_eq!(explorer.explore(RIGHT).unwrap().states, 7);
}
