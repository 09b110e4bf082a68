//! The result on a terminal: one row a test, one column a kernel.

use std::fs;

use super::Outcome;
use super::facts::{self, Fact};
use super::guest::Guest;
use super::kernel::Kernel;
use super::qemu::Boot;
use crate::libtest::{Suite, TestResult};
use crate::report::{self, BAD, DOUBTFUL, GOOD};

/// Lines of the kernel's messages that are shown of a guest that died.
const LAST_WORDS: usize = 25;

/// What a test came to on one kernel.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Cell {
    Passed,
    Failed,
    Skipped,
    Unknown,
}

/// One row a test.
pub fn print(outcomes: &[Outcome]) {
    let ran: Vec<_> = outcomes.iter().filter_map(Outcome::ran).collect();
    let tests = tests(&ran);
    let width = tests.iter().map(|test| test.len()).max().unwrap_or(0);
    anstream::print!("\n{:width$}", "");
    for (kernel, _) in &ran {
        anstream::print!(" {:>7}", kernel.line);
    }
    anstream::println!();
    for test in tests {
        anstream::print!("{test:width$}");
        for (_, boot) in &ran {
            print_cell(cell(&boot.guest, test));
        }
        anstream::println!();
    }
}

/// One line a program whose cost is another than docs/kernels.md has.
pub fn print_costs(outcomes: &[Outcome]) {
    for (kernel, boot) in outcomes.iter().filter_map(Outcome::ran) {
        for fact in facts::of(&boot.guest) {
            if let Fact::Cost { program, before, now } = fact {
                let percent = 100.0 * (now as f64 / before as f64 - 1.0);
                report::note(
                    "Verifier",
                    format_args!("{program} on {}: {before} -> {now} ({percent:+.1} %)", kernel.line),
                );
            }
        }
    }
}

impl Outcome {
    /// The kernel and its boot, if there was one.
    pub(super) fn ran(&self) -> Option<(&Kernel, &Boot)> {
        match self {
            Self::Ran(kernel, boot) => Some((kernel, boot)),
            Self::Absent(_) => None,
        }
    }
}

/// Every test that any kernel named, in alphabetical order.
fn tests<'a>(ran: &[(&'a Kernel, &'a Boot)]) -> Vec<&'a str> {
    let suites = ran.iter().flat_map(|(_, boot)| &boot.guest.suites);
    let mut names: Vec<&str> = suites.flat_map(names_of).collect();
    names.sort_unstable();
    names.dedup();
    names
}

fn names_of(suite: &Suite) -> impl Iterator<Item = &str> {
    let Suite { name: _, passed, failed, ignored, result: _ } = suite;
    let ignored = ignored.iter().map(|(test, _)| test);
    passed.iter().chain(failed).chain(ignored).map(String::as_str)
}

fn cell(guest: &Guest, test: &str) -> Cell {
    let any = |has: &dyn Fn(&Suite) -> bool| guest.suites.iter().any(has);
    if any(&|suite| suite.failed.iter().any(|name| name == test)) {
        Cell::Failed
    } else if any(&|suite| suite.passed.iter().any(|name| name == test)) {
        Cell::Passed
    } else if any(&|suite| suite.ignored.iter().any(|(name, _)| name == test)) {
        Cell::Skipped
    } else {
        Cell::Unknown
    }
}

fn print_cell(cell: Cell) {
    let (style, word) = match cell {
        Cell::Passed => (GOOD, "ok"),
        Cell::Failed => (BAD, "FAILED"),
        Cell::Skipped => (DOUBTFUL, "skip"),
        Cell::Unknown => (BAD, "?"),
    };
    anstream::print!(" {style}{word:>7}{style:#}");
}

/// As in the last line of all, for one guest.
pub fn counts(guest: &Guest) -> String {
    let sum = |count: fn(TestResult) -> usize| -> usize {
        guest.suites.iter().map(|suite| count(suite.result())).sum()
    };
    let failed = sum(|result| result.failed) + usize::from(!guest.is_done);
    let (passed, skipped) = (sum(|result| result.passed), sum(|result| result.ignored));
    format!("{passed} passed, {failed} failed, {skipped} skipped")
}

/// The failed tests' own words, or the kernel's last ones.
pub fn print_failures(kernel: &Kernel, boot: &Boot) {
    let Guest { suites, output, is_done, complaint, .. } = &boot.guest;
    if suites.iter().any(|suite| suite.result().failed > 0) {
        anstream::println!("\n{BAD}{} ({})", kernel.line, kernel.release);
        anstream::print!("{BAD:#}");
        output
            .iter()
            .skip_while(|line| *line != "failures:")
            .for_each(|line| anstream::println!("    {line}"));
    }
    if !is_done {
        let console = fs::read(&boot.console).unwrap_or_default();
        let console = String::from_utf8_lossy(&console);
        let lines: Vec<_> = console.lines().collect();
        anstream::println!("\n{BAD}{} died{BAD:#} {complaint}", kernel.line);
        lines[lines.len().saturating_sub(LAST_WORDS)..]
            .iter()
            .for_each(|line| anstream::println!("    {line}"));
    }
}
