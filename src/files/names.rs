//! Every file name of the store's directory, built *and* parsed here (the log's own segments are
//! `wal`'s).
//!
//! No id, whatever it contains, may lead out of its directory, hide a file (leading dot), collide
//! with another id on any system, or be taken for an editor's file. A document's name is a function
//! of the *set* of ids of its collection, never of their history: two ids that are equal but for
//! case both get the encoded form, in whichever order they came.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{Hash, Hasher};

use crate::base::{ContentHash, DocumentId, Timestamp};

mod outputs;
#[cfg(test)]
mod tests;

pub use outputs::{OutputKind, OutputNames, is_output, output_part, parse_output_part};

/// The snapshot.
pub const STATE: &str = "state.json";
/// The byte-exact copy made before an earlier format is migrated.
pub const PRE_MIGRATION_BACKUP: &str = "state.pre-migration.backup.json";
/// What a migration did.
pub const MIGRATION_LOG: &str = "state.migration-v1-to-v2.log";
/// Who owns the store.
pub const OWNER: &str = ".walden";

/// Outputs of sessions.
pub const LOGS: &str = "logs";
/// Reports.
pub const REPORTS: &str = "reports";
/// Finished tasks that were archived.
pub const ARCHIVE: &str = "archive";
/// The losing sides of edits; the engine never deletes here.
pub const CONFLICTS: &str = "conflicts";
/// Damaged files, set aside; the engine never deletes here.
pub const QUARANTINE: &str = "quarantine";
/// The log, and every temporary file.
pub const WAL: &str = "wal";

/// A snapshot or backup being written: always the engine's own, and worth nothing.
pub const STATE_PART: &str = "wal/state.part";
/// A whole, durable snapshot about to be exchanged with `state.json`, or what came out of that.
pub const STATE_SWAP: &str = "wal/state.swap";
/// `.walden` being written.
pub const OWNER_PART: &str = "wal/owner.part";
/// A mirror file being written: always the engine's own.
pub const MIRROR_PART: &str = "wal/mirror.part";

/// The state being saved to a directory that is no store's; `token` is nobody else's.
pub fn dump_part(token: u64) -> String {
    format!("state.dump.{token:016x}.part")
}

/// Where each document lies in `state.json`, and what the engine knows of the mirror's files.
pub const STATE_INDEX: &str = "wal/state.index";
/// The same being written: always the engine's own.
pub const INDEX_PART: &str = "wal/index.part";

/// A copy of a person's file being made for `conflicts/`: always the engine's own.
pub const CONFLICT_PART: &str = "wal/conflict.part";

const PLAIN_BYTES_MAX: usize = 180;
const PREFIX_BYTES_MAX: usize = 60;
const HASH_DIGITS: usize = 20;
/// The start of the year 2261. A clock beyond it is held there, so that there is always room to
/// raise a backup's time above the newest.
const BACKUP_TIME_MAX: i64 = 9_183_110_400_000_000_000;

/// The file name of a backup made at `time`: it sorts by name in the order of time.
///
/// ```
/// use walden::{Timestamp, files::names};
/// let time = Timestamp::parse("2026-01-02T03:04:05.123456789Z").unwrap();
/// let name = names::backup(time);
/// assert_eq!(name, "state.backup.20260102T030405.123456789Z.json");
/// assert_eq!(names::parse_backup(&name), Some(time));
/// ```
pub fn backup(time: Timestamp) -> String {
    let text: String = time.to_string().chars().filter(|c| !matches!(c, '-' | ':' | 'Z')).collect();
    let (seconds, fraction) = text.split_once('.').unwrap_or((&text, ""));
    format!("state.backup.{seconds}.{fraction:0<9}Z.json")
}

