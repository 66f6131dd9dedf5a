//! People's edits of an open store on a real disk (G6): what the system tells is taken in soon, and real
//! editors, each saving in its own way, lose neither their edit nor what a program writes meanwhile.
//!
//! Nothing here measures time: a wait ends when what is awaited is there, and fails after ten seconds, which
//! is less than a scan would take. A tool that is not installed is left out, and that is printed.
//! `WALDEN_EDITORS=1` makes ten times as many rounds.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stderr)]

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use walden::{Options, Store};

const PATIENCE: Duration = Duration::from_secs(10);
const WRITERS: usize = 4;

fn wait_for(what: &str, mut is_there: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_there() {
        assert!(begun.elapsed() < PATIENCE, "after {PATIENCE:?} still not: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

fn open(dir: &Path) -> Store {
    let mirror_interval = Duration::from_millis(20);
    let options = Options { mirror_interval, ..Options::default() };
    Store::builder(dir).options(options).open().unwrap()
}

/// A store with these tasks, whose files are there.
fn store_with(ids: &[&str]) -> (TempDir, Store) {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let store = open(dir.path());
    for id in ids {
        store.save_task_json(&format!(r#"{{"id": "{id}", "note": "none"}}"#)).unwrap();
    }
    store.checkpoint().unwrap();
    (dir, store)
}

fn file_of(dir: &Path, id: &str) -> PathBuf {
    dir.join(format!("tasks/{id}.json"))
}

fn field(store: &Store, id: &str, name: &str) -> Option<serde_json::Value> {
    let text = store.task_json(id)?;
    let mut task: serde_json::Value = serde_json::from_str(&text).unwrap();
    task.get_mut(name).map(serde_json::Value::take)
}

fn wait_for_note(store: &Store, id: &str, note: &str) {
    wait_for(&format!("{note:?} in {id}"), || {
        field(store, id, "note").is_some_and(|found| found == note)
    });
}

#[test]
fn what_people_do_to_the_files_of_an_open_store_is_in_force_soon() {
    let (dir, store) = store_with(&["a", "b", "c"]);
    let dir = dir.path();
    for n in 0..3 {
        let in_place = format!("in place {n}");
        fs::write(file_of(dir, "a"), format!(r#"{{"id": "a", "note": "{in_place}"}}"#)).unwrap();
        let renamed = format!("renamed {n}");
        let other = dir.join("tasks/b.json.tmp");
        fs::write(&other, format!(r#"{{"id": "b", "note": "{renamed}"}}"#)).unwrap();
        fs::rename(&other, file_of(dir, "b")).unwrap();
        let made = format!("new{n}");
        fs::write(file_of(dir, &made), format!(r#"{{"id": "{made}", "note": "new"}}"#)).unwrap();
        wait_for_note(&store, "a", &in_place);
        wait_for_note(&store, "b", &renamed);
        wait_for_note(&store, &made, "new");
    }
    fs::remove_file(file_of(dir, "c")).unwrap();
    wait_for("the deletion of c", || store.task_json("c").is_none());
    store.shutdown().unwrap();
}

#[test]
fn directories_that_are_made_anew_are_watched_again() {
    let (dir, store) = store_with(&["a", "b"]);
    let dir = dir.path();
    for n in 0..3 {
        fs::remove_dir_all(dir.join("tasks")).unwrap();
        if n != 1 {
            fs::create_dir(dir.join("tasks")).unwrap();
        }
        wait_for("the files", || ["a", "b"].iter().all(|id| file_of(dir, id).exists()));
        // A scan may have found that; what follows only a watch finds in time.
        for edit in 0..3 {
            let note = format!("edit {n}.{edit}");
            fs::write(file_of(dir, "a"), format!(r#"{{"id": "a", "note": "{note}"}}"#)).unwrap();
            wait_for_note(&store, "a", &note);
        }
    }
    store.shutdown().unwrap();
}

/// How a tool changes the `note` in a file.
type Edit = fn(file: &Path, note: &str) -> Command;

fn shell(script: &str, file: &Path, note: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-ec", script, "sh"]).arg(file).arg(note);
    command
}

/// Keystrokes for a program that wants a terminal, with pauses at the commas.
fn typed(keys: &str, program: &str, file: &Path) -> Command {
    let parts: Vec<String> =
        keys.split(',').map(|part| format!("printf '{part}'; sleep 0.3;")).collect();
    let script = format!(
        "(sleep 0.5; {}) | timeout 20 script -qec '{program} {}' /dev/null",
        parts.concat(),
        file.display()
    );
    let mut command = Command::new("sh");
    command.args(["-ec", &script]).env("TERM", "xterm");
    command
}

const TOOLS: [(&str, &[&str], Edit); 12] = [
    ("vim", &["vim"], |file, note| {
        // It asks whether to write a file that has changed since it read it, and without an answer does not.
        shell(
            r#"printf 'y\ny\n' | vim -u NONE -es -c "%s/\"note\": \".*\"/\"note\": \"$2\"/" -c 'wq!' "$1""#,
            file,
            note,
        )
    }),
    ("vim that keeps a backup and the file", &["vim"], |file, note| {
        let script = r#"printf 'y\ny\n' | vim -u NONE -es -c 'set backup backupcopy=yes' \
            -c "%s/\"note\": \".*\"/\"note\": \"$2\"/" -c 'wq!' "$1""#;
        shell(script, file, note)
    }),
    ("ex", &["ex"], |file, note| {
        shell(
            r#"printf '%%s/"note": ".*"/"note": "%s"/\nwq!\ny\ny\n' "$2" | ex -u NONE -s "$1""#,
            file,
            note,
        )
    }),
    ("nano", &["nano", "script", "timeout"], |file, note| {
        // Replaces in all of the file, saves under the same name, and says yes if it is asked whether to do
        // so though the file has changed; if it is not, that is one more letter, which is not saved.
        let keys = format!("\\034none\\r{note}\\ra,\\017,\\r,y,\\030,n");
        typed(&keys, "nano", file)
    }),
    ("ed", &["ed"], |file, note| {
        shell(r#"printf ',s/"note": ".*"/"note": "%s"/\nw\nq\n' "$2" | ed -s "$1""#, file, note)
    }),
    ("sed -i", &["sed"], |file, note| {
        shell(r#"sed -i "s/\"note\": \".*\"/\"note\": \"$2\"/" "$1""#, file, note)
    }),
    ("perl -i", &["perl"], |file, note| {
        shell(r#"NOTE=$2 perl -i -pe 's/"note": ".*"/"note": "$ENV{NOTE}"/' "$1""#, file, note)
    }),
    ("jq and mv", &["jq"], |file, note| {
        shell(r#"jq --arg n "$2" '.note = $n' "$1" > "$1.new" && mv "$1.new" "$1""#, file, note)
    }),
    ("jq and cp", &["jq"], |file, note| {
        shell(
            r#"jq --arg n "$2" '.note = $n' "$1" > "$1.new" && cp "$1.new" "$1" && rm "$1.new""#,
            file,
            note,
        )
    }),
    ("python in place", &["python3"], |file, note| {
        let script = "import json, sys
task = json.load(open(sys.argv[1]))
task['note'] = sys.argv[2]
json.dump(task, open(sys.argv[1], 'w'), indent=4)";
        let mut command = Command::new("python3");
        command.args(["-c", script]).arg(file).arg(note);
        command
    }),
    ("python that takes its time", &["python3"], |file, note| {
        let script = "import sys, time
text = open(sys.argv[1]).read().replace('\"none\"', '\"' + sys.argv[2] + '\"')
with open(sys.argv[1], 'r+') as file:
    time.sleep(0.1)
    half = len(text) // 2
    file.write(text[:half])
    file.flush()
    time.sleep(0.1)
    file.write(text[half:])
    file.truncate()";
        let mut command = Command::new("python3");
        command.args(["-c", script]).arg(file).arg(note);
        command
    }),
    ("CRLF and a byte order mark", &["sed", "printf"], |file, note| {
        let script = r#"{ printf '\357\273\277'; sed "s/\"note\": \".*\"/\"note\": \"$2\"/; s/$/\r/" "$1"; } \
            > "$1.new" && mv "$1.new" "$1""#;
        shell(script, file, note)
    }),
];

fn is_installed(program: &str) -> bool {
    let found = Command::new("sh").args(["-c", "command -v \"$1\"", "sh", program]).output();
    found.is_ok_and(|found| found.status.success())
}

/// An editor may refuse to write a file that has changed again while it asked; people try again then.
const TRIES_MAX: usize = 3;

fn run(name: &str, mut command: Command) {
    let mut run_once = || command.stdin(Stdio::null()).output().unwrap();
    let mut output = run_once();
    for _ in 1..TRIES_MAX {
        if !output.status.success() {
            output = run_once();
        }
    }
    assert!(
        output.status.success(),
        "{name}: {}: {}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Counts up one field of each task, a field of this writer's own; gives the last acknowledged counts.
fn write_until(store: &Store, writer: usize, ids: &[String], stop: &AtomicBool) -> Vec<u64> {
    let mut counts = vec![0; ids.len()];
    while !stop.load(Ordering::Relaxed) {
        for (id, count) in ids.iter().zip(&mut counts) {
            *count += 1;
            store.patch_task_json(id, &format!(r#"{{"by{writer}": {count}}}"#)).unwrap();
        }
    }
    counts
}

#[test]
fn real_editors_lose_no_edit_and_no_write_of_a_program_under_load() {
    let rounds = if std::env::var_os("WALDEN_EDITORS").is_some() { 10 } else { 1 };
    let tools: Vec<_> = TOOLS
        .iter()
        .filter(|(name, needs, _)| {
            let missing = needs.iter().find(|program| !is_installed(program));
            if let Some(program) = missing {
                eprintln!("left out: {name}, since {program} is not installed");
            }
            missing.is_none()
        })
        .collect();
    assert!(tools.len() >= 2, "sed and printf are everywhere");
    for round in 0..rounds {
        let ids: Vec<String> = (0..tools.len()).map(|n| format!("task{n}")).collect();
        let (dir, store) = store_with(&ids.iter().map(String::as_str).collect::<Vec<_>>());
        let stop = AtomicBool::new(false);
        let counts = thread::scope(|scope| {
            let writers: Vec<_> = (0..WRITERS)
                .map(|writer| {
                    let (store, ids, stop) = (&store, &ids, &stop);
                    scope.spawn(move || write_until(store, writer, ids, stop))
                })
                .collect();
            let edited = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                for ((name, _, edit), id) in tools.iter().zip(&ids) {
                    let note = format!("{name} {round}");
                    run(name, edit(&file_of(dir.path(), id), &note));
                    wait_for_note(&store, id, &note);
                }
            }));
            stop.store(true, Ordering::Relaxed);
            let counts: Vec<Vec<u64>> =
                writers.into_iter().map(|writer| writer.join().unwrap()).collect();
            if let Err(panic) = edited {
                std::panic::resume_unwind(panic);
            }
            counts
        });
        let check = |store: &Store| {
            for (n, ((name, ..), id)) in tools.iter().zip(&ids).enumerate() {
                assert_eq!(field(store, id, "note").unwrap(), format!("{name} {round}"));
                for (writer, counts) in counts.iter().enumerate() {
                    let found = field(store, id, &format!("by{writer}")).unwrap();
                    assert_eq!(found, counts[n], "{name}: what writer {writer} wrote");
                }
            }
        };
        check(&store);
        store.shutdown().unwrap();
        check(&open(dir.path()));
    }
}

#[test]
fn a_checkout_of_an_earlier_version_brings_it_back() {
    if !is_installed("git") {
        eprintln!("left out: git, since it is not installed");
        return;
    }
    let ids: Vec<String> = (0..50).map(|n| format!("task{n}")).collect();
    let (dir, store) = store_with(&ids.iter().map(String::as_str).collect::<Vec<_>>());
    let git = |arguments: &[&str]| {
        let mut command = Command::new("git");
        command.current_dir(dir.path()).args(["-c", "user.name=a", "-c", "user.email=a@b"]);
        command.args(arguments);
        run("git", command);
    };
    git(&["init", "-q"]);
    git(&["add", "tasks"]);
    git(&["commit", "-qm", "before"]);
    for id in &ids {
        let file = file_of(dir.path(), id);
        let text = fs::read_to_string(&file).unwrap().replace("none", "changed");
        fs::File::create(&file).unwrap().write_all(text.as_bytes()).unwrap();
    }
    for id in &ids {
        wait_for_note(&store, id, "changed");
    }
    git(&["checkout", "-q", "--", "tasks"]);
    for id in &ids {
        wait_for_note(&store, id, "none");
    }
    store.shutdown().unwrap();
}
