//! `replay`: what is applied, in which order, and what is said about it.

use serde_json::Value;

use crate::support::{Place, json_lines};

const TRACE: &str = concat!(
    "{\"op\":\"save_task\",\"task\":{\"id\":\"a\", \"n\":1.00}}\n",
    "\n",
    "{\"op\":\"append_task_log\",\"id\":\"a\",\"entry\":{\"message\":\"m\"}}\n",
    "{\"op\":\"patch_task\",\"id\":\"a\",\"patch\":{\"status\":\"completed\"}}\n",
    "{\"op\":\"save_task\",\"task\":{\"id\":\"b\"}}\n",
    "{\"op\":\"delete_task\",\"id\":\"b\"}\n",
    "{\"op\":\"save_session\",\"session\":{\"id\":\"s\"}}\n",
);
const A: &str =
    "{\"id\":\"a\",\"n\":1.00,\"logs\":[{\"message\":\"m\"}],\"status\":\"completed\"}\n";

#[test]
fn a_trace_is_applied_and_every_operation_acknowledged_by_line_and_lsn() {
    let place = Place::new();
    place.write("t.jsonl", TRACE);
    let expected: Vec<_> = [1, 3, 4, 5, 6, 7]
        .iter()
        .zip(1..)
        .map(|(line, lsn)| format!("{{\"line\":{line},\"lsn\":{lsn}}}\n"))
        .collect();
    assert_eq!(place.ok("replay t.jsonl --acks"), expected.concat());
    assert_eq!(place.ok("list --format json"), A);
    assert_eq!(place.ok("list --session --format json"), "{\"id\":\"s\"}\n");
}

#[test]
fn without_acks_one_line_tells_what_was_done() {
    let place = Place::new();
    place.write("t.jsonl", TRACE);
    assert!(place.ok("replay t.jsonl").starts_with("applied 6 operations up to LSN 6 in "));
    let other: Value =
        serde_json::from_str(&place.ok("--dir other replay t.jsonl --format json")).unwrap();
    assert_eq!((other["applied"].as_u64(), other["last_lsn"].as_u64()), (Some(6), Some(6)));
}

#[test]
fn onto_existing_state_it_applies_again_and_says_so() {
    let place = Place::new();
    place.write("t.jsonl", TRACE);
    place.ok("replay t.jsonl");
    let again = place.run("replay t.jsonl --acks");
    assert_eq!(again.code, 0);
    assert_eq!(json_lines(&again.out).len(), 6);
    assert!(again.err.starts_with("note: state holds 1 tasks and 1 sessions already"), "{again:?}");
    assert_eq!(place.ok("list --format json"), A);
}

#[test]
fn threads_keep_the_order_within_each_task() {
    let place = Place::new();
    let mut trace = Vec::new();
    for step in 0..30 {
        for task in 0..20 {
            trace.push(match step {
                0 => format!("{{\"op\":\"save_task\",\"task\":{{\"id\":\"t{task}\"}}}}\n"),
                _ => format!(
                    "{{\"op\":\"append_task_log\",\"id\":\"t{task}\",\"entry\":{{\"step\":{step}}}}}\n"
                ),
            });
        }
    }
    place.write("t.jsonl", trace.concat());
    let acks = json_lines(&place.ok("replay t.jsonl --threads 8 --acks"));
    let mut lines: Vec<_> = acks.iter().map(|ack| ack["line"].as_u64().unwrap()).collect();
    lines.sort_unstable();
    assert_eq!(lines, (1..=600).collect::<Vec<_>>(), "each line exactly once");
    let mut lsns: Vec<_> = acks.iter().map(|ack| ack["lsn"].as_u64().unwrap()).collect();
    lsns.sort_unstable();
    lsns.dedup();
    // The engine may log what it does to files in between.
    assert!(lsns.len() == 600 && lsns[0] == 1, "each has an LSN of its own: {lsns:?}");
    for task in place.tasks() {
        let steps: Vec<_> =
            task["logs"].as_array().unwrap().iter().map(|log| &log["step"]).collect();
        assert_eq!(steps, (1..30).collect::<Vec<_>>(), "{}", task["id"]);
    }
}

#[test]
fn a_bad_line_is_named_before_anything_is_applied() {
    let place = Place::new();
    place.write("t.jsonl", format!("{TRACE}{{\"op\":\"save_task\",\"task\":{{}}}}\n"));
    let err = place.run("replay t.jsonl --acks").failed(1);
    let why = "it has no member \"id\", which must be a string";
    assert_eq!(err, format!("error: t.jsonl, line 8, column 26: {why}\n"));
    assert!(!place.path("state").exists());
}

#[test]
fn an_operation_that_cannot_be_applied_is_named_and_none_after_it_is_applied() {
    let place = Place::new();
    place.write(
        "t.jsonl",
        "{\"op\":\"save_task\",\"task\":{\"id\":\"a\"}}\n\
         {\"op\":\"patch_task\",\"id\":\"x\",\"patch\":{}}\n\
         {\"op\":\"save_task\",\"task\":{\"id\":\"b\"}}\n",
    );
    let ran = place.run("replay t.jsonl --acks");
    assert_eq!(ran.code, 3, "{ran:?}");
    assert_eq!(ran.err, "error: t.jsonl, line 2: task x does not exist\n");
    assert_eq!(ran.out, "{\"line\":1,\"lsn\":1}\n");
    assert_eq!(place.ok("list --format json"), "{\"id\":\"a\"}\n");
}
