//! Debian's archive through an apt of the project's own: signed and hashed as ever, with its own sources
//! and lists, and the machine's apt left alone. For what the machine itself must not install: other
//! architectures, other suites, sources.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::{process, report};

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Lists younger than this are not asked for again.
const FRESH: Duration = Duration::from_hours(24);

/// What of the archive.
#[derive(Clone, Copy, Debug)]
pub struct Selection {
    /// For the user, after "the list of".
    pub what: &'static str,
    /// `deb` or `deb-src`.
    pub kind: &'static str,
    /// Debian's name for it.
    pub architecture: &'static str,
    /// Suites, none for the machine's own release, and what the suite is called in the machine's own sources whose
    /// mirror has it: `-security` stands for `CODENAME-security`.
    pub suites: &'static [(Option<&'static str>, &'static str)],
}

/// apt, set to work below one folder only.
pub struct Archive {
    dir: PathBuf,
    selection: Selection,
}

impl Archive {
    /// Below `dir`, with the lists brought up to date if they are old. Without a network the old ones serve.
    pub fn open(dir: PathBuf, selection: Selection) -> Result<Self> {
        let archive = Self { dir, selection };
        if !archive.is_fresh() {
            archive.refresh()?;
        }
        Ok(archive)
    }

    /// Brings the lists up to date.
    pub fn refresh(&self) -> Result<()> {
        self.configure()?;
        report::status("Updating", format_args!("the list of {}", self.selection.what));
        match self.update() {
            Ok(()) => fs::write(self.stamp(), "")?,
            Err(error) => report::note("Skipped", format_args!("{error:#}")),
        }
        Ok(())
    }

    fn stamp(&self) -> PathBuf {
        self.dir.join("updated")
    }

    fn is_fresh(&self) -> bool {
        let modified = fs::metadata(self.stamp()).and_then(|stamp| stamp.modified());
        modified.is_ok_and(|time| time.elapsed().is_ok_and(|age| age < FRESH))
    }

    fn configure(&self) -> Result<()> {
        for dir in ["lists/partial", "archives/partial"] {
            let dir = self.dir.join(dir);
            fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
        }
        let files = [
            ("sources.list", sources(&self.selection)?),
            ("status", String::new()),
            ("apt.conf", self.settings()),
        ];
        for (name, text) in files {
            let file = self.dir.join(name);
            fs::write(&file, text).with_context(|| format!("write {}", file.display()))?;
        }
        Ok(())
    }

    fn settings(&self) -> String {
        let (dir, architecture) = (self.dir.display(), self.selection.architecture);
        format!(
            r#"Dir::Etc::SourceList "{dir}/sources.list";
Dir::Etc::SourceParts "/dev/null";
Dir::Etc::Preferences "/dev/null";
Dir::Etc::PreferencesParts "/dev/null";
Dir::State "{dir}";
Dir::State::Lists "{dir}/lists";
Dir::State::status "{dir}/status";
Dir::Cache "{dir}";
Dir::Cache::archives "{dir}/archives";
APT::Architecture "{architecture}";
APT::Architectures "{architecture}";
APT::Sandbox::User "";
Acquire::Languages "none";
Acquire::Check-Valid-Until "false";
Acquire::Retries "3";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
"#
        )
    }

    fn update(&self) -> Result<()> {
        process::capture(self.apt("apt-get").args(["--quiet", "--quiet", "update"])).map(drop)
    }

    /// Read after the machine's own configuration, so that its proxy still counts.
    fn apt(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.arg("-c").arg(self.dir.join("apt.conf"));
        command
    }

    /// Names of packages that begin with `prefix`, one a line.
    pub fn names(&self, prefix: &str) -> Result<String> {
        let names = process::capture(self.apt("apt-cache").args(["pkgnames", prefix]))?;
        Ok(String::from_utf8_lossy(&names).into_owned())
    }

    /// Downloads packages, each by its name, as `NAME/SUITE` or `NAME=VERSION`, into the new folder `dir`.
    pub fn download(&self, packages: &[impl AsRef<str>], dir: &Path) -> Result<Vec<PathBuf>> {
        self.fetch(&["download"], packages, dir)
    }

    /// Downloads the files of source packages into the new folder `dir`.
    pub fn download_source(&self, packages: &[impl AsRef<str>], dir: &Path) -> Result<Vec<PathBuf>> {
        self.fetch(&["source", "--download-only"], packages, dir)
    }

    fn fetch(&self, how: &[&str], packages: &[impl AsRef<str>], dir: &Path) -> Result<Vec<PathBuf>> {
        fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
        let mut command = self.apt("apt-get");
        command.args(["--quiet", "--quiet"]).args(how).current_dir(dir);
        process::capture(command.args(packages.iter().map(AsRef::as_ref)))?;
        let entries = dir.read_dir().with_context(|| format!("list {}", dir.display()))?;
        let mut files = Vec::new();
        for entry in entries {
            files.push(entry?.path());
        }
        Ok(files)
    }
}

/// One line a suite, from the mirrors that this machine uses: the project names no host.
fn sources(selection: &Selection) -> Result<String> {
    let release = fs::read_to_string("/etc/os-release").context("read /etc/os-release")?;
    let codename = release.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    let codename = codename.context("find VERSION_CODENAME in /etc/os-release")?;
    let mut lines = String::new();
    for (suite, mirror) in selection.suites {
        let own = format!("{codename}{mirror}");
        let (uri, suite, kind) = (mirror_of(&own)?, suite.unwrap_or(&own), selection.kind);
        writeln!(lines, "{kind} [signed-by={KEYRING}] {uri} {suite} main")?;
    }
    Ok(lines)
}

fn mirror_of(suite: &str) -> Result<String> {
    let mut command = Command::new("apt-get");
    command.args(["indextargets", "--format", "$(REPO_URI)", "Created-By: Packages"]);
    let output = process::capture(command.arg(format!("Codename: {suite}")))?;
    let uris = String::from_utf8_lossy(&output);
    match uris.lines().next() {
        Some(uri) => Ok(uri.to_owned()),
        None => bail!("this machine's apt has no source for {suite}"),
    }
}
