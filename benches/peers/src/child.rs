//! What is done in a process of its own: since its memory is looked at, or since it must end as by a kill.
//!
//! The program calls itself with a hidden subcommand and reads one line of JSON. The child ends without
//! closing anything. It is told the sizes by the same options as its parent.

use std::hint::black_box;
use std::io::{self, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;
use std::{env, fs, mem};

use serde::{Deserialize, Serialize};
use walden::{Durability, Error, Result, Store};

use crate::documents::{self, TOGETHER};
use crate::peer::failed;
use crate::peers;
use crate::session::Plan;
use crate::system;

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum Act {
    /// Puts the records, the log being the only place that has them.
    FillLog,
    /// Opens what is there.
    Open,
    /// Opens a store without changing anything.
    OpenToRead,
    /// Reads the files of a directory, and makes their crc32.
    Read,
    /// Opens a new store and puts the documents.
    Hold,
}

impl Act {
    fn name(self) -> &'static str {
        match self {
            Act::FillLog => "fill-log",
            Act::Open => "open",
            Act::OpenToRead => "open-to-read",
            Act::Read => "read",
            Act::Hold => "hold",
        }
    }
}

/// What a child has to say.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Told {
    pub(crate) seconds: f64,
    /// Bytes, when it was done.
    pub(crate) resident: Option<u64>,
    pub(crate) peak: Option<u64>,
    /// Records of the log that were applied, if it is a store of ours.
    pub(crate) replayed: Option<u64>,
    /// Bytes that were read, or of the documents that were put.
    pub(crate) bytes: u64,
}

/// Lets a child do it.
///
/// # Errors
/// That it could not be started, failed, or said something else.
pub(crate) fn run(plan: &Plan, act: Act, contender: &str, path: &Path) -> Result<Told> {
    let fail = |error: io::Error| failed("a process of its own", error);
    let option = |name: &str, value: String| format!("--{name}={value}");
    let mut command = Command::new(env::current_exe().map_err(fail)?);
    command.args(["child", act.name(), contender]).arg(path).args([
        option("records", plan.records.to_string()),
        option("documents", plan.documents().to_string()),
        option("value-bytes", plan.value_bytes.to_string()),
        option("seed", plan.seed.to_string()),
    ]);
    let output = command.stderr(Stdio::inherit()).output().map_err(fail)?;
    if !output.status.success() {
        let what = format!("{} {contender}: {}", act.name(), output.status);
        return Err(fail(io::Error::other(what)));
    }
    serde_json::from_slice(&output.stdout).map_err(|error| failed("a process of its own", error))
}

/// Does it, tells, and ends.
pub(crate) fn be(plan: &Plan, act: Act, contender: &str, path: &Path) -> Result<()> {
    let told = match act {
        Act::FillLog if contender == "walden" => fill_log(plan, path)?,
        Act::FillLog => fill_peer(plan, contender, path)?,
        Act::Open if contender == "walden" => {
            let begun = Instant::now();
            let store = Store::open(path)?;
            let replayed = Some(store.recovery().records_replayed);
            tell(begun, replayed, 0, store)
        }
        Act::OpenToRead => {
            let begun = Instant::now();
            let view = Store::builder(path).open_read_only()?;
            let replayed = Some(view.recovery().records_replayed);
            tell(begun, replayed, 0, view)
        }
        Act::Open => {
            let begun = Instant::now();
            let peer = open_peer(contender, path)?;
            tell(begun, None, 0, peer)
        }
        Act::Read => {
            let begun = Instant::now();
            let bytes = read_and_check(path).map_err(|error| failed("the log", error))?;
            tell(begun, None, bytes, ())
        }
        Act::Hold => {
            let begun = Instant::now();
            let store = Store::open(path)?;
            let texts = (0..plan.documents()).map(|number| documents::text(number, plan));
            let bytes = documents::fill(&store, texts)?;
            let told = tell(begun, None, bytes, &store);
            store.shutdown()?;
            told
        }
    };
    let line = serde_json::to_vec(&told).map_err(|error| failed("the line", error))?;
    let mut out = io::stdout().lock();
    out.write_all(&line).and_then(|()| out.flush()).map_err(|error| failed("the line", error))?;
    // Nothing is closed: for the disk, this is a kill.
    std::process::exit(0)
}

/// Looks at the time and the memory while what was opened is still there, and leaves it as a kill does:
/// dropping a store saves it.
fn tell<T>(begun: Instant, replayed: Option<u64>, bytes: u64, held: T) -> Told {
    let seconds = begun.elapsed().as_secs_f64();
    let [resident, peak] = system::memory().map_or([None; 2], |memory| memory.map(Some));
    mem::forget(held);
    Told { seconds, resident, peak, replayed, bytes }
}

fn fill_log(plan: &Plan, path: &Path) -> Result<Told> {
    let begun = Instant::now();
    let store = Store::builder(path).options(documents::quiet()).open()?;
    // Every store that has run for a while has a snapshot; one that has none is saved by the opening.
    store.save_task_json(&documents::text(0, plan))?;
    store.checkpoint()?;
    let mut numbers = (0..plan.records).peekable();
    let mut bytes = 0;
    while numbers.peek().is_some() {
        let mut commits = Vec::with_capacity(TOGETHER);
        for number in numbers.by_ref().take(TOGETHER) {
            let text = documents::text(number % plan.documents(), plan);
            bytes += text.len() as u64;
            // While one group is flushed, the next ones queue: groups are large, as with many callers.
            commits.push(store.submit(Durability::Sync, |tx| tx.save_task_json(&text))?);
        }
        commits.into_iter().try_for_each(|commit| commit.wait().map(drop))?;
    }
    store.sync()?;
    Ok(tell(begun, None, bytes, store))
}

fn fill_peer(plan: &Plan, contender: &str, path: &Path) -> Result<Told> {
    let begun = Instant::now();
    let peer = open_peer(contender, path)?;
    let mut numbers = (0..plan.records).peekable();
    let mut bytes = 0;
    while numbers.peek().is_some() {
        let texts = numbers.by_ref().take(TOGETHER);
        let texts = texts.map(|number| documents::text(number % plan.documents(), plan));
        let group: Vec<_> = texts.map(|text| text.into_bytes().into()).collect();
        bytes += group.iter().map(|text: &std::sync::Arc<[u8]>| text.len() as u64).sum::<u64>();
        peer.put(&group)?;
    }
    Ok(tell(begun, None, bytes, peer))
}

/// Buffered where that is possible: a kill leaves what the kernel was given.
fn open_peer(contender: &str, path: &Path) -> Result<Box<dyn crate::peer::Peer>> {
    let entry = peers::ALL.iter().find(|entry| entry.name == contender);
    let entry = entry.ok_or_else(|| Error::not_found(format!("engine {contender}")))?;
    match (entry.open)(path, false) {
        Err(Error::Unsupported { .. }) => (entry.open)(path, true),
        opened => opened,
    }
}

/// A file at a time, as the simplest program would.
fn read_and_check(dir: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(dir)? {
        let read = fs::read(entry?.path())?;
        black_box(crc32fast::hash(&read));
        bytes += read.len() as u64;
    }
    Ok(bytes)
}
