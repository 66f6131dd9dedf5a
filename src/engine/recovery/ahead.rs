//! Work of an opening that other threads do ahead, on a disk whose calls may overlap.
//!
//! Their results are taken in the order in which one thread would have come to them, so that what comes out
//! is the same, errors included. No thread outlives the call, and a bounded number of results waits.

use std::io;
use std::num::NonZero;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::{self, Builder, Scope, ScopedJoinHandle};

use crate::base::{Error, Result};

/// With more helpers this thread, which takes what they find in order, would be what they wait for; and each has
/// results in memory.
const HELPERS_MAX: usize = 4;

/// Does `aside` on a thread of its own while `work` is done. Without a thread, `aside` is not done.
pub(super) fn beside<A: Send, B>(
    aside: impl FnOnce() -> A + Send,
    work: impl FnOnce() -> B,
) -> (B, Option<A>) {
    thread::scope(|scope| {
        let thread = Builder::new().name("walden-open".into()).spawn_scoped(scope, aside);
        let done = work();
        (done, thread.ok().and_then(|thread| thread.join().ok()))
    })
}

/// Does `work` on every item, and gives the results to `then` in the order of the items, up to the first
/// error. With `threads`, other threads do the work while this one does the rest, but for what is not `light`:
/// of that, one result at a time is in memory.
pub(super) fn in_order<T: Sync, R: Send>(
    items: &[T],
    threads: bool,
    is_light: impl Fn(&T) -> bool + Sync,
    work: impl Fn(&T) -> R + Sync,
    mut then: impl FnMut(R) -> Result<()>,
) -> Result<()> {
    let cores = if threads { thread::available_parallelism().map_or(1, NonZero::get) } else { 1 };
    let helpers = cores.min(HELPERS_MAX).min(items.len());
    let ahead = |item: &T| is_light(item).then(|| work(item));
    thread::scope(|scope| {
        let made = if helpers > 1 { lanes(scope, items, helpers, &ahead) } else { None };
        let Some((lanes, helpers)) = made else {
            return items.iter().try_for_each(|item| then(work(item)));
        };
        let done = items.iter().zip(lanes.iter().cycle()).try_for_each(|(item, lane)| {
            let panicked = |_| Error::io("read", "the log", io::Error::other("a thread panicked"));
            let found = lane.recv().map_err(panicked)?;
            then(found.unwrap_or_else(|| work(item)))
        });
        // Whoever has more to give ends. A panic, which was told, goes no further from a thread that is joined.
        drop(lanes);
        for helper in helpers {
            drop(helper.join());
        }
        done
    })
}

/// What helpers give, and the helpers.
type Made<'scope, R> = (Vec<Receiver<R>>, Vec<ScopedJoinHandle<'scope, ()>>);

