//! Which compiler and which linker build the kernel side. `agent/build.rs` and `cargo xtask setup`
//! share this file, so that what set-up finds good is what the build takes.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

/// LLVM that `bpf-linker` speaks: it borrows the libLLVM of a Rust toolchain.
pub const LLVM: u32 = 22;
/// A nightly with that LLVM; a newer one may have outgrown the linker.
pub const PINNED_NIGHTLY: &str = "nightly-2026-05-20";
/// Debian's compiler, which comes with `core` prebuilt for BPF, under its rustup name.
pub const DEBIAN: &str = "debian-bpf";
/// In order of preference.
pub const CANDIDATES: [&str; 3] = [PINNED_NIGHTLY, "nightly", DEBIAN];

/// What a toolchain brings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Toolchain {
    /// Rustup's name for it.
    pub name: String,
    /// Its root; none when it is not installed.
    pub sysroot: Option<PathBuf>,
    /// Major version of its LLVM.
    pub llvm: Option<u32>,
    /// The sources of `core` are there to be compiled.
    pub core_source: bool,
    /// `core` is there, compiled for BPF.
    pub core_built: bool,
}

/// How the kernel side gets built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// Rustup's name of the compiler.
    pub name: String,
    /// Compiling `core` is part of the build, as opposed to finding it built.
    pub builds_core: bool,
    /// Folder of the libLLVM that the linker borrows.
    pub llvm_dir: PathBuf,
}

/// The first usable candidate, or why each one is not. `host` is the toolchain that cargo runs with.
pub fn choose(candidates: &[Toolchain], host: &Toolchain) -> Result<Choice, String> {
    let verdicts: Vec<_> = candidates.iter().map(|toolchain| judge(toolchain, host)).collect();
    match verdicts.iter().find_map(|verdict| verdict.as_ref().ok()) {
        Some(choice) => Ok(choice.clone()),
        None => Err(verdicts.into_iter().filter_map(Result::err).collect::<Vec<_>>().join("; ")),
    }
}

fn judge(toolchain: &Toolchain, host: &Toolchain) -> Result<Choice, String> {
    let name = &toolchain.name;
    let Some(sysroot) = &toolchain.sysroot else {
        return Err(format!("{name} is not installed"));
    };
    // A nightly compiles `core` for BPF and lends its own LLVM. Debian's rustc keeps its LLVM where the
    // linker does not look, so the host's is borrowed.
    let (builds_core, lender, lib) = match (name == DEBIAN, toolchain) {
        (false, Toolchain { core_source: true, .. }) => (true, toolchain, Some(sysroot)),
        (false, _) => return Err(format!("{name} has no rust-src")),
        (true, Toolchain { core_built: true, .. }) => (false, host, host.sysroot.as_ref()),
        (true, _) => return Err(format!("{name} has no core for BPF")),
    };
    match (lender.llvm, lib) {
        (Some(LLVM), Some(lib)) => Ok(Choice { name: name.clone(), builds_core, llvm_dir: lib.join("lib") }),
        (llvm, _) => Err(format!("{} has LLVM {}, not {LLVM}", lender.name, or_unknown(llvm))),
    }
}

fn or_unknown(version: Option<u32>) -> String {
    version.map_or_else(|| "unknown".to_owned(), |version| version.to_string())
}

/// The candidates as installed here, and the toolchain that cargo runs with.
pub fn installed() -> (Vec<Toolchain>, Toolchain) {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let candidates = CANDIDATES
        .map(|name| probe(name, &["rustup".as_ref(), "run".as_ref(), name.as_ref(), "rustc".as_ref()]));
    (candidates.to_vec(), probe("the active toolchain", &[&rustc]))
}

fn probe(name: &str, rustc: &[&OsStr]) -> Toolchain {
    let sysroot = output(rustc, &["--print", "sysroot"]).map(|path| PathBuf::from(path.trim()));
    let version = output(rustc, &["-vV"]).unwrap_or_default();
    let has =
        |file: &str| sysroot.as_deref().is_some_and(|root| root.join("lib/rustlib").join(file).exists());
    Toolchain {
        name: name.to_owned(),
        llvm: llvm_major(&version),
        core_source: has("src/rust/library/core/Cargo.toml"),
        core_built: has("bpfel-unknown-none/lib"),
        sysroot,
    }
}

/// From the output of `rustc -vV`.
fn llvm_major(version: &str) -> Option<u32> {
    let llvm = version.lines().find_map(|line| line.strip_prefix("LLVM version: "))?;
    llvm.split('.').next()?.parse().ok()
}

/// A `bpf-linker` of the 0.10 line: the one in `PATH`, or else the one that set-up put in `tools`.
pub fn find_linker(tools: &Path) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain([tools.to_owned()])
        .map(|dir| dir.join("bpf-linker"))
        .find(|linker| linker.is_file() && is_usable(linker))
}

fn is_usable(linker: &Path) -> bool {
    output(&[linker.as_os_str()], &["--version"]).as_deref().and_then(linker_version) == Some((0, 10))
}

/// Major and minor from `bpf-linker 0.10.3`. Newer lines want another LLVM.
fn linker_version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.split_whitespace().nth(1)?.split('.').map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// What a command prints, if it succeeds.
fn output(command: &[&OsStr], args: &[&str]) -> Option<String> {
    let (program, first) = command.split_first()?;
    // Asking must not make rustup install anything.
    let mut command = Command::new(program);
    let output = command.args(first).args(args).env("RUSTUP_AUTO_INSTALL", "0").output().ok()?;
    output.status.success().then(|| String::from_utf8(output.stdout).ok())?
}
