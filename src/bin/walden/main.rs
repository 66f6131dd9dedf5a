//! The `walden` command: reads arguments, calls the crate, prints.
//!
//! Architecture invariant: only the public interface of the crate is used, so whatever this command
//! does, any program can do. Results go to stdout and everything else to stderr; nothing panics on
//! what it is given.

mod args;
mod bench;
mod changes;
mod conflicts;
mod demo;
mod diff;
mod documents;
mod edit;
mod failure;
mod host;
mod inspect;
mod ledger;
mod lines;
mod machine;
mod output;
mod progress;
mod random;
mod replay;
mod restore;
mod shell;
mod torture;
mod trace;
mod transfer;
mod wal;
mod write;

use std::ffi::OsStr;
use std::io;
use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use args::{Args, Format, StoreVerb, Verb};
use failure::{Failure, Outcome};
use shell::Shell;

fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => return refuse_arguments(&error),
    };
    let format = format_of(&args);
    let outcome = start_logging().and_then(|()| run(args));
    outcome.unwrap_or_else(|failure| failure.report(format))
}

/// How to print: one verb has a short name for it.
fn format_of(args: &Args) -> Format {
    match &args.verb {
        Verb::Bench(wanted) if wanted.json => Format::Json,
        _ => args.format,
    }
}

fn run(args: Args) -> Outcome {
    let format = format_of(&args);
    let Args { dir, verb, .. } = args;
    match verb {
        Verb::OnStore(verb) => run_on_store(&Shell::new(dir, format)?, verb),
        Verb::Demo { .. } if dir.is_some() => {
            let why = "demo always works in ./walden-demo; leave --dir away";
            Err(Failure::Usage(why.to_owned()))
        }
        Verb::Torture(_) if dir.is_some() => {
            let why = "torture always works in ./walden-torture; leave --dir away";
            Err(Failure::Usage(why.to_owned()))
        }
        Verb::Demo { seconds, agents } => demo::demo(format, seconds, agents),
        Verb::Bench(wanted) => bench::bench(format, dir, &wanted),
        Verb::Torture(wanted) => torture::torture(format, &wanted),
        Verb::DemoWorker { store, agents, seed } => demo::worker::work(&store, agents, seed),
        Verb::TortureWorker { store, threads, seed, steps } => {
            Ok(torture::worker::work(&store, threads, seed, steps))
        }
    }
}

fn run_on_store(shell: &Shell, verb: StoreVerb) -> Outcome {
    match verb {
        StoreVerb::Import { file } => transfer::import(shell, &file),
        StoreVerb::Export { file } => transfer::export(shell, file.as_deref()),
        StoreVerb::Replay { file, threads, acks, hold } => {
            replay::replay(shell, &file, threads, acks, hold)
        }
        StoreVerb::List { which, status, assignee, limit } => {
            let filter = documents::Filter { status, assignee, limit };
            documents::list(shell, which.collection(), &filter)
        }
        StoreVerb::Get { which, id } => documents::get(shell, which.collection(), &id),
        StoreVerb::Put { which, file } => write::put(shell, which.collection(), &file),
        StoreVerb::Patch { which, id, json } => write::patch(shell, which.collection(), &id, &json),
        StoreVerb::Log { id, message, level } => write::log(shell, &id, message, level),
        StoreVerb::Rm { which, id } => write::remove(shell, which.collection(), &id),
        StoreVerb::Checkpoint => write::checkpoint(shell),
        StoreVerb::Restore { backup } => restore::restore(shell, &backup),
        StoreVerb::Edit { which, id, create } => edit::edit(shell, which.collection(), &id, create),
        StoreVerb::Diff { ids } => diff::diff(shell, &ids),
        StoreVerb::Conflicts { verb } => conflicts::conflicts(shell, verb),
        StoreVerb::Status => inspect::status(shell),
        StoreVerb::Verify => inspect::verify(shell),
        StoreVerb::Repair { dry_run } => inspect::repair(shell, dry_run),
        StoreVerb::Changes { from, follow } => changes::changes(shell, from, follow),
        StoreVerb::History { which, id } => changes::history(shell, which.collection(), &id),
        StoreVerb::Wal { groups, limit } => wal::wal(shell, groups, limit),
    }
}

/// Help and version go to stdout as asked for; a wrong use is explained on stderr, with exit code 2.
fn refuse_arguments(error: &clap::Error) -> ExitCode {
    if error.use_stderr() && json_was_asked_for() {
        let text = error.render().to_string();
        let message = text.trim_end().strip_prefix("error: ").unwrap_or(&text).to_owned();
        return Failure::Usage(message).report(Format::Json);
    }
    // Where the text cannot be printed there is nobody left to tell.
    let _ = error.print();
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(1))
}

/// Looks for `--format json` in arguments that could not be parsed.
fn json_was_asked_for() -> bool {
    let args: Vec<_> = std::env::args_os().collect();
    let pair = [OsStr::new("--format"), OsStr::new("json")];
    args.iter().any(|arg| arg == "--format=json" || arg == "--json")
        || args.windows(2).any(|two| two.iter().eq(pair.iter().copied()))
}

/// Logs go to stderr, from the level that `WALDEN_LOG` names (`off`, `error`, `warn`, `info`,
/// `debug`, `trace`). Without it they go from `warn`, but for events: those that matter are told by
/// the verbs themselves.
fn start_logging() -> Result<(), Failure> {
    let targets = match std::env::var("WALDEN_LOG") {
        Ok(name) if !name.is_empty() => {
            let level: LevelFilter = name.parse().map_err(|_| {
                let levels = "off, error, warn, info, debug or trace";
                Failure::Usage(format!("WALDEN_LOG is {name:?}; it must be {levels}"))
            })?;
            Targets::new().with_default(level)
        }
        _ => Targets::new()
            .with_default(LevelFilter::WARN)
            .with_target("walden::engine::listeners", LevelFilter::OFF),
    };
    let layer = tracing_subscriber::fmt::layer()
        .with_writer(io::stderr)
        .with_ansi(console::colors_enabled_stderr())
        .with_target(false);
    tracing_subscriber::registry().with(layer.with_filter(targets)).init();
    Ok(())
}
