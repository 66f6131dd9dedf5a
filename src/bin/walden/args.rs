//! The command line: every verb, option and help text, in the forms that scripts rely on.
//!
//! Nothing is decided here beyond what the texts say; ids are taken as they are given.

use std::path::PathBuf;

use clap::{ArgGroup, Parser, Subcommand, ValueEnum};
use walden::Collection;

const AFTER_HELP: &str = "\
The directory is --dir, else STATE_PATH from the environment or from ./.env, else \
./coding-agent-state. WALDEN_LOG sets the level of the logs on stderr.

Exit codes: 0 ok, 1 failure, 2 usage, 3 not found, 4 conflict, 5 corruption, 6 locked, 7 disk.";

const VERIFY_ABOUT: &str = "\
Check every byte of every file, and list every finding; changes nothing.

As JSON it is one object: ok, problems (each with file, offset, kind, detail), and how much was \
checked: files, bytes, bytes_total. Findings of the kinds edited, torn and stale leave ok true; with \
any other, the exit code is 5.";

const REPAIR_ABOUT: &str = "\
Bring a damaged store back to a sound state, keeping all that is removed.

Damaged and foreign files are moved to quarantine/, never deleted; then the store is opened, which \
recovers it, saved, shut down, and verified again. What people changed is left as an opening leaves \
it. The exit code is 0 if the store is sound afterwards, or after a dry run, and else 5.

As JSON it is one object: dry_run, actions (each with problem, action, kept), before and after (as \
`verify` prints them; after is null for a dry run), failure. An action is leave, quarantine (moved to \
kept), keep (has a second name there) or open (the opening sees to it).";

const WAL_ABOUT: &str = "\
List the segments of the log, or its groups; changes nothing. It also lists a damaged log.

As JSON, one object a line. type \"segment\": number, file, bytes, used_bytes, incarnation, first_lsn, \
last_lsn, groups, records, state (prepared, open, sealed, closed), verdict. With --groups each is \
followed by what is in it, by offset. type \"group\": segment, offset, kind (data, start, witness, \
seal, close), first_lsn, records, bytes, durable_lsn, time, verdict. type \"damage\": segment, offset, \
bytes, verdict, why.

A verdict is stands (part of the log), void (says nothing, or nothing any more), foreign (another \
store's), torn (cut by a crash, nothing durable is missing) or corrupt.";

const CHANGES_ABOUT: &str = "\
List the changes of documents that the log still has, oldest first; changes nothing.

Only what is durable is shown: beside a writer a change appears when something later in the log vouches \
for it, which takes a second at most; after a crash, the last group appears when the store was opened \
again.

As JSON, one object a line. type \"change\": lsn, time, origin (api, restore, migration), file, \
kind (put, patch, append_log, delete), collection (tasks, sessions), id, continues (the next belongs to \
the same transaction), text (the document, patch or entry; null of a deletion). type \"missed\": first, \
last (these LSNs are no longer in the log).";

const HISTORY_ABOUT: &str = "\
List the versions of a document that log and backups still have, oldest first; changes nothing.

As JSON, one object a line, of type \"version\": lsn, time, origin, file, kind, text (the whole document \
after the change; null if it was deleted), snapshot (of a version whose change is no longer in the log: \
the file that shows it; origin and kind are null), complete (whether every version from here on is \
listed). The exit code is 3 if nothing is known of such a document.";

const TORTURE_ABOUT: &str = "\
Break a busy store in ./walden-torture again and again, and check every acknowledged write.

With --kill a process works on the store with many threads (puts, patches, appends, deletes, \
transactions, outputs, flushed and buffered; checkpoints, backups and rotations all the time) and \
says what was acknowledged; it is killed with SIGKILL at a random instant, and the next one opens \
what is left. What it finds is held against the record of what was acknowledged, every JSON file is \
parsed, and the directory is verified.

With --sim random lives of a store are led on simulated disks, without touching this one. Before each \
call that changes something it is asked what a kill and several power cuts would leave: lost and torn \
sectors, lost and reordered names. Each is recovered, compared with what was acknowledged, and written \
to; some recoveries are stopped in turn. A violation is shrunk, and told with the command that shows it \
again (--steps, --crash).

It ends at the first violation with exit code 5, and leaves the directory; else it removes it. A run \
in which too little happened fails.";

const DIFF_ABOUT: &str = "\
Tell what people did to the files and is not taken in yet, by file and field; changes nothing.

The next opening for writing takes it in; a process that has the store open does so by itself. The exit \
code is 0 whether or not there is anything.

As JSON it is one object: writer_pid (of that process, or null), edits (each with file, collection, id, \
effect, changes, conflicts) and left (files that stay as they are: file, offset, kind, detail). An effect \
is create, change, delete, nothing, restore or held; a change has path (a JSON pointer), old and new.";

const CONFLICTS_ABOUT: &str = "\
List what lost against edits and is kept in conflicts/, or decide about it.

A kept version is open while its document exists and means something else; same if it means the same; \
gone if there is no such document; resolved once somebody has decided, by which the file gets .resolved \
behind its name. Nothing is removed but by `conflicts prune`.

As JSON, one object a line: name, status (open, same, gone, no_document, resolved), collection, id, bytes, \
hash, modified, and for what is no document detail.";

/// Keeps the state of coding agents and job queues: crash-safe, and at rest as plain JSON.
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true, after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// The store's directory
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
    /// How results and errors are printed
    #[arg(long, global = true, value_enum, default_value_t, value_name = "FORMAT")]
    pub(crate) format: Format,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// For whom the output is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people
    #[default]
    Human,
    /// For programs
    Json,
}

