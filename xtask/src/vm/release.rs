//! Kernels of Debian's, by the names of their packages.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Display};

/// A kind of machine, and the flavour of its kernels.
#[derive(Clone, Copy, Debug)]
pub struct Machine {
    /// What `uname -m` says.
    pub name: &'static str,
    /// Debian's name for it.
    pub debian: &'static str,
    /// How the names of the flavour's releases end.
    flavour: &'static str,
}

/// The cloud flavour is a third of the size of the full one, with all that is needed here.
pub const AMD64: Machine = Machine { name: "x86_64", debian: "amd64", flavour: "-cloud-amd64" };
/// 64-bit Arm.
pub const ARM64: Machine = Machine { name: "aarch64", debian: "arm64", flavour: "-cloud-arm64" };
/// Big-endian; there is one flavour.
pub const S390X: Machine = Machine { name: "s390x", debian: "s390x", flavour: "-s390x" };

/// Name of the line that is always the newest of all.
pub const LATEST: &str = "latest";

/// A kernel that can be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Release {
    /// What `uname -r` says.
    pub name: String,
    /// Where it is.
    pub packages: Vec<String>,
}

impl Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// The releases among package names whose packages are all there, oldest first.
///
/// Up to 6.18 one package has everything. From 6.19 on `linux-image-*` is empty and three others share it,
/// of which the archive keeps one for longer than the rest.
pub fn complete(packages: &str, machine: Machine) -> Vec<Release> {
    let mut kinds: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (kind, release) in packages.lines().filter_map(|package| kind_and_release(package, machine)) {
        kinds.entry(release).or_default().insert(kind);
    }
    let found = kinds.into_iter().filter_map(|(name, has)| {
        Some(Release { name: name.to_owned(), packages: packages_of(name, &has)? })
    });
    sorted(found)
}

/// Oldest first.
pub fn sorted(releases: impl Iterator<Item = Release>) -> Vec<Release> {
    let mut releases: Vec<_> = releases.collect();
    releases.sort_by_cached_key(|release| numbers(&release.name));
    releases
}

fn packages_of(release: &str, has: &BTreeSet<&str>) -> Option<Vec<String>> {
    let wanted: &[&str] = if has.contains("binary") { &["binary", "modules", "base"] } else { &["image"] };
    let all = wanted.iter().all(|kind| has.contains(kind));
    all.then(|| wanted.iter().map(|kind| format!("linux-{kind}-{release}")).collect())
}

/// From `linux-image-6.1.0-56-cloud-amd64`.
fn kind_and_release(package: &str, machine: Machine) -> Option<(&str, &str)> {
    let (kind, release) = package.strip_prefix("linux-")?.split_once('-')?;
    let version = release.strip_suffix(machine.flavour)?;
    let is_version = version.starts_with(|first: char| first.is_ascii_digit()) && version.contains('.');
    // Experiments, and names that no kernel would have.
    let is_plain = !version.contains("rc") && !version.contains("rt");
    (is_version && is_plain).then_some((kind, release))
}

/// Every number of a name, for its place in the order: `6.1.0-56-cloud-amd64` is [6, 1, 0, 56, 64].
fn numbers(release: &str) -> Vec<u32> {
    release.split(|c: char| !c.is_ascii_digit()).filter_map(|number| number.parse().ok()).collect()
}

/// The newest of `releases` (oldest first) of a line such as `6.12`.
pub fn newest<'a>(releases: &'a [Release], line: &str) -> Option<&'a Release> {
    let start = format!("{line}.");
    releases.iter().rfind(|release| line == LATEST || release.name.starts_with(&start))
}

#[cfg(test)]
mod tests {
    use super::{AMD64, complete, newest};

    const PACKAGES: &str = "\
linux-image-6.1.0-9-cloud-amd64
linux-image-6.1.0-56-cloud-amd64
linux-image-6.1.0-57-cloud-amd64-unsigned
linux-image-6.12.9+bpo-cloud-amd64
linux-image-6.12.117+deb12-cloud-amd64
linux-image-6.12.117+deb12-rt-amd64
linux-image-cloud-amd64
linux-headers-6.1.0-60-cloud-amd64
linux-image-7.3.4+deb13-cloud-amd64
linux-binary-7.3.4+deb13-cloud-amd64
linux-modules-7.3.4+deb13-cloud-amd64
linux-base-7.3.4+deb13-cloud-amd64
linux-binary-7.3.5+deb13-cloud-amd64";

    #[test]
    fn the_newest_of_a_line_is_the_highest_number() {
        let releases = complete(PACKAGES, AMD64);
        let name = |line| newest(&releases, line).map(|release| release.name.as_str());
        assert_eq!(name("6.1"), Some("6.1.0-56-cloud-amd64"));
        assert_eq!(name("6.12"), Some("6.12.117+deb12-cloud-amd64"));
        assert_eq!(name("6.2"), None);
    }

    #[test]
    fn a_release_without_all_its_packages_is_none() {
        let releases = complete(PACKAGES, AMD64);
        let latest = newest(&releases, "latest").unwrap();
        assert_eq!(latest.name, "7.3.4+deb13-cloud-amd64");
        assert_eq!(latest.packages.len(), 3);
    }
}
