//! Checks of snapshots, backups, the mirror and outputs, each weakened.

use super::{Bug, By, bug};

const SAVE: By = By::Lib("snapshot::save snapshot::former");
const MIRROR: By = By::Lib("mirror::tests");
const OUTPUTS: By = By::Guarantees("outputs");
const LADDER: By = By::Guarantees("ladder:: lost");

pub(super) const BUGS: [Bug; 33] = [
    bug("snapshot-digest-not-proved", "files/snapshot/proof.rs", "(«hasher.finish() == head.digest»)", "true", "a damaged snapshot is proved", By::Lib("snapshot::proof")),
    bug("snapshot-digest-not-compared", "files/snapshot/parse.rs", "ContentHash::parse(self.digest) == Some(hasher.finish())", "true", "the digest of state.json is not compared", By::Lib("snapshot::tests")),
    bug("index-hash-not-compared", "files/snapshot/index/format.rs", "is_intact.then_some(covered)", "Some(covered)", "a damaged index is applied", By::Lib("snapshot::index")),
    bug("owner-crc-not-compared", "files/owner.rs", "if «render(&owner).as_bytes() == bytes» {", "true", "a damaged .walden is believed", By::Lib("files::owner")),
    bug("backup-of-any-store", "files/backups.rs", "if «snapshot.store == store» =>", "true", "a backup of another store is taken", By::Lib("files::backups")),
    bug("snapshot-of-any-store-is-ours", "files/snapshot/save.rs", "Some(Ok((of, _))) if «of == store» => None,", "true", "the snapshot of another store is made a backup of ours", SAVE),
    bug("snapshot-replaces-a-persons", "files/snapshot/save.rs", "let kept = «keep(fs, STATE, STATE)?»;", "String::new()", "an edited state.json is replaced and not kept", SAVE),
    bug("snapshot-renamed-over", "files/snapshot/save.rs", "let exchanged = «fs.exchange(STATE_SWAP, STATE)»;", "fs.rename(STATE_SWAP, STATE)", "a person who is quicker than the rename loses an edit", SAVE),
    bug("snapshot-created-over", "files/snapshot/save.rs", "return match «fs.rename_new(STATE_SWAP, STATE)» {", "fs.rename(STATE_SWAP, STATE)", "a person who creates state.json meanwhile loses it", SAVE),
    bug("leftover-takes-the-place-of-a-newer", "files/snapshot/save.rs", "let is_newest = «newest <= Some(lsn)» &&", "true", "an old leftover gets the place of state.json, and passes for a restore", SAVE),
    bug("editor-not-asked-for", "files/snapshot/former.rs", "let is_held = «is_open_for_writing(fs, path)?»;", "false", "what an editor still writes goes into a backup", SAVE),
    bug("previous-snapshot-pruned", "files/backups/kept.rs", "let may_go = «own.name != previous.name && own.lsn < present»;", "true", "the previous snapshot is pruned, and with it what the log was cut to", By::Lib("backups::")),
    bug("backup-removed-unproved", "files/backups/kept.rs", "Ok(may_go && «self.is_proved(fs, own, problems)?»)", "true", "a backup that a person wrote into is removed", By::Lib("backups::")),
    bug("backup-relied-on-unproved", "files/backups/kept.rs", "if «self.is_proved(fs, candidate, problems)?» {", "true", "the log is cut to a backup that is damaged", By::Lib("backups::")),
    bug("edit-not-kept", "files/mirror/apply.rs", "problems.push(edited(file, &keep(fs, file, file)?));", "", "a person's edit is overwritten and not kept", MIRROR),
    bug("edit-met-in-the-exchange-removed", "files/mirror/apply.rs", "Sight::File(..) | Sight::NoFile => «Ok(Some(edited(file, &put_aside(fs, &swap, file)?)))»,", "{ remove_if_any(fs, &swap)?; Ok(None) }", "an edit that comes out of the exchange is removed", MIRROR),
    bug("new-file-over-a-persons", "files/mirror/apply.rs", "match «fs.rename_new(MIRROR_PART, file)» {", "fs.rename(MIRROR_PART, file)", "a file that a person has just made is overwritten", MIRROR),
    bug("mark-not-compared", "fs/replace.rs", "«found.modified_ns < given.modified_ns»
                && (found.kind", "true", "a write in the same tick, of the same size, is not seen", By::Lib("fs::replace::")),
    bug("stat-believed-after-a-crash", "files/mirror/judge.rs", "let is_clean = «self.stop == Stop::Clean»;", "true", "after an unclean stop a mirror file is believed by its stat", MIRROR),
    bug("stale-mirror-file-taken-for-current", "files/mirror/judge.rs", "&& «placed.lsn >= doc.lsn()»", "true", "an untouched mirror file of an older version is taken for the present one", MIRROR),
    bug("torn-mirror-file-taken-for-an-edit", "files/mirror/judge.rs", "is_torn.then_some(Contents::Torn(found))", "None", "what a crash tore is taken for a person's", MIRROR),
    bug("rot-not-told", "files/mirror/judge.rs", "let has_rotted = «untouched.is_some_and(|placed| placed.hash != found.hash)»;", "false", "rot is taken for an edit", MIRROR),
    bug("failed-mirror-flush-believed", "files/mirror/mod.rs", "self.distrusted.insert(file.clone());", "", "a mirror file whose flush failed is flushed again, and believed", MIRROR),
    bug("failed-output-flush-believed", "files/outputs/mod.rs", "self.is_distrusted = true;
            return Err(Error::io(\"flush\"", "return Err(Error::io(\"flush\"", "an output whose flush failed is flushed again, and believed", OUTPUTS),
    bug("output-copied-from-a-lost-cache", "files/outputs/mod.rs", "if «written.map(ContentHash::of) != Some(hasher.finish())» {", "false", "what a failed flush lost is copied as if it were what was written", OUTPUTS),
    bug("output-written-where-somebody-else-wrote", "engine/outputs.rs", "match «output.is_still(fs, &place)» {", "Ok::<bool, Error>(true)", "what somebody appended meanwhile is overwritten", OUTPUTS),
    bug("output-replaced-before-it-is-logged", "engine/outputs.rs", "told.extend(«output.prepare(fs, generation, bytes)?».map(Event::Found));", "{ let found = output.prepare(fs, generation, bytes)?; output.replace(fs, Version::new(generation, None, bytes))?; found }", "new contents get the name before their record is durable", OUTPUTS),
    bug("output-of-somebody-else-replaced", "files/outputs/mod.rs", "if «seen.is_some() && self.left.is_some_and(|left| Some(left.id) != seen)» {", "false", "somebody else's version of an output is replaced and not kept", OUTPUTS),
    bug("deletion-guard-dropped", "engine/recovery/doubt.rs", "let is_whole = «self.whole.contains(&key.0)»;", "true", "files that somebody lost with the log delete their documents", LADDER),
    bug("old-file-revives-the-deleted", "engine/recovery/doubt.rs", "«if as_of.is_none_or(|lsn| lsn <= hole.after)
            && self.as_of.gone(*collection, id).is_some_and(|gone| as_of <= Some(gone))
        {
            return None;
        }»", "", "an old mirror file brings a deleted document back", LADDER),
    bug("older-file-displaces-the-base", "engine/recovery/doubt.rs", "Some(lsn) if «lsn <= hole.after» => return None,", "false", "a mirror file older than the snapshot displaces its version", LADDER),
    bug("hole-not-covered", "engine/recovery/doubt.rs", "table.advance(hole.last);", "", "a hole is forgotten by the next snapshot", LADDER),
    bug("displaced-version-not-kept", "engine/recovery/doubt.rs", "self.losers.push((*collection, id.clone(), present.text().to_string()));", "drop(present);", "a version that was displaced without proof is not kept", LADDER),
];
