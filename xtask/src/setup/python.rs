//! A Python of the project's own, for what only Python has: the strict `OpenMetrics` parser, and CycloneDX's schemas
//! with a validator of JSON Schema, which reads docs/schema too.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use super::debian;
use crate::{process, report, workspace};

const PACKAGES: [&str; 2] = ["prometheus-client==0.26.0", "cyclonedx-python-lib[json-validation]==11.12.0"];
/// Imports what is needed of them.
const IMPORT: &str = "import prometheus_client.openmetrics.parser, cyclonedx.validation.json, jsonschema";

/// The interpreter that has them.
pub fn interpreter() -> PathBuf {
    program("python")
}

/// A program of one of its packages.
pub fn program(name: &str) -> PathBuf {
    venv().join("bin").join(name)
}

/// Finds it, or creates it under target/.
pub fn ensure() -> Result<()> {
    if !has_packages() {
        install(&PACKAGES)?;
    }
    report::status("Found", format_args!("{} with prometheus_client and cyclonedx", interpreter().display()));
    Ok(())
}

/// Installs packages into it, once there is one.
pub fn install(packages: &[&str]) -> Result<()> {
    report::status("Installing", format_args!("{} into target/venv", packages.join(" and ")));
    if !has_pip() {
        create().or_else(|_| debian::install(&["python3-venv"]).and_then(|()| create()))?;
    }
    process::capture(pip().args(["install", "--quiet"]).args(packages)).map(drop)
}

fn has_pip() -> bool {
    process::succeeds(pip().arg("--version"))
}

fn pip() -> Command {
    let mut pip = Command::new(interpreter());
    pip.args(["-m", "pip"]);
    pip
}

fn has_packages() -> bool {
    process::succeeds(Command::new(interpreter()).args(["-c", IMPORT]))
}

fn create() -> Result<()> {
    process::capture(Command::new("python3").args(["-m", "venv", "--clear"]).arg(venv())).map(drop)
}

fn venv() -> PathBuf {
    workspace::target().join("venv")
}
