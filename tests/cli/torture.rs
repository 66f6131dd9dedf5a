//! `torture`: it kills and checks, it tells what was done, it removes what it made, and it touches no
//! other directory.

use serde_json::Value;

use crate::support::{Place, ended};

#[test]
fn a_store_that_is_killed_again_and_again_breaks_no_promise_and_leaves_nothing_behind() {
    let place = Place::new();
    let mut command = place.command();
    command.args(["torture", "--kill", "20", "--threads", "4", "--seed", "3", "--format", "json"]);
    let told: Value = serde_json::from_str(&ended(&command.output().unwrap()).ok()).unwrap();
    assert_eq!((&told["ok"], &told["violations"]), (&true.into(), &Value::Array(Vec::new())));
    let count = |key: &str| told[key].as_u64().unwrap();
    assert!(count("kills") >= 20, "{told}");
    assert_eq!(
        count("in_opening") + count("in_work") + count("in_shutdown"),
        count("kills"),
        "{told}"
    );
    for key in ["in_work", "openings_checked", "acknowledged_checked", "json_files_parsed"] {
        assert!(count(key) > 0, "{key}: {told}");
    }
    assert_eq!((count("seed"), count("threads")), (3, 4));
    assert!(!told["disk"].as_str().unwrap().is_empty());
    assert!(!place.path("walden-torture").exists());
}

#[test]
fn a_process_that_acknowledges_what_it_did_not_write_is_found_out() {
    let place = Place::new();
    let mut command = place.command();
    command.env("WALDEN_TORTURE_LIAR", "acknowledgements");
    command.args(["torture", "--kill", "200", "--seed", "3", "--format", "json"]);
    let told = ended(&command.output().unwrap());
    assert_eq!(told.code, 5, "{told:?}");
    let report: Value = serde_json::from_str(&told.out).unwrap();
    assert_eq!(report["ok"], false);
    assert!(report["violations"].to_string().contains("acknowledged"), "{report}");
    assert!(told.err.contains("of seed 3") && told.err.contains("is kept"), "{told:?}");
    assert!(place.path("walden-torture").read_dir().unwrap().count() > 1, "it is kept");
}

#[test]
fn a_run_in_which_nothing_happens_fails() {
    let place = Place::new();
    let told = ended(
        &place.command().args(["torture", "--kill", "50", "--seconds", "0"]).output().unwrap(),
    );
    assert_eq!(told.code, 1, "{told:?}");
    assert!(told.err.contains("too little happened"), "{told:?}");
}

#[test]
fn torture_refuses_what_it_did_not_make_and_what_it_was_not_told() {
    let place = Place::new();
    let run = |args: &[&str]| ended(&place.command().args(args).output().unwrap());
    assert_eq!(run(&["torture"]).code, 2);
    assert_eq!(run(&["torture", "--kill", "0"]).code, 2);
    assert_eq!(run(&["--dir", "state", "torture", "--kill", "1"]).code, 2);
    std::fs::create_dir(place.path("walden-torture")).unwrap();
    place.write("walden-torture/mine", "mine");
    let refused = run(&["torture", "--kill", "1"]);
    assert_eq!(refused.code, 4, "{refused:?}");
    assert_eq!(std::fs::read(place.path("walden-torture/mine")).unwrap(), b"mine");
    assert!(!place.path("state").exists());
}

#[test]
fn lives_on_simulated_disks_are_explored_and_one_crash_can_be_replayed() {
    let place = Place::new();
    let run = |args: &[&str]| {
        let all = [&["torture", "--sim", "--format", "json"], args].concat();
        ended(&place.command().args(all).output().unwrap())
    };
    let told: Value = serde_json::from_str(&run(&["--seconds", "1", "--seed", "3"]).ok()).unwrap();
    assert_eq!((&told["ok"], &told["violation"]), (&true.into(), &Value::Null));
    let count = |key: &str| told[key].as_u64().unwrap();
    for key in ["lives", "calls", "places", "power_cuts", "nested", "distinct_disks"] {
        assert!(count(key) > 0, "{key}: {told}");
    }
    assert!(count("states") > 100 && count("distinct_disks") <= count("states"), "{told}");
    let replayed = run(&["--seed", "3", "--crash", "20:r7/3:kill"]);
    assert_eq!(replayed.ok(), "{\"ok\":true}\n");
    let none = run(&["--seed", "3", "--crash", "999999:kill"]);
    assert!(none.code == 2 && none.err.contains("no such crash"), "{none:?}");
    let wrong = run(&["--crash", "x"]);
    assert!(wrong.code == 1 && wrong.err.contains("417:r93"), "{wrong:?}");
    assert_eq!(run(&["--kill", "1"]).code, 2, "one way at a time");
    assert!(place.path("walden-torture").metadata().is_err(), "no directory is touched");
}
