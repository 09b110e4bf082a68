//! Tasks of the project: `cargo xtask help`.

mod artifact;
mod bench;
mod cluster;
mod cmd;
mod generate;
mod image;
mod libtest;
mod lint;
mod process;
mod report;
mod setup;
mod skips;
mod summary;
#[path = "../../agent/source/build/toolchain.rs"]
mod toolchain;
mod transcript;
mod vm;
mod workspace;

use std::process::ExitCode;

use clap::Parser as _;

/// Wrong usage, as distinct from a task that failed (`sysexits.h`).
const EX_USAGE: u8 = 64;

/// Tasks of the tcpwhy project. Each one sets up what it needs.
#[derive(clap::Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    task: cmd::Task,
}

fn main() -> ExitCode {
    match Cli::try_parse() {
        Ok(cli) => finish(cli.task.run()),
        Err(error) => {
            // A closed pipe is the only thing that can fail here, and no reason to complain.
            let _ = error.print();
            ExitCode::from(if error.use_stderr() { EX_USAGE } else { 0 })
        }
    }
}

fn finish(result: anyhow::Result<ExitCode>) -> ExitCode {
    result.unwrap_or_else(|error| {
        report::error(format_args!("{error:#}"));
        ExitCode::FAILURE
    })
}
