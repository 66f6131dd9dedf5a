//! Work of an opening that other threads do ahead, on a disk whose calls may overlap.
//!
//! Their results are taken in the order in which one thread would have come to them, so that what comes out
//! is the same, errors included. No thread outlives the call, and a bounded number of results waits.

use std::io;
use std::num::NonZero;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::{self, Builder, Scope};

use crate::base::{Error, Result};

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
/// error. With `threads`, other threads do the work while this one does the rest.
pub(super) fn in_order<T: Sync, R: Send>(
    items: &[T],
    threads: bool,
    work: impl Fn(&T) -> Result<R> + Sync,
    mut then: impl FnMut(R) -> Result<()>,
) -> Result<()> {
    let cores = if threads { thread::available_parallelism().map_or(1, NonZero::get) } else { 1 };
    let workers = cores.min(items.len());
    thread::scope(|scope| {
        let lanes = if workers > 1 { lanes(scope, items, workers, &work) } else { None };
        let Some(lanes) = lanes else {
            return items.iter().try_for_each(|item| then(work(item)?));
        };
        for lane in lanes.iter().cycle().take(items.len()) {
            let panicked = |_| Error::io("read", "the log", io::Error::other("a thread panicked"));
            then(lane.recv().map_err(panicked)??)?;
        }
        Ok(())
    })
}

/// Every so manieth item is a worker's; its results come out of its lane. `None` if there are no threads to
/// be had; those that were made end by themselves.
fn lanes<'scope, 'env, T: Sync, R: Send + 'scope>(
    scope: &'scope Scope<'scope, 'env>,
    items: &'env [T],
    workers: usize,
    work: &'env (impl Fn(&T) -> Result<R> + Sync),
) -> Option<Vec<Receiver<Result<R>>>> {
    let mut lanes = Vec::with_capacity(workers);
    for worker in 0..workers {
        let (give, lane) = sync_channel(1);
        let share = items.iter().skip(worker).step_by(workers);
        let run = move || {
            for item in share {
                // Nobody takes more of them after an error.
                if give.send(work(item)).is_err() {
                    return;
                }
            }
        };
        Builder::new().name("walden-open".into()).spawn_scoped(scope, run).ok()?;
        lanes.push(lane);
    }
    Some(lanes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_order_up_to_the_first_error_on_one_thread_and_on_several() {
        let items: Vec<u32> = (0..500).collect();
        for threads in [false, true] {
            for bad in [0, 1, 77, 499, 500] {
                let mut seen = Vec::new();
                let work = |item: &u32| {
                    if *item >= bad {
                        Err(Error::not_found(item.to_string()))
                    } else {
                        Ok(item * 2)
                    }
                };
                let done = in_order(&items, threads, work, |double| {
                    seen.push(double);
                    Ok(())
                });
                assert_eq!(seen, (0..bad).map(|item| item * 2).collect::<Vec<_>>());
                let why = done.err().map(|error| error.to_string());
                let first = (bad < 500).then(|| Error::not_found(bad.to_string()).to_string());
                assert_eq!(why, first, "the first one counts");
            }
            let refused = in_order(
                &items,
                threads,
                |item| Ok(*item),
                |item| {
                    if item < 9 { Ok(()) } else { Err(Error::Closed) }
                },
            );
            assert!(matches!(refused, Err(Error::Closed)));
            in_order(&[], threads, |(): &()| Ok(()), Ok).unwrap();
        }
    }

    #[test]
    fn what_is_done_aside_is_there_when_the_work_is() {
        assert_eq!(beside(|| 1, || 2), (2, Some(1)));
    }
}
