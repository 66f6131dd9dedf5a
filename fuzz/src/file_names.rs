//! Ids and file names: whatever ids there are, each document has one valid name of its own on every
//! system, and no name says anything else than what it was made from.
//!
//! The input is pieces of text between 0xff bytes; the first byte of a piece says what happens to the
//! id that the rest is: it comes, or goes.

use std::collections::BTreeMap;

use walden::files::names::{self, Names, OutputKind, OutputNames};
use walden::{ContentHash, DocumentId, Timestamp, sanitize_id};

/// The most that a name may have on any system.
const NAME_BYTES_MAX: usize = 255;
const SEPARATOR: u8 = 0xff;

/// Runs one input.
pub fn run(data: &[u8]) {
    let mut ids = Ids::default();
    for piece in data.split(|byte| *byte == SEPARATOR).take(48) {
        let Some((what, text)) = piece.split_first() else { continue };
        let text = String::from_utf8_lossy(text);
        sanitized(&text);
        any_name(&text);
        let id = DocumentId::new(&text);
        assert_eq!(id.is_ok(), is_id(&text), "{text:?}");
        if let Ok(id) = id {
            alone(&id);
            ids.change(&id, what % 3 == 0);
        }
    }
    let time = data.iter().take(8).fold(0_i64, |time, byte| time << 8 | i64::from(*byte));
    times(time);
}

fn is_id(text: &str) -> bool {
    (1..=200).contains(&text.len()) && !text.chars().any(char::is_control)
}

/// All ids of a collection, with the names that they should have now.
#[derive(Default)]
struct Ids {
    names: Names,
    files: BTreeMap<String, String>,
    outputs: OutputNames,
    output_files: BTreeMap<String, String>,
}

impl Ids {
    fn change(&mut self, id: &DocumentId, goes: bool) {
        let renamed = if goes { self.names.remove(id) } else { self.names.insert(id) };
        if goes {
            self.files.remove(id.as_str());
        } else {
            self.files.insert(id.to_string(), self.names.file_name(id));
        }
        for (other, file) in &mut self.files {
            let other = DocumentId::new(other).unwrap();
            let now = self.names.file_name(&other);
            let is_renamed = other != *id && now != *file;
            assert_eq!(is_renamed, renamed.contains(&other), "{other:?} beside {id:?}: {now}");
            *file = now;
        }
        apart(self.files.values());
        self.depend_on_the_set_alone();
        let output = self.outputs.file(OutputKind::SessionLog, id);
        let known = self.output_files.insert(id.to_string(), output.clone());
        assert!(known.is_none_or(|known| known == output), "an output keeps its name: {id:?}");
        self.outputs.insert(&output);
        apart(self.output_files.values());
    }

    /// The names are those of the set of ids, in whichever order they came.
    fn depend_on_the_set_alone(&self) {
        let mut names = Names::default();
        let ids: Vec<_> = self.files.keys().rev().map(|id| DocumentId::new(id).unwrap()).collect();
        for id in &ids {
            names.insert(id);
        }
        for id in &ids {
            assert_eq!(Some(&names.file_name(id)), self.files.get(id.as_str()), "{ids:?}");
        }
    }
}

/// No two are the same on a system that knows neither case nor Unicode forms.
fn apart<'a>(files: impl Iterator<Item = &'a String>) {
    let mut folded: Vec<_> = files
        .map(|file| {
            assert!(file.is_ascii(), "{file:?} has one Unicode form only");
            file.to_ascii_lowercase()
        })
        .collect();
    folded.sort();
    assert!(folded.windows(2).all(|pair| pair[0] != pair[1]), "{folded:?}");
}

