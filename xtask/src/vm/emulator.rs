//! The emulator and what making a guest takes.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

use super::qemu;
use crate::setup::archive::Archive;
use crate::setup::debian;
use crate::{process, report};

/// A program and the Debian package that has it.
const PROGRAMS: [(&str, &str); 8] = [
    ("busybox", "busybox-static"),
    ("depmod", "kmod"),
    ("ip", "iproute2"),
    ("ldd", "libc-bin"),
    ("nft", "nftables"),
    ("python3", "python3"),
    ("timeout", "coreutils"),
    ("xz", "xz-utils"),
];

/// The emulator in the state in which it is known to work, from the backports of Debian 12.
const QEMU: [&str; 4] = ["qemu-system-x86", "qemu-system-common", "qemu-system-data", "seabios"];
const SUITE: &str = "bookworm-backports";

/// Finds everything, or installs it.
pub fn ensure(archive: &Archive, dir: &Path) -> Result<()> {
    for (program, package) in PROGRAMS {
        if process::find(program).is_none() {
            debian::install(&[package])?;
        }
    }
    if process::find(qemu::PROGRAM).is_none() {
        let newest = install_backport(archive, dir);
        newest.or_else(|error| {
            report::note("Skipped", format_args!("{error:#}"));
            debian::install(&["qemu-system-x86"])
        })?;
    }
    let path = process::find(qemu::PROGRAM).context("no program `qemu-system-x86_64`")?;
    report::status("Found", path.display());
    Ok(())
}

fn install_backport(archive: &Archive, dir: &Path) -> Result<()> {
    // Of an earlier attempt.
    let _ = fs::remove_dir_all(dir);
    let files = archive.download(&QEMU.map(|package| format!("{package}/{SUITE}")), dir)?;
    let installed = debian::install_files(&files);
    fs::remove_dir_all(dir).with_context(|| format!("remove {}", dir.display()))?;
    installed
}
