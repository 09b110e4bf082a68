//! docs/kernels.md, written from what the guests found out.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result};

use super::facts::{self, Fact};
use super::kernel::Kernel;
use super::qemu::Boot;
use super::{Outcome, matrix};
use crate::{report, workspace};

const INTRODUCTION: &str = "\
# Kernels

What holds on which kernel, as `cargo xtask vm --write-docs` found it: every kernel here was booted with
the tests of `tests/tests/kernel` and `tests/tests/guest` inside. Do not edit by hand.
";

const COST: &str = "
## Work of the verifier

Instructions that the kernel walked before it took each program, of at most a million. \"taken\": this
kernel does not tell the number; \"none\": the program is not loaded there, see below. Every test run compares
itself with these, on this machine's kernel too: any change is shown, and one of more than a quarter fails until
`cargo xtask vm --write-docs` has accepted it. (How many states the verifier kept, it tells only in its log.)
";

const LOSSES: &str = "
## What is not to be had

| what | missing on |
|---|---|
";

const OTHERS: &str = "
## Other machines

No test has run on a machine that is not x86-64: only such kernels are booted here. What holds for the others
without one: the kernel side is compiled for the byte order of the target (`bpfel` or `bpfeb`); every field that
the agent reads is found by a test in the stored BTF of kernels for aarch64 and, big-endian, s390x
(`agent/source/tests/data/btf`), the byte and the bits that it lies in included; a recording of the other byte order is
refused by name. To run the tests on such a machine: `cargo xtask test --no-vm`, as on any other.
";

/// Writes it.
pub fn write(outcomes: &[Outcome]) -> Result<()> {
    let file = path();
    let folder = file.parent().context("docs/kernels.md has a folder")?;
    fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
    fs::write(&file, text(outcomes)).with_context(|| format!("write {}", file.display()))?;
    report::status("Wrote", file.display());
    Ok(())
}

fn path() -> PathBuf {
    workspace::root().join("docs/kernels.md")
}

fn text(outcomes: &[Outcome]) -> String {
    let columns: Vec<_> = outcomes.iter().filter_map(Outcome::ran).map(Column::new).collect();
    let mut text = INTRODUCTION.to_owned();
    text.push('\n');
    table(&mut text, &["line", "release", "tests"], columns.iter().map(Column::row));
    text.push_str(COST);
    text.push('\n');
    cost(&mut text, &columns);
    text.push_str(LOSSES);
    for (what, lines) in losses(&columns) {
        let _ = writeln!(text, "| {what} | {} |", lines.join(", "));
    }
    text.push_str(OTHERS);
    text
}

/// One kernel's findings.
struct Column {
    line: String,
    release: String,
    counts: String,
    programs: Vec<(String, u64)>,
    lost: Vec<String>,
}

impl Column {
    fn new((kernel, boot): (&Kernel, &Boot)) -> Self {
        let (mut programs, mut lost) = (Vec::new(), Vec::new());
        for fact in facts::of(&boot.guest) {
            match fact {
                Fact::Program { name, instructions } => programs.push((name, instructions)),
                Fact::Lost(what) => lost.push(what),
                // Against the page that this one replaces.
                Fact::Cost { .. } => {}
            }
        }
        let counts = matrix::counts(&boot.guest);
        Self { line: kernel.line.clone(), release: kernel.release.clone(), counts, programs, lost }
    }

    fn row(&self) -> Vec<String> {
        vec![self.line.clone(), self.release.clone(), self.counts.clone()]
    }

    fn cost(&self, program: &str) -> String {
        match self.programs.iter().find(|(name, _)| name == program) {
            Some((_, 0)) => "taken".to_owned(),
            Some((_, instructions)) => instructions.to_string(),
            None => "none".to_owned(),
        }
    }
}

fn cost(text: &mut String, columns: &[Column]) {
    let programs =
        distinct(columns.iter().flat_map(|column| &column.programs).map(|(name, _)| name.as_str()));
    let lines = columns.iter().map(|column| column.line.as_str());
    let heads: Vec<&str> = ["program"].into_iter().chain(lines).collect();
    let rows = programs.into_iter().map(|program| {
        let cells = columns.iter().map(|column| column.cost(program));
        [format!("`{program}`")].into_iter().chain(cells).collect()
    });
    table(text, &heads, rows);
}

/// Each loss once, with the kernels that have it.
fn losses(columns: &[Column]) -> Vec<(&str, Vec<&str>)> {
    let all = distinct(columns.iter().flat_map(|column| &column.lost).map(String::as_str));
    let on = |what: &str| -> Vec<&str> {
        let without = columns.iter().filter(|column| column.lost.iter().any(|lost| lost == what));
        without.map(|column| column.line.as_str()).collect()
    };
    all.into_iter().map(|what| (what, on(what))).collect()
}

/// In the order of their first appearance.
fn distinct<'a>(words: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut seen = Vec::new();
    for word in words {
        if !seen.contains(&word) {
            seen.push(word);
        }
    }
    seen
}

fn table(text: &mut String, heads: &[&str], rows: impl Iterator<Item = Vec<String>>) {
    let _ = writeln!(text, "| {} |", heads.join(" | "));
    let _ = writeln!(text, "|{}", "---|".repeat(heads.len()));
    rows.for_each(|row| {
        let _ = writeln!(text, "| {} |", row.join(" | "));
    });
}

#[cfg(test)]
mod tests {
    use super::{Column, cost, losses};

    fn column(line: &str, programs: &[(&str, u64)], lost: &[&str]) -> Column {
        Column {
            line: line.to_owned(),
            release: String::new(),
            counts: String::new(),
            programs: programs.iter().map(|(name, cost)| ((*name).to_owned(), *cost)).collect(),
            lost: lost.iter().map(|&what| what.to_owned()).collect(),
        }
    }

    #[test]
    fn kernels_stand_side_by_side() {
        let columns =
            [column("5.10", &[("a", 0)], &["x", "y"]), column("6.1", &[("a", 7), ("b", 9)], &["x"])];
        let mut text = String::new();
        cost(&mut text, &columns);
        assert!(text.ends_with("| `a` | taken | 7 |\n| `b` | none | 9 |\n"), "{text}");
        assert_eq!(losses(&columns), [("x", vec!["5.10", "6.1"]), ("y", vec!["5.10"])]);
    }
}
