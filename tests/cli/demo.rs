//! `demo`: it passes, it leaves the directory for the reader, and it touches no other.

use serde_json::Value;

use crate::support::{Place, ended};

#[test]
fn the_demonstration_checks_every_write_after_every_kill_and_shows_that_it_can_fail() {
    let place = Place::new();
    let mut command = place.command();
    command.args(["demo", "--seconds", "2", "--agents", "8", "--format", "json"]);
    for _ in 0..2 {
        let told: Value = serde_json::from_str(&ended(&command.output().unwrap()).ok()).unwrap();
        assert_eq!(told["ok"], true, "{told}");
        let kills = told["kills"].as_array().unwrap();
        assert_eq!(kills.len(), 3);
        for kill in kills {
            assert_eq!(kill["problems"].as_array().unwrap().len(), 0);
            assert!(kill["writes_checked"].as_u64().unwrap() > 20, "{kill}");
            assert!(kill["in_flight"].as_u64().unwrap() > 0, "killed in full flight: {kill}");
        }
        assert_eq!(told["tampering"]["noticed"], true);
        assert_eq!(told["tampering"]["problems"].as_array().unwrap().len(), 1);
    }
    assert_eq!(place.ok("--dir walden-demo/store verify"), "ok\n");
    assert!(place.ok("--dir walden-demo/store list").contains("agent-0"));
}

#[test]
fn the_demonstration_refuses_a_directory_that_it_did_not_make() {
    let place = Place::new();
    std::fs::create_dir_all(place.path("walden-demo/store")).unwrap();
    place.write("walden-demo/store/mine.txt", "mine");
    let ran = ended(&place.command().args(["demo", "--seconds", "1"]).output().unwrap());
    assert!(ran.failed(4).starts_with("error: walden-demo: it exists and was not made by"));
    assert!(place.path("walden-demo/store/mine.txt").exists());
}
