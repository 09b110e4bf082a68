use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::process::ExitCode;

use anyhow::{Context as _, Result};

use crate::setup::{self, Purpose};
use crate::{artifact, process, report};

/// Build tcpwhy and attach it to the running kernel, with its tail in this terminal
///
/// Ctrl-C ends it. Runs `tcpwhy agent --tail` as root, with sudo where needed.
#[derive(clap::Args)]
#[command(after_help = "Example: cargo xtask run -- --help")]
pub struct Run {
    /// Passed on to `tcpwhy agent --tail`.
    #[arg(last = true)]
    args: Vec<OsString>,
}

impl Run {
    pub fn run(self) -> Result<ExitCode> {
        let Self { args } = self;
        setup::prepare(Purpose::Build)?;
        let tcpwhy = artifact::tcpwhy()?;
        let mut command = process::as_root(&tcpwhy)?;
        command.args(["agent", "--tail"]).args(args);
        report::status("Running", process::shown(&command));
        // In this process's place, so that signals and the exit code are the agent's own.
        Err(command.exec()).with_context(|| format!("start {}", tcpwhy.display()))
    }
}
