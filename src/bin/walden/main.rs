//! The `walden` command: reads arguments, calls the crate, prints.
//!
//! Architecture invariant: only the public interface of the crate is used, so whatever this command
//! does, any program can do. Results go to stdout and everything else to stderr; nothing panics on
//! what it is given.

mod args;
mod demo;
mod documents;
mod failure;
mod host;
mod inspect;
mod lines;
mod output;
mod progress;
mod replay;
mod shell;
mod trace;
mod transfer;
mod write;

use std::ffi::OsStr;
use std::io;
use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::filter::LevelFilter;

use args::{Args, Format, Verb};
use failure::{Failure, Outcome};
use shell::Shell;

fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => return refuse_arguments(&error),
    };
    let format = args.format;
    let outcome = start_logging().and_then(|()| run(args));
    outcome.unwrap_or_else(|failure| failure.report(format))
}

fn run(args: Args) -> Outcome {
    let Args { dir, format, verb } = args;
    match verb {
        Verb::Demo { seconds, agents } => {
            if dir.is_some() {
                let why = "demo always works in ./walden-demo; leave --dir away";
                return Err(Failure::Usage(why.to_owned()));
            }
            demo::demo(format, seconds, agents)
        }
        Verb::DemoWorker { store, agents, seed } => demo::worker::work(&store, agents, seed),
        verb => run_in(&Shell::new(dir, format)?, verb),
    }
}

fn run_in(shell: &Shell, verb: Verb) -> Outcome {
    match verb {
        Verb::Import { file } => transfer::import(shell, &file),
        Verb::Export { file } => transfer::export(shell, file.as_deref()),
        Verb::Replay { file, threads, acks, hold } => {
            replay::replay(shell, &file, threads, acks, hold)
        }
        Verb::List { which, status, assignee, limit } => {
            let filter = documents::Filter { status, assignee, limit };
            documents::list(shell, which.collection(), &filter)
        }
        Verb::Get { which, id } => documents::get(shell, which.collection(), &id),
        Verb::Put { which, file } => write::put(shell, which.collection(), &file),
        Verb::Patch { which, id, json } => write::patch(shell, which.collection(), &id, &json),
        Verb::Log { id, message, level } => write::log(shell, &id, message, level),
        Verb::Rm { which, id } => write::remove(shell, which.collection(), &id),
        Verb::Checkpoint => write::checkpoint(shell),
        Verb::Status => inspect::status(shell),
        Verb::Verify => inspect::verify(shell),
        Verb::Demo { .. } | Verb::DemoWorker { .. } => Ok(ExitCode::SUCCESS),
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
    args.iter().any(|arg| arg == "--format=json")
        || args.windows(2).any(|two| two.iter().eq(pair.iter().copied()))
}

/// Logs go to stderr, from the level that `WALDEN_LOG` names (`off`, `error`, `warn`, `info`,
/// `debug`, `trace`); without it from `warn`.
fn start_logging() -> Result<(), Failure> {
    let level = match std::env::var("WALDEN_LOG") {
        Ok(name) if !name.is_empty() => name.parse().map_err(|_| {
            let levels = "off, error, warn, info, debug or trace";
            Failure::Usage(format!("WALDEN_LOG is {name:?}; it must be {levels}"))
        })?,
        _ => LevelFilter::WARN,
    };
    tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(io::stderr)
        .with_ansi(console::colors_enabled_stderr())
        .with_target(false)
        .init();
    Ok(())
}
