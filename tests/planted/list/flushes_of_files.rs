//! Each flush of the files outside the log, left out.

use super::{Bug, By, bug};

const SAVE: By = By::Lib("snapshot::save snapshot::former");
const MIRROR: By = By::Lib("mirror::tests");
const OUTPUTS: By = By::Guarantees("outputs");

pub(super) const BUGS: [Bug; 38] = [
    bug(
        "mirror-names-not-flushed-before-a-cut",
        "engine/mirror.rs",
        "pub(crate) fn remember_mirror(&self, mirror: &mut Mirror) -> Result<()> {
        «mirror.sync_dirs(&*self.around.fs)?;»",
        "",
        "the log that knows what the mirror holds is cut before the mirror's names are durable",
        By::Guarantees("what_passes_wrote_is_durable"),
    ),
    bug(
        "pruned-backups-names-not-flushed",
        "files/backups/kept.rs",
        "if !removed.is_empty() {
            «sync_dir(fs, \"\")?;»",
        "",
        "backups that were removed may come back",
        By::Lib("backups::"),
    ),
    bug(
        "swap-name-not-flushed",
        "files/snapshot/save.rs",
        "fs.display(STATE_PART), error))?;
    «sync_dir(fs, WAL)?;»",
        "",
        "the new snapshot has no durable name before the exchange",
        SAVE,
    ),
    bug(
        "snapshot-comes-out-not-flushed",
        "files/snapshot/save.rs",
        "durably goes.
        «sync_dir(fs, WAL)?;»",
        "",
        "what came out of the place of state.json has no durable name",
        SAVE,
    ),
    bug(
        "index-removed-by-a-repair-not-flushed",
        "engine/repair.rs",
        "«fs.sync_dir(WAL).map_err(|error| Error::io(\"flush\", fs.display(WAL), error))?;»",
        "",
        "after a repair and a power cut a damaged file looks removed by a person",
        By::Guarantees("repair::"),
    ),
    bug(
        "snapshot-name-not-flushed",
        "files/snapshot/save.rs",
        "«sync_dir(fs, \"\")?;»
        let displaced = settle_former(",
        "",
        "the name state.json is not durable when the save returns",
        SAVE,
    ),
    bug(
        "snapshot-flushes-swapped",
        "files/snapshot/save.rs",
        "durably goes.
        «sync_dir(fs, WAL)?;
        sync_dir(fs, \"\")?;»",
        "sync_dir(fs, \"\")?; sync_dir(fs, WAL)?;",
        "the old name of what came out durably goes before it has its new one",
        SAVE,
    ),
    bug(
        "backup-name-not-flushed",
        "files/snapshot/save.rs",
        "return Ok(Former::Unsteady);
        };
        «sync_dir(fs, \"\")?;»",
        "",
        "the former snapshot goes before it durably is a backup",
        SAVE,
    ),
    bug(
        "saved-backup-name-not-flushed",
        "files/snapshot/save.rs",
        "rename_new(fs, STATE_PART, &name)?;
    «sync_dir(fs, \"\")?;»",
        "",
        "the backup made before a restore has no durable name",
        By::Guarantees("restore::"),
    ),
    bug(
        "published-backup-name-not-flushed",
        "files/snapshot/save.rs",
        "rename_new(fs, STATE_SWAP, &name)?;
    «sync_dir(fs, \"\")?;»",
        "",
        "a snapshot that cannot have its place has no durable name as a backup",
        SAVE,
    ),
    bug(
        "emergency-copy-name-not-flushed",
        "files/snapshot/save.rs",
        "let name = placed?;
    «sync_dir(fs, \"\")?;»",
        "",
        "a dump of the state to the emergency directory has no durable name",
        SAVE,
    ),
    bug(
        "shared-backup-contents-not-flushed",
        "files/snapshot/former.rs",
        "file.sync_data().map(|()| mark)",
        "Ok(mark)",
        "a backup of shared blocks gets its name before its contents are durable",
        SAVE,
    ),
    bug(
        "parted-backup-name-not-flushed",
        "files/snapshot/former.rs",
        "«sync_dir(fs, \"\")?;»
    Ok(is_intact)",
        "",
        "a backup that an editor holds open is made again, but not durably",
        SAVE,
    ),
    bug(
        "kept-directory-name-not-flushed",
        "files/conflicts.rs",
        "Ok(true) => «sync_dir(fs, \"\")»",
        "Ok(())",
        "conflicts/ has no durable name when a file in it is relied on",
        By::Lib("mirror::tests snapshot::save snapshot::former"),
    ),
    bug(
        "directories-of-files-not-flushed",
        "files/conflicts.rs",
        "«fs.sync_dir(dir)».map_err(",
        "Ok(())",
        "no flush of a directory outside the log does anything",
        SAVE,
    ),
    bug(
        "kept-contents-not-flushed",
        "files/conflicts.rs",
        "file.sync_data().map_err(|error| Error::io(\"flush\", fs.display(path), error))?;",
        "",
        "a person's file is taken from its place before its contents are durable in conflicts/",
        MIRROR,
    ),
    bug(
        "held-contents-not-flushed",
        "files/conflicts.rs",
        "file.sync_data().map_err(|error| wrap(\"flush\", error))?;",
        "",
        "a file that an editor holds open is moved to conflicts/, its contents not durable",
        By::Lib("conflicts::"),
    ),
    bug(
        "held-name-not-flushed",
        "files/conflicts.rs",
        "sync_dir(fs, CONFLICTS)?;",
        "",
        "a file that an editor holds open has no durable name in conflicts/",
        SAVE,
    ),
    bug(
        "set-aside-place-not-flushed",
        "files/conflicts.rs",
        "sync_dir(fs, path.split_once('/').map_or(\"\", |(dir, _)| dir))?;",
        "",
        "a damaged file that was set aside may come back to its place",
        By::Lib("conflicts::"),
    ),
    bug(
        "moved-name-not-flushed",
        "files/conflicts.rs",
        "Ok(()) => {
                «sync_dir(fs, shelf.dir)?;»",
        "",
        "what is no file is moved aside, but not durably",
        By::Lib("conflicts::"),
    ),
    bug(
        "kept-name-not-flushed",
        "files/conflicts.rs",
        "if is_there {
            «sync_dir(fs, shelf.dir)?;»",
        "",
        "a person's file is taken from its place before its second name is durable",
        MIRROR,
    ),
    bug(
        "kept-before-contents-not-flushed",
        "files/conflicts.rs",
        "file.sync_data().map_err(|error| Error::io(\"flush\", fs.display(target), error))?;",
        "",
        "contents that are in conflicts/ already are relied on there, though not durable",
        By::Lib("conflicts::"),
    ),
    bug(
        "output-found-not-flushed",
        "files/outputs/mod.rs",
        "fs.open(&self.file, Mode::Write).and_then(|file| file.sync_data())",
        "Ok(())",
        "a new generation of an output begins before what is there is durable",
        OUTPUTS,
    ),
    bug(
        "output-directory-not-flushed",
        "files/outputs/mod.rs",
        "sync_dir(fs, self.dir())?;",
        "",
        "a new generation of an output begins before its name is durable",
        OUTPUTS,
    ),
    bug(
        "output-part-name-not-flushed",
        "files/outputs/mod.rs",
        "sync_dir(fs, WAL)",
        "Ok::<(), Error>(())",
        "new contents of an output are logged before they have a durable name",
        OUTPUTS,
    ),
    bug(
        "output-contents-not-flushed",
        "files/outputs/mod.rs",
        "unflushed.handle.sync_data()",
        "Ok(())",
        "the flush of an output does nothing",
        OUTPUTS,
    ),
    bug(
        "mirror-directories-not-flushed-at-shutdown",
        "files/mirror/mod.rs",
        "self.unsynced.clear();
        «self.sync_dirs(fs)»",
        "Ok(())",
        "after a shutdown the names in the mirror are not durable",
        MIRROR,
    ),
    bug(
        "mirror-directories-not-flushed",
        "files/mirror/mod.rs",
        "sync_dir(fs, dir)?;",
        "",
        "the flush of the mirror's directories does nothing",
        MIRROR,
    ),
    bug(
        "many-mirror-files-not-flushed",
        "files/mirror/mod.rs",
        "fs.sync_all()",
        "Ok(())",
        "after a shutdown many files of the mirror are not durable",
        By::Guarantees("mirror::after_a_shutdown"),
    ),
    bug(
        "few-mirror-files-not-flushed",
        "files/mirror/mod.rs",
        "fs.open(file, Mode::Read).and_then(|file| file.sync_data())",
        "Ok(())",
        "after a shutdown few files of the mirror are not durable",
        MIRROR,
    ),
    bug(
        "kept-original-contents-not-flushed",
        "files/migration.rs",
        "let flushed = «file.sync_data()»;",
        "Ok(())",
        "a copy left by an earlier attempt at a migration is relied on, though not durable",
        By::Lib("migration::tests"),
    ),
    bug(
        "kept-original-name-not-flushed",
        "files/migration.rs",
        "«sync_dir(fs, \"\")?;»
            return Ok(Some(",
        "",
        "the same, though its name is not durable",
        By::Lib("migration::tests"),
    ),
    bug(
        "original-name-not-flushed",
        "files/migration.rs",
        "«sync_dir(fs, \"\")?;»
    Ok(Some(",
        "",
        "a migration begins before the copy of the original has a durable name",
        By::Lib("migration::tests"),
    ),
    bug(
        "replaced-name-not-flushed",
        "fs/replace.rs",
        "sync_dir(fs, dir)?;",
        "",
        "a replaced file (.walden) has no durable name",
        By::Lib("fs::replace::"),
    ),
    bug(
        "temporary-name-not-flushed",
        "fs/replace.rs",
        "else { «sync_dir(fs, temporary_dir)» }",
        "Ok(())",
        "the directory that a replacement came from is not flushed",
        By::Lib("fs::replace::"),
    ),
    bug(
        "directories-of-replacements-not-flushed",
        "fs/replace.rs",
        "«fs.sync_dir(dir)».map_err(",
        "Ok(())",
        "no flush of a directory after a replacement does anything",
        By::Lib("fs::replace::"),
    ),
    bug(
        "contents-not-flushed-before-rename",
        "fs/replace.rs",
        "if durable { «file.sync_data()» }",
        "Ok(())",
        "an empty file after a power cut: renamed before its contents are durable",
        By::Lib("fs::replace::"),
    ),
    bug(
        "contents-not-written-back-before-rename",
        "fs/replace.rs",
        "else { «file.write_back()» }",
        "Ok(())",
        "an empty mirror file after a power cut: renamed before its contents are on their way",
        By::Lib("fs::replace::"),
    ),
];
