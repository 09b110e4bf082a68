//! `tcpwhy man`

use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, CommandFactory as _};

use crate::cli::Cli;

/// Write the manual pages, one for each command, into a directory.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:
  tcpwhy man /usr/local/share/man/man1
  tcpwhy man . && man ./tcpwhy-tail.1

Exit status: 0 written, 1 not written, 64 wrong usage.")]
pub(in crate::cli) struct Man {
    /// The directory, which must exist.
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

impl Man {
    pub(in crate::cli) fn run(&self) -> anyhow::Result<()> {
        let directory = &self.directory;
        clap_mangen::generate_to(Cli::command(), directory)
            .with_context(|| format!("write the manual pages into {}", directory.display()))
    }
}
