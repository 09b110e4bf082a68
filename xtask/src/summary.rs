//! How a run ended, in one place and in numbers.

use std::fmt::{self, Display};
use std::iter::Sum;

use crate::libtest::{Suite, Transcript};
use crate::report::{BAD, DOUBTFUL, GOOD};
use crate::skips::{self, Skip};

/// How a check ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing to complain of.
    Passed,
    /// The complaint.
    Failed(String),
    /// What is missing.
    Skipped(String),
}

/// Something beside the tests that can fail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What was checked.
    pub name: &'static str,
    /// How it ended.
    pub verdict: Verdict,
}

/// Everything that ran.
#[derive(Debug, Default)]
pub struct Summary {
    /// Checks that are no tests.
    pub checks: Vec<Check>,
    /// The tests.
    pub tests: Transcript,
    /// What the tests could not do.
    pub skips: Vec<Skip>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    passed: usize,
    failed: usize,
    skipped: usize,
}

impl Summary {
    /// Whether nothing failed, and there was something that could have.
    pub fn passed(&self) -> bool {
        let Counts { passed, failed, skipped: _ } = self.total();
        failed == 0 && passed > 0
    }

    /// Whether no check failed.
    pub fn checks_passed(&self) -> bool {
        self.checks.iter().all(|check| !matches!(check.verdict, Verdict::Failed(_)))
    }

    /// Tests, and checks that failed or were skipped: one that passed is no test.
    fn total(&self) -> Counts {
        let suites = self.tests.suites.iter().map(|suite| self.counts(suite));
        let checks = self.checks.iter().map(Check::counts);
        let parts = Counts { skipped: self.partial_skips().count(), ..Counts::default() };
        suites.chain(checks).chain([parts]).sum()
    }

    /// libtest's counts, with the tests that skipped themselves moved.
    fn counts(&self, suite: &Suite) -> Counts {
        let result = suite.result();
        let is_skipped = |test: &&String| self.skips.iter().any(|skip| skip.is_of(test));
        let skipped = suite.passed.iter().filter(is_skipped).count();
        Counts {
            passed: result.passed.saturating_sub(skipped),
            failed: result.failed,
            skipped: result.ignored + skipped,
        }
    }

    /// Skips that name no test that ran: parts of one that did the rest.
    fn partial_skips(&self) -> impl Iterator<Item = &Skip> {
        self.skips.iter().filter(|skip| {
            let tests = self.tests.suites.iter().flat_map(|suite| suite.passed.iter().chain(&suite.failed));
            !tests.into_iter().any(|test| skip.is_of(test))
        })
    }

    /// The whole of it, ending in the plain line of counts.
    pub fn print(&self) {
        self.print_checks();
        self.print_suites();
        self.print_failures();
        self.print_skips();
        if self.total().passed == 0 {
            anstream::println!("{BAD}no test passed{BAD:#}");
        }
        anstream::println!("{}", self.total());
    }

    /// One line a check.
    pub fn print_checks(&self) {
        anstream::println!();
        self.checks.iter().for_each(|check| anstream::println!("{check}"));
    }

    fn print_suites(&self) {
        let ran = self.tests.suites.iter().filter(|suite| suite.result() != <_>::default());
        for suite in ran {
            anstream::println!("{:<36} {}", suite.name, self.counts(suite));
        }
    }

    fn print_failures(&self) {
        for suite in &self.tests.suites {
            for test in &suite.failed {
                anstream::println!("{BAD}failed{BAD:#}: {}: {test}", suite.name);
            }
            if suite.result.is_none() {
                anstream::println!("{BAD}failed{BAD:#}: {}: ended before its tests did", suite.name);
            }
        }
    }

    /// One line a reason.
    fn print_skips(&self) {
        let ignored = self.tests.suites.iter().flat_map(|suite| &suite.ignored);
        let ignored = ignored.map(|(test, reason)| (test.as_str(), reason.as_str()));
        let skips = self.skips.iter().map(|skip| (skip.test.as_str(), skip.reason.as_str()));
        for group in skips::by_reason(ignored.chain(skips)) {
            anstream::println!("{DOUBTFUL}skipped{DOUBTFUL:#}: {group}");
        }
    }
}

impl Check {
    fn counts(&self) -> Counts {
        match self.verdict {
            Verdict::Passed => Counts::default(),
            Verdict::Failed(_) => Counts { failed: 1, ..Counts::default() },
            Verdict::Skipped(_) => Counts { skipped: 1, ..Counts::default() },
        }
    }
}

impl Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, verdict } = self;
        match verdict {
            Verdict::Passed => write!(f, "{GOOD}passed{GOOD:#}: {name}"),
            Verdict::Failed(why) => write!(f, "{BAD}failed{BAD:#}: {name}: {why}"),
            Verdict::Skipped(why) => write!(f, "{DOUBTFUL}skipped{DOUBTFUL:#}: {name}: {why}"),
        }
    }
}

impl Sum for Counts {
    fn sum<I: Iterator<Item = Self>>(counts: I) -> Self {
        counts.fold(Self::default(), |sum, Self { passed, failed, skipped }| Self {
            passed: sum.passed + passed,
            failed: sum.failed + failed,
            skipped: sum.skipped + skipped,
        })
    }
}

impl Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { passed, failed, skipped } = self;
        write!(f, "{passed} passed, {failed} failed, {skipped} skipped")
    }
}

#[cfg(test)]
mod tests {
    use super::{Check, Summary, Verdict};
    use crate::libtest::{Suite, TestResult, Transcript};
    use crate::skips::Skip;

    fn suite(passed: &[&str], failed: &[&str]) -> Suite {
        let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        let result = TestResult { passed: passed.len(), failed: failed.len(), ignored: 0 };
        let (passed, failed) = (owned(passed), owned(failed));
        Suite { passed, failed, result: Some(result), ..Suite::default() }
    }

    fn summary(suite: Suite, skipped: &[&str]) -> Summary {
        let skip = |&test: &&str| Skip { test: test.to_owned(), reason: "no kernel".to_owned() };
        let skips = skipped.iter().map(skip).collect();
        Summary { tests: Transcript { suites: vec![suite] }, skips, ..Summary::default() }
    }

    #[test]
    fn a_skipped_test_has_not_passed() {
        let summary = summary(suite(&["net::v4", "net::v6"], &[]), &["v6", "v6"]);
        assert_eq!(summary.total().to_string(), "1 passed, 0 failed, 1 skipped");
        assert!(summary.passed());
    }

    #[test]
    fn a_skipped_part_leaves_the_test_passed() {
        let summary = summary(suite(&["kernels"], &[]), &["kernels 5.10"]);
        assert_eq!(summary.total().to_string(), "1 passed, 0 failed, 1 skipped");
    }

    #[test]
    fn a_test_that_skips_and_fails_has_failed() {
        let summary = summary(suite(&["a"], &["b"]), &["b"]);
        assert_eq!(summary.total().to_string(), "1 passed, 1 failed, 0 skipped");
        assert!(!summary.passed());
    }

    #[test]
    fn a_run_without_tests_has_not_passed() {
        assert!(!Summary::default().passed());
        assert!(!summary(suite(&["a"], &[]), &["a"]).passed());
    }

    #[test]
    fn a_failed_check_fails_the_run() {
        let verdict = Verdict::Failed("one warning".to_owned());
        let mut summary = summary(suite(&["a"], &[]), &[]);
        summary.checks.push(Check { name: "clippy", verdict });
        assert_eq!(summary.total().to_string(), "1 passed, 1 failed, 0 skipped");
        assert!(!summary.passed() && !summary.checks_passed());
    }
}
