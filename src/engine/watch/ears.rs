//! Hears from the system that something happened to the files of a real directory.
//!
//! It watches the store's directory, `tasks/` and `sessions/`, each without what is below, so that the log's
//! writes cost nothing. The system's thread only notes names and wakes the keeper, under leaf locks, and
//! keeps nothing alive. The watcher belongs to the keeper and ends with it. Where it cannot be had, or
//! fails, that is told once, and scans find everything.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use notify::event::{AccessKind, AccessMode, EventKind};
use notify::{RecommendedWatcher, RecursiveMode, Watcher};

use super::{TRY_AGAIN, Watch};
use crate::engine::core::Core;
use crate::files::names::STATE;
use crate::fs::{Kind, join};
use crate::state::Collection;

/// The watcher of an open store, if there is one.
#[derive(Debug)]
pub(crate) struct Ears(Option<(RecommendedWatcher, PathBuf)>);

impl Ears {
    /// Begins to listen, if the store's options and directory are for it.
    pub(crate) fn open(core: &Arc<Core>) -> Ears {
        let Some(place) = core.around.place.as_ref().filter(|_| core.options.watch) else {
            return Ears(None);
        };
        let mut ears = Ears(listen(core, place).inspect_err(warn).ok());
        ears.watch_dirs(core);
        if ears.0.is_some() {
            // What happened since the opening looked at the files was not heard.
            let now = core.around.clock.monotonic();
            let mut watch = core.watch.lock();
            watch.scan_by = watch.scan_by.min(now.saturating_add(TRY_AGAIN));
        }
        ears
    }

    /// Watches the directories anew if somebody made them anew; what happened before is found by a scan.
    pub(crate) fn renew(&mut self, core: &Core) {
        if std::mem::take(&mut core.watch.lock().are_dirs_changed) {
            self.watch_dirs(core);
            core.watch.lock().is_overflown = true;
        }
    }

    fn watch_dirs(&mut self, core: &Core) {
        let Some((watcher, place)) = &mut self.0 else { return };
        let done = Collection::ALL.into_iter().try_for_each(|collection| {
            // A link would lead out of the store; what cannot be looked at cannot be watched either.
            match core.around.fs.stat(collection.dir()) {
                Ok(Some(stat)) if stat.kind == Kind::Directory => {
                    watcher.watch(&place.join(collection.dir()), RecursiveMode::NonRecursive)
                }
                _ => Ok(()),
            }
        });
        match done {
            // It is gone already, and that will be heard.
            Err(error) if matches!(error.kind, notify::ErrorKind::PathNotFound) => {}
            Err(error) => {
                warn(&error);
                self.0 = None;
            }
            Ok(()) => {}
        }
    }
}

fn warn(error: &notify::Error) {
    tracing::warn!(%error, "the files cannot be watched; edits are found by a scan, every 30 s");
}

fn listen(core: &Arc<Core>, place: &Path) -> notify::Result<(RecommendedWatcher, PathBuf)> {
    // As the system will name it.
    let place = place.canonicalize()?;
    let (weak, root) = (Arc::downgrade(core), place.clone());
    let mut watcher = notify::recommended_watcher(move |heard| {
        if let Some(core) = weak.upgrade() {
            core.hear(&root, heard);
        }
    })?;
    watcher.watch(&place, RecursiveMode::NonRecursive)?;
    Ok((watcher, place))
}

impl Core {
    /// Notes what the system tells, and wakes the keeper if it is news.
    fn hear(&self, root: &Path, heard: notify::Result<notify::Event>) {
        let now = self.around.clock.monotonic();
        let is_news = {
            let mut watch = self.watch.lock();
            match heard {
                Ok(event) if !event.need_rescan() => {
                    let paths = event.paths.iter().filter(|_| is_change(event.kind));
                    let changed = paths.filter_map(|path| path.strip_prefix(root).ok());
                    changed.filter(|path| note(&mut watch, path, now)).count() > 0
                }
                // It has lost something, or cannot tell.
                _ => !std::mem::replace(&mut watch.is_overflown, true),
            }
        };
        if is_news {
            self.wishes.lock().heard = true;
            self.wished.notify_one();
        }
    }
}

/// Whether an event is more than that somebody reads.
fn is_change(kind: EventKind) -> bool {
    let is_access = matches!(kind, EventKind::Access(_));
    !is_access || kind == EventKind::Access(AccessKind::Close(AccessMode::Write))
}

/// Notes one path, relative to the store's directory; says whether the keeper is to know at once.
fn note(watch: &mut Watch, path: &Path, now: std::time::Duration) -> bool {
    let mut parts = path.iter().map(std::ffi::OsStr::to_str);
    // What is not UTF-8 is no file of a document's.
    let (Some(Some(first)), second) = (parts.next(), parts.next()) else { return false };
    let is_dir = Collection::ALL.iter().any(|collection| collection.dir() == first);
    match second {
        None if is_dir => !std::mem::replace(&mut watch.are_dirs_changed, true),
        None if first == STATE => watch.touch(first.to_owned(), now),
        Some(Some(name)) if is_dir => watch.touch(join(first, name), now),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn only_what_people_edit_is_noted() {
        let now = Duration::from_secs(1);
        let mut watch = Watch::new(now);
        for (path, is_news) in [
            ("", false),
            (".walden", false),
            ("state.backup.1.json", false),
            ("wal/swap.tasks.a.json", false),
            ("tasks/a.json", true),
            ("sessions/b.json", false),
            ("state.json", false),
        ] {
            assert_eq!(note(&mut watch, Path::new(path), now), is_news, "{path}");
        }
        let (files, all) = watch.take(now);
        assert_eq!((files.len(), all), (3, false), "{files:?}");
        assert!(note(&mut watch, Path::new("tasks"), now) && watch.are_dirs_changed);
    }

    #[test]
    fn reading_is_no_change_and_writing_is() {
        use notify::event::{CreateKind, DataChange, ModifyKind};
        assert!(!is_change(EventKind::Access(AccessKind::Open(AccessMode::Any))));
        assert!(!is_change(EventKind::Access(AccessKind::Close(AccessMode::Read))));
        assert!(is_change(EventKind::Access(AccessKind::Close(AccessMode::Write))));
        assert!(is_change(EventKind::Create(CreateKind::File)));
        assert!(is_change(EventKind::Modify(ModifyKind::Data(DataChange::Any))));
        assert!(is_change(EventKind::Any));
    }
}
