//! Crash exploration: a program is run on a simulated disk, and at every call that changes something
//! it is asked what would be found if the machine stopped there.
//!
//! At each call, the disks that a kill and a power cut may leave are made from the running one, and on
//! each the program's recovery runs and checks. Some of these recoveries are stopped at each of their
//! calls in turn. The run itself goes on, so a whole exploration costs one run a thread.
//!
//! Invariants: deterministic, so that the path of a violation replays it; a panic of the program is a
//! violation and nothing else; what is counted as a state was recovered from and checked.

mod path;
mod report;
mod search;
mod shrink;
#[cfg(test)]
mod tests;
mod world;

use std::sync::Arc;

pub use path::{Crash, CrashPath, Outcome, Stop};
pub use report::{Known, Report, Violation};
pub use world::World;

use crate::base::Error;
use crate::fs::sim::Rules;
use crate::testing::Shared;
use search::Search;

/// What a program's own check says: nothing, or why not.
pub type Verdict = std::result::Result<(), Box<dyn std::error::Error + Send + Sync>>;

/// A program whose crashes are explored.
///
/// It must do the same in every run: no threads, no time but the world's clock, no randomness but from
/// the world's seed. [`World::builder`] opens a store that way.
pub trait Program: Send + Sync + 'static {
    /// What the program has promised so far: what must be found after a crash.
    type Promise: Clone + Send + Sync + 'static;

    /// What is promised before the first call.
    fn promise(&self) -> Self::Promise;

    /// Runs the program from the beginning, on an empty disk. Whatever it promises, it notes at the
    /// moment from which it is to hold; what it is about to do, before.
    fn run(&self, world: &World, promise: &Shared<Self::Promise>) -> Verdict;

    /// Starts the program again after the machine stopped, and checks that what was promised is there.
    /// It may go on working, and promise more: its calls are crashed in turn.
    fn recover(&self, world: &World, stop: Stop, promise: &Shared<Self::Promise>) -> Verdict;
}

/// Called with what was explored so far, now and then.
pub(super) type OnProgress = Arc<dyn Fn(&Report) + Send + Sync>;

/// How much is explored.
///
/// ```
/// use walden::fs::sim::SimFs;
/// use walden::testing::{Explorer, Program, Shared, Stop, Verdict, World};
///
/// /// Money moves from one task to another, by two writes.
/// struct Transfer { in_one_transaction: bool }
///
/// fn balance(task: &walden::Task) -> i64 {
///     task.extra["money"].as_i64().unwrap()
/// }
///
/// impl Program for Transfer {
///     type Promise = bool; // whether there are accounts
///     fn promise(&self) -> bool { false }
///
///     fn run(&self, world: &World, ready: &Shared<bool>) -> Verdict {
///         let store = world.builder().open()?;
///         store.transaction(|tx| {
///             tx.save_task_json(r#"{"id": "a", "money": 100}"#)?;
///             tx.save_task_json(r#"{"id": "b", "money": 0}"#)
///         })?;
///         ready.change(|ready| *ready = true);
///         if self.in_one_transaction {
///             store.transaction(|tx| {
///                 tx.patch_task_json("a", r#"{"money": 70}"#)?;
///                 tx.patch_task_json("b", r#"{"money": 30}"#)
///             })?;
///         } else {
///             store.patch_task_json("a", r#"{"money": 70}"#)?;
///             store.patch_task_json("b", r#"{"money": 30}"#)?;
///         }
///         Ok(())
///     }
///
///     fn recover(&self, world: &World, _: Stop, ready: &Shared<bool>) -> Verdict {
///         let store = world.builder().open()?;
///         let sum: i64 = store.load_tasks()?.iter().map(balance).sum();
///         if sum == 100 || !ready.get() && sum == 0 { Ok(()) } else {
///             Err(format!("there are {sum} coins").into())
///         }
///     }
/// }
///
/// let explorer = Explorer::default();
/// explorer.explore(Transfer { in_one_transaction: true })?;
/// let violation = explorer.explore(Transfer { in_one_transaction: false }).unwrap_err();
/// assert_eq!(violation.why, "there are 70 coins");
/// # Ok::<(), Box<walden::testing::Violation>>(())
/// ```
#[derive(Clone)]
pub struct Explorer {
    /// Random outcomes of a power cut at each call, besides the two extremes and a kill. Default 2.
    pub random: u64,
    /// Which outcomes are drawn: runs with different seeds show different ones. Default 0.
    pub seed: u64,
    /// In what order unflushed changes may reach the medium. Default [`Rules::Ordered`].
    pub rules: Rules,
    /// How many crashes come one after another at most. Default 2.
    pub depth: usize,
    /// Of so many recoveries, one is stopped at its calls in turn. Default 16; at least 1.
    pub nested_every: u64,
    /// Of so many calls of the program, one is looked at; the last always. Default 1, all of them.
    pub stride: u64,
    /// The same for the calls of a recovery. Default 1.
    pub nested_stride: u64,
    /// Threads, each of which runs the program once. Default 1.
    pub threads: u64,
    /// Ends after so many states. Default no limit.
    pub states_max: u64,
    /// Disks met before, by other explorations. Default none.
    pub known: Known,
    /// Only this crash, to see a violation again. Default all.
    pub only: Option<CrashPath>,
    /// Called about twice a second, from any thread. Default nobody.
    pub on_progress: Option<OnProgress>,
}

impl Default for Explorer {
    fn default() -> Self {
        Explorer {
            random: 2,
            seed: 0,
            rules: Rules::default(),
            depth: 2,
            nested_every: 16,
            stride: 1,
            nested_stride: 1,
            threads: 1,
            states_max: u64::MAX,
            known: Known::default(),
            only: None,
            on_progress: None,
        }
    }
}

impl std::fmt::Debug for Explorer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Explorer").field("seed", &self.seed).finish_non_exhaustive()
    }
}

impl Explorer {
    /// The default, changed by the environment: `WALDEN_CRASH` replays one crash (see [`CrashPath`]),
    /// `WALDEN_SIM_SEEDS` sets the number of random outcomes.
    ///
    /// # Errors
    /// `Invalid` if one of them cannot be read.
    pub fn from_env() -> crate::base::Result<Explorer> {
        let mut explorer = Explorer::default();
        if let Ok(path) = std::env::var("WALDEN_CRASH") {
            explorer.only = Some(path.parse()?);
        }
        if let Ok(count) = std::env::var("WALDEN_SIM_SEEDS") {
            explorer.random = count.parse().map_err(|_| {
                Error::invalid(format!("WALDEN_SIM_SEEDS={count}"), "it must be a number")
            })?;
        }
        Ok(explorer)
    }

    /// Explores. The first violation ends it, and is shrunk to a simpler one if there is one.
    ///
    /// # Errors
    /// The violation: what the program's check said, and which crash shows it.
    pub fn explore<P: Program>(&self, program: P) -> Result<Report, Box<Violation>> {
        let program = Arc::new(program);
        let search = Search::new(self.clone(), program.clone());
        match search.run() {
            Ok(report) => Ok(report),
            Err(violation) if self.only.is_some() => Err(violation),
            Err(violation) => Err(Box::new(shrink::shrink(self, &program, *violation))),
        }
    }
}
