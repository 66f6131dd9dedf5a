//! Session logs and reports beside others (G6, G9, G11): people who rotate, cut, continue and edit
//! them, planted files, many threads, and the log's limits.

use std::sync::Arc;

use serde_json::json;
use walden::fs::Kind;
use walden::fs::sim::{CrashMode, SimFs};
use walden::{Error, Options, ProblemKind, Store};

use crate::support::{PATIENCE, at, builder, files, open, small, within};
use crate::watched::Watched;

pub(crate) const A: &str = "logs/session_a.log";
pub(crate) const R: &str = "reports/report_r.json";

pub(crate) fn text(disk: &SimFs, file: &str) -> String {
    String::from_utf8(disk.read_now(file).unwrap_or_else(|| panic!("no {file}"))).unwrap()
}

fn in_conflicts(disk: &SimFs) -> Vec<String> {
    let all = files(disk).into_iter().filter(|(name, _)| name.starts_with("conflicts/"));
    all.map(|(_, bytes)| String::from_utf8(bytes.unwrap()).unwrap()).collect()
}

/// What a power cut at once, and one after a checkpoint, leave of a file.
fn survives(disk: &SimFs, store: &Store, file: &str, wanted: &str) {
    for _ in 0..2 {
        for mode in [CrashMode::Nothing, CrashMode::Everything, CrashMode::Random(3)] {
            let left = disk.if_crashed(&mode);
            open(&left, 50).unwrap();
            assert_eq!(text(&left, file), wanted, "{mode:?}");
        }
        store.checkpoint().unwrap();
    }
}

#[test]
fn outputs_have_the_files_and_contents_that_people_look_for() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    store.append_session_log("a", "one\n").unwrap();
    store.append_session_log("a", b"two\n").unwrap();
    store.save_session_log("b.1", "whole").unwrap();
    let path = store.save_report("r", &json!({"files": [1, 2]})).unwrap();
    let read = |path: &std::path::Path| std::fs::read_to_string(path).unwrap();
    assert_eq!(path, dir.path().join(R));
    assert_eq!(read(&path), "{\n  \"files\": [\n    1,\n    2\n  ]\n}\n");
    store.save_report_json("r", "{\"n\": 1.00}").unwrap();
    assert_eq!(read(&path), "{\n  \"n\": 1.00\n}\n");
    assert_eq!(read(&dir.path().join(A)), "one\ntwo\n");
    assert_eq!(read(&dir.path().join("logs/session_b.1.log")), "whole");
    std::fs::write(dir.path().join("logs/session_old_1700000000000.log"), "").unwrap();
    std::fs::write(dir.path().join("reports/report_old_1700000000000.json"), "{}").unwrap();
    let status = store.status().unwrap();
    assert_eq!((status.session_logs, status.reports), (3, 2));
    store.shutdown().unwrap();
    let status = walden::status(dir.path()).unwrap();
    assert_eq!((status.session_logs, status.reports), (3, 2));
    assert!(walden::verify(dir.path()).unwrap().ok);
}

#[test]
fn ids_of_any_kind_stay_inside_and_apart_also_over_openings() {
    let ids = ["a", "A", "../../a", "con", "ä/b", "a.", "x".repeat(200).leak()];
    let disk = SimFs::new();
    for round in 0..2_u64 {
        let store = open(&disk, round + 1).unwrap();
        for id in ids {
            store.append_session_log(id, format!("{id} {round}\n")).unwrap();
            store.save_report(id, &json!({"id": id, "round": round})).unwrap();
        }
        store.shutdown().unwrap();
    }
    let logs: Vec<String> =
        disk.names().into_iter().filter(|name| name.starts_with("logs/")).collect();
    assert_eq!(logs.len(), ids.len(), "{logs:?}");
    for id in ids {
        let wanted = format!("{id} 0\n{id} 1\n");
        assert!(logs.iter().any(|file| text(&disk, file) == wanted), "{id}");
    }
    let store = open(&disk, 9).unwrap();
    assert!(matches!(store.append_session_log("", "x"), Err(Error::Invalid { .. })));
    assert!(matches!(store.save_report_json("r", "[1]"), Err(Error::Invalid { .. })));
    assert!(matches!(store.save_report_json("r", "{\"a\":1,\"a\":2}"), Err(Error::Invalid { .. })));
}