/// Names of an id for itself.
fn alone(id: &DocumentId) {
    let forms = names::forms(id);
    let mut only = Names::default();
    only.insert(id);
    assert_eq!(forms.first(), Some(&only.file_name(id)), "a lone id has the first form");
    for name in forms {
        valid(&name);
        assert!(names::is_document_file(&name), "{name:?}");
        assert!(!names::is_editor_file(&name), "{name:?}");
        let file = format!("tasks/{name}");
        let swap = names::swap(&file);
        let inside = swap.strip_prefix("wal/").expect("temporary files lie in wal/");
        valid(inside);
        assert_eq!(names::parse_swap(inside), Some(file.clone()));
        assert!(names::is_engine_temporary(inside));
        for attempt in [0, 1, u32::MAX] {
            let hash = ContentHash::of(name.as_bytes());
            let kept =
                [names::conflict(&file, hash, attempt), names::quarantine(&file, hash, attempt)];
            for kept in kept {
                valid(kept.split_once('/').expect("a directory").1);
            }
        }
    }
    for kind in OutputKind::ALL {
        let file = OutputNames::default().file(kind, id);
        assert!(names::is_output(&file), "{file:?}");
        valid(file.split_once('/').expect("a directory").1);
        for generation in [0, 7, u64::MAX] {
            let part = names::output_part(&file, generation);
            let inside = part.strip_prefix("wal/").expect("temporary files lie in wal/");
            valid(inside);
            assert_eq!(names::parse_output_part(inside), Some((file.clone(), generation)));
        }
    }
}

/// A name that every system takes, that leads nowhere else and hides nothing.
fn valid(name: &str) {
    assert!((1..=NAME_BYTES_MAX).contains(&name.len()), "{name:?} of {} bytes", name.len());
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-~".contains(&byte);
    assert!(name.bytes().all(is_plain), "{name:?}");
    assert!(!name.starts_with(['.', '~']) && !name.ends_with(['.', ' ']), "{name:?}");
    let device = name.split('.').next().unwrap_or_default().to_ascii_uppercase();
    let is_port = (device.starts_with("COM") || device.starts_with("LPT"))
        && device.len() == 4
        && device.ends_with(|c: char| c.is_ascii_digit());
    assert!(!is_port && !["CON", "PRN", "AUX", "NUL"].contains(&device.as_str()), "{name:?}");
    assert!(walden::fs::split(&format!("tasks/{name}")).is_ok(), "{name:?}");
}

/// A name that anybody may have given: everything that reads names returns, and what one of them
/// recognises is what the engine would have written.
fn any_name(name: &str) {
    let _ = (names::is_document_file(name), names::is_editor_file(name), names::is_output(name));
    if let Some(file) = names::parse_swap(name) {
        assert_eq!(names::swap(&file), format!("wal/{name}"));
        assert!(names::is_engine_temporary(name));
    }
    if let Some((file, generation)) = names::parse_output_part(name) {
        assert_eq!(names::output_part(&file, generation), format!("wal/{name}"));
        assert!(names::is_output(&file));
    }
    if let Some(time) = names::parse_backup(name) {
        let digits = name.trim_start_matches("state.backup.").trim_end_matches(".json");
        let is_earlier = digits.bytes().all(|byte| byte.is_ascii_digit());
        assert!(is_earlier || names::backup(time) == name, "{name:?}");
    }
}

/// Nothing of a text is kept that the rule drops, and nothing else is lost.
fn sanitized(text: &str) {
    const DROPPED: &str = r#"/\:*?"<>|"#;
    let kept: String = text.chars().filter(|c| !DROPPED.contains(*c) && !c.is_control()).collect();
    match sanitize_id(text) {
        Ok(id) => {
            assert!(kept.starts_with(id.as_str()), "{text:?}: {id:?}");
            let is_whole = id.as_str() == kept;
            let next = kept[id.as_str().len()..].chars().next().map_or(0, char::len_utf8);
            assert!(is_whole || id.as_str().len() + next > DocumentId::BYTES_MAX, "{id:?}");
            assert_eq!(sanitize_id(id.as_str()).ok(), Some(id));
        }
        Err(_) => assert!(kept.is_empty(), "{text:?}"),
    }
}

/// Backups' names give their times back, and sort as those do.
fn times(nanos: i64) {
    let time = names::backup_time(Timestamp(nanos), None);
    let name = names::backup(time);
    if nanos >= 0 {
        valid(&name);
        assert_eq!(names::parse_backup(&name), Some(time), "{name}");
        let later = names::backup_time(Timestamp(0), Some(time));
        assert!(later > time && names::backup(later) > name, "{name}");
    }
}
