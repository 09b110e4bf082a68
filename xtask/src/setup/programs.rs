//! Programs that the tests on the live kernel start.

use std::os::unix::fs::symlink;
use std::path::Path;

use anyhow::{Context as _, Result};

use super::debian;
use crate::{process, report, workspace};

/// A program and the Debian package that has it.
const PROGRAMS: [(&str, &str); 8] = [
    ("chromium", "chromium"),
    ("ip", "iproute2"),
    ("nft", "nftables"),
    ("openssl", "openssl"),
    ("ping", "iputils-ping"),
    ("runc", "runc"),
    ("skopeo", "skopeo"),
    ("tmux", "tmux"),
];
/// From one package, which would also start a server if it were installed.
const PROMETHEUS: [&str; 2] = ["prometheus", "promtool"];

/// Finds them or installs their packages.
pub fn ensure() -> Result<()> {
    for (program, package) in PROGRAMS {
        if process::find(program).is_none() {
            debian::install(&[package])?;
        }
        require(program, package)?;
    }
    if PROMETHEUS.iter().any(|program| process::find(program).is_none()) {
        unpack_prometheus()?;
    }
    PROMETHEUS.iter().try_for_each(|program| require(program, "prometheus"))
}

fn require(program: &str, package: &str) -> Result<()> {
    let path = process::find(program)
        .with_context(|| format!("no program `{program}` (Debian package {package})"))?;
    report::status("Found", path.display());
    Ok(())
}

fn unpack_prometheus() -> Result<()> {
    let dir = workspace::tools().join("prometheus");
    debian::unpack("prometheus", &dir)?;
    let bin = workspace::tools_bin();
    std::fs::create_dir_all(&bin).with_context(|| format!("create {}", bin.display()))?;
    PROMETHEUS.iter().try_for_each(|name| link(&dir.join("usr/bin").join(name), &bin.join(name)))
}

fn link(original: &Path, link: &Path) -> Result<()> {
    // A link from an earlier set-up may point nowhere by now.
    let _ = std::fs::remove_file(link);
    symlink(original, link).with_context(|| format!("link {}", link.display()))
}
