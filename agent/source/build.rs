//! Builds the kernel side and leaves it at `OUT_DIR/tcpwhy-ebpf` for `aya::include_bytes_aligned!`, and the
//! programs that do nothing at `OUT_DIR/tcpwhy-noop` for `cargo xtask bench`.

#[path = "build/toolchain.rs"]
mod toolchain;

use std::env;
use std::ffi::{OsStr, OsString};
use std::io::Error;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, exit};

use anyhow::{Context as _, Result, anyhow};
use aya_build::{Package, Toolchain};
use toolchain::Choice;

/// Set where this program stands in for the compiler.
const STANDS_IN: &str = "TCPWHY_STANDS_IN_FOR_RUSTC";

fn main() {
    if env::var_os(STANDS_IN).is_some() {
        println!("cargo::error=start the compiler: {}", compile());
        exit(1);
    }
    if let Err(error) = build() {
        println!("cargo::error={error:#}");
        exit(1);
    }
}

fn build() -> Result<()> {
    // The profile of the kernel side is in the workspace's manifest; aya-build names the sources itself.
    println!("cargo::rerun-if-changed=../../Cargo.toml");
    let (candidates, host) = toolchain::installed();
    let choice = toolchain::choose(&candidates, &host)
        .map_err(|why| anyhow!("no toolchain for eBPF: {why}: run `cargo xtask setup`"))?;
    let linker = toolchain::find_linker(&tools_dir())
        .context("no bpf-linker 0.10 in PATH or target/tools/bin: run `cargo xtask setup`")?;
    prepare_environment(&choice, &linker)?;
    let package = Package { name: "agent-ebpf", root_dir: "../../agent-ebpf", ..Package::default() };
    aya_build::build_ebpf([package], Toolchain::Custom(&choice.name)).context("build agent-ebpf")
}

/// Becomes the compiler that cargo names, and has it write no folder of this machine: BTF has the paths of all
/// sources, the agent embeds it, and what is shipped is to be the same wherever it was built. aya-build leaves cargo no
/// other way to pass a flag on.
fn compile() -> Error {
    let mut arguments = env::args_os().skip(1);
    let mut command = Command::new(arguments.next().unwrap_or_else(|| "rustc".into()));
    let root =
        Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).map(|root| (root.to_owned(), "tcpwhy"));
    for (folder, name) in root.into_iter().chain(cargo_home().map(|home| (home, "cargo"))) {
        command.arg(format!("--remap-path-prefix={}={name}", folder.display()));
    }
    command.args(arguments).exec()
}

fn cargo_home() -> Option<PathBuf> {
    let given = env::var_os("CARGO_HOME").map(PathBuf::from);
    given.or_else(|| Some(Path::new(&env::var_os("HOME")?).join(".cargo")))
}

/// Where `cargo xtask setup` installs.
fn tools_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/tools/bin")
}

/// For the cargo that aya-build starts: it inherits this process's environment.
fn prepare_environment(choice: &Choice, linker: &Path) -> Result<()> {
    set("LD_LIBRARY_PATH", &prepended("LD_LIBRARY_PATH", &choice.llvm_dir)?);
    // By path: rustup puts another folder first in PATH, where another bpf-linker may be.
    for target in ["BPFEL", "BPFEB"] {
        set(&format!("CARGO_TARGET_{target}_UNKNOWN_NONE_LINKER"), linker.as_os_str());
    }
    set("RUSTC_WRAPPER", env::current_exe().context("find this program")?.as_os_str());
    set(STANDS_IN, "1".as_ref());
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
