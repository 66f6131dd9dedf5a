//! The shape of the source: layers that import downwards only, one place for each privilege, short
//! files and functions, a head comment everywhere. And each rule fires on a made-up offender.
//!
//! It reads text, not syntax: it relies on rustfmt's layout, which is checked elsewhere.

use std::fs;
use std::path::Path;

const FILE_LINES_MAX: usize = 400;
const TEST_FILE_LINES_MAX: usize = 450;
const FUNCTION_LINES_MAX: usize = 70;

/// Each layer, and those that it may import besides itself.
const LAYERS: [(&str, &[&str]); 7] = [
    ("base", &[]),
    ("fs", &["base"]),
    ("wal", &["base", "fs"]),
    ("state", &["base"]),
    ("files", &["base", "fs", "state"]),
    ("engine", &["base", "fs", "wal", "state", "files"]),
    ("testing", &["base", "fs", "wal", "state", "files", "engine"]),
];

/// What only some files may name, by the beginnings of their paths.
const PRIVILEGES: [(&str, &[&str], &str); 9] = [
    ("std::fs", &["src/fs/real", "src/bin/"], "disk"),
    ("rustix::fs", &["src/fs/real", "src/bin/walden/bench/limit.rs"], "disk"),
    ("libc::", &["src/fs/sys.rs"], "disk"),
    ("thread::spawn", &["src/engine/", "src/testing/", "src/bin/"], "thread"),
    ("thread::scope", &["src/engine/", "src/testing/", "src/bin/"], "thread"),
    ("thread::Builder", &["src/engine/", "src/bin/"], "thread"),
    ("thread::sleep", &["src/engine/", "src/bin/"], "thread"),
    ("SystemTime::now", &["src/base/clock.rs", "src/bin/"], "clock"),
    ("Instant::now", &["src/base/clock.rs", "src/bin/"], "clock"),
];

/// The rules that a file breaks, one name each.
fn offences(path: &str, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let is_test = is_test_file(path);
    let lines_max = if is_test { TEST_FILE_LINES_MAX } else { FILE_LINES_MAX };
    if text.lines().count() > lines_max {
        found.push(format!("length: {} lines", text.lines().count()));
    }
    if !text.starts_with("//!") {
        found.push("head: no comment that says what the file is".to_owned());
    }
    for (name, lines) in functions(text) {
        if lines > FUNCTION_LINES_MAX {
            found.push(format!("function: {name} has {lines} lines"));
        }
    }
    for machine in [["/ho", "me/"], ["/ro", "ot/"], ["/wo", "rk/"], ["/Us", "ers/"], ["C:", "\\"]] {
        if text.contains(&machine.concat()) {
            found.push(format!("path: {}", machine.concat()));
        }
    }
    if path.starts_with("src/") && !is_test {
        let code = code_of(text);
        found.extend(imports(path, &code));
        if code.contains(".unwrap()") {
            found.push("unwrap".to_owned());
        }
        for (word, places, rule) in PRIVILEGES {
            if code.contains(word) && !places.iter().any(|place| path.starts_with(place)) {
                found.push(format!("{rule}: {word}"));
            }
        }
    }
    found
}

fn is_test_file(path: &str) -> bool {
    path.starts_with("tests/") || path.contains("/tests/") || path.ends_with("tests.rs")
}

/// The code without comments, strings and the unit tests at its end.
fn code_of(text: &str) -> String {
    let body = text.split("\n#[cfg(test)]\nmod tests {").next().unwrap();
    let body =
        body.split("\n#[cfg(all(test, feature = \"testing\"))]\nmod tests {").next().unwrap();
    let mut code = String::new();
    for line in body.lines().filter(|line| !line.trim_start().starts_with("//")) {
        // A quote within a string is rare enough to be looked at by a person.
        for (number, part) in line.replace("\\\"", "").split('"').enumerate() {
            if number % 2 == 0 {
                code.push_str(part.split(" // ").next().unwrap());
            }
        }
        code.push('\n');
    }
    code
}

/// Imports that do not point downwards.
fn imports(path: &str, code: &str) -> Vec<String> {
    let layer = path.trim_start_matches("src/").split(['/', '.']).next().unwrap();
    let allowed = LAYERS.iter().find(|(name, _)| *name == layer).map(|(_, allowed)| *allowed);
    let mut found = Vec::new();
    if code.contains("super::super::super::") {
        found.push("import: by a path that leads nobody knows where".to_owned());
    }
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        let name: String =
            rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
        let is_layer = LAYERS.iter().any(|(layer, _)| *layer == name);
        let is_right = match allowed {
            Some(allowed) => name == layer || (is_layer && allowed.contains(&name.as_str())),
            None => layer == "bin" || layer == "lib",
        };
        if !is_right {
            found.push(format!("import: {layer} imports {name:?}"));
        }
    }
    found
}

