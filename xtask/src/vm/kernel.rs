//! Kernels unpacked below target/vm, one a line.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use super::release::{self, Machine, Release};
use crate::setup::archive::{Archive, Selection};
use crate::{process, report};

/// Suites that have kernels of long-term lines; security suites are on a mirror of their own. Four small lists,
/// not the whole suites.
fn selection(machine: Machine) -> Selection {
    Selection {
        what: "Debian kernels",
        kind: "deb",
        architecture: machine.debian,
        suites: &[
            (Some("bullseye-security"), "-security"),
            (Some("bookworm-security"), "-security"),
            (Some("bookworm-backports"), ""),
            (Some("trixie-backports"), ""),
        ],
    }
}

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
    machine: Machine,
    releases: Vec<Release>,
    /// The lists were brought up to date in this run, since a package was gone.
    is_refreshed: bool,
    dir: PathBuf,
}

/// Every kernel whose packages are all there, oldest first.
fn releases(archive: &Archive, machine: Machine) -> Result<Vec<Release>> {
    Ok(release::complete(&archive.names("linux-")?, machine))
}

impl Kernels {
    /// Those of one kind of machine, below `dir`, which has no others.
    pub fn open(dir: &Path, machine: Machine) -> Result<Self> {
        let archive = Archive::open(dir.join("apt"), selection(machine))?;
        let releases = releases(&archive, machine)?;
        Ok(Self { archive, machine, releases, is_refreshed: false, dir: dir.join("kernels") })
    }

    /// Debian's archive, for what else comes from it.
    pub fn archive(&self) -> &Archive {
        &self.archive
    }

    /// The newest release of a line, and whether it is here already.
    pub fn newest(&self, line: &str) -> Option<(&Release, bool)> {
        let release = release::newest(&self.releases, line)?;
        Some((release, self.is_here(&release.name)))
    }

    /// The newest of a line, fetched if need be. The archive keeps only a line's last few releases: where the
    /// lists name one that is gone, new lists are asked once, and then an older one that is here serves. `Err`
    /// is the reason why there is none.
    pub fn get(&mut self, line: &str) -> Result<Kernel> {
        self.fetched(line).or_else(|error| {
            self.refresh(&error)?;
            self.fetched(line).or_else(|error| self.kept(line).ok_or(error))
        })
    }

    fn fetched(&self, line: &str) -> Result<Kernel> {
        let (release, is_here) =
            self.newest(line).context("no such kernel in Debian's archive (any more)")?;
        if !is_here {
            report::status("Fetching", format_args!("Linux {release}"));
            self.fetch(release).with_context(|| format!("fetch Linux {release}"))?;
        }
        Ok(self.kernel(line, release))
    }

    fn refresh(&mut self, error: &anyhow::Error) -> Result<()> {
        if self.is_refreshed {
            return Ok(());
        }
        report::note("Retrying", format_args!("with new lists: {error:#}"));
        self.archive.refresh()?;
        self.releases = releases(&self.archive, self.machine)?;
        self.is_refreshed = true;
        Ok(())
    }

    /// The newest of a line that an earlier run fetched.
    fn kept(&self, line: &str) -> Option<Kernel> {
        let entries = self.dir.read_dir().ok()?;
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let here = names.filter(|name| self.is_here(name));
        let releases = release::sorted(here.map(|name| Release { name, packages: Vec::new() }));
        let release = release::newest(&releases, line)?;
        report::note("Keeping", format_args!("Linux {release}, fetched earlier"));
        Some(self.kernel(line, release))
    }

    fn kernel(&self, line: &str, release: &Release) -> Kernel {
        let Release { name, packages: _ } = release;
        Kernel { line: line.to_owned(), release: name.clone(), tree: self.tree(name) }
    }

    fn tree(&self, release: &str) -> PathBuf {
        self.dir.join(release)
    }

    /// Hashes of the files of a tree. apt checked the packages against the archive's signature; these are for
    /// what became of them here.
    fn sums(&self, release: &str) -> PathBuf {
        self.dir.join(format!("{release}.sha256"))
    }

    fn is_here(&self, release: &str) -> bool {
        let mut check = Command::new("sha256sum");
        check.args(["--check", "--status"]).arg(self.sums(release)).current_dir(&self.dir);
        self.tree(release).is_dir() && process::succeeds(&mut check)
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
        // One that is not whole any more.
        let _ = fs::remove_dir_all(&tree);
        fs::rename(&part, &tree).with_context(|| format!("create {}", tree.display()))?;
        self.hash(release)
    }

    fn hash(&self, release: &Release) -> Result<()> {
        let mut command = Command::new("sh");
        command.args(["-c", "find \"$0\" -type f -exec sha256sum {} +", &release.name]);
        let sums = process::capture(command.current_dir(&self.dir))?;
        let file = self.sums(&release.name);
        fs::write(&file, sums).with_context(|| format!("write {}", file.display()))
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
