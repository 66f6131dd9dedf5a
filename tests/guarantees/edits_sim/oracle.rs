//! What must have become of every write and every edit, told by unique numbers alone. It shares no code
//! with the engine: a document is its fields, each of which holds a number that was never used before, so
//! a number that is nowhere was lost, and one that is somewhere tells by itself whose it is.
//!
//! - W: a number that a program was promised, or that was seen in force after an edit, is in force, or was
//!   overwritten by a program later, or is in `conflicts/`, or a person who had it before their eyes put
//!   another into its field.
//! - E: what a person changed is in force once their file was taken in, or is in `conflicts/`.
//! - D: a document is gone only if a program deleted it or a person removed its file, and after that nothing
//!   was written to it; one that a program deleted is back only by a person's save.
//! - H: a file that is not to be understood stays as it is.
//! - P: of each document no more edits are told than people made.

mod checks;
mod saves;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use walden::fs::sim::SimFs;

use super::person::file_of;
use super::tally::Tally;

/// A document's fields but its id.
pub(super) type Fields = BTreeMap<String, u64>;

/// Fields that a person changed.
pub(super) type Changed = BTreeMap<String, Change>;

/// What a person made of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Set(u64),
    /// Removed, where it had this.
    Removed(Option<u64>),
}

impl Change {
    fn is_of(self, numbers: &BTreeSet<u64>) -> bool {
        matches!(self, Change::Set(value) if numbers.contains(&value))
    }

    /// What was written behind the person's back wins over a removal.
    pub(super) fn is_in_force(self, now: Option<&u64>, is_loose: bool) -> bool {
        match self {
            Change::Set(value) => now == Some(&value),
            Change::Removed(former) => now.is_none() || is_loose || now != former.as_ref(),
        }
    }
}

/// All documents by id.
pub(super) type Found = BTreeMap<String, Fields>;

/// How far a program's change is promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    /// It never came to be.
    Void,
    Submitted,
    /// It survives a kill.
    Acked,
    /// It survives a power cut.
    Durable,
}

/// A number put into a field, or (without a field) a deletion.
#[derive(Clone, Debug)]
struct Claim {
    at: u64,
    /// When whoever made it made it: of an edit that is before `at`, when it was seen in force.
    made: u64,
    id: String,
    field: Option<(String, u64)>,
    stage: Stage,
    is_edit: bool,
}

/// What a person left in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// A document, and what the person changed in it.
    Edit {
        changed: Changed,
    },
    /// Contents that the file had before, or another file of a document: they may bring anything back.
    PutBack,
    /// Not to be understood.
    Broken(Vec<u8>),
    Removed,
}

#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "facts that have nothing to do with each other")]
struct Save {
    at: u64,
    file: String,
    id: String,
    what: What,
    /// When it was seen in force.
    adopted: Option<u64>,
    /// The engine was in the middle of a call.
    in_call: bool,
    /// The store was stopped by a crash since.
    is_crashed: bool,
    /// It was made of contents that nobody needs to know any more, so that more may seem to be changed.
    is_loose: bool,
    /// When that was last in force.
    of: Moment,
    /// An edit of this document was told since.
    is_told: bool,
    /// What the person changed by it, or before it and nobody knows whether that was taken in.
    perhaps: Changed,
}

/// What a person knows of what they save.
#[derive(Clone, Debug, Default)]
pub(super) struct Made {
    /// The fields that they changed.
    pub(super) changed: Changed,
    /// Those that they changed before, and that were never seen in force.
    pub(super) unmet: Changed,
    pub(super) is_loose: bool,
    /// The engine is in the middle of a call.
    pub(super) in_call: bool,
    /// When what it was made of was last in force.
    pub(super) of: Moment,
}

/// How many snapshots there were, and the time in ms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Moment {
    snapshots: u64,
    now_ms: u64,
}

impl Moment {
    /// Whether what was in force last at this moment is out of the engine's reach: older than the previous
    /// snapshot, or than ten minutes.
    fn is_forgotten(self, now: Moment) -> bool {
        now.snapshots - self.snapshots > 1 || now.now_ms - self.now_ms > 590_000
    }
}

#[derive(Clone, Debug, Default)]
pub(super) struct Oracle {
    now: u64,
    token: u64,
    claims: Vec<Claim>,
    saves: Vec<Save>,
    /// What each file was seen to hold, and when first.
    shown: BTreeMap<String, Vec<(u64, Vec<u8>)>>,
    /// How many edits were told of each document.
    told: BTreeMap<String, usize>,
    pub(super) snapshots: u64,
    /// Milliseconds since the beginning.
    pub(super) now_ms: u64,
    pub(super) tally: Tally,
    has_crashed: bool,
    /// What was in force last, and when that was.
    last: Found,
    last_at: Moment,
    /// When other versions of documents were in force last.
    former: BTreeMap<(String, Fields), Moment>,
    /// The numbers that were ever in force.
    met: BTreeSet<u64>,
    /// What happened, to be told with a failure.
    pub(super) trace: Vec<String>,
}

