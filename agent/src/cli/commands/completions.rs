//! `tcpwhy completions`

use std::io::Write;

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use crate::cli::Cli;

/// Print what lets a shell complete the commands, flags and words of tcpwhy.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:
  tcpwhy completions bash > /etc/bash_completion.d/tcpwhy
  tcpwhy completions zsh > \"${fpath[1]}/_tcpwhy\"
  tcpwhy completions fish > ~/.config/fish/completions/tcpwhy.fish

Exit status: 0 printed, 64 wrong usage.")]
pub(in crate::cli) struct Completions {
    /// Whose language.
    shell: Shell,
}

impl Completions {
    pub(in crate::cli) fn run(&self, to: &mut impl Write) -> anyhow::Result<()> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "tcpwhy", &mut script);
        Ok(to.write_all(&script)?)
    }
}
