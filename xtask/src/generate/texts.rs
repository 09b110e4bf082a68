//! Texts that unit tests make and compare (`agent_model::golden`): with `TCPWHY_GENERATE` they write them.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::setup::{self, Purpose};
use crate::{process, report, workspace};

/// Names the folder.
pub const FOLDER: &str = "TCPWHY_GENERATE";

/// Crates whose unit tests make files. A new one of theirs needs no more than its `golden::check`.
const CRATES: &[&str] = &["agent-model", "agent-source", "agent"];

/// Every such text of [`CRATES`].
pub fn write(folder: &Path) -> Result<()> {
    run(unit_tests(folder)?)
}

/// The unit tests of [`CRATES`]: all of them in one build, also for who then runs a few.
pub fn unit_tests(folder: &Path) -> Result<Command> {
    let mut command = cargo_test(folder)?;
    command.args(CRATES.iter().flat_map(|name| ["--package", name])).arg("--lib");
    Ok(command)
}

/// By the test that the table in `tests/src/dashboards.rs` has.
pub fn write_dashboards(folder: &Path) -> Result<()> {
    deploy(folder, "the_dashboards_are_written_from_the_table")
}

/// By helm.
pub fn write_manifest(folder: &Path) -> Result<()> {
    setup::prepare(Purpose::Test)?;
    deploy(folder, "chart_and_manifest_agree")
}

/// One test of what is deployed.
fn deploy(folder: &Path, test: &str) -> Result<()> {
    let mut command = cargo_test(folder)?;
    command.args(["--package", "tests", "--test", "deploy", "--", "--exact", test]);
    run(command)
}

fn cargo_test(folder: &Path) -> Result<Command> {
    let mut command = process::cargo();
    command.args(["test", "--quiet"]).env(FOLDER, folder).env("PATH", workspace::search_path()?);
    Ok(command)
}

/// With what it prints on the standard error: the standard output is the task's own.
pub fn run(mut command: Command) -> Result<()> {
    report::status("Running", process::shown(&command));
    process::run(command.stdout(std::io::stderr()))
}
