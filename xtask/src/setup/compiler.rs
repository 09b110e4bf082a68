//! The compiler of the kernel side: found as `agent/source/build.rs` finds it.

use std::process::Command;

use anyhow::{Context as _, Result, anyhow};

use super::debian;
use crate::toolchain::{self, Choice, DEBIAN, LLVM, PINNED_NIGHTLY, Toolchain};
use crate::{process, report};

/// Debian's newest compiler and its `core` for BPF.
const DEBIAN_PACKAGES: [&str; 3] = ["rustc-web", "cargo-web", "libstd-rust-web-dev-bpf"];
/// Seconds that rustup gets: without a network it is to give up, not to wait.
const PATIENCE: &str = "240";

/// Finds one, or tries each way to get one.
pub fn ensure() -> Result<()> {
    process::find("rustup").context("find a compiler for eBPF: no rustup in PATH")?;
    let mut found = choice();
    for way in [add_source, install_nightly, link_debian] {
        if found.is_ok() {
            break;
        }
        way().unwrap_or_else(|error| report::note("Skipped", format_args!("{error:#}")));
        found = choice();
    }
    let Choice { name, builds_core, llvm_dir: _ } = found.map_err(|why| missing(&why))?;
    let core = if builds_core { "compiled from rust-src" } else { "prebuilt" };
    report::status("Found", format_args!("{name} to compile the kernel side, core {core}"));
    Ok(())
}

fn choice() -> Result<Choice, String> {
    let (candidates, host) = toolchain::installed();
    toolchain::choose(&candidates, &host)
}

fn missing(why: &str) -> anyhow::Error {
    anyhow!(
        "no toolchain for eBPF: {why}: missing is either rustup's {PINNED_NIGHTLY} (`rustup toolchain \
         install {PINNED_NIGHTLY} --profile minimal --component rust-src`) or Debian's packages {}",
        DEBIAN_PACKAGES.join(", ")
    )
}

/// A nightly that fits, but came without the sources of `core`.
fn add_source() -> Result<()> {
    let (candidates, _) = toolchain::installed();
    let wants_source = |nightly: &&Toolchain| nightly.llvm == Some(LLVM) && nightly.name != DEBIAN;
    match candidates.iter().find(wants_source) {
        Some(nightly) => rustup(&["component", "add", "rust-src", "--toolchain", &nightly.name]),
        None => Ok(()),
    }
}

fn install_nightly() -> Result<()> {
    let install = ["toolchain", "install", PINNED_NIGHTLY, "--profile", "minimal"];
    rustup(&[&install[..], &["--component", "rust-src"]].concat())
}

fn link_debian() -> Result<()> {
    debian::install(&DEBIAN_PACKAGES)?;
    rustup(&["toolchain", "link", DEBIAN, "/usr"])
}

fn rustup(args: &[&str]) -> Result<()> {
    report::status("Trying", format_args!("rustup {}", args.join(" ")));
    let mut command = Command::new("timeout");
    command.args([PATIENCE, "rustup"]).args(args).env("RUST_BACKTRACE", "0");
    process::capture(&mut command).map(drop)
}
