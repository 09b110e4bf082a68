//! The tests that run inside: ordinary ones, linked statically, since the guest has no libc to offer.

use std::path::PathBuf;

use anyhow::Result;
use serde_json::Value;

use crate::{artifact, process};

/// Tests of package `tests` that run inside.
const TESTS: [&str; 2] = ["guest", "kernel"];
/// What the tests start.
const ACTOR: &str = "lab-actor";
/// The program under test, which `guest` starts as users do.
pub const PROGRAM: &str = "tcpwhy";

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

/// Builds them, of the same parts as `cargo xtask test`, so that what that built is not built again.
pub fn build() -> Result<Suite> {
    let mut command = process::cargo();
    // Not `test`, or the helper would come as a test of itself too.
    command.arg("build");
    artifact::of_tests(&mut command)?;
    command.args(TESTS.iter().flat_map(|name| ["--test", name])).args(["--bin", ACTOR]);
    let messages = artifact::messages(command, "the tests for the guests")?;
    let (tests, mut helpers) =
        programs(&messages).into_iter().partition::<Vec<_>, _>(|program| TESTS.contains(&&*program.name));
    helpers.retain(|program| program.name == ACTOR);
    helpers.push(Program { name: PROGRAM.to_owned(), path: artifact::tcpwhy()? });
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