#[test]
fn after_a_rotation_the_log_begins_anew_and_loses_nothing_of_either() {
    let disk = SimFs::new();
    let store = open(&disk, 1).unwrap();
    store.append_session_log("a", "before\n").unwrap();
    // As `mv` does it: nothing of it is durable yet.
    walden::fs::Fs::rename(&disk, A, "logs/session_a.log.1").unwrap();
    store.append_session_log("a", "after\n").unwrap();
    for mode in [CrashMode::Nothing, CrashMode::Everything, CrashMode::Random(5)] {
        let left = disk.if_crashed(&mode);
        open(&left, 50).unwrap();
        assert_eq!(text(&left, "logs/session_a.log.1"), "before\n", "{mode:?}");
        assert_eq!(text(&left, A), "after\n", "{mode:?}");
        assert_eq!(in_conflicts(&left), [""; 0]);
    }
    survives(&disk, &store, A, "after\n");
}

#[test]
fn what_somebody_appended_or_cut_is_where_the_log_goes_on() {
    let disk = SimFs::new();
    let store = open(&disk, 1).unwrap();
    store.append_session_log("a", "one\n").unwrap();
    let file = walden::fs::Fs::open(&disk, A, walden::fs::Mode::Write).unwrap();
    file.write_at(b"theirs\n", 4).unwrap();
    store.append_session_log("a", "two\n").unwrap();
    survives(&disk, &store, A, "one\ntheirs\ntwo\n");
    // Nothing of the engine's is to be flushed now, but of theirs.
    let file = walden::fs::Fs::open(&disk, A, walden::fs::Mode::Write).unwrap();
    file.write_at(b"more\n", 15).unwrap();
    store.append_session_log("a", "three\n").unwrap();
    survives(&disk, &store, A, "one\ntheirs\ntwo\nmore\nthree\n");
    disk.write_now(A, b"cut\n").unwrap();
    store.append_session_log("a", "three\n").unwrap();
    survives(&disk, &store, A, "cut\nthree\n");
    store.append_session_log("a", "four\n").unwrap();
    survives(&disk, &store, A, "cut\nthree\nfour\n");
    disk.remove_now(A).unwrap();
    store.append_session_log("a", "five\n").unwrap();
    survives(&disk, &store, A, "five\n");
    assert_eq!(in_conflicts(&disk), [""; 0]);
}

#[test]
fn what_somebody_appends_while_a_record_is_logged_is_not_overwritten() {
    let disk = SimFs::new();
    let (watched, switch) = Watched::while_on(&disk, |disk, call| {
        if call == 1 {
            let text = [disk.read_now(A).unwrap(), b"theirs\n".to_vec()].concat();
            disk.write_now(A, &text).unwrap();
        }
    });
    let store = builder(Arc::new(watched), Arc::default(), 1).options(small()).open().unwrap();
    store.append_session_log("a", "one\n").unwrap();
    switch.set(true);
    store.append_session_log("a", "two\n").unwrap();
    switch.set(false);
    survives(&disk, &store, A, "one\ntheirs\ntwo\n");
}

