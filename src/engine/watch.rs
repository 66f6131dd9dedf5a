//! When which files are looked at for people's edits: by a scan now and then, again where it was not sure
//! yet, and where the system says that something happened.
//!
//! Nothing is taken in here: [`Core::take_in_edits`] does that. What is told by the system is no more than
//! a hint, and may be the engine's own doing; a look decides. However much happens, what is noted is
//! bounded, and looking takes a bounded share of the time: what is too much is answered by a scan.

#[cfg(feature = "watch")]
mod ears;
#[cfg(not(feature = "watch"))]
mod ears {
    //! Without the feature `watch` nothing is heard, and scans find everything.

    use std::sync::Arc;

    use crate::engine::core::Core;

    #[derive(Debug)]
    pub(crate) struct Ears;

    impl Ears {
        pub(crate) fn open(_: &Arc<Core>) -> Ears {
            Ears
        }

        #[expect(clippy::unused_self, reason = "as the other one")]
        pub(crate) fn renew(&mut self, _: &Core) {}
    }
}

use std::collections::BTreeSet;
use std::time::Duration;

use crate::engine::core::Core;
use crate::engine::edits::Told;
use crate::files::mirror::{Mirror, Source};
pub(crate) use ears::Ears;

/// All files are looked at so often, if looking takes no more than a twentieth of the time.
const SCAN_INTERVAL: Duration = Duration::from_secs(30);
const SCAN_SHARE: u32 = 20;
/// What happens within so long is looked at together.
const GATHERED_FOR: Duration = Duration::from_millis(25);
/// More files than these are found faster by a scan.
#[cfg(any(feature = "watch", test))]
const TOUCHED_MAX: usize = 10_000;
/// What is not settled is looked at again after so long.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// What could not be taken in is tried again after so long.
const TRY_AGAIN: Duration = Duration::from_secs(1);
/// A look that has to wait for a checkpoint asks again after so long.
const BUSY: Duration = Duration::from_millis(5);

/// When which files are looked at next.
#[derive(Debug)]
pub(crate) struct Watch {
    /// Files that something was heard to happen to.
    touched: BTreeSet<String>,
    /// When that was, of the first.
    touched_at: Option<Duration>,
    /// What happened was more than could be told: all files are looked at.
    is_overflown: bool,
    /// The directories themselves are not the same any more.
    #[cfg(feature = "watch")]
    are_dirs_changed: bool,
    /// All files are looked at no sooner than this, and no later than that.
    scan_from: Duration,
    scan_by: Duration,
    /// When what was not sure is looked at again.
    pub(crate) again: Option<Duration>,
    not_before: Duration,
}

impl Watch {
    /// After an opening at `now`, which has looked at everything.
    pub(crate) fn new(now: Duration) -> Self {
        Watch {
            touched: BTreeSet::new(),
            touched_at: None,
            is_overflown: false,
            #[cfg(feature = "watch")]
            are_dirs_changed: false,
            scan_from: now,
            scan_by: now.saturating_add(SCAN_INTERVAL),
            again: None,
            not_before: now,
        }
    }

    /// When a look is due.
    fn due(&self) -> Duration {
        let scan = if self.is_overflown { self.scan_from } else { self.scan_by };
        let gathered = self.touched_at.map(|at| at.saturating_add(GATHERED_FOR));
        let due = [gathered, self.again].into_iter().flatten().fold(scan, Duration::min);
        due.max(self.not_before)
    }

    /// The files that were touched, and whether all are to be looked at at `now`.
    fn take(&mut self, now: Duration) -> (BTreeSet<String>, bool) {
        self.again = None;
        self.touched_at = None;
        let scan = if self.is_overflown { self.scan_from } else { self.scan_by };
        let all = scan <= now;
        self.is_overflown &= !all;
        (std::mem::take(&mut self.touched), all)
    }

    /// Something happened to a file; says whether a look is due earlier by that.
    #[cfg(any(feature = "watch", test))]
    fn touch(&mut self, file: String, now: Duration) -> bool {
        self.touched.insert(file);
        if self.touched.len() > TOUCHED_MAX {
            self.touched.clear();
            self.touched_at = None;
            return !std::mem::replace(&mut self.is_overflown, true);
        }
        self.touched_at.replace(self.touched_at.unwrap_or(now)).is_none()
    }

