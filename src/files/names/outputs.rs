//! Names of outputs: `logs/session_<id>.log`, `reports/report_<id>.json`, and their temporary files.
//!
//! An output's name must stay the same over all openings, so it is a function of the id and of the
//! files that are there: an encoded name that exists, else the plain one that exists, else the plain
//! one if no file's name equals it but for case, else the encoded one.
//!
//! Invariant: no two ids ever have the same name: only encoded ones contain `~`.

use std::collections::{HashMap, HashSet};

use super::{LOGS, REPORTS, WAL, encoded, is_plain};
use crate::base::DocumentId;

/// The two kinds of outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputKind {
    /// What a session said, in `logs/`.
    SessionLog,
    /// A report, in `reports/`.
    Report,
}

impl OutputKind {
    /// Both, logs first.
    pub const ALL: [OutputKind; 2] = [OutputKind::SessionLog, OutputKind::Report];

    /// The directory of its files.
    pub fn dir(self) -> &'static str {
        match self {
            OutputKind::SessionLog => LOGS,
            OutputKind::Report => REPORTS,
        }
    }

    fn file(self, stem: &str) -> String {
        match self {
            OutputKind::SessionLog => format!("{LOGS}/session_{stem}.log"),
            OutputKind::Report => format!("{REPORTS}/report_{stem}.json"),
        }
    }
}

/// The names that output files have, to give a new one a name that no other has on any system.
///
/// ```
/// use walden::{DocumentId, files::names::{OutputKind, OutputNames}};
/// let [lower, upper] = ["s1", "S1"].map(|id| DocumentId::new(id).unwrap());
/// let mut names = OutputNames::default();
/// let file = names.file(OutputKind::SessionLog, &lower);
/// assert_eq!(file, "logs/session_s1.log");
/// names.insert(&file);
/// assert!(names.file(OutputKind::SessionLog, &upper).starts_with("logs/session_S1~"));
/// ```
#[derive(Clone, Debug, Default)]
pub struct OutputNames {
    exact: HashSet<String>,
    /// How many names are equal but for the case of ASCII letters.
    folded: HashMap<String, usize>,
}

impl OutputNames {
    /// Adds a file that is there, as in `logs/session_a.log`.
    pub fn insert(&mut self, file: &str) {
        if self.exact.insert(file.to_owned()) {
            *self.folded.entry(file.to_ascii_lowercase()).or_default() += 1;
        }
    }

    /// The file of the output `id`.
    pub fn file(&self, kind: OutputKind, id: &DocumentId) -> String {
        let safe = kind.file(&encoded(id.as_str()));
        if !is_plain(id.as_str()) || self.exact.contains(&safe) {
            return safe;
        }
        let plain = kind.file(id.as_str());
        let is_free = !self.folded.contains_key(&plain.to_ascii_lowercase());
        if is_free || self.exact.contains(&plain) { plain } else { safe }
    }
}

/// Whether a path is one that an output can have.
pub fn is_output(file: &str) -> bool {
    let stem = |prefix: &str, suffix: &str| {
        file.strip_prefix(prefix).and_then(|rest| rest.strip_suffix(suffix))
    };
    let stem = stem("logs/session_", ".log").or_else(|| stem("reports/report_", ".json"));
    stem.is_some_and(|stem| {
        let is_ours = |byte: u8| super::is_plain_byte(byte) || byte == b'~';
        !stem.is_empty() && stem.bytes().all(is_ours)
    })
}

/// Where new contents of an output wait until their record is durable. Generation 0, which no record
/// has, is that of a copy.
pub fn output_part(file: &str, generation: u64) -> String {
    format!("{WAL}/output.{generation:020}.{}", file.replacen('/', ".", 1))
}

/// The output and the generation of a name in `wal/` that [`output_part`] made.
pub fn parse_output_part(name: &str) -> Option<(String, u64)> {
    let (generation, file) = name.strip_prefix("output.")?.split_once('.')?;
    let file = file.replacen('.', "/", 1);
    let generation = generation.parse().ok()?;
    let is_ours = is_output(&file) && output_part(&file, generation).ends_with(name);
    is_ours.then_some((file, generation))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> DocumentId {
        DocumentId::new(text).unwrap()
    }

    #[test]
    fn an_output_keeps_its_name_whatever_appears_beside_it() {
        for kind in OutputKind::ALL {
            let mut names = OutputNames::default();
            let mut given = Vec::new();
            for text in ["a", "A", "../a", "con", "ä b", "a.b"] {
                let file = names.file(kind, &id(text));
                assert!(is_output(&file) && crate::fs::split(&file).is_ok(), "{file}");
                names.insert(&file);
                given.push((text, file));
            }
            for (text, file) in &given {
                assert_eq!(&names.file(kind, &id(text)), file, "{text}");
            }
            let mut folded: Vec<String> =
                given.iter().map(|(_, file)| file.to_ascii_lowercase()).collect();
            folded.sort();
            folded.dedup();
            assert_eq!(folded.len(), given.len());
        }
    }

    #[test]
    fn a_temporary_name_is_read_back_and_nothing_else_is_taken_for_one() {
        let long = OutputNames::default().file(OutputKind::SessionLog, &id(&"x".repeat(180)));
        for file in ["logs/session_a.b.log", "reports/report_x~0.json", &long] {
            let part = output_part(file, 7);
            let name = part.strip_prefix("wal/").unwrap();
            assert!(name.len() <= 255 && super::super::is_engine_temporary(name));
            assert_eq!(parse_output_part(name), Some((file.to_owned(), 7)));
        }
        for name in ["output.7.logs.session_a.log", "output.00000000000000000007.tasks.a.json"] {
            assert_eq!(parse_output_part(name), None);
        }
    }
}
