//! Checks that need no kernel.

mod paths;

use anyhow::Result;

use crate::summary::{Check, Verdict};
use crate::{process, report};

/// Runs them all; one that fails does not spare the next.
pub fn all() -> Vec<Check> {
    vec![
        start("format", || verdict(format())),
        start("clippy", || verdict(clippy())),
        start("clippy, kernel side", || verdict(clippy_ebpf())),
        start("licences", licences),
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

/// Advisories are left out: they come from a repository that a build machine may not reach.
fn licences() -> Verdict {
    if process::find("cargo-deny").is_none() {
        return Verdict::Skipped("no cargo-deny in PATH (`cargo install --locked cargo-deny`)".to_owned());
    }
    let mut command = process::cargo();
    command.args(["deny", "--offline", "--all-features", "check", "licenses", "bans", "sources"]);
    verdict(process::run(&mut command))
}
