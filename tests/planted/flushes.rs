//! No flush without a bug that leaves it out: the sources are searched for calls that make something
//! durable, and each must be part of what some bug replaces, or be named here with a reason.

use std::path::Path;

use crate::{list, source};

/// What a flush looks like.
const CALLS: [&str; 8] = [
    ".sync_data()",
    "sync_dir(",
    ".sync_dirs(",
    ".sync_all()",
    ".write_back()",
    ".sync(",
    ".sync_seals()",
    ".flush(",
];

/// What makes the disk, or is no part of the engine: there a flush is the thing itself, or that of a
/// test's disk, or of what a shell command prints.
const OUTSIDE: [&str; 6] =
    ["fs/real", "fs/sim", "fs/sys.rs", "testing/", "bin/", "files/meddler.rs"];

/// Calls without a bug that leaves them out: file, the line's text, and why.
const EXCEPTIONS: [(&str, &str, &str); 11] = [
    (
        "fs/replace.rs",
        "file.write_back()?;",
        "it spreads the writing of a long file over time; the file is flushed when it is whole",
    ),
    (
        "engine/open.rs",
        "fs.sync_dir(\"\").map_err(|source| Error::io(\"flush\", fs.display(\"\"), source))?;",
        "the replacement of .walden, which comes before any use of them, flushes the same directory",
    ),
    (
        "engine/open.rs",
        "let made = fs.create_dir(QUARANTINE).and_then(|_| fs.sync_dir(\"\"));",
        "the same",
    ),
    (
        "engine/outputs.rs",
        "if let Err(error) = known.flush(fs, &mut problems) {",
        "the first checkpoint flushes what recovery wrote, before it cuts the log",
    ),
    (
        "engine/outputs.rs",
        "tell(&mut told, output.flush(fs));",
        "it bounds how many files are open; the next checkpoint flushes them all the same",
    ),
    (
        "engine/edits/state.rs",
        "let flushed = fs.open(STATE, Mode::Read).and_then(|file| file.sync_data());",
        "what a power cut takes of it is told as damage, and the log has what it said",
    ),
    ("engine/edits/state.rs", "sync_dir(fs, \"\")?;", "the same"),
    (
        "files/kept.rs",
        "sync_dir(fs, CONFLICTS)?;",
        "what a person resolved or removed and a power cut brings back is told as open again",
    ),
    ("files/kept.rs", "sync_dir(fs, CONFLICTS)?;", "the same"),
    (
        "files/backups/kept.rs",
        "sync_dir(fs, \"\")?;",
        "a surplus backup that comes back is removed again",
    ),
    (
        "files/snapshot/save.rs",
        "sync_dir(fs, \"\")?;",
        "a leftover that is back under its old name is settled again by the next opening",
    ),
];

#[test]
fn every_flush_in_the_sources_has_a_bug_that_leaves_it_out() {
    let spans: Vec<_> = list::all()
        .into_iter()
        .map(|bug| {
            let (place, text) = source::span(&bug).unwrap_or_else(|why| panic!("{why}"));
            let old = text[place.clone()].to_owned();
            let fewer = |call: &&str| bug.new.matches(*call).count() < old.matches(*call).count();
            (bug.file, place, CALLS.iter().any(fewer))
        })
        .collect();
    let mut files = Vec::new();
    sources(&source::root().join("src"), &mut files);
    let (mut calls, mut naked) = (0, Vec::new());
    let mut exempt = EXCEPTIONS.map(|(file, line, _)| (file, line)).to_vec();
    for file in files.iter().filter(|file| is_engine(file)) {
        for (at, line) in flushes(&source::text_of(file)) {
            calls += 1;
            let is_covered = |(of, place, leaves_out): &(&str, std::ops::Range<usize>, bool)| {
                of == file && place.contains(&at) && *leaves_out
            };
            if spans.iter().any(is_covered) {
                continue;
            }
            match exempt.iter().position(|(of, text)| of == file && line.trim() == *text) {
                Some(found) => drop(exempt.swap_remove(found)),
                None => naked.push(format!("src/{file}: {}", line.trim())),
            }
        }
    }
    println!("{calls} flushes in {} files, {} of them exceptions", files.len(), EXCEPTIONS.len());
    assert!(calls > 60, "only {calls} flushes found");
    assert!(naked.is_empty(), "flushes that no bug leaves out:\n{}", naked.join("\n"));
    assert!(exempt.is_empty(), "no such flush any more: {exempt:?}");
}

#[test]
fn a_flush_is_found_where_it_is_called_and_nowhere_else() {
    let text = "//! file.sync_data()\nfn sync_dir(fs: &dyn Fs) {\n    // fs.sync_all()\n    \
                fs.sync_dir(dir)\n}\n#[cfg(test)]\nmod tests {\n    file.sync_data()\n}\n";
    let found: Vec<String> = flushes(text).into_iter().map(|(_, line)| line).collect();
    assert_eq!(found, ["    fs.sync_dir(dir)"]);
}

fn is_engine(file: &str) -> bool {
    let is_test = file.ends_with("tests.rs") || file.contains("/tests/");
    !is_test && !OUTSIDE.iter().any(|outside| file.starts_with(outside))
}

/// Each flush of a text: where it is, and its line.
fn flushes(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut begin = 0;
    for line in text.split_inclusive('\n') {
        if line.starts_with("#[cfg(test)]") || line.starts_with("#[cfg(all(test") {
            break;
        }
        let code = line.trim_start();
        let is_code = !["//", "fn ", "pub fn ", "pub(crate) fn ", "pub(super) fn ", "use "]
            .iter()
            .any(|start| code.starts_with(start));
        let calls = CALLS.iter().filter_map(|call| line.find(call));
        if let Some(at) = calls.min().filter(|_| is_code) {
            found.push((begin + at, line.trim_end().to_owned()));
        }
        begin += line.len();
    }
    found
}

fn sources(dir: &Path, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path.strip_prefix(source::root().join("src")).unwrap();
            found.push(name.to_str().unwrap().replace('\\', "/"));
        }
    }
}
