//! A Python of the project's own, for the strict `OpenMetrics` parser that only Python has.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use super::debian;
use crate::{process, report, workspace};

const PARSER: &str = "prometheus-client==0.26.0";

/// The interpreter that has the parser.
pub fn interpreter() -> PathBuf {
    venv().join("bin/python")
}

/// Finds it, or creates it under target/.
pub fn ensure() -> Result<()> {
    if !has_parser() {
        report::status("Installing", format_args!("{PARSER} into target/venv"));
        create().or_else(|_| debian::install(&["python3-venv"]).and_then(|()| create()))?;
        let mut pip = Command::new(interpreter());
        process::capture(pip.args(["-m", "pip", "install", "--quiet", PARSER]))?;
    }
    report::status("Found", format_args!("{} with prometheus_client", interpreter().display()));
    Ok(())
}

fn has_parser() -> bool {
    let parser = "import prometheus_client.openmetrics.parser";
    process::succeeds(Command::new(interpreter()).args(["-c", parser]))
}

fn create() -> Result<()> {
    process::capture(Command::new("python3").args(["-m", "venv", "--clear"]).arg(venv())).map(drop)
}

fn venv() -> PathBuf {
    workspace::target().join("venv")
}
