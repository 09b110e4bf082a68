//! Kernels unpacked below target/vm, one a line.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use super::archive::Archive;
use super::release::{self, Release};
use crate::{process, report};

/// A kernel ready to boot.
#[derive(Clone, Debug)]
pub struct Kernel {
    /// The line it was asked for by, e.g. `6.12`.
    pub line: String,
    /// What `uname -r` says.
    pub release: String,
    tree: PathBuf,
}

/// Kernels that can be had, and those that are here.
pub struct Kernels {
    archive: Archive,
    releases: Vec<Release>,
    dir: PathBuf,
}

impl Kernels {
    /// Below `dir`.
    pub fn open(dir: &Path) -> Result<Self> {
        let archive = Archive::open(dir.join("apt"))?;
        let releases = archive.releases()?;
        Ok(Self { archive, releases, dir: dir.join("kernels") })
    }

    /// Debian's archive, for what else comes from it.
    pub fn archive(&self) -> &Archive {
        &self.archive
    }

    /// The newest release of a line, and whether it is here already.
    pub fn newest(&self, line: &str) -> Option<(&Release, bool)> {
        let release = release::newest(&self.releases, line)?;
        Some((release, self.tree(&release.name).is_dir()))
    }

    /// The newest of a line, fetched if need be. `Err` is the reason why there is none.
    pub fn get(&self, line: &str) -> Result<Kernel> {
        let (release, is_here) =
            self.newest(line).context("no such kernel in Debian's archive (any more)")?;
        if !is_here {
            report::status("Fetching", format_args!("Linux {release}"));
            self.fetch(release).with_context(|| format!("fetch Linux {release}"))?;
        }
        let tree = self.tree(&release.name);
        Ok(Kernel { line: line.to_owned(), release: release.name.clone(), tree })
    }

    fn tree(&self, release: &str) -> PathBuf {
        self.dir.join(release)
    }

    /// Under another name until it is whole.
    fn fetch(&self, release: &Release) -> Result<()> {
        let part = self.dir.join(format!("{release}.part"));
        // Of a fetch that was interrupted.
        let _ = fs::remove_dir_all(&part);
        let packages = part.join("packages");
        for package in self.archive.download(&release.packages, &packages)? {
            process::capture(Command::new("dpkg-deb").arg("--extract").args([&package, &part]))?;
        }
        fs::remove_dir_all(packages)?;
        if !part.join("lib").exists() {
            symlink("usr/lib", part.join("lib")).context("link lib")?;
        }
        let depmod = process::find("depmod").context("no program `depmod` (Debian package kmod)")?;
        process::capture(Command::new(depmod).arg("-b").arg(&part).arg(&release.name))?;
        let tree = self.tree(&release.name);
        fs::rename(&part, &tree).with_context(|| format!("create {}", tree.display()))
    }
}

impl Kernel {
    /// The image to boot.
    pub fn image(&self) -> Result<PathBuf> {
        self.file("vmlinuz")
    }

    /// Interrupts a second, as it was configured.
    pub fn hz(&self) -> Result<u32> {
        let config = fs::read_to_string(self.file("config")?)?;
        let hz = config.lines().find_map(|line| line.strip_prefix("CONFIG_HZ="));
        hz.and_then(|hz| hz.parse().ok()).context("find CONFIG_HZ")
    }

    /// In `/boot` up to 6.18, with the modules later.
    fn file(&self, name: &str) -> Result<PathBuf> {
        let Self { release, tree, .. } = self;
        let places = [format!("boot/{name}-{release}"), format!("lib/modules/{release}/{name}")];
        let mut files = places.map(|place| tree.join(place)).into_iter();
        files.find(|file| file.is_file()).with_context(|| format!("find {name} of Linux {release}"))
    }

    /// The file of a module and those that it needs, in the order to insert them; none of what is built in.
    pub fn module(&self, name: &str) -> Result<Vec<PathBuf>> {
        let Self { release, tree, .. } = self;
        let modprobe = process::find("modprobe").context("no program `modprobe` (Debian package kmod)")?;
        let mut command = Command::new(modprobe);
        command.arg("-d").arg(tree).args(["-S", release, "--show-depends", name]);
        let steps = String::from_utf8_lossy(&process::capture(&mut command)?).into_owned();
        Ok(steps.lines().filter_map(inserted).collect())
    }
}

/// From `insmod /path/to/dummy.ko.xz numdummies=0`: the path, in which there may be spaces.
fn inserted(step: &str) -> Option<PathBuf> {
    let (folder, file) = step.strip_prefix("insmod ")?.rsplit_once('/')?;
    Some(Path::new(folder).join(file.split(' ').next()?))
}

#[cfg(test)]
mod tests {
    use super::inserted;

    #[test]
    fn a_modules_parameters_are_not_its_path() {
        assert_eq!(inserted("insmod /a b/dummy.ko.xz numdummies=0"), Some("/a b/dummy.ko.xz".into()));
        assert_eq!(inserted("insmod /a b/veth.ko "), Some("/a b/veth.ko".into()));
        assert_eq!(inserted("builtin nf_tables"), None);
    }
}
