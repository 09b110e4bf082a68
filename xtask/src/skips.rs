//! Tests that could not run, and say why.
//!
//! libtest knows no skip at run time: such a test appends a line to a file and returns; only that
//! line distinguishes it from one that passed.

use std::fmt::{self, Display};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// The file that tests append to, one line a skip: `skipped: NAME: REASON`.
#[derive(Debug)]
pub struct Skips {
    path: PathBuf,
}

/// One line of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skip {
    /// A test as libtest names it, with or without its module; or a part of a test.
    pub test: String,
    /// What was missing.
    pub reason: String,
}

impl Skips {
    /// An empty file at `path`.
    pub fn create(path: PathBuf) -> Result<Self> {
        let dir = path.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
        std::fs::write(&path, "").with_context(|| format!("empty {}", path.display()))?;
        Ok(Self { path })
    }

    /// For the tests.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the tests wrote.
    pub fn read(&self) -> Result<Vec<Skip>> {
        let text =
            std::fs::read_to_string(&self.path).with_context(|| format!("read {}", self.path.display()))?;
        Ok(text.lines().filter(|line| !line.trim().is_empty()).map(Skip::parse).collect())
    }
}

impl Skip {
    /// A line of another form is a skip too: better one too many than one that nobody sees.
    pub fn parse(line: &str) -> Self {
        let line = line.trim().trim_start_matches("skipped: ");
        let (test, reason) = line.split_once(": ").unwrap_or((line, "no reason given"));
        Self { test: test.to_owned(), reason: reason.to_owned() }
    }

    /// Whether `test`, as libtest names it, is the one that was skipped.
    pub fn is_of(&self, test: &str) -> bool {
        test.strip_suffix(&self.test).is_some_and(|module| module.is_empty() || module.ends_with("::"))
    }
}

/// Between the name of a guest's test and that of its kernel.
pub const ON: &str = " on ";

/// Names that a line has room for.
const SHOWN: usize = 3;

/// What was skipped for one and the same reason.
#[derive(Debug, Default)]
pub struct Group<'a> {
    reason: &'a str,
    count: usize,
    tests: Vec<&'a str>,
    kernels: Vec<&'a str>,
}

/// Tests and their reasons by reason, in the order in which they first came.
pub fn by_reason<'a>(skips: impl Iterator<Item = (&'a str, &'a str)>) -> Vec<Group<'a>> {
    let mut groups: Vec<Group<'a>> = Vec::new();
    for (test, reason) in skips {
        let at = groups.iter().position(|group| group.reason == reason).unwrap_or_else(|| {
            groups.push(Group { reason, ..Group::default() });
            groups.len() - 1
        });
        groups[at].add(test);
    }
    groups
}

impl<'a> Group<'a> {
    fn add(&mut self, test: &'a str) {
        let (test, kernel) = test.rsplit_once(ON).map_or((test, None), |(test, line)| (test, Some(line)));
        self.count += 1;
        note(&mut self.tests, test);
        if let Some(kernel) = kernel {
            note(&mut self.kernels, kernel);
        }
    }
}

fn note<'a>(names: &mut Vec<&'a str>, name: &'a str) {
    if !names.contains(&name) {
        names.push(name);
    }
}

impl Display for Group<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { reason, count, tests, kernels } = self;
        let shown = &tests[..tests.len().min(SHOWN)];
        write!(f, "{count}: {reason}: {}", shown.join(", "))?;
        if tests.len() > SHOWN {
            write!(f, " and {} more", tests.len() - SHOWN)?;
        }
        if !kernels.is_empty() {
            write!(f, ", on {}", kernels.join(", "))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Skip, by_reason};

    fn skip(test: &str, reason: &str) -> Skip {
        Skip { test: test.to_owned(), reason: reason.to_owned() }
    }

    #[test]
    fn lines_give_name_and_reason() {
        assert_eq!(Skip::parse("skipped: net::v6: no IPv6: disabled"), skip("net::v6", "no IPv6: disabled"));
        assert_eq!(Skip::parse("broken"), skip("broken", "no reason given"));
    }

    #[test]
    fn names_match_with_or_without_module() {
        assert!(skip("v6", "").is_of("net::v6"));
        assert!(skip("net::v6", "").is_of("net::v6"));
        assert!(!skip("v6", "").is_of("net::old_v6"));
    }

    #[test]
    fn one_reason_is_one_line() {
        let skips = [
            ("m::a on 5.10", "takes long"),
            ("a", "no file"),
            ("m::a on 6.1", "takes long"),
            ("b on 6.1", "takes long"),
            ("c on 6.1", "takes long"),
            ("d", "takes long"),
        ];
        let lines: Vec<_> = by_reason(skips.into_iter()).iter().map(ToString::to_string).collect();
        assert_eq!(lines, ["5: takes long: m::a, b, c and 1 more, on 5.10, 6.1", "1: no file: a"]);
    }
}
