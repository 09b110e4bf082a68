//! The stored BTF of kernels: unpacked from Debian's images, cut down by a unit test of `agent-source` to what the
//! agent asks.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

use super::texts;
use crate::vm::btf;
use crate::{report, workspace};

const FOLDER: &str = "agent/source/tests/data/btf";

/// The newest of each line that the archive has. What it has no more stays as it is stored.
pub fn write(folder: &Path) -> Result<()> {
    // Beside the folder of the results, which has nothing but them.
    let whole = workspace::target().join("btf");
    // Of an earlier run.
    let _ = fs::remove_dir_all(&whole);
    fs::create_dir_all(&whole).with_context(|| format!("create {}", whole.display()))?;
    for absent in btf::unpack(&whole)? {
        report::note("Kept", absent);
    }
    let mut command = texts::unit_tests(folder)?;
    command.args(["--", "cutting_down"]).env("TCPWHY_STORE_BTF", whole);
    texts::run(command)
}

/// Stored files of a machine and line of which `folder` has a newer release.
pub fn replaced(folder: &Path) -> Result<Vec<String>> {
    let (new, old) = (names(&folder.join(FOLDER))?, names(&workspace::root().join(FOLDER))?);
    let is_replaced = |old: &String| !new.contains(old) && new.iter().any(|new| line(new) == line(old));
    Ok(old.into_iter().filter(is_replaced).map(|name| format!("{FOLDER}/{name}")).collect())
}

fn names(folder: &Path) -> Result<Vec<String>> {
    let entries = folder.read_dir().with_context(|| format!("list {}", folder.display()))?;
    let mut names: Vec<_> = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
    names.sort();
    Ok(names)
}

/// `x86_64-6.12` of `x86_64-6.12.117+deb12-cloud-amd64.btf`.
fn line(name: &str) -> &str {
    name.match_indices('.').nth(1).map_or(name, |(dot, _)| &name[..dot])
}

#[cfg(test)]
mod tests {
    use super::line;

    #[test]
    fn a_line_is_of_a_machine() {
        assert_eq!(line("x86_64-6.12.117+deb12-cloud-amd64.btf"), "x86_64-6.12");
        assert_eq!(line("s390x-6.12.95+deb12-s390x.btf"), "s390x-6.12");
    }
}
