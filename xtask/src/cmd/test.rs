use std::num::NonZero;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result};

use crate::image::{Platform, Profile, program};
use crate::libtest::{Suite, Transcript};
use crate::setup::{self, Purpose, python};
use crate::skips::Skips;
use crate::summary::{Check, Summary, Verdict};
use crate::vm::{self, Lab, Request};
use crate::{artifact, image, lint, process, report, transcript, workspace};

/// Set up, lint, build everything and run all tests, those on the live kernel too, and on eight others
///
/// Tests find the agent in `TCPWHY_BIN` and a Python with prometheus-client in `TCPWHY_PYTHON`. One
/// that cannot run appends `skipped: NAME: REASON` to the file named by `TCPWHY_SKIPS` and returns. What set-up can
/// install is no reason to skip, and a test that failed has failed: none is tried again.
#[derive(clap::Args)]
#[command(after_help = "Example: cargo xtask test --no-lint -p tests reset")]
pub struct Test {
    /// Run only tests whose name contains one of these.
    filters: Vec<String>,
    /// Run only the tests of this package; can be given more than once.
    #[arg(short, long, value_name = "NAME")]
    package: Vec<String>,
    /// Tests that run at the same time; they share the machine's kernel.
    #[arg(long = "test-threads", value_name = "N", default_value_t = const { NonZero::new(4).unwrap() })]
    threads: NonZero<usize>,
    /// Leave out what `cargo xtask lint` does.
    #[arg(long)]
    no_lint: bool,
    /// Leave out the kernels that `cargo xtask vm` boots; a run of chosen tests never boots them.
    #[arg(long)]
    no_vm: bool,
}

impl Test {
    pub fn run(self) -> Result<ExitCode> {
        setup::prepare(Purpose::Test)?;
        let mut checks = if self.no_lint { Vec::new() } else { lint::all() };
        let skips = Skips::create(workspace::target().join("skips.txt"))?;
        let mut command = self.cargo_test()?;
        self.set_environment(&mut command, &skips)?;

        report::status("Testing", process::shown(&command));
        let mut tests = Transcript::default();
        let status = transcript::follow(command, |line| tests.read(line))?;
        // Tests that fail are counted as tests; this is for what failed beside them.
        if !status.success() && tests.failed() == 0 {
            checks.push(Check { name: "cargo test", verdict: Verdict::Failed(status.to_string()) });
        }
        if self.is_whole() && !self.no_vm {
            match guests() {
                Ok(suites) => tests.suites.extend(suites),
                Err(verdict) => checks.push(Check { name: "kernels under emulation", verdict }),
            }
        }
        let summary = Summary { checks, tests, skips: skips.read()? };
        summary.print();
        Ok(if summary.passed() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    /// Nobody chose tests: then those run too that take long to prepare.
    fn is_whole(&self) -> bool {
        let Self { filters, package, threads: _, no_lint: _, no_vm: _ } = self;
        filters.is_empty() && package.is_empty()
    }

    fn set_environment(&self, command: &mut Command, skips: &Skips) -> Result<()> {
        command
            .env("TCPWHY_BIN", artifact::tcpwhy()?)
            .env("TCPWHY_SKIPS", skips.path())
            .env("TCPWHY_PYTHON", python::interpreter())
            .env("PATH", workspace::search_path()?);
        if self.is_whole() {
            command.env("TCPWHY_IMAGE", image::for_tests()?);
        }
        Ok(())
    }

    fn cargo_test(&self) -> Result<Command> {
        let mut command = self.cargo()?;
        command.args(["--", "--test-threads", &self.threads.to_string()]).args(&self.filters);
        Ok(command)
    }

    fn cargo(&self) -> Result<Command> {
        let mut command = process::cargo();
        if !process::is_root() {
            command.args(["--config", &sudo_runner()?]);
        }
        command.args(["test", "--no-fail-fast"]);
        match self.package.as_slice() {
            [] => artifact::of_tests(&mut command)?,
            packages => {
                command.args(packages.iter().flat_map(|name| ["--package", name]));
                program::link_statically(&mut command, Platform::host(), Profile::Release)?;
            }
        }
        Ok(command)
    }
}

/// The tests of the kernel side on every kernel.
fn guests() -> Result<Vec<Suite>, Verdict> {
    report::status("Testing", format_args!("on {} other kernels", vm::LINES.len()));
    let lab = Lab::open().map_err(|error| Verdict::Failed(format!("{error:#}")))?;
    let lines = vm::LINES.map(str::to_owned).to_vec();
    let request = Request { lines, jobs: vm::processors(), arguments: Vec::new(), accepts_cost: false };
    let outcomes = lab.run(&request).map_err(|error| Verdict::Failed(format!("{error:#}")))?;
    vm::print_failures(&outcomes);
    vm::print_matrix(&outcomes);
    Ok(vm::suites(&outcomes))
}

/// Has cargo start each test program as root. sudo sets a PATH of its own, even with `-E`.
fn sudo_runner() -> Result<String> {
    let sudo = process::find("sudo").context("run the tests: not root, and no sudo in PATH")?;
    let (sudo, path) = (sudo.to_string_lossy(), workspace::search_path()?);
    let path = format!("PATH={}", path.display());
    Ok(format!("target.'cfg(unix)'.runner = [{sudo:?}, '-E', 'env', {path:?}]"))
}
