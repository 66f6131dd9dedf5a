//! What can go wrong when a person's edit is taken in: the wrong base, the wrong file, nothing kept.

use super::{Bug, By, bug};

const SIM: By = By::Guarantees("edits_sim::");
const EDITS: By = By::Guarantees("edits:: edits_crash:: edits_meeting:: edits_sim::");

pub(super) const BUGS: [Bug; 12] = [
    bug(
        "loser-not-kept",
        "engine/edits/mod.rs",
        "keep.map(|text| conflicts::keep_text(&*self.around.fs, &merged.edit.file, text))
                    .transpose()",
        "keep.map(|_| Ok(String::new())).transpose()",
        "the program's version is not kept where the edit wins",
        EDITS,
    ),
    bug(
        "edit-over-a-newer-write",
        "engine/edits/mod.rs",
        "if «now == merged.against» {",
        "true",
        "an edit is logged though its document has changed since it was merged",
        EDITS,
    ),
    bug(
        "own-text-not-logged",
        "engine/recovery/history.rs",
        "«versions.all.extend(left.clone().map(|text| (None, text)));»",
        "let _ = &left;",
        "a text that somebody saved is no base of their next edit after a restart",
        SIM,
    ),
    bug(
        "recorded-means-shown",
        "engine/recovery/history.rs",
        "«self.all.retain(|(since, _)| since.is_none_or(|since| since <= last));»",
        "let _ = last;",
        "a version that was meant for a file and never got there is taken for a base",
        SIM,
    ),
    bug(
        "doubtful-base-believed",
        "engine/edits/merge.rs",
        "«bases.is_doubtful.then_some(None)»",
        "None::<Option<&str>>",
        "an edit of a file of which nothing is known is no conflict",
        SIM,
    ),
    bug(
        "likely-base-believed",
        "engine/edits/merge.rs",
        "if «!merged.conflicts.contains(&path)» {",
        "false",
        "that an edit may have been made of another version is no conflict",
        SIM,
    ),
    bug(
        "displacing-version-is-a-base",
        "engine/edits/bases.rs",
        "Some(displaced) => «displaced.shown.is_some_and(|shown| doc.lsn() <= shown)»,",
        "displaced.shown.is_some()",
        "what took the place of an edit is taken for what it was made of",
        EDITS,
    ),
    bug(
        "unshown-version-is-a-base",
        "engine/edits/bases.rs",
        "None => «mirror.shows(&edit.file, doc.lsn())»,",
        "true",
        "a version that no file has shown yet is taken for what an edit was made of",
        EDITS,
    ),
    bug(
        "displaced-edit-tried-once",
        "files/mirror/edit.rs",
        "Source::Displaced(displaced) => «self.displaced.push(displaced)»,",
        "drop(displaced)",
        "an edit that was displaced and could not be taken in is not tried again",
        SIM,
    ),
    bug(
        "doubt-forgotten",
        "engine/open.rs",
        "write_owner(fs, &identity, Stage::Open, «plan.found»)?;",
        "Evidence::default()",
        "an opening that is cut off forgets that the store was damaged, or shut down",
        EDITS,
    ),
    bug(
        "original-taken-for-an-edit",
        "files/migration.rs",
        "is_at(PRE_MIGRATION_BACKUP)? || «is_under_way(fs)» && is_at(",
        "false",
        "the state.json that is migrated is an edit where another original is kept already",
        By::Guarantees("migrate::"),
    ),
    bug(
        "newline-left-out-is-torn",
        "files/mirror/judge.rs",
        "«text.trim_end().as_bytes() == bytes.trim_ascii_end()»",
        "text.as_bytes() == bytes",
        "an earlier version without its last newline is taken for half a file",
        SIM,
    ),
];