/// When the backup of this name was made; `None` if it is no backup's name. The earlier format's
/// names (milliseconds since the Unix epoch) are read too.
pub fn parse_backup(name: &str) -> Option<Timestamp> {
    let stem = name.strip_prefix("state.backup.")?.strip_suffix(".json")?;
    if !stem.is_empty() && stem.bytes().all(|byte| byte.is_ascii_digit()) {
        let nanos = stem.parse::<i64>().ok()?.checked_mul(1_000_000)?;
        return Some(Timestamp(nanos));
    }
    let part = |from, to| stem.get(from..to);
    let (date, time) = (part(0, 8)?, part(9, 15)?);
    let text = format!(
        "{}-{}-{}T{}:{}:{}{}",
        date.get(..4)?,
        date.get(4..6)?,
        date.get(6..)?,
        time.get(..2)?,
        time.get(2..4)?,
        time.get(4..)?,
        stem.get(15..)?
    );
    Timestamp::parse(&text).filter(|time| backup(*time) == name)
}

/// The time by which a new backup is named: `now`, or one nanosecond above the newest one where the
/// clock went back, so that names never collide and sort in the order in which they were made.
pub fn backup_time(now: Timestamp, newest: Option<Timestamp>) -> Timestamp {
    let now = now.0.min(BACKUP_TIME_MAX);
    Timestamp(newest.map_or(now, |newest| now.max(newest.0.saturating_add(1))))
}

/// Where what came out of an exchange with the mirror file `file` (`tasks/a.json`) is held.
pub fn swap(file: &str) -> String {
    format!("{WAL}/swap.{}", file.replacen('/', ".", 1))
}

/// The mirror file (`tasks/a.json`) of a name in `wal/` that [`swap`] made.
pub fn parse_swap(name: &str) -> Option<String> {
    let (dir, file) = name.strip_prefix("swap.")?.split_once('.')?;
    matches!(dir, "tasks" | "sessions").then(|| format!("{dir}/{file}"))
}

/// Whether a name in `wal/` is one of the engine's temporary files.
pub fn is_engine_temporary(name: &str) -> bool {
    let path = format!("{WAL}/{name}");
    let fixed = [STATE_PART, STATE_SWAP, OWNER_PART, MIRROR_PART, CONFLICT_PART, INDEX_PART];
    fixed.contains(&path.as_str())
        || parse_swap(name).is_some()
        || parse_output_part(name).is_some()
}

/// Where a person's version of `file` with these contents is kept: equal contents get equal names.
/// `attempt` tells names apart where other contents were put under the first one, 0.
pub fn conflict(file: &str, hash: ContentHash, attempt: u32) -> String {
    kept(CONFLICTS, file, hash, attempt)
}

/// Where a damaged `file` with these contents is set aside, named as [`conflict`] does.
pub fn quarantine(file: &str, hash: ContentHash, attempt: u32) -> String {
    kept(QUARANTINE, file, hash, attempt)
}

fn kept(dir: &str, file: &str, hash: ContentHash, attempt: u32) -> String {
    let name = file.rsplit('/').next().unwrap_or(file);
    let stem = name.strip_suffix(".json").unwrap_or(name);
    let end = (0..=PLAIN_BYTES_MAX.min(stem.len())).rev().find(|at| stem.is_char_boundary(*at));
    let stem = end.and_then(|end| stem.get(..end)).unwrap_or_default();
    match attempt {
        0 => format!("{dir}/{stem}~{hash}.json"),
        _ => format!("{dir}/{stem}~{hash}.{attempt}.json"),
    }
}

const RESOLVED: &str = ".resolved";

/// What a file in `conflicts/` is called once somebody has decided about it. `attempt` as for
/// [`conflict`].
pub fn resolved(name: &str, attempt: u32) -> String {
    match attempt {
        0 => format!("{name}{RESOLVED}"),
        _ => format!("{name}.{attempt}{RESOLVED}"),
    }
}

/// Whether [`resolved`] made a name.
pub fn is_resolved(name: &str) -> bool {
    name.ends_with(RESOLVED)
}