/// Which documents a verb is about.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct Which {
    /// Sessions instead of tasks
    #[arg(long)]
    session: bool,
}

impl Which {
    pub(crate) fn collection(self) -> Collection {
        self.chosen().unwrap_or(Collection::Task)
    }

    /// What was said, where the verb can find out by itself.
    pub(crate) fn chosen(self) -> Option<Collection> {
        self.session.then_some(Collection::Session)
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    #[command(flatten)]
    OnStore(StoreVerb),
    /// Show the main promise in ./walden-demo: kill a busy store, open it, check every write
    Demo {
        /// How long it all takes, about
        #[arg(long, value_name = "N", default_value_t = 10,
              value_parser = clap::value_parser!(u16).range(1..=3600))]
        seconds: u16,
        /// How many agents work at the same time
        #[arg(long, value_name = "N", default_value_t = 64,
              value_parser = clap::value_parser!(u16).range(1..=1024))]
        agents: u16,
    },
    #[command(hide = true)]
    DemoWorker { store: PathBuf, agents: u16, seed: u64 },
    /// Break a busy store in ./walden-torture again and again, and check every acknowledged write
    #[command(long_about = TORTURE_ABOUT)]
    Torture(Torture),
    /// Measure this disk, and the engine on it, for those who tune
    #[command(long_about = crate::bench::args::ABOUT)]
    Bench(crate::bench::args::Bench),
    #[command(hide = true)]
    TortureWorker { store: PathBuf, threads: u16, seed: u64, steps: u64 },
}

/// How a store is tortured.
#[derive(Debug, clap::Args)]
#[command(group(ArgGroup::new("way").required(true)))]
pub(crate) struct Torture {
    /// Kill its process so many times, on this disk: while it opens, works and shuts down
    #[arg(long, group = "way", value_name = "N",
          value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) kill: Option<u32>,
    /// Explore every crash of random lives on simulated disks
    #[arg(long, group = "way")]
    pub(crate) sim: bool,
    /// With --sim: only this crash of the life of the seed
    #[arg(long, requires = "sim", value_name = "PATH")]
    pub(crate) crash: Option<String>,
    /// With --crash: only these steps of the life
    #[arg(long, requires = "crash", value_name = "N,N", value_delimiter = ',')]
    pub(crate) steps: Option<Vec<usize>>,
    /// Stop after so many seconds in any case; with --sim 60, if it is not said
    #[arg(long, value_name = "S")]
    pub(crate) seconds: Option<u64>,
    /// What is written and when it breaks are drawn from this; what a machine makes of it differs
    #[arg(long, value_name = "X", default_value_t = 1)]
    pub(crate) seed: u64,
    /// Threads that write at the same time
    #[arg(long, value_name = "T", default_value_t = 8,
          value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) threads: u16,
}

