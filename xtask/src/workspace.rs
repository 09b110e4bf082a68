//! Where things are.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// The workspace's root.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask is a folder of the workspace")
}

/// What set-up downloads and what runs leave. Not cargo's own choice of folder: `agent/source/build.rs` looks
/// here for the linker.
pub fn target() -> PathBuf {
    root().join("target")
}

/// Programs that set-up installed; [`tools`] is where their packages are.
pub fn tools_bin() -> PathBuf {
    tools().join("bin")
}

/// A `cargo install --root`.
pub fn tools() -> PathBuf {
    target().join("tools")
}

/// Where the tests find programs: `PATH`, the tools, and the folders of administrators' programs, which
/// an ordinary user's `PATH` lacks on Debian.
pub fn search_path() -> Result<OsString> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let ours = [tools_bin(), "/usr/sbin".into(), "/sbin".into()];
    std::env::join_paths(std::env::split_paths(&path).chain(ours)).context("extend PATH")
}
