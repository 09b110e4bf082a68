//! Building the agent, and finding what came of it.

use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::{process, report};

/// Builds `tcpwhy` as it is shipped.
pub fn tcpwhy() -> Result<PathBuf> {
    report::status("Building", "tcpwhy for release");
    let mut command = process::cargo();
    command.args(["build", "--release", "--package", "agent", "--bin", "tcpwhy"]);
    command.arg("--message-format=json-render-diagnostics").stderr(Stdio::inherit());
    let output = command.output().context("start cargo")?;
    if !output.status.success() {
        bail!("build tcpwhy: {}", output.status);
    }
    let messages = String::from_utf8_lossy(&output.stdout);
    executable(&messages, "tcpwhy").context("build tcpwhy: cargo named no executable")
}

/// The program called `name` in cargo's messages, one JSON object a line.
fn executable(messages: &str, name: &str) -> Option<PathBuf> {
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