/// The file name that [`conflict`] made a name of, but for its end if it was cut: `a.json` of
/// `a~<hash>.json`.
pub fn conflict_of(name: &str) -> Option<String> {
    let (stem, rest) = name.rsplit_once('~')?;
    let (hash, end) = rest.split_at_checked(32)?;
    let is_ours =
        end.strip_suffix(".json").is_some() && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_ours.then(|| format!("{stem}.json"))
}

/// The file names that `id` can have, whatever other ids there are. No other id can have them.
pub fn forms(id: &DocumentId) -> Vec<String> {
    let plain = is_plain(id.as_str()).then(|| format!("{id}.json"));
    plain.into_iter().chain([format!("{}.json", encoded(id.as_str()))]).collect()
}

/// Whether `name` is of a shape that the engine gives to document files. Which document it is of,
/// only the names of all documents tell.
pub fn is_document_file(name: &str) -> bool {
    let Some(stem) = name.strip_suffix(".json") else { return false };
    let encoded = stem.rsplit_once('~').is_some_and(|(prefix, digits)| {
        prefix.bytes().all(is_plain_byte)
            && digits.len() == HASH_DIGITS
            && digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    });
    encoded || is_plain(stem)
}

/// Whether a file is one that editors leave beside what they edit: backup, swap or temporary file.
/// No document's file looks like that.
pub fn is_editor_file(name: &str) -> bool {
    const SUFFIXES: [&str; 10] = [
        "~",
        "#",
        ".bak",
        ".tmp",
        ".temp",
        ".swp",
        ".swo",
        ".orig",
        "___jb_tmp___",
        "___jb_old___",
    ];
    // `4913` and the numbers that follow are how vim tries whether it can write in a directory.
    let is_number = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit());
    is_number
        || name.starts_with(['.', '#', '~'])
        || SUFFIXES.iter().any(|suffix| name.ends_with(suffix))
}

/// The file names of one collection's documents.
///
/// ```
/// use walden::{DocumentId, files::names::Names};
/// let mut names = Names::default();
/// let [lower, upper] = ["task", "Task"].map(|id| DocumentId::new(id).unwrap());
/// assert!(names.insert(&lower).is_empty());
/// assert_eq!(names.file_name(&lower), "task.json");
/// assert_eq!(names.insert(&upper), vec![lower.clone()], "they differ in case only");
/// assert!(names.file_name(&lower).starts_with("task~"));
/// ```
#[derive(Clone, Debug, Default)]
pub struct Names {
    /// Of the plain ids that are equal but for case, one is the key and the others the value, which
    /// is nearly always empty and then takes no memory.
    groups: HashMap<Folded, Vec<DocumentId>>,
}