/// What is done to the store in the directory.
#[derive(Debug, Subcommand)]
pub(crate) enum StoreVerb {
    /// Save the tasks of a JSON Lines file, all of them or none
    Import {
        /// One task a line; `-` for standard input
        #[arg(value_name = "FILE.jsonl")]
        file: PathBuf,
    },
    /// Apply the operations of a trace, in order for each task
    Replay {
        /// One operation a line: `save_task`, `patch_task`, `append_task_log`, `delete_task`,
        /// `save_session`, `patch_session`, `delete_session`; `-` for standard input
        #[arg(value_name = "TRACE.jsonl")]
        file: PathBuf,
        /// Threads that apply operations of different tasks at the same time
        #[arg(long, value_name = "N", default_value_t = 1,
              value_parser = clap::value_parser!(u16).range(1..=1024))]
        threads: u16,
        /// Print {"line":N,"lsn":L} for each operation when it is durable, and nothing else
        #[arg(long)]
        acks: bool,
        /// Stay with the store open after the last operation, for tests that kill the process
        #[arg(long, hide = true)]
        hold: bool,
    },
    /// List documents, sorted by id; as JSON: whole documents, one a line
    List {
        #[command(flatten)]
        which: Which,
        /// Only those with this status
        #[arg(long, value_name = "S")]
        status: Option<String>,
        /// Only those assigned to this one
        #[arg(long, value_name = "A")]
        assignee: Option<String>,
        /// At most so many
        #[arg(long, value_name = "N")]
        limit: Option<usize>,
    },
    /// Print a document
    Get {
        #[command(flatten)]
        which: Which,
        id: String,
    },
    /// Save a document, replacing an earlier one with its id
    Put {
        #[command(flatten)]
        which: Which,
        /// A file with one JSON object; `-` for standard input
        #[arg(value_name = "FILE|-")]
        file: PathBuf,
    },
    /// Change a document by a JSON merge patch (RFC 7396)
    Patch {
        #[command(flatten)]
        which: Which,
        id: String,
        /// The patch, an object; `-` to read it from standard input
        #[arg(value_name = "JSON|-")]
        json: String,
    },
    /// Append an entry to a task's logs, with the present time
    Log {
        id: String,
        message: String,
        /// The entry's level
        #[arg(long, value_name = "L", default_value = "info")]
        level: String,
    },
    /// Delete a document
    Rm {
        #[command(flatten)]
        which: Which,
        id: String,
    },
    /// Write all tasks as JSON Lines, as `import` reads them
    Export {
        /// A file to write as a whole; without it, standard output
        file: Option<PathBuf>,
    },
    /// Bring state.json and the task files up to date now
    Checkpoint,
    /// Take every document back to a backup; the present state becomes a backup first
    Restore {
        /// A backup in the store's directory, as `ls` shows it
        #[arg(value_name = "state.backup.TIME.json")]
        backup: PathBuf,
    },
    /// Open a document in $VISUAL, $EDITOR or vi, and merge what comes back with what changed meanwhile
    Edit {
        #[command(flatten)]
        which: Which,
        id: String,
        /// Make a new document if there is none
        #[arg(long)]
        create: bool,
    },
    /// Tell what people did to the files and is not taken in yet, by file and field; changes nothing
    #[command(long_about = DIFF_ABOUT)]
    Diff {
        /// Only of these documents
        #[arg(value_name = "ID")]
        ids: Vec<String>,
    },
    /// List what lost against edits and is kept in conflicts/, or decide about it
    #[command(long_about = CONFLICTS_ABOUT)]
    Conflicts {
        #[command(subcommand)]
        verb: Option<ConflictsVerb>,
    },
    /// Tell how the store is, without opening it for writing
    Status,
    /// Check every byte of every file, and list every finding; changes nothing
    #[command(long_about = VERIFY_ABOUT)]
    Verify,
    /// Bring a damaged store back to a sound state, keeping all that is removed
    #[command(long_about = REPAIR_ABOUT)]
    Repair {
        /// Only list what would be done, and change no byte
        #[arg(long)]
        dry_run: bool,
    },
    /// List the changes of documents that the log still has, oldest first; changes nothing
    #[command(long_about = CHANGES_ABOUT)]
    Changes {
        /// Only changes behind this one
        #[arg(long, value_name = "LSN", default_value_t = 0)]
        from: u64,
        /// Go on with what happens from now on, until it is interrupted
        #[arg(long)]
        follow: bool,
    },
    /// List the versions of a document that log and backups still have; changes nothing
    #[command(long_about = HISTORY_ABOUT)]
    History {
        #[command(flatten)]
        which: Which,
        id: String,
    },
    /// List the segments of the log, or its groups; changes nothing
    #[command(long_about = WAL_ABOUT)]
    Wal {
        /// List what is in each segment: groups and damaged regions
        #[arg(long)]
        groups: bool,
        /// At most so many lines
        #[arg(long, value_name = "N")]
        limit: Option<usize>,
    },
}

/// What is done about what is kept in conflicts/.
#[derive(Debug, Subcommand)]
pub(crate) enum ConflictsVerb {
    /// Print a kept version and its document, side by side by field
    Show {
        #[command(flatten)]
        which: Which,
        /// The file's name in conflicts/
        name: String,
    },
    /// Decide about a kept version; the file stays, as NAME.resolved
    Resolve {
        /// The file's name in conflicts/
        name: String,
        #[command(flatten)]
        side: Side,
        #[command(flatten)]
        which: Which,
    },
    /// Remove the files of what was resolved
    Prune {
        /// Only what was resolved so long ago
        #[arg(long, value_name = "DAYS")]
        older_than: Option<u32>,
    },
}

/// Which side is right.
#[derive(Clone, Copy, Debug, clap::Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Side {
    /// Leave the document as it is
    #[arg(long)]
    keep_state: bool,
    /// Save the kept version in the document's place
    #[arg(long)]
    take_kept: bool,
}

impl Side {
    pub(crate) fn takes_kept(self) -> bool {
        self.take_kept
    }
}
