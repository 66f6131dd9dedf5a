//! The same with many threads that wait while a call of the log fails: everybody gets an answer, and
//! nobody is told that a write is done that a power cut then takes.

use std::sync::Arc;
use std::thread;

use walden::fs::sim::{CrashMode, SimFs};
use walden::{Error, Result, Store};

use super::faulty::{Class, Faulty, Ill};
use super::type_of;
use crate::support::{PATIENCE, documents, open, small, within};

const THREADS: usize = 8;
const WRITES: usize = 12;
/// Where threads hardly run beside one another, groups are few and large: then one goes on until the fault
/// has struck, but no longer than this.
const MORE_WRITES_MAX: usize = 300;
/// So often at most everything is done again, if too few stores were poisoned.
const ROUNDS_MAX: usize = 3;

const CLASSES: [Class; 7] = [
    Class { target: "log segment", verb: "write" },
    Class { target: "log segment", verb: "flush" },
    Class { target: "prepared segment", verb: "create" },
    Class { target: "prepared segment", verb: "write" },
    Class { target: "prepared segment", verb: "flush" },
    Class { target: "prepared segment", verb: "rename" },
    Class { target: "`wal/`", verb: "flush" },
];

#[derive(Debug, Default)]
struct Met {
    fired: u64,
    refused: u64,
    poisoned: u64,
}

impl Met {
    fn is_enough(&self) -> bool {
        self.fired > 60 && self.refused > 200 && self.poisoned > 15
    }
}

fn all_storms(met: &mut Met) {
    for class in CLASSES {
        for ill in Ill::ALL.into_iter().filter(|ill| ill.suits(class)) {
            for nth in [1, 4] {
                storm(class, nth, ill, met);
            }
        }
    }
}

fn write(store: &Store, thread: usize, count: usize) -> (String, Result<()>) {
    let id = format!("{thread}-{count}");
    let text = "walden ".repeat(20 * (count % 3) + 1);
    let saved = store.save_task_json(&format!(r#"{{"id": "{id}", "description": "{text}"}}"#));
    (id, saved.map(drop))
}

fn writes(store: &Store, thread: usize) -> Vec<(String, Result<()>)> {
    (0..WRITES).map(|count| write(store, thread, count)).collect()
}

/// Many threads write while a fault strikes; then the power goes.
fn storm(class: Class, nth: u64, ill: Ill, met: &mut Met) {
    let what = format!("{} {}, call {nth}: {ill:?}", class.verb, class.target);
    let disk = SimFs::new();
    let faulty = Faulty::new(&disk);
    let builder = Store::builder("sim").options(small());
    let store = builder.fs(Arc::new(faulty.clone())).open().unwrap();
    faulty.arm(Some((class, nth, ill)));
    let threads: Vec<_> = (0..THREADS)
        .map(|number| {
            let store = store.clone();
            thread::spawn(move || writes(&store, number))
        })
        .collect();
    let mut answers: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    let more = (0..MORE_WRITES_MAX)
        .map_while(|count| (!faulty.has_struck()).then(|| write(&store, THREADS, count)));
    answers.push(more.collect());
    let left = disk.if_crashed(CrashMode::Nothing);
    met.fired += faulty.disarm().0;
    let mut acknowledged = Vec::new();
    for (id, answer) in answers.iter().flatten() {
        match answer {
            Ok(()) => acknowledged.push(("tasks", id.clone())),
            Err(error) => {
                type_of(error);
                met.refused += 1;
            }
        }
    }
    for of_one in &answers {
        let mut after = of_one.iter().skip_while(|(_, answer)| !is_poisoned(answer));
        assert!(after.all(|(_, answer)| is_poisoned(answer)), "{what}: accepted after a failure");
    }
    let found = documents(&open(&left, 9).unwrap().view());
    let lost: Vec<_> = acknowledged.iter().filter(|id| !found.contains_key(id)).collect();
    assert!(lost.is_empty(), "{what}: acknowledged and lost: {lost:?}");
    if let Err(error) = store.save_task_json(r#"{"id": "after"}"#) {
        assert!(matches!(error, Error::Poisoned { .. }), "{what}: {error}");
        met.poisoned += 1;
        store.reopen().unwrap_or_else(|error| panic!("{what}: {error}"));
        store.save_task_json(r#"{"id": "after"}"#).unwrap();
    }
    let found = documents(&store.view());
    assert!(
        acknowledged.iter().all(|id| found.contains_key(id)),
        "{what}: gone when it was healed"
    );
    store.shutdown().unwrap();
}

fn is_poisoned(answer: &Result<()>) -> bool {
    matches!(answer, Err(Error::Poisoned { .. }))
}

#[test]
fn everybody_who_waits_while_the_log_fails_is_answered_and_none_with_a_write_that_is_lost() {
    let met = within(PATIENCE, || {
        let mut met = Met::default();
        // Whether the nth call is one of a commit, which poisons, or one of a preparation is up to the threads.
        for _ in 0..ROUNDS_MAX {
            all_storms(&mut met);
            if met.is_enough() {
                break;
            }
        }
        met
    });
    println!("{met:?}");
    assert!(met.is_enough(), "{met:?}");
}
