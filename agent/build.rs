//! Builds the kernel side and leaves it at `OUT_DIR/tcpwhy-ebpf` for `aya::include_bytes_aligned!`, and the
//! programs that do nothing at `OUT_DIR/tcpwhy-noop` for `cargo xtask bench`.

#[path = "build/toolchain.rs"]
mod toolchain;

use std::env;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::exit;

use anyhow::{Context as _, Result, anyhow};
use aya_build::{Package, Toolchain};
use toolchain::Choice;

fn main() {
    if let Err(error) = build() {
        println!("cargo::error={error:#}");
        exit(1);
    }
}

fn build() -> Result<()> {
    // The profile of the kernel side is in the workspace's manifest; aya-build names the sources itself.
    println!("cargo::rerun-if-changed=../Cargo.toml");
    let (candidates, host) = toolchain::installed();
    let choice = toolchain::choose(&candidates, &host)
        .map_err(|why| anyhow!("no toolchain for eBPF: {why}: run `cargo xtask setup`"))?;
    let linker = toolchain::find_linker(&tools_dir())
        .context("no bpf-linker 0.10 in PATH or target/tools/bin: run `cargo xtask setup`")?;
    prepare_environment(&choice, &linker)?;
    let package = Package { name: "agent-ebpf", root_dir: "../agent-ebpf", ..Package::default() };
    aya_build::build_ebpf([package], Toolchain::Custom(&choice.name)).context("build agent-ebpf")
}

/// Where `cargo xtask setup` installs.
fn tools_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/tools/bin")
}

/// For the cargo that aya-build starts: it inherits this process's environment.
fn prepare_environment(choice: &Choice, linker: &Path) -> Result<()> {
    set("LD_LIBRARY_PATH", &prepended("LD_LIBRARY_PATH", &choice.llvm_dir)?);
    // By path: rustup puts another folder first in PATH, where another bpf-linker may be.
    for target in ["BPFEL", "BPFEB"] {
        set(&format!("CARGO_TARGET_{target}_UNKNOWN_NONE_LINKER"), linker.as_os_str());
    }
    // aya-build turns each line that cargo prints into a warning.
    set("CARGO_TERM_QUIET", "true".as_ref());
    if !choice.builds_core {
        // aya-ebpf needs unstable features; naming it, not `1`, keeps aya-build from compiling `core`.
        set("RUSTC_BOOTSTRAP", "aya_ebpf".as_ref());
    }
    Ok(())
}

fn prepended(variable: &str, first: &Path) -> Result<OsString> {
    let old = env::var_os(variable).unwrap_or_default();
    let paths = [first.to_owned()].into_iter().chain(env::split_paths(&old));
    env::join_paths(paths).with_context(|| format!("extend {variable}"))
}

fn set(variable: &str, value: &OsStr) {
    // SAFETY: a build script has one thread until aya-build starts its own, which is later.
    unsafe { env::set_var(variable, value) };
}
