//! Lets threads loose on a store and writes down what each did.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use serde_json::Value;
use walden::{Builder, Durability, Error, Lsn, Options, Store, Tx, View};

use crate::THREADS;
use crate::history::{Change, Changes, Content, Found, History, Operation, What};

/// Few enough that operations meet, many enough that a view has much to mix up.
const DOCUMENTS: usize = 12;

/// Numbers, of which one seed gives always the same.
pub(crate) struct Draw(pub(crate) u64);

impl Draw {
    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % end
    }
}

/// One thread's view of the store and of time.
struct Client {
    store: Store,
    clock: Arc<AtomicU64>,
    draw: Draw,
    operations: Vec<Operation>,
}

/// Opens a store, lets [`THREADS`] threads do `operations` operations in all, closes it, and looks once
/// more after opening it again.
pub(crate) fn record(builder: &impl Fn() -> Builder, operations: usize) -> History {
    // Checkpoints and passes of the mirror are to be under way all the time.
    let options = Options {
        checkpoint_interval: Duration::from_millis(50),
        mirror_interval: Duration::from_millis(20),
        ..Options::default()
    };
    let open = || builder().options(options.clone()).open().unwrap();
    let store = open();
    let clock = Arc::new(AtomicU64::new(1));
    let threads: Vec<_> = (0..THREADS)
        .map(|seed| {
            let (store, clock, draw) = (store.clone(), clock.clone(), Draw(seed));
            let mut client = Client { store, clock, draw, operations: Vec::new() };
            let share = operations / usize::try_from(THREADS).unwrap();
            thread::spawn(move || {
                (0..share).for_each(|_| client.act());
                client.operations
            })
        })
        .collect();
    let mut all: Vec<Operation> =
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
    store.shutdown().unwrap();
    drop(store);
    let mut last = Client { store: open(), clock, draw: Draw(0), operations: Vec::new() };
    last.note(|client| view_of(&client.store.view(), false));
    all.append(&mut last.operations);
    History { documents: DOCUMENTS, operations: all }
}

impl Client {
    /// Notes an operation with the instants before and behind it.
    fn note(&mut self, act: impl FnOnce(&mut Client) -> What) {
        let called = self.clock.fetch_add(1, SeqCst);
        let what = act(self);
        let answered = self.clock.fetch_add(1, SeqCst);
        self.operations.push(Operation { called, answered, what });
    }

    fn act(&mut self) {
        let document = self.draw.below(DOCUMENTS);
        match self.draw.below(100) {
            0..46 => self.note(|client| {
                let found = client.store.task_json(&id(document)).map(|text| content(&text));
                What::Get { document, found }
            }),
            46..54 => self.note(|client| view_of(&client.store.view(), true)),
            54..56 => self.note(|client| listed(&client.store)),
            56..90 => {
                let change = self.change();
                self.note(|client| client.write(vec![(document, change)]));
            }
            _ => {
                let changes = (0..self.draw.below(3) + 2)
                    .map(|_| (self.draw.below(DOCUMENTS), self.change()))
                    .collect();
                self.note(|client| client.write(changes));
            }
        }
    }

    fn change(&mut self) -> Change {
        let number = self.clock.fetch_add(1, SeqCst);
        match self.draw.below(20) {
            0..9 => Change::Save(number),
            9..14 => Change::Patch(number),
            14..18 => Change::Append(number),
            _ => Change::Delete,
        }
    }

    fn write(&mut self, changes: Changes) -> What {
        let how = self.draw.below(4);
        let outcome = match (how, changes.as_slice()) {
            (0, [(document, change)]) if *change != Change::Delete => {
                self.call(&id(*document), *change)
            }
            _ => {
                let durability = [Durability::Sync, Durability::Buffered][how % 2];
                let submitted = self.store.submit(durability, |tx| {
                    changes.iter().try_for_each(|(document, change)| put(tx, *document, *change))
                });
                submitted.and_then(walden::Commit::wait)
            }
        };
        match outcome {
            Ok(Lsn(lsn)) => What::Write { changes, lsn },
            Err(Error::NotFound { .. }) => What::Refused { changes },
            Err(error) => panic!("{error}"),
        }
    }

    fn call(&self, id: &str, change: Change) -> walden::Result<Lsn> {
        let text = text_of(id, change);
        match change {
            Change::Save(_) => self.store.save_task_json(&text),
            Change::Patch(_) => self.store.patch_task_json(id, &text),
            Change::Append(_) => self.store.append_task_log_json(id, &text),
            Change::Delete => unreachable!("its call tells no LSN"),
        }
    }
}

fn put(tx: &mut Tx<'_>, document: usize, change: Change) -> walden::Result<()> {
    let id = id(document);
    let text = text_of(&id, change);
    match change {
        Change::Save(_) => tx.save_task_json(&text),
        Change::Patch(_) => tx.patch_task_json(&id, &text),
        Change::Append(_) => tx.append_task_log_json(&id, &text),
        Change::Delete => tx.delete_task(&id),
    }
}

fn id(document: usize) -> String {
    format!("d{document}")
}

fn text_of(id: &str, change: Change) -> String {
    match change {
        Change::Save(number) => format!(r#"{{"id": "{id}", "save": {number}}}"#),
        Change::Patch(number) => format!(r#"{{"patch": {number}}}"#),
        Change::Append(number) => format!(r#"{{"message": "something", "number": {number}}}"#),
        Change::Delete => String::new(),
    }
}

fn content(text: &str) -> Content {
    let value: Value = serde_json::from_str(text).unwrap();
    let number = |name: &str| value.get(name).and_then(Value::as_u64).unwrap_or(0);
    let logs = value.get("logs").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let logs = logs.iter().map(|entry| entry["number"].as_u64().unwrap()).collect();
    Content { save: number("save"), patch: number("patch"), logs }
}

fn view_of(view: &View, with_lsn: bool) -> What {
    let found = (0..DOCUMENTS).map(|document| view.task_json(&id(document)));
    let found: Vec<Found> = found.map(|text| text.map(|text| content(&text))).collect();
    assert_eq!(found.iter().flatten().count(), view.len(walden::Collection::Task));
    What::View { lsn: with_lsn.then_some(view.lsn().0), found }
}

fn listed(store: &Store) -> What {
    let mut found: Vec<Found> = vec![None; DOCUMENTS];
    for task in store.load_tasks().unwrap() {
        let document: usize = task.id[1..].parse().unwrap();
        found[document] = Some(content(&serde_json::to_string(&task).unwrap()));
    }
    What::View { lsn: None, found }
}
