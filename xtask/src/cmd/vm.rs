use std::num::NonZero;
use std::process::ExitCode;

use anyhow::Result;

use crate::libtest::Transcript;
use crate::setup::{self, Purpose};
use crate::summary::Summary;
use crate::vm::{self, LINES, Lab, Request, docs};

/// Boot real kernels under QEMU and run the tests of the kernel side on each
///
/// A KERNEL is a line such as 6.12, of which the newest release in Debian's archive is taken, or `latest`.
/// Kernels are fetched once, by apt, to target/vm; one that is gone from the archive is skipped. Logs of
/// each guest are left in target/vm/logs. No hardware help is used, so it runs anywhere.
#[derive(clap::Args)]
#[command(after_help = "Example: cargo xtask vm 5.10 latest -- retransmit")]
pub struct Vm {
    /// Kernels to boot.
    #[arg(value_name = "KERNEL", default_values = LINES)]
    lines: Vec<String>,
    /// Guests at the same time; each takes one processor and 512 MB.
    #[arg(short, long, value_name = "N", default_value_t = vm::processors())]
    jobs: NonZero<usize>,
    /// Only print which kernels there are.
    #[arg(long)]
    list: bool,
    /// Write what was found out about all of the kernels to docs/kernels.md.
    #[arg(long, conflicts_with = "lines")]
    write_docs: bool,
    /// Run only tests whose name contains one of these.
    #[arg(last = true)]
    filters: Vec<String>,
}

impl Vm {
    pub fn run(self) -> Result<ExitCode> {
        let Self { lines, jobs, list, write_docs, filters } = self;
        if list {
            return vm::list(&lines).map(|()| ExitCode::SUCCESS);
        }
        setup::prepare(Purpose::Build)?;
        let request = Request { lines, jobs, arguments: filters, accepts_cost: write_docs };
        let outcomes = Lab::open()?.run(&request)?;
        if write_docs {
            docs::write(&outcomes)?;
        }
        vm::print_failures(&outcomes);
        vm::print_matrix(&outcomes);
        let tests = Transcript { suites: vm::suites(&outcomes) };
        let summary = Summary { tests, ..Summary::default() };
        summary.print();
        Ok(if summary.passed() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}
