//! Building the agent, and finding what came of it.

use std::fmt::Display;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::image::{Platform, Profile, program};
use crate::{process, report};

/// What the bench needs.
#[derive(Debug)]
pub struct ForBench {
    /// The bench itself.
    pub bench: PathBuf,
    /// What it measures.
    pub tcpwhy: PathBuf,
    /// The object with the programs that do nothing.
    pub noop: PathBuf,
}

/// Has cargo take all packages that have tests, and link them as the program itself, for the guests' sake.
pub fn of_tests(command: &mut Command) -> Result<()> {
    command.args(["--workspace", "--exclude", "agent-ebpf"]);
    program::link_statically(command, Platform::host(), Profile::Release)
}

/// Builds `tcpwhy` as it is shipped, that is static, but not as slowly.
pub fn tcpwhy() -> Result<PathBuf> {
    program::build(Platform::host(), Profile::Release)
}

/// Builds the demo, with the processes that it starts.
pub fn demo() -> Result<PathBuf> {
    release("tests", "lab-actor")?;
    executable(&release("tests", "demo")?, "demo").context("build the demo: cargo named no executable")
}

/// Builds the bench and `tcpwhy`.
pub fn for_bench() -> Result<ForBench> {
    let messages = release("agent", "tcpwhy")?;
    let tcpwhy = executable(&messages, "tcpwhy").context("build tcpwhy: cargo named no executable")?;
    let noop = script_output(&messages, "tcpwhy-noop").context("the build left no tcpwhy-noop")?;
    let messages = release("bench", "bench")?;
    let bench = executable(&messages, "bench").context("build the bench: cargo named no executable")?;
    Ok(ForBench { bench, tcpwhy, noop })
}

/// Builds a program; cargo's messages.
fn release(package: &str, program: &str) -> Result<String> {
    let mut command = process::cargo();
    command.args(["build", "--release", "--package", package, "--bin", program]);
    messages(command, format_args!("{program} for release"))
}

/// Runs `cargo build`; its messages, one JSON object a line.
pub fn messages(mut command: Command, what: impl Display) -> Result<String> {
    report::status("Building", &what);
    command.arg("--message-format=json-render-diagnostics").stderr(Stdio::inherit());
    let output = command.output().context("start cargo")?;
    if !output.status.success() {
        bail!("build {what}: {}", output.status);
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The file called `name` that a build script left, in cargo's messages.
fn script_output(messages: &str, name: &str) -> Option<PathBuf> {
    let messages = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut dirs = messages.filter_map(|message| message["out_dir"].as_str().map(PathBuf::from));
    dirs.find_map(|dir| Some(dir.join(name)).filter(|file| file.is_file()))
}

/// The program called `name` in cargo's messages.
pub fn executable(messages: &str, name: &str) -> Option<PathBuf> {
    messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()).find_map(|message| {
        let path = message["executable"].as_str()?;
        (message["target"]["name"] == name).then(|| path.into())
    })
}

#[cfg(test)]
mod tests {
    use super::executable;

    #[test]
    fn executable_is_the_named_target() {
        let messages = r#"
            {"reason":"compiler-artifact","target":{"name":"libc"},"executable":null}
            {"reason":"compiler-artifact","target":{"name":"other"},"executable":"target/release/other"}
            {"reason":"compiler-artifact","target":{"name":"tcpwhy"},"executable":"target/release/tcpwhy"}
            {"reason":"build-finished","success":true}"#;
        assert_eq!(executable(messages, "tcpwhy"), Some("target/release/tcpwhy".into()));
        assert_eq!(executable(messages, "libc"), None);
    }
}