/// The functions of a text, with their numbers of lines.
fn functions(text: &str) -> Vec<(String, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let code = line.trim_start();
        let is_function = ["fn ", "pub fn ", "pub(crate) fn ", "pub(super) fn ", "const fn "]
            .iter()
            .any(|start| code.starts_with(start));
        if !is_function {
            continue;
        }
        let indent = line.len() - code.len();
        let end = format!("{}}}", " ".repeat(indent));
        // A declaration ends with its line.
        let is_end = |line: &&str| *line == end || (*line == lines[at] && line.ends_with(';'));
        let length = lines[at..].iter().position(is_end).map_or(1, |last| last + 1);
        let name = code.split("fn ").nth(1).unwrap().split(['(', '<']).next().unwrap();
        found.push((name.to_owned(), length));
    }
    found
}

fn sources(dir: &Path, found: &mut Vec<(String, String)>) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for entry in fs::read_dir(dir).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            // What a workspace below this one has built is not ours.
            if path.ends_with("target") {
                continue;
            }
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().replace('\\', "/");
            found.push((name, fs::read_to_string(&path).unwrap()));
        }
    }
}

#[test]
fn every_source_file_keeps_to_its_layer_its_privileges_and_its_size() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for dir in ["src", "tests", "benches", "fuzz/fuzz_targets", "fuzz/src"] {
        sources(&root.join(dir), &mut files);
    }
    let src = files.iter().filter(|(path, _)| path.starts_with("src/")).count();
    assert!(src > 40, "only {src} files below src/");
    for (layer, _) in LAYERS {
        assert!(files.iter().any(|(path, _)| path.starts_with(&format!("src/{layer}/"))));
    }
    let found: Vec<String> = files
        .iter()
        .flat_map(|(path, text)| {
            offences(path, text).into_iter().map(move |offence| format!("{path}: {offence}"))
        })
        .collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn every_rule_fires_on_an_offender_and_only_there() {
    let long_file = format!("//! Long.\n{}", "//\n".repeat(FILE_LINES_MAX));
    let long_function = format!("//! x\n    fn f() {{\n{}    }}\n", "        g();\n".repeat(80));
    let machine_path = ["//! x\nconst P: &str = \"/ho", "me/me\";\n"].concat();
    let offenders = [
        ("src/wal/a.rs", long_file.as_str(), "length"),
        ("src/wal/a.rs", "use std::io;\n", "head"),
        ("src/wal/a.rs", &long_function, "function"),
        ("tests/a.rs", &machine_path, "path"),
        ("src/state/a.rs", "//! x\nuse crate::fs::Fs;\n", "import"),
        ("src/state/a.rs", "//! x\nuse crate::wal::Log;\n", "import"),
        ("src/wal/a.rs", "//! x\nuse crate::state::Op;\n", "import"),
        ("src/files/a.rs", "//! x\nuse crate::wal::Log;\n", "import"),
        ("src/base/a.rs", "//! x\nuse crate::fs;\n", "import"),
        ("src/fs/a.rs", "//! x\nuse crate::engine::Store;\n", "import"),
        ("src/fs/a.rs", "//! x\nuse crate::Store;\n", "import"),
        ("src/fs/a.rs", "//! x\nuse crate::{base, engine};\n", "import"),
        ("src/newlayer/a.rs", "//! x\nuse crate::base::Lsn;\n", "import"),
        ("src/wal/a/b.rs", "//! x\nuse super::super::super::state;\n", "import"),
        ("src/engine/a.rs", "//! x\nfn f() {\n    g().unwrap();\n}\n", "unwrap"),
        ("src/files/a.rs", "//! x\nuse std::fs;\n", "disk"),
        ("src/fs/sim.rs", "//! x\nuse rustix::fs;\n", "disk"),
        ("src/wal/a.rs", "//! x\nfn f() {\n    std::thread::spawn(g);\n}\n", "thread"),
        ("src/wal/a.rs", "//! x\nfn f() {\n    thread::sleep(d);\n}\n", "thread"),
        ("src/engine/a.rs", "//! x\nfn f() {\n    Instant::now();\n}\n", "clock"),
    ];
    for (path, text, rule) in offenders {
        let found = offences(path, text);
        assert!(!found.is_empty(), "{rule} does not fire on {path}: {text}");
        let others: Vec<_> = found.iter().filter(|offence| !offence.starts_with(rule)).collect();
        assert!(others.is_empty(), "{path}: {others:?}");
    }
    let innocents = [
        ("src/fs/real.rs", "//! x\nuse std::fs;\nuse crate::base::Lsn;\n"),
        ("src/engine/a.rs", "//! x\n// crate::bin\nfn f() {\n    thread::spawn(g);\n}\n"),
        ("src/state/a.rs", "//! x\nfn f() {\n    g(\"crate::fs .unwrap()\");\n}\n"),
        ("src/wal/a.rs", "//! x\n\n#[cfg(test)]\nmod tests {\n    g().unwrap();\n}\n"),
    ];
    for (path, text) in innocents {
        assert_eq!(offences(path, text), Vec::<String>::new(), "{path}");
    }
}
