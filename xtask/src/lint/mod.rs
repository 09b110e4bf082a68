//! Checks that need no kernel.

mod paths;

use std::process::Command;

use anyhow::Result;

use crate::setup::deny;
use crate::summary::{Check, Verdict};
use crate::{process, report, workspace};

/// Runs them all; one that fails does not spare the next.
pub fn all() -> Vec<Check> {
    vec![
        start("format", || verdict(format())),
        start("clippy", || verdict(clippy())),
        start("clippy, kernel side", || verdict(clippy_ebpf())),
        start("licences", || verdict(licences())),
        start("paths", paths::check),
    ]
}

fn start(name: &'static str, check: impl Fn() -> Verdict) -> Check {
    report::status("Checking", name);
    Check { name, verdict: check() }
}

fn verdict(result: Result<()>) -> Verdict {
    result.map_or_else(|error| Verdict::Failed(format!("{error:#}")), |()| Verdict::Passed)
}

fn format() -> Result<()> {
    process::run(process::cargo().args(["fmt", "--all", "--check"]))
}

fn clippy() -> Result<()> {
    let mut command = process::cargo();
    command.args(["clippy", "--quiet", "--workspace", "--exclude", "agent-ebpf", "--all-targets"]);
    process::run(command.args(["--", "-D", "warnings"]))
}

/// Clippy of the stable toolchain, as if the programs were for this machine: the toolchain that compiles
/// them for BPF need not have clippy. A release build aborts on panic, as they do.
fn clippy_ebpf() -> Result<()> {
    let mut command = process::cargo();
    command.args(["clippy", "--quiet", "--package", "agent-ebpf", "--release", "--lib", "--bins"]);
    process::run(command.args(["--", "-D", "warnings"]))
}

/// Advisories are left out: they come from a repository that a build machine may not reach. The crates of other
/// systems have licences too, and no build has fetched those.
fn licences() -> Result<()> {
    process::run(process::cargo().args(["fetch", "--locked", "--quiet"]))?;
    let mut command = Command::new(deny::program());
    command.args(["--offline", "--all-features", "check", "licenses", "bans", "sources"]);
    process::run(command.current_dir(workspace::root()))
}
