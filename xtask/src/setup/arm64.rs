//! Debian's standard library for 64-bit Arm, where rustup cannot give one: of the very version of Debian's
//! compiler, unpacked under target/ beside the machine's own packages.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::archive::{Archive, Selection};
use super::debian;
use crate::workspace;

/// Debian's compiler.
pub const RUSTC: &str = "/usr/bin/rustc";
/// The package of the compiler that set-up installs for the kernel side.
const COMPILER: &str = "rustc-web";
const LIBRARY: &str = "libstd-rust-web-dev";
/// Where updates of this release have the compiler.
const SELECTION: Selection = Selection {
    what: "Debian packages for arm64",
    kind: "deb",
    architecture: "arm64",
    suites: &[(None, ""), (None, "-security")],
};

/// A folder that serves as `--sysroot` of [`RUSTC`] for aarch64.
pub fn sysroot() -> Result<PathBuf> {
    let version = debian::version(COMPILER).with_context(|| format!("find Debian's {COMPILER}"))?;
    let dir = workspace::target().join("arm64").join(version.replace(['~', '+', ':'], "-"));
    let sysroot = dir.join("usr");
    if !sysroot.join("lib/rustlib/aarch64-unknown-linux-gnu/lib").is_dir() {
        fetch(&dir, &version)?;
    }
    Ok(sysroot)
}

fn fetch(dir: &Path, version: &str) -> Result<()> {
    let archive = Archive::open(workspace::target().join("arm64/apt"), SELECTION)?;
    let files = archive.download(&[format!("{LIBRARY}={version}")], &dir.join("packages"))?;
    files.iter().try_for_each(|file| debian::extract(file, dir))
}