/// Id and fields of a document's text.
pub(super) fn parse(bytes: &[u8]) -> Option<(String, Fields)> {
    let text = std::str::from_utf8(bytes).ok()?;
    let value: Value = serde_json::from_str(text.trim_start_matches('\u{feff}')).ok()?;
    let object = value.as_object()?;
    let id = object.get("id")?.as_str()?.to_owned();
    let fields = object.iter().filter(|(key, _)| *key != "id");
    let fields = fields.map(|(key, value)| Some((key.clone(), value.as_u64()?)));
    Some((id, fields.collect::<Option<Fields>>()?))
}

/// What is in `state.json`, which a shutdown has just saved.
pub(super) fn saved(disk: &SimFs) -> Found {
    let bytes = disk.read_now("state.json").unwrap_or_default();
    let state: Value = serde_json::from_slice(&bytes).expect("a snapshot");
    let documents = ["tasks", "sessions"].map(|of| state[of].as_array().expect("an array"));
    let texts = documents.into_iter().flatten();
    texts.filter_map(|document| parse(document.to_string().as_bytes())).collect()
}

impl Oracle {
    /// A number that was never used before.
    pub(super) fn token(&mut self) -> u64 {
        self.token += 1;
        1000 + self.token
    }

    fn tick(&mut self) -> u64 {
        self.now += 1;
        self.now
    }

    fn trace(&mut self, line: impl FnOnce() -> String) {
        let line = format!("{}: {}", self.now, line());
        self.trace.push(line);
    }

    /// A program is about to put numbers into fields.
    pub(super) fn submit(&mut self, id: &str, fields: &Fields) {
        let at = self.tick();
        self.trace(|| format!("write {id} {fields:?}"));
        for (field, value) in fields {
            let field = Some((field.clone(), *value));
            let stage = Stage::Submitted;
            self.claims.push(Claim { at, made: at, id: id.into(), field, stage, is_edit: false });
        }
    }

    /// A program is about to delete a document.
    pub(super) fn submit_delete(&mut self, id: &str) {
        let (at, stage) = (self.tick(), Stage::Submitted);
        self.trace(|| format!("delete {id}"));
        self.claims.push(Claim { at, made: at, id: id.into(), field: None, stage, is_edit: false });
    }

    /// All that was submitted is acknowledged.
    pub(super) fn ack(&mut self, is_durable: bool) {
        let stage = if is_durable { Stage::Durable } else { Stage::Acked };
        for claim in self.claims.iter_mut().filter(|claim| claim.stage != Stage::Void) {
            claim.stage = claim.stage.max(stage);
        }
    }

    /// Looks at what a file holds.
    pub(super) fn see(&mut self, file: &str, bytes: &[u8]) {
        let at = self.tick();
        let shown = self.shown.entry(file.to_owned()).or_default();
        if shown.iter().all(|(_, known)| known != bytes) {
            shown.push((at, bytes.to_vec()));
            self.trace(|| format!("{file} shows {:?}", parse(bytes).map(|(_, fields)| fields)));
        }
    }

    /// What a file was seen to hold.
    pub(super) fn seen(&self, file: &str) -> impl Iterator<Item = &Vec<u8>> {
        self.shown.get(file).into_iter().flatten().map(|(_, bytes)| bytes)
    }

    /// Whether a file was seen to mean this before.
    fn was(&self, file: &str, bytes: &[u8]) -> bool {
        let now = parse(bytes);
        now.is_some() && self.seen(file).any(|known| parse(known) == now)
    }

    pub(super) fn moment(&self) -> Moment {
        Moment { snapshots: self.snapshots, now_ms: self.now_ms }
    }

    pub(super) fn is_forgotten(&self, of: Moment) -> bool {
        of.is_forgotten(self.moment())
    }

    /// Whether a document is so.
    pub(super) fn is_in_force_as(&self, id: &str, fields: &Fields) -> bool {
        self.last.get(id) == Some(fields)
    }

    /// When a document was so last; now if it never was.
    pub(super) fn last_in_force(&self, id: &str, fields: &Fields) -> Moment {
        let former = self.former.get(&(id.to_owned(), fields.clone()));
        former.filter(|_| !self.is_in_force_as(id, fields)).copied().unwrap_or(self.moment())
    }

    /// Whether there is a document of that id.
    pub(super) fn is_in_force(&self, id: &str) -> bool {
        self.last.contains_key(id)
    }

    /// Whether a document of that id was there before.
    fn is_known(&self, id: &str) -> bool {
        self.last.contains_key(id) || self.shown.contains_key(&file_of(id))
    }