/// Every so manieth item is a helper's; its results come out of its lane. `None` if there are no threads to
/// be had; those that were made end by themselves.
fn lanes<'scope, 'env, T: Sync, R: Send + 'scope>(
    scope: &'scope Scope<'scope, 'env>,
    items: &'env [T],
    count: usize,
    work: &'scope (impl Fn(&T) -> R + Sync),
) -> Option<Made<'scope, R>> {
    let (mut lanes, mut helpers) = (Vec::with_capacity(count), Vec::with_capacity(count));
    for number in 0..count {
        let (give, lane) = sync_channel(1);
        let share = items.iter().skip(number).step_by(count);
        let run = move || {
            for item in share {
                // Nobody takes more of them after an error.
                if give.send(work(item)).is_err() {
                    return;
                }
            }
        };
        helpers.push(Builder::new().name("walden-open".into()).spawn_scoped(scope, run).ok()?);
        lanes.push(lane);
    }
    Some((lanes, helpers))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

    use super::*;

    fn any<T>(_: &T) -> bool {
        true
    }

    #[test]
    fn results_come_in_order_up_to_the_first_error_on_one_thread_and_on_several() {
        let items: Vec<u32> = (0..500).collect();
        for (threads, is_light) in [(false, 1), (true, 1), (true, 2), (true, 1000)] {
            for bad in [0, 1, 77, 499, 500] {
                let mut seen = Vec::new();
                let work = |item: &u32| {
                    if *item >= bad {
                        Err(Error::not_found(item.to_string()))
                    } else {
                        Ok(item * 2)
                    }
                };
                let done = in_order(
                    &items,
                    threads,
                    |item| item % is_light == 0,
                    work,
                    |double| {
                        seen.push(double?);
                        Ok(())
                    },
                );
                assert_eq!(seen, (0..bad).map(|item| item * 2).collect::<Vec<_>>());
                let why = done.err().map(|error| error.to_string());
                let first = (bad < 500).then(|| Error::not_found(bad.to_string()).to_string());
                assert_eq!(why, first, "the first one counts");
            }
            let refuse = |item| if item < 9 { Ok(()) } else { Err(Error::Closed) };
            let refused = in_order(&items, threads, any, |item| *item, refuse);
            assert!(matches!(refused, Err(Error::Closed)));
            in_order(&[], threads, any, |(): &()| (), Ok).unwrap();
        }
    }

    #[test]
    fn without_threads_or_for_a_single_item_nobody_else_works() {
        let here = thread::current().id();
        let workers = |items: &[u32], threads| {
            let mut all = Vec::new();
            let take = |by| {
                all.push(by);
                Ok(())
            };
            in_order(items, threads, any, |_| thread::current().id(), take).unwrap();
            all
        };
        assert_eq!(workers(&[1, 2, 3], false), [here; 3]);
        assert_eq!(workers(&[1], true), [here]);
        if thread::available_parallelism().unwrap().get() > 1 {
            assert!(!workers(&[1, 2, 3], true).contains(&here));
        }
    }

    #[test]
    fn a_bounded_number_of_results_waits_and_of_what_is_not_light_one() {
        let items: Vec<usize> = (0..200).collect();
        let (alive, most, heavy) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
        let is_light = |item: &usize| !item.is_multiple_of(3);
        let work = |item: &usize| {
            most.fetch_max(alive.fetch_add(1, SeqCst) + 1, SeqCst);
            if !is_light(item) {
                assert_eq!(heavy.fetch_add(1, SeqCst), 0, "two of them at once");
            }
            *item
        };
        let take = |item: usize| {
            thread::sleep(std::time::Duration::from_micros(200));
            alive.fetch_sub(1, SeqCst);
            heavy.fetch_sub(usize::from(!is_light(&item)), SeqCst);
            Ok(())
        };
        in_order(&items, true, is_light, work, take).unwrap();
        let most = most.load(SeqCst);
        assert!(most <= 2 * HELPERS_MAX + 1, "{most}");
    }

    #[test]
    fn a_helper_that_panics_is_an_error_and_nobody_hangs() {
        let items: Vec<u32> = (0..100).collect();
        for bad in [0, 1, 50, 99] {
            let work = |item: &u32| assert!(*item < bad, "a planned panic");
            let mut seen = 0;
            let done = in_order(&items, true, any, work, |()| {
                seen += 1;
                Ok(())
            });
            if thread::available_parallelism().unwrap().get() > 1 {
                assert!(matches!(done, Err(Error::Io { .. })), "{done:?}");
                assert_eq!(seen, bad);
            }
        }
    }

    #[test]
    fn helpers_whose_results_nobody_takes_end() {
        let items: Vec<u32> = (0..100).collect();
        let done = AtomicUsize::new(0);
        let work = |_: &u32| done.fetch_add(1, SeqCst);
        thread::scope(|scope| drop(lanes(scope, &items, 2, &work)));
        assert!(done.load(SeqCst) < 10);
    }

    #[test]
    fn what_is_done_aside_is_there_when_the_work_is() {
        assert_eq!(beside(|| 1, || 2), (2, Some(1)));
        let panics = || -> u8 { panic!("a planned panic") };
        assert_eq!(beside(panics, || 2), (2, None), "as if there was no thread to be had");
    }
}
