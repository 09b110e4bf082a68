//! The program, linked statically: the image has no libc to offer.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::Platform;
use crate::setup::{arm64, debian};
use crate::{artifact, process, workspace};

/// How it is compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Profile {
    /// As it is shipped.
    Dist,
    /// As it is tested.
    Release,
}

impl Profile {
    /// cargo's name for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Dist => "dist",
            Self::Release => "release",
        }
    }
}

/// Builds `tcpwhy` for a platform.
pub fn build(platform: Platform, profile: Profile) -> Result<PathBuf> {
    let mut command = process::cargo();
    command.args(["build", "--profile", profile.name(), "--package", "agent", "--bin", "tcpwhy"]);
    if platform != Platform::host() {
        require_linker(platform)?;
        command.env(variable(platform, "LINKER"), format!("{}-gcc", platform.gcc()));
    }
    link_statically(&mut command, platform, profile)?;
    let messages = artifact::messages(command, format_args!("tcpwhy for {}", platform.name()))?;
    artifact::executable(&messages, "tcpwhy").context("build tcpwhy: cargo named no executable")
}

/// Has cargo compile for `platform`, without any library to be there.
pub fn link_statically(command: &mut Command, platform: Platform, profile: Profile) -> Result<()> {
    command.args(["--target", platform.target()]);
    let mut flags = flags(profile)?;
    if !has_std(Command::new("rustc"), platform) {
        flags.push(borrow(command, platform)?);
    }
    command.env(variable(platform, "RUSTFLAGS"), flags.join(" "));
    Ok(())
}

/// Of this target alone, so that no build script gets them. What is shipped names no folder of the machine that
/// built it: it is the same wherever that is.
fn flags(profile: Profile) -> Result<Vec<String>> {
    let mut flags = vec!["-Ctarget-feature=+crt-static".to_owned()];
    if profile == Profile::Dist {
        for (folder, name) in [(cargo_home()?, "cargo"), (workspace::root().to_owned(), "tcpwhy")] {
            flags.push(format!("--remap-path-prefix={}={name}", folder.display()));
        }
    }
    Ok(flags)
}

fn cargo_home() -> Result<PathBuf> {
    let given = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let usual = || Some(Path::new(&std::env::var_os("HOME")?).join(".cargo"));
    given.or_else(usual).context("neither CARGO_HOME nor HOME is set")
}

/// cargo's variable for a setting of one target.
fn variable(platform: Platform, setting: &str) -> String {
    format!("CARGO_TARGET_{}_{setting}", platform.target().replace('-', "_").to_uppercase())
}

fn has_std(mut rustc: Command, platform: Platform) -> bool {
    rustc.args(["--print", "target-libdir", "--target", platform.target()]);
    let folder = process::capture(&mut rustc).ok().and_then(|text| String::from_utf8(text).ok());
    folder.is_some_and(|folder| Path::new(folder.trim()).is_dir())
}

fn require_linker(platform: Platform) -> Result<()> {
    let gcc = format!("{}-gcc", platform.gcc());
    if process::find(&gcc).is_some() {
        return Ok(());
    }
    let package = format!("gcc-{}", platform.gcc());
    let libc = format!("libc6-dev-{}-cross", platform.name());
    debian::install(&[&package, &libc])
}

/// Debian's compiler instead of this one, with Debian's standard library for `platform`; the flag that finds it.
fn borrow(command: &mut Command, platform: Platform) -> Result<String> {
    let target = platform.target();
    let how = format!("no Rust standard library for {target}: `rustup target add {target}`");
    if platform != Platform::Arm64 || cfg!(target_env = "musl") {
        bail!(how);
    }
    let sysroot = arm64::sysroot().with_context(|| format!("{how}, or Debian's"))?;
    // agent/source/build.rs has bpf-linker look for its LLVM beside the compiler, where Debian does not keep it.
    let root = process::capture(Command::new("rustc").args(["--print", "sysroot"]))?;
    let llvm = Path::new(String::from_utf8_lossy(&root).trim()).join("lib");
    command.env("RUSTC", arm64::RUSTC).env("LD_LIBRARY_PATH", llvm);
    Ok(format!("--sysroot={}", sysroot.display()))
}
