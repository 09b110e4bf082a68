//! `bpf-linker`, which turns LLVM bitcode into the eBPF object.

use anyhow::{Context as _, Result};

use crate::toolchain::find_linker;
use crate::{process, report, workspace};

/// The last line that borrows LLVM 22 from a Rust toolchain.
const VERSION: &str = "0.10.3";

/// Finds one, or builds it under target/tools.
pub fn ensure() -> Result<()> {
    if find_linker(&workspace::tools_bin()).is_none() {
        install()?;
    }
    let linker = find_linker(&workspace::tools_bin()).context("installed bpf-linker does not run")?;
    report::status("Found", linker.display());
    Ok(())
}

fn install() -> Result<()> {
    report::status("Installing", format_args!("bpf-linker {VERSION} into target/tools, about a minute"));
    let mut command = process::cargo();
    command.args(["install", "bpf-linker", "--version", VERSION, "--locked", "--quiet", "--root"]);
    process::run(command.arg(workspace::tools()))
}