    /// A person leaves something in a file. `changed`: of which fields they know that they changed them.
    pub(super) fn saved(
        &mut self,
        (file, id): (&str, &str),
        bytes: Option<&[u8]>,
        made: &Made,
    ) -> usize {
        let Made { changed, unmet: mut perhaps, is_loose, in_call, of } = made.clone();
        perhaps.extend(changed.clone());
        let what = match bytes {
            None => What::Removed,
            Some(bytes) if parse(bytes).is_none_or(|(inside, _)| inside != id) => {
                What::Broken(bytes.to_vec())
            }
            Some(bytes) if self.was(file, bytes) => What::PutBack,
            // Another file of a document counts only while the engine's is missing.
            Some(_) if file.contains("/my ") && self.is_known(id) => What::PutBack,
            Some(_) => What::Edit { changed },
        };
        self.tally.count(match &what {
            What::Edit { .. } => "edits",
            What::PutBack => "put back",
            What::Broken(_) => "broken",
            What::Removed => "removed",
        });
        if in_call {
            self.tally.count("saves in the middle of a call");
        }
        if let Some(bytes) = bytes {
            self.see(file, bytes);
        }
        let (at, file, id) = (self.tick(), file.to_owned(), id.to_owned());
        let (is_crashed, is_told) = (false, false);
        self.trace(|| format!("save {file} {what:?} of {:?}, {made:?}", bytes.map(parse)));
        self.saves.push(Save {
            at,
            file,
            id,
            what,
            adopted: None,
            in_call,
            is_crashed,
            is_loose,
            of,
            is_told,
            perhaps,
        });
        self.saves.len() - 1
    }

    /// The machine stopped, and this was found: what was not promised may be gone.
    pub(super) fn crashed(&mut self, power_cut: bool, found: &Found, kept: &BTreeSet<u64>) {
        let promised = if power_cut { Stage::Durable } else { Stage::Acked };
        let pending = self.unadopted().filter(|save| save.what != What::Removed);
        let pending: BTreeSet<String> = pending.map(|save| save.id.clone()).collect();
        for claim in &mut self.claims {
            if claim.stage >= promised || claim.stage == Stage::Void {
                continue;
            }
            let fields = found.get(&claim.id);
            let (is_there, may_be) = match &claim.field {
                Some((field, value)) => {
                    let there = fields.is_some_and(|fields| fields.get(field) == Some(value));
                    (there, kept.contains(value))
                }
                None => (fields.is_none(), pending.contains(&claim.id)),
            };
            claim.stage = match (is_there, may_be) {
                (true, _) => Stage::Durable,
                (false, true) => Stage::Submitted,
                (false, false) => Stage::Void,
            };
        }
    }

    /// Before that is found: edits that were not taken in may look as if the engine had left them so.
    pub(super) fn stopped(&mut self) {
        self.has_crashed = true;
        // One may have been made that nobody was told of.
        self.snapshots += 1;
        for save in &mut self.saves {
            save.is_crashed = true;
        }
    }

    fn unadopted(&self) -> impl Iterator<Item = &Save> {
        self.saves.iter().filter(|save| save.adopted.is_none())
    }

    /// Numbers of edits that were in force: what becomes of them is W's business.
    fn claimed(&self) -> BTreeSet<u64> {
        let edits = self.claims.iter().filter(|claim| claim.is_edit);
        edits.filter_map(|claim| claim.field.as_ref()).map(|(_, value)| *value).collect()
    }

    /// Notes which edits are in force.
    fn adopt(&mut self, found: &Found) {
        let (now, moment) = (self.tick(), self.moment());
        for save in self.saves.iter_mut().filter(|save| save.adopted.is_none()) {
            // What it was made of is out of reach by now.
            save.is_loose |= save.of.is_forgotten(moment);
        }
        let claimed = self.claimed();
        let mut claims = Vec::new();
        for save in self.saves.iter_mut().filter(|save| save.adopted.is_none()) {
            let What::Edit { changed } = &save.what else { continue };
            let Some(fields) = found.get(&save.id) else { continue };
            let is_loose = save.is_loose || save.is_crashed;
            let is_in_force = |(field, change): (&String, &Change)| {
                change.is_in_force(fields.get(field), is_loose) || change.is_of(&claimed)
            };
            let tells = |(field, change): (&String, &Change)| {
                let is_new = matches!(change, Change::Set(_)) && !change.is_of(&claimed);
                is_new || !fields.contains_key(field)
            };
            if changed.iter().all(is_in_force) && changed.iter().any(tells) {
                save.adopted = Some(now);
                self.trace.push(format!("{now}: in force: save {} of {}", save.at, save.file));
                for (field, value) in changed {
                    let Change::Set(value) = value else { continue };
                    claims.push(Claim {
                        at: now,
                        made: save.at,
                        id: save.id.clone(),
                        field: Some((field.clone(), *value)),
                        stage: Stage::Durable,
                        is_edit: true,
                    });
                }
            }
        }
        if !claims.is_empty() {
            self.tally.count("edits in force");
            // What is before them in the log is as durable as they.
            self.ack(true);
        }
        self.claims.extend(claims);
    }
}