impl Names {
    /// Adds ids, some `count` of them, and gives all those whose files do not bear the id itself as a name.
    pub fn insert_all<'a>(
        &mut self,
        count: usize,
        ids: impl Iterator<Item = &'a DocumentId>,
    ) -> Vec<DocumentId> {
        self.groups.reserve(count);
        let mut encoded = Vec::new();
        for id in ids {
            if is_plain(id.as_str()) {
                self.insert_plain(id);
            } else {
                encoded.push(id.clone());
            }
        }
        for (Folded(first), twins) in self.groups.iter().filter(|(_, twins)| !twins.is_empty()) {
            encoded.extend(std::iter::once(first).chain(twins).cloned());
        }
        encoded
    }

    /// The id whose file bears this name, and the id itself as that name.
    pub fn of_plain(&self, name: &str) -> Option<&DocumentId> {
        let stem = name.strip_suffix(".json")?;
        let id = DocumentId::new(stem).ok()?;
        let (Folded(first), twins) = self.groups.get_key_value(&Folded(id))?;
        (first.as_str() == stem && twins.is_empty()).then_some(first)
    }

    /// Adds an id, and says which *other* ids have another name by it.
    pub fn insert(&mut self, id: &DocumentId) -> Vec<DocumentId> {
        if is_plain(id.as_str()) { self.insert_plain(id) } else { Vec::new() }
    }

    fn insert_plain(&mut self, id: &DocumentId) -> Vec<DocumentId> {
        match self.groups.entry(Folded(id.clone())) {
            Entry::Vacant(entry) => {
                entry.insert(Vec::new());
                Vec::new()
            }
            Entry::Occupied(entry) if entry.key().0 == *id || entry.get().contains(id) => {
                Vec::new()
            }
            Entry::Occupied(mut entry) => {
                let first = entry.key().0.clone();
                let twins = entry.get_mut();
                twins.push(id.clone());
                if twins.len() == 1 { vec![first] } else { Vec::new() }
            }
        }
    }

    /// Removes an id, and says which *other* ids have another name by it.
    pub fn remove(&mut self, id: &DocumentId) -> Vec<DocumentId> {
        let Some((Folded(first), mut twins)) = self.groups.remove_entry(&Folded(id.clone())) else {
            return Vec::new();
        };
        let before = twins.len();
        twins.push(first);
        twins.retain(|twin| twin != id);
        let Some(first) = twins.pop() else { return Vec::new() };
        let alone = twins.is_empty() && before > 0;
        self.groups.insert(Folded(first.clone()), twins);
        if alone { vec![first] } else { Vec::new() }
    }

    /// The name of the file of `id`, given the other ids that are there.
    pub fn file_name(&self, id: &DocumentId) -> String {
        let twin = self.groups.get_key_value(&Folded(id.clone()));
        let unique = twin.is_none_or(|(first, twins)| first.0 == *id && twins.is_empty());
        if unique && is_plain(id.as_str()) {
            format!("{id}.json")
        } else {
            format!("{}.json", encoded(id.as_str()))
        }
    }
}

/// An id that is equal to another if they differ in the case of ASCII letters only.
#[derive(Clone, Debug)]
struct Folded(DocumentId);

impl PartialEq for Folded {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str().eq_ignore_ascii_case(other.0.as_str())
    }
}

impl Eq for Folded {}

impl Hash for Folded {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // A hasher takes one long piece in much less time than single bytes.
        for chunk in self.0.as_str().as_bytes().chunks(64) {
            let mut folded = [0; 64];
            for (place, byte) in folded.iter_mut().zip(chunk) {
                *place = byte.to_ascii_lowercase();
            }
            state.write(folded.get(..chunk.len()).unwrap_or_default());
        }
    }
}

fn is_plain_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-')
}

/// Whether an id may be its own file name, as far as it alone tells.
fn is_plain(id: &str) -> bool {
    !id.is_empty()
        && id.len() <= PLAIN_BYTES_MAX
        && id.bytes().all(is_plain_byte)
        && !id.starts_with('.')
        && !id.ends_with('.')
        && !is_reserved(id)
}

/// Whether Windows takes the name for a device, with or without an extension.
fn is_reserved(id: &str) -> bool {
    let base = id.split('.').next().unwrap_or(id);
    match base.split_at_checked(3) {
        Some((device, "")) => {
            ["CON", "PRN", "AUX", "NUL"].iter().any(|name| name.eq_ignore_ascii_case(device))
        }
        Some((device, port)) => {
            ["COM", "LPT"].iter().any(|name| name.eq_ignore_ascii_case(device))
                && matches!(port.as_bytes(), [b'0'..=b'9'])
        }
        None => false,
    }
}

/// What people can recognise of an id, and a hash that tells it from every other. Dots are left
/// out, so that neither `..` nor a device's name with an extension can arise.
fn encoded(id: &str) -> String {
    let readable = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    let mut prefix: String = id.chars().filter(readable).take(PREFIX_BYTES_MAX).collect();
    if prefix.is_empty() {
        // A leading `~` would look like an editor's file.
        prefix.push_str("id");
    }
    let hash = ContentHash::of(id.as_bytes()).to_string();
    format!("{prefix}~{}", hash.get(..HASH_DIGITS).unwrap_or(&hash))
}