#[test]
fn an_edit_before_a_crash_is_left_and_reported_and_the_engines_version_kept() {
    let disk = SimFs::new();
    let store = open(&disk, 1).unwrap();
    store.append_session_log("a", "one\n").unwrap();
    store.save_report("r", &json!({"n": 1})).unwrap();
    let left = disk.kill();
    drop(store);
    left.save_now(A, b"edited\n").unwrap();
    left.write_now(R, b"{\"mine\": 1}").unwrap();
    for opening in 0..2 {
        let store = open(&left, 60 + opening).unwrap();
        let edited: Vec<_> = store
            .recovery()
            .problems
            .iter()
            .filter(|problem| problem.kind == ProblemKind::Edited)
            .map(|problem| problem.file.clone())
            .collect();
        let told: &[&str] = if opening == 0 { &[A, R] } else { &[] };
        assert_eq!(edited, told, "opening {opening}");
        assert_eq!(text(&left, A), "edited\n");
        assert_eq!(text(&left, R), "{\"mine\": 1}");
        assert_eq!(in_conflicts(&left), ["{\n  \"n\": 1\n}\n", "one\n"]);
        store.append_session_log("a", "two\n").unwrap();
        left.write_now(A, b"edited\n").unwrap();
        store.shutdown().unwrap();
    }
}

#[test]
fn what_people_do_to_outputs_after_a_clean_stop_is_theirs() {
    let disk = SimFs::new();
    let store = open(&disk, 1).unwrap();
    store.append_session_log("a", "one\n").unwrap();
    store.save_report("r", &json!({"n": 1})).unwrap();
    store.shutdown().unwrap();
    disk.remove_now(A).unwrap();
    disk.write_now(R, b"{}").unwrap();
    let store = open(&disk, 2).unwrap();
    assert!(disk.read_now(A).is_none());
    assert_eq!(text(&disk, R), "{}");
    assert_eq!(store.recovery().problems, []);
}

#[test]
fn an_edit_of_a_file_that_the_engine_knows_is_kept_when_it_is_replaced() {
    let disk = SimFs::new();
    let store = open(&disk, 1).unwrap();
    store.save_report("r", &json!({"n": 1})).unwrap();
    disk.save_now(R, b"{\"mine\": 1}").unwrap();
    store.save_report("r", &json!({"n": 2})).unwrap();
    assert_eq!(text(&disk, R), "{\n  \"n\": 2\n}\n");
    assert_eq!(in_conflicts(&disk), ["{\"mine\": 1}"]);
}

#[test]
fn a_planted_link_or_directory_is_a_typed_error_and_nothing_else_is_touched() {
    for kind in [Kind::Other, Kind::Directory] {
        let disk = SimFs::new();
        let store = open(&disk, 1).unwrap();
        store.save_task_json("{\"id\": \"t\"}").unwrap();
        disk.write_now("logs/session_b.log", b"").unwrap();
        disk.write_now("reports/report_b.json", b"").unwrap();
        disk.plant_now(A, kind).unwrap();
        disk.plant_now(R, kind).unwrap();
        let before = disk.names();
        let refused = [
            store.append_session_log("a", "x").map(drop),
            store.save_session_log("a", "x").map(drop),
            store.save_report("r", &json!({})).map(drop),
        ];
        for error in refused.map(|refused| refused.unwrap_err()) {
            assert!(matches!(error, Error::Conflict { .. }), "{error:?}");
        }
        assert_eq!(disk.names(), before);
        store.shutdown().unwrap();
    }
    let (dir, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    std::fs::write(outside.path().join("secret"), "secret").unwrap();
    let store = Store::open(dir.path()).unwrap();
    std::os::unix::fs::symlink(outside.path(), dir.path().join("logs")).unwrap();
    std::fs::create_dir(dir.path().join("reports")).unwrap();
    std::os::unix::fs::symlink(outside.path().join("secret"), dir.path().join(R)).unwrap();
    assert!(store.append_session_log("a", "x").is_err());
    assert!(store.save_report("r", &json!({})).is_err());
    assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 1);
    assert_eq!(std::fs::read(outside.path().join("secret")).unwrap(), b"secret");
}

