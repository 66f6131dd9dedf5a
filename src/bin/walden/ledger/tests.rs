//! What the ledger accepts after a disk forgot: the loss of buffered writes from the end of the order,
//! and no other.

use serde_json::{Value, json};

use super::*;

/// Two agents: `a` writes at 1 (flushed), 3 and 5 (buffered), `b` at 2 (flushed) and 4 (buffered); `a` has
/// a sixth in flight.
fn ledger() -> Ledger {
    let mut ledger = Ledger::default();
    let save = |id: &str, mark: u64| json!([{"op": "save_task", "task": {"id": id, "mark": mark}}]);
    for (agent, id, word, lsn) in [
        (0, "a", "ack", 1),
        (1, "b", "ack", 2),
        (0, "a", "buf", 3),
        (1, "b", "buf", 4),
        (0, "a", "buf", 5),
    ] {
        assert_eq!(ledger.hear(&format!("try {agent} {}", save(id, lsn))), Ok(true));
        assert_eq!(ledger.hear(&format!("{word} {agent} {lsn}")), Ok(true));
    }
    assert_eq!(ledger.hear(&format!("try 0 {}", save("a", 6))), Ok(true));
    assert_eq!(ledger.hear("closing"), Ok(false));
    ledger
}

/// With 0 there is none.
fn found(a: u64, b: u64) -> Found {
    let task = |id: &str, mark: u64| (id.to_owned(), json!({"id": id, "mark": mark}));
    [task("a", a), task("b", b)].into_iter().filter(|(_, task)| task["mark"] != 0).collect()
}

/// How many were lost, or what is wrong.
fn settle(ledger: &mut Ledger, a: u64, b: u64) -> Result<u64, usize> {
    let settled = ledger.settle_after_loss(&found(a, b), Lsn(6)).unwrap();
    let problems = settled.checked.problems.len();
    assert_eq!(settled.acknowledged, 5);
    if problems == 0 { Ok(settled.lost) } else { Err(problems) }
}

#[test]
fn only_buffered_writes_may_be_lost_and_only_from_the_end_of_the_order() {
    let outcomes = [
        ((6, 4), Ok(0)),
        ((5, 4), Ok(0)),
        ((3, 4), Ok(1)),
        ((3, 2), Ok(2)),
        ((1, 2), Ok(3)),
        // The fourth is there without the third, the fifth without the fourth, the sixth too.
        ((1, 4), Err(1)),
        ((5, 2), Err(1)),
        ((6, 2), Err(1)),
        // The second was flushed.
        ((5, 0), Err(1)),
        ((1, 0), Err(1)),
        ((0, 0), Err(2)),
    ];
    for ((a, b), outcome) in outcomes {
        assert_eq!(settle(&mut ledger(), a, b), outcome, "a at {a}, b at {b}");
    }
}

#[test]
fn what_a_shutdown_made_durable_may_not_be_lost() {
    let mut ledger = ledger();
    ledger.all_is_durable();
    assert_eq!(settle(&mut ledger, 3, 4), Err(1));
}

#[test]
fn after_a_loss_what_was_lost_never_was_and_what_was_found_must_stay() {
    let mut ledger = ledger();
    assert_eq!(settle(&mut ledger, 3, 2), Ok(2));
    let again = |ledger: &mut Ledger, a, b| {
        let settled = ledger.settle_after_loss(&found(a, b), Lsn(6)).unwrap();
        settled.checked.problems.is_empty()
    };
    assert!(again(&mut ledger.clone(), 3, 2));
    for (a, b) in [(5, 4), (3, 4), (1, 2)] {
        assert!(!again(&mut ledger.clone(), a, b), "a at {a}, b at {b}");
    }
}

#[test]
fn a_kill_loses_nothing_that_was_acknowledged_buffered_or_not() {
    let problems = |a, b| {
        let settled = ledger().settle_after_kill(&found(a, b), Lsn(6)).unwrap();
        settled.checked.problems.len()
    };
    assert_eq!([problems(5, 4), problems(6, 4)], [0, 0]);
    assert_eq!([problems(3, 4), problems(5, 2), problems(1, 2)], [1, 1, 2]);
}

#[test]
fn outputs_and_sessions_are_folded_as_they_were_written() {
    let mut ledger = Ledger::default();
    let steps = [
        json!([{"op": "save_output", "name": "logs/x", "text": "one\n"}]),
        json!([{"op": "append_output", "name": "logs/x", "text": "two\n"}]),
        json!([{"op": "save_session", "session": {"id": "s"}},
               {"op": "patch_session", "id": "s", "patch": {"n": {"m": 1}}}]),
        json!([{"op": "patch_session", "id": "s", "patch": {"n": {"m": null, "o": 2}}}]),
        json!([{"op": "save_session", "session": {"id": "t"}}]),
        json!([{"op": "delete_session", "id": "t"}]),
    ];
    for (lsn, step) in (1..).zip(steps) {
        ledger.announce(1, &step.to_string()).unwrap();
        ledger.acknowledge(1, Lsn(lsn)).unwrap();
    }
    ledger.fold().unwrap();
    let states: Vec<Option<Value>> = ledger.known.into_values().map(|known| known.task).collect();
    let session = json!({"id": "s", "n": {"o": 2}});
    assert_eq!(states, [Some(json!("one\ntwo\n")), Some(session), None]);
}
