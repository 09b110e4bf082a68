//! Which compiler and which linker build the kernel side. `agent/source/build.rs` and `cargo xtask setup`
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
    let name = toolchain.name.clone();
    root(toolchain)?;
    let is_debian = name == DEBIAN;
    match (is_debian, toolchain) {
        (true, Toolchain { core_built: false, .. }) => return Err(format!("{name} has no core for BPF")),
        (false, Toolchain { core_source: false, .. }) => return Err(format!("{name} has no rust-src")),
        _ => {}
    }
    // Debian's rustc keeps its LLVM where the linker does not look.
    let lender = if is_debian { host } else { toolchain };
    require_llvm(toolchain)?;
    require_llvm(lender)?;
    Ok(Choice { name, builds_core: !is_debian, llvm_dir: root(lender)?.join("lib") })
}

fn root(toolchain: &Toolchain) -> Result<&Path, String> {
    toolchain.sysroot.as_deref().ok_or_else(|| format!("{} is not installed", toolchain.name))
}

fn require_llvm(toolchain: &Toolchain) -> Result<(), String> {
    match (&toolchain.name, toolchain.llvm) {
        (_, Some(LLVM)) => Ok(()),
        (name, Some(other)) => Err(format!("{name} has LLVM {other}, not {LLVM}")),
        (name, None) => Err(format!("{name} does not tell its LLVM")),
    }
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

#[cfg(test)]
mod tests {
    use super::{Choice, DEBIAN, Toolchain, choose, linker_version, llvm_major};

    fn toolchain(name: &str, llvm: u32) -> Toolchain {
        let sysroot = Some(name.into());
        Toolchain { name: name.to_owned(), sysroot, llvm: Some(llvm), ..Toolchain::default() }
    }

    fn nightly(llvm: u32) -> Toolchain {
        Toolchain { core_source: true, ..toolchain("nightly", llvm) }
    }

    fn debian() -> Toolchain {
        Toolchain { core_built: true, ..toolchain(DEBIAN, 22) }
    }

    fn absent(name: &str) -> Toolchain {
        Toolchain { name: name.to_owned(), ..Toolchain::default() }
    }

    #[test]
    fn a_nightly_with_source_lends_its_llvm() {
        let choice = Choice { name: "nightly".into(), builds_core: true, llvm_dir: "nightly/lib".into() };
        assert_eq!(choose(&[nightly(22), debian()], &toolchain("stable", 22)), Ok(choice));
    }

    #[test]
    fn debian_takes_over_and_borrows_the_hosts_llvm() {
        let choice = Choice { name: DEBIAN.into(), builds_core: false, llvm_dir: "stable/lib".into() };
        for nightly in [absent("nightly"), toolchain("nightly", 22), nightly(23)] {
            assert_eq!(choose(&[nightly, debian()], &toolchain("stable", 22)), Ok(choice.clone()));
        }
    }

    #[test]
    fn every_refusal_is_reported() {
        let candidates = [absent("pinned"), toolchain("nightly", 22), nightly(23), debian()];
        assert_eq!(
            choose(&candidates, &toolchain("stable", 21)).unwrap_err(),
            "pinned is not installed; nightly has no rust-src; nightly has LLVM 23, not 22; \
             stable has LLVM 21, not 22"
        );
    }

    #[test]
    fn an_old_debian_compiler_is_refused() {
        let old = Toolchain { llvm: Some(19), ..debian() };
        let why = choose(&[old], &toolchain("stable", 22)).unwrap_err();
        assert_eq!(why, "debian-bpf has LLVM 19, not 22");
    }

    #[test]
    fn versions_are_read() {
        let rustc = "rustc 1.95.0 (59807616e 2026-04-14)\nrelease: 1.95.0\nLLVM version: 22.1.2\n";
        assert_eq!(llvm_major(rustc), Some(22));
        assert_eq!(llvm_major("rustc 1.95.0"), None);
        assert_eq!(linker_version("bpf-linker 0.10.3\n"), Some((0, 10)));
        assert_eq!(linker_version("bpf-linker"), None);
        assert_eq!(linker_version("bpf-linker x.y"), None);
    }
}
