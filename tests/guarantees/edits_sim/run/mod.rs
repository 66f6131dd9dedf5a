//! A run: a program that writes, people who edit, time that passes, machines that stop, all drawn from a
//! seed, one step after the other; each step has a seed of its own, so that others can be left out.
//!
//! In the middle of a call of the engine's a person may act before any of its calls to the disk.

mod stops;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use walden::fs::Fs;
use walden::fs::sim::{CallKind, Fault, Plan, SimFs};
use walden::state::Collection;
use walden::testing::{Shared, SteppedClock, Watched, builder, mix};
use walden::{Durability, Event, Store};

use super::oracle::{Fields, Found, Oracle, parse};
use super::person::{IDS, Person, Random, all_files, see_all};

/// Longer rests are in parts.
const REST_MS_MAX: u64 = 31_000;

type Verdict = Result<(), String>;

/// When somebody acts in the middle of a call, and what draws what they do.
type Armed = Arc<Mutex<Option<(u64, u64)>>>;

/// A store and those who are at it.
pub(super) struct Run {
    disk: SimFs,
    clock: Arc<SteppedClock>,
    pub(super) oracle: Shared<Oracle>,
    person: Arc<Mutex<Person>>,
    armed: Armed,
    /// What a listener found wrong.
    wrong: Arc<Mutex<Option<String>>>,
    store: Option<Store>,
    openings: u64,
    /// The numbers in files of `conflicts/`, by file.
    kept: BTreeMap<String, BTreeSet<u64>>,
}

impl Run {
    pub(super) fn new(seed: u64) -> Run {
        Run {
            disk: SimFs::new(),
            clock: Arc::default(),
            oracle: Shared::new(Oracle::default()),
            person: Arc::default(),
            armed: Arc::default(),
            wrong: Arc::default(),
            store: None,
            openings: seed << 16,
            kept: BTreeMap::new(),
        }
    }

    /// Opens an empty store, and fills it.
    pub(super) fn begin(&mut self) -> Verdict {
        self.disk.set_traced(false);
        self.open().map_err(|error| error.to_string())?;
        for id in &IDS[..3] {
            self.write(id, true, Durability::Sync, &mut Random::new(1))?;
        }
        self.rest(1100);
        self.observe()
    }

    fn open(&mut self) -> walden::Result<()> {
        self.openings += 1;
        let (armed, person, oracle) =
            (self.armed.clone(), self.person.clone(), self.oracle.clone());
        let watched = Watched::at_all(&self.disk, move |disk| {
            let mut armed = armed.lock();
            match armed.as_mut() {
                Some((0, seed)) => {
                    let mut random = Random::new(*seed);
                    *armed = None;
                    person.lock().act(&mut random, disk, &oracle, true);
                }
                Some((calls, _)) => *calls -= 1,
                None => {}
            }
        });
        let (oracle, wrong, disk) = (self.oracle.clone(), self.wrong.clone(), self.disk.clone());
        let listen = move |event: &Event| {
            let told = oracle.change(|oracle| match event {
                Event::Edited { id, is_deletion, .. } => {
                    if *is_deletion {
                        oracle.tally.count("deletions taken in");
                    }
                    oracle.told(id.as_str())
                }
                Event::Conflict { kept, .. } => {
                    oracle.tally.count(if kept.is_some() { "conflicts" } else { "revivals" });
                    Ok(())
                }
                Event::Found(problem) => {
                    oracle.trace.push(format!("found {problem}"));
                    Ok(())
                }
                Event::StateSaved { .. } => {
                    oracle.snapshots += 1;
                    Ok(())
                }
                Event::SaveError { error } if !disk.has_stopped() && disk.faults_fired() == 0 => {
                    Err(error.to_string())
                }
                _ => Ok(()),
            });
            if let Err(why) = told {
                wrong.lock().get_or_insert(why);
            }
        };
        let fs: Arc<dyn Fs> = Arc::new(watched);
        let opening = builder(fs, self.clock.clone(), mix(self.openings)).on_event(listen);
        self.store = Some(opening.open()?);
        Ok(())
    }

    fn store(&self) -> &Store {
        self.store.as_ref().expect("an open store")
    }

