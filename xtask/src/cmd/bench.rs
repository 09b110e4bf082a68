use std::process::{ExitCode, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::setup::{self, Purpose, debian};
use crate::{artifact, bench, process, report};

/// Measure what watching costs, beside programs that do nothing and beside bpftrace
///
/// Takes about two minutes, as root, in network namespaces of its own. Numbers are medians of interleaved
/// rounds; a machine with nothing else to do gives the best ones.
#[derive(clap::Args)]
#[command(after_help = "Example: cargo xtask bench --write-docs")]
pub struct Bench {
    /// Keep the result in docs/bench.md.
    #[arg(long)]
    write_docs: bool,
    /// Measure these alone: programs, slowdown, storm, holds, resident, crowd, families, drops.
    #[arg(value_name = "PART", conflicts_with = "write_docs")]
    parts: Vec<String>,
}

impl Bench {
    pub fn run(self) -> Result<ExitCode> {
        let Self { write_docs, parts } = self;
        setup::prepare(Purpose::Build)?;
        if process::find("bpftrace").is_none() {
            debian::install(&["bpftrace"])
                .unwrap_or_else(|error| report::note("Skipped", format_args!("bpftrace: {error:#}")));
        }
        let built = artifact::for_bench()?;
        let mut command = process::as_root(&built.bench)?;
        command.args([&built.tcpwhy, &built.noop]).args(parts).stderr(Stdio::inherit());
        report::status("Running", process::shown(&command));
        let output = command.output().context("start the bench")?;
        if !output.status.success() {
            bail!("run the bench: {}", output.status);
        }
        let result = String::from_utf8(output.stdout).context("read the bench's table")?;
        if write_docs {
            bench::write(&result)?;
        }
        anstream::print!("{result}");
        Ok(ExitCode::SUCCESS)
    }
}
