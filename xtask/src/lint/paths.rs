//! No file may name a folder of the machine it was written on.

use std::process::Command;

use anyhow::Result;

use crate::summary::Verdict;
use crate::{process, workspace};

/// Top folders where people and build machines keep their work.
const TOPS: [&str; 4] = ["home", "root", "work", "Users"];

/// Fails with every place that does.
pub fn check() -> Verdict {
    let Ok(names) = tracked_files() else {
        return Verdict::Skipped("not a git checkout, or no git in PATH".to_owned());
    };
    let found: Vec<_> = names.iter().flat_map(|name| places(name)).collect();
    match found.as_slice() {
        [] => Verdict::Passed,
        found => Verdict::Failed(format!("paths of a machine in {}", found.join(", "))),
    }
}

/// The files that git keeps, as paths from the root.
fn tracked_files() -> Result<Vec<String>> {
    let mut git = Command::new("git");
    git.args(["ls-files", "-z"]).current_dir(workspace::root());
    let names = String::from_utf8(process::capture(&mut git)?)?;
    Ok(names.split_terminator('\0').map(str::to_owned).collect())
}

fn places(name: &str) -> Vec<String> {
    // What is no text, or has been deleted since, has no paths to report.
    let text = std::fs::read_to_string(workspace::root().join(name)).unwrap_or_default();
    let numbered = text.lines().enumerate().filter(|(_, line)| names_machine(line));
    numbered.map(|(index, _)| format!("{name}:{}", index + 1)).collect()
}

fn names_machine(line: &str) -> bool {
    TOPS.iter().any(|top| {
        let folder = format!("/{top}/");
        line.match_indices(&folder).any(|(at, _)| starts_path(&line[..at]))
    })
}

/// Whether a slash after `before` is the root: in `/proc/1/root/etc` the second one is not.
fn starts_path(before: &str) -> bool {
    before.chars().next_back().is_none_or(|last| !last.is_alphanumeric() && !"/.-_~}*>)]$".contains(last))
}

#[cfg(test)]
mod tests {
    use super::{TOPS, names_machine};

    #[test]
    fn absolute_paths_are_found() {
        for top in TOPS {
            assert!(names_machine(&format!("/{top}/x")));
            assert!(names_machine(&format!("see `/{top}/x/y`")));
            assert!(names_machine(&format!("dir=/{top}/x:/usr")));
        }
    }

    #[test]
    fn paths_below_something_else_are_not() {
        for line in ["/proc/1/root/etc", "$dir/home/x", "https://example.org/work/", "../work/x", "{}/root/"]
        {
            assert!(!names_machine(line), "{line}");
        }
    }
}