    /// Does what a seed draws.
    pub(super) fn step(&mut self, seed: u64) -> Verdict {
        let mut random = Random::new(seed);
        let mode = random.next();
        if random.once_in(3) {
            *self.armed.lock() = Some((random.next() % 60, random.next()));
        }
        if random.once_in(12) {
            self.disk.fail_at(1 + random.next() % 80, Fault::Crash);
        }
        let outcome = self.draw(&mut random, mode);
        *self.armed.lock() = None;
        if self.disk.has_stopped() {
            self.crash(&mut random, mode)?;
        } else {
            self.disk.clear_faults();
            outcome?;
        }
        self.observe()
    }

    fn draw(&mut self, random: &mut Random, mode: u64) -> Verdict {
        let durability = if random.once_in(4) { Durability::Buffered } else { Durability::Sync };
        match random.below(100) {
            0..=21 => {
                let id = *random.pick(&IDS);
                let is_whole = random.once_in(5);
                self.write(id, is_whole, durability, random)
            }
            22..=24 => {
                let id = *random.pick(&IDS);
                self.delete(id)
            }
            25..=30 => {
                self.tally("checkpoints");
                let fails = random.once_in(4);
                if fails {
                    self.failing_reads(random);
                }
                let done = self.store().checkpoint();
                if fails && done.is_err() {
                    self.disk.clear_faults();
                    // It may have saved the state before it failed, and tells nobody.
                    self.oracle.change(|oracle| oracle.snapshots += 1);
                    return self.store().reopen().map_err(|error| format!("reopening: {error}"));
                }
                self.oracle.change(|oracle| {
                    if done.is_ok() {
                        oracle.ack(true);
                    }
                });
                done.map(drop).map_err(|error| format!("checkpoint: {error}"))
            }
            31..=48 => {
                let ms = *random.pick(&[60, 1100, 1100, 1100, 31_000, 31_000, 700_000]);
                self.tally("rests");
                if random.once_in(3) {
                    self.failing_reads(random);
                }
                self.rest(ms);
                Ok(())
            }
            49..=51 => self.restart(random, mode),
            // The machine stops at whatever is called next.
            52 | 53 => {
                self.disk.fail_at(1, Fault::Crash);
                self.rest(31_000);
                Ok(())
            }
            54 => self.calm(),
            _ => {
                self.armed.lock().take();
                self.person.lock().act(random, &self.disk, &self.oracle, false);
                Ok(())
            }
        }
    }

    /// Reads that fail for a while: nothing is lost by it, and nothing taken for an edit.
    fn failing_reads(&self, random: &mut Random) {
        let kind = *random.pick(&[CallKind::Read, CallKind::Open, CallKind::Stat, CallKind::List]);
        let (nth, times) = (1 + random.next() % 40, 1 + random.next() % 4);
        self.disk.fail(Plan::new(Fault::Errno(5)).kind(kind).nth(nth).times(times));
        self.tally("failing reads");
    }

    fn tally(&self, what: &'static str) {
        self.oracle.change(|oracle| oracle.trace.push(what.to_owned()));
        self.oracle.change(|oracle| oracle.tally.count(what));
    }

    fn write(
        &mut self,
        id: &str,
        is_whole: bool,
        durability: Durability,
        random: &mut Random,
    ) -> Verdict {
        let is_session = id.starts_with('s');
        let is_there = if is_session {
            self.store().session_json(id).is_some()
        } else {
            self.store().task_json(id).is_some()
        };
        let is_whole = is_whole || !is_there;
        let fields = self.oracle.change(|oracle| {
            oracle.tally.count("writes");
            let fields = if is_whole {
                Random::fields(oracle)
            } else {
                Fields::from([(random.field(), oracle.token())])
            };
            oracle.submit(id, &fields);
            fields
        });
        let members: Vec<String> =
            fields.iter().map(|(field, value)| format!("{field:?}: {value}")).collect();
        let members = members.join(", ");
        let commit = self.store().submit(durability, |tx| match (is_whole, is_session) {
            (true, true) => tx.save_session_json(&format!("{{\"id\": {id:?}, {members}}}")),
            (true, false) => tx.save_task_json(&format!("{{\"id\": {id:?}, {members}}}")),
            (false, true) => tx.patch_session_json(id, &format!("{{{members}}}")),
            (false, false) => tx.patch_task_json(id, &format!("{{{members}}}")),
        });
        let done = commit.and_then(walden::Commit::wait);
        self.acked(done.map(drop), durability == Durability::Sync)
    }

