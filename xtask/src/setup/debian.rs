//! Debian's packages, and those of its descendants.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::{process, report};

/// Installs those of `packages` that are missing.
pub fn install(packages: &[&str]) -> Result<()> {
    let missing: Vec<_> = packages.iter().copied().filter(|package| !is_installed(package)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let names = missing.join(" ");
    require_apt().with_context(|| format!("install Debian's {names}"))?;
    report::status("Installing", format_args!("Debian packages {names}"));
    let install = ["install", "--yes", "--no-install-recommends"];
    with_fresh_lists(|| apt_get(&[&install[..], &missing].concat()))
        .with_context(|| format!("install Debian's {names}"))
}

/// Installs downloaded packages; never at the price of others.
pub fn install_files(files: &[PathBuf]) -> Result<()> {
    let names: Vec<_> = files.iter().map(|file| file.to_string_lossy()).collect();
    report::status("Installing", format_args!("{} downloaded Debian packages", names.len()));
    let install = ["install", "--yes", "--no-install-recommends", "--no-remove"];
    apt_get(&install.into_iter().chain(names.iter().map(AsRef::as_ref)).collect::<Vec<_>>())
}

/// Unpacks a package into `dir` and installs nothing: for programs whose package starts a service.
pub fn unpack(package: &str, dir: &Path) -> Result<()> {
    require_apt().with_context(|| format!("unpack Debian's {package}"))?;
    report::status("Unpacking", format_args!("Debian package {package} into target/"));
    std::fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
    let mut download = Command::new("apt-get");
    download.args(["download", package]).current_dir(dir);
    with_fresh_lists(|| process::capture(&mut download).map(drop))
        .with_context(|| format!("download Debian's {package}"))?;
    extract(&archive_in(dir, package)?, dir)
}

/// Unpacks a downloaded package into `dir`.
pub fn extract(package: &Path, dir: &Path) -> Result<()> {
    process::capture(Command::new("dpkg-deb").arg("--extract").args([package, dir])).map(drop)
}

/// The version of an installed package.
pub fn version(package: &str) -> Result<String> {
    let mut query = Command::new("dpkg-query");
    let version = process::capture(query.args(["--show", "--showformat=${Version}", package]))?;
    Ok(String::from_utf8_lossy(&version).into_owned())
}

fn archive_in(dir: &Path, package: &str) -> Result<PathBuf> {
    let entries = dir.read_dir().with_context(|| format!("list {}", dir.display()))?;
    let mut files = entries.filter_map(|entry| Some(entry.ok()?.path()));
    files
        .find(|file| file.extension() == Some(OsStr::new("deb")))
        .with_context(|| format!("apt-get left no {package}"))
}

fn is_installed(package: &str) -> bool {
    let mut query = Command::new("dpkg-query");
    query.args(["--show", "--showformat=${db:Status-Status}", package]);
    process::capture(&mut query).is_ok_and(|status| status == b"installed")
}

fn require_apt() -> Result<()> {
    if process::find("apt-get").is_none() {
        bail!("there is no apt-get here; use this system's own packages");
    }
    Ok(())
}

/// Package lists may be absent or old: they are fetched when a step fails, and the step tried again.
fn with_fresh_lists(mut step: impl FnMut() -> Result<()>) -> Result<()> {
    if step().is_ok() {
        return Ok(());
    }
    report::status("Updating", "the list of Debian packages");
    apt_get(&["update"])?;
    step()
}

fn apt_get(args: &[&str]) -> Result<()> {
    // Through env, since sudo drops most of ours.
    let mut command = process::as_root("env")?;
    command.args(["DEBIAN_FRONTEND=noninteractive", "apt-get", "--quiet"]).args(args);
    process::capture(&mut command).map(drop)
}
