//! The command line: one file a command.

mod client;
mod commands;
mod flags;
mod lines;
mod output;
mod printer;
mod rights;
mod signals;
#[cfg(test)]
mod tests;
mod trust;
mod usage;

use std::ffi::OsString;
use std::future::Future;
use std::process::ExitCode;
use std::time::Duration;
use std::{io, thread};

use anyhow::Context as _;
use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use clap::{Parser, Subcommand};
use log::LevelFilter;

use self::commands::{
    advise, agent, check, completions, kubectl, man, record, replay, tail, timeouts, top, why,
};
use self::rights::Rights;
pub use self::usage::UsageEnd;

/// Why did this TCP connection stall or die?
///
/// Watches the kernel at the moment it retransmits, resets or runs short of socket memory, and ties those
/// moments to a connection and its process.
#[derive(Debug, Parser)]
#[command(name = "tcpwhy", version, max_term_width = 100, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
    /// What is told on the standard error.
    #[arg(long, global = true, value_name = "LEVEL", env = "TCPWHY_LOG", default_value = "info",
        value_parser = PossibleValuesParser::new(["off", "error", "warn", "info", "debug", "trace"]).try_map(|name| name.parse::<LevelFilter>()))]
    log: LevelFilter,
}

#[derive(Debug, Subcommand)]
enum Command {
    Advise(advise::Advise),
    Agent(agent::Agent),
    Check(check::Check),
    Completions(completions::Completions),
    Kubectl(kubectl::Kubectl),
    Man(man::Man),
    Record(record::Record),
    Replay(replay::Replay),
    Tail(Box<tail::Tail>),
    Timeouts(timeouts::Timeouts),
    Top(top::Top),
    Why(why::Why),
}

impl Cli {
    /// Reads the arguments and the environment; help, version and wrong usage end the program.
    pub fn read(args: impl IntoIterator<Item = OsString>) -> Result<Self, UsageEnd> {
        let args = kubectl::as_plugin(args.into_iter().collect());
        Self::try_parse_from(&args).map_err(|error| UsageEnd::new(error, &args))
    }

    /// Starts the log: a message a line, with its level where that is not information. Whoever runs the
    /// daemon (journald, a container runtime) adds the time.
    pub fn start_log(&self) {
        env_logger::Builder::new()
            .filter_level(LevelFilter::Warn)
            .filter_module("agent", self.log)
            .filter_module("tcpwhy", self.log)
            .format(|to, record| {
                use std::io::Write as _;
                let level = record.level();
                if level != log::Level::Info {
                    write!(to, "{}: ", level.as_str().to_lowercase())?;
                }
                writeln!(to, "{}", record.args())
            })
            .init();
    }

    /// Runs the command. The code is 0 unless the command has words of its own for how it ended.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let done = |()| ExitCode::SUCCESS;
        match self.command {
            Command::Advise(advise) => run_async(advise.run()).map(done),
            Command::Agent(agent) => run_async(agent.run(Rights::set_apart()?)).map(done),
            Command::Check(check) => run_async(check.run()),
            Command::Completions(completions) => printed(completions.run(&mut io::stdout().lock())).map(done),
            Command::Kubectl(kubectl) => kubectl.run().map(done),
            Command::Man(man) => man.run().map(done),
            Command::Record(record) => run_async(record.run(Rights::set_apart()?)).map(done),
            Command::Replay(replay) => printed(replay.run()).map(done),
            Command::Tail(tail) => {
                let rights = tail.attaches().then(Rights::set_apart).transpose()?;
                run_async(tail.run(rights)).map(done)
            }
            Command::Timeouts(timeouts) => {
                printed(timeouts::run(&timeouts, &mut io::stdout().lock())).map(done)
            }
            Command::Top(top) => run_async(top.run()).map(done),
            Command::Why(why) => run_async(why.run()).map(done),
        }
    }
}

/// The end of the output is the end of the command, not its failure.
fn printed(result: anyhow::Result<()>) -> anyhow::Result<()> {
    let is_broken_pipe = |error: &anyhow::Error| {
        error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    };
    result.or_else(|error| if is_broken_pipe(&error) { Ok(()) } else { Err(error) })
}

/// Threads that wait for others at once: one for each listener's answer and each source of names, and some more.
const WAITING: usize = 16;

/// Threads that serve: one may encode events while the other serves.
const SERVING: usize = 2;

/// Threads that wait do not end for want of work. So there is always one, and where the host gives no more of them
/// (`pids.max`) answers wait for it; without any the runtime would panic.
const STAYS: Duration = Duration::from_hours(24 * 365);

fn run_async<T>(command: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    try_threads(SERVING + 1).context("start threads")?;
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime
        .worker_threads(SERVING)
        .max_blocking_threads(WAITING)
        .thread_keep_alive(STAYS)
        .enable_all()
        .build()
        .context("start the runtime")?;
    drop(runtime.spawn_blocking(|| ()));
    let result = runtime.block_on(command);
    // A thread that waits in a write or a map's read has nothing left to save.
    runtime.shutdown_background();
    result
}

/// Whether there may be so many more. The runtime panics where it cannot start one.
fn try_threads(count: usize) -> io::Result<()> {
    let start = |_| thread::Builder::new().spawn(thread::park);
    let threads = (0..count).map(start).collect::<io::Result<Vec<_>>>()?;
    for parked in &threads {
        parked.thread().unpark();
    }
    threads.into_iter().try_for_each(|ended| ended.join().map_err(|_| io::Error::other("a thread panicked")))
}
