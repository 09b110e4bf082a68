use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result};

use crate::setup::{self, Purpose, debian};
use crate::{artifact, process, report, workspace};

/// Build tcpwhy and attach it to the running kernel, with its tail in this terminal
///
/// Ctrl-C ends it. Runs `tcpwhy agent --tail` as root, with sudo where needed.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  cargo xtask run -- --help
  cargo xtask run --demo                      ten connections that stall or die, and why
  cargo xtask run --demo --record demo.rec    for `tcpwhy replay`")]
pub struct Run {
    /// Play scenes in network namespaces of its own: what happens in each, what to look for, and the agent's
    /// lines; a minute, nothing else on the host is touched.
    #[arg(long)]
    demo: bool,
    /// Keep a recording of the demo.
    #[arg(long, value_name = "FILE", requires = "demo")]
    record: Option<PathBuf>,
    /// Passed on to `tcpwhy agent`.
    #[arg(last = true)]
    args: Vec<OsString>,
}

impl Run {
    pub fn run(self) -> Result<ExitCode> {
        let Self { demo, record, args } = self;
        setup::prepare(Purpose::Build)?;
        let mut command = if demo { play(record)? } else { follow()? };
        command.args(args);
        report::status("Running", process::shown(&command));
        // In this process's place, so that signals and the exit code are the program's own.
        let program = command.get_program().to_owned();
        Err(command.exec()).with_context(|| format!("start {}", program.display()))
    }
}

fn follow() -> Result<Command> {
    let mut command = process::as_root(artifact::tcpwhy()?)?;
    command.args(["agent", "--tail"]);
    Ok(command)
}

fn play(record: Option<PathBuf>) -> Result<Command> {
    for (program, package) in [("ip", "iproute2"), ("nft", "nftables")] {
        if process::find(program).is_none() {
            debian::install(&[package])?;
        }
    }
    let (tcpwhy, demo) = (artifact::tcpwhy()?, artifact::demo()?);
    // Through env, since sudo drops most of ours.
    let mut command = process::as_root("env")?;
    command.arg(format!("PATH={}", workspace::search_path()?.display()));
    command.arg(format!("TCPWHY_BIN={}", tcpwhy.display())).arg(demo);
    if let Some(file) = record {
        command.arg("--record").arg(file);
    }
    Ok(command)
}