#[test]
fn a_link_planted_before_a_recovery_is_left_and_the_contents_kept() {
    let disk = SimFs::new();
    let store = open(&disk, 1).unwrap();
    store.append_session_log("a", "one\n").unwrap();
    store.save_report("r", &json!({"n": 1})).unwrap();
    let left = disk.kill();
    drop(store);
    for file in [A, R] {
        left.remove_now(file).unwrap();
        left.plant_now(file, Kind::Other).unwrap();
    }
    let store = open(&left, 2).unwrap();
    assert!(left.read_now(A).is_none() && left.read_now(R).is_none());
    assert_eq!(in_conflicts(&left), ["{\n  \"n\": 1\n}\n", "one\n"]);
    assert_eq!(store.recovery().problems.len(), 2);
}

#[test]
fn many_threads_append_each_line_once_and_each_in_its_order() {
    within(PATIENCE, || {
        const THREADS: usize = 8;
        const LINES: usize = 60;
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                let store = &store;
                scope.spawn(move || {
                    for line in 0..LINES {
                        store.append_session_log("shared", format!("{thread} {line}\n")).unwrap();
                        store
                            .append_session_log(&format!("own{thread}"), format!("{line}\n"))
                            .unwrap();
                    }
                });
            }
            scope.spawn(|| {
                for _ in 0..10 {
                    store.checkpoint().unwrap();
                }
            });
        });
        let read = |id: &str| {
            std::fs::read_to_string(dir.path().join(format!("logs/session_{id}.log"))).unwrap()
        };
        let shared = read("shared");
        for thread in 0..THREADS {
            let prefix = format!("{thread} ");
            let own: Vec<&str> =
                shared.lines().filter_map(|line| line.strip_prefix(&prefix)).collect();
            let wanted: Vec<String> = (0..LINES).map(|line| line.to_string()).collect();
            assert_eq!(own, wanted);
            assert_eq!(read(&format!("own{thread}")).lines().collect::<Vec<_>>(), wanted);
        }
        assert_eq!(shared.lines().count(), THREADS * LINES);
        let stats = store.commit_stats();
        assert!(stats.groups < stats.records, "sessions share group commits: {stats:?}");
    });
}

#[test]
fn outputs_alone_do_not_let_the_log_grow_without_end() {
    let disk = SimFs::new();
    let options = Options { checkpoint_log_bytes: 200 << 10, ..small() };
    let store = at(&disk, 1).options(options).open().unwrap();
    let mut largest = 0;
    for _ in 0..300 {
        store.append_session_log("a", "z".repeat(10_000)).unwrap();
        store.step();
        largest = largest.max(store.status().unwrap().wal_bytes);
    }
    assert!(largest < 2 << 20, "{largest} bytes of log for 3 MB of outputs");
    let left = disk.if_crashed(CrashMode::Nothing);
    open(&left, 90).unwrap();
    assert_eq!(left.read_now(A).unwrap().len(), 3_000_000);
}

#[test]
fn an_output_larger_than_a_transaction_may_be_is_refused_without_a_trace() {
    let disk = SimFs::new();
    let options = Options { transaction_bytes_max: 1000, ..small() };
    let store = at(&disk, 1).options(options).open().unwrap();
    let before = disk.names();
    for length in [990, 1000, 5000] {
        let large = "x".repeat(length);
        assert!(matches!(store.append_session_log("a", &large), Err(Error::Invalid { .. })));
        assert!(matches!(store.save_session_log("a", &large), Err(Error::Invalid { .. })));
        assert_eq!(disk.names(), before);
    }
    store.append_session_log("a", "x".repeat(900)).unwrap();
}

#[test]
fn many_sessions_at_once_keep_few_files_open_and_lose_nothing() {
    let disk = SimFs::new();
    let store = open(&disk, 1).unwrap();
    for round in 0..2 {
        for session in 0..400 {
            store.append_session_log(&format!("s{session}"), format!("{round}\n")).unwrap();
        }
        let left = disk.if_crashed(CrashMode::Nothing);
        open(&left, 90).unwrap();
        for session in 0..400 {
            let wanted = if round == 0 { "0\n" } else { "0\n1\n" };
            assert_eq!(text(&left, &format!("logs/session_s{session}.log")), wanted);
        }
        store.checkpoint().unwrap();
    }
}