    fn scanned(&mut self, begun: Duration, ended: Duration) {
        let share = ended.saturating_sub(begun).saturating_mul(SCAN_SHARE);
        self.scan_from = begun.saturating_add(share);
        self.scan_by = begun.saturating_add(SCAN_INTERVAL.max(share));
    }
}

impl Core {
    /// When files are to be looked at next.
    pub(crate) fn look_due(&self) -> Duration {
        self.watch.lock().due()
    }

    /// Looks for edits, if that is due, and takes them in. Listeners are told of a failure; the files stay
    /// as they are, and another look tries again.
    pub(crate) fn look_for_edits(&self) {
        let now = self.around.clock.monotonic();
        if self.look_due() > now {
            return;
        }
        let Some(mut checkpointer) = self.checkpointer.try_lock() else {
            self.watch.lock().not_before = now.saturating_add(BUSY);
            return;
        };
        let files = self.files_due(&mut checkpointer.mirror, now);
        if files.as_ref().is_some_and(BTreeSet::is_empty) {
            self.look_again(&checkpointer.mirror, Duration::ZERO);
            return;
        }
        let mut told = Told::default();
        let taken = self.take_in_edits(&mut checkpointer, files.as_ref(), true, &mut told);
        if taken.is_err() {
            // They are not lost to the next look.
            let missed = files.iter().flatten().map(|file| (file.clone(), Source::File));
            checkpointer.mirror.notice(missed);
            self.look_again(&checkpointer.mirror, now.saturating_add(TRY_AGAIN));
        }
        drop(checkpointer);
        if files.is_none() {
            self.watch.lock().scanned(now, self.around.clock.monotonic());
        }
        self.tell(told);
        if let Err(error) = taken {
            self.failed(&error);
        }
    }

    /// The files that are to be looked at now, without those that are as the engine left them; `None`: all.
    fn files_due(&self, mirror: &mut Mirror, now: Duration) -> Option<BTreeSet<String>> {
        let (mut files, all) = self.watch.lock().take(now);
        if all {
            return None;
        }
        mirror.drop_known(&*self.around.fs, &mut files);
        files.extend(mirror.looks_again_at(now));
        Some(files)
    }

    /// Notes when files are looked at again of which it is not sure yet, after a look at `now`.
    pub(crate) fn looked(&self, mirror: &Mirror, now: Duration) {
        self.look_again(mirror, now.saturating_add(LOOK_AGAIN));
    }

    /// Notes when files are looked at again of which it is not sure yet, no sooner than `from`.
    pub(crate) fn look_again(&self, mirror: &Mirror, from: Duration) {
        self.watch.lock().again = mirror.next_look().map(|due| due.max(from));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn watch() -> Watch {
        let mut watch = Watch::new(SECOND);
        watch.scanned(SECOND, SECOND * 2);
        watch
    }

    #[test]
    fn what_happens_together_is_looked_at_together_and_soon() {
        let mut watch = watch();
        let now = SECOND * 3;
        assert!(watch.touch("a".into(), now));
        assert!(!watch.touch("b".into(), now + GATHERED_FOR / 2), "it is due already");
        assert_eq!(watch.due(), now + GATHERED_FOR);
        let (files, all) = watch.take(watch.due());
        assert_eq!((files.len(), all), (2, false));
        assert!(watch.touch("a".into(), now * 2));
    }

    #[test]
    fn too_much_is_answered_by_a_scan_and_by_no_more_than_its_share_of_the_time() {
        let mut watch = watch();
        let news = (0..=TOUCHED_MAX).filter(|n| watch.touch(n.to_string(), SECOND * 3)).count();
        assert_eq!(news, 2, "the first, and the one too many");
        assert!(watch.touched.is_empty());
        // The scan took a second, from the first on.
        assert_eq!(watch.due(), SECOND * (1 + SCAN_SHARE));
        assert!(!watch.take(SECOND * 20).1);
        assert!(watch.take(SECOND * 21).1);
        watch.scanned(SECOND * 21, SECOND * 21);
        assert_eq!(watch.due(), SECOND * 21 + SCAN_INTERVAL);
    }
}
