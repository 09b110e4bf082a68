//! The tests that run inside: ordinary ones, linked statically, since the guest has no libc to offer.

use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::{process, report, workspace};

/// Named, so that the flags are the tests' only, and no build script's.
const TARGET: &str = "x86_64-unknown-linux-gnu";
/// Tests of package `tests` that run inside.
const TESTS: [&str; 2] = ["guest", "kernel"];
/// The program under test, which `guest` starts as users do.
pub const PROGRAM: &str = "tcpwhy";
/// Programs that the tests start.
const HELPERS: [&str; 2] = ["lab-actor", PROGRAM];

/// A program that was built.
#[derive(Debug)]
pub struct Program {
    /// Its target's name.
    pub name: String,
    /// Where it is.
    pub path: PathBuf,
}

/// Everything that goes into the guest.
#[derive(Debug, Default)]
pub struct Suite {
    /// Test programs, run in the order of their names.
    pub tests: Vec<Program>,
    /// Programs beside them.
    pub helpers: Vec<Program>,
}

/// Builds them.
pub fn build() -> Result<Suite> {
    report::status("Building", "the tests for the guests");
    let mut command = process::cargo();
    // At once, so that both are made of the same parts. `build`, or helpers would come as tests of themselves too.
    command.args([
        "build",
        "--package",
        "tests",
        "--package",
        "agent",
        "--profile",
        "vm",
        "--target",
        TARGET,
    ]);
    command.args(TESTS.iter().flat_map(|name| ["--test", name]));
    command.args(HELPERS.iter().flat_map(|name| ["--bin", name]));
    command.arg("--target-dir").arg(workspace::target().join("vm-build"));
    command.arg("--message-format=json-render-diagnostics").stderr(Stdio::inherit());
    let output = command.env("RUSTFLAGS", "-C target-feature=+crt-static").output().context("start cargo")?;
    if !output.status.success() {
        bail!("build the tests for the guests: {}", output.status);
    }
    let built = programs(&String::from_utf8_lossy(&output.stdout));
    let (tests, helpers) = built.into_iter().partition(|program| TESTS.contains(&program.name.as_str()));
    Ok(Suite { tests, helpers })
}

/// Every program in cargo's messages, one JSON object a line.
fn programs(messages: &str) -> Vec<Program> {
    let messages = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    messages
        .filter_map(|message| {
            let path = message["executable"].as_str()?.into();
            Some(Program { name: message["target"]["name"].as_str()?.to_owned(), path })
        })
        .collect()
}
