//! What a store's directory must look like from outside, whatever was broken: every JSON file is whole,
//! and no file of the engine's was ever taken for a person's.
//!
//! It reads with the system's own calls and parses with `serde_json`; the engine has no part in it. It
//! may look while the engine works, since files appear whole or not at all.

use std::fs;
use std::path::Path;

use serde_json::Value;

/// What was seen in a directory.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// JSON files that were read and parsed.
    pub(crate) files: u64,
    /// What is not as it must be.
    pub(crate) problems: Vec<String>,
}

/// Looks at every JSON file that an opened store keeps. One that the system does not give (it was just
/// replaced, or the disk is gone) is passed over.
pub(crate) fn look(dir: &Path) -> Seen {
    let mut seen = Seen::default();
    for sub in ["", "tasks", "sessions"] {
        for name in names(&dir.join(sub)) {
            let is_json = Path::new(&name).extension().is_some_and(|ending| ending == "json");
            if is_json && !name.starts_with('.') {
                seen.look_at(&dir.join(sub).join(&name), sub.is_empty());
            }
        }
    }
    for name in names(&dir.join("conflicts")) {
        seen.problems.push(format!("conflicts/{name}: nobody but the engine wrote here"));
    }
    seen
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

impl Seen {
    fn look_at(&mut self, path: &Path, is_snapshot: bool) {
        let Ok(bytes) = fs::read(path) else { return };
        self.files += 1;
        let shown = path.display();
        let key = if is_snapshot { "tasks" } else { "id" };
        match serde_json::from_slice::<Value>(&bytes) {
            Ok(value) if value.get(key).is_some() => {}
            Ok(_) => self.problems.push(format!("{shown}: it has no {key:?}")),
            Err(error) => {
                let length = bytes.len();
                self.problems.push(format!("{shown} of {length} bytes is not whole: {error}"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_a_torn_and_a_strange_file_and_a_conflict_are_named_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        for sub in ["tasks", "sessions", "conflicts"] {
            fs::create_dir(dir.path().join(sub)).unwrap();
        }
        let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
        write("state.json", r#"{"tasks": []}"#);
        write("tasks/a.json", r#"{"id": "a"}"#);
        write("tasks/a.json.part", "");
        assert_eq!((look(dir.path()).files, look(dir.path()).problems), (2, Vec::new()));
        write("tasks/empty.json", "");
        write("sessions/torn.json", r#"{"id": "to"#);
        write("state.backup.1.json", "{}");
        write("conflicts/a.json", "{}");
        let problems = look(dir.path()).problems.join("\n");
        for name in ["tasks/empty.json", "sessions/torn.json", "state.backup.1.json", "conflicts/a"]
        {
            assert!(problems.contains(name), "{name}: {problems}");
        }
        assert_eq!(problems.lines().count(), 4, "{problems}");
    }
}
