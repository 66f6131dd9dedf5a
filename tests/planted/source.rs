//! Where an edit goes, and the copy of the package in which every edit is a switch.
//!
//! One build holds all bugs: where `old` stood, there is `if planted("name") { new } else { old }`,
//! and the environment says which one is on. So the unchanged program and each bug differ in that
//! edit and in nothing else, and nothing is compiled twice. Edits that overlap share one place.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::{fs, io};

use crate::Bug;

/// The environment variable that switches a bug on, and the one that names the file to be made when
/// its code is reached.
pub(crate) const SWITCH: &str = "WALDEN_PLANTED_BUG";
pub(crate) const REACHED: &str = "WALDEN_PLANTED_REACHED";

pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

pub(crate) fn text_of(file: &str) -> String {
    let path = root().join("src").join(file);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The bytes of its file that a bug replaces, and the whole file.
pub(crate) fn span(bug: &Bug) -> Result<(Range<usize>, String), String> {
    let text = text_of(bug.file);
    let (before, rest) = bug.old.split_once('«').unwrap_or(("", bug.old));
    let (old, behind) = rest.split_once('»').unwrap_or((rest, ""));
    let whole = [before, old, behind].concat();
    let places: Vec<usize> = text.match_indices(&whole).map(|(at, _)| at).collect();
    let [at] = places[..] else {
        let times = places.len();
        return Err(format!("{}: its text is {times} times in src/{}", bug.name, bug.file));
    };
    if old.is_empty() || old == bug.new {
        return Err(format!("{}: it changes nothing", bug.name));
    }
    let begin = at + before.len();
    Ok((begin..begin + old.len(), text))
}

/// Makes the copy at `tree`, with switches for `bugs`. Files that are the same already stay as they
/// are, so that a second run builds nothing anew.
pub(crate) fn make_tree(tree: &Path, bugs: &[Bug]) {
    let mut files = BTreeMap::new();
    for dir in ["src", "tests", "benches"] {
        read_all(&root().join(dir), dir, &mut files).unwrap();
    }
    for file in ["Cargo.toml", "Cargo.lock", "README.md", "DESIGN.md"] {
        if let Ok(bytes) = fs::read(root().join(file)) {
            files.insert(file.to_owned(), bytes);
        }
    }
    let mut by_file: BTreeMap<&str, Vec<&Bug>> = BTreeMap::new();
    for bug in bugs {
        by_file.entry(bug.file).or_default().push(bug);
    }
    for (file, bugs) in by_file {
        files.insert(format!("src/{file}"), with_switches(&bugs).into_bytes());
    }
    let lib = files.get_mut("src/lib.rs").unwrap();
    lib.extend_from_slice(switch_function().as_bytes());
    for dir in ["src", "tests", "benches"] {
        let mut there = BTreeMap::new();
        read_all(&tree.join(dir), dir, &mut there).unwrap();
        for gone in there.keys().filter(|name| !files.contains_key(*name)) {
            fs::remove_file(tree.join(gone)).unwrap();
        }
    }
    for (name, bytes) in files {
        let path = tree.join(name);
        if fs::read(&path).ok().as_ref() != Some(&bytes) {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
    }
}

fn read_all(dir: &Path, name: &str, files: &mut BTreeMap<String, Vec<u8>>) -> io::Result<()> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let name = format!("{name}/{}", entry.file_name().to_string_lossy());
        if entry.file_type()?.is_dir() {
            read_all(&entry.path(), &name, files)?;
        } else {
            files.insert(name, fs::read(entry.path())?);
        }
    }
    Ok(())
}

/// A bug, and the bytes of its file that it replaces.
type Placed<'a> = (Range<usize>, &'a Bug);

/// Bugs whose places overlap, and all that they cover.
type Cluster<'a> = (Range<usize>, Vec<Placed<'a>>);

/// The text of a file in which each of its bugs can be switched on.
fn with_switches(bugs: &[&Bug]) -> String {
    let mut places: Vec<Placed<'_>> = Vec::new();
    let mut text = String::new();
    for bug in bugs {
        let (place, whole) = span(bug).unwrap_or_else(|why| panic!("{why}"));
        places.push((place, bug));
        text = whole;
    }
    places.sort_by_key(|(place, _)| (place.start, std::cmp::Reverse(place.end)));
    let mut clusters: Vec<Cluster<'_>> = Vec::new();
    for (place, bug) in places {
        match clusters.last_mut() {
            Some((all, members)) if place.start < all.end => {
                all.end = all.end.max(place.end);
                members.push((place, bug));
            }
            _ => clusters.push((place.clone(), vec![(place, bug)])),
        }
    }
    for (all, members) in clusters.into_iter().rev() {
        let old = &text[all.clone()];
        let is_expression = !old.ends_with([';', '}']);
        let branches = members.into_iter().map(|(place, Bug { name, new, .. })| {
            let (before, behind) = (&text[all.start..place.start], &text[place.end..all.end]);
            format!("if crate::planted(\"{name}\") {{ {before}{new}{behind} }} else ")
        });
        let switch = format!("{}{{ {old} }}", branches.collect::<String>());
        let switch = if is_expression { format!("({switch})") } else { switch };
        text.replace_range(all, &switch);
    }
    text
}

fn switch_function() -> String {
    format!(
        "
#[inline(never)]
pub(crate) fn planted(name: &str) -> bool {{
    static ON: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
    static REACHED: std::sync::Once = std::sync::Once::new();
    let is_on = ON.get_or_init(|| std::env::var(\"{SWITCH}\").ok()).as_deref() == Some(name);
    if is_on {{
        REACHED.call_once(|| {{
            if let Ok(path) = std::env::var(\"{REACHED}\") {{
                std::fs::write(path, name).expect(\"the mark can be made\");
            }}
        }});
    }}
    is_on
}}
"
    )
}