    fn acked(&self, done: walden::Result<()>, is_durable: bool) -> Verdict {
        done.map_err(|error| format!("a write: {error}"))?;
        self.oracle.change(|oracle| oracle.ack(is_durable));
        Ok(())
    }

    fn delete(&mut self, id: &str) -> Verdict {
        self.oracle.change(|oracle| {
            oracle.tally.count("deletes");
            oracle.submit_delete(id);
        });
        let done = if id.starts_with('s') {
            self.store().delete_session(id)
        } else {
            self.store().delete_task(id)
        };
        self.acked(done.map(drop), true)
    }

    /// Lets time pass, in which whatever is due is done.
    fn rest(&mut self, ms: u64) {
        let mut left = ms;
        while left > 0 && !self.disk.has_stopped() {
            let ms = left.min(REST_MS_MAX);
            left -= ms;
            self.clock.advance(Duration::from_millis(ms));
            self.oracle.change(|oracle| oracle.now_ms += ms);
            self.store().step();
        }
    }

    /// Lets everything be found, and looks whether all is as it should.
    pub(super) fn calm(&mut self) -> Verdict {
        self.armed.lock().take();
        self.disk.clear_faults();
        self.tally("times of rest");
        for ms in [31_000, 2000, 2000, 2000] {
            self.rest(ms);
            self.look()?;
        }
        for _ in 0..2 {
            self.store().checkpoint().map_err(|error| format!("checkpoint: {error}"))?;
            self.rest(2000);
        }
        self.oracle.change(|oracle| oracle.ack(true));
        self.look()?;
        let (found, kept) = (self.found(), self.kept());
        self.oracle.change(|oracle| {
            let now = oracle.now();
            oracle.check_edits(&found, &kept, now)
        })?;
        let files = all_files(&self.disk);
        self.oracle.look(|oracle| oracle.check_mirror(&found, &files))
    }

    fn found(&self) -> Found {
        let view = self.store().view();
        let mut found = Found::new();
        for collection in Collection::ALL {
            for (id, doc) in view.docs(collection) {
                let (_, fields) = parse(doc.text().as_bytes()).expect("a document of numbers");
                found.insert(id.to_string(), fields);
            }
        }
        found
    }

    /// The numbers in `conflicts/`, and in files that count no more since their document has another.
    fn kept(&mut self) -> BTreeSet<u64> {
        for name in self.disk.names() {
            let is_spare = name.contains("/my ");
            if is_spare || name.starts_with("conflicts/") && !self.kept.contains_key(&name) {
                let bytes = self.disk.read_now(&name).unwrap_or_default();
                let text = String::from_utf8_lossy(&bytes).into_owned();
                let numbers = text.split(|c: char| !c.is_ascii_digit());
                self.kept.insert(name, numbers.filter_map(|number| number.parse().ok()).collect());
            }
        }
        self.kept.retain(|name, _| self.disk.read_now(name).is_some());
        self.kept.values().flatten().copied().collect()
    }

    /// Checks what holds at every instant.
    fn look(&mut self) -> Verdict {
        if let Some(why) = self.wrong.lock().take() {
            return Err(why);
        }
        let (found, kept) = (self.found(), self.kept());
        let disk = &self.disk;
        let holds = |place: &str, bytes: &[u8]| {
            if !place.ends_with('/') {
                return disk.read_now(place).as_deref() == Some(bytes);
            }
            let names = disk.names().into_iter();
            let mut names = names.filter(|name| name.starts_with(place));
            names.any(|name| disk.read_now(&name).as_deref() == Some(bytes))
        };
        self.oracle.change(|oracle| {
            see_all(disk, oracle);
            oracle.check(&found, &kept)?;
            oracle.check_held(holds)
        })
    }

    fn observe(&mut self) -> Verdict {
        self.look()?;
        self.oracle.look(|oracle| self.person.lock().look(&self.disk, oracle));
        Ok(())
    }
}
